"""stage=reproduce: makes a submission again, from its data and its code, and compares the bytes.

Reads submissions/<name>.json, the provenance that `submit` writes beside the CSV. Trains every run anew in
outputs/reproduced/<environment>/, features too; existing runs are neither used nor changed, while the table, the folds
and the decoded pixels are taken as they are. After a kill the same command goes on. A run or CSV that is missing from
its place is restored if the bytes are the same. Exit code 0 says that they are.
"""

import json
import logging
from dataclasses import dataclass, replace
from itertools import zip_longest
from pathlib import Path
from typing import Any

from kagglepipe.competitions.dataset import Dataset
from kagglepipe.config import Config
from kagglepipe.distributed import world_size
from kagglepipe.errors import UserError
from kagglepipe.files import absolute, file_sha256, read_json, sha256, write_bytes
from kagglepipe.options import PathsOptions, SubmitOptions
from kagglepipe.predictions.frame import class_columns, read_frame
from kagglepipe.runs.identity import config_of, yaml_of
from kagglepipe.runs.provenance import difference, flat, git_commit, run_facts, source_hash, versions
from kagglepipe.runs.run import Run
from kagglepipe.stages.configured import identity_of, read_data, run_of, submitted_run
from kagglepipe.stages.pipeline import run_stages

log = logging.getLogger(__name__)
MAX_SHOWN = 3  # rows that differ
# what an identity holds beside settings
KINDS = {
    "table": "data",
    "folds": "data",
    "decoder": "code",
    "engine": "code",
    "result_version": "code",
}  # else settings
PACKAGE = Path(__file__).parents[1]


@dataclass(frozen=True)
class Submission:
    """A submission to be made again. origin: the JSON beside the CSV. facts: name -> `run_facts` of each run in it."""

    csv: Path
    origin: dict[str, Any]
    facts: dict[str, dict[str, Any]]
    outputs: Path

    @property
    def run(self) -> Run:
        """The run whose predictions the CSV holds; its folder may be gone."""
        return Run(self.outputs / str(self.origin["run"]))

    @property
    def is_ensemble(self) -> bool:
        """Whether the run blends others."""
        return bool(self.origin["members"] != [self.run.name])

    @property
    def trained(self) -> list[str]:
        """Runs with networks: itself, or the members of an ensemble; teachers come before their students."""
        names: list[str] = []
        for name in [name for name in self.origin["members"] if "+" not in name]:
            chain: list[str] = []
            while name:
                chain, name = [name, *chain], self.facts[name].get("teacher")
            names += [one for one in chain if one not in names]
        return names

    @property
    def original(self) -> Path | None:
        """The predictions that the CSV was made of, if they are still there."""
        file = self.run.test_file
        is_there = file.exists() and file_sha256(file) == self.facts[self.run.name]["test_sha256"]
        return file if is_there else None


def check(config: Config) -> None:
    """Raises UserError for several processes, each of which would make it again."""
    if world_size() > 1:
        raise UserError("a submission is made again in one process: leave torchrun away")


def run(config: Config) -> None:
    """Makes the submission again. Raises UserError, naming what differs, unless it is the same byte for byte."""
    made_by = read_submission(config)
    folder = config.root / "outputs" / "reproduced" / environment()
    last = options_of(config, made_by, made_by.origin.get("configuration"), made_by.run.name)
    if not (last.data_dir / "prepared.json").exists():  # a table that is there is never made anew
        run_stages(last, ("download", "prepare"))
    dataset = read_data(last)
    configs = {name: training_config(config, made_by, name, folder) for name in made_by.trained}
    check_same_inputs(made_by, last, configs, dataset)
    for line in environment_diff(made_by):
        log.info("reproduce: %s", line)
    log.info("reproduce: %s is made anew from %s, in %s", made_by.csv.name, ", ".join(made_by.trained), folder)
    made = make_again(made_by, last, configs, dataset, folder)
    compare(made_by, made, folder / made_by.csv.name)


# --- what it was made with -----------------------------------------------------------------------------------------


def read_submission(config: Config) -> Submission:
    """The provenance of `submission=`. Raises UserError if there is none, or one that cannot be made again."""
    if config.submission is None:
        raise UserError("which one? type reproduce submission=submissions/NAME.csv")
    path = absolute(config.submission)
    csv, file = path.with_suffix(".csv"), path.with_suffix(".json")
    if not file.is_file():
        raise UserError(
            f"{file} is not there: it tells what {csv.name} was made with, and stage=submit writes it beside the CSV"
        )
    try:
        origin = read_json(file)
    except UserError as error:
        raise UserError(f"{file} is damaged, and nothing else tells what {csv.name} was made with") from error
    if not isinstance(origin, dict) or not {"run", "members", "csv_sha256", "competition"} <= set(origin):
        raise UserError(f"{file} is not the origin of a submission: give the CSV that stage=submit has written")
    if csv.exists() and (found := file_sha256(csv)) != origin["csv_sha256"]:
        raise UserError(
            f"{csv} was changed after it was made: its SHA-256 begins with {found[:8]}, that of its origin with "
            f"{origin['csv_sha256'][:8]}; move it away to make the original again"
        )
    outputs = config.root / "outputs" / str(origin["competition"])
    return Submission(csv, origin, read_facts(file, origin, outputs), outputs)


def read_facts(file: Path, origin: dict[str, Any], outputs: Path) -> dict[str, dict[str, Any]]:
    """name -> `run_facts` of the submission's run, its members and their teachers.

    Origins of older versions hold none: the folders of the runs may be left. Raises UserError where facts are missing.
    """
    names, facts = [origin["run"], *(name for name in origin["members"] if "+" not in name)], {}
    while names:
        run = Run(outputs / names.pop())
        known = (origin.get("runs") or {}).get(run.name)
        if not known and not run.is_finished:
            raise UserError(
                f"the origin of {file.stem}.csv does not say how {run.name} was configured, "
                f"and {run.folder} is not there"
            )
        each = facts[run.name] = known or run_facts(run)
        if not isinstance(each, dict) or not {"configuration", "identity", "test_sha256", "machine"} <= set(each):
            raise UserError(f"{file} does not tell how {run.name} was made: it was changed, or is of another version")
        if each.get("cut_by_budget"):
            raise UserError(
                f"{run.name} was cut short by training.budget={each['cut_by_budget']}: how far a clock lets a training "
                "come cannot be made again; train it without a budget for a submission that can"
            )
        names += [teacher] if (teacher := each.get("teacher")) else []
    return facts


def options_of(config: Config, made_by: Submission, options: dict[str, Any] | None, name: str) -> Config:
    """The configuration with recorded options, under the present root. None: those of the run of this name."""
    options = made_by.facts[name]["configuration"] if options is None else options
    if options is None:
        raise UserError(f"how {name} was configured is not known: its config.yaml is missing or of another version")
    made = config_of(options, name)
    folds = replace(made.folds, only=[], remake=False)
    return replace(made, paths=PathsOptions(config.paths.root), folds=folds, workers=config.workers)


def training_config(config: Config, made_by: Submission, name: str, folder: Path) -> Config:
    """The configuration that trains a run anew in `folder`: in the mode and on the kind of device of then.

    The teacher is left out: it is made anew too, and known only then.
    """
    facts = made_by.facts[name]
    made = options_of(config, made_by, facts["configuration"], name)
    mode = ((facts["identity"] or {}).get("training") or {}).get("mode", made.training.mode)
    on_cpu = (facts["machine"] or {}).get("device") == "cpu"
    return replace(
        made,
        stage="train",
        paths=PathsOptions(config.paths.root, str(folder)),
        device="cpu" if on_cpu else made.device,
        training=replace(made.training, mode=mode, trackers=[], budget=None, teacher=None),
    )


# --- what differs --------------------------------------------------------------------------------------------------


def check_same_inputs(made_by: Submission, last: Config, configs: dict[str, Config], dataset: Dataset) -> None:
    """Raises UserError if data, code or settings that decide results differ, before hours are spent on it."""
    faults, origin = [], made_by.origin
    if (then := origin.get("table")) not in (None, dataset.table_hash):
        faults.append(f"data: table {then[:8]} then, {dataset.table_hash[:8]} now")
        source, here = origin.get("source"), source_hash(last.base_dir)
        if source and here and source != here:
            faults.append(f"data: its source {source[:8]} then, {here[:8]} now")
    for name, config in configs.items():
        was = {key: value for key, value in (made_by.facts[name]["identity"] or {}).items() if key != "teacher"}
        found = flat(json.loads(json.dumps(identity_of(config, read_data(config)))))
        if "classes" not in was:  # versions that did not record the order took it from the configuration
            found.pop("classes", None)
        for key, (before, after) in difference(flat(was), found).items():
            faults.append(f"{KINDS.get(key, 'settings')}: {key} {before} then, {after} now")
    if faults := list(dict.fromkeys(faults)):
        commit = origin.get("git_commit")
        advice = f"; it was made at commit {commit}" if commit and any("code" in fault for fault in faults) else ""
        raise UserError(f"{made_by.csv.name} cannot be made again here: {'; '.join(faults)}{advice}")


def environment_diff(made_by: Submission, made: dict[str, Run] | None = None) -> list[str]:
    """Commit, versions, machine and, of the runs made anew, inference backends that differ; they may change bytes."""
    lines = []
    for name in made_by.trained:
        facts = made_by.facts[name]
        if (commit := git_commit()) != facts["git_commit"]:
            lines.append(f"code: commit {facts['git_commit']} then, {commit} now")
        pairs = {
            "version": (facts["versions"], versions()),
            "machine": (facts["machine"], machine_now(facts["machine"])),
        }
        for what, (then, now) in pairs.items():
            known = flat(then or {})
            for key, (before, after) in difference(known, {k: v for k, v in flat(now).items() if k in known}).items():
                lines.append(f"{what}: {key} {before} then, {after} now")
        engine = run_facts(made[name])["engine"] if made else None
        if made and facts.get("engine") not in (None, engine):
            lines.append(f"engine: {facts['engine']} then, {engine} now")
    return list(dict.fromkeys(lines))


def machine_now(machine: dict[str, Any] | None) -> dict[str, Any]:
    """The machine with the device of then and as many threads as then."""
    if machine is None:
        return {}
    from kagglepipe.training.device import choose_device, describe_machine, use_threads

    use_threads(machine.get("threads"))
    return describe_machine(choose_device("cpu" if machine.get("device") == "cpu" else "auto"))


def environment() -> str:
    """Eight hexadecimal digits of code, versions and machine: a run is made anew for each of them."""
    from kagglepipe.training.device import choose_device, describe_machine

    files = sorted(PACKAGE.rglob("*.py"))
    code = [part for file in files for part in (file.relative_to(PACKAGE).as_posix(), file_sha256(file))]
    machine = describe_machine(choose_device())
    return sha256(*code, json.dumps([versions(), machine], sort_keys=True))[:8]


# --- made anew -----------------------------------------------------------------------------------------------------


def make_again(
    made_by: Submission, last: Config, configs: dict[str, Config], dataset: Dataset, folder: Path
) -> dict[str, Run]:
    """Trains and blends every run in `folder`, writes the CSV there; original name -> run made anew."""
    from kagglepipe.training.device import use_threads

    made: dict[str, Run] = {}
    for name, config in configs.items():
        use_threads((made_by.facts[name]["machine"] or {}).get("threads"))
        if teacher := made_by.facts[name].get("teacher"):
            config = replace(config, training=replace(config.training, teacher=str(made[teacher].folder)))
        run_stages(config, ("train",))
        made[name] = run_of(config, dataset)
    outputs, name = PathsOptions(last.paths.root, str(folder)), made_by.run.name
    if made_by.is_ensemble:
        blending = options_of(last, made_by, made_by.facts[name]["configuration"], name)
        # the name of a run made anew may differ
        members = [str(made[one].folder) if one in made else one for one in made_by.origin["members"]]
        ensemble = replace(blending.ensemble, runs=members)
        blending = replace(blending, stage="ensemble", paths=outputs, ensemble=ensemble)
        run_stages(blending, ("ensemble",))
        made[name] = submitted_run(blending, dataset)
    csv = SubmitOptions(file=str(folder / made_by.csv.name))
    run_stages(replace(last, stage="submit", paths=outputs, run=str(made[name].folder), submit=csv), ("submit",))
    return made


def compare(made_by: Submission, made: dict[str, Run], csv: Path) -> None:
    """Logs that the bytes are the same and restores what is missing; raises UserError with what differs if not."""
    wanted, name = made_by.origin["csv_sha256"], made_by.run.name
    again = made[name].test_file
    largest = largest_difference(made_by.original, again) if made_by.original else None
    if file_sha256(csv) != wanted:
        parts = [differing_rows(made_by.csv, csv)] if made_by.csv.exists() else []
        parts += [] if largest is None else [f"the largest difference of a probability is {largest:.2g}"]
        parts += environment_diff(made_by, made) or ["neither commit, versions nor machine are known to differ"]
        why = f"{'; '.join(parts)}; the new one is {csv}"
        raise UserError(f"{made_by.csv.name} is not made again byte for byte: {why}")
    behind = "so are the probabilities behind it"
    if file_sha256(again) != made_by.facts[name]["test_sha256"]:
        by = "" if largest is None else f" by {largest:.2g} at most"
        behind = f"the probabilities behind it differ{by}"
    if not made_by.csv.exists():
        write_bytes(made_by.csv, csv.read_bytes())
        log.info("reproduce: %s was missing and is there again", made_by.csv)
    restore(made_by, made)
    log.info(
        "reproduce: %s is the same byte for byte: %d rows, SHA-256 %s; %s",
        made_by.csv.name, made_by.origin["rows"], wanted, behind,
    )  # fmt: skip


def restore(made_by: Submission, made: dict[str, Run]) -> None:
    """Moves runs made anew to where they are missing, without the temporary folder in their config.yaml."""
    from omegaconf import OmegaConf

    for name in made_by.facts:
        missing = Run(made_by.outputs / name)
        if missing.folder.exists() or made[name].name != name:
            continue
        missing.folder.parent.mkdir(parents=True, exist_ok=True)
        made[name].folder.rename(missing.folder)
        options: Any = OmegaConf.to_container(OmegaConf.load(missing.config_file), resolve=True)
        options["paths"]["outputs"] = None
        if teacher := options["training"].get("teacher"):
            options["training"]["teacher"] = Path(teacher).name
        write_bytes(missing.config_file, yaml_of(options).encode())
        log.info("reproduce: %s was missing and is there again", missing.folder)


def differing_rows(before: Path, after: Path) -> str:
    """As in `2 of 60 rows differ ("7,0" is now "7,1")`."""
    old, new = (path.read_text(encoding="utf-8").splitlines() for path in (before, after))
    pairs = [(a, b) for a, b in zip_longest(old, new, fillvalue="nothing") if a != b]
    first = ", ".join(f'"{a}" is now "{b}"' for a, b in pairs[:MAX_SHOWN])
    more = " …" if len(pairs) > MAX_SHOWN else ""
    return f"{len(pairs)} of {max(len(old), len(new)) - 1} rows differ ({first}{more})"


def largest_difference(before: Path, after: Path) -> float:
    """Largest absolute difference of probabilities for the same ids; NaN where the ids differ."""
    one, other = (read_frame(path).set_index("id") for path in (before, after))
    if set(one.index) != set(other.index):
        return float("nan")
    names = class_columns(one.reset_index())
    return float((one[names] - other.loc[one.index, names]).abs().to_numpy().max())
