"""Do several frame rates, and crops where the motion is, tell fights better than frames and their differences?

    python benchmarks/motion.py FOLDER RUN

FOLDER: clips of `competition=surveillance_fights` with train.csv. RUN: a finished run on them, as of `model=mean_pool`,
whose folds and frozen network are used, and that others are compared with. A clip's numbers are means over time of the
network's features: of frames (F) and of differences between frames (D) at ten a second, D at five and at two and a half
a second, and F and D of the square, half as wide as the picture, in which most pixels change (crop). Then logistic
regression, C by inner folds of the other sources. `&` joins numbers, `+` takes the mean of probabilities.
"""

from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from flow import out_of_fold, show
from measure import make_parser

from kagglepipe.images.decode import Pixels
from kagglepipe.runs.run import Run
from kagglepipe.sequences.video import motion_frames, sample_frames
from kagglepipe.training.backends import Encoder, make_backend
from kagglepipe.training.checkpoint import load_encoder, read_checkpoints
from kagglepipe.training.features import encode_frames

RATE, EVERY = 10.0, (1, 2, 4)  # frames a second; each of them, each second one, each fourth one
SHORT_SIDE = 256
TRIED = {
    "F & D": ("F", "D"),
    "D": ("D",),
    "F & D at 5": ("F", "D 5"),
    "F & D & D at 5 & D at 2.5": ("F", "D", "D 5", "D 2.5"),
    "crop: F & D": ("crop F", "crop D"),
    "F & D & crop: F & D": ("F", "D", "crop F", "crop D"),
}
MEANS = {
    "F & D + F & D at 5": ("F & D", "F & D at 5"),
    "F & D + crop: F & D": ("F & D", "crop: F & D"),
}


def busiest(frames: list[Pixels]) -> tuple[int, int, int]:
    """(top, left, side) of the square, half as wide as the picture, in which pixels change most."""
    small = [cv2.resize(cv2.cvtColor(one, cv2.COLOR_RGB2GRAY), (80, 60)).astype(np.float32) for one in frames]
    change = np.abs(np.diff(small, axis=0))
    change = np.maximum(change - np.median(change, axis=(1, 2), keepdims=True), 0)  # without the camera's
    height, width = frames[0].shape[:2]
    whole = cv2.resize(change.mean(axis=0) if len(change) else np.ones((60, 80), np.float32), (width, height))
    side = min(height, width // 2)
    sums = cv2.boxFilter(whole, -1, (side, side), normalize=False, borderType=cv2.BORDER_CONSTANT, anchor=(0, 0))
    sums = sums[: height - side + 1, : width - side + 1]
    top, left = np.unravel_index(int(sums.argmax()), sums.shape)
    return int(top), int(left), side


def clip_features(path: Path, encode: Encoder, size: int) -> dict[str, np.ndarray]:
    """Means over time (F,) of the features of each stream."""
    frames = [pixels for _, pixels in sample_frames(path, rate=RATE, resize=SHORT_SIDE)]
    top, left, side = busiest(frames)
    crops = [frame[top : top + side, left : left + side] for frame in frames]
    streams: dict[str, list[Pixels]] = {}
    for name, own in (("", frames), ("crop ", crops)):
        squares = [cv2.resize(one, (size, size), interpolation=cv2.INTER_AREA) for one in own]
        streams[f"{name}F"] = squares
        for every in EVERY if not name else (1,):
            rate = "" if every == 1 else f" {RATE / every:g}"
            streams[f"{name}D{rate}"] = list(motion_frames(squares[::every]))
    return {name: np.concatenate(list(encode_frames(encode, own, np.float32))).mean(axis=0)
            for name, own in streams.items()}  # fmt: skip


def main(folder: Path, run: Path) -> None:
    """Print a line for each combination."""
    table = pd.read_csv(folder / "train.csv")
    y, groups = (table["label"] == "fight").to_numpy().astype(int), table["source"].to_numpy()
    oof = pd.read_parquet(run / "oof.parquet").set_index("id").loc[table["video"]]
    model = load_encoder(read_checkpoints(Run(run).model_folders())[0])
    encode = make_backend(cache_dir=run).encoder(model.eval())
    clips = [clip_features(folder / "train" / video, encode, model.preprocessing.size) for video in table["video"]]
    own = oof["fight"].to_numpy()
    print(f"{'':<44}{'accuracy':>9}{'log loss':>9}   against the run: accuracy, p by source")
    show(run.name, own, y, groups, None)
    found = {}
    for name, streams in TRIED.items():
        x = np.stack([np.concatenate([clip[stream] for stream in streams]) for clip in clips])
        found[name] = out_of_fold(x, y, oof["fold"].to_numpy(), groups)
        show(name, found[name], y, groups, own)
    for name, parts in MEANS.items():
        show(name, np.mean([found[part] for part in parts], axis=0), y, groups, own)


if __name__ == "__main__":
    parser = make_parser(__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("run", type=Path)
    options = parser.parse_args()
    main(options.folder, options.run)
