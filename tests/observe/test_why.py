"""Every kind of reason, from real runs: what ``why()`` and ``explain()`` say and what they hide."""

from __future__ import annotations

import importlib.util
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import parsl_ckpt as pc
from parsl_ckpt.errors import (
    CheckpointNotSavedError,
    KernelError,
    NotAnAppError,
    UnidentifiableValueError,
)
from parsl_ckpt.kernel.failures import unexplained
from parsl_ckpt.kernel.futures import AppFuture
from parsl_ckpt.kernel.kernel import Kernel
from parsl_ckpt.observe.reasons import (
    Again,
    Asked,
    Differs,
    Expired,
    Joined,
    NoEarlierCall,
    NotCached,
    Reason,
    Removed,
    Restored,
    Unreadable,
    Waiting,
)

BASE = """
import parsl_ckpt as pc

SCALE = 2
TABLE = {"a": 1}

def helper(x):
    return x * SCALE

class Model:
    def score(self, x):
        return helper(x) + TABLE["a"]

def train(cfg, seed=0):
    return Model().score(len(cfg)) + seed
"""


class Program:
    """A module that is edited and imported again, as if the program were started again."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "prog.py"
        self.text = BASE
        self.directory = directory

    def app(self, **options: Any) -> Any:
        """The app of the module as it is now."""
        self.path.write_text(self.text)
        spec = importlib.util.spec_from_file_location("prog", self.path)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules["prog"] = module
        spec.loader.exec_module(module)
        return pc.python_app(cache=True, **options)(module.train)

    def edit(self, old: str, new: str) -> None:
        assert old in self.text
        self.text = self.text.replace(old, new)

    @contextmanager
    def run(self, **options: Any) -> Iterator[pc.DataFlowKernel]:
        options.setdefault("checkpoint_mode", "task_exit")
        with pc.load(pc.Config(run_dir=str(self.directory / "runinfo"), **options)) as dfk:
            yield dfk


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Program]:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.delenv("PARSL_CKPT", raising=False)
    yield Program(tmp_path)
    sys.modules.pop("prog", None)


CFG = {"optim": {"lr": 0.1, "name": "a name that is too long for a leaf"}, "layers": [64, 64]}


def with_lr(lr: float) -> dict[str, Any]:
    return {**CFG, "optim": {**CFG["optim"], "lr": lr}}  # type: ignore[dict-item]


def ask(
    program: Program, *args: Any, before: Callable[[], object] | None = None, **kwargs: Any
) -> Reason:
    """What a call says after it ran; the same as what is said before it is made."""
    if before is not None:
        before()
    with program.run() as dfk:
        app = program.app()
        told = dfk.explain(app, *args, **kwargs)
        future = app(*args, **kwargs)
        future.result()
        assert str(future.why()) == str(told)
    assert str(future.why()) == str(told)  # after the end of the run, from its checkpoint
    return told


def differences(reason: Reason) -> list[str]:
    assert isinstance(reason, Differs), reason
    return [f"{one.name}{one.path}: {one.old} → {one.new}" for one in reason.differences]


# --- misses ---------------------------------------------------------------------------------------


def test_the_first_call_of_an_app(program: Program) -> None:
    reason = ask(program, CFG)
    assert reason == NoEarlierCall("train")
    assert str(reason) == "train: no earlier call of it is recorded."
    assert reason.to_dict() == {"reason": "NoEarlierCall", "app": "train"}


def test_a_value_inside_an_argument(program: Program) -> None:
    ask(program, CFG)
    reason = ask(program, with_lr(0.2))
    assert str(reason) == (
        "train: no earlier call is the same. The nearest, of run 000:\n"
        '  cfg["optim"]["lr"]: 0.1 → 0.2'
    )
    told = reason.to_dict()
    assert told["reason"] == "Differs" and told["run"] == "000"
    assert told["differences"] == [
        {"kind": "argument", "name": "cfg", "path": '["optim"]["lr"]', "old": "0.1", "new": "0.2"}
    ]


def test_a_long_text(program: Program) -> None:
    ask(program, "/data/experiments/2026-01-31/first/measurements.csv")
    reason = ask(program, "/data/experiments/2026-01-31/second/measurements.csv")
    assert str(reason).splitlines()[1:] == [
        "  cfg: '/data/experiments/2026-01-31/first/measurements.csv' → "
        "'/data/experiments/2026-01-31/second/measurements.csv'"
    ]


def test_the_nearest_record_is_the_one_with_most_arguments_in_common(program: Program) -> None:
    with program.run():
        app = program.app()
        for cfg, seed in ((CFG, 1), (with_lr(0.5), 2), (with_lr(0.7), 3)):
            app(cfg, seed).result()
    assert differences(ask(program, with_lr(0.5), 9)) == ["seed: 2 → 9"]
    assert differences(ask(program, with_lr(0.6), 3)) == ['cfg["optim"]["lr"]: 0.7 → 0.6']


def test_the_newest_record_among_equally_near_ones(program: Program) -> None:
    with program.run():
        app = program.app()
        for seed in (5, 3, 4):
            app(CFG, seed).result()
    assert differences(ask(program, CFG, 1)) == ["seed: 4 → 1"]


def test_an_edited_helper_is_shown_as_a_diff_of_its_source(program: Program) -> None:
    ask(program, CFG)
    program.edit("return x * SCALE", "return x * SCALE + 1")
    reason = ask(program, CFG)
    assert str(reason).splitlines()[1:] == [
        "  function prog.helper: changed",
        "      --- then",
        "      +++ now",
        "      @@ -1,2 +1,2 @@",
        "       def helper(x):",
        "      -    return x * SCALE",
        "      +    return x * SCALE + 1",
    ]


def test_after_an_edit_the_edit_is_told_and_not_the_call_before(program: Program) -> None:
    with program.run():
        app = program.app()
        [app(CFG, seed).result() for seed in range(4)]
    program.edit("return x * SCALE", "return SCALE * x")
    with program.run():
        app = program.app()
        futures = [app(CFG, seed) for seed in range(4)]
        [future.result() for future in futures]
        for future in futures:
            reason = future.why()
            assert [(one.kind, one.name) for one in reason.differences] == [
                ("function", "prog.helper")
            ]


def test_an_edited_method(program: Program) -> None:
    ask(program, CFG)
    program.edit('+ TABLE["a"]', '- TABLE["a"]')
    reason = ask(program, CFG)
    assert isinstance(reason, Differs)
    (one,) = reason.differences
    assert (one.kind, one.name) == ("class", "prog.Model")
    assert "-        return helper(x) + TABLE['a']" in one.diff


def test_a_constant(program: Program) -> None:
    ask(program, CFG)
    program.edit("SCALE = 2", "SCALE = 3")
    assert str(ask(program, CFG)).splitlines()[1:] == ["  constant prog.SCALE: 2 → 3"]


def test_a_place_inside_a_constant(program: Program) -> None:
    ask(program, CFG)
    program.edit('{"a": 1}', '{"a": 5}')
    assert str(ask(program, CFG)).splitlines()[1:] == ['  constant prog.TABLE["a"]: 1 → 5']


def test_a_new_helper(program: Program) -> None:
    ask(program, CFG)
    program.edit("return x * SCALE", "return twice(x)")
    program.edit("def helper", "def twice(x):\n    return 2 * x\n\ndef helper")
    reason = ask(program, CFG)
    assert isinstance(reason, Differs)
    told = {one.name: one for one in reason.differences}
    assert told["prog.twice"].note == "new" and told["prog.SCALE"].note == "gone"
    assert told["prog.helper"].diff


def test_the_version_that_the_user_gave(program: Program) -> None:
    with program.run():
        program.app(version="1")(CFG).result()
    with program.run():
        future = program.app(version="2")(CFG)
        future.result()
        assert str(future.why()).splitlines()[1:] == ["  version: '1' → '2'"]


def test_another_way_of_counting_code(program: Program) -> None:
    with program.run():
        program.app(code="name")(CFG).result()
    with program.run() as dfk:
        (one,) = dfk.explain(program.app(), CFG).differences  # type: ignore[attr-defined]
        assert one.kind == "code" and "code='closure'" in str(one)


def test_parameters_that_came_and_went(program: Program) -> None:
    ask(program, CFG, 7)
    program.edit("def train(cfg, seed=0)", "def train(cfg, extra=5)")
    program.edit("+ seed", "+ extra")
    reason = ask(program, CFG)
    assert isinstance(reason, Differs)
    told = [str(one) for one in reason.differences if one.kind == "parameter"]
    assert told == ["parameter extra: new; it is 5", "parameter seed: gone; it was 7"]


def test_a_file(program: Program, tmp_path: Path) -> None:
    data = tmp_path / "data.csv"
    data.write_text("1,2,3")
    inside = {"files": [pc.File(str(data))], "name": "x" * 60}
    with program.run():
        app = program.app()
        app(inside).result()
        app({"file": pc.File(str(data))}).result()
    data.write_text("1,2,4")
    with program.run() as dfk:
        reason = dfk.explain(program.app(), inside)
    assert isinstance(reason, Differs)
    (one,) = reason.differences
    assert one.kind == "file" and one.path == '["files"][0]'
    assert "data.csv', other content" in str(one)


def test_a_file_that_is_an_argument_itself(program: Program, tmp_path: Path) -> None:
    data = tmp_path / "data.csv"
    data.write_text("1,2,3")
    program.edit("len(cfg)", "len(open(cfg).read())")
    with program.run():
        program.app()(pc.File(str(data))).result()
    data.write_text("1,2,4")
    with program.run() as dfk:
        reason = dfk.explain(program.app(), pc.File(str(data)))
    assert isinstance(reason, Differs)
    assert "data.csv', other content" in str(reason) and reason.differences[0].kind == "file"


def test_an_installed_distribution_of_another_version(
    program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    from parsl_ckpt.identity import reach

    program.edit("return x * SCALE", "import msgspec\n    return x * SCALE")
    ask(program, CFG)
    found = reach.distribution_of("msgspec")
    monkeypatch.setattr(reach, "distribution_of", lambda module: (found[0], "99.0", "0" * 64))
    told = str(ask(program, CFG)).splitlines()[1:]
    assert told == [f"  distribution {found[0]}: {found[1]} → 99.0"]


# --- the same call, and yet -----------------------------------------------------------------------


def test_a_removed_record(program: Program) -> None:
    ask(program, CFG)
    with program.run():
        app = program.app()
        assert app.forget(CFG) == 1
        future = app(CFG)
        future.result()
        assert future.why() == Removed("train", "000", "forgotten")
    assert str(future.why()).endswith("recorded in run 000 and was removed (forgotten).")


def test_a_damaged_record(program: Program) -> None:
    ask(program, CFG)
    (segment,) = (program.directory / "runinfo/000/checkpoint").glob("*.seg")
    data = bytearray(segment.read_bytes())
    at = data.index(b"train")  # in the code record or the result
    data[data.index(b"train", at + 1 if at < 0 else at)] ^= 1
    for place in _all(data, b"cfg"):
        data[place] ^= 1
    segment.write_bytes(data)
    reason = ask(program, CFG)
    assert isinstance(reason, Unreadable)
    assert str(reason) == (
        "train: the same call is recorded in run 000, but cannot be read: its bytes are damaged."
    )


def _all(data: bytearray, what: bytes) -> list[int]:
    places, at = [], data.find(what)
    while at >= 0:
        places.append(at)
        at = data.find(what, at + 1)
    return places


def test_a_value_whose_blob_is_gone(program: Program) -> None:
    program.edit("return Model().score(len(cfg)) + seed", "return bytes(200_000)")
    ask(program, CFG)
    (blob,) = (program.directory / "runinfo/000/checkpoint/blobs").glob("*/*")
    os.remove(blob)
    with program.run():
        future = program.app()(CFG)
        with pytest.warns(UserWarning):
            future.result()
        assert isinstance(future.why(), Unreadable)


def test_an_expired_record(program: Program) -> None:
    ask(program, CFG)
    with program.run() as dfk:
        app = program.app(valid_if=lambda record: False)
        assert isinstance(dfk.explain(app, CFG), Expired)
        future = app(CFG)
        future.result()
        assert isinstance(future.why(), Expired)
        assert "is not valid any more" in str(future.why())


def test_a_call_that_was_asked_to_run_anew(program: Program) -> None:
    ask(program, CFG)
    with program.run():
        app = program.app()
        future = app.fresh(CFG)
        future.result()
        assert future.why() == Asked("train", "000")
        again = app.fresh(with_lr(3.0))
        again.result()
        assert again.why() == Asked("train", "")


def test_a_record_that_was_computed_twice_for_reasons_unknown(program: Program) -> None:
    ask(program, CFG)
    with program.run(checkpoint_files=[]):
        future = program.app()(CFG)
        future.result()
        assert future.why() == NoEarlierCall("train")
    from parsl_ckpt.checkpoint import Store
    from parsl_ckpt.observe.why import Why, call_of

    sources = [str(program.directory / f"runinfo/{run}/checkpoint") for run in ("000", "001")]
    with Store.open(None, sources=sources) as store:
        why = Why(store)
        (found,) = why.in_run(store.catalog.directories[1])
        assert why.explain(call_of(found.result, found.record_id)) == Again("train", "000")


@pytest.mark.parametrize("wish", ["off", "refresh"])
def test_caching_that_is_switched_off(
    program: Program, monkeypatch: pytest.MonkeyPatch, wish: str
) -> None:
    ask(program, CFG)
    monkeypatch.setenv("PARSL_CKPT", wish)
    with program.run() as dfk:
        app = program.app()
        future = app(CFG)
        future.result()
        for reason in (future.why(), dfk.explain(app, CFG)):
            assert isinstance(reason, NotCached)
            assert f"PARSL_CKPT={wish}" in str(reason)


def test_an_app_that_is_not_cached(program: Program) -> None:
    with program.run() as dfk:
        app = pc.python_app(abs)
        future = app(-1)
        future.result()
        assert isinstance(future.why(), NotCached)
        assert isinstance(dfk.explain(app, -1), NotCached)


# --- hits and the like ----------------------------------------------------------------------------


def test_a_hit_says_where_it_came_from(program: Program) -> None:
    ask(program, CFG)
    with program.run() as dfk:
        app = program.app()
        future = app(CFG)
        before = future.why()  # before anyone has looked at the value
        future.result()
        reason = future.why()
        assert isinstance(reason, Restored) and before == reason
        assert reason.run == "000" and reason.began > 0 and reason.worker
        assert str(reason).startswith("train: recorded in run 000, where it took ")
        assert dfk.explain(app, CFG) == reason


def test_a_hit_of_the_same_run(program: Program) -> None:
    with program.run():
        app = program.app()
        app(CFG).result()
        assert app(CFG).why().run == "000"


def test_an_equal_call_under_way(program: Program) -> None:
    go = threading.Event()

    def slow(x: int) -> int:
        go.wait(30)
        return x

    with program.run() as dfk:
        app = pc.python_app(cache=True, code="name")(slow)
        first, second = app(1), app(1)
        assert isinstance(first.why(), NoEarlierCall)  # of a task that is under way
        assert isinstance(second.why(), Joined)
        depending = pc.python_app(cache=True, lineage=False)(abs)
        waiting = depending(first)
        assert waiting.why() == Waiting("abs", (first.tid,))
        assert dfk.explain(depending, first) == Waiting("abs", (first.tid,))
        go.set()
        assert first.result() == second.result() == waiting.result() == 1
        assert isinstance(second.why(), Joined)
        assert isinstance(waiting.why(), NoEarlierCall)


def test_an_input_that_another_app_computed(program: Program) -> None:
    with program.run():
        app, total = program.app(), pc.python_app(cache=True, code="name")(sum)
        total([app(CFG), 1]).result()
        pc.python_app(cache=True, code="name")(str)(app(CFG)).result()
    with program.run() as dfk:
        app, total = program.app(), pc.python_app(cache=True, code="name")(sum)
        hit = total([app(CFG), 1])
        assert isinstance(hit.why(), Restored)
        assert isinstance(dfk.explain(total, [app(CFG), 1]), Restored)
        other = app(CFG, 5)
        other.result()
        miss = total([other, 1])
        miss.result()
        reason = miss.why()
        assert isinstance(reason, Differs)
        assert [str(one) for one in reason.differences] == ["iterable[0]: 5 → 10"]


def test_explaining_executes_nothing(program: Program) -> None:
    def touch(x: int) -> None:
        raise AssertionError

    with program.run() as dfk:
        app = pc.python_app(cache=True)(touch)
        assert isinstance(dfk.explain(app, 1), NoEarlierCall)
        assert sum(dfk.counts().values()) == 0


def test_what_cannot_be_explained(program: Program) -> None:
    with program.run() as dfk:
        with pytest.raises(NotAnAppError, match="python_app"):
            dfk.explain(len, [1])
        with pytest.raises(UnidentifiableValueError, match="cfg"):
            dfk.explain(program.app(), threading.Lock())
        with pytest.raises(TypeError):
            dfk.explain(program.app())


def test_a_kernel_of_its_own_cannot_tell() -> None:
    class Owner:
        explain = staticmethod(unexplained)
        why = Kernel.why

    with pytest.raises(KernelError, match="cannot tell"):
        AppFuture(Owner(), 0).why()  # type: ignore[arg-type]


def test_a_failed_call(program: Program) -> None:
    program.edit("+ seed", "/ seed")
    with program.run():
        app = program.app()
        app(CFG, 1).result()
        future = app(CFG, 0)
        assert isinstance(future.exception(), ZeroDivisionError)
        assert differences(future.why()) == ["seed: 1 → 0"]
        refused = app(threading.Lock())
        assert isinstance(refused.exception(), UnidentifiableValueError)
        assert isinstance(refused.why(), NotCached)


def test_a_value_that_could_not_be_recorded(program: Program) -> None:
    program.edit("return Model().score(len(cfg)) + seed", "return (i for i in [])")
    with pytest.raises(CheckpointNotSavedError), program.run(), pytest.warns(UserWarning):
        future = program.app()(CFG)
        future.result()
        assert isinstance(future.why(), NoEarlierCall)
    assert isinstance(future.why(), NoEarlierCall)


@pytest.mark.parametrize("mode", [None, "dfk_exit", "manual"])
def test_records_that_are_held_back_count_as_well(program: Program, mode: str | None) -> None:
    with program.run(checkpoint_mode=mode):
        app = program.app()
        first = app(CFG, 1)
        first.result()
        second = app(CFG, 2)
        second.result()
        assert isinstance(first.why(), NoEarlierCall)
        assert differences(second.why()) == ["seed: 1 → 2"]


def size(cfg: dict[str, Any], seed: int = 0) -> int:
    return len(cfg) + seed


def test_process_pools(program: Program) -> None:
    app = pc.python_app(cache=True)(size)
    with program.run():
        app(CFG).result()
    with program.run(executors=[pc.ProcessPoolExecutor(max_workers=1)]):
        hit, miss = app(CFG), app(with_lr(0.25))
        assert miss.result() == hit.result()
        assert isinstance(hit.why(), Restored)
        assert differences(miss.why()) == ['cfg["optim"]["lr"]: 0.1 → 0.25']


def test_an_argument_that_the_task_changes_is_told_as_it_was(program: Program) -> None:
    program.edit("return Model()", 'cfg["layers"].append(1)\n    return Model()')
    with program.run():
        program.app()(CFG).result()
    reason = ask(program, {**CFG, "layers": [64, 65]})
    assert differences(reason) == ['cfg["layers"][1]: 64 → 65']


# --- what must not be shown -----------------------------------------------------------------------


def test_a_secret_is_not_shown(program: Program) -> None:
    with program.run(secret=["seed", "token"]):
        app = program.app()
        app({**CFG, "token": "tok-one"}, 111111).result()
    with program.run(secret=["seed", "token"]) as dfk:
        reason = dfk.explain(program.app(), {**CFG, "token": "tok-one"}, 222222)
        assert str(reason).splitlines()[1:] == ["  seed: another value (secret)"]
        reason = dfk.explain(program.app(), {**CFG, "token": "tok-two"}, 111111)
        assert str(reason).splitlines()[1:] == ['  cfg["token"]: another value']
    data = b"".join(p.read_bytes() for p in program.directory.glob("runinfo/*/checkpoint/*"))
    assert b"tok-one" not in data


def test_without_previews_nothing_is_kept_in_clear(program: Program) -> None:
    cfg = {**CFG, "word": "hush"}
    with program.run(previews=False):
        program.app()(cfg, 5).result()
    data = b"".join(p.read_bytes() for p in program.directory.glob("runinfo/*/checkpoint/*"))
    assert b"hush" not in data and b"layers" not in data
    with program.run(previews=False) as dfk:
        told = str(dfk.explain(program.app(), {**cfg, "word": "hold"}, 5))
        assert told.splitlines()[1:] == ["  cfg[...]: another value"]


def test_damaged_outlines_do_no_harm(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    from parsl_ckpt.identity import address

    monkeypatch.setattr(address, "outline", lambda *args: b"\xc1 nonsense")
    ask(program, CFG)
    monkeypatch.undo()
    assert "cfg: another value" in str(ask(program, with_lr(0.2)))


def test_a_secret_among_free_keywords_is_not_shown(program: Program) -> None:
    program.edit("def train(cfg, seed=0)", "def train(cfg, seed=0, **more)")
    more = {"note": "a remark that is too long to stand in a leaf", "token": "tok-one"}
    with program.run(secret=["token"]):
        program.app()(CFG, **more).result()
    with program.run(secret=["token"]) as dfk:
        app = program.app()
        reason = dfk.explain(app, CFG, **{**more, "token": "tok-two"})
        assert str(reason).splitlines()[1:] == ['  more["token"]: another value']
        reason = dfk.explain(app, CFG, **more, level=3)
        assert str(reason).splitlines()[1:] == ['  more["level"]: new; it is 3']
    data = b"".join(p.read_bytes() for p in program.directory.glob("runinfo/*/checkpoint/*"))
    assert b"tok-one" not in data and b"tok-two" not in data


def test_signed_checkpoints(program: Program) -> None:
    with program.run(signing_key=b"k" * 32):
        program.app()(CFG).result()
    with program.run(signing_key=b"k" * 32):
        future = program.app()(with_lr(0.5))
        future.result()
        assert differences(future.why()) == ['cfg["optim"]["lr"]: 0.1 → 0.5']
    assert differences(future.why()) == ['cfg["optim"]["lr"]: 0.1 → 0.5']
    with program.run(signing_key=b"j" * 32) as dfk:  # nothing that another key signed is believed
        assert isinstance(dfk.explain(program.app(), with_lr(0.7)), NoEarlierCall)
        assert isinstance(dfk.explain(program.app(), CFG), Unreadable)


def test_what_has_been_recorded_since_the_last_question_counts(program: Program) -> None:
    with program.run() as dfk:
        app = program.app()
        assert isinstance(dfk.explain(app, CFG), NoEarlierCall)
        app(CFG, 1).result()
        assert differences(dfk.explain(app, CFG, 2)) == ["seed: 1 → 2"]
        app(with_lr(0.5), 3).result()
        assert differences(dfk.explain(app, with_lr(0.5), 4)) == ["seed: 3 → 4"]


def test_after_compaction_the_answers_are_the_same(program: Program) -> None:
    with program.run() as dfk:
        app = program.app()
        app(CFG, 1).result()
        before = dfk.explain(app, with_lr(0.5), 1)
        dfk.checkpoint()
        dfk.kernel.store.compact()
        assert dfk.explain(app, with_lr(0.5), 1) == before


def test_whatever_byte_is_damaged_there_is_a_reason(program: Program) -> None:
    with program.run():
        app = program.app()
        app(CFG).result()
        app(with_lr(0.5), 1).result()
    directory = program.directory / "runinfo/000/checkpoint"
    (segment,) = directory.glob("*.seg")
    data = segment.read_bytes()
    used = len(data.rstrip(b"\0\xff"))
    from parsl_ckpt.checkpoint import Store
    from parsl_ckpt.observe.why import Why, call_of

    with Store.open(None, sources=[directory]) as store:
        asked = [call_of(found.result) for found in Why(store).in_run(str(directory))]
    assert len(asked) == 2
    said = set()
    for at in range(0, min(used, 6000), 37):
        segment.write_bytes(data[:at] + bytes([data[at] ^ 0x55]) + data[at + 1 :])
        with Store.open(None, sources=[directory]) as store:
            for call in asked:
                reason = Why(store).explain(call)
                said.add(type(reason))
                assert str(reason)
    assert said <= {Restored, Unreadable, Differs, NoEarlierCall}
    assert {Restored, Unreadable} <= said
