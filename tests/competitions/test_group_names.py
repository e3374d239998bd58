"""Groups by the names of files."""

from collections.abc import Sequence

import pandas as pd
import pytest

from kagglepipe.competitions.group_names import group_pattern, with_named_groups
from kagglepipe.errors import UserError
from kagglepipe.options import CompetitionOptions
from tests.competitions.test_table import listed

TRACKS = [f"{label}/{track:05d}_{frame:05d}.ppm" for label in "ab" for track in range(3) for frame in range(2)]


@pytest.mark.parametrize(
    ("names", "pattern"),
    [
        (TRACKS, "*/{group}_{number}.ppm"),
        ([f"{k}/v_{k}_g{g:02d}_c{c:02d}.avi" for k in "ab" for g in range(4) for c in (1, 2)], "{group}_c{number}.avi"),
        ([f"{k}/{h}f3_nohash_{n}.wav" for k in "ab" for h in range(6) for n in (0, 1)], "{group}_{number}.wav"),
        ([f"{k}/patient_{p}_{n}.png" for k in "ab" for p in range(5) for n in (3, 9)], "patient{group}_*"),
        ([f"{k}/X-Person7{p}-{n}.png" for k in "ab" for p in range(5) for n in (3, 9)], "*Person{group}-*"),
        ([f"cat.{n}.jpg" for n in range(9)] + [f"dog.{n}.jpg" for n in range(9)], None),
        ([f"{k}/{k}_{n}.jpg" for k in ("c0", "c1") for n in range(9)], None),  # the class, and a number
        ([f"{k}/img{p}_{n}.png" for k in "ab" for p in range(5) for n in (3, 9)], None),  # not counted
        ([f"{k}/{p}_{n}.png" for k in "ab" for p in range(2) for n in (0, 1)], None),  # four groups
        ([f"{k}/{p}_0.png" for k in "ab" for p in range(9)], None),  # of one file each
        ([f"{'ab'[n % 2]}/{n:04x}{n * 7919 % 997:03d}.jpg" for n in range(40)], None),
    ],
)  # fmt: skip
def test_patterns_of_names(names: Sequence[str], pattern: str | None) -> None:
    files = pd.Series([name.split("/")[0] if "/" in name else name[:3] for name in names], names)
    assert group_pattern(files) == pattern


def test_numbers_of_each_folder_are_other_groups() -> None:
    competition = CompetitionOptions(group_from="*/{group}_{number}.ppm")
    for folder in ("", "x/"):
        groups = with_named_groups(pd.Series([None] * 12, dtype=object), pd.Series(TRACKS).radd(folder), competition)
        assert groups.tolist() == [folder + name.rpartition("_")[0] for name in TRACKS]


def test_given_groups_and_other_names_stay() -> None:
    paths = pd.Series(["person1_virus_2.jpg", "person1_virus_3.jpg", "IM-1.jpg", ""])
    given = pd.Series([None, "mine", None, None], dtype=object)
    found = with_named_groups(given, paths, CompetitionOptions(group_from="person{group}_*"))
    assert found.tolist() == ["1", "mine", None, None]


@pytest.mark.parametrize(
    ("pattern", "told"),
    [
        ("{number}.ppm", r"group_from={number}.ppm has no {group}"),
        ("p{group}_*", "no file is called as .*: there are a/0"),
    ],
)
def test_patterns_that_say_nothing_are_refused(pattern: str, told: str) -> None:
    with pytest.raises(UserError, match=told):
        with_named_groups(
            pd.Series([None] * 12, dtype=object), pd.Series(TRACKS), CompetitionOptions(group_from=pattern)
        )


def test_images_to_train_on_have_the_groups_of_their_names() -> None:
    files = [f"train/{name}" for name in TRACKS] + ["test/00000_00000.ppm"]
    rows = listed(files, CompetitionOptions(group_from="*/{group}_{number}.ppm", id="path", test="test")).rows
    assert rows.loc[rows["split"] == "train", "group"].nunique() == 6
    assert rows.loc[rows["split"] == "test", "group"].isna().all()
