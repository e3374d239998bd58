"""Section "Along one item": gates and states of recurrent cells over time."""

from collections.abc import Mapping, Sequence

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from kagglepipe.reports.blocks import Chart, Section, Shelf, Text, Tile
from kagglepipe.reports.charts import svg, text
from kagglepipe.reports.looked_at import picture_of
from kagglepipe.reports.segments_found import LEFT, MARGIN, WIDTH, time_axis

STRIP, GAP = 64, 10  # pixels
MOST_STEPS, MOST_UNITS = 400, 64  # of a picture
BLUE, ORANGE = (64, 132, 214), (226, 106, 28)  # seen on light and on dark


def along(
    times: NDArray[np.float64], units: Mapping[str, NDArray[np.float32]], words: str, frames: Sequence[Tile]
) -> Section:
    """Make the section. times: of the steps, (T,). units: name -> (T, H), `state` in [-1, 1]. frames: of the item."""
    how = (
        f"{words} A row is a hidden unit; rows are ordered by when their state is largest. A gate is blue where it is "
        "open: the input gate writes to the cell, the forget gate keeps what it holds, the output gate shows it. A "
        "state is blue above 0, orange below."
    )
    shelf = [Shelf("Its frames", [("", frames)])] if frames else []
    chart = Chart("Hidden units over time", strips(times, units), is_wide=True)
    return Section("along", "Along one item", [Text(how), chart, *shelf])


def strips(times: NDArray[np.float64], units: Mapping[str, NDArray[np.float32]]) -> Markup:
    """Draw each of `units` as a picture, with time to the right and a row a unit."""
    size = np.abs(units["state"])
    order = np.argsort(size.argmax(axis=0), kind="stable")
    rows, steps = (np.linspace(0, n - 1, min(n, most)).round().astype(int) for n, most in
                   ((len(order), MOST_UNITS), (len(times), MOST_STEPS)))  # fmt: skip
    parts = time_axis(float(times[0]), float(2 * times[-1] - times[-2] if len(times) > 1 else times[0] + 1),
                      8 + len(units) * (STRIP + GAP))  # fmt: skip
    place = Markup('<image class="cells" x="{}" y="{}" width="{}" height="{}" preserveAspectRatio="none" href="{}"/>')
    for number, (name, values) in enumerate(units.items()):
        picture, top = values[np.ix_(steps, order[rows])].T, 8 + number * (STRIP + GAP)
        parts.append(text(LEFT - 10, top + STRIP // 2 + 4, name, "end"))
        for sign, colour in ((1, BLUE), (-1, ORANGE)):
            if (sign * picture).max() > 0:
                parts.append(
                    place.format(LEFT, top, WIDTH - LEFT - MARGIN, STRIP, picture_of(sign * picture, colour, 1))
                )
    title = f"{', '.join(units)} of {len(order)} hidden units over {len(times)} steps"
    return svg(title, parts, 8 + len(units) * (STRIP + GAP) + 24, width=WIDTH)
