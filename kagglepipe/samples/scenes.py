"""Rooms and yards drawn by code: the backgrounds of the sample of clips."""

import colorsys

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from kagglepipe.samples.drawing import WOODS, Colour, pick, shade

Picture = NDArray[np.uint8]  # (H, W, 3), RGB

WIDTH, HEIGHT = 160, 120  # of a video
OVERSAMPLING = 2
MARGIN = 6  # of a scene around the picture, in oversampled pixels: room for the camera to shake
SCENE = HEIGHT * OVERSAMPLING + 2 * MARGIN, WIDTH * OVERSAMPLING + 2 * MARGIN  # rows, columns


def dye(rng: Generator, most: float = 0.95) -> Colour:
    """Draw a colour of cloth, its brightest channel at most `most` of white."""
    value = rng.uniform(0.2, most)
    return tuple(int(255 * level) for level in colorsys.hsv_to_rgb(rng.random(), rng.uniform(0.1, 0.85), value))


def _pale(rng: Generator) -> Colour:
    levels = colorsys.hsv_to_rgb(rng.random(), rng.uniform(0.05, 0.3), rng.uniform(0.5, 0.9))
    return tuple(int(255 * level) for level in levels)


def _surface(rng: Generator, colour: Colour, height: int, grain: tuple[int, int], spread: float) -> Picture:
    """Draw (height, …, 3) of a colour with blotches, as many as `grain` down and across."""
    blotches = rng.normal(0, spread, (*grain, 1)) + np.array(colour)
    fine = rng.normal(0, spread / 3, (height, SCENE[1], 1))
    coarse = cv2.resize(blotches.astype(np.float32), (SCENE[1], height), interpolation=cv2.INTER_CUBIC)
    return (coarse + fine).clip(0, 255).astype(np.uint8)


def _box(scene: Picture, left: float, top: float, width: float, height: float, colour: Colour) -> None:
    cv2.rectangle(scene, (int(left), int(top)), (int(left + width), int(top + height)), colour, cv2.FILLED)


def room(rng: Generator, wall: int) -> Picture:
    """Draw a wall down to the row `wall`, with a skirting and furniture, and a floor of boards or carpet."""
    scene = np.concatenate([_surface(rng, _pale(rng), wall, (5, 6), 4), _floor(rng, SCENE[0] - wall)])
    if rng.random() < 0.4:
        for x in np.arange(rng.uniform(0, 20), SCENE[1], rng.uniform(14, 34)):
            scene[:wall, int(x) : int(x) + 4] = (scene[:wall, int(x) : int(x) + 4] * 0.94).astype(np.uint8)
    for number in sorted(rng.permutation(len(FURNITURE))[:3]):  # furniture covers what hangs on the wall
        FURNITURE[number](rng, scene, wall)
    _box(scene, 0, wall - 7, SCENE[1], 7, shade(_pale(rng), 1.05))
    scene[wall + 1 : wall + 4] = (scene[wall + 1 : wall + 4] * 0.6).astype(np.uint8)
    return _lit(rng, scene)


def _floor(rng: Generator, height: int) -> Picture:
    if rng.random() < 0.35:
        return _surface(rng, _pale(rng), height, (max(height // 2, 1), SCENE[1] // 3), 12)
    floor = _surface(rng, pick(rng, WOODS), height, (height, 8), 7)
    vanishing, step = SCENE[1] * rng.uniform(0.3, 0.7), rng.uniform(16, 30)
    dark = tuple(int(level) for level in floor.mean(axis=(0, 1)) * 0.7)
    for k in range(-40, 41):
        top, foot = (int(vanishing + k * step), 0), (int(vanishing + 2.2 * k * step), height)
        cv2.line(floor, top, foot, dark, 1, cv2.LINE_AA)
    return floor


def _window(rng: Generator, scene: Picture, wall: int) -> None:
    x, y, width, height = rng.uniform(0, 240), rng.uniform(10, 30), rng.uniform(50, 90), wall * rng.uniform(0.4, 0.55)
    _box(scene, x - 4, y - 4, width + 8, height + 8, (235, 233, 228))
    _box(scene, x, y, width, height, (176, 206, 230))
    _box(scene, x, y + 0.7 * height, width, 0.3 * height, (120, 152, 96))
    _box(scene, x + width / 2 - 1, y, 3, height, (235, 233, 228))
    _box(scene, x, y + height / 2 - 1, width, 3, (235, 233, 228))


def _poster(rng: Generator, scene: Picture, wall: int) -> None:
    x, y, width, height = rng.uniform(0, 280), rng.uniform(14, 50), rng.uniform(26, 54), rng.uniform(30, 56)
    _box(scene, x - 2, y - 2, width + 4, height + 4, (58, 46, 40))
    _box(scene, x, y, width, height, _pale(rng))
    for _ in range(4):
        centre = int(x + width * rng.uniform(0.25, 0.75)), int(y + height * rng.uniform(0.25, 0.75))
        cv2.circle(scene, centre, int(width * rng.uniform(0.08, 0.2)), dye(rng), cv2.FILLED, cv2.LINE_AA)


def _door(rng: Generator, scene: Picture, wall: int) -> None:
    x, width, top, colour = rng.uniform(0, 270), rng.uniform(52, 64), wall * 0.16, _pale(rng)
    _box(scene, x - 4, top - 4, width + 8, wall - top + 4, shade(colour, 0.7))
    _box(scene, x, top, width, wall - top, colour)
    for y in (0.08, 0.55):
        _box(scene, x + 8, top + y * (wall - top), width - 16, 0.36 * (wall - top), shade(colour, 0.88))
    cv2.circle(scene, (int(x + width - 6), int(top + 0.52 * (wall - top))), 3, (90, 80, 60), cv2.FILLED, cv2.LINE_AA)


def _shelf(rng: Generator, scene: Picture, wall: int) -> None:
    x, width, top, wood = rng.uniform(0, 260), rng.uniform(50, 90), wall * rng.uniform(0.3, 0.5), pick(rng, WOODS)
    _box(scene, x, top, width, wall - top, shade(wood, 0.55))
    rows = int(rng.integers(2, 4))
    for row in range(rows):
        y, high, at = top + (wall - top) * row / rows, (wall - top) / rows, x + 4
        while at < x + width - 10:
            thick, tall = rng.uniform(4, 9), high * rng.uniform(0.5, 0.8)
            _box(scene, at, y + high - tall, thick, tall, dye(rng))
            at += thick + 1 + (rng.random() < 0.15) * 10
        _box(scene, x, y + high - 3, width, 3, wood)
    _box(scene, x, top - 3, width, 3, wood)


def _plant(rng: Generator, scene: Picture, wall: int) -> None:
    x, pot = rng.uniform(20, 310), 20
    for angle in rng.uniform(-1.2, 1.2, 12):
        centre, axes = (int(x + 26 * np.sin(angle)), int(wall - pot - 28 * np.cos(angle))), (16, 5)
        green = (int(rng.uniform(30, 70)), int(rng.uniform(90, 140)), int(rng.uniform(30, 70)))
        cv2.ellipse(scene, centre, axes, float(np.degrees(angle)) - 90, 0, 360, green, cv2.FILLED, cv2.LINE_AA)
    _box(scene, x - 10, wall - pot, 20, pot + 4, (150, 84, 56))


FURNITURE = (_window, _poster, _door, _shelf, _plant)


def yard(rng: Generator, wall: int) -> Picture:
    """Draw sky and trees, a hedge, a fence or bricks down to the row `wall`, and grass or gravel."""
    sky = np.array([[(110, 150, 205)], [(205, 220, 235)]], np.float32) * rng.uniform(0.85, 1.1)
    sky = cv2.resize(sky, (SCENE[1], wall), interpolation=cv2.INTER_LINEAR)
    clouds = cv2.resize(rng.normal(0, 22, (5, 8)).astype(np.float32), (SCENE[1], wall), interpolation=cv2.INTER_CUBIC)
    above = (sky + np.maximum(clouds, 0)[..., None]).clip(0, 255).astype(np.uint8)
    colour = pick(rng, ((92, 128, 62), (128, 132, 78), (158, 146, 126)))
    below = _surface(rng, colour, SCENE[0] - wall, ((SCENE[0] - wall) // 2, SCENE[1] // 4), 13)
    scene = np.concatenate([above, below])
    for _ in range(int(rng.integers(1, 4))):
        _tree(rng, scene, wall)
    pick(rng, (_hedge, _fence, _bricks))(rng, scene, wall)
    return _lit(rng, scene)


def _tree(rng: Generator, scene: Picture, wall: int) -> None:
    x, top = rng.uniform(0, SCENE[1]), wall * rng.uniform(0.2, 0.5)
    _box(scene, x - 5, top, 10, wall - top, (84, 62, 46))
    for _ in range(26):
        at = int(x + rng.normal(0, 22)), int(top + rng.normal(0, 15))
        green = (int(rng.uniform(40, 80)), int(rng.uniform(80, 135)), int(rng.uniform(35, 65)))
        cv2.circle(scene, at, int(rng.uniform(7, 16)), green, cv2.FILLED, cv2.LINE_AA)


def _hedge(rng: Generator, scene: Picture, wall: int) -> None:
    top = int(wall * rng.uniform(0.55, 0.75))
    scene[top:wall] = _surface(rng, (58, 92, 48), wall - top, ((wall - top) // 5, SCENE[1] // 6), 18)


def _fence(rng: Generator, scene: Picture, wall: int) -> None:
    top, step, wood = wall * rng.uniform(0.5, 0.7), rng.uniform(16, 24), pick(rng, WOODS)
    for y in (0.25, 0.75):
        _box(scene, 0, top + y * (wall - top) - 3, SCENE[1], 6, shade(wood, 0.7))
    for x in np.arange(rng.uniform(-10, 0), SCENE[1], step):
        _box(scene, x, top, step - 5, wall - top, shade(wood, rng.uniform(0.88, 1.05)))


def _bricks(rng: Generator, scene: Picture, wall: int) -> None:
    top, colour = int(wall * rng.uniform(0.1, 0.5)), _pale(rng)
    scene[top:wall] = _surface(rng, shade(colour, 0.75), wall - top, (6, 8), 4)
    for row, y in enumerate(range(top, wall - 6, 8)):
        for x in range(-10 * (row % 2), SCENE[1], 20):
            _box(scene, x, y, 17, 6, shade(colour, rng.uniform(0.85, 1.0)))


def _lit(rng: Generator, scene: Picture) -> Picture:
    """Blur the scene slightly, brighten one side and darken the corners."""
    across, down = np.linspace(-1, 1, SCENE[1]), np.linspace(-1, 1, SCENE[0])[:, None]
    light = 1 + rng.uniform(-0.15, 0.15) * across - 0.1 * (across**2 + down**2)
    soft = cv2.GaussianBlur(scene, (0, 0), rng.uniform(0.8, 1.8))
    return (soft * light[..., None]).clip(0, 255).astype(np.uint8)
