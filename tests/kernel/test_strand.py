"""One thread at a time, in order, effects out of turn, nothing left behind."""

from __future__ import annotations

import random
import threading
from queue import Empty

import pytest

from parsl_ckpt.kernel.strand import ROUNDS, WAKE_SECONDS, Porter, Signal, Strand, Tally
from tests.kernel.helpers import DEADLINE


def in_threads(count, body):
    """Run ``body(i)`` on that many threads at once."""
    barrier = threading.Barrier(count)

    def run(i):
        barrier.wait(DEADLINE)
        body(i)

    threads = [threading.Thread(target=run, args=(i,)) for i in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLINE)
        assert not thread.is_alive()


def test_one_thread_is_in_turn_and_each_posters_order_is_kept():
    seen, inside, clashes = [], [], []

    def handle(batch):
        inside.append(None)
        if len(inside) != 1:
            clashes.append(batch)
        seen.extend(batch)
        inside.pop()
        return ()

    strand = Strand(handle)
    in_threads(4, lambda i: [strand.post((i, n)) for n in range(5000)])
    assert not clashes
    assert len(seen) == 20000
    for i in range(4):
        assert [n for poster, n in seen if poster == i] == list(range(5000))


def test_effects_run_out_of_turn_in_order():
    order = []

    def handle(batch):
        order.append(("turn", *batch))
        return [lambda item=item: effect(item) for item in batch]

    def effect(item):
        order.append(("effect", item))
        if item == 1:
            done = threading.Event()  # another thread gets the turn while this one is in an effect
            threading.Thread(target=lambda: (strand.post(2), done.set())).start()
            assert done.wait(DEADLINE)

    strand = Strand(handle)
    strand.post(1)
    assert order == [("turn", 1), ("effect", 1), ("turn", 2), ("effect", 2)]


def test_a_chain_of_posts_from_effects_needs_no_stack():
    handled = []

    def handle(batch):
        handled.extend(batch)
        return [lambda: batch[0] and strand.post(batch[0] - 1)]

    strand = Strand(handle)
    strand.post(100_000)
    assert handled == list(range(100_000, -1, -1))


def test_what_is_posted_during_a_turn_does_not_wait_for_the_effects_of_that_turn():
    # An effect that blocks on an item that another thread posted while the turn was taken.
    handled = threading.Event()
    outcome = []

    def handle(batch):
        effects = []
        for item in batch:
            if item == "first":
                poster = threading.Thread(target=strand.post, args=("second",))
                poster.start()
                poster.join(DEADLINE)  # it found the turn taken and left
                effects.append(lambda: outcome.append(handled.wait(DEADLINE)))
            else:
                handled.set()
        return effects

    strand = Strand(handle)
    strand.post("first")
    assert outcome == [True]


def test_what_one_effect_posts_does_not_wait_for_the_next_effect():
    handled = threading.Event()
    outcome = []

    def handle(batch):
        if batch == ["begin"]:
            return [
                lambda: strand.post("posted"),
                lambda: outcome.append(handled.wait(DEADLINE)),
            ]
        handled.set()
        return ()

    strand = Strand(handle)
    strand.post("begin")
    assert outcome == [True]


def test_effects_get_their_time_though_posting_never_ceases():
    turns, effects = [], []

    def handle(batch):
        turns.extend(batch)
        if not effects and len(turns) < 10 * ROUNDS:
            strand.post(len(turns))
        return [lambda: effects.append(len(turns))]

    strand = Strand(handle)
    strand.post(0)
    assert effects[0] <= ROUNDS


@pytest.mark.parametrize("kind", [ValueError, SystemExit, KeyboardInterrupt])
def test_an_effect_that_raises_takes_no_other_along(kind, caplog):
    done = []

    def fail():
        raise kind("of the user's code")

    strand = Strand(lambda batch: [fail, lambda: done.extend(batch)])
    strand.post(1)
    strand.post(2)
    assert done == [1, 2]
    assert "kernel effect failed" in caplog.text


def test_a_batch_that_raises_does_not_stop_the_strand(caplog):
    handled = []

    def handle(batch):
        if batch == ["bad"]:
            raise RuntimeError
        handled.extend(batch)
        return ()

    strand = Strand(handle)
    strand.post("bad")
    strand.post("good")
    assert handled == ["good"]
    assert "batch of kernel events failed" in caplog.text


def test_no_item_is_lost_between_threads_that_post_and_leave():
    # The last poster may find the turn taken: whoever has it must come back for the item.
    for _ in range(300):
        handled = []
        strand = Strand(lambda batch, handled=handled: handled.extend(batch) or ())
        in_threads(3, lambda i, strand=strand: strand.post(i))
        assert sorted(handled) == [0, 1, 2]


def test_a_tally_counts_every_addition_of_every_thread():
    tally = Tally()
    totals = []

    def add(i):
        for _ in range(5000):
            tally.add()
            if random.random() < 0.01:
                totals.append(tally.total())

    in_threads(4, add)
    assert tally.total() == 20000
    assert tally.total() == 20000
    assert all(0 < total <= 20000 for total in totals)


def test_a_porter_makes_calls_in_order_on_its_own_thread():
    porter = Porter("porter")
    made, done = [], threading.Event()
    for n in range(100):
        porter.carry(lambda n=n: made.append((n, threading.current_thread().name)))
    porter.carry(done.set)
    assert done.wait(DEADLINE)
    assert made == [(n, "porter") for n in range(100)]
    porter.close()


@pytest.mark.parametrize("kind", [ValueError, SystemExit])
def test_a_porter_survives_what_it_calls(kind, caplog):
    porter, done = Porter("porter"), threading.Event()

    def fail():
        raise kind

    porter.carry(fail)
    porter.carry(done.set)
    assert done.wait(DEADLINE)
    assert "kernel event failed" in caplog.text
    porter.close()


def test_a_porter_carries_what_comes_after_its_end_too():
    porter = Porter("porter")
    made, done, begun, gate = [], threading.Event(), threading.Event(), threading.Event()
    porter.carry(lambda: (begun.set(), gate.wait(DEADLINE), made.append(0)))
    assert begun.wait(DEADLINE)
    porter.close()
    porter.close()
    for n in range(1, 25):
        porter.carry(made.append, n)
    gate.set()
    for n in range(25, 50):
        porter.carry(made.append, n)
    porter.carry(done.set)
    assert done.wait(DEADLINE)
    assert made == list(range(50))


def test_a_porters_thread_ends_with_it():
    porter = Porter("porter that ends")
    (thread,) = [t for t in threading.enumerate() if t.name == "porter that ends"]
    porter.close()
    thread.join(DEADLINE)
    assert not thread.is_alive()


def test_a_porter_keeps_nothing_alive_while_it_waits():
    import weakref

    class Thing:
        def call(self):
            pass

    porter, done = Porter("porter"), threading.Event()
    thing = Thing()
    gone = threading.Event()
    weakref.finalize(thing, gone.set)
    porter.carry(thing.call)
    del thing
    porter.carry(done.set)
    assert done.wait(DEADLINE)
    assert gone.wait(DEADLINE)
    porter.close()


def test_who_waits_for_a_signal_wakes_now_and_then_to_see_one_of_the_systems(monkeypatch):
    signal, asked = Signal(), []

    class Queue:
        def get(self, timeout=None):
            asked.append(timeout)
            if len(asked) == 3:
                raise KeyboardInterrupt
            raise Empty

    monkeypatch.setattr(signal, "_queue", Queue())
    with pytest.raises(KeyboardInterrupt):
        signal.wait()
    assert asked == [WAKE_SECONDS] * 3
