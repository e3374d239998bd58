"""What several test files share: composing a configuration as the command line does, and small competitions.

Nothing here needs a network, a GPU or ImageNet weights, save the tests that say so.
"""

import logging
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest

from kagglepipe.__main__ import main
from kagglepipe.config import Config

REAL = Path(__file__).parents[2] / "shared" / "data" / "pistolas-vs-smartphones-con-deep-learning.zip"
TINY = ("model=tiny", "training=head", "folds.count=2", "training.views=0")


@pytest.fixture(scope="session")
def real_archive() -> Path:
    """The competition's own archive, where it lies beside the project."""
    if not REAL.exists():
        pytest.skip("the real archive is not at ../shared/data")
    return REAL


@pytest.fixture
def configure(tmp_path: Path) -> Callable[..., Config]:
    """configure("training=head", …) -> the configuration that the command line would make, rooted in tmp_path."""

    def compose_config(*overrides: str) -> Config:
        from hydra import compose, initialize_config_dir
        from hydra.core.config_store import ConfigStore
        from omegaconf import OmegaConf

        from kagglepipe.__main__ import CONF

        ConfigStore.instance().store(name="schema", node=Config)
        rooted = (
            (f"paths.root='{tmp_path}'", *overrides) if not any("paths.root" in o for o in overrides) else overrides
        )
        with initialize_config_dir(str(CONF), version_base="1.3"):
            config = OmegaConf.to_object(compose("config", list(rooted)))
        assert isinstance(config, Config)
        return config

    return compose_config


def make_toy(folder: Path, *, per_class: int = 12, test: int = 6, size: int = 48, seed: int = 0) -> Path:
    """An image folder of three classes that a tiny untrained network can tell apart: red, green and blue noise."""
    rng = np.random.default_rng(seed)
    for number, name in enumerate(("blue", "green", "red")):
        for index in range(per_class + test // 3):
            image = rng.integers(0, 90, (size, size + 8, 3)).astype(np.uint8)
            image[..., number] += 140  # OpenCV writes BGR
            place = folder / name if index < per_class else folder / "test"
            place.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(place / f"{name}{index}.png"), image)
    return folder


@pytest.fixture
def toy(tmp_path: Path) -> Path:
    """The folder of `make_toy`."""
    return make_toy(tmp_path / "toy")


@dataclass
class Outcome:
    """What a command left: exit code, standard output and the lines of standard error."""

    code: int | str | None
    out: str
    err: list[str]


@pytest.fixture
def command(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> Callable[..., Outcome]:
    """command("stage=prepare", …) -> the Outcome of the command line, in this process, from the folder tmp_path."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")  # `main` sets it: this takes it back

    def run(*arguments: str) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["kagglepipe", *arguments])
        root = logging.getLogger()
        handlers, level = root.handlers[:], root.level
        code: int | str | None = 0
        try:
            main()
        except SystemExit as end:
            code = end.code
        finally:
            root.handlers[:], root.level = handlers, level  # Hydra's stay open on a closed file
        out, err = capfd.readouterr()
        return Outcome(code, out, err.splitlines())

    return run
