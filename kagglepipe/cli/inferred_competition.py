"""competition=auto: the fields of a competition, inferred from its files, as arguments of the command line.

Everything after this knows the fields alone, as if they had been typed or written in a YAML file.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kagglepipe.cli.arguments import is_sweep
from kagglepipe.cli.default_competition import option_arguments
from kagglepipe.config import CONF

if TYPE_CHECKING:
    from kagglepipe.competitions.infer import Inference
    from kagglepipe.config import Config

NEEDED = ("paths.", "competition.source", "competition.slug", "competition.refresh", "competition.on_bad_image",
          "download.", "kaggle.")  # fmt: skip
MODELS = {"video": "model=cnn_lstm", "series": "model=lstm", "audio": "model=lstm"}


def infer_competition(arguments: Sequence[str]) -> "Inference":
    """Bring the files of a command with competition=auto to this machine, and infer the competition's fields.

    Raises UserError as stage=download does, and where no answer could be given.
    """
    from kagglepipe.competitions.infer import infer
    from kagglepipe.competitions.source import list_files
    from kagglepipe.files import read_json
    from kagglepipe.stages import download

    config = composed([word for word in arguments if word.lstrip("+").startswith(NEEDED) and not is_sweep(word)])
    download.check(config)
    download.run(config)
    source = read_json(config.base_dir / "source.json")
    root = Path(source["path"]) if source["kind"] == "folder" else config.base_dir / "raw"
    files = list_files(root, skip_bad=config.competition.on_bad_image == "skip")[0]
    names = [file.relative_to(root).as_posix() for file in files]
    inference = infer(root, names, given_fields(arguments))
    if inference.fields.get("kind", config.competition.kind) in ("series", "audio"):
        set_rate(inference, arguments, root, names)
    return inference


def set_rate(inference: "Inference", arguments: Sequence[str], root: Path, files: Sequence[str]) -> None:
    """Set `sequences.rate` to that of the series or sounds among `files`, unless it is typed."""
    from kagglepipe.sequences.usual_rate import usual_rate

    if any(word.lstrip("+").startswith("sequences.rate=") for word in arguments):
        return
    typed = [word for word in arguments if word.lstrip("+").startswith("competition.") and not is_sweep(word)]
    competition = composed([*field_arguments(inference), *typed]).competition
    if found := usual_rate(root, files, competition):
        inference.settings["sequences.rate"], inference.reasons["sequences.rate"] = found


def field_arguments(inference: "Inference") -> list[str]:
    """The arguments that set the inferred fields."""
    return [word for name, value in inference.fields.items() for word in option_arguments(f"competition.{name}", value)]


def inferred_arguments(inference: "Inference", arguments: Sequence[str]) -> list[str]:
    """The arguments that set the inferred fields; those typed afterwards override them."""
    words = field_arguments(inference)
    words += [word for name, value in inference.settings.items() for word in option_arguments(name, value)]
    model = MODELS.get(str(inference.fields.get("kind")))
    is_chosen = any(word.partition("=")[0] in ("model", "experiment") for word in arguments)
    return [*words, *([model] if model and not is_chosen else [])]


def composed(overrides: Sequence[str]) -> "Config":
    """The configuration of competition=auto with these overrides, without Hydra's job."""
    from hydra import compose, initialize_config_dir
    from hydra.core.config_store import ConfigStore
    from omegaconf import OmegaConf

    from kagglepipe.cli.arguments import quoted
    from kagglepipe.config import schema

    ConfigStore.instance().store(name="schema", node=schema())
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("config", ["competition=auto", *map(quoted, overrides)])
    made: Any = OmegaConf.to_object(cfg)
    return made


def given_fields(arguments: Sequence[str]) -> dict[str, Any]:
    """Fields of the competition that were typed, by name; those of a dictionary together."""
    from hydra.core.override_parser.overrides_parser import OverridesParser

    from kagglepipe.cli.arguments import quoted

    found: dict[str, Any] = {}
    words = [word for word in arguments if word.lstrip("+").startswith("competition.") and not is_sweep(word)]
    for one in OverridesParser.create().parse_overrides([quoted(word) for word in words]):
        _, name, *key = one.key_or_group.split(".")
        value = one.value()
        if key or isinstance(value, Mapping):
            found.setdefault(name, {}).update({key[0]: value} if key else dict(value))
        else:
            found[name] = value
    return found


def description(inference: "Inference") -> list[str]:
    """The inferred fields as lines of a YAML, each with its reason as a comment."""
    import yaml

    lines = []
    for name, value in inference.fields.items():
        text = yaml.safe_dump({name: value}, default_flow_style=None, sort_keys=False, allow_unicode=True, width=10**6)
        lines.append(f"{text.strip()}  # {inference.reasons[name]}")
    lines += [f"# {name}={value:g}: {inference.reasons[name]}" for name, value in inference.settings.items()]
    return [*lines, *(f"# {note}" for note in inference.notes)]
