"""What differs between two calls of one app, leaf by leaf, path by path, line by line.

Rule of this file: pure.  It compares what records keep (leaves, outlines, code records), says what
it can see, and says so where it cannot see.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from parsl_ckpt.checkpoint.format import Code
from parsl_ckpt.identity import outline
from parsl_ckpt.identity.outline import DESCRIBED, FILE, LIST, OBJECT, TUPLE, Node, of_leaf

MANY = 20  # differences inside one argument beyond which they are counted
_MISSING = Node()


@dataclass(frozen=True)
class Difference:
    """One thing in which two calls differ.

    Attributes:
        kind: ``"argument"``, ``"file"``, ``"parameter"`` (one call has it and the other has not),
            ``"function"`` (or a class), ``"constant"``, ``"distribution"``, ``"version"`` (the
            user's), ``"code"`` (something else about the code).
        name: the parameter, function, constant or distribution.
        path: where inside an argument, as Python would write it: ``["optim"]["lr"]``.
        old, new: the values as text; None where there is none, or only its digest is known.
        diff: of a function or class: a unified diff of its normalised source.
        note: a remark, where the values do not tell.
    """

    kind: str
    name: str
    path: str = ""
    old: str | None = None
    new: str | None = None
    diff: str = ""
    note: str = ""

    def __str__(self) -> str:
        what = f"{self.name}{self.path}"
        if self.kind not in ("argument", "version"):
            what = f"{self.kind} {what}".strip()
        lines = [f"{what}: {self._change()}"]
        lines += ["    " + line for line in self.diff.splitlines()]
        return "\n".join(lines).rstrip()

    def _change(self) -> str:
        if self.note:
            return self.note
        if self.old is not None and self.new is not None:
            return f"{self.old} → {self.new}"
        if self.new is not None:
            return f"another value, now {self.new}"
        if self.old is not None:
            return f"another value than {self.old}"
        return "changed" if self.kind in ("function", "class", "constant") else "another value"

    def to_dict(self) -> dict[str, Any]:
        """As plain values; what is not known is left out."""
        return {name: value for name, value in vars(self).items() if value not in ("", None)}


# --- arguments ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Side:
    """One of two calls.

    Attributes:
        code, version, names, leaves: as in :class:`~parsl_ckpt.checkpoint.format.Result`.
        outline: parameter number → node.
    """

    code: bytes
    version: str
    names: Sequence[str]
    leaves: Sequence[bytes]
    outline: Mapping[int, Node]

    def node(self, number: int) -> Node:
        """What is known of an argument."""
        leaf = self.leaves[number]
        node = self.outline.get(number)
        if node is None:
            return of_leaf(leaf)
        node.mark = node.mark or outline.mark_of(leaf)
        return node


def side_of(record: Any) -> Side:
    """A result, a failure, or an address, as one side of a comparison."""
    kept = outline.read_outline(getattr(record, "outline", b""))
    return Side(record.code, getattr(record, "version", ""), record.names, record.leaves, kept)


def arguments(old: Side, new: Side) -> list[Difference]:
    """The parameters whose leaves differ, and the places inside them."""
    found: list[Difference] = []
    places = {name: number for number, name in enumerate(old.names) if number < len(old.leaves)}
    for number, (name, leaf) in enumerate(zip(new.names, new.leaves, strict=False)):
        if name not in places:
            text = new.node(number).text or None
            found.append(Difference("parameter", name, new=text, note=_note("new", text)))
        elif old.leaves[places[name]] != leaf:
            before = old.node(places[name])
            what = _CODE.get(leaf[:1]) if old.leaves[places[name]][:1] == leaf[:1] else None
            if what and not before.text and not new.node(number).text:
                found.append(
                    Difference("argument", name, note=f"another {what}, or other code of it")
                )
            else:
                found += _inside(name, before, new.node(number))
    for name, number in places.items():
        if name not in new.names:
            text = old.node(number).text or None
            found.append(Difference("parameter", name, old=text, note=_note("gone", text)))
    return found


_CODE = {b"q": "function", b"k": "class"}  # by what their leaves begin with


def _note(what: str, text: str | None) -> str:
    return what if text is None else f"{what}; it {'is' if what == 'new' else 'was'} {text}"


def _inside(name: str, old: Node, new: Node) -> list[Difference]:
    sure: list[Difference] = []
    for path, before, after, certain in compare(old, new):
        if certain:
            sure.append(_difference(name, path, before, after))
    if not sure:  # in what was cut off, or beyond what marks tell
        hidden = max(old.rest, new.rest)
        place = f"in one of {hidden} parts more, of which only a digest is kept" if hidden else ""
        if not hidden and old.kind == new.kind == OBJECT and old.parts and old.text == new.text:
            place = f"{new.text}, the same attributes; most likely its class has other code"
        sure = [_difference(name, "", old, new, place)]
    more = len(sure) - MANY
    if more > 0:
        sure[MANY:] = [Difference("argument", name, note=f"and at {more} more places")]
    return sure


def _difference(name: str, path: str, old: Node, new: Node, note: str = "") -> Difference:
    before, after = _shown(old), _shown(new)
    kind = "file" if _is_file(old) or _is_file(new) else "argument"
    if note:
        return Difference(kind, name, path, note=note)
    if new is _MISSING:
        return Difference(kind, name, path, before, None, note=_note("gone", before))
    if old is _MISSING:
        return Difference(kind, name, path, None, after, note=_note("new", after))
    if before is not None and before == after:
        if before == "(secret)":
            return Difference(kind, name, path, note="another value (secret)")
        what = "other content" if kind == "file" else "other values"
        return Difference(kind, name, path, before, after, note=f"{before}, {what}")
    return Difference(kind, name, path, before, after)


def _shown(node: Node) -> str | None:
    text = node.text
    return text if text else None


def _is_file(node: Node) -> bool:
    return node.kind == FILE


def compare(old: Node, new: Node, path: str = "") -> Iterator[tuple[str, Node, Node, bool]]:
    """The places at which two outlines differ: path, both nodes, whether it is certain."""
    if old.mark and new.mark and old.mark == new.mark:
        return
    alike = old.kind == new.kind and old.kind not in (None, DESCRIBED, FILE)
    if alike and old.kind == OBJECT:
        alike = old.value == new.value
    if not alike or not (old.parts and new.parts):
        yield path, old, new, bool(old.mark and new.mark) or old.kind != new.kind
        return
    befores, afters = dict(old.parts), dict(new.parts)
    for key, part in afters.items():
        step = path + _step(key, new.kind)
        if key in befores:
            yield from compare(befores[key], part, step)
        elif not old.rest:
            yield step, _MISSING, part, True
    for key, part in befores.items():
        if key not in afters and not new.rest:
            yield path + _step(key, old.kind), part, _MISSING, True


def _step(key: Any, kind: int | None) -> str:
    if type(key) is bytes:
        return "[...]"
    if kind == OBJECT:
        return f".{key}"
    if kind in (LIST, TUPLE):
        return f"[{key}]"
    return f"[{json.dumps(key, ensure_ascii=False) if type(key) is str else repr(key)}]"


# --- code -----------------------------------------------------------------------------------------

_Pair = tuple[str, "bytes | None", str, "bytes | None"]  # name and leaf, then and now


def code(old: Code | None, new: Code | None) -> list[Difference]:
    """What two code records differ in.

    Args:
        old, new: the records; None for one that is not kept.
    """
    if old is None or new is None:
        return [Difference("code", "", note="changed; what it was made of is not kept")]
    found = [
        _leaf_difference(pair, old.sources, new.sources)
        for pair in _changed(old.leaves, new.leaves)
    ]
    if bool(old.leaves) != bool(new.leaves):
        note = "counted in another way (code='closure', 'function' or 'name')"
        return [Difference("code", "", note=note)]
    if not found:
        found = [Difference("code", "", note="the way in which its parts hang together")]
    order = {"function": 0, "class": 0, "constant": 1, "distribution": 2}
    return sorted(found, key=lambda one: (order.get(one.kind, 3), one.name))


def _changed(old: Mapping[str, bytes], new: Mapping[str, bytes]) -> list[_Pair]:
    """What differs; what was moved or renamed is paired."""
    gone = {name: leaf for name, leaf in old.items() if new.get(name) != leaf}
    come = {name: leaf for name, leaf in new.items() if old.get(name) != leaf}
    pairs: list[_Pair] = []
    for name in list(come):
        before = name if name in gone else _namesake(name, gone)
        if before is not None:
            leaf, now = gone.pop(before), come.pop(name)
            if leaf != now:
                pairs.append((before, leaf, name, now))
    pairs += [(name, leaf, name, None) for name, leaf in gone.items()]
    pairs += [(name, None, name, leaf) for name, leaf in come.items()]
    return pairs


def _namesake(name: str, others: Mapping[str, bytes]) -> str | None:
    """Another version of a distribution, or the same name in another module.

    A script may be ``__main__`` or not.
    """
    label, space, _ = name.partition(" ")
    for other in others:
        if space and other.startswith(label + " "):
            return other
        if not space and " " not in other and _last(other) == _last(name):
            return other
    return None


def _last(name: str) -> str:
    """A name without the first part of its module's."""
    return name.partition(".")[2] or name


def _leaf_difference(
    pair: _Pair, before: Mapping[bytes, str], after: Mapping[bytes, str]
) -> Difference:
    label, old, name, new = pair
    was, now = before.get(old or b""), after.get(new or b"")
    if was is not None or now is not None:
        kind = "class" if _is_class(now or was or "") else "function"
        if was is None or now is None:
            note = ("new" if old is None else "gone") if (old is None or new is None) else ""
            return Difference(kind, name, note=note)
        return Difference(kind, name, diff=_unified(was, now))
    one, other = _distribution(label, old), _distribution(name, new)
    if one is not None or other is not None:
        return _versions(one, other)
    kind = "function" if _is_unit(old) or _is_unit(new) else "constant"
    if old is None or new is None:
        return Difference(kind, name, note="new" if old is None else "gone")
    if kind == "function":
        return Difference(kind, name, note="changed (there is no source to compare)")
    found = _inside(name, of_leaf(old), of_leaf(new))
    one_found = found[0]
    return Difference(kind, name, one_found.path, one_found.old, one_found.new, note=one_found.note)


def _versions(old: tuple[str, str] | None, new: tuple[str, str] | None) -> Difference:
    name = (new or old or ("", ""))[0]
    before, after = old and old[1], new and new[1]
    if before is None or after is None:
        note = f"new, {after}" if before is None else f"gone; it was {before}"
    else:
        note = f"{before}, other files" if before == after else ""
    return Difference("distribution", name, old=before, new=after, note=note)


def _distribution(name: str, leaf: bytes | None) -> tuple[str, str] | None:
    """(name, version), if this is an installed distribution; its entry is called ``name version``.

    Its leaf, a digest, has the tag of what counts by name.
    """
    if leaf is None or leaf[:1] not in (b"n", b"\xee") or _is_unit(leaf):
        return None
    label, space, version = name.partition(" ")
    return (label, version) if space else None


def _is_unit(leaf: bytes | None) -> bool:
    return leaf is not None and len(leaf) == 32  # a leaf of a value has a tag before its digest


def _is_class(source: str) -> bool:
    heads = re.findall(r"^(class|def|async def) ", source, re.MULTILINE)  # below its decorators
    return heads[:1] == ["class"]


def _unified(old: str, new: str) -> str:
    lines = difflib.unified_diff(
        old.splitlines(), new.splitlines(), "then", "now", lineterm="", n=2
    )  # fmt: skip
    return "\n".join(lines)
