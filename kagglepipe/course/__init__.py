"""The course: a module for each lesson, with a function `run(lesson) -> metrics`.

Nothing slow is imported here, since help reads it; `table.py` has the functions.
"""

LESSONS = {  # in the order of the course; docs/course/NAME.md has the page of each
    "convolution": "y = f(W·x + b) by loops, edge filters, and the feature maps of a trained network",
    "digits": "LeNet-5 and a modern CNN on 100, 1,000 and 10,000 digits, with and without augmentation",
    "recurrence": "S_t = f(U x_t + W S_{t-1}), O_t = V S_t, unrolled by hand; many-to-one and many-to-many",
    "gradients": "back-propagation through time by hand; gradients that vanish and explode",
    "cnn_versus_rnn": "digits row by row, pixel by pixel and permuted: what is shared over space and time",
    "lstm_cell": "the gates of an LSTM over time, and what is lost without each of them",
    "long_lags": "RNN versus LSTM on the experiments of Hochreiter and Schmidhuber (1997)",
    "next_character": "a language model of characters: samples at three temperatures, bits per character",
    "next_word": "a language model of words: perplexity beside n-grams, completion of a beginning",
    "translation": "encoder and decoder with attention: English to German, greedy and beam search, BLEU",
    "spoken_digits": "log-mel frames of a sound to an LSTM, each speaker left out once",
    "actions": "the case study: frame features, LSTM and segments of actions in video",
}
READS: dict[str, tuple[str, ...]] = {  # options of a lesson beside course.quick
    "convolution": ("source",),
    "digits": ("source", "heldout"),
    "recurrence": ("text",),
    "gradients": (),
    "cnn_versus_rnn": ("source", "heldout"),
    "lstm_cell": (),
    "long_lags": (),
    "next_character": ("source", "minutes", "model", "heldout", "text"),
    "next_word": ("source", "minutes", "model", "heldout", "text"),
    "translation": ("source", "minutes", "model", "translate", "file", "text"),
    "spoken_digits": ("source", "model", "heldout"),
    "actions": ("source",),
}
METRICS = "metrics.json"  # of a lesson, in outputs/course/NAME/
