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


def test_tensorboard_reads_what_it_was_told(tmp_path: Path) -> None:
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    tell("tensorboard", tmp_path)
    found = reader.EventAccumulator(str(tmp_path / "tensorboard"))
    found.Reload()
    scalars = {tag: [(e.step, pytest.approx(e.value)) for e in found.Scalars(tag)] for tag in found.Tags()["scalars"]}
    assert scalars == {"fold_0/train_loss": [(1, 0.5)], "fold_0/lr": [(1, 1e-3)], "fold_1/train_loss": [(2, 0.25)]}
    text = found.Tensors("settings/text_summary")[0].tensor_proto.string_val[0].decode()
    assert "- model.name: tiny" in text


def wandb(calls: Calls, monkeypatch: pytest.MonkeyPatch, error: type[Exception] | None = None) -> None:
    class UsageError(Exception):
        pass

    def init(**options: Any) -> Any:
        if error:
            raise UsageError("No API key configured. Use `wandb login` to log in.")
        calls.append(("init", options))
        return SimpleNamespace(log=lambda row: calls.append(("log", row)), finish=lambda: calls.append(("finish",)))

    stand_in("wandb", monkeypatch, init=init)
    stand_in("wandb.errors", monkeypatch, UsageError=UsageError)


def test_wandb_keeps_its_files_in_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: Calls = []
    wandb(calls, monkeypatch)
    tell("wandb", tmp_path)
    assert calls == [
        ("init", {"project": "kagglepipe", "name": tmp_path.name, "dir": str(tmp_path), "config": FLAT}),
        ("log", {"fold_0/epoch": 1, "fold_0/train_loss": 0.5, "fold_0/lr": 1e-3}),
        ("log", {"fold_1/epoch": 2, "fold_1/train_loss": 0.25}),
        ("finish",),
    ]


def test_wandb_without_a_key_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wandb([], monkeypatch, error=Exception)
    with pytest.raises(UserError, match=r"training\.trackers=wandb: No API key .* export WANDB_MODE=offline"):
        tell("wandb", tmp_path)


def test_mlflow_has_one_experiment_for_all_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: Calls = []

    @contextmanager
    def start_run(**options: Any) -> Iterator[None]:
        calls.append(("start_run", options))
        yield
        calls.append(("end",))

    stand_in(
        "mlflow", monkeypatch, start_run=start_run,
        set_experiment=lambda name: calls.append(("experiment", name)),
        log_params=lambda params: calls.append(("params", params)),
        log_metrics=lambda figures, step: calls.append(("metrics", figures, step)),
    )  # fmt: skip
    tell("mlflow", tmp_path)
    assert calls == [
        ("experiment", "kagglepipe"),
        ("start_run", {"run_name": tmp_path.name}),
        ("params", {name: str(value) for name, value in FLAT.items()}),
        ("metrics", {"fold_0/train_loss": 0.5, "fold_0/lr": 1e-3}, 1),
        ("metrics", {"fold_1/train_loss": 0.25}, 2),
        ("end",),
    ]


def test_trackio_is_told_as_wandb_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: Calls = []
    stand_in(
        "trackio", monkeypatch, init=lambda **options: calls.append(("init", options)),
        log=lambda row: calls.append(("log", row)), finish=lambda: calls.append(("finish",)),
    )  # fmt: skip
    tell("trackio", tmp_path)
    assert calls == [
        ("init", {"project": "kagglepipe", "name": tmp_path.name, "config": FLAT}),
        ("log", {"fold_0/epoch": 1, "fold_0/train_loss": 0.5, "fold_0/lr": 1e-3}),
        ("log", {"fold_1/epoch": 2, "fold_1/train_loss": 0.25}),
        ("finish",),
    ]


@pytest.mark.parametrize("name", ["wandb", "trackio"])
def test_a_training_that_fails_is_ended_all_the_same(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: Calls = []
    wandb(calls, monkeypatch)
    stand_in("trackio", monkeypatch, init=lambda **_: None, log=None, finish=lambda: calls.append(("finish",)))
    with pytest.raises(KeyboardInterrupt), tracking([name], folder=tmp_path, settings={}):
        raise KeyboardInterrupt
    assert calls[-1] == ("finish",)


# --- which of them --------------------------------------------------------------------------------------------------


def test_several_are_told_the_same_and_each_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: Calls = []

    def listening(name: str) -> Callable[..., Any]:
        @contextmanager
        def tracker(folder: Path, settings: Any) -> Iterator[Any]:
            yield lambda *what: told.append((name, *what))

        return tracker

    for name in ("wandb", "trackio"):
        stand_in(name, monkeypatch)
        monkeypatch.setitem(TRACKERS, name, listening(name))
    with tracking(["wandb", "trackio", "wandb"], folder=tmp_path, settings={}) as track:
        assert track is not None
        track("fold_0", 1, {"lr": 1.0})
    assert told == [(name, "fold_0", 1, {"lr": 1.0}) for name in ("wandb", "trackio")]


def test_one_that_fails_at_its_start_is_left_out_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    @contextmanager
    def down(folder: Path, settings: Any) -> Iterator[Any]:
        raise ConnectionError("nobody answers")
        yield

    stand_in("mlflow", monkeypatch)
    monkeypatch.setitem(TRACKERS, "mlflow", down)
    with tracking(["mlflow"], folder=tmp_path, settings={}) as track:
        assert track is not None
        track("fold_0", 1, {"lr": 1.0})
    assert "mlflow has failed and is left out (ConnectionError: nobody answers)" in caplog.text


@pytest.mark.parametrize("fails", ["when told", "at the end", "both"])
def test_one_that_fails_is_left_out_and_costs_nothing(
    fails: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    told: list[int] = []

    @contextmanager
    def failing(folder: Path, settings: Any) -> Iterator[Any]:
        def track(part: str, step: int, figures: Any) -> None:
            if fails != "at the end":
                raise ConnectionError("no network")

        yield track
        if fails != "when told":
            raise ValueError("no end")

    @contextmanager
    def listening(folder: Path, settings: Any) -> Iterator[Any]:
        yield lambda part, step, figures: told.append(step)

    for name, tracker in {"wandb": failing, "trackio": listening}.items():
        stand_in(name, monkeypatch)
        monkeypatch.setitem(TRACKERS, name, tracker)
    with tracking(["wandb", "trackio"], folder=tmp_path, settings={}) as track:
        assert track is not None
        track("fold_0", 1, {"lr": 1.0})
        track("fold_0", 2, {"lr": 1.0})
    assert told == [1, 2]
    said = [record.getMessage() for record in caplog.records]
    when, end = (
        f"train: training.trackers=wandb has failed and is left out ({error})"
        for error in ("ConnectionError: no network", "ValueError: no end")
    )
    assert said == {"when told": [when], "at the end": [end], "both": [when, end]}[fails]


def test_none_is_the_usual(tmp_path: Path) -> None:
    assert Config().training.trackers == []
    with tracking([], folder=tmp_path, settings={}) as track:
        assert track is None
    assert not list(tmp_path.iterdir())


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
    for fold in ("fold_0", "fold_1"):
        log = pd.read_csv(run / fold / "log.csv")
        for column in ("train_loss", "valid_loss", "valid_accuracy", "lr", "rate"):
            told = [(event.step, event.value) for event in found.Scalars(f"{fold}/{column}")]
            expected = zip(log["epoch"], log[column], strict=True)
            assert told == [(epoch, pytest.approx(value, rel=1e-6)) for epoch, value in expected]
        assert found.Scalars(f"{fold}/score")
