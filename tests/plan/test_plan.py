"""Plans on a kernel: what is recorded, what is restored, what runs, what is refused."""

from __future__ import annotations

import ast
import concurrent.futures as cf
import contextlib
import contextvars
import os
import threading

import pytest

import parsl_ckpt as pc
from parsl_ckpt.errors import (
    KernelClosedError,
    PlanError,
    PlanNotRunError,
    PlanUsedError,
    UnknownTaskError,
    UnknownWantError,
)
from parsl_ckpt.kernel.planning import Planned
from parsl_ckpt.plan import PersistSpec
from parsl_ckpt.plan import plan as module
from parsl_ckpt.plan.plan import Plan

DEADLINE = 60.0


def ran(name=None):
    """What has run, in order; apps write it to a file, so that they do not depend on it."""
    with open(os.environ["RAN"]) as file:
        calls = [ast.literal_eval(line) for line in file]
    return calls if name is None else sorted(call[1:] for call in calls if call[0] == name)


def forget():
    open(os.environ["RAN"], "w").close()


def note(*what):
    with open(os.environ["RAN"], "a") as file:
        file.write(f"{what!r}\n")


@pytest.fixture(autouse=True)
def nothing_ran(tmp_path, monkeypatch):
    monkeypatch.setenv("RAN", str(tmp_path / "ran"))
    forget()


@pc.python_app(cache=True)
def read(name):
    note("read", name)
    return f"text of {name}"


@pc.python_app(cache=True)
def clean(text):
    note("clean", text[-1])
    return text.upper()


@pc.python_app(cache=True)
def fit(parts):
    note("fit")
    return {"size": sum(map(len, parts)), "parts": list(parts)}


@pc.python_app
def tell(model):  # not cached
    note("tell")
    return str(model["size"])


@pytest.fixture
def run(tmp_path):
    """Begin a run, beside what earlier runs have recorded; it ends the one before."""
    with contextlib.ExitStack() as stack:

        def begin(**config):
            stack.close()
            forget()
            config.setdefault("executors", [pc.ThreadPoolExecutor(max_workers=2)])
            config.setdefault("checkpoint_mode", "task_exit")
            config.setdefault("run_dir", str(tmp_path / "runs"))
            return stack.enter_context(pc.load(pc.Config(**config)))

        yield begin


def recorded(dfk, names="abc"):
    with dfk.plan() as plan:
        parts = [clean(read(name)) for name in names]
        model = fit(parts)
    return plan, parts, model


# --- recording and running ------------------------------------------------------------------------


def test_calls_are_recorded_and_nothing_starts(run):
    dfk = run()
    plan, _, model = recorded(dfk)
    assert len(plan) == 7
    assert [name.rpartition("-")[0] for name in plan.job.tasks] == ["read", "clean"] * 3 + ["fit"]
    assert [output.task for output in plan.job.requested] == [plan.name(model)]
    assert dfk.kernel.tasks == {} and ran() == []
    assert set(dfk.counts().values()) == {0}


def test_a_plan_runs_and_futures_behave_as_always(run):
    plan, parts, model = recorded(run())
    outcomes = plan.run()
    assert outcomes.results(DEADLINE) == [model.result()]
    assert list(outcomes) == [model] and outcomes[0] is model and outcomes[:1] == (model,)
    assert model.result()["parts"] == [part.result() for part in parts]
    assert {one.task_status() for one in (*parts, model)} == {"exec_done"}
    assert cf.wait(plan.futures, DEADLINE).not_done == set()
    assert "7 run, 0 restored, 0 cut" in repr(outcomes)


def test_a_second_run_starts_nothing_and_loads_nothing_before_someone_looks(run):
    recorded(run())[0].run().results()
    dfk = run()
    plan, parts, model = recorded(dfk)
    found = plan.look()
    assert found.restored == (plan.name(model),) and len(found.cut) == 6 and found.run == ()
    plan.run()
    assert dfk.kernel.tasks == {} and model._lazy is not None
    assert model.result()["size"] == 27 and model.from_memo
    assert ran() == []
    assert parts[1].result() == "TEXT OF B" and ran() == []  # it was cut, and is there all the same


def test_what_is_wanted_decides(run):
    dfk = run()
    with dfk.plan() as plan:
        parts = [clean(read(name)) for name in "abc"]
        model = fit(parts)
        plan.want(parts[2])
    assert plan.look().run == (
        plan.name(parts[2]).replace("clean-5", "read-4"),
        plan.name(parts[2]),
    )
    assert plan.run().results() == ["TEXT OF C"]
    assert sorted(ran()) == [("clean", "c"), ("read", "c")]
    # Whoever asks for what was cut gets it, and what it takes is computed for that.
    assert model.result()["size"] == 27
    assert len(ran()) == 7


def test_wants_may_be_nested_and_repeated_and_parts_and_inner_ones(run):
    dfk = run()
    with dfk.plan() as plan:
        parts = [clean(read(name)) for name in "abc"]
        model = fit(parts)
        plan.want({"x": [model["size"], (parts[0],)]}, parts[0])
        plan.want([])
    assert {output.task for output in plan.job.requested} == {plan.name(model), plan.name(parts[0])}
    assert plan.run().results() == [27, "TEXT OF A", "TEXT OF A"]


def test_wanting_nothing_runs_nothing(run):
    dfk = run()
    with dfk.plan() as plan:
        read("a")
        plan.want()
    assert plan.run().results() == [] and ran() == []


def test_equal_calls_are_one_task(run):
    dfk = run()
    with dfk.plan() as plan:
        texts = [read("a") for _ in range(5)]
        parts = [clean(text) for text in texts]
    assert len(plan) == 2 and len(plan.futures) == 10
    assert {plan.name(part) for part in parts} == {plan.name(parts[0])}
    plan.run()
    assert [part.result() for part in parts] == ["TEXT OF A"] * 5
    assert ran() == [("read", "a"), ("clean", "a")]


def test_a_restart_in_the_middle_restores_what_is_there_and_runs_the_rest(run):
    dfk = run()
    with dfk.plan() as plan:
        parts = [clean(read(name)) for name in "ab"]
        plan.want(parts[0])
    plan.run().results()
    plan, parts, model = recorded(run())
    found = plan.look()
    assert plan.name(parts[0]) in found.restored and plan.name(model) in found.run
    plan.run()
    assert model.result()["size"] == 27
    assert ran("read") == [("b",), ("c",)] == ran("clean")


def test_an_app_that_is_not_cached_runs_and_what_it_takes_is_restored(run):
    def make(dfk):
        with dfk.plan() as plan:
            model = fit([read("a")])
            told = tell(model)
        return plan, model, told

    make(run())[0].run().results()
    plan, model, told = make(run())
    assert plan.look().restored == (plan.name(model),) and plan.look().run == (plan.name(told),)
    assert plan.run().results() == ["9"] and ran() == [("tell",)]


def test_what_depends_on_an_uncached_app_is_looked_up_by_value_when_that_has_run(run):
    @pc.python_app
    def draw():
        note("draw")
        return 4

    @pc.python_app(cache=True)
    def square(x):
        note("square")
        return x * x

    for expected in ([("draw",), ("square",)], [("draw",)]):
        dfk = run()
        with dfk.plan() as plan:
            square(draw())
        assert len(plan.look().run) == 2
        assert plan.run().results() == [16] and ran() == expected


def test_a_plan_does_not_look_through_an_app_that_is_no_function_of_its_inputs(run):
    state = {"value": 1}

    @pc.python_app(cache=True, lineage=False)
    def fetch(name):
        return state["value"]

    @pc.python_app(cache=True)
    def use(x):
        note("use", x)
        return x + 1

    def make(dfk):
        with dfk.plan() as plan:
            fetched = fetch("a")
            used = use(fetched)
        return plan, fetched, used

    make(run())[0].run().results()
    plan, fetched, used = make(run())
    assert plan.look().restored == (plan.name(fetched),) and plan.look().run == (plan.name(used),)
    assert plan.run().results() == [2] and ran() == []  # by value it is a hit


def test_changed_code_restores_nothing_that_depends_on_it(run, tmp_path):
    def make(dfk, factor):
        source = f"def scale(x):\n    return x * {factor}\n"
        path = tmp_path / f"scale{factor}.py"
        path.write_text(source)
        space = {"__name__": "scaling"}
        exec(compile(source, str(path), "exec"), space)
        scale = pc.python_app(cache=True)(space["scale"])

        @pc.python_app(cache=True)
        def add(x):
            return x + 1

        with dfk.plan() as plan:
            add(scale(10))
        return plan

    assert make(run(), 2).run().results() == [21]
    plan = make(run(), 3)
    assert plan.look().restored == () and len(plan.look().run) == 2
    assert plan.run().results() == [31]
    plan = make(run(), 2)
    assert plan.look().run == () and plan.run().results() == [21]


def test_a_call_that_is_to_run_anew_takes_along_what_depends_on_it(run):
    recorded(run())[0].run().results()
    dfk = run()
    with dfk.plan() as plan:
        texts = [read("a"), read.fresh("b")]
        parts = [clean(text) for text in texts]
    found = plan.look()
    assert found.restored == (plan.name(parts[0]),)
    assert found.run == (plan.name(texts[1]), plan.name(parts[1]))
    assert plan.run().results() == ["TEXT OF A", "TEXT OF B"]
    assert ran() == [("read", "b")]  # its value is the same: what depends on it is found by that


def test_futures_that_are_not_of_the_plan_are_arguments_like_any_other(run):
    dfk = run()
    outside, foreign = read("a"), cf.Future()
    assert outside.result() == "text of a"
    with dfk.plan() as plan:
        clean(outside), clean(foreign)
    assert len(plan) == 2 and len(plan.look().run) == 2
    outcomes = plan.run()
    foreign.set_result("text of f")
    assert outcomes.results() == ["TEXT OF A", "TEXT OF F"]
    dfk = run()
    with dfk.plan() as plan:
        first = clean(read("a"))
    assert plan.look().restored == (plan.name(first),)


def test_a_restored_call_outside_the_plan_counts_as_what_it_is(run):
    recorded(run())[0].run().results()
    dfk = run()
    outside = read("a")  # a hit
    with dfk.plan() as plan:
        part = clean(outside)
    assert plan.look().restored == (plan.name(part),)


def test_parts_of_values_are_no_tasks(run):
    dfk = run()
    with dfk.plan() as plan:
        model = fit([read("a")])
        size = tell({"size": model["size"]})
        model["parts"][0]
    assert len(plan) == 3
    assert [edge.source for edge in plan.job.inputs(plan.name(size))] == [plan.name(model)]
    assert plan.run().results() == ["9"]


def test_output_files_are_outputs_of_their_call(run, tmp_path):
    out = tmp_path / "out"

    @pc.bash_app(cache=True)
    def write(text, outputs=()):
        return f"echo {text} >> {outputs[0]}"

    @pc.python_app(cache=True)
    def size(file):
        return len(file.read_bytes()) if hasattr(file, "read_bytes") else out.stat().st_size

    def make(dfk):
        with dfk.plan() as plan:
            written = write("abc", outputs=[pc.File(str(out))])
            length = size(written.outputs[0])
        return plan, written, length

    plan, written, length = make(run())
    edge = plan.job.inputs(plan.name(length))[0]
    assert tuple(edge)[:2] == (plan.name(written), "file0")
    assert plan.run().results() == [4]
    plan, written, length = make(run())
    assert plan.look().restored == (plan.name(length),)
    assert plan.run().results() == [4] and out.read_text() == "abc\n"
    out.write_text("something else")
    plan, written, length = make(run())
    assert plan.name(written) in plan.look().run
    with dfk_plan_wanting(pc.dfk(), written) as other:
        pass
    assert len(other) == 0


@contextlib.contextmanager
def dfk_plan_wanting(dfk, future):
    with dfk.plan() as plan:
        with pytest.raises(UnknownWantError):
            plan.want(future)
        yield plan


def test_other_threads_call_apps_as_always_while_a_plan_is_recorded(run):
    dfk = run()
    found = []
    with dfk.plan() as plan:
        text = read("a")
        thread = threading.Thread(target=lambda: found.append(read("z").result(DEADLINE)))
        thread.start()
        thread.join(DEADLINE)
    assert found == ["text of z"] and len(plan) == 1 and ran() == [("read", "z")]
    plan.run()
    assert text.result() == "text of a"


def test_who_has_a_copy_of_the_context_of_a_plan_is_not_recorded_any_more_when_it_is_over(run):
    dfk = run()
    with dfk.plan() as plan:
        copied = contextvars.copy_context()
        copied.run(read, "a")
    assert len(plan) == 1

    def later():
        with dfk.plan() as other:
            text = read("b")
        return other, text

    other, text = copied.run(later)
    assert len(other) == 1 and other.run().results(DEADLINE) == [text.result()]
    with dfk.plan():
        called = copied.run(read, "c")
    assert called.result(DEADLINE) == "text of c" and len(plan) == 1


def test_a_call_of_another_thread_cannot_take_what_is_only_planned(run):
    dfk = run()
    with dfk.plan():
        text = read("a")
    late = clean(text)
    assert isinstance(late.exception(DEADLINE), PlanNotRunError) and ran() == []


def test_join_apps_call_apps_as_always_when_they_run(run):
    @pc.join_app
    def both(names):
        return [clean(read(name)) for name in names]

    dfk = run()
    with dfk.plan() as plan:
        both("ab")
    assert len(plan) == 1 and plan.run().results() == [["TEXT OF A", "TEXT OF B"]]


def test_a_failure_is_its_futures_and_its_dependants(run):
    @pc.python_app(cache=True)
    def fail(x):
        raise ValueError(x)

    dfk = run()
    with dfk.plan() as plan:
        failed = fail(1)
        dependant = clean(failed)
        good = read("a")
    outcomes = plan.run()
    assert isinstance(failed.exception(), ValueError)
    assert isinstance(dependant.exception(), pc.DependencyError)
    assert good.result() == "text of a"
    with pytest.raises(pc.DependencyError):
        outcomes.results(DEADLINE)


def test_results_wait_no_longer_than_they_are_told(run):
    go = threading.Event()

    @pc.python_app
    def wait():
        go.wait(DEADLINE)

    dfk = run()
    with dfk.plan() as plan:
        wait()
    outcomes = plan.run()
    with pytest.raises(cf.TimeoutError):
        outcomes.results(0)
    go.set()
    assert outcomes.results(DEADLINE) == [None]


def test_a_deep_chain_that_was_cut_is_computed_without_recursion(run):
    @pc.python_app
    def step(x):
        return x + 1

    dfk = run()
    with dfk.plan() as plan:
        future = step(0)
        for _ in range(3000):
            future = step(future)
        plan.want()
    plan.run()
    assert future.result(DEADLINE) == 3001


# --- damage ---------------------------------------------------------------------------------------


@pc.python_app(cache=True)
def bulk(n):
    note("bulk", n)
    return bytes(n) * 200_000


@pc.python_app(cache=True)
def weigh(data, by=1):
    note("weigh")
    return bytes([by]) * (len(data) // 2)


def blobs(tmp_path):
    return sorted(path for path in (tmp_path / "runs").rglob("blobs/*/*") if path.is_file())


def weighed(dfk):
    with dfk.plan() as plan:
        data = bulk(3)
        weight = weigh(data)
    return plan, data, weight


def test_a_payload_that_is_gone_is_noticed_before_anything_runs_and_the_plan_is_cut_again(
    run, tmp_path
):
    weighed(run())[0].run().results()
    for blob in blobs(tmp_path):
        if blob.stat().st_size == 300_000:
            blob.unlink()
    plan, data, weight = weighed(run())
    assert plan.look().restored == (plan.name(weight),)
    outcomes = plan.run()
    assert outcomes.trim.restored == (plan.name(data),)
    assert outcomes.trim.run == (plan.name(weight),)
    assert outcomes.results() == [bytes([1]) * 300_000] and ran() == [("weigh",)]


def test_with_check_a_payload_with_a_wrong_byte_is_noticed_as_well(run, tmp_path):
    weighed(run())[0].run().results()
    for blob in blobs(tmp_path):
        if blob.stat().st_size == 300_000:
            spoil(blob)
    plan, _, weight = weighed(run())
    outcomes = plan.run(check=True)
    assert outcomes.trim.run == (plan.name(weight),)
    assert outcomes.results() == [bytes([1]) * 300_000] and ran() == [("weigh",)]


def test_damage_that_is_found_later_has_that_branch_computed_again(run, tmp_path):
    weighed(run())[0].run().results()
    for blob in blobs(tmp_path):
        spoil(blob)
    plan, data, _ = weighed(run())
    outcomes = plan.run()
    assert outcomes.trim.run == ()
    with pytest.warns(pc.CheckpointWarning):
        assert outcomes.results() == [bytes([1]) * 300_000]
    assert ran() == [("bulk", 3), ("weigh",)]
    assert data.result() == bytes(600_000)


def spoil(path):
    path.chmod(0o600)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


# --- bad input ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "ask",
    [
        lambda future: future.result(),
        lambda future: future.exception(),
        lambda future: future.done(),
        lambda future: cf.wait([future]),
        lambda future: list(cf.as_completed([future])),
        lambda future: future["x"].result(),
    ],
)
def test_blocking_inside_a_plan_is_an_error_that_names_the_task(run, ask):
    dfk = run()
    with dfk.plan() as plan:
        text = read("a")
        with pytest.raises(PlanNotRunError, match=r"plan\.run") as caught:
            ask(text)
    assert isinstance(caught.value, PlanError)
    with pytest.raises(PlanNotRunError) as caught:
        text.result()
    assert caught.value.fields["tasks"] == (plan.name(text),)
    assert plan.run().results() == ["text of a"]


def test_a_plan_runs_once(run):
    plan, _, model = recorded(run())
    plan.run()
    for again in (plan.run, lambda: plan.want(model), plan.__enter__):
        with pytest.raises(PlanUsedError):
            again()


def test_a_plan_is_not_run_while_it_is_recorded_nor_after_its_block_has_failed(run):
    dfk = run()
    with pytest.raises(ZeroDivisionError), dfk.plan() as plan:
        read("a")
        with pytest.raises(PlanUsedError):
            plan.run()
        _ = 1 / 0
    with pytest.raises(PlanUsedError):
        plan.run()
    assert read("b").result() == "text of b"  # calls are made again


def test_plans_are_not_nested(run):
    dfk = run()
    with dfk.plan() as plan:
        with pytest.raises(PlanUsedError), dfk.plan():
            raise AssertionError
        read("a")
    assert len(plan) == 1


def test_a_plan_does_not_run_on_a_kernel_that_has_ended(run):
    plan, _, model = recorded(dfk := run())
    dfk.cleanup()
    with pytest.raises(KernelClosedError):
        plan.run()
    with pytest.raises(PlanNotRunError):
        model.result()


@pytest.mark.parametrize("wrong", ["fit", 3, None, cf.Future()])
def test_a_want_that_is_not_in_the_plan(run, wrong):
    dfk = run()
    with dfk.plan() as plan:
        read("a")
        with pytest.raises(UnknownWantError):
            plan.want(wrong)


def test_a_want_of_another_plan(run):
    dfk = run()
    _, _, other = recorded(dfk)
    with dfk.plan() as plan:
        read("a")
        with pytest.raises(UnknownWantError):
            plan.want(other)
    with pytest.raises(UnknownTaskError):
        plan.name(other)
    with pytest.raises(UnknownTaskError):
        plan.why("fit-77")


def test_a_call_that_cannot_be_made_is_its_futures_error(run):
    dfk = run()
    with dfk.plan() as plan:
        wrong = read()
        late = clean(wrong)
    assert isinstance(wrong.exception(), TypeError)
    plan.run()
    assert isinstance(late.exception(DEADLINE), pc.DependencyError)


def test_a_call_that_cannot_be_made_is_not_missing_among_the_outcomes(run):
    dfk = run()
    with dfk.plan() as plan:
        fine, wrong = read("a"), read()
    outcomes = plan.run()
    with pytest.raises(TypeError, match="missing"):
        outcomes.results(DEADLINE)
    assert list(outcomes) == [fine, wrong]
    with dfk.plan() as plan:
        plan.want(read("a"))
        read()  # not wanted: it is told by explain()
    assert plan.run().results(DEADLINE) == [fine.result(DEADLINE)]


def test_a_want_that_cannot_be_made_is_told_with_its_reason(run):
    dfk = run()
    with dfk.plan() as plan:
        wrong = read()
        with pytest.raises(UnknownWantError, match=r"read .* cannot be made: TypeError") as caught:
            plan.want(clean(read("a")), wrong)
        assert caught.value.tasks == (f"read-{wrong.tid}",)
        assert isinstance(caught.value.__cause__, TypeError)


def test_why_before_and_after(run):
    plan, parts, model = recorded(run())
    assert "no earlier call of it is recorded" in str(plan.why(model))
    plan.run().results()
    assert str(plan.why(model))
    plan, parts, model = recorded(run())
    assert "recorded in run 000" in str(plan.why(model)) and plan.standing(parts[0]).state == "hit"
    plan.run()
    assert "recorded in run 000" in str(plan.why(model))


def test_an_interrupted_run_goes_on_when_it_is_called_again(run):
    recorded(run(), "a")[0].run().results()
    dfk = run()
    with dfk.plan() as plan:
        first, second = clean(read("a")), clean(read("b"))
    hit = dfk.kernel.submission._hit

    def interrupted(*args):
        hit(*args)
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(dfk.kernel.submission, "_hit", interrupted)
        plan.run()
    assert plan.run().results() == ["TEXT OF A", "TEXT OF B"]
    assert first.from_memo and not second.from_memo


@pytest.mark.parametrize("where", ["persist", "Purging", "load", "end"])
def test_wherever_a_run_is_interrupted_it_goes_on_when_it_is_called_again(run, tmp_path, where):
    dfk = run()
    with dfk.plan(PersistSpec(tmp_path / "runs", persist_id="all")) as plan:
        parts = [clean(read(name)) for name in "abc"]
    place, name = {"load": (Planned, "load"), "end": (Plan, "_decide")}.get(where, (module, where))
    whole = getattr(place, name)

    def interrupted(*args):
        whole(*args)
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(place, name, interrupted)
        plan.run()
    with pytest.raises(PlanUsedError):
        plan.want(parts[0])
    outcomes = plan.run()
    assert outcomes.results(DEADLINE) == ["TEXT OF A", "TEXT OF B", "TEXT OF C"]
    told = outcomes.persisted.result(DEADLINE)
    assert len(told.named) + len(told.unchanged) == 6 and not told.missing
    assert len(ran()) == 6
    with pytest.raises(PlanUsedError):
        plan.run()
