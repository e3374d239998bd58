"""stage=runs: every finished run with its out-of-fold score, and beside it what Kaggle said of its submissions.

Reads outputs/<slug>/*/metrics.json and submissions/ledger.csv, whose open rows it brings up to date where there are
credentials. With runs.leaderboard=true it shows the public leaderboard instead.
"""

import logging
import unicodedata
from collections.abc import Iterable
from typing import Any

from kagglepipe.config import Config
from kagglepipe.errors import UserError
from kagglepipe.files import read_json
from kagglepipe.predictions.ledger import OPEN, Row, gap, misleading_best, number, read_ledger
from kagglepipe.predictions.metrics import METRICS
from kagglepipe.stages.account import BRIEFLY, connect, ledger_file, sent_by_user, slug_at_kaggle
from kagglepipe.stages.places import finished_runs
from kagglepipe.stages.upload import refresh, short

log = logging.getLogger(__name__)
HEAD = 10  # rows of the leaderboard
SENT_COLUMNS = ("sent (UTC)", "status", "public", "private", "gap")


def run(config: Config) -> None:
    """Shows the table, or the leaderboard."""
    if config.runs.leaderboard:
        show_leaderboard(config)
        return
    runs = [{**read_json(folder / "metrics.json"), "run": folder.name} for folder in finished_runs(config)]
    ledger = submissions_of(config)
    if not runs and not ledger:
        raise UserError(f"there is no finished run in {config.runs_dir}: type stage=train first")
    metric = config.competition.metric
    greater = METRICS[metric].greater_is_better
    header = ("run", metric, "95 % interval", "log loss", *SENT_COLUMNS)
    for line in table(header, run_rows(runs, ledger, metric, greater_is_better=greater)):
        log.info("%s", line)
    for row in ledger:
        if row["status"] == "error":
            why = row["error"] or "it gives no reason"
            log.warning("runs: Kaggle could not score submission %s of %s: %s", row["ref"], row["run"], why)
    scored_alike = [row for row in ledger if row["metric"] == metric]
    if found := misleading_best(scored_alike, greater_is_better=greater):
        by_public, by_oof = found
        log.warning(
            "runs: %s is best on the public leaderboard (%s), but %s is best out of fold (%s): the public score is "
            "that of fewer rows; before choosing by it, look at the intervals",
            *(by_public["run"], by_public["public_score"], by_oof["run"], short(by_oof["oof_score"])),
        )


def submissions_of(config: Config) -> list[Row]:
    """The ledger's rows of this competition, brought up to date where Kaggle can be asked."""
    file, slug = ledger_file(config), str(config.competition.slug)
    rows = [row for row in read_ledger(file) if row["competition"] == slug]
    waiting = [row["tag"] for row in rows if row["status"] in (*OPEN, "lost") or may_tell_more(row)]
    if not waiting:
        return rows
    try:
        refresh(connect(config, patience=BRIEFLY), slug, file, waiting)
    except (UserError, OSError) as error:  # no credentials, no answer, or a folder that cannot be written
        log.warning("runs: what follows is as it was known before: %s", error)
    return [row for row in read_ledger(file) if row["competition"] == slug]


def may_tell_more(row: Row) -> bool:
    """Whether a submission is scored, but its private score still hidden, as it is until the competition ends."""
    return row["status"] == "complete" and not row["private_score"]


def run_rows(
    runs: list[dict[str, Any]], ledger: list[Row], metric: str, *, greater_is_better: bool
) -> list[tuple[str, ...]]:
    """A line for each run, the best first, or one for each of its submissions; then those of runs that are gone.

    Runs without a score in this metric come last.
    """
    sign = -1 if greater_is_better else 1

    def place(metrics: dict[str, Any]) -> tuple[bool, float]:
        score = metrics["score"]
        return (True, 0.0) if score is None or metrics["metric"] != metric else (False, sign * score)

    lines = []
    for metrics in sorted(runs, key=place):
        scores = scored(metrics["score"], metrics["interval"], metrics["metric"], metric)
        sent = [sent_columns(row) for row in ledger if row["run"] == metrics["run"]]
        cut = f" (cut at {metrics['cut_by_budget']})" if metrics.get("cut_by_budget") else ""
        line = (metrics["run"] + cut, *scores, short(metrics["log_loss"]))
        lines += [(*line, *columns) for columns in sent or [("",) * len(SENT_COLUMNS)]]
    here = {metrics["run"] for metrics in runs}
    for row in ledger:
        if row["run"] not in here:
            scores = scored(row["oof_score"], (row["oof_low"], row["oof_high"]), row["metric"], metric)
            lines.append((f"{row['run']} (gone)", *scores, "", *sent_columns(row)))
    return lines


def scored(score: Any, interval: Iterable[Any] | None, of: str, metric: str) -> tuple[str, str]:
    """(score, interval) as the table shows them; of: the score's metric, which is told where it is another."""
    return short(score) + (f" {of}" if of != metric else ""), "-".join(map(short, interval or (None,)))


def sent_columns(row: Row) -> tuple[str, ...]:
    """What the ledger has of one submission, as the table shows it."""
    private = row["private_score"] or ("hidden" if row["status"] == "complete" else "")
    difference = number(gap(row))
    return (
        row["time"][:16],
        row["status"],
        row["public_score"],
        private,
        "" if difference is None else f"{difference:+.4f}",
    )


def show_leaderboard(config: Config) -> None:
    """The head of the public leaderboard and, where this team is on it, its row and how many are in front."""
    slug, client = slug_at_kaggle(config, "leave runs.leaderboard away"), connect(config)
    team = next((submission.team for submission in sent_by_user(client, slug) if submission.team), None)
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


def table(header: Iterable[str], rows: Iterable[Iterable[str]]) -> list[str]:
    """Lines in columns, two blanks apart.

    >>> table(["run", "score"], [["a-long-one", "0.5"]])
    ['run         score', 'a-long-one  0.5']
    """
    lines = [list(header), *map(list, rows)]
    widths = [max(map(width, column)) for column in zip(*lines, strict=True)]
    return ["  ".join(padded(cell, n) for cell, n in zip(line, widths, strict=True)).rstrip() for line in lines]


def padded(text: str, columns: int) -> str:
    """The text and blanks up to so many columns."""
    return text + " " * (columns - width(text))


def width(text: str) -> int:
    """The columns of a terminal that a text takes; the names of teams are in every script.

    >>> width("né"), width("ne\u0301"), width("日本")
    (2, 2, 4)
    """
    marks = sum(unicodedata.category(c) in ("Mn", "Me", "Cf") for c in text)
    return len(text) - marks + sum(unicodedata.east_asian_width(c) in "WF" for c in text)
