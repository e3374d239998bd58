"""The notebook is valid, finds what Kaggle mounts wherever it does, and stops where something is wrong."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import nbformat
import pytest

from kagglepipe.bundling.notebook import (
    UNKNOWN_USER,
    Contents,
    dataset_metadata,
    kaggle_name,
    kernel_metadata,
    make_notebook,
    read_me,
    setup_cell,
    submission_cell,
)

HERE = "{}.{}".format(*sys.version_info)
PLAIN = Contents("it's-a-slug", "competition", "/kaggle/input", HERE, "lite0-head-0", {"a.b": "f/x"})
TRAINS = replace(PLAIN, run="", files={})


def found(contents: Contents, cwd: Path) -> subprocess.CompletedProcess[str]:
    """The first cell in a process of its own, and what it finds."""
    text = setup_cell(contents) + "print(BUNDLE, globals().get('DATA'), WORKING, sep='|')\n"
    return subprocess.run([sys.executable, "-c", text], cwd=cwd, capture_output=True, text=True)


def mount(place: Path) -> Path:
    """A bundle, as far as the notebook looks for it."""
    (place / "wheels").mkdir(parents=True)
    (place / "wheels/kagglepipe-1.0-py3-none-any.whl").touch()
    return place


@pytest.mark.parametrize("contents", [PLAIN, TRAINS, replace(PLAIN, source="")])
def test_it_is_a_notebook_whose_cells_are_python(contents: Contents) -> None:
    notebook = json.loads(json.dumps(make_notebook(contents)))
    nbformat.validate(notebook)
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            compile("".join(cell["source"]), "cell", "exec")
    assert [cell["cell_type"] for cell in notebook["cells"]] == ["markdown", "code", "code", "code"]


@pytest.mark.parametrize(
    ("bundle", "data"),
    [
        ("x", "it's-a-slug"),
        ("x/kagglepipe", "competitions/it's-a-slug"),
        ("datasets/me/x", "datasets/me/it's-a-slug"),
        ("datasets/me/x/bundle", "it's-a-slug"),
    ],
)
def test_inputs_are_found_wherever_they_are_mounted(bundle: str, data: str, tmp_path: Path) -> None:
    (tmp_path / "input" / data).mkdir(parents=True)
    mount(tmp_path / "input" / bundle)
    done = found(replace(PLAIN, input=str(tmp_path / "input")), tmp_path)
    assert done.stdout.strip() == f"{tmp_path / 'input' / bundle}|{tmp_path / 'input' / data}|{tmp_path}", done.stderr


def test_the_sample_needs_no_data_and_what_is_not_attached_is_named(tmp_path: Path) -> None:
    done = found(replace(PLAIN, input=str(tmp_path)), tmp_path)
    assert "the bundle is not below" in done.stderr
    mount(tmp_path / "x")
    done = found(replace(PLAIN, source="", input=str(tmp_path)), tmp_path)
    assert done.stdout.strip() == f"{tmp_path / 'x'}|None|{tmp_path}"
    done = found(replace(PLAIN, input=str(tmp_path)), tmp_path)
    assert done.returncode == 1
    assert "the data of it's-a-slug" in done.stderr
    assert "attach it with Add Input" in done.stderr


def test_another_python_than_the_wheels_are_for_is_named_with_what_to_type(tmp_path: Path) -> None:
    done = found(replace(PLAIN, python="3.99"), tmp_path)
    assert f"the wheels are for Python 3.99, this is {HERE}: bundle again with bundle.python={HERE}" in done.stderr


def test_a_command_that_fails_stops_the_notebook_and_shows_why(tmp_path: Path) -> None:
    mount(tmp_path / "x")
    text = setup_cell(replace(PLAIN, source="", input=str(tmp_path)))
    last = "run('platform')\nrun('json.tool', 'no such file')\nprint('went on')\n"
    done = subprocess.run([sys.executable, "-c", text + last], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1
    assert "python" in done.stdout.lower() or "linux" in done.stdout.lower()
    assert "no such file" in done.stdout  # what the module printed on standard error
    assert "RuntimeError: json.tool ended with code" in done.stderr
    assert "went on" not in done.stdout


def test_the_command_predicts_with_the_run_or_trains() -> None:
    assert "'run/lite0-head-0'" in submission_cell(PLAIN)
    assert '"stage=submit"' in submission_cell(PLAIN)
    assert "\"a.b\": BUNDLE / 'f/x'," in submission_cell(PLAIN)
    assert '"competition.source": DATA,' in submission_cell(PLAIN)
    assert "run/" not in submission_cell(TRAINS)
    assert '"stage=all"' in submission_cell(TRAINS)


def test_names_that_kaggle_takes() -> None:
    assert kaggle_name("Ein Blödes__Wort") == "kagglepipe-ein-bl-des-wort"
    assert kaggle_name("写真") == "kagglepipe"
    assert kaggle_name("pistolas-vs-smartphones-con-deep-learning") == "kagglepipe-pistolas-vs-smartphones-con-deep"
    assert kaggle_name("pistolas-vs-smartphones-con-deep-learn") == "kagglepipe-pistolas-vs-smartphones-con-deep-learn"
    assert kaggle_name("x" * 60) == "kagglepipe"
    own = replace(PLAIN, slug="My Photos (2)", source="dataset")
    assert "SLUG = 'my-photos-2'\n" in setup_cell(own)
    assert "# My Photos (2)\n" in make_notebook(own)["cells"][0]["source"]


def test_what_is_written_for_kaggle_and_its_client() -> None:
    dataset, kernel = dataset_metadata(PLAIN, "me"), kernel_metadata(PLAIN, "me")
    assert dataset["id"] == "me/kagglepipe-it-s-a-slug"
    assert kernel["dataset_sources"] == [dataset["id"]]
    assert kernel["competition_sources"] == ["it's-a-slug"]
    assert kernel["enable_internet"] is False
    assert kernel_metadata(replace(PLAIN, source="dataset"), "me")["competition_sources"] == []
    assert "kaggle datasets create -p . --dir-mode zip" in read_me(PLAIN, "me")
    assert "in this folder:" in read_me(PLAIN, "me")
    nobody = f"in this folder, once {UNKNOWN_USER} in the two .json files is your name there:"
    assert nobody in read_me(PLAIN, UNKNOWN_USER)
    assert "Add Input: that dataset and the competition it's-a-slug." in read_me(PLAIN, "me")
