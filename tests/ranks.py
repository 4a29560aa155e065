"""Learners on several ranks: threads of this process, or processes that reach each other by gloo."""

import multiprocessing
import os
import pickle
import socket
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from multiprocessing.connection import Connection, wait
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.tensor import DTensor
from torch_build import fresh_model, tiny_folder

from counterpoint.base_model import load_base_model
from counterpoint.config import Config
from counterpoint.errors import LearnerError
from counterpoint.learners._rank import Rank, join
from counterpoint.learners._split import Ranks
from counterpoint.learners.peft import Peft
from counterpoint.learners.placed import Placed
from counterpoint.policy import Routing
from counterpoint.testing.tiny import tiny_config

PATIENCE = 60.0
"""Seconds that processes wait for each other."""


class Thread(Ranks):
    """A rank of threads: as the ranks of a group, with a list in place of a network."""

    def __init__(self, rank: int, table: list[Any], barrier: threading.Barrier) -> None:
        self.rank, self.count = rank, len(table)
        self._table, self._barrier = table, barrier

    def summed(self, flat: Tensor) -> Tensor:
        first, *others = self.gathered(flat)
        total = first.clone()
        for other in others:
            total += other
        return total

    def gathered(self, part):
        self._table[self.rank] = part
        self._barrier.wait(PATIENCE)
        found = list(self._table)
        self._barrier.wait(PATIENCE)
        return found


class Threads:
    """A crew of threads. What goes to them and comes back is pickled, as between processes."""

    def __init__(self, make: Callable[[Ranks], Peft], count: int) -> None:
        table, self.barrier = [None] * count, threading.Barrier(count)
        splits = [Thread(rank, table, self.barrier) for rank in range(count)]
        self.learners = [make(split) for split in splits]
        self._pool = ThreadPoolExecutor(count)
        self.ranks = list(self._pool.map(Rank, self.learners, splits))

    def ask(self, method: str, *args: Any) -> list[Any]:
        answers = list(self._pool.map(lambda rank: self._ask(rank, method, args), self.ranks))
        failures = [one for one in answers if isinstance(one, Exception)]
        # One that waited for another tells nothing, if the other is there to be asked.
        for failure in sorted(failures, key=lambda one: isinstance(one, threading.BrokenBarrierError)):
            raise LearnerError(f"a rank failed: {failure!r}") from failure
        return answers

    def ask_first(self, method: str, *args: Any) -> Any:
        return self._ask(self.ranks[0], method, args)

    def _ask(self, rank: Rank, method: str, args: Sequence[Any]) -> Any:
        try:
            return pickle.loads(pickle.dumps(getattr(rank, method)(*pickle.loads(pickle.dumps(args)))))
        except Exception as error:
            self.barrier.abort()
            return error


def on_threads(routing: Routing, count: int = 2, config: Config | None = None) -> Placed:
    """The tiny model's learner on threads."""
    config = config or tiny_config(tiny_folder())
    return Placed(Threads(lambda split: Peft(fresh_model(), routing.policies, config, split), count))


class Processes:
    """Processes that each hold ranks of several learners, which are made one after the other, with one model each."""

    def __init__(self, count: int = 2, timeout: float = PATIENCE) -> None:
        self._pipes, self._processes = [], []
        context, address = multiprocessing.get_context("spawn"), free_address()
        for rank in range(count):
            mine, theirs = context.Pipe()
            process = context.Process(target=serve, args=(theirs, rank, count, address, timeout), daemon=True)
            process.start()
            theirs.close()
            self._pipes.append(mine)
            self._processes.append(process)
        self._made = 0
        self.ended: str | None = None

    def crew(self, routing: Routing, config: Config, *, shard_base: bool = False) -> "Pipes":
        """A new learner, with its base read from the disk."""
        self._made += 1
        crew = Pipes(self, self._made)
        self.ask(None, "make", self._made, routing, config, shard_base)
        return crew

    def ask(self, number: int | None, method: str, *args: Any, first: bool = False) -> list[Any]:
        if self.ended:
            raise LearnerError(self.ended)
        asked = self._pipes[:1] if first else self._pipes
        for pipe in asked:
            try:
                pipe.send_bytes(pickle.dumps((number, method, args)))
            except OSError:  # gone before it was asked: that is found below
                continue
        answers: dict[Connection, Any] = {}
        while waiting := [pipe for pipe in asked if pipe not in answers]:
            for pipe in wait(waiting):
                fine, answers[pipe] = self._received(pipe)
                if not fine:
                    self.end(f"rank {self._pipes.index(pipe)} of the learner: {answers[pipe]}")
                    raise LearnerError(self.ended)
        return [answers[pipe] for pipe in asked]

    def _received(self, pipe: Connection) -> tuple[bool, Any]:
        try:
            return pickle.loads(pipe.recv_bytes())
        except (EOFError, OSError):
            return False, "its process is gone"

    def end(self, why: str = "it was ended") -> None:
        self.ended = self.ended or why
        for process in self._processes:
            process.kill()
            process.join()

    def alive(self) -> bool:
        return any(process.is_alive() for process in self._processes)


class Pipes:
    """The ranks of one learner in the processes."""

    def __init__(self, processes: Processes, number: int) -> None:
        self.processes = processes
        self._number = number

    def ask(self, method: str, *args: Any) -> list[Any]:
        return self.processes.ask(self._number, method, *args)

    def ask_first(self, method: str, *args: Any) -> Any:
        return self.processes.ask(self._number, method, *args, first=True)[0]


def serve(pipe: Connection, rank: int, count: int, address: str, timeout: float) -> None:
    """The body of such a process."""
    torch.set_num_threads(1)
    split, ranks = join(rank, count, address, PATIENCE, "cpu"), dict[int, Rank]()
    if timeout != PATIENCE:  # of collectives alone: processes take long to start on a busy machine
        split = Ranks(dist.new_group(timeout=timedelta(seconds=timeout)))
    while True:
        try:
            number, method, args = pickle.loads(pipe.recv_bytes())
        except EOFError:
            return
        try:
            if number is None:
                answer = OTHERS[method](ranks, split, *args)
            elif method == "die":
                os._exit(1)
            else:
                answer = getattr(ranks[number], method)(*args)
            pipe.send_bytes(pickle.dumps((True, answer)))
        except Exception as error:
            pipe.send_bytes(pickle.dumps((False, f"{type(error).__name__}: {error}")))


def make(ranks: dict[int, Rank], split: Ranks, number: int, routing: Routing, config: Config, shard_base: bool) -> None:
    model = load_base_model(config.model).model
    ranks[number] = Rank(Peft(model, routing.policies, config, split, shard_base=shard_base), split)


def parts(ranks: dict[int, Rank], split: Ranks, number: int) -> tuple[int, int, int]:
    """The numbers of the base's values that are sharded, of those of them that are here, and of all that are whole."""
    every = list(ranks[number]._learner._adapters.model.parameters())
    sharded = [one for one in every if isinstance(one, DTensor)]
    here = sum(one.to_local().numel() for one in sharded)
    whole = sum(one.numel() for one in every if not isinstance(one, DTensor))
    return sum(one.numel() for one in sharded), here, whole


def die(ranks: dict[int, Rank], split: Ranks, which: int) -> None:
    """One rank is gone while the others wait for it."""
    if split.rank == which:
        os._exit(1)
    split.gathered(None)


def hang(ranks: dict[int, Rank], split: Ranks, which: int) -> None:
    """One rank does something else for long while the others wait for it."""
    if split.rank == which:
        threading.Event().wait(PATIENCE)
    split.gathered(None)


def vector_on(ranks: dict[int, Rank], split: Ranks, number: int, gradient: int) -> bytes:
    return ranks[number].vector(gradient).numpy().tobytes()


OTHERS = {one.__name__: one for one in (make, parts, die, hang, vector_on)}


def free_address() -> str:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{one.getsockname()[1]}"
