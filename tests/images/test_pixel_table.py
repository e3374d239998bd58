"""Row N of a table of pixels is the same image as a file with these pixels, and a broken cell is named."""

import gzip
import zipfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from kagglepipe.errors import UserError
from kagglepipe.images import pixel_table
from kagglepipe.images.decode import decode
from kagglepipe.images.depth import estimate_used_bits
from kagglepipe.images.pixel_table import read_image_bytes, read_pixels

Cells = NDArray[Any]  # (N, P)
AS_TEXT = sorted(range(64), key=str)


def drawn(channels: int = 1, largest: int = 255, side: int = 8) -> NDArray[Any]:
    """Three smooth images (3, side, side, channels) of whole numbers, the last one with the largest."""
    rng = np.random.default_rng(channels)
    soft = [cv2.resize(rng.random((3, 3, channels)), (side, side)).reshape(side, side, channels) for _ in range(3)]
    return np.rint(np.stack(soft) / np.max(soft[2]) * largest).clip(0, largest).astype(int)


def write(
    path: Path, cells: Cells, columns: Sequence[str] | None = None, first: str = "label,", sep: str = ","
) -> Path:
    """Write a CSV with a label before the pixels."""
    names = columns or [f"pixel{n}" for n in range(cells.shape[1])]
    lines = [first.replace(",", sep) + sep.join(names)]
    lines += [(f"{n}{sep}" if first else "") + sep.join(map(str, row)) for n, row in enumerate(cells.tolist())]
    text = ("\n".join(lines) + "\n").encode()
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("train.csv", text)
    else:
        path.write_bytes(gzip.compress(text) if path.suffix == ".gz" else text)
    return path


def from_file(image: NDArray[Any], suffix: str, dtype: type) -> bytes:
    """The bytes of a file that OpenCV writes of an image (H, W, channels), RGB."""
    return cv2.imencode(suffix, image[..., ::-1].astype(dtype))[1].tobytes()


@pytest.mark.parametrize(
    ("channels", "largest", "dtype"),
    [(1, 255, np.uint8), (3, 255, np.uint8), (1, 4095, np.uint16), (3, 900, np.uint16)],
)
@pytest.mark.parametrize("name", ["train.csv", "train.csv.gz", "train.csv.zip"])
def test_a_row_is_the_image_of_a_file(tmp_path: Path, channels: int, largest: int, dtype: type, name: str) -> None:
    images, suffix = drawn(channels, largest), ".pgm" if channels == 1 else ".ppm"
    table = write(tmp_path / name, images.reshape(3, -1))
    deep = (tmp_path / "deepest.png").write_bytes(from_file(images[2], ".png", dtype))
    assert deep
    bits = estimate_used_bits(tmp_path / "deepest.png")
    for number, image in enumerate(images, 1):
        row = decode(read_image_bytes(table / f"{number}{suffix}"))
        np.testing.assert_array_equal(row, decode(from_file(image, ".png", dtype), bits=bits))
        if dtype is np.uint8:
            np.testing.assert_array_equal(row, np.broadcast_to(image, (8, 8, 3)))
            np.testing.assert_array_equal(row, decode(from_file(image, suffix, dtype)))
    assert read_image_bytes(table / f"1{suffix}", 2) == read_image_bytes(table / f"1{suffix}")[:2]


@pytest.mark.parametrize(
    ("cells", "columns", "first"),
    [
        (drawn().reshape(3, -1) / 255, None, "label,"),  # fractions
        (drawn().reshape(3, -1), [f"{y}x{x}" for y in range(1, 9) for x in range(1, 9)], "label,"),
        (drawn().reshape(3, -1), [str(n) for n in range(64)], ""),
        (drawn().reshape(3, -1), None, "id,"),  # a key beside the pixels
        (drawn().reshape(3, -1)[:, AS_TEXT], [f"p{n}" for n in AS_TEXT], "label,"),
    ],
    ids=["fractions", "1x1", "numbers", "key", "sorted as text"],
)  # fmt: skip
def test_names_of_columns_and_scales(tmp_path: Path, cells: Cells, columns: list[str] | None, first: str) -> None:
    np.testing.assert_array_equal(read_pixels(write(tmp_path / "a.csv", cells, columns, first)), drawn())
    np.testing.assert_array_equal(read_pixels(write(tmp_path / "b.csv", cells, columns, first, sep=";")), drawn())


def test_zeros_and_ones_are_black_and_white(tmp_path: Path) -> None:
    assert set(read_pixels(write(tmp_path / "a.csv", np.eye(49, dtype=int))).ravel().tolist()) == {0, 255}


def test_colours_in_planes_are_seen_by_their_smoothness(tmp_path: Path) -> None:
    planes = drawn(3).transpose(0, 3, 1, 2).reshape(3, -1)
    np.testing.assert_array_equal(read_pixels(write(tmp_path / "a.csv", planes)), drawn(3))


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        ("abc", "'abc' in line 3, column pixel5"), ("", "an empty cell in line 3, column pixel5"),
        ("-1", "'-1' in line 3"), ("70000", "'70000' in line 3"), ("inf", "'inf' in line 3"),
        ("1e99", "'1e99' in line 3"), ("nan", "an empty cell in line 3"), ("n/a", "an empty cell in line 3"),
        ("3.5", "pixels with fractions, and up to 255"), ("1,2", "cannot be read as a CSV"),
    ],
)  # fmt: skip
def test_a_broken_cell_is_named(tmp_path: Path, cell: str, message: str) -> None:
    table = write(tmp_path / "a.csv", drawn().reshape(3, -1))
    lines = table.read_text().split("\n")
    cells = lines[2].split(",")
    lines[2] = ",".join([*cells[:6], cell, *cells[7:]])
    table.write_text("\n".join(lines))
    with pytest.raises(UserError, match=message) as error:
        read_image_bytes(table / "1.pgm")
    assert "\n" not in str(error.value)


def test_all_pixels_of_an_image_may_be_in_one_cell(tmp_path: Path) -> None:
    images = drawn()
    rows = [f"{n},Training,{' '.join(map(str, image.ravel()))}" for n, image in enumerate(images)]
    (tmp_path / "faces.csv").write_text("\n".join(["emotion, Usage, pixels", *rows]))
    np.testing.assert_array_equal(read_pixels(tmp_path / "faces.csv"), images)
    written = read_image_bytes(tmp_path / "faces.csv" / "3.pgm")
    np.testing.assert_array_equal(decode(written)[..., :1], images[2])


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        ("1 2 x 4", "line 3, column pixels has '1 2 x 4', which are no numbers"),
        ("1 2 3", "line 3, column pixels has 3 pixels, which fill no square"),
        ("", "line 3, column pixels has 0 pixels"),
        (" ".join("123456789"), "line 3, has 9 pixels, line 2 has 4: needed are images of one size"),
        ("1 2 3 -4", "has pixels from -4 to 5 in its column pixels"),
        ("1 2 3 nan", "has pixels from nan to nan in its column pixels"),
        ("1 2 3 0.5", "has pixels with fractions, and up to 5"),
    ],
)
def test_a_cell_that_is_no_image_is_refused_in_one_line(tmp_path: Path, cell: str, message: str) -> None:
    (tmp_path / "a.csv").write_text(f"emotion,pixels\n0,1 2 3 5\n1,{cell}\n")
    with pytest.raises(UserError, match=message) as error:
        read_pixels(tmp_path / "a.csv")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("content", [b"label,x\n1,2\n", b"\x1f\x8b broken", b"\xff\xfe\x00", b""])
def test_what_is_no_table_of_pixels_is_refused_in_one_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.csv.gz").write_bytes(content)
    with pytest.raises((UserError, OSError)) as error:
        read_image_bytes(tmp_path / "a.csv.gz" / "1.pgm")
    assert "\n" not in str(error.value)


def test_a_table_that_is_cut_short_is_refused(tmp_path: Path) -> None:
    table = write(tmp_path / "a.csv.gz", drawn(side=20).reshape(3, -1))
    table.write_bytes(table.read_bytes()[:-300])
    with pytest.raises(UserError, match="before the end-of-stream marker"):
        read_pixels(table)


@pytest.mark.parametrize("row", ["0.pgm", "4.pgm", "x.pgm", "-1.pgm"])
def test_a_row_that_is_not_there_is_a_missing_file(tmp_path: Path, row: str) -> None:
    table = write(tmp_path / "a.csv", drawn().reshape(3, -1))
    with pytest.raises(FileNotFoundError):
        read_image_bytes(table / row)
    with pytest.raises(FileNotFoundError):
        read_image_bytes(tmp_path / "b.csv" / row)


def test_threads_parse_a_table_once_and_again_when_it_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table, parsed = write(tmp_path / "a.csv", drawn().reshape(3, -1)), list[Path]()

    def counted(path: Path) -> pixel_table.Pixels:
        parsed.append(path)
        return read_pixels(path)

    monkeypatch.setattr(pixel_table, "read_pixels", counted)
    with ThreadPoolExecutor(8) as threads:
        one = list(threads.map(lambda _: read_image_bytes(table / "1.pgm"), range(32)))
    assert (len(set(one)), len(parsed)) == (1, 1)
    write(table, 255 - drawn().reshape(3, -1), first="longer,")
    assert read_image_bytes(table / "1.pgm") != one[0]
