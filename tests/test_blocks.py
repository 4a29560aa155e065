"""The program in a reply: which block it is, where blocks stand, and how they are fenced."""

import random
import time

import pytest
from markdown_it import MarkdownIt

from counterpoint.tasks._fence import blocks, last_block, may_be_python, reader

PROGRAM = "n = int(input())\nif n:\n    print(2 * n)\n\nelse:\n\tprint(0)"
FENCE = "```"


def indented(text, by):
    return "\n".join(by + line if line else line for line in text.split("\n"))


def block(text, label="python", fence=FENCE, by=""):
    return indented(f"{fence}{label}\n{text}\n{fence}", by)


SAMPLES = {
    "a number": "8",
    "numbers": "1 2 3\n4 5 6",
    "one number per line": "1\n2",
    "a negative number": "-1",
    "a word": "YES",
    "words": "Hello, World!",
    "a list": "[1, 2, 3]",
    "a tuple": "(1, 'a')",
    "JSON": '{"a": 1, "b": [true, null]}',
    "an assignment": "x = 5",
    "an annotated name": "answer: 8",
    "a text": "'abc'",
    "True": "True",
    "a call of nothing that prints": "Counter({'a': 1})",
    "a shell command": "$ python3 main.py < input.txt",
    "a command without a prompt": "python3 main.py",
    "a command of one word": "ls",
    "a session": ">>> f(4)\n8",
    "an error": "Traceback (most recent call last):\n  ...\nValueError",
    "a comment": "# 8",
    "a table": "| n | 2n |\n| 4 | 8 |",
    "a formula": "2 * n",
}


@pytest.mark.parametrize("sample", SAMPLES.values(), ids=SAMPLES)
@pytest.mark.parametrize("label", ["python", ""])
def test_a_sample_beside_the_program_does_not_replace_it(label, sample):
    assert last_block(f"{block(PROGRAM, label)}\nFor 4:\n{block(sample, '')}") == PROGRAM
    assert last_block(f"{block(sample, '')}\nThe program:\n{block(PROGRAM, label)}\n") == PROGRAM
    assert last_block(f"{block(PROGRAM, label)}\nIn:\n{block(sample, '')}\nOut:\n{block('8', '')}") == PROGRAM


@pytest.mark.parametrize("sample", ["8", "[1, 2]", ">>> f(4)\n8", "x = 5", "answer: 8"])
def test_a_sample_that_is_labelled_as_python_does_not_replace_it_either(sample):
    assert last_block(f"{block(PROGRAM)}\nFor 4:\n{block(sample)}") == PROGRAM


OTHERS = ["cpp", "text", "bash", "output", "json", "sh", "console", "plaintext", "java", "pycon", "pytb", "python-repl"]
OTHERS += ["{.cpp}", "{.json .numberLines}", "cython", "{bash}", "diff", "pyproject.toml"]


@pytest.mark.parametrize("label", OTHERS)
def test_a_block_in_another_language_is_no_program(label):
    assert not may_be_python(label)
    assert last_block(block(PROGRAM, label)) is None
    assert last_block(f"{block(PROGRAM)}\n{block('print(1)', label)}") == PROGRAM


LABELS = ["", "python", " python ", "Python", "PYTHON3", "py", "py3", "python3", "python2", "python3.11", "Python 3"]
LABELS += ["python {.numberLines}", "{.python}", "{.python .numberLines}", '{#one .python startFrom="1"}', "{python}"]
LABELS += ['python title="a.py"', "python title='my file.txt'", "python:main.py", "python,linenos", "python{1,3}"]
LABELS += [
    "main.py",
    "src/main.py",
    "{code-block} python",
    "language-python",
    "ipython3",
    "pypy3",
    "{python, echo=TRUE}",
]


@pytest.mark.parametrize("label", LABELS)
@pytest.mark.parametrize("fence", ["```", "````", "~~~", "~~~~~"])
def test_a_block_labelled_as_python_or_not_at_all_is_the_program(label, fence):
    assert last_block(block(PROGRAM, label, fence)) == PROGRAM
    assert last_block(f"Text\n\n{block(PROGRAM, label, fence)}\n{block('8', '')}\nText") == PROGRAM


PLACES = {
    "- ": "  ",
    "* ": "  ",
    "1. ": "   ",
    "10) ": "    ",
    "-   ": "    ",
    "> ": "> ",
    ">": ">",
    "> > ": "> > ",
    "> 1. ": ">    ",
    "- > ": "  > ",
    "- - ": "    ",
    "   ": "   ",
    "\t": "\t",
}


@pytest.mark.parametrize("first", [one for one in PLACES if one != ">"])
def test_a_block_in_an_item_or_a_quote_loses_what_encloses_it(first):
    rest = PLACES[first]
    lines = block(PROGRAM, by="").split("\n")
    enclosed = "\n".join([first + lines[0], *((rest + line) if line else rest.rstrip() for line in lines[1:])])
    assert last_block(f"So:\n\n{enclosed}\n\nDone.") == PROGRAM
    assert last_block(f"{block('print(1)')}\n\n{enclosed}") == PROGRAM


@pytest.mark.parametrize(
    "reply",
    [
        f"1. So:\n{block(PROGRAM, by='   ')}",
        f"1. So:\n\n{block(PROGRAM, by='    ')}",
        f"- a\n  - b\n\n{block(PROGRAM, by='    ')}\n- c",
        f"- a\n  - b\n    - c\n\n{block(PROGRAM, by='      ')}",
        f"1. So:\n   {FENCE}python\n{PROGRAM}\n   {FENCE}",  # the text is not indented as its fence is
        f"1. So:\n   {FENCE}python\n{indented(PROGRAM, '   ')}\n{FENCE}",
        f">{FENCE}python\n{indented(PROGRAM, '> ')}\n>{FENCE}",
        f"So:\n{block(PROGRAM, by='        ')}",
        f"{FENCE}python\n{indented(PROGRAM, '    ')}\n{FENCE}",
        f"> {FENCE}python\n{indented(PROGRAM, '> ')}\nNo longer quoted.",
        f"> {FENCE}python\n{indented(PROGRAM, '> ')}\n> {FENCE}\n> {FENCE}\n> 8\n> {FENCE}",
        block(PROGRAM).replace("\n", "\r\n"),
        block(PROGRAM).replace("\n", "\r"),
        f"{FENCE}python\n{PROGRAM}\n   {FENCE}   \n",
        f"{FENCE}python\n{PROGRAM}\n`````\n",
        f"Use {FENCE}x{FENCE}, or\n{FENCE}y{FENCE}\n{block(PROGRAM)}",
        f"{FENCE}markdown\n{block(PROGRAM)}\n{FENCE}",
        f"````markdown\n```text\n8\n```\n````\n{block(PROGRAM)}",
        f"````markdown\n# So\n\n{block(PROGRAM)}\n\n{block('8', '')}\n````",
        f"~~~md\n- So:\n{block(PROGRAM, by='  ')}\n~~~",
        f"<think>\n{FENCE}python\nprint(\n</think>\n{block(PROGRAM)}",
        f"{block('draft')}\nBetter:\n{block(PROGRAM)}",
        f"{block('print(1)')}\nBetter:\n{block(PROGRAM, '')}",
        f"{block(PROGRAM)}\nOutput:\n{FENCE}\n8",
        f"{block(PROGRAM)}\nOutput:\n{FENCE}python\nprint(8",
    ],
)
def test_blocks_as_models_write_them(reply):
    assert last_block(reply) == PROGRAM


@pytest.mark.parametrize(
    "reply",
    [
        PROGRAM,
        f"{FENCE}python\n{PROGRAM}",
        f"{FENCE}python\n{PROGRAM}\n``",
        f"{FENCE}python\n{PROGRAM}\n~~~",
        f"````python\n{PROGRAM}\n```",
        f"{FENCE}python {FENCE}\n{PROGRAM}",
        f"``python\n{PROGRAM}\n``",
        f"{FENCE}python\n\n \n{FENCE}",
        indented(PROGRAM, "    "),
    ],
)
def test_what_is_no_closed_block_is_no_program(reply):
    assert last_block(reply) is None


STRINGS = [
    'def f(n):\n    """\n    Example:\n    ```\n    f(2)\n    ```\n    """\n    return n',
    'def f(n):\n    """\nExample:\n```\nf(2)\n```\n    """\n    return n',
    'def f(n):\n    """\n```python\nf(2)\n```\n    """\n    return n',
    "def f(n):\n    r'''\n```\n'''\n    return n",
    'TEXT = """\n```\n"""\ndef f(n):\n    return n + len(TEXT)',
    "# don't \"\"\"\nA = \"'''\"\ndef f(n):\n    '''\n```\n'''\n    return n",
    'def f(n):\n    """A \\""" and\n```\n"""\n    return n',
    'def f(n):\n    return "```" * n',
    "def f(n):\n    # ```\n    return n",
    'def f(n):\n    """One."""\n    return """\n~~~\n"""',
    'def f(n):\n    x = "\\""; y = \'"\'\n    """\n```text\n"""\n    return n',
]


@pytest.mark.parametrize("program", STRINGS)
@pytest.mark.parametrize("label", ["python", ""])
def test_a_fence_in_a_string_of_the_program_does_not_end_it(program, label):
    for after in ("", "\n```\n8\n```", "\n```python\nprint(f(2))\n```"):
        assert last_block(f"So:\n{block(program, label)}\nDone.{after}", "f") == program


def test_a_string_that_does_not_end_hides_no_later_block():
    broken = 'def f(n):\n    """What\n    return n'
    assert last_block(f"{block(broken)}\nBetter:\n{block(PROGRAM)}") == PROGRAM
    assert last_block(f"{block(broken)}\nBetter:\n{block(STRINGS[0])}") == STRINGS[0]
    assert last_block(block(broken)) == broken


@pytest.mark.parametrize(
    "usage",
    [
        "print(f(3))",
        "assert f(3) == 3",
        "for n in range(3):\n    print(f(n))",
        "import f_module\nf_module.g(1)",
        "f(3)",
        "from solution import f\nprint(f(3))",
        "from my.module import g, f\nassert f(3) == 3",
        "import f\nprint(f.f(3))",
        "from solution import g as f\nf(3)",
    ],
)
def test_where_the_function_is_known_its_use_does_not_replace_it(usage):
    for program in (
        "def f(n):\n    return n",
        "class Solution:\n    def f(self, n):\n        return n",
        "f = sorted",
        "from math import factorial as f",
        "from os.path import (join, basename as f)",
    ):
        for label in ("python", ""):
            assert last_block(f"{block(program, label)}\nUse it:\n{block(usage, label)}", "f") == program
    worse, better = "def f(n):\n    return 1", "def f(n: int) -> int:\n    return n + 0"
    assert last_block(f"{block(worse)}\nBetter:\n{block(better)}", "f") == better
    assert last_block(block(usage), "f") == usage


WHOLE = [
    PROGRAM,
    "import sys\n\ndef solve(n):\n    return 2 * n\n\nprint(solve(int(sys.stdin.read())))",
    "def main():\n    print(2 * int(input()))\n\nif __name__ == '__main__':\n    main()",
    "print(sum(map(int, open(0).read().split())))",
]
PARTS = [
    "def solve(n):\n    return 2 * n",
    "import math\n\ndef solve(n):\n    return math.prod([2, n])",
    'class Node:\n    """A node."""\n\n    def __init__(self):\n        self.next = None',
    "def main():\n    print(2 * int(input()))",
]
IMPORTS = [
    "import sys",
    "from collections import deque, Counter",
    "import math\nfrom heapq import *",
    "import numpy as np",
]


@pytest.mark.parametrize("program", WHOLE)
@pytest.mark.parametrize("label", ["python", ""])
def test_a_part_of_the_program_shown_again_does_not_replace_it(program, label):
    for part in (*PARTS, *IMPORTS):
        assert last_block(f"{block(program, label)}\nThe idea is\n{block(part, label)}") == program
        assert last_block(f"{block(part, label)}\nAll of it:\n{block(program, label)}") == program
    assert last_block(f"{block(program, label)}\n{block(PARTS[0], label)}\n{block(IMPORTS[0], label)}") == program


def test_a_program_that_reads_nothing_is_replaced_by_a_later_one_that_only_defines():
    for part in PARTS:
        assert last_block(f"{block('print(1)')}\nBetter:\n{block(part)}") == part
        assert last_block(f"{block(PARTS[0])}\nBetter:\n{block(part)}") == part
    assert last_block(block(IMPORTS[0])) == IMPORTS[0]


def test_readers_of_the_same_function_are_the_same_object():
    assert reader("f") is reader("f")
    assert reader("f") is not reader("g")
    assert reader("") is last_block


def _reply(source):
    """A reply of well-formed CommonMark."""
    parts = []
    for _ in range(source.randint(1, 4)):
        first, rest = source.choice([*PLACES.items(), ("", "")])
        if first.strip(" \t") == "":
            first = rest = source.choice(["", " ", "  ", "   "])
        mark = source.choice(["```", "~~~", "````"])
        lines = [mark + source.choice(["python", "", "text", "{.python}"])]
        lines += source.choices(["x", "    y", "", "~~", "``", "  z  ", "\tw", "- a", "# b"], k=source.randint(0, 4))
        lines[1:1] = ["x"]
        lines.append(mark)
        parts += ["text", "", first + lines[0], *(rest + line if line else rest.rstrip() for line in lines[1:]), ""]
        parts += ["<!-- -->", ""]
    return "\n".join(parts)


def test_blocks_are_those_of_commonmark():
    parser, source = MarkdownIt("commonmark"), random.Random(17)
    for _ in range(500):
        reply = _reply(source)
        fences = [token for token in parser.parse(reply) if token.type == "fence"]
        expected = [(token.info.strip(), token.content.removesuffix("\n")) for token in fences]
        assert [(one.label, one.source) for one in blocks(reply)] == expected, reply


@pytest.mark.parametrize(
    "reply",
    [
        '```\n#"""\n"""\n```\n' * 3_000,
        "> ```python\n" * 10_000,
        "> " * 50_000,
        "- " * 30_000 + "```python",
        "```\n" + "(" * 50_000 + "\n```",
        "```\n" + "-" * 100_000 + "1\n```",
        "```\n" + "1+" * 100_000 + "1\n```",
        "```\n" + "not " * 50_000 + "1\n```",
        "```\n" + "lambda:" * 50_000 + "1\n```",
        "```\n'''" + "\\" * 200_000 + "\n```",
        "```\n" + "x='" * 50_000 + "\n```",
        "```\nif a:\n b\n" + "elif a:\n b\n" * 10_000 + "\n```",
        "```\nx\0y\n```",
        "```\n\ud800\n```",
    ],
    ids=range(14),
)
def test_replies_made_to_hurt_are_read_in_time(reply):
    began = time.process_time()
    last_block(reply, "f")
    assert time.process_time() - began < 5.0
