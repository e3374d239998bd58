"""Collect all wheels that a package needs on a machine without internet, for that machine's Python and platform.

pip cannot resolve them by itself: it evaluates markers (`python_version < "3.12"`) for the interpreter that it runs on,
builds no source distribution for another platform, and cannot leave out what the target provides. So pip downloads
single packages by name and version, and their requirements are read from the wheels with the target's markers, until
none is missing.
"""

import logging
import os
import subprocess
import sys
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from email import message_from_bytes
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.tags import Tag, compatible_tags, cpython_tags
from packaging.utils import canonicalize_name, parse_wheel_filename
from packaging.version import Version

from kagglepipe.errors import UserError

log = logging.getLogger(__name__)
# Kaggle's image has these, built for its drivers. Their own requirements (nvidia-*, triton, sympy …: 5 GB) are never
# followed. All else is bundled: pip there keeps recent enough versions, and nothing is missing that some image lacks.
PROVIDED = ("torch", "torchvision")
# glibc versions of wheels, newest first; Kaggle's images have 2.28 or later. pip compares each with every file of every
# package, so the list has only those that auditwheel knows.
PLATFORMS = (
    *(f"manylinux_2_{minor}_x86_64" for minor in (28, 27, 26, 24, 17, 12, 5)),
    *(f"manylinux{year}_x86_64" for year in (2014, 2010, 1)),
)


@dataclass(frozen=True)
class Target:
    """CPython on Linux x86_64, as in a Kaggle notebook. python: its version, such as `3.12`."""

    python: str

    @property
    def markers(self) -> dict[str, str]:
        """Environment in which markers of requirements are evaluated."""
        return {
            "implementation_name": "cpython",
            "implementation_version": f"{self.python}.0",
            "os_name": "posix",
            "platform_machine": "x86_64",
            "platform_python_implementation": "CPython",
            "platform_release": "",
            "platform_system": "Linux",
            "platform_version": "",
            "python_full_version": f"{self.python}.0",
            "python_version": self.python,
            "sys_platform": "linux",
        }

    @property
    def tags(self) -> frozenset[Tag]:
        """Tags of wheels that can be installed."""
        major, minor = map(int, self.python.split("."))
        interpreter = f"cp{major}{minor}"
        own = cpython_tags((major, minor), abis=[interpreter], platforms=PLATFORMS)
        return frozenset([*own, *compatible_tags((major, minor), interpreter, PLATFORMS)])

    @property
    def pip_options(self) -> list[str]:
        """Options of pip that select wheels for the target."""
        platforms = [option for name in PLATFORMS for option in ("--platform", name)]
        return ["--only-binary=:all:", "--implementation=cp", f"--python-version={self.python}", *platforms]


@dataclass(frozen=True)
class Wheel:
    """A wheel with the metadata that decides where it can be installed and what it requires."""

    path: Path
    name: str
    version: Version
    tags: frozenset[Tag]
    python: SpecifierSet
    requires: tuple[Requirement, ...]

    def fits(self, target: Target) -> bool:
        """Whether it can be installed on the target."""
        return bool(self.tags & target.tags) and f"{target.python}.0" in self.python


def read_wheel(path: Path) -> Wheel:
    """Read name, tags and metadata of a wheel."""
    name, number, _, tags = parse_wheel_filename(path.name)
    with zipfile.ZipFile(path) as archive:
        (file,) = (one for one in archive.namelist() if one.endswith(".dist-info/METADATA") and one.count("/") == 1)
        metadata = message_from_bytes(archive.read(file))
    requires = tuple(Requirement(text) for text in metadata.get_all("Requires-Dist", []))
    return Wheel(path, name, number, tags, SpecifierSet(metadata.get("Requires-Python", "")), requires)


def read_wheels(folder: Path) -> dict[str, Wheel]:
    """name -> wheel, of all wheels in a folder."""
    return {wheel.name: wheel for wheel in map(read_wheel, sorted(folder.glob("*.whl")))}


# --- resolve and download ---------------------------------------------------------------------------------------


def find_missing(root: str, wheels: Mapping[str, Wheel], markers: Mapping[str, str]) -> dict[str, SpecifierSet]:
    """Requirements of `root`, direct and indirect, that are not among `wheels`: name -> allowed versions.

    Raises UserError if a wheel is of a version that another one does not allow.
    """
    missing: dict[str, SpecifierSet] = {}
    seen: set[tuple[str, str]] = set()
    queue = [("it", Requirement(root))]
    while queue:
        by, asked = queue.pop()
        name = canonicalize_name(asked.name)
        if name in PROVIDED:
            continue
        if name not in wheels:
            missing[name] = missing.get(name, SpecifierSet()) & asked.specifier
            continue
        wheel = wheels[name]
        if not asked.specifier.contains(wheel.version, prereleases=True):
            raise UserError(
                f"{by} needs {name}{asked.specifier}, and of it {wheel.version} is here: type "
                f"pip install '{name}{asked.specifier}', then the same command"
            )
        for extra in {"", *asked.extras} - {extra for of, extra in seen if of == name}:
            seen.add((name, extra))
            environment, by = {**markers, "extra": extra}, f"{name} {wheel.version}"
            queue += [(by, one) for one in wheel.requires if one.marker is None or one.marker.evaluate(environment)]
    return missing


def gather_wheels(root: str, folder: Path, target: Target) -> None:
    """Add to `folder`, which holds the wheel of `root`, all wheels that it requires on the target.

    Versions are those installed here or, without a wheel for the target, the newest allowed.
    Raises UserError for a package that cannot be had.
    """
    while missing := find_missing(root, read_wheels(folder), target.markers):
        names = ", ".join(sorted(missing))
        log.info("bundle: fetching %d packages for Python %s on Linux: %s", len(missing), target.python, names)
        fetch(missing, folder, target)
        if absent := sorted(set(missing) - set(read_wheels(folder))):
            raise RuntimeError(f"pip brought {absent} under other names")


def fetch(wanted: Mapping[str, SpecifierSet], folder: Path, target: Target) -> None:
    """Download a wheel of each package in one call of pip, and one by one those that pip names in its error.

    Raises UserError for a package that cannot be had.
    """
    pins = {name: pinned(name, versions) for name, versions in wanted.items()}
    try:
        download(pins.values(), folder, target)
    except PipError as error:
        failed = [name for name, pin in pins.items() if pin in error.reason] or list(pins)
        for name in failed:
            fetch_one(name, wanted[name], folder, target)
        if others := {name: wanted[name] for name in pins if name not in failed}:
            fetch(others, folder, target)


def fetch_one(name: str, versions: SpecifierSet, folder: Path, target: Target) -> None:
    """Download the wheel of the version installed here, else of the newest allowed, else build it from source.

    Raises UserError, after logging pip's output, if none of these succeeds.
    """
    pin, any_version = pinned(name, versions), f"{name}{versions}"
    for requirement in dict.fromkeys((pin, any_version)):
        try:
            download([requirement], folder, target)
        except PipError as error:
            reason = error.reason
        else:
            if requirement != pin:
                log.warning("bundle: %s has no wheel for Python %s; took the newest instead", pin, target.python)
            return
    try:
        build(pin, folder, target)
    except PipError as error:
        log.warning("%s", error)
        raise UserError(
            f"{any_version} could be had neither as a wheel for Python {target.python} on Linux ({reason}) nor as a "
            f"source to build ({error.reason}): is there internet?"
        ) from error


def pinned(name: str, versions: SpecifierSet) -> str:
    """Requirement of the version installed here if it is allowed, else of any allowed version."""
    here = installed(name)
    public = here and Version(here).public
    return f"{name}=={public}" if public and versions.contains(public, prereleases=True) else f"{name}{versions}"


def installed(name: str) -> str | None:
    """Version of a package that is installed here, or None."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


# --- pip --------------------------------------------------------------------------------------------------------


class PipError(Exception):
    """pip failed; the message is its output."""

    @property
    def reason(self) -> str:
        """Last error in the output, in one line."""
        lines = [line.strip() for line in str(self).splitlines() if line.strip()]
        errors = [line for line in lines if line.lower().startswith(("error:", "×"))]
        return (errors or lines or ["no reason given"])[-1].removeprefix("ERROR: ")


def check_pip() -> None:
    """Raises UserError if this environment has no pip, as those made by uv."""
    if find_spec("pip") is None:
        raise UserError("pip is missing in this environment: type python -m ensurepip (with uv: uv pip install pip)")


def pip(*arguments: str | Path, environment: Mapping[str, str] | None = None) -> None:
    """Run pip silently. Raises PipError with its output. environment: None for this process's own."""
    command = [sys.executable, "-m", "pip", *map(str, arguments), "--disable-pip-version-check"]
    done = subprocess.run(
        command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, errors="replace",
    )  # fmt: skip
    if done.returncode:
        raise PipError(done.stdout)


def download(requirements: Iterable[str], folder: Path, target: Target) -> None:
    """Download wheels for the target without their dependencies. Raises PipError."""
    pip("download", "--no-deps", "--dest", folder, *target.pip_options, *requirements)


def build(requirement: str | Path, folder: Path, target: Target) -> Path:
    """Build a wheel from the source of a requirement, or from the folder of a checkout.

    Raises PipError, or UserError for a compiled package, which cannot be built here for another platform.
    """
    name = [] if isinstance(requirement, Path) else [f"--no-binary={Requirement(requirement).name}"]
    with TemporaryDirectory(dir=folder) as place:
        pip("wheel", "--no-deps", *name, "--wheel-dir", place, requirement)
        (built,) = Path(place).glob("*.whl")
        if not read_wheel(built).fits(target):
            raise UserError(
                f"{requirement} has no wheel for Python {target.python} on Linux, and building it here gives "
                f"{built.name}: type the same command on Linux with that Python"
            )
        return built.replace(folder / built.name)


def check_install(folder: Path, target: Target) -> None:
    """Raises UserError unless pip, without any index, installs all wheels of `folder` as for the target.

    pip would check requirements and Python on this machine, so `find_missing` and `Wheel.fits` do that.
    """
    wheels = read_wheels(folder).values()
    if unfit := [wheel.path.name for wheel in wheels if not wheel.fits(target)]:
        raise UserError(f"wheels that are not for Python {target.python} on Linux: {', '.join(unfit)}")
    offline = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}
    with TemporaryDirectory(dir=folder.parent) as place:
        try:
            pip(
                "install", "--no-index", "--no-deps", "--no-compile", "--ignore-requires-python", "--target", place,
                "--find-links", folder, *target.pip_options, *(f"{wheel.name}=={wheel.version}" for wheel in wheels),
                environment={**offline, "PIP_CONFIG_FILE": os.devnull},
            )  # fmt: skip
        except PipError as error:
            log.warning("%s", error)
            raise UserError(f"the wheels do not install for Python {target.python} ({error.reason})") from error
