"""stage=train: fit every fold, then merge them into one out-of-fold and one test table.

Reads what `prepare` left. Writes outputs/<slug>/<run>/: fold_k/ (weights and predictions of a fold); config.yaml;
backbone.safetensors (frozen backbones); and when every fold is there oof.parquet, test.parquet, hardest.png and
metrics.json (last).
"""

import logging
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from kagglepipe import distributed
from kagglepipe.competitions.dataset import Dataset
from kagglepipe.config import Config, network_side
from kagglepipe.distributed import is_rank_zero
from kagglepipe.errors import UserError
from kagglepipe.files import absolute, write_parquet
from kagglepipe.images.policy_file import is_policy_file
from kagglepipe.memory import without_garbage_collection
from kagglepipe.options import SweepOptions, seconds_of
from kagglepipe.predictions.frame import average_folds, merge_folds
from kagglepipe.runs.configured import ends_with_summary, find_teacher, identity_of, make_learner, read_data, run_of
from kagglepipe.runs.describe import log_scores, or_nan
from kagglepipe.runs.identity import idle_settings, result_settings, usual_order
from kagglepipe.runs.provenance import NO_COMMIT, git_commit, versions, write_config, write_policy
from kagglepipe.runs.pseudo_labels import check_teacher, gain_over_teacher
from kagglepipe.runs.run import Run
from kagglepipe.runs.scores import (
    baseline_scores,
    groups_hash,
    is_scored,
    score_test_again,
    scores_of,
    with_test_scores,
)
from kagglepipe.runs.train_fold import RESUME, Training, is_complete, is_pruned, train_fold
from kagglepipe.runs.trial import read_incumbent
from kagglepipe.runs.tta import choose_tta

if TYPE_CHECKING:
    from kagglepipe.training.learner import Learner

log = logging.getLogger(__name__)
COST = ("seconds", "peak_memory_gb", "machine")  # of the command that finished a run, as in metrics.json


def check(config: Config) -> None:
    """Raises UserError for a missing model, weights or `training.prune_against`, before any download."""
    from kagglepipe.models.weights import check_model, find_weights
    from kagglepipe.training.trackers import check_trackers

    device, engine, model, training = config.device, config.engine, config.model, config.training
    competition = config.competition
    kind, finds_segments = competition.kind, competition.finds_segments
    check_trackers(training.trackers)
    if training.teacher:
        check_teacher(competition.task)
    if training.prune_against:
        read_incumbent(absolute(training.prune_against))
    if engine == "openvino" or device not in ("auto", "cpu"):
        from kagglepipe.training.backends import check_openvino
        from kagglepipe.training.device import choose_device

        chosen = choose_device(device)
        if engine == "openvino":
            check_openvino(chosen)
    if config.run is not None:
        return
    augmentation = config.augmentation
    if is_policy_file(augmentation.policy):
        from kagglepipe.images.augment import own_policy

        own_policy(augmentation.policy, mirror=augmentation.mirror)
    if kind == "image" and config.training_mode == "finetune":
        from kagglepipe.training.weighted_losses import check_loss

        check_loss(competition.task, training)
    if config.sequences.silence is not None and kind == "audio" and finds_segments:
        raise UserError("sequences.silence would shift the times of segments: type sequences.silence=null")
    if kind != "image" and config.training_mode == "finetune":
        if config.sequences.motion:
            raise UserError("fine-tuning reads only frames: type sequences.motion=false, or training=head")
        if model.temporal.cell in ("auto", "mean") and finds_segments:
            raise UserError("fine-tuning needs a temporal model: type model=cnn_lstm, or training=head")
    if competition.has_encoder:
        find_weights(model.name, model.weights)
        check_model(model.name)


def run(config: Config) -> float:
    """Train the missing folds of the configured run and merge them. Returns the out-of-fold score."""
    dataset = read_data(config)
    check_same_dataset(dataset)
    run = run_of(config, dataset)
    if distributed.broadcast_object(is_done(config, run)):
        if is_rank_zero():
            log_finished(run)
            score_again(config, dataset, run)
    else:
        train_missing(config, dataset, run)
    if not run.is_finished:
        return float("nan")  # other folds are left for another command
    metrics = run.metrics
    if not ends_with_summary(config):
        log_scores("train", metrics)
    return float(or_nan(metrics["score"]))


def check_same_dataset(dataset: Dataset) -> None:
    """Raises UserError in a rank with another dataset than rank 0, as while another command prepares."""
    own = [dataset.table_hash, dataset.folds_hash, dataset.classes]
    if distributed.broadcast_object(own) != own:
        raise UserError("other data were prepared while the processes started: type the same command again")


def is_done(config: Config, run: Run) -> bool:
    """Whether nothing is left to train; always so for a run that `run=` names."""
    return config.run is not None or is_complete(run, config.training.budget, config.stage)


def log_finished(run: Run) -> None:
    """Log that the run is finished, its budget, and a commit of the package that is not the present one."""
    cut, commits, now = run.cut_by_budget, {fold.model["git_commit"] for fold in run.models}, git_commit()
    more = f", cut short by training.budget={cut}: without it, or with more, stage=train trains it again" if cut else ""
    log.info("train: %s is finished already%s", run.name, more)
    if commits - {now}:
        made = ", ".join(sorted(f"at commit {commit}" if commit else NO_COMMIT for commit in commits))
        log.warning("train: it was made %s, this runs %s", made, f"at commit {now}" if now else NO_COMMIT)


def score_again(config: Config, dataset: Dataset, run: Run) -> None:
    """Update metrics.json if the metric, the groups or the known answers have changed."""
    metrics = run.metrics
    if score_test_again(config.competition, dataset, run):
        log.info("train: the test of %s is scored again, by the answers as they are now", run.name)
    if config.run is None and not is_scored(metrics, config.competition, dataset):
        log.info("train: %s is scored again, by the metric and the groups as they are now", run.name)
        merge(config, dataset, run, fold_numbers(dataset), {name: metrics.get(name) for name in COST})


def fold_numbers(dataset: Dataset) -> list[int]:
    """List the folds of the dataset, sorted."""
    return sorted(int(fold) for fold in dataset.folds["fold"].unique())


# --- folds -----------------------------------------------------------------------------------------------------


def train_missing(config: Config, dataset: Dataset, run: Run) -> None:
    """Train the wanted folds that are not finished, then merge if all folds are."""
    with without_garbage_collection():
        from kagglepipe.training.resume import forget_progress

    start, limit, only, stage = time.perf_counter(), config.training.budget, config.folds.only, config.stage
    folds = fold_numbers(dataset)
    if unknown := [fold for fold in only if fold not in folds]:
        raise UserError(f"folds.only={unknown} do not exist; the folds are {folds[0]}…{folds[-1]}")
    wanted = [fold for fold in only or folds if not is_complete(run.fold(fold), limit, stage)]
    if wanted := distributed.broadcast_object(wanted):
        train_folds(config, dataset, run, wanted)
    if not is_rank_zero():
        return
    with run.lock():
        if is_done(config, run):  # another command has trained the other folds and merged
            return
        if missing := [fold for fold in folds if not is_complete(run.fold(fold), limit, stage)]:
            log.info("train: folds %s are left; the run is merged when they are done", ", ".join(map(str, missing)))
            return
        for fold in map(run.fold, folds):  # a kill may have come between a fold's metrics and this
            if not fold.cut_by_budget:  # else it may be resumed with a larger budget
                forget_progress(fold.folder / RESUME)
        save_missing(config, dataset, run)
        merge(config, dataset, run, folds, cost_of(config.device, time.perf_counter() - start))
    if limit and run.metrics["cut_by_budget"]:
        log.info("train: training.budget=%s has cut it short; without it the same command trains it whole", limit)
    took = time.perf_counter() - start
    if limit and took > 1.1 * seconds_of("training.budget", limit):
        log.warning("train: it took %.0f s: the budget does not cover features, first validation and predictions", took)


def train_folds(config: Config, dataset: Dataset, run: Run, wanted: Sequence[int]) -> None:
    """Train the wanted folds, one after another; those that are left share the budget."""
    from kagglepipe.training.loop import Budget
    from kagglepipe.training.trackers import tracking

    options, learner = config.training, make_learner(config, dataset)
    budget = Budget(seconds_of("training.budget", options.budget)) if options.budget else None
    log_setup_of(config, dataset, run, learner)
    if is_rank_zero():
        write_config(without_command(config), run.config_file)
        write_policy(learner.options.augmentation.policy, run)
    meta: dict[str, Any] = {
        "classes": dataset.classes,
        "identity": identity_of(config, dataset),
        "versions": versions(),
        "git_commit": git_commit(),
    }
    order, teacher = usual_order(config, dataset.classes, sorted), find_teacher(config, dataset)
    training = Training(dataset, run, learner, teacher, order, meta, config.stage)
    trackers = options.trackers if is_rank_zero() else []
    with tracking(trackers, folder=run.folder, settings=meta["identity"]) as track:
        learner.prepare_features()
        distributed.barrier()
        started = time.perf_counter()  # features are shared by all folds
        for number, fold in enumerate(wanted):
            if options.prune_against and distributed.broadcast_object(is_pruned(training, options.prune_against)):
                break
            share = budget and budget.split(len(wanted) - number)
            train_fold(training, fold, share, track)
            left = (time.perf_counter() - started) / (number + 1) * (len(wanted) - number - 1)
            left = min(left, budget.left) if budget else left
            if left > 60:
                log.info("train: about %.0f min left for %d folds", left / 60, len(wanted) - number - 1)


def log_setup_of(config: Config, dataset: Dataset, run: Run, learner: "Learner") -> None:
    """Log how the run is set up."""
    from kagglepipe.training.advice import log_setup

    mode, needed_side = learner.options.training.mode, None
    if config.cache.short_side is not None and "short_side" in result_settings(config, mode):
        needed_side = network_side(learner.options.model)
    log_setup(
        run.name, dataset, learner, mode=config.training.mode, only=config.folds.only, idle=idle_settings(config, mode),
        needed_side=needed_side,
    )  # fmt: skip


# --- the whole run ---------------------------------------------------------------------------------------------


def save_missing(config: Config, dataset: Dataset, run: Run) -> None:
    """Write config.yaml and the shared backbone where folds have come from other machines without them."""
    from kagglepipe.training.checkpoint import BACKBONE, read_checkpoints

    if not run.config_file.exists():
        write_config(without_command(config), run.config_file)
        write_policy(config.augmentation_policy(config.training_mode), run)
    has_backbone = (run.folder / BACKBONE).exists()
    if not has_backbone and any(one.meta["shared_backbone"] for one in read_checkpoints(run.model_folders())):
        make_learner(config, dataset).save_backbone(run.folder)


def without_command(config: Config) -> Config:
    """Make the configuration for config.yaml, without the sweep and `input`, which may hold a password."""
    return replace(config, input=None, training=replace(config.training, prune_against=None), sweep=SweepOptions())


def merge(config: Config, dataset: Dataset, run: Run, folds: Sequence[int], cost: dict[str, Any]) -> None:
    """Write the tables and metrics of a run from those of its folds. cost: as `cost_of`."""
    train, classes, competition = dataset.train, dataset.classes, config.competition
    oof = merge_folds([run.fold(number).oof() for number in folds], train["id"])
    test = average_folds([run.fold(number).test() for number in folds])
    oof, test, tta = choose_tta(run, folds, (oof, test), dataset, competition.metric, config.predict.tta)
    write_parquet(run.oof_file, oof)
    write_parquet(run.test_file, test)
    linear, learner = None, make_learner(config, dataset)
    if competition.kind == "image":
        draw_hardest_of(learner, dataset, run, oof)
    else:
        linear = linear_baselines(learner, dataset)
    scores = scores_of(oof, competition, classes, train.set_index("id")["group"], dataset=dataset)
    scores = with_test_scores(scores, competition, dataset, test)
    teacher = find_teacher(config, dataset)
    models = {number: run.fold(number).model for number in folds if run.fold(number).has_model}
    choices = {str(number): one["choice"]["name"] for number, one in models.items() if "choice" in one}
    cuts = [cut for number in folds if (cut := run.fold(number).cut_by_budget)]
    about = {
        "run": run.name,
        "classes": classes,
        **tta,
        **({"choices": choices} if choices else {}),
        **baseline_scores(competition, dataset, oof, linear),
        **({} if teacher is None else {"over_teacher": gain_over_teacher(teacher, dataset, oof, competition.metric)}),
        "identity": identity_of(config, dataset),
        "groups_sha256": groups_hash(dataset),
        "cut_by_budget": min(cuts, key=partial(seconds_of, "training.budget"), default=None),
        **cost,
    }
    run.save_metrics({**scores, **about})


def cost_of(device: str, seconds: float) -> dict[str, Any]:
    """Cost of a command: its time, peak memory and machine. device: as the option."""
    from kagglepipe.training.device import choose_device, describe_machine, peak_memory

    return dict(zip(COST, (round(seconds, 1), peak_memory(), describe_machine(choose_device(device))), strict=True))


def linear_baselines(learner: Any, dataset: Dataset) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Out-of-fold predictions of a linear model on pooled features, on the folds and on random ones."""
    from kagglepipe.training.linear import linear_baseline

    log.info("train: baseline: a linear model on pooled features, on the same folds and on random ones")
    x, folds = learner.baseline_features(), dataset.train["fold"].to_numpy(np.int64)
    shuffled = np.random.default_rng(learner.options.seed).permutation(folds)
    return linear_baseline(x, dataset, folds), linear_baseline(x, dataset, shuffled)


def draw_hardest_of(learner: "Learner", dataset: Dataset, run: Run, oof: pd.DataFrame) -> None:
    """Draw hardest.png of a run of images."""
    from kagglepipe.images.cache import image_reader
    from kagglepipe.reports.plots import draw_hardest

    rows, side = dataset.train.set_index("id", drop=False).loc[oof["id"]], learner.options.short_side
    reader = image_reader(dataset, rows, side, learner.runtime.pixels_dir, learner.options.form)
    draw_hardest(run.folder / "hardest.png", oof, dataset.classes, reader.__getitem__)
