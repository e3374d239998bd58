"""Upload of a submission to Kaggle, once, and its score into the ledger.

Writes submissions/ledger.csv: a row before anything is sent, so that a command that dies leaves a tag, by which the
next one finds out whether the submission arrived.
"""

import logging
import secrets
import time
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kagglepipe.errors import UserError
from kagglepipe.files import exclusive_lock
from kagglepipe.kaggle.errors import KaggleError
from kagglepipe.kaggle.ledger import OPEN, Row, four_digits, number, read_ledger, record
from kagglepipe.options import SubmitOptions

if TYPE_CHECKING:
    from kagglepipe.kaggle.client import KaggleClient, Limits, Submission

log = logging.getLogger(__name__)
LOOKS = (2.0, 4.0, 8.0, 16.0)  # seconds between looks for a submission that may have arrived
FIRST_LOOK, LONGEST_LOOK, GROWTH = 2.0, 60.0, 1.5  # seconds between looks for a score
TIME, LISTED_WITHIN = "%Y-%m-%d %H:%M:%S", timedelta(minutes=10)  # Kaggle lists a counted submission within that
RECENT, MAX_LISTED = 200, 1000  # submissions searched for a tag; for scores
MAX_MESSAGE = 150  # characters


def check_account(client: "KaggleClient", slug: str) -> None:
    """Raises KaggleError for invalid credentials and rules that are not accepted; warns if no submission is left."""
    try:
        client.user()
        limits = client.limits(slug)
    except KaggleError as error:
        if error.kind in ("auth", "rules"):
            raise
        log.debug("submit: %s", error)  # shows again when there is something to send
        return
    if limits is not None and (reason := why_none_left(limits, slug)):
        log.warning("submit: %s", reason)


def now_utc() -> str:
    """Format the time as the ledger has it."""
    return datetime.now(UTC).strftime(TIME)


def upload(client: "KaggleClient", csv: Path, facts: Mapping[str, Any], ledger: Path, options: SubmitOptions) -> None:
    """Send the CSV unless the same bytes were sent before, wait for the score and log it. Raises UserError.

    facts: what the ledger's row says of it, competition and sha256 among it.
    """
    upload = Upload(client, str(facts["competition"]), ledger)
    key = {"competition": upload.slug, "sha256": facts["sha256"]}
    with exclusive_lock(ledger.with_name("upload"), "submit"):  # two commands must not send one file twice
        rows = [row for row in read_ledger(ledger) if key.items() <= row.items()]
        row = upload.find_unsure(rows, again=options.again)
        if row is None and not options.again:
            row = _sent_before(rows)
        if row is None:
            check_quota(client, upload.slug)
            row = upload.send(csv, facts, options.message)
    if row["status"] in OPEN and options.wait > 0:
        row = upload.wait_for_score(row, options.wait)
    log_scores(row)


class Upload:
    """Submissions of one competition and their rows in the ledger."""

    def __init__(self, client: "KaggleClient", slug: str, ledger: Path) -> None:
        self.client, self.slug, self.ledger = client, slug, ledger

    def find_unsure(self, rows: list[Row], *, again: bool) -> Row | None:
        """Find a submission of which an earlier command did not learn whether it arrived; None if none did.

        again: send in any case. Else raises UserError while one may still be listed.
        """
        for row in (row for row in rows if row["status"] == "sending"):
            log.info("submit: an earlier command did not learn whether its submission arrived; looking for it")
            found = self.find(row["tag"])
            if found is not None:
                log.info("submit: it did, as submission %d", found.ref)
                return record(self.ledger, row["tag"], found.as_columns())
            if not again:
                _check_old(row)
            log.info("submit: it did not")
            row |= record(self.ledger, row["tag"], {"status": "lost"})
        return None

    def send(self, csv: Path, facts: Mapping[str, Any], message: str | None) -> Row:
        """Submit the file; returns its row. At most one submission is counted, whatever happens. Raises UserError."""
        token, tag = self.client.upload(self.slug, csv), f"kagglepipe-{secrets.token_hex(6)}"
        text = message or f"{facts['run']}: out of fold {facts['metric']} {four_digits(facts['oof_score'])}"
        record(self.ledger, tag, {**facts, "status": "sending"})
        try:
            ref = self.client.submit(self.slug, token, f"{tag} {text[:MAX_MESSAGE]}")
        except KaggleError as error:
            if error.harmless:
                record(self.ledger, tag, {"status": "refused", "error": str(error)})
                raise
            return self._find_after(error, tag)
        log.info("submit: sent %s as submission %d", csv.name, ref)
        return record(self.ledger, tag, {"ref": ref, "status": "pending"})

    def _find_after(self, error: KaggleError, tag: str) -> Row:
        """Find a submission that was sent and not answered. Raises UserError if it is not listed."""
        what = str(error).partition("; ")[0]  # without its advice
        log.info("submit: %s; looking whether it arrived all the same", what)
        try:
            found = self.find(tag)
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
        return record(self.ledger, tag, found.as_columns())

    def find(self, tag: str) -> "Submission | None":
        """Find the submission with the tag in its description; several looks, since it may be listed late."""
        for pause in (*LOOKS, None):
            # before the first submission Kaggle may answer 400
            for submission in islice(self.client.submissions(self.slug, empty_if=("rejected",)), RECENT):
                if tag in submission.description.split():
                    return submission
            if pause is not None:
                self.client.pause(pause)
        return None

    def wait_for_score(self, row: Row, seconds: float) -> Row:
        """Update the row until it has a score, for at most so many seconds."""
        log.info("submit: waiting for the score, %.0f s at most (Ctrl-C is safe: stage=runs shows it later)", seconds)
        start, paused, pause = time.monotonic(), 0.0, FIRST_LOOK
        while True:
            try:
                row = self.refresh([row["tag"]])[0]
            except KaggleError as error:  # the submission is safe all the same
                log.warning("submit: the score cannot be asked for: %s", error)
                return row
            waited = max(paused, time.monotonic() - start)  # a look takes time too
            if row["status"] not in OPEN or waited >= seconds:
                return row
            pause = min(pause, seconds - waited)
            self.client.pause(pause)
            paused, pause = paused + pause, min(GROWTH * pause, LONGEST_LOOK)

    def refresh(self, tags: Iterable[str]) -> list[Row]:
        """Update the rows of these tags from Kaggle's list of submissions; return them."""
        rows = {row["tag"]: row for row in read_ledger(self.ledger)}
        wanted = [rows[tag] for tag in tags]
        found: dict[str, Submission] = {}
        for submission in islice(self.client.submissions(self.slug), MAX_LISTED):
            for row in wanted:
                if str(submission.ref) == row["ref"] or row["tag"] in submission.description.split():
                    found[row["tag"]] = submission
            if len(found) == len(wanted):
                break
        return [
            record(self.ledger, tag, _news(row, found[tag])) if (tag := row["tag"]) in found else row for row in wanted
        ]


def _news(row: Row, submission: "Submission") -> dict[str, Any]:
    """Return what a listed submission adds to its row; a value that the list lacks stays."""
    news = {name: value for name, value in submission.as_columns().items() if value not in (None, "")}
    is_older = news["status"] in OPEN and row["status"] not in (*OPEN, "lost")
    return {**news, "status": row["status"]} if is_older else news


def _check_old(row: Row) -> None:
    """Raises UserError while a submission that is not listed may only be late. A time edited by hand counts as old."""
    try:
        due = datetime.strptime(row["time"], TIME).replace(tzinfo=UTC) + LISTED_WITHIN
    except ValueError:
        return
    if datetime.now(UTC) < due:
        raise UserError(
            f"the submission of {row['time']} UTC is not listed (yet), and may or may not have been counted: type the "
            f"same command after {due:%H:%M} UTC, to send it if it still is not, or submit.again=true to send it now"
        )


def _sent_before(rows: list[Row]) -> Row | None:
    """Return the last row of the same bytes that Kaggle has. Raises UserError if it could not score them."""
    rows = [row for row in rows if row["status"] not in ("refused", "lost")]
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


def check_quota(client: "KaggleClient", slug: str) -> None:
    """Raises UserError if no submission is left, with the time of the next.

    Where Kaggle gives no number, the submission is tried: it refuses one too many.
    """
    try:
        limits = client.limits(slug)
    except KaggleError as error:
        if error.kind not in ("missing", "rejected"):
            raise
        limits = None
    if limits is None:
        log.warning("submit: Kaggle does not say how many submissions are left")
        return
    if reason := why_none_left(limits, slug):
        raise UserError(reason)
    log.info("submit: %d of today's submissions used, %d left", limits.used_today, limits.left)


def why_none_left(limits: "Limits", slug: str) -> str | None:
    """Say why no submission is left, and when there is one again; None if one is left."""
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


def log_scores(row: Row) -> None:
    """Log the scores in one line. Raises UserError if Kaggle could not score the file."""
    if row["status"] == "error":
        raise UserError(f"Kaggle could not score submission {row['ref']}: {row['error'] or 'it gives no reason'}")
    if row["status"] in OPEN:
        log.info("submit: submission %s has no score yet; type stage=runs later", row["ref"])
        return
    oof, low, high = (four_digits(row[name]) for name in ("oof_score", "oof_low", "oof_high"))
    public, private = row["public_score"] or "hidden", row["private_score"] or "hidden until the end"
    gap = number(row["gap"])
    difference = "" if gap is None else f", gap {gap:+z.4f}"
    home = f"out of fold {row['metric']} {oof} ({low}-{high})"
    log.info("submit: public score %s, private %s; %s%s", public, private, home, difference)
