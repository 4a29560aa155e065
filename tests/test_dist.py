"""`make dist`: the wheel is built from the sdist, and trains from an empty folder in a fresh environment."""

import os
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
STEM = f"{PROJECT['name']}-{PROJECT['version']}"
SMALL = [
    "task.train=64",
    "task.validation=4",
    "task.test=6",
    "rollout.tasks_per_step=2",
    "rollout.group_size=2",
    "rollout.max_tokens=24",
    "run.steps=1",
    "run.threads=1",
]


def run(arguments, folder, path=None):
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"} | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        list(map(str, arguments)),
        cwd=folder,
        env=environment | ({"PYTHONPATH": path} if path else {}),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, f"{arguments}\n{done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def dist(tmp_path_factory):
    """The folder with the sdist and the wheel, which is built from the unpacked sdist."""
    folder = tmp_path_factory.mktemp("dist")
    run([sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, ROOT], folder)
    return folder


@pytest.fixture(scope="module")
def installed(dist, tmp_path_factory):
    """The commands of a fresh environment in which the wheel is installed, with the dependencies of this one."""
    folder = tmp_path_factory.mktemp("fresh") / "venv"
    run([sys.executable, "-m", "venv", "--without-pip", folder], dist)
    python = folder / "bin" / "python"
    wheel = dist / f"{STEM}-py3-none-any.whl"
    run([sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--no-index", wheel], dist)
    purelib = run([python, "-c", "import sysconfig; print(sysconfig.get_paths()['purelib'])"], dist).strip()
    (Path(purelib) / "dependencies.pth").write_text("\n".join(path for path in sys.path if "site-packages" in path))
    return folder / "bin"


def test_the_sdist_has_what_the_wheel_is_built_from(dist):
    with tarfile.open(dist / f"{STEM}.tar.gz") as archive:
        names = {name.removeprefix(f"{STEM}/") for name in archive.getnames()}
    assert {"pyproject.toml", "LICENSE", "README.md", "recipes/voting_arithmetic/run.toml"} <= names
    assert {"counterpoint/py.typed", "counterpoint/models/micro-medium/model.safetensors"} <= names
    assert not [name for name in names if name.startswith((".venv", "runs", "site", "tests")) or "__pycache__" in name]


def test_the_wheel_has_recipes_models_and_the_licence(dist):
    with zipfile.ZipFile(dist / f"{STEM}-py3-none-any.whl") as archive:
        names = set(archive.namelist())
        metadata = archive.read(f"{STEM}.dist-info/METADATA").decode()
    assert {f"counterpoint/recipes/{path.parent.name}/run.toml" for path in ROOT.glob("recipes/*/run.toml")} <= names
    assert {"counterpoint/models/micro-medium/model.safetensors", f"{STEM}.dist-info/licenses/LICENSE"} <= names
    assert f"Version: {PROJECT['version']}\n" in metadata
    assert "License-Expression: Apache-2.0\n" in metadata


def test_the_wheel_is_what_runs_in_the_fresh_environment(installed, tmp_path):
    found = run([installed / "python", "-c", "import counterpoint; print(counterpoint.__file__)"], tmp_path)
    assert Path(found.strip()).is_relative_to(installed.parent)


def test_the_wheel_trains_from_an_empty_folder(installed, tmp_path):
    run([installed / "counterpoint", "train", "voting_arithmetic", "--out", "runs/first", *SMALL], tmp_path)
    assert (tmp_path / "runs" / "first" / "checkpoints" / "000001" / "generator").is_dir()
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]


def test_the_wheel_finds_every_recipe_and_names_them_all_for_a_wrong_name(installed, tmp_path):
    command = [installed / "counterpoint", "train", "voting_arithmetik", "--dry-run"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2
    assert "did you mean 'voting_arithmetic'?" in done.stderr
    for path in ROOT.glob("recipes/*/run.toml"):
        assert path.parent.name in done.stderr


PLANNED = """
from counterpoint.recipe import load_config, recipes
from counterpoint.workflows import load_workflow
for name, path in recipes().items():
    print(name, load_workflow(load_config(path).workflow).name)
"""


def test_the_workflow_of_every_recipe_is_found_without_a_clone(installed, tmp_path):
    found = dict(line.split() for line in run([installed / "python", "-c", PLANNED], tmp_path).splitlines())
    assert set(found) == {path.parent.name for path in ROOT.glob("recipes/*/run.toml")}
    assert found["voting_smollm2"] == "primed_voting"


def test_the_wheel_plans_a_recipe_with_a_workflow_of_its_own(installed, tmp_path):
    said = run([installed / "counterpoint", "train", "voting_smollm2", "--dry-run", "run.threads=1"], tmp_path)
    assert "primed" in said
