"""Configurations: a wrong field is named."""

from __future__ import annotations

import pytest

from parsl_ckpt.config import Config, NamedExecutor, from_legacy, parse_period
from parsl_ckpt.errors import ConfigurationError
from parsl_ckpt.kernel.memoizer import BasicMemoizer
from parsl_ckpt.testing.executors import ManualExecutor

WRONG = {
    "executors": [3, "threads", "", b"", [3], [object()]],
    "checkpoint_mode": ["sometimes", 1, True, b"task_exit"],
    "checkpoint_period": ["1h", "00:61:00", "1:2", "00:00:00", 0, -1, float("nan"),
                          float("inf"), [], True],
    "checkpoint_files": ["runinfo/000/checkpoint", b"x", 3, [3]],
    "run_dir": [3, None, b"runinfo", ""],
    "follow": [1, None, "yes"],
    "single_flight": ["no", None, True, "shared"],
    "app_cache": ["yes", 1, None],
    "retries": ["2", -1, None, True, float("nan")],
    "retry_handler": [3, "handler"],
    "initialize_logging": [None, "yes", 1],
    "std_autopath": ["logs", 3],
    "dependency_resolver": [print, "deep", 0],
    "memoizer": [print, "basic", 0, {"checkpoint_mode": "task_exit"}],
    "exit_mode": ["stop", None, 0],
    "grace": ["10", -1, None, True, float("nan")],
    "durability": ["disk", None],
    "lazy_errors": ["no", 0],
    "pickle": [1, None],
    "code": ["all", None],
    "trust": ["all", None, True],
    "signing_key": [3, True, [b"x"]],
    "compression": ["gzip", None, 1],
    "secret": ["token", b"token", 3, None, [3], [None]],
    "previews": [1, None, "no"],
    "max_checkpoint_bytes": ["1GB", 0, -1, 1.5, True],
    "audit_rate": ["1", -0.1, 1.5, None, True],
    "storage_options": ["key", [("key", 1)]],
    "storage_access": ["zip", "", [3], 3, [int]],
    "upload_period": ["10", 0, -1, float("inf"), None, True],
    "show_progress": ["yes", 1],
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, values in WRONG.items() for value in values]
)
def test_a_wrong_field_is_named(name, value):
    with pytest.raises(ConfigurationError) as caught:
        Config(**{name: value})
    assert caught.value.field == name
    assert f"Config.{name}: {value!r} " in str(caught.value) or name == "executors"
    assert caught.value.hint, "it says what to do"
    assert "union" not in str(caught.value), "annotations are not the user's words"


def test_every_field_is_tried_above():
    import dataclasses

    assert set(WRONG) == {field.name for field in dataclasses.fields(Config)}


def test_a_field_that_does_not_exist_is_refused():
    with pytest.raises(TypeError, match="checkpointmode"):
        Config(checkpointmode="task_exit")


def test_two_executors_of_one_label_are_refused():
    with pytest.raises(ConfigurationError, match="label 'a'") as caught:
        Config(executors=[ManualExecutor("a"), ManualExecutor("a")])
    assert (caught.value.field, caught.value.label) == ("executors", "a")


def test_the_defaults():
    config = Config()
    assert config.checkpoint_mode is None and config.run_dir == "runinfo"
    assert config.period_seconds == 1800.0


@pytest.mark.parametrize(
    ("period", "seconds"),
    [("01:00:00", 3600.0), ("100:00:01", 360001.0), ("00:00:30", 30.0), (2.5, 2.5), (7, 7.0)],
)
def test_periods(period, seconds):
    assert parse_period(period) == seconds
    assert Config(checkpoint_period=period).period_seconds == seconds


def test_the_dictionary_of_the_original_api():
    config = from_legacy(
        {
            "sites": [
                {"site": "Local", "execution": {"executor": "threads", "maxThreads": 4}},
                {"execution": {"executor": "processes", "maxThreads": 2}},
            ],
            "globals": {
                "lazyErrors": False,
                "memoize": True,
                "checkpointMode": "periodic",
                "checkpointPeriod": "01:00:00",
                "retries": 2,
                "runDir": "elsewhere",
            },
        }
    )
    assert config.executors == [
        NamedExecutor("threads", "Local", 4),
        NamedExecutor("processes", "processes-1", 2),
    ]
    assert not config.lazy_errors and config.app_cache and config.retries == 2
    assert config.checkpoint_mode == "periodic" and config.period_seconds == 3600.0
    assert config.run_dir == "elsewhere"


@pytest.mark.parametrize(
    ("config", "field"),
    [
        (3, "config"),
        ({"globals": {"lazyerrors": True}}, "lazyerrors"),
        ({"globals": {"checkpointMode": "never"}}, "checkpoint_mode"),
        ({"globals": {"checkpointPeriod": "soon"}}, "checkpoint_period"),
        ({"globals": 3}, "config['globals']"),
        ({"globals": ["retries"]}, "config['globals']"),
        ({"sites": 3}, "config['sites']"),
        ({"sites": {"site": "Local"}}, "config['sites']"),
        ({"sites": [3]}, "config['sites'][0]['execution']['executor']"),
        ({"sites": [{}]}, "config['sites'][0]['execution']['executor']"),
        (
            {"sites": [{"execution": {"executor": "ipp"}}]},
            "config['sites'][0]['execution']['executor']",
        ),
        (
            {"sites": [{"execution": {"executor": ["threads"]}}]},
            "config['sites'][0]['execution']['executor']",
        ),
        (
            {"sites": [{"execution": {"executor": "threads", "maxThreads": 0}}]},
            "config['sites'][0]['execution']['maxThreads']",
        ),
        (
            {"sites": [{"execution": {"executor": "threads", "maxThreads": "4"}}]},
            "config['sites'][0]['execution']['maxThreads']",
        ),
        (
            {"sites": [{"site": "a", "execution": {"executor": "threads"}}] * 2},
            "executors",
        ),
    ],
)
def test_a_wrong_entry_of_the_dictionary_is_named(config, field):
    with pytest.raises(ConfigurationError) as caught:
        from_legacy(config)
    assert caught.value.field == field


def test_an_empty_dictionary_is_the_default():
    assert from_legacy({}) == Config(executors=[])


@pytest.mark.parametrize("switch", ["memoize", "parsl_keys", "memoize_exceptions"])
def test_a_switch_of_the_memoizer_is_true_or_false(switch):
    with pytest.raises(ConfigurationError, match="True or False"):
        Config(memoizer=BasicMemoizer(**{switch: "yes"}))
