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

MODULES = (convolution, digits, recurrence, gradients, long_lags, cnn_versus_rnn, lstm_cell, next_character, next_word,
           translation, spoken_digits, actions)  # fmt: skip
RUN: dict[str, Callable[[Lesson], dict[str, Any]]] = {one.__name__.rpartition(".")[2]: one.run for one in MODULES}
