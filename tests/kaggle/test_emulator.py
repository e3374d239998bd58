"""The emulator is held to Kaggle's own clients."""

import csv
import importlib.util
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.kaggle.emulator import (
    KaggleEmulator,
    page_token,
    small_archive,
)
from tests.kaggle.faults import DENIED, RULES

ANSWERS = {f"img{number}.jpg": number % 2 for number in range(20)}
NEEDED = [name for name in ("kaggle", "kagglehub", "six") if importlib.util.find_spec(name) is None]
official = pytest.mark.skipif(bool(NEEDED), reason=f"not installed: {', '.join(NEEDED)}")
Json = dict[str, Any]


@pytest.fixture
def kaggle() -> Iterator[KaggleEmulator]:
    """An emulator with the competition "cats", of the files in `small_archive` and the ANSWERS."""
    with KaggleEmulator() as emulator:
        emulator.add_competition("cats", small_archive(), answers=ANSWERS)
        yield emulator


def table(header: str = "ID,Ground_Truth") -> bytes:
    """A CSV of the ANSWERS."""
    return "\n".join((header, *(f"{key},{answer}" for key, answer in ANSWERS.items()), "")).encode()


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

def download():
    try:
        return kagglehub.competition_download("cats")
    except Exception as error:
        return type(error).__name__

json.dump([kagglehub.whoami()["username"], *(download() for _ in range(json.load(sys.stdin)))], sys.stdout)
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

    def run(script: str, asked: object, *, basic: bool = False) -> str:
        who = {"KAGGLE_API_TOKEN": kaggle.token}
        if basic:
            who = {"KAGGLE_USERNAME": kaggle.username, "KAGGLE_KEY": kaggle.key}
        done = subprocess.run(
            [sys.executable, "-c", script],
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
    one, two, download = commands(
        "competitions files cats --page-size 3 --csv",
        f"competitions files cats --page-size 3 --csv --page-token {page_token(3)}",
        "competitions download cats -p all",
    )
    assert f"Next Page Token = {page_token(3)}" in one.out
    assert "Next Page Token" not in two.out
    assert [row["name"] for row in rows(one) + rows(two)] == list(files)
    assert [int(row["size"]) for row in rows(one) + rows(two)] == [len(data) for data in files.values()]
    assert download.code == 0
    assert (tmp_path / "all/cats.zip").read_bytes() == small_archive()
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
        "competitions submissions cats --csv --page-size 1",
        "competitions submissions cats --csv --page-size 1",
        "competitions submission-limits cats",
        "competitions leaderboard cats --show --csv",
        basic=True,
    )
    assert [outcome.code for outcome in done] == [0] * len(done)
    submitted, pending, complete, refused, unread, newest, limits, board = done
    assert "Submission ref: 4001" in submitted.out
    assert "4 submissions remaining today" in submitted.out
    assert "Submission ref: 4002" in refused.out
    assert [(row["ref"], row["status"], row["publicScore"]) for row in rows(pending)] == [
        ("4001", "SubmissionStatus.PENDING", "")
    ]
    (row,) = rows(complete)
    told = [row[name] for name in ("status", "publicScore", "privateScore", "fileName", "description")]
    assert told == ["SubmissionStatus.COMPLETE", "1.00000", "1.00000", "good.csv", "first"]
    found = [(row["ref"], row["status"]) for row in rows(unread) + rows(newest)]
    assert found == [("4002", "SubmissionStatus.PENDING"), ("4002", "SubmissionStatus.ERROR")]
    assert "Submissions today: 2" in limits.out
    assert "Remaining today: 3" in limits.out
    teams = [row["teamName"] for row in rows(board)]
    assert teams == [kaggle.username, "Night owls", "Early birds", "Ünï çode, Inc."]
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
    for message, outcome in zip(messages, (rules, slug, full), strict=True):
        assert message in outcome.err
    assert kaggle.counted("cats") == 0


@official
@pytest.mark.slow
def test_kaggle_resumes_a_download(
    kaggle: KaggleEmulator, commands: Callable[..., list[Outcome]], tmp_path: Path
) -> None:
    one, other = (small_archive(seed, 2_000_000) for seed in (0, 1))
    kaggle.set_archive("cats", one)
    kaggle.fault("storage", "drop", after=1_500_000, how="reset")
    kaggle.fault("storage", "drop", after=100)
    kaggle.fault("storage", "changed", archive=other)
    assert [outcome.code for outcome in commands("competitions download cats -q")] == [0]
    gets = [(call.headers.get("Range"), call.status) for call in kaggle.calls if call.name == "GET storage"]
    assert gets == [(None, 200), ("bytes=1048576-", 206), ("bytes=1048576-", 200)]  # it writes whole MiB
    assert (tmp_path / "cats.zip").read_bytes() == other


@official
@pytest.mark.slow
@pytest.mark.parametrize("basic", [False, True])
def test_kagglehub_downloads(kaggle: KaggleEmulator, python: Callable[..., str], basic: bool) -> None:
    files = kaggle.competitions["cats"].files
    kaggle.fault("storage", "wrong md5")
    user, error, folder = json.loads(python(HUB, 2, basic=basic))
    assert (user, error) == (kaggle.username, "DataCorruptionError")
    assert {path.relative_to(folder).as_posix(): path.read_bytes() for path in Path(folder).rglob("*.*")} == files
    assert {call.headers.get("Authorization", "").partition(" ")[0] for call in kaggle.calls} == {
        "Basic" if basic else "Bearer",
        "",
    }
