"""Real processes that are killed, that fork, and that start at the same moment."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from parsl_ckpt.checkpoint import Store, get_all_checkpoints
from parsl_ckpt.errors import StoreWriteError

from .conftest import Place

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs POSIX processes")

WRITER = """
import os, sys
from parsl_ckpt.checkpoint import Store
store = Store.open(sys.argv[1], rotate_records=37)
number = 0
while True:
    batch = [store.entry(n, "v" * (n % 300)) for n in range(number, number + 1 + number % 5)]
    if number % 50 == 0:
        batch.append(store.entry(("blob", number), bytes([number % 251]) * 70_000))
    store.append(batch)
    number += 1 + number % 5
    os.write(1, number.to_bytes(8, "little"))  # what is acknowledged
"""


@pytest.mark.parametrize("acknowledged", [1, 3, 40, 111, 400])
def test_what_was_acknowledged_survives_sigkill(local: Place, acknowledged: int) -> None:
    """Killed while it writes: everything that append returned for is there."""
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, local.path()], stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        for _ in range(acknowledged):
            process.stdout.read(8)
        process.send_signal(signal.SIGKILL)
        rest = process.stdout.read()
    counted = len(rest) // 8
    number = 0
    for _ in range(acknowledged + counted):
        number += 1 + number % 5
    reader = local.open("001", ("000",))
    for n in range(number):
        assert reader.get(n) == "v" * (n % 300)
    blobs = [key for key in reader if isinstance(key, tuple)]
    assert all(reader.get(key) == bytes([key[1] % 251]) * 70_000 for key in blobs)
    assert reader.problems == []
    reader.put("more", 1)
    reader.close()
    again = local.open(None, ("000", "001"))
    assert again.get("more") == 1 and again.get(0) == ""


def test_a_forked_child_writes_a_segment_of_its_own(local: Place) -> None:
    store = local.open(hold_bytes=10)
    store.put("before", b"b" * 2_000_000)
    store.hold([store.entry("held", 1)])
    child = os.fork()
    if child == 0:
        status = 1
        try:
            store.put("child", b"c" * 2_000_000)  # digested by several threads in the parent
            assert store.get("before") == b"b" * 2_000_000
            store.close()
            status = 0
        finally:
            os._exit(status)
    _, status = os.waitpid(child, 0)
    assert status == 0
    store.put("parent", 2)
    store.close()
    reader = local.open(None, ("000",))
    assert reader.get("child") == b"c" * 2_000_000
    assert [reader.get(key) for key in ("parent", "held")] == [2, 1]
    assert reader.get("before") == b"b" * 2_000_000 and reader.problems == []


def test_64_simultaneous_starts_all_claim_a_run(tmp_path: Path) -> None:
    script = """
import os, sys
from parsl_ckpt.checkpoint import claim, Store
sys.stdin.read()  # until all are there
path = claim(sys.argv[1])
Store.open(path + "/checkpoint").put("pid", os.getpid())
"""
    read, write = os.pipe()
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", FORKS, str(tmp_path / "runs"), script], stdin=read,
            pass_fds=(), close_fds=True,
        )
        for _ in range(2)
    ]  # fmt: skip
    os.close(read)
    os.close(write)
    assert [process.wait() for process in processes] == [0, 0]
    found = get_all_checkpoints(tmp_path / "runs")
    assert len(found) == 64
    assert len({Store.open(None, sources=[path]).get("pid") for path in found}) == 64


FORKS = """
import os, sys
children = []
import parsl_ckpt.checkpoint
for _ in range(32):
    child = os.fork()
    if child == 0:
        try:
            exec(sys.argv[2])
        except BaseException:
            import traceback; traceback.print_exc(); os._exit(1)
        os._exit(0)
    children.append(child)
sys.exit(max(os.waitpid(child, 0)[1] for child in children))
"""


def test_an_exception_between_append_and_close_seals(local: Place) -> None:
    with pytest.raises(ZeroDivisionError), local.open() as store:
        store.put("a", 1)
        raise ZeroDivisionError
    assert local.open(None, ("000",)).get("a") == 1


def test_a_run_that_is_removed_under_its_store_is_told_by_the_next_sync(local: Place) -> None:
    store = local.open()
    store.put("a", 1)
    shutil.rmtree(local.root)
    with pytest.raises(StoreWriteError):
        store.sync()
    store.put("b", 2)
    store.sync()
    assert local.open(None, ("000",)).get("b") == 2 and store.get("a") == 1


def test_open_files_stay_bounded(local: Place) -> None:
    """More segments and maps than a process may have open files."""
    script = """
import resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (100, 100))
from parsl_ckpt.checkpoint import Store
with Store.open(sys.argv[1], rotate_records=2) as store:
    for n in range(400):
        store.put(n, n)
        assert store.get(n // 2) == n // 2
    assert all(store.get(n) == n for n in range(400))
with Store.open(None, sources=[sys.argv[1]]) as store:
    assert all(store.get(n) == n for n in range(400)), store.problems
    assert not store.problems, store.problems
"""
    done = subprocess.run(
        [sys.executable, "-c", script, local.path()], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
