"""Why a call ran, or did not have to: a small closed set of reasons, each a short true statement.

Rule of this file: nothing is found out here; ``why.py`` does that.  A reason is data: ``str()``
tells it to a person, ``to_dict()`` to a program.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from parsl_ckpt.observe.differences import Difference


@dataclass(frozen=True)
class Reason:
    """Why a call ran, or did not have to.  ``str()`` tells it in plain text.

    Attributes:
        app: name of the app.
    """

    app: str

    def __str__(self) -> str:
        raise NotImplementedError

    def to_dict(self) -> dict[str, Any]:
        """As plain values, with the name of the reason under ``"reason"``."""
        told: dict[str, Any] = {"reason": type(self).__name__}
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, tuple):
                value = [one.to_dict() if isinstance(one, Difference) else one for one in value]
            told[field.name] = value.hex() if isinstance(value, bytes) else value
        return told


@dataclass(frozen=True)
class Restored(Reason):
    """It did not have to run: its outcome is recorded.

    Attributes:
        run: name of the run that computed it.
        began: when, in seconds since the epoch.
        seconds: how long that took.
        worker: what ran it.
        key: under which it is recorded.
    """

    run: str
    began: float
    seconds: float
    worker: str
    key: bytes

    def __str__(self) -> str:
        return f"{self.app}: recorded in run {self.run}, where it took {_span(self.seconds)}."


@dataclass(frozen=True)
class Joined(Reason):
    """It did not have to run: an equal call of this run was under way, and had the outcome."""

    def __str__(self) -> str:
        return f"{self.app or 'This call'}: an equal call of this run gave the outcome."


@dataclass(frozen=True)
class NoEarlierCall(Reason):
    """It ran because no call of its app is recorded from before."""

    def __str__(self) -> str:
        return f"{self.app}: no earlier call of it is recorded."


@dataclass(frozen=True)
class Differs(Reason):
    """It ran because every earlier call differs from it.

    Attributes:
        run: name of the run that has the nearest earlier call.
        key: of that call.
        differences: where the two differ.
    """

    run: str
    key: bytes
    differences: tuple[Difference, ...]

    def __str__(self) -> str:
        lines = [f"{self.app}: no earlier call is the same. The nearest, of run {self.run}:"]
        for one in self.differences:
            lines += ["  " + line for line in str(one).splitlines()]
        return "\n".join(lines)


@dataclass(frozen=True)
class Removed(Reason):
    """It ran because the record of the same call has been removed.

    Attributes:
        run: name of the run that had it.
        why: the reason that was given for the removal.
    """

    run: str
    why: str = ""

    def __str__(self) -> str:
        why = f" ({self.why})" if self.why else ""
        return f"{self.app}: the same call was recorded in run {self.run} and was removed{why}."


@dataclass(frozen=True)
class Unreadable(Reason):
    """It ran because the record of the same call cannot be read.

    Attributes:
        run: name of the run that has it.
        why: what is wrong with it.
    """

    run: str
    why: str

    def __str__(self) -> str:
        return (
            f"{self.app}: the same call is recorded in run {self.run}, but cannot be read: "
            f"{self.why.rstrip('.')}."
        )


@dataclass(frozen=True)
class Expired(Reason):
    """It ran because the record of the same call is not valid any more, as its app says.

    Attributes:
        run: name of the run that has it.
        began: when that ran, in seconds since the epoch.
    """

    run: str
    began: float

    def __str__(self) -> str:
        return (
            f"{self.app}: the same call is recorded in run {self.run}, "
            "but its record is not valid any more (valid_for, valid_if)."
        )


@dataclass(frozen=True)
class Spoiled(Reason):
    """It ran because the output files of the recorded call are not what they were.

    Attributes:
        run: name of the run that has the record.
        what: what is wrong with them, in a few words.
    """

    run: str
    what: str

    def __str__(self) -> str:
        return f"{self.app}: the same call is recorded in run {self.run}, but {self.what}."


@dataclass(frozen=True)
class Asked(Reason):
    """It ran because it was asked to, whatever is recorded.

    Attributes:
        run: name of the run that has the record; empty if there is none.
    """

    run: str = ""

    def __str__(self) -> str:
        recorded = f", although it is recorded in run {self.run}" if self.run else ""
        return f"{self.app}: it was asked to run anew{recorded}."


@dataclass(frozen=True)
class Again(Reason):
    """It ran although the same call is recorded, and why is not known for certain.

    Attributes:
        run: name of the run that has the record.
    """

    run: str

    def __str__(self) -> str:
        return (
            f"{self.app}: the same call is recorded in run {self.run}, readable. It was computed "
            "again because the two ran at the same time, or that record was not valid or not in "
            "use then."
        )


@dataclass(frozen=True)
class NotCached(Reason):
    """It ran because nothing was looked up.

    Attributes:
        why: who says so: the app, the configuration, the environment.
    """

    why: str

    def __str__(self) -> str:
        return f"{self.app or 'This call'}: nothing was looked up, {self.why}."


@dataclass(frozen=True)
class NotKept(Reason):
    """It ran because what it came to before was not recorded, on purpose (``persist=``)."""

    def __str__(self) -> str:
        return f"{self.app}: it came to a value before, which is not kept (persist=)."


@dataclass(frozen=True)
class Waiting(Reason):
    """It is not known yet whether it has to run: inputs are computed first.

    Attributes:
        inputs: numbers of the tasks that it waits for.
    """

    inputs: tuple[int, ...]

    def __str__(self) -> str:
        some = ", ".join(map(str, self.inputs[:5])) + (", ..." if len(self.inputs) > 5 else "")
        many = "s" if len(self.inputs) != 1 else ""
        return f"{self.app}: it depends on the outcome of task{many} {some}, not known yet."


@dataclass(frozen=True)
class Upstream(Reason):
    """It is computed anew because what it takes is.

    Attributes:
        tasks: names of the tasks of its plan that it takes something from and that run.
    """

    tasks: tuple[str, ...] = ()

    def __str__(self) -> str:
        if not self.tasks:
            return f"{self.app}: it takes what is not known before it is computed."
        some = ", ".join(self.tasks[:3])
        if len(self.tasks) > 3:
            some += f" and {len(self.tasks) - 3} more"
        run = "runs" if len(self.tasks) == 1 else "run"
        return (
            f"{self.app}: it takes {some}, which {run}. If what comes out is what it was, its "
            "own outcome is found then."
        )


@dataclass(frozen=True)
class FoundByValue(Reason):
    """It does not have to run after all: what it takes has changed its origin, and not its value.

    Attributes:
        run: name of the run that has the record.
    """

    run: str

    def __str__(self) -> str:
        return (
            f"{self.app}: what it takes was computed anew and came to the same; its outcome is "
            f"recorded in run {self.run} and is found when the plan runs."
        )


@dataclass(frozen=True)
class Outdated(Reason):
    """It would run because what is recorded of it, if anything, does not count.

    Attributes:
        why: why not.
    """

    why: str

    def __str__(self) -> str:
        return f"{self.app}: {self.why}."


@dataclass(frozen=True)
class NotBegun(Reason):
    """It stands in a plan that has not run, or that has cut it away."""

    def __str__(self) -> str:
        return f"{self.app}: it stands in a plan and was not begun; plan.why() tells of it."


@dataclass(frozen=True)
class Unknown(Reason):
    """Nothing that is kept tells why.

    Attributes:
        why: what is missing.
    """

    why: str

    def __str__(self) -> str:
        return f"{self.app or 'This call'}: nothing tells why it ran: {self.why}."


def _span(seconds: float) -> str:
    for factor, unit in ((1e6, "µs"), (1e3, "ms")):
        if seconds * factor < 1000:
            return f"{seconds * factor:.0f} {unit}"
    return f"{seconds:.1f} s" if seconds < 100 else f"{seconds:,.0f} s"
