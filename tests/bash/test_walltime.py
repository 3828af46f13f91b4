"""Time limits of calls, from the decorator to the worker; resources that nobody has."""

from __future__ import annotations

import os

import pytest

import parsl_ckpt as pc
from parsl_ckpt.errors import (
    AppDefinitionError,
    AppTimeout,
    InvalidResourceSpecification,
    RequestError,
)
from tests.executors.test_processes import alive, until


@pc.bash_app
def shell(line, stdout=None, walltime=None):
    return line


@pc.python_app
def turn_round(log=None, walltime=0.05):
    if log:
        with open(log, "a") as file:
            file.write("x")
    while True:
        pass


@pc.python_app
def plain(x):
    return x


@pc.python_app(walltime=0.05)
def limited(hold=True):
    while hold:
        pass
    return "done"


# --- commands -------------------------------------------------------------------------------------


def test_a_command_over_its_walltime_fails_with_a_typed_error(anywhere):
    error = shell("sleep 3600", walltime=0.05).exception()
    assert type(error) is AppTimeout
    assert (error.app, error.walltime) == ("shell", 0.05) and "0.05 s" in str(error)


def test_everything_that_it_has_started_is_killed(anywhere, bell):
    path, ring = bell
    line = f"sleep 3600 & echo $! > {path}; (sleep 3600 & echo $! > {path}; wait)"
    future = shell(line, walltime=1.0)
    pids = [int(ring()), int(ring())]
    assert type(future.exception()) is AppTimeout
    until(lambda: not any(map(alive, pids)))


def test_a_command_that_ignores_signals_is_killed(run):
    run()
    line = "trap '' INT TERM HUP; while :; do sleep 1; done"
    assert type(shell(line, walltime=0.05).exception()) is AppTimeout


def test_what_it_wrote_until_then_is_kept(run, here):
    run()
    shell("echo half; sleep 3600", stdout="o", walltime=1.0).exception()
    assert (here / "o").read_text() == "half\n"


def test_a_command_within_its_walltime_is_as_any_other(run):
    run()
    assert shell("exit 0", walltime=60).result() == 0
    assert shell("exit 3", walltime=60).exception().exitcode == 3


def test_the_worker_of_a_command_that_was_killed_lives_on(run):
    run(executors=[pc.ProcessPoolExecutor(max_workers=1)])
    before = plain_pid().result()
    shell("sleep 3600", walltime=0.05).exception()
    assert plain_pid().result() == before


@pc.python_app
def plain_pid():
    return os.getpid()


# --- functions ------------------------------------------------------------------------------------


def test_a_walltime_may_be_a_default_of_the_function_a_keyword_or_an_option(anywhere):
    assert turn_round().exception().walltime == 0.05
    assert turn_round(walltime=0.02).exception().walltime == 0.02
    assert limited().exception().walltime == 0.05


def test_a_keyword_goes_before_the_option_and_need_not_be_a_parameter(run):
    run()
    assert limited(walltime=0.02).exception().walltime == 0.02
    assert limited(hold=False, walltime=60).result() == "done"
    assert plain(1, walltime=60).result() == 1


def test_tried_again_it_has_its_time_again(run, here):
    run(retries=2, executors=[pc.ProcessPoolExecutor(max_workers=1)])
    assert type(turn_round("tries", walltime=0.5).exception()) is AppTimeout
    assert (here / "tries").read_text() == "xxx"


def test_tasks_beside_it_spend_no_retry(run):
    run(retries=0, executors=[pc.ProcessPoolExecutor(max_workers=1)])
    [future.result() for future in [plain(n) for n in range(300)]]  # many are now given at a time
    stuck = turn_round()
    assert [future.result() for future in [plain(n) for n in range(300)]] == list(range(300))
    assert type(stuck.exception()) is AppTimeout


def test_a_coroutine_function_may_have_a_walltime(anywhere):
    @pc.python_app(walltime=0.05)
    async def turn():
        while True:
            pass

    assert type(turn().exception()) is AppTimeout


def test_the_function_of_a_join_app_may_have_a_walltime(run):
    run()

    @pc.join_app
    def endless(walltime=0.05):
        while True:
            pass

    assert type(endless().exception()) is AppTimeout


def test_walltime_does_not_count_in_the_address(run):
    run()

    @pc.python_app(cache=True)
    def double(x, walltime=None):
        return 2 * x

    assert double(4, walltime=60).result() == 8
    hit = double(4)
    assert hit.result() == 8 and hit.from_memo
    assert double.key(4) == double.key(4, walltime=1)


def test_equal_calls_with_different_walltimes_do_not_join(run, bell):
    run(executors=[pc.ThreadPoolExecutor(max_workers=2)])
    path, _ = bell

    @pc.python_app(cache=True)
    def turn(x, walltime=None):
        while walltime:
            pass
        with open(path) as file:
            return file.readline()

    patient, hasty = turn(1), turn(1, walltime=0.05)
    assert type(hasty.exception()) is AppTimeout
    with open(path, "w") as file:
        file.write("patient\n")
    assert patient.result() == "patient\n"


def test_apps_without_a_walltime_ask_executors_for_nothing(run, monkeypatch):
    pool = pc.ThreadPoolExecutor(max_workers=1)
    monkeypatch.setattr(pool, "honour", None)  # calling it would fail the task
    run(executors=[pool])
    assert plain(1).result() == 1


@pytest.mark.parametrize("wrong", [0, -1, "soon", float("inf"), float("nan"), True, []])
def test_a_walltime_that_is_none_is_refused_by_name(run, wrong):
    run()
    error = plain(1, walltime=wrong).exception()
    assert isinstance(error, RequestError) and error.parameter == "walltime"
    with pytest.raises(AppDefinitionError) as caught:
        pc.python_app(walltime=wrong)(plain.__wrapped__)
    assert caught.value.parameter == "walltime" and "plain" in str(caught.value)


@pytest.mark.parametrize("span", [60, "1m", "00:01:00"])
def test_the_option_takes_spans_of_time(run, span):
    run()
    app = pc.python_app(walltime=span)(plain.__wrapped__)
    assert app(1).result() == 1 and app._options.check_walltime("app") == 60.0


# --- resources ------------------------------------------------------------------------------------


def test_resources_that_nobody_can_provide_are_refused_and_not_tried_again(anywhere):
    error = plain(1, parsl_resource_specification={"cores": 4}).exception()
    assert type(error) is InvalidResourceSpecification
    assert error.invalid_keys == {"cores"} and "'plain'" in str(error) and error.hint


def test_an_empty_specification_asks_for_nothing(run):
    run()
    assert plain(1, parsl_resource_specification={}).result() == 1
    assert plain(2, parsl_resource_specification=None).result() == 2


def test_a_specification_may_be_a_default_of_the_function(run):
    run()

    @pc.python_app
    def hungry(x, parsl_resource_specification={"memory": 10}):  # noqa: B006
        return x

    assert hungry(1).exception().invalid_keys == {"memory"}
    assert hungry(1, parsl_resource_specification={}).result() == 1


@pytest.mark.parametrize("wrong", [4, "cores", ["cores"], {1: 2}])
def test_a_specification_that_is_none_is_refused_by_name(run, wrong):
    run()
    error = plain(1, parsl_resource_specification=wrong).exception()
    assert isinstance(error, RequestError)
    assert error.parameter == "parsl_resource_specification"
