"""Folds of items with several tags each, by iterative stratification, and rows that are hidden, by task."""

from collections.abc import Hashable, Sequence
from fractions import Fraction

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kagglepipe.competitions.folds import check_enough, hidden_part
from kagglepipe.competitions.targets import split_tags, strata

Matrix = NDArray[np.float64]


def make_tag_folds(
    ids: Sequence[str], tags: Sequence[Sequence[str]], groups: Sequence[Hashable], *, count: int, seed: int
) -> pd.DataFrame:
    """Make a frame of id (sorted) and fold (0..count-1) that splits no group and gives each fold its share of each tag.

    The groups with the tag that the fewest rows left have are dealt first, each to the fold that lacks most of that
    tag, of equal ones to the smallest; groups without a tag level the sizes at the end. Sechidis, Tsoumakas and
    Vlahavas 2011, "On the stratification of multi-label data", with groups in the place of rows.

    ids, tags, groups: one of each per row; ids are unique.
    Raises UserError for fewer than two folds, or more folds than groups.

    >>> make_tag_folds("abcd", [["x"], ["x"], ["y"], ["x", "y"]], "abcd", count=2, seed=0)["fold"].tolist()
    [0, 1, 0, 1]
    """
    rows = pd.DataFrame({"id": list(ids), "tags": list(tags), "group": list(groups)})
    rows = rows.sort_values("id", ignore_index=True)
    check_enough(rows, count)
    group, rng = pd.factorize(rows["group"])[0], np.random.default_rng(seed)
    order = rng.permutation(int(group.max()) + 1)  # of equal groups the first in this order is dealt first
    rank = np.argsort(order)
    counts = _tag_counts(rows["tags"].tolist(), rank[group])
    fold_of = _deal(counts, np.bincount(rank[group]).astype(float), count)
    return pd.DataFrame({"id": rows["id"], "fold": fold_of[rank[group]]})


def _tag_counts(tags: Sequence[Sequence[str]], group: NDArray[np.int64]) -> Matrix:
    """Rows of each group with each tag, (G, C)."""
    names = {name: column for column, name in enumerate(sorted({name for own in tags for name in own}))}
    counts = np.zeros((int(group.max()) + 1, len(names)))
    for number, own in zip(group, tags, strict=True):
        for name in own:
            counts[number, names[name]] += 1
    return counts


def _deal(counts: Matrix, sizes: NDArray[np.float64], folds: int) -> NDArray[np.int64]:
    """Fold of each group (G,). counts: rows with each tag, (G, C). sizes: rows, (G,)."""
    fold_of = np.full(len(sizes), -1)
    lacking = np.repeat(counts.sum(axis=0)[None] / folds, folds, axis=0)  # (folds, C)
    room = np.full(folds, sizes.sum() / folds)
    left = counts.sum(axis=0)

    def deal(one: int, fold: int) -> None:
        fold_of[one] = fold
        lacking[fold] -= counts[one]
        room[fold] -= sizes[one]
        left[:] = left - counts[one]

    while (left > 0).any():
        tag = int(np.where(left > 0, left, np.inf).argmin())
        own = np.flatnonzero((counts[:, tag] > 0) & (fold_of < 0))
        for one in own[np.argsort(-counts[own, tag], kind="stable")]:
            deal(int(one), int(np.lexsort((-room, -lacking[:, tag]))[0]))
    rest = np.flatnonzero(fold_of < 0)
    for one in rest[np.argsort(-sizes[rest], kind="stable")]:
        deal(int(one), int(room.argmax()))
    return fold_of


def hidden_rows(
    ids: Sequence[str], targets: Sequence[str], groups: Sequence[Hashable], *, task: str, share: float, seed: int
) -> set[str]:
    """Choose ids of about `share` of the rows to hide, as `folds.hidden_part`: of numbers by their strata.

    Of tags some of the folds of `make_tag_folds`. Raises UserError for too few rows.

    >>> sorted(hidden_rows("abcd", ["x", "x|y", "y", "x|y"], "abcd", task="multilabel", share=0.5, seed=0))
    ['a', 'd']
    """
    if task != "multilabel":
        return hidden_part(ids, strata(targets, task), groups, share=share, seed=seed)
    part = Fraction(share).limit_denominator(20)
    folds = make_tag_folds(ids, [split_tags(one) for one in targets], groups, count=part.denominator, seed=seed)
    return set(folds.loc[folds["fold"] < part.numerator, "id"])
