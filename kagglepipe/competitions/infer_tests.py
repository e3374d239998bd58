"""What is to be classified, and by which ids."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from kagglepipe.competitions.filenames import in_test_folder, make_id, words_of
from kagglepipe.competitions.infer_labels import ANY_LABEL, Labels
from kagglepipe.competitions.infer_sources import (
    FIT_SHARE,
    UNLABELLED,
    Inference,
    Names,
    Sources,
    folders_of,
    series_key,
)
from kagglepipe.competitions.infer_tasks import Task, column_words
from kagglepipe.competitions.item_tables import pixel_columns, read_columns
from kagglepipe.competitions.source_tables import SourceTable
from kagglepipe.errors import UserError
from kagglepipe.text import first_three

FILE_IDS = ("name", "stem", "path")


def choose_sample(samples: Sequence[SourceTable], media: Sequence[str]) -> SourceTable | None:
    """The sample submission that names most items; of several alike the last stage's, as sample_submission_stage2."""
    if len(samples) < 2:
        return samples[0] if samples else None
    names = Names(media)
    ranked = sorted(samples, key=lambda table: (-table.path.count("/"), table.path))
    found = [(names.count(table), sum(letter.isdigit() for letter in table.name) > 0, table) for table in ranked]
    best = max(found, key=lambda one: (one[0], one[1]), default=None)
    return None if best is None else [one[2] for one in found if one[:2] == best[:2]][-1]


def set_tests(found: Inference, sources: Sources, labels: SourceTable | None) -> None:
    """Set `test` and `id`. Raises UserError where items are there to classify, and the sample asks for none of them."""
    if sources.items is not None:
        _set_table_tests(found, sources, sources.items)
        return
    ids = sources.ids
    if "answer_id" in found.fields.get("columns", {}) and sources.sample is not None:
        found.set("test", sources.sample.path, "lists the ids, each of several items")
        _set_shared_id(found, sources, sources.sample.columns[0], sources.sample)
        return
    test, why, chosen = _find_tests(sources, sources.names, labels)
    if test is not None:
        found.set("test", test, why)
    if sources.sample is None:
        found.set("id", "path", "there is no sample submission")
        return
    if not len(ids):
        return
    if test is None and not sources.names.share(ids) and "test" not in sources.given:
        found.notes.append(
            f"no item has an id of {sources.sample.path} ({first_three(ids)}), so no CSV will be written: "
            "competition.test=FOLDER names where the items to classify are"
        )
        for name in ("sample_submission", "id_column"):
            found.fields.pop(name, None)
        return
    _set_id(found, sources, chosen, labels)


def _find_tests(sources: Sources, names: Names, labels: SourceTable | None) -> tuple[str | None, str, list[str]]:
    """(the folder or table of the items to classify, why, these items)."""
    media, ids, sample = sources.media, sources.ids, sources.sample
    if (given := sources.given.get("test")) is not None:
        inside = [file for file in media if in_test_folder(file, given)]
        if not inside:
            _check_list(sources, given)
        return given, "as given", inside or list(media)
    counts = Counter(folder for file in media for folder in folders_of(file) if folder in sources.test_folders)
    inside_of = {folder: [file for file in media if file.startswith(f"{folder}/")] for folder in counts}
    fits = {folder: Names(files).share(ids) if len(ids) else 0.0 for folder, files in inside_of.items()}
    folders = sorted(counts, key=lambda folder: (-fits[folder], -counts[folder], len(folder), folder))
    if folders and (fits[folders[0]] > 0 or not len(ids) or names.share(ids) < FIT_SHARE):
        return folders[0], f"{counts[folders[0]]} files", inside_of[folders[0]]
    lists = [table for table in sources.tables if table.split == "test" and table is not labels and names.column(table)]
    if sample is not None and len(ids) and names.share(ids) >= FIT_SHARE:
        lists = [table for table in lists if ids.isin(set(table.rows[str(names.column(table))])).all()] or [sample]
    if not lists:
        outer = sorted({file.split("/")[0] for file in media if "/" in file})
        unlabelled = [folder for folder in outer if UNLABELLED & set(words_of(folder))]
        inside = [file for file in media if unlabelled and file.startswith(f"{unlabelled[0]}/")]
        return (unlabelled[0], f"{len(inside)} files", inside) if unlabelled else (None, "", list(media))
    cells = ids.unique() if lists[0] is sample else lists[0].rows[str(names.column(lists[0]))].unique()
    return lists[0].path, "lists the items to classify", [file for cell in cells for file in names.all(cell)]


def _check_list(sources: Sources, name: str) -> None:
    """Raises UserError unless `competition.test` names a file, as it is no folder with items."""
    if not Path(name).is_absolute() and not any(f"/{file}".endswith(f"/{name}") for file in sources.files):
        folders = sorted({folder for file in sources.media for folder in folders_of(file)})
        raise UserError(
            f"competition.test={name}: no folder with items or list of that name is in the source; its folders are "
            f"{first_three(folders) or 'none'}"
        )


def _set_id(found: Inference, sources: Sources, chosen: Sequence[str], labels: SourceTable | None) -> None:
    """Set `id` so that the items have the ids of the sample submission: a part of their path, or in a column."""
    sample, ids = sources.sample, sources.ids
    assert sample is not None
    forms = {form: float(ids.isin({make_id(file, form) for file in chosen}).mean()) for form in FILE_IDS}
    best = max(forms, key=lambda form: forms[form])
    if forms[best] >= FIT_SHARE:
        if labels is None and _repeat(best, sorted(set(sources.media) - set(chosen))):
            found.set("id", "path", f"a {best} is that of several items to train on")
        elif sources.kind != "image" and _repeat(best, sources.media):
            found.set("id", "path", f"a {best} is that of an item to train on and of one to classify")
        else:
            found.set("id", best, "as in the sample submission")
        return
    names = Names(chosen)
    for table in [table for table in sources.tables if table is not labels and not table.is_sample] + [sample]:
        item = names.column(table)
        column = item and next(
            (name for name in table.columns if ids.isin(set(table.rows[name])).mean() >= FIT_SHARE), None
        )
        if item and column:
            if not table.cells(item).is_unique and table.cells(column).is_unique:
                raise UserError(
                    f"{table.path} has several rows of an item, with an id in {column} each ({first_three(ids)}), and "
                    "one is answered: competition.sample_submission=null trains on '+competition.columns={label: NAME}'"
                )
            found.set("test", table.path, "lists the items to classify, with their ids")
            _set_id_column(found, sources, [table, *([labels] if labels else [])], column)
            return
    if "id" in sources.given:
        return
    if forms[best] > 0:
        found.set("id", best, f"{forms[best]:.0%} of the ids of the sample submission are those of items")
        return
    column = sample.columns[0]
    raise UserError(
        f"column {column} of {sample.path} asks for {first_three(ids)}, and the items to classify are "
        f"{first_three(chosen) or 'not there'}: name their folder or list as competition.test=PATH, a column with "
        "their ids as '+competition.columns={id: NAME}', or type competition.sample_submission=null"
    )


def _set_id_column(found: Inference, sources: Sources, tables: Sequence[SourceTable], column: str) -> None:
    """Set the column that has the ids of the sample submission: of one item each, or of several.

    tables: the list of the test items and, if there are any, the labels, which may have the column, too.
    """
    columns, table = found.fields.get("columns", {}), tables[0]
    repeats = any(column in one.columns and not one.cells(column).is_unique for one in tables)
    ours = "answer_id" if repeats and sources.kind == "image" else "id"
    found.set("columns", {**columns, ours: column}, found.reasons.get("columns", "the ids"))
    if ours == "id":
        found.set("id", "column", f"{column} of {table.path} has the ids of the sample submission")
        return
    _set_shared_id(found, sources, column, table)


def _set_shared_id(found: Inference, sources: Sources, column: str, table: SourceTable) -> None:
    """Set `id` of items of which several have one answer, and say so."""
    found.set("id", "path" if _repeat("stem", sources.media) else "stem", "of each file")
    found.notes.append(
        f"several items have one {column}, which {table.path} names: its answer is the mean of their predictions, and "
        "scores out of fold are of single items"
    )


def note_answers(found: Inference, sources: Sources, task: Task, labels: Labels | None) -> None:
    """Say which table has the classes of the items to classify, by which a run is scored."""
    if task.name not in ("multiclass", "ordinal") or "answers" in sources.given or (labels and len(labels.columns) > 1):
        return
    for table in [one for one in sources.tables if one.split == "test" and not one.is_sample]:
        item = sources.names.column(table)
        called = [labels.columns[0]] if labels else [name for name in table.columns if ANY_LABEL & column_words(name)]
        label = next((name for one in called if (name := table.find(one)) and name != item), None)
        values = set(table.cells(label)) if label else set()
        if item is None or len(values) < 2 or values - {*task.names}:
            continue
        is_known = labels is not None and (labels.item, labels.columns[0]) == (item, label)
        more = "" if is_known else f" '+competition.columns={{item: {item}, label: {label}}}'"
        found.notes.append(
            f"{table.path} has the {label} of items to classify: competition.answers={table.path}{more} scores by it"
        )


def _repeat(form: str, files: Sequence[str]) -> bool:
    """Whether an id of `competition.id` is that of several files."""
    return len({make_id(file, form) for file in files}) < len(files)


def _set_table_tests(found: Inference, sources: Sources, items: SourceTable) -> None:
    """Set `test` and `id` of items in tables."""
    shared, ids = set(items.columns), sources.ids
    tests = [
        table for table in sources.tables if table.split == "test" and not table.is_sample and _are_like(table, shared)
    ]
    if tests:
        found.set("test", tests[0].path, "has the columns of the items to train on")
    if not sources.holds_pixels:
        key = series_key(items, [items, *sources.tables])
        names = [set(read_columns(sources.root / one.path, [key])[key]) for one in (items, *tests[:1]) if key]
        if len(names) > 1 and not names[0] & names[1]:
            found.set("id", "stem", f"the {key} of each series")
        else:
            found.set("id", "path", "series by name")
        return
    if tests and len(ids):
        pixels = set(pixel_columns(tests[0].columns))
        counted = [str(number) for number in range(1, len(ids) + 1)]
        for column in [name for name in tests[0].columns if name not in pixels]:
            cells: pd.Series[str] = tests[0].rows[column]
            if ids.head(len(cells)).isin(set(cells)).all() and ids.tolist() != counted:
                found.set("id", "column", f"{column} of {tests[0].path} has the ids of the sample submission")
                columns = found.fields.get("columns", {})
                found.set("columns", {**columns, "id": column}, found.reasons.get("columns", "the ids"))
                return
    found.set("id", "stem", "the number of the row, from 1")


def _are_like(table: SourceTable, columns: set[str]) -> bool:
    """Whether a table has two of the columns of the items to train on, or their pixels."""
    pixels = pixel_columns(table.columns)
    return len(columns & set(table.columns)) > 1 or (bool(pixels) and set(pixels) <= columns)
