"""Why a source has no items, or nothing labels them: rows that are named by none, items in a form that is not read."""

import re
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from kagglepipe.competitions.infer_sources import Names, Sources
from kagglepipe.competitions.item_tables import MIN_PIXELS, pixel_columns
from kagglepipe.competitions.labels import NUMBER
from kagglepipe.competitions.source_tables import SourceTable
from kagglepipe.errors import UserError
from kagglepipe.text import first_three

AS_SERIES = (
    "a series in each row is not read: write their samples below one another into a CSV with a column that numbers the "
    "series, and their classes into a second CSV with that column"
)
AS_FILES = "write each as FOLDER/ID.png, or as an array of uint8 or uint16 (H, W, C) FOLDER/ID.npy"
FEATURES = 8  # columns of numbers that make a table one of features


def no_items(root: Path, files: Sequence[str], tables: Sequence[SourceTable]) -> UserError:
    """The error for a source without media or tables of items, which says what its tables hold instead."""
    for table in sorted((one for one in tables if not one.is_sample), key=lambda one: one.split == "test"):
        names = [str(name) for name in table.rows.columns]
        are_lists = table.rows.head(3).map(lambda cell: len(re.findall(r"\b\d[\d.eE+-]*", cell)) >= MIN_PIXELS).all()
        lists = list(table.rows.columns[are_lists])
        if lists:
            return UserError(
                f"{table.path} holds images or series as lists of numbers in {first_three(lists)}, which are not read: "
                f"{AS_FILES}, and the other columns as a CSV; a column called pixels may have grey squares, with blanks"
            )
        if len(names) > 1 and all(NUMBER.fullmatch(name) for name in names):
            is_square = any(pixel_columns([str(n) for n in range(len(names) - one)]) for one in (0, 1))
            what = f"{table.path} begins with {names[0]}, the first of {len(names)} numbers"
            named = "its first row must name the columns, which are label,pixel0,pixel1,… of images"
            return UserError(f"{what}: {named}" if is_square else f"{what}, and {AS_SERIES}")
        bare = pd.Series([re.sub(r"\d+$", "", name) for name in names]).value_counts()
        if bare.iloc[0] >= MIN_PIXELS:
            return UserError(
                f"{table.path} has the {bare.iloc[0]} columns {bare.index[0]}…, which are no square of pixels, and "
                f"{AS_SERIES}"
            )
        numbers = [name for name in names if pd.to_numeric(table.rows[name], errors="coerce").notna().mean() > 0.5]
        if len(numbers) >= FEATURES:
            return UserError(
                f"{table.path} has {len(numbers)} columns of numbers ({first_three(numbers)}), and no images, "
                "videos, sounds or series are beside it: a table of features by itself is not read"
            )
    return UserError(
        f"no images, videos, sounds or series are in {root} ({first_three(files) or 'nothing'}): give the folder or "
        "zip that has them, as competition.source=PATH"
    )


def packed_arrays(sources: Sources) -> UserError | None:
    """The error for .npz files that hold many images or series each; None where there are no such files."""
    for file in [one for one in sources.media if one.lower().endswith(".npz")]:
        try:
            shapes = npz_shapes(sources.root / file)
        except (OSError, ValueError, zipfile.BadZipFile):  # stage=prepare says what is wrong with the file
            continue
        for name, shape in shapes.items():
            if len(shape) > 2 and len(sources.media) < shape[0]:
                size = " x ".join(map(str, shape[1:]))
                return UserError(
                    f"{file} holds {shape[0]} items of {size} in its array {name}, and one a file is read: {AS_FILES}, "
                    "and the labels as a CSV"
                )
    return None


def npz_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Shape of each array in an .npz, by name. Raises OSError, ValueError or BadZipFile for another file."""
    found = {}
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            with archive.open(name) as file:
                version = np.lib.format.read_magic(file)
                read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
                found[name.removesuffix(".npy")] = read(file)[0]
    return found


def unnamed_items(sources: Sources, names: Names) -> UserError | None:
    """The error for a table that has what the sample submission asks for, and no column that names the items.

    None where no table has it.
    """
    for table in sources.tables:
        if table.is_sample or table.split == "test" or not sources.targets or names.column(table):
            continue
        if own := [column for target in sources.targets if (column := table.find(target))]:
            first = table.columns[0]
            return UserError(
                f"{table.path} has the column {own[0]} that the sample submission asks for, and none that names the "
                f"items ({first_three(sources.media)}): its {first} is {first_three(table.rows[first])}; one row an "
                "item is needed, whose name is in the column of '+competition.columns={item: NAME}'"
            )
    return None
