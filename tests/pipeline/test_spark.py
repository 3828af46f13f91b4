"""Components on Spark: what they are handed, with Spark in local mode and without it."""

from __future__ import annotations

import shutil
import sys
import threading
from typing import Any

import pytest

from parsl_ckpt.errors import ComponentError, MissingLibraryError
from parsl_ckpt.pipeline import PipelineResultStatus, SimplePipelineRunner, SparkComponent
from parsl_ckpt.pipeline.spark import session
from tests.pipeline.conftest import Make, component, pipeline

SETTINGS = {
    "master": "local[1]",
    "app_name": "parsl_ckpt tests",
    "conf": {"spark.ui.enabled": False, "spark.sql.shuffle.partitions": 1},
}


class Builder:
    """Stands for ``SparkSession.builder``."""

    def __init__(self) -> None:
        self.told: dict[str, str] = {}
        self.error: Exception | None = None

    def master(self, value: str) -> Builder:
        return self.config("master", value)

    def appName(self, value: str) -> Builder:
        return self.config("app_name", value)

    def config(self, name: str, value: str) -> Builder:
        self.told[name] = value
        return self

    def getOrCreate(self) -> Any:
        if self.error is not None:
            raise self.error
        return self


@pytest.fixture
def builder(monkeypatch: pytest.MonkeyPatch) -> Builder:
    """A module in the place of pyspark."""
    made = Builder()
    module: Any = type(sys)("pyspark.sql")
    module.SparkSession = type("SparkSession", (), {"builder": made})
    monkeypatch.setitem(sys.modules, "pyspark", type(sys)("pyspark"))
    monkeypatch.setitem(sys.modules, "pyspark.sql", module)
    return made


def test_a_spark_component_is_handed_a_session(kernel: Make, builder: Builder):
    config = pipeline(component("names", "SessionNames"), spark=SETTINGS)
    result = SimplePipelineRunner(config, dfk=kernel()).run()
    assert result.outputs == {"names": "local[1] parsl_ckpt tests"}
    assert builder.told["spark.ui.enabled"] == "false"
    assert builder.told["spark.sql.shuffle.partitions"] == "1"


def test_without_settings_it_is_a_local_one(builder: Builder):
    session({})
    assert builder.told == {"master": "local[*]", "app_name": "parsl_ckpt"}


def test_a_session_that_cannot_be_made_is_told_with_what_may_be_missing(builder: Builder):
    builder.error = RuntimeError("Java gateway process exited")
    with pytest.raises(ComponentError, match=r"'load'.*Java gateway.*JAVA_HOME"):
        session({}, "load")


def test_without_pyspark_the_extra_is_named(kernel: Make, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "pyspark", None)
    monkeypatch.setitem(sys.modules, "pyspark.sql", None)
    config = pipeline(component("names", "SessionNames"))
    ((_, error),) = SimplePipelineRunner(config, dfk=kernel()).run().failed_components
    assert isinstance(error, MissingLibraryError)
    assert "parsl_ckpt[spark]" in str(error) and "Java" in str(error)


def test_before_it_is_opened_a_component_has_no_session():
    class Own(SparkComponent):
        def run(self) -> None:
            pass

    own = Own()
    with pytest.raises(ComponentError, match="Own has no Spark session yet"):
        _ = own.spark
    own.set_spark_session(token := object())
    assert own.spark is token


def test_a_spark_component_has_to_have_run():
    with pytest.raises(TypeError):
        SparkComponent()  # type: ignore[abstract]


@pytest.mark.slow
def test_in_local_mode_components_share_one_session_and_resume(kernel: Make, tmp_path):
    pytest.importorskip("pyspark")
    if shutil.which("java") is None:
        pytest.skip("Java is not installed")
    config = pipeline(
        component("write", "SparkWrite", config={"path": str(tmp_path / "numbers")}),
        component(
            "total", "SparkTotal", "write", config={"flag": str(tmp_path / "ready")}
        ),
        spark=SETTINGS,
    )  # fmt: skip
    runner = SimplePipelineRunner(config, dfk=kernel())
    assert runner.run(run_id="r").status is PipelineResultStatus.PARTIAL_SUCCESS
    (tmp_path / "ready").touch()
    result = runner.run(resume="r")
    assert result.outputs == {"total": 4950}
    assert result.component("write").status == "restored"
    _stop_spark()


def _stop_spark() -> None:
    from pyspark.sql import SparkSession

    active = SparkSession.getActiveSession() or SparkSession.builder.getOrCreate()
    done = threading.Event()
    thread = threading.Thread(target=lambda: (active.stop(), done.set()))
    thread.start()
    assert done.wait(60)
