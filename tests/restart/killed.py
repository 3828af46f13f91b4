"""A small loop that is killed at any line of the library, in a process of its own.

Started once; then each line of its input is an example, in JSON, and each line of its output what
came of it.  Each run of the loop is a forked child, so that an example takes milliseconds.
"""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import sys
import tempfile

import numpy as np

import parsl_ckpt.restart.session
from parsl_ckpt.restart import Checkpoint, bind_checkpoint_state

STEPS = 7
ROOM = os.path.dirname(os.path.dirname(parsl_ckpt.restart.session.__file__))


@dataclasses.dataclass
class State:
    x: float = 0.1
    field: np.ndarray = dataclasses.field(default_factory=lambda: np.linspace(0, 1, 6000))
    weights: np.ndarray = dataclasses.field(default_factory=lambda: np.arange(5000.0))
    rng: np.random.Generator = dataclasses.field(default_factory=lambda: np.random.default_rng(3))
    seen: dict = dataclasses.field(default_factory=dict)


def advance(state, step):
    state.x = 3.7 * state.x * (1 - state.x)
    state.field = state.field * state.x + state.rng.standard_normal()
    state.seen[step] = state.field[step]


def result(state):
    return [state.x.hex(), state.field.tobytes().hex()[:400], state.rng.random().hex(),
            sorted((k, float(v).hex()) for k, v in state.seen.items())]  # fmt: skip


def loop(path, options, told):
    room = options.pop("room", 0)
    with Checkpoint("loop", path, **options) as ckpt:
        state = bind_checkpoint_state(State())
        os.write(told, f"begin {ckpt.write_count}\n".encode())
        for step in range(ckpt.write_count, STEPS):
            advance(state, step)
            os.write(told, f"step {step}\n".encode())
            if ckpt.write(step=step) is not None:
                os.write(told, f"commit {ckpt.write_count}\n".encode())
            if room and step % room == room - 1:
                ckpt.checkpoint.prune()
    os.write(told, b"through\n")
    return result(state)


def killing(at):
    """A tracer that kills this process at a line of the library; it counts them in ``lines``."""

    def trace(frame, event, arg):
        if not frame.f_code.co_filename.startswith(ROOM):
            return None
        if event == "line":
            killing.lines += 1
            if killing.lines == at:
                os.kill(os.getpid(), signal.SIGKILL)
        return trace

    killing.lines = 0
    return trace


def run(path, options, at):
    """One life of the loop: what it told, what it came to, how many lines it went through."""
    reading, told = os.pipe()
    pid = os.fork()
    if not pid:
        os.close(reading)
        try:
            sys.settrace(killing(at))
            found = loop(path, options, told)
            sys.settrace(None)
            os.write(told, f"result {json.dumps([found, killing.lines])}\n".encode())
        except BaseException as error:
            os.write(told, f"error {error!r}\n".encode())
        os._exit(0)
    os.close(told)
    with os.fdopen(reading) as file:
        lines = file.read().splitlines()
    os.waitpid(pid, 0)
    return lines


def main():
    for line in sys.stdin:
        example = json.loads(line)
        with tempfile.TemporaryDirectory() as path:
            lives = [run(path, example["options"], at) for at in (*example["kills"], 0)]
        print(json.dumps(lives), flush=True)


if __name__ == "__main__":
    main()
