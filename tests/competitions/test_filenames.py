"""Which file a CSV means, in the ways that people write names."""

import unicodedata
from pathlib import PurePosixPath

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kagglepipe.competitions.filenames import (
    FileNames,
    find_table,
    find_test_folder,
    read_splits,
    spelt,
    split_of,
    stem_of,
    suffix_of,
)
from kagglepipe.errors import UserError


def found(files: list[str], *names: str, last: tuple[str, ...] = ()) -> list[str]:
    rows = pd.Series(names, index=range(2, len(names) + 2), dtype=str)
    return FileNames(files, last=last).paths(rows, "labels.csv", "image")


def refusal(files: list[str], *names: str) -> str:
    with pytest.raises(UserError) as caught:
        found(files, *names)
    return str(caught.value)


NFC, NFD = (unicodedata.normalize(form, "img/été.png") for form in ("NFC", "NFD"))


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("img/a.png", "img/a.png"), ("img/a.png", "a.png"), ("img/a.png", "a"), ("img/a.png", "./img/a.png"),
        ("img/a.png", r"img\a.png"), ("img/a.png", r".\img\a"), ("img/a.png", "IMG/A.PNG"), ("img/a.png", " a.png "),
        ("img/a.png", "/home/me/img/a.png"), ("img/a.png", r"D:\work\img\a.png"), ("img/a.png", "../img/a.png"),
        ("data/img/a.png", "img/a.png"), ("img/a.b.png", "a.b"), (NFD, NFC), (NFC, NFD), (NFD, "été"),
        ("-rf.png", "-rf.png"), ("a\nb.png", "a\nb.png"), ("con.png", "CON"), ("x" * 250 + ".png", "x" * 250),
        ("a.png", "img/a.png"), ("other/a.png", "img/a.png"),
    ],
)  # fmt: skip
def test_names_that_mean_a_file(file: str, name: str) -> None:
    assert found([file, "img/b.png", "labels.csv"], name) == [file]


@pytest.mark.parametrize(
    ("files", "name", "meant"),
    [
        (["a.png", "old/a.png"], "a.png", "a.png"),
        (["a.png", "A.png"], "A.png", "A.png"),
        (["a", "a.png"], "a", "a"),
        (["x/a.png", "y/x/a.png"], "x/a", "x/a.png"),
        (["cat/a.png", "dog/a.png"], "/data/dog/a.png", "dog/a.png"),
    ],
)
def test_the_nearest_name_is_meant(files: list[str], name: str, meant: str) -> None:
    assert found(files, name) == [meant]


@pytest.mark.parametrize(
    ("files", "name", "told"),
    [
        (["x/a.png", "y/a.png"], "a.png", "which may be x/a.png or y/a.png: write the path there"),
        (["a.png", "a.jpg"], "a", "which may be a.jpg or a.png"),
        (["A.png", "a.png"], "A.PNG", "which may be A.png or a.png"),
        (["img/cat1.png"], "cat2.png", "no such file is there (there is cat1.png)"),
        (["img/a.png"], "", "names no image"),
        (["img/passwd"], "../../etc/shadow", "no such file is there"),
    ],
)
def test_no_file_or_several_are_named(files: list[str], name: str, told: str) -> None:
    assert told in refusal(files, name)


def test_a_file_of_another_folder_does_not_stand_in_for_one_that_is_missing() -> None:
    assert "dog/2.png, and no such file" in refusal(["cat/1.png", "cat/2.png"], "cat/1.png", "dog/2.png")


def test_what_is_to_be_classified_is_meant_only_if_nothing_else_is() -> None:
    files = ["train/1.png", "test/1.png", "test/2.png"]
    assert found(files, "1", "2", last=("test/1.png", "test/2.png")) == ["train/1.png", "test/2.png"]


@pytest.mark.parametrize(
    ("name", "split"),
    [
        *((name, "train") for name in ("TRAIN", "Training", "train_images", "train-jpg", "trainset", "stage1_train")),
        *((name, "test") for name in ("test", "Test ", "Testing", "test_images", "TestData", "test1", "test_videos",
                                         "test_series", "testing_signals", "test_clip", "TestSounds", "test_recordings",
                                         "test_soundscapes", "test_data", "test_files", "series_test")),
        *((name, "train") for name in ("train_series", "training_recordings", "train_eegs", "clips_train")),
        *((name, "valid") for name in ("valid_signals", "val_series", "dev_clips")),
        *((name, "valid") for name in ("val", "Valid", "validation", "dev", "val_set")),
        *((name, None) for name in ("", "latest", "contest", "trains", "train_val", "cat", "0", "images", "protest",
                                       "series", "signal", "test_masks")),
    ],
)  # fmt: skip
def test_names_that_say_train_test_or_validation(name: str, split: str | None) -> None:
    assert split_of(name) == split


def test_the_only_folder_that_says_test_stands_for_one_that_is_missing() -> None:
    assert find_test_folder(["a/test_images/1.png", "b/2.png"], "test") == "test_images"
    assert find_test_folder(["test/1.png", "Testing/2.png"], "test") == "test"
    assert find_test_folder(["Testing/1.png", "test_set/2.png"], "test") == "test"
    assert find_test_folder(["Testing/1.png"], None) is None


def test_tables_are_found_in_a_wrapped_folder() -> None:
    files = ["data/a/labels.csv", "data/train.csv", "data/b/train.csv"]
    assert find_table("labels.csv", files) == "data/a/labels.csv"
    assert find_table(r".\data\train.csv", files) == "data/train.csv"
    assert find_table("train.csv", files) is None
    assert find_table("none.csv", files) is None


def test_splits_in_any_case_and_spelling() -> None:
    cells = pd.Series(["Train", " TEST", "testing", "", "val"], index=[2, 3, 5, 6, 7])
    splits, notes = read_splits(pd.DataFrame({"split": cells}), "labels.csv", "split")
    assert splits.tolist() == ["train", "test", "test", None, "train"]
    assert notes == ["1 rows of labels.csv are for validation, and trained on: folds are drawn from all"]
    with pytest.raises(UserError, match=r"labels.csv, row 3: the split 4 is neither train nor test"):
        read_splits(pd.DataFrame({"split": ["train", "4"]}, index=[2, 3]), "labels.csv", "split")


# --- as quick as they are, for many files ---------------------------------------------------------------------------

PARTS = st.text(st.sampled_from("aB. \\é\u0301\t"), min_size=1, max_size=5).filter(
    lambda part: part != "." and not part.endswith(".")  # of which Python's versions think differently
)


@given(st.lists(PARTS, min_size=1, max_size=3).map("/".join))
def test_suffix_and_stem_are_those_of_a_path(file: str) -> None:
    path = PurePosixPath(file)
    assert (suffix_of(file), stem_of(file)) == (path.suffix.lower(), path.stem)


@given(st.text(st.sampled_from("aB./\\é\u0301 \n"), max_size=8))
def test_a_spelt_path_is_normal(name: str) -> None:
    path = unicodedata.normalize("NFC", name.strip()).replace("\\", "/")
    assert spelt(name) == "/".join(part for part in path.split("/") if part not in ("", "."))


@given(st.text(st.sampled_from("aA./\\ſ "), max_size=5), st.lists(st.text(st.sampled_from("aAs./ſ\\ "), max_size=5)))
def test_a_table_is_found_as_if_all_files_were_spelt(name: str, files: list[str]) -> None:
    wanted = spelt(name).casefold()
    same = [file for file in files if file == name or spelt(file).casefold() == wanted]
    same = same or [file for file in files if spelt(file).casefold().endswith(f"/{wanted}")]
    assert find_table(name, files) == (same[0] if len(same) == 1 else None)
