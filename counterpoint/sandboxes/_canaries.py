"""Canaries: attacks that a sandbox must stop before it is used. Each is a program that prints `escaped` if it succeeds.

A harmless program runs after them, to show that programs run at all.
"""

import asyncio
import os
import secrets
import socket
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

from counterpoint.errors import SandboxError
from counterpoint.sandboxes.base import STANDARD, Allowance, Execution, Job, Script

_ESCAPED = "escaped"
_ALLOWANCE = replace(STANDARD, cpu=2.0, memory=256, output=1)


Run = Callable[[Job, Allowance], Awaitable[Execution]]


async def check_canaries(run: Run) -> None:
    """Run every canary. Raises SandboxError if one escapes, or if the harmless program does not run."""
    with tempfile.TemporaryDirectory() as folder, socket.create_server(("127.0.0.1", 0)) as listener:
        secret = secrets.token_hex(16)
        file = Path(folder) / "secret"
        file.write_text(secret, encoding="utf-8")
        file.chmod(0o644)
        Path(folder).chmod(0o755)
        programs = {
            name: source.replace("FOLDER", folder)
            .replace("PORT", str(listener.getsockname()[1]))
            .replace("PARENT", str(os.getpid()))
            for name, source in CANARIES.items()
        }
        found = await asyncio.gather(*(run(Script(source=one), _ALLOWANCE) for one in programs.values()))
        escaped = [
            name
            for name, execution in zip(programs, found, strict=True)
            if _ESCAPED.encode() in execution.stdout or secret.encode() in execution.stdout
        ]
        left = [path.name for path in Path(folder).iterdir() if path.name != "secret"]
    if escaped or left:
        raise SandboxError(
            f"the sandbox does not stop these canaries: {', '.join([*escaped, *left])}; see `counterpoint doctor`"
        )
    harmless = await run(Script(source="print(int(input()) * 2)", stdin=b"21\n"), _ALLOWANCE)
    if harmless.stdout != b"42\n" or harmless.program.exit_code != 0:
        raise SandboxError(
            f"the sandbox cannot run a harmless program: {harmless.stderr[-500:].decode(errors='replace')}"
        )


CANARIES = {
    "reads a file": "print(open('FOLDER/secret').read())",
    "writes a file": "open('FOLDER/left', 'w').write('x'); print('escaped')",
    "writes to /dev/shm": "import os; os.open('/dev/shm/canary', os.O_CREAT | os.O_WRONLY); print('escaped')",
    "reads the parent's environment": "print(len(open('/proc/PARENT/environ', 'rb').read()), 'escaped')",
    "reads the parent's memory": "open('/proc/PARENT/mem', 'rb'); print('escaped')",
    "signals the parent": "import os; os.kill(PARENT, 0); print('escaped')",
    "forks": "import os; os.fork(); print('escaped')",
    "runs a command": "import os; os.execv('/bin/echo', ['echo', 'escaped'])",
    "connects": "import socket; socket.create_connection(('127.0.0.1', PORT), 1); print('escaped')",
    "sends a datagram": (
        "import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', PORT));"
        " print('escaped')"
    ),
    "makes a user namespace": "import ctypes; print('escaped' if ctypes.CDLL(None).unshare(0x10000000) == 0 else '')",
    "traces": "import ctypes; print('escaped' if ctypes.CDLL(None).ptrace(16, PARENT, 0, 0) == 0 else '')",
    "leaves shared memory": "import ctypes; print('escaped' if ctypes.CDLL(None).shmget(0, 4096, 0o1600) >= 0 else '')",
    "takes 2 GiB": "x = bytearray(2 << 30); print('escaped')",
}
