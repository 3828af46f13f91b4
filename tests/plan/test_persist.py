"""What is restored from which named set and persisted to which, on kernels."""

from __future__ import annotations

import concurrent.futures as cf
import contextlib
import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import parsl_ckpt as pc
from parsl_ckpt.checkpoint import Store, get_all_checkpoints, maintain
from parsl_ckpt.checkpoint.pins import Pins
from parsl_ckpt.errors import PersistError
from parsl_ckpt.plan import Candidate, PersistSpec, naming
from parsl_ckpt.plan import persist as select
from parsl_ckpt.plan import plan as module
from parsl_ckpt.testing.executors import ManualExecutor

DEADLINE = 60.0


def ran():
    return sorted(Path(os.environ["RAN"]).read_text().split())


def note(what):
    with open(os.environ["RAN"], "a") as file:
        file.write(f"{what}\n")


@pc.python_app(cache=True)
def read(name):
    note("read")
    return f"text of {name}"


@pc.python_app(persist=False)
def widen(text):
    note("widen")
    return text * 100


@pc.python_app(cache=True, tag="final")
def fit(parts):
    note("fit")
    return sum(map(len, parts))


@pc.python_app
def tell(model):  # not cached
    note("tell")
    return str(model)


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("RAN", str(tmp_path / "ran"))
    Path(os.environ["RAN"]).touch()
    return tmp_path / "runs"


@pytest.fixture
def run(root):
    """Begin a run over what earlier ones have recorded; it ends the one before."""
    with contextlib.ExitStack() as stack:

        def begin(**config):
            stack.close()
            Path(os.environ["RAN"]).write_text("")
            config.setdefault("executors", [pc.ThreadPoolExecutor(max_workers=2)])
            config.setdefault("checkpoint_mode", "task_exit")
            return stack.enter_context(pc.load(pc.Config(run_dir=str(root), **config)))

        yield begin


def recorded(dfk, spec, names="ab"):
    with dfk.plan(persist=spec) as plan:
        model = fit([read(name) for name in names])
    return plan, model


def done(dfk, spec, names="ab"):
    plan, _ = recorded(dfk, spec, names)
    outcomes = plan.run()
    assert outcomes.results(DEADLINE) == [len("text of x") * len(names)]
    return outcomes


def seen(root, of):
    """What the names of a set stand for, read as another program would."""
    with Store.open(None, sources=get_all_checkpoints(root), named=False) as store:
        pins = Pins(store)
        found = {name: pins.result(named) for name, named in pins.names(of).items()}
        return {name: store.value(stored) for name, stored in found.items() if stored is not None}


ALL = {"read-0": "text of a", "read-1": "text of b", "fit-2": 18}


# -- the matrix ------------------------------------------------------------------------------------


def test_persisting_alone_names_what_was_computed(run, root):
    told = done(run(), PersistSpec(root, persist_id="one")).persisted.result(DEADLINE)
    assert sorted(told.named) == sorted(ALL) and not told.unchanged and not told.missing
    assert seen(root, "one") == ALL


def test_persisting_what_is_restored_names_it_by_reference(run, root):
    done(run(), None)
    outcomes = done(run(), PersistSpec(root, persist_id="one"))
    assert ran() == []
    assert sorted(outcomes.persisted.result(DEADLINE).named) == sorted(ALL)
    assert seen(root, "one") == ALL


def test_restoring_alone_takes_what_the_set_names_and_names_nothing(run, root):
    done(run(), PersistSpec(root, persist_id="one"))
    outcomes = done(run(), PersistSpec(root, retrieve_id="one"))
    assert outcomes.trim.restored == ("fit-2",) and ran() == []
    assert outcomes.persisted is None
    with Store.open(None, sources=get_all_checkpoints(root), named=False) as store:
        assert Pins(store).sets() == ["one"]


def test_restoring_from_one_set_and_persisting_to_another_copies_references(run, root):
    done(run(), PersistSpec(root, persist_id="one"))
    outcomes = done(run(), PersistSpec(root, retrieve_id="one", persist_id="two"))
    assert ran() == [] and sorted(outcomes.persisted.result(DEADLINE).named) == sorted(ALL)
    assert seen(root, "two") == seen(root, "one") == ALL
    with Store.open(None, sources=get_all_checkpoints(root), named=False) as store:
        one, two = (Pins(store).names(of) for of in ("one", "two"))
        assert {n: at.record_id for n, at in one.items()} == {
            n: at.record_id for n, at in two.items()
        }


def test_restoring_from_and_persisting_to_one_set_is_a_noted_no_op(run, root):
    spec = PersistSpec(root, retrieve_id="one", persist_id="one")
    done(run(), spec)
    assert ran() == ["fit", "read", "read"]
    told = done(run(), spec).persisted.result(DEADLINE)
    assert ran() == [] and told.named == [] and sorted(told.unchanged) == sorted(ALL)
    assert "nothing was to be done" in str(told)
    pins = sum(info.records.get("pin", 0) for info in maintain.runs(root))
    assert pins == 3


def test_a_name_persisted_again_points_to_the_new_outcome(run, root):
    spec = PersistSpec(root, persist_id="one", to_persist={"best": "fit-2"})
    done(run(), spec)
    done(run(), spec, names="cd")
    assert seen(root, "one") == {"best": 18}
    with Store.open(None, sources=get_all_checkpoints(root), named=False) as store:
        best = Pins(store).get("one", "best")
        assert best is not None and best.directory.endswith("001/checkpoint")


def test_a_set_restores_its_own_record_though_a_newer_one_is_recorded(run, root):
    done(run(), PersistSpec(root, persist_id="old", to_persist=select.app("read", "fit")))
    dfk = run()
    with dfk.plan() as plan:
        again = [read.fresh(name) for name in "ab"]
        fit.fresh(again)
    plan.run().results(DEADLINE)
    dfk = run()
    plan, model = recorded(dfk, PersistSpec(root, retrieve_id="old"))
    outcomes = plan.run()
    assert outcomes.trim.run == () and ran() == []
    assert model.result() == 18
    assert plan.standing("fit-2").stored.directory.endswith("000/checkpoint")


def test_what_the_set_does_not_name_is_not_restored_from_elsewhere(run, root):
    done(run(), PersistSpec(root, persist_id="one", to_persist=select.app("read")))
    plan, _ = recorded(run(), PersistSpec(root, retrieve_id="one"))
    found = plan.look()
    assert found.run == ("fit-2",) and found.restored == ("read-0", "read-1")
    assert plan.standing("fit-2").why == (
        "the set 'one' does not name it; it is recorded, so calling it is a hit"
    )
    plan.run().results(DEADLINE)
    assert plan.explain().run == 0


def test_names_that_another_program_gives_meanwhile_are_seen(run, root):
    done(run(), None)
    dfk = run()
    stored = recorded(dfk, None)[0].standing("fit-2").stored
    with Store.open(root / "007" / "checkpoint") as other:
        for of in ("one", "two"):  # in a run that this one does not know of, then at its end
            Pins(other).pin(of, {"model": stored})
            plan, _ = recorded(dfk, PersistSpec(root, retrieve_id=of))
            assert len(plan.look().restored) == 1 and plan.look().run == ()


def test_names_that_could_not_be_written_are_not_said_to_be_given(run, root, monkeypatch):
    done(run(), None)
    dfk = run()

    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch, pytest.warns(pc.CheckpointWarning, match="No space left"):
        patch.setattr(dfk.kernel.store, "append", full)
        patch.setattr(dfk.kernel.store, "publish", full)
        told = done(dfk, PersistSpec(root, persist_id="one")).persisted.result(DEADLINE)
        assert not told.named and set(told.missing) == set(ALL)
        assert "could not be written" in str(told)
        assert seen(root, "one") == {}
    dfk.cleanup()  # there is room again
    assert seen(root, "one") == ALL


def test_a_name_for_what_is_removed_meanwhile_is_not_said_to_be_given(run, root, monkeypatch):
    done(run(), None)
    plan, _ = recorded(run(), PersistSpec(root, persist_id="one"))

    def late(*args):
        assert maintain.prune(root, apps=["read"]).records == 2
        return naming.persist(*args)

    monkeypatch.setattr(module, "persist", late)
    told = plan.run().persisted.result(DEADLINE)
    assert told.named == ["fit-2"] and sorted(told.missing) == ["read-0", "read-1"]
    assert "removed meanwhile" in str(told)
    assert seen(root, "one") == {"fit-2": 18}


def test_a_set_that_nobody_has_made_restores_nothing(run, root):
    done(run(), None)
    plan, _ = recorded(run(), PersistSpec(root, retrieve_id="nowhere"))
    assert len(plan.look().run) == 3


def test_changed_code_restores_nothing_from_a_set(run, root):
    done(run(), PersistSpec(root, persist_id="one"))

    @pc.python_app(cache=True)
    def read(name):
        return f"text of {name}."

    with run().plan(persist=PersistSpec(root, retrieve_id="one")) as plan:
        fit([read(name) for name in "ab"])
    assert plan.look().restored == ()


# -- what is chosen --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("to_persist", "names"),
    [
        (select.app("f*"), ["fit-2"]),
        (select.task("read-1", "fit-2"), ["fit-2", "read-1"]),
        (select.tag("final"), ["fit-2"]),
        (select.wanted, ["fit-2"]),
        (lambda one: one.app == "read", ["read-0", "read-1"]),
        (select.any_of(select.tag("final"), select.task("read-0")), ["fit-2", "read-0"]),
    ],
)
def test_outputs_are_selected_by_task_app_tag_or_predicate(run, root, to_persist, names):
    told = done(run(), PersistSpec(root, persist_id="s", to_persist=to_persist)).persisted.result()
    assert sorted(told.named) == names


def test_futures_are_given_names_of_any_characters(run, root):
    name = "../../\0 the 'best' \N{SNOWMAN}\ud800"
    names = {}
    with run().plan(persist=PersistSpec(root, persist_id=name, to_persist=names)) as plan:
        names[name] = names["same"] = fit([read(name) for name in "ab"])
    plan.run().results(DEADLINE)
    assert seen(root, name) == {name: 18, "same": 18}
    assert sorted(os.listdir(root.parent)) == ["ran", "runs"]


def test_names_that_are_filled_in_later_are_texts_too(run, root):
    names = {}
    with run().plan(persist=PersistSpec(root, persist_id="s", to_persist=names)) as plan:
        names[3] = read("a")
    with pytest.raises(PersistError, match="A name in to_persist is 3"):
        plan.run()
    names["three"] = names.pop(3)
    assert plan.run().persisted.result(DEADLINE).named == ["three"]


def chain(dfk, spec):
    with dfk.plan(persist=spec) as plan:
        tell(fit([widen(read("a"))]))
    return plan


def test_by_default_all_cached_apps_are_chosen(run, root):
    told = chain(run(), PersistSpec(root, persist_id="s")).run().persisted.result(DEADLINE)
    assert sorted(told.named) == ["fit-2", "read-0"] and told.missing == {}


def test_what_is_chosen_by_hand_is_recorded_whatever_its_app_says(run, root):
    spec = PersistSpec(root, persist_id="s", to_persist=select.app("widen", "tell"))
    told = chain(run(), spec).run().persisted.result(DEADLINE)
    assert told.named == ["widen-1"]
    assert told.missing == {"tell-3": "the outcome was not recorded"}
    assert seen(root, "s") == {"widen-1": "text of a" * 100}


def test_what_nobody_needs_is_not_computed_for_being_chosen(run, root):
    chain(run(), None).run().results(DEADLINE)
    dfk = run()
    with dfk.plan(persist=PersistSpec(root, persist_id="s", to_persist=lambda one: True)) as plan:
        fit([widen(read("a"))])
    told = plan.run().persisted.result(DEADLINE)
    assert ran() == [] and sorted(told.named) == ["fit-2", "read-0"]
    assert told.missing == {"widen-1": "nobody needs it, so it was not computed"}


def test_a_call_that_fails_has_no_name_and_the_others_have(run, root):
    @pc.python_app(cache=True)
    def bad(text):
        raise ValueError(text)

    with run().plan(persist=PersistSpec(root, persist_id="s")) as plan:
        bad(read("a"))
    outcomes = plan.run()
    told = outcomes.persisted.result(DEADLINE)
    assert told.named == ["read-0"] and told.missing == {"bad-1": "the call failed"}
    assert "1 was not given, because the call failed: 'bad-1'." in str(told)


def test_where_recording_is_switched_off_nothing_is_named(run, root, monkeypatch):
    monkeypatch.setenv("PARSL_CKPT", "read-only")
    told = done(run(), PersistSpec(root, persist_id="s")).persisted.result(DEADLINE)
    assert set(told.missing.values()) == {"recording is switched off"} and not told.named


def test_why_a_call_ran_again_that_is_not_kept_is_told(run):
    def both(dfk):
        with dfk.plan() as plan:
            wide = widen(read("a"))
        plan.run().results(DEADLINE)
        return str(wide.why())

    assert both(run()) == "widen: no earlier call of it is recorded."
    assert both(run()) == "widen: it came to a value before, which is not kept (persist=)."
    assert str(widen(read("a")).why()).startswith("widen")


# -- when ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", [None, "manual", "dfk_exit", "periodic", "task_exit"])
def test_names_are_there_when_the_results_are_in_every_mode(run, root, mode):
    done(run(checkpoint_mode=mode), PersistSpec(root, persist_id="s"))
    assert seen(root, "s") == ALL  # the run is still under way


def test_a_run_without_a_mode_restores_from_a_set_all_the_same(run, root):
    done(run(), PersistSpec(root, persist_id="s"))
    done(run(checkpoint_mode=None), PersistSpec(root, retrieve_id="s"))
    assert ran() == []


def test_the_end_of_a_run_waits_for_the_names(run, root):
    manual = ManualExecutor()
    plan, _ = recorded(run(executors=[manual]), PersistSpec(root, persist_id="s"))
    outcomes = plan.run()
    assert not outcomes.persisted.done
    run()  # which ends the other, whose executor then does what is left
    assert outcomes.persisted.done
    assert set(seen(root, "s")) | set(outcomes.persisted.result().missing) == set(ALL)


@pytest.mark.parametrize("calls", [1, 2])
def test_a_call_that_is_cancelled_has_no_name_and_holds_nobody_up(run, root, calls):
    manual = ManualExecutor()
    dfk = run(executors=[manual])
    with dfk.plan(persist=PersistSpec(root, persist_id="s")) as plan:
        futures = [read("a") for _ in range(calls)]
    outcomes = plan.run()
    assert futures[0].cancel()
    for future in futures[1:]:
        assert future.cancel()
    told = outcomes.persisted.result(DEADLINE)
    assert told.missing == {"read-0": "the call failed"} and not told.named


def test_waiting_for_names_ends_in_time(run, root):
    manual = ManualExecutor()
    plan, _ = recorded(run(executors=[manual]), PersistSpec(root, persist_id="s"))
    outcomes = plan.run()
    with pytest.raises(cf.TimeoutError):
        outcomes.persisted.result(0.0)
    with pytest.raises(cf.TimeoutError):
        outcomes.results(0.0)


def test_nothing_is_retained_of_a_plan_whose_names_are_given(run, root):
    done(run(), None)
    dfk = run()
    before = len(dfk.kernel.at_end)
    outcomes = done(dfk, PersistSpec(root, persist_id="one"))
    assert len(outcomes.persisted.result(DEADLINE).named) == 3
    assert len(dfk.kernel.at_end) == before and not dfk.kernel.heard


@pc.python_app(cache=True)
def large(n):
    note("large")
    return bytes(range(256)) * n


@pytest.mark.filterwarnings("ignore:A recorded result of large cannot be read")
@pytest.mark.parametrize("when", ["before", "after"])
def test_what_is_found_damaged_is_computed_and_named_anew(run, root, when):
    def plan():
        with run().plan(persist=PersistSpec(root, retrieve_id="s", persist_id="s")) as plan:
            return plan, large(2000)

    plan()[0].run().results(DEADLINE)
    again, future = plan()
    blobs = list((root / "000").rglob("blobs/*/*"))
    if when == "after":
        again.run().persisted.result(DEADLINE)
    for blob in blobs:
        blob.unlink()
    if when == "before":
        told = again.run().persisted.result(DEADLINE)
        assert told.named == ["large-0"] and not told.missing
    assert blobs and future.result(DEADLINE) == bytes(range(256)) * 2000
    assert ran() == ["large"]
    pc.dfk().cleanup()
    assert seen(root, "s") == {"large-0": bytes(range(256)) * 2000}


SCRIPT = """
import os, signal, sys
import parsl_ckpt as pc
from parsl_ckpt.plan import PersistSpec

@pc.python_app(cache=True)
def part(n):
    if n == 3 and sys.argv[2] == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    return n

@pc.python_app(cache=True)
def after(done, n):
    return n

with pc.load(pc.Config(run_dir=sys.argv[1], checkpoint_mode="task_exit")) as dfk:
    spec = PersistSpec(sys.argv[1], retrieve_id="s", persist_id="s")
    with dfk.plan(persist=spec) as plan:
        last = None
        for n in range(5):
            last = part(n) if last is None else part(after(last, n))
    outcomes = plan.run()
    print(*outcomes.results(), len(outcomes.trim.run))
    print(sorted(outcomes.persisted.result().unchanged))
"""


def script(root, how):
    return subprocess.run(
        [sys.executable, "-c", SCRIPT, str(root), how], capture_output=True, text=True,
        timeout=DEADLINE, check=False,
        env={**os.environ, "PYTHONPATH": str(Path(pc.__file__).parents[1])},
    )  # fmt: skip


def test_a_run_that_is_killed_half_way_is_gone_on_with_from_the_set(root):
    assert script(root, "die").returncode == -signal.SIGKILL
    kept = seen(root, "s")
    assert kept.items() <= {
        "part-0": 0, "after-1": 1, "part-2": 1, "after-3": 2, "part-4": 2, "after-5": 3,
    }.items()  # fmt: skip
    second = script(root, "live")
    assert second.returncode == 0, second.stderr
    assert second.stdout.split()[0] == "4"
    assert len(seen(root, "s")) == 9
    third = script(root, "live")
    assert third.stdout.split()[:2] == ["4", "0"]  # nothing runs any more


def test_names_are_signed_and_believed_only_with_the_key(run, root, tmp_path):
    keyed = {"signing_key": b"k" * 32}
    done(run(**keyed), PersistSpec(root, persist_id="s"))
    done(run(**keyed), PersistSpec(root, retrieve_id="s"))
    assert ran() == []
    plan, _ = recorded(run(signing_key=b"other" * 8), PersistSpec(root, retrieve_id="s"))
    assert plan.look().restored == ()


def test_sets_of_runs_elsewhere_are_found_by_their_url(run, root, tmp_path):
    pytest.importorskip("fsspec")
    url = (tmp_path / "bucket").as_uri()
    spec = PersistSpec(url, retrieve_id="s", persist_id="s")
    for restored in ((), ("fit-2",)):
        with pc.load(pc.Config(run_dir=url, checkpoint_mode="task_exit")) as dfk:
            assert done(dfk, spec).trim.restored == restored


def test_what_is_not_kept_is_neither_in_worker_processes(run, root):
    chain(run(executors=[pc.ProcessPoolExecutor(max_workers=1)]), None).run().results(DEADLINE)
    plan = chain(run(), None)
    assert plan.look().run == ("tell-3",) and plan.look().restored == ("fit-2",)


# -- what is refused -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "field", "said"),
    [
        ({"to_persist": select.cached}, "persist_id", "does not say to which set"),
        ({"persist_id": 3}, "persist_id", "no name of a set"),
        ({"persist_id": ""}, "persist_id", "no name of a set"),
        ({"retrieve_id": b"x"}, "retrieve_id", "no name of a set"),
        ({"retrieve_id": ""}, "retrieve_id", "no name of a set"),
        ({"persist_id": "s", "to_persist": 3}, "to_persist", "selects nothing"),
        ({"persist_id": "s", "to_persist": {3: "fit-2"}}, "to_persist", "no text"),
        ({"root": ""}, "root", "no directory"),
        ({"root": None}, "root", "no directory"),
    ],
)
def test_a_specification_that_cannot_be_meant_is_refused(arguments, field, said):
    with pytest.raises(PersistError, match=said) as caught:
        PersistSpec(**{"root": "runinfo", **arguments})
    assert caught.value.field == field


def test_a_root_may_be_written_otherwise(run, root, tmp_path, monkeypatch):
    dfk = run()
    (tmp_path / "link").symlink_to(root)
    monkeypatch.chdir(tmp_path)
    for number, same in enumerate((tmp_path / "link", "runs", "./link/", str(root) + os.sep)):
        assert (
            len(done(dfk, PersistSpec(same, persist_id=f"{number}")).persisted.result().named) == 3
        )
    assert len(seen(root, "3")) == 3


def test_a_root_that_is_not_that_of_the_run_is_refused(run, root, tmp_path):
    with pytest.raises(PersistError, match=r"keeps what it computes in .*runs.000") as caught:
        run().plan(persist=PersistSpec(tmp_path / "elsewhere", persist_id="s"))
    assert caught.value.field == "root"


def test_what_is_no_specification_is_refused(run):
    with pytest.raises(PersistError, match="'monday', which is no PersistSpec") as told:
        run().plan(persist="monday")
    assert told.value.field == "persist"


@pytest.mark.parametrize("thing", ["fit-9", 3])
def test_a_name_for_what_is_not_in_the_plan_is_refused(run, root, thing):
    spec = PersistSpec(root, persist_id="s", to_persist={"best": thing})
    plan, _ = recorded(run(), spec)
    with pytest.raises(PersistError, match="not in the plan"):
        plan.run()
    assert ran() == []


def test_a_selector_that_fails_is_named_with_the_task(run, root):
    spec = PersistSpec(root, persist_id="s", to_persist=lambda one: one.nothing)
    plan, _ = recorded(run(), spec)
    with pytest.raises(PersistError, match=r"failed for the task 'read-0'"):
        plan.run()


@pytest.mark.parametrize("name", ["app", "task", "tag", "any_of"])
def test_a_selector_that_was_not_called_does_not_select_everything(name):
    wrong = getattr(select, name)
    spec = PersistSpec("runs", persist_id="s", to_persist=wrong)
    with pytest.raises(PersistError, match=r"to_persist failed .* got "):
        spec.chosen([Candidate("fit-1", "fit")])
    with pytest.raises(PersistError) as caught:
        wrong(3)
    assert caught.value.fields["field"] == "to_persist" and caught.value.hint


def test_selectors_are_pure_functions_of_candidates():
    one = Candidate("fit-1", "fit", "final", wanted=True)
    assert select.cached(one) and select.wanted(one)
    assert not select.tag("other")(one) and not select.app("Fit")(one)
    assert repr(select.app("a*")) == "app('a*')" and repr(select.tag("b", "a")) == "tag('a', 'b')"
    assert not select.cached(one._replace(cached=False))
