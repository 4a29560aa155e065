"""Every file is text in UTF-8, whatever the locale; what is not is named with its first wrong byte."""

import ast
import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from counterpoint import family
from counterpoint.errors import ConfigError, TaskError
from counterpoint.files import append_row, decoded, read_rows, write_whole
from counterpoint.options import Spec
from counterpoint.recipe import load_config
from counterpoint.tasks import load_tasks
from counterpoint.tasks.questions import questions

ROOT = Path(__file__).parent.parent
BOM = b"\xef\xbb\xbf"
FOLDERS = ("counterpoint", "scripts", "benchmarks")
TEXT = ("read_text", "write_text")
DESCRIPTORS = ("os", "engine", "Run", "webbrowser")
"""What has an `open` that opens no text file."""


def opened_in_text(call):
    """True if a call opens a file, or talks to a program, as text."""
    name = getattr(call.func, "id", getattr(call.func, "attr", ""))
    words = [one.value for one in [*call.args, *(key.value for key in call.keywords)] if isinstance(one, ast.Constant)]
    modes = [word for word in words if isinstance(word, str) and word and set(word) <= set("rwaxbt+")]
    of = getattr(getattr(call.func, "value", None), "id", "")
    if any(key.arg in ("text", "universal_newlines") for key in call.keywords) and of == "subprocess":
        return True
    if name in TEXT:
        return True
    return (
        name in ("open", "fdopen") and (of not in DESCRIPTORS or name == "fdopen") and not any("b" in m for m in modes)
    )


def without_encoding(source):
    calls = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    return [call for call in calls if opened_in_text(call) and not any(key.arg == "encoding" for key in call.keywords)]


@pytest.mark.parametrize("folder", FOLDERS)
def test_no_text_file_is_opened_in_the_encoding_of_the_locale(folder):
    found = [
        f"{file.relative_to(ROOT)}:{call.lineno}: {ast.unparse(call)[:80]}"
        for file in sorted((ROOT / folder).rglob("*.py"))
        for call in without_encoding(file.read_bytes())
    ]
    assert found == []


@pytest.mark.parametrize(
    ("source", "count"),
    [
        ("open('a')", 1), ("open('a', 'w')", 1), ("open('a', mode='a')", 1), ("open('a', 'rb')", 0),
        ("path.open()", 1), ("path.open('wb')", 0), ("path.read_text()", 1), ("path.write_text(x)", 1),
        ("path.read_text(encoding='utf-8')", 0), ("os.open('a', os.O_RDONLY)", 0), ("os.fdopen(1, 'w')", 1),
        ("os.fdopen(1, 'rb')", 0), ("subprocess.run(x, text=True)", 1), ("path.read_bytes()", 0),
        ("subprocess.run(x, text=True, encoding='utf-8')", 0),
    ],
)  # fmt: skip
def test_a_file_that_is_opened_without_an_encoding_is_found(source, count):
    assert len(without_encoding(source)) == count


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"abc", "abc"),
        (BOM + b"abc", "abc"),
        ("größe 日本".encode(), "größe 日本"),
        (b"a\r\nb", "a\r\nb"),
        (BOM, ""),
        (b"", ""),
    ],
)
def test_text_is_read_without_its_byte_order_mark(data, text):
    assert decoded(data) == text


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("größe".encode("latin-1"), r"byte 0xf6 in line 1 is not UTF-8; save it as UTF-8"),
        ("a\nb\n\u20ac".encode("cp1252"), r"byte 0x80 in line 3 is not UTF-8"),
        (BOM + b"a\n\xff", r"byte 0xff in line 2 is not UTF-8"),
        (b"a\n" * 1000 + b"\xc3", r"byte 0xc3 in line 1001 is not UTF-8"),
        (b"\xed\xa0\x80", r"byte 0xed in line 1 is not UTF-8"),
        ("abc".encode("utf-16"), r"it begins with the mark of UTF-16; save it as UTF-8"),
        (b"\xfe\xff\x00a", r"it begins with the mark of UTF-16"),
        ("abc".encode("utf-32"), r"it begins with the mark of UTF-32"),
    ],
    ids=repr,
)
def test_what_is_not_utf_8_is_named_with_its_first_byte_and_line(data, message):
    with pytest.raises(ValueError, match=message):
        decoded(data)


RECIPE = '# größe\n[task]\nname = "questions"\npath = "größe.jsonl"\n\n[run]\nsteps = 3\n'
ROWS = [{"question": f"Wie groß ist {number} + 1 日本?", "answer": f"{number + 1} €"} for number in range(60)]


def written(folder, mark=b"", ends="\n"):
    folder.mkdir(exist_ok=True)
    (folder / "run.toml").write_bytes(mark + RECIPE.replace("\n", ends).encode())
    lines = "".join(json.dumps(row, ensure_ascii=False) + ends for row in ROWS)
    (folder / "größe.jsonl").write_bytes(mark + lines.encode())
    return folder / "run.toml"


@pytest.mark.parametrize(("mark", "ends"), [(BOM, "\n"), (b"", "\r\n"), (BOM, "\r\n")])
def test_a_recipe_and_its_data_may_have_a_byte_order_mark_and_other_line_ends(tmp_path, mark, ends):
    plain = load_config(written(tmp_path / "plain"))
    other = load_config(written(tmp_path / "other", mark, ends))
    assert other.run == plain.run
    assert load_tasks(other.task).fingerprints() == load_tasks(plain.task).fingerprints()


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16"])
def test_a_recipe_or_a_file_of_questions_in_another_encoding_is_an_error_of_one_line(tmp_path, encoding):
    recipe, data = tmp_path / "run.toml", tmp_path / "q.jsonl"
    recipe.write_bytes(RECIPE.encode(encoding))
    data.write_bytes('{"question": "größe", "answer": 1}\n'.encode(encoding))
    with pytest.raises(ConfigError, match=r"run\.toml is not TOML: (byte 0xf6 in line 1|it begins with the mark)"):
        load_config(recipe)
    with pytest.raises(TaskError, match=r"q\.jsonl is not UTF-8 text: (byte 0xf6 in line 1|it begins with the mark)"):
        questions(path=str(data))


@pytest.mark.parametrize("name", ["q.csv", "q.tsv", "q.json", "q.jsonl"])
def test_every_kind_of_text_file_may_have_a_byte_order_mark(tmp_path, name):
    between = "\t" if name.endswith("tsv") else ","
    table = "".join(f'"{row["question"]}"{between}{row["answer"]}\r\n' for row in ROWS)
    lines = "\r\n".join(json.dumps(row, ensure_ascii=False) for row in ROWS)
    text = {"q.json": json.dumps(ROWS, ensure_ascii=False), "q.jsonl": lines}.get(
        name, f"question{between}answer\r\n{table}"
    )
    (tmp_path / name).write_bytes(BOM + text.encode())
    found = questions(path=str(tmp_path / name))
    assert {task.problem.text for task in found.every()} == {row["question"] for row in ROWS}


def test_a_module_of_ones_own_may_have_a_byte_order_mark(tmp_path):
    text = '# größe\ndef tasks():\n    return [(f"größe {n}?", n) for n in range(60)]\n'
    (tmp_path / "marked_tasks.py").write_bytes(BOM + text.encode())
    family.look_in(tmp_path)
    try:
        task = load_tasks(Spec(name="marked_tasks:tasks")).train[0]
        assert task.problem.text.startswith("größe ")
        assert asyncio.run(task.verify(task.key)).reward == 1.0
    finally:
        family._folders.remove(str(tmp_path.resolve()))


UNDER_ANY_LOCALE = """
import sys
from pathlib import Path
from counterpoint.files import append_row, read_rows, write_whole
from counterpoint.recipe import load_config
from counterpoint.tasks import load_tasks
folder = Path(sys.argv[1])
splits = load_tasks(load_config(folder / "run.toml").task)
write_whole(folder / "out.txt", splits.train[0].problem.text)
append_row(folder / "rows.jsonl", {"text": splits.train[0].problem.text})
assert read_rows(folder / "rows.jsonl")[0]["text"] == splits.train[0].problem.text
"""


def test_files_are_the_same_under_an_ascii_locale(tmp_path):
    written(tmp_path)
    (tmp_path / "run.toml").write_text(RECIPE.replace("größe.jsonl", "plain.jsonl"), encoding="utf-8")
    (tmp_path / "größe.jsonl").rename(tmp_path / "plain.jsonl")
    ascii_only = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    strict = ["-X", "warn_default_encoding", "-W", "error::EncodingWarning:counterpoint"]
    command = [sys.executable, *strict, "-c", UNDER_ANY_LOCALE, str(tmp_path)]
    done = subprocess.run(command, env={**os.environ, **ascii_only}, capture_output=True, timeout=120)
    assert done.returncode == 0, done.stderr.decode()
    assert (tmp_path / "out.txt").read_text(encoding="utf-8").startswith("Wie groß ist ")


def test_rows_and_texts_come_back_as_they_were_written(tmp_path):
    write_whole(tmp_path / "a.txt", "größe 日本")
    assert (tmp_path / "a.txt").read_bytes() == "größe 日本".encode()
    append_row(tmp_path / "a.jsonl", {"größe": "日本"})
    assert read_rows(tmp_path / "a.jsonl") == [{"größe": "日本"}]
