"""A function is cut out of its file where its code says it begins, or found in the whole text."""

from __future__ import annotations

import sys

import pytest

from parsl_ckpt.identity import CodeIdentity, source, texts
from parsl_ckpt.identity.texts import source_of

PLAIN = "def f(x): return x + 1"

# Sources in which f does what PLAIN says; whether it can be cut out.
SOURCES = {
    "by itself": (PLAIN, True),
    "between others": (f"A = 1\ndef g(): pass\n\n{PLAIN}\nB = 2", True),
    "a signature over several lines": ("def f(\n    x,\n):\n    return x + 1", True),
    "a comment at the margin": ("def f(x):\n# why\n    return x + 1", True),
    "a form feed": ("\f\ndef f(x):\n    return x + 1\n\f\nA = 1", True),
    "the last line without an end": ("A = 1\ndef f(x):\n    return x + 1", True),
    "tabs": ("def f(x):\n\treturn x + 1", True),
    "a continued line": ("def f(x):\n    return x + \\\n1", False),
    "in a block": ("if True:\n    def f(x): return x + 1", False),
    "after a semicolon": ("A = 1; f = lambda x: x + 1", False),
    "in a function": ("def m():\n    def f(x): return x + 1\n    return f\nf = m()", False),
    "in a class": ("class C:\n    def f(x): return x + 1\nf = C.f", False),
    "a text that looks like it before": (f'T = """\n{PLAIN.replace("1", "2")}\n"""\n{PLAIN}', True),
    "annotations as in the future": (
        "from __future__ import annotations\ndef f(x: Unknown) -> Nothing: return x + 1",
        True,
    ),
}


@pytest.mark.parametrize("name", SOURCES)
def test_wherever_it_stands(module, name):
    source, cut = SOURCES[name]
    loaded = module(source)
    identity = CodeIdentity(loaded.f)
    assert identity.digest() == CodeIdentity(module(PLAIN).f).digest()
    whole = vars(source_of(loaded.__file__, {})).get("whole")
    assert (whole is None) == cut


@pytest.mark.parametrize(
    "body",
    [
        's = """\ndef g(): return 1\n"""\n    return s',
        's = """\nA = @@\n"""\n    return s',
        "s = '''\n@d\n'''\n    return s",
    ],
)
def test_a_text_at_the_margin_is_part_of_the_function(module, body):
    source = f"def f():\n    {body}\nB = 1"
    identity = CodeIdentity(module(source).f)
    assert "\\n" in next(iter(identity.sources().values()))
    other = module(source.replace('"""\n    return s', 'x"""\n    return s').replace("@d", "@e"))
    assert CodeIdentity(other.f).digest() != identity.digest()


def test_a_function_inside_a_text_that_is_the_same_as_the_real_one(module):
    text = f'T = """\n{PLAIN}\nA = 1\n"""\n'
    loaded = module(text + PLAIN)
    loaded.f.__code__ = loaded.f.__code__.replace(co_firstlineno=2)
    assert CodeIdentity(loaded.f).digest() == CodeIdentity(module(PLAIN).f).digest()


def test_decorators_belong_to_it(module):
    source = "def d(n):\n    return lambda g: g\n@d(\n    @@\n)\n@d(2)\ndef f(x): return x + 1"
    one, other = (CodeIdentity(module(source.replace("@@", n)).f) for n in "12")
    assert one.digest() != other.digest()


def test_a_large_module_that_cannot_be_parsed_any_more(module, tmp_path):
    loaded = module(PLAIN, name="broken_x", folder="b")
    before = CodeIdentity(module(PLAIN).f).digest()
    (tmp_path / "b" / "broken_x.py").write_text(f"{PLAIN}\nthis is no Python\n")
    assert CodeIdentity(loaded.f).digest() == before
    (tmp_path / "b" / "broken_x.py").write_text("this is no Python\n")
    fresh = module(PLAIN, name="broken_y", folder="b")
    (tmp_path / "b" / "broken_y.py").write_text("this is no Python\n")
    assert CodeIdentity(fresh.f).digest() != before  # by bytecode


def test_the_source_of_what_was_cut_out(module):
    identity = CodeIdentity(module("A = 1\ndef f(x: int):\n    'Doc.'\n    return (x)").f)
    assert list(identity.sources().values()) == ["def f(x):\n    return x"]


class TestCompiledBefore:
    """What the import system has compiled is not compiled again, if it is of this very text."""

    @pytest.fixture
    def compiled(self, monkeypatch):
        monkeypatch.setattr(sys, "dont_write_bytecode", False)
        counted = []

        def counting(*args, **kwargs):
            counted.append(args)
            return compile(*args, **kwargs)

        monkeypatch.setattr(source, "compile", counting, raising=False)
        return counted

    @pytest.fixture
    def old(self, monkeypatch):
        monkeypatch.setattr(texts, "_YOUNG_NS", -(10**18))

    def test_is_used(self, module, compiled, old):
        assert CodeIdentity(module(PLAIN).f).digest() == CodeIdentity(module(PLAIN).f).digest()
        assert compiled == []

    def test_is_not_used_while_it_is_young(self, module, compiled):
        CodeIdentity(module(PLAIN).f).digest()
        assert len(compiled) == 1

    @pytest.mark.parametrize("name", SOURCES)
    def test_gives_the_same(self, module, name, compiled, old):
        found = CodeIdentity(module(SOURCES[name][0]).f).digest()
        assert found == CodeIdentity(module(PLAIN).f).digest()

    def test_is_not_used_for_an_edited_file(self, module, tmp_path, compiled, old):
        loaded = module("def f(): return 1", name="compiled_x", folder="c")
        (tmp_path / "c" / "compiled_x.py").write_text("def f(): return 22\n")
        assert (
            CodeIdentity(loaded.f).digest() != CodeIdentity(module("def f(): return 22").f).digest()
        )
