"""What decides a run's name stays the same, so that finished runs are found instead of being trained again."""

import json
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from kagglepipe.config import Config, option_fields
from kagglepipe.options import TrainingOptions, option
from tests.guards.names import KEPT, name_of_run, names_now

# part of the identity of every run that reads them: options of version 0.3.0, and `centred`, of audio runs, which no
# run of that version is
ALWAYS = {
    "model": "name weights kwargs image_size crop",
    "model.temporal": "cell differences shuffled hidden layers bidirectional dropout reduce pooling window",
    "sequences": "rate motion views steps lr batch_size weight_decay label_smoothing members window crop speed drop "
    "noise clip_frames centred",
    "training": "views regularisation epochs lr batch_size layer_decay frozen_below weight_decay warmup schedule clip "
    "label_smoothing patience teacher confidence",
}


@dataclass(frozen=True)
class NewTraining(TrainingOptions, group="training"):
    """The options of training, and one of a later version."""

    mixing: float = option(0.5, "Share of mixed images.", added="0.4.0")


@dataclass(frozen=True)
class NewConfig(Config):
    """The configuration of a later version."""

    training: NewTraining = option(NewTraining, "")


def test_configurations_keep_the_names_of_their_runs(tmp_path: Path) -> None:
    kept = json.loads(KEPT.read_text())
    assert len(kept) >= 40
    assert names_now(tmp_path) == kept, "if it is on purpose: python -m tests.guards.names --write"


def test_an_option_of_a_later_version_changes_names_only_by_another_value(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kagglepipe.config.Config", NewConfig)  # by which names of options are looked up
    mixed: list[str] = []

    def newer(config: Config) -> Config:
        usual = replace(config, training=NewTraining(**vars(config.training)))
        mixed.append(name_of_run(replace(usual, training=replace(usual.training, mixing=0.25))))
        return usual

    kept = json.loads(KEPT.read_text())
    assert names_now(tmp_path, newer) == kept
    assert not set(mixed) & set(kept.values())


def test_no_further_option_is_always_part_of_the_identity() -> None:
    """Else runs of older versions would get other names: give the new one `added=`, as in `options.option`."""
    found = {
        name
        for name, one in option_fields()
        if name.rpartition(".")[0] in ALWAYS and one.metadata["changes_results"] and not one.metadata["added"]
    }
    assert found == {f"{group}.{name}" for group, names in ALWAYS.items() for name in names.split()}
