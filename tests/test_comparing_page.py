"""The page about comparing runs: its commands and its code are run, on runs made by hand."""

import re
import shlex
from pathlib import Path

import pytest
from command_line import command_line
from runs_by_hand import run_by_hand, six_by_hand, study_by_hand

import counterpoint as cp
from counterpoint.cli import train_seeds
from counterpoint.experiments import front

DOCS = Path(__file__).parent.parent / "docs"
PAGES = (page.read_text(encoding="utf-8") for page in sorted(DOCS.glob("studies*.md")))
PAGE = next(page for page in PAGES if "## Comparing runs" in page)
PART = PAGE.partition("## Comparing runs")[2].split("\n## ")[0]
COMMANDS = [
    line for block in re.findall(r"```bash\n(.*?)```", PART, flags=re.DOTALL) for line in block.strip().splitlines()
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with the runs and studies that the page names."""
    runs = tmp_path_factory.mktemp("page") / "runs"
    six_by_hand(runs, seeds=(0, 1))
    for name, rate in (("mine", 1e-3), ("theirs", 3e-3)):
        for seed in (0, 1):
            run_by_hand(runs / f"{name}-s{seed}", seed=seed, policies={"learning_rate": rate})
    for sharing in ("shared", "isolated"):
        cells = {f"m-s{seed}": {"labels": {}, "seed": seed, "policies": {"sharing": sharing}} for seed in (0, 1)}
        study_by_hand(runs / sharing, cells, compare="")
    cells = {
        f"{sharing}-{rate}-s{seed}": {"labels": {"sharing": sharing, "rate": rate}, "seed": seed, "luck": len(sharing)}
        for seed in (0, 1)
        for sharing in ("shared", "isolated")
        for rate in ("x1", "x3")
    }
    study_by_hand(runs / "zeng2026_micro", cells)
    cells = {
        f"shared-{label}-s{seed}": {"labels": {"sharing": "shared", "intervention": label}, "seed": seed}
        for seed in (0, 1)
        for label in ("nothing", "balance")
    }
    study_by_hand(runs / "falls_micro", cells, compare="intervention")
    return runs.parent


def words_of(command, folder):
    """The words of a command, as a shell gives them: with names in place of patterns."""
    for word in shlex.split(command)[1:]:
        yield from sorted(str(path.relative_to(folder)) for path in folder.glob(word)) if "*" in word else [word]


@pytest.mark.parametrize("command", [command for command in COMMANDS if " compare " in command])
def test_every_command_that_compares_does(folder, command):
    done = command_line(*words_of(command, folder), folder=folder)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("with nothing, runs fell: " if "--reference" in command else "at the peak: ")


def test_two_recipes_with_seeds_are_two_groups(folder):
    found = cp.compare([folder / "runs" / "isolated", folder / "runs" / "shared"])
    assert [(one.found.one, one.found.other) for one in found.team] == [("isolated", "shared")] * 2


def test_the_command_that_trains_several_seeds_is_understood(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(train_seeds, "train_seeds", lambda *words, dry_run: asked.append(words))
    (command,) = [command for command in COMMANDS if " train " in command]
    assert command_line(*shlex.split(command)[1:], folder=tmp_path).returncode == 0
    ((recipe, overrides, seeds, out, jobs),) = asked
    assert (recipe, overrides, seeds) == ("voting_arithmetic", ["policies.sharing=shared"], (0, 1, 2))
    assert (out, jobs) == (Path("runs/shared"), 2)


def test_the_code_runs(folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    monkeypatch.setattr(front, "study", lambda named, **options: (named, options))
    (code,) = re.findall(r"```python\n(.*?)```", PART, flags=re.DOTALL)
    exec(code, {})
    assert capsys.readouterr().out.startswith("at the peak: ")
