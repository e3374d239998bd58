"""The smallest competition of images: two classes of plain colours, for a tiny network that nobody has trained."""

from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from kagglepipe.config import Config
from kagglepipe.options import CompetitionOptions, FoldOptions, ModelOptions, PathsOptions, TrainingOptions

CONF = Path(__file__).parents[1] / "conf"
CONTRACT: Any = OmegaConf.to_container(OmegaConf.load(CONF / "competition/image_folder.yaml"))


def colours_config(root: Path, colours: Path, **more: Any) -> Config:
    """Two heads on a tiny network that nobody has trained."""
    return Config(
        paths=PathsOptions(str(root)),
        competition=CompetitionOptions(**{**CONTRACT, "slug": "colours", "source": str(colours)}),
        folds=FoldOptions(count=2),
        model=ModelOptions("test_efficientnet", "none", image_size=64),
        training=TrainingOptions("head", views=0),
        **more,
    )
