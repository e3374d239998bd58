"""stage=augment: a contact sheet of augmented training images.

Writes outputs/<slug>/augment/<policy>.png, drawn with the transform of training, and <policy>.json, the policy as
serialised by albumentations.
"""

import logging
from pathlib import Path

import numpy as np

from kagglepipe.config import Config
from kagglepipe.errors import UserError
from kagglepipe.files import write_json
from kagglepipe.models.weights import Weights
from kagglepipe.runs.configured import read_data
from kagglepipe.training.advice import is_mirroring, mirror_hint

log = logging.getLogger(__name__)
NOWHERE = Weights("none", "none")  # only the input size of the network is needed


def check(config: Config) -> None:
    """Raises UserError for a competition without images."""
    if config.competition.kind != "image":
        raise UserError(
            f"augment draws photos, this is {config.competition.kind}: a training clip has one draw of the policy for "
            "all its frames (sequences.views=1), and sequences.crop, speed, drop and noise"
        )


def run(config: Config) -> None:
    """Write the contact sheet and the policy."""
    from kagglepipe.images.augment import Transform
    from kagglepipe.images.cache import image_reader
    from kagglepipe.images.depth import PixelFormat
    from kagglepipe.images.paste import Backgrounds
    from kagglepipe.models.classifier import make_backbone, preprocessing_of
    from kagglepipe.reports.plots import Tile, draw_sheet

    dataset = read_data(config)
    policy, rows = config.augmentation_policy(config.training_mode), dataset.train
    options, sheet, short_side, seed = config.model, config.augment, config.short_side, config.seed
    form = PixelFormat(options.in_chans, options.in_bits)
    reader = image_reader(dataset, rows, short_side, config.pixels_dir(short_side, form.suffix), form)
    backbone = make_backbone(
        options.name, NOWHERE, kwargs=options.kwargs, cache_dir=config.root, channels=form.channels
    )
    seen = preprocessing_of(backbone, image_size=options.side, crop=options.crop, short_side=short_side, form=form)
    backgrounds = Backgrounds(reader, rows["id"].tolist(), rows["fold"].to_numpy(np.int64))
    mirror = config.mirror
    transform = Transform(policy, seen.size, mirror=mirror, backgrounds=backgrounds, form=form)
    views = seen.views(reader, ids=rows["id"].tolist(), transform=transform, seed=seed)
    shown = np.sort(np.random.default_rng(seed).choice(len(rows), min(sheet.images, len(rows)), replace=False))
    tiles = []
    for row in shown.tolist():
        id, target = rows["id"].iloc[row], rows["target"].iloc[row]
        tiles.append(Tile(reader[row], f"{target}\n{id}"))
        for view in range(1, sheet.views + 1):
            tiles.append(Tile(views[row, view], f"view {view}"))
    folder = config.runs_dir / "augment"
    name = Path(policy).stem  # of a file of the user's own
    shown_name = name if mirror else f"{name}, without flips"
    title = f"augmentation={shown_name}: originals, then {sheet.views} views each"
    draw_sheet(folder / f"{name}.png", tiles, columns=sheet.views + 1, title=title)
    write_json(folder / f"{name}.json", transform.serialised())
    log.info("augment: look at %s (policy in %s.json)", folder / f"{name}.png", name)
    if mirror and is_mirroring(policy) and (hint := mirror_hint(dataset.classes)):
        log.warning("augment: %s", hint)
