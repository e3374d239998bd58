"""The first layers learn slowest, biases and norms do not decay, and batch statistics stay as they came."""

from functools import partial

import pytest
import timm
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from kagglepipe.models.classifier import Classifier, Preprocessing
from kagglepipe.options import TrainingOptions
from kagglepipe.training.optimise import (
    SCHEDULES,
    cosine,
    exempt_from_decay,
    freeze_statistics,
    make_optimiser,
    make_schedule,
    onecycle,
    param_groups,
)

DEPTH = {  # the first parameters of each layer, from the input to the head
    "test_efficientnet": ["conv_stem", "blocks.0", "blocks.1", "blocks.2", "blocks.3", "blocks.4"],
    "test_resnet": ["conv1", "layer1", "layer2", "layer3", "layer4"],
    "test_vit": ["patch_embed", "blocks.0", "blocks.1", "blocks.2"],
}


def network(name: str = "test_efficientnet") -> Classifier:
    """A tiny network of random weights."""
    torch.manual_seed(0)
    size = 160 if "vit" in name else 32
    preprocessing = Preprocessing(size, "squash", 1.0, (0.5,) * 3, (0.5,) * 3, size)
    return Classifier(timm.create_model(name, num_classes=0), 2, preprocessing)


options = partial(TrainingOptions, frozen_below=0.0)


def settings_of(model: Classifier, optimiser: torch.optim.Optimizer, key: str) -> dict[str, float]:
    """parameter's name -> its group's setting, for every parameter that is optimised."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    return {names[id(p)]: group[key] for group in optimiser.param_groups for p in group["params"]}


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


def test_a_step_without_gradients_shrinks_matrices_alone() -> None:
    module = nn.Linear(3, 2)
    weight, bias = module.weight.detach().clone(), module.bias.detach().clone()
    optimiser = torch.optim.AdamW(param_groups(module, lr=0.1, weight_decay=0.5))
    for parameter in module.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimiser.step()
    torch.testing.assert_close(module.weight.detach(), 0.95 * weight)
    assert torch.equal(module.bias, bias)


# --- groups ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", DEPTH)
def test_rates_fall_towards_the_input_and_the_head_has_the_full_one(name: str) -> None:
    model = network(name)
    rates = settings_of(model, make_optimiser(model, options(lr=0.1, layer_decay=0.5, weight_decay=0.01)), "lr")
    layers = [next(rate for n, rate in rates.items() if n.startswith(f"backbone.{layer}")) for layer in DEPTH[name]]
    assert layers == sorted(layers)
    assert len(set(layers)) == len(layers)
    assert rates["head.weight"] == rates["head.bias"] == max(rates.values()) == 0.1
    assert layers[-1] <= 0.1


def test_each_layer_has_the_next_ones_rate_times_the_decay() -> None:
    model = network()
    rates = settings_of(model, make_optimiser(model, options(lr=0.2, layer_decay=0.5, weight_decay=0.01)), "lr")
    layers = [rates[next(n for n in rates if n.startswith(f"backbone.{x}"))] for x in DEPTH["test_efficientnet"]]
    assert layers == pytest.approx([0.2 * 0.5**k for k in (5, 4, 3, 2, 1, 0)])


def test_without_layer_decay_everything_learns_at_one_rate() -> None:
    model = network()
    rates = settings_of(model, make_optimiser(model, options(lr=0.1, layer_decay=1.0, weight_decay=0.01)), "lr")
    assert set(rates.values()) == {0.1}


@pytest.mark.parametrize("name", DEPTH)
def test_biases_and_norms_do_not_decay_and_matrices_do(name: str) -> None:
    model = network(name)
    decays = settings_of(
        model, make_optimiser(model, options(lr=0.1, layer_decay=0.8, weight_decay=0.03)), "weight_decay"
    )
    for parameter_name, parameter in model.named_parameters():
        if parameter.ndim == 1 or parameter_name.endswith("bias"):
            assert decays[parameter_name] == 0, parameter_name
        elif parameter_name.endswith("weight"):
            assert decays[parameter_name] == 0.03, parameter_name


def test_what_the_network_exempts_does_not_decay() -> None:
    """Of a vision transformer, these are tables of two dimensions and more, which no shape tells from matrices."""
    model = network("test_vit")
    decays = settings_of(
        model, make_optimiser(model, options(lr=0.1, layer_decay=0.8, weight_decay=0.03)), "weight_decay"
    )
    assert decays["backbone.pos_embed"] == decays["backbone.cls_token"] == 0
    assert decays["backbone.patch_embed.proj.weight"] == decays["backbone.blocks.0.mlp.fc1.weight"] == 0.03


def test_a_network_within_another_exempts_what_it_does_alone() -> None:
    model = network("test_vit")
    model.backbone = nn.Sequential(nn.Sequential(model.backbone))
    assert {"0.0.pos_embed", "0.0.cls_token"} <= set(exempt_from_decay(model.backbone))
    decays = settings_of(
        model, make_optimiser(model, options(lr=0.1, layer_decay=0.8, weight_decay=0.03)), "weight_decay"
    )
    assert decays["backbone.0.0.pos_embed"] == 0
    assert decays["backbone.0.0.blocks.0.mlp.fc1.weight"] == 0.03


@pytest.mark.parametrize("name", DEPTH)
def test_every_parameter_is_optimised_once(name: str) -> None:
    model = network(name)
    optimiser = make_optimiser(model, options(lr=0.1, layer_decay=0.8, weight_decay=0.01))
    optimised = [id(parameter) for group in optimiser.param_groups for parameter in group["params"]]
    assert sorted(optimised) == sorted(id(parameter) for parameter in model.parameters())


def test_slow_layers_are_frozen_on_request() -> None:
    """Factors are 1/32, 1/16, 1/8, 1/4, 1/2 and 1: three of them are less than 0.2."""
    model = network()
    rates = settings_of(
        model, make_optimiser(model, options(lr=0.1, layer_decay=0.5, weight_decay=0.01, frozen_below=0.2)), "lr"
    )
    frozen = tuple(f"backbone.{layer}" for layer in ("conv_stem", "bn1", "blocks.0", "blocks.1"))
    for name, parameter in model.named_parameters():
        assert parameter.requires_grad == (name in rates) == (not name.startswith(frozen)), name


def test_a_frozen_layer_costs_no_backward_pass() -> None:
    model = network()
    make_optimiser(model, options(lr=0.1, layer_decay=0.5, weight_decay=0.01, frozen_below=0.2))
    freeze_statistics(model)
    model(random_images()).sum().backward()
    without = {name for name, parameter in model.named_parameters() if parameter.grad is None}
    assert without == {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
    assert without


# --- schedules -------------------------------------------------------------------------------------------------


def test_cosine_at_its_corners() -> None:
    found = [cosine(progress, 0.2) for progress in (0, 0.1, 0.2, 0.6, 1)]
    assert found == pytest.approx([0, 0.5, 1, 0.5, 0])


def test_onecycle_at_its_corners() -> None:
    found = [onecycle(progress, 0.2) for progress in (0, 0.1, 0.2, 0.6, 1)]
    assert found == pytest.approx([1 / 25, 0.52, 1, 0.50005, 1e-4])


@pytest.mark.parametrize("name", SCHEDULES)
def test_without_warmup_a_schedule_begins_at_its_peak(name: str) -> None:
    assert SCHEDULES[name](0, 0.0) == pytest.approx(1)


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


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("steps", [1, 2, 40])
def test_no_step_is_spent_at_rate_nought(name: str, steps: int) -> None:
    """Every group follows the same curve, each at its own height."""
    parameters = [nn.Parameter(torch.zeros(1)) for _ in range(2)]
    optimiser = torch.optim.AdamW([{"params": [parameters[0]], "lr": 1.0}, {"params": [parameters[1]], "lr": 0.25}])
    set_rates = make_schedule(optimiser, name, warmup=0.25)
    rates = []
    for step in range(steps):
        set_rates((step + 1) / (steps + 1), 1.0)
        rates.append([group["lr"] for group in optimiser.param_groups])
    assert all(0 < high <= 1 and low == pytest.approx(high / 4) for high, low in rates)
    highs = [high for high, _ in rates]
    assert max(highs) > 0.7 or steps < 3
    assert highs.index(max(highs)) <= steps * 0.3
    assert highs[-1] < 0.01 or steps < 3


# --- batch statistics ------------------------------------------------------------------------------------------


def test_batch_norms_keep_their_statistics_while_their_weights_learn() -> None:
    model = network()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    optimiser = make_optimiser(model, options(lr=0.01, layer_decay=0.9, weight_decay=0.01))
    for _ in range(3):
        freeze_statistics(model)
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(model(random_images()), torch.tensor([0, 1] * 3)).backward()
        optimiser.step()
    after = model.state_dict()
    statistics = [name for name in before if "running" in name or "tracked" in name]
    assert len(statistics) >= 30
    for name in before:
        assert torch.equal(after[name], before[name]) == (name in statistics), name


def test_all_but_batch_norms_are_in_training_mode() -> None:
    model = network()
    model.eval()
    freeze_statistics(model)
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    assert norms
    assert not any(module.training for module in norms)
    assert model.training
    assert model.head.training
    assert model.backbone.blocks[0].training


def test_with_frozen_statistics_a_batch_may_be_split() -> None:
    model = network()
    freeze_statistics(model)
    images = random_images()
    split = torch.cat([model(images[:2]), model(images[2:])])
    torch.testing.assert_close(model(images), split, rtol=1e-4, atol=1e-5)
