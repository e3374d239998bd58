"""Which methods of blending and calibration a task has, and their fits."""

from collections.abc import Callable

from kagglepipe.competitions.targets import Truth
from kagglepipe.errors import UserError
from kagglepipe.options import EnsembleOptions
from kagglepipe.predictions import number_weights
from kagglepipe.predictions.blend import METHODS_OF, Map, Stack
from kagglepipe.predictions.calibration import CALIBRATIONS
from kagglepipe.predictions.decisions import FITS as DECIDED
from kagglepipe.predictions.evaluation import EvalRows
from kagglepipe.predictions.frame import Probs
from kagglepipe.predictions.metrics import find_metric
from kagglepipe.predictions.questions import QUESTIONS
from kagglepipe.predictions.tasks import TASKS, Task
from kagglepipe.predictions.weights import FITTED, FoldWeights, LeftOut

FITS: dict[str, dict[str, Callable[..., FoldWeights]]] = {  # by name of the task
    "multiclass": FITTED,
    "multilabel": FITTED,  # by their view
    "regression": {"hill_climb": number_weights.hill_climb, "nnls": number_weights.nnls},
}


def fit_weights(stack: Stack, rows: EvalRows, method: str, without: LeftOut) -> FoldWeights:
    """Weights by a fitted method (len(without), M) of members that predict the task of `rows`."""
    view, columns = rows.task.view, stack.shape[2]
    folds, groups = (view.rows(numbers, columns) for numbers in (rows.folds, rows.groups))
    return FITS[rows.task.name][method](view.open(stack), view.truth(rows.truth), folds, without, groups)


def fit_calibration(kind: str, task: Task, probs: Probs, truth: Truth, count: int) -> Map:
    """Calibration map of probabilities (N, C), of tags one for yes and no of all. count: of groups."""
    fitted = CALIBRATIONS[kind](task.view.open(probs), task.view.truth(truth), count)
    return {**fitted, "each_tag": True} if task.view is QUESTIONS else fitted


def methods_of(task: Task, metric: str) -> list[str]:
    """Names of the methods that `ensemble.method=auto` compares, equal weights first."""
    equal = [name for name in METHODS_OF[task.name] if name != "rank_mean" or find_metric(metric).is_of_order]
    return [*equal, *FITS[task.name]]


def check_methods(options: EnsembleOptions, task: str) -> None:
    """Raises UserError for a method, calibration or thresholds that the task does not have."""
    name, asked = TASKS[task].name, f"not for competition.task={task}"
    there = [*METHODS_OF[name], *FITS[name]]
    if options.method not in ("auto", *there):
        what = "blends probabilities" if name == "regression" else "blends numbers"
        raise UserError(f"ensemble.method={options.method} {what}, {asked}: type ensemble.method={' or '.join(there)}")
    if options.calibrate != "none" and name == "regression":
        raise UserError(
            f"ensemble.calibrate={options.calibrate} calibrates probabilities, which numbers are not: leave it out"
        )
    if options.threshold != "none" and task in DECIDED:
        raise UserError(
            f"ensemble.threshold={options.threshold} is for classes, {asked}, whose decision each run chooses out of "
            "fold by itself: leave it out"
        )
