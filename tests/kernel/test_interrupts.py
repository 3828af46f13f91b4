"""Ctrl-C between any two bytecodes of a caller leaves a kernel that works."""

from __future__ import annotations

from fractions import Fraction

import pytest

from tests.kernel.helpers import Interruption, Rig, outcome, spec_of


def add(x, y=1):
    return x + y


def pair(x):
    return {"a": x, "b": [x]}


def plain(rig, n):
    return rig.call(spec_of(add, cache=False), n)


def keyed(rig, n):
    return rig.call(KEYED, n)


def waiting(rig, n):
    return rig.call(KEYED, [n, rig.first][1], y=n)


def opaque(rig, n):
    return rig.call(KEYED, n, y=Fraction(1, 2))


def lifted(rig, n):
    return rig.call(KEYED, rig.whole["b"][0], y=n)


def joined(rig, n):
    rig.call(KEYED, n)  # an equal call is under way
    return rig.call(KEYED, n)


KEYED = spec_of(add)
PAIR = spec_of(pair)
CALLS = {call.__name__: call for call in (plain, keyed, waiting, opaque, lifted, joined)}


@pytest.mark.parametrize("name", CALLS)
def test_a_call_interrupted_anywhere_can_be_made_again(name):
    call = CALLS[name]
    rig = Rig()
    rig.first = rig.call(KEYED, -1)
    rig.whole = rig.call(PAIR, -1)
    rig.run()
    n, interrupted = 0, True
    while interrupted:
        n += 1
        interrupted = Interruption(n).call(lambda n=n: call(rig, n))
        future = call(rig, n)
        rig.settle()
        rig.run()
        assert future.done(), f"lost after an interruption at bytecode {n}"
        assert type(outcome(future)) in (int, Fraction)
        if not rig.idle():  # asking is what launches what the interrupted call left behind
            rig.run()
        assert rig.idle(), f"never idle after an interruption at bytecode {n}"
    assert n > 20  # it was interrupted at all
    assert rig.kernel.tasks == {}
    assert rig.end() == []


@pytest.mark.parametrize("name", ["keyed", "lifted"])
def test_a_restored_call_interrupted_anywhere_can_be_made_again(name):
    call = CALLS[name]
    n, interrupted = 0, True
    first = Rig()
    first.first, first.whole = first.call(KEYED, -1), first.call(PAIR, -1)
    first.run()
    call(first, 7)
    first.run()
    expected = outcome(call(first, 7))
    while interrupted:
        n += 3
        rig = Rig(backend=first.backend, run=f"x{n}", sources=[first.path])
        rig.first, rig.whole = rig.call(KEYED, -1), rig.call(PAIR, -1)
        interrupted = Interruption(n).call(lambda rig=rig: call(rig, 7).result())
        future = call(rig, 7)
        assert future.result() == expected
        assert rig.manual.run() == 0
        assert rig.idle()
        assert rig.end() == []
    assert n > 20  # it was interrupted at all


@pytest.mark.parametrize("name", ["keyed"])
def test_a_kernel_ends_after_an_interruption_anywhere(name):
    call = CALLS[name]
    n, interrupted = 0, True
    while interrupted:
        n += 7
        rig = Rig()
        interrupted = Interruption(n).call(lambda rig=rig, n=n: call(rig, n))
        assert rig.end() == []
        assert rig.kernel.tasks == {}
