"""Every run beside what Kaggle said of it, as it is now, and what to know before one is chosen by its public score."""

import re
import shutil
from collections.abc import Callable, Collection
from typing import Any

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import save_file

from kagglepipe.errors import UserError
from kagglepipe.files import write_json, write_parquet
from kagglepipe.kaggle.ledger import record
from kagglepipe.options import RunsOptions
from kagglepipe.predictions.frame import oof_frame
from kagglepipe.predictions.uncertainty import TOO_FEW
from kagglepipe.runs.configured import read_data
from kagglepipe.text import table, width
from kagglepipe.tools.commands import run_command
from tests.cats import CLASSES, SCORES, Cats, add_run

HEADER = ["run", "accuracy", "95 % interval", "log loss", "folds", "sent (UTC)", "status", "public", "private", "gap"]
Shown = Callable[..., list[str]]


@pytest.fixture
def shown(cats: Cats, caplog: pytest.LogCaptureFixture) -> Shown:
    """shown("runs.leaderboard=true", …) -> the lines that stage=runs prints."""

    def run(*overrides: str) -> list[str]:
        caplog.clear()
        run_command(cats.at("stage=runs", "run=null", *overrides))
        return [record.getMessage() for record in caplog.records if record.name == "kagglepipe.tools.runs"]

    return run


def cells(lines: list[str]) -> list[list[str]]:
    """The rows of a table, cell by cell, by where its header has its columns; when a run was finished is left out."""
    starts = [0, *(n for n in range(2, len(lines[0])) if lines[0][n - 2 : n] == "  " and lines[0][n] != " ")]
    ends = [*starts[1:], None]
    rows = [[line[start:end].strip() for start, end in zip(starts, ends, strict=True)] for line in lines]
    return [row[: len(HEADER)] for row in rows]


def sent(cats: Cats, tag: str, **facts: Any) -> None:
    """A row of the ledger."""
    row = {
        **{"time": "2026-01-02 03:04:05", "competition": "cats", "run": "one", "metric": "accuracy", "oof_score": 0.75},
        **{"oof_low": 0.5, "oof_high": 0.9, "ref": tag, "status": "complete", "private_score": 0.5},
    }
    record(cats.at().ledger_file, tag, {**row, **facts})


# --- the table ----------------------------------------------------------------------------------------------------


def test_runs_are_shown_with_the_best_first_and_what_was_sent_beside_them(cats: Cats, shown: Shown) -> None:
    add_run(cats.root, "better", score=0.875, interval=[0.6, 0.95], log_loss=0.25)
    add_run(cats.root, "worse", score=0.25)
    sent(cats, "4001", public_score=0.66667)
    sent(cats, "4002", run="better", oof_score=0.875, public_score=0.9, time="2026-01-02 13:14:15", private_score=0.8)
    sent(cats, "4003", public_score=0.75, time="2026-01-03 03:04:05")
    sent(cats, "4004", competition="dogs", status="pending")
    assert cells(shown()) == [
        HEADER,
        ["better", "0.8750", "0.6000-0.9500", "0.2500", "", "2026-01-02 13:14", "complete", "0.9", "0.8", "+0.0250"],
        ["one", "0.7500", "0.5000-0.9000", "0.6250", "", "2026-01-02 03:04", "complete", "0.66667", "0.5", "-0.0833"],
        ["one", "0.7500", "0.5000-0.9000", "0.6250", "", "2026-01-03 03:04", "complete", "0.75", "0.5", "+0.0000"],
        ["worse", "0.2500", "0.5000-0.9000", "0.6250", "", "", "", "", "", ""],
    ]
    assert cats.kaggle.calls == []  # since there is nothing to be learnt


def test_the_least_log_loss_is_the_best(cats: Cats, shown: Shown) -> None:
    for name, score in (("better", 0.25), ("worse", 0.875), ("unknown", None)):
        add_run(cats.root, name, metric="log_loss", score=score, log_loss=score)
    lines = cells(shown("competition.metric=log_loss"))
    assert lines[0][1] == "log_loss"
    assert [line[:2] for line in lines[1:]] == [
        ["better", "0.2500"],
        ["worse", "0.8750"],
        ["one", "0.7500 accuracy"],  # what is of another metric is told apart
        ["unknown", "?"],
    ]


def test_scores_that_are_not_known_come_last(cats: Cats, shown: Shown) -> None:
    add_run(cats.root, "unknown", score=None, interval=[None, None], log_loss=None)
    add_run(cats.root, "zero", score=0.0, interval=None)
    sent(cats, "4001", run="unknown", oof_score=None, oof_low=None, oof_high="nan", public_score="nan")
    lines = cells(shown())[1:]
    assert [line[:4] for line in lines] == [
        ["one", "0.7500", "0.5000-0.9000", "0.6250"],
        ["zero", "0.0000", "?", "0.6250"],
        ["unknown", "?", "too few groups", "?"],
    ]
    assert lines[-1][5:] == ["2026-01-02 03:04", "complete", "nan", "0.5", ""]


def test_submissions_stay_when_their_run_is_gone(cats: Cats, shown: Shown) -> None:
    sent(cats, "4001", run="deleted", public_score=0.5, oof_low=None)
    sent(cats, "4002", run="old", metric="log_loss", oof_score=0.5, public_score=0.25)
    assert cells(shown())[1:] == [
        ["one", "0.7500", "0.5000-0.9000", "0.6250", "", "", "", "", "", ""],
        ["deleted (gone)", "0.7500", "?", "", "", "2026-01-02 03:04", "complete", "0.5", "0.5", "-0.2500"],
        [
            "old (gone)",
            "0.5000 log_loss",
            "0.5000-0.9000",
            "",
            "",
            "2026-01-02 03:04",
            "complete",
            "0.25",
            "0.5",
            "-0.2500",
        ],
    ]


def test_a_run_is_called_as_its_folder_is(cats: Cats, shown: Shown) -> None:
    add_run(cats.root, "before").rename(cats.root / "outputs/cats/after")
    sent(cats, "4001", run="after", public_score=0.5)
    assert [line[:7:6] for line in cells(shown())[1:]] == [["one", ""], ["after", "complete"]]


def test_without_a_run_the_next_thing_to_type_is_said(cats: Cats, shown: Shown) -> None:
    (cats.root / "outputs/cats").rename(cats.root / "outputs/elsewhere")
    with pytest.raises(UserError, match=r"there is no finished run in .*/outputs/cats: type stage=train first"):
        shown()
    sent(cats, "4001", public_score=0.5)
    assert [line[0] for line in cells(shown())] == ["run", "one (gone)"]


# --- all that is known, as a CSV ------------------------------------------------------------------------------------


def written(cats: Cats, shown: Shown) -> pd.DataFrame:
    """runs.csv as a table of text."""
    path = cats.root / "made/runs.csv"
    assert shown(f"runs.file='{path}'")[-1].endswith(f" in {path}")
    return pd.read_csv(path, dtype=str, keep_default_na=False)


def test_the_csv_has_what_is_known_of_every_run(cats: Cats, shown: Shown) -> None:
    cost = {"seconds": 1800, "peak_memory_gb": 1.5, "machine": {"device": "cpu", "devices": 4}}
    add_run(cats.root, "better", score=0.875, interval=[0.6, 0.95], fold_mean=0.87, fold_sd=0.01, **cost)
    gpu = {**cost, "machine": {"device": "cuda", "devices": 2}}
    add_run(cats.root, "other", score=0.5, identity={"seed": 2, "model": {"name": "lite1"}}, **gpu)
    sent(cats, "4001", run="better", public_score=0.9)
    sent(cats, "4002", run="better", public_score=0.8)
    table = written(cats, shown)
    assert table["run"].tolist() == ["better", "better", "one", "other"]
    first = table.iloc[0].to_dict()
    assert first | {"score": "0.875", "low": "0.6", "high": "0.95", "log_loss": "0.625"} == first
    assert first | {"fold_mean": "0.87", "fold_sd": "0.01", "seconds": "1800.0", "peak_memory_gb": "1.5"} == first
    assert table["public_score"].tolist() == ["0.9", "0.8", "", ""]
    assert table[["device", "cpu_hours", "gpu_hours"]].values.tolist() == [
        *[["cpu", "2.0", ""]] * 2, ["", "", ""], ["cuda", "", "1.0"],
    ]  # fmt: skip
    assert table["differs_from_best"].tolist() == ["", "", "", "seed=2; model.name=lite1"]


def test_folds_that_were_trained_apart_count_in_hours(cats: Cats, shown: Shown) -> None:
    folder = add_run(cats.root, "one", seconds=2, machine={"device": "cpu", "devices": 1})
    for fold in (0, 1):
        write_json(folder / f"fold_{fold}/metrics.json", {"seconds": 900})
    assert written(cats, shown)["cpu_hours"].tolist() == ["0.5"]


def test_parameters_are_counted_from_the_headers_of_the_files(cats: Cats, shown: Shown) -> None:
    folder = cats.root / "outputs/cats/one"
    head = {"head.weight": np.zeros((3, 5), np.float32), "head.bias": np.zeros(3, np.float32)}
    norm = {
        "bn.weight": np.zeros(7, np.float16),
        "bn.running_mean": np.zeros(7),
        "bn.num_batches_tracked": np.zeros(()),
    }
    save_file(head, folder / "fold_0/model.safetensors", {"epoch": "1"})
    save_file(norm, folder / "backbone.safetensors")
    add_run(cats.root, "both", score=0.1, members=["one", "one"], method="mean")
    add_run(cats.root, "lost", score=0.0, members=["one", "gone"], method="mean")
    table = written(cats, shown)
    assert dict(zip(table["run"], table["parameters"], strict=True)) == {"one": "25", "both": "50", "lost": ""}
    assert table["differs_from_best"].tolist()[1:] == [
        "ensemble.method=mean; ensemble.runs=one, one; seed=-",
        "ensemble.method=mean; ensemble.runs=one, gone; seed=-",
    ]


@pytest.mark.parametrize("data", [b"", b"\xff" * 20, b"\2\0\0\0\0\0\0\0[]", b'\7\0\0\0\0\0\0\0{"a":1}'])
def test_a_damaged_network_is_named(cats: Cats, shown: Shown, data: bytes) -> None:
    (cats.root / "outputs/cats/one/fold_0/model.safetensors").write_bytes(data)
    with pytest.raises(UserError, match=r"fold_0/model\.safetensors is not a whole safetensors file"):
        written(cats, shown)


def test_a_folder_is_no_file_to_write(cats: Cats, shown: Shown) -> None:
    (cats.root / "x.csv").mkdir()
    with pytest.raises(UserError, match=r"x\.csv is a folder; give a file name"):
        shown(f"runs.file='{cats.root / 'x.csv'}'")
    with pytest.raises(UserError, match=r"runs\.file=x\.parquet is to be a CSV"):
        RunsOptions(file="x.parquet")


# --- two runs -----------------------------------------------------------------------------------------------------


def add_oof(cats: Cats, name: str, wrong: Collection[int], **scores: Any) -> None:
    """A run that answers the rows of the table, in their order, rightly but for some."""
    train, folder = read_data(cats.at()).train, cats.root / "outputs/cats" / name
    truth = [CLASSES.index(name) for name in train["target"]]
    given = [(true + (n in wrong)) % 3 for n, true in enumerate(truth)]
    probs = np.eye(3)[given] * 0.7 + 0.1
    write_parquet(
        folder / "oof.parquet", oof_frame(train["id"], train["fold"].tolist(), train["target"], probs, CLASSES)
    )
    write_json(folder / "metrics.json", {**SCORES, "run": name, **scores})


def test_two_runs_are_told_apart(cats: Cats, shown: Shown) -> None:
    add_oof(cats, "right", [], identity={"seed": 1})
    add_oof(cats, "wrong", range(6), identity={"seed": 2})
    lines = shown("runs.compare=[right,wrong]")
    assert lines[:2] == [
        "runs: a is right, b is wrong; they differ in seed=1 and 2",
        "runs: only a is right on 6 of 6 rows, only b on 0: exact McNemar p = 0.031",
    ]
    assert lines[2].startswith("runs: difference in log loss (a - b): -2.0794 (-2.0794 to -2.0794, p = ")
    assert lines[2].endswith("), 6 groups (a has less, which is better)")
    assert lines[3] == "runs: significant: answers and log loss, unless these two were selected from many"
    assert cells(lines[4:])[0] == ["id", "target", "a predicts", "b predicts", "a's probability", "b's probability"]
    assert cells(lines[4:])[1] == ["blue/blue0.png", "blue", "blue", "green", "0.8000", "0.1000"]
    assert len(lines[4:]) == 7


HEAD = {"training": {"mode": "head", "regularisation": [1.0]}}
TUNED = {"training": {"mode": "finetune", "lr": 0.1, "epochs": 3}}


@pytest.mark.parametrize(
    ("a", "b", "words"),
    [
        ({"identity": HEAD}, {"identity": TUNED}, "training.mode=head and finetune; unshared settings"),
        ({"identity": HEAD}, {"members": ["one"], "method": "mean"}, "unshared settings"),
        ({"identity": HEAD}, {"identity": HEAD}, "no setting that changes results"),
    ],
)
def test_settings_that_only_one_of_two_runs_has_are_not_listed(
    cats: Cats, shown: Shown, a: dict[str, Any], b: dict[str, Any], words: str
) -> None:
    add_oof(cats, "a", [0], **a)
    add_oof(cats, "b", [1], **b)
    assert shown("runs.compare=[a,b]")[0] == f"runs: a is a, b is b; they differ in {words}"


def test_what_two_runs_answer_differently_is_written_in_full(cats: Cats, shown: Shown) -> None:
    add_oof(cats, "a", [0, 1])
    add_oof(cats, "b", [1, 2])
    lines = shown("runs.compare=[a,b]", f"runs.file='{cats.root / 'all.csv'}'")
    assert "runs: not significant: answers and log loss" in lines
    assert lines[-1] == f"runs: all 2 rows with different predictions are in {cats.root / 'all-compare.csv'}"
    table = pd.read_csv(cats.root / "all-compare.csv")
    assert table["id"].tolist() == ["blue/blue0.png", "green/green0.png"]
    assert pd.read_csv(cats.root / "all.csv")["run"].tolist() == ["one", "a", "b"]


def test_a_run_may_be_held_against_predictions_from_elsewhere(cats: Cats, shown: Shown) -> None:
    add_oof(cats, "a", [0])
    theirs = cats.root / "theirs.csv"
    pd.read_parquet(cats.root / "outputs/cats/a/oof.parquet").to_csv(theirs, index=False)
    lines = shown(f"runs.compare=[a,'{theirs}+{theirs}']")
    assert lines[0].endswith("they differ in settings, which are unknown for predictions from elsewhere")
    assert lines[-1] == "runs: both predict the same class for every row"
    pd.read_csv(theirs).drop(columns=["fold", "target"]).to_csv(theirs, index=False)
    with pytest.raises(UserError, match=r"theirs\.csv has no targets: give a file with the columns id, fold, target"):
        shown(f"runs.compare=[a,'{theirs}+{theirs}']")


@pytest.mark.parametrize(
    ("names", "words"), [("[a,a]", "names a twice"), ("[a,nothing]", "nothing is not a finished run")]
)
def test_two_runs_are_needed(cats: Cats, shown: Shown, names: str, words: str) -> None:
    add_oof(cats, "a", [])
    with pytest.raises(UserError, match=words):
        shown(f"runs.compare={names}")
    with pytest.raises(UserError, match=r"names 1: type two, as \[RUN,RUN\]"):
        RunsOptions(compare=["a"])


# --- what is new at Kaggle ----------------------------------------------------------------------------------------


def submitted(cats: Cats, *overrides: str, run: str = "one") -> None:
    run_command(
        cats.at("stage=submit", "submit.upload=true", "submit.wait=0", "submit.again=true", f"run={run}", *overrides)
    )


def test_what_was_open_is_brought_up_to_date(cats: Cats, shown: Shown) -> None:
    cats.kaggle.pending_polls = 0
    submitted(cats)
    submitted(cats)
    bad = cats.kaggle.submissions("cats")[0]
    bad.error, bad.public = "The columns must be a,b", ""
    asked = len(cats.kaggle.calls)
    lines = shown()
    assert [line[6:] for line in cells(lines[:3])[1:]] == [
        ["error", "", "", ""],
        ["complete", "0.66667", "hidden", "-0.0833"],
    ]
    assert lines[3:] == ["runs: Kaggle could not score submission 4001 of one: The columns must be a,b"]
    assert [call.name for call in cats.kaggle.calls[asked:]] == ["ListSubmissions"]
    assert [row["status"] for row in cats.rows()] == ["error", "complete"]


def test_private_scores_come_when_the_competition_is_over(cats: Cats, shown: Shown) -> None:
    cats.kaggle.pending_polls = 0
    submitted(cats)
    cats.kaggle.submissions("cats")[0].description = "my best one"  # known by its number
    assert cells(shown())[1][6:9:2] == ["complete", "hidden"]
    cats.kaggle.competitions["cats"].show_private = True
    assert cells(shown())[1][8] == "1.0"
    asked = len(cats.kaggle.calls)
    assert cells(shown())[1][8] == "1.0"
    assert len(cats.kaggle.calls) == asked  # nothing is left to be learnt


def test_what_is_open_stays_so_until_it_is_graded(cats: Cats, shown: Shown) -> None:
    cats.kaggle.pending_polls = 2
    submitted(cats)
    assert [cells(shown())[1][6] for _ in range(3)] == ["pending", "pending", "complete"]


def test_a_submission_of_which_nothing_was_heard_is_known_by_its_tag(cats: Cats, shown: Shown) -> None:
    cats.kaggle.pending_polls = 0
    submitted(cats)
    tag = cats.rows()[0]["tag"]
    record(cats.at().ledger_file, tag, {"ref": None, "status": "sending"})
    sent(cats, "kagglepipe-never", ref=None, status="sending")
    sent(cats, "4711", status="pending", private_score=None)  # which Kaggle does not have
    assert [line[6] for line in cells(shown())[1:]] == ["complete", "sending", "pending"]
    assert [row["ref"] for row in cats.rows()] == ["4001", "", "4711"]


@pytest.mark.parametrize("kind", ["500", "401", "403 denied", "429", "html", "reset"])
def test_without_kaggle_the_table_is_shown_as_it_was(cats: Cats, shown: Shown, kind: str) -> None:
    submitted(cats)
    cats.kaggle.fault("ListSubmissions", kind, times=None)
    warning, *lines = shown()
    assert warning.startswith("runs: the ledger is not updated: Kaggle")
    assert cells(lines)[1][6] == "pending"


def test_without_network_or_credentials_the_table_is_shown_too(
    cats: Cats, shown: Shown, monkeypatch: pytest.MonkeyPatch
) -> None:
    submitted(cats)
    assert "no connection" in shown("kaggle.endpoint=http://127.0.0.1:9")[0]
    monkeypatch.delenv("KAGGLE_API_TOKEN")
    warning, *lines = shown()
    assert warning.startswith("runs: the ledger is not updated: no Kaggle credentials were found: make a")
    assert cells(lines)[1][6] == "pending"
    monkeypatch.setenv("KAGGLE_API_TOKEN", "~/no/such/file")
    assert "KAGGLE_API_TOKEN looks like a path" in shown()[0]


# --- the best that is not -----------------------------------------------------------------------------------------

WARNING = (
    "runs: {} is best on the public leaderboard ({}), but {} is best out of fold ({}): the public score is of "
    "fewer rows; compare the intervals before you choose by it"
)


@pytest.mark.parametrize(
    ("metric", "oof", "public", "expected"),
    [
        ("accuracy", {"one": 0.75, "two": 0.5}, {"one": 0.5, "two": 0.8}, ("two", "0.8", "one", "0.7500")),
        ("accuracy", {"one": 0.75, "two": 0.5}, {"one": 0.8, "two": 0.5}, None),
        ("log_loss", {"one": 0.75, "two": 0.5}, {"one": 0.5, "two": 0.8}, ("one", "0.5", "two", "0.5000")),
        ("log_loss", {"one": 0.75, "two": 0.5}, {"one": 0.8, "two": 0.5}, None),
        ("accuracy", {"one": 0.75, "two": 0.5}, {"one": "", "two": 0.8}, None),
        ("accuracy", {"one": 0.75}, {"one": 0.8}, None),
    ],
)
def test_who_would_choose_by_luck_is_warned(
    cats: Cats,
    shown: Shown,
    metric: str,
    oof: dict[str, float],
    public: dict[str, object],
    expected: tuple[str, ...] | None,
) -> None:
    for name, score in oof.items():
        add_run(cats.root, name, metric=metric, score=score)
        sent(cats, name, run=name, metric=metric, oof_score=score, public_score=public[name])
    sent(cats, "4001", metric="roc_auc", oof_score=0.1, public_score=0.99)  # not held against the others
    told = [line for line in shown(f"competition.metric={metric}") if "best" in line]
    assert told == ([WARNING.format(*expected)] if expected else [])


# --- the leaderboard ----------------------------------------------------------------------------------------------


def test_the_head_of_the_leaderboard_is_shown_with_this_team_in_it(cats: Cats, shown: Shown) -> None:
    submitted(cats)
    name = cats.kaggle.username
    *lines, last = shown("runs.leaderboard=true")
    assert cells(lines) == [
        ["rank", "team", "public score"],
        ["1", "Night owls", "0.90000"],
        ["2", "Early birds", "0.80000"],
        ["3", name, "0.66667"],
        ["4", "Ünï çode, Inc.", "0.55000"],
    ]
    assert last == f"runs: your team, {name}, is number 3 with 0.66667"


@pytest.mark.parametrize(("page", "pages"), [(7, 5), (100, 1)])
def test_a_team_far_down_is_found(cats: Cats, shown: Shown, page: int, pages: int) -> None:
    cats.kaggle.largest_page = page
    cats.kaggle.competitions["cats"].teams = {f"team {n}": 0.99 - n / 1000 for n in range(30)} | {"last": 0.1}
    submitted(cats)
    *lines, last = shown("runs.leaderboard=true")
    assert [line[0] for line in cells(lines)] == ["rank", *(str(n + 1) for n in range(10))]
    assert last == f"runs: your team, {cats.kaggle.username}, is number 31 with 0.66667"
    assert cats.asked("GetLeaderboard") == pages


def test_who_has_submitted_nothing_is_told_so_and_no_more_is_read_than_shown(cats: Cats, shown: Shown) -> None:
    cats.kaggle.largest_page = 10
    cats.kaggle.competitions["cats"].teams = {f"team {n}": 0.9 - n / 1000 for n in range(100)}
    *lines, last = shown("runs.leaderboard=true")
    assert (len(lines), last) == (11, "runs: nothing was submitted by you yet")
    assert cats.asked("GetLeaderboard") == 1


@pytest.mark.parametrize("code", [400, 403])
def test_an_empty_history_may_be_an_error(cats: Cats, shown: Shown, code: int) -> None:
    cats.kaggle.fault("ListSubmissions", "no history", code=code, times=None)
    assert shown("runs.leaderboard=true")[-1] == "runs: nothing was submitted by you yet"


def test_a_team_without_a_score_is_not_on_it_yet(cats: Cats, shown: Shown) -> None:
    submitted(cats)
    cats.kaggle.submissions("cats")[0].public = ""
    assert shown("runs.leaderboard=true")[-1] == f"runs: your team, {cats.kaggle.username}, is not among its first 3"


def test_a_leaderboard_without_teams(cats: Cats, shown: Shown) -> None:
    cats.kaggle.competitions["cats"].teams = {}
    assert shown("runs.leaderboard=true") == ["rank  team  public score", "runs: nothing was submitted by you yet"]


@pytest.mark.parametrize(("kind", "words"), [("401", "not valid"), ("403 denied", "slug=cats"), ("500", "trouble")])
def test_a_leaderboard_that_cannot_be_had_is_an_error(cats: Cats, shown: Shown, kind: str, words: str) -> None:
    cats.kaggle.fault("GetLeaderboard", kind, times=None)
    with pytest.raises(UserError, match=words):
        shown("runs.leaderboard=true")


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["competition.sample_slug=cats"], "no competition of Kaggle's: leave runs.leaderboard away"),
        (["competition.slug=null"], "give competition.slug=NAME, or leave runs.leaderboard away"),
    ],
)
def test_what_is_not_at_kaggle_has_no_leaderboard(cats: Cats, shown: Shown, overrides: list[str], words: str) -> None:
    with pytest.raises(UserError, match=words):
        shown("runs.leaderboard=true", *overrides)
    assert cats.kaggle.calls == []


def test_nobody_has_no_leaderboard(cats: Cats, shown: Shown, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KAGGLE_API_TOKEN")
    with pytest.raises(UserError, match="no Kaggle credentials were found: make a token"):
        shown("runs.leaderboard=true")


# --- the page -----------------------------------------------------------------------------------------------------


def test_a_page_compares_the_runs(cats: Cats, shown: Shown) -> None:
    settings = {"model": {"name": "lite0"}, "seed": 0}
    add_run(cats.root, "<b>worse", score=0.25, identity=settings, seconds=12.34)
    add_run(cats.root, "better", score=0.875, identity={**settings, "seed": 1}, metric="accuracy")
    add_run(cats.root, "other", score=0.5, identity={**settings, "lr": "0.1"}, metric="f1_macro", interval=[None, None])
    add_run(cats.root, "blend", score=0.9, members=["better", "gone"], method="mean", identity={})
    page = cats.root / "outputs/cats/runs.html"
    shutil.rmtree(cats.root / "outputs/cats/one")
    assert shown("runs.report=true")[-1] == f"runs: {page}"
    rows = [
        re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row) for row in re.findall("<tr>(.*?)</tr>", page.read_text("utf-8"))
    ]
    assert [[*row[:3], row[7]] for row in rows[1:5]] == [
        ["blend", "0.9000", "0.5000-0.9000", "blend of 2"],
        ["better", "0.8750", "0.5000-0.9000", "unknown"],
        ["&lt;b&gt;worse", "0.2500", "0.5000-0.9000", "unknown"],
        ["other", "0.5000 f1_macro", TOO_FEW, "unknown"],
    ]
    assert rows[3][6] == "12.3"
    assert rows[6:] == [
        ["blend", "ensemble.method=mean; ensemble.runs=better, gone"],
        ["better", "seed=1"],
        ["&lt;b&gt;worse", "seed=0"],
        ["other", "seed=0; lr=0.1"],
    ]


def test_runs_of_other_labels_and_folds_are_told_apart(cats: Cats, shown: Shown) -> None:
    plain = {"table": "a" * 64, "folds": "b" * 64, "seed": 0}
    add_run(cats.root, "plain", score=0.75, rows=120, identity=plain, fold_scores={"0": 0.7, "1": 0.8})
    patched = add_run(cats.root, "patched", score=0.875, rows=119, identity={**plain, "table": "c" * 64},
                      fold_scores={"0": 0.9, "1": 0.8, "2": 0.9})  # fmt: skip
    (patched / "config.yaml").write_text("competition:\n  labels_patch: /data/decisions.csv\n")
    shutil.rmtree(cats.root / "outputs/cats/one")
    told = "runs: they are of different tables (files or labels), each scored on its own"
    assert sum(line.startswith(told) for line in shown("runs.report=true")) == 1
    page = (cats.root / "outputs/cats/runs.html").read_text("utf-8")
    assert "The runs are of different tables" in page
    assert f"runs &#39;runs.compare=[RUN,RUN]&#39; paths.root={cats.root}</code>" in page
    rows = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row) for row in re.findall("<tr>(.*?)</tr>", page)]
    assert [row[:5] for row in rows[:3]] == [
        ["run", "score", "95 % interval", "rows", "folds"],
        ["patched", "0.8750", "0.5000-0.9000", "119", "3"],
        ["plain", "0.7500", "0.5000-0.9000", "120", "2"],
    ]
    assert rows[4:] == [
        ["patched", "table=cccccccc; competition.labels_patch=/data/decisions.csv"],
        ["plain", "table=aaaaaaaa"],
    ]
    shutil.rmtree(patched)
    add_run(cats.root, "other", score=0.5, rows=120, identity={**plain, "seed": 1})
    assert not [line for line in shown("runs.report=true") if line.startswith(told)]
    assert "Runs are scored on the same rows" in (cats.root / "outputs/cats/runs.html").read_text("utf-8")


def test_a_single_run_is_compared_with_none(cats: Cats, shown: Shown) -> None:
    shown("runs.report=true")
    page = (cats.root / "outputs/cats/runs.html").read_text("utf-8")
    assert "<h1>cats: 1 run</h1>" in page
    assert "runs.compare" not in page
    assert "Settings" not in page


def test_a_name_with_blanks_has_its_time(cats: Cats, shown: Shown) -> None:
    add_run(cats.root, "two words (cut at)", score=0.875)
    header, line = shown()[:2]
    assert line.startswith("two words (cut at)  0.8750")
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d", line[header.index("finished") :])


def test_without_a_run_there_is_no_page(cats: Cats, shown: Shown) -> None:
    shutil.rmtree(cats.root / "outputs/cats/one")
    sent(cats, "4001")
    with pytest.raises(UserError, match=r"there is no finished run in .*cats to write: type stage=train first"):
        shown("runs.report=true")


# --- columns ------------------------------------------------------------------------------------------------------


def test_names_in_every_script_leave_the_columns_straight() -> None:
    columns = {
        "plain": 5,
        "Ünï çode": 8,
        "日本語チーム": 12,
        "한국": 4,
        "ne\u0301e": 3,
        "ไทย\u0e49": 3,
        "👍 team": 7,
        "": 0,
    }
    assert {name: width(name) for name in columns} == columns
    header, *lines = table(["team", "score"], [[name, "0.5"] for name in columns])
    assert header == "team" + " " * 10 + "score"
    assert lines == [name + " " * (14 - taken) + "0.5" for name, taken in columns.items()]


def test_what_could_steer_a_terminal_is_not_shown(cats: Cats, shown: Shown) -> None:
    cats.kaggle.competitions["cats"].teams = {"\x1b[31mred\nteam\u202e": 0.9}
    assert shown("runs.leaderboard=true")[1] == "1     [31mred team  0.90000"


def test_a_run_that_was_scored_by_another_metric_is_scored_anew(cats: Cats, shown: Shown) -> None:
    classes, target = ["cat", "dog"], ["cat", "dog", "cat", "dog"]
    probs = [[0.9, 0.1], [0.2, 0.8], [0.3, 0.7], [0.4, 0.6]]
    run = add_run(cats.root, "other", score=0.75, log_loss=0.5)
    frame = oof_frame(["a", "b", "c", "d"], [0, 0, 1, 1], target, probs, classes)
    write_parquet(run / "oof.parquet", frame)
    add_run(cats.root, "worse", metric="log_loss", score=0.9)
    lines = {line[0]: line[1:3] for line in cells(shown("competition.metric=log_loss"))[1:]}
    loss = -np.log([0.9, 0.8, 0.3, 0.6]).mean()
    assert lines["other"][0] == f"{loss:.4f}"
    assert next(iter(lines)) == "other"
    assert lines["one"][0] == "0.7500 accuracy"  # which has left no table
