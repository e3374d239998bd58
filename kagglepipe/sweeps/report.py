"""Table of trials (trials.csv) and importance of options."""

from pathlib import Path
from typing import Any

import optuna
import pandas as pd
from optuna.trial import FrozenTrial, TrialState

from kagglepipe.files import write_bytes
from kagglepipe.sweeps.space import format_params
from kagglepipe.sweeps.study import Plan, counted_trials

MIN_TRIALS = 8  # for a forest that is better than chance
STATES = {"COMPLETE": "complete", "PRUNED": "stopped", "FAIL": "failed"}


def trial_rows(study: optuna.Study, plan: Plan) -> list[dict[str, Any]]:
    """One row a trial: complete ones best first, then pruned, then failed."""
    objective, order = plan.objectives[0], list(STATES.values())

    def place(row: dict[str, Any]) -> tuple[int, float, int]:
        value = row[objective.label]
        return order.index(row["state"]), 0.0 if value is None else -objective.sign * value, row["trial"]

    return sorted((trial_row(trial, plan) for trial in counted_trials(study)), key=place)


def trial_row(trial: FrozenTrial, plan: Plan) -> dict[str, Any]:
    """State, objectives (None unless complete), number of folds, options, run, reason of a failure or pruning."""
    outcome = trial.user_attrs.get("outcome", {})
    is_complete = trial.state.name == "COMPLETE"
    return {
        "trial": trial.number,
        "state": STATES[trial.state.name],
        **{one.label: one.value(outcome) if is_complete else None for one in plan.objectives},
        "folds": len(outcome.get("folds", ())),
        **format_params(plan.space, trial.params),
        "run": outcome.get("run"),
        "why": outcome.get("error") or outcome.get("raced"),
    }


def write_table(path: Path, rows: list[dict[str, Any]]) -> None:
    """Write the rows as CSV; None becomes an empty cell."""
    write_bytes(path, pd.DataFrame(rows, dtype=object).to_csv(index=False, lineterminator="\n").encode())


def importances(study: optuna.Study) -> dict[str, float]:
    """Share of each option in the variance of the first objective (fANOVA), largest first; empty for too few trials.

    Hutter et al. 2014, "An efficient approach for assessing hyperparameter importance".
    """
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    if len(complete) < MIN_TRIALS or len({trial.values[0] for trial in complete}) < 2:
        return {}
    evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
    return optuna.importance.get_param_importances(study, evaluator=evaluator, target=lambda trial: trial.values[0])
