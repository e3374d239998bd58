"""Learner of videos and series: temporal models on features of frames, or encoder and temporal model together."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kagglepipe.competitions.dataset import Dataset, content_key
from kagglepipe.distributed import is_rank_zero
from kagglepipe.images.augment import Transform
from kagglepipe.models.classifier import Classifier
from kagglepipe.models.temporal import CnnLstm, TemporalModel
from kagglepipe.options import TemporalOptions
from kagglepipe.sequences.dataset import ClipBatches, Example
from kagglepipe.sequences.grid import item_lengths
from kagglepipe.sequences.series import item_inputs
from kagglepipe.sequences.video import DECODER, VideoFrames
from kagglepipe.training.checkpoint import save_temporal
from kagglepipe.training.column_heads import ColumnHeadFitter
from kagglepipe.training.device import Precision
from kagglepipe.training.features import FeatureStore, Frames, Item, encode, stored_features
from kagglepipe.training.head import ExtraRows, HeadFitter
from kagglepipe.training.learner import FoldResult, LearnerOptions, PretrainedNetwork, Probs, Runtime, fit_runtime
from kagglepipe.training.linear import linear_fitter
from kagglepipe.training.links import LINKS
from kagglepipe.training.loop import FitRuntime, train_epochs
from kagglepipe.training.optimise import make_optimiser
from kagglepipe.training.sound_features import check_whole_sounds, clean_views, sound_features
from kagglepipe.training.target_scale import target_scale
from kagglepipe.training.temporal import (
    FLOAT32,
    fit_temporal,
    make_linear,
    pooled,
    temporal_loss,
    temporal_probabilities,
)

SOUND_OPTIONS = ("centred", "group_mean", "silence")  # by which inference reads sounds
Array = NDArray[Any]
Features = Mapping[str, Array]  # video -> (T, F)


@dataclass(frozen=True)
class TemporalNetwork:
    """Temporal models, whose probabilities are averaged, and the encoder if it was fine-tuned with them."""

    models: Sequence[TemporalModel]
    encoder: Classifier | None = None


class Span(NamedTuple):
    """Frames of a video that are one example: the first, their number, and the places of its rows in a table."""

    id: str
    video: str
    first: int
    frames: int
    places: Array


class SequenceLearner:
    """Fits folds of videos or series. See `Learner`."""

    is_distributed = False

    def __init__(self, dataset: Dataset, options: LearnerOptions, runtime: Runtime) -> None:
        self.dataset, self.options, self.runtime = dataset, options, runtime
        self.train, self.test, self.classes = dataset.train, dataset.test, dataset.classes
        self.task = options.competition.task
        self.labels, self.folds = self.targets(self.train), self.train["fold"].to_numpy(np.int64)
        self.network = PretrainedNetwork(options, len(self.classes), runtime)
        self.is_video, self.per_frame = options.competition.kind == "video", options.competition.finds_segments
        self._features: dict[int, Features] = {}
        self._scales: dict[TemporalOptions, tuple[Array, Array]] = {}
        self.fit_name = "train: fold {}"  # of log lines, with the fold

    def with_features_of_this(self, dataset: Dataset, options: LearnerOptions) -> "SequenceLearner":
        """Make a learner of other rows of the same items, or of another temporal model, which shares the features."""
        learner = SequenceLearner(dataset, options, self.runtime)
        learner.network, learner._features = self.network, self._features
        return learner

    def targets(self, rows: pd.DataFrame) -> Array:
        """What the outputs are fitted to: class indices (N,), or columns (N, O)."""
        return LINKS[self.task].targets(self.dataset.labels(rows), len(self.classes))

    @property
    def precision(self) -> Precision:
        """Precision of the features; series are float32."""
        return self.runtime.backend.precision if self.is_video else FLOAT32

    def prepare_features(self) -> None:
        """Compute the features of all items in every view."""
        if is_rank_zero():
            for view in self.views:
                self.features(view)

    # --- features ----------------------------------------------------------------------------------------------

    @property
    def items(self) -> pd.DataFrame:
        """A row a file."""
        assert self.dataset.items is not None
        return self.dataset.items

    @property
    def paths(self) -> list[Path]:
        """The files of the items."""
        return self.dataset.paths(self.items)

    @cached_property
    def videos(self) -> list[Item]:
        """The videos as items of a feature store."""
        rows, lengths = self.items.to_dict("records"), item_lengths(self.items, self.options.sequences.samples_per_unit)
        keys = [content_key(row["sha256"], row.get("reading", "")) for row in rows]
        return [Item(key, lengths[row["video"]], n) for n, (key, row) in enumerate(zip(keys, rows, strict=True))]

    @property
    def views(self) -> range:
        """Numbers of the views, the clean ones first; a series has no other."""
        if self.options.competition.kind == "series":
            return range(1)
        return range(self.clean_views + self.options.sequences.views)

    @property
    def clean_views(self) -> int:
        """Number of the views over which predictions are averaged."""
        return clean_views(self.options.sequences) if self.options.competition.kind == "audio" else 1

    def features(self, view: int = 0) -> Features:
        """Features (T, F) of every item in view number `view`; of a series its samples, of a sound its mel frames."""
        if view not in self._features:
            if self.options.competition.kind == "audio":
                if self.options.sequences.silence is not None:
                    lengths = item_lengths(self.items, self.options.sequences.samples_per_unit)
                    for rows in (self.train, self.test):
                        check_whole_sounds(rows, lengths)
                self._features[view] = sound_features(
                    self.items, self.paths, self.options.sequences, view=view, seed=self.options.seed,
                    folder=self.runtime.features_dir, workers=self.runtime.workers,
                )  # fmt: skip
            elif not self.is_video:
                self._features[view] = self.series_features()
            else:
                found = self.frame_features(view)
                if self.options.sequences.motion:
                    pairs = zip(found, self.frame_features(view, motion=True), strict=True)
                    found = [np.concatenate(pair, axis=1) for pair in pairs]
                self._features[view] = dict(zip(self.items["video"], found, strict=True))
        return self._features[view]

    def series_features(self) -> Features:
        """Samples (T, F) of every series on the grid of the rate. Raises UserError for one that has none."""
        layout = {"columns": self.options.competition.columns, "skeleton": self.options.competition.skeleton}
        return item_inputs(
            self.items, self.paths, rate=self.options.sequences.samples_per_unit, **layout, **self.series_layout
        )

    @property
    def series_layout(self) -> dict[str, Any]:
        """Channels and time axis as `prepare` has found them; tables of old versions have none."""
        if "channels" not in self.items:
            return {}
        named = zip(self.items["format"], self.items["channels"], strict=True)
        channels = {kind: list(names) for kind, names in named if len(names)}
        return {"channels": channels, "axis": int(self.items["axis"].iloc[0])}

    @cached_property
    def frames(self) -> VideoFrames:
        """Frames of the videos."""
        options, preprocessing = self.options, self.network.model.preprocessing
        return VideoFrames(
            self.paths, self.items["sha256"].tolist(), self.items["video"].astype(str).tolist(),
            preprocessing.views(transform=self.transform, seed=options.seed), rate=options.sequences.samples_per_unit,
            short_side=options.short_side, max_side=self.runtime.max_side,
        )  # fmt: skip

    @cached_property
    def transform(self) -> Transform:
        """The augmentation at this network's size."""
        augmentation, size = self.options.augmentation, self.network.model.preprocessing.size
        return Transform(augmentation.policy, size, mirror=augmentation.mirror)

    def frame_features(self, view: int, *, motion: bool = False) -> list[Array]:
        """Features (T, F) of every video by the frozen network, from the store; motion: of differences of frames."""
        return stored_features(
            FeatureStore(self.feature_folder(view, motion), np.float16), self.network.model,
            lambda item, first, end: self.frames.read(item.row, np.arange(first, end), view, motion=motion),
            self.videos, backend=self.runtime.backend, workers=self.runtime.workers,
            progress=f"features{' of motion' * motion}{f', view {view}' if view else ''}",
        )  # fmt: skip

    def feature_folder(self, view: int, motion: bool) -> Path:
        """Folder of the store of one view."""
        draw = [] if view == 0 else [str(self.transform.serialised()), str(self.options.seed), str(view)]
        rate = str(self.options.sequences.samples_per_unit)
        return self.network.feature_folder("motion" if motion else "frames", DECODER, rate, *draw)

    def tuned_features(self, encoder: Classifier, rows: pd.DataFrame) -> Features:
        """Features (T, F) of the videos of `rows` by a fine-tuned encoder, without a store."""
        asked = [
            item for item, known in zip(self.videos, self.items["video"].isin(rows["video"]), strict=True) if known
        ]
        found = encode(
            encoder, lambda item, first, end: self.frames.read(item.row, np.arange(first, end)), asked,
            backend=self.runtime.backend.uncached, dtype=np.float16, workers=self.runtime.workers,
            progress="features of the tuned network",
        )  # fmt: skip
        return {self.items["video"].iloc[item.row]: features for item, (_, features) in zip(asked, found, strict=True)}

    def spans(self, rows: pd.DataFrame) -> list[Span]:
        """A span for each clip or, where every frame is classified, for each part of a video without gaps."""
        if not self.per_frame:
            return [
                Span(str(row["id"]), row["video"], row["position"], row["frames"], np.array([place]))
                for place, row in enumerate(rows[["id", "video", "position", "frames"]].to_dict("records"))
            ]
        found = []
        for video, own in rows[["video", "position"]].reset_index(drop=True).groupby("video"):  # sorted by video
            at = own["position"].sort_values(kind="stable")
            for part in np.split(at.index.to_numpy(), np.flatnonzero(np.diff(at) > 1) + 1):
                first = int(at[part[0]])
                name = f"{video}@{first}" if first else str(video)
                found.append(Span(name, str(video), first, len(part), part))
        return found

    def examples(self, rows: pd.DataFrame, features: Features) -> list[tuple[Example, Array]]:
        """(example, places of its rows in `rows`) of each of the `spans`."""
        known = rows["target"].notna().all()
        labels = self.targets(rows) if known else np.zeros(len(rows), np.int64)
        return [
            (Example(one.id, features[one.video][one.first : one.first + one.frames],
                     labels[one.places if self.per_frame else one.places[0]]), one.places)
            for one in self.spans(rows)
        ]  # fmt: skip

    # --- fitting -----------------------------------------------------------------------------------------------

    def fit_fold(self, fold: int, extra: pd.DataFrame, runtime: FitRuntime) -> FoldResult:
        """Fit temporal models on frozen features and, in fine-tuning, train the encoder with the first of them."""
        rows = pd.concat([self.train[self.folds != fold], extra])
        if self.options.model.temporal.cell == "mean":
            models, history = self.fit_linear(fold, extra)
        else:
            models, history = self.fit_members(fold, rows)
        if not self.options.is_finetuned:
            return FoldResult(history, TemporalNetwork(models))
        encoder, model, epochs = self.finetune(fold, rows, models[0], runtime)
        return FoldResult(history + epochs, TemporalNetwork([model], encoder))

    def fit_members(self, fold: int, rows: pd.DataFrame) -> tuple[list[TemporalModel], list[dict[str, Any]]]:
        """Fit `sequences.members` models from different seeds; fine-tuning needs one."""
        options, models, history = self.options, [], []
        examples = [example for view in self.views for example, _ in self.examples(rows, self.features(view))]
        for member in range(1 if options.is_finetuned else options.sequences.members):
            model, epochs = fit_temporal(
                examples, options.outputs(len(self.classes)), options.model.temporal, options.sequences,
                task=self.task, clip=options.training.clip, seed=options.seed + 1000 * member,
                device=self.runtime.device, name=f"{self.fit_name.format(fold)}, member {member}",
            )  # fmt: skip
            models.append(model)
            history += [{"member": member, **epoch.row()} for epoch in epochs]
        return models, history

    def fit_linear(self, fold: int, extra: pd.DataFrame) -> tuple[list[TemporalModel], list[dict[str, Any]]]:
        """Fit a linear head on standardised pooled features, as a temporal model whose cell is the mean."""
        temporal, more = self.options.model.temporal, None
        if not extra.empty:
            views = [self.standardised(temporal, view, extra) for view in self.views]
            more = ExtraRows(views, self.targets(extra))
        model = make_linear(
            self.examples(self.train, self.features())[0][0], self.linear_fitter.fit(fold, more), temporal,
            *self.scale(temporal), noise=self.options.sequences.noise, seed=self.options.seed,
        )  # fmt: skip
        return [model.to(self.runtime.device)], self.linear_fitter.history(fold)

    @cached_property
    def linear_fitter(self) -> HeadFitter | ColumnHeadFitter:
        """Fits linear heads of all folds on the pooled features of the training rows."""
        return linear_fitter(
            [self.standardised(self.options.model.temporal, view) for view in self.views], self.labels, self.folds,
            grid=self.options.training.regularisation, classes=len(self.classes), task=self.task,
        )  # fmt: skip

    def pooled(self, temporal: TemporalOptions, view: int = 0, rows: pd.DataFrame | None = None) -> Array:
        """Inputs of a linear head, (N, D), of `rows` (None: the training rows): the mean of each clip or window."""
        examples = self.examples(self.train if rows is None else rows, self.features(view))
        found = pooled([example for example, _ in examples], temporal)
        ordered = np.empty_like(found)
        ordered[np.concatenate([places for _, places in examples])] = found
        return ordered

    def standardised(self, temporal: TemporalOptions, view: int = 0, rows: pd.DataFrame | None = None) -> Array:
        """`pooled` with mean 0 and standard deviation 1 over the clean training rows of all folds."""
        centre, scale = self.scale(temporal)
        return (self.pooled(temporal, view, rows) - centre) * scale

    def scale(self, temporal: TemporalOptions) -> tuple[Array, Array]:
        """Mean (D,) and 1 / standard deviation (D,), 0 of constants, of the clean pooled training rows, unlabelled."""
        key = replace(temporal, cell="mean", pooling="mean", shuffled=False)
        if key not in self._scales:
            x = np.concatenate([self.pooled(temporal, view) for view in range(self.clean_views)])
            deviation = x.std(axis=0)
            self._scales[key] = x.mean(axis=0), np.where(deviation > 1e-6, 1 / np.maximum(deviation, 1e-6), 0)
        return self._scales[key]

    def baseline_features(self) -> Array:
        """Inputs (N, D) of a baseline that knows no order: standardised pooled features of the training rows."""
        temporal = self.options.model.temporal
        return self.standardised(replace(temporal, cell="mean", differences=True, pooling="mean", shuffled=False))

    def finetune(
        self, fold: int, rows: pd.DataFrame, model: TemporalModel, runtime: FitRuntime
    ) -> tuple[Classifier, TemporalModel, list[dict[str, Any]]]:
        """Train encoder and temporal model together for a fixed number of epochs."""
        training, examples = self.options.training, [one for one, _ in self.examples(rows, self.features())]
        network = CnnLstm(copy.deepcopy(self.network.model), copy.deepcopy(model)).to(self.runtime.device)
        scale = target_scale(examples) if LINKS[self.task].has_unit else None
        if scale is not None:
            examples = scale.standardised(examples)
            scale.from_unit(network.head.head.classifier)
        batches = self.clip_batches(rows, examples)
        epochs = train_epochs(
            network, batches, make_optimiser(network, training), options=training, seed=self.options.seed,
            precision=self.runtime.training_precision, name=self.fit_name.format(fold), unit="clip", evaluate=None,
            loss=temporal_loss(self.task, examples),
            runtime=fit_runtime(
                runtime, self.options, self.runtime, self.classes, len(self.test) + int((self.folds == fold).sum()),
                images=self.options.sequences.clip_frames,
            ),
        )  # fmt: skip
        if scale is not None:
            scale.to_unit(network.head.head.classifier)
        history = [{"member": "all", **epoch.row()} for epoch in epochs]
        return network.encoder.eval(), network.head.eval(), history

    def clip_batches(self, rows: pd.DataFrame, examples: Sequence[Example]) -> ClipBatches:
        """Batches of augmented clips of at most `sequences.clip_frames` frames. examples: of the rows."""
        sequences, row_of = self.options.sequences, {video: row for row, video in enumerate(self.items["video"])}
        spans = {one.id: one for one in self.spans(rows)}

        def read(example: Example, at: Array, epoch: int) -> Frames:
            span = spans[example.id]
            unique, back = np.unique(at + span.first, return_inverse=True)
            return self.frames.read(row_of[span.video], unique, epoch, example.id)[back]

        return ClipBatches(
            examples, sequences, read,
            batch_size=max(1, self.options.training.batch_size // 4), frames=sequences.clip_frames,
            window=sequences.clip_frames if self.per_frame else None, seed=self.options.seed,
            workers=self.runtime.workers,
        )  # fmt: skip

    def save_fold(self, result: FoldResult, folder: Path, meta: dict[str, Any]) -> None:
        """Save the temporal models, and the encoder if it was fine-tuned."""
        network: TemporalNetwork = result.network
        kind, sequences = self.options.competition.kind, self.options.sequences
        reading = ("kind", "columns", "skeleton", "unit", "background", "form")
        meta = {
            **self.options.meta(self.precision), **(self.network.meta() if self.is_video else {}), **meta,
            "rate": sequences.samples_per_unit, "motion": sequences.motion,
            **{name: getattr(self.options.competition, name) for name in reading},
            **(self.series_layout if kind == "series" else {}),
            **({name: getattr(sequences, name) for name in SOUND_OPTIONS} if kind == "audio" else {}),
        }  # fmt: skip
        encoder = network.encoder or (self.network.model if self.is_video else None)
        shared = self.is_video and network.encoder is None
        save_temporal(folder, network.models, encoder, shared_backbone=shared, meta=meta)

    def save_backbone(self, run: Path) -> None:
        """Save the frozen encoder into the run's folder, if folds share it."""
        if self.is_video and not self.options.is_finetuned:
            self.network.save_backbone(run)

    def predict(self, result: FoldResult, folder: Path, rows: pd.DataFrame, view: int = 0) -> Probs:
        """Predict (len(rows), C) rows of the dataset."""
        network: TemporalNetwork = result.network
        probs = np.zeros((len(rows), len(self.classes)))
        if rows.empty:
            return probs
        tuned = [] if network.encoder is None else [self.tuned_features(network.encoder, rows)]
        for features in tuned or map(self.features, range(self.clean_views)):
            examples = self.examples(rows, features)
            found = temporal_probabilities(network.models, [example for example, _ in examples], task=self.task)
            for (_, places), own in zip(examples, found, strict=True):
                probs[places] += own / self.clean_views
        return probs
