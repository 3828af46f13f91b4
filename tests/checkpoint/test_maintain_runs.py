"""Whether a run lives, and what a run directory within a budget keeps."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from parsl_ckpt.checkpoint import LocalBackend, MemoryBackend, Store, maintain
from parsl_ckpt.checkpoint.budget import Budget
from parsl_ckpt.checkpoint.heartbeat import FOREIGN_SECONDS, Heartbeat, identify, is_alive, read
from parsl_ckpt.checkpoint.inventory import find
from parsl_ckpt.checkpoint.items import items
from parsl_ckpt.errors import (
    CheckpointNotFoundError,
    ConfigurationError,
    StoreBusyError,
    StoreClosedError,
)

SLEEPER = """
import sys
from parsl_ckpt.checkpoint.heartbeat import Heartbeat
Heartbeat(sys.argv[1]).start()
print("beats", flush=True)
sys.stdin.read()
"""


def test_a_process_that_was_killed_is_not_taken_for_a_live_one(tmp_path: Path) -> None:
    path = f"{tmp_path}/heartbeat.json"
    with subprocess.Popen(
        [sys.executable, "-c", SLEEPER, str(tmp_path)], stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        process.stdout.readline()
        assert is_alive(read(LocalBackend(), path))
        process.send_signal(signal.SIGSTOP)  # does not beat, and is alive nevertheless
        assert is_alive(read(LocalBackend(), path))
        process.kill()
    assert not is_alive(read(LocalBackend(), path))


def test_a_number_that_is_used_again_is_another_process() -> None:
    beat = {**identify(), "beat": 1e12}
    assert is_alive(beat)
    if beat["start"] is not None:
        assert not is_alive({**beat, "start": "1"})


def test_a_process_elsewhere_lives_as_long_as_it_beats() -> None:
    import time

    beat = {**identify(), "host": "elsewhere"}
    assert is_alive({**beat, "beat": time.time()})
    assert not is_alive({**beat, "beat": time.time() - FOREIGN_SECONDS - 1})
    assert not is_alive({**beat, "beat": time.time(), "ended": 1.0})
    assert not is_alive({"pid": "x", "beat": None}) and not is_alive(None)


def test_a_heartbeat_that_is_no_heartbeat_is_none(tmp_path: Path) -> None:
    for content in (b"", b"[1]", b"{", b"\xff" * 10, b"[" * 100_000):
        (tmp_path / "heartbeat.json").write_bytes(content)
        assert read(LocalBackend(), f"{tmp_path}/heartbeat.json") is None


def test_a_heart_whose_directory_is_gone_disturbs_nobody(tmp_path: Path) -> None:
    heart = Heartbeat(tmp_path / "gone")
    heart.start()
    heart.stop()


def test_a_forked_child_does_not_end_the_heart_of_its_parent(tmp_path: Path) -> None:
    heart = Heartbeat(tmp_path)
    heart.start()
    child = os.fork()
    if child == 0:
        heart.stop()
        os._exit(0)
    os.waitpid(child, 0)
    assert is_alive(read(LocalBackend(), heart.path))
    heart.stop()


def fill(root: Path, run: str, seconds: float, size: int = 100_000, count: int = 3) -> None:
    (root / run).mkdir(parents=True)
    with Store.open(root / run / "checkpoint", compression="none") as store:
        for n in range(count):
            store.put((run, n), os.urandom(size), app=run, seconds=seconds)
    Heartbeat(root / run).stop()


def left(root: Path) -> set[str]:
    return {item.app for item in items(LocalBackend(), find(LocalBackend(), root))}


def test_a_budget_gives_up_what_is_cheapest_for_its_size(tmp_path: Path) -> None:
    fill(tmp_path, "000", seconds=50.0)
    fill(tmp_path, "001", seconds=1.0)
    fill(tmp_path, "002", seconds=20.0)
    budget = Budget(tmp_path, f"{tmp_path}/002/checkpoint", 750_000)
    budget.look()
    assert left(tmp_path) == {"000", "002"}
    assert sum(run.size for run in maintain.runs(tmp_path)) <= 750_000
    assert budget.enforce() is None


def test_a_budget_never_takes_from_a_live_run(tmp_path: Path) -> None:
    fill(tmp_path, "000", seconds=1000.0)
    fill(tmp_path, "001", seconds=0.0)
    heart = Heartbeat(tmp_path / "001")
    heart.start()
    done = Budget(tmp_path, f"{tmp_path}/001/checkpoint", 1000).enforce()
    heart.stop()
    assert left(tmp_path) == {"001"} and done is not None and done.left == {"001": "it is live"}


def test_a_budget_that_cannot_be_enforced_is_no_failure(tmp_path: Path) -> None:
    from parsl_ckpt.checkpoint.exclusive import alone

    fill(tmp_path, "000", seconds=1.0)
    assert Budget(tmp_path / "gone", "x", 1).enforce() is None
    with alone(LocalBackend(), str(tmp_path)):
        assert Budget(tmp_path, "x", 1).enforce() is None
    assert left(tmp_path) == {"000"}


def test_a_run_keeps_its_directory_within_the_budget(tmp_path: Path) -> None:
    script = """
import os, sys
import parsl_ckpt as pc

@pc.python_app(cache=True)
def value(n: int) -> bytes:
    return os.urandom(200_000)

with pc.load(pc.Config(checkpoint_mode="task_exit", max_checkpoint_bytes=1_000_000)):
    for n in range(int(sys.argv[1]), int(sys.argv[1]) + 4):
        value(n).result()
"""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    for start in ("0", "4"):
        subprocess.run(
            [sys.executable, "-c", script, start], cwd=tmp_path, env=env, check=True, timeout=60
        )
    runs = maintain.runs(tmp_path / "runinfo")
    assert sum(run.size for run in runs) <= 1_000_000
    assert sum(run.results for run in runs) == 4 and runs[-1].state == "ended"
    assert runs[-1].tasks["exec_done"] == 4
    assert maintain.verify(tmp_path / "runinfo").good
    # What is left is found, and what was pruned is computed again, nothing else.
    whole = {item.key for item in items(LocalBackend(), find(LocalBackend(), tmp_path / "runinfo"))}
    subprocess.run(
        [sys.executable, "-c", script.replace("+ 4", "+ 8"), "0"], cwd=tmp_path, env=env,
        check=True, timeout=60,
    )  # fmt: skip
    last = maintain.runs(tmp_path / "runinfo")[-1]
    assert last.tasks["exec_done"] == 8 - len(whole) and last.tasks["memo_done"] == len(whole)


def test_the_number_of_files_does_not_grow_with_the_number_of_small_values(tmp_path: Path) -> None:
    numpy = pytest.importorskip("numpy")
    import parsl_ckpt as pc

    @pc.python_app(cache=True)
    def small(n: int) -> object:
        return numpy.full(300, n) if n % 2 else bytes([n % 256]) * 3000

    files = []
    for number, count in enumerate((200, 4000)):
        with pc.load(pc.Config(checkpoint_mode="task_exit", run_dir=tmp_path / str(number))):
            for _ in small.map(range(count), max_in_flight=500):
                pass
        assert maintain.runs(tmp_path / str(number))[0].results == count
        files.append(sum(path.is_file() for path in (tmp_path / str(number)).rglob("*")))
    assert files[0] == files[1] < 10
    with Store.open(tmp_path / "store", rotate_records=500) as store:
        for start in range(0, 10_000, 100):
            store.append(
                [store.entry(n, bytes(1000 + n % 9000)) for n in range(start, start + 100)]
            )
    assert sum(path.is_file() for path in (tmp_path / "store").rglob("*")) <= 10_000 // 500 + 10


def test_a_store_compacts_itself_and_goes_on() -> None:
    backend = MemoryBackend()
    with Store.open("run", backend=backend, rotate_records=4) as store:
        assert store.compact().records == 0
        for n in range(40):
            store.put(n % 10, n)
        assert store.compact().superseded == 30
        assert [store.get(n) for n in range(10)] == list(range(30, 40))
        store.put(3, "new")
        store.sync()
        assert store.verify().good and store.problems == []
    with Store.open(None, sources=["run"], backend=backend) as store:
        assert store.get(3) == "new" and store.get(4) == 34


def test_a_store_that_someone_else_writes_to_is_not_compacted(tmp_path: Path) -> None:
    (tmp_path / "000").mkdir()
    with Store.open(tmp_path / "000" / "checkpoint") as store:
        store.put("a", 1)
        with subprocess.Popen(
            [sys.executable, "-c", SLEEPER, str(tmp_path / "000")], stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        ) as process:  # fmt: skip
            assert process.stdout is not None
            process.stdout.readline()
            with pytest.raises(StoreBusyError, match="writes to"):
                store.compact()
            process.kill()


def test_wrong_wishes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointNotFoundError):
        maintain.verify(tmp_path / "nowhere")
    with pytest.raises(ConfigurationError, match="negative"):
        maintain.prune(tmp_path, max_bytes=-1)
    with pytest.raises(ConfigurationError, match="Nothing says"):
        maintain.remove(tmp_path)
    import parsl_ckpt as pc

    with pytest.raises(ConfigurationError, match="max_checkpoint_bytes"):
        pc.Config(max_checkpoint_bytes=0)


def test_signed_runs_are_maintained_with_the_key_only(tmp_path: Path) -> None:
    key = b"k" * 32
    for run in ("000", "001"):
        with Store.open(tmp_path / run / "checkpoint", signing_key=key, rotate_records=3) as store:
            for n in range(8):
                store.put(n, (run, n))
    assert maintain.verify(tmp_path, signing_key=key).good
    assert maintain.verify(tmp_path).good  # checksums can be verified without
    assert not maintain.verify(tmp_path, signing_key=b"x" * 32).good
    assert "signed" in maintain.compact(tmp_path).left["000"]
    done = maintain.compact(tmp_path, signing_key=key)
    assert done.records == 8 and done.superseded == 8
    assert maintain.verify(tmp_path, signing_key=key).good
    with Store.open(None, sources=[tmp_path / "001" / "checkpoint"], signing_key=key) as store:
        assert [store.get(n) for n in range(8)] == [("001", n) for n in range(8)]
        assert store.problems == []
    with Store.open(tmp_path / "002" / "checkpoint") as store:
        store.put("unsigned", 1)
    assert "not signed" in maintain.compact(tmp_path, signing_key=key).left["002"]


def test_signed_runs_are_whole_after_pruning_and_after_compacting_in_groups(tmp_path: Path) -> None:
    """What is written anew begins a chain of its own, so that nothing seems to be missing."""
    key = b"k" * 32
    for run in ("000", "001", "002", "003", "004"):
        with Store.open(tmp_path / run / "checkpoint", signing_key=key, rotate_records=3) as store:
            for n in range(8):
                store.put((run, n), n, app=f"app{n}")
        Heartbeat(tmp_path / run).stop()
    assert maintain.prune(tmp_path, apps=["app3"], signing_key=key).records == 5
    assert maintain.verify(tmp_path, signing_key=key).good
    heart = Heartbeat(tmp_path / "002")
    heart.start()
    assert maintain.compact(tmp_path, signing_key=key).runs == [["000", "001"], ["003", "004"]]
    heart.stop()
    assert maintain.verify(tmp_path, signing_key=key).good


def test_a_store_prunes_itself_and_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "store"
    with Store.open(path, compression="none", rotate_records=4) as store:
        for n in range(10):
            store.put(("small", n), n, app="small", seconds=1.0)
        for n in range(3):
            store.put(("large", n), bytes([n]) * 300_000, app="large", seconds=1000.0 * n)
        store.put("again", bytes([1]) * 300_000, app="kept", seconds=9e9)
        looked = store.prune(apps=["small"], larger_than=1, dry_run=True)
        assert looked.records == 10 and ("small", 3) in store
        done = store.prune(apps=["small"], larger_than=1)
        assert done.records == 10 and done.apps == {"small": 10} and ("small", 3) not in store
        assert store.prune(max_bytes=10**9).records == 0
        done = store.prune(max_bytes=700_000)
        assert done.apps == {"large": 1} and done.after <= 700_000 < done.before
        assert store.prune(max_bytes=700_000).records == 0
        assert store.get(("large", 0)) is None and store.get(("large", 2)) is not None
        store.put(("small", 3), "new", app="small")
        assert store.get(("small", 3)) == "new" and store.verify().good
    assert len(list(path.glob("blobs/*/*"))) == 2  # of what is kept
    with Store.open(path) as store:
        assert store.get("again") == bytes([1]) * 300_000 and store.get(("small", 3)) == "new"
        assert store.verify().good and store.problems == []
        with pytest.raises(ConfigurationError, match="Nothing says"):
            store.prune()
        with pytest.raises(ConfigurationError, match="negative"):
            store.prune(max_bytes=-1)
    with Store.open(None, sources=[path]) as store, pytest.raises(StoreClosedError):
        store.prune(failures=True)


def test_records_are_listed_by_what_is_known_of_them(tmp_path: Path) -> None:
    fill(tmp_path, "000", seconds=50.0)
    fill(tmp_path, "001", seconds=1.0, size=10)
    quick = maintain.Filter(longer_than=0.5, apps=["00?"], larger_than=1)
    assert [one.app for one in maintain.records(tmp_path, quick)] == ["000"] * 3 + ["001"] * 3
    assert {one.app for one in maintain.records(tmp_path, maintain.Filter(longer_than=9))} == {
        "000"
    }
    assert {one.size > 10_000 for one in maintain.records(tmp_path, only=["1"])} == {False}
    with pytest.raises(CheckpointNotFoundError):
        maintain.records(tmp_path / "nowhere")


def test_maintaining_tells_how_far_it_has_come(tmp_path: Path) -> None:
    for run in ("000", "001"):
        fill(tmp_path, run, seconds=1.0, size=1000, count=20)
    size = sum(file.stat().st_size for file in tmp_path.glob("*/checkpoint/*.seg"))
    for work in (
        maintain.verify, maintain.runs, maintain.repair,
        lambda root, progress: maintain.prune(root, apps=["001"], progress=progress),
        lambda root, progress: maintain.remove(root, apps=["002"], progress=progress),
        maintain.compact,
    ):  # fmt: skip
        told: list[int] = []
        work(tmp_path, progress=told.append)
        assert sum(told) >= size * 0.4 and all(part >= 0 for part in told)


@pytest.mark.parametrize("way", ["compact", "keep_runs", "remove"])
def test_of_a_run_that_is_gone_nothing_of_ours_is_left(way: str, tmp_path: Path) -> None:
    import parsl_ckpt as pc

    root = tmp_path / "runs"
    for number in range(3):
        with pc.DataFlowKernel(pc.Config(checkpoint_mode="task_exit", run_dir=str(root))) as dfk:
            pc.python_app(abs, dfk, cache=True)(-number).result()
    (root / "000" / "notes.txt").write_text("mine")
    log = (root / "000" / "parsl_ckpt.log").read_bytes()
    if way == "compact":
        maintain.compact(root)
    elif way == "keep_runs":
        maintain.prune(root, keep_runs=1)
    else:
        maintain.remove(root, runs=["0", "1"])
    assert sorted(path.name for path in root.iterdir()) == ["000", "002"]
    assert (root / "000" / "parsl_ckpt.log").read_bytes() == log  # with files of the user's


@pytest.mark.parametrize("path", ["000", "000/", "000/checkpoint"])
def test_a_path_of_a_run_is_that_run_among_the_others(path: str, tmp_path: Path) -> None:
    fill(tmp_path, "000", seconds=1.0)
    fill(tmp_path, "001", seconds=1.0)
    named = f"{tmp_path}/{path}"
    (found,) = maintain.runs(named)
    assert (found.name, found.results) == ("000", 3)
    assert maintain.verify(named).places == [f"{tmp_path}/000/checkpoint"]
    assert {item.app for item in maintain.records(named)} == {"000"}
    assert maintain.remove(named, apps=["*"], dry_run=True).records == 3
    assert maintain.prune(named, larger_than=1).records == 3
    assert left(tmp_path) == {"001"}
    with pytest.raises(CheckpointNotFoundError, match="There are: 000"):
        maintain.runs(named, only=["1"])


def test_a_live_run_that_is_silent_is_left_alone_by_its_path_too(tmp_path: Path) -> None:
    fill(tmp_path, "000", seconds=1.0)
    heart = Heartbeat(tmp_path / "000")
    heart.start()
    with Store.open(tmp_path / "000" / "checkpoint") as writer:
        writer.put("a", 1)
        for file in (tmp_path / "000" / "checkpoint").glob("*.seg"):
            os.utime(file, (1.0, 1.0))
        for change in (maintain.repair, maintain.compact):
            assert change(tmp_path / "000" / "checkpoint").left == {"000": "it is live"}
        writer.put("b", 2)
    heart.stop()
    assert len(list(maintain.records(tmp_path))) == 5


def test_who_looks_after_a_run_looks_after_all(tmp_path: Path) -> None:
    from parsl_ckpt.checkpoint.exclusive import alone

    fill(tmp_path, "000", seconds=1.0)
    with alone(LocalBackend(), str(tmp_path)), pytest.raises(StoreBusyError):
        maintain.compact(tmp_path / "000" / "checkpoint")


def test_what_other_runs_name_stays_where_a_run_is_compacted_by_its_path(tmp_path: Path) -> None:
    from parsl_ckpt.checkpoint.pins import Pins
    from parsl_ckpt.checkpoint.store import address

    first, second = tmp_path / "000" / "checkpoint", tmp_path / "001" / "checkpoint"
    with Store.open(first) as store:
        store.put("a", "old")
        named = store.find(address("a"))
        store.put("a", "new")
    Heartbeat(tmp_path / "000").stop()
    with Store.open(second, sources=[first]) as store:
        Pins(store).pin("release", {"a": named})
    Heartbeat(tmp_path / "001").stop()
    maintain.compact(first)
    with Store.open(None, sources=[first, second]) as store:
        kept = Pins(store).get("release", "a")
        assert kept is not None and store.value(kept) == "old"
    assert maintain.sets(first) == maintain.sets(tmp_path) != {}
