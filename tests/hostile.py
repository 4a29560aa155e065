"""Programs a sandbox is tested with, as data: hostile ones and what must become of them, fair ones that must pass.

A hostile program prints, or its function returns, the right answer, 7, only if its attack succeeded; so `accepted`
means that there is a hole. `$NAMES` stand for what `sandbox_host.World` has planted. Numbers are those of section 7 of
the notes on sandboxes. Nothing here does harm where it succeeds: only processes and files of the test itself are aimed
at, and where all processes would be hit, it is with a signal that is ignored unless somebody waits for it.
"""

import platform
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from counterpoint.judges.programs.suite import AssertSuite, CallSuite, StdinSuite, Suite
from counterpoint.sandboxes.base import Allowance, Verdict

AC, WA, RE = Verdict.ACCEPTED, Verdict.WRONG_ANSWER, Verdict.RUNTIME_ERROR
TLE, MLE, OLE = Verdict.TIME_LIMIT, Verdict.MEMORY_LIMIT, Verdict.OUTPUT_LIMIT
INVALID = Verdict.INVALID_TASK

SHORT = Allowance(cpu=1.0)
SHORTER = Allowance(cpu=0.5)
SMALL = StdinSuite(tests=(("3 4\n", "7\n"),), allowance=Allowance(memory=256))
STDIN = StdinSuite(tests=(("3 4\n", "7\n"),))
CALL = CallSuite(function="f", tests=(((3,), 7),))
EXAM = AssertSuite(function="f", exams=("assert f(3) == 7\n",))
HIDDEN = "the-right-answer-5d7c03e1"
"""What programs look for everywhere, knowing only how it begins."""
REFUSED = r"PermissionError|FileNotFoundError|OSError|BlockingIOError"


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """A program and what must become of it."""

    name: str
    source: str = field(repr=False)
    verdicts: frozenset[Verdict]
    suite: Suite = field(default=STDIN, repr=False)
    number: int = 0
    """Of the notes; 0 for one that is not in them."""
    says: str = ""
    """What its standard error must match, so that it did not fail for a mistake of its own."""
    killed: bool = False
    """SIGSYS must have ended it."""
    outside: Literal["anyone", "root", "never"] = "never"
    """Who it prints the right answer for in a process that nothing confines, without harm: it can succeed."""
    needs: str = ""
    """A path without which it cannot be tried."""
    opens: bool = False
    """It opens files or imports what may not be loaded: it may fail where nothing can be opened."""
    heavy: bool = False
    """It takes about a second or waits for some, wherever it runs."""
    weak: frozenset[Verdict] = frozenset()
    """What may become of it too where a process has no identity of its own (tier B and worse)."""


def _program(name: str, source: str, *verdicts: Verdict, **rest) -> Program:
    heavy = rest.pop("heavy", TLE in verdicts)
    return Program(name=name, source=source.lstrip("\n"), verdicts=frozenset(verdicts), heavy=heavy, **rest)


def _refused(name: str, source: str, number: int = 0, *, outside="anyone", says=REFUSED, **rest) -> Program:
    """The kernel says no, and the program ends with its error."""
    return _program(name, source, RE, number=number, outside=outside, says=says, **rest)


def _call(name: str, source: str, *verdicts: Verdict, **rest) -> Program:
    return _program(name, source, *(verdicts or (WA,)), **{"suite": CALL, **rest})


def _exam(name: str, source: str, *verdicts: Verdict, exam: str = "", **rest) -> Program:
    suite = AssertSuite(function="f", exams=(exam,)) if exam else EXAM
    return _program(name, source, *(verdicts or (WA, RE)), **{"suite": suite, **rest})


_TABLE = """
bpf:321:280 clock_settime:227:112 clone:56:220 clone3:435:435 copy_file_range:326:285 execveat:322:281
fanotify_init:300:262 fork:57:-1 fsopen:430:430 getpid:39:172 init_module:175:105 inotify_add_watch:254:27
inotify_init1:294:26 io_uring_enter:426:426 io_uring_register:427:427 io_uring_setup:425:425 ioprio_set:251:30
kcmp:312:272 kexec_load:246:104 keyctl:250:219 add_key:248:217 request_key:249:218 landlock_restrict_self:446:446
memfd_create:319:279 memfd_secret:447:447 modify_ldt:154:-1 mount:165:40 mount_setattr:442:442 move_mount:429:429
mq_open:240:180 msgget:68:186 msgctl:71:187 name_to_handle_at:303:264 open_by_handle_at:304:265 open_tree:428:428
openat2:437:437 perf_event_open:298:241 personality:135:92 pidfd_getfd:438:438 pidfd_open:434:434
pidfd_send_signal:424:424 pivot_root:155:41 prctl:157:167 process_madvise:440:440 process_mrelease:448:448
process_vm_readv:310:270 process_vm_writev:311:271 ptrace:101:117 rt_sigqueueinfo:129:138 rt_tgsigqueueinfo:297:240
sched_setattr:314:274 sched_setaffinity:203:122 seccomp:317:277 semctl:66:191 semget:64:190 setns:308:268
shmctl:31:195 shmget:29:194 sync:162:81 syslog:103:116 tee:276:77 timer_create:222:107 tkill:200:130 umount2:166:39
unshare:272:97 userfaultfd:323:282 vfork:58:-1 vmsplice:278:75
"""
"""name:number on x86-64:number on AArch64."""
_NUMBERS = {
    name: int(x86 if platform.machine() == "x86_64" else arm)
    for name, x86, arm in (row.split(":") for row in _TABLE.split())
}
"""System calls by name, as this machine numbers them; -1 where it does not have one."""

_SYSTEM = """
import ctypes, fcntl, mmap, os, signal, socket, struct, sys, time
libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
def call(number, *arguments):
    given = [ctypes.c_long(one) if isinstance(one, int) else one for one in arguments]
    result = libc.syscall(ctypes.c_long(number), *given)
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result
"""
"""Before the sources that make system calls themselves."""


def _numbered(source: str) -> str:
    """With the numbers of system calls in place of `@names`."""
    return re.sub(r"@(\w+)", lambda found: str(_NUMBERS[found[1]]), source)


def _raw(name: str, source: str, number: int = 0, **rest) -> Program:
    return _refused(name, _SYSTEM + _numbered(source), number, **rest)


def _fatal(name: str, number: int = 0, *arguments: int) -> Program:
    """A system call that only an attack would make ends the process."""
    source = f"{_SYSTEM}call({', '.join(map(str, (_NUMBERS[name], *arguments)))})\nprint(7)\n"
    return _program(f"calls_{name}", source, RE, number=number, killed=True)


def _places(name: str, source: str, number: int, places: Iterable[str], **rest) -> list[Program]:
    """The same attack on each of some places."""
    return [_refused(f"{name}_{place}", source.replace("PLACE", place), number, **rest) for place in places]


_READING = [
    _refused("reads_a_secret", 'print(open("$SECRET").read())', 1),
    _refused(
        "reads_below_a_folder",
        'import os\nroot = os.open("/", os.O_DIRECTORY)\nprint(os.read(os.open("$SECRET"[1:], 0, dir_fd=root), 9))',
        2,
        outside="never",
    ),
    _refused(
        "reads_by_a_symlink", 'import os\nos.symlink("$SECRET", "$DIR/$STAMP")\nprint(open("$DIR/$STAMP").read())', 2
    ),
    _refused("reads_by_a_planted_symlink", 'print(open("$LINK").read())', 2),
    _refused("reads_by_proc_root", 'print(open("/proc/self/root$SECRET").read())', 2),
    _refused("reads_by_proc_cwd", 'print(open("/proc/self/cwd/$SECRET").read())', 2, outside="never"),
    _refused(
        "reads_by_dots", 'import os\nprint(open(os.path.dirname(os.__file__) + "/.." * 12 + "$SECRET").read())', 2
    ),
    _refused("reads_after_chdir", 'import os\nos.chdir("$ROOM")\nprint(open("secret").read())', 2),
    _refused("lists_a_folder", 'import os\nprint(7 if "secret" in os.listdir("$ROOM") else 0)', 2),
    _refused("scans_a_folder", 'import os\nprint(7 if [*os.scandir("$ROOM")] else 0)', 2),
    _program(
        "walks_everything",
        'import os\nprint(7 if [*os.walk("/work")] + [*os.walk("$ROOM")] else 0)',
        WA,
        number=2,
        outside="anyone",
    ),
    _raw(
        "opens_by_openat2",
        'how = ctypes.create_string_buffer(24)\nfile = call(@openat2, -100, b"$SECRET", how, 24)\n'
        "print(os.read(file, 9).decode())",
    ),
    _raw("opens_as_a_path", 'file = os.open("$SECRET", os.O_PATH)\nprint(open(f"/proc/self/fd/{file}").read())'),
    _raw(
        "asks_for_a_handle",
        "handle = ctypes.create_string_buffer(struct.pack('=Ii', 128, 0), 136)\nmount = ctypes.c_int()\n"
        'call(@name_to_handle_at, -100, b"$SECRET", handle, ctypes.byref(mount), 0)\nprint(7)',
    ),
    _raw(
        "opens_by_the_c_library",
        'libc.fopen.restype = ctypes.c_void_p\nif not libc.fopen(b"$SECRET", b"r"):\n'
        '    raise OSError(ctypes.get_errno(), "fopen")\nprint(7)',
    ),
    _refused(
        "loads_a_library", 'import ctypes\nctypes.CDLL("$ROOM/secret")\nprint(7)', outside="never", says="OSError"
    ),
    _refused(
        "imports_from_a_folder", 'import sys\nsys.path.insert(0, "$ROOM")\nimport planted', says="ModuleNotFoundError"
    ),
    _refused(
        "opens_a_database",
        "import sqlite3\n"
        'sqlite3.connect("file:$ROOM/planted.db?mode=ro", uri=True).execute("select 1 from sqlite_master")\n'
        "print(7)",
        says="OperationalError|ImportError",
    ),
    _refused("reads_the_other_packages", 'print(7 if open("$SITE/pydantic/main.py").read() else 0)'),
    _refused("imports_the_other_packages", "import pydantic\nprint(7)", says="ModuleNotFoundError", outside="never"),
    _refused(
        "reads_the_repository",
        'print(7 if "Suite" in open("$REPO/counterpoint/judges/programs/suite.py").read() else 0)',
    ),
    _refused("reads_these_tests", 'print(7 if "7" in open("$REPO/tests/hostile.py").read() else 0)'),
    _refused(
        "imports_the_project",
        'import sys\nsys.path[:0] = ["$REPO", "$SITE"]\nimport counterpoint.errors\nprint(7)',
        says="ModuleNotFoundError",
    ),
    _refused(
        "watches_files",
        _SYSTEM
        + _numbered('watch = call(@inotify_init1, 0)\ncall(@inotify_add_watch, watch, b"$ROOM", 4095)\nprint(7)'),
    ),
    _raw("watches_everything", "call(@fanotify_init, 0, 0)\nprint(7)", outside="root"),
    *_places(
        "reads",
        'print(7 if open("PLACE", "rb").read(1) else 0)',
        1,
        (
            "/etc/passwd",
            "/proc/version",
            "/proc/meminfo",
            "/proc/self/maps",
            "/proc/self/status",
            "/proc/net/unix",
            "/sys/kernel/mm/transparent_hugepage/enabled",
        ),
    ),
    *_places(
        "reads",
        'print(7 if open("PLACE", "rb").read(1) else 0)',
        1,
        ("/etc/shadow", "/dev/mem", "/dev/kmsg", "/proc/kallsyms", "/proc/1/environ"),
        outside="never",
    ),
]

_OTHERS_PROCESSES = [
    _program(
        "scans_all_environments",
        """
import os
found = []
for pid in [*range(1, 400), os.getppid(), $PARENT, $PREY, *range(os.getpid() - 60, os.getpid() + 60)]:
    try:
        found.append(open(f"/proc/{pid}/environ", "rb").read())
    except OSError:
        pass
print(7 if b"$TOKEN" in b"".join(found) else 0)
""",
        WA,
        number=3,
        outside="anyone",
    ),
    _program(
        "prints_its_environment",
        'import os\nprint(7 if "$TOKEN" in str(os.environ) else 0)',
        WA,
        number=4,
        outside="anyone",
    ),
    _program(
        "finds_its_first_environment",
        'import ctypes\nplace = ctypes.POINTER(ctypes.c_char_p).in_dll(ctypes.CDLL(None), "environ")\ncount = 0\n'
        'while place[count]:\n    count += 1\nprint(7 if b"$TOKEN" in b" ".join(place[:count]) else 0)',
        WA,
        number=4,
        outside="anyone",
        opens=True,
    ),
    _program(
        "opens_the_files_of_others",
        """
import os
me, found = os.getpid(), []
for pid in [os.getppid(), $PARENT, $PREY, *(me + step for step in range(-80, 80) if step)]:
    for name in [f"fd/{number}" for number in range(12)] + ["mem", "cwd/$SECRET", "root$SECRET", "maps"]:
        try:
            found.append((pid, os.open(f"/proc/{pid}/{name}", os.O_RDONLY)))
        except OSError:
            pass
print(7 if found else 0)
""",
        WA,
        number=5,
        outside="anyone",
    ),
    _refused("opens_the_memory_of_the_parent", 'import os\nopen(f"/proc/{os.getppid()}/mem", "rb")\nprint(7)', 5),
    _refused("opens_the_memory_of_init", 'open("/proc/1/mem", "rb")\nprint(7)', 5, outside="never"),
    _refused("opens_its_own_memory_to_write", 'open("/proc/self/mem", "r+b")\nprint(7)', 5),
    _fatal("ptrace", 6, 0x4206, 1),
    _fatal("process_vm_readv", 7),
    _fatal("process_vm_writev", 7),
    _fatal("pidfd_getfd", 7),
    _fatal("kcmp"),
    _fatal("process_madvise"),
    _raw("opens_a_process", "call(@pidfd_open, os.getppid(), 0)\nprint(7)"),
    _raw("frees_the_memory_of_a_process", "call(@process_mrelease, 0, 0)\nprint(7)", outside="never"),
    _refused("kills_the_parent", "import os\nos.kill(os.getppid(), 9)\nprint(7)", 23, outside="never"),
    _refused(
        "stops_the_parent", "import os, signal\nos.kill(os.getppid(), signal.SIGSTOP)\nprint(7)", 49, outside="never"
    ),
    _refused("signals_everybody", "import os, signal\nos.kill(-1, signal.SIGURG)\nprint(7)", 23, outside="never"),
    _refused("signals_its_group", "import os, signal\nos.killpg(0, signal.SIGURG)\nprint(7)", 23, outside="never"),
    _refused(
        "signals_its_group_by_number",
        "import os, signal\nos.killpg(os.getpgrp(), signal.SIGURG)\nprint(7)",
        23,
        outside="never",
    ),
    _refused("signals_a_stranger", "import os, signal\nos.kill($PREY, signal.SIGURG)\nprint(7)", 23, outside="never"),
    _refused("asks_for_a_stranger", "import os\nos.kill($PREY, 0)\nprint(7)", 23),
    _refused("signals_the_grader", "import os, signal\nos.kill($PARENT, signal.SIGURG)\nprint(7)", 23),
    _raw("signals_a_thread", "call(@tkill, $PREY, 0)\nprint(7)"),
    _raw(
        "queues_a_signal",
        "call(@rt_sigqueueinfo, $PREY, 0, ctypes.create_string_buffer(struct.pack('iii', 0, 0, -1), 128))\nprint(7)",
    ),
    _raw(
        "queues_a_signal_for_a_thread",
        "call(@rt_tgsigqueueinfo, $PREY, $PREY, 0, ctypes.create_string_buffer(struct.pack('iii', 0, 0, -1), 128))\n"
        "print(7)",
    ),
    _raw("signals_by_descriptor", "call(@pidfd_send_signal, call(@pidfd_open, $PREY, 0), 0, None, 0)\nprint(7)"),
    _program(
        "has_the_kernel_signal_its_parent",
        _SYSTEM
        + """
one, other = socket.socketpair()
for target in (os.getppid(), $PREY):
    for act in ((fcntl.F_SETOWN, target), (10, signal.SIGURG), (fcntl.F_SETFL, os.O_NONBLOCK | os.O_ASYNC)):
        fcntl.fcntl(one, *act)
    if fcntl.fcntl(one, fcntl.F_GETOWN) == target:
        print(7)
    other.send(b"x")
    time.sleep(0.05)
""",
        RE,
        says=REFUSED,
    ),
    _raw(
        "owns_a_descriptor_for_another",
        "fcntl.fcntl(socket.socketpair()[0], 15, struct.pack('ii', 1, $PREY))\nprint(7)",
    ),
    _raw("takes_a_timer", "timer = ctypes.c_int()\ncall(@timer_create, 1, None, ctypes.byref(timer))\nprint(7)"),
    _refused(
        "changes_the_limits_of_its_parent",
        "import os, resource\nresource.prlimit(os.getppid(), resource.RLIMIT_CORE, (0, 0))\nprint(7)",
        39,
        outside="never",
    ),
    _refused(
        "reads_the_limits_of_a_stranger",
        "import resource\nprint(7 if resource.prlimit($PREY, resource.RLIMIT_NOFILE) else 0)",
        39,
    ),
    _refused("moves_to_another_group", "import os\nos.setpgid(0, os.getpgid(os.getppid()))\nprint(7)", outside="never"),
    _refused("leaves_its_session", "import os\nos.setsid()\nprint(7)", outside="never"),
]

_STAMPED = 'open("PLACE/$STAMP", "w").write("x")\nprint(7)'
_WRITING = [
    *_places("writes", _STAMPED, 8, ("/tmp", "/dev/shm", "/var/tmp", "$DIR")),
    _refused("writes_here", 'open("$STAMP", "w").write("x")\nprint(7)', 8),
    _refused(
        "writes_at_home", 'import os\nopen(os.path.expanduser("~/$STAMP"), "w").write("x")\nprint(7)', 8, outside="root"
    ),
    _refused("writes_a_site_package", 'open("$SITE/$STAMP.pth", "w").write("")\nprint(7)', 9, outside="root"),
    _refused(
        "writes_a_standard_module",
        'import os\nopen(os.path.dirname(os.__file__) + "/$STAMP.py", "w").write("")\nprint(7)',
        9,
        outside="root",
    ),
    _refused(
        "writes_byte_code",
        'import os\nopen(os.path.dirname(os.__file__) + "/__pycache__/$STAMP", "w").write("")\nprint(7)',
        9,
        outside="root",
    ),
    *(
        _refused(f"{name}_a_file", f"import os\n{act}\nprint(7)", 10, outside=outside)
        for name, act, outside in (
            ("changes_the_mode_of", 'os.chmod("$VICTIM", 0o777)', "anyone"),
            ("changes_the_times_of", 'os.utime("$VICTIM", (1, 1))', "anyone"),
            ("changes_the_owner_of", 'os.chown("$VICTIM", os.getuid(), os.getgid())', "anyone"),
            ("changes_the_attributes_of", 'os.setxattr("$VICTIM", "user.counterpoint", b"x")', "anyone"),
            ("truncates", 'os.truncate("$VICTIM", 0)', "anyone"),
            ("removes", 'os.unlink("$VICTIM")', "anyone"),
            ("renames", 'os.rename("$VICTIM", "$DIR/$STAMP")', "anyone"),
            ("links", 'os.link("$VICTIM", "$DIR/$STAMP")', "anyone"),
            ("appends_to", 'open("$VICTIM", "a").write("x")', "anyone"),
            ("opens_for_both", 'os.open("$VICTIM", os.O_RDWR)', "anyone"),
            ("opens_and_cuts", 'os.open("$VICTIM", os.O_RDONLY | os.O_TRUNC)', "anyone"),
        )
    ),
    _refused("makes_a_folder", 'import os\nos.mkdir("$DIR/$STAMP")\nprint(7)', 8),
    _refused("makes_a_fifo", 'import os\nos.mkfifo("$DIR/$STAMP")\nprint(7)', 8),
    _refused(
        "makes_a_device", 'import os\nos.mknod("$DIR/$STAMP", 0o20666, os.makedev(1, 3))\nprint(7)', 8, outside="root"
    ),
    _refused(
        "makes_a_nameless_file", 'import os\nos.open("$DIR", os.O_TMPFILE | os.O_RDWR)\nprint(7)', 8, outside="never"
    ),
    _refused("makes_a_temporary_file", 'import tempfile\ntempfile.mkstemp(prefix="$STAMP")\nprint(7)', 8),
    _refused(
        "makes_shared_memory",
        "from multiprocessing import shared_memory\n"
        'one = shared_memory.SharedMemory("$STAMP", create=True, size=16)\none.unlink()\nprint(7)',
        8,
        outside="never",
        says=REFUSED,
    ),
    _refused(
        "locks_a_module",
        "import fcntl, os\nfcntl.flock(os.open(os.__file__, os.O_RDONLY), fcntl.LOCK_EX | fcntl.LOCK_NB)\nprint(7)",
    ),
    _refused(
        "leases_a_module",
        "import fcntl, os\nfcntl.fcntl(os.open(os.__file__, os.O_RDONLY), 1024, fcntl.F_WRLCK)\nprint(7)",
        outside="never",
    ),
    _refused(
        "is_told_of_a_folder",
        "import fcntl, os\nfcntl.fcntl(os.open(os.path.dirname(os.__file__), os.O_RDONLY), 1026, 2)\nprint(7)",
        outside="never",
    ),
    _refused("reopens_its_output", 'open("/proc/self/fd/1", "r+")\nprint(7)', outside="never"),
    _refused("reopens_its_input_to_write", 'open("/dev/stdin", "r+")\nprint(7)', outside="never"),
    _refused(
        "opens_the_terminal",
        'import fcntl, termios\nfcntl.ioctl(open("/dev/tty", "rb"), termios.TIOCSTI, b"7")\nprint(7)',
        outside="never",
    ),
    _refused(
        "types_into_its_input",
        'import fcntl, termios\nfcntl.ioctl(0, termios.TIOCSTI, b"7")\nprint(7)',
        outside="never",
    ),
    _raw("syncs_all_disks", "call(@sync)\nprint(7)"),
]


def _socket(name: str, source: str, number: int = 12, *, outside="anyone") -> Program:
    return _refused(name, f"import os, socket, struct\n{source}\nprint(7)", number, outside=outside)


_TALKING = [
    _socket("connects_by_tcp", 'socket.create_connection(("127.0.0.1", $TCP), 2).send(b"x")', 11),
    _socket("connects_by_tcp_6", 'socket.socket(socket.AF_INET6).connect(("::1", $TCP))', 11, outside="never"),
    _socket("sends_by_fast_open", 'socket.socket().sendto(b"x", 0x20000000, ("127.0.0.1", $TCP))', 11),
    _socket("sends_by_udp", 'socket.socket(type=socket.SOCK_DGRAM).sendto(b"x", ("127.0.0.1", $UDP))'),
    _socket("listens", 'socket.create_server(("127.0.0.1", 0))'),
    _socket("opens_a_packet_socket", "socket.socket(socket.AF_PACKET, socket.SOCK_RAW)", outside="root"),
    _socket("opens_a_raw_socket", "socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)", outside="root"),
    _socket("opens_a_netlink_socket", "socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)"),
    _socket("opens_a_crypto_socket", "socket.socket(socket.AF_ALG, socket.SOCK_SEQPACKET)", outside="never"),
    _socket("opens_a_machine_socket", "socket.socket(socket.AF_VSOCK)", outside="never"),
    _socket("connects_to_an_abstract_name", 'socket.socket(socket.AF_UNIX).connect("\\0$ABSTRACT")'),
    _socket("sends_to_a_path", 'socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).sendto(b"x", "$DATAGRAM")'),
    _socket(
        "sends_a_pairs_datagram_to_a_path", 'socket.socketpair(type=socket.SOCK_DGRAM)[0].sendto(b"x", "$DATAGRAM")'
    ),
    _socket(
        "sends_a_pairs_message_to_a_path",
        'socket.socketpair(type=socket.SOCK_DGRAM)[0].sendmsg([b"x"], [], 0, "$DATAGRAM")',
    ),
    _socket(
        "sends_a_streams_message_to_a_path",
        'socket.socketpair()[0].sendmsg([b"x"], [], 0, "$DATAGRAM")',
        outside="never",
    ),
    _socket("reconnects_a_pair", 'socket.socketpair(type=socket.SOCK_DGRAM)[0].connect("$DATAGRAM")'),
    _socket("takes_a_pair_of_another_family", "socket.socketpair(socket.AF_TIPC)", outside="never"),
    _socket("binds_a_pair", 'socket.socketpair()[0].bind("$DIR/$STAMP")', outside="never"),
    _socket(
        "sends_descriptors_for_ever",
        "one, other = socket.socketpair()\nfor _ in range(5000):\n    socket.send_fds(one, [b'x'], [0] * 200)",
        16,
        outside="never",
    ),
    _socket("enlarges_a_buffer", "socket.socketpair()[0].setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2**26)", 16),
]

_CHILDREN = [
    _refused("forks", "import os\nif os.fork() == 0:\n    os._exit(0)\nos.wait()\nprint(7)", 13),
    _refused(
        "forks_three_hundred_times",
        "import os, time\nfor _ in range(300):\n    if os.fork() == 0:\n        time.sleep(2)\n"
        "        os._exit(0)\nprint(7)",
        13,
        outside="never",
    ),
    _refused(
        "forks_with_a_terminal", "import os\nif os.forkpty()[0] == 0:\n    os._exit(0)\nprint(7)", 13, outside="never"
    ),
    _raw(
        "forks_by_the_c_library",
        "child = libc.fork()\nif child < 0:\n    raise OSError('fork')\nif child == 0:\n    os._exit(0)\nprint(7)",
        13,
    ),
    _raw(
        "forks_by_clone",
        "child = call(@clone, signal.SIGCHLD, 0, 0, 0, 0)\nif child == 0:\n    os._exit(0)\nprint(7)",
        13,
    ),
    _raw(
        "clones_into_a_namespace",
        "child = call(@clone, signal.SIGCHLD | 0x10000000, 0, 0, 0, 0)\nif child == 0:\n    os._exit(0)\nprint(7)",
        13,
        outside="never",
    ),
    _raw(
        "forks_by_clone3",
        "given = struct.pack('8Q', 0, 0, 0, 0, signal.SIGCHLD, 0, 0, 0)\n"
        "child = call(@clone3, ctypes.create_string_buffer(given, 64), 64)\nif child == 0:\n    os._exit(0)\n"
        "print(7)",
        13,
    ),
    _raw(
        "forks_by_clone3_with_sharing",
        "given = struct.pack('8Q', 0x100, 0, 0, 0, 0, 0, 0, 0)\n"
        "call(@clone3, ctypes.create_string_buffer(given, 64), 64)\nprint(7)",
        13,
        outside="never",
    ),
    _refused(
        "leaves_a_daemon",
        "import os, time\nif os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0:\n"
        "        time.sleep(60)\n    os._exit(0)\nprint(7)",
        24,
        outside="never",
    ),
    _refused("runs_a_command", 'import os\nos.execv("/bin/echo", ["echo", "7"])', 25),
    _refused(
        "runs_a_command_by_another_name",
        'import os\nos.execv(os.path.realpath("/proc/self/exe"), ["python", "-c", "print(7)"])',
        25,
        says=REFUSED,
    ),
    _refused("runs_a_process", 'import subprocess\nsubprocess.run(["/bin/echo", "7"])', 25),
    _refused("spawns", 'import os\nos.waitpid(os.posix_spawn("/bin/echo", ["echo", "7"], {}), 0)', 25),
    _program(
        "calls_system", 'import os\nif os.system("/bin/echo 7"):\n    print("no")', WA, number=25, outside="anyone"
    ),
    _program(
        "calls_the_system_of_c",
        'import ctypes\nctypes.CDLL(None).system(b"/bin/echo 7")',
        WA,
        number=25,
        outside="anyone",
        opens=True,
    ),
    _refused("opens_a_pipe_to_a_command", 'import os\nprint(os.popen("/bin/echo 7").read())', 25),
    _raw(
        "runs_nothing_by_its_descriptor",
        'file = os.open("/bin/echo", os.O_RDONLY)\n'
        'call(@execveat, file, b"", (ctypes.c_char_p * 3)(b"echo", b"7", None), (ctypes.c_char_p * 1)(None), 0x1000)',
        25,
    ),
    _raw("runs_what_it_wrote", "file = call(@memfd_create, b'x', 0)\nos.write(file, b'#!/bin/sh')\nprint(7)", 25),
    _program(
        "starts_a_process_pool",
        "import multiprocessing\nif __name__ == '__main__':\n    print(multiprocessing.Pool(1).apply(len, ([0] * 7,)))",
        RE,
        outside="anyone",
        says=REFUSED,
        number=25,
    ),
    _program(
        "starts_three_thousand_threads",
        "import threading, time, os\nthreading.stack_size(65536)\nfor _ in range(3000):\n"
        "    threading.Thread(target=time.sleep, args=(30,), daemon=True).start()\nprint(7, flush=True)\nos._exit(0)",
        RE,
        MLE,
        number=14,
        says="RuntimeError|",
        weak=frozenset({AC}),
    ),
    _program(
        "starts_threads_by_the_c_library",
        _SYSTEM + "libc.pthread_attr_init.argtypes = [ctypes.c_void_p]\nattributes = ctypes.create_string_buffer(64)\n"
        "libc.pthread_attr_init(attributes)\n"
        "libc.pthread_attr_setstacksize(attributes, ctypes.c_size_t(16384))\nthread = ctypes.c_ulong()\n"
        "for _ in range(3000):\n"
        "    if libc.pthread_create(ctypes.byref(thread), attributes, libc.pause, None):\n"
        "        raise OSError('thread')\n"
        "print(7, flush=True)\nos._exit(0)",
        RE,
        number=14,
        says=REFUSED,
        weak=frozenset({AC}),
    ),
]

_MEMORY = [
    _program("takes_ten_gigabytes", "x = bytearray(10 * 2**30)\nprint(7)", MLE, number=15),
    _program(
        "maps_ten_gigabytes",
        "import mmap\nx = mmap.mmap(-1, 10 * 2**30)\nfor at in range(0, len(x), 4096):\n    x[at] = 1\nprint(7)",
        MLE,
        RE,
        number=15,
    ),
    _program(
        "grows_little_by_little",
        "x = []\nwhile True:\n    x.append(bytearray(2**20))",
        MLE,
        number=15,
        suite=SMALL,
        heavy=True,
    ),
    _program("grows_a_list", "x = [0]\nwhile True:\n    x += x", MLE, number=15, suite=SMALL, heavy=True),
    _program(
        "grows_a_list_and_goes_on",
        "x = []\ntry:\n    while True:\n        x.append(bytearray(2**20))\nexcept MemoryError:\n    pass\nprint(8)",
        WA,
        MLE,
        number=15,
        suite=SMALL,
        heavy=True,
    ),
    _program("formats_a_gigantic_number", "print('%0*d' % (2**31 - 100, 7))", MLE, number=15),
    _program(
        "maps_a_tebibyte_without_rights",
        "import mmap\nmmap.mmap(-1, 2**40, prot=0, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x4000)\nprint(7)",
        RE,
        MLE,
        outside="anyone",
    ),
    _program(
        "asks_the_allocator",
        "import ctypes\nlibc = ctypes.CDLL(None)\nlibc.malloc.restype = ctypes.c_void_p\n"
        "if not libc.malloc(ctypes.c_size_t(2**36)):\n    raise OSError('malloc')\nprint(7)",
        RE,
        says=REFUSED,
    ),
    _raw(
        "enlarges_a_map",
        "libc.mmap.restype = libc.mremap.restype = ctypes.c_void_p\n"
        "at = libc.mmap(None, ctypes.c_size_t(4096), 3, 0x22, -1, 0)\n"
        "at = libc.mremap(ctypes.c_void_p(at), ctypes.c_size_t(4096), ctypes.c_size_t(2**37), 1)\n"
        "if at == 2**64 - 1:\n    raise OSError('mremap')\nprint(7)",
        outside="never",
    ),
    _raw(
        "fills_a_memory_file",
        "file = call(@memfd_create, b'x', 0)\nfor _ in range(512):\n    os.write(file, bytes(2**23))\nprint(7)",
        16,
        outside="never",
    ),
    _raw("takes_secret_memory", "call(@memfd_secret, 0)\nprint(7)", outside="never"),
    _program(
        "fills_pipes",
        "import os\nfor _ in range(4000):\n    r, w = os.pipe()\n    os.set_blocking(w, False)\n"
        "    os.write(w, bytes(2**16))\nprint(7)",
        RE,
        MLE,
        number=16,
        says=REFUSED,
    ),
    _raw("enlarges_a_pipe", "fcntl.fcntl(os.pipe()[1], 1031, 2**20)\nprint(7)", 16),
    _refused(
        "opens_a_thousand_event_counters",
        "import os\nfor _ in range(1000):\n    os.eventfd(0)\nprint(7)",
        16,
        outside="never",
    ),
    _refused(
        "opens_a_thousand_polls",
        "import select\nx = [select.epoll() for _ in range(1000)]\nprint(7)",
        16,
        outside="never",
    ),
    _refused(
        "fills_a_pair", "import socket\nx = [socket.socketpair() for _ in range(1000)]\nprint(7)", 16, outside="never"
    ),
    _raw("leaves_shared_memory", "one = call(@shmget, 0, 4096, 0o1600)\ncall(@shmctl, one, 0, None)\nprint(7)", 17),
    _raw("leaves_a_semaphore", "one = call(@semget, 0, 1, 0o1600)\ncall(@semctl, one, 0, 0, 0)\nprint(7)", 17),
    _raw("leaves_a_queue", "one = call(@msgget, 0, 0o1600)\ncall(@msgctl, one, 0, None)\nprint(7)", 17),
    _raw(
        "opens_a_message_queue",
        "call(@mq_open, b'$STAMP', os.O_CREAT | os.O_RDWR, 0o600, None)\nprint(7)",
        17,
        outside="never",
    ),
    _refused(
        "locks_memory",
        "import ctypes, os\nlibc = ctypes.CDLL(None, use_errno=True)\nif libc.mlockall(3):\n"
        "    raise OSError(ctypes.get_errno(), 'mlockall')\nprint(7)",
        outside="never",
    ),
    _program("nests_a_literal", "print(eval('(' * 10**5 + ')' * 10**5))", RE, MLE),
    _program("nests_an_operator", "x = eval('-' * 10**6 + '7')\nprint(8)", RE, MLE, WA),
    _program("nests_attributes", "import ast\nast.literal_eval('[' * 10**5)", RE, MLE),
    _program("compiles_for_ever", "exec('x = ' + '+'.join(['1'] * 10**5))\nprint(8)", RE, MLE, WA),
]

_TIME = [
    _program(
        "spins",
        "while True:\n    pass",
        TLE,
        number=18,
        suite=StdinSuite(tests=STDIN.tests, allowance=SHORT),
        heavy=False,
    ),
    _program(
        "spins_and_ignores_signals",
        "import signal\nfor one in range(1, 65):\n    try:\n        signal.signal(one, signal.SIG_IGN)\n"
        "    except (OSError, ValueError):\n        pass\nwhile True:\n    pass",
        TLE,
        number=19,
        suite=StdinSuite(tests=STDIN.tests, allowance=SHORT),
    ),
    _program(
        "spins_and_blocks_signals",
        "import signal\nsignal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))\nwhile True:\n    pass",
        TLE,
        number=19,
        suite=StdinSuite(tests=STDIN.tests, allowance=SHORT),
    ),
    _program(
        "spins_in_threads",
        "import threading\ndef spin():\n    while True:\n        pass\nfor _ in range(20):\n"
        "    threading.Thread(target=spin).start()",
        TLE,
        number=18,
        suite=StdinSuite(tests=STDIN.tests, allowance=SHORT),
    ),
    _program(
        "spins_in_an_expression",
        "import re\nre.match('(a+)+$', 'a' * 40 + 'b')",
        TLE,
        number=20,
        suite=StdinSuite(tests=STDIN.tests, allowance=SHORT),
    ),
    _program(
        "spins_in_a_power",
        "print(10 ** 10 ** 9)",
        TLE,
        MLE,
        number=20,
        suite=StdinSuite(tests=STDIN.tests, allowance=SHORT),
    ),
    _program(
        "spins_at_exit",
        "import atexit\n@atexit.register\ndef spin():\n    while True:\n        pass\nprint(7)",
        TLE,
        suite=StdinSuite(tests=STDIN.tests, allowance=SHORT),
    ),
    _program(
        "sleeps",
        "import time\ntime.sleep(10**6)",
        TLE,
        number=21,
        suite=StdinSuite(tests=STDIN.tests, allowance=SHORTER),
        heavy=False,
    ),
    _program(
        "stops_itself",
        "import os, signal\nos.kill(os.getpid(), signal.SIGSTOP)",
        TLE,
        number=21,
        suite=StdinSuite(tests=STDIN.tests, allowance=SHORTER),
    ),
    _program(
        "never_ends_a_thread",
        "import threading, time\nprint(7, flush=True)\nthreading.Thread(target=time.sleep, args=(10**6,)).start()",
        TLE,
        number=22,
        suite=StdinSuite(tests=STDIN.tests, allowance=SHORTER),
    ),
    _program(
        "waits_for_itself",
        "import threading\nlock = threading.Lock()\nlock.acquire()\nlock.acquire()",
        TLE,
        number=21,
        suite=StdinSuite(tests=STDIN.tests, allowance=SHORTER),
    ),
    _program(
        "waits_for_a_pipe",
        "import os\nos.read(os.pipe()[0], 1)",
        TLE,
        number=21,
        suite=StdinSuite(tests=STDIN.tests, allowance=SHORTER),
    ),
    _program(
        "swallows_its_end",
        "import time\nwhile True:\n    try:\n        time.sleep(10**6)\n    except BaseException:\n        pass",
        TLE,
        number=21,
        suite=StdinSuite(tests=STDIN.tests, allowance=SHORTER),
    ),
    _refused("is_modest", "import os\nos.nice(19)\nprint(7)"),
    _refused("is_idle", "import os\nos.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))\nprint(7)"),
    _refused(
        "is_first", "import os\nos.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))\nprint(7)", outside="root"
    ),
    _refused("is_important", "import os\nos.setpriority(os.PRIO_PROCESS, 0, -5)\nprint(7)", outside="root"),
    _refused("chooses_its_core", "import os\nos.sched_setaffinity(0, os.sched_getaffinity(0))\nprint(7)"),
    _raw(
        "has_a_deadline",
        "given = struct.pack('IIQiIQQQ', 48, 0, 0, 0, 0, 0, 0, 0)\n"
        "call(@sched_setattr, 0, ctypes.create_string_buffer(given, 48), 0)\nprint(7)",
    ),
    _raw("is_first_at_the_disk", "call(@ioprio_set, 1, 0, 2 << 13)\nprint(7)"),
    _refused(
        "sets_the_clock", "import time\ntime.clock_settime(time.CLOCK_REALTIME, time.time())\nprint(7)", outside="never"
    ),
]


def _seek(then: str) -> str:
    """A program that looks for the hidden answer, `then` does something with what it found."""
    return (
        """
import gc, os, re, sys
pattern = re.compile("-rewsna-thgir-eht"[::-1] + "[0-9a-f]{8}")
def texts():
    for one in gc.get_objects():
        for part in (one.values() if type(one) is dict else one if type(one) in (list, tuple) else ()):
            yield part
    frame = sys._getframe()
    while frame:
        yield from list(frame.f_locals.values()) + list(frame.f_globals.values())
        frame = frame.f_back
    for module in list(sys.modules.values()):
        yield from list(vars(module).values())
def pages():
    try:
        import ctypes
        write = ctypes.CDLL(None).write
    except (ImportError, OSError):
        return
    r, w = os.pipe()
    here = [id(object()), id(sys), ctypes.addressof(ctypes.c_int()), ctypes.cast(write, ctypes.c_void_p).value]
    for start in here:
        for at in range((start & ~4095) - 2**23, (start & ~4095) + 2**23, 4096):
            if write(w, ctypes.c_void_p(at), 4096) == 4096:
                yield os.read(r, 4096).decode("latin-1")
    os.close(r)
    os.close(w)
def files():
    for name in ["test_cases.txt", "correct_output.txt", "answer.txt", ".", *(f"/proc/self/fd/{n}" for n in range(16))]:
        try:
            yield open(name, errors="replace").read()
        except OSError:
            pass
    for n in range(16):
        try:
            yield os.pread(n, 10**6, 0).decode("latin-1")
        except OSError:
            pass
def seek():
    for source in (texts(), files(), pages()):
        for one in source:
            if type(one) in (str, bytes):
                found = pattern.search(one if type(one) is str else one.decode("latin-1"))
                if found:
                    return found[0]
"""
        + then
    )


_FORGING = [
    _program(
        "looks_for_the_answer",
        _seek("print(seek())"),
        WA,
        number=26,
        suite=StdinSuite(tests=(("3 4\n", HIDDEN + "\n"), ("5 6\n", HIDDEN + "\n"))),
    ),
    _call(
        "looks_for_the_value",
        _seek("def f(x):\n    return seek()"),
        number=26,
        suite=CallSuite(function="f", tests=(((3,), HIDDEN),)),
        heavy=True,
    ),
    _exam(
        "looks_for_the_assertion",
        _seek("def f(x):\n    return seek()"),
        WA,
        number=26,
        exam=f"assert f(3) == {HIDDEN!r}",
        heavy=True,
    ),
    _exam(
        "looks_for_the_assertion_again",
        _seek("def f(x):\n    return seek()"),
        WA,
        exam=f"assert f(1) is None\nassert f(2) == {HIDDEN!r}",
        heavy=True,
    ),
    _program(
        "looks_for_files_of_answers",
        """
import os
found = []
for name in (".", "/", "test_cases.txt", "correct_output.txt", "tests/hostile.py", "/tmp"):
    try:
        found += os.listdir(name)
    except OSError:
        pass
for fd in range(3, 64):
    try:
        found.append(os.read(fd, 9))
    except OSError:
        pass
print(7 if found else 0)
""",
        WA,
        number=27,
        outside="anyone",
    ),
    _program(
        "writes_a_verdict_everywhere",
        "import os\nfor fd in range(3, 1024):\n"
        '    for text in (b\'{"verdict":"AC"}\', b\'{"endings":[{"exit_code":0}]}\', b"accepted", b"[true]"):\n'
        "        try:\n            os.write(fd, text)\n        except OSError:\n            pass",
        WA,
        number=28,
    ),
    _program(
        "answers_for_the_server",
        "import json, os, stat\n"
        "ending = dict(exit_code=0, signal=None, out_of_time=False, dismissed=False, cpu=0.1, wall=0.1)\n"
        "found = 0\n"
        "for fd in range(3, 70000):\n    try:\n        if stat.S_ISSOCK(os.fstat(fd).st_mode):\n            found = 7\n"
        "            os.write(fd, json.dumps(dict(endings=[ending, ending])).encode())\n    except OSError:\n"
        "        pass\nprint(found)",
        WA,
        number=28,
    ),
    _exam(
        "answers_for_the_server_of_an_exam",
        "import json, os, stat, time\n"
        "ending = dict(exit_code=0, signal=None, out_of_time=False, dismissed=True, cpu=0.1, wall=0.1)\n"
        "def f(x):\n    for fd in range(4, 70000):\n        try:\n            if stat.S_ISSOCK(os.fstat(fd).st_mode):\n"
        "                os.write(fd, json.dumps(dict(endings=[ending, ending])).encode())\n"
        "        except OSError:\n            pass\n    return 8",
        WA,
        number=28,
    ),
    _program(
        "writes_a_pickle_everywhere",
        "import os, pickle\nclass Payload:\n    def __reduce__(self):\n"
        '        return exec, (\'open("$MARKER", "w").write("x")\',)\n'
        "for fd in range(1, 1024):\n    try:\n        os.write(fd, pickle.dumps(Payload()))\n"
        "    except OSError:\n        pass",
        WA,
        number=29,
    ),
    _program("exits_at_once", "import os\nos._exit(0)", WA, number=30),
    _program("exits_properly_at_once", "import sys\nsys.exit(0)", WA, number=30),
    _program("exits_with_true", "import sys\nsys.exit(True)", RE, number=30),
    _program("ends_without_a_word", "pass", WA, number=30),
    _program("is_right_and_exits_with_one", "import sys\nprint(7)\nsys.exit(1)", RE, number=31),
    _program("is_right_and_exits_with_a_text", 'print(7)\nraise SystemExit("fine")', RE, number=31),
    _program("is_right_and_fails", "print(7)\nraise ValueError", RE, number=31),
    _program("is_right_and_dies", "import os\nprint(7, flush=True)\nos.kill(os.getpid(), 9)", RE, number=31),
    *(
        _program(f"claims_exit_code_{code}", f"import os\nprint(7, flush=True)\nos._exit({code})", *verdicts)
        for code, verdicts in (
            (113, (MLE, RE)),
            (114, (WA, RE)),
            (115, (RE,)),
            (116, (RE,)),
            (117, (RE,)),
            (120, (RE,)),
            (137, (RE,)),
            (255, (RE,)),
        )
    ),
    *(
        _program(
            f"claims_signal_{name}",
            f"import os, signal\nprint(7, flush=True)\n"
            f"signal.signal(signal.SIG{name}, signal.SIG_DFL) if '{name}' != 'KILL' else 0\n"
            f"os.kill(os.getpid(), signal.SIG{name})",
            RE,
        )
        for name in ("KILL", "TERM", "INT", "SEGV", "SYS", "XCPU", "XFSZ", "ABRT", "PIPE")
    ),
    *(
        _program(f"prints_{name}", f"print({text!r})", WA, number=number, suite=StdinSuite(tests=(("", "1\n2\n3\n"),)))
        for name, number, text in (
            ("a_beginning", 32, "1\n2"),
            ("nothing_of_it", 32, ""),
            ("more", 32, "1\n2\n3\n4"),
            ("junk_after_it", 32, "1\n2\n3\nand so on"),
            ("another_order", 33, "3\n2\n1"),
            ("it_twice", 33, "1\n2\n3\n1\n2\n3"),
            ("it_in_a_line", 33, "1 2 3"),
            ("equal_lines", 33, "1\n1\n1"),
        )
    ),
    *(
        _program(f"prints_number_{index}", f"import sys\nsys.stdout.write({text!r})", *verdicts)
        for index, (text, *verdicts) in enumerate(
            (
                ("1e999999999", WA),
                ("-1e-999999999999", WA),
                ("1e99999999999999999999", WA),
                ("nan", WA),
                ("sNaN", WA),
                ("Infinity", WA),
                ("9" * 100_000, WA),
                ("0." + "9" * 100_000, WA),
                ("7_0", WA),
                ("7,0", WA),
                ("0x7", WA, AC),
                ("\u0667", WA, AC),
                ("7\x00", WA),
                ("7 " * 100_000, WA),
                ("\n" * 1_000_000, WA),
                ("7.0000001", WA, AC),
                ("6.9", WA),
                ("True", WA),
            )
        )
    ),
    _program("closes_its_output", "import os\nos.close(1)", WA, number=35),
    _program("closes_its_output_and_prints", "import os\nos.close(1)\nprint(7)", WA, RE, number=35),
    _program(
        "puts_its_input_over_its_output",
        "import os\nos.dup2(0, 1)\ntry:\n    print(7, flush=True)\nexcept OSError:\n    os._exit(0)",
        WA,
        RE,
        number=35,
    ),
    _program("loses_its_output", "import sys\nsys.stdout = None\nprint(7)", WA, number=35),
    _program("detaches_its_output", "import sys\nsys.stdout.detach()\nsys.exit(0)", WA, RE, number=35),
    *(
        _program(f"prints_{name}", f"import os\nos.write(1, {data!r})", WA, number=36)
        for name, data in (
            ("bad_utf8", b"7\xff\n"),
            ("a_zero_byte", b"7\0\n"),
            ("a_surrogate", b"7\xed\xa0\x80\n"),
            ("half_a_character", b"7\xe2\x82"),
            ("utf_16", "7\n".encode("utf-16")),
        )
    ),
    _program(
        "says_bad_utf8_of_its_error",
        "import os\nos.write(2, b'\\xff\\xed\\xa0\\x80\\0' * 1000)\nraise ValueError('\\udc80')",
        RE,
        number=36,
    ),
    _program("is_not_text", "print('\ud800')", WA, RE, number=36),
    _program("has_a_zero_byte", "print(7)\0", RE, number=36),
    _program("is_in_another_encoding", "# -*- coding: utf-7 -*-\n+AHAAcgBpAG4AdAAoADgAKQ-", WA, RE),
    _program("is_not_python", "print(7", RE),
    _program("is_a_comment", "# 7", WA),
    _program("is_huge", "x = 0\n" + "x += 1\n" * 50_000 + "print(8)", WA, TLE, MLE, RE),
    _program("reads_nowhere", "import ctypes\nctypes.string_at(0)", RE, number=37),
    _program(
        "recurses_in_a_repr",
        "x = []\nfor _ in range(10**6):\n    x = [x]\nimport sys\nsys.setrecursionlimit(10**9)\nrepr(x)",
        RE,
        MLE,
        TLE,
        number=37,
        suite=StdinSuite(tests=STDIN.tests, allowance=SHORT),
    ),
    _program(
        "recurses_in_c",
        "x = ()\nfor _ in range(3 * 10**6):\n    x = (x,)\nhash(x)\nprint(7)",
        RE,
        number=37,
        heavy=True,
    ),
    _program(
        "recurses_for_ever",
        "import sys\nsys.setrecursionlimit(2**31 - 1)\ndef f():\n    f()\nf()",
        RE,
        MLE,
        TLE,
        suite=StdinSuite(tests=STDIN.tests, allowance=SHORT),
    ),
    _program(
        "recurses_in_a_comparison",
        "import sys\nsys.setrecursionlimit(2**31 - 1)\nclass A:\n    def __eq__(self, other):\n"
        "        return self == other\nA() == 1",
        RE,
        MLE,
    ),
    _program(
        "crashes_at_exit", "import atexit, ctypes\natexit.register(ctypes.string_at, 0)\nprint(7, flush=True)", RE
    ),
    _program(
        "breaks_the_builtins",
        "import builtins, json, math, sys\nbuiltins.print = math.sqrt = sys.modules['json'] = None\n"
        "for name in list(vars(os := __import__('os'))):\n    setattr(os, name, None)",
        WA,
        RE,
        number=38,
    ),
    _program(
        "breaks_its_end",
        "import os\nos._exit = lambda code: None\nimport sys, threading, atexit\n"
        "threading._shutdown = atexit._run_exitfuncs = None",
        WA,
        RE,
        number=38,
    ),
    _program(
        "breaks_its_end_and_is_right",
        "import os\nos._exit = lambda code: None\nprint(7, flush=True)\nraise ValueError",
        RE,
        number=38,
    ),
    _program(
        "returns_to_the_server",
        "import os, socket\nos._exit = lambda code: None\nfor fd in range(3, 64):\n    try:\n"
        "        os.dup2(socket.socketpair()[0].fileno(), fd)\n    except OSError:\n        pass",
        WA,
        RE,
        TLE,
        number=38,
        suite=StdinSuite(tests=STDIN.tests, allowance=SHORTER),
    ),
    _program(
        "calls_the_runner",
        "import sys\nfor name, module in list(sys.modules.items()):\n"
        "    if 'inside' in name or name == 'server':\n        for key in list(vars(module)):\n"
        "            if not key.startswith('__'):\n                setattr(module, key, None)",
        WA,
        RE,
        number=45,
    ),
    _program(
        "ends_as_the_runner_does",
        "import sys\nframe = sys._getframe()\nwhile frame:\n"
        "    for key, value in list(frame.f_globals.items()):\n"
        "        if key in ('NOT_CONFINED', 'OUT_OF_MEMORY', 'BAD_VALUE'):\n"
        "            frame.f_globals[key] = 0\n    frame = frame.f_back\nprint(7, flush=True)\n"
        "raise ValueError",
        RE,
    ),
    _program(
        "runs_out_of_memory_and_hides_it",
        "import sys\nfor module in list(sys.modules.values()):\n    if hasattr(module, 'OUT_OF_MEMORY'):\n"
        "        module.OUT_OF_MEMORY = 0\nx = bytearray(2**40)",
        WA,
        MLE,
        RE,
    ),
    _program(
        "writes_after_its_end",
        "import threading, time, os\ndef late():\n    while True:\n        os.write(1, b'7\\n')\n"
        "threading.Thread(target=late, daemon=True).start()\ntime.sleep(0.05)",
        WA,
        RE,
        OLE,
    ),
    _program("spoils_its_answer_at_exit", "import atexit\natexit.register(print, 8)\nprint(7)", WA),
    _program("waits_for_a_debugger", "breakpoint()\nprint(8)", WA, RE),
    _program(
        "traces_itself", "import sys\nsys.settrace(lambda *_: None)\nsys.setprofile(lambda *_: None)\nprint(8)", WA
    ),
]

_FLOODING = [
    _program(
        "floods_its_output", "import sys\nfor _ in range(700):\n    sys.stdout.write('x' * 2**20)", OLE, number=34
    ),
    _program(
        "floods_its_errors",
        "import sys\nprint(7)\nfor _ in range(700):\n    sys.stderr.write('x' * 2**20)",
        OLE,
        number=34,
    ),
    _program(
        "floods_its_output_and_goes_on",
        "import os, signal\nsignal.signal(signal.SIGXFSZ, lambda *_: None)\nfor _ in range(700):\n    try:\n"
        "        os.write(1, bytes(2**20))\n    except OSError:\n        pass\nos._exit(0)",
        OLE,
        number=34,
    ),
    _program(
        "floods_its_output_in_threads",
        "import os, threading\ndef flood():\n    for _ in range(100):\n        os.write(1, bytes(2**20))\n"
        "for _ in range(8):\n    threading.Thread(target=flood).start()",
        OLE,
        number=34,
    ),
    _program("prints_in_the_far", "import os\nos.lseek(1, 10**15, 0)\nos.write(1, b'7\\n')", RE, OLE),
    _program("prints_a_little_further", "import os\nos.lseek(1, 2**30, 0)\nos.write(1, b'7\\n')", RE, OLE),
    _program("prints_before_the_end", "import os\nos.pwrite(1, b'7\\n', 16 * 2**20 - 2)", WA, OLE, RE),
    _program("prints_where_it_likes", "import os\nos.pwritev(1, [b'8\\n'], 10**7)\nos.lseek(1, 0, 2)", WA, RE),
    *(
        _program(f"{name}_its_output", f"import fcntl, mmap, os\n{act}\nprint(7)", RE, says=REFUSED)
        for name, act in (
            ("enlarges", "os.ftruncate(1, 10**15)"),
            ("truncates", "os.ftruncate(1, 0)"),
            ("allocates", "os.posix_fallocate(1, 0, 2**32)"),
            ("seals", "fcntl.fcntl(1, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SHRINK)"),
            ("changes_the_mode_of", "os.fchmod(1, 0o777)"),
            ("changes_the_owner_of", "os.fchown(1, os.getuid(), os.getgid())"),
            ("changes_the_times_of", "os.utime(1, (1, 1))"),
            ("names", "os.setxattr(1, 'user.x', b'x')"),
            ("locks", "fcntl.flock(1, fcntl.LOCK_EX)"),
        )
    ),
    *(
        _program(f"{name}_its_input", f"import fcntl, os\n{act}\nprint(7)", RE, says=REFUSED)
        for name, act in (
            ("writes_to", "os.write(0, b'7')"),
            ("truncates", "os.ftruncate(0, 0)"),
            ("changes_the_times_of", "os.utime(0, (1, 1))"),
            ("unseals", "fcntl.fcntl(0, fcntl.F_ADD_SEALS, 0)"),
        )
    ),
    _program(
        "maps_its_input_to_write",
        "import mmap\nx = mmap.mmap(0, 0)\nx[0] = 55\nprint(8)",
        RE,
        WA,
        says="|PermissionError|OSError",
    ),
    _program(
        "maps_its_output", "import mmap, os\nos.write(1, b'8' * 4096)\nx = mmap.mmap(1, 4096)\nx[:2] = b'7\\n'", WA, RE
    ),
    _program(
        "sets_flags_of_its_output",
        "import fcntl, os\n"
        "fcntl.fcntl(1, fcntl.F_SETFL, os.O_APPEND | os.O_NONBLOCK | os.O_DIRECT | os.O_ASYNC | os.O_NOATIME)\n"
        "os.write(1, b'8')",
        WA,
        RE,
    ),
    _program(
        "sets_flags_of_its_input",
        "import fcntl, os\nfcntl.fcntl(0, fcntl.F_SETFL, os.O_NONBLOCK | os.O_DIRECT)\nprint(8)",
        WA,
        RE,
    ),
    _program("moves_the_secret_along", "import os\nos.sendfile(1, 0, 0, 100)", WA, RE),
    _program("splices", "import os\nr, w = os.pipe()\nos.splice(0, w, 100)\nos.splice(r, 1, 100)", WA, RE),
    _program("copies_a_range", "import os\nos.copy_file_range(0, 1, 100)", WA, RE),
    _raw(
        "splices_memory",
        "call(@vmsplice, os.pipe()[1], ctypes.create_string_buffer(struct.pack('QQ', id(7), 16), 16), 1, 0)\nprint(7)",
        outside="never",
    ),
]

_RISING = [
    *(
        _refused(
            f"raises_{name.lower()}",
            f"import resource\n"
            f"most = 100_000 if '{name}' == 'NOFILE' else resource.RLIM_INFINITY\n"
            f"resource.setrlimit(resource.RLIMIT_{name}, (most, most))\n"
            f"print(7)",
            39,
            outside="never",
            says="ValueError|PermissionError|OSError",
        )
        for name in ("AS", "CPU", "FSIZE", "NOFILE", "CORE", "MEMLOCK")
    ),
    _refused(
        "raises_threads",
        "import resource\nresource.setrlimit(resource.RLIMIT_NPROC, (100000, 100000))\nprint(7)",
        39,
        outside="never",
        says="ValueError|PermissionError|OSError",
        weak=frozenset({AC}),
    ),
    _program(
        "dumps_its_core",
        "import os, resource\nprint(7, flush=True)\ntry:\n"
        "    resource.setrlimit(resource.RLIMIT_CORE, (-1, -1))\nfinally:\n    os.abort()",
        RE,
        number=39,
    ),
    _program(
        "allows_itself_no_output",
        "import resource\nresource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))\nprint(7)",
        RE,
        OLE,
        WA,
    ),
    _program(
        "allows_itself_no_memory",
        "import resource\nresource.setrlimit(resource.RLIMIT_AS, (0, 0))\nx = bytearray(10**8)\nprint(7)",
        RE,
        MLE,
    ),
    _program(
        "allows_itself_no_time",
        "import resource\nresource.setrlimit(resource.RLIMIT_CPU, (0, 0))\nwhile True:\n    pass",
        RE,
        TLE,
    ),
    _fatal("unshare", 40, 0x10000000),
    _fatal("io_uring_setup", 40, 8, 0),
    _fatal("bpf", 40),
    _fatal("keyctl", 40),
    _fatal("userfaultfd", 40),
    *(
        _fatal(name)
        for name in (
            *(
                "io_uring_enter",
                "io_uring_register",
                "add_key",
                "request_key",
                "setns",
                "mount",
                "umount2",
                "pivot_root",
            ),
            *("move_mount", "open_tree", "fsopen", "mount_setattr", "perf_event_open", "init_module", "kexec_load"),
            "open_by_handle_at",
        )
    ),
    *(
        _refused(f"becomes_{name}", f"import os\n{act}\nprint(7)", outside="root")
        for name, act in (
            ("root", "os.setuid(0)"),
            ("root_again", "os.setresuid(0, 0, 0)"),
            ("a_member", "os.setgroups([0])"),
            ("nobody", "os.setuid(65534)"),
            ("a_root_of_its_own", 'os.chroot("/")'),
        )
    ),
    _raw(
        "takes_capabilities",
        "header, data = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * "
        "6)(0xFFFFFFFF, 0xFFFFFFFF, 0, 0, 0, 0)\n"
        "if libc.capset(header, data):\n    raise OSError(ctypes.get_errno(), 'capset')\nprint(7)",
        outside="never",
    ),
    _raw(
        "renames_the_host",
        "name = os.uname().nodename.encode()\nif libc.sethostname(name, len(name)):\n"
        "    raise OSError(ctypes.get_errno(), 'sethostname')\nprint(7)",
        outside="root",
    ),
    _raw("reads_the_kernels_messages", "call(@syslog, 10, None, 0)\nprint(7)", outside="root"),
    _raw("outlives_its_parent", "call(@prctl, 1, 0, 0, 0, 0)\nprint(7)"),
    _raw("can_be_dumped", "call(@prctl, 4, 1, 0, 0, 0)\nprint(7)"),
    _raw("can_be_traced", "call(@prctl, 0x59616D61, $PREY, 0, 0, 0)\nprint(7)", outside="never"),
    _raw("adopts_orphans", "call(@prctl, 36, 1, 0, 0, 0)\nprint(7)"),
    _raw("moves_its_memory", "call(@prctl, 35, 1, 0x10000, 0, 0)\nprint(7)", outside="never"),
    _raw("filters_itself", "call(@prctl, 22, 1, 0, 0, 0)\nos._exit(0)", outside="never"),
    _raw(
        "filters_itself_and_is_told",
        "call(@seccomp, 1, 8, ctypes.create_string_buffer(struct.pack('HxxxxxxP', 1, "
        "ctypes.addressof(ctypes.create_string_buffer(struct.pack('HBBI', 6, 0, 0, 0x7FFF0000), 8))), 16))\n"
        "print(7)",
        outside="never",
    ),
    _raw("restricts_itself", "call(@landlock_restrict_self, 0, 0)\nprint(7)", outside="never"),
    _raw("changes_its_personality", "call(@personality, 0x0040000)\nprint(7)"),
    *(
        [
            _raw(
                "has_its_own_segments",
                "call(@modify_ldt, 1, ctypes.create_string_buffer(struct.pack('IIII', 0, 0, 0, 0), 16), 16)\nprint(7)",
            ),
            _raw("forks_by_number", "child = call(@fork)\nif child == 0:\n    os._exit(0)\nprint(7)", 13),
            _raw(
                "forks_by_vfork",
                "libc.syscall(ctypes.c_long(@vfork)) == 0 and os._exit(0)\nif ctypes.get_errno():\n"
                "    raise OSError(ctypes.get_errno(), 'vfork')\nprint(7)",
                13,
                outside="never",
            ),
            _program(
                "calls_as_32_bit",
                _SYSTEM + "code = mmap.mmap(-1, 4096, prot=7)\ncode.write(bytes.fromhex('b814000000cd80c3'))\n"
                "run = ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(code)))\n"
                "print(7 if run() == os.getpid() else 0)",
                RE,
                killed=True,
                outside="anyone",
            ),
            _program("calls_as_x32", _SYSTEM + "call(0x40000000 | 39)\nprint(7)", RE, killed=True),
            _program(
                "forks_as_32_bit",
                _SYSTEM + "code = mmap.mmap(-1, 4096, prot=7)\ncode.write(bytes.fromhex('b802000000cd80c3'))\n"
                "run = ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(code)))\n"
                "if run() == 0:\n    os._exit(0)\nprint(7)",
                RE,
                killed=True,
                outside="anyone",
            ),
            _program("calls_nothing", _SYSTEM + "call(-1)\nprint(7)", RE, killed=True),
        ]
        if platform.machine() == "x86_64"
        else []
    ),
]

_ANSWERS = """
import os
def say(data):
    for fd in range(3, 64):
        try:
            os.write(fd, data)
        except OSError:
            pass
"""
REPLIES = {
    "nothing": "b''",
    "a_verdict": """b'{"verdict": "accepted"}'""",
    "many": "b'7\\n8\\n'",
    "all": "b'\\n'.join(b'%d' % one for one in range(100))",
    "seven_and_more": "b'7 7'",
    "a_dict_of_lists": """b'{"dict": [[[], 7]]}'""",
    "a_dict_of_less": """b'{"dict": [[7]]}'""",
    "a_dict_of_nothing": """b'{"dict": 7}'""",
    "a_set_of_lists": """b'{"set": [[7]]}'""",
    "a_set_of_sets": """b'{"set": [{"set": [7]}]}'""",
    "a_tuple_of_a_text": """b'{"tuple": "7"}'""",
    "a_float_as_int": """b'{"int": "7e0"}'""",
    "no_int": """b'{"int": null}'""",
    "a_nested_int": """b'{"int": {"int": {"int": "7x"}}}'""",
    "a_long_int": """b'{"int": "' + b'f' * 99_999 + b'"}'""",
    "a_too_long_int": """b'{"int": "' + b'f' * 5_000_000 + b'"}'""",
    "a_plain_long_int": "b'7' * 5_000_000",
    "a_long_float": "b'7.' + b'7' * 5_000_000",
    "a_huge_exponent": "b'7e999999999'",
    "a_nan": "b'NaN'",
    "an_infinity": "b'-Infinity'",
    "nan_keys": """b'{"dict": [[NaN, 7], [NaN, 7], [{"complex": [NaN, NaN]}, 7]]}'""",
    "half_a_complex": """b'{"complex": [7]}'""",
    "a_complex_of_text": """b'{"complex": ["seven", 0]}'""",
    "a_complex_of_bigs": """b'{"complex": [{"int": "' + b'f' * 9999 + b'"}, 0]}'""",
    "a_text_of_no_hex": """b'{"str": "zz"}'""",
    "a_text_of_a_surrogate": """b'{"str": "00d8"}'""",
    "a_plain_surrogate": """b'"\\\\ud800"'""",
    "bytes_of_no_hex": """b'{"bytes": [7]}'""",
    "two_tags": """b'{"int": "7", "str": "7"}'""",
    "an_unknown_tag": """b'{"object": 7}'""",
    "no_tag": "b'{}'",
    "a_hostile_tag": """b'{"__class__": "7", "\\\\ud800": 7}'""",
    "an_endless_list": "b'[' * 100_000",
    "a_deep_list": "b'[' * 100_000 + b']' * 100_000",
    "deep_tags": """b'{"tuple": [' * 50_000 + b']}' * 50_000""",
    "a_deep_list_in_an_int": """b'{"int": ' + b'[' * 900 + b']' * 900 + b'}'""",
    "not_json": "b'seven'",
    "a_pickle": "b'\\x80\\x04K\\x07.'",
    "not_text": "b'\\xff\\xfe7'",
    "a_mark_before_it": "b'\\xef\\xbb\\xbf7x'",
    "zero_bytes": "bytes(1000)",
    "many_lists": "b'[' + b'[],' * 3_000_000 + b'7]'",
    "many_dicts": """b'[' + b'{"dict":[]},' * 1_000_000 + b'7]'""",
    "many_numbers": "b'[' + b'7,' * 8_000_000 + b'7]'",
    "sixteen_megabytes": """b'"' + b'7' * (16 * 2**20 - 100) + b'"'""",
    "a_length": """(8).to_bytes(8, 'little') + b'["value"]'""",
    "a_hostile_length": "b'\\xff' * 8 + b'7'",
    "a_value_message": """(15).to_bytes(8, 'little') + b'["value",8,[3]]'""",
}
"""Expressions of bytes that are written in place of a result; none of them is 7."""
_CROWD = (
    "data = ('{\"KIND\":[' + ','.join(ELEMENT % ((2**61 - 1) * (one + 1)) for one in range(250_000)) + ']}').encode()\n"
)
_SET_CROWD = _CROWD.replace("KIND", "set").replace("ELEMENT", "'%d'")
_DICT_CROWD = _CROWD.replace("KIND", "dict").replace("ELEMENT", "'[%d,0]'")

_CALLED = [
    _call(
        "returns_what_equals_all",
        "class A:\n    __eq__ = lambda self, other: True\n    __hash__ = lambda self: 7\ndef f(x):\n    return A()",
        number=41,
    ),
    _call(
        "returns_an_int_that_equals_all",
        "class A(int):\n    __eq__ = lambda self, other: True\n    __hash__ = int.__hash__\ndef f(x):\n    return A(3)",
        number=42,
    ),
    *(
        _call(f"returns_{name}", f"{source}\n", *verdicts, number=number, suite=suite)
        for name, number, source, suite, *verdicts in (
            (
                "a_deep_list",
                43,
                "def f(x):\n    y = []\n    for _ in range(10**5):\n        y = [y]\n    return y",
                CALL,
            ),
            ("a_long_number", 43, "def f(x):\n    return 1 << 33_000_000", CALL),
            ("not_a_number", 43, "def f(x):\n    return float('nan')", CALL),
            ("infinity", 43, "def f(x):\n    return float('inf')", CALL),
            ("itself", 43, "def f(x):\n    y = []\n    y.append(y)\n    return y", CALL),
            ("itself_in_a_dict", 43, "def f(x):\n    y = {}\n    y[1] = y\n    return y", CALL),
            (
                "itself_many_times",
                43,
                "def f(x):\n    y = []\n    for _ in range(60):\n        y = [y, y, y]\n    return y",
                CALL,
                WA,
                RE,
                MLE,
                TLE,
            ),
            ("a_generator", 0, "def f(x):\n    yield 7", CALL),
            ("a_coroutine", 0, "async def f(x):\n    return 7", CALL),
            ("a_text_of_its_own", 0, "class A(str):\n    pass\ndef f(x):\n    return A('7')", CALL),
            ("seven_of_its_own", 0, "class A(int):\n    pass\ndef f(x):\n    return A(7)", CALL),
            ("seven_as_text", 0, "def f(x):\n    return '7'", CALL),
            ("seven_in_a_list", 0, "def f(x):\n    return [7]", CALL),
            (
                "a_dict_that_has_all",
                0,
                "class A(dict):\n    __missing__ = lambda self, key: 7\ndef f(x):\n    return A()",
                CALL,
            ),
            ("true", 0, "def f(x):\n    return True", CallSuite(function="f", tests=(((3,), 1),))),
            (
                "an_array_of_objects",
                0,
                "import numpy\nclass A:\n    __eq__ = lambda self, other: True\n    __hash__ = None\n"
                "def f(x):\n    return numpy.array([A()], dtype=object)",
                CALL,
            ),
            (
                "what_claims_to_be_an_array",
                0,
                "class A:\n    __module__ = 'numpy'\n    tolist = lambda self: A()\nA.__module__ = 'numpy'\n"
                "def f(x):\n    return A()",
                CALL,
            ),
            ("a_module", 0, "import sys\ndef f(x):\n    return sys", CALL),
            ("nothing", 0, "def f(x):\n    pass", CALL),
            ("not_implemented", 0, "def f(x):\n    return NotImplemented", CALL),
            ("a_mock", 0, "from unittest.mock import ANY\ndef f(x):\n    return ANY", CALL, WA, RE),
            ("a_byte_array", 0, "def f(x):\n    return bytearray(b'7')", CALL),
            ("a_huge_text", 0, "def f(x):\n    return '7' * 10**8", CALL, WA, MLE, OLE),
        )
    ),
    _call("ends_when_called", "import os\ndef f(x):\n    os._exit(0)", RE, number=44),
    _call("exits_when_called", "import sys\ndef f(x):\n    sys.exit(0)", RE),
    _call("ends_before_it_is_called", "import os\nos._exit(0)\ndef f(x):\n    return 7", RE, number=44),
    _call("is_not_there", "def g(x):\n    return 7", RE),
    _call("is_no_function", "f = 7", RE),
    _call("takes_something_else", "def f():\n    return 7", RE),
    _call("raises", "def f(x):\n    raise ValueError(7)", RE),
    _call("prints_in_place_of_returning", "def f(x):\n    print(7)", WA),
    _call(
        "is_never_done",
        "def f(x):\n    while True:\n        pass",
        TLE,
        suite=CallSuite(function="f", tests=CALL.tests, allowance=SHORT),
    ),
    _call(
        "patches_the_encoder",
        "import json, sys\nfor name, module in list(sys.modules.items()):\n"
        "    if name.endswith(('codec', 'program', 'json', 'encoder')):\n"
        "        for key, value in list(vars(module).items()):\n"
        "            if callable(value) and not key.startswith('__') and not isinstance(value, type):\n"
        "                setattr(module, key, lambda *a, **b: b'8')\ndef f(x):\n    return 8",
        WA,
        RE,
        number=45,
    ),
    _call(
        "answers_from_another_state",
        "import os\ncount = 0\ndef f(x):\n    global count\n    count += 1\n    return 7 if count == 1 else 8",
        WA,
        number=48,
        suite=CallSuite(function="f", tests=(((3,), 7), ((3,), 8))),
    ),
    *(
        _call(f"replies_{name}", f"{_ANSWERS}def f(x):\n    say({reply})\n    os._exit(0)", WA, RE, OLE)
        for name, reply in REPLIES.items()
    ),
    _call("replies_beforehand", _ANSWERS + "say(b'8')\ndef f(x):\n    return 9", WA, RE),
    _call("replies_at_exit", _ANSWERS + "import atexit\natexit.register(say, b'8')\ndef f(x):\n    return 9", WA, RE),
    _call("closes_the_reply", "import os\ndef f(x):\n    os.closerange(3, 64)\n    return 8", WA, RE),
    _call("replies_to_the_wrong_place", "import os\ndef f(x):\n    os.dup2(1, 3)\n    return 7", RE),
    _call("floods_the_reply", _ANSWERS + "def f(x):\n    while True:\n        os.write(3, b'7' * 2**20)", OLE, RE),
    _call("replies_in_the_far", "import os\ndef f(x):\n    os.lseek(3, 10**15, 0)\n    os.write(3, b'7')", RE, OLE, WA),
    _call("replies_a_crowd", _ANSWERS + _SET_CROWD + "def f(x):\n    say(data)\n    os._exit(0)", WA, RE, OLE),
    _call("replies_a_crowd_of_keys", _ANSWERS + _DICT_CROWD + "def f(x):\n    say(data)\n    os._exit(0)", WA, RE, OLE),
]

_EXAMINED = [
    _exam("ends_in_an_exam", "import os\ndef f(x):\n    os._exit(0)", RE, number=44),
    _exam("exits_in_an_exam", "import sys\ndef f(x):\n    sys.exit(0)", number=44),
    _exam("ends_before_an_exam", "import os\nos._exit(0)", RE, number=44),
    _exam("exits_before_an_exam", "import sys\nsys.exit()", RE, number=44),
    *(
        _exam(f"claims_exit_code_{code}_in_an_exam", f"import os\ndef f(x):\n    os._exit({code})", RE, WA, MLE)
        for code in (113, 114, 115, 116, 117)
    ),
    *(
        _exam(f"claims_exit_code_{code}_before_an_exam", f"import os\nos._exit({code})", RE, WA, MLE)
        for code in (113, 114, 115, 116, 117)
    ),
    _exam(
        "patches_what_it_can",
        "import builtins, sys, unittest\nclass A(Exception):\n    pass\nbuiltins.AssertionError = A\n"
        "builtins.__build_class__ = None\n"
        "unittest.TestCase.assertEqual = lambda *_: None\nfor name, module in list(sys.modules.items()):\n"
        "    if 'codec' in name:\n"
        "        module.decode = module.unpacked = lambda *_: [[3], {}]\ndef f(x):\n    return 8",
        WA,
        RE,
        number=45,
    ),
    _exam(
        "speaks_and_leaves", _ANSWERS + "say(b'ready\\n')\nsay(b'{\"ready\": true}')\nos._exit(0)", RE, WA, number=46
    ),
    _exam(
        "speaks_when_called_and_leaves",
        _ANSWERS + "def f(x):\n    say(b'ready\\n')\n    os._exit(0)",
        RE,
        WA,
        number=46,
    ),
    _exam(
        "answers_what_equals_all",
        "class A:\n    __eq__ = lambda self, other: True\n    __hash__ = lambda self: 7\ndef f(x):\n    return A()",
        WA,
        number=41,
    ),
    _exam(
        "answers_an_int_of_its_own",
        "class A(int):\n    __eq__ = lambda self, other: True\n    __hash__ = int.__hash__\ndef f(x):\n    return A(3)",
        WA,
        number=42,
    ),
    _exam("answers_a_generator", "def f(x):\n    yield 7", WA),
    _exam("answers_itself", "def f(x):\n    y = []\n    y.append(y)\n    return y", WA, number=43),
    _exam(
        "spoils_its_argument",
        "def f(x):\n    x.append(1)\n    return 7",
        WA,
        number=47,
        exam="x = [3]\nassert f(x) == 7\nassert x == [3]",
    ),
    _exam(
        "differs_from_call_to_call",
        "count = 0\ndef f(x):\n    global count\n    count += 1\n    return 7 if count == 1 else 8",
        WA,
        number=48,
        exam="assert f(3) == 7\nassert f(3) == 7",
    ),
    *(
        _exam(f"raises_{name}_in_an_exam", f"{source}", *verdicts)
        for name, source, *verdicts in (
            ("an_assertion", "def f(x):\n    raise AssertionError"),
            ("an_exit", "def f(x):\n    raise SystemExit(0)"),
            ("an_interrupt", "def f(x):\n    raise KeyboardInterrupt"),
            ("a_generators_exit", "def f(x):\n    raise GeneratorExit"),
            ("an_end", "def f(x):\n    raise StopIteration(7)"),
            ("an_exit_of_its_own", "class SystemExit(Exception):\n    code = 0\ndef f(x):\n    raise SystemExit(0)"),
            (
                "a_base_of_its_own",
                "class A(BaseException):\n    pass\nA.__name__ = A.__qualname__ = 'SystemExit'\n"
                "A.__module__ = 'builtins'\ndef f(x):\n    raise A(0)",
            ),
            ("a_group", "def f(x):\n    raise ExceptionGroup('x', [SystemExit(0)] and [ValueError(1)])"),
            (
                "a_text_that_raises",
                "class A(Exception):\n    def __str__(self):\n        raise SystemExit(0)\ndef f(x):\n    raise A",
            ),
            (
                "a_text_that_ends",
                "import os\nclass A(Exception):\n    def __str__(self):\n        os._exit(0)\ndef f(x):\n    raise A",
            ),
            (
                "a_text_of_a_kind",
                "class S(str):\n    __eq__ = lambda self, other: True\n    __hash__ = None\n"
                "class A(Exception):\n    def __str__(self):\n        return S('x')\ndef f(x):\n    raise A",
            ),
            ("a_huge_text", "def f(x):\n    raise ValueError('x' * 10**8)"),
            ("a_surrogate", "def f(x):\n    raise ValueError('\\ud800' * 10)"),
            ("a_name_of_a_function", "A = type('eval', (Exception,), {})\ndef f(x):\n    raise A('7')"),
            ("a_name_of_a_warning", "A = type('BytesWarning', (Exception,), {})\ndef f(x):\n    raise A('7')"),
            (
                "a_name_that_is_none",
                "class M(type):\n    __name__ = property(lambda self: 1 / 0)\n"
                "class A(Exception, metaclass=M):\n    pass\ndef f(x):\n    raise A('7')",
            ),
            (
                "a_deep_chain",
                "def f(x):\n    error = None\n    for _ in range(10**5):\n        new = ValueError()\n"
                "        new.__cause__ = error\n        error = new\n    raise error",
            ),
            ("no_memory", "def f(x):\n    raise MemoryError", WA, RE, MLE),
            ("no_depth", "def f(x):\n    return f(x)"),
        )
    ),
    _exam(
        "ends_the_loop_of_an_exam",
        "def f(x):\n    raise StopIteration",
        exam="for got, wanted in zip(map(f, [1, 2, 3]), [2, 4, 6]):\n    assert got == wanted",
    ),
    _exam("ends_the_test_of_an_exam", "def f(x):\n    raise StopIteration", exam="assert all(map(f, [1, 2, 3]))"),
    _exam(
        "ends_the_loop_of_an_exam_later",
        "def f(x):\n    if x == 1:\n        return 2\n    raise StopAsyncIteration if x == 2 else StopIteration",
        exam="for got, wanted in zip(map(f, [1, 3, 2]), [2, 4, 6]):\n    assert got == wanted",
    ),
    _exam(
        "kills_itself_between_calls",
        "import os, threading, time\ndef f(x):\n    threading.Timer(0.05, os._exit, [0]).start()\n    return 7",
        RE,
        exam="import time\nassert f(3) == 7\ntime.sleep(0.3)\nassert f(3) == 7",
    ),
    _exam(
        "has_a_hostile_end",
        "import os\nclass A:\n    def __del__(self):\n        os._exit(0)\ndef f(x):\n    A()\n    return 7",
        RE,
        exam="assert f(3) == 8",
    ),
    _exam(
        "signals_the_examiner",
        "import os, signal\ndef f(x):\n    for step in range(-20, 20):\n        try:\n"
        "            step and os.kill(os.getpid() + step, signal.SIGURG)\n        except OSError:\n"
        "            pass\n    return 8",
        WA,
    ),
    _exam(
        "traces_its_runner",
        "import sys\ndef trace(frame, event, value):\n    frame.f_locals\n    return trace\n"
        "sys.settrace(trace)\nframe = sys._getframe()\nwhile frame:\n    frame.f_trace = trace\n"
        "    frame = frame.f_back\ndef f(x):\n    return 8",
        WA,
        RE,
    ),
    _exam(
        "answers_many_at_once",
        "import os, struct\ndata = b'[\"value\",7,[3]]'\ndef f(x):\n    for _ in range(50):\n"
        "        os.write(3, struct.pack('<Q', len(data)) + data)\n    return 7",
        exam="assert f(3) == 7\nassert f(4) == 9",
    ),
    _exam(
        "answers_beforehand",
        "import os, struct\ndata = b'[\"value\",8,[3]]'\nfor _ in range(50):\n"
        "    os.write(3, struct.pack('<Q', len(data)) + data)\ndef f(x):\n    return 7",
        WA,
        RE,
    ),
    _exam("closes_the_channel", "import os\ndef f(x):\n    os.close(3)\n    return 7", RE, WA),
    _exam(
        "swallows_the_channel",
        "import os, time\ndef f(x):\n    while True:\n        os.read(3, 2**20)",
        TLE,
        suite=AssertSuite(function="f", exams=EXAM.exams, allowance=SHORTER),
    ),
    _exam(
        "never_answers",
        "import time\ndef f(x):\n    time.sleep(10**6)",
        TLE,
        suite=AssertSuite(function="f", exams=EXAM.exams, allowance=SHORTER),
        heavy=False,
    ),
    _exam(
        "never_gets_there",
        "while True:\n    pass",
        TLE,
        suite=AssertSuite(function="f", exams=EXAM.exams, allowance=SHORT),
    ),
    _exam(
        "answers_half",
        "import os, struct, time\ndef f(x):\n    os.write(3, struct.pack('<Q', 10**6) + b'[')\n    time.sleep(10**6)",
        TLE,
        suite=AssertSuite(function="f", exams=EXAM.exams, allowance=SHORTER),
    ),
    _exam("answers_a_hostile_length", "import os\ndef f(x):\n    os.write(3, b'\\xff' * 64)\n    return 7", WA, RE),
    _exam(
        "floods_the_examiner",
        "import os\ndef f(x):\n    while True:\n        os.write(3, b'\\x00' * 2**20)",
        WA,
        RE,
        TLE,
        MLE,
        OLE,
        suite=AssertSuite(function="f", exams=EXAM.exams, allowance=SHORT),
    ),
    _exam(
        "answers_a_crowd",
        _SET_CROWD + "import os, struct, time\ndata = b'[\"value\",' + data + b',[3]]'\ndef f(x):\n"
        "    view = memoryview(struct.pack('<Q', len(data)) + data)\n"
        "    while view:\n        view = view[os.write(3, view):]\n    time.sleep(100)",
        WA,
        RE,
        TLE,
        suite=AssertSuite(function="f", exams=EXAM.exams, allowance=SHORT),
    ),
    _exam("ignores_what_is_asked", "def f(*x, **y):\n    return 8", WA),
    _exam("is_not_examined", "def f(x):\n    return 8", WA, RE, exam="pass"),
    _exam(
        "names_what_an_exam_uses",
        "assert_equal = print\ndef check(f):\n    pass\ndef f(x):\n    return 8",
        WA,
        exam="def check(candidate):\n    assert candidate(3) == 7\ncheck(f)",
    ),
    _exam(
        "prints_for_the_examiner",
        "import os\nfor fd in (1, 2):\n    os.write(fd, b'OK\\nRan 1 test\\npassed\\n')\ndef f(x):\n    return 8",
        WA,
    ),
]

_EXPANDING = "print('\\x01' * 4_000_000)"
_UNJUDGED = [
    _program("has_no_tests", "print(7)", INVALID, number=50, suite=StdinSuite(tests=())),
    _program("has_no_calls", "def f(x):\n    return 7", INVALID, number=50, suite=CallSuite(function="f", tests=())),
    _program("has_no_exams", "def f(x):\n    return 7", INVALID, number=50, suite=AssertSuite(function="f", exams=())),
    _program("is_empty", " \n", Verdict.NO_PROGRAM),
    _program(
        "is_too_much_for_a_checker",
        _EXPANDING,
        WA,
        OLE,
        RE,
        suite=StdinSuite(tests=(("3 4\n", "7\n"),), checker="print(0)"),
    ),
    _program(
        "speaks_for_the_checker",
        "print('1')",
        WA,
        suite=StdinSuite(
            tests=(("3 4\n", "7\n"),),
            checker="import sys\nprint(int(open(sys.argv[2]).read() == open(sys.argv[3]).read()))",
        ),
    ),
    _program(
        "breaks_the_checker",
        "print('x' * 100)",
        WA,
        suite=StdinSuite(
            tests=(("3 4\n", "7\n"),), checker="import sys\nprint(int(int(open(sys.argv[3]).read()) == 7))"
        ),
    ),
    _program(
        "hangs_the_checker",
        "print(8)",
        WA,
        suite=StdinSuite(tests=(("3 4\n", "7\n"),), checker="while True:\n    pass", allowance=SHORTER),
    ),
]

HOSTILE: tuple[Program, ...] = (
    *(_READING + _OTHERS_PROCESSES + _WRITING + _TALKING + _CHILDREN + _MEMORY + _TIME),
    *(_FORGING + _FLOODING + _RISING + _CALLED + _EXAMINED + _UNJUDGED),
)


def _fair(name: str, source: str, right: str = "7\n", stdin: str = "3 4\n", **rest) -> Program:
    allowance = rest.pop("allowance", Allowance())
    suite = StdinSuite(tests=((stdin, right),), allowance=allowance)
    return _program(name, source, AC, suite=suite, **rest)


def _fair_call(name: str, source: str, *tests, function: str = "f", **rest) -> Program:
    options = {key: rest.pop(key) for key in ("json_born", "tolerance") if key in rest}
    suite = CallSuite(function=function, tests=tests or CALL.tests, **options)
    return _program(name, source, AC, suite=suite, **rest)


def _fair_exam(name: str, source: str, exam: str, function: str = "f", **rest) -> Program:
    return _program(name, source, AC, suite=AssertSuite(function=function, exams=(exam,)), **rest)


_SUM = "print(sum(map(int, {}.split())))"
_LINES = "".join(f"{number}\n" for number in range(1_000_000))
_BIG = "1234567 " * 1_250_000

_STREAMS = [
    _fair("input", "a, b = map(int, input().split())\nprint(a + b)"),
    _fair("stdin_buffer", "import sys\n" + _SUM.format("sys.stdin.buffer.read()")),
    _fair("stdin_buffer_readline", "import sys\ninput = sys.stdin.buffer.readline\n" + _SUM.format("input()")),
    _fair("open_0", _SUM.format("open(0).read()")),
    _fair("open_0_as_bytes", _SUM.format("open(0, 'rb').read()")),
    _fair("open_1", "out = open(1, 'w')\nout.write('7\\n')\nout.close()"),
    _fair("open_1_and_not_closed", "out = open(1, 'w')\nout.write('7\\n')"),
    _fair("open_1_bytes_and_not_closed", "import os\nout = os.fdopen(1, 'wb')\nout.write(b'7\\n')"),
    _fair("print_to_a_file_of_its_own", "print(7, file=open(1, 'w'))"),
    _fair(
        "a_buffer_at_exit",
        "import atexit, io, os, sys\nsys.stdout = io.BytesIO()\n"
        "atexit.register(lambda: os.write(1, sys.stdout.getvalue()))\nsys.stdout.write(b'7')",
    ),
    _fair(
        "a_fast_writer",
        "import os, sys\nfrom io import BytesIO, IOBase\nclass FastIO(IOBase):\n"
        "    def __init__(self, file):\n        self.fd, self.buffer = file.fileno(), BytesIO()\n"
        "        self.write = lambda s: self.buffer.write(s.encode())\n    def flush(self):\n"
        "        os.write(self.fd, self.buffer.getvalue())\n        self.buffer = BytesIO()\n"
        "sys.stdout = FastIO(sys.stdout)\nprint(7)",
    ),
    _fair(
        "streams_that_say_their_modes",
        "import os, sys\nfrom io import BytesIO\nclass FastIO:\n    def __init__(self, file):\n"
        "        self.fd, self.buffer = file.fileno(), BytesIO()\n"
        "        self.writable = 'x' in file.mode or 'r' not in file.mode\n"
        "        self.write = (lambda s: self.buffer.write(s.encode())) if self.writable else None\n"
        "    def readline(self):\n        return os.read(self.fd, os.fstat(self.fd).st_size).decode()\n"
        "    def flush(self):\n        self.writable and os.write(self.fd, self.buffer.getvalue())\n"
        "        self.buffer = BytesIO()\n"
        "assert (sys.stdin.name, sys.stdout.name, sys.stderr.mode) == ('<stdin>', '<stdout>', 'w')\n"
        "sys.stdin, sys.stdout = FastIO(sys.stdin), FastIO(sys.stdout)\n" + _SUM.format("sys.stdin.readline()"),
    ),
    _fair("os_read", "import os\n" + _SUM.format("os.read(0, 10**6)")),
    _fair("stdout_buffer", "import sys\nsys.stdout.buffer.write(b'7\\n')"),
    _fair("stdout_buffer_and_print", "import sys\nprint(7, end='', flush=True)\nsys.stdout.buffer.write(b'\\n')"),
    _fair("os_write", "import os\nos.write(1, b'7\\n')"),
    _fair("print_and_flush", "print(7, flush=True)"),
    _fair("print_without_flush_at_the_end", "import sys\nsys.stdout.write('7')"),
    _fair("stdin_by_name", "from sys import stdin\n" + _SUM.format("stdin.readline()")),
    _fair("stdin_lines", "import sys\nprint(sum(int(x) for line in sys.stdin for x in line.split()))"),
    _fair("stdin_readlines", "import sys\nprint(sum(int(x) for x in sys.stdin.readlines()[0].split()))"),
    _fair("dev_stdin", "import sys\nsys.stdin = open('/dev/stdin')\n" + _SUM.format("input()"), opens=True),
    _fair("proc_stdin", _SUM.format("open('/proc/self/fd/0').read()"), opens=True),
    _fair(
        "bytes_io",
        "import io, os\ninput = io.BytesIO(os.read(0, os.fstat(0).st_size)).readline\n" + _SUM.format("input()"),
    ),
    _fair("text_io", "import io, sys\nsys.stdin = io.StringIO(sys.stdin.read())\n" + _SUM.format("input()")),
    _fair(
        "text_wrapper", "import io, sys\nsys.stdout = io.TextIOWrapper(sys.stdout.buffer, encoding='utf-8')\nprint(7)"
    ),
    _fair(
        "replaced_stdout",
        "import io, sys\nold, sys.stdout = sys.stdout, io.StringIO()\nprint(7)\nold.write(sys.stdout.getvalue())",
    ),
    _fair(
        "redirected_stdout",
        "import contextlib, io\nwith contextlib.redirect_stdout(io.StringIO()) as out:\n    print(7)\n"
        "print(out.getvalue(), end='')",
    ),
    _fair("mapped_stdin", "import mmap\n" + _SUM.format("mmap.mmap(0, 0, access=mmap.ACCESS_READ).read()"), opens=True),
    _fair(
        "privately_mapped_stdin",
        "import mmap\n" + _SUM.format("mmap.mmap(0, 0, prot=mmap.PROT_READ, flags=mmap.MAP_PRIVATE).read()"),
        opens=True,
    ),
    _fair(
        "fileinput",
        "import fileinput\nprint(sum(int(x) for line in fileinput.input() for x in line.split()))",
        opens=True,
    ),
    _fair(
        "end_of_input",
        "total = 0\ntry:\n    while True:\n        total += sum(map(int, input().split()))\n"
        "except EOFError:\n    pass\nprint(total)",
        stdin="3\n\n4",
    ),
    _fair("no_input", "import sys\nprint(7 if sys.stdin.read() == '' else 0)", stdin=""),
    _fair("crlf_input", "print(int(input()) + int(input()))", stdin="3\r\n4\r\n"),
    _fair("crlf_output", "print('3\\r\\n4\\r\\n', end='')", "3\n4\n"),
    _fair("trailing_spaces", "print('3 4 ')\nprint('5  ')\nprint()", "3 4\n5\n"),
    _fair("no_newline_at_the_end", "print(7, end='')"),
    _fair("nearly_a_third", "print(1 / 3)", "0.333333\n"),
    _fair("fewer_digits", "print('0.333333')", "0.333333333\n"),
    _fair("exponents", "print(1e-7, 1e22)", "0.0000001 10000000000000000000000\n"),
    _fair("sep_and_end", "print(1, 2, 3, sep=', ', end='!\\n')", "1, 2, 3!\n"),
    _fair("text", "print(input()[::-1])", "😀ß日\n", "日ß😀\n"),
    _fair("a_byte_that_is_not_text", "import sys\nprint(len(sys.stdin.read()))", "2\n", "\u00e4\n"),
    _fair("warnings", "import sys, warnings\nwarnings.warn('careful')\nprint('debug', file=sys.stderr)\nprint(7)"),
    _fair("errors_in_color", "import sys\nsys.stderr.buffer.write(b'\\xff\\x1b[31m')\nprint(7)"),
    _fair(
        "ten_megabytes_of_input",
        "import sys\nprint(sum(map(int, sys.stdin.read().split())))",
        f"{1234567 * 1_250_000}\n",
        _BIG,
        heavy=True,
    ),
    _fair(
        "ten_megabytes_of_lines",
        "import sys\nprint(sum(int(line) for line in sys.stdin.buffer))",
        "499999500000\n",
        _LINES,
        heavy=True,
    ),
    _fair("a_million_lines", "for number in range(1_000_000):\n    print(number)", _LINES, heavy=True),
    _fair("a_million_lines_at_once", "print('\\n'.join(map(str, range(1_000_000))))", _LINES, heavy=True),
    _fair("a_long_line", "print('x' * 5_000_000)", "x" * 5_000_000),
]

_SEEKERS = [
    _fair("looks_for_what_is_there", _seek("kept = sys.stdin.read().strip()\nprint(seek())"), HIDDEN + "\n", HIDDEN),
    _fair(
        "looks_for_what_is_in_memory",
        _seek(
            "import ctypes\nkept = ctypes.create_string_buffer(os.read(0, 99))\n"
            "print(next(filter(None, map(pattern.search, pages())))[0])"
        ),
        HIDDEN + "\n",
        HIDDEN,
        opens=True,
    ),
]
"""That those who look for the hidden answer would find it."""

_ENDINGS = [
    _fair("exit", "print(7)\nexit()"),
    _fair("exit_0", "print(7)\nexit(0)"),
    _fair("quit", "print(7)\nquit()"),
    _fair("sys_exit", "import sys\nprint(7)\nsys.exit()"),
    _fair("sys_exit_0", "import sys\nprint(7)\nsys.exit(0)"),
    _fair("raise_system_exit", "print(7)\nraise SystemExit"),
    _fair("os_exit_after_flush", "import os\nprint(7, flush=True)\nos._exit(0)"),
    _fair("exit_in_a_function", "def main():\n    print(7)\n    exit()\nmain()\nprint(8)"),
    _fair("atexit", "import atexit\natexit.register(print, 7)"),
    _fair(
        "a_thread_after_the_end",
        "import threading, time\nthreading.Thread(target=lambda: (time.sleep(0.05), print(7))).start()",
    ),
    _fair(
        "a_daemon_thread",
        "import threading, time\nthreading.Thread(target=time.sleep, args=(9,), daemon=True).start()\nprint(7)",
    ),
    _fair("main", "def main():\n    print(sum(map(int, input().split())))\nif __name__ == '__main__':\n    main()"),
    _fair("its_own_file", "import os\nprint(7 if os.path.basename(__file__).endswith('.py') else 0)"),
    _fair("main_module", "import __main__\nx = 7\nprint(__main__.x, file=__import__('sys').stdout)"),
    _fair("global", "x = 0\ndef f():\n    global x\n    x += 7\nf()\nprint(x)"),
    _fair("global_at_the_top", "global x\nx = 7\nprint(x)"),
    _fair("globals", "globals()['x'] = 7\nprint(x)"),
    _fair("argv", "import sys\nprint(7 if len(sys.argv) == 1 else 0)"),
    _fair("no_docstring", "'''\nSolution.\n'''\nfrom __future__ import annotations\nprint(7)"),
    _fair("exec_and_eval", "exec('x = 3')\nprint(eval('x + 4'))"),
    _fair(
        "solution_class",
        "class Solution:\n    def add(self, a, b):\n        return a + b\n"
        "print(Solution().add(*map(int, input().split())))",
    ),
    _fair("crlf_source", "a, b = map(int, input().split())\r\nif a:\r\n    print(a + b)\r\n"),
    _fair("form_feed_and_tabs", "if True:\n\tprint(7)\n\f"),
    _fair("a_mark_before_the_source", "\ufeffprint(7)"),
    _fair("a_line_that_says_utf8", "# -*- coding: utf-8 -*-\nprint('ä')", "ä\n"),
    _fair("an_assertion_that_holds", "assert 3 + 4 == 7\nprint(7)"),
    _fair("an_error_that_is_caught", "try:\n    1 / 0\nexcept ZeroDivisionError as error:\n    print(7)"),
    _fair("a_module_that_is_missing", "try:\n    import sortedcontainers_of_nobody\nexcept ImportError:\n    print(7)"),
    _fair(
        "no_subprocess",
        "try:\n    import resource\n"
        "    resource.setrlimit(resource.RLIMIT_STACK, (2**26, resource.getrlimit(resource.RLIMIT_STACK)[1]))\n"
        "except Exception:\n    pass\nprint(7)",
        opens=True,
    ),
]

_DEEP = (
    "import sys, threading\nsys.setrecursionlimit(10**6)\nthreading.stack_size(2**27)\ndef f(n):\n"
    "    return 0 if n == 0 else 1 + f(n - 1)\n"
)
_LANGUAGE = [
    _fair(
        "deep_recursion_in_a_thread",
        _DEEP + "t = threading.Thread(target=lambda: print(f(10**5)))\nt.start()\nt.join()",
        "100000\n",
    ),
    _fair(
        "deep_recursion",
        "import sys\nsys.setrecursionlimit(10**6)\ndef f(n):\n    return 0 if n == 0 else 1 + f(n - 1)\n"
        "print(f(50_000))",
        "50000\n",
    ),
    _fair(
        "deep_recursion_with_a_cache",
        "import sys\nfrom functools import lru_cache\nsys.setrecursionlimit(10**6)\n"
        "@lru_cache(maxsize=None)\ndef f(n):\n    return 0 if n == 0 else 1 + f(n - 1)\nprint(f(20_000))",
        "20000\n",
    ),
    _fair(
        "deep_recursion_with_a_cache_in_a_thread",
        "from functools import cache\n"
        + _DEEP.replace("def f", "@cache\ndef f").replace("2**27", "2**28")
        + "t = threading.Thread(target=lambda: print(f(10**5)))\nt.start()\nt.join()",
        "100000\n",
    ),
    _fair("a_recursion_error_that_is_caught", "def f():\n    f()\ntry:\n    f()\nexcept RecursionError:\n    print(7)"),
    _fair("generators", "def f(n):\n    yield from range(n)\n    return 1\nprint(sum(x for x in f(4)) + 1)"),
    _fair(
        "classes",
        "class A:\n    __slots__ = ('x',)\n    def __init__(self, x):\n        self.x = x\n"
        "    def __lt__(self, other):\n        return self.x < other.x\nprint(max(A(3), A(7)).x)",
    ),
    _fair(
        "comparison_of_its_own",
        "class A:\n    def __eq__(self, other):\n        return True\n    __hash__ = None\nprint(7 if A() == 8 else 0)",
    ),
    _fair("match", "match input().split():\n    case [a, b]:\n        print(int(a) + int(b))"),
    _fair("walrus_and_fstrings", "if (n := 3):\n    print(f'{n + 4:d}')"),
    _fair(
        "closures",
        "def f():\n    x = 3\n    def g():\n        nonlocal x\n        x += 4\n        return x\n"
        "    return g\nprint(f()())",
    ),
    _fair(
        "decorators",
        "from functools import wraps\ndef d(f):\n    @wraps(f)\n    def g(*a):\n        return f(*a) + 1\n"
        "    return g\n@d\ndef f(x):\n    return x\nprint(f(6))",
    ),
    _fair("exceptions", "class E(Exception):\n    pass\ntry:\n    raise E(7)\nexcept E as e:\n    print(e.args[0])"),
    _fair("big_integers", "print(7 * 10 ** 5000)", "7" + "0" * 5000 + "\n"),
    _fair(
        "big_integers_as_text",
        "import sys\nsys.set_int_max_str_digits(0)\nprint(int(input()) + 1)",
        "1" + "0" * 5000 + "\n",
        "9" * 5000 + "\n",
    ),
    _fair("big_integers_as_they_come", "print(int(input()) + 1)", "1" + "0" * 5000 + "\n", "9" * 5000 + "\n"),
    _fair(
        "floats", "print(0.1 + 0.2, 1e100, float('inf') > 1, round(2.675, 2))", "0.30000000000000004 1e+100 True 2.67\n"
    ),
    _fair("complex", "print((1 + 2j) * (3 - 1j))", "(5+5j)\n"),
    _fair("bytes", "print(bytes([55]).decode(), bytearray(b'x').hex())", "7 78\n"),
    _fair("sorting", "print(*sorted([3, 1, 2], key=lambda x: -x))", "3 2 1\n"),
    _fair("a_set_in_its_order", "print(len({hash('a'), hash('b')}) + 5)"),
    _fair(
        "garbage",
        "import gc\ngc.disable()\nx = []\nx.append(x)\ndel x\ngc.enable()\nprint(7 if gc.collect() >= 0 else 0)",
    ),
    _fair("four_hundred_megabytes", "x = bytearray(400 * 2**20)\nprint(7)", heavy=True),
    _fair("a_list_of_ten_million", "x = list(range(10_000_000))\nprint(x[7])", heavy=True),
    _fair("an_error_of_memory_that_is_caught", "try:\n    x = bytearray(2**40)\nexcept MemoryError:\n    print(7)"),
    _fair(
        "signals",
        "import signal\nsignal.signal(signal.SIGALRM, lambda *_: print(7))\n"
        "signal.setitimer(signal.ITIMER_REAL, 0.05)\nsignal.pause()",
    ),
    _fair("an_alarm_that_does_not_ring", "import signal\nsignal.alarm(60)\nprint(7)\nsignal.alarm(0)"),
]

_IMPORTS = {
    "math": ("math.gcd(7, 14)", False),
    "cmath": ("round(abs(cmath.exp(1j) * 7))", False),
    "decimal": ("decimal.Decimal('3.5') * 2 == 7 and 7", False),
    "fractions": ("fractions.Fraction(21, 3)", False),
    "statistics": ("statistics.mean([6, 8])", False),
    "heapq": ("heapq.heappop([7])", False),
    "bisect": ("bisect.bisect([1] * 7, 1)", False),
    "collections": ("collections.Counter('aaaaaaa')['a']", False),
    "functools": ("functools.reduce(int.__add__, [3, 4])", False),
    "itertools": ("len([*itertools.combinations(range(7), 1)])", False),
    "operator": ("operator.add(3, 4)", False),
    "re": ("re.findall('[0-9]', 'a7')[0]", False),
    "string": ("string.digits[7]", False),
    "random": ("random.Random(1).choice([7])", False),
    "time": ("time.perf_counter() + time.time() > 0 and 7", False),
    "datetime": ("datetime.date(2026, 1, 7).day", False),
    "calendar": ("calendar.monthrange(2026, 2)[1] // 4", False),
    "copy": ("copy.deepcopy([[7]])[0][0]", False),
    "pickle": ("pickle.loads(pickle.dumps({1: 7}))[1]", True),
    "json": ("json.loads('[7]')[0]", False),
    "csv": ("next(csv.reader(['7']))[0]", True),
    "struct": ("struct.unpack('b', b'\\x07')[0]", False),
    "array": ("array.array('i', [7])[0]", False),
    "queue": ("queue.PriorityQueue().maxsize + 7", False),
    "hashlib": ("len(hashlib.sha256(b'7').hexdigest()) - 57", True),
    "zlib": ("len(zlib.decompress(zlib.compress(b'x' * 7)))", True),
    "base64": ("base64.b64decode('Nw==').decode()", True),
    "uuid": ("uuid.UUID(int=7).int", True),
    "secrets": ("secrets.randbelow(1) + 7", True),
    "typing": ("typing.cast(int, 7)", False),
    "enum": ("enum.IntEnum('E', {'A': 7}).A.value", False),
    "textwrap": ("textwrap.dedent(' 7')", False),
    "pprint": ("pprint.pformat(7)", True),
    "unicodedata": ("unicodedata.digit('7')", True),
    "difflib": ("len(difflib.get_close_matches('a', ['a'])) + 6", True),
    "ast": ("ast.literal_eval('7')", True),
    "dis": ("dis.opmap and 7", True),
    "inspect": ("len(inspect.signature(lambda a: 0).parameters) + 6", True),
    "numbers": ("isinstance(7, numbers.Integral) and 7", False),
    "sqlite3": ("sqlite3.connect(':memory:').execute('select 7').fetchone()[0]", True),
    "multiprocessing": ("multiprocessing.cpu_count() > 0 and 7", True),
    "concurrent.futures": ("concurrent.futures.ThreadPoolExecutor(2).submit(lambda: 7).result()", True),
    "subprocess": ("subprocess.PIPE and 7", True),
    "socket": ("socket.AF_INET and 7", True),
    "tempfile": ("tempfile and 7", True),
    "pathlib": ("pathlib.PurePath('a/7').name", True),
    "logging": ("logging.getLogger().warning('careful') or 7", True),
    "unittest": ("unittest.TestCase and 7", True),
    "doctest": ("doctest and 7", True),
    "argparse": ("argparse.ArgumentParser().parse_args([]) and 7", True),
    "weakref": ("weakref.ref(str)() and 7", False),
    "types": ("types.SimpleNamespace(a=7).a", False),
    "traceback": ("len(traceback.format_stack()) > 0 and 7", False),
    "platform": ("platform.python_version() and 7", True),
    "timeit": ("timeit.timeit('pass', number=1) >= 0 and 7", True),
    "graphlib": ("[*graphlib.TopologicalSorter({7: []}).static_order()][0]", True),
    "html": ("html.unescape('&#55;')", True),
    "xml.etree.ElementTree": ("xml.etree.ElementTree.fromstring('<a>7</a>').text", True),
    "locale": ("locale.setlocale(locale.LC_ALL, 'C') and 7", True),
    "ctypes": ("ctypes.c_int(7).value", True),
    "zoneinfo": ("zoneinfo.ZoneInfo('UTC').key and 7", True),
}
"""Module -> an expression that needs it and is 7; whether it may not be there where no file can be opened."""

_MODULES = [
    *(
        _fair(f"imports_{name}", f"import {name}\nprint({expression})", opens=opens)
        for name, (expression, opens) in _IMPORTS.items()
    ),
    _fair(
        "imports_all_of_everything",
        "from math import *\nfrom collections import *\nfrom itertools import *\nfrom heapq import *\n"
        "from bisect import *\nfrom functools import *\nprint(gcd(7, 14))",
    ),
    _fair("imports_numpy", "import numpy as np\na = np.array(input().split(), dtype=np.int64)\nprint(a.sum())"),
    _fair(
        "numpy_algebra", "import numpy as np\nprint(round(float(np.linalg.det(np.array([[3.0, 1.0], [2.0, 3.0]])))))"
    ),
    _fair(
        "numpy_reads",
        "import sys\nimport numpy as np\nprint(int(np.array(sys.stdin.buffer.read().split(), np.int64).sum()))",
    ),
    _fair(
        "numpy_random_and_fft",
        "import numpy as np\nnp.random.seed(1)\nnp.random.rand(3)\nprint(int(round(abs(np.fft.fft([3, 4])[0]))))",
        opens=True,
    ),
    _fair(
        "numpy_default_generator", "import numpy as np\nprint(int(np.random.default_rng(0).integers(7, 8)))", opens=True
    ),
    _fair("numpy_multiplies", "import numpy as np\na = np.ones((300, 300))\nprint(int((a @ a)[0, 0]))", "300\n"),
    _fair("numpy_is_mentioned", "# numpy is not needed\nprint(7)"),
    _fair(
        "a_seed",
        "import random\nrandom.seed(42)\nprint(random.randint(1, 100), random.random())",
        "82 0.11133106816568039\n",
    ),
    _fair(
        "dataclasses",
        "from dataclasses import dataclass, field\n@dataclass(order=True)\nclass P:\n    x: int\n"
        "    y: list = field(default_factory=list)\nprint(max(P(3), P(7)).x)",
    ),
    _fair(
        "named_tuples",
        "from typing import NamedTuple, List, Optional\nclass P(NamedTuple):\n    x: int = 7\n"
        "def f(a: List[int], b: Optional[int] = None) -> int:\n    return P().x\nprint(f([]))",
    ),
    _fair(
        "deques_and_heaps",
        "from collections import deque, defaultdict, OrderedDict\nfrom heapq import heappush, heappop\n"
        "h = []\nfor x in (9, 7, 8):\n    heappush(h, x)\nd = deque([heappop(h)])\nprint(d.popleft())",
    ),
    _fair(
        "asyncio",
        "import asyncio\nasync def f():\n    await asyncio.sleep(0.01)\n"
        "    return sum(await asyncio.gather(*(asyncio.sleep(0, x) for x in (3, 4))))\n"
        "print(asyncio.run(f()))",
    ),
    _fair(
        "asyncio_in_a_thread",
        "import asyncio\nasync def f():\n    return await asyncio.to_thread(lambda: 7)\nprint(asyncio.run(f()))",
        opens=True,
    ),
    _fair(
        "threads",
        "import threading, queue\nq = queue.Queue()\n"
        "ts = [threading.Thread(target=q.put, args=(x,)) for x in (3, 4)]\n[t.start() for t in ts]\n"
        "[t.join() for t in ts]\nprint(q.get() + q.get())",
    ),
    _fair(
        "a_thread_pool",
        "from concurrent.futures import ThreadPoolExecutor\nwith ThreadPoolExecutor(4) as pool:\n"
        "    print(sum(pool.map(int, input().split())))",
        opens=True,
    ),
    _fair(
        "locks_and_conditions",
        "import threading\nc = threading.Condition()\nout = []\ndef f():\n    with c:\n"
        "        out.append(7)\n        c.notify()\nwith c:\n    threading.Thread(target=f).start()\n"
        "    c.wait(5)\nprint(out[0])",
    ),
    _fair(
        "time_zones",
        "from datetime import datetime\nfrom zoneinfo import ZoneInfo\n"
        "print(datetime(2026, 7, 1, 9, tzinfo=ZoneInfo('Europe/Berlin')).astimezone(ZoneInfo('UTC')).hour)",
        needs="/usr/share/zoneinfo/Europe/Berlin",
        opens=True,
    ),
    _fair("local_time", "import time, datetime\nprint(7 if time.localtime() and datetime.datetime.now() else 0)"),
    _fair(
        "context_managers",
        "from contextlib import contextmanager, suppress, ExitStack\n@contextmanager\ndef f():\n    yield 7\n"
        "with f() as x, suppress(ValueError), ExitStack():\n    print(x)\n    raise ValueError",
    ),
    _fair(
        "copies",
        "import copy, pickle\na = [[7]]\nb = copy.deepcopy(a)\nb[0][0] = 8\nprint(pickle.loads(pickle.dumps(a))[0][0])",
        opens=True,
    ),
    _fair(
        "pickles_of_its_own", "import pickle\nclass A:\n    x = 7\nprint(pickle.loads(pickle.dumps(A())).x)", opens=True
    ),
    _fair(
        "decimals",
        "from decimal import Decimal, getcontext\ngetcontext().prec = 30\nprint(Decimal(1) / 3)",
        "0.333333333333333333333333333333\n",
    ),
    _fair(
        "counts_itself",
        "from itertools import count, accumulate, groupby, product, permutations\n"
        "print(next(x for x in count() if x * x > 36))",
    ),
    _fair("random_device", "import os, random\nos.urandom(8)\nrandom.SystemRandom().random()\nprint(7)"),
    _fair(
        "measures_time",
        "import time\na = time.perf_counter()\ntime.sleep(0.01)\n"
        "print(7 if time.perf_counter() - a >= 0.009 and time.process_time() >= 0 else 0)",
    ),
    _fair(
        "looks_at_files",
        "import os\nprint(7 if not os.path.exists('input.txt') and not os.path.isfile('/nowhere') else 0)",
    ),
    _fair(
        "opens_a_file_that_is_not_there",
        "import sys\ntry:\n    sys.stdin = open('input.txt')\nexcept OSError:\n    pass\n" + _SUM.format("input()"),
    ),
    _fair(
        "reads_the_environment",
        "import os\nprint(7 if os.environ.get('ONLINE_JUDGE') is None or True else 0)\nos.environ['X'] = '1'",
    ),
    _fair(
        "looks_at_the_system",
        "import os, sys, platform\n"
        "print(7 if os.getpid() > 0 and os.cpu_count() and sys.version_info >= (3, 8) else 0)",
        opens=True,
    ),
    _fair(
        "knows_its_limits",
        "import resource, sys\n"
        "print(7 if sys.getrecursionlimit() >= 1000 and resource.getrlimit(resource.RLIMIT_AS) else 0)",
        opens=True,
    ),
    _fair("takes_its_time", "import time\nwhile time.process_time() < 0.5:\n    pass\nprint(7)", heavy=True),
    _fair(
        "recurses_over_a_tree",
        "import sys\nsys.setrecursionlimit(10**5)\ndef hanoi(n):\n"
        "    return 0 if n == 0 else 2 * hanoi(n - 1) + 1\nprint(hanoi(3))",
    ),
    _fair(
        "finds_primes",
        "n = 10**6\ns = bytearray([1]) * (n + 1)\nfor i in range(2, 1001):\n    if s[i]:\n"
        "        s[i*i::i] = bytes(len(s[i*i::i]))\nprint(sum(s) - 2)",
        "78498\n",
    ),
]

_FAIR_CALLS = [
    _fair_call("function", "def f(x):\n    return x + 4"),
    _fair_call("method", "class Solution:\n    def f(self, x):\n        return x + 4"),
    _fair_call(
        "method_with_types",
        "class Solution:\n    def f(self, nums: List[int], k: Optional[int] = None) -> int:\n        return sum(nums)",
        (([3, 4],), 7),
    ),
    _fair_call("static_method", "class Solution:\n    @staticmethod\n    def f(x):\n        return x + 4"),
    _fair_call(
        "method_with_state",
        "class Solution:\n    def __init__(self):\n        self.seen = {}\n    def f(self, x):\n"
        "        self.seen[x] = 4\n        return x + self.seen[x]",
        *CALL.tests * 3,
    ),
    _fair_call("lambda", "f = lambda x: x + 4"),
    _fair_call("callable", "class F:\n    def __call__(self, x):\n        return x + 4\nf = F()"),
    _fair_call("partial", "from functools import partial\nf = partial(int.__add__, 4)"),
    _fair_call(
        "cached",
        "from functools import lru_cache\n@lru_cache(None)\ndef f(x):\n"
        "    return 3 if x == 0 else f(x - 1) if x > 3 else x + 4",
    ),
    _fair_call("helpers", "def g(x):\n    return x + 4\ndef f(x):\n    return g(x)"),
    _fair_call("prints", "print('hello')\ndef f(x):\n    print('debug', x)\n    return x + 4"),
    _fair_call("main_guard", "def f(x):\n    return x + 4\nif __name__ == '__main__':\n    print(f(3))"),
    _fair_call(
        "main_guard_that_reads", "def f(x):\n    return x + 4\nif __name__ == '__main__':\n    print(f(int(input())))"
    ),
    _fair_call(
        "main_guard_of_tests",
        "import pickle, unittest\nclass A(unittest.TestCase):\n    def test(self):\n        self.assertEqual(f(3), 7)\n"
        "def f(x):\n    return x + 4 if pickle.loads(pickle.dumps(A)) is A else 0\n"
        "if __name__ == '__main__':\n    unittest.main()",
    ),
    _fair_call("keyword_default", "def f(x, y=4, *, z=0):\n    return x + y + z"),
    _fair_call("no_arguments", "def f():\n    return 7", ((), 7)),
    _fair_call("none", "def f(x):\n    x.append(1)", (([1],), None)),
    _fair_call("a_tuple_for_a_list", "def f(x):\n    return (1, (2, 3))", ((3,), [1, [2, 3]])),
    _fair_call("a_list_for_a_tuple", "def f(x):\n    return [1, 2]", ((3,), (1, 2))),
    _fair_call("a_float_for_an_int", "def f(x):\n    return 7.0"),
    _fair_call("an_int_for_a_float", "def f(x):\n    return 7", ((3,), 7.0)),
    _fair_call("nearly_a_float", "def f(x):\n    return 0.1 + 0.2", ((3,), 0.3)),
    _fair_call("int_keys", "def f(x):\n    return {1: 'a', 2: 'b'}", ((3,), {"1": "a", "2": "b"})),
    _fair_call(
        "exact_values",
        "def f(x):\n    return {1: (True, {2}, frozenset([3]), b'x', 1j, None, 'ä')}",
        ((3,), {1: (True, {2}, frozenset([3]), b"x", 1j, None, "ä")}),
        json_born=False,
    ),
    _fair_call(
        "arguments_of_all_kinds",
        "def f(*x):\n    return repr(x)",
        ((1, 2.5, "ä", [None, True], {"a": (1,)}, b"x"), "(1, 2.5, 'ä', [None, True], {'a': (1,)}, b'x')"),
    ),
    _fair_call("a_big_number", "def f(x):\n    return x ** 2", ((10**3000,), 10**6000)),
    _fair_call("a_long_list", "def f(x):\n    return sorted(x)", (([*range(100_000, 0, -1)],), [*range(1, 100_001)])),
    _fair_call("a_nested_list", "def f(x):\n    return [x] * 3", (([[1, 2], [3]],), [[[1, 2], [3]]] * 3)),
    _fair_call("a_text_with_a_surrogate", "def f(x):\n    return '\\ud800' + x", (("x",), "\ud800x")),
    _fair_call("numpy_numbers", "import numpy as np\ndef f(x):\n    return np.int64(x + 4)"),
    _fair_call(
        "numpy_floats",
        "import numpy as np\ndef f(x):\n    return [np.float32(0.5), np.bool_(True)]",
        ((3,), [0.5, True]),
    ),
    _fair_call("numpy_arrays", "import numpy as np\ndef f(x):\n    return np.array(x) * 2", (([1, 2],), [2, 4])),
    _fair_call(
        "a_thread",
        "import threading\ndef f(x):\n    out = []\n"
        "    t = threading.Thread(target=lambda: out.append(x + 4))\n    t.start()\n    t.join()\n"
        "    return out[0]",
    ),
    _fair_call(
        "deep_recursion_in_a_call",
        "import sys\nsys.setrecursionlimit(10**6)\ndef f(n):\n    return 0 if n == 0 else 1 + f(n - 1)",
        ((30_000,), 30_000),
    ),
    _fair_call("a_generator_that_is_used_up", "def f(x):\n    return list(range(x))", ((3,), [0, 1, 2])),
    _fair_call(
        "a_counter_made_a_dict",
        "from collections import Counter\ndef f(x):\n    return dict(Counter(x))",
        (("aab",), {"a": 2, "b": 1}),
    ),
    _fair_call(
        "another_name", "def two_sum(nums, target):\n    return [0, 1]", (([2, 7], 9), [0, 1]), function="two_sum"
    ),
    _fair_call("closed_streams", "import sys\ndef f(x):\n    sys.stdin.read()\n    return x + 4"),
    _fair_call("eof", "def f(x):\n    try:\n        input()\n    except EOFError:\n        return x + 4"),
]

_FAIR_EXAMS = [
    _fair_exam("asserts", "def f(x):\n    return x + 4", "assert f(3) == 7\nassert f(4) == 8, 'no'\nassert f(-4) == 0"),
    _fair_exam(
        "a_check",
        "def add(a, b):\n    return a + b",
        "METADATA = {'author': 'jt'}\n\ndef check(candidate):\n    assert candidate(3, 4) == 7\n"
        "    for i in range(100):\n        assert candidate(i, 1) == i + 1\n\ncheck(add)",
        "add",
    ),
    _fair_exam(
        "a_close_float",
        "def f(x):\n    return x / 3",
        "assert abs(f(1) - 0.333333) < 1e-6\nimport math\nassert math.isclose(f(3), 1.0)",
    ),
    _fair_exam(
        "values_of_all_kinds",
        "def f(x):\n    return x",
        "for x in (None, True, 1, 2.5, 1j, 'ä', b'x', [1], (1, 2), {1}, frozenset({2}), "
        "{1: (2,)}, 10**50, '\\ud800', [[], {}]):\n"
        "    assert f(x) == x and type(f(x)) is type(x)",
    ),
    _fair_exam(
        "an_error_that_must_be_raised",
        "def f(x):\n    if x < 0:\n        raise ValueError('negative')\n    return x",
        "try:\n    f(-1)\nexcept ValueError as error:\n    assert 'negative' in str(error)\nelse:\n"
        "    assert False\nassert f(1) == 1",
    ),
    _fair_exam(
        "an_error_of_the_program",
        "class TooFew(Exception):\n    pass\ndef f(x):\n    raise TooFew('x')",
        "try:\n    f(-1)\nexcept Exception as error:\n"
        "    assert 'TooFew' in repr(error) or 'TooFew' in str(error)\nelse:\n    assert False",
    ),
    _fair_exam(
        "an_argument_that_is_changed",
        "def f(x):\n    x.sort()",
        "a = [3, 1, 2]\nassert f(a) is None\nassert a == [1, 2, 3]",
    ),
    _fair_exam(
        "a_dict_that_is_changed",
        "def f(x):\n    x['a'] = x.pop('b')\n    return len(x)",
        "a = {'b': 1}\nassert f(a) == 1\nassert a == {'a': 1}",
    ),
    _fair_exam(
        "an_argument_that_may_be_spoiled", "def f(x):\n    x.append(1)\n    return 7", "assert f([3]) == 7", number=47
    ),
    _fair_exam(
        "keywords",
        "def f(a, b=0, *c, d=0, **e):\n    return a + b + sum(c) + d + sum(e.values())",
        "assert f(1, b=2) == 3\nassert f(1, 1, 1, d=2, e=2) == 7",
    ),
    _fair_exam("calls_of_calls", "def f(x):\n    return x + 1", "assert f(f(f(4))) == 7"),
    _fair_exam(
        "state_between_calls",
        "seen = []\ndef f(x):\n    seen.append(x)\n    return len(seen)",
        "assert [f(0) for _ in range(7)][-1] == 7",
    ),
    _fair_exam(
        "helpers_of_the_exam",
        "def f(x):\n    return sorted(x)",
        "import random\ndef right(x):\n    return sorted(x)\nrandom.seed(0)\nfor _ in range(50):\n"
        "    x = [random.randint(0, 9) for _ in range(5)]\n    assert f(list(x)) == right(x)",
    ),
    _fair_exam(
        "sets_and_lengths",
        "def f(x):\n    return set(x)",
        "assert f('aab') == {'a', 'b'}\nassert set(f('ab')) == set('ba')\nassert len(f('aaa')) == 1",
    ),
    _fair_exam(
        "a_solution_in_an_exam",
        "class Solution:\n    def f(self, x: List[int]) -> int:\n        return sum(x)",
        "assert f([3, 4]) == 7",
    ),
    _fair_exam(
        "prints_in_an_exam",
        "import sys\nprint('hello')\ndef f(x):\n    print('debug', file=sys.stderr)\n    return 7",
        "assert f(3) == 7",
    ),
    _fair_exam(
        "numpy_in_an_exam", "import numpy as np\ndef f(x):\n    return np.cumsum(x)", "assert list(f([3, 4])) == [3, 7]"
    ),
    _fair_exam(
        "a_main_guard_in_an_exam",
        "def f(x):\n    return 7\nif __name__ == '__main__':\n    assert f(1) == 7",
        "assert f(3) == 7",
    ),
    _fair_exam(
        "main_guard_in_an_exam",
        "def f(x):\n    return x\nif __name__ == '__main__':\n    f(input())",
        "assert f(3) == 3",
    ),
    _fair_exam(
        "exceptions_of_its_own",
        "import json\nclass Own(KeyError):\n    pass\ndef f(x):\n    if x == 0:\n        raise Own(x)\n"
        "    if x == 3:\n        raise type('Other', (Exception,), {})\n"
        "    return json.loads('{') if x == 1 else b'\\xff'.decode()",
        "for x, kind in enumerate((LookupError, ValueError, ValueError, Exception)):\n    try:\n        f(x)\n"
        "    except kind as error:\n        assert not isinstance(error, RuntimeError), repr(error)\n"
        "    else:\n        assert False",
    ),
    _fair_exam("none_in_an_exam", "def f(x):\n    pass", "assert f(3) is None\nassert not f(3)"),
    _fair_exam(
        "unittest_in_an_exam",
        "def f(x):\n    return x + 4",
        "import unittest\nclass Test(unittest.TestCase):\n    def test(self):\n"
        "        self.assertEqual(f(3), 7)\n"
        "result = unittest.TextTestRunner().run(unittest.defaultTestLoader.loadTestsFromTestCase(Test))\n"
        "assert result.wasSuccessful()",
        opens=True,
    ),
    _fair_exam("a_thousand_calls", "def f(x):\n    return x * 2", "assert all(f(x) == 2 * x for x in range(1000))"),
    _fair_exam("a_map", "def f(x):\n    return x * 2", "assert list(map(f, [1, 2, 3])) == [2, 4, 6]"),
    _fair_exam("a_long_value", "def f(x):\n    return x * 100_000", "assert f([7]) == [7] * 100_000"),
]

FAIR: tuple[Program, ...] = (*_STREAMS, *_SEEKERS, *_ENDINGS, *_LANGUAGE, *_MODULES, *_FAIR_CALLS, *_FAIR_EXAMS)


FORBIDDEN = """
accept:43 accept4:288 acct:163 add_key:248 adjtimex:159 bind:49 bpf:321 capset:126 chmod:90 chown:92 chroot:161
clock_adjtime:305 clock_settime:227 clone3:435 connect:42 copy_file_range:326 creat:85 delete_module:176 execve:59
execveat:322 fallocate:285 fanotify_init:300 fanotify_mark:301 fchmod:91 fchmodat:268 fchmodat2:452 fchown:93
fchownat:260 finit_module:313 flock:73 fremovexattr:199 fsconfig:431 fsetxattr:190 fsmount:432 fsopen:430 fspick:433
ftruncate:77 futimesat:261 getxattr:191 init_module:175 inotify_add_watch:254 inotify_init1:294 inotify_init:253
io_destroy:207 io_setup:206 io_submit:209 io_uring_enter:426 io_uring_register:427 io_uring_setup:425 ioperm:173
iopl:172 ioprio_set:251 kcmp:312 kexec_file_load:320 kexec_load:246 keyctl:250 landlock_add_rule:445
landlock_create_ruleset:444 landlock_restrict_self:446 lchown:94 link:86 linkat:265 listen:50 listmount:458
listxattr:194 lookup_dcookie:212 lremovexattr:198 lsetxattr:189 mbind:237 memfd_create:319 memfd_secret:447
migrate_pages:256 mkdir:83 mkdirat:258 mknod:133 mknodat:259 mlock2:325 mlock:149 mlockall:151 modify_ldt:154 mount:165
mount_setattr:442 move_mount:429 move_pages:279 mq_open:240 mq_unlink:241 msgctl:71 msgget:68 msgrcv:70 msgsnd:69
name_to_handle_at:303 open_by_handle_at:304 open_tree:428 openat2:437 perf_event_open:298 personality:135
pidfd_getfd:438 pidfd_open:434 pidfd_send_signal:424 pivot_root:155 process_madvise:440 process_mrelease:448
process_vm_readv:310 process_vm_writev:311 ptrace:101 quotactl:179 quotactl_fd:443 reboot:169 recvmmsg:299 recvmsg:47
remap_file_pages:216 removexattr:197 rename:82 renameat2:316 renameat:264 request_key:249 rmdir:84 rt_sigqueueinfo:129
rt_tgsigqueueinfo:297 sched_setaffinity:203 sched_setattr:314 sched_setparam:142 sched_setscheduler:144 seccomp:317
semctl:66 semget:64 semop:65 semtimedop:220 sendfile:40 sendmmsg:307 sendmsg:46 set_mempolicy:238 setdomainname:171
setfsgid:123 setfsuid:122 setgid:106 setgroups:116 sethostname:170 setns:308 setpgid:109 setpriority:141 setregid:114
setresgid:119 setresuid:117 setreuid:113 setsid:112 setsockopt:54 settimeofday:164 setuid:105 setxattr:188 shmat:30
shmctl:31 shmdt:67 shmget:29 socket:41 splice:275 statmount:457 swapoff:168 swapon:167 symlink:88 symlinkat:266 sync:162
syncfs:306 syslog:103 tee:276 timer_create:222 tkill:200 truncate:76 umount2:166 unlink:87 unlinkat:263 unshare:272
userfaultfd:323 utime:132 utimensat:280 utimes:235 vhangup:153 vmsplice:278
"""
"""System calls, with their numbers on x86-64, that no program may get through to, whatever their arguments."""
SWEEP = f"""{_SYSTEM}
try:
    print(call(int(input()), -1, -1, -1, -1, -1, -1))
except OSError as error:
    print(-error.errno)
"""
"""Makes the system call whose number it reads, and prints what that gave, or the error as a negative number."""
