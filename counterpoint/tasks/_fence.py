"""Read programs out of replies: blocks of code as CommonMark writes them, and the block that is the program."""

import ast
import re
import sys
import textwrap
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import Final, NamedTuple

BLOCK_FORMAT = "Write the function in a ```python block."
_LINE_END: Final = re.compile(r"\r\n?|\n")
_OPENING: Final = re.compile(
    r"(?P<before>(?:[ \t]*(?:>|(?:[-*+]|[0-9]{1,9}[.)])(?=[ \t])))*[ \t]*)(?P<fence>`{3,}|~{3,})(?P<info>.*)"
)
"""Quote marks and markers of list items may stand before a fence."""
_QUOTE: Final = re.compile(r"[ \t]*> ?")
_FURTHER: Final = 3
"""Columns that a closing fence may be indented further than its opening one."""
_PYTHON: Final = re.compile(
    r"(?:lang(?:uage)?-)?[ic]?py(?:thon|py)?(?:[-_ ]?[23](?:\.[0-9]+)*)?(?![\w.+-])|[^\s{]*\.py(?!\w)", re.IGNORECASE
)
"""A label that names Python, or a file of it."""
_CLASS: Final = re.compile(r"(?:^|\s)\.(\S+)")
_DIRECTIVES: Final = frozenset(("code", "code-block", "code-cell", "sourcecode"))
_MARKDOWN: Final = frozenset(("markdown", "md"))
_MARKS: Final = ("```", "~~~")
_TRIPLE: Final = ('"""', "'''")
_TOKEN: Final = re.compile(r'#|"""|\'\'\'|"(?:\\.|[^"\\])*+"?|\'(?:\\.|[^\'\\])*+\'?')
_IN_STRING: Final = re.compile(r'\\.|"""|\'\'\'')
_MOST_ENDLESS: Final = 16
"""So many blocks are searched to the end of the text for the end of a string, each in time that grows with the text."""
_DEFINITIONS: Final = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
_ACTS: Final = (*_DEFINITIONS, ast.For, ast.While, ast.If, ast.With, ast.Try, ast.TryStar, ast.Match)
"""Statements that are in no sample of input or output."""
_WRITES: Final = frozenset(("print", "write", "writelines", "exec", "input"))
_READS: Final = frozenset(("input", "raw_input", "stdin", "open"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A closed block of code between two fences."""

    label: str
    """The text after its opening fence."""
    source: str = field(repr=False)
    """Its lines without the quote marks and the indentation of its opening fence, joined by line feeds."""


def last_block(text: str, function: str = "") -> str | None:
    """The program in a reply: the last of its closed blocks that is one. None if there is no block for it.

    Blocks between three or more backticks or tildes are read as in CommonMark, also in quotes and in items of lists.
    Beyond that, lines may be indented less than the fence before them, a fence within a triple-quoted string that ends
    belongs to the program, and a fence with a label in an open block begins another block instead.

    A block that is not closed, or whose label names another language, is no program. One labelled as Python is one
    unless it is a session with `>>>` or only imports or states values. One without a label is one if it is Python that
    defines or does something, which a sample of input or output is not. Where the problem names a `function`, blocks
    that define it, or a class `Solution`, come before all others. Where it names none, one that only defines does not
    replace one that reads input. If no block is a program by these rules, it is the last that is labelled as Python,
    else the last without a label.
    """
    found = [block for block in blocks(text) if block.source.strip() and may_be_python(block.label)]
    defining = [block for block in found if function and _defines(block.source, function)]
    programs = [block for block in defining or found if _is_program(block)]
    if programs:
        return (programs[-1] if function else _last_whole(programs)).source
    labelled = [block for block in found if block.label]
    program = next(reversed(defining or labelled or found), None)
    return None if program is None else program.source


@lru_cache(maxsize=4096)
def reader(function: str) -> Callable[[str], str | None]:
    """`last_block` for this function: the same object for the same name."""
    return partial(last_block, function=function) if function else last_block


def blocks(text: str, *, inside: bool = False) -> Iterator[Block]:
    """The closed blocks of a text, in their order; of a block of Markdown those in it, unless it is `inside` one."""
    lines = _LINE_END.split(text)
    for fence, first, end in _fenced(lines):
        if end is None:
            return
        block = Block(label=fence.label, source=_source(fence, lines[first : end.line]))
        if end.closed and fence.label.lower() in _MARKDOWN and not inside:
            yield from blocks(block.source, inside=True)
        elif end.closed:
            yield block


def prose_and_code(text: str, *, inside: bool = False) -> tuple[str, tuple[str, ...]]:
    """The lines of a text that are in no block, and the source of every block, in their order.

    A block that has no end goes on to the end of the text, as in CommonMark. A block of Markdown is a text with prose
    and blocks of its own, unless it is `inside` one.
    """
    if not any(mark in text for mark in _MARKS):
        return text, ()
    lines = _LINE_END.split(text)
    prose: list[str] = []
    code: list[str] = []
    done = 0
    for fence, first, end in _fenced(lines):
        prose += lines[done : first - 1]
        source = _source(fence, lines[first : end.line if end else None])
        if fence.label.lower() in _MARKDOWN and not inside:
            within, found = prose_and_code(source, inside=True)
            prose.append(within)
            code += found
        else:
            code.append(source)
        done = end.after if end else len(lines)
    return "\n".join([*prose, *lines[done:]]), tuple(code)


def _fenced(lines: Sequence[str]) -> Iterator[tuple["_Fence", int, "_End | None"]]:
    """Every block: its opening fence, its first line, and its end; None for the last one if it has no end."""
    endless = at = 0
    while at < len(lines):
        fence = _opened(lines[at])
        at += 1
        if fence is None:
            continue
        end = None
        if may_be_python(fence.label) and endless < _MOST_ENDLESS:
            end = _end(lines, at, fence, strings=True)
            endless += end is None
        end = end or _end(lines, at, fence, strings=False)
        yield fence, at, end
        if end is None:
            return
        at = end.after


def may_be_python(label: str) -> bool:
    """True for a label that names Python or nothing: `py`, `Python3`, `{.python}`, `python title="a.py"`, `a.py`."""
    if not label.startswith("{"):
        return not label or _PYTHON.match(label) is not None
    attributes, _, rest = label[1:].partition("}")
    words = _CLASS.findall(attributes) or attributes.replace(",", " ").split()[:1]
    if words[:1] and words[0] in _DIRECTIVES:
        return may_be_python(rest.strip())
    return not words or any(_PYTHON.match(word) for word in words)


class _Fence(NamedTuple):
    """An opening fence."""

    mark: str
    label: str
    quotes: int
    """Quote marks before it."""
    indent: int
    """Columns before it, after the last quote mark."""


class _End(NamedTuple):
    """The end of a block."""

    line: int
    """The first line that does not belong to it."""
    after: int
    """The line after it."""
    closed: bool
    """False if another block begins instead."""


def _opened(line: str) -> _Fence | None:
    found = _OPENING.match(line)
    if found is None or (found["fence"][0] == "`" and "`" in found["info"]):
        return None
    quoted, mark, rest = found["before"].rpartition(">")
    indent = len((rest.removeprefix(" ") if mark else rest).expandtabs(4))
    return _Fence(found["fence"], found["info"].strip(), (quoted + mark).count(">"), indent)


def _end(lines: Sequence[str], at: int, fence: _Fence, *, strings: bool) -> _End | None:
    """The end of the block whose first line is `at`; fences within `strings` do not count. None if it has none."""
    quote = ""
    for number in range(at, len(lines)):
        line = _unquoted(lines[number], fence.quotes)
        if line is None:
            return _End(number, number, True)
        other = _opened(line) if not quote and line.lstrip()[:1] == fence.mark[0] else None
        if other is not None and other.mark.startswith(fence.mark) and other.indent <= fence.indent + _FURTHER:
            return _End(number, number, False) if other.label else _End(number, number + 1, True)
        if strings:
            quote = _open_string(line, quote)
    return None


def _unquoted(line: str, quotes: int) -> str | None:
    """The line without that many quote marks; None if it has fewer, and so ends a block that is quoted."""
    rest = line
    for _ in range(quotes):
        mark = _QUOTE.match(rest)
        if mark is None:
            return None if line.strip() else ""
        rest = rest[mark.end() :]
    return rest


def _open_string(line: str, quote: str) -> str:
    """The quotation mark of the triple-quoted string that is open after this line; `quote` is that before it."""
    at = 0
    while True:
        found = (_IN_STRING if quote else _TOKEN).search(line, at)
        if found is None or found[0] == "#":
            return quote
        if not quote and found[0] in _TRIPLE:
            quote = found[0]
        elif found[0] == quote:
            quote = ""
        at = found.end()


def _source(fence: _Fence, lines: Sequence[str]) -> str:
    """The lines of a block as they would be without what encloses it."""
    inside = [_unquoted(line, fence.quotes) or "" for line in lines]
    first = next((line for line in inside if line.strip()), "")
    columns = min(fence.indent, len(first[: len(first) - len(first.lstrip())].expandtabs(4)))
    text = "\n".join(_outdented(line, columns) for line in inside)
    return textwrap.dedent(text) if text.lstrip("\n")[:1] in (" ", "\t") else text


def _outdented(line: str, columns: int) -> str:
    """The line without its first columns, as far as they are white space."""
    width = 0
    for at, character in enumerate(line):
        if width >= columns or character not in " \t":
            return " " * (width - columns) + line[at:]
        width += 4 - width % 4 if character == "\t" else 1
    return ""


def _defines(source: str, function: str) -> bool:
    name = re.escape(function)
    if re.search(
        rf"^[ \t]*(?:async[ \t]+)?def[ \t]+{name}\b|^class[ \t]+Solution\b|^[ \t]*{name}[ \t]*(?::[^=\n]*)?=(?!=)",
        source,
        re.MULTILINE,
    ):
        return True
    # A function that is imported from a module of the reply's own is used, not defined.
    imported = re.finditer(
        rf"\bfrom[ \t]+(\w+)[\w.]*[ \t]+import\b[^\n;#]*?\b{name}\b(?![ \t]+as\b)", source, re.MULTILINE
    )
    return any(one[1] in sys.stdlib_module_names for one in imported)


def _is_program(block: Block) -> bool:
    """True if the block, which names Python or nothing, is more than a sample of what goes in or comes out."""
    if block.source.lstrip().startswith(">>>"):
        return False
    tree = _tree(block.source)
    if tree is None:
        return bool(block.label)
    if any(isinstance(statement, _ACTS) for statement in tree.body):
        return True
    names = _names(tree)
    return any(isinstance(node, ast.Call) for node in ast.walk(tree)) and not _WRITES.isdisjoint(names)


def _last_whole(programs: Sequence[Block]) -> Block:
    """The last of these; the last that reads input, where those after it only define, as a part shown again does."""
    last = programs[-1]
    for block in reversed(programs):
        tree = _tree(block.source)
        if tree is None or not _only_defines(tree):
            return last if tree is None or _READS.isdisjoint(_names(tree)) else block
    return last


def _only_defines(tree: ast.Module) -> bool:
    return all(
        isinstance(one, ast.Import | ast.ImportFrom)
        or (isinstance(one, _DEFINITIONS) and not one.decorator_list)
        or (isinstance(one, ast.Expr) and isinstance(one.value, ast.Constant))
        for one in tree.body
    )


def _names(tree: ast.Module) -> set[str]:
    """The names and attributes in a program."""
    nodes = [node for node in ast.walk(tree) if isinstance(node, ast.Name | ast.Attribute)]
    return {node.id if isinstance(node, ast.Name) else node.attr for node in nodes}


def _tree(source: str) -> ast.Module | None:
    """The syntax of a text, of which nothing is run; None if it is not Python."""
    try:
        with warnings.catch_warnings(action="ignore"):
            return ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
