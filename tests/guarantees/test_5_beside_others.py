"""Promise 5: runs that share a run directory at the same time never damage each other."""

from __future__ import annotations

import ast
import signal
from pathlib import Path

import pytest

import parsl_ckpt as pc
from parsl_ckpt.checkpoint import LocalBackend, Store, maintain
from parsl_ckpt.checkpoint.rundir import get_all_checkpoints

from .helpers import Zygote, reading

WRITER = """
import random, sys
import parsl_ckpt as pc

@pc.python_app(cache=True, code="name")
def small(n):
    return ("small", n)

@pc.python_app(cache=True, code="name")
def large(n):
    return random.Random(n).randbytes(150_000)

run_dir, first, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
pc.load(pc.Config(executors=[pc.ThreadPoolExecutor(max_workers=2)],
                  checkpoint_mode="task_exit", run_dir=run_dir))
print("begun", flush=True)
for n in range(first, first + count):
    assert small(n).result() == ("small", n)
    if n % 10 == 0:
        assert large(n).result() == random.Random(n).randbytes(150_000)
    if n == first + count // 2:
        print("half", flush=True)
print("done", flush=True)
if len(sys.argv) > 4:
    import threading
    threading.Event().wait()
"""


def everything(runs: Path) -> list[int]:
    """The numbers of all small results, each of which is whole; and no damage is seen."""
    with reading(*get_all_checkpoints(runs)) as store:
        records = [r for _, _, r in store.records() if type(r).__name__ == "Result"]
        numbers = []
        for record in records:
            found = store.find(record.key)
            assert found is not None
            value = store.value(found)
            if record.app == "small":
                assert value[0] == "small"
                numbers.append(value[1])
        assert store.problems == []
    return sorted(numbers)


def test_two_runs_at_once_and_someone_who_compacts_beside_them(zygote: Zygote, runs: Path) -> None:
    """Both run over the same calls from two ends; what ended before is compacted under them."""
    assert zygote.run(WRITER, runs, 0, 10).status == 0
    assert zygote.run(WRITER, runs, 100, 10).status == 0
    one = zygote.begin(WRITER, runs, 0, 60, "stays")
    two = zygote.begin(WRITER, runs, 30, 60, "stays")
    one.until("begun"), two.until("begun")
    done = maintain.compact(runs)
    assert [len(group) for group in done.runs] == [2], "the two that had ended"
    one.until("half"), two.until("half")
    assert maintain.prune(runs, apps=["small"], only=["001"]).records == 20
    assert maintain.verify(runs).good
    for script in (one, two):
        script.until("done")
        script.signal(signal.SIGTERM)
        ended = script.end()
        assert ended.status == -signal.SIGTERM, ended
    assert maintain.verify(runs).good
    numbers = everything(runs)
    assert set(numbers) == set(range(10, 90))  # the first ten were hits on what was pruned
    with pc.load(pc.Config(checkpoint_mode="task_exit", run_dir=runs)) as dfk:
        assert dfk.loaded


def test_a_run_that_is_killed_damages_no_other(zygote: Zygote, runs: Path) -> None:
    killed = zygote.begin(WRITER, runs, 0, 40, "stays")
    killed.until("done")
    other = zygote.begin(WRITER, runs, 100, 40)
    other.until("begun")
    killed.signal(signal.SIGKILL)
    assert killed.end().status == -signal.SIGKILL
    assert other.end().status == 0
    assert everything(runs) == [*range(40), *range(100, 140)]
    assert maintain.repair(runs).dropped == 0
    maintain.compact(runs)
    assert everything(runs) == [*range(40), *range(100, 140)]
    assert zygote.run(WRITER, runs, 0, 40).status == 0
    assert everything(runs) == [*range(40), *range(100, 140)], "all of them were hits"


def test_readers_look_at_what_a_live_run_has_written_and_take_no_lock(
    zygote: Zygote, runs: Path
) -> None:
    live = zygote.begin(WRITER, runs, 0, 20, "stays")
    live.until("done")
    try:
        for _ in range(3):
            assert everything(runs) == list(range(20))
    finally:
        live.signal(signal.SIGKILL)
        live.end()


def test_two_stores_in_one_directory_have_files_of_their_own(tmp_path: Path) -> None:
    with Store.open(tmp_path / "store") as one, Store.open(tmp_path / "store") as two:
        for n in range(50):
            one.put(("one", n), n)
            two.put(("two", n), n)
        written = set(LocalBackend().list(str(tmp_path / "store")))
        assert len({name for name in written if name.endswith(".seg")}) == 2
    with Store.open(None, sources=[tmp_path / "store"]) as reader:
        assert all(reader.get((who, n)) == n for who in ("one", "two") for n in range(50))


FORBIDDEN = {"flock", "lockf", "LOCK_EX", "F_SETLK", "F_SETLKW", "F_OFD_SETLK"}


def test_nothing_relies_on_locks_of_the_operating_system() -> None:
    """As docs/guarantees.rst says of network file systems."""
    package = Path(pc.__file__).parent
    staging = package / "apps" / "staging"  # of the user's own files, outside of run directories
    used = {
        (path.name, name)
        for path in package.rglob("*.py")
        if staging not in path.parents
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if (name := getattr(node, "attr", getattr(node, "id", ""))) in FORBIDDEN
    }
    assert used == set()


@pytest.mark.parametrize("name", ["O_APPEND"])
def test_no_file_of_the_store_is_appended_to_by_two(name: str) -> None:
    """Appending by several is atomic on one host only: each writer has a file of its own."""
    package = Path(pc.__file__).parent / "checkpoint"
    texts = {path.name: path.read_text(encoding="utf-8") for path in package.rglob("*.py")}
    assert [file for file, text in texts.items() if name in text] == []
    assert "O_EXCL" in texts["local.py"]
