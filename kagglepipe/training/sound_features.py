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
from kagglepipe.sequences.sound import READER, draw_warp, less_means, normalised_frames, read_sounds
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
    """Frames (T, 64) of every sound by its name; each has a pitch of its own in the views after the clean ones.

    items: a row a file, with `video`, its name, and `sha256`; with `sequences.group_mean` also `split` and `group`.
    folder: of the stores. Raises UserError for `group_mean` without a group of several sounds.
    """
    rate, names = sequences.samples_per_unit, items["video"].astype(str).tolist()
    pitch = view - clean_views(sequences) + 1
    warps = [draw_warp(draw_seed(seed, pitch, name)) if pitch > 0 else 1.0 for name in names]
    lengths, digests = item_lengths(items, rate), items["sha256"].tolist()
    asked = [
        Item(sha256(digest, repr(warp)), lengths[name], row)
        for row, (name, digest, warp) in enumerate(zip(names, digests, warps, strict=True))
    ]
    store = FeatureStore(folder / f"sounds-{sha256(str(READER), repr(rate))[:8]}")
    with store.writing():
        missing = store.missing(asked)
        rows = [item.row for item in missing]
        sounds = read_sounds(
            [paths[row] for row in rows], [digests[row] for row in rows], [warps[row] for row in rows], rate=rate,
            workers=workers,
        )  # fmt: skip
        shown = progress(sounds, f"sounds{f', view {view}' if view else ''}", total=len(missing), unit="sound")
        for item, frames in zip(missing, shown, strict=True):
            store[item.key] = frames
    own_mean = sequences.centred and not sequences.group_mean
    found = [normalised_frames(store[item.key], centred=own_mean, silence=sequences.silence)[1] for item in asked]
    if sequences.group_mean:
        found = less_means(found, groups_of(items), own_shares(names, view, seed))
    return dict(zip(names, found, strict=True))


def groups_of(items: pd.DataFrame) -> list[str]:
    """Group of every sound, "" for those of the test. Raises UserError if each sound to train on is a group alone."""
    groups = items["group"].where(items["split"] == "train", "").astype(str)
    if groups[groups != ""].is_unique:
        raise UserError(
            "sequences.group_mean needs groups of several sounds, and here each is alone: type "
            "+competition.columns.group=NAME, or sequences.group_mean=false"
        )
    return groups.tolist()


def own_shares(names: Sequence[str], view: int, seed: int) -> list[float]:
    """Share of its own mean that each sound is less: 1 in the first view, 0 in the second, drawn in the others."""
    if view < 2:
        return [1.0 - view] * len(names)
    return [np.random.default_rng(draw_seed(seed, view, name)).random() for name in names]


def clean_views(sequences: SequenceOptions) -> int:
    """Number of the views of unchanged pitch: less the mean of the sound and, by `group_mean`, less that of the group.

    Predictions are the mean over these.
    """
    return 1 + sequences.group_mean


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
