"""The picture of a job: what is drawn apart, and names that cannot leave their label."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings

from parsl_ckpt.plan import Job, JobBuilder, to_dot, trim
from parsl_ckpt.plan.dot import quoted
from tests.plan.strategies import jobs_and_persisted

LABEL = r'"(?:[^"\\\n]|\\[\\"n])*"'
STATEMENT = re.compile(
    rf"digraph plan {{|  rankdir=LR;|  node \[shape=box\];"
    rf'|  n\d+ \[label={LABEL}(, \w+=("#?\w+"|\w+))*\];'
    rf"|  n\d+ -> n\d+( \[(label={LABEL})?(, )?(style=dashed)?\])?;"
    r'|  subgraph cluster_\d+ { label="together"; style=rounded; (n\d+; ?)+ }'
    r"|}"
)


@settings(max_examples=100, deadline=None)
@given(jobs_and_persisted())
def test_every_line_is_a_statement_whatever_the_names(both):
    job, persisted = both
    text = to_dot(job, trim(job, persisted))
    text.encode("utf-8")
    lines = text.splitlines()
    assert [line for line in lines if not STATEMENT.fullmatch(line)] == []
    assert sum("[label=" in line and "->" not in line for line in lines) == len(job)
    assert sum("->" in line for line in lines) >= len(job.edges)


def test_run_restored_and_cut_are_drawn_apart():
    job = Job.of("abc", [("a", "b"), ("b", "c")])
    lines = to_dot(job, trim(job, ["b"])).splitlines()
    assert '  n0 [label="a", style=dashed, color="#999999", fontcolor="#999999"];' in lines
    assert '  n1 [label="b", style=filled, fillcolor="#cfe8cf", shape=cylinder];' in lines
    assert '  n2 [label="c", peripheries=2];' in lines
    assert "  n0 -> n1 [style=dashed];" in lines
    assert "  n1 -> n2;" in lines


def test_outputs_parameters_and_groups_are_told():
    builder = JobBuilder()
    builder.task("a", outputs=("x", "y"))
    builder.task("b")
    builder.edge(("a", "x"), ("b", "p"))
    builder.edge(("a", "y"), "b")
    builder.group("a", "b")
    text = to_dot(builder.build())
    assert 'n0 -> n1 [label="x → p"];' in text
    assert 'n0 -> n1 [label="y"];' in text
    assert 'subgraph cluster_0 { label="together"; style=rounded; n0; n1; }' in text


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ('"]; x [label="', '"\\"]; x [label=\\""'),
        ("a\\N", '"a\\\\N"'),
        ("a\\", '"a\\\\"'),
        ("a\nb", '"a\\nb"'),
        ("&lt;<b>", '"&amp;lt;&lt;b&gt;"'),
        ("\x00\r\u2028\udc80", r'"\\x00\\r\\u2028\\udc80"'),
        ("x" * 500, '"' + "x" * 119 + '…"'),
    ],
)
def test_a_name_is_shown_and_does_nothing(name, label):
    assert quoted(name) == label
