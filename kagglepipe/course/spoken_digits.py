"""Spoken digits: an LSTM reads how loud a word is in each of 64 bands of pitch, and says which digit it was.

    x_t = log of the power in each band at the time t     a sound as a sequence of vectors
    z_t = max over bands (W * x)_t                        convolutions over time and bands: a higher voice is a shift
    h_t = [→LSTM(z); ←LSTM(z)]_t                          or dilated convolutions over time
    P(digit | x) = softmax(V · mean over t of h_t + b)

Each speaker is left out once: the networks answer for a voice that they have never heard. They listen twice: to the
sound less its own mean over time, and less the mean of all sounds of its speaker.

course.source=FOLDER: with train.csv (audio, label, speaker) and the sounds; without it voices are drawn.
course.heldout=CSV: other sounds (audio, label; without a column speaker they are of one), to be tested on.
course.model=FOLDER: loads what the lesson saved.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from kagglepipe.course.lesson import Lesson
from kagglepipe.course.pictures import COLOURS, picture
from kagglepipe.course.saved import load, save
from kagglepipe.course.sounds import FRAMES, Sounds, draw_sounds, read_sounds
from kagglepipe.errors import UserError
from kagglepipe.models.temporal import TemporalModel
from kagglepipe.options import SequenceOptions, TemporalOptions
from kagglepipe.predictions.calibration import fit_shares
from kagglepipe.sequences.sound import MELS
from kagglepipe.training.temporal import fit_temporal, temporal_probabilities

NAME = "spoken_digits"
STEPS = 2000
SHOWN = (3, 6, 8)  # digits of the picture
EQUAL = "with equal shares"
MEANS = ["sound", "speaker"]  # which the two views that are answered are less
COMMON: dict[str, Any] = {"reduce": 0, "differences": False, "bidirectional": True, "pooling": "mean"}
NETWORKS = {
    "LSTM": TemporalOptions(**COMMON),
    "convolutions and LSTM": TemporalOptions(**COMMON, bands=16),
    "convolutions": TemporalOptions(**COMMON, bands=16, cell="conv"),
}


def run(lesson: Lesson) -> dict[str, Any]:
    """Leave out each speaker, then learn from all of them; or load a model. Test it on other sounds."""
    options, metrics = lesson.options, dict[str, Any]()
    if options.model and (options.source or not options.heldout):
        raise UserError("course.model is tested on other sounds: add course.heldout=CSV, and leave course.source out")
    heldout = read_sounds(options.heldout, to_learn=False) if options.heldout else None
    if options.model:
        model = load(lesson, NAME, make_model).to(lesson.device)
    else:
        sounds = read_sounds(options.source, quick=options.quick) if options.source else draw_sounds(lesson)
        for name in NETWORKS:
            metrics[name] = leave_out(lesson, sounds, name)
        draw_accuracy(metrics, lesson.folder / "speakers.png")
        name = max(metrics, key=lambda one: metrics[one]["mean"])
        model = learn(lesson, sounds, np.arange(len(sounds.names)), name, "all speakers")
        draw_listening(model, sounds, lesson.folder / "listening.png")
        save(lesson, NAME, model, {"temporal": vars(NETWORKS[name]), "means": MEANS})
    if heldout:
        found = accuracy(model, heldout, np.arange(len(heldout.names)))
        metrics |= {"heldout_accuracy": found[0], f"heldout_accuracy_{EQUAL.replace(' ', '_')}": found[1]}
    return metrics


def make_model(about: dict[str, Any]) -> tuple[TemporalModel, TemporalModel]:
    """Make the network that was saved, without its weights. Raises KeyError for one that knows one mean only."""
    if about["means"] != MEANS:
        raise KeyError("means")
    model = TemporalModel(MELS, 10, TemporalOptions(**about["temporal"]), per_frame=False)
    return model, model


def learn(lesson: Lesson, sounds: Sounds, rows: NDArray[np.int64], name: str, what: str) -> TemporalModel:
    """Train a network on some sounds, in each of which bands and times are masked, warped and stretched anew."""
    examples = [example for view in range(len(sounds.views)) for example in sounds.examples(rows, view)]
    options = SequenceOptions(
        rate=FRAMES, steps=lesson.size(STEPS, 40), batch_size=32, crop=1.0, drop=0.0, speed=1.35, vtlp=1.15,
        freq_mask=8, time_mask=0.1, weight_decay=0.3,
    )  # fmt: skip
    model, _ = fit_temporal(
        examples, 10, NETWORKS[name], options, seed=lesson.seed, device=lesson.device, name=f"{name}, {what}"
    )
    return model


def leave_out(lesson: Lesson, sounds: Sounds, name: str) -> dict[str, float]:
    """Share of right digits of each speaker by a network that has learned from the others, and their means."""
    found = {}
    for speaker in np.unique(sounds.speakers):
        others = np.flatnonzero(sounds.speakers != speaker)
        if not len(others):
            raise UserError("course.source has one speaker, and two or more are needed: each is left out once")
        model = learn(lesson, sounds, others, name, f"without {speaker}")
        found[str(speaker)] = accuracy(model, sounds, np.flatnonzero(sounds.speakers == speaker))
    right, equal = np.mean(list(found.values()), axis=0).tolist()
    return {speaker: one for speaker, (one, _) in found.items()} | {"mean": right, f"mean {EQUAL}": equal}


def accuracy(model: TemporalModel, sounds: Sounds, rows: NDArray[np.int64]) -> tuple[float, float]:
    """Share of right digits, by the mean probabilities over both ways of listening; and the same with equal shares.

    That is, if it were known that each digit is said as often, and classes were weighted so.
    """
    views = range(len(MEANS))
    probs = np.mean([np.stack(temporal_probabilities([model], sounds.examples(rows, one))) for one in views], axis=0)
    equal = np.log(probs) + fit_shares(probs, np.full(10, 0.1))["offsets"]
    right, right_if_equal = (float((one.argmax(axis=1) == sounds.digits[rows]).mean()) for one in (probs, equal))
    return right, right_if_equal


def draw_accuracy(metrics: dict[str, dict[str, float]], path: Path) -> None:
    """Draw the accuracy of each network on each speaker whom it has not heard, and its means."""
    with picture(path, width=6, height=3) as (_, axes):
        for number, (name, found) in enumerate(metrics.items()):
            places = np.arange(len(found)) + 0.3 * number
            axes[0, 0].bar(places, list(found.values()), 0.28, label=name, color=COLOURS[number])
            axes[0, 0].set_xticks(np.arange(len(found)) + 0.3, list(found), rotation=20, ha="right", parse_math=False)
        axes[0, 0].set(ylabel="share of right digits", ylim=(0, 1))
        axes[0, 0].legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=3, fontsize=8)


@torch.no_grad()
def draw_listening(model: TemporalModel, sounds: Sounds, path: Path) -> None:
    """Draw a sound of each of three digits, and below it what each frame says when the whole has been read."""
    digits = sorted(set(sounds.digits.tolist()), key=lambda digit: digit not in SHOWN)[: len(SHOWN)]
    rows = [int(np.flatnonzero(sounds.digits == digit)[0]) for digit in digits]
    with picture(path, 2, len(rows), width=3, height=2.2) as (_, axes):
        for column, row in enumerate(rows):
            frames = sounds.views[0][row]
            device = model.inputs.centre.device
            logits = model.frame_logits(torch.from_numpy(frames)[None].to(device), torch.tensor([len(frames)]))[0]
            axes[0, column].imshow(frames.T, aspect="auto", origin="lower", cmap="magma")
            axes[0, column].set(title=f"digit {sounds.digits[row]}", ylabel="band" if column == 0 else "")
            axes[1, column].imshow(logits.softmax(dim=1).T.cpu().numpy(), aspect="auto", cmap="Blues", vmin=0, vmax=1)
            axes[1, column].set(yticks=range(10), xlabel="frame", ylabel="digit" if column == 0 else "")
