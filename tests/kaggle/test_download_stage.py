"""stage=download with Kaggle behind it: raw/ has the right bytes or is not there, and nobody sees the token."""

import base64
import contextlib
import hashlib
import io
import json
import os
import random
import re
import select
import shutil
import signal
import subprocess
import sys
import traceback
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from kagglepipe.cli.errors import errors_in_one_line
from kagglepipe.config import CONF, Config
from kagglepipe.errors import UserError
from kagglepipe.files import keep_locks_in, locked, read_json
from kagglepipe.kaggle.download import fetch
from kagglepipe.options import CompetitionOptions, DownloadOptions, KaggleOptions, PathsOptions
from kagglepipe.stages import download
from tests.conftest import Outcome
from tests.kaggle.emulator import KaggleEmulator, small_archive, unzipped, zip_of
from tests.kaggle.faults import FAULTS, RANGED, Exchange, trickle
from tests.kaggle.wire import Reply

ARCHIVE, OTHER = small_archive(0, 20_000), small_archive(1, 20_000)
FOLDER = OmegaConf.load(CONF / "competition/image_folder.yaml")
Command = Callable[..., Outcome]


@pytest.fixture
def kaggle(kaggle: KaggleEmulator, monkeypatch: pytest.MonkeyPatch) -> KaggleEmulator:
    """An emulator with the competition "cats", and the user's token for it."""
    kaggle.add_competition("cats", ARCHIVE)
    monkeypatch.setenv("KAGGLE_API_TOKEN", kaggle.token)
    return kaggle


@pytest.fixture(autouse=True)
def _no_waiting(pauses: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    assert fetch.__kwdefaults__
    monkeypatch.setitem(fetch.__kwdefaults__, "pause", pauses.append)


@pytest.fixture
def config(kaggle: KaggleEmulator, tmp_path: Path) -> Config:
    """That of the competition, at the emulator, which is not waited for."""
    return Config(
        stage="download",
        paths=PathsOptions(str(tmp_path / "root")),
        competition=CompetitionOptions(**{**FOLDER, "slug": "cats"}),
        kaggle=KaggleOptions(kaggle.endpoint, timeout=0.2, patience=3, input=str(tmp_path / "no notebook")),
    )


def options(kaggle: KaggleEmulator, *more: str) -> list[str]:
    """The command line of `config`."""
    return [
        "stage=download", "competition=image_folder", "competition.slug=cats", f"kaggle.endpoint={kaggle.endpoint}",
        "kaggle.timeout=0.5", "kaggle.patience=3", "paths.root=root", *more,
    ]  # fmt: skip


def refreshing(config: Config) -> Config:
    return replace(config, competition=replace(config.competition, refresh=True))


def run(config: Config, capfd: pytest.CaptureFixture[str]) -> Outcome:
    """What the command would leave: exit code and output."""
    code: int | str | None = 0
    try:
        with errors_in_one_line():
            download.check(config)
            download.run(config)
    except SystemExit as end:
        code = end.code
    out, err = capfd.readouterr()
    return Outcome(code, out, err.splitlines())


def digest(files: Mapping[str, bytes]) -> str:
    """One hash over names and bytes."""
    return hashlib.sha256(repr(sorted(files.items())).encode()).hexdigest()


def files_in(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def demand_right(config: Config, archive: bytes = ARCHIVE) -> None:
    """The archive's files are in raw/, source.json tells of it, and nothing else is left."""
    base = config.base_dir
    assert digest(files_in(base / "raw")) == digest(unzipped(archive))
    assert {path.name for path in base.iterdir()} == {"raw", "source.json"}
    told = read_json(base / "source.json")
    assert (told["kind"], told["path"]) == ("kaggle", "cats")
    assert told["content"] == hashlib.sha256(archive).hexdigest()


def demand_absent(config: Config) -> None:
    """Nothing that a later stage would take for data, and nothing outside."""
    base = config.base_dir
    here = {path.name for path in base.iterdir()} if base.exists() else set()
    assert here <= {"archive.zip", "archive.zip.part", "archive.zip.json"}
    assert {path.name for path in base.parent.iterdir()} <= {"cats", ".locks"}


def demand_one_line(outcome: Outcome) -> str:
    assert outcome.code == 2
    (line,) = outcome.err
    assert line.startswith("kagglepipe: ")
    assert line.isprintable()
    return line


def asked(kaggle: KaggleEmulator) -> list[str]:
    return [call.name for call in kaggle.calls]


# --- as it should be ----------------------------------------------------------------------------------------------


def test_the_command_downloads_unpacks_and_tells_where_it_came_from(
    kaggle: KaggleEmulator, config: Config, command: Command, tmp_path: Path
) -> None:
    done = command(*options(kaggle))
    assert (done.code, done.err) == (0, [])
    assert "download: at Kaggle: files 2, images 1, images/deep 1 (0.0 MB)" in done.out
    assert "unpacked 4 files" in done.out
    demand_right(config)
    stored = kaggle.objects[kaggle.competitions["cats"].archive]
    assert json.loads(read_json(config.base_dir / "source.json")["stat"]) == {
        "etag": stored.etag,
        "size": len(ARCHIVE),
        "md5": hashlib.md5(ARCHIVE).hexdigest(),
    }


def test_a_second_command_asks_nothing_and_a_refresh_compares_first(
    kaggle: KaggleEmulator, config: Config, command: Command
) -> None:
    command(*options(kaggle))
    before = {path: path.stat().st_mtime_ns for path in config.base_dir.rglob("*")}
    for more, expected in (([], []), (["competition.refresh=true"], ["DownloadDataFiles", "GET storage"])):
        kaggle.calls.clear()
        done = command(*options(kaggle, *more))
        assert (done.code, done.err, asked(kaggle)) == (0, [], expected)
        assert more or "cats is here already" in done.out
        assert {path: path.stat().st_mtime_ns for path in config.base_dir.rglob("*")} == before


@pytest.mark.parametrize("is_changed", [True, False])
def test_a_refresh_forgets_what_was_prepared_from_other_bytes_alone(
    kaggle: KaggleEmulator, config: Config, capfd: pytest.CaptureFixture[str], is_changed: bool
) -> None:
    run(config, capfd)
    (config.base_dir / "prepared.json").write_text("{}")
    kaggle.has_md5 = False
    kaggle.fault("storage", "weak etag", None)  # so that only the bytes themselves tell
    kaggle.set_archive("cats", OTHER if is_changed else ARCHIVE)
    assert run(config, capfd).code == 0
    assert digest(files_in(config.base_dir / "raw")) == digest(unzipped(ARCHIVE))  # it was not asked to look
    assert run(refreshing(config), capfd).code == 0
    assert asked(kaggle).count("GET storage") == 3
    if not is_changed:
        (config.base_dir / "prepared.json").unlink()
    demand_right(config, OTHER if is_changed else ARCHIVE)


def test_a_refresh_that_fails_keeps_what_was_there(
    kaggle: KaggleEmulator, config: Config, capfd: pytest.CaptureFixture[str]
) -> None:
    run(config, capfd)
    config, kaggle.has_md5 = refreshing(config), False
    kaggle.set_archive("cats", OTHER[:-30])
    demand_one_line(run(config, capfd))
    demand_right(config)
    kaggle.set_archive("cats", OTHER)
    large = replace(config.download, max_entries=1)
    assert "allowed are 1" in demand_one_line(run(replace(config, download=large), capfd))
    assert (config.base_dir / "archive.zip").exists()  # downloaded, and not unpacked
    latest = small_archive(2, 5_000)
    kaggle.set_archive("cats", latest)
    assert run(config, capfd).code == 0
    demand_right(config, latest)


@pytest.mark.parametrize("place", ["a zip", "a folder"])
def test_what_lies_here_is_taken_without_kaggle(
    kaggle: KaggleEmulator, config: Config, capfd: pytest.CaptureFixture[str], tmp_path: Path, place: str
) -> None:
    source = tmp_path / "cats.zip"
    source.write_bytes(ARCHIVE)
    if place == "a folder":
        shutil.unpack_archive(source, tmp_path / "cats")
        source = tmp_path / "cats"
    config = replace(config, competition=replace(config.competition, source=str(source)))
    assert run(config, capfd).code == 0
    assert not kaggle.calls


# --- without Kaggle -----------------------------------------------------------------------------------------------


def test_nobody_without_data_gets_the_sample_and_is_told_so(
    command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(download, "draw_sample", lambda kind, folder: folder.mkdir(parents=True))
    done = command("stage=download", "paths.root=root", "kaggle.endpoint=http://127.0.0.1:9")
    assert (done.code, done.err) == (0, [])
    assert "BUILT-IN SAMPLE" in done.out
    assert read_json(tmp_path / "root/data/pistols-vs-smartphones-sample/source.json")["kind"] == "sample"


def test_nobody_gets_a_clear_error_where_there_is_no_sample(
    kaggle: KaggleEmulator, config: Config, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("KAGGLE_API_TOKEN")
    line = demand_one_line(command(*options(kaggle)))
    assert "no Kaggle credentials were found" in line
    assert "competition.source=PATH" in line
    assert "KAGGLE_API_TOKEN" in line
    assert not kaggle.calls


def test_broken_credentials_are_an_error_and_not_none(
    kaggle: KaggleEmulator, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KAGGLE_API_TOKEN", f"{kaggle.token} and more")
    for competition in ("image_folder", "pistols_vs_smartphones"):
        line = demand_one_line(command(*options(kaggle), f"competition={competition}"))
        assert "KAGGLE_API_TOKEN holds" in line
        assert kaggle.token not in line


@pytest.mark.parametrize("fault", ["403 rules", "404", "503", "html"])
def test_a_kaggle_that_fails_is_not_replaced_by_the_sample(
    kaggle: KaggleEmulator, command: Command, tmp_path: Path, fault: str
) -> None:
    kaggle.fault("ListDataFiles", fault, None)
    done = command("stage=download", "paths.root=root", f"kaggle.endpoint={kaggle.endpoint}", "kaggle.patience=3")
    demand_one_line(done)
    assert "SAMPLE" not in done.out
    assert not [path for path in tmp_path.rglob("*") if "sample" in path.name]


@pytest.mark.parametrize("place", ["cats", "competitions/cats"])
def test_a_kaggle_notebook_reads_what_is_attached_in_place(
    kaggle: KaggleEmulator, config: Config, command: Command, tmp_path: Path, place: str
) -> None:
    attached = tmp_path / "input" / place
    attached.mkdir(parents=True)
    with zipfile.ZipFile(io.BytesIO(ARCHIVE)) as source:
        source.extractall(attached)
    for path in [*attached.rglob("*"), attached]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "input").rglob("*")}
    done = command(*options(kaggle, f"kaggle.input={tmp_path / 'input'}"))
    for path in [attached, *attached.rglob("*")]:
        path.chmod(0o755)
    assert (done.code, done.err) == (0, [])
    assert read_json(config.base_dir / "source.json")["path"] == str(attached)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "input").rglob("*")} == before
    assert not (config.base_dir / "raw").exists()
    assert not kaggle.calls


# --- archives that are not to be trusted --------------------------------------------------------------------------


@pytest.mark.parametrize("archive", [ARCHIVE[:-30], ARCHIVE[:5_000] + b"\0" + ARCHIVE[5_001:], b"<html>", b"", b"PK"])
def test_a_damaged_archive_without_an_md5_is_one_line_and_the_same_command_heals(
    kaggle: KaggleEmulator, config: Config, capfd: pytest.CaptureFixture[str], archive: bytes
) -> None:
    kaggle.has_md5 = False
    kaggle.set_archive("cats", archive)
    line = demand_one_line(run(config, capfd))
    assert "so the same command downloads it anew" in line
    demand_absent(config)
    assert not files_in(config.base_dir)  # not even the archive
    kaggle.set_archive("cats", ARCHIVE)
    assert run(config, capfd).code == 0
    demand_right(config)


HOSTILE = {  # test_archive has them all
    "up": zip_of({"good.txt": b"good", "../../evil.txt": b"evil"}),
    "steering": zip_of({"../\x1b[2J\nevil": b"evil"}),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_archive_leaves_nothing(
    kaggle: KaggleEmulator, config: Config, capfd: pytest.CaptureFixture[str], tmp_path: Path, name: str
) -> None:
    kaggle.set_archive("cats", HOSTILE[name])
    assert "is refused: its member" in demand_one_line(run(config, capfd))
    demand_absent(config)
    assert not [path for path in tmp_path.rglob("*") if "evil" in path.name or path.name in ("out", "good.txt")]


def test_a_bomb_leaves_nothing_and_is_not_downloaded_again_where_it_is_trusted(
    kaggle: KaggleEmulator, config: Config, capfd: pytest.CaptureFixture[str]
) -> None:
    bomb = zip_of({f"{number}.bin": bytes(10**6) for number in range(3)})
    kaggle.set_archive("cats", bomb)
    line = demand_one_line(run(replace(config, download=DownloadOptions(max_gb=0.002)), capfd))
    assert "unpacks to 3,000,000 bytes or more, allowed are 2,000,000" in line
    assert "download.max_gb=1" in line
    demand_absent(config)
    kaggle.calls.clear()
    assert run(config, capfd).code == 0
    demand_right(config, bomb)
    assert "GET storage" not in asked(kaggle)


def test_an_archive_larger_than_allowed_is_not_downloaded(
    kaggle: KaggleEmulator, config: Config, capfd: pytest.CaptureFixture[str]
) -> None:
    line = demand_one_line(run(replace(config, download=DownloadOptions(max_gb=1e-6)), capfd))
    assert f"the archive has {len(ARCHIVE):,} bytes or more, allowed are 1,000" in line
    demand_absent(config)


# --- every fault --------------------------------------------------------------------------------------------------

BESIDE = ("altered", "answer", "say")  # which are anything
OF_RPCS = ("odd rows", "no history", "ref 0", "400 quota", "403 rules", "404", "502", "504", *BESIDE)  # as others
SILENT = ("truncated", "corrupt", "wrong bytes", "wrong md5", "empty", "json", "drop", "changed", "range ignored")
EVERY: list[tuple[str, str, int | None, bool]] = [
    *(
        ("storage", fault, times, has_md5)
        for fault in FAULTS if fault not in OF_RPCS
        for times in (1, None)
        for has_md5 in ((True, False) if fault in SILENT else (True,))
    ),
    *(  # one of each kind of error; test_client has them all
        (place, fault, None, True)
        for place in ("DownloadDataFiles", "ListDataFiles")
        for fault in ("401", "403 rules", "404", "429", "500", "html", "reset")
    ),
]  # fmt: skip


@pytest.mark.parametrize(("place", "fault", "times", "has_md5"), EVERY)
def test_whatever_fails_raw_is_right_or_absent_and_the_same_command_heals(
    kaggle: KaggleEmulator,
    config: Config,
    capfd: pytest.CaptureFixture[str],
    place: str,
    fault: str,
    times: int | None,
    has_md5: bool,
) -> None:
    kaggle.has_md5 = has_md5
    details: dict[str, dict[str, Any]] = {
        "changed": {"archive": OTHER}, "trickle": {"piece": 2000, "pause": 0.001}, "drop": {"after": 5_000},
    }  # fmt: skip
    if fault in RANGED:
        kaggle.fault("storage", "drop", after=5_000)
    kaggle.fault(place, fault, times, **details.get(fault, {}))
    served = OTHER if fault == "changed" else ARCHIVE
    first = run(config, capfd)
    if first.code == 0:
        assert first.err == []
        demand_right(config, served)
    else:
        demand_one_line(first)
        demand_absent(config)
        assert times is None or (fault in ("truncated", "corrupt", "wrong bytes", "empty") and not has_md5)
    kaggle.faults.clear()
    second = run(config, capfd)
    assert (second.code, second.err) == (0, [])
    demand_right(config, served)


# --- two at once --------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_another_process_waits_and_then_downloads_nothing(
    kaggle: KaggleEmulator, config: Config, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    keep_locks_in(config.root)  # as the command does, whose lock is to be the same
    with locked(config.base_dir):
        other = subprocess.Popen(
            [sys.executable, "-m", "kagglepipe", *options(kaggle)],
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": str(CONF.parent)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert other.stdout
        said = next(line for line in other.stdout if not line.startswith("starting"))  # shown where that takes long
        assert "another process is running; waiting until it is done" in said
        download.take_kaggle(config, None)
    rest, _ = other.communicate(timeout=60)
    assert (other.returncode, rest) == (0, "download: cats is here already\n")
    assert asked(kaggle).count("GET storage") == 1
    demand_right(config)


# --- killed -------------------------------------------------------------------------------------------------------

# Every line on its standard input starts the command once, in a child, which dies at the given step of its work on
# files; 0 for none. It answers with the child's number, and then with its exit code.
CHILDREN = """
import os, signal, sys
from kagglepipe.cli.errors import errors_in_one_line
from kagglepipe.competitions import archive
from kagglepipe.kaggle import client, download
from kagglepipe.tools.commands import run_command
from tests.composing import config_of

config = config_of(*sys.argv[1:])
data, seen = str(config.root / "data"), 0

def step(event, arguments):
    global seen
    if event in ("open", "os.rename", "os.remove", "os.rmdir", "os.mkdir") and str(arguments[0]).startswith(data):
        seen += 1
        if seen == last:
            os.kill(os.getpid(), signal.SIGKILL)

for line in sys.stdin:
    last = int(line)
    child = os.fork()
    if not child:
        sys.addaudithook(step)
        with errors_in_one_line():
            run_command(config)
        os._exit(0)
    print(child, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""
posix = pytest.mark.skipif(os.name != "posix", reason="no fork")


class Children:
    """The processes of CHILDREN, one after the other."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        assert process.stdin
        assert process.stdout
        self.ask, self.told = process.stdin, process.stdout

    def start(self, last: int = 0) -> int:
        """The number of a new one."""
        print(last, file=self.ask, flush=True)
        return int(self.told.readline())

    def has_ended(self, seconds: float) -> bool:
        """Whether it has, after so many seconds at most."""
        return bool(select.select([self.told], [], [], seconds)[0])

    def code(self) -> int:
        """Its exit code."""
        return int(self.told.readline())


@pytest.fixture
def children(kaggle: KaggleEmulator, tmp_path: Path) -> Iterator[Callable[..., Children]]:
    """children(option, …) -> a process for the emulator's "cats" that starts the command whenever it is told to."""
    env = os.environ | {"PYTHONPATH": str(CONF.parent)}
    with contextlib.ExitStack() as opened:

        def start(*more: str) -> Children:
            command = [sys.executable, "-c", CHILDREN, *options(kaggle, "kaggle.timeout=30", *more)]
            process = subprocess.Popen(
                command, cwd=tmp_path, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
            opened.enter_context(process)
            assert process.stdin
            opened.callback(process.stdin.close)
            return Children(process)

        yield start


class Counted(bytes):
    """Bytes that count how many of them are sent."""

    sent = 0

    def __getitem__(self, part: Any) -> Any:
        if part.stop is None:
            return self
        found = super().__getitem__(part)
        Counted.sent += len(found)
        return found


def slow(exchange: Exchange, until: int) -> Reply:
    """A fault: the bytes come in pieces, and none after so many of the whole."""
    start = int(re.sub(r"\D", "", exchange.request.headers.get("Range", "")) or 0)
    reply = trickle(exchange, piece=4096, pause=0.001).broken(until - start, "hang")
    reply.body = Counted(reply.body)
    return reply


@pytest.mark.slow
@posix
def test_a_download_that_is_killed_again_and_again_goes_on_every_time(
    kaggle: KaggleEmulator,
    config: Config,
    children: Callable[..., Children],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    started = children()
    archive, rng, part = small_archive(3, 1_500_000), random.Random(0), config.base_dir / "archive.zip.part"
    kaggle.set_archive("cats", archive)
    monkeypatch.setitem(FAULTS, "slow", slow)
    monkeypatch.setattr(Counted, "sent", 0)
    sizes = [0]
    for _ in range(10):
        target = sizes[-1] + 1 + rng.randrange(100_000)
        kaggle.fault("storage", "slow", until=target + 20_000)  # by then so many are written, and some not yet
        child = started.start()
        for _ in range(30_000):
            if size_of(part) >= target or started.has_ended(0.001):
                break
        os.kill(child, signal.SIGKILL)
        assert started.code() == -signal.SIGKILL
        sizes.append(size_of(part))
        assert part.read_bytes() == archive[: sizes[-1]]
        assert not (config.base_dir / "raw").exists()
    kaggle.fault("storage", "slow", until=len(archive) + 1)
    done = subprocess.run(
        [sys.executable, "-m", "kagglepipe", *options(kaggle, "kaggle.timeout=30")],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(CONF.parent)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    demand_right(config, archive)
    starts = [call.headers.get("Range") for call in kaggle.calls if call.name == "GET storage"]
    assert starts == [f"bytes={size}-" if size else None for size in sizes]
    assert len(archive) <= Counted.sent < 2 * len(archive)


def size_of(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


@pytest.mark.slow
@posix
@pytest.mark.parametrize("refresh", [False, True])
def test_a_command_killed_at_whichever_step_is_made_good_by_the_next(
    kaggle: KaggleEmulator,
    config: Config,
    children: Callable[..., Children],
    capfd: pytest.CaptureFixture[str],
    refresh: bool,
) -> None:
    old, new = ARCHIVE, zip_of({"a.csv": b"1,2\n" * 1000, "b/c.bin": random.Random(0).randbytes(3000)})
    if refresh:
        run(config, capfd)
    kaggle.calls.clear()
    kaggle.set_archive("cats", new)
    started, steps = children(f"competition.refresh={str(refresh).lower()}"), 0
    for last in range(1, 200):
        started.start(last)
        code = started.code()
        if (config.base_dir / "source.json").exists():
            taken = read_json(config.base_dir / "source.json")["content"]
            whole = unzipped(new if taken == hashlib.sha256(new).hexdigest() else old)
            assert digest(files_in(config.base_dir / "raw")) == digest(whole)
        if code == 0:
            break
        assert code == -signal.SIGKILL
        steps += 1
    assert code == 0
    assert steps > 20
    assert digest(files_in(config.base_dir / "raw")) == digest(unzipped(new))
    assert refresh or asked(kaggle).count("GET storage") <= steps


# --- secrets ------------------------------------------------------------------------------------------------------


def written(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True)
    path.write_text(text)
    path.chmod(0o600)
    return path


Place = Callable[[KaggleEmulator, Path, pytest.MonkeyPatch], Path | None]
CREDENTIALS: dict[str, Place] = {
    "token": lambda kaggle, home, environ: environ.setenv("KAGGLE_API_TOKEN", kaggle.token),
    "token file": lambda kaggle, home, environ: written(home / ".kaggle/access_token", kaggle.token),
    "key": lambda kaggle, home, environ: [  # type: ignore[func-returns-value]
        environ.setenv("KAGGLE_USERNAME", kaggle.username),
        environ.setenv("KAGGLE_KEY", kaggle.key),
    ][0],
    "json": lambda kaggle, home, environ: written(
        home / ".kaggle/kaggle.json", json.dumps({"username": kaggle.username, "key": kaggle.key})
    ),
}


def secrets_of(kaggle: KaggleEmulator) -> list[str]:
    pair = base64.b64encode(f"{kaggle.username}:{kaggle.key}".encode()).decode()
    return [kaggle.token, kaggle.key, pair, kaggle.signature]


LOGGERS = "[urllib3.connectionpool,urllib3.connection,urllib3,requests]"


@pytest.mark.parametrize(
    ("who", "verbose"),
    [
        ("token", LOGGERS),
        ("json", "true"),
        *(pytest.param(who, LOGGERS, marks=pytest.mark.slow) for who in ("token file", "key")),
    ],
)
def test_no_file_no_line_and_no_traceback_holds_a_secret(
    kaggle: KaggleEmulator,
    config: Config,
    command: Command,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    who: str,
    verbose: str,
) -> None:
    home = tmp_path / "home"
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("KAGGLE_API_TOKEN")
    own = CREDENTIALS[who](kaggle, home, monkeypatch)
    line, shown = options(kaggle, f"hydra.verbose={verbose}", "kaggle.patience=1000"), ""
    for place in ("ListDataFiles", "DownloadDataFiles", "storage"):
        kaggle.fault(place, "403 denied" if place == "storage" else "503")
        kaggle.fault(place, "reset")
    kaggle.fault("storage", "drop", after=100, how="reset")
    kaggle.fault("storage", "redirect", to="http://evil.org/?" + kaggle.signature)
    refused = command(*line)
    assert "Kaggle sends to http://evil.org/…" in demand_one_line(refused)
    with monkeypatch.context() as broken:
        broken.setattr(download, "unpack", lambda *_: {}["a bug of ours"])
        with pytest.raises(KeyError) as bug:
            command(*line)
    shown += "".join(traceback.format_exception(bug.value))
    with monkeypatch.context() as broken:
        broken.setattr("kagglepipe.kaggle.client.remote_of", lambda *_: {}["another"])
        broken.setattr("kagglepipe.kaggle.download.remote_of", lambda *_: {}["another"])
        shutil.rmtree(config.base_dir)
        with pytest.raises(KeyError) as bug:
            command(*line)
    shown += "".join(traceback.format_exception(bug.value))
    done = command(*line)
    assert done.code == 0
    demand_right(config)
    shown += f"{refused} {done}"
    assert "trying again" in shown
    assert not [secret for secret in secrets_of(kaggle) if secret in shown]
    for path in tmp_path.rglob("*"):
        if path.is_file() and path != own:
            data = path.read_bytes()
            assert not [path for secret in secrets_of(kaggle) if secret.encode() in data]


def test_a_file_that_others_can_read_is_told_of(
    kaggle: KaggleEmulator, command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("KAGGLE_API_TOKEN")
    written(tmp_path / "home/.kaggle/access_token", kaggle.token).chmod(0o644)
    done = command(*options(kaggle))
    assert (done.code, done.err) == (0, [])
    assert f"others on this machine can read {tmp_path / 'home/.kaggle/access_token'}; type chmod 600" in done.out


# --- anything at all ----------------------------------------------------------------------------------------------


def spoilt(edits: list[tuple[int, bytes]]) -> bytes:
    data = bytearray(SMALL)
    for at, piece in edits:
        at %= len(data)
        data[at : at + len(piece)] = piece
    return bytes(data)


SMALL = zip_of({"a.csv": b"1,2\n" * 9, "b/c d.bin": b"xyz"})
NAMES = st.text(st.sampled_from("ab./\\:~\n\x1b ñ"), min_size=1, max_size=8)
ARCHIVES = st.one_of(
    st.binary(max_size=60),
    st.lists(st.tuples(st.integers(0, 10**4), st.binary(min_size=1, max_size=4)), max_size=4).map(spoilt),
    st.dictionaries(NAMES, st.binary(max_size=9), max_size=4).map(zip_of),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(archive=ARCHIVES, has_md5=st.booleans())
@example(archive=SMALL, has_md5=True)
def test_whatever_the_archive_is_it_is_unpacked_here_or_refused(
    kaggle: KaggleEmulator, config: Config, tmp_path_factory: pytest.TempPathFactory, archive: bytes, has_md5: bool
) -> None:
    folder = tmp_path_factory.mktemp("any")
    kaggle.has_md5 = has_md5
    kaggle.set_archive("cats", archive)
    here = replace(config, paths=PathsOptions(str(folder / "deep/root")))
    with contextlib.suppress(UserError):
        download.run(here)
    assert {path.name for path in folder.iterdir()} == {"deep"}
    assert {path.name for path in here.root.iterdir()} == {"data"}
    assert {path.name for path in here.root.parent.iterdir()} == {"root"}
    if (here.base_dir / "raw").exists():
        assert (here.base_dir / "source.json").exists()
        for path in (here.base_dir / "raw").rglob("*"):
            assert path.is_dir() or path.is_file()
            assert not path.is_symlink()
    else:
        demand_absent(here)
    if archive == SMALL:
        demand_right(here, SMALL)
