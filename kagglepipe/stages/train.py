"""stage=train: fits every fold, then merges them into one out-of-fold and one test table.

Reads what `prepare` left. Writes outputs/<slug>/<run>/: fold_k/{model.safetensors, model.json, log.csv,
oof.parquet, test.parquet, metrics.json (last)}, config.yaml, backbone.safetensors (frozen backbones), and when
every fold is there oof.parquet, test.parquet, hardest.png and metrics.json (last).
"""

import logging
import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from kagglepipe import distributed
from kagglepipe.competitions.dataset import Dataset
from kagglepipe.config import Config, network_side
from kagglepipe.distributed import is_rank_zero, single_process
from kagglepipe.errors import UserError
from kagglepipe.files import absolute, exclusive_lock, write_bytes, write_parquet
from kagglepipe.options import SweepOptions, seconds_of
from kagglepipe.predictions.frame import average_folds, labels, merge_folds, oof_frame, probabilities, test_frame
from kagglepipe.predictions.paired import paired_difference
from kagglepipe.runs.answers import score_test_again, with_test_scores
from kagglepipe.runs.identity import (
    augmentation_policy,
    find_teacher,
    identity_of,
    idle_settings,
    read_data,
    result_settings,
    run_of,
    training_mode,
    usual_order,
    write_config,
)
from kagglepipe.runs.incumbent import reason_to_prune
from kagglepipe.runs.provenance import git_commit, versions
from kagglepipe.runs.pseudo_labels import gain_over_teacher, pseudo_labelled
from kagglepipe.runs.run import Fold, Outputs, Run
from kagglepipe.runs.scores import briefly, describe_scores, groups_hash, is_scored, scores_of

if TYPE_CHECKING:
    from kagglepipe.training.budget import Budget
    from kagglepipe.training.learner import Learner, LearnerOptions
    from kagglepipe.training.trackers import Track

log = logging.getLogger(__name__)
RESUME = "resume.safetensors"  # progress of a fold that is being trained
COST = ("seconds", "peak_memory_gb", "machine")  # of the command that finished a run, as metrics.json keeps it


def check(config: Config) -> None:
    """Raises UserError for a model or weights that cannot be had, before anything is downloaded or prepared."""
    from kagglepipe.models.weights import check_model, find_weights
    from kagglepipe.training.trackers import check_trackers

    check_trackers(config.training.trackers)
    if config.engine == "openvino":
        from kagglepipe.training.backends import check_openvino
        from kagglepipe.training.device import choose_device

        check_openvino(choose_device(config.device))
    if config.device not in ("auto", "cpu"):
        from kagglepipe.training.device import choose_device

        choose_device(config.device)
    if config.run is None and config.competition.kind != "image" and training_mode(config) == "finetune":
        check_finetunable(config)
    if config.run is None and config.competition.kind != "series":
        find_weights(config.model.name, config.model.weights)
        check_model(config.model.name)


def check_finetunable(config: Config) -> None:
    """Raises UserError for options with which encoder and temporal model cannot be trained together."""
    if config.sequences.motion:
        raise UserError("fine-tuning reads frames alone: type sequences.motion=false, or training=head")
    if config.model.temporal.cell == "mean" and config.competition.finds_segments:
        raise UserError("fine-tuning needs a temporal model: type model=cnn_lstm, or training=head")


def run(config: Config) -> float:
    """Trains what is missing of the configured run and merges it. The out-of-fold score."""
    dataset = read_data(config)
    demand_one_table(dataset)
    run = run_of(config, dataset)
    if distributed.broadcast_object(is_done(config, run)):
        if is_rank_zero():
            tell_finished(run)
            score_again(config, dataset, run)
            warn_of_other_code(run)
    else:
        train_missing(config, dataset, run)
    if not run.is_finished:
        return float("nan")  # some folds were left for another time
    metrics = run.metrics
    for line in describe_scores(metrics, config.competition.metric):
        log.info("train: %s", line)
    return float(metrics["score"])


def demand_one_table(dataset: Dataset) -> None:
    """Raises UserError in a process that has read other data than the first one, as while another command prepares."""
    own = [dataset.table_hash, dataset.folds_hash, dataset.classes]
    if distributed.broadcast_object(own) != own:
        raise UserError("other data were prepared while the processes started: type the same command again")


def is_done(config: Config, run: Run) -> bool:
    """Whether a run is merged, and nothing is left that a budget has cut short and that there is time for now.

    A run that is named is what it is: the configuration may be another one.
    """
    return config.run is not None or is_whole(config, run)


def is_whole(config: Config, done: Outputs) -> bool:
    """Whether the metrics that are written last are there, and what a budget has cut short is not to be done anew.

    It is where this command trains and has more time, or all of it; a command that only uses a run takes it as it is.
    """
    if not done.is_finished:
        return False
    cut, now = done.cut_by_budget, config.training.budget
    if not cut or config.stage not in ("all", "train"):
        return True
    return now is not None and seconds_of("training.budget", now) <= seconds_of("training.budget", cut)


def tell_finished(run: Run) -> None:
    """Says that nothing is left to do, or for how much time it was done."""
    cut = run.cut_by_budget
    more = f", cut short by training.budget={cut}: without it, or with more, stage=train trains it anew" if cut else ""
    log.info("train: %s is finished already%s", run.name, more)


def score_again(config: Config, dataset: Dataset, run: Run) -> None:
    """Writes the run's metrics anew if they are of another metric than the configuration's, other groups or answers."""
    metrics = run.metrics
    if score_test_again(config.competition, dataset, run):
        log.info("train: the test of %s is scored anew, by the answers as they are now", run.name)
    if config.run is None and not is_scored(metrics, config.competition, dataset):
        log.info("train: %s is scored anew, by the metric and the groups as they are now", run.name)
        folds = sorted(int(fold) for fold in dataset.folds["fold"].unique())
        merge(config, dataset, run, folds, {name: metrics.get(name) for name in COST})


def warn_of_other_code(run: Run) -> None:
    """Says so when a finished run was made by another commit of the package."""
    made, now = {fold.model["git_commit"] for fold in run.models}, git_commit()
    if made - {now}:
        log.warning("train: it was made at commit %s, this is %s", ", ".join(map(str, sorted(made, key=str))), now)


def train_missing(config: Config, dataset: Dataset, run: Run) -> None:
    """Every wanted fold that is not finished, then the merge if all folds are."""
    from kagglepipe.training.resume import forget_progress

    start, limit = time.perf_counter(), config.training.budget
    folds = sorted(int(fold) for fold in dataset.folds["fold"].unique())
    if unknown := [fold for fold in config.folds.only if fold not in folds]:
        raise UserError(f"folds.only={unknown} do not exist; the folds are {folds[0]}…{folds[-1]}")
    done = {number: run.fold(number) for number in folds}
    wanted = [fold for fold in config.folds.only or folds if not is_whole(config, done[fold])]
    if wanted := distributed.broadcast_object(wanted):
        train_folds(config, dataset, run, wanted)
    if not is_rank_zero():
        return
    with run.lock():
        if is_done(config, run):  # another command, which had the other folds, has merged it
            return
        missing = [fold for fold in folds if not is_whole(config, done[fold])]
        if missing:
            log.info("train: folds %s are left; the run is merged when they are done", ", ".join(map(str, missing)))
            return
        for fold in done.values():  # a kill may have come between a fold's last word and this
            if not fold.cut_by_budget:  # such a one may be on its way to more
                forget_progress(fold.folder / RESUME)
        complete(config, dataset, run)
        merge(config, dataset, run, folds, cost_of(config, time.perf_counter() - start))
    if limit and run.metrics["cut_by_budget"]:
        log.info("train: training.budget=%s has cut it short; without it the same command trains it whole", limit)
    took = time.perf_counter() - start
    if limit and took > 1.1 * seconds_of("training.budget", limit):
        log.warning(
            "train: it took %.0f s: features, a first look at what is held out, and predictions are made in full", took
        )


@dataclass(frozen=True)
class FoldFacts:
    """What all folds share: the teacher's run, the default order of classes, what model.json says of the run."""

    teacher: Run | None
    default_classes: list[str]
    meta: dict[str, Any]


def train_folds(config: Config, dataset: Dataset, run: Run, wanted: Sequence[int]) -> None:
    """Train the wanted folds, one after another; a budget is shared among those that are left."""
    from kagglepipe.training.budget import Budget
    from kagglepipe.training.trackers import tracking

    limit = config.training.budget
    budget = Budget(seconds_of("training.budget", limit)) if limit else None
    learner = make_learner(config, dataset)
    log_setup_of(config, dataset, run, learner)
    if is_rank_zero():
        write_config(as_kept(config), run.config_file)
    trackers = config.training.trackers if is_rank_zero() else []
    about = FoldFacts(
        find_teacher(config, dataset), usual_order(config, dataset.classes, sorted), model_meta(config, dataset)
    )
    with tracking(trackers, folder=run.folder, settings=about.meta["identity"]) as track:
        learner.prepare_features()
        distributed.barrier()
        started = time.perf_counter()  # features are shared by all folds
        for number, fold in enumerate(wanted):
            if config.training.rival and distributed.broadcast_object(is_behind(config, dataset, run)):
                break
            share = budget and budget.split(len(wanted) - number)
            train_fold(config, dataset, run, learner, fold, about, share, track)
            left = (time.perf_counter() - started) / (number + 1) * (len(wanted) - number - 1)
            if left > 60:
                log.info("train: about %.0f min left for %d folds", left / 60, len(wanted) - number - 1)


def is_behind(config: Config, dataset: Dataset, run: Run) -> bool:
    """Whether the folds that are done, which are kept, show that the run cannot beat `training.rival`; says why."""
    incumbent = config.training.rival and absolute(config.training.rival)
    why = reason_to_prune(run, dataset, incumbent or None, config.competition.metric)
    if why:
        log.info("train: stopped, since %s; without training.rival it goes on", why)
    return why is not None


def train_fold(
    config: Config,
    dataset: Dataset,
    run: Run,
    learner: "Learner",
    fold: int,
    about: FoldFacts,
    budget: "Budget | None",
    track: "Track | None",
) -> None:
    """Train a fold, unless another command trains it: then wait for that."""
    own = run.fold(fold)
    with exclusive_lock(own.folder, f"train: fold {fold} of {run.name}") if is_rank_zero() else nullcontext():
        if distributed.broadcast_object(is_whole(config, own)):
            return
        if is_rank_zero():
            for left in own.folder.glob(".*.tmp"):  # by writes that were killed
                if not left.name.startswith(f".{RESUME}"):
                    left.unlink(missing_ok=True)
        if is_rank_zero() or learner.is_distributed:
            with nullcontext() if learner.is_distributed else single_process():
                fit_and_save(config, dataset, run, learner, fold, about, budget, track)


def fit_and_save(
    config: Config,
    dataset: Dataset,
    run: Run,
    learner: "Learner",
    fold: int,
    about: FoldFacts,
    budget: "Budget | None",
    track: "Track | None",
) -> None:
    """Fit a fold and write its folder, metrics last; rank 0 writes."""
    from kagglepipe.training.loop import FitRuntime

    start, own, train = time.perf_counter(), run.fold(fold), dataset.train
    extra = train[:0]
    if about.teacher is not None:
        extra = pseudo_labelled(about.teacher, dataset, fold, config.training.confidence)
    fitting = FitRuntime(
        resume=own.folder / RESUME, budget=budget, default_classes=about.default_classes,
        track=None if track is None else partial(track, f"fold_{fold}"),
    )  # fmt: skip
    result = learner.fit_fold(fold, extra, fitting)
    if is_rank_zero():
        learner.save_backbone(run.folder)
        run.invalidate()  # neither is finished until all files are of the new network
        own.invalidate()
        learner.save_fold(result, own.folder, {"fold": fold, **about.meta})
    distributed.barrier()  # the other ranks read what was saved
    held = train[train["fold"] == fold]
    oof, test = learner.predict(result, own.folder, held), learner.predict(result, own.folder, dataset.test)
    if is_rank_zero():
        frame = oof_frame(held["id"].tolist(), fold, held["target"].tolist(), oof, dataset.classes)
        save_fold(config, dataset, own, result.log, frame, test, time.perf_counter() - start, track)


def save_fold(
    config: Config,
    dataset: Dataset,
    fold: Fold,
    history: Sequence[dict[str, Any]],
    oof: pd.DataFrame,
    test: Any,
    seconds: float,
    track: "Track | None",
) -> None:
    """Write log, predictions and, last, the metrics of a fold, and log them. test: (N, C) probabilities."""
    from kagglepipe.training.advice import warn_of_constant
    from kagglepipe.training.resume import LR_SHORTENED, forget_progress

    classes, competition, train = dataset.classes, config.competition, dataset.train
    log_csv = pd.DataFrame(history).to_csv(index=False, lineterminator="\n")
    write_bytes(fold.folder / "log.csv", log_csv.encode())
    write_parquet(fold.oof_file, oof)
    write_parquet(fold.test_file, test_frame(dataset.test["id"].tolist(), test, classes))
    metrics = scores_of(oof, competition, classes, train.set_index("id")["group"])
    cut = any(row.get("ended_by") == "budget" or row.get(LR_SHORTENED) for row in history)
    limit = config.training.budget if cut else None
    fold.save_metrics({**metrics, "classes": classes, "seconds": round(seconds, 2), "cut_by_budget": limit})
    forget_progress(fold.folder / RESUME)
    if track is not None:
        track(fold.name, 0, {"score": metrics["score"], "log_loss": metrics["log_loss"]})
    log.info("train: fold %d: %s", fold.number, briefly(metrics, competition.metric))
    warn_of_constant(fold.number, train, metrics, classes, learner_options(config))


def model_meta(config: Config, dataset: Dataset) -> dict[str, Any]:
    """Part of a fold's model.json about the run."""
    return {
        "classes": dataset.classes,
        "identity": identity_of(config, dataset),
        "versions": versions(),
        "git_commit": git_commit(),
    }


# --- the learner ---------------------------------------------------------------------------------------------------


def learner_options(config: Config) -> "LearnerOptions":
    """The options of a learner, `auto` resolved."""
    from kagglepipe.training.learner import LearnerOptions

    mode = training_mode(config)
    policy = augmentation_policy(config, mode)
    return LearnerOptions(
        config.competition, config.model, replace(config.training, mode=mode), config.sequences,
        replace(config.augmentation, policy=policy), config.seed,
        config.short_side if config.competition.kind != "series" else 0,
    )  # fmt: skip


def make_learner(config: Config, dataset: Dataset) -> "Learner":
    """The learner of this kind of competition."""
    from kagglepipe.training.backends import make_backend
    from kagglepipe.training.device import make_deterministic, use_fast_kernels
    from kagglepipe.training.learner import Runtime

    (make_deterministic if config.training.deterministic else use_fast_kernels)()
    options = learner_options(config)
    runtime = Runtime(
        make_backend(config.device, config.engine, config.backend_dir), config.features_dir, config.weights_dir,
        config.pixels_dir(options.short_side), config.pixels_limit, config.workers, config.prepare.max_side,
    )  # fmt: skip
    if config.competition.kind == "image":
        from kagglepipe.training.image_learner import ImageLearner

        return ImageLearner(dataset, options, runtime)
    from kagglepipe.training.sequence_learner import SequenceLearner

    return SequenceLearner(dataset, options, runtime)


def log_setup_of(config: Config, dataset: Dataset, run: Run, learner: "Learner") -> None:
    """Log how the run is set up."""
    from kagglepipe.training.advice import log_setup

    options, needed_side = learner.options, None
    if config.cache.short_side is not None and "short_side" in result_settings(config, options.training.mode):
        needed_side = network_side(config.model)
    log_setup(
        run.name, dataset, learner, mode=config.training.mode, only=config.folds.only,
        idle=idle_settings(config, options.training.mode), needed_side=needed_side,
    )  # fmt: skip


# --- the whole run ---------------------------------------------------------------------------------------------


def complete(config: Config, dataset: Dataset, run: Run) -> None:
    """What a run needs beside its folds, which alone may have come from other machines."""
    from kagglepipe.training.checkpoint import BACKBONE, read_checkpoints

    if not run.config_file.exists():
        write_config(as_kept(config), run.config_file)
    if not (run.folder / BACKBONE).exists() and any(
        one.meta["shared_backbone"] for one in read_checkpoints(run.folder)
    ):
        make_learner(config, dataset).save_backbone(run.folder)


def as_kept(config: Config) -> Config:
    """What config.yaml says: neither `input`, which is nothing to train on and may hold a password, nor the sweep."""
    return replace(config, input=None, training=replace(config.training, rival=None), sweep=SweepOptions())


def merge(config: Config, dataset: Dataset, run: Run, folds: Sequence[int], cost: dict[str, Any]) -> None:
    """The run's own tables and metrics, from its folds. cost: as `cost_of`."""
    train, competition = dataset.train, config.competition
    oof = merge_folds([run.fold(number).oof() for number in folds], train["id"])
    write_parquet(run.oof_file, oof)
    test = average_folds([run.fold(number).test() for number in folds])
    write_parquet(run.test_file, test)
    if competition.kind == "image":
        draw_hardest(config, dataset, oof, run.folder / "hardest.png")
    groups = train.set_index("id")["group"]
    scores = scores_of(oof, competition, dataset.classes, groups, dataset=dataset)
    scores = with_test_scores(scores, competition, dataset, test)
    teacher = find_teacher(config, dataset)
    about = {
        "run": run.name,
        "classes": dataset.classes,
        **comparisons(config, dataset, oof),
        **({} if teacher is None else {"over_teacher": gain_over_teacher(teacher, dataset, oof, competition.metric)}),
        "identity": identity_of(config, dataset),
        "groups_sha256": groups_hash(dataset),
        "cut_by_budget": shortest_budget(run, folds),
        **cost,
    }
    run.save_metrics({**scores, **about})


def cost_of(config: Config, seconds: float) -> dict[str, Any]:
    """What a command has cost that took so long, and on which machine."""
    from kagglepipe.training.device import choose_device, describe_machine

    machine = describe_machine(choose_device(config.device))
    return dict(zip(COST, (round(seconds, 1), peak_memory(), machine), strict=True))


def shortest_budget(run: Run, folds: Sequence[int]) -> str | None:
    """The `training.budget` that has cut folds of the run short, the least of several; None if none has."""
    cuts = [run.fold(number).cut_by_budget for number in folds]
    return min((cut for cut in cuts if cut), key=lambda cut: seconds_of("training.budget", cut), default=None)


def comparisons(config: Config, dataset: Dataset, oof: pd.DataFrame) -> dict[str, Any]:
    """Scores of baselines on the same rows, by name."""
    from kagglepipe.predictions.baseline import constant_baseline, metadata_baseline

    train, classes, competition = dataset.train, dataset.classes, config.competition
    groups = train.set_index("id")["group"]
    if competition.kind == "image":
        return {"baseline": scores_of(metadata_baseline(train, classes), competition, classes, groups)}
    log.info("train: for comparison, a linear model that knows no order, on the same folds and on random ones")
    folds = train["fold"].to_numpy(np.int64)
    linear, random = linear_baseline(config, dataset, folds, np.random.default_rng(config.seed).permutation(folds))
    rows = linear["id"]
    ours, theirs = (is_right(frame.set_index("id").loc[rows].reset_index(), classes) for frame in (oof, linear))
    over = paired_difference(ours, theirs, groups[rows].tolist())

    def compared(frame: pd.DataFrame) -> dict[str, Any]:
        return scores_of(frame, competition, classes, groups, dataset=dataset if competition.finds_segments else None)

    return {
        "constant": {"class": train["target"].mode()[0], **compared(constant_baseline(train, classes))},
        "linear": compared(linear),
        "linear_random_split": scores_of(random, competition, classes, groups),
        "accuracy_over_linear": {"difference": over.value, "interval": list(over.interval), "p": over.p},
    }


def linear_baseline(config: Config, dataset: Dataset, *folds: Any) -> list[pd.DataFrame]:
    """Out-of-fold predictions of a linear model on pooled features, for each assignment of folds (N,)."""
    from kagglepipe.training.linear import cross_validate_linear

    train, classes = dataset.train, dataset.classes
    learner: Any = make_learner(config, dataset)
    x, frames = learner.baseline_features(), []
    for assigned in folds:
        probs, own = cross_validate_linear(x, learner.labels, assigned, len(classes)), []
        for fold in np.unique(assigned):
            rows = train[held := assigned == fold]
            own.append(oof_frame(rows["id"].tolist(), int(fold), rows["target"].tolist(), probs[held], classes))
        frames.append(merge_folds(own, train["id"]))
    return frames


def is_right(frame: pd.DataFrame, classes: list[str]) -> Any:
    """(N,) 1.0 where the most probable class is the target."""
    return (probabilities(frame, classes).argmax(axis=1) == labels(frame, classes)).astype(float)


def draw_hardest(config: Config, dataset: Dataset, oof: pd.DataFrame, path: Path, count: int = 24) -> None:
    """A picture of the training images whose own class got the least probability out of fold."""
    from kagglepipe.images.cache import image_reader
    from kagglepipe.reports.plots import INK, WRONG, Tile, draw_sheet

    probs = probabilities(oof, dataset.classes)
    truth = labels(oof, dataset.classes)
    own = probs[np.arange(len(oof)), truth]
    rows = dataset.train.set_index("id", drop=False).loc[oof["id"]]
    side, tiles = config.short_side, []
    reader = image_reader(dataset, rows, side, config.pixels_dir(side))
    for row in np.argsort(own, kind="stable")[:count]:
        id = oof["id"].iloc[row]
        caption = f"{id}\n{dataset.classes[truth[row]]}: {own[row]:.3f}"
        colour = INK if probs[row].argmax() == truth[row] else WRONG
        try:
            tiles.append(Tile(reader[int(row)], caption, colour))
        except UserError as error:  # the run is trained, and its picture no reason to lose it
            log.warning("train: %s lacks a photo: %s", path, error)
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
