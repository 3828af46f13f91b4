"""What a run inherits from an earlier one, as values that runner, hooks and stores hand on."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field


class CompletedComponents(frozenset[str]):
    """Names of the components that a resumed run need not run, and where their values are.

    Attributes:
        run_id: the run in which they succeeded, if it is known.
        token: what the addresses of that run are made with; see :class:`RunStart`.
        values: by component, what hooks were told by ``on_value_recorded``.

    >>> CompletedComponents(["extract"], run_id="run-001") == {"extract"}
    True
    """

    run_id: str | None
    token: str
    values: Mapping[str, str]

    def __new__(
        cls,
        names: Iterable[str] = (),
        *,
        run_id: str | None = None,
        token: str = "",
        values: Mapping[str, str] | None = None,
    ) -> CompletedComponents:
        made = super().__new__(cls, names)
        made.run_id, made.token, made.values = run_id, token, dict(values or {})
        return made


def new_token() -> str:
    """A token that no other run has."""
    return uuid.uuid4().hex


@dataclass(frozen=True)
class RunStart:
    """What hooks are told before anything else.

    Attributes:
        token: counts in the address of each component of this run. It is a new one for a fresh run
            and stays the same however often the run is resumed, so that what was recorded for one
            run is found by its resumptions, and by no other run.
        completed: what is inherited; empty for a fresh run.
    """

    token: str = field(default_factory=new_token)
    completed: CompletedComponents = field(default_factory=CompletedComponents)
