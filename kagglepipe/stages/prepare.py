"""stage=prepare: from files to a table, near-duplicate groups, folds and a cache of decoded pixels.

`images/table.py` and `sequences/table.py` make the table; a part of the labels is chosen here.
Reads data/<slug>/raw/ (or the source folder). Writes table.parquet, duplicates.csv, cache/pixels-*/ and
prepared.json (last: proof of the rest), and folds.csv, once.
"""

import logging
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from kagglepipe.competitions.dataset import REPORT
from kagglepipe.competitions.duplicates import group_pairs
from kagglepipe.competitions.fold_file import class_rows, make_or_check_folds, near_duplicates
from kagglepipe.competitions.folds import hidden_groups
from kagglepipe.competitions.table import table_hash
from kagglepipe.competitions.tag_folds import hidden_rows
from kagglepipe.config import Config
from kagglepipe.errors import UserError
from kagglepipe.files import locked, read_json, write_bytes, write_json, write_parquet
from kagglepipe.images.table import LOOK_SIDE, is_prepared, make_image_table, pairs_among
from kagglepipe.options import CompetitionOptions
from kagglepipe.predictions.metric_needs import check_metric, check_numbers
from kagglepipe.runs.configured import read_data
from kagglepipe.runs.expected import check_submittable
from kagglepipe.sequences.table import hide_annotations, make_sequence_table

log = logging.getLogger(__name__)


def run(config: Config) -> None:
    """Make table, groups, cache and folds, as far as they are missing."""
    competition, base_dir, data_dir = config.competition, config.base_dir, config.data_dir
    options, workers = config.prepare, config.workers
    with locked(base_dir):
        if competition.kind == "image":
            is_cached = config.sees_what_prepare_decodes
            make_image_table(
                competition, base_dir, options, workers=workers,
                pixels_dir=config.pixels_dir(LOOK_SIDE) if is_cached else None, max_bytes=config.pixels_limit,
            )  # fmt: skip
        else:
            make_sequence_table(competition, base_dir, max_side=options.max_side, workers=workers)
        if competition.is_part:
            make_subset(competition, base_dir, data_dir, config.seed)
        make_or_check_folds(competition, config.folds, config.folds_file, data_dir=data_dir, base_dir=base_dir)
    dataset = read_data(config, frames=False)
    check_metric(competition, len(dataset.classes))
    targets = dict(zip(dataset.train["id"], dataset.train["target"], strict=True))
    check_numbers(competition, targets, dataset.classes)
    check_submittable(competition, dataset, upload=config.submit.upload, scored=config.run is None)


# --- few labels ------------------------------------------------------------------------------------------------


def make_subset(competition: CompetitionOptions, whole: Path, folder: Path, seed: int) -> None:
    """Make the table of a part of the labelled rows; the others become a test with answers.

    answers.csv holds these: id and target or, of long videos, their annotations. whole: data/<base slug>/. folder:
    data/<slug>/.
    """
    base = read_json(whole / REPORT)
    part: dict[str, Any] = {"per_class": competition.per_class, "seed": seed}
    if competition.hidden is not None:
        part = {"hidden": competition.hidden, "seed": competition.hidden_seed}
    settings = {"base": base["settings"], "table": base["table_hash"], **part}
    if is_prepared(folder, settings):
        log.info("prepare: %s is here already", folder / "table.parquet")
        return
    (folder / REPORT).unlink(missing_ok=True)
    table = pd.read_parquet(whole / "table.parquet")
    table = table[table.split == "train"].drop(columns="answer_id", errors="ignore")
    is_test = rows_held_out(competition, table, whole, part["seed"])
    answers = table.loc[is_test, ["id", "target"]]
    table = table.assign(split=np.where(is_test, "test", "train"), target=table["target"].where(~is_test, None))
    table = table.reset_index(drop=True)
    pairs = near_duplicates(whole) if competition.kind == "image" else None
    if pairs is not None:
        table = with_whole_groups(table, pairs)
    if competition.finds_segments:
        answers, own_hash = hide_annotations(table, whole, folder, competition.noun)
    else:
        own_hash = table_hash(table)
    write_parquet(folder / "table.parquet", table)
    write_bytes(folder / "answers.csv", answers.to_csv(index=False, lineterminator="\n").encode())
    images_root = base["images_root"]
    if not Path(images_root).is_absolute():
        images_root = str(Path("..") / whole.name / images_root)
    report = {**base, "settings": settings, "images_root": images_root, "unreadable": []}
    write_json(folder / REPORT, {**report, "table_hash": own_hash})
    log.info("prepare: %d labelled, %d held out to classify", (~is_test).sum(), is_test.sum())


def with_whole_groups(table: pd.DataFrame, pairs: pd.DataFrame) -> pd.DataFrame:
    """Group the labelled rows of a part's table by the pairs among them.

    A group that was too large for the folds of the whole, and was split, need not be too large for those of a part.
    """
    train = table[table["split"] == "train"]
    given = pd.factorize(train["group"])[0].astype(np.int64)
    groups = group_pairs(len(train), pairs_among(train["id"], pairs), together=given)
    names = train["group"].groupby(groups).transform("min")
    return table.assign(group=names.reindex(table.index).fillna(table["group"]))


def rows_held_out(competition: CompetitionOptions, table: pd.DataFrame, folder: Path, seed: int) -> "pd.Series[bool]":
    """Mask of the labelled rows that become the test. folder: of the whole competition."""
    if competition.hidden is None:
        if competition.task in ("multilabel", "regression"):
            raise UserError(
                f"competition.per_class counts items of a class, and competition.task={competition.task} has none: "
                "leave it out; stage=drill hides a share of the items"
            )
        return ~table["id"].isin(sample_classes(table, int(competition.per_class or 0), seed))
    of_rows = partial(hidden_rows, task=competition.task)
    part = partial(hidden_groups, least=2) if competition.finds_segments else of_rows  # least: public and private
    rows = class_rows(competition, table, folder) if competition.finds_segments else table
    columns = (rows[name].tolist() for name in ("id", "target", "group"))
    return table["id"].isin(part(*columns, share=competition.hidden, seed=seed))


def sample_classes(table: pd.DataFrame, per_class: int, seed: int) -> set[str]:
    """Sample the ids of `per_class` images of each class. Raises UserError if a class has fewer."""
    sampled: set[str] = set()
    for number, (name, rows) in enumerate(sorted(table.groupby("target"))):
        if len(rows) < per_class:
            raise UserError(f"class {name} has {len(rows)} images; competition.per_class={per_class} asks for more")
        ids = np.sort(rows["id"].to_numpy())
        sampled |= set(np.random.default_rng([seed, number]).choice(ids, per_class, replace=False))
    return sampled
