"""stage=predict input=PATH: classifies anybody's photos with a trained run.

Writes a CSV (path relative to the input, one probability column per class, the most probable class) and a picture
grid beside it. How images are made ready comes from the run's checkpoint alone.
"""

import logging
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kagglepipe.competitions.source import image_files
from kagglepipe.config import Config, absolute
from kagglepipe.errors import UserError
from kagglepipe.files import write_bytes
from kagglepipe.stages.places import finished_runs, named_run

if TYPE_CHECKING:
    from kagglepipe.training.checkpoint import Checkpoint

log = logging.getLogger(__name__)
PHOTOS = {
    ".jpg",
    ".jpeg",
    ".jpe",
    ".png",
    ".webp",
    ".bmp",
    ".gif",
    ".tif",
    ".tiff",
    ".avif",
    ".jp2",
    ".ppm",
    ".pgm",
}


def run(config: Config) -> None:
    """Predicts for every image in `input`, a file or a folder with its sub-folders."""
    if not config.input:
        raise UserError("predict needs photos: add input=PHOTO or input=FOLDER")
    source = absolute(config.input)
    path = absolute(config.predict.file) if config.predict.file else default_file(config, source)
    if path.is_dir() or path.suffix == ".png":
        raise UserError(f"predict.file={path} cannot hold the table; give a file name that ends in .csv")
    root, files = find_photos(source)
    run = trained_run(config)
    from kagglepipe.training.checkpoint import read_checkpoints

    checkpoints = read_checkpoints(run)
    classes: list[str] = checkpoints[0].meta["classes"]
    log.info("predict: %s (%d folds of %s)", run.name, len(checkpoints), checkpoints[0].meta["model"])
    probs, bad = predict_files(config, checkpoints, [root / file for file in files])
    good = [row for row in range(len(files)) if row not in bad]
    if bad:
        some = "; ".join(f"{files[row]}: {reason}" for row, reason in sorted(bad.items())[:3])
        log.warning("predict: left out %d files that are no usable image: %s", len(bad), some)
    if not good:
        raise UserError(f"input={source}: none of the {len(files)} files is a usable image")
    table = pd.DataFrame(probs[good], columns=classes)
    table.insert(0, "path", [files[row] for row in good])
    table["prediction"] = [classes[index] for index in probs[good].argmax(axis=1)]
    write_bytes(path, table.to_csv(index=False, float_format="%.6f", lineterminator="\n").encode())
    for line in short_table(table, classes):
        log.info("  %s", line)
    counts = ", ".join(f"{n} {name}" for name, n in table["prediction"].value_counts().items())
    log.info("predict: %d images (%s) in %s", len(table), counts, path)
    if config.predict.picture:
        picture = path.with_suffix(".png")
        draw_grid(root, table, picture, config.predict.picture)
        log.info("predict: look at %s", picture)


def find_photos(source: Path) -> tuple[Path, list[str]]:
    """(folder that paths are relative to, the photos in it). Raises UserError if there are none."""
    if not source.exists():
        raise UserError(f"input={source}: nothing is there; give a photo or a folder of photos")
    if source.is_file():
        return source.parent, [source.name]
    files, _ = image_files(source)
    photos = [file.relative_to(source).as_posix() for file in files if file.suffix.lower() in PHOTOS]
    if not photos:
        raise UserError(f"input={source} holds {len(files)} files and no photo ({', '.join(sorted(PHOTOS))})")
    if others := [file.relative_to(source).as_posix() for file in files if file.suffix.lower() not in PHOTOS]:
        some = ", ".join(others[:3])
        log.warning("predict: passed over %d files that are no photos by their names: %s", len(others), some)
    return source, photos


def trained_run(config: Config) -> Path:
    """The run to use: `run=`, or the latest of this competition that holds a network."""
    if config.run:
        return named_run(config, config.run)
    runs = [folder for folder in finished_runs(config) if any(folder.glob("fold_*/model.json"))]
    if not runs:
        raise UserError(f"nothing is trained yet in {config.runs_dir}: type stage=train first, or give run=PATH")
    return runs[-1]


def predict_files(
    config: Config, checkpoints: "list[Checkpoint]", paths: list[Path]
) -> tuple[NDArray[np.float64], dict[int, str]]:
    """((N, classes) probabilities, row -> reason for those that are no usable image).

    Raises UserError at the first such file unless competition.on_bad_image=skip.
    """
    from kagglepipe.images.decode import ImageError, Pixels, decode
    from kagglepipe.training.device import choose_device, choose_precision
    from kagglepipe.training.inference import run_probabilities

    bad: dict[int, str] = {}
    short_side, device = checkpoints[0].preprocessing.short_side, choose_device(config.device)

    def read(row: int) -> Pixels:
        try:
            return decode(paths[row].read_bytes(), short_side=short_side, max_side=config.prepare.max_side)
        except ImageError as error:
            if config.competition.on_bad_image == "error":
                raise UserError(
                    f"{paths[row]}: {error}; leave such files out with competition.on_bad_image=skip"
                ) from error
            bad[row] = str(error)
            return np.zeros((8, 8, 3), np.uint8)  # a place holder, whose row is dropped

    probs = run_probabilities(
        checkpoints,
        read,
        range(len(paths)),
        device=device,
        precision=choose_precision(device),
        workers=config.workers,
    )
    return probs, bad


def default_file(config: Config, source: Path) -> Path:
    """outputs/<slug>/predict/<input's name>.csv"""
    return config.runs_dir / "predict" / f"{source.stem if source.is_file() else source.name}.csv"


def short_table(table: pd.DataFrame, classes: list[str], rows: int = 10) -> list[str]:
    """The first rows of the predictions, and how many more there are."""
    lines = [
        f"{row['prediction']:<14} {row[row['prediction']]:.3f}  {row['path']}"
        for row in table.head(rows).to_dict("records")
    ]
    return lines + ([f"… and {len(table) - rows} more"] if len(table) > rows else [])


def draw_grid(root: Path, table: pd.DataFrame, path: Path, count: int) -> None:
    """A picture of the first photos, each with its most probable class."""
    from kagglepipe.images.decode import decode
    from kagglepipe.reports.plots import Tile, draw_sheet

    tiles = [
        Tile(
            decode((root / row["path"]).read_bytes(), short_side=256, max_side=2**31),
            f"{row['prediction']} {row[row['prediction']]:.3f}\n{row['path']}",
        )
        for row in table.head(count).to_dict("records")
    ]
    draw_sheet(path, tiles, columns=min(6, len(tiles)), title=f"{len(tiles)} of {len(table)} photos")
