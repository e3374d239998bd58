"""Metrics of the user's own: a function in a Python file.

`name_metric` alone reads and runs such a file, and the command line alone calls it, with what the user has typed or
written into a YAML. What runs record is a name with a hash, from which no file is ever read.
"""

import logging
import math
import sys
import traceback
from collections.abc import Callable, Iterable, Mapping
from numbers import Real
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from kagglepipe.competitions.targets import Truth
from kagglepipe.errors import UserError
from kagglepipe.files import absolute, sha256
from kagglepipe.options import TASKS, is_own_metric, is_recorded_metric
from kagglepipe.predictions.frame import Labels, Probs
from kagglepipe.predictions.metrics import OWN_METRICS, Metric, Needs, Score, find_metric

log = logging.getLogger(__name__)
TRIAL_ROWS = 4  # of each class, with random probabilities


def name_metric(asked: str, *, is_needed: bool = True) -> str:
    """Name of a metric in runs: as it is typed or, for FILE.py:FUNCTION, `file.py:function#` and the file's hash.

    Such a file is run, and its function is then known to `find_metric`. A name that runs have recorded stays, and
    nothing is read. is_needed: whether a missing file is an error; without it runs keep the scores that they have.
    Raises UserError for a file that has no such function.
    """
    if not is_own_metric(asked) or is_recorded_metric(asked):
        return asked
    path, _, function = asked.rpartition(":")
    if not path.endswith(".py") or not function.isidentifier():
        raise UserError(f"competition.metric={asked} names no function: type competition.metric=FILE.py:FUNCTION")
    file = absolute(path)
    try:
        code = file.read_bytes()
    except OSError as error:
        why = f"competition.metric={asked}: {file} cannot be read ({error.strerror})"
        if is_needed:
            fix = "correct the path, or type another metric, as competition.metric=accuracy"
            raise UserError(f"{why}: {fix}") from error
        log.warning("%s: runs keep the scores that they have by it, and none is scored anew", why)
        return f"{file.name}:{function}"
    name = f"{file.name}:{function}#{sha256(code)[:8]}"
    if name not in OWN_METRICS:
        OWN_METRICS[name] = _load(file, code, function)
    return name


def same_metric(one: str, other: str) -> bool:
    """Whether two names of metrics are of one; a name without the hash of its file is of any.

    >>> same_metric("a.py:f#12345678", "a.py:f"), same_metric("a.py:f#12345678", "a.py:f#87654321")
    (True, False)
    >>> same_metric("log_loss#1e-07", "log_loss")
    False
    """
    if is_own_metric(one) and ("#" in one) != ("#" in other):
        return one.partition("#")[0] == other.partition("#")[0]
    return one == other


def is_out_of_reach(name: str) -> bool:
    """Whether a metric is of a file that this command does not name, or that is missing: nothing is scored by it."""
    return is_own_metric(name) and name not in OWN_METRICS


def is_greater_better(name: str, recorded: Iterable[Mapping[str, Any]]) -> bool:
    """Whether greater is better in a metric or, of one out of reach, what a run that was scored by it has recorded.

    recorded: metrics.json of runs. Raises UserError where none was.
    """
    if is_out_of_reach(name):
        for metrics in recorded:
            if same_metric(metrics["metric"], name) and "greater_is_better" in metrics:
                return bool(metrics["greater_is_better"])
    return find_metric(name).greater_is_better


def try_own_metric(name: str, classes: int, task: str = "multiclass") -> None:
    """Raises UserError if a metric of the user's own fails on random predictions of this many classes."""
    metric = OWN_METRICS.get(name)
    if metric is None:
        return
    truth, random = np.tile(np.arange(classes), TRIAL_ROWS), np.random.default_rng(0)
    if task == "multilabel":
        metric.function(random.random((len(truth), classes)), np.eye(classes, dtype=np.bool_)[truth])
    elif task == "regression":
        metric.function(random.random((len(truth), classes)), random.random((len(truth), classes)))
    else:
        metric.function(random.dirichlet(np.ones(classes), len(truth)), truth)


def _load(file: Path, code: bytes, function: str) -> Metric:
    """Run the file as a module of its own name and hash, and make a metric of its function."""
    name = f"competition.metric={file}:{function}"
    module = ModuleType(f"{file.stem}_{sha256(code)[:8]}")
    module.__file__ = str(file)
    sys.modules[module.__name__] = module  # where dataclasses and pickle look for it
    try:
        exec(compile(code, file, "exec"), module.__dict__)
    except (Exception, SystemExit) as error:
        raise UserError(f"{name}: the file ends with {_told(error, file)}: correct it") from error
    found = getattr(module, function, None)
    if not callable(found):
        fix = f"define it, as def {function}(truth, probabilities)"
        raise UserError(f"{name}: the file has no function {function}: {fix}")
    greater = getattr(found, "greater_is_better", True)
    if not isinstance(greater, bool):
        raise UserError(f"{name}: greater_is_better={greater!r} of the function must be True or False")
    score = _checked(found, name, file)
    return Metric(score, Needs("any", (1, math.inf), tasks=TASKS), greater, limits=(-math.inf, math.inf), file=file)


def lacks_a_class(truth: Truth, classes: int) -> bool:
    """Whether a class has no row, or a tag none with it or none without it; never of numbers.

    >>> lacks_a_class(np.array([0, 0]), 2), lacks_a_class(np.array([[True, False], [False, True]]), 2)
    (True, False)
    """
    if truth.ndim == 1:
        return len(np.unique(truth)) < classes
    return truth.dtype == np.bool_ and bool((truth.all(axis=0) | ~truth.any(axis=0)).any())


def _checked(function: Callable[[Labels, Probs], Any], name: str, file: Path) -> Score:
    """Make a metric of the function.

    It may be undefined on rows that lack a class, as of a fold or a slice, and for predictions that are all equal, as
    of a baseline. On all others it raises UserError where the function raises, or returns no finite number.
    """

    def score(probs: Probs, truth: Labels) -> float:
        may_be_undefined = lacks_a_class(truth, probs.shape[1]) or bool((probs == probs[0]).all())
        try:
            found = function(truth.copy(), probs.copy())
        except (Exception, SystemExit) as error:
            if may_be_undefined:
                return math.nan
            raise UserError(f"{name} raises {_told(error, file)}: correct it, or type another metric") from error
        found = found[()] if isinstance(found, np.ndarray) and found.ndim == 0 else found
        is_number = isinstance(found, Real) and not isinstance(found, bool)
        value = float(found) if is_number else math.nan
        if not math.isfinite(value):
            if may_be_undefined and is_number:
                return math.nan
            shown = f"{value}" if is_number else f"{type(found).__name__}, not a number"
            raise UserError(f"{name} returns {shown}: correct it, or type another metric")
        return value

    return score


def _told(error: BaseException, file: Path) -> str:
    """Type, message and line in the file of an error, in one line."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(file)]
    text = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}".rstrip(": ")
    return f"{text}, in line {lines[-1]}" if lines else text
