"""Wheel of the code that runs now: built from a checkout, or repacked from an installed package."""

import base64
import hashlib
import logging
import zipfile
from importlib.metadata import Distribution
from pathlib import Path

from packaging.utils import canonicalize_name

from kagglepipe.bundling.wheels import PipError, Target, build
from kagglepipe.errors import UserError

log = logging.getLogger(__name__)
INSTALLED_ONLY = {"RECORD", "INSTALLER", "REQUESTED", "direct_url.json"}  # files of .dist-info that no wheel has
EPOCH = (1980, 1, 1, 0, 0, 0)  # time of every file in a wheel, so that equal files make an equal wheel


def own_wheel(package: Path, distribution: Distribution, folder: Path, target: Target) -> Path:
    """Wheel of the code that runs now. package: its folder, in a checkout or among installed packages."""
    checkout = package.parent
    if not (checkout / "pyproject.toml").is_file():
        return repack(distribution, folder)
    try:
        return build(checkout, folder, target)
    except PipError as error:
        log.warning("%s", error)
        raise UserError(f"{checkout} does not become a wheel ({error.reason}): is there internet?") from error


def repack(distribution: Distribution, folder: Path) -> Path:
    """Wheel of an installed pure Python package, from its installed files."""
    name, number = canonicalize_name(distribution.name).replace("-", "_"), distribution.version
    path, info = folder / f"{name}-{number}-py3-none-any.whl", f"{name}-{number}.dist-info"
    record = [f"{info}/RECORD,,\n"]
    with zipfile.ZipFile(path, "w") as archive:

        def add(file: str, data: bytes) -> None:
            entry = zipfile.ZipInfo(file, EPOCH)
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, data, zipfile.ZIP_DEFLATED)

        for file in sorted(distribution.files or [], key=str):
            of_installer = file.suffix == ".pyc" or ".." in file.parts  # bytecode, and scripts made at install
            if of_installer or (file.parent.suffix == ".dist-info" and file.name in INSTALLED_ONLY):
                continue
            data = Path(str(file.locate())).read_bytes()
            digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
            add(file.as_posix(), data)
            record.insert(-1, f"{file.as_posix()},sha256={digest},{len(data)}\n")
        add(f"{info}/RECORD", "".join(record).encode())
    return path
