"""The metric of a command line: a fault shows before any work, and a file is run only where the user names it.

Run with `python -m pytest tests/cli/test_named_metric.py`.
"""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kagglepipe.predictions.metrics import OWN_METRICS

Command = Callable[..., Any]
PHOTOS = ("competition=image_folder", "competition.source=photos")
TINY = ("model=tiny", "training=head", "training.views=0", "folds.count=2")
MINE = """
def wrong(truth, probabilities):
    return (probabilities.argmax(axis=1) != truth).mean()

wrong.greater_is_better = False
"""


@pytest.fixture(autouse=True)
def no_own_metrics() -> None:
    OWN_METRICS.clear()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["train", "competition.metric=mine.py:f"], r"mine\.py:f: .*/mine\.py cannot be read \(No such file"),
        (["train", "competition.metric=mine.py"], r"mine\.py names no function: type competition\.metric=FILE\.py:F"),
        (["runs", "competition.metric=bad.py:f"], r"bad\.py:f: the file ends with NameError: name 'x' .*, in line 1"),
        (["train", "competition.metric=ok.py:g"], r"ok\.py:g: the file has no function g: define it"),
        (["train", "competition.metric=ok.py:f#12345678"], r" needs its file, of SHA-256 12345678…: type its path"),
        (["train", "competition.metric=logloss"], r"logloss is unknown; did you mean log_loss\? choose one of"),
        (
            ["train", "competition.metric=f1_binary", "competition.classes=[a,b,c]"],
            r"f1_binary needs 2 classes, there are 3: type competition\.metric=f1_micro or f1_macro",
        ),
        (
            ["competition.metric=roc_auc", "competition.sample_submission=s.csv", "competition.form=name"],
            r"roc_auc is of probabilities, and competition\.form=name submits only labels: type competition\.form=prob",
        ),
        (["train", "competition.log_loss_clip=1e-7"], r"log_loss_clip is not read by competition\.metric=accuracy: "),
        (["train", "competition.metric=log_loss", "competition.log_loss_clip=0.5"], r"log_loss_clip=0\.5 must be"),
    ],
)
def test_a_metric_that_cannot_be_meant_is_refused_before_any_work(
    words: list[str], told: str, command: Command, tmp_path: Path
) -> None:
    (tmp_path / "bad.py").write_text("x\n")
    (tmp_path / "ok.py").write_text("def f(truth, probabilities): return 1.0\n")
    done = command(*words, *PHOTOS)
    assert (done.code, len(done.err)) == (2, 1), done.err
    assert re.match(rf"kagglepipe: competition\.(metric=)?\S*{told}", done.err[0]), done.err
    assert not (tmp_path / "data").exists()


@pytest.mark.slow
def test_a_metric_of_a_file_from_training_to_predictions(command: Command, toy: Path, tmp_path: Path) -> None:
    toy.rename(tmp_path / "photos")
    file = tmp_path / "mine.py"
    file.write_text(MINE)
    named = (*PHOTOS, "competition.metric=mine.py:wrong")
    assert command("train", *named, *TINY).code == 0
    (path,) = tmp_path.glob("outputs/photos/*/metrics.json")
    metrics = json.loads(path.read_text())
    assert re.fullmatch(r"mine\.py:wrong#[0-9a-f]{8}", metrics["metric"])
    assert metrics["score"] == pytest.approx(1 - metrics["correct"] / metrics["rows"])
    assert metrics["greater_is_better"] is False
    # the run names no file that would be read, whatever stands in its configuration
    file.rename(tmp_path / "gone.py")
    mark = tmp_path / "was_run"
    (tmp_path / "evil.py").write_text(f"open({str(mark)!r}, 'w')\n{MINE}")
    told = command("runs").out
    assert f"competition.metric={metrics['metric']}" in told
    assert metrics["run"] in told
    configuration = path.with_name("config.yaml")
    written = configuration.read_text()
    for evil in ("evil.py:wrong", f"{tmp_path}/evil.py:wrong"):
        configuration.write_text(written.replace(metrics["metric"], evil))
        done = command("runs")
        assert (done.code, "evil" in done.out) == (0, False)
    configuration.write_text(written)
    assert not mark.exists()
    # without its file the run keeps its score, and nothing is scored anew
    done = command("runs", *named)
    assert (done.code, metrics["run"] in done.out) == (0, True)
    assert "runs keep the scores that they have by it" in done.out
    assert command("predict", *named, "input=photos/test").code == 0
    assert command("train", *named, *TINY).code == 2
    # a changed file is another metric, by which runs are scored again
    file.write_text(f"{MINE}\n# changed\n")
    assert command("train", *named, *TINY).code == 0
    changed = json.loads(path.read_text())
    assert changed["metric"] != metrics["metric"]
    assert changed["score"] == metrics["score"]
