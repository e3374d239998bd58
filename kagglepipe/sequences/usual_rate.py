"""The rate at which series and sounds are read if their user gives none: as they were sampled, unless they are long."""

from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from kagglepipe.competitions.annotations import answer_columns
from kagglepipe.competitions.filenames import SUFFIXES, find_table
from kagglepipe.competitions.item_tables import table_items, tables_of_items
from kagglepipe.options import DEFAULT_SOUND_RATE, CompetitionOptions
from kagglepipe.sequences.series import read_series
from kagglepipe.sequences.series_file import SeriesError
from kagglepipe.sequences.sound import inspect_sound
from kagglepipe.sequences.table import axis_of_time

LOOKED_AT = 16  # files, evenly spaced
MIN_SAMPLES = 16  # of an event or segment that is looked for
MAX_LENGTH = 512  # samples of a usual item: a recurrent network takes minutes for more


def usual_rate(
    root: Path, files: Sequence[str], competition: CompetitionOptions, duration: float | None = None
) -> tuple[float, str] | None:
    """(samples per unit of time, why) for the series or sounds among `files` (relative posix paths); None: the default.

    duration: of what happens in them, if that is looked for.

    Raises UserError for a table of items that cannot be read.
    """
    measure = _sounds if competition.kind == "audio" else _series
    found = measure(_some_items(root, files, competition), competition)
    if not found:
        return None
    step, length = np.median(np.array(found), axis=0).tolist()
    rate = float(f"{1 / step:.6g}")
    if duration is not None and duration > MIN_SAMPLES / rate:
        lower = float(f"{MIN_SAMPLES / duration:.2g}")
        return lower, f"{MIN_SAMPLES} samples of what usually takes {duration:g}; sequences.rate={rate:g} reads all"
    if length > MAX_LENGTH and duration is None:
        lower = float(f"{rate * MAX_LENGTH / length:.2g}")
        return lower, f"about {MAX_LENGTH} samples each; sequences.rate={rate:g} reads all {length:.0f}"
    if competition.kind == "audio":
        return None
    return rate, "as the series were sampled"


def _some_items(root: Path, files: Sequence[str], competition: CompetitionOptions) -> list[Path]:
    tables = (competition.labels, competition.files, competition.sample_submission, competition.metadata,
              competition.test)  # fmt: skip
    special = {*(find_table(name, files) for name in tables if name), *tables_of_items(files, competition)}
    names = table_items(root, files, competition) or [
        file
        for file in files
        if file not in special and PurePosixPath(file).suffix.lower() in SUFFIXES[competition.kind]
    ]
    places = np.linspace(0, len(names) - 1, LOOKED_AT).round().astype(int).tolist() if names else []
    return [root / names[place] for place in dict.fromkeys(places)]


def _series(paths: list[Path], competition: CompetitionOptions) -> list[tuple[float, int]]:
    """(step, number of samples) of each series that can be read."""
    columns, found = competition.columns, []
    axis = axis_of_time(competition, paths, 1)
    for path in paths:
        try:
            series = read_series(
                path, values=columns.get("values"), time=columns.get("time"), labels=answer_columns(competition),
                axis=axis,
            )  # fmt: skip
        except SeriesError:  # which `prepare` names
            continue
        found.append((series.step, len(series.times)))
    return found


def _sounds(paths: list[Path], _competition: CompetitionOptions) -> list[tuple[float, int]]:
    """(step, number of frames at the default rate) of each sound that can be read."""
    found = []
    for path in paths:
        try:
            found.append((1 / DEFAULT_SOUND_RATE, round(inspect_sound(path).seconds * DEFAULT_SOUND_RATE)))
        except SeriesError:
            continue
    return found
