"""A codec for values between processes that do not trust each other: JSON of built-in types, bounded in size and depth.

None, bool, str, list, float and int below 2^63 are written as in JSON; everything else is an object with one key that
names its type: `{"tuple": [...]}`, `{"set": [...]}`, `{"frozenset": [...]}`, `{"dict": [[key, value], ...]}`,
`{"bytes": "hex"}`, `{"complex": [real, imaginary]}`, `{"int": "hex"}` for a large one, `{"str": "hex of UTF-16 with
surrogates"}` for text that is not valid Unicode.
"""

import json
from collections.abc import Callable, Iterable

Value = object
"""Made of None, bool, int, float, complex, str, bytes, list, tuple, set, frozenset and dict, exactly."""

MAX_BYTES = 16 * 2**20
MAX_DEPTH = 200
MAX_NODES = 2_000_000
_PLAIN_INT = 2**63
_MAX_HEX_DIGITS = 100_000
_MAX_ALIKE = 1_000


class CodecError(Exception):
    """A value that cannot be encoded, or bytes that are not an encoded value."""


def encode(value: Value) -> bytes:
    """The value as bytes. Raises CodecError if it is not made of exact built-in types, too large or too deep."""
    data = json.dumps(packed(value), separators=(",", ":")).encode()
    if len(data) > MAX_BYTES:
        raise CodecError(f"{len(data)} bytes are more than {MAX_BYTES}")
    return data


def decode(data: bytes) -> Value:
    """The value that the bytes encode; they need not be trusted. Raises CodecError if they encode none."""
    if len(data) > MAX_BYTES:
        raise CodecError(f"{len(data)} bytes are more than {MAX_BYTES}")
    if data.count(b",") + data.count(b"[") + data.count(b"{") > 2 * MAX_NODES:
        raise CodecError(f"more than {MAX_NODES} parts")
    try:
        content = json.loads(data.decode())
    except (ValueError, RecursionError) as error:
        raise CodecError(f"not a value: {type(error).__name__}: {error}") from None
    return unpacked(content)


def packed(value: Value) -> object:
    """The value as an object that `json` can write. Raises CodecError as `encode` does."""
    return _Packer().pack(value, 0)


def unpacked(data: object) -> Value:
    """The inverse of `packed`; plain JSON without objects is its own value. Raises CodecError."""
    try:
        return _unpacked(data, 0)
    except (ValueError, TypeError, LookupError, RecursionError, OverflowError) as error:
        raise CodecError(f"not a value: {type(error).__name__}: {error}") from None


class _Packer:
    """Packs values and counts their parts: a small object that refers to itself many times must not fill the memory."""

    def __init__(self) -> None:
        self._left = MAX_NODES

    def pack(self, value: Value, depth: int) -> object:
        self._left -= 1
        if depth > MAX_DEPTH or self._left < 0:
            raise CodecError(f"deeper than {MAX_DEPTH} levels or more than {MAX_NODES} parts")
        if value is None or type(value) is bool or type(value) is float:
            return value
        if type(value) is int:
            return _packed_int(value)
        if type(value) is str:
            return _packed_str(value)
        if type(value) is list:
            return self._all(value, depth)
        if type(value) is tuple or type(value) is set or type(value) is frozenset:
            return {type(value).__name__: self._all(value, depth)}
        if type(value) is dict:
            return {"dict": [self._all(item, depth) for item in value.items()]}
        if type(value) is bytes:
            return {"bytes": value.hex()}
        if type(value) is complex:
            return {"complex": [value.real, value.imag]}
        plain = _from_array(value)
        if plain is not value:
            return self.pack(plain, depth + 1)
        kind = type(value)
        raise CodecError(f"a {kind.__module__}.{kind.__qualname__} is not a built-in value")

    def _all(self, values: Iterable[Value], depth: int) -> list[object]:
        return [self.pack(one, depth + 1) for one in values]


def _packed_int(value: int) -> object:
    if -_PLAIN_INT < value < _PLAIN_INT:
        return value
    if value.bit_length() > 4 * _MAX_HEX_DIGITS:
        raise CodecError(f"an integer of {value.bit_length()} bits")
    return {"int": f"{value:x}"}


def _packed_str(value: str) -> object:
    try:
        value.encode()
    except UnicodeEncodeError:
        return {"str": value.encode("utf-16-le", "surrogatepass").hex()}
    return value


def _from_array(value: Value) -> Value:
    """A NumPy number or array as built-in types; any other value unchanged."""
    if type(value).__module__ == "numpy" and hasattr(value, "tolist"):
        return value.tolist()
    return value


def _unpacked(data: object, depth: int) -> Value:
    if depth > 2 * MAX_DEPTH + 2:
        raise CodecError(f"deeper than {MAX_DEPTH} levels")
    if isinstance(data, list):
        return [_unpacked(one, depth + 1) for one in data]
    if not isinstance(data, dict):
        return data
    if len(data) != 1:
        raise CodecError("an object must have exactly one key")
    ((name, content),) = data.items()
    if name not in _UNPACK:
        raise CodecError(f"an unknown type of value: {name[:40]!r}")
    return _UNPACK[name](content, depth + 1)


def _list(content: object, depth: int) -> list[Value]:
    if not isinstance(content, list):
        raise CodecError("a collection that is not a list")
    return [_unpacked(one, depth + 1) for one in content]


def _dict(content: object, depth: int) -> Value:
    if not isinstance(content, list):
        raise CodecError("a dict that is not a list of pairs")
    pairs = [_list(pair, depth + 1) for pair in content]
    _spread([pair[0] for pair in pairs])
    return dict(pairs)  # type: ignore[arg-type]


def _spread(elements: list[Value]) -> list[Value]:
    """The elements. Raises CodecError if so many hashes are equal that making a set of them would take very long."""
    if len(elements) > _MAX_ALIKE and len(set(map(hash, elements))) < len(elements) - _MAX_ALIKE:
        raise CodecError(f"a collection of {len(elements)} elements, too many of them with equal hashes")
    return elements


def _int(content: object, depth: int) -> Value:
    text = str(content)
    if len(text) > _MAX_HEX_DIGITS + 1:
        raise CodecError(f"an integer of {len(text)} digits")
    return int(text, 16)


def _complex(content: object, depth: int) -> Value:
    real, imaginary = _list(content, depth)
    return complex(float(real), float(imaginary))  # type: ignore[arg-type]


_UNPACK: dict[str, Callable[[object, int], Value]] = {
    "tuple": lambda content, depth: tuple(_list(content, depth)),
    "set": lambda content, depth: set(_spread(_list(content, depth))),
    "frozenset": lambda content, depth: frozenset(_spread(_list(content, depth))),
    "dict": _dict,
    "bytes": lambda content, depth: bytes.fromhex(str(content)),
    "complex": _complex,
    "int": _int,
    "str": lambda content, depth: bytes.fromhex(str(content)).decode("utf-16-le", "surrogatepass"),
}
