"""docs/advice.md: its commands are run, with a trainer that takes no time."""

import json
import re
import shlex
from pathlib import Path

import pytest
from command_line import command_line
from scripted_races import Scripted

from counterpoint.analysis.racing import LEVEL, WRONG
from counterpoint.experiments import advise as module

PAGE = (Path(__file__).parent.parent / "docs" / "advice.md").read_text(encoding="utf-8")


def commands():
    """Every command of the page, as a list of words, without those that a shell has to run."""
    blocks = re.findall(r"```bash\n(.*?)```", PAGE, flags=re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines() if line.strip()]
    return [shlex.split(line)[1:] for line in lines]


@pytest.fixture
def _scripted(monkeypatch):
    script = Scripted(lift={"isolated": 0.35})
    monkeypatch.setattr(module, "_planned", lambda pilots: 2)
    monkeypatch.setattr(
        "counterpoint.cli.advise.launch",
        lambda study, folder, *, jobs, whole, watcher: script(study, folder, jobs, whole),
    )


@pytest.mark.usefixtures("_scripted")
def test_the_commands_of_the_page_give_advice_one_after_the_other(tmp_path):
    assert len(commands()) == 4
    for words in commands():
        done = command_line(*words, folder=tmp_path)
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith(("isolated is ahead of shared by ", "cannot tell ("))
        assert "\nfalls: shared 0 of " in done.stdout


@pytest.mark.usefixtures("_scripted")
def test_the_answer_is_also_written_as_json(tmp_path):
    done = command_line("advise", "voting_arithmetic", "--out", "advice.json", folder=tmp_path)
    found = json.loads((tmp_path / "advice.json").read_text())
    assert done.stdout.splitlines() == found["lines"]
    assert {arm["name"] for arm in found["arms"]} == {"shared", "isolated"}
    assert found["standing"]["rounds"] >= 3


def test_the_page_has_the_levels_and_errors_of_the_code():
    assert f"c = {LEVEL[2]} ({LEVEL[4]} with four arms)" in PAGE
    assert f"in at most {100 * WRONG[2]:g} % of races" in PAGE


def test_every_option_of_the_command_is_on_the_page(tmp_path):
    told = command_line("advise", "--help", folder=tmp_path).stdout
    for option in {*re.findall(r"--[a-z]+", told)} - {"--help"}:
        assert f"`{option}" in PAGE
