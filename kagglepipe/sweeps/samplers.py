"""Optuna's samplers, seeded by the trial's number."""

import math

from optuna import samplers
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from kagglepipe.errors import UserError
from kagglepipe.sweeps.space import Choice, Space, Span, grid_points, grid_size


def make_sampler(name: str, *, seed: int, number: int, trials: int, is_parallel: bool) -> samplers.BaseSampler:
    """Sampler of trial `number`, out of `trials`.

    Each trial has a seed of its own and no sampler keeps state in memory, so that a sweep that was killed goes on with
    the values that it would have had. A grid is enumerated by `study.ask`, not sampled.
    """
    seed = 1000 * seed + number
    tpe = samplers.TPESampler(seed=seed, constant_liar=is_parallel, multivariate=False)
    if name == "cmaes":
        return samplers.CmaEsSampler(seed=seed, independent_sampler=tpe, warn_independent_sampling=False)
    if name == "nsga2":
        return samplers.NSGAIISampler(seed=seed, population_size=max(4, min(50, trials // 4)))
    return tpe if name == "tpe" else samplers.RandomSampler(seed=seed)


def distribution(option: Choice | Span) -> BaseDistribution:
    """Optuna's distribution of an option."""
    if isinstance(option, Choice):
        return CategoricalDistribution(option.values)
    if option.whole:
        return IntDistribution(int(option.low), int(option.high), log=option.log, step=int(option.step or 1))
    return FloatDistribution(option.low, option.high, log=option.log, step=option.step)


def check_sampler(name: str, space: Space) -> None:
    """Raises UserError for a space that the sampler cannot search."""
    if not space:
        raise UserError("there is nothing to try: give options several values, as training.views=0,1,2")
    continuous = [option for option, one in space.items() if math.isinf(one.count)]
    if name == "grid" and (continuous or grid_points(space) is None):
        why = f"{continuous[0]} has no end of values" if continuous else f"{grid_size(space):.0f} points are too many"
        raise UserError(
            f"sweep.sampler=grid tries every point, and {why}: type choice(…) or range(…), or another sampler"
        )
    if name == "cmaes" and sum(not isinstance(one, Choice) for one in space.values()) < 2:
        raise UserError("sweep.sampler=cmaes needs two or more numbers, as interval(…): type sweep.sampler=tpe")
