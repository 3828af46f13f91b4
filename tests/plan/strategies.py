"""Jobs at random: small, with everything that a job may have."""

from __future__ import annotations

from hypothesis import strategies as st

from parsl_ckpt.plan import Job, JobBuilder, Output

#: What a name may be made of, if somebody means harm or has odd files.
HOSTILE = [
    "",
    '"',
    "\\",
    "a\nb",
    "];",
    "\x00",
    "\udc80",
    "é",
    "\u202e",
    "&lt;",
    "../..",
    "{}",
    "n0",
]


@st.composite
def jobs(draw: st.DrawFn, most: int = 7, groups: bool = True, outputs: int = 3) -> Job:
    count = draw(st.integers(1, most))
    names = draw(
        st.lists(st.text(max_size=3) | st.sampled_from(HOSTILE), min_size=count, max_size=count,
                 unique=True)
    )  # fmt: skip
    gives = [draw(st.integers(1, outputs)) for _ in names]
    builder = JobBuilder()
    edges = []
    for taker in range(1, count):
        for giver in draw(st.lists(st.integers(0, taker - 1), max_size=4)):
            output = draw(st.integers(0, gives[giver] - 1))
            edges.append(((names[giver], f"o{output}"), (names[taker], draw(PARAMETER))))
    for at in draw(st.permutations(range(count))):  # not the order in which they depend
        builder.task(names[at], outputs=[f"o{n}" for n in range(gives[at])])
    for edge in draw(st.permutations(edges)):
        builder.edge(*edge)
    if groups:
        member_of = [draw(st.integers(0, 3)) for _ in names]
        for group in (1, 2):
            builder.group(*(name for name, of in zip(names, member_of, strict=True) if of == group))
    every = [(names[at], f"o{n}") for at in range(count) for n in range(gives[at])]
    wanted = draw(st.none() | st.lists(st.sampled_from(every), unique=True))
    if wanted is not None:
        builder.want(*wanted)
    return builder.build()


PARAMETER = st.sampled_from(["", "x", "y"])


def every_output(job: Job) -> list[Output]:
    return [Output(name, output) for name in job.tasks for output in job.outputs(name)]


@st.composite
def jobs_and_persisted(draw: st.DrawFn, **about: object) -> tuple[Job, set[Output]]:
    job = draw(jobs(**about))  # type: ignore[arg-type]
    every = every_output(job)
    return job, set(draw(st.lists(st.sampled_from(every), unique=True, max_size=len(every))))
