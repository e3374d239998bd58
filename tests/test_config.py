"""Every YAML composes, every dataclass refuses what cannot be meant, and a run's hash holds what decides it."""

import tomllib
from collections.abc import Callable
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from omegaconf import OmegaConf

from kagglepipe.cli.yaml_files import check_quoted_names
from kagglepipe.config import (
    CONF,
    DICT_OPTIONS,
    PATH_KEYS,
    POLICY_OF_MODE,
    Config,
    check_option_names,
    option_facts,
    option_fields,
    option_names,
    schema,
)
from kagglepipe.errors import UserError
from kagglepipe.files import absolute
from kagglepipe.options import POLICIES, CompetitionOptions, ModelOptions, PathsOptions
from kagglepipe.runs.identity import RUN_WORDS, idle_settings, kinds_reading, result_settings
from kagglepipe.runs.provenance import write_config
from kagglepipe.stages import STAGE_HELP, STAGES_BEFORE
from kagglepipe.stages.pipeline import STAGES
from kagglepipe.tools import COMMANDS, TOOL_HELP
from kagglepipe.tools.commands import TOOLS
from tests.composing import changed

Configure = Callable[..., Config]
EXPERIMENTS = sorted((CONF / "experiment").rglob("*.yaml"))
OPTIONS = sorted(path for path in CONF.glob("*/*.yaml") if path.parent.name not in ("hydra", "experiment"))


def shaped(*overrides: str) -> Config:
    """The defaults with these values; quicker than composing conf/."""
    return changed(Config(), *overrides)


def name_in_group(path: Path, group: str) -> str:
    """How the option is typed: its path below the group, without the ending."""
    return path.relative_to(CONF / group).with_suffix("").as_posix()


# --- the files in conf/ ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: path.stem)
def test_every_experiment_composes_and_builds(path: Path, configure: Configure, tmp_path: Path) -> None:
    from kagglepipe.images.augment import Transform
    from kagglepipe.models.classifier import Classifier, make_backbone, preprocessing_of
    from kagglepipe.models.weights import Weights

    config = configure(f"experiment={name_in_group(path, 'experiment')}")
    options, mode = config.model, "head" if config.training.mode == "auto" else config.training.mode
    backbone = make_backbone(options.name, Weights("none", "none"), kwargs=options.kwargs, cache_dir=tmp_path)
    preprocessing = preprocessing_of(
        backbone, image_size=options.image_size, crop=options.crop, short_side=config.cache.short_side
    )
    network = Classifier(backbone, 3, preprocessing)
    transform = Transform(config.augmentation_policy(mode), preprocessing.size)
    view = transform(np.zeros((40, 60, 3), np.uint8), 0, 1, "a")
    assert view.shape == (preprocessing.size, preprocessing.size, 3)
    assert network.head.out_features == 3


@pytest.mark.parametrize("path", OPTIONS, ids=lambda path: f"{path.parent.name}={path.stem}")
def test_every_option_of_a_group_composes(path: Path, configure: Configure) -> None:
    group = path.parent.name
    more = ["model.name=test_vit"] if path.stem == "timm" else []
    config = configure(f"{group}={name_in_group(path, group)}", *more)
    written = OmegaConf.to_container(OmegaConf.load(path))
    assert isinstance(written, dict)
    whole = path.read_text(encoding="utf-8").startswith("# @package _global_")
    written = {key: value for key, value in written.items() if key not in ("defaults", "name" if more else "")}
    assert_holds(config if whole else getattr(config, group), written)


def assert_holds(node: Any, written: dict[Any, Any]) -> None:
    """What a YAML file says is what the configuration has, section by section."""
    for key, value in written.items():
        held = getattr(node, str(key))
        if is_dataclass(held):
            assert_holds(held, value)
        else:
            assert held == value, key


def test_an_experiment_beats_the_competition_and_the_command_line_beats_both(configure: Configure) -> None:
    assert configure().model.name == "tf_efficientnet_lite0"
    assert configure("experiment=quick").model.name == "test_efficientnet"
    assert configure("model=lite1", "experiment=quick").model.name == "tf_efficientnet_lite1"
    assert configure("experiment=quick", "folds.count=4").folds.count == 4


# --- the names that are written twice -------------------------------------------------------------------------


def test_the_choices_of_options_are_those_of_the_library() -> None:
    from kagglepipe.images import augment, views
    from kagglepipe.models import recurrent, temporal
    from kagglepipe.predictions import blend, calibration, weights
    from kagglepipe.segments import metrics as segment_metrics
    from kagglepipe.sweeps import objectives
    from kagglepipe.training import trackers

    known = {
        "augmentation.policy": ["auto", *augment.POLICIES],
        "competition.augmentation": augment.POLICIES,
        "competition.segment_metric": [*segment_metrics.SEGMENT_SCORES, "event_ap"],
        "ensemble.calibrate": ["none", "auto", *calibration.CALIBRATIONS],
        "ensemble.method": ["auto", *{name for of in blend.METHODS_OF.values() for name in of}, *weights.FITTED],
        "model.temporal.cell": ["auto", "mean", "conv", *recurrent.CELLS],
        "model.temporal.pooling": temporal.POOLING,
        "predict.tta": ["auto", *views.TURNS],
        "sweep.objectives": ["score", *objectives.MEASURES],
        "training.trackers": trackers.TRACKERS,
    }
    choices = {name: one.metadata["choices"] for name, one in option_fields()}
    assert {name: set(choices[name]) for name in known} == {name: set(names) for name, names in known.items()}
    assert set(blend.POOLS) == set(weights.FITTED)


def test_pyproject_names_every_stage_tool_tracker_and_backend() -> None:
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = {one["name"]: one for one in project["tool"]["importlinter"]["contracts"]}
    for what, functions, helped in (("stages", STAGES, STAGE_HELP), ("tools", TOOLS, TOOL_HELP)):
        modules = contracts[f"{what.capitalize()} do not import one another"]["modules"]
        assert {name.rpartition(".")[2] for name in modules} == functions.keys() == helped.keys()
    assert STAGE_HELP.keys() <= STAGES_BEFORE.keys() <= {*STAGE_HELP, *TOOL_HELP}
    choices = {name: one.metadata["choices"] for name, one in option_fields()}
    extras = {*choices["training.trackers"], *choices["engine"]} - {"auto", "torch"}
    assert extras <= project["project"]["optional-dependencies"].keys()


def test_readers_of_options_are_stages_and_tools() -> None:
    words = {word for name in option_names() for facts in option_facts(name) for word in facts["stages"]}
    assert words <= set(COMMANDS)


def test_every_policy_has_its_yaml_and_auto_is_settled_by_the_mode() -> None:
    assert {path.stem for path in (CONF / "augmentation").glob("*.yaml")} == {"auto", *POLICIES}
    usual = "competition.augmentation=null"
    auto, none = shaped("augmentation.policy=auto", usual), shaped("augmentation.policy=none")
    assert {mode: auto.augmentation_policy(mode) for mode in POLICY_OF_MODE} == POLICY_OF_MODE
    assert none.augmentation_policy("head") == "none"


def test_a_competition_may_have_a_policy() -> None:
    own = "competition.augmentation=resolution"
    policies = {mode: shaped(own).augmentation_policy(mode) for mode in POLICY_OF_MODE}
    assert policies == {"head": "resolution", "finetune": "resolution"}
    assert shaped(own, "augmentation.policy=light").augmentation_policy("head") == "light"


def test_option_names_are_all_there_is_to_type(configure: Configure) -> None:
    names, config = option_names(), schema(configure())
    assert len(names) == len(set(names))
    assert {"stage", "seed", "training.lr", "folds.only", "competition.layout", "submit.file"} <= set(names)
    assert set(PATH_KEYS) <= set(names)
    assert set(DICT_OPTIONS) <= set(names)
    assert [name for name in names if OmegaConf.select(config, name, default=Ellipsis) is Ellipsis] == []
    check_option_names(OmegaConf.to_container(config))


@pytest.mark.parametrize(
    ("text", "line", "name"),
    [
        ("classes: [on, 'off']", 1, "on"), ("classes:\n- cat\n- no", 3, "no"), ("classes: [010, 020]", 1, "010"),
        ("classes: [cat, ~]", 1, "~"), ("classes: [1e3]", 1, "1e3"), ("classes: [12:30]", 1, "12:30"),
        ("layout:\n  yes: a\n  cat: b", 2, "yes"), ("competition:\n  background: off", 2, "off"),
        ("layout: {cat: off}", 1, "off"), ("columns: {label: on}", 1, "on"), ("target_column: no", 1, "no"),
        ("competition:\n  kind: image\n  labels: 010", 3, "010"), ("classes: [null, cat]", 1, "null"),
        ("columns: {label: null}", 1, "null"), ("columns: {null: a}", 1, "null"),
    ],
)  # fmt: skip
def test_names_that_yaml_reads_as_something_else_are_to_be_quoted(
    text: str, line: int, name: str, tmp_path: Path
) -> None:
    (tmp_path / "x.yaml").write_text(text)
    with pytest.raises(UserError, match=f"x.yaml, line {line}: {name} is read by YAML as .*: quote it, as '{name}'"):
        check_quoted_names(tmp_path / "x.yaml")


@pytest.mark.parametrize(
    "text", ["", "# no option", "classes: ['on', \"off\", 0, 1, -5, 2020-01-01, True]\nbackground: null\ntest: ~",
             "refresh: on\nper_class: 010\nskeleton: {hip: 0x1}\nsource: ${paths.root}/x\ntitle: 2020", "classes: null",
             "columns: {item: id, group: null, start: ~}"]
)  # fmt: skip
def test_other_names_need_no_quotes(text: str, tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text(text)
    check_quoted_names(tmp_path / "x.yaml")


# --- what cannot be meant -------------------------------------------------------------------------------------

BAD = [
    "download.max_gb=0", "download.max_gb=inf", "download.max_gb=nan", "download.max_entries=0",
    "prepare.max_side=0", "prepare.near_bits=-1",
    "cache.max_gb=-1", "cache.max_gb=inf", "cache.max_gb=nan", "cache.short_side=7",
    "folds.count=1", "folds.count=0",
    "augmentation.policy=wild", "augment.images=0", "augment.views=0",
    "model.name=''", "model.crop=round", "model.image_size=15",
    "training.mode=fast", "training.schedule=step", "training.views=-1", "training.epochs=0",
    "training.batch_size=0", "training.patience=0", "training.lr=0", "training.lr=-0.1", "training.lr=nan",
    "training.clip=0", "training.layer_decay=1.1", "training.warmup=-0.1", "training.label_smoothing=2",
    "training.frozen_below=-1", "training.weight_decay=-1", "training.regularisation=[]",
    "training.regularisation=[0.1,0]", "training.regularisation=[nan]",
    "ensemble.method=middle",
    "ensemble.calibrate=sometimes", "ensemble.threshold=0.5", "ensemble.power=0",
    "predict.picture=-1",
    "competition.kind=sound", "competition.form=words", "competition.id=number", "competition.on_bad_image=ignore",
    "competition.per_class=0",
    "seed=-1", "workers=0", "device=gpu", "competition.augmentation=blur", "sequences.rate=20000",
]  # fmt: skip


@pytest.mark.parametrize("override", BAD)
def test_a_value_that_cannot_be_meant_is_refused_by_the_name_of_its_option(override: str) -> None:
    option, value = override.split("=")
    with pytest.raises(UserError) as caught:
        shaped(override)
    told = str(caught.value)
    assert option.removesuffix(".name") in told
    assert value.strip("'[]").split(",")[-1] in told or "needs" in told
    assert "\n" not in told


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["model.in_bits=12"], "must be 8 or 16"),
        (["model.in_chans=5", "augmentation.policy=paste"], "paste finds objects by colour"),
        (["competition.kind=video", "augmentation.policy=paste"], "paste puts photos on photos, not frames on frames"),
        (["ensemble.method=power_mean"], r"was removed: type ensemble\.method=geometric_mean"),
        (["model.image_size=96", "model.kwargs={img_size: 64}"], "are two sizes"),
        (["training.from_scratch=true"], "would not keep model.weights=auto: type one of model.weights=none and"),
        (["model.kwargs={img_size: [64, 96]}"], "must be one number"),
    ],
)
def test_what_contradicts_itself_is_refused_with_what_to_type(overrides: list[str], words: str) -> None:
    with pytest.raises(UserError, match=words):
        shaped(*overrides)


def test_the_size_of_images_may_be_an_argument_of_the_network() -> None:
    assert ModelOptions(image_size=64, kwargs={"img_size": 64}).side == ModelOptions(kwargs={"img_size": 64}).side == 64


@pytest.mark.parametrize(
    "override",
    [
        "cache.max_gb=0", "prepare.near_bits=0", "training.views=0", "training.weight_decay=0", "training.warmup=0",
        "training.warmup=1", "predict.picture=0", "folds.count=2", "seed=0", "workers=1", "device=cuda:1", "device=mps",
        "competition.per_class=1", "model.image_size=16",
    ],
)  # fmt: skip
def test_the_limits_themselves_are_allowed(override: str) -> None:
    option, value = override.split("=")
    assert str(OmegaConf.select(schema(shaped(override)), option)) in (value, f"{value}.0")


# --- names and places -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "slug"),
    [
        ("photos", "photos"), ("~/photos/", "photos"), ("x (1).zip", "x (1)"), ("a.b/my.photos.zip", "my.photos"),
        ("photos/.", "photos"), ("photos/deeper/..", "photos"), ("../photos", "photos"), ("..", "around"),
    ],
)  # fmt: skip
def test_a_folder_of_images_is_called_by_its_name(
    source: str, slug: str, configure: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "around/here").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "around/here")
    config = configure("competition=image_folder", f"competition.source='{source}'")
    assert config.base_slug == slug
    assert config.base_dir == config.data_dir == tmp_path / "data" / slug
    assert config.runs_dir == tmp_path / "outputs" / slug


def test_a_competition_without_a_name_is_asked_for_its_source(configure: Configure) -> None:
    with pytest.raises(UserError, match=r"give its folder or zip, as competition\.source="):
        _ = configure("competition=image_folder").base_slug


def test_few_labels_have_a_folder_of_their_own(configure: Configure, tmp_path: Path) -> None:
    config = configure("competition.per_class=25", "seed=3")
    assert config.data_dir == tmp_path / "data/pistolas-vs-smartphones-con-deep-learning-25-per-class-seed-3"
    assert config.base_dir == tmp_path / "data/pistolas-vs-smartphones-con-deep-learning"


def test_paths_are_seen_from_the_shells_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/me")
    assert absolute("a.zip") == tmp_path / "a.zip"
    assert absolute("~/a.zip") == Path("/home/me/a.zip")
    assert absolute("/b/a.zip") == Path("/b/a.zip")
    assert Config(paths=PathsOptions("~/x")).root == Path("/home/me/x")


def test_only_the_sample_is_the_sample(configure: Configure) -> None:
    assert configure("competition=pistols_vs_smartphones_sample").competition.is_sample
    assert not configure().competition.is_sample
    assert not CompetitionOptions().is_sample


# --- what decides a run's results -----------------------------------------------------------------------------


@pytest.mark.parametrize("override", ["training.lr=0.5", "training.epochs=9", "training.patience=1"])
def test_settings_of_finetuning_do_not_touch_a_head(override: str) -> None:
    before, after = shaped("augmentation.policy=light"), shaped("augmentation.policy=light", override)
    assert result_settings(after, "head") == result_settings(before, "head")
    assert result_settings(after, "finetune") != result_settings(before, "finetune")
    assert idle_settings(after, "head") == [override.split("=")[0]]
    assert idle_settings(after, "finetune") == []


@pytest.mark.parametrize(
    "override",
    [
        "training.views=2", "training.regularisation=[1.0]", "seed=1", "augmentation.policy=none", "model.name=x",
        "model.image_size=64", "model.crop=center", "model.kwargs.drop_rate=0.1", "cache.short_side=128",
    ],
)  # fmt: skip
@pytest.mark.parametrize("mode", ["head", "finetune"])
def test_what_changes_results_is_in_the_hash(override: str, mode: str) -> None:
    assert result_settings(shaped(override), mode) != result_settings(shaped(), mode)


@pytest.mark.parametrize(
    "override",
    [
        "paths.root=/elsewhere", "workers=1", "competition.source=photos.zip", "competition.refresh=true",
        "stage=train", "folds.only=[1]", "folds.remake=true", "run=x", "input=x", "device=cpu", "cache.max_gb=1",
        "submit.file=x.csv", "predict.file=x.csv", "ensemble.runs=[a]", "augment.views=2", "download.max_gb=1",
        "ensemble.calibrate=auto", "ensemble.method=nnls",
        "training.budget=1h", "training.micro_batch=4", "training.deterministic=true", "training.compile=true",
        "training.trackers=[wandb]",
    ],
)  # fmt: skip
@pytest.mark.parametrize("mode", ["head", "finetune"])
def test_paths_workers_and_the_like_are_not(override: str, mode: str) -> None:
    assert shaped(override) != shaped()
    assert result_settings(shaped(override), mode) == result_settings(shaped(), mode)


def test_every_option_says_what_it_means_and_is_read_by_some_run() -> None:
    for name, one in option_fields():
        assert one.metadata["doc"].endswith("."), name
        assert kinds_reading(name), name
        assert set(" ".join(one.metadata["read_by"]).split()) <= {"image", "video", "series", "audio", *RUN_WORDS}, name
    stages = {name for one in fields(Config) for name in one.metadata["stages"]}
    assert stages == set(COMMANDS) - {"all"}


@pytest.mark.parametrize("mode", ["head", "finetune"])
def test_auto_is_the_same_run_as_what_it_comes_to(mode: str) -> None:
    said = {policy: result_settings(shaped(f"augmentation.policy={policy}"), mode) for policy in ("auto", *POLICIES)}
    assert [policy for policy in POLICIES if said[policy] == said["auto"]] == [POLICY_OF_MODE[mode]]


@pytest.mark.parametrize("mode", ["head", "finetune"])
def test_mirroring_is_named_where_it_is_off_and_would_be_done(mode: str) -> None:
    """So that every run of a version without the option keeps its name."""
    assert "mirror" not in result_settings(shaped("augmentation.mirror=true"), mode)
    assert result_settings(shaped("augmentation.mirror=false"), mode) == {
        **result_settings(shaped(), mode),
        "mirror": False,
    }
    assert "mirror" not in result_settings(shaped("augmentation.mirror=false", "augmentation.policy=none"), mode)


def test_a_policy_in_a_file_is_named_by_what_it_says(tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("a.yaml", "b.json", "c.yaml")]
    for file, p in zip(files, (1.0, 1.0, 0.5), strict=True):
        file.write_text(f'{{"transform": {{"__class_fullname__": "ToGray", "p": {p}}}}}')
    a, b, c = (result_settings(shaped(f"augmentation.policy={file}"), "head")["augmentation"] for file in files)
    assert a == b != c
    assert str(tmp_path) not in a


# --- a run's config.yaml --------------------------------------------------------------------------------------


def read_back(folder: Path) -> Config:
    config = OmegaConf.to_object(OmegaConf.merge(schema(Config), OmegaConf.load(folder / "config.yaml")))
    assert isinstance(config, Config)
    return config


@pytest.mark.parametrize("experiment", [path.stem for path in EXPERIMENTS])
def test_the_config_of_a_run_composes_back(experiment: str, configure: Configure, tmp_path: Path) -> None:
    config = configure(
        f"experiment={experiment}", "stage=train", "folds.only=[1]", "training.lr=1e-5",
        "training.regularisation=[0.5]", "+model.kwargs.drop_rate=0.1",
    )  # fmt: skip
    write_config(config, tmp_path / "config.yaml")
    assert read_back(tmp_path) == config
    assert read_back(tmp_path) != replace(config, seed=1)


@pytest.mark.parametrize("name", ["a${b}", "a${b", "it's (1)", "a: b", "007", "null"])
def test_odd_names_come_back_from_the_config_of_a_run(name: str, tmp_path: Path) -> None:
    config = shaped()
    config = replace(config, input=name, competition=replace(config.competition, source=name))
    write_config(config, tmp_path / "config.yaml")
    assert read_back(tmp_path) == config
