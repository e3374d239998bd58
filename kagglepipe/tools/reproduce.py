"""stage=reproduce: make a submission again from its data and its code, and compare the bytes.

Reads submissions/<name>.json, the provenance that `submit` writes beside the CSV. Trains every run again in
outputs/reproduced/<environment>/, with its features; existing runs are neither used nor changed. Table, folds and
decoded pixels are used as they are. The same command continues after a kill. A missing run or CSV is restored if the
bytes are the same, and only then is the exit code 0.
"""

import json
import logging
from dataclasses import dataclass, replace
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np

from kagglepipe.competitions.dataset import REPORT, Dataset
from kagglepipe.config import Config
from kagglepipe.distributed import world_size
from kagglepipe.errors import UserError
from kagglepipe.files import absolute, file_sha256, read_json, sha256, write_bytes, write_json
from kagglepipe.options import PathsOptions, SubmitOptions, is_own_metric
from kagglepipe.predictions.frame import class_columns, probabilities, read_frame
from kagglepipe.predictions.metrics import find_metric
from kagglepipe.runs.configured import identity_of, read_data, run_of, submitted_run
from kagglepipe.runs.provenance import (
    NO_COMMIT,
    config_of,
    difference,
    flat,
    git_commit,
    run_facts,
    source_hash,
    versions,
    yaml_of,
)
from kagglepipe.runs.run import Run
from kagglepipe.stages.pipeline import run_stages

log = logging.getLogger(__name__)
MAX_SHOWN = 3  # rows that differ
PACKAGE = Path(__file__).parents[1]
# entries of a run's identity beside settings
KINDS = {"table": "data", "folds": "data", "decoder": "code", "engine": "code", "result_version": "code"}


@dataclass(frozen=True)
class Submission:
    """A submission with its provenance. outputs: outputs/<slug>/.

    runs: name -> `run_facts` of the submitted run, its members and their teachers; teachers before their students.
    """

    csv: Path
    provenance: dict[str, Any]
    runs: dict[str, dict[str, Any]]
    outputs: Path

    @property
    def run(self) -> Run:
        """The submitted run; its folder may be missing."""
        return Run(self.outputs / str(self.provenance["run"]))

    @property
    def members(self) -> list[str]:
        """Members of an ensemble: names of runs, and predictions from elsewhere as `oof.csv+test.csv`."""
        names: list[str] = self.provenance["members"]
        return [] if names == [self.run.name] else names

    @property
    def trained(self) -> list[str]:
        """Runs with networks, in the order of `runs`."""
        return [name for name in self.runs if name != self.run.name or not self.members]


def check(config: Config) -> None:
    """Raises UserError for several processes, for an ensemble by a method that is no longer available, and
    for a metric whose file is not at hand."""
    if world_size() > 1:
        raise UserError("a submission is made again in one process: leave torchrun away")
    submission = read_submission(config.submission, config.root)
    for name, facts in submission.runs.items():
        configuration = facts["configuration"] or {}
        if is_own_metric(metric := (configuration.get("competition") or {}).get("metric", "")):
            find_metric(metric)  # its file is needed to score anew
        recorded = (configuration.get("ensemble") or {}).get("method")
        run = Run(submission.outputs / name)
        is_trained = "training" in facts["identity"]  # its options may name a method, which training does not read
        if not is_trained and "power_mean" in (recorded, run.is_finished and run.metrics.get("method")):
            raise UserError(
                f"{submission.csv.name} cannot be made again: {name} is a blend by ensemble.method=power_mean, which "
                "is no longer available; ensemble.method=geometric_mean makes another blend of its members"
            )


def run(config: Config) -> None:
    """Make the submission again. Raises UserError with the differences unless it is the same byte for byte."""
    root = config.root
    submission = read_submission(config.submission, root)
    folder = root / "outputs" / "reproduced" / environment()
    name = submission.run.name
    options = submission.provenance.get("configuration", submission.runs[name]["configuration"])
    last = config_now(config, name, options)
    if not (last.data_dir / REPORT).exists():  # an existing table is never made again
        run_stages(last, ("download", "prepare"))
    dataset = read_data(last)
    configs = {name: training_config(config, submission, name, folder) for name in submission.trained}
    check_same_inputs(submission, last.base_dir, configs, dataset)
    for line in environment_diff(submission):
        log.info("reproduce: %s", line)
    log.info("reproduce: training %s again for %s, in %s", ", ".join(configs), submission.csv.name, folder)
    made = make_again(submission, last, configs, dataset, folder)
    compare(submission, made, folder / submission.csv.name)


# --- provenance ----------------------------------------------------------------------------------------------------


def read_submission(name: str | None, root: Path) -> Submission:
    """Read the provenance of `submission=`. Raises UserError for a missing, damaged or incomplete one."""
    if name is None:
        raise UserError("which one? type reproduce submission=submissions/NAME.csv")
    path = absolute(name)
    csv, file = path.with_suffix(".csv"), path.with_suffix(".json")
    if not file.is_file():
        raise UserError(f"{file}: no such file; stage=submit writes this provenance beside the CSV")
    try:
        provenance = read_json(file)
    except UserError as error:
        raise UserError(f"{file} is damaged: without it {csv.name} cannot be made again") from error
    if not isinstance(provenance, dict) or not {"run", "members", "csv_sha256", "competition"} <= set(provenance):
        raise UserError(f"{file} is not the provenance of a submission: give the CSV that stage=submit has written")
    if csv.exists() and (found := file_sha256(csv)) != provenance["csv_sha256"]:
        raise UserError(
            f"{csv} was changed after it was made: its SHA-256 begins with {found[:8]}, that of its provenance with "
            f"{provenance['csv_sha256'][:8]}; move it away to make the original again"
        )
    outputs = root / "outputs" / str(provenance["competition"])
    return Submission(csv, provenance, read_runs(file, provenance, outputs), outputs)


def read_runs(file: Path, provenance: dict[str, Any], outputs: Path) -> dict[str, dict[str, Any]]:
    """`Submission.runs`.

    Older versions did not record them: then they are read from the folders of the runs. Raises UserError without them.
    """
    names = [provenance["run"], *(name for name in provenance["members"] if "+" not in name)]
    runs: dict[str, dict[str, Any]] = {}
    while names:
        run = Run(outputs / names.pop())
        recorded = (provenance.get("runs") or {}).get(run.name)
        if not recorded and not run.is_finished:
            raise UserError(f"{file} lacks the configuration of {run.name}, and {run.folder} is missing")
        facts = recorded or run_facts(run)
        if not isinstance(facts, dict) or not {"configuration", "identity", "test_sha256", "machine"} <= set(facts):
            raise UserError(f"{file} lacks facts of {run.name}: it was changed, or is of another version")
        if facts.get("cut_by_budget"):
            raise UserError(
                f"{run.name} was cut short by training.budget={facts['cut_by_budget']}, which depends on the clock: "
                "train it without a budget for a submission that can be made again"
            )
        runs.pop(run.name, None)  # a teacher's place is after the last of its students
        runs[run.name] = facts | {name: facts.get(name) or {} for name in ("identity", "machine", "versions")}
        names += [teacher] if (teacher := facts.get("teacher")) else []
    return dict(reversed(runs.items()))


def config_now(config: Config, name: str, options: dict[str, Any] | None) -> Config:
    """Configuration with the recorded options of a run, under the present root. Raises UserError without options."""
    if options is None:
        raise UserError(f"the configuration of {name} is unknown: its config.yaml is missing or of another version")
    made = config_of(options, name)
    folds = replace(made.folds, only=[], remake=False)
    return replace(made, paths=PathsOptions(config.paths.root), folds=folds, workers=config.workers)


def training_config(config: Config, submission: Submission, name: str, folder: Path) -> Config:
    """Configuration to train a run again in `folder`, in its mode and on its kind of device; without its teacher."""
    facts = submission.runs[name]
    options = facts["configuration"]
    made = config_now(config, name, options and {key: value for key, value in options.items() if key != "ensemble"})
    mode = (facts["identity"].get("training") or {}).get("mode", made.training.mode)
    if "augmentation" in facts:  # the user's own file may have changed since
        own = Run(folder / name).policy_file
        write_json(own, facts["augmentation"])
        made = replace(made, augmentation=replace(made.augmentation, policy=str(own)))
    return replace(
        made,
        stage="train",
        paths=PathsOptions(config.paths.root, str(folder)),
        device="cpu" if facts["machine"].get("device") == "cpu" else made.device,
        training=replace(made.training, mode=mode, trackers=[], budget=None, teacher=None),
    )


# --- differences ---------------------------------------------------------------------------------------------------


def changed(kind: str, then: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """Lines of values that differ.

    >>> changed("version", {"torch": "2.0", "numpy": "2.1"}, {"torch": "2.9", "numpy": "2.1"})
    ['version: torch 2.0 then, 2.9 now']
    """
    pairs = difference(flat(then), flat(now)).items()
    return [f"{KINDS.get(key, kind)}: {key} {before} then, {after} now" for key, (before, after) in pairs]


def check_same_inputs(submission: Submission, data: Path, configs: dict[str, Config], dataset: Dataset) -> None:
    """Raises UserError, before hours of work, for other data, code or settings. data: data/<base slug>/."""
    provenance = submission.provenance
    table, now = {"table": provenance.get("table")}, {"table": dataset.table_hash}
    faults = changed("data", table, now) if table["table"] else []
    if faults and provenance.get("source") and (source := source_hash(data)):
        faults += changed("data", {"source": provenance["source"]}, {"source": source})
    for name, config in configs.items():
        identity = {key: value for key, value in submission.runs[name]["identity"].items() if key != "teacher"}
        present = json.loads(json.dumps(identity_of(config, read_data(config))))
        if "classes" not in identity:  # versions that did not record the order took it from the configuration
            present.pop("classes", None)
        faults += changed("settings", identity, present)
    if faults:
        commit = provenance.get("git_commit")
        advice = f"; it was made at commit {commit}" if commit and any("code" in fault for fault in faults) else ""
        raise UserError(f"{submission.csv.name} cannot be made again here: {'; '.join(dict.fromkeys(faults))}{advice}")


def environment_diff(submission: Submission, made: dict[str, Run] | None = None) -> list[str]:
    """Other commits, versions, machines and, of runs made again, inference backends; they may change bytes."""
    lines = []
    for name in submission.trained:
        facts = submission.runs[name]
        lines += changed("code", {"commit": facts["git_commit"] or NO_COMMIT}, {"commit": git_commit() or NO_COMMIT})
        for kind, now in ("versions", versions()), ("machine", machine_now(facts["machine"])):
            lines += changed(kind, facts[kind], {key: value for key, value in now.items() if key in facts[kind]})
        if made and facts.get("engine"):
            lines += changed("inference", {"backend": facts["engine"]}, {"backend": run_facts(made[name])["engine"]})
    return list(dict.fromkeys(lines))


def machine_now(then: dict[str, Any]) -> dict[str, Any]:
    """This machine, with the kind of device and the number of threads of then; empty if those are unknown."""
    if not then:
        return {}
    from kagglepipe.training.device import choose_device, describe_machine, use_threads

    with use_threads(then.get("threads")):
        return describe_machine(choose_device("cpu" if then.get("device") == "cpu" else "auto"))


def environment() -> str:
    """Eight hexadecimal digits of code, versions and machine."""
    from kagglepipe.training.device import choose_device, describe_machine

    files = sorted(PACKAGE.rglob("*.py"))
    code = [part for file in files for part in (file.relative_to(PACKAGE).as_posix(), file_sha256(file))]
    return sha256(*code, json.dumps([versions(), describe_machine(choose_device())], sort_keys=True))[:8]


# --- training again ------------------------------------------------------------------------------------------------


def make_again(
    submission: Submission, last: Config, configs: dict[str, Config], dataset: Dataset, folder: Path
) -> dict[str, Run]:
    """Train and blend every run in `folder`, and write the CSV there: recorded name -> run made again."""
    from kagglepipe.training.device import use_threads

    made: dict[str, Run] = {}
    for name, config in configs.items():
        if teacher := submission.runs[name].get("teacher"):
            config = replace(config, training=replace(config.training, teacher=str(made[teacher].folder)))
        with use_threads(submission.runs[name]["machine"].get("threads")):
            run_stages(config, ("train",))
        made[name] = run_of(config, dataset)
    outputs, name = PathsOptions(last.paths.root, str(folder)), submission.run.name
    if submission.members:
        blend = config_now(last, name, submission.runs[name]["configuration"])
        members = [str(made[one].folder) if one in made else one for one in submission.members]  # names may change
        blend = replace(blend, stage="ensemble", paths=outputs, ensemble=replace(blend.ensemble, runs=members))
        run_stages(blend, ("ensemble",))
        made[name] = submitted_run(blend, dataset)
    csv = SubmitOptions(file=str(folder / submission.csv.name))
    run_stages(replace(last, stage="submit", paths=outputs, run=str(made[name].folder), submit=csv), ("submit",))
    return made


def compare(submission: Submission, made: dict[str, Run], csv: Path) -> None:
    """Compare the bytes, and restore missing files if they are the same. Raises UserError with the differences."""
    digest, name, target = submission.provenance["csv_sha256"], submission.run.name, submission.csv
    again = made[name].test_file
    before, recorded = submission.run.test_file, submission.runs[name]["test_sha256"]
    is_there = before.exists() and file_sha256(before) == recorded
    largest = largest_difference(before, again) if is_there else None
    if file_sha256(csv) != digest:
        parts = [differing_rows(target, csv)] if target.exists() else []
        parts += [] if largest is None else [f"the largest difference of a probability is {largest:.2g}"]
        parts += environment_diff(submission, made) or ["neither commit, versions nor machine are known to differ"]
        raise UserError(f"{target.name} is not made again byte for byte: {'; '.join(parts)}; the new one is {csv}")
    behind = "so are its probabilities"
    if file_sha256(again) != recorded:
        behind = "its probabilities differ" + ("" if largest is None else f" by {largest:.2g} at most")
    if not target.exists():
        write_bytes(target, csv.read_bytes())
        log.info("reproduce: restored %s", target)
    restore(submission, made)
    rows = submission.provenance["rows"]
    log.info("reproduce: %s is the same byte for byte: %d rows, SHA-256 %s; %s", target.name, rows, digest, behind)


def restore(submission: Submission, made: dict[str, Run]) -> None:
    """Move runs made again to where they are missing, without the temporary folder in their config.yaml."""
    from omegaconf import OmegaConf

    for name in submission.runs:
        missing = Run(submission.outputs / name)
        if missing.folder.exists() or made[name].name != name:
            continue
        missing.folder.parent.mkdir(parents=True, exist_ok=True)
        made[name].folder.rename(missing.folder)
        options: Any = OmegaConf.to_container(OmegaConf.load(missing.config_file), resolve=True)
        options["paths"]["outputs"] = None
        if teacher := options["training"].get("teacher"):
            options["training"]["teacher"] = Path(teacher).name
        if missing.policy_file.exists():
            options["augmentation"]["policy"] = str(missing.policy_file)
        write_bytes(missing.config_file, yaml_of(options).encode())
        log.info("reproduce: restored %s", missing.folder)


def differing_rows(before: Path, after: Path) -> str:
    """As in `2 of 60 rows differ ("7,0" is now "7,1")`."""
    old, new = (path.read_text(encoding="utf-8").splitlines() for path in (before, after))
    pairs = [(a, b) for a, b in zip_longest(old, new, fillvalue="nothing") if a != b]
    first = ", ".join(f'"{a}" is now "{b}"' for a, b in pairs[:MAX_SHOWN])
    more = " …" if len(pairs) > MAX_SHOWN else ""
    return f"{len(pairs)} of {max(len(old), len(new)) - 1} rows differ ({first}{more})"


def largest_difference(before: Path, after: Path) -> float:
    """Largest absolute difference of probabilities for the same ids; NaN for other ids."""
    one, other = (read_frame(path).set_index("id") for path in (before, after))
    if set(one.index) != set(other.index):
        return float("nan")
    names = class_columns(one)
    return float(np.abs(probabilities(one, names) - probabilities(other.loc[one.index], names)).max())
