"""Hints name what was meant, help is of what was asked for, and bash completes what can be typed."""

import ast
import os
import shutil
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest

from kagglepipe.cli import help
from kagglepipe.cli.completion import completions
from kagglepipe.cli.help import options_page, stage_help
from kagglepipe.cli.hints import near_options, unknown_choice, unknown_flag, unknown_word
from kagglepipe.config import Config, option_names, stages_reading
from kagglepipe.stages import STAGE_HELP
from kagglepipe.tools import TOOL_HELP


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("trainning", "training"),
        ("competiton", "competition"),
        ("modl", "model"),
        ("lr", "training.lr"),
        ("epochs", "training.epochs"),
        ("epoch", "training.epochs"),
        ("hidden", "model.temporal.hidden"),
        ("training.epoch", "training.epochs"),
        ("sequences.epochs", "training.epochs"),
        ("sed", "seed"),
        ("data", "competition.source"),
        ("learning_rate", "training.lr"),
        ("n_folds", "folds.count"),
        ("backbone", "model"),
    ],
)
def test_the_option_that_was_meant_is_the_first_or_second_named(typed: str, meant: str) -> None:
    assert meant in near_options(typed)[:2]


@pytest.mark.parametrize(
    ("hint", "words"),
    [
        (unknown_word("predcit"), "predcit is not a stage; did you mean predict?"),
        (unknown_word("trian"), "did you mean train?"),
        (unknown_word("Predict"), "did you mean predict?"),
        (unknown_word("seed"), "seed cannot be read; options are written as name=value"),
        (unknown_word("training.lr"), "training.lr cannot be read; options are written as name=value"),
        (unknown_word("epochs"), "did you mean training.epochs=VALUE?"),
        (
            unknown_word("/no/such/a"),
            "/no/such/a does not exist; folders and files are typed as competition.source=PATH",
        ),
        (unknown_word("xyzzy"), "xyzzy is not a stage; choose one of: all, download"),
        (unknown_word("stage", "train"), "type stage=train"),  # the value behind a blank
        (unknown_word("seed", "training=head"), "type seed=VALUE"),
        (unknown_word("/"), "predict input=/"),
        (unknown_flag("--hlep", "seed=1"), "did you mean --help?"),
        (unknown_flag("--mulitrun", ""), "did you mean --multirun?"),
        (unknown_flag("--stage", "train"), "options are written as stage=train"),
        (unknown_flag("--train", ""), "type train"),
        (unknown_flag("--epochs", "3"), "options are written as training.epochs=3"),
        (unknown_flag("--lr", "3"), "options are written as training.lr=3"),
        (unknown_flag("--training.lr=0.1", ""), "options are written as training.lr=0.1"),
        (unknown_choice("model", "lite3", ["lite0", "lite2"]), "model=timm model.name=tf_efficientnet_lite3"),
        (unknown_choice("model", "resnet18", ["lite0"]), "model=timm model.name=resnet18"),
        (unknown_choice("competition", "image_foldr", ["image_folder"]), "did you mean competition=image_folder?"),
        (unknown_choice("competition", "xyz", []), "competition=image_folder competition.source=FOLDER"),
    ],
)
def test_a_hint_names_what_to_type(hint: str, words: str) -> None:
    assert words in hint


# --- help ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stage", [*STAGE_HELP, *TOOL_HELP])
def test_the_help_of_a_stage_has_every_option_that_it_reads(stage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    text = stage_help(stage)
    assert text.startswith(f"usage: python -m kagglepipe {stage} ")
    assert max(map(len, text.splitlines())) <= 80
    for name in [name for name in option_names() if name != "stage"]:
        assert (f" {name}=" in text) == (stage in stages_reading(name)), name


NOT_LISTED = {  # refused by the stage, or read only to choose among stages
    "download": {"stage", "submit", "runs"},
    "prepare": {"run", "submit"},
    "train": {"stage"},
    "drill": {"run", "ensemble"},
    "reproduce": {"training"},
    "report": {"stage"},
}


@pytest.mark.parametrize("stage", [*STAGE_HELP, *TOOL_HELP])
def test_the_help_of_a_stage_has_the_options_that_its_file_names(stage: str) -> None:
    file = Path(help.__file__).parents[1] / ("tools" if stage in TOOL_HELP else "stages") / f"{stage}.py"
    nodes = [node for node in ast.walk(ast.parse(file.read_text("utf-8"))) if isinstance(node, ast.Attribute)]
    listed = {name for name in option_names() if stage in stages_reading(name)}
    listed |= {name.partition(".")[0] for name in listed}
    known = {*option_names(), *(one.name for one in fields(Config))}
    named = {ast.unparse(node).removeprefix("config.") for node in nodes}
    extra = {name for name in (named & known) - listed if name.partition(".")[0] not in NOT_LISTED.get(stage, set())}
    assert not extra


def test_options_stand_with_their_defaults_and_meaning() -> None:
    text = stage_help("train")
    assert "  training=auto | best | finetune | head" in text
    assert "  training.epochs=3" in text
    assert "  training.trackers=[]" in text
    assert "  model.image_size=null" in text
    assert "Share of the steps with a rising rate." in text


def test_the_page_of_options_is_the_one_that_the_options_make() -> None:
    page = Path(__file__).parents[2] / "docs" / "options.md"
    assert page.read_text(encoding="utf-8") == options_page() + "\n", "python -m kagglepipe.cli.help > docs/options.md"


# --- completion ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("word", "found"),
    [
        ("pred", ["predict", "predict."]),
        ("training.ep", ["training.epochs="]),
        ("mod", ["model.", "model="]),
        ("model=mean", ["model=mean_pool", "model=mean_pool_diff"]),
        ("stage=de", ["stage=describe", "stage=detect"]),
        ("detect.video=", ["detect.video=true", "detect.video=false"]),
        ("competition.source=", []),
        ("--shell", ["--shell-completion"]),
    ],
)
def test_a_word_is_completed(word: str, found: list[str]) -> None:
    assert completions(word) == found


COMPLETE = """
python() { shift 2; "$PYTHON" -m kagglepipe "$@"; }
eval "$(python -m kagglepipe --shell-completion install=bash)"
try() {
    COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))
    COMP_LINE="$*"; COMP_LINE="${COMP_LINE// = /=}"; COMP_POINT=${#COMP_LINE}; COMPREPLY=()
    _kagglepipe_complete; echo "${COMPREPLY[*]}"
}
complete -p kagglepipe python | grep -c _kagglepipe_complete
try python -m kagglepipe annot
try python -m kagglepipe train model = lite
try python -m kagglepipe predict input = ph
try python scri
"""


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not here")
def test_bash_completes_stages_choices_and_paths_for_the_command_as_readme_types_it(tmp_path: Path) -> None:
    for name in ("photos", "script.py"):
        (tmp_path / name).touch()
    done = subprocess.run(
        ["bash", "-c", COMPLETE],
        cwd=tmp_path,
        env={**os.environ, "PYTHON": sys.executable},
        capture_output=True,
        text=True,
    )
    assert done.stdout.splitlines() == ["2", "annotations", "lite0 lite1 lite2", "photos", "script.py"], done.stderr


def test_a_shell_has_to_be_named(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "kagglepipe", "--shell-completion"], cwd=tmp_path, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert "--shell-completion install=bash" in done.stderr
    assert len(done.stderr.splitlines()) == 1
