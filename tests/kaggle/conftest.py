"""A competition that is here and at the emulator, for the tests of what speaks to Kaggle."""

import logging
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from kagglepipe.tools.commands import run_command
from tests.cats import ANSWERS, Cats, add_run, cats_config, pause_by
from tests.conftest import make_toy
from tests.kaggle.emulator import KaggleEmulator, zip_of


@pytest.fixture(scope="session")
def cats_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root with "cats" prepared, its run `one` with one wrong answer, and the CSV of that; nothing writes into it."""
    made = tmp_path_factory.mktemp("cats")
    toy, root = make_toy(made / "toy", per_class=2, test=6), made / "root"
    files = {path.relative_to(toy).as_posix(): path.read_bytes() for path in sorted(toy.rglob("*.png"))}
    (made / "cats.zip").write_bytes(zip_of(files))
    config = cats_config(root, source=str(made / "cats.zip"))
    run_command(replace(config, stage="prepare"))
    add_run(root, "one")
    run_command(replace(config, stage="submit"))
    return root


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that clients would have waited, which no test does."""
    waited: list[float] = []
    pause_by(monkeypatch, waited.append)
    return waited


def keeping(emit: Callable[[logging.LogRecord], None], lines: list[str]) -> Callable[[logging.LogRecord], None]:
    """The same, which also keeps each line, however often a test clears its log."""

    def both(record: logging.LogRecord) -> None:
        lines.append(record.getMessage())
        emit(record)

    return both


@pytest.fixture
def cats(
    cats_folder: Path,
    kaggle: KaggleEmulator,
    tmp_path: Path,
    pauses: list[float],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> Iterator[Cats]:
    """That folder, in which one may write, and "cats" at the emulator; in the end no file or line holds a secret."""
    root = tmp_path / "root"
    for name in ("outputs", "submissions"):
        shutil.copytree(cats_folder / name, root / name)
    (root / "data").symlink_to(cats_folder / "data")  # which is read alone
    caplog.set_level(logging.INFO, "filelock")
    caplog.set_level(logging.DEBUG)  # the last is that of what is caught
    logged: list[str] = []
    monkeypatch.setattr(caplog.handler, "emit", keeping(caplog.handler.emit, logged))
    kaggle.add_competition(
        "cats", cats_folder.parent / "cats.zip", answers=ANSWERS, id_column="id", target_column="label"
    )
    monkeypatch.setenv("KAGGLE_API_TOKEN", kaggle.token)
    cats = Cats(root, kaggle)
    yield cats
    written = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    for secret in cats.secrets:
        assert not [path for path, data in written.items() if secret.encode() in data]
        assert not [line for line in logged if secret in line]
