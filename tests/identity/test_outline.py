"""What is kept of arguments for explanations: bounded, never a secret, and read from any bytes."""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import random
from collections import namedtuple
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import parsl_ckpt as pc
from parsl_ckpt.checkpoint import Store
from parsl_ckpt.checkpoint.format import Result
from parsl_ckpt.identity import leaf
from parsl_ckpt.identity.address import Addresser, Binder
from parsl_ckpt.identity.code import CodeIdentity
from parsl_ckpt.identity.outline import BUDGET, Node, of_leaf, read_outline
from parsl_ckpt.identity.preview import leaf_text, literal_of, parts_of, text_of
from parsl_ckpt.identity.privacy import Privacy
from parsl_ckpt.observe.differences import Side, arguments

LONG = "a text that is too long to stand in a leaf by itself"


def ends(text: str) -> str:
    return repr(f"{text[:16]}...{text[-45:]}")


def f(cfg: Any, other: Any = None) -> None: ...


def addresser(**privacy: Any) -> Addresser:
    hidden = Privacy(**privacy)
    if hidden.names:
        hidden = dataclasses.replace(hidden, key=b"k" * 32)
    return Addresser("f", CodeIdentity(f, "name"), Binder(f), privacy=hidden)


def kept(*args: Any, room: int | None = None, **privacy: Any) -> bytes:
    maker = addresser(**privacy)
    bound = maker.binder.bind(args, {})
    return maker.outline(maker.address(bound), bound, room)


def side(*args: Any) -> Side:
    maker = addresser()
    bound = maker.binder.bind(args, {})
    address = maker.address(bound)
    outline = read_outline(maker.outline(address, bound))
    return Side(address.code, "", address.names, address.leaves, outline)


def changes(old: Any, new: Any) -> list[str]:
    return [str(one) for one in arguments(side(old), side(new))]


@dataclasses.dataclass
class Optim:
    lr: float
    name: str = LONG


class Plain:
    def __init__(self, x: int) -> None:
        self.x = x
        self.rest = LONG


class Colour(enum.Enum):
    RED = 1


Point = namedtuple("Point", "x y text")


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ({"a": 1, "b": LONG}, {"a": 2, "b": LONG}, ['cfg["a"]: 1 → 2']),
        ([1, [2, LONG]], [1, [3, LONG]], ["cfg[1][0]: 2 → 3"]),
        ((LONG, None), (LONG, True), ["cfg[1]: None → True"]),
        (Optim(0.1), Optim(0.2), ["cfg.lr: 0.1 → 0.2"]),
        (Plain(1), Plain(2), ["cfg.x: 1 → 2"]),
        (Point(1, 2, LONG), Point(1, 3, LONG), ["cfg.y: 2 → 3"]),
        ({"o": Optim(0.1)}, {"o": Optim(0.3)}, ['cfg["o"].lr: 0.1 → 0.3']),
        ({1: LONG, 2: "x"}, {1: LONG, 2: "y"}, ["cfg[2]: 'x' → 'y'"]),
        ({"a": LONG}, {"a": LONG, "b": 3}, ['cfg["b"]: new; it is 3']),
        ({"a": LONG, "b": 3}, {"a": LONG}, ['cfg["b"]: gone; it was 3']),
        ({"a": LONG}, {"a": LONG + "!"}, [f'cfg["a"]: {LONG!r} → {LONG + "!"!r}']),
        ([1, 2], [1, 3], ["cfg[1]: 2 → 3"]),  # in the leaf itself
        (1, "x", ["cfg: 1 → 'x'"]),
        (LONG, 7, [f"cfg: {LONG!r} → 7"]),
        (LONG, LONG + "!", [f"cfg: {LONG!r} → {LONG + '!'!r}"]),
        (LONG * 9, LONG * 9 + "!", [f"cfg: {ends(LONG * 9)} → {ends(LONG * 9 + '!')}"]),
        (Path(LONG), Path("b"), [f"cfg: {LONG!r} → PosixPath('b')"]),
        (object, [LONG] * 3, ["cfg: builtins.object → list of 3"]),
        (
            {"a": [LONG, LONG]},
            {"a": 5, "b": LONG},
            ['cfg["a"]: list of 2 → 5', f'cfg["b"]: new; it is {LONG!r}'],
        ),
        ([LONG, Colour.RED], [LONG, None], ["cfg[1]: Colour.RED → None"]),
        (
            [LONG, decimal.Decimal("1.50")],
            [LONG, datetime.date(2026, 1, 31)],
            ["cfg[1]: Decimal('1.50') → date('2026-01-31')"],
        ),
        (list(range(100)), list(range(101)), ["cfg: list of 100 → list of 101"]),
        ([0.0] * 100, [1.0] * 100, ["cfg: list of 100, other values"]),
    ],
)
def test_what_changed_inside_an_argument_is_named(old: Any, new: Any, told: list[str]) -> None:
    assert changes(old, new) == told
    assert changes(old, old) == []


def test_arrays_are_told_by_type_and_shape() -> None:
    np = pytest.importorskip("numpy")
    assert changes(np.zeros(9), np.zeros((2, 3), "f4")) == ["cfg: float64 (9,) → float32 (2, 3)"]
    assert changes({"x": np.zeros(9)}, {"x": np.ones(9)}) == [
        'cfg["x"]: float64 (9,), other values'
    ]


def test_differences_beyond_what_is_kept_are_said_to_be_there() -> None:
    old = {f"parameter number {n}": n * 0.5 for n in range(60)}
    new = {**old, "parameter number 9": -1.0}
    (told,) = changes(old, new)
    assert "parts more, of which only a digest is kept" in told
    first = {**old, "parameter number 0": -1.0}
    assert changes(old, first) == ['cfg["parameter number 0"]: 0.0 → -1.0']


def test_many_differences_are_counted() -> None:
    old, new = (read_side([[n * sign for n in range(1, 50)], LONG]) for sign in (1, -1))
    told = [str(one) for one in arguments(old, new)]
    assert len(told) == 21 and told[0] == "cfg[0][0]: 1 → -1"
    assert told[-1] == "cfg: and at 29 more places"


def read_side(value: Any) -> Side:
    maker = addresser()
    address = maker.address(maker.binder.bind((value,), {}))
    outline = read_outline(maker.outline(address, room=10_000))
    return Side(address.code, "", address.names, address.leaves, outline)


def test_scalars_and_short_containers_have_no_outline() -> None:
    assert kept(1, "text") == kept([1, 2], {"a": 1}) == kept(None, "x") == b""


def test_a_value_that_contains_itself_has_no_outline() -> None:
    loop: list[Any] = [LONG]
    loop.append(loop)
    assert kept(loop) == b""


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=50) | st.binary(),
    lambda inner: st.lists(inner, max_size=8) | st.dictionaries(st.text(max_size=20), inner),
    max_leaves=60,
)


@given(VALUES, VALUES)
def test_leaves_and_outline_of_a_call_take_300_bytes_at_most(one: Any, other: Any) -> None:
    maker = addresser()
    address = maker.address(maker.binder.bind((one, other), {}))
    maker.outline(address)
    fields = address.code, address.names, address.leaves, address.outline
    assert len(msgspec.msgpack.encode(fields)) <= BUDGET
    for node in read_outline(address.outline).values():
        assert isinstance(node.text, str)


@given(VALUES, VALUES)
@settings(max_examples=50)
def test_equal_values_do_not_differ_and_others_do(one: Any, other: Any) -> None:
    assert changes(one, one) == []
    assert bool(changes(one, other)) == (leaf(one) != leaf(other))


@given(st.integers(0, 400))
@settings(max_examples=40)
def test_an_outline_stays_within_any_room(room: int) -> None:
    value = {"a": [1, 2, {"b": LONG, "c": 3.5}], "d": Optim(0.1), "e": "word", "f": (None, LONG)}
    assert len(kept(value, [LONG, 5], room=room)) <= room


@given(st.binary(max_size=200))
def test_any_bytes_are_read_as_an_outline_or_as_none(data: bytes) -> None:
    for node in read_outline(data).values():
        assert isinstance(node, Node) and isinstance(node.text, str)


@given(st.binary(min_size=1, max_size=40))
def test_any_bytes_are_read_as_a_leaf(data: bytes) -> None:
    assert isinstance(of_leaf(data).text, str) and isinstance(leaf_text(data), str)
    assert isinstance(text_of(data), str)


@given(VALUES)
def test_what_a_short_leaf_shows_is_the_value(value: Any) -> None:
    shown = leaf(value)
    known, found = literal_of(shown)
    if known:
        assert leaf(found) == shown
    elif parts_of(shown) is None or not text_of(shown):
        assert leaf_text(shown)
    elif "{" not in repr(value):  # whose order does not count
        assert text_of(shown) == repr(value) or "nan" in repr(value)


def test_a_secret_parameter_has_no_outline() -> None:
    assert kept({"token": 1, "b": LONG}, names=frozenset({"cfg"})) == b""


def test_a_secret_inside_an_argument_counts_by_a_keyed_digest() -> None:
    secret = frozenset({"token"})
    value = {"token": "hush", "b": LONG, "o": Optim(0.1, "hush")}
    data = kept(value, names=secret | {"name"})
    assert b"hush" not in data and b"token" in data
    token = dict(read_outline(data)[0].parts)["token"]
    assert not token.clear and token.mark
    open_token = dict(read_outline(kept({**value, "token": LONG}))[0].parts)["token"]
    assert open_token.mark != token.mark  # it cannot be guessed by trying


def test_without_previews_there_are_digests_only() -> None:
    data = kept({"word": "hush", "o": Optim(0.1), "n": 12345678901}, previews=False)

    def check(plain: Any) -> None:
        if isinstance(plain, list):
            for part in plain[1:]:
                check(part)
        else:
            assert isinstance(plain, bytes) or plain == ""

    found = msgspec.msgpack.decode(data)
    assert isinstance(found[1], list) and found[0] == 0
    check(found[1])


def test_an_attribute_that_raises_costs_the_outline_only() -> None:
    class Moody:
        def __init__(self) -> None:
            self.text = LONG

        def __getattribute__(self, name: str) -> Any:
            if name == "text":
                raise RuntimeError
            return object.__getattribute__(self, name)

    assert isinstance(kept([Moody(), LONG]), bytes)


def test_bytes_of_a_whole_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A call of two parameters, one of them a configuration: what its record takes."""
    monkeypatch.chdir(tmp_path)
    rng = random.Random(0)
    cfg = {
        "optim": {"name": "adam", "lr": 0.001, "betas": [0.9, 0.999]},
        "data": {"path": "/data/" + "x" * 60, "batch": 32, "shuffle": True},
        "layers": [rng.randrange(512) for _ in range(20)],
    }
    with pc.load(pc.Config(checkpoint_mode="task_exit")):
        pc.python_app(cache=True, code="name")(f)(cfg, 3).result()
    with Store.open(None, sources=["runinfo/000/checkpoint"]) as store:
        (record,) = [r for _, _, r in store.records() if isinstance(r, Result)]
    explaining = record.code, record.names, record.leaves, record.outline, record.tid
    assert len(msgspec.msgpack.encode(explaining)) <= 300
    assert len(record.outline) > 100  # and it says something
    bare = dataclass_free(record)
    assert len(msgspec.msgpack.encode(record)) - len(msgspec.msgpack.encode(bare)) <= 240


def dataclass_free(record: Result) -> Result:
    return msgspec.structs.replace(record, outline=b"", tid=-1)


def test_a_call_without_containers_takes_three_bytes_more(tmp_path: Path) -> None:
    with Store.open(tmp_path / "store") as store:
        entry = store.stage(store.encode(1), key=b"k" * 32, tid=5)
    fields = msgspec.msgpack.decode(entry.payload)
    assert len(fields) == 18
    assert len(msgspec.msgpack.encode(fields[16:])) - 1 == 3


def test_nothing_is_outlined_for_a_hit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from parsl_ckpt.identity import address

    monkeypatch.chdir(tmp_path)
    app = pc.python_app(cache=True, code="name")(f)
    with pc.load(pc.Config(checkpoint_mode="task_exit")):
        app({"a": LONG}).result()
        monkeypatch.setattr(address, "outline", lambda *args: pytest.fail("outlined"))
        app({"a": LONG}).result()
