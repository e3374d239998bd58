"""competition=PATH.yaml: a competition's file of the user's own, anywhere, without --config-dir.

Hydra finds it as a choice of the group `competition` that is stored in its ConfigStore, which jobs of a sweep in other
processes have as well.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from kagglepipe.cli.hints import did_you_mean, near
from kagglepipe.errors import UserError
from kagglepipe.files import expanded
from kagglepipe.options import CompetitionOptions

ENDS = (".yaml", ".yml")


def with_own_yaml(arguments: Sequence[str]) -> list[str]:
    """The arguments, with names of choices in place of the paths of YAML files. Raises UserError as `store_yaml`."""
    found = []
    for argument in arguments:
        name, _, value = argument.partition("=")
        if name == "competition" and value.strip("'\"").lower().endswith(ENDS):
            is_one = expanded(value.strip("'\"")).exists() or "," not in value
            paths = [value] if is_one else value.split(",")
            argument = f"competition={','.join(store_yaml(expanded(path.strip(QUOTES))) for path in paths)}"
        found.append(argument)
    return found


QUOTES = "'\" "


def store_yaml(file: Path) -> str:
    """Make a file a choice of the group `competition`; returns its name.

    Raises UserError, with file and line, for one that is missing, is not UTF-8 or not YAML, or has wrong fields.
    """
    import yaml
    from hydra.core.config_store import ConfigStore
    from omegaconf import OmegaConf

    from kagglepipe.cli.yaml_files import check_quoted_names

    if not file.is_file():
        raise UserError(f"competition={file}: there is no such file; `describe competition.source=PATH` writes one")
    try:
        text = file.read_text(encoding="utf-8")
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except UnicodeDecodeError as error:
        raise UserError(f"{file} is not UTF-8 ({error.reason}): save it as UTF-8") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{file}, line {mark.line + 1}:" if mark else f"{file}:"
        what = getattr(error, "problem", None) or str(error)
        raise UserError(f"{where} not valid YAML ({what}): indent by blanks, and close quotes") from error
    if getattr(node, "id", "") != "mapping":
        raise UserError(f"{file} holds no fields of a competition, as `kind: image`")
    check_quoted_names(file)
    header = re.search(r"^#\s*@package\s+(\S+)", text, re.MULTILINE)
    check_fields(file, node, is_global=header is not None and header[1] == "_global_")
    name = re.sub(r"[^A-Za-z0-9_]", "_", file.stem)
    ConfigStore.instance().store(
        group="competition/own", name=name, node=OmegaConf.create(text), package=header[1] if header else None,
        provider=str(file),
    )  # fmt: skip
    return f"own/{name}"


def own_file(choice: str) -> Path | None:
    """The file of a choice of the group `competition`; None if it is one of conf/."""
    from hydra.core.config_store import ConfigStore

    if not choice.startswith("own/"):
        return None
    return Path(str(ConfigStore.instance().load(f"competition/{choice}.yaml").provider))


def check_fields(file: Path, node: Any, *, is_global: bool) -> None:
    """Raise UserError, with file and line, for names and values of fields that a competition cannot have.

    node: of the file's mapping. is_global: whether the fields lie in its `competition`, beside other groups.
    """
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    from kagglepipe.config import schema

    known = {one.name for one in fields(CompetitionOptions)}
    values: Any = OmegaConf.create(file.read_text(encoding="utf-8"))
    inherits = any(isinstance(one, str) and one != "_self_" for one in values.get("defaults") or [])
    values = values.competition if is_global else values
    lines, made = {}, schema(CompetitionOptions)
    for key, node_of_value in field_nodes(node, is_global=is_global):
        name, where = key.value, f"{file}, line {key.start_mark.line + 1}:"
        if name not in known:
            hint = did_you_mean(near(name, known)) or "docs/options.md has the fields of `competition`"
            raise UserError(f"{where} {name} is no field of a competition; {hint}")
        lines[name] = where
        if "${" in str(node_of_value):
            return  # what it means is known in the whole configuration alone
        try:
            made = OmegaConf.merge(made, {name: OmegaConf.to_container(values)[name]})  # type: ignore[index]
        except OmegaConfBaseException as error:
            raise UserError(f"{where} {name}: {str(error).splitlines()[0]}") from error
    try:
        OmegaConf.to_object(made)
    except UserError as error:
        if inherits:
            return
        named = re.findall(r"competition\.(\w+)", str(error))
        raise UserError(f"{next((lines[name] for name in named if name in lines), f'{file}:')} {error}") from error


def field_nodes(node: Any, *, is_global: bool) -> Iterator[tuple[Any, Any]]:
    """(node of the key, node of the value) of each field of a competition in a file."""
    for key, value in node.value:
        if is_global and key.value == "competition" and value.id == "mapping":
            yield from value.value
        elif not is_global and key.value != "defaults":
            yield key, value
