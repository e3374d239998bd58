"""stage=predict input=PATH: classify photos, clips or series from elsewhere with a trained run.

Writes a CSV (path relative to the input, a probability a class or tag, or the numbers, and the answer with the
decision of the run) and, of photos, a picture grid beside it. Preprocessing is that of the run's checkpoint.
"""

import logging
import re
from collections.abc import Hashable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kagglepipe.competitions.filenames import IMAGES, without_dicom_copies
from kagglepipe.competitions.item_tables import pixel_columns, pixel_suffix, read_columns, read_header, row_files
from kagglepipe.competitions.source import check_name, find_items, list_files
from kagglepipe.competitions.targets import describe_targets
from kagglepipe.config import Config
from kagglepipe.console import progress
from kagglepipe.errors import UserError
from kagglepipe.files import absolute, write_bytes
from kagglepipe.images.depth import RGB, ChannelsError, PixelFormat
from kagglepipe.images.pixel_table import read_image_bytes
from kagglepipe.predictions.answer_text import answer_texts
from kagglepipe.predictions.frame import probabilities
from kagglepipe.runs.configured import best_run, inference_backend
from kagglepipe.runs.decision import readable_answers
from kagglepipe.runs.provenance import separator_of
from kagglepipe.runs.run import Run
from kagglepipe.text import first_three

if TYPE_CHECKING:
    from kagglepipe.images.decode import Pixels
    from kagglepipe.training.backends import InferenceBackend

log = logging.getLogger(__name__)
PHOTOS = IMAGES
TABLES = (".csv", ".csv.gz", ".csv.zip")  # of pixels, an image in each row
SHOWN_ROWS = 10  # in the log
NOUNS = {"image": ("photos", "PHOTO"), "video": ("clips", "CLIP"), "series": ("series", "FILE"),
         "audio": ("sounds", "SOUND")}  # fmt: skip


@dataclass(frozen=True)
class Predictions:
    """probs: (N, C), of no meaning for unreadable files. bad: unreadable file -> reason."""

    probs: NDArray[np.float64]
    classes: list[str]
    bad: dict[str, str]


def run(config: Config) -> None:
    """Predict every photo, clip or series in `input`, a file or a folder with its sub-folders."""
    competition, options = config.competition, config.predict
    skip_bad = competition.on_bad_image == "skip"
    if not config.input:
        noun, example = NOUNS[competition.kind]
        raise UserError(f"predict needs {noun}: add input={example} or input=FOLDER")
    source = absolute(config.input)
    run = best_run(config)
    kind = run.kind
    noun, _ = NOUNS[kind]
    name = source.stem if source.is_file() else source.name
    usual = config.outputs_dir / run.folder.parent.name / "predict" / f"{name}.csv"
    path = absolute(options.file) if options.file else usual
    if path.is_dir() or path.suffix == ".png":
        raise UserError(f"predict.file={path} cannot hold the table; give a file name that ends in .csv")
    root, files = find_inputs(source, kind, skip_bad=skip_bad)
    found = predict_files(
        run, kind, root, files, inference_backend(config), max_side=config.prepare.max_side, workers=config.workers,
        skip_bad=skip_bad,
    )  # fmt: skip
    good = [row for row, name in enumerate(files) if name not in found.bad]
    some = first_three((f"{name}: {found.bad[name]}" for name in files if name in found.bad), "; ")
    if not good:
        raise UserError(f"input={source}: none of its {len(files)} {noun} can be read: {some}")
    if found.bad and not skip_bad:
        raise UserError(f"input={source}: {some}; leave such files out with competition.on_bad_image=skip")
    if found.bad:
        log.warning("predict: left out %d files that cannot be read: %s", len(found.bad), some)
    table, targets = answer_table(run, found, files, competition.label_separator.strip() or separator_of(run))
    write_bytes(path, table.to_csv(index=False, float_format="%.6f", lineterminator="\n").encode())
    for line in short_table(table):
        log.info("  %s", line)
    log.info("predict: %d %s (%s) in %s", len(table), noun, describe_targets(targets, run.task.name), path)
    if kind == "image" and options.picture:
        picture = path.with_suffix(".png")
        draw_grid(root, table, picture, options.picture)
        log.info("predict: the first photos are drawn in %s", picture)


def predict_files(
    run: Run,
    kind: str,
    root: Path,
    files: list[str],
    backend: "InferenceBackend",
    *,
    max_side: int,
    workers: int | None,
    skip_bad: bool,
) -> Predictions:
    """Predict files, by their paths from `root`, with the networks of a run."""
    if kind == "image":
        return photo_probabilities(run, Photos(root, files, max_side, skip_bad=skip_bad), backend, workers)
    return item_probabilities(run, kind, root, files, backend)


def answer_table(
    run: Run, found: Predictions, files: list[str], separator: str
) -> tuple[pd.DataFrame, "pd.Series[str]"]:
    """(table of path, a column a class and the answer, targets as text) of the files that could be read."""
    good = [row for row, name in enumerate(files) if name not in found.bad]
    table = pd.DataFrame(found.probs[good], columns=found.classes)
    answers = probabilities(readable_answers(run, table.assign(id="")), found.classes)
    table.insert(0, "path", [files[row] for row in good])
    table["prediction"] = answer_texts(answers, found.classes, run.task, separator)
    return table, pd.Series(answer_texts(answers, found.classes, run.task))


def find_inputs(source: Path, kind: str, *, skip_bad: bool) -> tuple[Path, list[str]]:
    """(folder that paths are relative to, files of a kind in it). Raises UserError without any."""
    return find_photos(source, skip_bad=skip_bad) if kind == "image" else find_items(source, kind, skip_bad=skip_bad)


# --- photos --------------------------------------------------------------------------------------------------------


def find_photos(source: Path, *, skip_bad: bool) -> tuple[Path, list[str]]:
    """(folder that paths are relative to, the photos in it). Raises UserError without any."""
    check_name(source)
    if not source.exists():
        raise UserError(f"input={source}: nothing is there; give a photo or a folder of photos")
    if source.is_file():
        return source.parent, rows_as_files(source) if source.name.endswith(TABLES) else [source.name]
    files, _ = list_files(source, skip_bad=skip_bad)
    photos = without_dicom_copies(
        [file.relative_to(source).as_posix() for file in files if file.suffix.lower() in PHOTOS]
    )
    if not photos:
        raise UserError(f"input={source} holds {len(files)} files and no photo ({', '.join(sorted(PHOTOS))})")
    if others := [file.relative_to(source).as_posix() for file in files if file.suffix.lower() not in PHOTOS]:
        log.warning("predict: ignored %d files without a photo's suffix: %s", len(others), first_three(others))
    return source, photos


def rows_as_files(table: Path) -> list[str]:
    """The images in the rows of a table of pixels, as virtual files. Raises UserError for another table."""
    header = read_header(table)[1]
    if not pixel_columns(header):
        raise UserError(f"input={table} has no columns of 49 or more pixels, as pixel0 to pixel783")
    return row_files(table.name, pixel_suffix(header), len(read_columns(table, [])))


@dataclass(frozen=True)
class Photos:
    """Photos that are decoded on access: (H, W, C). bad: file -> reason, of a black picture in its place.

    Raises UserError for the first unreadable file unless `skip_bad`.
    """

    root: Path
    files: list[str]
    max_side: int
    skip_bad: bool
    short_side: int = 0
    bits: int | None = None
    form: PixelFormat = RGB
    bad: dict[str, str] = field(default_factory=dict)

    def __getitem__(self, row: int) -> "Pixels":
        from kagglepipe.images.decode import ImageError, decode

        path = self.root / self.files[row]
        try:
            data = read_image_bytes(path)
            return decode(data, short_side=self.short_side, max_side=self.max_side, bits=self.bits, form=self.form)
        except ChannelsError as error:
            found, _, _ = str(error).partition(": type ")
            raise UserError(f"{path} {re.sub('model.in_chans=[0-9]+', 'the run', found)}") from error
        except (ImageError, OSError) as error:
            reason = f"cannot be read ({error.strerror})" if isinstance(error, OSError) else str(error)
            if not self.skip_bad:
                raise UserError(f"{path}: {reason}; leave such files out with competition.on_bad_image=skip") from error
            self.bad[self.files[row]] = reason
            return np.zeros((8, 8, self.form.channels), self.form.dtype)


def photo_probabilities(run: Run, photos: Photos, backend: "InferenceBackend", workers: int | None) -> Predictions:
    """Predict photos with the networks of a run's folds, or with the blend of an ensemble's members."""
    if run.is_ensemble:
        classes, bad, stack = run.fitted_classes, dict[str, str](), []
        for member in run.find_members():
            found = photo_probabilities(member, photos, backend, workers)
            stack.append(found.probs[:, [found.classes.index(name) for name in classes]])
            bad |= found.bad
        return Predictions(run.blend(np.stack(stack)), classes, bad)
    from kagglepipe.training.checkpoint import read_checkpoints
    from kagglepipe.training.inference import run_probabilities

    checkpoints = read_checkpoints(run.model_folders())
    meta = checkpoints[0].meta
    log.info("predict: %s (%d folds of %s)", run.name, len(checkpoints), meta["model"])
    preprocessing = checkpoints[0].preprocessing
    sized = replace(photos, short_side=preprocessing.short_side, bits=meta.get("bits"), form=preprocessing.form, bad={})
    probs = run_probabilities(
        checkpoints, sized, range(len(sized.files)), backend=backend, workers=workers, tta=run.tta
    )
    return Predictions(probs, meta["classes"], sized.bad)


# --- clips and series ----------------------------------------------------------------------------------------------


def item_probabilities(run: Run, kind: str, root: Path, files: list[str], backend: "InferenceBackend") -> Predictions:
    """Predict clips or series, one at a time."""
    from kagglepipe.runs.blended import load_run

    loaded = load_run(run, backend)
    if loaded.meta["per_frame"]:
        raise UserError(f"{run.name} finds segments and does not classify whole clips: type detect with the same input")
    log.info("predict: with %s", run.name)
    if loaded.meta.get("group_mean"):
        log.info("predict: each sound is less its own mean, not that of a group, which new sounds do not have")
    classes, bad = loaded.meta["classes"], {}
    probs = np.full((len(files), len(classes)), np.nan)
    for row, name in enumerate(progress(files, "predict", total=len(files), unit="clip")):
        try:
            item = loaded.read(root / name)
        except ValueError as error:  # VideoError and SeriesError
            bad[name] = str(error)
            continue
        for repair in item.repairs:
            log.warning("predict: %s: %s", name, repair)
        probs[row] = loaded.probabilities(item.features, per_frame=False)
    return Predictions(probs, classes, bad)


# --- tables and pictures -------------------------------------------------------------------------------------------


def answer_of(row: "dict[Hashable, Any]", width: int = 14) -> str:
    """The answer of a row, of a class also its probability."""
    name = row["prediction"]
    return f"{name:<{width}} {row[name]:.3f}" if name in row and name != "path" else f"{name:<{width}}"


def short_table(table: pd.DataFrame) -> list[str]:
    """Format the first rows of the predictions, and the number of the others."""
    lines = [f"{answer_of(row)}  {row['path']}" for row in table.head(SHOWN_ROWS).to_dict("records")]
    return lines + ([f"… and {len(table) - SHOWN_ROWS} more"] if len(table) > SHOWN_ROWS else [])


def draw_grid(root: Path, table: pd.DataFrame, path: Path, count: int) -> None:
    """Draw the first photos, each with its answer."""
    from kagglepipe.images.decode import decode_picture, inspect
    from kagglepipe.reports.plots import Tile, draw_sheet

    tiles = []
    for row in table.head(count).to_dict("records"):
        data = read_image_bytes(root / row["path"])
        picture = decode_picture(data, inspect(data, max_side=2**31), short_side=256)[0]
        tiles.append(Tile(picture, f"{answer_of(row, 0)}\n{row['path']}"))
    draw_sheet(path, tiles, columns=min(6, len(tiles)), title=f"{len(tiles)} of {len(table)} photos")
