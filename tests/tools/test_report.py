"""Pages of runs on disk, by the command: of this version and of 0.3.0, of images, clips, long videos and series."""

import logging
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from html import unescape
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import kagglepipe as kp
from kagglepipe import console
from kagglepipe.config import Config
from kagglepipe.errors import UserError
from kagglepipe.files import write_bytes
from kagglepipe.runs.run import Run
from kagglepipe.tools import plan, report
from kagglepipe.tools.commands import run_command
from kagglepipe.tools.report import find_run, write_report
from tests.composing import config_of
from tests.conftest import Made, Outcome, make_toy
from tests.guards.run_folders import KEPT
from tests.pipelines import pipeline_config

OLD = sorted(path.parent for path in KEPT.glob("outputs/*/*/metrics.json"))
COLOURS = ("competition=image_folder", "model=tiny", "training=head", "folds.count=2", "training.views=0", "device=cpu")


@pytest.fixture
def toy_config(made: Made, tmp_path: Path) -> Config:
    """A copy of a root in which stage=all has run on the folder of `make_toy`."""

    def make(folder: Path) -> None:
        run_command(config_of(*COLOURS, f"competition.source='{make_toy(folder / 'toy')}'", f"paths.root='{folder}'"))

    kept = made("report-toy", make)
    shutil.copytree(kept / "outputs", tmp_path / "outputs")
    shutil.copytree(kept / "data", tmp_path / "data")
    return config_of(
        *COLOURS, "stage=report", f"competition.source='{kept / 'toy'}'", f"paths.root='{tmp_path}'"
    )  # fmt: skip


def run_of(config: Config) -> Run:
    return find_run(config)


def test_stage_all_ends_with_a_page(toy_config: Config) -> None:
    run = run_of(toy_config)
    assert {"report.html", "MODEL_CARD.md", "suspects.csv"} <= {file.name for file in run.folder.iterdir()}
    page = (run.folder / "report.html").read_text("utf-8")
    assert page.count("data:image/jpeg") >= 24
    assert all(f">{name}<" in page for name in ("blue", "green", "red"))
    assert "The submission is" in page
    assert page.count("data:image/png") == page.count('<image id="m') > 20  # what it looked at
    assert "The maps are too coarse to tell the centre from the border" in page


def test_the_path_is_the_last_line(toy_config: Config, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    run = run_of(toy_config)
    (run.folder / "report.html").unlink()
    run_command(toy_config)
    assert caplog.messages[-1] == f"report: {run.folder / 'report.html'}"
    assert (run.folder / "report.html").exists()


def test_what_is_left_out_of_stage_all(toy_config: Config) -> None:
    assert plan(replace(toy_config, stage="all"))[-2:] == ["submit", "report"]
    assert plan(replace(toy_config, stage="submit"))[-1] == "submit"
    run = run_of(toy_config)
    (run.folder / "report.html").unlink()
    quiet = replace(toy_config, stage="all", report=replace(toy_config.report, write=False))
    run_command(quiet)
    assert not (run.folder / "report.html").exists()
    with pytest.raises(UserError, match=r"^report.write=false writes no page: leave it out$"):
        run_command(replace(quiet, stage="report"))


def test_a_page_that_cannot_be_written_fails_no_finished_command(
    toy_config: Config, caplog: pytest.LogCaptureFixture
) -> None:
    run_of(toy_config).oof_file.unlink()
    run_command(replace(toy_config, stage="all"))
    assert re.search(r"the page was not written: .* has no out-of-fold rows", caplog.text)
    with pytest.raises(UserError, match="has no out-of-fold rows, which a report is about"):
        run_command(toy_config)


def test_a_page_is_made_again_when_what_it_is_made_of_has_changed(
    toy_config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, made, write = replace(toy_config, stage="all"), list[str](), write_report
    monkeypatch.setattr(report, "write_report", lambda *given: made.append("page") or write(*given))
    run = run_of(toy_config)
    report.page_at_end(config)
    made.clear()
    before = (run.folder / "report.html").read_bytes()

    def is_made(**changed: Any) -> bool:
        made.clear()
        assert report.page_at_end(replace(config, **changed)) == (logging.INFO, str(run.folder / "report.html"))
        return bool(made)

    assert not is_made()
    assert (run.folder / "report.html").read_bytes() == before
    suspects, table = run.folder / "suspects.csv", toy_config.data_dir / "table.parquet"
    for file in (suspects, run.metrics_file, table, toy_config.ledger_file.with_name(f"{run.name}.csv")):
        write_bytes(file, file.read_bytes() if file.exists() else b"")
        assert is_made()
        assert not is_made()
    assert is_made(report=replace(toy_config.report, images=3))
    assert is_made()
    (run.folder / "MODEL_CARD.md").unlink()
    assert is_made()
    assert (run.folder / "MODEL_CARD.md").exists()
    (run.folder / "report.html").unlink()
    assert is_made()


def test_progress_names_the_report_while_stage_all_writes_it(
    toy_config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    (run_of(toy_config).folder / "report.html").unlink()
    monkeypatch.setattr(report, "write_report", lambda *_: [one.name for one in console._active][-1])
    assert report.page_at_end(replace(toy_config, stage="all")) == (logging.INFO, "report")


def test_pictures_that_moved_are_said_and_the_page_goes_on(toy_config: Config) -> None:
    shutil.rmtree(toy_config.data_dir / "cache")
    rows = pd.read_parquet(toy_config.data_dir / "table.parquet")
    rows.loc[0, "path"] = "blue/gone.png"
    rows.to_parquet(toy_config.data_dir / "table.parquet")
    page = write_report(toy_config, run_of(toy_config)).read_text("utf-8")
    assert "1 pictures are not shown" in page
    assert "gone.png" in page


@pytest.mark.parametrize("separator", [",", ";"])
def test_decisions_about_suspects_stay(separator: str, toy_config: Config) -> None:
    run = run_of(toy_config)
    file = run.folder / "suspects.csv"
    text = "rank,id,given,suggested,p_given,p_suggested,decision\n1,blue/blue1.png,blue,red,0.1,0.9,keep\n"
    text = text.replace("decision\n", "decision,note\n").replace("keep\n", "keep,of a friend\n").replace(",", separator)
    file.write_text(text)
    page = write_report(toy_config, run).read_text("utf-8")
    assert file.read_text() == text  # the user's, with what was added to it
    assert "<td>0.1</td><td>0.9</td><td>keep</td>" in page
    file.write_text(text.replace("keep", ""))
    write_report(toy_config, run)
    assert "blue1" not in file.read_text()  # nothing is decided, and it is no suspect


def test_the_page_has_the_commands_that_apply_decisions_and_compare(toy_config: Config) -> None:
    run = run_of(toy_config)
    file = run.folder / "suspects.csv"
    file.write_text("rank,id,given,suggested,p_given,p_suggested,decision\n1,blue/blue1.png,blue,red,0.1,0.9,change\n")
    page = unescape(write_report(toy_config, run).read_text("utf-8"))
    assert f"competition.labels_patch={file}</code>" in page
    assert f"python -m kagglepipe runs 'runs.compare=[NEW,{run.name}]' paths.root={toy_config.root}</code>" in page


def test_suspects_without_their_columns_are_refused_in_a_line(toy_config: Config) -> None:
    run = run_of(toy_config)
    (run.folder / "suspects.csv").write_text("id,decision\nblue/blue1.png,keep\n")
    with pytest.raises(UserError, match=r"suspects\.csv has the columns id, decision"):
        write_report(toy_config, run)


def test_the_interface_writes_the_same_page_elsewhere(toy_config: Config, tmp_path: Path) -> None:
    run = run_of(toy_config)
    path = kp.load(run.folder).report(tmp_path / "elsewhere" / "page.html", images=5)
    assert path.read_text("utf-8").count("data:image/jpeg") == 5
    assert {file.name for file in path.parent.iterdir()} == {"page.html", "page.suspects.csv", "page.MODEL_CARD.md"}


def test_a_name_of_no_run_and_of_no_page(toy_config: Config) -> None:
    with pytest.raises(UserError, match="run=nothing is not a finished run"):
        run_command(replace(toy_config, run="nothing"))
    with pytest.raises(UserError, match=r"report.file=page.pdf is to be a page"):
        config_of("stage=report", "competition=image_folder", "report.file=page.pdf")


@pytest.mark.parametrize("folder", OLD, ids=lambda folder: folder.name)
def test_runs_of_an_older_version_have_a_page(folder: Path, tmp_path: Path, command: Callable[..., Outcome]) -> None:
    shutil.copytree(KEPT / "outputs", tmp_path / "outputs")
    kind = "image_folder" if folder.parent.name == "images" else "video_folder"
    done = command("report", f"competition={kind}", f"competition.slug={folder.parent.name}", f"run={folder.name}")
    assert done.code == 0, done.err
    page = tmp_path / "outputs" / folder.parent.name / folder.name / "report.html"
    assert done.out.splitlines()[-1].endswith(str(page))
    text = page.read_text("utf-8")
    assert "The data of this run are not prepared here" in text
    assert ("Loss of each fold" in text) == ("head-45" not in folder.name and "ensemble" not in folder.name)


@pytest.mark.parametrize("name", ["clips", "long", "series"])
def test_videos_and_series_have_a_page(name: str, pipeline: Callable[[str], Path], request: pytest.FixtureRequest,
                                       tmp_path: Path) -> None:  # fmt: skip
    from tests.pipelines import PIPELINES

    root = pipeline(name)
    config = pipeline_config(name, request.getfixturevalue(PIPELINES[name][0]), root, "stage=report")
    config = replace(config, report=replace(config.report, file=str(tmp_path / "page.html"), images=6))
    run_command(config)
    page = (tmp_path / "page.html").read_text("utf-8")
    assert page.count("data:image/jpeg") == 6
    assert ("Found and missed segments by kind" in page) == (name == "long")
    assert ("true segments above found ones" in page) == (name == "long")
    assert "Hidden units over time" in page
    assert all(f">{part}</text>" in page for part in ("input gate", "forget gate", "output gate", "state"))
    assert "which was not trained on it" in page
