"""Commands that need not run again: their records, their output files, their logs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import parsl_ckpt as pc
from parsl_ckpt.errors import BlessingError
from parsl_ckpt.kernel.streams import AUTO_LOGNAME


@pc.bash_app(cache=True)
def make(text, outputs=(), stdout=None, stderr=None):
    return f"echo ran >> runs; echo {text} > {outputs[0]}; echo log of {text}; echo error >&2"


@pc.bash_app(cache=True)
def count(inputs=(), outputs=()):
    return f"echo counted >> runs; wc -c < {inputs[0]} > {outputs[0]}"


@pc.bash_app(cache=True)
def speak(text):
    return f"echo ran >> runs; echo {text} > /dev/null"


@pytest.fixture
def runs(here):
    """How many commands have run."""
    return lambda: len((here / "runs").read_text().split()) if (here / "runs").exists() else 0


def test_a_command_that_is_recorded_does_not_run_again(run, runs):
    run()
    assert speak("a").result() == 0
    hit = speak("a")
    assert (hit.result(), hit.from_memo, runs()) == (0, True, 1)
    run()
    assert (speak("a").result(), runs()) == (0, 1)
    assert (speak("b").result(), runs()) == (0, 2)


def test_a_failure_is_not_recorded(run, runs):
    run()

    @pc.bash_app(cache=True)
    def fail():
        return "echo ran >> runs; exit 3"

    assert fail().exception().exitcode == 3 == fail().exception().exitcode
    assert runs() == 2


@pytest.mark.parametrize("kind", [pc.ThreadPoolExecutor, pc.ProcessPoolExecutor])
def test_its_output_files_are_recorded_with_it(run, runs, here, kind):
    run(executors=[kind(max_workers=1)])
    out = [pc.File("out")]
    make("a", outputs=out).result()
    run(executors=[kind(max_workers=1)])
    hit = make("a", outputs=out)
    assert (hit.result(), hit.from_memo, runs()) == (0, True, 1)
    assert hit.outputs[0].result().filepath == "out"


@pytest.mark.parametrize("spoil", [os.unlink, lambda path: Path(path).write_text("other")])
def test_a_hit_whose_output_files_are_gone_or_altered_is_a_miss(run, runs, here, spoil):
    run()
    out = [pc.File("out")]
    make("a", outputs=out).result()
    spoil("out")
    again = make("a", outputs=out)
    assert (again.result(), again.from_memo, runs()) == (0, False, 2)
    assert (here / "out").read_text() == "a\n"
    run()
    spoil("out")
    assert (make("a", outputs=out).result(), runs()) == (0, 3)


def test_other_names_of_output_files_are_another_call(run, runs, here):
    run()
    make("a", outputs=[pc.File("one")]).result()
    make("a", outputs=[pc.File("two")]).result()
    assert runs() == 2 and (here / "two").exists()


def test_a_chain_of_commands_is_restored_by_the_files_between(run, runs, here):
    def chain():
        made = make("a", outputs=[pc.File("made")])
        return count(inputs=[made.outputs[0]], outputs=[pc.File("count")])

    run()
    assert chain().result() == 0 and runs() == 2
    run()
    assert chain().result() == 0 and runs() == 2
    (here / "made").write_text("altered")
    assert chain().result() == 0
    assert runs() == 3  # it is made again, as it was: what depends on it holds
    assert (here / "count").read_text() == "2\n"


def test_an_altered_input_file_is_a_miss(run, runs, here):
    run()
    (here / "in").write_text("abc")
    count(inputs=[pc.File("in")], outputs=[pc.File("n")]).result()
    (here / "in").write_text("abcd")
    count(inputs=[pc.File("in")], outputs=[pc.File("n")]).result()
    assert runs() == 2 and (here / "n").read_text() == "4\n"


# --- logs -----------------------------------------------------------------------------------------


def test_streams_do_not_count_in_the_address(run, runs):
    run()
    out = [pc.File("out")]
    make("a", outputs=out, stdout="one").result()
    assert make("a", outputs=out, stdout="two", stderr="three").from_memo
    assert make.key("a", outputs=out) == make.key("a", outputs=out, stdout="x", stderr="y")


def test_a_hit_points_at_the_original_logs(run, here):
    run()
    out = [pc.File("out")]
    first = make("a", outputs=out, stdout=AUTO_LOGNAME, stderr="err")
    assert first.result() == 0
    hit = make("a", outputs=out, stdout=AUTO_LOGNAME, stderr="other")
    assert hit.from_memo and (hit.stdout, hit.stderr) == (first.stdout, "err")
    run()
    hit = make("a", outputs=out, stdout=AUTO_LOGNAME)
    assert hit.result() == 0 and hit.stdout == first.stdout
    assert "/runinfo/000/" in hit.stdout and not (here / "other").exists()
    with open(hit.stdout) as file:
        assert file.read() == "log of a\n"


def test_the_file_of_a_stream_is_an_output_like_any_other(run, runs, here):
    def talk():
        return speaker("a", stdout=pc.File("said"))

    @pc.bash_app(cache=True)
    def speaker(text, stdout=None):
        return f"echo ran >> runs; echo {text}"

    run()
    talk().result()
    hit = talk()
    assert hit.from_memo and hit.stdout.result().filepath == "said"
    (here / "said").unlink()
    again = talk()
    assert (again.result(), again.from_memo, runs()) == (0, False, 2)
    assert speaker("a", stdout=pc.File("elsewhere")).result() == 0
    assert (here / "elsewhere").read_text() == "a\n" and runs() == 3


def test_a_hit_points_at_them_whether_or_not_it_asks(run):
    run()
    out = [pc.File("out")]
    make("a", outputs=out, stdout="log").result()
    run()
    assert make("a", outputs=out).stdout == "log"


def test_a_hit_of_a_call_without_logs_has_none(run):
    run()
    out = [pc.File("out")]
    make("a", outputs=out).result()
    hit = make("a", outputs=out, stdout=AUTO_LOGNAME)
    assert hit.from_memo and (hit.result(), hit.stdout, hit.stderr) == (0, None, None)


def test_calls_that_join_have_one_log(run, bell):
    run()
    path, _ = bell

    @pc.bash_app(cache=True)
    def wait(x, stdout=AUTO_LOGNAME):
        return f"read line < {path}; echo $line"

    one, two = wait(1), wait(1)
    with open(path, "w") as file:
        file.write("go\n")
    assert (one.result(), two.result()) == (0, 0)
    assert one.stdout == two.stdout and two.from_memo
    with open(two.stdout) as file:
        assert file.read() == "go\n"


# --- identity -------------------------------------------------------------------------------------


def test_a_function_is_another_app_as_a_command_than_by_its_value(run):
    run()

    def line(text):
        return f"echo {text} > /dev/null"

    assert pc.python_app(cache=True)(line)("a").result() == "echo a > /dev/null"
    assert pc.bash_app(cache=True)(line)("a").result() == 0


def test_an_edited_command_is_a_miss(run, runs):
    run()

    def version(text):
        @pc.bash_app(cache=True)
        def command(x):
            return f"echo ran >> runs; echo {text} {x}"

        return command

    version("one")(1).result()
    version("one")(1).result()
    assert runs() == 1
    version("two")(1).result()
    assert runs() == 2


def test_fresh_peek_and_forget_know_commands(run, runs):
    run()
    out = [pc.File("out")]
    assert make.peek("a", outputs=out) is None
    make("a", outputs=out, stdout="log").result()
    assert make.peek("a", outputs=out).result() == 0
    make.fresh("a", outputs=out).result()
    assert runs() == 2
    assert make.forget("a", outputs=out) >= 1
    assert make.peek("a", outputs=out) is None


def test_no_edit_of_a_command_can_be_blessed(run, runs):
    # Its status is 0 whatever it does, so executing it again would prove nothing.
    def version(text):
        @pc.bash_app(cache=True)
        def command(x):
            return f"echo ran >> runs; echo {text} {x}"

        return command

    run()
    version("one")(1).result()
    dfk = run()
    with pytest.raises(BlessingError):
        dfk.bless(version("two"))
    assert runs() == 1
