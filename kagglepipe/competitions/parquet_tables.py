"""Parquet files of a source, written as the CSVs that all else reads."""

import logging
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from kagglepipe import console
from kagglepipe.competitions.filenames import is_excluded
from kagglepipe.errors import UserError

log = logging.getLogger(__name__)
SUFFIX = ".parquet"


def convert_parquets(folder: Path, names: Sequence[str], *, max_bytes: int, exclude: Sequence[str] = ()) -> list[str]:
    """Replace the parquet files of a folder of ours by CSVs, row group by row group; returns the names of all files.

    names: of its files, relative. A file of a partitioned table, `train.parquet/id=7/part-0.parquet`, becomes
    `train.parquet/7.csv`. One with a CSV beside it stays; columns of lists or bytes are left out, and said. max_bytes:
    of all CSVs. exclude: patterns of files that stay.
    Raises UserError for a damaged file, a second part with the same value, and for more bytes.
    """
    found, made, written = dict.fromkeys(names), set(), 0
    for name in [one for one in parquets(names) if not is_excluded(one, exclude)]:
        target = csv_name(name)
        if target in made:
            raise UserError(
                f"{name} is a second part of {target}, which would lack its rows: write each value as one file, or "
                "leave all of them out by competition.exclude=[FILE]"
            )
        if target in found:
            log.info("download: %s is not read, since %s is there", name, target)
            continue
        (folder / target).parent.mkdir(parents=True, exist_ok=True)
        with console.working(f"writing {target}"):
            written += write_csv(folder / name, folder / target, max_bytes - written)
        (folder / name).unlink()
        del found[name]
        found[target] = None
        made.add(target)
    return list(found)


def parquets(names: Sequence[str]) -> list[str]:
    """The parquet files among some names."""
    return [name for name in names if name.lower().endswith(SUFFIX)]


def csv_name(name: str) -> str:
    """Name of the CSV for a parquet file.

    >>> csv_name("a/train.parquet"), csv_name("train.parquet/id=7/part-0.parquet")
    ('a/train.csv', 'train.parquet/7.csv')
    """
    path = PurePosixPath(name)
    is_part = "=" in path.parent.name
    bare = path.parent.parent / path.parent.name.partition("=")[2] if is_part else path.with_suffix("")
    return f"{bare}.csv"


def write_csv(source: Path, target: Path, max_bytes: int) -> int:
    """Write a parquet file as a CSV; returns its bytes. Raises UserError for a damaged file, and for more bytes."""
    try:
        with pyarrow.parquet.ParquetFile(source) as table, target.open("wb") as file:
            fields = [field for field in table.schema_arrow if not _is_nested(field.type)]
            if left := [name for name in table.schema_arrow.names if name not in {field.name for field in fields}]:
                log.warning("download: %s: left out %s, which hold lists or bytes", source.name, ", ".join(left))
            plain = [
                one.with_type(one.type.value_type if pa.types.is_dictionary(one.type) else one.type) for one in fields
            ]
            schema = pa.schema(plain)
            with pyarrow.csv.CSVWriter(file, schema) as writer:
                for batch in table.iter_batches(columns=schema.names):
                    writer.write_table(pa.Table.from_batches([batch]).cast(schema))
                    if file.tell() > max_bytes:
                        raise UserError(
                            f"{source.name} is larger as a CSV than download.max_gb allows: type a larger one, as "
                            "download.max_gb=200, or competition.exclude=[FILE]"
                        )
            return file.tell()
    except (pa.ArrowException, OSError) as error:
        if getattr(error, "errno", None):  # the disk's, not the file's
            raise
        raise UserError(
            f"{source.name} cannot be read ({str(error).splitlines()[0]}): download it again, save it anew, "
            "or leave it out by competition.exclude=[FILE]"
        ) from error


def _is_nested(kind: pa.DataType) -> bool:
    return bool(pa.types.is_nested(kind) or pa.types.is_binary(kind) or pa.types.is_large_binary(kind))
