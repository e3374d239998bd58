"""Provenance of runs and submissions, as JSON that `submit` writes and `reproduce` reads, and differences of two.

Options that change no result, such as paths and workers, are left out.
"""

import subprocess
from collections.abc import Callable, Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Any

from kagglepipe.files import file_sha256, read_json
from kagglepipe.runs.identity import written_options
from kagglepipe.runs.run import Run

HASH = 64  # digits of a SHA-256
NO_COMMIT = "outside a checkout"


def provenance_of(configuration: dict[str, Any], data: Path, run: Run) -> dict[str, Any]:
    """Configuration of a submission, hash of its source, facts of all its runs.

    configuration: as `decisive` gives it. data: data/<base slug>/.
    """
    return {"source": source_hash(data), "configuration": configuration, "runs": facts_of([run, *run.members])}


def facts_of(runs: Iterable[Run]) -> dict[str, dict[str, Any]]:
    """Facts, by name, of each run that is there, teachers of pseudo-labels included."""
    known: dict[str, dict[str, Any]] = {}
    for run in runs:
        if run.is_finished:
            known[run.name] = run_facts(run)
            if teacher := run.teacher:
                known |= facts_of([Run(run.folder.parent / teacher)])
    return known


def source_hash(folder: Path) -> str | None:
    """Hash of the zip or folder of a competition; None for the sample, or if unknown."""
    file = folder / "source.json"
    return read_json(file).get("content") or None if file.exists() else None


def run_facts(run: Run) -> dict[str, Any]:
    """Configuration of a run, its results, and the machine that made it."""
    metrics, made = run.metrics, run.model
    return {
        "configuration": written_options(run.config_file),
        "identity": metrics.get("identity"),
        "test_sha256": file_sha256(run.test_file) if run.test_file.exists() else None,
        "cut_by_budget": metrics.get("cut_by_budget"),
        "teacher": run.teacher,
        "machine": metrics.get("machine"),
        "engine": made.get("engine"),
        "versions": made.get("versions"),
        "git_commit": made.get("git_commit"),
    }


def versions() -> dict[str, str]:
    """Versions of packages that decide results."""
    names = (
        "kagglepipe",
        "torch",
        "timm",
        "albumentations",
        "opencv-python-headless",
        "av",
        "scikit-learn",
        "numpy",
    )
    return {name: version(name) for name in names}


def git_commit() -> str | None:
    """The commit of the package's checkout, with `+` if files differ from it; None outside a checkout."""
    here = Path(__file__).parents[2]

    def git(*arguments: str) -> str:
        done = subprocess.run(["git", "-C", str(here), *arguments], capture_output=True, text=True, check=True)
        return done.stdout.strip()

    try:
        if Path(git("rev-parse", "--show-toplevel")).resolve() != here.resolve():
            return None  # installed somewhere inside another repository
        changed = git("status", "--porcelain", "--", "kagglepipe", "conf")
        return git("rev-parse", "--short=12", "HEAD") + ("+" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return None


# --- differences ------------------------------------------------------------------------------------------------


def described(metrics: dict[str, Any]) -> dict[str, str]:
    """Identity of a run, flat, as `model.name` -> short value; of an ensemble its method and members."""
    if "members" in metrics:
        return flat({"ensemble": {"method": metrics.get("method"), "runs": ", ".join(metrics["members"])}})
    return flat(metrics.get("identity") or {})


def flat(values: dict[str, Any], prefix: str = "") -> dict[str, str]:
    """Flatten nested values to dotted names; of a hash the first eight digits.

    >>> flat({"model": {"name": "lite0"}, "training": {"regularisation": [0.1, 1.0]}, "seed": 0})
    {'model.name': 'lite0', 'training.regularisation': '[0.1, 1.0]', 'seed': '0'}
    """
    found: dict[str, str] = {}
    for name, value in values.items():
        if isinstance(value, dict):
            found |= flat(value, f"{prefix}{name}.")
        else:
            text = str(value)
            found[prefix + name] = text[:8] if len(text) == HASH and text.isalnum() else text
    return found


def difference(one: dict[str, str], other: dict[str, str]) -> dict[str, tuple[str, str]]:
    """name -> (its value in the one, in the other), where these differ; `-` where it has none.

    >>> difference({"seed": "1", "a": "x"}, {"seed": "0", "a": "x", "b": "y"})
    {'seed': ('1', '0'), 'b': ('-', 'y')}
    """
    pairs = {name: (one.get(name, "-"), other.get(name, "-")) for name in {**one, **other}}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def first_values(differences: dict[str, tuple[str, str]]) -> str:
    """The first values of a difference in one line.

    >>> first_values({"seed": ("1", "0"), "model.name": ("lite1", "lite0")})
    'seed=1; model.name=lite1'
    """
    return "; ".join(f"{name}={mine}" for name, (mine, _) in differences.items())


def both_values(differences: dict[str, tuple[str, str]]) -> str:
    """Both values of a difference in one line.

    >>> both_values({"seed": ("1", "0")})
    'seed=1 and 0'
    """
    return "; ".join(f"{name}={mine} and {theirs}" for name, (mine, theirs) in differences.items())


def in_brief(
    differences: dict[str, tuple[str, str]], values: Callable[[dict[str, tuple[str, str]]], str] = first_values
) -> str:
    """One line of the differences in names that both have; `unshared settings` stands for all others.

    >>> in_brief({"training.mode": ("head", "finetune"), "training.lr": ("-", "0.1")})
    'training.mode=head; unshared settings'
    """
    shared = {name: pair for name, pair in differences.items() if "-" not in pair}
    rest = ["unshared settings"] if len(shared) < len(differences) else []
    return "; ".join([values(shared)] * bool(shared) + rest)
