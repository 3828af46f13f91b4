"""What users hold, piece by piece: kernels loaded and cleared, ends of blocks, retries, maps.

The kernel's own behaviour is tested in ``tests/kernel``, the decorators' in ``tests/apps``; here is
what only a whole :class:`~parsl_ckpt.DataFlowKernel` shows.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import importlib
import pickle
import subprocess
import sys
import threading
import traceback
from collections.abc import Iterator
from concurrent.futures import CancelledError
from pathlib import Path
from typing import Any

import pytest

import parsl_ckpt as pc
from parsl_ckpt import errors
from tests.executors.helpers import environment
from tests.guarantees.helpers import DEADLINE, Gate, checkpoint, visible


@pytest.fixture
def runs(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "runs"
    with contextlib.suppress(pc.NoDataFlowKernelError):
        pc.dfk()._end(1.0)


def config(runs: Path, workers: int = 2, **options: Any) -> pc.Config:
    options = {"checkpoint_mode": "task_exit", "run_dir": runs, **options}
    options.setdefault("executors", [pc.ThreadPoolExecutor(max_workers=workers)])
    return pc.Config(**options)


@pc.python_app(cache=True)
def square(x):
    return x * x


@pc.python_app(cache=True)
def add(a, b):
    return a + b


@pc.python_app
def divide(a, b):
    return a / b


# -- load, dfk, clear -----------------------------------------------------------------------------


def test_the_loaded_kernel_is_the_one_that_apps_run_on(runs: Path) -> None:
    dfk = pc.load(config(runs))
    assert pc.dfk() is dfk and dfk.run_id == "000" and dfk.run_dir == str(runs / "000")
    assert square(3).result(DEADLINE) == 9
    dfk.cleanup()
    with pytest.raises(pc.NoDataFlowKernelError):
        pc.dfk()
    with pytest.raises(pc.NoDataFlowKernelError, match="square"):
        square(3)
    with pc.load(config(runs)) as again:
        assert pc.dfk() is again and again.run_id == "001"
        assert square(3).from_memo


def test_a_kernel_that_is_cleared_lives_on(runs: Path) -> None:
    first = pc.load(config(runs))
    pending = square(2)
    pc.clear()
    with pc.load(config(runs)) as second:
        assert square(4).result(DEADLINE) == 16
        assert second.run_id == "001" and pending.result(DEADLINE) == 4
    first.cleanup()
    assert visible(checkpoint(runs, "000")) == [4] and visible(checkpoint(runs, "001")) == [16]


def test_several_kernels_each_with_its_apps_and_its_run(runs: Path) -> None:
    kernels = [pc.DataFlowKernel(config(runs, checkpoint_files=[])) for _ in range(3)]
    apps = [pc.python_app(lambda x: x, data_flow_kernel=k, cache=True) for k in kernels]
    for number, app in enumerate(apps):
        assert app(number).result(DEADLINE) == number
    for kernel in kernels:
        kernel.cleanup()
    assert [visible(checkpoint(runs, f"00{n}")) for n in range(3)] == [[0], [1], [2]]


def test_what_earlier_runs_recorded_is_used_unless_narrowed(runs: Path) -> None:
    for value in range(3):
        with pc.load(config(runs, checkpoint_files=[])):
            square(value).result(DEADLINE)

    def hits(**options: Any) -> list[bool]:
        with pc.load(config(runs / "others", **options)):
            return [square(value).from_memo for value in range(3)]

    files = pc.get_all_checkpoints(runs)
    assert [Path(file).parent.name for file in files] == ["000", "001", "002"]
    assert hits(checkpoint_files=files) == [True] * 3
    assert hits(checkpoint_files=files[1:2]) == [False, True, False]
    with pc.load(config(runs)) as dfk:
        assert [count for _, count in dfk.loaded] == [1, 1, 1]
        assert [square(value).from_memo for value in range(3)] == [True] * 3
    with pc.load(config(runs), checkpoint_files=[]) as dfk:
        assert not square(0).from_memo and dfk.loaded == []
    with pc.load(config(runs, checkpoint_mode=None)) as dfk:
        assert not square(0).from_memo, "without a mode nothing is looked for"


def test_what_was_loaded_is_logged(runs: Path, caplog: pytest.LogCaptureFixture) -> None:
    with pc.load(config(runs)):
        square(1).result(DEADLINE)
    with caplog.at_level("INFO", logger="parsl_ckpt"), pc.load(config(runs)):
        pass
    assert "1 recorded outcomes of 1 earlier checkpoint" in caplog.text
    assert str(checkpoint(runs)) in caplog.text


def test_the_run_keeps_where_it_came_from(runs: Path) -> None:
    for _ in range(2):
        with pc.load(config(runs)) as dfk:
            square(1).result(DEADLINE)
    kept: dict[str, Any] = {}
    with pc.Store.open(None, sources=[dfk.checkpoint_dir]) as store:
        for _, run in store.runs():
            kept.update(run.data)
    (used,) = kept["used"]
    assert (Path(dfk.checkpoint_dir) / used).resolve() == checkpoint(runs).resolve()
    assert {"command", "cwd", "git", "host", "user"} <= set(kept), sorted(kept)


# -- the end of a block ---------------------------------------------------------------------------


def held_calls(runs: Path, **options: Any) -> tuple[Any, Gate, list[pc.AppFuture]]:
    """A kernel with one worker, which holds one of three calls."""
    gate = Gate()

    @pc.python_app(cache=True, code="name")
    def held(n: int) -> int:
        gate.wait()
        return n

    dfk = pc.load(config(runs, workers=1, **options))
    futures = [held(n) for n in range(3)]
    gate.arrivals()
    return dfk, gate, futures


def test_a_block_cancels_what_has_not_begun(runs: Path) -> None:
    dfk, gate, (running, *waiting) = held_calls(runs)
    waiting[0].add_done_callback(lambda _: gate.open())
    with dfk:
        pass
    assert running.result(DEADLINE) == 0
    assert all(future.cancelled() for future in waiting)
    assert visible(checkpoint(runs)) == [0]


def test_a_block_that_waits_waits_for_all(runs: Path) -> None:
    dfk, gate, futures = held_calls(runs, exit_mode="wait")
    with dfk:
        gate.open()
    assert [future.result(DEADLINE) for future in futures] == [0, 1, 2]
    assert visible(checkpoint(runs)) == [0, 1, 2]


def test_a_block_that_waits_does_not_after_an_exception(runs: Path) -> None:
    dfk, gate, futures = held_calls(runs, exit_mode="wait")
    futures[2].add_done_callback(lambda _: gate.open())
    with pytest.raises(ZeroDivisionError), dfk:
        _ = 1 / 0
    assert futures[0].result(DEADLINE) == 0 and futures[2].cancelled()


def test_a_block_that_skips_ends_nothing(runs: Path) -> None:
    dfk, gate, futures = held_calls(runs, exit_mode="skip")
    with pytest.raises(ZeroDivisionError), dfk:
        _ = 1 / 0
    assert pc.dfk() is dfk
    gate.open()
    assert [future.result(DEADLINE) for future in futures] == [0, 1, 2]
    dfk.cleanup()


def test_waiting_for_current_tasks(runs: Path) -> None:
    dfk, gate, futures = held_calls(runs)
    waited = threading.Event()
    threading.Thread(target=lambda: (dfk.wait_for_current_tasks(), waited.set())).start()
    assert not waited.is_set()
    gate.open()
    assert waited.wait(DEADLINE) and all(future.done() for future in futures)
    dfk.cleanup()


def test_a_task_may_not_end_its_own_run(runs: Path) -> None:
    @pc.python_app
    def suicidal() -> None:
        pc.dfk().cleanup()

    with pc.load(config(runs)), pytest.raises(pc.ParslCkptError, match="wait for itself"):
        suicidal().result(DEADLINE)


def test_a_task_may_not_wait_for_all_tasks(runs: Path) -> None:
    @pc.python_app
    def patient() -> None:
        pc.dfk().wait_for_current_tasks()

    with pc.load(config(runs)), pytest.raises(pc.ParslCkptError, match="wait for itself"):
        patient().result(DEADLINE)


def test_what_a_run_tells_of_its_tasks_by_parsls_names(runs: Path) -> None:
    @pc.python_app
    def double(x: int) -> int:
        return 2 * x

    @pc.python_app
    def broken(x: int) -> int:
        raise ValueError(x)

    with pc.load(config(runs)) as dfk:
        future, failing = double(double(1)), double(broken(1))
        assert failing.exception(DEADLINE) is not None
        dfk.wait_for_current_tasks()
        assert future.task_record["dfk"] is dfk
        assert future.task_record["func_name"] == "double"
        assert (dfk.task_count, dict(dfk.tasks)) == (4, {})
        counts = {state.name: n for state, n in dfk.task_state_counts.items() if n}
        assert counts == {"exec_done": 2, "failed": 1, "dep_fail": 1}


@pytest.mark.parametrize("pool", [pc.ThreadPoolExecutor, pc.ProcessPoolExecutor])
def test_a_dependency_error_shows_the_traceback_of_its_cause(runs: Path, pool: Any) -> None:
    @pc.python_app
    def broken() -> None:
        raise ValueError("at the root")

    @pc.python_app
    def after(x: Any) -> Any:
        return x

    with pc.load(config(runs, executors=[pool(max_workers=1)])):
        error = after(after(broken())).exception(DEADLINE)
    shown = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    assert shown.startswith("Traceback") and 'raise ValueError("at the root")' in shown
    assert "direct cause" in shown and "parsl_ckpt.errors.DependencyError: after (task 2)" in shown


# -- failures -------------------------------------------------------------------------------------


@pytest.mark.parametrize("pool", [pc.ThreadPoolExecutor, pc.ProcessPoolExecutor])
def test_retries(runs: Path, tmp_path: Path, pool: Any) -> None:
    @pc.python_app(cache=True, code="name")
    def third_time(path: str, needed: int) -> int:
        with open(path, "a") as file:
            file.write("x")
        with open(path) as file:
            tries = len(file.read())
        if tries < needed:
            raise ValueError(f"try {tries}")
        return tries

    with pc.load(config(runs, retries=2, executors=[pool(max_workers=1)])):
        assert third_time(str(tmp_path / "a"), 3).result(DEADLINE) == 3
        with pytest.raises(ValueError, match="try 3"):
            third_time(str(tmp_path / "b"), 4).result(DEADLINE)
        assert third_time(str(tmp_path / "a"), 3).from_memo


def test_a_retry_handler_says_what_a_failure_costs(runs: Path) -> None:
    told: list[tuple[str, str, int]] = []

    def cost(error: BaseException, task: Any) -> float:
        told.append((type(error).__name__, task["func_name"], task["try_id"]))
        return 0.5 if isinstance(error, ZeroDivisionError) else 100

    with pc.load(config(runs, retries=1, retry_handler=cost)):
        with pytest.raises(ZeroDivisionError):
            divide(1, 0).result(DEADLINE)
        with pytest.raises(TypeError):
            divide(1, "a").result(DEADLINE)
    zero, kind = ("ZeroDivisionError", "divide"), ("TypeError", "divide")
    assert told == [(*zero, 0), (*zero, 1), (*zero, 2), (*kind, 0)]


def test_what_depends_on_a_failure_tells_the_chain(runs: Path) -> None:
    with pc.load(config(runs)) as dfk:
        last = square(add(1, square(divide(1, 0))))
        with pytest.raises(pc.DependencyError) as raised:
            last.result(DEADLINE)
        error = raised.value
        assert isinstance(error.__cause__, ZeroDivisionError)
        text = str(error)
        assert text.index("square") < text.index("add") < text.index("ZeroDivisionError")
        assert dfk.counts()["dep_fail"] == 3 and dfk.counts()["failed"] == 1


def test_failures_are_not_restored(runs: Path) -> None:
    ran = []

    @pc.python_app(cache=True, code="name")
    def fails_once() -> str:
        ran.append(1)
        if len(ran) == 1:
            raise OSError("once")
        return "well"

    with pc.load(config(runs)), pytest.raises(OSError, match="once"):
        fails_once().result(DEADLINE)
    with pc.load(config(runs)):
        assert fails_once().result(DEADLINE) == "well"


# -- calls ----------------------------------------------------------------------------------------


def test_join_apps_and_parts_of_futures(runs: Path) -> None:
    @pc.python_app(cache=True, code="name")
    def halves(n: int) -> dict[str, Any]:
        return {"low": list(range(n)), "high": complex(n, 1)}

    @pc.join_app(cache=True, code="name")
    def fibonacci(n: int) -> Any:
        if n < 2:
            return add(n, 0)
        return add(fibonacci(n - 1), fibonacci(n - 2))

    @pc.join_app
    def several(n: int) -> list[Any]:
        return [square(i) for i in range(n)]

    for _ in range(2):
        with pc.load(config(runs, workers=1)) as dfk:
            assert fibonacci(10).result(DEADLINE) == 55
            assert several(4).result(DEADLINE) == [0, 1, 4, 9]
            parts = halves(3)
            assert square(parts["high"].imag).result(DEADLINE) == 1
            assert add(parts["low"][2], parts["low"][1]).result(DEADLINE) == 3
            ran = dfk.counts()["exec_done"]
    assert ran <= 1, "only the join app that is not cached runs again"


def test_map_on_both_kinds_of_workers(runs: Path) -> None:
    for pool in (pc.ThreadPoolExecutor, pc.ProcessPoolExecutor):
        with pc.load(config(runs / pool.__name__, executors=[pool(max_workers=2)])):
            results = add.map(range(50), range(100, 150), max_in_flight=7)
            assert list(results) == [100 + 2 * n for n in range(50)]
            unordered = square.map(iter(range(20)), ordered=False)
            assert sorted(unordered) == [n * n for n in range(20)]


def test_a_map_that_is_given_up_leaves_nothing_waiting(runs: Path) -> None:
    gate = Gate()

    @pc.python_app(code="name")
    def held(n: int) -> int:
        if n:
            gate.wait()
        return n

    with pc.load(config(runs, workers=1)) as dfk:
        results = held.map(range(10))
        assert next(results) == 0
        gate.arrivals()
        results.close()
        gate.open()
        dfk.wait_for_current_tasks()
        assert dfk.counts()["cancelled"] == 8


def test_equal_calls_on_other_executors_are_not_joined_and_share_a_record(runs: Path) -> None:
    gate, ran = Gate(), []

    def work(n: int) -> int:
        ran.append(threading.current_thread().name)
        gate.wait()
        return n

    pools = [pc.ThreadPoolExecutor(max_workers=1, label=label) for label in ("here", "there")]
    here = pc.python_app(work, cache=True, code="name", executors=["here"])
    there = pc.python_app(work, cache=True, code="name", executors="there")
    with pc.load(config(runs, executors=pools)):
        futures = [here(1), there(1), here(1)]
        gate.arrivals(2)
        gate.open()
        assert [future.result(DEADLINE) for future in futures] == [1, 1, 1]
        assert len(ran) == 2
        assert here(1).from_memo and there(1).from_memo


def test_two_identical_futures_and_a_cancelled_input(runs: Path) -> None:
    dfk, gate, futures = held_calls(runs)
    both = add(futures[0], futures[0])
    lost = add(futures[2], 1)
    assert futures[2].cancel()
    gate.open()
    assert both.result(DEADLINE) == 0
    with pytest.raises(pc.DependencyError) as raised:
        lost.result(DEADLINE)
    assert isinstance(raised.value.__cause__, CancelledError)
    dfk.cleanup()


# -- wishes of the environment --------------------------------------------------------------------


def test_the_environment_overrides_caching(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def one_run() -> tuple[bool, list[Any]]:
        with pc.load(config(runs)) as dfk:
            future = square(6)
            assert future.result(DEADLINE) == 36
            found = Path(dfk.checkpoint_dir)
        return future.from_memo, visible(found, app="square") if found.exists() else []

    monkeypatch.setenv("PARSL_CKPT", "off")
    assert one_run() == (False, [])
    monkeypatch.delenv("PARSL_CKPT")
    assert one_run() == (False, [36])
    assert one_run() == (True, [])
    monkeypatch.setenv("PARSL_CKPT", "off")
    assert one_run() == (False, [])
    monkeypatch.setenv("PARSL_CKPT", "read-only")
    assert one_run() == (True, [])
    monkeypatch.setenv("PARSL_CKPT", "refresh")
    assert one_run() == (False, [36])
    monkeypatch.setenv("PARSL_CKPT", "")
    assert one_run() == (True, [])


def test_observers_hear_of_tasks_and_cannot_break_the_run(runs: Path) -> None:
    heard: list[Any] = []

    def broken(event: Any) -> None:
        raise RuntimeError("an observer")

    with pc.load(config(runs)) as dfk:
        dfk.events.subscribe(broken)
        stop = dfk.events.subscribe(heard.append)
        assert square(2).result(DEADLINE) == 4
        assert square(2).result(DEADLINE) == 4
        assert divide(1, 1).result(DEADLINE) == 1
    states = [(event.app, event.state) for event in heard if event.kind == "task"]
    assert states == [
        ("square", "launched"), ("square", "exec_done"), ("square", "memo_done"),
        ("divide", "launched"), ("divide", "exec_done"),
    ]  # fmt: skip
    assert heard[-1].kind == "end" and callable(stop)


@pytest.mark.parametrize(
    ("room", "base"),
    [("plan", "PlanError"), ("restart", "CheckpointError"), ("pipeline", "PipelineError")],
)
def test_a_room_has_its_errors(room: str, base: str) -> None:
    exported = importlib.import_module(f"parsl_ckpt.{room}")
    for name, error in vars(errors).items():
        if isinstance(error, type) and issubclass(error, getattr(errors, base)):
            assert name in exported.__all__
            assert getattr(exported, name) is error
    assert all(hasattr(exported, name) for name in exported.__all__)


def test_an_error_that_ends_with_another_one_ends_with_one_full_stop() -> None:
    inner = errors.StoreError("The disk is full.", hint="Make room.")
    outer = errors.KernelError(f"f: {inner}.", hint="Call it again.")
    assert str(outer) == "f: The disk is full. Make room. Call it again."
    assert str(pickle.loads(pickle.dumps(outer))) == str(outer)
    assert errors.KernelError("Not in '..'.").message == "Not in '..'."
    assert errors.KernelError("And so on...").message == "And so on..."


@pytest.mark.parametrize("pool", [pc.ThreadPoolExecutor, pc.ProcessPoolExecutor])
def test_a_configuration_may_be_used_again(runs: Path, pool: Any) -> None:
    used = config(runs, executors=[pool(1, label="pool")])
    for run, found in (("000", False), ("001", True)):
        with pc.load(used) as dfk:
            assert dfk.run_id == run and divide(6, 3).result(DEADLINE) == 2
            hit = square(3)
            assert hit.result(DEADLINE) == 9 and hit.from_memo is found


def test_the_end_of_one_run_does_not_end_the_executors_of_another(runs: Path) -> None:
    used = config(runs)
    with pc.DataFlowKernel(used) as one, pc.DataFlowKernel(used) as other:
        one.cleanup()
        assert pc.python_app(divide.__wrapped__, other)(6, 3).result(DEADLINE) == 2


def test_what_is_wrapped_belongs_to_one_run(runs: Path) -> None:
    used = config(runs, executors=[pc.wrap(concurrent.futures.ThreadPoolExecutor(1), "mine")])
    with pc.load(used):
        assert divide(6, 3).result(DEADLINE) == 2
    with pytest.raises(pc.ConfigurationError, match=r"'mine' was given to a run before.*wrap\(\)"):
        pc.load(used)
    assert not (runs / "001").exists(), "a run that cannot begin leaves no directory"


def test_rooms_are_there_without_an_import_of_their_own() -> None:
    code = (
        "import sys, parsl_ckpt as pc; assert 'parsl_ckpt.restart' not in sys.modules;"
        "print(pc.restart.Checkpoint.__name__, pc.plan.Job.__name__, pc.pipeline.Problem.__name__)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment(), capture_output=True, text=True, check=True
    )
    assert done.stdout == "Checkpoint Job Problem\n"
