"""A forked process that is stopped before each call of the system that changes a file.

A filter of the kernel (seccomp) lets all other calls pass at full speed; what it names comes to the
parent, which counts, lets it happen or ends the child with SIGKILL before it does. So the writers
in C++ and C are met as those in Python. Linux only, on x86-64 and aarch64.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import signal
import sys
import traceback
from collections import Counter
from collections.abc import Callable
from struct import pack

# numbers of calls: of x86-64 and of aarch64, which lacks some
CALLS: dict[str, tuple[int | None, int | None]] = {
    "write": (1, 64),
    "pwrite64": (18, 68),
    "writev": (20, 66),
    "pwritev": (296, 70),
    "sendfile": (40, 71),
    "copy_file_range": (326, 285),
    "fsync": (74, 82),
    "fdatasync": (75, 83),
    "rename": (82, None),
    "renameat": (264, 38),
    "renameat2": (316, 276),
    "unlink": (87, None),
    "unlinkat": (263, 35),
    "rmdir": (84, None),
    "mkdir": (83, None),
    "mkdirat": (258, 34),
    "link": (86, None),
    "linkat": (265, 37),
    "symlink": (88, None),
    "symlinkat": (266, 36),
    "truncate": (76, 45),
    "ftruncate": (77, 46),
    "chmod": (90, None),
    "fchmod": (91, 52),
    "fchmodat": (268, 53),
    "openat": (257, 56),
    "open": (2, None),
}
_MACHINES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}
_TALK = 2  # calls on descriptors up to this one are talk, not files
_CREATES = os.O_CREAT | os.O_TRUNC

# linux/ptrace.h, linux/seccomp.h, linux/filter.h and linux/prctl.h
_TRACEME, _CONT, _SETOPTIONS, _GET_SYSCALL_INFO = 0, 7, 0x4200, 0x420E
_OPTIONS = 0x08 | 0x80 | 0x100000  # threads too; seccomp's events; the child ends with its parent
_EVENT_SECCOMP, _EVENT_CLONE, _ALL = 7, 3, 0x40000000
_ALLOW, _TRACE = 0x7FFF0000, 0x7FF00000
_SET_SECCOMP, _SET_NO_NEW_PRIVS, _FILTER = 22, 38, 2
_LOAD, _JUMP_EQUAL, _JUMP_ABOVE, _JUMP_ANY_BIT, _RETURN = 0x20, 0x15, 0x25, 0x45, 0x06
_NUMBER, _ARGUMENTS = 0, 16  # where they lie in struct seccomp_data

_libc = ctypes.CDLL(None, use_errno=True)


def why_not() -> str:
    """Why no process can be followed here, empty where one can."""
    if sys.platform != "linux" or platform.machine() not in _MACHINES:
        return f"calls of the system are followed on Linux only, not on {platform.platform()}"
    try:
        ended, counts = follow(lambda: os.close(os.open(os.devnull, os.O_CREAT | os.O_WRONLY)))
    except OSError as fault:
        return f"this machine does not let one process follow another ({fault.strerror})"
    return "" if ended and sum(counts.values()) == 1 else "calls of the system are not seen here"


def follow(action: Callable[[], object], last: int | None = None) -> tuple[bool, Counter[str]]:
    """Run an action in a fork, ended before its call number ``last`` (from 0) that changes a file.

    Returns:
        Whether it came to its end, and how many calls of each kind it made.

    Raises:
        RuntimeError: it ended by a fault of its own, which stands on stderr.
        OSError: the machine does not allow this.
    """
    child = fork(lambda: _followed(action))
    try:
        return _counted(child, last)
    finally:
        end(child)


def fork(action: Callable[[], object]) -> int:
    """Run an action in a fork that leads a group of its own; its number."""
    child = os.fork()
    if child:
        return child
    code = 70
    try:
        os.setpgid(0, 0)
        action()
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def ended_well(child: int) -> bool:
    """Wait for a fork; False where it was killed.

    Raises:
        RuntimeError: it ended by a fault of its own.
    """
    _, status = os.waitpid(child, 0)
    return _well(status)


def end(child: int) -> None:
    """See that a fork has ended."""
    try:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, _ALL)
    except (ProcessLookupError, ChildProcessError):
        pass  # it has, and was waited for


def _well(status: int) -> bool:
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
        return False
    if status:
        raise RuntimeError(f"a followed process ended by itself (status {status:#x})")
    return True


def _counted(child: int, last: int | None) -> tuple[bool, Counter[str]]:
    counts = Counter[str]()
    _, status = os.waitpid(child, _ALL)
    if not os.WIFSTOPPED(status):
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))
    _ptrace(_SETOPTIONS, child, 0, _OPTIONS)
    _ptrace(_CONT, child)
    while True:
        one, status = os.waitpid(-child, _ALL)  # any thread of its group
        if not os.WIFSTOPPED(status):
            if one == child:
                return _well(status), counts
            continue
        event, number = status >> 16, os.WSTOPSIG(status)
        if event == _EVENT_SECCOMP:
            if sum(counts.values()) == last:
                os.kill(child, signal.SIGKILL)
                continue
            counts[_call_of(one)] += 1
        quiet = event or number in (signal.SIGSTOP, signal.SIGTRAP)
        _ptrace(_CONT, one, 0, 0 if quiet else number)


def _call_of(thread: int) -> str:
    """Name of the call that a thread stands before."""
    told = (ctypes.c_uint8 * 88)()
    _ptrace(_GET_SYSCALL_INFO, thread, len(told), ctypes.addressof(told))
    number = int.from_bytes(bytes(told[24:32]), sys.byteorder)
    column, _ = _MACHINES[platform.machine()]
    return next(name for name, numbers in CALLS.items() if numbers[column] == number)


def _ptrace(request: int, child: int, address: int = 0, data: int = 0) -> None:
    words = (ctypes.c_long(one) for one in (request, child, address, data))
    if _libc.ptrace(*words) < 0 and ctypes.get_errno() != errno.ESRCH:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def _followed(action: Callable[[], object]) -> None:
    _ptrace(_TRACEME, 0)
    os.kill(os.getpid(), signal.SIGSTOP)  # until the parent says what it wants to hear of
    program = _program()
    data = ctypes.create_string_buffer(program)
    # struct sock_fprog: how many instructions, padding, where they are
    told = ctypes.create_string_buffer(pack("H6xP", len(program) // 8, ctypes.addressof(data)))
    for words in ((_SET_NO_NEW_PRIVS, 1, 0), (_SET_SECCOMP, _FILTER, ctypes.addressof(told))):
        if _libc.prctl(*map(ctypes.c_ulong, words), ctypes.c_ulong(0), ctypes.c_ulong(0)):
            raise OSError(ctypes.get_errno(), "seccomp")
    action()


def _program() -> bytes:
    """The filter: each call that matters has a block of instructions, the others pass."""
    column, _ = _MACHINES[platform.machine()]
    out = list[tuple[int, int, int, int]]()
    for name, numbers in CALLS.items():
        if numbers[column] is None:
            continue
        if name in ("open", "openat"):
            flags = _ARGUMENTS + 8 * (2 if name == "openat" else 1)
            test = [(_LOAD, 0, 0, flags), (_JUMP_ANY_BIT, 0, 1, _CREATES)]
        elif name.startswith(("write", "pwrite", "fsync", "fdatasync", "ftruncate", "fchmod")):
            test = [(_LOAD, 0, 0, _ARGUMENTS), (_JUMP_ABOVE, 0, 1, _TALK)]  # its descriptor
        else:
            test = []
        block = [*test, (_RETURN, 0, 0, _TRACE), (_RETURN, 0, 0, _ALLOW)]
        out += [(_LOAD, 0, 0, _NUMBER), (_JUMP_EQUAL, 0, len(block), numbers[column]), *block]
    out.append((_RETURN, 0, 0, _ALLOW))
    return b"".join(pack("HBBI", *one) for one in out)
