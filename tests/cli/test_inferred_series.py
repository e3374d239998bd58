"""competition=auto on series and sounds: the fields and the rate that it finds."""

import wave
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from kagglepipe.cli.inferred_competition import inferred_arguments
from kagglepipe.competitions.inferred_file import InferredFile
from kagglepipe.config import CONF
from kagglepipe.files import read_json

Command = Callable[..., Any]


def inferred(source: Path, root: Path, *words: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """(fields, settings) of the competition in a folder."""
    arguments = ["competition=auto", f"competition.source={source}", f"paths.root={root}", *words]
    typed = inferred_arguments(arguments)
    found = InferredFile.read(root / "data" / source.name)
    assert found is not None
    is_heard = found.fields.get("kind") == "audio" or "competition.kind=audio" in words
    model = "model=lstm" if is_heard or found.fields.get("form") in ("segments", "events") else "model=auto"
    assert (model in typed) is not any(word.startswith("model=") for word in words)
    return found.fields, {name: value for name, value in found.settings.items() if any(name in one for one in typed)}


def table_of_series(folder: Path, split: str, names: range) -> None:
    rows = [
        {"row_id": f"{name}_{n}", "series_id": name, "measurement_number": n, "x": name + n / 10, "y": n % 3}
        for name in names
        for n in range(16)
    ]
    pd.DataFrame(rows).to_csv(folder / f"X_{split}.csv", index=False)


def test_one_table_of_all_series(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    table_of_series(source, "train", range(20))
    table_of_series(source, "test", range(6))  # the same names
    labels = pd.DataFrame({"series_id": range(19), "group_id": [n // 2 for n in range(19)]})  # one has none
    labels["surface"] = ["wood" if n % 4 < 2 else "stone" for n in range(19)]
    labels.to_csv(source / "y_train.csv", index=False)
    pd.DataFrame({"series_id": range(6), "surface": "wood"}).to_csv(source / "sample_submission.csv", index=False)
    fields, settings = inferred(source, tmp_path)
    assert (fields["kind"], fields["items"], fields["test"]) == ("series", "X_train.csv", "X_test.csv")
    assert fields["columns"] == {
        "item": "series_id", "label": "surface", "group": "group_id", "time": "measurement_number"
    }  # fmt: skip
    assert (fields["unit"], settings) == ("samples", {"sequences.rate": 1.0})
    assert inferred(source, tmp_path, "sequences.rate=4", "model=mean_pool")[1] == {}


@pytest.mark.parametrize("form", ["npy", "csv"])
def test_a_file_a_series(tmp_path: Path, form: str) -> None:
    source, rng = tmp_path / "source", np.random.default_rng(0)
    names = [f"{n:04x}" for n in rng.permutation(60_000)[:32]]
    for number, name in enumerate(names):
        folder = source / ("train" if number < 24 else "test")
        folder = folder / name[0] / name[1] if form == "npy" else folder
        folder.mkdir(parents=True, exist_ok=True)
        values = rng.normal(size=(2, 100))
        if form == "npy":
            np.save(folder / f"{name}.npy", values)
        else:
            pd.DataFrame(values.T, columns=["a", "b"]).to_csv(folder / f"{name}.csv", index=False)
    table = "training_labels.csv" if form == "npy" else "train.csv"
    pd.DataFrame({"id": names[:24], "target": [0, 1] * 12}).to_csv(source / table, index=False)
    pd.DataFrame({"id": names[24:], "target": 0.5}).to_csv(source / "sample_submission.csv", index=False)
    fields, settings = inferred(source, tmp_path)
    wanted = {"kind": "series", "labels": table, "columns": {"item": "id", "label": "target"}, "test": "test",
              "id": "stem", "form": "probability", "classes": ["0", "1"]}  # fmt: skip
    assert {name: fields[name] for name in wanted} == wanted
    assert settings == {"sequences.rate": 1.0}


def write_noise(path: Path, seconds: float) -> None:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        noise = np.random.default_rng(len(path.name)).integers(-9000, 9000, round(8000 * seconds))
        file.writeframes(noise.astype("<i2").tobytes())


@pytest.mark.parametrize(("seconds", "settings"), [(0.4, {}), (10.24, {"sequences.rate": 50.0})])
def test_sounds_as_the_yaml_of_spoken_digits_has_them(
    tmp_path: Path, seconds: float, settings: dict[str, float]
) -> None:
    source = tmp_path / "spoken"
    for split, count in (("train", 40), ("test", 4)):
        (source / split).mkdir(parents=True)
        for number in range(count):
            write_noise(source / split / f"{split}_{number}.wav", seconds)
    train = pd.DataFrame({"audio": [f"train_{n}.wav" for n in range(40)], "label": [n % 3 for n in range(40)]})
    train.assign(speaker=[f"s{n // 8}" for n in range(40)]).to_csv(source / "train.csv", index=False)
    sample = pd.DataFrame({"audio": [f"test_{n}.wav" for n in range(4)], "label": 0})
    sample.to_csv(source / "sample_submission.csv", index=False)
    fields, found = inferred(source, tmp_path)
    written = yaml.safe_load((CONF / "competition" / "spoken_digits.yaml").read_text())["competition"]
    about = {"slug", "title", "origin", "shares"}  # which no table says
    assert fields == {name: value for name, value in written.items() if name not in about}
    assert found == settings


def test_events_by_step_in_parquet_become_a_numbered_submission(tmp_path: Path, command: Command) -> None:
    source, rng = tmp_path / "sleep", np.random.default_rng(0)
    source.mkdir()
    series: dict[str, list[pd.DataFrame]] = {"train": [], "test": []}
    events = []
    for number in range(8):
        name, steps = f"{number}f", np.arange(240)
        nights = [(place, place + 20) for place in range(20 + number, 200, 60)]
        asleep = np.any([(first <= steps) & (steps < last) for first, last in nights], axis=0)
        values = {"series_id": name, "step": steps, "when": "2018", "enmo": asleep + rng.normal(0, 0.05, len(steps))}
        series["train" if number < 6 else "test"].append(pd.DataFrame(values))
        events += [
            (name, event, step)
            for pair in nights if number < 6 for event, step in zip(("onset", "wakeup"), pair, strict=True)
        ]  # fmt: skip
    for split, parts in series.items():
        pd.concat(parts).to_parquet(source / f"{split}_series.parquet")
    pd.DataFrame(events, columns=["series_id", "event", "step"]).to_csv(source / "train_events.csv", index=False)
    header = ["row_id", "series_id", "step", "event", "score"]
    pd.DataFrame([(0, "6f", 0, "onset", 0)], columns=header).to_csv(source / "sample_submission.csv", index=False)
    described = command("describe", "competition=auto", f"competition.source={source}", "describe.file=own.yaml")
    assert described.code == 0, described.err
    assert yaml.safe_load((tmp_path / "own.yaml").read_text())["model"] == {"temporal": {"bidirectional": True}}
    done = command(
        "competition=own.yaml", "folds.count=2", "sequences.members=1", "sequences.steps=200", "device=cpu",
        "sequences.lr=1e-2", "model.temporal.hidden=16", "report.write=false",
    )  # fmt: skip
    assert done.code == 0, done.err
    written = pd.read_csv(next((tmp_path / "submissions").glob("*.csv")))
    assert written.columns.tolist() == header
    assert written["row_id"].tolist() == list(range(len(written)))
    assert set(written["series_id"].astype(str)) == {"6f", "7f"}
    metrics = read_json(next(tmp_path.glob("outputs/sleep/*/metrics.json")))
    assert metrics["detection"]["scores"]["event_ap"] > 0.8
