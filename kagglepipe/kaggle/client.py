"""A small client of Kaggle's competitions API: retries what may be repeated, gives up in time, submits once.

Kaggle's own packages authenticate on import, can leave wrong bytes behind a broken download and take a failed upload
for a success, so they are not used. Requests go to `<endpoint>/v1/<service>/<Method>` as JSON (transport.py).
"""

import math
import re
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import requests

from kagglepipe.kaggle.credentials import Credentials
from kagglepipe.kaggle.download import Remote, remote_of
from kagglepipe.kaggle.errors import KaggleError
from kagglepipe.kaggle.retries import Result, RetryPolicy, with_retries
from kagglepipe.kaggle.transport import Json, Transport, printable

PUBLIC = "https://api.kaggle.com"
COMPETITIONS, DIAGNOSTICS = "competitions.CompetitionApiService", "api.v1.DiagnosticsService"
PAGE_SIZE, MAX_PAGES = 200, 50
MAX_REDIRECTS = 4
STATUSES = ("pending", "complete", "error")  # in the order of their numbers


@dataclass(frozen=True)
class RemoteFile:
    """A listed file of a competition. name: its path. size: bytes, None if unknown."""

    name: str
    size: int | None


@dataclass(frozen=True)
class Limits:
    """Submissions of today. by_total: the number in all is used up, which no new day changes."""

    used_today: int
    left: int
    by_total: bool


@dataclass(frozen=True)
class Submission:
    """A listed submission. status: one of STATUSES. Scores are None while unknown or hidden."""

    ref: int
    status: str
    public: float | None
    private: float | None
    description: str
    team: str
    error: str

    def as_columns(self) -> Json:
        """Return the values of the ledger's columns."""
        scores = {"public_score": self.public, "private_score": self.private}
        return {"ref": self.ref, "status": self.status, **scores, "error": self.error}


@dataclass(frozen=True)
class Standing:
    """A row of the public leaderboard. rank: from 1, in Kaggle's order."""

    rank: int
    team: str
    score: str


class KaggleClient:
    """A client for one user. Raises UserError for an endpoint that must not see the credentials.

    timeout: seconds without an answer or a byte until a request is given up. patience: seconds of retries. pause: how
    waiting is done.
    """

    def __init__(
        self,
        credentials: Credentials,
        *,
        endpoint: str = PUBLIC,
        timeout: float = 30.0,
        patience: float = 60.0,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self.transport = Transport(credentials, endpoint, timeout=timeout, max_seconds=patience)
        self.patience, self.pause = patience, pause

    def _with_retries(self, attempt: Callable[[], Result], *, only_harmless: bool = False) -> Result:
        return with_retries(attempt, RetryPolicy(self.patience, self.pause), only_harmless=only_harmless)

    def _ask(self, method: str, payload: Json, service: str = COMPETITIONS) -> Json:
        """Call a method that may be repeated. Raises KaggleError."""
        return self._with_retries(lambda: self.transport.call(f"{service}/{method}", payload))

    def _pages(self, method: str, payload: Json, key: str) -> Iterator[Json]:
        """Yield the rows of an answer in pages; rows that are no objects are skipped."""
        seen, token = {""}, ""
        for _ in range(MAX_PAGES):
            page = {"pageSize": PAGE_SIZE, **({"pageToken": token} if token else {})}
            answer = self._ask(method, {**payload, **page})
            rows = answer.get(key) or []
            if not isinstance(rows, list):
                raise KaggleError(f"Kaggle's answer to {method} has no list of {key}", "odd")
            yield from (row for row in rows if isinstance(row, dict))
            token = answer.get("nextPageToken", "")
            if not isinstance(token, str) or token in seen:
                return
            seen.add(token)

    def user(self) -> str:
        """Return the user's name; "" if Kaggle does not give it."""
        return printable(self._ask("Hello", {}, DIAGNOSTICS).get("userName"))

    def files(self, slug: str, *, most: int = 1000) -> list[RemoteFile]:
        """List the first `most` files of a competition."""
        rows = islice(self._pages("ListDataFiles", {"competitionName": slug}, "files"), most)
        return [RemoteFile(printable(row.get("name")), _integer(row.get("totalBytes"))) for row in rows]

    def limits(self, slug: str) -> Limits | None:
        """Return how many submissions are left; None if Kaggle does not give it. Its answer leaves out zeros."""
        answer = self._ask("GetSubmissionLimits", {"competitionName": slug})
        used, left = _integer(answer.get("numToday")), _integer(answer.get("numAllowedNow"))
        if used is None and left is None:
            return None
        return Limits(used or 0, left or 0, answer.get("limitedByTotal") is True)

    def submissions(self, slug: str, *, empty_if: Collection[str] = ()) -> Iterator[Submission]:
        """Yield the user's submissions, the latest first, page by page; rows without a number are skipped.

        empty_if: kinds of error that count as no submission, as Kaggle may answer before the first.
        """
        try:
            for row in self._pages("ListSubmissions", {"competitionName": slug, "page": 1}, "submissions"):
                if ref := _integer(row.get("ref")):
                    yield _submission(ref, row)
        except KaggleError as error:
            if error.kind not in empty_if:
                raise

    def leaderboard(self, slug: str) -> Iterator[Standing]:
        """Yield the public leaderboard from its head, page by page."""
        rows = self._pages("GetLeaderboard", {"competitionName": slug}, "submissions")
        for rank, row in enumerate(rows, 1):
            yield Standing(rank, printable(row.get("teamName")), printable(row.get("score")))

    def check_rules(self, slug: str) -> None:
        """Raises KaggleError unless the competition's data may be downloaded; transfers nothing."""
        self._with_retries(partial(self._start_download, slug)).close()

    def archive(self, slug: str) -> Remote:
        """Describe the competition's archive by its headers; transfers nothing."""
        with self._with_retries(partial(self.open_archive, slug, {})) as answer:
            return remote_of(answer)

    def open_archive(self, slug: str, headers: dict[str, str]) -> requests.Response:
        """Request the competition's archive: an unread answer of 200 or, for a Range in `headers`, 206 or 416.

        One try, with a new signed address, since they expire. Raises KaggleError.
        """
        answer = self._start_download(slug)
        for _ in range(MAX_REDIRECTS):
            if not answer.is_redirect:
                return answer
            answer.close()
            answer = _check_file(self.transport.get(_redirect_target(answer), headers))
        answer.close()
        raise KaggleError("Kaggle sends from one address to the next without end; type the same command later", "odd")

    def _start_download(self, slug: str) -> requests.Response:
        return _check_file(self.transport.post(f"{COMPETITIONS}/DownloadDataFiles", {"competitionName": slug}))

    def upload(self, slug: str, file: Path) -> str:
        """Upload a file, which counts as no submission yet; returns its token. Raises KaggleError."""
        return self._with_retries(partial(self._upload_once, slug, file))

    def _upload_once(self, slug: str, file: Path) -> str:
        stat = file.stat()
        payload = {
            "competitionName": slug,
            "contentLength": stat.st_size,
            "lastModifiedEpochSeconds": int(stat.st_mtime),
            "fileName": file.name,
        }
        answer = self.transport.call(f"{COMPETITIONS}/StartSubmissionUpload", payload)
        token, address = answer.get("token"), answer.get("createUrl")
        if not (isinstance(token, str) and token and isinstance(address, str)):
            raise KaggleError("Kaggle's answer to StartSubmissionUpload names no place to upload to", "odd")
        with file.open("rb") as stream:
            self.transport.put(address, stream)
        return token

    def submit(self, slug: str, token: str, description: str) -> int:
        """Submit an uploaded file; returns the submission's number. Sent again only after a failure without effect.

        Raises KaggleError; unless it is `harmless`, the submission may have been counted.
        """
        payload = {"competitionName": slug, "blobFileTokens": token, "submissionDescription": description}
        return self._with_retries(partial(self._submit_once, payload), only_harmless=True)

    def _submit_once(self, payload: Json) -> int:
        answer = self.transport.call(f"{COMPETITIONS}/CreateSubmission", payload)
        if ref := _integer(answer.get("ref")):
            return ref
        message = printable(answer.get("message")) or "nothing"
        raise KaggleError(f"Kaggle gave the submission no number, and said: {message}", "odd")


def _redirect_target(answer: requests.Response) -> str:
    try:
        return urljoin(answer.url, answer.headers["Location"])
    except ValueError:
        raise KaggleError("Kaggle sends to a broken address; type the same command later", "odd") from None


def _check_file(answer: requests.Response) -> requests.Response:
    """Return a file's or a redirect's answer. Raises KaggleError for a web page or a message in place of a file."""
    kind = answer.headers.get("Content-Type", "").lower()
    packed = answer.headers.get("Content-Encoding", "identity").lower()
    if (
        not answer.is_redirect
        and answer.status_code != 416
        and ("html" in kind or "json" in kind or packed != "identity")
    ):
        answer.close()
        raise KaggleError("Kaggle sent a web page in place of the archive; type the same command later", "odd")
    return answer


def _submission(ref: int, row: Json) -> Submission:
    public, private = (_score(row.get(name)) for name in ("publicScore", "privateScore"))
    texts = (printable(row.get(name)) for name in ("description", "teamName", "errorDescription"))
    return Submission(ref, _status(row.get("status")), public, private, *texts)


def _status(value: Any) -> str:
    """Parse one of STATUSES; pending where it is left out or unknown.

    >>> _status("SUBMISSION_STATUS_COMPLETE"), _status(None), _status("NEWER"), _status(2)
    ('complete', 'pending', 'pending', 'error')
    """
    if isinstance(value, int):
        return STATUSES[value] if 0 <= value < len(STATUSES) else "pending"
    name = re.split(r"[_.]", value)[-1].lower() if isinstance(value, str) else ""
    return name if name in STATUSES else "pending"


def _score(value: Any) -> float | None:
    """Parse a score, which comes as text, "" while there is none."""
    try:
        score = float(value) if isinstance(value, str | int | float) else math.nan
    except (ValueError, OverflowError):
        return None
    return score if math.isfinite(score) else None


def _integer(value: Any) -> int | None:
    """Parse a whole number of 0 or more, which JSON carries as text where it may be long."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return value if value >= 0 else None
    return int(value) if isinstance(value, str) and re.fullmatch(r"\d{1,18}", value, re.A) else None
