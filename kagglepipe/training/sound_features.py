"""Log-mel frames of sounds, read once and stored on disk, as features of images and videos are."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kagglepipe.console import progress
from kagglepipe.errors import UserError
from kagglepipe.files import sha256
from kagglepipe.images.views import draw_seed
from kagglepipe.options import SequenceOptions
from kagglepipe.sequences.grid import item_lengths
from kagglepipe.sequences.sound import READER, draw_warp, normalised_frames, read_sounds
from kagglepipe.training.features import FeatureStore, Item


def sound_features(
    items: pd.DataFrame,
    paths: Sequence[Path],
    sequences: SequenceOptions,
    *,
    view: int,
    seed: int,
    folder: Path,
    workers: int | None = None,
) -> Mapping[str, NDArray[np.float32]]:
    """Frames (T, 64) of every sound by its name; each has a pitch of its own in the views after the clean one.

    items: a row a file, with `video`, its name, and `sha256`. folder: of the stores.
    """
    rate, names = sequences.samples_per_unit, items["video"].astype(str).tolist()
    warps = [1.0 if view == 0 else draw_warp(draw_seed(seed, view, name)) for name in names]
    lengths, digests = item_lengths(items, rate), items["sha256"].tolist()
    asked = [
        Item(sha256(digest, repr(warp)), lengths[name], row)
        for row, (name, digest, warp) in enumerate(zip(names, digests, warps, strict=True))
    ]
    store = FeatureStore(folder / f"sounds-{sha256(str(READER), repr(rate))[:8]}")
    with store.writing():
        missing = store.missing(asked)
        rows = [item.row for item in missing]
        found = read_sounds(
            [paths[row] for row in rows], [digests[row] for row in rows], [warps[row] for row in rows], rate=rate,
            workers=workers,
        )  # fmt: skip
        shown = progress(found, f"sounds{f', view {view}' if view else ''}", total=len(missing), unit="sound")
        for item, frames in zip(missing, shown, strict=True):
            store[item.key] = frames
    return {
        name: normalised_frames(store[item.key], centred=sequences.centred, silence=sequences.silence)[1]
        for name, item in zip(names, asked, strict=True)
    }


def check_whole_sounds(rows: pd.DataFrame, lengths: Mapping[str, int]) -> None:
    """Raise UserError for a row of a part of a sound, whose place would be another one without the silence before it.

    rows: `video`, `position` and `frames`. lengths: frames of each sound.
    """
    parts = rows[(rows["position"] > 0) | (rows["frames"] < rows["video"].map(lengths))]
    if len(parts):
        raise UserError(
            f"sequences.silence cuts the ends off whole sounds, and {parts['id'].iloc[0]} is a part of "
            f"{parts['video'].iloc[0]}: type sequences.silence=null"
        )
