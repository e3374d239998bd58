"""What a sweep leaves beside its study: rows for a table and a CSV, and what each option was worth."""

import csv
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kagglepipe.files import write_bytes
from kagglepipe.sweeps.space import typed
from kagglepipe.sweeps.study import Plan, ended

if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial

FEWEST = 8  # trials, of which a forest tells more than chance
STATES = {"COMPLETE": "complete", "PRUNED": "stopped", "FAIL": "failed"}


def rows(study: "optuna.Study", plan: Plan) -> list[dict[str, Any]]:
    """A row for each trial that counts: the best first, then those that were stopped, then those that failed."""
    found = [row_of(trial, plan) for trial in ended(study)]
    goal = plan.goals[0]

    def place(row: dict[str, Any]) -> tuple[int, float, int]:
        value = row[goal.label]
        return list(STATES.values()).index(row["state"]), 0.0 if value is None else -goal.sign * value, row["trial"]

    return sorted(found, key=place)


def row_of(trial: "FrozenTrial", plan: Plan) -> dict[str, Any]:
    """What is told of a trial: its values where it is complete, how far it came, its options, its error."""
    outcome = trial.user_attrs.get("outcome", {})
    is_complete = trial.state.name == "COMPLETE"
    return {
        "trial": trial.number,
        "state": STATES[trial.state.name],
        **{goal.label: goal.of(outcome) if is_complete else None for goal in plan.goals},
        "folds": len(outcome.get("folds", ())),
        **typed(plan.space, trial.params),
        "run": outcome.get("run"),
        "why": outcome.get("error") or outcome.get("raced"),
    }


def write_table(path: Path, table: list[dict[str, Any]]) -> None:
    """Writes the rows as CSV; what is None is empty."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(table[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(table)
    write_bytes(path, text.getvalue().encode())


def importance(study: "optuna.Study") -> dict[str, float]:
    """option -> its share of what made trials differ in the first goal, largest first; empty where none can be told.

    Hutter et al. 2014, "An efficient approach for assessing hyperparameter importance".
    """
    import optuna
    from optuna.trial import TrialState

    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    if len(complete) < FEWEST or len({trial.values[0] for trial in complete}) < 2:
        return {}
    evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
    return optuna.importance.get_param_importances(study, evaluator=evaluator, target=lambda trial: trial.values[0])
