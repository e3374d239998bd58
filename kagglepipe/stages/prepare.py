"""stage=prepare: from files to a table, near-duplicate groups, folds and a cache of decoded pixels.

What is below is about images and folds; `prepare_sequences` makes the table of video and series.

Reads data/<slug>/raw/ (or the source folder). Writes table.parquet, duplicates.csv, cache/pixels-*/ and
prepared.json (last, so that its existence means the rest is whole), and folds.csv, once.
"""

import hashlib
import logging
from collections import Counter
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from kagglepipe.competitions.annotations import read_annotations
from kagglepipe.competitions.duplicates import (
    DETECTOR,
    group_pairs,
    linked_rows,
    near_pairs,
    perceptual_hash,
    thumbnail,
)
from kagglepipe.competitions.filenames import find_table
from kagglepipe.competitions.folds import (
    check_folds,
    folds_csv,
    hidden_groups,
    hidden_part,
    leave_one_group_out,
    make_folds,
    mixed_groups,
    read_folds,
    torn_groups,
)
from kagglepipe.competitions.labels import check_index_form
from kagglepipe.competitions.source import ignored_folder, list_files
from kagglepipe.competitions.table import TABLE_COLUMNS, list_images, table_hash
from kagglepipe.competitions.units import classes_of
from kagglepipe.config import Config
from kagglepipe.console import progress
from kagglepipe.errors import UserError
from kagglepipe.files import expanded, file_sha256, locked, read_json, write_bytes, write_json, write_parquet
from kagglepipe.images.cache import cache_writer
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
from kagglepipe.parallel import parallel_map
from kagglepipe.predictions.frame import check_classes
from kagglepipe.stages.configured import read_data
from kagglepipe.stages.expected import check_submittable
from kagglepipe.stages.prepare_sequences import (
    hide_annotations,
    make_sequence_table,
    tell_unreadable,
    unreadable,
    warn_of_other_settings,
)
from kagglepipe.text import counted, first_three

log = logging.getLogger(__name__)
LOOK_SIDE = 256  # pixels of the short side at which images are compared, and of the cache that comes of it for nothing
CACHE_SETTINGS = ("short_side", "max_gb")  # which older versions took for settings of the table


def run(config: Config) -> None:
    """Prepares the competition, or finds it prepared; then the same for its folds."""
    with locked(config.root / "data" / config.base_slug):
        if config.competition.kind == "image":
            make_table(config)
        else:
            make_sequence_table(config)
        if config.competition.is_part:
            make_subset(config)
        make_or_check_folds(config)
    dataset = read_data(config, frames=False)
    check_submittable(config.competition, dataset, upload=config.submit.upload, scored=config.run is None)


# --- the table -------------------------------------------------------------------------------------------------


def make_table(config: Config) -> None:
    """table.parquet, duplicates.csv, the pixel cache and prepared.json of the whole competition."""
    folder = config.base_dir
    settings = table_settings(config)
    source = read_json(folder / "source.json")
    if source["kind"] == "folder":
        settings["images_root"] = source["path"]
    images_root = Path(source["path"]) if source["kind"] == "folder" else folder / "raw"
    labels = config.competition.labels and images_root / expanded(config.competition.labels)
    if labels and labels.is_file():
        settings["labels_sha256"] = file_sha256(labels)  # it may lie outside the source, which is watched
    if is_prepared(folder, settings):
        demand_class_order(config)
        log.info("prepare: %s is here already", folder / "table.parquet")
        return
    warn_of_other_settings(folder, settings)
    (folder / "prepared.json").unlink(missing_ok=True)
    files, ignored = list_files(images_root, skip_bad=config.competition.on_bad_image == "skip")
    names = [f.relative_to(images_root).as_posix() for f in files]
    listing = list_images(names, config.competition, images_root)
    options = (config.competition.answers, config.competition.sample_submission)
    tables = {find_table(option, names) for option in options if option}
    outside = [name for name in listing.outside if name not in tables]
    check_classes(listing.classes)
    if (listing.rows["split"] == "test").any() and config.competition.form == "index":
        check_index_form(listing.classes, are_given=bool(config.competition.classes))
    if reserved := sorted({"path", "prediction"} & set(listing.classes)):
        raise UserError(f"class name '{reserved[0]}' is reserved (predict has such a column); rename its folder")
    bits = bits_of_all(config, [images_root / path for path in listing.rows["path"]])
    rows, images, skipped = read_images(config, listing.rows, images_root, bits)
    if empty := sorted(set(listing.classes) - set(rows["target"].dropna())):
        raise UserError(f"class {empty[0]} has no usable image: {skipped[0]}; mend some, or leave it out")
    pairs, groups = find_duplicates(config, rows, images)
    table = finish_table(rows, images, groups)
    write_parquet(folder / "table.parquet", table)
    write_bytes(folder / "duplicates.csv", pairs.to_csv(index=False, lineterminator="\n").encode())
    lost = unreadable(listing.rows, rows["path"], skipped)
    report = {
        "settings": settings,
        "classes": listing.classes,
        "images_root": "raw" if source["kind"] != "folder" else str(images_root),
        "decoder": name_decoder(images, bits),
        "bits": bits,
        "table_hash": table_hash(table),
        "ignored": [f.relative_to(images_root).as_posix() for f in ignored],
        "outside": outside,
        "skipped": skipped,
        "unreadable": lost,
    }
    write_json(folder / "prepared.json", report)
    if deep := sum(one.decoder != DECODER for one in images):
        how = f"{bits} of 16 bits are in use" if bits not in (None, 16) else "bits in use, and clear colours, are told"
        log.info("prepare: %d images are read by their depth: %s", deep, how)
    tell(table, pairs, report, listing.notes)
    tell_unreadable(lost, config.competition)


def table_settings(config: Config) -> dict[str, Any]:
    """What the table depends on; prepared.json records it."""
    competition = config.competition
    return {
        "layout": competition.layout,
        "test": competition.test,
        "labels": competition.labels,
        "classes": competition.classes,
        "id": competition.id,
        "on_bad_image": competition.on_bad_image,
        "max_side": config.prepare.max_side,
        "near_bits": config.prepare.near_bits,
        "duplicates": DETECTOR,
        "decoder": f"{DECODER} or {DECODER_BY_DEPTH}",
        **({"columns": competition.columns} if competition.columns else {}),
    }


def demand_class_order(config: Config) -> None:
    """Raises UserError where form=index would write positions of prepared classes in an order that nobody gave."""
    if config.competition.form != "index":
        return
    split = pd.read_parquet(config.base_dir / "table.parquet", columns=["split"])["split"]
    if (split == "test").any():
        classes = read_json(config.base_dir / "prepared.json")["classes"]
        check_index_form(classes, are_given=bool(config.competition.classes))


def is_prepared(folder: Path, settings: dict[str, Any]) -> bool:
    """Whether `folder` holds a finished table made with these settings."""
    if not (folder / "prepared.json").exists() or not (folder / "table.parquet").exists():
        return False
    report = read_json(folder / "prepared.json")
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


def bits_of_all(config: Config, paths: list[Path]) -> int | None:
    """How many of 16 bits are in use by images whose header does not tell, of all of them; None if there are none."""
    found = parallel_map(estimate_used_bits, paths, workers=config.workers)
    return max((bits for bits in found if bits is not None), default=None)


def name_decoder(images: list[Look], bits: int | None) -> str:
    """What the pixels are decoded by, as runs are named by it: the usual decoder, if it has them all right."""
    decoder = max(one.decoder for one in images)
    return decoder if decoder == DECODER or bits in (None, 16) else f"{decoder}, {bits} bits"


def read_images(
    config: Config, rows: pd.DataFrame, images_root: Path, bits: int | None
) -> tuple[pd.DataFrame, list[Look], list[str]]:
    """(usable rows, their looks, files skipped); the pixels are kept where a cache of their size is wanted.

    bits: as in `decode`.
    """
    looks: list[Look] = []
    usable: list[bool] = []
    bad: list[str] = []

    def look(path: Path) -> Look | ImageError:
        return look_at(path, max_side=config.prepare.max_side, bits=bits)

    paths = [images_root / path for path in rows["path"]]
    limit = config.pixels_limit
    wanted = limit and config.known_short_side in (None, LOOK_SIDE)
    to_disk = partial(cache_writer, config.pixels_dir(LOOK_SIDE), short_side=LOOK_SIDE, max_bytes=limit, bits=bits)
    with to_disk() if wanted else nullcontext() as writer:
        found = parallel_map(look, paths, workers=config.workers)
        for path, one in zip(rows["path"], progress(found, "prepare", total=len(paths), unit="image"), strict=True):
            usable.append(isinstance(one, Look))
            if isinstance(one, Look):
                assert one.pixels is not None
                if writer:
                    writer.add(one.sha256, one.pixels)
                looks.append(replace(one, pixels=None))
            else:
                bad.append(f"{path}: {one}")
        if bad and config.competition.on_bad_image == "error":
            raise bad_images(bad)
    return rows[usable].reset_index(drop=True), looks, bad


def bad_images(bad: list[str]) -> UserError:
    """The error that names the files which cannot be used."""
    more = f" (and {len(bad) - 1} more)" if len(bad) > 1 else ""
    return UserError(f"{bad[0]}{more}; mend or remove it, or leave such files out with competition.on_bad_image=skip")


def find_duplicates(
    config: Config, rows: pd.DataFrame, looks: list[Look]
) -> tuple[pd.DataFrame, np.ndarray[Any, np.dtype[np.int64]]]:
    """(pairs of equal or nearly equal images by id, the group number of each row).

    Pictures are compared once for each content, so that a thousand copies of one cost no more than one. A group is all
    that pairs, equal files and the user's groups link, images to classify included: two training images that are linked
    by one of those alone are of one scene, too, and what a teacher says of it is taught to neither's fold.
    """
    content, first = np.unique([one.sha256 for one in looks], return_inverse=True, return_index=True)[::-1][:2]
    hashes = np.frombuffer(b"".join(looks[row].phash for row in first), np.uint8).reshape(-1, 16)
    pairs = near_pairs(hashes, np.stack([looks[row].thumbnail for row in first]), max_bits=config.prepare.near_bits)
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


def near_groups(ids: "pd.Series[str]", pairs: pd.DataFrame) -> "pd.Series[str]":
    """What the pairs among `ids` link, each group named by the first of its ids. pairs: id, twin."""
    i, j = (pd.Index(ids).get_indexer(pd.Index(pairs[name])) for name in ("id", "twin"))
    both = (i >= 0) & (j >= 0)
    return ids.groupby(linked_rows(len(ids), i[both], j[both])).transform("min")


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
    """The table with a part of the labelled rows; the other labelled ones become a test with answers.

    answers.csv holds them: id and target or, of long videos, their annotations.
    """
    folder, base = config.data_dir, read_json(config.base_dir / "prepared.json")
    competition = config.competition
    part: dict[str, Any] = {"per_class": competition.per_class, "seed": config.seed}
    if competition.hidden is not None:
        part = {"hidden": competition.hidden, "seed": competition.hidden_seed}
    settings = {"base": base["settings"], "table": base["table_hash"], **part}
    if is_prepared(folder, settings):
        log.info("prepare: %s is here already", folder / "table.parquet")
        return
    (folder / "prepared.json").unlink(missing_ok=True)
    table = pd.read_parquet(config.base_dir / "table.parquet")
    table = table[table.split == "train"]
    held = rows_held_out(config, table)
    answers = table.loc[held, ["id", "target"]]
    table = table.assign(split=np.where(held, "test", "train"), target=table["target"].where(~held, None)).reset_index(
        drop=True
    )
    if competition.kind == "image" and (config.base_dir / "duplicates.csv").exists():
        table = with_whole_groups(table, base_pairs(config))
    if competition.finds_segments:
        answers, own_hash = hide_annotations(config, table)
    else:
        own_hash = table_hash(table)
    write_parquet(folder / "table.parquet", table)
    write_bytes(folder / "answers.csv", answers.to_csv(index=False, lineterminator="\n").encode())
    root = Path("..") / config.base_slug
    images_root = base["images_root"] if Path(base["images_root"]).is_absolute() else str(root / base["images_root"])
    report = {**base, "settings": settings, "images_root": images_root, "unreadable": []}
    write_json(folder / "prepared.json", {**report, "table_hash": own_hash})
    log.info("prepare: %d labelled, %d held out as test", (~held).sum(), held.sum())


def base_pairs(config: Config) -> pd.DataFrame:
    """The near-duplicates of the whole competition, with their ids as text."""
    return pd.read_csv(config.base_dir / "duplicates.csv", dtype={"id": str, "twin": str}, keep_default_na=False)


def with_whole_groups(table: pd.DataFrame, pairs: pd.DataFrame) -> pd.DataFrame:
    """The table of a part whose labelled rows are grouped by what pairs link among them.

    A group that was too large for the folds of the whole, and was split, need not be too large for those of a part.
    """
    train = table[table["split"] == "train"]
    i, j = (pd.Index(train["id"]).get_indexer(pd.Index(pairs[name])) for name in ("id", "twin"))
    both = (i >= 0) & (j >= 0)
    groups = group_pairs(
        len(train), pairs[both].assign(i=i[both], j=j[both]), together=pd.factorize(train["group"])[0].astype(np.int64)
    )
    names = train["group"].groupby(groups).transform("min")
    return table.assign(group=names.reindex(table.index).fillna(table["group"]))


def rows_held_out(config: Config, table: pd.DataFrame) -> "pd.Series[bool]":
    """Which rows of the labelled table become the test."""
    competition = config.competition
    if competition.hidden is None:
        return ~table["id"].isin(choose(table, int(competition.per_class or 0), config.seed))
    part = partial(hidden_groups, least=2) if competition.finds_segments else hidden_part  # two halves, two folds
    rows = class_rows(config, table, config.base_dir)
    columns = (rows[name].tolist() for name in ("id", "target", "group"))
    return table["id"].isin(part(*columns, share=competition.hidden, seed=competition.hidden_seed))


def choose(table: pd.DataFrame, per_class: int, seed: int) -> set[str]:
    """The ids of `per_class` images of each class, drawn by `seed`. Raises UserError if a class has fewer."""
    chosen: set[str] = set()
    for number, (name, rows) in enumerate(sorted(table.groupby("target"))):
        if len(rows) < per_class:
            raise UserError(f"class {name} has {len(rows)} images; competition.per_class={per_class} asks for more")
        ids = np.sort(rows["id"].to_numpy())
        chosen |= set(np.random.default_rng([seed, number]).choice(ids, per_class, replace=False))
    return chosen


# --- folds -----------------------------------------------------------------------------------------------------


def make_or_check_folds(config: Config) -> None:
    """folds.csv, made once; afterwards only checked against the table and the configuration."""
    path = config.folds_file
    table = pd.read_parquet(config.data_dir / "table.parquet")
    train = table[table.split == "train"]
    ids, groups = train["id"].tolist(), train["group"].tolist()
    targets = train["target"].fillna("video").tolist()  # a long video has no class of its own
    count, seed = fold_count(config, groups), config.folds.seed
    if config.folds.file or (path.exists() and not config.folds.remake):
        folds = read_folds(path)
        demand_settings(folds, config, count, path)
        if config.folds.file or not config.competition.refresh or is_current(folds, train):
            check_folds(folds, ids, path=path)
            demand_whole_groups(folds, config, train, path)
            tell_torn_pairs(folds, config, path)
            demand_every_class(config, folds, train, f"{path}: ", "spread it")
            log.info("prepare: %s holds %d folds already", path, folds["fold"].nunique())
            return
    what = config.competition.noun
    if config.competition.kind != "image":
        demand_groups(count, len(set(groups)), what)
    if config.folds.count == "groups":
        folds = leave_one_group_out(ids, groups)
    else:
        folds = make_folds(ids, targets, groups, count=count, seed=seed)
    other = "" if config.competition.hidden is None else f" or drill.seed={config.competition.hidden_seed + 1}"
    more = "add images of it" if config.competition.kind == "image" else "label it in another group too"
    advice = f"{more}, or try folds.seed={seed + 1}{other}"
    demand_every_class(config, folds, train, "", advice)
    data = folds_csv(folds, count=count, seed=seed)
    if not path.exists() or path.read_bytes() != data:
        write_bytes(path, data)
    sizes = ", ".join(str(n) for n in folds["fold"].value_counts().sort_index())
    log.info("prepare: %d folds of %s %s in %s", count, sizes, what, path)
    tell_torn_pairs(folds, config, None)


def is_current(folds: pd.DataFrame, train: pd.DataFrame) -> bool:
    """Whether folds that prepare has made are of these rows, and tear none of the user's groups."""
    return set(folds["id"]) == set(train["id"]) and not torn_groups(folds, train["id"], given_groups(train))


def given_groups(train: pd.DataFrame) -> list[str]:
    """The user's group of each labelled row; one of its own where there is none.

    Of video and series all groups are the user's; a table without `given_group` was made by an older version.
    """
    if "video" in train:
        return train["group"].tolist()
    given = train["given_group"] if "given_group" in train else pd.Series(None, train.index, dtype=object)
    return [
        f"given {name}" if isinstance(name, str) else f"id {id}" for id, name in zip(train["id"], given, strict=True)
    ]


def demand_whole_groups(folds: pd.DataFrame, config: Config, train: pd.DataFrame, path: Path) -> None:
    """Raises UserError where folds.csv tears groups that the user has given since; a file of the user's own may."""
    if config.folds.file is not None:
        if torn := torn_groups(folds, train["id"], train["group"].tolist()):
            log.warning("%s: %d groups of images lie in more than one fold: %s", path, len(torn), first_three(torn))
    elif torn := torn_groups(folds, train["id"], given_groups(train)):
        names = first_three([name.removeprefix("given ") for name in torn])
        raise UserError(
            f"{path} was made before {len(torn)} groups were known, which lie in more than one fold ({names}): type "
            "folds.remake=true to split anew (older runs keep their scores)"
        )


def tell_torn_pairs(folds: pd.DataFrame, config: Config, path: Path | None) -> None:
    """Warns of near-duplicates of which one is trained on while the other is scored. path: of folds made before."""
    file = config.base_dir / "duplicates.csv"
    if config.competition.kind != "image" or not file.exists():
        return
    pairs = base_pairs(config)
    fold_of = dict(zip(folds["id"], folds["fold"], strict=True))
    first, second = (pairs[name].map(fold_of) for name in ("id", "twin"))
    inside = first.notna() & second.notna()
    torn = pairs[inside & (first != second)]
    if torn.empty:
        return
    names = first_three([f"{a} and {b}" for a, b in zip(torn["id"], torn["twin"], strict=True)])
    why = f"{path} was made before they were known: folds.remake=true splits anew (older runs keep their scores)"
    if config.folds.file is not None:
        why = f"{path} has it so: folds.file=null folds.remake=true splits anew"
    if path is None:
        why = "together they are over half of the images, too many for one fold"
    log.warning(
        "prepare: %d of %d near-duplicate pairs lie in two folds, which makes scores too good: %s; %s",
        len(torn), int(inside.sum()), names, why,
    )  # fmt: skip


def fold_count(config: Config, groups: list[str]) -> int:
    """How many folds are asked for."""
    return len(set(groups)) if config.folds.count == "groups" else int(config.folds.count)


def demand_groups(count: int, found: int, what: str) -> None:
    """Raises UserError if there are fewer groups to train on than folds, or only one."""
    if found < 2:
        raise UserError(f"all {what} to train on are in one group, and folds need two: add others, or mend the groups")
    if found < count:
        raise UserError(f"{found} groups of {what} are too few for folds.count={count}: type folds.count={found}")


def class_rows(config: Config, rows: pd.DataFrame, folder: Path) -> pd.DataFrame:
    """id, group and target of labelled rows: a row's class or, for long videos, a row for every class in one.

    folder: where the annotations are of which the classes of long videos are known.
    """
    if not config.competition.finds_segments:
        return rows[["id", "group", "target"]]
    return classes_of(rows, read_annotations(folder / "annotations.csv"), config.competition.background)


def demand_settings(folds: pd.DataFrame, config: Config, count: int, path: Path) -> None:
    """Raises UserError when folds.csv was made with other settings than the configuration's."""
    for name, wanted in (("count", count), ("seed", config.folds.seed)):
        if config.folds.file is None and name in folds and set(folds[name]) != {wanted}:
            made = folds[name].iloc[0]
            raise UserError(
                f"{path} was made with folds.{name}={made}, the configuration says {wanted}: type "
                f"folds.{name}={made} to use it, or folds.remake=true to split anew (older runs keep their scores)"
            )


def demand_every_class(config: Config, folds: pd.DataFrame, train: pd.DataFrame, where: str, advice: str) -> None:
    """Warns of classes that lie in one fold alone since they have but one group: they stay in training.

    Raises UserError for any other class that could not be learned for the fold it is in: for one that could be spread,
    for those of segments, which are judged by the videos of other folds, and where only one class would be left.
    where, advice: how the message begins and ends.
    """
    rows = class_rows(config, train, config.data_dir)
    fold = rows["id"].map(dict(zip(folds["id"], folds["fold"], strict=True)))
    found = (
        rows.assign(fold=fold)
        .groupby("target")
        .agg(folds=("fold", "nunique"), fold=("fold", "first"), groups=("group", "nunique"), images=("id", "size"))
    )
    alone = found[found["folds"] == 1]
    left = [rows.loc[fold != number, "target"].nunique() for number in alone["fold"]]
    refused = alone[(alone["groups"] > 1) | (np.array(left, int) < 2) | config.competition.finds_segments]
    for name, number in refused["fold"].items():
        raise UserError(f"{where}class {name} lies in fold {number:.0f} alone, so nothing could teach it; {advice}")
    if len(alone):
        log.warning(
            "prepare: %sclasses of one group, as one image or one person's: %s. All folds but its own train on it; "
            "there nothing has taught it, and %d rows get next to no probability of their class out of fold: they "
            "count as wrong", where, first_three(alone.index.tolist()), int(alone["images"].sum()),
        )  # fmt: skip
