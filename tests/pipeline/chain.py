"""A component whose life is told by files, for chains of failures, deaths and resumptions."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from parsl_ckpt.pipeline import ComponentConfig, PipelineConfig

GRAPH: dict[str, tuple[str, ...]] = {
    "a": (), "b": ("a",), "c": ("a",), "d": ("b", "c"), "e": (),
}  # fmt: skip


def config_at(place: Path) -> PipelineConfig:
    """A pipeline of steps that tell of themselves in a directory."""
    return PipelineConfig(
        "chain",
        components=[
            ComponentConfig(
                name, "transformation", f"{__name__}.Step", {"place": str(place), "name": name},
                deps,
            )
            for name, deps in GRAPH.items()
        ],
    )  # fmt: skip


class Step:
    """Notes in ``place/log`` that it begins and that it succeeds.

    It fails while ``place/fail-NAME`` is there, and kills its process while ``place/kill-NAME`` is.
    """

    def __init__(self, place: str, name: str) -> None:
        self.place, self.name = Path(place), name

    def _note(self, word: str) -> None:
        log = os.open(self.place / "log", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(log, f"{word} {self.name}\n".encode())
        os.close(log)

    def run(self) -> str:
        self._note("begin")
        if (self.place / f"kill-{self.name}").exists():
            os.kill(os.getpid(), signal.SIGKILL)
        if (self.place / f"fail-{self.name}").exists():
            raise OSError(f"{self.name} is to fail")
        self._note("done")
        return self.name


class Told:
    """What the log of a chain tells."""

    def __init__(self, place: Path) -> None:
        try:
            lines = (place / "log").read_text().splitlines()
        except FileNotFoundError:
            lines = []
        self.events = [tuple(line.split()) for line in lines]

    def done(self, name: str) -> int:
        """How often a component has succeeded."""
        return self.events.count(("done", name))

    @property
    def succeeded(self) -> set[str]:
        return {name for word, name in self.events if word == "done"}

    def begun_too_early(self, dependencies: dict[str, tuple[str, ...]]) -> list[str]:
        """Components that began before all that they depend on had succeeded."""
        done: set[str] = set()
        early = []
        for word, name in self.events:
            if word == "done":
                done.add(name)
            elif not done.issuperset(dependencies[name]):
                early.append(name)
        return early
