"""The system calls that a program may make: a seccomp BPF filter, assembled from lists of names.

Calls that are not listed fail with EPERM. No allowed call can create a process, execute a file, open a file for
writing, reach a network, or affect another process. Calls that only an attack would make kill the process (SIGSYS).
"""

import ctypes
import errno
import os
import platform
import struct

from .kernel import PR_SET_SECCOMP, prctl

_ALLOWED = """
access:21: alarm:37: arch_prctl:158: brk:12:214 capget:125:90 clock_getres:229:114 clock_gettime:228:113
clock_nanosleep:230:115 close:3:57 close_range:436:436 dup:32:23 dup2:33: dup3:292:24 epoll_create:213:
epoll_create1:291:20 epoll_ctl:233:21 epoll_pwait:281:22 epoll_pwait2:441:441 epoll_wait:232: eventfd:284:
eventfd2:290:19 exit:60:93 exit_group:231:94 faccessat:269:48 faccessat2:439:439 fdatasync:75:83 fstat:5:80
fstatfs:138:44 fsync:74:82 futex:202:98 futex_waitv:449:449 getcpu:309:168 getcwd:79:17 getdents:78: getdents64:217:61
getegid:108:177 geteuid:107:175 getgid:104:176 getgroups:115:158 getitimer:36:102 getpeername:52:205 getpgid:121:155
getpgrp:111: getpid:39:172 getppid:110:173 getpriority:140:141 getrandom:318:278 getresgid:120:150 getresuid:118:148
getrlimit:97:163 getrusage:98:165 getsid:124:156 getsockname:51:204 getsockopt:55:209 gettid:186:178
gettimeofday:96:169 getuid:102:174 lseek:8:62 lstat:6: madvise:28:233 membarrier:324:283 mmap:9:222 mprotect:10:226
mremap:25:216 msync:26:227 munmap:11:215 nanosleep:35:101 newfstatat:262:79 pause:34: pipe:22: pipe2:293:59 poll:7:
ppoll:271:73 pread64:17:67 preadv:295:69 preadv2:327:286 pselect6:270:72 pwrite64:18:68 pwritev:296:70
pwritev2:328:287 read:0:63 readlink:89: readlinkat:267:78 readv:19:65 recvfrom:45:207 restart_syscall:219:128
rseq:334:293 rt_sigaction:13:134 rt_sigpending:127:136 rt_sigprocmask:14:135 rt_sigreturn:15:139 rt_sigsuspend:130:133
rt_sigtimedwait:128:137 sched_get_priority_max:146:125 sched_get_priority_min:147:126 sched_getaffinity:204:123
sched_getparam:143:121 sched_getscheduler:145:120 sched_yield:24:124 select:23: set_robust_list:273:99
set_tid_address:218:96 setitimer:38:103 setrlimit:160:164 shutdown:48:210 sigaltstack:131:132 stat:4: statfs:137:43
statx:332:291 sysinfo:99:179 time:201: times:100:153 umask:95:166 uname:63:160 wait4:61:260 waitid:247:95 write:1:64
writev:20:66
"""
"""name:number on x86-64:number on AArch64; empty where an architecture does not have it."""
_CHECKED = """
clone:56:220 fcntl:72:25 ioctl:16:29 kill:62:129 open:2: openat:257:56 prctl:157:167 prlimit64:302:261 sendto:44:206
socketpair:53:199 tgkill:234:131
"""
"""Allowed with some arguments; see `_rules`."""
_MISSING = """
clone3:435:435 openat2:437:437
"""
"""Fail as on an older kernel, so that the C library falls back to calls whose arguments a filter can read."""
_FATAL = """
ptrace:101:117 process_vm_readv:310:270 process_vm_writev:311:271 kcmp:312:272 pidfd_getfd:438:438
io_uring_setup:425:425 io_uring_enter:426:426 io_uring_register:427:427 bpf:321:280 perf_event_open:298:241
userfaultfd:323:282 keyctl:250:219 add_key:248:217 request_key:249:218 mount:165:40 umount2:166:39 pivot_root:155:41
move_mount:429:429 open_tree:428:428 fsopen:430:430 fsconfig:431:431 fsmount:432:432 fspick:433:433
mount_setattr:442:442 setns:308:268 unshare:272:97 init_module:175:105 finit_module:313:273 delete_module:176:106
kexec_load:246:104 kexec_file_load:320:294 open_by_handle_at:304:265 process_madvise:440:440
"""
_ARCHITECTURES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}
"""machine -> column of the tables, and the kernel's number of the architecture."""
_X32 = 0x40000000
_PID = 0x5EC0C0DE
"""Placeholder in a template for the process id: a process may signal only itself."""

_RET_ALLOW = 0x7FFF0000
_RET_KILL = 0x80000000
_RET_ERRNO = 0x00050000
_LOAD, _AND, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x54, 0x15, 0x35, 0x45, 0x06

Instruction = tuple[int, int, int, int]
"""code, jump if true, jump if false, operand."""


def supported() -> bool:
    """True if there is a table for this machine and the kernel supports seccomp filters."""
    return platform.machine() in _ARCHITECTURES and os.path.exists("/proc/sys/kernel/seccomp/actions_avail")


def template(*, may_open: bool) -> bytes:
    """The filter with a placeholder for the process id; without `may_open` no file can be opened."""
    column, architecture = _ARCHITECTURES[platform.machine()]
    answers = {number: [_give(_RET_ALLOW)] for number in _numbers(_ALLOWED, column).values()}
    answers |= {number: [_give(_RET_ERRNO | errno.ENOSYS)] for number in _numbers(_MISSING, column).values()}
    answers |= {number: [_give(_RET_KILL)] for number in _numbers(_FATAL, column).values()}
    rules = _rules(_PID, may_open)
    answers |= {number: rules[name] for name, number in _numbers(_CHECKED, column).items()}
    head: list[Instruction] = [(_LOAD, 0, 0, 4), (_EQUAL, 1, 0, architecture), _give(_RET_KILL), (_LOAD, 0, 0, 0)]
    return b"".join(struct.pack("HBBI", *one) for one in head + _search(_ranges(answers)))


def _ranges(answers: dict[int, list[Instruction]]) -> list[tuple[int, list[Instruction]]]:
    """(first number, answer), ascending; each range ends before the next. Numbers in no table are refused."""
    refused, killed = [_give(_RET_ERRNO | errno.EPERM)], [_give(_RET_KILL)]
    ranges = [(0, answers.get(0, refused))]
    for number in range(1, max(answers) + 2):
        answer = answers.get(number, refused)
        if answer != ranges[-1][1]:
            ranges.append((number, answer))
    return [*ranges, (_X32, killed)]


def _search(ranges: list[tuple[int, list[Instruction]]]) -> list[Instruction]:
    """A binary search for the range of a call's number.

    It must be short: when a filter is installed the kernel runs it once for every number, to cache the answers.
    """
    if len(ranges) == 1:
        return ranges[0][1]
    middle = len(ranges) // 2
    below, above = _search(ranges[:middle]), _search(ranges[middle:])
    return [(_AT_LEAST, len(below), 0, ranges[middle][0]), *below, *above]


def for_process(filter_template: bytes, pid: int) -> bytes:
    """The filter for the process `pid`."""
    return filter_template.replace(struct.pack("I", _PID), struct.pack("I", pid))


def install(program: bytes) -> None:
    """Install the filter for this thread and the threads it starts. Needs no_new_privs. Raises OSError."""
    buffer = ctypes.create_string_buffer(program, len(program))
    header = struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(buffer))
    prctl(PR_SET_SECCOMP, 2, ctypes.cast(ctypes.create_string_buffer(header, len(header)), ctypes.c_void_p))


def _numbers(table: str, column: int) -> dict[str, int]:
    rows = [row.split(":") for row in table.split()]
    return {row[0]: int(row[1 + column]) for row in rows if row[1 + column]}


def _rules(pid: int, may_open: bool) -> dict[str, list[Instruction]]:
    writing = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_PATH | _TEMPORARY
    readable = _without(1, writing), _without(2, writing)
    never = [(_EQUAL, _FAIL, _FAIL, 0)]
    plain_stream = _one_of(0, 1) + _with_mask(1, ~(os.O_CLOEXEC | os.O_NONBLOCK), 1)
    return {
        "clone": _if(_with(0, _CLONE_THREAD) + _without(0, _NEW_NAMESPACES)),
        "fcntl": _if(_one_of(1, 0, 1, 2, 3, 4, 1030)),  # duplicate; read and set flags
        "ioctl": _if(_one_of(1, 0x5401, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451), errno.ENOTTY),
        "kill": _if(_one_of(0, pid)),
        "open": _if(readable[0] if may_open else never, errno.EACCES),
        "openat": _if(readable[1] if may_open else never, errno.EACCES),
        "prctl": _if(_one_of(0, 3, 15, 16, 23, 0x53564D41)),  # dumpable?, names, capability?, name memory
        "prlimit64": _if(_one_of(0, 0, pid)),
        "sendto": _if(_one_of(4, 0) + _high_is_zero(4)),  # no address: only on a connected socket
        "socketpair": _if(plain_stream),
        "tgkill": _if(_one_of(0, pid)),
    }


_CLONE_THREAD = 0x00010000
_NEW_NAMESPACES = 0x7E020000
_TEMPORARY = os.O_TMPFILE & ~os.O_DIRECTORY
_FAIL = -1
"""A jump to the end of a rule, where the call is refused."""


def _if(test: list[Instruction], otherwise: int = errno.EPERM) -> list[Instruction]:
    """Allow the call if the test falls through, otherwise fail with the error."""
    end = len(test)

    def jump(target: int, at: int) -> int:
        return end - at if target == _FAIL else target

    resolved = [(code, jump(true, at), jump(false, at), value) for at, (code, true, false, value) in enumerate(test)]
    return [*resolved, _give(_RET_ALLOW), _give(_RET_ERRNO | otherwise)]


def _argument(index: int, *, high: bool = False) -> Instruction:
    return (_LOAD, 0, 0, 16 + 8 * index + (4 if high else 0))


def _one_of(index: int, *values: int) -> list[Instruction]:
    last = len(values) - 1
    found = [(_EQUAL, last - at, 0 if at < last else _FAIL, value) for at, value in enumerate(values)]
    return [_argument(index), *found]


def _without(index: int, bits: int) -> list[Instruction]:
    return [_argument(index), (_ANY_BIT, _FAIL, 0, bits)]


def _with(index: int, bit: int) -> list[Instruction]:
    return [_argument(index), (_ANY_BIT, 0, _FAIL, bit)]


def _with_mask(index: int, mask: int, value: int) -> list[Instruction]:
    return [_argument(index), (_AND, 0, 0, mask & 0xFFFFFFFF), (_EQUAL, 0, _FAIL, value)]


def _high_is_zero(index: int) -> list[Instruction]:
    return [_argument(index, high=True), (_EQUAL, 0, _FAIL, 0)]


def _give(value: int) -> Instruction:
    return (_RETURN, 0, 0, value)
