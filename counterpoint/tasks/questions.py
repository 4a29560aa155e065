"""Questions and answers from the user's own JSON Lines file."""

import json
from collections.abc import Iterator
from pathlib import Path

from counterpoint.errors import TaskError
from counterpoint.tasks._answers import BOXED_FORMAT
from counterpoint.tasks._splits import problem_id
from counterpoint.tasks.base import Splits, divided, task_of


def questions(
    *, path: str, question: str = "question", answer: str = "answer", answer_format: str = BOXED_FORMAT
) -> Splits:
    r"""One task per line of the file at `path`, whose columns `question` and `answer` hold text or numbers.

    An answer, read from the last `\boxed{...}` of a reply, is right if it is the same number or the same text as the
    key, up to case and white space. Which split a problem is in depends on its text alone: about 80 % are in train,
    10 % in validation, 10 % in test. Raises TaskError if the file is missing, empty, malformed, repeats a question, or
    leaves a split empty.
    """
    file = Path(path).expanduser()
    if not file.is_file():
        raise TaskError(f"task.path = {path!r}: there is no such file")
    tasks = []
    for number, row in _rows(file):
        text, key = (_text(file, number, row, column) for column in (question, answer))
        tasks.append(task_of(text, key, answer_format=answer_format, id=problem_id("question", text)))
    if not tasks:
        raise TaskError(f"{path} is empty: a task file needs at least one line")
    return divided(tasks, path)


def _rows(file: Path) -> Iterator[tuple[int, dict[str, object]]]:
    try:
        lines = file.read_text(encoding="utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise TaskError(f"{file} is not UTF-8 text: {error}") from error
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise TaskError(f"{file}, line {number} is not JSON: {error}") from error
        if not isinstance(row, dict):
            raise TaskError(f"{file}, line {number} is not a JSON object")
        yield number, row


def _text(file: Path, number: int, row: dict[str, object], column: str) -> str:
    value = row.get(column)
    if not isinstance(value, str | int | float) or not str(value).strip():
        raise TaskError(f"{file}, line {number}: column {column!r} is missing or empty; there are: {', '.join(row)}")
    return str(value)
