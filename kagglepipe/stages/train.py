"""stage=train: fits every fold, then merges them into one out-of-fold and one test table.

Reads what `prepare` left. Writes outputs/<slug>/<run>/: fold_k/{model.safetensors, model.json, log.csv,
oof.parquet, test.parquet, metrics.json (last)}, config.yaml, backbone.safetensors (frozen backbones), and when
every fold is there oof.parquet, test.parquet, hardest.png and metrics.json (last).
"""

import copy
import logging
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from kagglepipe.config import Config, augmentation_policy, idle_settings
from kagglepipe.errors import UserError
from kagglepipe.files import locked, read_json, write_bytes, write_json, write_parquet
from kagglepipe.predictions.frame import average_folds, labels, merge_folds, oof_frame, read_frame, test_frame
from kagglepipe.stages.places import (
    Prepared,
    folds_file,
    git_commit,
    read_prepared,
    run_dir,
    run_identity,
    training_mode,
    versions,
    write_config,
)
from kagglepipe.stages.scores import briefly, describe_scores, scores_of

if TYPE_CHECKING:
    from kagglepipe.images.cache import PixelReader
    from kagglepipe.models.classifier import Classifier
    from kagglepipe.training.head import Head, HeadFitter

log = logging.getLogger(__name__)


def check(config: Config) -> None:
    """Raises UserError for a model or weights that cannot be had, before anything is downloaded or prepared."""
    from kagglepipe.models.weights import BUNDLED, find_weights

    if config.device not in ("auto", "cpu"):
        from kagglepipe.training.device import choose_device

        choose_device(config.device)
    if config.run is None:
        find_weights(config.model.name, config.model.weights)
        prepared = (config.data_dir / "prepared.json").exists() and folds_file(config).exists()
        trained = prepared and (run_dir(config, read_prepared(config)) / "metrics.json").exists()
        if config.model.name not in BUNDLED and not trained:  # those need no import of timm to be known
            from kagglepipe.models.classifier import demand_model

            demand_model(config.model.name)


def run(config: Config) -> float:
    """Trains what is missing of the configured run and merges it. The out-of-fold score."""
    prepared = read_prepared(config)
    run = run_dir(config, prepared)
    if (run / "metrics.json").exists():
        log.info("train: %s is finished already", run.name)
        score_again(config, prepared, run)
        warn_of_other_code(run)
    else:
        with locked(run):
            if not (run / "metrics.json").exists():  # another process may have finished it while we waited
                train_missing(config, prepared, run)
    if not (run / "metrics.json").exists():
        return float("nan")  # some folds were left for another time
    metrics = read_json(run / "metrics.json")
    for line in describe_scores(metrics, config.competition.metric):
        log.info("train: %s", line)
    return float(metrics["score"])


def score_again(config: Config, prepared: Prepared, run: Path) -> None:
    """Writes the run's metrics anew if they are of another metric than the configuration's."""
    metrics = read_json(run / "metrics.json")
    if metrics["metric"] != config.competition.metric and config.run is None:
        folds = sorted(int(fold) for fold in prepared.folds["fold"].unique())
        merge(config, prepared, run, folds, metrics["seconds"])


def warn_of_other_code(run: Path) -> None:
    """Says so when a finished run was made by another commit of the package."""
    made, now = {read_json(file)["git_commit"] for file in run.glob("fold_*/model.json")}, git_commit()
    if made - {now}:
        log.warning("train: it was made at commit %s, this is %s", ", ".join(map(str, sorted(made, key=str))), now)


def train_missing(config: Config, prepared: Prepared, run: Path) -> None:
    """Every wanted fold that is not finished, then the merge if all folds are."""
    start = time.perf_counter()
    folds = sorted(int(fold) for fold in prepared.folds["fold"].unique())
    if unknown := [fold for fold in config.folds.only if fold not in folds]:
        raise UserError(f"folds.only={unknown} do not exist; the folds are {folds[0]}…{folds[-1]}")
    wanted = [fold for fold in config.folds.only or folds if not is_finished(run, fold)]
    if wanted:
        session = Session(config, prepared, run)
        session.tell()
        write_config(config, run)
        for fold in wanted:
            session.train_fold(fold)
    missing = [fold for fold in folds if not is_finished(run, fold)]
    if missing:
        log.info("train: folds %s are left; the run is merged when they are done", ", ".join(map(str, missing)))
        return
    merge(config, prepared, run, folds, time.perf_counter() - start)


def is_finished(run: Path, fold: int) -> bool:
    """Whether a fold is done: its metrics are written last."""
    return (run / f"fold_{fold}" / "metrics.json").exists()


# --- one fold --------------------------------------------------------------------------------------------------


@dataclass
class Session:
    """What the folds of a run share: the network, the images and the features of the frozen backbone."""

    config: Config
    prepared: Prepared
    run: Path

    def __post_init__(self) -> None:
        from kagglepipe.training.device import choose_device, choose_precision

        self.mode = training_mode(self.config)
        self.device = choose_device(self.config.device)
        self.precision = choose_precision(self.device)  # of the frozen network and of inference
        self.training_precision = choose_precision(self.device, training=True)
        self.train, self.test = self.prepared.train, self.prepared.test
        self.classes = self.prepared.classes
        self.labels = self.train["target"].map(self.classes.index).to_numpy(np.int64)
        self.folds = self.train["fold"].to_numpy(np.int64)

    def tell(self) -> None:
        """Where it runs, why, and on what."""
        from kagglepipe.training.device import describe_device

        asked, precision = self.config.training.mode, self.precision
        if self.mode == "finetune":
            precision = self.training_precision
        why = f" (training=auto on {self.device.type})" if asked == "auto" else ""
        log.info(
            "train: %s on %s, %s: %s; %s%s", self.run.name, describe_device(self.device),
            precision.name, precision.reason, self.mode, why,
        )  # fmt: skip
        counts = ", ".join(f"{n} {name}" for name, n in sorted(Counter(self.train["target"]).items()))
        sizes = ", ".join(str(int((self.folds == fold).sum())) for fold in np.unique(self.folds))
        log.info(
            "train: %d images (%s) in folds of %s; %d to classify",
            len(self.train),
            counts,
            sizes,
            len(self.test),
        )
        if idle := idle_settings(self.config.training, self.mode):
            log.warning(
                "train: %s changes nothing while only a head is fitted: add training=finetune",
                ", ".join(idle),
            )

    @cached_property
    def model(self) -> "Classifier":
        """The network with its first weights; the same for every fold of a seed."""
        import torch

        from kagglepipe.models.classifier import Classifier, make_backbone, preprocessing_of
        from kagglepipe.models.weights import find_weights

        options = self.config.model
        weights = find_weights(options.name, options.weights)
        torch.manual_seed(self.config.seed)  # for weights=none, where the backbone itself is drawn
        backbone = make_backbone(options.name, weights, kwargs=options.kwargs, kept_in=self.weights_dir)
        preprocessing = preprocessing_of(
            backbone,
            image_size=options.image_size,
            crop=options.crop,
            short_side=self.config.cache.short_side,
        )
        return Classifier(backbone, len(self.classes), preprocessing).to(self.device)

    @property
    def weights_dir(self) -> Path:
        """Where first weights are kept as safetensors, for all competitions."""
        return self.config.root / "data" / "weights"

    def reader(self, rows: pd.DataFrame) -> "PixelReader":
        """The images of `rows`, from the cache."""
        from kagglepipe.images.cache import PixelReader

        return PixelReader(
            self.prepared.paths(rows),
            short_side=self.config.cache.short_side,
            folder=self.prepared.pixels,
            places=rows["pixels"].tolist(),
        )

    @cached_property
    def transform(self) -> Any:
        """The augmentation at this network's size."""
        from kagglepipe.images.augment import Transform

        p = self.model.preprocessing
        policy = augmentation_policy(self.config.augmentation, self.mode)
        return Transform(policy, p.size, crop=p.crop, crop_pct=p.crop_pct)

    def features(self, rows: pd.DataFrame, view: int, name: str) -> Any:
        """(N, F) features of view number `view` (0: clean) of the rows, from the store where it has them."""
        from kagglepipe.images.view import clean_view
        from kagglepipe.training.features import compute_features, image_key, stored_features

        reader, ids, p = self.reader(rows), rows["id"].tolist(), self.model.preprocessing

        def seen(row: int) -> Any:
            if view == 0:
                return clean_view(reader[row], p.size, crop=p.crop, crop_pct=p.crop_pct)
            return self.transform(reader[row], self.config.seed, view, ids[row])

        def compute(missing: list[int]) -> Any:
            return compute_features(
                self.model,
                seen,
                missing,
                dtype=self.precision.dtype,
                workers=self.config.workers,
                progress=name,
            )

        keys = [image_key(id, digest) for id, digest in zip(ids, rows["sha256"], strict=True)]
        return stored_features(self.feature_folder(view), keys, compute)

    def feature_folder(self, view: int) -> Path:
        """Where the features of one view are kept: the name holds all that they depend on save the image."""
        from kagglepipe.files import sha256
        from kagglepipe.images.decode import DECODER
        from kagglepipe.models.weights import ENGINE

        draw = [] if view == 0 else [str(self.transform.serialised()), str(self.config.seed), str(view)]
        model = [self.backbone_hash, repr(self.model.preprocessing), self.precision.name, self.device.type]
        key = sha256(*model, DECODER, ENGINE, *draw)[:8]
        return self.config.base_dir / "cache" / f"features-{self.config.model.name.split('/')[-1]}-{key}"

    @cached_property
    def backbone_hash(self) -> str:
        """The backbone's first weights, as one hash."""
        from kagglepipe.training.checkpoint import tensors_hash

        return tensors_hash(self.model.backbone.state_dict())

    @cached_property
    def fitter(self) -> "HeadFitter":
        """Heads for all folds, on features computed once."""
        from kagglepipe.training.head import HeadFitter

        count = self.config.training.views
        views = [self.features(self.train, view, f"features {view}/{count}") for view in range(count + 1)]
        grid = self.config.training.regularisation
        return HeadFitter(views, self.labels, self.folds, grid=grid, classes=len(self.classes))

    @cached_property
    def test_features(self) -> Any:
        """Clean features of the images to classify."""
        return self.features(self.test, 0, "features of test")

    def train_fold(self, fold: int) -> None:
        """Fits one fold and leaves its folder, metrics last."""
        start, folder = time.perf_counter(), self.run / f"fold_{fold}"
        head = self.fitter.fit(fold)
        if self.mode == "head":
            history, oof, test = self.keep_head(fold, head)
        else:
            history, oof, test = self.finetune(fold, head)
        write_bytes(folder / "log.csv", pd.DataFrame(history).to_csv(index=False, lineterminator="\n").encode())
        held = self.train[self.folds == fold]
        frame = oof_frame(held["id"].tolist(), fold, held["target"].tolist(), oof, self.classes)
        write_parquet(folder / "oof.parquet", frame)
        write_parquet(folder / "test.parquet", test_frame(self.test["id"].tolist(), test, self.classes))
        metrics = scores_of(frame, self.config.competition.metric, self.classes, self.groups)
        write_json(folder / "metrics.json", {**metrics, "seconds": round(time.perf_counter() - start, 2)})
        log.info(
            "train: fold %d: %s",
            fold,
            briefly(metrics, self.config.competition.metric),
        )

    @property
    def groups(self) -> "pd.Series[Any]":
        """id -> group of the labelled rows."""
        return self.train.set_index("id")["group"]

    def keep_head(self, fold: int, head: "Head") -> tuple[list[dict[str, Any]], Any, Any]:
        """Saves a head on the frozen backbone: (log rows, out-of-fold and test probabilities)."""
        import torch

        from kagglepipe.training.checkpoint import save_backbone, save_checkpoint
        from kagglepipe.training.head import softmax

        kept = self.weights_dir / f"{self.config.model.name}-{self.identity['weights'][:8]}.safetensors"
        save_backbone(self.model, self.run, kept)
        self.model.head.weight.data = torch.from_numpy(head.weight)
        self.model.head.bias.data = torch.from_numpy(head.bias)
        save_checkpoint(self.run / f"fold_{fold}", self.model, shared_backbone=True, meta=self.meta(fold))
        clean = self.fitter.views[0][self.folds == fold]
        history = [{"regularisation": c, "inner_log_loss": loss} for c, loss in self.fitter.inner_log_loss(fold)]
        return history, softmax(head.logits(clean)), softmax(head.logits(self.test_features))

    def finetune(self, fold: int, head: "Head") -> tuple[list[dict[str, Any]], Any, Any]:
        """Trains the whole network from `head` on: (log rows, out-of-fold and test probabilities)."""
        import torch

        from kagglepipe.images.dataset import TrainingImages
        from kagglepipe.training.checkpoint import read_checkpoints, save_checkpoint
        from kagglepipe.training.fit import Recipe, fit
        from kagglepipe.training.inference import run_probabilities

        model = copy.deepcopy(self.model)
        model.head.weight.data = torch.from_numpy(head.weight).to(self.device)
        model.head.bias.data = torch.from_numpy(head.bias).to(self.device)
        options = {name: getattr(self.config.training, name) for name in Recipe.__dataclass_fields__}
        reader = self.reader(self.train)
        rows = np.arange(len(self.train))
        history = fit(
            model,
            TrainingImages(reader, self.train["id"].tolist(), self.labels, self.transform, self.config.seed),
            train=rows[self.folds != fold],
            valid=rows[self.folds == fold],
            recipe=Recipe(**options),
            seed=self.config.seed,
            precision=self.training_precision,
            workers=self.loader_workers,
            name=f"train: fold {fold}",
        )
        folder = self.run / f"fold_{fold}"
        save_checkpoint(folder, model, shared_backbone=False, meta=self.meta(fold))
        checkpoint = [c for c in read_checkpoints(self.run) if c.folder == folder]

        def predict(reader: "PixelReader", rows: Sequence[int]) -> Any:
            return run_probabilities(
                checkpoint, reader.__getitem__, rows, device=self.device, precision=self.precision,
                workers=self.config.workers,
            )  # fmt: skip

        oof = predict(reader, rows[self.folds == fold].tolist())
        test = predict(self.reader(self.test), range(len(self.test)))
        return [asdict(epoch) for epoch in history], oof, test

    @property
    def loader_workers(self) -> int:
        """Processes that augment: none beside a network that trains on the same cores."""
        from kagglepipe.images.decode import cores

        if self.device.type == "cpu":
            return 0
        return self.config.workers or cores()

    @cached_property
    def identity(self) -> dict[str, Any]:
        """Everything that decides the run's results."""
        return run_identity(self.config, self.prepared)

    def meta(self, fold: int) -> dict[str, Any]:
        """What model.json says beside preprocessing."""
        return {
            "model": self.config.model.name,
            "kwargs": self.config.model.kwargs,
            "classes": self.classes,
            "fold": fold,
            "training": self.mode,
            "precision": self.precision.name,
            "identity": self.identity,
            "versions": versions(),
            "git_commit": git_commit(),
        }


# --- the whole run ---------------------------------------------------------------------------------------------


def merge(config: Config, prepared: Prepared, run: Path, folds: Sequence[int], seconds: float) -> None:
    """The run's own tables and metrics, from its folds."""
    from kagglepipe.predictions.baseline import metadata_baseline

    train, classes, metric = prepared.train, prepared.classes, config.competition.metric
    groups = train.set_index("id")["group"]
    oof = merge_folds([read_frame(run / f"fold_{fold}" / "oof.parquet") for fold in folds], train["id"])
    write_parquet(run / "oof.parquet", oof)
    test = average_folds([read_frame(run / f"fold_{fold}" / "test.parquet") for fold in folds])
    write_parquet(run / "test.parquet", test)
    draw_hardest(prepared, oof, run / "hardest.png")
    baseline = scores_of(metadata_baseline(train, classes), metric, classes, groups)
    scores = scores_of(oof, metric, classes, groups, test=test, config=config, prepared=prepared)
    identity = run_identity(config, prepared)
    about = {
        "run": run.name,
        "baseline": baseline,
        "identity": identity,
        "seconds": round(seconds, 1),
        "peak_memory_gb": peak_memory(),
    }
    write_json(run / "metrics.json", {**scores, **about})


def draw_hardest(prepared: Prepared, oof: pd.DataFrame, path: Path, count: int = 24) -> None:
    """A picture of the training images whose own class got the least probability out of fold."""
    from kagglepipe.images.decode import decode
    from kagglepipe.predictions.frame import probabilities
    from kagglepipe.reports.plots import INK, WRONG, Tile, draw_sheet

    probs = probabilities(oof, prepared.classes)
    truth = labels(oof, prepared.classes)
    own = probs[np.arange(len(oof)), truth]
    files = dict(zip(prepared.train["id"], prepared.paths(prepared.train), strict=True))
    tiles = []
    for row in np.argsort(own, kind="stable")[:count]:
        id = oof["id"].iloc[row]
        caption = f"{id}\n{prepared.classes[truth[row]]}: {own[row]:.3f}"
        colour = INK if probs[row].argmax() == truth[row] else WRONG
        tiles.append(Tile(decode(files[id].read_bytes(), short_side=256, max_side=2**31), caption, colour))
    draw_sheet(path, tiles, columns=8, title="Least sure out of fold: true class and its probability (red: wrong)")


def peak_memory() -> float | None:
    """The most memory that this process held, in GB; None where the system does not tell."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    import sys

    unit = 1 if sys.platform == "darwin" else 1024
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9, 2)
