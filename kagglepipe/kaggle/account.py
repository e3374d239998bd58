"""The user's Kaggle account: the client with its credentials, the competition's name, and Kaggle's own notebooks."""

import functools
import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING

from kagglepipe.errors import UserError
from kagglepipe.kaggle.credentials import WHERE, find_credentials
from kagglepipe.options import CompetitionOptions, KaggleOptions

if TYPE_CHECKING:
    from kagglepipe.kaggle.client import KaggleClient

log = logging.getLogger(__name__)
SHORT_PATIENCE = 5.0  # seconds of retries where an answer is only nice to have


def connect(options: KaggleOptions, *, max_patience: float | None = None) -> "KaggleClient":
    """Make a client with the user's credentials; sends nothing yet. Raises UserError if there are none."""
    credentials = find_credentials()
    if credentials is None:
        raise UserError(f"no Kaggle credentials were found: {WHERE}")
    if credentials.exposed:
        _warn_exposed(credentials.place)
    from kagglepipe.kaggle.client import KaggleClient  # requests takes a while to import

    patience = options.patience if max_patience is None else min(max_patience, options.patience)
    return KaggleClient(credentials, endpoint=options.endpoint, timeout=options.timeout, patience=patience)


@functools.cache  # a command connects more than once
def _warn_exposed(place: str) -> None:
    log.warning("kaggle: others on this machine can read %s; type chmod 600 on it", place)


def check_slug(competition: CompetitionOptions, otherwise: str) -> str:
    """Return the competition's name at Kaggle. Raises UserError if it has none. otherwise: the advice then."""
    if competition.is_sample:
        raise UserError(f"the built-in sample is drawn by code and no competition of Kaggle's: {otherwise}")
    if competition.slug is None:
        raise UserError(f"this folder is no competition of Kaggle's: give competition.slug=NAME, or {otherwise}")
    return competition.slug


def notebook_data(options: KaggleOptions, slug: str | None) -> Path | None:
    """Find the competition's files attached to a Kaggle notebook; None elsewhere, or if none are."""
    folders = (Path(options.input) / "competitions" / str(slug), Path(options.input) / str(slug))
    return next((folder for folder in folders if slug and folder.is_dir()), None)


def is_kaggle_notebook() -> bool:
    """Whether this runs in a notebook of Kaggle's."""
    return "KAGGLE_KERNEL_RUN_TYPE" in os.environ
