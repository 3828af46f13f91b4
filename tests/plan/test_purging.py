"""Values between calls leave memory when nobody needs them, and come back when asked for."""

from __future__ import annotations

import concurrent.futures as cf
import gc
import threading
import weakref
from dataclasses import replace

import pytest

from parsl_ckpt.identity.address import Addresser, Binder
from parsl_ckpt.identity.code import CodeIdentity
from parsl_ckpt.kernel.futures import PURGED
from parsl_ckpt.plan.plan import Plan
from tests.kernel.helpers import DEADLINE, Rig, outcome, spec_of, until

ALIVE: weakref.WeakSet[Bulk] = weakref.WeakSet()
RAN: list[str] = []


class Bulk:
    """A value whose life can be watched."""

    def __init__(self, rows):
        self.rows = rows

    def __getitem__(self, name):
        return self if name == "all" else self.rows


def bulk(n):
    RAN.append("bulk")
    made = Bulk([n] * 3)
    ALIVE.add(made)
    return made


def total(one):
    RAN.append("total")
    return sum(one.rows)


def size(one):
    RAN.append("size")
    return len(one.rows)


def named(fn, version=""):
    """An app whose code counts by its name: what it reaches, the list of what ran, changes."""
    code, binder = CodeIdentity(fn, "name"), Binder(fn, (), fn.__name__)
    return replace(spec_of(fn), addresser=Addresser(fn.__name__, code, binder, version))


BULK, TOTAL, SIZE = map(named, (bulk, total, size))
PASSING = replace(BULK, persist=False)
UNCACHED = spec_of(bulk, cache=False)


@pytest.fixture
def rig():
    RAN.clear()
    rig = Rig()
    yield rig
    assert rig.end() == []


def plan_of(rig, spec=BULK, want=None, part=None):
    plan = Plan(rig.kernel, rig.kernel.desk, None)
    with plan:
        one = rig.call(spec, 2)
        taken = one if part is None else one[part]
        last = rig.call(TOTAL, taken), rig.call(SIZE, taken)
        if want is not None:
            plan.want(*last, *(one, taken)[:want])
    plan.run()
    return one, taken, *last


def alive():
    gc.collect()
    return len(ALIVE)


def test_a_recorded_value_leaves_and_is_decoded_when_it_is_asked_for(rig):
    one, _, *last = plan_of(rig)
    rig.run()
    assert [outcome(future) for future in last] == [6, 3]
    assert alive() == 0
    assert one.done() and one.result().rows == [2, 2, 2]
    assert one.result() is one.result()
    assert RAN.count("bulk") == 1
    assert (one.task_status(), one.from_memo) == ("exec_done", False)


def test_a_value_stays_until_the_last_call_that_takes_it_is_over(rig):
    one, *_ = plan_of(rig)
    rig.settle()
    rig.manual.step()
    rig.settle()
    assert one._phase == "FINISHED"
    rig.manual.step()
    rig.settle()
    assert len(rig.manual) == 1 and one._phase == "FINISHED"
    rig.run()
    assert one._result is PURGED


def test_what_is_wanted_stays(rig):
    one, *_ = plan_of(rig, want=1)
    rig.run()
    assert one._lazy is None and alive() == 1
    assert one.result() in ALIVE


def test_a_value_that_is_not_kept_leaves_and_is_computed_when_it_is_asked_for(rig):
    one, _, *last = plan_of(rig, PASSING)
    rig.run()
    assert alive() == 0 and [outcome(future) for future in last] == [6, 3]
    assert not one.done()  # asking has begun it
    rig.run()
    assert outcome(one).rows == [2, 2, 2] and RAN.count("bulk") == 2


def test_a_value_that_is_not_kept_stays_for_who_has_waited_for_it(rig):
    told = []
    plan = Plan(rig.kernel, rig.kernel.desk, None)
    with plan:
        one = rig.call(PASSING, 2)
        rig.call(TOTAL, one)
    plan.run()
    one.add_done_callback(told.append)
    rig.run()
    until(lambda: told)  # callbacks have a thread of their own
    assert told == [one] and one.done() and RAN.count("bulk") == 1


def test_a_value_that_nothing_can_give_again_stays(rig):
    one, *_ = plan_of(rig, UNCACHED)
    rig.run()
    assert alive() == 1 and one.result().rows == [2, 2, 2]


@pytest.mark.parametrize("spec", [BULK, PASSING], ids=["recorded", "not kept"])
def test_parts_of_a_value_leave_with_it(rig, spec):
    one, part, *last = plan_of(rig, spec, part="all")
    rig.run()
    assert [outcome(future) for future in last] == [6, 3]
    assert alive() == 0
    part.done()
    rig.run()
    assert outcome(part).rows == outcome(one).rows == [2, 2, 2]


def test_a_part_that_is_wanted_keeps_the_value(rig):
    _, part, *_ = plan_of(rig, part="all", want=2)
    rig.run()
    assert part._result in ALIVE


def test_a_later_call_takes_a_value_that_has_left(rig):
    one, *_ = plan_of(rig)
    rig.run()
    again = rig.call(named(total, version="2"), one)
    rig.run()
    assert outcome(again) == 6 and RAN.count("bulk") == 1


def test_futures_of_a_plan_can_be_waited_for_after_their_values_have_left(rig):
    one, *last = plan_of(rig)
    rig.run()
    assert cf.wait([one, *last], DEADLINE).not_done == set()


def test_whoever_looks_while_a_value_leaves_gets_it(rig):
    plan = Plan(rig.kernel, rig.kernel.desk, None)
    with plan:
        ones = [rig.call(BULK, n) for n in range(100)]
        for one in ones:
            rig.call(TOTAL, one)
    plan.run()
    wrong = []

    def look(ones):
        for one in ones:
            for _ in range(20):
                if one.result(DEADLINE).rows != [ones.index(one)] * 3:
                    wrong.append(one)

    threads = [threading.Thread(target=look, args=(ones,)) for _ in range(3)]
    for thread in threads:
        thread.start()
    rig.run()
    for thread in threads:
        thread.join(DEADLINE)
    assert wrong == [] and not any(thread.is_alive() for thread in threads)
