"""Plans with calls whose values are not recorded: nothing stale is restored behind them either."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from parsl_ckpt.plan.plan import Plan
from tests.plan.test_standing import NODE, NODES, SPEC, STEPS, World, graphs

UNKEPT = replace(SPEC, persist=False)


class Passing(World):
    """A world in which some calls are not kept."""

    def __init__(self, edges, unkept):
        self.unkept = unkept
        super().__init__(edges)

    def plan(self, wanted, fresh=()):
        plan = Plan(self.rig.kernel, self.rig.kernel.desk, lambda *_: None)
        futures = []
        with plan:
            for node in range(NODES):
                args = (node, self.version[node], *(futures[at] for at in self.edges[node]))
                spec = UNKEPT if node in self.unkept else SPEC
                futures.append(self.rig.kernel.submit(spec, args, {}, node in fresh))
            plan.want(*(futures[node] for node in wanted))
        return plan, futures


@given(edges=graphs(), unkept=st.sets(NODE), steps=STEPS)
def test_nothing_stale_is_given_whatever_has_happened(edges, unkept, steps):
    world = Passing(edges, unkept)
    world.run(range(NODES))
    for name, *args in steps:
        getattr(world, name)(*args)
    world.run(range(NODES))
    world.run(range(NODES))
    assert world.ran == len(unkept)  # which are wanted themselves; all else is there now
    world.rig.end()


@given(edges=graphs(), unkept=st.sets(NODE), wanted=st.lists(NODE, min_size=1, unique=True))
def test_what_is_not_kept_runs_only_if_something_that_needs_it_must(edges, unkept, wanted):
    world = Passing(edges, unkept)
    world.run(range(NODES))
    world.again()
    outcomes = world.run(wanted)
    needed = unkept.intersection(wanted)
    for node in reversed(range(NODES)):
        if node in needed:
            needed |= unkept.intersection(edges[node])
    assert len(outcomes.trim.run) == len(needed) == world.ran
    world.rig.end()


class Eager(Passing):
    """The same without plans: every call is made at once."""

    def run(self, wanted, fresh=()):
        futures = []
        for node in range(NODES):
            args = (node, self.version[node], *(futures[at] for at in self.edges[node]))
            spec = UNKEPT if node in self.unkept else SPEC
            futures.append(self.rig.kernel.submit(spec, args, {}, node in fresh))
        self.ran = self.rig.run()
        for node in range(NODES):
            value = futures[node].result(30)
            self.check(value, node)
            self.seen[node] = futures[node], value


@given(edges=graphs(), unkept=st.sets(NODE), steps=STEPS)
def test_nothing_stale_is_given_to_calls_that_are_made_at_once(edges, unkept, steps):
    world = Eager(edges, unkept)
    world.run(range(NODES))
    for name, *args in steps:
        getattr(world, name)(*args)
    world.run(range(NODES))
    world.run(range(NODES))
    assert world.ran == len(unkept)  # which run whenever they are called; all else is there now
    world.rig.end()
