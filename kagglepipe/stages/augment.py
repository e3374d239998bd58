"""stage=augment: shows what augmentation does, before anything is trained on it.

Writes outputs/<slug>/augment/<policy>.png, a contact sheet drawn through the transform object that trains, and
<policy>.json, the policy in albumentations' own form.
"""

import logging

import numpy as np

from kagglepipe.config import Config, augmentation_policy
from kagglepipe.files import write_json
from kagglepipe.images.augment import Transform
from kagglepipe.images.cache import PixelReader
from kagglepipe.reports.plots import Tile, draw_sheet
from kagglepipe.stages.places import read_prepared, training_mode

log = logging.getLogger(__name__)
SHEET_SIZE = 224


def run(config: Config) -> None:
    """Draws the contact sheet and keeps the policy."""
    prepared = read_prepared(config)
    policy, rows = augmentation_policy(config.augmentation, training_mode(config)), prepared.train
    transform = Transform(policy, config.model.image_size or SHEET_SIZE, crop=config.model.crop)
    count = min(config.augment.images, len(rows))
    shown = rows.iloc[np.sort(np.random.default_rng(config.seed).choice(len(rows), count, replace=False))]
    reader = PixelReader(
        prepared.paths(shown),
        short_side=config.cache.short_side,
        folder=prepared.pixels,
        places=shown["pixels"].tolist(),
    )
    tiles = []
    for row, (id, target) in enumerate(zip(shown["id"], shown["target"], strict=True)):
        tiles.append(Tile(reader[row], f"{target}\n{id}"))
        for view in range(1, config.augment.views + 1):
            tiles.append(Tile(transform(reader[row], config.seed, view, id), f"view {view}"))
    folder = config.runs_dir / "augment"
    title = f"augmentation={policy}: originals, then {config.augment.views} views each"
    draw_sheet(folder / f"{policy}.png", tiles, columns=config.augment.views + 1, title=title)
    write_json(folder / f"{policy}.json", transform.serialised())
    log.info("augment: look at %s (policy in %s.json)", folder / f"{policy}.png", policy)
