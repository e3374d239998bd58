"""The images of tests/fitting.py, made once."""

from pathlib import Path

import pytest

from kagglepipe.images.dataset import TrainingImages
from tests.fitting import images_in, make_images


@pytest.fixture(scope="session")
def pixels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Their folder."""
    folder = tmp_path_factory.mktemp("pixels")
    make_images(folder)
    return folder


@pytest.fixture(scope="session")
def images(pixels: Path) -> TrainingImages:
    return images_in(pixels)
