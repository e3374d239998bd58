"""The emulator is held to Kaggle's own clients, and each of its faults to what its name says."""

import csv
import importlib.util
import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import requests

from tests.kaggle.emulator import (
    KaggleEmulator,
    S,
    page_token,
    small_archive,
    unzipped,
)
from tests.kaggle.faults import DENIED, RANGED, RULES

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
@pytest.mark.slow
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
@pytest.mark.slow
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
@pytest.mark.slow
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
@pytest.mark.slow
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
@pytest.mark.slow
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


# --- what no client of Kaggle's shows, and ours would not notice --------------------------------------------------


def send(verb: str, address: str, headers: dict[str, str] | None = None, **rest: Any) -> requests.Response:
    with requests.Session() as session:
        session.trust_env = False
        return session.request(verb, address, headers=headers, **{"timeout": 5, "allow_redirects": False, **rest})


def ask(kaggle: KaggleEmulator, method: str, token: str | None = None, **body: Any) -> requests.Response:
    """The answer to an RPC about "cats"; redirects are not followed."""
    headers = {"Authorization": f"Bearer {kaggle.token if token is None else token}"}
    return send("POST", f"{kaggle.endpoint}/v1/{S}/{method}", headers, json={"competitionName": "cats", **body})


def fetch(kaggle: KaggleEmulator, headers: dict[str, str] | None = None, **rest: Any) -> requests.Response:
    """The archive out of the storage."""
    return send("GET", ask(kaggle, "DownloadDataFiles").headers["Location"], headers, **rest)


def test_credentials_are_needed_by_the_api_and_turned_away_by_the_storage(kaggle: KaggleEmulator) -> None:
    address, asked = f"{kaggle.endpoint}/api/v1/{S}/ListDataFiles", {"competitionName": "cats"}
    assert send("POST", address, auth=(kaggle.username, kaggle.key), json=asked).ok
    for wrong in (("somebody", kaggle.key), (kaggle.username, "no"), None):
        assert send("POST", address, auth=wrong, json=asked).status_code == 401
    assert ask(kaggle, "ListDataFiles", token="no").status_code == 401
    assert fetch(kaggle, {"Authorization": f"Bearer {kaggle.token}"}).status_code == 401
    assert fetch(kaggle, auth=("a", "b")).status_code == 400
    assert fetch(kaggle).content == small_archive()


def test_an_upload_keeps_what_was_announced(kaggle: KaggleEmulator) -> None:
    started = ask(kaggle, "StartSubmissionUpload", contentLength=5, fileName="a.csv").json()
    assert kaggle.signature in started["token"]
    assert send("PUT", started["createUrl"], data=b"1234").status_code == 400
    assert send("PUT", started["createUrl"] + "0", data=b"12345").status_code == 404
    assert send("PUT", started["createUrl"], data=b"12345", auth=("a", "b")).status_code == 400
    assert ask(kaggle, "CreateSubmission", blobFileTokens=started["token"]).status_code == 400


GOOD, OTHER = small_archive(), small_archive(1)
SIZE, MIDDLE = len(GOOD), len(GOOD) // 2
FLIPPED = GOOD[:MIDDLE] + bytes([GOOD[MIDDLE] ^ 255]) + GOOD[MIDDLE + 1 :]
REST = f"bytes 100-{SIZE - 1}/{SIZE}"


@pytest.mark.parametrize(
    ("fault", "details", "status", "body", "headers"),
    [
        ("truncated", {"keep": 9}, 200, GOOD[:9], {"Content-Length": "9"}),
        ("corrupt", {}, 200, FLIPPED, {"Content-Length": str(SIZE)}),
        ("trickle", {"piece": MIDDLE, "pause": 0.001}, 200, GOOD, {}),
        ("changed", {"archive": OTHER}, 200, OTHER, {}),
        ("no etag", {}, 200, GOOD, {"ETag": None}),
        ("wrong md5", {}, 200, GOOD, {"x-goog-hash": "md5=AAAAAAAAAAAAAAAAAAAAAA=="}),
        # only a request with a Range meets these
        ("range ignored", {}, 200, GOOD, {"Content-Range": None}),
        ("wrong content-range", {}, 206, GOOD[100:], {"Content-Range": REST.replace("100", "99", 1)}),
        ("wrong content-range", {"span": "bytes 100-"}, 206, GOOD[100:], {"Content-Range": "bytes 100-"}),
        ("no content-range", {}, 206, GOOD[100:], {"Content-Range": None}),
        ("wrong bytes", {}, 206, GOOD[: SIZE - 100], {"Content-Range": REST}),
    ],
)
def test_a_fault_of_the_storage_is_what_its_name_says(
    kaggle: KaggleEmulator, fault: str, details: Json, status: int, body: bytes, headers: dict[str, str | None]
) -> None:
    kaggle.fault("storage", fault, **details)
    if fault in RANGED:
        assert fetch(kaggle).content == GOOD
    answer = fetch(kaggle, {"Range": "bytes=100-"} if fault in RANGED else None)
    assert (answer.status_code, answer.content) == (status, body)
    assert {name: answer.headers.get(name) for name in headers} == headers


def test_a_range_is_of_the_same_object_and_hashes_are_true(kaggle: KaggleEmulator) -> None:
    before = fetch(kaggle).headers
    marks = [before["ETag"], before["Last-Modified"], f"W/{before['ETag']}", '"other"']
    answers = [fetch(kaggle, {"Range": "bytes=9-", "If-Range": mark}).status_code for mark in marks]
    assert answers == [206, 206, 200, 200]
    kaggle.set_archive("cats", b"hello world")
    after = fetch(kaggle, {"Range": "bytes=9-", "If-Range": before["ETag"]})
    assert (after.status_code, after.content) == (200, b"hello world")
    assert after.headers["x-goog-hash"] == "crc32c=yZRlqg==, md5=XrY7u+Ae7tCTyyK7j1rNww=="
