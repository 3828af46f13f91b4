"""Files in a bucket as inputs and outputs of apps."""

from __future__ import annotations

from pathlib import Path

import pytest

import parsl_ckpt as pc

DEADLINE = 60


@pc.python_app(cache=True, code="function")
def upper(inputs=(), outputs=()):
    with open(inputs[0]) as read, open(outputs[0], "w") as written:
        written.write(read.read().upper())


@pc.python_app(cache=True, code="function")
def text(file):
    with open(file) as read:
        return read.read()


@pytest.mark.slow
@pytest.mark.parametrize("pool", [pc.ThreadPoolExecutor, pc.ProcessPoolExecutor])
def test_files_of_a_bucket_are_fetched_and_delivered(s3: str, tmp_path: Path, pool: type) -> None:
    import fsspec

    def write(name: str, content: str) -> None:
        with fsspec.open(f"{s3}/{name}", "w") as file:
            file.write(content)

    def run() -> pc.DataFlowKernel:
        pc.clear()
        return pc.load(pc.Config(executors=[pool(max_workers=1)], run_dir=tmp_path / "runs",
                                 checkpoint_mode="task_exit"))  # fmt: skip

    write("a.txt", "abc")
    one, two = pc.File(f"{s3}/a.txt"), pc.File(f"{s3}/out/b.txt")
    try:
        for hit in (False, True):
            with run():
                call = upper(inputs=[one], outputs=[two])
                assert text(call.outputs[0]).result(DEADLINE) == "ABC"
                assert call.from_memo is hit
        with run():
            write("out/b.txt", "ABD")
            call = upper(inputs=[one], outputs=[two])
            assert text(call.outputs[0]).result(DEADLINE) == "ABC" and not call.from_memo
            write("a.txt", "xyz")
            call = upper(inputs=[one], outputs=[two])
            assert text(call.outputs[0]).result(DEADLINE) == "XYZ" and not call.from_memo
            assert two.stamp()  # the bucket's ETag spares reading it
    finally:
        pc.clear()
