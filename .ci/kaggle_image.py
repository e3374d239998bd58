"""Imitate Kaggle's image: link torch, torchvision and their dependencies, and no more, into another environment.

`python .ci/kaggle_image.py SITE_PACKAGES`, with that environment's folder; pip comes along, since notebooks call it.
"""

import sys
from importlib.metadata import distribution
from pathlib import Path

from packaging.requirements import Requirement

INSTALLED = ("torch", "torchvision", "pip")


def with_dependencies(names: tuple[str, ...]) -> set[str]:
    """Names of the packages and of all their dependencies that are installed here."""
    found: set[str] = set()
    queue = [(name, "") for name in names]
    while queue:
        name, extra = queue.pop()
        if (key := f"{name}[{extra}]") in found:
            continue
        found.add(key)
        for text in distribution(name).requires or []:
            one = Requirement(text)
            if one.marker is None or one.marker.evaluate({"extra": extra}):
                queue += [(one.name, inner) for inner in ("", *one.extras)]
    return {key.partition("[")[0] for key in found}


def main(site: Path) -> None:
    """Link the top-level files of each package, so that both imports and pip find it."""
    for name in sorted(with_dependencies(INSTALLED)):
        package = distribution(name)
        for top in {file.parts[0] for file in package.files or [] if file.parts[0] not in ("..", "__pycache__")}:
            if not (site / top).exists():
                (site / top).symlink_to(Path(str(package.locate_file(top))))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
