"""Calls that wait for another kernel's record: in one thread, at times that the test decides."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from typing import Any

import pytest

import parsl_ckpt as pc
from parsl_ckpt.checkpoint import MemoryBackend, Store
from parsl_ckpt.checkpoint.lease import Leases
from parsl_ckpt.errors import AppDefinitionError, ConfigurationError
from parsl_ckpt.identity.address import Addresser, Binder
from parsl_ckpt.identity.code import CodeIdentity
from parsl_ckpt.kernel.ending import Ending
from parsl_ckpt.kernel.kernel import Kernel
from parsl_ckpt.kernel.resilience import RetryPolicy
from parsl_ckpt.kernel.runtime import Runtime
from parsl_ckpt.kernel.sharing import AHEAD, LATEST, TICK
from parsl_ckpt.kernel.task import Spec
from parsl_ckpt.testing.clock import FakeClock
from parsl_ckpt.testing.executors import ManualExecutor

from .helpers import beat_in


class Here:
    """In the place of threads: calls are made at once."""

    def run(self, call: Callable[[], object]) -> None:
        call()

    def carry(self, call: Callable[..., object], *args: Any) -> None:
        call(*args)

    def close(self) -> None:
        pass


class InThisThread(Runtime):
    def porter(self) -> Any:
        return Here()

    def errands(self) -> Any:
        return Here()


class SharedClock(FakeClock):
    """The end of one run does not stop the time of the others."""

    def close(self) -> None:
        pass


class Rig:
    """A run that shares a directory with others."""

    def __init__(self, backend: MemoryBackend, run: str, clock: FakeClock, **options: Any) -> None:
        root = "runs"
        beat_in(backend, f"{root}/{run}", beat=0.0)
        self.store = Store.open(f"{root}/{run}/checkpoint", backend=backend)
        self.store.follow(root, now=clock.now)
        self.manual = ManualExecutor(width=1)
        self.joins = ManualExecutor("joins")
        options.setdefault("leases", Leases(backend, root, run))
        self.kernel = Kernel(
            self.store, {"manual": self.manual}, self.joins, mode="task_exit", clock=clock,
            runtime=InThisThread(), single_flight="shared", **options,
        )  # fmt: skip
        self.ending = Ending(self.kernel, [self.manual, self.joins])

    def call(self, fn: Callable[..., Any], *args: Any, **options: Any) -> Any:
        binder = Binder(fn, (), fn.__name__)
        spec = Spec(
            fn.__name__, fn, cache=True, binder=binder,
            addresser=Addresser(fn.__name__, CodeIdentity(fn, "name"), binder),
            shared=self.kernel.shares(fn.__name__, None), **options,
        )  # fmt: skip
        return self.kernel.submit(spec, args, {})


class World:
    def __init__(self) -> None:
        self.backend = MemoryBackend()
        self.clock = SharedClock()
        self.rigs: list[Rig] = []

    def rig(self, **options: Any) -> Rig:
        rig = Rig(self.backend, f"{len(self.rigs):03d}", self.clock, **options)
        self.rigs.append(rig)
        return rig

    def leases(self) -> int:
        try:
            return len(self.backend.list("runs/leases"))
        except FileNotFoundError:
            return 0


@pytest.fixture
def world() -> Iterator[World]:
    world = World()
    yield world
    for rig in world.rigs:
        rig.ending.end(0.0)
    assert world.leases() == 0


def square(x: int) -> list[int]:
    return [x * x]


def half(x: list[int]) -> float:
    return x[0] / 2


def test_the_second_waits_and_takes_the_record_of_the_first(world: World) -> None:
    one, other = world.rig(), world.rig()
    first, second = one.call(square, 3), other.call(square, 3)
    assert len(one.manual) == 1 and len(other.manual) == 0 and world.leases() == 1
    world.clock.advance(100.0)
    assert not second.done() and len(other.manual) == 0
    one.manual.run()
    assert first.result() == [9] and world.leases() == 0
    world.clock.advance(LATEST)
    assert second.result() == [9] and second.from_memo and len(other.manual) == 0


def test_it_is_asked_for_soon_and_then_less_often(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = world.rig(), world.rig()
    one.call(square, 3)
    looks: list[float] = []
    look = other.store.look
    monkeypatch.setattr(other.store, "look", lambda: looks.append(world.clock.now()) or look())
    other.call(square, 3)
    world.clock.advance(0.1)
    soon = len(looks)
    assert 3 < soon < 40
    world.clock.advance(100.0)
    looks.clear()
    world.clock.advance(10.0)
    assert 15 < len(looks) < 25


def test_equal_calls_of_one_process_wait_together(world: World) -> None:
    one, other = world.rig(), world.rig()
    one.call(square, 3)
    futures = [other.call(square, 3) for _ in range(3)]
    one.manual.run()
    world.clock.advance(LATEST)
    assert [future.result() for future in futures] == [[9]] * 3 and not other.kernel.tasks


def test_what_depends_on_it_is_a_hit_too(world: World) -> None:
    one, other = world.rig(), world.rig()
    chain = one.call(half, one.call(square, 4))
    one.manual.run()
    assert chain.result() == 8.0
    again = other.call(half, other.call(square, 4))
    world.clock.advance(LATEST)
    assert again.result() == 8.0 and len(other.manual) == 0


def test_a_holder_that_fails_lets_the_other_compute(world: World) -> None:
    one, other = world.rig(), world.rig()
    first, second = one.call(square, 3), other.call(square, 3)
    one.manual.fail(ValueError("no"))
    assert isinstance(first.exception(), ValueError)
    world.clock.advance(LATEST)
    assert len(other.manual) == 1 and world.leases() == 1
    other.manual.run()
    assert second.result() == [9] and not second.from_memo


def test_a_holder_that_tries_again_keeps_its_lease(world: World) -> None:
    one, other = world.rig(retry=RetryPolicy(2)), world.rig()
    first, second = one.call(square, 3), other.call(square, 3)
    one.manual.fail(ValueError("no"))
    world.clock.advance(LATEST)
    assert len(one.manual) == 1 and len(other.manual) == 0
    one.manual.run()
    world.clock.advance(LATEST)
    assert first.result() == [9] == second.result()


def test_a_holder_whose_value_cannot_be_recorded_lets_the_other_compute(world: World) -> None:
    def lock(x: int) -> Any:
        import threading

        return threading.Lock()

    one, other = world.rig(), world.rig()
    first, second = one.call(lock, 3), other.call(lock, 3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        one.manual.run()
        world.clock.advance(LATEST)
        other.manual.run()
    assert first.done() and second.done() and second.exception() is None


def test_a_holder_that_is_cancelled_lets_the_other_compute(world: World) -> None:
    one, other = world.rig(), world.rig()
    first, second = one.call(square, 3), other.call(square, 3)
    assert first.cancel() and world.leases() == 0
    world.clock.advance(LATEST)
    other.manual.run()
    assert second.result() == [9]


def test_one_that_waits_can_be_cancelled(world: World) -> None:
    one, other = world.rig(), world.rig()
    one.call(square, 3)
    second = other.call(square, 3)
    assert second.cancel()
    world.clock.advance(LATEST)
    assert not other.kernel.tasks and world.leases() == 1
    with pytest.raises(CancelledError):
        second.result()


def test_of_two_that_wait_one_being_cancelled_leaves_the_other(world: World) -> None:
    one, other = world.rig(), world.rig()
    one.call(square, 3)
    gone, stays = other.call(square, 3), other.call(square, 3)
    assert gone.cancel()
    one.manual.run()
    world.clock.advance(LATEST)
    assert stays.result() == [9] and gone.cancelled()


def test_the_end_gives_up_what_waits(world: World) -> None:
    one, other = world.rig(), world.rig()
    one.call(square, 3)
    second = other.call(square, 3)
    assert other.ending.end(None) == []
    assert second.cancelled() and world.leases() == 1


def test_the_end_of_the_holder_lets_go(world: World) -> None:
    one, other = world.rig(), world.rig()
    first, second = one.call(square, 3), other.call(square, 3)
    assert one.ending.end(None) == [] and first.cancelled() and world.leases() == 0
    world.clock.advance(LATEST)
    other.manual.run()
    assert second.result() == [9]


def test_a_holder_that_dies_is_followed_by_the_one_that_waits(world: World) -> None:
    one, other = world.rig(), world.rig()
    one.call(square, 3)
    second = other.call(square, 3)
    beat_in(world.backend, "runs/000", beat=0.0, ended=1.0)
    world.clock.advance(LATEST)
    other.manual.run()
    assert second.result() == [9]


def test_two_that_begin_with_the_same_calls_share_them(world: World) -> None:
    """No run takes the leases of more than its executors can begin next."""
    one, other = world.rig(), world.rig()
    calls = range(20)
    mine, yours = [one.call(square, n) for n in calls], [other.call(square, n) for n in calls]
    assert len(one.manual) == len(other.manual) == AHEAD
    ran = [0, 0]
    while not all(future.done() for future in (*mine, *yours)):
        for place, rig in enumerate((one, other)):
            ran[place] += rig.manual.step() if len(rig.manual) else 0
        world.clock.advance(TICK)
    assert sum(ran) == len(calls) and min(ran) > len(calls) // 4
    assert [future.result() for future in mine] == [future.result() for future in yours]


def test_a_task_that_has_begun_makes_room_for_those_it_waits_for(world: World) -> None:
    one = world.rig()
    for n in range(AHEAD):
        one.call(square, n)
    behind = one.call(square, 99)
    assert len(one.manual) == AHEAD
    held = [attempt for attempt, _ in one.manual.waiting]
    assert all(attempt.claim() for attempt in held)  # they run, and wait for the one behind
    world.clock.advance(TICK)
    assert len(one.manual) == AHEAD + 1
    one.manual.step(AHEAD)
    assert behind.result() == [99 * 99]
    for attempt, finished in list(one.manual.waiting):
        finished(attempt, [0], None)
    one.manual.waiting.clear()


def test_leases_that_cannot_be_written_are_told_of_once_and_computed_without(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = world.rig(), world.rig()
    make = world.backend.make_directory

    def refuse(path: str, *, durable: bool = False) -> None:
        if path.endswith("leases"):
            raise PermissionError(13, "Permission denied", path)
        make(path, durable=durable)

    monkeypatch.setattr(world.backend, "make_directory", refuse)
    with pytest.warns(UserWarning, match=r"Leases cannot be written.*Permission denied"):
        futures = [one.call(square, n) for n in (1, 2)]
    one.manual.run()
    assert [future.result() for future in futures] == [[1], [4]]
    assert not other.kernel.tasks


def test_whatever_goes_wrong_with_a_lease_the_call_is_computed(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    one = world.rig()
    monkeypatch.setattr("parsl_ckpt.checkpoint.lease.heartbeat.read", None)
    monkeypatch.setattr(world.backend, "create", lambda path: 1 / 0 if "leases" in path else None)
    future = one.call(square, 3)
    monkeypatch.undo()
    one.manual.run()
    assert future.result() == [9] and "computed without" in caplog.text


@pytest.mark.parametrize("options", [{"lookup": False}, {"record": False}])
def test_without_looking_up_or_recording_there_is_nothing_to_share(
    world: World, options: dict[str, bool]
) -> None:
    one = world.rig(**options)
    future = one.call(square, 3)
    assert len(one.manual) == 1 and world.leases() == 0
    one.manual.run()
    assert future.result() == [9]


def test_a_run_that_cannot_share_says_so_once_and_computes(world: World) -> None:
    one = world.rig(leases=None)
    with pytest.warns(UserWarning, match="task_exit") as told:
        futures = [one.call(square, n) for n in range(3)]
    one.manual.run()
    assert len(told) == 1 and [future.result() for future in futures] == [[0], [1], [4]]


# -- how it is asked for ---------------------------------------------------------------------------


@pytest.mark.parametrize("mode", [None, "dfk_exit", "periodic", "manual"])
def test_sharing_takes_records_that_are_visible_at_once(mode: Any) -> None:
    with pytest.raises(ConfigurationError, match="task_exit") as caught:
        pc.Config(checkpoint_mode=mode, single_flight="shared")
    assert "single_flight" in str(caught.value)


@pytest.mark.parametrize("files", [[], ["elsewhere"]])
def test_sharing_with_nobody_is_refused(runs: Any, files: list[str]) -> None:
    config = pc.Config(run_dir=runs, checkpoint_mode="task_exit", single_flight="shared")
    with pytest.raises(ConfigurationError, match="leaves other runs out"):
        pc.DataFlowKernel(config, checkpoint_files=files)
    assert not runs.exists()


def test_an_app_may_ask_for_itself_or_decline(runs: Any) -> None:
    @pc.python_app(cache=True, single_flight="shared")
    def expensive(x: int) -> int:
        return x + 1

    @pc.python_app(cache=True, single_flight="process")
    def cheap(x: int) -> int:
        return x + 2

    with pc.load(pc.Config(run_dir=runs, checkpoint_mode="task_exit")) as dfk:
        assert expensive(1).result() == 2 and cheap(1).result() == 3
        assert expensive._described[1].shared and not cheap._described[1].shared
    assert dfk.kernel.sharing is not None and dfk.kernel.sharing.leases.held == 0
    config = pc.Config(run_dir=runs, checkpoint_mode="task_exit", single_flight="shared")
    with pc.load(config):
        assert expensive(2).result() == 3 and cheap(2).result() == 4
        assert not cheap._described[1].shared
    with pytest.warns(UserWarning, match="expensive asks for"), pc.load(pc.Config(run_dir=runs)):
        assert expensive(3).result() == 4


def test_a_way_to_share_that_is_not_known_is_refused() -> None:
    with pytest.raises(AppDefinitionError, match="single_flight"):
        pc.python_app(cache=True, single_flight="some")(square)
    with pytest.raises(AppDefinitionError, match="cache=True"):
        pc.python_app(single_flight="shared")(square)
