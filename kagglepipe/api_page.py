"""`docs/api.md` from the docstrings of the Python interface: python -m kagglepipe.api_page > docs/api.md."""

import inspect
import re
from collections.abc import Iterator
from typing import Any

from kagglepipe import __all__, api

HEAD = (
    "# Python interface\n\nWritten by `python -m kagglepipe.api_page > docs/api.md`. Notebooks: "
    "[own photos](notebooks/own_photos.ipynb), [own videos](notebooks/own_videos.ipynb).\n\n"
)
EXAMPLE = """\
```python
import kagglepipe as kp

run = kp.train("image_folder", source="photos", training="head")  # the same run as the command's
run.score, run.metrics, run.oof(), run.test()
run.predict(["a.jpg", image_array])  # a row for each, a column a class
other = kp.train("image_folder", "training.epochs=3", source="photos", training="finetune")
kp.submit(kp.blend([run, other]))
kp.load("outputs/photos/RUN"), kp.list_runs("photos")
```
"""


def api_page() -> str:
    """Format the page: an example, the module's text, and a section for each public name."""
    about = (inspect.getdoc(api) or "").partition(">>>")[0].rstrip()
    more = (inspect.getdoc(api) or "").rpartition("# doctest: +SKIP\n")[2].strip()
    parts = [f"{about}\n\n{EXAMPLE}\n{more}"]
    for name in sorted(__all__, key=str.lower):
        one = getattr(api, name)
        parts.append(section(f"kp.{name}", one))
        if inspect.isclass(one) and not issubclass(one, Exception):
            parts += [section(f"kp.{name}.{member}", function) for member, function in members(one)]
    return HEAD + "\n\n".join(parts)


def members(cls: type) -> Iterator[tuple[str, Any]]:
    """Iterate over (name, property or method) of the public ones of a class, as they stand there."""
    for name, one in vars(cls).items():
        if not name.startswith("_") and (isinstance(one, property) or inspect.isfunction(one)):
            yield name, one


def section(name: str, one: Any) -> str:
    """Format a heading with the signature of a function, property or class, and its docstring."""
    return f"## `{name}{signature(one)}`\n\n{inspect.getdoc(one) or ''}"


def signature(one: Any) -> str:
    """Format the arguments of a function and the type of its value, a property's type, nothing of a class."""
    if inspect.isclass(one):
        return ""
    function: Any = one.fget if isinstance(one, property) else one
    text = str(inspect.signature(function))
    text = re.sub(r"(: |-> )'([^']*)'", r"\1\2", text).replace("self, ", "").replace("(self)", "()")
    return text.removeprefix("()") if isinstance(one, property) else text


if __name__ == "__main__":
    print(api_page())
