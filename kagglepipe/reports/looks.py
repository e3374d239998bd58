"""Sections "Data" and "Labels to look at": counts, sizes, examples, near-duplicates, outliers; suspected labels."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kagglepipe.competitions.targets import split_tags
from kagglepipe.predictions.label_errors import COLUMNS
from kagglepipe.reports.blocks import Bar, Section, Shelf, Table, Text, Tile
from kagglepipe.reports.shift import Looks, between_splits, by_class, facts_of
from kagglepipe.reports.thumbnails import Album, look

MOST_CLASSES, EXAMPLES, MOST_PAIRS, MOST_OUTLIERS = 20, 6, 24, 12
MOST_LISTED = 100
MOST_SUSPECTS = 60  # with a picture
MOST_LOOKS = 1000  # pictures whose pixels are compared
Features = Callable[[pd.DataFrame], NDArray[np.float32] | None]
ODD_SHAPE = 2.0  # times the usual ratio of the sides
DARK, BLURRED = 0.12, 0.25  # brightness; sharpness as a share of the median


def data(
    rows: pd.DataFrame | None, pairs: pd.DataFrame | None, album: Album, task: str, why: str = "",
    features: Features = lambda rows: None,
) -> Section:  # fmt: skip
    """Make the section.

    rows: of the table, training and test, with keys; None where they are not at hand, `why` says so. pairs: of
    duplicates.csv; None: not looked for. features: rows -> stored features (N, F) of their pictures, or None.
    """
    if rows is None:
        return Section("data", "Data", [Text(why)])
    blocks: list[Any] = [counts_table(rows, task), *size_table(rows)]
    train = rows[rows["split"] == "train"]
    blocks += examples(train, album) if task != "regression" else []
    blocks += near_duplicates(pairs, rows, album)
    if "mode" in rows:  # of images
        looks = looks_of(rows, album)
        facts = facts_of(rows, looks)
        blocks += outliers(rows, looks, album)
        blocks += by_class(facts) if task == "multiclass" else []
        chosen = rows.set_index("key").loc[facts["key"]].reset_index()
        blocks += between_splits(facts, features(chosen), album)
    if album.missing:
        name, why = next(iter(album.missing.items()))
        blocks.insert(0, Text(f"{len(album.missing):,} pictures are not shown, since they moved, changed or cannot be "
                              f"read; the first is {name}: {why}"))  # fmt: skip
    return Section("data", "Data", blocks)


def counts_table(rows: pd.DataFrame, task: str) -> Table:
    """Training rows of each class or tag, and of the test."""
    train, test = rows[rows["split"] == "train"], rows[rows["split"] == "test"]
    header = ("what", "rows", "share")
    about = [("training rows", f"{len(train):,}", ""), ("rows to classify", f"{len(test):,}", "")]
    if "group" in train:
        about.append(("groups (near-duplicates and those given stay in one fold)", f"{train['group'].nunique():,}", ""))
    if task == "regression":
        return Table("Rows", header, about)
    names = train["target"].dropna().astype(str)
    if task == "multilabel":
        names = pd.Series([tag for target in names for tag in split_tags(target)], dtype=str)
    counts = names.value_counts()
    most = int(counts.max()) if len(counts) else 1
    listed = [(str(name), f"{n:,}", Bar(f"{n / len(train):.1%}", n / most)) for name, n in counts[:MOST_LISTED].items()]
    more = [(f"and {len(counts) - MOST_LISTED:,} more classes", "", "")] if len(counts) > MOST_LISTED else []
    return Table("Rows, and training rows of each class", header, [*about, *listed, *more])


def size_table(rows: pd.DataFrame) -> list[Table]:
    """Quantiles of width and height, and the formats of images; of lengths, where files have any; nothing else."""
    tables = []
    if {"video", "begins", "ends"} <= set(rows):
        files = rows.drop_duplicates("video")
        lengths = quantiles((files["ends"] - files["begins"]).to_frame(), ".2f")
        tables.append(Table("Lengths of files", ("", "seconds, or units of time"), lengths))
    if "width" in rows and (rows["height"] > 1).any():  # series and sounds have channels and bands there
        tables.append(Table("Sizes in pixels", ("", "width", "height"), quantiles(rows[["width", "height"]], ".0f")))
    if "format" in rows and "mode" in rows:  # of images
        of_train = rows[rows["split"] == "train"].groupby(["format", "mode"]).size()
        of_test = rows[rows["split"] == "test"].groupby(["format", "mode"]).size()
        kinds = sorted({*of_train.index, *of_test.index})
        cells = [(" ".join(map(str, one)), str(of_train.get(one, 0)), str(of_test.get(one, 0))) for one in kinds]
        tables.append(Table("Formats", ("format", "training", "test"), cells))
    return tables


def quantiles(columns: pd.DataFrame, form: str) -> list[tuple[str, ...]]:
    """Rows of a table of the quantiles of columns."""
    at = columns.quantile([0, 0.25, 0.5, 0.75, 1]).to_numpy().tolist()
    names = ("least", "lower quarter", "median", "upper quarter", "largest")
    return [(name, *(format(value, form) for value in row)) for name, row in zip(names, at, strict=True)]


def examples(train: pd.DataFrame, album: Album) -> list[Any]:
    """A few pictures of each class, evenly spread over its rows."""
    shelves = []
    for name, own in list(train.groupby("target", sort=True))[:MOST_CLASSES]:
        ids = own["id"].astype(str).drop_duplicates().tolist()
        chosen = np.unique(np.linspace(0, len(ids) - 1, EXAMPLES).astype(int))
        tiles = [tile for k in chosen.tolist() if (tile := album.tile(ids[k])).number is not None]
        shelves.append((str(name), tiles))
    return [Shelf("Examples of each class", shelves)] if any(tiles for _, tiles in shelves) else []


def near_duplicates(pairs: pd.DataFrame | None, rows: pd.DataFrame, album: Album) -> list[Any]:
    """Pairs side by side: of other labels first, then of training and test, then the others."""
    if pairs is None:
        return []
    if pairs.empty:
        return [Text("No near-duplicates were found.")]
    known = {(row.split, str(row.id)): (row.target, str(row.key)) for row in rows.itertuples()}
    ends = [
        [(str(id), split, *known.get((split, id), (None, id))) for id, split in zip(ids, splits, strict=True)]
        for ids, splits in ((pairs["id"], pairs["split"]), (pairs["twin"], pairs["twin_split"]))
    ]
    crosses = (pairs["split"] != pairs["twin_split"]).to_numpy()
    has_both = [isinstance(one[2], str) and isinstance(other[2], str) for one, other in zip(*ends, strict=True)]
    differs = np.array([one[2] != other[2] for one, other in zip(*ends, strict=True)]) & np.array(has_both)
    shelves = []
    for row in np.lexsort((np.arange(len(pairs)), ~crosses, ~differs))[:MOST_PAIRS].tolist():
        kind = "labels differ" if differs[row] else ("training and test" if crosses[row] else "same label")
        equal, correlation = str(pairs["exact"].iloc[row]) == "True", float(pairs["correlation"].iloc[row])
        how = "equal files" if equal else f"correlation {correlation:.3f}"
        shelves.append((f"{kind}: {how}", [end_of_pair(album, *end[row]) for end in ends]))
    words = (
        f"{len(pairs):,} pairs of near-duplicates: labels differ in {int(differs.sum()):,}, {int(crosses.sum()):,} are "
        f"of training and test; shown are {len(shelves):,}"
    )
    return [Shelf(words, shelves)]


def end_of_pair(album: Album, id: str, split: str, label: Any, key: str) -> Tile:
    """One of the two pictures of a pair."""
    return album.tile(key, f"{split}, {label}" if isinstance(label, str) else split, name=id)


def outliers(rows: pd.DataFrame, looks: Looks, album: Album) -> list[Any]:
    """Pictures that are dark, blurred, or of an odd shape."""
    odd = rows.iloc[odd_shapes(rows)[:MOST_OUTLIERS]]
    usual = float(np.median([sharp for *_, sharp in looks])) if looks else 0.0
    dark = sorted((bright, id) for id, bright, _ in looks if bright < DARK)[:MOST_OUTLIERS]
    blurred = sorted((sharp, id) for id, bright, sharp in looks if sharp < BLURRED * usual and bright >= DARK)
    shelves = {
        "odd shape": [album.tile(str(one.key), f"{one.width} × {one.height}") for one in odd.itertuples()],
        "dark": [album.tile(id, f"brightness {bright:.2f}") for bright, id in dark],
        "blurred": [
            album.tile(id, f"sharpness {sharp / usual:.0%} of the usual") for sharp, id in blurred[:MOST_OUTLIERS]
        ],
    }
    of = f", of {len(looks):,} pictures that were looked at" if looks else ""
    found = [(name, tiles) for name, tiles in shelves.items() if tiles]
    return [Shelf(f"Dark, blurred and oddly shaped pictures{of}", found)] if found else []


def odd_shapes(rows: pd.DataFrame) -> list[int]:
    """Places of the rows whose ratio of sides is ODD_SHAPE times the usual one or more, the furthest first."""
    ratio = np.log(rows["width"].to_numpy(float) / rows["height"].to_numpy(float))
    far = np.abs(ratio - np.median(ratio))
    return [k for k in np.argsort(-far, kind="stable").tolist() if far[k] >= np.log(ODD_SHAPE)]


def looks_of(rows: pd.DataFrame, album: Album) -> Looks:
    """(id, brightness, sharpness) of at most MOST_LOOKS rows, evenly spread."""
    chosen = np.unique(np.linspace(0, len(rows) - 1, min(MOST_LOOKS, len(rows))).astype(int))
    ids = rows["key"].iloc[chosen].tolist()
    return [(id, *look(pixels)) for id in ids if (pixels := album.pixels(id)) is not None]


def suspected(table: pd.DataFrame | str, album: Album, file: str, typed: Sequence[str]) -> Section:
    """Make the section of suspected labels.

    table: of `label_errors.suspects`, or why there is none. file: name of its CSV. typed: commands that train with it
    and compare, NEW standing for the new run; none where it is of no use.
    """
    title = "Labels to look at"
    if isinstance(table, str):
        return Section("labels", title, [Text(table)])
    if table.empty:
        return Section("labels", title, [Text("No label is contradicted by the out-of-fold predictions.")])
    words = (
        f"{len(table):,} labels are contradicted by predictions of networks that have seen neither the row nor its "
        "near-duplicates (confident learning, Northcutt et al. 2021), the most doubtful first. All are in "
        f"{file}: fill in its column decision with keep, change (to the suggested label, which you may edit) or "
        "drop."
    )
    steps = [Text("Then train with these decisions, and compare the new run with this one:")] if typed else []
    steps += [Text(words, is_code=True) for words in typed]
    shown = table.head(MOST_LISTED)
    cells = [tuple(map(str, row)) for row in shown[list(COLUMNS)].itertuples(index=False)]
    tiles = [
        album.tile(
            str(row.id),
            f"{str(row.given) or 'no tag'} → {str(row.suggested) or 'no tag'}",
            name=f"{row.rank}. {row.id}",
        )
        for row in shown.head(MOST_SUSPECTS).itertuples()
    ]
    seen = [tile for tile in tiles if tile.number is not None]
    pictures = [Shelf("The most doubtful: given → suggested", [("", seen)])] if seen else []
    header = ("rank", "id", "given", "suggested", "p (given)", "p (suggested)", "decision")
    return Section("labels", title, [Text(words), *steps, *pictures, Table(f"The first {len(shown):,}", header, cells)])
