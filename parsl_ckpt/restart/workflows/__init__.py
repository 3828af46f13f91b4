"""Loops that many programs have, ready to be killed and continued.

Rule of this room: plain callables and arrays in, sinks out; a checkpoint is handed in and nothing
here knows how it is kept.
"""

from parsl_ckpt.restart.workflows.diagnostic import DiagnosticState, diagnostic
from parsl_ckpt.restart.workflows.ensemble import EnsembleState, ensemble
from parsl_ckpt.restart.workflows.rollout import RolloutState, rollout
from parsl_ckpt.restart.workflows.sinks import NpySink, NullSink, Sink, ZarrSink

__all__ = [
    "DiagnosticState",
    "EnsembleState",
    "NpySink",
    "NullSink",
    "RolloutState",
    "Sink",
    "ZarrSink",
    "diagnostic",
    "ensemble",
    "rollout",
]
