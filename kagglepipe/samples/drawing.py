"""Pistols and smartphones drawn by code, and photographed by code: the pictures of the built-in sample.

A thing is a list of filled outlines, about a hundred units long, with y pointing down. A pose maps them onto a
picture, and what a camera adds (shadow, uneven light, blur, noise) makes a photo of it.
"""

from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

T = TypeVar("T")
Colour = tuple[int, ...]
Size = tuple[int, int]
Points = NDArray[np.float64]
Plane = NDArray[np.float32]
Path2D = Sequence[tuple[float, float]] | Points
Shape = tuple[Points, Colour]
Thing = tuple[list[Shape], list[Shape], list[Shape]]  # what lies behind it, the thing itself, what covers it
Screen = tuple[float, float, float, float]  # left, top, right, bottom
Grip = Callable[[float, float], tuple[float, float]]  # (across, down) from 0 to 1 -> a point of the handle

OVERSAMPLING = 2
BILINEAR = Image.Resampling.BILINEAR

# Colours and outlines.


def _colours(codes: str) -> list[Colour]:
    return [tuple(bytes.fromhex(code)) for code in codes.split()]


METALS = _colours("26272b 3e4046 5c6068 a8acb2 c6c8cc 8c7c60 545844")
HANDLES = _colours("1e1e20 343438 6e4426 8c5a34 54321e 968468 cec4b0")
CASES = _colours("1c1c20 3c3f46 e2e2e6 babec6 34507a d6aca0 96262e")
SKINS = _colours("f4d0b4 e2b492 c6926c 966444 62402c")
WOODS = _colours("ba8c5e 966842 704a2e ceb28c 60544c")
BLACK, GLASS, SILVER, WHITE = _colours("000000 0e0e10 d2d5dc f2f2f6")


def _pick(rng: Generator, options: Sequence[T]) -> T:
    return options[int(rng.integers(len(options)))]


def _vivid(rng: Generator) -> Colour:
    return tuple(int(level) for level in rng.permutation([rng.integers(20, 110), *rng.integers(60, 245, 2)]))


def _muted(rng: Generator) -> Colour:
    return _blend(_vivid(rng), (int(rng.integers(70, 235)),) * 3, 0.65)


def _blend(start: Colour, end: Colour, share: float) -> Colour:
    return tuple(int(a + (b - a) * share) for a, b in zip(start, end, strict=True))


def _shade(colour: Colour, factor: float) -> Colour:
    return tuple(min(255, int(level * factor)) for level in colour)


STEPS = np.linspace(0, 1, 24)


def _arc(x: float, y: float, radius: float, start: float = 0, stop: float = 360) -> Points:
    angles = np.radians(start + (stop - start) * STEPS)
    return radius * np.array([np.cos(angles), np.sin(angles)]).T + (x, y)


ROUND = np.concatenate([_arc(0, 0, 1, start, start + 90)[::5] for start in (0, 90, 180, 270)])


def _box(left: float, top: float, right: float, bottom: float, radius: float = 0) -> Points:
    x, y = (left + radius, right - radius), (top + radius, bottom - radius)
    centres = [(x[1], y[1]), (x[0], y[1]), (x[0], y[0]), (x[1], y[0])]
    return np.repeat(centres, len(ROUND) // 4, axis=0) + radius * ROUND


def _soft(corners: Path2D) -> Points:
    """Cut the corners off an outline twice, which makes it round."""
    points = np.asarray(corners, dtype=np.float64)
    for _ in range(2):
        after = np.roll(points, -1, axis=0)
        points = np.stack([0.75 * points + 0.25 * after, 0.25 * points + 0.75 * after], axis=1).reshape(-1, 2)
    return points


def _stroke(path: Path2D, width: float) -> Points:
    """The outline of a line of this width with round ends."""
    points = np.asarray(path, dtype=np.float64)
    way = np.concatenate([points[1:], points[-1:]]) - np.concatenate([points[:1], points[:-1]])
    aside = way[:, ::-1] * (-1, 1) / np.hypot(way[:, :1], way[:, 1:]) * width / 2
    angles = np.degrees(np.arctan2(way[:, 1], way[:, 0]))
    (x, y), (u, v) = points[0], points[-1]
    begin = _arc(x, y, width / 2, angles[0] - 90, angles[0] - 270)
    end = _arc(u, v, width / 2, angles[-1] + 90, angles[-1] - 90)
    return np.concatenate([(points + aside)[1:-1], end, (points - aside)[-2:0:-1], begin])


# Pistols.


def pistol(rng: Generator) -> Thing:
    """An automatic or a revolver, sometimes in a hand."""
    rake, length = rng.uniform(-20, -5), rng.uniform(40, 52)

    def grip(across: float, down: float) -> tuple[float, float]:
        return -46 + 27 * across + rake * down, 20 + length * down

    body = _revolver if rng.random() < 0.3 else _automatic
    hand = _hand_on_grip(rng, grip) if rng.random() < 0.35 else []
    return [], body(rng, grip), hand


def _automatic(rng: Generator, grip: Grip) -> list[Shape]:
    metal, handle = _pick(rng, METALS), _pick(rng, HANDLES)
    dark, light, frame = _shade(metal, 0.55), _shade(metal, 1.3), _pick(rng, (metal, handle))
    top, nose, rest = rng.uniform(0, 4), rng.uniform(20, 48), rng.uniform(1, 14)
    muzzle = 18 if rng.random() < 0.3 else rng.uniform(34, 50)  # a short slide shows the barrel
    ribs = np.linspace(-45, -30, int(rng.integers(5, 9)))
    return [
        (_box(muzzle - 10, top + 3, max(muzzle + rest, 42), 12, 1), dark),
        (_stroke([(-48, 12), (-53, 8), (-54, 3)], 3.5), dark),
        *_handle(rng, grip, handle),
        (_soft([(-55, 17), (-50, 18), (nose, 16), (nose, 24), (12, 27), (-30, 30)]), frame),
        (_box(-46, 16, min(nose, muzzle) - 2, 23, 1), frame),
        *_trigger(frame, dark),
        (_box(-50, top, muzzle, 18, 2), metal),
        (_box(-48, top + 1, muzzle - 2, top + 3.5, 1), light),
        (_box(-50, 16.5, muzzle, 18), dark),
        (_box(-48, top - 3, -42, top), dark),
        (_box(muzzle - 6, top - 2.5, muzzle - 2, top), dark),
        (_box(-10, top + 2, 8, top + 7.5, 1), _pick(rng, (dark, light))),
        *[(_stroke([(x, top + 4), (x - 2, 15)], 1), dark) for x in ribs],
    ]


def _revolver(rng: Generator, grip: Grip) -> list[Shape]:
    metal, handle = _pick(rng, METALS), _pick(rng, HANDLES)
    dark, light = _shade(metal, 0.55), _shade(metal, 1.3)
    muzzle, low = rng.uniform(28, 62), rng.uniform(10, 13)
    return [
        (_stroke([(-36, 12), (-44, 2), (-50, 1)], 4), dark),
        *_handle(rng, grip, handle),
        (_box(0, 2, muzzle, low, 1.5), metal),
        (_box(2, 3, muzzle - 1, 5, 0.8), light),
        (_stroke([(2, low + 3), (muzzle * rng.uniform(0.55, 0.95), low + 3)], 4.5), dark),
        (_soft([(muzzle - 10, 2), (muzzle - 3, -5), (muzzle - 2, 2)]), dark),
        (_soft([(-48, 30), (-36, -6), (10, -3), (10, 16), (17, 32), (-20, 33)]), metal),
        *_trigger(metal, dark),
        (_box(-24.5, 0.5, 3.5, 26.5, 4), dark),
        (_box(-23.5, 1.5, 2.5, 25.5, 3.5), _shade(metal, 1.12)),
        *[(_stroke([(-12, y), (2, y)], 3), _shade(metal, 0.75)) for y in (6.5, 13.5, 20.5)],
    ]


def _handle(rng: Generator, grip: Grip, colour: Colour) -> list[Shape]:
    dark = _shade(colour, 0.65)
    side = [(0, -0.2), (1, -0.2), (1, 0.3), (1.04, 0.75), (1.1, 1), (-0.1, 1.04), (-0.06, 0.7), (0.1, 0.2)]
    shapes = [(_stroke([grip(0.05, 1), grip(1, 0.98)], 5), dark), (_soft([grip(*at) for at in side]), colour)]
    if rng.random() < 0.5:
        ribs = [_stroke([grip(0.2, down), grip(0.85, down)], 1.2) for down in np.linspace(0.3, 0.85, 7)]
        return shapes + [(rib, dark) for rib in ribs]
    panel = _soft([grip(0.2, 0.2), grip(0.85, 0.2), grip(0.9, 0.9), grip(0.1, 0.9)])
    return [*shapes, (panel, _shade(colour, 1.2)), (_arc(*grip(0.5, 0.55), 2), dark)]


def _trigger(frame: Colour, dark: Colour) -> list[Shape]:
    guard, trigger = _stroke(_arc(-3, 25, 15, -10, 190), 3.5), _stroke([(-6, 26), (-5, 32), (-1, 37)], 3)
    return [(guard, frame), (trigger, dark)]


def _hand_on_grip(rng: Generator, grip: Grip) -> list[Shape]:
    skin, sleeve, elbow = _pick(rng, SKINS), _vivid(rng), (-220, rng.uniform(80, 140))
    palm = [grip(-0.35, 0), grip(0.4, -0.02), grip(0.75, 0.4), grip(0.5, 0.95), (-80, 80), (-80, 42)]
    arm = [(_stroke([(-75, 62), elbow], 34), sleeve), (_stroke([(-60, 50), (-75, 62)], 26), skin)]
    fingers = [
        *[[grip(0.3, down + 0.04), grip(0.8, down), grip(1.1, down + 0.03)] for down in (0.74, 0.48, 0.22)],
        [grip(0.4, 0.1), (-14, 29), (-3, 33)],
        [grip(-0.3, 0.25), grip(0.2, -0.02), grip(0.7, -0.06)],
    ]
    return [*arm, (_soft(palm), skin), *[shape for path in fingers for shape in _finger(path, skin)]]


def _finger(path: Path2D, skin: Colour) -> list[Shape]:
    return [(_stroke(path, 11), _shade(skin, 0.72)), (_stroke(path, 9.4), skin)]


# Smartphones.


def smartphone(rng: Generator) -> Thing:
    """A slab seen from the front or the back, sometimes in a hand."""
    half, radius, depth = rng.uniform(22, 28), rng.uniform(2, 8), rng.uniform(0.6, 3)
    case = _pick(rng, CASES)
    face = _back if rng.random() < 0.3 else _front
    keys = [_box(half - 1, top, half + depth + 1.2, top + high, 0.8) for top, high in ((-30, 12), (-12, 6))]
    rim = _box(depth - half, depth - 50, half + depth, 50 + depth, radius)
    shapes = [
        *[(outline, _shade(case, 0.6)) for outline in (*keys, rim)],
        (_box(-half, -50, half, 50, radius), _shade(case, 1.2)),
        (_box(0.8 - half, -49.2, half - 0.8, 49.2, radius), case),
        *face(rng, half, radius, case),
    ]
    behind, front = _hand_on_slab(rng, half) if rng.random() < 0.35 else ([], [])
    return behind, shapes, front


def _back(rng: Generator, half: float, radius: float, case: Colour) -> list[Shape]:
    size, lens = rng.uniform(16, 22), rng.uniform(3, 4.2)
    left, top = _pick(rng, (3 - half, -size / 2)), -47
    places = _pick(rng, (((0.3, 0.3), (0.3, 0.7), (0.7, 0.5)), ((0.3, 0.3), (0.3, 0.7)), ((0.3, 0.5), (0.7, 0.5))))
    shapes = [
        (_box(left, top, left + size, top + size, 4), _shade(case, 0.75)),
        (_box(left + 0.6, top + 0.6, left + size - 0.6, top + size - 0.6, 3.6), _shade(case, 0.9)),
        (_arc(left + size * 0.75, top + size * 0.2, 1.2), WHITE),
        (_arc(0, 2, 3.8), _shade(case, 0.8)),
    ]
    for x, y in [(left + size * across, top + size * down) for across, down in places]:
        shapes += [(_arc(x, y, lens), _shade(case, 0.5)), (_arc(x, y, lens * 0.8), GLASS)]
        shapes += [(_arc(x, y, lens * 0.45), (40, 48, 84)), (_arc(x - 1, y - 1, 0.6), WHITE)]
    return shapes


def _front(rng: Generator, half: float, radius: float, case: Colour) -> list[Shape]:
    old = rng.random() < 0.35  # a home button below a shorter screen
    edge, corner = (10, 0.4) if old else (2.2, max(radius - 1.5, 0.4))
    glass = _pick(rng, (case, GLASS)) if old else GLASS
    screen = left, top, right, bottom = 1.7 - half, edge - 50, half - 1.7, 50 - edge
    start, end, content = _vivid(rng), _vivid(rng), _pick(rng, (_icons, _icons, _chat, _lock, _off))
    bands = [(top + (bottom - top) * share, _blend(start, end, share)) for share in np.linspace(0, 0.85, 12)]
    button = [(_arc(0, 45, 3.4), _shade(case, 0.7)), (_arc(0, 45, 2.7), glass)] if old else []
    return [
        (_box(1.2 - half, -48.8, half - 1.2, 48.8, radius), glass),
        *[(_box(left, y, right, bottom, corner), colour) for y, colour in bands],
        *content(rng, screen),
        (_stroke([(-3.5, edge / 2 - 49.8), (3.5, edge / 2 - 49.8)], 1.2), (50, 50, 56)),
        *button,
    ]


def _icons(rng: Generator, screen: Screen) -> list[Shape]:
    left, top, right, bottom = screen
    cell = (right - left) / 4
    rows = [*(top + 10 + cell * 1.2 * np.arange(rng.integers(3, 6))), bottom - 7]
    places = [(left + cell * (column + 0.5), y) for y in rows for column in range(4)]
    side = cell * 0.34
    return [
        (_box(left + 1, bottom - 12.5, right - 1, bottom - 1.5, 3), SILVER),
        *[(_box(x - side, y - side, x + side, y + side, side / 2), _vivid(rng)) for x, y in places],
        *[(_arc(x, y, side * 0.45), WHITE) for x, y in places],
    ]


def _chat(rng: Generator, screen: Screen) -> list[Shape]:
    left, top, right, bottom = screen
    shapes = [(_box(left, top + 8, right, bottom - 1.5, 1.5), WHITE)]
    shapes += [(_stroke([(left + 5, bottom - 5), (right - 5, bottom - 5)], 5), SILVER)]
    mine = _vivid(rng)
    for y in np.arange(top + 13, bottom - 14, 10):
        width, sent = rng.uniform(12, 26), rng.random() < 0.5
        x = right - 3 - width if sent else left + 3
        shapes.append((_box(x, y, x + width, y + 7, 3), mine if sent else SILVER))
    return shapes


def _lock(rng: Generator, screen: Screen) -> list[Shape]:
    left, top, right, bottom = screen
    across = np.linspace(left, right, 16)
    hills = bottom - rng.uniform(25, 45) - 4 * np.sin(across * rng.uniform(0.08, 0.2))
    foot = [(right, bottom - 3), (right - 3, bottom), (left + 3, bottom), (left, bottom - 3)]
    return [
        (np.concatenate([np.column_stack([across, hills]), foot]), _vivid(rng)),
        *[(_box(x, top + 13, x + 4.5, top + 23, 1.5), WHITE) for x in (-13, -7, 3, 9)],
        (_stroke([(-8, top + 27), (8, top + 27)], 1.8), WHITE),
    ]


def _off(rng: Generator, screen: Screen) -> list[Shape]:
    left, top, right, bottom = screen
    x, width = rng.uniform(left + 10, right - 10), rng.uniform(3, 10)
    glare = np.array([(x, top), (x + width, top), (x + width - 10, bottom), (x - 10, bottom)])
    return [(_box(*screen, 1), (22, 23, 28)), (glare.clip((left, top), (right, bottom)), (52, 55, 64))]


def _hand_on_slab(rng: Generator, half: float) -> tuple[list[Shape], list[Shape]]:
    skin, sleeve, elbow = _pick(rng, SKINS), _vivid(rng), (rng.uniform(-20, 50), 240)
    palm = [(2 - half, -5), (half, -10), (half + 12, 10), (half + 10, 45), (20, 70), (-16, 66)]
    arm = [(_stroke([(5, 90), elbow], 44), sleeve), (_stroke([(5, 50), (6, 95)], 34), _shade(skin, 0.9))]
    tip, reach = rng.uniform(2, 6) - half, rng.uniform(-10, 12)
    fingers: list[Path2D] = [[(-half - 3, y + 2), (tip, y)] for y in (-12, 0, 12, 23)]
    fingers += [[(half + 7, 34), (half + 5, reach + 12), (half - 8, reach)]]
    front = [shape for path in fingers for shape in _finger(path, skin)]
    nails = [(_arc(x, y, 2), _blend(skin, WHITE, 0.4)) for *_, (x, y) in fingers]
    return [*arm, (_soft(palm), _shade(skin, 0.92))], front + nails


# The photo of a thing.


def photograph(rng: Generator, thing: Thing) -> Image.Image:
    """An RGBA picture of the thing, 160 to 400 pixels a side; alpha tells the thing from the background."""
    size = int(rng.integers(160, 401)), int(rng.integers(160, 401))
    ground = _pick(rng, (_gradient, _cloth, _boards, _clutter, _room))(rng, size)
    layer = _smooth(_posed(rng, thing, size), size)
    mask = layer.getchannel("A")
    _cast_shadow(rng, ground, mask)
    ground.paste(layer, mask=mask)
    picture = _lit(rng, ground, mask)
    if rng.random() < 0.4:
        picture = picture.filter(ImageFilter.GaussianBlur(rng.uniform(0.4, 1.8)))
    picture.putalpha(mask)
    return picture


def _posed(rng: Generator, thing: Thing, size: Size) -> list[Shape]:
    """Mirror, tilt and turn the thing, and fit it into the picture with some room around it."""
    flip, tilt = rng.choice((-1.0, 1.0)), rng.uniform(-0.003, 0.003, 2)
    angle = np.radians(rng.normal(0, 22) + rng.choice((0, 0, 0, 90, -90)))
    turn: Points = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])

    def pose(points: Points) -> Points:
        nearness = 1 + np.maximum(points @ tilt, -0.5)  # the limit keeps a long arm in front of the camera
        turned: Points = (points * (flip, 1) / nearness[:, None]) @ turn
        return turned

    body = pose(np.concatenate([points for points, _ in thing[1]]))
    low, high = body.min(axis=0), body.max(axis=0)
    scale = rng.uniform(0.55, 0.95) * np.min(size / (high - low))
    corner = (size - scale * (high - low)) * rng.uniform(0.15, 0.85, 2)
    return [(corner + scale * (pose(points) - low), colour) for part in thing for points, colour in part]


def _smooth(shapes: list[Shape], size: Size) -> Image.Image:
    """Paint on a larger transparent canvas and shrink it, which smooths all edges."""
    larger = size[0] * OVERSAMPLING, size[1] * OVERSAMPLING
    canvas = Image.new("RGBa", larger)  # premultiplied: clear pixels do not darken the edges
    _paint(canvas, [(points * OVERSAMPLING, colour) for points, colour in shapes])
    return canvas.reduce(OVERSAMPLING).convert("RGBA")


def _paint(canvas: Image.Image, shapes: list[Shape]) -> None:
    draw = ImageDraw.Draw(canvas)
    for points, colour in shapes:
        draw.polygon(points.ravel().tolist(), fill=colour)


def _cast_shadow(rng: Generator, ground: Image.Image, mask: Image.Image) -> None:
    blurred = mask.reduce(4).filter(ImageFilter.GaussianBlur(rng.uniform(0.5, 3))).resize(mask.size, BILINEAR)
    strength, offset = rng.uniform(0.3, 0.7), (int(rng.integers(-7, 8)), int(rng.integers(2, 11)))
    ground.paste(BLACK, offset, blurred.point(lambda level: int(level * strength)))


def _lit(rng: Generator, picture: Image.Image, mask: Image.Image) -> Image.Image:
    """Shine a light on the border of the thing, darken some sides of the picture, add sensor noise."""
    fall = np.outer(_slope(rng, picture.height), _slope(rng, picture.width))
    noise = rng.standard_normal(fall.shape, dtype=np.float32) * rng.uniform(0.5, 9)
    rim = _rim_light(rng, mask)
    bands = [((np.asarray(band) + rim) * fall + noise).clip(0, 255) for band in picture.split()]
    return Image.merge("RGB", [Image.fromarray(band.astype(np.uint8)) for band in bands])


def _slope(rng: Generator, length: int) -> Plane:
    return np.linspace(rng.uniform(0.75, 1.25), rng.uniform(0.75, 1.25), length, dtype=np.float32)


def _rim_light(rng: Generator, mask: Image.Image) -> Plane:
    """Light from one side, where the blurred mask slopes, makes the thing look round."""
    small = mask.reduce(3)
    soft = small.filter(ImageFilter.GaussianBlur(min(small.size) / 60))
    down, across = np.gradient(np.asarray(soft, dtype=np.float32))
    light = rng.uniform(0.4, 1.2) * (down + rng.uniform(-1, 1) * across)
    return np.asarray(Image.fromarray(light).resize(mask.size, BILINEAR)) * (np.asarray(mask) > 127)


# Backgrounds.


def _texture(rng: Generator, size: Size, colour: Colour, cells: Size, spread: float = 10) -> Image.Image:
    """Blurred noise around a colour: few cells make clouds, many make cloth, stretched ones make wood."""
    noise = rng.normal(0, spread, (cells[1], cells[0], 1)) + colour
    return Image.fromarray(noise.clip(0, 255).astype(np.uint8)).resize(size, BILINEAR)


def _gradient(rng: Generator, size: Size) -> Image.Image:
    corners = np.array([[_muted(rng), _muted(rng)], [_muted(rng), _muted(rng)]], dtype=np.uint8)
    return Image.fromarray(corners).resize(size, BILINEAR)


def _cloth(rng: Generator, size: Size) -> Image.Image:
    cells = int(rng.integers(8, 120))
    return _texture(rng, size, _muted(rng), (cells, cells), rng.uniform(6, 22))


def _boards(rng: Generator, size: Size) -> Image.Image:
    wood, upright = _pick(rng, WOODS), rng.random() < 0.4
    width, height = size[::-1] if upright else size
    canvas = _texture(rng, (width, height), wood, (6, 90))
    step = height / int(rng.integers(2, 6))
    seams = np.arange(step * rng.random(), height, step)
    _paint(canvas, [(_box(0, y, width, y + 1), _shade(wood, 0.5)) for y in seams])
    return canvas.transpose(Image.Transpose.ROTATE_90) if upright else canvas


def _clutter(rng: Generator, size: Size) -> Image.Image:
    canvas = _cloth(rng, size)
    for _ in range(int(rng.integers(6, 22))):
        (x, y), (u, v) = rng.uniform(0, 1, 2) * size, rng.uniform(0.04, 0.2, 2) * max(size)
        stick = _stroke([(x, y), (x + u, y + v * rng.uniform(-1, 1))], 0.3 * u)
        outline = _pick(rng, (_arc(x, y, u), _box(x, y, x + 2 * u, y + 2 * v, 0.1 * min(u, v)), stick))
        _paint(canvas, [(outline, _muted(rng))])
    return canvas.filter(ImageFilter.SMOOTH)


def _room(rng: Generator, size: Size) -> Image.Image:
    """A table in front of a wall with lights, both out of focus."""
    (width, height), canvas = size, _gradient(rng, size)
    for x, y, radius in rng.uniform((0, 0, 0.02), (1, 0.6, 0.1), (int(rng.integers(3, 14)), 3)):
        _paint(canvas, [(_arc(x * width, y * height, radius * width), _muted(rng))])
    canvas = canvas.reduce(4).filter(ImageFilter.GaussianBlur(1.5)).resize(size, BILINEAR)
    edge = int(height * rng.uniform(0.5, 0.8))
    canvas.paste(_texture(rng, (width, height - edge), _pick(rng, WOODS), (6, 40)), (0, edge))
    return canvas
