"""What each way of blending is worth, and pseudo-labels: on one competition with members of several kinds.

    python benchmarks/methods.py pistols_vs_smartphones ARCHIVE.zip --per-class 25 [--seeds 0 1 2 3 4] [--root FOLDER]
    python benchmarks/methods.py surveillance_fights FOLDER [--epochs 1] [--heads-only] [--more sequences.motion=false]

Members: for images heads on the three bundled networks, for video the mean over time on each of them and an LSTM on
the first; and one fine-tuned network, but for --heads-only. All methods blend the same members, cross-fitted. Then the
best member by its own out-of-fold score, of those that only fit a head, teaches another run of its kind. With
--per-class the labels that are left out grade every row of the table; each seed draws others, and the table tells the
mean over them.
Prints Markdown.
"""

import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from composed import composed
from measure import make_parser

from kagglepipe.files import read_json
from kagglepipe.runs.configured import ensemble_run, find_members, read_data, run_of
from kagglepipe.tools.commands import run_command

NETWORKS = ("tf_efficientnet_lite0", "tf_efficientnet_lite1", "tf_efficientnet_lite2")
METHODS = ("auto", "mean", "geometric_mean", "hill_climb", "nnls", "logistic")
ON_TOP = ("ensemble.calibrate=auto", "ensemble.threshold=auto")


def member_options(kind: str, epochs: int) -> dict[str, list[str]]:
    """name -> what to type for each member."""
    if kind == "image":
        members = {f"head, {name[-5:]}": [f"model.name={name}", "training=head"] for name in NETWORKS}
        return {**members, "fine-tuned, lite0": [f"model.name={NETWORKS[0]}", "training=finetune"]}
    members = {f"mean, {name[-5:]}": ["model=mean_pool_diff", f"model.name={name}"] for name in NETWORKS}
    tuned = ["training=finetune", "sequences.motion=false", f"training.epochs={epochs}"]
    return {**members, "LSTM, lite0": ["model=cnn_lstm"], "fine-tuned LSTM, lite0": tuned}


def numbers(metrics: dict[str, Any]) -> dict[str, float]:
    """What a row of the table needs of a run; NaN where the test's answers are not known."""
    test = metrics.get("test", {})
    return {
        "score": metrics["score"],
        "log_loss": metrics["log_loss"],
        "test": test.get("score", np.nan),
        "test_log_loss": test.get("log_loss", np.nan),
    }


def one_draw(common: list[str], members: dict[str, list[str]]) -> dict[str, dict[str, float]]:
    """Row of the table -> its numbers, for one draw of the labels."""
    rows, names, best = {}, {}, {}
    for name, options in members.items():
        config = composed(*common, *options, "stage=train")
        run_command(config)
        run = run_of(config, read_data(config)).folder
        metrics = read_json(run / "metrics.json")
        rows[name], names[name] = numbers(metrics), run.name
        best[name] = (-metrics["score"], metrics["log_loss"])
    teacher = min((name for name in best if "tuned" not in name), key=lambda name: best[name])
    runs = f"ensemble.runs=[{','.join(names.values())}]"
    for method, more in [*((method, ()) for method in METHODS), ("mean", ON_TOP)]:
        rows[f"{method}{', calibrated, threshold' if more else ''}"] = blended(common, runs, method, more)
    config = composed(*common, *members[teacher], "stage=train", f"training.teacher={names[teacher]}")
    run_command(config)
    metrics = read_json(run_of(config, read_data(config)).folder / "metrics.json")
    found = metrics["over_teacher"]
    rows["best member, as teacher"] = rows[teacher]
    rows["pseudo-labels of it"] = {
        **numbers(metrics), "gain": found["gain"], "beyond": found["interval"][0] > 0, "taken": found["is_kept"]
    }  # fmt: skip
    return rows


def blended(common: list[str], runs: str, method: str, more: Iterable[str]) -> dict[str, float]:
    """The numbers of one blend; its gain is over equal weights."""
    config = composed(*common, "stage=ensemble", runs, f"ensemble.method={method}", *more)
    run_command(config)
    prepared = read_data(config)
    metrics = read_json(ensemble_run(config, prepared, find_members(config, prepared)).folder / "metrics.json")
    row: dict[str, Any] = numbers(metrics)
    counting = sum(weight > 0 for weight in metrics["weights"])
    print(method, *more, "took", metrics["method"], "of", counting, "members", metrics["maps"], flush=True)
    rows = [one for one in metrics["comparison"] if one["method"].startswith(method)]
    if rows and method != "mean":
        gain = rows[-1]["over_equal_weights"]["log_loss"]
        row |= {"gain": gain["gain"], "beyond": gain["interval"][0] > 0}
    return {**row, "taken": metrics["method"] != "mean" or bool(metrics["maps"])}


def show(draws: list[dict[str, dict[str, float]]]) -> None:
    """The table, each number the mean over the draws."""
    print("| | accuracy out of fold | log loss | gain in log loss | beyond 0 in | accuracy on the rest | log loss |")
    print("|---|---|---|---|---|---|---|")
    for name in draws[0]:
        rows = [draw[name] for draw in draws]
        cells = {key: float(np.mean([row.get(key, np.nan) for row in rows])) for key in (*rows[0], "gain")}
        beyond = f"{sum(row.get('beyond', False) for row in rows)} of {len(rows)}" if "beyond" in rows[0] else ""
        cells_shown = [f"{cells[key]:.4f}" if np.isfinite(cells[key]) else "" for key in ("score", "log_loss")]
        cells_shown += [f"{cells['gain']:+.4f}" if np.isfinite(cells["gain"]) else "", beyond]
        cells_shown += [f"{cells[key]:.4f}" if np.isfinite(cells[key]) else "" for key in ("test", "test_log_loss")]
        print(f"| {name} | {' | '.join(cells_shown)} |")
    for name in draws[0]:
        if "taken" in draws[0][name]:
            print(f"{name}: taken in {sum(bool(draw[name]['taken']) for draw in draws)} of {len(draws)}")


def main() -> None:
    """Prints the table."""
    parser = make_parser(__doc__)
    parser.add_argument("competition")
    parser.add_argument("source", type=Path)
    parser.add_argument("--per-class", type=int)
    parser.add_argument("--seeds", type=int, nargs="*", default=[0])
    parser.add_argument("--epochs", type=int, default=1, help="of fine-tuning video")
    parser.add_argument("--heads-only", action="store_true", help="no fine-tuned member")
    parser.add_argument("--more", nargs="*", default=[], help="further options, as they are typed")
    parser.add_argument("--root", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        common = [
            f"competition={given.competition}", f"competition.source='{given.source.resolve()}'",
            f"paths.root='{(given.root or Path(temporary)).resolve()}'",
        ]  # fmt: skip
        if given.per_class:
            common.append(f"competition.per_class={given.per_class}")
        common += given.more
        members = member_options(composed(*common).competition.kind, given.epochs)
        if given.heads_only:
            members = {name: options for name, options in members.items() if "tuned" not in name}
        draws = []
        for seed in given.seeds:
            draws.append(one_draw([*common, f"seed={seed}"], members))
            show(draws[-1:])
        show(draws)


if __name__ == "__main__":
    main()
