"""What the folds of a run share, whatever is classified; `train_images` and `train_sequences` hold the rest."""

import json
import logging
import time
from abc import ABC, abstractmethod
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from kagglepipe.competitions.dataset import Dataset
from kagglepipe.config import Config, network_side
from kagglepipe.distributed import is_rank_zero, local_world_size, single_process, world_size
from kagglepipe.files import write_bytes, write_json, write_parquet
from kagglepipe.images.mirror import mirror_hint
from kagglepipe.parallel import cpu_count
from kagglepipe.predictions.baseline import class_shares
from kagglepipe.predictions.frame import oof_frame, test_frame
from kagglepipe.predictions.metrics import find_metric
from kagglepipe.runs.identity import augmentation_policy, idle_settings, result_settings, training_mode, usual_order
from kagglepipe.runs.provenance import git_commit, versions
from kagglepipe.runs.pseudo_labels import pseudo_labelled
from kagglepipe.runs.scores import briefly, scores_of
from kagglepipe.stages.configured import find_teacher, identity_of

if TYPE_CHECKING:
    from kagglepipe.models.classifier import Classifier
    from kagglepipe.training.budget import Budget
    from kagglepipe.training.loop import FitRuntime
    from kagglepipe.training.trackers import Track

log = logging.getLogger(__name__)
RESUME = "resume.safetensors"  # where a fold stands that is not done
NOUNS = {"image": "images", "video": "clips", "series": "series"}
WIDER = {  # what reads the settings that a fit in mode `head` leaves alone
    "image": "while only a head is fitted: add training=finetune",
    "video": "while only the model of time is fitted: that reads sequences.*, or add training=finetune",
    "series": "of a series: its model of time reads sequences.*",
}


class Fitted(NamedTuple):
    """What a fold came to: rows of its log, probabilities (N, C) of its own rows and of the rows to classify."""

    log: list[dict[str, Any]]
    oof: Any
    test: Any


@dataclass
class Session(ABC):
    """The folds of a run: the rows, the device, the network with its first weights. `fit_fold` is what differs."""

    config: Config
    prepared: Dataset
    run: Path
    budget: "Budget | None" = None  # of the fold at hand
    track: "Track | None" = None  # told of every epoch

    def __post_init__(self) -> None:
        from kagglepipe.training.backends import make_backend
        from kagglepipe.training.device import choose_precision, make_deterministic, use_fast_kernels

        self.mode = training_mode(self.config)
        self.backend = make_backend(self.config.device, self.config.engine, self.config.backend_dir)
        self.device, self.precision = self.backend.device, self.backend.precision
        self.training_precision = choose_precision(self.device, training=True)
        if self.config.training.deterministic:
            make_deterministic()
        else:
            use_fast_kernels()
        self.train, self.test = self.prepared.train, self.prepared.test
        self.classes = self.prepared.classes
        self.labels = self.numbered(self.train["target"])
        self.folds = self.train["fold"].to_numpy(np.int64)

    @property
    def is_shared(self) -> bool:
        """Whether several processes train a fold together; if not, the first one does it alone."""
        return False

    @abstractmethod
    def fit_fold(self, fold: int) -> Fitted:
        """Fits one fold and saves its model in the fold's folder."""

    @abstractmethod
    def prepare(self) -> None:
        """What all folds need, before time is shared among them."""

    def tell(self) -> None:
        """Where it runs, why, and on what."""
        from kagglepipe.training.device import describe_device

        if world_size() > 1:
            work = f"share each batch of {self.config.training.batch_size}" if self.is_shared else "wait for the first"
            log.info("train: %d processes %s", world_size(), work)
        asked, precision = self.config.training.mode, self.precision
        if self.mode == "finetune":
            precision = self.training_precision
        why = f" (training=auto on {self.device.type})" if asked == "auto" else ""
        log.info(
            "train: %s on %s, %s: %s; %s%s", self.run.name, describe_device(self.device),
            precision.name, precision.reason, self.mode, why,
        )  # fmt: skip
        sizes = ", ".join(str(int((self.folds == fold).sum())) for fold in np.unique(self.folds))
        noun = "frames" if self.config.competition.finds_segments else NOUNS[self.config.competition.kind]
        log.info(
            "train: %d %s of %d classes in folds of %s; %d to classify",
            *(len(self.train), noun, len(self.classes), sizes, len(self.test)),
        )
        self.warn_of_small_images()
        if self.mode == "finetune" and self.device.type == "cpu" and self.config.training.budget is None:
            log.info(
                "train: %d epochs of the whole network, %d times, take minutes or hours on a processor: "
                "training.budget=20m ends in time, training=head takes seconds",
                *(self.config.training.epochs, len(self.config.folds.only) or len(np.unique(self.folds))),
            )
        if idle := idle_settings(self.config, self.mode):
            where = WIDER[self.config.competition.kind] if self.mode == "head" else "here: nothing ends early"
            log.warning("train: %s changes nothing %s", ", ".join(idle), where)
        if self.is_mirrored and (hint := mirror_hint(self.classes)):
            log.warning("train: %s", hint)

    @property
    def is_mirrored(self) -> bool:
        """Whether some of the views that are trained on are flipped left to right."""
        config, views = self.config, {"image": self.config.training.views, "video": self.config.sequences.views}
        is_augmented = self.mode == "finetune" or views.get(config.competition.kind, 0) > 0
        return is_augmented and config.augmentation.mirror and augmentation_policy(config, self.mode) != "none"

    def warn_of_small_images(self) -> None:
        """Says so if `cache.short_side` is given, and the network is shown images that were shrunk and enlarged."""
        config = self.config
        if config.cache.short_side is None or config.competition.kind == "series":
            return
        names = result_settings(config, self.mode)  # frames that are only squashed are decoded at the network's size
        if "short_side" in names and (needed := network_side(config.model)) > config.cache.short_side:
            log.warning(
                "train: cache.short_side=%d is less than the %d pixels that %s takes: images are enlarged again; type "
                "cache.short_side=%d, or leave it away",
                config.cache.short_side, needed, config.model.name, needed,
            )  # fmt: skip

    @cached_property
    def model(self) -> "Classifier":
        """The network with its first weights; the same for every fold of a seed."""
        import torch

        from kagglepipe.models.classifier import Classifier, make_backbone, preprocessing_of
        from kagglepipe.models.weights import find_weights

        options = self.config.model
        weights = find_weights(options.name, options.weights)
        torch.manual_seed(self.config.seed)  # for weights=none, where the backbone itself is drawn
        backbone = make_backbone(options.name, weights, kwargs=options.kwargs, cache_dir=self.config.weights_dir)
        preprocessing = preprocessing_of(
            backbone,
            image_size=options.side,
            crop=options.crop,
            short_side=self.config.short_side,
        )
        return Classifier(backbone, len(self.classes), preprocessing).to(self.device)

    @property
    def workers(self) -> int:
        """Threads or processes that read and augment: a core each, of those that are this process' share."""
        return self.config.workers or max(1, cpu_count() // local_world_size())

    def keep_backbone(self) -> None:
        """The frozen network, which the heads of all folds share, into the run's folder."""
        from kagglepipe.training.checkpoint import save_backbone

        kept = self.config.weights_dir / f"{self.config.model.name}-{self.identity['weights'][:8]}.safetensors"
        save_backbone(self.model, self.run, kept)

    @cached_property
    def frozen_network(self) -> list[str]:
        """All that features of the frozen network depend on, save the images and how they are decoded and varied."""
        from kagglepipe.training.features import STORE_VERSION

        options = json.dumps([self.config.model.name, self.config.model.kwargs], sort_keys=True)
        preprocessing = repr(self.model.preprocessing)
        return [STORE_VERSION, options, self.backbone_hash, preprocessing, self.precision.name, *self.feature_backend]

    @cached_property
    def backbone_hash(self) -> str:
        """The backbone's first weights, as one hash."""
        from kagglepipe.training.checkpoint import tensors_hash

        return tensors_hash(self.model.backbone.state_dict())

    @property
    def feature_backend(self) -> list[str]:
        """Device and, if not torch, backend of the frozen network: its features depend on them."""
        name = self.backend.resolve(self.model)
        return [self.device.type, *([name] if name != "torch" else [])]

    @property
    def backend_version(self) -> str | None:
        """Inference backend and version, e.g. `openvino 2026.4`; None for series."""
        if self.config.competition.kind == "series":
            return None
        name = self.backend.resolve(self.model)
        return name if name == "torch" else f"{name} {version(name)}"

    def fit_runtime(self, fold: int, *, images: int = 1) -> "FitRuntime":
        """Runtime options of a fold's fit. images: per row of a batch."""
        from kagglepipe.training.device import images_at_a_time
        from kagglepipe.training.loop import FitRuntime

        track, options, best = self.track, self.config.training, images_at_a_time(self.device)
        return FitRuntime(
            resume=self.run / f"fold_{fold}" / RESUME,
            budget=self.budget,
            rows_after=len(self.test) + int((self.folds == fold).sum()),
            micro_batch=options.micro_batch or (best and max(1, best // images)),
            track=None if track is None else lambda epoch, figures: track(f"fold_{fold}", epoch, figures),
            compile=options.compile,
            classes=self.classes,
            default_classes=usual_order(self.config, self.classes, sorted),
        )

    def pseudo(self, fold: int) -> pd.DataFrame:
        """The rows to classify that the fold is fitted on too, with their teacher's answers; none without a teacher."""
        teacher = find_teacher(self.config, self.prepared)
        if teacher is None:
            return self.train[:0]
        return pseudo_labelled(teacher, self.prepared, fold, self.config.training.confidence)

    def numbered(self, targets: "pd.Series[Any]") -> Any:
        """(N,) indices of the classes."""
        return targets.map(self.classes.index).to_numpy(np.int64)

    def open_fold(self, fold: int) -> None:
        """To be called before a fold's network is replaced: neither it nor the run is done until all else is, too."""
        for done in (self.run / "metrics.json", self.run / f"fold_{fold}" / "metrics.json"):
            done.unlink(missing_ok=True)

    def train_fold(self, fold: int) -> None:
        """Fits one fold and leaves its folder, metrics last; where several processes train, the first one writes."""
        start = time.perf_counter()
        if not (is_rank_zero() or self.is_shared):
            return
        with nullcontext() if self.is_shared else single_process():
            fitted = self.fit_fold(fold)
        if is_rank_zero():
            self.keep_fold(fold, fitted, time.perf_counter() - start)

    def keep_fold(self, fold: int, fitted: Fitted, seconds: float) -> None:
        """Writes and tells what came of a fold."""
        from kagglepipe.training.resume import LR_SHORTENED, forget_progress

        folder = self.run / f"fold_{fold}"
        log_csv = pd.DataFrame(fitted.log).to_csv(index=False, lineterminator="\n")
        write_bytes(folder / "log.csv", log_csv.encode())
        held = self.train[self.folds == fold]
        frame = oof_frame(held["id"].tolist(), fold, held["target"].tolist(), fitted.oof, self.classes)
        write_parquet(folder / "oof.parquet", frame)
        write_parquet(folder / "test.parquet", test_frame(self.test["id"].tolist(), fitted.test, self.classes))
        metrics = scores_of(frame, self.config.competition, self.classes, self.groups)
        cut = any(row.get("ended_by") == "budget" or row.get(LR_SHORTENED) for row in fitted.log)
        limit = self.config.training.budget if cut else None
        about = {"classes": self.classes, "seconds": round(seconds, 2), "cut_by_budget": limit}
        write_json(folder / "metrics.json", {**metrics, **about})
        forget_progress(folder / RESUME)
        if self.track is not None:
            self.track(f"fold_{fold}", 0, {"score": metrics["score"], "log_loss": metrics["log_loss"]})
        log.info("train: fold %d: %s", fold, briefly(metrics, self.config.competition.metric))
        others, advice = self.train["target"][self.folds != fold], what_to_change(self.config, self.mode)
        warn_of_constant(fold, held["target"], others, metrics, self.classes, advice)

    @property
    def groups(self) -> "pd.Series[Any]":
        """id -> group of the labelled rows."""
        return self.train.set_index("id")["group"]

    @cached_property
    def identity(self) -> dict[str, Any]:
        """Everything that decides the run's results."""
        return identity_of(self.config, self.prepared)

    def meta(self, fold: int) -> dict[str, Any]:
        """What model.json says beside preprocessing."""
        return {
            "model": self.config.model.name,
            "kwargs": self.config.model.kwargs,
            "classes": self.classes,
            "fold": fold,
            "training": self.mode,
            "precision": self.precision.name,
            "engine": self.backend_version,
            "identity": self.identity,
            "versions": versions(),
            "git_commit": git_commit(),
            **({"bits": self.prepared.bits} if self.prepared.bits else {}),
            **({"backbone": self.backbone_hash} if self.backend_version and self.mode == "head" else {}),
        }


def what_to_change(config: Config, mode: str) -> str:
    """The options by which a network that has learnt nothing may learn, of those that this one reads."""
    if mode == "finetune":
        return "more training.epochs, another training.lr"
    if config.competition.kind != "image" and config.model.temporal.cell != "mean":
        return "more sequences.steps, another sequences.lr"
    return "another model, training=finetune" if config.competition.kind != "series" else "model=lstm"


def warn_of_constant(
    fold: int,
    held: "pd.Series[Any]",
    others: "pd.Series[Any]",
    metrics: dict[str, Any],
    classes: list[str],
    advice: str,
) -> None:
    """Says so if a fold's network is no better, by the metric, than one answer to all: the shares of the other folds.

    held, others: the targets of the fold's rows and of all others. advice: what to change.
    """
    if held.nunique() < 2:
        return
    metric, shares = metrics["metric"], class_shares(others.map(classes.index).to_numpy(), len(classes))
    truth = held.map(classes.index).to_numpy()
    constant = find_metric(metric).function(np.tile(shares, (len(truth), 1)), truth)
    sign = 1 if find_metric(metric).greater_is_better else -1
    if not sign * (metrics["score"] - constant) <= 0:  # also where one of them is undefined
        return
    answer = "with the shares of the classes" if metric in ("log_loss", "roc_auc") else classes[int(shares.argmax())]
    reached = f"{round(constant * len(truth))} of {len(truth)}" if metric == "accuracy" else f"{metric} {constant:.4f}"
    log.warning(
        "train: fold %d is no better than always answering %s (%s): %s, or are the labels right?",
        fold, answer, reached, advice,
    )  # fmt: skip
