"""A pool of slots: started when first needed, replaced when they fail, given to jobs first come, first served."""

import asyncio
import os
import sysconfig
import warnings
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from counterpoint.errors import SandboxError
from counterpoint.sandboxes._canaries import check_canaries
from counterpoint.sandboxes._slot import Slot
from counterpoint.sandboxes.base import Allowance, Exam, Execution, FunctionCall, Job, Script, Tier

HERE = str(Path(__file__).parent)
_BOOT = f"import sys; sys.path.insert(0, {HERE!r}); import inside.server as server; del sys.path[0]; server.main({{}})"
ENVIRONMENT = {
    "LANG": "C.UTF-8",
    "PATH": "/usr/bin:/bin",
    "PYTHONHASHSEED": "0",
    "MALLOC_ARENA_MAX": "1",
    **dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"),
}
"""The whole environment of a program. The hash seed is fixed so that sets have the same order in every run."""
_JOBS_PER_SERVER = 20_000
_TICK = 0.01


Namespaces = Literal["own", "around", "none"]
"""Namespaces of a server: it makes its own unless it is root, its wrapper has made them, or it has none."""


class Pool:
    """Up to `slots` fork servers for programs without packages, and up to `slots` for programs that use packages."""

    kinds: tuple[type[Job], ...] = (Script, FunctionCall, Exam)

    def __init__(
        self,
        name: str,
        *,
        slots: int,
        require: str,
        python: str,
        packages: Sequence[str],
        wrapper: Sequence[str] = (),
        namespaces: Namespaces = "own",
    ) -> None:
        self._name = name
        self._slots = slots or len(os.sched_getaffinity(0))
        self._required = Tier(require)
        self._packages = tuple(packages)
        self._command = (*wrapper, python, "-s", "-S", "-P", "-c", _BOOT)
        self._namespaces = namespaces
        self._free: dict[bool, list[Slot]] = {False: [], True: []}
        self._busy = 0
        self._closings = 0
        self._underway = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._at_work: set[Slot] = set()
        self._known: dict[str, str] = {}
        self._starting: asyncio.Task[Tier] | None = None

    @property
    def slots(self) -> int:
        return self._slots

    def facts(self) -> Mapping[str, str]:
        return self._known or {"name": self._name, "tier": "not started"}

    async def start(self) -> Tier:
        if self._known:
            return Tier(self._known["tier"])
        if self._starting is None or self._starting.done():
            self._starting = asyncio.ensure_future(self._start())
        starting = self._starting
        await asyncio.wait([starting])
        if starting.cancelled():
            raise SandboxError("the sandbox was closed while it was starting")
        return starting.result()

    async def _start(self) -> Tier:
        slot = await self._new_slot(with_packages=False)
        tier = Tier(slot.facts["tier"])
        layers = ", ".join(slot.facts["layers"])
        self._free[False].append(slot)
        if not tier.meets(self._required):
            await self._end_all()
            raise SandboxError(
                f"only {layers} would confine programs here, which is tier {tier}, but tier {self._required} is"
                f' required; to accept tier {tier}, set sandbox.require = "{tier}"'
            )
        try:
            await check_canaries(self._run)
        except BaseException:
            await self._end_all()
            raise
        self._known = {"name": self._name, "tier": str(tier), "layers": layers}
        if not tier.meets(Tier.B):
            warnings.warn(f"only {layers} confine the programs that models write: tier {tier}", stacklevel=2)
        return tier

    async def run(self, job: Job, allowance: Allowance) -> Execution:
        await self.start()
        return await self._run(job, allowance)

    async def _run(self, job: Job, allowance: Allowance) -> Execution:
        closings = self._closings
        await self._take()
        try:
            try:
                return await self._once(job, allowance, closings)
            except SandboxError:
                return await self._once(job, allowance, closings)
        finally:
            self._give()

    async def close(self) -> None:
        if self._starting is not None and not self._starting.done():
            self._starting.cancel()
            await asyncio.wait([self._starting])
        self._known = {}
        await self._end_all()

    async def _end_all(self) -> None:
        """End every server; the jobs that are running fail with SandboxError."""
        self._closings += 1
        idle = [slot for kind in self._free.values() for slot in kind]
        self._free = {False: [], True: []}
        await asyncio.gather(*(slot.close() for slot in idle))
        while self._underway:
            for slot in self._at_work:
                slot.kill()
            await asyncio.sleep(_TICK)

    async def _once(self, job: Job, allowance: Allowance, closings: int) -> Execution:
        """Run a job on a server of the right kind, unless the sandbox was closed after `closings` was read."""
        if closings != self._closings:
            raise SandboxError("the sandbox was closed before a job ran")
        text = job.source + (job.exam if isinstance(job, Exam) else "")
        with_packages = any(name in text for name in self._packages)
        free = self._free[with_packages]
        self._underway += 1
        try:
            slot = free.pop() if free else await self._new_slot(with_packages=with_packages)
            return await self._on(slot, free, job, allowance, closings)
        finally:
            self._underway -= 1

    async def _on(self, slot: Slot, free: list[Slot], job: Job, allowance: Allowance, closings: int) -> Execution:
        """Run a job on this slot and return the slot to `free`; a slot that failed or has run many jobs is closed."""
        self._at_work.add(slot)
        sound = False
        try:
            execution = await slot.run(job, allowance)
            sound = True
            return execution
        except asyncio.CancelledError:
            sound = slot.alive()
            raise
        finally:
            if sound and slot.jobs < _JOBS_PER_SERVER and closings == self._closings:
                free.append(slot)
            else:
                slot.kill()
                await asyncio.shield(slot.close())
            self._at_work.discard(slot)

    async def _new_slot(self, *, with_packages: bool) -> Slot:
        paths = [sysconfig.get_path("purelib"), sysconfig.get_path("platlib")]
        setting = {
            "namespaces": self._namespaces,
            "packages": self._packages if with_packages else (),
            "path": list(dict.fromkeys(paths)) if with_packages else [],
        }
        return await Slot.start(self._command, ENVIRONMENT, setting)

    async def _take(self) -> None:
        """Wait until fewer than `slots` jobs run; first come, first served."""
        if self._busy < self._slots:
            self._busy += 1
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._give()
            raise

    def _give(self) -> None:
        """End this caller's turn and pass it to the one that has waited longest, if any."""
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self._busy -= 1
