"""Videos and the segments in them, of a folder or drawn, for the lesson actions."""

from pathlib import Path

import pandas as pd

from kagglepipe.competitions.item_tables import read_columns
from kagglepipe.course.lesson import Lesson
from kagglepipe.errors import UserError
from kagglepipe.files import absolute
from kagglepipe.samples.clips import make_clips
from kagglepipe.sequences.container import VideoError
from kagglepipe.sequences.video_info import inspect


def load(lesson: Lesson, folder: Path) -> tuple[list[Path], list[Path], pd.DataFrame, pd.DataFrame | None]:
    """Find the videos of training and test, and their segments; the drawn ones are put into `folder`.

    Raises UserError for a source without them.
    """
    if lesson.options.source is None:
        make_clips(folder, seed=lesson.seed, train=lesson.size(12, 1), test=lesson.size(4, 1))
    else:
        folder = absolute(lesson.options.source)
    train, test = (sorted(path for path in (folder / part).glob("*") if path.is_file()) for part in ("train", "test"))
    table, answers = folder / "annotations.csv", folder / "answers.csv"
    if not (train and test and table.is_file()):
        raise UserError(f"course.source={folder} needs videos in train/ and test/, and annotations.csv beside them")
    segments = read_segments(table, train), read_segments(answers, test) if answers.is_file() else None
    for path in (*train, *test):
        check_video(path)
    return train, test, *segments


def read_segments(path: Path, videos: list[Path]) -> pd.DataFrame:
    """Read the segments of videos: video, start and end in seconds, label. Raises UserError for rows that are none."""
    table = read_columns(path, ["video", "start", "end", "label"], mend="name its columns so")
    table[["start", "end"]] = table[["start", "end"]].apply(pd.to_numeric, errors="coerce")
    is_known = table["video"].isin([video.name for video in videos])
    wrong = ~(is_known & (table["start"] < table["end"]) & (table["label"] != ""))
    if wrong.any() or table.empty:
        what = f"row {wrong.argmax() + 2}, is no segment" if wrong.any() else "has no rows"
        raise UserError(f"{path}, {what}: needed are a file in {videos[0].parent}, its start and end in s, and a label")
    return table


def check_video(path: Path) -> None:
    """Raise UserError for a file that is no video."""
    try:
        inspect(path)
    except VideoError as error:
        raise UserError(f"{path}: {error}: take it out of the folder") from error
