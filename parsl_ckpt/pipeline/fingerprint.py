"""Whether two descriptions are of one pipeline: by its structure, not by its settings."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

from parsl_ckpt.pipeline.config import PipelineConfig, check_config

Structure = Mapping[str, tuple[str, Sequence[str]]]


def compute_pipeline_fingerprint(config: PipelineConfig) -> str:
    """A digest of what a pipeline is made of.

    The name, the class path and the dependencies of each component count, in whatever order they
    are listed. What components are configured with does not, nor whether they are enabled, nor how
    failures are met: these may be changed between a failure and the resumption.

    Args:
        config: the pipeline.

    Returns:
        64 hexadecimal digits: a SHA-256 of all texts, each with its length before it, so that no
        two pipelines give the same bytes.

    >>> from parsl_ckpt.pipeline import ComponentConfig, PipelineConfig
    >>> one, two = (
    ...     PipelineConfig("etl", components=[ComponentConfig("a", "sink", "m.A", config={"n": n})])
    ...     for n in (1, 2)
    ... )
    >>> compute_pipeline_fingerprint(one) == compute_pipeline_fingerprint(two)
    True

    Raises:
        ConfigurationError: it is no pipeline.

    The idea is pyspark-pipeline-framework's.
    """
    check_config(config, "compute_pipeline_fingerprint")
    parts: list[str] = []
    for name, (class_path, depends_on) in sorted(structure(config).items()):
        parts += [name, class_path, str(len(depends_on)), *depends_on]
    digest = hashlib.sha256(b"parsl_ckpt pipeline 1")
    for part in parts:
        encoded = part.encode("utf-8", "surrogatepass")
        digest.update(len(encoded).to_bytes(8, "big") + encoded)
    return digest.hexdigest()


def structure(config: PipelineConfig) -> dict[str, tuple[str, tuple[str, ...]]]:
    """What counts in the fingerprint: class path and sorted dependencies of each component."""
    return {one.name: (one.class_path, tuple(sorted(one.depends_on))) for one in config.components}


def changes(before: Structure, now: Structure) -> list[str]:
    """What differs between two structures, as sentences without a full stop.

    >>> changes({"a": ("m.A", ()), "b": ("m.B", ())}, {"a": ("m.A", ("c",)), "c": ("m.C", ())})
    ["'b' is gone", "'c' is new", "'a' depends on 'c', not on nothing"]
    """
    found = [f"{name!r} is gone" for name in sorted(before.keys() - now.keys())]
    found += [f"{name!r} is new" for name in sorted(now.keys() - before.keys())]
    for name in sorted(before.keys() & now.keys()):
        (old_path, old_deps), (path, deps) = before[name], now[name]
        if old_path != path:
            found.append(f"{name!r} is of class {path}, not {old_path}")
        if sorted(old_deps) != sorted(deps):
            found.append(f"{name!r} depends on {_listed(deps)}, not on {_listed(old_deps)}")
    return found


def _listed(names: Sequence[str]) -> str:
    return ", ".join(map(repr, sorted(names))) or "nothing"
