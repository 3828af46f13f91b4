"""What a component may be, what it is given, and what of its life happens in every case."""

from __future__ import annotations

import os

import pytest

from parsl_ckpt.errors import ComponentError, MissingInputError, PipelineConfigError
from parsl_ckpt.pipeline import ComponentStatus, PipelineResultStatus, SimplePipelineRunner
from parsl_ckpt.pipeline.component import Inputs, lived, make
from tests.pipeline import steps
from tests.pipeline.conftest import Make, component, number, pipeline


@pytest.mark.parametrize(
    ("fail", "lived_through"),
    [
        ("", ["from_config", "open", "run", "close"]),
        ("open", ["from_config", "open", "close"]),
        ("run", ["from_config", "open", "run", "close"]),
        ("close", ["from_config", "open", "run", "close"]),
        ("open close", ["from_config", "open", "close"]),
        ("run close", ["from_config", "open", "run", "close"]),
    ],
)
def test_close_is_always_called_and_the_first_failure_counts(kernel: Make, fail, lived_through):
    config = pipeline(component("one", "Life", config={"fail": fail}))
    result = SimplePipelineRunner(config, dfk=kernel()).run()
    assert steps.log == lived_through
    if not fail:
        assert result.outputs == {"one": "done"}
    else:
        ((name, error),) = result.failed_components
        assert (name, str(error)) == ("one", f"{fail.split()[0]} failed")


def test_a_failure_to_close_after_a_failure_is_logged(caplog):
    with pytest.raises(RuntimeError, match="run failed"):
        lived(steps.Life("run close"), None)
    assert "close failed" in caplog.text


def test_a_component_needs_only_run():
    assert lived(steps.Fixed(3), None) == 3


def test_without_from_config_the_configuration_is_the_keywords_of_the_class():
    assert make(steps.Fixed, "a", {"value": 7}).value == 7
    with pytest.raises(ComponentError, match="'a' cannot be made from its configuration: Fixed "):
        make(steps.Fixed, "a", {"colour": "red"})


def test_values_are_received_by_those_who_depend_on_them(kernel: Make):
    config = pipeline(
        number("a", 1), number("b", 2), component("c", "Double", "a", "b"),
        component("all", "Collect", "a", "c"),
    )  # fmt: skip
    result = SimplePipelineRunner(config, dfk=kernel()).run()
    assert result.outputs == {"all": {"a": 1, "c": 6}}


@pytest.mark.parametrize(("path", "value"), [("Later", 60), ("Decorated", 6)])
def test_inputs_are_received_wherever_they_stand_among_the_parameters(kernel: Make, path, value):
    config = pipeline(number("a", 1), number("b", 2), component("c", path, "a", "b"))
    result = SimplePipelineRunner(config, dfk=kernel()).run()
    assert result.outputs == {"c": value}


def test_coroutines_of_a_component_are_run_to_their_end_in_one_loop(kernel: Make):
    config = pipeline(number("a", 10), component("c", "Coroutines", "a"))
    result = SimplePipelineRunner(config, dfk=kernel()).run()
    assert result.outputs == {"c": [11, 12, True]}
    assert steps.log == ["close True False"]


def test_a_coroutine_that_fails_is_a_failure(kernel: Make):
    config = pipeline(component("c", "CoroutineFails"))
    ((_, error),) = SimplePipelineRunner(config, dfk=kernel()).run().failed_components
    assert type(error) is OSError and steps.log == ["close"]


def test_what_one_does_to_an_input_no_other_sees(kernel: Make):
    config = pipeline(
        number("a", [1, 2]), component("spoil", "Spoil", "a"),
        component("after", "Collect", "a", "spoil"),
    )  # fmt: skip
    result = SimplePipelineRunner(config, dfk=kernel()).run()
    assert result.outputs == {"after": {"a": [1, 2], "spoil": 3}}


def test_an_input_that_is_not_there_is_explained(kernel: Make):
    config = pipeline(number("a", 1), component("b", "Ask", "a", config={"name": "c"}))
    ((_, error),) = SimplePipelineRunner(config, dfk=kernel()).run().failed_components
    assert isinstance(error, MissingInputError) and isinstance(error, KeyError)
    assert "'b' has no input 'c'; it has 'a'" in str(error) and "depends_on" in str(error)


def test_inputs_say_which_value_is_lost():
    with pytest.raises(MissingInputError, match="What 'a' has returned is not known any more"):
        Inputs({}, "b", ("a",))["a"]


def test_an_app_is_a_component_and_gets_values_by_name(kernel: Make):
    config = pipeline(
        number("extract", 20),
        component("add", "add", "extract", config={"amount": 2}),
        component("joined", "joined", "extract"),
        component("total", "total", "add", "joined"),
    )
    result = SimplePipelineRunner(config, dfk=kernel()).run()
    assert result.outputs == {"total": 142}


def test_the_configuration_goes_before_what_a_dependency_returns(kernel: Make):
    config = pipeline(
        number("extract", 20), component("add", "add", "extract", config={"extract": 1})
    )
    assert SimplePipelineRunner(config, dfk=kernel()).run().outputs == {"add": 1}


def test_a_bash_app_is_a_component(kernel: Make, tmp_path):
    config = pipeline(component("touch", "touch", config={"path": "made"}))
    result = SimplePipelineRunner(config, dfk=kernel()).run()
    assert result.status is PipelineResultStatus.SUCCESS
    assert (tmp_path / "made").read_text() == "hello\n"


def test_the_failure_of_an_app_is_told_as_it_is(kernel: Make):
    config = pipeline(component("breaks", "breaks", config={"message": "mine"}))
    ((_, error),) = SimplePipelineRunner(config, dfk=kernel()).run().failed_components
    assert type(error) is ValueError and str(error) == "mine"


def test_a_component_may_call_apps(kernel: Make):
    config = pipeline(component("calls", "Calls"))
    assert SimplePipelineRunner(config, dfk=kernel()).run().outputs == {"calls": 8}


def test_a_component_that_ends_the_program_fails_and_nothing_else(kernel: Make):
    config = pipeline(
        component("exit", "Count", config={"path": "c", "failures": 1, "error": "exit"}),
        number("other", 1),
    )
    result = SimplePipelineRunner(config, dfk=kernel(), fail_fast=False).run()
    assert result.component("exit").status is ComponentStatus.FAILED
    assert isinstance(result.component("exit").error, SystemExit)
    assert result.component("other").success


def test_a_configuration_that_does_not_fit_is_the_failure_of_its_component(kernel: Make):
    config = pipeline(component("a", "Fixed", config={"colour": "red"}))
    with pytest.raises(PipelineConfigError, match="takes no 'colour'"):  # before anything runs
        SimplePipelineRunner(config, dfk=kernel()).run()
    unseen = SimplePipelineRunner(config, dfk=kernel(), validate_before_run=False)
    ((name, error),) = unseen.run().failed_components
    assert name == "a" and isinstance(error, ComponentError)


def test_a_value_that_cannot_be_recorded_is_handed_on_all_the_same():
    config = pipeline(component("stream", "Stream"), component("first", "First", "stream"))
    with pytest.warns(UserWarning, match="is not recorded"):
        result = SimplePipelineRunner(config).run()
    assert result.outputs == {"first": 5}


def test_a_component_without_an_address_runs_and_warns(kernel: Make, caplog):
    config = pipeline(number("odd", (n for n in (1, 2))), component("after", "Collect"))
    result = SimplePipelineRunner(config, dfk=kernel()).run()
    assert result.status is PipelineResultStatus.SUCCESS
    assert "Component odd has no address" in caplog.text


def test_components_run_on_processes_with_all_that_they_need(kernel: Make):
    from parsl_ckpt import ProcessPoolExecutor, ThreadPoolExecutor

    dfk = kernel(
        executors=[
            ProcessPoolExecutor(max_workers=1, label="far"),
            ThreadPoolExecutor(label="near"),
        ]
    )
    config = pipeline(
        number("a", {"x": 1}, executors="far"),
        component("far", "WhereItRuns", "a", executors=["far"]),
        component("near", "WhereItRuns", "a", executors="near"),
        component("all", "Collect", "a", "far", "near", executors="far"),
        component("lost", "Ask", "a", config={"name": "b"}, executors="far"),
    )
    result = SimplePipelineRunner(config, dfk=dfk, fail_fast=False).run()
    values = result.outputs["all"]
    assert values["a"] == {"x": 1}
    assert values["near"] == os.getpid() != values["far"]
    assert isinstance(result.component("lost").error, MissingInputError)
