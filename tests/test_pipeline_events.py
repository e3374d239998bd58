"""From a CSV of events of series to a submission of those in others."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from kagglepipe.files import read_json
from kagglepipe.tools.commands import run_command
from tests.composing import config_of
from tests.pipelines import the_run

RATE = 8


def make_source(root: Path) -> None:
    """Eight long series of 40 s, two of them to search: a bump of one of two channels at each event."""
    rows: list[tuple[str, float, str]] = []
    for number in range(8):
        rng, name = np.random.default_rng(number), f"s{number}"
        times, values = np.arange(40 * RATE) / RATE, rng.normal(0, 0.1, (40 * RATE, 2))
        for place, at in enumerate(np.arange(3, 38, 6) + rng.uniform(0, 3, 6)):
            values[:, place % 2] += np.exp(-(((times - at) / 0.4) ** 2))
            rows.append((name, round(float(at), 3), ["pass", "throw"][place % 2]))
        path = root / ("train" if number < 6 else "test") / f"{name}.npz"
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez(path, values=values, time=times)
    table = pd.DataFrame(rows, columns=["video_id", "time", "event"])
    is_test = table["video_id"].isin(["s6", "s7"])
    table[~is_test].to_csv(root / "train.csv", index=False)
    table[is_test].to_csv(root / "answers.csv", index=False)
    sample = pd.DataFrame({"video_id": ["s6", "s7"], "time": 0.0, "event": "pass", "score": 0.5})
    sample.to_csv(root / "sample_submission.csv", index=False)


@pytest.mark.usefixtures("few_draws")
def test_events_are_found_scored_and_submitted(tmp_path: Path) -> None:
    make_source(tmp_path / "source")
    config = config_of(
        "competition=video_folder_untrimmed", "competition.kind=series", "competition.form=events", "model=mean_pool",
        f"competition.source='{tmp_path / 'source'}'", "competition.slug=ball", f"paths.root='{tmp_path}'",
        "competition.labels=train.csv", "competition.files=null", "competition.test=test", "competition.id=stem",
        "+competition.columns={item: video_id, label: event}", "competition.answers=answers.csv", "folds.count=2",
        "competition.sample_submission=sample_submission.csv", f"sequences.rate={RATE}", "device=cpu",
        "model.temporal.window=3",
    )  # fmt: skip
    run_command(config)
    run = the_run(config)
    detection = read_json(run / "metrics.json")["detection"]
    assert detection["chosen_by"] == "event_ap within 0.3, 0.4, 0.5, 0.6, 0.7"
    assert detection["scores"]["event_ap"] > 0.8
    assert detection["test"]["event_ap"] > 0.8
    submission = pd.read_csv(tmp_path / f"submissions/{run.name}.csv")
    assert list(submission.columns) == ["video_id", "time", "event", "score"]
    assert set(submission["video_id"]) == {"s6", "s7"}
    assert set(submission["event"]) == {"pass", "throw"}
    assert submission["score"].between(0, 1).all()
