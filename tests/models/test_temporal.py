"""Streaming equals batch, padding is never seen, and what stands beside the recurrent module does what it says."""

import copy
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from torch import Tensor, nn

from kagglepipe.errors import UserError
from kagglepipe.models.classifier import Classifier
from kagglepipe.models.recurrent import Recurrent
from kagglepipe.models.temporal import (
    POOLING,
    BandConvolutions,
    CnnLstm,
    DilatedConv,
    FeatureTransform,
    Stream,
    TemporalModel,
    frame_order,
    load_stored,
    moving_average,
    stored_name,
)
from tests.fitting import network, temporal_options

CELLS = ("elman", "gru", "lstm")
BODIES = (*CELLS, "conv", "mean")
F, C = 5, 3  # features a frame, classes


def random_frames(*shape: int, seed: int = 0) -> Tensor:
    """Features, some of which hardly change."""
    values = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    return values * torch.linspace(0.01, 3, shape[-1]) + torch.linspace(-5, 5, shape[-1])


def model_of(*, per_frame: bool = True, seed: int = 0, noise: float = 0.0, **changes: Any) -> TemporalModel:
    """A model with random weights and biases, standardised on random frames, ready for inference."""
    torch.manual_seed(seed)
    model = TemporalModel(F, C, temporal_options(**changes), per_frame=per_frame, noise=noise)
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.6)
    model.inputs.fit(model.inputs.raw(random_frames(1, 40, F, seed=9))[0].numpy(), seed=0)
    return model.eval()


@torch.inference_mode()
def logits(model: TemporalModel, features: Tensor, lengths: list[int] | None = None) -> Tensor:
    """Of a batch; without lengths all frames count."""
    return model(features, torch.tensor(lengths or [features.shape[1]] * len(features)))


# --- inputs ----------------------------------------------------------------------------------------------------


def test_differences_stand_behind_the_frames_and_the_first_has_none() -> None:
    inputs = FeatureTransform(2, temporal_options(differences=True))
    features = torch.tensor([[[1.0, 5.0], [4.0, 3.0], [4.0, 2.5]]])
    expected = torch.tensor([[[1.0, 5.0, 0.0, 0.0], [4.0, 3.0, 3.0, 2.0], [4.0, 2.5, 0.0, 0.5]]])
    assert torch.equal(inputs.raw(features), expected)
    assert torch.equal(inputs(features), expected)
    assert torch.equal(FeatureTransform(2, temporal_options())(features), features)
    before = inputs.raw(features, torch.tensor([[0.0, 7.0]]))
    assert torch.equal(before[:, 0], torch.tensor([[1.0, 5.0, 1.0, 2.0]]))
    assert torch.equal(before[:, 1:], expected[:, 1:])


@pytest.mark.parametrize(("changes", "size"), [
    ({}, 6), ({"differences": True}, 12), ({"reduce": 4}, 4), ({"reduce": 6}, 6), ({"reduce": 99}, 6),
    ({"reduce": 7, "differences": True}, 7), ({"reduce": 12, "differences": True}, 12),
    ({"reduce": 4, "cell": "mean"}, 6), ({"reduce": 4, "cell": "mean", "differences": True}, 12),
])  # fmt: skip
def test_components_are_kept_where_there_are_more_inputs(changes: dict[str, Any], size: int) -> None:
    """And a linear model keeps its inputs as they are."""
    inputs = FeatureTransform(6, temporal_options(**changes))
    assert inputs.size == size
    assert inputs(random_frames(2, 3, 6)).shape == (2, 3, size)
    assert bool(len(inputs.projection)) == (size in (4, 7))


def fitted(raw: NDArray[Any], seed: int = 0, **changes: Any) -> FeatureTransform:
    """Inputs fitted on raw ones (N, F)."""
    inputs = FeatureTransform(raw.shape[1], temporal_options(**changes))
    inputs.fit(raw, seed=seed)
    return inputs


def outputs(inputs: FeatureTransform, raw: NDArray[Any]) -> NDArray[np.float64]:
    """(N, D) what the inputs make of frames."""
    return inputs(torch.from_numpy(raw.astype(np.float32))[None])[0].double().numpy()


@given(seed=st.integers(0, 10**6), rows=st.integers(8, 60), columns=st.integers(1, 6))
def test_standardised_inputs_have_mean_0_and_deviation_1(seed: int, rows: int, columns: int) -> None:
    rng = np.random.default_rng(seed)
    raw = (rng.normal(size=(rows, columns)) * 10.0 ** rng.integers(-3, 4, columns)).astype(np.float32)
    raw += rng.normal(size=columns).astype(np.float32)
    found = outputs(fitted(raw), raw)
    np.testing.assert_allclose(found.mean(axis=0), 0, atol=1e-3)
    np.testing.assert_allclose(found.std(axis=0), 1, rtol=1e-3)


@pytest.mark.parametrize("reduce", [0, 2])
@pytest.mark.parametrize("constant", [0.0, 0.1, 1e6])
def test_what_never_changes_is_left_out(constant: float, reduce: int) -> None:
    """Else a feature that was silent in training, but for rounding, would drown all others as soon as it speaks."""
    raw = random_frames(30, 4).numpy()
    raw[:, 1] = constant * (1 + 1e-7 * (np.arange(30) % 2))
    inputs = fitted(raw, reduce=reduce)
    other = raw.copy()
    other[:, 1] += 0.5
    np.testing.assert_array_equal(outputs(inputs, other), outputs(inputs, raw))
    assert np.abs(outputs(inputs, raw)).max() < 10
    assert torch.isfinite(inputs.scale).all()
    assert not outputs(fitted(np.tile(raw[:1], (7, 1)), reduce=reduce), raw).any()  # where all frames are alike
    assert not outputs(fitted(raw[:1], reduce=reduce), raw).any()


def test_principal_components_are_scikit_learns_half_whitened() -> None:
    """Uncorrelated, their deviations in the ratios of the square roots, their variances 1 on average."""
    raw = (np.random.default_rng(0).normal(size=(200, 3)) @ np.random.default_rng(1).normal(size=(3, 8))).astype("f4")
    raw += 0.1 * np.random.default_rng(2).normal(size=raw.shape).astype("f4")
    standard = (raw - raw.mean(axis=0)) / raw.std(axis=0)
    pca = PCA(3, svd_solver="full").fit(standard)
    found = outputs(fitted(raw, reduce=3), raw)
    assert found.shape == (200, 3)
    np.testing.assert_allclose(found.mean(axis=0), 0, atol=1e-5)
    covariance = np.cov(found.T)
    deviations = np.sqrt(pca.explained_variance_)
    np.testing.assert_allclose(covariance, np.diag(deviations / deviations.mean()), atol=1e-3)
    assert np.trace(covariance) / 3 == pytest.approx(1, abs=1e-3)
    correlation = np.corrcoef(found.T, pca.transform(standard).T)[:3, 3:]
    np.testing.assert_allclose(np.abs(correlation), np.eye(3), atol=1e-3)


@pytest.mark.parametrize(("frames", "repeats", "components"), [(4, 1, 3), (5, 20, 4)])
def test_directions_without_variance_in_training_are_left_at_zero(frames: int, repeats: int, components: int) -> None:
    """Fewer frames than components, or still videos: many frames, few that differ."""
    raw = np.repeat(random_frames(frames, 12).numpy(), repeats, axis=0)
    found = outputs(fitted(raw, reduce=8), random_frames(50, 12, seed=3).numpy())
    assert (found.std(axis=0) > 0.01).tolist() == [True] * components + [False] * (8 - components)
    assert np.abs(found).max() < 50


def test_half_precision_from_a_file_is_fitted_as_float32(tmp_path: Any) -> None:
    raw = np.random.default_rng(0).normal(1000, 1, (4000, 6)).astype(np.float16)  # a float16 sum would overflow
    np.save(tmp_path / "raw.npy", raw)
    half = fitted(np.load(tmp_path / "raw.npy", mmap_mode="r"), reduce=3)
    full = fitted(raw.astype(np.float32), reduce=3)
    for name, value in half.state_dict().items():
        torch.testing.assert_close(value, full.state_dict()[name], rtol=1e-5, atol=1e-6)
        assert torch.isfinite(value).all()


# --- streaming -------------------------------------------------------------------------------------------------


@given(
    cell=st.sampled_from(CELLS),
    layers=st.integers(1, 3),
    differences=st.booleans(),
    reduce=st.sampled_from([0, 3]),
    pooling=st.sampled_from(list(POOLING)),
    per_frame=st.booleans(),
    steps=st.integers(1, 12),
    seed=st.integers(0, 10**6),
)
def test_streaming_equals_batch(steps: int, seed: int, per_frame: bool, **changes: Any) -> None:
    model = model_of(per_frame=per_frame, seed=seed, **changes)
    features = random_frames(1, steps, F, seed=seed)
    with torch.inference_mode():
        batch = model.frame_logits(features, torch.tensor([steps]))[0]
    assert model.is_causal
    stream = Stream(model)
    torch.testing.assert_close(torch.stack([stream(frame) for frame in features[0]]), batch, rtol=0, atol=1e-5)


def test_a_stream_drops_no_units() -> None:
    model, frame = model_of(dropout=0.5), random_frames(F)
    assert torch.equal(Stream(model.train())(frame), Stream(model.eval())(frame))


# --- padding ---------------------------------------------------------------------------------------------------


@st.composite
def batches(draw: st.DrawFn) -> tuple[dict[str, Any], list[int], int, int]:
    """(model options, lengths, steps of padding, seed)"""
    changes = {
        "cell": draw(st.sampled_from(BODIES)),
        "layers": draw(st.integers(1, 2)),
        "bidirectional": draw(st.booleans()),
        "shuffled": draw(st.booleans()),
        "differences": draw(st.booleans()),
        "pooling": draw(st.sampled_from(list(POOLING))),
        "window": draw(st.integers(1, 9)),
        "reduce": draw(st.sampled_from([0, 3])),
    }
    lengths = draw(st.lists(st.integers(1, 20), min_size=1, max_size=4))
    return changes, lengths, draw(st.integers(0, 20)), draw(st.integers(0, 10**6))


@given(batches())
def test_padding_and_company_change_no_frame_and_no_clip(case: tuple[dict[str, Any], list[int], int, int]) -> None:
    """Each item of a padded batch gets what it gets alone, whatever stands in the padding."""
    changes, lengths, padding, seed = case
    features = random_frames(len(lengths), max(lengths) + padding, F, seed=seed).double() * 10
    for per_frame in (True, False):
        model = model_of(per_frame=per_frame, **changes).double()  # rounding in float32 is no finding
        together = logits(model, features, lengths)
        for row, length in enumerate(lengths):
            alone = logits(model, features[row : row + 1, :length])[0]
            found = together[row, :length] if per_frame else together[row]
            torch.testing.assert_close(found, alone, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("cell", BODIES)
def test_padding_gives_no_gradient(cell: str) -> None:
    model = model_of(cell=cell, per_frame=False, differences=True, layers=2)
    features = random_frames(2, 6, F).requires_grad_()
    model.train()(features, torch.tensor([3, 6])).square().sum().backward()
    assert features.grad is not None
    assert not features.grad[0, 3:].any()
    assert features.grad[0, :3].any()
    assert features.grad[1, 5].any()


# --- pooling ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pooling", POOLING)
def test_a_clip_is_its_pooled_states(pooling: str) -> None:
    model = model_of(per_frame=False, pooling=pooling, layers=2)
    features, lengths = random_frames(2, 6, F), [4, 6]
    by_hand = {"mean": lambda s: [s.mean(dim=0)], "max": lambda s: [s.max(dim=0).values], "last": lambda s: [s[-1]]}
    by_hand["mean_max"] = lambda s: [s.mean(dim=0), s.max(dim=0).values]
    for row, length in enumerate(lengths):
        with torch.inference_mode():
            alone = model.inputs(features[row : row + 1, :length])
            states = model.head.states(alone, torch.tensor([length]))[0]
            expected = model.head.classifier(torch.cat(by_hand[pooling](states)))
        torch.testing.assert_close(logits(model, features, lengths)[row], expected)
    frame, one = features[:, :1], torch.tensor([1, 1])
    torch.testing.assert_close(model.frame_logits(frame, one)[:, 0], model(frame, one))  # a clip of one frame


def test_frame_logits_leave_the_model_as_it_was() -> None:
    model, features = model_of(per_frame=False), random_frames(2, 4, F)
    lengths = torch.tensor([4, 4])
    assert model.frame_logits(features, lengths).shape == (2, 4, C)
    assert model(features, lengths).shape == (2, C)
    with pytest.raises(ValueError, match="lengths"):
        model.frame_logits(features, torch.tensor([4, 9]))
    assert model(features, lengths).shape == (2, C)


# --- no look at time -------------------------------------------------------------------------------------------


def averaged(x: NDArray[np.float64], window: int) -> NDArray[np.float64]:
    """The moving average by a loop: of an even window one more frame lies before than after."""
    before, after = window // 2, window - 1 - window // 2
    return np.stack([x[max(0, t - before) : t + after + 1].mean(axis=0) for t in range(len(x))])


@given(
    lengths=st.lists(st.integers(1, 12), min_size=1, max_size=3),
    window=st.integers(1, 30),
    padding=st.integers(0, 5),
    seed=st.integers(0, 10**6),
)
def test_moving_averages_are_a_loops(lengths: list[int], window: int, padding: int, seed: int) -> None:
    x = random_frames(len(lengths), max(lengths) + padding, 2, seed=seed)
    found = moving_average(x, torch.tensor(lengths), window)
    assert found.shape == x.shape
    for row, length in enumerate(lengths):
        expected = averaged(x[row, :length].double().numpy(), window)
        np.testing.assert_allclose(found[row, :length], expected, atol=1e-4)
        assert not found[row, length:].any()


# --- shuffled --------------------------------------------------------------------------------------------------


@given(lengths=st.lists(st.integers(1, 20), min_size=1, max_size=4), padding=st.integers(0, 20), drawn=st.booleans())
def test_an_order_shuffles_real_frames_and_leaves_padding_last(lengths: list[int], padding: int, drawn: bool) -> None:
    steps = max(lengths) + padding
    order = frame_order(torch.tensor(lengths), steps, drawn=drawn)
    for row, length in enumerate(lengths):
        assert sorted(order[row, :length].tolist()) == list(range(length))
        assert order[row, length:].tolist() == list(range(length, steps))


def test_an_order_is_drawn_anew_in_training_and_the_same_in_inference() -> None:
    lengths, before = torch.tensor([30, 30, 29]), torch.get_rng_state()
    fixed = frame_order(lengths, 30, drawn=False)
    assert torch.equal(fixed, frame_order(lengths, 30, drawn=False))
    assert torch.equal(fixed[0], fixed[1])
    assert fixed[0].tolist() != list(range(30))
    longer = frame_order(lengths[:1], 64, drawn=False)
    assert torch.equal(longer[0, :30], fixed[0])
    assert torch.equal(torch.get_rng_state(), before)  # training draws the same, whatever was predicted before
    drawn = frame_order(lengths, 30, drawn=True)
    assert not torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn, frame_order(lengths, 30, drawn=True))


def unshuffled(model: TemporalModel) -> TemporalModel:
    """The same weights, in order."""
    twin = copy.deepcopy(model)
    twin.head.options = replace(model.options, shuffled=False)
    return twin


@pytest.mark.parametrize("cell", [*CELLS, "conv"])
def test_a_shuffled_model_is_the_same_model_on_shuffled_inputs(cell: str) -> None:
    """Each frame's answer goes back to its place, and a clip's is that of its shuffled frames."""
    features, lengths = random_frames(2, 9, F), torch.tensor([9, 6])
    order = frame_order(lengths, 9, drawn=False)
    for pooling in POOLING:
        model = model_of(cell=cell, shuffled=True, pooling=pooling)
        plain = unshuffled(model)
        mixed = torch.stack([frames[places] for frames, places in zip(features, order, strict=True)])
        with torch.inference_mode():
            expected, found = plain(mixed, lengths), model(features, lengths)
            for row, length in enumerate(lengths.tolist()):
                places = order[row, :length]
                torch.testing.assert_close(found[row, places], expected[row, :length])
            model.head.per_frame = plain.head.per_frame = False
            torch.testing.assert_close(model(features, lengths), plain(mixed, lengths))
            assert not torch.allclose(model(features, lengths), plain(features, lengths), atol=1e-4)


def test_differences_are_taken_before_frames_are_shuffled() -> None:
    """A frame that stays as it was differs by 0, whatever comes before it in the shuffled order."""
    model = model_of(differences=True, shuffled=True)
    seen: list[Tensor] = []
    model.head.input_proj.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    features = torch.cumsum(torch.ones(1, 8, F), dim=1)
    logits(model, features)
    expected = model.inputs(features)
    assert sorted(seen[0][0, :, -1].tolist()) == pytest.approx(sorted(expected[0, :, -1].tolist()))


# --- convolutions ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cell", [*CELLS, "conv"])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_a_later_frame_changes_an_earlier_one_only_in_both_directions(cell: str, bidirectional: bool) -> None:
    model = model_of(cell=cell, bidirectional=bidirectional, differences=True)
    features = random_frames(1, 12, F)
    changed = features.clone()
    changed[0, 7] += 1
    same = (logits(model, features) == logits(model, changed)).all(dim=2)[0]
    assert same[:7].all() == (not bidirectional)
    assert not same[7]
    assert not same[8]


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("layers", [1, 3])
def test_convolutions_reach_as_far_as_their_dilations(layers: int, bidirectional: bool) -> None:
    """2 + 4 + 8 … frames back, or half of that either way."""
    torch.manual_seed(0)
    module = DilatedConv(1, layers=layers, bidirectional=bidirectional, dropout=0.0)
    for layer in module.layers:  # weights above zero, so that nothing cancels
        nn.init.constant_(layer.weight, 0.5)
        nn.init.zeros_(layer.bias)
    x = torch.ones(1, 41, 1, requires_grad=True)
    module(x, torch.tensor([41]))[0, 20, 0].backward()
    assert x.grad is not None
    seen = x.grad[0, :, 0].nonzero().flatten().tolist()
    reach = 2 ** (layers + 1) - 2
    assert (seen[0], seen[-1]) == ((20 - reach // 2, 20 + reach // 2) if bidirectional else (20 - reach, 20))


def test_a_convolution_by_hand() -> None:
    """One layer that adds the frame before to each: residual, past its ReLU."""
    module = DilatedConv(1, layers=1, bidirectional=False, dropout=0.0)
    with torch.no_grad():
        module.layers[0].weight.copy_(torch.tensor([[[0.0, 1.0, 0.0]]]))
        module.layers[0].bias.zero_()
        found = module(torch.tensor([[[1.0], [-2.0], [5.0], [7.0]]]), torch.tensor([4]))
    assert found.flatten().tolist() == [1, -1, 5, 12]


# --- training mode ---------------------------------------------------------------------------------------------


def bands_model(cell: str = "conv", **changes: Any) -> TemporalModel:
    options = temporal_options(cell=cell, bands=4, reduce=0, differences=False, **changes)
    torch.manual_seed(0)
    return TemporalModel(16, C, options, per_frame=True).eval()


def test_convolutions_over_bands_see_no_padding() -> None:
    """Frames beside the padding too, and whatever is in it."""
    model, frames = bands_model(), random_frames(2, 9, 16)
    padded = torch.cat([frames, torch.full((2, 4, 16), 7.0)], dim=1)
    lengths = torch.tensor([9, 6])
    with torch.no_grad():
        alone, together = model.frame_logits(frames[1:, :6], torch.tensor([6])), model.frame_logits(padded, lengths)
    torch.testing.assert_close(together[1, :6], alone[0])


def test_convolutions_over_bands_are_torchs() -> None:
    convolutions, x = BandConvolutions(16, 4, 0.0).eval(), random_frames(1, 7, 16)
    y = x[:, None]
    for convolution, norm, _, _ in convolutions.layers:
        y = nn.functional.max_pool2d(nn.functional.relu(norm(convolution(y))), (1, 2))
    assert convolutions.output_size == 8 * (16 // 8)
    torch.testing.assert_close(convolutions(x, torch.tensor([7])), y.transpose(1, 2).flatten(2))


def test_convolutions_over_bands_see_the_next_frame_and_a_mean_has_none() -> None:
    assert not bands_model("lstm").is_causal
    assert bands_model("mean", pooling="mean").head.bands is None


@pytest.mark.parametrize("wrong", [{"reduce": 8}, {"differences": True}])
def test_bands_are_refused_where_there_are_none(wrong: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=r"model\.temporal\.differences=false"):
        temporal_options(**{"bands": 4, "reduce": 0, "differences": False, **wrong})


def test_noise_and_dropout_are_of_training_alone() -> None:
    features, lengths = random_frames(2, 6, F), torch.tensor([6, 4])
    for changes in ({"noise": 0.5}, {"dropout": 0.5}):
        model = model_of(**changes)
        assert torch.equal(model(features, lengths), model(features, lengths))
        model.train()
        assert not torch.allclose(model(features, lengths), model(features, lengths))


def test_noise_has_the_deviation_asked_for() -> None:
    model = model_of(noise=0.25, cell="mean", window=1)
    model.head.classifier = nn.Identity()
    features, lengths = random_frames(1, 20_000, F), torch.tensor([20_000])
    noise = model.train()(features, lengths) - model.inputs(features)
    assert float(noise.std()) == pytest.approx(0.25, rel=0.05)
    assert float(noise.mean()) == pytest.approx(0, abs=0.01)


@pytest.mark.parametrize("cell", BODIES)
@pytest.mark.parametrize("per_frame", [False, True])
def test_every_weight_learns(cell: str, per_frame: bool) -> None:
    """And the options reach the recurrent module."""
    model = model_of(
        cell=cell, per_frame=per_frame, layers=2, pooling="mean_max", bidirectional=True, dropout=0.1, hidden=7
    ).train()
    if isinstance(module := model.head.temporal, Recurrent):
        shape = (module.cell, module.rnn.num_layers, module.rnn.bidirectional, module.rnn.dropout, module.output_size)
        assert shape == (cell, 2, True, 0.1, 14)
    found = model(random_frames(2, 6, F), torch.tensor([6, 4]))
    (found[:, :4] if per_frame else found).square().sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.any(), name


# --- encoder and body ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def encoder() -> Classifier:
    """A tiny network of random weights."""
    return network().eval()


def pixels(batch: int, steps: int) -> Tensor:
    """(B, T, 32, 32, 3) uint8"""
    shape = (batch, steps, 32, 32, 3)
    return torch.randint(0, 256, shape, generator=torch.Generator().manual_seed(1)).to(torch.uint8)


@pytest.mark.parametrize("per_frame", [False, True])
@pytest.mark.parametrize("cell", ["lstm", "conv", "mean"])
def test_encoder_and_body_in_one_are_the_two_after_each_other(encoder: Classifier, cell: str, per_frame: bool) -> None:
    torch.manual_seed(1)
    head = TemporalModel(
        encoder.head.in_features, C, temporal_options(cell=cell, differences=True), per_frame=per_frame
    ).eval()
    frames, lengths = pixels(3, 5), torch.tensor([2, 5, 1])
    passed: list[int] = []
    with torch.inference_mode():
        hook = encoder.backbone.register_forward_pre_hook(lambda _, inputs: passed.append(len(inputs[0])))
        found = CnnLstm(encoder, head)(frames, lengths)
        hook.remove()
        assert passed == [8]  # padding does not pass the encoder
        for row, length in enumerate(lengths.tolist()):
            alone = head(encoder.features(frames[row, :length])[None], torch.tensor([length]))[0]
            torch.testing.assert_close(found[row, :length] if per_frame else found[row], alone, rtol=1e-4, atol=1e-5)


def test_gradients_reach_the_encoder(encoder: Classifier) -> None:
    model = CnnLstm(
        copy.deepcopy(encoder), TemporalModel(encoder.head.in_features, C, temporal_options(), per_frame=True)
    )
    model(pixels(2, 3), torch.tensor([3, 2])).square().sum().backward()
    assert model.backbone is model.encoder.backbone
    for part in (model.backbone, model.head):
        for name, parameter in part.named_parameters():
            assert parameter.grad is not None, name
            assert parameter.grad.any() or parameter.ndim == 1, name


def test_files_keep_the_names_of_earlier_versions(encoder: Classifier) -> None:
    """In checkpoints, and of the encoder with its temporal model, whose training may have been interrupted."""
    buffers = {"inputs.centre", "inputs.scale", "inputs.projection"}
    rnn = {f"head.body.rnn.{kind}_{side}_l0" for kind in ("weight", "bias") for side in ("ih", "hh")}
    linear = {f"head.{name}.{kind}" for name in ("enter", "leave") for kind in ("weight", "bias")}
    model = TemporalModel(encoder.head.in_features, C, temporal_options(), per_frame=True)
    assert {stored_name(name) for name in model.state_dict()} == buffers | rnn | linear
    whole = CnnLstm(encoder, model)
    names = [stored_name(name) for name in whole.state_dict()]
    assert {name.removeprefix("head.") for name in names if name.startswith("head.")} == buffers | rnn | linear
    assert [name for name in names if name.startswith("encoder.")] == [f"encoder.{key}" for key in encoder.state_dict()]
    changed = {stored_name(name): value.clone() + 1 for name, value in whole.state_dict().items()}
    load_stored(whole, changed)
    assert all(torch.equal(value, changed[stored_name(name)]) for name, value in whole.state_dict().items())
    with pytest.raises(RuntimeError, match="Unexpected key"):
        load_stored(model, {**model.state_dict(), "head.other": torch.zeros(1)})
