"""Features of a skeleton that do not depend on where a body stands, which way it faces and how tall it is."""

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

SMOOTHING = 0.1  # weight of each frame in the exponential average of the hip line: about the last ten frames count
LAGS = (2, 8)  # samples over which motion is measured: a stroke of the hand, a step


@dataclass
class SkeletonNormalizer:
    """Streaming normalisation of joints: each result depends only on the frames so far, live or recorded.

    hip, neck, left_hip, right_hip: indices of joints; hip is the middle of the hips. Joints are x, y, z with y up, in a
    right-handed system, as from Kinect: x points to the sensor's left, z away from it, and y leaves the vertical as far
    as the sensor is tilted (some 9° in UTKinect). Results have x to the body's right, y up and z to its back, in torso
    lengths.
    """

    hip: int
    neck: int
    left_hip: int
    right_hip: int
    _across: NDArray[np.float64] | None = field(default=None, init=False, repr=False)  # (2,) hip line in x and z
    _torso: float = field(default=0.0, init=False, repr=False)  # sum over the frames so far
    _frames: int = field(default=0, init=False, repr=False)
    _first: NDArray[np.float64] | None = field(default=None, init=False, repr=False)  # (3,) hip in the first frame
    _last: NDArray[np.float64] | None = field(default=None, init=False, repr=False)  # (3,) hip in the last frame

    def update(self, joints: NDArray[Any]) -> NDArray[np.float32]:
        """Features (3 J + 1,) of the next frame from joints (J, 3).

        In order: x, y, z of each joint from the hip, but for the hip its own step since the last frame (0 in the
        first); then the height of the hip over that in the first frame. Rotation follows a smoothed hip line, since
        that of one frame is short and noisy; the scale is the mean torso length (hip to neck) so far. A hip line of
        length 0 rotates nothing.
        """
        joints = joints.astype(np.float64)
        hip = joints[self.hip]
        if self._first is None or self._last is None:
            self._first = self._last = hip
        body = joints - hip
        body[self.hip] = hip - self._last
        height = hip[1] - self._first[1]
        rotation, torso = self._rotation(joints), self._mean_torso(joints)
        self._last = hip
        inputs = np.append(body @ rotation, height) / torso
        return inputs.astype(np.float32)

    def _rotation(self, joints: NDArray[np.float64]) -> NDArray[np.float64]:
        """Rotation (3, 3) of row vectors about y that aligns the smoothed hip line with x."""
        line = (joints[self.right_hip] - joints[self.left_hip])[[0, 2]]
        self._across = line if self._across is None else (1 - SMOOTHING) * self._across + SMOOTHING * line
        length = math.hypot(*self._across)
        cos, sin = self._across / length if length > 0 else (1.0, 0.0)
        return np.array([[cos, 0, -sin], [0, 1, 0], [sin, 0, cos]])

    def _mean_torso(self, joints: NDArray[np.float64]) -> float:
        """Mean torso length so far, 1 if it is 0."""
        self._torso += float(np.linalg.norm(joints[self.neck] - joints[self.hip]))
        self._frames += 1
        return self._torso / self._frames or 1.0


def skeleton_inputs(joints: NDArray[Any], *, hip: int, neck: int, left_hip: int, right_hip: int) -> NDArray[np.float32]:
    """Features (T, 3 J + 1) of joints (T, J, 3), evenly spaced in time, by `SkeletonNormalizer`.

    They are invariant to rotation about the vertical, translation and scale of all joints; the first n rows depend on
    only the first n frames.
    """
    if joints.ndim != 3 or joints.shape[2] != 3 or not len(joints):
        raise ValueError(f"joints must be (frames, joints, 3), not {joints.shape}")
    normalizer = SkeletonNormalizer(hip, neck, left_hip, right_hip)
    return np.stack([normalizer.update(frame) for frame in joints])


def lag_differences(values: NDArray[np.float32], lag: int) -> NDArray[np.float32]:
    """Change of each value (T, F) since `lag` samples before, or since the first.

    >>> lag_differences(np.array([[0], [1], [3], [6]], np.float32), 2).ravel().tolist()
    [0.0, 1.0, 3.0, 5.0]
    """
    return values - values[np.maximum(np.arange(len(values)) - lag, 0)]
