"""CSVs as spreadsheets write them: UTF-8 or UTF-16, separated by `,`, `;`, `|` or tab, ragged, with blank rows."""

import codecs
import csv
import gzip
import io
import json
import re
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from kagglepipe.competitions.filenames import MEDIA, suffix_of
from kagglepipe.competitions.labels import NUMBER
from kagglepipe.errors import UserError

SEPARATORS = ",;\t|"
UNNAMED = ("", "unnamed: 0", "unnamed: 0.1")  # columns that number the rows, or name them, as pandas writes them
GZIP = b"\x1f\x8b"
UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


class Cells(NamedTuple):
    """The cells of a table: its separator, its header, and row in the file -> stripped cells, padded to the header."""

    separator: str
    header: list[str]
    rows: dict[int, list[str]]


def read_spreadsheet(
    path: Path, columns: Mapping[str, str], needed: Sequence[str], *, is_renamable: bool = True
) -> pd.DataFrame:
    """Read some columns of a CSV as stripped text, indexed by row in the file, without blank rows.

    columns: name in the result -> name in the file, in any case. needed: names in the result of required columns.
    is_renamable: whether the error may advise competition.columns. Where the separator is no comma, decimal commas in
    `start` and `end` become points.
    Raises UserError as `read_cells`, and for a needed column that is missing or there twice.
    """
    return select_columns(path, read_cells(path), columns, needed, is_renamable=is_renamable)


def select_columns(
    path: Path, cells: Cells, columns: Mapping[str, str], needed: Sequence[str], *, is_renamable: bool = True
) -> pd.DataFrame:
    """Select some columns of a table that was read; see `read_spreadsheet`."""
    separator, header, rows = cells
    places = {ours: column_places(header, theirs) for ours, theirs in columns.items()}
    if missing := [ours for ours in needed if not places[ours]]:
        raise UserError(_missing(path, header, [columns[ours] for ours in missing], missing if is_renamable else []))
    if twice := [columns[ours] for ours, found in places.items() if len(found) > 1]:
        raise UserError(f"{path} has more than one column {twice[0]}: take one out, or rename it")
    texts = {ours: [row[found[0]] for row in rows.values()] for ours, found in places.items() if found}
    table = pd.DataFrame(texts, index=pd.Index(list(rows), dtype=np.int64), dtype=str)
    if separator != ",":
        times = [column for column in ("start", "end") if column in table]
        table[times] = table[times].replace(r"^([+-]?\d*),(\d+)$", r"\1.\2", regex=True)
    return table


def read_cells(path: Path) -> Cells:
    """Read a CSV, also zipped or gzipped, or a JSON of records (see `json_records`).

    Raises UserError for a file that cannot be read, or has a row with more cells than the header.
    """
    try:
        data = unpacked(path.read_bytes())
        if path.suffix.lower() == ".json":
            return json_cells(data)
        if path.suffix.lower() == ".txt" and (cells := list_cells(data.decode("utf-8-sig", "replace"))):
            return cells
        separator, text = _separator(data.decode("utf-16" if data.startswith(UTF16) else "utf-8-sig"))
        header, rows = _cells(text, separator)
    except (OSError, EOFError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        reason = str(error.strerror or error if isinstance(error, OSError) else error).splitlines()[0]
        reason += "; save it as CSV UTF-8" if isinstance(error, UnicodeError) else ""
        kind = "JSON" if path.suffix.lower() == ".json" else "CSV in UTF-8"
        raise UserError(f"{path} cannot be read as a {kind} ({reason})") from error
    return Cells(separator, _with_item(header, rows) if header[0].casefold() in UNNAMED else header, rows)


def list_cells(text: str) -> Cells | None:
    """A list of files, or stems in folders, one a line, also with a class behind a blank; None for another text.

    >>> list_cells("a/1.jpg ant\\nb/2.jpg bee").rows, list_cells("a/1\\nb/2").rows, list_cells("a.jpg,ant")
    ({1: ['a/1.jpg', 'ant'], 2: ['b/2.jpg', 'bee']}, {1: ['a/1'], 2: ['b/2']}, None)
    """
    rows = {number: line.split() for number, line in enumerate(text.splitlines(), 1) if line.strip()}
    sizes = {len(row) for row in rows.values()}
    are_files = all(suffix_of(row[0]) in MEDIA or (len(row) == 1 and "/" in row[0]) for row in rows.values())
    is_list = are_files and sizes in ({1}, {2}) and not re.search("[,;|]", text)
    return Cells(" ", ["item", "label"][: max(sizes)], rows) if is_list else None


def _with_item(header: list[str], rows: Mapping[int, list[str]]) -> list[str]:
    """A header without a first name with `item` there, unless that counts the rows and other cells are unique."""
    first, *others = [[row[place] for row in rows.values()] for place in range(len(header))]
    is_index = are_counted(first) and any(len(set(cells)) == len(cells) for cells in others)
    return header if is_index or "item" in header else ["item", *header[1:]]


def are_counted(cells: Sequence[str]) -> bool:
    """Whether cells are 0, 1, 2, … or 1, 2, 3, ….

    >>> are_counted(["1", "2", "3"]), are_counted(["7", "2", "3"])
    (True, False)
    """
    return list(cells) in ([str(number + first) for number in range(len(cells))] for first in (0, 1))


def unpacked(data: bytes) -> bytes:
    """Unpack a zipped or gzipped CSV; other bytes stay as they are. Raises ValueError for a zip of other files."""
    if data[:2] == GZIP:
        return gzip.decompress(data)
    if not zipfile.is_zipfile(io.BytesIO(data)):
        return data
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return archive.read(_only_table(archive.namelist()))


def json_cells(data: bytes) -> Cells:
    """Read records as text, numbered from 1. Raises ValueError for other content.

    They are a list of objects, or one object `{item: {field: value}}` or `{item: label}`: its keys become the column
    `item`, a value that is no object the column `label`. null is an empty cell. COCO's lists are joined.

    >>> json_cells(b'{"a.mp4": {"label": "REAL", "original": null}}').rows
    {1: ['a.mp4', 'REAL', '']}
    """
    try:
        values: Any = json.loads(data.decode("utf-8-sig"), object_pairs_hook=_object)
    except RecursionError as error:
        raise ValueError("it is nested too deep") from error
    if is_coco(values):
        values = coco_records(values)
    if isinstance(values, dict):
        if lists := [item for item, of in values.items() if isinstance(of, list)]:
            raise ValueError(f"its {lists[0]} is a list, needed is an object or a label for each item")
        items = values.items()
        values = [
            {"item": item} | (of if isinstance(of, dict) else {"label": of}) | {"item": item} for item, of in items
        ]
    if not isinstance(values, list) or not values or not all(isinstance(record, dict) for record in values):
        raise ValueError("it is neither a list of records nor an object of labels")
    header = list(dict.fromkeys(str(name) for record in values for name in record))
    rows = {number: [_json_text(record.get(name)) for name in header] for number, record in enumerate(values, 1)}
    return Cells(",", header, rows)


def is_coco(values: Any) -> bool:
    """Whether the values of a JSON are COCO's (Lin et al., "Microsoft COCO", ECCV 2014): images, which have files.

    >>> is_coco({"images": [{"id": 7, "file_name": "a.jpg"}], "annotations": []}), is_coco({"images": "a.jpg"})
    (True, False)
    """
    images = values.get("images") if isinstance(values, dict) else None
    fields = [{*image} if isinstance(image, dict) else set() for image in images] if isinstance(images, list) else []
    return bool(fields) and all({"id", "file_name"} <= own for own in fields)


def coco_records(values: dict[str, Any]) -> list[dict[str, Any]]:
    """A record for each image and each of its classes: its file, its fields, and `category_id`, if it has one.

    Boxes and other annotations of a class that the image has already are left out. Raises ValueError for annotations
    without an image or a class.

    >>> coco_records({"images": [{"id": 7, "file_name": "a.jpg"}], "annotations": [{"image_id": 7, "category_id": 3}]})
    [{'file_name': 'a.jpg', 'id': 7, 'category_id': 3}]
    """
    classes: dict[Any, dict[Any, None]] = {image["id"]: {} for image in values["images"]}
    for annotation in values.get("annotations") or []:
        if not isinstance(annotation, dict) or not {"image_id", "category_id"} <= annotation.keys():
            raise ValueError("its annotations lack an image_id or a category_id")
        if annotation["image_id"] not in classes:
            raise ValueError(f"it annotates the image {annotation['image_id']}, which is not among its images")
        classes[annotation["image_id"]][annotation["category_id"]] = None
    records = []
    for image in values["images"]:
        record = {"file_name": image["file_name"], **image}
        records += [{**record, "category_id": name} for name in classes[image["id"]]] or [record]
    return records


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of a JSON. Raises ValueError for a name that it has twice, of which json would keep the last."""
    names = [name for name, _ in pairs]
    if twice := [name for name, times in Counter(names).items() if times > 1]:
        raise ValueError(f"it has {twice[0]} twice in one object")
    return dict(pairs)


def _json_text(value: Any) -> str:
    """A JSON value as a cell of a CSV."""
    if isinstance(value, dict | list):
        return json.dumps(value)
    return "" if value is None else str(value).strip()


def _missing(path: Path, header: Sequence[str], missing: Sequence[str], ours: Sequence[str]) -> str:
    """Say which columns a CSV lacks and what to type. ours: their keys in competition.columns, if it may name them."""
    if names := [cell for cell in header if PurePath(cell).suffix.lower() in MEDIA]:
        return f"{path} begins with {names[0]}: its first row must name the columns, as {','.join(missing)}"
    mend = f"; a column by another name is taken with '+competition.columns={{{ours[0]}: NAME}}'" if ours else ""
    return f"{path} has the columns {', '.join(header)}: {', '.join(missing)} is needed too{mend}"


def _only_table(names: Sequence[str]) -> str:
    """Find the CSV in a zip. Raises ValueError for an Excel workbook, which is a zip too, and unless there is one."""
    if "[Content_Types].xml" in names:
        raise ValueError("it is an Excel workbook; save it as CSV UTF-8")
    found = [name for name in names if name.lower().endswith((".csv", ".tsv", ".txt")) and "__MACOSX" not in name]
    if len(found) != 1:
        raise ValueError(f"it is a zip of {len(names)} files, {len(found)} of them CSVs; unpack the one that is meant")
    return found[0]


def _separator(text: str) -> tuple[str, str]:
    """Find (separator, text after Excel's line `sep=;`)."""
    if match := re.match(r"sep=(.)\r?\n", text, re.IGNORECASE):
        return match[1], text[match.end() :]
    return separator_of(re.split(r"[\r\n]", text.lstrip("\r\n"), maxsplit=1)[0]), text


def separator_of(header: str) -> str:
    """Guess the separator of a CSV from its header; a comma where there is none.

    >>> separator_of("time;x;y"), separator_of('"a;b",c'), separator_of("time")
    (';', ',', ',')
    """
    bare = re.sub(r'"[^"]*"', "", header)
    return max(SEPARATORS, key=bare.count)


def _cells(text: str, separator: str) -> tuple[list[str], dict[int, list[str]]]:
    """Parse (header, line -> cells, padded to the header). Raises ValueError for malformed or too long lines."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, skipinitialspace=True, strict=True)
    lines = ([cell.strip() for cell in row] for row in reader)
    rows = {}
    try:
        header = next((cells for cells in lines if any(cells)), [])
        for cells in lines:
            if any(cells[len(header) :]):
                raise ValueError(f"row {reader.line_num} has {len(cells)} cells, the header {len(header)}")
            if any(cells):
                rows[reader.line_num] = cells + [""] * (len(header) - len(cells))
    except csv.Error as error:
        raise ValueError(f"row {reader.line_num}: {error}; is a quote not closed?") from error
    if not header:
        raise ValueError("it is empty")
    if any("\0" in cell for cell in header):
        raise ValueError("its letters are two bytes each; save it as CSV UTF-8")
    return header, rows


def split_pair(pair: str) -> tuple[str, str]:
    """(item, tag) of an id; the item is empty where there is no underscore.

    >>> split_pair("ID_12_epidural"), split_pair("epidural")
    (('ID_12', 'epidural'), ('', 'epidural'))
    """
    item, _, tag = pair.rpartition("_")
    return item, tag


def pivoted(cells: Cells, path: Path) -> Cells:
    """Cells with a row an item and a column a tag, from a row for each of both (see `tag_pairs`).

    Rows keep the number of their first row in the file. Of repeated rows the last counts. Raises UserError for a table
    that has no two columns, or an id without underscore.
    """
    lines, found = dict[str, int](), dict[str, dict[str, str]]()
    for line, row in cells.rows.items():
        item, tag = split_pair(row[0])
        if len(cells.header) != 2 or not item:
            raise UserError(
                f"{path}, row {line}, is {', '.join(row[:3])}: competition.form=pairs needs rows ITEM_TAG,VALUE: type "
                "competition.form=probabilities where tags have a column each"
            )
        lines.setdefault(item, line)
        found.setdefault(item, {})[tag] = row[1]
    tags = list(dict.fromkeys(tag for own in found.values() for tag in own))
    rows = {lines[item]: [item, *(own.get(tag, "") for tag in tags)] for item, own in found.items()}
    return Cells(cells.separator, [cells.header[0], *tags], rows)


def column_places(header: Sequence[str], name: str) -> list[int]:
    """Positions of a column in the header: by its exact name, else in any case."""
    exact = [place for place, column in enumerate(header) if column == name.strip()]
    return exact or [place for place, column in enumerate(header) if column.casefold() == name.strip().casefold()]


def check_header(path: object, rows: pd.DataFrame, is_item: Callable[[str], bool], option: str) -> None:
    """Raises UserError where the header of a CSV is an item with its answer, as the rows below it are.

    rows: text (N, columns) under that header. is_item: whether a cell names an item. option: that names the table. An
    item above items shows it by its extension, or where each other column is called as one of its cells is, or by a
    number, or words, above such: a word unlike its cells, as `id` above items, names its column: 0, 1, 2 are classes.
    """
    columns = [(str(name), rows.iloc[:, place]) for place, name in enumerate(rows.columns)]
    above = [(name, cells) for name, cells in columns if is_item(name) and cells.head(20).map(is_item).mean() > 0.5]
    is_again = any(cells.is_unique and name in set(cells) for name, cells in above)  # pandas' 0, above the item 0
    known = {name for name, _ in above}
    is_row = not is_again and all(name in known or _is_like(name, cells) for name, cells in columns)
    for name, _ in above:
        if suffix_of(name) in MEDIA or (is_row and (len(columns) > 1 or any(map(str.isdigit, name)))):
            header = ", ".join(name for name, _ in columns[:3])
            raise UserError(
                f"{path} begins with {header}, which is an item: its first row must name the columns, "
                f"as item,label; mend it, or type competition.{option}=PATH of such a copy"
            )


def _is_like(name: str, cells: "pd.Series[str]") -> bool:
    """Whether a column is called as one of its cells is, by a number above numbers or several words above such."""
    are_numbers = bool(NUMBER.fullmatch(name)) and pd.to_numeric(cells, errors="coerce").notna().mean() > 0.5
    are_captions = " " in name and cells.str.contains(" ").mean() > 0.5
    return are_numbers or are_captions or bool((cells == name).any())
