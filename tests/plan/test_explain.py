"""What a plan would do, as it is told: counts, causes, reasons in full, a forecast."""

from __future__ import annotations

import contextlib
import doctest
import json
import os
import threading

import pytest

import parsl_ckpt as pc
from parsl_ckpt.checkpoint import Store
from parsl_ckpt.errors import ForecastError, PlanError, UnknownTaskError
from parsl_ckpt.plan import earlier, explain, finding


@pc.python_app(cache=True)
def read(name):
    return f"text of {name}"


def edition(number):
    """An app by its first and by its second code, under one name."""
    if number == 1:

        @pc.python_app(cache=True)
        def clean(text, mark="!"):
            return text.upper() + mark
    else:

        @pc.python_app(cache=True)
        def clean(text, mark="!"):
            return text.title() + mark

    return clean


def same_value():
    @pc.python_app(cache=True)
    def read(name):
        return "".join(["text of ", name])

    return read


clean, edited_clean = edition(1), edition(2)


@pc.python_app(cache=True)
def fit(parts, degree=1):
    return {"size": sum(map(len, parts)), "degree": degree}


@pc.python_app
def tell(model):  # not cached
    return str(model["size"])


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Begin a run, beside what earlier runs have recorded; it ends the one before."""
    monkeypatch.delenv("PARSL_CKPT", raising=False)
    with contextlib.ExitStack() as stack:

        def begin(workers=2, **config):
            stack.close()
            config.setdefault("executors", [pc.ThreadPoolExecutor(max_workers=workers)])
            config.setdefault("checkpoint_mode", "task_exit")
            config.setdefault("run_dir", str(tmp_path / "runs"))
            return stack.enter_context(pc.load(pc.Config(**config)))

        yield begin


def recorded(dfk, names="abc", clean=clean, read=read, degree=1):
    with dfk.plan() as plan:
        parts = [clean(read(name)) for name in names]
        model = fit(parts, degree)
    return plan, parts, model


def lines(plan, *args):
    return str(plan.explain(*args)).splitlines()


def causes(plan):
    return {(one.app, one.why): one.number for one in plan.explain().causes}


# --- counts ---------------------------------------------------------------------------------------


def test_tasks_are_counted_by_app_in_the_order_of_the_plan(run):
    recorded(run())[0].run().results()
    plan, _, _ = recorded(run(), "abcd")
    told = plan.explain()
    assert (told.total, told.run, told.restored, told.cut) == (9, 3, 3, 3)
    assert [one[:4] for one in told.apps] == [
        ("read", 1, 0, 3), ("clean", 1, 3, 0), ("fit", 1, 0, 0)
    ]  # fmt: skip
    assert str(told).startswith("Plan of 9 tasks: 3 run, 3 are restored, 3 are cut away.\n")
    assert "clean    1         3    -" in str(told)


def test_explaining_starts_nothing_and_changes_nothing(run):
    dfk = run()
    plan, _, _ = recorded(dfk)
    before = plan.look()
    plan.explain("all"), plan.forecast(), plan.to_dot(), plan.to_html(), plan.why("fit-6")
    assert plan.look() == before and plan.trim is None
    assert set(dfk.counts().values()) == {0} and dfk.kernel.tasks == {}


def test_a_plan_without_calls_says_so(run):
    with run().plan() as plan:
        pass
    assert str(plan.explain()) == (
        "The plan is empty: no call of an app was recorded in its with block."
    )
    assert plan.forecast().seconds == 0


def test_a_plan_that_has_run_tells_what_was(run):
    recorded(run())[0].run().results()
    plan, _, _ = recorded(run(), clean=edited_clean)
    before = plan.explain()
    plan.run().results()
    after = plan.explain()
    assert str(after).startswith("Plan of 7 tasks: 4 ran, 3 were restored, none was cut away.")
    assert "Why they ran:" in str(after) and "Forecast" not in str(after)
    assert after.forecast is None
    assert after.causes == before.causes  # and not what has been recorded meanwhile


def test_what_turned_out_to_be_a_hit_is_not_told_as_having_run(run):
    recorded(run())[0].run().results()
    plan, _, model = recorded(run(), read=same_value())
    assert plan.explain().run == 7
    outcomes = plan.run()
    outcomes.results()
    told = plan.explain("all")
    assert (told.run, told.restored, told.cut) == (3, 4, 0)
    why = {one.name: (one.state, one.why) for one in told.tasks}
    assert why[plan.name(model)] == ("restored", "its call turned out to be a hit")
    assert [one.app for one in told.causes] == ["read"]
    assert len(outcomes.trim.run) == 7  # as it was decided
    assert "3 ran, 4 were restored" in plan.to_html()


def test_what_got_its_outcome_from_an_equal_call_is_not_told_as_having_run(run):
    with run().plan() as plan:
        texts = [tell(fit([read("a")], 1)), tell(fit([read("a")], 2))]
        last = [clean(text) for text in texts]  # equal, as is known when there are the texts
    plan.run().results(60)
    assert [future.from_memo for future in last].count(True) == 1
    told = plan.explain()
    assert [(one.app, one.run, one.restored) for one in told.apps][-1] == ("clean", 1, 1)


def test_of_a_plan_that_runs_the_rest_is_forecast(run):
    go = threading.Event()

    @pc.python_app
    def wait(text):
        assert go.wait(60)
        return text

    dfk = run()
    with dfk.plan() as plan:
        text = read("a")
        last = fit([wait(text)])
    assert plan.forecast(otherwise=1.0).tasks == 3
    plan.run()
    assert text.result(60)
    assert plan.forecast(otherwise=1.0).seconds == 2.0  # wait, fit
    told = plan.explain()
    assert told.summary().startswith("Plan of 3 tasks: 3 run,") and told.forecast.tasks == 2
    go.set()
    assert last.result(60)["size"] == 9
    assert plan.forecast(otherwise=1.0).tasks == 0
    assert str(plan.forecast()) == "0 s for 0 tasks on 2 workers"
    assert plan.explain().summary().startswith("Plan of 3 tasks: 3 ran,")


def test_a_plan_is_told_after_the_end_of_its_run(run):
    dfk = run()
    plan, _, _ = recorded(dfk)
    plan.run().results()
    dfk.cleanup()
    assert str(plan.explain()).startswith("Plan of 7 tasks: 7 ran")


# --- causes ---------------------------------------------------------------------------------------


def test_nothing_is_recorded_of_new_apps_and_what_they_feed_runs(run):
    assert causes(recorded(run())[0]) == {
        ("read", "no call of it is recorded"): 3,
        ("clean", "what it takes runs"): 3,
        ("fit", "what it takes runs"): 1,
    }


def test_other_arguments_are_told_from_other_code(run):
    recorded(run())[0].run().results()
    plan, _, _ = recorded(run(), "abcd", degree=2)
    assert causes(plan)["read", "no call with these arguments is recorded"] == 1


def test_changed_code_is_told_with_its_difference_once_for_each_app(run):
    recorded(run())[0].run().results()
    plan, _, _ = recorded(run(), clean=edited_clean)
    told = plan.explain()
    (edited,) = (one for one in told.causes if one.app == "clean")
    assert (edited.number, edited.why) == (3, "its code has changed since run 000")
    assert "-    return text.upper() + mark" in "\n".join(edited.details)
    assert "+    return text.title() + mark" in "\n".join(edited.details)
    assert str(told).count("text.title()") == 1


def test_a_long_difference_is_cut_and_says_where_the_rest_is(run, monkeypatch):
    monkeypatch.setattr(finding, "LINES", 3)
    recorded(run())[0].run().results()
    (edited,) = (
        one for one in recorded(run(), clean=edited_clean)[0].explain().causes if one.app == "clean"
    )
    assert len(edited.details) == 4 and "plan.why('clean-" in edited.details[-1]


def test_a_changed_version_is_told(run):
    def weighing(version):
        @pc.python_app(cache=True, version=version)
        def weigh(name):
            return len(name)

        return weigh

    for version in "12":
        with run().plan() as plan:
            weighing(version)("a")
        told = plan.explain()
        plan.run().results()
    assert told.causes[0].details == ("version: '1' → '2'",)


def test_apps_that_are_not_cached_and_calls_made_afresh_say_so(run):
    recorded(run(), "a")[0].run().results()
    with run().plan() as plan:
        tell(fit([read.fresh("a")]))
    found = causes(plan)
    assert found["tell", "its app is not cached"] == 1
    assert found["read", "it is to be run anew"] == 1


def test_a_switched_off_cache_says_so(run, monkeypatch):
    monkeypatch.setenv("PARSL_CKPT", "off")
    plan, _, model = recorded(run())
    assert set(causes(plan)) == {(app, finding.OFF) for app in ("read", "clean", "fit")}
    assert "PARSL_CKPT=off" in str(plan.why(model))


def test_a_refreshed_cache_is_not_taken_for_an_empty_one(run, monkeypatch):
    recorded(run())[0].run().results()
    monkeypatch.setenv("PARSL_CKPT", "refresh")
    found = causes(recorded(run())[0])
    assert {why for _, why in found} == {finding.OFF}


def test_what_is_known_only_when_its_inputs_are_says_so(run):
    @pc.python_app(cache=True, lineage=False)
    def now():
        return "now"

    for _ in range(2):
        with run().plan() as plan:
            clean(now())
        told = plan.explain()
        plan.run().results()
    assert [one.state for one in told.tasks] == ["restored", "run"]
    assert told.causes[0].why == "it is known only when what it takes is"
    assert explain.MAYBE.splitlines()[0] in str(plan.explain()) or told.maybe


def test_calls_that_cannot_be_made_are_told(run):
    with run().plan() as plan:
        clean(read())
        read("a")
    told = plan.explain()
    assert told.wrong == (("read", "TypeError: missing a required argument: 'name'"),)
    assert "Calls that cannot be made:\n  read: TypeError: missing" in str(told)
    assert "missing a required argument" in told._repr_html_()
    with run().plan() as plan:
        read()
    assert "missing a required argument" in str(plan.explain())


def test_that_a_task_may_not_have_to_run_is_said_only_where_it_may_not(run):
    plan, _, _ = recorded(run())
    assert explain.MAYBE in str(plan.explain())
    with run().plan() as plan:
        read("x")
    assert explain.MAYBE not in str(plan.explain())


# --- task by task ---------------------------------------------------------------------------------


def test_a_large_plan_is_told_in_part_and_says_how_to_see_all(run):
    with run().plan() as plan:
        for number in range(100):
            clean(read(str(number)))
    told = lines(plan)
    assert told[-1] == "and 180 more; explain(tasks='all') has them."
    assert len(plan.explain().tasks) == explain.TASKS == 20
    assert {one.app for one in plan.explain().tasks} == {"read", "clean"}
    assert len(plan.explain("all").tasks) == 200
    assert "more;" not in str(plan.explain("all"))
    assert len(plan.explain(3).tasks) == 3
    assert plan.explain(0).tasks == () and "and 200 more" not in str(plan.explain(0))


def test_of_a_large_plan_code_is_compared_once_for_each_app(run, monkeypatch):
    recorded(run(), "a")[0].run().results()
    dfk = run()
    plan, _, _ = recorded(dfk, map(str, range(2000)), clean=edited_clean)
    asked = []
    edited = dfk._asking.edited
    monkeypatch.setattr(
        dfk._asking, "edited", lambda spec, *args: asked.append(spec.name) or edited(spec, *args)
    )
    told = plan.explain()
    assert asked == ["clean"] and told.causes[1].number == 2000
    assert len(str(told).splitlines()) < 60


def test_each_task_has_its_state_and_its_reason(run):
    recorded(run())[0].run().results()
    plan, _, _ = recorded(run(), "abcd")
    told = {one.name: (one.state, one.why) for one in plan.explain().tasks}
    assert told["read-0"] == ("cut", "nobody needs it")
    assert told["clean-1"][0] == "restored"
    assert told["clean-1"][1].startswith("recorded in run 000, where it took ")
    assert told["clean-7"] == ("run", "it takes read-6, which runs")
    assert told["fit-8"] == ("run", "it takes clean-7, which runs")


def test_tasks_that_are_asked_for_are_told_in_full(run):
    recorded(run())[0].run().results()
    plan, parts, model = recorded(run(), clean=edited_clean)
    told = plan.explain([parts[0], {"model": model}])
    assert [name for name, _ in told.reasons] == [plan.name(parts[0]), plan.name(model)]
    assert told.tasks == () and "text.title()" in str(told.reasons[0][1])
    assert plan.explain(parts[0]).reasons == plan.explain(plan.name(parts[0])).reasons
    assert str(plan.why(model)) in str(plan.explain(model)).replace("\n  ", "\n")


def test_wrong_questions_are_refused(run):
    plan, _, _ = recorded(run())
    for wrong in (-1, None):
        with pytest.raises(PlanError):
            plan.explain(wrong)
    for unknown in ("nobody", 1.5, read("elsewhere")):
        with pytest.raises(UnknownTaskError):
            plan.explain(unknown)


def test_an_explanation_is_plain_data_too(run):
    recorded(run())[0].run().results()
    plan, _, model = recorded(run(), clean=edited_clean)
    told = json.loads(json.dumps(plan.explain(model).to_dict()))
    assert (told["run"], told["restored"]) == (4, 3)
    assert told["reasons"][plan.name(model)]["reason"] == "Upstream"
    assert told["forecast"]["tasks"] == 4


# --- why, of calls whose inputs are futures -------------------------------------------------------


def test_why_of_a_call_that_was_not_begun(run):
    plan, parts, model = recorded(run())
    for one in (parts[0], model):
        assert str(one.why()).startswith(
            f"{plan.name(one).rpartition('-')[0]}: it stands in a plan"
        )
    with run().plan() as plan:
        parts = [clean(read(name)) for name in "ab"]
        plan.want(parts[0])
    plan.run().results()
    assert type(parts[1].why()).__name__ == "NotBegun"  # cut away
    assert plan.why(parts[1]).tasks == (plan.name(parts[1]).replace("clean-3", "read-2"),)
    assert parts[1].result() and str(plan.why(parts[1])) == str(parts[1].why())


def test_why_of_a_call_that_takes_a_future_tells_that_its_code_changed(run):
    recorded(run())[0].run().results()
    plan, parts, _ = recorded(run(), clean=edited_clean)
    reason = plan.why(parts[1])  # its input is recorded
    assert type(reason).__name__ == "Differs" and reason.run == "000"
    assert [one.kind for one in reason.differences] == ["function"]
    plan, parts, _ = recorded(run(), "xyz", clean=edited_clean)
    reason = plan.why(parts[1])  # its input is not
    assert [one.kind for one in reason.differences] == ["function", "argument"]
    assert "text: not known before read-2 is computed" in str(reason)


def test_why_of_a_call_whose_inputs_run_names_them(run):
    recorded(run())[0].run().results()
    plan, parts, model = recorded(run(), "abcx", clean=edited_clean)
    reason = plan.why(model)
    assert reason.tasks == tuple(map(plan.name, parts))
    assert "fit: it takes clean-1, clean-3, clean-5 and 1 more, which run." in str(reason)


def test_why_of_a_call_compares_the_arguments_that_are_known(run):
    recorded(run())[0].run().results()
    plan, _, model = recorded(run(), "x", degree=2)
    assert "degree: 1 → 2" in str(plan.why(model))
    assert "parts: not known before clean-1 is computed" in str(plan.why(model))


def test_why_of_a_call_compares_the_recorded_values_of_its_inputs(run):
    recorded(run(), "ab")[0].run().results()
    dfk = run()
    with dfk.plan() as plan:
        again = clean(read("a"), mark="?")
        part = fit([clean(read("a"))])["size"]
        other = clean(part)
    assert "mark: '!' → '?'" in str(plan.why(again))
    assert type(plan.why(other)).__name__ in ("Differs", "Upstream")


def test_why_of_a_call_whose_inputs_came_to_the_same_says_that_it_is_found(run):
    recorded(run(), "a")[0].run().results()
    with run().plan() as plan:
        same_value()("a")
    plan.run().results()
    plan, parts, _ = recorded(run(), "a", read=same_value())
    reason = plan.why(parts[0])
    assert type(reason).__name__ == "FoundByValue" and reason.run == "000"
    future = parts[0]
    plan.run().results()
    assert future.from_memo


def test_why_of_records_that_do_not_hold(run):
    def strict(valid):
        @pc.python_app(cache=True, valid_if=lambda record: valid)
        def weigh(name):
            return len(name)

        return weigh

    with run().plan() as plan:
        strict(True)("a")
    plan.run().results()
    with run().plan() as plan:
        future = strict(False)("a")
    assert type(plan.why(future)).__name__ == "Expired"
    assert causes(plan) == {("weigh", "what is recorded does not hold any more"): 1}


def test_why_of_files_that_are_not_what_they_were(run, tmp_path):
    path = str(tmp_path / "out.txt")

    @pc.python_app(cache=True)
    def write(outputs=()):
        with open(outputs[0], "w") as file:
            file.write("whole")

    with run().plan() as plan:
        write(outputs=[pc.File(path)])
    plan.run().results()
    os.unlink(path)
    with run().plan() as plan:
        future = write(outputs=[pc.File(path)])
    assert type(plan.why(future)).__name__ == "Spoiled"


def test_why_of_what_takes_a_file_or_a_foreign_future(run, tmp_path):
    import concurrent.futures as cf

    path = str(tmp_path / "out.txt")

    @pc.python_app(cache=True)
    def write(outputs=()):
        with open(outputs[0], "w") as file:
            file.write("whole")

    @pc.python_app(cache=True)
    def size(file):
        return os.path.getsize(file)

    done, pending = cf.Future(), cf.Future()
    done.set_result("text")
    with run().plan() as plan:
        weighed = size(write(outputs=[pc.File(path)]).outputs[0])
        known, unknown = clean(done), clean(pending)
    assert "no earlier call of it" in str(plan.why(weighed))
    clean("earlier").result()
    assert "text: 'earlier' → 'text'" in str(plan.why(known))
    assert "it takes what is not known before it is computed" in str(plan.why(unknown))
    pending.cancel()


def test_why_of_what_takes_a_recorded_file_does_not_take_the_value_for_it(run, tmp_path):
    @pc.python_app(cache=True)
    def write(outputs=()):
        with open(outputs[0], "w") as file:
            file.write("whole")

    @pc.python_app(cache=True)
    def size(file, unit=1):
        return os.path.getsize(file) // unit

    for unit in (1, 2):
        with run().plan() as plan:
            weighed = size(write(outputs=[pc.File(str(tmp_path / "out"))]).outputs[0], unit)
        reason = plan.why(weighed)
        plan.run().results()
    assert [one.name for one in reason.differences] == ["unit"]


def test_a_forgotten_record_is_told(run):
    recorded(run(), "a")[0].run().results()
    run()
    read.forget("a")
    plan, _, _ = recorded(run(), "a")
    assert type(plan.why("read-0")).__name__ == "Removed"


def test_a_call_made_afresh_tells_that_it_was_asked(run):
    recorded(run(), "a")[0].run().results()
    with run().plan() as plan:
        future = read.fresh("a")
    assert str(plan.why(future)) == (
        "read: it was asked to run anew, although it is recorded in run 000."
    )


def test_what_is_not_kept_says_so_and_its_duration_is_known(run):
    @pc.python_app(persist=False)
    def expand(name):
        return name * 1000

    @pc.python_app(cache=True)
    def measure(text, unit=1):
        return len(text) // unit

    for unit in (1, 10):
        with run().plan() as plan:
            large = expand("a")
            measured = measure(large, unit)
        told = plan.explain()
        if unit == 1:
            plan.run().results()
    assert ("expand", "its value is not kept") in {(one.app, one.why) for one in told.causes}
    assert str(plan.why(large)) == "expand: its value is not kept."
    assert "unit: 1 → 10" in str(plan.why(measured))
    assert plan.forecast().unknown == 0


# --- forecast -------------------------------------------------------------------------------------


def put(tmp_path, *seconds, run="000", app="clean"):
    """Records of an app from elsewhere, that lasted so long."""
    with Store.open(tmp_path / "runs" / run / "checkpoint") as store:
        for number, each in enumerate(seconds):
            store.put((app, number), number, app=app, seconds=each)


def test_a_call_counts_as_long_as_calls_of_its_app_took_on_average(run, tmp_path):
    put(tmp_path, 3.0, 5.0)
    with run(workers=2).plan() as plan:
        for number in range(3):
            clean(str(number))
    told = plan.forecast()
    assert (told.seconds, told.chain, told.work, told.width) == (8.0, 4.0, 12.0, 2)
    assert plan.forecast(width=1).seconds == 12.0
    assert "Forecast: 8.0 s for 3 tasks on 2 workers." in lines(plan)
    assert plan.explain().apps[0].work == 12.0


def test_what_is_not_known_is_counted_apart(run, tmp_path):
    put(tmp_path, 4.0)
    with run(workers=1).plan() as plan:
        clean(read("a"))
    told = plan.forecast()
    assert (told.seconds, told.unknown) == (4.0, 1)
    assert plan.forecast(otherwise=2.0).seconds == 6.0
    assert "and longer: 1 of unknown duration counts as nothing" in lines(plan)[1]
    with run().plan() as plan:
        read("a")
    assert lines(plan)[1] == "Forecast: none, because no call of these apps is recorded."


def test_a_call_counts_as_long_as_its_own_record_says_though_that_does_not_hold(run, tmp_path):
    @pc.python_app(cache=True, valid_if=lambda record: False)
    def weigh(name):
        return len(name)

    with run().plan() as plan:
        weigh("a")
    plan.run().results()
    put(tmp_path, 1000.0, app="weigh", run="001")
    with run().plan() as plan:
        future = weigh("a")
    assert plan.forecast().seconds == plan.standing(future).stored.result.seconds < 1000


def test_restored_tasks_take_no_time(run):
    recorded(run())[0].run().results()
    plan, _, _ = recorded(run())
    assert (plan.forecast().seconds, plan.forecast().tasks) == (0.0, 0)
    assert "Forecast" not in str(plan.explain())


def test_a_forecast_refuses_nonsense(run):
    plan, _, _ = recorded(run())
    with pytest.raises(ForecastError):
        plan.forecast(width=0)
    with pytest.raises(ForecastError):
        plan.forecast(otherwise=float("nan"))


def test_the_sample_is_bounded(tmp_path):
    put(tmp_path, *[1.0] * 50)
    put(tmp_path, *[1.0] * 10, app="fit", run="001")
    with Store.open(None, sources=[tmp_path / "runs" / r / "checkpoint" for r in ("000", "001")]) \
            as store:  # fmt: skip
        found = earlier.sample(store, {"clean", "fit"}, most=30)
        assert (found.apps["fit"].count, found.apps["clean"].count) == (10, 20)
        assert not found.whole
        assert earlier.sample(store, {"clean", "none"}).whole
        assert earlier.sample(store, {"clean"}, before=0.0).mean("clean") is None


def test_outcomes_that_are_not_flushed_yet_count(run):
    dfk = run(checkpoint_mode="manual")
    read("a").result()
    with dfk.plan() as plan:
        read("b")
    assert plan.forecast().unknown == 0


# --- for people -----------------------------------------------------------------------------------


def test_a_plan_says_what_it_is(run):
    dfk = run()
    with dfk.plan() as plan:
        assert repr(plan) == "<Plan: 0 calls, open>"
        read("a")
        assert len(plan) == 1
        read("b")["part"]
        assert len(plan) == 2  # asking does not end the recording
    assert repr(plan) == "<Plan: 2 calls, recorded>"
    plan.run().results()
    assert repr(plan) == "<Plan: 2 calls, has run>"
    with pytest.raises(KeyError), dfk.plan() as plan:
        raise KeyError
    assert repr(plan) == "<Plan: 0 calls, its with block has failed>"


def test_an_explanation_is_short_in_a_prompt(run):
    plan, _, _ = recorded(run())
    assert repr(plan.explain()) == (
        "<Explanation: Plan of 7 tasks: 7 run, none is restored, none is cut away.>"
    )


def test_tables_are_aligned():
    rows = [("a", "1", "x"), ("longer", "1,000", "-")]
    assert list(explain.columns(("app", "run", "work"), rows, right=1)) == [
        "app       run  work",
        "a           1     x",
        "longer  1,000     -",
    ]


def test_the_examples_in_the_text_hold():
    results = doctest.testmod(explain)
    assert results.attempted and not results.failed
