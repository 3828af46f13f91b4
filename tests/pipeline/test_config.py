"""Descriptions of pipelines, in Python and in files; all that is wrong is told, with its place."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from parsl_ckpt.errors import (
    ConfigurationError,
    MissingLibraryError,
    ParslCkptError,
    PipelineConfigError,
)
from parsl_ckpt.pipeline import (
    CircuitBreakerConfig,
    ComponentConfig,
    ComponentType,
    ExecutorConfig,
    PipelineConfig,
    ResiliencePolicy,
    RetryConfig,
)
from parsl_ckpt.pipeline.loading import load_config
from tests.pipeline.steps import HERE

EXTRACT = ComponentConfig("extract", "source", f"{HERE}.Value")


def told(error: pytest.ExceptionInfo[PipelineConfigError]) -> list[tuple[str, str]]:
    return [(problem.place, problem.text) for problem in error.value.problems]


def of(*components: ComponentConfig) -> list[tuple[str, str]]:
    return [(one.place, one.text) for one in PipelineConfig("p", components=components).problems()]


# --- in Python ------------------------------------------------------------------------------------


def test_a_component_has_what_it_was_given():
    made = ComponentConfig(
        name="load",
        component_type="sink",
        class_path="etl.Load",
        config={"table": "t"},
        depends_on=["extract"],
        enabled=False,
        retry=RetryConfig(max_attempts=2),
        circuit_breaker=CircuitBreakerConfig(failure_threshold=1),
        executors=["big"],
    )
    assert made.component_type is ComponentType.SINK
    assert (made.config, made.depends_on, made.executors) == (
        {"table": "t"},
        ("extract",),
        ("big",),
    )
    assert made.policy == ResiliencePolicy(made.retry, made.circuit_breaker)


def test_a_policy_takes_the_place_of_its_parts():
    policy = ResiliencePolicy(RetryConfig())
    assert ComponentConfig("a", "sink", "m.A", resilience=policy).policy is policy
    with pytest.raises(ConfigurationError, match="retry is given beside resilience"):
        ComponentConfig("a", "sink", "m.A", retry=RetryConfig(), resilience=policy)


@pytest.mark.parametrize(
    ("field", "value", "text"),
    [
        ("name", " ", "is empty"),
        ("name", 3, "not a text"),
        ("component_type", "middle", "none of source, transformation, sink"),
        ("class_path", "", "is empty"),
        ("config", [1], "not a mapping"),
        ("config", {1: 2}, "no text"),
        ("depends_on", "extract", "not a list of names"),
        ("depends_on", [""], "no name"),
        ("enabled", "yes", "neither true nor false"),
        ("retry", {"max_attempts": 3}, "not a RetryConfig"),
        ("circuit_breaker", 3, "not a CircuitBreakerConfig"),
        ("resilience", 3, "not a ResiliencePolicy"),
        ("executors", [3], "no name"),
    ],
)
def test_a_field_of_a_component_that_cannot_be_is_named(field, value, text):
    given: dict[str, Any] = {"name": "a", "component_type": "sink", "class_path": "m.A"}
    with pytest.raises(ConfigurationError, match=text) as caught:
        ComponentConfig(**{**given, field: value})
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("field", "value", "text"),
    [
        ("name", "", "is empty"),
        ("version", 1.0, "not a text"),
        ("components", [1], "not a ComponentConfig"),
        ("components", {}, "not a list"),
        ("description", None, "not a text"),
        ("run_dir", "", "is empty"),
        ("executors", ["threads"], "not a ExecutorConfig"),
        ("spark", "local", "not a mapping"),
    ],
)
def test_a_field_of_a_pipeline_that_cannot_be_is_named(field, value, text):
    with pytest.raises(ConfigurationError, match=text) as caught:
        PipelineConfig(**{"name": "p", field: value})
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"label": ""}, "is empty"),
        ({"label": "big", "kind": "ships"}, "not threads or processes"),
        ({"label": "big", "workers": 0}, "at least 1"),
    ],
)
def test_an_executor_that_cannot_be_is_refused(given, text):
    with pytest.raises(ConfigurationError, match=text):
        ExecutorConfig(**given)


def test_components_run_after_those_they_depend_on_and_else_as_they_are_listed():
    load = ComponentConfig("load", "sink", "m.A", depends_on=["extract"])
    other = ComponentConfig("other", "source", "m.A")
    config = PipelineConfig("p", components=[load, other, EXTRACT])
    assert [one.name for one in config.execution_order] == ["other", "extract", "load"]
    assert config.component("load") is load
    with pytest.raises(KeyError):
        config.component("nobody")


def test_there_is_no_order_where_there_is_a_circle():
    loop = ComponentConfig("loop", "sink", "m.A", depends_on=["loop"])
    with pytest.raises(PipelineConfigError, match="loop -> loop"):
        _ = PipelineConfig("p", components=[loop]).execution_order


# --- classes --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "text"),
    [
        (
            "nowhere.at_all.Class",
            "cannot be imported: ModuleNotFoundError: No module named 'nowhere'",
        ),
        (f"{HERE}.Nobody", "cannot be imported: AttributeError"),
        ("Class", "is not of the form package.module.Class"),
        ("..Class", "is not of the form package.module.Class"),
        (f"{HERE}.NoRun", "the class has no method run"),
        (
            f"{HERE}.plain",
            "it is a function, neither a class nor an app. Decorate it with python_app",
        ),
        (f"{HERE}.log", "it is a list, neither a class nor an app"),
        (f"{HERE}.Generates", "its run is a generator function"),
        (f"{HERE}.Wants", "its run takes 'rows'. Write run(self) or run(self, inputs)"),
        (f"{HERE}.Spread", "its run takes '**inputs'"),
        (f"{HERE}.NoSelf", "its run takes no self"),
        ("parsl_ckpt.pipeline.SparkComponent", "the class is abstract. It lacks run"),
    ],
)
def test_a_class_that_can_be_no_component_is_told(path, text):
    ((place, said),) = of(ComponentConfig("a", "sink", path))
    assert place == "components[0].class_path"
    assert text in said and path in said


def test_a_module_that_breaks_when_it_is_imported_is_told(tmp_path, monkeypatch):
    (tmp_path / "broken_steps.py").write_text("import json\n1 / 0\n")
    (tmp_path / "half_steps.py").write_text("import nowhere_to_be_found\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    found = of(
        ComponentConfig("a", "sink", "broken_steps.A"), ComponentConfig("b", "sink", "half_steps.B")
    )
    assert "ZeroDivisionError" in found[0][1]
    assert "nowhere_to_be_found" in found[1][1]


def test_apps_classes_and_classes_within_classes_are_components(tmp_path, monkeypatch):
    (tmp_path / "nested_steps.py").write_text(
        "class Outer:\n    class Inner:\n        def run(self): pass\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    paths = [
        f"{HERE}.Value", f"{HERE}:Value", f"{HERE}.add", f"{HERE}.touch",
        "nested_steps.Outer.Inner", "nested_steps:Outer.Inner",
    ]  # fmt: skip
    assert of(*(ComponentConfig(str(i), "sink", p) for i, p in enumerate(paths))) == []


def test_the_class_of_a_disabled_component_need_not_be_there():
    assert of(ComponentConfig("a", "sink", "nowhere.Class", enabled=False)) == []


def test_everything_is_told_at_once():
    found = of(
        EXTRACT,
        ComponentConfig("extract", "source", "nowhere.Class"),
        ComponentConfig("load", "sink", f"{HERE}.NoRun", depends_on=["extract", "extract", "x"]),
        ComponentConfig("one", "sink", f"{HERE}.Value", depends_on=["two"]),
        ComponentConfig("two", "sink", f"{HERE}.Value", depends_on=["one"]),
    )
    assert [place for place, _ in found] == [
        "components[1].name", "components[2].depends_on[1]", "components[2].depends_on[2]",
        "components[3].depends_on", "components[1].class_path", "components[2].class_path",
    ]  # fmt: skip
    with pytest.raises(PipelineConfigError, match="Pipeline 'p' has 1 problem") as caught:
        PipelineConfig("p", components=[EXTRACT, EXTRACT]).check()
    assert isinstance(caught.value, (ParslCkptError, ValueError))


# --- files ----------------------------------------------------------------------------------------

YAML = f"""\
name: survey
version: 1.0
components:
  - name: extract
    component_type: source
    class_path: {HERE}.Value
    config:
      value: ${{ROOT}}/in
      names: ["${{NAME:-nobody}}", "$${{kept}}"]
    retry:
      max_attempts: ${{ATTEMPTS:-5}}
      initial_delay_seconds: 0.5
  - name: load
    component_type: sink
    class_path: {HERE}.Value
    depends_on: [extract]
    enabled: ${{LOAD:-true}}
    resilience: aggressive
    executors: big
executors:
  - label: big
    kind: processes
    workers: ${{WORKERS}}
spark:
  master: local[1]
"""
ENVIRON = {"ROOT": "/data", "WORKERS": "2", "EMPTY": ""}


def write(directory: Path, text: str, name: str = "pipeline.yaml") -> Path:
    path = directory / name
    path.write_text(text, encoding="utf-8")
    return path


def check_survey(config: PipelineConfig) -> None:
    extract, load = config.components
    assert (config.name, config.version) == ("survey", "1.0")
    assert extract.config == {"value": "/data/in", "names": ["nobody", "${kept}"]}
    assert {type(one) for one in extract.config["names"]} == {str}
    assert extract.retry == RetryConfig(max_attempts=5, initial_delay_seconds=0.5)
    assert (load.depends_on, load.enabled, load.executors) == (("extract",), True, "big")
    assert load.policy.retry is not None and load.policy.retry.max_attempts == 5
    assert config.executors == (ExecutorConfig("big", "processes", 2),)
    assert config.spark == {"master": "local[1]"}


def test_a_yaml_file_describes_a_pipeline(tmp_path):
    pytest.importorskip("yaml")
    check_survey(load_config(write(tmp_path, YAML), environ=ENVIRON))


def test_a_json_file_describes_a_pipeline(tmp_path):
    yaml = pytest.importorskip("yaml")
    text = json.dumps(yaml.safe_load(YAML))
    check_survey(load_config(write(tmp_path, text, "pipeline.json"), environ=ENVIRON))


def test_a_toml_file_describes_a_pipeline(tmp_path):
    text = f"""\
name = "survey"
version = "1.0"

[[components]]
name = "extract"
component_type = "source"
class_path = "{HERE}.Value"
config = {{ value = "${{ROOT}}/in", names = ["${{NAME:-nobody}}", "$${{kept}}"] }}
retry = {{ max_attempts = "${{ATTEMPTS:-5}}", initial_delay_seconds = 0.5 }}

[[components]]
name = "load"
component_type = "sink"
class_path = "{HERE}.Value"
depends_on = ["extract"]
enabled = "${{LOAD:-true}}"
resilience = "aggressive"
executors = "big"

[[executors]]
label = "big"
kind = "processes"
workers = "${{WORKERS}}"

[spark]
master = "local[1]"
"""
    if not _toml_is_there():
        pytest.skip("tomli is not installed")
    check_survey(load_config(write(tmp_path, text, "pipeline.toml"), environ=ENVIRON))


def _toml_is_there() -> bool:
    for name in ("tomllib", "tomli"):
        try:
            __import__(name)
        except ImportError:
            continue
        return True
    return False


@pytest.mark.parametrize(
    ("library", "suffix", "hint"), [("yaml", "yaml", "yaml"), ("tomli", "toml", "toml")]
)
def test_a_library_that_is_missing_is_named(tmp_path, monkeypatch, library, suffix, hint):
    import sys

    monkeypatch.setitem(sys.modules, library, None)
    monkeypatch.setattr(sys, "version_info", (3, 10, 0))
    with pytest.raises(MissingLibraryError, match=rf"parsl_ckpt\[{hint}\]"):
        load_config(write(tmp_path, "", f"p.{suffix}"))


def test_the_environment_is_that_of_the_process(tmp_path, monkeypatch):
    monkeypatch.setenv("PIPELINE_NAME", "mine")
    path = write(tmp_path, json.dumps({"name": "${PIPELINE_NAME}"}), "p.json")
    assert load_config(path).name == "mine"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("${ROOT}", "/data"),
        ("a${ROOT}b${ROOT}", "a/datab/data"),
        ("${EMPTY}", ""),
        ("${EMPTY:-x}", "x"),
        ("${NOT_SET:-}", ""),
        ("${ ROOT }", "/data"),
        ("$ROOT $$ 5$", "$ROOT $$ 5$"),
        ("$${ROOT}", "${ROOT}"),
    ],
)
def test_what_stands_for_variables(tmp_path, text, value):
    raw = {"name": "p", "description": f"<{text}>"}
    path = write(tmp_path, json.dumps(raw), "p.json")
    assert load_config(path, environ=ENVIRON).description == f"<{value}>"


def refused(tmp_path: Path, content: Any, name: str = "p.json") -> list[tuple[str, str]]:
    text = content if isinstance(content, str) else json.dumps(content)
    with pytest.raises(PipelineConfigError) as caught:
        load_config(write(tmp_path, text, name), environ={})
    assert str(tmp_path / name) in str(caught.value)
    return told(caught)


def test_all_that_is_wrong_with_a_file_is_told_at_once(tmp_path):
    found = refused(
        tmp_path,
        {
            "name": "p",
            "colour": "red",
            "description": "${NOT_SET}",
            "executors": [{"label": "x", "kind": "ships"}],
            "components": [
                {"name": "a", "component_type": "source", "class_path": f"{HERE}.Value"},
                {"name": "a", "component_type": "sauce", "class_path": "nowhere.Class"},
                {"component_type": "sink", "class_path": f"{HERE}.NoRun", "depends_on": ["a", "a"]},
                {
                    "name": "b", "component_type": "sink", "class_path": f"{HERE}.Value",
                    "depends_on": ["c"], "retry": {"max_attempts": 0, "tries": 3},
                    "config": {"deep": [{"x": "${AND_THIS}"}]},
                },
                {
                    "name": "c", "component_type": "sink", "class_path": f"{HERE}.Value",
                    "depends_on": ["b", "nobody"], "retry": "default", "resilience": "default",
                },
                "d",
            ],
        },
    )  # fmt: skip
    assert [place for place, _ in found] == [
        "description", "components[3].config.deep[0].x",
        "components[1].component_type", "components[2].name",
        "components[3].retry.max_attempts", "components[3].retry.tries",
        "components[4].retry", "components[5]", "executors[0].kind",
        "components[1].name", "components[2].depends_on[1]", "components[3].depends_on",
        "components[4].depends_on[1]", "components[1].class_path", "components[2].class_path",
        "colour",
    ]  # fmt: skip
    texts = dict(found)
    assert texts["description"] == "takes the environment variable NOT_SET, which is not set"
    assert texts["components[2].name"] == "is missing"
    assert "b -> c -> b" in texts["components[3].depends_on"]


@pytest.mark.parametrize(
    ("component", "place", "text"),
    [
        ({"retry": 3}, "retry", "neither a mapping nor a name"),
        ({"retry": "harder"}, "retry", "none of no_retry, default, aggressive, conservative"),
        ({"circuit_breaker": "x"}, "circuit_breaker", "none of default, sensitive, resilient"),
        ({"circuit_breaker": {"timeout_seconds": -1}}, "circuit_breaker.timeout_seconds", "-1"),
        ({"resilience": 3}, "resilience", "neither a mapping nor a name"),
        ({"resilience": {"retries": 3}}, "resilience.retries", "no field of ResiliencePolicy"),
        ({"resilience": {"retry": {"jitter": 2}}}, "resilience.retry.jitter", "at most 1"),
        ({"config": 3}, "config", "not a mapping"),
        ({"depends_on": "b"}, "depends_on", "not a list"),
        ({"enabled": "true"}, "enabled", "neither true nor false"),
        ({"config": {"x": "${1x}"}}, "config.x", "names no variable"),
    ],
)
def test_a_field_of_a_file_that_cannot_be_is_told_with_its_place(tmp_path, component, place, text):
    base = {"name": "a", "component_type": "sink", "class_path": f"{HERE}.Value"}
    ((where, said),) = refused(tmp_path, {"name": "p", "components": [{**base, **component}]})
    assert where == f"components[0].{place}"
    assert text in said


def test_a_configuration_that_does_not_fit_its_class_is_told_with_its_place(tmp_path):
    one = {"name": "a", "component_type": "sink", "class_path": f"{HERE}.Fixed"}
    found = refused(tmp_path, {"name": "p", "components": [{**one, "config": {"vaule": 3}}]})
    assert found == [("components[0].config", "does not fit: Fixed takes no 'vaule'")]


@pytest.mark.parametrize(
    ("name", "content", "text"),
    [
        ("p.json", "{", "is not JSON"),
        ("p.json", '{"name": "p", "name": "q"}', "stands twice"),
        ("p.json", "[" * 100_000, "nested too deeply"),
        ("p.json", "[]", "is a list, not a mapping"),
        ("p.json", '{"components": {}}', "not a list"),
        ("p.yaml", "a: [", "is not YAML"),
        ("p.yaml", "", "is empty"),
        ("p.yaml", "name: p\nname: q\n", "stands twice"),
        ("p.yaml", "name: p\ncomponents: &all [*all]\n", "in which it stands itself"),
        ("p.yaml", "name: p\nspark: &s {conf: *s}\n", "in which it stands itself"),
        ("p.json", '{"name": "p", "spark": ' + '{"a":' * 3000 + "1" + "}" * 3001, "too deeply"),
        ("p.toml", "name = ", "is not TOML"),
    ],
)
def test_a_file_of_the_wrong_form_is_told(tmp_path, name, content, text):
    if name.endswith("yaml"):
        pytest.importorskip("yaml")
    if name.endswith("toml") and not _toml_is_there():
        pytest.skip("tomli is not installed")
    found = refused(tmp_path, content, name)
    assert any(text in said for _, said in found)


@pytest.mark.parametrize("version", ["1.10", "1.0", "2", "1e3", "'1.10'", "2026-01-31"])
def test_a_version_is_what_is_written_though_it_looks_like_a_number(tmp_path, version):
    pytest.importorskip("yaml")
    path = write(tmp_path, f"name: p\nversion: {version}\n", "p.yaml")
    assert load_config(path).version == version.strip("'")


def test_executors_of_one_label_are_told_with_their_place(tmp_path):
    twice = [ExecutorConfig("x"), ExecutorConfig("y"), ExecutorConfig("x", "processes")]
    fault = ("executors[2].label", "is 'x', as is that of executors[0]")
    found = PipelineConfig("p", executors=twice).problems()
    assert [(one.place, one.text) for one in found] == [fault]
    raw = {"name": "p", "executors": [{"label": "x"}, 3, {"label": "x", "kind": "processes"}]}
    assert fault in refused(tmp_path, raw)


def test_a_name_that_stands_twice_is_told_with_its_place(tmp_path):
    text = '{"name": "p", "components": [1, {"config": {"a": [{"x": 1, "x": 2, "x": 3}]}}]}'
    assert ("components[1].config.a[0].x", "stands twice in one mapping") in refused(tmp_path, text)


@pytest.mark.parametrize("text", ["${ROOT", "${NOPE:-${ROOT}}", "a ${ROOT b", "${NOPE:-{}}"])
def test_a_variable_without_its_end_is_told_and_not_taken_for_text(tmp_path, text):
    ((place, said),) = refused(tmp_path, {"name": "p", "description": text})
    assert place == "description" and "without a '}'" in said


def test_a_file_that_is_no_text_is_told(tmp_path):
    (tmp_path / "p.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(PipelineConfigError, match="not encoded in UTF-8"):
        load_config(tmp_path / "p.json")


def test_a_file_of_another_kind_is_refused(tmp_path):
    with pytest.raises(ConfigurationError, match=r"Use \.yaml, \.yml, \.toml or \.json"):
        load_config(write(tmp_path, "", "p.ini"))


def test_a_file_that_is_not_there_is_an_os_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        load_config(tmp_path / "nowhere.json")


def test_problems_in_yaml_have_their_line(tmp_path):
    pytest.importorskip("yaml")
    text = YAML.replace("[extract]", "[extrakt]").replace("kind: processes", "kind: ships")
    with pytest.raises(PipelineConfigError) as caught:
        load_config(write(tmp_path, text), environ=ENVIRON)
    found = {one.place: one.line for one in caught.value.problems}
    lines = text.splitlines()
    assert "extrakt" in lines[(found["components[1].depends_on[0]"] or 0) - 1]
    assert "ships" in lines[(found["executors[0].kind"] or 0) - 1]
    assert "components[1].depends_on[0] ('load', line 16)" in str(caught.value)


def test_classes_need_not_be_looked_at(tmp_path):
    raw = {
        "name": "p",
        "components": [{"name": "a", "component_type": "sink", "class_path": "nowhere.Class"}],
    }
    path = write(tmp_path, json.dumps(raw), "p.json")
    assert load_config(path, classes=False).components[0].class_path == "nowhere.Class"
