"""From a list of files to one row for each image, whatever the case, the wrapping and the order of the list."""

import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kagglepipe.competitions.filenames import make_id
from kagglepipe.competitions.table import Listing, list_images, table_hash
from kagglepipe.errors import UserError
from kagglepipe.options import CompetitionOptions

NOWHERE = Path("nowhere")  # the folders' own names are all that a layout needs
PISTOLS = CompetitionOptions(
    classes=["pistol", "smartphone"], layout={"pistol": "Train/Pistol", "smartphone": "Train/Smartphone"}, test="Test"
)
FOLDER = CompetitionOptions(test="test", id="path")
ARCHIVE = ["Test/1.jpg", "Test/2.jpg", "Train/Pistol/a.jpg", "Train/Smartphone/b.jpg", "Train/Smartphone/c.png"]


def listed(files: list[str], competition: CompetitionOptions = PISTOLS, root: Path = NOWHERE) -> Listing:
    return list_images(sorted(files), competition, root)


def placed(listing: Listing) -> dict[str, tuple[str, object]]:
    """path -> (split, target)."""
    rows = listing.rows.to_dict("records")
    return {row["path"]: (row["split"], None if pd.isna(row["target"]) else row["target"]) for row in rows}


def refusal(files: list[str], competition: CompetitionOptions = PISTOLS, root: Path = NOWHERE) -> str:
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


@pytest.mark.parametrize(
    "change",
    [str.lower, str.upper, str.swapcase, *(base.__add__ for base in ("data/", "My Data (1)/", "a/b/"))],
)
def test_neither_case_nor_more_folders_around_a_layout_matter(change: Callable[[str], str]) -> None:
    found = listed([change(name) for name in ARCHIVE])
    assert placed(found) == {change(name): place for name, place in placed(listed(ARCHIVE)).items()}
    assert found.outside == []


def test_only_what_a_list_of_the_test_names_is_to_classify(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("file\ntest/1.jpg\n")
    files = ["cat/a.jpg", "dog/b.jpg", "list.csv", "test/1.jpg", "test/2.jpg"]
    found = listed(files, replace(FOLDER, test="list.csv"), tmp_path)
    assert placed(found) == {
        "cat/a.jpg": ("train", "cat"), "dog/b.jpg": ("train", "dog"), "test/1.jpg": ("test", None)}  # fmt: skip
    assert found.outside == ["test/2.jpg"]
    assert found.notes == []


def test_the_rest_of_a_folder_with_a_layout() -> None:
    """Deeper folders belong to their class; files without a place are told; a test is not needed."""
    extra = ["readme.txt", "Train/loose.jpg", "Train/Knife/k.jpg", "other/Test/x.jpg", "Testing/y.jpg"]
    deeper = "Train/Pistol/old/2019/z.jpg"
    found = listed([*ARCHIVE, *extra, deeper])
    assert sorted(found.outside) == sorted(extra)
    assert sorted(found.rows["path"]) == sorted([*ARCHIVE, deeper])
    assert placed(found)[deeper] == ("train", "pistol")
    assert set(listed([name for name in ARCHIVE if name.startswith("Train")]).rows["split"]) == {"train"}


@pytest.mark.parametrize(
    ("files", "competition", "told"),
    [
        (["cats/a.jpg", "dogs/b.jpg"], PISTOLS,
         "Train/Pistol, Train/Smartphone, Test are needed, found cats/a.jpg, dogs/b.jpg"),
        ([], PISTOLS, "no files at all"),
        ([name for name in ARCHIVE if "Pistol" not in name], PISTOLS, "class pistol has no images in Train/Pistol"),
        (["imgs/1.jpg"], CompetitionOptions(layout={"cat": "imgs", "dog": "imgs/"}), "cat and dog in one folder, imgs"),
        (["imgs/1.jpg"], CompetitionOptions(layout={"cat": "imgs", "dog": "imgs/"}), "competition.labels=labels.csv"),
        ([*ARCHIVE, "Train/Pistol/b.jpg", "Train/Pistol/c.png", "Train/Pistol/1.jpg"], PISTOLS, "2 ids repeat"),
        ([*ARCHIVE, "Train/Pistol/b.jpg"], PISTOLS,
         "1 ids repeat: b.jpg is both Train/Pistol/b.jpg and Train/Smartphone/b.jpg; rename the files, or take the "
         "path as id with competition.id=path"),
    ],
)  # fmt: skip
def test_layouts_that_do_not_fit_are_refused(files: list[str], competition: CompetitionOptions, told: str) -> None:
    assert told in refusal(files, competition)


# --- a layout that is guessed ---------------------------------------------------------------------------------

CATS = ["cat/a.jpg", "cat/b.jpg", "dog/a.jpg", "test/x.jpg"]


@pytest.mark.parametrize("around", ["", "photos/"])  # as zips of a folder have it
@pytest.mark.parametrize("base", ["", "train/", "Train/"])
def test_class_folders_are_found_in_the_root_or_in_train(base: str, around: str) -> None:
    files = [around + (name if name.startswith("test/") else base + name) for name in CATS]
    found = listed([*files, "notes.txt"], FOLDER)
    places = [("train", "cat"), ("train", "cat"), ("train", "dog"), ("test", None)]
    assert placed(found) == dict(zip(files, places, strict=True))
    assert found.classes == ["cat", "dog"]
    assert found.outside == ["notes.txt"]


def test_a_test_folder_in_any_case_and_folders_beside_train_are_no_classes() -> None:
    found = listed(["train/cat/a.jpg", "train/dog/b.jpg", "extra/c.jpg", "Test/d.jpg"], FOLDER)
    assert (found.classes, found.outside) == (["cat", "dog"], ["extra/c.jpg"])
    assert placed(found)["Test/d.jpg"] == ("test", None)
    assert listed(["cat/a.jpg", "dog/b.jpg", "TEST/x.jpg"], FOLDER).classes == ["cat", "dog"]


def test_class_folders_beside_those_of_training_are_named() -> None:
    files = [f"{part}/{name}/{part}.jpg" for part in ("train", "extra", "more") for name in ("cat", "dog")]
    found = listed([*files, "more/owl/1.jpg", "other/cat/2.jpg"], FOLDER)
    assert sum(found.rows["split"] == "train") == 2
    assert found.notes == [
        f"{folder} holds folders called as classes and was left out: move its images into those of train/ to train on "
        "them too"
        for folder in ("extra", "more")
    ]


def test_without_a_test_folder_one_called_test_is_left_out_and_told() -> None:
    found = listed(CATS, CompetitionOptions(id="path"))
    assert (found.classes, found.outside) == (["cat", "dog"], ["test/x.jpg"])
    assert "competition.test=test" in found.notes[0]


@pytest.mark.parametrize("files", [["cat/a.jpg", "cat/b.jpg"], ["cat/a.jpg", "test/b.jpg"], ["a.jpg", "b.jpg"]])
def test_fewer_than_two_class_folders_are_refused(files: list[str]) -> None:
    told = refusal(files, FOLDER)
    found = sorted({name.split("/")[0] for name in files if "/" in name} - {"test"})
    assert f"found {len(found)} class folders ({', '.join(found) or 'none'})" in told
    assert "competition.labels=labels.csv" in told


def test_the_order_of_classes_can_be_given_and_must_hold_all() -> None:
    assert listed(CATS, CompetitionOptions(test="test", id="path", classes=["dog", "cat"])).classes == ["dog", "cat"]
    told = refusal(CATS, CompetitionOptions(test="test", id="path", classes=["dog", "fish"]))
    assert "labels cat are not among competition.classes=['dog', 'fish']" in told
    told = refusal(CATS, CompetitionOptions(test="test", id="path", classes=["cat", "dog", "owl"]))
    assert "class owl of competition.classes has no images" in told
    found = listed(["A/1.jpg", "a/2.jpg"], CompetitionOptions(classes=["a", "A"], id="path"))
    assert [place for _, place in placed(found).values()] == ["A", "a"]


@pytest.mark.parametrize("names", ["0 1 2 10", "invalid valid", "bus car train"])
def test_classes_may_be_numbers_or_called_like_a_split(names: str) -> None:
    assert listed([f"{name}/1.jpg" for name in sorted(names.split())], FOLDER).classes == names.split()


TWO = ("cat/1.jpg", "dog/2.jpg")


def within(folder: str, *names: str) -> list[str]:
    return [folder + name for name in names or TWO]


@pytest.mark.parametrize(
    ("files", "tests", "outside"),
    [
        ([*within("Training/"), "Testing/cat/3.jpg"], ["Testing/cat/3.jpg"], []),
        ([*within("train_set/"), "test_set/3.jpg"], ["test_set/3.jpg"], []),
        ([*within("a/b/Train/"), "a/b/Val/cat/8.jpg", "a/b/Test/9.jpg"], ["a/b/Test/9.jpg"], ["a/b/Val/cat/8.jpg"]),
        ([*within("train/train/"), "test/test/3.jpg"], ["test/test/3.jpg"], []),
        ([*within("images/"), "test/3.jpg"], ["test/3.jpg"], []),
        ([*within("w/"), "README.md", "w/more.zip", "LICENSE"], [], ["LICENSE", "README.md", "w/more.zip"]),
        ([*within(""), "docs/a.pdf", "cat/notes.txt"], [], ["cat/notes.txt", "docs/a.pdf"]),
        ([*within("seg_train/seg_train/"), "seg_test/3.jpg", "seg_pred/4.jpg"], ["seg_test/3.jpg"], ["seg_pred/4.jpg"]),
        ([*within(""), "images/3.jpg"], [], ["images/3.jpg"]),
        ([*within(""), "validation/cat/3.jpg"], [], ["validation/cat/3.jpg"]),
        (
            [*within("Entrenamiento/"), "prueba/3.jpg", "Validación/cat/4.jpg"],
            ["prueba/3.jpg"],
            ["Validación/cat/4.jpg"],
        ),
        ([*within(""), "cat/test/3.jpg", "dog/Test Set/4.jpg"], ["cat/test/3.jpg", "dog/Test Set/4.jpg"], []),
    ],
)
def test_folders_around_and_beside_classes_are_none(files: list[str], tests: list[str], outside: list[str]) -> None:
    found = listed(files, FOLDER)
    assert found.classes == ["cat", "dog"]
    assert [path for path, (split, _) in placed(found).items() if split == "test"] == tests
    assert found.outside == outside


def test_a_test_folder_in_a_class_is_never_trained_on() -> None:
    files = [*within(""), "cat/test/3.jpg", "dog/test/4.jpg"]
    assert "the files in cat/test, dog/test are test files, not for training" in listed(files, FOLDER).notes
    told = refusal(files, CompetitionOptions(id="path"))
    assert told.startswith("cat/test says test and lies in a class folder: to classify the files of such folders type")


def test_classes_that_hold_the_same_folders_may_be_parts_of_a_whole() -> None:
    notes = listed([*within("fold1/"), *within("fold2/")], FOLDER).notes
    assert [note.partition(":")[0] for note in notes] == [
        "fold1, fold2 were taken for the classes, and each of them holds cat, dog"
    ]
    assert not listed([*within("pets/"), *within("wild/", "fox/1.jpg", "dog/2.jpg")], FOLDER).notes


@pytest.mark.parametrize(
    ("files", "told"),
    [
        (["train_images/1.png", "test_images/1.png", "sample.csv", "train.csv"], "competition.labels=train.csv, whose"),
        (["train_images/1.png", "masks/1.png"], "images of all classes lie in one folder, train_images"),
        (["images/1.png", "masks/1.png"], "found 1 class folders (masks)"),
        (["train/cat.1.jpg", "test/1.jpg"], "images of all classes lie in one folder, train"),
        ([], "competition.source holds no files"),
        (["train.zip", "readme.md"], "train.zip is packed: unpack it"),
        (["train/a/1.jpg", "Training/b/1.jpg", "train/c/1.jpg"], "Training and train may both hold"),
    ],
)
def test_splits_without_classes_are_not_told_apart(files: list[str], told: str) -> None:
    assert told in refusal(files, FOLDER)


@pytest.mark.parametrize("test", ["imgs/test", "imgs/test/", "./imgs/test", r"imgs\test", "IMGS/Test"])
def test_the_test_folder_may_be_written_in_several_ways(test: str) -> None:
    found = listed([*within("w/imgs/train/"), "w/imgs/test/3.jpg"], CompetitionOptions(test=test, id="path"))
    assert placed(found)["w/imgs/test/3.jpg"] == ("test", None)


@pytest.mark.parametrize("folder", ["/data/test", "../test", ".", "C:\\test", "~/test"])
def test_a_test_folder_outside_the_source_is_refused(folder: str) -> None:
    with pytest.raises(UserError, match=r"competition.test=.* must be a folder inside the source"):
        CompetitionOptions(test=folder)


@pytest.mark.parametrize("pair", [("Cat", "cat"), ("cat ", "cat"), ("1", "01")])
def test_class_folders_that_are_too_alike_are_refused(pair: tuple[str, str]) -> None:
    told = refusal([f"{pair[0]}/1.jpg", f"{pair[1]}/2.jpg", "z/3.jpg"], FOLDER)
    assert all(repr(name) in told for name in pair)


def test_the_deepest_folder_of_a_layout_decides() -> None:
    layout = CompetitionOptions(layout={"cat": "imgs", "dog": "imgs/dog"}, test="imgs/test")
    found = placed(listed(["imgs/1.jpg", "imgs/dog/2.jpg", "imgs/test/3.jpg"], layout))
    assert [found[name][1] for name in sorted(found)] == ["cat", "dog", None]


# --- ids ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("form", "id"), [("name", "a.b.JPG"), ("stem", "a.b"), ("path", "Train/Pistol/a.b.JPG")]
)  # fmt: skip
def test_ids_are_names_stems_or_paths(form: str, id: str) -> None:
    assert make_id("Train/Pistol/a.b.JPG", form) == id
    found = listed([*ARCHIVE, "Train/Pistol/a.b.JPG"], CompetitionOptions(layout=PISTOLS.layout, test="Test", id=form))
    assert id in found.rows["id"].tolist()


# --- labels from a CSV ----------------------------------------------------------------------------------------


def labels(folder: Path, text: str, files: str = "a.jpg b.jpg c.jpg") -> tuple[list[str], CompetitionOptions, Path]:
    (folder / "labels.csv").write_text(text, encoding="utf-8")
    return [*files.split(), "labels.csv"], CompetitionOptions(labels="labels.csv", test="test", id="path"), folder


def test_labels_come_from_the_csv(tmp_path: Path) -> None:
    files = "a.jpg b.jpg more/c.jpg test/x.jpg TEST/y.jpg stray.jpg"
    found = listed(*labels(tmp_path, "file,label\na.jpg,cat\nb.jpg,dog\nmore/c.jpg,dog\n", files))
    places = [("train", "cat"), ("train", "dog"), ("train", "dog"), ("test", None), ("test", None)]
    assert placed(found) == dict(zip(files.split(), places, strict=False))
    assert found.rows["group"].isna().all()
    assert (found.classes, found.outside) == (["cat", "dog"], ["stray.jpg"])
    for ours in ("group", "split"):
        with pytest.raises(UserError, match="has the columns file, label: patient is needed too"):
            listed(files.split(), CompetitionOptions(labels="labels.csv", columns={ours: "patient"}), tmp_path)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("file,label\na.jpg,cat\nz.jpg,dog\nyy,dog\n", "row 3, names z.jpg, and no such file is there"),
        ("file,label\na.jpg,cat\nz.jpg,dog\nyy,dog\n", "1 more are not there"),
        ("file,label\na.jpg,cat\nz.jpg,dog\n", "or leave out such rows with competition.on_bad_image=skip"),
        ("file,label\na.jpg,cat\nb.jpg,\nc.jpg, \n", "has no label for b.jpg, c.jpg in its column label: add it, or "),
        ("file,label\na.jpg,cat\nb.jpg,\n", "or leave out such rows with competition.on_bad_image=skip"),
        (
            "file,label\na.jpg,cat|dog\nb.jpg,dog\n",
            "cat|dog looks like several labels for one image: type competition.task=multil",
        ),
        (
            "file,label\na.jpg,cat;dog\nb.jpg,dog\n",
            "competition.task=multilabel 'competition.label_separator=|', or give one label",
        ),
        ("file,label\na.jpg,0.5\nb.jpg,1.25\n", "0.5, 1.25 look like measurements: type competition.task=regression"),
        ("file,label\na.jpg,1\nb.jpg,1.25\n", "1.25 look like measurements"),
        (
            "file,label\na.jpg,red wet\nb.jpg,1.25\n",
            "1.25 look like measurements: mend 'red wet' among them, then type",
        ),
        ("name,class\na.jpg,cat\n", "has the columns name, class: file, label is needed too"),
        ("", "cannot be read as a CSV in UTF-8 (it is empty)"),
        ("file,label\n", "labels.csv has no row below its header"),
        ("name,class\na.jpg,cat\n", "a column by another name is taken with '+competition.columns={file: NAME}'"),
        ("a.jpg,cat\nb.jpg,dog\n", "begins with a.jpg: its first row must name the columns, as file,label"),
        ("f\0i\0l\0e\0,\0l\0\n", "its letters are two bytes each; save it as CSV UTF-8"),
        ("file,label\na.jpg,cat\nb.jpg,cat\n", "only one class was found (cat)"),
        ("file,label\na.jpg,cat\n./a.jpg,dog\n", "a.jpg more than once, with the label cat (row 2) and dog (row 3)"),
        (
            "file,label\na.jpg,cat\na.jpg,dog\n",
            "keep one label a file, or type competition.task=multilabel if an item has",
        ),
        ("file,label,group\na.jpg,cat,x\na,cat,y\n", "with the group x (row 2) and y (row 3)"),
        (
            "file,label,group\na.jpg,cat,x\na,cat,y\n",
            "or leave the column out with '+competition.columns={group: null}'",
        ),
        ("file,label\na.jpg,cat\nb.jpg,Cat\n", "labels.csv has the labels 'Cat' and 'cat'"),
        ("file,label\na.jpg,1\nb.jpg,1.0\n", "labels.csv has the labels '1' and '1.0'"),
        ("file,label,split\na.jpg,cat,3\nb.jpg,dog,train\n", "row 2: the split 3 is neither train nor test"),
        ("file,label,label\na.jpg,cat,dog\n", "more than one column label"),
        ("file,label\ntest/x.jpg,cat\ntest/y.jpg,dog\n", "labels no image to train on, only 2 to be classified"),
    ],
)
def test_labels_that_cannot_be_used_are_named(text: str, words: str, tmp_path: Path) -> None:
    told = refusal(*labels(tmp_path, text, "a.jpg b.jpg c.jpg test/x.jpg test/y.jpg"))
    assert words in told
    assert "rename the files" not in told


def test_rows_without_a_label_are_left_out_where_that_is_typed(tmp_path: Path) -> None:
    files, competition, root = labels(tmp_path, "file,label\na.jpg,cat\nb.jpg,dog\nc.jpg,\n", "a.jpg b.jpg c.jpg")
    found = listed(files, replace(competition, on_bad_image="skip"), root)
    assert placed(found) == {"a.jpg": ("train", "cat"), "b.jpg": ("train", "dog")}
    assert "1 rows of labels.csv have no label and were left out" in found.notes


def test_a_list_of_test_images_without_a_row_of_names_is_refused(tmp_path: Path) -> None:
    files, competition, root = labels(tmp_path, "file,label\na.jpg,cat\nb.jpg,dog\n", "a.jpg b.jpg t1.jpg t2.jpg")
    (tmp_path / "test.csv").write_text("t1.jpg\nt2.jpg\n")
    told = refusal([*files, "test.csv"], replace(competition, test="test.csv"), root)
    assert "test.csv begins with t1.jpg, which is an item: its first row must name the columns" in told


def test_rows_without_a_file_are_left_out_where_that_is_typed(tmp_path: Path) -> None:
    files, competition, root = labels(tmp_path, "file,label\na.jpg,cat\nz.jpg,dog\nb.jpg,dog\n,dog\n")
    skipping = replace(competition, on_bad_image="skip")
    with pytest.raises(UserError, match="row 5, names no image"):
        listed(files, skipping, root)
    (tmp_path / "labels.csv").write_text("file,label\na.jpg,cat\nz.jpg,dog\nb.jpg,dog\n")
    found = listed(files, skipping, root)
    assert placed(found) == {"a.jpg": ("train", "cat"), "b.jpg": ("train", "dog")}
    assert "1 rows of labels.csv have no file and were left out: z.jpg" in found.notes
    (tmp_path / "labels.csv").write_text("file,label\nx.jpg,cat\nz.jpg,dog\n")
    with pytest.raises(UserError, match=r"row 2, names x.jpg, .* 1 more are not there"):
        listed(files, skipping, root)


@pytest.mark.parametrize(
    ("text", "task", "words"),
    [
        ("file,label\na.jpg,0\nb.jpg,1\nc.jpg,3\n", "ordinal", "has the classes 0,1,3, and none is 2: an order is"),
        ("file,label\na.jpg,mild\nb.jpg,severe\n", "ordinal", "needs the order of its classes, and mild is no number"),
        ("file,label\na.jpg,1.5\nb.jpg,rust scab\n", "regression", "has 'rust scab', competition.task=regression"),
        ("file,label\na.jpg,1.5\nb.jpg,wet\n", "regression", "needs a finite number for each item"),
        ("file,label\na.jpg,1.5\nb.jpg,inf\n", "regression", "has 'inf'"),
        ("file,label\na.jpg,1.5\nb.jpg,2\n", "multilabel", "1.5, 2, numbers that are no tags: type competition.task=r"),
        ("file,label\na.jpg,1\nb.jpg,wet\n", "multiclass", "has numbers (1) and text (wet)"),
    ],
)
def test_labels_of_another_task_are_refused_in_one_line(text: str, task: str, words: str, tmp_path: Path) -> None:
    files, competition, root = labels(tmp_path, text, "a.jpg b.jpg c.jpg")
    told = refusal(files, replace(competition, task=task, form="index"), root)
    assert words in told
    assert "\n" not in told


@pytest.mark.parametrize(
    ("columns", "groups"),
    [
        ({}, set()),
        ({"group": "Group"}, {"0", "1"}),
        ({"group": None}, set()),
    ],
)
def test_a_column_group_of_flags_is_no_group_unless_it_is_named(
    columns: dict[str, Any], groups: set[str], tmp_path: Path
) -> None:
    text = "file,label,Group,blur\na.jpg,cat,0,1\nb.jpg,dog,1,1\nc.jpg,dog,1,0\n"
    files, competition, root = labels(tmp_path, text, "a.jpg b.jpg c.jpg")
    found = list_images(files, replace(competition, columns=columns), root)
    assert set(found.rows["group"].dropna()) == groups
    assert any("no group" in note for note in found.notes) == (not columns)


def test_tags_are_called_as_their_columns(tmp_path: Path) -> None:
    text = "file,ETT - Normal,NGT - Normal\na.jpg,1,1\nb.jpg,0,1\nc.jpg,0,0\n"
    files, competition, root = labels(tmp_path, text, "a.jpg b.jpg c.jpg")
    names = ["ETT - Normal", "NGT - Normal"]
    competition = replace(competition, task="multilabel", form="tags", columns={"labels": names})
    found = list_images(files, competition, root)
    assert found.rows["target"].tolist() == ["ETT - Normal|NGT - Normal", "NGT - Normal", ""]
    assert found.classes == names
    (tmp_path / "labels.csv").write_text("file,a|b,c\na.jpg,1,1\nb.jpg,0,1\n")
    assert "column 'a|b', and | stands between" in refusal(
        files, replace(competition, columns={"labels": ["a|b", "c"]}), root
    )


def test_labels_in_test_are_not_trained_on_and_told(tmp_path: Path) -> None:
    text = "file,label,split\na.jpg,cat,Train\nb.jpg,dog,\nc.jpg,dog, TEST\ntest/x.jpg,,\n"
    found = listed(*labels(tmp_path, text, "a.jpg b.jpg c.jpg test/x.jpg test/y.jpg"))
    assert [path for path, (split, _) in placed(found).items() if split == "train"] == ["a.jpg", "b.jpg"]
    assert sorted(found.rows["path"]) == ["a.jpg", "b.jpg", "c.jpg", "test/x.jpg", "test/y.jpg"]
    assert found.notes == ["2 labels of labels.csv are of images to classify, and were not looked at"]


@pytest.mark.parametrize(
    ("text", "files", "targets"),
    [
        ("file,label\na.jpg,007\nb.jpg,1e5\n", "a.jpg b.jpg", "007 1e5"),
        ("file,label\na.jpg,NA\nb.jpg,null\n", "a.jpg b.jpg", "NA null"),
        ("File ; Label\n a.jpg ;cat \nb; cat\n\n;\nc.jpg;dog;\n", "a.jpg b.jpg c.jpg", "cat cat dog"),
        ("file|label\nmore//a.jpg|cat\nmore/./b.jpg|dog\n", "more/a.jpg more/b.jpg", "cat dog"),
        ("file,label\na,cat\nb,dog\n", "x/a.jpg x/b.jpg x/a.xml x/b.txt", "cat dog"),
    ],
    ids=["numbers", "text", "blanks", "bars and slashes", "a picture before what describes it"],
)
def test_csvs_as_people_write_them(text: str, files: str, targets: str, tmp_path: Path) -> None:
    found = placed(listed(*labels(tmp_path, text, files)))
    assert found == dict(zip(files.split(), (("train", target) for target in targets.split()), strict=False))


def test_a_file_named_twice_with_one_label_counts_once(tmp_path: Path) -> None:
    found = listed(*labels(tmp_path, "file,label,group\na.jpg,cat,\na,cat,ann\nb.jpg,dog,\n"))
    assert found.rows["id"].tolist() == ["a.jpg", "b.jpg"]
    assert found.rows["group"].tolist()[0] == "ann"
    assert found.rows["group"].isna().tolist() == [False, True]  # a blank cell is no group
    assert found.notes == ["1 rows of labels.csv name a file a second time, and say the same"]


def test_a_wrapped_table_and_its_images_are_found(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data/labels.csv").write_text("id,class\nimg/a.jpg,cat\nimg/b.jpg,dog\n")
    columns = {"file": "id", "label": "class"}
    competition = CompetitionOptions(labels="labels.csv", test="test", id="name", columns=columns)
    found = listed(["data/img/a.jpg", "data/img/b.jpg", "data/labels.csv", "data/test/c.jpg"], competition, tmp_path)
    assert [split for split, _ in placed(found).values()] == ["train", "train", "test"]
    assert found.outside == []


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (["[Content_Types].xml", "xl/workbook.xml"], "it is an Excel workbook; save it as CSV UTF-8"),
        (["a.csv", "b.csv"], "it is a zip of 2 files, 2 of them CSVs"),
        (["__MACOSX/._labels.csv", "labels.csv"], None),
    ],
)
def test_a_zipped_table_is_the_one_csv_in_it(names: list[str], told: str | None, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "labels.csv", "w") as file:
        for name in names:
            file.writestr(name, "file,label\na.jpg,cat\nb.jpg,dog\n")
    files, competition = ["a.jpg", "b.jpg", "labels.csv"], CompetitionOptions(labels="labels.csv", id="path")
    if told:
        assert told in refusal(files, competition, tmp_path)
    else:
        assert listed(files, competition, tmp_path).classes == ["cat", "dog"]


def test_videos_are_not_taken_for_images() -> None:
    told = refusal(["cat/1.mp4", "cat/notes.txt", "dog/2.MP4"], FOLDER)
    assert told == "no images are among the 3 files of nowhere; 2 videos are there: type competition=video_folder"
    assert listed(["cat/1", "dog/2"], FOLDER).classes == ["cat", "dog"]  # without extension


def test_a_labels_file_where_the_command_is_typed_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "labels.csv").write_text("file,label\n")
    missing = refusal(["a.jpg"], CompetitionOptions(labels="other.csv", id="path"), tmp_path)
    assert f"there is no {tmp_path / 'other.csv'}: add it" in missing
    told = refusal(["a.jpg"], CompetitionOptions(labels="labels.csv"), tmp_path / "photos")
    assert told.endswith(f"for the one here type competition.labels={tmp_path / 'labels.csv'}")


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
    assert table_hash(table.iloc[:-1]) != table_hash(table)


@pytest.mark.parametrize("column", ["path", "width", "group"])
def test_the_hash_depends_neither_on_paths_nor_on_the_order_of_rows(table: pd.DataFrame, column: str) -> None:
    assert table_hash(table.assign(**{column: "another"}).iloc[::-1]) == table_hash(table)
    assert table_hash(table.iloc[::-1].reset_index(drop=True)) == table_hash(table)


# --- properties -----------------------------------------------------------------------------------------------

NAME = st.text("abcdé 1._-", min_size=1, max_size=6).map(str.strip).filter(lambda name: name.strip("."))
FILES = st.lists(
    st.tuples(st.sampled_from(["Train/Pistol", "Train/Smartphone", "Test", "Other", "Train"]), NAME).map("/".join),
    unique=True,
    max_size=12,
)
SEEDS = st.integers(0, 1000)


@pytest.mark.parametrize("competition", [replace(PISTOLS, id="path"), FOLDER], ids=["layout", "guessed"])
@given(files=FILES, seed=SEEDS, wrapping=st.sampled_from(["", "data/", "a/b/"]))
def test_any_order_of_files_gives_the_same_table_of_all(
    competition: CompetitionOptions, files: list[str], seed: int, wrapping: str
) -> None:
    """Every file is in the table or told to be outside."""
    if competition is FOLDER:
        full = [name for name in {*files, "cat/a.jpg", "dog/a.jpg"} if not name.startswith("Train")]
    else:
        full = [wrapping + name for name in {*files, "Train/Pistol/p.jpg", "Train/Smartphone/s.jpg"}]
    shuffled = np.random.default_rng(seed).permutation(sorted(full)).tolist()
    expected, found = listed(full, competition), list_images(shuffled, competition, NOWHERE)
    pd.testing.assert_frame_equal(found.rows, expected.rows)
    assert (found.classes, sorted(found.outside)) == (expected.classes, sorted(expected.outside))
    assert sorted([*found.rows["path"], *found.outside]) == sorted(full)
    assert found.rows["id"].is_unique
    assert found.rows["id"].is_monotonic_increasing
