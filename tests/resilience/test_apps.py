"""``retry=`` and ``circuit_breaker=`` of apps, on every executor."""

from __future__ import annotations

import concurrent.futures
import threading
from pathlib import Path

import pytest

import parsl_ckpt as pc
from parsl_ckpt.errors import AppDefinitionError, BashExitFailure

DEADLINE = 60.0
SOON = {"initial_delay_seconds": 0.001, "max_delay_seconds": 0.002}


class Unportable(OSError):
    """An error that does not pickle."""

    def __reduce__(self):
        raise TypeError("it stays here")


def tried(log):
    """Note an attempt in a file; how many there were before."""
    with open(log, "a+") as file:
        file.seek(0)
        before = len(file.readlines())
        file.write("tried\n")
    return before


def attempts(log):
    return len(Path(log).read_text().splitlines())


EXECUTORS = {
    "threads": lambda: pc.ThreadPoolExecutor(max_workers=1),
    "processes": lambda: pc.ProcessPoolExecutor(max_workers=1),
    "wrapped": lambda: pc.wrap(concurrent.futures.ThreadPoolExecutor(1), label="wrapped"),
}


@pytest.fixture(params=sorted(EXECUTORS))
def run(request, tmp_path):
    path = tmp_path / "runs"
    with pc.load(pc.Config(executors=[EXECUTORS[request.param]()], run_dir=str(path))) as dfk:
        yield dfk


@pytest.fixture
def log(tmp_path):
    path = tmp_path / "log"
    path.touch()
    return str(path)


def test_an_app_is_tried_again_until_it_succeeds(run, log):
    @pc.python_app(retry=pc.RetryConfig(max_attempts=5, **SOON))
    def flaky(path):
        if tried(path) < 2:
            raise ConnectionResetError("not yet")
        return "well"

    assert flaky(log).result(DEADLINE) == "well"
    assert attempts(log) == 3


def test_an_app_is_tried_as_often_as_it_says_and_fails_with_its_last_error(run, log):
    @pc.python_app(retry=pc.RetryConfig(max_attempts=3, **SOON))
    def bad(path):
        raise ValueError(tried(path))

    assert str(bad(log).exception(DEADLINE)) == "2"
    assert attempts(log) == 3


def test_an_error_that_cannot_travel_is_known_by_its_bases(run, log):
    @pc.python_app(retry=pc.RetryConfig(retry_on_exceptions=["OSError"], **SOON))
    def flaky(path):
        if tried(path) < 1:
            raise Unportable("not yet")
        return "well"

    assert flaky(log).result(DEADLINE) == "well"


def test_a_breaker_is_in_the_driver_wherever_the_app_runs(run, log):
    @pc.python_app(circuit_breaker=pc.CircuitBreakerConfig(failure_threshold=2))
    def down(path):
        raise ConnectionError(tried(path))

    first = [type(down(log).exception(DEADLINE)) for _ in range(2)]
    later = [type(down(log).exception(DEADLINE)) for _ in range(2)]
    assert (first, later) == ([ConnectionError] * 2, [pc.CircuitBreakerOpenError] * 2)
    assert attempts(log) == 2


def test_a_call_that_depends_on_one_that_is_tried_again_waits_for_it(run, log):
    @pc.python_app(retry=pc.RetryConfig(**SOON))
    def flaky(path):
        if tried(path) < 2:
            raise ConnectionError
        return 20

    @pc.python_app
    def add(x):
        return x + 1

    assert add(flaky(log)).result(DEADLINE) == 21


def test_the_command_of_a_bash_app_is_tried_again(run, log):
    @pc.bash_app(retry=pc.RetryConfig(retry_on_exceptions=["BashExitFailure"], **SOON))
    def command(path):
        return f"echo tried >> {path}; test $(wc -l < {path}) -ge 3"

    @pc.bash_app(retry=pc.RetryConfig(retry_on_exceptions=["OSError"], **SOON))
    def hopeless(path):
        return "exit 3"

    assert command(log).result(DEADLINE) == 0
    assert attempts(log) == 3
    assert isinstance(hopeless(log).exception(DEADLINE), BashExitFailure)


def test_while_a_retry_waits_the_only_worker_does_something_else(tmp_path):
    gate = threading.Event()
    with pc.load(
        pc.Config(executors=[pc.ThreadPoolExecutor(max_workers=1)], run_dir=str(tmp_path))
    ):

        @pc.python_app(retry=pc.RetryConfig(2, 3600, 3600))
        def flaky():
            gate.set()
            raise ConnectionError

        @pc.python_app
        def fine():
            return gate.is_set()

        waiting = flaky()
        assert gate.wait(DEADLINE)
        assert fine().result(DEADLINE) is True
        assert not waiting.done()
    # The end of the run does not wait for an hour.
    assert isinstance(waiting.exception(DEADLINE), ConnectionError)


def test_a_breaker_that_apps_share_can_be_looked_at_and_listened_to(tmp_path):
    told, changed = [], threading.Event()
    database = pc.CircuitBreaker(
        pc.CircuitBreakerConfig(failure_threshold=1),
        name="database",
        on_state_change=lambda *change: (told.append(change), changed.set()),
    )

    @pc.python_app(circuit_breaker=database)
    def read():
        raise ConnectionError

    @pc.python_app(resilience=pc.ResiliencePolicy(circuit_breaker=database))
    def write():
        return "written"

    with pc.load(pc.Config(run_dir=str(tmp_path))) as dfk:
        assert isinstance(read().exception(DEADLINE), ConnectionError)
        assert changed.wait(DEADLINE)
        with pytest.raises(pc.CircuitBreakerOpenError, match=r"write .*'database'"):
            write().result(DEADLINE)
        database.reset()
        assert write().result(DEADLINE) == "written"
        directory = Path(dfk.run_dir)
    name, _, new = told[0]
    assert (name, str(new)) == ("database", "open")
    assert "Circuit breaker 'database' is open." in (directory / "parsl_ckpt.log").read_text()


@pytest.mark.parametrize("kind", [pc.python_app, pc.bash_app])
@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("retry", 3),
        ("retry", {"max_attempts": 3}),
        ("circuit_breaker", pc.RetryConfig()),
        ("resilience", pc.RetryConfig()),
    ],
)
def test_an_option_of_another_type_is_refused_when_the_app_is_declared(kind, option, value):
    with pytest.raises(AppDefinitionError, match=f"app: {option}=") as caught:

        @kind(**{option: value})
        def app():
            pass

    assert caught.value.parameter == option


def test_a_policy_and_a_single_field_exclude_one_another():
    with pytest.raises(AppDefinitionError, match="both given") as caught:

        @pc.python_app(retry=pc.RetryConfig(), resilience=pc.ResiliencePolicies.DEFAULT)
        def app():
            pass

    assert caught.value.parameter == "retry"
