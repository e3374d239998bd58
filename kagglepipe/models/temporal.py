"""Temporal models: frame features (B, T, F) to logits, one per clip or one per frame.

    features -> FeatureTransform -> input projection -> temporal module -> (pooling) -> classifier

The temporal module is recurrent (Elman, GRU, LSTM), a dilated convolution, or absent (a linear model of the mean).

B clips, T frames, F features a frame, D inputs after the transform, H hidden units, C classes.
"""

import re
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from kagglepipe.errors import UserError
from kagglepipe.models.classifier import Classifier
from kagglepipe.models.recurrent import Recurrent, State, pool, step_mask
from kagglepipe.options import TemporalOptions

POOLING = {"mean": ("mean",), "max": ("max",), "last": ("last",), "mean_max": ("mean", "max")}  # frames to a clip
STORED = {"input_proj": "enter", "temporal": "body", "classifier": "leave"}  # modules of TemporalHead: names in files


class FeatureTransform(nn.Module):
    """Append frame differences, standardise and reduce by PCA: features (B, T, F) -> inputs (B, T, D).

    `fit` estimates the buffers from training frames without labels; none is a parameter.
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

    def raw(self, features: Tensor, previous: Tensor | None = None) -> Tensor:
        """Append |x_t - x_{t-1}| to each frame, if so configured: (B, T, F) -> (B, T, F or 2F).

        previous: (B, F), the frame before the first; None: the first frame's difference is 0.
        """
        if not self.differences:
            return features
        shifted = torch.cat([(features[:, 0] if previous is None else previous)[:, None], features[:, :-1]], dim=1)
        return torch.cat([features, (features - shifted).abs()], dim=2)

    def forward(self, features: Tensor, previous: Tensor | None = None) -> Tensor:
        x = (self.raw(features, previous) - self.centre) * self.scale
        return x @ self.projection if len(self.projection) else x

    @torch.no_grad()
    def fit(self, raw: NDArray[np.floating], *, seed: int) -> None:
        """Estimate means, deviations and principal components from raw inputs (N, F or 2F).

        Components are divided by the square root of their deviation, halfway to whitening, so that small ones count
        without being as loud as large ones; together they have mean variance 1. Inputs and components that are constant
        here become 0: there is no scale for their changes.
        """
        mean, deviation = raw.mean(axis=0, dtype=np.float64), raw.std(axis=0, dtype=np.float64)
        changes = deviation > 1e-6 * np.abs(mean) + 1e-30  # the precision of float32
        scale = np.divide(1, deviation, out=np.zeros_like(deviation), where=changes)
        self.centre.copy_(torch.from_numpy(mean.astype(np.float32)))
        self.scale.copy_(torch.from_numpy(scale.astype(np.float32)))
        if not len(self.projection) or not changes.any():
            return
        from sklearn.decomposition import PCA

        size = min(self.size, len(raw) - 1)
        pca = PCA(size, svd_solver="randomized", random_state=seed).fit((raw - mean) * scale)
        varies = pca.explained_variance_ > 1e-6 * pca.explained_variance_[0]  # a prefix: they are sorted
        deviations = np.sqrt(pca.explained_variance_[varies])
        projection = np.zeros((len(mean), self.size))
        projection[:, : len(deviations)] = pca.components_[varies].T / np.sqrt(deviations * deviations.mean())
        self.projection.copy_(torch.from_numpy(projection.astype(np.float32)))


class TemporalHead(nn.Module):
    """Classify inputs (B, T, D) with lengths (B,): frame logits (B, T, C) or, unless `per_frame`, (B, C).

    noise: standard deviation of Gaussian noise on the inputs in training. `cell=mean` is a linear model.
    """

    def __init__(self, inputs: int, classes: int, options: TemporalOptions, *, per_frame: bool, noise: float) -> None:
        super().__init__()
        self.options, self.per_frame, self.noise = options, per_frame, noise
        self.dropout = nn.Dropout(options.dropout)
        convolved = options.bands > 0 and options.cell != "mean"
        self.bands = BandConvolutions(inputs, options.bands, options.dropout) if convolved else None
        inputs = self.bands.output_size if self.bands else inputs
        self.input_proj = nn.Linear(inputs, options.hidden) if options.cell != "mean" else nn.Identity()
        self.temporal = make_temporal_module(options)
        states = self.temporal.output_size if self.temporal else inputs
        self.pooling = POOLING[options.pooling]
        self.classifier = nn.Linear(states * len(self.pooling), classes)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        if self.training and self.noise:
            x = x + self.noise * torch.randn_like(x)
        order = frame_order(lengths, x.shape[1], drawn=self.training).to(x.device) if self.options.shuffled else None
        states = self.states(x if order is None else x.gather(1, order[:, :, None].expand_as(x)), lengths)
        if self.per_frame:
            if order is not None:  # each state back to its frame's position
                states = torch.zeros_like(states).scatter(1, order[:, :, None].expand_as(states), states)
            return self.frame_logits(states)
        pooled = [pool(states, lengths, how) for how in self.pooling]
        logits: Tensor = self.classifier(torch.cat(pooled, dim=1))
        return logits

    def states(self, x: Tensor, lengths: Tensor) -> Tensor:
        """Apply the temporal module: inputs (B, T, D) -> states (B, T, H)."""
        if self.temporal is None:
            return moving_average(x, lengths, self.options.window) if self.per_frame else x
        x = self.temporal_inputs(x, lengths)
        encode = self.temporal.encode if isinstance(self.temporal, Recurrent) else self.temporal
        return self.dropout(encode(x, lengths))

    def temporal_inputs(self, x: Tensor, lengths: Tensor) -> Tensor:
        """Inputs of the temporal module: (B, T, D) -> (B, T, H)."""
        return self.project(x if self.bands is None else self.bands(x, lengths))

    def project(self, x: Tensor) -> Tensor:
        """Apply dropout, the input projection and ReLU: (B, T, D) -> (B, T, H)."""
        projected: Tensor = self.dropout(F.relu(self.input_proj(self.dropout(x))))
        return projected

    def frame_logits(self, states: Tensor) -> Tensor:
        """Classify states (…, H) one by one -> (…, C): a frame's state is its own mean and maximum."""
        logits: Tensor = self.classifier(torch.cat([states] * len(self.pooling), dim=-1))
        return logits


class TemporalModel(nn.Module):
    """Features (B, T, F) float32 with lengths (B,) -> frame logits (B, T, C) or, with `per_frame=False`, (B, C).

    noise: standard deviation of Gaussian noise on the standardised inputs in training.
    """

    def __init__(
        self, features: int, classes: int, options: TemporalOptions, *, per_frame: bool, noise: float = 0.0
    ) -> None:
        super().__init__()
        self.features, self.options = features, options
        self.inputs = FeatureTransform(features, options)
        self.head = TemporalHead(self.inputs.size, classes, options, per_frame=per_frame, noise=noise)

    def forward(self, features: Tensor, lengths: Tensor) -> Tensor:
        logits: Tensor = self.head(self.inputs(features), lengths)
        return logits

    def frame_logits(self, features: Tensor, lengths: Tensor) -> Tensor:
        """Frame logits (B, T, C), also of a model that is trained on clips."""
        per_frame, self.head.per_frame = self.head.per_frame, True
        try:
            return self(features, lengths)
        finally:
            self.head.per_frame = per_frame

    def activity(self, features: Tensor) -> dict[str, Tensor]:
        """`Recurrent.activity` over the features of an item (1, T, F); nothing unless it reads them in their order."""
        if not isinstance(self.head.temporal, Recurrent) or self.options.shuffled:
            return {}
        lengths = torch.tensor([features.shape[1]])
        return self.head.temporal.activity(self.head.temporal_inputs(self.inputs(features), lengths))

    @property
    def is_causal(self) -> bool:
        """Whether logits depend on past frames only, through a recurrent state, so that frames can be streamed."""
        recurrent = isinstance(self.head.temporal, Recurrent) and not self.options.bands  # which see the next frames
        return recurrent and not self.options.bidirectional and not self.options.shuffled


class Stream:
    """Run a causal model frame by frame: `stream(features (F,)) -> logits (C,)`, equal to one pass over all frames.

    Raises UserError for a model that is not causal or has no recurrent state.
    """

    def __init__(self, model: TemporalModel) -> None:
        if not model.is_causal:
            raise UserError(
                "this run's model cannot go on frame by frame, as a live stream comes: train one with model=cnn_lstm "
                "model.temporal.bidirectional=false"
            )
        self.model = model.eval()
        self.previous: Tensor | None = None
        self.state: State | None = None

    @torch.inference_mode()
    def __call__(self, features: Tensor) -> Tensor:
        head = self.model.head
        x = head.project(self.model.inputs(features[None, None], self.previous))
        states, self.state = head.temporal(x, state=self.state)
        self.previous = features[None]
        return head.frame_logits(states[0, 0])


class BandConvolutions(nn.Module):
    """Convolve over time and bands, as an image is: log-mel frames (B, T, F) -> (B, T, 2C · F/8), C = `channels`.

    Three convolutions of 3×3 with batch norm, each followed by the maximum of two neighbouring bands, so that a voice
    that is a little higher gives nearly the same. Padding frames count as zero in every layer. Sainath et al. 2013,
    "Deep convolutional neural networks for LVCSR".
    """

    def __init__(self, bands: int, channels: int, dropout: float) -> None:
        super().__init__()
        widths = (1, channels, 3 * channels // 2, 2 * channels)
        self.layers = nn.ModuleList(
            nn.Sequential(nn.Conv2d(one, other, 3, padding=1), nn.BatchNorm2d(other), nn.ReLU(), nn.MaxPool2d((1, 2)))
            for one, other in pairwise(widths)
        )
        self.dropout = nn.Dropout(dropout)
        self.output_size = widths[-1] * (bands // 8)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        mask = step_mask(lengths, x)[:, None, :, None].to(x.dtype)  # (B, 1, T, 1)
        x = x[:, None] * mask
        for layer in self.layers:
            x = layer(x) * mask
        return self.dropout(x.transpose(1, 2).flatten(2))


class DilatedConv(nn.Module):
    """Residual convolutions of kernel 3 and dilation 1, 2, 4, …: (B, T, H) -> (B, T, H).

    Causal unless `bidirectional`; padding frames count as zero. van den Oord et al. 2016, "WaveNet"; Lea et al. 2017,
    "Temporal convolutional networks".
    """

    def __init__(self, hidden: int, *, layers: int, bidirectional: bool, dropout: float) -> None:
        super().__init__()
        self.output_size = hidden
        self.layers = nn.ModuleList(nn.Conv1d(hidden, hidden, 3, dilation=2**n) for n in range(layers))
        self.bidirectional = bidirectional
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        mask = step_mask(lengths, x)[:, None].to(x.dtype)  # (B, 1, T)
        x = x.transpose(1, 2) * mask  # (B, H, T)
        for n, layer in enumerate(self.layers):
            reach = 2 * 2**n
            padding = (reach // 2, reach // 2) if self.bidirectional else (reach, 0)
            x = x + self.dropout(F.relu(layer(F.pad(x, padding)))) * mask
        return x.transpose(1, 2)


def make_temporal_module(options: TemporalOptions) -> Recurrent | DilatedConv | None:
    """Make the module (B, T, H) -> (B, T, H or 2H); None for `cell=mean`."""
    if options.cell == "mean":
        return None
    hidden, bidirectional, dropout = options.hidden, options.bidirectional, options.dropout
    if options.cell == "conv":
        return DilatedConv(hidden, layers=options.layers + 2, bidirectional=bidirectional, dropout=dropout)
    return Recurrent(
        hidden, hidden, cell=options.cell, layers=options.layers, bidirectional=bidirectional, dropout=dropout
    )


def moving_average(x: Tensor, lengths: Tensor, window: int) -> Tensor:
    """Average the `window` frames around each frame, padding left out: (B, T, D) -> (B, T, D)."""
    mask = step_mask(lengths, x)[:, :, None].to(x.dtype)  # (B, T, 1)
    before, after = window // 2, window - 1 - window // 2

    def windowed(values: Tensor) -> Tensor:
        padded = F.pad(values.transpose(1, 2), (before, after))
        return F.avg_pool1d(padded, window, stride=1).transpose(1, 2)

    return windowed(x * mask) / windowed(mask).clamp(min=1e-9) * mask


def frame_order(lengths: Tensor, steps: int, *, drawn: bool) -> Tensor:
    """Random permutation (B, T) of each item's frames, padding last. drawn: anew, else fixed for each length."""
    keys = torch.rand(len(lengths), steps) if drawn else torch.empty(len(lengths), steps)
    if not drawn:
        for row, length in enumerate(lengths.tolist()):
            keys[row] = torch.rand(steps, generator=torch.Generator().manual_seed(int(length)))
    keys[torch.arange(steps) >= lengths.cpu()[:, None]] = 2.0  # above every key of a frame
    return keys.argsort(dim=1, stable=True)


class CnnLstm(nn.Module):
    """Encoder and temporal model end to end: frames (B, T, S, S, 3) uint8, lengths (B,) -> (B, C) or (B, T, C)."""

    def __init__(self, encoder: Classifier, head: TemporalModel) -> None:
        super().__init__()
        self.encoder, self.head = encoder, head

    @property
    def backbone(self) -> nn.Module:
        """The encoder's timm network."""
        backbone: nn.Module = self.encoder.backbone
        return backbone

    def forward(self, frames: Tensor, lengths: Tensor) -> Tensor:
        mask = step_mask(lengths, frames)  # (B, T): padding is not worth a forward pass
        encoded = self.encoder.features(frames[mask])
        features = encoded.new_zeros(*frames.shape[:2], encoded.shape[1])
        features[mask] = encoded
        logits: Tensor = self.head(features, lengths)
        return logits


def stored_name(name: str) -> str:
    """Name in files of a parameter, which are those of earlier versions.

    >>> stored_name("head.input_proj.weight"), stored_name("backbone.conv.weight")
    ('head.enter.weight', 'backbone.conv.weight')
    """
    pattern = rf"^((?:head\.)+)({'|'.join(STORED)})(?=\.)"
    return re.sub(pattern, lambda found: found[1] + STORED[found[2]], name)


def load_stored(module: nn.Module, tensors: dict[str, Tensor]) -> None:
    """Load tensors under their names in files, strictly, as `load_state_dict` does."""
    names = {stored_name(name): name for name in module.state_dict()}
    module.load_state_dict({names.get(name, name): value for name, value in tensors.items()})
