"""Search space of a command line in Hydra's override grammar: `a,b`, choice(), range(), interval()."""

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
class Arguments:
    """A command line: the options that vary, and the fixed overrides word for word."""

    space: Space
    words: list[str]


def read_arguments(arguments: Sequence[str], config: DictConfig, loader: ConfigLoader) -> Arguments:
    """Split `sweep.space` and the command line into varied and fixed options; the command line wins."""
    parser = OverridesParser.create(config_loader=loader)
    defaults = parser.parse_overrides([f"{name}={value}" for name, value in config.sweep.space.items()])
    typed = parser.parse_overrides(list(arguments))
    names = {option_name(override) for override in typed}
    varied = [one for one in defaults if option_name(one) not in names] + [
        one for one in typed if one.is_sweep_override()
    ]
    fixed = [one for one in typed if not one.is_sweep_override()]
    fixed += [one for one in varied if not one.is_sweep_override()]  # of the space, with one value
    space = {one.get_key_element(): search_range(one, config) for one in varied if one.is_sweep_override()}
    return Arguments(space, [str(one.input_line) for one in fixed])


def option_name(override: Override) -> str:
    """Name of the option, without a plus sign."""
    return str(override.get_key_element()).lstrip("+~")


def search_range(override: Override, config: DictConfig) -> Choice | Span:
    """Values of one option. Raises UserError for an empty range."""
    value, name = override.value(), option_name(override)
    if isinstance(value, IntervalSweep):
        return interval(name, value, whole=is_whole_number(config, name))
    if isinstance(value, RangeSweep) and value.step > 0 and not value.shuffle:
        return stepped(name, value)
    values = tuple(dict.fromkeys(str(text) for text in override.sweep_string_iterator()))
    if not values:
        raise UserError(f"{name} has no value to try")
    return Choice(values)


def interval(name: str, value: IntervalSweep, *, whole: bool) -> Span:
    """Span of an `interval(…)`; of integers if the option takes no other numbers."""
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


def stepped(name: str, value: RangeSweep) -> Span:
    """Span of a `range(…)`, which leaves its end out."""
    start, stop, step = value.start or 0, value.stop or 0, value.step
    count = math.ceil((stop - start) / step - 1e-9)
    if count < 1:
        raise UserError(f"{name}=range({start},{stop}) holds no number: its end is not part of it")
    whole = all(isinstance(number, int) for number in (start, stop, step))
    return Span(start, round(start + (count - 1) * step, 12), step, whole=whole)


def is_whole_number(config: DictConfig, name: str) -> bool:
    """Whether the option's default is an integer: then its interval holds integers."""
    value = OmegaConf.select(config, name, default=None)
    return isinstance(value, int) and not isinstance(value, bool)
