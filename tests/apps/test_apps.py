"""Apps: how they are declared, called, bound to kernels, and carried about."""

from __future__ import annotations

import asyncio
import pickle
import threading

import dill
import pytest

import parsl_ckpt as pc
from parsl_ckpt.apps.app import AppBase
from parsl_ckpt.errors import (
    AppDefinitionError,
    ConfigurationError,
    KernelClosedError,
    NestedAppError,
    NoDataFlowKernelError,
)
from parsl_ckpt.kernel.attempt import worker
from parsl_ckpt.kernel.current import current
from tests.kernel.helpers import DEADLINE, Rig, outcome


@pytest.fixture
def rig():
    rig = Rig()
    before, current.kernel = current.kernel, rig.kernel
    yield rig
    current.kernel = before
    rig.end()


def run(rig, future):
    rig.run()
    return outcome(future)


# -- declaring -------------------------------------------------------------------------------------


def test_all_forms_of_the_decorators(rig):
    @pc.python_app
    def bare(x):
        return x + 1

    @pc.python_app()
    def empty(x):
        return x + 1

    @pc.python_app(cache=True, executors=["manual"])
    def full(x):
        return x + 1

    @pc.App("python", rig.kernel, cache=True)
    def original(x):
        return x + 1

    @pc.App("python", sites="manual")
    def sites(x):
        return x + 1

    plain = pc.python_app(lambda x: x + 1)
    for app in (bare, empty, full, original, sites, plain):
        assert run(rig, app(1)) == 2


def test_join_apps(rig):
    @pc.python_app
    def double(x):
        return 2 * x

    @pc.join_app
    def both(x):
        return [double(x), double(x + 1)]

    @pc.App("join")
    def one(x):
        return double(x)

    assert run(rig, both(1)) == [2, 4]
    assert run(rig, one(5)) == 10


def test_the_functions_name_and_documentation_are_kept():
    @pc.python_app(cache=True)
    def documented(x: int = 1) -> int:
        """What it does."""
        return x

    assert documented.__name__ == "documented" and documented.__doc__ == "What it does."
    assert documented.__module__ == __name__ and documented.__wrapped__(3) == 3
    assert repr(documented) == "<python_app documented>"
    import inspect

    assert str(inspect.signature(documented)) in ("(x: 'int' = 1) -> 'int'", "(x: int = 1) -> int")


@pytest.mark.parametrize("cache", [True, False])
def test_generator_functions_are_refused_by_name(cache):
    with pytest.raises(AppDefinitionError, match="stream is a generator function") as caught:

        @pc.python_app(cache=cache)
        def stream():
            yield 1

    assert caught.value.app == "stream"
    with pytest.raises(AppDefinitionError, match="generator"):

        @pc.python_app
        async def astream():
            yield 1


@pytest.mark.parametrize(
    "declare",
    [
        lambda: pc.App("fortran")(print),
        lambda: pc.python_app(3),
        lambda: pc.python_app(code="everything")(outcome),
        lambda: pc.App(outcome),
        lambda: pc.python_app(cache=True, ignore_for_cache=["y"])(lambda x: x),
    ],
)
def test_wrong_declarations_are_refused(declare):
    with pytest.raises(AppDefinitionError):
        declare()


WRONG_OPTIONS = {
    "cache": ["yes", 1, None, "False"],
    "executors": [3, None, "", [], [3], [None], b"threads", {"threads": 1}, object()],
    "ignore_for_cache": ["x", 3, [3], True, {"x": 1}, b""],
    "data_flow_kernel": ["yes", 0, False, object, [None]],
    "version": [2, None, b"2", ["2"]],
    "secret": [3, None, [3], b"x", {"x": 1}],
    "lineage": [None, "no"],
    "check_mutation": ["yes", 1, None],
    "watch_inputs": ["yes", 0],
    "keep_arguments": ["no", 1, None],
}
PYTHON_ONLY = {"check_mutation", "watch_inputs", "keep_arguments"}


@pytest.mark.parametrize("decorator", [pc.python_app, pc.bash_app, pc.join_app])
@pytest.mark.parametrize("option", WRONG_OPTIONS)
def test_a_wrong_option_is_named_with_the_app_and_what_to_do(decorator, option):
    if decorator is not pc.python_app and option in PYTHON_ONLY:
        return
    if decorator is pc.join_app and option == "executors":
        return

    def some(x):
        return x

    for value in WRONG_OPTIONS[option]:
        with pytest.raises(AppDefinitionError) as caught:
            decorator(**{"cache": True, option: value})(some)
        error = caught.value
        assert (error.app, error.parameter) == ("some", option)
        assert f"some: {option}={value!r}" in error.message and error.hint


@pytest.mark.parametrize("option", ["cache", "executors", "sites", "ignore_for_cache"])
def test_the_original_decorator_names_a_wrong_option_too(option):
    with pytest.raises(AppDefinitionError, match=r"<lambda>: \w+=3 is") as caught:
        pc.App("python", **{option: 3})(lambda x: x)
    assert caught.value.parameter == {"sites": "executors"}.get(option, option)


def test_names_may_come_in_any_collection(rig):
    labels = {"manual": 1}

    @pc.python_app(cache=True, executors=labels.keys(), ignore_for_cache=("x",), secret={"y"})
    def f(x, y):
        return x

    assert run(rig, f(1, 2)) == run(rig, f(3, 2)) == 1


def test_coroutine_functions_are_run_to_their_end(rig):
    @pc.python_app(cache=True)
    async def later(x):
        await asyncio.sleep(0)
        return x + 1

    assert run(rig, later(1)) == 2
    assert later(1).from_memo


def test_unbound_methods_and_methods(rig):
    class Scale:
        def __init__(self, factor):
            self.factor = factor

        @pc.python_app
        def times(self, x):
            return self.factor * x

    scale = Scale(3)
    assert run(rig, scale.times(2)) == 6
    assert run(rig, Scale.times(scale, 4)) == 12


def test_ignored_parameters_do_not_count(rig):
    @pc.python_app(cache=True, ignore_for_cache=["verbose"])
    def compute(x, verbose=False):
        return x

    compute(1)
    compute(1, True)
    compute(1, verbose="very")
    assert rig.run() == 1


def test_a_new_version_computes_anew(rig):
    def compute(x):
        return x

    one = pc.python_app(compute, cache=True)
    two = pc.python_app(compute, cache=True, version="2")
    one(1)
    two(1)
    assert rig.run() == 2


def test_futures_anywhere_among_the_arguments(rig):
    @pc.python_app
    def double(x):
        return 2 * x

    @pc.python_app(cache=True)
    def nested(a, *, b):
        return a, b

    future = nested([double(1), {"k": (double(2),)}], b={double(3)})
    assert run(rig, future) == ([2, {"k": (4,)}], {6})


# -- kernels ---------------------------------------------------------------------------------------


def test_without_a_kernel_the_error_says_what_to_do():
    @pc.python_app
    def lost(x):
        return x

    before, current.kernel = current.kernel, None
    try:
        with pytest.raises(
            NoDataFlowKernelError, match=r"The app lost was called .*load\(\)"
        ) as caught:
            lost(1)
        assert caught.value.app == "lost"
        worker.in_process_worker = True
        with pytest.raises(NestedAppError, match="join_app"):
            lost(1)
    finally:
        worker.in_process_worker = False
        current.kernel = before


def test_a_bound_app_runs_on_its_kernel_whatever_is_loaded(rig):
    other = Rig()
    app = pc.python_app(lambda: 1, data_flow_kernel=other.kernel)
    future = app()
    assert rig.run() == 0
    assert run(other, future) == 1
    other.end()


def test_an_app_follows_the_loaded_kernel_and_its_executors(rig):
    @pc.python_app(cache=True, executors="manual")
    def picky(x):
        return x

    assert run(rig, picky(1)) == 1
    from parsl_ckpt.testing.executors import ManualExecutor

    other = Rig(executors={"elsewhere": ManualExecutor("elsewhere")})
    current.kernel = other.kernel
    with pytest.raises(ConfigurationError, match="'manual'") as caught:
        picky(1)
    assert (caught.value.app, caught.value.label) == ("picky", "manual")
    current.kernel = rig.kernel
    assert picky(1).from_memo
    other.end()


def test_an_app_keeps_no_kernel_alive():
    import gc
    import weakref

    rig = Rig()
    app = pc.python_app(lambda: 1)
    before, current.kernel = current.kernel, rig.kernel
    future = app()
    rig.run()
    assert outcome(future) == 1
    current.kernel = before
    rig.end()
    gone = weakref.ref(rig.kernel)
    del rig, future
    for _ in range(1000):
        gc.collect()
        if gone() is None:
            break
        threading.Event().wait(0.01)
    assert gone() is None


def test_an_unknown_executor_is_named(rig):
    app = pc.python_app(lambda: 1, executors=["manual", "moon"])
    with pytest.raises(ConfigurationError, match=r"'moon'.*It has: manual"):
        app()


def test_a_kernel_that_has_ended_refuses(rig):
    app = pc.python_app(lambda: 1)
    rig.end()
    with pytest.raises(KernelClosedError, match="ended"):
        app()


# -- carried about ---------------------------------------------------------------------------------


@pc.python_app(cache=True, version="3")
def at_module_level(x):
    return x


def test_an_app_travels_by_value_without_its_kernel(rig):
    app = pc.python_app(lambda x: x + 1, data_flow_kernel=rig.kernel, cache=True, version="7")
    other = dill.loads(dill.dumps(app, recurse=True))
    assert isinstance(other, AppBase) and other.__wrapped__(1) == 2
    assert other._kernel is None and other._options == app._options
    assert run(rig, other(5)) == 6


# -- map -------------------------------------------------------------------------------------------


@pytest.fixture
def threaded():
    from parsl_ckpt.executors.threads import ThreadPoolExecutor

    pool = ThreadPoolExecutor(max_workers=2)
    pool.start()
    rig = Rig(executors={"threads": pool})
    before, current.kernel = current.kernel, rig.kernel
    yield rig
    current.kernel = before
    rig.end(grace=0)


@pc.python_app
def power(x, y=2):
    return x**y


@pytest.mark.parametrize("room", [None, 1, 3, 100])
@pytest.mark.parametrize("ordered", [True, False])
def test_map_gives_every_result(threaded, room, ordered):
    results = list(power.map(range(20), max_in_flight=room, ordered=ordered))
    assert (results if ordered else sorted(results)) == [n**2 for n in range(20)]


def test_map_takes_several_iterables_up_to_the_shortest(threaded):
    assert list(power.map([1, 2, 3], [1, 2])) == [1, 4]
    assert list(power.map([])) == []


@pytest.mark.parametrize("ordered", [True, False])
def test_map_has_only_so_many_under_way(rig, ordered):
    taken = []

    def source():
        for n in range(100):
            taken.append(n)
            yield n

    results = power.map(source(), max_in_flight=5, ordered=ordered)
    assert not taken, "nothing is called before the first result is asked for"
    got = []
    thread = threading.Thread(target=lambda: got.append(next(results)))
    thread.start()
    while len(rig.manual) < 5:
        threading.Event().wait(0.001)
    assert len(taken) == 5
    rig.manual.step()
    thread.join(DEADLINE)
    assert got == [0] and len(taken) == 5
    results.close()
    assert rig.run() == 0, "what is not needed any more is cancelled"
    assert rig.idle()


def test_map_gives_results_as_they_complete(rig):
    results, got = power.map(range(3), ordered=False), []
    thread = threading.Thread(target=lambda: got.extend(results))
    thread.start()
    while len(rig.manual) < 3:
        threading.Event().wait(0.001)
    for index, count in ((2, 1), (1, 2), (0, 3)):
        rig.manual.step(index)
        while len(got) < count and thread.is_alive():
            threading.Event().wait(0.001)
    thread.join(DEADLINE)
    assert sorted(got) == [0, 1, 4]


def test_map_raises_at_the_place_of_the_result(threaded):
    @pc.python_app
    def inverse(x):
        return 1 / x

    results = inverse.map([1, 2, 0, 4])
    assert [next(results), next(results)] == [1.0, 0.5]
    with pytest.raises(ZeroDivisionError):
        next(results)


@pytest.mark.parametrize("room", [0, -1, True, "3", 2.5])
def test_a_wrong_number_under_way_is_named(room):
    with pytest.raises(AppDefinitionError, match="max_in_flight") as caught:
        power.map([1], max_in_flight=room)
    assert caught.value.parameter == "max_in_flight"


def test_an_app_of_a_module_travels_by_plain_pickle(rig):
    other = pickle.loads(pickle.dumps(at_module_level))
    assert run(rig, other(1)) == 1
