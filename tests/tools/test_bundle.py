"""The bundle is whole or not there; its notebook answers, on what looks like Kaggle, for files never seen before."""

import json
import logging
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import timm
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from PIL import Image

from kagglepipe.config import CONF, Config
from kagglepipe.errors import UserError
from kagglepipe.files import read_json, write_bytes, write_json
from kagglepipe.models.classifier import make_backbone
from kagglepipe.models.weights import find_weights
from kagglepipe.options import PathsOptions
from kagglepipe.predictions.metrics import OWN_METRICS
from kagglepipe.predictions.own_metric import name_metric
from kagglepipe.runs.store import RunStore
from kagglepipe.tools import bundle as stage
from kagglepipe.tools.bundle import bundle_dir, outside_files, portable, put_configuration
from kagglepipe.tools.commands import run_command

TINY = ("model=tiny", "training=head", "folds.count=2", "training.views=0")
HERE = "{}.{}".format(*sys.version_info)
Configure = Callable[..., Config]
Index = Any  # the fixture `index` of conftest, which gives an Index


@dataclass
class Shop:
    """Stands in for pip where a test is not about wheels: a package in the place of this one, which needs `tiny`."""

    package: Path
    tiny: Path
    gathered: list[str] = field(default_factory=list)
    proved: list[set[str]] = field(default_factory=list)

    def own_wheel(self, package: Path, distribution: object, folder: Path, target: object) -> Path:
        return Path(shutil.copy(self.package, folder))

    def gather_wheels(self, root: str, folder: Path, target: object) -> None:
        self.gathered.append(root)
        shutil.copy(self.tiny, folder)

    def check_install(self, folder: Path, target: object) -> None:
        self.proved.append(files(folder))


@pytest.fixture
def shop(index: Index, monkeypatch: pytest.MonkeyPatch) -> Shop:
    """No process of pip is started."""
    shop = Shop(index.wheel("kagglepipe", "9.9", "tiny"), index.wheel("tiny", "1.0"))
    for name in ("own_wheel", "gather_wheels", "check_install"):
        monkeypatch.setattr(stage, name, getattr(shop, name))
    return shop


@pytest.fixture
def config(configure: Configure, toy: Path, tmp_path: Path) -> Config:
    """The toy as a competition of Kaggle's, to be bundled for this Python; nothing is trained yet."""
    return configure(
        *TINY, "stage=bundle", "competition=image_folder", "competition.slug=colours", f"bundle.python='{HERE}'",
        f"competition.source='{toy}'", f"kaggle.input='{tmp_path / 'kaggle input'}'",
    )  # fmt: skip


def files(folder: Path) -> set[str]:
    """What is in a folder, hidden files too."""
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def around(config: Config) -> set[str]:
    """What lies beside the bundle, locks aside."""
    return {path.name for path in bundle_dir(config).parent.iterdir() if path.name != ".locks"}


def last_cell(config: Config) -> str:
    """The cell with the command."""
    return "".join(read_json(bundle_dir(config) / "kagglepipe.ipynb")["cells"][-1]["source"])


def pretend(config: Config, name: str, **metrics: Any) -> Config:
    """The configuration with a run that looks finished; an ensemble if it has `members`."""
    run = config.runs_dir / name
    write_json(run / "metrics.json", {"metric": "accuracy", **metrics})
    for file in ("config.yaml", "hardest.png", "test.parquet", "oof.parquet", ".lock"):
        write_bytes(run / file, f"{name}: {run}".encode())
    if "members" not in metrics:
        write_json(run / "fold_0/model.json", {"model": "test_efficientnet"})
        write_bytes(run / "fold_0/model.safetensors", b"tensors")
    return replace(config, run=name)


# --- what it holds ----------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_it_holds_wheels_that_pip_has_proved_configuration_and_notebook(
    config: Config, index: Index, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    index.wheel("tiny-dependency", "1.0")
    index.source("tiny-source", "2.0", "tiny-dependency")
    package = index.wheel("kagglepipe", "9.9", "tiny-source>=1", "torch", 'never; python_version < "3.0"')
    monkeypatch.setattr(stage, "own_wheel", lambda code, dist, folder, target: Path(shutil.copy(package, folder)))
    with caplog.at_level(logging.INFO):
        run_command(config)
    assert files(bundle_dir(config)) == {
        "wheels/kagglepipe-9.9-py3-none-any.whl", "wheels/tiny_source-2.0-py3-none-any.whl",
        "wheels/tiny_dependency-1.0-py3-none-any.whl", "conf/competition/bundle.yaml", "kagglepipe.ipynb",
        "dataset-metadata.json", "kernel-metadata.json", "README.txt", "bundle.json",
    }  # fmt: skip
    assert around(config) == {"bundle"}
    assert "no run of this configuration is finished, so the notebook trains one" in caplog.text
    assert "its notebook trains there" in caplog.text
    assert '"stage=all"' in last_cell(config)


@pytest.mark.usefixtures("shop")
def test_with_a_run_it_holds_what_predicts(config: Config, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        run_command(pretend(config, "mine"))
    kept = {"metrics.json", "test.parquet", "oof.parquet", "fold_0/model.json", "fold_0/model.safetensors"}
    assert files(bundle_dir(config) / "run") == {f"mine/{name}" for name in kept}
    assert "its notebook predicts with mine" in caplog.text
    assert "\"run\": BUNDLE / 'run/mine'," in last_cell(config)
    assert not (bundle_dir(config) / "weights").exists()


@pytest.mark.usefixtures("shop")
def test_an_ensemble_that_is_made_brings_its_members_and_theirs(config: Config) -> None:
    for name in ("one", "two", "three"):
        pretend(config, name)
    pretend(config, "inner", members=["one", "two"])
    run_command(pretend(config, "outer", members=["inner", "three"]))
    assert {path.name for path in (bundle_dir(config) / "run").iterdir()} == {"one", "two", "three", "inner", "outer"}
    assert "'run/outer'" in last_cell(config)
    shutil.rmtree(config.runs_dir / "two")
    with pytest.raises(UserError, match=r"its member two is not in .*: make the ensemble again"):
        run_command(replace(config, run="outer"))
    run_command(replace(config, stage="prepare"))
    with pytest.raises(UserError, match=r"ensemble-auto-\w+ is not finished: type stage=ensemble with the same"):
        run_command(replace(config, ensemble=replace(config.ensemble, runs=["one", "three"])))


@pytest.mark.usefixtures("shop")
def test_a_run_that_cannot_predict_is_refused(config: Config) -> None:
    mine = pretend(config, "mine")
    video = {"kind": "video", "per_frame": False, "rate": 8.0}
    write_json(config.runs_dir / "mine/fold_0/model.json", video)
    with pytest.raises(UserError, match=r"mine was trained on video, competition\.kind is image"):
        run_command(mine)
    shutil.rmtree(config.runs_dir / "mine/fold_0")
    with pytest.raises(UserError, match=r"holds no trained network to predict with: give another with run=NAME"):
        run_command(mine)
    with pytest.raises(UserError, match=r"run=none is not a finished run"):
        run_command(replace(config, run="none"))
    assert around(config) == {"mine"}


@pytest.mark.usefixtures("shop")
def test_nothing_in_it_names_a_folder_of_this_machine(config: Config, tmp_path: Path) -> None:
    run_command(replace(config, kaggle=replace(config.kaggle, input="/kaggle/input")))
    texts = [path for path in bundle_dir(config).rglob("*") if path.is_file() and path.suffix != ".whl"]
    assert len(texts) == 6
    assert not [path.name for path in texts if str(tmp_path) in path.read_text()]


@pytest.mark.usefixtures("shop")
def test_tables_from_outside_the_data_are_taken_along(config: Config, tmp_path: Path) -> None:
    folds, labels = tmp_path / "my folds.csv", tmp_path / "elsewhere/labels.csv"
    write_bytes(folds, b"id,fold\n")
    write_bytes(labels, b"file,label\n")
    patch = tmp_path / "suspects.csv"
    write_bytes(patch, b"id,suggested,decision\n")
    own = replace(config.competition, labels=str(labels), sample_submission="in_the_data.csv",
                  labels_patch=str(patch))  # fmt: skip
    mine = replace(config, folds=replace(config.folds, file=str(folds)), competition=own)
    run_command(mine)
    assert (bundle_dir(config) / "files/folds.file.csv").read_bytes() == folds.read_bytes()
    assert (bundle_dir(config) / "files/competition.labels.csv").read_bytes() == labels.read_bytes()
    assert "\"folds.file\": BUNDLE / 'files/folds.file.csv'," in last_cell(config)
    assert "\"competition.labels\": BUNDLE / 'files/competition.labels.csv'," in last_cell(config)
    assert "\"competition.labels_patch\": BUNDLE / 'files/competition.labels_patch.csv'," in last_cell(config)
    assert (bundle_dir(config) / "files/competition.labels_patch.csv").read_bytes() == patch.read_bytes()
    assert portable(mine).competition.labels_patch is None
    assert "in_the_data.csv" not in last_cell(config)
    assert portable(mine).competition.labels is None
    assert portable(mine).competition.sample_submission == "in_the_data.csv"
    labels.unlink()
    with pytest.raises(UserError, match=r"competition\.labels=.*/elsewhere/labels\.csv: no such file"):
        run_command(mine)


@pytest.mark.usefixtures("shop")
def test_the_file_of_a_metric_is_taken_along(config: Config, tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text("def f(truth, probabilities): return 1.0\n")
    name = name_metric(f"{file}:f")
    mine = replace(config, competition=replace(config.competition, metric=name))
    run_command(mine)
    assert (bundle_dir(config) / "files/mine.py").read_bytes() == file.read_bytes()
    assert "\"competition.metric\": BUNDLE / 'files/mine.py:f'," in last_cell(config)
    assert name_metric(f"{bundle_dir(config)}/files/mine.py:f") == name
    OWN_METRICS.clear()
    with pytest.raises(UserError, match=r"mine\.py:f#\w+ needs its file"):
        run_command(mine)


# --- weights ----------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("shop")
def test_weights_of_a_file_are_taken_along(config: Config, tmp_path: Path) -> None:
    (tmp_path / "mine.safetensors").write_bytes(b"tensors")
    run_command(replace(config, model=replace(config.model, weights=str(tmp_path / "mine.safetensors"))))
    assert (bundle_dir(config) / "weights/test_efficientnet.safetensors").read_bytes() == b"tensors"
    assert "\"model.weights\": BUNDLE / 'weights/test_efficientnet.safetensors'," in last_cell(config)
    run_command(replace(config, model=replace(config.model, name="tf_efficientnet_lite0", weights="auto")))
    assert not (bundle_dir(config) / "weights").exists()  # they are a wheel


@pytest.mark.usefixtures("shop")
def test_weights_of_the_hub_are_fetched_here_and_fit_there(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    make, hub = timm.create_model, replace(config, model=replace(config.model, weights="hub"))

    def refuse(*_: Any, **__: Any) -> None:
        raise OSError("no internet")

    def from_hub(name: str, pretrained: bool = False, **options: Any) -> Any:
        model = make(name, **options)
        if pretrained:
            model.load_state_dict({key: value * 0 for key, value in model.state_dict().items()})
        return model

    monkeypatch.setattr(timm, "create_model", refuse)
    with pytest.raises(UserError, match=r"the weights of test_efficientnet did not come from the hub .*no internet"):
        run_command(hub)
    assert around(config) == set()
    monkeypatch.setattr(timm, "create_model", from_hub)
    run_command(hub)
    file = bundle_dir(config) / "weights/test_efficientnet.safetensors"
    there = find_weights("test_efficientnet", str(file))
    backbone = make_backbone("test_efficientnet", there, kwargs={}, cache_dir=file.parent)
    assert not any(value.any() for value in backbone.state_dict().values())


# --- made anew --------------------------------------------------------------------------------------------------


def test_a_missing_wheel_leaves_nothing_behind_or_the_old_bundle(
    config: Config, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(root: str, folder: Path, target: object) -> None:
        raise UserError("tiny could be had neither as a wheel nor as a source")

    def bundle(python: str) -> None:
        with monkeypatch.context() as offline:
            offline.setattr(stage, "gather_wheels", refuse)
            with pytest.raises(UserError, match="tiny could be had neither"):
                run_command(replace(config, bundle=replace(config.bundle, python=python)))

    bundle(HERE)
    assert around(config) == set()
    run_command(config)
    before = files(bundle_dir(config))
    bundle("3.99")
    assert around(config) == {"bundle"}
    assert files(bundle_dir(config)) == before
    assert read_json(bundle_dir(config) / "bundle.json")["python"] == HERE


def test_wheels_are_taken_over_until_something_changes(
    config: Config, shop: Shop, index: Index, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    run_command(config)
    assert shop.gathered == ["kagglepipe"]
    assert shop.proved == [{"kagglepipe-9.9-py3-none-any.whl", "tiny-1.0-py3-none-any.whl"}]
    with caplog.at_level(logging.INFO):
        run_command(replace(config, seed=7))
    assert "bundle: the 1 wheels of its dependencies in " in caplog.text
    assert len(shop.gathered) == 1
    assert files(bundle_dir(config) / "wheels") == shop.proved[0]
    assert "seed: 7" in (bundle_dir(config) / "conf/competition/bundle.yaml").read_text()
    (bundle_dir(config) / "wheels/tiny-1.0-py3-none-any.whl").unlink()
    run_command(config)
    assert len(shop.gathered) == 2
    monkeypatch.setattr(stage, "installed", lambda name: "3.0")  # something was upgraded here
    run_command(config)
    assert len(shop.gathered) == 3
    shop.package = index.wheel("kagglepipe", "10.0", "tiny")  # the code has changed, what it needs has not
    run_command(config)
    assert len(shop.gathered) == 3
    assert files(bundle_dir(config) / "wheels") == {"kagglepipe-10.0-py3-none-any.whl", "tiny-1.0-py3-none-any.whl"}
    shop.package = index.wheel("kagglepipe", "10.0", "tiny>=0.5")
    run_command(config)
    assert len(shop.gathered) == 4
    run_command(replace(config, bundle=replace(config.bundle, python="3.99")))
    assert len(shop.gathered) == 5
    assert around(config) == {"bundle"}


@pytest.mark.usefixtures("shop")
def test_a_name_at_kaggle_is_asked_for_once(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    run_command(config)
    file = bundle_dir(config) / "dataset-metadata.json"
    assert read_json(file)["id"] == "YOUR-KAGGLE-NAME/kagglepipe-colours"
    file.write_text(file.read_text().replace("YOUR-KAGGLE-NAME", "ada"))
    run_command(config)
    assert read_json(file)["id"] == "ada/kagglepipe-colours"
    monkeypatch.setenv("KAGGLE_USERNAME", "grace")
    run_command(config)
    assert read_json(file)["id"] == "grace/kagglepipe-colours"
    assert read_json(bundle_dir(config) / "kernel-metadata.json")["dataset_sources"] == ["grace/kagglepipe-colours"]


@pytest.mark.usefixtures("shop")
def test_without_pip_or_in_a_folder_that_holds_something_else_nothing_is_begun(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as without:
        without.setattr("kagglepipe.bundling.wheels.find_spec", lambda name: None)
        with pytest.raises(
            UserError, match=r"pip is missing .*: type python -m ensurepip \(with uv: uv pip install pip"
        ):
            run_command(config)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.txt").write_text("years of work")
    mine = replace(config, bundle=replace(config.bundle, folder=str(tmp_path / "mine")))
    with pytest.raises(UserError, match=r"folder=.*/mine is not empty and no bundle: give a new or an empty folder"):
        run_command(mine)
    assert files(tmp_path / "mine") == {"thesis.txt"}
    (tmp_path / "mine/thesis.txt").unlink()
    run_command(mine)
    run_command(mine)
    assert (tmp_path / "mine/kagglepipe.ipynb").is_file()


@pytest.mark.parametrize("python", ["3.10", "2.7", "312", "3.12.1", "new"])
def test_a_version_that_is_none_is_refused(python: str, configure: Configure) -> None:
    with pytest.raises(Exception, match=r"bundle\.python=.* must be 3\.11 or later, such as 3\.12"):
        configure(f"bundle.python='{python}'")


# --- the configuration ------------------------------------------------------------------------------------------

OPTIONS = (
    "seed=3", "model.crop=center", "+model.kwargs.drop_path_rate=0.1", "training.lr=3e-5", "cache.max_gb=1",
    "folds.only=[1]", "folds.seed=2", "device=cpu", "workers=1", "submit.file='/here/x.csv'", "augmentation=light",
    "sequences.motion=false",
)  # fmt: skip


@pytest.mark.parametrize("name", sorted(path.stem for path in (CONF / "competition").glob("*.yaml")))
def test_the_notebook_composes_the_same_configuration(name: str, configure: Configure, tmp_path: Path) -> None:
    config = configure(f"competition={name}", "competition.source='/photos/mine.zip'", *OPTIONS)
    config = replace(config, competition=replace(config.competition, title="a ${b} \\${c} ${oc.env:HOME}, d: #'"))
    put_configuration(config, tmp_path / "made")
    with initialize_config_dir(str(CONF), version_base="1.3"):
        search = f"hydra.searchpath=['file://{tmp_path / 'made/conf'}']"
        found = OmegaConf.to_object(compose("config", [search, "competition=bundle"]))
    assert found == portable(config)
    assert isinstance(found, Config)
    assert found.competition.slug == config.base_slug
    assert (found.model, found.training, found.sequences) == (config.model, config.training, config.sequences)
    assert (found.seed, found.folds.seed, found.folds.only) == (config.seed, config.folds.seed, [])
    assert found.paths == PathsOptions()
    assert "/photos" not in (tmp_path / "made/conf/competition/bundle.yaml").read_text()


def test_a_policy_of_the_users_own_comes_along_where_the_notebook_trains(configure: Configure, tmp_path: Path) -> None:
    file = tmp_path / "own.yaml"
    config = configure("competition=image_folder", "competition.source=/photos", f"augmentation.policy={file}")
    assert outside_files(config, "") == {"augmentation.policy": file}
    assert outside_files(config, "a-run") == {}
    assert portable(config).augmentation.policy == "auto"  # the notebook's command names the file beside it


# --- on Kaggle --------------------------------------------------------------------------------------------------


def play(bundle: Path, working: Path) -> subprocess.CompletedProcess[str]:
    """The notebook's code, run from top to bottom as it stands; this environment has all that it would install."""
    notebook = json.loads((bundle / "kagglepipe.ipynb").read_text())
    cells = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
    return subprocess.run([sys.executable, "-c", "\n".join(cells)], cwd=working, capture_output=True, text=True)


@pytest.mark.slow
@pytest.mark.usefixtures("shop")
def test_the_notebook_answers_for_a_hidden_test_with_the_run_that_it_brings(
    config: Config, toy: Path, tmp_path: Path
) -> None:
    run_command(replace(config, stage="train"))
    (run,) = [run.folder for run in RunStore(config.runs_dir).finished()]
    run_command(config)
    bundle, data = tmp_path / "kaggle input/datasets/me/some-name", tmp_path / "kaggle input/colours"
    working = tmp_path / "kaggle working"
    working.mkdir()
    bundle_dir(config).rename(bundle.parent.mkdir(parents=True) or bundle)
    toy.rename(data)
    for folder in ("data", "outputs"):
        shutil.rmtree(tmp_path / folder)  # nothing of this machine is needed
    for number in (12, 13):  # the names that everybody knows, other pictures
        red, blue = (data / f"test/{colour}{number}.png" for colour in ("red", "blue"))
        red.rename(tmp_path / "red")
        blue.rename(red)
        (tmp_path / "red").rename(blue)
    done = play(bundle, working)
    assert done.returncode == 0, done.stdout + done.stderr
    found = pd.read_csv(working / "submission.csv").set_index("id")["label"].to_dict()
    swap = {"red": "blue", "blue": "red", "green": "green"}
    assert found == {f"test/{colour}{n}.png": swap[colour] for colour in swap for n in (12, 13)}
    assert f"the files are not those beside which {run.name} was trained" in done.stdout
    made = {".locks", "submission.csv", "submission.json", "data", "outputs"}
    assert {path.name for path in working.iterdir()} == made


TASKS = {
    "multilabel": ["form=tags", "metric=f1_samples", "label_separator=';'"],
    "ordinal": ["form=name", "metric=quadratic_weighted_kappa"],
    "regression": ["form=numbers", "metric=rmsle"],
    "ranking": ["form=ranking", "metric=map_5", "ranks=5"],
}


def make_tasks(root: Path) -> None:
    """Pictures of noise around a grey, which is the number, grade, tags and one of eight names of each."""
    for name, count in (("train", 48), ("test", 12)):
        (root / name).mkdir(parents=True)
        random = np.random.default_rng(count)
        grey = random.permutation(np.linspace(5, 250, count).astype(int))
        for number, value in enumerate(grey):
            pixels = 0.6 * np.array([value, 255 - value, 120]) + random.integers(0, 100, (32, 32, 3))
            Image.fromarray(pixels.astype(np.uint8)).save(root / name / f"{name}{number}.png")
        tags = [";".join(tag for tag, least in (("dark", 0), ("grey", 90), ("bright", 170)) if one >= least)
                for one in grey]  # fmt: skip
        columns = {"multilabel": tags, "ordinal": grey // 64, "regression": grey / 10, "ranking": grey // 32}
        table = pd.DataFrame({"id": [f"{name}{number}" for number in range(count)], **columns})
        table["ranking"] = "w_" + table["ranking"].astype(str)
        table.to_csv(root / f"{name}.csv", index=False)


@pytest.mark.slow
@pytest.mark.usefixtures("shop")
@pytest.mark.parametrize("task", TASKS)
def test_the_notebook_writes_what_submit_writes_for_every_task(task: str, configure: Configure, tmp_path: Path) -> None:
    """A hidden picture is a copy of one that is known, so that it has its answer."""
    source, working = tmp_path / "source", tmp_path / "working"
    make_tasks(source)
    sample = pd.DataFrame({"id": [f"test{number}" for number in range(12)], task: "0"})
    sample[::-1].to_csv(source / "sample.csv", index=False)
    config = configure(
        "model=tiny", "training=head", "folds.count=3", "training.views=0", "competition=image_folder",
        f"competition.source='{source}'", "competition.slug=greys", f"kaggle.input='{tmp_path / 'input'}'",
        f"bundle.python='{HERE}'", f"competition.task={task}", "competition.labels=train.csv", "competition.test=test",
        f"+competition.columns={{item: id, label: {task}}}", "competition.id=stem", f"competition.target_column={task}",
        "competition.sample_submission=sample.csv", *(f"competition.{one}" for one in TASKS[task]),
    )  # fmt: skip
    run_command(replace(config, stage="submit"))
    run_command(replace(config, stage="bundle"))
    (csv,) = (tmp_path / "submissions").glob("*.csv")
    known = pd.read_csv(csv).set_index("id")[task]
    bundle = tmp_path / "input/bundle"
    bundle_dir(config).rename(bundle.parent.mkdir(parents=True) or bundle)
    (source / "test/hidden.png").write_bytes((source / "test/test3.png").read_bytes())
    pd.concat([sample, sample[:1].assign(id="hidden")]).to_csv(source / "sample.csv", index=False)
    source.rename(tmp_path / "input/greys")
    working.mkdir()
    done = play(bundle, working)
    assert done.returncode == 0, done.stdout + done.stderr
    found = pd.read_csv(working / "submission.csv").set_index("id")[task]
    assert list(found.index) == [*sample["id"], "hidden"]
    known = pd.concat([known[sample["id"]], known[["test3"]].rename({"test3": "hidden"})])
    if task == "regression":
        np.testing.assert_allclose(found, known, rtol=0.01)  # bfloat16: a batch of another size may round otherwise
    else:
        assert found.to_dict() == known.to_dict()
    assert found.nunique() > 2
