"""A time limit ends training with the best so far, at rates that have come down; one that suffices changes nothing.

Time is what a clock of the tests' own says: a second for each step.
"""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from kagglepipe.images.dataset import TrainingImages
from kagglepipe.models.classifier import Classifier
from kagglepipe.training.loop import Budget, FitRuntime
from kagglepipe.training.resume import Epoch
from tests.fitting import RECIPE, Clock, assert_same, killed, network, trained, untimed

STEPS = 3  # in an epoch: twenty-four rows in batches of eight
WHOLE = 4 * STEPS  # seconds of steps in a fit, and half a second after each epoch to evaluate


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch.setattr)


@pytest.fixture(scope="module")
def usual(images: TrainingImages) -> tuple[Classifier, list[Epoch]]:
    """What comes of a fit that has all the time it takes."""
    model = network()
    return model, untimed(trained(model, images))


def limited(clock: Clock, seconds: float, **options: Any) -> FitRuntime:
    return FitRuntime(budget=Budget(seconds, clock), **options)


# --- shares --------------------------------------------------------------------------------------------------------


def test_what_is_left_is_shared_equally() -> None:
    """Time that one share has not used, or has used beyond its own, is the others' gain or loss."""
    hands = SimpleNamespace(now=0.0)
    budget = Budget(60.0, lambda: hands.now)
    assert budget.split(3).seconds == 20.0
    hands.now = 10.0
    assert budget.split(2).seconds == 25.0
    hands.now = 70.0
    late = budget.split(1)
    assert (late.seconds, late.left, late.used(), budget.left) == (0.0, 0.0, 1.0, 0.0)


def test_what_is_kept_back_makes_time_go_faster() -> None:
    hands = SimpleNamespace(now=0.0)
    budget = Budget(10.0, lambda: hands.now)
    hands.now = 4.0
    assert (budget.used(), budget.used(kept_back=2.0)) == (0.4, 0.5)
    assert budget.used(kept_back=12.0) == budget.used(kept_back=5.0) == 0.8  # half is kept back at most


# --- enough --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("seconds", "first_step", "lost"), [
    (WHOLE + 2.5, 1.0, 0.0),
    (1e6, 1.0, 0.0),
    (40.0, 3.0, 0.0),  # in the first step kernels are chosen and a network is compiled
    (60.0, 1.0, 30.0),  # features or a head took a part of the fold's time: it is no warm-up
])  # fmt: skip
def test_time_enough_changes_nothing(
    seconds: float, first_step: float, lost: float, images: TrainingImages, usual: tuple[Classifier, list[Epoch]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    clock, model = Clock(monkeypatch.setattr, lambda number: 1.0 if number else first_step), network()
    runtime = limited(clock, seconds)
    clock.now += lost
    history = trained(model, images, runtime=runtime)
    assert untimed(history) == usual[1]
    assert not any(epoch.lr_shortened or epoch.ended_by for epoch in history)
    assert_same(model, usual[0])


def test_a_slow_first_step_does_not_end_what_has_only_begun(
    monkeypatch: pytest.MonkeyPatch, images: TrainingImages
) -> None:
    """At its speed, what is to be looked at afterwards would take longer than all there is."""
    clock = Clock(monkeypatch.setattr, lambda number: 1.0 if number else 12.0)
    history = trained(network(), images, runtime=limited(clock, 40.0, rows_after=120))
    assert clock.steps == 4 * STEPS
    assert not any(epoch.ended_by for epoch in history)


# --- too little ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seconds", [2.0, 5.0, 8.0, 11.0])
def test_it_ends_in_time_at_rates_that_have_come_down(seconds: float, clock: Clock, images: TrainingImages) -> None:
    """With evaluation, by which the best is chosen; a step that has begun is ended."""
    begin = clock.now
    history = trained(network(), images, runtime=limited(clock, seconds))
    assert clock.now - begin <= seconds + 1
    assert history[-1].ended_by == "budget"
    assert not any(epoch.ended_by for epoch in history[:-1])
    assert history[-1].lr_shortened
    rates = [epoch.lr for epoch in history]
    assert rates == sorted(rates, reverse=True)
    assert seconds < 5 or rates[-1] < 0.2 * RECIPE.lr  # one epoch of two steps is too short


def test_time_for_what_comes_afterwards_is_kept(clock: Clock, images: TrainingImages) -> None:
    """Eight images a second of training are twenty-four a second of looking: 120 more of them take five seconds."""
    trained(network(), images, runtime=limited(clock, 11.0, rows_after=120))
    assert clock.steps == 5


def test_no_epoch_is_begun_without_time_for_it(clock: Clock, images: TrainingImages) -> None:
    """The first one's end, and the look at it, use all there is."""
    history = trained(network(), images, runtime=limited(clock, 3.6))
    assert (clock.steps, len(history), history[0].ended_by) == (STEPS, 1, "budget")


def test_no_time_at_all_is_one_step(clock: Clock, images: TrainingImages) -> None:
    history = trained(network(), images, runtime=limited(clock, 0.0))
    assert (clock.steps, len(history), history[0].ended_by) == (1, 1, "budget")
    assert history[0].lr < 0.05 * RECIPE.lr


# --- kills ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("seconds", "steps"), [(8.0, 4 * STEPS), (60.0, 2 * STEPS)])
def test_without_a_budget_only_a_schedule_that_was_not_shortened_goes_on(
    seconds: float, steps: int, clock: Clock, images: TrainingImages, usual: tuple[Classifier, list[Epoch]],
    tmp_path: Path,
) -> None:  # fmt: skip
    file, model = tmp_path / "resume.safetensors", network()
    killed(images, RECIPE, limited(clock, seconds, resume=file), after=2)
    before = clock.steps
    assert untimed(trained(model, images, runtime=FitRuntime(file))) == usual[1]
    assert clock.steps - before == steps
    assert_same(model, usual[0])


def test_a_new_budget_goes_on_from_what_is_there(clock: Clock, images: TrainingImages, tmp_path: Path) -> None:
    file = tmp_path / "resume.safetensors"
    killed(images, RECIPE, limited(clock, 8.0, resume=file), after=2)
    history: list[Epoch] = trained(network(), images, runtime=limited(clock, 3.0, resume=file))
    assert [epoch.epoch for epoch in history] == [1, 2, 3]
    assert (history[-1].ended_by, history[-1].lr < 0.15 * RECIPE.lr) == ("budget", True)
