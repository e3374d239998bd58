"""The configuration that a command line would make, for benchmarks that work inside one process."""

from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf

from kagglepipe.config import CONF, Config, schema


def composed(*overrides: str) -> Config:
    """The configuration of these options, as they are typed."""
    ConfigStore.instance().store(name="schema", node=schema())
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = OmegaConf.to_object(compose("config", list(overrides)))
    assert isinstance(config, Config)
    return config
