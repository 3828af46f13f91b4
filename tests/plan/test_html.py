"""A plan as a page and as a picture: whole, offline, and safe whatever names are made of."""

from __future__ import annotations

import contextlib
import itertools
import re
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from pathlib import Path

import pytest

import parsl_ckpt as pc
from parsl_ckpt.plan import Job, svg, trim
from parsl_ckpt.plan.explain import Counted, Explanation, Planned
from parsl_ckpt.plan.html import fragment, page

SVG = "{http://www.w3.org/2000/svg}"
EVIL = '<script>alert("x")</script>&\'\n\x00\ud800 {0} %s'


class Tags(HTMLParser):
    """The tags of a page, and whether each that is opened is closed."""

    EMPTY = frozenset({"meta", "br"})

    def __init__(self, text):
        super().__init__()
        self.open, self.seen, self.attributes = [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.seen.append(tag)
        self.attributes += attrs
        if tag not in self.EMPTY:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert tag not in self.EMPTY
        while self.open[-1] in ("p", "li") and self.open[-1] != tag:
            self.open.pop()
        assert self.open.pop() == tag


def boxes(drawing):
    return ET.fromstring(drawing).findall(f"{SVG}g")


def edges(drawing):
    paths = ET.fromstring(drawing).findall(f"{SVG}path")
    return [path for path in paths if path.get("fill") == "none"]


def left(box):
    return float(box.find(f"{SVG}rect").get("x"))


def titled(drawing):
    return {box.find(f"{SVG}title").text: box for box in boxes(drawing)}


def told(job, found, name=None):
    """An explanation of a job, as a plan gives it."""
    states = svg.states(found)
    tasks = tuple(Planned(name, "app", states(name), "a reason") for name in job.tasks)
    counts = (len(found.run), len(found.restored), len(found.cut))
    counted = (Counted(name or "app", *counts, None),) if tasks else ()
    return Explanation(counted, (), tasks, len(job), None)


DIAMOND = Job.of(
    ["read", "left", "right", "fit"],
    [("read", "left"), ("read", "right"), ("left", "fit"), ("right", "fit")],
)


# --- the drawing ----------------------------------------------------------------------------------


def test_each_task_is_a_box_to_the_right_of_what_it_takes():
    drawing = svg.tasks(DIAMOND, trim(DIAMOND, ()))
    places = {title.partition(":")[0]: left(box) for title, box in titled(drawing).items()}
    assert places["read"] < places["left"] == places["right"] < places["fit"]
    assert len(edges(drawing)) == 4


def test_what_is_restored_and_what_is_cut_look_different():
    found = trim(DIAMOND, ["left"])
    drawing = svg.tasks(DIAMOND, found)
    assert set(titled(drawing)) == {"read: run", "left: restored", "right: run", "fit: run"}
    assert titled(drawing)["left: restored"].find(f"{SVG}rect").get("fill") == "#cfe8cf"
    idle = [edge for edge in edges(drawing) if edge.get("stroke-dasharray")]
    assert len(idle) == 1  # from what would have been read to what is restored
    everything = svg.tasks(DIAMOND, trim(DIAMOND, ["fit"]))
    assert {"read: cut", "left: cut", "right: cut", "fit: restored"} == set(titled(everything))
    assert titled(everything)["read: cut"].find(f"{SVG}rect").get("stroke-dasharray")


def test_what_is_wanted_has_a_thick_border():
    drawing = svg.tasks(DIAMOND, trim(DIAMOND, ()))
    thick = {
        title
        for title, box in titled(drawing).items()
        if box.find(f"{SVG}rect").get("stroke-width") == "3"
    }
    assert thick == {"fit: run"}


def test_boxes_do_not_lie_on_one_another_and_stay_in_the_picture():
    names = [f"t{n}" for n in range(60)]
    ends = [(f"t{n}", f"t{m}") for n in range(60) for m in (2 * n + 1, 2 * n + 2, n + 7) if m < 60]
    job = Job.of(names, ends)
    drawing = svg.tasks(job, trim(job, ["t3"]))
    root = ET.fromstring(drawing)
    places = [
        tuple(float(box.find(f"{SVG}rect").get(at)) for at in ("x", "y", "width", "height"))
        for box in boxes(drawing)
    ]
    assert len(places) == 60
    for x, y, width, height in places:
        assert 0 <= x <= float(root.get("width")) - width
        assert 0 <= y <= float(root.get("height")) - height
    for at, (x, y, width, height) in enumerate(places):
        for x2, y2, *_ in places[at + 1 :]:
            assert abs(x - x2) >= width or abs(y - y2) >= height


def test_the_same_job_is_drawn_the_same():
    assert svg.tasks(DIAMOND, trim(DIAMOND, ())) == svg.tasks(DIAMOND, trim(DIAMOND, ()))


def test_tasks_of_an_app_are_one_box_with_counts():
    names = [f"{app}-{n}" for app in ("read", "clean") for n in range(40)] + ["fit-80"]
    ends = [(f"read-{n}", f"clean-{n}") for n in range(40)]
    ends += [(f"clean-{n}", "fit-80") for n in range(40)]
    job = Job.of(names, ends)
    found = trim(job, [f"clean-{n}" for n in range(30)])
    drawing = svg.apps(job, found, lambda name: name.rpartition("-")[0])
    assert list(titled(drawing)) == [
        "read: 10 run, 30 cut", "clean: 10 run, 30 restored", "fit: 1 run"
    ]  # fmt: skip
    labels = [text.text for text in ET.fromstring(drawing).findall(f"{SVG}text")]
    assert labels == ["40", "40"]


def test_apps_that_take_from_one_another_and_from_themselves_are_drawn():
    names = [f"{app}-{n}" for n in range(5) for app in ("step", "check")]
    job = Job.of(names, list(itertools.pairwise(names)))
    drawing = svg.apps(job, trim(job, ()), lambda name: name.rpartition("-")[0])
    assert len(boxes(drawing)) == 2 and len(edges(drawing)) == 2
    drawing = svg.apps(job, trim(job, ()), lambda name: "same")
    assert len(boxes(drawing)) == 1 and edges(drawing) == []


def test_an_edge_goes_around_a_box_that_would_hide_it():
    job = Job.of(["a", "b", "c"], [("a", "b"), ("b", "c"), ("a", "c")])
    drawing = svg.tasks(job, trim(job, ()))
    heights = []
    for edge in edges(drawing):
        numbers = [float(number) for number in re.findall(r"-?\d+(?:\.\d+)?", edge.get("d"))]
        heights.append(min(numbers[1::2]))
    top = min(float(box.find(f"{SVG}rect").get("y")) for box in boxes(drawing))
    assert sum(height < top for height in heights) == 1
    assert min(heights) >= 0


def test_a_large_job_is_not_drawn_task_by_task():
    job = Job.of([f"t-{n}" for n in range(svg.MOST + 1)])
    found = trim(job, ())
    assert svg.tasks(job, found) == ""
    assert svg.apps(job, found, lambda name: "t") != ""
    assert svg.apps(job, found, lambda name: name) == ""
    text = page(told(job, found), job, found, lambda name: name)
    assert "301 tasks are too many to be drawn" in text and "too many apps" in text


def test_long_names_are_shortened_and_keep_their_ends():
    job = Job.of(["a" * 200 + "-123456"])
    drawing = svg.tasks(job, trim(job, ()))
    (box,) = boxes(drawing)
    shown = box.find(f"{SVG}text").text
    assert len(shown) <= 21 and shown.endswith("-123456")
    assert box.find(f"{SVG}title").text.startswith("a" * 200)


def test_the_picture_of_the_page_is_what_is_drawn():
    chains = [[f"{app}-{n}" for app in ("read", "clean", "daily")] for n in (0, 1, 2)]
    ends = [pair for chain in chains for pair in itertools.pairwise([*chain, "trend-3"])]
    job = Job.of([*itertools.chain(*chains), "trend-3"], ends)
    drawing = svg.tasks(job, trim(job, ["daily-0", "daily-1"]))
    picture = Path(__file__).resolve().parents[2] / "docs" / "pictures" / "cut.svg"
    assert picture.read_text(encoding="utf-8") == drawing + "\n"


# --- the page -------------------------------------------------------------------------------------


def test_names_cannot_become_markup():
    job = Job.of([EVIL, "b"], [(EVIL, "b")])
    found = trim(job, ())
    text = page(told(job, found, EVIL), job, found, lambda name: name)
    tags = Tags(text)
    assert "script" not in tags.seen and "<script" not in text
    text.encode("utf-8")
    assert "\x00" not in text
    for drawing in (svg.tasks(job, found), svg.apps(job, found, lambda name: name)):
        ET.fromstring(drawing)


def test_a_page_needs_nothing_else():
    found = trim(DIAMOND, ["left"])
    text = page(told(DIAMOND, found), DIAMOND, found, lambda name: name)
    tags = Tags(text)
    assert not {"script", "link", "img", "iframe", "object"} & set(tags.seen)
    assert not {"src", "href", "onclick", "onload"} & {name for name, _ in tags.attributes}
    addresses = set(re.findall(r"https?://[^\"' ]+", text))
    assert addresses == {"http://www.w3.org/2000/svg"}  # the name of a language
    assert text.startswith("<!DOCTYPE html>") and tags.seen.count("svg") == 2


def test_an_empty_plan_is_a_page_too():
    job = Job.of([])
    text = page(told(job, trim(job, ())), job, trim(job, ()), lambda name: name)
    assert "The plan is empty" in text and "svg" not in Tags(text).seen


def test_a_fragment_is_for_notebooks():
    found = trim(DIAMOND, ())
    text = fragment(told(DIAMOND, found))
    assert Tags(text).seen[0] == "div" and "<html" not in text
    assert told(DIAMOND, found)._repr_html_() == text


# --- of a plan ------------------------------------------------------------------------------------


@pc.python_app(cache=True)
def read(name):
    return name


@pc.python_app(cache=True)
def fit(parts):
    return sorted(parts)


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.delenv("PARSL_CKPT", raising=False)
    with contextlib.ExitStack() as stack:

        def begin():
            stack.close()
            config = pc.Config(
                executors=[pc.ThreadPoolExecutor(max_workers=1)], checkpoint_mode="task_exit",
                run_dir=str(tmp_path / "runs"),
            )  # fmt: skip
            return stack.enter_context(pc.load(config))

        yield begin


def planned(dfk, names):
    with dfk.plan() as plan:
        fit([read(name) for name in names])
    return plan


def test_a_plan_is_a_page_with_its_counts_causes_and_drawings(run):
    planned(run(), "ab").run().results()
    plan = planned(run(), "abc")
    text = plan.to_html()
    tags = Tags(text)
    assert tags.seen.count("svg") == 2
    assert "Plan of 4 tasks: 2 run, 2 are restored, none is cut away." in text
    assert "no call with these arguments is recorded" in text
    assert "it takes read-2, which runs" in text
    for name in plan.job.tasks:
        assert f"<title>{name}: " in text
    assert plan.trim is None
    plan.run().results()
    assert "2 ran, 2 were restored" in plan.to_html()


def test_a_plan_is_shown_in_notebooks(run):
    plan = planned(run(), "ab")
    assert "Plan of 3 tasks" in plan._repr_html_()
    assert plan._repr_html_() == plan.explain()._repr_html_()


def test_a_plan_is_a_graph_for_graphviz(run):
    planned(run(), "ab").run().results()
    dot = planned(run(), "ab").to_dot()
    assert dot.startswith("digraph plan {") and dot.count("style=dashed, color") == 2
    assert "shape=cylinder" in dot
