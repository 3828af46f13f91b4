"""Named sets: names of results, that survive whatever happens to the files around them."""

from __future__ import annotations

import io
import itertools
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parsl_ckpt.checkpoint import MemoryBackend, Store, maintain
from parsl_ckpt.checkpoint import format as fmt
from parsl_ckpt.checkpoint import prune as pruning
from parsl_ckpt.checkpoint.compact import compact
from parsl_ckpt.checkpoint.frames import Frames
from parsl_ckpt.checkpoint.inventory import find, segments
from parsl_ckpt.checkpoint.pins import Pins
from parsl_ckpt.checkpoint.prune import prune, remove_runs
from parsl_ckpt.checkpoint.segment import OpenFiles
from parsl_ckpt.checkpoint.store import address
from parsl_ckpt.errors import ConfigurationError
from parsl_ckpt.testing.faults import Die, Died, FaultyBackend

RUNS = ("000", "001", "002")


def opened(backend: Any, run: str | None = None, **options: Any) -> Store:
    """A store that reads all runs, and writes to one."""
    try:
        found = [place.directory for place in find(backend, "runs")]
    except Exception:
        found = []
    path = None if run is None else f"runs/{run}/checkpoint"
    return Store.open(path, sources=found, backend=backend, named=False, **options)


def value(store: Store, of: str, name: str) -> Any:
    stored = Pins(store).get(of, name)
    return None if stored is None else store.value(stored)


def put(store: Store, key: object, value: object, **fields: Any) -> Any:
    store.put(key, value, **fields)  # type: ignore[arg-type]
    found = store.find(address(key))  # type: ignore[arg-type]
    assert found is not None
    return found


def shown(backend: Any, of: str) -> dict[str, Any]:
    with opened(backend) as store:
        return {name: value(store, of, name) for name in Pins(store).names(of)}


# --- what names stand for -------------------------------------------------------------------------


def test_a_name_stands_for_its_result_in_any_run_that_reads_it() -> None:
    backend = MemoryBackend()
    with opened(backend, "000") as store:
        Pins(store).pin("good", {"model": put(store, "a", [1, 2])})
        assert value(store, "good", "model") == [1, 2]
    assert shown(backend, "good") == {"model": [1, 2]}


def test_the_newest_pin_of_a_name_counts_even_when_the_clock_goes_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    backend = MemoryBackend()
    times = iter([5_000, 3_000, 1_000])
    monkeypatch.setattr("parsl_ckpt.checkpoint.pins.time.time_ns", lambda: next(times))
    for run in RUNS:
        with opened(backend, run) as store:
            Pins(store).pin("s", {"x": put(store, run, run)})
    assert shown(backend, "s") == {"x": "002"}


def test_a_name_keeps_its_result_when_the_call_has_a_newer_one() -> None:
    backend = MemoryBackend()
    with opened(backend, "000") as store:
        old = put(store, "call", "old", app="first")
        Pins(store).pin("s", {"x": old})
        put(store, "call", "new", app="second")
        assert (value(store, "s", "x"), store.get("call")) == ("old", "new")


def test_sets_do_not_see_one_another() -> None:
    backend = MemoryBackend()
    with opened(backend, "000") as store:
        pins = Pins(store)
        pins.pin("a", {"x": put(store, 1, "one")})
        pins.pin("b", {"x": put(store, 2, "two")})
        assert (value(store, "a", "x"), value(store, "b", "x")) == ("one", "two")
        assert pins.sets() == ["a", "b"]
        assert list(pins.names("c")) == []


def test_a_set_is_copied_into_another_by_reference_alone() -> None:
    backend = MemoryBackend()
    with opened(backend, "000") as store:
        Pins(store).pin("a", {"x": put(store, 1, b"v" * 300_000)})
    size = sum(len(file.data) for file in backend.files.values())
    with opened(backend, "001") as store:
        pins = Pins(store)
        pins.pin("b", pins.names("a"))
    assert shown(backend, "b") == {"x": b"v" * 300_000}
    grown = sum(len(file.data) for file in backend.files.values()) - size
    assert grown < 20_000  # a record and an index


def test_what_was_removed_leaves_a_name_that_stands_for_nothing() -> None:
    backend = MemoryBackend()
    with opened(backend, "000") as store:
        pins = Pins(store)
        first, second = put(store, "call", 1), put(store, "other", 2)
        pins.pin("s", {"x": first})
        pins.pin("s", {"x": second})
        store.forget(address("other"))
        assert pins.get("s", "x") is None  # and not the one before


def test_names_are_taken_out_of_a_set() -> None:
    backend = MemoryBackend()
    with opened(backend, "000") as store:
        pins = Pins(store)
        pins.pin("s", dict.fromkeys("xyz", put(store, "call", 1)))
        pins.pin("s", {"x": put(store, "call", 2)})
        assert pins.unpin("s", "x", "missing") == 1
        assert list(pins.names("s")) == ["y", "z"]
        assert pins.unpin("s") == 2
        assert (pins.names("s"), pins.sets()) == ({}, [])


def test_a_held_name_becomes_visible_with_what_it_names() -> None:
    backend = MemoryBackend()
    with opened(backend, "000") as store:
        store.hold([store.entry("call", 7)])
        found = store.find(address("call"))
        assert found is not None
        store.hold(list(Pins(store).entries("s", {"x": found})))
        assert value(store, "s", "x") == 7
        assert shown(backend, "s") == {}
        store.publish()
        assert shown(backend, "s") == {"x": 7}


AWKWARD = ["", "..", "../../x", "a/b", "\0", "\ud800", "\\ud800", "\u00e9", "e\u0301", "x" * 50_000]


def test_names_and_sets_are_labels_of_any_characters_and_length() -> None:
    backend = MemoryBackend()
    with opened(backend, "000") as store:
        pins = Pins(store)
        for number, (of, name) in enumerate(itertools.product(AWKWARD, AWKWARD)):
            pins.pin(of, {name: put(store, number, (of, name))})
    with opened(backend) as store:
        pins = Pins(store)
        assert pins.sets() == sorted(AWKWARD)
        for of, name in itertools.product(AWKWARD, AWKWARD):
            assert value(store, of, name) == (of, name)
    assert {path.split("/")[0] for path in backend.files} == {"runs"}


@pytest.mark.parametrize("wrong", [None, 3, b"x"])
def test_what_is_no_text_is_refused_as_a_name(wrong: Any) -> None:
    with opened(MemoryBackend(), "000") as store:
        found = put(store, 1, 1)
        for of, name in ((wrong, "x"), ("s", wrong)):
            with pytest.raises(ConfigurationError, match="no text"):
                Pins(store).pin(of, {name: found})


# --- maintenance ----------------------------------------------------------------------------------


def filled() -> MemoryBackend:
    """Three runs; the last recomputed what an earlier one has pinned, and pinned anew."""
    backend = MemoryBackend()
    for number, run in enumerate(RUNS):
        with opened(backend, run, rotate_records=3) as store:
            pins = Pins(store)
            small = put(store, "small", (run, "small"), app="small")
            big = put(store, "big", run.encode() * 40_000, app="big")
            if number == 0:
                pins.pin("kept", {"small": small, "big": big, "again": small})
            if number == 1:
                pins.pin("kept", {"again": small})
            for n in range(4):
                store.put((run, n), n, app="filler")
    return backend


KEPT = {"small": ("000", "small"), "big": b"000" * 40_000, "again": ("001", "small")}


def pins_within(backend: Any) -> int:
    return sum(
        kind == fmt.PIN
        for segment in segments(backend, find(backend, "runs"), OpenFiles())
        for _, kind, _ in Frames(segment, growing=False).walk()
    )


def test_compacting_keeps_names_and_what_they_name_though_superseded() -> None:
    backend = filled()
    assert pins_within(backend) == 4
    compact(backend, find(backend, "runs"))
    assert shown(backend, "kept") == KEPT
    assert pins_within(backend) == 3  # that of "again" that was superseded is gone
    with opened(backend) as store:
        assert store.get("small") == ("002", "small")
    compact(backend, find(backend, "runs"))
    assert shown(backend, "kept") == KEPT


def test_compacting_some_runs_keeps_what_a_name_in_another_run_names() -> None:
    backend = filled()
    with opened(backend, "003") as store:
        pins = Pins(store)
        pins.pin("late", {"x": pins.names("kept")["small"]})
        pins.unpin("kept")
    places = find(backend, "runs")
    compact(backend, places[:3], everything=places)
    assert shown(backend, "late") == {"x": ("000", "small")}
    assert shown(backend, "kept") == {}


@pytest.mark.parametrize(
    "options", [{"apps": ["*"]}, {"max_bytes": 0}, {"keep_runs": 1}, {"larger_than": 1}]
)
def test_pruning_leaves_names_and_what_they_name(options: dict[str, Any]) -> None:
    backend = filled()
    maintain.prune("runs", backend=backend, **options)
    assert shown(backend, "kept") == KEPT


@pytest.mark.parametrize(
    ("options", "where"),
    [
        ({"apps": ["big"]}, "items"),
        ({"apps": ["big"]}, "_tombstones"),
        ({"keep_runs": 1}, "_holds"),
    ],
)
def test_what_a_run_names_while_others_are_pruned_stays(
    monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], where: str
) -> None:
    backend = MemoryBackend()
    for run in RUNS:
        with opened(backend, run) as store:
            put(store, run, run.encode() * 40_000, app="big")
            put(store, (run, 1), 1, app="big")
    work = getattr(pruning, where)

    def slowly(*args: Any) -> Any:
        monkeypatch.setattr(pruning, where, work)
        with opened(backend, "003") as store:
            found = store.find(address("001"))
            assert found is not None
            Pins(store).pin("s", {"x": found})
        return work(*args)

    monkeypatch.setattr(pruning, where, slowly)
    done = maintain.prune("runs", backend=backend, **options)
    assert shown(backend, "s") == {"x": b"001" * 40_000}
    if options == {"keep_runs": 1}:
        assert (done.runs, done.left) == (["000"], {"001": "a named set needs it"})
    else:
        assert (done.records, done.pinned) == (5, 1)
    with opened(backend) as store:
        assert store.get("000") is None


def test_pruning_says_how_many_records_a_set_keeps() -> None:
    backend = filled()
    assert maintain.prune("runs", apps=["small", "big"], backend=backend).pinned == 3


def test_of_a_run_that_a_set_needs_only_the_rest_goes() -> None:
    backend = filled()
    done = maintain.prune("runs", keep_runs=1, backend=backend)
    assert done.left == dict.fromkeys(["000", "001"], "a named set needs it")
    assert (done.runs, done.pinned, done.records) == ([], 3, 9)
    assert shown(backend, "kept") == KEPT


def test_what_is_unpinned_can_be_pruned() -> None:
    backend = filled()
    with opened(backend, "003") as store:
        Pins(store).unpin("kept")
    done = maintain.prune("runs", apps=["small", "big"], backend=backend)
    assert (done.pinned, done.records) == (0, 6)


def test_an_open_store_prunes_around_what_is_pinned() -> None:
    backend = MemoryBackend()
    with opened(backend, "000") as store:
        Pins(store).pin("s", {"x": put(store, 1, "kept", app="a")})
        put(store, 2, "goes", app="a")
        done = store.prune(apps=["a"])
        assert (done.records, done.pinned) == (1, 1)
        assert (value(store, "s", "x"), store.get(2)) == ("kept", None)


def test_a_run_that_is_removed_by_name_hands_on_the_names_that_it_gave() -> None:
    backend = MemoryBackend()
    with opened(backend, "000") as store:
        put(store, 1, "one")
    with opened(backend, "001") as store:
        found = store.find(address(1))
        assert found is not None
        Pins(store).pin("s", {"x": found})
    maintain.remove("runs", runs=["001"], backend=backend)
    assert shown(backend, "s") == {"x": "one"}


def test_names_move_with_the_runs_of_an_archive(tmp_path: Path) -> None:
    with Store.open(tmp_path / "a/000/checkpoint") as store:
        Pins(store).pin("s", {"x": put(store, 1, "one")})
    moved = io.BytesIO()
    maintain.export_runs(moved, tmp_path / "a")
    moved.seek(0)
    maintain.import_runs(moved, tmp_path / "b")
    with Store.open(None, sources=[tmp_path / "b/000/checkpoint"]) as store:
        assert value(store, "s", "x") == "one"


def copy(backend: MemoryBackend) -> MemoryBackend:
    from copy import deepcopy

    other = MemoryBackend()
    other.directories = set(backend.directories)
    other.files.update({name: deepcopy(file) for name, file in backend.files.items()})
    return other


@pytest.mark.parametrize(
    "work",
    [
        lambda backend: compact(backend, find(backend, "runs")),
        lambda backend: prune(backend, find(backend, "runs"), max_bytes=0),
        lambda backend: prune(backend, find(backend, "runs"), keep_runs=1),
        lambda backend: remove_runs(
            backend, find(backend, "runs")[1:2], find(backend, "runs")[::2]
        ),
    ],
    ids=["compact", "prune", "keep_runs", "rm"],
)
def test_whoever_maintains_may_die_at_any_operation_and_no_name_is_lost(work: Any) -> None:
    base = filled()
    kept = {name: kept for name, kept in KEPT.items() if name != "again"}
    counted = FaultyBackend(copy(base))
    work(counted)
    assert counted.count > 3
    for number in range(1, counted.count + 1):
        disk = copy(base)
        with pytest.raises(Died):
            work(FaultyBackend(disk, {number: Die(0.6)}))
        seen = shown(disk, "kept")
        assert {name: seen.get(name) for name in kept} == kept, number


# --- several processes, and death -----------------------------------------------------------------

WRITER = """
import sys
from parsl_ckpt.checkpoint import Store
from parsl_ckpt.checkpoint.pins import Pins
from parsl_ckpt.checkpoint.store import address

root, run, many = sys.argv[1], sys.argv[2], int(sys.argv[3])
store = Store.open(f"{root}/{run}/checkpoint")
pins = Pins(store)
for n in range(many):
    store.put((run, n), (run, n))
    found = store.find(address((run, n)))
    pins.pin("both", {f"{run} {n}": found, "last": found})
    print(n, flush=True)
print("done", flush=True)
sys.stdin.read()
"""


def writer(root: Path, run: str, many: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, str(root), run, str(many)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": str(Path(fmt.__file__).parents[2])},
    )  # fmt: skip


def test_two_processes_pin_in_one_set_at_once_and_a_killed_one_loses_no_name(
    tmp_path: Path,
) -> None:
    one, two = writer(tmp_path, "000", 100_000), writer(tmp_path, "001", 60)
    assert one.stdout is not None and two.stdout is not None
    told = [one.stdout.readline() for _ in range(40)]
    while "done" not in two.stdout.readline():
        pass
    one.send_signal(signal.SIGKILL)
    told += one.stdout.readlines()
    one.wait()
    sources = [tmp_path / run / "checkpoint" for run in ("000", "001")]
    with Store.open(None, sources=sources) as store:
        pins = Pins(store)
        for n in range(len([line for line in told if line.endswith("\n")])):
            assert value(store, "both", f"000 {n}") == ("000", n)
        for n in range(60):
            assert value(store, "both", f"001 {n}") == ("001", n)
        newest = max(pins.names("both").values(), key=lambda named: named.at)
        last = pins.named("both", "last")
        assert last is not None and last.at >= newest.at
    two.communicate("")
    one.stdin.close()  # type: ignore[union-attr]
    one.stdout.close()


# --- against a model ------------------------------------------------------------------------------

NAMES = st.sampled_from(["x", "y"])
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("pin"), NAMES, st.integers(0, 2)),
        st.tuples(st.just("put"), NAMES, st.integers(0, 2)),
        st.tuples(st.just("unpin"), NAMES, st.just(0)),
        st.tuples(st.sampled_from(["run", "compact", "prune"]), NAMES, st.just(0)),
    ),
    max_size=12,
)


@given(STEPS)
def test_a_set_is_a_dictionary_whatever_is_maintained_between(steps: list[Any]) -> None:
    backend = MemoryBackend()
    model: dict[str, Any] = {}
    runs = itertools.count()
    values = itertools.count()
    store = opened(backend, f"{next(runs):03d}")
    for what, name, number in steps:
        if what == "put":
            store.put(number, next(values), app="a")
        elif what == "pin":
            found = store.find(address(number))
            if found is not None:
                Pins(store).pin("s", {name: found})
                model[name] = store.value(found)
        elif what == "unpin":
            assert Pins(store).unpin("s", name) == (name in model)
            model.pop(name, None)
        else:
            store.close()
            if what == "compact" and backend.files:
                maintain.compact("runs", backend=backend)
            elif what == "prune" and backend.files:
                maintain.prune("runs", apps=["*"], backend=backend)
            store = opened(backend, f"{next(runs):03d}")
        assert {n: value(store, "s", n) for n in Pins(store).names("s")} == model
    store.close()
