"""Other people's software, each in an environment and a process of its own, doing its work when asked.

A peer's script reads a JSON file that says what to do, says `{"ready": ...}` on a line when it is warm, and then, for
every line that it reads, does the work once and says `{"seconds": ...}`.
"""

import json
import os
import select
import subprocess
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from benchmarks.base import Setting

PEERS = Path(os.environ.get("COUNTERPOINT_PEERS", "/tmp/counterpoint-peers"))
_SCRIPTS = Path(__file__).parent / "peers"
_START = 600
_WORK = 900


class PeerError(Exception):
    """A peer that is not there, or did not do its work."""


class Peer:
    """One peer at its work. Entered, it is warm; `measure` is a side of a comparison."""

    def __init__(self, name: str, script: str, setting: Setting, work: Mapping[str, Any]) -> None:
        """`name` is the peer's environment under `PEERS`. Raises PeerError if there is none."""
        self._python = PEERS / name / "bin" / "python"
        if not self._python.exists():
            raise PeerError(f"no {name} in {PEERS}: benchmarks/peers/install {name}")
        self._name = name
        self._script = _SCRIPTS / script
        self._setting = setting
        self._work = {"threads": setting.threads, **work}
        self.ready: Mapping[str, Any] = {}
        """What it said when it was warm."""

    def __enter__(self) -> "Peer":
        self._folder = tempfile.TemporaryDirectory(prefix="counterpoint-peer-")
        folder = Path(self._folder.name)
        (folder / "work.json").write_text(json.dumps(self._work), encoding="utf-8")
        self._log = folder / "log"
        with self._log.open("w", encoding="utf-8") as log:
            self._process = subprocess.Popen(
                [str(self._python), str(self._script), str(folder / "work.json")],
                cwd=folder,
                env=self._environment(),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
            )
        try:
            self.ready = self._answer(_START)["ready"]
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        with suppress(BrokenPipeError):  # what it was told and did not hear
            self._process.communicate()
        self._folder.cleanup()

    def measure(self) -> float:
        """Seconds by the peer's own clock. Raises PeerError with the last thing that it said."""
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # its answer will be missing, and that says why
            self._process.stdin.write(b"go\n")
            self._process.stdin.flush()
        return float(self._answer(_WORK)["seconds"])

    def _answer(self, timeout: float) -> dict[str, Any]:
        assert self._process.stdout is not None
        readable, _, _ = select.select([self._process.stdout], [], [], timeout)
        line = self._process.stdout.readline() if readable else b""
        if not line:
            what = "ended" if readable else f"said nothing for {timeout} s"
            raise PeerError(f"{self._name} {what}; last: {self._last_words()}")
        return dict(json.loads(line))

    def _last_words(self) -> str:
        lines = [
            line.strip()
            for line in self._log.read_text(errors="replace", encoding="utf-8").splitlines()
            if line.strip()
        ]
        return lines[-1][:300] if lines else "nothing"

    def _environment(self) -> dict[str, str]:
        """Ours without what is only for our Python, with as many threads, and the OpenMP that the peer asks for."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
        threads = str(self._setting.threads)
        openmp = PEERS / self._name / "lib" / "libiomp5.so"
        preload = {"LD_PRELOAD": str(openmp)} if openmp.exists() else {}
        return {**kept, "OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads, "HF_HUB_OFFLINE": "1", **preload}
