"""Fits models of time on features that are there already, and asks them for probabilities."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from kagglepipe.models.temporal import FeatureTransform, TemporalModel, moving_average
from kagglepipe.options import SequenceOptions, TemporalOptions, TrainingOptions
from kagglepipe.sequences.dataset import Example, TrainingBatches, collate
from kagglepipe.training.device import Precision
from kagglepipe.training.loop import train_epochs
from kagglepipe.training.optimise import param_groups
from kagglepipe.training.resume import Epoch

MOST_FRAMES = 20_000  # that standardisation and principal components are taken from: more change nothing
MOST_PADDED = 20_000  # frames of a batch to predict, padding included: what bounds its memory
FLOAT32 = Precision(torch.float32, False, "a model of time is too small for less")


def make_temporal(
    examples: Sequence[Example],
    classes: int,
    options: TemporalOptions,
    *,
    noise: float = 0.0,
    seed: int,
    device: torch.device,
) -> TemporalModel:
    """Make a temporal model with weights drawn by `seed` and its feature transform fitted on the examples."""
    torch.manual_seed(seed)
    inputs, per_frame = examples[0].features.shape[1], examples[0].label.ndim > 0
    model = TemporalModel(inputs, classes, options, per_frame=per_frame, noise=noise)
    if options.cell != "mean":
        model.inputs.fit(raw_frames(model, examples, seed=seed), seed=seed)
    return model.to(device)


def raw_frames(model: TemporalModel, examples: Sequence[Example], *, seed: int) -> NDArray[np.float32]:
    """(N, inputs) raw inputs of the examples' frames, at most MOST_FRAMES of them, the same share of each."""
    total = sum(len(example) for example in examples)
    share = min(1.0, MOST_FRAMES / total)
    rng, found = np.random.default_rng(seed), []
    for example in examples:
        raw = model.inputs.raw(torch.from_numpy(np.asarray(example.features, np.float32))[None])[0].numpy()
        found.append(raw if share == 1.0 else raw[rng.random(len(raw)) < share])
    return np.concatenate(found)


def fit_temporal(
    examples: Sequence[Example],
    classes: int,
    options: TemporalOptions,
    sequences: SequenceOptions,
    *,
    clip: float = 1.0,
    seed: int,
    device: torch.device,
    name: str,
) -> tuple[TemporalModel, list[Epoch]]:
    """Fit a temporal model on all examples for `sequences.steps`, and return it with its history.

    Frame labels (T,) are learnt in windows of `sequences.window` frames, clip labels () on whole clips. clip: maximum
    norm of the gradient. name: prefix of log lines.
    """
    model = make_temporal(examples, classes, options, noise=sequences.noise, seed=seed, device=device)
    seen = [replace(example, features=as_inputs(model, example)) for example in examples]  # once, not once an epoch
    window = sequences.window if examples[0].label.ndim else None
    batches = TrainingBatches(seen, sequences, batch_size=sequences.batch_size, window=window, seed=seed)
    history = train_epochs(
        model.head,
        batches,
        torch.optim.AdamW(param_groups(model.head, lr=sequences.lr, weight_decay=sequences.weight_decay)),
        options=loop_options(sequences, len(batches), clip=clip),
        seed=seed,
        precision=FLOAT32,
        name=name,
        unit="item",
        evaluate=None,
        lr_option="sequences.lr",
    )
    return model.eval(), history


def loop_options(sequences: SequenceOptions, batches: int, *, clip: float) -> TrainingOptions:
    """Options of the training loop for `sequences.steps`, rounded up to whole epochs of so many batches."""
    epochs = math.ceil(sequences.steps / batches)
    return TrainingOptions(
        epochs=epochs, lr=sequences.lr, batch_size=sequences.batch_size, weight_decay=sequences.weight_decay,
        warmup=0.1, schedule="cosine", clip=clip, label_smoothing=sequences.label_smoothing, patience=epochs,
    )  # fmt: skip


@torch.no_grad()
def as_inputs(model: TemporalModel, example: Example) -> NDArray[np.float32]:
    """(T, D): what the learning part of the model is given of an example."""
    features = torch.from_numpy(np.asarray(example.features, np.float32))[None]
    return model.inputs(features.to(model.inputs.centre.device))[0].cpu().numpy()


@torch.inference_mode()
def temporal_probabilities(
    models: Sequence[TemporalModel], examples: Sequence[Example], *, batch_size: int = 16
) -> list[NDArray[np.float64]]:
    """For each example the mean of the models' probabilities: (C,), or (T, C) where frames are classified.

    Examples of like length share a batch; what an example gets does not depend on the company.
    """
    found: list[NDArray[np.float64]] = [np.empty(0)] * len(examples)
    device = next(models[0].parameters()).device
    for rows in of_like_length([len(example) for example in examples], batch_size):
        features, lengths, _ = collate([(examples[row].features, examples[row].label) for row in rows])
        logits = [model.eval()(features.to(device), lengths).double() for model in models]
        probs = torch.stack([one.softmax(dim=-1) for one in logits]).mean(dim=0).cpu().numpy()
        for place, row in enumerate(rows):
            found[row] = probs[place, : len(examples[row])] if probs.ndim == 3 else probs[place]
    return found


def of_like_length(lengths: Sequence[int], batch_size: int) -> Iterator[list[int]]:
    """The rows in batches, shortest first: `batch_size` of them, or fewer where they are long."""
    rows: list[int] = []
    for row in sorted(range(len(lengths)), key=lengths.__getitem__):
        if len(rows) == batch_size or (rows and (len(rows) + 1) * lengths[row] > MOST_PADDED):
            yield rows
            rows = []
        rows.append(row)
    if rows:
        yield rows


def pooled(examples: Sequence[Example], options: TemporalOptions) -> NDArray[np.float32]:
    """(N, inputs): what a linear model sees: each clip's mean or, where frames are classified, each window's."""
    per_frame, inputs = examples[0].label.ndim > 0, FeatureTransform(examples[0].features.shape[1], options)
    found = []
    for example in examples:
        x = inputs.raw(torch.from_numpy(np.asarray(example.features, np.float32))[None])
        x = moving_average(x, torch.tensor([len(example)]), options.window) if per_frame else x.mean(dim=1)[:, None]
        found.append(x[0].numpy())
    return np.concatenate(found)
