"""Every run beside what Kaggle said of it, as it is now, and what to know before one is chosen by its public score."""

from collections.abc import Callable
from typing import Any

import pytest

from kagglepipe.errors import UserError
from kagglepipe.predictions.ledger import record
from kagglepipe.stages import walk
from kagglepipe.stages.account import ledger_file
from kagglepipe.stages.runs import table, width
from tests.cats import Cats, add_run

HEADER = ["run", "accuracy", "95 % interval", "log loss", "sent (UTC)", "status", "public", "private", "gap"]
Shown = Callable[..., list[str]]


@pytest.fixture
def shown(cats: Cats, caplog: pytest.LogCaptureFixture) -> Shown:
    """shown("runs.leaderboard=true", …) -> the lines that stage=runs prints."""

    def run(*overrides: str) -> list[str]:
        caplog.clear()
        walk(cats.at("stage=runs", "run=null", *overrides))
        return [record.getMessage() for record in caplog.records if record.name == "kagglepipe.stages.runs"]

    return run


def cells(lines: list[str]) -> list[list[str]]:
    """The rows of a table, cell by cell, by where its header has its columns."""
    starts = [0, *(n for n in range(2, len(lines[0])) if lines[0][n - 2 : n] == "  " and lines[0][n] != " ")]
    ends = [*starts[1:], None]
    return [[line[start:end].strip() for start, end in zip(starts, ends, strict=True)] for line in lines]


def sent(cats: Cats, tag: str, **facts: Any) -> None:
    """A row of the ledger."""
    row = {
        **{"time": "2026-01-02 03:04:05", "competition": "cats", "run": "one", "metric": "accuracy", "oof_score": 0.75},
        **{"oof_low": 0.5, "oof_high": 0.9, "ref": tag, "status": "complete", "private_score": 0.5},
    }
    record(ledger_file(cats.at()), tag, {**row, **facts})


# --- the table ----------------------------------------------------------------------------------------------------


def test_runs_are_shown_with_the_best_first_and_what_was_sent_beside_them(cats: Cats, shown: Shown) -> None:
    add_run(cats.root, "better", score=0.875, interval=[0.6, 0.95], log_loss=0.25)
    add_run(cats.root, "worse", score=0.25)
    sent(cats, "4001", public_score=0.66667)
    sent(cats, "4002", run="better", oof_score=0.875, public_score=0.9, time="2026-01-02 13:14:15", private_score=0.8)
    sent(cats, "4003", public_score=0.75, time="2026-01-03 03:04:05")
    assert cells(shown()) == [
        HEADER,
        ["better", "0.8750", "0.6000-0.9500", "0.2500", "2026-01-02 13:14", "complete", "0.9", "0.8", "+0.0250"],
        ["one", "0.7500", "0.5000-0.9000", "0.6250", "2026-01-02 03:04", "complete", "0.66667", "0.5", "-0.0833"],
        ["one", "0.7500", "0.5000-0.9000", "0.6250", "2026-01-03 03:04", "complete", "0.75", "0.5", "+0.0000"],
        ["worse", "0.2500", "0.5000-0.9000", "0.6250", "", "", "", "", ""],
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
        ["unknown", "?", "?-?", "?"],
    ]
    assert lines[-1][4:] == ["2026-01-02 03:04", "complete", "nan", "0.5", ""]


def test_submissions_stay_when_their_run_is_gone(cats: Cats, shown: Shown) -> None:
    sent(cats, "4001", run="deleted", public_score=0.5, oof_low=None)
    sent(cats, "4002", run="old", metric="log_loss", oof_score=0.5, public_score=0.25)
    assert cells(shown())[1:] == [
        ["one", "0.7500", "0.5000-0.9000", "0.6250", "", "", "", "", ""],
        ["deleted (gone)", "0.7500", "?-0.9000", "", "2026-01-02 03:04", "complete", "0.5", "0.5", "-0.2500"],
        [
            "old (gone)",
            "0.5000 log_loss",
            "0.5000-0.9000",
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
    assert [line[:6:5] for line in cells(shown())[1:]] == [["one", ""], ["after", "complete"]]


def test_submissions_of_other_competitions_are_not_shown(cats: Cats, shown: Shown) -> None:
    sent(cats, "4001", competition="dogs", status="pending")
    assert [line[0] for line in cells(shown())] == ["run", "one"]
    assert cats.kaggle.calls == []


def test_without_a_run_the_next_thing_to_type_is_said(cats: Cats, shown: Shown) -> None:
    (cats.root / "outputs/cats").rename(cats.root / "outputs/elsewhere")
    with pytest.raises(UserError, match=r"there is no finished run in .*/outputs/cats: type stage=train first"):
        shown()
    sent(cats, "4001", public_score=0.5)
    assert [line[0] for line in cells(shown())] == ["run", "one (gone)"]


def test_a_damaged_ledger_is_named(cats: Cats, shown: Shown) -> None:
    ledger_file(cats.at()).write_text("time\n")
    with pytest.raises(UserError, match=r"ledger\.csv lacks the columns competition, "):
        shown()


# --- what is new at Kaggle ----------------------------------------------------------------------------------------


def submitted(cats: Cats, *overrides: str, run: str = "one") -> None:
    walk(cats.at("stage=submit", "submit.upload=true", "submit.wait=0", "submit.again=true", f"run={run}", *overrides))


def test_what_was_open_is_brought_up_to_date(cats: Cats, shown: Shown) -> None:
    cats.kaggle.pending_polls = 0
    submitted(cats)
    submitted(cats)
    bad = cats.kaggle.submissions("cats")[0]
    bad.error, bad.public = "The columns must be a,b", ""
    asked = len(cats.kaggle.calls)
    lines = shown()
    assert [line[5:] for line in cells(lines[:3])[1:]] == [
        ["error", "", "", ""],
        ["complete", "0.66667", "hidden", "-0.0833"],
    ]
    assert lines[3:] == ["runs: Kaggle could not score submission 4001 of one: The columns must be a,b"]
    assert [call.name for call in cats.kaggle.calls[asked:]] == ["ListSubmissions"]
    assert [row["status"] for row in cats.rows()] == ["error", "complete"]


def test_private_scores_come_when_the_competition_is_over(cats: Cats, shown: Shown) -> None:
    cats.kaggle.pending_polls = 0
    submitted(cats)
    assert cells(shown())[1][7] == "hidden"
    cats.kaggle.competitions["cats"].show_private = True
    assert cells(shown())[1][7] == "1.0"
    asked = len(cats.kaggle.calls)
    assert cells(shown())[1][7] == "1.0"
    assert len(cats.kaggle.calls) == asked  # nothing is left to be learnt


def test_what_is_open_stays_so_until_it_is_graded(cats: Cats, shown: Shown) -> None:
    cats.kaggle.pending_polls = 2
    submitted(cats)
    assert [cells(shown())[1][5] for _ in range(3)] == ["pending", "pending", "complete"]


def test_a_submission_of_which_nothing_was_heard_is_known_by_its_tag(cats: Cats, shown: Shown) -> None:
    cats.kaggle.pending_polls = 0
    submitted(cats)
    tag = cats.rows()[0]["tag"]
    record(ledger_file(cats.at()), tag, {"ref": None, "status": "sending"})
    sent(cats, "kagglepipe-never", ref=None, status="sending")
    assert [line[5] for line in cells(shown())[1:]] == ["complete", "sending"]
    assert [row["ref"] for row in cats.rows()] == ["4001", ""]


def test_a_submission_that_was_renamed_at_kaggle_is_known_by_its_number(cats: Cats, shown: Shown) -> None:
    cats.kaggle.pending_polls = 0
    submitted(cats)
    cats.kaggle.submissions("cats")[0].description = "my best one"
    assert cells(shown())[1][5] == "complete"


def test_a_submission_that_kaggle_does_not_have_stays_as_it_was(cats: Cats, shown: Shown) -> None:
    sent(cats, "4711", status="pending", private_score=None)
    assert cells(shown())[1][5] == "pending"


@pytest.mark.parametrize("kind", ["500", "401", "403 denied", "429", "html", "reset"])
def test_without_kaggle_the_table_is_shown_as_it_was(cats: Cats, shown: Shown, kind: str) -> None:
    submitted(cats)
    cats.kaggle.fault("ListSubmissions", kind, times=None)
    warning, *lines = shown()
    assert warning.startswith("runs: what follows is as it was known before: Kaggle")
    assert cells(lines)[1][5] == "pending"


def test_without_network_or_credentials_the_table_is_shown_too(
    cats: Cats, shown: Shown, monkeypatch: pytest.MonkeyPatch
) -> None:
    submitted(cats)
    assert "no connection" in shown("kaggle.endpoint=http://127.0.0.1:9")[0]
    monkeypatch.delenv("KAGGLE_API_TOKEN")
    warning, *lines = shown()
    assert warning.startswith("runs: what follows is as it was known before: no Kaggle credentials were found: make a")
    assert cells(lines)[1][5] == "pending"
    monkeypatch.setenv("KAGGLE_API_TOKEN", "~/no/such/file")
    assert "KAGGLE_API_TOKEN looks like a path" in shown()[0]


# --- the best that is not -----------------------------------------------------------------------------------------

WARNING = (
    "runs: {} is best on the public leaderboard ({}), but {} is best out of fold ({}): the public score is that of "
    "fewer rows; before choosing by it, look at the intervals"
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
    told = [line for line in shown(f"competition.metric={metric}") if "best" in line]
    assert told == ([WARNING.format(*expected)] if expected else [])


def test_scores_in_another_metric_are_not_held_against_each_other(cats: Cats, shown: Shown) -> None:
    sent(cats, "4001", oof_score=0.75, public_score=0.5)
    sent(cats, "4002", oof_score=0.25, public_score=0.8, metric="log_loss")
    assert [line for line in shown() if "best" in line] == []


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
