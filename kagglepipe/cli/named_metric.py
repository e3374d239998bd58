"""The metric of a command, named and checked before any work: the only place from which a file of a metric is run."""

import logging
from dataclasses import replace
from typing import Any

from kagglepipe.errors import UserError
from kagglepipe.predictions.metric_needs import check_metric, form_fault
from kagglepipe.predictions.metrics import find_metric
from kagglepipe.predictions.own_metric import name_metric
from kagglepipe.tools import plan

log = logging.getLogger(__name__)
SCORING = {"train", "ensemble", "drill"}  # stages and tools that score anew


def with_named_metric(config: Any) -> Any:
    """Name the metric as runs record it, in a copy of the configuration; load one of the user's own.

    config: composed of the command line and of YAML files of the package or the user. Raises UserError for a metric
    that is unknown, or fits neither the task nor the classes; warns, where nothing is scored by a sample submission, of
    one that the submission says too little for.
    """
    competition, stages = config.competition, set(plan(config))
    scores = bool(stages & SCORING)
    competition = replace(competition, metric=name_metric(competition.metric, is_needed=scores))
    if scores:
        find_metric(competition.metric)
    check_metric(competition, len(competition.classes) or None)
    if "submit" in stages and (fault := form_fault(competition)):
        if competition.sample_submission is not None and not competition.is_part:
            raise UserError(fault)
        log.warning("%s", fault)
    return replace(config, competition=competition)
