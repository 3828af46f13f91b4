"""A job as a value: how it is made, what is refused, and its JSON form."""

from __future__ import annotations

import json
import pickle
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parsl_ckpt import errors
from parsl_ckpt.plan import Edge, Job, JobBuilder, Output, validate
from tests.plan.strategies import HOSTILE, jobs

pytestmark = pytest.mark.once

# --- a value --------------------------------------------------------------------------------------


def pipeline() -> Job:
    builder = JobBuilder()
    builder.edge("fit", ("score", "model"))  # before its tasks are defined
    builder.edge(("split", "test"), ("score", "data"))
    builder.task("split", outputs=("train", "test"))
    builder.task("fit", parameters=("data",))
    builder.task("score", parameters=("model", "data"))
    builder.edge(("split", "train"), ("fit", "data"))
    builder.group("split", "fit")
    builder.want("score", ("split", "test"))
    return builder.build()


def test_what_was_said_can_be_read():
    job = pipeline()
    assert list(job.tasks) == ["split", "fit", "score"]
    assert job.outputs("split") == ("train", "test")
    assert job.parameters("score") == ("model", "data")
    assert list(job.edges) == [
        Edge("split", "train", "fit", "data"),
        Edge("fit", "result", "score", "model"),
        Edge("split", "test", "score", "data"),
    ]
    assert job.inputs("fit") == (Edge("split", "train", "fit", "data"),)
    assert job.groups == (("split", "fit"),)
    assert job.requested == (Output("score"), Output("split", "test"))
    assert len(job) == 3


def test_sinks_are_wanted_with_all_their_outputs_unless_something_is():
    builder = JobBuilder()
    builder.task("a")
    builder.task("b", outputs=("x", "y"))
    builder.edge("a", "b")
    assert builder.build().requested == (("b", "x"), ("b", "y"))
    builder.want()
    assert builder.build().requested == ()
    builder.want("b", ("b", "x"))
    assert builder.build().requested == (("b", "x"), ("b", "y"))


def test_a_builder_may_go_on_and_what_it_has_built_does_not_change():
    builder = JobBuilder()
    for name in "abc":
        builder.task(name)
    builder.edge("a", "b")
    first = builder.build()
    text = first.to_json()
    builder.edge("b", ("c", "x"))
    assert len(builder.build().edges) == 2
    assert first.to_json() == text


def test_equal_jobs_are_equal_and_hash_alike_and_others_are_not():
    assert pipeline() == pipeline()
    assert hash(pipeline()) == hash(pipeline())
    assert Job.of("ab", [("a", "b")]) != Job.of("ab", [("a", ("b", "x"))])
    assert Job.of("ab") != Job.of("ba")
    assert Job.of("ab") != Job.of("ab", requested=["a"])
    assert Job.of("ab") != Job.of("ab", groups=["ab"])


def test_a_job_does_not_change():
    with pytest.raises(AttributeError):
        pipeline().requested = ()


def test_an_empty_job_is_one():
    job = Job.of([])
    assert (len(job), job.requested, list(job.edges)) == (0, (), [])
    assert Job.from_json(job.to_json()) == job


@given(jobs())
def test_a_job_pickles(job):
    assert pickle.loads(pickle.dumps(job)) == job


def test_a_name_that_the_job_does_not_have():
    for asked in (Job.outputs, Job.parameters, Job.inputs, Job.number):
        with pytest.raises(errors.UnknownTaskError, match="no task 'nobody'") as caught:
            asked(pipeline(), "nobody")
        assert caught.value.tasks == ("nobody",)


# --- what is refused ------------------------------------------------------------------------------


def refused(kind, tasks, *words):
    """The block raises this error, which names the tasks, says this, and has a hint."""

    class Refused:
        def __enter__(self):
            return self

        def __exit__(self, _, error, __):
            assert type(error) is kind, repr(error)
            assert error.tasks == tasks
            assert error.hint
            for word in words:
                assert word in error.message
            assert str(pickle.loads(pickle.dumps(error))) == str(error)
            return True

    return Refused()


def test_a_cycle_is_named_without_what_leads_to_it_or_from_it():
    edges = ["in a", "a b", "b c", "c a", "c out", "in out"]
    with refused(errors.PlanCycleError, ("a", "b", "c"), "'a' -> 'b' -> 'c' -> 'a'"):
        Job.of(["in", "a", "b", "c", "out"], [tuple(edge.split()) for edge in edges])


def test_a_task_that_waits_for_itself():
    with refused(errors.PlanCycleError, ("a",), "'a' -> 'a'"):
        Job.of("a", [("a", "a")])


def test_a_cycle_of_a_hundred_thousand_is_named_in_short_and_whole():
    names = [str(n) for n in range(100_000)]
    with refused(errors.PlanCycleError, tuple(names), "(99992 more) -> '0'"):
        Job.of(names, zip(names, [*names[1:], names[0]], strict=True))


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), max_size=12))
def test_a_cycle_that_is_named_is_one(pairs):
    edges = [(str(a), str(b)) for a, b in pairs]
    try:
        Job.of("0123456", edges)
    except errors.PlanCycleError as error:
        for at, task in enumerate(error.tasks):
            assert (task, error.tasks[(at + 1) % len(error.tasks)]) in edges
        assert len(set(error.tasks)) == len(error.tasks)
    else:  # then something can always come next
        left = set("0123456")
        while left:
            free = {t for t in left if not any(b == t and a in left for a, b in edges)}
            assert free
            left -= free


@pytest.mark.parametrize(
    ("edge", "unknown"), [(("a", "x"), "x"), (("x", "a"), "x"), (("x", "y"), "x")]
)
def test_an_edge_to_an_unknown_task(edge, unknown):
    with refused(errors.UnknownTaskError, (unknown,), repr(edge[0]), repr(edge[1])):
        Job.of("ab", [("a", "b"), edge])


def test_an_edge_from_an_unknown_output():
    builder = JobBuilder()
    builder.task("a", outputs=("x", "y"))
    builder.task("b")
    builder.edge(("a", "x"), "b")
    builder.edge(("a", "z"), "b")
    with refused(errors.UnknownOutputError, ("a",), "'b' takes output 'z' of task 'a'"):
        builder.build()


def test_an_edge_from_a_task_with_several_outputs_must_say_which():
    builder = JobBuilder()
    builder.task("a", outputs=("x", "y"))
    builder.task("b")
    builder.edge("a", "b")
    with refused(errors.UnknownOutputError, ("a",), "'a', which has 2 outputs"):
        builder.build()


def test_an_edge_to_an_unknown_parameter():
    builder = JobBuilder()
    builder.task("a")
    builder.task("b", parameters=("x",))
    builder.edge("a", ("b", "x"))
    builder.edge("a", ("b", "y"))
    with refused(errors.UnknownParameterError, ("b",), "parameter 'y' of task 'b'"):
        builder.build()


def test_a_missing_argument():
    builder = JobBuilder()
    builder.task("a")
    builder.task("b", parameters=("x", "y", "z"))
    builder.edge("a", ("b", "y"))
    builder.edge("a", "b")  # only "after": no argument
    with refused(errors.MissingArgumentError, ("b",), "'b' its 'x', 'z'") as _:
        builder.build()


def test_two_tasks_of_one_name():
    builder = JobBuilder()
    builder.task("a")
    with refused(errors.DuplicateTaskError, ("a",), "called 'a'"):
        builder.task("a", outputs=("other",))


def test_a_wanted_task_that_is_not_in_the_plan():
    with refused(errors.UnknownWantError, ("x",), "'x' is wanted"):
        Job.of("ab", requested=["a", "x"])


def test_a_wanted_output_that_its_task_does_not_have():
    with refused(errors.UnknownWantError, ("a",), "Output 'x' of task 'a'"):
        Job.of("ab", requested=[("a", "x")])


def test_a_group_with_an_unknown_task():
    with refused(errors.UnknownTaskError, ("x",), "group has task 'x'"):
        Job.of("ab", groups=[["a", "x"]])


def test_a_task_in_two_groups():
    with refused(errors.GroupError, ("b",), "'b' is in two groups"):
        Job.of("abc", groups=["ab", "bc"])


@pytest.mark.parametrize("name", [1, None, b"a", ("a", "b")], ids=repr)
def test_a_name_that_is_no_string(name):
    with refused(errors.JobFormatError, (), "which is no string"):
        JobBuilder().task(name)
    with refused(errors.JobFormatError, ("a",), "outputs of task 'a'"):
        JobBuilder().task("a", outputs=[name])
    with refused(errors.JobFormatError, (), "in a group"):
        JobBuilder().group(name)


def test_a_task_without_outputs_and_one_with_two_of_one_name():
    with refused(errors.JobFormatError, ("a",), "no output"):
        JobBuilder().task("a", outputs=())
    with refused(errors.JobFormatError, ("a",), "two parameters of one name"):
        JobBuilder().task("a", parameters=("x", "x"))


@pytest.mark.parametrize("end", [1, ("a",), ("a", 1), ("a", "b", "c"), [], None], ids=repr)
def test_an_end_of_an_edge_that_is_neither_a_name_nor_two(end):
    with refused(errors.JobFormatError, (), "A source is"):
        JobBuilder().edge(end, "b")
    with refused(errors.JobFormatError, (), "A target is"):
        JobBuilder().edge("a", end)
    with refused(errors.JobFormatError, (), "A want is"):
        JobBuilder().want(end)


@pytest.mark.parametrize("edge", [("a",), ("a", "b", "x"), "ab", None, 3], ids=repr)
def test_an_edge_that_is_no_pair(edge):
    with refused(errors.JobFormatError, (), "An edge is"):
        Job.of("ab", [edge])


@pytest.mark.parametrize("names", [None, 3], ids=repr)
def test_outputs_and_parameters_that_are_no_names(names):
    with refused(errors.JobFormatError, ("a",), "no list of names"):
        JobBuilder().task("a", outputs=names)
    if names is not None:
        with refused(errors.JobFormatError, ("a",), "no list of names"):
            JobBuilder().task("a", parameters=names)


def test_a_long_name_does_not_fill_the_screen():
    with pytest.raises(errors.UnknownTaskError) as caught:
        Job.of("a", [("a", "x" * 1_000_000)])
    assert len(str(caught.value)) < 500
    assert caught.value.tasks == ("x" * 1_000_000,)


@given(jobs())
def test_a_job_from_a_builder_is_valid(job):
    assert validate(job) is None


# --- JSON -----------------------------------------------------------------------------------------


@settings(max_examples=100, deadline=None)
@given(jobs())
def test_json_there_and_back(job):
    text = job.to_json()
    again = Job.from_json(text)
    assert again == job
    assert again.to_json() == text
    assert Job.from_json(text.encode("ascii")) == job


@pytest.mark.parametrize("name", HOSTILE, ids=ascii)
def test_hostile_names_survive(name):
    job = Job.of([name, "other"], [(name, ("other", name))], [[name]], [name])
    assert Job.from_json(job.to_json()) == job


def test_the_form_that_is_documented_is_read_and_the_form_written_stays():
    from parsl_ckpt.plan import form

    text = form.__doc__[form.__doc__.index("    {") : form.__doc__.index("``id``")]
    job = Job.from_json(text)
    assert job.to_json() == (
        '{"format":"parsl_ckpt.job","version":1,"tasks":[\n'
        '{"id":"split","outputs":["train","test"]},\n'
        '{"id":"fit","parameters":["data"],"inputs":[["data","split","train"]]}\n'
        '],"groups":[["split","fit"]],"requested":[["fit","result"]]}'
    )


def a_job(**about):
    return json.dumps({"format": "parsl_ckpt.job", "version": 1, "tasks": [], **about})


def a_task(**about):
    return a_job(tasks=[{"id": "a"}, {"id": "bad", **about}])


WRONG = {
    "nothing": ("", "no JSON"),
    "not JSON": ("{", "no JSON"),
    "not UTF-8": (b'{"\xff": 1}', "no JSON"),
    "no text": (7, "no JSON"),
    "deep": ("[" * 200_000, "nested too deeply"),
    "deep in a field": (
        '{"format":"parsl_ckpt.job","version":1,"tasks":' + "[" * 200_000,
        "nested too deeply",
    ),
    "a list": ("[]", "no job"),
    "another format": ('{"format": "cascade"}', "no job"),
    "no version": ('{"format": "parsl_ckpt.job"}', "version None"),
    "a later version": (a_job(version=2), "version 2"),
    "a version that is nearly one": (a_job(version=True), "version True"),
    "an unknown field": (a_job(nodes=[]), "a field 'nodes'"),
    "tasks by name": (a_job(tasks={}), "'tasks' of the job should be a list"),
    "no tasks": (a_job(tasks=None), "'tasks' of the job should be a list"),
    "a task that is none": (a_job(tasks=[{"id": "a"}, 1]), "Task number 1 has no name"),
    "a task without a name": (a_job(tasks=[{}]), "Task number 0 has no name"),
    "a name that is a number": (a_job(tasks=[{"id": 1}]), "Task number 0 has no name"),
    "a group that is none": (a_job(groups=["ab"]), "A group is 'ab'"),
    "groups that are none": (a_job(groups=7), "'groups' of the job should be a list"),
    "a want that is none": (a_job(requested=[["a"]]), "A requested output is ['a']"),
    "wants that are none": (a_job(requested="a"), "'requested' of the job should be a list"),
}  # fmt: skip

WRONG_TASK = {
    "an unknown field": (a_task(input=[]), "'bad' has a field 'input'"),
    "another unknown field": (a_task(format="x"), "'bad' has a field 'format'"),
    "outputs": (a_task(outputs="x"), "outputs of task 'bad' are 'x'"),
    "an output": (a_task(outputs=[1]), "outputs of task 'bad' are [1]"),
    "no output": (a_task(outputs=[]), "'bad' has no output"),
    "parameters": (a_task(parameters=None), "parameters of task 'bad' are None"),
    "inputs": (a_task(inputs={}), "inputs of task 'bad' should be a list"),
    "an input": (a_task(inputs=[["x", "a"]]), "An input of task 'bad' is ['x', 'a']"),
    "an input of numbers": (a_task(inputs=[[1, 2, 3]]), "An input of task 'bad' is [1, 2, 3]"),
    "a field twice": (
        '{"format":"parsl_ckpt.job","version":1,"tasks":[{"id":"bad","inputs":[],"inputs":[]}]}',
        "Field 'inputs' of task 'bad' stands there twice",
    ),
    "nested input": (
        '{"format":"parsl_ckpt.job","version":1,"tasks":[{"id":"bad","inputs":['
        + "[" * 900 + "]" * 900 + "]}]}",
        "",
    ),
}  # fmt: skip


@pytest.mark.parametrize("text, words", WRONG.values(), ids=WRONG)
def test_a_text_that_is_no_job(text, words):
    with refused(errors.JobFormatError, (), words):
        Job.from_json(text)


@pytest.mark.parametrize("text, words", WRONG_TASK.values(), ids=WRONG_TASK)
def test_a_text_with_a_task_that_is_wrong_names_it(text, words):
    try:
        Job.from_json(text)
    except errors.JobFormatError as error:
        assert words in error.message
        assert error.tasks == ("bad",) or "nested too deeply" in error.message
        assert len(str(error)) < 2000
    else:
        pytest.fail("it was taken")


def test_a_job_that_is_wrong_is_refused_for_what_is_wrong_with_it():
    with refused(errors.UnknownTaskError, ("nobody",)):
        Job.from_json(a_task(inputs=[["x", "nobody", "result"]]))
    with refused(errors.PlanCycleError, ("bad",)):
        Job.from_json(a_task(inputs=[["x", "bad", "result"]]))
    with refused(errors.DuplicateTaskError, ("a",)):
        Job.from_json(a_job(tasks=[{"id": "a"}, {"id": "a"}]))
    with refused(errors.MissingArgumentError, ("bad",)):
        Job.from_json(a_task(parameters=["x"]))
    with refused(errors.UnknownWantError, ("z",)):
        Job.from_json(a_job(requested=[["z", "result"]]))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=8,
)
FIELDS = ["id", "outputs", "parameters", "inputs"]


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.dictionaries(st.sampled_from(FIELDS), JSON | st.just("a")) | JSON, max_size=3),
    st.dictionaries(st.sampled_from(["groups", "requested", "version"]), JSON),
)
def test_no_text_raises_anything_but_a_typed_error(tasks, more):
    try:
        job = Job.from_json(a_job(tasks=tasks, **more))
    except errors.PlanError as error:
        assert error.hint
    else:
        assert Job.from_json(job.to_json()) == job


def test_reading_a_text_takes_a_few_times_its_length():
    names = [f"task {number}" for number in range(1000)]
    edges = [(names[at - back], names[at]) for at in range(10, 1000) for back in range(1, 11)]
    text = Job.of(names, edges).to_json()
    tracemalloc.start()
    try:
        Job.from_json(text)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 5 * len(text)  # as lists, eleven times


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"format": "cascade", "tasks": [{"id": "a", "x": 1}]}', "no job"),
        ('{"id": "a"}', "no job"),
        (a_job(version=2, tasks=[{"id": "a", "x": 1}]), "version 2"),
        (a_job(tasks=[{"id": "a", "x": 1}])[:-1], "no JSON"),
        (a_job(groups=[{"id": "a"}]), "not a list of strings"),
        (a_job(groups=[[{"id": "a"}]]), "not a list of strings"),
        (a_job(tasks={"id": "a"}), "should be a list"),
        (a_job(id="a"), "a field 'id'"),
        (a_task(outputs={"id": "c"}), "not a list of strings"),
        (a_task(inputs=[["x", {"id": "c"}, "result"]]), "not a list of 3 strings"),
    ],
)
def test_a_text_is_a_job_before_its_tasks_are_and_tasks_stand_in_their_place(text, words):
    with pytest.raises(errors.JobFormatError, match=words):
        Job.from_json(text)
