"""Whether a recorded outcome may be restored: nothing stale is ever given, nothing good computed.

A value tells all that it was computed from: the call, the version of its code, the state of the
world outside, and the values that it took.  So what is stale in a value can be seen in it.
"""

from __future__ import annotations

import itertools
import sys

from hypothesis import given
from hypothesis import strategies as st

from parsl_ckpt.checkpoint.compact import PRUNED
from parsl_ckpt.identity.address import Addresser, Binder
from parsl_ckpt.identity.code import CodeIdentity
from parsl_ckpt.kernel.task import Spec
from parsl_ckpt.plan.plan import Plan
from tests.kernel.helpers import Rig

STATE: dict[int, int] = {}  # of the world outside, which no address knows
ANEW = itertools.count(1)
NODES = 5


def call(node, version, *inputs):
    """What it was computed from."""
    return (node, version, sys.modules["tests.plan.test_standing"].STATE[node], inputs)


CODE, BINDER = CodeIdentity(call), Binder(call, (), "call")
SPEC = Spec("call", call, cache=True, binder=BINDER, addresser=Addresser("call", CODE, BINDER))


class World:
    """A graph of calls that is planned again and again, over one store."""

    def __init__(self, edges):
        self.edges = edges
        self.rig = Rig(run="0")
        self.paths = [self.rig.path]
        self.runs = itertools.count(1)
        self.version = dict.fromkeys(range(NODES), 0)
        STATE.update(dict.fromkeys(range(NODES), 0))
        self.seen = {}  # the last future of each call whose outcome is known
        self.dead = set()  # values that nobody may be given any more
        self.ran = 0

    def plan(self, wanted, fresh=()):
        plan = Plan(self.rig.kernel, self.rig.kernel.desk, lambda *_: None)
        futures = []
        with plan:
            for node in range(NODES):
                args = (node, self.version[node], *(futures[at] for at in self.edges[node]))
                futures.append(self.rig.kernel.submit(SPEC, args, {}, node in fresh))
            plan.want(*(futures[node] for node in wanted))
        return plan, futures

    def run(self, wanted, fresh=()):
        plan, futures = self.plan(wanted, fresh)
        outcomes = plan.run()
        self.ran = self.rig.run()
        for node, value in zip(wanted, outcomes.results(30), strict=True):
            self.check(value, node)
        for node, future in enumerate(futures):
            if future._phase != "PENDING" or (future._lazy is not None and future._restored):
                self.seen[node] = future, future.result(0)
        return outcomes

    def check(self, value, node):
        number, version, _, inputs = value
        assert (number, version) == (node, self.version[node])
        assert value not in self.dead
        assert [one[0] for one in inputs] == self.edges[node]
        for one in inputs:
            self.check(one, one[0])

    def again(self):
        backend = self.rig.backend
        self.rig.end()
        before = [path for path in self.paths if path in backend.directories]
        self.rig = Rig(backend=backend, run=str(next(self.runs)), sources=before)
        self.paths.append(self.rig.path)
        self.seen.clear()

    def edit(self, node):
        self.version[node] += 1
        self.seen.pop(node, None)

    def forget(self, node):
        if node in self.seen:
            future, value = self.seen.pop(node)
            self.rig.store.forget(future._value_key, future._key)
            STATE[node] = next(ANEW)
            self.dead.add(value)

    def prune(self, node):
        if node in self.seen:
            future, _ = self.seen.pop(node)
            records = self.rig.store.named(future._value_key)
            self.rig.store.remove(*records, reason=PRUNED)

    def anew(self, node):
        """Run a call again, whose outcome is another one now."""
        old = self.seen.get(node)
        STATE[node] = next(ANEW)
        if old is not None:
            self.dead.add(old[1])
        self.run([node], fresh=[node])


@st.composite
def graphs(draw):
    return [
        sorted(draw(st.sets(st.integers(0, node - 1), max_size=2))) if node else []
        for node in range(NODES)
    ]


NODE = st.integers(0, NODES - 1)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("run"), st.lists(NODE, min_size=1, max_size=2, unique=True)),
        st.tuples(st.sampled_from(["edit", "forget", "prune", "anew"]), NODE),
        st.just(("again",)),
    ),
    max_size=8,
)


@given(edges=graphs(), steps=STEPS)
def test_nothing_stale_is_given_whatever_has_happened(edges, steps):
    world = World(edges)
    world.run(range(NODES))
    for name, *args in steps:
        getattr(world, name)(*args)
    world.run(range(NODES))
    world.run(range(NODES))
    assert world.ran == 0  # all is there now
    world.rig.end()


@given(edges=graphs(), wanted=st.lists(NODE, min_size=1, unique=True), pruned=st.sets(NODE))
def test_what_is_merely_absent_does_no_harm(edges, wanted, pruned):
    world = World(edges)
    world.run(range(NODES))
    for node in sorted(pruned.difference(wanted)):
        world.prune(node)
    world.again()
    outcomes = world.run(wanted)
    assert outcomes.trim.run == () and world.ran == 0
    world.rig.end()


@given(edges=graphs(), changed=NODE)
def test_an_edit_costs_what_depends_on_it_and_nothing_else(edges, changed):
    world = World(edges)
    world.run(range(NODES))
    world.edit(changed)
    world.again()
    outcomes = world.run(range(NODES))
    depends = {changed}
    for node in range(NODES):
        if depends.intersection(edges[node]):
            depends.add(node)
    assert len(outcomes.trim.run) == len(depends) == world.ran
    world.rig.end()
