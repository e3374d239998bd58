"""Pictures of lessons, drawn with matplotlib (extra `course`)."""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kagglepipe.files import atomic

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from kagglepipe.training.resume import Epoch

INCH = 2.6  # side of a panel
COLOURS = ("#1f5fa8", "#c8442f", "#2c8a57", "#8a5aa8", "#b8860b", "#444444")  # also told apart in greys


@contextmanager
def picture(
    path: Path, rows: int = 1, columns: int = 1, *, width: float = INCH, height: float = INCH, **options: Any
) -> Iterator[tuple["Figure", Any]]:
    """Yield a figure and its axes (rows, columns), and write it as PNG when the block ends without an error.

    width, height: of a panel, in inches. options: of `Figure.subplots`.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width * columns, height * rows), layout="constrained")
    yield figure, figure.subplots(rows, columns, squeeze=False, **options)
    with atomic(path) as temporary, warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph")  # a letter that the font lacks is drawn as a box
        figure.savefig(temporary, format="png", dpi=120)


def loss_curves(path: Path, history: Sequence["Epoch"], label: str) -> None:
    """Draw the losses of each epoch, on the rows that are trained on and on those that are kept back."""
    epochs = [epoch.epoch for epoch in history]
    with picture(path, width=4.2, height=2.8) as (_, axes):
        axis = axes[0, 0]
        axis.plot(epochs, [epoch.train_loss for epoch in history], color=COLOURS[0], label="training")
        axis.plot(epochs, [epoch.valid_loss for epoch in history], color=COLOURS[1], marker=".", label="kept back")
        axis.set(xlabel="epoch", ylabel=label)
        axis.legend()
