"""The out-of-fold frame: every training id exactly once, matched by id, whatever order things come in."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pandas.testing import assert_frame_equal

from kagglepipe.errors import UserError
from kagglepipe.predictions import frame as frames

CLASSES = ["cat", "dog", "eel"]

ids = st.lists(st.text(st.characters(codec="utf-8"), min_size=1), min_size=2, max_size=12, unique=True)


def oof(names: list[str], *, fold: int = 0) -> pd.DataFrame:
    """An out-of-fold frame with random targets and probabilities."""
    random = np.random.default_rng(0)
    target = random.choice(CLASSES, len(names)).tolist()
    return frames.oof_frame(names, fold, target, random.dirichlet(np.ones(3), len(names)), CLASSES)


def unlabelled(names: list[str]) -> pd.DataFrame:
    """A test frame with random probabilities."""
    return oof(names).drop(columns=["fold", "target"])


@pytest.mark.parametrize(("fold", "expected"), [(2, [2, 2]), ([1, 0], [1, 0])])
def test_an_oof_frame_holds_what_was_given_in_that_order(fold: int | list[int], expected: list[int]) -> None:
    probs = np.array([[0.25, 0.75], [1, 0]], dtype=np.float32)
    made = frames.oof_frame(["b", "a"], fold, ["dog", "cat"], probs, ["cat", "dog"])
    assert made.columns.tolist() == ["id", "fold", "target", "cat", "dog"]
    assert made.to_numpy().tolist() == [["b", expected[0], "dog", 0.25, 0.75], ["a", expected[1], "cat", 1, 0]]
    assert frames.class_columns(made) == ["cat", "dog"]
    assert made["cat"].dtype == np.float32


@pytest.mark.parametrize(
    ("classes", "culprit"),
    [(["cat", "fold"], "'fold' is reserved"), (["cat", " "], "is empty"), (["cat", "cat"], "'cat' is repeated")],
)
def test_class_names_that_cannot_be_columns_are_refused(classes: list[str], culprit: str) -> None:
    with pytest.raises(UserError, match=culprit):
        frames.test_frame(["a"], [[0.5, 0.5]], classes)


@pytest.mark.parametrize(
    ("probs", "culprit"),
    [
        ([[0.5, 0.5], [np.nan, 1]], r"within \[0, 1\] for id 'b'"),
        ([[0.5, 0.5], [np.inf, 0]], r"within \[0, 1\] for id 'b'"),
        ([[-0.5, 1.5], [1, 0]], r"within \[0, 1\] for id 'a'"),
        ([[1, 0, 0], [-0.1, 0.9, 0.2]], r"within \[0, 1\] for id 'b'"),
        ([[0.5, 0.5], [0.5, 0.5002]], "sum to 1 for id 'b'"),
        ([[0.5, 0.5]], r"shape \(1, 2\)"),
        ([0.5, 0.5], r"shape \(2,\)"),
    ],
)
def test_what_is_no_probability_is_refused(probs: list[object], culprit: str) -> None:
    with pytest.raises(ValueError, match=culprit):
        frames.test_frame(["a", "b"], np.array(probs), CLASSES[: np.shape(probs)[-1]])
    assert len(frames.test_frame(["a"], [[0.33333, 0.33333, 0.33333]], CLASSES)) == 1  # but for rounding


def test_repeated_ids_and_unknown_targets_are_refused() -> None:
    with pytest.raises(ValueError, match="repeated 'a'"):
        frames.test_frame(["a", "a"], [[0.5, 0.5]] * 2, ["cat", "dog"])
    with pytest.raises(ValueError, match=r"no class of.*'cow'"):
        frames.oof_frame(["a"], 0, ["cow"], [[0.5, 0.5]], ["cat", "dog"])


@settings(max_examples=20)
@given(names=ids, data=st.data())
def test_the_order_of_folds_and_rows_leaves_no_trace_in_the_merged_frame(names: list[str], data: st.DataObject) -> None:
    whole = oof(names).assign(fold=[k % 3 for k in range(len(names))])
    parts = [part.sample(frac=1, random_state=1) for _, part in whole.groupby("fold")]
    merged = frames.merge_folds(data.draw(st.permutations(parts)), data.draw(st.permutations(names)))
    assert_frame_equal(merged, frames.merge_folds(parts, names))
    assert merged["id"].tolist() == sorted(names)
    assert_frame_equal(merged.set_index("id").loc[names].reset_index(), whole)


@settings(max_examples=20)
@given(names=ids, data=st.data())
def test_a_gap_a_repetition_or_a_stranger_never_merges(names: list[str], data: st.DataObject) -> None:
    whole, odd = oof(names), data.draw(st.sampled_from(names))
    with pytest.raises(ValueError, match="missing"):
        frames.merge_folds([whole[whole["id"] != odd]], names)
    with pytest.raises(ValueError, match="repeated"):
        frames.merge_folds([whole, whole[whole["id"] == odd]], names)
    with pytest.raises(ValueError, match="unknown"):
        frames.merge_folds([whole], [name for name in names if name != odd])


def test_folds_with_different_classes_or_no_folds_do_not_merge() -> None:
    with pytest.raises(ValueError, match="frame 1 has columns"):
        frames.merge_folds([oof(["a"]), oof(["b"]).rename(columns={"eel": "elk"})], ["a", "b"])
    with pytest.raises(ValueError, match="no fold"):
        frames.merge_folds([], [])
    with pytest.raises(ValueError, match="missing 'a', 'b', 'c' and 1 more; repeated 'e'; unknown 'z'"):
        frames.merge_folds([oof(["z", "e"]), oof(["e"], fold=1)], list("abcde"))


def test_test_frames_are_averaged_by_id() -> None:
    one = frames.test_frame(["b", "a"], [[1.0, 0.0], [0.5, 0.5]], ["cat", "dog"])
    two = frames.test_frame(["a", "b"], [[0.0, 1.0], [0.5, 0.5]], ["cat", "dog"])
    expected = frames.test_frame(["a", "b"], [[0.25, 0.75], [0.75, 0.25]], ["cat", "dog"])
    assert_frame_equal(frames.average_folds([one, two]), expected)
    assert_frame_equal(frames.average_folds([two, one[["dog", "id", "cat"]]]), expected)


@given(order=st.permutations(CLASSES))
def test_folds_of_another_order_of_classes_go_by_name(order: list[str]) -> None:
    first, second = oof(["a", "b"]), oof(["c", "d"], fold=1)
    turned = second[["id", "fold", "target", *order]]
    assert_frame_equal(frames.merge_folds([first, turned], list("abcd")), frames.merge_folds([first, second], "abcd"))
    tests = unlabelled(["x", "y"]), unlabelled(["y", "x"])
    assert_frame_equal(frames.average_folds([tests[0], tests[1][["id", *order]]]), frames.average_folds(tests))


def test_test_frames_with_different_ids_are_not_averaged() -> None:
    with pytest.raises(ValueError, match=r"test frame 1 .* missing 'b'; unknown 'c'"):
        frames.average_folds([unlabelled(["a", "b"]), unlabelled(["a", "c"])])


@settings(max_examples=15)
@given(names=ids, data=st.data())
def test_aligned_frames_agree_row_by_row(names: list[str], data: st.DataObject) -> None:
    one = oof(names)
    order = data.draw(st.permutations(range(len(names))))
    columns = ["id", "fold", "target", *data.draw(st.permutations(CLASSES))]
    two = one.iloc[order][columns]
    aligned = frames.align({"one": one, "two": two})
    assert_frame_equal(aligned["one"], aligned["two"])
    assert aligned["two"]["id"].tolist() == sorted(names)
    assert aligned["two"].columns.tolist() == one.columns.tolist()


def test_frames_that_do_not_belong_together_are_named() -> None:
    one = oof(list("abcde"))
    other = one.assign(target=["eel", *one["target"][1:]])
    one.loc[0, "target"] = "cat"
    with pytest.raises(UserError, match="two does not hold the ids of one: missing 'a', 'b', 'c' and 1 more; leave"):
        frames.align({"one": one, "two": one[4:]})
    with pytest.raises(UserError, match="two and one have different targets for 'a'"):
        frames.align({"one": one, "two": other})
    with pytest.raises(UserError, match=r"two has columns .*'elk'.*one has"):
        frames.align({"one": one, "two": one.rename(columns={"eel": "elk"})})
    with pytest.raises(UserError, match="two does not hold the ids of one: repeated 'a'"):
        frames.align({"one": one, "two": pd.concat([one, one[:1]])})
    assert frames.align({"one": one, "two": one.assign(fold=1)})["two"]["fold"].tolist() == [1] * 5  # folds may differ


def test_probabilities_and_labels_follow_the_classes_given() -> None:
    made = frames.oof_frame(["a"], 0, ["dog"], [[0.25, 0.75]], ["cat", "dog"])
    assert frames.probabilities(made, ["dog", "cat"]).tolist() == [[0.75, 0.25]]
    assert frames.labels(made, ["dog", "cat"]).tolist() == [0]
    with pytest.raises(KeyError, match="elk"):
        frames.probabilities(made, ["cat", "elk"])


@pytest.mark.parametrize("make", [oof, unlabelled])
def test_frames_come_back_from_parquet_and_from_csv(make: Callable[[list[str]], pd.DataFrame], tmp_path: Path) -> None:
    made = make(["007", "NA", "a,b", 'say "x"', "ñ.jpg"])
    made.to_parquet(tmp_path / "oof.parquet")
    made.to_csv(tmp_path / "member.csv", index=False)
    assert_frame_equal(frames.read_frame(tmp_path / "oof.parquet"), made)
    assert_frame_equal(frames.read_frame(tmp_path / "member.csv"), made)


def test_numbers_as_ids_and_class_names_are_read_as_text(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("id,fold,target,0,1\n12,0,1,0.5,0.5\n", encoding="utf-8")
    read = frames.read_frame(tmp_path / "m.csv")
    assert read["id"].tolist() == ["12"]
    assert frames.labels(read, ["0", "1"]).tolist() == [1]


@pytest.mark.parametrize(
    ("text", "culprit"),
    [
        ("", "cannot be read as a table"),
        ("ID,cat,dog\na,0.5,0.5\n", r"has columns \['ID', 'cat', 'dog'\]"),
        ("id,target,cat,dog\na,cat,0.5,0.5\n", "has columns"),
        ("id,cat\na,1\n", "has columns"),
        ("id,fold,target,cat,dog\na,x,cat,0.5,0.5\n", "folds that are not whole numbers"),
        ("id,fold,target,cat,dog\na,0,cow,0.5,0.5\n", "targets without a column of their own: 'cow'"),
        ("id,cat,dog\na,0.5,\n", "has no number in column 'dog' for id 'a'"),
        (",id,cat,dog\n0,a,0.5,0.5\n", "has a column without a name, as pandas writes an index"),
        ("id,cat,dog\n,0.5,0.5\n", "rows without an id"),
        ("id,cat,dog\na,0.5,0.5\na,0.5,0.5\n", "repeated 'a'"),
        ("id,cat,dog\na,0.5,0.6\n", "do not sum to 1 for id 'a'"),
        ("id,cat,dog\na,-3.5,4.5\n", r"not within \[0, 1\] for id 'a'"),
    ],
)
def test_a_file_that_is_no_frame_is_refused_in_one_line(text: str, culprit: str, tmp_path: Path) -> None:
    path = tmp_path / "member.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=culprit) as caught:
        frames.read_frame(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_a_missing_or_broken_parquet_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 and no more")
    for name in ("absent.parquet", "broken.parquet"):
        with pytest.raises(UserError, match=f"{name} cannot be read"):
            frames.read_frame(tmp_path / name)
