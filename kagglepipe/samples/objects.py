"""Pistols and smartphones, drawn by code.

An object is a list of filled outlines, about a hundred units long.
"""

from collections.abc import Callable

import numpy as np
from numpy.random import Generator

from kagglepipe.samples.drawing import (
    GLASS,
    SILVER,
    SKINS,
    WHITE,
    Colour,
    Path2D,
    Shape,
    arc,
    blend,
    box,
    colours,
    pick,
    shade,
    soft,
    stroke,
    vivid,
)

Layers = tuple[list[Shape], list[Shape], list[Shape]]  # behind the object, the object itself, in front of it
Screen = tuple[float, float, float, float]  # left, top, right, bottom
Grip = Callable[[float, float], tuple[float, float]]  # (across, down) from 0 to 1 -> a point of the handle

METALS = colours("26272b 3e4046 5c6068 a8acb2 c6c8cc 8c7c60 545844")
HANDLES = colours("1e1e20 343438 6e4426 8c5a34 54321e 968468 cec4b0")
CASES = colours("1c1c20 3c3f46 e2e2e6 babec6 34507a d6aca0 96262e")


def pistol(rng: Generator) -> Layers:
    """Draw an automatic or a revolver, sometimes in a hand."""
    rake, length = rng.uniform(-20, -5), rng.uniform(40, 52)

    def grip(across: float, down: float) -> tuple[float, float]:
        return -46 + 27 * across + rake * down, 20 + length * down

    body = _revolver if rng.random() < 0.3 else _automatic
    hand = _hand_on_grip(rng, grip) if rng.random() < 0.35 else []
    return [], body(rng, grip), hand


def _automatic(rng: Generator, grip: Grip) -> list[Shape]:
    metal, handle = pick(rng, METALS), pick(rng, HANDLES)
    dark, light, frame = shade(metal, 0.55), shade(metal, 1.3), pick(rng, (metal, handle))
    top, nose, rest = rng.uniform(0, 4), rng.uniform(20, 48), rng.uniform(1, 14)
    muzzle = 18 if rng.random() < 0.3 else rng.uniform(34, 50)  # a short slide shows the barrel
    ribs = np.linspace(-45, -30, int(rng.integers(5, 9)))
    return [
        (box(muzzle - 10, top + 3, max(muzzle + rest, 42), 12, 1), dark),
        (stroke([(-48, 12), (-53, 8), (-54, 3)], 3.5), dark),
        *_handle(rng, grip, handle),
        (soft([(-55, 17), (-50, 18), (nose, 16), (nose, 24), (12, 27), (-30, 30)]), frame),
        (box(-46, 16, min(nose, muzzle) - 2, 23, 1), frame),
        *_trigger(frame, dark),
        (box(-50, top, muzzle, 18, 2), metal),
        (box(-48, top + 1, muzzle - 2, top + 3.5, 1), light),
        (box(-50, 16.5, muzzle, 18), dark),
        (box(-48, top - 3, -42, top), dark),
        (box(muzzle - 6, top - 2.5, muzzle - 2, top), dark),
        (box(-10, top + 2, 8, top + 7.5, 1), pick(rng, (dark, light))),
        *[(stroke([(x, top + 4), (x - 2, 15)], 1), dark) for x in ribs],
    ]


def _revolver(rng: Generator, grip: Grip) -> list[Shape]:
    metal, handle = pick(rng, METALS), pick(rng, HANDLES)
    dark, light = shade(metal, 0.55), shade(metal, 1.3)
    muzzle, low = rng.uniform(28, 62), rng.uniform(10, 13)
    return [
        (stroke([(-36, 12), (-44, 2), (-50, 1)], 4), dark),
        *_handle(rng, grip, handle),
        (box(0, 2, muzzle, low, 1.5), metal),
        (box(2, 3, muzzle - 1, 5, 0.8), light),
        (stroke([(2, low + 3), (muzzle * rng.uniform(0.55, 0.95), low + 3)], 4.5), dark),
        (soft([(muzzle - 10, 2), (muzzle - 3, -5), (muzzle - 2, 2)]), dark),
        (soft([(-48, 30), (-36, -6), (10, -3), (10, 16), (17, 32), (-20, 33)]), metal),
        *_trigger(metal, dark),
        (box(-24.5, 0.5, 3.5, 26.5, 4), dark),
        (box(-23.5, 1.5, 2.5, 25.5, 3.5), shade(metal, 1.12)),
        *[(stroke([(-12, y), (2, y)], 3), shade(metal, 0.75)) for y in (6.5, 13.5, 20.5)],
    ]


def _handle(rng: Generator, grip: Grip, colour: Colour) -> list[Shape]:
    dark = shade(colour, 0.65)
    side = [(0, -0.2), (1, -0.2), (1, 0.3), (1.04, 0.75), (1.1, 1), (-0.1, 1.04), (-0.06, 0.7), (0.1, 0.2)]
    shapes = [(stroke([grip(0.05, 1), grip(1, 0.98)], 5), dark), (soft([grip(*at) for at in side]), colour)]
    if rng.random() < 0.5:
        ribs = [stroke([grip(0.2, down), grip(0.85, down)], 1.2) for down in np.linspace(0.3, 0.85, 7)]
        return shapes + [(rib, dark) for rib in ribs]
    panel = soft([grip(0.2, 0.2), grip(0.85, 0.2), grip(0.9, 0.9), grip(0.1, 0.9)])
    return [*shapes, (panel, shade(colour, 1.2)), (arc(*grip(0.5, 0.55), 2), dark)]


def _trigger(frame: Colour, dark: Colour) -> list[Shape]:
    guard, trigger = stroke(arc(-3, 25, 15, -10, 190), 3.5), stroke([(-6, 26), (-5, 32), (-1, 37)], 3)
    return [(guard, frame), (trigger, dark)]


def _hand_on_grip(rng: Generator, grip: Grip) -> list[Shape]:
    skin, sleeve, elbow = pick(rng, SKINS), vivid(rng), (-220, rng.uniform(80, 140))
    palm = [grip(-0.35, 0), grip(0.4, -0.02), grip(0.75, 0.4), grip(0.5, 0.95), (-80, 80), (-80, 42)]
    arm = [(stroke([(-75, 62), elbow], 34), sleeve), (stroke([(-60, 50), (-75, 62)], 26), skin)]
    fingers = [
        *[[grip(0.3, down + 0.04), grip(0.8, down), grip(1.1, down + 0.03)] for down in (0.74, 0.48, 0.22)],
        [grip(0.4, 0.1), (-14, 29), (-3, 33)],
        [grip(-0.3, 0.25), grip(0.2, -0.02), grip(0.7, -0.06)],
    ]
    return [*arm, (soft(palm), skin), *[shape for path in fingers for shape in _finger(path, skin)]]


def _finger(path: Path2D, skin: Colour) -> list[Shape]:
    return [(stroke(path, 11), shade(skin, 0.72)), (stroke(path, 9.4), skin)]


# Smartphones.


def smartphone(rng: Generator) -> Layers:
    """Draw a slab seen from the front or the back, sometimes in a hand."""
    half, radius, depth = rng.uniform(22, 28), rng.uniform(2, 8), rng.uniform(0.6, 3)
    case = pick(rng, CASES)
    face = _back if rng.random() < 0.3 else _front
    keys = [box(half - 1, top, half + depth + 1.2, top + high, 0.8) for top, high in ((-30, 12), (-12, 6))]
    rim = box(depth - half, depth - 50, half + depth, 50 + depth, radius)
    shapes = [
        *[(outline, shade(case, 0.6)) for outline in (*keys, rim)],
        (box(-half, -50, half, 50, radius), shade(case, 1.2)),
        (box(0.8 - half, -49.2, half - 0.8, 49.2, radius), case),
        *face(rng, half, radius, case),
    ]
    behind, front = _hand_on_slab(rng, half) if rng.random() < 0.35 else ([], [])
    return behind, shapes, front


def _back(rng: Generator, half: float, radius: float, case: Colour) -> list[Shape]:
    size, lens = rng.uniform(16, 22), rng.uniform(3, 4.2)
    left, top = pick(rng, (3 - half, -size / 2)), -47
    places = pick(rng, (((0.3, 0.3), (0.3, 0.7), (0.7, 0.5)), ((0.3, 0.3), (0.3, 0.7)), ((0.3, 0.5), (0.7, 0.5))))
    shapes = [
        (box(left, top, left + size, top + size, 4), shade(case, 0.75)),
        (box(left + 0.6, top + 0.6, left + size - 0.6, top + size - 0.6, 3.6), shade(case, 0.9)),
        (arc(left + size * 0.75, top + size * 0.2, 1.2), WHITE),
        (arc(0, 2, 3.8), shade(case, 0.8)),
    ]
    for x, y in [(left + size * across, top + size * down) for across, down in places]:
        shapes += [(arc(x, y, lens), shade(case, 0.5)), (arc(x, y, lens * 0.8), GLASS)]
        shapes += [(arc(x, y, lens * 0.45), (40, 48, 84)), (arc(x - 1, y - 1, 0.6), WHITE)]
    return shapes


def _front(rng: Generator, half: float, radius: float, case: Colour) -> list[Shape]:
    old = rng.random() < 0.35  # a home button below a shorter screen
    edge, corner = (10, 0.4) if old else (2.2, max(radius - 1.5, 0.4))
    glass = pick(rng, (case, GLASS)) if old else GLASS
    screen = left, top, right, bottom = 1.7 - half, edge - 50, half - 1.7, 50 - edge
    start, end, content = vivid(rng), vivid(rng), pick(rng, (_icons, _icons, _chat, _lock, _off))
    bands = [(top + (bottom - top) * share, blend(start, end, share)) for share in np.linspace(0, 0.85, 12)]
    button = [(arc(0, 45, 3.4), shade(case, 0.7)), (arc(0, 45, 2.7), glass)] if old else []
    return [
        (box(1.2 - half, -48.8, half - 1.2, 48.8, radius), glass),
        *[(box(left, y, right, bottom, corner), colour) for y, colour in bands],
        *content(rng, screen),
        (stroke([(-3.5, edge / 2 - 49.8), (3.5, edge / 2 - 49.8)], 1.2), (50, 50, 56)),
        *button,
    ]


def _icons(rng: Generator, screen: Screen) -> list[Shape]:
    left, top, right, bottom = screen
    cell = (right - left) / 4
    rows = [*(top + 10 + cell * 1.2 * np.arange(rng.integers(3, 6))), bottom - 7]
    places = [(left + cell * (column + 0.5), y) for y in rows for column in range(4)]
    side = cell * 0.34
    return [
        (box(left + 1, bottom - 12.5, right - 1, bottom - 1.5, 3), SILVER),
        *[(box(x - side, y - side, x + side, y + side, side / 2), vivid(rng)) for x, y in places],
        *[(arc(x, y, side * 0.45), WHITE) for x, y in places],
    ]


def _chat(rng: Generator, screen: Screen) -> list[Shape]:
    left, top, right, bottom = screen
    shapes = [(box(left, top + 8, right, bottom - 1.5, 1.5), WHITE)]
    shapes += [(stroke([(left + 5, bottom - 5), (right - 5, bottom - 5)], 5), SILVER)]
    mine = vivid(rng)
    for y in np.arange(top + 13, bottom - 14, 10):
        width, sent = rng.uniform(12, 26), rng.random() < 0.5
        x = right - 3 - width if sent else left + 3
        shapes.append((box(x, y, x + width, y + 7, 3), mine if sent else SILVER))
    return shapes


def _lock(rng: Generator, screen: Screen) -> list[Shape]:
    left, top, right, bottom = screen
    across = np.linspace(left, right, 16)
    hills = bottom - rng.uniform(25, 45) - 4 * np.sin(across * rng.uniform(0.08, 0.2))
    foot = [(right, bottom - 3), (right - 3, bottom), (left + 3, bottom), (left, bottom - 3)]
    return [
        (np.concatenate([np.column_stack([across, hills]), foot]), vivid(rng)),
        *[(box(x, top + 13, x + 4.5, top + 23, 1.5), WHITE) for x in (-13, -7, 3, 9)],
        (stroke([(-8, top + 27), (8, top + 27)], 1.8), WHITE),
    ]


def _off(rng: Generator, screen: Screen) -> list[Shape]:
    left, top, right, bottom = screen
    x, width = rng.uniform(left + 10, right - 10), rng.uniform(3, 10)
    glare = np.array([(x, top), (x + width, top), (x + width - 10, bottom), (x - 10, bottom)])
    return [(box(*screen, 1), (22, 23, 28)), (glare.clip((left, top), (right, bottom)), (52, 55, 64))]


def _hand_on_slab(rng: Generator, half: float) -> tuple[list[Shape], list[Shape]]:
    skin, sleeve, elbow = pick(rng, SKINS), vivid(rng), (rng.uniform(-20, 50), 240)
    palm = [(2 - half, -5), (half, -10), (half + 12, 10), (half + 10, 45), (20, 70), (-16, 66)]
    arm = [(stroke([(5, 90), elbow], 44), sleeve), (stroke([(5, 50), (6, 95)], 34), shade(skin, 0.9))]
    tip, reach = rng.uniform(2, 6) - half, rng.uniform(-10, 12)
    fingers: list[Path2D] = [[(-half - 3, y + 2), (tip, y)] for y in (-12, 0, 12, 23)]
    fingers += [[(half + 7, 34), (half + 5, reach + 12), (half - 8, reach)]]
    front = [shape for path in fingers for shape in _finger(path, skin)]
    nails = [(arc(x, y, 2), blend(skin, WHITE, 0.4)) for *_, (x, y) in fingers]
    return [*arm, (soft(palm), shade(skin, 0.92))], front + nails
