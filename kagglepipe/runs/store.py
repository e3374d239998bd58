"""Find runs: by name, by identity, the best of them, the members of an ensemble, the teacher of pseudo-labels."""

import difflib
import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from kagglepipe.competitions.dataset import Dataset
from kagglepipe.errors import UserError
from kagglepipe.files import absolute, file_sha256
from kagglepipe.options import CompetitionOptions
from kagglepipe.predictions.evaluation import score as score_frame
from kagglepipe.predictions.frame import class_columns
from kagglepipe.predictions.own_metric import is_greater_better, is_out_of_reach, same_metric
from kagglepipe.predictions.uncertainty import format_score
from kagglepipe.runs.identity import run_name
from kagglepipe.runs.run import METRICS_FILE, Run
from kagglepipe.text import listed

log = logging.getLogger(__name__)
MAX_NAMED = 6  # runs that an error lists


@dataclass(frozen=True)
class Member:
    """A member of an ensemble: its name, and the files with its out-of-fold and test predictions."""

    name: str
    oof: Path
    test: Path

    @property
    def run(self) -> Run | None:
        """The run in whose folder the predictions lie; None for files from elsewhere."""
        run = Run(self.oof.parent)
        return run if run.is_finished else None


@dataclass(frozen=True)
class RunStore:
    """The runs of a competition: outputs/<slug>/."""

    folder: Path

    def run(self, name: str) -> Run:
        """Get the run of this name; its folder need not exist."""
        return Run(self.folder / name)

    def finished(self) -> list[Run]:
        """Finished runs, the latest last."""
        return sorted((Run(file.parent) for file in self.folder.glob(f"*/{METRICS_FILE}")), key=lambda run: run.time_ns)

    def named(self, name: str, asked: str | None = None) -> Run:
        """Find a finished run by its name or path. Raises UserError, naming the option `asked`, if there is none."""
        for run in (Run(self.folder / name), Run(absolute(name))):
            if run.is_finished:
                return run
        known = [run.name for run in self.finished()]
        near = [one for one in known if name.lower() in one.lower()] or difflib.get_close_matches(name, known, 3, 0.5)
        found = f"near it: {', '.join(near[:3])}; " if near and len(known) > MAX_NAMED else ""
        more = f" and {len(known) - MAX_NAMED} more, which `runs` lists" if len(known) > MAX_NAMED else ""
        there = ", ".join(known[-MAX_NAMED:]) + more if known else "none: type stage=train first"
        raise UserError(f"{asked or f'run={name}'} is not a finished run in {self.folder}; {found}there are: {there}")

    def of(self, identity: dict[str, Any], model: str, classes: list[str], metric: str) -> Run:
        """Get the run with this identity; its folder need not exist.

        Versions before 0.4 left the order of classes, or the metric that chooses the epoch, out of the name.
        """
        run = Run(self.folder / run_name(model, identity))
        if run.folder.exists():
            return run
        training = identity["training"]
        later = [name for name, holder in (("classes", identity), ("best_by", training)) if name in holder]
        for names in [{name} for name in later] + [set(later)] * (len(later) > 1):
            settings = {key: value for key, value in identity.items() if key not in names}
            settings["training"] = {key: value for key, value in training.items() if key not in names}
            older = Run(self.folder / run_name(model, settings))
            is_in_order = "classes" not in names or older.class_orders == [classes]
            # the epoch was then chosen by the run's own metric
            if is_in_order and ("best_by" not in names or (older.is_finished and older.metrics["metric"] == metric)):
                return older
        return run

    def best(
        self,
        competition: CompetitionOptions,
        present: tuple[str, str] | None,
        stage: str,
        *,
        name: str | None = None,
        live: bool = False,
    ) -> Run:
        """Choose the run to predict other files with: the one of this name, or the best by the competition's metric.

        Ensembles count if all weighted members have networks; runs not better than their teacher do not. live: prefer
        runs that can follow a stream. present: as in `best_network`. Raises UserError if there is none.
        """
        if name:
            run = self.named(name)
            if run.is_ensemble and (why := run.missing_network()):
                raise UserError(f"run={name} cannot predict other files: {why}; name another run")
            return run
        runs = []
        for run in self.finished():
            why = run.missing_network()
            if why is None and run.is_submittable:
                runs.append(run)
            elif why and run.is_ensemble:
                log.info("%s: passed over the ensemble %s: %s", stage, run.name, why)
        if not runs:
            raise UserError(f"nothing is trained yet in {self.folder}: type stage=train first, or give run=PATH")
        streaming = [run for run in runs if run.can_stream] if live else []
        return best_network(streaming or runs, present, competition, stage)

    # --- pseudo-labels ------------------------------------------------------------------------------------------

    def teacher(self, name: str, dataset: Dataset) -> Run:
        """Find the run of `training.teacher`.

        Raises UserError for a run without a network for each of the present folds (only that network has not seen the
        fold's rows), and for one that is not better than its own teacher.
        """
        key = f"training.teacher={name}"
        teacher = self.named(name, key)
        if teacher.folder.parent.resolve() != self.folder.resolve():
            raise UserError(f"{key} lies elsewhere: name a run in {self.folder}")
        if not teacher.fold_tests:
            raise UserError(
                f"{key} has no network of its own for each fold: name a trained run, as a member of that blend"
            )
        if teacher.data != {(dataset.table_hash, dataset.folds_hash)}:
            raise UserError(f"{key} was trained on other data or folds: train it on the present ones first")
        folds = {teacher.fold(number).test_file for number in dataset.folds["fold"].unique()}
        if missing := sorted(folds - set(teacher.fold_tests)):
            file = missing[0].relative_to(teacher.folder).as_posix()
            raise UserError(f"{key} lacks {file}: delete its metrics.json and train it again")
        if not teacher.is_submittable:
            raise UserError(
                f"{key} is not significantly better than its own teacher: type training.teacher={teacher.teacher}"
            )
        if dataset.test.empty:
            raise UserError(f"{key} has nothing to label: this competition has no rows to classify")
        return teacher

    # --- ensembles ----------------------------------------------------------------------------------------------

    def member(self, name: str) -> Member:
        """Find a run, or predictions from elsewhere as `oof.csv+test.csv`. Raises UserError if it is not there."""
        if "+" in name and not (self.folder / name).exists():
            files = [absolute(part) for part in name.split("+")]
            if len(files) != 2:
                raise UserError(f"ensemble member {name} is not a run, and not a pair of files as oof.csv+test.csv")
            if missing := [file for file in files if not file.is_file()]:
                raise UserError(
                    f"ensemble member {name}: {missing[0]} is not there; give two files, as oof.csv+test.csv"
                )
            return Member(name, *files)
        return member_of(self.named(name))

    def members(self, asked: Sequence[str], dataset: Dataset, metric: str) -> list[Member]:
        """Find the members that `ensemble.runs` asks for, sorted: the order in which they were typed does not matter.

        A pattern, and `best:8`, choose among trained runs of the present table and folds, never ensembles: else the
        same command would blend its own result the second time.
        Raises UserError for a member that is not there or is typed twice.
        """
        typed, chosen = [], []
        for name in asked:
            if name.startswith("best:"):
                chosen += self._best_members(name, dataset, metric)
            elif set("*?[") & set(name) and "+" not in name:
                chosen += self._matching_members(name, dataset)
            else:
                typed.append(self.member(name))
        if twice := [one.name for n, one in enumerate(typed) if one.oof in [other.oof for other in typed[:n]]]:
            raise UserError(f"ensemble.runs names {twice[0]} twice; name each member once")
        for one in (*chosen, *typed):
            if missing := [file for file in (one.oof, one.test) if not file.exists()]:
                raise UserError(
                    f"{missing[0]} is missing, which {one.name} needs: delete its metrics.json and train it again"
                )
        known = {member.oof.resolve(): member for member in (*chosen, *typed)}
        return sorted(known.values(), key=lambda one: (one.name, file_sha256(one.oof), file_sha256(one.test)))

    def _best_members(self, asked: str, dataset: Dataset, metric: str) -> list[Member]:
        """`best:8`: so many of the best runs, or all if there are fewer."""
        count = asked.removeprefix("best:")
        if not count.isdecimal():
            raise UserError(f"ensemble.runs={asked} needs a number, as best:8")
        ranked = rank_runs(self.comparable(dataset), metric)
        if int(count) < 1 or not ranked:
            raise UserError(
                f"ensemble.runs=[{asked}] chose none of {len(ranked)} finished runs of the present table and folds "
                f"with a score in {metric}: type stage=train first, and best:1 or more"
            )
        return [member_of(run) for run, _ in ranked[: int(count)]]

    def _matching_members(self, pattern: str, dataset: Dataset) -> list[Member]:
        """Runs whose name, or folder, matches a pattern as `*lite*`."""
        runs, path = self.comparable(dataset), str(absolute(pattern))
        found = [run for run in runs if fnmatchcase(run.name, pattern) or fnmatchcase(str(run.folder), path)]
        if not found:
            raise UserError(
                f"ensemble.runs={pattern} matches no finished run of the present table and folds in {self.folder}; "
                f"there are: {listed([run.name for run in runs], len(runs)) or 'none'}"
            )
        return [member_of(run) for run in found]

    def comparable(self, dataset: Dataset) -> list[Run]:
        """Finished trained runs of the same rows and folds that are submittable."""
        present = {(dataset.table_hash, dataset.folds_hash)}
        runs = [run for run in self.finished() if not run.is_ensemble and run.is_submittable and run.data == present]
        if dataset.per_frame:
            return [run for run in runs if run.rates.get(run.name, dataset.rate) == dataset.rate]
        return runs


def member_of(run: Run) -> Member:
    """Make a member of an ensemble from a run."""
    return Member(run.name, run.oof_file, run.test_file)


def check_one_rate(rates: dict[str, float]) -> None:
    """Raises UserError for runs at several rates: no two of them classify the same frames of a video."""
    if len(set(rates.values())) > 1:
        rates_of = ", ".join(f"{name} at sequences.rate={rate:g}" for name, rate in rates.items())
        raise UserError(f"these runs classify other frames: {rates_of}; blend runs of one rate")


# --- ranking ------------------------------------------------------------------------------------------------------


def score_of_run(run: Run, metric: str) -> float | None:
    """Out-of-fold score by a metric: from metrics.json, else computed from oof.parquet; None if unknown."""
    metrics = run.metrics
    if same_metric(metrics["metric"], metric):
        return None if metrics["score"] is None else float(metrics["score"])
    if is_out_of_reach(metric) or not run.oof_file.exists():
        return None
    frame = run.oof()
    found = score_frame(metric, frame, class_columns(frame))
    return None if math.isnan(found) else found


def rank_runs(runs: Sequence[Run], metric: str, *, of_segments: bool = False) -> list[tuple[Run, float]]:
    """(run, score) of runs with a score, best first; ties go to the smaller log loss, then to the earlier run.

    runs: earliest first. metric: of rows or, with `of_segments`, as in `segments.metrics.SEGMENT_SCORES`.
    """
    is_of_rows, found = not of_segments, []
    sign = 1 if is_of_rows and not is_greater_better(metric, (run.metrics for run in runs)) else -1
    for run in runs:
        metrics = run.metrics
        score = score_of_run(run, metric) if is_of_rows else metrics.get("detection", {}).get("scores", {}).get(metric)
        if score is not None:
            loss = metrics.get("log_loss")
            found.append((sign * score, math.inf if loss is None else loss, run, float(score)))
    return [(run, score) for *_, run, score in sorted(found, key=lambda one: one[:2])]


def best_network(
    runs: Sequence[Run], present: tuple[str, str] | None, competition: CompetitionOptions, stage: str
) -> Run:
    """Choose the best run of the present table and folds; logs the choice.

    runs: finished ones with a network, earliest first; at least one. present: hashes of table and folds; None where
    nothing is prepared: then runs on the same data as the latest are compared. Falls back to the latest run.
    """
    latest = runs[-1]
    ours = [run for run in runs if run.data == ({present} if present else latest.data)]
    if not ours:
        log.info("%s: %s, the latest; no run was trained on the present table and folds", stage, latest.name)
        return latest
    metric = competition.segment_metric if competition.finds_segments else competition.metric
    if not (ranked := rank_runs(ours, metric, of_segments=competition.finds_segments)):
        log.info("%s: %s, the latest; no run has a score in %s", stage, ours[-1].name, metric)
        return ours[-1]
    (best, score), among = ranked[0], f"the best of {len(ranked)}" if len(ranked) > 1 else "the only one"
    log.info("%s: %s, out of fold %s %s, %s", stage, best.name, metric, format_score(score), among)
    return best
