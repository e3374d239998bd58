"""The competition "cats": a prepared folder, finished runs that were never trained, and the same at `emulator`.

The fixtures `cats_folder` and `cats` of tests/kaggle make it.
"""

import shutil
import traceback
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from omegaconf import OmegaConf

from kagglepipe.config import CONF, Config
from kagglepipe.errors import UserError
from kagglepipe.files import write_json, write_parquet
from kagglepipe.kaggle.client import KaggleClient
from kagglepipe.kaggle.ledger import Row, read_ledger
from kagglepipe.options import (
    CompetitionOptions,
    FoldOptions,
    KaggleOptions,
    ModelOptions,
    PathsOptions,
    TrainingOptions,
)
from kagglepipe.predictions.frame import test_frame
from kagglepipe.runs.configured import read_data
from tests.composing import changed
from tests.kaggle.emulator import KaggleEmulator, halves

CONTRACT: Any = OmegaConf.to_container(OmegaConf.load(CONF / "competition/image_folder.yaml"))
CLASSES = ("blue", "green", "red")
ANSWERS = {f"test/{name}{number}.png": name for name in CLASSES for number in (2, 3)}  # by id
PUBLIC, PRIVATE = halves(ANSWERS)
IDENTITY = {"seed": 1}
SCORES = {"metric": "accuracy", "score": 0.75, "interval": [0.5, 0.9], "log_loss": 0.625}


@dataclass
class Cats:
    """The competition here, at `root`, and at `kaggle`."""

    root: Path
    kaggle: KaggleEmulator

    def at(self, *overrides: str) -> Config:
        """The configuration with other values, as `submit.wait=0`; the run is `one`."""
        return changed(cats_config(self.root, endpoint=self.kaggle.endpoint), *overrides)

    def ship(self, name: str, text: str) -> None:
        """Puts a file among the competition's own, in a copy of them."""
        data = self.root / "data"
        if data.is_symlink():
            original = data.readlink()
            data.unlink()
            shutil.copytree(original, data)
        (data / "cats/raw" / name).write_text(text)

    def rows(self) -> list[Row]:
        """The ledger."""
        return read_ledger(self.root / "submissions/ledger.csv")

    @property
    def counted(self) -> int:
        """How many submissions Kaggle has."""
        return self.kaggle.counted("cats")

    def asked(self, name: str) -> int:
        """How often Kaggle was asked for this."""
        return sum(call.name == name for call in self.kaggle.calls)

    def shown(self, error: BaseException) -> str:
        """The error's one line; its whole traceback holds no secret."""
        whole = "".join(traceback.format_exception(error))
        assert not [secret for secret in self.secrets if secret in whole]
        assert isinstance(error, UserError)
        assert "\n" not in str(error)
        return str(error)

    @property
    def secrets(self) -> tuple[str, ...]:
        return self.kaggle.token, self.kaggle.key, self.kaggle.signature


def pause_by(patch: pytest.MonkeyPatch, pause: Callable[[float], object]) -> None:
    """From now on clients wait so."""
    defaults = KaggleClient.__init__.__kwdefaults__
    assert defaults is not None
    patch.setitem(defaults, "pause", pause)


def cats_config(root: Path, *, source: str | None = None, endpoint: str = "http://127.0.0.1:9") -> Config:
    """Of a folder that is prepared already, if there is no source."""
    return Config(
        run="one",
        paths=PathsOptions(str(root)),
        competition=CompetitionOptions(**{**CONTRACT, "slug": "cats", "source": source}),
        folds=FoldOptions(count=2),
        model=ModelOptions("test_efficientnet", "none", image_size=64),
        training=TrainingOptions("head", views=0),
        kaggle=KaggleOptions(endpoint),
    )


def add_run(root: Path, name: str, wrong: Collection[str] = (PUBLIC[0],), **scores: object) -> Path:
    """A finished run all of whose answers are right, save those; its metrics are SCORES, save these."""
    prepared, folder = read_data(cats_config(root)), root / "outputs/cats" / name
    ids = prepared.test["id"].tolist()
    given = [(prepared.classes.index(ANSWERS[id]) + (id in wrong)) % len(CLASSES) for id in ids]
    probs = np.eye(len(CLASSES))[given] * 0.7 + 0.1
    write_parquet(folder / "test.parquet", test_frame(ids, probs, prepared.classes))
    write_json(folder / "fold_0/model.json", {"versions": {"torch": "9"}, "git_commit": "abcdef012345"})
    write_json(folder / "metrics.json", {**SCORES, "run": name, "identity": IDENTITY, **scores})
    return folder
