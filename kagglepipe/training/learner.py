"""Learners fit the folds of a run and predict rows: `ImageLearner` and `SequenceLearner` implement `Learner`."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from kagglepipe.distributed import local_world_size
from kagglepipe.files import sha256
from kagglepipe.images.depth import RGB, PixelFormat
from kagglepipe.models.classifier import Classifier, make_backbone, preprocessing_of
from kagglepipe.models.weights import FEATURE_VERSION, find_weights
from kagglepipe.options import AugmentationOptions, CompetitionOptions, ModelOptions, SequenceOptions, TrainingOptions
from kagglepipe.parallel import cpu_count
from kagglepipe.training.backends import InferenceBackend
from kagglepipe.training.checkpoint import save_backbone, tensors_hash
from kagglepipe.training.device import Precision, choose_precision, images_at_a_time
from kagglepipe.training.features import STORE_VERSION
from kagglepipe.training.links import LINKS

if TYPE_CHECKING:
    import pandas as pd

    from kagglepipe.training.loop import FitRuntime

Probs = NDArray[np.float64]  # (N, C)


@dataclass(frozen=True)
class LearnerOptions:
    """The options that decide results; `training.mode` and `augmentation.policy` are resolved, never `auto`.

    short_side: pixels to which images, and frames to augment or crop, are decoded. tta: turned views whose predictions
    are averaged with those of the clean one.
    """

    competition: CompetitionOptions = field(default_factory=CompetitionOptions)
    model: ModelOptions = field(default_factory=ModelOptions)
    training: TrainingOptions = field(default_factory=lambda: TrainingOptions(mode="head"))
    sequences: SequenceOptions = field(default_factory=SequenceOptions)
    augmentation: AugmentationOptions = field(default_factory=lambda: AugmentationOptions(policy="strong"))
    seed: int = 0
    short_side: int = 256
    tta: tuple[str, ...] = ()

    @property
    def is_finetuned(self) -> bool:
        """Whether the whole network is trained, not only what stands on its features."""
        return self.training.mode == "finetune"

    @property
    def form(self) -> PixelFormat:
        """Format of the images that the network sees."""
        return PixelFormat(self.model.in_chans, self.model.in_bits)

    def meta(self, precision: Precision) -> dict[str, Any]:
        """Part of model.json about how a fold was trained."""
        model = {"model": self.model.name, "kwargs": self.model.kwargs}
        task: dict[str, Any] = {} if self.competition.task == "multiclass" else {"task": self.competition.task}
        task |= {"tta": list(self.tta)} if self.tta else {}
        return {**model, **task, "training": self.training.mode, "precision": precision.name, "engine": None}

    def outputs(self, classes: int) -> int:
        """Number of outputs O of a network of so many classes, tags or numbers."""
        return LINKS[self.competition.task].outputs(classes)


@dataclass(frozen=True)
class Runtime:
    """Devices, workers and folders of caches, which decide nothing but rounding.

    pixels_dir: cache of decoded images, of at most `pixels_limit` bytes; None for none. workers: None for one a core.
    max_side: pixels a side beyond which a video is refused.
    """

    backend: InferenceBackend
    features_dir: Path
    weights_dir: Path
    pixels_dir: Path | None = None
    pixels_limit: int = 0
    workers: int | None = None
    max_side: int = 20_000

    @property
    def device(self) -> torch.device:
        """Device of training and inference."""
        return self.backend.device

    @property
    def training_precision(self) -> Precision:
        """Precision of fine-tuning."""
        return choose_precision(self.device, training=True)

    @property
    def own_workers(self) -> int:
        """Threads or processes of this rank: an equal share of the machine's cores."""
        return self.workers or max(1, cpu_count() // local_world_size())

    @property
    def loader_workers(self) -> int:
        """Processes that augment images: none where the network trains on the same cores."""
        return 0 if self.device.type == "cpu" else self.own_workers


@dataclass(frozen=True)
class FoldResult:
    """A fitted fold: rows of its log, and its network, as its learner's `save_fold` and `predict` take it."""

    log: list[dict[str, Any]]
    network: Any


class Learner(Protocol):
    """Fits the folds of one dataset. Features are computed once for all folds."""

    options: LearnerOptions
    runtime: Runtime

    @property
    def is_distributed(self) -> bool:
        """Whether all ranks fit a fold together; else only rank 0 does."""

    @property
    def precision(self) -> Precision:
        """Precision of what the folds are fitted on or by."""

    def prepare_features(self) -> None:
        """Compute what all folds share."""

    def fit_fold(self, fold: int, extra: "pd.DataFrame", runtime: "FitRuntime") -> FoldResult:
        """Fit on the labelled rows of all other folds and on `extra` rows, which have a `target` too."""

    def save_fold(self, result: FoldResult, folder: Path, meta: dict[str, Any]) -> None:
        """Write model.safetensors, and model.json with `meta`, into the fold's folder."""

    def save_backbone(self, run: Path) -> None:
        """Write the frozen backbone, which all folds share, into the run's folder."""

    def predict(self, result: FoldResult, folder: Path, rows: "pd.DataFrame", view: int = 0) -> Probs:
        """Predict (len(rows), C) rows of the dataset, after `save_fold`. view: clean, or a turned one of images."""


class PretrainedNetwork:
    """The network with its pretrained weights, the same for every fold, and the identity of its features."""

    def __init__(self, options: LearnerOptions, classes: int, runtime: Runtime) -> None:
        self.options, self.classes, self.runtime = options, classes, runtime

    @cached_property
    def model(self) -> Classifier:
        """The network on its device; its head is untrained."""
        options, model = self.options, self.options.model
        weights = find_weights(model.name, model.weights)
        torch.manual_seed(options.seed)  # for weights=none, where the backbone itself is drawn
        form, cache_dir = options.form, self.runtime.weights_dir
        backbone = make_backbone(model.name, weights, kwargs=model.kwargs, cache_dir=cache_dir, channels=form.channels)
        preprocessing = preprocessing_of(
            backbone, image_size=model.side, crop=model.crop, short_side=options.short_side, form=form
        )
        return Classifier(backbone, options.outputs(self.classes), preprocessing).to(self.runtime.device)

    @cached_property
    def backbone_hash(self) -> str:
        """Hash of the pretrained weights."""
        return tensors_hash(self.model.backbone.state_dict())

    @property
    def feature_backend(self) -> list[str]:
        """Device and, if not torch, backend of the frozen network: its features depend on them."""
        name = self.runtime.backend.resolve(self.model)
        return [self.runtime.device.type, *([name] if name != "torch" else [])]

    @property
    def backend_version(self) -> str:
        """Inference backend and version, e.g. `openvino 2026.4`; torch's is among the versions of a run."""
        name = self.runtime.backend.resolve(self.model)
        return name if name == "torch" else f"{name} {version(name)}"

    def feature_folder(self, kind: str, decoder: str, *more: str) -> Path:
        """Folder of a feature store, named after all that features depend on except the file itself.

        kind: `features`, `frames` or `motion`. more: rate, and what draws an augmented view.
        """
        name = self.options.model.name
        network = json.dumps([name, self.options.model.kwargs], sort_keys=True)
        frozen = [STORE_VERSION, network, self.backbone_hash, repr(self.model.preprocessing)]
        frozen += [self.runtime.backend.precision.name, *self.feature_backend]
        key = sha256(*frozen, decoder, FEATURE_VERSION, *more)[:8]
        return self.runtime.features_dir / f"{kind}-{name.split('/')[-1]}-{key}"

    def save_backbone(self, run: Path) -> None:
        """Write or link the backbone into the run's folder."""
        model = self.options.model
        identity = find_weights(model.name, model.weights).identity
        cached = self.runtime.weights_dir / f"{model.name}-{identity[:8]}.safetensors"
        save_backbone(self.model, run, cached if model.in_chans == RGB.channels else None)  # else it was adapted

    def meta(self) -> dict[str, Any]:
        """Part of model.json about a network of images or frames."""
        frozen = {} if self.options.is_finetuned else {"backbone": self.backbone_hash}
        return {"engine": self.backend_version, **frozen}


def fit_runtime(
    given: "FitRuntime", options: LearnerOptions, runtime: Runtime, classes: Sequence[str], rows: int, images: int = 1
) -> "FitRuntime":
    """Complete what a stage gives of a fit: resume file, budget, tracker, default classes.

    rows: to predict when training is done. images: in each row of a batch.
    """
    fitting = images_at_a_time(runtime.device)
    micro_batch = options.training.micro_batch or (fitting and max(1, fitting // images))
    return replace(given, rows_after=rows, micro_batch=micro_batch, compile=options.training.compile, classes=classes)
