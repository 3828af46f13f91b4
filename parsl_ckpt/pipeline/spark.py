"""Components that work on Spark: a base class that is handed a session.

pyspark is an extra (``pip install 'parsl_ckpt[spark]'``) and takes Java. It is imported when the
first such component runs.

*Guarantees.*  Components that run side by side in one process share one session.
"""

from __future__ import annotations

import importlib
import threading
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

from parsl_ckpt.errors import ComponentError, MissingLibraryError

_making = threading.Lock()


class SparkComponent(ABC):
    """A component that has a ``SparkSession`` as ``self.spark`` when it is opened.

    The settings of the session stand in the configuration of the pipeline, under ``spark``. Nobody
    stops it: the process does when it ends.

    .. code-block:: python

        class Upper(SparkComponent):
            def run(self):
                rows = self.spark.sql("SELECT upper('a') AS name").collect()
                return [row.name for row in rows]
    """

    _session: Any = None

    @property
    def spark(self) -> Any:
        """The session.

        Raises:
            ComponentError: there is none yet.
        """
        if self._session is None:
            raise ComponentError(
                f"{type(self).__name__} has no Spark session yet.",
                hint="It is there from open() on; in a test, call set_spark_session() first.",
            )
        return self._session

    def set_spark_session(self, session: Any) -> None:
        """Hand over the session; the runner does, and tests may."""
        self._session = session

    @abstractmethod
    def run(self) -> Any:
        """Do the work."""


def session(settings: Mapping[str, Any], component: str = "") -> Any:
    """The session of this process, made from settings if there is none.

    Args:
        settings: ``master`` (default ``local[*]``), ``app_name``, and ``conf``, a mapping.
        component: who asks, for messages.

    Raises:
        MissingLibraryError: pyspark is not installed.
        ComponentError: the session cannot be made; often Java is missing.
    """
    try:
        sql: Any = importlib.import_module("pyspark.sql")
    except ImportError as error:
        raise MissingLibraryError(
            f"Component {component!r} takes pyspark, which is not installed.",
            hint="Run: pip install 'parsl_ckpt[spark]'. It takes Java as well.",
            library="pyspark",
        ) from error
    with _making:
        builder = sql.SparkSession.builder
        builder = builder.master(str(settings.get("master", "local[*]")))
        builder = builder.appName(str(settings.get("app_name", "parsl_ckpt")))
        for name, value in dict(settings.get("conf", {})).items():
            told = str(value).lower() if isinstance(value, bool) else str(value)
            builder = builder.config(name, told)
        try:
            return builder.getOrCreate()
        except Exception as error:
            raise ComponentError(
                f"Component {component!r}: a Spark session cannot be made: {error}.",
                hint="Is Java installed, and JAVA_HOME set?",
                component=component,
            ) from error
