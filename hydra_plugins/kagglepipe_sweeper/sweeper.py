"""Hydra plugin: imported at every start, so it imports nothing heavy."""

import importlib.util
from dataclasses import dataclass
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from kagglepipe.errors import UserError


@dataclass
class KagglepipeSweeperConf:
    """Has no options of its own: they are those of `sweep` in the configuration."""

    _target_: str = "hydra_plugins.kagglepipe_sweeper.sweeper.KagglepipeSweeper"


ConfigStore.instance().store(
    group="hydra/sweeper", name="kagglepipe", node=KagglepipeSweeperConf, provider="kagglepipe"
)


class KagglepipeSweeper(Sweeper):
    """Asks Optuna for trials and runs them on any Hydra launcher."""

    hydra_context: HydraContext
    config: DictConfig
    launcher: Launcher

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Called by Hydra before `sweep`."""
        from hydra.core.plugins import Plugins

        self.hydra_context, self.config = hydra_context, config
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> Any:
        """Run the sweep of this command line and return its best value."""
        if missing := [name for name in ("optuna", "cmaes", "matplotlib") if importlib.util.find_spec(name) is None]:
            raise UserError(f"a sweep needs {' and '.join(missing)}: pip install 'kagglepipe[sweep]'")
        from hydra_plugins.kagglepipe_sweeper._run import run_sweep

        return run_sweep(self.config, arguments, loader=self.hydra_context.config_loader, launcher=self.launcher)
