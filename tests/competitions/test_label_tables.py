"""Tables of labels, groups, folds and tests in the forms of many competitions, read alike for all kinds of items."""

import gzip
import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import pytest

from kagglepipe.competitions.annotations import list_items
from kagglepipe.competitions.table import list_images
from kagglepipe.competitions.test_lists import table_settings
from kagglepipe.errors import UserError
from kagglepipe.options import CompetitionOptions

SUFFIX = {"image": ".jpg", "video": ".mp4", "series": ".npz"}
KINDS = pytest.mark.parametrize("kind", SUFFIX)
FORM = {"form": "name"}
Text = str | bytes | dict[str, str | bytes]


class Fact(NamedTuple):
    """What is found of an item."""

    split: str
    label: str | None
    group: str | None = None
    fold: str | None = None


class Found(NamedTuple):
    """facts: stem -> Fact. ids: stem -> id."""

    facts: dict[str, Fact]
    ids: dict[str, str]
    classes: list[str]
    notes: list[str]
    outside: list[str]


Reading = Callable[..., Found]


@pytest.fixture
def reading(tmp_path: Path) -> Reading:
    """reading(kind, texts: name -> content, files=names without suffix, **of the competition) -> what is found."""

    def run(kind: str, texts: Text = "", files: str = "a b c", **settings: Any) -> Found:
        texts = texts if isinstance(texts, dict) else {"labels.csv": texts} if texts else {}
        for name, text in texts.items():
            (tmp_path / name).write_bytes(text.encode() if isinstance(text, str) else text)
        if texts and not settings.get("label_from"):
            settings = {"labels": next(iter(texts)), **settings}
        items = [name if "." in name else name + SUFFIX[kind] for name in files.split()]
        competition = CompetitionOptions(**{"kind": kind, "id": "stem", **FORM, **settings})
        paths = sorted([*items, *texts])
        return _images(paths, competition, tmp_path) if kind == "image" else _items(paths, competition, tmp_path)

    return run


def _images(paths: list[str], competition: CompetitionOptions, root: Path) -> Found:
    found = list_images(paths, competition, root)
    return _found(found.rows.rename(columns={"target": "label"}), found.classes, found.notes, found.outside)


def _items(paths: list[str], competition: CompetitionOptions, root: Path) -> Found:
    found = list_items(paths, competition, root)
    rows = found.files.merge(found.labels[["video", "label"]], on="video", how="left").rename(columns={"video": "id"})
    return _found(rows, found.classes, found.notes, found.outside)


def _found(rows: pd.DataFrame, classes: list[str], notes: list[str], outside: list[str]) -> Found:
    rows = rows.reindex(columns=["id", "path", *Fact._fields]).astype(object).where(rows.notna(), None)
    stems = [path.rpartition(".")[0] for path in rows["path"]]
    facts = [Fact(*row) for row in rows[list(Fact._fields)].itertuples(index=False)]
    return Found(
        dict(zip(stems, facts, strict=True)), dict(zip(stems, rows["id"], strict=True)), classes, notes, outside
    )


def refusal(reading: Reading, *arguments: Any, **settings: Any) -> str:
    with pytest.raises(UserError) as caught:
        reading(*arguments, **settings)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def labels_of(found: Found) -> dict[str, str | None]:
    return {stem: fact.label for stem, fact in found.facts.items()}


def zipped(text: str) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        archive.writestr("inner/labels.csv", text)
    return data.getvalue()


# --- labels --------------------------------------------------------------------------------------------------------

PLAIN = "item,label\na,cat\nb,dog\nc,cat\n"
JSON = '{"a": {"label": "cat", "n": 1}, "b": {"label": "dog"}, "c": {"label": "cat", "n": null}}'


@KINDS
@pytest.mark.parametrize(
    ("name", "text", "columns"),
    [
        ("labels.csv", PLAIN, {}),
        ("labels.csv", PLAIN.replace("item", "video"), {}),
        ("labels.csv", PLAIN.replace("item", "file"), {}),
        ("labels.csv.gz", gzip.compress(PLAIN.encode(), mtime=0), {}),
        ("labels.csv.zip", zipped(PLAIN), {}),
        ("labels.csv", zipped(PLAIN), {}),
        ("labels.tsv", PLAIN.replace(",", "\t"), {}),
        ("labels.json", JSON, {}),
        ("labels.json", '{"a": "cat", "b": "dog", "c": "cat"}', {}),
        ("labels.json", '[{"img": "a", "y": "cat"}, {"img": "b", "y": "dog"}, {"img": "c", "y": "cat"}]',
         {"item": "img", "label": "y"}),
        ("labels.csv", PLAIN.replace("item,label", "id,class"), {"item": "id", "label": "class"}),
        ("labels.csv", PLAIN.replace("item,label", "ID,Class"), {"video": "id", "label": "class"}),
        ("labels.csv", PLAIN.replace("item,label", "id,class"), {"file": "id", "label": "class"}),
        ("labels.csv", "item,dog,cat\na,0,1\nb,1,0\nc,0.0,1.0\n", {"labels": ["dog", "cat"]}),
        ("labels.csv", "item,label\nx/a.any,cat\nx/b.any,dog\nx/c.any,cat\n".replace(".any", ""), {}),
    ],
)  # fmt: skip
def test_labels_in_any_form_are_the_same(kind: str, name: str, text: Any, columns: Any, reading: Reading) -> None:
    found = reading(kind, {name: text}, columns=columns)
    assert labels_of(found) == {"a": "cat", "b": "dog", "c": "cat"}
    assert (found.classes, found.outside) == (["cat", "dog"], [])


def test_rows_of_an_image_that_agree_are_one(reading: Reading) -> None:
    found = reading("image", {"labels.csv": PLAIN + "\na,cat\nb,dog\n"}, columns={})
    assert labels_of(found) == {"a": "cat", "b": "dog", "c": "cat"}


@KINDS
def test_labels_in_the_names_of_files(kind: str, reading: Reading) -> None:
    files, pattern = "cat.0 cat.10 dog.7 test/1 test/deep/2 stray", "{label}.{number}" + SUFFIX[kind]
    names = " ".join(name + SUFFIX[kind] for name in files.split())
    found = reading(kind, files=names, label_from=pattern, test="test")
    expected: dict[str, Any] = {"cat.0": ("train", "cat"), "cat.10": ("train", "cat"), "dog.7": ("train", "dog")}
    expected |= {"test/1": ("test", None), "test/deep/2": ("test", None)}
    assert {stem: fact[:2] for stem, fact in found.facts.items()} == expected
    assert found.outside == ["stray" + SUFFIX[kind]]
    told = refusal(reading, kind, files=names, label_from="{label}_{number}.x")
    assert told.startswith("no file is called as competition.label_from={label}_{number}.x: there are ")


@KINDS
@pytest.mark.parametrize(
    ("text", "files", "labels"),
    [
        # numbers as tables write them beside empty cells, and without the zeros of the names
        ("item,label\n1.0,cat\n2.0,dog\n", "1 2", {"1": "cat", "2": "dog"}),
        ("item,label\n1,cat\n2,dog\n", "000001 000002", {"000001": "cat", "000002": "dog"}),
        ("item,label\n1,cat\n01,dog\n", "1 01", {"1": "cat", "01": "dog"}),
        ("item,label\n10,cat\n9,dog\n", "9 10 test/9", {"10": "cat", "9": "dog", "test/9": None}),
    ],
)
def test_numbers_that_name_files(kind: str, text: str, files: str, labels: Any, reading: Reading) -> None:
    found = reading(kind, text, files, test="test", id="path")
    assert labels_of(found) == labels


def test_of_one_image_in_two_formats_the_better_one_is_read(reading: Reading) -> None:
    files = "jpeg/train/a.jpg train/a.dcm jpeg/train/b.jpg train/b.png c.dcm c.png test/x.jpg test/x.dcm test/y.dcm"
    found = reading("image", "item,label\na,cat\nb,dog\nc,cat\n", files, test="test")
    assert labels_of(found) == {
        "jpeg/train/a": "cat",
        "jpeg/train/b": "dog",
        "c": "cat",
        "test/x": None,
        "test/y": None,
    }
    assert found.notes == ["1 images to classify are there in a second format: test/x.dcm"]
    assert "test/x.dcm" in found.outside


# --- groups, splits and folds ----------------------------------------------------------------------------------------

BOTH = "item,label,patient\na,cat,p1\nb,dog,p2\nc,cat,p1\n"


@KINDS
@pytest.mark.parametrize(
    ("labels", "metadata", "settings", "facts"),
    [
        # by the items, in another spelling and order
        (PLAIN, "img,driver,fold\nz,d9,9\nc,d1,1\nx/b.any,d2,0\na,d1,1\n", {"columns": {"group": "driver"},
         "metadata_key": "img"}, {"a": ("d1", "1"), "b": ("d2", "0"), "c": ("d1", "1")}),
        # by a column of the labels
        (BOTH, "patient,site\np1,s1\np2,s2\np3,s3\n", {"columns": {"group": "site"}, "metadata_key": "patient"},
         {"a": ("s1", None), "b": ("s2", None), "c": ("s1", None)}),
        # what the labels say counts
        ("item,label,group\na,cat,g\nb,dog,\nc,cat,\n", "item,group\na,x\nb,y\n", {},
         {"a": ("g", None), "b": ("y", None), "c": (None, None)}),
        # a group that names an item
        ('item,label\na,cat\nb,dog\nc,cat\n', "item,original\nb,a\nc,\n", {"columns": {"group": "original"}},
         {"a": ("a", None), "b": ("a", None), "c": (None, None)}),
    ],
    ids=["items", "a key", "both", "named items"],
)  # fmt: skip
def test_a_second_table(
    kind: str, labels: str, metadata: str, settings: Any, facts: dict[str, Any], reading: Reading
) -> None:
    suffix = SUFFIX[kind]
    metadata = metadata.replace(".any", suffix)
    if "original" in metadata:
        metadata = metadata.replace("b,a", f"b,a{suffix}")
        facts = {stem: ("a" + suffix if group else None, fold) for stem, (group, fold) in facts.items()}
    found = reading(kind, {"labels.csv": labels, "meta.csv": metadata}, metadata="meta.csv", **settings)
    assert {stem: fact[2:] for stem, fact in found.facts.items()} == facts
    assert found.outside == []


@KINDS
def test_a_second_table_may_say_the_split(kind: str, reading: Reading) -> None:
    texts = {"labels.csv": PLAIN, "meta.csv": "item,split\na,Train\nb,val\nc,TEST\n"}
    found = reading(kind, {**texts, "labels.csv": PLAIN + "d,dog\n"}, "a b c d", metadata="meta.csv")
    assert {stem: fact.split for stem, fact in found.facts.items()} == {
        "a": "train",
        "b": "train",
        "c": "test",
        "d": "train",
    }
    assert found.facts["c"].label is None
    assert "1 items are not in meta.csv" in found.notes


@KINDS
def test_class_folders_take_groups_from_a_second_table(kind: str, reading: Reading) -> None:
    settings = {"metadata": "drivers.csv", "metadata_key": "img", "columns": {"group": "subject"}, "labels": None}
    text = "subject,classname,img\np1,c0,1\np2,c0,2\np1,c1,3\n"
    found = reading(kind, {"drivers.csv": text}, "train/c0/1 train/c0/2 train/c1/3 test/4", test="test", **settings)
    assert {stem: (fact.label, fact.group) for stem, fact in found.facts.items()} == {
        "train/c0/1": ("c0", "p1"), "train/c0/2": ("c0", "p2"), "train/c1/3": ("c1", "p1"), "test/4": (None, None),
    }  # fmt: skip
    assert found.outside == []


# --- the test ------------------------------------------------------------------------------------------------------


@KINDS
@pytest.mark.parametrize(
    ("name", "text", "settings"),
    [
        ("test.csv", "item\nd\ne\n", {}),
        ("test.csv", "image_id,note\nd,1\ne,2\n", {}),  # the first column, without one of the items
        ("test.csv", "note,img\n1,d\n2,e\n", {"columns": {"item": "img"}}),
        ("test.csv.gz", gzip.compress(b"item\nd\ne\n", mtime=0), {}),
        ("list.txt", "d\r\ne\r\n\r\n", {}),
        ("list.json", '[{"item": "e"}, {"item": "d"}]', {}),
        ("sample_submission.csv", "id,label\ne,cat\nd,cat\n", {"sample_submission": "sample_submission.csv"}),
        ("test.csv", "item\nd\ne\nd\n", {}),
    ],
)
@pytest.mark.parametrize("way", ["labels", "folders", "names"])
def test_a_list_of_the_test(
    kind: str, way: str, name: str, text: Any, settings: dict[str, Any], reading: Reading
) -> None:
    table = "item,label\na,cat\nb,dog\n".replace("item", settings.get("columns", {}).get("item", "item"))
    items = {"labels": "a b", "folders": "cat/a dog/b", "names": "cat.1 dog.2"}[way]
    ways = {
        "labels": {"labels": "labels.csv"},
        "folders": {},
        "names": {"label_from": "{label}.{number}" + SUFFIX[kind]},
    }
    texts = {"labels.csv": table, name: text} if way == "labels" else {name: text}
    files = " ".join(f"{item}{SUFFIX[kind]}" for item in f"{items} d e".split())
    found = reading(kind, texts, files, test=name, **{"labels": None, **ways[way], **settings})
    tests = [stem for stem, fact in found.facts.items() if fact.split == "test"]
    assert (tests, len(found.facts)) == (["d", "e"], 4)
    assert found.outside == []


@KINDS
def test_ids_of_a_column(kind: str, reading: Reading) -> None:
    texts = {"labels.csv": "key,item,label\n7,a,cat\n10,b,dog\n", "test.csv": "item,key\nd,3\ne,x/4\n"}
    columns = {"id": "key"}
    found = reading(kind, texts, "a b d e", test="test.csv", id="column", columns=columns)
    assert found.ids == {"a": "7", "b": "10", "d": "3", "e": "x/4"}
    texts["labels.csv"] = "item,label\na,cat\nb,dog\n"  # nobody asks for these
    assert reading(kind, texts, "a b d e", test="test.csv", id="column", columns=columns).ids["a"] == "a"
    told = refusal(reading, kind, texts, "a b test/d", test="test", id="column", columns=columns)
    assert told == ("competition.id=column needs a list of the test items with a column key, and competition.test=test "
                    "is a folder: type competition.test=CSV, or competition.id=stem")  # fmt: skip
    texts["test.csv"] = "item,key\nd,3\ne,\n"
    told = refusal(reading, kind, texts, "a b d e", test="test.csv", id="column", columns=columns)
    assert told == "test.csv, row 3, has no id in the column key: competition.id=column needs one in each row"


def test_ids_are_unique_within_a_split(reading: Reading) -> None:
    files = "train/1 train/2 test/1 test/sub/2"
    text = "item,label\n1,cat\n2,dog\n"
    assert sorted(reading("image", text, files, test="test").ids.values()) == ["1", "1", "2", "2"]
    for kind in ("video", "series"):  # labels of what happens when are by the id alone
        assert refusal(reading, kind, text, files, test="test") == (
            "id 1 stands for more than one file: type competition.id=path"
        )
        folders = "train/cat/1 train/dog/2 test/1"
        assert "type competition.id=path" in refusal(reading, kind, files=folders, test="test")
    assert refusal(reading, "image", text, "train/1 train/2 test/1 test/sub/1", test="test").startswith(
        "1 ids repeat: 1 is"
    )


# --- items in tables -------------------------------------------------------------------------------------------------

PIXELS = ",".join(f"pixel{n}" for n in range(49))
ROW = ",".join("0" * 49)


def test_ids_of_rows_of_pixels(reading: Reading) -> None:
    train = f"label,{PIXELS}\n5,{ROW}\n7,{ROW}\n"
    test = f"key,{PIXELS}\nr9,{ROW}\nr10,{ROW}\n"
    settings = {"items": "train.csv", "labels": "train.csv", "test": "test.csv"}
    texts = {"train.csv": train, "test.csv": test}
    found = reading("image", texts, "", id="column", columns={"id": "key"}, **settings)
    assert found.ids == {"train.csv/1": "1", "train.csv/2": "2", "test.csv/1": "r9", "test.csv/2": "r10"}
    assert labels_of(found) == {"train.csv/1": "5", "train.csv/2": "7", "test.csv/1": None, "test.csv/2": None}
    found = reading("image", texts, "", **settings)
    assert list(found.ids.values()) == ["1", "1", "2", "2"]
    texts = {"train.csv": train.replace("label", "key,label").replace("\n5", "\nq1,5").replace("\n7", "\nq2,7"),
             "test.csv": test}  # fmt: skip
    found = reading("image", texts, "", id="column", columns={"id": "key"}, **settings)
    assert found.ids["train.csv/2"] == "q2"


def test_series_of_one_table(reading: Reading) -> None:
    texts = {"y.csv": "series_id,surface,place\n0,tile,p\n1,wood,q\n", "X_train.csv": "series_id,x\n0,1\n0,2\n1,3\n",
             "X_test.csv": "series_id,x\n0,1\n1,5\n"}  # fmt: skip
    columns = {"item": "series_id", "label": "surface", "group": "place"}
    found = reading("series", texts, "", items="X_train.csv", test="X_test.csv", id="path", columns=columns)
    assert found.facts["X_train.csv/series_id/1"] == ("train", "wood", "q", None)
    assert found.facts["X_test.csv/series_id/1"] == ("test", None, None, None)
    assert len(found.facts) == 4


# --- what is refused ---------------------------------------------------------------------------------------------

META = {"labels.csv": PLAIN, "meta.csv": "item,group\na,x\n"}


@KINDS
@pytest.mark.parametrize(
    ("texts", "settings", "told"),
    [
        # labels
        (PLAIN, {"columns": {"label": "breed"}}, "{root}/labels.csv has the columns item, label: breed is needed too; "
         "a column by another name is taken with '+competition.columns={{label: NAME}}'"),
        ("item,label\na,1\nb,2\nc,cat\n", {}, "labels.csv: column label has numbers (1, 2) and text (cat): mend it or, "
         "if all are classes, type 'competition.classes=[1,2,cat]'"),
        ("item,cat,dog\na,0,1\nb,1,1\n", {"columns": {"labels": ["cat", "dog"]}}, "{root}/labels.csv, row 3, has cat "
         "'1', dog '1': competition.columns.labels needs one 1 in each row, beside 0, since "
         "competition.task=multiclass has one class for each item"),
        ("item,cat,dog\na,0,1\nb,0,0\n", {"columns": {"labels": ["cat", "dog"]}}, "{root}/labels.csv, row 3, has cat "
         "'0', dog '0': competition.columns.labels needs one 1 in each row, beside 0, since "
         "competition.task=multiclass has one class for each item"),
        (PLAIN, {"columns": {"labels": ["label"]}}, "competition.columns.labels=['label'] needs two or more columns of "
         "0 and 1, as [cat,dog]; a column of class names is competition.columns.label"),
        (PLAIN, {"columns": {"labels": ["cat", "dog"]}}, "{root}/labels.csv has the columns item, label: cat, dog is "
         "needed too; a column by another name is taken with '+competition.columns={{cat: NAME}}'"),
        ({"labels.json": "[1, 2]"}, {}, "{root}/labels.json cannot be read as a JSON (it is neither a list of records "
         "nor an object of labels)"),
        ({"labels.json": '{"images": [], "annotations": []}'}, {}, "{root}/labels.json cannot be read as a JSON (its "
         "images is a list, needed is an object or a label for each item)"),
        ({"labels.json": '{"images": [{"id": 1, "file_name": "a"}], "annotations": [{"image_id": 1}]}'}, {},
         "{root}/labels.json cannot be read as a JSON (its annotations lack an image_id or a category_id)"),
        ({"labels.json": '{"images": [{"id": 1, "file_name": "a"}], "annotations": [{"image_id": 2, "category_id": 0}]'
                         "}"}, {},
         "{root}/labels.json cannot be read as a JSON (it annotates the image 2, which is not among its images)"),
        ({"labels.json": '{"a": "cat", "a": "dog"}'}, {}, "{root}/labels.json cannot be read as a JSON (it has a twice "
         "in one object)"),
        ({"labels.json": "[" * 100_000}, {}, "{root}/labels.json cannot be read as a JSON (it is nested too deep)"),
        # the second table
        (META, {"metadata": "no.csv"}, "there is no {root}/no.csv: type where it is, as competition.metadata=PATH"),
        ({**META, "meta.csv": "item,group\nz,x\n"}, {"metadata": "meta.csv"},
         "no item is among the item of meta.csv: type competition.metadata_key=COLUMN"),
        ({"labels.csv": BOTH, "meta.csv": "patient,group\nz,x\n"}, {"metadata": "meta.csv", "metadata_key": "patient"},
         "no value is among the patient of meta.csv: type competition.metadata_key=COLUMN"),
        (META, {"metadata": "meta.csv", "metadata_key": "img"}, "{root}/meta.csv has the columns item, group, and no "
         "img that names the items: type competition.metadata_key=COLUMN"),
        (META, {"metadata": "meta.csv", "columns": {"fold": "part"}}, "neither labels.csv nor meta.csv has the column "
         "part, which competition.columns.fold names"),
        ({**META, "meta.csv": "item,sex\na,x\n"}, {"metadata": "meta.csv"}, "meta.csv, which competition.metadata "
         "names, has no column group, split or fold: type which it has, as '+competition.columns={{group: NAME}}'"),
        ({**META, "meta.csv": "item,group\na,x\nb,y\na,y\n"}, {"metadata": "meta.csv", "id": "stem"},
         "meta.csv gives item {a} the group x (row 2) and y (row 4): keep one, or leave the "
         "column out with '+competition.columns={{group: null}}'"),
        ({**META, "meta.csv": "item,split\na,x\n"}, {"metadata": "meta.csv"},
         "meta.csv, row 2: the split x is neither train nor test"),
        # the test
        (PLAIN, {"test": "test.csv"}, "there is no test.csv in competition.source: type where the list of test items "
         "is, as competition.test=PATH"),
        ({"labels.csv": "item,label\na,cat\nb,dog\n", "test.csv": "item\nc\nd\ne\n"}, {"test": "test.csv"},
         "test.csv, row 3, names d, and no such file is there; 1 more are not there: add the file, or mend the "
         "row, or answer such rows by the class shares with competition.on_bad_image=skip"),
        ({"labels.csv": "item,label\na,cat\nb,dog\n", "test.csv": "item,key\nc,1\n"},
         {"test": "test.csv", "id": "column"}, "{root}/test.csv has the columns item, key: id is needed too; a column "
         "by another name is taken with '+competition.columns={{id: NAME}}'"),
    ],
)  # fmt: skip
def test_what_is_refused(kind: str, texts: Text, settings: Any, told: str, reading: Reading, tmp_path: Path) -> None:
    assert refusal(reading, kind, texts, **settings) == told.format(root=tmp_path, a="a" + SUFFIX[kind])


# --- classes ---------------------------------------------------------------------------------------------------------


@KINDS
def test_a_class_without_items_is_allowed_for_probabilities(kind: str, reading: Reading) -> None:
    settings = {"classes": ["owl", "dog", "cat"]}
    found = reading(kind, PLAIN, form="probabilities", **settings)
    assert found.classes == ["dog", "cat"]
    assert found.notes == [
        "nothing to train on is of the class owl, which competition.classes names: it is 0 in the submission"
    ]
    if kind == "image":  # of videos, when they are looked at
        told = refusal(reading, kind, PLAIN, **settings)
        assert told.startswith("class owl of competition.classes has no images: add some, or take it out of")
    told = refusal(reading, kind, PLAIN.replace("cat", "Cat"), form="probabilities", **settings)
    assert "(spell it 'cat' there, or here; true and on need quotes in YAML)" in told


@KINDS
@pytest.mark.parametrize("classes", [["1", "2", "cat"], ["A", "1"]], ids=["named", "letters and digits"])
def test_numbers_beside_text_may_be_classes(kind: str, classes: list[str], reading: Reading) -> None:
    text = "item,label\n" + "".join(f"{item},{name}\n" for item, name in zip("abc", classes, strict=False))
    given = classes if len(classes) == 3 else []
    assert set(reading(kind, text, classes=given).classes) == set(classes)


# --- what a prepared table depends on ----------------------------------------------------------------------------


def test_settings_of_the_tables(tmp_path: Path) -> None:
    assert table_settings(CompetitionOptions(labels="labels.csv", test="test"), tmp_path) == {}
    (tmp_path / "meta.csv").write_text("item,group\n")
    (tmp_path / "test.csv").write_text("item\n")
    competition = CompetitionOptions(metadata="meta.csv", metadata_key="k", test="test.csv", label_from="{label}.jpg")
    first = table_settings(competition, tmp_path)
    assert first.keys() == {"label_from", "metadata", "metadata_key", "metadata_sha256", "test_sha256"}
    (tmp_path / "meta.csv").write_text("item,fold\n")
    assert {name for name, value in table_settings(competition, tmp_path).items() if first[name] != value} == {
        "metadata_sha256"
    }
