"""What may be tried: counted, listed, typed."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kagglepipe.sweeps.space import Choice, Space, Span, points, samples, signature, size, typed

SPACE: Space = {"model": Choice(("lite0", "lite1")), "views": Span(0, 4, 2, whole=True), "drop": Span(0.0, 0.5, 0.25)}


def test_a_space_is_counted_and_listed() -> None:
    every = points(SPACE)
    assert every is not None
    assert len(every) == size(SPACE) == 18
    assert every[:4] == [
        {"model": "lite0", "views": 0, "drop": 0.0},
        {"model": "lite0", "views": 0, "drop": 0.25},
        {"model": "lite0", "views": 0, "drop": 0.5},
        {"model": "lite0", "views": 2, "drop": 0.0},
    ]
    assert samples(SPACE) == [
        {"model": "lite0", "views": "0", "drop": "0.0"},
        {"model": "lite1", "views": "4", "drop": "0.5"},
    ]


def test_there_is_no_end_of_numbers() -> None:
    assert size({**SPACE, "lr": Span(1e-5, 1e-2, log=True)}) == math.inf
    assert points({"lr": Span(0.0, 1.0)}) is None
    assert points({"n": Span(1, 1_000_000, whole=True)}) is None


@given(st.floats(1e-6, 1.0), st.floats(0, 1))
def test_a_number_is_typed_short_and_stays_within_its_ends(low: float, share: float) -> None:
    span = Span(low, 2 * low)
    value = low + share * low
    text = span.typed(value)
    assert span.low <= float(text) <= span.high
    assert float(text) == pytest.approx(value, rel=1e-3)
    assert span.typed(float(text)) == text


def test_whole_numbers_have_no_point() -> None:
    assert typed(SPACE, {"model": "lite1", "views": 2.0, "drop": 0.25}) == {
        "model": "lite1",
        "views": "2",
        "drop": "0.25",
    }


def test_the_signature_is_that_of_space_and_words_in_any_order() -> None:
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


def test_optuna_draws_what_can_be_typed() -> None:
    optuna = pytest.importorskip("optuna")
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    space = {**SPACE, "lr": Span(1e-5, 1e-2, log=True), "steps": Span(1, 1000, log=True, whole=True)}
    for _ in range(50):
        trial = study.ask({name: one.distribution() for name, one in space.items()})
        words = typed(space, trial.params)
        assert words["model"] in ("lite0", "lite1")
        assert words["views"] in ("0", "2", "4")
        assert float(words["drop"]) in (0.0, 0.25, 0.5)
        assert 1e-5 <= float(words["lr"]) <= 1e-2
        assert 1 <= int(words["steps"]) <= 1000
