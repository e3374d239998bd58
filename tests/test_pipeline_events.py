"""From a CSV of events of series to a submission of those in others."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from kagglepipe.files import read_json
from kagglepipe.tools.commands import run_command
from tests.composing import config_of
from tests.pipelines import the_run

RATE = 8
EVENTS = {False: [("pass", "18"), ("throw", "18")], True: [("pass", "12"), ("throw", "12")]}  # parts -> true ones


def make_source(root: Path, *, parts: bool) -> None:
    """Eight long series of 40 s, two of them to search: a bump of one of two channels at each event.

    parts: whether only 8 to 32 s are annotated, between `start` and `end`.
    """
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
    if parts:
        rows = [row for row in rows if 8.5 < row[1] < 31.5]
        rows += [(f"s{number}", *mark) for number in range(8) for mark in ((8.0, "start"), (32.0, "end"))]
    table = pd.DataFrame(rows, columns=["video_id", "time", "event"])
    is_test = table["video_id"].isin(["s6", "s7"])
    table[~is_test].to_csv(root / "train.csv", index=False)
    table[is_test].to_csv(root / "answers.csv", index=False)
    sample = pd.DataFrame({"video_id": ["s6", "s7"], "time": 0.0, "event": "pass", "score": 0.5})
    sample.to_csv(root / "sample_submission.csv", index=False)


@pytest.mark.usefixtures("few_draws")
@pytest.mark.parametrize("parts", [False, True])
def test_events_are_found_scored_and_submitted(tmp_path: Path, *, parts: bool) -> None:
    make_source(tmp_path / "source", parts=parts)
    config = config_of(
        "competition=video_folder_untrimmed", "competition.kind=series", "competition.form=events", "model=mean_pool",
        f"competition.source='{tmp_path / 'source'}'", "competition.slug=ball", f"paths.root='{tmp_path}'",
        "competition.labels=train.csv", "competition.files=null", "competition.test=test", "competition.id=stem",
        "+competition.columns={item: video_id, label: event}", "competition.answers=answers.csv", "folds.count=2",
        "competition.sample_submission=sample_submission.csv", f"sequences.rate={RATE}", "device=cpu",
        "model.temporal.window=3", *(["competition.bounds=[start,end]"] if parts else []),
    )  # fmt: skip
    run_command(config)
    run = the_run(config)
    times = pd.read_parquet(run / "oof.parquet")["id"].str.split("@").str[1].astype(float)
    assert (times.min(), times.max()) == ((8.0, 31.875) if parts else (0.0, 39.875))
    detection = read_json(run / "metrics.json")["detection"]
    assert detection["chosen_by"] == "event_ap within 0.3, 0.4, 0.5, 0.6, 0.7"
    assert detection["scores"]["event_ap"] > 0.8
    assert detection["test"]["event_ap"] > 0.8
    page = (run / "report.html").read_text("utf-8")
    assert re.findall(r"<th scope=.row.>(pass|throw)</th><td>(\d+)</td>", page)[-2:] == EVENTS[parts]
    assert page.count(": true events above found ones and probabilities</title>") == 6  # a timeline a series
    submission = pd.read_csv(tmp_path / f"submissions/{run.name}.csv")
    assert list(submission.columns) == ["video_id", "time", "event", "score"]
    assert set(submission["video_id"]) == {"s6", "s7"}
    assert set(submission["event"]) == {"pass", "throw"}
    assert submission["score"].between(0, 1).all()
