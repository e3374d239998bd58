"""The networks of a run of video or series, to predict other files: its own or, of an ensemble, its members'."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from kagglepipe.errors import UserError
from kagglepipe.runs.run import Run
from kagglepipe.training.backends import InferenceBackend
from kagglepipe.training.checkpoint import read_checkpoints
from kagglepipe.training.sequence_inference import Seen, SequenceRun

if TYPE_CHECKING:
    from kagglepipe.images.decode import Pixels
    from kagglepipe.sequences.video import Resize

Probs = NDArray[np.float64]


def load_run(run: Run, backend: InferenceBackend) -> "SequenceRun | BlendedRun":
    """The networks of a finished run, or of all weighted members of an ensemble."""
    if not run.is_ensemble:
        return SequenceRun(read_checkpoints(run.folder), backend=backend)
    return BlendedRun(run, [load_run(member, backend) for member in run.find_members()])


class BlendedRun:
    """Networks whose probabilities are blended as their ensemble does; used like a SequenceRun.

    Raises UserError for members that read files at other rates.
    """

    def __init__(self, run: Run, members: "list[SequenceRun | BlendedRun]") -> None:
        self.run, self.name, self.members = run, run.name, members
        if len(rates := {member.meta["rate"] for member in members}) > 1:
            found = " and ".join(f"{rate:g}" for rate in sorted(rates))
            raise UserError(
                f"the members of {run.name} read files at the rates {found}: name one of them, as run=MEMBER"
            )
        classes = run.fitted_classes
        self.meta: dict[str, Any] = {**members[0].meta, "classes": classes}
        self.orders = [[member.meta["classes"].index(label) for label in classes] for member in members]

    def read(self, path: Path) -> Seen:
        """The features of a file's frames, or samples, by the encoders of all members."""
        seen = [member.read(path) for member in self.members]
        features = {encoder: values for one in seen for encoder, values in one.features.items()}
        return seen[0]._replace(features=features)

    def probabilities(self, features: dict[Path, NDArray[np.float32]], *, per_frame: bool) -> Probs:
        """(T, C), or (C,) for the whole. features: encoder -> (T, F)."""
        return self.blend([member.probabilities(features, per_frame=per_frame) for member in self.members])

    def blend(self, probs: list[Probs]) -> Probs:
        """The members' probabilities, (T, C) or (C,) each, made into one."""
        stack = np.stack([np.atleast_2d(own)[:, order] for own, order in zip(probs, self.orders, strict=True)])
        return self.run.blend(stack).reshape(probs[0].shape)

    @property
    def side(self) -> "Resize":
        """How frames are decoded, the same for all members. Raises UserError if it is not."""
        if len(sides := {member.side for member in self.members}) > 1:
            raise UserError(f"the members of {self.name} look at frames of other sizes: name one, as run=MEMBER")
        return sides.pop()

    def live(self) -> "Callable[[Pixels], Probs]":
        """A function to be called with one decoded frame after the other -> (C,)."""
        steps = [member.live() for member in self.members]
        return lambda frame: self.blend([step(frame) for step in steps])
