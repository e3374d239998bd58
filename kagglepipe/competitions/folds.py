"""Stratified group folds, made once by `stage=prepare` and kept in data/<slug>/folds.csv, or the user's own.

The split is a function of the set of rows, the number of folds and the seed, not of the order of rows. A group
(near-duplicates, one person, one video) is in one fold, and each fold gets its share of each class.
"""

from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kagglepipe.competitions.dataset import FOLD_COLUMNS, MEND
from kagglepipe.errors import UserError
from kagglepipe.text import first_three

TRIES = 300  # random choices of groups to hide, of which the best is taken

Counts = NDArray[np.int64]


def make_folds(
    ids: Sequence[str], targets: Sequence[Hashable], groups: Sequence[Hashable], *, count: int, seed: int
) -> pd.DataFrame:
    """Make a frame of id (sorted) and fold (0..count-1), stratified by target, that splits no group.

    Groups of several rows are dealt first, the heaviest first, each to the fold where it keeps the class shares
    closest; the single rows then level each class. If all rows are single, the folds' counts of a class differ by at
    most one, and so do their sizes. A class of fewer images than folds is missing in some.

    ids, targets, groups: one of each per row; ids are unique.
    Raises UserError for fewer than two folds, or more folds than groups.

    >>> make_folds(["d", "a", "b", "c"], [1, 0, 1, 0], "dabc", count=2, seed=0)["id"].tolist()
    ['a', 'b', 'c', 'd']
    """
    rows = pd.DataFrame({"id": list(ids), "target": list(targets), "group": list(groups)})
    rows = rows.sort_values("id", ignore_index=True)
    if rows["id"].duplicated().any():
        raise ValueError("ids must be unique")
    check_enough(rows, count)
    target, classes = pd.factorize(rows["target"], sort=True)
    group = pd.factorize(rows["group"])[0]  # numbered by first id
    rng = np.random.default_rng(seed)
    fold_of, filled = _deal_groups(group, target, len(classes), count, rng)
    _deal_singles(group, target, fold_of, filled, rng)
    return pd.DataFrame({"id": rows["id"], "fold": fold_of[group]})


def hidden_part(
    ids: Sequence[str], targets: Sequence[Hashable], groups: Sequence[Hashable], *, share: float, seed: int
) -> set[str]:
    """Choose ids of about `share` of the rows to hide: some of the folds that `make_folds` makes.

    The share is rounded to a fraction with a denominator of at most 20. Raises UserError for too few rows.

    >>> sorted(hidden_part("abcd", [1, 0, 1, 0], "aacd", share=0.5, seed=0))
    ['a', 'b']
    """
    part = Fraction(share).limit_denominator(20)
    rows = pd.DataFrame({"target": list(targets), "group": list(groups)})
    if shortage := _shortage(rows, part.denominator):
        needed = f"a share of {share:g} takes {part.denominator} at least"
        raise UserError(f"{shortage}, {needed}: type one that takes fewer, as drill.share=0.5, or label more")
    folds = make_folds(ids, targets, groups, count=part.denominator, seed=seed)
    return set(folds.loc[folds["fold"] < part.numerator, "id"])


def hidden_groups(
    ids: Sequence[str], targets: Sequence[Hashable], groups: Sequence[Hashable], *, share: float, seed: int, least: int
) -> set[str]:
    """Choose ids of about `share` of the items to hide, in whole groups, for items with several targets each.

    Of TRIES random sets of groups, at least `least` of them hidden and `least` left, the first best is taken: every
    target stays in `least` groups, as folds need, and as many targets as possible occur in the hidden part.

    ids, targets, groups: an id once for each of its targets.
    Raises UserError for too few groups.

    >>> sorted(hidden_groups(["a", "a", "b", "b", "c"], [0, 1, 0, 1, 0], "xxyyz", share=0.4, seed=0, least=1))
    ['b']
    """
    rows = pd.DataFrame({"id": list(ids), "target": list(targets), "group": [str(group) for group in groups]})
    occurs = pd.crosstab(rows["group"], rows["target"]).to_numpy() > 0  # (groups, targets)
    of_group = rows.drop_duplicates("id").groupby("group")["id"]
    sizes, count = of_group.size().to_numpy(), of_group.ngroups
    if count < 2 * least:
        raise UserError(
            f"{count} groups are too few to hide some: {least} are hidden, and {least} have to be left; label items of "
            "another group"
        )
    random, wanted = np.random.default_rng(seed), share * sizes.sum()

    def choice() -> Counts:
        order = random.permutation(count)
        reached = np.cumsum(sizes[order])[least - 1 : count - least]  # with `least` groups, and with each one more
        return order[: least + np.abs(reached - wanted).argmin()]

    def lacking(chosen: Counts) -> tuple[int, int]:
        hidden = occurs[chosen].sum(axis=0)
        return int(np.maximum(least - (occurs.sum(axis=0) - hidden), 0).sum()), int((hidden == 0).sum())

    best = min((choice() for _ in range(TRIES)), key=lacking)
    return set(rows.loc[rows["group"].isin(of_group.size().index[best]), "id"])


def leave_one_group_out(ids: Sequence[str], groups: Sequence[Hashable]) -> pd.DataFrame:
    """Make a frame of id (sorted) and fold, a fold for each group in the order of their names.

    >>> leave_one_group_out(["c", "a", "b"], ["anna", "bob", "anna"])["fold"].tolist()
    [1, 0, 0]
    """
    rows = pd.DataFrame({"id": list(ids), "group": [str(group) for group in groups]}).sort_values("id")
    return pd.DataFrame({"id": rows["id"], "fold": pd.factorize(rows["group"], sort=True)[0]}).reset_index(drop=True)


def check_enough(rows: pd.DataFrame, count: int) -> None:
    """Raises UserError if the rows cannot be split into `count` folds."""
    if count < 2:
        raise UserError(f"folds.count={count} leaves nothing to validate on; type folds.count=5")
    if (groups := rows["group"].nunique()) < count:
        advice = f"type folds.count={groups}" if groups > 1 else "two folds need at least 2: add images"
        found = f"all images are in {groups} group{'s' * (groups != 1)}"
        raise UserError(f"{found}, folds.count={count} needs at least {count}; {advice}")


def _shortage(rows: pd.DataFrame, count: int) -> str | None:
    """Say why `count` parts cannot have every class each; None if they can."""
    name, images = min(rows["target"].value_counts().items(), key=lambda item: item[1])
    groups = rows["group"].nunique()
    if images < count:
        return f"class {name} has only {images} image{'s' * (images != 1)}"
    return None if groups >= count else f"all images are in {groups} group{'s' * (groups != 1)}"


def _deal_groups(
    group: Counts, target: Counts, classes: int, count: int, rng: np.random.Generator
) -> tuple[Counts, Counts]:
    """Deal the groups of several rows: (groups,) fold of each, -1 for a single row; (count, classes) sizes.

    Each group goes where the sum of the folds' squared class shares grows least. group, target: (N,) of each row. A
    table of all groups and classes would take 4 GB for 100,000 groups and 5,000 classes.
    """
    sizes = np.bincount(group)
    by_group, ends = target[np.argsort(group, kind="stable")], np.append(0, np.cumsum(sizes))

    def counts_of(one: int) -> Counts:
        return np.bincount(by_group[ends[one] : ends[one + 1]], minlength=classes)

    fold_of, filled = np.full(len(sizes), -1), np.zeros((count, classes), dtype=np.int64)
    weights = 1 / np.bincount(target, minlength=classes) ** 2.0
    several = rng.permutation(np.flatnonzero(sizes > 1))
    weight_of = [(counts_of(one) ** 2 * weights).sum() for one in several]
    for one in several[np.argsort(-np.array(weight_of), kind="stable")]:
        counts = counts_of(one)
        growth = (filled * (counts * weights)).sum(axis=1)  # (count,)
        fold = np.lexsort((filled.sum(axis=1), growth))[0]
        fold_of[one] = fold
        filled[fold] += counts
    return fold_of, filled


def _deal_singles(group: Counts, target: Counts, fold_of: Counts, filled: Counts, rng: np.random.Generator) -> None:
    """Deal the groups of one row, class by class; changes `fold_of` and `filled` in place."""
    rows = np.flatnonzero((np.bincount(group) == 1)[group])
    rows = rows[np.lexsort((group[rows], target[rows]))]
    ends = np.searchsorted(target[rows], np.arange(filled.shape[1] + 1))
    sizes = filled.sum(axis=1)
    for number in range(filled.shape[1]):
        members = rng.permutation(group[rows[ends[number] : ends[number + 1]]])
        shares = _fill_level(filled[:, number], len(members), sizes)
        fold_of[members] = np.repeat(np.arange(len(filled)), shares)
        filled[:, number] += shares
        sizes += shares


def _fill_level(counts: Counts, amount: int, sizes: Counts) -> Counts:
    """(count,) numbers to add to `counts`, `amount` in all, that make them as equal as possible.

    The remainder goes, one each, to the folds whose `sizes` are smallest.

    >>> _fill_level(np.array([5, 0, 1]), 6, np.array([9, 9, 0])).tolist()
    [0, 3, 3]
    """
    rising = np.sort(counts)
    levels = (amount + np.cumsum(rising)) // np.arange(1, len(counts) + 1)  # if the lowest 1, 2, … folds are filled
    level = levels[np.flatnonzero(levels >= rising)[-1]]
    shares: Counts = np.maximum(level - counts, 0)
    at_surface = np.flatnonzero(counts + shares == level)
    favoured = at_surface[np.argsort((sizes + shares)[at_surface], kind="stable")]
    shares[favoured[: amount - shares.sum()]] += 1
    return shares


def folds_csv(folds: pd.DataFrame, **settings: int) -> bytes:
    r"""Bytes of folds.csv: rows sorted by id, with the settings, count and seed, as two constant columns.

    >>> folds_csv(pd.DataFrame({"id": ["b", "a"], "fold": [0, 1]}), count=2, seed=7)
    b'id,fold,count,seed\na,1,2,7\nb,0,2,7\n'
    """
    table = folds.assign(**settings).sort_values("id")[[*FOLD_COLUMNS[:2], *settings]]
    return table.to_csv(index=False, lineterminator="\n").encode()


def check_folds(folds: pd.DataFrame, ids: Sequence[str], *, path: Path) -> None:
    """Raises UserError unless each of `ids` has one fold, numbered 0, 1, … without a gap. path: for the messages."""
    found, wanted = folds["id"].tolist(), set(ids)
    faults = {
        "holds more than once": [name for name, times in Counter(found).items() if times > 1],
        "lacks": sorted(wanted - set(found)),
        "holds, though no training image has that id,": sorted(set(found) - wanted),
    }
    for fault, names in faults.items():
        if names:
            raise UserError(f"{path} {fault} {first_three(names)}; {MEND}")
    numbers = sorted(set(folds["fold"].tolist()))
    if numbers != list(range(len(numbers))) or len(numbers) < 2:
        raise UserError(f"{path} has folds {first_three(numbers)}, needed are 0, 1, … without a gap; {MEND}")


def split_groups(folds: pd.DataFrame, ids: Iterable[str], groups: Sequence[Hashable]) -> list[str]:
    """List the groups that are in more than one fold, sorted. ids, groups: one of each per row of `folds`.

    >>> split_groups(pd.DataFrame({"id": ["a", "b", "c"], "fold": [0, 1, 1]}), "abc", "xxy")
    ['x']
    """
    fold_of = dict(zip(folds["id"], folds["fold"], strict=True))
    return _varied((fold_of.get(name) for name in ids), groups)


def mixed_groups(targets: Sequence[Hashable], groups: Sequence[Hashable]) -> list[str]:
    """List the groups whose rows have several targets, sorted.

    >>> mixed_groups([0, 1, 1, 1], ["a", "a", "b", "b"])
    ['a']
    """
    return _varied(targets, groups)


def _varied(values: Iterable[Hashable], groups: Iterable[Hashable]) -> list[str]:
    seen: dict[Hashable, set[Hashable]] = {}
    for value, group in zip(values, groups, strict=True):
        seen.setdefault(group, set()).add(value)
    return sorted(str(group) for group, found in seen.items() if len(found) > 1)
