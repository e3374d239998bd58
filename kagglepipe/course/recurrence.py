"""Recurrence: S_t = f(U x_t + W S_{t-1} + b), O_t = V S_t, unrolled by hand; many-to-one and many-to-many.

A network reads sentences letter by letter. After the last letter it says whether one or many act (many-to-one), or
after each letter it says which one comes next (many-to-many).

course.text=SENTENCE: the sentence to look at, of letters that the lesson knows.
"""

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kagglepipe.course.fitting import fit
from kagglepipe.course.lesson import Lesson
from kagglepipe.course.pictures import COLOURS, picture
from kagglepipe.errors import UserError
from kagglepipe.models.recurrent import ElmanNetwork, elman_step, pool
from kagglepipe.options import SequenceOptions
from kagglepipe.sequences.dataset import Example, TrainingBatches, collate

SUBJECTS = (  # of one, of many
    ("the baby", "my cat", "a small dog", "the old tree", "his friend", "that boat", "the child", "a bird"),
    ("the babies", "my cats", "two small dogs", "the old trees", "his friends", "those boats", "the children", "birds"),
)
VERBS = (
    ("is asleep", "sings", "was at home", "grows in the rain", "has no name", "waits for a ship"),
    ("are asleep", "sing", "were at home", "grow in the rain", "have no name", "wait for a ship"),
)
SENTENCES = [
    (f"{subject} {verb}.", number)
    for number in (0, 1)
    for subject, verb in itertools.product(SUBJECTS[number], VERBS[number])
]
LETTERS = sorted(set("".join(text for text, _ in SENTENCES)))
SHOWN = "the babies are asleep."
HIDDEN, LONGEST = 32, 100  # LONGEST: letters of a sentence that a picture has room for
PLAIN = SequenceOptions(crop=1, speed=1, drop=0)  # sentences as they are


def unroll(network: ElmanNetwork, x: Tensor) -> tuple[Tensor, Tensor]:
    """Compute the states S (B, T, H) and outputs O (B, T, O) of inputs (B, T, F), one equation after the other."""
    U, W, b, d = network.recurrent.rnn.all_weights[0]
    S = x.new_zeros(len(x), len(W))  # S_0
    states, outputs = [], []
    for t in range(x.shape[1]):
        S = elman_step(x[:, t], S, U, W, b + d)  # S_t = tanh(U x_t + W S_{t-1} + b), with the same U, W, b at every t
        states.append(S)
        outputs.append(S @ network.V.weight.T)  # O_t = V S_t
    return torch.stack(states, dim=1), torch.stack(outputs, dim=1)


class ManyToMany(nn.Module):
    """An answer after each step: one-hot letters (B, T, F) -> logits (B, T, O)."""

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.network = ElmanNetwork(len(LETTERS), HIDDEN, outputs)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        outputs, _ = self.network(x, lengths)
        return outputs


class ManyToOne(ManyToMany):
    """The same network, of which the answer after the last step counts: (B, T, F) -> (B, O)."""

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        return pool(super().forward(x, lengths), lengths, "last")


def one_hot(text: str) -> Tensor:
    """Encode a text as (T, F). Raises UserError for a letter that no sentence has."""
    if unknown := sorted(set(text) - set(LETTERS)):
        raise UserError(f"course.text has {' '.join(unknown)}: the lesson knows the letters {''.join(LETTERS).strip()}")
    return F.one_hot(torch.tensor([LETTERS.index(letter) for letter in text]), len(LETTERS)).double()


def examples_of(sentences: list[tuple[str, int]], *, to_one: bool) -> list[Example]:
    """Make examples: labels are the number () of a sentence, or the next letter (T,) after each."""
    found = []
    for text, number in sentences:
        x = one_hot(text).numpy()
        label, seen = (np.array(number), x) if to_one else (x[1:].argmax(axis=1), x[:-1])
        found.append(Example(text, seen, label))
    return found


def draw(network: ElmanNetwork, number: ElmanNetwork, text: str, path: Path) -> None:
    """Draw U, W and V; the hidden state over a sentence; the probabilities of the next letter, and of `many`."""
    U, W, _, _ = network.recurrent.rnn.all_weights[0]
    with picture(path.with_name("matrices.png"), 1, 3, width=3.2) as (_, axes):
        ways = ("letter", "unit of $S_t$"), ("unit of $S_{t-1}$", "unit of $S_t$"), ("unit of $S_t$", "next letter")
        for axis, name, matrix, (x, y) in zip(axes[0], "UWV", (U, W, network.V.weight), ways, strict=True):
            axis.imshow(matrix.numpy(), cmap="RdBu", vmin=-1, vmax=1)
            axis.set(title=f"{name}: {' × '.join(map(str, matrix.shape))}", xlabel=x, ylabel=y)
    states, outputs = (one[0] for one in unroll(network, one_hot(text)[None]))
    many = unroll(number, one_hot(text)[None])[1][0].softmax(dim=1)[:, 1]
    order = states.std(dim=0).argsort(descending=True)  # the units that change most on top
    heights = [2, 4, 2]
    with picture(path, 3, 1, width=0.35 * len(text), height=2.6, sharex=True, height_ratios=heights) as (_, axes):
        axes[0, 0].imshow(states[:, order].T.numpy(), cmap="RdBu", vmin=-1, vmax=1, aspect="auto")
        axes[0, 0].set_ylabel("unit of S")
        axes[1, 0].imshow(outputs.softmax(dim=1).T.numpy(), cmap="Blues", vmin=0, vmax=1, aspect="auto")
        axes[1, 0].plot([LETTERS.index(letter) for letter in text[1:]], "o", color=COLOURS[1], fillstyle="none")
        axes[1, 0].set(ylabel="next letter", yticks=range(len(LETTERS)))
        axes[1, 0].set_yticklabels("".join(LETTERS).replace(" ", "␣"), fontsize=7)
        axes[2, 0].plot(many.numpy(), color=COLOURS[0], marker="o", markevery=[len(text) - 1])
        axes[2, 0].set(ylim=(0, 1.05), ylabel="P(many)", xticks=range(len(text)), xticklabels=text.replace(" ", "␣"))


def run(lesson: Lesson) -> dict[str, Any]:
    """Train both networks on three quarters of the sentences, and look into them."""
    text = SHOWN if lesson.options.text is None else lesson.options.text
    if not 2 <= len(text) <= LONGEST:
        raise UserError(f"course.text has {len(text)} letters: give a sentence of 2 to {LONGEST}")
    one_hot(text)  # refused before any work
    order = np.random.default_rng(lesson.seed).permutation(len(SENTENCES))
    test = [SENTENCES[row] for row in order[: len(order) // 4]]
    train = [SENTENCES[row] for row in order[len(order) // 4 :]]
    torch.manual_seed(lesson.seed)
    models = {"number": ManyToOne(2).to(lesson.device), "next letter": ManyToMany(len(LETTERS)).to(lesson.device)}
    logits, labels = {}, {}
    for name, model in models.items():
        batches = TrainingBatches(examples_of(train, to_one=name == "number"), PLAIN, batch_size=8, window=None, seed=0)
        fit(model, batches, name=name, epochs=lesson.size(60, 6), lr=5e-3, batch_size=8, seed=lesson.seed)
        items = [(each.features, each.label) for each in examples_of(test, to_one=name == "number")]
        x, lengths, labels[name] = collate(items)
        with torch.inference_mode():
            logits[name] = model(x.to(lesson.device), lengths).cpu()
    number, letters = (models[name].cpu().double().network for name in models)
    with torch.inference_mode():
        x = one_hot(text)[None]
        _, outputs = unroll(letters, x)
        fused, _ = letters(x)
        nats = F.cross_entropy(logits["next letter"].flatten(0, 1), labels["next letter"].flatten(), ignore_index=-100)
        draw(letters, number, text, lesson.folder / "states.png")
    return {
        "largest_difference_of_unrolled_and_fused": float((outputs - fused).abs().max()),
        "many_to_one_accuracy": float((logits["number"].argmax(dim=1) == labels["number"]).float().mean()),
        "many_to_many_bits_per_letter": float(nats / np.log(2)),
        "bits_per_letter_of_chance": float(np.log2(len(LETTERS))),
        "weights_of_U_W_V": [len(LETTERS) * HIDDEN, HIDDEN**2, len(LETTERS) * HIDDEN],
        "test_sentences": len(test),
    }
