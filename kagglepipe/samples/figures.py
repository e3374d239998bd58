"""People drawn by code who move in front of a scene: the pictures of the built-in sample of actions.

A person is a skeleton in metres, a motion a track of poses, one row a frame: where the body stands, how it leans and
the angles of its limbs. A camera looks at it slightly from above; every part of the body is the hull of a few balls.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from kagglepipe.samples.drawing import SKINS, Colour
from kagglepipe.samples.scenes import HEIGHT, MARGIN, OVERSAMPLING, WIDTH, Picture, dye, room, shade, yard

Pose = NDArray[np.float64]  # (ANGLES,)
Track = NDArray[np.float64]  # (n, ANGLES) the poses of n frames
Key = tuple[float, Pose]  # share of a motion's time, pose
Skeleton = dict[
    str, NDArray[np.float64]
]  # joint -> (n, 3) metres: x to the right of the picture, y up, z to the camera

FPS = 15

# A pose: where it stands (metres), then angles in degrees. Limbs have two each: raised to the front, spread sideways
# from hanging down. They are those of the limb itself, not of the joint above it.
BODY_ANGLES = ("x", "lift", "yaw", "tilt", "lean", "sway", "nod", "point")
LIMBS = (
    "left_arm", "left_forearm", "right_arm", "right_forearm", "left_thigh", "left_shin", "right_thigh", "right_shin",
)  # fmt: skip
ANGLES = len(BODY_ANGLES) + 2 * len(LIMBS)
X, LIFT, YAW, TILT, LEAN, SWAY, NOD, POINT = range(len(BODY_ANGLES))
GRAVITY = 9.81


def _limb(name: str) -> slice:
    first = len(BODY_ANGLES) + 2 * LIMBS.index(name)
    return slice(first, first + 2)


def _changed(pose: Pose, **angles: float | tuple[float, float]) -> Pose:
    """A pose with some angles set: `lean=20`, `left_arm=(raised, spread)`."""
    pose = pose.copy()
    for name, value in angles.items():
        pose[BODY_ANGLES.index(name) if name in BODY_ANGLES else _limb(name)] = value
    return pose


# --- motions ------------------------------------------------------------------------------------------------
#
# Each takes the pose before it and its number of frames, and returns their track. `reach` is how far from the middle
# of the picture a person may stand, in metres.


def stance(rng: Generator, x: float, yaw: float) -> Pose:
    """Somebody who stands at x and looks in the direction yaw: 0 into the camera, 90 to the right."""
    left, right, feet = rng.uniform(4, 12), rng.uniform(4, 12), rng.uniform(1, 6)
    return _changed(
        np.zeros(ANGLES),
        x=x,
        yaw=yaw,
        lean=rng.uniform(-2, 4),
        left_arm=(rng.uniform(-6, 6), left),
        left_forearm=(rng.uniform(5, 25), left / 2),
        right_arm=(rng.uniform(-6, 6), right),
        right_forearm=(rng.uniform(5, 25), right / 2),
        left_thigh=(rng.uniform(-2, 3), feet),
        left_shin=(rng.uniform(-4, 0), feet),
        right_thigh=(rng.uniform(-2, 3), feet),
        right_shin=(rng.uniform(-4, 0), feet),
    )


def walk(rng: Generator, here: Pose, frames: int, reach: float) -> Track:
    """Along the picture, round at its ends; the legs go with the way, so that feet hardly slide."""
    speed, stride, swing = rng.uniform(0.8, 1.4), rng.uniform(1.1, 1.4), rng.uniform(22, 30)
    vigour = _envelope(frames, 4)
    way = np.cumsum(speed * vigour) / FPS
    side = -1.0 if here[X] > 0 else 1.0
    unfolded = (max(side * here[X], -reach) + way + reach) % (4 * reach)  # there and back again
    x = side * (np.minimum(unfolded, 4 * reach - unfolded) - reach)
    heading = side * np.where(unfolded < 2 * reach, 1.0, -1.0)
    yaw = rng.uniform(65, 110) * np.convolve(np.pad(heading, 3, mode="edge"), np.full(7, 1 / 7), "valid")
    track = _through([(0, here), (0.3, stance(rng, here[X], here[YAW]))], frames)
    turned = _eased(np.minimum(np.arange(1, frames + 1) / 5, 1))
    track[:, X], track[:, YAW] = x, here[YAW] + (yaw - here[YAW]) * turned
    phase = 2 * np.pi * way / stride + rng.choice((0, np.pi))
    for name, turn in (("left", 0.0), ("right", np.pi)):
        thigh, knee = swing * np.sin(phase + turn), 8 + 48 * np.maximum(np.cos(phase + turn + 0.3), 0)
        track[:, _limb(f"{name}_thigh").start] += vigour * thigh
        track[:, _limb(f"{name}_shin").start] += vigour * (thigh - knee)
        track[:, _limb(f"{name}_arm").start] -= vigour * 0.9 * thigh
        track[:, _limb(f"{name}_forearm").start] += vigour * (12 - 1.1 * thigh)
    track[:, LEAN] += 3 * vigour
    return track


def wave(rng: Generator, here: Pose, frames: int, reach: float) -> Track:
    """One arm or both up, the forearm to and fro."""
    raised, swing = _arms_up(rng, stance(rng, here[X], rng.uniform(-45, 45)))
    time = np.arange(1, frames + 1) / FPS
    keys = [(0.0, here), (min(5 / frames, 0.3), raised), (1 - 4 / frames, raised), (1.0, _lowered(rng, raised))]
    track = _through(keys, frames)
    beat = np.sin(2 * np.pi * rng.uniform(1.6, 2.4) * time + rng.uniform(0, 6))
    return track + (_envelope(frames, 3) * beat)[:, None] * swing


def _arms_up(rng: Generator, pose: Pose) -> tuple[Pose, Pose]:
    """The pose with an arm or both raised as for waving, and what waving adds at one end of the swing."""
    swing = np.zeros(ANGLES)
    sides = ("left", "right") if rng.random() < 0.25 else (rng.choice(("left", "right")),)
    for side in sides:
        up, out = rng.uniform(75, 150), rng.uniform(150, 185)
        pose = _changed(pose, **{f"{side}_arm": (rng.uniform(0, 25), up), f"{side}_forearm": (rng.uniform(0, 15), out)})
        swing = _changed(swing, **{f"{side}_arm": (0, 6), f"{side}_forearm": (0, rng.uniform(24, 38))})
    return pose, swing


def jump(rng: Generator, here: Pose, frames: int, reach: float) -> Track:
    """One to three jumps on the spot."""
    times = max(1, round(frames / FPS / rng.uniform(0.85, 1.1)))
    stand = stance(rng, here[X], here[YAW])
    crouch, flying = _crouch(stand, rng.uniform(0.6, 1)), _flying(rng, stand)
    bounds = np.linspace(0, frames, times + 1).round().astype(int)
    starts = [here] + [stand] * (times - 1)
    return np.concatenate([
        _one_jump(rng, (start, crouch, flying, stand), int(length))
        for start, length in zip(starts, np.diff(bounds), strict=True)
    ])  # fmt: skip


def _one_jump(rng: Generator, poses: tuple[Pose, Pose, Pose, Pose], frames: int) -> Track:
    """Down, off, and down again: by way of a crouch, through the air, to standing."""
    here, crouch, flying, stand = poses
    flight = rng.uniform(0.4, 0.5) * FPS / frames  # share of the time
    start = 0.55 * (1 - flight)
    stop = start + flight
    track = _through(
        [
            (0.0, here), (0.8 * start, crouch), (start, _between(crouch, flying, 0.6)),
            ((start + stop) / 2, flying), (stop, _between(stand, crouch, 0.3)),
            (0.7 * stop + 0.3, _between(stand, crouch, 0.8)), (1.0, stand),
        ],
        frames,
    )  # fmt: skip
    aloft = (np.arange(1, frames + 1) / frames - start).clip(0, flight)
    track[:, LIFT] = GRAVITY / 2 * aloft * (flight - aloft) * (frames / FPS) ** 2
    return track


def _crouch(stand: Pose, depth: float) -> Pose:
    arms, thigh, shin = (-35 * depth, 12), (62 * depth, 8), (-48 * depth, 6)
    return _changed(
        stand, lean=32 * depth, nod=-20 * depth, left_arm=arms, left_forearm=arms, right_arm=arms, right_forearm=arms,
        left_thigh=thigh, left_shin=shin, right_thigh=thigh, right_shin=shin,
    )  # fmt: skip


def _flying(rng: Generator, stand: Pose) -> Pose:
    arms = (rng.uniform(90, 165), rng.uniform(5, 30))
    thigh, shin = (rng.uniform(0, 20), 5), (rng.uniform(-30, -5), 3)
    return _changed(
        stand, point=rng.uniform(20, 50), left_arm=arms, left_forearm=arms, right_arm=arms, right_forearm=arms,
        left_thigh=thigh, left_shin=shin, right_thigh=thigh, right_shin=shin,
    )  # fmt: skip


def fall(rng: Generator, here: Pose, frames: int, reach: float) -> Track:
    """Off balance, down to the side that has more room, and a moment of lying still."""
    side = -1.0 if here[X] > 0 else 1.0
    forwards = 1.0 if np.sin(np.radians(here[YAW])) * side > 0 else -1.0
    stand = stance(rng, here[X], forwards * side * rng.uniform(55, 95))
    bent, flung, out = rng.uniform(10, 45), rng.uniform(20, 80), rng.uniform(10, 60)
    arms = {f"{s}_{part}": (forwards * flung + 40, out) for s in ("left", "right") for part in ("arm", "forearm")}
    legs = {f"{s}_thigh": (bent * rng.uniform(0.5, 1.2), 8) for s in ("left", "right")}
    legs |= {f"{s}_shin": (-bent * rng.uniform(0.5, 1.2), 6) for s in ("left", "right")}
    reeling = _changed(_between(stand, _crouch(stand, 0.5), 0.6), tilt=forwards * 14, **arms)
    lying = _changed(stand, tilt=forwards * rng.uniform(82, 90), nod=rng.uniform(-15, 10), **arms, **legs)
    settled = _flat(rng, lying, forwards)
    reels, lands = rng.uniform(0.2, 0.3), rng.uniform(0.75, 0.85)
    track = _through([(0, here), (reels, reeling), (lands, lying), (1, settled)], frames)
    share = np.arange(1, frames + 1) / frames
    dropping = ((share - reels) / (lands - reels)).clip(0, 1) ** 1.6  # faster and faster
    after = share > reels
    track[after, TILT] = (reeling[TILT] + (lying[TILT] - reeling[TILT]) * dropping)[after]
    return track


def _flat(rng: Generator, lying: Pose, forwards: float) -> Pose:
    """Limbs that rest on the ground: on the belly the arms beyond the head, on the back spread, and knees bent."""
    for side in ("left", "right"):
        if forwards > 0:
            arm, thigh, shin = (rng.uniform(150, 185), rng.uniform(5, 50)), rng.uniform(0, 8), rng.uniform(-30, 0)
        else:
            arm, thigh, shin = (rng.uniform(-5, 20), rng.uniform(15, 85)), rng.uniform(5, 50), rng.uniform(-50, -5)
        legs = {f"{side}_thigh": (thigh, 8), f"{side}_shin": (shin, 6)}
        lying = _changed(lying, **{f"{side}_arm": arm, f"{side}_forearm": arm}, **legs)
    return lying


def get_up(rng: Generator, fallen: Track, frames: int) -> Track:
    """The fall backwards in time, after a while on the ground: each picture of it could be one of the fall."""
    still = int(rng.integers(0, max(1, frames - 18)))
    back = np.linspace(len(fallen) - 1, 0, frames - still)
    rising = np.stack([np.interp(back, np.arange(len(fallen)), column) for column in fallen.T], axis=1)
    return np.concatenate([np.repeat(rising[:1], still, axis=0), rising])


ACTIONS: dict[str, Callable[[Generator, Pose, int, float], Track]] = {
    "walk": walk, "wave": wave, "jump": jump, "fall": fall,
}  # fmt: skip


def idle(rng: Generator, here: Pose, frames: int, reach: float) -> Track:
    """Nothing in particular. Where there is time, a pose that an action passes through is taken, held and left."""
    stand = stance(rng, here[X] + rng.normal(0, 0.04), rng.uniform(-60, 60) if rng.random() < 0.6 else here[YAW])
    if frames < 0.8 * FPS or rng.random() < 0.25:
        return _through([(0, here), (rng.uniform(0.5, 1), stand), (1, stand)], frames)
    held = POSTURES[int(rng.integers(len(POSTURES)))](rng, stand)
    start, stop = rng.uniform(0.25, 0.45), rng.uniform(0.6, 0.75)
    return _through([(0, here), (start, held), (stop, held), (1, _lowered(rng, held))], frames)


def _stretch(rng: Generator, stand: Pose) -> Pose:
    """As if waving, but still: caught somewhere in the swing."""
    raised, swing = _arms_up(rng, stand)
    return raised + rng.uniform(-1, 1) * swing


def _tiptoe(rng: Generator, stand: Pose) -> Pose:
    """As if jumping, at the top, but with the toes on the ground."""
    return _changed(_flying(rng, stand), point=rng.uniform(35, 60))


def _squat(rng: Generator, stand: Pose) -> Pose:
    """As if about to jump."""
    return _crouch(stand, rng.uniform(0.6, 1))


def _lunge(rng: Generator, stand: Pose) -> Pose:
    """As if walking, but on the spot: a stride is held."""
    wide, bent = rng.uniform(18, 30), rng.uniform(5, 30)
    return _changed(
        stand, yaw=rng.uniform(65, 110) * rng.choice((-1, 1)),
        left_thigh=(wide, 2), left_shin=(wide - bent, 2), right_thigh=(-wide, 2), right_shin=(-wide - bent, 2),
        left_arm=(-wide, 6), left_forearm=(5 - wide, 5), right_arm=(wide, 6), right_forearm=(15 + wide, 5),
    )  # fmt: skip


def _bow(rng: Generator, stand: Pose) -> Pose:
    """As if about to fall."""
    return _changed(
        _between(stand, _crouch(stand, 0.5), 0.6), lean=rng.uniform(25, 60), left_arm=(40, 20), right_arm=(40, 20)
    )


POSTURES = (_stretch, _stretch, _tiptoe, _squat, _lunge, _lunge, _bow)


def _lowered(rng: Generator, pose: Pose) -> Pose:
    """Standing again."""
    return stance(rng, float(pose[X]), float(pose[YAW]))


def breathe(rng: Generator, track: Track) -> Track:
    """The track with a chest that rises and falls and weight that shifts, as in everybody who lives."""
    time = np.arange(len(track)) / FPS
    breath = np.sin(2 * np.pi * rng.uniform(0.2, 0.35) * time + rng.uniform(0, 6))
    shift = np.sin(2 * np.pi * rng.uniform(0.05, 0.15) * time + rng.uniform(0, 6))
    track = track.copy()
    track[:, LEAN] += 1.2 * breath
    track[:, SWAY] += 2.5 * shift
    for name in ("left_arm", "right_arm"):
        track[:, _limb(name).start + 1] += 1.5 * breath
    return track


def _between(start: Pose, end: Pose, share: float) -> Pose:
    return start + share * (end - start)


def _eased(share: NDArray[np.float64]) -> NDArray[np.float64]:
    return share * share * (3 - 2 * share)


def _envelope(frames: int, ramp: int) -> NDArray[np.float64]:
    """(frames,) from 0 to 1 within `ramp` frames, and back to 0 at the end."""
    at = np.arange(1, frames + 1)
    return _eased((np.minimum(at, frames - at) / ramp).clip(0, 1))


def _through(keys: Sequence[Key], frames: int) -> Track:
    """The poses of `frames` frames, the last of them at share 1; each key is reached gently and held after the last."""
    shares, poses = np.array([share for share, _ in keys]), np.stack([pose for _, pose in keys])
    at = np.arange(1, frames + 1) / frames
    before = np.searchsorted(shares[1:-1], at, side="right")
    local = ((at - shares[before]) / (shares[before + 1] - shares[before])).clip(0, 1)
    return poses[before] + _eased(local)[:, None] * (poses[before + 1] - poses[before])


# --- bodies -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Actor:
    """Somebody, dressed, in a place, seen by a camera. Lengths in metres; colours RGB.

    height: 1.5 to 1.95. build: width over the usual one. legs: their share of the height. scene: the place, larger
    than a picture by MARGIN on all sides. scale: oversampled pixels a metre. ground: row where feet stand, from the
    top of the scene. wall: row where the floor ends. elevation: the camera's, in radians. light: how far shadows reach
    (x, z) for a metre of height.
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
        """How far from the middle they may stand, in metres, so that they stay in the picture."""
        return WIDTH * OVERSAMPLING / 2 / self.scale - 0.55


def make_actor(rng: Generator) -> Actor:
    """Anybody anywhere."""
    scale, elevation = OVERSAMPLING * rng.uniform(31, 39), np.radians(rng.uniform(9, 17))
    ground = MARGIN + OVERSAMPLING * HEIGHT * rng.uniform(0.82, 0.88)
    wall = int(ground - scale * np.sin(elevation) * rng.uniform(1.2, 2.2))
    place = (room, yard)[int(rng.integers(2))]
    shirt = dye(rng)
    return Actor(
        height=rng.uniform(1.5, 1.95),
        build=rng.uniform(0.85, 1.3),
        legs=rng.uniform(0.46, 0.51),
        skin=SKINS[int(rng.integers(len(SKINS)))],
        hair=HAIRS[int(rng.integers(len(HAIRS)))],
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


DARK: Colour = (30, 26, 30)
HAIRS: list[Colour] = [(32, 24, 20), (66, 44, 28), (112, 76, 42), (176, 140, 84), (150, 148, 146), (120, 48, 26)]
GROUND_RADII = {  # of the joints that may touch the ground
    "head": 0.1, "left_shoulder": 0.08, "right_shoulder": 0.08, "left_hip": 0.09, "right_hip": 0.09, "left_elbow": 0.05,
    "right_elbow": 0.05, "left_hand": 0.04, "right_hand": 0.04, "left_knee": 0.06, "right_knee": 0.06,
    "left_ankle": 0.06, "right_ankle": 0.06, "left_toe": 0.035, "right_toe": 0.035,
}  # fmt: skip


def skeleton(actor: Actor, track: Track) -> Skeleton:
    """Where the joints of an actor are in each frame of a track; y = 0 is the ground."""
    joints = _stand_on_ground(_limbs(actor, track))
    tilt, yaw = np.radians(track[:, TILT]), np.radians(track[:, YAW])
    joints = _stand_on_ground({name: _turned(at, tilt, 1, 2) for name, at in joints.items()})
    joints = {name: _turned(at, yaw, 2, 0) for name, at in joints.items()}
    return {name: at + np.stack([track[:, X], track[:, LIFT], 0 * yaw], axis=1) for name, at in joints.items()}


def _turned(points: NDArray[np.float64], angle: NDArray[np.float64], start: int, end: int) -> NDArray[np.float64]:
    """Points (n, 3) turned from the axis `start` towards the axis `end`."""
    turned, cos, sin = points.copy(), np.cos(angle), np.sin(angle)
    turned[:, start] = cos * points[:, start] - sin * points[:, end]
    turned[:, end] = sin * points[:, start] + cos * points[:, end]
    return turned


def _stand_on_ground(joints: Skeleton) -> Skeleton:
    lowest = np.min([joints[name][:, 1] - radius for name, radius in GROUND_RADII.items()], axis=0)
    down = np.stack([0 * lowest, lowest, 0 * lowest], axis=1)
    return {name: at - down for name, at in joints.items()}


def _direction(raised: NDArray[np.float64], spread: NDArray[np.float64], side: float) -> NDArray[np.float64]:
    """(n, 3) where a limb points that hangs down at 0, 0; angles in degrees."""
    a, b = np.radians(raised), np.radians(spread)
    return np.stack([side * np.sin(b), -np.cos(b) * np.cos(a), np.cos(b) * np.sin(a)], axis=1)


def _limbs(actor: Actor, track: Track) -> Skeleton:
    """The joints from the hip, for a body that looks into the camera: its left is at x > 0."""
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
    for name, side in (("left", 1.0), ("right", -1.0)):
        angles = {part: track[:, _limb(f"{name}_{part}")].T for part in ("arm", "forearm", "thigh", "shin")}
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


# --- pictures -----------------------------------------------------------------------------------------------

Balls = tuple[tuple[str, float], ...]  # joint, radius in body heights


class Part(NamedTuple):
    """The hull of some balls. nearer: metres by which it covers what is as far from the camera."""

    balls: Balls
    colour: Colour
    nearer: float = 0.0


STEPS = np.linspace(0, 2 * np.pi, 14, endpoint=False)
CIRCLE = np.stack([np.cos(STEPS), np.sin(STEPS)], axis=1)
BITS = 4  # of a pixel, in OpenCV's fixed point
FROM_LIGHT = np.array([-0.2, -0.22])  # where the lit side is, in radii


def _parts(actor: Actor) -> list[Part]:
    fat, skin, shirt, trousers = actor.build, actor.skin, actor.shirt, actor.trousers
    sleeve, leg = skin if actor.short_sleeves else shirt, skin if actor.shorts else trousers
    shoulders = (("left_shoulder", 0.04 * fat), ("right_shoulder", 0.04 * fat))
    hips = (("left_hip", 0.05 * fat), ("right_hip", 0.05 * fat))
    waist = (("left_waist", 0.045 * fat), ("right_waist", 0.045 * fat))
    parts = [
        Part((("chest", 0.034), ("neck", 0.032), ("head", 0.03)), skin),
        Part((*hips, ("waist", 0.05 * fat)), trousers),
        Part((*shoulders, *waist), shirt, nearer=0.02),
        Part((("head", 0.07),), actor.hair),
        Part((("face", 0.057),), skin),
    ]
    if actor.scarf != shirt:
        parts.append(
            Part((("chest", 0.04), ("left_shoulder", 0.012), ("right_shoulder", 0.012)), actor.scarf, nearer=0.06)
        )
    if actor.long_hair:
        parts.append(Part((("head", 0.062), ("nape", 0.055)), actor.hair))
    for side in ("left", "right"):
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


def film(rng: Generator, actor: Actor, track: Track) -> Iterator[Picture]:
    """The pictures (HEIGHT, WIDTH, 3) of an actor who goes through a track, as an unsteady, noisy camera takes them."""
    joints, parts = skeleton(actor, track), _parts(actor)
    depth = np.stack([_depth(joints, part) for part in parts], axis=1)
    shadows = _shadows(actor, joints)
    shake, gain, noise = _shake(rng, len(track)), _flicker(rng, len(track)), _noise(rng)
    outlines = [_outlines(actor, joints, part.balls) for part in parts]
    shades = [shade(part.colour, 0.68) for part in parts]
    for frame in range(len(track)):
        canvas = _shaded(actor, [shadow[frame] for shadow in shadows])
        for part in np.argsort(depth[frame], kind="stable"):
            dark, lit = outlines[part]
            _fill(canvas, dark[frame], shades[part])
            _fill(canvas, lit[frame], parts[part].colour)
        x, y = shake[frame]
        view = canvas[y : y + HEIGHT * OVERSAMPLING, x : x + WIDTH * OVERSAMPLING]
        small = cv2.resize(view, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)
        u, v, which = rng.integers(0, 8, 3)
        grain = noise[which, v : v + HEIGHT, u : u + WIDTH]
        yield cv2.addWeighted(small, gain[frame], grain, 1, -128)


def _depth(joints: Skeleton, part: Part) -> NDArray[np.float64]:
    """(n,) how near a part is to the camera, for drawing the far ones first."""
    return np.mean([joints[name][:, 2] for name, _ in part.balls], axis=0) + part.nearer


def _project(actor: Actor, at: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n, 2) the oversampled pixels of the scene for points (n, 3) in metres."""
    sin, cos = np.sin(actor.elevation), np.cos(actor.elevation)
    across = MARGIN + WIDTH * OVERSAMPLING / 2 + actor.scale * at[:, 0]
    return np.stack([across, actor.ground - actor.scale * (cos * at[:, 1] - sin * at[:, 2])], axis=1)


Outline = NDArray[np.int32]  # (n, points, 2) in fixed point


def _outlines(actor: Actor, joints: Skeleton, balls: Balls) -> tuple[Outline, Outline]:
    """The points on a part's balls in each frame, and those on the smaller balls of its lit side."""
    dark, lit = [], []
    for name, radius in balls:
        centre, pixels = _project(actor, joints[name])[:, None], radius * actor.height * actor.scale
        dark.append(centre + pixels * CIRCLE)
        lit.append(centre + pixels * (FROM_LIGHT + 0.78 * CIRCLE))
    return _fixed(np.concatenate(dark, axis=1)), _fixed(np.concatenate(lit, axis=1))


def _fixed(points: NDArray[np.float64]) -> Outline:
    return np.rint(points * 2**BITS).astype(np.int32)


def _fill(canvas: NDArray[np.uint8], points: NDArray[np.int32], colour: Colour | int) -> None:
    cv2.fillConvexPoly(canvas, cv2.convexHull(points), colour, cv2.LINE_AA, BITS)


SHADOWED: tuple[Balls, ...] = (  # parts whose shadow is drawn
    (("left_shoulder", 0.05), ("right_shoulder", 0.05), ("left_hip", 0.06), ("right_hip", 0.06)),
    (("neck", 0.03), ("head", 0.07)),
    (("left_shoulder", 0.035), ("left_elbow", 0.03)),
    (("right_shoulder", 0.035), ("right_elbow", 0.03)),
    (("left_elbow", 0.03), ("left_hand", 0.025)),
    (("right_elbow", 0.03), ("right_hand", 0.025)),
    (("left_hip", 0.055), ("left_knee", 0.04)),
    (("right_hip", 0.055), ("right_knee", 0.04)),
    (("left_knee", 0.04), ("left_toe", 0.04)),
    (("right_knee", 0.04), ("right_toe", 0.04)),
)


def _shadows(actor: Actor, joints: Skeleton) -> list[Outline]:
    """What `SHADOWED` comes to on the ground, where the light throws it, in a quarter of the pixels."""
    flat = {}
    for name, at in joints.items():
        x, z = (at[:, axis] + far * at[:, 1] for axis, far in zip((0, 2), actor.light, strict=True))
        flat[name] = np.stack([x, 0 * x, z], axis=1)
    return [_outlines(actor, flat, balls)[0] // 4 for balls in SHADOWED]


def _shaded(actor: Actor, shadows: Sequence[NDArray[np.int32]]) -> Picture:
    """The scene with a soft shadow on its floor."""
    height, width = actor.scene.shape[:2]
    light = np.full((height // 4, width // 4), 255, np.uint8)
    for shadow in shadows:
        _fill(light, shadow, 130)
    light[: actor.wall // 4] = 255
    soft = cv2.resize(cv2.blur(light, (3, 3)), (width, height), interpolation=cv2.INTER_LINEAR)
    return cv2.multiply(actor.scene, cv2.merge([soft, soft, soft]), scale=1 / 255)


def _shake(rng: Generator, frames: int) -> NDArray[np.int64]:
    """(frames, 2) the corner of the picture in the scene: a hand that holds a camera."""
    time = np.arange(frames)[:, None] / FPS
    sway = np.sin(2 * np.pi * rng.uniform(0.2, 0.9, 2) * time + rng.uniform(0, 6, 2)) * rng.uniform(0.5, 3)
    return (MARGIN + sway + rng.normal(0, 0.3, (frames, 2))).round().clip(0, 2 * MARGIN).astype(int)


def _flicker(rng: Generator, frames: int) -> list[float]:
    time = np.arange(frames) / FPS
    slow = np.sin(2 * np.pi * rng.uniform(0.1, 0.5) * time + rng.uniform(0, 6))
    gain: list[float] = (rng.uniform(0.85, 1.1) + 0.03 * slow + rng.normal(0, 0.012, frames)).tolist()
    return gain


def _noise(rng: Generator) -> NDArray[np.uint8]:
    """(8, …) sensor noise around 128, a little larger than a picture."""
    noise = rng.standard_normal((8, HEIGHT + 8, WIDTH + 8, 3), dtype=np.float32)
    return (128 + rng.uniform(2, 6) * noise).round().astype(np.uint8)
