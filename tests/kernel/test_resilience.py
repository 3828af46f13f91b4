"""What is tried again."""

from __future__ import annotations

import threading

import pytest

from parsl_ckpt.errors import ConfigurationError, ParslCkptError, WorkerLostError
from parsl_ckpt.kernel.resilience import RetryPolicy
from tests.kernel.helpers import DEADLINE, Rig, outcome, spec_of, until


def divide(a, b):
    return a / b


def test_each_failure_costs_one_without_a_handler():
    policy = RetryPolicy(retries=2)
    assert policy.cost(ValueError(), {}) == 1.0
    assert [policy.allows(total) for total in (1, 2, 3)] == [True, True, False]


def test_a_worker_that_died_is_a_reason_to_try_again_and_our_own_refusals_are_not():
    policy = RetryPolicy(retries=5)
    assert policy.cost(WorkerLostError("gone"), {}) == 1.0
    assert not policy.allows(policy.cost(ParslCkptError("never"), {}))


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(1), GeneratorExit()])
def test_a_wish_to_stop_is_never_retried(error):
    policy = RetryPolicy(retries=5, handler=lambda error, record: 0.0)
    assert not policy.allows(policy.cost(error, {}))


def test_a_handler_says_what_a_failure_costs():
    policy = RetryPolicy(retries=1, handler=lambda error, record: record["fail_count"] / 4)
    assert policy.cost(ValueError(), {"fail_count": 2}) == 0.5


def steps(rig, *errors):
    """Report attempts as failed, one after another."""
    for error in errors:
        until(lambda: rig.manual.waiting)
        assert rig.manual.fail(error)
    rig.settle()


def test_a_task_is_tried_again_until_it_succeeds():
    rig = Rig(retry=RetryPolicy(retries=2))
    future = rig.call(spec_of(divide), 6, 3)
    steps(rig, ValueError("1"), ValueError("2"))
    assert not future.done()
    until(lambda: rig.manual.waiting)
    assert rig.run() == 1
    assert outcome(future) == 2
    (_, _, record) = next(r for r in rig.store.records() if hasattr(r[2], "tries"))
    assert record.tries == 3


def test_a_task_fails_with_its_last_error_when_its_retries_are_spent():
    rig = Rig(retry=RetryPolicy(retries=1))
    future = rig.call(spec_of(divide), 6, 3)
    steps(rig, ValueError("1"), ValueError("2"))
    assert str(future.exception(DEADLINE)) == "2"
    assert rig.idle()


def test_a_handler_is_given_the_task_by_parsls_names_and_may_block_without_delaying_others():
    gate, records, begun = threading.Event(), [], threading.Event()

    def handler(error, record):
        records.append(record)
        begun.set()
        gate.wait(DEADLINE)
        return 1.0

    rig = Rig(retry=RetryPolicy(retries=1, handler=handler))
    bad = rig.call(spec_of(divide), 1, 0)
    rig.manual.run()
    assert begun.wait(DEADLINE)
    good = rig.call(spec_of(divide), 4, 2)
    chained = rig.call(spec_of(divide), good, 2)
    rig.run()
    assert outcome(chained) == 1.0
    assert not bad.done()
    gate.set()
    until(lambda: rig.manual.waiting)
    rig.run()
    assert isinstance(bad.exception(DEADLINE), ZeroDivisionError)
    assert records[0]["func_name"] == "divide"
    assert records[0]["args"] == (1, 0)
    assert records[0]["try_id"] == 0
    assert [record["fail_count"] for record in records] == [1, 2]


@pytest.mark.parametrize("kind", [RuntimeError, SystemExit])
def test_a_handler_that_raises_fails_the_task_with_that(kind):
    def handler(error, record):
        raise kind("in the handler")

    rig = Rig(retry=RetryPolicy(retries=1, handler=handler))
    future = rig.call(spec_of(divide), 1, 0)
    rig.run()
    assert isinstance(future.exception(timeout=DEADLINE), kind)
    assert isinstance(future.exception().__cause__, ZeroDivisionError)
    assert rig.idle()


def test_equal_calls_share_failure_and_retries():
    rig = Rig(retry=RetryPolicy(retries=1))
    one, two = rig.call(spec_of(divide), 1, 0), rig.call(spec_of(divide), 1, 0)
    assert rig.run() == 2
    assert one.exception(DEADLINE) is two.exception(DEADLINE)


def test_a_failure_is_not_remembered_by_the_memo():
    rig = Rig()
    rig.call(spec_of(divide), 1, 0)
    assert rig.run() == 1
    again = rig.call(spec_of(divide), 1, 0)
    assert rig.run() == 1
    assert isinstance(again.exception(DEADLINE), ZeroDivisionError)


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_whatever_a_task_raises_fails_that_task_alone(kind):
    def stop(x):
        raise kind("of the task")

    rig = Rig(retry=RetryPolicy(retries=3))
    future, other = rig.call(spec_of(stop), 1), rig.call(spec_of(divide), 4, 2)
    assert rig.run() == 2
    assert isinstance(future.exception(DEADLINE), kind)
    assert outcome(other) == 2


@pytest.mark.parametrize("cost", ["x", "1", None, b"1", float("nan"), [1]])
def test_a_handler_that_gives_no_number_is_named(cost):
    policy = RetryPolicy(retries=1, handler=lambda error, record: cost)
    with pytest.raises(
        ConfigurationError, match=r"retry_handler gave .* a failure of f, "
    ) as caught:
        policy.cost(ValueError(), {"func_name": "f"})
    assert caught.value.field == "retry_handler" and caught.value.hint
