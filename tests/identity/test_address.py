"""Binding and addresses: one call, however it is written."""

from __future__ import annotations

import inspect
import itertools
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parsl_ckpt.errors import FileIdentityError, ParslCkptError, UnidentifiableValueError
from parsl_ckpt.identity import (
    Addresser,
    Binder,
    CodeIdentity,
    Known,
    content_digest,
    file_leaf,
    files,
    leaf,
)

SIGNATURES = [
    lambda: None,
    lambda x: None,
    lambda x, y=2, z=3: None,
    lambda x, /, y=2: None,
    lambda x, *rest: None,
    lambda x=1, *rest, y, z=5: None,
    lambda *, y=1: None,
    lambda x, /, **more: None,
    lambda x, y=1, *rest, z=3, **more: None,
    lambda *rest, **more: None,
]


@given(
    st.sampled_from(SIGNATURES),
    st.lists(st.integers(), max_size=4),
    st.dictionaries(st.sampled_from(["x", "y", "z", "other"]), st.integers()),
)
def test_binds_as_python_does(fn, args, kwargs):
    binder = Binder(fn)
    signature = inspect.signature(fn)
    try:
        fn(*args, **kwargs)
    except TypeError:
        with pytest.raises(TypeError) as caught:
            binder.bind(tuple(args), kwargs)
        try:
            # Python 3.13.0 lets a keyword stand for a positional-only parameter here, though not
            # in a call.
            signature.bind(*args, **kwargs)
        except TypeError as error:
            assert str(caught.value) == str(error)
        return
    expected = signature.bind(*args, **kwargs)
    expected.apply_defaults()
    assert binder.bind(tuple(args), kwargs) == tuple(expected.arguments.values())
    assert binder.names == tuple(expected.arguments)


def addresser(fn, ignore=(), app="f", version="", **options):
    return Addresser(app, CodeIdentity(fn, **options), Binder(fn, ignore, app), version)


def key(made, *args, **kwargs):
    return made.address(made.binder.bind(args, kwargs)).key


def f(x, y=2, *rest, verbose=False, **more):
    return x


def test_one_call_however_it_is_written():
    made = addresser(f)
    assert len({key(made, 1), key(made, x=1), key(made, 1, 2), key(made, y=2, x=1)}) == 1
    assert key(made, 1, a=1, b=2) == key(made, 1, b=2, a=1)
    assert len({key(made, 1), key(made, 2), key(made, 1, 3), key(made, 1, 2, 3)}) == 4
    assert key(made, 1, a=1) != key(made, 1, a=2)


def test_ignored_parameters():
    made = addresser(f, ignore=["verbose", "y", "extra"])
    assert made.names == ("x", "rest", "more")
    assert len({key(made, 1), key(made, 1, 3), key(made, 1, y=4, verbose=True, extra=1)}) == 1
    assert key(made, 1) != key(made, 2)


def test_ignoring_what_is_not_there():
    with pytest.raises(ParslCkptError, match="'g' has no parameter 'z'"):
        Binder(lambda x: x, ["z"], app="g")


def test_everything_counts():
    def g(x, y=2):
        return x + 1

    def h(x, y=2):
        return x + 2

    keys = [
        key(addresser(fn, app=app, version=version), 1)
        for fn, app, version in itertools.product((g, h), ("a", "b"), ("", "1"))
    ]
    assert len(set(keys)) == 8


def test_borders_between_leaves_count():
    def g(a, b):
        return a

    made = addresser(g)
    assert key(made, "ab", "c") != key(made, "a", "bc")
    assert key(made, "", "abc") != key(made, "abc", "")


def test_an_address_has_its_leaves():
    address = addresser(f).address((1, 2, (), False, {}))
    assert address.names == ("x", "y", "rest", "verbose", "more")
    assert address.leaves == tuple(map(leaf, (1, 2, (), False, {})))
    assert (len(address.key), address.app) == (32, "f")
    assert address.code == CodeIdentity(f).digest()


def test_known_values():
    made = addresser(f)
    assert key(made, Known(leaf("a"))) == key(made, "a")
    assert key(made, [Known(leaf("a"))]) == key(made, ["a"])
    assert key(made, Known(b"L" + bytes(32))) != key(made, "a")


def test_errors_name_app_and_parameter():
    made = addresser(f)
    with pytest.raises(UnidentifiableValueError) as caught:
        key(made, 1, y=[threading.Lock()])
    assert (caught.value.app, caught.value.parameter, caught.value.path) == ("f", "y", "[0]")
    assert str(caught.value).startswith("Parameter 'y' of app 'f'")


def test_outputs_count_by_name(tmp_path):
    def g(outputs=()):
        return None

    made = addresser(g)
    before = key(made, outputs=[tmp_path / "a"])
    (tmp_path / "a").write_text("content")
    assert key(made, outputs=[tmp_path / "a"]) == before != key(made, outputs=[tmp_path / "b"])


def test_a_changed_global_is_another_address(module):
    loaded = module("N = 1\ndef f(x): return N")
    made = addresser(loaded.f)
    before = key(made, 1)
    loaded.N = 2
    assert key(made, 1) != before
    loaded.N = 1
    assert key(made, 1) == before


def test_from_many_threads(module):
    loaded = module("N = 1\ndef g(x): return N\ndef f(x): return g(x)")
    made = addresser(loaded.f)
    found = []

    def work():
        found.extend(key(made, n % 7) for n in range(200))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 7


class TestOurDecorators:
    SOURCE = """
        from parsl_ckpt.identity import id_for_memo
        def python_app(**options): return lambda fn: fn
        python_app.__module__ = "parsl_ckpt.apps.app"
        def other(**options): return lambda fn: fn
        """

    def digest(self, module, decorators, annotation=""):
        source = f"{self.SOURCE}\n" + "".join(f"        @{d}\n" for d in decorators)
        loaded = module(f"{source}        def f(x{annotation}): return x\n")
        return CodeIdentity(loaded.f).digest()

    def test_do_not_count(self, module):
        plain = self.digest(module, [])
        assert self.digest(module, ["python_app(cache=True)"]) == plain
        assert self.digest(module, ["python_app(cache=False)"], ": int") == plain

    def test_others_do(self, module):
        one = self.digest(module, ["python_app(cache=True)", "other(n=1)"])
        assert one != self.digest(module, ["python_app(cache=True)", "other(n=2)"])
        assert one != self.digest(module, ["python_app(cache=True)", "other(n=1)"], ": int")

    def test_what_stands_above_ours_is_not_the_function(self, module):
        one = self.digest(module, ["other(n=1)", "python_app(cache=True)"])
        assert one == self.digest(module, ["python_app(cache=True)"])

    def test_an_app_that_is_reached_counts_by_its_function(self, module):
        class App:
            def __init__(self, fn):
                self.__wrapped__ = fn
                self.lock = threading.Lock()

            def __call__(self, *args):
                return self.__wrapped__(*args)

        App.__module__ = "parsl_ckpt.apps.app"
        found = set()
        for number in (1, 2, 1):
            loaded = module(f"def g(): return {number}\ndef f(): return g()")
            loaded.g = App(loaded.g)
            found.add(CodeIdentity(loaded.f).digest())
        assert len(found) == 2


class TestFiles:
    @pytest.fixture(autouse=True)
    def fresh(self):
        files._digests.clear()

    def test_by_content(self, tmp_path):
        (tmp_path / "a").write_text("one")
        (tmp_path / "b").write_text("one")
        assert file_leaf(tmp_path / "a") == file_leaf(tmp_path / "b")
        (tmp_path / "b").write_text("two")
        assert file_leaf(tmp_path / "a") != file_leaf(tmp_path / "b")

    def test_a_young_file_is_read_again(self, tmp_path):
        path = tmp_path / "a"
        path.write_text("one")
        before = content_digest(path)
        assert not files._digests
        path.write_text("two")
        assert content_digest(path) != before

    def test_an_old_file_is_read_once(self, tmp_path, monkeypatch):
        path = tmp_path / "a"
        path.write_text("one")
        monkeypatch.setattr(files, "YOUNG_NS", -(10**18))
        before = content_digest(path)
        monkeypatch.setattr(files, "_read", lambda name: pytest.fail("read again"))
        assert content_digest(path) == before

    def test_a_replaced_file_is_read_again(self, tmp_path, monkeypatch):
        monkeypatch.setattr(files, "YOUNG_NS", -(10**18))
        path, other = tmp_path / "a", tmp_path / "b"
        path.write_text("one")
        before = content_digest(path)
        other.write_text("two")
        other.rename(path)
        assert content_digest(path) != before

    def test_directories(self, tmp_path):
        (tmp_path / "d").mkdir()
        (tmp_path / "d" / "a").write_text("one")
        before = content_digest(tmp_path / "d")
        (tmp_path / "d" / "a").rename(tmp_path / "d" / "b")
        renamed = content_digest(tmp_path / "d")
        (tmp_path / "d" / "loop").symlink_to(tmp_path / "d")
        assert len({before, renamed, content_digest(tmp_path / "d")}) == 3

    def test_other_modes(self, tmp_path):
        path = tmp_path / "a"
        path.write_text("one")
        leaves = {mode: file_leaf(path, mode) for mode in ("content", "mtime", "path")}
        path.write_text("other")
        assert file_leaf(path, "path") == leaves["path"]
        assert file_leaf(path, "mtime") != leaves["mtime"]
        assert len(set(leaves.values())) == 3

    def test_missing(self, tmp_path):
        with pytest.raises(FileIdentityError, match="No such file") as caught:
            content_digest(tmp_path / "none")
        assert caught.value.path.endswith("none")

    def test_no_file(self, tmp_path):
        import os

        os.mkfifo(tmp_path / "pipe")
        with pytest.raises(FileIdentityError, match="neither"):
            content_digest(tmp_path / "pipe")
