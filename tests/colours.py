"""The smallest competition of images: two classes of plain colours, for a tiny network that nobody has trained."""

from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from kagglepipe.config import Competition, Config, Folds, Model, Paths, Training

CONF = Path(__file__).parents[1] / "conf"
CONTRACT: Any = OmegaConf.to_container(OmegaConf.load(CONF / "competition/image_folder.yaml"))


def colours_config(root: Path, colours: Path, **more: Any) -> Config:
    """Two heads on a tiny network that nobody has trained."""
    return Config(
        paths=Paths(str(root)),
        competition=Competition(**{**CONTRACT, "slug": "colours", "source": str(colours)}),
        folds=Folds(count=2),
        model=Model("test_efficientnet", "none", image_size=64),
        training=Training("head", views=0),
        **more,
    )
