"""Which labelled rows are hidden, by task."""

from collections.abc import Hashable, Sequence
from fractions import Fraction

from kagglepipe.competitions.folds import hidden_part
from kagglepipe.competitions.tag_folds import make_tag_folds
from kagglepipe.competitions.targets import split_tags, strata


def hidden_rows(
    ids: Sequence[str], targets: Sequence[str], groups: Sequence[Hashable], *, task: str, share: float, seed: int
) -> set[str]:
    """Choose ids of about `share` of the rows to hide, as `folds.hidden_part`: of numbers by their strata.

    Of tags some of the folds that `make_tag_folds` makes. Raises UserError for too few rows.

    >>> sorted(hidden_rows("abcd", ["x", "x|y", "y", "x|y"], "abcd", task="multilabel", share=0.5, seed=0))
    ['a', 'd']
    """
    if task != "multilabel":
        return hidden_part(ids, strata(targets, task), groups, share=share, seed=seed)
    part = Fraction(share).limit_denominator(20)
    folds = make_tag_folds(ids, [split_tags(one) for one in targets], groups, count=part.denominator, seed=seed)
    return set(folds.loc[folds["fold"] < part.numerator, "id"])
