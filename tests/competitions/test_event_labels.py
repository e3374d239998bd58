"""Labels of events: their times are read, refused where they cannot be, and widened to frames."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from kagglepipe.competitions.annotations import Catalogue, list_items
from kagglepipe.competitions.event_labels import labelled_spans, widened
from kagglepipe.competitions.units import check_events
from kagglepipe.errors import UserError
from kagglepipe.options import CompetitionOptions
from kagglepipe.predictions import event_submission as submissions
from kagglepipe.sequences.grid import frame_labels

COLUMNS = {"item": "video_id", "label": "event"}


def listed(folder: Path, text: str, **settings: Any) -> Catalogue:
    (folder / "train.csv").write_text(text)
    usual = {"kind": "video", "labels": "train.csv", "form": "events", "background": "none", "columns": COLUMNS}
    return list_items(["a.mp4", "b.mp4"], CompetitionOptions(**usual | settings), folder)


def test_events_have_a_time(tmp_path: Path) -> None:
    found = listed(tmp_path, "video_id,time,event\na,1.5,pass\nb,0,throw\na,8,pass\n")
    assert found.classes == ["none", "pass", "throw"]
    kept = check_events(found, {"a.mp4": (0.0, 8.0), "b.mp4": (0.0, 2.0)})
    assert kept.labels[["video", "start", "end", "label"]].to_numpy().tolist() == [
        ["a.mp4", 1.5, 1.5, "pass"], ["b.mp4", 0, 0, "throw"], ["a.mp4", 8, 8, "pass"],
    ]  # fmt: skip
    with pytest.raises(UserError, match=r"an event of a\.mp4 is at 8, but all that is there lies at 0–7; mend it"):
        check_events(found, {"a.mp4": (0.0, 7.0)})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("video_id,start,event\na,1,pass\n", "train.csv has no column time: events need it"),
        ("video_id,time,event\na,,pass\nb,,pass\n", "train.csv has no time in any row: events need it"),
        ("video_id,time,event\na,soon,pass\n", "train.csv, row 2: start 'soon' is no number"),
    ],
)
def test_labels_without_a_time_are_refused(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        listed(tmp_path, text)
    assert str(caught.value).startswith(message)


def test_frames_between_two_events_are_of_the_nearer() -> None:
    rows = [("v", 3.0, "a"), ("v", 1.0, "a"), ("w", 1.2, "b"), ("v", 3.4, "b")]
    events = pd.DataFrame(rows, columns=["video", "start", "label"]).assign(end=lambda own: own["start"])
    found = widened(events, 0.5)
    assert found[["start", "end"]].round(6).to_numpy().tolist() == [[0.5, 1.5], [2.5, 3.2], [3.2, 3.9], [0.7, 1.7]]
    assert widened(events[:0], 0.5).empty


MARKED = "video_id,time,event\na,2,start\na,2.25,pass\na,6,end\na,9,start\na,9.5,throw\na,10,end\nb,1,pass\n"


def test_time_outside_the_annotated_parts_has_no_label(tmp_path: Path) -> None:
    found = listed(tmp_path, MARKED, bounds=["start", "end"])
    assert found.classes == ["none", "pass", "throw"]
    check_events(found, {"a.mp4": (0.0, 12.0), "b.mp4": (0.0, 2.0)})
    options = CompetitionOptions(kind="video", form="events", background="none", bounds=["start", "end"])
    spans = labelled_spans(pd.concat([found.labels, found.unannotated]), options).groupby("video")
    assert frame_labels(np.arange(12.0), spans.get_group("a.mp4"), "none").tolist() == [
        "", "", "pass", "none", "none", "none", "", "", "", "throw", "", ""]  # fmt: skip
    assert frame_labels(np.arange(2.0), spans.get_group("b.mp4"), "none").tolist() == ["none", "pass"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (MARKED.replace("a,6,end\n", ""), "train.csv: start and end of a.mp4 do not alternate at 9: mend it"),
        (MARKED.replace("a,10,end\n", ""), "train.csv: start and end of a.mp4 do not alternate at 9: mend it"),
        (MARKED.replace("2.25", "7"), "an event of a.mp4 is at 7, outside the annotated parts: mend it"),
    ],
)
def test_parts_that_cannot_be_are_refused(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        check_events(listed(tmp_path, text, bounds=["start", "end"]), {"a.mp4": (0.0, 12.0), "b.mp4": (0.0, 2.0)})
    assert str(caught.value).startswith(message)


def test_options_of_events_fit_the_form() -> None:
    with pytest.raises(UserError, match=r"competition\.bounds=\['start'\] needs two labels"):
        CompetitionOptions(kind="video", form="events", background="none", bounds=["start"])
    assert CompetitionOptions(kind="video", form="events", background="none").segment_metric == "event_ap"
    with pytest.raises(UserError, match=r"event_ap is a metric of competition\.form=events"):
        CompetitionOptions(segment_metric="event_ap")
    with pytest.raises(UserError, match=r"competition\.form=events needs kind=video"):
        CompetitionOptions(form="events", background="none")


def test_times_and_scores_are_called_otherwise_in_the_columns_of_the_sample() -> None:
    events = pd.DataFrame({"video": ["a"], "time": [1.0], "label": ["throw"], "score": [1.0]})
    header = ["clip", "Timestamp", "confidence", "what"]
    built = submissions.build_events(events, ends={"a": 5.0}, header=header)
    assert built.to_dict("list") == {"clip": ["a"], "Timestamp": [1.0], "confidence": [1.0], "what": ["throw"]}
    submissions.validate_events(built, begins={"a": 0.0}, ends={"a": 5.0}, classes=["throw"])
    with pytest.raises(UserError, match="scores that are not within"):
        submissions.validate_events(built.assign(confidence=2), begins={"a": 0}, ends={"a": 5}, classes=["throw"])


def test_a_submission_has_the_columns_of_its_sample() -> None:
    events = pd.DataFrame({"video": ["b", "a"], "time": [2.25, 1.0], "label": ["pass", "throw"], "score": [0.5, 1.0]})
    built = submissions.build_events(events, ends={"a": 5.0, "b": 2.0}, header=["video_id", "time", "event", "score"])
    assert built.to_dict("list") == {
        "video_id": ["a", "b"], "time": [1.0, 2.0], "event": ["throw", "pass"], "score": [1.0, 0.5],
    }  # fmt: skip
    limits = {"begins": {"a": 0.0, "b": 0.0}, "ends": {"a": 5.0, "b": 2.0}}
    submissions.validate_events(built, **limits, classes=["pass", "throw"])
    with pytest.raises(UserError, match="labels that are no class: 'a'; type stage=submit"):
        submissions.validate_events(built, **limits, classes=["pass"])
    with pytest.raises(UserError, match="events outside their video"):
        submissions.validate_events(built.assign(time=6.0), **limits, classes=["pass", "throw"])
    with pytest.raises(UserError, match=r"competition\.form=events makes"):
        submissions.event_columns(["video_id", "start", "end", "event"])
