"""The set of wheels is whole for the target, of the right versions, and nothing of this machine slips in."""

import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from importlib.metadata import Distribution, PackageNotFoundError
from pathlib import Path
from typing import Any

import pytest
from packaging.tags import Tag

from kagglepipe.bundling import wheels
from kagglepipe.bundling.own_wheel import own_wheel, repack
from kagglepipe.bundling.wheels import (
    PipError,
    Target,
    check_install,
    fetch,
    find_missing,
    gather_wheels,
    pinned,
    read_wheel,
    read_wheels,
)
from kagglepipe.errors import UserError
from kagglepipe.files import file_sha256

Index = Any  # the fixture `index` of conftest
KAGGLE = Target("3.12")
LINUX = "cp312-cp312-manylinux_2_17_x86_64"
MAC = "cp312-cp312-macosx_11_0_arm64"


@pytest.fixture
def have(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """have(name="1.0") makes those the packages that are installed here."""

    def pretend(**versions: str) -> None:
        def version(name: str) -> str:
            if name not in versions:
                raise PackageNotFoundError(name)
            return versions[name]

        monkeypatch.setattr(wheels, "version", version)

    pretend()
    return pretend


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """An empty folder for wheels."""
    folder = tmp_path / "bundle/wheels"
    folder.mkdir(parents=True)
    return folder


def missing(folder: Path, root: str = "it", target: Target = KAGGLE) -> dict[str, str]:
    """What `find_missing` finds in a folder of wheels, as text."""
    return {name: str(one) for name, one in find_missing(root, read_wheels(folder), target.markers).items()}


def names(folder: Path) -> set[str]:
    """`name version` of the wheels in a folder."""
    return {f"{wheel.name} {wheel.version}" for wheel in read_wheels(folder).values()}


# --- what is needed ---------------------------------------------------------------------------------------------


def test_requirements_are_those_of_the_target_not_of_this_machine(index: Index) -> None:
    index.wheel(
        "it", "1", "always>=2", 'old; python_version < "3.12"', 'new; python_version >= "3.12"',
        'windows; sys_platform == "win32"', 'linux; platform_system == "Linux" and platform_machine == "x86_64"',
        'pypy; implementation_name == "pypy"', 'test; extra == "dev"', 'late; python_full_version >= "3.13.0"',
    )  # fmt: skip
    assert missing(index.folder) == {"always": ">=2", "new": "", "linux": ""}
    assert missing(index.folder, target=Target("3.11")) == {"always": ">=2", "old": "", "linux": ""}
    assert set(missing(index.folder, "it[dev]")) == {"always", "new", "linux", "test"}


def test_they_are_followed_through_the_wheels_with_extras_and_circles(index: Index) -> None:
    index.wheel("it", "1", "one[fast]", "two")
    index.wheel("one", "1.5", 'deep.er>=1; extra == "fast"', 'never; extra == "slow"', "it")
    index.wheel("two", "1", "deep_er<3", "it>=0.5")
    assert missing(index.folder) == {"deep-er": "<3,>=1"}
    index.wheel("deep-er", "2.0rc1")  # a pre-release that is here is good enough
    assert missing(index.folder) == {}


def test_what_the_image_holds_is_not_looked_into(index: Index) -> None:
    index.wheel("it", "1", "torch>=2.6", "torchvision", "timm")
    assert missing(index.folder) == {"timm": ""}


def test_a_wheel_of_a_version_that_another_does_not_take_is_named_with_what_to_type(index: Index) -> None:
    index.wheel("it", "1", "one", "two>=3")
    index.wheel("one", "1", "two>=2,<3")
    index.wheel("two", "3.1")
    with pytest.raises(
        UserError, match=r"^one 1 needs two<3,>=2, and of it 3\.1 is here: type pip install 'two<3,>=2'"
    ):
        missing(index.folder)


def test_the_targets_tags() -> None:
    fits = {Tag("cp312", "cp312", "manylinux_2_28_x86_64"), Tag("cp38", "abi3", "manylinux2014_x86_64"),
            Tag("py3", "none", "any"), Tag("py2", "none", "any"), Tag("py3", "none", "manylinux1_x86_64")}  # fmt: skip
    not_there = {Tag("cp311", "cp311", "manylinux_2_28_x86_64"), Tag("cp313", "abi3", "manylinux2014_x86_64"),
                 Tag("cp312", "cp312", "macosx_11_0_arm64"), Tag("cp312", "cp312", "manylinux_2_39_x86_64"),
                 Tag("cp312", "cp312t", "manylinux_2_28_x86_64")}  # fmt: skip
    assert KAGGLE.tags & (fits | not_there) == fits - {Tag("py2", "none", "any")}


def test_the_version_that_is_here_is_asked_for_if_it_will_do(have: Callable[..., None], index: Index) -> None:
    have(one="1.5", local="2.0+cpu", rc="3.0rc1")
    index.wheel("it", "1", "one>=1,<2", "two>=1", "three", "local", "rc")
    asked = find_missing("it", read_wheels(index.folder), KAGGLE.markers)
    found = {name: pinned(name, versions) for name, versions in asked.items()}
    assert found == {"one": "one==1.5", "two": "two>=1", "three": "three", "local": "local==2.0", "rc": "rc==3.0rc1"}
    have(one="2.5")
    assert pinned("one", asked["one"]) == "one<2,>=1"


# --- bringing it ------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_everything_that_is_needed_is_brought_for_the_target(
    have: Callable[..., None], index: Index, bundle: Path, caplog: pytest.LogCaptureFixture
) -> None:
    have(pure="1.0", compiled="1.0", behind="1.0", source="1.0")
    for version in ("1.0", "2.0"):
        index.wheel("pure", version, "deep>=1")
        index.wheel("compiled", version, 'old; python_version < "3.12"', tag=LINUX)
        index.wheel("compiled", version, "wrong", tag=MAC)
    index.wheel("behind", "1.0", tag=MAC)  # the version that is here has no wheel for the target
    index.wheel("behind", "0.9", tag=LINUX)
    index.source("source", "1.0", "deep<3")
    index.wheel("deep", "1.0")
    index.wheel("deep", "1.1")
    shutil.move(index.wheel("it", "1", "pure", "compiled", "behind<2", "source==1.0", "torch"), bundle)
    with caplog.at_level("WARNING"):
        gather_wheels("it", bundle, KAGGLE)
    assert names(bundle) == {"it 1", "pure 1.0", "compiled 1.0", "behind 0.9", "source 1.0", "deep 1.1"}
    assert all(wheel.tags & KAGGLE.tags for wheel in read_wheels(bundle).values())
    assert "behind==1.0 has no wheel for Python 3.12; took the newest instead" in caplog.text
    assert sorted(bundle.iterdir()) == sorted(bundle.glob("*.whl"))


@pytest.mark.slow
def test_what_cannot_be_had_is_named_with_what_pip_said(
    have: Callable[..., None], index: Index, bundle: Path, caplog: pytest.LogCaptureFixture
) -> None:
    index.wheel("there", "1.0")
    index.wheel("elsewhere", "1.0", tag=MAC)
    shutil.move(index.wheel("it", "1", "there", "elsewhere>=1"), bundle)
    expected = r"elsewhere>=1 could be had neither as a wheel for Python 3\.12 on Linux \(No matching distribution .*\)"
    with pytest.raises(UserError, match=expected):
        gather_wheels("it", bundle, KAGGLE)
    assert "from versions: none" in caplog.text


@pytest.mark.slow
def test_a_source_that_has_to_be_compiled_is_refused(have: Callable[..., None], index: Index, bundle: Path) -> None:
    index.source("fast", "1.0", tag=MAC)
    with pytest.raises(UserError, match=r"fast has no wheel for Python 3\.12 on Linux, and building .* gives fast-1"):
        fetch(find_missing("fast", {}, KAGGLE.markers), bundle, KAGGLE)
    assert list(bundle.iterdir()) == []


@pytest.mark.slow
def test_the_trial_tells_of_wheels_for_elsewhere(index: Index, bundle: Path) -> None:
    shutil.move(index.wheel("good", "1.0", "absent"), bundle)  # what is needed is told by `find_missing`
    shutil.move(index.wheel("young", "1.0", python=">=3.13"), bundle)
    with pytest.raises(
        UserError, match=r"^wheels that are not for Python 3\.12 on Linux: young-1\.0-py3-none-any\.whl$"
    ):
        check_install(bundle, KAGGLE)
    check_install(bundle, Target("3.13"))  # which this Python may not be
    shutil.move(index.wheel("apple", "1.0", tag=MAC), bundle)
    with pytest.raises(UserError, match=r"on Linux: apple-1\.0-cp312-cp312-macosx_11_0_arm64\.whl, young"):
        check_install(bundle, KAGGLE)
    assert [path.name for path in bundle.parent.iterdir()] == ["wheels"]


@pytest.mark.slow
def test_the_trial_looks_nowhere_else(
    index: Index, bundle: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    shutil.move(index.wheel("one", "1.0"), bundle)
    wheel = read_wheel(bundle / "one-1.0-py3-none-any.whl")
    elsewhere = read_wheel(index.wheel("two", "1.0"))  # which pip would find with this environment
    monkeypatch.setattr(wheels, "read_wheels", lambda folder: {"one": wheel, "two": elsewhere})
    with pytest.raises(UserError, match=r"do not install for Python 3\.12 \(No matching distribution found for two"):
        check_install(bundle, KAGGLE)
    assert str(index.folder) not in caplog.text


@pytest.mark.parametrize(
    ("printed", "reason"),
    [
        ("WARNING: x\nERROR: first\nERROR: No matching distribution found for a\n\n[notice] new pip", "No matching"),
        ("error: subprocess-exited-with-error\n", "error: subprocess"),
        ("Traceback\n  boom\n", "boom"),
        ("", "no reason given"),
    ],
)
def test_the_reason_is_the_last_error_that_pip_printed(printed: str, reason: str) -> None:
    assert PipError(printed).reason.startswith(reason)


# --- the wheel of what runs -------------------------------------------------------------------------------------


def installed(wheel: Path, place: Path) -> Distribution:
    """A wheel as pip installs it."""
    command = ["pip", "install", "--quiet", "--no-index", "--no-deps", "--target", str(place), str(wheel)]
    subprocess.run([sys.executable, "-m", *command], check=True)
    (info,) = place.glob("*.dist-info")
    return Distribution.at(info)


@pytest.mark.slow
def test_an_installed_package_becomes_the_wheel_that_it_came_from(index: Index, bundle: Path, tmp_path: Path) -> None:
    original = index.wheel("my-package", "1.0", "other>=1")
    package = installed(original, tmp_path / "site")
    assert any(file.suffix == ".pyc" for file in package.files or [])
    again = own_wheel(tmp_path / "site/my_package", package, bundle, KAGGLE)
    assert again.name == original.name
    assert read_wheel(again).requires == read_wheel(original).requires
    with zipfile.ZipFile(original) as one, zipfile.ZipFile(again) as other:
        assert sorted(one.namelist()) == sorted(other.namelist())
        assert all(one.read(name) == other.read(name) for name in one.namelist() if not name.endswith("RECORD"))
        record = other.read("my_package-1.0.dist-info/RECORD").decode()
    assert "my_package.py,sha256=" in record
    assert record.endswith("my_package-1.0.dist-info/RECORD,,\n")
    check_install(bundle, KAGGLE)


@pytest.mark.slow
def test_the_same_files_make_the_same_wheel(index: Index, bundle: Path, tmp_path: Path) -> None:
    package = installed(index.wheel("one", "1.0"), tmp_path / "site")
    first = file_sha256(repack(package, bundle))
    (tmp_path / "site/one.py").touch()
    assert file_sha256(repack(package, bundle)) == first
    (tmp_path / "site/one.py").write_text("VERSION = 'mended'\n")
    assert file_sha256(repack(package, bundle)) != first


@pytest.mark.slow
def test_a_checkout_is_built_whatever_its_folder_is_called(index: Index, bundle: Path, tmp_path: Path) -> None:
    shutil.unpack_archive(index.source("one", "1.0", "other"), tmp_path)
    checkout = (tmp_path / "one-1.0").rename(tmp_path / "my [one] (1)")
    nothing = Distribution.at(tmp_path / "none")
    assert own_wheel(checkout / "one", nothing, bundle, KAGGLE) == bundle / "one-1.0-py3-none-any.whl"
    (checkout / "backend.py").write_text("def build_wheel(*_): raise RuntimeError('out of order')\n")
    with pytest.raises(UserError, match=r"my \[one\] \(1\) does not become a wheel \(.*\): is there internet\?"):
        own_wheel(checkout / "one", nothing, bundle, KAGGLE)
