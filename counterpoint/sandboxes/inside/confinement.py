"""Confine a process by every layer that the host supports: limits, a separate user or namespaces, Landlock, seccomp.

The server finds out once, before any program runs, which layers the host supports. Each child then applies exactly
those, or exits.
"""

import math
import os
import resource
import signal
import sys
import sysconfig
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from . import kernel, landlock, memory, seccomp
from .exits import NOT_CONFINED

_CAP_DAC_READ_SEARCH = 2
_NEW_USER, _NEW_PID, _NEW_NET, _NEW_IPC = 0x10000000, 0x20000000, 0x40000000, 0x08000000
_UIDS = (1 << 30, 60_000)
"""First user ids for programs when the server is root; the server adds its process id, so that no two share one."""
RULES = 40
"""The file descriptor of the Landlock rules, from their creation until they are applied."""
_STACK = 128 * 2**20
_OTHER_THREADS = 8
_MULTIARCH = ("/lib", "/usr/lib")


@dataclass(frozen=True, slots=True, kw_only=True)
class Layers:
    """The layers that confine a program on this host."""

    uid: int | None = None
    """The user id of programs; None if it is the server's."""
    capabilities: tuple[int, ...] = ()
    namespaces: bool = False
    rules: int | None = None
    """The file descriptor of the Landlock rules; None without Landlock."""
    seccomp: bool = False
    address_space: int = 0
    """Bytes of address space of a fork before it runs a program."""
    thread_limit: bool = False
    """The kernel counts a program's threads separately, so that their number can be limited."""

    @property
    def tier(self) -> str:
        if not self.seccomp:
            return "D"
        if self.rules is None:
            return "D" if os.geteuid() == 0 and self.uid is None else "C"
        return "A" if self.uid is not None or self.namespaces else "B"

    def names(self) -> list[str]:
        """The layers in words."""
        named = {
            "limits": True,
            "a user of its own": self.uid is not None,
            "namespaces": self.namespaces,
            f"Landlock {landlock.version()}": self.rules is not None,
            "seccomp": self.seccomp,
            "no opening of files": self.seccomp and self.rules is None,
        }
        return [name for name, there in named.items() if there]


def enter_namespaces() -> bool:
    """Give this process new user, process, network and IPC namespaces, in which its children run; True on success."""
    uid, gid = os.geteuid(), os.getegid()
    try:
        kernel.unshare(_NEW_USER | _NEW_PID | _NEW_NET | _NEW_IPC)
        _write("/proc/self/setgroups", "deny")
        _write("/proc/self/uid_map", f"{uid} {uid} 1")
        _write("/proc/self/gid_map", f"{gid} {gid} 1")
    except OSError:
        return False
    return True


def layers(*, namespaces: bool, packages: list[str]) -> Layers:
    """All layers that this host supports."""
    has_landlock = landlock.version() > 0
    uid = _free_uid() if os.geteuid() == 0 else None
    kept: tuple[int, ...] = ()
    if uid is not None and has_landlock and not _readable_by_all(os.path.dirname(os.__file__)):
        # Landlock decides which files can be read; this capability only lets the program traverse the folders above
        # them. Where even root lacks it, as in most containers, the program remains root, without any capability.
        kept = (_CAP_DAC_READ_SEARCH,)
        if not _in_a_child(lambda: _become_with(uid, kept)):
            uid, kept = None, ()
    return Layers(
        uid=uid,
        capabilities=kept,
        namespaces=namespaces,
        rules=_rules(packages) if has_landlock else None,
        seccomp=seccomp.supported(),
        address_space=memory.address_space(),
        thread_limit=uid is not None or namespaces,
    )


def _rules(packages: list[str]) -> int:
    made = landlock.rule_set(_readable(packages), _listable())
    os.dup2(made, RULES, inheritable=False)
    os.close(made)
    return RULES


def confine(found: Layers, limits: dict[str, Any], template: bytes, parent: int) -> None:
    """Apply every layer to this process, a fresh fork with one thread; if one fails, the process exits.

    From here on the process is killed when its parent ends; if the parent has already ended, it exits.
    """
    try:
        for name, value in _limits(found, limits).items():
            resource.setrlimit(name, (value, value))
        _become_with(found.uid, found.capabilities)
        kernel.prctl(kernel.PR_SET_DUMPABLE, 0)
        kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(NOT_CONFINED)
        kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
        if found.rules is not None:
            landlock.restrict(found.rules)
            os.close(found.rules)
        if found.seccomp:
            seccomp.install(seccomp.for_process(template, os.getpid()))
    except OSError as error:
        os.write(2, f"not confined: {error}\n".encode())
        os._exit(NOT_CONFINED)


def _limits(found: Layers, limits: dict[str, Any]) -> dict[int, int]:
    # The kernel counts CPU time in ticks and may stop a process up to a tenth too early. So the server enforces
    # the limit; this one, a second later, applies if the server has ended.
    seconds = math.ceil(limits["cpu"]) + 1
    wanted = {
        resource.RLIMIT_CPU: seconds,
        resource.RLIMIT_AS: memory.addressable(found.address_space + limits["memory"]),
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_FSIZE: limits["output"],
        resource.RLIMIT_MEMLOCK: 0,
        resource.RLIMIT_MSGQUEUE: 0,
        resource.RLIMIT_NOFILE: 64,
    }
    if found.thread_limit:
        wanted[resource.RLIMIT_NPROC] = limits["threads"] + _OTHER_THREADS
    return wanted


def beyond(found: Layers, limits: dict[str, Any]) -> str:
    """The limits of a job that exceed this process's hard limits, so that a child could not set them; empty if none."""
    names = {getattr(resource, name): name for name in dir(resource) if name.startswith("RLIMIT_")}
    hard = {name: resource.getrlimit(name)[1] for name in _limits(found, limits)}
    above = [
        f"{names[name]} {value} of at most {hard[name]}"
        for name, value in _limits(found, limits).items()
        if hard[name] != resource.RLIM_INFINITY and value > hard[name]
    ]
    return ", ".join(above)


def _become_with(uid: int | None, capabilities: tuple[int, ...]) -> None:
    """Change to this user, if one is given, and keep only these capabilities."""
    if uid is not None:
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        if capabilities:
            kernel.prctl(kernel.PR_SET_KEEPCAPS, 1)
        os.setresuid(uid, uid, uid)
    kernel.keep_capabilities(*capabilities)


def grow_stack() -> None:
    """Raise the stack limit of the main thread, so that programs can recurse deeply."""
    soft, hard = resource.getrlimit(resource.RLIMIT_STACK)
    if soft != resource.RLIM_INFINITY and soft < _STACK and (hard == resource.RLIM_INFINITY or hard >= _STACK):
        resource.setrlimit(resource.RLIMIT_STACK, (_STACK, hard))


def _free_uid() -> int | None:
    """A user id for programs; None if this process may not change its user."""
    for first in _UIDS:
        uid = first + os.getpid() % 5_000 if first < 65_536 else first + os.getpid()
        if _in_a_child(lambda uid=uid: _become_with(uid, ())):  # type: ignore[misc]
            return uid
    return None


def _in_a_child(act: Callable[[], None]) -> bool:
    """True if `act` succeeds; it runs in a child process, so that this one does not change."""
    child = os.fork()
    if child == 0:
        try:
            act()
        except OSError:
            os._exit(1)
        os._exit(0)
    return os.waitpid(child, 0)[1] == 0


def _readable_by_all(path: str) -> bool:
    parts = [path]
    while parts[-1] != os.path.dirname(parts[-1]):
        parts.append(os.path.dirname(parts[-1]))
    return all(os.stat(part).st_mode & 0o001 for part in parts)


def _readable(packages: list[str]) -> list[str]:
    """Files that programs may read: standard library, shared libraries, devices and `packages`.

    The standard library is listed module by module, since its folder may also contain other packages.
    """
    standard = os.path.dirname(os.__file__)
    modules = [entry.path for entry in os.scandir(standard) if entry.name not in ("site-packages", "dist-packages")]
    name = f"{os.uname().machine}-linux-gnu"
    libraries = [os.path.join(folder, name) for folder in _MULTIARCH]
    base = sysconfig.get_config_var("LIBDIR") or os.path.join(sys.base_prefix, "lib")
    libraries += [entry.path for entry in os.scandir(base) if ".so" in entry.name] if os.path.isdir(base) else []
    others = ["/etc/ld.so.cache", "/usr/share/zoneinfo", "/dev/null", "/dev/zero", "/dev/urandom"]
    return [*modules, *libraries, *others, *packages]


def _listable() -> list[str]:
    return [os.path.dirname(os.__file__)]


def _write(path: str, text: str) -> None:
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
