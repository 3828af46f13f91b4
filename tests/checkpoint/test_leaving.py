"""What a run does not keep goes when nobody can ask for it any more."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from pathlib import Path

from parsl_ckpt.checkpoint import Store
from parsl_ckpt.checkpoint.inventory import blobs
from parsl_ckpt.checkpoint.store import address

from .conftest import Place

ROOT = Path(__file__).resolve().parent.parent.parent


def test_what_is_dropped_at_the_end_leaves_nothing_on_the_disk(place: Place) -> None:
    kept, dropped = b"k" * 200_000, b"d" * 200_000
    store = place.open(hold_bytes=5000)
    store.put("kept", kept)
    store.hold([store.entry(n, "v" * 50) for n in range(100)])
    store.hold([store.entry("spooled", dropped[1:]), store.entry("again", kept)])
    store.hold([store.entry(n, "v" * 50) for n in range(100)])
    store.hold([store.entry("held", dropped)])
    late = store.find(address("spooled"))
    assert late is not None and store._writing._spools
    store.close(publish=False)
    assert store.value(late) == dropped[1:], "who found it may still ask for it"
    assert store.leaving is not None
    store.leaving()
    assert not [name for name in place.names() if name.startswith(".")]
    found = {file.size for _, file in blobs(place.backend, place.path("000"))}
    assert found == {200_000}, "one blob, of what was put"
    reader = place.open(None, ("000",))
    assert reader.get("kept") == kept and len(reader) == 1


def test_it_goes_with_the_store(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "store", hold_bytes=0)
    store.hold([store.entry(1, b"x" * 200_000)])
    store.close(publish=False)
    assert _files(tmp_path)
    del store
    gc.collect()
    assert not _files(tmp_path)


def test_a_store_that_keeps_what_is_held_removes_nothing(tmp_path: Path) -> None:
    with Store.open(tmp_path / "store") as store:
        store.hold([store.entry(1, b"x" * 200_000)])
    assert store.leaving is None
    with Store.open(None, sources=[tmp_path / "store"]) as reader:
        assert reader.get(1) == b"x" * 200_000


PROGRAM = """
import os, sys
import parsl_ckpt as pc

@pc.python_app(cache=True)
def large(n):
    return os.urandom(300_000) + bytes([n])

@pc.python_app(cache=True)
def small(n):
    return os.urandom(50_000)

with pc.load(pc.Config(executors=[pc.ThreadPoolExecutor(max_workers=2)])):
    first = [app(n).result() for app in (large, small) for n in range(3)]
    again = [app(n) for app in (large, small) for n in range(3)]
if (child := os.fork()) == 0:
    sys.exit()
os.waitpid(child, 0)
assert [one.result() for one in again] == first
"""


def test_a_run_without_a_mode_leaves_its_log_and_nothing_large(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-c", PROGRAM],
        cwd=tmp_path, check=True, timeout=120, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert {path.name for path in _files(tmp_path)} <= {"heartbeat.json", "parsl_ckpt.log"}


def _files(place: Path) -> list[Path]:
    return [path for path in place.rglob("*") if path.is_file()]
