"""The streets of what has a time axis: clips, pieces of videos, long videos, and series of either kind."""

from pathlib import Path

from kagglepipe.config import Config
from tests.composing import config_of

LONG = ("competition=video_folder_untrimmed", "competition.answers=answers.csv",
        "competition.sample_submission=sample_submission.csv")  # fmt: skip
STREETS = {  # name -> fixture with the source, and what to type
    "clips": ("clips", ("competition=video_folder",)),
    "pieces": ("long_videos", ("competition=video_folder", "competition.labels=annotations.csv")),
    "long": ("long_videos", (*LONG, "sequences.motion=true")),
    "both-ways": ("long_videos", (*LONG, "model.temporal.bidirectional=true")),
    "series": ("series", ("competition=video_folder", "competition.kind=series", "model=lstm")),
    "long-series": ("long_series", (*LONG, "competition.kind=series", "model=lstm")),
}
QUICK = (
    "model.name=test_efficientnet", "model.weights=none", "model.image_size=32", "device=cpu", "folds.count=2",
    "sequences.steps=60", "sequences.lr=1e-2", "sequences.members=1", "model.temporal.dropout=0",
    "sequences.speed=1", "sequences.crop=1", "sequences.drop=0",
)  # fmt: skip


def typed(name: str, source: Path, root: Path) -> tuple[str, ...]:
    """What to type for one of STREETS."""
    where = (f"competition.source='{source}'", f"competition.slug={name}", f"paths.root='{root}'")
    return (*STREETS[name][1], *QUICK, *where)


def street_config(name: str, source: Path, root: Path, *overrides: str) -> Config:
    """The configuration of one of STREETS, rooted there."""
    return config_of(*typed(name, source, root), *overrides)
