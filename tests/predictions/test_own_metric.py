"""Metrics that are added: to the table by a line, or by a file of the user's own.

Run with `python -m pytest tests/predictions/test_own_metric.py`.
"""

import math
from pathlib import Path

import numpy as np
import pytest

from kagglepipe.cli.help import stage_help
from kagglepipe.errors import UserError
from kagglepipe.predictions import own_metric
from kagglepipe.predictions.crossfit import make_candidate
from kagglepipe.predictions.ensemble_table import best_member
from kagglepipe.predictions.evaluation import EvalRows, score_interval, summarise
from kagglepipe.predictions.frame import Labels, Probs, oof_frame
from kagglepipe.predictions.metrics import METRICS, OWN_METRICS, Metric, Needs, find_metric
from kagglepipe.predictions.own_metric import is_greater_better, name_metric, same_metric, try_own_metric
from kagglepipe.predictions.paired import score_gain
from kagglepipe.sweeps.objectives import make_objective
from kagglepipe.training.resume import Epoch, best_epoch

CLASSES = ["cat", "dog", "eel"]
BRIER = """
import numpy as np

def brier(truth, probabilities):
    return ((probabilities - np.eye(probabilities.shape[1])[truth]) ** 2).sum(axis=1).mean()

brier.greater_is_better = False

def spread(truth, probabilities):
    return 100 * probabilities.max(axis=1).mean()
"""


@pytest.fixture(autouse=True)
def no_own_metrics(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own_metric, "OWN_METRICS", OWN_METRICS)
    OWN_METRICS.clear()


def brier(probs: Probs, truth: Labels) -> float:
    return float(((probs - np.eye(probs.shape[1])[truth]) ** 2).sum(axis=1).mean())


def rows(skill: float, count: int = 120, seed: int = 0) -> tuple[Probs, Labels]:
    """Probabilities of three classes that are the better, the greater `skill` is."""
    random = np.random.default_rng(seed)
    truth = np.arange(count) % 3
    scores = random.normal(size=(count, 3)) + skill * np.eye(3)[truth]
    return np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True), truth


def asserts_a_loss_is_known_everywhere(name: str) -> None:
    """A metric of which less is better: its scores, intervals, gains, kept epoch, sweeps and choices."""
    (good, truth), (bad, _) = rows(2), rows(0.5)
    frame = oof_frame([f"r{n:03}" for n in range(120)], np.arange(120) % 4, [CLASSES[k] for k in truth], good, CLASSES)
    summary = summarise(name, frame, CLASSES, None)
    assert summary["score"] == pytest.approx(brier(good, truth))
    assert summary["interval"][0] < summary["score"] < summary["interval"][1]
    assert summary["fold_scores"][1] == pytest.approx(brier(good[1::4], truth[1::4]))
    objective = make_objective("score", name)
    assert (objective.label, objective.greater_is_better) == (name, False)
    epochs = [Epoch(n, 0, 0.5, 0.5, 0.1, 1, valid_score=value) for n, value in ((1, 0.4), (2, 0.2), (3, 0.3))]
    assert best_epoch(epochs, name) == 2
    evaluated = EvalRows(truth, np.arange(120) % 4, np.arange(120), name)
    singles = [make_candidate(probs[None], evaluated, "mean") for probs in (bad, good)]
    assert best_member(singles, evaluated) == 1
    gain = score_gain(good, bad, evaluated)
    assert gain.is_beyond_noise
    assert gain.value == pytest.approx(brier(bad, truth) - brier(good, truth))


def test_to_add_a_metric_is_a_function_and_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(METRICS, "brier", Metric(brier, Needs("probabilities"), greater_is_better=False))
    asserts_a_loss_is_known_everywhere("brier")
    assert "top_5_accuracy, brier, top_k_accuracy with a number for k, " in " ".join(stage_help("train").split())


# --- of a file -----------------------------------------------------------------------------------------------------


def written(folder: Path, text: str = BRIER, name: str = "mine.py") -> str:
    (folder / name).write_text(text)
    return f"{folder / name}"


def test_a_metric_of_a_file_is_known_everywhere_by_its_name_and_hash(tmp_path: Path) -> None:
    name = name_metric(f"{written(tmp_path)}:brier")
    assert name.startswith("mine.py:brier#")
    asserts_a_loss_is_known_everywhere(name)
    assert make_objective("score", name).perfect is None
    assert not is_greater_better(name, [])
    written(tmp_path, BRIER + "\n")
    assert name_metric(f"{tmp_path / 'mine.py'}:brier") != name  # another file, another metric
    assert same_metric(name, "mine.py:brier")
    assert not same_metric(name, "mine.py:spread")


def test_a_metric_without_limits_has_students_interval(tmp_path: Path) -> None:
    name = name_metric(f"{written(tmp_path)}:spread")
    probs, truth = rows(1, 40)
    values = 100 * probs.max(axis=1)
    low, high = score_interval(name, probs, truth, np.arange(40))
    reach = 2.0227 * values.std(ddof=1) / math.sqrt(40)  # of 39 degrees of freedom
    assert (low, high) == pytest.approx((values.mean() - reach, values.mean() + reach), rel=1e-4)


FAULTS = {
    "import nothing_of_this_name": r"the file ends with ModuleNotFoundError: No module .*, in line 1: correct it",
    "def f(truth, probabilities:": r"the file ends with SyntaxError: ",
    "import sys; sys.exit(3)": r"the file ends with SystemExit: 3, in line 1",
    "def g(truth, probabilities): return 1": r"has no function f: define it, as def f\(truth, probabilities\)",
    "f = 3": r"has no function f",
    "def f(truth, probabilities): return 1\nf.greater_is_better = 'no'": r"greater_is_better='no' .* True or False",
    "def f(truth): return 1": r"f raises TypeError: .*positional argument",
    "def f(truth, probabilities):\n    return 1 / 0": r"f raises ZeroDivisionError: division by zero, in line 2",
    "def f(truth, probabilities): return probabilities.mean(axis=0)": r"f returns ndarray, not a number",
    "def f(truth, probabilities): return None": r"f returns NoneType, not a number",
    "def f(truth, probabilities): return True": r"f returns bool, not a number",
    "def f(truth, probabilities): return float('nan')": r"f returns nan",
    "def f(truth, probabilities): return float('inf')": r"f returns inf",
}


@pytest.mark.parametrize("text", FAULTS)
def test_a_file_that_is_no_metric_is_refused_in_a_line(text: str, tmp_path: Path) -> None:
    file = written(tmp_path, text)
    with pytest.raises(UserError, match=FAULTS[text]) as caught:
        try_own_metric(name_metric(f"{file}:f"), 3)
    assert str(caught.value).startswith(f"competition.metric={file}:f")
    assert "\n" not in str(caught.value)


def test_it_may_be_undefined_where_a_class_is_missing_and_spoils_no_row(tmp_path: Path) -> None:
    text = "def f(truth, probabilities):\n    truth[:] = 0\n    probabilities /= 0\n    raise ValueError"
    metric = find_metric(name_metric(f"{written(tmp_path, text)}:f"))
    probs, truth = rows(1, 6)
    before = probs.copy()
    with np.errstate(divide="ignore"):
        assert math.isnan(metric.function(probs[:1], truth[:1]))
        assert math.isnan(metric.function(np.full((3, 3), 1 / 3), np.arange(3)))
        with pytest.raises(UserError, match="raises ValueError, in line 4: correct it"):
            metric.function(probs, truth)
    assert (probs == before).all()
    assert truth.tolist() == [0, 1, 2, 0, 1, 2]


# --- what names a file ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("asked", ["mine.py", "mine.py:", "mine.py:f g", "mine.py:1f", "dir/mine.py:f#12345678"])
def test_what_names_no_function_is_refused(asked: str) -> None:
    with pytest.raises(UserError, match=r"names no function: type competition\.metric=FILE\.py:FUNCTION"):
        name_metric(asked)


def test_what_a_run_recorded_reads_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    mark = tmp_path / "was_run"
    written(tmp_path, f"open({str(mark)!r}, 'w')\n{BRIER}")
    recorded = "mine.py:brier#12345678"
    assert name_metric(recorded) == recorded
    for name in (recorded, "mine.py:brier", str(tmp_path / "mine.py:brier")):
        with pytest.raises(UserError, match=r"needs its file.*competition.metric=FOLDER/mine.py:brier"):
            find_metric(name)
    assert not mark.exists()
    name_metric("mine.py:brier")
    assert mark.exists()


def test_without_its_file_the_direction_is_that_which_a_run_recorded() -> None:
    runs = [{"metric": "accuracy"}, {"metric": "mine.py:brier#12345678", "greater_is_better": False}]
    assert name_metric("gone/mine.py:brier", is_needed=False) == "mine.py:brier"
    assert not is_greater_better("mine.py:brier", runs)
    with pytest.raises(UserError, match="needs its file"):
        is_greater_better("mine.py:brier", runs[:1])
    with pytest.raises(UserError, match=r"gone/mine.py cannot be read \(No such file"):
        name_metric("gone/mine.py:brier")
