"""Everything that a person reads is written in plain English: the old dialect of this project does not come back."""

import ast
import io
import re
import tokenize
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
UNIT = r"(?:role|policy|slot|step|call|task|token|episode|problem|prompt|test|row|reply|base|update|micro-batch)"
DIALECT = {
    rf"\ban? [\w-]+ an? (?:training )?{UNIT}\b": "one ... per ...",
    rf"\b(?:nats|seconds|MiB|GiB|ms|episodes|problems|tokens|tasks|slots|times) an? {UNIT}\b": "per ...",
    rf"\b(?:once|twice) an? {UNIT}\b(?! (?:has|is|was)\b)": "once per ...",
    r"\bcalls an? (?:episode|step|task|problem|policy)\b": "calls per ...",
    r"\b(?:optimizer|Adam|AdamW) steps? an? (?:policy|role|training step)\b": "steps per ...",
    r"\bspeaks?\b(?! (?:OpenAI|HTTP|JSON))": "is called; its policy is; generates with; serves",
    r"\b(?:be|is|was) had\b": "is not supported; is available",
    r"\b(?:go|goes|going|gone|went) on with\b": "resume; continue",
    r"\b(?:by a|to the) bit\b": "bit-identical",
    r"\bin parts of one\b": "as a fraction",
    r"\bthan a part of one\b": "than a fraction of one",
    r"\bratio is taken to\b|\btaken to the (?:sampler|learner)\b": "the old log-probabilities",
    r"\bof (?:one's|the user's|a user's) own\b": "your own; the user's own",
    r"\bbut for\b": "except for",
    r", save for\b": "except for",
    r"\bfor want of\b": "without",
    r"\b(?:at most|exactly|for) so (?:many|much)\b": "that many",
    r"\bstands? (?:in(?! for\b)|under|beside|there|last|first)\b": "is in; is under; is beside",
    r"\b(?:its|their) like\b": "similar ones",
    r"(?<!\bare\x20)(?<!\bis\x20)\b[Pp]art of (?:the|its|his|their|them) (?:(?:judged|right|wrong|credited|role's) )*"
    r"(?:episodes|calls|tokens|answers|pairs|choices|approvals|tests)\b": "fraction of",
    r"\bmean part\b": "mean fraction",
    r"\banew\b": "again",
    r"\bcomes? over (?:it|that|the)\b": "overrides",
    r"\blet loose\b": "run",
    r"\bif need be\b": "if needed",
    r"\b(?:has|have|had|was|were|is) said\b(?! to\b)": "generated; the reply",
    r"\bbeginnings? (?:that|of prompts|in common)\b": "shared prefix",
    r"\bwhat it is not\b|\bis its affair\b": "say it directly",
    r"\bnot (?:his|its) doing\b": "not caused by it",
    r"\bthe slope of a\b": "the gradient of a",
    r"\bloss (?:is|was) made of\b": "calls in the loss",
    r"\b(?:are|were|is|was) parted\b": "split",
}
"""Pattern of the old dialect -> the plain words to use instead. A space stands for any white space."""
OPENINGS = re.compile(r"\s*(?:What|Whether|How|Of)\s")
"""A docstring names the thing that it documents; it does not ask a question."""

STILL_TO_DO: frozenset[str] = frozenset()
"""Files that are being rewritten. Remove a file when it is done, and this set when it is empty."""

_SPACE = r"\s+(?:[#>]\s+)?"
PATTERNS = {re.compile(pattern.replace(" ", _SPACE)): plain for pattern, plain in DIALECT.items()}


def pages():
    """Every page that is written by hand, except the log of what was done and the changelog."""
    documents = [*(ROOT / "docs").rglob("*.md"), *(ROOT / "recipes").glob("*/README.md")]
    generated = ROOT / "docs" / "reference"
    top = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")]
    return sorted([*top, *(path for path in documents if generated not in path.parents)])


def modules():
    return sorted((ROOT / "counterpoint").rglob("*.py"))


BLOCK = re.compile(r"^( *)```(\w*)[^\n]*\n.*?^\1``` *$", re.DOTALL | re.MULTILINE)


def prose(text):
    """A page with the blocks blanked that quote a terminal or a model."""
    return BLOCK.sub(lambda block: block[0] if block[2] not in ("", "text") else "\n" * block[0].count("\n"), text)


def texts(source):
    """Line, text of every comment, docstring and string of a module; comments side by side in one text."""
    comments: list[list] = []
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.STRING:
            yield token.start[0], token.string
        elif token.type == tokenize.COMMENT:
            if comments and comments[-1][0] + comments[-1][1].count("\n") + 1 == token.start[0]:
                comments[-1][1] += "\n" + token.string
            else:
                comments.append([token.start[0], token.string])
    yield from comments


def docstrings(source):
    """Line, text of every docstring, those of attributes too."""
    for node in ast.walk(ast.parse(source)):
        body = getattr(node, "body", None)
        for statement in body if isinstance(body, list) else ():
            value = getattr(statement.value, "value", None) if isinstance(statement, ast.Expr) else None
            if isinstance(value, str):
                yield statement.lineno, value


def dialect(line, text):
    """What is wrong in a text that begins at `line`: (line, phrase, plain words)."""
    for pattern, plain in PATTERNS.items():
        for match in pattern.finditer(text):
            yield line + text.count("\n", 0, match.start()), " ".join(match[0].split()), plain


def faults(path):
    """What is wrong in a file, as `file:line: phrase -> plain words`, in the order of its lines."""
    text = path.read_text()
    if path.suffix == ".md":
        found = list(dialect(1, prose(text)))
    else:
        found = [fault for line, part in texts(text) for fault in dialect(line, part)]
        found += [
            (line, part.split("\n")[0][:40], "name the thing")
            for line, part in docstrings(text)
            if OPENINGS.match(part)
        ]
    name = path.relative_to(ROOT)
    return [f"{name}:{line}: {phrase!r} -> {plain}" for line, phrase, plain in sorted(set(found))]


def test_everything_that_a_person_reads_is_in_plain_english(capsys):
    found = {str(path.relative_to(ROOT)): faults(path) for path in [*pages(), *modules()]}
    left = {name for name in STILL_TO_DO if found.get(name)}
    if left:
        with capsys.disabled():
            print(f"\n{len(left)} files still to be rewritten, with {sum(len(found[name]) for name in left)} places")
    assert "\n".join(fault for name, wrong in found.items() if name not in STILL_TO_DO for fault in wrong) == ""


@pytest.mark.parametrize(
    ("text", "phrase"),
    [
        ("it takes a policy a role", "a policy a role"),
        ("a server\n    a slot", "a server a slot"),
        ("windows cannot be\n# had here", "be # had"),
        ("the sampler speaks with it", "speaks"),
        ("Older runs cannot be gone on with.", "gone on with"),
        ("0.1 nats a token", "nats a token"),
        ("part of the judged episodes", "part of the judged episodes"),
    ],
)
def test_the_old_dialect_is_found_across_lines(text, phrase):
    assert phrase in [found for _, found, _ in dialect(1, text)]


@pytest.mark.parametrize(
    "text",
    [
        "One policy per role.",
        "The workflow calls a role.",
        "This ends a step of the run.",
        "A server that stands in for another one.",
        "The call plays a role as a policy of its own.",
        "The sampler samples a token, then goes on.",
        "A run that has been resumed is bit-identical.",
    ],
)
def test_good_english_is_left_alone(text):
    assert list(dialect(1, text)) == []


def test_text_between_blocks_is_prose_and_what_a_block_quotes_is_not():
    page = "```bash\nls\n```\nencoded anew\n```text\nsaid anew\n```\nagain\n\n  ```toml\n  a = 1\n  ```\n  put anew\n"
    assert [found[:2] for found in dialect(1, prose(page))] == [(4, "anew"), (13, "anew")]


def test_a_docstring_that_asks_a_question_is_found():
    source = 'class A:\n    """What it is."""\n    x: int\n    """Whether."""\n\n\ndef f():\n    """A thing."""\n'
    assert [line for line, text in docstrings(source) if OPENINGS.match(text)] == [2]
