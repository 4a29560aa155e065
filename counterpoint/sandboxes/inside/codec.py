"""A codec for values between processes that do not trust each other: JSON of built-in types, bounded in size and depth.

None, bool, str, list, float and int below 2^63 are written as in JSON; everything else is an object with one key that
names its type: `{"tuple": [...]}`, `{"set": [...]}`, `{"dict": [[key, value], ...]}`, `{"bytes": "hex"}`, `{"complex":
[real, imaginary]}`, `{"int": "hex"}` for a large one, `{"str": "hex of UTF-16 with surrogates"}` for text that is not
valid Unicode, and so on for the types of the standard library in `Value`.

What a program returns may be of a subclass of a collection, or an enumeration of numbers or texts: it is packed as the
nearest of these types, read with that type's own methods. So a named tuple is a tuple and a defaultdict a dict, which
they equal, and no method of the program's is called. Another subclass of a number or a text is refused.
"""

import json
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, ItemsView, Iterable, KeysView, Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import EnumMeta
from fractions import Fraction
from typing import Any

Value = object
"""Made of None and exactly these types: bool, int, float, complex, Fraction, Decimal, str, bytes, bytearray, list,
tuple, deque, range, set, frozenset, dict, OrderedDict, Counter, and date, time, datetime and timedelta without zone."""

MAX_BYTES = 16 * 2**20
MAX_DEPTH = 200
MAX_NODES = 2_000_000
_PLAIN_INT = 2**63
_MAX_HEX_DIGITS = 100_000
_MAX_ALIKE = 1_000
_MAX_FRACTION_BITS = 2**14
_MAX_DECIMAL_DIGITS = 20_000


class CodecError(Exception):
    """A value that cannot be encoded, or bytes that are not an encoded value."""


def encode(value: Value, *, subclasses: bool = False) -> bytes:
    """The value as bytes. With `subclasses`, collections and enumerations of a subclass are packed as their base.

    Raises CodecError if it is not made of these types, too large or too deep.
    """
    data = json.dumps(packed(value, subclasses=subclasses), separators=(",", ":")).encode()
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


def packed(value: Value, *, subclasses: bool = False) -> object:
    """The value as an object that `json` can write. Raises CodecError as `encode` does."""
    return _Packer(subclasses).pack(value, 0)


def unpacked(data: object) -> Value:
    """The inverse of `packed`; plain JSON without objects is its own value. Raises CodecError."""
    try:
        return _unpacked(data, 0)
    except (ValueError, TypeError, LookupError, RecursionError, ArithmeticError) as error:
        raise CodecError(f"not a value: {type(error).__name__}: {error}") from None


class _Packer:
    """Packs values and counts their parts: a small object that refers to itself many times must not fill the memory."""

    def __init__(self, subclasses: bool) -> None:
        self._subclasses = subclasses
        self._left = MAX_NODES

    def pack(self, value: Value, depth: int) -> object:
        self._left -= 1
        if depth > MAX_DEPTH or self._left < 0:
            raise CodecError(f"deeper than {MAX_DEPTH} levels or more than {MAX_NODES} parts")
        kind = type(value)
        if value is None or kind is bool:
            return value
        base = _base(kind) if self._subclasses else kind
        if base in _PACK:
            return _PACK[base](value, self, depth)
        plain = _from_array(value)
        if plain is not value:
            return self.pack(plain, depth + 1)
        raise CodecError(f"a {kind.__module__}.{kind.__qualname__} is not a built-in value")

    def all(self, values: Iterable[Value], depth: int) -> list[object]:
        """The values, packed, which are one level deeper than `depth`."""
        return [self.pack(one, depth + 1) for one in values]


_Pack = Callable[[Any, _Packer, int], object]


def _packed_int(value: Any, packer: _Packer, depth: int) -> object:
    whole = int.__int__(value)
    if -_PLAIN_INT < whole < _PLAIN_INT:
        return whole
    if whole.bit_length() > 4 * _MAX_HEX_DIGITS:
        raise CodecError(f"an integer of {whole.bit_length()} bits")
    return {"int": f"{whole:x}"}


def _packed_str(value: Any, packer: _Packer, depth: int) -> object:
    text = str.__str__(value)
    try:
        text.encode()
    except UnicodeEncodeError:
        return {"str": text.encode("utf-16-le", "surrogatepass").hex()}
    return text


def _packed_fraction(value: Any, packer: _Packer, depth: int) -> object:
    parts = [Fraction.numerator.__get__(value), Fraction.denominator.__get__(value)]
    if not all(type(part) is int and part.bit_length() <= _MAX_FRACTION_BITS for part in parts):
        raise CodecError("a fraction of too many digits")
    return {"Fraction": packer.all(parts, depth)}


def _packed_decimal(value: Any, packer: _Packer, depth: int) -> object:
    text = Decimal.__str__(value)
    if len(text) > _MAX_DECIMAL_DIGITS or Decimal.is_snan(value):
        raise CodecError("a decimal of too many digits, or one that cannot be compared")
    return {"Decimal": text}


def _collection(name: str, read: Callable[[Any], Iterable[Value]]) -> _Pack:
    return lambda value, packer, depth: {name: packer.all(read(value), depth)}


def _mapping(name: str, read: Callable[[Any], Iterable[tuple[Value, Value]]]) -> _Pack:
    return lambda value, packer, depth: {name: [packer.all(item, depth) for item in read(value)]}


def _fields(name: str, fields: str) -> _Pack:
    def pack(value: Any, packer: _Packer, depth: int) -> object:
        if getattr(value, "tzinfo", None) is not None:
            raise CodecError(f"a {name} with a zone")
        return {name: packer.all([getattr(value, field) for field in fields.split()], depth)}

    return pack


_CLOCK = "hour minute second microsecond"
_PACK: Mapping[type, _Pack] = {
    float: lambda value, packer, depth: float.__float__(value),
    int: _packed_int,
    str: _packed_str,
    complex: lambda value, packer, depth: {"complex": [complex.real.__get__(value), complex.imag.__get__(value)]},
    bytes: lambda value, packer, depth: {"bytes": bytes.hex(value)},
    bytearray: lambda value, packer, depth: {"bytearray": bytearray.hex(value)},
    list: lambda value, packer, depth: packer.all(list.__iter__(value), depth),
    tuple: _collection("tuple", tuple.__iter__),
    deque: _collection("deque", deque.__iter__),
    set: _collection("set", set.__iter__),
    frozenset: _collection("frozenset", frozenset.__iter__),
    KeysView: _collection("set", iter),
    ItemsView: _collection("set", iter),
    range: lambda value, packer, depth: {"range": packer.all([value.start, value.stop, value.step], depth)},
    Counter: _mapping("Counter", dict.items),
    OrderedDict: _mapping("OrderedDict", OrderedDict.items),
    dict: _mapping("dict", dict.items),
    Fraction: _packed_fraction,
    Decimal: _packed_decimal,
    datetime: _fields("datetime", f"year month day {_CLOCK}"),
    date: _fields("date", "year month day"),
    time: _fields("time", _CLOCK),
    timedelta: _fields("timedelta", "days seconds microseconds"),
}
"""The function that packs a value of a type or of a subclass, without calling what a subclass overrides."""
_VIEWS: Mapping[type, type] = {type({}.keys()): KeysView, type({}.items()): ItemsView}
_OPEN = frozenset((list, tuple, deque, set, frozenset, dict, OrderedDict, Counter))
"""Types whose subclasses are packed as themselves."""


def _base(kind: type) -> type:
    """The type as which a value that a program returns is packed: `kind` itself if there is none for it."""
    if kind in _PACK:
        return kind
    allowed = _PACK if isinstance(kind, EnumMeta) else _OPEN
    return next((one for one in kind.__mro__ if one in allowed), _VIEWS.get(kind, kind))


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


def _pairs(content: object, depth: int) -> list[Any]:
    if not isinstance(content, list):
        raise CodecError("a dict that is not a list of pairs")
    pairs = [_list(pair, depth + 1) for pair in content]
    if any(len(pair) != 2 for pair in pairs):
        raise CodecError("a dict that is not a list of pairs")
    _spread([pair[0] for pair in pairs])
    return pairs


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


def _numbers(content: object, depth: int, count: int, kinds: type | tuple[type, ...] = int) -> list[Any]:
    found = _list(content, depth)
    if len(found) != count or not all(isinstance(one, kinds) for one in found):
        raise CodecError(f"not {count} numbers")
    return found


def _fraction(content: object, depth: int) -> Value:
    parts = _numbers(content, depth, 2)
    if max(part.bit_length() for part in parts) > _MAX_FRACTION_BITS:
        raise CodecError("a fraction of too many digits")
    return Fraction(*parts)


def _decimal(content: object, depth: int) -> Value:
    text = str(content)
    if len(text) > _MAX_DECIMAL_DIGITS or "s" in text.lower():
        raise CodecError("a decimal of too many digits, or one that cannot be compared")
    return Decimal(text)


_UNPACK: dict[str, Callable[[object, int], Value]] = {
    "tuple": lambda content, depth: tuple(_list(content, depth)),
    "deque": lambda content, depth: deque(_list(content, depth)),
    "set": lambda content, depth: set(_spread(_list(content, depth))),
    "frozenset": lambda content, depth: frozenset(_spread(_list(content, depth))),
    "range": lambda content, depth: range(*_numbers(content, depth, 3)),
    "dict": lambda content, depth: dict(_pairs(content, depth)),
    "OrderedDict": lambda content, depth: OrderedDict(_pairs(content, depth)),
    "Counter": lambda content, depth: Counter(dict(_pairs(content, depth))),
    "bytes": lambda content, depth: bytes.fromhex(str(content)),
    "bytearray": lambda content, depth: bytearray.fromhex(str(content)),
    "complex": lambda content, depth: complex(*map(float, _numbers(content, depth, 2, (int, float)))),
    "int": _int,
    "Fraction": _fraction,
    "Decimal": _decimal,
    "str": lambda content, depth: bytes.fromhex(str(content)).decode("utf-16-le", "surrogatepass"),
    "datetime": lambda content, depth: datetime(*_numbers(content, depth, 7)),
    "date": lambda content, depth: date(*_numbers(content, depth, 3)),
    "time": lambda content, depth: time(*_numbers(content, depth, 4)),
    "timedelta": lambda content, depth: timedelta(*_numbers(content, depth, 3)),
}
