"""Where the standard streams of commands go."""

from __future__ import annotations

import copy
import os
import pickle

import pytest

import parsl_ckpt as pc
from parsl_ckpt.errors import BadStdStreamFile
from parsl_ckpt.kernel.streams import AUTO_LOGNAME, LogNames


@pc.bash_app
def say(text="out", error="err", stdout=None, stderr=None):
    return f"echo {text}; echo {error} >&2"


@pc.bash_app
def logged(label=None, stdout=AUTO_LOGNAME, stderr=AUTO_LOGNAME):
    return f"echo {os.path.basename(str(stdout))}; echo to {stderr} >&2"


@pc.bash_app
def quiet():
    return "echo to the terminal"


def test_streams_go_to_the_paths_that_are_given(anywhere, here):
    future = say(stdout="o", stderr="e")
    assert future.result() == 0
    assert ((here / "o").read_text(), (here / "e").read_text()) == ("out\n", "err\n")
    assert (future.stdout, future.stderr) == ("o", "e")


def test_they_may_be_given_to_a_function_that_has_no_such_parameter(run, here):
    run()
    future = quiet(stdout="o")
    assert (future.result(), future.stdout, future.stderr) == (0, "o", None)
    assert (here / "o").read_text() == "to the terminal\n"


def test_they_may_be_given_by_position(run, here):
    run()
    future = say("a", "b", "o", "e")
    assert (future.result(), future.stdout) == (0, "o")
    assert (here / "e").read_text() == "b\n"


def test_they_may_be_defaults_of_the_function(run, here):
    run()

    @pc.bash_app
    def always(stdout="by default"):
        return "echo x"

    assert (always().result(), always().stdout) == (0, "by default")
    assert (here / "by default").exists()


def test_without_a_file_they_go_where_those_of_the_run_go(run, capfd):
    run()
    future = say()
    assert (future.result(), future.stdout, future.stderr) == (0, None, None)
    assert capfd.readouterr() == ("out\n", "err\n")


def test_a_path_is_appended_to(run, here):
    run()
    (here / "o").write_text("before\n")
    say(stdout="o").result()
    say("again", stdout="o").result()
    assert (here / "o").read_text() == "before\nout\nagain\n"


@pytest.mark.parametrize("mode", ["w", "w+", "wb", "wt"])
def test_with_a_mode_it_may_be_written_anew(run, here, mode):
    run()
    (here / "o").write_text("before\n")
    future = say(stdout=("o", mode))
    assert (future.result(), future.stdout) == (0, ("o", mode))
    assert (here / "o").read_text() == "out\n"


def test_with_the_mode_x_it_must_be_new(run, here):
    run()
    assert say(stdout=("o", "x")).result() == 0
    error = say(stdout=("o", "x")).exception()
    assert isinstance(error, BadStdStreamFile) and isinstance(error.__cause__, FileExistsError)


def test_a_path_may_be_a_path_object(run, here):
    run()
    assert say(stdout=here / "o").result() == 0
    assert (here / "o").read_text() == "out\n"


def test_a_file_is_written_anew(anywhere, here):
    (here / "o").write_text("before\n")
    future = say(stdout=pc.File("o"))
    assert future.result() == 0
    assert (here / "o").read_text() == "out\n"


def test_the_stream_of_a_file_is_a_future_that_other_apps_take(anywhere, here):
    future = say("x", stdout=pc.File("o"), stderr=pc.File("e"))
    assert future.stdout is future.stdout and future.outputs == []
    assert read(future.stdout).result() == "x\n" and read(future.stderr).result() == "err\n"
    assert (future.stdout.filepath, future.stderr.result().filepath) == ("o", "e")


@pc.python_app
def read(path):
    with open(path) as file:
        return file.read()


def test_a_file_elsewhere_may_take_a_stream(anywhere, here):
    import zipfile

    future = say("x", stdout=pc.File("zip:logs.zip/out"))
    assert future.result() == 0
    with zipfile.ZipFile(here / "logs.zip") as archive:
        assert archive.read("out") == b"x\n"


@pytest.mark.parametrize("kind", ["a", "w"])
def test_both_streams_may_go_to_one_file(run, here, kind):
    run()
    say(stdout=("log", kind), stderr=("log", kind)).result()
    assert (here / "log").read_text() == "out\nerr\n"


def test_directories_on_the_way_are_made(run, here):
    run()
    assert say(stdout="some/where/o").result() == 0
    assert (here / "some/where/o").read_text() == "out\n"


def test_a_failure_keeps_what_was_written(run, here):
    run()

    @pc.bash_app
    def fail(stdout=None):
        return "echo half; exit 1"

    future = fail(stdout="o")
    assert future.exception().stdout == "o" == future.stdout
    assert (here / "o").read_text() == "half\n"


# --- what is no stream ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrong",
    [3, 2.5, ["o", "w"], ("o",), ("o", "w", 3), ("o", "r"), ("o", 7), (3, "w"), "", "a\0b", b""],
)
@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_what_is_no_file_is_refused_by_name(run, wrong, stream):
    run()
    error = say(**{stream: wrong}).exception()
    assert type(error) is BadStdStreamFile
    assert (error.app, error.stream) == ("say", stream)
    assert stream in str(error) and "'say'" in str(error)


def test_a_file_that_cannot_be_opened_is_a_failure_that_names_it(anywhere, here):
    (here / "taken").mkdir()
    error = say(stdout="taken").exception()
    assert type(error) is BadStdStreamFile and isinstance(error.__cause__, OSError)
    assert error.path == "taken" and "taken" in str(error)
    (here / "file").write_text("")
    error = say(stdout="file/below").exception()
    assert type(error) is BadStdStreamFile and isinstance(error.__cause__, OSError)


# --- names by the run -----------------------------------------------------------------------------


def test_auto_logname_is_a_file_of_its_own_in_the_runs_directory(anywhere, here):
    one, two = logged(), logged()
    assert (one.result(), two.result()) == (0, 0)
    assert one.stdout == str(here / f"runinfo/000/task_logs/0000/task_{one.tid:04}_logged.stdout")
    assert two.stderr == str(here / f"runinfo/000/task_logs/0000/task_{two.tid:04}_logged.stderr")
    with open(one.stdout) as file:  # the function was told the name
        assert file.read() == f"task_{one.tid:04}_logged.stdout\n"


def test_a_label_is_part_of_the_name(run):
    run()
    future = logged(label="blue/1")
    assert future.result() == 0 and future.stdout.endswith("_logged_blue_1.stdout")


def test_it_may_be_given_by_position_and_by_keyword(run):
    run()
    future = say("a", "b", AUTO_LOGNAME, stderr=pc.AUTO_LOGNAME)
    assert future.result() == 0
    assert future.stdout.endswith(".stdout") and future.stderr.endswith(".stderr")
    with open(future.stderr) as file:
        assert file.read() == "b\n"


def test_a_function_that_takes_any_keyword_is_told_the_name(run):
    run()

    @pc.bash_app
    def anything(**named):
        return f"echo {named['stdout']}"

    future = anything(stdout=AUTO_LOGNAME)
    assert future.result() == 0
    with open(future.stdout) as file:
        assert file.read().strip() == future.stdout


def test_a_function_that_takes_any_number_of_arguments_is_told_the_name(run):
    run()

    @pc.bash_app
    def anything(*numbers, stdout=AUTO_LOGNAME):
        return f"echo {stdout}"

    future = anything(1, 2, 3)
    assert future.result() == 0
    with open(future.stdout) as file:
        assert file.read().strip() == future.stdout


def test_the_name_is_known_before_it_runs(run, bell):
    run()
    path, ring = bell

    @pc.bash_app
    def wait(stdout=None):
        return f"echo {os.getpid()} > {path}"

    future = wait(stdout=AUTO_LOGNAME)
    assert future.stdout.endswith("_wait.stdout")
    assert ring() == str(os.getpid()) and future.result() == 0


def test_std_autopath_names_them(run, here):
    asked = []

    def name(record, stream):
        assert (record["try_id"], record["fail_count"], record["memoize"]) == (0, 0, False)
        assert record["func"].__name__ == "say"
        asked.append((record["id"], record["func_name"], record["kwargs"], stream))
        return f"logs/{record['func_name']}-{stream}", "w"

    run(std_autopath=name)
    future = say(text="x", stdout=AUTO_LOGNAME)
    assert future.result() == 0 and future.stdout == ("logs/say-stdout", "w")
    assert (here / "logs/say-stdout").read_text() == "x\n"
    assert asked == [(0, "say", {"text": "x", "stdout": AUTO_LOGNAME}, "stdout")]


def test_std_autopath_may_name_files_elsewhere(run, here):
    import zipfile

    run(std_autopath=lambda record, stream: pc.File(f"zip:logs.zip/{record['id']}.{stream}"))
    future = logged()
    assert future.result() == 0 and future.outputs == []
    assert future.stdout.result().url == "zip:logs.zip/0.stdout"
    with zipfile.ZipFile(here / "logs.zip") as archive:
        assert archive.namelist() == ["0.stdout", "0.stderr"]


def test_a_hit_points_at_the_original_of_those_as_well(run, here):
    run(std_autopath=lambda record, stream: pc.File(f"{record['id']}.{stream}"))

    @pc.bash_app(cache=True)
    def cached(stdout=AUTO_LOGNAME):
        return "echo x"

    first = cached()
    assert first.result() == 0 and first.stdout.filepath == "0.stdout"
    hit = cached()
    assert hit.from_memo and (hit.result(), hit.stdout) == (0, "0.stdout")


def test_a_std_autopath_that_fails_is_a_failure_of_the_call_with_its_cause(run):
    run(std_autopath=lambda record, stream: record["colour"])
    error = say(stdout=AUTO_LOGNAME).exception()
    assert type(error) is BadStdStreamFile and isinstance(error.__cause__, KeyError)
    assert "std_autopath" in str(error)


def test_a_std_autopath_that_names_no_file_is_told_so(run):
    run(std_autopath=lambda record, stream: 7)
    assert type(say(stdout=AUTO_LOGNAME).exception()) is BadStdStreamFile


def test_a_std_autopath_that_is_no_function_is_refused():
    with pytest.raises(pc.ConfigurationError) as caught:
        pc.Config(std_autopath="logs")
    assert caught.value.field == "std_autopath"


def test_a_run_that_is_elsewhere_has_no_names():
    with pytest.raises(BadStdStreamFile) as caught:
        LogNames(None, None)({"id": 1, "func_name": "f", "kwargs": {}}, "stdout")
    assert "std_autopath" in caught.value.hint


def test_no_directory_has_more_than_ten_thousand():
    names = LogNames("/runs/000", None)
    record = {"id": 123456, "func_name": "f", "kwargs": {}}
    assert names(record, "stdout") == "/runs/000/task_logs/0012/task_123456_f.stdout"


def test_auto_logname_is_one_value_wherever_it_travels():
    assert pickle.loads(pickle.dumps(AUTO_LOGNAME)) is AUTO_LOGNAME is pc.AUTO_LOGNAME
    assert copy.deepcopy(AUTO_LOGNAME) is AUTO_LOGNAME and repr(AUTO_LOGNAME) == "AUTO_LOGNAME"


def test_retries_append_to_one_log(run):
    run(retries=2)

    @pc.bash_app
    def again(stdout=AUTO_LOGNAME):
        return "echo try; test $(wc -l < $0) = 3".replace("$0", str(stdout))

    future = again()
    assert future.result() == 0
    with open(future.stdout) as file:
        assert file.read() == "try\n" * 3
