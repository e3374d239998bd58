"""Translation from English to German: an encoder reads, a decoder with attention writes.

    m = [→LSTM(x); ←LSTM(x)]                            the source, as it is read in both directions
    q_t = LSTM(E[y_{t-1}])                              the translation, as far as it is written
    a(t, s) ∝ exp(q_t · W m_s),  c_t = Σ_s a(t, s) m_s  attention to the source, and the context that it gives
    P(y_t | y_1 … y_{t-1}, x) = softmax(E tanh(P [LSTM([q_t; c_t]); c_t]) + b)

In training y_{t-1} is that of the given translation (teacher forcing); in translating it is what was written.

course.source=FOLDER: with train.en, train.de and, if you like, val.en and val.de, a sentence a line.
course.translate=FILE: sentences to translate into course.file=FILE. course.text=SENTENCE: one to look at.
"""

import logging
import math
from pathlib import Path
from typing import Any

import torch

from kagglepipe.course.bilingual import Language, TextTranslator, bleu
from kagglepipe.course.fitting import fit
from kagglepipe.course.language_lesson import count_unseen
from kagglepipe.course.lesson import Lesson
from kagglepipe.course.pictures import loss_curves, picture
from kagglepipe.course.sentence_pairs import Pairs, read_source
from kagglepipe.course.translator import Translator, teacher_forced
from kagglepipe.errors import UserError
from kagglepipe.files import absolute, write_bytes
from kagglepipe.sequences.text import GLUE, PairBatches, read_lines
from kagglepipe.training.device import choose_precision

log = logging.getLogger(__name__)
NAME = "translation"
MINUTES = 11  # of training; with the two short ones and all scores it is fifteen
SHORT = 0.1  # of the time: a network without attention, and one with it to compare
EPOCHS = 2  # a minute: more than two cores make, so that the time decides
MERGES = 2000  # of each language
BATCH, RATE, SMOOTHING, DROPOUT = 64, 3e-3, 0.1, 0.2
BEAM = 5
SHOWN = "A young man in a red hat sees a small dog in front of a house."


def run(lesson: Lesson) -> dict[str, Any]:
    """Train on pairs of sentences, or load a model; score it, look at its attention, translate a text."""
    options = lesson.options
    texts = read_texts(lesson)
    if options.file:
        check_file(options.file)
    pairs, kept = ([], []) if options.model and not options.source else read_source(lesson, BATCH)
    metrics: dict[str, Any] = {}
    if options.model:
        translator = TextTranslator.load(lesson, NAME)
    else:
        translator = train(lesson, pairs, kept, NAME)
        translator.save(lesson, NAME)
        metrics = {"pairs": len(pairs), "weights": sum(one.numel() for one in translator.model.parameters())}
        for attention in (False, True):
            name = f"short, {'with' if attention else 'without'} attention"
            short = train(lesson, pairs, kept, name, attention=attention, share=SHORT)
            metrics[f"valid_bleu_greedy_{name}"] = bleu(short, kept, 1)
    if kept:
        metrics |= {"valid_bleu_greedy": bleu(translator, kept, 1), "valid_bleu": bleu(translator, kept, BEAM)}
    for name, asked in (("course.text", [options.text or ""]), ("course.translate", texts)):
        parts = (part for text in asked for part in translator.source.parts(text))
        count_unseen(translator.source.vocabulary, parts, name)
    metrics["text"] = draw_attention(translator, options.text or SHOWN, lesson.folder / "attention.png")
    log.info("%s: %s", NAME, metrics["text"])
    if texts:
        write(options.file, translator.translate_all(texts, BEAM))
    return metrics


def read_texts(lesson: Lesson) -> list[str]:
    """Read what is to be translated. Raises UserError if there is nothing in it."""
    if lesson.options.text is not None and not lesson.options.text.strip():
        raise UserError("course.text has nothing in it: type a sentence in English")
    if lesson.options.translate is None:
        return []
    texts = read_lines(absolute(lesson.options.translate))
    if not any(texts):
        raise UserError(f"course.translate={lesson.options.translate} has no sentences: give one a line")
    return texts


def train(
    lesson: Lesson, pairs: Pairs, kept: Pairs, name: str, *, attention: bool = True, share: float = 1.0
) -> TextTranslator:
    """Train a network for a share of the time; of its epochs the best on the pairs kept back is taken."""
    torch.manual_seed(lesson.seed)
    source, target = (Language.of([pair[side] for pair in pairs], lesson.size(MERGES, 100)) for side in (0, 1))
    size = lesson.size(256, 32)
    model = Translator(len(source.vocabulary), len(target.vocabulary), embedding=size, hidden=size, dropout=DROPOUT,
                       attention=attention).to(lesson.device)  # fmt: skip
    translator = TextTranslator(model, source, target)
    batch_size = lesson.size(BATCH, 16)
    batches, unseen = (
        PairBatches([translator.pair(*pair) for pair in some], batch_size, lesson.seed) for some in (pairs, kept)
    )
    minutes = (lesson.options.minutes or MINUTES) * share

    def evaluate(rows: int) -> tuple[float, float, float]:
        nats, accuracy = teacher_forced(model, unseen(1))
        return nats, accuracy, nats

    history = fit(
        model, batches, name=name,
        epochs=lesson.size(math.ceil(EPOCHS * minutes), 2), lr=RATE, batch_size=batch_size, seed=lesson.seed,
        seconds=60 * minutes, weight_decay=0.01, evaluate=evaluate, label_smoothing=SMOOTHING,
        precision=choose_precision(lesson.device, training=True, recurrent=True),
    )  # fmt: skip
    if share == 1:
        loss_curves(lesson.folder / "losses.png", history, "nats")
    return translator


def check_file(file: str) -> None:
    """Make the folder of a file to write. Raises UserError if the file cannot be written."""
    if absolute(file).is_dir():
        raise UserError(f"course.file={file} is a folder: give the name of a file to write")
    try:
        absolute(file).parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"course.file={file} cannot be written ({error}): give a file in another folder") from error


def write(file: str | None, lines: list[str]) -> None:
    """Write lines to a file, or print them."""
    if file is None:
        print(*lines, sep="\n")
    else:
        write_bytes(absolute(file), "".join(f"{line}\n" for line in lines).encode())


def draw_attention(translator: TextTranslator, text: str, path: Path) -> str:
    """Draw the attention of each part of a translation to those of the source, and return the translation."""
    found, weights = translator.translate(text, BEAM)
    width, height = (max(6, min(40, 0.3 * side)) for side in (weights.shape[1], weights.shape[0]))
    with picture(path, width=width, height=height) as (_, axes):
        axes[0, 0].imshow(weights.cpu().numpy(), cmap="Greys", vmin=0, vmax=1, aspect="auto")
        for axis, parts in (("x", translator.source.parts(text)), ("y", translator.target.parts(found))):
            labels = [*(part.replace(GLUE, "·") for part in parts), "<eos>"]
            axes[0, 0].set(**{f"{axis}ticks": range(len(labels))})
            axes[0, 0].tick_params(axis, rotation=90 if axis == "x" else 0)
            axes[0, 0].set(**{f"{axis}ticklabels": labels})
    return found
