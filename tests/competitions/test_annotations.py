"""What students write into their CSVs: read as they mean it, or refused with the row that is to be mended."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kagglepipe.competitions.annotations import Catalogue, list_items
from kagglepipe.competitions.dataset import frame_id, frame_rows
from kagglepipe.competitions.filenames import in_test_folder
from kagglepipe.competitions.units import clip_labels, clip_rows, overlapping
from kagglepipe.errors import UserError
from kagglepipe.options import CompetitionOptions

FILES = ("a.mp4", "b.mp4", "c.mp4", "d.mp4")
ABOUT = "video,start,end,label\n"
CLIPS = "video,label\n"
Listing = Callable[..., Catalogue]


@pytest.fixture
def listing(tmp_path: Path) -> Listing:
    """listing(text of the labels' CSV, files=…, listed=text of the files' CSV, **of the competition) -> Catalogue.

    Segments are looked for, unless form= says otherwise. Files are names: nothing is read in them.
    """

    def run(labels: str | bytes, *, files: Any = FILES, listed: str | None = None, **settings: Any) -> Catalogue:
        (tmp_path / "labels.csv").write_bytes(labels if isinstance(labels, bytes) else labels.encode())
        if listed is not None:
            (tmp_path / "files.csv").write_bytes(listed.encode())
            settings["files"] = "files.csv"
        usual = {"kind": "video", "labels": "labels.csv", "form": "segments", "background": "none", "test": "test"}
        return list_items(sorted(files), CompetitionOptions(**usual | settings), tmp_path)

    return run


def rows(catalogue: Catalogue) -> list[tuple[Any, ...]]:
    """The labels, with None where there are no times."""
    table = catalogue.labels.astype(object).where(catalogue.labels.notna(), None)
    return list(table.itertuples(index=False, name=None))


def column(catalogue: Catalogue, name: str) -> list[Any]:
    """A column of the files, with None where it is empty."""
    return [None if pd.isna(value) else value for value in catalogue.files[name]]


def refusal(listing: Listing, *arguments: Any, **settings: Any) -> str:
    with pytest.raises(UserError) as caught:
        listing(*arguments, **settings)
    message = str(caught.value)
    assert "\n" not in message
    return message


# --- what is read ----------------------------------------------------------------------------------------------


def test_labels_and_classes(listing: Listing) -> None:
    found = listing(ABOUT + "b.mp4,0,1.5,walk\na.mp4,2,3,fall\nb.mp4,.5,1e0,walk\n")
    assert rows(found) == [("b.mp4", 0.0, 1.5, "walk"), ("a.mp4", 2.0, 3.0, "fall"), ("b.mp4", 0.5, 1.0, "walk")]
    assert found.classes == ["none", "fall", "walk"]
    assert column(found, "video") == ["a.mp4", "b.mp4"]
    assert column(found, "split") == ["train", "train"]
    assert column(found, "group") == [None, None]
    assert (found.outside, found.notes) == (["c.mp4", "d.mp4"], [])


PLAIN = ABOUT + "a.mp4,0,1.5,walk\nb.mp4,1.25,3,sit down\n"


@pytest.mark.parametrize(
    "written",
    [
        PLAIN.encode("utf-8-sig"),
        PLAIN.replace("\n", "\r\n").encode("utf-8-sig"),
        PLAIN.replace("\n", "\r").encode(),
        PLAIN.rstrip("\n").encode(),
        PLAIN.encode("utf-16"),
        b"\xfe\xff" + PLAIN.encode("utf-16-be"),
        ("sep=;\n" + PLAIN.replace(",", ";")).encode(),
        PLAIN.replace("video", " Video ").replace("label", "LABEL").encode(),
        PLAIN.replace(",", " , ").encode(),
        PLAIN.replace(",", "\t").encode(),
        PLAIN.replace(",", ";").replace(".5", ",5").replace(".25", ",25").encode("utf-8-sig"),
        PLAIN.replace("\n", ",\n").replace("label,", "label").encode(),
        PLAIN.replace("\n", ",,\n").encode(),
        (PLAIN + "\n,,,\n\n").encode(),
        PLAIN.replace("\n", "\n\n").encode(),
        PLAIN.replace("a.mp4", '"a.mp4"').replace(",sit down", ', "sit down"').encode(),
        b"label,note,video,end,start\nwalk,,a.mp4,1.5,0\nsit down,!,b.mp4,3,1.25\n",
    ],
    ids=[
        "byte order mark", "Windows", "old Mac", "no last line end", "UTF-16", "big UTF-16", "sep=", "case",
        "spaces", "tabs", "Spanish Excel",
        "comma behind rows", "commas behind all", "empty rows at the end", "empty rows between", "quotes",
        "other columns and order",
    ],
)  # fmt: skip
def test_the_csvs_of_spreadsheets(written: bytes, listing: Listing) -> None:
    found = listing(written)
    assert rows(found) == [("a.mp4", 0.0, 1.5, "walk"), ("b.mp4", 1.25, 3.0, "sit down")]
    assert found.notes == []


def test_columns_by_the_names_of_the_competition(listing: Listing) -> None:
    columns = {"video": "sequence", "start": "from", "end": "to", "group": "subject"}
    text = "sequence,from,to,label,subject,group,video\na,0,1,walk,anna,x,nonsense\nb,0,1,sit,bob,x,nonsense\n"
    found = listing(text, columns=columns)
    assert column(found, "group") == ["anna", "bob"]
    assert column(found, "video") == ["a.mp4", "b.mp4"]


@pytest.mark.parametrize("name", ["day 1/it's, (1).mp4", '"it\'s, (1).mp4"', r"day 1\it's, (1)"])
def test_names_that_mean_a_file(name: str, listing: Listing) -> None:
    """As tests of file names have it; here through the quotes of a CSV."""
    file = "day 1/it's, (1).mp4"
    quoted = name if name.startswith('"') else f'"{name}"'
    found = listing(ABOUT + f"{quoted},0,1,walk\n", files=(file, "other.mp4"), id="path")
    assert column(found, "path") == [file]
    assert rows(found) == [(file, 0.0, 1.0, "walk")]


def test_two_files_for_one_id(listing: Listing) -> None:
    text, files = ABOUT + "x/a.mp4,0,1,walk\ny/a.mp4,0,1,run\n", ("x/a.mp4", "y/a.mp4")
    told = refusal(listing, text, files=files)
    assert told == "id a.mp4 stands for more than one file: type competition.id=path"
    assert column(listing(text, files=files, id="path"), "video") == ["x/a.mp4", "y/a.mp4"]


# --- who is in training, who is to be classified -----------------------------------------------------------------


@pytest.mark.parametrize("folder", ["test", "Test", "set/TEST", "test/deeper"])
def test_a_folder_called_test_is_to_be_classified(folder: str, listing: Listing) -> None:
    found = listing(ABOUT + "a.mp4,0,1,walk\n", files=("a.mp4", f"{folder}/b.mp4", "latest/c.mp4", "contest/d.mp4"))
    assert dict(zip(column(found, "video"), column(found, "split"), strict=True)) == {"a.mp4": "train", "b.mp4": "test"}
    assert found.outside == ["contest/d.mp4", "latest/c.mp4"]


@pytest.mark.parametrize(
    ("path", "test", "inside"),
    [("test/a.mp4", "test/", True), ("a/b/c.mp4", "a/b", True), ("test.mp4", "test", False), ("test/a", None, False)],
)
def test_in_test_folder(path: str, test: str | None, inside: bool) -> None:
    assert in_test_folder(path, test) is inside


def test_labels_of_what_is_to_be_classified_are_not_looked_at(listing: Listing) -> None:
    found = listing(ABOUT + "a.mp4,0,1,walk\nb.mp4,0,1,secret\n", files=("a.mp4", "test/b.mp4"))
    assert rows(found) == [("a.mp4", 0.0, 1.0, "walk")]
    assert found.classes == ["none", "walk"]
    assert found.notes == ["1 labels of labels.csv are of videos to classify, and were not looked at"]


def test_the_list_of_files_says_whose_they_are_and_which_part(listing: Listing) -> None:
    listed = "video,group,split\na,anna,train\nb,bob,test\nc,,\ntest/d.mp4,dora,\ntest/e.mp4,,train\n"
    files = ("a.mp4", "b.mp4", "c.mp4", "test/d.mp4", "test/e.mp4", "f.mp4", "test/g.mp4")
    found = listing(ABOUT + "a,0,1,walk\nc,0,1,run\ne,0,1,run\n", listed=listed, files=files)
    assert column(found, "video") == ["a.mp4", "b.mp4", "c.mp4", "d.mp4", "e.mp4", "g.mp4"]
    assert column(found, "split") == ["train", "test", "train", "test", "train", "test"]
    assert column(found, "group") == ["anna", "bob", None, "dora", None, None]
    assert found.outside == ["f.mp4"]


def test_listed_videos_without_a_label_are_background_and_clips_are_left_out(listing: Listing) -> None:
    found = listing(ABOUT + "a,0,1,walk\n", listed="video\na\nb\n")
    assert column(found, "split") == ["train", "train"]
    assert found.notes == ["1 videos to train on have no label: taken as none from start to end"]
    found = listing(CLIPS + "a,walk\nb,run\n", listed="video\na\nb\nc\nd\n", form="name", background=None)
    assert found.notes == ["2 videos to train on have no label and were left out"]
    assert clip_rows(found)["id"].tolist() == ["a.mp4", "b.mp4"]


@pytest.mark.parametrize(
    ("text", "listed", "groups"),
    [
        ("a,0,1,walk,anna\na,2,3,run,\nb,0,1,walk,\nb,3,4,run,bob\nc,0,1,run,\n", None, ["anna", "bob", None]),
        # they go before those of the list, which stay where there are none
        (
            "a,0,1,walk,here\nb,0,1,walk,\n",
            "video,group\na,there\nb,there\ntest/t.mp4,else\n",
            ["here", "there", "else"],
        ),
        ("a,0,1,walk,\nb,0,1,walk,\n", "video\na\nb\n", [None, None]),
    ],
)
def test_groups_beside_the_labels(text: str, listed: str | None, groups: list[str | None], listing: Listing) -> None:
    files = (*FILES, "test/t.mp4") if listed and "test" in listed else FILES
    assert column(listing("video,start,end,label,group\n" + text, listed=listed, files=files), "group") == groups


# --- rows that are not complete ---------------------------------------------------------------------------------


def test_rows_without_a_label_are_passed_over_and_counted(listing: Listing) -> None:
    found = listing(ABOUT + "a.mp4,0,1,walk\nb.mp4,,,\nc.mp4,1,2,\nd.mp4\n")
    assert rows(found) == [("a.mp4", 0.0, 1.0, "walk")]
    assert column(found, "video") == ["a.mp4"]
    assert found.outside == ["b.mp4", "c.mp4", "d.mp4"]
    assert found.notes == ["3 rows of labels.csv have no label yet and were passed over"]


def test_none_means_that_nothing_happens_and_no_times_the_whole_video(listing: Listing) -> None:
    assert rows(listing(ABOUT + "a.mp4,,,walk\n")) == [("a.mp4", None, None, "walk")]
    found = listing(ABOUT + "a.mp4,0,1,walk\nb.mp4,,,none\nc.mp4,3,4,none\n")
    assert rows(found) == [("a.mp4", 0.0, 1.0, "walk")]
    assert column(found, "video") == ["a.mp4", "b.mp4", "c.mp4"]
    assert found.notes == []


@pytest.mark.parametrize("cell", ["1:30", "one", "1 s", "inf", "nan", "0x10", '"1,5"', "1_0", "٣"])
def test_times_that_are_no_numbers(cell: str, listing: Listing) -> None:
    for place, row in (("start", f"b,{cell},9,walk"), ("end", f"b,0,{cell},walk")):
        told = refusal(listing, ABOUT + f"a,0,1,walk\n{row}\n")
        assert told == f"labels.csv, row 3: {place} {cell.strip(chr(34))!r} is no number; give it in s, as 83.5"


@pytest.mark.parametrize("listed", [None, "video,split\na,train\nb,train\n"])
def test_a_column_that_is_named_and_nowhere_is_not_passed_over(listed: str | None, listing: Listing) -> None:
    text = ABOUT + "a,0,1,walk\nb,0,1,run\n"
    told = refusal(listing, text, listed=listed, columns={"group": "subject"})
    assert told.endswith("subject is needed too, which competition.columns.group names")
    by_list = listing(text, listed="video,Subject\na,anna\nb,bob\nc,bob\n", columns={"group": "subject"})
    assert column(by_list, "group")[:2] == ["anna", "bob"]


def test_a_table_that_is_missing(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"kind": "video", "labels": "labels.csv", "background": "none"}
    with pytest.raises(UserError, match=r"there is no \S+labels\.csv; to begin one, type: .* annotations input=FOLDER"):
        list_items(["a.mp4"], CompetitionOptions(form="segments", **settings), tmp_path)
    with pytest.raises(UserError, match=r"there is no \S+labels\.csv: add it, or .*competition\.labels=PATH"):
        list_items(["a.mp4"], CompetitionOptions(form="name", **settings), tmp_path)


HALF, REVERSED = "(a.mp4) has a start or an end but not both", "(a.mp4) does not end after its start"
NO_CSV = "labels.csv cannot be read as a CSV in UTF-8"
CLIP = {"form": "name", "background": None}


@pytest.mark.parametrize(
    ("text", "settings", "told"),
    [
        # which file is meant
        ("a.mp4,0,1,walk\n", {"files": ("x/a.mp4", "y/a.mp4")}, "row 2, names a.mp4, which may be x/a.mp4 or y/a.mp4:"),
        ("a,0,1,walk\n", {"files": ("a.mp4", "a.mov")}, "which may be a.mov or a.mp4: write the path there"),
        ("\nIMG_001.mp4,0,1,walk\n", {"files": ("IMG_0001.MP4", "other.mov")},
         "labels.csv, row 3, names IMG_001.mp4, and no such file is there (there is IMG_0001.MP4)"),
        ("quite different,0,1,walk\n", {}, "names quite different, and no such file is there: add the file"),
        ("a,0,1,walk\n,0,1,walk\n", {}, "row 3, names no video; give its file name, or take the row out"),
        ("a,0,1,walk\nb,0,1,walk\n", {"listed": "video\na\n"}, "files.csv does not list b.mp4, which labels.csv"),
        ("a,0,1,walk\n", {"listed": "video\na\nnowhere.mp4\n"}, "files.csv, row 3, names nowhere.mp4, and no such"),
        *(("a,0,1,walk\n", {"listed": f"video\nb\na\n{name}\n"}, f"files.csv, row 4, names {name} a second time:")
          for name in ("a.mp4", "a", "./a.mp4")),
        # split and group
        *(("a,0,1,walk\n", {"listed": f"video,split\na,train\nb,{split}\n"},
           f"files.csv, row 3: the split {split} is neither train nor test") for split in ("both", "0", "train+test")),
        ("video,start,end,label,group\na,0,1,walk,x\nb.mp4,0,1,walk,y\na.mp4,2,3,run,y\n", {},
         "labels.csv gives a.mp4 several groups: keep one, or leave the column out with "
         "'+competition.columns={group: null}'"),
        # times
        *((f"b.mp4,0,1,run\n\n{row}\n", {}, f"labels.csv, row 4 {fault}; mend it (there are 1)") for row, fault in (
            ("a.mp4,1,,walk", HALF), ("a.mp4,,1,walk", HALF), ("a.mp4,1,,", HALF), ("a.mp4,5,4,walk", REVERSED),
            ("a.mp4,5,5.0,walk", REVERSED))),
        *(("a,25,50,walk\n", {"unit": unit}, f"competition.unit={unit} is for series, times of videos are in seconds")
          for unit in ("frames", "ms")),
        # the CSV itself
        ("video,start,end\na,0,1\n", {}, "labels.csv has the columns video, start, end: label is needed too"),
        ("video,label\na,walk\n", {"columns": {"video": "sequence"}},
         "sequence is needed too; a column by another name is taken with '+competition.columns={video: NAME}'"),
        (b"a.mp4,0,1,walk\n", {}, "begins with a.mp4: its first row must name the columns, as video,label"),
        (b"", {}, f"{NO_CSV} (it is empty)"),
        ("video,label\na,walk\n", {}, "labels.csv has no start and end: segments need them"),
        ("a,0,1,walk, fast\n", {}, f"{NO_CSV} (row 2 has 5 cells, the header 4)"),
        ('"a,0,1,walk\n', {}, f"{NO_CSV} (row 2: unexpected end of data; is a"),
        ((ABOUT + "a,0,1,caída\n").encode("cp1252"), {}, f"{NO_CSV} ('utf-8' codec"),
        (b"PK\x03\x04\xff\xfe\x00", {}, f"{NO_CSV} ('utf-8' codec"),
        # classes
        ("a,0,1,walk\n\nb,0,1,wlak\n", {"classes": ["none", "walk"]},
         "labels.csv, row 4: label wlak is not in competition.classes: none, walk"),
        ("a,0,1,Walk\n", {"classes": ["none", "walk"]},
         "competition.classes: none, walk (spell it 'walk' there, or here; true and on need quotes in YAML)"),
        ("a,0,1,walk\nb,0,1,Walk\n", {}, "labels 'Walk' and 'walk', which differ only in case"),
        ("a,0,1,None\nb,0,1,walk\n", {}, "labels 'None' and 'none', which differ only in case"),
        ("video,label\na,walk\n", CLIP, "only one class was found (walk)"),
    ],
)  # fmt: skip
def test_what_is_refused(text: str | bytes, settings: dict[str, Any], told: str, listing: Listing) -> None:
    """A text without a header gets the usual one; bytes stay as they are."""
    if isinstance(text, str) and not text.startswith(("video,", "file,")):
        text = ABOUT + text
    assert told in refusal(listing, text, **settings)


# --- classes ------------------------------------------------------------------------------------------------------


def test_given_classes_keep_their_order_and_otherwise_the_background_comes_first(listing: Listing) -> None:
    assert listing(ABOUT + "a,0,1,walk\n", classes=["walk", "none", "fall"]).classes == ["walk", "none", "fall"]
    assert listing(ABOUT + "a,0,1,aaa\nb,0,1,zzz\n", background="idle").classes == ["idle", "aaa", "zzz"]
    clips = CLIPS + "a,aaa\nb,idle\n"
    assert listing(clips, form="name", background="idle").classes == ["idle", "aaa"]
    assert listing(clips, form="name", background="else").classes == ["aaa", "idle"]


@pytest.mark.parametrize("text", [ABOUT, ABOUT + "a,,,\nb,,,\n", ABOUT + "a,,,none\n", ABOUT + "test/t,0,1,walk\n"])
@pytest.mark.parametrize("classes", [[], ["none", "walk"]])
def test_nothing_is_labelled_yet(text: str, classes: list[str], listing: Listing) -> None:
    told = refusal(listing, text, classes=classes, files=(*FILES, "test/t.mp4"))
    assert told == "labels.csv says nothing yet of what happens in a video to train on; fill it in"


# --- class folders ----------------------------------------------------------------------------------------------


def test_class_folders(tmp_path: Path) -> None:
    files = ["run/1.MP4", "run/notes.txt", "test/3.avi", "walk/2.mov"]
    found = list_items(files, CompetitionOptions(kind="video", test="test", id="path", form="name"), tmp_path)
    assert rows(found) == [("run/1.MP4", None, None, "run"), ("walk/2.mov", None, None, "walk")]
    assert column(found, "split") == ["train", "test", "train"]
    assert (found.classes, found.outside) == (["run", "walk"], ["run/notes.txt"])


VIDEOS, SERIES = r"videos \(\.mp4, .*\)", r"series \(\.npz, \.npy, \.csv\)"


@pytest.mark.parametrize(
    ("kind", "wanted", "files", "hint"),
    [
        ("video", VIDEOS, ["a.txt", "walk/b.jpg", "labels.csv"], "1 images .* competition=image_folder"),
        ("video", VIDEOS, ["a.txt", "walk/b.pdf", "labels.csv"], r"is competition\.source right\?"),
        ("series", SERIES, ["a.txt", "labels.csv", "c.mp4"], ".*competition=video_folder"),
    ],
)
def test_no_file_of_the_kind(kind: str, wanted: str, files: list[str], hint: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"no {wanted} are among the 3 files of {tmp_path}; {hint}"):
        list_items(files, CompetitionOptions(kind=kind, form="name", labels="labels.csv"), tmp_path)
    with pytest.raises(UserError, match=f"no {wanted} are among the 1 files"):
        list_items(files[:1], CompetitionOptions(kind=kind, form="name"), tmp_path)


def test_tables_of_the_competition_are_no_series(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text(CLIPS + "a.csv,x\nb,y\n")
    settings: dict[str, Any] = {"labels": "./labels.csv", "answers": "answers.csv", "sample_submission": "sample.csv"}
    files = ["a.csv", "answers.csv", "b.npz", "labels.csv", "sample.csv"]
    found = list_items(files, CompetitionOptions(kind="series", form="name", **settings), tmp_path)
    assert column(found, "path") == ["a.csv", "b.npz"]
    assert found.outside == []


def test_labels_outside_the_source(tmp_path: Path) -> None:
    (tmp_path / "mine.csv").write_text(CLIPS + "a,x\nb,y\n")
    competition = CompetitionOptions(kind="video", form="name", labels=str(tmp_path / "mine.csv"))
    assert list_items(["a.mp4", "b.mp4"], competition, tmp_path / "videos").classes == ["x", "y"]


# --- against the files -------------------------------------------------------------------------------------------


def bounded(listing: Listing, text: str, spans: dict[str, tuple[float, float]], form: str = "segments") -> Catalogue:
    return clip_labels(listing(ABOUT + text, form=form), spans, finds_segments=form == "segments")


SPANS = {"a.mp4": (0.0, 8.0), "b.mp4": (2.0, 6.0)}


@pytest.mark.parametrize(
    ("text", "form", "left"),
    [
        ("a,-1,2,walk\na,7,9,run\nb,1,7,walk\nb,3,6.0000001,run\n", "segments",
         [("a.mp4", 0, 2, "walk"), ("a.mp4", 7, 8, "run"), ("b.mp4", 2, 6, "walk"), ("b.mp4", 3, 6, "run")]),
        # without times: the whole of a long video, and none for a clip
        ("b,,,walk\n", "segments", [("b.mp4", 2.0, 6.0, "walk")]),
        ("b,,,walk\na,,,run\n", "name", [("b.mp4", None, None, "walk"), ("a.mp4", None, None, "run")]),
        # videos that cannot be used go with their labels
        ("a,0,1,walk\nc,900,901,run\n", "segments", [("a.mp4", 0.0, 1.0, "walk")]),
    ],
)  # fmt: skip
def test_labels_are_cut_to_their_video(text: str, form: str, left: list[Any], listing: Listing) -> None:
    found = bounded(listing, text, SPANS, form=form)
    assert rows(found) == left
    assert set(column(found, "video")) == {row[0] for row in left}
    is_cut = "3 labels reach beyond their video and were cut, as in a.mp4" in found.notes
    assert is_cut is (len(left) == 4)


@pytest.mark.parametrize("times", ["8,9", "8.5,9", "-2,0", "-2,-1"])
def test_labels_wholly_outside(times: str, listing: Listing) -> None:
    with pytest.raises(UserError, match=r"a label of a\.mp4 lies at .*, but all that is there lies at 0–8; mend it"):
        bounded(listing, f"a,0,1,walk\na,{times},run\n", SPANS)
    with pytest.raises(UserError, match=r"b\.mp4 lies at 0–2, but all that is there lies at 2–6; mend it \(there"):
        bounded(listing, "b,0,2,walk\n", SPANS)


def test_overlapping_labels_are_counted(listing: Listing) -> None:
    found = bounded(listing, "a,0,2,walk\na,1,3,run\na,3,4,walk\na,0,8,sit\nb,2,3,run\nb,3,4,walk\n", SPANS)
    assert found.notes == ["3 labels overlap: the one that starts later counts, as in a.mp4"]
    assert bounded(listing, "a,0,2,walk\na,1,3,run\n", SPANS, form="name").notes == []


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 20), st.integers(1, 5)), max_size=8))
def test_overlapping_by_brute_force(pieces: list[tuple[str, int, int]]) -> None:
    labels = pd.DataFrame([(v, float(s), float(s + n)) for v, s, n in pieces], columns=["video", "start", "end"])
    ordered = sorted(((v, s, s + n) for v, s, n in pieces), key=lambda piece: piece[:2])
    expected = [
        video for place, (video, start, _) in enumerate(ordered)
        if any(other == video and end > start for other, _, end in ordered[:place])
    ]  # fmt: skip
    assert sorted(overlapping(labels.astype({"start": float, "end": float}))) == sorted(expected)


# --- rows ---------------------------------------------------------------------------------------------------------


def test_rows_of_clips_and_pieces(listing: Listing) -> None:
    text = "video,start,end,label,group\na,,,walk,anna\nb,0,1.5,run,\nb,1.5,2.25,walk,\n"
    table = clip_rows(listing(text, form="name", files=(*FILES, "test/t.mp4")))
    assert table["id"].tolist() == ["a.mp4", "b.mp4@0-1.5", "b.mp4@1.5-2.25", "t.mp4"]
    assert table["split"].tolist() == ["train", "train", "train", "test"]
    assert table["target"].fillna("").tolist() == ["walk", "run", "walk", ""]
    assert table["group"].tolist() == ["anna", "b.mp4", "b.mp4", "t.mp4"]
    assert table[["start", "end"]].fillna(-1).to_numpy().tolist() == [[-1, -1], [0, 1.5], [1.5, 2.25], [-1, -1]]
    for twice, id in (("a,,,walk\na,,,run\n", "a.mp4"), ("a,0,1,x\na.mp4,0.0,1,y\n", "a.mp4@0-1")):
        with pytest.raises(UserError, match=f"{id} has more than one label: keep one of them"):
            clip_rows(listing(ABOUT + twice, form="name"))


def test_rows_of_frames() -> None:
    files = pd.DataFrame(
        {"video": ["a", "b"], "path": ["a.mp4", "test/b.mp4"], "split": ["train", "test"], "group": ["x", "y"]}
    )
    times = {"a": np.array([0.25, 0.5]), "b": np.array([0.0])}
    table = frame_rows(files, times, {"a": np.array(["none", "walk"], object), "b": np.array(["secret"], object)})
    assert table["id"].tolist() == ["a@0.25", "a@0.5", "b@0"]
    assert table["target"].fillna("").tolist() == ["none", "walk", ""]
    assert table["position"].tolist() == [0, 1, 0]
    assert table["start"].tolist() == table["end"].tolist() == [0.25, 0.5, 0.0]
    assert table["group"].tolist() == ["x", "x", "y"]


@given(st.integers(0, 10**6), st.sampled_from([1, 8, 15, 25, 30, 60, 1000]))
def test_ids_of_frames_are_short_and_differ(k: int, rate: int) -> None:
    times = (0, 1 / 3, 1, 1_600_000_000.125)
    assert [frame_id("a", time) for time in times] == ["a@0", "a@0.333333", "a@1", "a@1600000000.125"]
    for begins in (0, 1_600_000_000 * rate):  # of a clock that counts from 1970
        assert frame_id("a", (begins + k) / rate) != frame_id("a", (begins + k + 1) / rate)


# --- the contract -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"kind": "sound"}, r"competition\.kind=sound is unknown; choose one of: image, video, series, audio"),
        ({"kind": "video", "form": "segments"}, r"form=segments needs kind=video, series or audio, and a name for"),
        ({"form": "segments", "background": "none"}, r"form=segments needs kind=video, series or audio"),
        ({"kind": "video", "form": "segments", "background": "none", "classes": ["a", "b"]}, "background=none is miss"),
        ({"kind": "video", "columns": {"source": "group"}}, r"competition\.columns=source is unknown; choose one of"),
        ({"kind": "series", "skeleton": {"hip": 0}}, r"skeleton names \['hip'\]; it needs hip, neck, left_hip, right_"),
    ],
)  # fmt: skip
def test_competitions_that_contradict_themselves(settings: dict[str, Any], told: str) -> None:
    with pytest.raises(UserError, match=told):
        CompetitionOptions(**settings)
    assert CompetitionOptions(kind="series", form="segments", background="none").finds_segments
    assert not CompetitionOptions(kind="video", form="name", background="none").finds_segments


# --- other tasks than classes --------------------------------------------------------------------------------------


def tasked(listing: Listing, text: str, task: str, **settings: Any) -> Catalogue:
    return listing(text, **{"form": {"multilabel": "tags", "regression": "numbers"}[task], "task": task, **settings})


def test_tags_of_whole_items_and_of_pieces(listing: Listing) -> None:
    whole = tasked(listing, CLIPS + "a,bark howl\nb,\nc,bark\n", "multilabel", background=None)
    assert whole.classes == ["bark", "howl"]
    assert clip_rows(clip_labels(whole, dict.fromkeys(FILES, (0.0, 8.0)), finds_segments=False))["target"].tolist() == [
        "bark|howl", "", "bark",
    ]  # fmt: skip
    pieces = tasked(listing, ABOUT + "a,0,1,howl\na,1,2,bark;howl\n", "multilabel", label_separator=";")
    assert rows(pieces) == [("a.mp4", 0, 1, "howl"), ("a.mp4", 1, 2, "bark|howl")]
    one_hot = tasked(listing, "video,x,y\na,0,0\nb,1,1\n", "multilabel", columns={"labels": ["x", "y"]})
    assert (rows(one_hot)[0][3], rows(one_hot)[1][3], one_hot.classes) == ("", "x|y", ["x", "y"])


def test_numbers_are_named_after_their_column(listing: Listing) -> None:
    columns = {"item": "segment_id", "label": "time_to_eruption"}
    found = tasked(listing, "segment_id,time_to_eruption\na,12.50\nb,\nc,3e6\n", "regression", columns=columns)
    assert (found.classes, [row[3] for row in rows(found)]) == (["time_to_eruption"], ["12.5", "3000000.0"])
    assert found.notes[0] == "1 rows of labels.csv have no label yet and were passed over"
    message = refusal(listing, CLIPS + "a,soon\nb,3\n", task="regression", form="numbers")
    assert message.startswith("labels.csv has 'soon', competition.task=regression needs a finite number")
    assert refusal(listing, CLIPS + "a,3\nb,3\n", task="regression", form="numbers").startswith("all numbers to learn")


def test_other_tags_than_those_of_the_competition_are_refused(listing: Listing) -> None:
    message = refusal(listing, CLIPS + "a,x\nb,x z\n", task="multilabel", form="tags", classes=["x", "y"])
    assert message.startswith("labels.csv: labels z are not among competition.classes=['x', 'y']")


@pytest.mark.parametrize("task", ["multilabel", "regression", "ordinal", "ranking"])
def test_frames_have_classes_alone(listing: Listing, task: str) -> None:
    message = refusal(listing, ABOUT + "a,0,1,x\n", task=task)
    assert message.startswith(f"competition.form=segments does not fit competition.task={task}: type competition.form=")


def test_times_in_a_longer_recording_are_left_out_where_their_columns_are_null(listing: Listing) -> None:
    text = ABOUT + "a,100,104,horn\nb,7,9,bark\n"
    whole = listing(text, form="name", background=None, columns={"start": None, "end": None})
    assert rows(whole) == [("a.mp4", None, None, "horn"), ("b.mp4", None, None, "bark")]
    pieces = listing(text, form="name", background=None)
    assert rows(pieces) == [("a.mp4", 100.0, 104.0, "horn"), ("b.mp4", 7.0, 9.0, "bark")]
