"""Maps over pictures: where they lie, what they weigh, and a watermark in one class that they show."""

import re
from pathlib import Path

import cv2
import numpy as np
import pytest

from kagglepipe.reports.blocks import Shelf, Table
from kagglepipe.reports.looked_at import lay_over, looked, seen_part, shares
from kagglepipe.reports.thumbnails import Album
from kagglepipe.tools.commands import run_command
from kagglepipe.tools.report import find_run
from tests.composing import changed, config_of


def picture(id: str) -> np.ndarray:
    return np.zeros((40, 80, 3), np.uint8)


def corner(side: int = 8) -> np.ndarray:
    one = np.full((side, side), -1.0, np.float32)
    one[0, 0] = 2
    return one


def test_shares_by_hand() -> None:
    middle = np.zeros((8, 8), np.float32)
    middle[3:5, 3:5] = 1
    assert shares(middle) == (1, 0)
    assert shares(corner()) == (0, 1)
    third = np.zeros((3, 3), np.float32)
    third[1, 1] = 1  # from 1/3 to 2/3 of both sides
    assert shares(third) == (1, 0)


def test_a_map_lies_on_what_the_network_sees() -> None:
    assert seen_part(80, 40, "squash", 1.0) == (0, 0, 80, 40)
    album = Album(picture, 5)
    lay_over({"a": corner()}, album, "center", 1.0)
    ((number, found),) = album.overlays.items()
    assert (number, found.x, found.y, found.width, found.height) == (0, "20", "0", "40", "40")
    assert found.uri.startswith("data:image/png;base64,")


def test_pictures_with_most_weight_at_the_border_come_first() -> None:
    album = Album(picture, 5)
    even = np.ones((4, 4), np.float32)
    section = looked({"a": even, "b": corner(), "c": even}, {"a": "x", "b": "x", "c": "y"}, album, "run", is_exact=True)
    _, table, shelf = section.blocks
    assert isinstance(table, Table)
    assert isinstance(shelf, Shelf)
    assert [row[:2] for row in table.rows] == [("x", "2"), ("y", "1")]
    assert [row[3].words for row in table.rows] == ["72%", "44%"]
    assert [tile.name for tile in shelf.rows[0][1]] == ["b", "a"]


def test_maps_of_two_by_two_cells_tell_no_centre_from_a_border() -> None:
    """Each cell has the same part of the centre, so that the shares are those of an even map whatever it shows."""
    assert shares(corner(2)) == shares(np.ones((2, 2), np.float32)) == (0.25, 0.4375)
    _, text = looked({"a": corner(2)}, {"a": "x"}, Album(picture, 5), "run", is_exact=True).blocks
    assert text.words.startswith("The maps are too coarse to tell the centre from the border")
    assert len(looked({"a": corner(3)}, {"a": "x"}, Album(picture, 5), "run", is_exact=True).blocks) == 3


def test_the_page_says_why_there_are_no_maps() -> None:
    (text,) = looked({}, {}, Album(picture, 5), "run", is_exact=False).blocks
    assert text.words.startswith("There are no maps: what the networks answer from, such as the class token of a ViT")


@pytest.mark.slow
def test_a_watermark_in_one_class_shows_in_the_maps(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name in ("plain", "marked"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for k in range(20):
            coarse = rng.integers(0, 256, (6, 6, 3)).astype(np.uint8)
            image = cv2.resize(coarse, (224, 224), interpolation=cv2.INTER_CUBIC)
            if name == "marked":
                cv2.putText(image, "(C) X", (2, 24), cv2.FONT_HERSHEY_SIMPLEX, 0.8, (255, 255, 255), 3)
            cv2.imwrite(str(tmp_path / "photos" / name / f"{name}{k}.png"), image)
    config = config_of("competition=image_folder", f"competition.source='{tmp_path / 'photos'}'", "training=head",
                       "training.views=0", "folds.count=2", "device=cpu", f"paths.root='{tmp_path}'")  # fmt: skip
    run_command(config)
    page = (find_run(changed(config, "stage=report")).folder / "report.html").read_text("utf-8")
    row = re.search(r'<th scope="row">marked</th><td>(\d+)</td><td>.*? (\d+)%</td><td>.*? (\d+)%</td>', page)
    assert row is not None
    assert int(row[1]) >= 15
    assert int(row[3]) > 52 > 25 > int(row[2])  # at the border, where an even map has 44 %; in the centre
