"""What the tests of sharing share: real drivers of one workflow, told over pipes what to call."""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import parsl_ckpt
from parsl_ckpt.checkpoint import heartbeat
from parsl_ckpt.checkpoint.backend import Backend

DEADLINE = 180.0  # a driver that says nothing fails its test instead of hanging it

# A driver reads lines: ``call N`` calls the workflow and says its value; ``begin N`` only calls it;
# ``value N`` says the value of what was begun.  Tasks say that they run, and the ``slow`` app waits
# until the test lets it go on.
DRIVER = """
import json, os, sys, threading, warnings
import parsl_ckpt as pc

options = json.loads(sys.argv[2])
said = threading.Lock()

def say(*words):
    with said:
        print(*words, flush=True)

def warn(message, *rest, **more):
    say("warned", str(message).replace(chr(10), " "))

warnings.showwarning = warn

@pc.python_app(cache=True)
def load_item(n):
    say("ran load", n)
    return [n]

@pc.python_app(cache=True)
def double(item):
    say("ran double", item[0])
    return [2 * item[0]]

@pc.python_app(cache=True)
def slow(n):
    say("ran slow", n)
    with open(f"go-{os.getpid()}") as fifo:  # a named pipe: opened when the test opens it
        word = fifo.read()
    if word == "fail":
        raise ValueError("told to")
    return n * n

@pc.python_app(cache=True)
def tell(n):
    say("ran tell", n)
    return os.getpid()

@pc.join_app(cache=True)
def joined(n):
    say("ran joined", n)
    return slow(n)

apps = {"work": lambda n: double(load_item(n)), "slow": slow, "tell": tell, "joined": joined,
        "load": load_item}

if __name__ == "__main__":
    begun = {}
    with pc.load(pc.Config(run_dir=sys.argv[1], **options)) as dfk:
        say("begun", dfk.run_id)
        for line in sys.stdin:
            verb, app, n = line.split()
            if verb in ("call", "begin"):
                begun[app, n] = apps[app](int(n))
                if verb == "begin":
                    say("entered", app, n)
            if verb == "cancel":
                say("cancelled", begun[app, n].cancel())
            if verb in ("call", "value"):
                try:
                    say("value", json.dumps(begun[app, n].result()))
                except BaseException as error:
                    say("error", type(error).__name__)
    say("ended", 0)
"""


class Driver:
    """A process that runs the workflow above."""

    def __init__(self, file: Path, runs: Path, options: dict[str, Any]) -> None:
        home = str(Path(parsl_ckpt.__file__).resolve().parent.parent)
        path = os.pathsep.join(filter(None, [home, os.environ.get("PYTHONPATH", "")]))
        self.process = subprocess.Popen(
            [sys.executable, str(file), str(runs), json.dumps(options)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            cwd=file.parent, env={**os.environ, "PYTHONPATH": path},
        )  # fmt: skip
        self._go = file.parent / f"go-{self.process.pid}"
        os.mkfifo(self._go)
        self.lines: list[str] = []
        self._rest = b""
        self.run_id = ""

    def tell(self, *words: Any) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(" ".join(map(str, words)).encode() + b"\n")
        self.process.stdin.flush()

    def until(self, *words: str) -> str:
        """Read on to a line that begins with one of these words; the line."""
        while True:
            while b"\n" not in self._rest:
                data = self._read()
                assert data, f"it ended: {self.lines}"
                self._rest += data
            line, self._rest = self._rest.split(b"\n", 1)
            self.lines.append(line.decode())
            if self.lines[-1].startswith(words):
                return self.lines[-1]

    def call(self, app: str, n: int) -> Any:
        """Have an app called, and wait for its value."""
        self.tell("call", app, n)
        return self.answer()

    def begin(self, app: str, n: int) -> None:
        self.tell("begin", app, n)
        self.until("entered")

    def value(self, app: str, n: int) -> Any:
        """The value of what was begun."""
        self.tell("value", app, n)
        return self.answer()

    def answer(self) -> Any:
        word, _, rest = self.until("value", "error").partition(" ")
        return json.loads(rest) if word == "value" else rest

    def ran(self) -> list[str]:
        """What it has executed, as far as was read."""
        return [line[4:] for line in self.lines if line.startswith("ran ")]

    def let_go(self, word: str = "") -> None:
        """Let its ``slow`` task, which must have said that it runs, go on."""
        with open(self._go, "w") as fifo:
            fifo.write(word)

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(DEADLINE)

    def end(self) -> int:
        """Close its input, and wait for its end."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        while data := self._read():
            self._rest += data
        self.lines += self._rest.decode().splitlines()
        return self.process.wait(DEADLINE)

    def _read(self) -> bytes:
        assert self.process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ)
            if not selector.select(DEADLINE):
                self.process.kill()
                raise AssertionError(f"it says nothing: {self.lines}")
        return os.read(self.process.stdout.fileno(), 1 << 16)


class Drivers:
    """Starts drivers of one run directory."""

    def __init__(self, home: Path, runs: Path) -> None:
        self.runs = runs
        self._file = home / "driver.py"
        self._file.write_text(DRIVER)
        self._all: list[Driver] = []

    def start(self, **options: Any) -> Driver:
        """A driver, begun."""
        driver = self.launch(**options)
        driver.run_id = driver.until("begun").split()[1]
        return driver

    def launch(self, **options: Any) -> Driver:
        driver = Driver(self._file, self.runs, options)
        self._all.append(driver)
        return driver

    def close(self) -> None:
        for driver in self._all:
            if driver.process.poll() is None:
                driver.process.kill()
            driver.process.wait(DEADLINE)
            for pipe in (driver.process.stdin, driver.process.stdout):
                if pipe is not None:
                    pipe.close()


def beat_in(backend: Backend, run: str, **facts: Any) -> None:
    """Have a run say of itself what a heartbeat says, and ``facts``."""
    backend.make_directory(run)
    backend.remove(f"{run}/{heartbeat.NAME}")
    file = backend.create(f"{run}/{heartbeat.NAME}")
    file.write(json.dumps({**heartbeat.identify(), **facts}).encode())
    file.close()
