"""Fitting of temporal models on stored features, and their probabilities."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from kagglepipe.models.temporal import FeatureTransform, TemporalModel, moving_average
from kagglepipe.options import SequenceOptions, TemporalOptions, TrainingOptions
from kagglepipe.sequences.dataset import BandBatches, Example, TrainingBatches, augments_bands, collate
from kagglepipe.training.device import Precision
from kagglepipe.training.head import Head
from kagglepipe.training.links import LINKS
from kagglepipe.training.loop import train_epochs
from kagglepipe.training.losses import LOSSES, Loss
from kagglepipe.training.optimise import param_groups
from kagglepipe.training.resume import Epoch
from kagglepipe.training.target_scale import target_scale

MAX_FRAMES = 20_000  # from which means and principal components are estimated: more change nothing
MAX_PADDED = 20_000  # frames of a batch in prediction, padding included: bounds its memory
FLOAT32 = Precision(torch.float32, False, "a temporal model is too small for less")


def make_temporal(
    examples: Sequence[Example],
    outputs: int,
    options: TemporalOptions,
    *,
    noise: float = 0.0,
    seed: int,
    device: torch.device,
) -> TemporalModel:
    """Make a temporal model with weights drawn by `seed` and its feature transform fitted on the examples.

    outputs: their number O.
    """
    torch.manual_seed(seed)
    inputs, per_frame = examples[0].features.shape[1], examples[0].per_frame
    model = TemporalModel(inputs, outputs, options, per_frame=per_frame, noise=noise)
    if options.cell != "mean":
        model.inputs.fit(raw_frames(model, examples, seed=seed), seed=seed)
    return model.to(device)


def make_linear(
    example: Example, head: Head, options: TemporalOptions, centre: NDArray[Any], scale: NDArray[Any], *,
    noise: float = 0.0, seed: int = 0,
) -> TemporalModel:  # fmt: skip
    """Make a temporal model of a linear head on pooled inputs (D,), standardised as (x − centre) · scale."""
    model = make_temporal([example], len(head.bias), options, noise=noise, seed=seed, device=torch.device("cpu"))
    model.inputs.centre.copy_(torch.from_numpy(centre))
    model.inputs.scale.copy_(torch.from_numpy(scale))
    classifier = model.head.classifier
    classifier.weight.data, classifier.bias.data = torch.from_numpy(head.weight), torch.from_numpy(head.bias)
    return model.eval()


def raw_frames(model: TemporalModel, examples: Sequence[Example], *, seed: int) -> NDArray[np.float32]:
    """Raw inputs (N, F or 2F) of the frames of all examples, at most about MAX_FRAMES, the same share of each."""
    total = sum(len(example) for example in examples)
    share = min(1.0, MAX_FRAMES / total)
    rng, found = np.random.default_rng(seed), []
    for example in examples:
        raw = model.inputs.raw(torch.from_numpy(np.array(example.features, np.float32))[None])[0].numpy()
        found.append(raw if share == 1.0 else raw[rng.random(len(raw)) < share])
    return np.concatenate(found)


def fit_temporal(
    examples: Sequence[Example],
    outputs: int,
    options: TemporalOptions,
    sequences: SequenceOptions,
    *,
    task: str = "multiclass",
    clip: float = 1.0,
    seed: int,
    device: torch.device,
    name: str,
) -> tuple[TemporalModel, list[Epoch]]:
    """Fit a temporal model on all examples for `sequences.steps`, and return it with its history.

    Frame labels (T,) are learnt in windows of `sequences.window` frames, clip labels () or (O,) on whole clips.
    outputs: their number O. task: of the labels; numbers are learnt standardised, from their mean on. clip: maximum
    norm of the gradient. name: prefix of log lines.
    """
    model = make_temporal(examples, outputs, options, noise=sequences.noise, seed=seed, device=device)
    scale = target_scale(examples) if LINKS[task].has_unit else None
    if scale is not None:
        examples = scale.standardised(examples)
        nn.init.zeros_(model.head.classifier.bias)
    batches = training_batches(model, examples, sequences, seed=seed)
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
        loss=temporal_loss(task, examples),
    )
    if scale is not None:
        scale.to_unit(model.head.classifier)
    return model.eval(), history


def temporal_loss(task: str, examples: Sequence[Example]) -> Loss:
    """Loss of a task, of squared errors in units of the variance of the examples' targets."""
    return LOSSES[task](np.stack([example.label for example in examples]) if LINKS[task].has_unit else np.empty(0))


def training_batches(
    model: TemporalModel, examples: Sequence[Example], sequences: SequenceOptions, *, seed: int
) -> TrainingBatches:
    """Make batches of augmented inputs (B, T, D) of the model's head."""
    window = sequences.window if examples[0].per_frame else None
    common: dict[str, Any] = {"batch_size": sequences.batch_size, "window": window, "seed": seed}
    if augments_bands(sequences):
        return BandBatches(examples, sequences, partial(inputs_of, model), **common)
    seen = [replace(example, features=inputs_of(model, example.features)) for example in examples]  # not once an epoch
    return TrainingBatches(seen, sequences, **common)


def loop_options(sequences: SequenceOptions, batches: int, *, clip: float) -> TrainingOptions:
    """Options of the training loop for `sequences.steps`, rounded up to whole epochs of so many batches."""
    epochs = math.ceil(sequences.steps / batches)
    return TrainingOptions(
        epochs=epochs, lr=sequences.lr, batch_size=sequences.batch_size, weight_decay=sequences.weight_decay,
        warmup=0.1, schedule="cosine", clip=clip, label_smoothing=sequences.label_smoothing, patience=epochs,
        from_scratch=True,  # batch norms, of `BandConvolutions`, have no statistics yet
    )  # fmt: skip


@torch.no_grad()
def inputs_of(model: TemporalModel, features: NDArray[np.floating]) -> NDArray[np.float32]:
    """Apply the feature transform to the features of an example: (T, F) -> (T, D)."""
    batch = torch.from_numpy(np.array(features, np.float32))[None]
    return model.inputs(batch.to(model.inputs.centre.device))[0].cpu().numpy()


@torch.inference_mode()
def temporal_probabilities(
    models: Sequence[TemporalModel], examples: Sequence[Example], *, task: str = "multiclass", batch_size: int = 16
) -> list[NDArray[np.float64]]:
    """Mean predictions of the models for each example: (C,), or (T, C) where frames are classified.

    Examples of similar length share a batch; the result does not depend on the other examples of the batch.
    """
    found: list[NDArray[np.float64]] = [np.empty(0)] * len(examples)
    predict = LINKS[task].predict
    device = next(models[0].parameters()).device
    for rows in of_like_length([len(example) for example in examples], batch_size):
        features, lengths, _ = collate([(examples[row].features, examples[row].label) for row in rows])
        logits = [model.eval()(features.to(device), lengths).double() for model in models]
        probs = torch.stack([predict(one) for one in logits]).mean(dim=0).cpu().numpy()
        for place, row in enumerate(rows):
            found[row] = probs[place, : len(examples[row])] if probs.ndim == 3 else probs[place]
    return found


def of_like_length(lengths: Sequence[int], batch_size: int) -> Iterator[list[int]]:
    """Yield rows in batches of similar length, shortest first: `batch_size` of them, or fewer where they are long."""
    rows: list[int] = []
    for row in sorted(range(len(lengths)), key=lengths.__getitem__):
        if len(rows) == batch_size or (rows and (len(rows) + 1) * lengths[row] > MAX_PADDED):
            yield rows
            rows = []
        rows.append(row)
    if rows:
        yield rows


def pooled(examples: Sequence[Example], options: TemporalOptions) -> NDArray[np.float32]:
    """Inputs (N, F or 2F) of a linear model: each clip's mean or, where frames are classified, each window's."""
    per_frame, inputs = examples[0].per_frame, FeatureTransform(examples[0].features.shape[1], options)
    found = []
    for example in examples:
        x = inputs.raw(torch.from_numpy(np.array(example.features, np.float32))[None])
        x = moving_average(x, torch.tensor([len(example)]), options.window) if per_frame else x.mean(dim=1)[:, None]
        found.append(x[0].numpy())
    return np.concatenate(found)
