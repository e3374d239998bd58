"""The built-in sample: what it writes, that it repeats itself, and that every promised oddity is there."""

import csv
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps, ImageStat

from kagglepipe.samples import photos
from kagglepipe.samples.clips import make_clips
from kagglepipe.samples.photos import make_photos

PISTOLS, PHONES = "Train/Pistol", "Train/Smartphone"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample at its default size, drawn once for all tests that only read it."""
    folder = tmp_path_factory.mktemp("sample")
    make_photos(folder)
    return folder


def images(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.name != "desktop.ini")


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def answers(folder: Path) -> list[list[str]]:
    with (folder / "answers.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


def upright(path: Path) -> Image.Image:
    with Image.open(path) as picture:
        return ImageOps.exif_transpose(picture).convert("RGB")


def difference(first: Image.Image, second: Image.Image) -> float:
    """The mean difference of two pictures as thumbnails, in grey levels."""
    small = [np.asarray(picture.resize((32, 32)), dtype=np.float64) for picture in (first, second)]
    return float(np.abs(small[0] - small[1]).mean())


def test_folders_hold_the_promised_files(folder: Path) -> None:
    assert {path.name for path in folder.iterdir()} == {"Train", "Test", "answers.csv"}
    assert {path.name for path in (folder / "Train").iterdir()} == {"Pistol", "Smartphone"}
    assert len(images(folder / PISTOLS)) == 80 + 2
    assert len(images(folder / PHONES)) == 80 + 1
    assert {path.name for path in (folder / "Test").iterdir()} == {f"img{k}.jpg" for k in range(60)}
    assert (folder / PISTOLS / "desktop.ini").is_file()
    assert (folder / PHONES / "desktop.ini").is_file()


def test_answers_cover_exactly_the_test_folder_in_random_order(folder: Path) -> None:
    header, *rows = answers(folder)
    labels = [label for _, label in rows]
    assert header == ["ID", "Ground_Truth"]
    assert sorted(name for name, _ in rows) == sorted(path.name for path in (folder / "Test").iterdir())
    assert labels.count("0") == labels.count("1") == 30
    assert labels[::2].count("0") not in (0, 30)


def test_the_same_seed_gives_the_same_bytes_and_another_one_other_images(tmp_path: Path) -> None:
    for name, seed in (("one", 3), ("two", 3), ("other", 4)):
        make_photos(tmp_path / name, seed=seed, per_class=4, test=4)
    one, two, other = (contents(tmp_path / name) for name in ("one", "two", "other"))
    assert one == two
    assert one.keys() == other.keys()
    pictures = [name for name in one if Path(name).suffix not in (".ini", ".csv")]
    assert len(pictures) == 12
    assert all(one[name] != other[name] for name in pictures)


def test_an_image_does_not_depend_on_how_many_others_are_drawn(folder: Path, tmp_path: Path) -> None:
    make_photos(tmp_path, per_class=9, test=7)
    few, many = contents(tmp_path), contents(folder)
    assert answers(tmp_path) == answers(folder)[: 1 + 7]
    del few["answers.csv"]
    assert few.items() <= many.items()


@pytest.mark.parametrize("make", [make_photos, make_clips])
def test_a_folder_with_files_is_refused(tmp_path: Path, make: Callable[[Path], None]) -> None:
    (tmp_path / "mine.txt").touch()
    with pytest.raises(FileExistsError, match="holds files"):
        make(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_unusual_name_endings(folder: Path) -> None:
    endings = Counter(path.suffix for part in (PISTOLS, PHONES) for path in images(folder / part))
    assert endings == {".jpg": 163 - 4, ".JPG": 2, ".jpeg": 1, ".png": 1}


@pytest.mark.parametrize(
    ("path", "form", "mode", "height"),
    [
        (f"{PISTOLS}/pistol2.jpg", "PNG", "RGB", None),
        (f"{PHONES}/smartphone3.jpg", "JPEG", "L", None),
        (f"{PISTOLS}/pistol3.png", "PNG", "RGBA", None),
        (f"{PISTOLS}/pistol4.jpg", "JPEG", "RGB", 29),
    ],
)
def test_odd_files_are_what_they_should_be(folder: Path, path: str, form: str, mode: str, height: int | None) -> None:
    with Image.open(folder / path) as picture:
        assert (picture.format, picture.mode) == (form, mode)
        assert height in (None, picture.height)


def test_a_png_is_transparent_around_the_thing(folder: Path) -> None:
    with Image.open(folder / PISTOLS / "pistol3.png") as picture:
        alpha = np.asarray(picture.getchannel("A"))
    assert (alpha == 0).mean() > 0.2
    assert (alpha == 255).mean() > 0.02


def test_a_jpeg_lies_on_its_side_until_its_orientation_is_honoured(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = Path(PHONES, "smartphone4.jpg")
    monkeypatch.delitem(photos.ODD_VARIANTS, (1, 4))
    make_photos(tmp_path, per_class=5, test=0)
    with Image.open(folder / path) as lying, Image.open(tmp_path / path) as drawn:
        assert lying.getexif()[0x0112] == 6
        assert lying.size == drawn.size[::-1]
        assert difference(ImageOps.exif_transpose(lying), drawn) < 2


def test_every_image_shows_something_and_one_is_there_twice(folder: Path) -> None:
    """Names are unique over all folders, and no image but the one on its side has metadata."""
    files = [path for part in (PISTOLS, PHONES, "Test") for path in images(folder / part)]
    assert len({path.name.lower() for path in files}) == len(files)
    assert min(max(ImageStat.Stat(upright(path)).stddev) for path in files) > 5
    assert [path.name for path in files if "exif" in Image.open(path).info] == ["smartphone4.jpg"]
    assert (folder / PISTOLS / "pistol6.jpg").read_bytes() == (folder / PISTOLS / "pistol6_copy.jpg").read_bytes()
    assert len({path.read_bytes() for path in files}) == len(files) - 1


@pytest.mark.parametrize("stem", [f"{PISTOLS}/pistol5", f"{PHONES}/smartphone5"])
def test_near_duplicates_look_alike_but_differ(folder: Path, stem: str) -> None:
    one, other = upright(folder / f"{stem}.jpg"), upright(folder / f"{stem}_again.jpg")
    assert one.size != other.size
    assert difference(one, other) < 3


def test_two_test_images_repeat_train_images(folder: Path) -> None:
    labels = dict(answers(folder)[1:])
    sources = {"0": folder / PISTOLS / "pistol7.jpg", "1": folder / PHONES / "smartphone7.jpg"}
    for name in ("img2.jpg", "img3.jpg"):
        twin = upright(folder / "Test" / name)
        assert difference(twin, upright(sources[labels[name]])) < 3
        assert difference(twin, upright(folder / "Test" / "img4.jpg")) > 10


def test_size_and_brightness_do_not_tell_the_class(folder: Path) -> None:
    def means(part: str) -> np.ndarray:
        paths = images(folder / part)
        pictures = [upright(path) for path in paths]
        rows = [(p.width, p.height, p.width / p.height, ImageStat.Stat(p.convert("L")).mean[0]) for p in pictures]
        return np.array([*np.mean(rows, axis=0), np.mean([path.stat().st_size for path in paths])])

    assert means(PISTOLS) == pytest.approx(means(PHONES), rel=0.15)
