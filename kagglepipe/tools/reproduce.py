"""stage=reproduce: makes a submission again, from its data and its code, and proves that it is the same bytes.

Reads submissions/<name>.json, the origin that `submit` has written beside the CSV. Everything is made anew in
outputs/reproduced/<environment>/, features too; runs that are there already are neither used nor touched, and the
table, the folds and the decoded pixels are taken as they are. After a kill the same command goes on there. What is
missing from its place, a run or the CSV, is put there when the bytes are the same. Exit code 0 says that they are.
"""

import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import zip_longest
from pathlib import Path
from typing import Any

from kagglepipe.competitions.dataset import Dataset
from kagglepipe.config import Config, absolute
from kagglepipe.distributed import world_size
from kagglepipe.errors import UserError
from kagglepipe.files import file_sha256, read_json, sha256, write_bytes
from kagglepipe.options import PathsOptions, SubmitOptions
from kagglepipe.predictions.frame import class_columns, read_frame
from kagglepipe.runs.provenance import config_of, git_commit, run_facts, source_hash, versions, yaml_of
from kagglepipe.stages.pipeline import run_stages
from kagglepipe.stages.places import configured_run, identity_of, read_prepared, run_dir
from kagglepipe.stages.run_facts import difference, flat

log = logging.getLogger(__name__)
SHOWN = 3  # rows that differ
KINDS = {
    "table": "data",
    "folds": "data",
    "decoder": "code",
    "engine": "code",
    "result_version": "code",
}  # else settings
PACKAGE = Path(__file__).parents[1]


@dataclass(frozen=True)
class Recipe:
    """What is to be made again: the CSV, the JSON of its origin, and the facts of each run in it, by name."""

    csv: Path
    origin: dict[str, Any]
    runs: dict[str, dict[str, Any]]

    @property
    def run(self) -> str:
        """The run whose predictions the CSV holds."""
        return str(self.origin["run"])

    @property
    def trained(self) -> list[str]:
        """The runs with networks: itself, or the members of an ensemble that are not files; teachers come before."""
        names: list[str] = []
        for name in self.origin["members"]:
            if "+" not in name:
                names += [one for one in self.taught(name) if one not in names]
        return names

    def taught(self, name: str) -> list[str]:
        """A run, and before it the runs that have labelled for it, the first one first."""
        teacher = self.runs[name].get("teacher")
        return [*(self.taught(teacher) if teacher else []), name]

    @property
    def is_ensemble(self) -> bool:
        """Whether it was blended."""
        return bool(self.origin["members"] != [self.run])


def check(config: Config) -> None:
    """Raises UserError where several processes would each make it again."""
    if world_size() > 1:
        raise UserError("a submission is made again in one process: leave torchrun away")


def run(config: Config) -> None:
    """Makes the submission again. Raises UserError, saying what differs, unless it is the same byte for byte."""
    recipe = read_recipe(config)
    demand_untouched(recipe)
    folder = config.root / "outputs" / "reproduced" / environment()
    submission = options_of(config, recipe, recipe.origin.get("configuration"), recipe.run)
    prepare_where_nothing_is(submission)
    prepared = read_prepared(submission)
    configs = {name: run_config(config, recipe, name, folder) for name in recipe.trained}
    demand_same_ingredients(recipe, submission, configs, prepared)
    for line in apart(recipe):
        log.info("reproduce: %s", line)
    log.info("reproduce: %s is made anew from %s, in %s", recipe.csv.name, ", ".join(recipe.trained), folder)
    made = make_again(recipe, submission, configs, prepared, folder)
    prove(recipe, made, config)


# --- what it was made with -----------------------------------------------------------------------------------------


def read_recipe(config: Config) -> Recipe:
    """The origin of `submission=`. Raises UserError if there is none, or one that cannot be made again."""
    if config.submission is None:
        raise UserError("which one? type reproduce submission=submissions/NAME.csv")
    path = absolute(config.submission)
    csv, origin = path.with_suffix(".csv"), path.with_suffix(".json")
    if not origin.is_file():
        raise UserError(
            f"{origin} is not there: it tells what {csv.name} was made with, and stage=submit writes it beside the CSV"
        )
    try:
        facts = read_json(origin)
    except UserError as error:
        raise UserError(f"{origin} is damaged, and nothing else tells what {csv.name} was made with") from error
    if not isinstance(facts, dict) or not {"run", "members", "csv_sha256", "competition"} <= set(facts):
        raise UserError(f"{origin} is not the origin of a submission: give the CSV that stage=submit has written")
    outputs = config.root / "outputs" / str(facts["competition"])
    known = facts.get("runs") or {}  # of a version before this stage there are none: their folders may be left
    names, runs = [facts["run"], *(name for name in facts["members"] if "+" not in name)], {}
    while names:
        name = names.pop()
        each = runs[name] = known.get(name) or facts_here(outputs / name, csv)
        if not isinstance(each, dict) or not {"configuration", "identity", "test_sha256", "machine"} <= set(each):
            raise UserError(f"{origin} does not tell how {name} was made: it was changed, or is of another version")
        names += [teacher] if (teacher := each.get("teacher")) else []
    for name, each in runs.items():
        if each.get("cut_by_budget"):
            raise UserError(
                f"{name} was cut short by training.budget={each['cut_by_budget']}: how far a clock lets a training "
                "come cannot be made again; train it without a budget for a submission that can"
            )
    return Recipe(csv, facts, runs)


def facts_here(run: Path, csv: Path) -> dict[str, Any]:
    """What the folder of a run tells, where the origin of the submission does not."""
    if not (run / "metrics.json").exists():
        raise UserError(f"the origin of {csv.name} does not say how {run.name} was configured, and {run} is not there")
    return run_facts(run)


def demand_untouched(recipe: Recipe) -> None:
    """Raises UserError if the CSV is not the one that its origin tells of."""
    if recipe.csv.exists() and file_sha256(recipe.csv) != recipe.origin["csv_sha256"]:
        raise UserError(
            f"{recipe.csv} was changed after it was made: its SHA-256 begins with {file_sha256(recipe.csv)[:8]}, that "
            f"of its origin with {recipe.origin['csv_sha256'][:8]}; move it away to make the original again"
        )


def options_of(config: Config, recipe: Recipe, options: dict[str, Any] | None, name: str) -> Config:
    """The configuration with recorded options, under the present root."""
    if options is None:
        options = recipe.runs[name]["configuration"]
    if options is None:
        raise UserError(f"how {name} was configured is not known: its config.yaml is missing or of another version")
    made = config_of(options, name)
    folds = replace(made.folds, only=[], remake=False)
    return replace(made, paths=PathsOptions(config.paths.root), folds=folds, workers=config.workers)


def run_config(config: Config, recipe: Recipe, name: str, folder: Path) -> Config:
    """How a run was trained, to be trained so in `folder`: the mode and the kind of device that `auto` came to.

    Its teacher is made anew too, and only then known.
    """
    facts = recipe.runs[name]
    made = options_of(config, recipe, facts["configuration"], name)
    mode = ((facts["identity"] or {}).get("training") or {}).get("mode", made.training.mode)
    on_cpu = (facts["machine"] or {}).get("device") == "cpu"
    return replace(
        made,
        stage="train",
        paths=PathsOptions(config.paths.root, str(folder)),
        device="cpu" if on_cpu else made.device,
        training=replace(made.training, mode=mode, trackers=[], budget=None, teacher=None),
    )


def prepare_where_nothing_is(config: Config) -> None:
    """Downloads and prepares, if that was not done: a table that is there is never made anew."""
    if not (config.data_dir / "prepared.json").exists():
        run_stages(config, ("download", "prepare"))


# --- what differs --------------------------------------------------------------------------------------------------


def demand_same_ingredients(recipe: Recipe, submission: Config, configs: dict[str, Config], prepared: Dataset) -> None:
    """Raises UserError if what decides results is known to be another, before hours are spent on it."""
    faults = []
    then, now = recipe.origin.get("table"), prepared.table_hash
    if then not in (None, now):
        faults.append(f"data: table {then[:8]} then, {now[:8]} now")
        if (source := recipe.origin.get("source")) and (here := source_hash(submission.base_dir)):
            faults.append(f"data: its source {source[:8]} then, {here[:8]} now" if source != here else "")
    for name, config in configs.items():
        was = {key: value for key, value in (recipe.runs[name]["identity"] or {}).items() if key != "teacher"}
        found = flat(json.loads(json.dumps(identity_of(config, read_prepared(config)))))
        if "classes" not in was:  # as versions wrote it that did not name their order, which the configuration gives
            found.pop("classes", None)
        for key, (before, after) in difference(flat(was), found).items():
            faults.append(f"{KINDS.get(key, 'settings')}: {key} {before} then, {after} now")
    faults = list(dict.fromkeys(fault for fault in faults if fault))
    if faults:
        commit = recipe.origin.get("git_commit")
        advice = f"; it was made at commit {commit}" if commit and any("code" in fault for fault in faults) else ""
        raise UserError(f"{recipe.csv.name} cannot be made again here: {'; '.join(faults)}{advice}")


def apart(recipe: Recipe) -> list[str]:
    """What is another than it was, and may or may not change a byte: commit, versions, machine."""
    lines = []
    for name in recipe.trained:
        facts = recipe.runs[name]
        machine = described_now(facts["machine"])
        pairs = [
            *difference({"code: commit": str(facts["git_commit"])}, {"code: commit": str(git_commit())}).items(),
            *((f"version: {key}", pair) for key, pair in changed(facts["versions"], versions())),
            *((f"machine: {key}", pair) for key, pair in changed(facts["machine"], machine)),
        ]
        lines += [f"{what} {before} then, {after} now" for what, (before, after) in pairs]
    return list(dict.fromkeys(lines))


def engines_apart(recipe: Recipe, made: dict[str, Path]) -> list[str]:
    """Where another engine has looked through the networks than then, which only shows when they are made anew."""
    pairs = {(recipe.runs[name].get("engine"), run_facts(made[name])["engine"]) for name in recipe.trained}
    return [f"engine: {then} then, {now} now" for then, now in sorted(pairs, key=str) if then not in (None, now)]


def changed(then: dict[str, Any] | None, now: dict[str, Any]) -> Iterator[tuple[str, tuple[str, str]]]:
    """name -> (then, now) of what is known of then and another now."""
    yield from difference(
        flat(then or {}), {key: value for key, value in flat(now).items() if key in (then or {})}
    ).items()


def described_now(machine: dict[str, Any] | None) -> dict[str, Any]:
    """The machine as it is, on the device that was used then, with as many threads as then."""
    if machine is None:
        return {}
    from kagglepipe.training.device import choose_device, describe_machine, use_threads

    use_threads(machine.get("threads"))
    return describe_machine(choose_device("cpu" if machine.get("device") == "cpu" else "auto"))


def environment() -> str:
    """Eight digits for the code, the versions and the machine: with others a run is made anew once more."""
    files = sorted(PACKAGE.rglob("*.py"))
    code = [part for file in files for part in (file.relative_to(PACKAGE).as_posix(), file_sha256(file))]
    from kagglepipe.training.device import choose_device, describe_machine

    machine = describe_machine(choose_device())
    return sha256(*code, json.dumps([versions(), machine], sort_keys=True))[:8]


# --- made anew -----------------------------------------------------------------------------------------------------


def make_again(
    recipe: Recipe, submission: Config, configs: dict[str, Config], prepared: Dataset, folder: Path
) -> dict[str, Path]:
    """Every run anew, then the CSV. What was made, by the name of the original: runs, and the CSV by its file name."""
    from kagglepipe.training.device import use_threads

    made: dict[str, Path] = {}
    for name, config in configs.items():
        use_threads((recipe.runs[name]["machine"] or {}).get("threads"))
        if teacher := recipe.runs[name].get("teacher"):
            config = replace(config, training=replace(config.training, teacher=str(made[teacher])))
        run_stages(config, ("train",))
        made[name] = run_dir(config, prepared)
    outputs = PathsOptions(submission.paths.root, str(folder))
    if recipe.is_ensemble:
        blending = options_of(submission, recipe, recipe.runs[recipe.run]["configuration"], recipe.run)
        members = [str(made.get(name, name)) for name in recipe.origin["members"]]  # which may be called otherwise now
        ensemble = replace(blending.ensemble, runs=members)
        blending = replace(blending, stage="ensemble", paths=outputs, ensemble=ensemble)
        run_stages(blending, ("ensemble",))
        made[recipe.run] = configured_run(blending, prepared)
    csv = folder / recipe.csv.name
    last = replace(
        submission, stage="submit", paths=outputs, run=str(made[recipe.run]), submit=SubmitOptions(file=str(csv))
    )
    run_stages(last, ("submit",))
    return {**made, csv.name: csv}


# --- the proof -----------------------------------------------------------------------------------------------------


def prove(recipe: Recipe, made: dict[str, Path], config: Config) -> None:
    """Says that the bytes are the same, and puts back what was missing; raises UserError with what differs if not."""
    csv, wanted = made[recipe.csv.name], recipe.origin["csv_sha256"]
    if file_sha256(csv) != wanted:
        raise UserError(f"{recipe.csv.name} is not made again byte for byte: {why_not(recipe, made, config)}")
    if not recipe.csv.exists():
        write_bytes(recipe.csv, csv.read_bytes())
        log.info("reproduce: %s was missing and is there again", recipe.csv)
    behind = probabilities_behind(recipe, made[recipe.run], config)
    put_back(recipe, made, config)
    log.info(
        "reproduce: %s is the same byte for byte: %d rows, SHA-256 %s; %s",
        recipe.csv.name, recipe.origin["rows"], wanted, behind,
    )  # fmt: skip


def probabilities_behind(recipe: Recipe, made: Path, config: Config) -> str:
    """Whether the probabilities behind the same answers are the same too."""
    if file_sha256(made / "test.parquet") == recipe.runs[recipe.run]["test_sha256"]:
        return "so are the probabilities behind it"
    before = original(recipe, config)
    by = "" if before is None else f" by {largest_difference(before, made / 'test.parquet'):.2g} at most"
    return f"the probabilities behind it differ{by}"


def original(recipe: Recipe, config: Config) -> Path | None:
    """The predictions that the CSV was made of, if they are still there."""
    file = config.root / "outputs" / str(recipe.origin["competition"]) / recipe.run / "test.parquet"
    return file if file.exists() and file_sha256(file) == recipe.runs[recipe.run]["test_sha256"] else None


def put_back(recipe: Recipe, made: dict[str, Path], config: Config) -> None:
    """Moves what was made anew to where it is missing."""
    outputs = config.root / "outputs" / str(recipe.origin["competition"])
    for name in recipe.runs:
        if not (outputs / name).exists() and made[name].name == name:
            outputs.mkdir(parents=True, exist_ok=True)
            made[name].rename(outputs / name)
            forget_place(outputs / name / "config.yaml")
            log.info("reproduce: %s was missing and is there again", outputs / name)


def forget_place(file: Path) -> None:
    """Takes the folder in which a run was made anew out of its config.yaml."""
    from omegaconf import OmegaConf

    options: Any = OmegaConf.to_container(OmegaConf.load(file), resolve=True)
    options["paths"]["outputs"] = None
    if teacher := options["training"].get("teacher"):
        options["training"]["teacher"] = Path(teacher).name
    write_bytes(file, yaml_of(options).encode())


def why_not(recipe: Recipe, made: dict[str, Path], config: Config) -> str:
    """The rows that differ, by how much predictions do, and what may be the reason, in one line."""
    parts = [rows_apart(recipe.csv, made[recipe.csv.name])] if recipe.csv.exists() else []
    if before := original(recipe, config):
        apart_by = largest_difference(before, made[recipe.run] / "test.parquet")
        parts.append(f"the largest difference of a probability is {apart_by:.2g}")
    reasons = apart(recipe) + engines_apart(recipe, made)
    parts.append("; ".join(reasons) if reasons else "neither commit, versions nor machine are known to differ")
    return f"{'; '.join(parts)}; the new one is {made[recipe.csv.name]}"


def rows_apart(before: Path, after: Path) -> str:
    """As in `2 of 60 rows differ: "7,0" is now "7,1"`."""
    old, new = (path.read_text(encoding="utf-8").splitlines() for path in (before, after))
    pairs = [(a, b) for a, b in zip_longest(old, new, fillvalue="nothing") if a != b]
    first = ", ".join(f'"{a}" is now "{b}"' for a, b in pairs[:SHOWN])
    return f"{len(pairs)} of {max(len(old), len(new)) - 1} rows differ ({first}{' …' if len(pairs) > SHOWN else ''})"


def largest_difference(before: Path, after: Path) -> float:
    """Of two tables of predictions for the same ids."""
    one, other = (read_frame(path).set_index("id") for path in (before, after))
    if set(one.index) != set(other.index):
        return float("nan")
    names = class_columns(one.reset_index())
    return float((one[names] - other.loc[one.index, names]).abs().to_numpy().max())
