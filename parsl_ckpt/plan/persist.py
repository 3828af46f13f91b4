"""What of a plan is restored from which named set, and what is persisted to which: as a value.

Rule of this file: pure.  A set is a label inside records (:mod:`~parsl_ckpt.checkpoint.pins`), so
nothing in an id is ever part of a path.

>>> spec = PersistSpec("runinfo", "yesterday", "today", to_persist=app("fit"))
>>> spec.chosen([Candidate("read-0", "read"), Candidate("fit-1", "fit")])
{'fit-1': 'fit-1'}
"""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Union

from parsl_ckpt.errors import PersistError, UnknownTaskError

from .job import shown


class Candidate(NamedTuple):
    """A task of a plan, as those see it who choose what is persisted.

    Args:
        task: its name in the plan.
        app: name of its app.
        tag: what its app is tagged with.
        cached: whether its outcome is recorded, or may be; False where the app is not cached, or
            has ``persist=False``.
        wanted: whether the plan is asked for it.

    >>> Candidate("fit-3", "fit").cached
    True
    """

    task: str
    app: str
    tag: str | None = None
    cached: bool = True
    wanted: bool = False


Selector = Callable[[Candidate], object]
#: What ``to_persist`` may be: a selector, or names in the set with what they are to stand for.
Selection = Union[Selector, Mapping[str, Any]]  # noqa: UP007 (runtime, 3.10)


def cached(candidate: Candidate) -> bool:
    """Selects what is recorded anyway: the default.

    Args:
        candidate: a task of the plan.

    Returns:
        Whether it is selected.

    >>> cached(Candidate("fit-3", "fit", cached=False))
    False
    """
    return candidate.cached


def wanted(candidate: Candidate) -> bool:
    """Selects what the plan is asked for.

    Args:
        candidate: a task of the plan.

    Returns:
        Whether it is selected.

    >>> wanted(Candidate("fit-3", "fit", wanted=True))
    True
    """
    return candidate.wanted


def task(*names: str) -> Selector:
    """Selects tasks by their names in the plan.

    Args:
        names: of tasks, such as ``fit-3``.

    Returns:
        A selector, for ``to_persist``.

    >>> task("fit-3", "read-0")(Candidate("fit-3", "fit"))
    True
    """
    return _Among("task", frozenset(_labels("task", names)))


def app(*names: str) -> Selector:
    """Selects the tasks of some apps; ``*`` and ``?`` as in file names.

    Args:
        names: of apps.

    Returns:
        A selector, for ``to_persist``.

    >>> app("fit*")(Candidate("fit_all-3", "fit_all"))
    True
    """
    return _Matching(_labels("app", names))


def tag(*tags: str) -> Selector:
    """Selects the tasks of apps with one of these tags.

    Args:
        tags: of apps (``@python_app(tag="final")``).

    Returns:
        A selector, for ``to_persist``.

    >>> tag("final")(Candidate("fit-3", "fit", "final"))
    True
    """
    return _Among("tag", frozenset(_labels("tag", tags)))


def any_of(*selectors: Selector) -> Selector:
    """Selects what one of some selectors does.

    Args:
        selectors: any functions of a :class:`Candidate`.

    Returns:
        A selector, for ``to_persist``.

    >>> chosen = any_of(task("a"), tag("final"))
    >>> chosen(Candidate("a", "f")), chosen(Candidate("b", "f", "final"))
    (True, True)
    >>> chosen(Candidate("b", "f"))
    False
    """
    for select in selectors:
        if not callable(select):
            raise _wrong(
                f"any_of() got {shown(select)}, which selects nothing.",
                hint="Give functions of a candidate, such as app('fit').",
                field="to_persist",
            )
    return lambda candidate: any(bool(select(candidate)) for select in selectors)


@dataclass(frozen=True)
class PersistSpec:
    """Restore from one named set, persist to another; either alone, or both the same.

    Args:
        root: where runs are kept (``Config.run_dir``); sets belong to it.
        retrieve_id: the set from which outcomes are restored, and from no other record; None for
            whatever is recorded.
        persist_id: the set in which names are given to outcomes; None for none.
        to_persist: which outcomes: a function of a :class:`Candidate`, such as :func:`app`,
            :func:`task`, :func:`tag` and :func:`wanted` give; or a mapping from names in the set to
            futures of the plan, or names of its tasks. By default those of all cached apps, named
            as the plan names their tasks.

    Ids and names are labels of any characters and length.

    Raises:
        PersistError: it cannot be meant so; it names the field.

    >>> PersistSpec("runinfo", persist_id="monday", to_persist=app("fit*")).chosen(
    ...     [Candidate("read-0", "read"), Candidate("fit_all-1", "fit_all")]
    ... )
    {'fit_all-1': 'fit_all-1'}

    The idea is earthkit-workflows cascade's.
    """

    root: str | os.PathLike[str]
    retrieve_id: str | None = None
    persist_id: str | None = None
    to_persist: Selection | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.root, (str, os.PathLike)) or not os.fspath(self.root):
            raise _wrong(
                f"The root of named sets is {shown(self.root)}, which is no directory.",
                hint="Give the directory in which runs are kept, such as 'runinfo'.",
                field="root",
            )
        for name in ("retrieve_id", "persist_id"):
            value = getattr(self, name)
            if value is not None and not (isinstance(value, str) and value):
                # An empty one is more likely a variable that is not set than a name.
                raise _wrong(
                    f"{name} is {shown(value)}, which is no name of a set.",
                    hint="Give a string of any characters, at least one, or None.",
                    field=name,
                )
        if self.to_persist is None:
            return
        if self.persist_id is None:
            raise _wrong(
                "to_persist says what is to be persisted, and persist_id does not say to which "
                "set.",
                hint="Give a persist_id, or leave to_persist out.",
                field="persist_id",
            )
        if not callable(self.to_persist) and not isinstance(self.to_persist, Mapping):
            raise _wrong(
                f"to_persist is {shown(self.to_persist)}, which selects nothing.",
                hint="Give a function of a candidate, such as app('fit'), or a mapping from names "
                "to futures.",
                field="to_persist",
            )
        if isinstance(self.to_persist, Mapping):
            _texts(self.to_persist)

    @property
    def chosen_by_hand(self) -> bool:
        """Whether somebody said what is to be persisted, so that it is recorded in any case."""
        return self.to_persist is not None

    def chosen(
        self,
        candidates: Iterable[Candidate],
        name_of: Callable[[Any], str] | None = None,
    ) -> dict[str, str]:
        """What is to be persisted: names in the set, with the names of tasks.

        Args:
            candidates: the tasks of a plan.
            name_of: the name of the task of a future, or of a task's name.

        Returns:
            By name in the set, the name of the task; empty without a ``persist_id``.

        Raises:
            PersistError: the selector failed; or a mapping names what is not in the plan.
        """
        if self.persist_id is None:
            return {}
        if isinstance(self.to_persist, Mapping):
            _texts(self.to_persist)  # it may have been filled since
            known = {one.task for one in candidates}
            return {
                name: _known(name, thing, known, name_of) for name, thing in self.to_persist.items()
            }
        select = self.to_persist or cached
        found = {}
        for one in candidates:
            try:
                if select(one):
                    found[one.task] = one.task
            except Exception as error:
                raise _wrong(
                    f"to_persist failed for the task {shown(one.task)}: {error!r}.",
                    hint="It is called with a Candidate, which has task, app, tag, cached, wanted.",
                    field="to_persist",
                ) from error
        return found


def _texts(names: Iterable[Any]) -> None:
    for name in names:
        if not isinstance(name, str):
            raise _wrong(
                f"A name in to_persist is {shown(name)}, which is no text.",
                hint="Give strings, of any characters.",
                field="to_persist",
            )


def _known(name: str, thing: Any, known: set[str], name_of: Callable[[Any], str] | None) -> str:
    try:
        found = thing if name_of is None else name_of(thing)
    except UnknownTaskError as error:
        raise _wrong(
            f"to_persist gives the name {shown(name)} to what is not in the plan: {error.message}",
            hint=error.hint,
            field="to_persist",
        ) from None
    if found not in known:
        raise _wrong(
            f"to_persist gives the name {shown(name)} to {shown(thing)}, which the plan does not "
            "have.",
            hint="Give futures of the plan, or names of its tasks.",
            field="to_persist",
        )
    return found


def _labels(what: str, names: tuple[Any, ...]) -> tuple[str, ...]:
    for name in names:
        if not isinstance(name, str):
            raise _wrong(
                f"{what}() got {shown(name)}, which is no name.",
                hint=f"Call it with names, such as {what}('fit'), and pass on what it returns.",
                field="to_persist",
            )
    return names


def _wrong(message: str, hint: str, field: str) -> PersistError:
    return PersistError(message, hint=hint, field=field, tasks=())


class _Among:
    """Whether an attribute is one of some."""

    def __init__(self, attribute: str, values: frozenset[str]) -> None:
        self._attribute = attribute
        self._values = values

    def __call__(self, candidate: Candidate) -> bool:
        return getattr(candidate, self._attribute) in self._values

    def __repr__(self) -> str:
        return f"{self._attribute}({', '.join(map(repr, sorted(self._values)))})"


class _Matching:
    """Whether the app matches one of some patterns."""

    def __init__(self, patterns: tuple[str, ...]) -> None:
        self._patterns = patterns

    def __call__(self, candidate: Candidate) -> bool:
        return any(fnmatch.fnmatchcase(candidate.app, pattern) for pattern in self._patterns)

    def __repr__(self) -> str:
        return f"app({', '.join(map(repr, self._patterns))})"
