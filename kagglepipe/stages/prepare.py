"""stage=prepare: from files to a table, near-duplicate groups, folds and a cache of decoded pixels.

What is below is about images and folds; `prepare_sequences` makes the table of video and series.

Reads data/<slug>/raw/ (or the source folder). Writes table.parquet, duplicates.csv, cache/pixels-*/ and
prepared.json (last, so that its existence means the rest is whole), and folds.csv, once.
"""

import hashlib
import logging
from collections import Counter
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from kagglepipe.competitions.dataset import REPORT
from kagglepipe.competitions.duplicates import (
    DETECTOR,
    group_pairs,
    linked_rows,
    near_pairs,
    perceptual_hash,
    thumbnail,
)
from kagglepipe.competitions.filenames import find_table
from kagglepipe.competitions.fold_file import class_rows, make_or_check_folds, near_duplicates
from kagglepipe.competitions.folds import (
    hidden_groups,
    hidden_part,
    mixed_groups,
)
from kagglepipe.competitions.labels import check_classes, check_index_form
from kagglepipe.competitions.source import ignored_folder, list_files
from kagglepipe.competitions.table import TABLE_COLUMNS, list_images, table_hash
from kagglepipe.config import Config
from kagglepipe.console import progress
from kagglepipe.errors import UserError
from kagglepipe.files import expanded, file_sha256, locked, read_json, write_bytes, write_json, write_parquet
from kagglepipe.images.cache import PixelWriter, cache_writer
from kagglepipe.images.decode import (
    DECODER,
    DECODER_BY_DEPTH,
    ImageError,
    ImageInfo,
    Pixels,
    decode_with_version,
    inspect,
)
from kagglepipe.images.depth import estimate_used_bits
from kagglepipe.options import CompetitionOptions
from kagglepipe.parallel import parallel_map
from kagglepipe.runs.expected import check_submittable
from kagglepipe.runs.identity import read_data
from kagglepipe.sequences.table import (
    bad_files,
    hide_annotations,
    make_sequence_table,
    unreadable,
    warn_of_other_settings,
    warn_of_unreadable,
)
from kagglepipe.text import counted, first_three

log = logging.getLogger(__name__)
LOOK_SIDE = 256  # pixels of the short side at which images are compared, and of the cache that comes of it for nothing
CACHE_SETTINGS = ("short_side", "max_gb")  # which older versions took for settings of the table


def run(config: Config) -> None:
    """Prepares the competition, or finds it prepared; then the same for its folds."""
    competition = config.competition
    with locked(config.base_dir):
        if competition.kind == "image":
            make_table(config)
        else:
            max_side = config.prepare.max_side
            make_sequence_table(competition, config.base_dir, max_side=max_side, workers=config.workers)
        if competition.is_part:
            make_subset(config)
        make_or_check_folds(
            competition, config.folds, config.folds_file, data_dir=config.data_dir, base_dir=config.base_dir
        )
    dataset = read_data(config, frames=False)
    check_submittable(competition, dataset, upload=config.submit.upload, scored=config.run is None)


# --- the table -------------------------------------------------------------------------------------------------


def make_table(config: Config) -> None:
    """Makes table.parquet, duplicates.csv, the pixel cache and prepared.json, unless they are there."""
    competition, folder, settings = config.competition, config.base_dir, table_settings(config)
    source = read_json(folder / "source.json")
    in_place = source["kind"] == "folder"
    root = Path(source["path"]) if in_place else folder / "raw"
    if in_place:
        settings["images_root"] = source["path"]
    labels = competition.labels and root / expanded(competition.labels)
    if labels and labels.is_file():
        settings["labels_sha256"] = file_sha256(labels)  # may lie outside the source, whose files are compared
    if is_prepared(folder, settings):
        check_prepared_classes(competition, folder)
        log.info("prepare: %s is here already", folder / "table.parquet")
        return
    warn_of_other_settings(folder, settings)
    (folder / REPORT).unlink(missing_ok=True)
    files, ignored = list_files(root, skip_bad=competition.on_bad_image == "skip")
    names = [f.relative_to(root).as_posix() for f in files]
    listing = list_images(names, competition, root)
    check_class_names(competition, listing.classes, has_test=bool((listing.rows["split"] == "test").any()))
    used_bits = parallel_map(estimate_used_bits, [root / path for path in listing.rows["path"]], workers=config.workers)
    bits = max((bits for bits in used_bits if bits is not None), default=None)
    rows, images, skipped = read_images(config, listing.rows, root, bits)
    if empty := sorted(set(listing.classes) - set(rows["target"].dropna())):
        raise UserError(f"class {empty[0]} has no usable image: {skipped[0]}; mend some, or leave it out")
    pairs, groups = find_duplicates(rows, images, config.prepare.near_bits)
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
        "ignored": [f.relative_to(root).as_posix() for f in ignored],
        "outside": [name for name in listing.outside if name not in tables],
        "skipped": skipped,
        "unreadable": unreadable(listing.rows, rows["path"], skipped),
    }
    write_json(folder / REPORT, report)
    if deep := sum(one.decoder != DECODER for one in images):
        how = f"{bits} of 16 bits are in use" if bits not in (None, 16) else "bits in use, and clear colours, are told"
        log.info("prepare: %d images are read by their depth: %s", deep, how)
    tell(table, pairs, report, listing.notes)
    warn_of_unreadable(report["unreadable"], competition)


def table_settings(config: Config) -> dict[str, Any]:
    """What the table depends on; prepared.json records it."""
    competition = config.competition
    names = ("layout", "test", "labels", "classes", "id", "on_bad_image")
    return {
        **{name: getattr(competition, name) for name in names},
        "max_side": config.prepare.max_side,
        "near_bits": config.prepare.near_bits,
        "duplicates": DETECTOR,
        "decoder": f"{DECODER} or {DECODER_BY_DEPTH}",
        **({"columns": competition.columns} if competition.columns else {}),
    }


def check_class_names(competition: CompetitionOptions, classes: list[str], *, has_test: bool) -> None:
    """Raises UserError for classes that no submission or table of predictions could hold."""
    check_classes(classes)
    if has_test and competition.form == "index":
        check_index_form(classes, are_given=bool(competition.classes))
    if reserved := sorted({"path", "prediction"} & set(classes)):
        raise UserError(f"class name '{reserved[0]}' is reserved (predict has such a column); rename its folder")


def check_prepared_classes(competition: CompetitionOptions, folder: Path) -> None:
    """Raises UserError if form=index would write positions of classes whose order nobody gave."""
    if competition.form == "index":
        split = pd.read_parquet(folder / "table.parquet", columns=["split"])["split"]
        if (split == "test").any():
            check_index_form(read_json(folder / REPORT)["classes"], are_given=bool(competition.classes))


def is_prepared(folder: Path, settings: dict[str, Any]) -> bool:
    """Whether `folder` holds a finished table made with these settings."""
    if not (folder / REPORT).exists() or not (folder / "table.parquet").exists():
        return False
    report = read_json(folder / REPORT)
    if report.get("skipped") and "unreadable" not in report:  # of a version that did not answer for such files
        return False
    return {name: value for name, value in report["settings"].items() if name not in CACHE_SETTINGS} == settings


@dataclass(frozen=True)
class Look:
    """What one decoding of a file tells; `pixels` is dropped once they are in the cache."""

    facts: ImageInfo
    size: int
    sha256: str
    phash: bytes
    thumbnail: np.ndarray[Any, np.dtype[np.uint8]]
    pixels: Pixels | None
    decoder: str = DECODER


def look_at(path: Path, *, max_side: int, bits: int | None = None) -> Look | ImageError:
    """One file read, hashed and really decoded; the reason where it cannot be."""
    try:
        data = path.read_bytes()
    except OSError as error:
        return ImageError(f"cannot be read ({error.strerror})")
    try:
        facts = inspect(data, max_side=max_side)
        image, decoder = decode_with_version(data, facts, short_side=LOOK_SIDE, bits=bits)
    except ImageError as error:
        return error
    digest = hashlib.sha256(data).hexdigest()
    return Look(facts, len(data), digest, perceptual_hash(image), thumbnail(image), image, decoder)


def name_decoder(images: list[Look], bits: int | None) -> str:
    """What the pixels are decoded by, as runs are named by it: the usual decoder, if it has them all right."""
    decoder = max(one.decoder for one in images)
    return decoder if decoder == DECODER or bits in (None, 16) else f"{decoder}, {bits} bits"


def read_images(
    config: Config, rows: pd.DataFrame, root: Path, bits: int | None
) -> tuple[pd.DataFrame, list[Look], list[str]]:
    """(usable rows, their looks, files skipped); the pixels are kept where a cache of their size is wanted.

    bits: as in `decode`.
    """
    looks, usable, bad = list[Look](), list[bool](), list[str]()
    paths, folder = [root / path for path in rows["path"]], config.pixels_dir(LOOK_SIDE)
    look = partial(look_at, max_side=config.prepare.max_side, bits=bits)
    to_disk: AbstractContextManager[PixelWriter | None] = nullcontext()
    if folder is not None and config.known_short_side in (None, LOOK_SIDE):
        to_disk = cache_writer(folder, short_side=LOOK_SIDE, max_bytes=config.pixels_limit, bits=bits)
    with to_disk as writer:
        found = parallel_map(look, paths, workers=config.workers)
        for path, one in zip(rows["path"], progress(found, "prepare", total=len(paths), unit="image"), strict=True):
            usable.append(isinstance(one, Look))
            if isinstance(one, ImageError):
                bad.append(f"{path}: {one}")
                continue
            assert one.pixels is not None
            if writer:
                writer.add(one.sha256, one.pixels)
            looks.append(replace(one, pixels=None))
        if bad and config.competition.on_bad_image == "error":
            raise bad_files(bad)
    return rows[usable].reset_index(drop=True), looks, bad


def find_duplicates(
    rows: pd.DataFrame, looks: list[Look], max_bits: int
) -> tuple[pd.DataFrame, np.ndarray[Any, np.dtype[np.int64]]]:
    """(pairs of equal or nearly equal images by id, the group number of each row).

    Pictures are compared once for each content, so that a thousand copies of one cost no more than one. A group is all
    that pairs, equal files and the user's groups link, images to classify included: two training images that are linked
    by one of those alone are of one scene, too, and what a teacher says of it is taught to neither's fold.
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
    """Pairs by row number as pairs by id, with the split of each."""
    i, j = pairs["i"].to_numpy(np.int64), pairs["j"].to_numpy(np.int64)
    ids, splits = rows["id"].to_numpy(), rows["split"].to_numpy()
    named = pd.DataFrame({"id": ids[i], "split": splits[i], "twin": ids[j], "twin_split": splits[j]})
    facts = pairs[["bits", "correlation", "mirrored", "exact"]]
    return pd.concat([named, facts], axis=1).sort_values(["id", "twin"])


def finish_table(rows: pd.DataFrame, looks: list[Look], groups: np.ndarray[Any, np.dtype[np.int64]]) -> pd.DataFrame:
    """The table with what was seen in the files. A group is named by the user, or by the first of its ids."""
    facts = pd.DataFrame([vars(one.facts) for one in looks])
    table = rows.assign(
        **{name: facts[name] for name in ("width", "height", "format", "mode")},
        bytes=[one.size for one in looks],
        sha256=[one.sha256 for one in looks],
        phash=[one.phash.hex() for one in looks],
        given_group=rows["group"],
    )
    order = table["id"].where(table["split"] == "train", "\uffff" + table["id"])  # named after a training image
    first = order.groupby(groups).transform("min").str.removeprefix("\uffff")
    table["group"] = rows["group"].astype("string").groupby(groups).transform("min").fillna(first).astype(str)
    return table[[*TABLE_COLUMNS, "given_group"]]


def pairs_among(ids: "pd.Series[str]", pairs: pd.DataFrame) -> pd.DataFrame:
    """The pairs of which both images are among `ids`, with their row numbers i and j. pairs: id, twin."""
    i, j = (pd.Index(ids).get_indexer(pd.Index(pairs[name])) for name in ("id", "twin"))
    both = (i >= 0) & (j >= 0)
    return pairs[both].assign(i=i[both], j=j[both])


def near_groups(ids: "pd.Series[str]", pairs: pd.DataFrame) -> "pd.Series[str]":
    """Group of near-duplicates of each id, named by its first id. pairs: id, twin."""
    among = pairs_among(ids, pairs)
    return ids.groupby(linked_rows(len(ids), among["i"].to_numpy(), among["j"].to_numpy())).transform("min")


def tell(table: pd.DataFrame, pairs: pd.DataFrame, report: dict[str, Any], notes: list[str]) -> None:
    """What was found, in a few lines."""
    train, test = table[table.split == "train"], table[table.split == "test"]
    counts = counted(Counter(train["target"]))
    log.info("prepare: %d training images (%s), %d to classify", len(train), counts, len(test))
    near = near_groups(train["id"], pairs)
    sizes = near.value_counts()
    given = train["given_group"].dropna()
    is_whole = bool((train.groupby(near)["group"].nunique() == 1).all())
    log.info(
        "prepare: %s%d groups of near-duplicates in training (largest %d)%s; "
        "%d test images have a near twin in training (duplicates.csv)",
        f"{given.nunique()} groups given (of {len(given)} images), " if len(given) else "",
        int((sizes > 1).sum()), int(sizes.max()), ", kept together in folds" * is_whole,
        int(test["group"].isin(set(train["group"])).sum()),
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
    if mixed := mixed_groups(train["target"].tolist(), near.tolist()):
        log.warning(
            "prepare: %d groups of near-duplicates carry different labels: %s",
            len(mixed),
            first_three(mixed),
        )


# --- few labels ------------------------------------------------------------------------------------------------


def make_subset(config: Config) -> None:
    """Makes the table of a part of the labelled rows; the others become a test with answers.

    answers.csv holds them: id and target or, of long videos, their annotations.
    """
    competition, folder, whole = config.competition, config.data_dir, config.base_dir
    base = read_json(whole / REPORT)
    part: dict[str, Any] = {"per_class": competition.per_class, "seed": config.seed}
    if competition.hidden is not None:
        part = {"hidden": competition.hidden, "seed": competition.hidden_seed}
    settings = {"base": base["settings"], "table": base["table_hash"], **part}
    if is_prepared(folder, settings):
        log.info("prepare: %s is here already", folder / "table.parquet")
        return
    (folder / REPORT).unlink(missing_ok=True)
    table = pd.read_parquet(whole / "table.parquet")
    table = table[table.split == "train"]
    held = rows_held_out(competition, table, whole, part["seed"])
    answers = table.loc[held, ["id", "target"]]
    table = table.assign(split=np.where(held, "test", "train"), target=table["target"].where(~held, None))
    table = table.reset_index(drop=True)
    pairs = near_duplicates(whole) if competition.kind == "image" else None
    if pairs is not None:
        table = with_whole_groups(table, pairs)
    own_hash = table_hash(table) if not competition.finds_segments else ""
    if competition.finds_segments:
        answers, own_hash = hide_annotations(table, whole, folder, competition.noun)
    write_parquet(folder / "table.parquet", table)
    write_bytes(folder / "answers.csv", answers.to_csv(index=False, lineterminator="\n").encode())
    images_root = base["images_root"]
    if not Path(images_root).is_absolute():
        images_root = str(Path("..") / config.base_slug / images_root)
    report = {**base, "settings": settings, "images_root": images_root, "unreadable": []}
    write_json(folder / REPORT, {**report, "table_hash": own_hash})
    log.info("prepare: %d labelled, %d held out as test", (~held).sum(), held.sum())


def with_whole_groups(table: pd.DataFrame, pairs: pd.DataFrame) -> pd.DataFrame:
    """The table of a part, its labelled rows grouped by the pairs among them.

    A group that was too large for the folds of the whole, and was split, need not be too large for those of a part.
    """
    train = table[table["split"] == "train"]
    given = pd.factorize(train["group"])[0].astype(np.int64)
    groups = group_pairs(len(train), pairs_among(train["id"], pairs), together=given)
    names = train["group"].groupby(groups).transform("min")
    return table.assign(group=names.reindex(table.index).fillna(table["group"]))


def rows_held_out(competition: CompetitionOptions, table: pd.DataFrame, folder: Path, seed: int) -> "pd.Series[bool]":
    """Which rows of the labelled table become the test. folder: of the whole competition."""
    if competition.hidden is None:
        return ~table["id"].isin(choose(table, int(competition.per_class or 0), seed))
    part = partial(hidden_groups, least=2) if competition.finds_segments else hidden_part  # two halves, two folds
    rows = class_rows(competition, table, folder)
    columns = (rows[name].tolist() for name in ("id", "target", "group"))
    return table["id"].isin(part(*columns, share=competition.hidden, seed=seed))


def choose(table: pd.DataFrame, per_class: int, seed: int) -> set[str]:
    """The ids of `per_class` images of each class, drawn by `seed`. Raises UserError if a class has fewer."""
    chosen: set[str] = set()
    for number, (name, rows) in enumerate(sorted(table.groupby("target"))):
        if len(rows) < per_class:
            raise UserError(f"class {name} has {len(rows)} images; competition.per_class={per_class} asks for more")
        ids = np.sort(rows["id"].to_numpy())
        chosen |= set(np.random.default_rng([seed, number]).choice(ids, per_class, replace=False))
    return chosen
