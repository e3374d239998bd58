"""stage=predict input=PATH: classifies anybody's photos, clips or series with a trained run.

Writes a CSV (path relative to the input, one probability column per class, the most probable class) and, of photos, a
picture grid beside it. How files are made ready comes from the run's checkpoint alone.
"""

import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kagglepipe.competitions.filenames import SUFFIXES
from kagglepipe.competitions.source import check_name, find_items, list_files
from kagglepipe.config import Config
from kagglepipe.console import progress
from kagglepipe.errors import UserError
from kagglepipe.files import absolute, write_bytes
from kagglepipe.runs.identity import best_run
from kagglepipe.runs.run import Run
from kagglepipe.text import counted, first_three

if TYPE_CHECKING:
    from kagglepipe.training.checkpoint import Checkpoint

log = logging.getLogger(__name__)
PHOTOS = SUFFIXES["image"]


def run(config: Config) -> None:
    """Predicts for every photo, clip or series in `input`, a file or a folder with its sub-folders."""
    if not config.input:
        what = {
            "image": "photos: add input=PHOTO",
            "video": "clips: add input=CLIP",
            "series": "series: add input=FILE",
        }
        raise UserError(f"predict needs {what[config.competition.kind]} or input=FOLDER")
    source = absolute(config.input)
    path = absolute(config.predict.file) if config.predict.file else default_file(config, source)
    if path.is_dir() or path.suffix == ".png":
        raise UserError(f"predict.file={path} cannot hold the table; give a file name that ends in .csv")
    if config.competition.kind != "image":
        predict_clips(config, source, path)
        return
    root, files = find_photos(source, skip_bad=config.competition.on_bad_image == "skip")
    probs, classes, bad = photo_probabilities(config, best_run(config), [root / file for file in files])
    good = [row for row in range(len(files)) if row not in bad]
    if bad:
        some = first_three((f"{files[row]}: {reason}" for row, reason in sorted(bad.items())), "; ")
        log.warning("predict: left out %d files that are no usable image: %s", len(bad), some)
    if not good:
        raise UserError(f"input={source}: none of the {len(files)} files is a usable image")
    table = keep([files[row] for row in good], probs[good], classes, path, "images")
    if config.predict.picture:
        picture = path.with_suffix(".png")
        draw_grid(root, table, picture, config.predict.picture)
        log.info("predict: look at %s", picture)


def photo_probabilities(
    config: Config, run: Run, paths: list[Path]
) -> tuple[NDArray[np.float64], list[str], dict[int, str]]:
    """((N, C) probabilities, classes, row -> reason for those that are no usable image) by a run, or an ensemble's."""
    if not run.is_ensemble:
        return network_probabilities(config, run, paths)
    classes, bad, stack = run.fitted_classes, dict[int, str](), []
    for member in run.find_members():
        probs, order, unusable = photo_probabilities(config, member, paths)
        stack.append(probs[:, [order.index(name) for name in classes]])
        bad |= unusable
    return run.blend(np.stack(stack)), classes, bad


def network_probabilities(
    config: Config, run: Run, paths: list[Path]
) -> tuple[NDArray[np.float64], list[str], dict[int, str]]:
    """As `photo_probabilities`, by the networks of a run's folds."""
    from kagglepipe.training.checkpoint import read_checkpoints

    checkpoints = read_checkpoints(run.folder)
    meta = checkpoints[0].meta
    if "temporal" in meta:
        raise UserError(
            f"{run.name} was trained on {meta['kind']}, not on photos: add the competition it is of, as "
            "competition=video_folder competition.source=FOLDER"
        )
    log.info("predict: %s (%d folds of %s)", run.name, len(checkpoints), meta["model"])
    probs, bad = predict_files(config, checkpoints, paths)
    return probs, meta["classes"], bad


def keep(files: list[str], probs: NDArray[np.float64], classes: list[str], path: Path, noun: str) -> pd.DataFrame:
    """Writes and tells the predictions (N, classes) for `files`; the table."""
    table = pd.DataFrame(probs, columns=classes)
    table.insert(0, "path", files)
    table["prediction"] = [classes[index] for index in probs.argmax(axis=1)]
    write_bytes(path, table.to_csv(index=False, float_format="%.6f", lineterminator="\n").encode())
    for line in short_table(table, classes):
        log.info("  %s", line)
    counts = counted(dict(table["prediction"].value_counts()))
    log.info("predict: %d %s (%s) in %s", len(table), noun, counts, path)
    return table


def predict_clips(config: Config, source: Path, path: Path) -> None:
    """One answer for each clip, or series, in `source`."""
    skip_bad = config.competition.on_bad_image == "skip"
    root, files = find_items(source, config.competition.kind, skip_bad=skip_bad)
    found = best_run(config)
    from kagglepipe.runs.blended import load_run
    from kagglepipe.training.backends import make_backend

    run = load_run(found, make_backend(config.device, config.engine, config.backend_dir))
    kind = run.meta["kind"]
    if run.meta["per_frame"]:
        raise UserError(f"{found.name} tells when something happens, not what a clip is: type detect input={source}")
    if kind != config.competition.kind:
        raise UserError(f"{found.name} was trained on {kind}, competition.kind is {config.competition.kind}")
    log.info("predict: with %s", found.name)
    good, probs, bad = [], [], {}
    for name in progress(files, "predict", total=len(files), unit="clip"):
        try:
            seen = run.read(root / name)
        except ValueError as error:  # VideoError and SeriesError
            bad[name] = str(error)
            continue
        for repair in seen.repairs:
            log.warning("predict: %s: %s", name, repair)
        probs.append(run.probabilities(seen.features, per_frame=False))
        good.append(name)
    some = first_three((f"{name}: {reason}" for name, reason in bad.items()), "; ")
    if not good:
        raise UserError(f"input={source}: no {kind} in it can be read: {some}")
    if bad and config.competition.on_bad_image == "error":
        raise UserError(f"input={source}: {some}; leave such files out with competition.on_bad_image=skip")
    if bad:
        log.warning("predict: left out %d files that cannot be read: %s", len(bad), some)
    keep(good, np.stack(probs), run.meta["classes"], path, "clips" if kind == "video" else "series")


def find_photos(source: Path, *, skip_bad: bool = False) -> tuple[Path, list[str]]:
    """(folder that paths are relative to, the photos in it). Raises UserError if there are none."""
    check_name(source)
    if not source.exists():
        raise UserError(f"input={source}: nothing is there; give a photo or a folder of photos")
    if source.is_file():
        return source.parent, [source.name]
    files, _ = list_files(source, skip_bad=skip_bad)
    photos = [file.relative_to(source).as_posix() for file in files if file.suffix.lower() in PHOTOS]
    if not photos:
        raise UserError(f"input={source} holds {len(files)} files and no photo ({', '.join(sorted(PHOTOS))})")
    if others := [file.relative_to(source).as_posix() for file in files if file.suffix.lower() not in PHOTOS]:
        log.warning(
            "predict: passed over %d files that are no photos by their names: %s", len(others), first_three(others)
        )
    return source, photos


@dataclass
class Photos:
    """Photos of a user, decoded on access: (H, W, 3); `bad` collects row -> reason of those that cannot be used.

    Raises UserError at the first such file unless competition.on_bad_image=skip; a black stand-in is returned for it.
    """

    paths: list[Path]
    short_side: int
    bits: int | None
    max_side: int
    skip_bad: bool
    bad: dict[int, str] = field(default_factory=dict)

    def __getitem__(self, row: int) -> NDArray[np.uint8]:
        from kagglepipe.images.decode import ImageError, decode

        path = self.paths[row]
        try:
            return decode(path.read_bytes(), short_side=self.short_side, max_side=self.max_side, bits=self.bits)
        except (ImageError, OSError) as error:
            reason = f"cannot be read ({error.strerror})" if isinstance(error, OSError) else str(error)
            if not self.skip_bad:
                raise UserError(f"{path}: {reason}; leave such files out with competition.on_bad_image=skip") from error
            self.bad[row] = reason
            return np.zeros((8, 8, 3), np.uint8)


def predict_files(
    config: Config, checkpoints: "list[Checkpoint]", paths: list[Path]
) -> tuple[NDArray[np.float64], dict[int, str]]:
    """((N, classes) probabilities, row -> reason for those that are no usable image). Raises as `Photos`."""
    from kagglepipe.training.backends import make_backend
    from kagglepipe.training.inference import run_probabilities

    photos = Photos(
        paths, checkpoints[0].preprocessing.short_side, checkpoints[0].meta.get("bits"), config.prepare.max_side,
        config.competition.on_bad_image != "error",
    )  # fmt: skip
    backend = make_backend(config.device, config.engine, config.backend_dir)
    probs = run_probabilities(checkpoints, photos, range(len(paths)), backend=backend, workers=config.workers)
    return probs, photos.bad


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
