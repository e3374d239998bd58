"""Segments and events that a sample submission asks for, inferred from its columns and a table of labels."""

from pathlib import Path
from typing import Any

import pytest

from kagglepipe.competitions.annotations import list_items
from kagglepipe.competitions.filenames import is_excluded
from kagglepipe.competitions.infer import Inference, infer
from kagglepipe.errors import UserError
from kagglepipe.options import CompetitionOptions
from tests.competitions.imitations import Files, csv, media, write

GAMES = [f"{number:03x}be_{half}" for number in range(5) for half in (0, 1)]


def football(sample: str = "video_id,time,event,score") -> Files:
    """Games with many events each, bounded by start and end, and further clips that nothing is known of."""
    rows = [
        (game, 10 * n, event, "[]")
        for game in GAMES[:6]
        for n, event in enumerate(["start", *["play", "challenge"] * 8, "end"])
    ]
    return {
        **media([f"train/{game}.mp4" for game in GAMES[:6]] + [f"test/{game}.mp4" for game in GAMES[6:]]),
        **media(["clips/0a2d9b_0.mp4", "clips/0a2d9b_1.mp4"]),
        "train.csv": csv("video_id,time,event,event_attributes", rows),
        "sample_submission.csv": csv(sample, [(game, 0, "play", 0.5) for game in GAMES[6:]]),
    }


def actions(sample: str = "video,start,end,label,score") -> Files:
    return {
        **media([f"train/{game}.mp4" for game in GAMES[:6]] + [f"test/{game}.mp4" for game in GAMES[6:]]),
        "labels.csv": csv("video,start,end,action", [
            (f"{game}.mp4", n, n + 0.5, ["walk", "wave"][n % 2]) for game in GAMES[:6] for n in range(8)]),
        "sample_submission.csv": csv(sample, [(f"{game}.mp4", 0, 1, "walk", 1) for game in GAMES[6:]]),
    }  # fmt: skip


def inferred(files: Files, root: Path, **given: Any) -> tuple[Inference, CompetitionOptions]:
    found = infer(root, write(files, root), given)
    return found, CompetitionOptions(**found.fields, **{name: one for name, one in given.items() if name != "columns"})


def test_events_of_games(tmp_path: Path) -> None:
    found, competition = inferred(football(), tmp_path)
    assert competition.form == "events"
    assert competition.columns == {"item": "video_id", "label": "event", "time": "time"}
    assert competition.exclude == ["clips/*"]
    assert competition.bounds == ["start", "end"]
    assert any("outside start and end" in note for note in found.notes)
    names = [name for name in write(football(), tmp_path) if not is_excluded(name, competition.exclude)]
    items = list_items(names, competition, tmp_path)
    assert items.classes == ["none", "challenge", "play"]
    assert len(items.labels) == 6 * 16
    assert sorted(items.files.loc[items.files["split"] == "test", "video"]) == sorted(GAMES[6:])


def test_event_ap_is_the_metric_of_the_events_and_frames_keep_theirs(tmp_path: Path) -> None:
    _, competition = inferred(football(), tmp_path, metric="event_ap")
    assert (competition.segment_metric, competition.metric, competition.form) == ("event_ap", "accuracy", "events")


def test_segments_of_long_videos(tmp_path: Path) -> None:
    _, competition = inferred(actions(), tmp_path, metric="map_50")
    assert (competition.form, competition.segment_metric, competition.metric) == ("segments", "map_50", "accuracy")
    assert competition.columns == {"item": "video", "label": "action", "start": "start", "end": "end"}
    assert list_items(write(actions(), tmp_path), competition, tmp_path).classes == ["none", "walk", "wave"]


def test_pieces_stay_pieces_where_a_class_is_asked_for(tmp_path: Path) -> None:
    _, competition = inferred(actions("video,label"), tmp_path)
    assert competition.form == "name"


def test_frames_are_refused_with_what_to_divide(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="asks for frame, and times are seconds here: divide those of"):
        inferred(football("video_id,frame,event,confidence"), tmp_path)


def test_milliseconds_are_refused_with_what_to_divide_and_read_as_the_unit_of_a_series(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"asks for time_ms, and times are seconds here: .* submission by 1000"):
        inferred(football("video_id,time_ms,event,confidence"), tmp_path / "video")
    series = {f"{part}/s{n}.csv": csv("time_ms,x", [(20 * k, k) for k in range(90)]) for part, ns in (
        ("train", range(4)), ("test", range(4, 6))) for n in ns}  # fmt: skip
    events = [(f"s{n}", 20 * k, "peak") for n in range(4) for k in (10, 50)]
    files = series | {
        "events.csv": csv("series_id,time_ms,event", events),
        "sample_submission.csv": csv("series_id,time_ms,event,score", [("s4", 0, "peak", 0.5)]),
    }
    _, competition = inferred(files, tmp_path / "series")
    assert (competition.form, competition.columns["time"], competition.event_width) == ("events", "time_ms", 27.0)


def test_events_without_a_table_of_their_times_are_refused_with_the_columns(tmp_path: Path) -> None:
    files = football() | {"train.csv": csv("video_id,event", [(game, "play") for game in GAMES[:6]])}
    with pytest.raises(UserError, match=r"train.csv has video_id, event.*time: NAME"):
        infer(tmp_path, write(files, tmp_path), {})


def test_event_ap_of_something_else_is_refused() -> None:
    with pytest.raises(UserError, match=r"event_ap is a metric of competition.form=events"):
        CompetitionOptions(metric="event_ap", kind="video", background="none", form="segments")


def nights(name: str = "train_series.csv") -> Files:
    """Series one after another, whose events are numbers of their rows, two a night; the sample numbers its rows."""
    ids = [f"{number:02x}a7" for number in range(6)]
    series = [(one, step, f"2018-08-14T{step % 24:02}:00", step % 7) for one in ids for step in range(120)]
    events = [
        (one, night, event, "" if (one, night) == (ids[0], 1) else 40.0 * night + after)
        for one in ids[:4] for night in range(3) for event, after in (("onset", 10), ("wakeup", 20))
    ]  # fmt: skip
    header = "series_id,step,timestamp,anglez"
    return {
        name: csv(header, [row for row in series if row[0] in ids[:4]]),
        "test_series.csv": csv(header, [row for row in series if row[0] in ids[4:]]),
        "train_events.csv": csv("series_id,night,event,step", events),
        "sample_submission.csv": csv("row_id,series_id,step,event,score", [(0, ids[4], 0, "onset", 0.0)]),
    }


def test_events_of_series_in_one_table(tmp_path: Path) -> None:
    found, competition = inferred(nights(), tmp_path)
    assert (competition.kind, competition.form, competition.items) == ("series", "events", "train_series.csv")
    assert competition.columns == {"item": "series_id", "label": "event", "time": "step"}
    assert (competition.id_column, competition.test) == ("series_id", "test_series.csv")
    assert competition.event_width == 0.33  # a thirtieth of 10, as long as most nights
    assert competition.event_tolerances == [0.099, 0.13, 0.17, 0.2, 0.23]
    assert found.duration == 2 * competition.event_width
    assert found.settings["model.temporal.bidirectional"] is True
    items = list_items(write(nights(), tmp_path), competition, tmp_path)
    assert len(items.labels) == 4 * 6 - 2
    assert "2 rows of train_events.csv have no step and were passed over: their event is not learnt" in items.notes


def test_a_width_that_is_typed_stays(tmp_path: Path) -> None:
    found, _ = inferred(nights(), tmp_path, event_width=3)
    assert "event_width" not in found.fields
    assert found.duration == 6
