"""Whatever ends a command that trains, the same command goes on and comes out the same; a budget says what it cut."""

import logging
import math
import re
from collections.abc import Callable
from multiprocessing.context import ForkServerContext
from pathlib import Path
from shutil import copy, copytree
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from kagglepipe.config import Config
from kagglepipe.errors import UserError
from kagglepipe.files import locked, read_json, write_json
from kagglepipe.predictions.frame import read_frame
from kagglepipe.runs.configured import make_learner, read_data, run_of
from kagglepipe.runs.run import Run
from kagglepipe.runs.train_fold import RESUME, Training, fit_and_save
from kagglepipe.stages import train
from kagglepipe.tools.commands import run_command
from kagglepipe.training.advice import warn_of_constant
from kagglepipe.training.learner import LearnerOptions
from kagglepipe.training.resume import load_progress
from tests.processes import Said, Typed, files_below, interrupt, lose_a_worker, the_run, type_in

Type = Callable[..., Said]
Finetuned = tuple[tuple[str, ...], Path]


@pytest.fixture
def typed(processes: ForkServerContext, finetuned: Finetuned, tmp_path: Path) -> Type:
    """typed("folds.only=[0]", root=…, …) -> what comes of the command line of `finetuned`, and so much more."""
    count = 0

    def run(*more: str, root: Path = tmp_path / "root", **options: Any) -> Said:
        nonlocal count
        count += 1
        root.mkdir(exist_ok=True)
        return type_in(processes, Typed(root, (*finetuned[0], *more), **options), tmp_path / f"said{count}")

    return run


def assert_same_run(run: Path, other: Path) -> None:
    """The same name and files; predictions, weights and histories with the same bits."""
    assert run.name == other.name
    assert visible(run) == visible(other)
    for name in (
        "oof.parquet",
        "test.parquet",
        *(f"fold_{k}/{part}.parquet" for k in (0, 1) for part in ("oof", "test")),
    ):
        pd.testing.assert_frame_equal(*(pd.read_parquet(folder / name) for folder in (run, other)), check_exact=True)
    for fold in ("fold_0", "fold_1"):
        weights, others = ((folder / fold / "model.safetensors").read_bytes() for folder in (run, other))
        assert weights == others
        logs = [pd.read_csv(folder / fold / "log.csv").drop(columns="rate") for folder in (run, other)]
        pd.testing.assert_frame_equal(*logs, check_exact=True)


def visible(folder: Path) -> list[str]:
    """All files, save those of the page about the run and the small ones that killed writes have left."""
    names = [name for name in files_below(folder) if not re.search(r"/\.(?!resume).*\.tmp$", f"/{name}")]
    return [name for name in names if name not in ("MODEL_CARD.md", "report.html", "suspects.csv")]


# --- what ends a command -------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_command_that_is_killed_again_and_again_comes_out_the_same(
    typed: Type, finetuned: Finetuned, tmp_path: Path
) -> None:
    """At random moments, the same every time: in preparing, training, predicting, writing."""
    rng, root = np.random.default_rng(0), tmp_path / "root"
    for _ in range(3):
        assert typed(at=("any", int(rng.integers(10, 70)))).code == -9
    said = typed()
    assert said.code == 0, said.err
    assert_same_run(the_run(root), finetuned[1])
    csv = next((root / "submissions").glob("*.csv"))
    assert csv.read_bytes() == (finetuned[1].parents[2] / "submissions" / csv.name).read_bytes()


@pytest.mark.slow
def test_a_full_disk_is_one_line_and_costs_an_epoch(typed: Type, finetuned: Finetuned, tmp_path: Path) -> None:
    root = tmp_path / "root"
    assert typed(at=("after an update", 3)).code == -9  # in the second epoch of the first fold
    file = the_run(root) / "fold_0" / RESUME
    kept = file.read_bytes()
    said = typed(most_bytes=len(kept) // 2)
    assert said.code == 2
    assert re.fullmatch(rf"kagglepipe: no space left for {re.escape(str(file))}: free some, or .*\n", said.err)
    assert file.read_bytes() == kept
    assert files_below(file.parent) == [RESUME]
    said = typed()
    assert said.code == 0, said.err
    assert "fold 0 goes on after epoch 1/2" in said.out
    assert_same_run(the_run(root), finetuned[1])


@pytest.mark.slow
def test_ctrl_c_and_lost_workers_end_in_one_line_and_leave_no_process(
    typed: Type, finetuned: Finetuned, tmp_path: Path
) -> None:
    """Beside a network that trains, two processes read images; who has read them makes no difference in the end."""
    root = tmp_path / "root"
    said = typed(workers=2, at=("after an update", 3), act=interrupt)
    assert (said.code, said.left_behind) == (130, False)
    assert said.err == "kagglepipe: stopped; the same command continues from here\n"
    kept = load_progress(the_run(root) / "fold_0" / RESUME)
    assert kept is not None
    assert kept.epoch == 1
    said = typed(workers=2, at=("after an update", 1), act=lose_a_worker)
    assert (said.code, said.left_behind) == (2, False)
    assert re.fullmatch(
        r"kagglepipe: the process \d+ that reads images is killed by signal: Killed: the system does that when memory "
        r"runs out; type workers=1, and the same command goes on where it was\n",
        said.err,
    )
    said = typed()
    assert said.code == 0, said.err
    assert_same_run(the_run(root), finetuned[1])


# --- time limits ---------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_budget_cuts_every_fold_and_leaves_a_submission(typed: Type, finetuned: Finetuned, tmp_path: Path) -> None:
    """Four seconds of nine. With it the run is finished; with more time, or all, the same command trains it again."""
    root = tmp_path / "root"
    said = typed("training.budget=4s", ticking=True)
    assert said.code == 0, said.err
    assert "training.budget=4s has cut it short; without it the same command trains it whole" in said.out
    run = the_run(root)
    assert read_json(run / "metrics.json")["cut_by_budget"]
    for fold in (0, 1):
        assert read_json(run / f"fold_{fold}" / "metrics.json")["cut_by_budget"]
        log = pd.read_csv(run / f"fold_{fold}" / "log.csv")
        assert log["ended_by"].tolist()[-1] == "budget"
        assert len(log) <= 2
    submitted = pd.read_csv(next((root / "submissions").glob("*.csv")))
    assert set(submitted.iloc[:, 0]) == set(pd.read_parquet(run / "test.parquet")["id"])
    files = visible(root)
    for more in (["training.budget=4s"], ["training.budget=3s"], ["stage=submit"]):
        again = typed(*more)
        assert again.code == 0
        assert "is finished already, cut short by training.budget=4s" in again.out
        assert visible(root) == files
    listed = typed("stage=runs")
    assert f"{run.name} (cut at 4s)" in listed.out
    whole = typed("stage=all", "training.budget=1h", ticking=True)
    assert whole.code == 0, whole.err
    assert_same_run(run, finetuned[1])
    assert not read_json(run / "metrics.json")["cut_by_budget"]


@pytest.mark.slow
def test_a_budget_that_suffices_is_not_to_be_seen(typed: Type, finetuned: Finetuned, tmp_path: Path) -> None:
    said = typed("training.budget=1h", ticking=True)
    assert said.code == 0, said.err
    assert "cut" not in said.out
    assert_same_run(the_run(tmp_path / "root"), finetuned[1])
    assert not read_json(the_run(tmp_path / "root") / "metrics.json")["cut_by_budget"]


@pytest.mark.slow
def test_a_cut_run_that_is_half_replaced_has_no_scores(typed: Type, finetuned: Finetuned, tmp_path: Path) -> None:
    """A kill between its folds leaves none that would be those of a mixture; all the time there is makes it whole."""
    assert typed("training.budget=4s", "stage=train", ticking=True).code == 0
    run = the_run(tmp_path / "root")
    assert (run / "metrics.json").exists()
    assert typed("stage=train", "folds.only=[0]").code == 0
    assert not (run / "metrics.json").exists()
    assert typed("stage=all").code == 0
    assert_same_run(run, finetuned[1])


@pytest.mark.slow
def test_a_cut_run_stays_until_there_is_a_better_one(typed: Type, finetuned: Finetuned, tmp_path: Path) -> None:
    """Training it anew is killed after an epoch: it still is what it was, and to use it loses nothing of that epoch."""
    assert typed("training.budget=4s", ticking=True).code == 0
    run = the_run(tmp_path / "root")
    before = {name: (run / name).read_bytes() for name in files_below(run) if name.endswith((".json", ".parquet"))}
    said = typed("stage=train", at=("after a checkpoint", 1))
    assert said.code != 0
    kept = load_progress(run / "fold_0" / RESUME)
    assert kept is not None
    assert typed("stage=submit").code == 0
    assert {name: (run / name).read_bytes() for name in before} == before
    again = typed("stage=all")
    assert f"goes on after epoch {kept.epoch}" in again.out
    assert_same_run(run, finetuned[1])


def test_a_fold_whose_network_is_replaced_is_not_done(configure: Callable[..., Config], toy: Path) -> None:
    """Until the predictions of the new one are written, which come last."""
    options = ("experiment=quick", "competition=image_folder", f"competition.source={toy}", "stage=train")
    run_command(config := configure(*options))
    learner: Any = make_learner(config, dataset := read_data(config))
    run = run_of(config, dataset)
    assert len(list(run.folder.rglob("metrics.json"))) == 1 + int(config.folds.count)
    learner.predict = lambda *_: 1 / 0
    with pytest.raises(ZeroDivisionError):
        fit_and_save(Training(dataset, run, learner, None, [], {}, "train"), 1, None, None)
    left = {str(path.relative_to(run.folder)) for path in run.folder.rglob("metrics.json")}
    assert left == {f"fold_{k}/metrics.json" for k in range(int(config.folds.count)) if k != 1}


@pytest.mark.parametrize(
    ("then", "now", "words"),
    [
        ("abc", "def", "train: it was made at commit abc, this runs at commit def"),
        (None, "def", "train: it was made outside a checkout, this runs at commit def"),
        ("abc", None, "train: it was made at commit abc, this runs outside a checkout"),
        ("abc", "abc", None),
        (None, None, None),
    ],
)
def test_a_run_of_another_commit_is_told(
    then: str | None, now: str | None, words: str | None, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    monkeypatch.setattr(train, "git_commit", lambda: now)
    write_json(tmp_path / "metrics.json", {"metric": "accuracy"})
    write_json(tmp_path / "fold_0/metrics.json", {})
    write_json(tmp_path / "fold_0/model.json", {"git_commit": then})
    train.log_finished(Run(tmp_path))
    assert [one.getMessage() for one in caplog.records if one.levelname == "WARNING"] == ([words] if words else [])


@pytest.mark.parametrize("text", ["20", "20 minutes", "-5m", "1h 30m", "m", "inf", "1.5"])
def test_what_is_no_time_is_named(text: str, configure: Callable[..., Config]) -> None:
    with pytest.raises(UserError, match=rf"training.budget={re.escape(text)} is not a time: type it as 90s, 20m"):
        configure("competition=image_folder", f"training.budget='{text}'")


def test_no_time_is_not_enough(configure: Callable[..., Config]) -> None:
    with pytest.raises(UserError, match=r"training.budget=0s must be more than 0"):
        configure("competition=image_folder", "training.budget=0s")


def test_a_head_says_that_it_knows_no_budget(
    toy: Path, configure: Callable[..., Config], caplog: pytest.LogCaptureFixture
) -> None:
    options = ("stage=train", "experiment=quick", "competition=image_folder", f"competition.source={toy}")
    with caplog.at_level(logging.WARNING):
        run_command(configure(*options, "training.budget=1s", "training.deterministic=false"))
    assert "training.budget changes nothing while only a head is fitted: add training=finetune" in caplog.text


# --- folds on several machines -------------------------------------------------------------------------------------


@pytest.mark.slow
def test_folds_of_several_machines_come_together(typed: Type, finetuned: Finetuned, tmp_path: Path) -> None:
    """A fold's folder is all that has to be carried over; nothing is trained where it arrives."""
    here, there = tmp_path / "here", tmp_path / "there"
    said = typed("stage=train", "folds.only=[1]", root=there)
    assert said.code == 0, said.err
    assert "train: folds 0 are left" in said.out
    assert not (the_run(there) / "metrics.json").exists()
    said = typed("stage=train", "folds.only=[0]", root=here)
    assert said.code == 0, said.err
    copytree(the_run(there) / "fold_1", the_run(here) / "fold_1")
    said = typed(root=here)
    assert said.code == 0, said.err
    assert "before an image" not in said.moments
    assert_same_run(the_run(here), finetuned[1])


def test_the_time_left_is_that_of_folds_alone(
    toy: Path, configure: Callable[..., Config], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """An hour of preparing what all of three folds share is not told as two more, two minutes a fold are four."""
    hands = [0.0]

    def takes(seconds: float) -> Callable[..., None]:
        return lambda *_: hands.__setitem__(0, hands[0] + seconds)

    config = configure("experiment=quick", "competition=image_folder", f"competition.source={toy}", "stage=prepare")
    run_command(config)
    prepared = read_data(config)
    options = SimpleNamespace(augmentation=SimpleNamespace(policy="none"))
    learner = SimpleNamespace(prepare_features=takes(3600), options=options)
    monkeypatch.setattr(train, "make_learner", lambda *_: learner)
    monkeypatch.setattr(train, "log_setup_of", lambda *_: None)
    monkeypatch.setattr(train, "train_fold", takes(120))
    monkeypatch.setattr(train, "time", SimpleNamespace(perf_counter=lambda: hands[0]))
    with caplog.at_level(logging.INFO):
        train.train_folds(config, prepared, run_of(config, prepared), [0, 1, 2])
    told = [record.getMessage() for record in caplog.records if "min left" in record.getMessage()]
    assert told == ["train: about 4 min left for 2 folds", "train: about 2 min left for 1 folds"]


@pytest.mark.parametrize("mode", ["head", "finetune"])
def test_a_class_of_one_image_is_taught_to_the_other_folds(
    mode: str, configure: Callable[..., Config], toy: Path
) -> None:
    (toy / "yellow").mkdir()
    copy(toy / "test/red13.png", toy / "yellow/only.png")
    options = ("experiment=quick", "competition=image_folder", f"competition.source={toy}", f"training={mode}")
    config = configure(*options, "folds.count=3", "stage=submit", "competition.metric=roc_auc")
    run_command(config)
    prepared = read_data(config)
    run = run_of(config, prepared).folder
    metrics, oof = read_json(run / "metrics.json"), read_frame(run / "oof.parquet").set_index("id")
    assert np.isfinite([metrics["score"], metrics["log_loss"]]).all()
    own = oof["fold"] == oof.loc["yellow/only.png", "fold"]
    assert (oof.loc[own, "yellow"] < 1e-6).all()
    assert (oof.loc[~own, "yellow"] > 1e-5).all()
    assert (read_frame(run / "test.parquet")["yellow"] > 1e-5).all()


@pytest.mark.parametrize("mode", ["head", pytest.param("finetune", marks=pytest.mark.slow)])
def test_folds_alone_become_a_run_that_predicts(
    mode: str, toy: Path, configure: Callable[..., Config], tmp_path: Path
) -> None:
    options = ("experiment=quick", "competition=image_folder", f"competition.source={toy}", f"training={mode}")
    options += ("training.epochs=1", f"paths.root={tmp_path / 'root'}")
    whole = configure(*options, "stage=train")
    score = run_command(whole)
    run = the_run(tmp_path / "root")
    for path in run.iterdir():
        if not path.name.startswith("fold_"):
            path.unlink()
    assert run_command(configure(*options, "stage=train")) == score
    answers = tmp_path / "answers.csv"
    run_command(
        configure(*options, "stage=predict", f"input={toy / 'red'}", f"run={run.name}", f"predict.file={answers}")
    )
    assert set(pd.read_csv(answers)["prediction"]) <= {"blue", "green", "red"}


@pytest.mark.slow
def test_two_commands_that_have_a_fold_each_do_not_wait_for_one_another(
    typed: Type, finetuned: Finetuned, tmp_path: Path
) -> None:
    """While another process holds the lock of fold 0, fold 1 is trained; the run's own lock is not taken for long."""
    root = tmp_path / "root"
    assert typed("stage=prepare").code == 0
    run = root / "outputs" / finetuned[1].parent.name / finetuned[1].name
    with locked(run / "fold_0"):
        said = typed("stage=train", "folds.only=[1]")
        assert said.code == 0, said.err
        assert "waiting" not in said.out
    assert (run / "fold_1/metrics.json").exists()
    assert typed().code == 0
    assert_same_run(run, finetuned[1])


# --- what is said of a fold ----------------------------------------------------------------------------------------


TRAIN = pd.DataFrame({"fold": [0] * 100 + [3] * 10})  # ten rows of fold 3
TRAIN["target"] = ["cat"] * 40 + ["dog"] * 60 + ["cat"] * 4 + ["dog"] * 6


@pytest.mark.parametrize(
    ("metric", "score", "said"),
    [
        ("accuracy", 0.5, "answering dog (6 of 10)"),
        ("accuracy", 0.6, "answering dog (6 of 10)"),
        ("accuracy", 0.7, None),
        ("balanced_accuracy", 0.5, "answering dog (balanced_accuracy 0.5000)"),
        ("balanced_accuracy", 0.55, None),
        ("f1_macro", 0.37, "answering dog (f1_macro 0.3750)"),
        ("roc_auc", 0.5, "answering with the shares of the classes (roc_auc 0.5000)"),
        ("roc_auc", 0.6, None),
        ("log_loss", 0.7, "answering with the shares of the classes (log_loss 0.6730)"),
        ("log_loss", 0.6, None),
        ("roc_auc", math.nan, None),
    ],
)
def test_a_fold_no_better_than_one_answer_to_all_is_called_out_by_the_metric(
    metric: str, score: float, said: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    warn_of_constant(3, TRAIN, {"metric": metric, "score": score}, ["cat", "dog"], LearnerOptions())
    assert [one.split(": another")[0] for one in caplog.messages] == (
        [f"train: fold 3 is no better than always {said}"] if said else []
    )


def test_a_fold_of_one_class_has_nothing_to_be_better_than(caplog: pytest.LogCaptureFixture) -> None:
    one_class = TRAIN.assign(target=TRAIN["target"].where(TRAIN["fold"] != 3, "cat"))
    warn_of_constant(3, one_class, {"metric": "accuracy", "score": 1.0}, ["cat", "dog"], LearnerOptions())
    assert not caplog.records
