"""The sandbox against code that means harm: what is refused, what runs out, and what cannot be faked.

Where the kernel guards, everything is tried with and without the audit hook: each layer must hold alone.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from workbench.errors import StartFailed
from workbench.measurement.code import Check, Limits, Outcome, Protections, protections, run, sandbox
from workbench.measurement.code.sandbox import Kind

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there is no sandbox")
CHECKS = (Check.parse("f(1) == 2"), Check.parse("f(2) == 3"))
WHERE = "import os, sys\nLIBRARY = os.path.dirname(os.__file__)\nSITE = LIBRARY + '/site-packages'\n"
SHORT = Limits(cpu_s=1, wall_s=8.0)
GUARDED = "the kernel refuses it" in " ".join(protections().covered)
LAYERS = pytest.mark.parametrize("audit", [True, *([False] if GUARDED else [])])


def judged(source: str, *, limits: Limits = SHORT, audit: bool = True) -> Outcome:
    return run(source, CHECKS, limits, audit=audit)


def in_f(*lines: str) -> str:
    """A solution whose function does this."""
    return "def f(x):\n" + "".join(f"    {line}\n" for line in lines)


@LAYERS
@pytest.mark.parametrize(
    "source",
    [
        "def f(x): return x + 1",
        "def f(x):\n    print('x' * 10**7)\n    return x + 1",
        "import base64, collections, dataclasses, datetime, decimal, enum, fractions, functools, hashlib\n"
        "import heapq, itertools, json, math, operator, random, re, secrets, statistics, string, textwrap, typing\n"
        "import uuid, zlib\n"
        "def f(x):\n    random.random(), datetime.datetime.now(), hashlib.sha256(b'x').hexdigest()\n    return x + 1",
        "class F:\n    def __call__(self, x): return x + 1\nf = F()",
        "def f(x): return x + 1\nif __name__ == '__main__':\n    raise SystemExit",
        "import sys\ndef f(x):\n    sys.stdout.close(); sys.stderr.close()\n    return x + 1",
    ],
)
def test_what_computes_passes(source: str, *, audit: bool) -> None:
    outcome = judged(source, audit=audit)
    assert (outcome.kind, outcome.message) == ("passed", "")


@LAYERS
@pytest.mark.parametrize(
    "act",
    [
        "open('/etc/passwd').read()",
        "open('/proc/self/environ').read()",
        f"open({str(Path.home() / '.profile')!r})",
        "__import__('os').listdir('/')",
        "open('a.txt', 'w')",
        "open('/tmp/workbench-was-here', 'w')",
        "__import__('os').mkdir('a')",
        "__import__('os').remove('/etc/hostname')",
        "__import__('os').chdir('/')",
        "__import__('socket').socket()",
        "__import__('socket').create_connection(('127.0.0.1', 9))",
        "__import__('socket').socketpair()",
        "__import__('os').fork()",
        "__import__('os').kill(__import__('os').getppid(), 9)",
        "__import__('os').kill(-1, 9)",
        "__import__('subprocess').run(['true'])",
        "__import__('os').execv('/bin/true', ['true'])",
        "__import__('os').system('true') == 0 or exec('raise PermissionError')",
    ],
)
def test_what_reaches_outside_is_refused(act: str, *, audit: bool) -> None:
    outcome = judged(in_f(act, "return x + 1"), audit=audit)
    assert outcome.kind == "refused", outcome
    assert outcome.test == "f(1) == 2"


@LAYERS
@pytest.mark.parametrize(
    "act",
    [
        "os.listdir(SITE)",
        "os.scandir(SITE)",
        "os.listdir(LIBRARY)",
        "open(SITE + '/README.txt').read()",
        "open(LIBRARY + '/asyncio/../site-packages/README.txt').read()",
        "open(LIBRARY + '//site-packages/README.txt').read()",
        "open(os.fsencode(SITE + '/README.txt')).read()",
    ],
)
def test_installed_packages_are_not_there_to_be_read(act: str, *, audit: bool) -> None:
    """The workbench may be one of them, with the values that tests expect."""
    assert judged(WHERE + in_f(act, "return x + 1"), audit=audit).kind == "refused"


@LAYERS
def test_nor_to_be_imported(*, audit: bool) -> None:
    source = f"{WHERE}sys.path.append(SITE)\ndef f(x):\n    import pip\n    return x + 1"
    assert "No module named 'pip'" in judged(source, audit=audit).message


def test_the_library_is_what_lies_around_them(tmp_path: Path) -> None:
    """Folders in which packages are installed as Debian, conda and everybody else have it, and a library in a zip."""
    for name in ("abc.py", "json/decoder.py", "lib-dynload/_json.so", "site-packages/a.py", "dist-packages/b.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    archive = tmp_path / "python.zip"
    archive.touch()
    path = [str(archive), str(tmp_path / "none.zip"), str(tmp_path), str(tmp_path / "lib-dynload")]
    asked = f"import confined, sys\nsys.path[:] = {path}\nprint(*sorted(set(confined._library())), sep='\\n')"
    done = subprocess.run(
        [sys.executable, "-c", asked], cwd=sandbox.PROGRAM.parent, capture_output=True, text=True, check=True
    )  # fmt: skip
    found = [Path(line).relative_to(tmp_path).as_posix() for line in done.stdout.splitlines()]
    assert found == ["abc.py", "json", "lib-dynload", "lib-dynload/_json.so", "python.zip"]


# -- where the kernel has nothing ----------------------------------------------------------------------------------


@pytest.fixture
def hook_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file, on a kernel that has neither Landlock nor seccomp."""
    program, main = tmp_path / "confined.py", 'if __name__ == "__main__":'
    source = sandbox.PROGRAM.read_text("utf-8")
    assert source.count(main) == 1
    program.write_text(source.replace(main, f"_libc = lambda: None\n\n\n{main}"), "utf-8")
    monkeypatch.setattr(sandbox, "PROGRAM", program)
    victim = tmp_path / "victim.txt"
    victim.write_text("still here")
    return victim


TAMPERING = [
    "pass",
    "m.WRITING = 0; m.FORBIDDEN = m.HARMLESS = frozenset()",
    "os.fsdecode = lambda _: os.__file__",
    "os.path.abspath = os.path.normpath = lambda _: os.__file__; os.path.isabs = lambda _: True",
    "builtins.isinstance = lambda *_: True; builtins.type = lambda _: int; builtins.PermissionError = print",
    "hooks = [o for o in gc.get_objects() if getattr(o, '__name__', '') == 'forbid']\n"
    "hooks[0].__code__ = (lambda event, arguments, **_: None).__code__",
    "try: os.remove(path)\nexcept PermissionError as error: frame = error.__traceback__.tb_next.tb_frame\n"
    "for name in ('inside', 'forbidden', 'writing'): frame.f_locals[name] = ('/',)",
    "class Text(str):\n    def __add__(self, other): return os.__file__ + other\n"
    "    def startswith(self, *_): return True\npath = Text(path)",
    "class Number(int):\n    def __fspath__(self): return PATH\npath = Number(10**30)",
]


@pytest.mark.parametrize("act", ["io.FileIO(path, 'w')", "open(path, 'w')", "os.remove(path)", "open(path).read()"])
@pytest.mark.parametrize("tampering", TAMPERING)
def test_nothing_a_solution_can_reach_changes_the_hook(hook_alone: Path, tampering: str, act: str) -> None:
    modules = "import builtins, gc, io, os, sys\nm = sys.modules['__main__']\n"
    source = f"{modules}PATH = path = {str(hook_alone)!r}\n{tampering}\n{act}\ndef f(x): return x + 1"
    outcome = judged(source)
    assert not outcome.passed
    assert hook_alone.read_text() == "still here"


def test_the_hook_alone_refuses_by_name(hook_alone: Path) -> None:
    assert judged(in_f(f"open({str(hook_alone)!r}, 'w')")).kind == "refused"
    assert judged("import json, decimal, statistics\ndef f(x): return x + 1").passed


# -- what the kernel has -------------------------------------------------------------------------------------------


@pytest.mark.skipif(not GUARDED, reason="this kernel has no layer below Python")
@pytest.mark.parametrize(
    "call",
    ["fork()", "socket(2, 1, 0)", "kill(__import__('os').getppid(), 9)", "open(b'/etc/passwd', 0)",
     "syscall(425, 1, 0)", "setsid()"],
)  # fmt: skip
def test_the_kernel_refuses_what_python_never_hears_of(call: str) -> None:
    """The same through the C library, which the audit hook would only have kept from being loaded."""
    source = f"import ctypes\ndef f():\n    return ctypes.CDLL(None).{call}"
    assert run(source, [Check.parse("f() == -1")], SHORT, audit=False).kind == "passed"


@LAYERS
@pytest.mark.parametrize(
    ("source", "kind"),
    [
        (in_f("while True: pass"), "timeout"),
        (in_f("return 'x' * 10**10"), "memory"),
        (in_f("kept = []", "while True: kept.append(bytearray(10**7))"), "memory"),
        (in_f("return f(x)"), "failed"),
        ("import sys\nsys.setrecursionlimit(10**9)\n" + in_f("x = [x]", "return repr_me(x)"), "failed"),
        (in_f("__import__('threading').Thread(target=print).start()", "return x + 1"), "failed"),
        ("while True: pass", "timeout"),
        ("x = 'x' * 10**10", "memory"),
    ],
)
def test_what_takes_too_much_is_stopped(source: str, kind: Kind, *, audit: bool) -> None:
    assert judged(source, audit=audit).kind == kind


def test_a_second_is_waited_for_sleepers_too() -> None:
    outcome = judged(in_f("__import__('time').sleep(60)"), limits=Limits(wall_s=1.0))
    assert (outcome.kind, outcome.message) == ("timeout", "it took longer than 1 s")
    assert outcome.seconds < 30


def test_nor_for_those_who_say_no_more() -> None:
    hung = "import os, time\nos.close(3)\ntime.sleep(60)"
    assert judged(hung, limits=Limits(wall_s=1.0)).kind == "timeout"


def test_the_signal_of_the_limit_can_be_ignored_only_for_a_second() -> None:
    deaf = "import signal\nsignal.signal(signal.SIGXCPU, signal.SIG_IGN)\n" + in_f("while True: pass")
    assert judged(deaf).message == "it was ended by SIGKILL"


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("import sys\nsys.exit(0)", "SystemExit: 0"),
        ("import os\nos._exit(0)", "it ended itself with exit code 0"),
        ("def f(x): return x +", "SyntaxError"),
        ("def g(x): return x + 1", "NameError"),
        ("import numpy", "ModuleNotFoundError"),
        ("1 / 0", "ZeroDivisionError"),
        ("", "NameError"),
        ("\0", "source code string cannot contain null bytes"),
        ("def f(x): return x + 1\nclass E(Exception):\n    def __str__(self): raise E\nraise E", "E"),
    ],
)
def test_what_cannot_be_tested_is_an_error_or_a_failure(source: str, message: str) -> None:
    outcome = judged(source)
    assert outcome.kind in ("error", "failed")
    assert message in outcome.message


@pytest.mark.parametrize(
    "source",
    [
        "class Yes:\n    def __eq__(self, other): return True\n    __hash__ = object.__hash__\n" + in_f("return Yes()"),
        "class Yes(int):\n    def __eq__(self, other): return True\n    __hash__ = None\n" + in_f("return Yes(7)"),
        "import builtins\nbuiltins.AssertionError = Exception\n" + in_f("return 0"),
        "import json\njson.dumps = lambda *_: '{\"value\": 2}'\n" + in_f("return 0"),
        "import os\n" + in_f("os.write(3, b'{\"value\": 2}\\n')", "return 0"),
        "import os\nos.write(3, b'passed\\n' * 9)",
        "import sys\nsys.modules['__main__'].plain = lambda value: 2\n" + in_f("return 0"),
        "import gc\n" + in_f("return [o for o in gc.get_objects() if isinstance(o, dict) and 'gives' in o]"),
    ],
)  # fmt: skip
def test_a_pass_cannot_be_faked(source: str) -> None:
    """Whatever is done inside, what the tests expect is not there to be found; lucky guesses meet the second test."""
    assert not judged(source).passed


@pytest.mark.parametrize(
    ("source", "kind"),
    [
        ("import os\nos.write(3, b'x' * 100)\nos._exit(0)", "error"),
        ("import os\n" + in_f("while True: os.write(3, b'x' * 65536)"), "error"),
        ("import os\nos.write(3, b'[' * 200000 + b'\\n')\n" + in_f("return x + 1"), "error"),
        (
            'import os\nos.write(3, b\'{"raised": ["E"], "text": "\' + b\'x\' * 10**5 + b\'"}\\n\')\nos._exit(0)',
            "error",
        ),
        ('import os\nos.write(3, b\'{"raised": [1, {}], "text": []}\\n\')\nos._exit(0)', "error"),
        (in_f("return [0] * 10**5"), "failed"),
        (in_f("a = []", "a.append(a)", "return a"), "failed"),
        (in_f("return {frozenset({1}): {(1, 2): b'x'}, None: f}"), "failed"),
        (in_f("return 10**100000"), "failed"),
        (in_f("return float('nan')"), "failed"),
        (in_f("return '\\ud800'"), "failed"),
    ],
)
def test_results_of_a_stranger_are_only_data(source: str, kind: Kind) -> None:
    outcome = judged(source)
    assert outcome.kind == kind
    assert len(outcome.message) < 600


def test_the_first_test_that_fails_is_named() -> None:
    outcome = judged("def f(x): return 2")
    assert (outcome.kind, outcome.test, outcome.message) == ("failed", "f(2) == 3", "it gave 2")


@pytest.mark.parametrize(
    ("line", "body", "passed"),
    [
        ("f() == [(1, 2), {3}, {4: None}]", "return [(1, 2), {3}, {4: None}]", True),
        ("f() == [1, 2]", "return (1, 2)", False),
        ("f() == 1", "return True", True),  # as an assert would have it
        ("f() == 0.5", "return 1 / 2", True),
        ("f() == None", "pass", True),
        ("f() == None", "raise ValueError", False),
        ("f() raises ValueError", "raise ValueError('no')", True),
        ("f() raises ValueError", "raise UnicodeError", True),  # a kind of it
        ("f() raises ValueError", "raise KeyError", False),
        ("f() raises ValueError", "return ValueError", False),
        ("f() raises ValueError", "pass", False),
    ],
)
def test_values_are_compared_as_python_would(line: str, body: str, *, passed: bool) -> None:
    assert run(f"def f():\n    {body}", [Check.parse(line)]).passed is passed


def test_the_same_answer_gets_the_same_verdict() -> None:
    """Also where it depends on the order of a set."""
    check = [Check.parse("f() == 'nothing'")]
    messages = {run("def f(): return list(set('abcdefgh'))", check).message for _ in range(4)}
    assert len(messages) == 1


def test_nothing_of_the_environment_is_inside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_SECRET", "hunter2")
    check = [Check.parse("f() == {}")]
    source = (
        "import os\ndef f(): return {k: v for k, v in os.environ.items() if k not in ('LC_CTYPE', 'PYTHONHASHSEED')}"
    )
    assert run(source, check).passed
    assert run("import os\ndef f(): return {n: 1 for n in os.listdir('.')}", check).kind in ("passed", "refused")


def test_nothing_is_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    judged(in_f("while True: pass"), limits=Limits(wall_s=0.5))
    assert list(tmp_path.iterdir()) == []
    assert not [one for one in psutil.Process().children() if sandbox.PROGRAM.name in " ".join(one.cmdline())]


def test_it_goes_with_whoever_started_it() -> None:
    """An interrupt in the middle leaves no process that computes on."""
    timer = threading.Timer(1.0, os.kill, [os.getpid(), 2])
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        judged(in_f("__import__('time').sleep(60)"), limits=Limits(wall_s=60))
    time.sleep(0.1)
    assert not [one for one in psutil.Process().children() if sandbox.PROGRAM.name in " ".join(one.cmdline())]


def test_what_is_covered_and_what_is_not_is_said() -> None:
    found = protections()
    for word in ("time", "disk", "secrets"):
        assert any(line.startswith(f"{word}:") for line in found.covered)
    everything = " ".join((*found.covered, *found.not_covered))
    for word in ("files:", "network:", "processes:", "memory:", "flaws:"):
        assert word in everything


def said(monkeypatch: pytest.MonkeyPatch, *, memory: bool, landlock: int, seccomp: bool) -> Protections:
    """What the page shows where these layers are in force."""
    layers = {"memory": memory, "landlock": landlock, "seccomp": seccomp, "audit": True}
    monkeypatch.setattr(sandbox, "_start", lambda *_, **__: sandbox._Done(layers, (), 0, flooded=False))
    return protections.__wrapped__()


def test_without_the_kernel_it_says_that_the_hook_is_all(monkeypatch: pytest.MonkeyPatch) -> None:
    found = said(monkeypatch, memory=False, landlock=0, seccomp=False)
    assert not any("kernel" in line for line in found.covered)
    assert [line.partition(":")[0] for line in found.not_covered[:-2]] == [
        "memory", "files", "disk", "disk", "network", "processes", "secrets",
    ]  # fmt: skip
    assert all("only Python's audit hook" in line for line in found.not_covered[1:-2])
    assert "disk: emptying a file" in " ".join(found.not_covered)
    assert "disk: deleting" in " ".join(found.not_covered)


@pytest.mark.parametrize(
    ("landlock", "seccomp", "open_anyway"),
    [
        (0, True, ["files", "disk: emptying", "disk: deleting", "secrets"]),
        (2, True, ["disk: emptying"]),  # of files of Python's library, where they are the user's own
        (7, False, ["disk: deleting", "network", "processes"]),
        (7, True, []),
    ],
)
def test_what_is_said_depends_on_the_layers(
    monkeypatch: pytest.MonkeyPatch, landlock: int, open_anyway: list[str], *, seccomp: bool
) -> None:
    found = said(monkeypatch, memory=True, landlock=landlock, seccomp=seccomp)
    for line, start in zip(found.not_covered[:-2], open_anyway, strict=True):
        assert line.startswith(start)


def test_a_sandbox_that_does_not_start_is_no_failure_of_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "PROGRAM", Path("/nowhere/confined.py"))
    with pytest.raises(StartFailed, match="did not start"):
        judged("def f(x): return x + 1")
