"""Components as a graph of names: what is wrong with it, and an order in which to run it.

Rule of this file: pure functions over (name, dependencies) pairs, of which any may be wrong; places
are told as positions, and nothing is raised.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple


class Node(NamedTuple):
    """A component as far as the graph goes."""

    name: str
    depends_on: Sequence[str] = ()


class Fault(NamedTuple):
    """Something wrong with the graph: of the component at ``at``, in its field ``field``."""

    at: int
    field: str
    text: str


def faults(nodes: Sequence[Node]) -> list[Fault]:
    """All that is wrong with a graph, in the order of its components.

    >>> [fault.text for fault in faults([Node("a", ["b"]), Node("b", ["a"])])]
    ['is in a circle of dependencies: a -> b -> a']
    """
    found: list[Fault] = []
    first: dict[str, int] = {}
    for index, node in enumerate(nodes):
        if node.name in first:
            text = f"has the name {node.name!r}, which components[{first[node.name]}] has already"
            found.append(Fault(index, "name", text))
        first.setdefault(node.name, index)
    for index, node in enumerate(nodes):
        seen: set[str] = set()
        for place, name in enumerate(node.depends_on):
            field = f"depends_on[{place}]"
            if name in seen:
                found.append(Fault(index, field, f"names {name!r} a second time"))
            elif name not in first:
                found.append(Fault(index, field, f"is {name!r}, {_unknown(name, first)}"))
            seen.add(name)
    for circle in circles(nodes):
        path = " -> ".join([*circle, circle[0]])
        text = f"is in a circle of dependencies: {path}"
        found.append(Fault(first[circle[0]], "depends_on", text))
    return sorted(found, key=lambda fault: fault.at)


def order(nodes: Sequence[Node]) -> list[str]:
    """The names in an order in which each comes after what it depends on, else as they are listed.

    >>> order([Node("load", ["clean"]), Node("read"), Node("clean", ["read"])])
    ['read', 'clean', 'load']
    """
    places = {node.name: place for place, node in enumerate(nodes)}
    missing = [len(set(node.depends_on)) for node in nodes]
    dependants: dict[str, list[int]] = {}
    for place, node in enumerate(nodes):
        for name in set(node.depends_on):
            dependants.setdefault(name, []).append(place)
    ready = [place for place in places.values() if not missing[place]]
    heapq.heapify(ready)
    found: list[str] = []
    while ready:
        name = nodes[heapq.heappop(ready)].name
        found.append(name)
        for place in dependants.get(name, ()):
            missing[place] -= 1
            if not missing[place]:
                heapq.heappush(ready, place)
    return found


def circles(nodes: Sequence[Node]) -> list[list[str]]:
    """One circle for each knot of components that wait for one another, beginning with the one that
    is listed first."""
    places: dict[str, int] = {}
    for place, node in enumerate(nodes):
        places.setdefault(node.name, place)
    edges = {
        nodes[at].name: [n for n in nodes[at].depends_on if n in places] for at in places.values()
    }
    done: set[str] = set()
    found = []
    for root in edges:
        circle = _circle(root, edges, done)
        if circle:
            at = circle.index(min(circle, key=places.__getitem__))
            found.append(circle[at:] + circle[:at])
    return found


def _circle(root: str, edges: Mapping[str, Sequence[str]], done: set[str]) -> list[str]:
    """The first circle on a walk from ``root``; everything that is reached is done afterwards."""
    if root in done:
        return []
    found: list[str] = []
    path: dict[str, Iterator[str]] = {root: iter(edges[root])}
    while path:
        name = next(reversed(path))
        following = next(path[name], None)
        if following is None:
            done.add(name)
            del path[name]
        elif following in path and not found:
            names = list(path)
            found = names[names.index(following) :]
        elif following not in done and following not in path:
            path[following] = iter(edges[following])
    return found


def _unknown(name: str, known: Mapping[str, int]) -> str:
    import difflib

    near = difflib.get_close_matches(name, known, n=1)
    return "which is no component of this pipeline" + (f"; is {near[0]!r} meant?" if near else "")
