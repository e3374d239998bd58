"""The emulator is held to Kaggle's own clients, and each of its faults to what its name says."""

import contextlib
import csv
import http.client
import importlib.util
import io
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import pytest
import requests

from tests.kaggle_emulator import (
    KaggleEmulator,
    S,
    crc32c,
    halves,
    page_token,
    sample_archive,
    small_archive,
    unzipped,
    zip_of,
)
from tests.kaggle_faults import DENIED, FAULTS, ODD_ROWS, RULES

ANSWERS = {f"img{number}.jpg": number % 2 for number in range(20)}
NEEDED = [name for name in ("kaggle", "kagglehub", "six") if importlib.util.find_spec(name) is None]
official = pytest.mark.skipif(bool(NEEDED), reason=f"not installed: {', '.join(NEEDED)}")
Json = dict[str, Any]


@pytest.fixture
def kaggle() -> Iterator[KaggleEmulator]:
    """An emulator with the competition "cats", of the files in `small_archive` and the ANSWERS."""
    with KaggleEmulator() as emulator:
        emulator.add_competition("cats", small_archive(), answers=ANSWERS, zipped=("train.csv",))
        yield emulator


def table(answers: Mapping[str, object] = ANSWERS, header: str = "ID,Ground_Truth") -> bytes:
    """A CSV of these answers; by default all are right."""
    return "\n".join((header, *(f"{key},{answer}" for key, answer in answers.items()), "")).encode()


# --- Kaggle's own clients -----------------------------------------------------------------------------------------

POINT = """
import os
from kagglesdk.kaggle_env import KaggleEnv, _env_to_endpoint
_env_to_endpoint[KaggleEnv.PROD] = os.environ["EMULATOR"]
"""
COMMANDS = """
import contextlib, io, json, sys, time
time.sleep = lambda seconds: None
from kaggle import cli

def outcome(arguments):
    out, err, code, sys.argv = io.StringIO(), io.StringIO(), 0, ["kaggle", *arguments]
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            cli.main()
        except SystemExit as end:
            code = end.code
    return code or 0, out.getvalue(), err.getvalue()

json.dump([outcome(arguments) for arguments in json.load(sys.stdin)], sys.stdout)
"""
HUB = """
import json, kagglehub, sys

def download(name):
    try:
        return kagglehub.competition_download("cats", name, output_dir=sys.argv[1] if name else None)
    except Exception as error:
        return type(error).__name__

json.dump([kagglehub.whoami()["username"], *map(download, json.load(sys.stdin))], sys.stdout)
"""


class Outcome(NamedTuple):
    """What a command left behind."""

    code: int
    out: str
    err: str


@pytest.fixture
def python(kaggle: KaggleEmulator, tmp_path: Path) -> Callable[..., str]:
    """python(script, input, …) -> the last line that it prints, as a user of the emulator with a home in tmp_path."""
    (tmp_path / "site").mkdir()
    (tmp_path / "home/.kaggle").mkdir(parents=True)
    (tmp_path / "site/sitecustomize.py").write_text(POINT)
    kept = {name: value for name, value in os.environ.items() if not re.match("KAGGLE|.*_PROXY$", name.upper())}
    env = kept | {
        "EMULATOR": kaggle.endpoint,
        "HOME": str(tmp_path / "home"),
        "KAGGLE_CONFIG_DIR": str(tmp_path / "home/.kaggle"),
        "PYTHONPATH": str(tmp_path / "site"),
        "HTTPS_PROXY": "http://127.0.0.1:9",  # nothing leaves this machine
        "NO_PROXY": "127.0.0.1,localhost",
        "TQDM_DISABLE": "1",
        "KAGGLEHUB_VERBOSITY": "error",
    }

    def run(script: str, asked: object, *arguments: str, basic: bool = False) -> str:
        who = {"KAGGLE_API_TOKEN": kaggle.token}
        if basic:
            who = {"KAGGLE_USERNAME": kaggle.username, "KAGGLE_KEY": kaggle.key}
        done = subprocess.run(
            [sys.executable, "-c", script, *arguments],
            input=json.dumps(asked),
            env=env | who,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()[-1]

    return run


@pytest.fixture
def commands(python: Callable[..., str]) -> Callable[..., list[Outcome]]:
    """commands("competitions files cats", …) -> the Outcome of each, all in one process."""

    def run(*lines: str, basic: bool = False) -> list[Outcome]:
        outcomes = json.loads(python(COMMANDS, [line.split(" ") for line in lines], basic=basic))
        return [Outcome(*outcome) for outcome in outcomes]

    return run


def rows(outcome: Outcome) -> list[dict[str, str]]:
    """The CSV that a command printed, after other lines."""
    assert outcome.code == 0, outcome
    lines = outcome.out.splitlines()
    first = next(number for number, line in enumerate(lines) if "," in line)
    return list(csv.DictReader(lines[first:]))


@official
def test_kaggle_lists_and_downloads(
    kaggle: KaggleEmulator, commands: Callable[..., list[Outcome]], tmp_path: Path
) -> None:
    files = kaggle.competitions["cats"].files
    one, two, *downloads = commands(
        "competitions files cats --page-size 3 --csv",
        f"competitions files cats --page-size 3 --csv --page-token {page_token(3)}",
        "competitions download cats -p all",
        "competitions download cats -p some -f sample_submission.csv",
        "competitions download cats -p some -f train.csv",
        "competitions download cats -p some -f images/deep/ñ,%41.bin",
    )
    assert f"Next Page Token = {page_token(3)}" in one.out
    assert "Next Page Token" not in two.out
    assert [row["name"] for row in rows(one) + rows(two)] == list(files)
    assert [int(row["size"]) for row in rows(one) + rows(two)] == [len(data) for data in files.values()]
    assert [outcome.code for outcome in downloads] == [0] * 4
    assert (tmp_path / "all/cats.zip").read_bytes() == small_archive()
    assert (tmp_path / "some/sample_submission.csv").read_bytes() == files["sample_submission.csv"]
    assert unzipped((tmp_path / "some/train.csv.zip").read_bytes()) == {"train.csv": files["train.csv"]}
    deep = next(path for path in (tmp_path / "some").rglob("*.bin"))  # it keeps the name escaped
    assert deep.read_bytes() == files["images/deep/ñ,%41.bin"]
    assert kaggle.calls[0].name == "IntrospectToken"
    assert all("Authorization" not in call.headers for call in kaggle.calls if call.name == "GET storage")


@official
def test_kaggle_submits_and_reads_the_scores(
    kaggle: KaggleEmulator, commands: Callable[..., list[Outcome]], tmp_path: Path
) -> None:
    (tmp_path / "good.csv").write_bytes(table())
    (tmp_path / "bad.csv").write_bytes(table(header="id,label"))
    kaggle.competitions["cats"].show_private = True
    done = commands(
        "competitions submit cats -f good.csv -m first",
        "competitions submissions cats --csv",
        "competitions submissions cats --csv",
        "competitions submit cats -f bad.csv -m second -q",
        "competitions submission 4002",
        "competitions submission 4002",
        "competitions submissions cats --csv --page-size 1",
        "competitions submission-limits cats",
        "competitions leaderboard cats --show --csv",
        "competitions leaderboard cats --download -p board",
        basic=True,
    )
    assert [outcome.code for outcome in done] == [0] * len(done)
    submitted, pending, complete, refused, unread, error, newest, limits, board, _ = done
    assert "Submission ref: 4001" in submitted.out
    assert "4 submissions remaining today" in submitted.out
    assert "Submission ref: 4002" in refused.out
    assert [(row["ref"], row["status"], row["publicScore"]) for row in rows(pending)] == [
        ("4001", "SubmissionStatus.PENDING", "")
    ]
    (row,) = rows(complete)
    assert (row["status"], row["publicScore"], row["privateScore"]) == (
        "SubmissionStatus.COMPLETE",
        "1.00000",
        "1.00000",
    )
    assert (row["fileName"], row["description"]) == ("good.csv", "first")
    assert "PENDING" in unread.out
    assert "The columns must be ID,Ground_Truth, but they are id,label" in error.out
    assert [row["ref"] for row in rows(newest)] == ["4002"]
    assert "Submissions today: 2" in limits.out
    assert "Remaining today: 3" in limits.out
    teams = [row["teamName"] for row in rows(board)]
    assert teams == [kaggle.username, "Night owls", "Early birds", "Ünï çode, Inc."]
    (downloaded,) = unzipped((tmp_path / "board/cats.zip").read_bytes()).values()
    assert [row["TeamName"] for row in csv.DictReader(io.StringIO(downloaded.decode()))] == teams
    assert [(row.description, row.data) for row in kaggle.submissions("cats")] == [
        ("first", table()),
        ("second", table(header="id,label")),
    ]


@official
@pytest.mark.parametrize("shape", ["nested", "flat"])
def test_kaggle_understands_the_errors(
    kaggle: KaggleEmulator, commands: Callable[..., list[Outcome]], tmp_path: Path, shape: str
) -> None:
    kaggle.error_shape = shape
    kaggle.competitions["cats"].quota = 0
    kaggle.add_competition("dogs", small_archive(), rules_accepted=False)
    (tmp_path / "good.csv").write_bytes(table())
    rules, slug, full = commands(
        "competitions download dogs", "competitions files nonsense", "competitions submit cats -f good.csv -m first"
    )
    assert (rules.code, slug.code, full.code) == (1, 1, 1)
    messages = (RULES, DENIED, "used its daily Submission allowance (0) today")
    if shape == "nested":  # it knows the number alone
        messages = ("403 Client Error", "403 Client Error", "400 Client Error")
    assert [message in outcome.err for message, outcome in zip(messages, (rules, slug, full), strict=True)] == [
        True
    ] * 3
    assert kaggle.counted("cats") == 0


@official
def test_kaggle_resumes_a_download_and_repeats_an_upload(
    kaggle: KaggleEmulator, commands: Callable[..., list[Outcome]], tmp_path: Path
) -> None:
    one, other = (small_archive(seed, 2_000_000) for seed in (0, 1))
    (tmp_path / "good.csv").write_bytes(table())
    kaggle.hashes = ("md5",)  # the other takes a second
    kaggle.set_archive("cats", one)
    kaggle.fault("storage", "drop", after=1_500_000, how="reset")
    kaggle.fault("storage", "drop", after=100)
    kaggle.fault("storage", "changed", archive=other)
    kaggle.fault("upload", "reset")
    done = commands("competitions download cats -q", "competitions submit cats -f good.csv -m first")
    assert [outcome.code for outcome in done] == [0, 0]
    gets = [(call.headers.get("Range"), call.status) for call in kaggle.calls if call.name == "GET storage"]
    assert gets == [(None, 200), ("bytes=1048576-", 206), ("bytes=1048576-", 200)]  # it writes whole MiB
    assert (tmp_path / "cats.zip").read_bytes() == other
    assert [call.status for call in kaggle.calls if call.name == "PUT storage"] == [None, 200]
    assert kaggle.counted("cats") == 1


@official
@pytest.mark.parametrize("basic", [False, True])
def test_kagglehub_downloads(kaggle: KaggleEmulator, python: Callable[..., str], tmp_path: Path, basic: bool) -> None:
    files = kaggle.competitions["cats"].files
    names = ["sample_submission.csv", "images/a b.bin", "train.csv"]
    kaggle.fault("storage", "wrong md5")
    user, error, folder, *paths = json.loads(python(HUB, [None, None, *names], str(tmp_path / "one"), basic=basic))
    assert (user, error) == (kaggle.username, "DataCorruptionError")
    assert {path.relative_to(folder).as_posix(): path.read_bytes() for path in Path(folder).rglob("*.*")} == files
    assert [Path(path).read_bytes() for path in paths] == [files[name] for name in names]
    assert {call.headers.get("Authorization", "").partition(" ")[0] for call in kaggle.calls} == {
        "Basic" if basic else "Bearer",
        "",
    }


# --- plain requests -----------------------------------------------------------------------------------------------


def ask(kaggle: KaggleEmulator, method: str, token: str | None = None, **body: Any) -> requests.Response:
    """The answer to an RPC about "cats"; redirects are not followed."""
    headers = {"Authorization": f"Bearer {kaggle.token if token is None else token}"}
    return send("POST", f"{kaggle.endpoint}/v1/{S}/{method}", headers, json={"competitionName": "cats", **body})


def send(verb: str, address: str, headers: dict[str, str] | None = None, **rest: Any) -> requests.Response:
    with requests.Session() as session:
        session.trust_env = False
        return session.request(verb, address, headers=headers, **{"timeout": 5, "allow_redirects": False, **rest})


def submit(kaggle: KaggleEmulator, data: bytes | None = None) -> requests.Response:
    data = table() if data is None else data
    started = ask(kaggle, "StartSubmissionUpload", contentLength=len(data), fileName="a.csv").json()
    assert send("PUT", started["createUrl"], data=data).status_code == 200
    return ask(kaggle, "CreateSubmission", blobFileTokens=started["token"])


def listed(kaggle: KaggleEmulator) -> list[Json]:
    return ask(kaggle, "ListSubmissions").json().get("submissions", [])


def fetch(kaggle: KaggleEmulator, headers: dict[str, str] | None = None, **rest: Any) -> requests.Response:
    """The archive out of the storage."""
    return send("GET", ask(kaggle, "DownloadDataFiles").headers["Location"], headers, **rest)


def test_who_may_ask(kaggle: KaggleEmulator) -> None:
    address = f"{kaggle.endpoint}/api/v1/{S}/ListDataFiles"
    asked = {"competitionName": "cats"}
    assert send("POST", address, auth=(kaggle.username, kaggle.key), json=asked).ok
    for wrong in (("somebody", kaggle.key), (kaggle.username, "no")):
        assert send("POST", address, auth=wrong, json=asked).status_code == 401
    assert send("POST", address, json=asked).status_code == 401
    assert ask(kaggle, "ListDataFiles", token="no").status_code == 401
    assert ask(kaggle, "ListNothing").status_code == 404
    assert send("POST", address, {"Authorization": f"Bearer {kaggle.token}"}, data=b"{").status_code == 400


def test_what_a_token_is_worth(kaggle: KaggleEmulator) -> None:
    address = f"{kaggle.endpoint}/v1/security.OAuthService/IntrospectToken"
    assert send("POST", address, json={"token": kaggle.token}).json() == {"active": True, "username": kaggle.username}
    assert send("POST", address, json={"token": "no"}).json() == {}


@pytest.mark.parametrize("code", [403, 404])
def test_an_unknown_competition(kaggle: KaggleEmulator, code: int) -> None:
    kaggle.unknown_slug = code
    assert ask(kaggle, "ListDataFiles", competitionName="nonsense").status_code == code
    assert ask(kaggle, "ListDataFiles", competition_name="cats", competitionName=None).status_code == code


def test_rules_come_before_data_and_submissions(kaggle: KaggleEmulator) -> None:
    kaggle.competitions["cats"].rules_accepted = False
    for method in ("DownloadDataFiles", "DownloadDataFile", "CreateSubmission"):
        answer = ask(kaggle, method, fileName="train.csv", blobFileTokens="any")
        assert (answer.status_code, answer.json()["error"]["message"]) == (403, RULES)
    assert ask(kaggle, "ListDataFiles").ok


@pytest.mark.parametrize("shape", ["nested", "flat"])
def test_both_shapes_of_an_error(kaggle: KaggleEmulator, shape: str) -> None:
    kaggle.error_shape = shape
    told = {"code": 404, "message": "Not found"}
    answer = ask(kaggle, "DownloadDataFile", fileName="nonsense").json()
    assert answer == (told if shape == "flat" else {"error": {**told, "status": "NOT_FOUND"}})


def test_pages(kaggle: KaggleEmulator) -> None:
    for _ in range(5):
        submit(kaggle)
    kaggle.largest_page = 2
    one = ask(kaggle, "ListSubmissions", pageSize=50).json()
    two = ask(kaggle, "ListSubmissions", pageSize=50, pageToken=one["nextPageToken"]).json()
    last = ask(kaggle, "ListSubmissions", pageSize=50, page=3).json()
    assert [[row["ref"] for row in shown["submissions"]] for shown in (one, two, last)] == [
        [4005, 4004],
        [4003, 4002],
        [4001],
    ]
    assert "nextPageToken" not in last
    assert ask(kaggle, "ListSubmissions", pageToken="nonsense").status_code == 400


# --- submissions --------------------------------------------------------------------------------------------------


def test_the_halves_are_graded_apart(kaggle: KaggleEmulator) -> None:
    public, private = halves(ANSWERS)
    assert (len(public), sorted(public + private)) == (10, sorted(ANSWERS))
    wrong = {public[0]: "?", private[0]: "?", private[1]: "?"}
    submit(kaggle, table({**ANSWERS, **wrong}))
    (pending,), (shown,) = listed(kaggle), listed(kaggle)
    assert not {"status", "publicScore"} & set(pending)
    assert (shown["status"], shown["publicScore"]) == ("COMPLETE", "0.90000")
    assert "privateScore" not in shown
    kaggle.competitions["cats"].show_private = True
    assert ask(kaggle, "GetSubmission", ref=shown["ref"]).json()["privateScore"] == "0.80000"


def test_defaults_are_told_if_wanted(kaggle: KaggleEmulator) -> None:
    submit(kaggle)
    kaggle.omit_defaults = False
    (row,) = listed(kaggle)
    assert (row["status"], row["publicScore"], row["privateScore"]) == ("PENDING", "", "")
    assert ask(kaggle, "GetSubmissionLimits").json() == {
        "numToday": 1,
        "numTotal": 1,
        "numAllowedNow": 4,
        "limitedByTotal": False,
    }


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (table(header="Ground_Truth,ID"), "The columns must be ID,Ground_Truth, but they are Ground_Truth,ID"),
        (b"", "The columns must be ID,Ground_Truth, but they are "),
        (table(dict(list(ANSWERS.items())[1:])), "Submission must have 20 rows of 2 values"),
        (table(ANSWERS | {"img0.jpg": "0,0"}), "Submission must have 20 rows of 2 values"),
        (table().replace(b"img7.jpg", b"img8.jpg"), "The ids in ID are not those of the test set"),
        (b"\xff\xfe", "'utf-8' codec can't decode byte 0xff in position 0: invalid start byte"),
    ],
)
def test_a_bad_file_counts_and_ends_in_an_error(kaggle: KaggleEmulator, data: bytes, message: str) -> None:
    kaggle.pending_polls = 0
    assert submit(kaggle, data).json()["ref"] == 4001
    (row,) = listed(kaggle)
    assert (row["status"], row["errorDescription"]) == ("ERROR", message)
    assert "publicScore" not in row


def test_looks_that_it_takes(kaggle: KaggleEmulator) -> None:
    kaggle.late_looks, kaggle.pending_polls = 2, 3
    submit(kaggle)
    assert ask(kaggle, "GetSubmission", ref=4001).status_code == 404
    seen = [[row.get("status") for row in listed(kaggle)] for _ in range(5)]
    assert seen == [[], [None], [None], [None], ["COMPLETE"]]


def test_the_quota_ends(kaggle: KaggleEmulator) -> None:
    kaggle.competitions["cats"].quota = 2
    assert [submit(kaggle).status_code for _ in range(3)] == [200, 200, 400]
    hours = 24 - datetime.now(UTC).hour
    message = submit(kaggle).json()["error"]["message"]
    assert message.startswith("Submission not allowed: Your team has used its daily Submission allowance (2) today")
    assert message.endswith((f"({hours} hours from now).", f"({hours - 1} hours from now)."))
    assert kaggle.counted("cats") == 2
    assert ask(kaggle, "GetSubmissionLimits").json() == {"numToday": 2, "numTotal": 2}


def test_an_upload_in_parts(kaggle: KaggleEmulator) -> None:
    data = table()
    started = ask(kaggle, "StartSubmissionUpload", contentLength=len(data), fileName="a.csv").json()
    total, answers = len(data), []
    for span, part in ((f"*/{total}", b""), (f"0-9/{total}", data[:10]), (f"*/{total}", b"")):
        answers.append(send("PUT", started["createUrl"], {"Content-Range": f"bytes {span}"}, data=part))
    assert [answer.status_code for answer in answers] == [308, 308, 308]
    assert [answer.headers.get("Range") for answer in answers] == [None, "bytes=0-9", "bytes=0-9"]
    assert ask(kaggle, "CreateSubmission", blobFileTokens=started["token"]).status_code == 400
    rest = {"Content-Range": f"bytes 10-{total - 1}/{total}"}
    assert send("PUT", started["createUrl"], rest, data=iter([data[10:]])).status_code == 200  # chunked
    assert ask(kaggle, "CreateSubmission", blobFileTokens=started["token"]).ok
    assert kaggle.submissions("cats")[0].data == data


def test_an_upload_keeps_what_was_announced(kaggle: KaggleEmulator) -> None:
    started = ask(kaggle, "StartSubmissionUpload", contentLength=5, fileName="a.csv").json()
    assert kaggle.signature in started["token"]
    assert send("PUT", started["createUrl"], data=b"1234").status_code == 400
    assert send("PUT", started["createUrl"] + "0", data=b"12345").status_code == 404
    assert send("PUT", started["createUrl"], data=b"12345", auth=("a", "b")).status_code == 400
    assert ask(kaggle, "CreateSubmission", blobFileTokens=started["token"]).status_code == 400


def test_the_leaderboard_may_be_in_the_storage(kaggle: KaggleEmulator) -> None:
    inline = ask(kaggle, "DownloadLeaderboard").content
    kaggle.leaderboard_redirects = True
    answer = ask(kaggle, "DownloadLeaderboard")
    assert send("GET", answer.headers["Location"]).content == inline
    board = ask(kaggle, "GetLeaderboard", pageSize=1).json()["submissions"]
    assert [(row["teamName"], row["score"]) for row in board] == [("Night owls", "0.90000")]


# --- the storage --------------------------------------------------------------------------------------------------


def test_the_storage_turns_credentials_away(kaggle: KaggleEmulator) -> None:
    assert fetch(kaggle, {"Authorization": f"Bearer {kaggle.token}"}).status_code == 401
    assert fetch(kaggle, auth=("a", "b")).status_code == 400
    assert fetch(kaggle).content == small_archive()
    assert [call.status for call in kaggle.calls if call.name == "GET storage"] == [401, 400, 200]


@pytest.mark.parametrize("change", ["expired", "Expires=1", "Signature=", "archive.zip"])
def test_a_signed_address_is_good_as_it_is_and_for_its_time(kaggle: KaggleEmulator, change: str) -> None:
    kaggle.lifetime = -1 if change == "expired" else 600
    address = ask(kaggle, "DownloadDataFiles").headers["Location"]
    assert kaggle.signature in address
    answer = send("GET", address.replace(change, change + "9"))
    assert (answer.status_code, answer.headers["Content-Type"]) == (403, "application/xml; charset=UTF-8")
    assert "<Code>ExpiredToken</Code>" in answer.text
    assert kaggle.signature not in answer.text


SIZE = len(small_archive())


@pytest.mark.parametrize(
    ("asked", "status", "span"),
    [
        ("bytes=100-", 206, (100, SIZE)),
        ("bytes=100-199", 206, (100, 200)),
        (f"bytes=5-{SIZE + 9}", 206, (5, SIZE)),
        ("bytes=-7", 206, (SIZE - 7, SIZE)),
        (f"bytes={SIZE}-", 416, None),
        ("bytes=1-2,5-6", 200, (0, SIZE)),
        ("lines=1-2", 200, (0, SIZE)),
    ],
)
def test_ranges(kaggle: KaggleEmulator, asked: str, status: int, span: tuple[int, int] | None) -> None:
    answer = fetch(kaggle, {"Range": asked})
    assert answer.status_code == status
    told = f"bytes {span[0]}-{span[1] - 1}/{SIZE}" if span else f"bytes */{SIZE}"
    assert answer.headers.get("Content-Range") == (None if status == 200 else told)
    assert span is None or answer.content == small_archive()[slice(*span)]


def test_if_range(kaggle: KaggleEmulator) -> None:
    before = fetch(kaggle).headers
    marks = [before["ETag"], before["Last-Modified"], f"W/{before['ETag']}", '"other"']
    assert [fetch(kaggle, {"Range": "bytes=9-", "If-Range": mark}).status_code for mark in marks] == [
        206,
        206,
        200,
        200,
    ]
    kaggle.set_archive("cats", small_archive(1))
    after = fetch(kaggle, {"Range": "bytes=9-", "If-Range": before["ETag"]})
    assert (after.status_code, after.content) == (200, small_archive(1))
    assert after.headers["ETag"] != before["ETag"]


def test_hashes_are_told_if_wanted(kaggle: KaggleEmulator) -> None:
    assert crc32c(b"123456789") == 0xE3069283
    kaggle.set_archive("cats", b"hello world")
    assert fetch(kaggle).headers["x-goog-hash"] == "crc32c=yZRlqg==, md5=XrY7u+Ae7tCTyyK7j1rNww=="
    kaggle.hashes = ("crc32c",)
    assert fetch(kaggle).headers["x-goog-hash"] == "crc32c=yZRlqg=="
    kaggle.hashes = ()
    assert "x-goog-hash" not in fetch(kaggle).headers


# --- faults -------------------------------------------------------------------------------------------------------

STATUSES = {
    "400 quota": 400,
    "401": 401,
    "403 rules": 403,
    "403 denied": 403,
    "404": 404,
    "429": 429,
    "500": 500,
    "502": 502,
    "503": 503,
    "504": 504,
}
LOST = (requests.ConnectionError, requests.ReadTimeout, requests.exceptions.ChunkedEncodingError)
BREAKS: list[tuple[str, Json]] = [
    ("reset", {}),
    ("hang", {}),
    ("hang", {"after": 3}),
    ("drop", {"after": 3}),
    ("drop", {"after": 3, "how": "reset"}),
]
ANYWHERE = ("ListDataFiles", "storage")


def meet(kaggle: KaggleEmulator, place: str, headers: dict[str, str] | None = None, **rest: Any) -> requests.Response:
    """The answer of the place."""
    if place == "storage":
        return fetch(kaggle, headers, **rest)
    if place != "upload":
        address = f"{kaggle.endpoint}/v1/{S}/{place}"
        headers = {"Authorization": f"Bearer {kaggle.token}"}
        return send("POST", address, headers, json={"competitionName": "cats"}, **rest)
    started = ask(kaggle, "StartSubmissionUpload", contentLength=3, fileName="a.csv").json()
    return send("PUT", started["createUrl"], data=b"123", **rest)


@pytest.mark.parametrize("place", [*ANYWHERE, "upload"])
def test_faults_that_are_a_status(kaggle: KaggleEmulator, place: str) -> None:
    for kind, code in STATUSES.items():
        kaggle.fault(place, kind)
        answer = meet(kaggle, place)
        kind_of = "xml" if place != "ListDataFiles" else "json"
        assert (answer.status_code, kind_of in answer.headers["Content-Type"]) == (code, True), kind
        if kind != "400 quota":
            kaggle.fault(place, kind, html=True)
            answer = meet(kaggle, place)
            assert (answer.status_code, answer.text[:9]) == (code, "<!DOCTYPE"), kind
    assert meet(kaggle, place).ok


@pytest.mark.parametrize(
    ("retry_after", "header"),
    [(7, "7"), (None, None), (datetime(2030, 1, 2, tzinfo=UTC), "Wed, 02 Jan 2030 00:00:00 GMT"), ("soon", "soon")],
)
def test_too_many(kaggle: KaggleEmulator, retry_after: object, header: str | None) -> None:
    kaggle.fault("ListDataFiles", "429", retry_after=retry_after)
    assert meet(kaggle, "ListDataFiles").headers.get("Retry-After") == header


@pytest.mark.parametrize("place", ANYWHERE)
@pytest.mark.parametrize(("kind", "details"), BREAKS)
def test_faults_that_break_off(kaggle: KaggleEmulator, place: str, kind: str, details: Json) -> None:
    kaggle.fault(place, kind, **details)
    with pytest.raises(LOST):
        meet(kaggle, place, timeout=0.3)
    assert meet(kaggle, place).ok


@pytest.mark.parametrize(("how", "error"), [("close", http.client.IncompleteRead), ("reset", ConnectionResetError)])
def test_so_many_bytes_come_before_the_end(kaggle: KaggleEmulator, how: str, error: type[Exception]) -> None:
    kaggle.fault("storage", "drop", after=3, how=how)
    with contextlib.closing(begin(kaggle)) as connection:
        answer = connection.getresponse()
        assert answer.read(3) == small_archive()[:3]
        with pytest.raises(error):
            answer.read()


def begin(kaggle: KaggleEmulator) -> http.client.HTTPConnection:
    """A connection on which the archive is asked for, with the answer to be read."""
    place = urlsplit(ask(kaggle, "DownloadDataFiles").headers["Location"])
    connection = http.client.HTTPConnection(place.netloc, timeout=5)
    connection.request("GET", f"{place.path}?{place.query}")
    return connection


@pytest.mark.parametrize("kind", ["reset", "hang"])
def test_uploads_that_break_off(kaggle: KaggleEmulator, kind: str) -> None:
    kaggle.fault("upload", kind)
    with pytest.raises(LOST):
        meet(kaggle, "upload", timeout=1)
    assert [call.status for call in kaggle.calls if call.name == "PUT storage"] == [None]
    assert not any(upload.done for upload in kaggle.uploads.values())


@pytest.mark.parametrize("place", ANYWHERE)
def test_bodies_that_are_something_else(kaggle: KaggleEmulator, place: str) -> None:
    good = meet(kaggle, place).content if place != "storage" else small_archive()
    bodies: list[tuple[str, Json, bytes]] = [
        ("empty", {}, b""),
        ("json", {"value": None}, b"null"),
        ("json", {"value": [1, "a"]}, b'[1, "a"]'),
        ("json", {"value": {"files": "text"}}, b'{"files": "text"}'),
        ("truncated", {"keep": 9}, good[:9]),
        ("corrupt", {"at": 1}, good[:1] + bytes([good[1] ^ 255]) + good[2:]),
        ("trickle", {"piece": len(good) // 3 + 1, "pause": 0.001}, good),
    ]
    for kind, details, body in bodies:
        kaggle.fault(place, kind, **details)
        answer = meet(kaggle, place)
        assert (answer.status_code, answer.content) == (200, body), kind
        assert answer.headers["Content-Length"] == str(len(body))
    kaggle.fault(place, "html")
    assert meet(kaggle, place).text.startswith("<!DOCTYPE html>")
    kaggle.fault(place, "corrupt")
    assert sum(one != two for one, two in zip(meet(kaggle, place).content, good, strict=True)) == 1


def test_headers_that_are_something_else(kaggle: KaggleEmulator) -> None:
    good = fetch(kaggle).headers
    for kind, name, value in (
        ("no etag", "ETag", None),
        ("weak etag", "ETag", f"W/{good['ETag']}"),
        ("wrong md5", "x-goog-hash", "md5=AAAAAAAAAAAAAAAAAAAAAA=="),
    ):
        kaggle.fault("storage", kind)
        answer = fetch(kaggle)
        assert (answer.headers.get(name), answer.content) == (value, small_archive()), kind


@pytest.mark.parametrize(
    ("kind", "details", "status", "span", "start"),
    [
        ("range ignored", {}, 200, None, 0),
        ("wrong content-range", {}, 206, f"bytes 99-{SIZE - 1}/{SIZE}", 100),
        ("wrong content-range", {"span": "bytes 100-"}, 206, "bytes 100-", 100),
        ("no content-range", {}, 206, None, 100),
        ("wrong bytes", {}, 206, f"bytes 100-{SIZE - 1}/{SIZE}", 0),
    ],
)
def test_ranges_that_are_something_else(
    kaggle: KaggleEmulator, kind: str, details: Json, status: int, span: str | None, start: int
) -> None:
    kaggle.fault("storage", kind, **details)
    assert fetch(kaggle).content == small_archive()  # only a request with a Range meets it
    answer = fetch(kaggle, {"Range": "bytes=100-"})
    assert (answer.status_code, answer.headers.get("Content-Range")) == (status, span)
    size = SIZE - 100 if status == 206 else SIZE
    assert answer.content == small_archive()[start : start + size]
    assert kaggle.calls[-1].headers["Range"] == "bytes=100-"


def test_a_page_in_answer_to_a_range(kaggle: KaggleEmulator) -> None:
    kaggle.fault("storage", "503", html=True, ranged=True)
    assert [fetch(kaggle, headers).status_code for headers in (None, {"Range": "bytes=1-"}, None)] == [200, 503, 200]


def test_an_object_that_changes_between_two_tries(kaggle: KaggleEmulator) -> None:
    etag = fetch(kaggle).headers["ETag"]
    kaggle.fault("storage", "changed", archive=small_archive(1))
    answer = fetch(kaggle, {"Range": "bytes=100-", "If-Range": etag})
    assert (answer.status_code, answer.content) == (200, small_archive(1))
    assert fetch(kaggle).content == small_archive(1)


@pytest.mark.parametrize("code", [403, 400])
def test_an_address_that_has_expired(kaggle: KaggleEmulator, code: int) -> None:
    kaggle.fault("storage", "expired", code=code)
    answer = fetch(kaggle)
    assert (answer.status_code, "ExpiredToken" in answer.text) == (code, True)
    assert fetch(kaggle).ok


@pytest.mark.parametrize("place", ["storage", "DownloadDataFiles", "upload"])
def test_redirects_lead_elsewhere(kaggle: KaggleEmulator, place: str) -> None:
    kaggle.fault(place, "redirect")
    answer = meet(kaggle, place, allow_redirects=True)
    assert answer.url.startswith(kaggle.elsewhere)
    assert not {kaggle.endpoint, kaggle.storage} & {kaggle.elsewhere}
    assert answer.content.startswith(b"PK" if place == "storage" else b"<!DOCTYPE")
    assert (kaggle.calls[-1].name, "Authorization" in kaggle.calls[-1].headers) == ("GET elsewhere", False)
    kaggle.fault(place, "redirect", to="http://127.0.0.1:1/a")
    assert meet(kaggle, place).headers["Location"] == "http://127.0.0.1:1/a"
    kaggle.fault(place, "redirect loop")
    with pytest.raises(requests.TooManyRedirects):
        meet(kaggle, place, allow_redirects=True)


@pytest.mark.parametrize(
    ("kind", "details"), [("500", {}), ("502", {"html": True}), ("504", {}), ("ref 0", {}), ("reset", {}), ("hang", {})]
)
@pytest.mark.parametrize("counted", [False, True])
def test_a_submission_that_counts_or_does_not(kaggle: KaggleEmulator, kind: str, details: Json, counted: bool) -> None:
    kaggle.fault("CreateSubmission", kind, counted=counted, **details)
    started = ask(kaggle, "StartSubmissionUpload", contentLength=3, fileName="a.csv").json()
    send("PUT", started["createUrl"], data=b"123")
    body = {"competitionName": "cats", "blobFileTokens": started["token"], "submissionDescription": "tag"}
    headers = {"Authorization": f"Bearer {kaggle.token}"}
    try:
        answer = send("POST", f"{kaggle.endpoint}/v1/{S}/CreateSubmission", headers, json=body, timeout=1)
    except LOST:
        assert kind in ("reset", "hang")
    else:
        assert "ref" not in answer.text
    assert [row.description for row in kaggle.submissions("cats")] == ["tag"] * counted
    assert len(listed(kaggle)) == counted


def test_rows_that_nobody_expects(kaggle: KaggleEmulator) -> None:
    submit(kaggle)
    kaggle.fault("ListSubmissions", "odd rows")
    assert listed(kaggle)[:-1] == list(ODD_ROWS)
    kaggle.fault("ListSubmissions", "odd rows", rows=[], change={"status": "PAUSED", "publicScore": None})
    assert [(row["ref"], row["status"], row["publicScore"]) for row in listed(kaggle)] == [(4001, "PAUSED", None)]


@pytest.mark.parametrize("code", [403, 400])
def test_an_empty_history_may_be_an_error(kaggle: KaggleEmulator, code: int) -> None:
    kaggle.fault("ListSubmissions", "no history", code=code, times=None)
    assert ask(kaggle, "ListSubmissions").status_code == code
    submit(kaggle)
    assert len(listed(kaggle)) == 1


def test_every_fault_is_tested() -> None:
    source = Path(__file__).read_text(encoding="utf-8")
    assert [kind for kind in FAULTS if f'"{kind}"' not in source] == []


def test_faults_queue(kaggle: KaggleEmulator) -> None:
    kaggle.fault("ListDataFiles", "500", times=2)
    kaggle.fault("GetLeaderboard", "401", times=None)
    kaggle.fault("ListDataFiles", "404")
    assert [ask(kaggle, "ListDataFiles").status_code for _ in range(4)] == [500, 500, 404, 200]
    assert [ask(kaggle, "GetLeaderboard").status_code for _ in range(3)] == [401, 401, 401]
    assert [fault.kind for fault in kaggle.faults] == ["401"]


def test_a_fault_must_make_sense(kaggle: KaggleEmulator) -> None:
    with pytest.raises(ValueError, match="no place for a fault: ListNothing"):
        kaggle.fault("ListNothing", "500")
    with pytest.raises(KeyError, match="999"):
        kaggle.fault("ListDataFiles", "999")
    with pytest.raises(TypeError, match="afterwards"):
        kaggle.fault("storage", "drop", afterwards=3)


# --- the end ------------------------------------------------------------------------------------------------------


def test_nothing_outlives_the_emulator() -> None:
    before = set(threading.enumerate())
    with contextlib.ExitStack() as opened:
        answers = []
        with KaggleEmulator() as kaggle:
            kaggle.add_competition("cats", small_archive())
            for kind, details in (("hang", {"after": 3}), ("trickle", {"piece": 1, "pause": 20})):
                kaggle.fault("storage", kind, **details)
                answers.append(opened.enter_context(contextlib.closing(begin(kaggle))).getresponse())
                assert answers[-1].read(1) == b"P"
            kaggle.fault("storage", "hang")
            silent = opened.enter_context(contextlib.closing(begin(kaggle)))
        with pytest.raises((http.client.RemoteDisconnected, ConnectionResetError)):
            silent.getresponse()
        for answer in answers:
            with pytest.raises((http.client.IncompleteRead, ConnectionResetError)):
                answer.read()
    for thread in set(threading.enumerate()) - before:
        thread.join(5)
        assert not thread.is_alive()
    with pytest.raises(requests.ConnectionError):
        ask(kaggle, "ListDataFiles")


def test_the_sample_as_a_competition() -> None:
    archive, answers = sample_archive(per_class=2, test=3)
    assert sorted(answers) == ["img0.jpg", "img1.jpg", "img2.jpg"]
    assert set(answers.values()) == {"0", "1"}
    names = sorted(unzipped(archive))
    assert [name for name in names if "Test" in name] == [f"Test/{name}" for name in sorted(answers)]
    assert {name.rpartition("/")[0] for name in names} == {"Test", "Train/Pistol", "Train/Smartphone"}
    assert zip_of(unzipped(archive)) == archive
