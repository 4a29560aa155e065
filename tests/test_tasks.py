"""Where problems come from: splits, generation, files, and the order in which a run meets them."""

import asyncio
import json
import re
from collections import Counter
from pathlib import Path

import pytest
from facts import make_task

from counterpoint.errors import ConfigError, TaskError
from counterpoint.options import Spec
from counterpoint.task import Problem, Score
from counterpoint.tasks import load_tasks
from counterpoint.tasks._splits import problem_id, split_of
from counterpoint.tasks.arithmetic import arithmetic, steps_of
from counterpoint.tasks.base import Splits, batch
from counterpoint.tasks.questions import questions

SMALL = {"operands": 2, "train": 40, "validation": 5, "test": 6}


def lines_file(path: Path, rows: list[object]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def sums(count: int) -> list[object]:
    return [{"question": f"What is {number} + 1?", "answer": number + 1} for number in range(count)]


def judged(task, answer):
    return asyncio.run(task.verify(answer)).reward


def test_a_problem_belongs_to_one_split_whatever_its_case_and_spacing():
    for number in range(50):
        text = f"What is {number} + 1?"
        assert split_of(text) == split_of(f"  what IS\n{number}  + 1? ")
        assert problem_id("x", text) == problem_id("x", text.upper())


def test_about_a_tenth_of_all_problems_is_held_out_for_each_purpose():
    found = Counter(split_of(f"problem number {number}") for number in range(10_000))
    assert found["validation"] == pytest.approx(1000, abs=120)
    assert found["test"] == pytest.approx(1000, abs=120)
    assert found["train"] == pytest.approx(8000, abs=160)


def test_no_problem_can_be_in_two_splits_whatever_the_seed():
    first, second = arithmetic(**SMALL, seed=1), arithmetic(**SMALL, seed=2)
    texts = {
        name: {task.problem.text for splits in (first, second) for task in splits.named()[name]}
        for name in ("train", "validation", "test")
    }
    assert not texts["train"] & texts["validation"]
    assert not texts["train"] & texts["test"]
    assert not texts["validation"] & texts["test"]
    assert all(split_of(text) == name for name, members in texts.items() for text in members)


def test_the_same_options_give_the_same_tasks_and_others_give_others():
    assert arithmetic(**SMALL).fingerprints() == arithmetic(**SMALL).fingerprints()
    assert arithmetic(**SMALL).train == arithmetic(**SMALL).train
    assert arithmetic(**SMALL).fingerprints()["test"] != arithmetic(**SMALL, seed=1).fingerprints()["test"]
    assert arithmetic(**SMALL).fingerprints()["test"] != arithmetic(**SMALL, high=31).fingerprints()["test"]


def test_the_tasks_of_a_recipe_are_those_of_every_earlier_release():
    prints = arithmetic(**SMALL).fingerprints()
    assert prints["test"] == "d57ee64b47a9783a3600a0c78410fa131659909a0c36ab7a3a907ae76abd47e6"


def test_a_fingerprint_sees_ids_texts_keys_and_order():
    def print_of(*tasks):
        others = {"validation": (make_task("v", id="v"),), "test": (make_task("w", id="w"),)}
        return Splits(train=tasks, **others).fingerprints()["train"]

    one, two = make_task("a", key="1", id="a"), make_task("b", key="2", id="b")
    prints = [
        print_of(one, two),
        print_of(two, one),
        print_of(make_task("a", key="2", id="a"), two),
        print_of(make_task("a!", key="1", id="a"), two),
        print_of(make_task("a", key="1", id="c"), two),
        print_of(one),
    ]
    assert len(set(prints)) == len(prints)


def test_every_arithmetic_key_is_what_python_computes():
    for task in arithmetic(**{**SMALL, "operands": 4, "high": 99}).train:
        expression = re.fullmatch(r"What is ([-+0-9 ]+)\?", task.problem.text)[1]
        assert int(task.key) == eval(expression)
        assert judged(task, task.key) == 1.0
        assert judged(task, str(int(task.key) + 1)) == 0.0


def test_arithmetic_never_goes_below_zero_on_the_way():
    for task in arithmetic(**{**SMALL, "operands": 5, "operators": "-+", "low": 0, "high": 9}).train:
        assert all(result >= 0 for *_, result in steps_of(task.problem.text))


def test_the_steps_of_a_problem_go_from_left_to_right():
    assert steps_of("What is 7 + 12 - 5?") == [(7, "+", 12, 19), (19, "-", 5, 14)]


def test_too_few_distinct_problems_is_an_error_that_says_how_many_there_are():
    with pytest.raises(TaskError, match=r"20 distinct train problems .* give [0-9]\b"):
        arithmetic(operands=2, low=1, high=2, train=20, validation=1, test=1)


def test_low_above_high_is_refused():
    with pytest.raises(TaskError, match="low=9 is above high=8"):
        arithmetic(low=9, high=8)


@pytest.mark.parametrize("twin", ["What is 1 + 1?", "what is  1 + 1? "])
def test_a_problem_in_two_splits_is_refused(twin):
    with pytest.raises(TaskError, match=r"'b', '\S.*', is in train \(number 1\) and again in test \(number 1\)"):
        Splits(train=(make_task(id="a"),), validation=(make_task("other", id="v"),), test=(make_task(twin, id="b"),))


def test_a_problem_twice_in_one_split_is_refused():
    with pytest.raises(TaskError, match=r"'b', '.*', is in train \(number 1\) and again in train \(number 2\)"):
        Splits(train=(make_task(id="a"), make_task(id="b")), validation=(make_task("v"),), test=(make_task("w"),))


def test_a_split_without_tasks_is_refused():
    with pytest.raises(TaskError, match="the test split has no tasks"):
        Splits(train=(make_task("a"),), validation=(make_task("v"),), test=())


TEN = tuple(make_task(str(number), id=str(number)) for number in range(10))


def ids(tasks):
    return [task.problem.id for task in tasks]


def test_each_task_comes_once_an_epoch_and_the_epochs_differ():
    epochs = [
        [name for step in range(1 + 5 * epoch, 6 + 5 * epoch) for name in ids(batch(TEN, step=step, size=2, seed=0))]
        for epoch in range(3)
    ]
    assert all(sorted(epoch) == ids(TEN) for epoch in epochs)
    assert len(set(map(tuple, epochs))) == 3


def test_a_batch_depends_on_the_seed_and_the_step_alone():
    wanted = {step: ids(batch(TEN, step=step, size=4, seed=3)) for step in range(1, 30)}
    for step in (29, 1, 17, 2):
        assert ids(batch(TEN, step=step, size=4, seed=3)) == wanted[step]
    assert [ids(batch(TEN, step=step, size=4, seed=4)) for step in wanted] != list(wanted.values())


@pytest.mark.parametrize("size", [3, 4, 6, 7, 9, 10])
def test_no_step_plays_a_task_twice_even_where_epochs_meet(size):
    for step in range(1, 60):
        assert len(set(ids(batch(TEN, step=step, size=size, seed=1)))) == size


def test_every_task_has_its_turn_when_the_size_does_not_divide_their_number():
    met = Counter(name for step in range(1, 301) for name in ids(batch(TEN, step=step, size=3, seed=1)))
    assert sorted(met) == ids(TEN)
    assert min(met.values()) > 70  # 90 expected


def test_more_tasks_a_step_than_there_are_is_an_error():
    with pytest.raises(TaskError, match=r"rollout.tasks_per_step = 11: the training split has only 10 tasks"):
        batch(TEN, step=1, size=11, seed=0)


def test_questions_come_from_a_file_each_in_the_split_of_its_text(tmp_path):
    splits = questions(path=str(lines_file(tmp_path / "sums.jsonl", sums(60))))
    every = [task for tasks in splits.named().values() for task in tasks]
    assert len(every) == 60
    for name, tasks in splits.named().items():
        assert all(split_of(task.problem.text) == name for task in tasks)
    for task in every:
        number = int(task.problem.text.split()[2])
        assert judged(task, str(number + 1)) == 1.0
        assert judged(task, str(number)) == 0.0
        assert judged(task, None) == 0.0


def test_the_columns_and_the_answer_format_of_questions_can_be_named(tmp_path):
    rows = [{"q": f"Who is {number}?", "a": f"Person {number}", "more": None} for number in range(60)]
    path = lines_file(tmp_path / "who.jsonl", rows)
    splits = questions(path=str(path), question="q", answer="a", answer_format=r"Name them in \boxed{}.")
    task = splits.train[0]
    assert task.problem.answer_format == r"Name them in \boxed{}."
    assert judged(task, f"  {task.key.upper()} ") == 1.0
    assert judged(task, "somebody") == 0.0


def test_questions_may_hold_any_character_that_json_may(tmp_path):
    path = tmp_path / "odd.jsonl"
    rows = [{"question": f"é\u2028π\u0085 {number} \U0001f600?", "answer": number} for number in range(60)]
    text = "\r\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    path.write_bytes(b"\xef\xbb\xbf" + text.encode() + b"\n\n")
    splits = questions(path=str(path))
    assert sum(map(len, splits.named().values())) == 60
    assert "\u2028" in splits.train[0].problem.text


def test_a_missing_file_of_questions_is_named():
    with pytest.raises(TaskError, match=r"'nowhere/q\.jsonl': there is no such file"):
        questions(path="nowhere/q.jsonl")


def test_an_empty_file_of_questions_is_named(tmp_path):
    path = tmp_path / "q.jsonl"
    path.write_text("\n\n")
    with pytest.raises(TaskError, match=r"q\.jsonl' is empty"):
        questions(path=str(path))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"question": "a", "answer": ', r"q\.jsonl, line 2 is not JSON"),
        ("[1, 2]", r"q\.jsonl, line 2 is not a JSON object"),
        ('{"question": "a"}', r"line 2 cannot be used: there is no column 'answer'; there are: question"),
        ('{"question": "  ", "answer": 1}', r"line 2 cannot be used: column 'question' is empty"),
        ('{"question": null, "answer": 1}', r"line 2 cannot be used: column 'question' is empty"),
        ('{"question": ["a"], "answer": 1}', r"line 2 cannot be used: column 'question' is list, not text"),
    ],
)
def test_a_malformed_line_of_questions_is_named(tmp_path, line, message):
    path = tmp_path / "q.jsonl"
    path.write_text('{"question": "What is 1?", "answer": 1}\n' + line + "\n")
    with pytest.raises(TaskError, match=message):
        questions(path=str(path))


def test_questions_that_are_not_text_are_named(tmp_path):
    path = tmp_path / "q.jsonl"
    path.write_bytes(b"\xff\xfe{}\n")
    with pytest.raises(TaskError, match=r"q\.jsonl is not UTF-8"):
        questions(path=str(path))


def test_too_few_questions_name_the_empty_split(tmp_path):
    path = lines_file(tmp_path / "q.jsonl", [{"question": "a", "answer": 1}])
    with pytest.raises(TaskError, match=r"too few questions: none falls into the (train|validation|test) split"):
        questions(path=str(path))


def test_a_repeated_question_is_refused(tmp_path):
    path = lines_file(tmp_path / "q.jsonl", [*sums(60), {"question": "what is 3  + 1?", "answer": 5}])
    with pytest.raises(TaskError, match=r"line 61 .*'what is 3 \+ 1\?' is also in .*, line 4, as .*'4', not '5'"):
        questions(path=str(path))


def test_a_recipe_names_its_tasks_and_their_options():
    splits = load_tasks(Spec(name="arithmetic", **SMALL))
    assert splits.fingerprints() == arithmetic(**SMALL).fingerprints()


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (Spec(name="aritmetic"), r"unknown task 'aritmetic'; did you mean 'arithmetic'\? allowed: .*questions"),
        (Spec(name="arithmetic", operand=3), r"'operand'; did you mean 'operands'\?"),
        (Spec(name="arithmetic", operands=9), r"task\.arithmetic\.operands = 9: .*less than or equal to 8"),
        (Spec(name="arithmetic", operands="3"), r"task\.arithmetic\.operands = '3': .*valid integer"),
        (Spec(name="arithmetic", operators="*"), r"task\.arithmetic\.operators = '\*'"),
        (Spec(name="questions"), r"either task\.path \(a \.jsonl.*\) or task\.dataset says where"),
    ],
)
def test_a_wrong_task_option_is_named(spec, message):
    with pytest.raises(ConfigError, match=message):
        load_tasks(spec)


@pytest.mark.parametrize("reward", [-0.1, 1.1, float("nan"), float("inf")])
def test_a_reward_outside_zero_to_one_is_refused(reward):
    with pytest.raises(TaskError, match="outside"):
        Score(reward=reward)


def test_neither_a_problem_nor_the_name_of_a_task_gives_the_key_away():
    task = make_task(key="the hidden key")
    assert "hidden" not in repr(task)
    assert set(Problem.__slots__) == {"id", "text", "answer_format", "extract"}
    assert not any("hidden" in str(getattr(task.problem, name)) for name in Problem.__slots__)


def test_an_id_belongs_to_one_problem():
    """By their ids episodes are joined with samples, and outcomes paired."""
    with pytest.raises(TaskError, match=r"the id 'a' belongs to two problems: 'one' and 'three'"):
        Splits(train=(make_task("one", id="a"),), validation=(make_task("two"),), test=(make_task("three", id="a"),))
