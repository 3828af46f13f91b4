"""What became of a run of a pipeline and of each of its components."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from parsl_ckpt.kernel.failures import one_line


class PipelineResultStatus(str, Enum):
    """What became of a whole run."""

    SUCCESS = "success"
    PARTIAL_SUCCESS = "partial_success"
    FAILURE = "failure"

    def __str__(self) -> str:
        return self.value


class ComponentStatus(str, Enum):
    """What became of one component."""

    SUCCESS = "success"
    FAILED = "failed"
    SKIPPED = "skipped"
    RESTORED = "restored"
    DISABLED = "disabled"

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True)
class ComponentResult:
    """What became of one component.

    Attributes:
        component_name: its name.
        status: what became of it.
        attempts: how often it was begun in this run; 0 if it was not.
        duration_ms: from its start to its end, with all attempts and the waiting between them.
        error: what its last attempt raised.
        reason: of one that was skipped, because of what.
        restored_from: of one that was restored, the run that it succeeded in, if that is known.
    """

    component_name: str
    status: ComponentStatus
    attempts: int = 0
    duration_ms: int = 0
    error: BaseException | None = None
    reason: str = ""
    restored_from: str | None = None

    @property
    def success(self) -> bool:
        """Whether it has succeeded, in this run or in the one it was restored from."""
        return self.status in (ComponentStatus.SUCCESS, ComponentStatus.RESTORED)

    @property
    def told(self) -> str:
        """The error as text, whatever its ``__str__`` does; empty if there is none."""
        return "" if self.error is None else one_line(self.error)

    @property
    def retries(self) -> int:
        """How many attempts came after the first."""
        return max(self.attempts - 1, 0)

    def __str__(self) -> str:
        told: dict[ComponentStatus, str] = {
            ComponentStatus.SUCCESS: f"success, {self.duration_ms} ms",
            ComponentStatus.FAILED: f"failed: {self.told}",
            ComponentStatus.SKIPPED: f"skipped, because {self.reason}",
            ComponentStatus.RESTORED: "restored"
            + (f" from run {self.restored_from}" if self.restored_from else ""),
            ComponentStatus.DISABLED: "disabled",
        }
        tries = f" ({self.attempts} attempts)" if self.attempts > 1 else ""
        return f"{self.component_name}: {told[self.status]}{tries}"


@dataclass(frozen=True)
class PipelineResult:
    """What became of a run of a pipeline.

    Attributes:
        status: SUCCESS if nothing failed and nothing was skipped; else PARTIAL_SUCCESS if something
            has succeeded, in this run or in the one that it resumed; else FAILURE.
        pipeline_name: the pipeline.
        component_results: one for each component, in the order in which they run.
        total_duration_ms: how long it took.
        run_id: the id under which its progress is recorded, if it is.
        outputs: the values of the components on which no other depends, as far as they have one.

    >>> result = PipelineResult(PipelineResultStatus.SUCCESS, "nothing")
    >>> result.completed_components, result.failed_components
    ([], [])
    """

    status: PipelineResultStatus
    pipeline_name: str
    component_results: Sequence[ComponentResult] = ()
    total_duration_ms: int = 0
    run_id: str | None = None
    outputs: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @property
    def completed_components(self) -> list[str]:
        """Names of those that have succeeded, restored ones included."""
        return [one.component_name for one in self.component_results if one.success]

    @property
    def failed_components(self) -> list[tuple[str, BaseException]]:
        """Names of those that have failed, each with its error."""
        return [
            (one.component_name, one.error)
            for one in self.component_results
            if one.status is ComponentStatus.FAILED and one.error is not None
        ]

    @property
    def skipped_components(self) -> list[tuple[str, str]]:
        """Names of those that were skipped, each with the reason."""
        return [
            (one.component_name, one.reason)
            for one in self.component_results
            if one.status is ComponentStatus.SKIPPED
        ]

    def component(self, name: str) -> ComponentResult:
        """What became of one component.

        Raises:
            KeyError: there is none of that name.
        """
        for one in self.component_results:
            if one.component_name == name:
                return one
        raise KeyError(name)

    def __str__(self) -> str:
        head = f"{self.pipeline_name}: {self.status.value}, {self.total_duration_ms} ms"
        return "\n".join([head, *(f"  {one}" for one in self.component_results)])


def overall(results: Sequence[ComponentResult]) -> PipelineResultStatus:
    """What became of a run, from what became of its components."""
    bad = (ComponentStatus.FAILED, ComponentStatus.SKIPPED)
    if not any(one.status in bad for one in results):
        return PipelineResultStatus.SUCCESS
    if any(one.success for one in results):
        return PipelineResultStatus.PARTIAL_SUCCESS
    return PipelineResultStatus.FAILURE
