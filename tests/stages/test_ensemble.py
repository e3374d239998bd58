"""Blends match by id, whoever made the members and in whatever order; what comes out is a run like any other."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from omegaconf import OmegaConf

from kagglepipe.competitions.dataset import Dataset
from kagglepipe.config import CONF, Config
from kagglepipe.errors import UserError
from kagglepipe.files import read_json, write_json, write_parquet
from kagglepipe.options import CompetitionOptions, FoldOptions, PathsOptions
from kagglepipe.predictions.blend import METHODS
from kagglepipe.predictions.evaluation import summarise
from kagglepipe.predictions.frame import labels, oof_frame, read_frame, test_frame
from kagglepipe.predictions.weights import FITTED
from kagglepipe.runs.configured import read_data
from kagglepipe.runs.store import Member
from kagglepipe.stages import ensemble
from kagglepipe.tools.commands import run_command
from tests.composing import changed

CLASSES = ["blue", "green", "red"]
Values = dict[str, list[float]]
At = Callable[..., Config]


@pytest.fixture
def at(toy: Path, tmp_path: Path) -> At:
    """at("stage=ensemble", …) -> the toy's configuration."""
    folder = OmegaConf.load(CONF / "competition/image_folder.yaml")
    config = Config(
        paths=PathsOptions(str(tmp_path)),
        competition=CompetitionOptions(**folder, source=str(toy)),
        folds=FoldOptions(count=2),
    )
    return lambda *overrides: changed(config, *overrides)


@pytest.fixture
def prepared(at: At) -> Dataset:
    """What stage=prepare left of the toy."""
    run_command(at("stage=prepare"))
    return read_data(at())


def make_run(at: At, prepared: Dataset, name: str, seed: int, strength: float = 0.0) -> Path:
    """A finished run of the present table and folds that knows something, or nothing at strength 0."""
    folder, train, random = at().runs_dir / name, prepared.train, np.random.default_rng(seed)
    scores = random.normal(size=(len(train), 3))
    scores[np.arange(len(train)), [CLASSES.index(target) for target in train["target"]]] += strength
    probs = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    frame = oof_frame(train["id"].tolist(), train["fold"].tolist(), train["target"].tolist(), probs, CLASSES)
    write_parquet(folder / "oof.parquet", frame)
    ids = prepared.test["id"].tolist()
    write_parquet(folder / "test.parquet", test_frame(ids, random.dirichlet([1.0] * 3, len(ids)), CLASSES))
    told = summarise("accuracy", frame, CLASSES, train.set_index("id")["group"])
    identity = {"table": prepared.table_hash, "folds": prepared.folds_hash}
    write_json(folder / "metrics.json", {"metric": "accuracy", **told, "baseline": told, "identity": identity})
    return folder


@pytest.fixture
def one(at: At, prepared: Dataset) -> Path:
    """A run."""
    return make_run(at, prepared, "one", 1)


@pytest.fixture
def two(at: At, prepared: Dataset) -> Path:
    """Another run."""
    return make_run(at, prepared, "two", 2)


def values(path: Path) -> Values:
    """id -> probabilities in the order of CLASSES."""
    return {row["id"]: [row[name] for name in CLASSES] for row in read_frame(path).to_dict("records")}


def blends(at: At) -> list[Path]:
    """The ensembles that there are."""
    return sorted(at().runs_dir.glob("ensemble-*"))


def blend(at: At, *overrides: str) -> Path:
    """The folder of the ensemble that a command makes."""
    before = set(blends(at))
    run_command(at("stage=ensemble", *overrides))
    (made,) = set(blends(at)) - before
    return made


def assert_close(found: Values, expected: Values) -> None:
    assert set(found) == set(expected)
    for id, probs in found.items():
        assert probs == pytest.approx(expected[id], abs=1e-12), id


def by_mean(first: Values, second: Values) -> Values:
    return {id: [(a + b) / 2 for a, b in zip(first[id], second[id], strict=True)] for id in first}


# --- the blend ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["mean", "geometric_mean", "rank_mean"])
def test_each_method_blends_both_files(method: str, at: At, one: Path, two: Path) -> None:
    folder = blend(at, "ensemble.runs=[one,two]", f"ensemble.method={method}")
    assert folder.name.startswith(f"ensemble-{method.replace('_', '-')}-")
    for name in ("oof.parquet", "test.parquet"):
        frames = [read_frame(run / name).set_index("id") for run in (one, two)]
        stack = np.stack([frame[CLASSES].to_numpy() for frame in (frames[0], frames[1].loc[frames[0].index])])
        probs = METHODS[method](stack, np.full(2, 0.5))
        assert_close(values(folder / name), dict(zip(frames[0].index, probs.tolist(), strict=True)))


def test_the_metrics_tell_score_and_members(at: At, prepared: Dataset, one: Path, two: Path) -> None:
    folder = blend(at, "ensemble.runs=[one,two]", "ensemble.method=mean")
    metrics, frame = read_json(folder / "metrics.json"), read_frame(folder / "oof.parquet")
    right = (frame[CLASSES].idxmax(axis=1) == frame["target"]).mean()
    assert metrics["score"] == pytest.approx(right)
    again = at("stage=ensemble", "ensemble.runs=[one,two]", "ensemble.method=mean")
    assert run_command(again) == pytest.approx(right)
    assert (metrics["run"], metrics["method"], metrics["members"]) == (folder.name, "mean", ["one", "two"])
    assert metrics["baseline"] == read_json(one / "metrics.json")["baseline"]
    assert sorted(path.name for path in folder.iterdir()) == [
        "config.yaml", "metrics.json", "oof.parquet", "reliability.png", "test.parquet",
    ]  # fmt: skip
    told, train = frame.set_index("id"), prepared.train.set_index("id")
    assert told["fold"].to_dict() == train["fold"].to_dict()
    assert told["target"].to_dict() == train["target"].to_dict()


def test_without_members_there_is_nothing_to_do(at: At, one: Path) -> None:
    assert ensemble.run(at("stage=ensemble")) is None
    assert blends(at) == []


def test_a_competition_without_images_to_classify_can_be_blended(toy: Path, at: At) -> None:
    for image in (toy / "test").iterdir():
        image.unlink()
    run_command(at("stage=prepare"))
    prepared = read_data(at())
    for name, seed in (("one", 1), ("two", 2)):
        make_run(at, prepared, name, seed)
    folder = blend(at, "ensemble.runs=[one,two]")
    assert len(read_frame(folder / "oof.parquet")) == 36
    assert values(folder / "test.parquet") == {}


# --- members ---------------------------------------------------------------------------------------------------


def test_the_order_of_members_does_not_matter_and_a_second_time_nothing_is_done(at: At, one: Path, two: Path) -> None:
    folder = blend(at, "ensemble.runs=[one,two]")
    before = {path: path.stat().st_mtime_ns for path in at().runs_dir.rglob("*")}
    run_command(at("stage=ensemble", "ensemble.runs=[two,one]"))
    run_command(at("stage=ensemble", "ensemble.runs=[one,two]"))
    assert {path: path.stat().st_mtime_ns for path in at().runs_dir.rglob("*")} == before
    assert blends(at) == [folder]


def test_groups_that_are_given_later_judge_the_blend_anew(at: At, one: Path, two: Path) -> None:
    folder = blend(at, "ensemble.runs=[one,two]")
    before, file = read_json(folder / "metrics.json"), at().data_dir / "table.parquet"
    table = pd.read_parquet(file)
    write_parquet(file, table.assign(group=table["id"].rank().astype(int) % 4))
    run_command(at("stage=ensemble", "ensemble.runs=[one,two]"))
    after = read_json(folder / "metrics.json")
    assert after["score"] == before["score"]
    assert after["interval"] != before["interval"]


def test_an_ensemble_may_be_a_member(at: At, one: Path, two: Path) -> None:
    first = blend(at, "ensemble.runs=[one,two]", "ensemble.method=mean")
    second = blend(at, f"ensemble.runs=[{first.name},one]", "ensemble.method=mean")
    expected = by_mean(values(first / "oof.parquet"), values(one / "oof.parquet"))
    assert_close(values(second / "oof.parquet"), expected)


def external(run: Path, folder: Path, drop: int = 0) -> str:
    """The run's predictions as CSVs from elsewhere: rows in another order, columns too, `drop` of them missing."""
    folder.mkdir()
    for name in ("oof", "test"):
        frame = read_frame(run / f"{name}.parquet").sample(frac=1, random_state=3).iloc[drop:]
        frame[frame.columns[::-1]].to_csv(folder / f"{name}.csv", index=False)
    return f"{folder / 'oof.csv'}+{folder / 'test.csv'}"


def test_predictions_from_elsewhere_are_matched_by_id(at: At, one: Path, two: Path, tmp_path: Path) -> None:
    expected = blend(at, "ensemble.runs=[one,two]")
    found = blend(at, f"ensemble.runs=[one,'{external(two, tmp_path / 'else where')}']")
    for name in ("oof.parquet", "test.parquet"):
        assert_close(values(found / name), values(expected / name))


def test_missing_ids_are_named(at: At, one: Path, two: Path, tmp_path: Path) -> None:
    pair = external(two, tmp_path / "elsewhere", drop=2)
    for name in ("test", "oof"):  # what is soon looked at is looked at first
        file = tmp_path / f"elsewhere/{name}.csv"
        missing = sorted(set(values(two / f"{name}.parquet")) - set(pd.read_csv(file)["id"]))
        with pytest.raises(UserError) as caught:
            run_command(at("stage=ensemble", f"ensemble.runs=[one,'{pair}']"))
        assert str(file) in str(caught.value)
        assert f"missing {missing[0]!r}, {missing[1]!r}" in str(caught.value)
        read_frame(two / f"{name}.parquet").to_csv(file, index=False)
    assert blends(at) == []


def test_whose_folds_are_others_or_unknown_is_told(
    at: At, one: Path, two: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    metrics = read_json(two / "metrics.json")
    baseline = metrics["baseline"] | {"score": 0.123}
    write_json(two / "metrics.json", {**metrics, "identity": {"folds": "others"}, "baseline": baseline})
    pair = external(one, tmp_path / "elsewhere")
    with caplog.at_level("WARNING"):
        folder = blend(at, f"ensemble.runs=[two,'{pair}']")
    first, second, third = (record.getMessage() for record in caplog.records)
    assert f"{pair} comes from elsewhere" in first
    assert second == "ensemble: two was trained on other folds than those of the dataset"
    assert third == "ensemble: too few folds to select a method: equal weights; or type ensemble.method=…"
    assert "baseline" not in read_json(folder / "metrics.json")  # it is of those other folds


def test_a_member_of_files_that_were_replaced_under_their_names_is_told(
    at: At, one: Path, two: Path, caplog: pytest.LogCaptureFixture
) -> None:
    metrics = read_json(two / "metrics.json")
    write_json(two / "metrics.json", {**metrics, "identity": {**metrics["identity"], "table": "of other photos"}})
    blend(at, "ensemble.runs=[one,two]")
    told = [line for line in caplog.messages if "files" in line]
    assert told == ["ensemble: two was made of other files or labels than those of the dataset"]


@pytest.mark.parametrize("name", ["oof", "test"])
def test_a_run_without_its_tables_is_named(name: str, at: At, one: Path, two: Path) -> None:
    (two / f"{name}.parquet").unlink()
    with pytest.raises(UserError, match=rf"two/{name}\.parquet is missing, which two needs: delete its metrics\.json"):
        run_command(at("stage=ensemble", "ensemble.runs=[one,two]"))


def test_other_classes_are_named(at: At, prepared: Dataset, one: Path) -> None:
    folder = at().runs_dir / "other"
    for name, rows in (("oof", prepared.train), ("test", prepared.test)):
        frame = test_frame(rows["id"].tolist(), np.full((len(rows), 2), 0.5), ["blue", "green"])
        write_parquet(folder / f"{name}.parquet", frame)
    write_json(folder / "metrics.json", {"score": 0.5})
    with pytest.raises(UserError, match=r"ensemble member other has the classes blue, green; blue, green, red"):
        run_command(at("stage=ensemble", "ensemble.runs=[one,other]"))


def test_a_member_with_other_targets_is_refused(at: At, one: Path, two: Path) -> None:
    frame = read_frame(two / "oof.parquet")
    frame["target"] = "red"
    write_parquet(two / "oof.parquet", frame)
    with pytest.raises(UserError, match=r"two and the table have different targets for 'blue/blue0\.png'"):
        run_command(at("stage=ensemble", "ensemble.runs=[one,two]"))


@pytest.mark.parametrize(
    ("member", "words"),
    [
        ("nonsense", "run=nonsense is not a finished run in .*; there are: one"),
        ("a.csv+b.csv", r"ensemble member a\.csv\+b\.csv: .*a\.csv is not there; give two files"),
        ("a.csv+b.csv+c.csv", r"is not a run, and not a pair of files as oof\.csv\+test\.csv"),
        ("best:x", r"ensemble\.runs=best:x needs a number, as best:8"),
        ("best:0", r"best:0\] chose none of 1 finished runs .*: type stage=train first"),
        ("vit*", r"ensemble.runs=vit\* matches no finished run of the present table .*; there are: one"),
    ],
)
def test_a_member_that_is_not_there_is_named(member: str, words: str, at: At, one: Path) -> None:
    with pytest.raises(UserError, match=words):
        run_command(at("stage=ensemble", f"ensemble.runs=['{member}']"))


# --- what comes after --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("asked", ["by members", "by name"])
def test_the_ensemble_is_a_run_that_submit_takes(asked: str, at: At, one: Path, two: Path, tmp_path: Path) -> None:
    folder = blend(at, "ensemble.runs=[one,two]", "ensemble.method=mean")
    by_members = ("ensemble.runs=[one,two]", "ensemble.method=mean")
    run_command(at("stage=submit", *(by_members if asked == "by members" else (f"run={folder.name}",))))
    written = pd.read_csv(tmp_path / f"submissions/{folder.name}.csv").set_index("id")["label"].to_dict()
    frame = read_frame(folder / "test.parquet").set_index("id")[CLASSES]
    assert written == frame.idxmax(axis=1).to_dict()
    origin = read_json(tmp_path / f"submissions/{folder.name}.json")
    assert (origin["run"], sorted(origin["members"])) == (folder.name, ["one", "two"])


def test_a_power_mean_of_an_older_version_is_a_member_is_listed_and_submitted(
    at: At, one: Path, two: Path, tmp_path: Path
) -> None:
    folder = blend(at, "ensemble.runs=[one,two]", "ensemble.method=mean")
    write_json(folder / "metrics.json", {**read_json(folder / "metrics.json"), "method": "power_mean", "power": 3.0})
    written = (folder / "config.yaml").read_text()
    (folder / "config.yaml").write_text(written.replace("method: mean", "method: power_mean"))
    run_command(at("stage=submit", f"run={folder.name}"))
    assert (tmp_path / f"submissions/{folder.name}.csv").exists()
    run_command(at("stage=runs", f"runs.file={tmp_path}/runs.csv"))
    assert folder.name in (tmp_path / "runs.csv").read_text()
    joint = blend(at, f"ensemble.runs=[{folder.name},one]", "ensemble.method=mean")
    assert_close(values(joint / "test.parquet"), by_mean(values(folder / "test.parquet"), values(one / "test.parquet")))


# --- what is fitted ----------------------------------------------------------------------------------------------


@pytest.fixture
def known(at: At, prepared: Dataset) -> list[str]:
    """Runs from the best to the worst."""
    strengths = {"lite0-a": 3.0, "lite1-b": 1.5, "other-c": 0.0}
    for seed, (name, strength) in enumerate(strengths.items()):
        make_run(at, prepared, name, seed, strength)
    return list(strengths)


@pytest.mark.parametrize("method", ["auto", "hill_climb", "nnls", "logistic"])
def test_a_fitted_blend_tells_what_it_did(method: str, at: At, known: list[str]) -> None:
    folder = blend(at, "ensemble.runs=[best:8]", f"ensemble.method={method}")
    metrics = read_json(folder / "metrics.json")
    assert metrics["asked"] == method
    assert metrics["members"] == sorted(known)  # those dropped too: without them it could not be made again
    assert [weight == 0 for weight in metrics["weights"]] == [one in metrics["dropped"] for one in metrics["members"]]
    table = {row["method"]: row for row in metrics["comparison"]}
    assert {"best run", "mean"} <= set(table)
    assert metrics["best_run"] == "lite0-a"
    if method != "auto":
        assert method in table
        assert metrics["weights"][metrics["members"].index("other-c")] == min(metrics["weights"])
    frame = read_frame(folder / "oof.parquet")
    assert metrics["score"] == (frame[CLASSES].idxmax(axis=1) == frame["target"]).mean()
    assert 0 <= metrics["calibration_error"] <= 1


def test_the_test_gets_the_weights_of_all_rows(at: At, known: list[str]) -> None:
    folder = blend(at, "ensemble.runs=[lite*]", "ensemble.method=nnls")
    metrics = read_json(folder / "metrics.json")
    frames = [read_frame(at().runs_dir / name / "oof.parquet") for name in metrics["members"]]
    stack = np.stack([frame[CLASSES].to_numpy() for frame in frames])
    (whole,) = FITTED["nnls"](stack, labels(frames[0], CLASSES), np.zeros(len(frames[0]), int), [()])
    assert metrics["weights"] == pytest.approx(whole.tolist(), abs=2e-3)
    parts = [values(at().runs_dir / name / "test.parquet") for name in metrics["members"]]
    expected = {
        id: [sum(w * part[id][c] for w, part in zip(metrics["weights"], parts, strict=True)) for c in range(3)]
        for id in parts[0]
    }
    assert_close(values(folder / "test.parquet"), expected)


def test_one_member_is_returned_as_it_is_by_any_method(at: At, one: Path) -> None:
    for method in ("auto", "rank_mean", "logistic"):
        folder = blend(at, "ensemble.runs=[one]", f"ensemble.method={method}")
        for name in ("oof.parquet", "test.parquet"):
            assert_close(values(folder / name), values(one / name))


def test_patterns_best_and_names_lead_to_the_same_ensemble(at: At, known: list[str]) -> None:
    folder = blend(at, "ensemble.runs=[best:2]")
    path = at().runs_dir / "lite1-b"
    for runs in ("['lite*']", "[lite1-b,lite0-a]", f"[lite0-a,'{path}']", "[best:1,'lite?-b']"):
        run_command(at("stage=ensemble", f"ensemble.runs={runs}"))
    assert blends(at) == [folder]
    everything = blend(at, "ensemble.runs=['*']")  # but no ensemble
    assert sorted(read_json(everything / "metrics.json")["identity"]) == known


def test_runs_of_other_folds_are_no_match(at: At, known: list[str]) -> None:
    file = at().runs_dir / "lite0-a/metrics.json"
    metrics = read_json(file)
    write_json(file, {**metrics, "identity": {**metrics["identity"], "folds": "others"}})
    folder = blend(at, "ensemble.runs=[best:1]")
    assert read_json(folder / "metrics.json")["members"] == ["lite1-b"]


def test_calibration_and_thresholds_are_kept_in_the_run(at: At, known: list[str]) -> None:
    options = ("ensemble.runs=[best:2]", "ensemble.calibrate=auto", "ensemble.threshold=auto")
    metrics = read_json(blend(at, *options) / "metrics.json")
    assert [one["kind"] for one in metrics["calibrations"]] == ["none", "temperature", "platt", "isotonic"]
    assert len(metrics["maps"]) <= 2


# --- known answers -------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("one", "two")
def test_answers_that_are_given_later_score_a_finished_ensemble_and_blend_nothing(at: At, tmp_path: Path) -> None:
    options = ["stage=ensemble", "ensemble.runs=[one,two]", "ensemble.method=mean"]
    run_command(at(*options))
    (folder,) = at().runs_dir.glob("ensemble-*")
    before = (folder / "oof.parquet").stat().st_mtime_ns
    assert "test" not in read_json(folder / "metrics.json")
    best = read_frame(folder / "test.parquet").set_index("id").idxmax(axis=1)
    best.to_csv(tmp_path / "answers.csv")
    run_command(at(*options, f"competition.answers={tmp_path / 'answers.csv'}"))
    assert read_json(folder / "metrics.json")["test"]["score"] == 1.0
    assert (folder / "oof.parquet").stat().st_mtime_ns == before


# --- frames at several rates ---------------------------------------------------------------------------------------


def test_members_of_one_rate_are_blended_at_it_and_those_of_several_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    members = []
    for name, rate in (("fast", 16.0), ("quick", 16.0), ("slow", 4.0)):
        write_json(tmp_path / name / "metrics.json", {"identity": {"sequences": {"rate": rate}}})
        members.append(Member(name, tmp_path / name / "oof.parquet", tmp_path / name / "test.parquet"))
    competition = CompetitionOptions(slug="c", kind="series", form="segments", background="none")
    config = Config(paths=PathsOptions(str(tmp_path)), competition=competition)
    dataset = Dataset(pd.DataFrame(), pd.DataFrame(), [], tmp_path, "the table", "the folds", rate=8.0)
    monkeypatch.setattr(ensemble, "at_rate", lambda dataset, rate, competition: replace(dataset, rate=rate))
    assert ensemble.at_rate_of_members(config.competition, dataset, members[:2]).rate == 16.0
    words = (
        r"fast at sequences\.rate=16, quick at sequences\.rate=16, slow at sequences\.rate=4; blend runs of one rate"
    )
    with pytest.raises(UserError, match=words):
        ensemble.at_rate_of_members(config.competition, dataset, members)
