"""Put a process behind every layer that the host has: limits, an identity of its own, Landlock, seccomp.

What the host has is found out once, by the server, before any program runs; a child then puts on exactly that, or dies.
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

from . import kernel, landlock, seccomp
from .exits import NOT_CONFINED

_CAP_DAC_READ_SEARCH = 2
_NEW_USER, _NEW_PID, _NEW_NET, _NEW_IPC = 0x10000000, 0x20000000, 0x40000000, 0x08000000
_UIDS = (1 << 30, 60_000)
"""A server that is root takes one of the users after these for its programs: one that no other server has."""
RULES = 40
"""The file descriptor of the Landlock rules, from when they are made until they are put on."""
_STACK = 128 * 2**20
_OTHER_THREADS = 8
_MULTIARCH = ("/lib", "/usr/lib")


@dataclass(frozen=True, slots=True, kw_only=True)
class Layers:
    """What confines a program here."""

    uid: int | None = None
    """The user it becomes; None if it stays the server's."""
    capabilities: tuple[int, ...] = ()
    namespaces: bool = False
    rules: int | None = None
    """The Landlock rule set; None without Landlock."""
    seccomp: bool = False
    address_space: int = 0
    """Bytes that a fork has before it runs anything."""
    thread_limit: bool = False
    """Whether the kernel counts the threads of a program alone."""

    @property
    def tier(self) -> str:
        if not self.seccomp:
            return "D"
        if self.rules is None:
            return "D" if os.geteuid() == 0 and self.uid is None else "C"
        return "A" if self.uid is not None or self.namespaces else "B"

    def names(self) -> list[str]:
        """What there is, in words."""
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
    """Whether this process has user, process, network and IPC namespaces of its own; then its children run in them."""
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
    """The best that this host has."""
    has_landlock = landlock.version() > 0
    uid = _free_uid() if os.geteuid() == 0 else None
    kept: tuple[int, ...] = ()
    if uid is not None and has_landlock and not _readable_by_all(os.path.dirname(os.__file__)):
        # The rules say which files can be read; this only lets the program pass the folders above them. Where even
        # root may not, as in most containers, the program stays root, without any capability.
        kept = (_CAP_DAC_READ_SEARCH,)
        if not _in_a_child(lambda: _become_with(uid, kept)):
            uid, kept = None, ()
    return Layers(
        uid=uid,
        capabilities=kept,
        namespaces=namespaces,
        rules=_rules(packages) if has_landlock else None,
        seccomp=seccomp.supported(),
        address_space=_address_space(),
        thread_limit=uid is not None or namespaces,
    )


def _rules(packages: list[str]) -> int:
    made = landlock.rule_set(_readable(packages), _listable())
    os.dup2(made, RULES, inheritable=False)
    os.close(made)
    return RULES


def confine(found: Layers, limits: dict[str, Any], template: bytes, parent: int) -> None:
    """This process, a fresh fork with one thread, is behind every layer; if one fails it ends here.

    It dies with its parent, from here on or, if that has happened already, now.
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
    # The kernel counts ticks, and so stops up to a tenth too soon: the server does it, and this if there is none.
    seconds = math.ceil(limits["cpu"]) + 1
    wanted = {
        resource.RLIMIT_CPU: seconds,
        resource.RLIMIT_AS: found.address_space + limits["memory"],
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
    """Which limits of a job are above the hard ones here, so that a child could not set them; empty if none is."""
    names = {getattr(resource, name): name for name in dir(resource) if name.startswith("RLIMIT_")}
    hard = {name: resource.getrlimit(name)[1] for name in _limits(found, limits)}
    above = [
        f"{names[name]} {value} of at most {hard[name]}"
        for name, value in _limits(found, limits).items()
        if hard[name] != resource.RLIM_INFINITY and value > hard[name]
    ]
    return ", ".join(above)


def _address_space() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[0]) * resource.getpagesize()


def _become_with(uid: int | None, capabilities: tuple[int, ...]) -> None:
    """This process is that user, if one is given, and has these capabilities and no others."""
    if uid is not None:
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        if capabilities:
            kernel.prctl(kernel.PR_SET_KEEPCAPS, 1)
        os.setresuid(uid, uid, uid)
    kernel.keep_capabilities(*capabilities)


def grow_stack() -> None:
    """The main thread may recurse as deep as the address space around it allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_STACK)
    if soft != resource.RLIM_INFINITY and soft < _STACK and (hard == resource.RLIM_INFINITY or hard >= _STACK):
        resource.setrlimit(resource.RLIMIT_STACK, (_STACK, hard))


def _free_uid() -> int | None:
    """A user that programs can become here; None if this process may not change its user."""
    for first in _UIDS:
        uid = first + os.getpid() % 5_000 if first < 65_536 else first + os.getpid()
        if _in_a_child(lambda uid=uid: _become_with(uid, ())):  # type: ignore[misc]
            return uid
    return None


def _in_a_child(act: Callable[[], None]) -> bool:
    """Whether it can be done here; it is done in a child, which ends."""
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
    """The standard library, module by module, since other packages may lie among them; shared libraries; devices."""
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
    with open(path, "w") as file:
        file.write(text)
