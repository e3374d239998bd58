"""Part of section "Data": what sizes and brightness tell about classes, and about training and test."""

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kagglepipe.predictions.adversarial import Apart, single_auc, tell_apart
from kagglepipe.predictions.uncertainty import group_codes
from kagglepipe.reports.blocks import Bar, Shelf, Table, Text
from kagglepipe.reports.thumbnails import Album
from kagglepipe.text import significant

MOST_CLASSES, EXAMPLES = 20, 6
FACTS = ("width", "height", "width / height", "bytes", "brightness", "sharpness")
Looks = list[tuple[str, float, float]]  # key, brightness, sharpness


def facts_of(rows: pd.DataFrame, looks: Looks) -> pd.DataFrame:
    """Facts of the rows of images whose pixels were looked at, all without those; by key, with target and split."""
    seen = pd.DataFrame(looks, columns=["key", "brightness", "sharpness"])
    facts = rows.merge(seen, on="key") if looks else rows
    facts = facts.assign(**{"width / height": facts["width"] / facts["height"]})
    return facts[["key", "split", "target", "group", *(name for name in FACTS if name in facts)]]


def by_class(facts: pd.DataFrame) -> list[Table]:
    """Medians of the facts of each class: a class that is larger or brighter than others can be told without a look."""
    train = facts[facts["split"] == "train"]
    names = [name for name in FACTS if name in facts]
    medians = train.groupby("target")[names].median()
    if not 2 <= len(medians) <= MOST_CLASSES:
        return []
    rows = [(str(name), *map(significant, own)) for name, *own in medians.itertuples(name=None)]
    words = "Medians of each class, from which a network may learn in place of what is pictured"
    return [Table(words, ("class", *names), rows)]


def between_splits(facts: pd.DataFrame, features: NDArray[np.float32] | None, album: Album) -> list[Any]:
    """Adversarial validation on the facts and on stored features (N, F) of the same rows; nothing for few rows."""
    is_test = (facts["split"] == "test").to_numpy()
    groups, names = group_codes(facts["group"]), [name for name in FACTS if name in facts]
    of_facts = tell_apart(facts[names].to_numpy(np.float64), is_test, groups)
    if of_facts is None:
        return []
    tried = {"sizes and brightness": of_facts}
    if features is not None and (found := tell_apart(features, is_test, groups)) is not None:
        tried["features of the network"] = found
    rows = [
        (f"all {what}, cross-fitted", auc_cell(one.auc, one.auc - 0.5), f"{one.low:.3f}–{one.high:.3f}")
        for what, one in tried.items()
    ]
    single = {name: single_auc(facts[name], is_test) for name in names}
    rows += [
        (
            f"{name}: {'larger in the test' if auc > 0.5 else 'larger in training' if auc < 0.5 else 'alike'}",
            auc_cell(auc, abs(auc - 0.5)),
            "",
        )
        for name, auc in sorted(single.items(), key=lambda one: -abs(one[1] - 0.5))
    ]
    counts = f"{is_test.sum():,} pictures to classify from {(~is_test).sum():,} of training"
    words = f"What tells {counts} (adversarial validation)"
    blocks: list[Any] = [Table(words, ("what", "AUC", "95 % interval"), rows), Text(verdict(list(tried.values())))]
    best = tried.get("features of the network", of_facts)
    keys = facts["key"].to_numpy()[is_test]
    order = np.argsort(-best.scores[is_test], kind="stable")[:EXAMPLES]
    tiles = [tile for k in order.tolist() if (tile := album.tile(str(keys[k]))).number is not None]
    return [*blocks, Shelf("Pictures to classify that are least like training", [("", tiles)])] if tiles else blocks


def auc_cell(auc: float, over: float) -> Bar:
    """A cell whose bar is empty at chance. over: distance from it."""
    return Bar(f"{auc:.3f}", max(0.0, 2 * over))


def verdict(found: list[Apart]) -> str:
    """What follows, in a sentence."""
    if max(one.low for one in found) <= 0.5:
        return "At 0.5 both are alike: nothing here says that out-of-fold scores do not hold for the test."
    return (
        "The interval lies above 0.5: the test differs, so its score may differ from that out of fold. Where a size or "
        "brightness tells it, scale or crop training pictures alike; where only features do, look at the pictures."
    )
