"""Results as a table: which calls are rows, what stands in the columns, what files hold."""

from __future__ import annotations

import csv
import dataclasses
import datetime as dt
import decimal
import enum
import io
import math
import os
import subprocess
import sys
import uuid
from collections import namedtuple
from pathlib import Path

import pytest

import parsl_ckpt as pc
from parsl_ckpt.checkpoint import Store
from parsl_ckpt.errors import (
    AppDefinitionError,
    CacheKeyError,
    ConfigurationError,
    MissingLibraryError,
    NotAnAppError,
    NotRecordedError,
    TableError,
)
from parsl_ckpt.identity.recover import Abbreviated
from parsl_ckpt.kernel.problems import CheckpointWarning
from parsl_ckpt.observe import tables


@dataclasses.dataclass
class Fit:
    slope: float
    loss: float


Pair = namedtuple("Pair", "left right")


class Colour(enum.Enum):
    RED = 1


@pc.python_app(cache=True)
def echo(x):
    return x


@pc.python_app(cache=True, ignore_for_cache=["verbose"])
def simulate(rate, steps=10, *, seed=0, verbose=False):
    if rate < 0:
        raise ValueError(f"no rate {rate}")
    return {"score": rate * steps, "seed": seed}


@pytest.fixture
def config(tmp_path):
    def make(**fields):
        fields = {"checkpoint_mode": "task_exit", "run_dir": str(tmp_path / "runinfo"), **fields}
        return pc.Config(executors=[pc.ThreadPoolExecutor(max_workers=1)], **fields)

    return make


@pytest.fixture
def dfk(config):
    with pc.load(config()) as kernel:
        yield kernel


def row_of(dfk, value):
    echo(value).result()
    (row,) = dfk.results(echo)
    return row


# --- which calls are rows -------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["task_exit", "dfk_exit", "manual", None])
def test_each_recorded_call_is_one_row_whenever_it_is_written(config, mode):
    with pc.load(config(checkpoint_mode=mode)) as dfk:
        for rate in (0.5, 1.5, 0.5):
            simulate(rate).result()
        assert list(dfk.results(simulate)) == [
            {"rate": 0.5, "steps": 10, "seed": 0, "score": 5.0, "value.seed": 0},
            {"rate": 1.5, "steps": 10, "seed": 0, "score": 15.0, "value.seed": 0},
        ]


def test_a_later_run_and_a_program_without_a_kernel_see_the_same(config, tmp_path):
    with pc.load(config()) as first:
        simulate(1.0).result()
        expected = list(first.results("simulate"))
    with pc.load(config()) as second:
        simulate(2.0).result()
        assert second.results(simulate)[0] == expected[0]
        assert len(second.results(simulate)) == 2
    assert len(second.results(simulate)) == 2  # after the end, too
    assert [row["rate"] for row in pc.results("simulate", tmp_path / "runinfo")] == [1.0, 2.0]
    (row,) = pc.results(simulate, tmp_path / "runinfo", runs=["1"])
    assert row["rate"] == 2.0


def test_the_newest_record_of_a_call_is_its_row(dfk):
    @pc.python_app(cache=True, code="function")
    def count(x):
        return next(numbers)

    numbers = iter(range(10))
    count(1).result()
    count(2).result()
    count.fresh(1).result()
    assert [(row["x"], row["value"]) for row in dfk.results(count)] == [(2, 1), (1, 2)]


def test_what_was_removed_is_no_row(dfk):
    for rate in (1.0, 2.0, 3.0):
        simulate(rate).result()
    simulate.forget(2.0)
    assert [row["rate"] for row in dfk.results(simulate)] == [1.0, 3.0]
    dfk.invalidate("simulate")
    assert list(dfk.results(simulate)) == []


def app_of(text):
    found = {"pc": pc}
    exec(text, found)
    return found["work"]


OLD = "@pc.python_app(cache=True)\ndef work(x):\n    return x + 1\n"
NEW = "@pc.python_app(cache=True)\ndef work(x):\n    return x + 2\n"


def test_calls_under_an_earlier_code_are_left_out_and_counted(dfk, tmp_path):
    old, new = app_of(OLD), app_of(NEW)
    for x in range(3):
        old(x).result()
    new(0).result()
    table = dfk.results(new)
    assert [row["value"] for row in table] == [2]
    assert table.left_out == 3
    assert [row["value"] for row in dfk.results(old)] == [1, 2, 3]
    assert [row["value"] for row in dfk.results("work")] == [2]  # that of the newest record
    every = list(dfk.results(new, code="all"))
    assert [row["value"] for row in every] == [1, 2, 3, 2]
    assert len({row["call.code"] for row in every}) == 2


def test_nothing_under_the_code_as_it_is_now_is_worth_a_warning(dfk):
    app_of(OLD)(1).result()
    with pytest.warns(CheckpointWarning, match="1 records of it are of another code"):
        assert list(dfk.results(app_of(NEW))) == []


def test_a_version_counts_as_a_code(dfk):
    two = OLD.replace("cache=True", "cache=True, version='2'")
    app_of(OLD)(1).result()
    app_of(two)(1).result()
    every = list(dfk.results("work", code="all"))
    assert [row.get("call.version") for row in every] == [None, "2"]
    assert len(dfk.results("work")) == 1


def test_blessed_calls_are_rows_of_the_new_code(dfk):
    old, new = app_of(OLD), app_of(OLD.replace("x + 1", "1 + x"))
    old(1).result()
    old(2).result()
    dfk.bless(new)
    new(3).result()
    assert [row["value"] for row in dfk.results(new)] == [2, 3, 4]
    assert dfk.results(new).left_out == 0


def test_failures_are_rows_if_they_are_asked_for_until_the_call_succeeds(dfk):
    simulate(1.0).result()
    simulate(-1.0).exception()
    simulate(-1.0).exception()
    assert len(dfk.results(simulate)) == 1
    row = list(dfk.results(simulate, failures=True))[1]
    assert (row["rate"], row["call.error"]) == (-1.0, "ValueError: no rate -1.0")
    assert "score" not in row

    attempts = []

    @pc.python_app(cache=True, code="function")
    def flaky(x):
        attempts.append(x)
        if len(attempts) == 1:
            raise OSError("not yet")
        return x

    flaky(1).exception()
    flaky(1).result()
    assert list(dfk.results(flaky, failures=True)) == [{"x": 1, "value": 1}]


def test_details_tell_of_the_call(dfk):
    future = simulate(1.0)
    future.result()
    (row,) = dfk.results(simulate, details=True)
    assert row["call.key"] == simulate.key(1.0)
    assert (row["call.run"], row["call.task"], row["call.tries"]) == ("000", future.tid, 1)
    assert row["call.began"] <= dt.datetime.now(dt.timezone.utc)
    assert row["call.seconds"] >= 0


def test_rows_are_found_by_position_and_all_at_once(dfk):
    for rate in (1.0, 2.0):
        simulate(rate).result()
    table = dfk.results(simulate)
    assert table[-1] == table[1] == table.rows()[1]
    assert repr(table) == "<Results of simulate>"
    with pytest.raises(IndexError, match="has 2 rows"):
        table[2]


# --- what stands in the columns -------------------------------------------------------------------

KEPT = [
    0, -(1 << 80), 1.5, -0.0, "text", "", "line\n" * 20, "=1+1", "ü" * 50, b"bytes", True, None,
    (1, "a"), [1, [2.5]], {"a": 1, "b": [None]}, dt.date(2026, 1, 31), 2 + 3j,
    dt.datetime(2026, 1, 31, 12, 30, 15, 250), dt.datetime(2026, 1, 31, tzinfo=dt.timezone.utc),
    dt.timedelta(days=2, microseconds=5), decimal.Decimal("1.50"), uuid.UUID(int=7),
    Path("data/a.csv"), Path("/data/experiments/2026-01-31/measurements.csv"), range(3),
    "https://example.org/a/rather/long/address/of/a/data/set.csv?version=3&format=csv",
    list(range(20)), {"optim": {"lr": 0.1, "name": "sgd"}, "steps": 20, "data": "somewhere"},
]  # fmt: skip


@pytest.mark.parametrize("value", KEPT, ids=lambda value: repr(value)[:40])
def test_an_argument_comes_back_as_it_was(dfk, value):
    found = row_of(dfk, value)["x"]
    assert (type(found), found) == (type(value), value)


def test_a_nan_is_a_nan(dfk):
    row = row_of(dfk, math.nan)
    assert math.isnan(row["x"]) and math.isnan(row["value"])


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({1, 2}, "{1, 2}"),
        (Colour.RED, "Colour.RED"),
        (Fit(1.0, 2.0), "Fit(slope=1.0, loss=2.0)"),
    ],
)
def test_what_is_no_plain_value_is_described(dfk, value, text):
    echo(value).result()
    (row,) = dfk.results(echo, flatten=False)
    assert row["x"] == text


def test_a_file_is_its_path(dfk, tmp_path):
    path = tmp_path / "input.txt"
    path.write_text("content")

    @pc.python_app(cache=True)
    def size(file):
        return Path(file).stat().st_size

    size(pc.File(str(path))).result()
    assert list(dfk.results(size)) == [{"file": str(path), "value": 7}]


def test_numpy_scalars_are_numbers(dfk):
    np = pytest.importorskip("numpy")
    for value in (np.float64(0.5), np.float32(0.25), np.int16(-3), np.uint8(7), np.bool_(True)):
        echo(value).result()
    found = [row["x"] for row in dfk.results(echo)]
    assert found == [0.5, 0.25, -3, 7, True]
    assert {type(one) for one in found} == {float, int, bool}


@pytest.mark.parametrize("value", [list(range(100)), "x" * 5000, {str(i): i for i in range(100)}])
def test_what_was_too_large_is_an_abbreviation_that_tells_it_from_others(dfk, value):
    other = value[1:] if not isinstance(value, dict) else {**value, "0": -1}
    for one in (value, other):
        echo(one).result()
    one, two = (row["x"] for row in dfk.results(echo, flatten=False))
    assert type(one) is Abbreviated and one.startswith("<") and "#" in one
    assert len(one) < 100 and one != two and one.digest != two.digest


@pytest.mark.parametrize("kind", ["threads", "processes"])
def test_an_app_may_keep_its_arguments(config, tmp_path, kind):
    @pc.python_app(cache=True, keep_arguments=True, secret={"token"})
    def train(options, text, token, size=1):
        options.clear()  # what a call does to its arguments is not what it was called with
        return size

    options = {f"option{i}": i / 3 for i in range(100)}
    executor = pc.ProcessPoolExecutor if kind == "processes" else pc.ThreadPoolExecutor
    fields = config()
    fields.executors = [executor(max_workers=1)]
    with pc.load(fields) as dfk:
        train(dict(options), "x" * 5000, "hush" * 100).result()
        (row,) = dfk.results(train)
    assert row["text"] == "x" * 5000
    assert row["token"].startswith("<secret #")
    if kind == "processes":
        assert row["options"] == options
    else:  # the very object that was changed: it is not what the record says
        assert type(row["options"]) is Abbreviated
    assert [one["text"] for one in pc.results("train", tmp_path / "runinfo")] == ["x" * 5000]
    store = b"".join(path.read_bytes() for path in tmp_path.rglob("*.seg"))
    assert b"hush" not in store


def test_what_is_kept_is_bounded_and_previews_come_first(config):
    @pc.python_app(cache=True, keep_arguments=True)
    def measure(text):
        return len(text)

    with pc.load(config()) as dfk:
        measure("x" * (2 << 20)).result()
        assert type(dfk.results(measure)[0]["text"]) is Abbreviated
    with pc.load(config(previews=False)) as dfk:
        measure("y" * 5000).result()
        assert type(dfk.results(measure)[1]["text"]) is Abbreviated


def test_keeping_arguments_is_about_recorded_calls():
    with pytest.raises(AppDefinitionError, match="keep_arguments is about recorded outcomes"):
        pc.python_app(keep_arguments=True)(abs)


def test_secrets_are_not_told_and_told_apart(dfk):
    @pc.python_app(cache=True, secret={"token"})
    def login(user, token):
        return user

    for token in ("hush", "hush", "quiet"):
        login("me", token).result()
    one, two = (row["token"] for row in dfk.results(login))
    assert one != two and one.startswith("<secret #")
    assert "hush" not in repr(list(dfk.results(login, details=True)))


def test_secrets_among_keywords_are_not_told(dfk):
    @pc.python_app(cache=True, secret={"token"})
    def login(user, **options):
        return user

    login("me", token="hush", retries=3).result()
    login("me", retries=3).result()
    one, two = (row["options"] for row in dfk.results(login))
    assert type(one) is Abbreviated and "hush" not in one
    assert two == {"retries": 3}


def test_without_previews_no_argument_is_told(config):
    with pc.load(config(previews=False)) as dfk:
        simulate(0.5).result()
        (row,) = dfk.results(simulate)
    assert {type(row[name]) for name in ("rate", "steps", "seed")} == {Abbreviated}


def test_parameters_that_do_not_count_have_no_column(dfk):
    simulate(1.0, verbose=True).result()
    assert "verbose" not in dfk.results(simulate)[0]


@pytest.mark.parametrize(
    ("value", "columns"),
    [
        ({"loss": 0.5}, {"loss": 0.5}),
        (Fit(1.0, 0.5), {"slope": 1.0, "loss": 0.5}),
        (Pair(1, "a"), {"left": 1, "right": "a"}),
        ({"fit": Fit(1.0, 2.0), "n": {"deep": {"er": 1}}},
         {"fit.slope": 1.0, "fit.loss": 2.0, "n.deep.er": 1}),
        ({"x": 5}, {"value.x": 5}),
        ({"value": 5, "value.x": 6, "call.key": 7},
         {"value": 5, "value.value.x": 6, "value.call.key": 7}),
        ({"a.b": 1, "a": {"b": 2}}, {"a.b": 1, "a": {"b": 2}}),
        ({1: "a"}, {"value": {1: "a"}}),
        ({}, {"value": {}}),
        ([1, 2], {"value": [1, 2]}),
        (Fit, {"value": Fit}),
        ({str(i): i for i in range(1000)}, {"value": {str(i): i for i in range(1000)}}),
    ],
)  # fmt: skip
def test_a_value_with_fields_is_one_column_for_each(dfk, value, columns):
    @pc.python_app(cache=True, code="name")
    def give(x):
        return value

    give(1).result()
    (row,) = dfk.results(give)
    assert row == {"x": 1, **columns}
    (whole,) = dfk.results(give, flatten=False)
    assert whole == {"x": 1, "value": value}


def test_a_parameter_named_value_keeps_its_name(dfk):
    @pc.python_app(cache=True)
    def next_one(value):
        return value + 1

    next_one(1).result()
    assert list(dfk.results(next_one)) == [{"value": 1, "value.value": 2}]


def test_values_are_decoded_when_their_row_is_looked_at(dfk, monkeypatch):
    for rate in (1.0, 2.0, 3.0):
        simulate(rate).result()
    table = dfk.results(simulate)
    decoded = []
    value = Store.value
    monkeypatch.setattr(Store, "value", lambda *a, **k: decoded.append(1) or value(*a, **k))
    rows = iter(table)
    assert (len(table), decoded) == (3, [])
    next(rows)
    assert decoded == [1]


def test_a_value_that_cannot_be_read_is_told_in_its_row(config, tmp_path):
    with pc.load(config()):
        echo(os.urandom(3_000_000)).result()
        echo(1).result()
    (blob,) = (tmp_path / "runinfo").glob("000/checkpoint/blobs/*/*")
    blob.unlink()
    one, two = pc.results(echo, tmp_path / "runinfo")
    assert "value" not in one and "blob" in one["call.error"]
    assert two == {"x": 1, "value": 1}


def test_without_pickle_a_pickled_value_is_told_in_its_row(config, tmp_path):
    with pc.load(config()):
        echo(Pair(1, 2)).result()
    (row,) = pc.results("echo", tmp_path / "runinfo", pickle=False)
    assert "pickle is not allowed" in row["call.error"]


def test_a_dataclass_that_is_not_there_any_more_still_has_its_fields(config, tmp_path):
    found = {"pc": pc, "dataclasses": dataclasses, "__name__": "gone"}
    module = type(sys)("gone")
    sys.modules["gone"] = module
    module.__dict__.update(found)
    try:
        exec(
            "@dataclasses.dataclass\nclass Point:\n    x: int\n    y: int\n"
            "@pc.python_app(cache=True)\ndef point(n):\n    return Point(n, 2)\n",
            module.__dict__,
        )
        with pc.load(config()):
            module.point(1).result()
    finally:
        del sys.modules["gone"]
    for pickle in (True, False):
        (row,) = pc.results("point", tmp_path / "runinfo", pickle=pickle)
        assert row == {"n": 1, "x": 1, "y": 2}


# --- what is wrong --------------------------------------------------------------------------------


def test_an_app_that_is_not_cached_has_no_results(dfk):
    with pytest.raises(CacheKeyError, match="not cached") as caught:
        dfk.results(pc.python_app(abs))
    assert "cache=True" in caught.value.hint


def test_what_is_no_app_has_no_results(dfk):
    with pytest.raises(NotAnAppError, match="no app"):
        dfk.results(len)


def test_a_name_of_which_nothing_is_recorded_is_an_error_that_lists_others(dfk):
    with pytest.raises(NotRecordedError, match="There are no results at all"):
        list(dfk.results("simulat"))
    simulate(1.0).result()
    with pytest.raises(NotRecordedError, match=r"'simulat'.*There are results of: simulate"):
        len(dfk.results("simulat"))
    assert list(dfk.results(echo)) == []  # the app itself is no misspelling


def test_a_checkpoint_that_is_not_trusted_is_told(config, tmp_path):
    with pc.load(config()):
        simulate(1.0).result()
    (tmp_path / "runinfo" / "000" / "checkpoint").chmod(0o777)
    with pytest.raises(NotRecordedError, match="is left out"):
        list(pc.results("simulate", tmp_path / "runinfo"))


def test_a_run_that_lives_is_read_by_others(config, tmp_path):
    with pc.load(config()):
        simulate(1.0).result()
        root = str(tmp_path / "runinfo")
        program = f"import parsl_ckpt as pc; print(*pc.results('simulate', {root!r}))"
        path = os.pathsep.join(part for part in sys.path if part)
        done = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, timeout=60,
            env={**os.environ, "PYTHONPATH": path},
        )  # fmt: skip
    assert "'score': 10.0" in done.stdout, done.stderr


def test_a_code_that_is_not_known_is_refused(dfk):
    with pytest.raises(ConfigurationError, match="code='old'"):
        dfk.results(simulate, code="old")


# --- CSV ------------------------------------------------------------------------------------------


def csv_of(table, **options):
    file = io.StringIO(newline="")
    table.to_csv(file, **options)
    file.seek(0)
    return list(csv.reader(file))


def test_csv_has_a_line_for_each_call_and_a_column_for_whatever_a_value_has(dfk, tmp_path):
    @pc.python_app(cache=True)
    def give(x):
        return [{"a": 1}, Fit(0.5, math.nan), 7, None][x]

    for x in range(4):
        give(x).result()
    path = tmp_path / "give.csv"
    assert dfk.results(give).to_csv(path) == 4
    assert path.read_text() == ("x,a,slope,loss,value\n0,1,,,\n1,,0.5,nan,\n2,,,,7\n3,,,,\n")


@pytest.mark.parametrize("text", ["=cmd|' /C calc'!A0", "+1+1", "-x", "@SUM(1)", "\t=1", " =1"])
def test_a_text_that_looks_like_a_formula_is_none(dfk, text):
    echo(text).result()
    assert csv_of(dfk.results(echo))[1] == [f"'{text}"] * 2
    assert csv_of(dfk.results(echo), raw=True)[1] == [text] * 2


def test_names_of_columns_are_no_formulas(dfk):
    @pc.python_app(cache=True)
    def give(x):
        return {"=1+1": x}

    give(1).result()
    assert csv_of(dfk.results(give))[0] == ["x", "'=1+1"]


@pytest.mark.parametrize("text", ["-1.5", "+3", "-1e-9", "1+1", "a=b"])
def test_numbers_and_harmless_texts_are_left_alone(dfk, text):
    echo(text).result()
    assert csv_of(dfk.results(echo))[1][0] == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (-1.5, "-1.5"), (True, "True"), (None, ""), ([1, None, "a"], '[1, null, "a"]'),
        ({"b": 1, "a": (2,)}, '{"b": 1, "a": [2]}'), (b"\x00\xff", "00ff"),
        (dt.datetime(2026, 1, 31, 12), "2026-01-31T12:00:00"), (decimal.Decimal("1.50"), "1.50"),
        (Path("a/b"), "a/b"), (Colour.RED, "Colour.RED"), ("a,b\n\"c\"", "a,b\n\"c\""),
        ("\ud800", "\\ud800"), (Pair(1, [2]), '{"left": 1, "right": [2]}'),
        (1 << 20_000, hex(1 << 20_000)), ([math.inf], '["inf"]'), ({2, 1}, "[1, 2]"),
    ],
    ids=lambda value: value[:20] if isinstance(value, str) else type(value).__name__,
)  # fmt: skip
def test_a_cell_has_a_value_as_one_would_write_it(dfk, tmp_path, value, text):
    @pc.python_app(cache=True, code="name")
    def give(x):
        return value

    give(1).result()
    path = tmp_path / "give.csv"
    dfk.results(give, flatten=False).to_csv(path)
    with open(path, newline="", encoding="utf-8") as file:
        assert list(csv.reader(file))[1] == ["1", text]


def test_large_arrays_and_objects_are_named_in_a_cell(dfk):
    np = pytest.importorskip("numpy")

    @pc.python_app(cache=True, code="name")
    def give(x):
        return [np.zeros((1000, 1000)), np.arange(3), np.float32(0.5)][x]

    for x in range(3):
        give(x).result()
    assert [row[1] for row in csv_of(dfk.results(give))[1:]] == [
        "<float64 (1000, 1000)>", "[0, 1, 2]", "0.5",
    ]  # fmt: skip


def test_a_file_appears_whole_or_not_at_all(dfk, tmp_path, monkeypatch):
    echo(1).result()
    path = tmp_path / "echo.csv"
    path.write_text("before")

    def fail(*_):
        raise OSError("no space left")

    monkeypatch.setattr(tables, "_csv", fail)
    with pytest.raises(OSError, match="no space"):
        dfk.results(echo).to_csv(path)
    assert path.read_text() == "before"
    assert sorted(one.name for one in tmp_path.iterdir()) == ["echo.csv", "runinfo"]


def test_too_many_columns_are_refused_with_a_remedy(dfk, monkeypatch):
    monkeypatch.setattr(tables, "MOST_COLUMNS", 10)

    @pc.python_app(cache=True)
    def give(x):
        return {f"word{x}-{i}": 1 for i in range(6)}

    for x in range(2):
        give(x).result()
    with pytest.raises(TableError, match="flatten=False"):
        csv_of(dfk.results(give))
    assert len(csv_of(dfk.results(give, flatten=False))) == 3


def test_a_value_that_contains_itself_ends_somewhere(dfk, tmp_path):
    @pc.python_app(cache=True)
    def give(x):
        around = {"x": x, "parts": [x]}
        around["self"] = around
        around["parts"].append(around["parts"])
        return around

    give(1).result()
    header, line = csv_of(dfk.results(give))
    assert header == ["x", "value.x", "parts", "self"]
    assert line == ["1", "1", '[1, "..."]', '{"x": 1, "parts": [1, "..."], "self": "..."}']
    parquet_of(dfk.results(give), tmp_path)


# --- Parquet and pandas ---------------------------------------------------------------------------


def parquet_of(table, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "table.parquet"
    table.to_parquet(path)
    return parquet.read_table(path)


@pytest.mark.parametrize(
    ("values", "kind", "found"),
    [
        ([1, None, 3], "int64", [1, None, 3]),
        ([1, 2.5], "double", [1.0, 2.5]),
        ([0.5, math.inf], "double", [0.5, math.inf]),
        ([True, None], "bool", [True, None]),
        ([True, 1], "string", ["True", "1"]),
        ([1 << 62, 1], "int64", [1 << 62, 1]),
        ([1 << 62, 1.5], "string", [str(1 << 62), "1.5"]),
        ([1 << 70, 1], "string", [str(1 << 70), "1"]),
        (["a", "=b"], "string", ["a", "=b"]),
        ([1, "a"], "string", ["1", "a"]),
        ([b"x"], "binary", [b"x"]),
        ([dt.date(2026, 1, 31)], "date32[day]", [dt.date(2026, 1, 31)]),
        ([dt.datetime(2026, 1, 31)], "timestamp[us]", [dt.datetime(2026, 1, 31)]),
        ([[1, 2], [None]], "list<element: int64>", [[1, 2], [None]]),
        ([[1, 0.5], (2,)], "list<element: double>", [[1.0, 0.5], [2.0]]),
        ([["a"], []], "string", ['["a"]', "[]"]),
        ([["a"], ["b"]], "list<element: string>", [["a"], ["b"]]),
        ([[1, "a"]], "string", ['[1, "a"]']),
        (["\ud800"], "string", ["\\ud800"]),
        ([None], "null", [None]),
    ],
)
def test_a_column_of_one_kind_has_its_type_and_others_are_texts(dfk, tmp_path, values, kind, found):
    @pc.python_app(cache=True, code="name")
    def give(x):
        return values[x]

    for x in range(len(values)):
        give(x).result()
    table = parquet_of(dfk.results(give, flatten=False), tmp_path)
    assert str(table.schema.field("value").type).replace("item:", "element:") == kind
    assert table.column("value").to_pylist() == found


def test_parquet_is_written_in_groups(dfk, tmp_path, monkeypatch):
    parquet = pytest.importorskip("pyarrow.parquet")
    monkeypatch.setattr(tables, "ROWS", 10)
    for x in range(25):
        echo(x).result()
    path = tmp_path / "echo.parquet"
    assert dfk.results(echo).to_parquet(path) == 25
    assert parquet.ParquetFile(path).num_row_groups == 3
    assert parquet.read_table(path).column("value").to_pylist() == list(range(25))


def test_an_empty_table_has_its_parameters_as_columns(dfk, tmp_path):
    assert csv_of(dfk.results(simulate)) == [["rate", "steps", "seed"]]
    assert parquet_of(dfk.results(simulate), tmp_path).num_rows == 0


def test_a_table_is_a_data_frame(dfk):
    pytest.importorskip("pandas")
    for rate in (1.0, 2.0):
        simulate(rate).result()
    frame = dfk.results(simulate).to_pandas()
    assert list(frame.columns) == ["rate", "steps", "seed", "score", "value.seed"]
    assert frame.groupby("seed")["score"].sum().tolist() == [30.0]
    assert list(dfk.results(echo).to_pandas().columns) == ["x", "value"]


@pytest.mark.parametrize(("library", "use"), [("pandas", "to_pandas"), ("pyarrow", "to_parquet")])
def test_a_library_that_is_missing_is_named_with_a_remedy(dfk, tmp_path, monkeypatch, library, use):
    echo(1).result()
    monkeypatch.setitem(sys.modules, library, None)
    arguments = [tmp_path / "x"] if use == "to_parquet" else []
    with pytest.raises(MissingLibraryError, match=f"pip install {library}"):
        getattr(dfk.results(echo), use)(*arguments)


# --- a million of them ----------------------------------------------------------------------------


def test_memory_does_not_grow_with_the_rows(tmp_path):
    """What is kept of a call is its place; what a row needs is let go of with the row."""
    import tracemalloc

    def peak(count):
        path = tmp_path / str(count) / "000" / "checkpoint"
        with Store.open(path) as store:
            for n in range(0, count, 500):
                store.append([
                    store.stage(
                        store.encode({"n": at, "text": "x" * 1000}), key=at.to_bytes(32, "little"),
                        app="work", code=b"c" * 32, names=("x",),
                        leaves=(b"i" + at.to_bytes(8, "little"),),
                    )
                    for at in range(n, n + 500)
                ])  # fmt: skip
        tracemalloc.start()
        table = pc.results("work", tmp_path / str(count))
        assert table.to_csv(tmp_path / "work.csv") == count
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    small, large = peak(1000), peak(6000)
    assert large - small < 5000 * 150  # bytes; a value is of a thousand, and a row of two


def test_an_app_object_is_known_by_its_code_after_a_change_of_a_global(dfk):
    found = {"pc": pc, "FACTOR": 2}
    exec("@pc.python_app(cache=True)\ndef work(x):\n    return FACTOR * x\n", found)
    work = found["work"]
    work(1).result()
    found["FACTOR"] = 3
    work(1).result()
    assert [row["value"] for row in dfk.results(work)] == [3]
    found["FACTOR"] = 2
    assert [row["value"] for row in dfk.results(work)] == [2]
