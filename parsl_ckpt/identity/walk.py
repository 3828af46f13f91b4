"""From the parts of a value to its leaf: one Merkle tree, whatever the value is made of.

Rule of this file: it knows bytes and graphs, not types. A *leaf* is the identity of one value in at
most 40 bytes. It begins with a tag; if the canonical encoding fits, it is the encoding itself, else
the tag with its high bit set and the blake3 digest of the encoding. A container is encoded as the
framed leaves of its parts, so a shared part is digested once, and a part whose leaf is known
already (:class:`Known`) stands for the value itself.

Cycles.  A value that contains itself has no finite encoding, but it is determined by its infinite
unfolding.  Each strongly connected component is refined, as automata are minimised: all its nodes
start alike, those whose parts have different names get different names, and when nothing is
separated further, a node is its name together with the table of all names.  That does not depend on
where the walk entered or on the order of sets; back references by depth would take exponential time
in entangled graphs.  (Source of the idea: Hopcroft's minimisation of automata; colour refinement.)
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from blake3 import blake3

INLINE = 40
"""Longest leaf in bytes: what is longer is digested."""

ORDERED, SORTED, PAIRS = 0, 1, 2
"""How parts are arranged: in order; as a multiset; as key, value, key, value in any order."""

Expansion = tuple[bytes, int, Sequence[Any]]
"""Tag, arrangement and parts of a value."""

Expanded = bytes | Expansion
"""What expanding a value gives: its leaf at once, or its parts."""

FRAME = [bytes([n]) for n in range(256)]
"""A leaf inside a container is preceded by its length."""

_LONG = [bytes([n | 0x80]) for n in range(128)]
_PARALLEL = 1 << 20
_threads = blake3.AUTO


def _single_threaded() -> None:
    """A forked child has blake3's thread pool without its threads, and would wait for ever."""
    global _threads
    _threads = 1


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_single_threaded)


class Known:
    """A placeholder for a value whose leaf is already known.

    ``leaf(Known(b)) == b``, at any depth: ``leaf([Known(leaf(x)), 2]) == leaf([x, 2])``.

    Args:
        leaf: the leaf of the value that this stands for, 1 to 255 bytes.
    """

    __slots__ = ("leaf",)

    def __init__(self, leaf: bytes) -> None:
        self.leaf = leaf

    def __repr__(self) -> str:
        return f"Known({self.leaf.hex()})"


def seal(tag: bytes, stream: bytes) -> bytes:
    """The leaf of an encoding: itself when short, else its digest.

    Args:
        tag: one byte below 0x80.
        stream: the rest of the canonical encoding.

    Returns:
        At most ``INLINE`` bytes.
    """
    size = len(stream)
    if size < INLINE:
        return tag + stream
    if size < 65536:
        return _LONG[tag[0]] + blake3(tag + stream).digest()
    return seal_buffers(tag, (stream,))


def seal_buffers(tag: bytes, buffers: Iterable[Any]) -> bytes:
    """The leaf of a long encoding given in pieces, which are not copied.

    Always a digest.  The same as :func:`seal` of the pieces joined if that is long.
    """
    hasher = blake3(tag, max_threads=_threads)
    for buffer in buffers:
        hasher.update(buffer)
    return _LONG[tag[0]] + hasher.digest()


def digest_of(*parts: bytes) -> bytes:
    """blake3 over parts of any length, framed so that their borders count."""
    return blake3(b"".join([b"%d:" % len(part) + part for part in parts])).digest()


def join_leaves(leaves: Iterable[bytes]) -> bytes:
    """The stream of an ordered container."""
    frame = FRAME
    return b"".join([frame[len(part)] + part for part in leaves])


def combine(tag: bytes, arrangement: int, leaves: Sequence[bytes]) -> bytes:
    """The leaf of a container from the leaves of its parts."""
    if arrangement == SORTED:
        leaves = sorted(leaves)
    elif arrangement == PAIRS:
        leaves = [part for pair in sorted(zip(leaves[::2], leaves[1::2])) for part in pair]  # noqa: B905
    return seal(tag, join_leaves(leaves))


class _Node:
    """One value in the walk of a graph."""

    __slots__ = ("arrangement", "index", "leaf", "low", "open", "parts", "tag", "value")

    def __init__(self, value: Any, index: int) -> None:
        self.value = value  # keeps it alive: nodes are known by id()
        self.index = self.low = index
        self.open = True  # its component is not complete
        self.leaf: bytes | None = None
        self.tag = b""
        self.arrangement = ORDERED
        self.parts: list[bytes | _Node] = []


def graph_leaf(root: Any, expand: Callable[[Any], Expanded], limit: int = 0) -> bytes:
    """The leaf of a value that may contain itself, or be nested more deeply than the stack.

    Args:
        root: the value.
        expand: gives the leaf of a value, or its parts.
        limit: how many nodes to visit before giving up with ``RecursionError`` (0: no limit).

    Returns:
        For a value without cycles, the very leaf that a recursive walk gives.
    """
    nodes: dict[int, _Node] = {}
    path: list[_Node] = []  # Tarjan's stack
    work: list[tuple[_Node, list[Any], int]] = []

    def enter(value: Any) -> bytes | _Node:
        """Begin a node, unless its leaf is known at once."""
        node = nodes.get(id(value))
        if node is not None:
            return node.leaf or node
        expanded = expand(value)
        if isinstance(expanded, bytes):
            return expanded
        if limit and len(nodes) >= limit:
            raise RecursionError
        node = nodes[id(value)] = _Node(value, len(nodes))
        node.tag, node.arrangement, children = expanded
        path.append(node)
        work.append((node, list(children), 0))
        return node

    first = enter(root)
    while work:
        node, children, position = work.pop()
        parts = node.parts
        if position:  # the child before has been walked
            child = parts[-1]
            if type(child) is _Node:
                if child.open:
                    node.low = min(node.low, child.low)
                else:
                    parts[-1] = child.leaf  # type: ignore[assignment]
        descended = False
        for position in range(position, len(children)):  # noqa: B020 - resumes where it stopped
            before = len(work)
            part = enter(children[position])
            parts.append(part)
            if type(part) is not _Node:
                continue
            if len(work) > before:  # a new one: it comes first
                work.insert(before, (node, children, position + 1))
                descended = True
                break
            node.low = min(node.low, part.index)
        if descended or node.low != node.index:
            continue
        start = len(path) - 1
        while path[start] is not node:
            start -= 1
        component = path[start:]
        del path[start:]
        _close(component)
    return first if type(first) is bytes else first.leaf  # type: ignore[return-value, union-attr]


def _close(component: list[_Node]) -> None:
    """Give a complete component its leaves."""
    only = component[0]
    if len(component) == 1 and only not in only.parts:
        only.leaf = combine(only.tag, only.arrangement, [_leaf_of(part) for part in only.parts])
        only.open = False
        only.parts = []
        return
    names, moves = _refine(component)
    # Names are the states, moves their transitions: the table is the whole automaton.
    rows = {names[key] + moves[key] + FRAME[len(moves[key])] for key in names}
    table = digest_of(*sorted(rows))
    for node in component:
        node.leaf = seal(b"C", join_leaves((names[id(node)] or b"-", table)))
    for node in component:
        node.open = False
        node.parts = []


def _refine(component: list[_Node]) -> tuple[dict[int, bytes], dict[int, bytes]]:
    """Names that are equal exactly for nodes with the same unfolding, and what each leads to.

    Only nodes next to a renamed one are looked at again, and when a class splits its largest part
    keeps the name (if one is the largest), so that each node is renamed O(log n) times (Hopcroft).
    """
    names = {id(node): b"" for node in component}  # no leaf is empty
    moves: dict[int, bytes] = {}
    parents: dict[int, list[_Node]] = {}
    for node in component:
        for part in node.parts:
            if type(part) is _Node and part.open:
                parents.setdefault(id(part), []).append(node)
    sizes = {b"": len(component)}
    dirty = {id(node): node for node in component}
    turn = 0
    while dirty:
        turn += 1
        split: dict[bytes, dict[bytes, list[_Node]]] = {}
        for key, node in dirty.items():
            parts = [_name_of(part, names) for part in node.parts]
            moves[key] = combine(node.tag, node.arrangement, parts)
            split.setdefault(names[key], {}).setdefault(moves[key], []).append(node)
        dirty = {}
        for name, groups in split.items():
            unmoved = sizes[name] - sum(map(len, groups.values()))
            if len(groups) + bool(unmoved) == 1:
                continue
            largest = max(unmoved, *map(len, groups.values()))
            alone = [unmoved, *map(len, groups.values())].count(largest) == 1
            for move, group in groups.items():
                if alone and len(group) == largest:
                    continue
                fresh = digest_of(b"%d" % turn, name, move)
                sizes[name] -= len(group)
                sizes[fresh] = len(group)
                for node in group:
                    names[id(node)] = fresh
                    for parent in parents[id(node)]:
                        dirty[id(parent)] = parent
    return names, moves


def _name_of(part: bytes | _Node, names: dict[int, bytes]) -> bytes:
    if type(part) is bytes:
        return part
    return names[id(part)] if part.open else part.leaf  # type: ignore[union-attr, return-value]


def _leaf_of(part: bytes | _Node) -> bytes:
    return part if type(part) is bytes else part.leaf  # type: ignore[return-value, union-attr]
