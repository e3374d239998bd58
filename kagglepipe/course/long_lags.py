"""RNN versus LSTM on the experiments of Hochreiter & Schmidhuber 1997, "Long short-term memory", section 5.

A network sees new sequences until it meets the paper's criterion, or has seen LIMIT of them. Networks run side by side
in processes of one thread each, on the CPU: they are so small that more threads are slower.
"""

from collections import deque
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from joblib import Parallel, delayed, parallel_config
from torch import Tensor, nn
from torch.nn import functional as F

from kagglepipe.console import progress
from kagglepipe.course.lesson import Lesson
from kagglepipe.course.pictures import COLOURS, picture
from kagglepipe.models.recurrent import Recurrent
from kagglepipe.parallel import cpu_count, exit_with_parent
from kagglepipe.samples.long_lags import TASKS, Floats, Sequences, reber_sets
from kagglepipe.training.optimise import update

LIMIT = 100_000
RECENT, CHECK = 2_000, 200  # sequences that a criterion is about, and from one look at it to the next
SET, FRESH = 256, 2_560  # sequences of a test set, and of the test afterwards
# cell, initial bias of the forget gate, number of seeds
KINDS = {"LSTM": ("lstm", 5.0, 5), "LSTM, forget bias 1": ("lstm", 1.0, 3), "Elman": ("elman", 0.0, 3)}
QUICK = ("Reber grammar", "two sequences")
SMALL = 0.2  # factor on the initial W of an LSTM, so that at first cells hardly disturb one another
ELMAN_LR = 0.003  # of 0.003, 0.006 and 0.01 the one by which the Reber grammar is learnt soonest


class Settings(NamedTuple):
    """softmax: outputs are probabilities, else numbers. write: initial bias of the input gate; below 0 it is closed."""

    softmax: bool = True
    write: float = -2.0
    lr: float = 0.01
    hidden: int = 16
    batch: int = 8


SETTINGS = {
    "Reber grammar": Settings(write=0.0, lr=0.02, batch=4),
    "two sequences": Settings(softmax=False),
    "noisy targets": Settings(softmax=False, lr=0.003),
    "adding": Settings(softmax=False, write=-3.0, lr=0.02),
    "multiplication": Settings(softmax=False, write=-3.0),
    "order of two": Settings(),
    "order of three": Settings(),
    "copying": Settings(write=0.0, hidden=64),
}


class Network(nn.Module):
    """Recurrent layer and an answer at each step: (B, T, F) -> logits or numbers (B, T, O)."""

    def __init__(self, settings: Settings, kind: str, like: Sequences) -> None:
        super().__init__()
        cell, forget, _ = KINDS[kind]
        hidden = settings.hidden if cell == "lstm" else 2 * settings.hidden  # about as many weights
        self.recurrent = Recurrent(like.inputs.shape[2], hidden, cell=cell)
        self.V = nn.Linear(hidden, like.truth.shape[2])
        if cell == "lstm":
            _, W, b, _ = self.recurrent.rnn.all_weights[0]
            with torch.no_grad():
                W *= SMALL
                b[:hidden], b[hidden : 2 * hidden] = settings.write, forget

    def forward(self, x: Tensor) -> Tensor:
        answers: Tensor = self.V(self.recurrent.encode(x))
        return answers


def learn(name: str, kind: str, seed: int, limit: int) -> dict[str, Any]:
    """Train until the task is solved or `limit` sequences are seen, then count wrong answers to FRESH ones.

    A loop of its own, since that of the competitions knows no errors of single sequences to stop by.
    """
    exit_with_parent()
    torch.manual_seed(seed)
    rng, settings, (draw, criterion, _) = np.random.default_rng(seed), SETTINGS[name], TASKS[name]
    fresh, tests = draw(rng, FRESH), [draw(rng, SET)] if criterion.tested else []
    if name == "Reber grammar":
        draw, tests = reber_sets(rng, SET)
    model = Network(settings, kind, fresh)
    optimiser = torch.optim.Adam(model.parameters(), lr=ELMAN_LR if kind == "Elman" else settings.lr)
    scaler = torch.amp.GradScaler("cpu", enabled=False)  # float32 needs none

    def errors(logits: Tensor, truth: Floats) -> Floats:
        outputs = logits.softmax(dim=2) if settings.softmax else logits
        return criterion.errors(outputs.detach().numpy(), truth)

    def errors_of(sequences: Sequences) -> Floats:
        with torch.inference_mode():
            return errors(model(torch.from_numpy(sequences.inputs)), sequences.truth)

    recent, solved = deque[float](maxlen=RECENT), False
    for seen in range(settings.batch, limit + 1, settings.batch):
        x, targets, truth = draw(rng, settings.batch)
        logits, wanted = model(torch.from_numpy(x)), torch.from_numpy(targets)
        asked = ~wanted[:, :, 0].isnan()
        loss = (F.cross_entropy if settings.softmax else F.mse_loss)(logits[asked], wanted[asked])
        optimiser.zero_grad()
        loss.backward()
        update(model, float(loss.detach()), optimiser, scaler, clip=1.0)
        recent.extend(errors(logits, truth))
        if seen % CHECK == 0 and (tests or seen >= RECENT):
            judged = np.concatenate([*map(errors_of, tests)]) if tests else np.array(recent)
            solved = criterion.is_met(judged)
        if solved:
            break
    wrong = int(criterion.is_wrong(errors_of(fresh)).sum())
    return {"sequences": seen if solved else None, "wrong_of_fresh": wrong}


def draw_results(found: dict[str, Any], limit: int, path: Path) -> None:
    """Draw the sequences that each network needed, at the limit if it was not solved, and the paper's."""
    with picture(path, width=9, height=0.5 * len(found) + 1) as (_, axes):
        for shift, kind, colour, marker in zip((-0.2, 0, 0.2), KINDS, COLOURS, "ox+", strict=False):
            seen = [task[kind]["sequences"] for task in found.values()]
            points = [(one or limit, row + shift) for row, of_task in enumerate(seen) for one in of_task]
            axes[0, 0].plot(*zip(*points, strict=True), marker, color=colour, label=kind)
        papers = [(task["paper"], row) for row, task in enumerate(found.values()) if task["paper"]]
        axes[0, 0].plot(*zip(*papers, strict=True), "|", color="black", markersize=18, label="the paper's LSTM")
        axes[0, 0].axvline(limit, color="#bbbbbb", linestyle=":", label="not solved")
        axes[0, 0].set(xscale="log", xlabel="sequences until solved", yticks=range(len(found)), yticklabels=found)
        axes[0, 0].invert_yaxis()
        axes[0, 0].legend(fontsize=8)


def run(lesson: Lesson) -> dict[str, Any]:
    """Let all networks learn all tasks, two of them if quick."""
    names, limit = QUICK if lesson.options.quick else tuple(TASKS), lesson.size(LIMIT, 4_000)
    count = {kind: lesson.size(seeds, 1) for kind, (_, _, seeds) in KINDS.items()}
    jobs = [(name, kind, lesson.seed + n) for name in names for kind in KINDS for n in range(count[kind])]
    with parallel_config("loky", n_jobs=min(cpu_count(), len(jobs)), inner_max_num_threads=1):
        results = Parallel(return_as="generator")(delayed(learn)(*job, limit) for job in jobs)
        done = list(zip(jobs, progress(results, "long_lags", total=len(jobs), unit="network"), strict=True))
    found: dict[str, Any] = {name: {"paper": TASKS[name].paper} for name in names}
    for name, kind in product(names, KINDS):
        own = [result for job, result in done if job[:2] == (name, kind)]
        median = sorted(one["sequences"] or np.inf for one in own)[len(own) // 2]
        columns = {key: [one[key] for one in own] for key in own[0]}
        found[name][kind] = {"median": None if median == np.inf else median, **columns}
    draw_results(found, limit, lesson.folder / "long_lags.png")
    return {"limit": limit, "fresh": FRESH, "tasks": found}
