"""A model of time learns what only order tells, the same again from the same seed, and answers in any company."""

import math
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn

from kagglepipe.errors import UserError
from kagglepipe.images.dataset import IGNORE_INDEX
from kagglepipe.models.temporal import TemporalModel
from kagglepipe.options import SequenceOptions
from kagglepipe.sequences.dataset import Example
from kagglepipe.training import temporal as module
from kagglepipe.training.head import HeadFitter
from kagglepipe.training.loop import train_epochs
from kagglepipe.training.resume import Epoch
from kagglepipe.training.temporal import (
    FLOAT32,
    fit_temporal,
    inputs_of,
    loop_options,
    make_linear,
    make_temporal,
    of_like_length,
    pooled,
    raw_frames,
    temporal_probabilities,
)
from tests.fitting import Listed, temporal_options

CPU = torch.device("cpu")
PLAIN = {"crop": 1.0, "speed": 1.0, "drop": 0.0, "noise": 0.0}
LIVELY = {"crop": 0.8, "speed": 1.25, "drop": 0.1}
RECIPE = SequenceOptions(steps=120, lr=2e-2, label_smoothing=0.0, **PLAIN)


options = partial(temporal_options, hidden=12)


def which_first(count: int, seed: int = 0, *, per_frame: bool = False) -> list[Example]:
    """Noise with two flashes, one of each of two kinds: the label is the kind that comes first.

    per_frame: the label of a frame is the kind seen last, 2 before the first.
    """
    rng, found = np.random.default_rng(seed), []
    for number in range(count):
        length, first = int(rng.integers(5, 9)), number % 2
        at = np.sort(rng.choice(length, 2, replace=False))
        features = rng.normal(0, 0.1, (length, 3))
        features[at[0], first] += 3
        features[at[1], 1 - first] += 3
        seen = np.full(length, 2)
        seen[at[0] :], seen[at[1] :] = first, 1 - first
        found.append(Example(str(number), features.astype(np.float32), seen if per_frame else np.array(first)))
    return found


def random_examples(lengths: list[int], *, per_frame: bool, features: int = 4, seed: int = 0) -> list[Example]:
    """Noise of three classes that have means of their own."""
    rng, found = np.random.default_rng(seed), []
    for number, length in enumerate(lengths):
        labels = rng.integers(0, 3, length) if per_frame else np.array(number % 3)
        values = rng.normal(labels.reshape(-1, 1), 1, (length, features)).astype(np.float32)
        found.append(Example(str(number), values, labels))
    return found


def fitted(
    examples: list[Example],
    recipe: SequenceOptions = RECIPE,
    *,
    seed: int = 0,
    classes: int = 3,
    clip: float = 1.0,
    **changes: Any,
) -> tuple[TemporalModel, list[Epoch]]:
    """A model and its history."""
    shape = options(**{"pooling": "mean_max", **changes})
    return fit_temporal(examples, classes, shape, recipe, clip=clip, seed=seed, device=CPU, name="test")


def accuracy(models: list[TemporalModel], examples: list[Example]) -> float:
    """The share of items, or frames, whose most probable class is the label."""
    found = temporal_probabilities(models, examples)
    right = [probs.argmax(axis=-1) == one.label for probs, one in zip(found, examples, strict=True)]
    return float(np.concatenate([np.atleast_1d(one) for one in right]).mean())


def as_linear(examples: list[Example], folds: NDArray[np.int64], fold: int, **changes: Any) -> TemporalModel:
    """The linear model fitted exactly, as a model of time without a body: what training does."""
    shape = options(cell="mean", **changes)
    x = pooled(examples, shape)
    centre, scale = x.mean(axis=0), 1 / x.std(axis=0)
    labels = np.concatenate([np.atleast_1d(one.label) for one in examples])
    head = HeadFitter([(x - centre) * scale], labels, folds, grid=[0.5], classes=3).fit(fold)
    return make_linear(examples[0], head, shape, centre, scale)


# --- learning --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cell", ["elman", "lstm", "conv"])
def test_order_is_learnt(cell: str) -> None:
    model, history = fitted(which_first(128), cell=cell)
    assert accuracy([model], which_first(64, 1)) >= 0.9
    assert history[-1].train_loss < 0.2 * history[0].train_loss
    assert not any(part.training for part in model.modules())


def test_without_order_it_is_not_learnt() -> None:
    """Neither by the mean, nor by the LSTM on shuffled frames: what they score is chance."""
    examples, held = which_first(96), which_first(200, 1)
    shuffled, _ = fitted(examples, shuffled=True)
    assert 0.35 < accuracy([shuffled], held) < 0.65
    for differences in (False, True):
        linear = as_linear(examples, np.arange(96) % 3, 0, differences=differences)
        assert 0.35 < accuracy([linear], held) < 0.65


def test_frames_remember_what_came_before_them() -> None:
    examples, held = which_first(96, per_frame=True), which_first(64, 1, per_frame=True)
    model, _ = fitted(examples, replace(RECIPE, window=8, noise=0.2, **LIVELY))
    assert accuracy([model], held) >= 0.95
    folds = np.concatenate([np.full(len(one), number % 3) for number, one in enumerate(examples)])
    assert accuracy([as_linear(examples, folds, 0, window=1)], held) < 0.7


def test_inputs_are_computed_once_and_are_the_models() -> None:
    """What is trained on is what the whole model makes of the features."""
    examples = random_examples([5, 9, 7], per_frame=True)
    model, _ = fitted(examples, replace(RECIPE, steps=2), differences=True, reduce=5)
    for one in examples:
        seen = inputs_of(model, one.features)
        assert seen.shape == (len(one), 5)
        assert seen.dtype == np.float32
        lengths = torch.tensor([len(one)])
        torch.testing.assert_close(
            model.head(torch.from_numpy(seen)[None], lengths), model(torch.from_numpy(one.features)[None], lengths)
        )


def test_features_that_cannot_be_written_to_are_read_without_a_warning(recwarn: pytest.WarningsRecorder) -> None:
    features = np.ones((6, 3), np.float32)
    features.flags.writeable = False
    torch.set_warn_always(True)
    try:
        model = make_temporal(random_examples([8] * 6, per_frame=False), 3, options(), seed=0, device=CPU)
        raw = raw_frames(model, [Example("a", features, np.array(0))], seed=0)
    finally:
        torch.set_warn_always(False)
    assert len(raw) == 6
    assert not [one for one in recwarn if "not writable" in str(one.message)]


def test_labels_have_no_say_in_the_inputs() -> None:
    examples = random_examples([8] * 6, per_frame=False)
    renamed = [replace(one, label=(one.label + 1) % 3) for one in examples]
    one, other = (make_temporal(x, 3, options(reduce=3), seed=0, device=CPU) for x in (examples, renamed))
    for name, value in one.state_dict().items():
        assert torch.equal(value, other.state_dict()[name]), name


def test_inputs_are_standardised_over_the_frames_of_all_items() -> None:
    """Each frame once, those of half precision in a file too."""
    examples = random_examples([3, 50], per_frame=True)
    examples = [replace(one, features=one.features.astype(np.float16)) for one in examples]
    model = make_temporal(examples, 3, options(), seed=0, device=CPU)
    frames = np.concatenate([one.features for one in examples]).astype(np.float64)
    np.testing.assert_allclose(model.inputs.centre, frames.mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(model.inputs.scale, 1 / frames.std(axis=0), rtol=1e-5)


def test_of_many_frames_the_same_share_of_each_item_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_FRAMES", 300)
    examples = random_examples([400, 200, 600], per_frame=True, features=1)
    for number, one in enumerate(examples):
        one.features[:] = number
    model = make_temporal(examples, 3, options(), seed=0, device=CPU)
    raw = raw_frames(model, examples, seed=0)
    counts = [(raw == number).sum() for number in range(3)]
    assert counts == [pytest.approx(100, abs=30), pytest.approx(50, abs=20), pytest.approx(150, abs=35)]
    np.testing.assert_array_equal(raw, raw_frames(model, examples, seed=0))
    monkeypatch.setattr(module, "MAX_FRAMES", 1200)
    assert len(raw_frames(model, examples, seed=0)) == 1200


# --- the loop --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("steps", "batches", "epochs"), [(1, 3, 1), (3, 3, 1), (4, 3, 2), (300, 7, 43)])
def test_steps_come_to_whole_epochs(steps: int, batches: int, epochs: int) -> None:
    recipe = loop_options(replace(RECIPE, steps=steps), batches, clip=1.0)
    assert recipe.epochs == recipe.patience == epochs
    assert (recipe.lr, recipe.batch_size, recipe.weight_decay, recipe.clip) == (0.02, 16, 0.01, 1.0)
    assert (recipe.schedule, recipe.warmup) == ("cosine", 0.1)


class Fixed(nn.Module):
    """Gives the logits it was made with, whatever it is asked."""

    def __init__(self, logits: Tensor) -> None:
        super().__init__()
        self.logits = nn.Parameter(logits)

    def forward(self, features: Tensor, lengths: Tensor) -> Tensor:
        return self.logits


def trained(model: Fixed, batches: Listed, optimiser: torch.optim.Optimizer, steps: int) -> list[Epoch]:
    """The history of so many steps."""
    recipe = loop_options(replace(RECIPE, steps=steps), len(batches), clip=1.0)
    return train_epochs(
        model, batches, optimiser, options=recipe, seed=0, precision=FLOAT32, name="test", unit="item", evaluate=None
    )  # fmt: skip


def test_the_loss_of_an_epoch_is_the_mean_over_its_frames_not_its_batches() -> None:
    model, zeros = Fixed(torch.tensor([[[2.0, 0.0]] * 3])), torch.zeros(1)
    batches = [(zeros, zeros, torch.tensor([labels])) for labels in ([0, 0, 0], [1, IGNORE_INDEX, IGNORE_INDEX])]
    (epoch,) = trained(model, Listed(*batches), torch.optim.SGD(model.parameters(), lr=0.0), steps=2)
    right, wrong = math.log(1 + math.exp(-2)), math.log(1 + math.exp(2))
    assert epoch.train_loss == pytest.approx((3 * right + wrong) / 4, rel=1e-5)


def test_without_validation_the_last_epoch_is_kept() -> None:
    """Each epoch is asked for by its number, from 1, and the weights are those after the last."""
    model, batches = Fixed(torch.zeros(1, 2)), Listed((torch.zeros(1), torch.zeros(1), torch.tensor([0])))
    seen = []
    optimiser = torch.optim.SGD(model.parameters(), lr=1.0)
    optimiser.register_step_post_hook(lambda *_: seen.append(model.logits.detach().clone()))
    trained(model, batches, optimiser, steps=3)
    assert batches.epochs == [1, 2, 3]
    assert torch.equal(model.logits, seen[-1])
    assert not torch.equal(seen[-1], seen[0])


# --- the same again --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("changes", [{"dropout": 0.3}, {"shuffled": True}, {"cell": "conv", "reduce": 2}])
def test_a_seed_gives_the_same_weights_bit_by_bit(changes: dict[str, Any]) -> None:
    """Whatever was drawn before; another seed gives others."""
    recipe = replace(RECIPE, steps=8, noise=0.2, **LIVELY)
    states = []
    for seed in (0, 0, 1):
        torch.rand(len(states))
        states.append(fitted(which_first(20), recipe, seed=seed, **changes)[0].state_dict())
    one, again, other = states
    assert all(torch.equal(value, again[name]) for name, value in one.items())
    assert not torch.equal(one["head.classifier.weight"], other["head.classifier.weight"])


@pytest.mark.parametrize("other", [
    {"steps": 12}, {"crop": 0.8}, {"speed": 1.25}, {"drop": 0.1}, {"noise": 0.2}, {"label_smoothing": 0.2},
    {"weight_decay": 1.0}, {"clip": 1e-3},
])  # fmt: skip
def test_the_options_are_followed(other: dict[str, Any]) -> None:
    """Another value, other weights."""
    clip, recipe = other.pop("clip", 1.0), replace(RECIPE, steps=4)
    one, another = fitted(which_first(20), recipe)[0], fitted(which_first(20), replace(recipe, **other), clip=clip)[0]
    assert not torch.equal(one.head.classifier.weight, another.head.classifier.weight)


# --- probabilities ---------------------------------------------------------------------------------------------


def random_model(seed: int = 0, *, per_frame: bool, noise: float = 0.0, **changes: Any) -> TemporalModel:
    """Untrained, with weights that make a difference."""
    torch.manual_seed(seed)
    model = TemporalModel(4, 3, options(**changes), per_frame=per_frame, noise=noise)
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.5)
    return model


@pytest.mark.parametrize(("cell", "per_frame"), [("lstm", True), ("conv", False), ("mean", True)])
def test_probabilities_do_not_depend_on_the_batch(cell: str, per_frame: bool) -> None:
    examples = random_examples([5, 40, 1, 17, 5, 30, 2, 9], per_frame=per_frame)
    model = random_model(per_frame=per_frame, cell=cell, bidirectional=True, differences=True)
    together = temporal_probabilities([model], examples)
    backwards = temporal_probabilities([model], examples[::-1], batch_size=3)[::-1]
    for one, probs, again in zip(examples, together, backwards, strict=True):
        assert (probs.shape, probs.dtype) == ((len(one), 3) if per_frame else (3,), np.float64)
        np.testing.assert_allclose(probs, temporal_probabilities([model], [one])[0], atol=1e-5)
        np.testing.assert_allclose(probs, again, atol=1e-5)
        np.testing.assert_allclose(probs.sum(axis=-1), 1, atol=1e-9)


def test_members_are_averaged_in_probability() -> None:
    examples = random_examples([5, 8], per_frame=True)
    models = [random_model(seed, per_frame=True) for seed in range(3)]
    single = [temporal_probabilities([model], examples) for model in models]
    for row, found in enumerate(temporal_probabilities(models, examples)):
        np.testing.assert_allclose(found, np.mean([one[row] for one in single], axis=0), atol=1e-12)


def test_prediction_drops_no_units_and_takes_no_gradient() -> None:
    examples = random_examples([5, 8], per_frame=False)
    model = random_model(per_frame=False, dropout=0.5, noise=1.0).train()
    one, again = (temporal_probabilities([model], examples) for _ in range(2))
    np.testing.assert_array_equal(one, again)


def test_memory_mapped_half_precision_is_predicted_from(tmp_path: Path) -> None:
    (example,) = random_examples([6], per_frame=True)
    np.save(tmp_path / "f.npy", example.features.astype(np.float16))
    mapped = replace(example, features=np.load(tmp_path / "f.npy", mmap_mode="r"))
    read = replace(example, features=example.features.astype(np.float16).astype(np.float32))
    model = random_model(per_frame=True)
    np.testing.assert_array_equal(*(temporal_probabilities([model], [one])[0] for one in (mapped, read)))


@given(st.lists(st.integers(1, 12_000), max_size=30), st.integers(1, 16))
def test_batches_hold_items_of_like_length_and_not_too_many_frames(lengths: list[int], batch_size: int) -> None:
    batches = list(of_like_length(lengths, batch_size))
    rows = [row for batch in batches for row in batch]
    assert sorted(rows) == list(range(len(lengths)))
    assert [lengths[row] for row in rows] == sorted(lengths)
    for batch in batches:
        assert 1 <= len(batch) <= batch_size
        assert len(batch) == 1 or len(batch) * max(lengths[row] for row in batch) <= module.MAX_PADDED
    if lengths and max(lengths) * len(lengths) <= module.MAX_PADDED:
        assert len(batches) == -(-len(lengths) // batch_size)


# --- the linear model ------------------------------------------------------------------------------------------


def windows_of(example: Example, window: int, *, differences: bool) -> NDArray[np.float64]:
    """(T, inputs) each frame's window, or (1, inputs) the whole of a clip, averaged by a loop."""
    x = example.features.astype(np.float64)
    if differences:
        x = np.concatenate([x, np.abs(np.diff(x, axis=0, prepend=x[:1]))], axis=1)
    if not example.label.ndim:
        return x.mean(axis=0, keepdims=True)
    return np.stack([x[max(0, t - window // 2) : t + window - window // 2].mean(axis=0) for t in range(len(x))])


@pytest.mark.parametrize("differences", [False, True])
@pytest.mark.parametrize("per_frame", [False, True])
def test_a_linear_head_is_logistic_regression_on_what_it_sees(per_frame: bool, differences: bool) -> None:
    """HeadFitter's weights in a model without a temporal module give what scikit-learn gives."""
    examples = random_examples([6, 9, 4, 8, 5, 7] * 3, per_frame=per_frame)
    rows = [len(one) if per_frame else 1 for one in examples]
    folds = np.repeat(np.arange(len(examples)) // 3 % 2, rows)
    model = as_linear(examples, folds, 0, window=4, differences=differences)
    x = np.concatenate([windows_of(one, 4, differences=differences) for one in examples])
    x = (x - x.mean(axis=0)) / x.std(axis=0)
    labels = np.concatenate([np.atleast_1d(one.label) for one in examples])
    exact = LogisticRegression(C=0.5, max_iter=1000, tol=1e-8).fit(x[folds != 0], labels[folds != 0])
    found = np.concatenate([np.atleast_2d(one) for one in temporal_probabilities([model], examples)])
    np.testing.assert_allclose(found, exact.predict_proba(x), atol=2e-3)


def test_a_loss_that_blows_up_twice_names_the_items_and_the_option() -> None:
    with pytest.raises(UserError, match=r"became \w+ in epoch \d at the batch of (\d+, )+.*lower sequences\.lr=1e\+30"):
        fitted(which_first(30), replace(RECIPE, lr=1e30))
