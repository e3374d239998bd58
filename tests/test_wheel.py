"""The package as others get it: a wheel, away from the checkout."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
PROJECT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the unpacked wheel."""
    folder = tmp_path_factory.mktemp("wheel")
    command = ["pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder), str(PROJECT)]
    subprocess.run([sys.executable, "-m", *command], check=True)
    (wheel,) = folder.glob("kagglepipe-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def run(installed: Path, cwd: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    command = [sys.executable, "-m", "kagglepipe", *arguments]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)


def test_the_wheel_holds_configuration_and_plugins(installed: Path) -> None:
    assert (installed / "kagglepipe/conf/config.yaml").is_file()
    plugin = {path.name for path in (PROJECT / "hydra_plugins/kagglepipe_sweeper").glob("*.py")}
    assert {path.name for path in (installed / "hydra_plugins/kagglepipe_sweeper").glob("*.py")} == plugin
    assert not (installed / "hydra_plugins/__init__.py").exists()  # it is shared with other launchers and sweepers
    assert {path.stem for path in (installed / "kagglepipe/conf/sweep").glob("*.yaml")} >= {"head", "finetune"}
    assert not (installed / "tests").exists()
    in_checkout = {p.relative_to(PROJECT / "conf") for p in (PROJECT / "conf").rglob("*.yaml")}
    assert {p.relative_to(installed / "kagglepipe/conf") for p in installed.rglob("conf/**/*.yaml")} == in_checkout


def test_it_prepares_the_sample_in_an_empty_folder(installed: Path, tmp_path: Path) -> None:
    done = run(installed, tmp_path, "stage=prepare")
    assert done.returncode == 0, done.stderr
    assert {path.name for path in tmp_path.iterdir()} == {".locks", "data", "outputs"}
    assert (tmp_path / "data/pistols-vs-smartphones-sample/table.parquet").is_file()


def test_yaml_of_ones_own_is_added_with_config_dir(installed: Path, toy: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine/competition/colours.yaml"
    mine.parent.mkdir(parents=True)
    mine.write_text(f"slug: colours\nid: path\nsource: {toy}\n")
    done = run(installed, tmp_path, "--config-dir", str(tmp_path / "mine"), "stage=prepare", "competition=colours")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "data/colours/folds.csv").is_file()
    assert str(installed) not in done.stdout
