"""States: dataclass instances that a session saves and restores.

Rule of this file: a proxy passes everything through to the instance and keeps nothing of it.  One
instance has one proxy, whoever binds it.
"""

from __future__ import annotations

import dataclasses
import threading
import weakref
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

from parsl_ckpt.errors import CheckpointError

from . import current

if TYPE_CHECKING:
    from .checkpoint import Checkpoint
    from .session import CheckpointSession

T = TypeVar("T")


class StateId(NamedTuple):
    """What a state is called: its class, and its key if there are several of the class."""

    module: str
    qualname: str
    name: str = ""

    def __str__(self) -> str:
        return f"{self.module}.{self.qualname}" + (f"[{self.name}]" if self.name else "")


class CheckpointState(Generic[T]):
    """A bound dataclass instance: its fields pass through, ``checkpoint_...`` tell of the session.

    Made by :func:`bind_checkpoint_state`.

    >>> import tempfile
    >>> from parsl_ckpt.restart import Checkpoint
    >>> @dataclasses.dataclass
    ... class Walk:
    ...     x: float = 0.0
    >>> with tempfile.TemporaryDirectory() as path, Checkpoint("example", path) as session:
    ...     state = session.bind(Walk())
    ...     state.x += 0.5
    ...     entry = session.write(lead_time=6)
    ...     state, state.checkpoint_write_count, state.checkpoint_lead_time
    (Walk(x=0.5), 1, 6)
    >>> state.checkpoint_dataclass.x  # the instance itself
    0.5

    The idea is that of Earth2Studio's class of the same name.
    """

    __slots__ = ("__weakref__", "_p_id", "_p_loaded", "_p_mark", "_p_object", "_p_session")

    _p_object: T
    _p_id: StateId
    _p_mark: weakref.ref[Checkpoint] | None
    _p_session: CheckpointSession | None
    _p_loaded: bool

    def __init__(self, instance: T, state_id: StateId) -> None:
        put = object.__setattr__
        put(self, "_p_object", instance)
        put(self, "_p_id", state_id)
        put(self, "_p_mark", None)
        put(self, "_p_session", None)
        put(self, "_p_loaded", False)

    # --- what the session is ----------------------------------------------------------------------

    @property
    def checkpoint_dataclass(self) -> T:
        """The instance itself."""
        return self._p_object

    @property
    def checkpoint_enabled(self) -> bool:
        """Whether there is a checkpoint that the state belongs to."""
        return self._p_checkpoint is not None

    @property
    def checkpoint_level(self) -> int:
        """How much is asked to be saved; see :class:`Checkpoint`.  0 without a checkpoint."""
        return 0 if self._p_checkpoint is None else self._p_checkpoint.level

    @property
    def checkpoint_device(self) -> Any:
        """Where tensors are put when they are restored."""
        return "cpu" if self._p_checkpoint is None else self._p_checkpoint.device

    @property
    def device(self) -> Any:
        """The field ``device`` of the instance if it has one, else where tensors are put."""
        if any(field.name == "device" for field in dataclasses.fields(self._p_object)):  # type: ignore[arg-type]
            return self._p_object.device  # type: ignore[attr-defined]
        return self.checkpoint_device

    @property
    def checkpoint_flush_interval(self) -> Any:
        """Number of writes between commits; None without a checkpoint, and for commits by hand."""
        return None if self._p_checkpoint is None else self._p_checkpoint.flush_interval

    @property
    def checkpoint_write_count(self) -> int:
        """How many steps the session has done."""
        session = self._open_session()
        return 0 if session is None else session.write_count

    @property
    def checkpoint_is_flush_due(self) -> bool:
        """Whether the next write is going to commit."""
        session = self._open_session()
        return False if session is None else session.is_flush_due

    @property
    def checkpoint_selected(self) -> bool:
        """Whether the session that is open goes on from a row."""
        session = self._open_session()
        return session is not None and session.exists

    @property
    def checkpoint_state_loaded(self) -> bool:
        """Whether the fields were restored in the session that is open."""
        return self._p_loaded and self._open_session() is not None

    @property
    def checkpoint_lead_time(self) -> Any:
        """What was written as ``lead_time``; None if nothing was."""
        return self.checkpoint_metadata.get("lead_time")

    @property
    def checkpoint_metadata(self) -> Mapping[str, Any]:
        """The session's metadata."""
        session = self._open_session()
        return {} if session is None else session.metadata

    @property
    def checkpoint_labels(self) -> Mapping[str, Any]:
        """The session's labels."""
        session = self._open_session()
        return {} if session is None else session.labels

    @property
    def _p_checkpoint(self) -> Checkpoint | None:
        # Not kept alive: what waits for one that nobody has is gone with it.
        return None if self._p_mark is None else self._p_mark()

    def _open_session(self) -> CheckpointSession | None:
        session = self._p_session
        return session if session is not None and session.is_open else None

    # --- what passes through ----------------------------------------------------------------------

    def __getattr__(self, name: str) -> Any:
        return getattr(self._p_object, name)

    def __setattr__(self, name: str, value: Any) -> None:
        known = hasattr(CheckpointState, name) and not name.startswith("__")
        if known and not (name == "device" and _has_field(self, name)):
            raise AttributeError(f"{name} can only be read.")
        setattr(self._p_object, name, value)

    def __delattr__(self, name: str) -> None:
        delattr(self._p_object, name)

    def __dir__(self) -> list[str]:
        return sorted({*object.__dir__(self), *dir(self._p_object)})

    def __repr__(self) -> str:
        return repr(self._p_object)

    def __eq__(self, other: object) -> bool:
        return self._p_object == (other._p_object if type(other) is CheckpointState else other)

    def __hash__(self) -> int:
        return id(self)

    def __reduce__(self) -> tuple[Any, ...]:
        return _itself, (self._p_object,)  # copies and pickles are of the instance


def _itself(instance: Any) -> Any:
    return instance


def _has_field(state: CheckpointState[Any], name: str) -> bool:
    return any(field.name == name for field in dataclasses.fields(state._p_object))


_proxies: weakref.WeakValueDictionary[int, CheckpointState[Any]] = weakref.WeakValueDictionary()
_lock = threading.Lock()


def proxy_of(instance: T | CheckpointState[T], state_key: str | None) -> CheckpointState[T]:
    """The proxy of an instance, made if there is none.

    Raises:
        TypeError: it is no instance of a dataclass.
        CheckpointError: a field has a name that the proxy needs, or it is bound by another key.
    """
    if state_key is not None and not isinstance(state_key, str):
        raise TypeError(f"state_key is {state_key!r}, which is no text.")
    if type(instance) is CheckpointState:
        found: CheckpointState[T] = instance
        return _same_key(found, state_key)
    kind: Any = type(instance)
    if not hasattr(kind, "__dataclass_fields__"):
        raise TypeError(f"A state is an instance of a dataclass; this is {_what(instance)}.")
    with _lock:
        known = _proxies.get(id(instance))
        if known is not None and known._p_object is instance:
            return _same_key(known, state_key)
        for field in dataclasses.fields(kind):
            if field.name.startswith("checkpoint_") and hasattr(CheckpointState, field.name):
                raise CheckpointError(
                    f"The field {field.name!r} of {kind.__qualname__} has the name of something "
                    "that tells of the session.",
                    hint="Call the field something else.",
                    state=kind.__qualname__,
                    field=field.name,
                )
        made: CheckpointState[Any] = CheckpointState(
            instance, StateId(kind.__module__, kind.__qualname__, state_key or "")
        )
        _proxies[id(instance)] = made
        return made


def _same_key(state: CheckpointState[T], state_key: str | None) -> CheckpointState[T]:
    if state_key is None or state_key == state._p_id.name:
        return state
    session = state._p_session
    if session is not None and session.is_open:
        raise CheckpointError(
            f"The state {state._p_id} is bound, and cannot be called {state_key!r} as well.",
            hint="Bind it once, or with the same state_key.",
            state=str(state._p_id),
        )
    object.__setattr__(state, "_p_id", state._p_id._replace(name=state_key))
    return state


def _what(instance: Any) -> str:
    if isinstance(instance, type):
        return f"the class {instance.__qualname__}"
    return f"of type {type(instance).__qualname__}"


def bind_checkpoint_state(
    state: T | CheckpointState[T], *, state_key: str | None = None
) -> CheckpointState[T]:
    """Have a dataclass instance saved and restored by the session that is open here.

    Where none is open, it waits for the checkpoint that was made last in this context; where there
    is none either, the proxy only passes through, so that a component need not know whether it is
    checkpointed.

    Args:
        state: the instance.  Its fields are overwritten with what was saved, if anything was: all
            of them or none.
        state_key: tells it from others of its class.

    Returns:
        A proxy for it; use it in place of the instance.

    Raises:
        TypeError: it is no instance of a dataclass.
        CheckpointStateCollision: another instance of its class is bound.
        CheckpointStateSchemaError: what was saved does not fit the class any more.

    >>> import dataclasses
    >>> @dataclasses.dataclass
    ... class Counter:
    ...     value: int = 0
    >>> counter = bind_checkpoint_state(Counter())
    >>> counter.value += 1
    >>> counter, counter.checkpoint_enabled
    (Counter(value=1), False)

    The idea is that of Earth2Studio's function of the same name.
    """
    session = current.active.get()
    if session is not None and session.is_open:
        return session.bind(state, state_key=state_key)
    checkpoint = current.latest.get()
    if checkpoint is not None:
        return checkpoint.expect(state, state_key)
    return proxy_of(state, state_key)
