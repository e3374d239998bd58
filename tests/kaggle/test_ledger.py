"""No row is lost, no cell is changed but by whom it belongs to, and what cannot be read is named."""

import csv
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kagglepipe.errors import UserError
from kagglepipe.kaggle.ledger import COLUMNS, MAX_CELL, Row, gap, misleading_best, read_ledger, record

FACTS: dict[str, Any] = {
    "time": "2026-01-02 03:04:05",
    "competition": "cats",
    "run": "one",
    "metric": "accuracy",
    "oof_score": 0.875,
    "oof_low": 0.5,
    "oof_high": None,
    "status": "sending",
}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "submissions" / "ledger.csv"


def row(**cells: object) -> Row:
    """A row with these cells, and nothing in the others."""
    return dict.fromkeys(COLUMNS, "") | {name: str(cell) for name, cell in cells.items()}


# --- rows ---------------------------------------------------------------------------------------------------------


def test_a_new_tag_gets_a_row_and_a_known_one_keeps_what_it_is_not_told(file: Path) -> None:
    assert read_ledger(file) == []
    first = record(file, "tag-1", FACTS)
    assert first == row(**{**FACTS, "oof_high": "", "tag": "tag-1"})
    second = record(file, "tag-2", {**FACTS, "run": "two"})
    assert read_ledger(file) == [first, second]
    assert list(first) == list(COLUMNS)
    facts = {"ref": "4001", "status": "complete", "public_score": "0.75", "gap": "-0.125000"}
    found = record(file, "tag-1", {"ref": 4001, "status": "complete", "public_score": 0.75, "private_score": None})
    assert found == first | facts
    assert read_ledger(file) == [found, second]
    found = record(file, "tag-1", {"public_score": None})  # what is not known any more goes
    assert found == first | facts | {"public_score": "", "gap": ""}


def test_other_programs_read_it(file: Path) -> None:
    record(file, "tag-1", {**FACTS, "public_score": 0.75, "error": 'it\'s "bad",\nsays Kaggle; ñ 語'})
    frame = pd.read_csv(file)
    assert list(frame.columns) == list(COLUMNS)
    assert (frame["oof_score"] + frame["gap"]).tolist() == frame["public_score"].tolist() == [0.75]
    assert frame["error"].tolist() == ['it\'s "bad",\nsays Kaggle; ñ 語']


# --- what people do to it -----------------------------------------------------------------------------------------


def test_columns_of_somebodys_own_stay_where_they_are(file: Path) -> None:
    record(file, "tag-1", FACTS)
    frame = pd.read_csv(file, dtype=str, keep_default_na=False)
    frame.insert(0, "mark", ["a, b\nc"])
    frame["my notes"] = ['the "good" one']
    frame.to_csv(file, index=False)
    record(file, "tag-1", {"status": "pending"})
    record(file, "tag-2", FACTS)
    first, second = read_ledger(file)
    assert list(first) == ["mark", *COLUMNS, "my notes"]
    assert (first["mark"], first["my notes"], first["status"]) == ("a, b\nc", 'the "good" one', "pending")
    assert (second["mark"], second["my notes"], second["tag"]) == ("", "", "tag-2")


def test_another_order_of_columns_and_rows_is_kept(file: Path) -> None:
    for tag in ("tag-1", "tag-2"):
        record(file, tag, {**FACTS, "ref": tag[-1]})
    frame = pd.read_csv(file, dtype=str, keep_default_na=False)
    frame.loc[::-1, sorted(COLUMNS)].to_csv(file, index=False)
    record(file, "tag-2", {"status": "pending"})
    assert [(each["tag"], each["ref"], each["status"]) for each in read_ledger(file)] == [
        ("tag-2", "2", "pending"),
        ("tag-1", "1", "sending"),
    ]
    assert file.read_text(encoding="utf-8").splitlines()[0].split(",") == sorted(COLUMNS)


def test_what_a_spreadsheet_saved_is_read(file: Path) -> None:
    before = record(file, "tag-1", FACTS)
    text = file.read_text(encoding="utf-8")
    file.write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode() + b"\r\n")
    assert read_ledger(file) == [before]
    file.write_text(text + "\n" + text.splitlines()[1].replace("tag-1", "tag-2").rstrip(","), encoding="utf-8")
    assert read_ledger(file) == [before, before | {"tag": "tag-2"}]


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda data: data.replace(b"sha256,", b"", 1), "lacks the columns sha256: fix it, or move it away"),
        (lambda data: data.replace(b",", b";"), "lacks the columns time, competition, file"),
        (lambda data: b"", "lacks the columns time"),
        (lambda data: data + b"," * 30 + b"\n", "has rows that are longer than its header"),
        (lambda data: data + b"\xff\n", "cannot be read as CSV .*utf-8"),
        (lambda data: data.replace(b"cats", b'"cats', 1), "cannot be read as CSV .*unexpected end of data"),
        (lambda data: data.replace(b"cats", b'"ca"ts"'), "cannot be read as CSV .*expected after"),
        (lambda data: data.replace(b"cats", b"x" * 200_000), "cannot be read as CSV .*field limit"),
    ],
)
def test_what_is_damaged_is_named_and_left_alone(damage: Callable[[bytes], bytes], words: str, file: Path) -> None:
    record(file, "tag-1", FACTS)
    record(file, "tag-2", FACTS)
    file.write_bytes(damage(file.read_bytes()))
    before = file.read_bytes()
    with pytest.raises(UserError, match=f"ledger.csv {words}"):
        read_ledger(file)
    with pytest.raises(UserError, match=f"ledger.csv {words}"):
        record(file, "tag-1", {"status": "pending"})
    assert file.read_bytes() == before


def test_words_without_end_are_cut_so_that_they_can_be_read_again(file: Path) -> None:
    found = record(file, "tag-1", {**FACTS, "error": "x" * 200_000})
    assert found["error"] == "x" * MAX_CELL
    assert read_ledger(file) == [found]


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
AWKWARD = st.lists(st.sampled_from(["\r\n", *"\",\n\r;'ñ語🙂\0 ="])).map("".join)


@given(cells=st.lists(st.tuples(TEXT | AWKWARD, TEXT | AWKWARD, TEXT | AWKWARD), min_size=1, max_size=4))
def test_any_text_comes_back(cells: list[tuple[str, str, str]], tmp_path_factory: pytest.TempPathFactory) -> None:
    file = tmp_path_factory.mktemp("any") / "ledger.csv"
    for n, (run, path, error) in enumerate(cells):
        record(file, f"tag-{n}", {"run": run, "file": path, "error": error})
    record(file, "tag-0", {"status": "pending"})  # which writes all of them again
    found = [(each["run"], each["file"], each["error"]) for each in read_ledger(file)]
    assert found == [tuple(one_kind_of_line_end(text) for text in each) for each in cells]
    with file.open(newline="", encoding="utf-8") as lines:
        assert list(csv.DictReader(lines)) == read_ledger(file)


def one_kind_of_line_end(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")


# --- several at once ----------------------------------------------------------------------------------------------

WRITER = """
import sys
from pathlib import Path
from kagglepipe.kaggle.ledger import record

file, name = Path(sys.argv[1]), sys.argv[2]
sys.stdin.readline()
for number in range(15):
    record(file, f"{name}-{number}", {"run": name, "status": "sending"})
    record(file, f"{name}-{number}", {"ref": number, "status": "pending"})
"""


def test_processes_and_threads_that_write_at_once_lose_nothing(file: Path) -> None:
    command = [sys.executable, "-c", WRITER, str(file)]
    processes = [subprocess.Popen([*command, name], stdin=subprocess.PIPE) for name in ("one", "two")]

    def write(name: str) -> None:
        for n in range(15):
            record(file, f"{name}-{n}", {"run": name, "ref": n, "status": "pending"})

    threads = [threading.Thread(target=write, args=(name,)) for name in ("three", "four")]
    for thread in threads:
        thread.start()
    for process in processes:
        process.communicate(b"\n")
    for thread in threads:
        thread.join()
    assert [process.returncode for process in processes] == [0, 0]
    found = {(each["tag"], each["run"], each["ref"], each["status"]) for each in read_ledger(file)}
    names = ("one", "two", "three", "four")
    assert found == {(f"{name}-{n}", name, str(n), "pending") for name in names for n in range(15)}
    assert len(read_ledger(file)) == 60
    assert {path.name for path in file.parent.iterdir()} <= {".locks", "ledger.csv"}


# --- numbers ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("public", "oof", "expected"),
    [("0.75", "0.875", "-0.125000"), ("0.5", "0.25", "0.250000"), ("0", "0", "0.000000"), ("", "0.5", ""),
     ("0.5", "", ""), ("nan", "0.5", ""), ("0.5", "-inf", ""), ("None", "0.5", ""), ("-1e-3", "0", "-0.001000")],
)  # fmt: skip
def test_the_gap_is_the_public_score_less_that_at_home(public: str, oof: str, expected: str) -> None:
    assert gap({"public_score": public, "oof_score": oof}) == expected


# --- the best that is not -----------------------------------------------------------------------------------------


def rows(*scores: tuple[object, object]) -> list[Row]:
    """Rows called 0, 1, … with (public, out of fold) scores."""
    return [row(run=n, public_score=public, oof_score=oof) for n, (public, oof) in enumerate(scores)]


@pytest.mark.parametrize(
    ("scores", "greater", "expected"),
    [
        ([(0.9, 0.7), (0.8, 0.8)], True, ("0", "1")),
        ([(0.9, 0.7), (0.8, 0.8)], False, ("1", "0")),  # the least log loss is the best
        ([(0.2, 0.5), (0.3, 0.4)], False, ("0", "1")),
        ([(0.9, 0.8), (0.8, 0.7)], True, None),  # they agree
        ([(0.9, 0.8), (0.8, 0.7)], False, None),
        ([(0.9, 0.7)], True, None),  # there is one
        ([], True, None),
        ([(0.9, 0.7), (0.9, 0.8)], True, None),  # a tie on the leaderboard
        ([(0.9, 0.8), (0.7, 0.8)], True, None),  # a tie at home
        ([(0.2, 0.5), (0.2, 0.4), (0.3, 0.4)], False, None),
        ([("", 0.9), (0.5, 0.6)], True, None),  # of which one has no score yet
        ([("", 0.9), (0.8, 0.6), (0.7, 0.65)], True, ("1", "2")),
        ([("nan", 0.9), (0.8, ""), (0.7, 0.6)], True, None),
        ([(0, 0.1), (-0.5, 0.2)], True, ("0", "1")),  # zero and less are scores too
    ],
)
def test_the_best_by_the_leaderboard_that_is_not_the_best_at_home(
    scores: list[tuple[object, object]], greater: bool, expected: tuple[str, str] | None
) -> None:
    for order in (1, -1):
        found = misleading_best(rows(*scores)[::order], greater_is_better=greater)
        assert (found and (found[0]["run"], found[1]["run"])) == expected
