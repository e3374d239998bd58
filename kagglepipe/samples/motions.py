"""Motions of drawn people: walking, waving, jumping, falling, and what looks like them at any one moment.

A motion is a track of poses, one row a frame. Each function takes the pose before it and its number of frames; `reach`
is how far from the middle of the picture a person may stand, in metres.
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from kagglepipe.samples.drawing import pick

Pose = NDArray[np.float64]  # (ANGLES,)
Track = NDArray[np.float64]  # (n, ANGLES) the poses of n frames
Key = tuple[float, Pose]  # share of a motion's time, pose

FPS = 15
GRAVITY = 9.81  # m/s²

# A pose: place (metres), then angles in degrees. Limbs have two each: raised to the front, spread sideways from
# hanging down; they are those of the limb itself, not of the joint above it.
BODY_ANGLES = ("x", "lift", "yaw", "tilt", "lean", "sway", "nod", "point")
LIMBS = (
    "left_arm", "left_forearm", "right_arm", "right_forearm", "left_thigh", "left_shin", "right_thigh", "right_shin",
)  # fmt: skip
ANGLES = len(BODY_ANGLES) + 2 * len(LIMBS)
X, LIFT, YAW, TILT, LEAN, SWAY, NOD, POINT = range(len(BODY_ANGLES))


def limb(name: str) -> slice:
    """Columns of a limb's two angles in a pose."""
    first = len(BODY_ANGLES) + 2 * LIMBS.index(name)
    return slice(first, first + 2)


def _changed(pose: Pose, **angles: float | tuple[float, float]) -> Pose:
    """Set some angles of a pose: `lean=20`, `left_arm=(raised, spread)`, `arm=(raised, spread)` for both sides."""
    pose = pose.copy()
    for name, value in angles.items():
        if name in BODY_ANGLES:
            pose[BODY_ANGLES.index(name)] = value
        for one in {name, f"left_{name}", f"right_{name}"} & set(LIMBS):
            pose[limb(one)] = value
    return pose


def stance(rng: Generator, x: float, yaw: float) -> Pose:
    """Stand at x and look in the direction yaw: 0 into the camera, 90 to the right."""
    left, right, feet = rng.uniform(4, 12), rng.uniform(4, 12), rng.uniform(1, 6)
    return _changed(
        np.zeros(ANGLES), x=x, yaw=yaw, lean=rng.uniform(-2, 4),
        left_arm=(rng.uniform(-6, 6), left), left_forearm=(rng.uniform(5, 25), left / 2),
        right_arm=(rng.uniform(-6, 6), right), right_forearm=(rng.uniform(5, 25), right / 2),
        left_thigh=(rng.uniform(-2, 3), feet), left_shin=(rng.uniform(-4, 0), feet),
        right_thigh=(rng.uniform(-2, 3), feet), right_shin=(rng.uniform(-4, 0), feet),
    )  # fmt: skip


def walk(rng: Generator, here: Pose, frames: int, reach: float) -> Track:
    """Walk along the picture and turn at its ends; the legs follow the distance, so that feet hardly slide."""
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
        track[:, limb(f"{name}_thigh").start] += vigour * thigh
        track[:, limb(f"{name}_shin").start] += vigour * (thigh - knee)
        track[:, limb(f"{name}_arm").start] -= vigour * 0.9 * thigh
        track[:, limb(f"{name}_forearm").start] += vigour * (12 - 1.1 * thigh)
    track[:, LEAN] += 3 * vigour
    return track


def wave(rng: Generator, here: Pose, frames: int, reach: float) -> Track:
    """Raise one arm or both and swing the forearm."""
    raised, swing = _arms_up(rng, stance(rng, here[X], rng.uniform(-45, 45)))
    time = np.arange(1, frames + 1) / FPS
    lowered = stance(rng, raised[X], raised[YAW])
    track = _through([(0, here), (min(5 / frames, 0.3), raised), (1 - 4 / frames, raised), (1, lowered)], frames)
    beat = np.sin(2 * np.pi * rng.uniform(1.6, 2.4) * time + rng.uniform(0, 6))
    return track + (_envelope(frames, 3) * beat)[:, None] * swing


def _arms_up(rng: Generator, pose: Pose) -> tuple[Pose, Pose]:
    """(a pose with an arm or both raised for waving, the angles added at one end of the swing)."""
    swing = np.zeros(ANGLES)
    sides = ("left", "right") if rng.random() < 0.25 else (rng.choice(("left", "right")),)
    for side in sides:
        up, out = rng.uniform(75, 150), rng.uniform(150, 185)
        pose = _changed(pose, **{f"{side}_arm": (rng.uniform(0, 25), up), f"{side}_forearm": (rng.uniform(0, 15), out)})
        swing = _changed(swing, **{f"{side}_arm": (0, 6), f"{side}_forearm": (0, rng.uniform(24, 38))})
    return pose, swing


def jump(rng: Generator, here: Pose, frames: int, reach: float) -> Track:
    """Jump one to three times on the spot."""
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
    """Crouch, take off, fly, land. poses: before the jump, crouching, flying, standing."""
    here, crouch, flying, stand = poses
    flight = rng.uniform(0.4, 0.5) * FPS / frames  # share of the time
    start = 0.55 * (1 - flight)
    stop = start + flight
    keys = [(0.0, here), (0.8 * start, crouch), (start, _between(crouch, flying, 0.6)), ((start + stop) / 2, flying)]
    keys += [(stop, _between(stand, crouch, 0.3)), (0.7 * stop + 0.3, _between(stand, crouch, 0.8)), (1.0, stand)]
    track = _through(keys, frames)
    aloft = (np.arange(1, frames + 1) / frames - start).clip(0, flight)
    track[:, LIFT] = GRAVITY / 2 * aloft * (flight - aloft) * (frames / FPS) ** 2
    return track


def _crouch(stand: Pose, depth: float) -> Pose:
    arm, thigh, shin = (-35 * depth, 12), (62 * depth, 8), (-48 * depth, 6)
    return _changed(stand, lean=32 * depth, nod=-20 * depth, arm=arm, forearm=arm, thigh=thigh, shin=shin)


def _reeling(stand: Pose) -> Pose:
    return _between(stand, _crouch(stand, 0.5), 0.6)


def _flying(rng: Generator, stand: Pose) -> Pose:
    arm = (rng.uniform(90, 165), rng.uniform(5, 30))
    thigh, shin = (rng.uniform(0, 20), 5), (rng.uniform(-30, -5), 3)
    return _changed(stand, point=rng.uniform(20, 50), arm=arm, forearm=arm, thigh=thigh, shin=shin)


def fall(rng: Generator, here: Pose, frames: int, reach: float) -> Track:
    """Lose balance, fall to the side that has more room, lie still for a moment."""
    side = -1.0 if here[X] > 0 else 1.0
    forwards = 1.0 if np.sin(np.radians(here[YAW])) * side > 0 else -1.0
    stand = stance(rng, here[X], forwards * side * rng.uniform(55, 95))
    bent, flung, out = rng.uniform(10, 45), rng.uniform(20, 80), rng.uniform(10, 60)
    arm = (forwards * flung + 40, out)
    legs = {f"{s}_thigh": (bent * rng.uniform(0.5, 1.2), 8) for s in ("left", "right")}
    legs |= {f"{s}_shin": (-bent * rng.uniform(0.5, 1.2), 6) for s in ("left", "right")}
    reeling = _changed(_reeling(stand), tilt=forwards * 14, arm=arm, forearm=arm)
    tilt, nod = forwards * rng.uniform(82, 90), rng.uniform(-15, 10)
    lying = _changed(stand, tilt=tilt, nod=nod, arm=arm, forearm=arm, **legs)
    settled = _flat(rng, lying, forwards)
    reels, lands = rng.uniform(0.2, 0.3), rng.uniform(0.75, 0.85)
    track = _through([(0, here), (reels, reeling), (lands, lying), (1, settled)], frames)
    share = np.arange(1, frames + 1) / frames
    dropping = ((share - reels) / (lands - reels)).clip(0, 1) ** 1.6  # faster and faster
    after = share > reels
    track[after, TILT] = (reeling[TILT] + (lying[TILT] - reeling[TILT]) * dropping)[after]
    return track


def _flat(rng: Generator, lying: Pose, forwards: float) -> Pose:
    """Rest the limbs on the ground: on the belly with arms beyond the head, on the back with bent knees."""
    for side in ("left", "right"):
        if forwards > 0:
            arm, thigh, shin = (rng.uniform(150, 185), rng.uniform(5, 50)), rng.uniform(0, 8), rng.uniform(-30, 0)
        else:
            arm, thigh, shin = (rng.uniform(-5, 20), rng.uniform(15, 85)), rng.uniform(5, 50), rng.uniform(-50, -5)
        limbs = {"arm": arm, "forearm": arm, "thigh": (thigh, 8), "shin": (shin, 6)}
        lying = _changed(lying, **{f"{side}_{name}": angles for name, angles in limbs.items()})
    return lying


def get_up(rng: Generator, fallen: Track, frames: int) -> Track:
    """Play a fall backwards after a while on the ground: each frame of it could be one of the fall."""
    still = int(rng.integers(0, max(1, frames - 18)))
    back = np.linspace(len(fallen) - 1, 0, frames - still)
    rising = np.stack([np.interp(back, np.arange(len(fallen)), column) for column in fallen.T], axis=1)
    return np.concatenate([np.repeat(rising[:1], still, axis=0), rising])


ACTIONS: dict[str, Callable[[Generator, Pose, int, float], Track]] = {
    "walk": walk, "wave": wave, "jump": jump, "fall": fall,
}  # fmt: skip


def idle(rng: Generator, here: Pose, frames: int, reach: float) -> Track:
    """Do nothing in particular; where there is time, hold a pose that an action passes through."""
    stand = stance(rng, here[X] + rng.normal(0, 0.04), rng.uniform(-60, 60) if rng.random() < 0.6 else here[YAW])
    if frames < 0.8 * FPS or rng.random() < 0.25:
        return _through([(0, here), (rng.uniform(0.5, 1), stand), (1, stand)], frames)
    posture = pick(rng, POSTURES)(rng, stand)
    start, stop = rng.uniform(0.25, 0.45), rng.uniform(0.6, 0.75)
    return _through([(0, here), (start, posture), (stop, posture), (1, stance(rng, posture[X], posture[YAW]))], frames)


def _stretch(rng: Generator, stand: Pose) -> Pose:
    """Hold an arm as in waving."""
    raised, swing = _arms_up(rng, stand)
    return raised + rng.uniform(-1, 1) * swing


def _lunge(rng: Generator, stand: Pose) -> Pose:
    """Hold a stride as in walking."""
    wide, bent = rng.uniform(18, 30), rng.uniform(5, 30)
    return _changed(
        stand, yaw=rng.uniform(65, 110) * rng.choice((-1, 1)),
        left_thigh=(wide, 2), left_shin=(wide - bent, 2), right_thigh=(-wide, 2), right_shin=(-wide - bent, 2),
        left_arm=(-wide, 6), left_forearm=(5 - wide, 5), right_arm=(wide, 6), right_forearm=(15 + wide, 5),
    )  # fmt: skip


POSTURES: tuple[Callable[[Generator, Pose], Pose], ...] = (
    _stretch, _stretch,
    lambda rng, stand: _changed(_flying(rng, stand), point=rng.uniform(35, 60)),  # a jump's, on tiptoe
    lambda rng, stand: _crouch(stand, rng.uniform(0.6, 1)),  # before a jump
    _lunge, _lunge,
    lambda rng, stand: _changed(_reeling(stand), lean=rng.uniform(25, 60), arm=(40, 20)),  # before a fall
)  # fmt: skip


def breathe(rng: Generator, track: Track) -> Track:
    """Add breathing and shifting of weight to a track."""
    time = np.arange(len(track)) / FPS
    breath = np.sin(2 * np.pi * rng.uniform(0.2, 0.35) * time + rng.uniform(0, 6))
    shift = np.sin(2 * np.pi * rng.uniform(0.05, 0.15) * time + rng.uniform(0, 6))
    track = track.copy()
    track[:, LEAN] += 1.2 * breath
    track[:, SWAY] += 2.5 * shift
    for name in ("left_arm", "right_arm"):
        track[:, limb(name).start + 1] += 1.5 * breath
    return track


def _between(start: Pose, end: Pose, share: float) -> Pose:
    return start + share * (end - start)


def _eased(share: NDArray[np.float64]) -> NDArray[np.float64]:
    return share * share * (3 - 2 * share)


def _envelope(frames: int, ramp: int) -> NDArray[np.float64]:
    """(frames,) weights that rise from 0 to 1 within `ramp` frames, and fall to 0 at the end."""
    at = np.arange(1, frames + 1)
    return _eased((np.minimum(at, frames - at) / ramp).clip(0, 1))


def _through(keys: Sequence[Key], frames: int) -> Track:
    """Interpolate keys to a track of `frames` frames, the last of them at share 1; each key is reached gently."""
    shares, poses = np.array([share for share, _ in keys]), np.stack([pose for _, pose in keys])
    at = np.arange(1, frames + 1) / frames
    before = np.searchsorted(shares[1:-1], at, side="right")
    local = ((at - shares[before]) / (shares[before + 1] - shares[before])).clip(0, 1)
    return poses[before] + _eased(local)[:, None] * (poses[before + 1] - poses[before])
