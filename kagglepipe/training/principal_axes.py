"""Rotation of features to their principal axes, along which logistic regressions are preconditioned."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh

FTOL = 1e-8  # relative decrease of the loss at which L-BFGS stops
FTOL_INNER = 5e-6  # the same for heads that only choose C, whose candidates are far apart
ROWS_PER_INPUT = 2  # to estimate principal axes from: they only precondition


@dataclass(frozen=True)
class Rotated:
    """Rows (N, R) along their principal axes, in order of increasing variance, R = min(N, F).

    rows = x · span · turn of the given rows x (N, F). span: (F, R), orthonormal; None for the identity. turn: (R, R),
    orthonormal.
    """

    rows: NDArray[np.float32]
    span: NDArray[np.float32] | None
    turn: NDArray[np.float32]

    def back(self, rows: NDArray[np.floating]) -> NDArray[np.float32]:
        """Rotate rows or weights back: (K, R) -> (K, F)."""
        turned = rows @ self.turn.T
        return np.asarray(turned if self.span is None else turned @ self.span.T, np.float32)


def rotate(x: NDArray[np.floating]) -> Rotated:
    """Rotate rows (N, F) to their principal axes."""
    x = np.ascontiguousarray(x, dtype=np.float32)
    span = None
    if len(x) < x.shape[1]:
        span, triangle = np.linalg.qr(x.T)
        x = np.ascontiguousarray(triangle.T)  # (N, N), with the same inner products
    some = x[:: max(1, len(x) // (ROWS_PER_INPUT * x.shape[1]))]
    _, turn = eigh(some.T @ some / np.float32(len(some)), driver="evd", overwrite_a=True, check_finite=False)
    return Rotated(x @ turn, span, turn)
