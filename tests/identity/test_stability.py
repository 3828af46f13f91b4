"""Where code stands, how it was loaded and what is installed beside it: what counts of that."""

# ruff: noqa: RUF012

from __future__ import annotations

import ast
import concurrent.futures
import functools
import importlib
import importlib.util
import linecache
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import parsl_ckpt
from parsl_ckpt.errors import UnidentifiableValueError
from parsl_ckpt.identity import CodeIdentity, leaf, origin
from parsl_ckpt.identity import source as source_module


def digest(fn, **options):
    return CodeIdentity(fn, **options).digest()


class TestMethodsOfInstances:
    SOURCE = """
        class Model:
            def __init__(self, scale): self.scale = scale
            def run(self, x): return self.step(x) * self.scale
            def step(self, x): return x + 1
        f = Model(@@).run
        """

    def test_the_instance_counts(self, module):
        found = {digest(module(self.SOURCE.replace("@@", n)).f) for n in ("1", "2", "1")}
        assert len(found) == 2

    def test_another_method_that_it_calls_counts(self, module):
        one = self.SOURCE.replace("@@", "1")
        assert digest(module(one).f) != digest(module(one.replace("x + 1", "x + 2")).f)

    def test_the_instance_is_looked_at_again(self, module):
        loaded = module(self.SOURCE.replace("@@", "1"))
        identity = CodeIdentity(loaded.f)
        before = identity.digest()
        loaded.f.__self__.scale = 2
        assert identity.digest() != before


class TestMain:
    """Functions of a script, in one process after another."""

    SCRIPT = """
        import sys
        from parsl_ckpt.identity import CodeIdentity, leaf
        N = 1
        class C:
            def m(self): return N
        def helper(x): return C().m() + x
        def f(x): return helper(x)
        if __name__ == "__main__":
            print(CodeIdentity(f).digest().hex(), leaf(C).hex())
        """

    def run(self, path, text):
        path.parent.mkdir(exist_ok=True)
        path.write_text(textwrap.dedent(text))
        place = str(Path(parsl_ckpt.__path__[0]).parent)
        environment = {**os.environ, "PYTHONPATH": place}
        return subprocess.check_output([sys.executable, str(path)], env=environment, timeout=60)

    def test_a_script_that_is_run_again_moved_or_edited(self, tmp_path):
        first = self.run(tmp_path / "script.py", self.SCRIPT)
        assert self.run(tmp_path / "script.py", self.SCRIPT) == first
        moved = self.SCRIPT.replace("N = 1", "N = 1  # one\n\n")
        assert self.run(tmp_path / "elsewhere" / "other.py", moved) == first
        edited = self.SCRIPT.replace("return N", "return -N").splitlines()
        assert self.run(tmp_path / "script.py", "\n".join(edited)).split()[0] != first.split()[0]


class TestNotebook:
    """Cells, as IPython runs them: each in a file of its own that only linecache knows."""

    numbers = iter(range(100))

    def cell(self, namespace, text):
        text = textwrap.dedent(text)
        name = f"<ipython-input-{next(self.numbers)}-0123456789ab>"
        linecache.cache[name] = (len(text), None, text.splitlines(True), name)
        exec(compile(text, name, "exec"), namespace)

    def test_a_helper_in_another_cell(self):
        found = []
        for body in ("return 1", "return 2", "return 1  # again"):
            namespace = {"__name__": "__main__"}
            self.cell(namespace, f"def g():\n    {body}\n")
            self.cell(namespace, "def f(): return g()\n")
            found.append(digest(namespace["f"]))
        assert found[0] == found[2] != found[1]

    def test_a_cell_that_is_run_again_after_an_edit(self):
        namespace = {"__name__": "__main__"}
        self.cell(namespace, "def g(): return 1\n")
        self.cell(namespace, "def f(): return g()\n")
        identity = CodeIdentity(namespace["f"])
        first = identity.digest()
        self.cell(namespace, "def g(): return 2\n")
        second = identity.digest()
        self.cell(namespace, "def g():\n    # as before\n    return 1\n")
        assert identity.digest() == first != second

    def test_the_same_as_in_a_module(self, module):
        source = "N = 2\nclass C:\n    def m(self): return N\ndef f(): return C().m()\n"
        namespace = {"__name__": "__main__"}
        self.cell(namespace, source)
        assert digest(namespace["f"]) == digest(module(source).f)


class TestLoading:
    def test_reloaded_without_and_with_an_edit(self, module, tmp_path, monkeypatch):
        loaded = module("def g(): return 1\ndef f(): return g()", name="reloaded_x", folder="r")
        monkeypatch.syspath_prepend(tmp_path / "r")
        identity = CodeIdentity(loaded.f)
        first = identity.digest()
        importlib.reload(loaded)
        assert digest(loaded.f) == first
        (tmp_path / "r" / "reloaded_x.py").write_text("def g(): return 22\ndef f(): return g()\n")
        importlib.invalidate_caches()
        importlib.reload(loaded)
        assert digest(loaded.f) != first
        assert identity.digest() == digest(loaded.f)  # the old function, with the new helper

    def test_a_module_inside_a_package_and_at_the_top(self, tmp_path, monkeypatch):
        text = "from {}helpers import g\nclass C:\n    n = 1\ndef f(): return g(), C().n\n"
        for folder, dot in (("flat", ""), ("tree/deep/down", ".")):
            place = tmp_path / folder
            place.mkdir(parents=True)
            (place / "helpers.py").write_text("def g(): return 1\n")
            (place / "entry.py").write_text(text.format(dot))
        monkeypatch.syspath_prepend(tmp_path / "flat")
        monkeypatch.syspath_prepend(tmp_path / "tree")
        try:
            flat = importlib.import_module("entry")
            deep = importlib.import_module("deep.down.entry")
            assert digest(flat.f) == digest(deep.f)
        finally:
            for name in ("entry", "helpers", "deep.down.entry", "deep.down.helpers", "deep.down"):
                sys.modules.pop(name, None)

    def test_made_by_exec_with_and_without_a_file_of_that_name(self):
        found = set()
        for filename in ("<string>", "<other>", "/no/such/file.py"):
            namespace = {"__name__": "made"}
            exec(compile("def g(): return 1\ndef f(): return g()", filename, "exec"), namespace)
            found.add(digest(namespace["f"]))
        assert len(found) == 1

    def test_functions_as_arguments_by_code(self, module):
        one = module("def g(): return 1\ndef f(): return g()", name="place_x")
        other = module("# moved\ndef h(): return 1\ng = h\ndef f2(): return g()", name="place_y")
        assert leaf(one.f) == leaf(other.f2)
        assert leaf([one.f]) == leaf([other.f2])

    def test_in_many_threads_at_once(self, module):
        loaded = module("\n".join(f"def g{n}(): return g{n + 1}" for n in range(60))
                        + "\ndef g60(): return 0\ndef f(): return g0()")  # fmt: skip
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            found = set(pool.map(lambda _: digest(loaded.f), range(24)))
        assert len(found) == 1


class TestInstalled:
    """Distributions count by name and version, if the code reaches them and only then."""

    @pytest.fixture
    def install(self, tmp_path, monkeypatch):
        place = tmp_path / "site-packages"
        place.mkdir()
        monkeypatch.syspath_prepend(place)
        names = []

        def make(name, version, body="def g(): return 1\n"):
            for old in place.glob(f"{name}-*.dist-info"):
                for file in old.iterdir():
                    file.unlink()
                old.rmdir()
            (place / f"{name}.py").write_text(body)
            facts = place / f"{name}-{version}.dist-info"
            facts.mkdir()
            (facts / "METADATA").write_text(f"Name: {name}\nVersion: {version}\n")
            (facts / "RECORD").write_text(f"{name}.py,sha256={abs(len(body))},{len(body)}\n")
            sys.modules.pop(name, None)
            importlib.invalidate_caches()
            origin.distribution_of.cache_clear()
            origin._packages.cache_clear()
            importlib.import_module(name)
            names.append(name)

        yield make
        for name in names:
            sys.modules.pop(name, None)
        origin.distribution_of.cache_clear()
        origin._packages.cache_clear()

    USES = {
        "a function of it": "import fakedist\ndef f(): return fakedist.g()",
        "a name from it": "from fakedist import g\ndef f(): return g()",
        "an import inside": "def f():\n    import fakedist\n    return fakedist.g()",
        "through a helper": "import fakedist\ndef h(): return fakedist.g()\ndef f(): return h()",
        "a class of it": "from fakedist import K\ndef f(): return K()",
        "a subclass": "from fakedist import K\nclass C(K): pass\ndef f(): return C()",
        "the module as a value": "import fakedist\ndef f(n): return getattr(fakedist, n)",
    }
    BODY = "def g(): return 1\nclass K: pass\n"

    @pytest.mark.parametrize("name", USES)
    def test_its_version_counts(self, install, module, name):
        found = []
        for version in ("1.0", "1.1", "1.0"):
            install("fakedist", version, self.BODY)
            found.append(digest(module(self.USES[name]).f))
        assert found[0] == found[2] != found[1]

    def test_its_name_and_version_are_told(self, install, module):
        install("fakedist", "1.5")
        leaves = CodeIdentity(module(self.USES["a function of it"]).f).leaves()
        assert "fakedist 1.5" in leaves

    def test_its_files_count_as_installed(self, install, module):
        found = set()
        for body in (self.BODY, self.BODY + "x = 1\n"):
            install("fakedist", "1.0", body)
            found.add(digest(module(self.USES["a function of it"]).f))
        assert len(found) == 2

    @pytest.mark.parametrize(
        "source",
        [
            "import fakespace.two\ndef f(): return fakespace.two.g()",
            "from fakespace import two\ndef f(): return two.g()",
            "from fakespace.two import g\ndef f(): return g()",
            "def f():\n    from fakespace.two import g\n    return g()",
            "def f():\n    from fakespace import one, two\n    return two.g()",
            "def f():\n    from fakespace.one import g as h\n    from fakespace.two import g\n"
            "    return g()",
        ],
    )
    def test_each_distribution_that_shares_a_namespace(
        self, install, module, tmp_path, monkeypatch, source
    ):
        found = []
        shared = tmp_path / "site-packages" / "fakespace"
        shared.mkdir()
        for version in ("1.0", "1.1", "1.0"):
            for name, number in (("one", "1.0"), ("two", version)):
                install(f"fake{name}", number)
                (shared / f"{name}.py").write_text("def g(): return 1\n")
                (facts,) = shared.parent.glob(f"fake{name}-*.dist-info")
                (facts / "RECORD").write_text(f"fakespace/{name}.py,sha256=1,1\n")
            for name in ("fakespace", "fakespace.one", "fakespace.two"):
                monkeypatch.delitem(sys.modules, name, raising=False)
            found.append(digest(module(source).f))
        assert found[0] == found[2] != found[1]

    def test_what_is_not_reached_does_not_count(self, install, module):
        found = set()
        for version in ("1.0", "2.0"):
            install("otherdist", version)
            install("fakedist", "1.0")
            source = "import fakedist, otherdist\ndef f(): return fakedist.g()"
            identity = CodeIdentity(module(source).f)
            found.add(identity.digest())
            assert not any("otherdist" in name for name in identity.leaves())
        assert len(found) == 1

    def test_a_c_extension_of_a_distribution(self, module):
        pytest.importorskip("blake3")
        identity = CodeIdentity(module("from blake3 import blake3\ndef f(x): return blake3(x)").f)
        assert any(name.startswith("blake3 ") for name in identity.leaves())

    def test_a_c_extension_of_the_library_counts_by_name(self, module):
        one, other = (
            f"import math, cmath\ndef f(x): return {m}.sqrt(x)" for m in ("math", "cmath")
        )
        assert digest(module(one).f) != digest(module(other).f)
        assert digest(module(one).f) == digest(module("\n" + one).f)


class TestBuiltInPlace:
    """An extension module of the project, as in an editable install, counts by its file."""

    USES = (
        "import {0}\ndef f(x): return {0}.heappop(x)",
        "from {0} import heappop\ndef f(x): return heappop(x)",
        "from {0} import heappop\nT = {{'a': heappop}}\ndef f(x): return T['a'](x)",
    )

    @pytest.mark.parametrize("use", USES)
    def test_another_build_is_other_code(self, module, tmp_path, monkeypatch, use):
        shipped = importlib.util.find_spec("_heapq")
        if shipped is None or not str(shipped.origin).endswith(".so"):
            pytest.skip("this Python has it built in")
        source = use.format("_heapq")
        found = []
        for number, version in enumerate((b"", b"1", b"")):
            built = tmp_path / str(number) / Path(shipped.origin).name  # the old one is mapped
            built.parent.mkdir()
            built.write_bytes(Path(shipped.origin).read_bytes() + version)
            spec = importlib.util.spec_from_file_location("_heapq", built)
            loaded = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(loaded)
            monkeypatch.setitem(sys.modules, "_heapq", loaded)
            found.append(digest(module(source).f))
        assert found[0] == found[2] != found[1]


class TestSharedLibraries:
    """What ``ctypes`` loads is code: a library of one's own counts by its file."""

    SOURCE = """
        import ctypes
        @@
        entry = lib.PyInit__heapq
        def f(): return lib.PyInit__heapq()
        def g(): return entry()
        """

    @pytest.fixture
    def load(self, module, tmp_path):
        shipped = importlib.util.find_spec("_heapq")
        if shipped is None or not str(shipped.origin).endswith(".so"):
            pytest.skip("this Python has it built in")

        def make(build: bytes, more: str = ""):
            place = tmp_path / str(len(list(tmp_path.iterdir())))  # what is loaded stays mapped
            place.mkdir()
            library = place / "libown.so"
            library.write_bytes(Path(shipped.origin).read_bytes() + build)
            lines = f"lib = ctypes.CDLL({str(library)!r}){more}"
            return module(self.SOURCE.replace("@@", lines), folder=place.name)

        return make

    @pytest.mark.parametrize("name", ["f", "g"])
    def test_another_build_is_other_code(self, load, name):
        found = [digest(vars(load(build))[name]) for build in (b"", b"1", b"")]
        assert found[0] == found[2] != found[1]

    @pytest.mark.parametrize("name", ["f", "g"])
    def test_types_that_are_declared_count(self, load, name):
        declared = load(b"", "; lib.PyInit__heapq.restype = ctypes.py_object")
        assert digest(vars(declared)[name]) != digest(vars(load(b""))[name])

    def test_looking_a_function_up_does_not_count(self, load):
        loaded = load(b"")
        identity = CodeIdentity(loaded.f)
        before = identity.digest()
        loaded.lib.another = loaded.lib["PyInit__heapq"]  # as a look-up leaves it there
        assert identity.digest() == before

    def test_as_an_argument_it_is_refused(self, load):
        loaded = load(b"")
        for value in (loaded.lib, loaded.entry):
            with pytest.raises(UnidentifiableValueError, match="in this process"):
                leaf(value)

    def test_a_library_of_the_system_counts_by_its_name(self, module, monkeypatch):
        monkeypatch.setattr("parsl_ckpt.identity.libraries.content_digest", None)
        source = "import ctypes\nlib = ctypes.CDLL(None)\ndef f(): return lib.abs(-1)"
        assert digest(module(source).f) == digest(module(source).f)

    @pytest.mark.parametrize("change", ["2", "1"])
    def test_a_function_that_is_called_back_counts_by_its_code(self, module, change):
        source = (
            "import ctypes\ncall = ctypes.CFUNCTYPE(ctypes.c_int)(lambda: 1)\n"
            "def f(): return call()"
        )
        same = digest(module(source.replace(": 1", f": {change}")).f) == digest(module(source).f)
        assert same == (change == "1")


def test_a_compiled_object_that_names_no_module_counts_by_its_distribution(module, monkeypatch):
    pytest.importorskip("numpy")
    name = "numpy._core" if importlib.util.find_spec("numpy._core") else "numpy.core"
    pytest.importorskip(f"{name}._umath_tests")
    loaded = module(f"from {name}._umath_tests import inner1d\ndef f(x): return inner1d(x, x)")
    before = digest(loaded.f), leaf(loaded.inner1d)
    monkeypatch.setattr(
        "parsl_ckpt.identity.reach.distribution_of", lambda module: ("numpy", "99.0", "")
    )
    after = digest(loaded.f), leaf(loaded.inner1d)
    assert before[0] != after[0]
    assert before[1] != after[1]


def test_a_compiled_function_of_a_distribution_counts_by_version(module, monkeypatch):
    pytest.importorskip("numpy")
    loaded = module("from numpy import add\ndef f(x): return add(x, 1)")
    before = digest(loaded.f), leaf(loaded.add)
    monkeypatch.setattr(
        "parsl_ckpt.identity.reach.distribution_of", lambda module: ("numpy", "99.0", "")
    )
    after = digest(loaded.f), leaf(loaded.add)
    assert before[0] != after[0]
    assert before[1] != after[1]


class TestCost:
    """Hashing happens once for each change of a module, and not for each call."""

    @pytest.fixture
    def parsed(self, monkeypatch):
        counted = []

        @functools.wraps(ast.parse)
        def parse(*args, _original=ast.parse, **kwargs):
            counted.append(len(args[0]))
            return _original(*args, **kwargs)

        monkeypatch.setattr(source_module.ast, "parse", parse)
        return counted

    SOURCE = "\n".join(f"def g{n}(x):\n    return g{n + 1}(x) + {n}" for n in range(500))
    LAST = "\ndef g500(x): return x\n"

    def test_each_function_is_parsed_once(self, module, parsed):
        loaded = module(self.SOURCE + self.LAST)
        identity = CodeIdentity(loaded.g0)
        identity.digest()
        assert len(parsed) == 501
        for _ in range(3):
            identity.digest()
        digest(loaded.g0)
        digest(loaded.g7)
        assert len(parsed) == 501

    def test_only_what_is_reached_is_parsed(self, module, parsed):
        digest(module(self.SOURCE + self.LAST).g498)
        assert len(parsed) == 3
        assert sum(parsed) < 200

    def test_after_a_change_the_changed_function_only(self, module, parsed):
        loaded = module(self.SOURCE + self.LAST)
        identity = CodeIdentity(loaded.g0)
        before = identity.digest()
        loaded.g500 = module("def g500(x): return -x").g500
        assert identity.digest() != before
        assert len(parsed) == 502
