"""Configurations of command lines, without Hydra's job: for Python programs, in any thread."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from kagglepipe.config import CONF, Config
from kagglepipe.errors import UserError

_composing = threading.Lock()  # Hydra keeps its state in globals


def compose_config(words: Sequence[str]) -> Config:
    """Compose and check the configuration of a command, of its arguments. Raises UserError as the command would."""
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    from kagglepipe.cli.arguments import check_arguments, quoted, with_stage
    from kagglepipe.cli.errors import explain
    from kagglepipe.cli.inferred_competition import AUTO, inferred_arguments
    from kagglepipe.cli.own_yaml import with_own_yaml

    check_arguments(list(words))
    with _composing, _hydra_restored():
        arguments = with_own_yaml(with_stage(list(words)))
        added = inferred_arguments(arguments) if AUTO in arguments else []
        try:
            return _composed([quoted(word) for word in [*added, *arguments]], added)
        except (HydraException, OmegaConfBaseException) as error:
            raise UserError(explain(error)) from error


def _composed(overrides: list[str], added: list[str]) -> Config:
    """Compose overrides in Hydra's grammar; `added` were not typed, and may go unread."""
    from hydra import compose, initialize_config_dir
    from hydra.core.config_store import ConfigStore
    from hydra.core.hydra_config import HydraConfig
    from omegaconf import open_dict

    from kagglepipe.cli.hydra_job import checked_config
    from kagglepipe.config import schema

    ConfigStore.instance().store(name="schema", node=schema())
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("config", overrides, return_hydra_config=True)
    HydraConfig.instance().set_config(cfg)  # the checks read what was typed
    with open_dict(cfg):
        del cfg["hydra"]
    made: Config = checked_config(cfg, multirun=False, strict=True, added=added)
    return made


@contextmanager
def _hydra_restored() -> Iterator[None]:
    """Leave Hydra's globals as they were, for a program that uses Hydra itself."""
    from hydra.core.singleton import Singleton

    state = Singleton.get_state()
    try:
        yield
    finally:
        Singleton.set_state(state)
