"""What the lessons next_character and next_word share: training, the saved model, and messages about texts."""

import logging
import math
from collections.abc import Iterable, Sequence
from typing import Any

from torch import Tensor, nn

from kagglepipe.course.fitting import fit
from kagglepipe.course.language import LanguageModel, score
from kagglepipe.course.lesson import Lesson
from kagglepipe.course.pictures import loss_curves
from kagglepipe.course.saved import load, save
from kagglepipe.errors import UserError
from kagglepipe.sequences.text import GLUE, Vocabulary
from kagglepipe.text import first_three, shortened
from kagglepipe.training.device import choose_precision
from kagglepipe.training.loop import Batches

log = logging.getLogger(__name__)


def fit_language(
    lesson: Lesson,
    name: str,
    model: LanguageModel,
    batches: Batches,
    unseen: Sequence[Tensor],
    *,
    minutes: float,
    epochs: int,
    lr: float,
    batch_size: int,
    weight_decay: float = 0.01,
    network: nn.Module | None = None,
) -> None:
    """Train a model for some minutes, keep its best epoch on `unseen`, draw the losses, and save it.

    minutes: of training, unless `course.minutes` are typed. epochs: a minute, more than can be made, so that the time
    decides; a quick run has five in all. unseen: batches for `score`. network: what is trained; None: the model.
    """
    minutes = lesson.options.minutes or minutes

    def evaluate(rows: int) -> tuple[float, float, float]:
        found = score(model, unseen)
        return found.nats, found.accuracy, found.nats

    history = fit(
        network or model, batches, name=name, epochs=lesson.size(math.ceil(epochs * minutes), 5), lr=lr,
        batch_size=batch_size, seed=lesson.seed, seconds=60 * minutes, weight_decay=weight_decay, evaluate=evaluate,
        precision=choose_precision(lesson.device, training=True, recurrent=True),
    )  # fmt: skip
    loss_curves(lesson.folder / "losses.png", history, "nats")
    save(lesson, name, model, {"symbols": model.vocabulary.symbols, "sizes": model.sizes})


def check_begin(text: str | None, example: str) -> None:
    """Raise UserError for a beginning without anything in it."""
    if text is not None and not text.strip():
        raise UserError(f"course.text has nothing in it: type a beginning, as course.text={example}")


def count_unseen(vocabulary: Vocabulary, symbols: Iterable[str], where: str) -> int:
    """Count the symbols that the model does not know, and say so."""
    unseen = vocabulary.unseen(symbols)
    if unseen:
        examples = first_three([shortened(repr(symbol.replace(GLUE, "")), 20) for symbol, _ in unseen.most_common()])
        log.warning("%s: %d of its symbols were not learnt, as %s, and are <unk>", where, unseen.total(), examples)
    return unseen.total()


def load_language(lesson: Lesson, name: str) -> LanguageModel:
    """Load the model of the folder `course.model`. Raises UserError for that of another lesson."""

    def make(about: dict[str, Any]) -> tuple[LanguageModel, LanguageModel]:
        model = LanguageModel(Vocabulary(about["symbols"]), **about["sizes"]).to(lesson.device)
        return model, model

    return load(lesson, name, make)
