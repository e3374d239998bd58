"""People drawn by code who move in front of a scene: the frames of the sample of clips.

A person is a skeleton in metres; a camera looks at it slightly from above; every part of the body is the hull of a few
balls.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from kagglepipe.samples.drawing import SKINS, Colour, colours, pick, shade
from kagglepipe.samples.motions import FPS, LEAN, LIFT, NOD, POINT, SWAY, TILT, YAW, Track, X, limb
from kagglepipe.samples.scenes import HEIGHT, MARGIN, OVERSAMPLING, WIDTH, Picture, dye, room, yard

Floats = NDArray[np.float64]
Outline = NDArray[np.int32]  # (n, points, 2) in OpenCV's fixed point
Balls = tuple[tuple[str, float], ...]  # joint, radius in body heights
Skeleton = dict[str, Floats]  # joint -> (n, 3) metres: x to the right of the picture, y up, z to the camera

HAIRS = colours("201814 422c1c 704c2a b08c54 969492 78301a")
DARK = (30, 26, 30)
SIDES = ("left", "right")
GROUND_RADII = {"head": 0.1} | {  # metres, of the joints that may touch the ground
    f"{side}_{joint}": radius
    for joint, radius in (
        ("shoulder", 0.08), ("hip", 0.09), ("elbow", 0.05), ("hand", 0.04), ("knee", 0.06), ("ankle", 0.06),
        ("toe", 0.035),
    )
    for side in SIDES
}  # fmt: skip


@dataclass(frozen=True)
class Actor:
    """A dressed person in a place, seen by a camera. Lengths in metres; colours RGB.

    height: 1.5 to 1.95. build: width, 1 is usual. legs: their share of the height. scene: the place, larger than a
    picture by MARGIN on all sides. scale: oversampled pixels a metre. ground: row where feet stand, from the top of
    the scene. wall: row where the floor ends. elevation: the camera's, in radians. light: length of a shadow (x, z)
    for a metre of height.
    """

    height: float
    build: float
    legs: float
    skin: Colour
    hair: Colour
    shirt: Colour
    scarf: Colour
    trousers: Colour
    shoes: Colour
    short_sleeves: bool
    shorts: bool
    long_hair: bool
    scene: Picture
    scale: float
    ground: float
    wall: int
    elevation: float
    light: tuple[float, float]

    @property
    def reach(self) -> float:
        """Largest distance from the middle, in metres, at which the actor is in the picture."""
        return WIDTH * OVERSAMPLING / 2 / self.scale - 0.55


def make_actor(rng: Generator) -> Actor:
    """Draw a person and a place."""
    scale, elevation = OVERSAMPLING * rng.uniform(31, 39), np.radians(rng.uniform(9, 17))
    ground = MARGIN + OVERSAMPLING * HEIGHT * rng.uniform(0.82, 0.88)
    wall = int(ground - scale * np.sin(elevation) * rng.uniform(1.2, 2.2))
    place = pick(rng, (room, yard))
    shirt = dye(rng)
    return Actor(
        height=rng.uniform(1.5, 1.95),
        build=rng.uniform(0.85, 1.3),
        legs=rng.uniform(0.46, 0.51),
        skin=pick(rng, SKINS),
        hair=pick(rng, HAIRS),
        shirt=shirt,
        scarf=dye(rng) if rng.random() < 0.4 else shirt,
        trousers=dye(rng, most=0.65),
        shoes=dye(rng, most=0.5),
        short_sleeves=bool(rng.random() < 0.5),
        shorts=bool(rng.random() < 0.3),
        long_hair=bool(rng.random() < 0.4),
        scene=place(rng, wall),
        scale=scale,
        ground=ground,
        wall=wall,
        elevation=float(elevation),
        light=(rng.uniform(-0.5, 0.5), rng.uniform(-0.45, -0.1)),
    )


# --- skeletons --------------------------------------------------------------------------------------------------


def skeleton(actor: Actor, track: Track) -> Skeleton:
    """Compute the joints of an actor in each frame of a track; y = 0 is the ground."""
    joints = _stand_on_ground(_limbs(actor, track))
    tilt, yaw = np.radians(track[:, TILT]), np.radians(track[:, YAW])
    joints = _stand_on_ground({name: _turned(at, tilt, 1, 2) for name, at in joints.items()})
    joints = {name: _turned(at, yaw, 2, 0) for name, at in joints.items()}
    return {name: at + np.stack([track[:, X], track[:, LIFT], 0 * yaw], axis=1) for name, at in joints.items()}


def _turned(points: Floats, angle: Floats, start: int, end: int) -> Floats:
    """Turn points (n, 3) from the axis `start` towards the axis `end`."""
    turned, cos, sin = points.copy(), np.cos(angle), np.sin(angle)
    turned[:, start] = cos * points[:, start] - sin * points[:, end]
    turned[:, end] = sin * points[:, start] + cos * points[:, end]
    return turned


def _stand_on_ground(joints: Skeleton) -> Skeleton:
    lowest = np.min([joints[name][:, 1] - radius for name, radius in GROUND_RADII.items()], axis=0)
    down = np.stack([0 * lowest, lowest, 0 * lowest], axis=1)
    return {name: at - down for name, at in joints.items()}


def _direction(raised: Floats, spread: Floats, side: float) -> Floats:
    """(n, 3) unit vectors along a limb, which hangs down at 0, 0; angles (n,) in degrees."""
    a, b = np.radians(raised), np.radians(spread)
    return np.stack([side * np.sin(b), -np.cos(b) * np.cos(a), np.cos(b) * np.sin(a)], axis=1)


def _limbs(actor: Actor, track: Track) -> Skeleton:
    """Compute the joints from the hip, for a body that faces the camera: its left is at x > 0."""
    tall, leg = actor.height, actor.height * actor.legs
    torso, head, arm = 0.8 * (tall - leg) - 0.085 * tall, 0.066 * tall, 0.172 * tall
    wide = tall * (0.6 + 0.4 * actor.build)
    zero = np.zeros(len(track))
    spine = -_direction(-track[:, LEAN], track[:, SWAY], -1.0)
    look = _direction(90 - track[:, LEAN] - track[:, NOD], zero, 1.0)
    crown = -_direction(-track[:, LEAN] - track[:, NOD], zero, 1.0)
    left = np.stack([np.cos(np.radians(track[:, SWAY])), -np.sin(np.radians(track[:, SWAY])), zero], axis=1)
    joints = {"hip": np.zeros((len(track), 3)), "waist": 0.3 * torso * spine, "chest": 0.8 * torso * spine}
    joints["neck"] = torso * spine
    joints["head"] = joints["neck"] + 1.6 * head * crown
    joints["face"] = joints["head"] + 0.3 * head * look - 0.18 * head * crown
    joints["nape"] = joints["head"] - 0.35 * head * look - 0.7 * head * crown
    for name, side in zip(SIDES, (1.0, -1.0), strict=True):
        angles = {part: track[:, limb(f"{name}_{part}")].T for part in ("arm", "forearm", "thigh", "shin")}
        ways = {part: _direction(raised, spread, side) for part, (raised, spread) in angles.items()}
        toe = _direction(angles["shin"][0] + 90 - track[:, POINT], 0.2 * angles["shin"][1], side)
        joints[f"{name}_eye"] = joints["head"] + head * (0.93 * look - 0.02 * crown + 0.36 * side * left)
        joints[f"{name}_shoulder"] = 0.93 * torso * spine + 0.098 * wide * side * left
        joints[f"{name}_waist"] = 0.12 * torso * spine + 0.055 * wide * side * left
        joints[f"{name}_elbow"] = joints[f"{name}_shoulder"] + arm * ways["arm"]
        joints[f"{name}_wrist"] = joints[f"{name}_elbow"] + 0.82 * arm * ways["forearm"]
        joints[f"{name}_hand"] = joints[f"{name}_elbow"] + 1.03 * arm * ways["forearm"]
        joints[f"{name}_hip"] = np.tile([0.052 * wide * side, 0, 0], (len(track), 1))
        joints[f"{name}_knee"] = joints[f"{name}_hip"] + 0.5 * leg * ways["thigh"]
        joints[f"{name}_ankle"] = joints[f"{name}_knee"] + 0.46 * leg * ways["shin"]
        joints[f"{name}_toe"] = joints[f"{name}_ankle"] + 0.09 * tall * toe - 0.02 * tall * np.array([0, 1, 0])
    return joints


# --- frames -----------------------------------------------------------------------------------------------------


class Part(NamedTuple):
    """Hull of some balls. nearer: metres added to its depth, so that it covers parts as far from the camera."""

    balls: Balls
    colour: Colour
    nearer: float = 0.0


STEPS = np.linspace(0, 2 * np.pi, 14, endpoint=False)
CIRCLE = np.stack([np.cos(STEPS), np.sin(STEPS)], axis=1)
BITS = 4  # of a pixel, in OpenCV's fixed point
FROM_LIGHT = np.array([-0.2, -0.22])  # centre of the lit side, in radii


def _both(joint: str, radius: float) -> Balls:
    return tuple((f"{side}_{joint}", radius) for side in SIDES)


def _parts(actor: Actor) -> list[Part]:
    fat, skin, shirt, trousers = actor.build, actor.skin, actor.shirt, actor.trousers
    sleeve, leg = skin if actor.short_sleeves else shirt, skin if actor.shorts else trousers
    parts = [
        Part((("chest", 0.034), ("neck", 0.032), ("head", 0.03)), skin),
        Part((*_both("hip", 0.05 * fat), ("waist", 0.05 * fat)), trousers),
        Part((*_both("shoulder", 0.04 * fat), *_both("waist", 0.045 * fat)), shirt, nearer=0.02),
        Part((("head", 0.07),), actor.hair),
        Part((("face", 0.057),), skin),
    ]
    if actor.scarf != shirt:
        parts.append(Part((("chest", 0.04), *_both("shoulder", 0.012)), actor.scarf, nearer=0.06))
    if actor.long_hair:
        parts.append(Part((("head", 0.062), ("nape", 0.055)), actor.hair))
    for side in SIDES:
        parts += [
            Part(((f"{side}_eye", 0.0065),), DARK),
            Part(((f"{side}_shoulder", 0.037 * fat), (f"{side}_elbow", 0.029 * fat)), shirt),
            Part(((f"{side}_elbow", 0.027 * fat), (f"{side}_wrist", 0.021 * fat)), sleeve),
            Part(((f"{side}_wrist", 0.02), (f"{side}_hand", 0.026)), skin),
            Part(((f"{side}_hip", 0.052 * fat), (f"{side}_knee", 0.037 * fat)), trousers),
            Part(((f"{side}_knee", 0.036 * fat), (f"{side}_ankle", 0.025 * fat)), leg),
            Part(((f"{side}_ankle", 0.029), (f"{side}_toe", 0.023)), actor.shoes),
        ]
    return parts


SHADOWS: tuple[Balls, ...] = (  # parts that cast one
    (*_both("shoulder", 0.05), *_both("hip", 0.06)),
    (("neck", 0.03), ("head", 0.07)),
    *(
        ((f"{side}_{upper}", radius), (f"{side}_{lower}", end))
        for upper, radius, lower, end in (
            ("shoulder", 0.035, "elbow", 0.03), ("elbow", 0.03, "hand", 0.025), ("hip", 0.055, "knee", 0.04),
            ("knee", 0.04, "toe", 0.04),
        )
        for side in SIDES
    ),
)  # fmt: skip


def film(rng: Generator, actor: Actor, track: Track) -> Iterator[Picture]:
    """Yield the frames (HEIGHT, WIDTH, 3) of an actor who goes through a track, by an unsteady, noisy camera."""
    joints, parts = skeleton(actor, track), _parts(actor)
    depth = np.stack([np.mean([joints[n][:, 2] for n, _ in part.balls], axis=0) + part.nearer for part in parts], 1)
    shadows = _shadows(actor, joints)
    shake, gain = _shake(rng, len(track)), _flicker(rng, len(track))
    noise = rng.standard_normal((8, HEIGHT + 8, WIDTH + 8, 3), dtype=np.float32)
    noise = (128 + rng.uniform(2, 6) * noise).round().astype(np.uint8)
    outlines = [_outlines(actor, joints, part.balls) for part in parts]
    for frame in range(len(track)):
        canvas = _shaded(actor, [shadow[frame] for shadow in shadows])
        for part in np.argsort(depth[frame], kind="stable"):
            (dark, lit), colour = outlines[part], parts[part].colour
            _fill(canvas, dark[frame], shade(colour, 0.68))
            _fill(canvas, lit[frame], colour)
        x, y = shake[frame]
        view = canvas[y : y + HEIGHT * OVERSAMPLING, x : x + WIDTH * OVERSAMPLING]
        small = cv2.resize(view, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)
        u, v, which = rng.integers(0, 8, 3)
        yield cv2.addWeighted(small, gain[frame], noise[which, v : v + HEIGHT, u : u + WIDTH], 1, -128)


def _project(actor: Actor, at: Floats) -> Floats:
    """(n, 2) oversampled pixels of the scene for points (n, 3) in metres."""
    sin, cos = np.sin(actor.elevation), np.cos(actor.elevation)
    across = MARGIN + WIDTH * OVERSAMPLING / 2 + actor.scale * at[:, 0]
    return np.stack([across, actor.ground - actor.scale * (cos * at[:, 1] - sin * at[:, 2])], axis=1)


def _outlines(actor: Actor, joints: Skeleton, balls: Balls) -> tuple[Outline, Outline]:
    """Compute the points on the balls of a part in each frame, and those on the smaller balls of its lit side."""

    def points(circle: Floats) -> Outline:
        rings = [
            _project(actor, joints[name])[:, None] + radius * actor.height * actor.scale * circle
            for name, radius in balls
        ]
        return np.rint(np.concatenate(rings, axis=1) * 2**BITS).astype(np.int32)

    return points(CIRCLE), points(FROM_LIGHT + 0.78 * CIRCLE)


def _fill(canvas: NDArray[np.uint8], points: NDArray[np.int32], colour: Colour | int) -> None:
    cv2.fillConvexPoly(canvas, cv2.convexHull(points), colour, cv2.LINE_AA, BITS)


def _shadows(actor: Actor, joints: Skeleton) -> list[Outline]:
    """Project `SHADOWS` on the ground along the light, in a quarter of the pixels."""
    flat = {}
    for name, at in joints.items():
        x, z = (at[:, axis] + far * at[:, 1] for axis, far in zip((0, 2), actor.light, strict=True))
        flat[name] = np.stack([x, 0 * x, z], axis=1)
    return [_outlines(actor, flat, balls)[0] // 4 for balls in SHADOWS]


def _shaded(actor: Actor, shadows: Sequence[NDArray[np.int32]]) -> Picture:
    """Draw a soft shadow on the floor of the scene."""
    height, width = actor.scene.shape[:2]
    light = np.full((height // 4, width // 4), 255, np.uint8)
    for shadow in shadows:
        _fill(light, shadow, 130)
    light[: actor.wall // 4] = 255
    blurred = cv2.resize(cv2.blur(light, (3, 3)), (width, height), interpolation=cv2.INTER_LINEAR)
    return cv2.multiply(actor.scene, cv2.merge([blurred, blurred, blurred]), scale=1 / 255)


def _shake(rng: Generator, frames: int) -> NDArray[np.int64]:
    """(frames, 2) corner of the picture in the scene, for a camera held in a hand."""
    time = np.arange(frames)[:, None] / FPS
    sway = np.sin(2 * np.pi * rng.uniform(0.2, 0.9, 2) * time + rng.uniform(0, 6, 2)) * rng.uniform(0.5, 3)
    return (MARGIN + sway + rng.normal(0, 0.3, (frames, 2))).round().clip(0, 2 * MARGIN).astype(int)


def _flicker(rng: Generator, frames: int) -> list[float]:
    """Draw the brightness of each frame, about 1."""
    time = np.arange(frames) / FPS
    slow = np.sin(2 * np.pi * rng.uniform(0.1, 0.5) * time + rng.uniform(0, 6))
    gain: list[float] = (rng.uniform(0.85, 1.1) + 0.03 * slow + rng.normal(0, 0.012, frames)).tolist()
    return gain
