"""Submissions: the right bytes for every form, and a refusal that names the culprit for everything else.

Run with `python -m pytest tests/predictions`.
"""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kagglepipe.errors import UserError
from kagglepipe.predictions import frame as frames
from kagglepipe.predictions import submission as submissions

CLASSES = ["pistol", "smartphone"]
IDS = ["c.jpg", "a.jpg", "b.PNG"]
PROBS = [[0.9, 0.1], [0.2, 0.8], [0.5, 0.5]]
FORMS = ["index", "name", "probability", "probabilities"]

# Printable text with the characters that CSV quotes; file names hold no control characters.
odd_ids = st.lists(
    st.text(
        st.one_of(st.sampled_from(",\"' ;\n"), st.characters(codec="utf-8", categories=["L", "N", "P", "S"])),
        min_size=1,
    ),
    min_size=1,
    max_size=8,
    unique=True,
)


def contract(form: str, **changes: Any) -> dict[str, Any]:
    """The keyword arguments of a competition like pistols versus smartphones."""
    kept = {"form": form, "classes": CLASSES, "id_column": "ID", "target_column": "Ground_Truth", "ids": IDS}
    return kept | changes


def build(form: str, **changes: Any) -> pd.DataFrame:
    return submissions.build_submission(frames.test_frame(IDS, PROBS, CLASSES), **contract(form, **changes))


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ("index", "ID,Ground_Truth\nc.jpg,0\na.jpg,1\nb.PNG,0\n"),
        ("name", "ID,Ground_Truth\nc.jpg,pistol\na.jpg,smartphone\nb.PNG,pistol\n"),
        ("probability", "ID,Ground_Truth\nc.jpg,0.1\na.jpg,0.8\nb.PNG,0.5\n"),
        ("probabilities", "ID,pistol,smartphone\nc.jpg,0.9,0.1\na.jpg,0.2,0.8\nb.PNG,0.5,0.5\n"),
    ],
)
def test_every_form_to_the_byte(form: str, expected: str) -> None:
    made = build(form)
    submissions.validate_submission(made, **contract(form))
    assert submissions.submission_csv(made) == expected.encode()


@settings(max_examples=15, deadline=None)
@given(names=odd_ids, seed=st.integers(0, 1000), data=st.data())
@pytest.mark.parametrize("form", FORMS)
def test_the_order_of_the_test_frame_leaves_no_trace_in_the_bytes(
    form: str, names: list[str], seed: int, data: st.DataObject
) -> None:
    probs = np.random.default_rng(seed).dirichlet(np.ones(2), len(names))
    test, asked = frames.test_frame(names, probs, CLASSES), contract(form, ids=names)
    shuffled = test.iloc[data.draw(st.permutations(range(len(names))))]
    made = submissions.build_submission(test, **asked)
    again = submissions.build_submission(shuffled, **asked)
    assert submissions.submission_csv(made) == submissions.submission_csv(again)


@settings(max_examples=20, deadline=None)
@given(names=odd_ids, seed=st.integers(0, 1000))
@pytest.mark.parametrize("form", FORMS)
def test_odd_ids_come_back_from_the_csv(form: str, names: list[str], seed: int) -> None:
    probs = np.random.default_rng(seed).dirichlet(np.ones(2), len(names)).astype(np.float32)
    asked = contract(form, ids=names)
    made = submissions.build_submission(frames.test_frame(names, probs, CLASSES), **asked)
    data = submissions.submission_csv(made)
    read = pd.read_csv(io.BytesIO(data), dtype={"ID": str}, keep_default_na=False)
    assert read["ID"].tolist() == names
    submissions.validate_submission(read, **asked)
    assert submissions.submission_csv(read) == data


def test_probabilities_that_differ_in_the_last_bit_of_float32_stay_apart() -> None:
    near = np.nextafter(np.float32(1), np.float32(0))
    nearer = np.nextafter(near, np.float32(0))
    frame = pd.DataFrame({"ID": ["a", "b", "c"], "p": [np.float32(1), near, nearer]})
    written = pd.read_csv(io.BytesIO(submissions.submission_csv(frame)))["p"].astype(np.float32)
    assert written.tolist() == frame["p"].tolist()


def test_rows_that_are_not_asked_for_are_left_out_and_missing_ones_named() -> None:
    assert build("index", ids=["b.PNG"])["ID"].tolist() == ["b.PNG"]
    with pytest.raises(UserError, match="missing 'w', 'x', 'y' and 1 more"):
        build("index", ids=["w", "x", "y", "z", *IDS])


def test_a_repeated_prediction_is_refused() -> None:
    test = frames.test_frame(IDS, PROBS, CLASSES)
    with pytest.raises(UserError, match=r"repeated 'a\.jpg'"):
        submissions.build_submission(pd.concat([test, test[1:2]]), **contract("index"))


def test_the_sample_header_gives_the_order_of_class_columns() -> None:
    header = ["ID", "smartphone", "pistol"]
    made = build("probabilities", header=header)
    assert made.columns.tolist() == header
    assert made["smartphone"].tolist() == [0.1, 0.8, 0.5]
    submissions.validate_submission(made, **contract("probabilities", header=header))
    with pytest.raises(UserError, match="has columns"):
        submissions.validate_submission(build("probabilities"), **contract("probabilities", header=header))


@pytest.mark.parametrize(
    ("form", "header"),
    [
        ("index", ["id", "Ground_Truth"]),
        ("index", ["ID", "label"]),
        ("index", ["Ground_Truth", "ID"]),
        ("name", ["ID", "pistol", "smartphone"]),
        ("probabilities", ["ID", "Ground_Truth"]),
        ("probabilities", ["pistol", "smartphone", "ID"]),
        ("probability", []),
    ],
)
def test_a_sample_header_that_does_not_fit_is_refused(form: str, header: list[str]) -> None:
    with pytest.raises(UserError, match="sample submission has columns"):
        build(form, header=header)


def test_contracts_that_cannot_be_met_are_refused() -> None:
    with pytest.raises(UserError, match=r"competition.form=labels.*index, name, probability, probabilities"):
        build("labels")
    with pytest.raises(UserError, match="needs 2 classes, found 3"):
        build("probability", classes=[*CLASSES, "cat"])
    with pytest.raises(UserError, match="id_column=pistol"):
        build("probabilities", id_column="pistol")


def put(column: str, value: object) -> Callable[[pd.DataFrame], pd.DataFrame]:
    """A change that writes `value` into the middle row, a.jpg."""

    def change(frame: pd.DataFrame) -> pd.DataFrame:
        frame = frame.astype({column: object})
        frame.loc[1, column] = value
        return frame

    return change


INVALID: list[tuple[str, Callable[[pd.DataFrame], pd.DataFrame], str]] = [
    ("index", lambda frame: frame.rename(columns={"ID": "id"}), r"columns \['id', 'Ground_Truth'\], needs"),
    ("index", lambda frame: frame[["Ground_Truth", "ID"]], r"columns \['Ground_Truth', 'ID'\], needs"),
    ("index", lambda frame: frame.assign(extra=1), r"columns .*'extra'\], needs"),
    ("index", lambda frame: frame[:2], "missing 'b.PNG'"),
    ("index", lambda frame: pd.concat([frame, frame[:1]]), "repeated 'c.jpg'"),
    ("index", lambda frame: pd.concat([frame, frame[:1].assign(ID="new")]), "unknown 'new'"),
    ("index", lambda frame: frame[::-1], "another order than asked for: 'b.PNG', 'c.jpg'"),
    ("index", put("ID", None), "without an id"),
    ("index", put("Ground_Truth", None), "empty cells for id 'a.jpg'"),
    ("index", put("Ground_Truth", 2), "labels that are none of .*: '2'"),
    ("index", put("Ground_Truth", "smartphone"), "labels that are none of .*: 'smartphone'"),
    ("index", lambda frame: frame.astype({"Ground_Truth": float}), r"labels .*: '0.0', '1.0'"),
    ("index", lambda frame: frame.astype({"Ground_Truth": bool}), r"labels .*: 'False', 'True'"),
    ("name", put("Ground_Truth", "Smartphone"), "labels that are none of .*: 'Smartphone'"),
    ("probability", put("Ground_Truth", np.nan), "empty cells for id 'a.jpg'"),
    ("probability", put("Ground_Truth", 1.01), r"within \[0, 1\] for id 'a.jpg'"),
    ("probability", put("Ground_Truth", -0.01), r"within \[0, 1\] for id 'a.jpg'"),
    ("probability", put("Ground_Truth", np.inf), r"within \[0, 1\] for id 'a.jpg'"),
    ("probability", put("Ground_Truth", "high"), r"within \[0, 1\] for id 'a.jpg'"),
    ("probabilities", put("pistol", 0.3), "sum to 1 for id 'a.jpg'"),
    ("probabilities", put("pistol", 1.2), r"within \[0, 1\] for id 'a.jpg'"),
    ("probabilities", put("pistol", None), "empty cells for id 'a.jpg'"),
]


@pytest.mark.parametrize(("form", "spoil", "culprit"), INVALID)
def test_each_invalid_submission_is_refused_with_its_culprit(
    form: str, spoil: Callable[[pd.DataFrame], pd.DataFrame], culprit: str
) -> None:
    with pytest.raises(UserError, match=culprit) as caught:
        submissions.validate_submission(spoil(build(form)), **contract(form))
    assert str(caught.value).startswith("submission refused: it ")
    assert "\n" not in str(caught.value)


def test_a_sample_submission_keeps_its_ids_as_text(tmp_path: Path) -> None:
    path = tmp_path / "sample.csv"
    for rows, expected in (("007,0\n12,0\n", ["007", "12"]), ('NA,0\n"a,b",0\n', ["NA", "a,b"])):
        path.write_bytes(f"\ufeffID,Ground_Truth\n{rows}".encode())
        sample = submissions.read_sample_submission(path)
        assert sample["ID"].tolist() == expected
        assert sample.columns.tolist() == ["ID", "Ground_Truth"]


@pytest.mark.parametrize(
    ("text", "culprit"),
    [("", "cannot be read"), ("ID\na\n", "one column"), ("ID,x\na,0\na,0\n", "repeated 'a'")],
)
def test_a_sample_submission_that_is_none_is_refused(text: str, culprit: str, tmp_path: Path) -> None:
    path = tmp_path / "sample.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=rf"sample.csv .*{culprit}.*competition.sample_submission"):
        submissions.read_sample_submission(path)
    with pytest.raises(UserError, match=r"absent\.csv cannot be read"):
        submissions.read_sample_submission(tmp_path / "absent.csv")
