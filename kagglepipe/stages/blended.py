"""A run of video or series as what predicts other files: its own networks or, of an ensemble, those of its members."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from kagglepipe.config import Config
from kagglepipe.errors import UserError
from kagglepipe.files import read_json
from kagglepipe.stages.unseen import blended_probabilities, fitted_classes, network_members
from kagglepipe.training.backends import make_backend
from kagglepipe.training.checkpoint import read_checkpoints
from kagglepipe.training.sequence_inference import Seen, SequenceRun

if TYPE_CHECKING:
    from kagglepipe.images.decode import Pixels
    from kagglepipe.sequences.video import Resize

Probs = NDArray[np.float64]


def load_run(config: Config, folder: Path) -> "SequenceRun | BlendedRun":
    """The networks of a finished run, or of all members of an ensemble that count."""
    metrics = read_json(folder / "metrics.json")
    if "members" not in metrics:
        return SequenceRun(
            read_checkpoints(folder), backend=make_backend(config.device, config.engine, config.backend_dir)
        )
    members = [load_run(config, member) for member in network_members(folder, metrics)]
    return BlendedRun(folder.name, metrics, members, fitted_classes(folder, metrics))


class BlendedRun:
    """Runs whose probabilities are blended as their ensemble blends them; used like a SequenceRun.

    classes: in the order in which the ensemble was fitted. Raises UserError for members that read files at other rates.
    """

    def __init__(
        self, name: str, metrics: dict[str, Any], members: "list[SequenceRun | BlendedRun]", classes: list[str]
    ) -> None:
        self.name, self.metrics, self.members = name, metrics, members
        if len(rates := {member.meta["rate"] for member in members}) > 1:
            found = " and ".join(f"{rate:g}" for rate in sorted(rates))
            raise UserError(f"the members of {name} read files at the rates {found}: name one of them, as run=MEMBER")
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
        return blended_probabilities(self.metrics, stack).reshape(probs[0].shape)

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
