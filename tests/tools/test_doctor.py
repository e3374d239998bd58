"""Each thing is found good or bad, says what to type where it is bad, and nothing is changed by looking."""

import platform
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from kagglepipe.config import Config
from kagglepipe.errors import UserError
from kagglepipe.kaggle import account
from kagglepipe.kaggle.errors import http_date
from kagglepipe.tools.commands import run_command
from kagglepipe.tools.doctor import Finding, check_clock, findings
from kagglepipe.training import device
from tests.cats import Cats

Patch = pytest.MonkeyPatch


class Device(SimpleNamespace):
    """What stands for one of torch's."""

    def __str__(self) -> str:
        return self.type


@pytest.fixture(autouse=True)
def _machine(monkeypatch: Patch) -> None:
    """A machine with room on its disk and a torch that takes no time to import, which finds no GPU."""
    monkeypatch.setattr(shutil, "disk_usage", lambda place: SimpleNamespace(free=50e9))
    torch = SimpleNamespace(__version__="2.9.0", get_num_threads=lambda: 4)
    monkeypatch.setitem(sys.modules, "torch", torch)
    monkeypatch.setattr(device, "choose_device", lambda wanted: Device(type="cpu"))


def found(config: Config, area: str) -> Finding:
    """The one finding of an area, by the word that it begins with."""
    (finding,) = [each for each in findings(config) if each.what.startswith(area)]
    return finding


def first_words(config: Config) -> list[str]:
    return [f"{each.level} {each.what.split(':')[0].split(' ')[0]}" for each in findings(config)]


# --- all of it ----------------------------------------------------------------------------------------------------


def test_a_line_for_each_thing_when_all_is_well(cats: Cats, caplog: pytest.LogCaptureFixture) -> None:
    before = {path: path.stat().st_mtime_ns for path in cats.root.rglob("*")}
    run_command(cats.at("stage=doctor"))
    lines = [record.getMessage() for record in caplog.records if record.name == "kagglepipe.tools.doctor"]
    assert lines == [
        f"ok    Python {sys.version.split()[0]}",
        f"ok    disk: 50.0 GB free under {cats.root}",
        "ok    weights: test_efficientnet (none)",
        "note  torch 2.9.0 on cpu (4 threads): heads take seconds, fine-tuning minutes; a GPU would be used if there "
        "were one",
        f"ok    data: {cats.root}/data/cats",
        "ok    credentials: KAGGLE_API_TOKEN",
        "ok    clock: agrees with Kaggle's",
        f"ok    token: valid, of {cats.kaggle.username}",
        "ok    competition: cats is there",
        "ok    rules: accepted",
        "ok    quota: 5 of today's submissions left, 0 used",
        "doctor: nothing to mend",
    ]
    assert {path: path.stat().st_mtime_ns for path in cats.root.rglob("*")} == before
    assert (cats.counted, cats.kaggle.uploads) == (0, {})
    assert [call.name for call in cats.kaggle.calls] == [
        "Hello", "ListDataFiles", "DownloadDataFiles", "GetSubmissionLimits",
    ]  # fmt: skip


@pytest.mark.parametrize(("kind", "token", "last"), [("401", "mend", "mend token"), ("404", "note", "ok quota")])
def test_the_token_is_asked_about_by_itself(kind: str, token: str, last: str, cats: Cats) -> None:
    """Files are listed for anyone; a server that lacks the question says nothing of the token."""
    cats.kaggle.fault("Hello", kind, times=None)
    words = first_words(cats.at())
    assert f"{token} token" in words
    assert words[-1] == last


def test_what_is_to_be_mended_is_counted_and_everything_else_still_told(
    cats: Cats, monkeypatch: Patch, caplog: pytest.LogCaptureFixture
) -> None:
    cats.kaggle.competitions["cats"].rules_accepted = False
    with pytest.raises(UserError, match=r"^doctor: 1 thing to mend, marked above$"):
        run_command(cats.at("stage=doctor"))
    with pytest.raises(UserError, match=r"^doctor: 2 things to mend, marked above$"):
        run_command(cats.at("stage=doctor", "model.weights=bundled"))
    lines = [record.getMessage() for record in caplog.records if record.name == "kagglepipe.tools.doctor"]
    assert [line[:12] for line in lines if line.startswith("mend")] == ["mend  rules:", "mend  weight", "mend  rules:"]


# --- this machine -------------------------------------------------------------------------------------------------


def test_python_and_disk(cats: Cats, monkeypatch: Patch) -> None:
    root = cats.root / "not/made/yet"
    assert found(cats.at(f"paths.root={root}"), "disk") == Finding("ok", f"disk: 50.0 GB free under {root}")
    assert not root.parent.exists()
    assert found(cats.at(), "Python") == Finding("ok", f"Python {platform.python_version()}")
    monkeypatch.setattr(shutil, "disk_usage", lambda place: SimpleNamespace(free=1.25e9))
    told = f"disk: 1.2 GB free under {cats.root}: for more type paths.root=FOLDER"
    assert found(cats.at(), "disk") == Finding("note", told)
    monkeypatch.setattr("os.access", lambda place, mode: False)
    told = f"disk: {cats.root} cannot be written; type paths.root=FOLDER with one that can"
    assert found(cats.at(), "disk") == Finding("mend", told)


@pytest.mark.parametrize(
    ("overrides", "level", "words"),
    [
        (["model.weights=none"], "ok", "weights: test_efficientnet (none)"),
        (["model.weights=hub"], "note", "weights: test_efficientnet will be downloaded from the hub when it is first"),
        (["model.weights=bundled"], "mend", ": type model.weights=hub"),
        (["model.weights=my.txt"], "mend", "model.weights=my.txt is not a .safetensors, .pth or .pt file; choose auto"),
        (["competition.kind=series"], "ok", "weights: series need none"),
    ],
)
def test_weights(cats: Cats, overrides: list[str], level: str, words: str) -> None:
    finding = found(cats.at(*overrides), "weights")
    assert (finding.level, words in finding.what) == (level, True)


def test_device(cats: Cats, monkeypatch: Patch) -> None:
    gpu = SimpleNamespace(get_device_name=lambda device: "NVIDIA H100")
    monkeypatch.setattr(sys.modules["torch"], "cuda", gpu, raising=False)
    monkeypatch.setattr(device, "choose_device", lambda wanted: Device(type="cuda"))
    assert found(cats.at(), "torch") == Finding("ok", "torch 2.9.0 on cuda (NVIDIA H100)")

    def nowhere(wanted: str) -> None:
        raise UserError(f"device={wanted}, but there is none: type device=cpu")

    monkeypatch.setattr(device, "choose_device", nowhere)
    told = "device: device=cuda, but there is none: type device=cpu"
    assert found(cats.at("device=cuda"), "device") == Finding("mend", told)
    monkeypatch.setitem(sys.modules, "torch", None)
    bad = found(cats.at(), "torch")
    assert (bad.level, bad.what.startswith("torch: it cannot be imported (")) == ("mend", True)
    assert bad.what.endswith("; type pip install --force-reinstall torch")


# --- the data -----------------------------------------------------------------------------------------------------


def test_data(cats: Cats, monkeypatch: Patch, tmp_path: Path) -> None:
    def data(*overrides: str) -> str:
        finding = found(cats.at(*overrides), "data")
        return f"{finding.level} {finding.what.removeprefix('data: ')}"

    assert data(f"competition.source={tmp_path}") == f"ok from {tmp_path}"
    source = f"competition.source={tmp_path}/none.zip"
    assert data(source) == f"mend {source} is not there; give a zip or a folder that is"
    dogs = ("competition.slug=dogs", f"kaggle.input={tmp_path}/input")
    assert data(*dogs) == (
        "note nothing of dogs is here yet; stage=download brings it with Kaggle's credentials, or type "
        "competition.source=PATH (without either a built-in sample stands in, where there is one)"
    )
    monkeypatch.setenv("KAGGLE_KERNEL_RUN_TYPE", "Interactive")
    assert data(*dogs) == "note attach dogs to this notebook with Add Input"
    (tmp_path / "input/competitions/dogs").mkdir(parents=True)
    assert data(*dogs) == f"ok {tmp_path}/input/competitions/dogs, attached to this notebook"
    nameless = "note no competition is named; give competition.source=PATH or competition.slug=NAME"
    assert data("competition.slug=null") == nameless
    told = f"token: valid, of {cats.kaggle.username}; this is no competition of Kaggle's"
    cats.kaggle.calls.clear()
    assert found(cats.at("competition.slug=null"), "token") == Finding("ok", told)
    assert {call.name for call in cats.kaggle.calls} == {"Hello"}


# --- the account --------------------------------------------------------------------------------------------------


def test_nobody_asks_nothing(cats: Cats, monkeypatch: Patch) -> None:
    monkeypatch.delenv("KAGGLE_API_TOKEN")
    *_, last = findings(cats.at())
    assert last.level == "note"
    assert last.what.startswith("credentials: none, so nothing is downloaded or submitted; make a token at https://")
    assert cats.kaggle.calls == []
    run_command(cats.at("stage=doctor"))  # which is nothing to mend


def test_credentials_that_cannot_be_used_or_that_others_can_read(
    cats: Cats, monkeypatch: Patch, tmp_path_factory: Any, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("KAGGLE_API_TOKEN", "~/no/such/file")
    bad = list(findings(cats.at()))[-1]
    assert (bad.level, bad.what.startswith("credentials: KAGGLE_API_TOKEN looks like a path")) == ("mend", True)
    assert cats.kaggle.calls == []
    file = tmp_path_factory.mktemp("home") / "token"
    file.write_text(cats.kaggle.token)
    monkeypatch.setenv("KAGGLE_API_TOKEN", str(file))
    file.chmod(0o600)
    told = f"credentials: the file that KAGGLE_API_TOKEN names, {file}"
    assert found(cats.at(), "credentials") == Finding("ok", told)
    file.chmod(0o644)
    bad = found(cats.at(), "credentials")
    assert (bad.level, str(file) in bad.what, "type chmod 600" in bad.what) == ("mend", True, True)
    for _ in range(3):  # it is warned of once
        account.connect(cats.at().kaggle)
    (warning,) = [record.getMessage() for record in caplog.records if record.name == "kagglepipe.kaggle.account"]
    assert (str(file) in warning, "type chmod 600" in warning) == (True, True)


def test_an_address_that_is_not_to_see_the_token(cats: Cats) -> None:
    bad = list(findings(cats.at("kaggle.endpoint=http://kaggle.example.com")))[-1]
    assert (bad.level, "give an https:// address" in bad.what) == ("mend", True)


@pytest.mark.parametrize(
    ("place", "kind", "level", "words"),
    [
        ("ListDataFiles", "401", "mend token", "make a token at https://www.kaggle.com/settings"),
        ("ListDataFiles", "403 denied", "mend competition", "is competition.slug=cats right"),
        ("ListDataFiles", "404", "mend competition", "there is no competition.slug=cats: look for its address at"),
        ("ListDataFiles", "500", "mend Kaggle", "type the same command later"),
        ("ListDataFiles", "reset", "mend Kaggle", "check the network"),
        (
            "DownloadDataFiles",
            "403 rules",
            "mend rules",
            "accept them at https://www.kaggle.com/competitions/cats/rules",
        ),
        ("GetSubmissionLimits", "503", "mend Kaggle", "type the same command later"),
    ],
)
def test_what_kaggle_says_no_to(cats: Cats, place: str, kind: str, level: str, words: str) -> None:
    cats.kaggle.fault(place, kind, times=None)
    *_, last = findings(cats.at())
    assert f"{last.level} {last.what.split(':')[0]}" == level
    assert words in last.what
    told = first_words(cats.at())
    assert "ok token" in told  # it is asked about by itself
    assert ("ok competition" in told) == (place != "ListDataFiles")
    assert ("ok rules" in told) == (place == "GetSubmissionLimits")
    assert "ok quota" not in told


def test_an_unknown_competition_a_quota_and_a_sample(cats: Cats) -> None:
    assert first_words(cats.at("competition.slug=dogs"))[-2:] == ["ok token", "mend competition"]
    cats.kaggle.competitions["cats"].quota = 0
    unknown = "quota: Kaggle does not say how many submissions are left"
    assert found(cats.at(), "quota") == Finding("note", unknown)
    cats.kaggle.fault("Hello", "401", times=None)
    bad = found(cats.at("competition.sample_slug=cats"), "token")
    assert (bad.level, "make a token at https://www.kaggle.com/settings" in bad.what) == ("mend", True)


# --- the clock ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("skew", "level", "words"),
    [
        (-60.0, "ok", "agrees"),
        (61.0, "mend", "61 s ahead of Kaggle's; set it"),
        (None, "note", "did not send the time"),
    ],
)
def test_the_clock(skew: float | None, level: str, words: str) -> None:
    finding = check_clock(skew)
    assert (finding.level, words in finding.what) == (level, True)


def test_a_clock_that_is_wrong_is_seen(cats: Cats, monkeypatch: Patch) -> None:
    later = "kagglepipe.kaggle.transport.http_date"
    monkeypatch.setattr(later, lambda value: (http_date(value) or 0) + 600)
    bad = found(cats.at(), "clock")
    assert bad.level == "mend"
    assert "behind Kaggle's" in bad.what
