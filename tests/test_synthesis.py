"""Functions to be written from examples: what is drawn, what is shown, what is hidden, and how code is read."""

import asyncio
import json
import random
import sys

import pytest

from counterpoint.errors import TaskError
from counterpoint.task import RIGHT, WRONG
from counterpoint.tasks._fence import last_block
from counterpoint.tasks._splits import split_of
from counterpoint.tasks.synthesis.functions import FAMILIES, Function, behaviour, literal, table
from counterpoint.tasks.synthesis.task import Options, draw, synthesis

SMALL = {"train": 60, "validation": 10, "test": 12}
EVERY = ("numbers", "lists", "strings")


async def never_called(answer, key):
    raise AssertionError


def small(**options):
    return synthesis(judge=never_called, **{**SMALL, **options})


def drawn(split, count=60, families=EVERY, steps=2, seed=0, held_out="functions"):
    return draw(split, count, Options(families, steps, examples=4, tests=6), seed, held_out)


def loaded(value):
    return tuple(value) if isinstance(value, list) else value


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("```python\nreturn 1\n```", "return 1"),
        ("```py\nreturn 1\n```", "return 1"),
        ("```\nreturn 1\n```", "return 1"),
        ("sort\n```python\nf = sorted\n```\nThat is all.", "f = sorted"),
        ("```python\r\na = 1\r\nb = 2\r\n```\r\nDone.", "a = 1\nb = 2"),
        ("```python\na\n```\nBetter:\n```python\nb\n```", "b"),
        ("```python\na\n```\nBetter:\n```python\nb", "a"),
        ("```python\na\n```\n```json\n{}\n```", "a"),
        ("```python\na\n\n  b\n```", "a\n\n  b"),
        ("  ```Python \na\n  ``` ", "a"),
    ],
)
def test_the_last_closed_block_is_read(text, code):
    assert last_block(text) == code


@pytest.mark.parametrize(
    "text",
    [
        "",
        "return 1",
        "`return 1`",
        "```python\nreturn 1",
        "```json\n1\n```",
        "```python\n```",
        "```python\n \n```",
        "```python return 1```",
        "return 1\n```",
    ],
)
def test_what_is_no_closed_block_is_no_code(text):
    assert last_block(text) is None


def test_a_block_is_read_in_time_that_grows_with_the_text():
    assert last_block("```python\n" * 100_000) is None
    assert last_block("```\na\n```\n" * 50_000) == "a"


def test_a_problem_shows_what_a_function_does_and_asks_for_a_block():
    problem = small().train[0].problem
    first, *examples = problem.text.split("\n")
    assert first.startswith("Write a Python function f(")
    assert len(examples) == 4
    assert all(example.startswith("f(") and ") == " in example for example in examples)
    assert problem.answer_format == "Write the function in a ```python block."
    assert problem.extract("```python\ndef f(n):\n    return n\n```") == "def f(n):\n    return n"


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_examples_and_hidden_tests_are_what_the_function_does(steps):
    for one in drawn("train", steps=steps):
        assert len(one.function.operations) == steps
        shown = [f"f({literal(value)}) == {literal(one.function(value))}" for value in one.shown]
        assert one.text.split("\n")[1:] == shown
        key = json.loads(one.key)
        assert (key["kind"], key["function"], len(key["tests"])) == ("call", "f", 6)
        for test in key["tests"]:
            (argument,) = test["arguments"]
            assert loaded(test["value"]) == one.function(loaded(argument))
            assert loaded(argument) not in one.shown


@pytest.mark.parametrize("part", ["shown", "hidden"])
@pytest.mark.parametrize("steps", [1, 2, 3])
def test_no_other_function_of_up_to_two_operations_does_the_same(part, steps):
    for one in drawn("validation", 20, steps=steps):
        inputs = getattr(one, part)
        fitting = [
            other
            for other in table(one.function.family.name).functions.values()
            if all(other(value) == one.function(value) for value in inputs)
        ]
        assert fitting == ([one.function] if steps < 3 else [])


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_no_function_that_is_held_out_is_met_in_two_splits_whatever_the_seed(steps):
    behaviours = {
        split: {behaviour(one.function) for seed in (0, 1) for one in drawn(split, 40, steps=steps, seed=seed)}
        for split in ("train", "validation", "test")
    }
    assert not behaviours["train"] & behaviours["validation"]
    assert not behaviours["train"] & behaviours["test"]
    assert not behaviours["validation"] & behaviours["test"]


@pytest.mark.parametrize("held_out", ["problems", "functions"])
def test_no_problem_is_in_two_splits_whatever_the_seed(held_out):
    texts = {
        split: {one.text for seed in (0, 1) for one in drawn(split, 40, steps=1, seed=seed, held_out=held_out)}
        for split in ("train", "validation", "test")
    }
    assert len(set.union(*texts.values())) == sum(map(len, texts.values()))
    if held_out == "problems":
        assert all(split_of(text) == split for split, found in texts.items() for text in found)


def test_functions_are_shared_by_the_splits_where_problems_are_held_out():
    functions = [{one.function for one in drawn(split, 400, held_out="problems")} for split in ("train", "test")]
    assert functions[0] & functions[1]


def test_the_same_options_give_the_same_tasks_and_others_give_others():
    assert small().fingerprints() == small().fingerprints()
    for other in (
        {"seed": 1},
        {"families": ("lists",)},
        {"steps": 2},
        {"examples": 3},
        {"tests": 5},
        {"held_out": "functions"},
    ):
        assert small(**other).fingerprints()["test"] != small().fingerprints()["test"]


def test_only_the_families_that_were_asked_for_are_drawn():
    assert {task.problem.text.split("\n")[0] for task in small(families=("lists",)).train} == {
        "Write a Python function f(xs) with"
    }
    assert len({task.problem.text.split("\n")[0] for task in small(families=EVERY).train}) == 3


def test_a_task_is_judged_by_the_judge_that_was_given():
    async def judge(answer, key):
        return RIGHT if answer == "good" and json.loads(key)["kind"] == "call" else WRONG

    task = synthesis(judge=judge, **SMALL).test[0]
    assert [asyncio.run(task.verify(answer)).reward for answer in ("good", "bad", None)] == [1.0, 0.0, 0.0]


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_options_that_do_not_give_that_many_problems_are_refused(split, monkeypatch):
    monkeypatch.setattr(sys.modules[synthesis.__module__], "_TRIES_PER_TASK", 1)
    few = {"train": 1, "validation": 1, "test": 1, split: 6000}
    with pytest.raises(TaskError, match=rf"^synthesis: 6000 distinct {split} problems .* these options give \d+$"):
        small(families=("numbers",), steps=1, held_out="functions", **few)


@pytest.mark.parametrize("family", EVERY)
def test_the_source_of_a_function_does_what_the_function_does(family):
    functions = list(table(family).functions.values())
    source = random.Random(0)
    longer = [Function(FAMILIES[family], one) for one in source.sample(FAMILIES[family].compositions(3), 200)]
    for function in [*functions, *(one for one in longer if behaviour(one) is not None)]:
        for text in (function.expression(), function.lines()):
            scope: dict[str, object] = {}
            exec(text, scope)
            for value in function.family.inputs[:12]:
                found = scope["f"](list(value) if isinstance(value, tuple) else value)
                assert loaded(found) == function(value), text


def test_expressions_have_the_parentheses_they_need_and_no_others():
    def written(family, *names):
        known = {one.name: one for one in (*FAMILIES[family].operations, *FAMILIES[family].endings)}
        return Function(FAMILIES[family], tuple(known[name] for name in names)).expression().partition("return ")[2]

    assert written("numbers", "add 3", "times 2") == "(n + 3) * 2"
    assert written("numbers", "times 2", "at most 5") == "min(n * 2, 5)"
    assert written("strings", "reverse", "begin with a", "take 2") == "('a' + s[::-1])[:2]"
    assert written("strings", "twice", "sort") == "''.join(sorted(s * 2))"
    assert written("lists", "sort", "take 2", "add 1") == "[x + 1 for x in sorted(xs)[:2]]"
