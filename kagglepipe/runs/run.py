"""A run on disk: the files of its folder, metrics.json last as proof that it is finished.

outputs/<slug>/<run>/{config.yaml, oof.parquet, test.parquet, metrics.json (last)}; a trained run has fold_0, fold_1, …
beside them, each with oof.parquet, test.parquet, model.json, weights and metrics.json (last). Ensembles have no folds.
"""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kagglepipe.errors import UserError
from kagglepipe.files import exclusive_lock, read_json, write_json
from kagglepipe.predictions.blend import combine, equal_weights
from kagglepipe.predictions.frame import class_columns, read_frame
from kagglepipe.predictions.tasks import TASKS, Task

METRICS_FILE, FOLD = "metrics.json", "fold_"


class Metrics(TypedDict, total=False):
    """Content of metrics.json of a run or a fold; older versions, folds and ensembles lack some of it.

    Scores are null where they are undefined. baseline, constant, linear, linear_random_split, test and
    test_without_twins hold scores as the first six keys do; detection those of segments. choices: fold -> temporal
    model, of model=auto.
    """

    run: str
    metric: str
    greater_is_better: bool  # of a metric of the user's own
    score: float | None
    interval: list[float | None] | None
    log_loss: float | None
    fold_scores: dict[str, float | None]
    fold_mean: float | None
    fold_sd: float | None
    rows: int
    classes: list[str]
    identity: dict[str, Any] | None
    seconds: float | None
    peak_memory_gb: float | None
    machine: dict[str, Any] | None
    cut_by_budget: str | None
    groups_sha256: str
    answers_sha256: str
    detection: dict[str, Any]
    decision: dict[str, Any]
    tta: dict[str, Any]
    choices: dict[str, str]
    baseline: dict[str, Any]
    constant: dict[str, Any]
    linear: dict[str, Any]
    linear_random_split: dict[str, Any]
    accuracy_over_linear: dict[str, Any]
    loss_under_linear: dict[str, Any]
    over_teacher: dict[str, Any]
    base: str  # the run that columns are added to
    over_base: dict[str, Any]
    test: dict[str, Any]
    test_without_twins: dict[str, Any]
    task: str  # of an ensemble; a trained run has it in model.json
    method: str
    members: list[str]
    weights: list[float]
    maps: list[dict[str, Any]]
    power: float


@dataclass(frozen=True)
class Outputs:
    """A folder with metrics and predictions: of a run, or of one of its folds."""

    folder: Path

    @property
    def name(self) -> str:
        """Name of the folder."""
        return self.folder.name

    @property
    def is_finished(self) -> bool:
        """Whether metrics.json is there."""
        return self.metrics_file.exists()

    @property
    def metrics(self) -> Metrics:
        """Content of metrics.json."""
        metrics: Metrics = read_json(self.metrics_file)
        return metrics

    @property
    def metrics_file(self) -> Path:
        """metrics.json, written last."""
        return self.folder / METRICS_FILE

    @property
    def oof_file(self) -> Path:
        """oof.parquet: out-of-fold predictions."""
        return self.folder / "oof.parquet"

    @property
    def test_file(self) -> Path:
        """test.parquet: predictions of the test rows."""
        return self.folder / "test.parquet"

    def oof(self) -> pd.DataFrame:
        """Out-of-fold predictions: id, fold, target, a probability a class."""
        return read_frame(self.oof_file)

    def test(self) -> pd.DataFrame:
        """Test predictions: id, a probability a class."""
        return read_frame(self.test_file)

    def save_metrics(self, metrics: Mapping[str, Any]) -> None:
        """Write metrics.json, after all other files."""
        write_json(self.metrics_file, metrics)

    def invalidate(self) -> None:
        """Remove metrics.json, before any other file changes."""
        self.metrics_file.unlink(missing_ok=True)

    @property
    def cut_by_budget(self) -> str | None:
        """`training.budget` that has cut training short."""
        return self.metrics.get("cut_by_budget")


@dataclass(frozen=True)
class Fold(Outputs):
    """Folder of a trained fold."""

    @property
    def number(self) -> int:
        """The fold's number in folds.csv."""
        return int(self.name.removeprefix(FOLD))

    @property
    def tta_files(self) -> tuple[Path, Path]:
        """Predictions with test-time augmentation: out of fold, and of the test rows."""
        return self.folder / "oof_tta.parquet", self.folder / "test_tta.parquet"

    @property
    def model_file(self) -> Path:
        """model.json: facts of the networks beside their weights."""
        return self.folder / "model.json"

    @property
    def model(self) -> dict[str, Any]:
        """Content of model.json."""
        model: dict[str, Any] = read_json(self.model_file)
        return model

    @property
    def has_model(self) -> bool:
        """Whether model.json is there."""
        return self.model_file.exists()


@dataclass(frozen=True)
class Run(Outputs):
    """Folder of a run: trained fold by fold, or an ensemble of other runs beside it."""

    @property
    def metrics(self) -> Metrics:
        """Content of metrics.json. Raises UserError for one that is damaged, or of something else."""
        found: Metrics = read_json(self.metrics_file)
        if not isinstance(found, dict) or not found:
            raise UserError(f"{self.metrics_file} has no score and is of no run: delete it, and train the run again")
        return found

    def lock(self) -> AbstractContextManager[None]:
        """Lock against other commands that would merge the run."""
        return exclusive_lock(self.folder, f"train: {self.name}")

    def fold(self, number: int) -> Fold:
        """Get a fold by its number; its folder need not exist."""
        return Fold(self.folder / f"{FOLD}{number}")

    @property
    def folds(self) -> list[Fold]:
        """Folders of folds, by number."""
        found = [Fold(path) for path in self.folder.glob(f"{FOLD}*") if path.name.removeprefix(FOLD).isdecimal()]
        return sorted(found, key=lambda fold: fold.number)

    @property
    def finished_folds(self) -> list[Fold]:
        """Folds that are trained."""
        return [fold for fold in self.folds if fold.is_finished]

    @property
    def models(self) -> list[Fold]:
        """Folds with a network; none in an ensemble."""
        return [fold for fold in self.folds if fold.has_model]

    def model_folders(self) -> list[Path]:
        """Folders of the folds with a network. Raises UserError without one, as in an ensemble."""
        if not self.models:
            raise UserError(
                f"{self.folder} holds no trained network (an ensemble has only predictions): give run= one that does"
            )
        return [fold.folder for fold in self.models]

    @property
    def model(self) -> dict[str, Any]:
        """model.json of the first fold; empty without one."""
        return self.models[0].model if self.models else {}

    @property
    def fold_tests(self) -> list[Path]:
        """test.parquet of each fold's network, by name of the folder; none in an ensemble."""
        return sorted(fold.test_file for fold in self.folds if fold.test_file.exists())

    @property
    def config_file(self) -> Path:
        """config.yaml: the configuration that made the run."""
        return self.folder / "config.yaml"

    @property
    def policy_file(self) -> Path:
        """augmentation.json: the user's own augmentation policy; other runs have none."""
        return self.folder / "augmentation.json"

    @property
    def time_ns(self) -> int:
        """Time of the last write, in ns."""
        return self.metrics_file.stat().st_mtime_ns

    # --- what decided the results ------------------------------------------------------------------------------

    @property
    def identity(self) -> dict[str, Any]:
        """Settings and hashes that decided the results; of an ensemble: name -> identity of each member."""
        return self.metrics.get("identity") or {}

    @property
    def data(self) -> set[tuple[str, str | None]]:
        """(table hash, folds hash) that the run, or its members, were trained on, as far as they are known."""
        return data_of(self.identity)

    @property
    def tables(self) -> set[str]:
        """Hashes of the tables that the run, or its members, were trained on."""
        return {table for table, _ in self.data}

    @property
    def tta(self) -> list[str]:
        """Turned views over which its predictions are averaged."""
        tta = self.metrics.get("tta", {})
        return list(tta["views"]) if tta.get("is_kept") else []

    @property
    def class_orders(self) -> list[list[str]]:
        """Orders of classes, each once, that the folds' networks have."""
        orders = [fold.model["classes"] for fold in self.models]
        return [order for number, order in enumerate(orders) if order not in orders[:number]]

    @property
    def rates(self) -> dict[str, float]:
        """Name -> `sequences.rate` of the run, or of each of its members, as far as it is known."""
        identities = self.identity if self.is_ensemble else {self.name: self.identity}
        found = {name: ((one or {}).get("sequences") or {}).get("rate") for name, one in identities.items()}
        for fold in self.models:  # frames were made at this rate, whatever the identity says
            found[self.name] = fold.model.get("rate", found.get(self.name))
        return {name: float(rate) for name, rate in found.items() if rate is not None}

    # --- teachers -----------------------------------------------------------------------------------------------

    @property
    def teacher(self) -> str | None:
        """Name of the run whose pseudo-labels it was trained on."""
        return self.metrics.get("over_teacher", {}).get("teacher")

    @property
    def is_submittable(self) -> bool:
        """See `is_submittable`."""
        return is_submittable(self.metrics)

    # --- ensembles ----------------------------------------------------------------------------------------------

    @property
    def is_ensemble(self) -> bool:
        """Whether the run blends others."""
        return "members" in self.metrics

    @property
    def members(self) -> "list[Run]":
        """Folders beside an ensemble that its members should lie in; of a trained run none."""
        return [Run(self.folder.parent / name) for name in self.metrics.get("members", [])]

    @property
    def weighted_members(self) -> "list[Run]":
        """Members that have a weight; the first where none has."""
        metrics, members = self.metrics, self.members
        weights = metrics.get("weights") or [1] * len(members)
        return [member for member, weight in zip(members, weights, strict=True) if weight] or members[:1]

    def find_members(self) -> "list[Run]":
        """Find the weighted members. Raises UserError for one that is not beside the ensemble, by its identity."""
        return [self.find_member(member.name) for member in self.weighted_members]

    def find_member(self, name: str) -> "Run":
        """Find a member by its name. Raises UserError if it is not there, or another run has its name."""
        member = Run(self.folder.parent / name)
        advice = "make the ensemble again with ensemble.runs=[…] of runs that are"
        if not member.is_finished:
            raise UserError(
                f"{self.name} has to predict other files than it was made for, and its member {name} is not in "
                f"{self.folder.parent}: {advice}"
            )
        known, found = self.identity.get(name), member.identity
        if isinstance(known, dict) and any(found[key] != known[key] for key in found.keys() & known.keys()):
            raise UserError(
                f"{member.folder} is not the member of {self.name} that has this name, which came from elsewhere: "
                f"{advice} here"
            )
        return member

    @property
    def fitted_classes(self) -> list[str]:
        """Order of classes in which an ensemble's maps were fitted."""
        return self.metrics.get("classes") or class_columns(self.oof())

    def blend(self, stack: NDArray[np.float64]) -> NDArray[np.float64]:
        """Blend the predictions (M, N, C) of the weighted members as the ensemble does -> (N, C).

        Classes stand in the order of `fitted_classes`. Ensembles of version 0.3 and older have equal weights.
        """
        metrics, weights = self.metrics, equal_weights(len(stack))
        if "weights" in metrics:
            weights = np.array([weight for weight in metrics["weights"] if weight] or [0.0])
        return combine(stack, weights, metrics["method"], metrics.get("maps", []), metrics.get("power", 2.0), self.task)

    @property
    def kind(self) -> str:
        """Trained on, it or its members: image, video, series or audio. Raises UserError as `find_members`."""
        members = self.find_members() if self.is_ensemble else []
        return members[0].kind if members else str(self.model.get("kind", "image"))

    @property
    def task(self) -> Task:
        """What the run predicts; ensembles of version 0.3 and older predict classes."""
        return TASKS[(self.metrics if self.is_ensemble else self.model).get("task", "multiclass")]

    def missing_network(self) -> str | None:
        """Why the run cannot predict other files; None if it can.

        An ensemble needs its weighted members beside it. Ranks need all rows of a frame.
        """
        if not self.is_ensemble:
            return None if self.models else f"{self.name} has no network"
        if self.metrics.get("method") == "rank_mean":
            return "its ranks need all rows of a frame"
        for member in self.weighted_members:
            if not member.is_finished:
                return f"its member {member.name} has no network here"
            if why := member.missing_network():
                return f"its member {member.name} cannot: {why}" if member.is_ensemble else why
        return None

    @property
    def can_stream(self) -> bool:
        """Whether the networks work frame by frame, as a live stream needs: see `TemporalModel.is_causal`."""
        if self.is_ensemble:
            return all(member.can_stream for member in self.weighted_members)
        temporal = [fold.model.get("temporal") for fold in self.models]
        return all(
            one is not None and one["cell"] not in ("mean", "conv") and not one["bidirectional"] and not one["shuffled"]
            for one in temporal
        )


def is_submittable(metrics: Metrics) -> bool:
    """Whether a run with these metrics is significantly better than its teacher or base, if it has one."""
    gains = (metrics.get("over_teacher", {}), metrics.get("over_base", {}))
    return all(gain.get("is_kept", True) for gain in gains)


def data_of(identity: Any) -> set[tuple[str, str | None]]:
    """(table hash, folds hash) of an identity, or of an ensemble's identities by name, as far as they are known.

    >>> data_of({"one": {"table": "a", "folds": "b"}, "csv": None})
    {('a', 'b')}
    """
    if not isinstance(identity, dict):
        return set()
    if isinstance(identity.get("table"), str):
        return {(identity["table"], identity.get("folds"))}
    return {data for member in identity.values() for data in data_of(member)}
