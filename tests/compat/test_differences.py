"""Where Parsl's defaults differ from ours, compat has Parsl's; and where it does not, and why.

``docs/migrating-from-parsl.rst`` has the table.  What Parsl does was found by running the same
lines under Parsl 2026.10.
"""

from __future__ import annotations

import io
import json
import logging
import os
import threading
from concurrent.futures import Future

import pytest

import parsl_ckpt as pc
import parsl_ckpt.compat.parsl as parsl
from parsl_ckpt.compat.memo import check
from parsl_ckpt.errors import ConfigurationError, NoDataFlowKernelError
from parsl_ckpt.kernel.resolving import SHALLOW_DEPENDENCY_RESOLVER

DEADLINE = 30.0


@pytest.fixture
def load(tmp_path):
    """Parsl's load, in a directory of the test."""

    def load(**options):
        options.setdefault("run_dir", str(tmp_path / "runinfo"))
        return parsl.load(parsl.Config(**options))

    return load


def same(x):
    return x


class Pickled:
    def __init__(self, n):
        self.n = n


# -- defaults that are Parsl's ---------------------------------------------------------------------


def test_the_defaults_of_a_configuration():
    config = parsl.Config()
    assert config.dependency_resolver is SHALLOW_DEPENDENCY_RESOLVER
    assert config.memoizer.memoize_exceptions
    assert [(one.label, one.max_threads) for one in config.executors] == [("threads", 2)]
    assert pc.Config().dependency_resolver is None


def test_parameters_stand_in_parsls_order():
    executor, memoizer = (
        parsl.ThreadPoolExecutor("a", 3),
        parsl.dataflow.memoization.BasicMemoizer(),
    )
    config = parsl.Config([executor], memoizer, None, "wait", True, 10, 2)
    assert (config.executors, config.memoizer) == ((executor,), memoizer)
    assert (config.exit_mode, config.retries, executor.max_threads) == ("wait", 2, 3)


def test_a_call_that_has_failed_fails_again_without_being_executed(load):
    ran = []

    def broken(x):
        ran.append(x)
        raise KeyError(x)

    with load():
        theirs = parsl.python_app(broken, cache=True)
        assert isinstance(theirs(1).exception(), KeyError)
        again = theirs(1)
        assert isinstance(again.exception(), KeyError) and again.from_memo
    assert ran == [1]


def test_futures_inside_containers_are_passed_on(load):
    with load():
        app = parsl.python_app(same)
        (inside,) = app([app(1)]).result()
        assert isinstance(inside, Future) and inside.result() == 1


@pytest.mark.parametrize("value", [b"1", {1}, 1j, range(2), len, int, [b"1"], {"a": {1}}])
def test_types_that_parsl_does_not_memoize_are_refused(load, value):
    with load():
        error = parsl.python_app(same, cache=True)(value).exception()
        assert isinstance(error, ValueError)
        assert "unknown type for memoization" in str(error)
        assert parsl.python_app(same)(value).result() == value, "not cached, so not refused"


@pytest.mark.parametrize("value", [1, True, 1.5, None, "a", [1, ("b",)], {"a": None}, same])
def test_types_that_parsl_memoizes_are_taken(value):
    check(value)


def test_subclasses_of_containers_are_refused():
    class List(list):
        pass

    with pytest.raises(ValueError, match="unknown type"):
        check(List())


def test_a_type_is_taken_once_it_is_registered(load):
    class Point:
        pass

    with pytest.raises(ValueError, match="Point"):
        check(Point())
    parsl.dataflow.memoization.id_for_memo.register(Point, lambda point, output_ref=False: b"p")
    check(Point())


def test_a_type_may_count_by_its_pickle(load):
    memo = parsl.dataflow.memoization
    memo.id_for_memo.register(Pickled, memo.id_for_memo_pickle)
    with load():
        app = parsl.python_app(same, cache=True)
        app(Pickled(1)).result()
        calls = [app(Pickled(1)), app(Pickled(2))]
        for call in calls:
            call.result()
        assert [call.from_memo for call in calls] == [True, False]
    with pytest.raises(ValueError, match="references"):
        memo.id_for_memo_pickle(Pickled(1), output_ref=True)


def test_what_does_not_travel_is_a_serialization_error(load):
    from parsl_ckpt.compat.parsl.serialize.errors import SerializationError

    with load(executors=[parsl.HighThroughputExecutor(max_workers_per_node=1)]):
        error = parsl.python_app(same)(n for n in range(3)).exception()
    assert isinstance(error, SerializationError)


@pytest.mark.parametrize("path", ["some weird :// url", "", "a", "/a b/c"])
def test_what_is_no_url_is_a_path(path):
    file = parsl.File(path)
    assert (file.scheme, file.netloc, file.path, file.url) == ("file", "", path, path)


def test_what_says_that_nothing_is_loaded():
    for call in (parsl.dfk, parsl.wait_for_current_tasks, lambda: parsl.python_app(same)(1)):
        with pytest.raises(NoDataFlowKernelError, match="Must first load config"):
            call()


def test_what_says_that_something_is_loaded_already(load):
    with load(), pytest.raises(ConfigurationError, match="Config has already been loaded"):
        parsl.load()


def test_what_says_that_a_kernel_has_ended(load):
    with load() as dfk:
        pass
    with pytest.raises(NoDataFlowKernelError, match="a DFK that has been cleaned up"):
        parsl.python_app(same, data_flow_kernel=dfk)(1)


def test_what_an_app_reaches_by_name_does_not_count(load):
    ran = []

    def count(x):
        ran.append(x)
        return x

    with load():
        app = parsl.python_app(count, cache=True)
        assert [app(1).result(), app(1).result()] == [1, 1]
    assert ran == [1]


def test_the_end_of_a_block_waits_for_tasks_that_were_called(load):
    gate = threading.Event()

    def wait(x):
        assert gate.wait(DEADLINE)
        return x

    app = parsl.python_app(wait)
    with load(executors=[parsl.ThreadPoolExecutor(max_threads=1)]):
        futures = [app(i) for i in range(4)]
        futures[0].add_done_callback(lambda future: None)
        gate.set()
    assert [future.result() for future in futures] == [0, 1, 2, 3]


def test_the_end_of_a_block_that_is_left_by_an_exception_does_not_wait(load):
    gate, begun = threading.Event(), threading.Event()

    def wait():
        begun.set()
        gate.wait(DEADLINE)

    app = parsl.python_app(wait)
    with (
        pytest.raises(KeyError),
        load(executors=[parsl.ThreadPoolExecutor(max_threads=1)], grace=0),
    ):
        futures = [app() for _ in range(3)]
        assert begun.wait(DEADLINE)
        raise KeyError
    gate.set()
    assert futures[2].cancelled()


def test_the_directory_of_a_run_is_absolute(load, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with load(run_dir="runs") as dfk:
        assert dfk.run_dir == str(tmp_path / "runs" / "000")


def test_a_future_has_its_record_from_the_beginning(load):
    with load():
        future = parsl.python_app(same)(5)
        future.result()
        record = future.task_record
        assert record["args"] == (5,) and record["executor"] == "threads"
        assert record["dfk"] is parsl.dfk()
        assert record["time_invoked"] <= record["time_returned"]


def test_records_are_kept_if_they_are_not_to_be_collected(load):
    with load(garbage_collect=False) as dfk:
        app = parsl.python_app(same)
        app(app(1)).result()
        assert {tid: record["status"].name for tid, record in dfk.tasks.items()} == {
            0: "exec_done", 1: "exec_done",
        }  # fmt: skip
    with load() as dfk:
        app(1).result()
        parsl.wait_for_current_tasks()
        assert len(dfk.tasks) == 0


def test_memoizers_may_be_given_in_parsls_older_way(load):
    with load(checkpoint_mode="task_exit", app_cache=True) as dfk:
        assert dfk.memoizer.checkpoint_mode == "task_exit"
        parsl.python_app(same, cache=True)(1).result()
        assert dfk.checkpoint()
    with load(checkpoint_files=parsl.utils.get_all_checkpoints(os.path.dirname(dfk.run_dir))):
        assert parsl.python_app(same, cache=True)(1).from_memo


# -- what is refused, and how ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "options"),
    [
        ("monitoring", {"monitoring": object()}),
        ("checkpoint_mode", {"checkpoint_mode": "task_exit",
                             "memoizer": parsl.dataflow.memoization.BasicMemoizer()}),
        ("exit_mode", {"exit_mode": "stop"}),
        ("dependency_resolver", {"dependency_resolver": print}),
    ],
)  # fmt: skip
def test_a_field_that_is_wrong_is_named(field, options):
    with pytest.raises(ConfigurationError, match=field) as caught:
        parsl.Config(**options)
    assert caught.value.field == field and caught.value.hint


def test_two_executors_of_one_label_are_refused():
    with pytest.raises(ConfigurationError, match="label 'threads'"):
        parsl.Config([parsl.ThreadPoolExecutor(), parsl.ThreadPoolExecutor()])


@pytest.mark.parametrize(
    ("field", "make"),
    [
        ("provider", lambda: parsl.HighThroughputExecutor(provider=object())),
        ("nodes_per_block", lambda: parsl.providers.LocalProvider(nodes_per_block=2)),
        ("worker_init", lambda: parsl.providers.LocalProvider(worker_init="module load x")),
    ],
)
def test_an_executor_that_asks_for_more_than_one_machine_is_refused(field, make):
    with pytest.raises(ConfigurationError, match=field) as caught:
        make()
    assert caught.value.field == field


def test_a_parameter_that_no_executor_has_is_refused():
    with pytest.raises(TypeError, match="max_wrokers"):
        parsl.HighThroughputExecutor(max_wrokers=2)


def test_blocks_are_workers():
    provider = parsl.providers.LocalProvider(max_blocks=3)
    htex = parsl.HighThroughputExecutor(
        provider=provider, max_workers_per_node=1, address="127.0.0.1", worker_debug=True
    )
    assert (htex.label, htex.max_workers) == ("HighThroughputExecutor", 3)


def test_executors_may_be_changed_until_a_run_begins(load):
    gate = threading.Barrier(3, timeout=DEADLINE)
    threads = parsl.ThreadPoolExecutor()
    threads.max_threads = 3
    processes = parsl.HighThroughputExecutor(max_workers_per_node=1)
    processes.max_workers_per_node, processes.provider.max_blocks = None, 3
    processes.label = "renamed"
    with load(executors=[threads, processes]) as dfk:
        met = [parsl.python_app(gate.wait, executors=["threads"])() for _ in range(3)]
        assert sorted(call.result() for call in met) == [0, 1, 2]
        assert parsl.python_app(same, executors=["renamed"])(1).result() == 1
        assert dfk.executors["renamed"].max_workers >= 3


def test_the_number_of_threads_must_be_one():
    with pytest.raises(ConfigurationError, match="max_"):
        parsl.ThreadPoolExecutor().max_threads = 0


def test_apps_have_parsls_attributes():
    app = parsl.python_app(same, cache=True, executors=["a"], ignore_for_cache=["x"])
    assert (app.func, app.cache, list(app.executors), list(app.ignore_for_cache)) == (
        same, True, ["a"], ["x"],
    )  # fmt: skip
    plain = parsl.join_app(same)
    assert (plain.cache, plain.executors, plain.ignore_for_cache) == (False, "all", None)


def test_ready_made_configurations_are_made_anew():
    from parsl_ckpt.compat.parsl.configs.local_threads import config

    assert [one.label for one in config.executors] == ["threads"]
    assert parsl.configs.local_threads.config is not config


def test_a_staging_provider_that_was_written_for_parsl_is_refused_when_it_is_made():
    base = parsl.data_provider.staging.Staging

    class Moves(base):
        def stage_in(self, dm, executor, file, parent_fut):
            return None

    class Replaces(parsl.data_provider.file_noop.NoOpFileStaging):
        def replace_task(self, dm, executor, file, func):
            return func

    for kind, method in ((Moves, "stage_in"), (Replaces, "replace_task")):
        with pytest.raises(ConfigurationError, match=f"{kind.__name__}.{method}") as caught:
            kind()
        assert caught.value.field == method and "stage_out(self, file)" in caught.value.hint


def test_a_staging_provider_moves_files_to_workers(load, tmp_path):
    class Shelf(parsl.data_provider.staging.Staging):
        schemes = ("shelf",)

        def __init__(self, text):
            self.text = text

        def stage_in(self, file):
            with open(file.local_path, "w") as written:
                written.write(self.text + file.netloc)

    def read(file):
        with open(file) as opened:
            return opened.read()

    threads = parsl.ThreadPoolExecutor(storage_access=[Shelf("from the shelf: ")])
    with load(executors=[threads]):
        assert parsl.python_app(read)(parsl.File("shelf://a")).result() == "from the shelf: a"


def test_workers_know_who_they_are(load):
    names = ["RANK", "COUNT", "POOL_ID", "BLOCK_ID"]

    def told():
        return [os.environ[f"PARSL_WORKER_{name}"] for name in names]

    with load(executors=[parsl.HighThroughputExecutor("htex", max_workers_per_node=1)]):
        assert parsl.python_app(told)().result() == ["0", "1", "htex", "0"]


# -- an executor of concurrent.futures -------------------------------------------------------------


@pytest.fixture
def pool(tmp_path):
    from parsl_ckpt.compat.parsl.concurrent import ParslPoolExecutor

    with ParslPoolExecutor(parsl.Config(run_dir=str(tmp_path / "runinfo"))) as pool:
        yield pool


def test_a_pool_of_parsls_calls_functions(pool):
    assert pool.submit(same, 1).result() == 1
    assert list(pool.map(same, [1, 2, 3])) == [1, 2, 3]
    assert list(pool.map(same, [1, 2, 3], timeout=DEADLINE)) == [1, 2, 3]
    assert pool.submit(same, pool.submit(same, 4)).result() == 4
    assert pool.app_count == 1


def test_a_pool_that_was_shut_down_takes_no_calls(pool):
    pool.shutdown()
    pool.shutdown()
    with pytest.raises(RuntimeError, match="shut down"):
        pool.submit(same, 1)
    with pytest.raises(NoDataFlowKernelError):
        parsl.dfk()


def test_a_pool_cancels_what_has_not_begun(pool):
    waiting = pool.submit(same, Future())
    pool.shutdown(cancel_futures=True)
    assert waiting.cancelled()


def test_a_pool_of_a_kernel_leaves_it_running(load):
    from parsl_ckpt.compat.parsl.concurrent import ParslPoolExecutor

    with load() as dfk:
        with ParslPoolExecutor(dfk=dfk, executors=["threads"]) as pool:
            assert pool.submit(same, 1).result() == 1
            assert pool.get_app(same).executors == ["threads"]
        assert parsl.python_app(same)(2).result() == 2
        with pytest.raises(ValueError, match="only one"):
            ParslPoolExecutor(parsl.Config(), dfk)
    with pytest.raises(ValueError, match="one of"):
        ParslPoolExecutor()


def test_an_app_that_exits_gives_its_exit_and_the_worker_goes_on(load):
    def leave():
        raise SystemExit(3)

    with load(executors=[parsl.HighThroughputExecutor(max_workers_per_node=1)]):
        assert isinstance(parsl.python_app(leave)().exception(), SystemExit)
        assert parsl.python_app(same)(1).result() == 1


# -- logging ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_stream_logger_tells_each_step_of_tasks(load, when):
    stream = io.StringIO()
    undo = parsl.set_stream_logger(stream=stream) if when == "before" else None
    with load():
        undo = undo or parsl.set_stream_logger(stream=stream)
        parsl.python_app(same)(1).result()
    undo()
    assert "Task 0 (same): launched" in stream.getvalue()
    assert "Summary of tasks" in stream.getvalue()


def test_a_logger_is_undone(tmp_path):
    logger = logging.getLogger("parsl_ckpt")
    before = logger.level, list(logger.handlers)
    undo = parsl.set_file_logger(tmp_path / "log", name="parsl", level=logging.WARNING)
    logger.warning("heard")
    logger.info("not heard")
    undo()
    logger.warning("too late")
    assert (logger.level, list(logger.handlers)) == before
    said = (tmp_path / "log").read_text()
    assert "heard" in said and "not heard" not in said and "too late" not in said


def test_a_log_configuration_of_parsls(load):
    from parsl_ckpt.compat.parsl.logconfigs.file import FileLogging

    with load(initialize_logging=FileLogging(format_string="%(message)s")) as dfk:
        parsl.python_app(same)(1).result()
    with open(os.path.join(dfk.run_dir, "parsl_ckpt.log")) as file:
        assert "Task 0 (same): exec_done\n" in file.read()


def test_a_log_of_json_objects(load):
    from parsl_ckpt.compat.parsl.logconfigs.json import JSONLogging

    with load(initialize_logging=JSONLogging()) as dfk:
        parsl.python_app(same)(1).result()
    with open(os.path.join(dfk.run_dir, "parsl_ckpt.jsonlog")) as file:
        said = [json.loads(line) for line in file]
    assert "Task 0 (same): exec_done" in [one["formatted"] for one in said]
    assert {one["levelname"] for one in said} >= {"DEBUG", "INFO"}


def test_no_log(load):
    from parsl_ckpt.compat.parsl.logconfigs.noop import NoopLogging

    with load(initialize_logging=NoopLogging()) as dfk:
        parsl.python_app(same)(1).result()
    assert not [name for name in os.listdir(dfk.run_dir) if "log" in name]


# -- where compat keeps to ours: see the table -----------------------------------------------------


def test_equal_calls_under_way_are_executed_once(load):
    gate, ran = threading.Event(), []

    def count(x):
        gate.wait(DEADLINE)
        ran.append(x)
        return x

    with load():
        app = parsl.python_app(count, cache=True)
        futures = [app(1), app(1)]
        gate.set()
        assert [future.result() for future in futures] == [1, 1]
    assert ran == [1]


def test_a_hit_is_a_copy(load):
    with load():
        app = parsl.python_app(same, cache=True)
        app([1]).result().append(2)
        assert app([1]).result() == [1]


def test_how_a_call_is_written_does_not_count(load):
    def f(x, y=1, verbose=False):
        return x

    with load():
        app = parsl.python_app(f, cache=True, ignore_for_cache=["verbose"])
        app(1).result()
        again = [app(x=1), app(1, 1), app(1, verbose=True), app(1, 1, True), app([1]), app((1,))]
        for future in again:
            future.result()
        assert [future.from_memo for future in again] == [True] * 4 + [False] * 2


def test_a_call_that_waits_is_cancelled_where_a_block_ends_by_an_exception(load):
    with pytest.raises(KeyError), load(exit_mode="wait"):
        waiting = parsl.python_app(same)(Future())
        raise KeyError
    assert waiting.cancelled()


@pytest.mark.parametrize("kind", [IndexError, KeyError, AttributeError])
def test_a_command_line_that_cannot_be_made_is_bad_formatting(load, kind):
    def line():
        raise kind("missing")

    with load():
        error = parsl.bash_app(line)().exception()
    assert isinstance(error, parsl.app.errors.AppBadFormatting)
    assert isinstance(error.__cause__, kind)


@pytest.mark.parametrize("stdout", [["out", "w"], ("out", None), (42, "w"), ("out",)])
def test_a_stream_of_a_wrong_type_is_named(load, stdout):
    with load():
        error = parsl.bash_app(lambda stdout=None: "true")(stdout=stdout).exception()
    assert isinstance(error, parsl.app.errors.BadStdStreamFile) and "stdout" in str(error)


def test_an_app_whose_code_was_edited_runs_again(load):
    def edition(n):
        names = {}
        exec(f"def made(x):\n    return x + {n}\n", names)
        return parsl.python_app(names["made"], cache=True)

    with load():
        assert [edition(1)(1).result(), edition(2)(1).result()] == [2, 3]
    with load(code="name"):
        assert [edition(1)(1).result(), edition(2)(1).result()] == [2, 2]


def test_a_call_that_has_not_begun_can_be_cancelled(load):
    gate = threading.Event()
    with load(executors=[parsl.ThreadPoolExecutor(max_threads=1)]):
        app = parsl.python_app(lambda: gate.wait(DEADLINE))
        first, second = app(), app()
        assert second.cancel()
        gate.set()
        assert first.result() and second.cancelled()


def test_cleaning_up_again_does_nothing(load):
    dfk = load()
    dfk.cleanup()
    dfk.cleanup()


def test_a_memoizer_of_ones_own_is_asked_where_nothing_is_recorded(load):
    asked = []

    class Mine(parsl.dataflow.memoization.BasicMemoizer):
        def check_memo(self, task):
            asked.append(task["args"])
            return super().check_memo(task)

    with load(memoizer=Mine()):
        app = parsl.python_app(same, cache=True)
        assert [app(1).result(), app(1).result(), app(2).result()] == [1, 1, 2]
    assert asked == [(1,), (2,)]


def test_a_retry_handler_is_not_asked_about_inputs_that_failed(load):
    def broken():
        raise KeyError("first")

    asked = []

    def handler(error, task):
        asked.append((type(error), task["func_name"]))
        return 1

    with load(retries=1, retry_handler=handler):
        app = parsl.python_app(same)
        assert app(parsl.python_app(broken)()).exception() is not None
    assert asked == [(KeyError, "broken")] * 2


def test_an_executor_that_is_not_there_is_refused_at_the_call(load):
    with load(), pytest.raises(ValueError, match="nobody"):
        parsl.python_app(same, executors=["nobody"])(1)


def test_a_generator_function_is_refused_by_the_decorator():
    def generate():
        yield 1

    with pytest.raises(ValueError, match="generator"):
        parsl.python_app(generate)


def test_results_of_other_apps_may_be_of_any_type(load):
    with load():
        made = parsl.python_app(lambda: {1, 2}, cache=True)()
        assert parsl.python_app(same, cache=True)(made).result() == {1, 2}


def test_a_file_counts_by_its_content(load, tmp_path):
    def read(file):
        with open(file) as opened:
            return opened.read()

    with load():
        app = parsl.python_app(read, cache=True)
        values = []
        for text in ("one", "one", "two"):
            (tmp_path / "a").write_text(text)
            values.append(app(parsl.File(tmp_path / "a")).result())
    assert values == ["one", "one", "two"]
