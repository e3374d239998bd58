"""What a lesson is given: its options, folder, device and seed."""

from dataclasses import dataclass
from pathlib import Path

import torch

from kagglepipe.options import CourseOptions


@dataclass(frozen=True)
class Lesson:
    """One run of a lesson.

    folder: where pictures and models are written, which exists. device: of tensors. seed: of everything random.
    """

    options: CourseOptions
    folder: Path
    device: torch.device
    seed: int = 0

    def size(self, full: int, quick: int) -> int:
        """Choose between the number of a full run and that of `course.quick=true`."""
        return quick if self.options.quick else full
