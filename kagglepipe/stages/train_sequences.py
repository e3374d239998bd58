"""The part of stage=train that knows video and series: a model of time on features, or encoder and model together.

Features of video frames lie in data/<slug>/cache/frames-*/, one memory-mapped array a file.
"""

import copy
import logging
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kagglepipe.competitions.annotations import content_key
from kagglepipe.config import Config
from kagglepipe.distributed import is_rank_zero
from kagglepipe.errors import UserError
from kagglepipe.files import demand_sha256, file_state
from kagglepipe.predictions.baseline import class_shares, constant_baseline
from kagglepipe.predictions.frame import labels as true_labels
from kagglepipe.predictions.frame import merge_folds, oof_frame, probabilities
from kagglepipe.predictions.paired import paired_difference
from kagglepipe.runs.identity import augmentation_policy
from kagglepipe.runs.scores import detection_scores, scores_of
from kagglepipe.sequences.grid import item_lengths
from kagglepipe.stages.session import Fitted, Session

if TYPE_CHECKING:
    from kagglepipe.models.temporal import TemporalModel
    from kagglepipe.options import TemporalOptions
    from kagglepipe.sequences.dataset import Example
    from kagglepipe.training.features import Item

log = logging.getLogger(__name__)
Array = NDArray[Any]


def demand_tunable(config: Config) -> None:
    """Raises UserError for settings that cannot be fine-tuned."""
    if config.sequences.motion:
        raise UserError("fine-tuning looks at frames alone: type sequences.motion=false, or training=head")
    if config.model.temporal.cell == "mean" and config.competition.finds_segments:
        raise UserError("fine-tuning needs a model of time: type model=cnn_lstm, or training=head")


class SequenceSession(Session):
    """Folds of a competition with a time axis."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.config.competition.kind == "series":
            from kagglepipe.training.temporal import FLOAT32

            self.precision = FLOAT32

    def prepare(self) -> None:
        """Features of all items, for the models of time."""
        if is_rank_zero():
            for view in self.views:
                self.features(view)

    def fit_fold(self, fold: int) -> Fitted:
        """Fits a model of time on cached features and, in fine-tuning, goes on from it."""
        tuned = self.mode == "finetune"
        members = 1 if tuned else self.config.sequences.members
        pseudo = self.pseudo(fold)
        if self.options.cell == "mean":
            models, history = self.fit_linear(fold, pseudo)
        else:
            models, history = self.fit_members(fold, members, pseudo)
        if tuned:
            return self.finetune(fold, models[0], history, pseudo)
        self.keep(fold, models)
        return Fitted(history, self.predict(models, self.held(fold)), self.predict(models, self.test))

    def held(self, fold: int) -> pd.DataFrame:
        """The labelled rows of a fold."""
        return self.train[self.folds == fold]

    # --- what is read ------------------------------------------------------------------------------------------

    def examples(self, rows: pd.DataFrame, view: int = 0) -> "list[tuple[Example, Array]]":
        """(example, positions of its rows in `rows`): an example is a clip or, where frames are rows, a video."""
        from kagglepipe.sequences.dataset import Example

        features = self.features(view)
        known = rows["target"].notna().all()
        labels = self.numbered(rows["target"]) if known else np.zeros(len(rows), np.int64)
        found = []
        if not self.config.competition.finds_segments:
            for place, row in enumerate(rows.to_dict("records")):
                own = features[row["video"]][row["position"] : row["position"] + row["frames"]]
                found.append((Example(str(row["id"]), own, labels[place]), np.array([place])))
            return found
        for video, part in rows[["video", "position"]].reset_index(drop=True).groupby("video"):  # sorted by video
            places = part["position"].sort_values(kind="stable").index.to_numpy()
            found.append((Example(str(video), features[str(video)], labels[places]), places))
        return found

    def features(self, view: int) -> dict[str, Array]:
        """video -> (T, F) features of all items, in view number `view` (0: clean)."""
        if view not in self._features:
            if self.config.competition.kind == "series":
                self._features[view] = self.series_features()
            else:
                self._features[view] = self.frame_features(view, motion=False)
                if self.config.sequences.motion:
                    moved = self.frame_features(view, motion=True)
                    self._features[view] = {
                        video: np.concatenate([still, moved[video]], axis=1)
                        for video, still in self._features[view].items()
                    }
        return self._features[view]

    @cached_property
    def _features(self) -> dict[int, dict[str, Array]]:
        return {}

    def series_features(self) -> dict[str, Array]:
        """video -> (T, F) samples of each series on the grid of the rate. Raises UserError for one that has none."""
        from kagglepipe.sequences.series import SeriesError, series_inputs

        competition, rate, root = self.config.competition, self.config.sequences.rate, self.prepared.images_root
        layout = {"columns": competition.columns, "skeleton": competition.skeleton, **self.series_layout}
        found = {}
        for row in self.items.to_dict("records"):
            demand_sha256(root / row["path"], row["sha256"])
            try:
                read = series_inputs(root / row["path"], rate=rate, **layout)
            except SeriesError as error:
                raise UserError(f"{row['path']}: {error}; raise sequences.rate={rate:g}, or leave it out") from error
            found[row["video"]] = read.values
        return {
            video: found[video][np.minimum(np.arange(n), len(found[video]) - 1)] for video, n in self.lengths.items()
        }

    @property
    def series_layout(self) -> dict[str, Any]:
        """channels and axis of `series_inputs`, as `prepare` has found them; of a table of an old version nothing."""
        if "channels" not in self.items:
            return {}
        named = zip(self.items["format"], self.items["channels"], strict=True)
        channels = {kind: list(names) for kind, names in named if len(names)}
        return {"channels": channels, "axis": int(self.items["axis"].iloc[0])}

    @property
    def lengths(self) -> dict[str, int]:
        """video -> how many frames or samples it has at the rate."""
        return item_lengths(self.items, self.config.sequences.rate)

    @property
    def items(self) -> pd.DataFrame:
        """One row a file."""
        assert self.prepared.items is not None
        return self.prepared.items

    @cached_property
    def videos(self) -> "list[Item]":
        """The videos, with their number of frames at the rate."""
        from kagglepipe.training.features import Item

        rows, lengths = self.items.to_dict("records"), self.lengths
        keys = [content_key(row["sha256"], row.get("reading", "")) for row in rows]
        return [Item(key, lengths[row["video"]], n) for n, (key, row) in enumerate(zip(keys, rows, strict=True))]

    def frame_features(self, view: int, *, motion: bool) -> dict[str, Array]:
        """video -> (T, F) features of its frames by the frozen backbone, from the store where it has them.

        motion: of pictures of what changed since the frame before, instead.
        """
        from kagglepipe.training.features import FeatureStore, Frames, stored_features

        def read(item: "Item", first: int, end: int) -> Frames:
            return self.read_frames(item.row, np.arange(first, end), view, motion=motion)

        found = stored_features(
            FeatureStore(self.feature_folder(view, motion), np.float16), self.model, read, self.videos,
            backend=self.backend, workers=self.config.workers,
            progress=f"features{' of motion' * motion}{f', view {view}' if view else ''}",
        )  # fmt: skip
        return dict(zip(self.items["video"], found, strict=True))

    def read_frames(self, row: int, at: Array, view: int, id: str | None = None, *, motion: bool = False) -> Any:
        """Frames number `at` (rising) of the video in `row`: (len(at), size, size, 3), all in one draw of the view.

        id: seeds the draw; None for the video's own. motion: differences from the frame before each instead.
        """
        if motion:
            from kagglepipe.sequences.video import frame_differences

            with_before = np.arange(max(0, int(at[0]) - 1), int(at[-1]) + 1)
            return frame_differences(self.read_frames(row, with_before, view, id))[at - with_before[0]]
        from kagglepipe.sequences.video import pad_frames, sample_frames

        rate, p = self.config.sequences.rate, self.model.preprocessing
        path, id = self.paths[row], id or str(self.items["video"].iloc[row])
        squashed = (p.size, p.size) if view == 0 and p.crop == "squash" else self.config.short_side
        first, end = int(at[0]), int(at[-1]) + 1
        frames = sample_frames(
            path, rate=rate, resize=squashed, start=first / rate, end=(end - 0.5) / rate, info=self.facts(path)
        )
        views = p.views(transform=self.transform, seed=self.config.seed)
        found = pad_frames((views.apply(pixels, view, id) for _, pixels in frames), end - first, p.size)[at - first]
        self.facts(path)  # whether it is the same file still
        return found

    def facts(self, path: Path) -> Any:
        """What a video is, looked up once however often its frames are read.

        Raises UserError if it is not the file that was prepared, or not any more.
        """
        from kagglepipe.sequences.video_info import inspect

        state = file_state(path) if path.exists() else ()
        known, facts = self._facts.get(path, (None, None))
        if known != state:
            demand_sha256(path, self.digests[path])
            facts = inspect(path, max_side=self.config.prepare.max_side)
            self._facts[path] = state, facts
        return facts

    @cached_property
    def _facts(self) -> dict[Path, tuple[tuple[int, ...], Any]]:
        return {}

    @cached_property
    def digests(self) -> dict[Path, str]:
        """File -> its SHA-256 when it was prepared."""
        return dict(zip(self.paths, self.items["sha256"], strict=True))

    @cached_property
    def paths(self) -> list[Path]:
        """The files of the items."""
        return [self.prepared.images_root / path for path in self.items["path"]]

    @cached_property
    def transform(self) -> Any:
        """The augmentation at this network's size."""
        from kagglepipe.images.augment import Transform

        p = self.model.preprocessing
        policy = augmentation_policy(self.config, self.mode)
        return Transform(policy, p.size, mirror=self.config.augmentation.mirror)

    def feature_folder(self, view: int, motion: bool) -> Any:
        """Where the features of one view are kept: the name holds all that they depend on save the file."""
        from kagglepipe.files import sha256
        from kagglepipe.models.weights import FEATURE_VERSION
        from kagglepipe.sequences.video import DECODER

        draw = [] if view == 0 else [str(self.transform.serialised()), str(self.config.seed), str(view)]
        key = sha256(*self.frozen_network, DECODER, FEATURE_VERSION, str(self.config.sequences.rate), *draw)[:8]
        return (
            self.config.features_dir
            / f"{'motion' if motion else 'frames'}-{self.config.model.name.split('/')[-1]}-{key}"
        )

    # --- what is fitted ----------------------------------------------------------------------------------------

    @property
    def options(self) -> "TemporalOptions":
        """Architecture of the temporal model."""
        return self.config.model.temporal

    def training_rows(self, fold: int, pseudo: pd.DataFrame) -> pd.DataFrame:
        """What a fold is fitted on: the rows of all other folds, and those that a teacher has labelled."""
        return pd.concat([self.train[self.folds != fold], pseudo])

    def training_examples(self, fold: int, pseudo: pd.DataFrame) -> "list[Example]":
        """The items that a fold is fitted on, in every view."""
        rows = self.training_rows(fold, pseudo)
        return [example for view in self.views for example, _ in self.examples(rows, view)]

    @property
    def views(self) -> range:
        """The views of the training items, the clean one first; a series has no other."""
        return range(self.config.sequences.views + 1 if self.config.competition.kind == "video" else 1)

    def fit_members(
        self, fold: int, members: int, pseudo: pd.DataFrame
    ) -> "tuple[list[TemporalModel], list[dict[str, Any]]]":
        """One model of time for each seed, and the rows of their log."""
        from kagglepipe.training.temporal import fit_temporal

        examples, models, history = self.training_examples(fold, pseudo), [], []
        for member in range(members):
            model, epochs = fit_temporal(
                examples, len(self.classes), self.options, self.config.sequences, clip=self.config.training.clip,
                seed=self.config.seed + 1000 * member, device=self.device, name=f"train: fold {fold}, member {member}",
            )  # fmt: skip
            models.append(model)
            history += [{"member": member, **epoch.row()} for epoch in epochs]
        return models, history

    def fit_linear(self, fold: int, pseudo: pd.DataFrame) -> "tuple[list[TemporalModel], list[dict[str, Any]]]":
        """The linear model on pooled features, fitted exactly, as a model of time that has no body."""
        import torch

        from kagglepipe.training.head import ExtraRows
        from kagglepipe.training.temporal import make_temporal

        fitter, (centre, scale) = self.linear_fitter, self.standard(self.options)
        more = None
        if not pseudo.empty:
            views = [self.standardised(self.options, view, pseudo) for view in self.views]
            more = ExtraRows(views, self.numbered(pseudo["target"]))
        head = fitter.fit(fold, more)
        model = make_temporal(
            [example for example, _ in self.examples(self.train)][:1], len(self.classes), self.options,
            noise=self.config.sequences.noise, seed=self.config.seed, device=torch.device("cpu"),
        )  # fmt: skip
        model.inputs.centre.copy_(torch.from_numpy(centre))
        model.inputs.scale.copy_(torch.from_numpy(scale))
        classifier = model.head.classifier
        classifier.weight.data, classifier.bias.data = torch.from_numpy(head.weight), torch.from_numpy(head.bias)
        history = [{"regularisation": c, "inner_log_loss": loss} for c, loss in fitter.inner_log_loss(fold)]
        return [model.to(self.device).eval()], history

    @cached_property
    def linear_fitter(self) -> Any:
        """Linear models for all folds on the pooled features of the training rows."""
        from kagglepipe.training.linear import LinearFitter

        return LinearFitter(
            [self.standardised(self.options, view) for view in self.views],
            self.labels,
            self.folds,
            grid=self.config.training.regularisation,
            classes=len(self.classes),
        )

    def pooled(self, options: "TemporalOptions", view: int = 0, rows: pd.DataFrame | None = None) -> Array:
        """(N, inputs) of `rows` (None: to train on), in their order: each clip's mean or, for frames, each window's."""
        from kagglepipe.training.temporal import pooled

        examples = self.examples(self.train if rows is None else rows, view)
        found = pooled([example for example, _ in examples], options)
        ordered = np.empty_like(found)
        ordered[np.concatenate([places for _, places in examples])] = found
        return ordered

    def standardised(self, options: "TemporalOptions", view: int = 0, rows: pd.DataFrame | None = None) -> Array:
        """`pooled`, each input with mean 0 and deviation 1 over the clean training rows; no label has a say in it."""
        centre, scale = self.standard(options)
        return (self.pooled(options, view, rows) - centre) * scale

    def standard(self, options: "TemporalOptions") -> tuple[Array, Array]:
        """(inputs,) mean and (inputs,) 1 / deviation of the pooled clean features of the rows to train on."""
        key = replace(options, cell="mean")  # nothing else of a model is read for its pooled features
        if key not in self._standards:
            x = self.pooled(options)
            self._standards[key] = x.mean(axis=0), 1 / np.maximum(x.std(axis=0), 1e-6)
        return self._standards[key]

    @cached_property
    def _standards(self) -> "dict[TemporalOptions, tuple[Array, Array]]":
        return {}

    def predict(self, models: "Sequence[TemporalModel]", rows: pd.DataFrame) -> Array:
        """(len(rows), C) probabilities."""
        from kagglepipe.training.temporal import temporal_probabilities

        if rows.empty:
            return np.zeros((0, len(self.classes)))
        examples = self.examples(rows)
        found = temporal_probabilities(models, [example for example, _ in examples])
        probs = np.empty((len(rows), len(self.classes)))
        for (_, places), one in zip(examples, found, strict=True):
            probs[places] = one
        return probs

    def keep(self, fold: int, models: "Sequence[TemporalModel]") -> None:
        """Saves a fold's models of time; the frozen backbone lies once in the run's folder."""
        from kagglepipe.training.checkpoint import save_temporal

        encoder = None
        if self.config.competition.kind == "video":
            encoder = self.model
            self.keep_backbone()
        self.open_fold(fold)
        save_temporal(
            self.run / f"fold_{fold}", models, encoder, shared_backbone=encoder is not None, meta=self.meta(fold)
        )

    def meta(self, fold: int) -> dict[str, Any]:
        """What model.json says beside shapes and preprocessing: also how items were read."""
        competition = self.config.competition
        reading = {
            name: getattr(competition, name) for name in ("kind", "columns", "skeleton", "unit", "background", "form")
        }
        if competition.kind == "series":
            reading |= self.series_layout
        return {
            **super().meta(fold),
            "rate": self.config.sequences.rate,
            "motion": self.config.sequences.motion,
            **reading,
        }

    # --- encoder and model of time together --------------------------------------------------------------------

    def finetune(self, fold: int, head: "TemporalModel", history: list[dict[str, Any]], pseudo: pd.DataFrame) -> Fitted:
        """Trains the encoder with its model of time from `head` on, for a fixed number of epochs."""
        from kagglepipe.models.temporal import CnnLstm
        from kagglepipe.training.checkpoint import save_temporal
        from kagglepipe.training.loop import train_epochs
        from kagglepipe.training.optimise import make_optimiser

        training = self.config.training
        model = CnnLstm(copy.deepcopy(self.model), copy.deepcopy(head)).to(self.device)
        batches = self.frame_batches(fold, pseudo)
        epochs = train_epochs(
            model, batches, make_optimiser(model, training), options=training, seed=self.config.seed,
            precision=self.training_precision, name=f"train: fold {fold}", unit="clip", evaluate=None,
            runtime=self.fit_runtime(fold, images=self.config.sequences.clip_frames),
        )  # fmt: skip
        self.open_fold(fold)
        save_temporal(
            self.run / f"fold_{fold}", [model.head.eval()], model.encoder, shared_backbone=False, meta=self.meta(fold)
        )
        tuned = copy.copy(self)
        tuned.__dict__["model"], tuned.__dict__["_features"] = model.encoder.eval(), {}
        oof, test = tuned.predict_tuned(model.head, self.held(fold)), tuned.predict_tuned(model.head, self.test)
        return Fitted(history + [{"member": "all", **epoch.row()} for epoch in epochs], oof, test)

    def predict_tuned(self, head: "TemporalModel", rows: pd.DataFrame) -> Array:
        """(len(rows), C) by a fine-tuned encoder, whose features are of no use to anyone else and not kept."""
        from kagglepipe.training.features import encode

        asked = {video: item for video, item in zip(self.items["video"], self.videos, strict=True)
                 if video in set(rows["video"])}  # fmt: skip

        def read(item: "Item", first: int, end: int) -> Any:
            return self.read_frames(item.row, np.arange(first, end), 0)

        found = encode(
            self.model, read, [*asked.values()],
            backend=self.backend.uncached, dtype=np.float16, workers=self.config.workers,
            progress="features of the tuned network",
        )  # fmt: skip
        self._features[0] = {video: features for video, (_, features) in zip(asked, found, strict=True)}
        return self.predict([head], rows)

    def frame_batches(self, fold: int, pseudo: pd.DataFrame) -> Any:
        """Batches of augmented clips for the whole network, each of at most `sequences.clip_frames` frames."""
        from kagglepipe.sequences.dataset import ClipBatches

        s, frames = self.config.sequences, self.config.sequences.clip_frames
        place = {video: row for row, video in enumerate(self.items["video"])}
        rows = self.training_rows(fold, pseudo)
        offset = dict(zip(rows["id"], rows["position"], strict=True))
        video = dict(zip(rows["id"], rows["video"], strict=True))
        whole = self.config.competition.finds_segments

        def read(example: "Example", at: Array, epoch: int) -> Any:
            name = example.id if whole else video[example.id]
            start = 0 if whole else offset[example.id]
            unique, back = np.unique(at + start, return_inverse=True)
            return self.read_frames(place[name], unique, epoch, example.id)[back]

        return ClipBatches(
            [example for example, _ in self.examples(rows)], s, read,
            batch_size=max(1, self.config.training.batch_size // 4), frames=frames, window=frames if whole else None,
            seed=self.config.seed, workers=self.config.workers,
        )  # fmt: skip


# --- what a score is held against ------------------------------------------------------------------------------


def sequence_comparisons(session: SequenceSession, oof: pd.DataFrame) -> dict[str, Any]:
    """Scores of simpler answers on the same rows: one answer to all, and a linear model that knows no order.

    The linear model is also scored on folds that tear groups apart: the inflation that a random split would have shown.
    """
    from kagglepipe.training.linear import rotate

    train, classes, competition = session.train, session.classes, session.config.competition
    log.info("train: for comparison, a linear model that knows no order, on the same folds and on random ones")
    x = session.standardised(replace(session.options, cell="mean", differences=True, pooling="mean"))
    z = rotate(x).rows

    def out_of_fold(folds: Array) -> pd.DataFrame:
        frames = []
        for fold in np.unique(folds):
            held = folds == fold
            probs = linear_probabilities(z[~held], session.labels[~held], z[held], len(classes), c=25 / x.shape[1])
            rows = train[held]
            frames.append(oof_frame(rows["id"].tolist(), int(fold), rows["target"].tolist(), probs, classes))
        return merge_folds(frames, train["id"])

    linear = out_of_fold(session.folds)
    torn = out_of_fold(np.random.default_rng(session.config.seed).permutation(session.folds))
    groups = session.groups
    rows = linear["id"]
    over = paired_difference(
        is_right(oof.set_index("id").loc[rows].reset_index(), classes), is_right(linear, classes), groups[rows].tolist()
    )

    def compared(frame: pd.DataFrame) -> dict[str, Any]:
        found = scores_of(frame, competition, classes, groups)
        if not competition.finds_segments:
            return found
        return {**found, **detection_scores(competition, session.prepared, frame)}

    return {
        "constant": {"class": train["target"].mode()[0], **compared(constant_baseline(train, classes))},
        "linear": compared(linear),
        "linear_random_split": scores_of(torn, competition, classes, groups),
        "accuracy_over_linear": {"difference": over.value, "interval": list(over.interval), "p": over.p},
    }


def linear_probabilities(z: Array, labels: Array, held: Array, classes: int, *, c: float) -> Array:
    """(len(held), classes) by logistic regression of regularisation `c`: a yardstick.

    z, held: rows along principal axes. Of many frames every so many are fitted
    on, since neighbours say the same. A class that none of them has gets its share of all rows, by `class_shares`.
    """
    from scipy.special import log_softmax
    from threadpoolctl import threadpool_limits

    from kagglepipe.training.linear import fit_logistic

    some = slice(None, None, -(-len(z) // MOST_LINEAR))
    known, numbered = np.unique(labels[some], return_inverse=True)
    shares = class_shares(labels, classes)
    probs = np.tile(shares, (len(held), 1))
    with threadpool_limits(1, user_api="blas"):
        fit = fit_logistic(z[some], numbered, np.ones(len(numbered)), c)
    probs[:, known] = np.exp(log_softmax(held @ fit.weight.T + fit.bias, axis=-1)) * shares[known].sum()
    return probs


MOST_LINEAR = 1000  # rows that the yardstick is fitted on


def is_right(frame: pd.DataFrame, classes: list[str]) -> Array:
    """(N,) 1.0 where the most probable class is the target."""
    return (probabilities(frame, classes).argmax(axis=1) == true_labels(frame, classes)).astype(float)
