"""The house stays easy to walk: what is counted from imports and syntax trees, against limits that only go down.

python -m tests.test_architecture      prints the present numbers, each with what is counted
"""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LIMITS = {  # lower them as the numbers fall; what is to be reached stands behind
    "files that stages/train.py imports": 119,  # 50
    "files that name Config": 0,  # 0
    "helpers in stages": 0,  # 0
    "reads of config in stages and tools": 248,  # 220
    "reads of config in runs": 107,
    "files that name metrics.json": 0,  # 0
    "files that name fold_": 0,
    "lines of the package": 50_840,  # 20,500, or 27,000 with all that is planned
}
FOLD_FOLDER = re.compile(r"fold_(\d|\*|$)")  # $: the begin of an f-string
BASE = {"options", "errors", "files", "text", "parallel", "distributed", "console", "memory"}  # for every folder
WAYS = {"image-head": 27, "clips": 35}  # files from a path to its row in oof.parquet: 14 and 18
MAY_NAME_CONFIG = ("kagglepipe.__main__", "kagglepipe.cli", "kagglepipe.config", "kagglepipe.api",
                   "kagglepipe.stages", "kagglepipe.tools", "kagglepipe.runs.identity", "kagglepipe.runs.provenance",
                   "kagglepipe.runs.configured", "kagglepipe.runs.trial", "kagglepipe.runs.typed_words",
                   "hydra_plugins")  # fmt: skip


@cache
def trees() -> dict[str, ast.Module]:
    """Module -> the syntax tree of each file of the package and its plugin."""
    found = {}
    for path in sorted([*ROOT.glob("kagglepipe/**/*.py"), *ROOT.glob("hydra_plugins/**/*.py")]):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = ast.parse(path.read_text("utf-8"))
    return found


def in_room(module: str, *rooms: str) -> bool:
    """Whether a module is one of these, or lies in a package that is."""
    return any(f"{module}.".startswith(f"{room}.") for room in rooms)


def imports_of(module: str) -> set[str]:
    """The own modules that a module imports, anywhere in it: at the top, inside functions, for types alone."""
    found = set()
    for node in ast.walk(trees()[module]):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            inner = [f"{node.module}.{alias.name}" for alias in node.names]
            found |= {name if name in trees() else node.module for name in inner}
    return found & trees().keys()


def closure(module: str) -> set[str]:
    """The modules that a module imports, directly or not, without itself."""
    found: set[str] = set()
    left = [module]
    while left:
        new = imports_of(left.pop()) - found
        found |= new
        left += new
    return found - {module}


def names_config(module: str) -> bool:
    """Whether a module imports, defines or uses something called Config."""
    nodes = ast.walk(trees()[module])
    return any("Config" in tuple(getattr(node, key, "") for key in ("id", "attr", "name")) for node in nodes)


def is_helper(module: str) -> bool:
    """Whether a file of stages/ is neither a stage, which has a function `run`, nor the list of them."""
    functions = [node.name for node in trees()[module].body if isinstance(node, ast.FunctionDef)]
    return in_room(module, "kagglepipe.stages") and "run" not in functions and module not in (
        "kagglepipe.stages", "kagglepipe.stages.pipeline")  # fmt: skip


def lines(module: str) -> int:
    """Lines of a module's file."""
    file = ROOT / Path(*module.split(".")).with_suffix(".py")
    return len((file if file.exists() else file.with_suffix("") / "__init__.py").read_text("utf-8").splitlines())


def config_reads(module: str) -> int:
    """How often a module reads an attribute of `config`, or of a parameter that is a Config, or of `….config`."""
    tree = trees()[module]
    parameters = [node for node in ast.walk(tree) if isinstance(node, ast.arg) and node.annotation is not None]
    names = {"config", *(one.arg for one in parameters if ast.unparse(one.annotation or one).strip("'") == "Config")}
    reads = [node.value for node in ast.walk(tree) if isinstance(node, ast.Attribute)]
    return sum(getattr(value, "id", None) in names or getattr(value, "attr", None) == "config" for value in reads)


def words(module: str) -> Iterator[str]:
    """The strings of a module, without docstrings."""
    tree = trees()[module]
    bodies = [n.body for n in ast.walk(tree) if isinstance(n, ast.Module | ast.ClassDef | ast.FunctionDef)]
    docstrings = {id(body[0].value) for body in bodies if body and isinstance(body[0], ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            yield node.value


@cache
def counted() -> dict[str, list[str]]:
    """What is counted -> a line for each."""
    modules = list(trees())
    runs = [module for module in modules if in_room(module, "kagglepipe.runs")]
    rooms = [module for module in modules if in_room(module, "kagglepipe.stages", "kagglepipe.tools")]
    outside = [module for module in modules if not in_room(module, "kagglepipe.runs", "kagglepipe.course")]
    return {
        "files that stages/train.py imports": sorted(closure("kagglepipe.stages.train")),
        "files that name Config": [m for m in modules if names_config(m) and not in_room(m, *MAY_NAME_CONFIG)],
        "helpers in stages": [module for module in modules if is_helper(module)],
        "reads of config in stages and tools": [module for module in rooms for _ in range(config_reads(module))],
        "reads of config in runs": [module for module in runs for _ in range(config_reads(module))],
        "files that name metrics.json": [m for m in outside if any("metrics.json" in word for word in words(m))],
        "files that name fold_": [m for m in outside if any(FOLD_FOLDER.search(word) for word in words(m))],
        "lines of the package": [module for module in modules for _ in range(lines(module))],
    }


@pytest.mark.parametrize("what", LIMITS)
def test_what_is_counted_stays_within_its_limit(what: str) -> None:
    found = counted()[what]
    assert len(found) <= LIMITS[what], f"{len(found)} {what}: {', '.join(dict.fromkeys(found))[:2000]}"


def room_of(module: str) -> str:
    """The folder, or file, of the package in which a module lies: `images` of kagglepipe.images.decode."""
    return module.removeprefix("kagglepipe.").partition(".")[0]


def may_import() -> dict[str, set[str]]:
    """Folder -> the folders that it may import, of the table in docs/design.md; without those that may import all."""
    found: dict[str, set[str]] = {}
    rows = re.findall(r"^\| `(\w+)/` \|.*\| (.*)\|$", (ROOT / "docs/design.md").read_text("utf-8"), re.MULTILINE)
    for folder, cell in reversed(rows):  # `what runs may` stands above `runs`
        if "everything" not in cell:
            more = re.search(r"what (\w+) may", cell)
            names = set(" ".join(re.findall(r"`([^`]*)`", cell)).split())
            found[folder] = names | (found[more[1]] if more else set())
    return found


def test_folders_import_what_docs_design_says() -> None:
    table = may_import()
    folders = {room_of(module) for module in trees() if (ROOT / "kagglepipe" / room_of(module)).is_dir()}
    assert folders - table.keys() == {"cli"}
    for module in trees():
        if (folder := room_of(module)) in table:
            found = {room_of(name) for name in imports_of(module) - {"kagglepipe"}} - {folder} - BASE
            assert found <= table[folder], f"{module} imports {found - table[folder]}: mend it, or docs/design.md"


def files_on_the_way(run: str) -> list[str]:
    """As in tests/guards/files_on_the_way.py, in a process of its own."""
    command = [sys.executable, "-m", "tests.guards.files_on_the_way", run]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return [line for line in done.stdout.splitlines() if line.endswith(".py")]


@pytest.mark.slow
@pytest.mark.parametrize("run", WAYS)
def test_few_files_lie_between_a_path_and_its_row_of_predictions(run: str) -> None:
    found = files_on_the_way(run)
    assert 3 < len(found) <= WAYS[run], f"{len(found)} files: {', '.join(found)}"


if __name__ == "__main__":
    for what, found in counted().items():
        print(f"{len(found):4} {what} (limit {LIMITS[what]})")
    for run in WAYS if "--ways" in sys.argv else ():
        print(f"{len(files_on_the_way(run)):4} files on the way of {run} (limit {WAYS[run]})")
