"""What recurrent cells do along an item, in the network of the fold that was not trained on it."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from kagglepipe.competitions.dataset import Dataset
from kagglepipe.runs.run import Run
from kagglepipe.training.backends import InferenceBackend
from kagglepipe.training.checkpoint import read_checkpoints
from kagglepipe.training.inference import SequenceRun


@dataclass(frozen=True)
class Activity:
    """times: of the frames or samples, (T,). units: name of a gate or of the states -> (T, H); fold: of the network."""

    fold: int
    times: NDArray[np.float64]
    units: dict[str, NDArray[np.float32]]


def activity_of(network: Run, dataset: Dataset, id: str, backend: InferenceBackend) -> Activity:
    """Read the item of a labelled row and pass it through its fold's network; no units without recurrent cells.

    Where rows are frames it is the whole video. Raises UserError, ValueError or OSError for files that are not there.
    """
    row = dataset.train[dataset.train["id"] == id].to_dict("records")[0]
    fold = next(one for one in network.models if one.number == int(row["fold"]))
    run = SequenceRun(read_checkpoints([fold.folder]), backend=backend)
    seen = run.read(dataset.images_root / row["path"])
    part = slice(None) if dataset.per_frame else slice(row["position"], row["position"] + row["frames"])
    file, model, _ = run.models[0]
    with torch.inference_mode():
        units = model.activity(torch.from_numpy(seen.features[file][part])[None].to(backend.device))
    return Activity(fold.number, seen.times[part], {name: one.cpu().numpy() for name, one in units.items()})
