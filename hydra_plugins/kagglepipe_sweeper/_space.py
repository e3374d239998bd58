"""From what is typed to what may be tried, in Hydra's own words: `a,b`, choice(), range(), interval()."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep
from omegaconf import DictConfig, OmegaConf

from kagglepipe.errors import UserError
from kagglepipe.sweeps.space import Choice, Space, Span


@dataclass(frozen=True)
class Typed:
    """A command line: what may vary, and what is fixed, word for word."""

    space: Space
    words: list[str]


def read_arguments(arguments: Sequence[str], config: DictConfig, loader: ConfigLoader) -> Typed:
    """What of `sweep.space` and of the command line varies, and what does not; the command line wins."""
    parser = OverridesParser.create(config_loader=loader)
    usual = parser.parse_overrides([f"{name}={value}" for name, value in config.sweep.space.items()])
    typed = parser.parse_overrides(list(arguments))
    names = {bare(override) for override in typed}
    varied = [one for one in usual if bare(one) not in names] + [one for one in typed if one.is_sweep_override()]
    fixed = [one for one in typed if not one.is_sweep_override()]
    fixed += [one for one in varied if not one.is_sweep_override()]  # of the space, with one value
    space = {one.get_key_element(): parameter(one, config) for one in varied if one.is_sweep_override()}
    return Typed(space, [str(one.input_line) for one in fixed])


def bare(override: Override) -> str:
    """The option's name, without a plus sign."""
    return str(override.get_key_element()).lstrip("+~")


def parameter(override: Override, config: DictConfig) -> Choice | Span:
    """What one option may be. Raises UserError for a stretch of nothing."""
    value, name = override.value(), bare(override)
    if isinstance(value, IntervalSweep):
        return interval(name, value, whole=is_whole_number(config, name))
    if isinstance(value, RangeSweep) and value.step > 0 and not value.shuffle:
        return steps(name, value)
    values = tuple(dict.fromkeys(str(text) for text in override.sweep_string_iterator()))
    if not values:
        raise UserError(f"{name} has no value to try")
    return Choice(values)


def interval(name: str, value: IntervalSweep, *, whole: bool) -> Span:
    """A stretch of numbers; whole ones where the option takes no others."""
    low, high, log = float(value.start or 0), float(value.end or 0), "log" in value.tags
    if unknown := value.tags - {"log"}:
        raise UserError(f"{name}: tag({min(unknown)}, …) says nothing here; type tag(log, interval(…))")
    if not low < high or (log and low <= 0):
        raise UserError(f"{name}=interval({low:g},{high:g}) must begin {'above 0 and ' if log else ''}below its end")
    if not whole:
        return Span(low, high, log=log)
    if math.ceil(low) > math.floor(high):
        raise UserError(f"{name}=interval({low:g},{high:g}) holds no whole number, and {name} takes no other")
    return Span(math.ceil(low), math.floor(high), log=log, whole=True)


def steps(name: str, value: RangeSweep) -> Span:
    """The numbers of a range, whose end is not among them."""
    start, stop, step = value.start or 0, value.stop or 0, value.step
    count = math.ceil((stop - start) / step - 1e-9)
    if count < 1:
        raise UserError(f"{name}=range({start},{stop}) holds no number: its end is not part of it")
    whole = all(isinstance(number, int) for number in (start, stop, step))
    return Span(start, round(start + (count - 1) * step, 12), step, whole=whole)


def is_whole_number(config: DictConfig, name: str) -> bool:
    """Whether the option's present value is a whole number: then an interval means whole numbers."""
    value = OmegaConf.select(config, name, default=None)
    return isinstance(value, int) and not isinstance(value, bool)
