"""docs/extending.md: every block is a file, and every command runs as it stands, with less to train."""

import re
import shlex
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from counterpoint.cli.main import app
from counterpoint.run import Run

PAGE = (Path(__file__).parent.parent / "docs" / "extending.md").read_text()
SMALL = ["rollout.tasks_per_step=2", "rollout.group_size=2", "run.steps=2", "run.threads=1", "rollout.max_tokens=32"]
FEW = ["task.train=64", "task.validation=4", "task.test=6"]


def blocks(kind):
    return re.findall(rf"```{kind}\n(.*?)```", PAGE, flags=re.DOTALL)


def commands():
    lines = [line for block in blocks("bash") for line in block.splitlines()]
    return [shlex.split(line)[1:] for line in lines if line.startswith("counterpoint ")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with every file of the page in it."""
    found = tmp_path_factory.mktemp("own")
    for block in blocks("python"):
        (found / re.match(r"# (\w+\.py)\n", block)[1]).write_text(block)
    yield found
    for name in [name for name in sys.modules if name.startswith("my_")]:
        del sys.modules[name]


def smaller(command):
    if command[0] != "train":
        return command
    own_task = any(part.startswith("task=") for part in command)
    return [*command, *SMALL, *([] if own_task else FEW)]


@pytest.mark.slow
def test_every_command_of_the_page_runs(folder, monkeypatch):
    monkeypatch.chdir(folder)
    assert len(commands()) >= 11
    for command in commands():
        done = CliRunner().invoke(app, smaller(command))
        assert done.exit_code == 0, f"{' '.join(command)}\n{done.output}{done.exception!r}"
    metrics = {name: Run.read(folder / "runs" / name).metric_rows() for name in ("loud", "close", "stopped")}
    assert any("mine/loudest" in row for row in metrics["loud"])
    scores = [row["episode/score"] for row in metrics["close"]]
    assert all(0.0 <= score <= 1.0 for score in scores)
    sources = Run.read(folder / "runs" / "algorithm").facts["sources"]
    assert {name: source["copy"] for name, source in sources.items()} == {"my_algorithm": "my_algorithm.py"}


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("judge=my_rewards:closer", "unknown name in my_rewards 'closer'; did you mean 'close'"),
        ('judge={name="my_rewards:close", tolerance="x"}', "tolerance = 'x': input should be a valid number"),
        ("task=my_tasks:reversals", "did you mean 'reversal'"),
        ("workflow=my_opinion:second_opinions", "did you mean 'second_opinion'"),
        ('diagnostics=["my_diagnostics:loudest"]', "did you mean 'loudest_role'"),
        ('interventions=[{name="my_interventions:StopWhenSolved", acuracy=1}]', "did you mean 'accuracy'"),
        ("algorithm.credit=my_algorithm:shrt", "did you mean 'short'"),
        ("algorithm.advantage=my_algorithm:sing", "did you mean 'sign'"),
        ("algorithm.loss=my_algorithm:squard", "did you mean 'squared'"),
        ('signatures=["my_signatures:bable"]', "did you mean 'babble'"),
        ("sampler=my_sampler:countin", "did you mean 'counting'"),
        ("sampler=in_proces", "did you mean 'in_process'"),
        ("runtime=lokal", "did you mean 'local'"),
        ("sandbox=bubblerap", "did you mean 'bubblewrap'"),
    ],
)
def test_a_dry_run_finds_what_is_wrong_with_a_part_of_ones_own(folder, monkeypatch, override, message):
    monkeypatch.chdir(folder)
    done = CliRunner().invoke(app, ["train", "voting_arithmetic", "--dry-run", override])
    assert message in str(done.exception), done.output
