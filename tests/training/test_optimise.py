"""The first layers learn slowest, biases and norms do not decay, and batch statistics stay as they came."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from kagglepipe.models.classifier import Classifier
from kagglepipe.options import TrainingOptions
from kagglepipe.training.optimise import (
    SCHEDULES,
    exempt_from_decay,
    freeze_statistics,
    make_optimiser,
    make_schedule,
    param_groups,
    running_statistics_of_one,
)
from tests.fitting import TRANSFORMERS, network

DEPTH = {  # the first parameters of each layer, from the input to the head
    "test_efficientnet": ["conv_stem", "blocks.0", "blocks.1", "blocks.2", "blocks.3", "blocks.4"],
    "test_resnet": ["conv1", "layer1", "layer2", "layer3", "layer4"],
    "test_vit": ["patch_embed", "blocks.0", "blocks.1", "blocks.2"],
    "vit_small_patch14_dinov2": ["patch_embed", "blocks.0", "blocks.1"],
    "eva02_tiny_patch14_224": ["patch_embed", "blocks.0", "blocks.1", "fc_norm"],
    "beit_base_patch16_224": ["patch_embed", "blocks.0", "blocks.1", "fc_norm"],
    "swin_tiny_patch4_window7_224": ["patch_embed", "layers.0.blocks.0", "layers.1.blocks.0", "layers.2.blocks.0",
                                     "layers.2.blocks.1", "layers.3.blocks.0"],
}  # fmt: skip
EXEMPT = {  # by their networks, of two dimensions and more
    "vit_tiny_patch16_224": {"pos_embed", "cls_token"},
    "vit_small_patch14_dinov2": {"pos_embed", "cls_token"},
    "eva02_tiny_patch14_224": {"pos_embed", "cls_token"},
    "beit_base_patch16_224": {"cls_token", *(f"blocks.{n}.attn.relative_position_bias_table" for n in (0, 1))},
    "swin_tiny_patch4_window7_224": {
        f"layers.{layer}.blocks.{block}.attn.relative_position_bias_table"
        for layer, block in ((0, 0), (1, 0), (2, 0), (2, 1), (3, 0))
    },
}


def settings_of(model: Classifier, key: str, **changes: float) -> dict[str, float]:
    """parameter's name -> its group's setting, for every parameter that is optimised, once each."""
    options = TrainingOptions(**{"lr": 0.1, "layer_decay": 0.5, "weight_decay": 0.03, "frozen_below": 0.0, **changes})
    optimiser = make_optimiser(model, options)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    settings = [(names[id(p)], group[key]) for group in optimiser.param_groups for p in group["params"]]
    assert len(dict(settings)) == len(settings)
    return dict(settings)


def random_images(count: int = 6, size: int = 32) -> Tensor:
    """(count, size, size, 3) uint8"""
    return torch.randint(0, 256, (count, size, size, 3), generator=torch.Generator().manual_seed(1)).to(torch.uint8)


# --- a module of one rate --------------------------------------------------------------------------------------


def test_matrices_decay_and_vectors_do_not() -> None:
    """Each parameter is in one group; kernels of convolutions are matrices, scales of norms are vectors."""
    module = nn.Sequential(nn.LSTM(2, 3), nn.Conv1d(3, 3, 3), nn.LayerNorm(3), nn.Linear(3, 2))
    groups = param_groups(module, lr=0.2, weight_decay=0.03)
    assert [(group["lr"], group["weight_decay"]) for group in groups] == [(0.2, 0.03), (0.2, 0.0)]
    names = {id(parameter): name for name, parameter in module.named_parameters()}
    matrices, vectors = ([names[id(p)] for p in group["params"]] for group in groups)
    assert matrices == ["0.weight_ih_l0", "0.weight_hh_l0", "1.weight", "3.weight"]
    assert vectors == ["0.bias_ih_l0", "0.bias_hh_l0", "1.bias", "2.weight", "2.bias", "3.bias"]


# --- groups ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", DEPTH)
def test_rates_fall_towards_the_input_and_the_head_has_the_full_one(name: str) -> None:
    """Each layer has the next one's rate times the decay; every parameter has one, and only matrices decay."""
    model = network(name, **TRANSFORMERS.get(name, {}))
    rates, decays = settings_of(model, "lr"), settings_of(model, "weight_decay")
    assert rates.keys() == decays.keys() == dict(model.named_parameters()).keys()
    layers = [next(rate for n, rate in rates.items() if n.startswith(f"backbone.{layer}")) for layer in DEPTH[name]]
    assert layers == pytest.approx([layers[-1] * 0.5**k for k in reversed(range(len(layers)))])
    assert rates["head.weight"] == rates["head.bias"] == max(rates.values()) == 0.1
    for parameter_name, parameter in model.named_parameters():
        if parameter.ndim == 1 or parameter_name.endswith("bias"):
            assert decays[parameter_name] == 0, parameter_name
        elif parameter_name.endswith("weight"):
            assert decays[parameter_name] == 0.03, parameter_name
    assert set(settings_of(model, "lr", layer_decay=1.0).values()) == {0.1}


@pytest.mark.parametrize("wrapped", [False, True])
def test_what_the_network_exempts_does_not_decay(wrapped: bool) -> None:
    """Of a vision transformer, these are tables of two dimensions and more, which no shape tells from matrices."""
    model, prefix = network("test_vit"), "0.0." if wrapped else ""
    if wrapped:
        model.backbone = nn.Sequential(nn.Sequential(model.backbone))
    assert {f"{prefix}pos_embed", f"{prefix}cls_token"} <= set(exempt_from_decay(model.backbone))
    decays = settings_of(model, "weight_decay")
    assert decays[f"backbone.{prefix}pos_embed"] == decays[f"backbone.{prefix}cls_token"] == 0
    assert decays[f"backbone.{prefix}blocks.0.mlp.fc1.weight"] == 0.03


@pytest.mark.parametrize("name", EXEMPT)
def test_of_transformers_positions_and_tokens_alone_are_exempt(name: str) -> None:
    model = network(name, **TRANSFORMERS[name])
    decays = settings_of(model, "weight_decay")
    matrices = {n.removeprefix("backbone.") for n, p in model.named_parameters() if p.ndim > 1 and not decays[n]}
    assert matrices == EXEMPT[name]


def test_slow_layers_are_frozen_on_request_and_cost_no_backward_pass() -> None:
    """Factors are 1/32, 1/16, 1/8, 1/4, 1/2 and 1: three of them are less than 0.2."""
    model = network()
    rates = settings_of(model, "lr", frozen_below=0.2)
    frozen = tuple(f"backbone.{layer}" for layer in ("conv_stem", "bn1", "blocks.0", "blocks.1"))
    freeze_statistics(model)
    model(random_images()).sum().backward()
    for name, parameter in model.named_parameters():
        learns = not name.startswith(frozen)
        assert parameter.requires_grad == (name in rates) == (parameter.grad is not None) == learns, name


@pytest.mark.parametrize("name", ["digits_cnn", *DEPTH])
def test_from_scratch_all_layers_learn_at_one_rate(name: str) -> None:
    model = network(name, **TRANSFORMERS.get(name, {}))
    rates = settings_of(model, "lr", layer_decay=0.1, frozen_below=0.9, from_scratch=True)
    assert rates == dict.fromkeys(dict(model.named_parameters()), 0.1)


# --- schedules -------------------------------------------------------------------------------------------------


@given(st.sampled_from(sorted(SCHEDULES)), st.floats(0, 1), st.lists(st.floats(0, 1), min_size=2, max_size=9))
def test_a_schedule_rises_through_the_warmup_and_falls_after_it(
    name: str, warmup: float, progress: list[float]
) -> None:
    progress = sorted(progress)
    values = [SCHEDULES[name](p, warmup) for p in progress]
    assert all(0 <= value <= 1 + 1e-9 for value in values)
    rising = [value for p, value in zip(progress, values, strict=True) if p < warmup]
    falling = [value for p, value in zip(progress, values, strict=True) if p >= warmup]
    assert rising == sorted(rising)
    assert falling == sorted(falling, reverse=True)


@pytest.mark.parametrize(
    ("name", "corners"), [("cosine", [0, 0.5, 1, 0.5, 0]), ("onecycle", [1 / 25, 0.52, 1, 0.50005, 1e-4])]
)
def test_schedules_at_their_corners(name: str, corners: list[float]) -> None:
    assert [SCHEDULES[name](progress, 0.2) for progress in (0, 0.1, 0.2, 0.6, 1)] == pytest.approx(corners)
    assert SCHEDULES[name](0, 0.0) == pytest.approx(1)  # without warm-up


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_schedule_sets_every_group_at_its_own_height(name: str) -> None:
    parameters = [nn.Parameter(torch.zeros(1)) for _ in range(2)]
    optimiser = torch.optim.AdamW([{"params": [parameters[0]], "lr": 1.0}, {"params": [parameters[1]], "lr": 0.25}])
    set_rates = make_schedule(optimiser, name, warmup=0.25)
    for progress, factor in ((0.1, 1.0), (0.25, 1.0), (0.9, 0.1)):
        set_rates(progress, factor)
        rate = factor * SCHEDULES[name](progress, 0.25)
        assert [group["lr"] for group in optimiser.param_groups] == pytest.approx([rate, 0.25 * rate])


# --- batch statistics ------------------------------------------------------------------------------------------


def test_batch_norms_alone_are_in_evaluation_mode() -> None:
    model = network().eval()
    freeze_statistics(model)
    assert not any(part.training for part in model.modules() if isinstance(part, nn.BatchNorm2d))
    assert all(part.training for part in (model, model.head, model.backbone.blocks[0]))


def test_one_row_is_normalised_by_running_statistics_and_several_by_their_own() -> None:
    norm = nn.BatchNorm1d(2)
    norm.running_mean, norm.running_var = torch.tensor([1.0, 2.0]), torch.tensor([4.0, 9.0])
    row = torch.tensor([[3.0, 5.0]])
    with running_statistics_of_one(norm, 1):
        torch.testing.assert_close(norm(row), torch.tensor([[1.0, 1.0]]), atol=1e-4, rtol=0)
    assert norm.training
    with running_statistics_of_one(norm, 2):
        assert norm(torch.cat([row, -row])).sum().abs() < 1e-5
