"""Pictures and tables of runs, as commands."""

import csv
import io
import shutil
import sys

import pytest
from command_line import command_line
from markdown_it import MarkdownIt

from counterpoint.errors import RunError
from counterpoint.recipe import config_from
from counterpoint.reports.figures.sheet import sheet
from counterpoint.reports.gather import gather
from counterpoint.reports.pictures import amplification_by_calls, course, dynamics, save_picture
from counterpoint.reports.table import Markdown, markdown_table, markdown_text
from counterpoint.run import Run


def made(folder, sharing="isolated", routing=None, steps=2, *, policies=None, seed=0, calls=3.0, votes=3):
    """A run of voting whose numbers are made by hand."""
    workflow = {"name": "voting", "votes": votes}
    config = config_from({"workflow": workflow, "policies": {"sharing": sharing}, "run": {"seed": seed}})
    run = Run.create(folder, config, {})
    run.pin({"routing": routing or {"generator": "generator", "aggregator": "aggregator"}})
    numbers = {
        "role/generator/accuracy": 0.25,
        "role/aggregator/accuracy": 0.5,
        "role/generator/calls": calls,
        "role/aggregator/calls": 1.0,
    }
    if calls > 1:
        policy = "shared" if sharing == "shared" else "generator"
        numbers |= {
            f"gradient/{policy}/generator/amplification": 1.5,
            f"gradient/{policy}/generator/coherence": 0.5,
        }
    if sharing == "shared":
        numbers |= {"gradient/shared/generator/share": 0.75, "gradient/shared/aggregator/share": 0.25}
        numbers |= {"gradient/shared/aggregator+generator/cosine": 0.1, "gradient/shared/norm": 1.0}
    else:
        numbers |= {f"gradient/{policy}/norm": 3.0 for policy in policies or ("generator", "aggregator")}
    for step in range(1, steps + 1):
        run.add_metrics(step, {"episode/score": 0.5, **numbers})
    run.close()
    return run


SHARED = {"generator": "shared", "aggregator": "shared"}


def titles(columns):
    return [[figure.title if figure else None for figure in column.figures] for column in columns]


def gathered(*runs):
    return gather([run.path for run in runs])


def test_a_gradient_share_is_drawn_only_where_one_policy_plays_all_roles(tmp_path):
    isolated, shared = made(tmp_path / "isolated"), made(tmp_path / "shared", "shared", SHARED)
    assert titles(course(gathered(isolated)))[-1] == ["Gradient norm of each policy"]
    assert titles(course(gathered(shared)))[-1] == ["Share of each role in the gradient"]


def test_dynamics_have_a_column_per_method_and_a_gap_where_one_has_no_such_figure(tmp_path):
    isolated, shared = made(tmp_path / "isolated"), made(tmp_path / "shared", "shared", SHARED)
    columns = dynamics(gathered(isolated, shared))
    assert [column.title for column in columns] == ["isolated", "shared"]
    left, right = titles(columns)
    assert left[:2] == ["Gradient norm of each policy", None]
    assert right[:2] == ["Share of each role in the gradient", "Cosine between roles"]
    picture = sheet(columns, name="dynamics", title="both")
    assert picture.spec["columns"] == 2
    panels = picture.spec["concat"]
    assert len(panels) == sum(len(column.figures) for column in columns)
    names = {layer.get("data", panel["data"])["name"] for panel in panels for layer in panel.get("layer", [])}
    assert names <= set(picture.data), "every panel has its own data"


def test_seeds_of_one_method_are_one_column(tmp_path):
    runs = [made(tmp_path / f"seed{seed}", seed=seed) for seed in (0, 1)]
    columns = dynamics(gathered(*runs))
    assert len(columns) == 1
    assert "2 seeds" in columns[0].figures[0].says


def test_slots_with_policies_of_their_own_have_a_line_each(tmp_path):
    routing = {"generator": ["a", "b", "a"], "aggregator": "c"}
    run = made(tmp_path / "run", routing=routing, policies=("a", "b", "c"))
    norms = course(gathered(run))[-1].figures[0]
    assert set(norms.data["rows"]["who"].to_list()) == {"a", "b", "c"}


def test_several_methods_are_laid_over_each_other(tiny_run, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(tiny_run.path, other)
    config = (other / "config.toml").read_text(encoding="utf-8")
    (other / "config.toml").write_text(config.replace("temperature = 1.0", "temperature = 0.9"), encoding="utf-8")
    columns = course(gathered(tiny_run, Run.read(other)))
    assert titles(columns)[0] == ["Accuracy of the team, test problems"]
    assert len(set(columns[0].figures[0].data["rows"]["who"].to_list())) == 2


def test_amplification_is_drawn_against_the_number_of_parallel_calls(tmp_path):
    rows = amplification_by_calls(gathered(made(tmp_path / "run")))[0].figures[0].data["rows"]
    assert rows.sort("step").rows() == [("generator", "isolated", 3, 1, 1.5), ("generator", "isolated", 3, 2, 1.5)]


def test_one_call_has_the_amplification_one(tmp_path):
    alone = made(tmp_path / "one", calls=1.0, votes=1)
    rows = amplification_by_calls(gathered(made(tmp_path / "three"), alone))[0].figures[0].data["rows"]
    assert ("generator", "isolated", 1, 0, 1.0) in rows.rows()


def test_what_was_not_recorded_cannot_be_drawn(tmp_path):
    with pytest.raises(RunError, match="has no training step yet"):
        save_picture([made(tmp_path / "empty", steps=0).path], "course", tmp_path / "x.svg")
    with pytest.raises(RunError, match="none of these runs recorded"):
        save_picture([made(tmp_path / "one", calls=1.0, votes=1).path], "amplification", tmp_path / "x.svg")


@pytest.mark.parametrize(
    ("kind", "extension", "begins"),
    [
        ("course", "svg", b"<svg"),
        ("dynamics", "png", b"\x89PNG"),
        ("changes", "pdf", b"%PDF"),
        ("behaviour", "svg", b"<svg"),
    ],
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
    monkeypatch.setitem(sys.modules, "vl_convert", None)
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


@pytest.mark.parametrize(
    "text",
    [
        "*a* **b** _c_ __d__ ~~e~~ f_g $h$",
        "`code` ``code``",
        "[a](http://b) ![c](d) [e][f]",
        "[a]: http://b",
        "a | b \\| c \\",
        "<b> &lt; &#42; & <!-- c",
        "# a",
        "- a",
        "12. a",
        "> a",
    ],
)
def test_no_text_is_markup_in_markdown(text):
    reader = MarkdownIt("commonmark").enable(["table", "strikethrough"])
    for source in (markdown_text(text), f"- {markdown_text(text)}", markdown_table(["head"], [[text]])):
        *_, last = [one for one in reader.parse(source) if one.type == "inline"]
        assert {part.type for part in last.children} <= {"text", "text_special"}
        assert "".join(part.content for part in last.children) == text


def test_what_is_markdown_already_is_not_escaped_again():
    bold = Markdown("**a** [b](c)")
    assert markdown_text(bold) == bold
    assert markdown_table(["head"], [[bold]]).endswith("| **a** [b](c) |")
