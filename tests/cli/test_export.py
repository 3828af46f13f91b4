"""``parsl-ckpt export`` for tables; for archives see test_maintain.py."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

import parsl_ckpt as pc
from parsl_ckpt.checkpoint import Store


@pc.python_app(cache=True)
def simulate(rate: float, label: str = "-") -> dict[str, float]:
    if rate < 0:
        raise ValueError("no")
    return {"score": rate * 2}


@pytest.fixture
def finished(told, tmp_path):
    for rates in ((0.5, 1.5), (2.5, -1.0)):
        config = pc.Config(
            executors=[pc.ThreadPoolExecutor(max_workers=1)], checkpoint_mode="task_exit",
            run_dir=str(tmp_path / "runinfo"),
        )  # fmt: skip
        with pc.load(config):
            for rate in rates:
                simulate(rate, label="=1").exception()
    return told


def test_csv_goes_to_standard_output(finished):
    assert finished("export", "--csv", "simulate") == (
        0, "rate,label,score\n0.5,'=1,1.0\n1.5,'=1,3.0\n2.5,'=1,5.0\n", "",
    )  # fmt: skip


def test_options_say_what_is_in_the_table(finished):
    _, out, err = finished("export", "1", "--csv", "simulate", "--failures", "--raw", "--details")
    rows = list(csv.DictReader(out.splitlines()))
    assert [(row["rate"], row["label"], row["score"]) for row in rows] == [
        ("2.5", "=1", "5.0"), ("-1.0", "=1", ""),
    ]  # fmt: skip
    assert {row["call.run"] for row in rows} == {"001"}
    assert rows[1]["call.error"] == "ValueError: no"
    assert err == "1 row without a value: ValueError: no\n"
    _, out, _ = finished("export", "--csv", "simulate", "--no-flatten")
    assert out.splitlines()[1] == '0.5,\'=1,"{""score"": 1.0}"'


def test_a_table_goes_to_a_file_that_is_not_replaced_by_mistake(finished):
    pytest.importorskip("pyarrow")
    for kind in ("csv", "parquet"):
        assert finished("export", f"--{kind}", "simulate", "-o", "table")[:2] == (
            0, "table: 3 rows\n",
        )  # fmt: skip
        status, _, err = finished("export", f"--{kind}", "simulate", "-o", "table")
        assert (status, "is there already" in err) == (1, True)
        assert finished("export", f"--{kind}", "simulate", "-o", "table", "--force")[0] == 0
        Path("table").unlink()


def test_what_is_left_out_is_said_once(finished, tmp_path):
    with Store.open(tmp_path / "runinfo" / "002" / "checkpoint") as store:
        store.append([
            store.stage(
                store.encode(7), key=b"k" * 32, app="simulate", code=b"c" * 32, names=("rate",),
                leaves=(b"i" + bytes(8),),
            )
        ])  # fmt: skip
    _, out, err = finished("export", "--csv", "simulate")
    assert out == "rate,value\n0,7\n"
    assert err == "3 records of another code of simulate are left out; --all-codes takes all.\n"
    _, out, err = finished("export", "--csv", "simulate", "--all-codes")
    assert out.splitlines()[0] == "rate,label,score,value,call.code"
    assert (len(out.splitlines()), err) == (5, "")


def test_pickled_values_are_decoded_only_if_that_is_asked_for(told):
    import fractions

    with Store.open("runinfo/000/checkpoint") as store:
        value = [fractions.Fraction(1, 3)] * 2
        value.append(value)  # a circle: not plain
        store.append([
            store.stage(store.encode(value), key=b"k" * 32, app="circle", names=(), leaves=())
        ])  # fmt: skip
    status, _, err = told("export", "--csv", "circle")
    assert (status, err) == (
        0,
        "1 row without a value: The value was pickled, and pickle is not allowed here. Give "
        "--value if you trust it.\n",
    )
    _, out, err = told("export", "--csv", "circle", "--value")
    assert out == 'value\n"[""1/3"", ""1/3"", ""...""]"\n'
    assert err == ""


@pytest.mark.parametrize(
    ("argv", "status", "text"),
    [
        (["--csv", "simulat"], 1, "There are results of: simulate."),
        (["9", "--csv", "simulate"], 1, "There is no run"),
        (["--parquet", "simulate"], 2, "-o simulate.parquet"),
        (["--csv", "a", "--parquet", "b"], 2, "not allowed with"),
        (["--failures", "-o", "x.tar"], 2, "--failures is about tables"),
        ([], 2, "--csv APP"),
        (["--csv", "simulate", "-o", "no/such/place"], 1, "could not be written"),
        (["--csv", "simulate", "-d", "nowhere"], 1, "There is no run directory nowhere"),
    ],
)
def test_what_is_wrong_is_said_with_a_remedy(finished, argv, status, text):
    found = finished("export", *argv)
    assert found[0] == status
    assert text in found[2]
