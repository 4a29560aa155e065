"""Makes the problems of a reasoning-gym data set and scores answers to them, in a process that may be killed.

It is run as a file and imports nothing of Counterpoint. With `make` it reads one JSON object and writes one line per
problem; with `score SECONDS MIB` it reads which data set it serves, then one line per answer, and writes one for each.
Entries cross as pickles that only such a process makes and reads.

Several scorers of reasoning-gym hand an answer to `eval` or to sympy's parser, which evaluates it. Here they get
readers that know literals and plain formulas; an audit hook refuses what scoring never needs, in case there are other
places.
"""

import ast
import base64
import json
import logging
import math
import os
import pickle
import random
import re
import resource
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import MISSING, fields, is_dataclass
from importlib import import_module
from typing import Any

_MEBIBYTE = 2**20
_TRIES = 20
_ADDED_TRIES = 100
_FORMULA = re.compile(r"(?:\d+(?:\.\d*)?|\.\d+|(?P<name>[A-Za-z]+)|\*\*|[-+*/^(),\s])")
_FUNCTIONS = frozenset(
    [
        *("sin", "cos", "tan", "sec", "csc", "cot", "asin", "acos", "atan", "exp", "log", "ln", "sqrt", "Abs", "pi"),
        *("sinh", "cosh", "tanh", "asinh", "acosh", "atanh"),
    ]
)
_LONGEST_FORMULA = 2000
_REFUSED = (
    "os.system",
    "os.exec",
    "os.fork",
    "os.forkpty",
    "os.posix_spawn",
    "os.spawn",
    "subprocess.Popen",
    "pty.spawn",
)
_REFUSED_FAMILIES = ("socket.", "ctypes.", "shutil.", "http.", "urllib.", "os.remove", "os.rename", "os.kill")


def main() -> None:
    """Make problems or score answers, as the arguments say."""
    out = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # some data sets print
    logging.disable(logging.CRITICAL)

    def say(facts: dict[str, Any]) -> None:
        line = json.dumps(facts).encode() + b"\n"
        while line:
            line = line[out.write(line) or 0 :]

    asked = json.loads(sys.stdin.buffer.readline())
    if sys.argv[1] == "make":
        for facts in _made_problems(asked):
            say(facts)
    else:
        _serve(asked, say)


def _made_problems(asked: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """One line per problem, test first, so that the number of training problems changes no other split."""
    known = import_module("reasoning_gym.factory").DATASETS
    if asked["dataset"] not in known:
        yield {"unknown": "reasoning-gym data set", "name": asked["dataset"], "allowed": sorted(known)}
        return
    allowed = sorted({field.name for field in fields(known[asked["dataset"]][1])} - {"seed", "size"})
    for name in asked["options"]:
        if name not in allowed:
            yield {"unknown": f"option of {asked['dataset']}", "name": name, "allowed": allowed}
            return
    seen: set[str] = set()
    for split in ("test", "validation", "train"):
        count, found = asked["counts"][split], 0
        source = random.Random(f"gym/{asked['dataset']}/{asked['seed']}/{split}")
        most = count * _TRIES + _ADDED_TRIES
        try:
            data = _dataset(asked, seed=source.getrandbits(30), size=most)
        except Exception as error:  # data sets refuse options with assertions, and whatever else
            yield {"refused": f"{type(error).__name__}: {error}"}
            return
        for index in range(most):
            if found == count:
                break
            entry = data[index]
            text = " ".join(entry["question"].split()).casefold()
            if text not in seen:
                seen.add(text)
                found += 1
                packed = base64.b64encode(pickle.dumps(entry)).decode()
                yield {"split": split, "question": entry["question"], "answer": entry["answer"], "entry": packed}
        if found < count:
            yield {"short": f"{count} distinct {split} problems were asked for, these options give {found}"}
            return
    yield {"end": True}


def _dataset(asked: dict[str, Any], *, seed: int, size: int) -> Any:
    factory = import_module("reasoning_gym.factory")
    defaults = {field.name: _default(field) for field in fields(factory.DATASETS[asked["dataset"]][1])}
    options = {
        name: tuple(value) if isinstance(value, list) and isinstance(defaults[name], tuple) else value
        for name, value in asked["options"].items()
    }
    return factory.create_dataset(asked["dataset"], seed=seed, size=size, **options)


def _default(field: Any) -> Any:
    return field.default_factory() if field.default_factory is not MISSING else field.default


def _serve(asked: dict[str, Any], say: Callable[[dict[str, Any]], None]) -> None:
    """Score answers until the input ends. One that needs more processor time than the limit ends the process."""
    seconds, memory = float(sys.argv[2]), int(sys.argv[3]) * _MEBIBYTE
    for kind, limit in ((resource.RLIMIT_AS, memory), (resource.RLIMIT_FSIZE, 0), (resource.RLIMIT_CORE, 0)):
        resource.setrlimit(kind, (limit, limit))
    data = _dataset(asked, seed=0, size=1)
    trusted: set[str] = set()
    formulas = _replace_readers(data, trusted)
    say({"ready": True})
    guarded = False
    for line in sys.stdin.buffer:
        question = json.loads(line)
        entry = pickle.loads(base64.b64decode(question["entry"]))
        if not guarded:
            _score(data, entry, entry["answer"])  # what is imported late is imported now
            _guard(formulas)
            guarded = True
        trusted.clear()
        trusted.update(_texts([entry["answer"], entry["metadata"]]))
        signal.setitimer(signal.ITIMER_PROF, seconds)
        facts = _score(data, entry, question["answer"])
        if "error" in facts and isinstance(entry["answer"], str) and "error" in _score(data, entry, entry["answer"]):
            facts = {"broken": facts["error"]}  # it would raise whatever the answer
        signal.setitimer(signal.ITIMER_PROF, 0.0)
        say(facts)


def _score(data: Any, entry: dict[str, Any], answer: Any) -> dict[str, Any]:
    try:
        score = float(data.score_answer(answer, entry))
    except Exception as error:  # an answer that its scorer cannot take is wrong
        return {"error": f"{type(error).__name__}: {error}"[:200]}
    return {"score": min(1.0, max(0.0, score))} if math.isfinite(score) else {"error": f"the score is {score}"}


def _replace_readers(data: Any, trusted: set[str]) -> bool:
    """Makes the data set read answers without evaluating them. True if it reads formulas."""

    def read_literal(text: Any, *_: Any) -> Any:
        # What the entry itself says may be an expression; its name is what the hook knows it by.
        return eval(compile(text, "<entry>", "eval")) if text in trusted else ast.literal_eval(text)

    formulas = False
    for kind in type(data).__mro__:
        module = sys.modules[kind.__module__]
        if not kind.__module__.startswith("reasoning_gym."):
            continue
        vars(module)["eval"] = read_literal
        parsers = import_module("sympy.parsing.sympy_parser") if "sympy" in sys.modules else None
        original = getattr(parsers, "parse_expr", None)
        for name in ("parse_expr", "sympy", "sp"):
            if original is not None and getattr(module, name, None) is original:
                vars(module)[name] = _formula_reader(original)
                formulas = True
            elif getattr(getattr(module, name, None), "__name__", "") == "sympy":
                getattr(module, name).parse_expr = _formula_reader(original)
                formulas = True
    return formulas


def _formula_reader(parse: Any) -> Callable[..., Any]:
    """The parser, for text of numbers, one-letter names, known functions and operators only. Raises ValueError."""

    def read(text: str, *arguments: Any, **options: Any) -> Any:
        place = 0
        while place < len(text):
            token = _FORMULA.match(text, place)
            if token is None or len(text) > _LONGEST_FORMULA:
                raise ValueError("it is not a plain formula")
            name = token["name"]
            if name and len(name) > 1 and name not in _FUNCTIONS:
                raise ValueError(f"{name!r} is not known in a formula")
            place = token.end()
        return parse(text, *arguments, **options)

    return read


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for one in value.values():
            yield from _texts(one)
    elif isinstance(value, list | tuple):
        for one in value:
            yield from _texts(one)
    elif is_dataclass(value):
        yield from _texts(list(vars(value).values()))


def _guard(formulas: bool) -> None:
    """From here on starting programs, connecting, writing files and, except for formulas, running text raise."""

    def look(event: str, arguments: tuple[Any, ...]) -> None:
        if event in _REFUSED or event.startswith(_REFUSED_FAMILIES):
            raise RuntimeError(f"{event} is not needed to score answers")
        if event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            raise RuntimeError("files are not written")
        if event == "exec" and not formulas and getattr(arguments[0], "co_filename", "") == "<string>":
            raise RuntimeError("text is not run")

    sys.addaudithook(look)


if __name__ == "__main__":
    main()
