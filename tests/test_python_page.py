"""docs/python.md, its blocks run in order as the cells of a notebook, in a real Jupyter kernel."""

import os
import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

PAGE = (Path(__file__).parent.parent / "docs" / "python.md").read_text()


def cells():
    return re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)


def outputs(cell):
    """Everything that the cell printed, showed or gave."""
    texts = [one.get("text", "") for one in cell.outputs]
    texts += ["".join(one.data.values()) for one in cell.outputs if "data" in one]
    return "".join(texts)


@pytest.fixture(scope="module")
def notebook(tmp_path_factory):
    """The page as a notebook that was executed in a folder of its own."""
    found = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code) for code in cells()])
    folder = tmp_path_factory.mktemp("notebook")
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent), "OMP_NUM_THREADS": "1"}
    client = NotebookClient(found, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(folder)}})
    client.execute(env=environment)
    return found


def only(notebook, text):
    return next(cell for cell in notebook.cells if text in cell.source)


@pytest.mark.slow
def test_every_block_runs_in_a_notebook(notebook):
    assert len(notebook.cells) == len(cells()) > 12
    assert all(cell.execution_count for cell in notebook.cells)


@pytest.mark.slow
def test_progress_is_one_line_that_is_rewritten_and_evaluations_stay(notebook):
    shown = only(notebook, 'out="runs/tutorial"').outputs
    rewritten = [one for one in shown if one.output_type == "display_data"]
    assert len(rewritten) == 1
    printed = "".join(one.text for one in shown if one.output_type == "stream" and one.name == "stdout")
    assert printed.count("eval at ") == 3
    assert "step 1/4" not in printed


@pytest.mark.slow
def test_what_the_page_promises_is_shown(notebook):
    assert "roles       generator, aggregator" in outputs(only(notebook, "cp.dry_run"))
    assert "mine/calls_in_loss" in outputs(only(notebook, "mine.metrics()"))
    assert "vega" in str([one.data for one in only(notebook, "plot.line").outputs])
    assert "with the base as aggregator" in outputs(only(notebook, 'ablate="aggregator"'))
    assert "tutorial" in outputs(only(notebook, "cp.list_runs"))
    assert outputs(only(notebook, "cp.rollout")).count("arithmetic-") == 4
