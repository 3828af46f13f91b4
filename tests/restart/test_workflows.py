"""Rollouts, diagnostics and ensembles, killed and resumed: the same to the last bit."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from parsl_ckpt.errors import CheckpointError, MissingLibraryError, SinkError
from parsl_ckpt.restart import Checkpoint
from parsl_ckpt.restart.workflows import NpySink, NullSink, ZarrSink, diagnostic, ensemble, rollout

np = pytest.importorskip("numpy")


class Killed(Exception):
    """Stands for a kill: nothing is flushed on the way out."""


def advance(x):
    return 3.9 * x * (1 - x / 10) + 0.1


def checkpoint(tmp_path, **options):
    return Checkpoint("work", path=tmp_path / "rows", mode="append", **options)


def dying(function, calls):
    """A function that kills at that call."""
    made = [0]

    def call(*args):
        made[0] += 1
        if made[0] == calls:
            raise Killed
        return function(*args)

    call.made = made
    return call


def sinks():
    yield "npy", lambda path, name="u": NpySink(Path(path) / f"{name}.npy")
    yield "zarr", lambda path, name="u": ZarrSink(str(path / "store.zarr"), name)


@pytest.fixture(params=["npy", "zarr"])
def sink(request):
    if request.param == "zarr":
        pytest.importorskip("zarr")
    return dict(sinks())[request.param]


def content(sink, path, length, name="u"):
    made = sink(path, name)
    made.open(length)
    return np.stack([made.read(index) for index in range(length)])


# --- rollout --------------------------------------------------------------------------------------


def whole(x0, nsteps):
    states = [x0]
    for _ in range(nsteps):
        states.append(advance(states[-1]))
    return np.stack(states[1:])


@pytest.mark.parametrize("level", [0, 1, 2])
@pytest.mark.parametrize("interval", [1, 4])
def test_a_rollout_goes_on_from_its_state_or_from_its_output(tmp_path, sink, level, interval):
    x0, nsteps = np.linspace(0, 1, 5), 11
    for calls in (8, 6, 99):
        model = dying(advance, calls)
        try:
            last = rollout(
                model, x0, nsteps, sink(tmp_path),
                checkpoint(tmp_path, level=level, flush_interval=interval),
            )  # fmt: skip
        except Killed:
            continue
    expected = whole(x0, nsteps)
    assert (content(sink, tmp_path, nsteps) == expected).all()
    assert (last == expected[-1]).all()


def test_only_what_is_missing_is_computed(tmp_path):
    first, second = dying(advance, 8), dying(advance, 99)
    with pytest.raises(Killed):
        rollout(first, np.zeros(3), 20, NpySink(tmp_path / "u.npy"), checkpoint(tmp_path))
    rollout(second, np.zeros(3), 20, NpySink(tmp_path / "u.npy"), checkpoint(tmp_path))
    assert second.made[0] == 20 - 7
    third = dying(advance, 1)
    last = rollout(third, np.zeros(3), 20, NpySink(tmp_path / "u.npy"), checkpoint(tmp_path))
    assert (last == whole(np.zeros(3), 20)[-1]).all()


def test_a_model_may_be_an_iterator_of_states(tmp_path):
    def model(x):
        while True:
            x = advance(x)
            yield x

    x0, made = np.ones(4), []
    for steps in (5, 12):
        sink = NpySink(tmp_path / f"{steps}.npy")
        made.append(rollout(model, x0, steps, sink, checkpoint(tmp_path)))
    assert (made[1] == whole(x0, 12)[-1]).all()


def test_a_sink_that_lost_what_is_on_record_is_an_error(tmp_path):
    where = tmp_path / "u.npy"
    rollout(advance, np.ones(4), 5, NpySink(where), checkpoint(tmp_path, level=1))
    where.unlink()
    with pytest.raises(SinkError, match=r"u\.npy does not hold item 4"):
        rollout(advance, np.ones(4), 5, NpySink(where), checkpoint(tmp_path, level=1))
    with pytest.raises(SinkError, match="keeps nothing"):
        rollout(advance, np.ones(4), 5, NullSink(), checkpoint(tmp_path, level=1))


# --- diagnostic -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [np.asarray, list, iter])
def test_a_diagnostic_goes_on_with_what_is_missing(tmp_path, sink, kind):
    items = np.arange(24.0).reshape(8, 3)
    for calls in (5, 99):
        function = dying(lambda item: item**2, calls)
        try:
            assert diagnostic(
                function, kind(items), sink(tmp_path), checkpoint(tmp_path), length=8
            ) == 8  # fmt: skip
        except Killed:
            continue
    assert function.made[0] == 8 - 4
    assert (content(sink, tmp_path, 8) == items**2).all()


# --- ensemble -------------------------------------------------------------------------------------


class Members:
    """An ensemble with random beginnings and random steps, all of one generator."""

    def __init__(self, path, sink, level=2, interval=1, kill=None):
        self.path, self.sink, self.kill, self.steps = path, sink, kill, 0
        self.level, self.interval = level, interval

    def run(self, members, batch_size=2):
        rng = np.random.default_rng(7)

        def model(states):
            self.steps += 1
            if self.steps == self.kill:
                raise Killed
            return [advance(x) + rng.standard_normal(3) for x in states]

        return ensemble(
            model, np.zeros(3), 4, members,
            lambda member: self.sink(self.path, f"m{member}"),
            checkpoint(self.path, level=self.level, flush_interval=self.interval),
            perturb=lambda x, rng, member: x + rng.standard_normal(3),
            rng=rng, batch_size=batch_size,
        )  # fmt: skip

    def content(self, members):
        return np.stack([content(self.sink, self.path, 4, f"m{member}") for member in members])


@pytest.mark.parametrize("level", [1, 2])
@pytest.mark.parametrize("interval", [1, 3])
@pytest.mark.parametrize("kill", [1, 6, 9])
def test_an_ensemble_goes_on_with_the_generator_as_it_was(tmp_path, level, interval, kill):
    sink = dict(sinks())["npy"]
    straight = tmp_path / "straight"
    killed = tmp_path / "killed"
    straight.mkdir()
    killed.mkdir()
    expected = Members(straight, sink, level)
    assert expected.run(5) == set(range(5))
    with pytest.raises(Killed):
        Members(killed, sink, level, interval, kill).run(5)
    again = Members(killed, sink, level, interval)
    assert again.run(5) == set(range(5))
    assert (again.content(range(5)) == expected.content(range(5))).all()
    done = (kill - 1) // interval * interval
    left = done if level == 2 else done // 4 * 4
    assert again.steps == expected.steps - left


def test_gaps_in_what_is_completed_are_filled_and_nothing_else(tmp_path, sink):
    members = Members(tmp_path, sink)
    assert members.run([1, 2, 5]) == {1, 2, 5}
    before = members.content([1, 2, 5])
    again = Members(tmp_path, sink)
    assert again.run(7, batch_size=3) == set(range(7))
    assert again.steps == 2 * 4  # 0, 3, 4 and then 6
    assert (again.content([1, 2, 5]) == before).all()
    third = Members(tmp_path, sink, kill=1)
    assert third.run(7) == set(range(7))


def test_members_without_steps_are_completed(tmp_path):
    assert ensemble(advance, 0.0, 0, 3, checkpoint=checkpoint(tmp_path)) == {0, 1, 2}


@pytest.mark.parametrize("batch_size", [0, True, 1.5, "2"])
def test_a_batch_is_a_number_of_members(batch_size):
    with pytest.raises(ValueError, match="batch_size"):
        ensemble(advance, 0.0, 1, 3, batch_size=batch_size)


# --- sinks ----------------------------------------------------------------------------------------


def test_a_sink_refuses_another_length_shape_or_type(tmp_path, sink):
    made = sink(tmp_path)
    made.open(3)
    made.write(0, np.zeros(4))
    with pytest.raises(SinkError, match="shape"):
        made.write(1, np.zeros(5))
    with pytest.raises(SinkError, match="type"):
        made.write(1, np.zeros(4, dtype="f4"))
    made.close()
    with pytest.raises(SinkError, match="room for 3"):
        sink(tmp_path).open(4)


def test_scalars_are_items_too_and_directories_are_made(tmp_path, sink):
    made = sink(tmp_path / "some" / "where")
    made.open(3)
    made.write(2, 1.5)
    assert made.read(2) == 1.5


def test_a_library_that_is_not_installed_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "zarr", None)
    with pytest.raises(MissingLibraryError, match="zarr"):
        ZarrSink("store")


# --- what is wrong --------------------------------------------------------------------------------


def same(states):
    return states


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda: rollout(None, 0.0, 2), "model is None"),
        (lambda: rollout(advance, 0.0, -1), "nsteps is -1"),
        (lambda: rollout(advance, 0.0, "5"), "nsteps is '5'"),
        (lambda: rollout(advance, 0.0, True), "nsteps is True"),
        (lambda: rollout(advance, 0.0, 2, "u.npy"), r"sink is 'u.npy'.*NpySink"),
        (lambda: rollout(advance, 0.0, 2, None, "name"), "checkpoint is 'name'"),
        (lambda: rollout(lambda x: iter([1, 2]), 0.0, 5), "ended after 2"),
        (lambda: ensemble(None, 0.0, 2, 2), "model is None"),
        (lambda: ensemble(same, 0.0, 2.5, 2), "nsteps is 2.5"),
        (lambda: ensemble(same, 0.0, 2, 2.5), "members is 2.5"),
        (lambda: ensemble(same, 0.0, 2, True), "members is True"),
        (lambda: ensemble(same, 0.0, 2, "ab"), "members is 'ab'"),
        (lambda: ensemble(same, 0.0, 2, -1), "members is -1"),
        (lambda: ensemble(same, 0.0, 2, 2, perturb=3), "perturb is 3"),
        (lambda: ensemble(same, 0.0, 2, 2, rng=3), "rng is 3"),
        (lambda: ensemble(same, 0.0, 2, 2, NullSink()), "sink is .*function"),
        (lambda: ensemble(same, 0.0, 2, 2, lambda member: f"{member}.npy"), "sink is '0.npy'"),
        (lambda: ensemble(lambda x: x[:1], 0.0, 2, 2, batch_size=2), "1 states for a batch of 2"),
        (lambda: ensemble(lambda x: 3, 0.0, 2, 2), "one int for a batch of 1"),
        (lambda: diagnostic(None, [1]), "function is None"),
        (lambda: diagnostic(abs, (i for i in range(3))), "generator.*give length"),
        (lambda: diagnostic(abs, iter([1, 2]), length=3), "items ended after 2 .* length is 3"),
        (lambda: diagnostic(abs, [1, 2], length=-1), "length is -1"),
        (lambda: diagnostic(abs, [1, 2], "d.npy"), "sink is 'd.npy'"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(call, named):
    with pytest.raises((TypeError, ValueError), match=named):
        call()


def test_numbers_of_numpy_are_numbers_of_members_and_steps():
    two = np.int64(2)
    assert ensemble(same, 0.0, two, two, batch_size=two) == {0, 1}
    assert rollout(lambda x: x + 1, 0, two) == 2


def test_a_member_that_is_named_twice_is_computed_once():
    made = []
    ensemble(lambda xs: made.extend(xs) or xs, 0.0, 1, [1, 1, 2, 1])
    assert len(made) == 2


def test_a_session_that_is_further_than_it_is_asked_to_go_is_refused(tmp_path):
    rollout(advance, 0.5, 3, None, checkpoint(tmp_path))
    with pytest.raises(CheckpointError, match="3 steps are done, and 2 are asked for"):
        rollout(advance, 0.5, 2, None, checkpoint(tmp_path))
    assert rollout(advance, 0.5, 5, None, checkpoint(tmp_path)) == whole(0.5, 5)[-1]
    other = Checkpoint("other", tmp_path / "rows")
    diagnostic(abs, [1, 2, 3], None, other)
    with pytest.raises(CheckpointError, match="3 items are done, and 1 are asked for"):
        diagnostic(abs, [1], None, other)


@pytest.mark.parametrize("nsteps", [2, 5])
def test_members_of_an_ensemble_all_have_as_many_steps(tmp_path, nsteps):
    ensemble(same, 0.5, 3, 2, None, checkpoint(tmp_path))
    with pytest.raises(CheckpointError, match=f"members have 3 steps, and {nsteps} are asked for"):
        ensemble(same, 0.5, nsteps, 4, None, checkpoint(tmp_path))
    assert ensemble(same, 0.5, 3, 4, None, checkpoint(tmp_path)) == {0, 1, 2, 3}


def test_items_that_are_looked_up_by_labels_are_taken_in_their_order(tmp_path):
    class Series(dict):
        """As one of pandas is: a number is looked up as a label."""

        iloc = None

        def __array__(self):
            raise AssertionError

        def __iter__(self):
            return iter(self.values())

    seen = []
    diagnostic(seen.append, Series({2: "a", 1: "b", 0: "c"}))
    assert seen == ["a", "b", "c"]


@pytest.mark.parametrize("content", [b"", b"garbage", b"\x93NUMPY\x01\x00"])
def test_a_file_that_is_no_array_is_named(tmp_path, content):
    (tmp_path / "u.npy").write_bytes(content)
    with pytest.raises(SinkError, match=r"u\.npy is not such a file"):
        rollout(advance, 0.5, 3, NpySink(tmp_path / "u.npy"))


def test_a_sink_refuses_what_is_no_number(tmp_path):
    with pytest.raises(SinkError, match=r"item 0 is of the numpy type object"):
        rollout(lambda x: {"u": x}, 0.5, 3, NpySink(tmp_path / "u.npy"))
    assert not (tmp_path / "u.npy").exists()
