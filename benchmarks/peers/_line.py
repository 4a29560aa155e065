"""A peer's end of the line: see `benchmarks/_peers.py`. Runs in the peer's own environment."""

import json
import os
import sys
from typing import Any


class Line:
    """What the script says goes to whoever asked; whatever else is printed goes to the log."""

    def __init__(self) -> None:
        self._out = os.fdopen(os.dup(1), "w", encoding="utf-8")
        os.dup2(2, 1)
        with open(sys.argv[1], encoding="utf-8") as file:
            self.work: dict[str, Any] = json.load(file)

    def say(self, **what: Any) -> None:
        self._out.write(json.dumps(what) + "\n")
        self._out.flush()

    def wait(self) -> None:
        """Until the work is asked for once more; the process ends when nobody is left to ask."""
        if not sys.stdin.readline():
            os._exit(0)
