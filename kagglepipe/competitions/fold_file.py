"""The part of stage=prepare that makes folds.csv once, and afterwards checks it against the table and the options."""

import logging
from pathlib import Path

import numpy as np
import pandas as pd

from kagglepipe.competitions.dataset import read_annotations, read_folds
from kagglepipe.competitions.event_labels import UNANNOTATED
from kagglepipe.competitions.folds import check_folds, folds_csv, leave_one_group_out, make_folds, split_groups
from kagglepipe.competitions.given_folds import given_folds
from kagglepipe.competitions.tag_folds import make_tag_folds
from kagglepipe.competitions.targets import exploded, split_tags, strata
from kagglepipe.competitions.units import classes_of
from kagglepipe.errors import UserError
from kagglepipe.files import write_bytes
from kagglepipe.options import CompetitionOptions, FoldOptions
from kagglepipe.text import first_three

log = logging.getLogger(__name__)
REMAKE = "folds.remake=true splits anew (older runs keep their scores)"


def make_or_check_folds(
    competition: CompetitionOptions, options: FoldOptions, path: Path, *, data_dir: Path, base_dir: Path
) -> None:
    """Makes folds.csv, or checks the folds that are there. path: of the folds. data_dir, base_dir: as in Config."""
    table = pd.read_parquet(data_dir / "table.parquet")
    train = table[table.split == "train"]
    rows = class_rows(competition, train, data_dir)
    pairs = near_duplicates(base_dir) if competition.kind == "image" else None
    given = None if options.file else given_folds(train, given_groups(train), competition)
    if options.file or (path.exists() and not options.remake):
        folds = read_folds(path)
        if competition.labels_patch:  # dropped rows keep their fold, so that runs with and without them have the same
            folds = folds[folds["id"].isin(train["id"])]
        if given is None:
            check_settings(folds, options, train, path)
        is_current = set(folds["id"]) == set(train["id"]) and not split_groups(folds, train["id"], given_groups(train))
        if options.file or not competition.refresh or is_current:
            check_folds(folds, train["id"].tolist(), path=path)
            check_given(folds, given, competition, path)
            check_groups(folds, options, train, path)
            where = f"{path} was made before they were known: {REMAKE}"
            if options.file:
                where = f"{path} has it so: folds.file=null folds.remake=true splits anew"
            warn_of_split_pairs(folds, pairs, where)
            check_classes_of_folds(competition, rows, folds, f"{path}: ", "spread it")
            log.info("prepare: %s holds %d folds already", path, folds["fold"].nunique())
            return
    folds = split(train, competition, options) if given is None else given
    other = "" if competition.hidden is None else f" or drill.seed={competition.hidden_seed + 1}"
    more = "add images of it" if competition.kind == "image" else "label it in another group too"
    advice = f"{more}, or try folds.seed={options.seed + 1}{other}"
    if given is not None:
        advice = "mend its folds there"
    check_classes_of_folds(competition, rows, folds, "", advice)
    count = folds["fold"].nunique()
    settings = {"count": fold_count(options, train), "seed": options.seed} if given is None else {}
    data = folds_csv(folds, **settings)
    if not path.exists() or path.read_bytes() != data:
        write_bytes(path, data)
    sizes = ", ".join(str(n) for n in folds["fold"].value_counts().sort_index())
    log.info("prepare: %d folds of %s %s in %s", count, sizes, competition.noun, path)
    why = "together they are over half of the images, too many for one fold"
    if given is not None:
        column = competition.column("fold")
        log.info("prepare: the folds are those of column %s: folds.count and folds.seed do not count", column)
        why = f"column {column} has it so"
    warn_of_split_pairs(folds, pairs, why)


def split(train: pd.DataFrame, competition: CompetitionOptions, options: FoldOptions) -> pd.DataFrame:
    """Folds (id, fold) of the labelled rows, by group. Raises UserError for too few groups of video or series."""
    ids, groups, what = train["id"].tolist(), train["group"].tolist(), competition.noun
    count, found = fold_count(options, train), len(set(groups))
    if competition.kind != "image" and found < 2:
        raise UserError(f"all {what} to train on are in one group, and folds need two: add others, or mend the groups")
    if competition.kind != "image" and found < count:
        raise UserError(f"{found} groups of {what} are too few for folds.count={count}: type folds.count={found}")
    if options.count == "groups":
        return leave_one_group_out(ids, groups)
    if competition.task == "multilabel":
        return make_tag_folds(ids, train["target"].map(split_tags).tolist(), groups, count=count, seed=options.seed)
    targets = train["target"].fillna("video").tolist()  # a long video has no class of its own
    return make_folds(ids, strata(targets, competition.task), groups, count=count, seed=options.seed)


def fold_count(options: FoldOptions, train: pd.DataFrame) -> int:
    """Number of folds asked for."""
    return train["group"].nunique() if options.count == "groups" else int(options.count)


def class_rows(competition: CompetitionOptions, rows: pd.DataFrame, folder: Path) -> pd.DataFrame:
    """id, group and target of labelled rows: a row an item or, of tags and long videos, one for every class in one.

    folder: with annotations.csv, the labels of long videos.
    """
    if not competition.finds_segments:
        return exploded(rows[["id", "group", "target"]], competition.task)
    labels = read_annotations(folder / "annotations.csv")
    return classes_of(rows, labels[labels["label"] != UNANNOTATED], competition.background)


def near_duplicates(folder: Path) -> pd.DataFrame | None:
    """Pairs of near-duplicates (id, twin, …) of the whole competition; None where older versions left none."""
    file = folder / "duplicates.csv"
    return pd.read_csv(file, dtype={"id": str, "twin": str}, keep_default_na=False) if file.exists() else None


def given_groups(train: pd.DataFrame) -> list[str]:
    """Look up the user's group of each labelled row, or one of its own.

    All groups of video and series are the user's. A table without `given_group` was made by an older version.
    """
    if "video" in train:
        return train["group"].tolist()
    given = train["given_group"] if "given_group" in train else pd.Series(None, train.index, dtype=object)
    return [
        f"given {name}" if isinstance(name, str) else f"id {id}" for id, name in zip(train["id"], given, strict=True)
    ]


def check_settings(folds: pd.DataFrame, options: FoldOptions, train: pd.DataFrame, path: Path) -> None:
    """Raises UserError if folds.csv was made with another count or seed."""
    for name, wanted in (("count", fold_count(options, train)), ("seed", options.seed)):
        if options.file is None and name in folds and set(folds[name]) != {wanted}:
            made = folds[name].iloc[0]
            raise UserError(
                f"{path} was made with folds.{name}={made}, the configuration says {wanted}: type "
                f"folds.{name}={made} to use it, or folds.remake=true to split anew (older runs keep their scores)"
            )


def check_given(folds: pd.DataFrame, given: pd.DataFrame | None, competition: CompetitionOptions, path: Path) -> None:
    """Raises UserError if folds.csv has others than the user's tables give; both hold the same ids."""
    if given is not None and (other := folds.merge(given, on="id").query("fold_x != fold_y")["id"].tolist()):
        raise UserError(
            f"{path} has other folds than the column {competition.column('fold')} of the tables, as for "
            f"{first_three(other)}: type folds.remake=true to take those (older runs keep their scores)"
        )


def check_groups(folds: pd.DataFrame, options: FoldOptions, train: pd.DataFrame, path: Path) -> None:
    """Raises UserError if folds.csv splits groups that the user has given since; warns if `folds.file` splits any."""
    if options.file is not None:
        if divided := split_groups(folds, train["id"], train["group"].tolist()):
            log.warning(
                "%s: %d groups of images lie in more than one fold: %s", path, len(divided), first_three(divided)
            )
    elif divided := split_groups(folds, train["id"], given_groups(train)):
        names = first_three([name.removeprefix("given ") for name in divided])
        raise UserError(
            f"{path} was made before {len(divided)} groups were known, which lie in more than one fold ({names}): type "
            "folds.remake=true to split anew (older runs keep their scores)"
        )


def warn_of_split_pairs(folds: pd.DataFrame, pairs: pd.DataFrame | None, why: str) -> None:
    """Warns of near-duplicates in two folds: a model is trained on one and scored on the other."""
    if pairs is None:
        return
    fold_of = dict(zip(folds["id"], folds["fold"], strict=True))
    first, second = (pairs[name].map(fold_of) for name in ("id", "twin"))
    inside = first.notna() & second.notna()
    split_pairs = pairs[inside & (first != second)]
    if len(split_pairs):
        names = first_three([f"{a} and {b}" for a, b in zip(split_pairs["id"], split_pairs["twin"], strict=True)])
        log.warning(
            "prepare: %d of %d near-duplicate pairs lie in two folds, which makes scores too good: %s; %s",
            len(split_pairs), int(inside.sum()), names, why,
        )  # fmt: skip


def check_classes_of_folds(
    competition: CompetitionOptions, rows: pd.DataFrame, folds: pd.DataFrame, where: str, advice: str
) -> None:
    """Warns of classes in a single fold because they have a single group: all other folds train on them.

    Raises UserError for any other class that cannot be learned for its own fold: one that could be spread, classes of
    segments (scored on the videos of other folds), and where only one class would be left.
    rows: id, group, target. where, advice: begin and end the message.
    """
    fold = rows["id"].map(dict(zip(folds["id"], folds["fold"], strict=True)))
    found = (
        rows.assign(fold=fold)
        .groupby("target")
        .agg(folds=("fold", "nunique"), fold=("fold", "first"), groups=("group", "nunique"), images=("id", "size"))
    )
    single_fold = found[found["folds"] == 1]
    left_without = {number: rows.loc[fold != number, "target"].nunique() for number in single_fold["fold"].unique()}
    left = [left_without[number] for number in single_fold["fold"]]
    refused = single_fold[(single_fold["groups"] > 1) | (np.array(left, int) < 2) | competition.finds_segments]
    for name, number in refused["fold"].items():
        raise UserError(f"{where}class {name} lies only in fold {number:.0f}, whose model never sees it; {advice}")
    if len(single_fold):
        log.warning(
            "prepare: %sclasses of a single group, as one image or one person's: %s. Each lies in one fold, whose "
            "model never sees it: the out-of-fold predictions of these %d rows are wrong",
            where, first_three(single_fold.index.tolist()), int(single_fold["images"].sum()),
        )  # fmt: skip
