"""Pictures and tables of runs, as commands."""

import csv
import io
import json
import shutil
import sys

import pytest
from command_line import command_line
from counterpoint.reports.amplification import amplifications
from counterpoint.reports.course import accuracies, course, gradients
from counterpoint.reports.dynamics import dynamics

from counterpoint.errors import RunError
from counterpoint.recipe import config_from
from counterpoint.reports.base import is_shared, names, policies
from counterpoint.reports.pictures import save_picture
from counterpoint.run import Run


def made(folder, sharing="isolated", routing=None, steps=2):
    """A run of voting whose numbers are made by hand."""
    config = config_from({"workflow": {"name": "voting"}, "policies": {"sharing": sharing}})
    run = Run.create(folder, config, {})
    run.pin({"routing": routing or {"generator": "generator", "aggregator": "aggregator"}})
    for step in range(1, steps + 1):
        run.add_metrics(
            step,
            {
                "episode/score": 0.5,
                "role/generator/accuracy": 0.25,
                "role/aggregator/accuracy": 0.5,
                "role/generator/gradient_share": 0.75,
                "role/aggregator/gradient_share": 0.25,
                "policy/generator/gradient_norm": 3.0,
                "gradient/generator/generator/amplification": 1.5,
            },
        )
    run.close()
    return run


SHARED = {"generator": "shared", "aggregator": "shared"}


def test_a_gradient_share_is_drawn_only_where_one_policy_plays_all_roles(tmp_path):
    isolated, shared = made(tmp_path / "isolated"), made(tmp_path / "shared", "shared", SHARED)
    assert (is_shared(isolated), is_shared(shared)) == (False, True)
    title, axis, found = gradients(shared)
    assert (title, axis, found["value"].to_list()) == (
        "who moves the weights",
        "share of gradient norm",
        [0.75, 0.25, 0.75, 0.25],
    )
    title, axis, found = gradients(isolated)
    assert title == "gradient of each policy (not to be compared)"
    assert (axis, found["who"].to_list(), found["value"].to_list()) == ("gradient norm", ["generator"] * 2, [3.0, 3.0])


def test_the_dynamics_have_a_row_of_shares_only_for_runs_that_share(tmp_path):
    isolated, shared = made(tmp_path / "isolated"), made(tmp_path / "shared", "shared", SHARED)
    assert "share of gradient norm" not in str(dynamics([isolated]).to_dict())
    assert "share of gradient norm" in str(dynamics([isolated, shared]).to_dict())


def test_the_dynamics_show_the_shape_of_replies_where_it_was_recorded(tmp_path):
    bare = made(tmp_path / "bare")
    assert "terse replies" not in str(dynamics([bare]).to_dict())
    path = bare.path / "metrics.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    shaped = {"role/aggregator/terse": 0.5, "role/critic/form_code": 0.25}
    path.write_text("".join(json.dumps({**row, **shaped}) + "\n" for row in rows))
    drawn = str(dynamics([bare]).to_dict())
    assert "terse replies" in drawn
    assert "verdicts with code" in drawn


def test_slots_with_policies_of_their_own_are_all_policies(tmp_path):
    run = made(tmp_path / "run", routing={"generator": ["a", "b", "a"], "aggregator": "c"})
    assert policies(run) == ["a", "b", "c"]


def test_a_role_that_has_the_last_word_is_drawn_once(tmp_path):
    assert set(accuracies(made(tmp_path / "run"))["who"]) == {"team", "generator"}


def test_several_runs_are_laid_over_each_other_by_their_names(tiny_run, tmp_path):
    shutil.copytree(tiny_run.path, tmp_path / "other")
    runs = [tiny_run, Run.read(tmp_path / "other")]
    assert names(runs) == [tiny_run.path.name, "other"]
    assert names([tiny_run, tiny_run]) == [str(tiny_run.path)] * 2
    drawn = str(course(runs).to_dict())
    assert "team, accuracy on the test split" in drawn
    assert "'other'" in drawn


def test_amplification_needs_runs_that_measured_it(tmp_path):
    assert amplifications(made(tmp_path / "run")) == [(3, "isolated", 1, 1.5), (3, "isolated", 2, 1.5)]
    with pytest.raises(RunError, match="has no training step yet"):
        save_picture([made(tmp_path / "empty", steps=0)], "course", tmp_path / "x.svg")


@pytest.mark.parametrize(
    ("kind", "extension", "begins"),
    [("course", "svg", b"<svg"), ("dynamics", "png", b"\x89PNG"), ("amplification", "pdf", b"%PDF")],
)
def test_the_command_draws(tiny_run, tmp_path, kind, extension, begins):
    place = tmp_path / f"x.{extension}"
    done = command_line("plot", tiny_run.path, "--kind", kind, "--out", place)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"wrote {place}\n", "")
    assert place.read_bytes().startswith(begins)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--out", "x.gif"], "--out x.gif: the extension must be one of .svg, .png, .pdf"),
        (["--out", "x.svg", "--kind", "corse"], "unknown kind of picture 'corse'; did you mean 'course'?"),
        (["--out", "nowhere/x.svg"], "--out nowhere/x.svg cannot be written to: No such file or directory"),
    ],
)
def test_what_cannot_be_drawn_is_one_line(tiny_run, tmp_path, arguments, message):
    done = command_line("plot", tiny_run.path, *arguments, folder=tmp_path)
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


def test_without_the_extra_it_is_named(tiny_run, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "altair", None)
    for name in [name for name in sys.modules if name.startswith("counterpoint.reports.")]:
        monkeypatch.delitem(sys.modules, name)
    done = command_line("plot", tiny_run.path, "--out", tmp_path / "x.svg")
    assert (done.returncode, "pip install 'counterpoint[report]' first" in done.stderr) == (2, True)


def test_the_command_prints_a_table(tiny_run):
    done = command_line("table", tiny_run.path)
    lines = done.stdout.splitlines()
    assert lines[0] == "| run | who | base | peak (step) | terminal | gain | drop |"
    assert [line.split(" | ")[1] for line in lines[2:5]] == ["team", "generator", "aggregator"]
    assert lines[2].startswith(f"| {tiny_run.path.name} |")


def test_a_table_as_csv_has_every_interval_as_fractions(tiny_run):
    rows = list(csv.DictReader(io.StringIO(command_line("table", tiny_run.path, "--format", "csv").stdout)))
    assert [row["who"] for row in rows] == ["team", "generator", "aggregator"]
    gain = tiny_run.summary.team.gain
    assert [float(rows[0][name]) for name in ("gain", "gain_low", "gain_high")] == [gain.value, gain.low, gain.high]


def test_a_run_that_has_not_ended_has_no_row(tmp_path):
    made(tmp_path / "run")
    done = command_line("table", tmp_path / "run")
    assert (done.returncode, "has no summary: it has not ended" in done.stderr) == (2, True)
