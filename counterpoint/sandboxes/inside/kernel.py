"""System calls that the standard library does not provide."""

import ctypes
import os

PR_SET_PDEATHSIG = 1
PR_SET_DUMPABLE = 4
PR_SET_KEEPCAPS = 8
PR_SET_SECCOMP = 22
PR_SET_NO_NEW_PRIVS = 38

_LIBC = ctypes.CDLL(None, use_errno=True)
_CAPABILITIES_VERSION = 0x20080522
_CAPSET = {"x86_64": 126, "aarch64": 91}


def prctl(option: int, *arguments: object) -> int:
    """The result of `prctl`. Raises OSError."""
    given = [ctypes.c_ulong(one) if isinstance(one, int) else one for one in arguments]
    rest = [ctypes.c_ulong(0)] * (4 - len(given))
    return _checked(_LIBC.prctl(option, *given, *rest), "prctl")


def system_call(number: int, *arguments: object) -> int:
    """The result of the system call. Raises OSError."""
    given = [ctypes.c_long(one) if isinstance(one, int) else one for one in arguments]
    return _checked(_LIBC.syscall(ctypes.c_long(number), *given), f"system call {number}")


def unshare(flags: int) -> None:
    """Give this process new namespaces. Raises OSError."""
    _checked(_LIBC.unshare(flags), "unshare")


def keep_capabilities(*kept: int) -> None:
    """Drop all capabilities of this thread except `kept`. Raises OSError if it lacks one of those."""
    low = sum(1 << capability for capability in kept)
    header = (ctypes.c_uint32 * 2)(_CAPABILITIES_VERSION, 0)
    data = (ctypes.c_uint32 * 6)(low, low, 0, 0, 0, 0)
    system_call(_CAPSET[os.uname().machine], ctypes.byref(header), ctypes.byref(data))


def _checked(result: int, name: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")
    return result
