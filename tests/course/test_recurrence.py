"""Unrolling by the equations is what the network computes; one answer or many."""

import numpy as np
import pytest
import torch

from kagglepipe.course.lesson import Lesson
from kagglepipe.course.recurrence import HIDDEN, LETTERS, SENTENCES, ManyToMany, ManyToOne, examples_of, run, unroll
from kagglepipe.errors import UserError
from kagglepipe.models.recurrent import ElmanNetwork
from kagglepipe.options import CourseOptions
from kagglepipe.sequences.dataset import collate


def test_unrolling_equals_the_fused_network():
    network = ElmanNetwork(3, 5, 2).double()
    x = torch.randn(4, 7, 3, dtype=torch.float64)
    states, outputs = unroll(network, x)
    torch.testing.assert_close(outputs, network(x)[0], rtol=0, atol=1e-12)
    torch.testing.assert_close(states[:, -1], network(x)[1][0], rtol=0, atol=1e-12)


def test_one_answer_is_that_after_the_last_letter():
    one, many = ManyToOne(3), ManyToMany(3)
    many.load_state_dict(one.state_dict())
    x, lengths, _ = collate([(np.eye(len(LETTERS), dtype=np.float32)[:n], np.array(0)) for n in (4, 6)])
    answers = many(x, lengths)
    torch.testing.assert_close(one(x, lengths), torch.stack([answers[0, 3], answers[1, 5]]))
    assert one.network.recurrent.output_size == HIDDEN


def test_examples_ask_for_the_number_or_for_the_next_letter():
    (one,) = examples_of([("a bird sings.", 1)], to_one=True)
    assert (len(one), int(one.label), one.per_frame) == (13, 1, False)
    (many,) = examples_of([("a bird sings.", 1)], to_one=False)
    assert "".join(LETTERS[k] for k in many.features.argmax(axis=1)) == "a bird sings"
    assert "".join(LETTERS[k] for k in many.label) == " bird sings."
    assert len(SENTENCES) == len(set(SENTENCES)) == 96


def test_unknown_letters_are_named(tmp_path):
    with pytest.raises(UserError, match=r"^course\.text has Z é: the lesson knows"):
        run(Lesson(CourseOptions(text="Zoé sings."), tmp_path, torch.device("cpu")))


@pytest.mark.parametrize("text", ["", "a", 101 * "a"])
def test_a_text_that_is_no_sentence_is_refused(tmp_path, text):
    with pytest.raises(UserError, match=rf"^course\.text has {len(text)} letters: give a sentence of 2 to 100"):
        run(Lesson(CourseOptions(text=text), tmp_path, torch.device("cpu")))


def test_the_lesson_learns_something_in_a_few_epochs(tmp_path):
    metrics = run(Lesson(CourseOptions(quick=True), tmp_path, torch.device("cpu")))
    assert metrics["largest_difference_of_unrolled_and_fused"] < 1e-12
    assert metrics["many_to_many_bits_per_letter"] < metrics["bits_per_letter_of_chance"] - 1
    assert {path.name for path in tmp_path.glob("*.png")} == {"matrices.png", "states.png"}
