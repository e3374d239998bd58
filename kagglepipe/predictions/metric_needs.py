"""Checks of a metric against the competition: its task, classes, and the form of its submission."""

from collections.abc import Mapping, Sequence

from kagglepipe.competitions.targets import parse_targets
from kagglepipe.errors import UserError
from kagglepipe.options import CompetitionOptions
from kagglepipe.predictions.metrics import class_fault, find_metric, other_metrics
from kagglepipe.predictions.own_metric import is_out_of_reach, try_own_metric
from kagglepipe.text import first_three, quoted_three

LABEL_FORMS = ("index", "name")  # of which a grader learns only the most probable class


def check_metric(competition: CompetitionOptions, classes: int | None) -> None:
    """Raises UserError for a metric that is unknown, or does not fit the competition's task or its classes.

    One of the user's own is tried on random probabilities. classes: how many there are; None while that is not known.
    """
    name = competition.metric
    if is_out_of_reach(name):
        return
    metric = find_metric(name)
    if competition.task not in metric.needs.tasks:
        raise UserError(
            f"competition.metric={name} is for competition.task={' or '.join(metric.needs.tasks)}, not "
            f"{competition.task}: {other_metrics(competition.task)}"
        )
    if classes is not None:
        if fault := class_fault(name, classes, competition.task):
            raise UserError(fault)
        try_own_metric(name, classes, competition.task)


def check_numbers(competition: CompetitionOptions, targets: Mapping[str, str], classes: Sequence[str]) -> None:
    """Raises UserError for numbers to learn that the metric is not defined for. targets: id -> its numbers."""
    name = competition.metric
    if competition.task != "regression" or is_out_of_reach(name):
        return
    least = find_metric(name).needs.least
    values = parse_targets(targets.values(), classes, competition.task)
    if below := [(id, value) for id, value in zip(targets, values.min(axis=1), strict=True) if value < least]:
        some = first_three(f"{value:g} of {id}" for id, value in below)
        raise UserError(
            f"competition.metric={name} is of numbers from {least:g}, and there are {some}: mend them, or type "
            "competition.metric=rmse or mae"
        )
    if name == "kl_divergence" and (empty := [id for id, row in zip(targets, values, strict=True) if not row.any()]):
        raise UserError(
            f"competition.metric={name} is of shares, and all numbers of {quoted_three(empty)} are 0: leave such rows "
            "out, or type competition.metric=rmse or mae"
        )


def form_fault(competition: CompetitionOptions) -> str | None:
    """Why the metric does not fit what is submitted, with what to type; None if it does."""
    if competition.form not in LABEL_FORMS or is_out_of_reach(competition.metric):
        return None
    metric = find_metric(competition.metric)
    if metric.needs.answers not in ("order", "probabilities"):
        return None
    two = len(competition.classes) == 2
    form = "probability" if two else "probabilities"
    either = "" if two else " (of two classes also probability)"
    return (
        f"competition.metric={competition.metric} is of probabilities, and competition.form={competition.form} submits "
        f"only labels: type competition.form={form}{either}, or a metric of labels, as competition.metric=accuracy"
    )
