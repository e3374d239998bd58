"""stage=runs: table of the finished runs with their out-of-fold scores and the scores of their submissions at Kaggle.

Reads outputs/<slug>/*/metrics.json and submissions/ledger.csv, whose open rows are updated if there are credentials.
runs.file=PATH writes all facts as a CSV, runs.report=true a page that compares the runs (runs.html),
runs.compare=[RUN,RUN] compares two runs, runs.leaderboard=true shows the public leaderboard instead.
"""

import logging
import math
import shlex
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from kagglepipe.config import Config
from kagglepipe.errors import UserError
from kagglepipe.files import absolute, write_bytes
from kagglepipe.kaggle.account import SHORT_PATIENCE, check_slug, connect
from kagglepipe.kaggle.ledger import OPEN, Row, four_digits, gap, misleading_best, number, read_ledger
from kagglepipe.kaggle.upload import Upload
from kagglepipe.options import KaggleOptions
from kagglepipe.predictions.evaluation import summarise
from kagglepipe.predictions.frame import align, class_columns, read_frame
from kagglepipe.predictions.own_metric import is_greater_better, is_out_of_reach, same_metric
from kagglepipe.predictions.paired import Comparison, compare
from kagglepipe.predictions.tasks import TASKS
from kagglepipe.predictions.uncertainty import format_difference, format_interval
from kagglepipe.reports.comparison import comparison
from kagglepipe.reports.page import render, write_page
from kagglepipe.reports.thumbnails import Album
from kagglepipe.runs.configured import is_prepared, read_data
from kagglepipe.runs.provenance import described, difference, flat, in_brief, written_options
from kagglepipe.runs.run import Metrics, Run, is_submittable
from kagglepipe.runs.store import Member, RunStore
from kagglepipe.runs.summary import best_first, facts_of, facts_table, read_runs
from kagglepipe.runs.typed_words import folder_words
from kagglepipe.text import fitted, table

if TYPE_CHECKING:
    from kagglepipe.kaggle.client import KaggleClient

log = logging.getLogger(__name__)
HEAD = 10  # rows of the leaderboard
SIGNIFICANCE = 0.05
SHOWN = 10  # rows with different predictions
PATCH = "competition.labels_patch"
# columns that a narrow terminal lacks, the first of them first
DROPPED = ("folds", "gap", "log loss", "squared error", "private", "status", "sent (UTC)", "95 % interval", "public")
SENT_COLUMNS = ("sent (UTC)", "status", "public", "private", "gap")


def run(config: Config) -> None:
    """Show the runs, the leaderboard, or the differences of two runs."""
    options, competition = config.runs, config.competition
    if options.leaderboard:
        slug = check_slug(competition, "leave runs.leaderboard away")
        show_leaderboard(slug, connect(config.kaggle))
        return
    metric = competition.metric
    store = RunStore(config.runs_dir)
    file = absolute(options.file) if options.file else None
    if file is not None and file.is_dir():
        raise UserError(f"runs.file={file} is a folder; give a file name, as runs.file={file}/runs.csv")
    if file or options.report or not options.compare:
        ledger = submissions_of(str(competition.slug), config.ledger_file, config.kaggle)
        runs = read_runs(store.finished())
        groups = groups_of(config) if any(is_rescored(store, each, metric) for each in runs) else None
        runs = show_runs(store, runs, ledger, metric, groups, file, loss=TASKS[competition.task].loss)
        if options.report:
            write_comparison(store, runs, metric, folder_words(config))
    if options.compare:
        a, b = (store.member(name) for name in options.compare)
        show_comparison(a, b, groups_of(config), file, metric)


def show_runs(
    store: RunStore,
    runs: list[Metrics],
    ledger: list[Row],
    metric: str,
    groups: "pd.Series[Any] | None",
    file: Path | None,
    *,
    loss: str,
) -> list[Metrics]:
    """Log the table, write it to `file`, and warn of a misleading public score; returns the runs, the best first.

    loss: the title of its column.
    """
    greater = is_greater_better(metric, runs)
    scored = [rescored(store, each, metric, groups) if is_rescored(store, each, metric) else each for each in runs]
    runs = best_first(scored, metric, greater_is_better=greater)
    if not runs and not ledger:
        raise UserError(f"there is no finished run in {store.folder}: type stage=train first")
    header = ("run", metric, "95 % interval", loss, "folds", *SENT_COLUMNS, "finished")
    when = {titled(metrics): finished(store.run(metrics["run"])) for metrics in runs}
    rows = [(*row, when.get(row[0], "")) for row in run_rows(runs, ledger, metric)]
    for line in fitted(header, rows, drop=[name for name in DROPPED if name in header], cut=("run",)):
        log.info("%s", line)
    if not have_one_table(store, runs):
        log.info("runs: they are of different tables (files or labels), each scored on its own: runs.compare=[RUN,RUN] "
                 "compares two on the rows with the same label in both")  # fmt: skip
    for row in ledger:
        if row["status"] == "error":
            why = row["error"] or "no reason is given"
            log.warning("runs: Kaggle could not score submission %s of %s: %s", row["ref"], row["run"], why)
    alike = [row for row in ledger if same_metric(row["metric"], metric)]
    if found := misleading_best(alike, greater_is_better=greater):
        by_public, by_oof = found
        log.warning(
            "runs: %s is best on the public leaderboard (%s), but %s is best out of fold (%s): the public score is of "
            "fewer rows; compare the intervals before you choose by it",
            *(by_public["run"], by_public["public_score"], by_oof["run"], four_digits(by_oof["oof_score"])),
        )
    if file is not None:
        write_bytes(file, facts_table(all_facts(store, runs), ledger))
        log.info("runs: %d runs in %s", len(runs), file)
    return runs


def all_facts(store: RunStore, runs: list[Metrics]) -> list[dict[str, Any]]:
    """Facts of the runs, the best first. Raises UserError without one."""
    if not runs:
        raise UserError(f"there is no finished run in {store.folder} to write: type stage=train first")
    return [facts_of(store.run(metrics["run"]), metrics, runs[0]) for metrics in runs]


def have_one_table(store: RunStore, runs: list[Metrics]) -> bool:
    """Whether all runs whose tables are known were trained on the same files and labels."""
    return len({frozenset(tables) for metrics in runs if (tables := store.run(metrics["run"]).tables)}) <= 1


def write_comparison(store: RunStore, runs: list[Metrics], metric: str, where: list[str]) -> None:
    """Write runs.html, the page that compares the runs. where: arguments for the folders, in its command."""
    facts = all_facts(store, runs)
    for row, metrics in zip(facts, runs, strict=True):
        run = store.run(metrics["run"])
        network = f"blend of {len(metrics['members'])}" if run.is_ensemble else str(run.model.get("model", "unknown"))
        row |= {"network": network, "finished": finished(run), "is_ensemble": run.is_ensemble}
        row |= {"rows": metrics.get("rows"), "folds": len(metrics.get("fold_scores") or ()) or None}
        patch = flat(written_options(run.config_file) or {}).get(PATCH)  # of whose decisions the table is but a hash
        row["settings"] = described(metrics) | ({PATCH: patch} if patch and not run.is_ensemble else {})
    path = store.folder / "runs.html"
    typed = f"python -m kagglepipe {shlex.join(['runs', 'runs.compare=[RUN,RUN]', *where])}"
    sections = comparison(metric, facts, typed, have_one_table=have_one_table(store, runs))
    title = f"{store.folder.name}: {len(runs)} run{'s' * (len(runs) > 1)}"
    write_page(path, render(title, sections, Album(None, 0)))
    log.info("runs: %s", path)


def is_rescored(store: RunStore, metrics: Metrics, metric: str) -> bool:
    """Whether a run was scored by another metric and has predictions."""
    if same_metric(metrics["metric"], metric) or is_out_of_reach(metric):
        return False
    return store.run(metrics["run"]).oof_file.exists()


def rescored(store: RunStore, metrics: Metrics, metric: str, groups: "pd.Series[Any] | None") -> Metrics:
    """Metrics of a run by another metric; without an interval if the present table lacks its rows."""
    frame = store.run(metrics["run"]).oof()
    is_known = groups is None or frame["id"].isin(groups.index).all()
    summary = summarise(metric, frame, class_columns(frame), groups if is_known else None)
    found: Any = {name: None if value != value else value for name, value in summary.items()}  # NaN, as JSON has it
    interval = [None if math.isnan(limit) else limit for limit in summary["interval"]] if is_known else None
    return {**metrics, **found, "metric": metric, "interval": interval}


def submissions_of(slug: str, file: Path, options: KaggleOptions) -> list[Row]:
    """Read the ledger's rows of a competition, updated if Kaggle answers."""
    rows = [row for row in read_ledger(file) if row["competition"] == slug]
    hidden = [row for row in rows if row["status"] == "complete" and not row["private_score"]]  # until the end
    waiting = [row["tag"] for row in rows if row["status"] in (*OPEN, "lost") or row in hidden]
    if not waiting:
        return rows
    try:
        Upload(connect(options, max_patience=SHORT_PATIENCE), slug, file).refresh(waiting)
    except (UserError, OSError) as error:  # no credentials, no answer, or a read-only folder
        log.warning("runs: the ledger is not updated: %s", error)
    return [row for row in read_ledger(file) if row["competition"] == slug]


def run_rows(runs: list[Metrics], ledger: list[Row], metric: str) -> list[tuple[str, ...]]:
    """Make a line a run, in their order, or one for each of its submissions; then submissions of deleted runs."""
    lines = []
    for metrics in runs:
        scores = scored(metrics["score"], metrics["interval"], metrics["metric"], metric)
        sent = [sent_columns(row) for row in ledger if row["run"] == metrics["run"]]
        line = (titled(metrics), *scores, four_digits(metrics["log_loss"]), of_folds(metrics))
        lines += [(*line, *columns) for columns in sent or [("",) * len(SENT_COLUMNS)]]
    here = {metrics["run"] for metrics in runs}
    for row in ledger:
        if row["run"] not in here:
            scores = scored(row["oof_score"], (row["oof_low"], row["oof_high"]), row["metric"], metric)
            lines.append((f"{row['run']} (gone)", *scores, "", "", *sent_columns(row)))
    return lines


def titled(metrics: Metrics) -> str:
    """Name of a run, and why it may not count as others do."""
    cut = f" (cut at {metrics['cut_by_budget']})" if metrics.get("cut_by_budget") else ""
    cut += "" if is_submittable(metrics) else f" (gives way to {metrics.get('base', 'its teacher')})"
    return str(metrics["run"]) + cut


def finished(run: Run) -> str:
    """Local time of a run's end, as `2026-11-28 14:05`."""
    when = datetime.fromtimestamp(run.time_ns / 1e9)
    return f"{when:%Y-%m-%d %H:%M}"


def of_folds(metrics: Metrics) -> str:
    """Mean and standard deviation of the folds' scores; empty without them."""
    if metrics.get("fold_mean") is None:
        return ""
    return f"{four_digits(metrics['fold_mean'])} ± {four_digits(metrics['fold_sd'])}"


def scored(score: Any, interval: Iterable[Any] | None, of: str, metric: str) -> tuple[str, str]:
    """Cells of score and interval. of: metric of the score, which is named if it is not `metric`."""
    return four_digits(score) + ("" if same_metric(of, metric) else f" {of}"), between(interval)


def between(interval: Iterable[Any] | None) -> str:
    """Cell of an interval; null twice means too few groups."""
    limits = list(interval or [""])
    if limits == [None, None]:
        return "too few groups"
    low, high = number(str(limits[0])), number(str(limits[-1]))
    return "?" if low is None or high is None else format_interval(low, high)


def sent_columns(row: Row) -> tuple[str, ...]:
    """Cells of one submission."""
    private = row["private_score"] or ("hidden" if row["status"] == "complete" else "")
    difference = number(gap(row))
    return (
        row["time"][:16],
        row["status"],
        row["public_score"],
        private,
        "" if difference is None else f"{difference:+z.4f}",
    )


# --- two runs ----------------------------------------------------------------------------------------------------


def show_comparison(a: Member, b: Member, groups: "pd.Series[Any] | None", file: Path | None, metric: str) -> None:
    """Log settings, paired tests and predictions in which two runs differ."""
    if a.oof == b.oof:
        raise UserError(f"runs.compare names {a.name} twice: type two runs, as runs.compare=[RUN,RUN]")
    frames = {f"a, {a.name}": read_oof(a), f"b, {b.name}": read_oof(b)}
    if a.run and b.run and a.run.tables != b.run.tables:  # as with and without competition.labels_patch
        frames = with_same_labels(frames)
    one, other = align(frames).values()
    found = compare(one, other, groups, None if is_out_of_reach(metric) else metric)
    log.info("runs: a is %s, b is %s; they differ in %s", a.name, b.name, settings_diff(a, b))
    for line in describe_comparison(found, metric):
        log.info("runs: %s", line)
    if found.differing is not None:
        show_differing(found.differing, file)


def with_same_labels(frames: dict[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """The rows whose id and target are in both frames; logs how many others there are. Raises UserError for none."""
    keys = [pd.MultiIndex.from_frame(frame[["id", "target"]].astype(str)) for frame in frames.values()]
    found = {
        name: frame[own.isin(other)] for (name, frame), own, other in zip(frames.items(), keys, keys[::-1], strict=True)
    }
    if any(frame.empty for frame in found.values()):
        raise UserError("runs.compare names runs that have no labelled row in common: type two of the same data")
    left = [len(frames[name]) - len(frame) for name, frame in found.items()]
    log.info("runs: the two are of different tables: compared are rows with the same label in both, without %d of a "
             "and %d of b", *left)  # fmt: skip
    return found


def read_oof(member: Member) -> pd.DataFrame:
    """Read the member's out-of-fold frame. Raises UserError if it has no targets."""
    frame = read_frame(member.oof)
    if "target" not in frame:
        raise UserError(f"{member.oof} has no targets: give a file with the columns id, fold, target and the classes")
    return frame


def settings_diff(a: Member, b: Member) -> str:
    """Find the settings in which two runs differ, with both values where both have one."""
    if a.run is None or b.run is None:
        return "settings, which are unknown for predictions from elsewhere"
    one, other = described(a.run.metrics), described(b.run.metrics)
    return in_brief(difference(one, other), both=True) or "no setting that changes results"


def groups_of(config: Config) -> "pd.Series[Any] | None":
    """id -> group of the rows to train on; None, with a warning, if nothing is prepared."""
    if not is_prepared(config):
        log.warning("runs: %s is not prepared here: every row is a group of its own", config.data_dir)
        return None
    return read_data(config).train.set_index("id")["group"]


def describe_comparison(found: Comparison, metric: str) -> list[str]:
    """Paired tests in words. metric: whose difference `found.score` is."""
    is_ungrouped, loss, lines, tests = found.rows == found.groups, found.log_loss, list[str](), dict[str, float]()
    if found.right is not None and found.accuracy is not None:
        right = found.right
        lines.append(
            f"only a is right on {right.only_a} of {found.rows} rows, only b on {right.only_b}: "
            f"exact McNemar p = {right.p:.2g}" + ("" if is_ungrouped else ", which takes rows for independent")
        )
        if not is_ungrouped:
            shown = format_difference(found.accuracy.value, *found.accuracy.interval, found.accuracy.p)
            lines.append(f"difference in accuracy (a - b): {shown}, {found.groups} groups")
        tests["answers"] = right.p if is_ungrouped else found.accuracy.p
    if found.score is not None:
        shown = format_difference(found.score.value, found.score.low, found.score.high)
        lines.append(f"gain of a over b in {metric}, before decisions are fitted: {shown}, {found.groups} groups")
    better = "" if loss.value == 0 else f" ({'a' if loss.value < 0 else 'b'} has less, which is better)"
    shown = format_difference(loss.value, *loss.interval, loss.p)
    lines.append(f"difference in {found.loss} (a - b): {shown}, {found.groups} groups{better}")
    tests[found.loss] = loss.p
    significant = [name for name, p in tests.items() if p < SIGNIFICANCE]
    others = [name for name in tests if name not in significant]
    if significant:
        lines.append(f"significant: {' and '.join(significant)}, unless these two were selected from many")
    return [*lines, f"not significant: {' and '.join(others)}"] if others else lines


def show_differing(rows: pd.DataFrame, file: Path | None) -> None:
    """Log the first rows with different predictions; write all of them to a CSV beside `runs.file`."""
    if rows.empty:
        log.info("runs: both predict the same class for every row")
        return
    names = ["id", "target", "answer_a", "answer_b", "probability_a", "probability_b"]
    shown = rows[names].head(SHOWN).astype(dict.fromkeys(names[:4], str)).to_numpy().tolist()
    cells = [(*row[:4], *(f"{value:.4f}" for value in row[4:])) for row in shown]
    header = ("id", "target", "a predicts", "b predicts", "a's probability", "b's probability")
    for line in table(header, cells):
        log.info("%s", line)
    if file is not None:
        path = file.with_name(f"{file.stem}-compare.csv")
        write_bytes(path, rows.to_csv(index=False, lineterminator="\n").encode())
        log.info("runs: all %d rows with different predictions are in %s", len(rows), path)
    elif len(rows) > SHOWN:
        log.info("runs: %d more; runs.file=runs.csv writes all of them to runs-compare.csv", len(rows) - SHOWN)


# --- the leaderboard ---------------------------------------------------------------------------------------------


def show_leaderboard(slug: str, client: "KaggleClient") -> None:
    """Log the head of the public leaderboard and, if it is there, the rank of the user's team."""
    sent = client.submissions(slug, empty_if=("rejected", "denied"))
    team = next((submission.team for submission in sent if submission.team), None)
    shown, ours, seen = [], None, 0
    for standing in client.leaderboard(slug):
        seen = standing.rank
        if standing.rank <= HEAD:
            shown.append((str(standing.rank), standing.team, standing.score))
        if ours is None and team is not None and standing.team == team:
            ours = standing
        if standing.rank >= HEAD and (ours or team is None):
            break
    for line in table(("rank", "team", "public score"), shown):
        log.info("%s", line)
    if ours is not None:
        log.info("runs: your team, %s, is number %d with %s", ours.team, ours.rank, ours.score)
    else:
        log.info(
            "runs: %s",
            f"your team, {team}, is not among its first {seen}" if team else "nothing was submitted by you yet",
        )
