"""docs/trackers.md: its recipes can be read, its tables name what there is, its commands and its Python run."""

import re
import shlex
import tomllib
from pathlib import Path

import pytest
from typer.testing import CliRunner

import counterpoint as cp
from counterpoint.cli.main import app
from counterpoint.recipe import config_from
from counterpoint.run import Run
from counterpoint.trackers import TRACKERS
from counterpoint.trackers._names import GROUPS, tracked_name
from counterpoint.trackers.build import build_tracker

PAGE = (Path(__file__).parent.parent / "docs" / "trackers.md").read_text(encoding="utf-8")
SMALL = [
    "model.path=micro-small",
    "task.train=64",
    "task.validation=4",
    "task.test=4",
    "rollout.tasks_per_step=2",
    "rollout.group_size=2",
    "run.threads=1",
]


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", PAGE, flags=re.DOTALL)


def test_every_recipe_of_the_page_can_be_read():
    recipes = [config_from(tomllib.loads(block)) for block in blocks("toml")]
    assert len(recipes) == 2
    for spec in [spec for recipe in recipes for spec in recipe.track if ":" not in spec.name]:
        build_tracker(spec)


def test_the_tables_name_every_tracker_and_every_group():
    assert set(re.findall(r"^\| `(\w+)` \| `\w+`", PAGE, flags=re.MULTILINE)) == set(TRACKERS)
    table = PAGE.partition("| in the run's files |")[2].partition("\n\n")[0]
    assert all(f"`{group}/" in table for group in GROUPS.values())
    for recorded, tracked in (("episode/score", "team/score"), ("mine/loudest", "own/mine/loudest")):
        assert tracked_name(recorded) == tracked
        assert recorded in table
        assert tracked in table


@pytest.mark.slow
def test_every_command_and_the_python_of_the_page_run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (own,) = [block for block in blocks("python") if block.startswith("# my_trackers.py")]
    Path("my_trackers.py").write_text(own, encoding="utf-8")
    commands = [shlex.split(line)[1:] for block in blocks("bash") for line in block.splitlines() if "pip" not in line]
    assert len(commands) == 3
    for command in commands:
        steps = [] if any(part.startswith("run.steps") for part in command) else ["run.steps=1"]
        command = [part if not part.startswith("run.steps") else "run.steps=2" for part in command]
        done = CliRunner().invoke(app, [*command, *steps, *(SMALL if command[0] == "train" else [])])
        assert done.exit_code == 0, f"{' '.join(command)}\n{done.output}{done.exception!r}"
    for name in ("seen", "console"):
        (facts,) = Run.read(Path("runs") / name).facts["tracked"].values()
        assert (facts["dropped"], facts["error"]) == (0, None)
    assert "1 0.0" in (log := Path("runs/console/trackers/Console.log").read_text(encoding="utf-8")) or "\n1 " in log

    (block,) = [block for block in blocks("python") if "cp.train" in block]
    train = cp.train
    monkeypatch.setattr(cp, "train", lambda recipe, **given: train(recipe, *SMALL, "run.steps=1", **given))
    exec(block, {})
    assert str(tmp_path / "runs" / "python" / "trackers" / "tensorboard") in capsys.readouterr().out
