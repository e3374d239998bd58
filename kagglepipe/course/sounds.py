"""Sounds for the lesson spoken_digits: those of a CSV, or drawn voices."""

import logging
import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kagglepipe.competitions.filenames import FileNames
from kagglepipe.competitions.item_tables import read_columns, read_header
from kagglepipe.competitions.spreadsheet import column_places
from kagglepipe.course.lesson import Lesson
from kagglepipe.errors import UserError
from kagglepipe.files import absolute
from kagglepipe.images.views import draw_seed
from kagglepipe.samples.voices import draw_voice, speak, write_wav
from kagglepipe.sequences.dataset import Example
from kagglepipe.sequences.series_file import SeriesError
from kagglepipe.sequences.sound import draw_warp, less_means, read_sound
from kagglepipe.text import first_three

log = logging.getLogger(__name__)
FRAMES = 50  # a second
SILENCE = 2.5  # powers of ten below the loudest
PITCHES = 4  # of each sound, drawn beside its own for the networks to learn from
VOICES, TAKES = 6, 4  # drawn without a source: speakers, and how often each says each digit
QUICK_VOICES, QUICK_TAKES = 3, 2  # at most, of a quick run


class Sounds(NamedTuple):
    """Sounds, their digits and speakers, and views of their frames (T, 64).

    In the first view each band has mean 0 over the sound, in the second over all sounds of the speaker; the others, to
    learn from only, have voices of other pitch, and are in between.
    """

    names: list[str]
    digits: NDArray[np.int64]
    speakers: NDArray[np.str_]
    views: list[list[NDArray[np.float32]]]

    def examples(self, rows: NDArray[np.int64], view: int) -> list[Example]:
        """Those of some rows, as a temporal model learns them, or is tested on them."""
        return [Example(self.names[row], self.views[view][row], self.digits[row]) for row in rows]


def read_sounds(source: str, *, to_learn: bool = True, quick: bool = False) -> Sounds:
    """Read the sounds of a CSV with the columns audio, label and speaker, or of train.csv in a folder.

    Their files lie beside the CSV, or below it. to_learn: with all views; sounds to be tested on may be without the
    column speaker, of one speaker all. quick: some of them, in one other voice. Raises UserError for a column, a file
    or a digit that is not there.
    """
    path = absolute(source) / "train.csv" if absolute(source).is_dir() else absolute(source)
    if not path.is_file():
        raise UserError(f"{path} is missing: give a CSV with audio, label and speaker, or a folder with one")
    of_speakers = to_learn or bool(column_places(read_header(path)[1], "speaker"))
    table = read_columns(path, ["audio", "label", *["speaker"] * of_speakers], mend="name its columns so")
    table.index += 2  # lines of the file
    digits = table["label"].str.strip()
    odd = sorted(set(digits) - set("0123456789"))
    if odd or digits.empty:
        raise UserError(f"{path}, column label, has {repr(odd[0]) if odd else 'no rows'}: needed are the digits 0 to 9")
    names = FileNames(file.relative_to(path.parent).as_posix() for file in path.parent.rglob("*") if file.is_file())
    paths = [path.parent / name for name in names.paths(table["audio"], str(path), "sound")]
    speakers = table["speaker"].str.strip().to_numpy(str) if of_speakers else np.full(len(table), "")
    if of_speakers and "" in speakers:
        row = table.index[speakers == ""][0]
        raise UserError(f"{path}, row {row}, column speaker, is empty: write who speaks there, or leave the row out")
    numbers, kept = digits.to_numpy(str).astype(np.int64), np.arange(len(table))
    if quick:
        said = pd.DataFrame({"speaker": speakers, "digit": numbers}).groupby(["speaker", "digit"]).cumcount()
        kept = np.flatnonzero(np.isin(speakers, np.unique(speakers)[:QUICK_VOICES]) & (said < QUICK_TAKES))
    views = views_of([paths[row] for row in kept], speakers[kept], (1 if quick else PITCHES) * to_learn)
    return Sounds([table["audio"].iloc[row] for row in kept], numbers[kept], speakers[kept], views)


def views_of(paths: list[Path], speakers: NDArray[np.str_], pitches: int) -> list[list[NDArray[np.float32]]]:
    """Views of the log-mel frames (T, 64) of sounds; see `Sounds`."""
    frames, rng = frames_of(paths), np.random.default_rng(0)
    views = [less_means(frames, speakers, np.full(len(paths), share)) for share in (1.0, 0.0)]
    others = (less_means(frames_of(paths, view), speakers, rng.random(len(paths))) for view in range(1, pitches + 1))
    return [*views, *others]


def frames_of(paths: list[Path], view: int = 0) -> list[NDArray[np.float32]]:
    """Log-mel frames (T, 64) of sounds without the silence at both ends.

    view: 0 are the sounds themselves; what is damaged or silent is said, and kept. Others have voices of other pitch.
    """
    found, odd = [], list[str]()
    for path in paths:
        try:
            warp = draw_warp(draw_seed(0, view, path.name)) if view else 1.0
            sound = read_sound(path, rate=FRAMES, silence=SILENCE, warp=warp)
        except SeriesError as error:
            raise UserError(f"{path}: {error}: leave it out of the CSV") from error
        found.append(sound.values)
        silent = ["silent"] * bool(np.ptp(sound.values) == 0)
        odd += [f"{path.name}: {what}" for what in (*sound.repairs, *silent)]
    if odd and not view:
        log.warning("spoken_digits: what is damaged or silent is kept: %s", first_three(odd))
    return found


def draw_sounds(lesson: Lesson) -> Sounds:
    """Draw voices, each of which says every digit some times, and read what they say from files."""
    digits, speakers, paths = [], [], []
    with tempfile.TemporaryDirectory() as folder:
        for number in range(lesson.size(VOICES, QUICK_VOICES)):
            voice = draw_voice(np.random.default_rng([lesson.seed, number]))
            for take, digit in np.ndindex(lesson.size(TAKES, QUICK_TAKES), 10):
                path = Path(folder, f"{number}_{digit}_{take}.wav")
                write_wav(path, speak(digit, voice, np.random.default_rng([lesson.seed, number, digit, take])))
                digits.append(digit)
                speakers.append(f"voice {number + 1}")
                paths.append(path)
        views = views_of(paths, np.array(speakers), lesson.size(PITCHES, 1))
        return Sounds([path.name for path in paths], np.array(digits), np.array(speakers), views)
