"""Probabilities of a trained run for any images, video or series, and for live streams frame by frame."""

from collections.abc import Callable, Iterable, Sequence
from itertools import tee
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from kagglepipe.console import progress
from kagglepipe.errors import UserError
from kagglepipe.images.decode import Pixels
from kagglepipe.images.views import Images, turned_view
from kagglepipe.models.classifier import Preprocessing
from kagglepipe.models.temporal import Stream, TemporalModel
from kagglepipe.sequences.grid import grid_length
from kagglepipe.sequences.series import series_inputs
from kagglepipe.sequences.series_file import SeriesError
from kagglepipe.sequences.sound import read_sound
from kagglepipe.sequences.video import Resize, motion_frames, sample_frames
from kagglepipe.sequences.video_info import inspect
from kagglepipe.training.backends import Encoder, InferenceBackend
from kagglepipe.training.checkpoint import (
    Checkpoint,
    class_orders,
    load_classifier,
    load_encoder,
    load_head,
    load_temporal,
)
from kagglepipe.training.features import Features, compute_features, encode_frames
from kagglepipe.training.head import Head
from kagglepipe.training.links import LINKS

Probs = NDArray[np.float64]


def run_probabilities(
    checkpoints: Sequence[Checkpoint],
    images: Images,
    rows: Sequence[int],
    *,
    backend: InferenceBackend,
    workers: int | None = None,
    tta: Sequence[str] = (),
) -> Probs:
    """Predict probabilities (len(rows), C) for rows of `images`: the mean over the folds, and over turned views.

    tta: these, of `images.views.TURNS`, beside the clean one. Classes are in the first fold's order. Folds that share
    a backbone share one pass over the images.
    """
    features: dict[tuple[Path, int], Features] = {}
    looks = [0, *map(turned_view, tta)]
    total = np.zeros(())
    for number, (checkpoint, order) in enumerate(zip(checkpoints, class_orders(checkpoints), strict=True), 1):
        file = checkpoint.backbone_file
        for view in [view for view in looks if (file, view) not in features]:
            name = "predict" if checkpoint.meta["shared_backbone"] else f"predict {number}/{len(checkpoints)}"
            features[file, view] = compute_features(
                load_classifier(checkpoint).to(backend.device), checkpoint.preprocessing.views(images), rows, view=view,
                backend=backend if checkpoint.meta["shared_backbone"] else backend.uncached, workers=workers,
                progress=name,
            )  # fmt: skip
        weight, bias = load_head(checkpoint)
        head = Head(weight.numpy(), bias.numpy(), 0.0, checkpoint.meta.get("task", "multiclass"))
        for view in looks:
            total = total + head.predict(features[file, view])[:, order] / len(looks)
    return total / len(checkpoints)


class Seen(NamedTuple):
    """The content of a file: encoder -> (T, F) features, times (T,), its end, its repairs."""

    features: dict[Path, NDArray[np.float32]]
    times: NDArray[np.float64]
    end: float
    repairs: tuple[str, ...]


class SequenceRun:
    """The models of a run's folds, ready for frames or samples; folds that share an encoder share its one pass.

    Raises UserError if the run classifies images.
    """

    def __init__(self, checkpoints: Sequence[Checkpoint], *, backend: InferenceBackend) -> None:
        if "temporal" not in checkpoints[0].meta:
            raise UserError(
                f"{checkpoints[0].folder.parent.name} classifies images: for video give the competition it was trained "
                "on, as competition=video_folder competition.source=FOLDER, or a run with run=PATH"
            )
        self.meta, self.device = checkpoints[0].meta, backend.device
        self.predict = LINKS[self.meta.get("task", "multiclass")].predict
        self.encoders: dict[Path, Encoder | None] = {}  # of a series there is none
        self.models: list[tuple[Path, TemporalModel, list[int]]] = []  # with the places of the first fold's classes
        self.shares: list[float] = []  # of each model: folds count alike, however many members model=auto gave them
        for checkpoint, order in zip(checkpoints, class_orders(checkpoints), strict=True):
            file = checkpoint.backbone_file
            if file not in self.encoders:
                own = backend if self.meta["shared_backbone"] else backend.uncached
                self.encoders[file] = own.encoder(load_encoder(checkpoint)) if self.meta["kind"] == "video" else None
            members = load_temporal(checkpoint)
            self.models += [(file, model.to(backend.device), order) for model in members]
            self.shares += [1 / len(members) / len(checkpoints)] * len(members)

    @property
    def is_causal(self) -> bool:
        """Whether it can follow a live stream."""
        return all(model.is_causal for _, model, _ in self.models)

    def read(self, path: Path, *, centred: bool | None = None) -> Seen:
        """Read the features of a file's frames, or samples. Raises VideoError or SeriesError.

        centred: whether the frames of a sound are less their own mean; None: as the run was trained.
        """
        if self.meta["kind"] == "series":
            layout = {
                name: self.meta[name] for name in ("columns", "skeleton", "channels", "axis") if name in self.meta
            }
            times, inputs, repairs = series_inputs(path, rate=self.meta["rate"], **layout)
            if inputs.shape[1] != self.meta["features"]:
                raise SeriesError(f"it has {inputs.shape[1]} channels, the run was trained on {self.meta['features']}")
            end = float(times[-1] + 1 / self.meta["rate"])
            return Seen(dict.fromkeys(self.encoders, inputs), times, end, repairs)
        if self.meta["kind"] == "audio":
            silence = self.meta.get("silence")  # runs of older versions cut nothing
            centred = self.meta["centred"] if centred is None else centred
            sound = read_sound(path, rate=self.meta["rate"], centred=centred, silence=silence)
            end = float(sound.times[-1] + 1 / self.meta["rate"])
            return Seen(dict.fromkeys(self.encoders, sound.values), sound.times, end, sound.repairs)
        info, rate = inspect(path), self.meta["rate"]
        frames = sample_frames(path, rate=rate, resize=self.side, info=info, threads=0)
        total = grid_length(info.seconds, rate)
        shown = progress(frames, path.name, total=total, unit="frame")
        views = self.preprocessing.views()
        features = self.frame_features(views.apply(pixels) for _, pixels in shown)
        return Seen(features, np.arange(total) / rate, info.seconds, info.repairs)

    @property
    def side(self) -> Resize:
        """How frames are decoded, the same as in training."""
        p = self.preprocessing
        return (p.size, p.size) if p.crop == "squash" else p.short_side

    @property
    def preprocessing(self) -> Preprocessing:
        """How frames are made ready."""
        return Preprocessing(**self.meta["preprocessing"])

    def frame_features(self, frames: Iterable[Pixels], before: Pixels | None = None) -> dict[Path, NDArray[np.float32]]:
        """encoder -> (T, F) features of the frames as the encoder sees them, and of what moved where the run asks.

        before: the frame before the first (None: there is none, and nothing has moved).
        """
        looks: list[Iterable[Pixels]] = [frames]
        if self.meta["motion"]:
            frames, following = tee(frames)
            looks = [frames, motion_frames(following, before)]
        encoders = [encoder for encoder in self.encoders.values() if encoder is not None]
        passes = [
            encode_frames(encoder, copy, np.float16)
            for look in looks
            for encoder, copy in zip(encoders, tee(look, len(encoders)), strict=True)
        ]
        batches = zip(*passes, strict=True)  # all passes in step: `tee` holds a few batches, not the video
        features = [np.concatenate(parts) for parts in zip(*batches, strict=True)]
        return {
            file: np.concatenate(features[n :: len(encoders)], axis=1).astype(np.float32)
            for n, file in enumerate(self.encoders)
        }

    @torch.inference_mode()
    def probabilities(self, features: dict[Path, NDArray[np.float32]], *, per_frame: bool) -> Probs:
        """(T, C), or (C,) for the whole: the mean over folds and members. features: encoder -> (T, F)."""
        total: Probs = np.zeros(())
        for (file, model, order), share in zip(self.models, self.shares, strict=True):
            x = torch.from_numpy(np.asarray(features[file], np.float32))[None].to(self.device)
            lengths = torch.tensor([x.shape[1]])
            logits = model.frame_logits(x, lengths) if per_frame else model(x, lengths)
            total = total + share * self.predict(logits[0].double()).cpu().numpy()[..., order]
        return total

    def stream(self) -> Callable[[dict[Path, NDArray[np.float32]]], Probs]:
        """Make a function to be called with the features (F,) of one frame after the other -> (C,).

        Raises UserError for a run that looks ahead.
        """
        models = zip(self.models, self.shares, strict=True)
        streams = [(file, Stream(model), order, share) for (file, model, order), share in models]

        def step(features: dict[Path, NDArray[np.float32]]) -> Probs:
            total: Probs = np.zeros(())
            for file, stream, order, share in streams:
                logits = stream(torch.from_numpy(features[file]).to(self.device))
                total = total + share * self.predict(logits.double()).cpu().numpy()[..., order]
            return total

        return step

    def live(self) -> Callable[[Pixels], Probs]:
        """Make a function to be called with one decoded frame after the other -> (C,). Raises as `stream`."""
        step, views, before = self.stream(), self.preprocessing.views(), None

        def see(frame: Pixels) -> Probs:
            nonlocal before
            pixels = views.apply(frame)
            features = self.frame_features([pixels], before)
            before = pixels
            return step({file: values[0] for file, values in features.items()})

        return see
