"""Other hosts, as far as a sandbox can tell, and what becomes of the programs of `hostile` there.

`python tests/sandbox_host.py HOST WHICH` becomes that host, runs `all` programs or those that are `light` or `heavy`,
and prints one JSON object: the tier, the outcome of each program, and the damage done. `{"refused": why}` says that
this machine cannot pretend to be it.
"""

import asyncio
import contextlib
import ctypes
import json
import os
import re
import signal
import socket
import stat
import struct
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from string import Template

from hostile import FAIR, HOSTILE, Program

from counterpoint.errors import TaskError
from counterpoint.judges.programs.grader import Grader
from counterpoint.sandboxes.base import Allowance, Execution, Job, Sandbox, Tier, Verdict
from counterpoint.sandboxes.fork_server import fork_server

REPOSITORY = Path(__file__).resolve().parent.parent
USER = 64020
TOKEN = "planted-token-of-the-grader"
"""A value in the environment of the grader, which no program may see."""
_LIBC = ctypes.CDLL(None, use_errno=True)


class World:
    """What programs are after: files, listeners, a process and a token, and whether any of it was touched."""

    def __init__(self, *, prey: bool = True) -> None:
        self._has_prey = prey

    def __enter__(self) -> "World":
        self._stack = contextlib.ExitStack()
        self.room = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="counterpoint-world-")))
        self.stamp = f"left-behind-{self.room.name[-8:]}"
        self._plant_files()
        self._listen()
        self._plant_environment()
        self._prey = self._stack.enter_context(_prey()) if self._has_prey else None
        self._ipc = _shared_objects()
        return self

    def __exit__(self, *_: object) -> None:
        for path in self._left_behind():
            if self.room not in path.parents:
                path.unlink()
        self._stack.close()

    def source(self, program: Program) -> str:
        """The program's source with the names of what is planted here."""
        return Template(program.source).safe_substitute(self._names)

    def damage(self) -> list[str]:
        """What happened outside, in words; nothing if the sandbox held."""
        found = [f"left {path}" for path in self._left_behind()]
        found += [f"{path.name} was changed" for path, before in self._before.items() if _likeness(path) != before]
        found += [f"the {name} listener was reached" for name, one in self._listeners.items() if _was_reached(one)]
        if self._prey is not None and self._prey.poll() is not None:
            found.append("a stranger's process was signalled")
        if (self.room / "marker").exists():
            found.append("a payload was run")
        return found + [f"{one} was left behind" for one in sorted(_shared_objects() - self._ipc)]

    def _plant_files(self) -> None:
        self.room.chmod(0o755)
        folder = self.room / "open"
        folder.mkdir()
        folder.chmod(0o777)
        for name, text, mode in (
            ("secret", "7\n", 0o644),
            ("open/victim", "untouched\n", 0o666),
            ("planted.py", "print(7)\n", 0o644),
            ("planted.db", "", 0o644),
        ):
            (self.room / name).write_text(text)
            (self.room / name).chmod(mode)
        (self.room / "link").symlink_to("secret")
        kept = [self.room, folder, self.room / "secret", folder / "victim"]
        self._before = {path: _likeness(path) for path in kept}

    def _listen(self) -> None:
        self._abstract = f"counterpoint-{self.room.name}"
        path = self.room / "datagram"
        self._listeners = {
            "TCP": self._socket(socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", 0)),
            "UDP": self._socket(socket.AF_INET, socket.SOCK_DGRAM, ("127.0.0.1", 0)),
            "abstract": self._socket(socket.AF_UNIX, socket.SOCK_STREAM, f"\0{self._abstract}"),
            "datagram": self._socket(socket.AF_UNIX, socket.SOCK_DGRAM, str(path)),
        }
        path.chmod(0o777)
        self._before[self.room] = _likeness(self.room)

    def _socket(self, family: int, kind: int, address: object) -> socket.socket:
        one = self._stack.enter_context(socket.socket(family, kind))
        one.bind(address)
        one.setblocking(False)
        if kind == socket.SOCK_STREAM:
            one.listen()
        return one

    def _plant_environment(self) -> None:
        os.environ["COUNTERPOINT_PLANTED"] = TOKEN
        self._stack.callback(os.environ.pop, "COUNTERPOINT_PLANTED", None)

    @property
    def _names(self) -> Mapping[str, object]:
        return {
            "ROOM": self.room,
            "DIR": self.room / "open",
            "SECRET": self.room / "secret",
            "VICTIM": self.room / "open" / "victim",
            "LINK": self.room / "link",
            "MARKER": self.room / "marker",
            "DATAGRAM": self.room / "datagram",
            "ABSTRACT": self._abstract,
            "TCP": self._listeners["TCP"].getsockname()[1],
            "UDP": self._listeners["UDP"].getsockname()[1],
            "STAMP": self.stamp,
            "TOKEN": TOKEN,
            "SITE": sysconfig.get_path("purelib"),
            "REPO": REPOSITORY,
            "PARENT": os.getpid(),
            "PREY": self._prey.pid if self._prey else 0,
        }

    def _left_behind(self) -> list[Path]:
        library = Path(os.__file__).parent
        places = [Path("/tmp"), Path("/var/tmp"), Path("/dev/shm"), Path("/"), Path.home(), Path.cwd()]
        places += [self.room / "open", library, library / "__pycache__", Path(sysconfig.get_path("purelib"))]
        return [path for place in dict.fromkeys(places) if _is_folder(place) for path in place.glob(f"*{self.stamp}*")]


@contextlib.contextmanager
def _prey():
    """A process of the same user that ends when it is signalled with what nobody else minds."""
    source = (
        "import os, signal, time\nsignal.signal(signal.SIGURG, lambda *_: os._exit(9))\nprint(flush=True)\n"
        "time.sleep(3600)"
    )
    with subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", source],
        stdout=subprocess.PIPE,
        env={"COUNTERPOINT_PLANTED": TOKEN},
    ) as process:
        process.stdout.readline()
        try:
            yield process
        finally:
            process.kill()


def _likeness(path: Path) -> tuple[object, ...]:
    """What an attack on a file would change."""
    found = path.stat()
    content = path.read_bytes() if path.is_file() else sorted(one.name for one in path.iterdir())
    return content, found.st_mode, found.st_uid, found.st_mtime_ns, tuple(os.listxattr(path))


def _was_reached(listener: socket.socket) -> bool:
    try:
        if listener.type == socket.SOCK_STREAM:
            listener.accept()[0].close()
        else:
            listener.recv(1)
    except BlockingIOError:
        return False
    return True


def _is_folder(path: Path) -> bool:
    try:
        return stat.S_ISDIR(path.stat().st_mode) and os.access(path, os.R_OK | os.X_OK)
    except OSError:
        return False


def _shared_objects() -> set[str]:
    """Shared memory, semaphores and queues of System V, by kind and number."""
    found = set()
    for kind in ("shm", "sem", "msg"):
        with contextlib.suppress(OSError):
            rows = Path(f"/proc/sysvipc/{kind}").read_text().splitlines()[1:]
            found |= {f"{kind} {row.split()[1]}" for row in rows}
    return found


def adopt_orphans(adopt: bool = True) -> None:
    """From here on processes whose parents end become children of this one, so that `children` shows survivors."""
    _LIBC.prctl(36, int(adopt), 0, 0, 0)


def children(of: int | None = None) -> set[int]:
    """The processes whose parent is this one, or `of`; also those that have ended but were not waited for."""
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError, IndexError):
                after_name = (entry / "stat").read_text().rpartition(")")[2].split()
                if int(after_name[1]) == (of or os.getpid()):
                    found.add(int(entry.name))
    return found


def descendants(of: int | None = None) -> set[int]:
    """`children`, their children and so on."""
    found = set(children(of))
    for child in tuple(found):
        found |= descendants(child)
    return found


class Witness:
    """A sandbox that remembers what became of each source."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        self.seen: dict[str, Execution] = {}

    @property
    def slots(self) -> int:
        return self._sandbox.slots

    @property
    def kinds(self):
        return self._sandbox.kinds

    async def start(self) -> Tier:
        return await self._sandbox.start()

    async def run(self, job: Job, allowance: Allowance) -> Execution:
        execution = await self._sandbox.run(job, allowance)
        self.seen[job.source] = execution
        return execution

    def facts(self) -> Mapping[str, str]:
        return self._sandbox.facts()

    async def close(self) -> None:
        await self._sandbox.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of a program."""

    verdict: str
    reason: str
    signal: int | None = None
    errors: str = ""
    """The end of its standard error."""


async def judge_all(sandbox: Sandbox, programs: Iterable[Program], world: World) -> dict[str, Outcome]:
    """Name -> outcome of each program, as many at once as there are slots."""
    programs = [program for program in programs if not program.needs or os.path.exists(program.needs)]
    witness = Witness(sandbox)
    grader = Grader(witness)
    await witness.start()
    outcomes = await asyncio.gather(*(_judge(grader, witness, program, world) for program in programs))
    return {program.name: outcome for program, outcome in zip(programs, outcomes, strict=True)}


async def _judge(grader: Grader, witness: Witness, program: Program, world: World) -> Outcome:
    source = world.source(program)
    try:
        judgement = await asyncio.wait_for(grader.grade(source, program.suite), 500)
    except TaskError as error:
        return Outcome(verdict=Verdict.INVALID_TASK, reason=str(error))
    except Exception as error:
        return Outcome(verdict="no verdict", reason=f"{type(error).__name__}: {error}"[:300])
    execution = witness.seen.get(source)
    if execution is None:
        return Outcome(verdict=judgement.verdict, reason=judgement.reason)
    return Outcome(
        verdict=judgement.verdict,
        reason=judgement.reason.encode(errors="replace").decode()[:300],
        signal=execution.program.signal,
        errors=execution.stderr[-600:].decode(errors="replace"),
    )


def fault(program: Program, outcome: Outcome, tier: str) -> str:
    """What is wrong with the outcome where programs are confined by that tier; nothing if it is as it must be."""
    told = f"{outcome.verdict} ({outcome.reason}) {outcome.errors[-300:]!r}"
    if outcome.verdict not in _allowed(program, tier):
        return f"expected {' or '.join(sorted(program.verdicts))}, got {told}"
    if tier > Tier.B or outcome.verdict != Verdict.RUNTIME_ERROR:
        return ""
    if program.killed and outcome.signal != signal.SIGSYS:
        return f"expected to be killed by SIGSYS, got signal {outcome.signal}, {told}"
    if program.says and not re.search(program.says, outcome.errors):
        return f"expected to fail with {program.says!r}, got {told}"
    return ""


def _allowed(program: Program, tier: str) -> frozenset[str]:
    allowed = set(program.verdicts)
    if tier > Tier.A:
        allowed |= program.weak
    if tier > Tier.B and (program.opens or Verdict.ACCEPTED not in allowed):
        allowed |= {Verdict.RUNTIME_ERROR, Verdict.WRONG_ANSWER}
    return frozenset(allowed)


# --- hosts -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """How a host differs from this machine, on which one is root."""

    user: bool = False
    """One is somebody without rights."""
    blocked: bool = False
    """A filter refuses what the default one of Docker does, and root has the capabilities that it leaves."""
    landlock: bool = True
    capabilities: bool = True
    """Root has any at all."""
    hidden: bool = False
    """What Python needs lies in folders that only root may pass, if it does so here."""
    mapped: bool = False
    """Root is root of a user namespace with 65,536 users alone, as in a container that somebody without rights runs."""
    tier: str = "A"
    """How well programs are confined there."""


HOSTS = {
    "root": Host(),
    "user": Host(user=True),
    "root-blocked": Host(blocked=True),
    "root-blocked-and-hidden": Host(blocked=True, hidden=True, tier="B"),
    "user-blocked": Host(user=True, blocked=True, tier="B"),
    "root-without-landlock": Host(landlock=False, tier="C"),
    "user-without-landlock": Host(user=True, landlock=False, tier="C"),
    "user-blocked-without-landlock": Host(user=True, blocked=True, landlock=False, tier="C"),
    "root-without-capabilities": Host(blocked=True, capabilities=False, tier="B"),
    "root-of-a-namespace": Host(mapped=True, blocked=True),
}
_DOCKER_CAPABILITIES = (0, 1, 3, 4, 5, 6, 7, 8, 10, 13, 18, 27, 29, 31)
_CALLS = {
    "x86_64": {
        "denied": (272, 165, 166, 308, 155, 425, 426, 427, 101, 250, 321, 323),
        "clone": 56,
        "architecture": 0xC000003E,
    },
    "aarch64": {
        "denied": (97, 40, 39, 268, 41, 425, 426, 427, 117, 219, 280, 282),
        "clone": 220,
        "architecture": 0xC00000B7,
    },
}
_CLONE3, _LANDLOCK = 435, (444, 445, 446)
_NEW_NAMESPACES = 0x7E020000
_MS_BIND, _MS_REC, _MS_PRIVATE = 4096, 16384, 1 << 18
_NEW_MOUNTS, _NEW_USERS = 0x00020000, 0x10000000


def become(host: Host) -> None:
    """This process, which is root and has one thread, and what it starts, is on that host. Raises OSError."""
    if host.hidden and not _hidden_folders():
        raise FileNotFoundError("Python lies in no folder that only root may pass")
    if not host.hidden:
        _open_hidden_folders()
    if host.mapped:
        _enter_mapped_namespace()
    if host.blocked or not host.landlock:
        _filter(host)
    if host.blocked and not host.user:
        _keep_capabilities(_DOCKER_CAPABILITIES if host.capabilities else ())
    if host.user:
        os.setgroups([])
        os.setresgid(USER, USER, USER)
        os.setresuid(USER, USER, USER)


def _hidden_folders() -> dict[str, list[str]]:
    """Folders that only root may pass, and what is needed of them."""
    hidden: dict[str, list[str]] = {}
    for path in (sys.base_prefix, sys.prefix, str(REPOSITORY)):
        above = [str(one) for one in reversed(Path(path).parents)] + [path]
        closed = [one for one in above if not os.stat(one).st_mode & 0o001]
        if closed:
            hidden.setdefault(closed[0], []).append(path)
    return hidden


def _open_hidden_folders() -> None:
    """What is needed lies in folders that anybody may pass, in this process alone; the rest of them is not there."""
    hidden = _hidden_folders()
    if not hidden:
        return
    _checked(_LIBC.unshare(_NEW_MOUNTS), "unshare")
    _mount("none", "/", None, _MS_REC | _MS_PRIVATE)
    for folder, paths in hidden.items():
        aside = [tempfile.mkdtemp(prefix="counterpoint-aside-") for _ in paths]
        for path, place in zip(paths, aside, strict=True):
            _mount(path, place, None, _MS_BIND)
        _mount("none", folder, "tmpfs", 0, "mode=0755")
        for path, place in zip(paths, aside, strict=True):
            os.makedirs(path, exist_ok=True)
            _mount(place, path, None, _MS_BIND)
            _checked(_LIBC.umount2(place.encode(), 2), "umount")
            os.rmdir(place)


def _enter_mapped_namespace() -> None:
    """This process is root of a user namespace whose users are 65,536 others."""
    ready, written = os.pipe(), os.pipe()
    inside, pid = os.getpid(), os.fork()
    if pid == 0:
        os.read(ready[0], 1)
        for name in ("uid_map", "gid_map"):
            Path(f"/proc/{inside}/{name}").write_text("0 100000 65536")
        os.write(written[1], b"x")
        os._exit(0)
    _checked(_LIBC.unshare(_NEW_USERS), "unshare")
    os.write(ready[1], b"x")
    os.read(written[0], 1)
    os.waitpid(pid, 0)
    for descriptor in (*ready, *written):
        os.close(descriptor)
    os.setgroups([])
    os.setresgid(0, 0, 0)
    os.setresuid(0, 0, 0)


def _keep_capabilities(kept: Sequence[int]) -> None:
    """After the next exec root has these capabilities and no others."""
    last = int(Path("/proc/sys/kernel/cap_last_cap").read_text())
    for capability in range(last + 1):
        if capability not in kept:
            _checked(_LIBC.prctl(24, capability, 0, 0, 0), "prctl")


def _filter(host: Host) -> None:
    """System calls fail as they do on that host."""
    table = _CALLS[os.uname().machine]
    give = [(0x20, 0, 0, 4), (0x15, 1, 0, table["architecture"]), (0x06, 0, 0, 0x7FFF0000), (0x20, 0, 0, 0)]
    errors: dict[int, int] = {}
    if not host.landlock:
        errors |= dict.fromkeys(_LANDLOCK, 38)
    if host.blocked:
        errors |= {**dict.fromkeys(table["denied"], 1), _CLONE3: 38}
    for number, error in errors.items():
        give += [(0x15, 0, 1, number), (0x06, 0, 0, 0x00050000 | error)]
    if host.blocked:
        give += [
            (0x15, 0, 3, table["clone"]),
            (0x20, 0, 0, 16),
            (0x45, 0, 1, _NEW_NAMESPACES),
            (0x06, 0, 0, 0x00050001),
        ]
    give.append((0x06, 0, 0, 0x7FFF0000))
    program = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *one) for one in give))
    header = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(give), ctypes.addressof(program)))
    if _LIBC.prctl(22, 2, header, 0, 0) != 0:
        _checked(_LIBC.prctl(38, 1, 0, 0, 0), "no_new_privs")
        _checked(_LIBC.prctl(22, 2, header, 0, 0), "seccomp")


def _mount(source: str, target: str, kind: str | None, flags: int, data: str = "") -> None:
    given = [source.encode(), target.encode(), kind and kind.encode(), ctypes.c_ulong(flags), data.encode()]
    _checked(_LIBC.mount(*given), f"mount on {target}")


def _checked(result: int, name: str) -> None:
    if result < 0:
        raise OSError(ctypes.get_errno(), f"{name}: {os.strerror(ctypes.get_errno())}")


def report(which: str, *, slots: int = 2) -> dict[str, object]:
    """The tier here, the outcome of every program, or of the `light` or the `heavy` ones, and what was left."""
    adopt_orphans()
    wanted = {"all": (False, True), "light": (False,), "heavy": (True,)}[which]
    programs = [program for program in (*HOSTILE, *FAIR) if program.heavy in wanted]
    with World() as world:
        before = children()
        tier, outcomes = asyncio.run(_judged(programs, world, slots))
        survivors = [f"process {pid} survived" for pid in children() - before]
        return {
            "tier": tier,
            "user": os.getuid(),
            "outcomes": {name: _plain(outcome) for name, outcome in outcomes.items()},
            "damage": world.damage() + survivors,
        }


async def _judged(programs: Sequence[Program], world: World, slots: int) -> tuple[str, dict[str, Outcome]]:
    sandbox = fork_server(slots=slots, require="C")
    try:
        return str(await sandbox.start()), await judge_all(sandbox, programs, world)
    finally:
        await sandbox.close()


def _plain(outcome: Outcome) -> dict[str, object]:
    return {name: getattr(outcome, name) for name in Outcome.__dataclass_fields__}


def main(name: str, which: str, *inside: str) -> None:
    """Become the host, start anew there, and print its report."""
    if inside:
        print(json.dumps(report(which)))
        return
    try:
        become(HOSTS[name])
    except OSError as error:
        print(json.dumps({"refused": f"this machine cannot pretend to be {name}: {error}"}))
        return
    os.execv(sys.executable, [sys.executable, __file__, name, which, "inside"])


if __name__ == "__main__":
    main(*sys.argv[1:])
