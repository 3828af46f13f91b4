"""Memoizers: who is asked when nothing is recorded, what becomes of the answer, who is told."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

import parsl_ckpt as pc
from parsl_ckpt.errors import ConfigurationError, KernelClosedError
from tests.guarantees.helpers import DEADLINE

RAN: list[Any] = []


@pytest.fixture(autouse=True)
def nothing_ran() -> None:
    RAN.clear()


@pc.python_app(cache=True, code="function")
def double(x):
    RAN.append(x)
    return 2 * x


@pc.python_app(cache=True, code="function")
def fails(x):
    RAN.append(x)
    raise ValueError(x)


@pc.join_app(cache=True, code="function")
def joined(x):
    RAN.append(("joined", x))
    return double(x)


@pc.python_app
def uncached(x):
    return x


def known(value: Any) -> Future[Any]:
    future: Future[Any] = Future()
    future.set_result(value)
    return future


class Asked(pc.BasicMemoizer):
    """Answers as it is told to, and notes what it is asked and told."""

    def __init__(self, answer: Callable[[Any], Any] = lambda task: None, **options: Any) -> None:
        super().__init__(**{"checkpoint_mode": "task_exit", **options})
        self.answer = answer
        self.asked: list[Any] = []
        self.told: list[Any] = []
        self.life: list[Any] = []

    def start(self, *, run_dir: str, config_run_dir: str) -> None:
        super().start(run_dir=run_dir, config_run_dir=config_run_dir)
        self.life.append((run_dir, config_run_dir))

    def check_memo(self, task: Any) -> Any:
        self.asked.append((task["func_name"], tuple(task["args"]), dict(task["kwargs"])))
        answer = self.answer(task)
        return super().check_memo(task) if answer is None else answer

    def update_memo_result(self, task: Any, r: Any) -> None:
        self.told.append((tuple(task["args"]), r))

    def update_memo_exception(self, task: Any, e: BaseException) -> None:
        super().update_memo_exception(task, e)
        self.told.append((tuple(task["args"]), str(e)))

    def close(self) -> None:
        self.life.append("closed")


def load(runs: Path, memoizer: pc.Memoizer | None, **options: Any) -> pc.DataFlowKernel:
    return pc.load(pc.Config(run_dir=runs, memoizer=memoizer, **options))


# --- answers --------------------------------------------------------------------------------------


def test_an_answer_is_recorded_as_the_outcome_of_the_call(runs: Path) -> None:
    memoizer = Asked(lambda task: known(77))
    with load(runs, memoizer) as dfk:
        future = double(7)
        assert future.result() == 77
        assert future.from_memo
        assert future.task_status() == "memo_done"
        assert dfk.counts()["memo_done"] == 1
        assert "recorded" in str(future.why())
    assert RAN == []
    with load(runs, Asked(), checkpoint_mode="task_exit") as dfk:
        assert double(7).result() == 77
        assert dfk.config.memoizer.asked == []  # it is recorded here by now
    assert RAN == []


def test_without_an_answer_the_call_is_computed(runs: Path) -> None:
    memoizer = Asked()
    with load(runs, memoizer):
        assert [double(n).result() for n in (1, 1, 2)] == [2, 2, 4]
    assert memoizer.asked == [("double", (1,), {}), ("double", (2,), {})]
    assert RAN == [1, 2]


def test_an_answer_may_take_its_time_and_equal_calls_wait_for_it(runs: Path) -> None:
    later: Future[Any] = Future()
    memoizer = Asked(lambda task: later)
    with load(runs, memoizer):
        first, second = double(1), double(1)
        third = double(first)
        assert not first.done()
        later.set_result(5)
        assert (first.result(), second.result()) == (5, 5)
        assert third.result() == 5
    assert [args for _, args, _ in memoizer.asked] == [(1,), (5,)]
    assert RAN == []


def test_an_error_is_the_outcome_of_the_call(runs: Path) -> None:
    def answer(task: Any) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_exception(KeyError("known to fail"))
        return future

    with load(runs, Asked(answer)):
        future = double(1)
        with pytest.raises(KeyError, match="known to fail"):
            future.result()
        assert future.from_memo
    assert RAN == []


@pytest.mark.parametrize(
    "answer",
    [
        lambda task: 1 / 0,
        lambda task: "no future",
        lambda task: (_ for _ in ()).throw(SystemExit()),
    ],
    ids=["raises", "no future", "exits"],
)
def test_trouble_is_told_once_and_the_call_is_computed(answer: Any, runs: Path) -> None:
    with (
        load(runs, Asked(answer)),
        pytest.warns(pc.CheckpointWarning, match=r"Asked.check_memo failed for double") as warned,
    ):
        assert [double(n).result() for n in range(3)] == [0, 2, 4]
    assert len([one for one in warned if "check_memo" in str(one.message)]) == 1


def test_an_answer_that_is_cancelled_is_none(runs: Path) -> None:
    later: Future[Any] = Future()
    with load(runs, Asked(lambda task: later)):
        future = double(4)
        later.cancel()
        later.set_running_or_notify_cancel()
        assert future.result() == 8
    assert RAN == [4]


def test_a_call_that_waits_for_an_answer_can_be_given_up(runs: Path) -> None:
    later: Future[Any] = Future()
    asked = threading.Event()

    def answer(task: Any) -> Future[Any]:
        asked.set()
        return later

    with load(runs, Asked(answer)) as dfk:
        future = double(4)
        assert asked.wait(DEADLINE)
        assert future.cancel()
        later.set_result(1)
        dfk.wait_for_current_tasks()
    assert RAN == []


def test_the_end_of_the_run_does_not_wait_for_an_answer(runs: Path) -> None:
    with load(runs, Asked(lambda task: Future())):
        future = double(4)
    assert future.cancelled()


def test_an_answer_that_cannot_be_recorded_is_given_all_the_same(runs: Path) -> None:
    lock = (x for x in ())  # a generator: neither pickle nor dill carries it
    with (
        load(runs, Asked(lambda task: known(lock)), exit_mode="skip") as dfk,
        pytest.warns(pc.CheckpointWarning, match="not recorded"),
    ):
        assert double(1).result() is lock
    with pytest.raises(pc.CheckpointNotSavedError):
        dfk.cleanup()


# --- who is asked ---------------------------------------------------------------------------------


def test_inputs_are_values_when_it_is_asked(runs: Path) -> None:
    memoizer = Asked()
    with load(runs, memoizer):
        assert double(x=double(1)).result() == 4
    assert memoizer.asked == [("double", (1,), {}), ("double", (), {"x": 2})]


def test_it_is_not_asked_about_what_is_to_run_or_not_cached(runs: Path) -> None:
    memoizer = Asked(lambda task: known(0))
    with load(runs, memoizer):
        assert double.fresh(1).result() == 2
        assert uncached(1).result() == 1
    assert memoizer.asked == []
    assert memoizer.told == [((1,), 2)]


def test_join_apps_are_asked_about_at_both_levels(runs: Path) -> None:
    memoizer = Asked()
    with load(runs, memoizer):
        assert joined(3).result() == 6
    assert [name for name, _, _ in memoizer.asked] == ["joined", "double"]
    with load(runs / "other", Asked(lambda t: known(1) if t["func_name"] == "joined" else None)):
        assert joined(3).result() == 1
    assert RAN == [("joined", 3), 3]


def test_it_is_asked_before_a_lease_is_waited_for(runs: Path) -> None:
    """Another process computes the call, says its lease; what is known elsewhere is there now."""
    with pc.DataFlowKernel(
        pc.Config(run_dir=runs, checkpoint_mode="task_exit", single_flight="shared")
    ) as other:
        app = pc.python_app(double.__wrapped__, data_flow_kernel=other, cache=True, code="function")
        key = bytes.fromhex(app.key(5))
        claim = other.kernel.sharing.leases.claim(key)
        assert claim.take(0.0)
        memoizer = Asked(lambda task: known(50))
        with load(runs, memoizer, single_flight="shared"):
            assert double(5).result(DEADLINE) == 50
        claim.release()
    assert RAN == []


@pytest.mark.parametrize(("wish", "asked"), [("refresh", 0), ("off", 0), ("read-only", 1)])
def test_the_environment_has_the_last_word(
    wish: str, asked: int, runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PARSL_CKPT", wish)
    memoizer = Asked(lambda task: known(9))
    with load(runs, memoizer):
        assert double(1).result() == (9 if asked else 2)
    assert len(memoizer.asked) == asked


def test_a_memoizer_without_answers_costs_nothing(runs: Path) -> None:
    for memoizer in (None, pc.BasicMemoizer(checkpoint_mode="task_exit")):
        with load(runs, memoizer) as dfk:
            assert dfk.kernel.elsewhere is None
            assert isinstance(dfk.memoizer, pc.BasicMemoizer)


def test_few_threads_ask_however_many_calls_wait(runs: Path) -> None:
    gate, lock, asking, most = threading.Event(), threading.Lock(), [0], [0]

    def answer(task: Any) -> None:
        with lock:
            asking[0] += 1
            most[0] = max(most[0], asking[0])
        assert gate.wait(DEADLINE)
        with lock:
            asking[0] -= 1

    with load(runs, Asked(answer)):
        futures = [double(n) for n in range(200)]
        gate.set()
        assert [future.result(DEADLINE) for future in futures] == [2 * n for n in range(200)]
    assert 1 <= most[0] <= 16


# --- who is told ----------------------------------------------------------------------------------


def test_it_is_told_before_the_future_is_done(runs: Path) -> None:
    memoizer = Asked()
    with load(runs, memoizer, retries=1):
        for n in range(20):
            assert double(n).result() == 2 * n
            assert memoizer.told[-1] == ((n,), 2 * n)
        with pytest.raises(ValueError):
            fails(1).result()
        assert memoizer.told[20:] == [((1,), "1")]  # once, not for each attempt
        assert double(1).result() == 2
    assert len(memoizer.told) == 21  # what is recorded here is nobody's news


def test_trouble_with_telling_fails_nothing(runs: Path) -> None:
    class Broken(pc.BasicMemoizer):
        def update_memo_result(self, task: Any, r: Any) -> None:
            raise RuntimeError("told")

        update_memo_exception = update_memo_result

    with (
        load(runs, Broken(checkpoint_mode="task_exit")),
        pytest.warns(pc.CheckpointWarning, match=r"Broken.update_memo failed"),
    ):
        assert double(1).result() == 2
        with pytest.raises(ValueError):
            fails(1).result()


def test_a_memoizer_need_not_be_a_basic_one(runs: Path) -> None:
    class Own(pc.Memoizer):
        closed = False

        def check_memo(self, task: Any) -> Future[Any]:
            return known(task["kwargs"]["x"])

        def close(self) -> None:
            self.closed = True
            raise OSError("logged")

    memoizer = Own()
    with load(runs, memoizer, checkpoint_mode="task_exit"):
        assert double(x=3).result() == 3
    assert memoizer.closed
    with pytest.raises(TypeError):
        pc.Memoizer()  # type: ignore[abstract]


def test_the_life_of_a_memoizer(runs: Path) -> None:
    memoizer = Asked()
    with load(runs, memoizer):
        assert memoizer.life == [(str(runs / "000"), str(runs))]
    assert memoizer.life[1:] == ["closed"]
    with load(runs, memoizer):  # one after the other is fine
        pass


def test_a_run_that_cannot_begin_with_its_memoizer_lets_go_of_it(runs: Path) -> None:
    class Late(pc.BasicMemoizer):
        def start(self, **places: Any) -> None:
            raise OSError("not there")

    memoizer = Late()
    for _ in range(2):
        with pytest.raises(OSError, match="not there"):
            load(runs, memoizer)
    assert list(runs.iterdir()) == []  # nor is anything left of the run


# --- what Parsl's has -----------------------------------------------------------------------------


def test_in_run_failures_are_remembered_if_that_is_asked_for(runs: Path) -> None:
    for wanted in (True, False):
        RAN.clear()
        with load(runs, pc.BasicMemoizer(memoize_exceptions=wanted)):
            for _ in range(3):
                with pytest.raises(ValueError):
                    fails(1).result()
        assert len(RAN) == (1 if wanted else 3)


def test_checkpoint_saves_now(runs: Path) -> None:
    memoizer = pc.BasicMemoizer(checkpoint_mode="manual")
    with pytest.raises(KernelClosedError):
        memoizer.checkpoint()
    with load(runs, memoizer) as dfk:
        double(1).result()
        memoizer.checkpoint()
        with pc.Store.open(None, sources=[dfk.checkpoint_dir]) as seen:
            assert seen.loaded[0][1] == 1
    with pytest.raises(KernelClosedError):
        memoizer.checkpoint()


def test_one_memoizer_serves_one_run_at_a_time(runs: Path) -> None:
    memoizer = pc.BasicMemoizer()
    with (
        load(runs, memoizer),
        pytest.raises(ConfigurationError, match="under way") as caught,
    ):
        pc.DataFlowKernel(pc.Config(run_dir=runs, memoizer=memoizer))
    assert caught.value.fields["field"] == "memoizer"


SAID = {
    "checkpoint_mode": "periodic",
    "checkpoint_period": "00:00:10",
    "checkpoint_files": ["elsewhere"],
}


@pytest.mark.parametrize("name", SAID)
def test_what_the_memoizer_says_holds(name: str) -> None:
    config = pc.Config(memoizer=pc.BasicMemoizer(**{name: SAID[name]}))
    assert getattr(config, name) == SAID[name]
    again = pc.Config(memoizer=pc.BasicMemoizer(**{name: SAID[name]}), **{name: SAID[name]})
    assert getattr(again, name) == SAID[name]


def test_memoize_is_app_cache(runs: Path) -> None:
    config = pc.Config(memoizer=pc.BasicMemoizer(memoize=False))
    assert config.app_cache is False
    with load(runs, Asked(lambda task: known(1), memoize=False)):
        assert [double(1).result(), double(1).result()] == [2, 2]
    assert RAN == [1, 1]


@pytest.mark.parametrize(
    ("name", "here", "there"),
    [
        ("checkpoint_mode", "task_exit", "dfk_exit"),
        ("checkpoint_period", 10, "00:00:20"),
        ("checkpoint_files", ["a"], []),
    ],
)
def test_what_contradicts_the_memoizer_is_refused_by_name(name: str, here: Any, there: Any) -> None:
    with pytest.raises(ConfigurationError, match="contradicts") as caught:
        pc.Config(memoizer=pc.BasicMemoizer(**{name: there}), **{name: here})
    assert caught.value.fields["field"] == name
    assert name in caught.value.hint


@pytest.mark.parametrize(
    ("name", "wrong"),
    [("checkpoint_mode", "often"), ("checkpoint_period", "ten"), ("checkpoint_files", "one")],
)
def test_what_is_wrong_with_a_memoizer_is_told_by_name(name: str, wrong: Any) -> None:
    with pytest.raises(ConfigurationError) as caught:
        pc.Config(memoizer=pc.BasicMemoizer(**{name: wrong}))
    assert caught.value.fields["field"] == name
