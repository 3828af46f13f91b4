"""Outcomes that are not recorded stand for themselves in lineages; nothing wrong comes of it."""

from __future__ import annotations

import gc
from dataclasses import replace

import pytest

from parsl_ckpt.apps.app import App, python_app
from parsl_ckpt.checkpoint.format import Result, Unkept
from parsl_ckpt.errors import AppDefinitionError
from parsl_ckpt.identity.address import Addresser, Binder
from parsl_ckpt.identity.code import CodeIdentity
from parsl_ckpt.kernel.futures import AppFuture
from parsl_ckpt.kernel.problems import CheckpointWarning
from parsl_ckpt.kernel.unkept import AUTO, Costs, worth_keeping
from tests.kernel.helpers import Rig, outcome, spec_of

RAN: list[str] = []


def source(n):
    RAN.append("source")
    return [n]


def bulky(rows):
    RAN.append("bulky")
    return rows * 3


def bulkier(rows):
    RAN.append("bulkier")
    return [*rows, 0]


def total(rows):
    RAN.append("total")
    return sum(rows)


def count(rows):
    RAN.append("count")
    return len(rows)


def spoil(rows):
    RAN.append("spoil")
    rows.append(99)
    return len(rows)


def named(fn, **options):
    """An app whose code counts by its name: what it reaches, the list of what ran, changes."""
    addresser = Addresser(fn.__name__, CodeIdentity(fn, "name"), Binder(fn, (), fn.__name__))
    return replace(spec_of(fn), addresser=addresser, **options)


SOURCE, TOTAL, COUNT, SPOIL = map(named, (source, total, count, spoil))
BULKY, BULKIER = (named(fn, persist=False) for fn in (bulky, bulkier))


@pytest.fixture(autouse=True)
def ran():
    RAN.clear()
    return RAN


def kinds(store):
    return [
        (record.app, type(record))
        for _, _, record in store.records()
        if isinstance(record, (Result, Unkept))
    ]


def chain(rig, n=1):
    """source -> bulky (not kept) -> total"""
    rows = rig.call(SOURCE, n)
    wide = rig.call(BULKY, rows)
    return rows, wide, rig.call(TOTAL, wide)


# -- what is recorded ------------------------------------------------------------------------------


def test_the_outcome_is_not_recorded_but_that_there_was_one():
    rig = Rig()
    chain(rig)
    rig.run()
    assert kinds(rig.store) == [("source", Result), ("bulky", Unkept), ("total", Result)]
    unkept = [record for _, _, record in rig.store.records() if type(record) is Unkept]
    source_id = next(i for _, i, record in rig.store.records() if type(record) is Result)
    assert [record for _, record in unkept[0].parents] == [source_id]
    assert rig.end() == []


def test_what_was_computed_from_it_is_restored_by_lineage_while_it_runs():
    rig = Rig()
    chain(rig)
    rig.run()
    later = rig.again("2")
    RAN.clear()
    rows, wide, last = chain(later)
    assert (rows.done(), wide.done(), last.done()) == (True, False, True)
    assert outcome(last) == 3
    assert later.run() == 1 and RAN == ["bulky"]  # an eager call is made at once
    assert outcome(wide) == [1, 1, 1]
    assert kinds(later.store).count(("bulky", Unkept)) == 1  # word is left once
    assert later.end() == []


def test_without_futures_before_it_the_same():
    rig = Rig()
    rig.call(COUNT, rig.call(BULKY, [7]))
    rig.run()
    later = rig.again("2")
    assert later.call(COUNT, later.call(BULKY, [7])).done()
    later.run()
    assert later.end() == []


def test_a_row_of_such_outcomes_does_not_hide_what_is_behind_it():
    rig = Rig()

    def calls(rig, n):
        return rig.call(COUNT, rig.call(BULKIER, rig.call(BULKY, rig.call(SOURCE, n))))

    calls(rig, 1)
    rig.run()
    later = rig.again("2")
    same, other = calls(later, 1), calls(later, 2)
    assert (same.done(), other.done()) == (True, False)
    later.run()
    assert (outcome(same), outcome(other)) == (4, 4)
    assert later.end() == []


def test_equal_calls_under_way_are_one():
    rig = Rig()
    one, two = rig.call(BULKY, [1]), rig.call(BULKY, [1])
    assert rig.run() == 1
    assert outcome(one) == outcome(two) == [1, 1, 1]
    assert rig.end() == []


def test_what_was_recorded_before_the_option_was_given_is_still_used():
    rig = Rig()
    rig.call(replace(BULKY, persist=True), [1])
    rig.run()
    assert rig.call(BULKY, [1]).done()
    assert rig.end() == []


def table(n):
    RAN.append("table")
    return {"rows": [n] * 4, "more": {"rows": [n]}}


def test_what_was_computed_from_a_part_of_it_is_restored_by_lineage():
    def calls(rig):
        whole = rig.call(named(table, persist=False), 2)
        return rig.call(TOTAL, whole["rows"]), rig.call(COUNT, whole["more"]["rows"])

    rig = Rig()
    first = calls(rig)
    rig.run()
    assert [outcome(future) for future in first] == [8, 1]
    later = rig.again("2")
    second = calls(later)
    assert [future.done() for future in second] == [True, True]
    later.run()
    assert [outcome(future) for future in second] == [8, 1]
    assert later.end() == []


def test_a_part_of_what_was_changed_is_not_what_a_consumer_is_filed_under():
    rig = Rig()
    whole = rig.call(named(table, persist=False), 2)
    rig.run()
    part = whole["rows"]
    rig.settle()
    outcome(part).append(5)
    with pytest.warns(CheckpointWarning, match="was changed"):
        rig.call(TOTAL, part)
        rig.run()
    assert ("total", Result) not in kinds(rig.store)
    assert rig.end() == []


def test_a_part_whose_whole_is_gone_is_filed_by_its_value_alone():
    rig = Rig()
    whole = rig.call(named(table, persist=False), 2)
    rig.run()
    part = whole["rows"]
    rig.run()
    del whole
    gc.collect()
    rig.call(TOTAL, part)
    rig.run()
    totals = [record for _, _, record in rig.store.records() if type(record) is Result]
    assert [(record.app, record.lineage) for record in totals] == [("total", None)]
    assert rig.end() == []


# -- what must not survive -------------------------------------------------------------------------


def test_a_consumer_does_not_survive_an_ancestor_that_was_replaced_behind_it():
    rig = Rig()
    chain(rig)
    rig.run()
    later = rig.again("2")
    later.kernel.submit(SOURCE, (1,), {}, True)  # made anew: another record, an equal value
    later.run()
    last = chain(later)[2]
    assert not last.done()  # by lineage it is not known; by its value it is
    RAN.clear()
    later.run()
    assert outcome(last) == 3 and RAN == ["bulky"]
    newest = chain(later)[2]
    assert newest.done()  # and from then on by lineage again
    later.run()
    assert later.end() == []


def test_a_consumer_does_not_survive_an_ancestor_that_was_forgotten_behind_it():
    rig = Rig()
    chain(rig)
    rig.run()
    later = rig.again("2")
    assert later.kernel.calls.forget(SOURCE, (1,), {}) == 1
    RAN.clear()
    last = chain(later)[2]
    assert not last.done()
    later.run()
    assert RAN == ["source", "bulky"] and outcome(last) == 3
    assert later.end() == []


@pytest.mark.parametrize("how", ["forget", "invalidate", "fresh"])
def test_a_consumer_does_not_survive_it_being_forgotten_or_made_anew_itself(how):
    rig = Rig()
    chain(rig)
    rig.run()
    later = rig.again("2")
    if how == "forget":
        assert later.kernel.calls.forget(BULKY, (later.call(SOURCE, 1),), {}) == 1
    elif how == "invalidate":
        assert later.store.invalidate("bulky") == 1
    else:
        later.kernel.submit(BULKY, (later.call(SOURCE, 1),), {}, True)
        later.run()
    last = chain(later)[2]
    assert not last.done()
    later.run()
    assert outcome(last) == 3
    assert later.end() == []


def test_a_call_made_anew_takes_the_place_of_one_that_was_recorded():
    rig = Rig()
    rig.call(replace(BULKY, persist=True), [1])
    rig.run()
    rig.kernel.submit(BULKY, ([1],), {}, True)
    rig.run()
    assert not rig.call(BULKY, [1]).done()
    rig.run()
    assert rig.end() == []


def test_another_consumer_is_not_restored_with_what_was_computed_from_an_earlier_value():
    rig = Rig()
    wide = rig.call(BULKY, [1])
    rig.call(TOTAL, wide)
    rig.call(COUNT, wide)
    rig.run()
    again = rig.kernel.submit(BULKY, ([1],), {}, True)
    rig.call(TOTAL, again)
    rig.run()
    assert not rig.call(COUNT, rig.call(BULKY, [1])).done()
    rig.run()
    assert rig.end() == []


def test_what_a_caller_changes_is_not_what_a_consumer_is_filed_under():
    rig = Rig()
    wide = rig.call(BULKY, [1])
    rig.run()
    outcome(wide).append(5)
    with pytest.warns(CheckpointWarning, match=r"value of bulky.*was changed"):
        last = rig.call(TOTAL, wide)
        rig.run()
    assert outcome(last) == 8
    assert ("total", Result) not in kinds(rig.store)
    again = rig.call(TOTAL, rig.call(BULKY, [1]))
    rig.run()
    assert outcome(again) == 3
    assert rig.end() == []


def test_a_consumer_that_changes_it_is_not_recorded_nor_is_what_takes_it_afterwards():
    rig = Rig()
    wide = rig.call(BULKY, [1])
    with pytest.warns(CheckpointWarning, match="Have whoever changes it change a copy"):
        rig.call(SPOIL, wide)
        rig.run()
    with pytest.warns(CheckpointWarning, match="was changed"):
        last = rig.call(COUNT, wide)
        rig.run()
    assert outcome(last) == 4
    assert kinds(rig.store) == [("bulky", Unkept)]
    assert rig.end() == []


class Opaque:
    def __reduce_ex__(self, protocol):
        raise TypeError("this has no identity")

    def __len__(self):
        return 5


def opaque():
    return Opaque()


def test_a_value_without_identity_is_told_of_and_costs_only_records():
    rig = Rig()
    spec = replace(spec_of(opaque), persist=False)
    with pytest.warns(CheckpointWarning, match="not recorded, and has no identity"):
        last = rig.call(COUNT, rig.call(spec))
        rig.run()
    assert outcome(last) == 5
    assert kinds(rig.store) == []
    assert rig.end() == []


def test_nothing_is_written_where_recording_is_off():
    rig = Rig(record=False)
    chain(rig)
    rig.run()
    assert kinds(rig.store) == []
    assert rig.end() == []


# -- what pays -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("computed", "costs", "kept"),
    [
        (0.0, None, True),
        (1.0, Costs(0.4, 0.5), True),
        (1.0, Costs(0.5, 0.5), False),
        (1.0, Costs(0.0, 1.1), False),
    ],
)
def test_an_outcome_is_worth_keeping_if_computing_it_takes_longer_than_writing_and_reading_it(
    computed, costs, kept
):
    assert worth_keeping(computed, costs) is kept


class Slow:
    """Takes three seconds to encode and two to decode, on the clock of a rig."""

    clock = None

    def __init__(self, n):
        self.n = n

    def __reduce__(self):
        Slow.clock.advance(3.0)
        return _slow, (self.n,)


def _slow(n):
    Slow.clock.advance(2.0)
    return Slow(n)


def slow(n):
    return Slow(n)


def test_auto_measures_the_first_outcome_and_then_keeps_what_took_longer():
    rig = Rig()
    Slow.clock = rig.clock
    spec = replace(spec_of(slow), persist=AUTO)
    calls: list[AppFuture] = []
    for n, seconds in enumerate([1.0, 4.0, 6.0, 1.0]):
        calls.append(rig.call(spec, n))
        rig.settle()
        attempt, finished = rig.manual.waiting.popleft()
        assert attempt.claim()
        attempt.seconds = seconds
        finished(attempt, slow(n), None)
        rig.settle()
    assert rig.kernel.unkept.costs["slow"].read == 2.0
    assert [kind for _, kind in kinds(rig.store)] == [Result, Unkept, Result, Unkept]
    assert [outcome(call).n for call in calls] == [0, 1, 2, 3]
    assert rig.end() == []


# -- the option ------------------------------------------------------------------------------------


def test_an_app_that_is_not_kept_is_cached_without_saying_so():
    for persist in (False, AUTO):
        assert python_app(bulky, persist=persist)._options.cache
        assert App("python", persist=persist)(bulky)._options.cache
    assert not python_app(bulky)._options.cache


@pytest.mark.parametrize(
    ("options", "parameter"),
    [
        ({"persist": "sometimes"}, "persist"),
        ({"persist": None}, "persist"),
        ({"persist": False, "single_flight": "shared"}, "single_flight"),
        ({"persist": False, "keep_arguments": True}, "keep_arguments"),
        ({"tag": 3}, "tag"),
        ({"lineage": "no"}, "lineage"),
        ({"lineage": None}, "lineage"),
    ],
)
def test_wrong_options_are_refused_by_name(options, parameter):
    with pytest.raises(AppDefinitionError) as caught:
        python_app(bulky, **options)
    assert caught.value.fields["parameter"] == parameter
