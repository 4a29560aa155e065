"""Ray itself: a connection to one that runs, or one of our own, and room for processes on its machines."""

import os
import re
import signal
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from counterpoint.errors import ConfigError, EngineError
from counterpoint.runtimes._actors import AT_ONCE, Body, Given, GoneError, ReplicaBody, answers, end, line_of

_CONNECT = 10.0
"""Seconds in which a running Ray must answer."""
_PLACE = 60.0
"""Seconds in which a running Ray must have room for the actors."""


class Room:
    """The places of all actors of a run."""

    def __init__(self, group: Any, sizes: Sequence[int]) -> None:
        self._group = group
        self._sizes = sizes
        self._actors: list[Any] = []
        self._taken = 0

    def start(self, bodies: Sequence[type[Body]], given: Given, within: float) -> None:
        """An actor in every place, prepared. All start at once, since each takes long to import what it needs.

        Raises EngineError if one is gone, or is not there `within` so many seconds.
        """
        self._actors = [self._started(index, body) for index, body in enumerate(bodies)]
        try:
            answers([actor.prepare.remote(given.folders) for actor in self._actors], within)
            answers([actor.share.remote(given) for actor in self._actors], within)
        except GoneError as error:
            raise EngineError(f"a process that Ray was to start is gone: {error}") from error

    def take(self, count: int) -> list[Any]:
        """The actors in the next places."""
        self._taken += count
        return self._actors[self._taken - count : self._taken]

    def close(self) -> None:
        """No actor is left."""
        end(self._actors)

    def _started(self, index: int, body: type[Body]) -> Any:
        import ray
        from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy as Placed

        # GPUs are asked for by each actor itself: one in a bundle that asks for none sees none.
        options = {
            "num_cpus": 1,
            "num_gpus": self._sizes[index],
            "max_restarts": 0,
            "scheduling_strategy": Placed(self._group, placement_group_bundle_index=index),
        }
        if body is ReplicaBody:
            options["max_concurrency"] = AT_ONCE
        return ray.remote(body).options(**options).remote()


@contextmanager
def reserved(sizes: Sequence[int]) -> Iterator[Room]:
    """Room for actors of so many GPUs each, as close together as can be. Raises ConfigError if there is none."""
    from ray.util.placement_group import placement_group, remove_placement_group

    bundles = [{"CPU": 1.0, **({"GPU": float(size)} if size else {})} for size in sizes]
    if not bundles:
        yield Room(None, ())
        return
    group = placement_group(bundles, strategy="PACK")
    try:
        if not group.wait(_PLACE):
            there = _resources()
            raise ConfigError(
                f"runtime.name = 'ray': the cluster has no room for {len(sizes)} processes with {sum(sizes)} GPUs"
                f" within {_PLACE:g} seconds: it has {there['CPU']} CPUs and {there['GPU']} GPUs, others' work included"
            )
        room = Room(group, sizes)
        try:
            yield room
        finally:
            room.close()
    finally:
        remove_placement_group(group)


def _resources() -> dict[str, int]:
    """CPUs and GPUs of the cluster, free or not."""
    import ray

    cluster: Any = ray
    found = cluster.cluster_resources()
    return {name: int(found.get(name, 0)) for name in ("CPU", "GPU")}


@contextmanager
def connected(address: str, processes: int, gpus: int) -> Iterator[None]:
    """The Ray at `address`, which is left running; without one a Ray that is started and ended here.

    Signals are handled as before. A Ray that this process is connected to already is used if it is the one that is
    asked for. Raises ConfigError if it is not, or if none can be reached.
    """
    if address:
        check_answers(address)
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    # Ray's own default gives its processes what others leave, which may be nothing: they are all of a run.
    os.environ.setdefault("RAY_worker_niceness", "0")
    import ray

    if ray.is_initialized():
        here = ray.get_runtime_context().gcs_address
        if address and here != address:
            raise ConfigError(f"runtime.address = {address!r}: this process is connected to the Ray at {here}")
        yield
        return
    options: dict[str, Any] = {"address": address, "log_to_driver": False, "logging_level": "ERROR"}
    if not address:
        options |= {"address": "local", "num_cpus": max(1, processes), "include_dashboard": False}
        options |= {} if gpus else {"num_gpus": 0}
    try:
        with _signals_kept():
            try:
                ray.init(**options)
            except (OSError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
                raise ConfigError(f"runtime.name = 'ray': Ray cannot be reached: {_reason(error)}") from error
        yield
    finally:
        ray.shutdown()


def _reason(error: BaseException) -> str:
    """Why Ray was not reached, in one line."""
    cause: BaseException | None = error
    while cause is not None:
        if "InvalidAuthToken" in str(cause):
            return (
                "it asks for a token; export RAY_AUTH_MODE=token, and the token that it was started with as"
                " RAY_AUTH_TOKEN unless it is in ~/.ray/auth_token"
            )
        cause = cause.__cause__ or cause.__context__
    return line_of(error)


def check_address(address: str) -> tuple[str, int]:
    """Host and port. Raises ConfigError unless the text has both."""
    found = re.fullmatch(r"([^\s:/]+):(\d{1,5})", address)
    if found is None or not 0 < int(found[2]) <= 65535:
        raise ConfigError(f"runtime.address = {address!r}: input should be host:port, or empty for a local Ray")
    return found[1], int(found[2])


def check_answers(address: str) -> None:
    """Raises ConfigError if nothing listens there."""
    try:
        socket.create_connection(check_address(address), timeout=_CONNECT).close()
    except OSError as error:
        raise ConfigError(f"runtime.address = {address!r}: no Ray answers there: {error}") from error


@contextmanager
def _signals_kept() -> Iterator[None]:
    """Ray puts its own handler for SIGTERM in place of ours, which saves."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            for number, found in before.items():
                signal.signal(number, found)
