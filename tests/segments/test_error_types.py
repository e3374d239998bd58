"""Kinds of errors of segments, by hand."""

import pandas as pd

from kagglepipe.segments.error_types import error_types


def segments(*rows: tuple[float, float, str, float], video: str = "v") -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["start", "end", "label", "score"]).assign(video=video)


def test_every_kind_by_hand() -> None:
    truth = segments((0, 10, "walk", 1), (20, 30, "wave", 1), (40, 50, "walk", 1))
    found = segments(
        (0, 9, "walk", 0.9),  # tIoU 0.9
        (1, 9, "walk", 0.8),  # another one of the same truth
        (46, 54, "walk", 0.7),  # 4 of 14: localisation, and the truth is missed
        (20, 30, "walk", 0.6),  # where it waves
        (60, 70, "wave", 0.5),  # nothing is there
        (0, 99, "none", 0.9),
    )
    kinds = error_types(found, truth, "none")
    assert list(zip(kinds["label"], kinds["kind"], strict=True)) == [
        ("walk", "right"), ("walk", "double"), ("walk", "localisation"), ("walk", "confusion"), ("wave", "background"),
        ("wave", "missed"), ("walk", "missed"),
    ]  # fmt: skip


def test_the_higher_score_takes_the_truth_and_videos_are_apart() -> None:
    truth = segments((0, 10, "walk", 1))
    found = pd.concat([segments((0, 10, "walk", 0.2), (0, 6, "walk", 0.9)), segments((0, 10, "walk", 1), video="w")])
    assert error_types(found, truth, None)["kind"].tolist() == ["right", "double", "background"]


def test_without_segments() -> None:
    truth = segments((0, 10, "walk", 1))
    assert error_types(truth.iloc[:0], truth, None)["kind"].tolist() == ["missed"]
    assert error_types(truth.iloc[:0], truth.iloc[:0], None).empty
