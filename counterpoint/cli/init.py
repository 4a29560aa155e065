"""`counterpoint init`: starting files for your own workflow or task."""

import ast
import json
import keyword
import shlex
import sys
from collections.abc import Mapping
from importlib.machinery import PathFinder
from importlib.util import find_spec
from itertools import product
from pathlib import Path

from counterpoint.cli.out import check_folder, failure_of_place
from counterpoint.errors import ConfigError

WORKFLOW = r'''"""One role solves a problem, another reviews the solution; what is not approved is solved again."""

import re

from counterpoint import Problem, Role, user, workflow

VERDICT = re.compile(r"\\boxed\{(correct|incorrect)\}")


# Keep `problem` first and the `*` after it. Parameters annotated `Role` are the roles: rename, remove or add some.
# All other parameters are options with a default, which a recipe or the command line can set: workflow.rounds=2.
@workflow
async def NAME(problem: Problem, *, solver: Role, reviewer: Role, rounds: int = 1) -> str | None:
    """Solve, have it reviewed, and solve again until it is approved or has been reviewed `rounds` times."""
    # The prompts are yours to write. `answer_format` is a sentence on how to write the answer to this kind of problem.
    draft = await solver(f"{problem.text}\n\nSolve the problem step by step. {problem.answer_format}")
    # With a claim about its reply, a role has an accuracy of its own. `extract` returns None if there is no answer.
    draft.answers(problem.extract(draft.text))
    for _ in range(rounds):
        review = await reviewer(
            f"Problem: {problem.text}\n\nSolution:\n{draft.text}\n\n"
            r"Is this solution right? Check it, then write \boxed{correct} or \boxed{incorrect}."
        )
        if review.judges(draft, read_verdict(review.text)):
            break
        # `draft.conversation` is the conversation so far: continuing it extends the same tokens.
        again = f"A reviewer says:\n{review.text}\n\nSolve the problem again, step by step. {problem.answer_format}"
        draft = await solver([*draft.conversation, user(again)])
        draft.answers(problem.extract(draft.text))
    # The answer that counts: text, or None if there is none.
    return draft.answer


def read_verdict(text: str) -> bool | None:
    """The verdict in the reply's box; None if there is none, or both. Never guess: a wrong guess is trained on."""
    words = set(VERDICT.findall(text))
    return words == {"correct"} if len(words) == 1 else None
'''

WORKFLOW_TEST = r'''"""NAME keeps the promises of a workflow, and does what it is for."""

from counterpoint import check_workflow
from counterpoint.testing.by_hand import play_by_hand

from NAME import NAME


def test_it_keeps_its_promises():
    check_workflow(NAME)


def test_a_draft_that_is_not_approved_is_written_again():
    # The replies, in the order in which the roles are called: change them with your workflow.
    replies = iter([r"It is \boxed{3}.", r"Too much. \boxed{incorrect}", r"Then it is \boxed{2}."])
    episode = play_by_hand(NAME, lambda role, prompt: next(replies), key="2")
    assert [call.key.role for call in episode.calls] == ["solver", "reviewer", "solver"]
    assert [call.score for call in episode.calls] == [0.0, 1.0, 1.0]
    assert episode.answer == "2"
'''

_LEFT, _RIGHT = 24, 15
"""The largest numbers of the questions written: enough of them for a validation split that can choose a peak."""


def write_workflow(name: str, into: Path) -> None:
    """`into` holds `<name>.py`, a workflow, and `test_<name>.py`; what to do next is printed.

    Raises ConfigError, and writes nothing, if one of them exists or the name cannot be that of a new module.
    """
    _check_module_name(name, into)
    module, test = f"{name}.py", f"test_{name}.py"
    _write(into, {module: WORKFLOW.replace("NAME", name), test: WORKFLOW_TEST.replace("NAME", name)})
    _print_next(
        into,
        *([] if find_spec("pytest") else ["pip install pytest"]),
        f"python -m pytest {test}",
        f"counterpoint train voting_arithmetic workflow={name}:{name} --dry-run",
        f"counterpoint train voting_arithmetic workflow={name}:{name} --out runs/{name}",
    )


def write_questions(name: str, into: Path) -> None:
    """`into` holds `<name>.jsonl`, questions with their answers; what to do next is printed.

    Raises ConfigError, and writes nothing, if it exists or the name is not one for a file.
    """
    if not name.replace("-", "_").isidentifier():
        raise ConfigError(f"{name!r} cannot be a task's name: letters, digits, - and _, a letter first")
    file = f"{name}.jsonl"
    pairs = product(range(1, _LEFT + 1), range(1, _RIGHT + 1))
    rows = [{"question": f"What is {left} + {right}?", "answer": left + right} for left, right in pairs]
    _write(into, {file: "".join(json.dumps(row) + "\n" for row in rows)})
    task = f'task=\'{{name="questions", path="{file}"}}\''
    _print_next(
        into,
        f"counterpoint train voting_arithmetic {task} --dry-run",
        f"counterpoint train voting_arithmetic {task} --out runs/{name}",
    )


def _check_module_name(name: str, into: Path) -> None:
    if not (name.isidentifier() and name.isascii()) or name.startswith("_") or keyword.iskeyword(name):
        raise ConfigError(
            f"{name!r} cannot be a workflow's name: it must be a Python name, such as my_flow, and no keyword"
        )
    if name in sys.stdlib_module_names:
        raise ConfigError(f"{name!r} is the name of a module of Python's standard library: choose another")
    here = (Path.cwd().resolve(), into.resolve())
    elsewhere = [place for place in sys.path if Path(place).resolve() not in here]
    if PathFinder.find_spec(name, elsewhere) is not None:
        raise ConfigError(f"{name!r} is the name of an installed package's module: choose another")
    if name in _names(WORKFLOW) | _names(WORKFLOW_TEST):
        raise ConfigError(f"{name!r} already means something in the files to be written: choose another")


def _names(code: str) -> set[str]:
    """Every name that the code reads, sets, takes or imports, except for the workflow's own."""
    nodes = list(ast.walk(ast.parse(code)))
    read = {node.id for node in nodes if isinstance(node, ast.Name)}
    taken = {node.arg for node in nodes if isinstance(node, ast.arg)}
    defined = {node.name for node in nodes if isinstance(node, ast.alias | ast.FunctionDef)}
    return (read | taken | defined) - {"NAME"}


def _write(into: Path, files: Mapping[str, str]) -> None:
    """Every file in `into`, which is created if needed, or none of them."""
    for file in files:
        if (into / file).exists():
            raise ConfigError(f"{into / file} exists, and nothing was written: choose another name, or --into DIR")
    check_folder(into)
    try:
        into.mkdir(parents=True, exist_ok=True)
        for file, text in files.items():
            (into / file).write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{into} cannot be written to: {failure_of_place(error) or error}") from error
    print(f"wrote {' and '.join(str(into / file) for file in files)}")


def _print_next(into: Path, *commands: str) -> None:
    there = [] if into.resolve() == Path.cwd().resolve() else [f"cd {shlex.quote(str(into))}"]
    print("\nnext:", *(f"  {command}" for command in [*there, *commands]), sep="\n")
