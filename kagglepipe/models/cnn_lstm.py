"""From the features of frames to labels: the recurrent module with what it needs before and after it.

    frames -> features -> (with their changes, standardised, reduced) -> body -> (pooled) -> logits

The body is the recurrent module, or what it is compared with: convolutions over time, or no look at time at all.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from kagglepipe.errors import UserError
from kagglepipe.models.classifier import Classifier
from kagglepipe.models.recurrent import Recurrent, State, pool

POOLING = {"mean": ("mean",), "max": ("max",), "last": ("last",), "mean_max": ("mean", "max")}  # frames to a clip


@dataclass(frozen=True)
class TemporalOptions:
    """What `model.temporal.*` holds; noise: deviation of noise on the standardised inputs in training."""

    cell: str
    differences: bool
    shuffled: bool
    hidden: int
    layers: int
    bidirectional: bool
    dropout: float
    reduce: int
    pooling: str
    window: int
    noise: float = 0.0


class Inputs(nn.Module):
    """features (B, T, F) -> inputs (B, T, D): each frame with how much it changed, standardised, reduced.

    Nothing in it is learnt by gradient descent: `fit` takes it from the frames to train on, without their labels.
    """

    centre: Tensor
    scale: Tensor
    projection: Tensor

    def __init__(self, features: int, options: TemporalOptions) -> None:
        super().__init__()
        self.differences = options.differences
        raw = features * (2 if options.differences else 1)
        reduced = bool(options.reduce) and options.cell != "mean" and options.reduce < raw
        self.size = options.reduce if reduced else raw
        self.register_buffer("centre", torch.zeros(raw))
        self.register_buffer("scale", torch.ones(raw))
        self.register_buffer("projection", torch.eye(raw, self.size) if reduced else torch.zeros(0, 0))

    def raw(self, features: Tensor, before: Tensor | None = None) -> Tensor:
        """(B, T, F) -> (B, T, F or 2F): each frame and, with differences, how much it differs from the one before.

        before: (B, F), the frame before the first (None: there is none, and the first differs by 0).
        """
        if not self.differences:
            return features
        shifted = torch.cat([(features[:, 0] if before is None else before)[:, None], features[:, :-1]], dim=1)
        return torch.cat([features, (features - shifted).abs()], dim=2)

    def forward(self, features: Tensor, before: Tensor | None = None) -> Tensor:
        x = (self.raw(features, before) - self.centre) * self.scale
        return x @ self.projection if len(self.projection) else x

    @torch.no_grad()
    def fit(self, raw: NDArray[np.floating], *, seed: int) -> None:
        """Standardisation and principal components from raw inputs (N, raw).

        Each input gets mean 0 and deviation 1. A principal component is divided by the root of its deviation, which
        is halfway to whitening: small ones are heard, but not as loud as large ones. All together have variance 1.
        What never changes here, an input or a component, becomes 0 for good: nothing tells what a change is worth.
        """
        mean, deviation = raw.mean(axis=0, dtype=np.float64), raw.std(axis=0, dtype=np.float64)
        changes = deviation > 1e-6 * np.abs(mean) + 1e-30  # float32 is no more exact than that
        scale = np.divide(1, deviation, out=np.zeros_like(deviation), where=changes)
        self.centre.copy_(torch.from_numpy(mean.astype(np.float32)))
        self.scale.copy_(torch.from_numpy(scale.astype(np.float32)))
        if not len(self.projection) or not changes.any():
            return
        from sklearn.decomposition import PCA

        size = min(self.size, len(raw) - 1)
        pca = PCA(size, svd_solver="randomized", random_state=seed).fit((raw - mean) * scale)
        varies = pca.explained_variance_ > 1e-6 * pca.explained_variance_[0]  # the first ones: they are sorted
        deviations = np.sqrt(pca.explained_variance_[varies])
        projection = np.zeros((len(mean), self.size))
        projection[:, : len(deviations)] = pca.components_[varies].T / np.sqrt(deviations * deviations.mean())
        self.projection.copy_(torch.from_numpy(projection.astype(np.float32)))


class Head(nn.Module):
    """inputs (B, T, D) with lengths (B,) -> frame logits (B, T, C) or, of whole clips, (B, C).

    A linear head on the mean, `cell=mean`, pools by the mean whatever `pooling` says.
    """

    def __init__(self, inputs: int, classes: int, options: TemporalOptions, *, per_frame: bool) -> None:
        super().__init__()
        self.options, self.per_frame = options, per_frame
        self.dropout = nn.Dropout(options.dropout)
        self.enter = nn.Linear(inputs, options.hidden) if options.cell != "mean" else nn.Identity()
        self.body = make_body(options)
        states = self.body.output_size if self.body else inputs
        self.pooling = POOLING["mean" if options.cell == "mean" else options.pooling]
        self.leave = nn.Linear(states * len(self.pooling), classes)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        if self.training and self.options.noise:
            x = x + self.options.noise * torch.randn_like(x)
        order = frame_order(lengths, x.shape[1], drawn=self.training).to(x.device) if self.options.shuffled else None
        states = self.states(x if order is None else x.gather(1, order[:, :, None].expand_as(x)), lengths)
        if self.per_frame:
            if order is not None:  # each state goes back to its frame's place
                states = torch.zeros_like(states).scatter(1, order[:, :, None].expand_as(states), states)
            return self.frame_logits(states)
        pooled = [pool(states, lengths, how) for how in self.pooling]
        logits: Tensor = self.leave(torch.cat(pooled, dim=1))
        return logits

    def states(self, x: Tensor, lengths: Tensor) -> Tensor:
        """Inputs (B, T, D) -> what the body makes of each frame, (B, T, H)."""
        if self.body is None:
            return moving_average(x, lengths, self.options.window) if self.per_frame else x
        x = self.entered(x)
        states = self.body.encode(x, lengths) if isinstance(self.body, Recurrent) else self.body(x, lengths)
        return self.dropout(states)

    def entered(self, x: Tensor) -> Tensor:
        """Inputs (B, T, D) -> what enters the body, (B, T, hidden)."""
        entered: Tensor = self.dropout(F.relu(self.enter(self.dropout(x))))
        return entered

    def frame_logits(self, states: Tensor) -> Tensor:
        """(…, H) -> (…, C): a frame's state is its own mean and maximum."""
        logits: Tensor = self.leave(torch.cat([states] * len(self.pooling), dim=-1))
        return logits


class TemporalModel(nn.Module):
    """features (B, T, F) float32 with lengths (B,) -> frame logits (B, T, C) or, with `per_frame=False`, (B, C)."""

    def __init__(self, features: int, classes: int, options: TemporalOptions, *, per_frame: bool) -> None:
        super().__init__()
        self.features, self.options = features, options
        self.inputs = Inputs(features, options)
        self.head = Head(self.inputs.size, classes, options, per_frame=per_frame)

    def forward(self, features: Tensor, lengths: Tensor) -> Tensor:
        logits: Tensor = self.head(self.inputs(features), lengths)
        return logits

    def frame_logits(self, features: Tensor, lengths: Tensor) -> Tensor:
        """(B, T, C): what each frame says, also where clips are what is learnt."""
        per_frame, self.head.per_frame = self.head.per_frame, True
        try:
            return self(features, lengths)
        finally:
            self.head.per_frame = per_frame

    @property
    def is_causal(self) -> bool:
        """Whether it can go on frame by frame: logits depend on their frame and on a state of the earlier ones."""
        recurrent = isinstance(self.head.body, Recurrent)
        return recurrent and not self.options.bidirectional and not self.options.shuffled


class Stream:
    """A causal model fed frame by frame: `stream(features (F,)) -> logits (C,)`, the same as the whole at once.

    Raises UserError for a model that looks ahead, or keeps no state.
    """

    def __init__(self, model: TemporalModel) -> None:
        if not model.is_causal:
            raise UserError(
                "this run's model cannot go on frame by frame, as a live stream comes: train one with model=cnn_lstm "
                "model.temporal.bidirectional=false"
            )
        self.model = model.eval()
        self.before: Tensor | None = None
        self.state: State | None = None

    @torch.inference_mode()
    def __call__(self, features: Tensor) -> Tensor:
        head = self.model.head
        x = head.entered(self.model.inputs(features[None, None], self.before))
        states, self.state = head.body(x, state=self.state)
        self.before = features[None]
        return head.frame_logits(states[0, 0])


class Convolutions(nn.Module):
    """Residual convolutions over three frames, dilated 1, 2, 4, … (van den Oord et al. 2016; Lea et al. 2017).

    (B, T, hidden) -> the same. Causal unless `bidirectional`; frames beyond an item's length count as zero.
    """

    def __init__(self, hidden: int, *, layers: int, bidirectional: bool, dropout: float) -> None:
        super().__init__()
        self.output_size = hidden
        self.layers = nn.ModuleList(nn.Conv1d(hidden, hidden, 3, dilation=2**n) for n in range(layers))
        self.bidirectional = bidirectional
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        real = (torch.arange(x.shape[1]) < lengths.cpu()[:, None])[:, None].to(x.device, x.dtype)  # (B, 1, T)
        x = x.transpose(1, 2) * real  # (B, hidden, T)
        for n, layer in enumerate(self.layers):
            reach = 2 * 2**n
            padding = (reach // 2, reach // 2) if self.bidirectional else (reach, 0)
            x = x + self.dropout(F.relu(layer(F.pad(x, padding)))) * real
        return x.transpose(1, 2)


def make_body(options: TemporalOptions) -> Recurrent | Convolutions | None:
    """What looks at time: a recurrent module, convolutions, or nothing."""
    if options.cell == "mean":
        return None
    if options.cell == "conv":
        return Convolutions(
            options.hidden,
            layers=options.layers + 2,
            bidirectional=options.bidirectional,
            dropout=options.dropout,
        )
    return Recurrent(
        options.hidden,
        options.hidden,
        cell=options.cell,
        layers=options.layers,
        bidirectional=options.bidirectional,
        dropout=options.dropout,
    )


def moving_average(x: Tensor, lengths: Tensor, window: int) -> Tensor:
    """(B, T, D) -> (B, T, D): the mean of the `window` frames around each, of those that are there."""
    real = (torch.arange(x.shape[1]) < lengths.cpu()[:, None])[:, :, None].to(x.device, x.dtype)
    before, after = window // 2, window - 1 - window // 2

    def windowed(values: Tensor) -> Tensor:
        padded = F.pad(values.transpose(1, 2), (before, after))
        return F.avg_pool1d(padded, window, stride=1).transpose(1, 2)

    return windowed(x * real) / windowed(real).clamp(min=1e-9) * real


def frame_order(lengths: Tensor, steps: int, *, drawn: bool) -> Tensor:
    """(B, T) a random order of each item's own frames, padding last; drawn: anew, else the same for each length."""
    keys = torch.rand(len(lengths), steps) if drawn else torch.empty(len(lengths), steps)
    if not drawn:
        for row, length in enumerate(lengths.tolist()):
            keys[row] = torch.rand(steps, generator=torch.Generator().manual_seed(int(length)))
    keys[torch.arange(steps) >= lengths.cpu()[:, None]] = 2.0  # behind every key of a frame
    return keys.argsort(dim=1, stable=True)


class CnnLstm(nn.Module):
    """frames (B, T, size, size, 3) uint8 with lengths (B,) -> (B, C) or (B, T, C) logits: encoder and body in one."""

    def __init__(self, encoder: Classifier, head: TemporalModel) -> None:
        super().__init__()
        self.encoder, self.head = encoder, head

    @property
    def backbone(self) -> nn.Module:
        """The network that looks at a frame."""
        backbone: nn.Module = self.encoder.backbone
        return backbone

    def forward(self, frames: Tensor, lengths: Tensor) -> Tensor:
        real = torch.arange(frames.shape[1]) < lengths.cpu()[:, None]  # (B, T): padding is not worth a forward pass
        seen = self.encoder.features(frames[real.to(frames.device)])
        features = seen.new_zeros(*frames.shape[:2], seen.shape[1])
        features[real.to(frames.device)] = seen
        logits: Tensor = self.head(features, lengths)
        return logits
