"""The page about a run of 10,000 images: the time that it takes, and its size.

    python benchmarks/report_page.py FOLDER [OPTION …]

Draws discs, squares and triangles of 64 × 64 pixels into FOLDER, 8,000 to train on and 2,000 to classify, trains a head
on the bundled network and writes the page by `python -m kagglepipe report`, on one core. OPTION: of the training, as
`experiment=quick`; none: `training.views=0`. What FOLDER holds already is kept.
"""

import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np

SHAPES, COUNT, SIDE = ("disc", "square", "triangle"), 10_000, 64


def draw(number: int) -> np.ndarray:
    """A shape of any place, size and colour on coloured noise, (SIDE, SIDE, 3)."""
    rng = np.random.default_rng(number)
    picture = cv2.resize(rng.integers(0, 255, (10, 10, 3), np.uint8), (SIDE, SIDE))
    (x, y), r = rng.integers(20, 44, 2).tolist(), int(rng.integers(12, 24))
    corners = {
        "square": [(x - r, y - r), (x + r, y - r), (x + r, y + r), (x - r, y + r)],
        "triangle": [(x, y - r), (x + r, y + r), (x - r, y + r)],
    }
    colour = rng.integers(0, 255, 3).tolist()
    if (shape := SHAPES[number % 3]) == "disc":
        return np.asarray(cv2.circle(picture, (x, y), r, colour, -1))
    return np.asarray(cv2.fillPoly(picture, [np.array(corners[shape])], colour))


def main(folder: Path, options: list[str]) -> None:
    """Draw, train, and time the page."""
    for number in range(COUNT):
        place = folder / "shapes" / ("test" if number % 5 == 4 else f"train/{SHAPES[number % 3]}")
        if not (file := place / f"{number:05}.jpg").exists():
            place.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(file), draw(number))
    command = [sys.executable, "-m", "kagglepipe"]
    words = ["competition=image_folder", f"competition.source={folder / 'shapes'}", f"paths.root={folder}"]
    words += ["training=head", *(options or ["training.views=0"])]
    subprocess.run([*command, *words, "report.write=false"], check=True)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])  # one core, for the command too
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run([*command, "report", *words], check=True)
    seconds, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    page = max((folder / "outputs" / "shapes").glob("*/report.html"), key=lambda file: file.stat().st_mtime)
    print(f"{page}: {seconds:.1f} s, {cpu:.1f} s of CPU, {page.stat().st_size:,} bytes")


if __name__ == "__main__":
    main(Path(sys.argv[1]).absolute(), sys.argv[2:])
