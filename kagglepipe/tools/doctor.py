"""stage=doctor: is all there that a run and a submission need? A line for each thing, with what to do about it.

Asks Kaggle only if there are credentials; changes and submits nothing.
"""

import logging
import os
import platform
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from kagglepipe.competitions.credentials import WHERE, Credentials, find_credentials
from kagglepipe.config import Config, absolute
from kagglepipe.errors import UserError
from kagglepipe.stages.account import BRIEFLY, connect, is_kaggle_notebook, notebook_data
from kagglepipe.stages.upload import quota_fault

if TYPE_CHECKING:
    from kagglepipe.competitions.kaggle import KaggleClient
    from kagglepipe.competitions.kaggle_errors import KaggleError

log = logging.getLogger(__name__)
OLDEST_PYTHON = (3, 11)
ROOM, GB = 10.0, 10**9  # GB that an image competition easily takes
MOST_SKEW = 60.0  # seconds; signed addresses and tokens live for minutes


@dataclass(frozen=True)
class Finding:
    """level: `ok`, `note` (nothing is wrong, but know it) or `mend`."""

    level: str
    what: str


def run(config: Config) -> None:
    """Prints every finding as it is made. Raises UserError if something must be mended."""
    bad = 0
    for finding in findings(config):
        log.info("%-4s  %s", finding.level, finding.what)
        bad += finding.level == "mend"
    if bad:
        raise UserError(f"doctor: {bad} {'thing' if bad == 1 else 'things'} to mend, marked above")
    log.info("doctor: nothing to mend")


def findings(config: Config) -> Iterator[Finding]:
    """All of them, the quick ones first."""
    yield of_python()
    yield of_disk(config.root)
    yield of_weights(config)
    yield of_device(config)
    yield of_data(config)
    yield from of_kaggle(config)


def of_python() -> Finding:
    """Which Python runs this."""
    version = f"Python {platform.python_version()}"
    if sys.version_info >= OLDEST_PYTHON:
        return Finding("ok", version)
    return Finding("mend", f"{version}: kagglepipe needs 3.11 or later; type python3.12 -m venv .venv")


def of_disk(root: Path) -> Finding:
    """How much room there is where everything is written, and whether it can be."""
    place = next(folder for folder in (root, *root.parents) if folder.exists())
    free = shutil.disk_usage(place).free / GB
    if not os.access(place, os.W_OK):
        return Finding("mend", f"disk: {place} cannot be written; type paths.root=FOLDER with one that can")
    told = f"disk: {free:.1f} GB free under {root}"
    return Finding("ok", told) if free >= ROOM else Finding("note", f"{told}: for more type paths.root=FOLDER")


def of_weights(config: Config) -> Finding:
    """Whether the configured network's first weights are there."""
    if config.competition.kind == "series":
        return Finding("ok", "weights: a series needs none")
    from kagglepipe.models.weights import find_weights

    try:
        weights = find_weights(config.model.name, config.model.weights)
    except UserError as error:
        return Finding("mend", f"weights: {error}")
    if weights.kind == "hub":
        return Finding("note", f"weights: {config.model.name} will be downloaded from the hub when it is first trained")
    return Finding("ok", f"weights: {config.model.name} ({weights.kind})")


def of_device(config: Config) -> Finding:
    """What the networks will run on."""
    try:
        import torch
    except (ImportError, OSError) as error:  # OSError: a library of its own is missing
        why = " ".join(str(error).split())
        return Finding("mend", f"torch: it cannot be imported ({why}); type pip install --force-reinstall torch")
    from kagglepipe.training.device import choose_device

    try:
        device = choose_device(config.device)
    except UserError as error:
        return Finding("mend", f"device: {error}")
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{torch.get_num_threads()} threads"
    told = f"torch {torch.__version__} on {device} ({name})"
    if device.type == "cpu":
        return Finding(
            "note", f"{told}: heads take seconds, fine-tuning minutes; a GPU would be used if there were one"
        )
    return Finding("ok", told)


def of_data(config: Config) -> Finding:
    """Where the competition's files will come from."""
    source = config.competition.source
    if source:
        if absolute(source).exists():
            return Finding("ok", f"data: from {source}")
        return Finding("mend", f"data: competition.source={source} is not there; give a zip or a folder that is")
    if config.competition.slug is None:
        return Finding("note", "data: no competition is named; give competition.source=PATH or competition.slug=NAME")
    if (config.base_dir / "source.json").exists():
        return Finding("ok", f"data: {config.base_dir}")
    if (attached := notebook_data(config)) is not None:
        return Finding("ok", f"data: {attached}, attached to this notebook")
    if is_kaggle_notebook():
        return Finding("note", f"data: attach {config.competition.slug} to this notebook with Add Input")
    return Finding(
        "note",
        f"data: nothing of {config.competition.slug} is here yet; stage=download brings it with Kaggle's credentials, "
        "or type competition.source=PATH (without either a built-in sample stands in, where there is one)",
    )


def of_kaggle(config: Config) -> Iterator[Finding]:
    """Credentials and, where there are any, what Kaggle says to them."""
    try:
        credentials = find_credentials()
    except UserError as error:
        yield Finding("mend", f"credentials: {error}")
        return
    if credentials is None:
        yield Finding("note", f"credentials: none, so nothing is downloaded or submitted; {WHERE}")
        return
    yield of_credentials(credentials)
    try:
        client = connect(config, patience=BRIEFLY)
    except UserError as error:
        yield Finding("mend", f"Kaggle: {error}")
        return
    if config.competition.slug is None or config.competition.is_sample:
        yield from of_token(client)
    else:
        yield from of_competition(client, config.competition.slug)


def of_credentials(credentials: Credentials) -> Finding:
    """Where the credentials are, and whether others can read them."""
    if credentials.exposed:
        return Finding("mend", f"credentials: others can read {credentials.place}; type chmod 600 on it")
    return Finding("ok", f"credentials: {credentials.place}")


def of_token(client: "KaggleClient") -> Iterator[Finding]:
    """Clock and token, where there is no competition to ask Kaggle about."""
    from kagglepipe.competitions.kaggle_errors import KaggleError

    try:
        token = Finding("ok", f"token: valid, of {client.user() or 'somebody'}; this is no competition of Kaggle's")
    except KaggleError as error:
        token = trouble(error)
    yield of_clock(client.skew)
    yield token


def of_competition(client: "KaggleClient", slug: str) -> Iterator[Finding]:
    """Clock, token, competition, rules and quota, in the order in which they fail."""
    from kagglepipe.competitions.kaggle_errors import KaggleError

    try:
        token = Finding("ok", f"token: valid, of {client.user() or 'somebody'}")
    except KaggleError as error:
        token = trouble(error)
        if error.kind not in ("auth", "network", "server", "limit"):  # else the question is not known there
            token = Finding("note", "token: Kaggle does not tell whose it is")
    yield of_clock(client.skew)
    yield token
    if token.level == "mend":
        return
    try:
        client.files(slug, most=1)
        yield Finding("ok", f"competition: {slug} is there")
        client.demand_rules(slug)
        yield Finding("ok", "rules: accepted")
        limits = client.limits(slug)
    except KaggleError as error:
        yield trouble(error)
        return
    if limits is None:
        yield Finding("note", "quota: Kaggle does not tell how many submissions are left")
        return
    used_up = quota_fault(limits, slug)
    told = used_up or f"{limits.left} of today's submissions left, {limits.used_today} used"
    yield Finding("note" if used_up else "ok", f"quota: {told}")


def trouble(error: "KaggleError") -> Finding:
    """What Kaggle said no to."""
    what = {"auth": "token", "rules": "rules", "denied": "competition", "missing": "competition"}
    return Finding("mend", f"{what.get(error.kind, 'Kaggle')}: {error}")


def of_clock(skew: float | None) -> Finding:
    """How far this machine's clock is from Kaggle's."""
    if skew is None:
        return Finding("note", "clock: Kaggle did not tell the time")
    if abs(skew) <= MOST_SKEW:
        return Finding("ok", "clock: agrees with Kaggle's")
    side = "ahead of" if skew > 0 else "behind"
    mend = "set it (on Linux type timedatectl set-ntp true), or signed downloads will be refused"
    return Finding("mend", f"clock: {abs(skew):.0f} s {side} Kaggle's; {mend}")
