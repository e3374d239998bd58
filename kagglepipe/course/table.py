"""Map names of lessons to functions."""

from collections.abc import Callable
from typing import Any

from kagglepipe.course import (
    actions,
    cnn_versus_rnn,
    convolution,
    digits,
    gradients,
    long_lags,
    lstm_cell,
    next_character,
    next_word,
    recurrence,
    spoken_digits,
    translation,
)
from kagglepipe.course.lesson import Lesson

RUN: dict[str, Callable[[Lesson], dict[str, Any]]] = {
    "convolution": convolution.run,
    "digits": digits.run,
    "recurrence": recurrence.run,
    "gradients": gradients.run,
    "cnn_versus_rnn": cnn_versus_rnn.run,
    "lstm_cell": lstm_cell.run,
    "long_lags": long_lags.run,
    "next_character": next_character.run,
    "next_word": next_word.run,
    "translation": translation.run,
    "spoken_digits": spoken_digits.run,
    "actions": actions.run,
}
