"""Bad input: a typed error that names what is wrong and says what to do; nothing recorded is lost.

Each kind is met by a run that has recorded something already, and what it recorded is there
afterwards.  Fields of configurations one by one are the business of ``tests/test_config.py``.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import parsl_ckpt as pc
from parsl_ckpt.errors import (
    AppDefinitionError,
    CheckpointNotFoundError,
    NestedAppError,
    NotAnAppError,
    UnidentifiableValueError,
    UntrustedCheckpointError,
)
from tests.guarantees.helpers import DEADLINE, checkpoint, visible


@pc.python_app(cache=True)
def double(x):
    return x * 2


class Unidentifiable:
    def __reduce__(self) -> Any:
        raise TypeError("I do not reduce")


@pytest.fixture
def runs(tmp_path: Path) -> Iterator[Path]:
    """A run directory with a recorded result, which every test leaves as it was."""
    runs = tmp_path / "runs"
    with pc.load(config(runs)):
        assert double(21).result(DEADLINE) == 42
    yield runs
    pc.clear()
    with pc.load(config(runs)):
        future = double(21)
        assert future.result(DEADLINE) == 42 and future.from_memo
    assert visible(checkpoint(runs)) == [42]


def config(runs: Path, **options: Any) -> pc.Config:
    options = {"checkpoint_mode": "task_exit", "run_dir": runs, **options}
    options.setdefault("executors", [pc.ThreadPoolExecutor(max_workers=1)])
    return pc.Config(**options)


def complaint(
    kind: type[pc.ParslCkptError], act: Callable[[], object], *words: str
) -> pc.ParslCkptError:
    """The error of a call: of this kind, with these words, and with something to do about it."""
    with pytest.raises(kind) as raised:
        act()
    error = raised.value
    assert isinstance(error, pc.ParslCkptError)
    text = str(error)
    for word in words:
        assert word in text, text
    assert error.hint and text.endswith(error.hint), "it does not say what to do"
    return error


# -- configurations -------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["exit", "TASK_EXIT", "", 3, True])
def test_an_unknown_mode(runs: Path, mode: Any) -> None:
    error = complaint(
        pc.ConfigurationError, lambda: pc.load(config(runs, checkpoint_mode=mode)),
        "checkpoint_mode", repr(mode), "task_exit", "dfk_exit",
    )  # fmt: skip
    assert error.field == "checkpoint_mode"
    assert not (runs / "001").exists(), "no run was begun"
    legacy = {"globals": {"checkpointMode": mode, "runDir": str(runs)}}
    complaint(pc.ConfigurationError, lambda: pc.DataFlowKernel(legacy), "heckpoint", repr(mode))


@pytest.mark.parametrize("period", ["1 hour", "00:61:00", "0:0:0", "", "01:00", -1, 0, "inf", True])
def test_a_malformed_period(runs: Path, period: Any) -> None:
    error = complaint(
        pc.ConfigurationError,
        lambda: pc.load(config(runs, checkpoint_mode="periodic", checkpoint_period=period)),
        "checkpoint_period", "HH:MM:SS",
    )  # fmt: skip
    assert error.field == "checkpoint_period"
    legacy = {"globals": {"checkpointMode": "periodic", "checkpointPeriod": period}}
    complaint(pc.ConfigurationError, lambda: pc.DataFlowKernel(legacy), "heckpoint", "HH:MM:SS")


def test_a_missing_checkpoint_path(runs: Path, tmp_path: Path) -> None:
    missing = str(tmp_path / "nowhere" / "checkpoint")
    for act in (
        lambda: pc.load(config(runs, checkpoint_files=[missing])),
        lambda: pc.load(config(runs), checkpoint_files=[str(checkpoint(runs)), missing]),
        lambda: pc.DataFlowKernel(config(runs), checkpointFiles=[missing]),
    ):
        error = complaint(CheckpointNotFoundError, act, missing, "runinfo/000/checkpoint")
        assert error.path == missing and isinstance(error, FileNotFoundError)
        assert not (runs / "001").exists(), "a run that could not begin leaves no directory"
    with pytest.raises(pc.NoDataFlowKernelError):
        pc.dfk()


def test_one_path_in_the_place_of_a_list(runs: Path) -> None:
    complaint(
        pc.ConfigurationError,
        lambda: pc.load(config(runs, checkpoint_files=str(checkpoint(runs)))),
        "checkpoint_files",
    )


def test_a_checkpoint_that_others_can_write_to(runs: Path, tmp_path: Path) -> None:
    with pc.load(config(tmp_path / "theirs")):
        double(1).result(DEADLINE)
    theirs = checkpoint(tmp_path / "theirs")
    theirs.chmod(0o777)
    complaint(
        UntrustedCheckpointError, lambda: pc.load(config(runs, checkpoint_files=[theirs])),
        str(theirs), "chmod",
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pc.load(config(tmp_path / "theirs")):  # found by default: left out
            assert not double(1).from_memo


@pytest.mark.parametrize("named", ["", b"x", 3, Path("x"), True, [3], [None], {}, object()])
def test_checkpoints_that_are_no_list_of_paths(runs: Path, named: Any) -> None:
    for act in (
        lambda: pc.load(config(runs, checkpoint_files=named)),
        lambda: pc.load(config(runs), checkpoint_files=named),
        lambda: pc.DataFlowKernel(config(runs), checkpointFiles=named),
        lambda: pc.DataFlowKernel(config(runs), checkpoint_files=named),
    ):
        error = complaint(pc.ConfigurationError, act, f"checkpoint_files: {named!r}")
        assert error.field == "checkpoint_files"
    assert not (runs / "001").exists(), "a run that could not begin leaves no directory"


@pytest.mark.parametrize("place", [3, b"runs", ["runs"], True])
def test_a_place_that_is_no_path(runs: Path, place: Any) -> None:
    for act in (pc.get_all_checkpoints, pc.get_last_checkpoint, pc.Store.open):
        complaint(pc.ConfigurationError, lambda act=act: act(place), repr(place), "runinfo")


def test_a_working_directory_that_is_gone(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone() -> str:
        raise FileNotFoundError

    with monkeypatch.context() as patch:
        patch.setattr("os.getcwd", gone)
        complaint(
            pc.ConfigurationError, lambda: pc.load(config(Path("runs"))), "where runs is", "gone"
        )


def test_what_is_no_app(runs: Path) -> None:
    with pc.load(config(runs)) as dfk:
        for act in (dfk.bless, dfk.revoke_blessing, dfk.results, dfk.explain, pc.results):
            complaint(NotAnAppError, lambda act=act: act(3), "3 is no app")
        for wrong, name in ((double, "'double'"), (3, "'simulate'"), ([None], "'simulate'")):
            complaint(
                pc.ConfigurationError, lambda wrong=wrong: dfk.invalidate(wrong),
                "not the name of an app", f"invalidate({name})",
            )  # fmt: skip
        complaint(pc.ConfigurationError, lambda: dfk.invalidate(older_than=float("nan")), "nan")
        complaint(pc.ParslCkptError, lambda: double.map([1], max_in_flight=0), "double.map")


def test_two_executors_of_one_label(runs: Path) -> None:
    for second in (pc.ThreadPoolExecutor, pc.ProcessPoolExecutor):
        pools = [pc.ThreadPoolExecutor(label="pool"), second(label="pool")]
        error = complaint(
            pc.ConfigurationError, lambda pools=pools: pc.load(config(runs, executors=pools)),
            "executors", "'pool'", "label",
        )  # fmt: skip
        assert (error.field, error.label) == ("executors", "pool")
    sites = [{"site": "a", "execution": {"executor": "threads"}}] * 2
    complaint(pc.ConfigurationError, lambda: pc.DataFlowKernel({"sites": sites}), "'a'")


def test_what_is_no_executor(runs: Path) -> None:
    import concurrent.futures

    with concurrent.futures.ThreadPoolExecutor() as pool:
        complaint(
            pc.ConfigurationError, lambda: pc.load(config(runs, executors=[pool])),
            "executors", "wrap",
        )  # fmt: skip
    complaint(pc.ConfigurationError, lambda: pc.ThreadPoolExecutor(max_workers=0), "max_workers")


def test_an_unknown_entry_of_the_original_dictionary(runs: Path) -> None:
    error = complaint(
        pc.ConfigurationError, lambda: pc.DataFlowKernel({"globals": {"checkpointmode": "manual"}}),
        "checkpointmode", "checkpointMode",
    )  # fmt: skip
    assert error.field == "checkpointmode"


@pytest.mark.parametrize(
    "wrong",
    [
        {"global": {"retries": 2}},
        {"globals": 3},
        {"sites": 3},
        {"sites": [3]},
        {"sites": [{"site": "a", "execution": {"executor": "threads", "maxThreads": 0}}]},
        [],
        "local",
    ],
)
def test_a_dictionary_that_is_none_of_the_original_api(runs: Path, wrong: Any) -> None:
    for act in (pc.load, pc.DataFlowKernel):
        complaint(pc.ConfigurationError, lambda act=act: act(wrong))


def test_an_unknown_wish_in_the_environment(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setenv("PARSL_CKPT", "of")
        error = complaint(pc.ConfigurationError, lambda: pc.load(config(runs)), "'of'", "read-only")
    assert error.field == "PARSL_CKPT"


def test_a_run_directory_that_cannot_be_made(runs: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    complaint(pc.ParslCkptError, lambda: pc.load(config(tmp_path / "file")), str(tmp_path / "file"))


# -- calls ----------------------------------------------------------------------------------------


@pc.python_app(cache=True)
def take(first, *rest, option=None):
    return 1


@pytest.mark.parametrize(
    ("call", "parameter"),
    [
        (lambda bad: take(bad), "first"),
        (lambda bad: take([1, {"deep": (bad,)}]), "first"),
        (lambda bad: take(1, 2, bad), "rest"),
        (lambda bad: take(1, option=bad), "option"),
        (lambda bad: take(double(1), option={"with a future": bad}), "option"),
    ],
)
def test_an_argument_that_cannot_be_identified(
    runs: Path, call: Callable[[Any], pc.AppFuture], parameter: str
) -> None:
    with pc.load(config(runs)):
        future = call(Unidentifiable())  # the call itself never fails
        error = complaint(
            pc.ParslCkptError, lambda: future.result(DEADLINE), "take", parameter, "Unidentifiable",
        )  # fmt: skip
        assert isinstance(error, UnidentifiableValueError)
        assert (error.app, error.parameter) == ("take", parameter)
        assert take(1, 2).result(DEADLINE) == 1, "the kernel goes on"


def test_an_argument_that_cannot_be_identified_may_be_ignored_or_uncached(runs: Path) -> None:
    @pc.python_app(cache=True, ignore_for_cache=["thing"])
    def ignoring(n: int, thing: Any) -> int:
        return n

    @pc.python_app
    def uncached(thing: Any) -> int:
        return 2

    with pc.load(config(runs)):
        assert ignoring(1, Unidentifiable()).result(DEADLINE) == 1
        assert ignoring(1, Unidentifiable()).from_memo
        assert uncached(Unidentifiable()).result(DEADLINE) == 2


def test_a_result_that_cannot_be_serialised(runs: Path) -> None:
    @pc.python_app(cache=True)
    def stream(n: int) -> Any:
        return (i for i in range(n))

    dfk = pc.load(config(runs))
    with pytest.warns(pc.CheckpointWarning, match=r"stream.*generator"):
        assert list(stream(2).result(DEADLINE)) == [0, 1]
    error = complaint(pc.CheckpointNotSavedError, dfk.checkpoint, "stream", dfk.checkpoint_dir)
    assert error.path == dfk.checkpoint_dir and error.unsaved == 1
    complaint(pc.CheckpointNotSavedError, dfk.cleanup, "stream")


def test_a_call_without_a_kernel(runs: Path) -> None:
    error = complaint(pc.NoDataFlowKernelError, lambda: double(1), "double", "load")
    assert error.app == "double"
    complaint(pc.NoDataFlowKernelError, pc.dfk, "load")


def test_a_call_after_the_end(runs: Path) -> None:
    dfk = pc.DataFlowKernel(config(runs))
    bound = pc.python_app(lambda x: x, data_flow_kernel=dfk)
    dfk.cleanup()
    complaint(pc.KernelClosedError, lambda: bound(1))
    complaint(pc.KernelClosedError, dfk.checkpoint, str(runs / "001"))
    dfk.cleanup()


def test_a_second_kernel(runs: Path) -> None:
    with pc.load(config(runs)) as dfk:
        complaint(pc.ConfigurationError, lambda: pc.load(config(runs)), dfk.run_dir, "clear")
        assert pc.dfk() is dfk
    assert not (runs / "002").exists()


def test_a_wrong_call_is_the_futures_error_in_pythons_words(runs: Path) -> None:
    with pc.load(config(runs)):
        with pytest.raises(TypeError, match="missing a required argument: 'x'"):
            double().result(DEADLINE)
        with pytest.raises(TypeError, match="unexpected keyword argument 'y'"):
            double(1, y=2).result(DEADLINE)


def test_an_executor_that_is_not_there(runs: Path) -> None:
    @pc.python_app(executors=["gpu"])
    def train() -> None: ...

    with pc.load(config(runs)):
        error = complaint(pc.ConfigurationError, train, "train", "'gpu'", "threads")
        assert (error.app, error.label) == ("train", "gpu")


@pytest.mark.parametrize(
    ("declare", "words"),
    [
        (lambda: pc.App("bish"), ["bish", "python"]),
        (lambda: pc.python_app(cache=True, code="none")(len), ["none", "closure"]),
        (lambda: pc.python_app(cache=True, ignore_for_cache=["z"])(lambda x: x), ["z"]),
        (lambda: pc.python_app(3), ["3"]),
    ],
)
def test_a_wrong_declaration(runs: Path, declare: Callable[[], object], words: list[str]) -> None:
    complaint(pc.ParslCkptError, declare, *words)


def test_a_generator_function_is_refused_by_name(runs: Path) -> None:
    def numbers(n: int) -> Any:
        yield from range(n)

    error = complaint(AppDefinitionError, lambda: pc.python_app(numbers), "numbers", "list")
    assert error.app == "numbers"


def test_an_app_called_in_a_worker_process(runs: Path) -> None:
    @pc.python_app
    def outer(n: int) -> int:
        return double(n).result()

    pool = pc.ProcessPoolExecutor(max_workers=1)
    with pc.load(config(runs, executors=[pool])):
        error = complaint(NestedAppError, lambda: outer(1).result(DEADLINE), "double", "join_app")
        assert error.app == "double"


def test_a_join_app_that_returns_no_future(runs: Path) -> None:
    @pc.join_app
    def wrong() -> int:
        return 3

    with pc.load(config(runs)):
        complaint(pc.ParslCkptError, lambda: wrong().result(DEADLINE), "wrong", "int")
