"""Fields of a competition, inferred from the files that lie in its source.

What is uncertain is chosen, and said; what no answer could be given for is refused. The fields are those that a YAML
file of conf/competition would have.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import pandas as pd

from kagglepipe.competitions.filenames import SUFFIXES, label_regex, make_id, split_of, words_of
from kagglepipe.competitions.item_tables import pixel_columns
from kagglepipe.competitions.labels import sort_classes
from kagglepipe.competitions.layout import is_document
from kagglepipe.competitions.source_tables import SourceTable, read_source_tables
from kagglepipe.errors import UserError
from kagglepipe.text import first_three

SOUNDS = (".wav", ".flac", ".ogg", ".mp3", ".m4a", ".aac", ".opus")
KINDS = {"image": SUFFIXES["image"], "video": SUFFIXES["video"], "audio": SOUNDS, "series": (".npz", ".npy", ".csv")}
ITEM_SHARE = 0.9  # of the cells of a column of items name a file
MAX_GROUPED = 0.9  # groups a row: more are no groups
LABEL_NAMES = ("label", "labels", "target", "class", "class_name", "classname", "category", "species", "diagnosis",
               "breed", "type", "y", "tag", "tags")  # fmt: skip
GROUP_WORDS = {"patient", "subject", "driver", "person", "speaker", "user", "group", "scene", "original",
               "source", "participant", "individual", "session", "player", "rider", "owner", "animal", "match",
               "game"}  # fmt: skip
POSITIVE = {"1", "true", "yes", "positive", "pos", "fake", "malignant", "abnormal", "cancer", "tumor", "tumour", "sick",
            "disease", "defect", "defective", "bad", "fraud", "attack", "spam", "fight", "violence"}  # fmt: skip


@dataclass
class Inference:
    """fields: of CompetitionOptions, name -> value. reasons: field -> why. notes: what is uncertain, for the log."""

    fields: dict[str, Any] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def set(self, name: str, value: Any, why: str) -> None:
        """Set a field with its reason."""
        self.fields[name], self.reasons[name] = value, why


@dataclass(frozen=True)
class Sources:
    """Files (relative posix paths), tables and sample submission of a source, and the fields that are given."""

    root: Path
    files: Sequence[str]
    tables: Sequence[SourceTable]
    sample: SourceTable | None
    given: Mapping[str, Any]

    def media(self, kind: str) -> list[str]:
        """The files of a kind."""
        tables = {table.path for table in self.tables}
        return [file for file in self.files if file.lower().endswith(KINDS[kind]) and file not in tables]


def infer(root: Path, files: Sequence[str], given: Mapping[str, Any]) -> Inference:
    """Infer the fields of the competition whose files (relative posix paths, sorted) lie in `root`.

    given: fields that the user has typed, which count.
    Raises UserError where no answer could be given: nothing to classify with, labels that are numbers or tags.
    """
    tables = read_source_tables(root, files)
    samples = [table for table in tables if table.is_sample]
    sources = Sources(root, files, tables, samples[0] if samples else None, given)
    found = Inference()
    kind = given.get("kind") or _kind(sources)
    items = _item_table(sources) if not sources.media(kind) else None
    names = Names([] if items else sources.media(kind))
    labels = _label_table(sources, names, items)
    found.set("kind", "series" if items and not pixel_columns(items.columns) else kind, _why_kind(sources, kind, items))
    if sources.sample is not None:
        found.set("sample_submission", sources.sample.path, "named as one")
        found.set("id_column", sources.sample.columns[0], "its first column")
    if labels is not None:
        values = _from_table(found, sources, labels, names, items)
    else:
        values = _from_names(found, sources, sources.media(kind))
    _tests(found, sources, sources.media(kind), names, items)
    _metadata(found, sources, names, labels)
    _answers(found, sources, values)
    found.fields = {name: value for name, value in found.fields.items() if name not in given or name == "columns"}
    return found


class Names:
    """Names of items as people write them: paths, file names and stems, in any case."""

    def __init__(self, files: Iterable[str]) -> None:
        paths = [PurePosixPath(file) for file in files]
        self.known = {name.casefold() for path in paths for name in (path.as_posix(), path.name, path.stem)}

    def share(self, cells: "pd.Series[str]") -> float:
        """Share of the cells that name an item, in [0, 1]."""
        return float(cells.str.strip().str.casefold().isin(self.known).mean())

    def column(self, table: SourceTable) -> str | None:
        """The column of a table that names the items; None if no column does."""
        shares = {name: (self.share(table.rows[name]), table.rows[name].nunique()) for name in table.columns}
        found = [name for name, (share, count) in shares.items() if share >= ITEM_SHARE and count > 1]
        return max(found, key=lambda name: shares[name], default=None)


# --- which file is what -------------------------------------------------------------------------------------------


def _kind(sources: Sources) -> str:
    """The kind of most media, images before the others; of a source with tables alone, that of its item table."""
    counts = {kind: len(sources.media(kind)) for kind in KINDS}
    return max(counts, key=lambda kind: counts[kind]) if any(counts.values()) else "image"


def _why_kind(sources: Sources, kind: str, items: SourceTable | None) -> str:
    if items is not None:
        return f"{items.path} holds the items: " + (
            "a column a pixel" if pixel_columns(items.columns) else "all series"
        )
    return f"{len(sources.media(kind))} of the {len(sources.files)} files"


def _item_table(sources: Sources) -> SourceTable | None:
    """The table that holds the training items, where no media lie in the source.

    Raises UserError if there is none.
    """
    tables = [table for table in sources.tables if not table.is_sample and table.split != "test"]
    tables.sort(key=lambda table: table.split != "train")
    pixels = [table for table in tables if pixel_columns(table.columns)]
    long = [table for table in tables if _series_key(table, tables)]
    if not pixels + long:
        some = first_three(sources.files) or "nothing"
        raise UserError(
            f"no images, videos, sounds or series are in {sources.root} ({some}): give the folder or zip that has "
            "them, as competition.source=PATH"
        )
    return (pixels + long)[0]


def _series_key(table: SourceTable, tables: Sequence[SourceTable]) -> str | None:
    """The column of a table of series that repeats there, and is unique in another table, which labels them."""
    others = [other for other in tables if other is not table]
    for name in table.columns:
        values = table.rows[name]
        if len(values) >= 2 * values.nunique() and values.nunique() > 1:
            keys = [other.rows[name] for other in others if name in other.columns and other.rows[name].is_unique]
            if any(values.isin(set(key)).all() for key in keys):
                return name
    return None


def _label_table(sources: Sources, names: Names, items: SourceTable | None) -> SourceTable | None:
    """The table that labels the items; None where their folders or names do."""
    if (path := sources.given.get("labels")) is not None:
        return next((table for table in sources.tables if table.path == path), None)
    if items is not None and pixel_columns(items.columns):
        return items
    tables = [table for table in sources.tables if not table.is_sample and table is not items]
    found = []
    for table in tables:
        item = _series_key(items, [items, table]) if items else names.column(table)
        if item is not None and _label_columns(sources, table, item):
            likely = table.split == "train" or "label" in table.name
            found.append((table.split == "test", not likely, -len(table.rows), table.path, table))
    return min(found, key=lambda one: one[:4])[-1] if found else None


def _label_columns(sources: Sources, table: SourceTable, item: str | None) -> tuple[list[str], str]:
    """(the columns of the labels, why): several are one-hot; none where no column can be one."""
    targets = sources.sample.columns[1:] if sources.sample else []
    columns = sources.given.get("columns") or {}
    if given := columns.get("label") or columns.get("labels"):
        return ([given] if isinstance(given, str) else list(given)), "as given"
    own = [found for target in targets if (found := table.find(target)) and found != item]
    if own and len(own) == len(targets):
        return own, "called as in the sample submission"
    others = [name for name in table.columns if name != item and not pixel_columns([name])]
    wanted = {target.casefold() for target in targets}
    for name in others:
        if len(wanted) > 1 and {value.casefold() for value in table.rows[name]} <= wanted | {""}:
            return [name], "its values are the columns of the sample submission"
    if named := table.find(*LABEL_NAMES):
        return [named], "by its name"
    rows = len(table.rows)
    likely = [name for name in others if 2 <= table.rows[name].nunique() <= max(2, rows // 2) and not _is_group(name)]
    likely = [name for name in likely if split_of(name) is None and name.lower() not in ("split", "fold", "set")]
    if not likely or (targets and len(likely) > 1):
        return [], ""
    return [likely[-1]], "the last column that can be one" if len(likely) > 1 else "the one column that can be one"


def _is_group(name: str) -> bool:
    """Whether a column is named for what its items come from.

    >>> _is_group("patient_id"), _is_group("PatientID"), _is_group("sex")
    (True, True, False)
    """
    return bool(GROUP_WORDS & set(words_of(name)))


# --- labels -------------------------------------------------------------------------------------------------------


def _from_table(
    found: Inference, sources: Sources, labels: SourceTable, names: Names, items: SourceTable | None
) -> "pd.Series[str]":
    """Set the fields of a table of labels; returns the label of each of its rows."""
    has_pixels = items is not None and bool(pixel_columns(items.columns))
    item = None if has_pixels else _series_key(items, [items, labels]) if items else names.column(labels)
    columns, why = _label_columns(sources, labels, item)
    if not columns:
        raise UserError(
            f"no column of {labels.path} ({', '.join(labels.columns[:8])}) is called as the labels are: type "
            "'+competition.columns={label: NAME}'"
        )
    if items is not None:
        found.set("items", items.path, "holds the items to train on")
    found.set("labels", labels.path, "labels the items" if len(labels.rows) else "")
    ours: dict[str, Any] = {} if item is None else {"item": item}
    ours |= {"labels": columns} if len(columns) > 1 else {"label": columns[0]}
    if len(columns) == 1 and why.startswith("the last"):
        found.notes.append(f"{columns[0]} of {labels.path} was taken for the labels: {_override('label')}")
    if (split := labels.find("split", "set", "subset")) and all(split_of(cell) for cell in set(labels.rows[split])):
        ours["split"] = split
    if group := _group_column(labels, item, columns):
        ours["group"] = group
        found.notes.append(f"rows with the same {group} stay in one fold, since it may be what they come from")
    if (time := labels.find("start", "begin", "onset")) and (end := labels.find("end", "stop", "offset")):
        ours |= {"start": time, "end": end}
    found.set("columns", ours, f"the labels are {', '.join(columns[:4])}: {why}")
    if len(columns) > 1:
        return _one_hot(labels, columns)
    _check_labels(labels, columns[0], sources)
    return labels.rows[columns[0]]


def _override(column: str) -> str:
    return f"'+competition.columns={{{column}: NAME}}' names another"


def _one_hot(labels: SourceTable, columns: list[str]) -> "pd.Series[str]":
    """The class of each row of one-hot columns. Raises UserError unless each row has exactly one 1."""
    cells = labels.rows[columns].apply(pd.to_numeric, errors="coerce")
    wrong = (cells.sum(axis=1) != 1) | ~cells.isin([0, 1]).all(axis=1)
    if wrong.any():
        row = labels.rows.loc[wrong.idxmax(), columns].tolist()
        raise UserError(
            f"{labels.path} has {', '.join(row[:8])} in {', '.join(columns[:4])}, … : a row without exactly one 1 has "
            "several labels or none, which competition.task=multiclass does not allow"
        )
    return cells.idxmax(axis=1)


def _check_labels(labels: SourceTable, column: str, sources: Sources) -> None:
    """Raises UserError for labels that are measurements or tags."""
    values = labels.rows[column]
    values = values[values != ""]
    distinct, numbers = values.unique(), pd.to_numeric(values, errors="coerce")
    sample = pd.Series(dtype=float)
    if sources.sample is not None and len(sources.sample.columns) == 2:
        sample = pd.to_numeric(sources.sample.rows.iloc[:, 1], errors="coerce")
    fractions = numbers[numbers % 1 != 0]
    is_number = numbers.notna().all() and (
        len(fractions)
        or ((sample % 1 != 0) & (sample > 1)).any()
        or (len(distinct) > 20 and len(values) < 5 * len(distinct))
    )
    what = f"column {column} of {labels.path} has {first_three(distinct)}"
    other = _override("label")
    if is_number:
        raise UserError(f"{what}, which are measurements: competition.task=regression is not supported yet; {other}")
    several = [value.split() for value in distinct if " " in value]
    counts = Counter(word for value in distinct for word in set(value.split()))
    alone = set(distinct)
    if (
        several
        and all(counts[word] > 1 for value in several for word in value)
        and alone & {word for words in several for word in words}
    ):
        raise UserError(f"{what}, which are tags: competition.task=multilabel is not supported yet; {other}")


def _group_column(table: SourceTable, item: str | None, labels: Sequence[str]) -> str | None:
    """The column that names what the rows come from: called so, with values that repeat."""
    for name in table.columns:
        values = table.rows[name]
        if name not in (item, *labels) and _is_group(name) and 1 < values.nunique() <= MAX_GROUPED * len(values):
            return name
    return None


def _from_names(found: Inference, sources: Sources, media: Sequence[str]) -> "pd.Series[str]":
    """Labels by file names or by folders; returns the label of each training file. Sets `label_from`, if it is that."""
    train = [file for file in media if not any(split_of(part) == "test" for part in file.split("/")[:-1])]
    if len({PurePosixPath(file).parent for file in train}) == 1 and (pattern := _name_pattern(train)):
        regex = label_regex(pattern)
        labels = [match["label"] for file in train if (match := regex.fullmatch(PurePosixPath(file).name))]
        found.set("label_from", pattern, f"as {PurePosixPath(train[0]).name}")
        return pd.Series(labels, dtype=str)
    from kagglepipe.competitions.layout import FolderIndex, guess_layout
    from kagglepipe.options import CompetitionOptions

    options = CompetitionOptions(kind=found.fields["kind"])
    items = [file for file in media if not is_document(file)]
    layout = guess_layout(sources.files, items, options, sources.root)
    index = FolderIndex(layout, items)
    return pd.Series([name for file in items if (name := index.find(file)[1]) is not None], dtype=str)


def _name_pattern(files: Sequence[str]) -> str | None:
    """The pattern of names such as `cat.0.jpg` or `0001_cat.jpg`, if all have it and it gives two labels or more."""
    names = [PurePosixPath(file) for file in files]
    suffixes = {path.suffix for path in names}
    suffix = suffixes.pop() if len(suffixes) == 1 else ".{any}"
    for regex, form in (
        (r"(?P<label>\D*[^\W\d_])(?P<gap>[\W_]*)\d+", "{{label}}{gap}{{number}}"),
        (r"\d+(?P<gap>[\W_]+)(?P<label>[^\W\d_]\D*)", "{{number}}{gap}{{label}}"),
    ):
        matches = [re.fullmatch(regex, path.stem) for path in names]
        found = [match for match in matches if match is not None]
        labels = Counter(match["label"] for match in found)
        if (
            len(found) == len(names)
            and len({match["gap"] for match in found}) == 1
            and 2 <= len(labels) <= len(names) // 2
        ):
            return form.format(gap=found[0]["gap"]) + suffix
    return None


# --- what is to be classified -------------------------------------------------------------------------------------


def _tests(found: Inference, sources: Sources, media: Sequence[str], names: Names, items: SourceTable | None) -> None:
    """Set `test` and `id`."""
    sample = sources.sample
    ids = sample.rows.iloc[:, 0] if sample is not None else pd.Series(dtype=str)
    if items is not None:
        shared = set(items.columns)
        tests = [table for table in sources.tables if table.split == "test" and len(shared & set(table.columns)) > 1]
        if tests:
            found.set("test", tests[0].path, "has the columns of the items to train on")
        is_image = bool(pixel_columns(items.columns))
        found.set("id", "stem" if is_image else "path", "the number of the row" if is_image else "series by name")
        return
    folders = Counter(
        folder for file in media for folder in _folders(file) if split_of(PurePosixPath(folder).name) == "test"
    )
    inside = {folder: [file for file in media if file.startswith(f"{folder}/")] for folder in folders}
    asked = {folder: Names(files).share(ids) if len(ids) else 0.0 for folder, files in inside.items()}
    by_fit = sorted(folders, key=lambda folder: (-asked[folder], -folders[folder], len(folder)))
    listed = [table for table in sources.tables if table.split == "test" and names.column(table)]
    if by_fit:
        found.set("test", by_fit[0], f"{folders[by_fit[0]]} files")
        chosen = inside[by_fit[0]]
    elif listed or (sample is not None and names.share(ids) >= ITEM_SHARE):
        table = listed[0] if listed else sample
        assert table is not None
        column = names.column(table)
        found.set("test", table.path, "lists the items to classify")
        chosen = [file for file in media if Names([file]).share(table.rows[str(column)].drop_duplicates()) > 0] if len(
            media) < 5000 else list(media)  # fmt: skip
    else:
        chosen = list(media)
        if sample is not None:
            found.notes.append(f"no items of {sample.path} were found: competition.test=FOLDER names where they are")
    forms = {
        form: float(ids.isin({make_id(file, form) for file in chosen}).mean()) for form in ("name", "stem", "path")
    }
    best = max(forms, key=lambda form: forms[form])
    if len(ids) and forms[best] >= ITEM_SHARE:
        found.set("id", best, "as in the sample submission")
    elif not len(ids):
        found.set("id", "path", "there is no sample submission")


def _folders(file: str) -> list[str]:
    """The folders around a file, the outermost first."""
    parts = file.split("/")[:-1]
    return ["/".join(parts[: n + 1]) for n in range(len(parts))]


def _metadata(found: Inference, sources: Sources, names: Names, labels: SourceTable | None) -> None:
    """Set `metadata` for groups in a second table, if the labels have none."""
    columns = found.fields.get("columns", {})
    if "group" in columns:
        return
    for table in sources.tables:
        if table is labels or table.is_sample or table.split == "test":
            continue
        item = names.column(table)
        if item and (group := _group_column(table, item, [])):
            found.set("metadata", table.path, f"has {group} for the items")
            own = columns or {"item": item}
            found.set("columns", {**own, "group": group}, found.reasons.get("columns", f"the groups are {group}"))
            if own.get("item") != item:
                found.set("metadata_key", item, "names the items there")
            found.notes.append(f"rows with the same {group} stay in one fold, since it may be what they come from")
            return


# --- what is asked for --------------------------------------------------------------------------------------------


def _answers(found: Inference, sources: Sources, values: "pd.Series[str]") -> None:
    """Set `form`, `classes`, `target_column` and `metric`."""
    names = sort_classes({value for value in values if value})
    sample = sources.sample
    columns = found.fields.get("columns", {})
    if sample is None:
        found.set("form", "name", "there is no sample submission")
        found.set("metric", "accuracy", "of answers by name")
        return
    targets = sample.columns[1:]
    if len(targets) > 1:
        spelt = {name.casefold(): name for name in names}
        classes = [spelt.get(target.casefold(), target) for target in targets]
        found.set("form", "probabilities", "the sample submission has a column for each class")
        found.set("classes", classes, "the columns of the sample submission")
        metric = "roc_auc" if "labels" in columns else "log_loss"
        found.set("metric", metric, "of probabilities" + (" by one-hot labels" if metric == "roc_auc" else ""))
        return
    found.set("target_column", targets[0], "the second column of the sample submission")
    cells = sample.rows[targets[0]]
    numbers = pd.to_numeric(cells, errors="coerce")
    is_half = bool(((numbers > 0) & (numbers < 1)).any())
    is_binary = len(names) == 2 and set(names) == {"0", "1"} and numbers.isin([0, 1]).all()
    if len(names) == 2 and (is_half or is_binary):
        negative, positive = _negative_positive(names, targets[0])
        found.set(
            "form", "probability", "the sample submission holds probabilities" if is_half else "two classes, 0 and 1"
        )
        found.set("classes", [negative, positive], f"the probability of {positive}")
        found.set("metric", "log_loss" if is_half else "roc_auc", "of probabilities")
        if not is_half:
            found.notes.append(f"probabilities of {positive} will be submitted: competition.form=name writes 0 or 1")
    elif set(cells) <= set(names) or not numbers.isin(range(len(names))).all():
        found.set("form", "name", "the sample submission holds names of classes")
        found.set("metric", "accuracy", "of answers by name")
    else:
        found.set("form", "index", "the sample submission holds numbers, the labels are names")
        found.set("classes", names, "sorted")
        found.set("metric", "accuracy", "of answers by number")
        order = ", ".join(f"{n} is {name}" for n, name in enumerate(names[:3]))
        found.notes.append(
            f"the classes were numbered in their order as text ({order}): competition.classes=[…] changes it"
        )


def _negative_positive(names: Sequence[str], column: str) -> tuple[str, str]:
    """Two classes, the one whose probability is asked for last."""
    from kagglepipe.competitions.labels import positive_class

    hint = positive_class(names, column)
    words = [number for number, name in enumerate(names) if name.casefold() in POSITIVE]
    positive = hint if hint is not None else words[0] if len(words) == 1 else 1
    return names[1 - positive], names[positive]
