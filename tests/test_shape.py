"""What the code base promises about itself."""

import ast
import inspect
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from facts import make_episode, make_group
from test_ahead import started
from torch_build import trained

import counterpoint
from counterpoint import training
from counterpoint.diagnostics.behaviour import episode_numbers

PACKAGE = Path(counterpoint.__file__).parent
ROOT = PACKAGE.parent
FILES = sorted(PACKAGE.rglob("*.py"))


def functions(path):
    tree = ast.parse(path.read_text())
    return [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]


def length(node):
    """Lines without the docstring: that of a task set says what each of twenty options does."""
    first = node.body[0]
    documented = ast.get_docstring(node) is not None
    return node.end_lineno - node.lineno + 1 - (first.end_lineno - first.lineno + 1 if documented else 0)


def test_the_loop_reads_in_about_sixty_lines():
    source = inspect.getsource(training.train)
    assert len(source.splitlines()) <= 88
    loop = source[source.index("for index in") :]
    assert len([line for line in loop.splitlines() if line.strip()]) <= 60
    assert [word for word in ("Act", "Judge", "Learn", "Publish", "Keep") if f". {word}:" not in loop] == []


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_files_and_functions_stay_short(path):
    limit = 450 if path.parent.name == "testing" else 400
    assert len(path.read_text().splitlines()) <= limit
    too_long = [node.name for node in functions(path) if length(node) > 54 and node.name != "train"]
    assert too_long == []


def test_no_file_has_a_name_that_says_nothing():
    vague = {"utils", "util", "common", "helpers", "misc", "core", "manager", "tools"}
    assert [path for path in FILES if vague.intersection(path.with_suffix("").relative_to(PACKAGE).parts)] == []


def run_python(code):
    command = [sys.executable, "-c", code]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout


ENGINES = "[name for name in ('torch', 'transformers', 'peft', 'vllm', 'ray') if name in sys.modules]"


def test_help_starts_without_an_engine():
    code = f"""
import sys
sys.argv = ["counterpoint", "--help"]
from counterpoint.cli.main import main
try:
    main()
except SystemExit as end:
    assert end.code == 0
print({ENGINES})
"""
    assert run_python(code).strip().endswith("[]")


def test_what_describes_a_run_or_a_workflow_starts_without_an_engine():
    code = f"""
import sys
import counterpoint.workflows, counterpoint.tasks, counterpoint.run, counterpoint.config, counterpoint.analysis.summary
print({ENGINES})
"""
    assert run_python(code).strip() == "[]"


def documented_metrics():
    """A pattern a documented name."""
    text = (ROOT / "docs" / "metrics.md").read_text()
    rows = re.findall(r"^\| (`[^|]+`) \|", text, flags=re.MULTILINE)
    names = [name for row in rows for name in re.findall(r"`([^`]+)`", row)]
    names += [
        "time/act",
        "time/judge",
        "time/learn",
        "time/publish",
        "time/step",
        "time/ahead",
        "eval/<split>/accuracy",
    ]
    return [re.compile(re.sub(r"<\w+>", r"[\\w-]+", name.replace("+", r"\+"))) for name in names]


@pytest.fixture(scope="module")
def metric_names(tiny_run, refining_run, proposing_run, coding_run, mathematics_run, tmp_path_factory):
    """Names under `eval/<split>/` are those of the same thing in training."""
    failed = [replace(make_episode(error="gone"), error_kind=kind) for kind in ("overflow", "endpoint")]
    names = set(episode_numbers([make_group(*failed)]))
    for run in (tiny_run, refining_run, proposing_run, coding_run, mathematics_run):
        names |= {name for row in run.metric_rows() for name in row if name != "step"}
        names |= {name for row in run.profile_rows() for name in row if name != "step"}
        names |= {name for row in run.evaluation_rows() for name in row["numbers"]}
        names |= {f"eval/{row['split']}/accuracy" for row in run.evaluation_rows()}
    ahead = trained(started(tmp_path_factory.mktemp("ahead") / "run"))
    names |= {name for row in ahead.metric_rows() for name in row if name != "step"}
    return sorted(names)


def test_every_metric_of_a_run_is_documented(metric_names):
    patterns = documented_metrics()
    assert [name for name in metric_names if not any(pattern.fullmatch(name) for pattern in patterns)] == []


def test_every_documented_metric_family_occurs(metric_names):
    assert [one.pattern for one in documented_metrics() if not any(one.fullmatch(name) for name in metric_names)] == []
