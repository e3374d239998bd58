"""Photos of drawn objects: a pose, a background, a shadow, uneven light, blur and sensor noise."""

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from kagglepipe.samples.drawing import BLACK, WOODS, Colour, Points, Shape, arc, blend, box, pick, shade, stroke, vivid
from kagglepipe.samples.objects import Layers

Size = tuple[int, int]  # width, height
Plane = NDArray[np.float32]  # (height, width)

OVERSAMPLING = 2
BILINEAR = Image.Resampling.BILINEAR


def photograph(rng: Generator, layers: Layers) -> Image.Image:
    """Take an RGBA photo of an object, 160 to 400 pixels a side; alpha is the object's mask."""
    size = int(rng.integers(160, 401)), int(rng.integers(160, 401))
    picture = pick(rng, (_gradient, _cloth, _boards, _clutter, _room))(rng, size)
    canvas = Image.new("RGBa", (size[0] * OVERSAMPLING, size[1] * OVERSAMPLING))  # premultiplied: edges stay light
    _paint(canvas, [(points * OVERSAMPLING, colour) for points, colour in _posed(rng, layers, size)])
    layer = canvas.reduce(OVERSAMPLING).convert("RGBA")
    mask = layer.getchannel("A")
    _cast_shadow(rng, picture, mask)
    picture.paste(layer, mask=mask)
    picture = _lit(rng, picture, mask)
    if rng.random() < 0.4:
        picture = picture.filter(ImageFilter.GaussianBlur(rng.uniform(0.4, 1.8)))
    picture.putalpha(mask)
    return picture


def _posed(rng: Generator, layers: Layers, size: Size) -> list[Shape]:
    """Mirror, tilt and turn the object, and fit it into the picture with some room around it."""
    flip, tilt = rng.choice((-1.0, 1.0)), rng.uniform(-0.003, 0.003, 2)
    angle = np.radians(rng.normal(0, 22) + rng.choice((0, 0, 0, 90, -90)))
    turn: Points = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])

    def pose(points: Points) -> Points:
        nearness = 1 + np.maximum(points @ tilt, -0.5)  # the limit keeps a long arm in front of the camera
        turned: Points = (points * (flip, 1) / nearness[:, None]) @ turn
        return turned

    body = pose(np.concatenate([points for points, _ in layers[1]]))
    low, high = body.min(axis=0), body.max(axis=0)
    scale = rng.uniform(0.55, 0.95) * np.min(size / (high - low))
    corner = (size - scale * (high - low)) * rng.uniform(0.15, 0.85, 2)
    return [(corner + scale * (pose(points) - low), colour) for layer in layers for points, colour in layer]


def _paint(canvas: Image.Image, shapes: list[Shape]) -> None:
    draw = ImageDraw.Draw(canvas)
    for points, colour in shapes:
        draw.polygon(points.ravel().tolist(), fill=colour)


def _cast_shadow(rng: Generator, picture: Image.Image, mask: Image.Image) -> None:
    blurred = mask.reduce(4).filter(ImageFilter.GaussianBlur(rng.uniform(0.5, 3))).resize(mask.size, BILINEAR)
    strength, offset = rng.uniform(0.3, 0.7), (int(rng.integers(-7, 8)), int(rng.integers(2, 11)))
    picture.paste(BLACK, offset, blurred.point(lambda level: int(level * strength)))


def _lit(rng: Generator, picture: Image.Image, mask: Image.Image) -> Image.Image:
    """Light the rim of the object, darken some sides of the picture, add sensor noise."""

    def slope(length: int) -> Plane:
        return np.linspace(rng.uniform(0.75, 1.25), rng.uniform(0.75, 1.25), length, dtype=np.float32)

    fall = np.outer(slope(picture.height), slope(picture.width))
    noise = rng.standard_normal(fall.shape, dtype=np.float32) * rng.uniform(0.5, 9)
    small = mask.reduce(3)
    blurred = small.filter(ImageFilter.GaussianBlur(min(small.size) / 60))
    down, across = np.gradient(np.asarray(blurred, dtype=np.float32))  # light from one side makes an object look round
    rim = Image.fromarray(rng.uniform(0.4, 1.2) * (down + rng.uniform(-1, 1) * across)).resize(mask.size, BILINEAR)
    light = np.asarray(rim) * (np.asarray(mask) > 127)
    bands = [((np.asarray(band) + light) * fall + noise).clip(0, 255) for band in picture.split()]
    return Image.merge("RGB", [Image.fromarray(band.astype(np.uint8)) for band in bands])


# --- backgrounds ------------------------------------------------------------------------------------------------


def _muted(rng: Generator) -> Colour:
    return blend(vivid(rng), (int(rng.integers(70, 235)),) * 3, 0.65)


def _texture(rng: Generator, size: Size, colour: Colour, cells: Size, spread: float = 10) -> Image.Image:
    """Draw blurred noise around a colour: few cells make clouds, many make cloth, stretched ones make wood."""
    noise = rng.normal(0, spread, (cells[1], cells[0], 1)) + colour
    return Image.fromarray(noise.clip(0, 255).astype(np.uint8)).resize(size, BILINEAR)


def _gradient(rng: Generator, size: Size) -> Image.Image:
    corners = np.array([[_muted(rng), _muted(rng)], [_muted(rng), _muted(rng)]], dtype=np.uint8)
    return Image.fromarray(corners).resize(size, BILINEAR)


def _cloth(rng: Generator, size: Size) -> Image.Image:
    cells = int(rng.integers(8, 120))
    return _texture(rng, size, _muted(rng), (cells, cells), rng.uniform(6, 22))


def _boards(rng: Generator, size: Size) -> Image.Image:
    wood, upright = pick(rng, WOODS), rng.random() < 0.4
    width, height = size[::-1] if upright else size
    canvas = _texture(rng, (width, height), wood, (6, 90))
    step = height / int(rng.integers(2, 6))
    seams = np.arange(step * rng.random(), height, step)
    _paint(canvas, [(box(0, y, width, y + 1), shade(wood, 0.5)) for y in seams])
    return canvas.transpose(Image.Transpose.ROTATE_90) if upright else canvas


def _clutter(rng: Generator, size: Size) -> Image.Image:
    canvas = _cloth(rng, size)
    for _ in range(int(rng.integers(6, 22))):
        (x, y), (u, v) = rng.uniform(0, 1, 2) * size, rng.uniform(0.04, 0.2, 2) * max(size)
        stick = stroke([(x, y), (x + u, y + v * rng.uniform(-1, 1))], 0.3 * u)
        outline = pick(rng, (arc(x, y, u), box(x, y, x + 2 * u, y + 2 * v, 0.1 * min(u, v)), stick))
        _paint(canvas, [(outline, _muted(rng))])
    return canvas.filter(ImageFilter.SMOOTH)


def _room(rng: Generator, size: Size) -> Image.Image:
    """Draw a table in front of a wall with lights, both out of focus."""
    (width, height), canvas = size, _gradient(rng, size)
    for x, y, radius in rng.uniform((0, 0, 0.02), (1, 0.6, 0.1), (int(rng.integers(3, 14)), 3)):
        _paint(canvas, [(arc(x * width, y * height, radius * width), _muted(rng))])
    canvas = canvas.reduce(4).filter(ImageFilter.GaussianBlur(1.5)).resize(size, BILINEAR)
    edge = int(height * rng.uniform(0.5, 0.8))
    canvas.paste(_texture(rng, (width, height - edge), pick(rng, WOODS), (6, 40)), (0, edge))
    return canvas
