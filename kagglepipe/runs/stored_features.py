"""Features of the frozen network that training has stored, for those who only read them."""

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kagglepipe.config import Config
from kagglepipe.runs.configured import identity_of, make_learner
from kagglepipe.runs.identity import identity_hash
from kagglepipe.runs.run import Run

if TYPE_CHECKING:
    from kagglepipe.competitions.dataset import Dataset


def stored_clean_features(
    config: Config, dataset: "Dataset", run: Run, rows: pd.DataFrame
) -> NDArray[np.float32] | None:
    """Clean features (N, F) of images of the table; None unless `run` is the configured one and all are stored."""
    if run.is_ensemble or not run.name.endswith(identity_hash(identity_of(config, dataset))):
        return None
    from kagglepipe.training.features import FeatureStore, Item, image_key
    from kagglepipe.training.image_learner import ImageLearner

    learner = make_learner(config, dataset)
    if not isinstance(learner, ImageLearner) or learner.is_from_scratch:
        return None
    store = FeatureStore(learner.feature_folder(0))
    store.refresh()
    items = [Item(image_key(id, digest)) for id, digest in zip(learner.names(rows), rows["sha256"], strict=True)]
    return None if store.missing(items) else np.concatenate([store[item.key] for item in items])
