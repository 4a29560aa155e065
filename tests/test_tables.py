"""Tables that are Python objects as tasks: frames, lists of mappings, data sets of Hugging Face."""

import polars as pl
import pytest
from others import said_by

import counterpoint as cp
from counterpoint.errors import ConfigError, TaskError
from counterpoint.family import name_of
from counterpoint.options import Spec
from counterpoint.tasks import load_tasks
from counterpoint.tasks._tables import dataset_rows, is_table, table_rows

ROWS = [{"problem": f"What is {number} + 1?", "final_answer": str(number + 1), "page": number} for number in range(80)]


def tasks_of(data, **options):
    return load_tasks(Spec(name=name_of(data, "tasks"), **options))


class ClassLabel:
    names = ("odd", "even")

    def int2str(self, value):
        return self.names[value]


class Image:
    """As Hugging Face's datasets names the type of such a column."""


class Features(list):
    """Rows with features, as a data set of Hugging Face has them."""

    def __init__(self, rows, features):
        super().__init__(rows)
        self.features = features


@pytest.mark.parametrize("data", [pl.DataFrame(ROWS), pl.LazyFrame(ROWS), ROWS, tuple(ROWS)])
def test_a_table_gives_the_same_tasks_whatever_holds_it(data):
    tasks = tasks_of(data)
    assert tasks.fingerprints() == tasks_of(pl.DataFrame(ROWS)).fingerprints()
    assert {task.problem.text: task.key for task in tasks.every()}["What is 5 + 1?"] == "6"


def test_a_table_is_mathematics_or_programs_where_kind_says_so():
    mathematics = tasks_of(pl.DataFrame(ROWS), kind="mathematics")
    assert {task.problem.id.partition("-")[0] for task in mathematics.every()} == {"mathematics"}
    row = {"prompt": "def f(x):", "entry_point": "f", "test": "def check(f):\n    assert f(1) == 1\n"}
    programs = [{**row, "task_id": str(n), "prompt": f'def f(x):\n    """Give {n}."""\n'} for n in range(60)]
    assert tasks_of(programs, kind="programs", layout="humaneval").train[0].bounded


def test_columns_that_are_named_count_more_than_those_that_are_found():
    tasks = tasks_of(pl.DataFrame(ROWS), answer="page")
    assert {task.problem.text: task.key for task in tasks.every()}["What is 5 + 1?"] == "5"


def test_questions_with_answers_are_read_as_before():
    rows = [{"question": f"What is {number}?", "answer": number} for number in range(60)]
    assert not is_table(rows)
    assert tasks_of(rows).fingerprints() != tasks_of(rows, question="question").fingerprints()


@pytest.mark.parametrize(
    ("rows", "options", "error", "message"),
    [
        (ROWS, {"answer": "gold"}, TaskError, "no column 'gold'; there are: problem, final_answer, page"),
        ([{"text": "a", "answer": 1}], {}, TaskError, "no column 'question'; there are: text, answer"),
        ([{"problem": "a", "prompt": "b", "answer": "1"}], {}, TaskError, "'problem' and 'prompt': say with task.que"),
        ([*ROWS, {"problem": None, "final_answer": "1", "page": 0}], {}, TaskError, "row 81 .*'problem' is empty.*1;"),
        ([{"problem": "a\ud800", "answer": "1"}], {}, TaskError, r"'problem' holds half a character \('\\ud800'\)"),
        ([{"problem": "a", "answer": "\ud800"}], {}, TaskError, r"'answer' holds half a character \('\\ud800'\)"),
        (pl.LazyFrame(ROWS).select("gone"), {}, TaskError, "data cannot be read: ColumnNotFoundError: .*gone"),
        (ROWS, {"kind": "gym"}, ConfigError, "unknown task.kind 'gym'; allowed: mathematics, programs, questions"),
        (ROWS, {"path": "x"}, ConfigError, "the tasks are a Python object: task.path must be left out"),
        (ROWS, {"pages": "x"}, ConfigError, r"unknown key in \[task.questions\] 'pages'; allowed"),
    ],
)
def test_a_table_that_cannot_be_used_is_told_in_one_line(rows, options, error, message):
    with pytest.raises(error, match=message) as caught:
        tasks_of(pl.DataFrame(rows) if "pages" in options else rows, **options)
    assert "\n" not in str(caught.value)


def test_rows_without_a_question_are_left_out_and_counted_where_that_is_asked_for():
    tasks = tasks_of([*ROWS, {"problem": None, "final_answer": "1"}], invalid="skip")
    assert tasks.notes["rows_left_out"] == "1 of 81"


def test_labels_of_classes_are_their_names_and_media_are_refused():
    rows = Features([{"question": "a", "label": 1}, {"question": "b", "label": -1}], {"label": ClassLabel()})
    assert [row["label"] for _, row in dataset_rows(rows, "data")] == ["even", None]
    for feature in (Image(), [Image()], {"picture": Image()}):
        with pytest.raises(TaskError, match=r"column 'scan' holds images.*remove_columns\('scan'\)"):
            list(dataset_rows(Features([], {"scan": feature}), "data"))


def test_labels_and_narrow_numbers_are_as_a_person_writes_them_also_inside_lists_and_objects():
    narrow = type("Value", (), {"dtype": "float32"})()
    items = type("List", (), {"feature": ClassLabel()})()
    features = {"a": {"kind": ClassLabel(), "size": narrow}, "b": [{"kind": ClassLabel()}], "c": items, "d": narrow}
    tenth = 0.10000000149011612
    row = {"a": {"kind": 1, "size": tenth}, "b": {"kind": [0, 1]}, "c": [1], "d": tenth}
    ((_, read),) = dataset_rows(Features([row], features), "data")
    assert (read["a"]["kind"], read["b"], read["c"]) == ("even", {"kind": ["odd", "even"]}, ["even"])
    assert (str(read["a"]["size"]), str(read["d"])) == ("0.1", "0.1")


def test_a_narrow_number_of_a_frame_has_the_digits_of_its_own_type():
    rows = pl.DataFrame(ROWS).with_columns(answer=pl.lit(0.1, dtype=pl.Float32)).drop("final_answer")
    assert {task.key for task in tasks_of(rows).every()} == {"0.1"}


def test_what_a_stream_raises_is_told_in_one_line():
    class IterableDataset:
        __module__ = "datasets.iterable_dataset"
        features, split = None, None

        def __iter__(self):
            yield ROWS[0]
            raise OSError("the network is down\nfor now")

    with pytest.raises(TaskError, match=r"^data cannot be read: OSError: the network is down$"):
        tasks_of(IterableDataset())


def test_what_is_no_table_is_named():
    with pytest.raises(TaskError, match=r"task\.data is a int: allowed are a data set of Hugging Face"):
        list(table_rows(7))


def test_a_function_of_ones_own_may_return_a_table():
    assert tasks_of(lambda: pl.DataFrame(ROWS)).fingerprints() == tasks_of(ROWS).fingerprints()


def test_a_run_is_planned_on_a_frame_with_its_columns_named():
    plan = cp.dry_run("voting_arithmetic", 'task.answer="page"', tasks=pl.DataFrame(ROWS))
    assert {task.key for task in plan.setup.tasks.every()} == {str(number) for number in range(80)}


HUGGING_FACE = """
    import os
    import datasets
    from counterpoint.errors import CounterpointError
    from counterpoint.family import name_of
    from counterpoint.options import Spec
    from counterpoint.tasks import load_tasks

    datasets.disable_progress_bars()
    rows = [{"problem": f"What is {n} + 1?", "final_answer": str(n + 1), "kind": n % 2} for n in range(80)]
    features = {"problem": datasets.Value("string"), "final_answer": datasets.Value("string")}
    features["kind"] = datasets.ClassLabel(names=["even", "odd"])
    whole = datasets.Dataset.from_list(rows, features=datasets.Features(features))
    both = whole.train_test_split(0.2, seed=0)
    held = {row["problem"] for row in both["test"]}

    def tasks_of(data=None, **options):
        return load_tasks(Spec(**({"name": name_of(data, "tasks")} if data is not None else {}), **options))
"""


@pytest.mark.slow
def test_every_form_of_a_data_set_of_hugging_face_gives_the_same_tasks(tmp_path):
    said, narrow, others, twice = said_by(
        HUGGING_FACE
        + """
    forms = [whole, whole.to_iterable_dataset(), whole.to_pandas(), whole.to_polars(), whole.data.table, rows]
    print(len({str(tasks_of(data).fingerprints()) for data in forms}), tasks_of(whole, answer="kind").train[0].key)
    parts = [{"question": row["problem"], "answer": [0.5, n + 0.1]} for n, row in enumerate(rows)]
    list_of = datasets.List(datasets.Value("float32"))
    lists = datasets.Dataset.from_list(parts, datasets.Features(question=datasets.Value("string"), answer=list_of))
    frame = lists.to_pandas()
    frame["answer"] = frame["answer"].map(lambda pair: pair[1])
    twice = lists.data.table.append_column("answer", lists.data.table["answer"])
    print(tasks_of(lists).train[0].key, tasks_of(lists.to_pandas()).train[0].key)
    print(tasks_of(lists.data.table).train[0].key, tasks_of(frame).train[0].key)
    try:
        tasks_of(twice)
    except CounterpointError as error:
        print(error)
    """,
        tmp_path,
    )
    assert said == "1 even"
    assert (narrow, others) == ('["0.5", "0.1"] ["0.5", "0.1"]', '["0.5", "0.1"] 0.1')
    assert twice == "the data has two columns named 'answer'; rename one of them"


@pytest.mark.slow
def test_the_splits_of_a_data_set_are_kept_wherever_it_is_read_from(tmp_path):
    said = said_by(
        HUGGING_FACE
        + """
    both.save_to_disk("saved")
    os.mkdir("hub")
    for name in ("train", "test"):
        both[name].to_parquet(f"hub/{name}-00000-of-00001.parquet")
    for kind in ("questions", "mathematics"):
        named = datasets.DatasetDict(train=both["train"], b=both["test"])
        found = [
            tasks_of(both, kind=kind),
            tasks_of(name=kind, path="saved"),
            tasks_of(name=kind, dataset="hub"),
            tasks_of(named, kind=kind, splits={"train": "train", "test": "b"}),
        ]
        kept = all({task.problem.text for task in one.test} == held for one in found)
        print(kept, len({str(one.fingerprints()) for one in found}))
    """,
        tmp_path,
    )
    assert said == ["True 1", "True 1"]


@pytest.mark.slow
def test_data_sets_that_cannot_be_used_are_told_in_one_line(tmp_path):
    said = said_by(
        HUGGING_FACE
        + """
    pictures = datasets.Features({"question": datasets.Value("string"), "scan": datasets.Image()})
    for data, options in (
        (datasets.DatasetDict(train=whole, other=whole), {}),
        (datasets.Dataset.from_dict({"question": ["a"], "scan": [None]}, features=pictures), {}),
        (None, {"name": "questions", "dataset": "who/what", "revision": "abc"}),
    ):
        try:
            tasks_of(data, **options)
        except CounterpointError as error:
            print(error)
    """,
        tmp_path,
    )
    assert [line.partition(":")[0] for line in said] == [
        "data has the splits train, other",
        "data",
        "task.dataset = 'who/what'  at abc cannot be loaded",
    ]
