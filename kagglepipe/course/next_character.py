"""A language model of characters: an LSTM reads a text and says what comes next.

    h_t = LSTM(E[w_t], h_{t-1})             the state, carried over from batch to batch
    P(w_{t+1} | w_1 … w_t) = softmax(E P h_t + b)
    loss = −log P(w_{t+1} | w_1 … w_t)      in nats a character; divided by log 2, in bits

course.source=FILE: a text of your own, or a folder with train.txt, in place of the drawn sentences.
course.heldout=FILE: a text to score. course.text=BEGIN: a beginning to continue.
"""

import logging
import math
from pathlib import Path
from typing import Any

import torch

from kagglepipe.course.language import Carried, LanguageModel, continued, score, surprise
from kagglepipe.course.language_lesson import check_begin, count_unseen, fit_language, load_language
from kagglepipe.course.lesson import Lesson
from kagglepipe.course.pictures import COLOURS, picture
from kagglepipe.errors import UserError
from kagglepipe.files import absolute
from kagglepipe.samples.sentences import draw_sentences
from kagglepipe.sequences.text import StreamBatches, Vocabulary, find_text, read_text

log = logging.getLogger(__name__)
NAME = "next_character"
MINUTES = 2.8  # of training: with scores and samples it is three
EPOCHS = 6  # a minute: more than two cores make, so that the time decides
KEPT = 0.05  # share of the text, its end, that epochs are compared on
KEPT_STREAMS = 8  # read side by side in it
STREAMS, STEPS = 64, 32  # of a batch
LONG = 10  # minutes, from which on a larger network is worth its time
UNITS, DROPOUT, RATE = (256, 512), (0.1, 0.35), (8e-3, 5e-3)  # of a short and of a long training
DECAY = 0.2  # of weights: without it the text is learned by heart
TEMPERATURES = (0.5, 0.8, 1.1)
SHOWN = 70  # characters of the picture


def run(lesson: Lesson) -> dict[str, Any]:
    """Train on a text, or load a model; score text that it has not seen, draw samples, continue a beginning."""
    options = lesson.options
    check_begin(options.text, "ROMEO:")
    heldout = read_long(absolute(options.heldout), 2) if options.heldout else ""
    text = "" if options.model and not options.source else read_source(lesson)
    kept = text[len(text) - int(KEPT * len(text)) :]
    metrics: dict[str, Any] = {}
    if options.model:
        model = load_language(lesson, NAME)
    else:
        model = train(lesson, text[: len(text) - len(kept)], kept)
        metrics = {"characters": len(text) - len(kept), "weights": sum(one.numel() for one in model.parameters())}
    for name, unseen, streams in (("valid", kept, KEPT_STREAMS), ("heldout", heldout, 1)):
        if unseen:
            metrics |= scored(lesson, model, name, unseen, streams)
    for temperature in TEMPERATURES:
        metrics[f"sample_{temperature}"] = complete(lesson, model, "\n", temperature)
    if options.text:
        count_unseen(model.vocabulary, options.text, "course.text")
        metrics["text"] = options.text + complete(lesson, model, options.text, TEMPERATURES[0])
    return metrics


def read_source(lesson: Lesson) -> str:
    """Read the text to learn, or draw one; a quick run takes its begin. Raises UserError if it is too short."""
    if lesson.options.source is None:
        return "\n".join(english for english, _ in draw_sentences(lesson.size(20_000, 120), lesson.seed))
    path = absolute(lesson.options.source)
    if path.is_dir():
        found = find_text(path, "train.txt")
        if found is None:
            raise UserError(f"course.source={path} has no train.txt: give a text, or a folder with one of that name")
        path = found
    return read_long(path, 2 * STREAMS * STEPS)[: 5000 if lesson.options.quick else None]


def read_long(path: Path, least: int) -> str:
    """Read a text. Raises UserError if it has fewer than so many characters."""
    text = read_text(path)
    if len(text) < least:
        raise UserError(f"{path} has {len(text)} characters, and {least} are needed: give a longer text")
    return text


def train(lesson: Lesson, text: str, kept: str) -> LanguageModel:
    """Train a model on a text, choose its epoch on what is kept back, and save it."""
    torch.manual_seed(lesson.seed)
    vocabulary = Vocabulary.of(text, least=2)
    if len(vocabulary) == 1:
        raise UserError(f"course.source={lesson.options.source} has no character twice: give a longer text")
    is_long = (lesson.options.minutes or MINUTES) >= LONG
    hidden, dropout, rate = UNITS[is_long], DROPOUT[is_long], RATE[is_long]
    model = LanguageModel(vocabulary, embedding=64, hidden=lesson.size(hidden, 64), dropout=dropout).to(lesson.device)
    streams = lesson.size(STREAMS, 8)
    batches = StreamBatches(vocabulary.encode(text), streams, lesson.size(STEPS, 32), lesson.seed)
    unseen = in_streams(vocabulary, kept, KEPT_STREAMS).to(lesson.device)

    fit_language(
        lesson, NAME, model, batches, [unseen], minutes=MINUTES, epochs=EPOCHS, lr=rate, batch_size=streams,
        weight_decay=DECAY, network=Carried(model),
    )  # fmt: skip
    return model


def in_streams(vocabulary: Vocabulary, text: str, streams: int) -> torch.Tensor:
    """Cut a text into at most so many streams (B, N + 1); each begins with the last character of the one before."""
    ids = torch.from_numpy(vocabulary.encode(text))
    length = max(1, (len(ids) - 1) // streams)
    return ids.unfold(0, length + 1, length)


def scored(lesson: Lesson, model: LanguageModel, name: str, text: str, streams: int) -> dict[str, Any]:
    """Score the characters of a text after the first, each given all before it, and draw those of its begin."""
    unknown = count_unseen(model.vocabulary, text, name)
    ids = in_streams(model.vocabulary, text, streams).to(lesson.device)
    found = score(model, [ids])
    bits = found.nats / math.log(2)
    nats, _ = surprise(model, ids[:1, : SHOWN + 1])
    with picture(lesson.folder / f"{name}.png", width=9, height=2) as (_, axes):
        axes[0, 0].bar(range(nats.shape[1]), nats[0].cpu().numpy() / math.log(2), color=COLOURS[0])
        axes[0, 0].set(ylabel="bits", xticks=range(nats.shape[1]), xticklabels=visible(text[1 : nats.shape[1] + 1]))
    return {f"{name}_nats": found.nats, f"{name}_bits": bits, f"{name}_characters": found.symbols,
            f"{name}_unknown": unknown}  # fmt: skip


def visible(text: str) -> str:
    """Show blanks and line ends."""
    return text.replace(" ", "␣").replace("\n", "↵")


def complete(lesson: Lesson, model: LanguageModel, begin: str, temperature: float) -> str:
    """Draw the characters after a beginning."""
    drawn = continued(model, begin, temperature=temperature, length=lesson.size(300, 30), seed=lesson.seed)
    log.info("%s: at temperature %s: %s%s\n", NAME, temperature, begin, "".join(drawn))
    return "".join(drawn)
