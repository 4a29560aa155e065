"""Mathematical problems: every set in the format in which it is published, splits, overlaps, and what is refused."""

import asyncio
import json
import sys
import types

import numpy as np
import polars as pl
import pytest

from counterpoint.errors import ConfigError, TaskError
from counterpoint.options import check_options
from counterpoint.tasks._overlap import overlapping
from counterpoint.tasks._splits import split_of
from counterpoint.tasks.mathematics.sets import SETS, read_row
from counterpoint.tasks.mathematics.task import mathematics, study_test

family = sys.modules[mathematics.__module__]


def statement(number):
    """A problem that shares no three words in a row with any other."""
    return f"problem{number} asks{number} what{number} is{number} {number} and{number} one"


def problems(count, begin=0, **columns):
    return [{"problem": statement(n), "answer": str(n + 1), **columns} for n in range(begin, begin + count)]


def lines(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def file_of(tmp_path, count=60, name="own.jsonl", begin=0):
    return lines(tmp_path / name, problems(count, begin))


def judged(splits, answer, task):
    async def entered():
        async with splits.judging:
            return await task.verify(answer)

    return asyncio.run(entered())


UPSTREAM = {
    "gsm8k": [
        {"question": f"{statement(n)}?", "answer": f"He has {n}+1=<<{n}+1={n + 1}>>{n + 1}.\n#### {n + 1:,}"}
        for n in range(990, 1050)
    ],
    "math_500": [
        {
            "problem": statement(n),
            "solution": rf"So $\boxed{{{n}}}$.",
            "answer": rf"\frac{{{n}}}{{7}}",
            "subject": "Algebra",
            "level": 2,
            "unique_id": f"test/algebra/{n}.json",
        }
        for n in range(60)
    ],
    "dapo_math": [
        {
            "prompt": statement(n),
            "solution": str(n),
            "data_source": "math_dapo",
            "source_prompt": [{"content": "...", "role": "user"}],
            "ability": "MATH",
            "reward_model": {"ground_truth": str(n), "style": "rule-lighteval/MATH_v2"},
            "extra_info": {"index": str(n)},
        }
        for n in range(60)
    ],
    "deepscaler": [{"problem": statement(n), "answer": rf"\sqrt{{{n}}}", "solution": ""} for n in range(60)],
    "aime_2024": [
        {"id": n, "problem": statement(n), "solution": "...", "answer": f"{n:03}", "url": "", "year": "2024"}
        for n in range(60)
    ],
    "aime_2025": [{"problem": statement(n), "answer": str(n), "id": str(n)} for n in range(60)],
    "amc": [{"id": n, "question": statement(n), "answer": float(n), "url": ""} for n in range(60)],
    "olympiad_bench": [
        {
            "id": n,
            "question": statement(n),
            "solution": ["..."],
            "final_answer": [f"${n},{n + 1}$"],
            "context": None,
            "is_multiple_answer": True,
            "unit": None,
            "answer_type": "Numerical",
            "error": None,
        }
        for n in range(60)
    ],
    "minerva": [{"question": statement(n), "answer": f"{n}e-3"} for n in range(60)],
}
UPSTREAM["gsm8k_test"] = UPSTREAM["gsm8k"]


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("suffix", ["jsonl", "json", "parquet"])
def test_every_known_set_is_read_in_the_format_in_which_it_is_published(tmp_path, name, suffix):
    rows = UPSTREAM[name]
    path = tmp_path / f"copy.{suffix}"
    if suffix == "parquet":
        pl.DataFrame(rows).write_parquet(path)
    else:
        path.write_text(json.dumps(rows) if suffix == "json" else "".join(json.dumps(row) + "\n" for row in rows))
    splits = mathematics(sets={"train": name}, copies={name: str(path)})
    tasks = [task for named in splits.named().values() for task in named]
    assert len(tasks) == 60
    assert all(task.problem.text.startswith("problem") and task.key for task in tasks)
    assert not any("#" in task.key or "<<" in task.key for task in tasks)


@pytest.mark.parametrize(
    ("name", "answer"),
    [("gsm8k", "1000"), ("math_500", r"\dfrac{9}{7}"), ("aime_2024", "9"), ("amc", "9"), ("olympiad_bench", "10, 9")],
)
def test_keys_of_known_sets_judge(tmp_path, name, answer):
    number = 999 if name == "gsm8k" else 9
    splits = mathematics(sets={"train": name}, copies={name: lines(tmp_path / "copy.jsonl", UPSTREAM[name])})
    tasks = [task for named in splits.named().values() for task in named]
    (task,) = [task for task in tasks if task.problem.text.startswith(f"problem{number} ")]
    assert judged(splits, answer, task).reward == 1.0
    assert judged(splits, "12345", task).reward == 0.0
    assert judged(splits, None, task).reward == 0.0


def test_a_folder_as_a_hub_stores_it_gives_the_split_of_the_set_alone(tmp_path):
    pl.DataFrame(UPSTREAM["gsm8k"]).write_parquet(tmp_path / "train-00000-of-00001.parquet")
    pl.DataFrame([{"question": "other", "answer": "#### 1"}]).write_parquet(tmp_path / "test-00000-of-00001.parquet")
    splits = mathematics(sets={"train": "gsm8k"}, copies={"gsm8k": str(tmp_path)})
    assert sum(len(tasks) for tasks in splits.named().values()) == 60


def test_columns_of_ones_own_file_can_have_any_name(tmp_path):
    rows = [{"frage": statement(n), "loesung": rf"Also \boxed{{{n}}}."} for n in range(60)]
    path = lines(tmp_path / "own.jsonl", rows)
    splits = mathematics(path=path, problem="frage", answer="loesung", answer_in="box")
    assert {task.key for tasks in splits.named().values() for task in tasks} == {str(n) for n in range(60)}


def test_a_problem_asks_for_a_box_and_reads_the_last(tmp_path):
    task = mathematics(path=file_of(tmp_path)).train[0]
    assert task.problem.answer_format == r"Write the final answer as \boxed{answer}."
    assert task.problem.extract(r"\boxed{1}, no: \boxed{\frac{1}{2}}") == r"\frac{1}{2}"
    assert task.bounded


def test_splits_depend_on_the_text_alone_and_are_the_same_every_time(tmp_path):
    rows = problems(100)
    one = mathematics(path=lines(tmp_path / "a.jsonl", rows))
    other = mathematics(path=lines(tmp_path / "b.jsonl", rows))
    assert one.fingerprints() == other.fingerprints()
    for split, tasks in one.named().items():
        assert tasks
        assert all(split_of(task.problem.text) == split for task in tasks)
    reversed_ = mathematics(path=lines(tmp_path / "c.jsonl", rows[::-1]))
    assert {task.problem.id for task in reversed_.test} == {task.problem.id for task in one.test}


def test_a_set_can_be_for_testing_alone(tmp_path):
    train, test = file_of(tmp_path, 60, "train.jsonl"), file_of(tmp_path, 7, "test.jsonl", begin=500)
    splits = mathematics(sets={"train": train, "test": test})
    assert len(splits.test) == 7
    assert len(splits.train) + len(splits.validation) == 60
    assert all(split_of(task.problem.text) == "validation" for task in splits.validation)
    both = mathematics(
        sets={"train": [train], "validation": [file_of(tmp_path, 5, "v.jsonl", begin=300)], "test": [test]}
    )
    assert [len(tasks) for tasks in both.named().values()] == [60, 5, 7]


def test_the_files_of_a_folder_are_splits_by_their_names_or_as_the_recipe_says(tmp_path):
    (tmp_path / "data").mkdir()
    file_of(tmp_path / "data", 60, "train.jsonl")
    file_of(tmp_path / "data", 7, "test.jsonl", begin=500)
    folder = str(tmp_path / "data")
    splits = mathematics(path=folder)
    assert len(splits.test) == 7
    assert len(splits.train) + len(splits.validation) == 60
    with pytest.raises(ConfigError, match=r"task\.sets\.train = .*: its file 'test' is test by its name"):
        mathematics(sets={"train": folder})
    file_of(tmp_path / "data", 5, "other.jsonl", begin=600)
    named = mathematics(path=folder, splits={"train": "train", "test": "other"})
    assert len(named.test) == 5
    with pytest.raises(ConfigError, match=r"^task\.splits = .*different ones"):
        mathematics(path=folder, splits={"train": "train", "validation": "test", "test": "test"})
    with pytest.raises(ConfigError, match=r"^task\.sets must be left out"):
        mathematics(sets={"train": folder}, splits={"train": "train"})


def test_counts_keep_a_part_that_the_seed_draws(tmp_path):
    path = file_of(tmp_path, 200)
    one = mathematics(path=path, train=20, validation=3, test=4)
    assert [len(tasks) for tasks in one.named().values()] == [20, 3, 4]
    assert one.fingerprints() == mathematics(path=path, train=20, validation=3, test=4).fingerprints()
    assert one.fingerprints() != mathematics(path=path, train=20, validation=3, test=4, seed=1).fingerprints()
    everything = {task.problem.id for task in mathematics(path=path).train}
    assert {task.problem.id for task in one.train} < everything


def test_the_split_of_the_study_is_12704_and_1412():
    tested = study_test(14_116)
    assert len(tested) == 1_412
    assert 14_116 - len(tested) == 12_704
    assert tested == study_test(14_116)
    assert tested <= {*range(14_116)}
    generator = np.random.Generator(np.random.PCG64(42))
    assert tested == {*generator.permutation(14_116)[:1_412].tolist()}
    # As datasets splits ten rows: the first of this permutation is what it tests on.
    assert np.random.default_rng(42).permutation(10).tolist() == [5, 6, 0, 7, 3, 2, 4, 9, 1, 8]
    assert study_test(10) == {5}


def test_the_study_tests_on_its_rows_whatever_their_text(tmp_path, monkeypatch):
    monkeypatch.setattr(family, "_STUDY_ROWS", 60)
    copies = {"dapo_math": lines(tmp_path / "copy.jsonl", UPSTREAM["dapo_math"])}
    splits = mathematics(sets={"train": "dapo_math"}, copies=copies, split="study")
    assert {int(task.key) for task in splits.test} == study_test(60)
    assert len(splits.train) + len(splits.validation) == 54
    named = {"train": "dapo_math", "validation": file_of(tmp_path, 5, "v.jsonl", begin=300)}
    splits = mathematics(sets=named, copies=copies, split="study")
    assert [len(tasks) for tasks in splits.named().values()] == [54, 5, 6]


def test_the_study_is_of_one_set_with_so_many_rows(tmp_path):
    copies = {"dapo_math": lines(tmp_path / "copy.jsonl", UPSTREAM["dapo_math"])}
    with pytest.raises(TaskError, match="14,116 rows of dapo_math, but there are 60"):
        mathematics(sets={"train": "dapo_math"}, copies=copies, split="study")
    for sets in ({"train": "gsm8k"}, {"train": "dapo_math", "test": "aime_2024"}):
        with pytest.raises(ConfigError, match="'study' divides dapo_math alone"):
            mathematics(sets=sets, split="study")


LONG = "a train leaves the station at noon and meets another one that left at ten how far did"


def test_runs_of_words_overlap_whatever_the_signs_and_the_case():
    shout = LONG.upper().replace(" ", ", ")
    assert overlapping([f"{LONG} it go?"], [f"Once {shout} that go?"]) == {0: 0}
    assert overlapping([LONG], ["a train leaves the station at noon and meets another two"]) == {}
    assert overlapping(["What is 1 + 1?", "What is 1 + 2?"], ["what is 1, 1"]) == {0: 0}
    assert overlapping(["", "?!"], ["", "..."]) == {}
    assert overlapping([LONG], [LONG.replace("ten", "nine")], words=13) == {0: 0}
    assert overlapping([LONG], [LONG.replace("and", "or")], words=13) == {}


def slow_overlap(text, other, words):
    left, right = (one.casefold().replace("?", "").split() for one in (text, other))
    if min(len(left), len(right)) <= words:
        return left == right
    return any(
        left[i : i + words] == right[j : j + words]
        for i in range(len(left) - words + 1)
        for j in range(len(right) - words + 1)
    )


def test_overlaps_agree_with_a_slow_search():
    generator = np.random.default_rng(0)
    texts = [" ".join(generator.choice(["a", "b"], size=generator.integers(4, 9))) for _ in range(60)]
    others = [" ".join(generator.choice(["a", "b"], size=generator.integers(4, 9))) for _ in range(20)]
    found = overlapping(texts, others, words=3)
    for place, text in enumerate(texts):
        assert (place in found) == any(slow_overlap(text, other, 3) for other in others)


@pytest.fixture
def overlapping_files(tmp_path):
    """Of 60 problems for training one is that of the test, word for word, and one nearly."""
    train = [
        *problems(60),
        {"problem": f" {LONG.upper()} it go?", "answer": "1"},
        {"problem": LONG + " x", "answer": "2"},
    ]
    test = [*problems(3, begin=900), {"problem": f"{LONG} it  go?", "answer": "1"}]
    return {"train": lines(tmp_path / "train.jsonl", train), "test": lines(tmp_path / "test.jsonl", test)}


def test_overlaps_are_dropped_from_training_and_told(overlapping_files):
    splits = mathematics(sets=overlapping_files)
    assert len(splits.train) + len(splits.validation) == 60
    assert len(splits.test) == 4
    notes = splits.notes
    told = [notes[f"overlap_{split}_test"] for split in ("train", "validation")]
    assert sum(int(note.split()[0]) for note in told) == 2
    assert sum(int(note.split(", ")[1].split()[0]) for note in told) == 1


def test_overlaps_can_be_refused(overlapping_files):
    with pytest.raises(TaskError, match=r"overlap with test.*test.jsonl, line 4; task.overlap = 'drop'"):
        mathematics(sets=overlapping_files, overlap="refuse")


def test_overlaps_can_be_kept_but_never_the_same_text(overlapping_files):
    splits = mathematics(sets=overlapping_files, overlap="keep")
    assert len(splits.train) + len(splits.validation) == 61
    assert any(task.problem.text == LONG + " x" for task in (*splits.train, *splits.validation))


def test_without_overlaps_nothing_is_dropped_and_that_is_told(tmp_path):
    splits = mathematics(path=file_of(tmp_path), overlap="refuse")
    assert sum(len(tasks) for tasks in splits.named().values()) == 60
    notes = {name: note for name, note in splits.notes.items() if name.startswith("overlap")}
    assert {*notes} == {"overlap_validation_test", "overlap_train_test", "overlap_train_validation"}
    assert all(note.startswith("0 of ") for note in notes.values())


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"answer": "1"}, "there is no column 'problem'; there are: answer"),
        ({"problem": "x"}, "there is no column 'answer'"),
        ({"problem": "", "answer": "1"}, "column 'problem' is empty"),
        ({"problem": "x", "answer": "  "}, "column 'answer' is empty"),
        ({"problem": "x", "answer": None}, "column 'answer' is empty"),
        ({"problem": "x", "answer": True}, "column 'answer' is bool"),
        ({"problem": "x", "answer": []}, "column 'answer' is list"),
        ({"problem": "x", "answer": "NaN"}, "column 'answer' is NaN, which no answer can equal"),
        ({"problem": "x", "answer": 10**5000}, "is a number of more than 1000 digits"),
        ({"problem": "x", "answer": {"a": 1}}, "column 'answer' is dict"),
        ({"problem": "x", "answer": float("nan")}, "column 'answer' is nan"),
        ({"problem": "x", "answer": "1" * 1001}, "its answer has 1001 characters"),
    ],
)
def test_rows_that_cannot_be_used_say_why(row, reason):
    with pytest.raises(TaskError) as caught:
        read_row(row, problem="problem", answer="answer", answer_in="text")
    assert reason in str(caught.value)


@pytest.mark.parametrize(
    ("answer_in", "text", "key"),
    [
        ("text", " 42 ", "42"),
        ("hashes", "so #### 41\n#### 42 ", "42"),
        ("hashes", "so 42", None),
        ("hashes", "#### ", None),
        ("box", r"\boxed{1} and \boxed{\frac{1}{2}}", r"\frac{1}{2}"),
        ("box", "42", None),
    ],
)
def test_answers_are_read_from_where_they_are(answer_in, text, key):
    columns = {"problem": "x", "answer": text}
    if key is None:
        with pytest.raises(TaskError, match="has no answer"):
            read_row(columns, problem="problem", answer="answer", answer_in=answer_in)
    else:
        assert read_row(columns, problem="problem", answer="answer", answer_in=answer_in) == ("x", key)


def test_bad_rows_are_refused_with_their_place_or_left_out(tmp_path):
    rows = [
        *problems(60),
        {"problem": "x", "answer": ""},
        {"answer": "1"},
        {"problem": statement(3).upper(), "answer": "4"},
    ]
    path = lines(tmp_path / "own.jsonl", rows)
    with pytest.raises(TaskError, match=r"line 61 cannot be used: column 'answer' is empty. Of 63 rows .* 3 "):
        mathematics(path=path)
    splits = mathematics(path=path, invalid="skip")
    assert sum(len(tasks) for tasks in splits.named().values()) == 60
    with pytest.raises(TaskError, match="cannot be used"):
        mathematics(path=lines(tmp_path / "bad.jsonl", [{"problem": "x", "answer": ""}]), invalid="skip")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "has no rows"),
        ("{", "line 1"),
        ("[1]", "line 1 is not a JSON object"),
        (json.dumps({"problem": "x", "answer": "1"}), "no problem falls into the"),
    ],
)
def test_files_that_cannot_be_used_say_why(tmp_path, content, reason):
    (tmp_path / "own.jsonl").write_text(content)
    with pytest.raises(TaskError, match=reason):
        mathematics(path=str(tmp_path / "own.jsonl"))


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({}, "either task.path, or task.sets"),
        ({"path": "a.jsonl", "sets": {"train": "gsm8k"}}, "either task.path, or task.sets"),
        ({"sets": {"test": "gsm8k"}}, "train must have a set"),
        ({"sets": {"train": []}}, "train must have a set"),
        ({"sets": {"train": "gsm8k", "test": "gsm8k"}}, "no set may be named twice"),
        ({"sets": {"train": "gms8k"}}, "gsm8k"),
        ({"sets": {"train": "gsm8k"}, "copies": {"amc": "x"}}, "task.copies"),
        ({"sets": {"train": "gsm8k"}, "revisions": {"nothing": "x"}}, "task.revisions"),
    ],
)
def test_options_that_do_not_fit_are_refused(options, reason):
    with pytest.raises(ConfigError, match=reason):
        mathematics(**options)


@pytest.mark.parametrize("name", SETS)
def test_without_a_revision_or_a_copy_one_line_says_what_is_wanted_and_how_to_point_to_it(name):
    with pytest.raises(ConfigError) as caught:
        mathematics(sets={"train": name})
    message = str(caught.value)
    assert "\n" not in message
    assert SETS[name].hub in message
    assert f"task.revisions.{name}" in message
    assert f"task.copies.{name}" in message


def test_a_hub_is_asked_for_the_set_at_the_revision_and_its_failure_is_one_line(monkeypatch):
    asked = []

    def load_dataset(name, subset, *, revision):
        asked.append((name, subset, revision))
        if revision == "gone":
            raise ConnectionError("no route\nto host")
        return {"train": UPSTREAM["gsm8k"], "test": [{"question": "other", "answer": "#### 1"}]}

    monkeypatch.setitem(sys.modules, "datasets", types.SimpleNamespace(load_dataset=load_dataset))
    splits = mathematics(sets={"train": "gsm8k"}, revisions={"gsm8k": "abc"})
    assert asked == [("openai/gsm8k", "main", "abc")]
    assert sum(len(tasks) for tasks in splits.named().values()) == 60
    with pytest.raises(TaskError) as caught:
        mathematics(sets={"train": "gsm8k"}, revisions={"gsm8k": "gone"})
    assert "'openai/gsm8k' main at gone cannot be loaded: ConnectionError: no route; try again, or point" in str(
        caught.value
    )
    assert "task.copies.gsm8k at a local copy" in str(caught.value)


def test_without_the_package_one_line_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(ConfigError, match=r"pip install 'counterpoint\[data\]'`, or point task.copies.amc at a local"):
        mathematics(sets={"train": "amc"}, revisions={"amc": "abc"})


def test_a_missing_copy_is_named(tmp_path):
    with pytest.raises(TaskError, match=r"task.copies.amc = '.*nowhere.jsonl': there is no such file"):
        mathematics(sets={"train": "amc"}, copies={"amc": str(tmp_path / "nowhere.jsonl")})


def test_its_options_are_those_of_a_recipe(tmp_path):
    options = check_options("task.mathematics", mathematics, {"sets": {"train": ["amc"], "test": "aime_2024"}})
    assert options["overlap"] == "drop"
    for bad in ({"seconds": 0}, {"overlap": "never"}, {"sets": {"dev": "amc"}}, {"tolerance": 1.0}, {"unknown": 1}):
        with pytest.raises(ConfigError):
            check_options("task.mathematics", mathematics, {"path": "x", **bad})
