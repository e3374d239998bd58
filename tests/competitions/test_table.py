"""From a list of files to one row for each image, whatever the case, the wrapping and the order of the list."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kagglepipe.competitions.contract import Competition
from kagglepipe.competitions.table import Listing, list_images, make_id, table_hash
from kagglepipe.errors import UserError

NOWHERE = Path("nowhere")  # the folders' own names are all that a layout needs
PISTOLS = Competition(
    classes=["pistol", "smartphone"],
    layout={"pistol": "Train/Pistol", "smartphone": "Train/Smartphone"},
    test="Test",
)
FOLDER = Competition(test="test", id="path")
ARCHIVE = ["Test/1.jpg", "Test/2.jpg", "Train/Pistol/a.jpg", "Train/Smartphone/b.jpg", "Train/Smartphone/c.png"]


def listed(files: list[str], competition: Competition = PISTOLS, root: Path = NOWHERE) -> Listing:
    return list_images(sorted(files), competition, root)


def placed(listing: Listing) -> dict[str, tuple[str, object]]:
    """path -> (split, target)."""
    rows = listing.rows.to_dict("records")
    return {row["path"]: (row["split"], None if pd.isna(row["target"]) else row["target"]) for row in rows}


def refusal(files: list[str], competition: Competition = PISTOLS, root: Path = NOWHERE) -> str:
    with pytest.raises(UserError) as caught:
        listed(files, competition, root)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# --- a layout that the competition tells ----------------------------------------------------------------------


def test_the_layout_gives_every_image_its_split_and_target() -> None:
    found = listed(ARCHIVE)
    assert placed(found) == {
        "Test/1.jpg": ("test", None),
        "Test/2.jpg": ("test", None),
        "Train/Pistol/a.jpg": ("train", "pistol"),
        "Train/Smartphone/b.jpg": ("train", "smartphone"),
        "Train/Smartphone/c.png": ("train", "smartphone"),
    }
    assert found.rows["id"].tolist() == ["1.jpg", "2.jpg", "a.jpg", "b.jpg", "c.png"]
    assert found.rows["group"].isna().all()
    assert (found.classes, found.outside) == (["pistol", "smartphone"], [])


@pytest.mark.parametrize("change", [str.lower, str.upper, str.swapcase])
def test_case_does_not_matter(change: object) -> None:
    assert callable(change)
    files = [change(name) for name in ARCHIVE]
    found = placed(listed(files))
    assert found == {change(name): place for name, place in placed(listed(ARCHIVE)).items()}


@pytest.mark.parametrize("wrapping", ["data/", "My Data (1)/", "a/b/"])
def test_the_layout_may_be_wrapped_in_more_folders(wrapping: str) -> None:
    found = listed([wrapping + name for name in ARCHIVE])
    assert placed(found) == {wrapping + name: place for name, place in placed(listed(ARCHIVE)).items()}
    assert found.outside == []


def test_files_without_a_place_are_told_and_not_lost() -> None:
    extra = ["readme.txt", "Train/loose.jpg", "Train/Knife/k.jpg", "other/Test/x.jpg", "Testing/y.jpg"]
    found = listed([*ARCHIVE, *extra])
    assert sorted(found.outside) == sorted(extra)
    assert sorted(found.rows["path"]) == ARCHIVE


def test_images_in_deeper_folders_belong_to_their_class() -> None:
    found = listed([*ARCHIVE, "Train/Pistol/old/2019/z.jpg"])
    assert placed(found)["Train/Pistol/old/2019/z.jpg"] == ("train", "pistol")


def test_a_competition_without_test_images_has_only_training_rows() -> None:
    found = listed([name for name in ARCHIVE if name.startswith("Train")])
    assert set(found.rows["split"]) == {"train"}


def test_another_archive_is_refused_with_what_was_needed_and_found() -> None:
    told = refusal(["cats/a.jpg", "dogs/b.jpg"])
    assert "Train/Pistol, Train/Smartphone, Test are needed, found cats/a.jpg, dogs/b.jpg" in told
    assert "no files at all" in refusal([])


def test_an_empty_class_is_named() -> None:
    files = [name for name in ARCHIVE if "Pistol" not in name]
    assert "class pistol has no images in Train/Pistol" in refusal(files)


# --- a layout that is guessed ---------------------------------------------------------------------------------

CATS = ["cat/a.jpg", "cat/b.jpg", "dog/a.jpg", "test/x.jpg"]


@pytest.mark.parametrize("base", ["", "train/", "Train/"])
def test_class_folders_are_found_in_the_root_or_in_train(base: str) -> None:
    files = [name if name.startswith("test/") else base + name for name in CATS]
    found = listed([*files, "notes.txt"], FOLDER)
    assert placed(found) == {
        f"{base}cat/a.jpg": ("train", "cat"),
        f"{base}cat/b.jpg": ("train", "cat"),
        f"{base}dog/a.jpg": ("train", "dog"),
        "test/x.jpg": ("test", None),
    }
    assert found.classes == ["cat", "dog"]
    assert found.outside == ["notes.txt"]


def test_with_a_train_folder_nothing_beside_it_is_a_class() -> None:
    found = listed(["train/cat/a.jpg", "train/dog/b.jpg", "extra/c.jpg", "Test/d.jpg"], FOLDER)
    assert (found.classes, found.outside) == (["cat", "dog"], ["extra/c.jpg"])
    assert placed(found)["Test/d.jpg"] == ("test", None)


def test_a_test_folder_in_any_case_is_no_class() -> None:
    assert listed(["cat/a.jpg", "dog/b.jpg", "TEST/x.jpg"], FOLDER).classes == ["cat", "dog"]


def test_without_a_test_folder_one_called_test_is_a_class() -> None:
    assert listed(CATS, Competition(id="path")).classes == ["cat", "dog", "test"]


@pytest.mark.parametrize("base", ["", "train/"])
def test_class_folders_are_found_in_one_more_folder_as_zips_of_a_folder_have_it(base: str) -> None:
    files = [f"photos/{name}" if name.startswith("test/") else f"photos/{base}{name}" for name in CATS]
    found = listed(files, FOLDER)
    assert found.classes == ["cat", "dog"]
    assert set(found.rows["split"]) == {"train", "test"}


@pytest.mark.parametrize("files", [["cat/a.jpg", "cat/b.jpg"], ["cat/a.jpg", "test/b.jpg"], ["a.jpg", "b.jpg"], []])
def test_fewer_than_two_class_folders_are_refused(files: list[str]) -> None:
    told = refusal(files, FOLDER)
    found = sorted({name.split("/")[0] for name in files if "/" in name} - {"test"})
    assert f"found {len(found)} class folders ({', '.join(found) or 'none'})" in told
    assert "competition.labels=labels.csv" in told


def test_the_order_of_classes_can_be_given_and_must_hold_all() -> None:
    assert listed(CATS, Competition(test="test", id="path", classes=["dog", "cat"])).classes == ["dog", "cat"]
    told = refusal(CATS, Competition(test="test", id="path", classes=["dog", "fish"]))
    assert "labels ['cat'] are not among competition.classes=['dog', 'fish']" in told


# --- ids ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("form", "id"), [("name", "a.b.JPG"), ("stem", "a.b"), ("path", "Train/Pistol/a.b.JPG")]
)  # fmt: skip
def test_ids_are_names_stems_or_paths(form: str, id: str) -> None:
    assert make_id("Train/Pistol/a.b.JPG", form) == id
    found = listed([*ARCHIVE, "Train/Pistol/a.b.JPG"], Competition(layout=PISTOLS.layout, test="Test", id=form))
    assert id in found.rows["id"].tolist()


def test_an_id_that_repeats_is_named_with_both_files() -> None:
    told = refusal([*ARCHIVE, "Train/Pistol/b.jpg"])
    assert "1 ids repeat: b.jpg is both Train/Pistol/b.jpg and Train/Smartphone/b.jpg" in told
    assert "competition.id=path" in told
    assert "2 ids repeat" in refusal([*ARCHIVE, "Train/Pistol/b.jpg", "Train/Pistol/1.jpg"])


def test_paths_as_ids_do_not_repeat_where_names_do() -> None:
    files = [*ARCHIVE, "Train/Pistol/b.jpg"]
    competition = Competition(layout=PISTOLS.layout, test="Test", id="path")
    assert listed(files, competition).rows["id"].tolist() == sorted(files)


# --- labels from a CSV ----------------------------------------------------------------------------------------


def labels(folder: Path, text: str, files: str = "a.jpg b.jpg c.jpg") -> tuple[list[str], Competition, Path]:
    (folder / "labels.csv").write_text(text, encoding="utf-8")
    return [*files.split(), "labels.csv"], Competition(labels="labels.csv", test="test", id="path"), folder


def test_labels_come_from_the_csv(tmp_path: Path) -> None:
    files = "a.jpg b.jpg more/c.jpg test/x.jpg TEST/y.jpg stray.jpg"
    found = listed(*labels(tmp_path, "file,label\na.jpg,cat\nb.jpg,dog\nmore/c.jpg,dog\n", files))
    assert placed(found) == {
        "a.jpg": ("train", "cat"),
        "b.jpg": ("train", "dog"),
        "more/c.jpg": ("train", "dog"),
        "test/x.jpg": ("test", None),
        "TEST/y.jpg": ("test", None),
    }
    assert found.rows["group"].isna().all()
    assert (found.classes, found.outside) == (["cat", "dog"], ["stray.jpg"])


def test_labels_are_text_whatever_they_look_like(tmp_path: Path) -> None:
    found = listed(*labels(tmp_path, "file,label\na.jpg,007\nb.jpg,NA\nc.jpg,007\n"))
    assert found.classes == ["007", "NA"]


def test_a_group_column_is_kept_and_a_blank_cell_is_no_group(tmp_path: Path) -> None:
    found = listed(*labels(tmp_path, "file,label,group\na.jpg,cat,ann\nb.jpg,dog,\nc.jpg,cat,\n")).rows
    assert found.loc[found["id"] == "a.jpg", "group"].tolist() == ["ann"]
    assert found.loc[found["id"] != "a.jpg", "group"].isna().all()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("file,label\na.jpg,cat\nz.jpg,dog\ny.jpg,dog\n", "names 2 files that are not there: z.jpg, y.jpg"),
        ("file,label\na.jpg,cat\nb.jpg,\nc.jpg, \n", "has no label for b.jpg, c.jpg"),
        ("file,label\na.jpg,cat|dog\nb.jpg,dog\n", "cat|dog looks like several labels for one image; multi-label"),
        ("file,label\na.jpg,cat;dog\nb.jpg,dog\n", "multi-label competitions are not supported"),
        ("file,label\na.jpg,0.5\nb.jpg,1.25\n", "0.5, 1.25 look like measurements; regression is not supported"),
        ("file,label\na.jpg,1\nb.jpg,1.25\n", "1.25 look like measurements"),
        ("name,class\na.jpg,cat\n", "has the columns name, class: file and label are needed"),
        ("", "cannot be read as a CSV of file,label"),
        ("file,label\na.jpg,cat\nb.jpg,cat\n", "only one class was found (cat)"),
        ("file,label\na.jpg,cat\na.jpg,dog\nb.jpg,dog\n", "a.jpg"),
    ],
)
def test_labels_that_cannot_be_used_are_named(text: str, words: str, tmp_path: Path) -> None:
    told = refusal(*labels(tmp_path, text))
    assert words in told


def test_a_file_with_two_labels_is_not_told_to_be_renamed(tmp_path: Path) -> None:
    told = refusal(*labels(tmp_path, "file,label\na.jpg,cat\na.jpg,dog\nb.jpg,dog\n"))
    assert "labels.csv" in told
    assert "rename" not in told


def test_a_labels_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    competition = Competition(labels="labels.csv", id="path")
    assert f"{tmp_path / 'labels.csv'} cannot be read as a CSV" in refusal(["a.jpg"], competition, tmp_path)


# --- the hash -------------------------------------------------------------------------------------------------


@pytest.fixture
def table() -> pd.DataFrame:
    rows = listed(ARCHIVE).rows
    return rows.assign(sha256=[f"{n:064x}" for n in range(len(rows))], width=10, height=20)


@pytest.mark.parametrize("column", ["id", "split", "target", "sha256"])
def test_the_hash_changes_with_ids_splits_labels_and_bytes(table: pd.DataFrame, column: str) -> None:
    changed = table.copy()
    changed.loc[changed.index[-1], column] = "another"
    assert table_hash(changed) != table_hash(table)


@pytest.mark.parametrize("column", ["path", "width", "group"])
def test_the_hash_does_not_know_where_images_lie(table: pd.DataFrame, column: str) -> None:
    assert table_hash(table.assign(**{column: "another"})) == table_hash(table)


def test_the_hash_does_not_depend_on_the_order_of_rows(table: pd.DataFrame) -> None:
    assert table_hash(table.iloc[::-1]) == table_hash(table)
    assert table_hash(table.reset_index(drop=True)) == table_hash(table)


def test_a_missing_row_changes_the_hash(table: pd.DataFrame) -> None:
    assert table_hash(table.iloc[:-1]) != table_hash(table)


# --- properties -----------------------------------------------------------------------------------------------

NAME = st.text("abcdé 1._-", min_size=1, max_size=6).map(str.strip).filter(lambda name: name.strip("."))
FILES = st.lists(
    st.tuples(st.sampled_from(["Train/Pistol", "Train/Smartphone", "Test", "Other", "Train"]), NAME).map("/".join),
    unique=True,
    max_size=12,
)
SEEDS = st.integers(0, 1000)


@given(files=FILES, seed=SEEDS, wrapping=st.sampled_from(["", "data/", "a/b/"]))
def test_any_order_of_files_gives_the_same_table(files: list[str], seed: int, wrapping: str) -> None:
    full = [wrapping + name for name in {*files, "Train/Pistol/p.jpg", "Train/Smartphone/s.jpg"}]
    competition = Competition(classes=PISTOLS.classes, layout=PISTOLS.layout, test="Test", id="path")
    shuffled = np.random.default_rng(seed).permutation(sorted(full)).tolist()
    expected, found = listed(full, competition), list_images(shuffled, competition, NOWHERE)
    pd.testing.assert_frame_equal(found.rows, expected.rows)
    assert (found.classes, sorted(found.outside)) == (expected.classes, sorted(expected.outside))


@given(files=FILES)
def test_every_file_is_in_the_table_or_told_to_be_outside(files: list[str]) -> None:
    full = sorted({*files, "Train/Pistol/p.jpg", "Train/Smartphone/s.jpg"})
    found = listed(full, Competition(classes=PISTOLS.classes, layout=PISTOLS.layout, test="Test", id="path"))
    assert sorted([*found.rows["path"], *found.outside]) == full
    assert found.rows["id"].is_unique
    assert found.rows["id"].is_monotonic_increasing


@given(files=FILES, seed=SEEDS)
def test_a_guessed_layout_does_not_depend_on_the_order_either(files: list[str], seed: int) -> None:
    full = [name for name in {*files, "cat/a.jpg", "dog/a.jpg"} if not name.startswith("Train")]
    shuffled = np.random.default_rng(seed).permutation(sorted(full)).tolist()
    expected, found = listed(full, FOLDER), list_images(shuffled, FOLDER, NOWHERE)
    pd.testing.assert_frame_equal(found.rows, expected.rows)
    assert found.classes == expected.classes
