"""Components that the tests of pipelines name by their paths."""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import os
import threading
from typing import Any

from parsl_ckpt import bash_app, join_app, python_app
from parsl_ckpt.pipeline import SparkComponent

HERE = "tests.pipeline.steps"
meeting = threading.Barrier(3, timeout=60)
go = threading.Event()
begun = threading.Event()
log: list[str] = []  # what happened in this process, in order


class Value:
    """Returns what it is configured with, and notes that it ran.

    It reaches the log, which is part of its code: by lineage it is another one after each run.
    """

    def __init__(self, value: Any = None, **more: Any) -> None:
        self.value = value

    def run(self) -> Any:
        log.append(f"run {self.value}")
        return self.value


class Fixed:
    """Returns what it is configured with, and keeps to itself."""

    def __init__(self, value: Any = None) -> None:
        self.value = value

    def run(self) -> Any:
        return self.value


class Double:
    """Returns twice the sum of its inputs."""

    def run(self, inputs: dict[str, int]) -> int:
        return 2 * sum(inputs.values())


class Collect:
    """Returns its inputs."""

    def run(self, inputs: dict[str, Any]) -> dict[str, Any]:
        return dict(inputs)


class Ask:
    """Asks for an input by its name."""

    def __init__(self, name: str) -> None:
        self.name = name

    def run(self, inputs: dict[str, Any]) -> Any:
        return inputs[self.name]


class Life:
    """Notes each step of its life, and fails where it is told to."""

    def __init__(self, fail: str = "") -> None:
        self.fail = fail

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Life:
        log.append("from_config")
        return cls(**config)

    def _step(self, name: str) -> None:
        log.append(name)
        if name in self.fail.split():
            raise RuntimeError(f"{name} failed")

    def open(self) -> None:
        self._step("open")

    def run(self) -> str:
        self._step("run")
        return "done"

    def close(self) -> None:
        self._step("close")


class Count:
    """Counts its runs in a file, one byte each, and fails the first ``failures`` times."""

    def __init__(self, path: str, failures: int = 0, error: str = "OSError") -> None:
        self.path, self.failures, self.error = path, failures, error

    def run(self) -> int:
        with open(self.path, "ab") as file:
            file.write(b".")
        runs = os.path.getsize(self.path)
        if runs <= self.failures:
            raise {"OSError": OSError, "ValueError": ValueError, "exit": SystemExit}[self.error](
                f"run {runs}"
            )
        return runs


class WhereItRuns:
    """Returns the number of its process."""

    def run(self) -> int:
        return os.getpid()


class Untellable(Exception):
    """Cannot be told."""

    def __str__(self) -> str:
        raise RuntimeError("no words")


class Untold:
    """Fails in a way that has no words."""

    def run(self) -> None:
        raise Untellable


class NoRun:
    """No component."""


def plain(x: int) -> int:
    """No component either."""
    return x


@python_app
def add(extract: int, amount: int = 0) -> int:
    """An app that takes the value of a dependency by its name."""
    return extract + amount


@python_app
def total(inputs: dict[str, int]) -> int:
    """An app that takes all inputs."""
    return sum(inputs.values())


@python_app
def breaks(message: str = "broken") -> None:
    """An app that fails."""
    raise ValueError(message)


@join_app
def joined(extract: int) -> Any:
    """An app that calls another."""
    return add(extract, 100)


@bash_app
def touch(path: str) -> str:
    """An app that runs a command."""
    return f"echo hello > {path}"


@python_app(executors="threads")
def pid() -> int:
    """An app with an executor of its own."""
    return os.getpid()


class Spoil:
    """Changes its input."""

    def run(self, inputs: dict[str, list[int]]) -> int:
        inputs["a"].append(3)
        return len(inputs["a"])


class Calls:
    """Calls an app and waits for it."""

    def run(self) -> int:
        return int(add(5, 3).result())


class Coroutines:
    """Lives in an event loop, of which each step sees the same."""

    async def open(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.beside = self.loop.create_task(asyncio.Event().wait())

    async def run(self, inputs: dict[str, Any]) -> list[Any]:
        added = await asyncio.gather(*[add(n, inputs["a"]) for n in (1, 2)])
        return [*added, asyncio.get_running_loop() is self.loop]

    async def close(self) -> None:
        same = asyncio.get_running_loop() is self.loop
        log.append(f"close {same} {self.beside.done()}")


class CoroutineFails:
    """Fails in a coroutine, and closes in the ordinary way."""

    async def run(self) -> None:
        raise OSError("far away")

    def close(self) -> None:
        log.append("close")


class Generates:
    """Would return a generator that nobody runs."""

    def run(self) -> Any:
        yield 1


class Wants:
    """Takes what no component is given."""

    def run(self, rows: Any, inputs: Any, limit: int = 3) -> None: ...


class Spread:
    """Takes its inputs in a way that has no name for them."""

    def run(self, **inputs: Any) -> None: ...


class NoSelf:
    """Is no method."""

    def run() -> None: ...  # type: ignore[misc]


class Later:
    """Takes its inputs behind something else, and behind a decorator."""

    @functools.wraps(Double.run)
    def _double(self, *given: Any) -> int:
        return Double.run(self, *given)  # type: ignore[arg-type]

    def run(self, scale: int = 10, *, inputs: dict[str, int]) -> int:
        return scale * self._double(inputs)


class Decorated:
    """What it is wrapped in does not know the names of its parameters."""

    run = Later._double


class Stream:
    """Returns what cannot be recorded."""

    def run(self) -> Any:
        return (n for n in (5, 6))


class First:
    """Takes the first item of what cannot be recorded."""

    def run(self, inputs: dict[str, Any]) -> Any:
        return next(inputs["stream"])


class Meet:
    """Waits for two others."""

    def run(self) -> None:
        meeting.wait()


@dataclasses.dataclass
class Sum:
    """The state of a loop."""

    total: int = 0


class Loop:
    """Adds up numbers, notes each in a file, and fails once before one of them."""

    def __init__(self, path: str, fail_at: int, until: int) -> None:
        self.path, self.fail_at, self.until = path, fail_at, until

    def run(self) -> int:
        from parsl_ckpt.restart import bind_checkpoint_state, task_checkpoint

        with task_checkpoint() as ckpt:
            state = bind_checkpoint_state(Sum())
            begun = ckpt.write_count
            for step in range(begun, self.until):
                if step == self.fail_at and not begun:
                    raise RuntimeError("in the middle")
                state.total += step
                with open(self.path, "a", encoding="utf-8") as file:
                    file.write(f"{step} ")
                ckpt.write(step=step)
            return int(state.total)


class SessionNames(SparkComponent):
    """Tells what the stand-in for a session was made with."""

    def open(self) -> None:
        self.told = self.spark.told

    def run(self) -> str:
        return f"{self.told['master']} {self.told['app_name']}"


class SparkWrite(SparkComponent):
    """Writes a hundred numbers and returns where they are."""

    def __init__(self, path: str) -> None:
        self.path = path

    def run(self) -> str:
        self.spark.range(100).write.parquet(self.path)  # which fails if it is there
        return self.path


class SparkTotal(SparkComponent):
    """Adds them up, if it may."""

    def __init__(self, flag: str) -> None:
        self.flag = flag

    def run(self, inputs: dict[str, str]) -> int:
        if not os.path.exists(self.flag):
            raise OSError("not ready")
        frame = self.spark.read.parquet(inputs["write"])
        return int(frame.selectExpr("sum(id) AS total").first()["total"])


class Nested:
    """Runs another pipeline."""

    def run(self) -> Any:
        from parsl_ckpt.pipeline import ComponentConfig, PipelineConfig, SimplePipelineRunner

        inner = ComponentConfig("inner", "source", f"{HERE}.Fixed", {"value": 4})
        config = PipelineConfig("inner", components=[inner], run_dir="another")
        return SimplePipelineRunner(config).run().outputs


class Await:
    """Waits until the test lets it go."""

    def run(self) -> None:
        begun.set()
        if not go.wait(60):
            raise TimeoutError


class Begun:
    """Waits until another one waits."""

    def run(self) -> None:
        if not begun.wait(60):
            raise TimeoutError
