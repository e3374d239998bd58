"""The built-in sample: a small *pistols vs smartphones* archive, drawn by code.

A newcomer has neither the data nor a Kaggle account, and the photos of the competition may not be passed
on. So this module draws its own: the same folders and the same oddities as in the real archive, within
seconds, so that every step of the pipeline can be tried and tested.
"""

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from kagglepipe.samples.drawing import photograph, pistol, smartphone

Way = tuple[str, str, Callable[[Image.Image], Image.Image]]  # how to store: name ending, format, change

CLASSES = ("Pistol", "Smartphone")  # the position is the label
TRAIN, TEST, ORDER = 0, 1, 2
ORIENTATION, TURN_CLOCKWISE = 0x0112, 6  # an EXIF tag and its value


def make_photos(folder: Path, *, seed: int = 0, per_class: int = 80, test: int = 60) -> None:
    """Write the sample into `folder`, which must be new or empty.

    `Train/Pistol` and `Train/Smartphone` get `per_class` drawn images each, second copies of a few of them
    and a `desktop.ini`; `Test` gets `test` images `img0.jpg`, `img1.jpg`, ...; `answers.csv` tells their
    labels (0 = pistol, 1 = smartphone). The same seed gives the same bytes. Every image has a random stream
    of its own, so it stays the same however many others there are. The oddities of the real archive (see
    `ODD_WAYS` and `TWINS`) are among the first eight images of a folder; smaller counts leave some out.
    """
    if folder.exists() and any(folder.iterdir()):
        raise FileExistsError(f"the sample needs a new or empty folder, but this one holds files: {folder}")
    for label, name in enumerate(CLASSES):
        _write_train(folder / "Train" / name, label, seed=seed, count=per_class)
    labels = [_test_label(seed, index) for index in range(test)]
    _write_test(folder / "Test", labels, seed=seed)
    _write_answers(folder / "answers.csv", labels)


def _write_train(folder: Path, label: int, *, seed: int, count: int) -> None:
    folder.mkdir(parents=True)
    (folder / "desktop.ini").write_bytes(b"[ViewState]\r\nMode=\r\nVid=\r\nFolderType=Pictures\r\n")
    for index in range(count):
        for way in ODD_WAYS.get((label, index), (PLAIN,)):
            _write_image(folder / f"{folder.name.lower()}{index}", way, stream=(seed, TRAIN, label, index))


def _write_test(folder: Path, labels: list[int], *, seed: int) -> None:
    folder.mkdir(parents=True)
    for index, label in enumerate(labels):
        twin = index in TWINS
        stream = (seed, TRAIN, label, TWINS[index]) if twin else (seed, TEST, label, index)
        _write_image(folder / f"img{index}", TWIN if twin else PLAIN, stream=stream)


def _write_answers(path: Path, labels: list[int]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("ID", "Ground_Truth"))
        writer.writerows((f"img{index}.jpg", label) for index, label in enumerate(labels))


def _test_label(seed: int, index: int) -> int:
    """Two test images in a row hold both classes: balanced, random, and the same for every count."""
    first = np.random.default_rng([seed, ORDER, index // 2]).integers(2)
    return int(first + index) % 2


def _write_image(stem: Path, way: Way, *, stream: tuple[int, int, int, int]) -> None:
    rng = np.random.default_rng(stream)
    draw = (pistol, smartphone)[stream[2]]
    ending, form, change = way
    picture = change(photograph(rng, draw(rng)))
    quality, exif = int(rng.integers(45, 96)), picture.info.get("exif", b"")
    picture.save(stem.with_name(stem.name + ending), form, quality=quality, exif=exif)


# How a picture becomes a file. It comes as RGBA, where alpha tells the thing from the background.


def _opaque(picture: Image.Image) -> Image.Image:
    return picture.convert("RGB")


def _grey(picture: Image.Image) -> Image.Image:
    return picture.convert("L")


def _cut_out(picture: Image.Image) -> Image.Image:
    return Image.composite(picture, Image.new("RGBA", picture.size), picture.getchannel("A"))


def _smaller(picture: Image.Image) -> Image.Image:
    return _opaque(picture).resize((picture.width * 9 // 10, picture.height * 9 // 10))


def _strip(picture: Image.Image) -> Image.Image:
    size = 300, 300 * picture.height // picture.width
    thing = np.asarray(picture.getchannel("A").resize(size), dtype=np.int64)
    top = min(max(int(thing.sum(axis=1).argmax()) - 14, 0), size[1] - 29)  # around most of the thing
    return _opaque(picture).resize(size).crop((0, top, 300, top + 29))


def _lying(picture: Image.Image) -> Image.Image:
    exif = Image.Exif()
    exif[ORIENTATION] = TURN_CLOCKWISE
    lying = _opaque(picture).transpose(Image.Transpose.ROTATE_90)  # which turns anticlockwise
    lying.info["exif"] = exif.tobytes()
    return lying


PLAIN: Way = (".jpg", "JPEG", _opaque)
TWIN: Way = (".jpg", "JPEG", _smaller)
ODD_WAYS: dict[tuple[int, int], tuple[Way, ...]] = {  # by label and index of a train image
    (0, 1): ((".JPG", "JPEG", _opaque),),
    (1, 1): ((".jpeg", "JPEG", _opaque),),
    (0, 2): ((".jpg", "PNG", _opaque),),
    (1, 2): ((".JPG", "JPEG", _opaque),),
    (0, 3): ((".png", "PNG", _cut_out),),
    (1, 3): ((".jpg", "JPEG", _grey),),
    (0, 4): ((".jpg", "JPEG", _strip),),
    (1, 4): ((".jpg", "JPEG", _lying),),
    (0, 5): (PLAIN, ("_again.jpg", "JPEG", _smaller)),
    (1, 5): (PLAIN, ("_again.jpg", "JPEG", _smaller)),
    (0, 6): (PLAIN, ("_copy.jpg", "JPEG", _opaque)),  # drawn and stored the same way: the same bytes
}
TWINS = {2: 7, 3: 7}  # by index of a test image: the train image of its class that it nearly repeats
