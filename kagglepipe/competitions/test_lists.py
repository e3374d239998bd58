"""Lists of the test items, in a CSV, JSON or text file, and which files of a source are tables and no items."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from kagglepipe.competitions.filenames import FileNames, find_table, in_test_folder, spelt
from kagglepipe.competitions.item_tables import read_columns, tables_of_items
from kagglepipe.competitions.label_tables import are_needed, check_ids, item_column, with_each_part
from kagglepipe.competitions.spreadsheet import check_header, column_places, list_cells, read_cells, select_columns
from kagglepipe.competitions.tag_pairs import by_item
from kagglepipe.errors import UserError
from kagglepipe.files import expanded, file_sha256
from kagglepipe.options import CompetitionOptions

ANSWER = ", or answer such rows by the class shares with competition.on_bad_image=skip"
LISTS = (".csv", ".tsv", ".txt", ".json", ".csv.gz", ".csv.zip")


def find_test_list(files: Sequence[str], competition: CompetitionOptions) -> str | None:
    """The file that `competition.test` names; None for a folder. Raises UserError for a missing file."""
    test = competition.test
    if test is None or not test.lower().endswith(LISTS):
        return None
    found = find_table(test, files)
    if found is None and not any(in_test_folder(file, test) for file in files):
        raise UserError(
            f"there is no {test} in competition.source: type where the list of test items is, as competition.test=PATH"
        )
    return found


def tables_of(files: Sequence[str], competition: CompetitionOptions) -> list[str]:
    """Those of `files` that options of the competition name: tables, and no items."""
    named = (competition.labels, competition.files, competition.answers, competition.sample_submission,
             competition.metadata)  # fmt: skip
    found = [find_table(name, files) for name in named if name]
    found += [find_test_list(files, competition), *tables_of_items(files, competition)]
    return [name for name in dict.fromkeys(found) if name]


def table_settings(competition: CompetitionOptions, root: Path) -> dict[str, Any]:
    """Settings that decide the rows, as far as they depart from their defaults, for prepared.json.

    Of tables that they name the SHA-256 of the bytes counts, too: they may lie outside the source. Those in a folder
    that wraps the data are compared with all its files.
    """
    names = ("label_from", "group_from", "items", "metadata", "metadata_key")
    found: dict[str, Any] = {name: given for name in names if (given := getattr(competition, name)) is not None}
    for name in ("items", "metadata", "test"):
        table = getattr(competition, name) and root / expanded(getattr(competition, name))
        if table and table.is_file():
            found[f"{name}_sha256"] = file_sha256(table)
    return found


def read_tests(
    root: Path, files: Sequence[str], competition: CompetitionOptions, names: FileNames
) -> pd.DataFrame | None:
    """Read the list of test items as `path`, and `id` and `answer_id` as far as they are columns.

    None where a folder has them.

    A table of pixels is a list, too, of its rows. The path of an item without a file, with
    competition.on_bad_image=skip, is its name, which cannot be read. Raises UserError as `find_test_list`, for an item
    that is not there, and for columns of ids without a list, or without ids in it.
    """
    listed = find_test_list(files, competition)
    if listed is None:
        named = "answer_id" if "answer_id" in competition.columns else "id"
        if (competition.id == "column" or named != "id") and competition.test is not None:
            what, mend = ("id=column", ", or competition.id=stem") if named == "id" else ("columns.answer_id", "")
            raise UserError(
                f"competition.{what} needs a list of the test items with a column {competition.column(named)}, and "
                f"competition.test={competition.test} is a folder: type competition.test=CSV{mend}"
            )
        return None
    if competition.kind == "image" and listed in tables_of_items(files, competition):
        return _rows_of(root, listed, files, competition) if competition.id == "column" else None
    if listed in tables_of_items(files, competition):
        return None
    table = with_each_part(_read_list(root / listed, competition, names), names, "item", competition)
    needed = are_needed(table["item"], names, competition)
    found = iter(names.paths(table["item"][needed], listed, competition.kind, mend=ANSWER))
    inside = table["item"].map(lambda item: "/".join(part for part in spelt(item).split("/") if part != ".."))
    table["path"] = [next(found) if is_needed else path for path, is_needed in zip(inside, needed, strict=True)]
    if "id" in table:
        check_ids(table["id"], listed, competition)
    return table.drop_duplicates("path")


def _read_list(path: Path, competition: CompetitionOptions, names: FileNames) -> pd.DataFrame:
    """Item and id, as text, of a list: a name a line, or a class behind it, or the column of items, else the first.

    Raises UserError for a CSV whose first row is an item.
    """
    if path.suffix.lower() == ".txt":
        text = path.read_text("utf-8-sig", errors="replace")
        if (listed := list_cells(text)) is not None:
            lines = {number: row[0] for number, row in listed.rows.items()}
        else:
            lines = {number: line.strip() for number, line in enumerate(text.splitlines(), 1) if line.strip()}
        return pd.Series(lines, name="item", dtype=str).to_frame()
    cells = by_item(read_cells(path), path, competition)
    rows = pd.DataFrame(list(cells.rows.values()), columns=cells.header, dtype=str)
    check_header(path, rows, lambda cell: names.find(cell) is not None, "test")
    column = item_column(competition, cells.header, "item")
    columns = {"item": column if column_places(cells.header, column) else cells.header[0]}
    are_read = {"id": competition.id == "column", "answer_id": "answer_id" in competition.columns}
    by_id = {one: competition.column(one) for one, is_read in are_read.items() if is_read}
    return select_columns(path, cells, columns | by_id, ["item", *by_id])


def _rows_of(root: Path, table: str, files: Sequence[str], competition: CompetitionOptions) -> pd.DataFrame:
    """Path and id of the rows of a table of pixels, whose virtual files are among `files`, in their order."""
    ids = read_columns(root / table, [competition.column("id")]).iloc[:, 0]
    check_ids(ids.set_axis(range(2, len(ids) + 2)), table, competition)
    return pd.DataFrame({"path": [file for file in files if file.startswith(f"{table}/")], "id": ids})
