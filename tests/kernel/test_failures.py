"""What is told of failures, and what a failure does not keep alive."""

from __future__ import annotations

import gc
import pickle

import pytest

from parsl_ckpt.errors import DependencyError
from parsl_ckpt.kernel.failures import MAX_CHAIN, describe, one_line
from tests.kernel.helpers import Rig, spec_of


def fail(x):
    raise ValueError(f"first {x}")


def passed(x, *more):
    return x


FAIL, PASS, CACHED = spec_of(fail), spec_of(passed, cache=False), spec_of(passed)


@pytest.fixture
def rig():
    rig = Rig()
    yield rig
    rig.end()


def chain_of(rig, length, spec):
    future = rig.call(FAIL, 1)
    for _ in range(length):
        future = rig.call(spec, future)
    rig.run()
    return future


@pytest.mark.parametrize("spec", [PASS, CACHED])
def test_a_dependant_fails_with_the_chain_of_causes(rig, spec):
    future = chain_of(rig, 3, spec)
    error = future.exception()
    assert isinstance(error, DependencyError)
    assert future.task_status() == "dep_fail"
    assert isinstance(error.__cause__, ValueError)
    assert error.chain == ("passed (task 2)", "passed (task 1)", "fail (task 0)")
    assert "ValueError: first 1" in str(error) and error.app == "passed"


def test_every_input_that_failed_is_named(rig):
    one, two = rig.call(FAIL, 1), rig.call(FAIL, 2)
    future = rig.call(PASS, one, two)
    rig.run()
    error = future.exception()
    assert [str(cause) for _, cause in error.causes] == ["first 1", "first 2"]
    assert "(and 1 more)" in str(error)


def test_a_chain_of_a_hundred_thousand_dependants_stays_small(rig):
    length = 100_000
    first = rig.call(FAIL, 1)
    future = first
    for _ in range(length):
        future = rig.call(PASS, future)
    rig.run()
    error = future.exception()
    assert len(error.chain) <= MAX_CHAIN
    assert error.chain[0] == f"passed (task {length - 1})" and error.chain[-1] == "fail (task 0)"
    assert len(str(error)) < 2000
    assert error.__cause__ is first.exception()
    assert rig.kernel.state_counts()["dep_fail"] == length
    errors = [one for one in gc.get_objects() if type(one) is DependencyError]
    kept = [one for one in errors if one.app == "passed"]
    assert len(kept) == 1, "an error keeps no other error of the chain"
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


def test_an_error_that_cannot_be_shown_is_named_by_its_type(rig):
    class Mute(Exception):
        def __str__(self):
            raise RuntimeError

    def mute():
        raise Mute

    future = rig.call(PASS, rig.call(spec_of(mute, cache=False)))
    rig.run()
    assert isinstance(future.exception(), DependencyError)
    assert "Mute" in str(future.exception())
    assert one_line(Mute()) == "Mute"
    assert one_line(KeyboardInterrupt()) == "KeyboardInterrupt"
    assert describe(Mute())[0] == "Mute"


def test_failures_are_recorded_and_never_restored(rig):
    rig.call(FAIL, 1)
    rig.run()
    later = rig.again("later")
    again = later.call(FAIL, 1)
    assert not again.from_memo
    assert later.run() == 1
    recorded = [record for _, _, record in later.store.records() if hasattr(record, "error")]
    assert [record.error for record in recorded] == ["ValueError: first 1"] * 2
    assert b"raise ValueError" in recorded[0].traceback


def test_with_lazy_errors_off_the_first_failure_is_raised_at_the_next_call():
    rig = Rig(lazy_errors=False)
    failing, waiting = rig.call(FAIL, 1), rig.call(PASS, 1)
    rig.manual.step()
    rig.settle()
    with pytest.raises(ValueError, match="first 1"):
        rig.call(PASS, 2)
    assert rig.run() == 0, "nothing new is started"
    assert failing.done() and waiting.exception() is not None
    assert rig.idle()
    rig.end()
