"""Landlock rules: a program may read the listed files, and may not write, execute, connect or signal."""

import os
import struct
from collections.abc import Iterable
from ctypes import c_void_p, create_string_buffer

from .kernel import system_call

_CREATE, _ADD, _RESTRICT = 444, 445, 446
_VERSION = 1
READ_FILE = 1 << 2
READ_DIR = 1 << 3
_FILE_RIGHTS = (13, 14, 15, 15, 16)
"""Number of file access rights in version 1, 2, 3, 4, and 5 or later."""


def version() -> int:
    """The version of Landlock that the kernel offers; 0 if none."""
    try:
        return system_call(_CREATE, c_void_p(None), 0, _VERSION)
    except OSError:
        return 0


def rule_set(readable: Iterable[str], listable: Iterable[str]) -> int:
    """The file descriptor of a rule set: files at or under `readable` can be read, folders at or under both listed.

    Paths that do not exist are skipped. Raises OSError.
    """
    offered = version()
    files = (1 << _FILE_RIGHTS[min(offered, len(_FILE_RIGHTS)) - 1]) - 1
    network = 0b11 if offered >= 4 else 0
    scopes = 0b11 if offered >= 6 else 0
    size = 8 if offered < 4 else 16 if offered < 6 else 24
    attributes = struct.pack("QQQ", files, network, scopes)[:size]
    descriptor = system_call(_CREATE, create_string_buffer(attributes, size), size, 0)
    for path in listable:
        _allow(descriptor, path, READ_DIR)
    for path in readable:
        _allow(descriptor, path, READ_FILE | READ_DIR if os.path.isdir(path) else READ_FILE)
    return descriptor


def restrict(descriptor: int) -> None:
    """Apply the rules to this thread. Needs no_new_privs. Raises OSError."""
    system_call(_RESTRICT, descriptor, 0)


def _allow(descriptor: int, path: str, rights: int) -> None:
    try:
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    try:
        attributes = struct.pack("=Qi", rights, place)
        system_call(_ADD, descriptor, 1, create_string_buffer(attributes, len(attributes)), 0)
    finally:
        os.close(place)
