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
    with pytest.raises(UserError, match="asks for frame, and times are seconds here, not frames: divide those of"):
        inferred(football("video_id,frame,event,confidence"), tmp_path)


def test_events_without_a_table_of_their_times_are_refused_with_the_columns(tmp_path: Path) -> None:
    files = football() | {"train.csv": csv("video_id,event", [(game, "play") for game in GAMES[:6]])}
    with pytest.raises(UserError, match=r"train.csv has video_id, event.*time: NAME"):
        infer(tmp_path, write(files, tmp_path), {})


def test_event_ap_of_something_else_is_refused() -> None:
    with pytest.raises(UserError, match=r"event_ap is a metric of competition.form=events"):
        CompetitionOptions(metric="event_ap", kind="video", background="none", form="segments")
