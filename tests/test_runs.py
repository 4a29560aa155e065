"""The list of the runs in a folder: what each is and how far it came."""

import json
import shutil
from dataclasses import replace

import pytest

from counterpoint import runs
from counterpoint.cli.runs import print_runs
from counterpoint.errors import RunError
from counterpoint.recipe import config_from
from counterpoint.run import Run
from counterpoint.runs import list_runs, read_header

CONFIG = config_from({"run": {"steps": 6, "seed": 3}, "policies": {"sharing": "shared"}})
FACTS = {"recipe": "voting_arithmetic"}


def evaluation(step, split, accuracy):
    return {"step": step, "split": split, "accuracy": accuracy, "outcomes": {}, "roles": {}, "numbers": {}}


def begin(path, steps, config=CONFIG):
    """A run that did so many steps."""
    run = Run.create(path, config, FACTS)
    run.add_evaluation(evaluation(0, "validation", 0.25))
    run.add_evaluation(evaluation(0, "test", 0.75))
    for step in range(1, steps + 1):
        run.add_metrics(step, {"a": 1.0})
        run.add_evaluation(evaluation(step, "validation", 0.25 + step / 16))
    return run


def test_the_header_of_a_run_by_hand(tmp_path):
    begin(tmp_path / "run", 4).close()
    header = read_header(tmp_path / "run")
    assert header == runs.RunHeader(
        path=tmp_path / "run",
        state="interrupted",
        recipe="voting_arithmetic",
        workflow="voting",
        task="arithmetic",
        model="micro-medium",
        sharing="shared",
        seed=3,
        steps=4,
        planned=6,
        base=0.25,
        last=0.5,
    )


def test_the_state_of_a_run_follows_its_life(tmp_path):
    path = tmp_path / "run"
    path.mkdir()
    (path / "run.lock").touch()
    assert read_header(path).state == "debris", "its creation was killed"
    with Run.create(path, CONFIG, FACTS) as run:
        assert read_header(path).state == "running"
    assert read_header(path).state == "interrupted"
    run.add_evaluation(evaluation(0, "validation", 0.25))
    assert read_header(path).state == "interrupted"
    run.checkpoint(6, {}, {"stopped": None})
    run.write_summary({})
    assert read_header(path).state == "finished"
    run.checkpoint(7, {}, {"stopped": "accuracy fell"})
    assert read_header(path).state == "stopped"
    with Run.open(path):
        assert read_header(path).state == "running"


def test_a_run_that_its_study_found_failed_says_why(tmp_path):
    begin(tmp_path / "run", 2).close()
    (tmp_path / "run" / "failure.json").write_text(json.dumps({"reason": "SIGKILL"}))
    assert (read_header(tmp_path / "run").state, read_header(tmp_path / "run").problem) == ("failed", "SIGKILL")
    Run.read(tmp_path / "run").write_summary({})
    assert (read_header(tmp_path / "run").state, read_header(tmp_path / "run").problem) == ("finished", "")


def test_a_real_run_is_finished(tiny_run):
    (header,) = list_runs(tiny_run.path)
    assert (header.state, header.steps, header.planned, header.workflow) == ("finished", 2, 2, "voting")
    validation = tiny_run.evaluations().filter(split="validation")["accuracy"]
    assert (header.base, header.last) == (validation[0], validation[-1])


def test_runs_are_found_at_any_depth_and_in_order_and_episodes_are_not_read(tmp_path):
    for name in ("b", "a/2", "a/1"):
        begin(tmp_path / name, 1).close()
    (tmp_path / "b" / "episodes" / "000001.parquet").write_text("not Parquet")
    (tmp_path / ".hidden").mkdir()
    shutil.copytree(tmp_path / "b", tmp_path / ".hidden" / "run")
    shutil.copytree(tmp_path / "b", tmp_path / "b" / "copy")
    (tmp_path / "notes").mkdir()
    assert [header.path for header in list_runs(tmp_path)] == [tmp_path / name for name in ("a/1", "a/2", "b")]


def test_a_link_to_a_run_is_listed_and_a_link_to_anything_else_is_not_followed(tmp_path):
    begin(tmp_path / "runs" / "a", 1).close()
    (tmp_path / "chosen" / "deep").mkdir(parents=True)
    (tmp_path / "chosen" / "deep" / "mine").symlink_to(tmp_path / "runs" / "a")
    (tmp_path / "chosen" / "back").symlink_to(tmp_path)
    (tmp_path / "chosen" / "gone").symlink_to(tmp_path / "nowhere")
    (found,) = list_runs(tmp_path / "chosen")
    assert (found.path, found.steps) == (tmp_path / "chosen" / "deep" / "mine", 1)


def test_a_damaged_run_is_listed_and_hides_no_other(tmp_path):
    for name in ("a", "b", "c", "d"):
        begin(tmp_path / name, 1).close()
    (tmp_path / "a" / "config.toml").write_text("[mod")
    (tmp_path / "b" / "metrics.jsonl").write_text("{\n")
    (tmp_path / "c" / "run.json").write_text("{")
    states = {header.path.name: header for header in list_runs(tmp_path)}
    assert [states[name].state for name in "abcd"] == ["unreadable", "unreadable", "unreadable", "interrupted"]
    assert "metrics.jsonl, line 1 is damaged" in states["b"].problem
    assert all(states[name].problem for name in "abc")


def test_a_folder_that_does_not_exist_is_an_error(tmp_path):
    with pytest.raises(RunError, match="nowhere is not a folder"):
        list_runs(tmp_path / "nowhere")


def test_the_printed_list_has_a_line_per_run(tmp_path, capsys):
    begin(tmp_path / "a", 4).close()
    table = {"voter": "one", "judge": ["x", "y"]}
    begin(tmp_path / "b", 0, config_from({"policies": {"sharing": table}})).close()
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "run.lock").touch()
    print_runs(tmp_path)
    head, first, second, third = capsys.readouterr().out.splitlines()
    assert head.split() == ["state", "steps", "recipe", "sharing", "seed", "validation", "path", "overrides"]
    shown = [
        "interrupted",
        "4/6",
        "voting_arithmetic",
        "shared",
        "3",
        "25.0",
        "%",
        "->",
        "50.0",
        "%",
        str(tmp_path / "a"),
    ]
    assert first.split() == shown
    assert json.dumps(table) in second
    assert third.split() == ["debris", "0/-", "-", "-", "-", "-", "->", "-", str(tmp_path / "c")]


def test_what_cannot_be_read_is_said_below_the_list(tmp_path, capsys, monkeypatch):
    begin(tmp_path / "a", 1).close()
    headers = [replace(read_header(tmp_path / "a"), state="unreadable", problem="it is damaged")]
    monkeypatch.setattr("counterpoint.cli.runs.list_runs", lambda folder: headers)
    print_runs(tmp_path)
    assert capsys.readouterr().out.splitlines()[-1] == f"{tmp_path / 'a'} cannot be read: it is damaged"


def test_a_folder_without_runs_says_so(tmp_path, capsys):
    print_runs(tmp_path)
    assert capsys.readouterr().out == f"no runs in {tmp_path}\n"
