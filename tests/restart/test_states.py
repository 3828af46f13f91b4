"""States: proxies, what they tell, and how they find what was saved."""

from __future__ import annotations

import asyncio
import copy
import dataclasses
import enum
import gc
import pickle
import sys
import threading
import types
import weakref
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from parsl_ckpt.checkpoint import registry
from parsl_ckpt.errors import CheckpointError, CheckpointStateCollision, CheckpointStateSchemaError
from parsl_ckpt.restart import (
    Checkpoint,
    CheckpointState,
    bind_checkpoint_state,
    current,
    register_codec,
)


@dataclasses.dataclass
class State:
    u: Any = 0
    name: str = "s"


@dataclasses.dataclass
class Placed:
    device: str = "mine"


@dataclasses.dataclass(frozen=True)
class Frozen:
    x: int = 0
    inner: tuple[int, ...] = ()


@dataclasses.dataclass(frozen=True, **({"slots": True} if sys.version_info >= (3, 10) else {}))
class Slotted:
    x: Any = 0


@pytest.fixture(autouse=True)
def no_checkpoint_of_other_tests():
    current.latest.set(None)
    current.active.set(None)
    yield
    current.latest.set(None)


def saved(path, *states, name="run", **keyed):
    """Write a row with these states."""
    with Checkpoint(name, path, "append", level=1) as ckpt:
        for state in states:
            ckpt.bind(state)
        for key, state in keyed.items():
            ckpt.bind(state, state_key=key)
        return ckpt.write(lead_time=6)


# --- proxies --------------------------------------------------------------------------------------


def test_fields_pass_through(tmp_path):
    instance = State(np.zeros(3))
    state = bind_checkpoint_state(instance)
    assert type(state) is CheckpointState and state.checkpoint_dataclass is instance
    state.u = state.u + 1
    state.extra = 5
    assert instance.u.tolist() == [1, 1, 1] and instance.extra == 5
    del state.extra
    assert not hasattr(state, "extra") and {"u", "checkpoint_level"} <= set(dir(state))
    state.u = 1
    assert repr(state) == repr(instance) and state == State(1) and state == state
    assert state != State(2) and len({state, state}) == 1
    with pytest.raises(AttributeError, match="nothing"):
        state.nothing  # noqa: B018


TOLD = {
    "checkpoint_enabled": False, "checkpoint_level": 0, "checkpoint_device": "cpu",
    "checkpoint_flush_interval": None, "checkpoint_write_count": 0,
    "checkpoint_is_flush_due": False, "checkpoint_selected": False,
    "checkpoint_state_loaded": False, "checkpoint_lead_time": None, "checkpoint_metadata": {},
    "checkpoint_labels": {}, "device": "cpu",
}  # fmt: skip


def test_what_is_told_can_only_be_read():
    state = bind_checkpoint_state(State())
    for name, value in TOLD.items():
        assert getattr(state, name) == value
        with pytest.raises(AttributeError, match=name):
            setattr(state, name, 1)
    with pytest.raises(AttributeError, match="checkpoint_dataclass"):
        state.checkpoint_dataclass = State()


def test_what_is_told_of_a_session(tmp_path):
    saved(tmp_path, State(4))
    checkpoint = Checkpoint("run", tmp_path, "append", flush_interval=2, device="cuda:1")
    with checkpoint.select(-1) as ckpt:
        state = bind_checkpoint_state(State())
        told = {name: getattr(state, name) for name in TOLD}
        assert told == {
            "checkpoint_enabled": True, "checkpoint_level": 2, "checkpoint_device": "cuda:1",
            "checkpoint_flush_interval": 2, "checkpoint_write_count": 1,
            "checkpoint_is_flush_due": True, "checkpoint_selected": True,
            "checkpoint_state_loaded": True, "checkpoint_lead_time": 6,
            "checkpoint_metadata": {"lead_time": 6}, "checkpoint_labels": {}, "device": "cuda:1",
        }  # fmt: skip
        ckpt.write(lead_time=7)
        assert (state.checkpoint_write_count, state.checkpoint_lead_time) == (2, 7)
    assert not state.checkpoint_selected and not state.checkpoint_state_loaded
    assert state.checkpoint_enabled and state.u == 4


def test_a_field_called_device_is_the_states_own():
    state = bind_checkpoint_state(Placed())
    assert state.device == "mine"
    state.device = "yours"
    assert state.checkpoint_dataclass.device == "yours"


def test_a_field_that_would_hide_what_is_told_is_refused():
    kind = dataclasses.make_dataclass("Hiding", [("checkpoint_level", int, 3)])
    with pytest.raises(CheckpointError, match="checkpoint_level"):
        bind_checkpoint_state(kind())
    other = dataclasses.make_dataclass("Fine", [("checkpoint_file", str, "x")])
    state = bind_checkpoint_state(other())
    state.checkpoint_file = "y"
    assert state.checkpoint_file == "y"


@pytest.mark.parametrize("wrong", [object(), State, 3, None, {"u": 1}])
def test_only_instances_of_dataclasses_are_states(tmp_path, wrong):
    with pytest.raises(TypeError, match="dataclass"):
        bind_checkpoint_state(wrong)
    with Checkpoint("run", tmp_path) as ckpt, pytest.raises(TypeError, match="dataclass"):
        ckpt.bind(wrong)


def test_a_key_is_text():
    with pytest.raises(TypeError, match="state_key"):
        bind_checkpoint_state(State(), state_key=3)


def test_copies_and_pickles_are_of_the_instance():
    state = bind_checkpoint_state(State([1]))
    for back in (copy.copy(state), copy.deepcopy(state), pickle.loads(pickle.dumps(state))):
        assert type(back) is State and back == state.checkpoint_dataclass
    assert dataclasses.replace(state.checkpoint_dataclass, u=2) == State(2)


def test_a_proxy_keeps_nothing_alive_once_it_is_gone():
    instance = State()
    bind_checkpoint_state(instance)
    mark = weakref.ref(instance)
    del instance
    gc.collect()
    assert mark() is None


# --- binding --------------------------------------------------------------------------------------


def test_the_same_object_twice_is_the_same_proxy(tmp_path):
    instance = State()
    early = bind_checkpoint_state(instance)
    with Checkpoint("run", tmp_path) as ckpt:
        state = bind_checkpoint_state(instance)
        assert state is early is bind_checkpoint_state(state) is ckpt.bind(instance)
        assert list(ckpt.bound_states) == [f"{__name__}.State"]


def test_a_second_object_of_a_class_needs_a_key(tmp_path):
    with Checkpoint("run", tmp_path) as ckpt:
        ckpt.bind(State(1))
        with pytest.raises(CheckpointStateCollision, match="state_key") as caught:
            bind_checkpoint_state(State(2))
        assert caught.value.state == f"{__name__}.State"
        bind_checkpoint_state(State(2), state_key="two")
        with pytest.raises(CheckpointStateCollision):
            bind_checkpoint_state(State(3), state_key="two")
        ckpt.bind(State(4), state_key="]/../\0\udc80")
        ckpt.write()
    with Checkpoint("run", tmp_path) as ckpt:
        assert ckpt.bind(State(), state_key="two").u == 2
        assert ckpt.bind(State(), state_key="]/../\0\udc80").u == 4
        assert ckpt.bind(State()).u == 1


def test_one_object_has_one_key(tmp_path):
    with Checkpoint("run", tmp_path) as ckpt:
        state = ckpt.bind(State(1), state_key="one")
        with pytest.raises(CheckpointError, match="'two'"):
            ckpt.bind(state, state_key="two")


def test_two_classes_of_one_name_are_two_states(tmp_path):
    one, two = (dataclasses.make_dataclass("State", [("u", int, at)]) for at in (1, 2))
    one.__module__, two.__module__ = "first", "second"
    saved(tmp_path, one(), two())
    with Checkpoint("run", tmp_path) as ckpt:
        assert ckpt.bind(two(0)).u == 2 and ckpt.bind(one(0)).u == 1


def test_what_is_bound_early_waits_for_the_session(tmp_path):
    checkpoint = Checkpoint("run", tmp_path, flush_interval=2)
    state = bind_checkpoint_state(State(5))
    assert state.checkpoint_enabled and state.checkpoint_flush_interval == 2
    with checkpoint as ckpt:
        assert list(ckpt.bound_states.values()) == [state] and not state.checkpoint_state_loaded
        ckpt.write()
        ckpt.flush()
    later = Checkpoint("run", tmp_path)
    state = bind_checkpoint_state(State())
    with pytest.raises(CheckpointStateCollision):
        bind_checkpoint_state(State())
    told = pytest.warns(UserWarning, match="bound before an existing checkpoint session")
    with told, later as ckpt:
        assert state.checkpoint_state_loaded and state.u == 5
        state.u = 6
        ckpt.write()
    with later:  # it waits for the next session as well, and the warning is given once
        assert state.u == 6 and state.checkpoint_state_loaded


def test_components_that_are_made_one_after_the_other_are_not_in_each_others_way(tmp_path):
    checkpoint = Checkpoint("run", tmp_path, "append")
    for member in range(3):
        state = bind_checkpoint_state(State(member))  # while the one before is still there
        with checkpoint.select(member=member) as ckpt:
            assert list(ckpt.bound_states.values()) == [state]
            ckpt.write()
    with checkpoint.select(member=1) as ckpt:
        assert state.u == 1  # the last one is bound again,
        other = bind_checkpoint_state(State())
        assert other.u == 1 and list(ckpt.bound_states.values()) == [other]  # or another one
    mark = weakref.ref(state.checkpoint_dataclass)
    del state, other, ckpt
    gc.collect()
    assert mark() is None


def test_the_checkpoint_that_was_made_last_is_waited_for(tmp_path):
    first = Checkpoint("one", tmp_path)
    second = Checkpoint("two", tmp_path)
    state = bind_checkpoint_state(State())
    with first as ckpt:
        assert not ckpt.bound_states
    with second as ckpt:
        assert list(ckpt.bound_states.values()) == [state]


def test_nothing_waits_for_a_checkpoint_that_nobody_has(tmp_path):
    def forgotten(opened):
        checkpoint = Checkpoint("one", tmp_path)
        assert bind_checkpoint_state(State()).checkpoint_enabled
        if opened:
            with checkpoint as ckpt:
                ckpt.bind(Frozen())
                ckpt.write()

    for opened in (True, False):
        forgotten(opened)
        assert not bind_checkpoint_state(State()).checkpoint_enabled


def test_an_error_while_waiting_states_are_bound_leaves_no_session_open(tmp_path):
    saved(tmp_path, dataclasses.make_dataclass("Gone", [("a", int, 1)], namespace={})())
    checkpoint = Checkpoint("run", tmp_path)
    kind = dataclasses.make_dataclass("Gone", [("b", int, 1)])
    bind_checkpoint_state(kind())
    with pytest.raises(CheckpointStateSchemaError), checkpoint:
        pass
    assert checkpoint.active is None and current.active.get() is None


# --- other threads and tasks ----------------------------------------------------------------------


def test_a_session_is_carried_to_threads(tmp_path):
    with Checkpoint("run", tmp_path) as ckpt, ThreadPoolExecutor(4) as pool:
        assert not pool.submit(bind_checkpoint_state, State()).result().checkpoint_enabled

        def bind(number):
            with ckpt.context() as session:
                assert session is ckpt and ckpt.is_active
                state = bind_checkpoint_state(State(number), state_key=str(number))
            assert current.active.get() is None
            return state.checkpoint_enabled

        assert all(pool.map(bind, range(20)))
        run = ckpt.context().run
        state = pool.submit(run, bind_checkpoint_state, State(), state_key="ran").result()
        assert state.checkpoint_enabled and len(ckpt.bound_states) == 21
        assert pool.submit(ckpt.checkpoint.context().run, lambda: ckpt.is_active).result()


def test_tasks_of_asyncio_have_the_session_of_where_they_were_made(tmp_path):
    async def component(number):
        await asyncio.sleep(0)
        state = bind_checkpoint_state(State(number), state_key=str(number))
        await asyncio.sleep(0)
        return current.active.get(), state.checkpoint_enabled

    async def one(name):
        with Checkpoint(name, tmp_path) as ckpt:
            found = await asyncio.gather(*map(component, range(3)))
            assert found == [(ckpt, True)] * 3
            ckpt.write()

    async def both():
        await asyncio.gather(one("a"), one("b"))

    asyncio.run(both())
    assert len(Checkpoint("a", tmp_path).catalog[0].state_ids) == 3


def test_threads_that_open_one_checkpoint_have_sessions_of_their_own(tmp_path):
    checkpoint = Checkpoint("run", tmp_path, "append")
    barrier = threading.Barrier(3)

    def work():
        with checkpoint as ckpt:
            barrier.wait(30)
            ckpt.bind(State())
            ckpt.write()
            barrier.wait(30)
            return ckpt

    with ThreadPoolExecutor(3) as pool:
        found = [future.result() for future in [pool.submit(work) for _ in range(3)]]
    assert len(set(map(id, found))) == 3 and len(checkpoint.catalog) == 3


# --- classes that changed their place -------------------------------------------------------------


def moved(source, name, **values):
    """A class of the same source in another module."""
    module = types.ModuleType(name)
    sys.modules[name] = module
    exec(source, module.__dict__)
    return module


SOURCE = """
import dataclasses, enum
class Mode(enum.Enum):
    FAST = 1
    SLOW = 2
@dataclasses.dataclass
class Inner:
    a: int = 0
@dataclasses.dataclass
class Solver:
    mode: Mode = Mode.FAST
    parts: list[Inner] = dataclasses.field(default_factory=list)
    by_name: dict[str, Inner | None] = dataclasses.field(default_factory=dict)
    any: object = None
"""


def test_a_class_that_was_moved_finds_its_state(tmp_path):
    try:
        old = moved(SOURCE, "an_old_place")
        saved(
            tmp_path,
            old.Solver(old.Mode.SLOW, [old.Inner(1)], {"k": old.Inner(2), "n": None}),
        )
        del sys.modules["an_old_place"]
        new = moved(SOURCE, "a_new_place")
        with Checkpoint("run", tmp_path) as ckpt:
            state = ckpt.bind(new.Solver())
            assert state.checkpoint_state_loaded and state.mode is new.Mode.SLOW
            assert type(state.parts[0]) is new.Inner and state.parts[0].a == 1
            assert type(state.by_name["k"]) is new.Inner and state.by_name["n"] is None
            assert ckpt.write().state_ids == ("a_new_place.Solver",)
        with Checkpoint("run", tmp_path) as ckpt:
            assert ckpt.bind(new.Solver()).mode is new.Mode.SLOW and ckpt.write()
    finally:
        for name in ("an_old_place", "a_new_place"):
            sys.modules.pop(name, None)


def test_a_class_that_is_still_where_it_was_is_not_taken_for_a_moved_one(tmp_path):
    try:
        old = moved(SOURCE, "an_old_place")
        saved(tmp_path, old.Solver(old.Mode.SLOW))
        new = moved(SOURCE, "a_new_place")
        with Checkpoint("run", tmp_path) as ckpt:
            assert not ckpt.bind(new.Solver()).checkpoint_state_loaded
            assert ckpt.bind(old.Solver()).checkpoint_state_loaded
    finally:
        for name in ("an_old_place", "a_new_place"):
            sys.modules.pop(name, None)


def test_classes_of_functions_are_found_by_the_types_of_fields(tmp_path):
    def kinds():
        class Colour(enum.Enum):
            RED = 1

        @dataclasses.dataclass
        class Leaf:
            colour: Colour = Colour.RED

        @dataclasses.dataclass
        class Tree:
            leaf: Leaf = dataclasses.field(default_factory=Leaf)
            leaves: tuple[Leaf, ...] = ()

        return Tree, Leaf

    tree, leaf = kinds()
    saved(tmp_path, tree(leaf(), (leaf(), leaf())))
    again, kind = kinds()
    with Checkpoint("run", tmp_path) as ckpt:
        state = ckpt.bind(again(kind(), (kind(),)))
        assert state.checkpoint_state_loaded and len(state.leaves) == 2
        assert type(state.leaves[1]) is kind


def test_what_no_name_and_no_type_finds_is_refused_before_anything_is_written(tmp_path):
    @dataclasses.dataclass
    class Hidden:
        x: int = 1

    with Checkpoint("run", tmp_path) as ckpt:
        ckpt.bind(State([Hidden()]))
        with pytest.raises(CheckpointError, match="Hidden cannot be found"):
            ckpt.write()
    assert not list(tmp_path.iterdir())


# --- all fields or none ---------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [Frozen, Slotted])
def test_frozen_classes_are_restored(tmp_path, kind):
    saved(tmp_path, kind(7))
    instance = kind()
    with Checkpoint("run", tmp_path) as ckpt:
        state = ckpt.bind(instance)
        assert state.x == 7 and state.checkpoint_dataclass is instance
        with pytest.raises(AttributeError):
            state.x = 8


def test_fields_are_restored_all_or_none(tmp_path):
    saved(tmp_path, State([1], "new"))

    class Stubborn(State):
        pass

    @dataclasses.dataclass
    class Picky:
        u: Any = 0
        name: str = "s"

    def refuse(self, value):
        if value == "new":
            raise ValueError(value)
        self.__dict__["_name"] = value

    Picky.name = property(lambda self: self.__dict__["_name"], refuse)
    Picky.__qualname__ = "State"
    picky = Picky(0, "old")
    with Checkpoint("run", tmp_path) as ckpt:
        with pytest.raises(ValueError, match="new"):
            ckpt.bind(picky)
        assert (picky.u, picky.name) == (0, "old") and not ckpt.bound_states


def test_what_two_fields_share_they_share_again(tmp_path):
    array = np.arange(10_000.0)
    saved(tmp_path, State({"a": array, "b": [array]}))
    with Checkpoint("run", tmp_path) as ckpt:
        back = ckpt.bind(State()).u
        assert back["a"] is back["b"][0]


def test_restored_arrays_can_be_changed_and_the_row_stays(tmp_path):
    saved(tmp_path, State(np.zeros(1 << 18)))
    for _ in range(2):
        with Checkpoint("run", tmp_path, level=1) as ckpt:
            state = ckpt.bind(State())
            assert not state.u.any()
            state.u += 1
            assert state.u.all()


class Mesh:
    def __init__(self, inner, points):
        self.inner, self.points = inner, points


def test_codecs_are_given_instances_and_share_them(tmp_path):
    register_codec(
        Mesh,
        lambda mesh: {"i": mesh.inner, "p": mesh.points},
        lambda plain: Mesh(plain["i"], plain["p"]),
        name="tests.MeshOfInner",
    )
    inner, points = Frozen(3), np.arange(5000.0)
    saved(tmp_path, State([Mesh(inner, points), inner, points]))
    with Checkpoint("run", tmp_path) as ckpt:
        mesh, again, array = ckpt.bind(State()).u
        assert type(mesh.inner) is Frozen and mesh.inner is again and mesh.points is array
        ckpt.write(mesh=mesh)
        assert ckpt.metadata["mesh"].inner == Frozen(3)


def test_large_arrays_are_mapped(tmp_path):
    import mmap

    saved(tmp_path, State(np.arange(1 << 18)))
    with Checkpoint("run", tmp_path) as ckpt:
        base = ckpt.bind(State()).u
        while getattr(base, "base", None) is not None or isinstance(base, memoryview):
            base = base.obj if isinstance(base, memoryview) else base.base
        assert isinstance(base, mmap.mmap)


def test_a_codec_that_does_not_take_what_was_saved_is_named(tmp_path):
    class Odd:
        pass

    def fail(_):
        raise KeyError("zz")

    register_codec(Odd, lambda _: 1, fail, name="tests.fails")
    try:
        with Checkpoint("run", tmp_path) as ckpt:
            ckpt.bind(State(Odd()))
            ckpt.write()
        refused = pytest.raises(CheckpointError, match=r"'tests.fails' did not .*KeyError: 'zz'")
        with Checkpoint("run", tmp_path) as ckpt, refused:
            ckpt.bind(State())
    finally:
        registry._named.pop("tests.fails"), registry.registered.pop(Odd)


def test_a_new_field_is_as_the_program_has_made_it_and_is_not_made_again(tmp_path):
    made = []
    factory = dataclasses.field(default_factory=lambda: made.append(1))
    former = dataclasses.make_dataclass("Local", [("step", int, 0)])
    later = dataclasses.make_dataclass("Local", [("step", int, 0), ("seen", list, factory)])
    with Checkpoint("run", tmp_path) as ckpt:
        ckpt.bind(former(3))
        ckpt.write()
    with Checkpoint("run", tmp_path) as ckpt:
        state = ckpt.bind(later(0, seen=["mine"]))
        assert (state.step, state.seen, made) == (3, ["mine"], [])
