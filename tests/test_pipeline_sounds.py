"""The whole pipeline for sounds, on drawn voices: each less its own mean and less that of its speaker."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from kagglepipe.models.temporal import TemporalModel
from kagglepipe.runs.configured import make_learner, read_data, run_of
from kagglepipe.runs.predict_test import Inference, predict_again
from kagglepipe.samples.voices import draw_voice, speak, write_wav
from kagglepipe.sequences.dataset import Example
from kagglepipe.tools.commands import run_command
from kagglepipe.training.checkpoint import load_temporal, read_checkpoints
from kagglepipe.training.temporal import temporal_probabilities
from tests.composing import config_of

DIGITS, SPEAKERS = (0, 1, 6), "abc"


@pytest.fixture
def typed(tmp_path: Path) -> tuple[str, ...]:
    """What to type for three digits, twice by each of three speakers; a fourth is the test."""
    source, rows = tmp_path / "source", []
    for number, speaker in enumerate([*SPEAKERS, "d"]):
        split, voice = "test" if speaker == "d" else "train", draw_voice(np.random.default_rng(number))
        (source / split).mkdir(parents=True, exist_ok=True)
        for take, digit in np.ndindex(2, len(DIGITS)):
            name = f"{speaker}{digit}{take}.wav"
            sound = speak(DIGITS[digit], voice, np.random.default_rng([number, take, digit]))
            write_wav(source / split / name, sound)
            rows.append((name, DIGITS[digit], speaker))
    table = pd.DataFrame(rows, columns=["audio", "label", "speaker"])
    is_test = table["speaker"] == "d"
    table[~is_test].to_csv(source / "train.csv", index=False)
    table.loc[is_test, ["audio"]].assign(label=0).to_csv(source / "sample_submission.csv", index=False)
    return (
        "competition=spoken_digits", f"competition.source={source}", f"paths.root={tmp_path}", "device=cpu",
        "sequences.steps=8", "sequences.views=1", "model.temporal.hidden=8", "model.temporal.bands=4",
    )  # fmt: skip


def test_from_sounds_to_a_submission(typed: tuple[str, ...], tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    config = config_of(*typed)
    run_command(config)
    run, learner = run_of(config, read_data(config)), make_learner(config, read_data(config))
    oof, test = (pd.read_parquet(run.folder / f"{name}.parquet") for name in ("oof", "test"))
    assert sorted(oof["fold"].unique()) == [0, 1, 2]
    answers = pd.read_csv(tmp_path / "submissions" / f"{run.name}.csv")
    assert list(answers["audio"]) == [f"d{digit}{take}.wav" for take, digit in np.ndindex(2, 3)]
    assert set(answers["label"]) <= set(DIGITS)

    _, scale = learner.scale(config.model.temporal)  # of a linear model: of both views, for means of the first are 0
    assert scale[:32].max() < 1000
    assert scale[-1] == 0  # a band above half of the sampling rate: 1e6 times its rounding error before

    checkpoints = read_checkpoints(run.folder / f"fold_{fold}" for fold in range(3))
    models = [model for checkpoint in checkpoints for model in load_temporal(checkpoint)]
    own, of_group = (probabilities(models, learner.features(view), list(test["id"])) for view in (0, 1))
    assert np.abs(own - of_group).max() > 1e-4
    np.testing.assert_allclose(test[["0", "1", "6"]].to_numpy(), (own + of_group) / 2, atol=1e-5)

    inference = Inference("cpu", "auto", None, 1, lambda *_: None)
    again = predict_again(config.competition, read_data(config), run, inference)
    np.testing.assert_allclose(again[["0", "1", "6"]], test[["0", "1", "6"]], atol=1e-5)

    caplog.set_level("INFO")
    run_command(config_of(*typed, "stage=predict", f"input={tmp_path / 'source' / 'test'}", f"run={run.name}"))
    assert "predict: each sound is less its own mean" in caplog.text
    found = pd.read_csv(tmp_path / "outputs" / "spoken-digits" / "predict" / "test.csv")
    np.testing.assert_allclose(found[["0", "1", "6"]], own, atol=1e-4)


def probabilities(models: list[TemporalModel], features: dict[str, np.ndarray], names: list[str]) -> np.ndarray:
    """Mean probabilities of the models for sounds (N, C)."""
    asked = [Example(name, features[name], np.array(0)) for name in names]
    return np.stack(temporal_probabilities(models, asked))
