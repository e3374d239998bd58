"""Table of a competition of images, made by decoding every file once: facts, hashes and near-duplicates."""

import hashlib
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from kagglepipe.competitions import test_lists
from kagglepipe.competitions.dataset import REPORT
from kagglepipe.competitions.duplicates import (
    DETECTOR,
    THUMBNAIL_SIDE,
    group_pairs,
    linked_rows,
    near_pairs,
    thumbnail,
    thumbnail_hashes,
)
from kagglepipe.competitions.filenames import find_table, is_excluded, without_dicom_copies
from kagglepipe.competitions.folds import mixed_groups
from kagglepipe.competitions.given_folds import with_given_folds
from kagglepipe.competitions.label_patch import patch_settings, patched
from kagglepipe.competitions.labels import check_classes, check_index_form, known_classes
from kagglepipe.competitions.source import ignored_folder, list_names
from kagglepipe.competitions.table import (
    TABLE_COLUMNS,
    bad_files,
    list_images,
    table_hash,
    unreadable_rows,
    warn_of_other_settings,
    warn_of_unreadable,
)
from kagglepipe.competitions.targets import describe_targets, names_in
from kagglepipe.console import progress
from kagglepipe.errors import UserError
from kagglepipe.files import expanded, file_sha256, read_json, write_bytes, write_json, write_parquet
from kagglepipe.images.cache import PixelWriter, cache_writer
from kagglepipe.images.decode import DECODER, DECODER_BY_DEPTH, ImageError, ImageInfo, Pixels, decode_picture, inspect
from kagglepipe.images.depth import estimate_used_bits
from kagglepipe.images.pixel_table import read_image_bytes
from kagglepipe.options import CompetitionOptions, PrepareOptions
from kagglepipe.parallel import parallel_chunks, parallel_map
from kagglepipe.text import first_three

log = logging.getLogger(__name__)
FILES_A_TASK = 16
LOOK_SIDE = 256  # pixels of the short side of compared images, and of the cache that their decoding fills


CACHE_SETTINGS = ("short_side", "max_gb")  # settings of the table in older versions


def make_image_table(
    competition: CompetitionOptions,
    folder: Path,
    options: PrepareOptions,
    *,
    workers: int | None,
    pixels_dir: Path | None,
    max_bytes: int,
) -> None:
    """Write table.parquet, duplicates.csv, the cache of pixels and prepared.json (last), unless they are there.

    folder: data/<base slug>/. pixels_dir: of a cache of at most `max_bytes` with short side LOOK_SIDE; None for none.
    """
    source = read_json(folder / "source.json")
    in_place = source["kind"] == "folder"
    root = Path(source["path"]) if in_place else folder / "raw"
    settings = {**table_settings(competition, options), **test_lists.table_settings(competition, root)}
    if in_place:
        settings["images_root"] = source["path"]
    labels = competition.labels and root / expanded(competition.labels)
    if labels and labels.is_file():
        settings["labels_sha256"] = file_sha256(labels)  # may lie outside the source, whose files are compared
    settings |= patch_settings(competition)
    if is_prepared(folder, settings):
        check_prepared_classes(competition, folder)
        log.info("prepare: %s is here already", folder / "table.parquet")
        return
    warn_of_other_settings(folder, settings)
    files, ignored = list_names(root, skip_bad=competition.on_bad_image == "skip")
    names = without_dicom_copies([name for name in files if not is_excluded(name, competition.exclude)])
    listing = list_images(names, competition, root)
    listing = replace(listing, rows=patched(listing.rows, listing.classes, competition))
    check_class_names(competition, listing.classes, has_test=bool((listing.rows["split"] == "test").any()))
    (folder / REPORT).unlink(missing_ok=True)  # what is there stays where the new files or labels are refused above

    def read(bits: int | None, *, is_settled: bool) -> tuple[pd.DataFrame, list[Look], list[str]]:
        to_disk: AbstractContextManager[PixelWriter | None] = nullcontext()
        if pixels_dir is not None:
            to_disk = cache_writer(pixels_dir, short_side=LOOK_SIDE, max_bytes=max_bytes, bits=bits)
        look = partial(look_at, max_side=options.max_side, bits=bits, is_settled=is_settled)
        with to_disk as writer:
            return read_images(look, listing.rows, root, writer, workers=workers, is_strict=is_strict)

    bits, is_strict = None, competition.on_bad_image == "error"
    try:
        rows, images, skipped = read(None, is_settled=False)
    except DepthError:
        bits = used_bits_of([root / path for path in listing.rows["path"]], workers=workers)
        rows, images, skipped = read(bits, is_settled=True)
    usable = names_in(rows["target"].dropna(), competition.task)
    if competition.task == "regression" and len(rows):
        usable = listing.classes
    if empty := sorted(set(listing.classes) - set(usable)):
        raise UserError(f"class {empty[0]} has no usable image: {skipped[0]}; repair some, or leave it out")
    pairs, groups = find_duplicates(rows, images, options.near_bits)
    table = finish_table(rows, images, groups)
    write_parquet(folder / "table.parquet", table)
    write_bytes(folder / "duplicates.csv", pairs.to_csv(index=False, lineterminator="\n").encode())
    tables = {find_table(name, names) for name in (competition.answers, competition.sample_submission) if name}
    report: dict[str, Any] = {
        "settings": settings,
        "classes": listing.classes,
        "images_root": str(root) if in_place else "raw",
        "decoder": name_decoder(images, bits),
        "bits": bits,
        "table_hash": table_hash(table),
        "ignored": ignored,
        "outside": [name for name in listing.outside if name not in tables],
        "skipped": skipped,
        "unreadable": unreadable_rows(listing.rows, rows["path"], skipped),
        **({} if competition.task == "multiclass" else {"task": competition.task}),
    }
    write_json(folder / REPORT, report)
    if deep := sum(one.decoder != DECODER for one in images):
        how = f", {bits} of 16 bits in use" if bits not in (None, 16) else ""
        log.info("prepare: %d images have more than 8 bits or transparency%s", deep, how)
    log_table(table, pairs, report, listing.notes, competition.task)
    warn_of_unreadable(report["unreadable"], competition)


def table_settings(competition: CompetitionOptions, options: PrepareOptions) -> dict[str, Any]:
    """Settings that decide the table, for prepared.json."""
    names = ("layout", "test", "labels", "classes", "id", "on_bad_image")
    return {
        **{name: getattr(competition, name) for name in names},
        "max_side": options.max_side,
        "near_bits": options.near_bits,
        "duplicates": DETECTOR,
        "decoder": f"{DECODER} or {DECODER_BY_DEPTH}",
        **({"columns": competition.columns} if competition.columns else {}),
        **({"exclude": competition.exclude} if competition.exclude else {}),
        **({} if competition.task == "multiclass" else {"task": competition.task}),
        **({"label_separator": competition.label_separator} if competition.task == "multilabel" else {}),
    }


def check_class_names(competition: CompetitionOptions, classes: list[str], *, has_test: bool) -> None:
    """Raises UserError for names of classes that no submission or table of predictions can hold."""
    check_classes(classes)
    if has_test and competition.form == "index":
        check_index_form(classes, are_given=bool(competition.classes), first=competition.first_index)
    if reserved := sorted({"path", "prediction"} & set(classes)):
        raise UserError(f"class name '{reserved[0]}' is reserved (predict has such a column); rename its folder")


def check_prepared_classes(competition: CompetitionOptions, folder: Path) -> None:
    """Raises UserError for form=index without an order of classes, and for classes without images."""
    if competition.classes and competition.task != "regression":
        known_classes(competition.classes, read_json(folder / REPORT)["classes"], "", form=competition.form)
    if competition.form == "index":
        split = pd.read_parquet(folder / "table.parquet", columns=["split"])["split"]
        if (split == "test").any():
            names = read_json(folder / REPORT)["classes"]
            check_index_form(names, are_given=bool(competition.classes), first=competition.first_index)


def is_prepared(folder: Path, settings: dict[str, Any]) -> bool:
    """Whether `folder` holds a finished table made with these settings."""
    if not (folder / REPORT).exists() or not (folder / "table.parquet").exists():
        return False
    report = read_json(folder / REPORT)
    if report.get("skipped") and "unreadable" not in report:  # by a version without answers for such files
        return False
    return {name: value for name, value in report["settings"].items() if name not in CACHE_SETTINGS} == settings


class DepthError(Exception):
    """An image has more than 8 bits, of which all images of the competition together decide how many are in use."""


@dataclass(frozen=True, slots=True)
class Look:
    """Facts of a decoded file."""

    facts: ImageInfo
    size: int
    sha256: str
    phash: bytes
    thumbnail: np.ndarray[Any, np.dtype[np.uint8]]
    decoder: str


def look_at(
    paths: Sequence[Path], *, max_side: int, bits: int | None = None, is_settled: bool = True
) -> list[tuple[Look, Pixels] | ImageError]:
    """Read, hash and decode files; the reason in place of one of which that is not possible.

    Raises DepthError if `bits` matter to one and are not settled.
    """
    opened = [_open(path, max_side=max_side, bits=bits, is_settled=is_settled) for path in paths]
    usable = [one for one in opened if not isinstance(one, ImageError)]
    small = np.array([thumbnail(pixels) for *_, pixels in usable], np.uint8).reshape(-1, THUMBNAIL_SIDE, THUMBNAIL_SIDE)
    seen = iter(zip(usable, small, thumbnail_hashes(small), strict=True))
    found: list[tuple[Look, Pixels] | ImageError] = []
    for one in opened:
        if isinstance(one, ImageError):
            found.append(one)
            continue
        (facts, size, sha256, decoder, pixels), picture, phash = next(seen)
        found.append((Look(facts, size, sha256, phash.tobytes(), picture, decoder), pixels))
    return found


def _open(
    path: Path, *, max_side: int, bits: int | None, is_settled: bool
) -> tuple[ImageInfo, int, str, str, Pixels] | ImageError:
    """(header, size and SHA-256 of the file, decoder, pixels). Raises DepthError as `look_at`."""
    try:
        data = read_image_bytes(path)
    except OSError as error:
        return ImageError(f"cannot be read ({error.strerror})")
    try:
        facts = inspect(data, max_side=max_side)
        if not is_settled and facts.depth.bits >= 16 and facts.depth.used is None:
            raise DepthError
        image, decoder = decode_picture(data, facts, short_side=LOOK_SIDE, bits=bits)
    except ImageError as error:
        if not is_settled and estimate_used_bits(path) is not None:
            raise DepthError from error
        return error
    return facts, len(data), hashlib.sha256(data).hexdigest(), decoder, image


def used_bits_of(paths: Sequence[Path], *, workers: int | None) -> int | None:
    """Used bits of the 16-bit images among the files together; None where all headers give them."""
    used = parallel_map(estimate_used_bits, paths, workers=workers)
    return max((bits for bits in used if bits is not None), default=None)


def name_decoder(images: list[Look], bits: int | None) -> str:
    """Version of the decoder, part of a run's identity: the default decoder if it decodes all images right."""
    decoder = max(one.decoder for one in images)
    return decoder if decoder == DECODER or bits in (None, 16) else f"{decoder}, {bits} bits"


def read_images(
    look: Callable[[Sequence[Path]], list[tuple[Look, Pixels] | ImageError]],
    rows: pd.DataFrame,
    root: Path,
    writer: PixelWriter | None,
    *,
    workers: int | None,
    is_strict: bool,
) -> tuple[pd.DataFrame, list[Look], list[str]]:
    """Decode the images of `rows` -> (usable rows, their facts, skipped files); `writer` stores the pixels.

    Raises UserError for a file that cannot be decoded if `is_strict`.
    """
    looks, usable, bad = list[Look](), list[bool](), list[str]()
    found = parallel_chunks(look, [root / path for path in rows["path"]], chunk=FILES_A_TASK, workers=workers)
    for path, one in zip(rows["path"], progress(found, "prepare", total=len(rows), unit="image"), strict=True):
        usable.append(not isinstance(one, ImageError))
        if isinstance(one, ImageError):
            bad.append(f"{path}: {one}")
            continue
        facts, pixels = one
        if writer:
            writer.add(facts.sha256, pixels)
        looks.append(facts)
    if bad and is_strict:
        raise bad_files(bad)
    return rows[usable].reset_index(drop=True), looks, bad


def find_duplicates(
    rows: pd.DataFrame, looks: list[Look], max_bits: int
) -> tuple[pd.DataFrame, np.ndarray[Any, np.dtype[np.int64]]]:
    """(pairs of equal or nearly equal images by id, the group number of each row (N,)).

    Equal files are compared once. A group is the connected component of pairs, equal files and the user's groups, test
    images included: two training images that only a test image links show one scene, too, and its pseudo-label is in
    neither's fold.
    """
    content, first = np.unique([one.sha256 for one in looks], return_inverse=True, return_index=True)[::-1][:2]
    hashes = np.frombuffer(b"".join(looks[row].phash for row in first), np.uint8).reshape(-1, 16)
    pairs = near_pairs(hashes, np.stack([looks[row].thumbnail for row in first]), max_bits=max_bits)
    given = pd.factorize(rows["group"])[0]  # -1: none
    of_user = np.flatnonzero(given >= 0)
    leader = pd.Series(content[of_user]).groupby(given[of_user]).transform("first").to_numpy()
    together = linked_rows(len(first), leader, content[of_user])
    weights = np.bincount(content[(rows["split"] == "train").to_numpy()], minlength=len(first))
    groups = group_pairs(len(first), pairs, together=together, weights=weights)
    exact = np.flatnonzero(first[content] != np.arange(len(rows)))
    equal = {"bits": 0, "correlation": 1.0, "mirrored": False, "exact": True}
    copies = pd.DataFrame({"i": first[content[exact]], "j": exact, **equal})
    near = pairs.assign(i=first[pairs["i"]], j=first[pairs["j"]], exact=False)
    return name_pairs(rows, pd.concat([copies, near], ignore_index=True)), groups[content]


def name_pairs(rows: pd.DataFrame, pairs: pd.DataFrame) -> pd.DataFrame:
    """Pairs by id, with the split of each, from pairs by row number."""
    i, j = pairs["i"].to_numpy(np.int64), pairs["j"].to_numpy(np.int64)
    ids, splits = rows["id"].to_numpy(), rows["split"].to_numpy()
    named = pd.DataFrame({"id": ids[i], "split": splits[i], "twin": ids[j], "twin_split": splits[j]})
    facts = pairs[["bits", "correlation", "mirrored", "exact"]]
    return pd.concat([named, facts], axis=1).sort_values(["id", "twin"])


def finish_table(rows: pd.DataFrame, looks: list[Look], groups: np.ndarray[Any, np.dtype[np.int64]]) -> pd.DataFrame:
    """Make the table with the facts of the files. A group is named by the user, or by the first of its ids."""
    table = rows.assign(
        **{name: [getattr(one.facts, name) for one in looks] for name in ("width", "height", "format", "mode")},
        bytes=[one.size for one in looks],
        sha256=[one.sha256 for one in looks],
        phash=[one.phash.hex() for one in looks],
        given_group=rows["group"],
    )
    is_train = table["split"] == "train"
    own = table["id"].where(is_train | ~table["id"].duplicated(keep=False), "test " + table["id"])
    order = own.where(is_train, "\uffff" + own)  # named after a training image
    first = order.groupby(groups).transform("min").str.removeprefix("\uffff")
    table["group"] = rows["group"].astype("string").groupby(groups).transform("min").fillna(first).astype(str)
    return with_given_folds(table, [*TABLE_COLUMNS, "given_group", *(["answer_id"] if "answer_id" in table else [])])


def pairs_among(ids: "pd.Series[str]", pairs: pd.DataFrame) -> pd.DataFrame:
    """Find the pairs of which both images are among `ids` of training, with their row numbers i and j. pairs: id, twin.

    Ids of the test may be the same; older versions, whose ids were unique, left no splits.
    """
    if "split" in pairs:
        pairs = pairs[(pairs["split"] == "train") & (pairs["twin_split"] == "train")]
    i, j = (pd.Index(ids).get_indexer(pd.Index(pairs[name])) for name in ("id", "twin"))
    both = (i >= 0) & (j >= 0)
    return pairs[both].assign(i=i[both], j=j[both])


def near_groups(ids: "pd.Series[str]", pairs: pd.DataFrame) -> "pd.Series[str]":
    """Group of near-duplicates of each id, named by its first id. pairs: id, twin."""
    among = pairs_among(ids, pairs)
    return ids.groupby(linked_rows(len(ids), among["i"].to_numpy(), among["j"].to_numpy())).transform("min")


def log_table(table: pd.DataFrame, pairs: pd.DataFrame, report: dict[str, Any], notes: list[str], task: str) -> None:
    """Log counts, near-duplicates and files that were left out."""
    train, test = table[table.split == "train"], table[table.split == "test"]
    counts = describe_targets(train["target"], task)
    log.info("prepare: %d training images (%s), %d to classify", len(train), counts, len(test))
    near = near_groups(train["id"], pairs)
    sizes = near.value_counts()
    given = train["given_group"].dropna()
    is_whole = bool((train.groupby(near)["group"].nunique() == 1).all())
    log.info(
        "prepare: %s%d groups of near-duplicates in training (largest %d)%s; "
        "%d images to classify have a near twin in training (duplicates.csv)",
        f"{given.nunique()} groups given (of {len(given)} images), " if len(given) else "",
        int((sizes > 1).sum()), int(sizes.max()), ", kept together in folds" * is_whole,
        sum(map(set(train["group"]).__contains__, test["group"])),
    )  # fmt: skip
    if ignored := report["ignored"]:
        names = Counter(ignored_folder(Path(name)) or Path(name).name for name in ignored)
        log.info("prepare: ignored %s", ", ".join(f"{n} × {name}" for name, n in sorted(names.items())))
    for note in notes:
        log.warning("prepare: %s", note)
    for what in ("outside", "skipped"):
        if files := report[what]:
            reason = "outside the competition's layout" if what == "outside" else "that cannot be decoded"
            log.warning("prepare: left out %d files %s: %s", len(files), reason, first_three(files, "; "))
    if task != "regression" and (mixed := mixed_groups(train["target"].tolist(), near.tolist())):
        log.warning("prepare: %d groups of near-duplicates carry different labels: %s", len(mixed), first_three(mixed))
