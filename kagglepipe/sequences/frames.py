"""Frames of prepared videos, at the rate of a run, as the views that a network sees."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kagglepipe.errors import UserError
from kagglepipe.files import demand_sha256, file_state
from kagglepipe.images.views import Views
from kagglepipe.sequences.video import frame_differences, pad_frames, sample_frames
from kagglepipe.sequences.video_info import VideoInfo, inspect


class VideoFrames:
    """Reads views of frames by the row of their video.

    paths, digests, ids: (N,) files, their SHA-256 when they were prepared, and what seeds their augmentation. rate:
    frames a second. short_side: pixels to which frames are decoded before they are augmented or cropped. max_side:
    pixels a side beyond which a video is refused.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        digests: Sequence[str],
        ids: Sequence[str],
        views: Views,
        *,
        rate: float,
        short_side: int,
        max_side: int,
    ) -> None:
        self.paths, self.digests, self.ids, self.views = paths, digests, ids, views
        self.rate, self.short_side, self.max_side = rate, short_side, max_side
        self._info: dict[int, tuple[tuple[int, ...], VideoInfo]] = {}

    def read(
        self, row: int, at: NDArray[np.int64], view: int = 0, id: str | None = None, *, motion: bool = False
    ) -> NDArray[np.uint8]:
        """Read the frames number `at` (rising) of a video as view number `view`: (len(at), size, size, 3).

        All frames share one draw of the augmentation, seeded by `id` (None: the video's). motion: what changed since
        the frame before each, instead. Raises UserError if the file is not the one that was prepared.
        """
        if motion:
            with_before = np.arange(max(0, int(at[0]) - 1), int(at[-1]) + 1)
            return frame_differences(self.read(row, with_before, view, id))[at - with_before[0]]
        size, is_squashed = self.views.size, view == 0 and self.views.crop == "squash"
        first, end, id = int(at[0]), int(at[-1]) + 1, id or self.ids[row]
        frames = sample_frames(
            self.paths[row], rate=self.rate, resize=(size, size) if is_squashed else self.short_side,
            start=first / self.rate, end=(end - 0.5) / self.rate, info=self.info(row),
        )  # fmt: skip
        found = pad_frames((self.views.apply(pixels, view, id) for _, pixels in frames), end - first, size)
        self.info(row)  # raises if the file was replaced meanwhile
        return found[at - first]

    def info(self, row: int) -> VideoInfo:
        """Inspect a video, again only if the file changes. Raises UserError if its bytes have changed."""
        path = self.paths[row]
        state = file_state(path) if path.exists() else ()
        known, info = self._info.get(row, (None, None))
        if info is None or known != state:
            demand_sha256(path, self.digests[row])
            info = inspect(path, max_side=self.max_side)
            self._info[row] = state, info
        return info


def check_finetunable(*, motion: bool, cell: str, per_frame: bool) -> None:
    """Raises UserError for options with which encoder and temporal model cannot be trained together."""
    if motion:
        raise UserError("fine-tuning reads frames alone: type sequences.motion=false, or training=head")
    if cell == "mean" and per_frame:
        raise UserError("fine-tuning needs a temporal model: type model=cnn_lstm, or training=head")
