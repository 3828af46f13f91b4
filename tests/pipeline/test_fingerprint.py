"""What counts in the fingerprint of a pipeline, and what does not."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parsl_ckpt.pipeline import ComponentConfig, PipelineConfig, RetryConfig
from parsl_ckpt.pipeline.fingerprint import changes, compute_pipeline_fingerprint, structure

EXTRACT = ComponentConfig("extract", "source", "etl.Extract")
CLEAN = ComponentConfig("clean", "transformation", "etl.Clean", depends_on=["extract"])
LOAD = ComponentConfig("load", "sink", "etl.Load", depends_on=["extract", "clean"])


def of(*components: ComponentConfig, name: str = "etl") -> str:
    return compute_pipeline_fingerprint(PipelineConfig(name, components=components))


SAME = of(EXTRACT, CLEAN, LOAD)


def test_it_is_a_sha256_in_hexadecimal():
    assert len(SAME) == 64
    int(SAME, 16)


def test_it_is_stable_across_releases():
    assert of(EXTRACT) == "ec10a644713b3bc799df3d04d4472fe323a7a52dc80ffa1c0d566139428a4cf9"


def test_the_order_in_which_components_are_listed_does_not_count():
    assert of(LOAD, EXTRACT, CLEAN) == SAME


def test_the_order_of_dependencies_does_not_count():
    assert of(EXTRACT, CLEAN, dataclasses.replace(LOAD, depends_on=["clean", "extract"])) == SAME


@pytest.mark.parametrize(
    "change",
    [
        {"config": {"path": "/data"}},
        {"enabled": False},
        {"retry": RetryConfig(max_attempts=9)},
        {"executors": "big"},
        {"component_type": "source"},
    ],
)
def test_settings_do_not_count(change):
    assert of(EXTRACT, CLEAN, dataclasses.replace(LOAD, **change)) == SAME


@pytest.mark.parametrize(
    "change", [{"name": "store"}, {"class_path": "etl.Store"}, {"depends_on": ["clean"]}]
)
def test_structure_counts(change):
    assert of(EXTRACT, CLEAN, dataclasses.replace(LOAD, **change)) != SAME


def test_one_component_more_counts():
    assert of(EXTRACT, CLEAN, LOAD, dataclasses.replace(LOAD, name="again")) != SAME


texts = st.text("ab.", min_size=1, max_size=3).filter(str.strip)
components = st.lists(
    st.builds(
        ComponentConfig,
        texts,
        st.just("sink"),
        texts,
        depends_on=st.lists(texts, max_size=2, unique=True),
    ),
    max_size=3,
    unique_by=lambda one: one.name,
)


@given(components, components)
def test_two_pipelines_have_one_fingerprint_if_and_only_if_they_have_one_structure(one, other):
    same = structure(PipelineConfig("p", components=one)) == structure(
        PipelineConfig("p", components=other)
    )
    assert (of(*one) == of(*other)) is same


def test_where_one_text_ends_and_the_next_begins_counts():
    def pair(name: str, path: str) -> str:
        return of(ComponentConfig(name, "sink", path))

    assert pair("ab", "c") != pair("a", "bc")


def test_what_has_changed_is_told():
    before = structure(PipelineConfig("p", components=[EXTRACT, CLEAN, LOAD]))
    now = structure(
        PipelineConfig(
            "p",
            components=[
                dataclasses.replace(EXTRACT, class_path="etl.Read"),
                dataclasses.replace(LOAD, depends_on=["extract"]),
                dataclasses.replace(LOAD, name="report"),
            ],
        )
    )
    assert changes(before, now) == [
        "'clean' is gone",
        "'report' is new",
        "'extract' is of class etl.Read, not etl.Extract",
        "'load' depends on 'extract', not on 'clean', 'extract'",
    ]
    assert changes(now, now) == []
