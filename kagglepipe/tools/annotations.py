"""stage=annotations input=FOLDER: write an empty annotations.csv for a folder of long videos.

Writes FOLDER/annotations.csv with a row a video, to be completed by hand; an existing file is not changed.
"""

import logging

import pandas as pd

from kagglepipe.competitions.annotations import SEGMENT_COLUMNS
from kagglepipe.competitions.filenames import SUFFIXES, in_test_folder
from kagglepipe.competitions.source import list_files
from kagglepipe.config import Config
from kagglepipe.errors import UserError
from kagglepipe.files import absolute, write_bytes

log = logging.getLogger(__name__)


def run(config: Config) -> None:
    """Write the template."""
    if not config.input:
        raise UserError("annotations needs a folder of videos: add input=FOLDER")
    folder = absolute(config.input)
    if not folder.is_dir():
        raise UserError(f"input={folder} is no folder: give the one that holds the videos")
    target = folder / "annotations.csv"
    if target.exists():
        raise UserError(f"{target} exists and is not changed; rename it to begin again")
    files, _ = list_files(folder)
    videos = [file.relative_to(folder).as_posix() for file in files if file.suffix.lower() in SUFFIXES["video"]]
    videos = [name for name in videos if not in_test_folder(name, "test")]
    if not videos:
        raise UserError(f"input={folder} holds {len(files)} files and no video ({', '.join(SUFFIXES['video'][:6])} …)")
    table = pd.DataFrame({"video": videos}, columns=[*SEGMENT_COLUMNS, "group"])
    write_bytes(target, table.to_csv(index=False, lineterminator="\n").encode())
    log.info(
        "annotations: %d videos in %s. Give each thing that happens a row: start and end in seconds, its label, and\n"
        "as group whatever must not be in training and validation at once (camera, person, place). A video in which\n"
        "nothing happens gets the label `none` and no times; rows without a label are passed over. Then type\n"
        "  python -m kagglepipe competition=video_folder_untrimmed competition.source='%s'",
        len(videos), target, folder,
    )  # fmt: skip
