"""What the stages share of the user's Kaggle account: who speaks to Kaggle, and what it said of submissions."""

import functools
import logging
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from kagglepipe.config import Config
from kagglepipe.errors import UserError
from kagglepipe.kaggle.credentials import WHERE, find_credentials
from kagglepipe.runs.store import RunStore

if TYPE_CHECKING:
    from kagglepipe.kaggle.client import KaggleClient, Submission

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
    from kagglepipe.kaggle.client import KaggleClient

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
    from kagglepipe.kaggle.errors import KaggleError

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


def with_sample_if_no_data(config: Config) -> Config:
    """The configuration, or the built-in sample's in its place when the competition's data is nowhere.

    Only competitions that name a sample have one, and only an absence leads here (no source, nothing taken before,
    no Kaggle notebook's data, no credentials): a source or a download that fails is an error.
    """
    competition = config.competition
    no_sample = competition.sample_slug is None or competition.source or competition.is_sample
    if no_sample or config.stage in ("annotations", "doctor", "bundle", "reproduce"):
        return config
    if config.submit.upload or config.runs.leaderboard:  # about Kaggle's own; says what it takes
        return config
    if (config.root / "data" / str(competition.slug) / "source.json").exists():
        return config
    if config.stage in ("predict", "detect", "runs"):  # needs a run, not data, and says which it uses
        own = RunStore(config.runs_dir).finished()
        return config if own else replace(config, competition=replace(competition, slug=competition.sample_slug))
    if notebook_data(config) is not None or is_kaggle_notebook() or find_credentials() is not None:
        return config
    log.info(
        "\n*** No data for %s was found: running on the BUILT-IN SAMPLE, images drawn by code.\n"
        "*** Its scores say nothing about the competition. For the real images add competition.source=PATH\n"
        "*** or Kaggle's token (`python -m kagglepipe doctor` says how).\n",
        competition.slug,
    )
    sample = replace(competition, slug=competition.sample_slug, answers="answers.csv")
    return replace(config, competition=sample)
