"""One test for each fault that a reader of the whole found and no other test holds."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from kagglepipe.config import Config
from kagglepipe.errors import UserError
from kagglepipe.files import read_json
from kagglepipe.runs.configured import read_data, run_of
from kagglepipe.stages.download import with_sample_if_no_data
from kagglepipe.tools.commands import run_command

Configure = Callable[..., Config]


@pytest.fixture
def at(configure: Configure, toy: Path) -> Configure:
    """A configuration of the toy competition with the tiny network."""
    source = f"competition.source={toy}"
    return lambda *more: configure("experiment=quick", "competition=image_folder", source, *more)


def test_another_metric_is_scored_again_and_not_only_renamed(at: Configure) -> None:
    accuracy = run_command(at("stage=train"))
    loss = run_command(at("stage=train", "competition.metric=log_loss"))
    config = at()
    metrics = read_json(run_of(config, read_data(config)).folder / "metrics.json")
    assert accuracy == 1.0
    assert loss == metrics["score"] == metrics["log_loss"] != accuracy
    assert metrics["baseline"]["metric"] == "log_loss"


def test_a_damaged_archive_does_not_cost_what_was_prepared(toy: Path, configure: Configure, tmp_path: Path) -> None:
    good = Path(shutil.make_archive(str(tmp_path / "good"), "zip", toy))
    bad = tmp_path / "bad.zip"
    bad.write_bytes(good.read_bytes()[:-300])
    options = ("stage=prepare", "experiment=quick", "competition=image_folder", "competition.slug=toy")
    run_command(configure(*options, f"competition.source={good}"))
    before = sorted(path.name for path in (tmp_path / "data/toy").rglob("*"))
    with pytest.raises(UserError):
        run_command(configure(*options, f"competition.source={bad}", "competition.refresh=true"))
    assert sorted(path.name for path in (tmp_path / "data/toy").rglob("*")) == before


def test_refreshing_keeps_folds_that_still_fit(at: Configure, tmp_path: Path) -> None:
    run_command(at("stage=prepare"))
    path = tmp_path / "data/toy/folds.csv"
    folds = pd.read_csv(path)
    folds.loc[[0, 1], "fold"] = 1 - folds.loc[[0, 1], "fold"]
    folds.to_csv(path, index=False)
    run_command(at("stage=prepare", "competition.refresh=true"))
    pd.testing.assert_frame_equal(pd.read_csv(path), folds)


def test_a_run_is_not_blended_with_itself(at: Configure) -> None:
    run_command(at("stage=train"))
    config = at()
    name = run_of(config, read_data(config)).name
    with pytest.raises(UserError, match="twice"):
        run_command(at("stage=ensemble", f"ensemble.runs=[{name},{name}]"))


def test_a_member_of_ids_and_probabilities_alone_is_enough(at: Configure, tmp_path: Path) -> None:
    run_command(at("stage=train"))
    config = at()
    prepared = read_data(config)
    run = run_of(config, prepared).folder
    for kind in ("oof", "test"):
        frame = pd.read_parquet(run / f"{kind}.parquet")
        frame[["id", *prepared.classes]].to_csv(tmp_path / f"{kind}.csv", index=False)
    member = f"'{tmp_path / 'oof.csv'}+{tmp_path / 'test.csv'}'"
    score = run_command(at("stage=ensemble", f"ensemble.runs=[{run.name},{member}]"))
    assert score == read_json(run / "metrics.json")["score"]
    run_command(at("stage=submit", f"ensemble.runs=[{run.name},{member}]"))
    origin = read_json(next(tmp_path.glob("submissions/ensemble-*.json")))
    assert origin["versions"]["torch"]
    assert origin["identity"][run.name]["weights"] == "none"


def test_a_failed_source_does_not_hide_the_sample(configure: Configure, tmp_path: Path) -> None:
    (tmp_path / "data/pistolas-vs-smartphones-con-deep-learning").mkdir(parents=True)
    assert with_sample_if_no_data(configure()).competition.is_sample


def test_the_contact_sheet_has_the_size_that_trains(at: Configure, tmp_path: Path) -> None:
    run_command(at("stage=augment", "model.image_size=48", "augmentation=light"))
    policy = (tmp_path / "outputs/toy/augment/light.json").read_text()
    assert "48" in policy
    assert "224" not in policy


def test_what_is_no_photo_by_its_name_is_told(
    toy: Path, at: Configure, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run_command(at("stage=train"))
    (toy / "test/phone.HEIC").write_bytes(b"\0")
    with caplog.at_level("WARNING"):
        run_command(at("stage=predict", f"input={toy / 'test'}"))
    assert "phone.HEIC" in caplog.text
    assert len(pd.read_csv(tmp_path / "outputs/toy/predict/test.csv")) == 6
    assert np.isfinite(pd.read_csv(tmp_path / "outputs/toy/predict/test.csv")["red"]).all()


# --- video and series ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("written", ["input=rtsp://u:secret@h/x", "++input=rtsp://u:secret@h/x", "+input=a,camera"])
def test_a_sweep_over_streams_is_refused_before_hydra_keeps_the_address(
    written: str, command: Callable[..., Any], tmp_path: Path
) -> None:
    done = command("-m", "stage=detect", "competition=action_sample", written)
    assert (done.code, len(done.err)) == (2, 1)
    assert "secret" not in done.out + done.err[0]
    assert not list(tmp_path.rglob("multirun.yaml"))


def test_an_address_without_a_scheme_is_told_without_its_password(command: Callable[..., Any]) -> None:
    done = command("detect", "competition=action_sample", "input=admin:s3cret@127.0.0.1/x")
    assert done.code == 2
    assert "s3cret" not in done.out + " ".join(done.err)


@pytest.mark.parametrize("name", ["loginpas", "psw", "pw", "userPwd"])
def test_what_cameras_call_a_password_is_hidden(name: str) -> None:
    from kagglepipe.sequences.stream import hide_password

    assert "s3cret" not in hide_password(f"http://host/cgi?channel=1&{name}=s3cret&subtype=0")


def test_augment_says_in_one_line_that_it_draws_photos(configure: Configure) -> None:
    with pytest.raises(UserError, match="augment draws photos, this is video"):
        run_command(configure("stage=augment", "competition=action_sample"))


def test_a_series_lasts_until_its_next_row_would_have_come(tmp_path: Path) -> None:
    """What a run is asked for later has as many samples as what it was trained on."""
    from kagglepipe.sequences.grid import item_lengths
    from kagglepipe.sequences.series import series_inputs

    np.savez(tmp_path / "s.npz", values=np.arange(10.0)[:, None], time=3 + 2.0 * np.arange(10))
    items = pd.DataFrame({"video": ["s"], "begins": [3.0], "ends": [23.0]})
    for rate in (0.25, 0.5, 1.0, 3.0):
        assert len(series_inputs(tmp_path / "s.npz", rate=rate)[1]) == item_lengths(items, rate)["s"]


@pytest.mark.parametrize("rate", [100, 495, 500, 1000, 10_000])
def test_series_of_any_rate_are_read_to_their_end(tmp_path: Path, rate: int) -> None:
    """From some 495 samples a second on, a tolerance of a millisecond was more than half of a step."""
    from kagglepipe.sequences.grid import item_lengths
    from kagglepipe.sequences.series import series_inputs

    values = np.arange(300.0)
    np.savez(tmp_path / "s.npz", values=values[:, None], time=values / rate)
    items = pd.DataFrame({"video": ["s"], "begins": [0.0], "ends": [300 / rate]})
    read = series_inputs(tmp_path / "s.npz", rate=rate)
    assert item_lengths(items, rate)["s"] == len(read.values) == 300
    np.testing.assert_allclose(read.values[:, 0], values, atol=1e-3)
