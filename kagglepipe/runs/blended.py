"""Networks of a run of video or series, or of the members of an ensemble, to predict other files."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from kagglepipe.errors import UserError
from kagglepipe.runs.run import Run
from kagglepipe.training.backends import InferenceBackend
from kagglepipe.training.checkpoint import read_checkpoints
from kagglepipe.training.inference import Seen, SequenceRun

if TYPE_CHECKING:
    from kagglepipe.images.decode import Pixels
    from kagglepipe.sequences.video import Resize

Probs = NDArray[np.float64]


def load_run(run: Run, backend: InferenceBackend) -> "SequenceRun | BlendedRun":
    """Load the networks of a finished run, or of all weighted members of an ensemble."""
    if not run.is_ensemble:
        return SequenceRun(read_checkpoints(run.model_folders()), backend=backend)
    return BlendedRun(run, [load_run(member, backend) for member in run.find_members()])


class BlendedRun:
    """Networks of the members of an ensemble, with blended probabilities; has the interface of SequenceRun.

    Raises UserError for members that read files at other rates.
    """

    def __init__(self, run: Run, members: "list[SequenceRun | BlendedRun]") -> None:
        self.run, self.name, self.members = run, run.name, members
        if len(rates := {member.meta["rate"] for member in members}) > 1:
            found = " and ".join(f"{rate:g}" for rate in sorted(rates))
            raise UserError(f"the members of {run.name} read files at the rates {found}: name one, as run=MEMBER")
        classes = run.fitted_classes
        self.meta: dict[str, Any] = {**members[0].meta, "classes": classes}
        self.orders = [[member.meta["classes"].index(label) for label in classes] for member in members]

    def read(self, path: Path) -> Seen:
        """Features of the frames, or samples, of a file by the encoders of all members."""
        seen = [member.read(path) for member in self.members]
        features = {encoder: values for one in seen for encoder, values in one.features.items()}
        return seen[0]._replace(features=features)

    def probabilities(self, features: dict[Path, NDArray[np.float32]], *, per_frame: bool) -> Probs:
        """Probabilities (T, C), or (C,) of the whole. features: encoder -> (T, F)."""
        return self.blend([member.probabilities(features, per_frame=per_frame) for member in self.members])

    def blend(self, probs: list[Probs]) -> Probs:
        """Blend the members' probabilities, (T, C) or (C,) each."""
        stack = np.stack([np.atleast_2d(own)[:, order] for own, order in zip(probs, self.orders, strict=True)])
        return self.run.blend(stack).reshape(probs[0].shape)

    @property
    def side(self) -> "Resize":
        """Size of decoded frames. Raises UserError if members differ in it."""
        if len(sides := {member.side for member in self.members}) > 1:
            raise UserError(f"the members of {self.name} decode frames of different sizes: name one, as run=MEMBER")
        return sides.pop()

    def live(self) -> "Callable[[Pixels], Probs]":
        """Function from one decoded frame after the other to probabilities (C,)."""
        steps = [member.live() for member in self.members]
        return lambda frame: self.blend([step(frame) for step in steps])
