"""competition=auto: the fields of a competition, inferred from its files, as arguments of the command line.

Everything after this knows the fields alone, as if they had been typed or written in a YAML file.
"""

import logging
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kagglepipe import console
from kagglepipe.cli.arguments import is_sweep, quoted
from kagglepipe.cli.default_competition import USING_RUNS
from kagglepipe.cli.errors import explain, unknown_option
from kagglepipe.cli.hints import groups
from kagglepipe.config import CONF, DICT_OPTIONS, PATH_KEYS, hydra_string, option_names
from kagglepipe.distributed import is_rank_zero
from kagglepipe.errors import UserError
from kagglepipe.options import usual_model
from kagglepipe.runs.typed_words import option_arguments

if TYPE_CHECKING:
    from kagglepipe.competitions.infer import Inference
    from kagglepipe.competitions.inferred_file import InferredFile
    from kagglepipe.config import Config

log = logging.getLogger(__name__)
AUTO = "competition=auto"
NEEDED = ("experiment=", "stage=", "paths.", "competition.source", "competition.slug", "competition.refresh",
          "competition.on_bad_image", "download.", "kaggle.")  # fmt: skip
UNREAD = ("doctor", "annotations", "reproduce", "course")  # stages that read neither the fields nor the files
NO_FIELDS = ("source", "refresh", "per_class", "hidden", "hidden_seed", "labels_patch")  # typed, not asked of files
SAID_AGAIN = ("is unchanged since it was taken", "is here already")  # by stage=download


def inferred_arguments(arguments: Sequence[str], *, multirun: bool = False) -> list[str]:
    """The arguments that set the inferred fields of a command with competition=auto, and are to stand before its own.

    Brings the files to this machine as stage=download does, where the command needs them, and logs what was found.
    Raises UserError where no answer could be given, and for a sweep over sources.
    """
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    words = [quoted(word, multirun=multirun) for word in arguments]
    if varied := [
        word for word in words if word.startswith(("competition=", "competition.source=")) and is_sweep(word)
    ]:
        raise UserError(f"{varied[0]}: competition=auto reads the files of one competition, so type a command for each")
    check_names(words)
    own = competition_words([typed for typed, word in zip(arguments, words, strict=True) if not is_sweep(word)])
    words = [word for word in words if not is_sweep(word)]
    try:
        inference, typed = infer_competition(words, own)
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(explain(error)) from error
    names = {word.partition("=")[0].lstrip("+") for word in arguments}
    found = [word for word in typed if word.partition("=")[0].lstrip("+") not in names]
    given = given_fields(words)
    for name, value in inference.fields.items():
        if f"competition.{name}" not in names or isinstance(value, Mapping):
            found += field_arguments(name, value, given.get(name))
    for name, value in inference.settings.items():
        found += [] if name in names else option_arguments(name, value)
    model = usual_model(*(inference.fields.get(name, given.get(name)) for name in ("kind", "form")))
    return [*found, *([f"model={model}"] if model and not {"model", "experiment"} & names else [])]


def check_names(words: Sequence[str]) -> None:
    """Raise UserError for a misspelt option, which Hydra would find only after files were read for minutes."""
    for word in words:
        name = re.split("[=@]", word.lstrip("+~"), maxsplit=1)[0]
        is_free = name.startswith(("-", "hydra", *(f"{free}." for free in DICT_OPTIONS)))
        if "=" in word and not is_free and name not in (*option_names(), *groups()):
            raise UserError(unknown_option(name))


def infer_competition(words: Sequence[str], typed: list[str]) -> "tuple[InferredFile, list[str]]":
    """(the inference, words that were typed with it in an earlier command and count for this one).

    words: arguments in Hydra's grammar. typed: `competition_words` among them, as they were typed.
    Stages that use runs have the inference of when these were made, or none.
    """
    from kagglepipe.competitions.inferred_file import InferredFile

    config, nothing = (
        composed([word for word in words if word.lstrip("+").startswith(NEEDED)]),
        InferredFile({}, {}, []),
    )
    is_shown = config.stage != "describe"  # which prints it itself
    if config.stage in UNREAD:
        return nothing, []
    known = InferredFile.read(config.base_dir)
    if config.stage in USING_RUNS:
        return (known, known.words) if known else (nothing, [])
    content = downloaded(config)
    if known and known.fits(content, typed):
        if is_shown:
            log.info("competition=auto: fields as they were inferred before (`describe` shows them)")
        return known, []
    found = inferred(config, words)
    made = InferredFile(found.fields, found.reasons, found.notes, found.settings, typed, content)
    made.write(config.base_dir)
    if is_shown:
        log_inference(made)
    return made, []


def downloaded(config: "Config") -> str:
    """Bring the files to this machine; returns the hash of their bytes."""
    from kagglepipe.stages import download

    download.check(config)
    download.run(config)
    source = download.read_source(config.base_dir)
    assert source is not None
    return source.content


def inferred(config: "Config", words: Sequence[str]) -> "Inference":
    """Infer the fields from the files that lie here. words: arguments in Hydra's grammar."""
    from kagglepipe.competitions.infer import infer
    from kagglepipe.competitions.source import list_names, source_root

    root, given = source_root(config.base_dir), given_fields(words)
    with console.working("reading the files"):
        names, _ = list_names(root, skip_bad=config.competition.on_bad_image == "skip")
        found = infer(root, names, given)
        if found.fields.get("kind", given.get("kind")) in ("series", "audio"):
            set_rate(found, words, root, names)
        return found


def set_rate(inference: "Inference", words: Sequence[str], root: Path, files: Sequence[str]) -> None:
    """Set `sequences.rate` to that of the series or sounds among `files`."""
    from kagglepipe.sequences.usual_rate import usual_rate

    given = given_fields(words)
    fields = [word for name, one in inference.fields.items() for word in field_arguments(name, one, given.get(name))]
    typed = [word for word in words if word.lstrip("+").startswith("competition.")]
    if found := usual_rate(root, files, composed([*fields, *typed]).competition, inference.duration):
        inference.settings["sequences.rate"], inference.reasons["sequences.rate"] = found


def log_inference(inference: "InferredFile") -> None:
    """Log the inferred fields as the lines of a YAML, and what is uncertain."""
    from kagglepipe.competitions.field_lines import comment, field_lines

    log.info("competition=auto: these fields follow from the files (type competition.NAME=VALUE to change one):")
    for line in field_lines(inference.fields, inference.reasons, cut=True):
        log.info("  %s", line)
    for name, value in inference.settings.items():
        log.info("  and %s=%s, %s", name, value, comment(inference.reasons[name]))
    for note in inference.notes:
        log.warning("competition=auto: %s", comment(note))


@contextmanager
def logs_on_console() -> Iterator[None]:
    """Show log lines as a Hydra job does, which sets up logging only later; errors alone of other ranks."""
    root = logging.getLogger()
    handler, level = console.ConsoleHandler(sys.stdout), root.level
    handler.setFormatter(logging.Formatter("%(message)s"))
    handler.addFilter(lambda record: not str(record.msg).endswith(SAID_AGAIN))
    root.addHandler(handler)
    root.setLevel(logging.INFO if is_rank_zero() else logging.ERROR)
    try:
        yield
    finally:
        root.removeHandler(handler)
        root.setLevel(level)


def field_arguments(name: str, value: Any, given: Any = None) -> list[str]:
    """A field as arguments in Hydra's grammar, also where it is a path. given: what was typed for it, of a dictionary.

    >>> field_arguments("labels", "my, labels.csv"), field_arguments("columns", {"item": "id"})
    (["competition.labels='my, labels.csv'"], ['++competition.columns.item=id'])
    """
    option = f"competition.{name}"
    if option in PATH_KEYS and value:
        return [f"{option}={hydra_string(value)}"]
    if isinstance(value, Mapping):
        value = {key: one for key, one in value.items() if key not in (given or {})}
        return [f"+{word}" for word in option_arguments(option, value)]
    return option_arguments(option, value)


def competition_words(words: Sequence[str]) -> list[str]:
    """The typed words from which, beside the files, the fields follow."""
    left_out = tuple(f"competition.{name}" for name in NO_FIELDS)
    found = [word for word in words if word.lstrip("+").startswith("competition.")]
    return [word for word in found if word.partition("=")[0] not in left_out]


def composed(overrides: Sequence[str]) -> "Config":
    """The configuration of competition=auto with these overrides, without Hydra's job."""
    from hydra import compose, initialize_config_dir
    from hydra.core.config_store import ConfigStore
    from omegaconf import OmegaConf

    from kagglepipe.config import schema

    ConfigStore.instance().store(name="schema", node=schema())
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("config", [AUTO, *overrides])
    made: Any = OmegaConf.to_object(cfg)
    return made


def given_fields(words: Sequence[str]) -> dict[str, Any]:
    """Fields of the competition that were typed, by name; those of a dictionary together."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from omegaconf import OmegaConf

    found: dict[str, Any] = {}
    own = [word for word in words if word.lstrip("+").startswith("competition.")]
    for one in OverridesParser.create().parse_overrides(own):
        _, name, *key = one.key_or_group.split(".", 2)
        value: Any = OmegaConf.create({"value": one.value()})["value"]  # which undoes the escapes of ${
        value = OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value
        if key or isinstance(value, Mapping):
            found.setdefault(name, {}).update({key[0]: value} if key else dict(value))
        else:
            found[name] = value
    return found
