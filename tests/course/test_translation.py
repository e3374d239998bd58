"""Attention is a mean over the source, the search finds likelier translations, files are translated line by line."""

import itertools

import numpy as np
import pytest
import torch

from kagglepipe.course import translation
from kagglepipe.course.beam import search
from kagglepipe.course.bilingual import Language
from kagglepipe.course.lesson import Lesson
from kagglepipe.course.sentence_pairs import read_pairs
from kagglepipe.course.translation import run
from kagglepipe.course.translator import Attention, Translator, teacher_forced
from kagglepipe.errors import UserError
from kagglepipe.options import CourseOptions
from kagglepipe.sequences.text import PairBatches

END, SYMBOLS = 1, 6


def lesson_of(tmp_path, **options) -> Lesson:
    folder = tmp_path / "out"
    folder.mkdir(exist_ok=True)
    return Lesson(CourseOptions(quick=True, **options), folder, torch.device("cpu"))


def network(seed: int = 0, **options) -> Translator:
    torch.manual_seed(seed)
    model = Translator(7, SYMBOLS, embedding=4, hidden=6, **options).eval()
    with torch.no_grad():
        model.target.weight *= 20  # so that some words are likely
        model.target.bias[END] -= 1
    return model


def log_prob(model: Translator, source: torch.Tensor, ids: list[int]) -> float:
    """log P of a whole translation and its end, by one pass."""
    target = torch.tensor([[END, *ids]])
    logs = model(source[None], target)[0].detach().log_softmax(dim=1)
    return float(sum(logs[t, symbol] for t, symbol in enumerate([*ids, END])))


def test_attention_weights_sum_to_1_and_ignore_padding():
    torch.manual_seed(0)
    attention, queries, memory = Attention(3, 4), torch.randn(2, 5, 3), torch.randn(2, 6, 4)
    mask = torch.arange(6) < torch.tensor([6, 4])[:, None]
    contexts, weights = attention(queries, memory, mask)
    torch.testing.assert_close(weights.sum(dim=2), torch.ones(2, 5))
    assert (weights[1, :, 4:] == 0).all()
    memory[1, 4:] = 1e4
    torch.testing.assert_close(attention(queries, memory, mask)[0], contexts)
    alone, _ = attention(queries[1:], memory[1:, :4], mask[1:, :4])
    torch.testing.assert_close(alone[0], contexts[1])


def test_padding_of_a_source_changes_nothing():
    model, source = network(), torch.tensor([[2, 3, 4, 5], [6, 2, 0, 0]])
    target = torch.tensor([[END, 3, 4]]).expand(2, -1)
    logits, weights, _ = model.step(target, *model.encode(source, torch.tensor([4, 2])))
    torch.testing.assert_close(logits[1:], model(source[1:, :2], target[1:]))
    assert (weights[1, :, 2:] == 0).all()


@pytest.mark.parametrize("attention", [True, False])
def test_word_by_word_equals_all_at_once(attention):
    model, source = network(attention=attention), torch.tensor([[2, 3, 4]])
    target = torch.tensor([[END, 3, 4, 5]])
    encoded, state = model.encode(source)
    steps = []
    for t in range(target.shape[1]):
        logits, _, state = model.step(target[:, t : t + 1], encoded, state)
        steps.append(logits)
    torch.testing.assert_close(torch.cat(steps, dim=1), model(source, target))


def test_without_attention_only_the_final_state_is_read():
    model = network(attention=False)
    assert not any("attention" in name for name, _ in model.named_parameters())
    encoded, state = model.encode(torch.tensor([[2, 3, 4]]))
    other = encoded._replace(memory=encoded.memory + 1)
    target = torch.tensor([[END, 3]])
    torch.testing.assert_close(model.step(target, other, state)[0], model.step(target, encoded, state)[0])


@pytest.mark.parametrize("seed", range(5))
def test_a_beam_of_one_is_greedy(seed):
    model, source = network(seed), torch.tensor([2, 3, 4])
    ids: list[int] = []
    while len(ids) < 16:
        logits = model(source[None], torch.tensor([[END, *ids]]))[0, -1].clone()
        logits[0] = -torch.inf  # <unk>
        if (best := int(logits.argmax())) == END:
            break
        ids.append(best)
    found = search(model, source[None], end=END, beam=1)[0]
    assert found.ids == ids
    assert found.weights.shape == (min(len(ids) + 1, 16), 3)


@pytest.mark.parametrize("seed", range(5))
def test_a_wide_beam_finds_the_likeliest_of_all(seed):
    model, source = network(seed), torch.tensor([2, 3])
    with torch.no_grad():
        model.target.bias[END] += 3  # short translations
    found = search(model, source[None], end=END, beam=SYMBOLS**3)[0]
    words = [symbol for symbol in range(1, SYMBOLS) if symbol != END]
    short = [list(ids) for length in range(4) for ids in itertools.product(words, repeat=length)]
    best = max(log_prob(model, source, ids) / (len(ids) + 1) for ids in short)
    assert found.score >= best - 1e-5
    assert found.score == pytest.approx(log_prob(model, source, found.ids) / (len(found.ids) + 1), abs=1e-5)
    assert found.score >= search(model, source[None], end=END, beam=1)[0].score - 1e-5


@pytest.mark.parametrize("beam", [1, 4])
def test_sentences_side_by_side_are_translated_as_each_alone(beam):
    model = network(3)
    with torch.no_grad():
        model.target.bias[END] += 1  # translations of different length
    sources = torch.tensor([[2, 3, 4], [4, 4, 2], [3, 2, 2], [2, 2, 2]])
    together = search(model, sources, end=END, beam=beam)
    for source, found in zip(sources, together, strict=True):
        alone = search(model, source[None], end=END, beam=beam)[0]
        assert found.ids == alone.ids
        assert found.score == pytest.approx(alone.score, abs=1e-5)
        torch.testing.assert_close(found.weights, alone.weights)


def test_teacher_forcing_is_scored_as_by_hand():
    model = network()
    pairs = [(np.array([2, 3]), np.array([END, 4, 5, END])), (np.array([4, 2]), np.array([END, 2, END]))]
    nats, accuracy = teacher_forced(model, PairBatches(pairs, 2)(1))
    logs = [log_prob(model, torch.from_numpy(source), target[1:-1].tolist()) for source, target in pairs]
    assert nats == pytest.approx(-sum(logs) / 5, abs=1e-5)
    assert 0 <= accuracy <= 1


def test_pairs_have_sources_of_one_length_and_padded_targets():
    pairs = [(np.arange(n), np.array([END, *[5] * m, END])) for n, m in [(2, 1), (3, 4), (2, 3), (2, 2)]]
    batches = list(PairBatches(pairs, 2)(1))
    assert len(batches) == len(PairBatches(pairs, 2)) == 3
    assert sorted(tuple(source.shape) for source, _, _ in batches) == [(1, 2), (1, 3), (2, 2)]
    for source, target, labels in batches:
        assert len(source) == len(target) == len(labels)
        assert torch.equal(target[:, 1:][labels[:, :-1] >= 0], labels[:, :-1][labels[:, :-1] >= 0])
        assert ((labels == END).sum(dim=1) == 1).all()


def test_a_language_comes_back_from_its_parts():
    texts = ["Ein Mann schläft.", "Ein Haus, ein Baum!"]
    language = Language.of(texts, merges=10)
    for text in texts:
        ids = language.encode(text)
        assert ids[-1] == language.end
        assert language.decode(ids[:-1].tolist()) == text
    again = Language.load(language.about)
    assert again.encode(texts[0]).tolist() == language.encode(texts[0]).tolist()


def test_the_lesson_translates_a_file_line_by_line(tmp_path, capsys, caplog):
    (tmp_path / "in.txt").write_text("A man sleeps in a park.\n\nA Qatze runs.", "utf-8")
    asked = {"translate": str(tmp_path / "in.txt"), "file": str(tmp_path / "de" / "out.txt")}
    first = run(lesson_of(tmp_path, **asked))
    assert 0 <= first["valid_bleu"] <= 100
    assert "course.translate: 4 of its symbols were not learnt, as 'Q', 'at', 'z' and 1 more" in caplog.text
    lines = (tmp_path / "de" / "out.txt").read_text("utf-8").split("\n")
    assert len(lines) == 4
    assert (lines[1], lines[3]) == ("", "")
    names = {path.name for path in (tmp_path / "out").glob("*.png")}
    assert names == {"losses.png", "attention.png"}
    again = run(lesson_of(tmp_path, model=str(tmp_path / "out"), translate=asked["translate"]))
    assert again == {"text": first["text"]}
    assert capsys.readouterr().out.splitlines() == lines[:3]


def test_a_file_that_cannot_be_written_is_refused_before_anything_is_learnt(tmp_path, monkeypatch):
    monkeypatch.setattr(translation, "train", lambda *_, **__: pytest.fail("it learns"))
    (tmp_path / "in.txt").write_text("A man sleeps.")
    (tmp_path / "plain.txt").write_text("")
    for file, what in (("plain.txt/out.de", "cannot be written"), ("", "is a folder")):
        with pytest.raises(UserError, match=what):
            run(lesson_of(tmp_path, translate=str(tmp_path / "in.txt"), file=str(tmp_path / file)))


def source_of(tmp_path, english: str, german: str | None):
    folder = tmp_path / "source"
    folder.mkdir()
    (folder / "train.en").write_text(english)
    if german is not None:
        (folder / "train.de").write_text(german)
    return folder


def test_files_of_unequal_length_are_refused(tmp_path):
    folder = source_of(tmp_path, "a\nb\nc\n", "x\ny\n")
    with pytest.raises(UserError, match=r"train\.en has 3 sentences, .*train\.de 2: give one for each other"):
        read_pairs(folder, "train")


def test_pairs_with_an_empty_line_are_left_out(tmp_path, caplog):
    folder = source_of(tmp_path, "a\n\nc\nd", "x\ny\n \nz\n")
    assert read_pairs(folder, "train") == [("a", "x"), ("d", "z")]
    assert "2 pairs with an empty line are left out" in caplog.text
    assert read_pairs(folder, "val") == []


def test_what_cannot_be_translated_is_refused(tmp_path):
    folder = source_of(tmp_path, "a\n", None)
    with pytest.raises(UserError, match=r"has no train\.de: give both languages"):
        run(lesson_of(tmp_path, source=str(folder)))
    (folder / "train.de").write_text("x\n")
    with pytest.raises(UserError, match=r"has 1 pairs in train\.en, train\.de, a batch 64"):
        run(lesson_of(tmp_path, source=str(folder)))
    with pytest.raises(UserError, match=r"train\.de is a file: give the folder with train\.en and train\.de"):
        run(lesson_of(tmp_path, source=str(folder / "train.de")))
    with pytest.raises(UserError, match=r"course\.file=.* is a folder"):
        run(lesson_of(tmp_path, translate=str(folder / "train.en"), file=str(folder)))
    (tmp_path / "empty.txt").write_text("\n\n")
    with pytest.raises(UserError, match=r"empty\.txt has no sentences"):
        run(lesson_of(tmp_path, translate=str(tmp_path / "empty.txt")))
    with pytest.raises(UserError, match=r"course\.text has nothing in it"):
        run(lesson_of(tmp_path, text=" "))
