"""A language model of words, beside counted trigrams: the perplexity of sentences, and how they go on.

    P(w_t | w_1 … w_{t-1}) = softmax(E P h_{t-1} + b),   h_t = LSTM(E[w_t], h_{t-1})
    perplexity = exp(mean of −log P(w_t | w_1 … w_{t-1}))   over all words, signs and ends of sentences

course.source=FOLDER: with train.en and, if you like, val.en, or a file of your own, a sentence a line.
course.heldout=FILE: sentences to score. course.text=BEGIN: a beginning to complete.
"""

import logging
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch

from kagglepipe.course.language import LanguageModel, continued, score
from kagglepipe.course.language_lesson import check_begin, count_unseen, fit_language, load_language
from kagglepipe.course.lesson import Lesson
from kagglepipe.course.ngrams import Trigrams
from kagglepipe.course.pictures import picture
from kagglepipe.errors import UserError
from kagglepipe.files import absolute
from kagglepipe.samples.sentences import draw_sentences
from kagglepipe.sequences.text import (
    END,
    SentenceBatches,
    Vocabulary,
    find_text,
    of_equal_length,
    read_sentences,
    readable,
    words,
)

log = logging.getLogger(__name__)
NAME = "next_word"
MINUTES = 4.6  # of training: with trigrams and scores it is five
EPOCHS = 4  # a minute: more than two cores make, so that the time decides
BATCH = 64
RATE, DROPOUT = 3e-3, 0.35
TEMPERATURES = (0.0, 0.8, 1.0)
SHOWN = 50  # words of the picture
Sentences = list[list[str]]


def run(lesson: Lesson) -> dict[str, Any]:
    """Train on sentences, or load a model; score sentences that it has not seen, complete a beginning."""
    options = lesson.options
    check_begin(options.text, '"the baby is"')
    heldout = read_sentences(absolute(options.heldout)) if options.heldout else []
    sentences, kept = ([], []) if options.model and not options.source else read_source(lesson)
    metrics: dict[str, Any] = {}
    if options.model:
        model = load_language(lesson, NAME)
    else:
        model = train(lesson, sentences, kept)
        metrics = {"sentences": len(sentences), "words": len(model.vocabulary)}
    for name, unseen in (("valid", kept), ("heldout", heldout)):
        if unseen:
            metrics |= scored(lesson, model, name, unseen, sentences)
    begin = words(options.text or "A")
    count_unseen(model.vocabulary, begin, "course.text")
    for temperature in TEMPERATURES:
        drawn = continued(model, [END, *begin], temperature=temperature, length=40, seed=lesson.seed, end=END)
        metrics[f"text_{temperature}"] = readable([*begin, *drawn])
        log.info("%s: at temperature %s: %s", NAME, temperature, metrics[f"text_{temperature}"])
    draw_next(model, words(metrics[f"text_{TEMPERATURES[0]}"]), lesson.folder / "next.png")
    return metrics


def read_source(lesson: Lesson) -> tuple[Sentences, Sentences]:
    """Read or draw the sentences to learn, and those on which epochs are compared; a quick run takes the first."""
    options, kept = lesson.options, []
    if options.source is None:
        sentences = [words(english) for english, _ in draw_sentences(lesson.size(20_000, 400), lesson.seed)]
    elif (path := absolute(options.source)).is_dir():
        train, valid = (find_text(path, f"{name}.en") for name in ("train", "val"))
        if train is None:
            raise UserError(f"course.source={path} has no train.en: give a text, or a folder with one of that name")
        sentences, kept = read_sentences(train), read_sentences(valid) if valid else []
    else:
        sentences = read_sentences(path)
    if options.quick:
        sentences, kept = sentences[:400], kept[:50]
    if not kept:
        share = len(sentences) // 20
        sentences, kept = sentences[share:], sentences[:share]
    if len(sentences) < BATCH or not kept:
        raise UserError(f"{options.source} leaves {len(sentences)} sentences to learn, a batch has {BATCH}: give more")
    return sentences, kept


def in_batches(vocabulary: Vocabulary, sentences: Sentences, device: torch.device) -> list[torch.Tensor]:
    """Number the words of sentences, with END before and after, and batch those of one length."""
    ids = [vocabulary.encode([END, *sentence, END]) for sentence in sentences]
    groups = of_equal_length(list(map(len, ids)), 2 * BATCH)
    return [torch.from_numpy(np.stack([ids[row] for row in rows])).to(device) for rows in groups]


def train(lesson: Lesson, sentences: Sentences, kept: Sentences) -> LanguageModel:
    """Train a model, choose its epoch on what is kept back, and save it; words that are seen once are unknown."""
    torch.manual_seed(lesson.seed)
    vocabulary = Vocabulary.of((word for sentence in sentences for word in sentence), least=2, more=(END,))
    model = LanguageModel(vocabulary, embedding=lesson.size(256, 32), hidden=lesson.size(512, 32), dropout=DROPOUT)
    model.to(lesson.device)
    size = lesson.size(BATCH, 16)
    batches = SentenceBatches([vocabulary.encode([END, *sentence, END]) for sentence in sentences], size, lesson.seed)
    unseen = in_batches(vocabulary, kept, lesson.device)

    fit_language(lesson, NAME, model, batches, unseen, minutes=MINUTES, epochs=EPOCHS, lr=RATE, batch_size=size)
    return model


def scored(lesson: Lesson, model: LanguageModel, name: str, unseen: Sentences, seen: Sentences) -> dict[str, Any]:
    """Perplexity of sentences by the model and, if there are sentences to count, by trigrams of the same vocabulary."""
    vocabulary = model.vocabulary
    unknown = count_unseen(vocabulary, (word for sentence in unseen for word in sentence), name)
    found = score(model, in_batches(vocabulary, unseen, lesson.device))
    metrics = {f"{name}_perplexity": math.exp(found.nats), f"{name}_nats": found.nats, f"{name}_words": found.symbols,
               f"{name}_unknown": unknown}  # fmt: skip
    known, asked = ([vocabulary.decode(vocabulary.encode(one)) for one in some] for some in (seen, unseen))
    for kind, kneser_ney in (("trigram", False), ("kneser_ney", True)) if seen else ():
        trigrams = Trigrams(known, len(vocabulary), kneser_ney=kneser_ney)
        metrics[f"{name}_perplexity_{kind}"] = trigrams.perplexity(asked)
    return metrics


@torch.no_grad()
def draw_next(model: LanguageModel, sentence: list[str], path: Path) -> None:
    """Draw the likeliest words after each beginning of a sentence, the last ones of a long sentence."""
    model.eval()
    shown = [END, *sentence]
    ids = torch.from_numpy(model.vocabulary.encode(shown)).to(model.embedding.bias.device)
    shown = shown[-SHOWN:]
    probs, likeliest = model(ids[None])[0, -SHOWN:].softmax(dim=1).topk(min(5, len(model.vocabulary)))
    with picture(path, width=1.1 * len(shown), height=2.4) as (_, axes):
        axes[0, 0].imshow(probs.T.cpu().numpy(), cmap="Blues", vmin=0, vmax=1, aspect="auto")
        for (t, rank), prob in np.ndenumerate(probs.cpu().numpy()):
            word = model.vocabulary.symbols[int(likeliest[t, rank])]
            axes[0, 0].text(t, rank, word, ha="center", va="center", fontsize=8, color="w" if prob > 0.6 else "k")
        axes[0, 0].set(xticks=range(len(shown)), yticks=[], ylabel="likeliest next words")
        axes[0, 0].set_xticklabels(shown, fontsize=8)
