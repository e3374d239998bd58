"""Weights from the user's file: safetensors, or a PyTorch checkpoint, which is read once and kept as safetensors."""

import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kagglepipe.errors import UserError
from kagglepipe.files import locked
from kagglepipe.models.weights import load_backbone, read_tensors, write_tensors
from kagglepipe.text import first_three

if TYPE_CHECKING:
    import torch
    from torch import nn

log = logging.getLogger(__name__)
CONTAINERS = ("state_dict", "model_state_dict", "model", "net", "network", "weights", "model_ema", "state_dict_ema",
              "teacher", "student")  # fmt: skip
WRAPPERS = ("module.", "model.", "backbone.", "encoder.", "net.", "network.", "_orig_mod.")  # DDP, Lightning, compile


def load_file(backbone: "nn.Module", path: Path, identity: str, *, cache_dir: Path) -> None:
    """Load the user's weights into `backbone`, a timm model made with num_classes=0, and log what is left out.

    identity: SHA-256 of the file. cache_dir: folder for safetensors converted from .pth and .pt.
    Raises UserError if the file holds no tensors, or lacks some of the network's.
    """
    tensors = unwrapped(read_file(path, identity, cache_dir), backbone.state_dict())
    load_backbone(backbone, tensors, str(path))
    unused = sorted(set(tensors) - set(backbone.state_dict()))
    head = [name for name in unused if is_of_classifier(name, backbone)]
    if head:
        log.info("weights: the classifier of %s is left out (%s)", path, first_three(head))
    if others := sorted(set(unused) - set(head)):
        log.warning("weights: %d tensors of %s are not in this network: %s", len(others), path, first_three(others))


def read_file(path: Path, identity: str, cache_dir: Path) -> dict[str, "torch.Tensor"]:
    """Read the tensors of a .safetensors, .pth or .pt file; of the latter two from `cache_dir` if it was converted."""
    if path.suffix == ".safetensors":
        return read_tensors(path)
    converted = cache_dir / f"file-{identity[:16]}.safetensors"
    with locked(converted):
        if not converted.exists():
            write_tensors(converted, {name: value.clone() for name, value in read_checkpoint(path).items()})
    return read_tensors(converted)


def read_checkpoint(path: Path) -> dict[str, "torch.Tensor"]:
    """Read the tensors of a PyTorch checkpoint, without running any code in it. Raises UserError without tensors."""
    import torch

    try:
        found: Any = torch.load(path, weights_only=True, map_location="cpu")
    except Exception as error:  # of damage and of pickles with code torch raises anything
        reason = str(error).strip().split("\n")[0].split(". ")[0][:150]
        raise UserError(
            f"{path} holds no weights that can be read without running its code ({reason}): save them with "
            "torch.save(model.state_dict(), FILE), or as safetensors"
        ) from error
    for name in CONTAINERS:
        if isinstance(found, Mapping) and isinstance(found.get(name), Mapping):
            found = found[name]
    items = found.items() if isinstance(found, Mapping) else []
    tensors = {str(name): value for name, value in items if isinstance(value, torch.Tensor)}
    if not tensors:
        some = (first_three(map(str, found)) or "nothing") if isinstance(found, Mapping) else type(found).__name__
        raise UserError(f"{path} has no tensors by name ({some}): save them with torch.save(model.state_dict(), FILE)")
    return tensors


def unwrapped(tensors: Mapping[str, "torch.Tensor"], own: Iterable[str]) -> dict[str, "torch.Tensor"]:
    """Names without the prefixes of wrappers, as many of them as give the most names in `own`."""
    best = named = dict(tensors)
    for _ in range(4):
        named = {without_wrapper(name): value for name, value in named.items()}
        if len(named.keys() & set(own)) > len(best.keys() & set(own)):
            best = named
    return best


def without_wrapper(name: str) -> str:
    """The name without its first part, if that is a wrapper's.

    >>> without_wrapper("module.model.conv1.weight"), without_wrapper("conv1.weight")
    ('model.conv1.weight', 'conv1.weight')
    """
    prefix = name.partition(".")[0] + "."
    return name.removeprefix(prefix) if prefix in WRAPPERS else name


def is_of_classifier(name: str, backbone: "nn.Module") -> bool:
    """Whether a tensor is of the classifier that timm names for this network, or of a layer called as one."""
    known = getattr(backbone, "default_cfg", {}).get("classifier") or ()
    layers = [known] if isinstance(known, str) else list(known)
    return any(name.startswith(f"{layer}.") for layer in [*layers, "head", "fc", "classifier"])
