"""Provenance: config.yaml of a run, facts of runs and submissions as JSON, and differences of two runs.

Options that change no result, such as paths and workers, are left out of the facts.
"""

import re
import subprocess
from collections.abc import Iterable
from dataclasses import asdict, fields, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from kagglepipe.config import Config, schema
from kagglepipe.errors import UserError
from kagglepipe.files import file_sha256, read_json, write_bytes, write_json
from kagglepipe.images.policy_file import is_policy_file, read_policy
from kagglepipe.runs.identity import changes
from kagglepipe.runs.run import Metrics, Run

HASH = 64  # digits of a SHA-256
PACKAGES = ("kagglepipe", "torch", "timm", "albumentations", "opencv-python-headless", "av", "scikit-learn", "numpy")
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
    own_policy = {"augmentation": read_json(run.policy_file)} if run.policy_file.exists() else {}
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
        **own_policy,
    }


def versions() -> dict[str, str]:
    """Versions of packages that decide results."""
    return {name: version(name) for name in PACKAGES}


def git_commit() -> str | None:
    """Find the commit of the package's checkout, with `+` if files differ from it; None outside a checkout."""
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


# --- config.yaml -----------------------------------------------------------------------------------------------


def decisive(config: Config) -> dict[str, Any]:
    """Options that differ from their defaults and change results."""
    decides = {one.name for one in fields(Config) if one.metadata["changes_results"]}
    return {name: value for name, value in changes(config).items() if name in decides}


def written_options(file: Path) -> dict[str, Any] | None:
    """Options in a config.yaml; None if it is missing, or this version does not understand it."""
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    if not file.exists():
        return None
    try:
        config: Any = OmegaConf.to_object(OmegaConf.merge(schema(Config), OmegaConf.load(file)))
    except (OmegaConfBaseException, UserError):
        return None
    return decisive(config)


def separator_of(run: Run) -> str:
    """`competition.label_separator` of the command that made a run: a blank, where that is unknown."""
    from omegaconf import OmegaConf

    options: Any = OmegaConf.load(run.config_file) if run.config_file.exists() else {}
    return str(OmegaConf.select(options, "competition.label_separator", default=" ") if options else " ")


def config_of(options: dict[str, Any], name: str) -> Config:
    """Make a configuration of these options. Raises UserError, naming where they were, if they are not understood."""
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    try:
        config: Any = OmegaConf.to_object(OmegaConf.merge(schema(Config), OmegaConf.create(escaped(options))))
    except (OmegaConfBaseException, UserError) as error:
        why = " ".join(str(error).split())
        raise UserError(f"{name} was made by a version with other options ({why}): use the version it names") from error
    return replace(config, competition=replace(config.competition, refresh=False))


def write_config(config: Config, file: Path) -> None:
    """Write a config.yaml that Hydra can compose again."""
    write_bytes(file, yaml_of(asdict(config)).encode())


def write_policy(policy: str, run: Run) -> None:
    """Copy an augmentation policy of the user's own into the run's folder, so that the run can be made again."""
    if is_policy_file(policy):
        write_json(run.policy_file, read_policy(policy))


def yaml_of(options: dict[str, Any]) -> str:
    """Options as YAML from which Hydra reads the same values again."""
    from omegaconf import OmegaConf

    return OmegaConf.to_yaml(OmegaConf.create(escaped(options)))


def escaped(value: Any) -> Any:
    """Escape each `${` in `value`, so that OmegaConf does not resolve it."""
    if isinstance(value, dict):
        return {key: escaped(item) for key, item in value.items()}
    if isinstance(value, list):
        return [escaped(item) for item in value]
    return re.sub(r"(\\*)\$\{", r"\1\1\\${", value) if isinstance(value, str) else value


# --- differences ------------------------------------------------------------------------------------------------


def described(metrics: Metrics) -> dict[str, str]:
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
    """List the first values of a difference in one line.

    >>> first_values({"seed": ("1", "0"), "model.name": ("lite1", "lite0")})
    'seed=1; model.name=lite1'
    """
    return "; ".join(f"{name}={mine}" for name, (mine, _) in differences.items())


def in_brief(differences: dict[str, tuple[str, str]], *, both: bool = False) -> str:
    """One line of the differences in names that both have; `unshared settings` stands for all others.

    both: show the other's value as well.

    >>> in_brief({"training.mode": ("head", "finetune"), "training.lr": ("-", "0.1")}, both=True)
    'training.mode=head and finetune; unshared settings'
    """
    shared = {name: pair for name, pair in differences.items() if "-" not in pair}
    parts = [f"{name}={mine}" + f" and {theirs}" * both for name, (mine, theirs) in shared.items()]
    return "; ".join(parts + ["unshared settings"] * (len(shared) < len(differences)))
