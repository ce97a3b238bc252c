"""The program inside the sandbox: gives up what it may do, then runs one solution and the calls that test it.

Run by path, with nothing but the standard library and nothing of the caller's environment. The job comes on standard
input and the results leave on what was standard output, a line of JSON each. What a call should give is not known
here, so that code which reads or rewrites this process can spoil its results and cannot make them right.

What the kernel holds is given up first: limits (rlimit), files (Landlock), system calls (seccomp). None of these can
be taken back. Python's audit hook comes last; it gives clear messages where the kernel refuses anyway, and is a hurdle
and no wall where the kernel has nothing. Each layer says whether it is in force, Landlock by its version.

Numbers: linux/landlock.h, linux/seccomp.h, linux/audit.h and the kernel's tables of system calls.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import struct
import sys
from typing import Any

LONGEST_TEXT = 300  # characters of a message
LONGEST_LINE = 200_000  # bytes of one result

PR_SET_PDEATHSIG, PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS = 1, 22, 38
LANDLOCK_CREATE, LANDLOCK_ADD, LANDLOCK_RESTRICT = 444, 445, 446  # the same on every architecture
LANDLOCK_FILES = {1: 13, 2: 14, 3: 15, 4: 15}  # rights over files known to each version; 16 since version 5
LANDLOCK_READ_FILE, LANDLOCK_READ_DIR = 1 << 2, 1 << 3
SECCOMP_ERRNO, SECCOMP_ALLOW, EPERM = 0x00050000, 0x7FFF0000, 1

#: What Python needs to compute, to read its library and to answer: everything else is refused. Per architecture.
SYSTEM_CALLS = {
    "x86_64": (0xC000003E, {
        "read": 0, "write": 1, "open": 2, "close": 3, "stat": 4, "fstat": 5, "lstat": 6, "lseek": 8, "mmap": 9,
        "mprotect": 10, "munmap": 11, "brk": 12, "rt_sigaction": 13, "rt_sigprocmask": 14, "rt_sigreturn": 15,
        "pread64": 17, "readv": 19, "writev": 20, "access": 21, "sched_yield": 24, "mremap": 25, "madvise": 28,
        "nanosleep": 35, "getpid": 39, "exit": 60, "uname": 63, "getcwd": 79, "readlink": 89, "gettimeofday": 96,
        "getrusage": 98, "sigaltstack": 131, "gettid": 186, "time": 201, "futex": 202, "sched_getaffinity": 204,
        "getdents64": 217, "restart_syscall": 219, "clock_gettime": 228, "clock_getres": 229, "clock_nanosleep": 230,
        "exit_group": 231, "openat": 257, "newfstatat": 262, "readlinkat": 267, "faccessat": 269,
        "getrandom": 318, "statx": 332,
    }),
    "aarch64": (0xC00000B7, {
        "getcwd": 17, "faccessat": 48, "openat": 56, "close": 57, "getdents64": 61, "lseek": 62, "read": 63,
        "write": 64, "readv": 65, "writev": 66, "pread64": 67, "readlinkat": 78, "newfstatat": 79, "fstat": 80,
        "exit": 93, "exit_group": 94, "futex": 98, "nanosleep": 101, "clock_gettime": 113, "clock_getres": 114,
        "clock_nanosleep": 115, "sched_getaffinity": 123, "sched_yield": 124, "restart_syscall": 128,
        "sigaltstack": 132, "rt_sigaction": 134, "rt_sigprocmask": 135, "rt_sigreturn": 139, "uname": 160,
        "getrusage": 165, "gettimeofday": 169, "getpid": 172, "gettid": 178, "brk": 214, "munmap": 215, "mremap": 216,
        "mmap": 222, "mprotect": 226, "madvise": 233, "getrandom": 278, "statx": 291,
    }),
}  # fmt: skip

#: Folders of packages that somebody installed; Python's own library lies around them.
INSTALLED = frozenset({"site-packages", "dist-packages"})

#: Audit events of what a solution has no business with, by the part before the dot. `gc` finds the audit hook itself.
FORBIDDEN = frozenset({
    "ctypes", "fcntl", "ftplib", "gc", "http", "imaplib", "mmap", "msvcrt", "nntplib", "os", "poplib", "pty",
    "resource", "shutil", "signal", "smtplib", "socket", "sqlite3", "subprocess", "syslog", "telnetlib", "urllib",
    "webbrowser", "winreg", "_thread", "_winapi",
})  # fmt: skip
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


def main() -> None:
    """Do the job on standard input."""
    job = json.load(sys.stdin)
    channel = os.dup(1)
    with open(os.devnull, "r+b", buffering=0) as nothing:  # noqa: PTH123 - pathlib would be one import more
        for standard in (0, 1, 2):
            os.dup2(nothing.fileno(), standard)
    say(channel, confine(job))
    run(channel, job["source"], job["calls"])
    os._exit(0)  # whatever the solution left for the end is not run


def run(channel: int, source: str, calls: list[str]) -> None:
    """Define the solution, then make each call, and say what came of it."""
    namespace: dict[str, Any] = {"__name__": "solution"}
    try:
        exec(compile(source, "solution.py", "exec"), namespace)  # noqa: S102 - this is what the sandbox is for
    except BaseException as error:  # noqa: BLE001 - SystemExit is one of the ways to dodge the tests
        return say(channel, raised(error))
    say(channel, {"value": None})
    for call in calls:
        try:
            result = {"value": plain(eval(call, namespace))}  # noqa: S307
        except BaseException as error:  # noqa: BLE001
            result = raised(error)
        say(channel, result)
    return None


def say(channel: int, line: dict[str, Any]) -> None:
    """One line of results; of a value that is too long for one, or has no such form, only that it is so."""
    try:
        data = json.dumps(line).encode()
    except (ValueError, RecursionError):  # a number of ten thousand digits
        data = b""
    if not 0 < len(data) <= LONGEST_LINE:
        data = json.dumps({"value": {"other": "something too long to be written down"}}).encode()
    data += b"\n"
    while data:
        data = data[os.write(channel, data) :]


def raised(error: BaseException) -> dict[str, Any]:
    """What an exception is; its text may be anything, also another exception."""
    try:
        text = str(error)[:LONGEST_TEXT]
    except BaseException:  # noqa: BLE001
        text = ""
    return {"raised": [kind.__name__ for kind in type(error).__mro__], "text": text}


def plain(value: Any) -> Any:
    """A value of Python's own kinds as JSON; of everything else only its name and look."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, dict):
        return {"dict": [[plain(key), plain(item)] for key, item in value.items()]}
    for kinds, name in (((list,), "list"), ((tuple,), "tuple"), ((set, frozenset), "set")):
        if isinstance(value, kinds):
            return {name: [plain(item) for item in value]}
    return {"other": f"{type(value).__name__} {value!r}"[:LONGEST_TEXT]}


# -- giving up -------------------------------------------------------------------------------------------------


def confine(job: dict[str, Any]) -> dict[str, Any]:
    """Give up everything but computing; returns the layers that are in force."""
    with contextlib.suppress(ImportError):
        import zlib  # noqa: F401 - base64 and secrets need this library of the system, which lies outside
    with contextlib.suppress(ImportError):
        __import__("no such module")  # Python looks into every folder of its path, and remembers what is there
    library, libc = _library(), _libc()
    _limit(job["cpu_s"], job["memory_bytes"])
    layers = {
        "memory": sys.platform.startswith("linux"),  # macOS takes the limit and does not keep it
        "landlock": _landlock(libc, library) if libc else 0,
        "seccomp": libc is not None and _seccomp(libc),
        "audit": bool(job["audit"]),
    }
    if layers["audit"]:
        sys.addaudithook(_hook(library))
    return layers


def _library() -> list[str]:
    """Python's own library, entry by entry: its folders hold those of installed packages, too. Or it is one archive."""
    found = []
    for place in sys.path:
        if os.path.isdir(place):  # noqa: PTH112
            found += [place + os.sep + name for name in os.listdir(place) if name not in INSTALLED]  # noqa: PTH208
        elif os.path.isfile(place):  # noqa: PTH113
            found.append(place)
    return found


def _libc() -> Any:
    """The C library, for calls that Python has no name for; None where there are none to make."""
    if not sys.platform.startswith("linux"):
        return None
    try:
        import ctypes
    except ImportError:
        return None
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(PR_SET_PDEATHSIG, 9, 0, 0, 0)  # whoever asked for this is gone: so is the reason to go on
    return libc if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 else None


def _limit(cpu_s: int, memory_bytes: int) -> None:
    """Limits that hold everywhere: processor time, memory, no file of any size, no process, no core dump."""
    wanted = {"CPU": cpu_s, "AS": memory_bytes, "FSIZE": 0, "NPROC": 0, "CORE": 0, "NOFILE": 64}
    for name, value in wanted.items():
        number = getattr(resource, f"RLIMIT_{name}", None)
        if number is not None:
            _, most = resource.getrlimit(number)
            hard = value + (name == "CPU")  # a second after the signal that may be ignored comes the one that may not
            bounds = (value, hard) if most == resource.RLIM_INFINITY else (min(value, most), min(hard, most))
            resource.setrlimit(number, bounds)


def _landlock(libc: Any, library: list[str]) -> int:
    """No file but those of `library` can be opened, and those only to read. The version of it that the kernel has and
    that is in force, 0 for none: since 3 no file can be cut either."""
    version: int = libc.syscall(LANDLOCK_CREATE, None, 0, 1)
    if version < 1:
        return 0
    # Files; TCP, bind and connect (since 4); abstract sockets and signals beyond the sandbox (since 6).
    rights = ((1 << LANDLOCK_FILES.get(version, 16)) - 1, 3 if version >= 4 else 0, 3 if version >= 6 else 0)
    size = 24 if version >= 6 else 16 if version >= 4 else 8
    ruleset = libc.syscall(LANDLOCK_CREATE, struct.pack("<QQQ", *rights), size, 0)
    if ruleset < 0:
        return 0
    for path in library:
        with contextlib.suppress(OSError):  # a link into nothing is no reason to run nothing
            _allow(libc, ruleset, path)
    in_force: bool = libc.syscall(LANDLOCK_RESTRICT, ruleset, 0) == 0
    os.close(ruleset)
    return version if in_force else 0


def _allow(libc: Any, ruleset: int, path: str) -> None:
    """Let this file, or all that is below this folder, be read."""
    rights = LANDLOCK_READ_FILE | (LANDLOCK_READ_DIR if os.path.isdir(path) else 0)  # noqa: PTH112
    opened = os.open(path, os.O_PATH | os.O_CLOEXEC)
    libc.syscall(LANDLOCK_ADD, ruleset, 1, struct.pack("<Qi", rights, opened), 0)
    os.close(opened)


def _seccomp(libc: Any) -> bool:
    """Every system call that is not in the list fails with EPERM: those for sockets, processes, threads, signals."""
    import ctypes

    machine = os.uname().machine
    if machine not in SYSTEM_CALLS or sys.maxsize < 2**32:
        return False
    program = _filter(*SYSTEM_CALLS[machine])
    code = ctypes.create_string_buffer(program, len(program))
    sock_fprog = struct.pack("@HP", len(program) // 8, ctypes.addressof(code))
    return bool(libc.prctl(PR_SET_SECCOMP, 2, sock_fprog, 0, 0) == 0)


def _filter(architecture: int, calls: dict[str, int]) -> bytes:
    """A BPF program: look at the architecture (offset 4), then at the number of the call (offset 0)."""
    load, equal, end = 0x20, 0x15, 0x06
    numbers = sorted(calls.values())
    steps = [(load, 0, 0, 4), (equal, 1, 0, architecture), (end, 0, 0, SECCOMP_ERRNO | EPERM), (load, 0, 0, 0)]
    # A number that is found jumps over the rest of the numbers and the refusal.
    steps += [(equal, len(numbers) - index, 0, number) for index, number in enumerate(numbers)]
    steps += [(end, 0, 0, SECCOMP_ERRNO | EPERM), (end, 0, 0, SECCOMP_ALLOW)]
    return b"".join(struct.pack("<HBBI", *step) for step in steps)


def _hook(library: list[str]) -> Any:
    """An audit hook that refuses by name what the kernel refuses by number.

    Where the kernel refuses nothing, a solution may try to change what the hook relies on. So it looks nothing up when
    it runs: all that it needs is bound as a default, which no module, frame or traceback gives access to. Of paths it
    takes texts that are nothing but texts, and compares them letter by letter.
    """

    def forbid(
        event: str, arguments: tuple[Any, ...], *, inside: tuple[str, ...] = tuple(one + os.sep for one in library),
        looking: frozenset[str] = frozenset({"os.listdir", "os.scandir"}), forbidden: frozenset[str] = FORBIDDEN,
        writing: int = WRITING, kind: Any = type, text: Any = str, number: Any = int, refused: Any = PermissionError,
    ) -> None:  # fmt: skip
        if event == "open" or event in looking:
            path, flags = arguments[0], arguments[2] if event == "open" else 0
            if kind(path) is number:  # what is open already
                return
            plain = kind(path) is text and not flags & writing and "/../" not in path + "/"
            if not plain or not (path + "/").startswith(inside):
                raise refused(f"the sandbox refuses to open {path!r}")
        elif event.partition(".")[0] in forbidden:
            raise refused(f"the sandbox refuses {event}")

    return forbid


if __name__ == "__main__":
    main()
