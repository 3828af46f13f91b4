"""Files as arguments: by content, by time, by path; as outputs by name."""

from __future__ import annotations

import os
import pickle

import pytest

import parsl_ckpt as pc
from parsl_ckpt.errors import FileIdentityError

DEADLINE = 60


@pytest.fixture(params=["threads", "processes"])
def dfk(request, tmp_path):
    pool = pc.ThreadPoolExecutor if request.param == "threads" else pc.ProcessPoolExecutor
    pc.clear()
    config = pc.Config(
        executors=[pool(max_workers=1)], checkpoint_mode="task_exit", run_dir=tmp_path / "runs"
    )
    with pc.load(config) as dfk:
        yield dfk
    pc.clear()


@pytest.fixture
def data(tmp_path):
    path = tmp_path / "data.txt"
    path.write_text("one")
    os.utime(path, (1_000_000_000, 1_000_000_000))
    return path


@pc.python_app(cache=True, code="function")
def read(file):
    with open(file) as opened:
        return opened.read()


@pc.python_app(cache=True, code="function")
def write(text, outputs=()):
    with open(outputs[0], "w") as opened:
        opened.write(text)
    return len(text)


def outcome(future):
    return future.result(DEADLINE), future.from_memo


def test_a_file_counts_by_its_content_whatever_its_name(dfk, data, tmp_path):
    assert outcome(read(pc.File(data))) == ("one", False)
    data.rename(tmp_path / "moved.txt")
    assert outcome(read(pc.File(tmp_path / "moved.txt"))) == ("one", True)
    (tmp_path / "moved.txt").write_text("two")
    assert outcome(read(pc.File(tmp_path / "moved.txt"))) == ("two", False)


def test_by_time_it_counts_by_path_size_and_time(dfk, data):
    assert outcome(read(pc.File(data, identity="mtime"))) == ("one", False)
    data.write_text("two")
    os.utime(data, (1_000_000_000, 1_000_000_000))
    assert outcome(read(pc.File(data, identity="mtime"))) == ("one", True)
    os.utime(data, (1_000_000_001, 1_000_000_001))
    assert outcome(read(pc.File(data, identity="mtime"))) == ("two", False)


def test_by_path_it_counts_by_path(dfk, data):
    assert outcome(read(pc.File(data, identity="path"))) == ("one", False)
    data.write_text("other")
    assert outcome(read(pc.File(data, identity="path"))) == ("one", True)


def test_a_file_inside_a_list_counts_too(dfk, data):
    @pc.python_app(cache=True, code="function")
    def sizes(files):
        import os

        return [os.path.getsize(file) for file in files]

    assert outcome(sizes([pc.File(data)])) == ([3], False)
    data.write_text("longer")
    assert outcome(sizes([pc.File(data)])) == ([6], False)


def test_an_output_counts_by_its_name(dfk, tmp_path):
    target = tmp_path / "target.txt"
    assert outcome(write("x", outputs=[pc.File(target)])) == (1, False)
    assert outcome(write("x", outputs=[pc.File(target)])) == (1, True)
    assert outcome(write("x", outputs=[pc.File(tmp_path / "other.txt")])) == (1, False)


def test_a_file_that_is_missing_fails_the_call_and_names_app_and_parameter(dfk, tmp_path):
    with pytest.raises(FileIdentityError, match=r"'file' of app 'read'.*nowhere"):
        read(pc.File(tmp_path / "nowhere")).result(DEADLINE)


def test_urls():
    assert os.fspath(pc.File("file:///a%20b/c.txt")) == "/a b/c.txt"
    assert os.fspath(pc.File("file://localhost/c.txt")) == "/c.txt"
    assert os.fspath(pc.File("a:b/c.txt")) == "a:b/c.txt"
    with pytest.raises(FileIdentityError, match="not on this machine"):
        pc.File("file://elsewhere/c.txt")
    file = pc.File("s3://bucket/a/key")
    assert (file.scheme, file.netloc, file.path, file.filename) == ("s3", "bucket", "/a/key", "key")


@pytest.mark.parametrize("name", ["a\0b", None, 3, ["a"]])
def test_what_names_no_file_is_refused(name):
    with pytest.raises(FileIdentityError, match=r"File\(.*\): that is no path or URL.*pathlib"):
        pc.File(name)


def test_a_name_may_be_bytes():
    assert pc.File(b"a") == pc.File("a")


def test_an_unknown_identity_is_named():
    with pytest.raises(FileIdentityError, match="checksum"):
        pc.File("a", identity="checksum")


def test_it_is_a_value():
    file = pc.File("a/b.txt", identity="path")
    assert pickle.loads(pickle.dumps(file)) == file and hash(file) == hash(
        pc.File("a/b.txt", "path")
    )
    assert file != pc.File("a/b.txt") and file != "a/b.txt"
    assert (str(file), file.filename, repr(file)) == (
        "a/b.txt", "b.txt", "File('a/b.txt', identity='path')",
    )  # fmt: skip
