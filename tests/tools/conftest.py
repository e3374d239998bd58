"""The fixtures of the competition that is at the emulator too."""

from tests.kaggle.conftest import cats, cats_folder, pauses

__all__ = ["cats", "cats_folder", "pauses"]
