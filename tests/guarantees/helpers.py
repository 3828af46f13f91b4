"""What the tests of the promises share: processes that are watched, checkpoints that are read."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import selectors
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import parsl_ckpt
from parsl_ckpt.checkpoint.backend import Buffer, Writable
from parsl_ckpt.checkpoint.local import LocalBackend, LocalWriter
from parsl_ckpt.checkpoint.store import Store

DEADLINE = 30.0  # a broken kernel fails its test instead of hanging it; never part of a verdict


def environment() -> dict[str, str]:
    """Of a process that imports the library that is being tested."""
    home = str(Path(parsl_ckpt.__file__).resolve().parent.parent)
    path = [home, os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, path))}


# -- processes ---------------------------------------------------------------------------------


class Zygote:
    """Runs scripts in forks of a process that has imported the library already."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._number = 0
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("zygote.py"))],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment(),
        )  # fmt: skip
        self._selector = selectors.DefaultSelector()
        assert self._process.stdout is not None
        self._selector.register(self._process.stdout, selectors.EVENT_READ)

    def begin(self, script: str | Path, *argv: Any, cwd: Path | None = None, **env: str) -> Script:
        """Start a script, given as its text or its file."""
        self._number += 1
        home = self._root / f"script-{self._number}"
        home.mkdir()
        if isinstance(script, str):
            file = home / "script.py"
            file.write_text(textwrap.dedent(script))
        else:
            file = script
        out, err = home / "out", home / "err"
        os.mkfifo(out)
        job = {
            "script": str(file), "argv": [str(word) for word in argv], "cwd": str(cwd or home),
            "out": str(out), "err": str(err), "env": env,
        }  # fmt: skip
        # The reader first: a script that opens its output must find one.
        reader = os.open(out, os.O_RDONLY | os.O_NONBLOCK)
        pid = self._ask(["run", job], DEADLINE)
        assert pid is not None
        return Script(self, pid, reader, err)

    def run(self, script: str | Path, *argv: Any, cwd: Path | None = None, **env: str) -> Ended:
        """Run a script to its end."""
        return self.begin(script, *argv, cwd=cwd, **env).end()

    def wait(self, pid: int) -> int:
        """The exit status of a script; one that does not end is killed, and the test fails."""
        status = self._ask(["wait", pid], DEADLINE)
        if status is None:
            os.kill(pid, signal.SIGKILL)
            self._answer(DEADLINE)
            raise AssertionError(f"script {pid} did not end")
        return status

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(DEADLINE)
        self._selector.close()
        assert self._process.stdout is not None
        self._process.stdout.close()

    def _ask(self, question: Any, timeout: float) -> int | None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(question).encode() + b"\n")
        self._process.stdin.flush()
        return self._answer(timeout)

    def _answer(self, timeout: float) -> int | None:
        assert self._process.stdout is not None
        if not self._selector.select(timeout):
            return None
        return int(self._process.stdout.readline())


class Ended:
    """What a script left: its status, and the lines of its output and of its complaints."""

    def __init__(self, status: int, lines: list[str], errors: str) -> None:
        self.status = status
        self.lines = lines
        self.errors = errors

    def said(self, word: str) -> list[str]:
        """The rest of each line that begins with a word."""
        return [line[len(word) + 1 :] for line in self.lines if line.split(" ")[0] == word]

    def data(self, word: str) -> Any:
        """The JSON value on the one line that begins with a word."""
        (text,) = self.said(word)
        return json.loads(text)

    def __repr__(self) -> str:
        return f"<ended {self.status} {self.lines[-20:]} {self.errors[-3000:]}>"


class Script:
    """A script under way in a process of its own."""

    def __init__(self, zygote: Zygote, pid: int, reader: int, err: Path) -> None:
        self._zygote = zygote
        self.pid = pid
        self._reader = reader
        self._err = err
        self._rest = b""
        self._lines: list[str] = []
        self._status: int | None = None

    def line(self) -> str:
        """The next line of its output."""
        while b"\n" not in self._rest:
            if not self._more():
                raise AssertionError(f"the output is at its end: {self.end()}")
        line, self._rest = self._rest.split(b"\n", 1)
        self._lines.append(line.decode())
        return self._lines[-1]

    def until(self, word: str) -> str:
        """Read its output up to a line that begins with a word; the rest of that line."""
        while True:
            line = self.line()
            if line.split(" ")[0] == word:
                return line[len(word) + 1 :]

    def signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def end(self) -> Ended:
        """Wait for its end, and for the end of every process that inherited its output."""
        if self._status is None:
            timer = threading.Timer(DEADLINE, os.kill, (self.pid, signal.SIGKILL))
            timer.start()
            try:
                while self._more():
                    pass
                self._status = self._zygote.wait(self.pid)
            finally:
                timer.cancel()
            self._lines += self._rest.decode().splitlines()
            os.close(self._reader)
        errors = self._err.read_text(errors="replace") if self._err.exists() else ""
        return Ended(self._status, self._lines, errors)

    def _more(self) -> bool:
        with selectors.DefaultSelector() as selector:
            selector.register(self._reader, selectors.EVENT_READ)
            if not selector.select(DEADLINE):
                os.kill(self.pid, signal.SIGKILL)
                errors = self._err.read_text(errors="replace") if self._err.exists() else ""
                raise AssertionError(f"no output, no end: {self._lines[-20:]} {errors[-3000:]}")
        try:
            data = os.read(self._reader, 1 << 16)
        except BlockingIOError:
            return True
        self._rest += data
        return bool(data)


# -- checkpoints -------------------------------------------------------------------------------


def checkpoint(run_dir: Path | str, run: str = "000") -> Path:
    return Path(run_dir) / run / "checkpoint"


@contextlib.contextmanager
def reading(*directories: Path | str) -> Iterator[Store]:
    """Checkpoints as another process sees them now."""
    store = Store.open(None, sources=[str(d) for d in directories], named=False)
    try:
        yield store
    finally:
        store.close()


def visible(*directories: Path | str, app: str | None = None) -> list[Any]:
    """Every value that another process can restore from checkpoints, in the order of writing."""
    values = []
    with reading(*directories) as store:
        for _, _, record in store.records():
            if type(record).__name__ != "Result" or app not in (None, record.app):
                continue
            stored = store.find(record.key)
            assert stored is not None
            values.append(store.value(stored))
        assert [p for p in store.problems if p.kind != "directory"] == []
    return values


# -- disks -------------------------------------------------------------------------------------


class FaultyDisk(LocalBackend):
    """The file system, with ``room`` bytes left, and more faults on demand."""

    def __init__(self) -> None:
        self.room = 1 << 40
        self.fault = 0  # an errno that every write, creation and rename fails with
        self.sync_fault = 0
        self.syncs = 0

    def check(self) -> None:
        if self.fault:
            raise OSError(self.fault, os.strerror(self.fault))

    def check_sync(self) -> None:
        self.syncs += 1
        if self.sync_fault:
            raise OSError(self.sync_fault, os.strerror(self.sync_fault))

    def make_directory(self, path: str, *, durable: bool = False) -> None:
        if not os.path.isdir(path):
            self.check()
        super().make_directory(path, durable=durable)

    def create(self, path: str) -> Writable:
        self.check()
        return FaultyFile(path, self)

    def rename(self, old: str, new: str) -> None:
        self.check()
        super().rename(old, new)

    def sync_file(self, path: str) -> None:
        self.check_sync()
        super().sync_file(path)

    def sync_directory(self, path: str) -> None:
        self.check_sync()
        super().sync_directory(path)


class FaultyFile(LocalWriter):
    def __init__(self, path: str, disk: FaultyDisk) -> None:
        super().__init__(path)
        self._disk = disk

    def write(self, data: Buffer) -> None:
        self._disk.check()
        view = memoryview(data).cast("B")
        some = view[: self._disk.room]
        self._disk.room -= len(some)
        super().write(some)
        if len(some) < len(view):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def sync(self) -> None:
        self._disk.check_sync()
        super().sync()


# -- gates -------------------------------------------------------------------------------------


class Gate:
    """Holds tasks on threads until the test lets them go on."""

    def __init__(self) -> None:
        self._open = threading.Event()
        self._arrived = threading.Semaphore(0)

    def wait(self) -> None:
        """To be called by a task."""
        self._arrived.release()
        assert self._open.wait(DEADLINE), "the gate stayed closed"

    def arrivals(self, count: int = 1) -> None:
        """Wait until so many tasks are held."""
        for _ in range(count):
            assert self._arrived.acquire(timeout=DEADLINE), "no task arrived at the gate"

    def open(self) -> None:
        self._open.set()

    def __reduce__(self) -> Sequence[Any]:
        raise TypeError("a gate has no identity")
