"""Fields of a competition, inferred from the files that lie in its source.

What is uncertain is chosen, and said; what no answer could be given for is refused. The fields are those that a YAML
file of conf/competition would have. infer_sources.py says what lies there, infer_copies.py what is no item,
infer_labels.py, infer_tasks.py and infer_groups.py what the labels and groups are, infer_tests.py what is to be
classified, infer_answers.py what is asked.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from kagglepipe.competitions.filenames import SPLIT_WORDS, is_excluded, stem_of, without_dicom_copies, words_of
from kagglepipe.competitions.folder_names import are_parts
from kagglepipe.competitions.infer_answers import set_answers
from kagglepipe.competitions.infer_copies import find_copies, find_strays
from kagglepipe.competitions.infer_groups import is_group, set_metadata, set_named_groups
from kagglepipe.competitions.infer_labels import (
    GIVEN,
    GUESSED,
    Labels,
    find_labels,
    folder_labels,
    lists_classes,
    note_other_labels,
    set_named_labels,
    set_table_labels,
)
from kagglepipe.competitions.infer_refusals import no_items, packed_arrays, unnamed_items
from kagglepipe.competitions.infer_sources import (
    NAMED_SHARE,
    UNLABELLED,
    ArrayFile,
    Inference,
    Sources,
    find_array,
    find_items,
    find_kind,
    find_named,
    without_illustrations,
)
from kagglepipe.competitions.infer_tags import with_pairs_by_item
from kagglepipe.competitions.infer_tasks import Task, check_answers, column_words, find_named_task
from kagglepipe.competitions.infer_tests import choose_sample, note_answers, set_tests
from kagglepipe.competitions.infer_times import find_timed, set_timed, set_times, without_row_numbers
from kagglepipe.competitions.item_tables import read_columns
from kagglepipe.competitions.labels import sort_classes
from kagglepipe.competitions.mirrored import mirrored_classes
from kagglepipe.competitions.packed_folder import check_unpacked
from kagglepipe.competitions.source_tables import read_source_table, read_source_tables
from kagglepipe.competitions.spreadsheet import check_header
from kagglepipe.errors import UserError
from kagglepipe.text import first_three

if TYPE_CHECKING:
    import pandas as pd

TEXT_WORDS = {"label", "labels", "class", "classes", "split", *SPLIT_WORDS}  # of the name of a text
__all__ = ["Inference", "infer"]


def infer(root: Path, files: Sequence[str], given: Mapping[str, Any]) -> Inference:
    """Infer the fields of the competition whose files (relative posix paths, sorted) lie in `root`.

    given: fields that the user has typed, which count.
    Raises UserError where no answer could be given: nothing to classify with, labels of two kinds, boxes.
    """
    found = Inference()
    sources = _sources(root, files, given)
    timed = find_timed(sources)
    labels, notes = _labels(sources) if timed is None else (None, [])
    without = _without_copies(found, sources, labels)
    if without is not sources:
        sources, (labels, notes) = without, _labels(without) if timed is None else (None, [])
    found.notes += notes
    if timed is not None or labels is not None:
        _check_headers(sources)
    names = sources.names
    _set_sources(found, sources)
    if timed is not None:
        task = set_timed(found, sources, timed)
    elif labels is not None:
        task = set_table_labels(found, sources, labels)
        if sources.holds_pixels:  # of which only the first rows were read: the others may have other classes
            cells = read_columns(root / labels.table.path, labels.columns)[labels.columns[0]].str.strip()
            task = replace(task, labels=cells, names=sort_classes(set(cells) - {""}))
        note_other_labels(found, sources, names, labels)
    else:
        check_answers(sources, classes={PurePosixPath(file).parent.name for file in sources.media})
        task = find_named_task(sources, _named_labels(found, sources))
    _set_task(found, task)
    table = timed.table if timed else labels.table if labels else None
    set_tests(found, sources, table)
    set_metadata(found, sources, names, table)
    note_texts(found, sources)
    note_answers(found, sources, task, labels)
    if timed is None and sources.media:
        set_named_groups(found, sources, task, labels.item if labels else None, table)
    if timed is None:
        set_answers(found, sources, task)
    if sources.sample is not None and sources.sample.value_column:
        found.set("form", "pairs", f"{sources.sample.path} has a row for each item and tag")
        found.set("target_column", sources.sample.value_column, "its second column")
        found.set("task", "multilabel", "several rows of an item, a tag each")
    if found.fields["kind"] == "series":
        set_times(found, sources)
    if sources.array and "kind" not in given:
        note_array(found, sources.array)
    if "columns" in found.fields:
        found.fields["columns"] |= dict(given.get("columns") or {})
    found.fields = {name: value for name, value in found.fields.items() if name not in given or name == "columns"}
    return found


def _sources(root: Path, files: Sequence[str], given: Mapping[str, Any]) -> Sources:
    """What lies there. Raises UserError for a table that is given and not there, and where there are no items."""
    exclude = given.get("exclude") or ()
    tables = read_source_tables(root, [file for file in files if not is_excluded(file, exclude)])
    outside = [given[option] for option in ("labels", "metadata") if given.get(option)]
    tables += [table for name in outside if Path(name).is_absolute() and (table := read_source_table(root, name))]
    kept = without_dicom_copies([file for file in files if not is_excluded(file, exclude)])
    array = find_array(root, kept)
    kind, media = find_kind(kept, tables, given, array)
    media = without_illustrations(media, tables) if kind == "image" else media
    if media:
        check_unpacked(files)
    items = None if media else find_items(tables, given)
    if not media and items is None:
        check_unpacked(files)
        raise no_items(root, files, tables)
    tables = with_pairs_by_item(tables, media)
    samples = [table for table in tables if table.is_sample]
    if "sample_submission" in given:
        name = given["sample_submission"]
        samples = [] if name is None else [find_named(tables, "sample_submission", name)]
    sample = choose_sample([without_row_numbers(one) for one in samples], media)
    if sample is not None and sample.value_column:
        given = {"task": "multilabel", **given}
    return Sources(root, files, tables, sample, given, kind, media, items, array)


def _check_headers(sources: Sources, *, in_folders: bool = False) -> None:
    """Check the first rows of the tables; in_folders: of those alone that count where class folders label the items."""
    for one in sources.tables:
        option = "sample_submission" if one.is_sample else "test" if one.split == "test" else "labels"
        if not in_folders or one.is_sample or (option == "test" and not sources.test_folders):
            check_header(one.path, one.rows, sources.names.has, option)


def _without_copies(found: Inference, sources: Sources, labels: Labels | None) -> Sources:
    """The sources without media that are masks or copies of others; sets `exclude`."""
    if "exclude" in sources.given or not sources.media:
        return sources
    labelled = labels.table.cells(labels.item).tolist() if labels and labels.item else []
    patterns = find_copies(sources.media, labelled, sources.ids.tolist())
    patterns += find_strays(sources.files, sources.media) if sources.kind == "image" else []
    if not patterns:
        return sources
    found.set("exclude", patterns, "masks, or the same items a second time")
    found.notes.append(
        f"files called {', '.join(patterns)} were left out: competition.exclude=[…] names others, or none"
    )
    return replace(sources, media=[file for file in sources.media if not is_excluded(file, patterns)])


def _labels(sources: Sources) -> tuple[Labels | None, list[str]]:
    """(the table of labels, notes); None for labels by folders, which count more than a doubtful table, or by names."""
    labels = find_labels(sources, sources.names)
    if labels is None or labels.item is None or "labels" in sources.given or sources.given_column("item"):
        return labels, []
    try:
        folders = folder_labels(sources)
    except UserError:
        return labels, []
    table, column = labels.table, labels.columns[0]
    known = sum(any(file in folders.index for file in sources.names.all(cell)) for cell in {*table.cells(labels.item)})
    are_few = known < NAMED_SHARE * len(folders) and table.is_whole and not labels.of_parts
    is_doubtful = labels.sure == GUESSED or (labels.sure < GIVEN and (are_few or lists_classes(labels)))
    if not is_doubtful or not are_classes(folders, labels):
        return labels, []
    return None, [
        f"the folders label the items: {table.path} names {known} of the {len(folders)} in them, and {column} may be "
        f"labels: competition.labels={table.path} takes the table"
    ]


def are_classes(folders: "pd.Series[str]", labels: Labels) -> bool:
    """Whether folders may be classes, beside a table of labels: not parts, shards, patients, or the unlabelled.

    folders: file -> folder. Shards are called as the files in them begin, as 0/1/2/012abc.jpg, and no labels; patients
    are in a column of ids beside the labels.
    """
    names = set(folders)
    if names <= set(labels.table.cells(labels.columns[0])):  # files may be called after their class, as ant/ant_1.jpg
        return True
    is_sharded = all(stem_of(str(file)).casefold().startswith(name.casefold()) for file, name in folders.items())
    others = [name for name in labels.table.columns if name not in (labels.item, *labels.columns)]
    ids = [name for name in others if is_group(name) or "id" in column_words(name)]
    are_ids = any(names <= set(labels.table.rows[name]) for name in ids)
    is_unlabelled = any(UNLABELLED & set(words_of(name)) for name in names)
    return not (is_sharded or are_ids or is_unlabelled or are_parts(sorted(names)))


def _named_labels(found: Inference, sources: Sources) -> "pd.Series[str]":
    """The labels by names or folders. Raises UserError without any, which names a table that no item is found by."""
    try:
        labels = set_named_labels(found, sources)
    except UserError as error:
        _check_headers(sources)
        raise packed_arrays(sources) or unnamed_items(sources, sources.names) or error from error
    _check_headers(sources, in_folders="label_from" not in found.fields)
    return labels


def note_texts(found: Inference, sources: Sources) -> None:
    """Say which texts are not read, though they are called as labels, or parts, of the items are."""
    read = {table.path for table in sources.tables}
    others = [file for file in sources.files if file.lower().endswith(".txt") and file not in read]
    texts = [file for file in others if TEXT_WORDS & set(words_of(stem_of(file)))]
    if texts and len(texts) < len(sources.media):  # else annotations, one a picture
        found.notes.append(
            f"not read: {first_three(texts)}; of texts lists are, a file a line, also with its class behind a blank: "
            "write a CSV item,label or item,split, and type competition.labels=CSV or competition.metadata=CSV"
        )


def _set_task(found: Inference, task: Task) -> None:
    """Set `task`, what is between tags, and `mirror` where a flip would swap two classes, as it makes a 2 of a 5."""
    if task.name != "multiclass":
        found.set("task", task.name, task.why)
    if task.name == "multilabel" and task.separator != " ":
        found.set("label_separator", task.separator, "between the tags of an item")
    has_classes = found.fields["kind"] == "image" and task.name != "regression"
    if has_classes and (pair := mirrored_classes(sorted(task.names))):
        found.set("mirror", False, f"a flip may turn {pair[0]} into {pair[1]}")


def note_array(found: Inference, array: ArrayFile) -> None:
    """Say that arrays were taken for images or for series, and what to type for the other."""
    shape, is_picture = " x ".join(map(str, array.shape)), array.is_picture
    taken, other = ("images", "series") if is_picture else ("series", "image")
    needed = "" if is_picture else f", once they are of uint8 or uint16 instead of {array.dtype}"
    found.notes.append(
        f"arrays of {shape} numbers, as {array.path}, were taken for {taken}: competition.kind={other} takes them for "
        f"{'series' if is_picture else 'images'}{needed}"
    )


def _set_sources(found: Inference, sources: Sources) -> None:
    """Set the fields of what was found: kind, items and sample submission."""
    items = sources.items
    if items is None:
        found.set("kind", sources.kind, f"{len(sources.media)} of the {len(sources.files)} files")
    else:
        what = "a column a pixel" if sources.holds_pixels else "all series"
        found.set("kind", "image" if sources.holds_pixels else "series", f"{items.path} holds the items: {what}")
        found.set("items", items.path, "holds the items to train on")
    if sources.sample is not None:
        others = [table.path for table in sources.tables if table.is_sample and table.path != sources.sample.path]
        found.set(
            "sample_submission", sources.sample.path, f"rather than {', '.join(others)}" if others else "by its name"
        )
        found.set("id_column", sources.sample.columns[0], "its first column")
