"""Shared memory of processes, found and removed."""

import multiprocessing
import os
import subprocess
import sys
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path

from counterpoint.samplers._segments import OWNER, mapped_by, remove, started_with

TMPFS = Path("/dev/shm")


def test_a_segment_and_a_semaphore_are_found_by_what_a_process_has_mapped():
    before, there = mapped_by(os.getpid()), {*TMPFS.iterdir()}
    segment = SharedMemory(create=True, size=4096)
    lock = multiprocessing.get_context("spawn").Lock()
    found = mapped_by(os.getpid()) - before
    segment.close()
    segment.unlink()
    del lock
    assert TMPFS / segment.name in found
    assert sorted(path.name[:4] for path in found) == ["psm_", "sem."]
    assert not found & there
    assert not mapped_by(os.getpid()) & found


def test_other_files_on_tmpfs_and_other_processes_are_left_alone(tmp_path):
    segment = SharedMemory(create=True, size=4096)
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    found = mapped_by(child.pid)
    child.communicate(b"\n")
    segment.close()
    segment.unlink()
    assert not found


def test_a_process_that_has_ended_has_mapped_nothing():
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    assert mapped_by(child.pid) == set()


def test_processes_are_found_by_the_whole_of_what_they_were_started_with():
    began = []
    for value in ("4194399", "41943990"):
        environment = {**os.environ, OWNER: value}
        began.append(subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, env=environment))
    found = started_with(f"{OWNER}=4194399")
    for child in began:
        child.communicate(b"\n")
    assert found == {began[0].pid}


def test_what_is_removed_twice_is_gone(tmp_path):
    one = tmp_path / "psm_0"
    one.touch()
    remove([one])
    remove([one])
    assert not one.exists()


def test_the_tracker_says_nothing_of_what_was_removed_and_forgotten():
    program = """
import os
from multiprocessing import get_context
from multiprocessing.shared_memory import SharedMemory
from counterpoint.samplers._segments import mapped_by, remove_and_forget

segment, lock = SharedMemory(create=True, size=4096), get_context("spawn").Lock()
mine = mapped_by(os.getpid())
assert len(mine) == 2
remove_and_forget(mine)
remove_and_forget(mine)
assert not [one for one in mine if one.exists()]
os._exit(0)  # as a process that is killed: only the tracker is left to remove what it made
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
