"""Table of a competition of video or series: content, group and labels of each file.

Writes table.parquet (one row a clip, an annotated piece of one, or a long video), items.parquet (one row a file),
annotations.csv (long videos: what happens when, as it counts) and prepared.json, last. Where long videos are hidden,
the rest has tables of its own.
"""

import hashlib
import logging
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from kagglepipe.competitions import test_lists
from kagglepipe.competitions.annotations import Catalogue, answer_columns, list_items
from kagglepipe.competitions.dataset import content_key
from kagglepipe.competitions.duplicates import linked_rows
from kagglepipe.competitions.filenames import is_excluded
from kagglepipe.competitions.folds import mixed_groups
from kagglepipe.competitions.given_folds import with_given_folds
from kagglepipe.competitions.label_patch import patch_settings, patched
from kagglepipe.competitions.labels import check_classes, check_index_form
from kagglepipe.competitions.source import list_names
from kagglepipe.competitions.table import (
    bad_files,
    first_with_count,
    unreadable_rows,
    warn_of_other_settings,
    warn_of_unreadable,
)
from kagglepipe.competitions.targets import describe_targets, names_in
from kagglepipe.competitions.units import check_events, clip_labels, clip_rows
from kagglepipe.console import progress
from kagglepipe.errors import UserError
from kagglepipe.files import expanded, file_sha256, read_json, sha256, write_bytes, write_json, write_parquet
from kagglepipe.options import CompetitionOptions
from kagglepipe.parallel import parallel_map
from kagglepipe.sequences.series_table import read_series_bytes
from kagglepipe.text import first_three

if TYPE_CHECKING:
    from kagglepipe.sequences.series import Series

log = logging.getLogger(__name__)
MADE = ("table.parquet", "items.parquet", "annotations.csv", "prepared.json")
SETTINGS = ("kind", "layout", "test", "labels", "files", "columns", "background", "classes", "id", "form",
            "on_bad_image", "time_axis")  # fmt: skip
READING = 2  # raise it where files have to be looked at anew: tables of those that are read as before stay the same


def make_sequence_table(competition: CompetitionOptions, folder: Path, *, max_side: int, workers: int | None) -> None:
    """table.parquet, items.parquet, annotations.csv and prepared.json, unless they are there for these settings."""
    source = read_json(folder / "source.json")
    root = Path(source["path"]) if source["kind"] == "folder" else folder / "raw"
    settings = table_settings(competition, root, max_side)
    report_file, made = folder / "prepared.json", [folder / name for name in MADE]
    known = read_json(report_file) if all(file.exists() for file in made) else {}
    answers_for_all = not known.get("skipped") or "unreadable" in known  # which older versions did not
    if known.get("settings") == settings and answers_for_all:
        log.info("prepare: %s is here already", folder / "table.parquet")
        return
    warn_of_other_settings(folder, settings)
    files, ignored = list_names(root, skip_bad=competition.on_bad_image == "skip")
    names = [name for name in files if not is_excluded(name, competition.exclude)]
    catalogue = list_items(names, competition, root)
    check_classes(catalogue.classes)
    if (catalogue.files["split"] == "test").any() and competition.form == "index":
        check_index_form(catalogue.classes, are_given=bool(competition.classes), first=competition.first_index)
    items, bad = look_at_items(competition, catalogue.files, root, max_side=max_side, workers=workers)
    listed = catalogue.files.rename(columns={"video": "id"})
    spans = dict(zip(items["video"], zip(items["begins"], items["ends"], strict=True), strict=True))
    if competition.finds_events:
        catalogue = check_events(catalogue, spans)
    else:
        catalogue = clip_labels(catalogue, spans, finds_segments=competition.finds_segments)
    check_labels(catalogue, bad, competition)
    items = without_answers(items, catalogue.labels)
    files_with_groups, twins = join_copies(catalogue.files, items)
    catalogue = replace(catalogue, files=files_with_groups)
    if competition.finds_segments:
        table = video_rows(catalogue)
    else:
        table = patched(clip_rows(catalogue), catalogue.classes, competition)
    table = table.merge(items.drop(columns="path"), on="video")
    report_file.unlink(missing_ok=True)  # what is there stays where the new files or labels are refused above
    write_parquet(folder / "items.parquet", items.merge(catalogue.files[["video", "split", "group"]], on="video"))
    write_parquet(folder / "table.parquet", table)
    labels = pd.concat([catalogue.labels, *([catalogue.unannotated] if len(catalogue.unannotated) else [])])
    annotations = labels.to_csv(index=False, lineterminator="\n").encode()
    write_bytes(folder / "annotations.csv", annotations)
    report = {
        "settings": settings,
        "classes": catalogue.classes,
        "images_root": "raw" if source["kind"] != "folder" else str(root),
        "table_hash": sequences_hash(table, annotations),
        "ignored": ignored,
        "outside": catalogue.outside,
        "skipped": bad,
        "unreadable": unreadable_rows(listed, items["path"], bad),
        **({} if competition.task == "multiclass" else {"task": competition.task}),
        "repaired": {v: list(repairs) for v, repairs in zip(items["video"], items["repairs"], strict=True) if repairs},
    }
    write_json(report_file, report)
    log_table(competition, catalogue, table, items, report, twins)


def table_settings(competition: CompetitionOptions, root: Path, max_side: int) -> dict[str, Any]:
    """What the table depends on; prepared.json records it."""
    settings = {name: getattr(competition, name) for name in SETTINGS}
    settings |= test_lists.table_settings(competition, root) | patch_settings(competition)
    settings |= {"images_root": str(root), "max_side": max_side, "reading": READING}
    if competition.kind == "series" and (
        own := sorted(answer_columns(competition) - answer_columns(CompetitionOptions()))
    ):
        settings["answers"] = own
    if competition.task != "multiclass":
        settings |= {"task": competition.task, "label_separator": competition.label_separator}
    for name in ("exclude", "ignore_labels", "bounds"):
        if value := getattr(competition, name):
            settings[name] = value
    for name in ("labels", "files"):
        table = getattr(competition, name) and root / expanded(getattr(competition, name))
        settings[f"{name}_sha256"] = file_sha256(table) if table and table.is_file() else None
    return settings


def sequences_hash(table: pd.DataFrame, annotations: bytes) -> str:
    """Hash of what the items are and of what happens in those to train on."""
    reading = table["reading"] if "reading" in table else [""] * len(table)
    content = [content_key(*pair) for pair in zip(table["sha256"], reading, strict=True)]
    columns = (table[name].fillna("").astype(str) for name in ("id", "split", "target"))
    return sha256(annotations, *("\0".join(row) for row in zip(*columns, content, strict=True)))


def hide_annotations(table: pd.DataFrame, base: Path, folder: Path, noun: str) -> tuple[pd.DataFrame, str]:
    """(annotations of the test in `table`, hash of the rest); writes items.parquet and annotations.csv without them.

    base: folder of the whole competition.
    """
    split = table.set_index("video")["split"]
    items = pd.read_parquet(base / "items.parquet")
    items = items[items["video"].isin(split.index)]
    write_parquet(folder / "items.parquet", items.assign(split=items["video"].map(split)).reset_index(drop=True))
    labels = pd.read_csv(base / "annotations.csv", dtype=str, keep_default_na=False)
    is_hidden = labels["video"].map(split) == "test"
    hidden, left = labels[is_hidden], labels[~is_hidden]
    annotations = left.to_csv(index=False, lineterminator="\n").encode()
    write_bytes(folder / "annotations.csv", annotations)
    for part, words in ((hidden, "that are hidden"), (left, "to train on")):
        if lacking := sorted(set(labels["label"]) - set(part["label"])):
            log.warning("prepare: the %s %s have no %s", noun, words, " and no ".join(lacking))
    return hidden, sequences_hash(table, annotations)


# --- content of the files --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Item:
    """One file: its bytes' hash, when it begins and ends, its frames, its repairs.

    reading: how earlier versions read it otherwise, as of VideoFacts. channels: of a series their names, in
    order (see `Series.names`). axis: of its array, which is time. constants: of a .csv the number that each channel has
    throughout, NaN where it varies.
    """

    sha256: str
    bytes: int
    begins: float
    ends: float
    frames: int
    width: int
    height: int
    format: str
    repairs: tuple[str, ...]
    reading: str = ""
    channels: tuple[str, ...] = ()
    axis: int = 0
    constants: tuple[float, ...] = ()


def look_at_items(
    competition: CompetitionOptions, files: pd.DataFrame, root: Path, *, max_side: int, workers: int | None
) -> tuple[pd.DataFrame, list[str]]:
    """(a frame of video, path and the fields of Item for the usable files, reasons for those that are not)."""
    paths = [root / path for path in files["path"]]
    look: Callable[[Path], Item] = partial(look_at_video, max_side=max_side)
    if competition.kind == "series":
        axis = axis_of_time(competition, paths, workers)
        look = partial(look_at_series, competition=competition, axis=axis)
    elif competition.kind == "audio":
        look = look_at_sound

    def look_safely(path: str) -> Item | str:
        try:
            return look(root / path)
        except FileNotFoundError:  # a list of the test names it
            return f"{path}: no such file"
        except ValueError as error:  # VideoError and SeriesError
            return f"{path}: {error}"

    found = parallel_map(look_safely, files["path"].tolist(), workers=workers)
    names: list[dict[str, str]] = []
    items: list[Item] = []
    bad: list[str] = []
    shown = progress(found, "prepare", total=len(files), unit="file")
    for row, one in zip(files.itertuples(), shown, strict=True):
        if isinstance(one, str):
            bad.append(one)
        else:
            names.append({"video": str(row.video), "path": str(row.path)})
            items.append(one)
    if bad and competition.on_bad_image == "error":
        raise bad_files(bad)
    if not items:
        raise UserError(f"no file can be used: {first_with_count(bad)}; see competition.source")
    if competition.kind == "series":
        items = alike([name["path"] for name in names], items, set(files["path"][files["split"] == "test"]))
    return pd.DataFrame([{**name, **vars(item)} for name, item in zip(names, items, strict=True)]), bad


def look_at_video(path: Path, *, max_side: int) -> Item:
    """One video: its headers and packets read, its first frame decoded. Raises VideoError."""
    from kagglepipe.sequences.video_info import inspect

    facts = inspect(path, max_side=max_side)
    return Item(
        file_sha256(path), path.stat().st_size, 0.0, facts.seconds, facts.frames, facts.width, facts.height,
        facts.codec, facts.repairs, facts.reading,
    )  # fmt: skip


def look_at_sound(path: Path) -> Item:
    """One sound, decoded whole. Raises SeriesError."""
    from kagglepipe.sequences.sound import MELS, inspect_sound

    facts = inspect_sound(path)
    return Item(
        file_sha256(path), path.stat().st_size, 0.0, facts.seconds, facts.samples, MELS, 1, path.suffix[1:].lower(),
        facts.repairs,
    )  # fmt: skip


def axis_of_time(competition: CompetitionOptions, paths: list[Path], workers: int | None) -> int:
    """Find the axis of arrays that is time: `competition.time_axis`, or by the shapes of all arrays."""
    from kagglepipe.sequences.series_file import MIN_TIME_RATIO, SeriesError, array_shape, infer_time_axis

    if competition.time_axis is not None or competition.skeleton:
        return competition.time_axis or 0

    def shape(path: Path) -> tuple[tuple[int, ...], int | None] | None:
        try:
            return array_shape(path, values=competition.columns.get("values"), time=competition.columns.get("time"))
        except (SeriesError, FileNotFoundError):
            return None  # it is named when it is looked at

    arrays = [path for path in paths if path.suffix.lower() != ".csv"]
    shapes = [found for found in parallel_map(shape, arrays, workers=workers) if found is not None]
    axis = infer_time_axis(shapes)
    if axis:
        rows = (
            "as many rows as there are times"
            if shapes[0][1] is not None
            else f"{MIN_TIME_RATIO} times the others or more"
        )
        log.info("prepare: axis %d of the arrays is time, %s; else type competition.time_axis=0", axis, rows)
    elif any(times is None and max(found) > found[0] for found, times in shapes if len(found) == 2):
        log.info("prepare: the first axis of the arrays is taken for time; else type competition.time_axis=1")
    return axis


def look_at_series(path: Path, *, competition: CompetitionOptions, axis: int) -> Item:
    """One series, read whole. Raises SeriesError."""
    from kagglepipe.sequences.series import read_series
    from kagglepipe.sequences.series_file import SeriesError

    columns = competition.columns
    series = read_series(
        path, values=columns.get("values"), time=columns.get("time"), labels=answer_columns(competition), axis=axis
    )
    joints, skeleton = series.values.shape[1:], competition.skeleton
    if skeleton and (len(joints) != 2 or joints[1] != 3 or not set(skeleton.values()) <= set(range(joints[0]))):
        raise SeriesError(f"no skeleton {skeleton} is in it: its values are {joints}, needed is (joints, 3)")
    data = read_series_bytes(path)
    return Item(
        hashlib.sha256(data).hexdigest(), len(data), float(series.times[0]), float(series.times[-1]) + series.step,
        len(series.times), int(np.prod(joints)), 1, path.suffix[1:].lower(), series.repairs,
        f"axis {axis}" if axis and path.suffix.lower() != ".csv" else reading_of(series), series.names, axis,
        constants_of(series) if path.suffix.lower() == ".csv" else (),
    )  # fmt: skip


def reading_of(series: "Series") -> str:
    """Describe the part of a series that is read: without answers, or the channels that the user names; else empty."""
    from kagglepipe.sequences.series_file import is_label_column

    usual = answer_columns(CompetitionOptions())
    if all(is_label_column(name, usual) for name in series.labels):
        return "without answers" * bool(series.labels)
    return f"columns {', '.join(series.names)}"


def constants_of(series: "Series") -> tuple[float, ...]:
    """Find the number that each channel has throughout, NaN where it varies, or could not."""
    first = series.values[0]
    is_constant = (series.values == first).all(axis=0) & (len(series.values) > 1)
    found: list[float] = np.where(is_constant, first, np.nan).ravel().tolist()
    return tuple(found)


def without_answers(items: pd.DataFrame, labels: pd.DataFrame) -> pd.DataFrame:
    """Drop the `constants` of the items, and of CSVs the channels that number the classes: one whole number
    throughout each file, from which the class of every labelled file follows. `repairs` lists it.

    Raises UserError if nothing else is in them.
    """
    rows = items.to_dict("records")
    tables = [row for row in rows if row["format"] == "csv"]
    of_class = labels.groupby("video")["label"].unique().to_dict()
    pairs = [(row["constants"], of_class[row["video"]]) for row in tables if row["video"] in of_class]
    names = tables[0]["channels"] if tables else ()
    answers = [name for place, name in enumerate(names) if numbers_classes([(one[place], own) for one, own in pairs])]
    kept = tuple(name for name in names if name not in answers)
    if answers and not kept:
        raise UserError(f"all columns of the series number the classes ({', '.join(answers)}): add some to learn from")
    words = f"columns left out, since they number the classes: {', '.join(answers)}"
    for row in tables if answers else []:
        row |= {"channels": kept, "width": len(kept), "reading": f"columns {', '.join(kept)}"}
        row["repairs"] = (*row["repairs"], words)
    return pd.DataFrame(rows).drop(columns="constants")


def numbers_classes(files: Sequence[tuple[float, Sequence[str]]]) -> bool:
    """Whether a column numbers the classes; files: (its number throughout a file, the classes of that file) of each.

    >>> numbers_classes([(0, ["a"]), (1, ["b"]), (1, ["b"])]), numbers_classes([(0, ["a"]), (0.5, ["b"]), (0.5, ["b"])])
    (True, False)
    """
    pairs = {(number, *classes) for number, classes in files if len(classes) == 1}
    is_whole = all(number % 1 == 0 for number, _ in files) and all(len(classes) == 1 for _, classes in files)
    sizes = {len(pairs), *(len(set(side)) for side in zip(*pairs, strict=True))}
    return is_whole and len(sizes) == 1 and 1 < len(pairs) < len(files)


def alike(paths: list[str], items: list[Item], asked: Collection[str] = ()) -> list[Item]:
    """Reduce the series to the channels that most files of a type have, by name, and one to classify (`asked`) has.

    The order is that of the first such file. A column more is left out and listed in `repairs`.
    Raises UserError for a file that lacks a channel, or that has another number of them.
    """
    usual: dict[str, tuple[str, ...]] = {}
    for kind in {item.format for item in items}:
        names = [item.channels for item in items if item.format == kind]
        most = Counter(map(frozenset, names)).most_common(1)[0][0]
        tests = [one.channels for path, one in zip(paths, items, strict=True) if path in asked and one.format == kind]
        there = {name for own in tests for name in own} & most or most
        usual[kind] = tuple(name for name in next(one for one in names if frozenset(one) == most) if name in there)
    found = [as_usual(path, item, usual[item.format]) for path, item in zip(paths, items, strict=True)]
    width = Counter(item.width for item in found).most_common(1)[0][0]
    odd = [(path, item) for path, item in zip(paths, found, strict=True) if item.width != width]
    if odd:
        path, item = odd[0]
        varies = item.format != "csv" and item.axis == 0 and len({item.width for item in found}) > 2
        hint = "; where the second axis is time, type competition.time_axis=1" * varies
        raise UserError(
            f"{path} has {item.width} channels, most files have {width}; mend or remove it (there are {len(odd)}){hint}"
        )
    return found


def as_usual(path: str, item: Item, usual: tuple[str, ...]) -> Item:
    """Reduce a series to the channels `usual`. Raises UserError if it lacks one of them."""
    if item.channels == usual:
        return item
    if missing := [name for name in usual if name not in item.channels]:
        what, own = "column" if item.format == "csv" else "array", ", ".join(item.channels)
        raise UserError(
            f"{path} has no {what} {missing[0]}, which most files have, only {own}; rename it, or remove the file"
        )
    extra = [name for name in item.channels if name not in usual]
    left_out = [f"columns left out, since most files or all tests lack them: {', '.join(extra)}"] if extra else []
    reading = f"columns {', '.join(usual)}"
    return replace(item, channels=usual, width=len(usual), reading=reading, repairs=(*item.repairs, *left_out))


# --- the table -------------------------------------------------------------------------------------------------


def check_labels(catalogue: Catalogue, bad: list[str], competition: CompetitionOptions) -> None:
    """Raises UserError for a class, or a training set, that has no usable item; the background of segments needs no
    label.
    """
    numbers = catalogue.classes if competition.task == "regression" and len(catalogue.labels) else []
    labelled = {*numbers, *names_in(catalogue.labels["label"], competition.task)}
    unlabelled = competition.background if competition.finds_segments else None
    why = f": {bad[0]}" if bad else ""
    if not (catalogue.files["split"] == "train").any():
        raise UserError(f"no video to train on is usable{why}; label some")
    if empty := [name for name in catalogue.classes if name not in labelled and name != unlabelled]:
        raise UserError(f"class {empty[0]} has no usable label{why}; label some, or take it out of competition.classes")


def join_copies(files: pd.DataFrame, items: pd.DataFrame) -> tuple[pd.DataFrame, int]:
    """(the files with a group each, in which byte for byte copies are together; how many are copies)."""
    digest = files["video"].map(items.set_index("video")["sha256"])
    given = files["group"].where(files["group"].notna(), files["video"]).astype(str)
    numbers, names = pd.factorize(given)
    first = pd.Series(numbers, files.index).groupby(digest.fillna(files["video"])).transform("first")
    joined = pd.Series(names).groupby(linked_rows(len(names), numbers, first.to_numpy())).transform("min")
    return files.assign(group=joined.to_numpy()[numbers]), int(digest.duplicated().sum())


def video_rows(catalogue: Catalogue) -> pd.DataFrame:
    """One row a long video; its frames become rows when it is read, at the rate of the model."""
    rows = catalogue.files.assign(id=catalogue.files["video"], target=None, start=float("nan"), end=float("nan"))
    return with_given_folds(rows, ["id", "video", "path", "split", "target", "group"])


def log_table(
    competition: CompetitionOptions,
    catalogue: Catalogue,
    table: pd.DataFrame,
    items: pd.DataFrame,
    report: dict[str, Any],
    twins: int,
) -> None:
    """Log counts, copies, repairs and files that were left out."""
    unit, train = competition.unit, catalogue.files[catalogue.files["split"] == "train"]
    targets = catalogue.labels["label"] if competition.finds_segments else table["target"].dropna()
    counts = describe_targets(targets, competition.task)
    total = float((items["ends"] - items["begins"]).sum())
    log.info(
        "prepare: %d to train on, %d to classify, %.0f %s in all; labels: %s; %d groups in training",
        len(train), len(catalogue.files) - len(train), total, unit, counts, train["group"].nunique(),
    )  # fmt: skip
    if twins:
        log.info("prepare: %d files are copies of another, byte for byte; each is in its twin's group", twins)
    for note in catalogue.notes:
        log.warning("prepare: %s", note)
    if repaired := report["repaired"]:
        kinds = Counter(repair for repairs in repaired.values() for repair in repairs)
        some = "; ".join(f"{repair} ({n} files)" if n > 1 else repair for repair, n in kinds.most_common(3))
        log.warning("prepare: repaired while reading: %d files: %s", len(repaired), some)
    for what, reason in (("outside", why_outside(competition)), ("skipped", "that cannot be used")):
        if files := report[what]:
            log.warning("prepare: left out %d files %s: %s", len(files), reason, first_three(files, "; "))
    warn_of_unreadable(report["unreadable"], competition)
    if not competition.finds_segments and competition.task != "regression":
        rows = table[table["split"] == "train"]
        if mixed := mixed_groups(rows["target"].tolist(), rows["group"].tolist()):
            log.info("prepare: %d groups hold several classes, as they may: %s", len(mixed), first_three(mixed))


def why_outside(competition: CompetitionOptions) -> str:
    """Why files are left out, in words."""
    if competition.labels is None:
        return "outside the competition's layout"
    if competition.files is None:
        return f"without a label in {competition.labels}"
    return f"that {competition.files} does not list"
