"""`docs/run_directory.md` describes a real run: every file, key and column, and no others."""

import json
import re
from pathlib import Path

import polars as pl
import pytest
from command_line import command_line

from counterpoint.plan.provenance import facts
from counterpoint.run import FORMAT
from counterpoint.run_files import FINAL, SOURCES
from counterpoint.trackers.state import FOLDER as TRACKERS

PAGE = (Path(__file__).parent.parent / "docs" / "run_directory.md").read_text()


def table(heading):
    """The rows of the first table under a heading, by column."""
    part = re.split(rf"^#+ {re.escape(heading)}$", PAGE, flags=re.MULTILINE)[1].split("\n#")[0]
    lines = [line for line in part.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [dict(zip(cells[0], row, strict=True)) for row in cells[2:]]


def names(heading, **wanted):
    """The names in the first column of a table, of the rows that have these cells."""
    rows = [row for row in table(heading) if all(row[column] == value for column, value in wanted.items())]
    return {next(iter(row.values())).strip("`") for row in rows}


def test_every_file_and_folder_of_a_run_is_documented_and_there_are_no_others(tiny_run):
    documented = {name.rstrip("/") for name in names("The run directory")}
    assert documented == {path.name for path in tiny_run.path.iterdir()} | {FINAL, SOURCES, TRACKERS}


def test_every_key_of_run_json_is_documented_and_there_are_no_others(tiny_run):
    assert names("`run.json`", when="always") == set(tiny_run.facts) - {"task_warnings"}
    assert "`task_warnings`" in PAGE
    assert names("`run.json`", when="by `train`") == set(facts("recipe", []))


@pytest.mark.parametrize("name", ["metrics.jsonl", "profile.jsonl"])
def test_the_step_is_documented_and_the_numbers_are_in_another_page(tiny_run, name):
    assert names(f"`{name}`") == {"step"}
    assert "step" in json.loads((tiny_run.path / name).read_text().splitlines()[0])


def test_every_key_of_an_evaluation_is_documented_and_there_are_no_others(tiny_run):
    assert {frozenset(row) for row in tiny_run.evaluation_rows()} == {frozenset(names("`evaluations.jsonl`"))}
    flat = ["step", "split", "accuracy", "rolled_back", "tasks"]
    assert tiny_run.evaluations().columns[:5] == flat
    for column in (*flat, *tiny_run.outcomes().columns):
        assert f"`{column}`" in PAGE


def assert_columns(heading, schema):
    """The table has the columns of a file, in its order, with their types."""
    rows = [row for row in table(heading) if int(row["since"]) <= FORMAT]
    documented = {next(iter(row.values())).strip("`"): row["type"] for row in rows}
    assert list(documented) == list(schema)
    assert documented == {name: re.sub(r"\(Struct\(.*\)\)", "(Struct)", str(kind)) for name, kind in schema.items()}


def test_every_column_of_episodes_and_samples_is_documented_with_its_type_and_there_are_no_others(tiny_run):
    episodes = pl.read_parquet_schema(tiny_run.path / "episodes" / "000001.parquet")
    assert_columns("`episodes/000120.parquet`", episodes)
    assert_columns("The fields of a call", dict(episodes["calls"].inner))
    assert pl.read_parquet_schema(tiny_run.path / "evaluations" / "test" / "000001.parquet") == episodes
    assert_columns("`samples/000120.parquet`", pl.read_parquet_schema(tiny_run.path / "samples" / "000001.parquet"))
    where = ["step", "split", "task", "rollout", "solo"]
    assert tiny_run.calls(1).columns == [*where, *names_in_order("The fields of a call")]


def names_in_order(heading):
    return [row["field"].strip("`") for row in table(heading) if int(row["since"]) <= FORMAT]


def test_every_file_of_a_checkpoint_is_documented_and_what_is_always_there_is(tiny_run):
    folder = tiny_run.checkpoint_path(2)
    patterns = {
        name: re.compile(re.sub(r"<\w+>", r"[\\w-]+", name) + (".*" if name.endswith("/") else ""))
        for name in names("`checkpoints/000120/`")
    }
    files = [str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()]
    assert [file for file in files if not any(one.fullmatch(file) for one in patterns.values())] == []
    always = names("`checkpoints/000120/`", when="always")
    assert [name for name in always if not any(patterns[name].fullmatch(file) for file in files)] == []
    (state,) = (row["what it holds"] for row in table("`checkpoints/000120/`") if "state.json" in row["path"])
    assert set(re.findall(r"`(\w+)`", state)) == {*tiny_run.checkpoint_state(2), "interrupted", "evaluation"}


def test_every_key_of_the_summary_is_documented_and_there_are_no_others(tiny_run):
    assert names("`summary.json`") == set(json.loads((tiny_run.path / "summary.json").read_text()))
    assert tiny_run.summary.as_dict() == json.loads((tiny_run.path / "summary.json").read_text())


def test_the_current_format_is_documented():
    assert str(FORMAT) in names("Format versions")


def test_the_code_of_the_page_runs(tiny_run, tmp_path, monkeypatch):
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "mine").symlink_to(tiny_run.path)
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
    assert len(blocks) == 3
    names_ = {}
    for block in blocks:
        exec(block.replace("(30", "(2").replace("step=30", "step=2"), names_)
    assert names_["run"].steps_with_episodes() == [1, 2]
    joined = names_["samples"].join(names_["calls"], on=names_["same_call"])
    assert len(joined) == len(names_["samples"]) > 0


def test_the_commands_of_the_page_run(tiny_run, tmp_path, monkeypatch):
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "mine").symlink_to(tiny_run.path)
    (block,) = re.findall(r"```bash\n(.*?)```", PAGE, flags=re.DOTALL)
    for line in block.splitlines():
        done = command_line(*line.partition("#")[0].split()[1:], folder=tmp_path)
        assert done.returncode == 0, line + done.stderr
        assert " match" in done.stdout
