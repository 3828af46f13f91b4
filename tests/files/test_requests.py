"""What a call asks for beside its arguments: where it is taken from, what counts, what is wrong."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

import parsl_ckpt as pc
from parsl_ckpt.apps.reserved import Reserved
from parsl_ckpt.errors import AppTimeout, InvalidResourceSpecification, RequestError
from parsl_ckpt.kernel.request import Request

DEADLINE = 60


@pytest.fixture
def dfk(tmp_path):
    pc.clear()
    with pc.load(pc.Config(checkpoint_mode="task_exit", run_dir=tmp_path / "runs")) as dfk:
        yield dfk
    pc.clear()


def of(fn, *args, kind="python", **kwargs):
    return Reserved(fn, fn.__name__, kind).split(args, kwargs)


def limited(x, walltime=60):
    return x


def plain(x):
    return x


def test_a_value_comes_from_the_keyword_the_position_or_the_default():
    for args, kwargs, seconds in [((1,), {}, 60), ((1, 5), {}, 5), ((1,), {"walltime": 7}, 7)]:
        request, *rest = of(limited, *args, **kwargs)
        assert request.walltime == seconds
        assert rest == [args, kwargs]  # the function has such a parameter, so it gets it too
    assert of(limited, 1, walltime=None)[0] is None


def test_a_name_that_the_function_does_not_have_is_taken_out_of_the_call():
    request, args, kwargs = of(plain, 1, walltime=5, parsl_resource_specification={"cores": 1})
    assert (request.walltime, request.resources) == (5, {"cores": 1})
    assert (args, kwargs) == ((1,), {})


def test_streams_are_ordinary_parameters_of_python_apps():
    assert of(plain, 1, stdout="a") == (None, (1,), {"stdout": "a"})
    assert of(plain, 1, stdout="a", kind="bash")[0].stdout == "a"


def test_outputs_that_are_no_files_are_data():
    def score(outputs, targets=()):
        return outputs

    for value in ([], [1, 2], ["a", "b"], {"a": 1}, "text", None):
        assert of(score, value)[0] is None


def test_outputs_are_files_and_paths():
    default = (pc.File("a"),)

    def write(outputs=default):
        return outputs

    assert of(write)[0].outputs == (pc.File("a"),)
    assert of(write, [pc.File("b"), Path("c")])[0].outputs == (pc.File("b"), pc.File("c"))
    assert of(write, outputs=["d"], kind="bash")[0].outputs == (pc.File("d"),)


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"outputs": [pc.File("a"), 3]}, r"outputs\[1\]=3 is no File"),
        ({"outputs": pc.File("a")}, "is one file, not a list"),
        ({"walltime": 0}, "walltime=0 is no time"),
        ({"walltime": True}, "walltime=True is no time"),
        ({"walltime": "1h"}, "walltime='1h' is no time"),
        ({"walltime": float("nan")}, "walltime=nan is no time"),
        ({"parsl_resource_specification": 4}, "is no dictionary of resources"),
        ({"parsl_resource_specification": {1: 2}}, "is no dictionary of resources"),
    ],
)
def test_what_cannot_be_is_the_calls_failure_and_names_app_and_parameter(dfk, asked, says):
    @pc.python_app
    def work(outputs=()):
        return 1

    future = work(**asked)
    with pytest.raises(RequestError, match=f"work: .*{says}") as caught:
        future.result(DEADLINE)
    assert (caught.value.app, caught.value.parameter) == ("work", *asked)


@pytest.mark.parametrize("kind", [pc.python_app, pc.bash_app, pc.join_app])
def test_a_file_that_another_call_writes_is_no_output_of_this_one(dfk, tmp_path, kind):
    @pc.python_app
    def make(outputs=()):
        open(outputs[0], "w").close()

    @kind
    def again(outputs=()):
        pytest.fail("it runs")

    made = make(outputs=[pc.File(tmp_path / "a")])
    says = r"again: outputs\[1\]=<DataFuture .*> is a file that another call writes.*\.file_obj"
    with pytest.raises(RequestError, match=says):
        again(outputs=[pc.File(tmp_path / "b"), made.outputs[0]]).result(DEADLINE)
    with pytest.raises(RequestError, match=r"outputs\[0\]=<DataFuture"):
        again(outputs=made.outputs).result(DEADLINE)


def test_a_list_of_anything_else_is_refused_for_a_command():
    with pytest.raises(RequestError, match="is no list of files"):
        of(lambda outputs: "", [3], kind="bash")


def test_outputs_of_a_function_that_takes_none_are_an_unknown_argument(dfk):
    @pc.python_app(cache=True)
    def work():
        return 1

    with pytest.raises(TypeError, match="outputs"):
        work(outputs=[pc.File("a")]).result(DEADLINE)


def test_limits_do_not_count_in_a_calls_address(dfk):
    app = pc.python_app(limited, cache=True)
    assert app.key(1) == app.key(1, 5) == app.key(1, walltime=7)
    assert (app(1).result(DEADLINE), app(1, walltime=9).from_memo) == (1, True)
    other = pc.python_app(plain, cache=True)
    assert other.key(1) == other.key(1, walltime=5)
    assert other.key(1) != other.key(2, walltime=5)


def test_equal_calls_that_ask_for_other_things_do_not_join(dfk):
    gate = threading.Event()

    @pc.python_app(cache=True)
    def wait(x):
        gate.wait(DEADLINE)
        return x

    calls = [wait(1), wait(1), wait(1, walltime=30), wait(1, walltime=30.0)]
    gate.set()
    assert [call.result(DEADLINE) for call in calls] == [1, 1, 1, 1]
    assert [call.from_memo for call in calls[:3]] == [False, True, False]


def test_requests_that_ask_for_the_same_are_alike():
    assert Request(walltime=3.0).admits(Request(walltime=3.0, outputs=("a",)))
    for other in (
        Request(),
        Request(walltime=4.0),
        Request(walltime=3.0, stdout="a"),
        Request(walltime=3.0, stderr="a"),
        Request(walltime=3.0, resources={"a": 1}),
    ):
        assert not Request(walltime=3.0).admits(other)  # fmt: skip


def test_a_key_can_be_asked_for_and_forgotten_with_what_is_reserved(dfk):
    app = pc.python_app(plain, cache=True)
    assert app.peek(3, walltime=5) is None
    app.fresh(3, walltime=5).result(DEADLINE)
    assert app.peek(3, walltime=6).result() == 3
    assert app.forget(3, walltime=7) == 1


def test_a_join_apps_own_function_is_limited(dfk):
    @pc.python_app
    def one():
        return 1

    @pc.join_app
    def late(seconds):
        never = threading.Event()
        while seconds and not never.wait(0.01):
            pass  # a thread is stopped between two of its steps
        return one()

    assert late(0, walltime=DEADLINE).result(DEADLINE) == 1
    with pytest.raises(AppTimeout, match="late"):
        late(DEADLINE, walltime=0.05).result(DEADLINE)


def test_resources_that_nobody_provides_are_refused_for_join_apps_too(dfk):
    @pc.join_app
    def joined():
        return []

    with pytest.raises(InvalidResourceSpecification, match="gpus"):
        joined(parsl_resource_specification={"gpus": 1}).result(DEADLINE)
