"""What `stage=submit submit.upload=true` adds: the CSV goes to Kaggle, once, and its score comes back into the ledger.

Writes submissions/ledger.csv: a row before anything is sent, so that a command that dies in between leaves its tag, by
which the next one finds out whether the submission arrived.
"""

import json
import logging
import secrets
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kagglepipe.config import Config
from kagglepipe.errors import UserError
from kagglepipe.files import locked, sha256
from kagglepipe.predictions.ledger import OPEN, Row, read_ledger, record
from kagglepipe.stages.account import connect, ledger_file

if TYPE_CHECKING:
    from kagglepipe.competitions.kaggle import KaggleClient, Limits, Submission

log = logging.getLogger(__name__)
LOOKS = (2.0, 4.0, 8.0, 16.0)  # seconds between looks for a submission that may have arrived
FIRST_LOOK, LONGEST_LOOK, GROWTH = 2.0, 60.0, 1.5  # seconds between looks for a score
RECENT = 200  # submissions looked through for a tag
MOST_MESSAGE = 150  # characters


def demand_uploadable(config: Config) -> None:
    """Raises UserError for what cannot be meant for Kaggle, or without credentials; asks nothing of Kaggle."""
    competition = config.competition
    if competition.is_sample:
        raise UserError("the built-in sample is drawn by code and no competition of Kaggle's: leave submit.upload away")
    if competition.slug is None:
        raise UserError(
            "this folder is no competition of Kaggle's: give competition.slug=NAME or leave submit.upload away"
        )
    if competition.per_class is not None:
        raise UserError("competition.per_class classifies training images: leave it or submit.upload away")
    connect(config)


def upload(config: Config, csv: Path, origin: dict[str, Any]) -> None:
    """Sends the CSV unless the same bytes were sent before, and waits for the score. Raises UserError."""
    client, slug, ledger = connect(config), str(config.competition.slug), ledger_file(config)
    with locked(ledger.with_name("upload")):  # two commands with the same file are not to send it twice
        row = None if config.submit.again else sent_before(client, slug, ledger, origin["csv_sha256"])
        if row is None:
            demand_quota(client.limits(slug))
            row = send(client, slug, ledger, csv, facts_of(config, csv, origin), config.submit.message)
    if row["status"] in OPEN and config.submit.wait > 0:
        row = wait_for_score(client, slug, ledger, row, config.submit.wait)
    tell(row)


def facts_of(config: Config, csv: Path, origin: dict[str, Any]) -> dict[str, Any]:
    """What is known of a submission before it is sent, as columns of the ledger."""
    score, interval = origin["score"]["score"], origin["score"]["interval"] or (None, None)
    return {
        "time": datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S"),
        "competition": config.competition.slug,
        "file": csv.relative_to(config.root) if csv.is_relative_to(config.root) else csv,
        "sha256": origin["csv_sha256"],
        "run": origin["run"],
        "runs": " + ".join(origin["members"]),
        "config_hash": sha256(json.dumps(origin["identity"], sort_keys=True))[:8],
        "git_commit": origin["git_commit"],
        "metric": origin["score"]["metric"],
        "oof_score": score,
        "oof_low": interval[0],
        "oof_high": interval[1],
    }


def sent_before(client: "KaggleClient", slug: str, ledger: Path, digest: str) -> Row | None:
    """The row of the same bytes sent earlier; None if there is none, or if they never arrived."""
    rows = [row for row in read_ledger(ledger) if (row["competition"], row["sha256"]) == (slug, digest)]
    rows = [row for row in rows if row["status"] not in ("refused", "lost")]
    if not rows:
        return None
    row = rows[-1]
    if row["status"] == "sending":
        log.info("submit: an earlier command did not learn whether its submission arrived; looking for it")
        found = find_tag(client, slug, row["tag"])
        row = record(ledger, row["tag"], found.as_columns() if found else {"status": "lost"})
        if found is None:
            log.info("submit: it did not arrive")
            return None
    if row["status"] == "error":
        raise UserError(
            f"these very bytes were submitted before, and Kaggle could not score them "
            f"({row['error'] or 'no reason given'}): submit.again=true sends them all the same"
        )
    log.info("submit: these very bytes are submission %s already (submit.again=true sends them again)", row["ref"])
    return row


def demand_quota(limits: "Limits") -> None:
    """Raises UserError if no submission is left, with the time at which there is one again."""
    if limits.left > 0:
        log.info("submit: %d of today's submissions used, %d left", limits.used_today, limits.left)
        return
    if limits.by_total:
        raise UserError("this competition's submissions are all used up; it allows no more")
    now = datetime.now(UTC)
    reset = (now + timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0)
    left = str(reset - now).split(".")[0].rpartition(":")[0]
    raise UserError(
        f"today's submissions are used up ({limits.used_today} were sent); the next can go at 00:00 UTC, "
        f"{reset.astimezone():%H:%M} here, in {left} h: type the same command then"
    )


def send(client: "KaggleClient", slug: str, ledger: Path, csv: Path, facts: dict[str, Any], message: str | None) -> Row:
    """Submits the file and returns its row. One submission at most is counted, whatever happens. Raises UserError."""
    from kagglepipe.competitions.kaggle_errors import KaggleError

    token, tag = client.upload(slug, csv), f"kagglepipe-{secrets.token_hex(6)}"
    text = message or f"{facts['run']}: out of fold {facts['metric']} {facts['oof_score']:.4f}"
    record(ledger, tag, {**facts, "status": "sending"})
    try:
        ref = client.submit(slug, token, f"{tag} {text[:MOST_MESSAGE]}")
    except KaggleError as error:
        if error.harmless:
            record(ledger, tag, {"status": "refused", "error": str(error)})
            raise
        log.info("submit: %s; looking whether it arrived", error)
        found = find_tag(client, slug, tag)
        if found is None:
            raise UserError(
                f"{error}; it is not among your submissions (yet), so it may or may not have been counted: the same "
                "command looks once more before it sends anything"
            ) from error
        return record(ledger, tag, found.as_columns())
    log.info("submit: sent %s as submission %d", csv.name, ref)
    return record(ledger, tag, {"ref": ref, "status": "pending"})


def find_tag(client: "KaggleClient", slug: str, tag: str) -> "Submission | None":
    """The submission that carries the tag; looked for several times, since it may take a while to show up."""
    from kagglepipe.competitions.kaggle_errors import KaggleError

    for pause in (*LOOKS, None):
        try:
            found = [s for s in islice(client.submissions(slug), RECENT) if tag in s.description.split()]
        except KaggleError as error:
            if error.kind not in ("rejected", "denied"):  # which Kaggle may answer where there is no submission at all
                raise
            found = []
        if found:
            return found[0]
        if pause is not None:
            client.pause(pause)
    return None


def wait_for_score(client: "KaggleClient", slug: str, ledger: Path, row: Row, seconds: float) -> Row:
    """The row, with what Kaggle has made of it within so many seconds."""
    log.info("submit: waiting for the score, %.0f s at most (Ctrl-C is safe: stage=runs shows it later)", seconds)
    waited, pause = 0.0, FIRST_LOOK
    while True:
        row = refresh(client, slug, ledger, [row["tag"]])[0]
        if row["status"] not in OPEN or waited >= seconds:
            return row
        pause = min(pause, seconds - waited)
        client.pause(pause)
        waited, pause = waited + pause, min(GROWTH * pause, LONGEST_LOOK)


def refresh(client: "KaggleClient", slug: str, ledger: Path, tags: Iterable[str]) -> list[Row]:
    """The ledger's rows of these tags, after a look at what Kaggle says of them."""
    rows = {row["tag"]: row for row in read_ledger(ledger)}
    wanted = [rows[tag] for tag in tags]
    found: dict[str, Submission] = {}
    for submission in client.submissions(slug):
        for row in wanted:
            if str(submission.ref) == row["ref"] or row["tag"] in submission.description.split():
                found[row["tag"]] = submission
        if len(found) == len(wanted):
            break
    return [
        record(ledger, row["tag"], found[row["tag"]].as_columns()) if row["tag"] in found else row for row in wanted
    ]


def tell(row: Row) -> None:
    """The scores in one line. Raises UserError if Kaggle could not score the file."""
    if row["status"] == "error":
        raise UserError(f"Kaggle could not score submission {row['ref']}: {row['error'] or 'it gives no reason'}")
    if row["status"] in OPEN:
        log.info("submit: submission %s has no score yet; type stage=runs later", row["ref"])
        return
    home = (
        f"out of fold {row['metric']} {_short(row['oof_score'])} ({_short(row['oof_low'])}-{_short(row['oof_high'])})"
    )
    private = _short(row["private_score"]) if row["private_score"] else "hidden until the end"
    gap = f", gap {float(row['gap']):+.4f}" if row["gap"] else ""
    log.info("submit: public score %s, private %s; %s%s", row["public_score"] or "hidden", private, home, gap)


def _short(score: str) -> str:
    return f"{float(score):.4f}" if score else "?"
