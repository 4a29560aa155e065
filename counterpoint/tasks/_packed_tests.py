"""Text of JSON out of a data set, which is trusted to be neither small nor harmless."""

import ast
import base64
import binascii
import json
import pickletools
import zlib
from collections.abc import Callable
from decimal import Decimal
from typing import Final

from counterpoint.errors import TaskError

MAX_UNPACKED: Final = 128 * 2**20
"""Bytes of text that packed tests may unpack to."""
_MAX_DIGITS: Final = 120_000
_SHORT: Final = 640
_OF_A_STRING: Final = frozenset(
    ("PROTO", "FRAME", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8", "MEMOIZE", "BINPUT", "LONG_BINPUT", "STOP")
)


def parsed(text: str, decimal: Callable[[str], float] = float) -> object:
    """The value of JSON, its decimals made by `decimal`. Integers may have up to 120 000 digits.

    Raises TaskError if it is not JSON.
    """
    try:
        return json.loads(text, parse_int=_whole, parse_float=decimal)
    except (ValueError, RecursionError) as error:
        why = str(error) if isinstance(error, json.JSONDecodeError) else type(error).__name__
        raise TaskError(f"not JSON: {why}") from error


def parsed_or_literal(text: str) -> object:
    """The value of JSON, else of a literal of Python: never the other way round, JSON's `true` is no literal.

    Raises TaskError if it is neither.
    """
    try:
        return parsed(text)
    except TaskError:
        pass
    try:
        return ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError) as error:
        raise TaskError("neither JSON nor a literal of Python") from error


def unpacked(text: str) -> object:
    """The value of JSON, or of base64 of zlib of a pickle of one string of JSON, as LiveCodeBench packs its tests.

    Nothing is unpickled: the string is read out of a stream that holds one string and nothing else. Raises TaskError if
    it is neither, holds anything else, or unpacks to more than `MAX_UNPACKED` bytes.
    """
    if text.lstrip()[:1] in ("[", "{"):
        return parsed(text)
    try:
        data = base64.b64decode(text.strip(), validate=True)
    except (ValueError, binascii.Error) as error:
        raise TaskError("neither JSON nor base64") from error
    return parsed(_pickled_text(_inflated(data)))


def to_json(value: object) -> str:
    """The value as JSON. Raises TaskError if it has none."""
    try:
        return json.dumps(value)
    except (ValueError, TypeError, RecursionError) as error:
        raise TaskError(f"it cannot be written as JSON: {type(error).__name__}") from error


def _whole(text: str) -> int:
    """An integer of many digits, which `int` refuses."""
    if len(text) <= _SHORT:
        return int(text)
    if len(text) > _MAX_DIGITS:
        raise ValueError(f"an integer of {len(text)} digits")
    return int(Decimal(text))


def _inflated(data: bytes) -> bytes:
    stream = zlib.decompressobj()
    try:
        text = stream.decompress(data, MAX_UNPACKED)
    except zlib.error as error:
        raise TaskError("not compressed by zlib") from error
    if stream.unconsumed_tail:
        raise TaskError(f"it unpacks to more than {MAX_UNPACKED} bytes")
    if not stream.eof or stream.unused_data:
        raise TaskError("it is cut short, or something follows it")
    return text


def _pickled_text(data: bytes) -> str:
    texts: list[str] = []
    try:
        for code, argument, _ in pickletools.genops(data):
            if code.name not in _OF_A_STRING:
                raise TaskError(f"its pickle holds more than a string: {code.name}")
            if isinstance(argument, str):
                texts.append(argument)
    except (ValueError, AttributeError, UnicodeDecodeError) as error:
        raise TaskError("not a pickle") from error
    if len(texts) != 1:
        raise TaskError(f"its pickle holds {len(texts)} strings, not one")
    return texts[0]
