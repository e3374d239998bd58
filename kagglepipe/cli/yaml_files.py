"""Checks of users' YAML files: encoding, and unquoted names that YAML reads as another type."""

from collections.abc import Sequence
from dataclasses import fields
from itertools import pairwise
from pathlib import Path
from typing import Any

from kagglepipe.errors import UserError
from kagglepipe.options import OPTIONAL_COLUMNS, CompetitionOptions


def check_utf8(words: Sequence[str]) -> None:
    """Raise UserError for a YAML file in the folder of --config-dir that is not UTF-8."""
    flags = {"-cd", "--config-dir"}
    folders = [after for word, after in pairwise(words) if word in flags]
    folders += [word.partition("=")[2] for word in words if word.partition("=")[0] in flags and "=" in word]
    for file in [file for folder in folders for file in sorted(Path(folder).glob("*/*.yaml"))]:
        try:
            file.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise UserError(f"{file} is not UTF-8 ({error.reason}): save it as UTF-8") from error


def chosen_files(runtime: Any) -> list[Path]:
    """Find the YAML files of the competition and the experiment that were chosen."""
    folders = [Path(source.path) for source in runtime.config_sources if source.schema == "file"]
    names = [(group, runtime.choices.get(group)) for group in ("competition", "experiment")]
    files = [folder / group / f"{name}.yaml" for group, name in names if name for folder in folders]
    return [file for file in files if file.is_file()]


def check_quoted_names(file: Path) -> None:
    """Raise UserError for a text in a competition's file (class, folder, column, …) that YAML reads as another type.

    Without quotes `off` and `no` are read as False, `010` as 8, `1e3` as 1000.0. `null` and `~` are allowed where an
    option may be null.
    """
    import yaml
    from omegaconf import OmegaConf

    options = _mapping(yaml.compose(file.read_text("utf-8"), Loader=yaml.SafeLoader))
    options = _mapping(options["competition"]) if "competition" in options else options
    known = [one for one in fields(CompetitionOptions) if one.name in options]
    for node, is_optional in [text for one in known for text in _texts(options[one.name], one.type)]:
        if node.style is not None or "${" in node.value:
            continue
        value = OmegaConf.create(f"- {node.value}")[0]
        is_allowed = is_optional or not node.value if value is None else str(value) == node.value
        if not is_allowed:
            raise UserError(
                f"{file}, line {node.start_mark.line + 1}: {node.value} is read by YAML as "
                f"{type(value).__name__} {value}: quote it, as '{node.value}'"
            )


def _mapping(node: Any) -> dict[str, Any]:
    """Look up the values of a YAML mapping by key."""
    return {key.value: value for key, value in node.value} if getattr(node, "id", "") == "mapping" else {}


def _scalars(node: Any) -> list[Any]:
    """List the items of a YAML list, or the one node that is none."""
    return list(node.value) if node.id == "sequence" else [node]


def _texts(node: Any, kind: Any) -> list[tuple[Any, bool]]:
    """(text scalar, whether it may be null) of an option. kind: the option's type."""
    if kind in (str, str | None) or (kind == list[str] and node.id == "scalar"):
        found = [(node, True)]
    elif kind == list[str] and node.id == "sequence":
        found = [(one, False) for one in node.value]
    elif kind in (dict[str, str], dict[str, Any]) and node.id == "mapping":
        found = [(key, False) for key, _ in node.value]
        found += [(one, key.value in OPTIONAL_COLUMNS) for key, cell in node.value for one in _scalars(cell)]
    else:
        found = []
    return [(one, is_optional) for one, is_optional in found if one.id == "scalar"]
