"""Every key that is read out of data is one that a right answer can equal, or an error that names its place."""

import asyncio
import datetime
import json
import time
from decimal import Decimal

import numpy as np
import polars as pl
import pytest

from counterpoint.errors import TaskError
from counterpoint.options import Spec
from counterpoint.tasks import load_tasks
from counterpoint.tasks._answers import key_of
from counterpoint.tasks._choices import choices_of, named_in
from counterpoint.tasks._written import answer_in_text
from counterpoint.tasks.base import task_of
from counterpoint.tasks.mathematics.task import mathematics
from counterpoint.tasks.questions import questions

FILLER = [{"question": f"What is {number} + 1?", "answer": str(number + 1)} for number in range(60)]


def jsonl(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def among_others(path, *rows):
    return jsonl(path, [*rows, *FILLER])


def task_for(splits, begin):
    return next(task for task in splits.every() if task.problem.text.startswith(begin))


def right(task, answer):
    return asyncio.run(task.verify(answer)).reward == 1.0


@pytest.mark.parametrize(
    ("value", "key"),
    [
        (5, "5"),
        (True, "true"),
        (0.1, "0.1"),
        (5.0, "5"),
        (-0.5, "-0.5"),
        (1e-05, "0.00001"),
        (1e22, "10000000000000000000000"),
        (1.5e300, "15" + "0" * 299),
        (Decimal("1.50"), "1.50"),
        (Decimal("1E-7"), "0.0000001"),
        (np.float32(0.1), "0.1"),
        (np.float32(1e-05), "0.00001"),
        (np.float16(0.1), "0.1"),
        (np.float64(0.1), "0.1"),
        (np.int64(7), "7"),
        (np.float32(16777216), "16777216"),
        ("1e-05", "1e-05"),
    ],
    ids=repr,
)
def test_a_number_has_the_fewest_digits_of_its_own_type_and_no_exponent(value, key):
    assert key_of(value) == key


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (float("nan"), "is nan, which no answer can equal"),
        (float("-inf"), "is -inf, which no answer can equal"),
        (np.float32("nan"), "is nan, which no answer can equal"),
        (Decimal("Infinity"), "is Infinity, which no answer can equal"),
        (None, "is empty"),
        (" ", "is empty"),
        (10**1000, "is a number of more than 1000 digits"),
        (-(10**5000), "is a number of more than 1000 digits"),
        (datetime.date(2020, 1, 1), "is date, not text or a number"),
        (b"5", "is bytes, not text or a number"),
        ({"a": 1}, "is dict, not text or a number"),
        (1 + 2j, "is complex, not text or a number"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_no_answer_can_equal_is_no_key(value, reason):
    with pytest.raises(TaskError, match=reason):
        key_of(value)


def test_the_longest_integer_is_a_key_and_a_longer_one_of_a_task_of_ones_own_is_an_error():
    assert key_of(10**1000 - 1) == "9" * 1000
    with pytest.raises(TaskError, match="the answer to 'k' is a number of more than 1000 digits"):
        task_of("k", 10**5000)


PARQUET = [
    (pl.Float32, 0.1, "0.1"),
    (pl.Float32, 1e-05, "0.00001"),
    (pl.Float16, 0.1, "0.1"),
    (pl.Float64, 5.0, "5"),
    (pl.Float64, 1e-05, "0.00001"),
    (pl.Int8, -5, "-5"),
    (pl.UInt64, 2**63, "9223372036854775808"),
    (pl.Decimal(10, 2), Decimal("1.50"), "1.50"),
    (pl.String, "1e-05", "1e-05"),
    (pl.List(pl.Float32), [0.1, 0.25], '["0.1", "0.25"]'),
    (pl.Boolean, False, "false"),
]


@pytest.mark.parametrize(("dtype", "value", "key"), PARQUET, ids=lambda value: str(value)[:20])
def test_a_key_out_of_parquet_is_the_number_that_was_written(tmp_path, dtype, value, key):
    path = tmp_path / "q.parquet"
    answers = pl.Series([value] * 61, dtype=dtype)
    pl.DataFrame({"question": ["k", *(row["question"] for row in FILLER)], "answer": answers}).write_parquet(path)
    task = task_for(questions(path=str(path)), "k")
    assert task.key == key
    assert all(right(task, answer) for answer in task.accepted or (task.key,))


def test_narrow_floats_inside_objects_have_their_own_digits_too(tmp_path):
    path = tmp_path / "q.parquet"
    inner = pl.Series([{"value": 0.1, "name": "a"}] * 61, dtype=pl.Struct({"value": pl.Float32, "name": pl.String}))
    pl.DataFrame({"question": ["k", *(row["question"] for row in FILLER)], "a": inner}).write_parquet(path)
    assert task_for(questions(path=str(path), answer="a.value"), "k").key == "0.1"


@pytest.mark.parametrize(
    ("written", "answers"),
    [
        ("1e-05", ("0.00001", "1e-5", "1/100000")),
        ("0.1", ("0.1", "1/10", "0.10")),
        ("5.0", ("5", "5.0")),
        ("1e22", ("1" + "0" * 22,)),
        ("9" * 1000, ("9" * 1000,)),
        ('"' + "9" * 5000 + '"', ("9" * 5000,)),
        ("-0.0", ("0",)),
        ("[1, 2]", ("1", "2")),
    ],
    ids=lambda value: str(value)[:20],
)
def test_a_number_of_json_is_answered_by_what_equals_it(tmp_path, written, answers):
    path = tmp_path / "q.jsonl"
    path.write_text(f'{{"question": "k", "answer": {written}}}\n' + "".join(json.dumps(row) + "\n" for row in FILLER))
    task = task_for(questions(path=str(path)), "k")
    assert all(right(task, answer) for answer in answers)
    assert not right(task, "7")


@pytest.mark.parametrize("member", [questions, mathematics])
@pytest.mark.parametrize(
    "written", ["NaN", "-Infinity", "1e400", "null", '" "', "1" * 5000, '{"a": 1}'], ids=lambda v: v[:9]
)
def test_a_number_of_json_that_nothing_equals_is_named_with_file_line_and_column(tmp_path, member, written):
    path = tmp_path / "q.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in FILLER) + f'{{"question": "k", "answer": {written}}}\n')
    options = {"problem": "question"} if member is mathematics else {}
    with pytest.raises(TaskError, match=r"q\.jsonl, line 61 cannot be used: column 'answer' is"):
        member(path=str(path), **options)


@pytest.mark.parametrize("answer", [r"\frac{1", "}{", "$", "nan", "9" * 5000, "."])
def test_a_mathematical_key_that_no_box_can_hold_is_refused_with_its_line_or_left_out(tmp_path, answer):
    path = among_others(tmp_path / "q.jsonl", {"question": "k", "answer": answer})
    with pytest.raises(TaskError, match=r"q\.jsonl, line 1 cannot be used: "):
        mathematics(path=path, problem="question")
    assert len([*mathematics(path=path, problem="question", invalid="skip").every()]) == 60


@pytest.mark.parametrize(
    ("judge", "key", "taken"),
    [
        ("number", "Paris", False),
        ("number", "1,204", True),
        ("number", "5 cm", False),
        ("number", "9" * 500, False),
        ("number", "50%", True),
        ("text", "Paris", True),
        ("text", "9" * 5000, True),
        ("mathematics", "$", False),
        ("mathematics", r"\frac{1}{2}", True),
        ("mathematics", "Paris", True),
        ("mathematics", ".", False),
    ],
    ids=lambda value: str(value)[:20],
)
def test_every_key_is_tried_with_the_judge_that_the_recipe_names(tmp_path, judge, key, taken):
    path = among_others(tmp_path / "q.jsonl", {"question": "k", "answer": key})
    if taken:
        assert len([*load_tasks(Spec(name="questions", path=path), judge=Spec(name=judge)).every()]) == 61
        return
    with pytest.raises(
        TaskError, match=r"q\.jsonl, line 1: the judge does not accept its answer .* Of 61 tasks this h"
    ):
        load_tasks(Spec(name="questions", path=path), judge=Spec(name=judge))


def test_an_answer_that_a_pattern_cannot_read_back_is_refused_with_its_line(tmp_path):
    path = among_others(tmp_path / "q.jsonl", {"question": "k", "answer": "1.5"})
    with pytest.raises(
        TaskError, match=r"line 1 cannot be used: its answer '1\.5' can never be read with task\.pattern"
    ):
        questions(path=path, pattern=r"-?\d+", answer_format="Write only a number.")
    assert questions(path=path, pattern=r"-?[\d.]+", answer_format="Write only a number.")


def test_many_keys_are_tried_in_little_time(tmp_path):
    rows = [{"problem": f"What is {number}?", "answer": rf"\frac{{{number}}}{{7}}"} for number in range(2000)]
    path = jsonl(tmp_path / "q.jsonl", rows)
    began = time.perf_counter()
    mathematics(path=path, overlap="keep")
    assert time.perf_counter() - began < 4.0


# Worked solutions

SOLUTIONS = [
    ("He has 3 apples.\nSo <<3+4=7>>7.\n#### 7", "hashes", "7"),
    ("#### 1,204", "hashes", "1,204"),
    ("Two lines\n#### 3\nof which the last counts\n#### 4", "hashes", "4"),
    (r"We have $x = 2$, so the answer is $\boxed{2}$.", "box", "2"),
    (r"$x=\boxed{2}$", "box", "2"),
    (r"First $\boxed{1}$, then $\boxed{\frac12}$.", "box", r"\frac12"),
    (r"Hence $\boxed 7$ is right", "box", "7"),
    ("There are 3 dogs and 4 cats.\nThe answer is: 7", "sentence", "7"),
    ("Add the numbers in both rows. Answer: 12 cm.", "sentence", "12 cm"),
    ("Because the sky is blue, the final answer is Paris.", "sentence", "Paris"),
    ("We add all the numbers. So the answer is (B).", "sentence", "(B)"),
]


@pytest.mark.parametrize(("written", "setting", "answer"), SOLUTIONS)
def test_a_worked_solution_is_no_key_and_the_message_names_the_setting_that_reads_its_answer(written, setting, answer):
    with pytest.raises(
        TaskError, match=rf"is a whole solution .*: task\.answer_in = '{setting}' reads the answer there"
    ):
        answer_in_text(written, "")
    assert answer_in_text(written, setting) == answer
    assert answer_in_text(written, "text") == written


@pytest.mark.parametrize(
    "written",
    ["7", "The answer is 7", "Paris", "Answer: B", "(C)", r"\frac12", "#5", "a long answer of many words", "June 20"],
)
def test_an_answer_is_no_worked_solution(written):
    assert answer_in_text(written, "") == written


@pytest.mark.parametrize("written", [r"\boxed{2}", r"$\boxed{2}$.", r"\boxed 2", r" \boxed{ 2 } ", r"\fbox{2}"])
def test_a_box_with_nothing_beside_it_is_its_content(written):
    assert answer_in_text(written, "") == "2"


def test_the_file_of_gsm8k_is_read_with_the_setting_that_its_message_names(tmp_path):
    rows = [{"question": f"Q{n}?", "answer": f"It has {n} legs and one tail.\n#### {n + 1}"} for n in range(60)]
    path = jsonl(tmp_path / "gsm8k.jsonl", rows)
    for member, options in ((questions, {}), (mathematics, {"problem": "question"})):
        message = (
            r"gsm8k\.jsonl, line 1 cannot be used: column 'answer' is a whole solution that ends in '#### \.\.\.': task"
        )
        with pytest.raises(TaskError, match=message):
            member(path=path, **options)
        assert task_for(member(path=path, answer_in="hashes", **options), "Q3?").key == "4"


# Choices


@pytest.mark.parametrize(
    ("choices", "answer", "first", "label", "text"),
    [
        (["A)21", "B)22", "C)23"], "C", 0, "C", "23"),
        (["(A) 21", "(B) 22"], "B", 0, "B", "22"),
        (["Paris", "London", "Rome"], 1, 0, "B", "London"),
        (["Paris", "London", "Rome"], 1, 1, "A", "Paris"),
        (["Paris", "London", "Rome"], "2", 0, "C", "Rome"),
        (["Paris", "London", "Rome"], "(B)", 0, "B", "London"),
        (["Paris", "London", "Rome"], "rome.", 0, "C", "Rome"),
        ({"text": ["Paris", "London"], "label": ["1", "2"]}, "2", 0, "2", "London"),
        ({"text": ["Paris", "London"], "label": [1, 2]}, 1, 0, "1", "Paris"),
        ({"1": "Paris", "2": "London", "3": "Rome"}, 2, 0, "2", "London"),
        ({"A": "Paris", "B": "London"}, "A", 0, "A", "Paris"),
        ([{"label": "A", "text": "Paris"}, {"label": "B", "text": "London"}], "B", 0, "B", "London"),
        ("['A)21', 'B)22']", "B", 0, "B", "22"),
        ([3, 4, 5], 2, 0, "C", "5"),
        (["3", "4", "5"], "4", 0, "B", "4"),
    ],
    ids=str,
)
def test_a_choice_is_named_by_letter_number_or_text(choices, answer, first, label, text):
    found = choices_of(choices).keys(answer, first)
    assert found == (label, text, f"({label}) {text}")


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (
            2,
            "is .2., which is none of the choices: A to B, or a number from 0 to 1; task.first_choice = 1 counts",
        ),
        ("C", "is 'C', which is none of the choices: A to B, or a number from 0 to 1$"),
        (-1, "is '-1', which is none of the choices"),
        ("Berlin", "is 'Berlin', which is none"),
        (None, "is 'None', which is none"),
        (True, "is 'True', which is none"),
    ],
)
def test_an_answer_that_is_no_choice_is_refused(answer, message):
    with pytest.raises(TaskError, match=message):
        choices_of(["Paris", "London"]).keys(answer, 0)


def test_a_text_that_is_the_letter_of_another_choice_is_no_right_answer():
    assert choices_of(["B", "A"]).keys(0, 0) == ("A", "(A) B")


def test_questions_with_choices_show_them_and_take_the_letter_and_the_text(tmp_path):
    rows = [{"question": f"Q{n}?", "options": ["A)21", "B)22", "C)23"], "correct": "ABC"[n % 3]} for n in range(60)]
    path = jsonl(tmp_path / "aqua.jsonl", rows)
    with pytest.raises(TaskError, match=r"line 1 .* number of column 'options', .*task\.choices = 'options'"):
        questions(path=path, answer="correct")
    task = task_for(questions(path=path, answer="correct", choices="options"), "Q1?")
    assert task.problem.text == "Q1?\n(A) 21\n(B) 22\n(C) 23"
    assert [right(task, answer) for answer in ("B", "(B)", "22", "(B) 22", "A", "21", "(A) 22")] == [True] * 4 + [
        False
    ] * 3


def test_a_number_of_a_choice_that_the_question_does_not_show_is_refused(tmp_path):
    rows = [{"question": f"Q{n}?", "choices": ["Paris", "London"], "answer": n % 2} for n in range(60)]
    with pytest.raises(TaskError, match=r"of column 'choices', which the question does not show"):
        questions(path=jsonl(tmp_path / "mmlu.jsonl", rows))
    shown = [{**row, "question": f"{row['question']} Paris or London?", "answer": "London"} for row in rows]
    assert questions(path=jsonl(tmp_path / "shown.jsonl", shown))
    assert questions(path=jsonl(tmp_path / "meant.jsonl", rows), answer_in="text")
    values = [{**row, "choices": ["0", "1"]} for row in rows]
    assert questions(path=jsonl(tmp_path / "values.jsonl", values))


@pytest.mark.parametrize(
    ("key", "names"),
    [
        ("A) 21", ("A) 21", "A", "21")),
        ("(B) Paris", ("(B) Paris", "B", "Paris")),
        ("A. Smith", ("A. Smith",)),
        ("C", ("C",)),
    ],
)
def test_a_key_that_is_a_choice_with_its_text_is_also_its_letter_and_its_text(key, names):
    assert named_in(key) == names
