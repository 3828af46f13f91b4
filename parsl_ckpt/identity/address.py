"""From a call to its address: binding, leaves, root key.

Rule of this file: everything that does not depend on the arguments is worked out beforehand,
because this runs in the caller for each call.

The key is blake3 over: the digest of the header (schema, app, code, version, names of the
parameters, each framed by its length), the lengths of the leaves, the leaves. The header fixes how
many leaves there are and which is which, so no two addresses have the same bytes.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import msgspec
from blake3 import blake3

from ..errors import AppDefinitionError, FileIdentityError, UnidentifiableValueError
from ..signatures import signature
from .code import CodeIdentity
from .outline import BUDGET
from .outlining import outline
from .privacy import Privacy
from .scalars import SCALARS
from .values import Walk, output_leaf
from .walk import Known, digest_of

SCHEMA = b"parsl_ckpt address 1"

_NOTHING_HIDDEN = Privacy()
_EMPTY = inspect.Parameter.empty
_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


class Address(msgspec.Struct, gc=False):
    """What a call is: a key, and the leaves that it was made of.

    Attributes:
        key: 32 bytes, the identity of the call.
        app: name of the app.
        code: digest of its code.
        leaves: one for each parameter that counts.
        names: their parameters.
        wholes: (number, argument, walk) for arguments of which the leaf is a digest, until
            :meth:`Addresser.outline` has looked at them.
        outline: what is kept of those arguments, see ``outline.py``.
    """

    # Holds bytes and text only, and arguments no longer than until it is clear that the call is
    # computed, so the garbage collector need not look at it; there is one for each task under way.
    key: bytes
    app: str
    code: bytes
    leaves: tuple[bytes, ...]
    names: tuple[str, ...]
    wholes: Any = None
    outline: bytes = b""

    def __repr__(self) -> str:
        return f"Address({self.app} {self.key.hex()[:12]})"


class Binder:
    """Arguments in the order of the parameters, defaults applied, as ``inspect`` would bind them.

    Args:
        fn: what is called.
        ignore: parameters that do not count.
        app: its name, for messages.

    Attributes:
        names: the parameters that count, in order; ``*args`` and ``**kwargs`` each count as one.
        stars: name of the ``**kwargs`` parameter, or None.

    >>> binder = Binder(lambda x, y=2, *, verbose=False: None, ignore=["verbose"])
    >>> binder.bind((1,), {"verbose": True}), binder.names
    ((1, 2), ('x', 'y'))
    """

    def __init__(self, fn: Callable[..., Any], ignore: Iterable[str] = (), app: str = "") -> None:
        self.app = app or getattr(fn, "__name__", "app")
        self.signature = _signature(fn)
        parameters = list(self.signature.parameters.values())
        ignored = frozenset([ignore] if isinstance(ignore, str) else ignore)
        takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters)
        unknown = sorted(ignored - {p.name for p in parameters})
        if unknown and not takes_any:
            raise AppDefinitionError(
                f"App {self.app!r} has no parameter {unknown[0]!r} that could be ignored.",
                hint=f"Its parameters are: {', '.join(p.name for p in parameters) or 'none'}.",
                app=self.app,
                parameter=unknown[0],
            )
        positional = [p for p in parameters if p.kind in _POSITIONAL]
        self.ignored = ignored
        self._any_ignored = bool(ignored)
        self._count = len(positional)
        self._simple = len(positional) == len(parameters) and not ignored
        self._defaults = tuple(p.default for p in positional)
        self._required = sum(p.default is _EMPTY for p in positional)
        self._places = {
            p.name: place for place, p in enumerate(positional) if p.kind is p.POSITIONAL_OR_KEYWORD
        }
        self._keyword_only = [(p.name, p.default) for p in parameters if p.kind is p.KEYWORD_ONLY]
        self._star = next((p.name for p in parameters if p.kind is p.VAR_POSITIONAL), None)
        self.stars = next((p.name for p in parameters if p.kind is p.VAR_KEYWORD), None)
        # In Python's order: positional, *args, keyword-only, **kwargs.
        self._kept = [p.name not in ignored for p in parameters]
        self.names = tuple(p.name for p in parameters if p.name not in ignored)

    def bind(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[Any, ...]:
        """The values that count, one for each of ``names``.

        Raises:
            TypeError: the call does not fit the signature; in Python's own words.
        """
        if not kwargs and self._simple:
            given = len(args)
            if given == self._count:
                return args
            if self._required <= given < self._count:
                return args + self._defaults[given:]
        return self._bind(args, kwargs)

    def _bind(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[Any, ...]:
        count = self._count
        given = len(args)
        if given > count and self._star is None:
            self._complain(args, kwargs)
        values = list(args[:count])
        if given < count:
            values += self._defaults[given:]
        rest = dict(kwargs)
        if rest:
            places = self._places
            for name in kwargs:
                place = places.get(name)
                if place is not None:
                    if place < given:
                        self._complain(args, kwargs)
                    values[place] = rest.pop(name)
        for value in values:
            if value is _EMPTY:
                self._complain(args, kwargs)
        if self._star is not None:
            values.append(args[count:])
        for name, default in self._keyword_only:
            value = rest.pop(name, default)
            if value is _EMPTY:
                self._complain(args, kwargs)
            values.append(value)
        if self.stars is not None:
            values.append({name: v for name, v in rest.items() if name not in self.ignored})
        elif rest:
            self._complain(args, kwargs)
        if self._any_ignored:
            return tuple([v for v, kept in zip(values, self._kept, strict=True) if kept])
        return tuple(values)

    def _complain(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        self.signature.bind(*args, **kwargs)  # raises with Python's message
        raise TypeError(f"{self.app}() cannot be called like this")


def _signature(fn: Callable[..., Any]) -> inspect.Signature:
    try:
        return signature(fn)
    except (ValueError, TypeError):  # some functions in C have none
        return signature(lambda *args, **kwargs: None)


class Addresser:
    """Makes the addresses of one app's calls.

    Args:
        app_name: its name.
        code: its code.
        binder: its signature; gives the values that :meth:`address` takes.
        version: what the user says about the app's version.
        privacy: what of the arguments is hidden.
        kind: what becomes of the function's value, where that is not the outcome: ``"bash"``, it is
            run as a command.
    """

    __slots__ = (
        "_code", "_head", "_kind", "_output", "_special", "app", "binder", "code", "names",
        "privacy", "version",
    )  # fmt: skip

    def __init__(
        self,
        app_name: str,
        code: CodeIdentity,
        binder: Binder,
        version: str = "",
        privacy: Privacy = _NOTHING_HIDDEN,
        kind: str = "",
    ) -> None:
        self.app = app_name
        self._kind = (b"\0" + kind.encode(),) if kind else ()  # no name of a parameter begins so
        self.code = code
        self.binder = binder
        self.version = version
        self.names = binder.names
        self.privacy = privacy
        self._output = "outputs" if "outputs" in binder.names else ""
        self._special = bool(self._output or privacy.names or not privacy.previews)
        self._code = b""
        self._head = b""

    def address(self, bound: tuple[Any, ...]) -> Address:
        """The address of a call.

        Args:
            bound: what ``binder.bind`` gave; :class:`Known` may stand for values.

        Raises:
            UnidentifiableValueError: naming the app and the parameter.
        """
        digest = self.code.digest()
        head = self._head if digest == self._code else self._header(digest)
        leaves: list[bytes] = []
        if self._special:
            leaves, wholes = self._leaves(bound)
            key = blake3(head + bytes(map(len, leaves)) + b"".join(leaves)).digest()
            shown = self.privacy.shown(leaves)
            return Address(key, self.app, digest, shown, self.names, wholes)
        get = SCALARS.get
        for value in bound:
            encode = get(type(value))
            if encode is None:
                leaves, wholes = self._leaves(bound)
                key = blake3(head + bytes(map(len, leaves)) + b"".join(leaves)).digest()
                return Address(key, self.app, digest, tuple(leaves), self.names, wholes)
            leaves.append(encode(value))
        key = blake3(head + bytes(map(len, leaves)) + b"".join(leaves)).digest()
        return Address(key, self.app, digest, tuple(leaves), self.names)

    def outline(
        self, address: Address, bound: tuple[Any, ...] = (), room: int | None = None
    ) -> bytes:
        """Keep with an address what its arguments are made of, and let go of them.

        Args:
            address: from :meth:`address`; its arguments have not changed since.
            bound: the arguments, where :meth:`address` did not keep them: long texts are looked for
                among them.
            room: bytes at most; None for what a record has room for.
        """
        wholes = self.wholes(address, bound)
        address.wholes = None
        if wholes:
            if room is None:
                room = BUDGET - 34 - sum([len(leaf) + 2 for leaf in address.leaves])
                room -= sum([len(name) + 1 for name in address.names])
            address.outline = outline(address.leaves, wholes, self.privacy, room)
        return address.outline

    def wholes(self, address: Address, bound: tuple[Any, ...]) -> list[tuple[int, Any, Walk]]:
        """(number, argument, walk) for each argument of which the leaf does not tell all."""
        found: list[tuple[int, Any, Walk]] | None = address.wholes
        if found is None and not self._special:
            texts = [(at, value) for at, value in enumerate(bound) if type(value) is str]
            found = [(at, text, Walk()) for at, text in texts if address.leaves[at][0] & 0x80]
        return found or []

    def _leaves(self, bound: tuple[Any, ...]) -> tuple[list[bytes], list[tuple[int, Any, Walk]]]:
        """The leaves, and what they do not tell."""
        leaves: list[bytes] = []
        wholes: list[tuple[int, Any, Walk]] = []
        privacy = self.privacy
        secret = privacy.names
        try:
            for name, value in zip(self.names, bound, strict=True):
                if name == self._output:
                    leaves.append(output_leaf(value))
                elif name in secret:
                    leaves.append(privacy.secret(Walk().leaf(value)))
                elif secret and name == self.binder.stars and not secret.isdisjoint(value):
                    hidden = {
                        word: Known(privacy.secret(Walk().leaf(v))) if word in secret else v
                        for word, v in value.items()
                    }
                    leaves.append(self._whole(hidden, leaves, wholes))
                else:
                    encode = SCALARS.get(type(value))
                    if encode is None:
                        leaves.append(self._whole(value, leaves, wholes))
                    else:
                        leaf = encode(value)
                        if leaf[0] & 0x80:
                            wholes.append((len(leaves), value, Walk()))
                        leaves.append(leaf)
        except (UnidentifiableValueError, FileIdentityError) as error:
            parameter = self.names[len(leaves)]
            fields = error.fields | {"app": self.app, "parameter": parameter}
            raise type(error)(
                f"Parameter {parameter!r} of app {self.app!r}: {error.message}",
                hint=error.hint,
                **fields,
            ) from error.__cause__
        return leaves, wholes

    def _whole(self, value: Any, leaves: list[bytes], wholes: list[tuple[int, Any, Walk]]) -> bytes:
        """The leaf of what is no scalar; what it is made of is looked at later, if ever."""
        walk = Walk()
        leaf = walk.leaf(value)
        # A digest; that of a file; a container that is short enough to hold one.
        if leaf[0] & 0x80 or leaf[:1] == b"P" or len(leaf) > 34:
            wholes.append((len(leaves), value, walk))
        return leaf

    def key_under(self, code: bytes, leaves: Sequence[bytes]) -> bytes:
        """The key of a call from its leaves, as if the app's code were another.

        Args:
            code: digest of that code.
            leaves: one for each parameter that counts, as they were digested.
        """
        return blake3(self._head_under(code) + bytes(map(len, leaves)) + b"".join(leaves)).digest()

    def _head_under(self, digest: bytes) -> bytes:
        return digest_of(
            SCHEMA,
            self.app.encode("utf-8", "surrogatepass"),
            digest,
            self.version.encode("utf-8", "surrogatepass"),
            *[name.encode() for name in self.names],
            *self._kind,
        )

    def _header(self, digest: bytes) -> bytes:
        head = self._head_under(digest)
        # Two assignments: another thread that sees the first without the second must not use it.
        self._code = b""
        self._head = head
        self._code = digest
        return head
