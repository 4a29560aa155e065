"""Questions from files: every kind of file, splits, several answers, and how an answer is read and judged."""

import asyncio
import gzip
import json
import textwrap
from pathlib import Path

import polars as pl
import pytest

from counterpoint import family
from counterpoint.errors import ConfigError, TaskError
from counterpoint.options import Spec
from counterpoint.tasks import load_tasks
from counterpoint.tasks._readings import readable
from counterpoint.tasks._splits import split_of
from counterpoint.tasks.base import splits_of, task_of
from counterpoint.tasks.questions import questions

SUMS = [(f"What is {number} + 1?", number + 1) for number in range(60)]
FEW = {"What is 7 + 1?": "8", "Is 7 odd?": "yes", "Where is Paris?": "France"}


def jsonl(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def rows_of(pairs, **more):
    return [{"question": question, "answer": answer, **more} for question, answer in pairs]


def every(splits):
    return [task for tasks in splits.named().values() for task in tasks]


def keys(splits):
    return {task.problem.text: task.key for task in every(splits)}


def right(task, answer):
    return asyncio.run(task.verify(answer)).reward == 1.0


def csv_of(pairs, delimiter=","):
    rows = [f'"{question}"{delimiter}{answer}' for question, answer in pairs]
    return "\n".join([f"question{delimiter}answer", *rows, ""])


WRITTEN = {
    "q.jsonl": "".join(json.dumps(row) + "\n" for row in rows_of(SUMS)).encode(),
    "q.json": json.dumps(rows_of(SUMS)).encode(),
    "data.json": json.dumps({"version": 1, "data": rows_of(SUMS)}).encode(),
    "q.csv": csv_of(SUMS).encode("utf-8-sig"),
    "Q.CSV": csv_of(SUMS).replace("\n", "\r\n").encode(),
    "q.tsv": csv_of(SUMS, "\t").encode(),
    "q.csv.gz": gzip.compress(csv_of(SUMS).encode()),
    "q.json.gz": gzip.compress(json.dumps(rows_of(SUMS)).encode()),
}


@pytest.mark.parametrize("name", WRITTEN)
def test_the_same_questions_are_the_same_tasks_in_every_kind_of_file(tmp_path, name):
    (tmp_path / name).write_bytes(WRITTEN[name])
    plain = questions(path=jsonl(tmp_path / "plain.jsonl", rows_of(SUMS)))
    assert questions(path=str(tmp_path / name)).fingerprints() == plain.fingerprints()


def test_questions_are_read_from_parquet_with_lists_of_answers(tmp_path):
    path = tmp_path / "q.parquet"
    pl.DataFrame({"question": [q for q, _ in SUMS], "answer": [[str(a), f"{a}.0!"] for _, a in SUMS]}).write_parquet(
        path
    )
    assert keys(questions(path=str(path)))["What is 3 + 1?"] == '["4", "4.0!"]'


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("q.csv", "question,answer\na,1,2\n", r"q\.csv, line 2 has 3 fields, but there are 2 columns"),
        ("q.csv", 'question,answer\n"a\nb",1\nc\n', r"q\.csv, line 4 has 1 fields"),
        ("q.csv", "question,question\na,1\n", r"q\.csv, line 1, which names the columns, has 'question' twice"),
        ("q.csv", 'question,answer\n"a,1\n', r"q\.csv, line 2 cannot be read: unexpected end of data"),
        ("q.csv", "question;answer\na;1\n", r"line 2 cannot be used: .*'question'; there are: question;answer"),
        ("q.csv", "question,answer\na,\n", r"q\.csv, line 2 cannot be used: column 'answer' is empty"),
        ("q.json", '{"rows": []}', r"q\.json is neither a JSON list of objects nor an object with such a list"),
        ("q.json", "[1]", r"q\.json, row 1 is not a JSON object"),
        ("q.txt", "a", r"task\.path = '.*q\.txt' is not a \.jsonl, \.json, \.csv, \.tsv"),
        ("q.jsonl", '{"question": "a", "answer": NaN}', r"line 1 cannot be used: column 'answer' is nan, which no"),
        ("q.jsonl", '{"question": "a", "answer": -Infinity}', r"column 'answer' is -inf, which no answer can equal"),
        ("q.jsonl", '{"question": "a", "answer": []}', r"column 'answer' is an empty list"),
        ("q.jsonl", '{"question": "a", "answer": ["b", null]}', r"column 'answer' is empty"),
        ("q.jsonl", '{"question": "a", "answer": {"b": 1}}', r"column 'answer' is dict, not text or a number"),
        ("q.jsonl", '{"question": "a", "answer": "{"}', r"its answer '\{' can never be read with task\.read = 'boxed'"),
        ("q.jsonl", '{"question": true, "answer": 1}', r"column 'question' is bool, not text or a number"),
        ("q.jsonl", '{"question": NaN, "answer": 1}', r"line 1 cannot be used: column 'question' is nan, which is no"),
        ("q.jsonl", f'{{"question": {"1" * 5000}, "answer": 1}}', r"column 'question' is a number of more than 1000"),
    ],
)
def test_what_is_wrong_with_a_file_is_said_with_its_line(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(TaskError, match=message):
        questions(path=str(tmp_path / name))


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ('["a", %s]' % ("1" * 5000), "column 'choices' is a number of more than 1000 digits"),
        (r'{"label": ["A", "B"], "text": ["a", "\ud800"]}', r"column 'choices' holds half a character \('\\ud800'\)"),
        (r'[{"label": "A", "text": "a"}, {"label": "B", "text": "\ud800"}]', "column 'choices' holds half a char"),
    ],
)
def test_a_choice_that_cannot_be_written_is_said_with_its_line(tmp_path, choices, message):
    (tmp_path / "q.jsonl").write_text(f'{{"question": "a", "choices": {choices}, "answer": 1}}\n')
    with pytest.raises(TaskError, match=f"line 1 cannot be used: {message}"):
        questions(path=str(tmp_path / "q.jsonl"), choices="choices")
    with pytest.raises(TaskError, match="has too few questions"):  # where the column is not asked for
        questions(path=str(tmp_path / "q.jsonl"))


def test_a_damaged_archive_is_named(tmp_path):
    path = tmp_path / "q.jsonl.gz"
    path.write_bytes(gzip.compress(b"x" * 1000)[:-20])
    with pytest.raises(TaskError, match=r"q\.jsonl\.gz cannot be read"):
        questions(path=str(path))


def test_numbers_and_truth_are_keys_as_they_are_written(tmp_path):
    odd = {"a": "0.10", "b": "1e-3", "c": "-12345678901234567890123", "d": "true", "e": '"TRUE "', "f": "1.0"}
    rows = [f'{{"question": "{name}", "answer": {value}}}' for name, value in odd.items()]
    path = tmp_path / "q.jsonl"
    path.write_text("\n".join([*rows, *map(json.dumps, rows_of(SUMS))]))
    splits = questions(path=str(path))
    found = keys(splits)
    assert {name: found[name] for name in odd} == {**odd, "e": "TRUE "}
    tasks = {task.problem.text: task for task in every(splits)}
    for name, answer in {"a": "0.1", "b": "0.001", "d": "True", "e": "true", "f": "1"}.items():
        assert right(tasks[name], answer)


def test_any_of_several_answers_is_right_and_the_key_lists_them(tmp_path):
    rows = [*rows_of(SUMS), {"question": "Capital?", "answer": ["Paris", "Lutetia, Gaul", 7]}]
    splits = questions(path=jsonl(tmp_path / "q.jsonl", rows))
    task = next(task for task in every(splits) if task.problem.text == "Capital?")
    assert task.key == '["Paris", "Lutetia, Gaul", "7"]'
    assert [right(task, answer) for answer in ("paris.", "Lutetia, Gaul", "7.0", "Gaul", task.key)] == [True] * 3 + [
        False
    ] * 2


def test_one_accepted_answer_in_a_list_is_a_plain_key(tmp_path):
    plain = questions(path=jsonl(tmp_path / "a.jsonl", rows_of(SUMS)))
    lists = questions(path=jsonl(tmp_path / "b.jsonl", rows_of((q, [a]) for q, a in SUMS)))
    assert lists.fingerprints() == plain.fingerprints()


def test_a_separator_divides_the_answers_of_a_table(tmp_path):
    path = tmp_path / "q.csv"
    path.write_text(csv_of([*SUMS, ("Colour?", "grey | gray")]))
    tasks = {task.problem.text: task for task in every(questions(path=str(path), separator="|"))}
    assert tasks["Colour?"].accepted == ("grey", "gray")
    assert right(tasks["Colour?"], "Gray.")
    path.write_text(csv_of([*SUMS, ("Colour?", "grey||gray")]))
    with pytest.raises(TaskError, match=r"line 62 cannot be used: column 'answer' has an empty answer"):
        questions(path=str(path), separator="|")


def test_a_column_inside_an_object_is_named_with_a_dot(tmp_path):
    rows = rows_of((q, {"text": [str(a)], "start": [3]}) for q, a in SUMS)
    splits = questions(path=jsonl(tmp_path / "q.jsonl", rows), answer="answer.text")
    assert splits.fingerprints() == questions(path=jsonl(tmp_path / "p.jsonl", rows_of(SUMS))).fingerprints()


def files_of_splits(folder):
    folder.mkdir()
    parts = {"train": SUMS[:40], "validation": SUMS[40:50], "test": SUMS[50:]}
    return {name: jsonl(folder / f"{name}.jsonl", rows_of(pairs)) for name, pairs in parts.items()}


def test_splits_may_be_files_of_their_own_or_a_column_or_the_names_of_the_files_in_a_folder(tmp_path):
    files = files_of_splits(tmp_path / "files")
    splits = questions(path=files["train"], validation=files["validation"], test=files["test"])
    assert {name: len(tasks) for name, tasks in splits.named().items()} == {"train": 40, "validation": 10, "test": 10}
    assert [task.key for task in splits.test] == [str(answer) for _, answer in SUMS[50:]]
    words = ["Train"] * 40 + ["dev"] * 10 + ["test"] * 10
    rows = [{**row, "set": word} for row, word in zip(rows_of(SUMS), words, strict=True)]
    by_column = questions(path=jsonl(tmp_path / "q.jsonl", rows), split="set")
    assert by_column.fingerprints() == splits.fingerprints()
    assert questions(path=str(tmp_path / "files")).fingerprints() == splits.fingerprints()


def test_a_split_that_nothing_names_is_taken_out_of_train_by_text(tmp_path):
    files = files_of_splits(tmp_path / "files")
    splits = questions(path=files["train"], test=files["test"])
    assert len(splits.test) == 10
    assert len(splits.train) + len(splits.validation) == 40
    assert all(split_of(task.problem.text) == "validation" for task in splits.validation)
    assert not any(split_of(task.problem.text) == "validation" for task in splits.train)


def test_a_folder_of_other_names_is_divided_by_text(tmp_path):
    (tmp_path / "all").mkdir()
    jsonl(tmp_path / "all" / "one.jsonl", rows_of(SUMS[:30]))
    jsonl(tmp_path / "all" / "two.jsonl", rows_of(SUMS[30:]))
    plain = questions(path=jsonl(tmp_path / "q.jsonl", rows_of(SUMS)))
    assert questions(path=str(tmp_path / "all")).fingerprints() == plain.fingerprints()
    jsonl(tmp_path / "all" / "test.jsonl", rows_of([("new", 1)]))
    with pytest.raises(TaskError, match="'test' is the name of a split, 'one' is not"):
        questions(path=str(tmp_path / "all"))


@pytest.mark.parametrize(
    "name", ["{}/0.jsonl", "a/{}/part/0.jsonl", "data/{}-00000-of-00001-a09b74b3ef9c3b56.jsonl", "{}/all.jsonl.gz"]
)
def test_folders_and_shards_that_are_named_after_splits_are_the_splits(tmp_path, name):
    files = files_of_splits(tmp_path / "files")
    for split, file in files.items():
        place = tmp_path / "all" / name.format(split)
        place.parent.mkdir(parents=True, exist_ok=True)
        text = Path(file).read_bytes()
        place.write_bytes(gzip.compress(text) if place.suffix == ".gz" else text)
    assert (
        questions(path=str(tmp_path / "all")).fingerprints() == questions(path=str(tmp_path / "files")).fingerprints()
    )
    if "all" in name:  # the name that the recipe has for a file counts more than that of its folder
        with pytest.raises(TaskError, match="has no split 'none'"):
            questions(path=str(tmp_path / "all"), splits={"train": "all", "test": "none"})


def test_files_that_seem_to_be_splits_are_not_divided_by_text(tmp_path):
    (tmp_path / "all").mkdir()
    for name, pairs in {"gsm_train": SUMS[:40], "gsm-Test-1": SUMS[40:]}.items():
        jsonl(tmp_path / "all" / f"{name}.jsonl", rows_of(pairs))
    with pytest.raises(TaskError, match=r"'gsm-Test-1' and 'gsm_train' seem to be different splits, .*task\.splits"):
        questions(path=str(tmp_path / "all"))
    splits = questions(path=str(tmp_path / "all"), splits={"train": "gsm_train", "test": "gsm-Test-1"})
    assert len(splits.test) == 20


def test_a_split_whose_rows_cannot_be_used_is_not_taken_out_of_train(tmp_path):
    train, none = jsonl(tmp_path / "a.jsonl", rows_of(SUMS)), jsonl(tmp_path / "b.jsonl", rows_of([("", 1), ("x", "")]))
    with pytest.raises(TaskError, match="none falls into the validation split"):
        questions(path=train, validation=none, invalid="skip")


def test_a_folder_of_several_splits_is_not_one_of_them(tmp_path):
    files_of_splits(tmp_path / "files")
    train = jsonl(tmp_path / "a.jsonl", rows_of([(f"new {number}", number) for number in range(60)]))
    with pytest.raises(
        ConfigError, match=r"task\.test = .*files' has the splits 'test' and 'train' and 'validation': na"
    ):
        questions(path=train, test=str(tmp_path / "files"))
    assert len(questions(path=train, test=str(tmp_path / "files" / "validation.jsonl")).test) == 10


def test_a_file_that_is_not_there_is_reported_with_its_place_and_its_neighbour(tmp_path):
    jsonl(tmp_path / "train.jsonl", rows_of(SUMS))
    with pytest.raises(
        TaskError, match=rf"no such file or folder; looked for {tmp_path}/trian\.jsonl; did you mean 'train"
    ):
        questions(path=str(tmp_path / "trian.jsonl"))


def test_what_a_split_column_says_must_be_a_split(tmp_path):
    path = jsonl(tmp_path / "q.jsonl", rows_of(SUMS, split="eval"))
    with pytest.raises(
        TaskError, match=r"line 1 cannot be used: column 'split' is 'eval'; allowed are train, validation"
    ):
        questions(path=path, split="split")
    with pytest.raises(ConfigError, match=r"task\.validation and task\.test must be left out"):
        questions(path=path, split="split", test=path)


def test_a_question_in_two_files_is_named_with_both_places_and_both_answers(tmp_path):
    files = files_of_splits(tmp_path / "files")
    jsonl(tmp_path / "files" / "test.jsonl", rows_of([("What is  3 + 1?", 5), ("new", 1)]))
    message = (
        r"train\.jsonl, line 4 cannot be used: its question 'What is 3 \+ 1\?' is also in .*test\.jsonl, line 1, as"
    )
    with pytest.raises(TaskError, match=message + r".* with another answer: '5', not '4'"):
        questions(path=files["train"], validation=files["validation"], test=files["test"])
    skipped = questions(path=files["train"], validation=files["validation"], test=files["test"], invalid="skip")
    assert len(skipped.train) == 39
    assert keys(skipped)["What is  3 + 1?"] == "5"
    assert skipped.notes["rows_left_out"] == "1 of 52"


def test_a_repeated_question_is_reported_before_an_empty_split(tmp_path):
    with pytest.raises(TaskError, match=r"line 2 cannot be used: its question 'a' is also in .*, line 1\. Of 2 rows"):
        questions(path=jsonl(tmp_path / "q.jsonl", rows_of([("a", 1), ("a", 1)])))


def test_too_few_questions_are_told_what_can_be_done(tmp_path):
    with pytest.raises(
        TaskError, match=r"unless task\.validation and task\.test name files .* or task\.split a column"
    ):
        questions(path=jsonl(tmp_path / "q.jsonl", rows_of(SUMS[:2])))


READ = [
    ({}, r"So \boxed{8}. Sure.", "8"),
    ({"read": "boxed"}, "8", None),
    ({"read": "last_line"}, "7 + 1\nis\n  8 \n\n", "8"),
    ({"read": "whole"}, " 8\n", "8"),
    ({"read": "whole"}, " \n", None),
    (
        {"pattern": r"^Answer:\s*(.+)$", "answer_format": "End with a line 'Answer: X'."},
        "Answer: 3\nAnswer: 8\nbye",
        "8",
    ),
    ({"pattern": r"-?\d+", "answer_format": "Write only a number."}, "7 and 1 are 8 in all", "8"),
    ({"pattern": r"<answer>(.*?)</answer>", "answer_format": "Put it in <answer> tags."}, "<answer> 8 </answer>", "8"),
    ({"pattern": r"####\s*(\S+)", "answer_format": "End with #### and the number."}, "It is\n#### 8", "8"),
]


@pytest.mark.parametrize(("options", "reply", "answer"), READ)
def test_an_answer_is_read_as_the_recipe_says(tmp_path, options, reply, answer):
    problem = questions(path=jsonl(tmp_path / "q.jsonl", rows_of(SUMS)), **options).train[0].problem
    assert problem.extract(reply) == answer
    assert problem.answer_format


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"answer_format": "Write Answer: X."},
            r"task\.answer_format = 'Write Answer: X\.' does not fit task\.read = 'b",
        ),
        ({"read": "last_line", "answer_format": r"Use \boxed{answer}."}, r"does not fit task\.read = 'last_line'"),
        (
            {"read": "whole", "answer_format": r"Use \boxed{answer}."},
            r"change task\.answer_format or task\.read \(boxed, ",
        ),
        (
            {"pattern": r"Result: (\d+)", "answer_format": "Write Answer: X."},
            r"does not fit task\.pattern: an answer such",
        ),
        ({"pattern": r"Answer: (\d+)"}, r"task\.answer_format is required with task\.read = 'pattern'"),
        ({"pattern": r"("}, r"task\.pattern = '\(' is not a regular expression: missing \)"),
        ({"pattern": r"a{99999999999}"}, r"is not a regular expression: the repetition number is too large"),
        ({"pattern": r"(a)(b)", "answer_format": "x"}, r"has 2 groups"),
        ({"read": "pattern"}, r"task\.pattern is required"),
        ({"read": "whole", "pattern": "x"}, r"task\.pattern must be left out"),
        (
            {"read": "box"},
            r"unknown task\.read 'box'; did you mean 'boxed'\? allowed: boxed, last_line, pattern, whole, or my_m",
        ),
    ],
)
def test_a_sentence_that_asks_for_an_answer_that_is_not_read_is_refused(tmp_path, options, message):
    with pytest.raises(ConfigError, match=message):
        questions(path=jsonl(tmp_path / "q.jsonl", rows_of(SUMS)), **options)


@pytest.fixture
def module(tmp_path):
    (tmp_path / "own_reading.py").write_text(
        textwrap.dedent("""\
            from counterpoint import task_of

            def after_colon(reply):
                return reply.rpartition(":")[2].strip() or None if ":" in reply else None

            def never(reply):
                return None

            def sums(**more):
                return [task_of(f"What is {number} + 1?", number + 1, **more) for number in range(300)]

            def told_boxes():
                return sums(extract=never)

            def told_otherwise():
                return sums(answer_format="Write Answer: X.")

            def unclear():
                return sums(answer_format="Say it.", extract=never)

            def agreed():
                return sums(answer_format="Write Answer: X.", extract=after_colon)

            number = 3
            """)
    )
    family.look_in(tmp_path)
    yield tmp_path
    family._folders.remove(str(tmp_path.resolve()))


def test_an_answer_may_be_read_by_a_function_of_the_users_own(module):
    path = jsonl(module / "q.jsonl", rows_of(SUMS))
    splits = questions(path=path, read="own_reading:after_colon", answer_format="Write Answer: X.")
    assert splits.train[0].problem.extract("So answer: 8") == "8"
    for options, message in [
        ({"read": "own_reading:after_colon"}, "answer_format is required"),
        ({"read": "own_reading:never", "answer_format": r"In \boxed{}."}, "asks for .* but no answer is read from one"),
        ({"read": "own_reading:number", "answer_format": "x"}, "is a int, not a function"),
        ({"read": "own_reading:nowhere", "answer_format": "x"}, "unknown name in own_reading 'nowhere'"),
    ]:
        with pytest.raises(ConfigError, match=message):
            questions(path=path, **options)


def test_tasks_of_ones_own_whose_format_and_reading_disagree_are_refused_or_warned_of(module):
    for name, message in {
        "told_boxes": r"asks for \\boxed\{...\}, but no answer is read from one",
        "told_otherwise": r"read from the last \\boxed\{...\}, but the answer format 'Write Answer: X\.' asks for none",
    }.items():
        with pytest.raises(TaskError, match=message):
            load_tasks(Spec(name=f"own_reading:{name}"))
    (warning,) = load_tasks(Spec(name="own_reading:unclear")).warnings()
    assert warning.startswith("no answer is read from the replies that 'Say it.' may ask for")
    assert load_tasks(Spec(name="own_reading:agreed")).warnings() == ()


def test_per_cent_is_a_fraction_only_if_the_recipe_says_so(tmp_path):
    path = jsonl(tmp_path / "q.jsonl", [*rows_of(SUMS), {"question": "Share?", "answer": "50%"}])
    for percent, wanted in ((False, [True, False, False]), (True, [True, True, False])):
        task = next(one for one in every(questions(path=path, percent=percent)) if one.problem.text == "Share?")
        assert [right(task, answer) for answer in ("50.0 %", "0.5", "50")] == wanted


def test_a_small_split_is_warned_of_with_its_standard_error(tmp_path):
    path = jsonl(tmp_path / "q.jsonl", rows_of(SUMS))
    splits = load_tasks(Spec(name="questions", path=path))
    first, second = splits.warnings()
    assert (len(splits.validation), len(splits.test)) == (2, 6)
    assert first.startswith(
        "the peak is chosen on 2 validation problems: the standard error of an accuracy is up to 35 points"
    )
    assert second.startswith("accuracy is reported on 6 test problems: ")
    assert splits.notes["task_warnings"] == f"{first}; {second}"
    large = load_tasks(Spec(name="arithmetic", train=4, validation=25, test=25))
    assert large.warnings() == ()
    assert "task_warnings" not in large.notes


def test_a_rehearsal_answers_as_the_problem_asks(tmp_path):
    problem = (
        questions(
            path=jsonl(tmp_path / "q.jsonl", rows_of(SUMS)),
            pattern="^Answer: (.*)$",
            answer_format="End with 'Answer: X'.",
        )
        .train[0]
        .problem
    )
    assert readable(problem, r"\boxed{1}") == "\\boxed{1}\nAnswer: 1"
    assert readable(problem, "Answer: 2") == "Answer: 2"


def test_the_best_score_of_several_accepted_answers_counts():
    def judge(answer, key):
        return {"a": 0.2, "b": None, "c": 1.0, "d": 0.7}[key]

    def scored(*accepted):
        return asyncio.run(task_of("?", list(accepted), judge=judge).verify("x")).reward

    assert [scored("a", "d"), scored("a", "c"), scored("b", "c"), scored("a", "b", "d")] == [0.7, 1.0, 1.0, None]


def test_lists_of_ones_own_take_the_same_answers_as_files():
    pairs = [("bool?", True), ("list?", ["x", 2]), ("float?", 0.5), *SUMS]
    splits = splits_of(pairs, "mine")
    found = keys(splits)
    assert (found["bool?"], found["list?"], found["float?"]) == ("true", '["x", "2"]', "0.5")
    with pytest.raises(TaskError, match=r"task 'mine', number 1: the answer to 'a' is nan, which no answer can equal"):
        splits_of([("a", float("nan"))], "mine")
    with pytest.raises(TaskError, match=r"number 3: its question 'B' is also in number 2, as 'b', with another answer"):
        splits_of([("a", 1), ("b", 1), ("B", 2)], "mine")


def test_the_files_of_a_folder_stay_the_splits_that_they_are_named_after_beside_a_file_of_validation(tmp_path):
    (tmp_path / "data").mkdir()
    jsonl(tmp_path / "data" / "train.jsonl", rows_of(SUMS[:40]))
    jsonl(tmp_path / "data" / "test.jsonl", rows_of(SUMS[50:]))
    own = jsonl(tmp_path / "own.jsonl", rows_of(SUMS[40:50]))
    expected = questions(**_of_own(files_of_splits(tmp_path / "files"))).fingerprints()
    folder = str(tmp_path / "data")
    assert questions(path=folder, validation=own).fingerprints() == expected
    splits = {"train": "train", "test": "test"}
    assert questions(path=folder, validation=own, splits=splits).fingerprints() == expected
    held = jsonl(tmp_path / "held.jsonl", rows_of([("new", 1)]))
    for options in ({}, {"splits": splits}):
        with pytest.raises(ConfigError, match=r"^task\.test = '.*held\.jsonl': .*data has a test split too, 'test'"):
            questions(path=folder, test=held, **options)
    jsonl(tmp_path / "data" / "more.jsonl", rows_of([("more", 1)]))
    with pytest.raises(TaskError, match=r"'test' is the name of a split, 'more' is not; .* task\.splits = "):
        questions(path=folder, validation=own)


def test_the_splits_of_a_data_set_stay_what_they_are_beside_a_file_of_validation(tmp_path):
    class DatasetDict(dict):
        __module__ = "datasets.dataset_dict"

    data = DatasetDict(train=rows_of(SUMS[:40]), test=rows_of(SUMS[50:]))
    splits = questions(data=data, validation=jsonl(tmp_path / "own.jsonl", rows_of(SUMS[40:50])))
    assert splits.fingerprints() == questions(**_of_own(files_of_splits(tmp_path / "files"))).fingerprints()


def _of_own(files):
    return {"path": files["train"], "validation": files["validation"], "test": files["test"]}


def test_no_split_of_the_data_is_named_twice(tmp_path):
    files_of_splits(tmp_path / "files")
    twice = {"train": "train", "validation": "test", "test": "test"}
    with pytest.raises(ConfigError, match=r"^task\.splits = .*different ones for validation and test"):
        questions(path=str(tmp_path / "files"), splits=twice)
