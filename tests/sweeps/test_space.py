"""Search spaces: count, enumeration, override texts, signature."""

import math

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kagglepipe.sweeps.samplers import distribution
from kagglepipe.sweeps.space import (
    Choice,
    Space,
    Span,
    format_params,
    grid_points,
    grid_size,
    probe_points,
    signature,
)

SPACE: Space = {"model": Choice(("lite0", "lite1")), "views": Span(0, 4, 2, whole=True), "drop": Span(0.0, 0.5, 0.25)}


def test_a_space_is_counted_and_enumerated() -> None:
    every = grid_points(SPACE)
    assert every is not None
    assert len(every) == grid_size(SPACE) == 18
    firsts = [(point["model"], point["views"], point["drop"]) for point in every[:4]]
    assert firsts == [("lite0", 0, 0.0), ("lite0", 0, 0.25), ("lite0", 0, 0.5), ("lite0", 2, 0.0)]
    probes = [tuple(point.values()) for point in probe_points(SPACE)]
    assert probes == [("lite0", "0", "0.0"), ("lite1", "4", "0.5")]
    assert grid_size({**SPACE, "lr": Span(1e-5, 1e-2, log=True)}) == math.inf
    assert grid_points({"lr": Span(0.0, 1.0)}) is None
    assert grid_points({"n": Span(1, 1_000_000, whole=True)}) is None


@given(st.floats(1e-6, 1.0), st.floats(0, 1))
def test_a_number_is_written_short_and_stays_in_its_range(low: float, share: float) -> None:
    span = Span(low, 2 * low)
    value = low + share * low
    text = span.text(value)
    assert span.low <= float(text) <= span.high
    assert float(text) == pytest.approx(value, rel=1e-3)
    assert span.text(float(text)) == text


def test_the_signature_depends_on_space_and_settings_in_any_order() -> None:
    fixed = {"competition": "a", "seed": "1"}
    own = signature(SPACE, fixed)
    assert own == signature(dict(reversed(SPACE.items())), dict(reversed(fixed.items())))
    others = [
        signature(SPACE, {**fixed, "seed": "2"}),
        signature({**SPACE, "views": Span(0, 4, 1, whole=True)}, fixed),
        signature({**SPACE, "model": Choice(("lite0",))}, fixed),
        signature({"model": SPACE["model"]}, fixed),
    ]
    assert len({own, *others}) == 5
    earlier: Space = {"a": Choice(("1", "2")), "b": Span(0.1, 1.0, log=True), "c": Span(0, 3, 1, whole=True)}
    assert (
        signature(earlier, {"how": ("tpe", ["score"], 0)}) == "5ccd128d"
    )  # in the folder of an earlier version's sweep


def test_optuna_samples_values_that_can_be_typed() -> None:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    space = {**SPACE, "lr": Span(1e-5, 1e-2, log=True), "steps": Span(1, 1000, log=True, whole=True)}
    for _ in range(50):
        words = format_params(space, study.ask({name: distribution(one) for name, one in space.items()}).params)
        assert words["model"] in ("lite0", "lite1")
        assert words["views"] in ("0", "2", "4")
        assert float(words["drop"]) in (0.0, 0.25, 0.5)
        assert 1e-5 <= float(words["lr"]) <= 1e-2
        assert 1 <= int(words["steps"]) <= 1000
