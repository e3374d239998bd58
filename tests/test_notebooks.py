"""The notebooks of docs/notebooks run as they stand, on drawn photos and videos."""

import ast
import json
from pathlib import Path
from typing import Any

import nbformat
import pytest

import kagglepipe as kp

NOTEBOOKS = sorted((Path(__file__).parents[1] / "docs/notebooks").glob("*.ipynb"))


def shown(code: str, scope: dict[str, Any]) -> Any:
    """Run a cell as a notebook does: the value of its last line, if that is an expression."""
    *body, last = ast.parse(code).body
    is_shown = isinstance(last, ast.Expr)
    exec(compile(ast.Module(body if is_shown else [*body, last], []), "cell", "exec"), scope)
    return eval(compile(ast.Expression(last.value), "cell", "eval"), scope) if isinstance(last, ast.Expr) else None


@pytest.mark.parametrize("file", NOTEBOOKS, ids=lambda file: file.stem)
def test_a_notebook_is_valid_and_holds_no_outputs(file: Path) -> None:
    notebook = json.loads(file.read_text("utf-8"))
    nbformat.validate(notebook)
    assert not any(cell.get("outputs") for cell in notebook["cells"])


@pytest.mark.slow
@pytest.mark.parametrize("file", NOTEBOOKS, ids=lambda file: file.stem)
def test_a_notebook_runs(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    cells = json.loads(file.read_text("utf-8"))["cells"]
    scope: dict[str, Any] = {}
    values = [shown("".join(cell["source"]), scope) for cell in cells if cell["cell_type"] == "code"]
    run = scope["run"]
    assert any(isinstance(value, kp.Run) for value in values)  # shown by its table
    assert f"{run.score:.4f}" in run._repr_html_()
    floor = run.metrics.get("constant") or run.metrics["baseline"]
    assert run.score > floor["score"]
    assert (run.folder / "report.html").exists()
