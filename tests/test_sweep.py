"""`python -m kagglepipe -m sweep=…`, as it is typed, on images that a tiny network can tell apart."""

import csv
import importlib.util
import itertools
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from kagglepipe.config import Config
from kagglepipe.errors import UserError
from kagglepipe.files import read_json
from kagglepipe.tools.commands import run_command

if TYPE_CHECKING:
    from multiprocessing.context import ForkServerContext

Command = Callable[..., Any]  # the fixture `command` of conftest, which gives an Outcome
Configure = Callable[..., Config]
TOY = ("competition=image_folder", "experiment=quick", "training.views=0", "workers=1")
COMPLETE = 1  # optuna.trial.TrialState.COMPLETE, as the journal has it
GRID = ("-m", "sweep=own", "sweep.sampler=grid", "seed=0,1", "augmentation=light,strong", *TOY)


@pytest.fixture(scope="module")
def noise(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of two classes that nothing tells apart."""
    folder, rng = tmp_path_factory.mktemp("noise") / "noise", np.random.default_rng(0)
    for name in ("one", "other"):
        (folder / name).mkdir(parents=True)
        for number in range(12):
            Image.fromarray(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(folder / name / f"{number}.png")
    return folder


def the_study(root: Path) -> Path:
    """The folder of the one sweep below a root."""
    (journal,) = root.glob("outputs/*/sweeps/*/study.journal")
    return journal.parent


def rows(study: Path) -> list[dict[str, str]]:
    """trials.csv."""
    with (study / "trials.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def journal(study: Path) -> list[dict[str, Any]]:
    """What was ever written of trials."""
    return [json.loads(line) for line in (study / "study.journal").read_text().splitlines()]


# --- to the end ------------------------------------------------------------------------------------------------


def test_a_sweep_ends_with_a_table_pictures_and_an_experiment_that_is_its_best_run(
    colours: Path, tmp_path: Path, command: Command, configure: Configure
) -> None:
    source = f"competition.source={colours}"
    done = command(*GRID, source)
    assert done.code == 0, (done.err, done.out)
    study = the_study(tmp_path)
    assert re.search(rf"sweep: {study.name}; logs of trials are {study}/trials/NUMBER/log.txt\n", done.out)
    told = [line[:12] for line in done.out.splitlines() if ": trial " in line]
    assert told[:4] == [f"sweep: {n}/4: " for n in range(1, 5)]
    table = rows(study)
    assert len({row["run"] for row in table}) == len(table) == 4
    points = itertools.product("01", ("light", "strong"))
    assert {(row["seed"], row["augmentation"]) for row in table} == set(points)
    for name in ("history", "parallel"):
        with Image.open(study / f"{name}.png") as picture:
            assert picture.size[0] > 300
    best = re.search(r"best is trial (\d+), accuracy 1.0000: run=(\S+)", done.out)
    assert best
    (typed,) = re.findall(r"submit it: python -m kagglepipe (.*)", done.out)
    assert typed.split()[0] == "--config-dir"
    before = {run.name for run in study.parents[1].glob("*-head-*")}
    again = command(*shlex.split(typed), "stage=train")
    assert again.code == 0, again.err
    assert f"train: {best[2]} is finished already" in again.out
    assert {run.name for run in study.parents[1].glob("*-head-*")} == before
    kept = (study.parents[1] / best[2] / "config.yaml").read_text()
    assert "trial: null" in kept
    assert "prune_against: null" in kept


@pytest.mark.slow
def test_finalists_are_trained_with_other_seeds(colours: Path, tmp_path: Path, command: Command) -> None:
    options = ("-m", "sweep=own", "model.image_size=32,64,48", *TOY, f"competition.source={colours}", "sweep.trials=3")
    done = command(*options, "sweep.seeds=3", "sweep.finalists=2", "sweep.race=false")
    assert done.code == 0, (done.err, done.out)
    finals = read_json(the_study(tmp_path) / "finals.json")
    assert [sorted(seeds) for seeds in finals.values()] == [["1", "2"]] * 2
    assert len({one["run"] for seeds in finals.values() for one in seeds.values()}) == 4
    assert len(re.findall(r"trial \d+ over 2 other seeds: accuracy \d", done.out)) == 2
    assert "with seed" not in command(*options, "sweep.seeds=3", "sweep.finalists=2", "sweep.race=false").out


@pytest.mark.slow
def test_the_winner_of_finals_is_told_by_its_other_seeds_and_is_what_the_sweep_comes_to(
    colours: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hydra_plugins.kagglepipe_sweeper import _end, _run
    from kagglepipe.sweeps.finals import Finalist

    values, real = list[float | None](), _end.finish

    def unlucky(study: Any, plan: Any, **options: Any) -> list[Finalist]:
        return [Finalist(study.trials[1], (0.25, 0.5)), Finalist(study.trials[0], (0.25, 0.25))]

    monkeypatch.setattr(_end, "run_finals", unlucky)
    monkeypatch.setattr(_run, "finish", lambda sweep, study: values.append(real(sweep, study)))
    options = ("-m", "sweep=own", "sweep.sampler=grid", "augmentation=light,strong", *TOY, "sweep.seeds=3")
    done = command(*options, f"competition.source={colours}")
    assert done.code == 0, (done.err, done.out)
    assert "sweep: trial 1 over 2 other seeds: accuracy 0.3750 ± 0.1768, by its own 1.0000\n" in done.out
    assert "sweep: best is trial 1, accuracy 0.3750 over 2 other seeds: run=" in done.out
    assert values == [0.375]


@pytest.mark.slow
def test_it_says_how_sure_the_best_is(noise: Path, tmp_path: Path, command: Command) -> None:
    done = command("-m", "sweep=own", "seed=0,1,2", *TOY, f"competition.source={noise}", "sweep.race=false")
    assert done.code == 0, (done.err, done.out)
    table = rows(the_study(tmp_path))
    metrics = read_json(the_study(tmp_path).parents[1] / table[0]["run"] / "metrics.json")
    low, high = metrics["interval"]
    assert low < float(table[0]["accuracy"]) < high
    assert f"sweep: that run's own 95 % interval of accuracy: {low:.4f}-{high:.4f}; selected among 3 by th" in done.out
    behind = float(table[0]["accuracy"]) - float(table[1]["accuracy"])
    second = f"trial {table[1]['trial']}, the second best, is not significantly different: accuracy {-behind:+.4f}, p"
    assert f"sweep: {second}" in done.out
    assert len(re.findall(r"sweep: trial 0, the first,", done.out)) == ("0" not in [row["trial"] for row in table[:2]])


@pytest.mark.slow
def test_several_objectives_have_a_front(colours: Path, tmp_path: Path, command: Command) -> None:
    options = ("sweep.sampler=nsga2", "sweep.objectives=[score,latency]", "sweep.trials=4")
    done = command("-m", "sweep=own", "model.image_size=32,64,128,96", *TOY, f"competition.source={colours}", *options)
    assert done.code == 0, (done.err, done.out)
    table = rows(the_study(tmp_path))
    assert all(float(row["ms an image"]) > 0 for row in table)
    assert (the_study(tmp_path) / "front.png").exists()


@pytest.mark.slow
def test_folds_can_be_jobs_of_their_own(colours: Path, tmp_path: Path, command: Command) -> None:
    apart = ("sweep.folds_apart=true", "sweep.trials=1")
    done = command(*GRID, f"competition.source={colours}", *apart)
    assert done.code == 0, (done.err, done.out)
    study = the_study(tmp_path)
    assert sorted(path.name for path in (study / "trials").iterdir()) == ["0", "0-fold-0", "0-fold-1"]
    for fold in "01":
        said = (study / f"trials/0-fold-{fold}/log.txt").read_text()
        assert f"train: fold {fold}: accuracy" in said
        assert f"train: fold {1 - int(fold)}: accuracy" not in said
    assert "train: fold" not in (study / "trials/0/log.txt").read_text()
    assert [row["state"] for row in rows(study)] == ["complete"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("launcher", "options"), [("joblib", "hydra.launcher.n_jobs=2"), ("submitit_local", "sweep.jobs=2")]
)
def test_other_launchers_run_trials_side_by_side(
    launcher: str, options: str, colours: Path, tmp_path: Path, command: Command
) -> None:
    pytest.importorskip(f"hydra_plugins.hydra_{launcher.removesuffix('_local')}_launcher")
    two = (f"hydra/launcher={launcher}", options, "sweep.trials=2")
    done = command(*GRID, f"competition.source={colours}", *two)
    assert done.code == 0, (done.err, done.out)
    assert len({row["run"] for row in rows(the_study(tmp_path))}) == 2


# --- killed ----------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_sweep_that_is_killed_again_and_again_ends_as_one_that_is_not(
    processes: "ForkServerContext", colours: Path, tmp_path: Path
) -> None:
    from tests.processes import Typed, type_in

    arguments = (*GRID, f"competition.source={colours}")
    whole, root = tmp_path / "whole", tmp_path / "killed"
    whole.mkdir()
    root.mkdir()
    undisturbed = type_in(processes, Typed(whole, arguments), tmp_path / "said-whole")
    assert undisturbed.code == 0, undisturbed.err
    for kill in range(3):  # each gets further, since what is done is not done again
        at = ("any", len(undisturbed.moments) // 4)
        killed = type_in(processes, Typed(root, arguments, at=at), tmp_path / f"said-killed-{kill}")
        assert killed.code == -signal.SIGKILL
    before = [line for line in journal(the_study(root)) if line.get("state") == COMPLETE]
    assert before
    done = type_in(processes, Typed(root, arguments), tmp_path / "said-again")
    assert done.code == 0, (done.out, done.err)
    after = [line for line in journal(the_study(root)) if line.get("state") == COMPLETE]
    assert after[: len(before)] == before

    def told(folder: Path) -> list[tuple[str, ...]]:
        names = ("trial", "state", "accuracy", "seed", "augmentation", "run")
        return [tuple(row[name] for name in names) for row in rows(the_study(folder))]

    assert told(root) == told(whole)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="there the parent's number stays")
def test_workers_end_when_the_command_is_killed(colours: Path, tmp_path: Path) -> None:
    """They hold its standard output open, which is at its end when none of them is left."""
    folder, two = tmp_path / "root", ("hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "sweep.race=false")
    words = ("training=finetune", "training.epochs=100000", "training.patience=100000", "augmentation=light,strong")
    typed = ("-m", "sweep=own", *words, *TOY, *two, f"competition.source={colours}", f"paths.root={folder}")
    command = subprocess.Popen(
        [sys.executable, "-m", "kagglepipe", *typed], cwd=tmp_path, stdout=subprocess.PIPE, start_new_session=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[1]), *sys.path])},
    )  # fmt: skip
    try:
        assert command.stdout
        for line in command.stdout:
            if b"trials are done" in line:
                break
        deadline = time.monotonic() + 240
        while len(list(folder.glob("outputs/*/*/fold_0/resume.safetensors"))) < 2:  # both are at it
            assert time.monotonic() < deadline
            with suppress(subprocess.TimeoutExpired):
                assert command.wait(0.2) is None
        command.kill()
        command.communicate(timeout=60)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(command.pid, signal.SIGKILL)


@pytest.mark.slow
def test_two_equal_commands_share_one_study(processes: "ForkServerContext", colours: Path, tmp_path: Path) -> None:
    from tests.processes import Typed, obey

    arguments = (*GRID, f"competition.source={colours}", f"paths.root={tmp_path / 'root'}", "sweep.trials=2")
    started = []
    for name in ("one", "two"):
        place = tmp_path / name
        place.mkdir()
        started.append(processes.Process(target=obey, args=(Typed(place, arguments), place)))
        started[-1].start()
    for process in started:
        process.join(300)
    assert [process.exitcode for process in started] == [0, 0]
    study = the_study(tmp_path / "root")
    assert len({row["run"] for row in rows(study)}) == 2
    assert {row["state"] for row in rows(study)} == {"complete"}
    outs = sorted((tmp_path / name / "out").read_text().count("/2: trial") for name in ("one", "two"))
    assert outs == [0, 2]


# --- failures --------------------------------------------------------------------------------------------------


def test_a_trial_that_fails_is_told_and_counted(colours: Path, tmp_path: Path, command: Command) -> None:
    typed = ("-m", "sweep=own", "sweep.sampler=grid", *TOY, f"competition.source={colours}")
    names = "model.name=nonsense,test_efficientnet"
    done = command(*typed, names, "sweep.fail_fast=true")
    assert done.code == 2
    assert done.err[-1].startswith("kagglepipe: a trial has failed: model.name=nonsense is not a timm model")
    assert not list(tmp_path.glob("outputs/colours/*/metrics.json"))
    done = command(*typed, names)
    assert done.code == 0, done.err
    assert re.search(r"trial \d FAILED: model.name=nonsense is not a timm model; near it are", done.out)
    assert "sweep: 1 of 2 trials FAILED; typed again, the command tries them once more\n" in done.out
    study = the_study(tmp_path)
    told = [(row["state"], row["model.name"]) for row in rows(study)]
    assert told == [("complete", "test_efficientnet"), ("failed", "nonsense")]
    assert "UserError: model.name=nonsense" in (study / "trials/0/error.txt").read_text()
    done = command(*typed, "model.name=nonsense,nothing")
    assert done.code == 2
    assert done.err[-1].startswith("kagglepipe: all 2 trials have failed, the last with: model.name=n")


def test_another_configuration_is_another_sweep_wherever_it_was_written(
    colours: Path, tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hydra_plugins.kagglepipe_sweeper import _run

    names: list[str] = []

    def told_its_name(plan: Any, launch: Any, **data: Any) -> Any:
        names.append(plan.name)
        raise UserError("that is enough")

    monkeypatch.setattr(_run, "run_trials", told_its_name)
    mine = tmp_path / "conf" / "sweep" / "mine.yaml"
    mine.parent.mkdir(parents=True)
    lines = ["# @package _global_", "defaults:", "  - override /hydra/sweeper: kagglepipe", "stage: train", "training:",
             "  regularisation: [1.0]", "sweep:", "  space:", "    seed: range(0,2)"]  # fmt: skip
    mine.write_text("\n".join(lines))
    typed = ("-m", "--config-dir", str(mine.parents[1]), "sweep=mine", *TOY, f"competition.source={colours}")

    def name(*words: str) -> str:
        assert command(*typed, *words).err == ["kagglepipe: that is enough"]
        return names[-1]

    first = name()
    words = ("workers=2", "training.trackers=[]", "sweep.trials=1", "sweep.race=false", "sweep.finalists=2",
             "sweep.fail_fast=true", "hydra/launcher=basic")  # fmt: skip
    assert name(*words, f"paths.root={tmp_path}") == first
    mine.write_text("\n".join([*lines, "  race: false", "  jobs: 3"]))
    assert name() == first
    for word in ("sweep.objectives=[seconds]", "sweep.sampler=random", "competition.metric=log_loss"):
        assert name(word) not in names[:-1]
    mine.write_text("\n".join(lines).replace("[1.0]", "[0.0001]"))
    assert name() not in names[:-1]


def test_data_that_have_changed_are_told_once_and_at_once(colours: Path, tmp_path: Path, command: Command) -> None:
    source = tmp_path / "photos"
    shutil.copytree(colours, source)
    typed = (*GRID, f"competition.source={source}", "sweep.trials=1")
    assert command(*typed).code == 0
    next(source.rglob("*.png")).unlink()
    done = command(*typed)
    assert done.code == 2
    assert "differ from those prepared in" in done.err[-1]
    assert "best is" not in done.out
    other = command(*typed, "training.regularisation=[1]")
    assert (other.code, "FAILED" in other.out) == (2, False)
    refreshed = command(*typed, "competition.refresh=true")
    assert refreshed.code == 2
    assert "images, labels or folds have changed since sweep own-" in refreshed.err[-1]


MISTAKES = [
    (["sweep=head"], "sweep=head is many jobs: type -m as well"),
    (["-m", "training.lr=interval(1e-5,1e-3)"], "training.lr=interval(1e-5,1e-3) is continuous and cannot be"),
    (["-m", "sweep=own"], "there is nothing to try: give options several values"),
    (["-m", "sweep=own", "training.lrr=1,2"], "training.lrr is not an option; did you mean training.lr?"),
    (["-m", "sweep=own", "+foo=1,2"], "foo is not an option"),
    (["-m", "sweep=own", "training.lr=-1", "seed=0,1"], "training.lr=-1.0 must be more than 0"),
    (["-m", "sweep=own", "sweep.trials=1,2"], "sweep.trials=1 and sweep.trials=2 train the very same run"),
    (["-m", "sweep=own", "sweep.sampler=tpe,random"], "train the very same run: leave one of them away"),
    (["-m", "sweep=own", "seed=0,1", "device=cpu,auto", "training=head"], "device=cpu and device=auto train the"),
    (["-m", "sweep=own", "seed=0,1", "training.trackers=[],[wandb]"], "train the very same run"),
    (["-m", "sweep=own", "training=head", "augmentation=light,auto,paste"], "=auto and augmentation=paste train"),
    (["-m", "sweep=own", "training=head", "training.lr=interval(0.1,0.2)"], "training.lr is not read while only a he"),
    (["-m", "sweep=own", "prepare.near_bits=8,16"], "prepare.near_bits cannot vary"),
    (["-m", "sweep=own", "training.lr=fast,slow"], "training.lr: Value 'fast'"),
    (["-m", "sweep=own", "model=lite0,lite7"], "model=lite7 is unknown; did you mean model=lite2? choose one of:"),
    (["-m", "sweep=head", "stage=submit"], "a sweep scores trained runs, and stage=submit is more"),
    (["-m", "sweep=head", "folds.only=[0]"], "a sweep trains all folds of runs of its own"),
    (["-m", "sweep=own", "folds.count=2,3"], "folds.count cannot vary"),
    (["-m", "sweep=head", "sweep.sampler=cmaes"], "sweep.sampler=cmaes needs two or more numbers"),
    (["-m", "sweep=finetune", "sweep.sampler=grid"], "sweep.sampler=grid tries every point, and training.lr has no en"),
    (["-m", "sweep=head", "sweep.sampler=nsga2"], "sweep.sampler=nsga2 weighs objectives: type 'sweep.objectives=["),
    (["-m", "sweep=head", "sweep.sampler=luck"], "sweep.sampler=luck is unknown"),
    (["-m", "sweep=own", "seed=0,1", "sweep.folds_apart=true", "folds.count=groups"], "needs the number of folds"),
    (["-m", "sweep=own", "seed=0,1", "sweep.seeds=2"], "sweep.seeds repeats finalists with other seeds"),
]


@pytest.mark.parametrize(("arguments", "words"), MISTAKES, ids=[" ".join(arguments) for arguments, _ in MISTAKES])
def test_a_mistake_ends_in_one_line_before_any_work(
    arguments: Sequence[str], words: str, command: Command, tmp_path: Path
) -> None:
    done = command(*arguments, "competition=pistols_vs_smartphones_sample")
    assert done.code == 2
    assert done.err[-1].startswith("kagglepipe: ")
    assert words in done.err[-1]
    assert not (tmp_path / "data").exists()


def test_an_option_that_decides_beside_one_value_of_another_may_vary(colours: Path, command: Command) -> None:
    words = ("training=head,finetune", "training.lr=1e-3,1e-4", "training.micro_batch=2", "sweep.trials=1")
    done = command("-m", "sweep=own", *words, *TOY, f"competition.source={colours}", "training.epochs=1")
    assert done.code == 0, (done.err, done.out)


def test_without_the_extra_it_says_what_to_install(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    real, gone = importlib.util.find_spec, ("cmaes", "matplotlib")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *more: None if name in gone else real(name, *more))
    done = command("-m", "sweep=head")
    told = ["kagglepipe: a sweep needs cmaes and matplotlib: pip install 'kagglepipe[sweep]'"]
    assert (done.code, done.err) == (2, told)


# --- pruning ----------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["prune_against", "rival"])  # the second is the old name
def test_training_stops_after_the_fold_by_which_it_cannot_beat_the_incumbent(
    key: str, colours: Path, tmp_path: Path, configure: Configure, caplog: pytest.LogCaptureFixture
) -> None:
    from kagglepipe.runs.configured import read_data, run_of
    from kagglepipe.runs.trial import trial_result

    options = ("stage=train", *TOY, f"competition.source={colours}", "folds.count=3")
    prepare = configure(*options, "stage=prepare")
    run_command(prepare)
    prepared = read_data(prepare)
    rival = {"run": "best", "measure": "log_loss", "greater_is_better": False, "perfect": 0.0,
             "folds": {0: 1e-6, 1: 1e-6, 2: 1e-6}, "folds_hash": prepared.folds_hash}  # fmt: skip
    (tmp_path / "rival.json").write_text(json.dumps(rival))
    config = configure(*options, f"training.{key}={tmp_path}/rival.json")
    run = run_of(config, prepared).folder
    assert run == run_of(configure(*options), prepared).folder
    with caplog.at_level("INFO"):
        run_command(config)
    assert sorted(path.name for path in run.glob("fold_*")) == ["fold_0"]
    assert "train: stopped, since with perfect folds to come its mean would be" in caplog.text
    found = trial_result(config)
    assert found["raced"].startswith("with perfect folds to come its mean would be")
    assert list(found["folds"]) == ["0"]
    (tmp_path / "rival.json").write_text(json.dumps({**rival, "folds_hash": "other folds"}))
    run_command(config)
    assert (run / "metrics.json").exists()
    assert "raced" not in trial_result(config)


RIVAL = {
    "run": "best",
    "measure": "score",
    "greater_is_better": True,
    "perfect": 1,
    "folds": {"0": 1},
    "folds_hash": "",
}


@pytest.mark.parametrize(
    ("contents", "words"),
    [(None, "rival.json: no such file; a sweep writes such a file")]
    + [
        (contents, "rival.json is no JSON with the fold scores of a run; a sweep writes")
        for contents in (
            "{", "[]", '{"run": "best", "folds": {"0": 0.5}}',
            json.dumps({**RIVAL, "measure": "f2"}), json.dumps({**RIVAL, "folds": {"0": None}}),
        )
    ],
)  # fmt: skip
def test_a_wrong_file_to_prune_against_is_refused_before_any_work(
    contents: str | None, words: str, colours: Path, tmp_path: Path, configure: Configure
) -> None:
    if contents is not None:
        (tmp_path / "rival.json").write_text(contents)
    options = (f"competition.source={colours}", f"training.prune_against={tmp_path}/rival.json")
    config = configure("stage=train", *TOY, *options)
    with pytest.raises(UserError, match=words) as error:
        run_command(config)
    assert "\n" not in str(error.value)
    assert not config.data_dir.exists()


def test_the_sweeper_is_found_by_hydra_at_no_cost() -> None:
    code = """if True:
        import sys
        from hydra.core.plugins import Plugins
        names = [one.__name__ for one in Plugins.instance().discover()]
        heavy = {"torch", "pandas", "optuna", "matplotlib", "hydra_plugins.kagglepipe_sweeper._run"}
        print("KagglepipeSweeper" in names, sorted(heavy & set(sys.modules)))
    """
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[1]), *sys.path])}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert done.stdout == "True []\n", done.stderr
