"""What size, format and file length alone give away, told out of fold."""

import numpy as np
import pandas as pd
import pytest

from kagglepipe.predictions.baseline import constant_baseline, metadata, metadata_baseline
from kagglepipe.predictions.evaluation import score
from kagglepipe.predictions.frame import labels, probabilities

CLASSES = ["cat", "dog", "eel"]
FOLDS = 4


def table(count: int = 240, classes: list[str] = CLASSES, seed: int = 0) -> pd.DataFrame:
    """Rows whose metadata know nothing of their class."""
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "id": [f"id{n:03}" for n in rng.permutation(count)],
            "target": rng.permutation(np.resize(classes, count)),
            "width": rng.integers(100, 2000, count),
            "height": rng.integers(100, 2000, count),
            "bytes": rng.integers(2000, 90_000, count),
            "format": rng.choice(["JPEG", "PNG"], count),
            "mode": rng.choice(["RGB", "L"], count),
            "fold": rng.permutation(np.arange(count) % FOLDS),
        }
    )


def accuracy(rows: pd.DataFrame, classes: list[str] = CLASSES) -> float:
    """Of the baseline."""
    frame = metadata_baseline(rows, classes)
    return float((probabilities(frame, classes).argmax(axis=1) == labels(frame, classes)).mean())


def known(rows: pd.DataFrame, column: str, values: list[object], where: object = slice(None)) -> pd.DataFrame:
    """The rows with one column that gives the class away."""
    telling = dict(zip(CLASSES, values, strict=True))
    rows = rows.copy()
    rows.loc[where, column] = rows.loc[where, "target"].map(telling)
    return rows


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("width", [160, 500, 1900]),
        ("height", [120, 121, 122]),
        ("bytes", [1000, 500_000, 9_000_000]),
        ("format", ["BMP", "JPEG", "PNG"]),
        ("mode", ["CMYK", "L", "RGB"]),
    ],
)
def test_one_telling_column_is_found(column: str, values: list[object]) -> None:
    assert accuracy(known(table(), column, values)) == 1.0


def test_the_shape_alone_is_found_at_any_size() -> None:
    rows = table(classes=["cat", "dog"])
    rows["height"] = np.where(rows["target"] == "cat", rows["width"] * 3 // 4, rows["width"] * 4 // 3)
    assert accuracy(rows, ["cat", "dog"]) == 1.0


def test_nothing_is_found_where_there_is_nothing() -> None:
    """Chance is 1/3; three standard deviations are 0.09."""
    assert 0.24 < accuracy(table()) < 0.43
    mean = probabilities(metadata_baseline(table(), CLASSES), CLASSES).mean(axis=0)
    np.testing.assert_allclose(mean, 1 / 3, atol=0.06)


def test_a_leak_in_one_fold_does_not_count() -> None:
    """The trees that score the fold have not seen it, and the one that has is asked about other folds."""
    rows = table()
    leaky = known(rows, "width", [5, 50_000, 900_000], rows["fold"] == 0)
    assert 0.24 < accuracy(leaky) < 0.43


def test_what_the_rest_of_the_folds_know_counts_only_there() -> None:
    """A leak in all folds but one: that one is at chance, the others are right, near enough."""
    rows = table()
    frame = metadata_baseline(known(rows, "width", [5, 50_000, 900_000], rows["fold"] != 0), CLASSES)
    right = probabilities(frame, CLASSES).argmax(axis=1) == labels(frame, CLASSES)
    by_fold = pd.Series(right).groupby(frame["fold"]).mean()
    assert by_fold.drop(0).min() > 0.9
    assert by_fold[0] < 0.55


def test_every_id_comes_once_with_its_own_fold_and_target() -> None:
    rows = table()
    frame = metadata_baseline(rows, CLASSES)
    assert frame.columns.tolist() == ["id", "fold", "target", *CLASSES]
    assert frame["id"].tolist() == sorted(rows["id"])
    truth = rows.set_index("id").loc[frame["id"]]
    assert frame["fold"].tolist() == truth["fold"].tolist()
    assert frame["target"].tolist() == truth["target"].tolist()
    pd.testing.assert_frame_equal(metadata_baseline(rows.sample(frac=1, random_state=1), CLASSES), frame)


def test_a_class_that_other_folds_lack_gets_little_probability_and_not_none() -> None:
    rows = table()
    rows.loc[rows["target"] == "cat", "fold"] = 0
    for baseline in (metadata_baseline, constant_baseline):
        own = baseline(rows, CLASSES).query("fold == 0")["cat"]
        assert ((own > 0) & (own < 0.01)).all()


def test_pure_leaves_are_not_sure() -> None:
    """One row in each fold has the wrong label: a tree that were sure of its leaves would pay 16 or more for each."""
    rows = known(table(), "width", [160, 500, 1900])
    wrong = rows.groupby("fold").head(1).index
    rows.loc[wrong, "target"] = rows.loc[wrong, "target"].map({"cat": "dog", "dog": "eel", "eel": "cat"})
    assert score("log_loss", metadata_baseline(rows, CLASSES), CLASSES) < 0.15


def test_the_constant_answer_is_the_shares_of_the_other_folds() -> None:
    rows = table().sort_values("id")
    frame = constant_baseline(rows, CLASSES)
    for fold, own in frame.groupby("fold"):
        counts = rows.loc[rows["fold"] != fold, "target"].value_counts()[CLASSES] + 1
        np.testing.assert_allclose(probabilities(own, CLASSES), [counts / counts.sum()] * len(own))
    assert score("log_loss", frame, CLASSES) == pytest.approx(np.log(3), abs=0.02)


def test_metadata_are_logarithms_and_codes() -> None:
    rows = table(4)
    rows[["width", "height", "bytes"]] = [[100, 50, 10_000]] * 4
    rows["format"], rows["mode"] = ["JPEG", "PNG", "BMP", "JPEG"], ["L", "L", "RGB", "RGB"]
    found = metadata(rows)
    assert found.shape == (4, 7)
    np.testing.assert_allclose(np.exp(found[:, :5]), [[100, 50, 2, 10_000, 2]] * 4)
    np.testing.assert_array_equal(found[:, 5:], [[1, 0], [2, 0], [0, 1], [1, 1]])


def test_the_constant_of_tags_and_numbers_is_of_the_other_folds() -> None:
    rows = pd.DataFrame({"id": list("abcd"), "fold": [0, 0, 1, 1]})
    numbers = constant_baseline(rows.assign(target=["1.0", "3.0", "10.0", "20.0"]), ["age"], "regression")
    assert numbers["age"].tolist() == [15, 15, 2, 2]
    tags = constant_baseline(rows.assign(target=["x|y", "x", "", "y"]), ["x", "y"], "multilabel")
    assert probabilities(tags, ["x", "y"]).tolist() == [[1 / 4, 2 / 4]] * 2 + [[3 / 4, 2 / 4]] * 2
