"""A stand-in for a SandboxFusion server: `POST /run_code`, each program in bubblewrap, killed when nobody listens.

`python tests/sandbox_fusion.py` prints its port and serves until its standard input ends.
"""

import asyncio
import json
import sys

from counterpoint.sandboxes.bubblewrap import _packaged, _walls


async def run(code, seconds):
    process = await asyncio.create_subprocess_exec(
        _packaged("bwrap"),
        *_walls(sys.executable),
        sys.executable,
        "-I",
        "-S",
        "-c",
        "import sys; exec(compile(sys.stdin.read(), 'code.py', 'exec'), {'__name__': '__main__'})",
        env={"PATH": "/usr/bin:/bin"},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(seconds):
            out, err = await process.communicate(code.encode())
    except TimeoutError:
        return {"status": "TimeLimitExceeded", "execution_time": seconds, "stdout": "", "stderr": ""}
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    texts = {"stdout": out.decode(errors="replace"), "stderr": err.decode(errors="replace")}
    return {"status": "Finished", "return_code": process.returncode, "execution_time": 0.0, **texts}


async def answer(path, body):
    if path != "/run_code":
        return 404, {"detail": "Not Found"}
    asked = json.loads(body)
    result = await run(asked["code"], asked["run_timeout"])
    good = result["status"] == "Finished" and result["return_code"] == 0
    return 200, {"status": "Success" if good else "Failed", "message": "", "run_result": result}


async def request(reader):
    line = (await reader.readline()).split()
    length = 0
    while (header := (await reader.readline()).strip()) != b"":
        name, _, value = header.partition(b":")
        if name.lower() == b"content-length":
            length = int(value)
    return line[1].decode(), await reader.readexactly(length)


async def serve(reader, writer):
    """One request, then the connection is closed; one that is given up ends its program."""
    try:
        path, body = await request(reader)
        working = asyncio.ensure_future(answer(path, body))
        gone = asyncio.ensure_future(reader.read(1))
        await asyncio.wait([working, gone], return_when=asyncio.FIRST_COMPLETED)
        gone.cancel()
        if not working.done():
            working.cancel()
            await asyncio.wait([working])
            return
        status, told = working.result()
        text = json.dumps(told).encode()
        head = f"HTTP/1.1 {status} OK\r\nContent-Type: application/json\r\nContent-Length: {len(text)}\r\n"
        writer.write(f"{head}Connection: close\r\n\r\n".encode() + text)
        await writer.drain()
    except (ConnectionError, asyncio.IncompleteReadError, IndexError):
        pass
    finally:
        writer.close()


async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", 0, limit=2**26)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.to_thread(sys.stdin.read)
    server.close()


if __name__ == "__main__":
    asyncio.run(main())
