"""From what people type to one stage, or to one line that tells what to mend."""

import errno
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hypothesis import example, given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from kagglepipe.cli.arguments import check_arguments, quoted, with_stage
from kagglepipe.cli.compose import compose_config
from kagglepipe.cli.errors import file_error
from kagglepipe.config import CONF, PATH_KEYS, TEXT_KEYS, Config, schema
from kagglepipe.errors import UserError
from kagglepipe.stages import STAGE_HELP
from kagglepipe.tools import COMMANDS, TOOL_HELP
from kagglepipe.tools.commands import run_command

FOLDER = ("competition=image_folder", "experiment=quick", "training.views=0")
GROUPS = sorted(folder.name for folder in CONF.iterdir() if folder.is_dir() and folder.name != "hydra")
HEAVY = ["torch", "timm", "sklearn"]
Command = Callable[..., Any]  # the fixture `command` of conftest, which gives an Outcome


def python(code: str, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A fresh interpreter that runs `code` in `folder`."""
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=folder, capture_output=True, text=True, encoding="utf-8",
        env={**os.environ, "COLUMNS": "80"},
    )  # fmt: skip


def parsed(argument: str) -> Override:
    """The argument as Hydra's own grammar reads it."""
    (override,) = OverridesParser.create().parse_overrides([argument])
    return override


def value_of(argument: str) -> object:
    """The value that arrives in the configuration, interpolations resolved."""
    return OmegaConf.create({"value": parsed(argument).value()})["value"]


def test_a_command_keeps_the_memory_that_is_freed(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    monkeypatch.setattr("kagglepipe.tools.commands.keep_freed_memory", lambda: calls.append("kept"))
    command("course")
    assert calls == ["kept"]


def test_what_cannot_be_read_is_not_said_to_be_unwritable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "a.csv"
    file.touch()
    error = PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(file))
    assert (
        file_error(error)
        == f"{file} cannot be written (Permission denied): choose another place with paths.root=FOLDER"
    )

    def forbid(*_: object) -> None:
        raise error

    monkeypatch.setattr(Path, "open", forbid)
    assert file_error(error).startswith(f"{file} cannot be read (Permission denied): type chmod -R u+rX '{file}'")


# --- names of files as people have them -----------------------------------------------------------------------


ANYTHING = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=20)
NASTY = st.lists(st.sampled_from(["${", *"a b'\"\\=,(){}[]$:~é語🙂\t"]), min_size=1, max_size=12).map("".join)


def is_bare(text: str) -> bool:
    """Whether a value is a path as it is, not one that somebody has quoted for Hydra already."""
    return text != "null" and not (text[0] == text[-1] and text[0] in "'\"")


@given(text=(ANYTHING | NASTY).filter(is_bare))
@example("x (1).zip")
@example("it's.jpg")
@example("a=b.zip")
@example("a,b.zip")
@example("C:\\data\\")
@example("\\'")
@example("${oc.env:HOME}")
@example("\\${a}")
@example("a\\\\${b}")
@example("photos/ñandú 語.zip")
@example("rtsp://host/stream?a=1&b=2")
def test_any_path_survives_hydras_grammar(text: str) -> None:
    argument = quoted(f"competition.source={text}")
    expected = os.path.expanduser(text)  # noqa: PTH111
    assert value_of(argument) == expected
    assert value_of(f"input={parsed(argument).get_value_element_as_str()}") == expected  # as a sweep hands it on


@pytest.mark.parametrize("key", PATH_KEYS)
def test_every_path_option_is_quoted(key: str) -> None:
    override = parsed(quoted(f"{key}=my (1) file, it's=new.csv"))
    assert (override.key_or_group, override.value()) == (key, "my (1) file, it's=new.csv")


@pytest.mark.parametrize(
    "argument",
    ["training.lr=0.1", "input=null", "input=", "input='a b'", 'input="a b"', "ensemble.runs=[a,b]", "+input=a", "-m"],
)
def test_what_is_no_bare_path_stays_as_it_is(argument: str) -> None:
    assert quoted(argument) == argument


@pytest.mark.parametrize("key", TEXT_KEYS)
@pytest.mark.parametrize("multirun", [False, True])
@pytest.mark.parametrize(
    "text",
    [
        "el niño está",
        "A man, a dog's",
        "日本 (語)",
        "1e3",
        "true",
        "[a]",
        "{x: 1}",
        '"you" said',
        "a=b;#c\n",
        "${seed}",
    ],
)
def test_a_sentence_is_read_as_it_is_typed(key: str, text: str, multirun: bool) -> None:
    assert value_of(quoted(f"{key}={text}", multirun=multirun)) == text


@pytest.mark.parametrize("key", ["competition.target_column", "competition.columns.label", "competition.layout.a"])
@pytest.mark.parametrize(
    "name", ["größe", "Tipo (1)", "it's", "02", "1e3", "True", "{group}_{number}.jpg", "plain word"]
)
def test_a_name_is_read_as_it_is_typed(key: str, name: str) -> None:
    assert value_of(quoted(f"{key}={name}")) == name


def test_the_name_of_a_new_column_is_read_as_it_is_typed() -> None:
    assert quoted("+competition.columns.video=größe") == "+competition.columns.video='größe'"


def test_names_in_lists_are_read_as_they_are_typed() -> None:
    assert value_of(quoted("competition.classes=[größe, 02,a (1)]")) == ["größe", "02", "a (1)"]
    assert value_of(quoted("competition.columns.label=[Señal,b]")) == ["Señal", "b"]
    assert value_of(quoted("competition.exclude=*.jpg")) == ["*.jpg"]
    for unchanged in ("competition.classes=[]", "competition.classes=['a,b']", "competition.columns={label: a}"):
        assert quoted(unchanged) == unchanged


def test_a_sweep_over_names_stays_one() -> None:
    for argument in ("model.name=lite0,lite1", "model.name=choice(a,b)", "competition.slug=${oc.env:SLUG}"):
        assert quoted(argument, multirun=True) == argument


def test_in_a_multirun_a_list_of_values_stays_a_list_unless_a_file_has_that_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a,b.zip").touch()
    several = parsed(quoted("model.weights=a.safetensors,b.safetensors", multirun=True))
    assert list(several.sweep_string_iterator()) == ["a.safetensors", "b.safetensors"]
    for name in ("a,b.zip", "x (1).zip"):
        one = parsed(quoted(f"competition.source={name}", multirun=True))
        assert (one.is_sweep_override(), one.value()) == (False, name)


# --- stage names and flags ------------------------------------------------------------------------------------


def test_a_bare_stage_name_is_a_stage() -> None:
    for name in COMMANDS:
        assert with_stage(["seed=1", name]) == ["seed=1", f"stage={name}"]
    for other in (["stage=train", "run=all", "-m"], ["--cfg", "all"], ["-c", "all"], ["--info", "all"]):
        assert with_stage(other) == other


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--stage", "train"], "is not a flag; options are written as stage=train"),
        (["--stage=train"], "is not a flag; options are written as stage=train"),
        (["seed=1", "--training.lr", "0.1"], "is not a flag; options are written as training.lr=0.1"),
        (["-n"], "is not a flag; options are written as n=VALUE"),
        (["train", "seed=1", "submit"], "train and submit are several stages: type the last one"),
        (["-m", "seed=0,1", "--cfg", "job"], "^-m and --cfg exclude each other: leave all but one of them out"),
        (["--info", "all", "--run"], "^--info and --run exclude each other"),
        (["--resolve"], "type --cfg job --resolve"),
        *(
            (hydras, None)
            for hydras in (
                [],
                ["-m", "seed=1"],
                ["-c", "job", "--resolve"],
                ["--cfg=job"],
                ["--config-dir=x"],
                ["~input"],
            )
        ),
        (["training.lr=-1"], None),
    ],
)
def test_arguments_are_flags_one_stage_and_options(arguments: list[str], words: str | None) -> None:
    with pytest.raises(UserError, match=words) if words else nullcontext():
        check_arguments(arguments)


# --- errors: exit code 2 and one line -------------------------------------------------------------------------

MISTAKES = [
    ("sed=1", r"\bsed is not an option; did you mean seed\?"),
    ("trainning=head", r"\btrainning is not an option; did you mean training\?"),
    ("lr=1e-4", r"\blr is not an option; did you mean training\.lr or sequences\.lr\?"),
    ("predcit", r"\bpredcit is not a stage; did you mean predict\?"),
    ("+model.kwargs.in_chans=1", r"model\.kwargs\.in_chans is not read: type model\.in_chans, which"),
    ("competition.files=x.csv", r"competition\.files is not read for a competition of images"),
    ("submit.upload=true", r"submit\.upload is not read by stage=download, but by submit"),
    ("run=A", r"run is not read by stage=download, but by train"),
    ("training.epoch=1", r"training\.epoch is not an option; did you mean training\.epochs\?"),
    ("xyzzy.plugh=1", r"xyzzy\.plugh is not an option; .*--help"),
    ("+typo=1", r"\btypo is not an option"),
    ("++typo=1", r"\btypo is not an option"),
    ("+training.lrr=1", r"training\.lrr is not an option; did you mean training\.lr\?"),
    ("training.epochs=two", r"training\.epochs.*'two'"),
    ("training.lr=fast", r"training\.lr.*'fast'"),
    ("folds.count=2.5", r"folds\.count.*2\.5"),
    ("folds.only=[0,x]", r"folds\.only\[1\].*'x'"),
    ("folds=3", r"folds=3 does not name an option of folds: type folds\.count=3, or another of folds\.count, "),
    ("model=lite0,lite1", r"model=lite0,lite1 are several values: add -m \(--multirun\) for a run each"),
    ("ensemble.runs=A,B", r"ensemble\.runs=A,B is not a list: type 'ensemble\.runs=\[A,B\]'"),
    ("photos.zip", r"photos\.zip does not exist; .*competition\.source=PATH"),
    ("--cfg", r"--cfg needs a word after it, as --cfg job"),
    ("folds.remake=perhaps", r"folds\.remake.*'perhaps'"),
    ("seed=", r"\bseed\b.*''"),
    ("seed=null", r"\bseed\b"),
    ("seed=1,2", r"seed=1,2.*--multirun"),
    ("seed=${nothing}", r"\bseed\b.*nothing"),
    ("stage=trian", r"stage=trian is unknown; did you mean train\? choose one of: all, download, prepare"),
    ("competition.metric=f2", r"competition\.metric=f2 is unknown; choose one of: accuracy"),
    ("ensemble.method=middle", r"ensemble\.method=middle is unknown; choose one of: auto, mean"),
    ("augmentation.policy=wild", r"augmentation\.policy=wild is unknown"),
    ("training.mode=fast", r"training\.mode=fast is unknown"),
    ("model=timm", r"model=timm needs a name, as model=timm model\.name="),
    ("model.kwargs.depth=3", r"type \+model\.kwargs\.depth="),
    ("a b=c", r"a b=c cannot be read; options are written as name=value"),
    ("competition.classes=[a,", r"competition\.classes=\[a, cannot be read"),
    ("seed", r"\bseed cannot be read"),
    ("=3", r"=3"),
    ("--stage", r"--stage is not a flag"),
    *((f"{group}=nonsense", rf"{group}=nonsense is unknown; .*choose one of: ") for group in GROUPS),
]


@pytest.mark.parametrize(("argument", "words"), MISTAKES, ids=[argument for argument, _ in MISTAKES])
def test_a_mistake_ends_in_one_line_that_names_it_before_any_work(
    argument: str, words: str, command: Command, tmp_path: Path
) -> None:
    done = command(argument) if argument.startswith("stage=") else command("stage=download", argument)
    assert done.code == 2
    assert len(done.err) == 1, done.err
    assert done.err[0].startswith("kagglepipe: ")
    assert re.search(words, done.err[0]), done.err
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"classes: cat, dog\n", r"competition\.classes of competition/mine\.yaml is not a list: write it as \[a, b\]"),
        (b"classes: {a: b}\n", r"of competition/mine\.yaml is not a list: write it as \[a, b\]"),
        (b"layout:\n  cat: a\n  dog:\n", r"competition\.layout\.dog of competition/mine\.yaml is empty"),
        (b"title: x\n\tform: name\n", r"own/competition/mine\.yaml, line 2, is not valid YAML .*: indent by blanks"),
        (b'title: "x\n', r"own/competition/mine\.yaml, line 2, is not valid YAML"),
        (b"title: caf\xe9\n", r"own/competition/mine\.yaml is not UTF-8 .*: save it as UTF-8"),
        (b"classes: [on, off]\n", r"own/competition/mine\.yaml, line 1: on is read by YAML as .*: quote it, as 'on'"),
        (
            b"layout:\n  no: red\n",
            r"competition\.layout has a name that YAML reads as bool False.*: quote it, as 'off'",
        ),
    ],
)
def test_a_wrong_yaml_of_ones_own_is_one_line(text: bytes, words: str, command: Command, tmp_path: Path) -> None:
    (tmp_path / "own/competition").mkdir(parents=True)
    (tmp_path / "own/competition/mine.yaml").write_bytes(text)
    done = command("download", "--config-dir", "own", "competition=mine")
    assert (done.code, len(done.err)) == (2, 1)
    assert re.search(words, done.err[0]), done.err


@pytest.mark.parametrize("flag", [["--config-dir", "own"], ["--config-dir=own"], ["-cd", "own"]])
def test_a_flag_may_stand_between_options(flag: list[str], command: Command, tmp_path: Path) -> None:
    (tmp_path / "own/competition").mkdir(parents=True)
    (tmp_path / "own/competition/mine.yaml").write_text("metric: f2\n")
    done = command("download", *flag, "seed=1", "competition=mine")  # the command fixture works in tmp_path
    assert len(done.err) == 1
    assert done.err[0].startswith("kagglepipe: competition.metric=f2 is unknown; choose one of: accuracy")


def test_an_unknown_model_is_named_with_its_like(command: Command, tmp_path: Path) -> None:
    done = command("stage=train", "model=timm", "model.name=resnet1800", "model.weights=none")
    assert done.code == 2
    assert done.err[0].startswith("kagglepipe: model.name=resnet1800 is not a timm model; near it are resnet18")
    assert len(done.err) == 1
    assert not (tmp_path / "data").exists()


def test_a_mistake_in_a_process_of_its_own(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "kagglepipe", "competition.source=none (1).zip"], cwd=tmp_path, capture_output=True,
        text=True, encoding="utf-8",
    )  # fmt: skip
    assert done.returncode == 2
    assert [line for line in done.stdout.splitlines() if not line.startswith("starting, ")] == []
    (line,) = done.stderr.splitlines()
    assert re.match(r"kagglepipe: nothing is at .*none \(1\).zip: ", line)


# --- help and start-up ----------------------------------------------------------------------------------------


def test_help_lists_every_stage_and_tool_and_imports_next_to_nothing(tmp_path: Path) -> None:
    code = """if True:
        import runpy, sys
        sys.argv[1:] = ["--help"]
        runpy.run_module("kagglepipe", run_name="__main__")
        print({"torch", "pandas", "hydra", "numpy", "requests"} & set(sys.modules), file=sys.stderr)
    """
    done = python(code, tmp_path)
    assert (done.returncode, done.stderr.strip()) == (0, "set()")
    lines = done.stdout.splitlines()
    for name, text in {**STAGE_HELP, **TOOL_HELP}.items():
        assert f"  {name:<11} {text}" in lines
    assert max(map(len, lines)) <= 80
    for group in GROUPS:
        shown = done.stdout.partition(f"\n  {group}=")[2].partition("=")[0].replace(",", " ").split()
        assert {path.stem for path in (CONF / group).glob("*.yaml")} <= set(shown)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(sys.platform == "win32", reason="a shell redirects")
@pytest.mark.parametrize("redirection", ["", "| true", ">&-", "2>&-"])
def test_help_is_told_on_any_terminal_and_in_a_pipe_that_is_closed(redirection: str, tmp_path: Path) -> None:
    for encoding in ("ascii", "cp437"):
        command = f'"$0" -m kagglepipe --help {redirection}'
        env = {**os.environ, "PYTHONIOENCODING": encoding, "LC_ALL": "C", "PYTHONUTF8": "0"}
        done = subprocess.run(
            ["bash", "-o", "pipefail", "-c", command, sys.executable], cwd=tmp_path, env=env, capture_output=True
        )
        assert (done.returncode, done.stderr) == (0, b"")
        assert bool(done.stdout) == (redirection in ("", "2>&-"))


@pytest.mark.skipif(sys.platform == "win32", reason="a folder in use stays")
def test_a_folder_that_is_gone_is_named_in_one_line(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    code = "import os; os.rmdir(os.getcwd()); from kagglepipe.cli.main import main; main()"
    done = python(code, gone, "stage=doctor")
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        "kagglepipe: the current folder does not exist any more: cd to another one first"
    ]


def test_a_run_that_is_not_there_is_named_before_anything_is_downloaded(command: Command, tmp_path: Path) -> None:
    done = command("submit", "run=A", "competition=action_sample")
    assert done.code == 2
    assert done.err[0].startswith("kagglepipe: run=A is not a finished run in ")
    assert not (tmp_path / "data").exists()


def test_version(command: Command) -> None:
    from kagglepipe import __version__

    done = command("--version")
    assert (done.code, done.out, done.err) == (0, f"kagglepipe {__version__}\n", [])


@pytest.mark.slow
def test_download_ensemble_submit_and_runs_need_neither_torch_nor_sklearn(
    toy: Path, tmp_path: Path, configure: Callable[..., Config]
) -> None:
    options = [*FOLDER, f"competition.source={toy}"]
    config = configure("stage=train", *options)
    run_command(config)
    (run,) = (path.parent.name for path in tmp_path.glob("outputs/toy/*/metrics.json"))
    written = OmegaConf.load(tmp_path / "outputs/toy" / run / "config.yaml")
    assert OmegaConf.to_object(OmegaConf.merge(schema(Config), written)) == config
    code = """if True:
        import contextlib, json, os, sys
        from kagglepipe.cli.main import main
        commands, heavy = json.loads(sys.argv[1])
        found = {}
        for command in commands:
            sys.argv[1:] = command
            with contextlib.redirect_stdout(sys.stderr):
                main()
            found[command[0]] = sorted(set(heavy) & set(sys.modules))
        print(json.dumps(found))
    """
    commands = [
        ["stage=download", *options, "paths.root=elsewhere"],
        ["stage=ensemble", *options, f"ensemble.runs=[{run}]"],
        ["stage=submit", *options, f"run={run}"],
        ["stage=runs", *options],
    ]
    done = python(code, tmp_path, json.dumps([commands, HEAVY]))
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {command[0]: [] for command in commands}
    assert (tmp_path / f"submissions/{run}.csv").is_file()
    assert len(list(tmp_path.glob("outputs/toy/ensemble-auto-*/metrics.json"))) == 1


# --- where things are written ---------------------------------------------------------------------------------


def code_files() -> set[Path]:
    """What lies in the package and in conf/, save what Python compiles."""
    package = Path(sys.modules["kagglepipe"].__file__ or "").parent
    return {p for folder in (package, CONF) for p in folder.rglob("*") if "__pycache__" not in p.parts}


def test_nothing_is_written_outside_the_root(
    toy: Path, tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, root = tmp_path / "here", tmp_path / "root"
    here.mkdir()
    monkeypatch.chdir(here)
    code, photos = code_files(), sorted(toy.rglob("*"))
    options = [*FOLDER, f"competition.source={toy}", f"paths.root={root}"]
    assert command("stage=prepare", *options).code == 0
    assert command("stage=prepare", *options, "folds.count=40").code == 2
    assert command("-m", "stage=prepare", *options, "seed=0,1").code == 0
    assert list(here.iterdir()) == []
    assert sorted(path.name for path in root.iterdir()) == [".locks", "data", "outputs"]
    assert sorted(toy.rglob("*")) == photos
    assert code_files() == code
    assert sorted(path.name for path in tmp_path.iterdir()) == ["here", "root", "toy"]


# --- multirun -------------------------------------------------------------------------------------------------


def test_a_bad_job_is_named_and_the_good_ones_are_finished(toy: Path, tmp_path: Path, command: Command) -> None:
    jobs = "model.name=nonsense,test_efficientnet"
    done = command("-m", "stage=train", *FOLDER, f"competition.source={toy}", jobs)
    assert done.code not in (0, None)
    assert "model.name=nonsense is not a timm model" in done.err[-1]
    (metrics,) = tmp_path.glob("outputs/toy/*/metrics.json")
    assert json.loads(metrics.read_text())["score"] == 1.0


def test_a_sweep_over_a_path_makes_one_run_for_each_value(toy: Path, tmp_path: Path, command: Command) -> None:
    shutil.copytree(toy, tmp_path / "more")
    done = command("-m", "stage=prepare", *FOLDER, "competition.source=toy,more")
    assert done.code == 0, done.err
    assert sorted(path.parent.name for path in tmp_path.glob("data/*/folds.csv")) == ["more", "toy"]


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("training.regularisation=0.1", [0.1]), ("ensemble.runs=*-head-*", ["*-head-*"]), ("folds.only=0", [0]),
        ("ensemble.runs=best:8", ["best:8"]), ("predict.tta=auto", ["auto"]),
        ("competition.exclude=masks/*", ["masks/*"]), ("training.regularisation=[0.1,1]", [0.1, 1.0]),
    ],
)  # fmt: skip
def test_one_value_of_a_list_needs_no_brackets(word: str, expected: Any) -> None:
    config: Any = compose_config([word, "competition=image_folder", "competition.slug=it"])
    for name in word.partition("=")[0].split("."):
        config = getattr(config, name)
    assert config == expected
