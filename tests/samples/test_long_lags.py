"""The tasks with long time lags ask what the paper says, and the inputs hold the answer."""

import numpy as np
import pytest

from kagglepipe.samples.long_lags import (
    LETTERS,
    ORDER_PLACES,
    ORDER_SYMBOLS,
    REBER_SYMBOLS,
    TASKS,
    Criterion,
    Sequences,
    adding,
    copying,
    encode_reber,
    multiplication,
    reber_followers,
    reber_sets,
    reber_strings,
    temporal_order,
    two_sequences,
)


def drawn(task, count=300, **options) -> Sequences:
    return task(np.random.default_rng(3), count, **options)


def ends(sequences: Sequences) -> np.ndarray:
    """Numbers of the steps where an answer is asked, one a sequence."""
    asked = ~np.isnan(sequences.truth).any(axis=2)
    assert (asked.sum(axis=1) == 1).all()
    assert (np.isnan(sequences.targets) == np.isnan(sequences.truth)).all()
    return asked.argmax(axis=1)


def answers(sequences: Sequences) -> np.ndarray:
    return sequences.truth[np.arange(len(sequences.truth)), ends(sequences)]


def test_strings_are_of_the_embedded_grammar():
    for string in reber_strings(np.random.default_rng(0), 200):
        followers = reber_followers(string)
        assert all(symbol in may for symbol, may in zip(string[1:], followers, strict=True))
        assert string[1] == string[-2]
    for wrong in ("BTBPVVEPE", "BTBPVVET", "BTBTVETE", "BXBPVVEXE", "BTBPVVETEE", "", "BTBPVVXTE"):
        with pytest.raises(ValueError, match="no string of the embedded Reber grammar"):
            reber_followers(wrong)


def test_test_strings_are_not_those_of_training():
    rng = np.random.default_rng(0)
    train = reber_strings(rng, 50)
    assert not set(reber_strings(rng, 50, without=train)) & set(train)


def test_a_reber_string_as_worked_by_hand():
    inputs, targets, truth = encode_reber(["BTBPVVETE", "BPBTXSEPE"])
    for row, string in enumerate(("BTBPVVETE", "BPBTXSEPE")):
        assert "".join(REBER_SYMBOLS[k] for k in inputs[row].argmax(axis=1)) == string[:-1]
        assert "".join(REBER_SYMBOLS[k] for k in targets[row].argmax(axis=1)) == string[1:]
    at_branch = dict(zip(REBER_SYMBOLS, truth[0, 2], strict=True))  # after BTB
    assert at_branch == {"B": 0, "T": 0.5, "P": 0.5, "S": 0, "X": 0, "V": 0, "E": 0}
    assert truth[1, 6].argmax() == REBER_SYMBOLS.index("P")  # which only the second symbol tells
    assert truth[1, 6].max() == 1


@pytest.mark.parametrize(("task", "combine"), [(adding, lambda a, b: 0.5 + (a + b) / 4), (multiplication, np.multiply)])
def test_the_answer_is_of_the_two_marked_numbers(task, combine):
    sequences = drawn(task, steps=20)
    last = ends(sequences)
    assert set(last) == {19, 20, 21}
    places = []
    for x, end, answer in zip(sequences.inputs, last, answers(sequences)[:, 0], strict=True):
        marked = np.flatnonzero(x[:, 1] == 1)
        first, other = marked
        assert other < 10  # of the first half
        assert answer == pytest.approx(combine(*x[marked, 0]), abs=1e-6)
        assert x[end, 1] == -1
        assert x[0, 1] == (1 if first == 0 else -1)
        assert first > 0 or x[0, 0] == (1 if task is multiplication else 0)
        assert (x[1:end, 1] != -1).all()
        assert not x[end + 1 :].any()
        places.append(first)
    assert {0, 8} <= set(places)
    assert sequences.inputs[:, :, 0].min() < -0.9 or task is multiplication
    assert sequences.inputs[:, :, 0].max() > 0.9


@pytest.mark.parametrize("relevant", [2, 3])
def test_classes_are_the_orders_of_x_and_y(relevant):
    sequences = drawn(temporal_order, relevant=relevant)
    assert set(ends(sequences) + 1) == set(range(100, 111))
    for x, label in zip(sequences.inputs, answers(sequences).argmax(axis=1), strict=True):
        text = "".join(ORDER_SYMBOLS[k] for k in x[x.any(axis=1)].argmax(axis=1))
        at = [place for place, symbol in enumerate(text) if symbol in "XY"]
        assert (text[0], text[-1], text.count("E"), text.count("B")) == ("E", "B", 1, 1)
        assert all(a <= place <= b for place, (a, b) in zip(at, ORDER_PLACES[relevant], strict=True))
        order = "".join(text[place] for place in at)
        names = ["XX", "XY", "YX", "YY"] if relevant == 2 else ["XXX", "XXY", "XYX", "XYY", "YXX", "YXY", "YYX", "YYY"]
        assert names[label] == order


def test_only_the_first_three_elements_tell_the_two_sequences_apart():
    sequences = drawn(two_sequences, 2000)
    answer = answers(sequences)[:, 0]
    assert (sequences.inputs[:, :3, 0] == 2 * answer[:, None] - 1).all()
    noise = sequences.inputs[:, 3:100, 0]
    assert np.abs([noise[answer == k].mean() for k in (0, 1)]).max() < 0.01
    assert noise.var() == pytest.approx(0.2, rel=0.02)
    np.testing.assert_array_equal(sequences.targets, sequences.truth)


def test_noisy_targets_have_the_truth_as_their_mean():
    sequences = drawn(two_sequences, 4000, noise=0.1)
    rows = np.arange(4000), ends(sequences)
    errors = (sequences.targets - sequences.truth)[rows]
    assert {round(float(one), 6) for one in answers(sequences)[:, 0]} == {0.2, 0.8}
    assert abs(errors.mean()) < 0.02
    assert errors.var() == pytest.approx(0.1, rel=0.1)


def test_letters_are_to_be_copied_after_the_signal():
    inputs, targets, _ = drawn(copying, copied=3, lag=4)
    assert inputs.shape[1] == 3 + 4 + 3
    np.testing.assert_array_equal(inputs[:, :3, :LETTERS], targets[:, -3:])
    assert np.isnan(targets[:, :-3]).all()
    assert (inputs[:, 3:].argmax(axis=2) == [LETTERS] * 3 + [LETTERS + 1] + [LETTERS] * 3).all()


def test_the_seed_determines_the_sequences():
    for task in (adding, multiplication, two_sequences, temporal_order, copying):
        for one, again in zip(drawn(task, 5), drawn(task, 5), strict=True):
            np.testing.assert_array_equal(one, again)


def test_learned_strings_are_of_the_training_set_and_end_where_their_longest_does():
    pick, (train, test) = reber_sets(np.random.default_rng(5), 20)
    picked = pick(np.random.default_rng(0), 6)
    known = {one.tobytes() for one in train.inputs[:, : picked.inputs.shape[1]]}
    assert {one.tobytes() for one in picked.inputs} <= known
    assert (~np.isnan(picked.truth[:, -1, 0])).any()
    assert len(train.inputs) == len(test.inputs) == 20


def test_the_error_is_the_largest_where_an_answer_is_asked():
    truth = np.array([[[np.nan], [0.5]], [[1.0], [0.0]]], np.float32)
    outputs = np.array([[[9.0], [0.53]], [[0.9], [0.04]]], np.float32)
    criterion = Criterion(0.04, mean=0.07)
    np.testing.assert_allclose(criterion.errors(outputs, truth), [0.03, 0.1], atol=1e-6)
    assert criterion.is_wrong(np.array([0.039, 0.04])).tolist() == [False, True]
    assert criterion.is_met(np.array([0.01, 0.03]))
    assert not criterion.is_met(np.array([0.01, 0.05]))  # one wrong
    assert not Criterion(0.3, mean=0.1).is_met(np.array([0.11, 0.12]))  # none wrong, but too much on average
    assert Criterion(0.04, wrong=1).is_met(np.array([0.01, 0.9]))


def test_every_possible_symbol_must_be_likelier_than_every_other():
    nan = np.nan
    truth = np.array([[[0.5, 0.5, 0], [0, 1, 0], [nan] * 3]] * 3, np.float32)
    right = [[0.5, 0.3, 0.2], [0.1, 0.8, 0.1], [0, 0, 1]]
    wrong = [[0.5, 0.2, 0.3], [0.1, 0.8, 0.1], [0, 0, 1]]
    equal = [[0.5, 0.25, 0.25], [0.1, 0.8, 0.1], [0, 0, 1]]
    found = Criterion(0.5, ranked=True).errors(np.array([right, wrong, equal], np.float32), truth)
    assert found.tolist() == [0, 1, 1]


@pytest.mark.parametrize("name", TASKS)
def test_the_truth_meets_its_own_criterion(name):
    task = TASKS[name]
    truth = task.draw(np.random.default_rng(1), 50).truth
    errors = task.criterion.errors(np.nan_to_num(truth), truth)
    assert not task.criterion.is_wrong(errors).any()
    assert task.criterion.is_met(errors)
