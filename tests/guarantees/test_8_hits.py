"""Promise 8: same code, same arguments, same value: a hit. Different ones: never."""

from __future__ import annotations

import threading
import warnings
from concurrent.futures import CancelledError
from pathlib import Path
from typing import Any

import pytest

import parsl_ckpt as pc

from .helpers import DEADLINE, Ended, Gate, Zygote, checkpoint, reading, visible


def config(runs: Path, workers: int = 2, **options: Any) -> pc.Config:
    options = {"checkpoint_mode": "task_exit", **options}
    return pc.Config(
        executors=[pc.ThreadPoolExecutor(max_workers=workers)], run_dir=runs, **options
    )


# -- across processes -----------------------------------------------------------------------------

MODULE = """
import os
import parsl_ckpt as pc

FACTOR = 3
TABLE = {"offset": 1}

class Shape:
    def area(self, x):
        return x + 5

def helper(x):
    return inner_helper(x) * FACTOR

def inner_helper(x):
    return x + 1

def ran(name):
    os.write(1, f"ran {name}\\n".encode())

@pc.python_app(cache=True, ignore_for_cache=["report"])
def first(x, y=2, *, report=ran):
    report("first")
    return helper(x) + y

@pc.python_app(cache=True, ignore_for_cache=["report"])
def second(x, report=ran):
    report("second")
    return x + TABLE["offset"]

@pc.python_app(cache=True, ignore_for_cache=["report"])
def third(x, report=ran):
    report("third")
    return Shape().area(x)
"""
MAIN = """
import sys
from module import *
pool = pc.ThreadPoolExecutor if len(sys.argv) < 3 else pc.ProcessPoolExecutor
with pc.load(pc.Config(executors=[pool(max_workers=1)], checkpoint_mode="task_exit",
                       run_dir=sys.argv[1])):
    a = first(1)
    b = second(a)
    c = third(b)
    print("values", a.result(), b.result(), c.result())
"""


class Project:
    """A user's module, run again and again by new processes."""

    def __init__(self, zygote: Zygote, root: Path) -> None:
        self.zygote = zygote
        self.root = root
        self.source = MODULE
        self.main = MAIN
        self.places = 0

    def run(self, *argv: str) -> tuple[list[str], str]:
        """What ran, and the values."""
        self.places += 1
        home = self.root / f"place-{self.places}"  # another path each time, and no stale bytecode
        home.mkdir()
        (home / "module.py").write_text(self.source)
        (home / "main.py").write_text(self.main)
        ended: Ended = self.zygote.run(home / "main.py", self.root / "runs", *argv)
        assert ended.status == 0, ended
        (values,) = ended.said("values")
        return ended.said("ran"), values

    def edit(self, old: str, new: str) -> None:
        assert self.source.count(old) == 1
        self.source = self.source.replace(old, new)


@pytest.fixture
def project(zygote: Zygote, tmp_path: Path) -> Project:
    project = Project(zygote, tmp_path)
    assert project.run() == (["first", "second", "third"], "8 9 14")
    return project


def test_another_process_finds_everything(project: Project) -> None:
    assert project.run() == ([], "8 9 14")
    project.edit("def helper(x):\n", 'def helper(x):\n    """Now with words."""\n\n')
    project.edit("    return x + 1\n", "    # a remark\n    return (x\n            + 1)\n")
    project.source = "'''A docstring.'''\n\n\n" + project.source
    assert project.run() == ([], "8 9 14")
    assert project.run("processes") == ([], "8 9 14")
    project.main = MAIN.replace("first(1)", "first(y=2, x=1)")
    assert project.run() == ([], "8 9 14")


EDITS = {
    # an edit of the code, then what has to run, and the values
    "the app": ('helper(x) + y', 'helper(x) - y', ["first", "second", "third"], "4 5 10"),
    "a helper": ("* FACTOR", "* FACTOR * 2", ["first", "second", "third"], "14 15 20"),
    "a helper's helper": ("return x + 1", "return x + 2", ["first", "second", "third"], "11 12 17"),
    "a constant": ("FACTOR = 3", "FACTOR = 4", ["first", "second", "third"], "10 11 16"),
    "a default": ("y=2", "y=3", ["first", "second", "third"], "9 10 15"),
    "a table": ('"offset": 1', '"offset": 2', ["second", "third"], "8 10 15"),
    "a method of a class": ("return x + 5", "return x + 6", ["third"], "8 9 15"),
    # early cut-off: the edited one gives the same value, and nothing behind it runs
    "upstream, same value": ("return x + 1", "return 1 + x", ["first"], "8 9 14"),
}  # fmt: skip


@pytest.mark.parametrize("edit", EDITS)
def test_an_edit_runs_what_it_reaches_and_no_more(project: Project, edit: str) -> None:
    old, new, ran, values = EDITS[edit]
    project.edit(old, new)
    assert project.run() == (ran, values)
    assert project.run() == ([], values)
    project.edit(new, old)
    assert project.run() == ([], "8 9 14"), "the old code's results are still there"


def test_values_that_look_alike_are_different_calls(runs: Path) -> None:
    ran: list[Any] = []

    @pc.python_app(cache=True, code="name")
    def what(value: Any) -> str:
        ran.append(value)
        return f"{type(value).__name__} {value!r}"

    values = [
        1, True, 1.0, "1", b"1", (1,), [1], {1}, {1: None}, frozenset({1}), None, "", b"", (), [],
        {}, -0.0, 0.0, 0, False, ((1,),), [(1,)], 1 + 0j, float("nan"), "None", range(1), 2**70,
        bytearray(b"1"),
    ]  # fmt: skip
    for turn in range(3):
        with pc.load(config(runs)):
            for value in values:
                assert what(value).result(DEADLINE) == f"{type(value).__name__} {value!r}"
                assert what(value).result(DEADLINE) == f"{type(value).__name__} {value!r}"
        assert len(ran) == len(values), (turn, ran)


def test_apps_of_two_names_and_two_versions_are_different(runs: Path) -> None:
    def app(name: str, version: str) -> Any:
        def fn(x: int) -> str:
            return f"{name} {version} {x}"

        fn.__name__ = name
        return pc.python_app(fn, cache=True, code="name", version=version)

    for _ in range(2):
        with pc.load(config(runs)):
            for name in "ab":
                for version in ("", "1"):
                    assert app(name, version)(1).result(DEADLINE) == f"{name} {version} 1"


# -- lineage --------------------------------------------------------------------------------------

CHANCE = """
import hashlib, os, sys
import parsl_ckpt as pc

@pc.python_app(cache=True)
def token(n):
    os.write(1, b"ran token\\n")
    return "token:" + os.urandom(12).hex()

@pc.python_app(cache=True)
def digest(text):
    os.write(1, b"ran digest\\n")
    return hashlib.sha256(text.encode()).hexdigest()

@pc.python_app(cache=True)
def again(text):
    os.write(1, b"ran again\\n")
    return hashlib.sha256(text.encode()).hexdigest()

with pc.load(pc.Config(checkpoint_mode="task_exit", run_dir=sys.argv[1])):
    t = token(1)
    if sys.argv[2:] == ["token"]:
        t.result()
        sys.exit()
    d = digest(t)
    a = again(d)
    if sys.argv[2:] == ["last"]:
        a.result()
    print("values", t.result(), d.result(), a.result())
"""


def consistent(values: str) -> bool:
    import hashlib

    token, digest, again = values.split()
    return (
        hashlib.sha256(token.encode()).hexdigest() == digest
        and hashlib.sha256(digest.encode()).hexdigest() == again
    )


@pytest.mark.parametrize("order", ["first", "last"])
@pytest.mark.parametrize("loss", ["a bit", "a hole", "a tombstone"])
def test_what_depends_on_a_replaced_record_is_not_stale(
    zygote: Zygote, runs: Path, loss: str, order: str
) -> None:
    """An ancestor that gives another value each time it runs has lost its record."""
    ended = zygote.run(CHANCE, runs)
    (old,) = ended.said("values")
    directory = checkpoint(runs)
    (segment,) = directory.glob("*.seg")
    data = bytearray(segment.read_bytes())
    at = data.index(old.split()[0].encode())
    if loss == "a bit":
        data[at + 10] ^= 1
        segment.write_bytes(data)
    elif loss == "a hole":
        data[at - 40 : at + 40] = bytes(80)
        segment.write_bytes(data)
    else:
        with reading(directory) as store:
            (record_id,) = [i for _, i, r in store.records() if getattr(r, "app", "") == "token"
                            and type(r).__name__ == "Result"]  # fmt: skip
        with pc.Store.open(directory) as store:
            store.remove(record_id)
    ended = zygote.run(CHANCE, runs, order)
    (new,) = ended.said("values")
    assert ended.said("ran") == ["token", "digest", "again"], ended
    assert new.split()[0] != old.split()[0] and consistent(new)
    ended = zygote.run(CHANCE, runs, order)
    assert ended.said("values") == [new] and ended.said("ran") == []


def test_what_depends_on_a_record_replaced_by_refresh_is_not_stale(
    zygote: Zygote, runs: Path
) -> None:
    """``PARSL_CKPT=refresh`` computes all again; what is asked for later is of one piece."""
    (old,) = zygote.run(CHANCE, runs).said("values")
    (new,) = zygote.run(CHANCE, runs, PARSL_CKPT="refresh").said("values")
    assert old != new and consistent(new)
    ended = zygote.run(CHANCE, runs)
    assert ended.said("values") == [new] and ended.said("ran") == []


def test_what_depends_on_a_record_replaced_by_a_run_that_did_not_ask_for_it_is_not_stale(
    zygote: Zygote, runs: Path
) -> None:
    """The ancestor alone was computed again: what was made of its old record holds no more."""
    (old,) = zygote.run(CHANCE, runs).said("values")
    assert zygote.run(CHANCE, runs, "token", PARSL_CKPT="refresh").said("ran") == ["token"]
    ended = zygote.run(CHANCE, runs)
    (new,) = ended.said("values")
    assert new.split()[0] != old.split()[0] and consistent(new), (old, new)
    assert ended.said("ran") == ["digest", "again"]


def test_a_chain_of_hits_does_not_read_its_intermediates(zygote: Zygote, runs: Path) -> None:
    """The blob in the middle is gone, and nobody asks for it."""
    script = """
    import os, sys
    import parsl_ckpt as pc
    @pc.python_app(cache=True)
    def big(n):
        os.write(1, b"ran big\\n")
        return os.urandom(200_000)
    @pc.python_app(cache=True)
    def length(data):
        os.write(1, b"ran length\\n")
        return len(data)
    with pc.load(pc.Config(checkpoint_mode="task_exit", run_dir=sys.argv[1])):
        print("value", length(big(1)).result())
    """
    assert zygote.run(script, runs).said("ran") == ["big", "length"]
    blobs = [file for file in (checkpoint(runs) / "blobs").rglob("*") if file.is_file()]
    assert blobs
    for blob in blobs:
        blob.unlink()
    ended = zygote.run(script, runs)
    assert ended.said("ran") == [] and ended.said("value") == ["200000"]


class Unkept:
    """A value that has no identity and cannot be recorded."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __reduce__(self) -> Any:
        raise ValueError("I do not pickle")


def test_an_intermediate_without_identity_does_not_fail_what_takes_it(runs: Path) -> None:
    @pc.python_app(cache=True, code="name")
    def make(n: int) -> Any:
        return Unkept(n)

    @pc.python_app(cache=True, code="name")
    def number(thing: Any) -> int:
        return thing.number

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dfk = pc.load(config(runs))
        assert number(make(3)).result(DEADLINE) == 3
        with pytest.raises(pc.CheckpointNotSavedError):
            dfk.cleanup()


def test_an_intermediate_without_identity_has_an_address_by_lineage(runs: Path) -> None:
    """A lock is recorded and has no identity: what takes it is found again by lineage."""
    ran: list[str] = []

    @pc.python_app(cache=True, code="name")
    def make() -> Any:
        ran.append("make")
        return {"lock": threading.Lock(), "number": 5}

    @pc.python_app(cache=True, code="name")
    def number(thing: Any) -> int:
        ran.append("number")
        return thing["number"]

    for _ in range(2):
        with pc.load(config(runs)):
            assert number(make()).result(DEADLINE) == 5
    assert ran == ["make", "number"]


def test_an_argument_without_identity_fails_the_future_and_names_it(runs: Path) -> None:
    @pc.python_app(cache=True, code="name")
    def number(thing: Any) -> int:
        return thing.number

    with pc.load(config(runs)):
        future = number(Unkept(1))
        with pytest.raises(pc.ParslCkptError, match=r"number.*thing|thing.*number"):
            future.result(DEADLINE)


# -- what the caller does to values ---------------------------------------------------------------


@pc.python_app(cache=True)
def numbers(n):
    return {"list": list(range(n)), "nested": [[n]]}


@pc.python_app(cache=True)
def describe(value, turn=0):
    return f"{value!r} {turn}"


def test_a_returned_value_may_be_changed_without_harm(runs: Path) -> None:
    expected = {"list": [0, 1, 2], "nested": [[3]]}
    with pc.load(config(runs)):
        future = numbers(3)
        value = future.result(DEADLINE)
        value["list"].append(99)
        value["nested"][0].append(99)
        assert describe(future, 1).result(DEADLINE) == f"{expected!r} 1"
        assert describe(future["list"], 1).result(DEADLINE) == "[0, 1, 2] 1"
        hit = numbers(3)
        assert hit.result(DEADLINE) == expected and hit.from_memo
        hit.result()["list"].clear()
        assert numbers(3).result(DEADLINE) == expected, "a hit is decoded afresh"
        assert describe(hit, 2).result(DEADLINE) == f"{expected!r} 2"
        assert describe(expected, 1).from_memo, "by value, it is the same call"
    with pc.load(config(runs)):
        assert numbers(3).result(DEADLINE) == expected


def test_a_returned_array_may_be_changed_without_harm(runs: Path) -> None:
    numpy = pytest.importorskip("numpy")

    @pc.python_app(cache=True, code="name")
    def zeros(n: int) -> Any:
        return numpy.zeros(n)

    @pc.python_app(cache=True, code="name")
    def total(array: Any, turn: int = 0) -> float:
        return float(array.sum())

    for size in (10, 100_000):  # in the record, and in a blob that is mapped
        for turn in range(2):
            with pc.load(config(runs)):
                future = zeros(size)
                future.result(DEADLINE)[:] = 7
                assert total(future, turn).result(DEADLINE) == 0
                hit = zeros(size)
                assert hit.from_memo and hit.result(DEADLINE).sum() == 0
                hit.result()[:] = 8
                assert zeros(size).result(DEADLINE).sum() == 0


def test_an_argument_changed_after_the_call_files_nothing_wrong(runs: Path) -> None:
    numpy = pytest.importorskip("numpy")
    gate = Gate()

    @pc.python_app(code="name")
    def hold() -> None:
        gate.wait()

    @pc.python_app(cache=True, code="name")
    def total(values: Any) -> float:
        return float(sum(values))

    with pc.load(config(runs, workers=1)) as dfk:
        hold()
        gate.arrivals()
        array, plain, deep = numpy.ones(3), [1, 1, 1], [numpy.ones(3), 1]
        of_array, of_plain = total(array), total(plain)
        of_deep = total([1, 2])
        array[0] = 99
        plain[0] = 99
        with pytest.warns(pc.CheckpointWarning, match="changed between the call"):
            gate.open()
            of_array.result(DEADLINE)
        assert of_plain.result(DEADLINE) == 3, "builtin containers are copied when the call is made"
        assert of_deep.result(DEADLINE) == 3 and deep
        assert visible(dfk.checkpoint_dir, app="total") == [3.0, 3.0]
        assert total(numpy.ones(3)).result(DEADLINE) == 3
        assert total(numpy.array([99.0, 1, 1])).result(DEADLINE) == 101
        assert total([99, 1, 1]).result(DEADLINE) == 101
        unchanged = numpy.arange(4.0)
        assert total(unchanged).result(DEADLINE) == 6
        unchanged[0] = 5
        assert total(unchanged).result(DEADLINE) == 11, "after the task it may be changed freely"


def test_a_task_that_changes_its_argument_files_under_what_it_was_called_with(runs: Path) -> None:
    @pc.python_app(cache=True, code="name")
    def drain(values: list[int]) -> int:
        count = len(values)
        values.clear()
        return count

    with pc.load(config(runs)):
        mine = [1, 2, 3]
        assert drain(mine).result(DEADLINE) == 3 and mine == [1, 2, 3]
        assert drain([1, 2, 3]).from_memo
        assert drain([]).result(DEADLINE) == 0


def test_a_task_that_changes_its_input_does_not_change_it_for_others(runs: Path) -> None:
    @pc.python_app(cache=True, code="name")
    def spoil(value: Any) -> int:
        value["list"].clear()
        return 1

    with pc.load(config(runs)):
        source = numbers(3)
        assert spoil(source).result(DEADLINE) == 1
        assert describe(source, 5).result(DEADLINE).startswith("{'list': [0, 1, 2]")
        assert numbers(3).result(DEADLINE)["list"] == [0, 1, 2]


# -- equal calls under way ------------------------------------------------------------------------


class Held:
    """An app whose calls are held at a gate, and counted."""

    def __init__(self) -> None:
        self.gate = gate = Gate()
        self.ran = ran = []

        @pc.python_app(cache=True, code="name")
        def held(x: int) -> int:
            ran.append(x)
            gate.wait()
            if x < 0:
                raise ValueError(x)
            return x * 10

        @pc.python_app(cache=True, code="name")
        def after(x: int, y: int) -> int:
            ran.append((x, y))
            return x + y

        self.call, self.after = held, after


@pytest.mark.parametrize("mode", ["task_exit", None])
def test_equal_calls_run_once(runs: Path, mode: str | None) -> None:
    held = Held()
    with pc.load(config(runs, checkpoint_mode=mode)):
        futures = [held.call(1) for _ in range(20)]
        dependants = [held.after(future, 5) for future in futures]
        held.gate.arrivals()
        held.gate.open()
        assert [future.result(DEADLINE) for future in futures] == [10] * 20
        assert [future.result(DEADLINE) for future in dependants] == [15] * 20
        assert held.ran == [1, (10, 5)]
        assert [future.from_memo for future in futures] == [False] + [True] * 19


def test_equal_calls_share_a_failure_and_a_later_one_runs_again(runs: Path) -> None:
    held = Held()
    with pc.load(config(runs)):
        futures = [held.call(-1) for _ in range(3)]
        held.gate.open()
        for future in futures:
            with pytest.raises(ValueError, match="-1"):
                future.result(DEADLINE)
        assert held.ran == [-1]
        with pytest.raises(ValueError, match="-1"):
            held.call(-1).result(DEADLINE)
        assert held.ran == [-1, -1]


def test_cancelling_one_of_equal_calls_detaches_only_it(runs: Path) -> None:
    held = Held()
    with pc.load(config(runs, workers=1)):
        first = [held.call(1) for _ in range(3)]  # runs
        held.gate.arrivals()
        second = [held.call(2) for _ in range(3)]  # waits for the worker
        third = [held.call(3) for _ in range(3)]
        waiting = [held.after(second[0], 1), held.after(second[0], 1)]
        assert first[1].cancel() and second[0].cancel() and waiting[1].cancel()
        assert all(future.cancel() for future in third)
        assert not first[0].cancelled() and not second[1].cancelled()
        held.gate.open()
        assert first[0].result(DEADLINE) == first[2].result(DEADLINE) == 10
        assert second[1].result(DEADLINE) == second[2].result(DEADLINE) == 20
        for future in (first[1], second[0], waiting[1], *third):
            assert future.cancelled()
            with pytest.raises(CancelledError):
                future.result(DEADLINE)
        assert not first[0].cancel(), "what has begun is not cancelled"
        assert held.ran[:2] == [1, 2] and 3 not in held.ran
        with pytest.raises(pc.DependencyError, match="CancelledError"):
            waiting[0].result(DEADLINE)  # it was to take the value of a future that was given up


def test_hits_are_told_from_runs(runs: Path) -> None:
    with pc.load(config(runs)) as dfk:
        ran = numbers(1)
        ran.result(DEADLINE)
        assert not ran.from_memo and ran.task_status() == "exec_done"
        assert numbers(1).from_memo and numbers(1).task_status() == "memo_done"
        counts = dfk.counts()
        assert (counts["exec_done"], counts["memo_done"]) == (1, 2)
