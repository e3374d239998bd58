"""A submission made again: the same bytes or a list of differences; no file is lost."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from omegaconf import OmegaConf

from kagglepipe.config import Config
from kagglepipe.errors import UserError
from kagglepipe.files import read_json, write_json
from kagglepipe.options import AugmentationOptions, CompetitionOptions, EnsembleOptions, ModelOptions, PathsOptions
from kagglepipe.runs import identity
from kagglepipe.runs.provenance import config_of, decisive
from kagglepipe.stages.train import COST
from kagglepipe.tools import reproduce
from kagglepipe.tools.commands import run_command
from kagglepipe.training.device import describe_machine
from tests.colours import colours_config

pytestmark = pytest.mark.usefixtures("few_draws")
Again = Callable[..., list[str]]


@pytest.fixture(scope="module")
def submitted(colours: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root with two runs, and the submissions of one of them and of their mean; nothing writes into it."""
    root = tmp_path_factory.mktemp("submitted")
    run_command(colours_config(root, colours, stage="submit"))
    run_command(colours_config(root, colours, stage="train", seed=1))
    names = sorted(path.parent.name for path in root.glob("outputs/colours/*/metrics.json"))
    run_command(colours_config(root, colours, stage="submit", ensemble=EnsembleOptions(names)))
    return root


@pytest.fixture
def root(submitted: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return Path(shutil.copytree(submitted, tmp_path / "root"))


@pytest.fixture
def again(root: Path, caplog: pytest.LogCaptureFixture) -> Again:
    """again(CSV) -> the log lines of stage=reproduce."""

    def run(csv: Path) -> list[str]:
        caplog.clear()
        with caplog.at_level("INFO"):
            run_command(reproducing(root, csv))
        return [record.getMessage() for record in caplog.records if record.name == "kagglepipe.tools.reproduce"]

    return run


def csv_of(root: Path, kind: str = "head") -> Path:
    (found,) = root.glob(f"submissions/*{kind}*.csv")
    return found


def files_of(root: Path) -> dict[Path, bytes]:
    """Contents of all files but runs made again, and locks."""
    kept = [path for path in root.rglob("*") if path.is_file() and not path.name.endswith(".lock")]
    return {path: path.read_bytes() for path in kept if "reproduced" not in path.parts}


def change(file: Path, **values: Any) -> None:
    write_json(file, {**read_json(file), **values})


def change_facts(root: Path, kind: str = "head", **facts: Any) -> Path:
    """Changes what a provenance says of its run; returns its file."""
    file = csv_of(root, kind).with_suffix(".json")
    runs = read_json(file)["runs"]
    change(file, runs={**runs, file.stem: {**runs[file.stem], **facts}})
    return file


def reproducing(root: Path, file: Path) -> Config:
    return Config(stage="reproduce", submission=str(file), paths=PathsOptions(str(root)))


# --- the same bytes -----------------------------------------------------------------------------------------------


def test_a_submission_is_made_again_and_what_was_there_stays(root: Path, again: Again) -> None:
    before, csv = files_of(root), csv_of(root)
    last = again(csv)[-1]
    origin = json.loads(csv.with_suffix(".json").read_text())
    assert last.startswith(f"reproduce: {csv.name} is the same byte for byte: 6 rows, SHA-256 {origin['csv_sha256']}; ")
    assert last.endswith("so are its probabilities")
    assert files_of(root) == before
    (made,) = root.glob("outputs/reproduced/*/colours/*/test.parquet")
    assert made.read_bytes() == (root / "outputs/colours" / origin["run"] / "test.parquet").read_bytes()
    assert again(csv)[-1] == last


def test_missing_files_are_restored(root: Path, again: Again) -> None:
    csv = csv_of(root)
    run, bytes_before = root / "outputs/colours" / csv.stem, csv.read_bytes()
    networks = {path.relative_to(run): path.read_bytes() for path in run.rglob("*.safetensors")}
    shutil.rmtree(run)
    csv.unlink()
    lines = again(csv)
    assert f"reproduce: restored {csv}" in lines
    assert f"reproduce: restored {run}" in lines
    assert csv.read_bytes() == bytes_before
    assert {path.relative_to(run): path.read_bytes() for path in run.rglob("*.safetensors")} == networks
    assert OmegaConf.load(run / "config.yaml").paths.outputs is None
    assert again(csv)[-1].endswith("so are its probabilities")


def test_without_any_data_it_is_prepared_again(root: Path, again: Again) -> None:
    shutil.rmtree(root / "data")
    shutil.rmtree(root / "outputs")
    assert "is the same byte for byte" in again(csv_of(root))[-1]


def test_a_policy_of_the_users_own_is_kept_with_the_run(root: Path, again: Again, colours: Path) -> None:
    file = root / "own.yaml"
    file.write_text("transform: {__class_fullname__: D4, p: 1.0}")
    config = colours_config(root, colours, stage="submit", seed=2)
    training, own = replace(config.training, views=1), AugmentationOptions(str(file))
    run_command(replace(config, training=training, augmentation=own))
    csv = max(root.glob("submissions/*.csv"), key=lambda file: file.stat().st_mtime_ns)
    file.write_text("transform: {__class_fullname__: ToGray, p: 1.0}")  # is not read again
    assert "is the same byte for byte" in again(csv)[-1]
    run = root / "outputs/colours" / csv.stem
    shutil.rmtree(run)
    assert "is the same byte for byte" in again(csv)[-1]
    policy = Path(OmegaConf.load(run / "config.yaml").augmentation.policy)
    assert policy.parent == run
    assert read_json(policy)["transform"]["__class_fullname__"] == "D4"


@pytest.mark.slow
def test_an_ensemble_is_made_again_from_its_members(root: Path, again: Again) -> None:
    before, csv = files_of(root), csv_of(root, "ensemble")
    assert "is the same byte for byte" in again(csv)[-1]
    assert files_of(root) == before
    assert len(list(root.glob("outputs/reproduced/*/colours/*/metrics.json"))) == 3
    shutil.rmtree(root / "outputs")
    assert "is the same byte for byte" in again(csv)[-1]
    assert {path for path in files_of(root) if "outputs" in path.parts} == {p for p in before if "outputs" in p.parts}


@pytest.mark.slow
@pytest.mark.parametrize("method", ["hill_climb", "logistic"])
def test_a_fitted_ensemble_is_made_again_with_the_members_that_count_for_nothing(
    method: str, root: Path, colours: Path, again: Again
) -> None:
    """Members without weight take part in the choice of the fitted blend."""
    first, second = sorted(path.parent.name for path in root.glob("outputs/colours/*head*/metrics.json"))
    run_command(colours_config(root, colours, stage="train", seed=2))
    runs = ["*head*"]
    run_command(colours_config(root, colours, stage="submit", ensemble=EnsembleOptions(runs, method=method)))
    (csv,) = root.glob(f"submissions/ensemble-{method.replace('_', '-')}-*.csv")
    assert {first, second} < set(read_json(csv.with_suffix(".json"))["members"])
    assert again(csv)[-1].endswith("so are its probabilities")


def test_provenance_of_an_earlier_version_is_read_from_its_run(root: Path, again: Again) -> None:
    csv = csv_of(root)
    file = csv.with_suffix(".json")
    write_json(file, {k: v for k, v in read_json(file).items() if k not in ("runs", "configuration", "source")})
    assert "is the same byte for byte" in again(file)[-1]
    (root / "outputs/colours" / csv.stem / "config.yaml").unlink()
    with pytest.raises(UserError, match=r"the configuration of .* is unknown: its config\.yaml is missing"):
        again(csv)
    shutil.rmtree(root / "outputs/colours" / csv.stem)
    with pytest.raises(UserError, match=r"\.json lacks the configuration of .*, and .* is missing"):
        again(csv)


def test_a_run_keeps_what_it_cost_and_where_it_was_made(root: Path, colours: Path) -> None:
    run = root / "outputs/colours" / csv_of(root).stem
    before = read_json(run / "metrics.json")
    assert before["machine"] == describe_machine(torch.device("cpu"))
    assert before["seconds"] > 0
    config = colours_config(root, colours, stage="train")
    run_command(replace(config, competition=replace(config.competition, metric="log_loss")))  # scores it again
    after = read_json(run / "metrics.json")
    assert (before["metric"], after["metric"]) == ("accuracy", "log_loss")
    assert [after[name] for name in COST] == [before[name] for name in COST]


def test_runs_elsewhere_have_features_of_their_own(root: Path, colours: Path, tmp_path: Path) -> None:
    config = colours_config(root, colours)
    other = replace(config, paths=PathsOptions(str(root), str(tmp_path / "other")))
    assert (config.runs_dir, config.features_dir) == (root / "outputs/colours", root / "data/colours/cache")
    assert other.runs_dir == tmp_path / "other/colours"
    assert other.features_dir.is_relative_to(other.runs_dir)
    assert other.data_dir == config.data_dir


# --- what differs -------------------------------------------------------------------------------------------------


def test_differing_rows_are_shown_with_the_differences_of_the_environment(root: Path, again: Again) -> None:
    csv = csv_of(root)
    rows = pd.read_csv(csv, dtype=str)
    was = rows.iloc[0, 1]
    rows.iloc[0, 1] = "grey"
    csv.write_bytes(rows.to_csv(index=False, lineterminator="\n").encode())
    facts = read_json(csv.with_suffix(".json"))["runs"][csv.stem]
    versions, machine = {**facts["versions"], "torch": "1.0"}, {**facts["machine"], "name": "abacus"}
    file = change_facts(root, versions=versions, machine=machine, engine="openvino 1.0")
    change(file, csv_sha256=reproduce.file_sha256(csv))
    before = files_of(root)
    with pytest.raises(UserError) as error:
        again(csv)
    message = str(error.value)
    assert f'1 of 6 rows differ ("{rows.iloc[0, 0]},grey" is now "{rows.iloc[0, 0]},{was}")' in message
    assert "the largest difference of a probability is 0;" in message
    assert "versions: torch 1.0 then, " in message
    assert "machine: name abacus then, " in message
    assert "inference: backend openvino 1.0 then, torch now" in message
    assert files_of(root) == before


def edit_csv(root: Path) -> None:
    csv_of(root).write_bytes(csv_of(root).read_bytes() + b"\n")


def swap_folds(root: Path) -> None:
    folds = root / "data/colours/folds.csv"
    table = pd.read_csv(folds)
    table.assign(fold=1 - table["fold"]).to_csv(folds, index=False)


def change_data(root: Path) -> None:
    change(root / "data/colours/prepared.json", table_hash="f" * 64)
    change(root / "data/colours/source.json", content="e" * 64)


def cut_run(root: Path) -> None:
    change_facts(root, cut_by_budget="20m")


def blend_by_power_mean(root: Path) -> None:
    """As a version that had this method recorded it."""
    change_facts(root, "ensemble", configuration={"ensemble": {"method": "power_mean"}})


def submit_power_mean(root: Path) -> None:
    """As this version records an ensemble of such a version."""
    file = change_facts(root, "ensemble", configuration=None)
    change(root / "outputs/colours" / file.stem / "metrics.json", method="power_mean", power=2.0)


@pytest.mark.parametrize("tamper", [blend_by_power_mean, submit_power_mean])
def test_a_power_mean_is_refused_before_any_work(root: Path, tamper: Callable[[Path], None]) -> None:
    tamper(root)
    with pytest.raises(UserError, match=r"ensemble-\w+-\w+ is a blend by .*power_mean, which is no longer available"):
        reproduce.check(reproducing(root, csv_of(root, "ensemble")))


def test_a_metric_of_a_file_has_to_be_named_again(root: Path) -> None:
    file = csv_of(root).with_suffix(".json")
    runs = read_json(file)["runs"]
    runs[file.stem]["configuration"]["competition"]["metric"] = "mine.py:f#12345678"
    change(file, runs=runs)
    config = Config(stage="reproduce", submission=str(file), paths=PathsOptions(str(root)))
    with pytest.raises(UserError, match=r"mine\.py:f#12345678 needs its file"):
        reproduce.check(config)


@pytest.mark.parametrize(
    ("then", "now"), [("abcdef012345", None), (None, "abcdef012345"), ("abcdef012345", "9876543210ab")]
)
def test_another_commit_is_told(then: str | None, now: str | None, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reproduce, "git_commit", lambda: now)
    file = change_facts(root, git_commit=then)
    before, after = (commit or "outside a checkout" for commit in (then, now))
    submission = reproduce.read_submission(str(file), root)
    assert f"code: commit {before} then, {after} now" in reproduce.environment_diff(submission)


@pytest.mark.parametrize(
    ("tamper", "words"),
    [
        (edit_csv, "was changed after it was made"),
        (swap_folds, r"cannot be made again here: data: folds \w{8} then, \w{8} now$"),
        (change_data, r"data: table \w{8} then, ffffffff now; data: source \w{8} then, eeeeeeee now"),
        (cut_run, r"was cut short by training\.budget=20m"),
    ],
)
def test_other_inputs_are_refused_before_any_work(
    root: Path, again: Again, tamper: Callable[[Path], None], words: str
) -> None:
    tamper(root)
    with pytest.raises(UserError, match=words):
        again(csv_of(root))
    assert not (root / "outputs/reproduced").exists()


def test_other_code_is_refused_with_the_commit(root: Path, again: Again, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(identity.RESULT_VERSION, "head", 99)
    change(csv_of(root).with_suffix(".json"), git_commit="abcdef012345")
    with pytest.raises(UserError, match=r"code: result_version \d then, 99 now; it was made at commit abcdef012345$"):
        again(csv_of(root))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (None, r"type reproduce submission=submissions/NAME\.csv"),
        ("none.csv", r"none\.json: no such file; stage=submit writes this provenance beside the CSV"),
        ("other.csv", r"other\.json is not the provenance of a submission"),
        ("list.csv", r"list\.json is not the provenance of a submission"),
        ("half.csv", r"half\.json is damaged: without it half\.csv cannot be made again"),
        ("empty.csv", r"empty\.json lacks facts of one: it was changed, or is of another version"),
    ],
)
def test_what_is_no_submission_is_refused(root: Path, name: str | None, words: str) -> None:
    (root / "other.json").write_text("{}")
    (root / "list.json").write_text("[1]")
    (root / "half.json").write_text("{")
    facts = {"run": "one", "members": ["one"], "csv_sha256": "", "competition": "colours", "runs": {"one": {"a": 1}}}
    write_json(root / "empty.json", facts)
    with pytest.raises(UserError, match=words):
        run_command(Config(stage="reproduce", submission=name and str(root / name), paths=PathsOptions(str(root))))


# --- configuration ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("source", ["a${b}", "it's (1)", "null", None])
def test_options_come_back_from_the_provenance(source: str | None, tmp_path: Path) -> None:
    config = Config(
        competition=CompetitionOptions(source=source), model=ModelOptions(kwargs={"drop_rate": 0.1}), seed=3
    )
    write_json(tmp_path / "options.json", decisive(config))
    assert config_of(read_json(tmp_path / "options.json"), "x") == config


def test_paths_and_secrets_are_not_in_the_provenance() -> None:
    config = Config(
        input="rtsp://me:secret@host", paths=PathsOptions("/somewhere"), workers=3, submission="x.csv", run="a"
    )
    assert decisive(config) == {}


def test_a_trained_run_is_made_again_whatever_ensemble_its_command_asked_for(root: Path) -> None:
    facts = read_json(csv_of(root).with_suffix(".json"))["runs"][csv_of(root).stem]
    blend = {"runs": ["a", "b"], "method": "power_mean"}
    file = change_facts(root, configuration={**facts["configuration"], "ensemble": blend})
    config = reproducing(root, file)
    reproduce.check(config)
    again = reproduce.training_config(config, reproduce.read_submission(str(file), root), file.stem, root / "again")
    assert again.ensemble == EnsembleOptions()


def test_options_of_another_version_are_named() -> None:
    with pytest.raises(UserError, match=r"run was made by a version with other options \(.*colour"):
        config_of({"model": {"colour": "red"}}, "run")
