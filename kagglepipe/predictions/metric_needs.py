"""Checks of a metric against the competition: its task, classes, and the form of its submission."""

from collections.abc import Mapping, Sequence

from kagglepipe.competitions.targets import parse_targets
from kagglepipe.errors import UserError
from kagglepipe.options import CompetitionOptions
from kagglepipe.predictions.metrics import class_fault, find_metric, other_metrics
from kagglepipe.predictions.own_metric import is_out_of_reach, try_own_metric
from kagglepipe.text import first_three, quoted_three

LABEL_FORMS = ("index", "name", "ranking", "tags")  # of which a grader learns no probability


def check_metric(competition: CompetitionOptions, classes: int | None) -> None:
    """Raises UserError for a metric that is unknown, or does not fit the competition's task, ranks or classes.

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
    least, ranks = metric.needs.ranks, competition.ranks
    if competition.form == "ranking" and least is not None and ranks < least:
        other = f"map_{ranks}" if name.startswith("map") else "top_3_accuracy" if ranks >= 3 else "accuracy"
        raise UserError(
            f"competition.metric={name} is of {least} ranked classes, and competition.ranks={ranks} submits "
            f"fewer: type competition.ranks={least}, or competition.metric={other}"
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
        some = first_three(f"{value:.10g} of {id}" for id, value in below)
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
    needs = find_metric(competition.metric).needs
    if needs.answers not in ("order", "probabilities") or (competition.form == "ranking" and needs.ranks is not None):
        return None
    is_tags, two = competition.task == "multilabel", len(competition.classes) == 2
    form = "probability" if two and not is_tags else "probabilities"
    either = "" if two or is_tags else " (of two classes also probability)"
    labels = {"multilabel": "f1_samples", "ordinal": "quadratic_weighted_kappa"}.get(competition.task, "accuracy")
    labels = f"map_{competition.ranks}" if competition.form == "ranking" else labels
    return (
        f"competition.metric={competition.metric} is of probabilities, and competition.form={competition.form} submits "
        f"only labels: type competition.form={form}{either}, or a metric of labels, as competition.metric={labels}"
    )
