"""stage=doctor: check Python, disk, weights, device, data and the Kaggle account; one line each, with the remedy.

Asks Kaggle only if there are credentials; changes and submits nothing.
"""

import logging
import os
import platform
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from kagglepipe.config import Config
from kagglepipe.errors import UserError
from kagglepipe.files import absolute
from kagglepipe.kaggle.account import SHORT_PATIENCE, connect, is_kaggle_notebook, notebook_data
from kagglepipe.kaggle.credentials import WHERE, find_credentials
from kagglepipe.kaggle.errors import KaggleError
from kagglepipe.kaggle.upload import why_none_left
from kagglepipe.options import CompetitionOptions, KaggleOptions, ModelOptions

if TYPE_CHECKING:
    from kagglepipe.kaggle.client import Limits

log = logging.getLogger(__name__)
ENOUGH_GB, GB = 10.0, 10**9  # of free disk for an image competition
MAX_SKEW = 60.0  # seconds; signed addresses and tokens are valid for minutes
AREAS = {"auth": "token", "rules": "rules", "denied": "competition", "missing": "competition"}  # of Kaggle's refusals


@dataclass(frozen=True)
class Finding:
    """level: `ok`, `note` (works, but know it) or `mend`. what: its line."""

    level: str
    what: str


def run(config: Config) -> None:
    """Log each finding as it is made. Raises UserError if something must be fixed."""
    bad = 0
    for finding in findings(config):
        log.info("%-4s  %s", finding.level, finding.what)
        bad += finding.level == "mend"
    if bad:
        raise UserError(f"doctor: {bad} {'thing' if bad == 1 else 'things'} to mend, marked above")
    log.info("doctor: nothing to mend")


def findings(config: Config) -> Iterator[Finding]:
    """All findings, quick ones first."""
    yield Finding("ok", f"Python {platform.python_version()}")
    yield check_disk(config.root)
    competition = config.competition
    for area, check in {
        "weights": partial(check_weights, config.model, competition),
        "device": partial(check_device, config.device),
    }.items():
        try:
            yield check()
        except UserError as error:
            yield Finding("mend", f"{area}: {error}")
    yield check_data(config)
    yield from check_kaggle(competition, config.kaggle)


def check_disk(root: Path) -> Finding:
    """Free space and write permission of the root, or of its nearest existing parent."""
    place = next(folder for folder in (root, *root.parents) if folder.exists())
    free = shutil.disk_usage(place).free / GB
    if not os.access(place, os.W_OK):
        return Finding("mend", f"disk: {place} cannot be written; type paths.root=FOLDER with one that can")
    found = f"disk: {free:.1f} GB free under {root}"
    return Finding("ok", found) if free >= ENOUGH_GB else Finding("note", f"{found}: for more type paths.root=FOLDER")


def check_weights(model: ModelOptions, competition: CompetitionOptions) -> Finding:
    """Pretrained weights of the model. Raises UserError for missing ones."""
    if not competition.has_encoder:
        return Finding("ok", f"weights: {competition.noun} need none")
    from kagglepipe.models.weights import find_weights

    weights = find_weights(model.name, model.weights)
    if weights.kind == "hub":
        return Finding("note", f"weights: {model.name} will be downloaded from the hub when it is first trained")
    return Finding("ok", f"weights: {model.name} ({weights.kind})")


def check_device(name: str) -> Finding:
    """Device that networks run on. Raises UserError for a missing one."""
    try:
        import torch
    except (ImportError, OSError) as error:  # OSError: a library of its own is missing
        why = " ".join(str(error).split())
        return Finding("mend", f"torch: it cannot be imported ({why}); type pip install --force-reinstall torch")
    from kagglepipe.training.device import choose_device

    device = choose_device(name)
    processor = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{torch.get_num_threads()} threads"
    found = f"torch {torch.__version__} on {device} ({processor})"
    slow = f"{found}: heads take seconds, fine-tuning minutes; a GPU would be used if there were one"
    return Finding("note", slow) if device.type == "cpu" else Finding("ok", found)


def check_data(config: Config) -> Finding:
    """Source of the competition's files."""
    slug, source = config.competition.slug, config.competition.source
    if source:
        if absolute(source).exists():
            return Finding("ok", f"data: from {source}")
        return Finding("mend", f"data: competition.source={source} is not there; give a zip or a folder that is")
    if slug is None:
        return Finding("note", "data: no competition is named; give competition.source=PATH or competition.slug=NAME")
    folder = config.base_dir  # raises UserError for a competition without a name
    if (folder / "source.json").exists():
        return Finding("ok", f"data: {folder}")
    if (attached := notebook_data(config.kaggle, slug)) is not None:
        return Finding("ok", f"data: {attached}, attached to this notebook")
    if is_kaggle_notebook():
        return Finding("note", f"data: attach {slug} to this notebook with Add Input")
    return Finding(
        "note",
        f"data: nothing of {slug} is here yet; stage=download brings it with Kaggle's credentials, "
        "or type competition.source=PATH (without either a built-in sample stands in, where there is one)",
    )


def check_kaggle(competition: CompetitionOptions, options: KaggleOptions) -> Iterator[Finding]:
    """Credentials and, with them, Kaggle's answers about token, competition, rules and quota, to the first refusal."""
    area = "credentials"
    try:
        credentials = find_credentials()
        if credentials is None:
            yield Finding("note", f"credentials: none, so nothing is downloaded or submitted; {WHERE}")
            return
        if credentials.exposed:
            yield Finding("mend", f"credentials: others can read {credentials.place}; type chmod 600 on it")
        else:
            yield Finding("ok", f"credentials: {credentials.place}")
        area, client = "Kaggle", connect(options, max_patience=SHORT_PATIENCE)
        slug = None if competition.is_sample else competition.slug
        try:
            owner = f"valid, of {client.user() or 'somebody'}"
            token = Finding("ok", f"token: {owner}" + "; this is no competition of Kaggle's" * (slug is None))
        except KaggleError as error:
            if slug is None or error.kind in ("auth", "network", "server", "limit"):
                raise
            token = Finding("note", "token: Kaggle does not say whose it is")  # the server lacks the question
        finally:
            yield check_clock(client.transport.skew)
        yield token
        if slug is not None:  # in the order in which they fail
            client.files(slug, most=1)
            yield Finding("ok", f"competition: {slug} is there")
            client.check_rules(slug)
            yield Finding("ok", "rules: accepted")
            yield check_quota(client.limits(slug), slug)
    except UserError as error:
        kind = error.kind if isinstance(error, KaggleError) else ""
        yield Finding("mend", f"{AREAS.get(kind, area)}: {error}")


def check_quota(limits: "Limits | None", slug: str) -> Finding:
    """Submissions left today; None if unknown."""
    if limits is None:
        return Finding("note", "quota: Kaggle does not say how many submissions are left")
    if used_up := why_none_left(limits, slug):
        return Finding("note", f"quota: {used_up}")
    return Finding("ok", f"quota: {limits.left} of today's submissions left, {limits.used_today} used")


def check_clock(skew: float | None) -> Finding:
    """Difference in seconds between this machine's clock and Kaggle's; None if unknown."""
    if skew is None:
        return Finding("note", "clock: Kaggle did not send the time")
    if abs(skew) <= MAX_SKEW:
        return Finding("ok", "clock: agrees with Kaggle's")
    side = "ahead of" if skew > 0 else "behind"
    remedy = "set it (on Linux type timedatectl set-ntp true), or signed downloads will be refused"
    return Finding("mend", f"clock: {abs(skew):.0f} s {side} Kaggle's; {remedy}")
