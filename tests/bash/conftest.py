"""What the tests of bash apps share: runs in a directory of their own, on threads or processes."""

from __future__ import annotations

import contextlib
import os
import select

import pytest

import parsl_ckpt as pc
from tests.executors.helpers import DEADLINE


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A directory of the test's own, which is the current one."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def run(here):
    """Begin a run in that directory, beside what earlier runs have recorded."""
    with contextlib.ExitStack() as stack:

        def begin(**config):
            stack.close()
            config.setdefault("executors", [pc.ThreadPoolExecutor(max_workers=2)])
            config.setdefault("checkpoint_mode", "task_exit")
            return stack.enter_context(pc.load(pc.Config(**config)))

        yield begin


@pytest.fixture(params=["threads", "processes"])
def anywhere(request, run):
    """A run on threads, and one on processes."""
    kinds = {"threads": pc.ThreadPoolExecutor, "processes": pc.ProcessPoolExecutor}
    return run(executors=[kinds[request.param](max_workers=2)])


@pytest.fixture
def bell(here):
    """A pipe that commands write a line to: (path, read one)."""
    path = str(here / "bell")
    os.mkfifo(path)
    pipe = os.open(path, os.O_RDWR)
    heard = b""

    def ring():
        nonlocal heard
        while b"\n" not in heard:
            ready, _, _ = select.select([pipe], [], [], DEADLINE)
            assert ready, "nobody has written to the pipe"
            heard += os.read(pipe, 4096)
        line, _, heard = heard.partition(b"\n")
        return line.decode()

    yield path, ring
    os.close(pipe)
