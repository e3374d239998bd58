"""The sample of photos: a small *pistols vs smartphones* archive, drawn by code.

It needs no download and no Kaggle account, and has the folders and oddities of the real archive, whose photos may not
be passed on.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from kagglepipe.samples.camera import photograph
from kagglepipe.samples.drawing import check_empty, write_csv
from kagglepipe.samples.objects import pistol, smartphone

Variant = tuple[str, str, Callable[[Image.Image], Image.Image]]  # end of the file name, format, transform

CLASSES = ("Pistol", "Smartphone")  # the position is the label
TRAIN, TEST, ORDER = 0, 1, 2
ORIENTATION, TURN_CLOCKWISE = 0x0112, 6  # an EXIF tag and its value


def make_photos(folder: Path, *, seed: int = 0, per_class: int = 80, test: int = 60) -> None:
    """Write the sample into `folder`, which must be new or empty.

    `Train/Pistol` and `Train/Smartphone` get `per_class` images each, second copies of a few of them and a
    `desktop.ini`; `Test` gets `img0.jpg`, `img1.jpg`, …; `answers.csv` has their labels (0 = pistol, 1 = smartphone).
    The same seed gives the same bytes, and an image stays the same however many others there are. The oddities of the
    real archive (`ODD_VARIANTS`, `TWINS`) are among the first eight images of a folder; smaller counts leave some out.
    Raises FileExistsError if the folder holds anything.
    """
    check_empty(folder)
    for label, name in enumerate(CLASSES):
        train = folder / "Train" / name
        train.mkdir(parents=True)
        (train / "desktop.ini").write_bytes(b"[ViewState]\r\nMode=\r\nVid=\r\nFolderType=Pictures\r\n")
        for index in range(per_class):
            for variant in ODD_VARIANTS.get((label, index), (PLAIN,)):
                _write_image(train / f"{name.lower()}{index}", variant, stream=(seed, TRAIN, label, index))
    (folder / "Test").mkdir()
    firsts = [int(np.random.default_rng([seed, ORDER, pair]).integers(2)) for pair in range(test)]
    labels = [(firsts[index // 2] + index) % 2 for index in range(test)]  # of two in a row each has another one
    for index, label in enumerate(labels):
        twin = index in TWINS
        stream = (seed, TRAIN, label, TWINS[index]) if twin else (seed, TEST, label, index)
        _write_image(folder / "Test" / f"img{index}", TWIN if twin else PLAIN, stream=stream)
    rows = [(f"img{index}.jpg", label) for index, label in enumerate(labels)]
    write_csv(folder / "answers.csv", ("ID", "Ground_Truth"), rows)


def _write_image(stem: Path, variant: Variant, *, stream: tuple[int, int, int, int]) -> None:
    rng = np.random.default_rng(stream)
    draw = (pistol, smartphone)[stream[2]]
    ending, form, transform = variant
    picture = transform(photograph(rng, draw(rng)))
    quality, exif = int(rng.integers(45, 96)), picture.info.get("exif", b"")
    picture.save(stem.with_name(stem.name + ending), form, quality=quality, exif=exif)


# --- variants of an RGBA photo whose alpha is the object's mask ---------------------------------------------------


def _opaque(picture: Image.Image) -> Image.Image:
    return picture.convert("RGB")


def _cut_out(picture: Image.Image) -> Image.Image:
    return Image.composite(picture, Image.new("RGBA", picture.size), picture.getchannel("A"))


def _smaller(picture: Image.Image) -> Image.Image:
    return _opaque(picture).resize((picture.width * 9 // 10, picture.height * 9 // 10))


def _strip(picture: Image.Image) -> Image.Image:
    size = 300, 300 * picture.height // picture.width
    mask = np.asarray(picture.getchannel("A").resize(size), dtype=np.int64)
    top = min(max(int(mask.sum(axis=1).argmax()) - 14, 0), size[1] - 29)  # around most of the object
    return _opaque(picture).resize(size).crop((0, top, 300, top + 29))


def _sideways(picture: Image.Image) -> Image.Image:
    exif = Image.Exif()
    exif[ORIENTATION] = TURN_CLOCKWISE
    turned = _opaque(picture).transpose(Image.Transpose.ROTATE_90)  # anticlockwise
    turned.info["exif"] = exif.tobytes()
    return turned


PLAIN: Variant = (".jpg", "JPEG", _opaque)
TWIN: Variant = (".jpg", "JPEG", _smaller)
ODD_VARIANTS: dict[tuple[int, int], tuple[Variant, ...]] = {  # by label and index of a training image
    (0, 1): ((".JPG", "JPEG", _opaque),),
    (1, 1): ((".jpeg", "JPEG", _opaque),),
    (0, 2): ((".jpg", "PNG", _opaque),),
    (1, 2): ((".JPG", "JPEG", _opaque),),
    (0, 3): ((".png", "PNG", _cut_out),),
    (1, 3): ((".jpg", "JPEG", lambda picture: picture.convert("L")),),
    (0, 4): ((".jpg", "JPEG", _strip),),
    (1, 4): ((".jpg", "JPEG", _sideways),),
    (0, 5): (PLAIN, ("_again.jpg", "JPEG", _smaller)),
    (1, 5): (PLAIN, ("_again.jpg", "JPEG", _smaller)),
    (0, 6): (PLAIN, ("_copy.jpg", "JPEG", _opaque)),  # the same bytes
}
TWINS = {2: 7, 3: 7}  # index of a test image -> the training image of its class that it nearly repeats
