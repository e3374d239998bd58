"""Trackers are told what log.csv holds, each in its own way; without them nothing is different."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.machinery import ModuleSpec
from multiprocessing.context import ForkServerContext
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pandas as pd
import pytest

from kagglepipe.config import Config
from kagglepipe.errors import UserError
from kagglepipe.tools.commands import run_command
from kagglepipe.training import trackers
from kagglepipe.training.trackers import TRACKERS, tracking
from tests.processes import Typed, files_below, the_run, type_in

SETTINGS = {"model": {"name": "tiny", "kwargs": {}}, "training": {"regularisation": [0.1, 1.0]}, "seed": 0}
FLAT = {"model.name": "tiny", "training.regularisation": [0.1, 1.0], "seed": 0}
Calls = list[tuple[Any, ...]]


def stand_in(name: str, monkeypatch: pytest.MonkeyPatch, **contents: Any) -> None:
    """Puts a module of that name into the place of the library, installed or not."""
    module = ModuleType(name)
    module.__spec__ = ModuleSpec(name, None, origin="a test")
    module.__dict__.update(contents)
    monkeypatch.setitem(sys.modules, name, module)


def tell(name: str, folder: Path) -> None:
    with tracking([name], folder=folder, settings=SETTINGS) as track:
        assert track is not None
        track("fold_0", 1, {"train_loss": 0.5, "lr": 1e-3})
        track("fold_1", 2, {"train_loss": 0.25})


# --- each of them ---------------------------------------------------------------------------------------------------


def recorded(calls: Calls, name: str) -> Callable[..., Any]:
    """A function of a library that notes its calls."""
    return lambda *values, **options: calls.append((name, *values, options) if options else (name, *values))


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Calls:
    """Calls of the libraries, which only note them."""
    calls: Calls = []
    log, finish = recorded(calls, "log"), recorded(calls, "finish")

    def init(**options: Any) -> SimpleNamespace:
        recorded(calls, "init")(**options)
        return SimpleNamespace(log=log, finish=finish)

    @contextmanager
    def start_run(**options: Any) -> Iterator[None]:
        recorded(calls, "start_run")(**options)
        yield
        recorded(calls, "end")()

    stand_in("wandb", monkeypatch, init=init)
    stand_in("wandb.errors", monkeypatch, UsageError=type("UsageError", (Exception,), {}))
    stand_in("trackio", monkeypatch, init=init, log=log, finish=finish)
    stand_in("mlflow", monkeypatch, start_run=start_run,
             **{name: recorded(calls, name) for name in ("set_experiment", "log_params", "log_metrics")})  # fmt: skip
    return calls


ROWS = [
    ("log", {"fold_0/epoch": 1, "fold_0/train_loss": 0.5, "fold_0/lr": 1e-3}),
    ("log", {"fold_1/epoch": 2, "fold_1/train_loss": 0.25}),
    ("finish",),
]


def test_each_library_gets_name_settings_and_metrics_of_the_run(tmp_path: Path, calls: Calls) -> None:
    run = {"project": "kagglepipe", "name": tmp_path.name, "config": FLAT}
    expected = {
        "wandb": [("init", {**run, "dir": str(tmp_path)}), *ROWS],  # its files lie in the run's folder
        "trackio": [("init", run), *ROWS],
        "mlflow": [
            ("set_experiment", "kagglepipe"),
            ("start_run", {"run_name": tmp_path.name}),
            ("log_params", {name: str(value) for name, value in FLAT.items()}),
            ("log_metrics", {"fold_0/train_loss": 0.5, "fold_0/lr": 1e-3}, {"step": 1}),
            ("log_metrics", {"fold_1/train_loss": 0.25}, {"step": 2}),
            ("end",),
        ],
    }
    for name, wanted in expected.items():
        calls.clear()
        tell(name, tmp_path)
        assert calls == wanted


@pytest.mark.parametrize("name", ["wandb", "trackio"])
def test_a_training_that_fails_is_ended_all_the_same(name: str, tmp_path: Path, calls: Calls) -> None:
    with pytest.raises(KeyboardInterrupt), tracking([name], folder=tmp_path, settings={}):
        raise KeyboardInterrupt
    assert calls[-1] == ("finish",)


def test_wandb_without_a_key_says_what_to_do(tmp_path: Path, calls: Calls, monkeypatch: pytest.MonkeyPatch) -> None:
    def init(**_: Any) -> None:
        raise sys.modules["wandb.errors"].UsageError("No API key configured. Use `wandb login` to log in.")

    monkeypatch.setattr(sys.modules["wandb"], "init", init)
    with pytest.raises(UserError, match=r"training\.trackers=wandb: No API key .* export WANDB_MODE=offline"):
        tell("wandb", tmp_path)


# --- which of them --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fails", [
    ["ConnectionError: no server"], ["ConnectionError: no network"], ["ValueError: no end"],
    ["ConnectionError: no network", "ValueError: no end"],
])  # fmt: skip
def test_a_tracker_that_fails_is_dropped_and_the_others_are_told_once_each(
    fails: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """At its start, at a call, or at its end."""
    told: Calls = []

    def fail(error: str) -> None:
        kind, _, words = error.partition(": ")
        if error in fails:
            raise {"ConnectionError": ConnectionError, "ValueError": ValueError}[kind](words)

    @contextmanager
    def failing(folder: Path, settings: Any) -> Iterator[Any]:
        fail("ConnectionError: no server")
        yield lambda *_: fail("ConnectionError: no network")
        fail("ValueError: no end")

    @contextmanager
    def listening(folder: Path, settings: Any) -> Iterator[Any]:
        yield lambda *call: told.append(call)

    for name, tracker in {"wandb": failing, "trackio": listening}.items():
        stand_in(name, monkeypatch)
        monkeypatch.setitem(TRACKERS, name, tracker)
    with tracking(["wandb", "trackio", "wandb"], folder=tmp_path, settings={}) as track:
        assert track is not None
        for step in (1, 2):
            track("fold_0", step, {"lr": 1.0})
    assert told == [("fold_0", step, {"lr": 1.0}) for step in (1, 2)]
    assert caplog.messages == [
        f"train: training.trackers=wandb has failed and is left out ({error})" for error in fails
    ]


def test_none_is_the_default(tmp_path: Path) -> None:
    assert Config().training.trackers == []
    with tracking([], folder=tmp_path, settings={}) as track:
        assert track is None


def test_another_name_is_refused(configure: Callable[..., Config]) -> None:
    with pytest.raises(UserError, match=r"training\.trackers=aim is unknown; choose one of: tensorboard"):
        configure("training.trackers=[tensorboard,aim]")


def test_one_that_is_missing_is_noticed_before_anything_is_done(
    toy: Path, configure: Callable[..., Config], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trackers, "find_spec", lambda _: None)
    options = ("competition=image_folder", f"competition.source={toy}", "training.trackers=[wandb]")
    with pytest.raises(UserError, match=r"training\.trackers=wandb is not installed"):
        run_command(configure(*options, f"paths.root={tmp_path / 'root'}"))
    assert not (tmp_path / "root").exists()


@pytest.mark.parametrize("name", TRACKERS)
@pytest.mark.parametrize("spec", [None, ModuleSpec("a folder of that name", None)])
def test_one_that_is_not_installed_says_how_to_get_it(
    name: str, spec: ModuleSpec | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder called wandb in the current one, which wandb itself leaves, is not the library."""
    monkeypatch.setattr(trackers, "find_spec", lambda _: spec)
    error = rf"training\.trackers={name} is not installed: type pip install 'kagglepipe\[{name}\]'"
    with pytest.raises(UserError, match=error), tracking([name], folder=tmp_path, settings={}):
        pass


def test_a_run_is_the_same_with_and_without(
    processes: ForkServerContext, finetuned: tuple[tuple[str, ...], Path], tmp_path: Path
) -> None:
    """The tracker's files lie in a folder of their own; all that they hold is in log.csv too."""
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    arguments, alone = finetuned
    said = type_in(processes, Typed(tmp_path, (*arguments, "training.trackers=[tensorboard]")), tmp_path / "said")
    assert said.code == 0, said.err
    run = the_run(tmp_path)
    assert run.name == alone.name
    assert [name for name in files_below(run) if not name.startswith("tensorboard/")] == files_below(alone)
    for name in ("oof.parquet", "test.parquet"):
        frames = [pd.read_parquet(folder / name) for folder in (run, alone)]
        pd.testing.assert_frame_equal(*frames, check_exact=True)
    found = reader.EventAccumulator(str(run / "tensorboard"))
    found.Reload()
    text = found.Tensors("settings/text_summary")[0].tensor_proto.string_val[0].decode()
    assert "- model.name: " in text
    for fold in ("fold_0", "fold_1"):
        log = pd.read_csv(run / fold / "log.csv")
        for column in ("train_loss", "valid_loss", "valid_accuracy", "lr", "rate"):
            told = [(event.step, event.value) for event in found.Scalars(f"{fold}/{column}")]
            expected = zip(log["epoch"], log[column], strict=True)
            assert told == [(epoch, pytest.approx(value, rel=1e-6)) for epoch, value in expected]
        assert found.Scalars(f"{fold}/score")
