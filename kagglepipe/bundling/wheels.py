"""Every wheel that a package needs on a machine without internet, for that machine's Python and platform.

pip alone does not gather them: it asks the interpreter that it runs on what `python_version < "3.12"` means, and
builds nothing for another platform. So pip only brings single packages, each by its name and version; what they need
in turn is read in the wheels that came, with the target's markers, until nothing is needed any more.
"""

import base64
import hashlib
import logging
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from email import message_from_bytes
from importlib.metadata import Distribution, PackageNotFoundError, version
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
# Kaggle's image has these, built for its drivers. They are not bundled and not looked into, so that what they alone
# bring (nvidia-*, triton, sympy …: 5 GB) is never reached. All else is bundled, though the image holds much of it:
# there pip leaves alone what is new enough, and nothing is missing that some year's image lacks.
PROVIDED = ("torch", "torchvision")
# The C libraries that wheels are made for, the newest first: no image of this decade has an older one than 2.28. Only
# those that auditwheel knows, since pip compares each with every file of every package.
PLATFORMS = (
    *(f"manylinux_2_{minor}_x86_64" for minor in (28, 27, 26, 24, 17, 12, 5)),
    *(f"manylinux{year}_x86_64" for year in (2014, 2010, 1)),
)
INSTALLED_ONLY = {"RECORD", "INSTALLER", "REQUESTED", "direct_url.json"}  # of a .dist-info folder: no wheel has them
EPOCH = (1980, 1, 1, 0, 0, 0)  # the time of every file in a wheel, so that the same files make the same wheel


@dataclass(frozen=True)
class Target:
    """CPython on Linux x86_64, as a Kaggle notebook has it. python: its version, such as `3.12`."""

    python: str

    @property
    def markers(self) -> dict[str, str]:
        """What requirements' markers mean there."""
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
        """What wheels may be tagged with to be installed there."""
        major, minor = map(int, self.python.split("."))
        interpreter = f"cp{major}{minor}"
        own = cpython_tags((major, minor), abis=[interpreter], platforms=PLATFORMS)
        return frozenset([*own, *compatible_tags((major, minor), interpreter, PLATFORMS)])

    @property
    def pip_options(self) -> list[str]:
        """What tells pip to take wheels for there rather than for here."""
        platforms = [option for name in PLATFORMS for option in ("--platform", name)]
        return ["--only-binary=:all:", "--implementation=cp", f"--python-version={self.python}", *platforms]


@dataclass(frozen=True)
class Wheel:
    """A wheel and what it needs."""

    path: Path
    name: str
    version: Version
    tags: frozenset[Tag]
    python: SpecifierSet
    requires: tuple[Requirement, ...]

    def fits(self, target: Target) -> bool:
        """Whether it can be installed there."""
        return bool(self.tags & target.tags) and f"{target.python}.0" in self.python

    def needs(self, extra: str, markers: Mapping[str, str]) -> list[Requirement]:
        """Its requirements where `markers` hold; extra: those of one of its extras too, "" of none."""
        environment = {**markers, "extra": extra}
        return [one for one in self.requires if one.marker is None or one.marker.evaluate(environment)]


def read_wheel(path: Path) -> Wheel:
    """The wheel at `path`, as its name and metadata describe it."""
    name, number, _, tags = parse_wheel_filename(path.name)
    with zipfile.ZipFile(path) as archive:
        (file,) = (one for one in archive.namelist() if one.endswith(".dist-info/METADATA") and one.count("/") == 1)
        metadata = message_from_bytes(archive.read(file))
    requires = tuple(Requirement(text) for text in metadata.get_all("Requires-Dist", []))
    python = SpecifierSet(metadata.get("Requires-Python", ""))
    return Wheel(path, name, number, tags, python, requires)


def read_wheels(folder: Path) -> dict[str, Wheel]:
    """name -> the wheel of that name in `folder`."""
    return {wheel.name: wheel for wheel in map(read_wheel, sorted(folder.glob("*.whl")))}


# --- what is needed ---------------------------------------------------------------------------------------------


def find_missing(root: str, wheels: Mapping[str, Wheel], markers: Mapping[str, str]) -> dict[str, SpecifierSet]:
    """What `root` needs, directly or not, that no wheel is: name -> the versions that will do.

    Raises UserError if one wheel does not take the version that another is of.
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
        for extra in {"", *asked.extras}:
            if (name, extra) not in seen:
                seen.add((name, extra))
                queue += [(f"{name} {wheel.version}", one) for one in wheel.needs(extra, markers)]
    return missing


def gather_wheels(root: str, folder: Path, target: Target) -> None:
    """Adds to `folder`, which holds the wheel of `root`, all that it needs on the target: the versions that are
    installed here or, of a package that has no wheel of that one, the newest that will do.

    Raises UserError for what cannot be had.
    """
    while missing := find_missing(root, read_wheels(folder), target.markers):
        names = ", ".join(sorted(missing))
        log.info("bundle: fetching %d packages for Python %s on Linux: %s", len(missing), target.python, names)
        fetch(missing, folder, target)
        if absent := sorted(set(missing) - set(read_wheels(folder))):
            raise RuntimeError(f"pip brought {absent} under other names")


# --- what pip does ----------------------------------------------------------------------------------------------


class PipError(Exception):
    """pip ended with an error; the message is all that it printed."""

    @property
    def reason(self) -> str:
        """The last error in it, in one line."""
        lines = [line.strip() for line in str(self).splitlines() if line.strip()]
        errors = [line for line in lines if line.lower().startswith(("error:", "×"))]
        return (errors or lines or ["no reason given"])[-1].removeprefix("ERROR: ")


def demand_pip() -> None:
    """Raises UserError where this environment has no pip, as those that uv makes."""
    if find_spec("pip") is None:
        raise UserError("pip is missing in this environment: type python -m ensurepip (with uv: uv pip install pip)")


def pip(*arguments: str | Path, environment: Mapping[str, str] | None = None) -> None:
    """Runs pip, silently. Raises PipError with what it printed. environment: None is this process's own."""
    command = [sys.executable, "-m", "pip", *map(str, arguments), "--disable-pip-version-check"]
    done = subprocess.run(
        command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, errors="replace",
    )  # fmt: skip
    if done.returncode:
        raise PipError(done.stdout)


def fetch(wanted: Mapping[str, SpecifierSet], folder: Path, target: Target) -> None:
    """Brings a wheel of each package into `folder`, all at once save those that pip names as not so easily had.

    Raises UserError for what cannot be had.
    """
    pins = {name: pinned(name, versions) for name, versions in wanted.items()}
    try:
        download(pins.values(), folder, target)
    except PipError as error:
        named = [name for name, pin in pins.items() if pin in error.reason] or list(pins)
        for name in named:
            fetch_one(name, wanted[name], folder, target)
        if others := {name: wanted[name] for name in pins if name not in named}:
            fetch(others, folder, target)


def fetch_one(name: str, versions: SpecifierSet, folder: Path, target: Target) -> None:
    """Brings one wheel: of the version installed here, else of the newest that will do, else built from its source.

    Raises UserError, after showing what pip said, if none of it succeeds.
    """
    pin, any_version = pinned(name, versions), f"{name}{versions}"
    failures = []
    for requirement in dict.fromkeys((pin, any_version)):
        try:
            download([requirement], folder, target)
        except PipError as error:
            failures.append(error)
        else:
            if failures:
                log.warning("bundle: %s has no wheel for Python %s; took the newest instead", pin, target.python)
            return
    try:
        build(pin, folder, target)
    except PipError as error:
        log.warning("%s", error)
        raise UserError(
            f"{any_version} could be had neither as a wheel for Python {target.python} on Linux "
            f"({failures[-1].reason}) nor as a source to build ({error.reason}): is there internet?"
        ) from error


def pinned(name: str, versions: SpecifierSet) -> str:
    """The requirement of the version that is installed here, if it is among `versions`; else of any of them."""
    try:
        here = Version(version(name)).public
    except PackageNotFoundError:
        return f"{name}{versions}"
    return f"{name}=={here}" if versions.contains(here, prereleases=True) else f"{name}{versions}"


def download(requirements: Iterable[str], folder: Path, target: Target) -> None:
    """Brings wheels for the target, nothing that they need. Raises PipError."""
    pip("download", "--no-deps", "--dest", folder, *target.pip_options, *requirements)


def build(requirement: str | Path, folder: Path, target: Target) -> Path:
    """A wheel built here from source: of a requirement or of a checkout's folder.

    Raises PipError, or UserError for one that has to be compiled, since here is not there.
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


def prove_install(folder: Path, target: Target) -> None:
    """Raises UserError unless pip, cut off from every index, installs all wheels of `folder` as for the target.

    What they need, and of which Python, pip would judge by this machine: `find_missing` and `fits` tell that.
    """
    wheels = read_wheels(folder).values()
    if unfit := [wheel.path.name for wheel in wheels if not wheel.fits(target)]:
        raise UserError(f"wheels that are not for Python {target.python} on Linux: {', '.join(unfit)}")
    cut_off = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}
    with TemporaryDirectory(dir=folder.parent) as place:
        try:
            pip(
                "install", "--no-index", "--no-deps", "--no-compile", "--ignore-requires-python", "--target", place,
                "--find-links", folder, *target.pip_options, *(f"{wheel.name}=={wheel.version}" for wheel in wheels),
                environment={**cut_off, "PIP_CONFIG_FILE": os.devnull},
            )  # fmt: skip
        except PipError as error:
            log.warning("%s", error)
            raise UserError(f"the wheels do not install for Python {target.python} ({error.reason})") from error


# --- the wheel of a package that is here ------------------------------------------------------------------------


def own_wheel(package: Path, distribution: Distribution, folder: Path, target: Target) -> Path:
    """The wheel of the very code that runs now. package: its folder, in a checkout or among installed packages."""
    checkout = package.parent
    if not (checkout / "pyproject.toml").is_file():
        return rebuild(distribution, folder)
    try:
        return build(checkout, folder, target)
    except PipError as error:
        log.warning("%s", error)
        raise UserError(f"{checkout} does not become a wheel ({error.reason}): is there internet?") from error


def rebuild(distribution: Distribution, folder: Path) -> Path:
    """The wheel that a pure Python package was installed from, made of its files again."""
    name, number = canonicalize_name(distribution.name).replace("-", "_"), distribution.version
    path = folder / f"{name}-{number}-py3-none-any.whl"
    info, record = f"{name}-{number}.dist-info", []
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(distribution.files or [], key=str):
            of_installer = file.suffix == ".pyc" or ".." in file.parts  # byte code, and scripts made at install
            if of_installer or (file.parent.suffix == ".dist-info" and file.name in INSTALLED_ONLY):
                continue
            data = Path(str(file.locate())).read_bytes()
            digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
            archive.writestr(entry(file.as_posix()), data)
            record.append(f"{file.as_posix()},sha256={digest},{len(data)}\n")
        archive.writestr(entry(f"{info}/RECORD"), "".join([*record, f"{info}/RECORD,,\n"]))
    return path


def entry(name: str) -> zipfile.ZipInfo:
    """The entry of a file in a wheel, the same at any time."""
    found = zipfile.ZipInfo(name, EPOCH)
    found.compress_type, found.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
    return found


def link_or_copy(source: Path, target: Path) -> None:
    """`source` under another name: a hard link where the disk allows, since a bundle is large and read only."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError:  # another disk, or one without links: a copy is as good
        shutil.copyfile(source, target)
