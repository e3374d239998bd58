"""stage=runs: every finished run with its out-of-fold score, and beside it what Kaggle said of its submissions.

Reads outputs/<slug>/*/metrics.json and submissions/ledger.csv, whose open rows it brings up to date where there are
credentials. With runs.leaderboard=true it shows the public leaderboard instead.
"""

import logging
from collections.abc import Iterable
from typing import Any

from kagglepipe.competitions.credentials import find_credentials
from kagglepipe.config import Config
from kagglepipe.errors import UserError
from kagglepipe.files import read_json
from kagglepipe.predictions.ledger import OPEN, Row, gap, misleading_best, number, read_ledger
from kagglepipe.predictions.metrics import METRICS
from kagglepipe.stages.account import connect, ledger_file
from kagglepipe.stages.places import finished_runs
from kagglepipe.stages.upload import refresh

log = logging.getLogger(__name__)
HEAD = 10  # rows of the leaderboard
RUN_COLUMNS = ("run", "score", "95 % interval", "log loss", "sent", "status", "public", "private", "gap")


def run(config: Config) -> None:
    """Shows the table, or the leaderboard."""
    if config.runs.leaderboard:
        show_leaderboard(config)
        return
    runs = [read_json(folder / "metrics.json") for folder in finished_runs(config)]
    ledger = submissions_of(config)
    if not runs and not ledger:
        raise UserError(f"there is no finished run in {config.runs_dir}: type stage=train first")
    greater = METRICS[config.competition.metric].greater_is_better
    for line in table(RUN_COLUMNS, run_rows(runs, ledger, greater_is_better=greater)):
        log.info("%s", line)
    scored_alike = [row for row in ledger if row["metric"] == config.competition.metric]
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
    waiting = [row["tag"] for row in rows if row["status"] in OPEN or may_tell_more(row)]
    if not waiting:
        return rows
    if find_credentials() is None:
        log.warning("runs: no credentials to ask for the scores of %d submissions with: see stage=doctor", len(waiting))
        return rows
    from kagglepipe.competitions.kaggle_errors import KaggleError

    try:
        refresh(connect(config), slug, file, waiting)
    except KaggleError as error:
        log.warning("runs: what follows is as it was known before: %s", error)
    return [row for row in read_ledger(file) if row["competition"] == slug]


def may_tell_more(row: Row) -> bool:
    """Whether a submission is scored, but its private score still hidden, as it is until the competition ends."""
    return row["status"] == "complete" and not row["private_score"]


def run_rows(runs: list[dict[str, Any]], ledger: list[Row], *, greater_is_better: bool) -> list[tuple[str, ...]]:
    """A line for each run, the best first, or one for each of its submissions; then those of runs that are gone."""
    sign = -1 if greater_is_better else 1
    lines = []
    for metrics in sorted(runs, key=lambda each: sign * (each["score"] or 0.0)):
        low, high = metrics["interval"] or (None, None)
        scores = (short(metrics["score"]), f"{short(low)}-{short(high)}", short(metrics["log_loss"]))
        sent = [sent_columns(row) for row in ledger if row["run"] == metrics["run"]]
        lines += [(metrics["run"], *scores, *columns) for columns in sent or [("",) * 5]]
    here = {metrics["run"] for metrics in runs}
    for row in ledger:
        if row["run"] not in here:
            scores = (short(row["oof_score"]), f"{short(row['oof_low'])}-{short(row['oof_high'])}", "")
            lines.append((f"{row['run']} (gone)", *scores, *sent_columns(row)))
    return lines


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
    client, slug = connect(config), config.competition.slug
    if slug is None:
        raise UserError("this folder is no competition of Kaggle's: give competition.slug=NAME")
    team = next((submission.team for submission in client.submissions(slug) if submission.team), None)
    shown, ours = [], None
    for standing in client.leaderboard(slug):
        if standing.rank <= HEAD:
            shown.append((str(standing.rank), standing.team, standing.score))
        if team is not None and standing.team == team:
            ours = standing
        if standing.rank >= HEAD and (ours or team is None):
            break
    for line in table(("rank", "team", "public score"), shown):
        log.info("%s", line)
    if ours is not None:
        log.info("runs: your team, %s, is number %d with %s", ours.team, ours.rank, ours.score)
    else:
        log.info("runs: %s", f"{team} is not on it" if team else "nothing was submitted by you yet")


def table(header: Iterable[str], rows: Iterable[Iterable[str]]) -> list[str]:
    """Lines in columns, two blanks apart.

    >>> table(["run", "score"], [["a-long-one", "0.5"]])
    ['run         score', 'a-long-one  0.5']
    """
    lines = [list(header), *map(list, rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return ["  ".join(cell.ljust(n) for cell, n in zip(line, widths, strict=True)).rstrip() for line in lines]


def short(value: float | str | None) -> str:
    """Four digits, `?` for nothing."""
    found = number(str(value))
    return "?" if found is None else f"{found:.4f}"
