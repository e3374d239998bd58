"""Submissions: the right bytes for every form, and a refusal that names the culprit for everything else.

Run with `python -m pytest tests/predictions`.
"""

import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kagglepipe.competitions.labels import positive_class
from kagglepipe.errors import UserError
from kagglepipe.predictions import frame as frames
from kagglepipe.predictions import submission as submissions
from kagglepipe.predictions.written_answers import Writing

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


def test_classes_are_numbered_from_the_first_index() -> None:
    asked = contract("index", writing=Writing(first=1))
    made = submissions.build_submission(frames.test_frame(IDS, PROBS, CLASSES), **asked)
    assert submissions.submission_csv(made) == b"ID,Ground_Truth\nc.jpg,1\na.jpg,2\nb.PNG,1\n"
    submissions.validate_submission(made, **asked)
    with pytest.raises(UserError, match=r"labels that are none of \['1', '2'\]: '0'"):
        submissions.validate_submission(made.assign(Ground_Truth=[0, 1, 2]), **asked)
    assert submissions.label_fault(pd.Series(["1", "2"]), "index", CLASSES, 1) is None
    fault = submissions.label_fault(pd.Series(["0", "1"]), "index", CLASSES, 1)
    assert fault is not None
    assert fault.endswith("writes '1', '2': type competition.first_index=0")


@settings(max_examples=15)
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


@settings(max_examples=20)
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
    test = frames.test_frame(IDS, PROBS, CLASSES)
    with pytest.raises(UserError, match=r"repeated 'a\.jpg'"):
        submissions.build_submission(pd.concat([test, test[1:2]]), **contract("index"))
    with pytest.raises(UserError, match="no rows"):
        submissions.validate_submission(build("name", ids=[]), **contract("name", ids=[]))


@pytest.mark.parametrize("header", [["ID", "smartphone", "pistol"], ["id", "Smart-Phone", "PISTOL"]])
def test_the_sample_header_gives_order_and_spelling_of_class_columns(header: list[str]) -> None:
    made = build("probabilities", header=header)
    assert made.columns.tolist() == header
    assert made[header[1]].tolist() == [0.1, 0.8, 0.5]
    submissions.validate_submission(made, **contract("probabilities", header=header))
    with pytest.raises(UserError, match="has columns"):
        submissions.validate_submission(build("probabilities"), **contract("probabilities", header=header))


@pytest.mark.parametrize(
    ("form", "header"),
    [
        ("index", ["image", "Ground_Truth"]),
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


def test_a_probability_is_that_of_the_class_asked_for() -> None:
    made = build("probability", positive=0)
    assert made["Ground_Truth"].tolist() == [0.9, 0.2, 0.5]
    submissions.validate_submission(made, **contract("probability", positive=0))


@pytest.mark.parametrize(
    ("classes", "column", "positive"),
    [
        (["cat", "dog"], "dog", 1),
        (["cat", "dog"], "is_cat", 0),
        (["cat", "dog"], "P(Cat)", 0),
        (["cactus", "no_cactus"], "has_cactus", 0),
        (["cactus", "no_cactus"], "no_cactus", 1),
        (["noFight", "fight"], "fight_probability", 1),
        (["cat", "dog"], "label", None),
        (["cat", "dog"], "not_cat", None),
        (["cat", "dog"], "cat_or_dog", None),
        (["0", "1"], "target", None),
    ],
)
def test_a_column_may_be_called_after_a_class(classes: list[str], column: str, positive: int | None) -> None:
    assert positive_class(classes, column) == positive


@pytest.mark.parametrize(
    ("cells", "form", "words"),
    [
        (["0", "1", "1"], "index", None),
        (["pistol"], "name", None),
        (["0", "0"], "name", None),  # a placeholder
        (["", ""], "name", None),
        (["0.5", "1"], "probability", None),
        (
            ["1", "2"],
            "index",
            r"holds answers as '2', .*x writes '0', '1': type competition\.first_index=1$",
        ),
        (["pistol", "smartphone"], "index", r"holds .*: type competition\.form=name$"),
        (["0", "1"], "name", r"holds .*: type competition\.form=index$"),
        (
            ["Pistol", "Smartphone"],
            "name",
            r"holds answers as 'Pistol', 'Smartphone', .* writes 'pistol', 'smartphone'",
        ),
        (["pistol", "smartphone"], "probability", r"writes numbers from 0 to 1: type competition\.form=name$"),
    ],
)
def test_the_answers_of_the_sample_tell_which_form_is_meant(cells: list[str], form: str, words: str | None) -> None:
    fault = submissions.label_fault(pd.Series(cells), form, CLASSES)
    assert fault is None if words is None else fault and re.search(words, fault), fault


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


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("form", ["probability", "probabilities"])
def test_what_is_no_number_is_refused_in_the_file_too(form: str, value: float) -> None:
    made = build(form)
    made.iloc[1, 1] = value
    with pytest.raises(UserError, match=r"for id 'a\.jpg'"):
        submissions.validate_submission(
            submissions.read_written(submissions.submission_csv(made), made), **contract(form)
        )


def test_an_id_that_csv_cannot_carry_is_refused() -> None:
    meant = pd.DataFrame({"ID": ["a\rb", "c"], "p": [0.25, 0.5]})
    with pytest.raises(UserError, match="submission refused: its CSV reads as 3 rows"):
        submissions.read_written(submissions.submission_csv(meant), meant)
    with pytest.raises(UserError, match=r"column p reads otherwise: '0\.25'"):
        submissions.read_written(b"ID,p\na,0.25\n", pd.DataFrame({"ID": ["a"], "p": [0.251]}))


@pytest.mark.parametrize(
    ("writing", "values", "culprit"),
    [
        (
            Writing(least=0.0),
            [[1.0, 2.0], [-0.1, 3.0]],
            "numbers below 0, for which the metric is not defined, for id 'b'",
        ),
        (Writing(shares=True), [[0.5, 0.5], [0.5, 0.6]], "shares that do not sum to 1 for id 'b'"),
        (Writing(shares=True), [[1.2, -0.2], [0.5, 0.5]], "numbers below 0, .* for id 'a'"),
        (Writing(), [[1.0, 2.0], [np.nan, 3.0]], "empty cells for id 'b'"),
        (Writing(), [[1.0, 2.0], [np.inf, 3.0]], "no finite numbers for id 'b'"),
        (Writing(), [[-1.0, 2.0], [0.5, 0.6]], None),
        (Writing(least=0.0), [[0.0, 2.0], [0.5, 0.6]], None),
        (Writing(shares=True), [[0.99996, 0.00005], [0.0, 1.0]], None),
    ],
)
def test_numbers_are_those_that_the_metric_takes(
    writing: Writing, values: list[list[float]], culprit: str | None
) -> None:
    frame = pd.DataFrame(values, columns=["x", "y"])
    frame.insert(0, "id", ["a", "b"])
    asked: dict[str, Any] = {"form": "numbers", "classes": ["x", "y"], "id_column": "id", "target_column": "label",
                             "ids": ["a", "b"], "writing": writing}  # fmt: skip
    if culprit is None:
        submissions.validate_submission(frame, **asked)
    else:
        with pytest.raises(UserError, match=culprit):
            submissions.validate_submission(frame, **asked)


def test_one_answer_for_all_is_noticed() -> None:
    same = pd.DataFrame({"ID": [f"{n}" for n in range(10)], "label": "cat"})
    assert submissions.constant_answer(same) == "cat"
    assert submissions.constant_answer(same[:9]) is None
    assert submissions.constant_answer(same.assign(label=["dog", *["cat"] * 9])) is None


def test_a_sample_submission_keeps_its_ids_as_text(tmp_path: Path) -> None:
    path = tmp_path / "sample.csv"
    for rows, expected in (
        ("007,0\n12,0\n", ["007", "12"]),
        ('NA,0\n"a,b",0\n', ["NA", "a,b"]),
        ("1e5,0,\r\n1.0,0,\r\n", ["1e5", "1.0"]),
    ):
        path.write_bytes(f"\ufeffID,Ground_Truth\n{rows}".encode())
        sample = submissions.read_sample_submission(path)
        assert sample["ID"].tolist() == expected
        assert sample.columns.tolist() == ["ID", "Ground_Truth"]


@pytest.mark.parametrize(
    ("text", "culprit"), [("", "is empty"), ("ID\na\n", "one column"), ("ID,x\na,0\na,0\n", "repeated 'a'")]
)
def test_a_sample_submission_that_is_none_is_refused(text: str, culprit: str, tmp_path: Path) -> None:
    path = tmp_path / "sample.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=rf"sample.csv .*{culprit}.*competition.sample_submission"):
        submissions.read_sample_submission(path)
    with pytest.raises(UserError, match=r"absent\.csv cannot be read"):
        submissions.read_sample_submission(tmp_path / "absent.csv")


# --- segments -------------------------------------------------------------------------------------------------

ENDS = {"a.mp4": 10.0, "b.mp4": 4.5}
HEADER = ["video", "start", "end", "label", "score"]
Row = tuple[Any, ...]


def segments(*rows: Row) -> pd.DataFrame:
    """A segments frame of video, start, end, label and score."""
    table = pd.DataFrame(rows, columns=HEADER)
    return table.astype({"video": str, "start": float, "end": float, "label": str, "score": float})


WALK: Row = ("a.mp4", 1.0, 2.5, "walk", 0.75)


def test_segments_to_the_byte() -> None:
    found = segments(("b.mp4", 3.0, 5.0, "fall", 1.0), WALK, ("a.mp4", 0.125, 2.0, "walk", 1 / 3))
    made = submissions.build_segments(found, ends=ENDS, header=None)
    submissions.validate_segments(made, ends=ENDS, classes=["walk", "fall"])
    assert submissions.submission_csv(made) == (
        b"video,start,end,label,score\na.mp4,0.125,2,walk,0.333333333\na.mp4,1,2.5,walk,0.75\nb.mp4,3,4.5,fall,1\n"
    )


@pytest.mark.parametrize("begin", [0.0, 3e4, 1.7e9, 1.7e12, -1.7e9])
def test_times_come_back_from_the_csv_wherever_they_count_from(begin: float) -> None:
    found = segments(*(("a", begin + at, begin + at + 0.0625, "walk", 0.5) for at in (1, 20, 40.5, 1e4 / 3)))
    made = submissions.build_segments(found, ends={"a": begin + 5000}, header=None)
    read = submissions.read_written(submissions.submission_csv(made), made)
    submissions.validate_segments(read, ends={"a": begin + 5000}, begins={"a": begin}, classes=["walk"])
    for name in ("start", "end"):
        assert read[name].astype(float).tolist() == pytest.approx(made[name].tolist(), abs=1e-6 + abs(begin) * 1e-15)


def test_segments_in_the_columns_of_the_sample(tmp_path: Path) -> None:
    (tmp_path / "sample.csv").write_bytes("\ufeffscore,video,label,start,end\r\n".encode())
    header = submissions.read_header(tmp_path / "sample.csv")
    assert header == ["score", "video", "label", "start", "end"]
    made = submissions.build_segments(segments(WALK), ends=ENDS, header=header)
    submissions.validate_segments(made, ends=ENDS, classes=["walk"])
    assert submissions.submission_csv(made) == b"score,video,label,start,end\n0.75,a.mp4,walk,1,2.5\n"
    none = submissions.build_segments(segments(), ends=ENDS, header=None)
    submissions.validate_segments(none, ends=ENDS, classes=["walk"])
    assert submissions.submission_csv(none) == b"video,start,end,label,score\n"


def test_the_order_of_segments_leaves_no_trace() -> None:
    rows = [WALK, ("b.mp4", 0.0, 1.0, "fall", 0.5), ("b.mp4", 0.0, 2.0, "walk", 0.25), ("a.mp4", 0.0, 3.0, "walk", 1.0)]
    made = [submissions.build_segments(segments(*order), ends=ENDS, header=None) for order in (rows, rows[::-1])]
    pd.testing.assert_frame_equal(*made)


@pytest.mark.parametrize("header", [["video", "label"], HEADER[:4], [*HEADER, "note"]])
def test_a_sample_with_other_columns_is_refused(header: list[str]) -> None:
    with pytest.raises(UserError, match=r"sample submission has columns .*competition\.form=segments makes"):
        submissions.build_segments(segments(WALK), ends=ENDS, header=header)
    with pytest.raises(UserError, match=r"submission refused: it has columns"):
        submissions.validate_segments(pd.DataFrame(columns=header), ends=ENDS, classes=["walk"])


@pytest.mark.parametrize(
    ("change", "culprit"),
    [
        ({"video": "z.mp4"}, "segments of videos that are not asked for: 'z.mp4'"),
        ({"video": None}, "segments of videos that are not asked for"),
        ({"label": "none"}, "labels that are no class: 'a.mp4'"),
        ({"label": None}, "labels that are no class"),
        ({"start": 2.5}, "segments that do not end after they start"),
        ({"start": 3.0}, "segments that do not end after they start"),
        ({"start": None}, "segments that do not end after they start"),
        ({"end": "soon"}, "segments that do not end after they start"),
        ({"start": -0.5}, "segments outside their video"),
        ({"end": 10.5}, "segments outside their video"),
        ({"score": 1.5}, "scores outside 0…1"),
        ({"score": -0.5}, "scores outside 0…1"),
        ({"score": None}, "scores outside 0…1"),
        ({"score": "high"}, "scores outside 0…1"),
    ],
)
def test_each_invalid_segment_is_refused_with_its_video(change: dict[str, Any], culprit: str) -> None:
    spoilt = pd.concat([segments(WALK).astype(object).assign(**change), segments(("b.mp4", 1.0, 2.0, "walk", 0.5))])
    with pytest.raises(UserError, match=culprit) as caught:
        submissions.validate_segments(spoilt, ends=ENDS, classes=["walk"])
    assert str(caught.value).startswith("submission refused: it ")
    assert "b.mp4" not in str(caught.value)
    assert "\n" not in str(caught.value)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(sorted(ENDS)), st.floats(0, 4), st.floats(0.001, 20), st.sampled_from("xy"), st.floats(0, 1)
        )
    )
)
def test_what_is_built_and_written_is_what_is_asked_for(rows: list[Row]) -> None:
    found = segments(*((video, start, start + lasts, label, score) for video, start, lasts, label, score in rows))
    made = submissions.build_segments(found, ends=ENDS, header=None)
    submissions.validate_segments(made, ends=ENDS, classes=["x", "y"])
    again = pd.read_csv(io.BytesIO(submissions.submission_csv(made)))
    submissions.validate_segments(again, ends=ENDS, classes=["x", "y"])
    assert len(again) == len(rows)


@pytest.mark.parametrize("text", [b"", b"\xff\xfe\x00"])
def test_a_header_that_cannot_be_read(text: bytes, tmp_path: Path) -> None:
    path = tmp_path / "sample.csv"
    path.write_bytes(text)
    for file in (path, tmp_path / "absent.csv"):
        words = r"(cannot be read as a CSV|is empty).*competition\.sample_submission"
        with pytest.raises(UserError, match=rf"{file.name} {words}"):
            submissions.read_header(file)


def test_votes_are_written_as_shares_where_their_divergence_is_scored() -> None:
    test = frames.test_frame(["a", "b"], np.array([[3.0, 1.0], [-1.0, 0.0]]), ["x", "y"], "regression")
    asked: dict[str, Any] = {"form": "numbers", "classes": ["x", "y"], "id_column": "id", "target_column": "label",
                                "ids": ["b", "a"]}  # fmt: skip
    written = submissions.build_submission(test, **asked, writing=Writing(shares=True))
    assert written.to_numpy().tolist() == [["b", 0.5, 0.5], ["a", 0.75, 0.25]]
    none = test.assign(y=[-1.0, 0.0], x=[2.0, 1.0])
    found = submissions.build_submission(none, **asked, writing=Writing(shares=True))
    assert (found["y"] > 1e-7).all()  # the divergence from a share of 0 is infinite
    assert found[["x", "y"]].sum(axis=1).to_numpy() == pytest.approx(1)
    assert submissions.build_submission(test, **asked)["x"].tolist() == [-1.0, 3.0]
