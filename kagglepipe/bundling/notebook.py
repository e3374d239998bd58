"""Notebook of a bundle, and the metadata with which Kaggle's own client uploads both.

Its cells are plain Python without `!` or `%`: unlike `!pip`, a command that fails stops the notebook, and tests run the
same text.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

UNKNOWN_USER = "YOUR-KAGGLE-NAME"  # replaced by the user's name
FILE = "kagglepipe.ipynb"
MAX_NAME = 50  # characters at Kaggle


@dataclass(frozen=True)
class Contents:
    """What the notebook finds in a bundle and beside it.

    slug: competition, or dataset with the user's own files. source: `competition` or `dataset`; "" for drawn samples,
    which need no files. input: folder where Kaggle mounts datasets. python: version of the wheels. run: the run to
    predict with; "" to train one. files: option -> file relative to the bundle.
    """

    slug: str
    source: str
    input: str
    python: str
    run: str = ""
    files: Mapping[str, str] = field(default_factory=dict)

    @property
    def attached(self) -> str:
        """Text that names the input to attach beside the bundle."""
        return f" and the {self.source} `{self.mounted}`" if self.source else ""

    @property
    def mounted(self) -> str:
        """Folder name of the data at Kaggle: the competition's slug, or a dataset's name as Kaggle makes it."""
        return plain(self.slug) if self.source == "dataset" else self.slug


FIND = '''
found = "{0}.{1}".format(*sys.version_info)
if found != PYTHON:
    raise RuntimeError(f"the wheels are for Python {PYTHON}, this is {found}: bundle again with bundle.python={found}")


def attached(what, *patterns):
    """The first folder or file below INPUT that fits a pattern; Kaggle mounts at more than one depth."""
    for pattern in patterns:
        for path in sorted(INPUT.glob(pattern)):
            return path
    raise RuntimeError(f"{what} is not below {INPUT}: attach it with Add Input")


def run(module, *arguments):
    """Runs a Python module, shows what it says, and stops the notebook if it fails."""
    command = [sys.executable, "-u", "-m", module, *map(str, arguments)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        for line in process.stdout:
            print(line, end="")
    if process.returncode:
        raise RuntimeError(f"{module} ended with code {process.returncode}, for the reason above")


WHEEL = attached("the bundle", *(depth * "*/" + "wheels/kagglepipe-*.whl" for depth in (1, 2, 3, 4)))
BUNDLE = WHEEL.parents[1]
'''
DATA = """\
DATA = attached(f"the data of {SLUG}", SLUG, f"competitions/{SLUG}", f"datasets/*/{SLUG}")
"""
INSTALL = """
run("pip", "install", "--quiet", "--no-compile", "--no-index", "--find-links", BUNDLE / "wheels", "kagglepipe")
"""


def make_notebook(contents: Contents) -> dict[str, Any]:
    """Notebook in Jupyter's format 4."""
    what = f"It predicts with the run `{contents.run}`." if contents.run else "It trains here, then predicts."
    introduction = f"""
# {contents.slug}

{what} It needs no internet. *Add Input*: the dataset with the bundle{contents.attached}.

Made by `python -m kagglepipe bundle`.
"""
    texts = (introduction, setup_cell(contents), INSTALL, submission_cell(contents))
    first, *cells = [{"metadata": {}, "source": text.strip().splitlines(keepends=True)} for text in texts]
    code: dict[str, Any] = {"cell_type": "code", "execution_count": None, "outputs": []}
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    metadata = {"kernelspec": kernel, "language_info": {"name": "python", "version": contents.python}}
    all_cells = [{**first, "cell_type": "markdown"}, *({**cell, **code} for cell in cells)]
    return {"cells": all_cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 4}


def setup_cell(contents: Contents) -> str:
    """Cell that finds the attached inputs and checks the Python version."""
    head = f"""
import subprocess
import sys
from pathlib import Path

INPUT = Path({contents.input!r})  # where Kaggle mounts attached data sets
WORKING = Path.cwd()  # /kaggle/working, where a submission belongs
PYTHON = {contents.python!r}
"""
    if not contents.source:
        return head + FIND
    return f"{head}SLUG = {contents.mounted!r}\n{FIND}{DATA}"


def submission_cell(contents: Contents) -> str:
    """Cell that writes submission.csv."""
    options = {"paths.root": "WORKING", "submit.file": 'WORKING / "submission.csv"'}
    options |= {"competition.source": "DATA"} if contents.source else {}
    options |= {"run": f"BUNDLE / {f'run/{contents.run}'!r}"} if contents.run else {}
    options |= {key: f"BUNDLE / {file!r}" for key, file in contents.files.items()}
    lines = "\n".join(f'    "{key}": {value},' for key, value in options.items())
    stage = "submit" if contents.run else "all"
    return f"""
options = {{
{lines}
}}
arguments = [f"{{key}}={{value}}" for key, value in options.items()]
run("kagglepipe", "--config-dir", BUNDLE / "conf", "stage={stage}", "competition=bundle", *arguments)
"""


# --- how it gets to Kaggle ---------------------------------------------------------------------------------------


def plain(text: str) -> str:
    """Name that Kaggle makes of a title.

    >>> plain("My Photos (2)")
    'my-photos-2'
    """
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def kaggle_name(slug: str) -> str:
    """Name of the bundle's dataset and notebook at Kaggle, cut between words."""
    name = plain(f"kagglepipe-{slug}")
    return name if len(name) <= MAX_NAME else name[: MAX_NAME + 1].rpartition("-")[0]


def dataset_metadata(contents: Contents, user: str) -> dict[str, Any]:
    """dataset-metadata.json, for `kaggle datasets create`."""
    name = kaggle_name(contents.slug)
    return {"title": name, "id": f"{user}/{name}", "licenses": [{"name": "other"}]}


def kernel_metadata(contents: Contents, user: str) -> dict[str, Any]:
    """kernel-metadata.json, for `kaggle kernels push`."""
    name = kaggle_name(contents.slug)
    return {
        "id": f"{user}/{name}",
        "title": name,
        "code_file": FILE,
        "language": "python",
        "kernel_type": "notebook",
        "is_private": True,
        "enable_gpu": True,
        "enable_internet": False,
        "dataset_sources": [f"{user}/{name}"],
        "competition_sources": [contents.slug] if contents.source == "competition" else [],
    }


def read_me(contents: Contents, user: str) -> str:
    """README.txt: how to upload the bundle."""
    first = f", once {user} in the two .json files is your name there" if user == UNKNOWN_USER else ""
    attached = contents.attached.replace("`", "")
    return f"""\
All that a Kaggle notebook needs for {contents.slug} without internet.

With Kaggle's client (pip install kaggle), in this folder{first}:

    kaggle datasets create -p . --dir-mode zip          (later: kaggle datasets version -p . --dir-mode zip -m again)
    kaggle kernels push -p .                            (when the dataset is ready, a few minutes later)

Or on kaggle.com:

    Create > New Dataset: this folder as a .zip
    Create > New Notebook, File > Import Notebook: {FILE}
    Add Input: that dataset{attached}. Session options: Internet off

Save Version > Save & Run All makes submission.csv; Submit is beside it.
"""
