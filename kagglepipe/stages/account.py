"""What the stages share of the user's Kaggle account: who speaks to Kaggle, and what it said of submissions."""

import functools
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from kagglepipe.competitions.credentials import WHERE, find_credentials
from kagglepipe.config import Config
from kagglepipe.errors import UserError

if TYPE_CHECKING:
    from kagglepipe.competitions.kaggle import KaggleClient, Submission

log = logging.getLogger(__name__)
BRIEFLY = 5.0  # seconds of patience where an answer is only nice to have


def connect(config: Config, *, patience: float | None = None) -> "KaggleClient":
    """A client with the user's credentials; asks nothing yet. Raises UserError if there are none.

    patience: seconds for which requests are repeated, at most those of the configuration; None: those.
    """
    credentials = find_credentials()
    if credentials is None:
        raise UserError(f"no Kaggle credentials were found: {WHERE}")
    if credentials.exposed:
        warn_of(credentials.place)
    from kagglepipe.competitions.kaggle import KaggleClient

    kaggle = config.kaggle
    seconds = kaggle.patience if patience is None else min(patience, kaggle.patience)
    return KaggleClient(credentials, endpoint=kaggle.endpoint, timeout=kaggle.timeout, patience=seconds)


@functools.cache  # a command connects more than once
def warn_of(place: str) -> None:
    """Says that a file with credentials is open to others."""
    log.warning("kaggle: others on this machine can read %s; type chmod 600 on it", place)


def slug_at_kaggle(config: Config, otherwise: str) -> str:
    """The competition's name at Kaggle. Raises UserError if it has none; otherwise: what to type then."""
    competition = config.competition
    if competition.is_sample:
        raise UserError(f"the built-in sample is drawn by code and no competition of Kaggle's: {otherwise}")
    if competition.slug is None:
        raise UserError(f"this folder is no competition of Kaggle's: give competition.slug=NAME, or {otherwise}")
    return competition.slug


def sent_by_user(client: "KaggleClient", slug: str) -> "Iterator[Submission]":
    """The user's submissions, the latest first; none where Kaggle will list none, as it may before the first."""
    from kagglepipe.competitions.kaggle_errors import KaggleError

    try:
        yield from client.submissions(slug)
    except KaggleError as error:
        if error.kind not in ("rejected", "denied"):
            raise


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
