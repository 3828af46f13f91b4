"""Plans: a whole graph that knows what it need not compute.

The pure core, without a kernel and without a store: a job is a value (:class:`Job`,
:class:`JobBuilder`, its JSON form in :mod:`~parsl_ckpt.plan.form`), :func:`trim` cuts away what
persisted outputs make unnecessary, :func:`forecast` says how long the rest takes, :func:`to_dot`
draws it.
"""

from __future__ import annotations

from parsl_ckpt.errors import (
    DuplicateTaskError,
    ForecastError,
    GroupError,
    JobFormatError,
    MissingArgumentError,
    PersistError,
    PlanCycleError,
    PlanError,
    PlanNotRunError,
    PlanUsedError,
    UnknownOutputError,
    UnknownParameterError,
    UnknownTaskError,
    UnknownWantError,
)

from .builder import JobBuilder
from .dot import to_dot
from .job import Edge, Job, Output
from .persist import Candidate, PersistSpec
from .schedule import Forecast, forecast
from .trim import Ignored, Trim, trim
from .validate import validate

__all__ = [
    "Candidate",
    "DuplicateTaskError",
    "Edge",
    "Forecast",
    "ForecastError",
    "GroupError",
    "Ignored",
    "Job",
    "JobBuilder",
    "JobFormatError",
    "MissingArgumentError",
    "Output",
    "PersistError",
    "PersistSpec",
    "PlanCycleError",
    "PlanError",
    "PlanNotRunError",
    "PlanUsedError",
    "Trim",
    "UnknownOutputError",
    "UnknownParameterError",
    "UnknownTaskError",
    "UnknownWantError",
    "forecast",
    "to_dot",
    "trim",
    "validate",
]
