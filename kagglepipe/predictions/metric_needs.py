"""Checks of a metric against the competition: its task, classes, and the form of its submission."""

import math

from kagglepipe.errors import UserError
from kagglepipe.options import CompetitionOptions
from kagglepipe.predictions.metrics import METRICS, find_metric
from kagglepipe.predictions.own_metric import is_out_of_reach, try_own_metric

LABEL_FORMS = ("index", "name")  # of which a grader learns only the most probable class


def check_metric(competition: CompetitionOptions, classes: int | None) -> None:
    """Raises UserError for a metric that is unknown, or does not fit the competition's task or its classes.

    One of the user's own is tried on random probabilities. classes: how many there are; None while that is not known.
    """
    name = competition.metric
    if is_out_of_reach(name):
        return
    metric = find_metric(name)
    if metric.needs.task != competition.task:
        raise UserError(
            f"competition.metric={name} is for competition.task={metric.needs.task}, not {competition.task}: "
            f"{_others(competition.task)}"
        )
    if classes is not None:
        if fault := class_fault(name, classes):
            raise UserError(fault)
        try_own_metric(name, classes)


def class_fault(name: str, classes: int) -> str | None:
    """Why a metric does not fit this many classes, with what to type; None if it does.

    >>> class_fault("f1_binary", 3)
    'competition.metric=f1_binary needs 2 classes, there are 3: type competition.metric=f1_micro or f1_macro'
    """
    least, largest = find_metric(name).needs.classes
    if least <= classes <= largest:
        return None
    needed = f"{least}" if least == largest else f"{least} or more" if math.isinf(largest) else f"{least} to {largest}"
    others = _others("multiclass", classes, name)
    return f"competition.metric={name} needs {needed} classes, there are {classes}: {others}"


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


def fitting_metrics(task: str = "multiclass", classes: int | None = None) -> list[str]:
    """Names in METRICS of the metrics of a task; classes: how many there are, None for any number.

    >>> sorted(set(fitting_metrics()) - set(fitting_metrics(classes=4)))
    ['f1_binary', 'top_5_accuracy']
    """
    needs = {name: metric.needs for name, metric in METRICS.items() if metric.needs.task == task}
    return [name for name, one in needs.items() if classes is None or one.classes[0] <= classes <= one.classes[1]]


def _others(task: str, classes: int | None = None, name: str = "") -> str:
    """What to type instead: metrics that fit, those of the same family if there are any."""
    fitting = fitting_metrics(task, classes)
    near = [one for one in fitting if one.startswith(f"{name.partition('_')[0]}_")]
    return f"type competition.metric={' or '.join(near or fitting[:3])}"
