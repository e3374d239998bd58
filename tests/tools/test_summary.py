"""The end of a command: its facts in a frame on a terminal, in log lines elsewhere, and the page's path last."""

import re
from dataclasses import replace

import pandas as pd
import pytest

from kagglepipe.config import Config
from kagglepipe.console import ConsoleHandler
from kagglepipe.text import framed, width
from kagglepipe.tools import summary
from kagglepipe.tools.commands import run_command
from kagglepipe.tools.report import find_run
from tests.tools.test_report import toy_config  # noqa: F401  # a fixture


def plain(lines: list[str]) -> str:
    """The text in a frame, without colours, edges and line ends."""
    return " ".join(re.sub(r"\x1b\[\d*m|[─│╭╮╰╯]", "", "\n".join(lines)).split())


def test_stage_all_ends_with_scores_places_steps_and_the_page(
    toy_config: Config, caplog: pytest.LogCaptureFixture  # noqa: F811
) -> None:  # fmt: skip
    caplog.set_level("INFO")
    run = find_run(toy_config)
    run_command(replace(toy_config, stage="all"))
    oof = run.oof()
    hits = oof[["blue", "green", "red"]].idxmax(axis=1) == oof["target"]
    recalls = ", ".join(f"{name} {hits[oof['target'] == name].sum()}/12" for name in ("blue", "green", "red"))
    assert f"train: recall of each class: {recalls}" in caplog.messages
    assert f"train: The submission is {run.name}.csv in submissions/." in caplog.messages
    assert sum("out of fold: " in line for line in caplog.messages) == 1
    assert caplog.messages[-1] == f"report: {run.folder / 'report.html'}"


def test_stage_train_says_how_to_submit(toy_config: Config, caplog: pytest.LogCaptureFixture) -> None:  # noqa: F811
    caplog.set_level("INFO")
    run_command(replace(toy_config, stage="train"))
    name = find_run(toy_config).name
    typed = f"python -m kagglepipe submit run={name} paths.root={toy_config.paths.root}"
    assert f"train: Write the submission: {typed}" in caplog.messages
    assert not any(line.startswith("report:") for line in caplog.messages)


@pytest.mark.parametrize("columns", [40, 80, 300])
def test_a_terminal_has_a_frame_that_fits_and_loses_nothing(
    columns: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    lines = ["out of fold: accuracy 0.4847 (79/163), 95 % interval 0.4078-0.5623", "files: " + "日本/" * 30]
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(summary, "terminal_columns", lambda: columns)
    summary.log_framed("train", "lite0", lines)
    assert caplog.messages == [f"train: {line}" for line in lines]  # a program of the user's own has no frame
    monkeypatch.setattr("logging.root.handlers", [ConsoleHandler(), caplog.handler])
    for no_colour, coloured in (("", True), ("1", False)):
        monkeypatch.setenv("NO_COLOR", no_colour)
        caplog.clear()
        summary.log_framed("train", "lite0", lines)
        (shown,) = caplog.messages
        assert ("\x1b[" in shown) == coloured
        rows = re.sub(r"\x1b\[\d*m", "", shown).split("\n")
        assert len({width(row) for row in rows}) == 1
        assert width(rows[0]) <= min(columns, summary.MOST_COLUMNS)
        assert plain(rows).replace(" ", "") == "lite0" + "".join(lines).replace(" ", "")


def test_a_long_title_is_cut() -> None:
    rows = framed("a" * 50, ["b"], 30)
    assert {width(row) for row in rows} == {30}


def test_numbers_and_many_classes_have_no_line_of_classes(toy_config: Config, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    run = find_run(toy_config)
    monkeypatch.setattr(summary, "MOST_CLASSES", 2)
    assert summary.describe_classes(run) == []
    monkeypatch.undo()
    tags = pd.DataFrame({"id": ["1", "2"], "fold": [0, 1], "target": ["a|b", "b"], "a": [0.2, 0.9], "b": [0.7, 0.8]})
    tags.assign(task="multilabel").to_parquet(run.oof_file)
    assert summary.describe_classes(run) == ["recall of each tag: a 0/1, b 2/2"]
    numbers = pd.DataFrame({"id": ["1", "2"], "fold": [0, 1], "target": ["1.5", "2"], "age": [1.0, 2.0]})
    numbers.assign(task="regression").to_parquet(run.oof_file)
    assert summary.describe_classes(run) == []
