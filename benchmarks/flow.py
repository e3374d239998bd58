"""Does optical flow tell fights, beside features of frames and of their differences?

    python benchmarks/flow.py FOLDER RUN [RUN …]

FOLDER: clips of `competition=surveillance_fights` with train.csv. RUN: folders of finished runs on them, whose folds
and out-of-fold probabilities are used. Flow (Kroeger et al. 2016, "Fast optical flow using dense inverse search") of
160 × 120 pixels at 10 frames a second becomes numbers of each frame: how fast, how unevenly, in which directions and
where, as it is and without the camera's, the motion of most pixels. A clip has their mean, deviation, maximum and
change. Then logistic regression, C by inner folds of the other sources, and the mean of its probabilities and those of
each run. Prints accuracy and log loss out of fold, and the gain over the run with its p of a paired permutation test by
source.
"""

import itertools
from pathlib import Path

import av
import cv2
import numpy as np
import pandas as pd
from measure import make_parser
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, log_loss
from sklearn.model_selection import GridSearchCV, GroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

RATE, SIZE, CELLS, DIRECTIONS = 10, (160, 120), 4, 8
PRESETS = {"medium": cv2.DISOPTICAL_FLOW_PRESET_MEDIUM, "fast": cv2.DISOPTICAL_FLOW_PRESET_FAST}


def grey_frames(path: Path) -> list[np.ndarray]:
    """Frames (120, 160) at RATE a second."""
    found, due = [], 0.0
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            if frame.time is None or frame.time + 1e-6 >= due:
                found.append(cv2.resize(frame.to_ndarray(format="gray"), SIZE, interpolation=cv2.INTER_AREA))
                due += 1 / RATE
    return found


def frame_numbers(flow: np.ndarray) -> np.ndarray:
    """What is said of a flow (H, W, 2)."""
    speed, angle = cv2.cartToPolar(flow[..., 0], flow[..., 1])
    spread = [np.abs(np.gradient(flow[..., 0], axis=1) + np.gradient(flow[..., 1], axis=0)).mean()]
    spread.append(np.abs(np.gradient(flow[..., 1], axis=1) - np.gradient(flow[..., 0], axis=0)).mean())
    cells = cv2.resize(speed, (CELLS, CELLS), interpolation=cv2.INTER_AREA)
    by_direction = np.bincount(
        (angle * DIRECTIONS / (2 * np.pi)).astype(int).ravel() % DIRECTIONS, speed.ravel(), DIRECTIONS
    )
    shares = by_direction / max(by_direction.sum(), 1e-6)
    entropy = -(shares * np.log(shares + 1e-9)).sum()
    return np.array([
        speed.mean(), speed.std(), *np.percentile(speed, (50, 90, 99)), (speed > 1).mean(), *spread, cells.max(),
        cells.std(), entropy, shares.max(),
    ])  # fmt: skip


def clip_numbers(path: Path, preset: int) -> np.ndarray:
    """Mean, deviation, maximum and change over time of the numbers of flow, with and without the camera's."""
    frames, dis, rows = grey_frames(path), cv2.DISOpticalFlow_create(preset), []
    for before, after in itertools.pairwise(frames):
        flow = dis.calc(before, after, None)
        rows.append(np.concatenate([frame_numbers(flow), frame_numbers(flow - np.median(flow, axis=(0, 1)))]))
    table = np.log1p(np.array(rows))
    change = np.abs(np.diff(table, axis=0)).mean(axis=0) if len(table) > 1 else np.zeros(table.shape[1])
    return np.concatenate([table.mean(axis=0), table.std(axis=0), table.max(axis=0), change])


def out_of_fold(x: np.ndarray, y: np.ndarray, folds: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Probabilities (N,) of the second class; C is chosen by folds of the training groups."""
    found = np.zeros(len(y))
    for fold in np.unique(folds):
        rows = folds != fold
        search = GridSearchCV(
            make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000)),
            {"logisticregression__C": np.geomspace(1e-4, 1, 9)}, scoring="neg_log_loss", cv=GroupKFold(5),
        )  # fmt: skip
        search.fit(x[rows], y[rows], groups=groups[rows])
        found[~rows] = search.predict_proba(x[~rows])[:, 1]
    return found


def p_value(gain: np.ndarray, groups: np.ndarray) -> float:
    """Two-sided, of the sum of gains (N,), signs of whole groups exchanged."""
    sums = pd.Series(gain).groupby(groups).sum().to_numpy()
    signs = np.random.default_rng(0).choice([-1, 1], (20_000, len(sums)))
    return float((np.abs(signs @ sums) >= abs(sums.sum()) - 1e-9).mean())


def main(folder: Path, runs: list[Path]) -> None:
    """Print a line for each combination."""
    table = pd.read_csv(folder / "train.csv")
    y = (table["label"] == "fight").to_numpy().astype(int)
    groups = table["source"].to_numpy()
    known = {run: pd.read_parquet(run / "oof.parquet").set_index("id").loc[table["video"]] for run in runs}
    print(f"{'':<44}{'accuracy':>9}{'log loss':>9}   against the run: accuracy, p by source")
    flows = {}
    for name, preset in PRESETS.items():
        x = np.stack([clip_numbers(folder / "train" / video, preset) for video in table["video"]])
        for run, oof in known.items():
            flows[name, run] = out_of_fold(x, y, oof["fold"].to_numpy(), groups)
        show(f"flow, {name}", flows[name, runs[0]], y, groups, None)
    for run, oof in known.items():
        own = oof["fight"].to_numpy()
        show(run.name, own, y, groups, None)
        for name in PRESETS:
            show(f"  mean with flow, {name}", (own + flows[name, run]) / 2, y, groups, own)


def show(name: str, probs: np.ndarray, y: np.ndarray, groups: np.ndarray, other: np.ndarray | None) -> None:
    """Print scores of probabilities, and their gain over others."""
    line = f"{name:<44}{accuracy_score(y, probs > 0.5):>9.4f}{log_loss(y, probs):>9.4f}"
    if other is not None:
        gain = ((probs > 0.5) == y).astype(int) - ((other > 0.5) == y)
        line += f"   {gain.mean():+.4f}, p = {p_value(gain, groups):.2f}"
    print(line, flush=True)


if __name__ == "__main__":
    parser = make_parser(__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("runs", type=Path, nargs="+")
    options = parser.parse_args()
    main(options.folder, options.runs)
