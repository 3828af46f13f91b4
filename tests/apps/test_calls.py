"""What may be asked of one call: its key, its outcome, to run anew, to be forgotten; validity."""

from __future__ import annotations

import os
import time
import warnings
from collections import Counter

import pytest

import parsl_ckpt as pc
from parsl_ckpt.cli import main
from parsl_ckpt.errors import (
    AppDefinitionError,
    CacheKeyError,
    ConfigurationError,
    NoDataFlowKernelError,
    TaskRandomError,
)
from parsl_ckpt.kernel import validity

DEADLINE = 60
ran: Counter[str] = Counter()


@pytest.fixture
def load(tmp_path):
    """Begins runs, one after another, in one run directory."""
    ran.clear()

    def begin(**options):
        pc.clear()
        options = {"checkpoint_mode": "task_exit", "run_dir": tmp_path / "runs", **options}
        options.setdefault("executors", [pc.ThreadPoolExecutor(max_workers=2)])
        return pc.load(pc.Config(**options))

    yield begin
    pc.clear()


@pc.python_app(cache=True, code="function")
def double(x):
    ran["double"] += 1
    return 2 * x


@pc.python_app(cache=True, code="function")
def add(x, y):
    ran["add"] += 1
    return x + y


@pc.python_app(cache=True, code="function")
def counted(x):
    ran["counted"] += 1
    return ran["counted"]


@pc.python_app
def plain(x):
    return x


def value(future):
    return future.result(DEADLINE)


# -- key, peek -------------------------------------------------------------------------------------


def test_a_key_is_that_of_the_record(load):
    with load() as dfk:
        key = double.key(21)
        assert len(key) == 64 and double.key(x=21) == key != double.key(22)
        value(double(21))
        assert dfk.kernel.store.find(bytes.fromhex(key)).result.app == "double"


def test_the_key_of_a_call_with_futures_is_that_by_their_values_once_they_are_known(load):
    with load():
        first = double(1)
        value(first)
        assert add.key(first, 3) == add.key(2, 3)


def test_what_is_not_cached_has_no_key(load):
    with load():
        for ask in (plain.key, plain.peek, plain.forget):
            with pytest.raises(CacheKeyError, match=r"plain.*cache=True"):
                ask(1)


def test_what_depends_on_something_that_has_no_address_yet_has_none(load):
    from concurrent.futures import Future

    with load(), pytest.raises(CacheKeyError, match="not known before its inputs"):
        add.key(Future(), 1)


def test_peek_gives_what_is_recorded_and_runs_nothing(load):
    with load():
        assert double.peek(21) is None and not ran
        value(double(21))
    with load():
        future = double.peek(21)
        assert future.done() and future.from_memo and future.result() == 42
        assert ran["double"] == 1


def test_peek_finds_by_lineage_what_has_not_been_called_again(load):
    with load():
        value(add(double(1), 1))
    with load():
        assert add.peek(double(1), 1).result() == 3
        assert ran == {"double": 1, "add": 1}


def test_peek_at_an_outcome_that_is_lost_gives_none(load, tmp_path):
    big = os.urandom(200_000)
    with load():
        assert len(value(double(big))) == 400_000
    for blob in (tmp_path / "runs" / "000" / "checkpoint" / "blobs").rglob("*"):
        if blob.is_file():
            blob.unlink()
    with load(), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert double.peek(big) is None
    assert any("cannot be read" in str(one.message) for one in caught)


def test_without_a_kernel_all_of_them_say_so(load):
    for ask in (double.key, double.peek, double.forget, double.fresh):
        with pytest.raises(NoDataFlowKernelError, match="double"):
            ask(1)


# -- fresh, forget, invalidate ---------------------------------------------------------------------


def test_fresh_runs_and_takes_the_place_of_what_was_recorded(load):
    with load():
        assert value(counted(1)) == 1
        assert value(counted.fresh(1)) == 2
        assert value(counted(1)) == 2
    with load():
        assert value(counted(1)) == 2


def test_fresh_with_a_future_among_its_arguments_runs_too(load):
    with load():
        assert value(add(counted(1), 0)) == 1
        assert value(add.fresh(counted(1), 0)) == 1
        assert ran["add"] == 2


def test_what_was_computed_from_a_replaced_outcome_is_computed_again(load):
    with load():
        assert value(add(counted(1), 10)) == 11
        value(counted.fresh(1))
        assert value(add(counted(1), 10)) == 12


def test_fresh_of_what_is_not_cached_is_a_call(load):
    with load():
        assert value(plain.fresh(3)) == 3


def test_a_forgotten_call_runs_again_now_and_later(load):
    with load():
        value(counted(1))
    with load():
        assert counted.forget(1) == 1
        assert counted.forget(1) == 0 and counted.peek(1) is None
        assert value(counted(1)) == 2
    with load():
        assert value(counted(1)) == 2, "the record made since is found"


def test_a_forgotten_call_stays_forgotten_in_a_later_run(load):
    with load():
        value(counted(1))
        assert counted.forget(1) == 1
    with load():
        assert counted.peek(1) is None


def test_what_is_only_held_is_forgotten_too(load):
    with load(checkpoint_mode="manual") as dfk:
        value(counted(1))
        assert counted.forget(1) == 1
        dfk.checkpoint()
        assert counted.peek(1) is None


def test_a_call_is_forgotten_by_the_futures_among_its_arguments(load):
    with load():
        value(add(double(1), 1))
    with load():
        assert add.forget(double(1), 1) == 1
        value(add(double(1), 1))
        assert ran == {"double": 1, "add": 2}


def test_invalidate_by_app(load):
    with load() as dfk:
        value(add(double(1), 1))
        value(double(2))
    with load() as dfk:
        assert dfk.invalidate("dou*") == 2
        assert double.peek(1) is None and add.peek(2, 1).result() == 3
    with load() as dfk:
        assert double.peek(2) is None and dfk.invalidate("double") == 0


def test_invalidate_by_age(load, monkeypatch):
    with load() as dfk:
        value(double(1))
        assert dfk.invalidate(older_than="1h") == 0
        now = time.time()
        monkeypatch.setattr(time, "time", lambda: now + 7200)
        assert dfk.invalidate(older_than="1h") == 1
        assert double.peek(1) is None


def test_many_are_invalidated_at_once(load, monkeypatch):
    from parsl_ckpt.checkpoint import removing

    monkeypatch.setattr(removing, "REMOVED_AT_ONCE", 3)
    with load() as dfk:
        for future in [double(n) for n in range(10)]:
            value(future)
        assert dfk.invalidate("double") == 10
        assert all(double.peek(n) is None for n in range(10))


@pytest.mark.parametrize("wrong", [{}, {"older_than": "soon"}, {"older_than": -1}])
def test_a_wrong_invalidation_says_what_is_wrong(load, wrong):
    with load() as dfk, pytest.raises(ConfigurationError) as caught:
        dfk.invalidate(**wrong)
    assert caught.value.hint


# -- validity --------------------------------------------------------------------------------------


def test_an_outcome_holds_for_as_long_as_the_app_says(load, monkeypatch):
    @pc.python_app(cache=True, code="function", valid_for="1h")
    def aging(x):
        ran["aging"] += 1
        return ran["aging"]

    now = time.time()
    with load():
        assert value(aging(1)) == 1 == value(aging(1))
        assert aging.peek(1).result() == 1
        monkeypatch.setattr(validity.time, "time", lambda: now + 3700)
        assert aging.peek(1) is None
        assert value(aging(1)) == 2


def test_an_expired_input_is_computed_and_what_depends_on_it_is_found_by_value(load, monkeypatch):
    @pc.python_app(cache=True, code="function", valid_for=60)
    def aging(x):
        ran["aging"] += 1
        return x

    with load():
        assert value(add(aging(1), 1)) == 2
    now = time.time()
    monkeypatch.setattr(validity.time, "time", lambda: now + 100)
    with load():
        assert value(add(aging(1), 1)) == 2
        assert ran == {"aging": 2, "add": 1}


def test_a_condition_decides_with_the_record_in_hand(load):
    seen = []

    def good(record):
        seen.append((record.app, record.value(), record.age >= 0, record.tries))
        return record.value() > 1

    @pc.python_app(cache=True, code="function", valid_if=good)
    def checked(x):
        ran["checked"] += 1
        return ran["checked"]

    with load():
        assert [value(checked(1)) for _ in range(4)] == [1, 2, 2, 2]
    assert seen[0] == ("checked", 1, True, 1)


def test_a_condition_that_raises_is_told_once_and_counts_as_not_valid(load):
    def bad(record):
        raise RuntimeError("oh")

    @pc.python_app(cache=True, code="function", valid_if=bad)
    def checked(x):
        ran["checked"] += 1
        return x

    with load(), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(3):
            value(checked(1))
    told = [str(one.message) for one in caught if "valid_if" in str(one.message)]
    assert len(told) == 1 and "checked" in told[0] and "oh" in told[0]
    assert ran["checked"] == 3


@pytest.mark.parametrize(
    ("options", "parameter"),
    [
        ({"valid_for": "soon"}, "valid_for"),
        ({"valid_for": 0}, "valid_for"),
        ({"valid_for": True}, "valid_for"),
        ({"valid_if": 3}, "valid_if"),
        ({"cache": False, "valid_for": "1d"}, "valid_for"),
        ({"cache": False, "check_mutation": True}, "check_mutation"),
        ({"undeclared": "key"}, "undeclared"),
        ({"undeclared": "no"}, "undeclared"),
    ],
)
def test_a_wrong_option_is_named(options, parameter):
    with pytest.raises(AppDefinitionError) as caught:
        pc.python_app(**{"cache": True, **options})(lambda x: x)
    assert caught.value.parameter == parameter and caught.value.hint


def test_an_option_that_does_not_exist_is_named():
    with pytest.raises(AppDefinitionError, match="walltme"):
        pc.App("python", walltme=3)


# -- randomness ------------------------------------------------------------------------------------


@pc.python_app(cache=True, code="function")
def draw(n, kind):
    rng = pc.task_rng(kind)
    if kind == "standard":
        assert pc.task_rng(kind) is rng
        return [rng.random() for _ in range(n)]
    return rng.normal(size=n).tolist()


@pytest.mark.parametrize("kind", ["standard", "numpy"])
def test_a_task_draws_the_same_numbers_wherever_it_runs(load, kind):
    if kind == "numpy":
        pytest.importorskip("numpy")
    with load():
        here = value(draw(3, kind))
        assert value(draw.fresh(3, kind)) == here
        assert value(draw.fresh(4, kind))[:3] != here, "other arguments draw other numbers"
    with load(executors=[pc.ProcessPoolExecutor(max_workers=1)]):
        assert value(draw.fresh(3, kind)) == here


def test_a_task_that_is_tried_again_draws_the_same(load, tmp_path):
    @pc.python_app(cache=True, code="function")
    def shaky(marker):
        drawn = pc.task_rng("standard").random()
        with open(marker, "a") as file:
            file.write(f"{drawn}\n")
        if os.path.getsize(marker) < 3 * (len(f"{drawn}") + 1):
            raise OSError
        return drawn

    with load(retries=5):
        value(shaky(str(tmp_path / "drawn")))
    lines = (tmp_path / "drawn").read_text().split()
    assert len(lines) == 3 and len(set(lines)) == 1


def test_there_is_nothing_to_draw_from_outside_of_cached_apps(load):
    @pc.python_app
    def uncached():
        return pc.task_rng("standard")

    with load():
        with pytest.raises(TaskRandomError, match="cache=True"):
            value(uncached())
        value(double(1))
        with pytest.raises(TaskRandomError, match="cache=True"):
            pc.task_rng()


def test_an_unknown_kind_of_generator_is_named(load):
    @pc.python_app(cache=True, code="function")
    def odd(x):
        return pc.task_rng("quantum")

    with load(), pytest.raises(TaskRandomError, match="quantum"):
        value(odd(1))


# -- watching --------------------------------------------------------------------------------------


@pytest.fixture(params=["threads", "processes"])
def executors(request):
    pool = pc.ThreadPoolExecutor if request.param == "threads" else pc.ProcessPoolExecutor
    return [pool(max_workers=1)]


def told(caught, word):
    return [str(one.message) for one in caught if word in str(one.message)]


def test_an_app_that_changes_its_arguments_is_named(load, executors):
    @pc.python_app(cache=True, code="function", check_mutation=True)
    def careless(kept, changed, **more):
        changed.append(1)
        more["other"]["x"] = 2
        return len(changed)

    with load(executors=executors), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert value(careless([1], [2], other={})) == 2
        assert value(careless([1], [3], other={})) == 2
        assert value(careless([1], [3], other={})) == 2
    (text,) = told(caught, "careless")
    assert "'changed'" in text and "'other'" in text and "'kept'" not in text


def test_an_app_that_changes_nothing_is_not(load, executors):
    @pc.python_app(cache=True, code="function", check_mutation=True)
    def careful(items):
        return sorted(items)

    with load(executors=executors), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        future = careful([2, 1])
        assert value(future) == [1, 2] and not future.from_memo
        assert careful([2, 1]).from_memo
    assert told(caught, "careful") == []


def test_an_app_that_is_watched_and_fails_fails_as_it_would(load, executors):
    @pc.python_app(cache=True, code="function", check_mutation=True, watch_inputs=True)
    def broken(x):
        raise ValueError("as ever")

    with load(executors=executors), pytest.raises(ValueError, match="as ever"):
        value(broken(1))


def test_what_an_app_reads_beside_its_arguments_is_listed(
    load, executors, tmp_path, monkeypatch, capsys
):
    hidden, given = tmp_path / "hidden.txt", tmp_path / "given.txt"
    hidden.write_text("1")
    given.write_text("2")
    monkeypatch.setenv("MY_SETTING", "3")

    @pc.python_app(cache=True, code="function", watch_inputs=True)
    def reads(place, directory):
        import os
        import subprocess
        import sys

        subprocess.run([sys.executable, "-c", ""], check=True)
        with open(os.path.join(directory, "written.txt"), "w") as file:
            file.write("x")
        return (
            open(place).read() + open(os.path.join(directory, "hidden.txt")).read()
            + os.environ.get("MY_SETTING", "")
        )  # fmt: skip

    with load(executors=executors) as dfk, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        future = reads(str(given), str(tmp_path))
        assert value(future) == "213"
        note = dfk.kernel.store.note(future._record, "undeclared")
        key = reads.key(str(given), str(tmp_path))
    assert main(["show", key, "-d", str(tmp_path / "runs")]) == 0
    assert f"reads      file {hidden}" in capsys.readouterr().out.replace("\n    ", "")
    (text,) = told(caught, "reads what is no argument")
    assert str(hidden) in text and "environment MY_SETTING" in text and "process " in text
    assert str(given) not in text and "written.txt" not in text
    assert str(hidden).encode() in note


def test_a_record_whose_hidden_inputs_changed_is_not_used(load, executors, tmp_path):
    hidden = tmp_path / "hidden.txt"
    hidden.write_text("1")

    @pc.python_app(cache=True, code="function", watch_inputs=True, undeclared="key")
    def reads(directory):
        import os

        return open(os.path.join(directory, "hidden.txt")).read()

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with load(executors=executors):
            assert value(reads(str(tmp_path))) == "1"
            again = reads(str(tmp_path))
            assert again.from_memo and value(again) == "1"
            hidden.write_text("2")
            assert value(reads(str(tmp_path))) == "2"
            hidden.unlink()
            with pytest.raises(FileNotFoundError):
                value(reads(str(tmp_path)))


def test_what_others_read_meanwhile_is_not_laid_to_a_task(load, tmp_path):
    other = tmp_path / "other.txt"
    other.write_text("1")

    @pc.python_app(cache=True, code="function", watch_inputs=True)
    def quiet(x):
        return x

    with load() as dfk:
        assert value(quiet(0)) == 0  # the hook is there from now on
        other.read_text()
        future = quiet(1)
        value(future)
        assert dfk.kernel.store.note(future._record, "undeclared") is None


# -- audit -----------------------------------------------------------------------------------------


@pc.python_app(cache=True, code="function")
def clock(x):
    ran["clock"] += 1
    return ran["clock"]


def audited(load, app, *args, **options):
    with load():
        value(app(*args))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with load(audit_rate=1, **options) as dfk:
            first = value(app(*args))
            dfk.wait_for_current_tasks()
            again = value(app(*args))
            dfk.wait_for_current_tasks()
    return first, again, told(caught, "not deterministic")


def test_an_app_that_is_not_deterministic_is_named_and_its_record_stands(load):
    first, again, warned = audited(load, clock, 1)
    assert first == again == 1
    assert len(warned) == 1 and "clock" in warned[0] and "another value" in warned[0]
    with load():
        assert value(clock(1)) == 1


def test_one_that_is_deterministic_is_not(load):
    assert audited(load, double, [1, 2]) == ([1, 2] * 2, [1, 2] * 2, [])
    assert ran["double"] == 3


def test_one_that_draws_from_its_own_address_is_deterministic(load):
    assert audited(load, draw, 2, "standard")[2] == []


def test_one_that_fails_when_it_runs_again_is_named(load, tmp_path):
    marker = tmp_path / "marker"
    marker.write_text("")

    @pc.python_app(cache=True, code="function")
    def once(place):
        os.unlink(place)
        return 1

    first, _, warned = audited(load, once, str(marker))
    assert first == 1 and len(warned) == 1 and "FileNotFoundError" in warned[0]


def test_no_hit_is_audited_at_a_rate_of_zero(load):
    with load():
        value(double(1))
    with load() as dfk:
        value(double(1))
        assert dfk.kernel.auditing is None
    assert ran["double"] == 1
