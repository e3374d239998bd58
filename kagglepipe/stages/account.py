"""What the stages share of the user's Kaggle account: who speaks to Kaggle, and what it said of submissions."""

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING

from kagglepipe.competitions.credentials import WHERE, find_credentials
from kagglepipe.config import Config
from kagglepipe.errors import UserError

if TYPE_CHECKING:
    from kagglepipe.competitions.kaggle import KaggleClient

log = logging.getLogger(__name__)


def connect(config: Config) -> "KaggleClient":
    """A client with the user's credentials; asks nothing yet. Raises UserError if there are none."""
    credentials = find_credentials()
    if credentials is None:
        raise UserError(f"no Kaggle credentials were found: {WHERE}")
    if credentials.exposed:
        log.warning("kaggle: others on this machine can read %s; type chmod 600 on it", credentials.place)
    from kagglepipe.competitions.kaggle import KaggleClient

    kaggle = config.kaggle
    return KaggleClient(credentials, endpoint=kaggle.endpoint, timeout=kaggle.timeout, patience=kaggle.patience)


def notebook_data(config: Config) -> Path | None:
    """The folder in which a Kaggle notebook finds the competition's files; None elsewhere, or if none is attached."""
    mount, slug = Path(config.kaggle.input), config.competition.slug
    folders = (mount / "competitions" / str(slug), mount / str(slug))
    return next((folder for folder in folders if slug and folder.is_dir()), None)


def is_kaggle_notebook() -> bool:
    """Whether this runs in a notebook of Kaggle's."""
    return "KAGGLE_KERNEL_RUN_TYPE" in os.environ


def ledger_file(config: Config) -> Path:
    """submissions/ledger.csv: every submission that was sent from here, and what became of it."""
    return config.root / "submissions" / "ledger.csv"
