"""A page is by the configuration of its own run, and a run is found where several competitions are prepared."""

import re
import shlex
import shutil
from collections.abc import Callable
from dataclasses import replace
from html import unescape
from pathlib import Path

import pandas as pd
import pytest

import kagglepipe as kp
from kagglepipe.config import Config
from kagglepipe.errors import UserError
from kagglepipe.runs.configured import own_config, store_of
from kagglepipe.runs.run import Run
from kagglepipe.runs.typed_words import training_words
from kagglepipe.tools import report, summary
from kagglepipe.tools.commands import run_command
from kagglepipe.tools.report import write_report
from tests.composing import config_of
from tests.conftest import TINY, Made, Outcome, make_toy
from tests.tools.test_report_tasks import trained

OWN = ("model=tiny", "training=head", "training.views=0", "device=cpu")


@pytest.fixture
def place(made: Made, tmp_path: Path) -> Path:
    """A root of two competitions: classes in folders, with options of their own, and numbers in a CSV."""

    def make(folder: Path) -> None:
        toy = make_toy(folder / "my toys")
        words = ("competition=image_folder", f"competition.source='{toy}'", f"paths.root='{folder}'", "stage=train")
        run_command(config_of(*words, *OWN, "seed=3", "folds.count=3"))
        trained("regression", toy, folder)

    kept = made("two-competitions", make)
    for name in ("data", "outputs"):
        shutil.copytree(kept / name, tmp_path / name)
    return tmp_path


def run_in(place: Path, slug: str) -> Run:
    (file,) = place.glob(f"outputs/{slug}/*/metrics.json")
    return Run(file.parent)


def typed_in(page: Path) -> list[str]:
    """Commands that a page shows."""
    found = re.findall(r"<code>python -m kagglepipe ([^<]*)</code>", page.read_text("utf-8"))
    return [unescape(one) for one in found]


def test_a_page_is_of_the_task_of_its_run(place: Path, command: Callable[..., Outcome]) -> None:
    numbers, classes = run_in(place, "photos"), run_in(place, "my toys")
    for name in (numbers.name, str(numbers.folder)):
        assert command("report", f"run={name}", "report.images=5").code == 0
        text = (numbers.folder / "report.html").read_text("utf-8")
        assert "a number for each item, 36 labelled images" in text
        assert "R²" in text
    assert command("report", f"run={classes.name}", "report.images=5").code == 0
    assert "one of 3 classes for each item" in (classes.folder / "report.html").read_text("utf-8")


def test_a_page_is_of_its_run_whatever_was_typed(place: Path) -> None:
    numbers = run_in(place, "photos")
    other = config_of(*TINY, "stage=report", "competition=image_folder", f"competition.source='{place / 'pets'}'",
                      f"paths.root='{place}'", f"run='{numbers.folder}'", "report.images=5")  # fmt: skip
    assert "a number for each item" in write_report(other, numbers).read_text("utf-8")
    assert own_config(numbers, other).runs_dir == numbers.folder.parent


def test_commands_of_a_page_work_when_pasted_elsewhere(
    place: Path, command: Callable[..., Outcome], tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    run = run_in(place, "my toys")
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    assert command("report", f"run={run.name}", f"paths.root={place}", "report.images=5").code == 0
    typed = typed_in(run.folder / "report.html")
    assert len(typed) >= 3
    source = re.search(r"source: (.*)", run.config_file.read_text("utf-8"))
    assert source is not None
    for line in typed:
        words = shlex.split(line.replace("input=PATH", f"'input={source[1]}/test'"))
        if "training=finetune" in words:
            words += ["training.epochs=1", "report.write=false"]
        done = command(*words)
        assert done.code == 0, (line, done.err)
    assert (place / "outputs/my toys/predict/test.csv").is_file()
    others = [Run(file.parent) for file in place.glob("outputs/my toys/*-finetune-*/metrics.json")]
    assert [(one.identity["seed"], len(one.finished_folds)) for one in others] == [(3, 3)]


def test_the_words_that_train_again_find_the_same_run(place: Path) -> None:
    run = run_in(place, "my toys")
    words = [word.replace("=", "='", 1) + "'" if " " in word or "paths." in word else word
             for word in training_words(replace(own_config(run), device="cpu"))]  # fmt: skip
    again = config_of(*words, "stage=train", "device=cpu")
    before = run.time_ns
    run_command(again)
    assert [one.name for one in store_of(again).finished()] == [run.name]
    assert run.time_ns == before


def test_a_name_that_no_competition_or_two_have_is_said(place: Path, command: Callable[..., Outcome]) -> None:
    run = run_in(place, "my toys")
    shutil.copytree(run.folder, place / "outputs/photos" / run.name)
    done = command("report", f"run={run.name}")
    assert done.code == 2
    assert f"{run.name} is a run of 2 competitions: name its folder, " in done.err[0]
    (line,) = command("report", "run=nothing").err
    assert "Traceback" not in line


def test_pages_in_one_folder_share_no_file(place: Path, tmp_path: Path) -> None:
    runs = [kp.Run(run_in(place, slug).folder) for slug in ("my toys", "photos")]
    (tmp_path / "pages").mkdir()
    for name in ("MODEL_CARD.md", "suspects.csv"):
        (tmp_path / "pages" / name).write_text("of others")
    for run, name in zip(runs, ("a", "b"), strict=True):
        run.report(tmp_path / "pages" / f"{name}.html", images=5)
    found = {file.name: file.read_text("utf-8") for file in (tmp_path / "pages").iterdir()}
    assert found.keys() == {"MODEL_CARD.md", "suspects.csv", "a.html", "b.html", "a.MODEL_CARD.md", "b.MODEL_CARD.md",
                            "a.suspects.csv"}  # fmt: skip
    assert found["MODEL_CARD.md"] == found["suspects.csv"] == "of others"
    with pytest.raises(UserError, match=rf"a\.html is the page of my toys: {runs[0].name}: give another name$"):
        runs[1].report(tmp_path / "pages" / "a.html")
    (tmp_path / "notes.html").write_text("mine")
    with pytest.raises(UserError, match=r"notes\.html is no page: give another name$"):
        runs[1].report(tmp_path / "notes.html")


def test_the_last_line_names_no_page_of_an_earlier_command(
    place: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    run = run_in(place, "my toys")
    (run.folder / "report.html").write_text("an old page")
    config = replace(own_config(run), stage="all")
    for error in (UserError("the disk is full"), OSError("the disk is full")):

        def fails(config: Config, run: Run, error: Exception = error) -> Path:
            raise error

        monkeypatch.setattr(report, "write_report", fails)
        caplog.clear()
        with caplog.at_level("INFO"):
            summary.show_summary(config)
        assert caplog.messages[-1].startswith("report: the page was not written: ")
        assert caplog.messages[-1].endswith("the disk is full")
        assert not any("report.html" in line for line in caplog.messages)


def test_a_blend_of_folders_and_what_python_cannot_say(place: Path, tmp_path: Path) -> None:
    run = run_in(place, "my toys")
    other = shutil.copytree(run.folder, run.folder.with_name("other"))
    (frame := pd.read_parquet(other / "test.parquet")).iloc[::-1].to_parquet(other / "test.parquet")
    blended = kp.blend([str(run.folder), other], "mean")
    assert set(blended.metrics["members"]) == {run.name, "other"}
    pd.testing.assert_frame_equal(blended.test()[["red"]], frame[["red"]], atol=1e-6)
    (run.folder.with_name("broken")).mkdir()
    (run.folder.with_name("broken") / "metrics.json").write_text("{}")
    calls = [
        (lambda: kp.load(run.folder.with_name("broken")).score, r"metrics\.json has no score and is of no run: delete"),
        (lambda: kp.blend(str(run.folder)), "needs a list of two runs or more"),
        (lambda: kp.blend([run.folder, 3]), "3 is no run: give one of list_runs or train, or its folder"),
        (lambda: kp.submit(3), "3 is no run"),
    ]
    for call, words in calls:
        with pytest.raises(UserError, match=words):
            call()


def test_the_submission_of_a_run_needs_no_more_words(place: Path, command: Callable[..., Outcome]) -> None:
    toys = run_in(place, "my toys")  # of three folds
    done = command("submit", f"run={toys.name}")
    assert done.code == 0, done.err
    assert (place / f"submissions/{toys.name}.csv").exists()
