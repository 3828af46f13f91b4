"""``parsl-ckpt why`` and ``parsl-ckpt diff``: what they say of real runs, and of damaged ones."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import parsl_ckpt as pc
from parsl_ckpt.checkpoint import Store
from tests.cli.conftest import Tell

CFG = {"lr": 0.1, "name": "a name that is too long to stand in a leaf"}


def train(cfg: dict[str, Any], seed: int = 0) -> dict[str, Any]:
    return {"loss": cfg["lr"] * 2, "steps": [seed, 1, 2]}


def score(model: dict[str, Any], name: str) -> float:
    if name == "bad":
        raise ValueError("no such score")
    return float(model["loss"])


@pytest.fixture
def two_runs(told: Tell, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Two runs of one program, the second with another learning rate; neither knows the other."""
    monkeypatch.delenv("PARSL_CKPT", raising=False)
    for lr in (0.1, 0.2):
        options: dict[str, Any] = {"checkpoint_mode": "task_exit", "checkpoint_files": []}
        with pc.load(pc.Config(**options)):
            app, rate = (pc.python_app(cache=True)(fn) for fn in (train, score))
            first = app({**CFG, "lr": lr})
            first.result()
            for name in ("mean", "bad"):
                rate(first, name).exception()
            app(CFG, 7).result()
    yield


def test_why_of_a_task_by_its_number(told: Tell, two_runs: None) -> None:
    status, out, err = told("why", "1", "0")
    assert (status, err) == (0, "")
    assert out.splitlines()[1:] == [
        "train: no earlier call is the same. The nearest, of run 000:",
        '  cfg["lr"]: 0.1 → 0.2',
    ]
    assert out.startswith("task 0 of run 001, key ")
    assert "no earlier call of it is recorded" in told("why", "0", "0")[1]


def test_why_of_a_task_by_its_key(told: Tell, two_runs: None) -> None:
    key = json.loads(told("why", "1", "0", "--json")[1])["key"]
    assert told("why", "001", key[:12]) == told("why", "1", "0")


def test_why_as_json(told: Tell, two_runs: None) -> None:
    told_json = json.loads(told("why", "1", "0", "--json")[1])
    assert (told_json["run"], told_json["task"], told_json["app"]) == ("001", 0, "train")
    assert told_json["why"]["reason"] == "Differs"
    assert told_json["why"]["differences"][0]["path"] == '["lr"]'


def test_why_of_a_task_that_failed(told: Tell, two_runs: None) -> None:
    status, out, _ = told("why", "1", "2")
    assert status == 0 and "It failed: ValueError: no such score" in out
    assert "name: 'mean' → 'bad'" in out


def test_why_of_an_input_that_changed(told: Tell, two_runs: None) -> None:
    _, out, _ = told("why", "1", "1")
    assert 'model["loss"]' in out or "model: another result of train" in out


def test_why_of_a_task_that_is_not_recorded(told: Tell, two_runs: None) -> None:
    status, out, err = told("why", "1", "99")
    assert (status, out) == (1, "")
    assert "No record of run 001 is of task 99" in err and "parsl-ckpt ls --run 001" in err
    assert told("why", "7", "0")[0] == 1


def test_a_key_of_several_calls_is_refused(told: Tell) -> None:
    with Store.open("runinfo/000/checkpoint") as store:
        for last in (b"a", b"b"):
            store.append([store.stage(store.encode(1), key=b"\xab" * 31 + last, app="f")])
    status, _, err = told("why", "0", "abab")
    assert status == 1 and "2 calls" in err and "Give more of the key" in err


def test_two_runs_are_compared_to_the_first_tasks_that_differ(told: Tell, two_runs: None) -> None:
    status, out, err = told("diff", "0", "1")
    assert (status, err) == (1, "")
    lines = out.splitlines()
    assert lines[:2] == ["train (task 0):", '  cfg["lr"]: 0.1 → 0.2']
    assert lines[2] == "score (task 1):" and lines[4] == "  Its input differs, too."
    assert lines[-1] == "1 call in both runs with the same value."


def test_a_run_does_not_differ_from_itself(told: Tell, two_runs: None) -> None:
    assert told("diff", "0", "0") == (0, "3 calls in both runs with the same value.\n", "")


def test_values_of_the_same_call_that_differ(told: Tell) -> None:
    np = pytest.importorskip("numpy")
    for run, value in enumerate((0.5, 0.75)):
        with Store.open(f"runinfo/{run:03d}/checkpoint") as store:
            store.put("x", {"loss": value, "w": np.full(3, value)}, app="train", tid=3)
            store.put("same", 1, app="train", tid=4)
            store.put(("only", run), 1, app=f"app{run}", tid=5)
    status, out, _ = told("diff", "0", "1")
    assert status == 1
    assert out.splitlines() == [
        "train (task 3):",
        "  the same call has another value",
        '    ["loss"]: 0.5 → 0.75 (difference 0.25, relative 0.333)',
        '    ["w"]: 3 of 3 elements differ, the first at [0] (largest difference 0.25, '
        "relative 0.333)",
        "Only in run 000: app0.",
        "Only in run 001: app1.",
        "1 call in both runs with the same value.",
    ]


def test_pickled_values_are_decoded_only_if_asked_for(told: Tell) -> None:
    for run in range(2):
        with Store.open(f"runinfo/{run:03d}/checkpoint") as store:
            store.put("x", {Path("a"), run}, app="f")  # plain
            store.put("y", Boxed(run), app="f")
    _, out, _ = told("diff", "0", "1")
    assert "pickled; --value compares" in out
    _, out, _ = told("diff", "0", "1", "--value")
    assert ".inside: 0 → 1 (difference 1, relative 1)" in out


class Boxed:
    def __init__(self, inside: int) -> None:
        self.inside = inside


def test_many_places_are_summed_up_and_many_tasks_counted(told: Tell) -> None:
    for run in range(2):
        with Store.open(f"runinfo/{run:03d}/checkpoint") as store:
            for task in range(5):
                store.put(task, [run + n for n in range(100)], app="f", tid=task)
    _, out, _ = told("diff", "0", "1", "-n", "2")
    assert out.count("in all: 100 places differ (largest difference 1, relative 1)") == 2
    assert "3 more tasks differ; -n tells of them." in out
    done = json.loads(told("diff", "0", "1", "--json", "-n", "1")[1])
    assert (done["more"], len(done["pairs"]), done["same"]) == (4, 1, 0)


def test_values_that_agree_though_their_bytes_differ(told: Tell) -> None:
    for run in range(2):
        with Store.open(f"runinfo/{run:03d}/checkpoint") as store:
            pairs = [("a", 1), ("b", 2)]
            store.put("x", dict(pairs if run else reversed(pairs)), app="f")
    assert told("diff", "0", "1")[:2] == (0, "1 call in both runs with the same value.\n")


def test_damaged_records_are_passed_over(told: Tell, two_runs: None) -> None:
    for run in ("000", "001"):
        (segment,) = Path(f"runinfo/{run}/checkpoint").glob("*.seg")
        data = bytearray(segment.read_bytes())
        for at in range(200, len(data), 997):
            data[at] ^= 0xFF
        segment.write_bytes(data)
    for command in (("why", "1", "0"), ("why", "1", "3"), ("diff", "0", "1")):
        status, _, err = told(*command)
        assert status in (0, 1) and "Traceback" not in err


def test_a_terminal_without_arrows(told: Tell, two_runs: None, monkeypatch: Any) -> None:
    from parsl_ckpt.cli import _common

    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(io.BytesIO(), "ascii"))
    assert _common._encodable("0.1 → 0.2 in 3 µs, ß") == "0.1 -> 0.2 in 3 us, \\xdf"
