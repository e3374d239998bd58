"""Maps of what the networks of a run looked at, each in pictures of the fold that it was not trained on."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from kagglepipe.competitions.dataset import Dataset
from kagglepipe.competitions.targets import Truth
from kagglepipe.errors import UserError
from kagglepipe.images.cache import image_reader
from kagglepipe.images.decode import Pixels
from kagglepipe.runs.run import Run

if TYPE_CHECKING:
    from kagglepipe.training.backends import InferenceBackend

PixelsDir = Callable[[int, str], Path | None]


@dataclass(frozen=True)
class Looked:
    """maps: id -> (H, W), above 0 where a place speaks for the answer. missing: id -> why its picture is not read.

    network: name of the run whose networks they are of. is_exact: whether a map adds up to the answer's logit. crop,
    crop_pct: part of the picture that the networks see, as in `images.views.clean_view`.
    """

    network: str
    crop: str
    crop_pct: float
    is_exact: bool
    maps: dict[str, NDArray[np.float32]]
    missing: dict[str, str] = field(default_factory=dict)


def network_of(run: Run, part: str = "preprocessing") -> Run | None:
    """The run itself or, of an ensemble, its heaviest member whose model.json has this part; None without one."""
    if run.models:
        return run
    weights = run.metrics.get("weights") or [1.0] * len(run.members)
    members = sorted(zip(weights, run.members, strict=True), key=lambda one: -one[0])
    return next((one for _, one in members if one.is_finished and one.model.get(part)), None)


def looked_at(
    network: Run, dataset: Dataset, ids: Sequence[str], answers: Truth, classes: Sequence[str], pixels_dir: PixelsDir,
    backend: "InferenceBackend",
) -> Looked:  # fmt: skip
    """Make the maps of labelled pictures `ids` for their answers, (N,) or (N, C) in the order of `classes`."""
    from kagglepipe.training.checkpoint import read_checkpoints
    from kagglepipe.training.class_maps import class_maps

    found = read_checkpoints(network.model_folders())
    checkpoints = {fold.number: one for fold, one in zip(network.models, found, strict=True)}
    meta, preprocessing = found[0].meta, found[0].preprocessing
    rows, oof = dataset.train.set_index("id"), network.oof()
    fold_of = dict(zip(oof["id"], oof["fold"].astype(int), strict=True))
    known = [k for k, id in enumerate(ids) if id in rows.index and fold_of.get(id) in checkpoints]
    side, form = preprocessing.short_side, preprocessing.form
    own = rows.loc[[ids[k] for k in known]].reset_index()
    reader = image_reader(
        replace(dataset, bits=meta.get("bits", dataset.bits)), own, side, pixels_dir(side, form.suffix), form
    )
    views: dict[int, Pixels] = {}
    missing: dict[str, str] = {}
    for row, k in enumerate(known):
        try:
            views[k] = preprocessing.views(reader)[row, 0]
        except UserError as error:  # moved or changed since
            missing[ids[k]] = " ".join(str(error).split())
    places = [meta["classes"].index(name) for name in classes]
    wanted = coefficients(meta.get("task", "multiclass"), answers, len(classes))[list(views)]
    if meta.get("task") != "ordinal":  # whose outputs are between classes, in their order
        wanted[:, places] = wanted.copy()
    folds = [fold_of[ids[k]] for k in views]
    maps, is_exact = class_maps(
        checkpoints, folds, list(views.values()), wanted, backend.device, backend.precision.dtype
    )
    shown = {ids[k]: one for k, one in zip(views, maps, strict=True) if one.max() > 0}
    return Looked(network.name, preprocessing.crop, preprocessing.crop_pct, is_exact, shown, missing)


def coefficients(task: str, answers: Truth, classes: int) -> NDArray[np.float32]:
    """Outputs that speak for the answers, (N, O): of a class its own, of tags those named, of an order all.

    >>> coefficients("ordinal", np.array([0, 2]), 3).tolist()
    [[-1.0, -1.0], [1.0, 1.0]]
    >>> coefficients("multiclass", np.array([1]), 3).tolist()
    [[0.0, 1.0, 0.0]]
    """
    if task == "ordinal":  # outputs are logits of being above each class but the last
        return np.where(answers[:, None] > np.arange(classes - 1), 1, -1).astype(np.float32)
    if task == "regression":
        return np.tile(np.eye(1, classes, dtype=np.float32), (len(answers), 1))
    return np.asarray(answers if answers.ndim > 1 else np.eye(classes)[answers], np.float32)
