"""A loop that is killed at any line of the library ends as if it had not been."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytestmark = pytest.mark.skipif(os.name != "posix", reason="it forks, and kills")
STEPS = 7


@pytest.fixture(scope="module")
def lives():
    """Gives the lives of a loop: what each of them told."""
    path = os.pathsep.join(part for part in sys.path if part)
    process = subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("killed.py"))],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": path},
    )  # fmt: skip

    def ask(kills, **options):
        process.stdin.write(json.dumps({"kills": kills, "options": options}) + "\n")
        process.stdin.flush()
        return json.loads(process.stdout.readline())

    yield ask
    process.stdin.close()
    assert process.wait(60) == 0


@pytest.fixture(scope="module")
def straight(lives):
    """What the loop comes to when nobody kills it, and how many lines of the library it takes."""
    [life] = lives([])
    return json.loads(life[-1].partition(" ")[2])


def numbers(life, word):
    return [int(line.split()[1]) for line in life if line.startswith(word + " ")]


def check(found, expected):
    acknowledged = 0
    for life in found:
        assert not [line for line in life if line.startswith("error")], life[-1]
        for begun in numbers(life, "begin"):
            # Nothing that was acknowledged is lost, and nothing is skipped that was not done.
            assert begun >= acknowledged
            steps = numbers(life, "step")
            assert steps == list(range(begun, begun + len(steps)))
        acknowledged = max([acknowledged, *numbers(life, "commit")])
        if "through" in life:
            acknowledged = STEPS
    last = json.loads(found[-1][-1].partition(" ")[2])
    assert last[0] == expected


@given(
    st.lists(st.floats(0, 2), min_size=1, max_size=2),
    st.integers(1, STEPS + 1),
    st.sampled_from(["append", "overwrite"]),
    st.sampled_from([None, 1, 3]),
    st.sampled_from([0, 0, 3]),
)
@settings(max_examples=12, deadline=None)
def test_killed_at_any_line_it_goes_on_to_the_same_bits(
    lives, straight, places, interval, mode, keep, room
):
    expected, lines = straight
    kills = [max(1, int(place * lines)) for place in places]
    found = lives(kills, flush_interval=interval, mode=mode, history_size=keep, room=room)
    check(found, expected)


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["append", "overwrite"])
@pytest.mark.parametrize("interval", range(1, STEPS + 2))
def test_for_every_interval_killed_all_along(lives, straight, interval, mode):
    expected, lines = straight
    for at in range(1, lines, lines // 6):
        options = {"flush_interval": interval, "mode": mode, "history_size": 2}
        check(lives([at], **options, room=3 * (at % 2)), expected)
