"""Characters are scored as by hand, the state is carried over, a saved model says the same, bad texts are refused."""

import json
import math

import numpy as np
import pytest
import torch

from kagglepipe.course.language import Carried, LanguageModel, continued, score, surprise
from kagglepipe.course.lesson import Lesson
from kagglepipe.course.next_character import in_streams, run
from kagglepipe.errors import UserError
from kagglepipe.options import CourseOptions
from kagglepipe.sequences.text import Vocabulary

TEXT = "to be, or not to be: that is the question.\n"


def model_of(text: str = TEXT) -> LanguageModel:
    torch.manual_seed(0)
    return LanguageModel(Vocabulary.of(text), embedding=4, hidden=6).eval()


def lesson_of(tmp_path, **options) -> Lesson:
    folder = tmp_path / "out"
    folder.mkdir(exist_ok=True)
    return Lesson(CourseOptions(quick=True, **options), folder, torch.device("cpu"))


def test_the_score_is_the_mean_of_minus_log_p():
    model = model_of()
    ids = torch.from_numpy(model.vocabulary.encode(TEXT))[None]
    logs = []
    for t in range(1, len(TEXT)):  # each character by a pass of its own over all before it
        logits = model(ids[:, :t])[0, -1].detach()
        logs.append(math.log(float(logits.exp()[ids[0, t]] / logits.exp().sum())))
    found = score(model, [ids])
    assert found.nats == pytest.approx(-np.mean(logs), abs=1e-5)
    assert found.symbols == len(TEXT) - 1


def test_the_carried_state_equals_one_pass(monkeypatch):
    model = model_of()
    ids = torch.from_numpy(model.vocabulary.encode(TEXT))[None]
    carried = Carried(model)
    parts = [carried(ids[:, k : k + 9], torch.tensor([k == 0])) for k in range(0, ids.shape[1], 9)]
    torch.testing.assert_close(torch.cat(parts, dim=1), model(ids))
    whole, _ = surprise(model, ids)
    monkeypatch.setattr("kagglepipe.course.language.SCORED_STEPS", 7)
    torch.testing.assert_close(surprise(model, ids)[0], whole)


def test_no_gradient_flows_to_the_batch_before():
    carried = Carried(model_of())
    carried(torch.tensor([[1, 2]]), torch.tensor([True]))
    assert not any(part.requires_grad for part in carried.state)


def test_at_temperature_0_the_likeliest_is_drawn():
    model = model_of()
    drawn = continued(model, "to", temperature=0, length=5, seed=0)
    text = "to"
    for symbol in drawn:
        logits = model(torch.from_numpy(model.vocabulary.encode(text))[None])[0, -1].clone()
        logits[0] = -torch.inf
        assert symbol == model.vocabulary.symbols[int(logits.argmax())]
        text += symbol
    assert continued(model, "to", temperature=0, length=5, seed=0, end=drawn[0]) == []


def test_streams_of_a_text_share_their_ends():
    vocabulary = Vocabulary.of("abcdefg")
    ids = in_streams(vocabulary, "abcdefg", 3)
    assert ["".join(vocabulary.decode(row)) for row in ids.tolist()] == ["abc", "cde", "efg"]


def test_the_lesson_learns_and_what_it_saved_says_the_same(tmp_path, caplog):
    (tmp_path / "heldout.txt").write_text("A man sleeps in a park.\nA QatQe.", "utf-8")
    heldout = str(tmp_path / "heldout.txt")
    first = run(lesson_of(tmp_path, heldout=heldout, text="A ma€"))
    assert first["valid_nats"] < math.log(30)
    assert first["heldout_bits"] == pytest.approx(first["heldout_nats"] / math.log(2))
    assert (first["heldout_characters"], first["heldout_unknown"]) == (31, 2)
    assert first["text"].startswith("A ma€")
    assert len(first["text"]) == 35
    assert "course.text: 1 of its symbols were not learnt, as '€', and are <unk>" in caplog.text
    assert json.loads((tmp_path / "out" / "model.json").read_text())["lesson"] == "next_character"
    assert {path.name for path in (tmp_path / "out").glob("*.png")} == {"losses.png", "valid.png", "heldout.png"}
    again = run(lesson_of(tmp_path, model=str(tmp_path / "out"), heldout=heldout, text="A ma€"))
    assert again == {name: value for name, value in first.items() if name in again}
    assert "heldout_nats" in again
    assert "valid_nats" not in again


def test_texts_that_cannot_be_learnt_are_refused(tmp_path):
    (tmp_path / "short.txt").write_text("to be")
    (tmp_path / "one.txt").write_text("a")
    with pytest.raises(UserError, match=r"short\.txt has 5 characters, and 4096 are needed"):
        run(lesson_of(tmp_path, source=str(tmp_path / "short.txt")))
    with pytest.raises(UserError, match=r"one\.txt has 1 characters, and 2 are needed"):
        run(lesson_of(tmp_path, heldout=str(tmp_path / "one.txt")))
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"empty has no train\.txt"):
        run(lesson_of(tmp_path, source=str(tmp_path / "empty")))
    with pytest.raises(UserError, match=r"course\.text has nothing in it"):
        run(lesson_of(tmp_path, text=" "))


def test_models_of_other_lessons_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"has no model\.json: give a finished lesson's"):
        run(lesson_of(tmp_path, model=str(tmp_path), text="a"))
    (tmp_path / "model.json").write_text('{"lesson": "next_word"}')
    with pytest.raises(UserError, match="was saved by lesson=next_word, not by next_character"):
        run(lesson_of(tmp_path, model=str(tmp_path), text="a"))


def test_a_source_beside_a_model_is_scored(tmp_path):
    run(lesson_of(tmp_path))
    (tmp_path / "train.txt").write_text("A man sleeps in a park.\n" * 400)
    found = run(lesson_of(tmp_path, model=str(tmp_path / "out"), source=str(tmp_path)))
    assert found["valid_characters"] == 248  # 8 streams of 31, of the last 250 of 5,000
