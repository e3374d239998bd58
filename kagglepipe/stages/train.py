"""stage=train: fits every fold, then merges them into one out-of-fold and one test table.

Reads what `prepare` left. Writes outputs/<slug>/<run>/: fold_k/{model.safetensors, model.json, log.csv,
oof.parquet, test.parquet, metrics.json (last)}, config.yaml, backbone.safetensors (frozen backbones), and when
every fold is there oof.parquet, test.parquet, hardest.png and metrics.json (last).
"""

import logging
import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from kagglepipe import distributed
from kagglepipe.competitions.dataset import Dataset
from kagglepipe.config import Config
from kagglepipe.distributed import is_rank_zero
from kagglepipe.errors import UserError
from kagglepipe.files import absolute, exclusive_lock, write_parquet
from kagglepipe.options import SweepOptions, seconds_of
from kagglepipe.predictions.frame import average_folds, labels, merge_folds
from kagglepipe.runs.answers import score_test_again, with_test_scores
from kagglepipe.runs.identity import training_mode, write_config
from kagglepipe.runs.incumbent import reason_to_prune
from kagglepipe.runs.provenance import git_commit
from kagglepipe.runs.pseudo_labels import gain_over_teacher
from kagglepipe.runs.run import Outputs, Run
from kagglepipe.runs.scores import describe_scores, groups_hash, is_scored, scores_of
from kagglepipe.stages.configured import find_teacher, identity_of, image_reader, read_data, run_of
from kagglepipe.stages.session import RESUME

if TYPE_CHECKING:
    from kagglepipe.stages.session import Session

log = logging.getLogger(__name__)
COST = ("seconds", "peak_memory_gb", "machine")  # of the command that finished a run, as metrics.json keeps it


def check(config: Config) -> None:
    """Raises UserError for a model or weights that cannot be had, before anything is downloaded or prepared."""
    from kagglepipe.models.weights import demand_model, find_weights
    from kagglepipe.training.trackers import demand_trackers

    demand_trackers(config.training.trackers)
    if config.engine == "openvino":
        from kagglepipe.training.backends import check_openvino
        from kagglepipe.training.device import choose_device

        check_openvino(choose_device(config.device))
    if config.device not in ("auto", "cpu"):
        from kagglepipe.training.device import choose_device

        choose_device(config.device)
    if config.run is None and config.competition.kind != "image" and training_mode(config) == "finetune":
        from kagglepipe.stages.train_sequences import demand_tunable

        demand_tunable(config)
    if config.run is None and config.competition.kind != "series":
        find_weights(config.model.name, config.model.weights)
        demand_model(config.model.name)


def run(config: Config) -> float:
    """Trains what is missing of the configured run and merges it. The out-of-fold score."""
    prepared = read_data(config)
    demand_one_table(prepared)
    run = run_of(config, prepared)
    if distributed.broadcast_object(is_done(config, run)):
        if is_rank_zero():
            tell_finished(run)
            score_again(config, prepared, run)
            warn_of_other_code(run)
    else:
        train_missing(config, prepared, run)
    if not run.is_finished:
        return float("nan")  # some folds were left for another time
    metrics = run.metrics
    for line in describe_scores(metrics, config.competition.metric):
        log.info("train: %s", line)
    return float(metrics["score"])


def demand_one_table(prepared: Dataset) -> None:
    """Raises UserError in a process that has read other data than the first one, as while another command prepares."""
    own = [prepared.table_hash, prepared.folds_hash, prepared.classes]
    if distributed.broadcast_object(own) != own:
        raise UserError(
            "another command has prepared other data while the processes began: type the same command again"
        )


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


def score_again(config: Config, prepared: Dataset, run: Run) -> None:
    """Writes the run's metrics anew if they are of another metric than the configuration's, other groups or answers."""
    metrics = run.metrics
    if score_test_again(config.competition, prepared, run):
        log.info("train: the test of %s is scored anew, by the answers as they are now", run.name)
    if config.run is None and not is_scored(metrics, config.competition, prepared):
        log.info("train: %s is scored anew, by the metric and the groups as they are now", run.name)
        folds = sorted(int(fold) for fold in prepared.folds["fold"].unique())
        merge(config, prepared, run, folds, {name: metrics.get(name) for name in COST})


def warn_of_other_code(run: Run) -> None:
    """Says so when a finished run was made by another commit of the package."""
    made, now = {fold.model["git_commit"] for fold in run.models}, git_commit()
    if made - {now}:
        log.warning("train: it was made at commit %s, this is %s", ", ".join(map(str, sorted(made, key=str))), now)


def train_missing(config: Config, prepared: Dataset, run: Run) -> None:
    """Every wanted fold that is not finished, then the merge if all folds are."""
    from kagglepipe.training.resume import forget_progress

    start, limit = time.perf_counter(), config.training.budget
    folds = sorted(int(fold) for fold in prepared.folds["fold"].unique())
    if unknown := [fold for fold in config.folds.only if fold not in folds]:
        raise UserError(f"folds.only={unknown} do not exist; the folds are {folds[0]}…{folds[-1]}")
    done = {number: run.fold(number) for number in folds}
    wanted = [fold for fold in config.folds.only or folds if not is_whole(config, done[fold])]
    if wanted := distributed.broadcast_object(wanted):
        train_folds(config, prepared, run, wanted)
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
        complete(config, prepared, run)
        merge(config, prepared, run, folds, cost_of(config, time.perf_counter() - start))
    if limit and run.metrics["cut_by_budget"]:
        log.info("train: training.budget=%s has cut it short; without it the same command trains it whole", limit)
    took = time.perf_counter() - start
    if limit and took > 1.1 * seconds_of("training.budget", limit):
        log.warning(
            "train: it took %.0f s: features, a first look at what is held out, and predictions are made in full", took
        )


def train_folds(config: Config, prepared: Dataset, run: Run, wanted: Sequence[int]) -> None:
    """Fits the wanted folds, one after another; a budget is shared among those that are left."""
    from kagglepipe.training.budget import Budget
    from kagglepipe.training.trackers import tracking

    limit = config.training.budget
    budget = Budget(seconds_of("training.budget", limit)) if limit else None
    session = make_session(config, prepared, run)
    session.tell()
    if is_rank_zero():
        write_config(as_kept(config), run.config_file)
    names = config.training.trackers if is_rank_zero() else []
    with tracking(names, folder=run.folder, settings=session.identity) as session.track:
        session.prepare()
        distributed.barrier()
        started = time.perf_counter()  # what all folds share is done, and says nothing of those that are left
        for number, fold in enumerate(wanted):
            if distributed.broadcast_object(is_behind(config, prepared, run)):
                break
            session.budget = budget and budget.share(len(wanted) - number)
            train_fold(session, fold)
            left = (time.perf_counter() - started) / (number + 1) * (len(wanted) - number - 1)
            if left > 60:
                log.info("train: about %.0f min left for %d folds", left / 60, len(wanted) - number - 1)


def is_behind(config: Config, prepared: Dataset, run: Run) -> bool:
    """Whether the folds that are done, which are kept, show that the run cannot beat `training.rival`; says why."""
    incumbent = config.training.rival and absolute(config.training.rival)
    why = reason_to_prune(run, prepared, incumbent or None, config.competition.metric)
    if why:
        log.info("train: stopped, since %s; without training.rival it goes on", why)
    return why is not None


def train_fold(session: "Session", fold: int) -> None:
    """Fits one fold, unless another command does it: then waits for that."""
    own = Run(session.run).fold(fold)
    with exclusive_lock(own.folder, f"train: fold {fold} of {session.run.name}") if is_rank_zero() else nullcontext():
        if distributed.broadcast_object(is_whole(session.config, own)):
            return
        if is_rank_zero():
            for left in own.folder.glob(".*.tmp"):  # by writes that were killed
                if not left.name.startswith(f".{RESUME}"):
                    left.unlink(missing_ok=True)
        session.train_fold(fold)


def make_session(config: Config, prepared: Dataset, run: Run) -> "Session":
    """What fits the folds of this kind of competition."""
    if config.competition.kind == "image":
        from kagglepipe.stages.train_images import ImageSession

        return ImageSession(config, prepared, run.folder)
    from kagglepipe.stages.train_sequences import SequenceSession

    return SequenceSession(config, prepared, run.folder)


# --- the whole run ---------------------------------------------------------------------------------------------


def complete(config: Config, prepared: Dataset, run: Run) -> None:
    """What a run needs beside its folds, which alone may have come from other machines."""
    from kagglepipe.training.checkpoint import BACKBONE, read_checkpoints

    if not run.config_file.exists():
        write_config(as_kept(config), run.config_file)
    if not (run.folder / BACKBONE).exists() and any(
        one.meta["shared_backbone"] for one in read_checkpoints(run.folder)
    ):
        make_session(config, prepared, run).keep_backbone()


def as_kept(config: Config) -> Config:
    """What config.yaml says: neither `input`, which is nothing to train on and may hold a password, nor the sweep."""
    return replace(config, input=None, training=replace(config.training, rival=None), sweep=SweepOptions())


def merge(config: Config, prepared: Dataset, run: Run, folds: Sequence[int], cost: dict[str, Any]) -> None:
    """The run's own tables and metrics, from its folds. cost: as `cost_of`."""
    train, competition = prepared.train, config.competition
    oof = merge_folds([run.fold(number).oof() for number in folds], train["id"])
    write_parquet(run.oof_file, oof)
    test = average_folds([run.fold(number).test() for number in folds])
    write_parquet(run.test_file, test)
    if competition.kind == "image":
        draw_hardest(config, prepared, oof, run.folder / "hardest.png")
    groups = train.set_index("id")["group"]
    scores = scores_of(oof, competition, prepared.classes, groups, dataset=prepared)
    scores = with_test_scores(scores, competition, prepared, test)
    teacher = find_teacher(config, prepared)
    about = {
        "run": run.name,
        "classes": prepared.classes,
        **comparisons(config, prepared, run, oof),
        **({} if teacher is None else {"over_teacher": gain_over_teacher(teacher, prepared, oof, competition.metric)}),
        "identity": identity_of(config, prepared),
        "groups_sha256": groups_hash(prepared),
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


def comparisons(config: Config, prepared: Dataset, run: Run, oof: pd.DataFrame) -> dict[str, Any]:
    """What a run's score is to be held against, by name."""
    if config.competition.kind != "image":
        from kagglepipe.stages.train_sequences import SequenceSession, sequence_comparisons

        return sequence_comparisons(SequenceSession(config, prepared, run.folder), oof)
    from kagglepipe.predictions.baseline import metadata_baseline

    train, classes = prepared.train, prepared.classes
    alone = metadata_baseline(train, classes)
    return {"baseline": scores_of(alone, config.competition, classes, train.set_index("id")["group"])}


def draw_hardest(config: Config, prepared: Dataset, oof: pd.DataFrame, path: Path, count: int = 24) -> None:
    """A picture of the training images whose own class got the least probability out of fold."""
    from kagglepipe.predictions.frame import probabilities
    from kagglepipe.reports.plots import INK, WRONG, Tile, draw_sheet

    probs = probabilities(oof, prepared.classes)
    truth = labels(oof, prepared.classes)
    own = probs[np.arange(len(oof)), truth]
    rows = prepared.train.set_index("id", drop=False).loc[oof["id"]]
    reader, tiles = image_reader(config, prepared, rows, config.short_side), []
    for row in np.argsort(own, kind="stable")[:count]:
        id = oof["id"].iloc[row]
        caption = f"{id}\n{prepared.classes[truth[row]]}: {own[row]:.3f}"
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
