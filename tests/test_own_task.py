"""Task sets of the user's own, in a module or given as Python objects, and a judge that replaces that of any task."""

import asyncio
import os
import textwrap
import time

import pytest

from counterpoint import family
from counterpoint.errors import ConfigError, TaskError
from counterpoint.family import name_of
from counterpoint.judges.text import TextJudge
from counterpoint.options import Spec
from counterpoint.task import RIGHT, WRONG, Score
from counterpoint.tasks import load_tasks
from counterpoint.tasks._splits import split_of
from counterpoint.tasks.arithmetic import arithmetic
from counterpoint.tasks.base import Splits, task_of

SMALL = {"operands": 2, "train": 8, "validation": 4, "test": 4}
MODULE = textwrap.dedent("""\
    import time
    from counterpoint.tasks.base import Splits, task_of

    def sums(*, count: int = 60):
        return [(f"What is {number} + 1?", number + 1) for number in range(count)]

    def rows():
        return ({"question": question, "answer": answer} for question, answer in sums())

    def splits():
        return Splits(train=(task_of("a", "1"),), validation=(task_of("b", "1"),), test=(task_of("c", "1"),))

    def odd():
        return [*sums(), ("only a question",)]

    def nothing():
        return 3

    def broken():
        return [][0]

    def slowly(answer, key):
        if answer == "slow":
            time.sleep(1e9)
        return 0.5 if answer == key else 0.25

    def judged():
        return [task_of(question, answer, judge=slowly) for question, answer in sums()]

    ready = splits()

    def score(answer, key):
        return answer.startswith(key)

    def sees(answer, key, problem):
        return problem == f"What is {int(key) - 1} + 1?"
""")


@pytest.fixture(scope="module", autouse=True)
def module(tmp_path_factory):
    folder = tmp_path_factory.mktemp("own")
    (folder / "own_tasks.py").write_text(MODULE)
    family.look_in(folder)
    yield
    family._folders.remove(str(folder.resolve()))


def judged(splits, *pairs):
    """The scores of (task, answer) pairs, asked all at once."""

    async def run():
        async with splits.judging:
            return await asyncio.gather(*(task.verify(answer) for task, answer in pairs))

    return asyncio.run(run())


def load(name, judge="task", **options):
    return load_tasks(Spec(name=f"own_tasks:{name}", **options), judge=Spec(name=judge))


def every(splits):
    return [task for tasks in splits.named().values() for task in tasks]


def test_a_list_of_questions_is_divided_by_text_as_a_file_of_them_is():
    splits = load("sums", count=80)
    assert len(every(splits)) == 80
    assert all(split_of(task.problem.text) == name for name, tasks in splits.named().items() for task in tasks)
    assert load("sums", count=80).fingerprints() == splits.fingerprints()
    assert {task.problem.text: task.key for task in every(load("rows"))}["What is 7 + 1?"] == "8"


def test_a_task_needs_a_question_and_an_answer_only():
    task = task_of("What is 1 + 1?", 2)
    assert task.problem.extract(r"It is \boxed{2}.") == "2"
    assert task.problem.answer_format == r"Write the final answer as \boxed{answer}."
    assert task.problem.id == task_of(" what is 1 +  1?", 3).problem.id
    assert [asyncio.run(task.verify(answer)) for answer in ("2.0", "3", None)] == [RIGHT, WRONG, WRONG]
    with pytest.raises(TaskError, match="a task needs a text"):
        task_of(" ", 2)


def test_splits_and_lists_are_taken_as_they_are_by_name_and_as_objects():
    assert load("splits").fingerprints() == load("ready").fingerprints()
    given = load_tasks(Spec(name="own_tasks:ready")), load_tasks(Spec(name=name_of(load("ready"), "task")))
    assert all(isinstance(one, Splits) for one in given)
    tasks = [task_of(f"{number}?", number) for number in range(60)]
    assert len(every(load_tasks(Spec(name=name_of(tasks, "task"))))) == 60
    with pytest.raises(ConfigError, match="is an object and takes no options; count given"):
        load("ready", count=3)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        (
            "odd",
            {},
            r"task 'own_tasks:odd', number 61 is \('only a question',\): allowed are a Task, \(question, answer",
        ),
        ("nothing", {}, "task 'own_tasks:nothing' is 3, a int: allowed are Splits, or a list of tasks or of questions"),
        ("sums", {"count": 1}, r"has too few questions: none falls into the \w+ split, of 1 in all"),
        ("broken", {}, "task 'own_tasks:broken' raised IndexError: list index out of range"),
    ],
)
def test_what_is_no_set_of_tasks_is_refused(name, options, message):
    with pytest.raises(TaskError, match=message):
        load(name, **options)


def listed(answers):
    return Spec(name=name_of([(f"{number}?", answer) for number, answer in enumerate(answers)], "task"))


def test_a_worked_solution_is_no_answer_of_a_list_unless_a_judge_reads_it():
    spec = listed(f"Two and {number}.\n#### {number}" for number in range(60))
    with pytest.raises(
        TaskError, match=r"answer to '0\?' is a whole solution that ends in '#### \.\.\.'; give the answer"
    ):
        load_tasks(spec)
    assert len(every(load_tasks(spec, judge=Spec(name="own_tasks:score")))) == 60
    rows = [{"question": f"{number}?", "answer": f"Two.\n#### {number}"} for number in range(60)]
    with pytest.raises(TaskError, match=r"for a list of mappings, task\.answer_in = 'hashes'"):
        load_tasks(Spec(name=name_of(rows, "task")))
    read, kept = (load_tasks(Spec(name=name_of(rows, "task"), answer_in=one)) for one in ("hashes", "text"))
    assert read.train[0].key == "0"
    assert kept.train[0].key == "Two.\n#### 0"


@pytest.mark.parametrize("answer", [None, "", " "])
def test_a_task_needs_no_answer_if_a_judge_of_ones_own_needs_none(answer):
    spec = Spec(name=name_of([(f"Write a line about {number}.", answer) for number in range(60)], "tasks"))
    judge = Spec(name=name_of(lambda answer, key: len(answer) < 40, "judge"))
    assert {task.key.strip() for task in load_tasks(spec, judge=judge).every()} == {""}
    with pytest.raises(TaskError, match="has an empty answer; give one, or a judge that needs none"):
        load_tasks(spec)


def test_a_choice_that_the_question_of_a_list_does_not_show_is_refused():
    rows = [{"question": f"{number}?", "choices": ["no", "yes"], "answer": "B"} for number in range(60)]
    with pytest.raises(TaskError, match=r"its answer is a letter or a number of 'choices'.*task\.choices ="):
        load_tasks(Spec(name=name_of(rows, "task")))
    shown = load_tasks(Spec(name=name_of(rows, "task"), choices="choices"))
    assert shown.train[0].accepted == ("B", "yes", "(B) yes")


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ({"a", "b"}, "number 1: the answer to '0.' is set, not text, a number, or a list of several answers"),
        (b"5", "is bytes, not text"),
        (iter("ab"), "is str_(ascii_)?iterator, not text"),
        ("\ud800", r"the answer to '0\?' holds half a character \('.ud800'\)"),
    ],
)
def test_an_answer_that_is_no_text_is_refused_with_its_place(answer, message):
    with pytest.raises(TaskError, match=message):
        load_tasks(listed([answer] * 60))


def test_a_plain_judge_of_a_task_runs_where_it_can_be_killed(monkeypatch):
    monkeypatch.setattr("counterpoint.judges.function.judge._GRACE", 0.5)
    splits = load("judged")
    assert all(task.bounded for task in every(splits))
    task = splits.train[0]
    found = judged(splits, (task, task.key), (task, "other"), (task, None))
    assert [score.reward for score in found] == [0.5, 0.25, 0.0]


def test_many_tasks_may_have_functions_of_their_own():
    def scorer(worth):
        return lambda answer, key: worth

    tasks = [task_of(f"{number}?", number, judge=scorer(number / 100)) for number in range(60)]
    splits = load_tasks(Spec(name=name_of(tasks, "task")))
    found = judged(splits, *((task, "x") for task in every(splits)))
    assert [score.reward for score in found] == [int(task.key) / 100 for task in every(splits)]


def test_an_async_judge_of_a_task_stays_in_this_process():
    async def here(answer, key):
        return Score(reward=1.0, reason=str(os.getpid()))

    tasks = [task_of(f"{number}?", number, judge=here) for number in range(60)]
    splits = load_tasks(Spec(name=name_of(tasks, "task")))
    (found,) = judged(splits, (splits.train[0], "x"))
    assert found.reason == str(os.getpid())


@pytest.mark.parametrize(
    "task",
    [
        Spec(name="arithmetic", **SMALL),
        Spec(name="own_tasks:sums"),
        Spec(name="synthesis", train=8, validation=4, test=4),
    ],
)
def test_a_judge_of_the_recipe_takes_the_place_of_that_of_any_task(task):
    plain, splits = load_tasks(task), load_tasks(task, judge=Spec(name="own_tasks:score"))
    assert splits.fingerprints() == plain.fingerprints()
    one = splits.test[0]
    found = judged(splits, (one, one.key), (one, f"{one.key} and more"), (one, "~"), (one, None))
    assert [score.reward for score in found] == [1.0, 1.0, 0.0, 0.0]
    assert splits.judging.facts() == {"judge": "own_tasks:score"}


def test_a_judge_of_the_recipe_may_see_each_problem():
    splits = load("sums", judge="own_tasks:sees")
    assert [score.reward for score in judged(splits, *((task, "x") for task in every(splits)))] == [1.0] * 60


@pytest.mark.parametrize(
    ("judge", "key", "rewards"),
    [("text", "x", [1.0, 1.0]), ("number", "8", [1.0, 0.0]), ("mathematics", "x", [1.0, 1.0])],
)
def test_shipped_judges_can_be_named_too(judge, key, rewards):
    tasks = [task_of("first", "7"), task_of("second", key), *(task_of(f"{number}?", 1) for number in range(60))]
    splits = load_tasks(Spec(name=name_of(tasks, "task")), judge=Spec(name=judge))
    by_text = {task.problem.text: task for task in every(splits)}
    assert [score.reward for score in judged(splits, (by_text["first"], "7.0"), (by_text["second"], "x"))] == rewards


def test_a_key_that_the_named_judge_would_not_accept_is_an_error():
    tasks = [task_of("second", "x"), *(task_of(f"{number}?", 1) for number in range(60))]
    with pytest.raises(TaskError, match=r"'second': the judge does not accept its answer 'x' as an answer to itself"):
        load_tasks(Spec(name=name_of(tasks, "task")), judge=Spec(name="number"))


def test_the_judge_of_its_own_is_what_a_task_has_by_default():
    spec = Spec(name="arithmetic", **SMALL)
    assert load_tasks(spec).train == arithmetic(**SMALL).train
    assert load_tasks(spec).train[0].judge is arithmetic(**SMALL).train[0].judge
    given = TextJudge()
    assert load_tasks(spec, judge=Spec(name=name_of(given, "judge"))).judging is given


def test_a_judge_that_hangs_holds_up_no_other_task():
    splits = load_tasks(Spec(name="own_tasks:sums"), judge=Spec(name="own_tasks:slowly", seconds=0.5))
    one, two = splits.train[:2]
    began = time.perf_counter()
    slow, quick = judged(splits, (one, "slow"), (two, two.key))
    assert (slow.reward, quick.reward) == (None, 0.5)
    assert time.perf_counter() - began < 30
