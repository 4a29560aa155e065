"""The weights of a GGUF file of the Llama architecture, read one tensor at a time.

Transformers reads such a file by way of a list of Python objects for its tokens, and maps all of the file while it
dequantizes: for a small model both take more memory than its weights. Here the metadata is skipped, and of the
quantized file only the rows in hand are in memory. The values are the same.
"""

from dataclasses import dataclass
from pathlib import Path
from struct import calcsize, unpack
from typing import Any, BinaryIO

import numpy as np
import torch
from torch import Tensor

_SCALARS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d"}
"""The scalar types of GGUF's metadata, by their number, as `struct` has them."""
_STRING, _ARRAY = 8, 9
_ALIGNMENT = 32
"""Bytes to a multiple of which tensors are aligned, unless the file says otherwise."""
_VALUES_AT_ONCE = 2**21
"""Values that are dequantized at once: the intermediate results take several times as much memory as the values."""
_ARCHITECTURE, _NAME, _ALIGNED = "general.architecture", "general.name", "general.alignment"


@dataclass(frozen=True, slots=True)
class Header:
    """The part of a GGUF file that stands before its tensors."""

    path: Path
    architecture: str
    model_name: str
    tensors: tuple["Place", ...]


@dataclass(frozen=True, slots=True)
class Place:
    """A tensor in a GGUF file."""

    name: str
    shape: tuple[int, ...]
    """The slowest dimension first."""
    kind: int
    """GGML's number of its quantization."""
    start: int
    """In bytes from the start of the file."""


def is_llama(header: Header) -> bool:
    """True if `llama_tensors` can read the file."""
    # Mistral's models also call themselves llama; transformers tells them apart by their name, and so does this.
    return header.architecture == "llama" and "mistral" not in header.model_name.lower()


def read_header(path: Path) -> Header:
    """The header of a GGUF file. Raises ValueError if it is not one of version 2 or later; OSError."""
    with path.open("rb") as file:
        if file.read(4) != b"GGUF":
            raise ValueError(f"{path} is not a GGUF file")
        version, tensors, entries = unpack("<IQQ", file.read(20))
        if not 2 <= version <= 3:
            raise ValueError(f"{path} is of GGUF version {version}; allowed: 2 and 3")
        known: dict[str, Any] = {}
        for _ in range(entries):
            name = _text(file)
            value = _value(file, *unpack("<I", file.read(4)))
            if name in (_ARCHITECTURE, _NAME, _ALIGNED):
                known[name] = value
        infos = [_info(file) for _ in range(tensors)]
        align = int(known.get(_ALIGNED, _ALIGNMENT))
        begin = -(-file.tell() // align) * align
    places = tuple(Place(name, shape, kind, begin + offset) for name, shape, kind, offset in infos)
    return Header(path, str(known.get(_ARCHITECTURE, "")), str(known.get(_NAME, "")), places)


def llama_tensors(header: Header, model: Any, dtype: torch.dtype) -> dict[str, Tensor]:
    """The state dict of `model`, which has the file's configuration and whose tensors need no values."""
    from transformers.modeling_gguf_pytorch_utils import LlamaTensorProcessor, get_gguf_hf_weights_map

    processor = LlamaTensorProcessor(config=model.config.to_dict())
    names = get_gguf_hf_weights_map(model, processor)
    found: dict[str, Tensor] = {}
    for place in header.tensors:
        if place.name in names:
            made = processor.process(weights=_dequantized(header.path, place), name=place.name)
            found[names[made.name]] = torch.from_numpy(np.ascontiguousarray(made.weights)).to(dtype)
    return found


def _dequantized(path: Path, place: Place) -> np.ndarray[Any, Any]:
    from gguf import GGMLQuantizationType, dequantize
    from gguf.quants import quant_shape_to_byte_shape

    kind = GGMLQuantizationType(place.kind)
    found = np.empty(place.shape, dtype=np.float32)
    rows = found.reshape(-1, place.shape[-1])
    at_once = max(1, _VALUES_AT_ONCE // rows.shape[1])
    width = quant_shape_to_byte_shape(rows.shape, kind)[1]
    with path.open("rb") as file:
        file.seek(place.start)
        for first in range(0, len(rows), at_once):
            count = min(at_once, len(rows) - first)
            raw = np.frombuffer(file.read(count * width), dtype=np.uint8).reshape(count, width)
            rows[first : first + count] = dequantize(raw, kind)
    return found


def _info(file: BinaryIO) -> tuple[str, tuple[int, ...], int, int]:
    """Name, shape, kind and offset of a tensor."""
    name = _text(file)
    (count,) = unpack("<I", file.read(4))
    shape = unpack(f"<{count}Q", file.read(8 * count))
    kind, offset = unpack("<IQ", file.read(12))
    return name, tuple(reversed(shape)), kind, offset


def _text(file: BinaryIO) -> str:
    (length,) = unpack("<Q", file.read(8))
    return file.read(length).decode(errors="replace")


def _value(file: BinaryIO, kind: int) -> Any:
    """A scalar or a string; an array is skipped, and is None."""
    if kind == _STRING:
        return _text(file)
    if kind == _ARRAY:
        of, length = unpack("<IQ", file.read(12))
        _skip(file, of, length)
        return None
    if kind not in _SCALARS:
        raise ValueError(f"unknown type {kind} in a GGUF file's metadata")
    return unpack(_SCALARS[kind], file.read(calcsize(_SCALARS[kind])))[0]


def _skip(file: BinaryIO, of: int, length: int) -> None:
    if of in _SCALARS:
        file.seek(calcsize(_SCALARS[of]) * length, 1)
        return
    for _ in range(length):
        _value(file, of)
