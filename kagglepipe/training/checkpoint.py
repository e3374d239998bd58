"""Checkpoints of folds: weights in model.safetensors and, beside them, metadata and preprocessing in model.json.

Heads on a frozen backbone share backbone.safetensors in the run's folder. Inference takes its preprocessing from
model.json, never from the configuration.
"""

import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from kagglepipe.errors import UserError
from kagglepipe.files import atomic, read_json, sha256, write_json
from kagglepipe.models.classifier import Classifier, Preprocessing, untrained_backbone
from kagglepipe.models.temporal import TemporalModel, load_stored, stored_name
from kagglepipe.models.weights import read_tensors, write_tensors
from kagglepipe.options import TemporalOptions
from kagglepipe.training.links import LINKS

BACKBONE = "backbone.safetensors"


@dataclass(frozen=True)
class Checkpoint:
    """Checkpoint of a fold. meta: contents of model.json. folder: of the fold."""

    meta: dict[str, Any]
    folder: Path

    @property
    def backbone_file(self) -> Path:
        """File of the backbone: the run's, shared by its folds, or the fold's own."""
        return self.folder.parent / BACKBONE if self.meta["shared_backbone"] else self.folder / "model.safetensors"

    @property
    def preprocessing(self) -> Preprocessing:
        """Preprocessing of its images."""
        return Preprocessing(**self.meta["preprocessing"])


def save_checkpoint(folder: Path, model: Classifier, *, shared_backbone: bool, meta: dict[str, Any]) -> None:
    """Write model.safetensors and model.json of a fold."""
    tensors = {f"head.{name}": value for name, value in model.head.state_dict().items()}
    if not shared_backbone:
        tensors |= {f"backbone.{name}": value for name, value in model.backbone.state_dict().items()}
    write_tensors(folder / "model.safetensors", tensors)
    about = {"preprocessing": asdict(model.preprocessing), "shared_backbone": shared_backbone}
    write_json(folder / "model.json", {**meta, **about})


def save_backbone(model: Classifier, run: Path, cached: Path | None) -> None:
    """Write the run's backbone.safetensors: a hard link to the file `cached` if possible, else a copy.

    A sweep of a hundred heads then needs the space of one backbone. cached: file with the same tensors; None: none.
    Raises UserError if the run has a backbone of other weights, which other folds' heads were fitted on.
    """
    target, own = run / BACKBONE, model.backbone.state_dict()
    if target.exists():
        there = read_tensors(target)
        if there.keys() != own.keys() or any(not torch.equal(there[name], own[name].cpu()) for name in own):
            raise UserError(f"{target} has other weights than the network now: delete {run} to train it anew")
        return
    if cached is not None and cached.exists():
        with suppress(OSError), atomic(target) as temporary:  # another file system, or one without links: copied below
            os.link(cached, temporary)
    if not target.exists():
        write_tensors(target, model.backbone.state_dict())


def read_checkpoints(folders: Iterable[Path]) -> list[Checkpoint]:
    """Read the checkpoints in the folders of a run's folds."""
    return [Checkpoint(read_json(folder / "model.json"), folder) for folder in folders]


def class_orders(checkpoints: Sequence[Checkpoint]) -> list[list[int]]:
    """For each fold the permutation (C,) of its predictions to the class order of the first fold.

    Raises UserError for folds of other classes.
    """
    first = checkpoints[0].meta["classes"]
    for checkpoint in checkpoints:
        if sorted(checkpoint.meta["classes"]) != sorted(first):
            raise UserError(
                f"{checkpoint.folder} knows the classes {', '.join(checkpoint.meta['classes'])}, "
                f"{checkpoints[0].folder.name} {', '.join(first)}: delete it and type the command that trained it"
            )
    return [[checkpoint.meta["classes"].index(name) for name in first] for checkpoint in checkpoints]


def load_classifier(checkpoint: Checkpoint) -> Classifier:
    """Load the classifier of a fold in evaluation mode on the CPU."""
    weight, bias = load_head(checkpoint)
    model = Classifier(load_encoder(checkpoint).backbone, len(bias), checkpoint.preprocessing)
    model.head.load_state_dict({"weight": weight, "bias": bias})
    return model.eval()


def check_backbone(checkpoint: Checkpoint, backbone: nn.Module) -> None:
    """Raise UserError if a shared backbone is not the one that the fold's head was fitted on, by its hash."""
    known = checkpoint.meta.get("backbone") if checkpoint.meta["shared_backbone"] else None
    if known and tensors_hash(backbone.state_dict()) != known:
        raise UserError(
            f"{checkpoint.backbone_file} is not the network that {checkpoint.folder.name} was trained on: copy the "
            "whole folder again, or train it anew"
        )


def save_temporal(
    folder: Path,
    models: Sequence[TemporalModel],
    encoder: Classifier | None,
    *,
    shared_backbone: bool,
    meta: dict[str, Any],
) -> None:
    """Write model.safetensors and model.json of a fold's temporal models, whose probabilities are averaged.

    encoder: of the frames (None: series have none); written here unless the run's folds share it.
    """
    states = [model.state_dict() for model in models]
    tensors = {f"{n}.{stored_name(name)}": value for n, state in enumerate(states) for name, value in state.items()}
    about: dict[str, Any] = {"shared_backbone": shared_backbone, "members": len(models)}
    if encoder is not None:
        about["preprocessing"] = asdict(encoder.preprocessing)
        if not shared_backbone:
            tensors |= {f"backbone.{name}": value for name, value in encoder.backbone.state_dict().items()}
    write_tensors(folder / "model.safetensors", tensors)
    first = models[0]
    shape = {"features": first.features, "per_frame": first.head.per_frame}
    write_json(
        folder / "model.json",
        {**meta, **about, **shape, "temporal": {**asdict(first.options), "noise": first.head.noise}},
    )


def load_temporal(checkpoint: Checkpoint) -> list[TemporalModel]:
    """Load the temporal models of a fold in evaluation mode on the CPU."""
    meta, tensors = checkpoint.meta, read_tensors(checkpoint.folder / "model.safetensors")
    models, outputs = [], LINKS[meta.get("task", "multiclass")].outputs(len(meta["classes"]))
    for member in range(meta["members"]):
        options = dict(meta["temporal"])
        noise = options.pop("noise", 0.0)
        model = TemporalModel(
            meta["features"], outputs, TemporalOptions(**options), per_frame=meta["per_frame"], noise=noise
        )
        own = {name: value for name, value in tensors.items() if name.startswith(f"{member}.")}
        load_stored(model, {name.removeprefix(f"{member}."): value for name, value in own.items()})
        models.append(model.eval())
    return models


def load_encoder(checkpoint: Checkpoint) -> Classifier:
    """Load the frame encoder of a fold; its head is not trained."""
    meta = checkpoint.meta
    backbone = untrained_backbone(meta["model"], meta["kwargs"], checkpoint.preprocessing.form.channels)
    tensors = read_tensors(checkpoint.backbone_file)
    if not meta["shared_backbone"]:
        tensors = {n.removeprefix("backbone."): value for n, value in tensors.items() if n.startswith("backbone.")}
    backbone.load_state_dict(tensors)
    check_backbone(checkpoint, backbone)
    return Classifier(backbone, 1, checkpoint.preprocessing).eval()


def load_head(checkpoint: Checkpoint) -> tuple[Tensor, Tensor]:
    """Load the linear head of a fold: weight (C, F) and bias (C,)."""
    tensors = read_tensors(checkpoint.folder / "model.safetensors")
    return tensors["head.weight"], tensors["head.bias"]


def tensors_hash(tensors: dict[str, Tensor]) -> str:
    """SHA-256 of the names and values of tensors."""
    parts: list[str | bytes] = []
    for name, value in tensors.items():
        parts += [name, value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes()]
    return sha256(*parts)
