"""Perplexities are those by hand, sentences begin from nothing, a saved model says the same, bad texts are refused."""

import gzip
import math

import pytest
import torch

from kagglepipe.course.language import LanguageModel, score
from kagglepipe.course.lesson import Lesson
from kagglepipe.course.next_word import in_batches, run
from kagglepipe.course.ngrams import Trigrams, grams
from kagglepipe.errors import UserError
from kagglepipe.options import CourseOptions
from kagglepipe.sequences.text import END, SentenceBatches, Vocabulary, readable, words

SENTENCES = [words(text) for text in ("a b", "a b", "a c", "b c a")]


def lesson_of(tmp_path, **options) -> Lesson:
    folder = tmp_path / "out"
    folder.mkdir(exist_ok=True)
    return Lesson(CourseOptions(quick=True, **options), folder, torch.device("cpu"))


def test_kneser_ney_by_hand():
    """Of `a b` twice, `a c` and `b c a`, with two <eos> before each and one after it."""
    model = Trigrams(SENTENCES, 5, kneser_ney=True)
    # words, by the number of words before them: a 2 (<eos>, c), b 2 (<eos>, a), c 2 (a, b), <eos> 3 (a, b, c)
    p_b = (2 - 0.5) / 9 + 0.5 * 4 / 9 * 1 / 5  # none has 1: D = 1 / 2
    # pairs, by the number of words before them: nine of 1, so that D = 9 / (9 + 0) = 1
    p_ab = (1 - 1) / 3 + 1 * 3 / 3 * p_b
    # trigrams: six of 1, two of 2, D = 6 / (6 + 2 · 2); after <eos> a came b twice and c once
    assert model.probability((END, "a", "b")) == pytest.approx((2 - 0.6) / 3 + 0.6 * 2 / 3 * p_ab)
    assert model.probability(("c", "a", "b")) == pytest.approx((0 - 0) / 1 + 0.6 * 1 / 1 * p_ab)
    assert model.probability(("b", "unseen", "b")) == pytest.approx(p_b)


def test_absolute_discounts_by_hand():
    model = Trigrams(SENTENCES, 5, kneser_ney=False)
    p_b = (3 - 0.5) / 13 + 0.5 * 4 / 13 * 1 / 5  # a 4, b 3, c 2, <eos> 4; n₁ = 0
    p_ab = (2 - 0.6) / 4 + 0.6 * 3 / 4 * p_b  # n₁ = 6, n₂ = 2; after a: b 2, c 1, <eos> 1
    assert model.probability((END, "a", "b")) == pytest.approx((2 - 0.6) / 3 + 0.6 * 2 / 3 * p_ab)


@pytest.mark.parametrize("kneser_ney", [True, False])
def test_trigrams_are_probabilities(kneser_ney):
    model = Trigrams(SENTENCES, 5, kneser_ney=kneser_ney)
    for context in [(END, END), (END, "a"), ("a", "b"), ("c", "c"), ("b", "unseen")]:
        total = sum(model.probability((*context, word)) for word in ("a", "b", "c", END, "<unk>"))
        assert total == pytest.approx(1)


def test_perplexity_is_that_of_all_words_and_ends():
    model = Trigrams(SENTENCES, 5, kneser_ney=True)
    probs = [model.probability(gram) for gram in grams([["a", "c"]])]
    assert len(probs) == 3
    assert model.perplexity([["a", "c"]]) == pytest.approx(math.prod(probs) ** (-1 / 3))


def test_the_score_of_sentences_is_that_of_each_alone():
    torch.manual_seed(0)
    model = LanguageModel(Vocabulary.of("abc", more=(END,)), embedding=4, hidden=6).eval()
    device = torch.device("cpu")
    logs = []
    for sentence in SENTENCES:
        ids = torch.from_numpy(model.vocabulary.encode([END, *sentence, END]))
        log_probs = model(ids[None, :-1])[0].detach().log_softmax(dim=1)
        logs += [float(log_probs[t, ids[t + 1]]) for t in range(len(ids) - 1)]
    found = score(model, in_batches(model.vocabulary, SENTENCES, device))
    assert (found.nats, found.symbols) == (pytest.approx(-sum(logs) / len(logs), abs=1e-6), 13)


def test_batches_of_sentences_are_one_step_apart():
    vocabulary = Vocabulary.of("abc", more=(END,))
    batches = SentenceBatches([vocabulary.encode([END, *sentence, END]) for sentence in SENTENCES], 2)
    found = list(batches(1))
    assert len(found) == len(batches) == 3
    texts = sorted("".join(vocabulary.decode(row)) for _, labels in found for row in labels.tolist())
    assert texts == ["ab<eos>", "ab<eos>", "ac<eos>", "bca<eos>"]
    for ids, labels in found:
        assert torch.equal(ids[:, 1:], labels[:, :-1])
        assert (ids[:, 0] == vocabulary.index[END]).all()


def test_words_are_joined_as_they_are_written():
    for text in ("A man's hat, blue.", "Two T-shirts!", "Who?"):
        assert readable(words(text)) == text


def test_the_lesson_beats_chance_and_what_it_saved_says_the_same(tmp_path, caplog):
    (tmp_path / "heldout.txt").write_text("A man sleeps in a park.\n\nA Qatze waits beside a tree.", "utf-8")
    asked = {"heldout": str(tmp_path / "heldout.txt"), "text": "A small cat sleeps somewhere"}
    first = run(lesson_of(tmp_path, **asked))
    assert first["valid_perplexity"] < first["words"] / 2
    assert first["heldout_perplexity"] == pytest.approx(math.exp(first["heldout_nats"]))
    assert (first["heldout_words"], first["heldout_unknown"]) == (16, 1)
    assert first["text_0.0"].startswith("A small cat sleeps somewhere")
    assert "course.text: 1 of its symbols were not learnt, as 'somewhere', and are <unk>" in caplog.text
    assert {path.name for path in (tmp_path / "out").glob("*.png")} == {"losses.png", "next.png"}
    again = run(lesson_of(tmp_path, model=str(tmp_path / "out"), **asked))
    assert again == {name: value for name, value in first.items() if name in again}
    assert "heldout_perplexity" in again


def test_a_folder_of_sentences_is_learnt_and_its_trigrams_stand_beside(tmp_path):
    (tmp_path / "source" / "deep").mkdir(parents=True)
    train = "A man sleeps.\nA dog runs.\n" * 50
    (tmp_path / "source" / "deep" / "train.en.gz").write_bytes(gzip.compress(train.encode()))
    (tmp_path / "source" / "val.en").write_text("A dog runs.\n\n")
    found = run(lesson_of(tmp_path, source=str(tmp_path / "source")))
    assert (found["sentences"], found["valid_words"]) == (100, 5)
    assert found["valid_perplexity_trigram"] < 2
    assert found["valid_perplexity_kneser_ney"] < 2


def test_texts_without_enough_sentences_are_refused(tmp_path):
    (tmp_path / "short.txt").write_text("A man sleeps.\n" * 10)
    (tmp_path / "empty.txt").write_text("\n \n")
    with pytest.raises(UserError, match=r"short\.txt leaves 10 sentences to learn, a batch has 64: give more"):
        run(lesson_of(tmp_path, source=str(tmp_path / "short.txt")))
    with pytest.raises(UserError, match=r"empty\.txt has no sentences"):
        run(lesson_of(tmp_path, heldout=str(tmp_path / "empty.txt")))
    with pytest.raises(UserError, match=r"has no train\.en"):
        run(lesson_of(tmp_path, source=str(tmp_path / "out")))
    with pytest.raises(UserError, match=r"course\.text has nothing in it"):
        run(lesson_of(tmp_path, text=""))
