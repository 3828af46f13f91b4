"""Many callers, and a memoizer that does everything a memoizer may do, in any order."""

from __future__ import annotations

import random
import threading
from concurrent.futures import CancelledError, Future
from pathlib import Path
from typing import Any

import pytest

import parsl_ckpt as pc
from tests.guarantees.helpers import DEADLINE

KINDS = ("nothing", "value", "error", "later", "later error", "cancelled", "raises", "nonsense")


@pc.python_app(cache=True, code="function")
def triple(x):
    return 3 * x


class Moody(pc.BasicMemoizer):
    """Answers by the argument; what is to come later is finished by a thread of its own."""

    def __init__(self, kinds: dict[int, str]) -> None:
        super().__init__(checkpoint_mode="task_exit", parsl_keys=True)
        self.kinds = kinds
        self.later: list[Any] = []
        self.told: list[Any] = []
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.finish)
        self.thread.start()

    def check_memo(self, task: Any) -> Any:
        (x,) = task["args"]
        kind = self.kinds.get(x, "nothing")
        answer: Future[Any] = Future()
        if kind == "raises":
            raise ValueError(x)
        if kind == "nonsense":
            return x
        if kind == "value":
            answer.set_result(3 * x)
        elif kind == "error":
            answer.set_exception(KeyError(x))
        elif kind != "nothing":
            self.later.append((kind, x, answer))
        return None if kind == "nothing" else answer

    def finish(self) -> None:
        while not self.over.is_set() or self.later:
            while self.later:
                kind, x, answer = self.later.pop(random.randrange(len(self.later)))
                if kind == "later":
                    answer.set_result(3 * x)
                elif kind == "later error":
                    answer.set_exception(KeyError(x))
                else:
                    answer.cancel()
            self.over.wait(0.001)

    def update_memo_result(self, task: Any, r: Any) -> None:
        self.told.append((task["args"][0], r))

    def close(self) -> None:
        self.over.set()
        self.thread.join(DEADLINE)


@pytest.mark.filterwarnings("ignore::parsl_ckpt.CheckpointWarning")
@pytest.mark.parametrize("seed", range(3))
def test_every_call_has_its_outcome_whatever_is_answered(seed: int, tmp_path: Path) -> None:
    chance = random.Random(seed)
    kinds = {x: chance.choice(KINDS) for x in range(300)}
    memoizer = Moody(kinds)
    outcomes: list[tuple[int, Any]] = []

    def call(numbers: list[int]) -> None:
        futures = [(x, triple(x)) for x in numbers]
        futures += [(3 * x, triple(future)) for x, future in futures[::5]]
        for x, future in futures:
            if x % 17 == 0:
                future.cancel()
            try:
                outcomes.append((x, future.result(DEADLINE)))
            except (KeyError, CancelledError, pc.DependencyError) as error:
                outcomes.append((x, error))

    with pc.load(pc.Config(run_dir=tmp_path / "runs", memoizer=memoizer)) as dfk:
        numbers = [[chance.randrange(300) for _ in range(200)] for _ in range(4)]
        threads = [threading.Thread(target=call, args=(some,)) for some in numbers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(DEADLINE)
        dfk.wait_for_current_tasks()
        for x, outcome in outcomes:
            if not isinstance(outcome, BaseException):  # recorded, wherever it came from
                known = triple.peek(x)
                assert known is not None
                assert known.result() == 3 * x
    assert len(outcomes) == 4 * 240
    for x, outcome in outcomes:
        if isinstance(outcome, KeyError):
            assert kinds[x] in ("error", "later error")
        elif not isinstance(outcome, (CancelledError, pc.DependencyError)):
            assert outcome == 3 * x
    assert all(r == 3 * x for x, r in memoizer.told)
