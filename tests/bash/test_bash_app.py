"""Bash apps: the command line, its status, its environment."""

from __future__ import annotations

import os
import pickle
import signal

import pytest

import parsl_ckpt as pc
from parsl_ckpt.errors import (
    AppBadFormatting,
    AppDefinitionError,
    AppException,
    BashAppNoReturn,
    BashExitFailure,
    MissingOutputs,
    RequestError,
)
from parsl_ckpt.kernel.commands import BashRunner
from tests.executors.test_processes import until


@pc.bash_app
def shell(line, outputs=(), stdout=None, stderr=None):
    return line


@pc.bash_app
def greet(name, greeting="Hello", outputs=()):
    return f"echo '{greeting}, {name}!' > {outputs[0]}"


# --- the command ----------------------------------------------------------------------------------


def test_the_string_that_it_returns_is_run_by_bash_and_the_outcome_is_its_status(anywhere, here):
    future = greet("World", outputs=[pc.File("out")])
    assert future.result() == 0
    assert (here / "out").read_text() == "Hello, World!\n"


def test_it_is_bash_and_not_some_other_shell(run, here):
    run()
    assert shell("[[ $BASH_VERSION && abc == a* ]] && wc -l <(echo x)", stdout="o").result() == 0


def test_scripts_may_have_many_lines(run, here):
    run()
    script = """
        # A comment, a loop, a here-document, a function.
        function twice { echo $(( 2 * $1 )); }
        for i in 1 2 3; do
            twice $i
        done
        cat <<'END'
        as it is: $HOME
END
        exit 0
        echo never
    """
    assert shell(script, stdout="o").result() == 0
    assert (here / "o").read_text() == "2\n4\n6\n        as it is: $HOME\n"


def test_messages_of_bash_have_the_numbers_of_the_scripts_lines(run, here):
    run()
    shell("true\ntrue\nno-such-command", stderr="e").exception()
    assert "line 3:" in (here / "e").read_text()


def test_scripts_may_be_longer_than_an_argument_of_a_program(anywhere, here):
    long = "x" * 400_000
    assert shell(f"x={long}\necho ${{#x}} $LINENO", stdout="o").result() == 0
    assert (here / "o").read_text() == "400000 2\n"


@pytest.mark.parametrize("line", ["", "   ", "# nothing to do", "\n\n"])
def test_an_empty_script_succeeds(run, line):
    run()
    assert shell(line).result() == 0


def test_text_of_any_alphabet_arrives_as_utf_8(run, here):
    run()
    assert shell("printf %s 'жар-птица 🔥'", stdout="o").result() == 0
    assert (here / "o").read_text(encoding="utf-8") == "жар-птица 🔥"


def test_output_that_is_no_text_is_kept_byte_by_byte(run, here):
    run()
    shell(r"printf '\xff\x00\xfe'", stdout="o").result()
    assert (here / "o").read_bytes() == b"\xff\x00\xfe"


def test_a_command_that_reads_finds_nothing_to_read(anywhere, here):
    assert shell("cat; read line || echo end", stdout="o").result() == 0
    assert (here / "o").read_text() == "end\n"


def test_it_runs_in_the_current_directory(anywhere, here):
    shell("pwd -P", stdout="o").result()
    assert (here / "o").read_text().strip() == os.path.realpath(here)


def test_it_has_the_environment_of_what_runs_it(run, here, monkeypatch):
    monkeypatch.setenv("COLOUR", "blue")
    pool = pc.ProcessPoolExecutor(max_workers=1, env={"SHAPE": "round"})
    run(executors=[pool])
    shell("echo $COLOUR $SHAPE $PARSL_WORKER_RANK", stdout="o").result()
    assert (here / "o").read_text() == "blue round 0\n"


def test_it_holds_no_descriptor_of_ours(run, here):
    run()
    shell("ls /proc/$$/fd; true", stdout="o").result()
    assert (here / "o").read_text().split() == ["0", "1", "2"]


def test_signals_do_what_they_do_elsewhere(anywhere, here):
    # Workers ignore SIGINT; what they start must not.
    shell("kill -INT $BASHPID; echo ignored", stdout="o").exception()
    assert (here / "o").read_text() == ""


def test_what_it_leaves_in_the_background_is_not_waited_for(run, here, bell):
    run()
    path, _ = bell
    assert shell(f"(read _ < {path}; echo late >> o) > /dev/null 2>&1 &").result() == 0
    assert not (here / "o").exists()
    with open(path, "w") as file:
        file.write("go\n")
    until((here / "o").exists)


# --- how it fails ---------------------------------------------------------------------------------


def test_a_status_other_than_0_is_a_failure_that_has_app_and_status(anywhere):
    error = shell("exit 7").exception()
    assert type(error) is BashExitFailure
    assert (error.app_name, error.exitcode) == ("shell", 7)
    assert "'shell'" in str(error) and "status 7" in str(error)


def test_the_failure_is_made_of_app_and_status_and_pickles():
    error = BashExitFailure("fit", 3)
    again = pickle.loads(pickle.dumps(error))
    assert (again.app_name, again.exitcode, str(again)) == ("fit", 3, str(error))
    assert isinstance(error, AppException) and isinstance(error, pc.ParslCkptError)


def test_the_failure_quotes_the_end_of_stderr(run):
    run()
    error = shell("echo 'no such planet' >&2; exit 1", stderr="log").exception()
    assert "no such planet" in str(error) and "log" in str(error)


def test_the_end_of_stderr_may_be_anything(run):
    run()
    error = shell(r"printf '\xff\xfe%05000d' 1 >&2; exit 1", stderr="log").exception()
    assert len(str(error)) < 2000
    error = shell("exit 1", stderr="nothing").exception()
    assert "wrote nothing" in str(error)
    error = shell("rm gone; exit 1", stderr="gone").exception()
    assert error.exitcode == 1
    assert "stderr=" in str(shell("exit 1").exception())


def test_a_shell_that_a_signal_ends_has_a_negative_status(run):
    run()
    error = shell("kill -KILL $$").exception()
    assert error.exitcode == -9 and "signal 9" in str(error)


def test_a_command_that_does_not_exist_has_the_status_of_bash(run):
    run()
    assert shell("no-such-command", stderr="e").exception().exitcode == 127


def test_a_syntax_error_is_a_failure(run, here):
    run()
    error = shell("if true; then", stderr="e").exception()
    assert isinstance(error, BashExitFailure) and "syntax error" in str(error)


@pc.bash_app
def nothing_at_all():
    """Forgets to return."""


@pc.bash_app
def a_number():
    return 12


@pc.bash_app
def a_list():
    return ["echo", *map(str, range(1000))]


@pytest.mark.parametrize(
    "app, what",
    [
        (nothing_at_all, "returned None, which"),
        (a_number, "returned 12, which"),
        (a_list, "returned ['echo', '0', '1', '2', '3', '4', ...], which"),
    ],
)
def test_a_function_that_returns_no_string_is_told_so(run, app, what):
    run()
    error = app().exception()
    assert type(error) is BashAppNoReturn and isinstance(error, AppBadFormatting)
    assert error.app == app.__name__ and what in str(error)


@pc.bash_app
def beyond_the_inputs(inputs=()):
    return f"cat {inputs[3]}"


@pc.bash_app
def no_such_attribute(x):
    return f"echo {x.colour}"


@pc.bash_app
def no_such_key(x):
    return "echo {colour}".format(**x)


@pytest.mark.parametrize(
    "call, cause",
    [
        (lambda: beyond_the_inputs(inputs=["a"]), IndexError),
        (lambda: no_such_attribute(1), AttributeError),
        (lambda: no_such_key({}), KeyError),
    ],
)
def test_a_line_that_cannot_be_formatted_is_a_failure_with_its_cause(run, call, cause):
    run()
    error = call().exception()
    assert type(error) is AppBadFormatting and isinstance(error.__cause__, cause)
    assert repr(error.app) in str(error)


def test_a_line_with_a_nul_character_is_refused(run):
    run()
    assert isinstance(shell("echo \0").exception(), AppBadFormatting)


@pc.bash_app
def raises_by_itself():
    raise RuntimeError("not today")


def test_what_the_function_raises_is_its_failure(run):
    run()
    error = raises_by_itself().exception()
    assert type(error) is RuntimeError and str(error) == "not today"


def test_a_wrong_call_is_an_error_of_the_call(run):
    run()
    assert isinstance(greet().exception(), (TypeError, pc.ParslCkptError))


def test_without_bash_it_says_what_is_missing(run, monkeypatch):
    from parsl_ckpt.kernel import guardian

    run()
    fresh = guardian.Guardian()
    monkeypatch.setattr("parsl_ckpt.kernel.commands.guardian", fresh)
    monkeypatch.setattr(guardian, "BASH", "/no/such/bash")
    error = shell("true").exception()
    assert type(error) is AppException and "no /bin/bash" in str(error)


def test_where_nobody_can_tell_how_a_command_ends_it_is_not_run(run):
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        runner = BashRunner(lambda: "exit 3", "app")
        with pytest.raises(AppException, match="SIGCHLD"):
            runner()
    finally:
        signal.signal(signal.SIGCHLD, before)


def test_files_that_it_does_not_write_are_missing(anywhere, here):
    written, missing = pc.File("written"), pc.File("not-written")
    error = shell("touch written", outputs=[written, missing]).exception()
    assert type(error) is MissingOutputs
    assert error.outputs == [missing] and "not-written" in str(error)


def test_outputs_are_looked_at_only_if_it_succeeds(run):
    run()
    assert isinstance(shell("exit 3", outputs=[pc.File("x")]).exception(), BashExitFailure)


def test_a_failure_is_tried_again_as_often_as_the_run_says(run, here):
    run(retries=2)
    assert shell("echo x >> tries; test $(wc -l < tries) = 3").result() == 0
    assert shell("echo x >> others; exit 1").exception().exitcode == 1
    assert (here / "others").read_text().count("x") == 3


# --- around it ------------------------------------------------------------------------------------


@pc.python_app
def name_of(n):
    return f"name{n}"


@pc.python_app
def length(path):
    return os.path.getsize(path)


def test_futures_among_its_arguments_are_waited_for(anywhere, here):
    future = greet(name_of(1), greeting=name_of(2), outputs=[pc.File("out")])
    assert future.result() == 0
    assert (here / "out").read_text() == "name2, name1!\n"


def test_futures_among_its_defaults_are_waited_for(run, here):
    run()

    @pc.bash_app(cache=True)
    def total(inputs=[double(1), double(2)], *, more=(double(3),), stdout=None):  # noqa: B006, B008
        return f"echo {sum(inputs) + sum(more)}"

    assert total(stdout="o").result() == 0 == total([1], stdout="p").result()
    assert total(inputs=[], more=[4], stdout="q").result() == 0
    assert [(here / name).read_text() for name in "opq"] == ["12\n", "7\n", "4\n"]
    again = total(stdout="r")
    assert again.result() == 0 and again.from_memo


@pc.python_app(cache=True)
def double(x):
    return 2 * x


def test_its_outputs_are_futures_that_other_apps_take(run):
    run()
    future = greet("World", outputs=[pc.File("out")])
    assert [one.filepath for one in future.outputs] == ["out"]
    assert length(future.outputs[0]).result() == len("Hello, World!\n")


@pc.join_app
def two_greetings():
    return [greet(str(n), outputs=[pc.File(f"out{n}")]) for n in range(2)]


def test_a_join_app_may_wait_for_commands(run, here):
    run()
    assert two_greetings().result() == [0, 0]
    assert (here / "out1").exists()


def test_a_dependant_of_a_command_that_failed_does_not_run(run):
    run()
    error = length(shell("exit 2", outputs=[pc.File("o")]).outputs[0]).exception()
    assert isinstance(error, pc.DependencyError) and isinstance(error.__cause__, BashExitFailure)


def test_the_original_apis_decorator_makes_bash_apps(run, here):
    dfk = run()

    @pc.App("bash", dfk, cache=True, walltime=60)
    def old(text, outputs=()):
        return f"echo {text} > {outputs[0]}"

    assert old("x", outputs=[pc.File("o")]).result() == 0
    assert (here / "o").read_text() == "x\n" and repr(old) == "<bash_app old>"


def test_methods_and_closures_may_be_bash_apps(anywhere, here):
    class Planet:
        def __init__(self, name):
            self.name = name

        @pc.bash_app
        def note(self, outputs=()):
            return f"echo {self.name} > {outputs[0]}"

    assert Planet("mars").note(outputs=[pc.File("o")]).result() == 0
    assert (here / "o").read_text() == "mars\n"


@pytest.mark.parametrize("option", ["check_mutation", "watch_inputs"])
def test_options_that_watch_python_are_refused(option):
    with pytest.raises(AppDefinitionError) as caught:
        pc.App("bash", cache=True, **{option: True})(shell.__wrapped__)
    assert caught.value.parameter == option


@pytest.mark.parametrize("wrong", ["file.txt", 3, [1], pc.File("x")])
def test_outputs_that_are_no_list_of_files_are_refused_by_name(run, wrong):
    run()
    error = shell("true", outputs=wrong).exception()
    assert isinstance(error, RequestError) and error.parameter == "outputs"


def test_a_runner_is_light_to_import():
    import subprocess
    import sys

    program = (
        "import sys; import parsl_ckpt.kernel.commands; "
        "print(sorted(m for m in sys.modules if m.startswith('parsl_ckpt')))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert eval(done.stdout) == [
        "parsl_ckpt",
        "parsl_ckpt.errors",
        "parsl_ckpt.kernel",
        "parsl_ckpt.kernel.commands",
        "parsl_ckpt.kernel.guardian",
        "parsl_ckpt.kernel.streams",
        "parsl_ckpt.signatures",
    ]


def test_a_runner_pickles_and_keeps_what_was_asked_of_it():
    runner = BashRunner(os.path.basename, "shell").asked("o", ("e", "w"), 3.0)
    again = pickle.loads(pickle.dumps(runner))
    assert (again.app, again.stdout, again.stderr, again.walltime) == ("shell", "o", ("e", "w"), 3)
