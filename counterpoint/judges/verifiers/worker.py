"""Reads the tasks of an environment, in a process of its own, and writes one JSON object per line for each.

It reads one JSON object, `{"path", "env", "args", "most"}`. Its last line is `{"end": facts}`, or `{"unfit": reason}`
if the environment cannot be used.
"""

import json
import logging
import os
import sys


def main() -> None:
    """Write the tasks that are asked for."""
    asked = json.loads(sys.stdin.buffer.readline())
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what an environment prints is no task
    logging.disable(logging.WARNING)
    sys.path[:] = asked["path"]
    from counterpoint.errors import CounterpointError
    from counterpoint.judges.verifiers.environment import opened, rows, versions

    try:
        environment = opened(asked["env"], asked["args"])
        for row in rows(environment, asked["most"]):
            out.write(json.dumps(row) + "\n")
        last: dict[str, object] = {"end": {**versions(environment.name), "code": environment.code}}
    except CounterpointError as error:
        last = {"unfit": str(error)}
    out.write(json.dumps(last) + "\n")
    out.close()


if __name__ == "__main__":
    main()
