"""Section "What it looked at": maps over pictures, and the share of their weight in the centre and at the border."""

import base64
import io
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from kagglepipe.reports.blocks import Bar, Section, Shelf, Table, Text
from kagglepipe.reports.thumbnails import Album, Overlay

MOST_CLASSES, EXAMPLES = 12, 6
CENTRE, BORDER = (0.25, 0.75), (0.125, 0.875)  # of both sides; the border is what lies outside
LEAST_CELLS = 3  # of a side, so that a cell can lie in the centre
COLOUR, OPACITY = (255, 40, 60), 190  # of 255, where a map is largest
Map = NDArray[np.float32]


def looked(
    maps: Mapping[str, Map], answers: Mapping[str, str], album: Album, network: str, *, is_exact: bool
) -> Section:
    """Make the section. maps: id -> (H, W). answers: id -> the answer that its map is of. network: name of the run."""
    how = (
        "with the bias a map adds up to the answer's logit (class activation maps, Zhou et al. 2016)"
        if is_exact
        else "they are weighed by gradients, since layers lie between the map and the answer (Grad-CAM)"
    )
    words = (
        f"Red is what speaks for the answer in {len(maps):,} pictures of the gallery below, as {network} sees them: "
        f"{how}. An answer that comes from the border is often a watermark, a frame or a background."
    )
    if not maps:
        why = "There are no maps: what the networks answer from, such as the class token of a ViT, has no place."
        return Section("looked", "What it looked at", [Text(why)])
    found = {id: shares(one) for id, one in maps.items()}
    groups: dict[str, list[str]] = {}
    for id in maps:
        groups.setdefault(answers[id], []).append(id)
    rows, shelves = [], []
    for name, ids in sorted(groups.items(), key=lambda one: (-len(one[1]), one[0]))[:MOST_CLASSES]:
        centre, border = np.mean([found[id] for id in ids], axis=0).tolist()
        rows.append((name or "no tag", str(len(ids)), *(Bar(f"{one:.0%}", one) for one in (centre, border))))
        ids = sorted(ids, key=lambda id: -found[id][1])[:EXAMPLES]
        shelves.append((name or "no tag", [album.tile(id, f"{found[id][1]:.0%} at the border") for id in ids]))
    if min(min(one.shape) for one in maps.values()) < LEAST_CELLS:
        coarse = (
            "The maps are too coarse to tell the centre from the border: a larger model.image_size makes finer ones."
        )
        return Section("looked", "What it looked at", [Text(words), Text(coarse)])
    caption = (
        "Weight of the maps by answer: an even map has 25 % in the centre, half of both sides, and 44 % at the border"
    )
    table = Table(caption, ("answer", "pictures", "in the centre", "at the border"), rows)
    shelf = Shelf("The pictures of each answer with most weight at the border", shelves, has_maps=True)
    return Section("looked", "What it looked at", [Text(words), table, shelf])


def shares(one: Map) -> tuple[float, float]:
    """Shares of the positive weight of a map (H, W) in the centre and at the border.

    >>> shares(np.ones((7, 5), np.float32))
    (0.25, 0.4375)
    """
    positive = np.maximum(one, 0).astype(np.float64)
    inside = [np.outer(*(overlap(n, *part) for n in one.shape)) for part in (CENTRE, BORDER)]
    centre, inner = ((positive * part).sum() / positive.sum() for part in inside)
    return round(float(centre), 9), round(float(1 - inner), 9)


def overlap(count: int, low: float, high: float) -> NDArray[np.float64]:
    """Share of each of `count` equal cells of [0, 1] that lies in [low, high]."""
    edges = np.linspace(0, 1, count + 1)
    return np.clip(np.minimum(edges[1:], high) - np.maximum(edges[:-1], low), 0, None) * count


def lay_over(maps: Mapping[str, Map], album: Album, crop: str, crop_pct: float) -> None:
    """Lay the maps over the album's pictures, on the part that networks see; crop: as in `images.views.clean_view`."""
    for id, one in maps.items():
        if (number := album.tile(id).number) is not None:
            picture = album.pictures[number]
            place = seen_part(picture.width, picture.height, crop, crop_pct)
            album.overlays[number] = Overlay(picture_of(one), *(f"{value:g}" for value in place))


def seen_part(width: int, height: int, crop: str, crop_pct: float) -> Sequence[float]:
    """(x, y, width, height) of the square that networks see, in pixels of a picture.

    >>> seen_part(100, 50, "center", 0.8), seen_part(100, 50, "border", 1.0)
    ((30.0, 5.0, 40.0, 40.0), (0.0, -25.0, 100.0, 100.0))
    """
    if crop == "squash":
        return 0, 0, width, height
    side = min(width, height) * crop_pct if crop == "center" else float(max(width, height))
    return (width - side) / 2, (height - side) / 2, side, side


def picture_of(one: Map, colour: tuple[int, int, int] = COLOUR, most: float | None = None) -> str:
    """A map (H, W) as a PNG in a data URI, the more opaque the larger a value above 0 is. most: None: its largest."""
    alpha = np.maximum(one, 0) / (most or one.max()) * OPACITY
    pixels = np.concatenate([np.full((*one.shape, 3), colour, np.uint8), alpha.round().astype(np.uint8)[..., None]], 2)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
