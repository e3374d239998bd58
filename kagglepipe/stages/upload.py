"""What `stage=submit submit.upload=true` adds: the CSV goes to Kaggle, once, and its score comes back into the ledger.

Writes submissions/ledger.csv: a row before anything is sent, so that a command that dies in between leaves its tag, by
which the next one finds out whether the submission arrived.
"""

import logging
import secrets
import time
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kagglepipe.config import Config
from kagglepipe.errors import UserError
from kagglepipe.files import exclusive_lock
from kagglepipe.kaggle.ledger import OPEN, Row, number, read_ledger, record
from kagglepipe.runs.store import identity_hash
from kagglepipe.stages.account import connect, slug_at_kaggle

if TYPE_CHECKING:
    from kagglepipe.kaggle.client import KaggleClient, Limits, Submission

log = logging.getLogger(__name__)
LOOKS = (2.0, 4.0, 8.0, 16.0)  # seconds between looks for a submission that may have arrived
FIRST_LOOK, LONGEST_LOOK, GROWTH = 2.0, 60.0, 1.5  # seconds between looks for a score
TIME, GRACE = "%Y-%m-%d %H:%M:%S", timedelta(minutes=10)  # by then Kaggle lists whatever it has counted
RECENT, MOST_LISTED = 200, 1000  # submissions looked through for a tag
MOST_MESSAGE = 150  # characters


def demand_uploadable(config: Config) -> None:
    """Raises UserError for what cannot be meant for Kaggle, invalid credentials and rules that are not accepted.

    Kaggle is asked once, in vain perhaps: whatever else it answers will show when there is something to send. That no
    submission is left now is only said, since there may be one by then.
    """
    from kagglepipe.kaggle.errors import KaggleError

    slug = slug_at_kaggle(config, "leave submit.upload away")
    if config.competition.is_part:
        name = "per_class" if config.competition.per_class is not None else "hidden"
        raise UserError(f"competition.{name} classifies training images: leave it or submit.upload away")
    try:
        client = connect(config, patience=0)
        client.user()
        limits = client.limits(slug)
    except KaggleError as error:
        if error.kind in ("auth", "rules"):
            raise
        log.debug("submit: %s", error)
        return
    if limits is not None and (fault := quota_fault(limits, slug)):
        log.warning("submit: %s", fault)


def upload(config: Config, csv: Path, origin: dict[str, Any]) -> None:
    """Sends the CSV unless the same bytes were sent before, and waits for the score. Raises UserError."""
    client, slug, ledger = connect(config), str(config.competition.slug), config.ledger_file
    with exclusive_lock(ledger.with_name("upload"), "submit"):  # two commands must not send one file twice
        row = late_answer(client, slug, ledger, origin["csv_sha256"], again=config.submit.again)
        if row is None and not config.submit.again:
            row = sent_before(slug, ledger, origin["csv_sha256"])
        if row is None:
            demand_quota(client, slug)
            row = send(client, slug, ledger, csv, facts_of(config, csv, origin), config.submit.message)
    if row["status"] in OPEN and config.submit.wait > 0:
        row = wait_for_score(client, slug, ledger, row, config.submit.wait)
    tell(row)


def facts_of(config: Config, csv: Path, origin: dict[str, Any]) -> dict[str, Any]:
    """What is known of a submission before it is sent, as columns of the ledger."""
    score, interval = origin["score"]["score"], origin["score"]["interval"] or (None, None)
    return {
        "time": datetime.now(UTC).strftime(TIME),
        "competition": config.competition.slug,
        "file": csv.relative_to(config.root) if csv.is_relative_to(config.root) else csv,
        "sha256": origin["csv_sha256"],
        "run": origin["run"],
        "runs": " + ".join(origin["members"]),
        "config_hash": identity_hash(origin["identity"]) if origin["identity"] else None,
        "git_commit": origin["git_commit"],
        "metric": origin["score"]["metric"],
        "oof_score": score,
        "oof_low": interval[0],
        "oof_high": interval[1],
    }


def rows_of(ledger: Path, slug: str, digest: str) -> list[Row]:
    """The ledger's rows of the same bytes, the latest last."""
    return [row for row in read_ledger(ledger) if (row["competition"], row["sha256"]) == (slug, digest)]


def late_answer(client: "KaggleClient", slug: str, ledger: Path, digest: str, *, again: bool) -> Row | None:
    """The row of the same bytes, of which an earlier command did not learn that they arrived; None if they did not.

    Raises UserError while they may still turn up, unless they are to be sent again in any case.
    """
    for row in rows_of(ledger, slug, digest):
        if row["status"] == "sending":
            log.info("submit: an earlier command did not learn whether its submission arrived; looking for it")
            found = find_tag(client, slug, row["tag"])
            if found is not None:
                log.info("submit: it did, as submission %d", found.ref)
                return record(ledger, row["tag"], found.as_columns())
            if not again:
                demand_old(row)
            log.info("submit: it did not")
            record(ledger, row["tag"], {"status": "lost"})
    return None


def demand_old(row: Row) -> None:
    """Raises UserError while a submission that is not listed may only be late. A time that somebody edited is old."""
    try:
        due = datetime.strptime(row["time"], TIME).replace(tzinfo=UTC) + GRACE
    except ValueError:
        return
    if datetime.now(UTC) < due:
        raise UserError(
            f"the submission of {row['time']} UTC is not listed (yet), and may or may not have been counted: type the "
            f"same command after {due:%H:%M} UTC, to send it if it still is not, or submit.again=true to send it now"
        )


def sent_before(slug: str, ledger: Path, digest: str) -> Row | None:
    """The row of the same bytes that Kaggle has already. Raises UserError if it could not score them."""
    rows = [row for row in rows_of(ledger, slug, digest) if row["status"] not in ("refused", "lost")]
    if not rows:
        return None
    row = rows[-1]
    if row["status"] == "error":
        raise UserError(
            f"these very bytes were submitted before, and Kaggle could not score them "
            f"({row['error'] or 'no reason given'}): submit.again=true sends them all the same"
        )
    log.info(
        "submit: these very bytes are submission %s already, of %s (submit.again=true sends them again)",
        *(row["ref"], row["run"]),
    )
    return row


def demand_quota(client: "KaggleClient", slug: str) -> None:
    """Raises UserError if no submission is left, with the time at which there is one again.

    Where Kaggle does not tell, the submission is tried: it refuses what is too much.
    """
    from kagglepipe.kaggle.errors import KaggleError

    try:
        limits = client.limits(slug)
    except KaggleError as error:
        if error.kind not in ("missing", "rejected"):
            raise
        limits = None
    if limits is None:
        log.warning("submit: Kaggle does not tell how many submissions are left")
        return
    if fault := quota_fault(limits, slug):
        raise UserError(fault)
    log.info("submit: %d of today's submissions used, %d left", limits.used_today, limits.left)


def quota_fault(limits: "Limits", slug: str) -> str | None:
    """Why no submission is left, and when there is one again; None if one is left."""
    if limits.left > 0:
        return None
    if limits.by_total:
        return "this competition's submissions are all used up; it allows no more"
    if not limits.used_today:
        return (
            "Kaggle takes no submission now, though none was sent today: see at "
            f"https://www.kaggle.com/competitions/{slug} whether it is over, or not joined yet"
        )
    now = datetime.now(UTC)
    reset = (now + timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0)
    left = str(reset - now).split(".")[0].rpartition(":")[0]
    return (
        f"today's submissions are used up ({limits.used_today} sent); the next can go at 00:00 UTC, "
        f"{reset.astimezone():%H:%M} here, in {left} h: type the same command then"
    )


def send(client: "KaggleClient", slug: str, ledger: Path, csv: Path, facts: dict[str, Any], message: str | None) -> Row:
    """Submits the file and returns its row. One submission at most is counted, whatever happens. Raises UserError."""
    from kagglepipe.kaggle.errors import KaggleError

    token, tag = client.upload(slug, csv), f"kagglepipe-{secrets.token_hex(6)}"
    text = message or f"{facts['run']}: out of fold {facts['metric']} {short(facts['oof_score'])}"
    record(ledger, tag, {**facts, "status": "sending"})
    try:
        ref = client.submit(slug, token, f"{tag} {text[:MOST_MESSAGE]}")
    except KaggleError as error:
        if error.harmless:
            record(ledger, tag, {"status": "refused", "error": str(error)})
            raise
        what = str(error).partition("; ")[0]  # what to type is said below
        log.info("submit: %s; looking whether it arrived all the same", what)
        try:
            found = find_tag(client, slug, tag)
        except KaggleError as other:
            raise UserError(
                f"{other}; so it is not known whether the submission was counted: the same command looks for it "
                "before it sends anything"
            ) from other
        if found is None:
            raise UserError(
                f"{what}; it is not among your submissions (yet), so it may or may not have been counted: the same "
                "command looks once more before it sends anything"
            ) from error
        return record(ledger, tag, found.as_columns())
    log.info("submit: sent %s as submission %d", csv.name, ref)
    return record(ledger, tag, {"ref": ref, "status": "pending"})


def find_tag(client: "KaggleClient", slug: str, tag: str) -> "Submission | None":
    """The submission that carries the tag; looked for several times, since it may take a while to show up."""
    for pause in (*LOOKS, None):
        for submission in recent(client, slug):
            if tag in submission.description.split():
                return submission
        if pause is not None:
            client.pause(pause)
    return None


def recent(client: "KaggleClient", slug: str) -> "list[Submission]":
    """The user's latest submissions; none where Kaggle has no list yet, for which it may answer 400."""
    from kagglepipe.kaggle.errors import KaggleError

    try:
        return list(islice(client.submissions(slug), RECENT))
    except KaggleError as error:
        if error.kind != "rejected":
            raise
        return []


def wait_for_score(client: "KaggleClient", slug: str, ledger: Path, row: Row, seconds: float) -> Row:
    """The row, with what Kaggle has made of it within so many seconds."""
    from kagglepipe.kaggle.errors import KaggleError

    log.info("submit: waiting for the score, %.0f s at most (Ctrl-C is safe: stage=runs shows it later)", seconds)
    start, paused, pause = time.monotonic(), 0.0, FIRST_LOOK
    while True:
        try:
            row = refresh(client, slug, ledger, [row["tag"]])[0]
        except KaggleError as error:  # the submission is safe all the same
            log.warning("submit: the score cannot be asked for: %s", error)
            return row
        waited = max(paused, time.monotonic() - start)  # a look takes time too
        if row["status"] not in OPEN or waited >= seconds:
            return row
        pause = min(pause, seconds - waited)
        client.pause(pause)
        paused, pause = paused + pause, min(GROWTH * pause, LONGEST_LOOK)


def refresh(client: "KaggleClient", slug: str, ledger: Path, tags: Iterable[str]) -> list[Row]:
    """The ledger's rows of these tags, after a look at what Kaggle says of them."""
    rows = {row["tag"]: row for row in read_ledger(ledger)}
    wanted = [rows[tag] for tag in tags]
    found: dict[str, Submission] = {}
    for submission in islice(client.submissions(slug), MOST_LISTED):
        for row in wanted:
            if str(submission.ref) == row["ref"] or row["tag"] in submission.description.split():
                found[row["tag"]] = submission
        if len(found) == len(wanted):
            break
    return [record(ledger, row["tag"], news(row, found[row["tag"]])) if row["tag"] in found else row for row in wanted]


def news(row: Row, submission: "Submission") -> dict[str, Any]:
    """What a submission adds to its row: a listing that lacks what is known already takes nothing away."""
    told = {name: value for name, value in submission.as_columns().items() if value not in (None, "")}
    return (
        {**told, "status": row["status"]} if told["status"] in OPEN and row["status"] not in (*OPEN, "lost") else told
    )


def tell(row: Row) -> None:
    """The scores in one line. Raises UserError if Kaggle could not score the file."""
    if row["status"] == "error":
        raise UserError(f"Kaggle could not score submission {row['ref']}: {row['error'] or 'it gives no reason'}")
    if row["status"] in OPEN:
        log.info("submit: submission %s has no score yet; type stage=runs later", row["ref"])
        return
    home = f"out of fold {row['metric']} {short(row['oof_score'])} ({short(row['oof_low'])}-{short(row['oof_high'])})"
    public, private = row["public_score"] or "hidden", row["private_score"] or "hidden until the end"
    gap = number(row["gap"])
    difference = "" if gap is None else f", gap {gap:+.4f}"
    log.info("submit: public score %s, private %s; %s%s", public, private, home, difference)


def short(value: float | str | None) -> str:
    """Four digits, `?` for nothing.

    >>> short("0.98765"), short(None), short("")
    ('0.9877', '?', '?')
    """
    found = number(str(value))
    return "?" if found is None else f"{found:.4f}"
