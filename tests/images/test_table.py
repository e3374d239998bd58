"""The table of images: several files in a task, and bits in use that all files decide together."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from kagglepipe.competitions.duplicates import perceptual_hash, thumbnail
from kagglepipe.files import file_sha256, read_json, write_json
from kagglepipe.images.cache import PixelCache
from kagglepipe.images.decode import ImageError, decode
from kagglepipe.images.table import LOOK_SIDE, DepthError, look_at, make_image_table
from kagglepipe.options import CompetitionOptions, PrepareOptions


def draw(path: Path, seed: int, levels: int = 256) -> None:
    """Draw a TIFF of 8 bits or, for more `levels`, of 16."""
    coarse = np.random.default_rng(seed).integers(0, levels, (5, 5, 3)).astype(np.uint8 if levels == 256 else np.uint16)
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), cv2.resize(coarse, (40, 30), interpolation=cv2.INTER_LINEAR))


def test_files_of_one_task_are_looked_at_as_each_alone(tmp_path: Path) -> None:
    paths = [tmp_path / f"{number}.tif" for number in range(5)]
    for number, path in enumerate(paths):
        draw(path, number)
    paths[1].write_bytes(b"")
    paths[3].unlink()
    found = look_at(paths, max_side=100)
    assert [str(one) for one in found if isinstance(one, ImageError)] == [
        "the file is empty (0 bytes)", "cannot be read (No such file or directory)"
    ]  # fmt: skip
    for path, one in zip(paths, found, strict=True):
        if not isinstance(one, ImageError):
            facts, pixels = one
            image = decode(path.read_bytes(), short_side=LOOK_SIDE)
            assert (pixels == image).all()
            assert facts.phash == perceptual_hash(image)
            assert (facts.thumbnail == thumbnail(image)).all()
            assert facts.sha256 == file_sha256(path)
    assert look_at([paths[1]], max_side=100)[0].args == ("the file is empty (0 bytes)",)


@pytest.mark.parametrize("skipped", [False, True])
def test_bits_in_use_are_those_of_all_images_wherever_the_deepest_is(tmp_path: Path, skipped: bool) -> None:
    """Of 8 bits first, then of 10 and 12; the last also counts where it is skipped, as a file of two pages."""
    root, folder = tmp_path / "photos", tmp_path / "data"
    for number, levels in enumerate((256, 256, 256, 1024, 4096)):
        for name in ("cat", "dog"):
            draw(root / name / f"{name}{number}.tif", number + 10 * (name == "dog"), levels)
    if skipped:
        page = cv2.imread(str(root / "dog/dog4.tif"), cv2.IMREAD_UNCHANGED)
        assert page is not None
        cv2.imwritemulti(str(root / "dog/dog4.tif"), [page, page])
        (root / "cat/cat4.tif").unlink()
    write_json(folder / "source.json", {"kind": "folder", "path": str(root), "stat": "", "content": ""})
    competition = CompetitionOptions(slug="x", on_bad_image="skip", kind="image")
    make_image_table(competition, folder, PrepareOptions(), workers=2, pixels_dir=folder / "pixels", max_bytes=10**9)
    report = read_json(folder / "prepared.json")
    assert (report["bits"], len(report["skipped"])) == (12, int(skipped))
    cache = PixelCache.open(folder / "pixels", LOOK_SIDE, 12)
    assert cache is not None
    for path in (root / "cat/cat0.tif", root / "dog/dog3.tif"):
        stored = cache.get(file_sha256(path))
        assert stored is not None
        assert (stored == decode(path.read_bytes(), short_side=LOOK_SIDE, bits=12)).all()


def test_an_image_whose_header_leaves_its_bits_open_waits_for_the_others(tmp_path: Path) -> None:
    draw(tmp_path / "a.tif", 0, 1024)
    with pytest.raises(DepthError):
        look_at([tmp_path / "a.tif"], max_side=100, is_settled=False)
    assert not isinstance(look_at([tmp_path / "a.tif"], max_side=100, bits=10)[0], ImageError)
