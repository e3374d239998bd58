"""A small client of Kaggle's competitions API: it asks, repeats what may be repeated, gives up in time, sends once.

Kaggle's own packages authenticate on import, can leave wrong bytes behind a broken download and take a failed upload
for a success, so they are not used. Requests go to `<endpoint>/v1/<service>/<Method>` as JSON; files come from and go
to signed addresses elsewhere, which never see the credentials. No error shows a secret or a signed address.
"""

import json
import logging
import math
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urljoin

import requests

from kagglepipe.errors import UserError
from kagglepipe.kaggle.credentials import Credentials
from kagglepipe.kaggle.download import Remote, pieces, remote_of
from kagglepipe.kaggle.errors import (
    TEMPORARY,
    KaggleError,
    Patience,
    answered,
    host_of,
    http_date,
    is_loopback,
    masked,
    network_errors,
    storage_error,
)

PUBLIC = "https://api.kaggle.com"
COMPETITIONS, DIAGNOSTICS = "competitions.CompetitionApiService", "api.v1.DiagnosticsService"
CONNECT = 10.0  # seconds
PAGE, MOST_PAGES = 200, 50
MOST_REDIRECTS = 4
MOST_JSON = 32 * 2**20  # bytes of an answer
MOST_TEXT = 10_000  # characters of one string in it
STATUSES = ("pending", "complete", "error")  # in the order of their numbers

log = logging.getLogger(__name__)
Json = dict[str, Any]
Wanted = TypeVar("Wanted")


@dataclass(frozen=True)
class RemoteFile:
    """A file of the competition as listed: its path, and its size in bytes where that is told."""

    name: str
    size: int | None


@dataclass(frozen=True)
class Limits:
    """used_today, left: submissions. by_total: whether their number in all binds, which no new day lifts."""

    used_today: int
    left: int
    by_total: bool


@dataclass(frozen=True)
class Submission:
    """status: one of STATUSES. Scores are None while they are not known, or hidden."""

    ref: int
    status: str
    public: float | None
    private: float | None
    description: str
    team: str
    error: str

    def as_columns(self) -> Json:
        """What the ledger keeps of it."""
        return {
            "ref": self.ref,
            "status": self.status,
            "public_score": self.public,
            "private_score": self.private,
            "error": self.error,
        }


@dataclass(frozen=True)
class Standing:
    """A row of the public leaderboard. rank: from 1, in Kaggle's order."""

    rank: int
    team: str
    score: str


class KaggleClient:
    """Speaks for one user. skew: seconds by which this machine's clock is ahead of Kaggle's, after a first answer.

    endpoint: http:// only on this machine. timeout: seconds without an answer or a byte until a request is given up.
    patience: seconds for which a request is repeated. pause: how waiting is done.
    Raises UserError for an endpoint to which the credentials must not go.
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
        self.base, self.is_local = _base(endpoint), is_loopback(endpoint)
        self.credentials, self.patience, self.pause = credentials, patience, pause
        self.timeout = (min(CONNECT, timeout), timeout)
        self.skew: float | None = None
        self._rpc, self._storage = _session(local=self.is_local), _session(local=self.is_local)
        self._rpc.auth = self._sign

    # --- what can be asked ---------------------------------------------------------------------------------------

    def user(self) -> str:
        """The name of the user whose credentials these are; "" if Kaggle does not tell."""
        return _printable(self._ask("Hello", {}, service=DIAGNOSTICS).get("userName"))

    def files(self, slug: str, *, most: int = 1000) -> list[RemoteFile]:
        """The first `most` files of a competition, as listed."""
        found: list[RemoteFile] = []
        for row in self._pages("ListDataFiles", {"competitionName": slug}, "files"):
            found.append(RemoteFile(_printable(row.get("name")), _integer(row.get("totalBytes"))))
            if len(found) >= most:
                break
        return found

    def limits(self, slug: str) -> Limits | None:
        """How many submissions are left; None if Kaggle does not tell. It leaves out what is zero."""
        answer = self._ask("GetSubmissionLimits", {"competitionName": slug})
        used, left = _integer(answer.get("numToday")), _integer(answer.get("numAllowedNow"))
        if used is None and left is None:
            return None
        return Limits(used or 0, left or 0, answer.get("limitedByTotal") is True)

    def submissions(self, slug: str) -> Iterator[Submission]:
        """The user's submissions, the latest first, page by page; rows without a number are left out."""
        for row in self._pages("ListSubmissions", {"competitionName": slug, "page": 1}, "submissions"):
            if ref := _integer(row.get("ref")):
                yield _submission(ref, row)

    def leaderboard(self, slug: str) -> Iterator[Standing]:
        """The public leaderboard from its head on, page by page as it is read."""
        rows = self._pages("GetLeaderboard", {"competitionName": slug}, "submissions")
        for rank, row in enumerate(rows, 1):
            yield Standing(rank, _printable(row.get("teamName")), _printable(row.get("score")))

    # --- downloading ---------------------------------------------------------------------------------------------

    def demand_rules(self, slug: str) -> None:
        """Raises KaggleError unless the competition's data may be downloaded; transfers nothing."""

        def look() -> None:
            with self._post("DownloadDataFiles", {"competitionName": slug}) as answer:
                if not answer.is_redirect:
                    _demand_file(answer)

        self._patiently(look)

    def archive(self, slug: str) -> Remote:
        """What the storage tells of the competition's archive, of which nothing is transferred."""

        def look() -> Remote:
            with self.open_archive(slug, {}) as answer:
                return remote_of(answer)

        return self._patiently(look)

    def open_archive(self, slug: str, headers: dict[str, str]) -> requests.Response:
        """The competition's archive as an unread answer: 200 or, where `headers` ask for a Range, 206 or 416.

        One try; a fresh signed address is asked for each time, since they expire. Raises KaggleError.
        """
        answer = self._post("DownloadDataFiles", {"competitionName": slug})
        for _ in range(MOST_REDIRECTS):
            if not answer.is_redirect:
                return _demand_file(answer)
            answer.close()
            answer = self._get(_target(answer), headers)
        answer.close()
        raise KaggleError("Kaggle sends from one address to the next without end; type the same command later", "odd")

    def _get(self, place: str, headers: dict[str, str]) -> requests.Response:
        """An unread answer of the storage, of whose errors the number alone is told."""
        self._demand_safe(place)
        with network_errors("the download"):
            answer = self._storage.get(place, headers=headers, timeout=self.timeout, allow_redirects=False, stream=True)
        if answer.status_code >= 400 and answer.status_code != 416:
            answer.close()
            raise storage_error(answer, "download")
        return answer

    def _demand_safe(self, place: str) -> None:
        """Raises KaggleError for an address that is not https, unless all of this happens on this machine."""
        if not (place.startswith("https://") or (self.is_local and is_loopback(place))):
            raise KaggleError(f"Kaggle sends to {masked(place)}, which is not https: not followed", "denied")

    # --- submitting ----------------------------------------------------------------------------------------------

    def upload(self, slug: str, file: Path) -> str:
        """The token of the uploaded file, which counts as no submission yet. Raises KaggleError."""
        return self._patiently(lambda: self._upload_once(slug, file))

    def _upload_once(self, slug: str, file: Path) -> str:
        facts = file.stat()
        wish = {
            "competitionName": slug,
            "contentLength": facts.st_size,
            "lastModifiedEpochSeconds": int(facts.st_mtime),
            "fileName": file.name,
        }
        answer = self._object(self._post("StartSubmissionUpload", wish), "StartSubmissionUpload")
        token, place = answer.get("token"), answer.get("createUrl")
        if not (isinstance(token, str) and token and isinstance(place, str)):
            raise KaggleError("Kaggle's answer to StartSubmissionUpload names no place to upload to", "odd")
        self._demand_safe(place)
        with file.open("rb") as stream, network_errors("the upload"):
            kind = {"Content-Type": "application/octet-stream"}
            done = self._storage.put(
                place, data=stream, headers=kind, timeout=self.timeout, allow_redirects=False, stream=True
            )
        done.close()  # the status says all
        if done.status_code not in (200, 201):
            raise storage_error(done, "upload")
        return token

    def submit(self, slug: str, token: str, description: str) -> int:
        """The number of the submission made of an uploaded file. Sent again only where it surely did nothing.

        Raises KaggleError; unless it is `harmless`, the submission may have been counted.
        """
        wish = {"competitionName": slug, "blobFileTokens": token, "submissionDescription": description}
        return self._patiently(lambda: self._submit_once(wish), only_harmless=True)

    def _submit_once(self, wish: Json) -> int:
        answer = self._object(self._post("CreateSubmission", wish), "CreateSubmission")
        if ref := _integer(answer.get("ref")):
            return ref
        said = _printable(answer.get("message")) or "nothing"
        raise KaggleError(f"Kaggle gave the submission no number, and said: {said}", "odd")

    # --- one request ---------------------------------------------------------------------------------------------

    def _ask(self, method: str, wish: Json, *, service: str = COMPETITIONS) -> Json:
        """The answer to a question, which may be repeated. Raises KaggleError."""
        return self._patiently(lambda: self._object(self._post(method, wish, service), method))

    def _pages(self, method: str, wish: Json, key: str) -> Iterator[Json]:
        """The rows of an answer that comes in pages; rows that are no objects are passed over."""
        seen = {""}
        token: Any = ""
        for _ in range(MOST_PAGES):
            answer = self._ask(method, {**wish, "pageSize": PAGE, **({"pageToken": token} if token else {})})
            rows = answer.get(key) or []
            if not isinstance(rows, list):
                raise KaggleError(f"Kaggle's answer to {method} has no list of {key}", "odd")
            yield from (row for row in rows if isinstance(row, dict))
            token = answer.get("nextPageToken")
            if not isinstance(token, str) or token in seen:
                return
            seen.add(token)

    def _patiently(self, attempt: Callable[[], Wanted], *, only_harmless: bool = False) -> Wanted:
        """What `attempt` returns, tried again after errors that may pass."""
        patience = Patience(self.patience, self.pause)
        while True:
            try:
                return attempt()
            except KaggleError as error:
                if error.kind not in TEMPORARY or (only_harmless and not error.harmless):
                    raise
                patience.bear(error)

    def _post(self, method: str, wish: Json, service: str = COMPETITIONS) -> requests.Response:
        """An unread answer below 400. Raises KaggleError."""
        with network_errors(method):
            answer = self._rpc.post(
                f"{self.base}/{service}/{method}", json=wish, timeout=self.timeout, allow_redirects=False, stream=True
            )
        if (server := http_date(answer.headers.get("Date", ""))) is not None:
            self.skew = time.time() - server
        if answer.status_code >= 400:
            raise answered(answer, self._said(answer, method), method, wish.get("competitionName"))
        return answer

    def _object(self, answer: requests.Response, method: str) -> Json:
        """The object in an answer. Raises KaggleError if it is anything else."""
        text = self._text(answer, method)
        try:
            value = self._hidden(json.loads(text))
        except (ValueError, RecursionError):
            raise KaggleError(f"Kaggle's answer to {method} is {_likeness(text)}", "odd") from None
        if answer.status_code >= 300 or not isinstance(value, dict):
            raise KaggleError(
                f"Kaggle's answer to {method} is not what its API gives; type the same command later", "odd"
            )
        return value

    def _said(self, answer: requests.Response, method: str) -> str:
        """The service's own message in an error, in either of its shapes; "" where there is none."""
        try:
            value = self._hidden(json.loads(self._text(answer, method)))
        except (ValueError, RecursionError, KaggleError):
            return ""  # the status says enough
        inner = value.get("error", value) if isinstance(value, dict) else value
        said = inner.get("message") if isinstance(inner, dict) else inner
        return _printable(said)[:300]

    def _text(self, answer: requests.Response, method: str) -> str:
        """The text of an answer, if it ends in time and is no larger than MOST_JSON."""
        data, end = bytearray(), time.monotonic() + self.timeout[1] + self.patience
        with network_errors(method), answer:
            for piece in pieces(answer):
                data += piece
                if len(data) > MOST_JSON or time.monotonic() > end:
                    raise KaggleError(f"Kaggle's answer to {method} does not end", "odd")
        return data.decode("utf-8", "replace")

    def _hidden(self, value: Any) -> Any:
        """A decoded answer without the credentials, should the server have echoed them: escapes hide them before."""
        if isinstance(value, dict):
            return {self.credentials.hide(key[:MOST_TEXT]): self._hidden(item) for key, item in value.items()}
        if isinstance(value, list):
            return [self._hidden(item) for item in value]
        return self.credentials.hide(value[:MOST_TEXT]) if isinstance(value, str) else value

    def _sign(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = self.credentials.authorization
        return request


def _base(endpoint: str) -> str:
    """`<endpoint>/v1`. Raises UserError unless it is https, or http on this machine."""
    local = endpoint.startswith("http://") and is_loopback(endpoint)
    if not local and not (endpoint.startswith("https://") and host_of(endpoint)):
        raise UserError(
            f"kaggle.endpoint is {masked(endpoint)}, which might show the token to others: give an https:// address "
            "(http:// is for 127.0.0.1 alone)"
        )
    if set(endpoint) & set("@?#"):
        raise UserError(f"kaggle.endpoint={masked(endpoint)} takes neither a user nor a query: give the address alone")
    return endpoint.rstrip("/").removesuffix("/v1") + "/v1"


class _Session(requests.Session):
    """One to which no answer is a redirect: even of those that it is not to follow, requests reads body and address."""

    def get_redirect_target(self, resp: requests.Response) -> None:
        return None


def _session(*, local: bool) -> requests.Session:
    from kagglepipe import __version__

    for name in ("", ".connection", ".connectionpool"):  # they write signed addresses into the log, warnings too
        logging.getLogger(f"urllib3{name}").setLevel(logging.ERROR)
    session = _Session()
    session.trust_env = not local  # a proxy has no part in what stays on this machine
    session.auth = lambda request: request  # nor has ~/.netrc, anywhere
    session.headers.update({"User-Agent": f"kagglepipe/{__version__}", "Accept-Encoding": "identity"})
    return session


def _target(answer: requests.Response) -> str:
    """The address to which an answer sends on."""
    try:
        return urljoin(answer.url, answer.headers["Location"])
    except ValueError:
        raise KaggleError("Kaggle sends to a broken address; type the same command later", "odd") from None


def _demand_file(answer: requests.Response) -> requests.Response:
    """The answer, unless it is a web page or a message in place of a file."""
    kind = answer.headers.get("Content-Type", "").lower()
    packed = answer.headers.get("Content-Encoding", "identity").lower()
    if answer.status_code != 416 and ("html" in kind or "json" in kind or packed != "identity"):
        answer.close()
        raise KaggleError("Kaggle sent a web page in place of the archive; type the same command later", "odd")
    return answer


def _likeness(text: str) -> str:
    """What an answer that is no JSON looks like."""
    if "<html" in text[:1000].lower():
        return "a web page: does a proxy or login stand between here and Kaggle?"
    return "not JSON: type the same command later" if text.strip() else "empty: type the same command later"


def _submission(ref: int, row: Json) -> Submission:
    return Submission(
        ref=ref,
        status=_status(row.get("status")),
        public=_score(row.get("publicScore")),
        private=_score(row.get("privateScore")),
        description=_printable(row.get("description")),
        team=_printable(row.get("teamName")),
        error=_printable(row.get("errorDescription")),
    )


def _status(value: object) -> str:
    """One of STATUSES; what is left out or not known is taken for pending.

    >>> _status("SUBMISSION_STATUS_COMPLETE"), _status(None), _status("NEWER"), _status(2)
    ('complete', 'pending', 'pending', 'error')
    """
    if isinstance(value, int):
        return STATUSES[value] if 0 <= value < len(STATUSES) else "pending"
    name = re.split(r"[_.]", value)[-1].lower() if isinstance(value, str) else ""
    return name if name in STATUSES else "pending"


def _score(value: object) -> float | None:
    """A score, which comes as text, "" while there is none."""
    try:
        score = float(value) if isinstance(value, str | int | float) else math.nan
    except (ValueError, OverflowError):
        return None
    return score if math.isfinite(score) else None


def _integer(value: object) -> int | None:
    """A whole number of 0 or more, which JSON carries as text where it may be long."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return value if value >= 0 else None
    return int(value) if isinstance(value, str) and re.fullmatch(r"\d{1,18}", value, re.A) else None


def _printable(value: object) -> str:
    """Text from elsewhere on one line, without what could steer a terminal."""
    return " ".join("".join(c if c.isprintable() else " " for c in value).split()) if isinstance(value, str) else ""
