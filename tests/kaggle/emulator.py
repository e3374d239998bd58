"""Kaggle's API on the loopback interface: it serves, counts and grades as Kaggle does, and fails when told to.

    with KaggleEmulator() as kaggle:
        kaggle.add_competition("cats", small_archive(), answers={"1": "cat", "2": "dog"})
        kaggle.fault("storage", "drop", after=100)  # the next download breaks off after 100 bytes
        ...  # a client, pointed at kaggle.endpoint
        assert kaggle.counted("cats") == 1

One server answers the RPCs, at `/v1/<service>/<Method>` and `/api/v1/<service>/<Method>`. The storage behind the signed
addresses is another, on a port of its own, and turns away whoever shows it credentials, as Google's does. A third,
`elsewhere`, is where no client should take anything of value. All end with the `with`, and what they hold open too.

`wire` has the HTTP, `faults` what may go wrong. test_emulator.py holds all of it to Kaggle's own
clients.
"""

import base64
import csv
import hashlib
import hmac
import inspect
import io
import json
import random
import re
import secrets
import threading
import time
import zipfile
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import formatdate
from functools import cache, cached_property
from pathlib import Path
from typing import Any, NamedTuple, Self
from urllib.parse import quote, urlencode

from tests.kaggle.faults import DENIED, FAULTS, RANGED, RULES, Exchange, quota_message
from tests.kaggle.wire import Reply, Request, Server, html_page, json_error, json_reply, xml_error

Json = dict[str, Any]
Answers = Mapping[Any, object]  # by id

S = "competitions.CompetitionApiService"
UPLOADS = "/upload/storage/v1/b/kaggle-competitions-submissions/o"
NOTED = ("Authorization", "Cookie", "Range", "If-Range", "Content-Range", "Content-Length", "Accept-Encoding")
TEAMS = {"Night owls": 0.9, "Early birds": 0.8, "Ünï çode, Inc.": 0.55}  # score by name
CREATED = "2024-05-06T07:08:09.1234567Z"


class Call(NamedTuple):
    """What `calls` holds of a request: its RPC or "GET storage", its NOTED headers, the answer's status and bytes."""

    name: str
    headers: dict[str, str]
    status: int | None
    sent: int


class Refused(Exception):  # noqa: N818 - it is an answer
    """An RPC answers with an error."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code, self.message = code, message


@dataclass(frozen=True)
class Stored:
    """Bytes in the storage, with what its headers say of them."""

    data: bytes
    modified: float = field(default_factory=time.time)

    @cached_property
    def etag(self) -> str:
        return f'"{hashlib.md5(self.data).hexdigest()}"'

    @cached_property
    def md5(self) -> str:
        return base64.b64encode(hashlib.md5(self.data).digest()).decode()

    @property
    def last_modified(self) -> str:
        return formatdate(self.modified, usegmt=True)


@dataclass
class Submission:
    """One that counts. Grading waits until it has been looked at often enough."""

    ref: int
    file_name: str
    data: bytes
    description: str
    public: str = ""
    private: str = ""
    error: str = ""
    looks: int = 0
    date: str = field(default_factory=lambda: f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%f}7Z")  # seven digits


@dataclass
class Competition:
    """What can be downloaded, and to which answers one can submit.

    files: by name. answers: None where all is graded as nothing.
    """

    slug: str
    files: Mapping[str, bytes]
    answers: Answers | None = None
    id_column: str = "ID"
    target_column: str = "Ground_Truth"
    quota: int = 5
    rules_accepted: bool = True
    show_private: bool = False
    teams: Mapping[str, float] = field(default_factory=lambda: TEAMS)
    submissions: list[Submission] = field(default_factory=list)  # oldest first

    @property
    def archive(self) -> str:
        """Its path in the storage; one of its letters has to be escaped."""
        return f"/kaggle-competitions-data/kaggle-v2/{self.slug}/bundle/all files.zip"


@dataclass
class Upload:
    """A file on its way. size: as many bytes as were announced. data: those that have come."""

    file_name: str
    size: int
    data: bytes = b""
    done: bool = False


@dataclass
class Fault:
    """A fault that waits for its requests, of which there are `times` to come."""

    place: str
    kind: str
    details: Mapping[str, Any]
    times: int | None
    counted: bool
    ranged: bool

    def meets(self, place: str, request: Request) -> bool:
        return place == self.place and ("Range" in request.headers or not self.ranged)


class KaggleEmulator:
    """The three servers. What has no underscore may be changed at any time."""

    def __init__(self) -> None:
        self.token = f"KAGGLE-TOKEN-{secrets.token_hex(12)}"
        self.username = f"user{secrets.token_hex(3)}"
        self.key = f"KAGGLE-KEY-{secrets.token_hex(12)}"
        self.signature = f"SIGNED-{secrets.token_hex(12)}"  # in every signed address and upload token

        self.error_shape = "nested"  # or "flat"
        self.omit_defaults = True  # as protobuf does, and PENDING is one
        self.largest_page = 100  # rows, whatever is asked for
        self.pending_polls = 1  # looks at a submission before it is graded
        self.late_looks = 0  # looks at the list before a new submission is in it
        self.redirect_code = 302
        self.has_md5 = True  # which the storage tells

        self.calls: list[Call] = []
        self.faults: list[Fault] = []  # those to come
        self.competitions: dict[str, Competition] = {}
        self.objects: dict[str, Stored] = {}  # by path in the storage
        self.uploads: dict[str, Upload] = {}  # by token
        self._lock = threading.RLock()
        self._servers = [Server(role, self._answer) for role in ("api", "storage", "elsewhere")]
        self.endpoint, self.storage, self.elsewhere = (server.address for server in self._servers)

    def __enter__(self) -> Self:
        for server in self._servers:
            server.start()
        return self

    def __exit__(self, *_: object) -> None:
        for server in self._servers:
            server.stop()

    def add_competition(
        self,
        slug: str,
        archive: bytes | Path,
        files: Mapping[str, bytes] | None = None,
        answers: Answers | None = None,
        **rest: Any,
    ) -> Competition:
        """A new Competition, which see for the rest; its files are those in the archive, unless told otherwise."""
        data = archive.read_bytes() if isinstance(archive, Path) else archive
        new = Competition(slug, unzipped(data) if files is None else files, answers, **rest)
        self.store(new.archive, data)
        self.competitions[slug] = new
        return new

    def set_archive(self, slug: str, archive: bytes) -> None:
        """From now on the competition's archive is this one."""
        self.store(self.competitions[slug].archive, archive)

    def store(self, path: str, data: bytes) -> None:
        self.objects[path] = Stored(data)

    def submissions(self, slug: str) -> list[Submission]:
        """What was really counted, oldest first."""
        return self.competitions[slug].submissions

    def counted(self, slug: str) -> int:
        return len(self.submissions(slug))

    def fault(
        self,
        place: str,
        kind: str,
        times: int | None = 1,
        *,
        counted: bool = False,
        ranged: bool | None = None,
        **details: Any,
    ) -> None:
        """The next `times` requests to the place (None: all) meet this fault, after those that wait already.

        place: an RPC such as "CreateSubmission", "storage" for downloads or "upload" for the PUT. kind: a key of
        FAULTS, whose function says which details there are. counted: what is asked is done, and then the fault comes.
        ranged: only a request with a Range meets it, which is the default where another makes no sense.
        """
        if place not in PLACES:
            raise ValueError(f"no place for a fault: {place}")
        inspect.signature(FAULTS[kind]).bind(None, **details)
        self.faults.append(Fault(place, kind, details, times, counted, kind in RANGED if ranged is None else ranged))

    def signed(self, path: str) -> str:
        """The storage's address of an object, good for ten minutes."""
        expires = str(int(time.time() + 600))
        query = {"GoogleAccessId": "emulator", "Expires": expires, "Signature": self._sign(path, expires)}
        return f"{self.storage}{quote(path)}?{urlencode(query)}"

    def is_signed(self, request: Request) -> bool:
        expires = request.query.get("Expires", "")
        good = request.query.get("Signature") == self._sign(request.path, expires)
        return good and time.time() < int(expires)

    def _sign(self, path: str, expires: str) -> str:
        mac = hmac.digest(self.key.encode(), f"{path}\n{expires}".encode(), "sha256")
        return f"{self.signature}/{base64.b64encode(mac).decode()}"  # what an address must escape is among it

    def _answer(self, request: Request) -> Reply:
        place = place_of(request)
        noted = {name: request.headers[name] for name in NOTED if name in request.headers}
        exchange = Exchange(self, request, place, cache(lambda: self._true_answer(place, request)))  # done once
        with self._lock:
            fault = self._next_fault(place, request)
            if fault and fault.counted:
                exchange.proceed()
            reply = FAULTS[fault.kind](exchange, **fault.details) if fault else exchange.proceed()
            name, size = place if request.role == "api" else name_of(request), len(reply.body)
            self.calls.append(Call(name, noted, reply.status, size if reply.cut is None else min(reply.cut, size)))
        return reply

    def _true_answer(self, place: str, request: Request) -> Reply:
        try:
            return BESIDES.get(place, call)(self, request)
        except Refused as refusal:
            return json_error(refusal.code, refusal.message, self.error_shape)

    def _next_fault(self, place: str, request: Request) -> Fault | None:
        found = next((fault for fault in self.faults if fault.meets(place, request)), None)
        if found and found.times is not None:
            found.times -= 1
            if not found.times:
                self.faults.remove(found)
        return found


def place_of(request: Request) -> str:
    """Where a fault may wait for the request; one to the API that is no RPC has its path."""
    if request.role == "storage" and request.path == UPLOADS:
        return "upload"
    method = request.path.rpartition("/")[2]
    return request.role if request.role != "api" else method if method in PLACES else request.path


def name_of(request: Request) -> str:
    return f"{request.verb} {request.role}"


# --- the RPCs -----------------------------------------------------------------------------------------------------


def call(kaggle: KaggleEmulator, request: Request) -> Reply:
    """What the RPC answers, if there is one of this name and its caller may have it."""
    route = request.path.removeprefix("/api").removeprefix("/v1/")
    if route not in ROUTES or request.verb != "POST":
        raise Refused(404, "Not found")
    if route not in OPEN and request.headers["Authorization"] not in credentials(kaggle):
        raise Refused(401, "Unauthenticated")
    try:
        asked = json.loads(request.body)
    except ValueError:
        raise Refused(400, "The request is not JSON") from None
    answer = ROUTES[route](kaggle, asked)
    return answer if isinstance(answer, Reply) else json_reply(pruned(answer) if kaggle.omit_defaults else answer)


def credentials(kaggle: KaggleEmulator) -> tuple[str, str]:
    basic = base64.b64encode(f"{kaggle.username}:{kaggle.key}".encode()).decode()
    return f"Bearer {kaggle.token}", f"Basic {basic}"


def pruned(value: Any) -> Any:
    """The same without what has its default value."""
    if isinstance(value, dict):
        return {key: pruned(item) for key, item in value.items() if item not in ("", 0, None, [], "PENDING")}
    return [pruned(item) for item in value] if isinstance(value, list) else value


def entered(kaggle: KaggleEmulator, asked: Json, *, rules: bool = False) -> Competition:
    """The competition asked for; `rules` tells whether they must have been accepted."""
    found = kaggle.competitions.get(asked.get("competitionName", ""))
    if found is None:
        raise Refused(403, DENIED)
    if rules and not found.rules_accepted:
        raise Refused(403, RULES)
    return found


def paged(kaggle: KaggleEmulator, asked: Json, name: str, rows: Sequence[Any]) -> Json:
    """The page of the rows that is asked for, and the token of the next."""
    size, token = min(asked.get("pageSize") or 20, kaggle.largest_page), asked.get("pageToken")
    starts = {page_token(start): start for start in range(len(rows) + 1)}
    if token and token not in starts:
        raise Refused(400, "Invalid page token")
    start = starts[token] if token else (max(asked.get("page") or 1, 1) - 1) * size
    following = page_token(start + size) if start + size < len(rows) else ""
    return {name: list(rows[start : start + size]), "nextPageToken": following}


def page_token(start: int) -> str:
    return base64.b64encode(f"from row {start}".encode()).decode()


def list_data_files(kaggle: KaggleEmulator, asked: Json) -> Json:
    files = entered(kaggle, asked).files.items()
    rows = [{"name": name, "ref": name, "totalBytes": len(data), "creationDate": CREATED} for name, data in files]
    return paged(kaggle, asked, "files", rows)


def download_data_files(kaggle: KaggleEmulator, asked: Json) -> Reply:
    return redirect(kaggle, entered(kaggle, asked, rules=True).archive)


def redirect(kaggle: KaggleEmulator, path: str) -> Reply:
    return Reply(kaggle.redirect_code, b"", [("Location", kaggle.signed(path))])


def start_submission_upload(kaggle: KaggleEmulator, asked: Json) -> Json:
    entered(kaggle, asked)
    token = f"{kaggle.signature}-{secrets.token_hex(8)}"
    kaggle.uploads[token] = Upload(asked.get("fileName", ""), asked.get("contentLength", 0))
    query = urlencode({"uploadType": "resumable", "upload_id": token})
    return {"token": token, "createUrl": f"{kaggle.storage}{UPLOADS}?{query}"}


def create_submission(kaggle: KaggleEmulator, asked: Json) -> Json:
    competition = entered(kaggle, asked, rules=True)
    upload = kaggle.uploads.get(asked.get("blobFileTokens", ""))
    if upload is None or not upload.done:
        raise Refused(400, "The submission's file has not been uploaded")
    if len(competition.submissions) >= competition.quota:
        raise Refused(400, quota_message(competition.quota))
    ref = 4001 + sum(len(other.submissions) for other in kaggle.competitions.values())
    new = Submission(ref, upload.file_name, upload.data, asked.get("submissionDescription", ""))
    grade(competition, new)
    competition.submissions.append(new)
    return {"message": f"Successfully submitted to {competition.slug}", "ref": ref}


def list_submissions(kaggle: KaggleEmulator, asked: Json) -> Json:
    competition = entered(kaggle, asked)
    visible = [row for row in reversed(competition.submissions) if looked_at(kaggle, row)]
    return paged(kaggle, asked, "submissions", [submission_row(kaggle, competition, row) for row in visible])


def looked_at(kaggle: KaggleEmulator, row: Submission) -> bool:
    """Whether it can be seen, after one more look for it."""
    row.looks += 1
    return row.looks > kaggle.late_looks


def submission_row(kaggle: KaggleEmulator, competition: Competition, row: Submission) -> Json:
    graded = row.looks > kaggle.late_looks + kaggle.pending_polls
    return {
        "ref": row.ref,
        "status": ("ERROR" if row.error else "COMPLETE") if graded else "PENDING",
        "date": row.date,
        "description": row.description,
        "errorDescription": row.error if graded else "",
        "fileName": row.file_name,
        "publicScore": row.public if graded else "",
        "privateScore": row.private if graded and competition.show_private else "",
        "submittedBy": kaggle.username,
        "teamName": kaggle.username,
        "totalBytes": len(row.data),
        "url": f"/submissions/{row.ref}/{row.ref}.raw",
    }


def get_submission_limits(kaggle: KaggleEmulator, asked: Json) -> Json:
    competition = entered(kaggle, asked)
    used = len(competition.submissions)
    return {
        "numToday": used,
        "numTotal": used,
        "numAllowedNow": max(competition.quota - used, 0),
        "limitedByTotal": False,
    }


def ranking(kaggle: KaggleEmulator, competition: Competition) -> list[Json]:
    """The leaderboard, best first: the teams, and the user with the best public score, if there is one."""
    own = [row.public for row in competition.submissions if row.public]
    scores = {name: f"{score:.5f}" for name, score in competition.teams.items()}
    scores |= {kaggle.username: max(own)} if own else {}
    names = sorted(scores, key=lambda name: float(scores[name]), reverse=True)
    return [
        {"teamId": 900 + number, "teamName": name, "submissionDate": CREATED, "score": scores[name]}
        for number, name in enumerate(names)
    ]


def get_leaderboard(kaggle: KaggleEmulator, asked: Json) -> Json:
    return paged(kaggle, asked, "submissions", ranking(kaggle, entered(kaggle, asked)))


def introspect_token(kaggle: KaggleEmulator, asked: Json) -> Json:
    return {"active": True, "username": kaggle.username} if asked.get("token") == kaggle.token else {"active": False}


def hello(kaggle: KaggleEmulator, asked: Json) -> Json:
    return {"userName": kaggle.username}


ROUTES: dict[str, Callable[[KaggleEmulator, Json], Json | Reply]] = {
    f"{S}/ListDataFiles": list_data_files,
    f"{S}/DownloadDataFiles": download_data_files,
    f"{S}/StartSubmissionUpload": start_submission_upload,
    f"{S}/CreateSubmission": create_submission,
    f"{S}/ListSubmissions": list_submissions,
    f"{S}/GetSubmissionLimits": get_submission_limits,
    f"{S}/GetLeaderboard": get_leaderboard,
    "security.OAuthService/IntrospectToken": introspect_token,
    "api.v1.DiagnosticsService/Hello": hello,
}
OPEN = ("security.OAuthService/IntrospectToken",)  # to everybody


# --- grading ------------------------------------------------------------------------------------------------------


def grade(competition: Competition, new: Submission) -> None:
    """The submission gets its two scores, or the error that its file deserves."""
    if competition.answers is None:
        return
    answers = {str(key): str(answer) for key, answer in competition.answers.items()}
    try:
        given = read_answers(new.data, [competition.id_column, competition.target_column], set(answers))
    except (ValueError, csv.Error) as error:
        new.error = str(error)
    else:
        new.public, new.private = (
            f"{sum(given[key] == answers[key] for key in half) / max(len(half), 1):.5f}" for half in halves(answers)
        )


def read_answers(data: bytes, columns: list[str], ids: set[str]) -> dict[str, str]:
    """The answers in a CSV by id; ValueError says what is wrong with it."""
    header, *rows = [*csv.reader(io.StringIO(data.decode(), newline=""))] or [[]]
    if header != columns:
        raise ValueError(f"The columns must be {','.join(columns)}, but they are {','.join(header)}")
    if len(rows) != len(ids) or any(len(row) != 2 for row in rows):
        raise ValueError(f"Submission must have {len(ids)} rows of 2 values")
    if {key for key, _ in rows} != ids:
        raise ValueError(f"The ids in {columns[0]} are not those of the test set")
    return dict(rows)


def halves(ids: Collection[Any]) -> tuple[list[Any], list[Any]]:
    """The public and the private half; which ids are in which looks arbitrary, and is always the same."""
    ordered = sorted(ids, key=lambda key: hashlib.sha256(str(key).encode()).digest())
    middle = (len(ordered) + 1) // 2
    return ordered[:middle], ordered[middle:]


# --- the storage --------------------------------------------------------------------------------------------------


def download(kaggle: KaggleEmulator, request: Request) -> Reply:
    """An object, or the part of it that is asked for, to whoever has its signed address."""
    if "Authorization" in request.headers:
        return turned_away(request)
    if not kaggle.is_signed(request):
        return xml_error(403, "ExpiredToken", "The signature is not valid or has expired.")
    stored = kaggle.objects.get(request.path)
    if stored is None or request.verb != "GET":
        return xml_error(404, "NoSuchKey", "The specified key does not exist.")
    span, size = byte_range(request.headers.get("Range", ""), len(stored.data)), len(stored.data)
    if span is None or request.headers.get("If-Range") not in (None, stored.etag, stored.last_modified):
        return Reply(200, stored.data, object_headers(kaggle, stored))
    start, stop = span
    if start >= stop:
        return xml_error(416, "InvalidRange", "Not satisfiable.").with_header("Content-Range", f"bytes */{size}")
    reply = Reply(206, stored.data[start:stop], object_headers(kaggle, stored))
    return reply.with_header("Content-Range", f"bytes {start}-{stop - 1}/{size}")


def turned_away(request: Request) -> Reply:
    if request.headers["Authorization"].startswith("Bearer "):
        return xml_error(401, "AuthenticationRequired", "Authentication required.")
    return xml_error(400, "InvalidArgument", "Only one way to authenticate is allowed.")


def object_headers(kaggle: KaggleEmulator, stored: Stored) -> list[tuple[str, str]]:
    return [
        ("Content-Type", "application/octet-stream"),
        ("Accept-Ranges", "bytes"),
        ("ETag", stored.etag),
        ("Last-Modified", stored.last_modified),
        ("x-goog-hash", "crc32c=AAAAAA=="),  # which no client looks at
        *([("x-goog-hash", f"md5={stored.md5}")] if kaggle.has_md5 else []),
    ]


def byte_range(text: str, size: int) -> tuple[int, int] | None:
    """The first byte and the one after the last of `bytes=a-b` or `bytes=a-`; None for anything else."""
    found = re.fullmatch(r"bytes=(\d+)-(\d*)", text)
    return (int(found[1]), min(int(found[2]) + 1, size) if found[2] else size) if found else None


def upload(kaggle: KaggleEmulator, request: Request) -> Reply:
    """Takes in the file of a submission."""
    if "Authorization" in request.headers:
        return turned_away(request)
    kept = kaggle.uploads.get(request.query.get("upload_id", ""))
    if kept is None or request.verb != "PUT":
        return xml_error(404, "NoSuchUpload", "The requested upload was not found.")
    kept.data, kept.done = request.body, len(request.body) == kept.size
    return Reply(200) if kept.done else xml_error(400, "BadRequest", "The size is not the one that was announced.")


def elsewhere(kaggle: KaggleEmulator, request: Request) -> Reply:
    """The object that the storage has here, or a page; `/loop` leads to itself."""
    if request.path == "/loop":
        return Reply(302, b"", [("Location", f"{kaggle.elsewhere}/loop")])
    stored = kaggle.objects.get(request.path)
    return Reply(200, stored.data, object_headers(kaggle, stored)) if stored else html_page(200)


BESIDES = {"storage": download, "upload": upload, "elsewhere": elsewhere}  # the RPCs
PLACES = {*BESIDES, *(route.rpartition("/")[2] for route in ROUTES)}


# --- archives -----------------------------------------------------------------------------------------------------


def zip_of(files: Mapping[str, bytes]) -> bytes:
    """A zip of the files by name; the same files give the same bytes."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as target:
        for name, data in files.items():
            target.writestr(zipfile.ZipInfo(name), data, zipfile.ZIP_DEFLATED)
    return archive.getvalue()


def unzipped(archive: bytes) -> dict[str, bytes]:
    """The files in a zip by name."""
    with zipfile.ZipFile(io.BytesIO(archive)) as source:
        return {info.filename: source.read(info) for info in source.infolist() if not info.is_dir()}


def small_archive(seed: int = 0, size: int = 20_000) -> bytes:
    """A zip of a few files, a little more than `size` bytes long: tables, folders, names with odd letters."""
    noise = random.Random(seed).randbytes(size)
    rows = "".join(f"{number},{number % 2}\n" for number in range(200))
    return zip_of(
        {
            "sample_submission.csv": b"ID,Ground_Truth\n1,0\n2,0\n",
            "train.csv": f"ID,Ground_Truth\n{rows}".encode(),
            "images/a b.bin": noise[: size // 2],
            "images/deep/ñ,%41.bin": noise[size // 2 :],
        }
    )
