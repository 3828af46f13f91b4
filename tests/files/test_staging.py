"""Files of other schemes: fetched before the function runs, delivered after it, in the worker."""

from __future__ import annotations

import functools
import http.server
import os
import sys
import threading
import zipfile

import pytest

import parsl_ckpt as pc
from parsl_ckpt.apps.staging import FsspecStaging, Staging, ZipFileStaging, registry
from parsl_ckpt.errors import ConfigurationError, FileIdentityError, StagingError

DEADLINE = 60


@pc.python_app(cache=True, code="function")
def upper(inputs=(), outputs=()):
    import os

    for source, target in zip(inputs, outputs, strict=True):
        with open(source) as read, open(target, "w") as written:
            written.write(read.read().upper())
    return [os.path.basename(one) for one in (*inputs, *outputs)]


@pc.python_app(cache=True, code="function")
def text(file, *more, also=None):
    read = []
    for one in (file, *more, *([also["x"][0]] if also else [])):
        with open(one) as opened:
            read.append(opened.read())
    return "".join(read)


class Shelf(Staging):
    """``shelf://name``: files in a directory; notes what it is asked for."""

    schemes = ("shelf",)

    def __init__(self, place):
        self.place = str(place)

    def _note(self, what, file):
        with open(os.path.join(self.place, "log"), "a") as log:
            log.write(f"{what} {file.netloc}\n")

    def stage_in(self, file):
        self._note("in", file)
        with open(os.path.join(self.place, file.netloc)) as read:
            content = read.read()
        with open(file.local_path, "w") as written:
            written.write(content)

    def stage_out(self, file):
        self._note("out", file)
        with (
            open(file.local_path) as read,
            open(os.path.join(self.place, file.netloc), "w") as written,
        ):
            written.write(read.read())

    def log(self):
        with open(os.path.join(self.place, "log")) as log:
            return log.read().split("\n")[:-1]


@pytest.fixture
def shelf(tmp_path):
    place = tmp_path / "shelf"
    place.mkdir()
    (place / "a.txt").write_text("abc")
    (place / "log").write_text("")
    return Shelf(place)


def outcome(future):
    return future.result(DEADLINE), future.from_memo


# -- the interface ---------------------------------------------------------------------------------


def test_a_provider_fetches_inputs_and_delivers_outputs(runs, shelf, tmp_path):
    with runs(storage_access=[shelf]):
        future = upper(inputs=[pc.File("shelf://a.txt")], outputs=[pc.File("shelf://b.txt")])
        assert outcome(future) == (["a.txt", "b.txt"], False) or future.result()
        assert (tmp_path / "shelf" / "b.txt").read_text() == "ABC"
        assert future.outputs[0].result() == pc.File("shelf://b.txt")
        assert "out b.txt" in shelf.log()


def test_files_are_fetched_wherever_they_stand_among_the_arguments(runs, shelf):
    file = pc.File("shelf://a.txt")
    with runs(storage_access=[shelf]):
        assert outcome(text(file, file, also={"x": [file]})) == ("abcabcabc", False)
        assert outcome(text(file, also={"x": (file,)})) == ("abcabc", False)


def test_a_file_elsewhere_counts_by_its_content(runs, shelf, tmp_path):
    with runs(storage_access=[shelf]):
        assert outcome(text(pc.File("shelf://a.txt"))) == ("abc", False)
        here = tmp_path / "here.txt"
        here.write_text("abc")
        assert outcome(text(pc.File(here))) == ("abc", True)
        (tmp_path / "shelf" / "a.txt").write_text("other")
        assert outcome(text(pc.File("shelf://a.txt"))) == ("other", False)


def test_by_path_it_counts_by_its_url_and_is_not_read_for_it(run, shelf, tmp_path):
    with run(storage_access=[shelf]):
        assert outcome(text(pc.File("shelf://a.txt", identity="path"))) == ("abc", False)
        (tmp_path / "shelf" / "a.txt").write_text("other")
        assert outcome(text(pc.File("shelf://a.txt", identity="path"))) == ("abc", True)
        assert shelf.log() == ["in a.txt"]


def test_chains_go_through_files_elsewhere(runs, shelf):
    def chain():
        one = upper(inputs=[pc.File("shelf://a.txt")], outputs=[pc.File("shelf://b.txt")])
        return one, text(one.outputs[0])

    with runs(storage_access=[shelf]):
        assert [outcome(one)[0] for one in chain()][1] == "ABC"
    with runs(storage_access=[shelf]):
        assert [outcome(one)[1] for one in chain()] == [True, True]
        with open(os.path.join(shelf.place, "b.txt"), "w") as opened:
            opened.write("ABD")
        one, two = chain()
        assert not one.from_memo and outcome(two)[0] == "ABC"
        os.unlink(os.path.join(shelf.place, "b.txt"))
        assert outcome(chain()[0])[1] is False


def test_executors_have_their_own_providers_and_places(tmp_path, shelf, run):
    place = tmp_path / "work"
    place.mkdir()
    own = pc.ThreadPoolExecutor(1, "own", storage_access=[shelf], working_dir=place)
    none = pc.ThreadPoolExecutor(1, "none")

    @pc.python_app(executors=["own"])
    def where(file):
        return str(file)

    with run(executors=[own, none]):
        found = where(pc.File("shelf://a.txt")).result(DEADLINE)
        assert found.startswith(str(place)) and found.endswith("/a.txt")
        assert list(place.iterdir()) == []  # it is gone when the attempt is over
        elsewhere = pc.python_app(where.__wrapped__, executors=["none"])
        with pytest.raises(StagingError, match=r"where: nobody here can fetch shelf://a.txt.*Zip"):
            elsewhere(pc.File("shelf://a.txt")).result(DEADLINE)


def test_what_nobody_can_deliver_fails_the_call_before_it_is_recorded(run, tmp_path):
    class Source(Shelf):
        def can_stage_out(self, file):
            return False

    (tmp_path / "log").write_text("")
    (tmp_path / "a.txt").write_text("abc")
    with run(storage_access=[Source(tmp_path)]):
        future = upper(inputs=[pc.File("shelf://a.txt")], outputs=[pc.File("shelf://b.txt")])
        with pytest.raises(StagingError, match=r"nobody here can deliver shelf://b\.txt"):
            future.result(DEADLINE)


def test_a_provider_that_raises_fails_the_attempt_and_names_the_file(run, tmp_path):
    tries = []

    class Faulty(Shelf):
        def stage_in(self, file):
            tries.append(file)
            if len(tries) < 3:
                raise ConnectionError("line is down")
            super().stage_in(file)

    (tmp_path / "log").write_text("")
    (tmp_path / "a.txt").write_text("abc")
    plain = pc.python_app(text.__wrapped__)
    with run(storage_access=[Faulty(tmp_path)]):
        with pytest.raises(StagingError, match=r"shelf://a.txt could not be fetched: .*down") as e:
            plain(pc.File("shelf://a.txt")).result(DEADLINE)
        assert isinstance(e.value.__cause__, ConnectionError) and e.value.url == "shelf://a.txt"
    tries.clear()
    with run(storage_access=[Faulty(tmp_path)], retries=2):
        assert plain(pc.File("shelf://a.txt")).result(DEADLINE) == "abc"


def test_what_cannot_be_delivered_fails_the_call_and_is_not_recorded(runs, shelf, tmp_path):
    @pc.python_app(cache=True, code="function")
    def directory(outputs=()):
        import os

        os.mkdir(outputs[0])

    with runs(storage_access=[shelf]):
        call = directory(outputs=[pc.File("shelf://b")])
        with pytest.raises(StagingError, match=r"shelf://b could not be delivered: IsADirectory"):
            call.result(DEADLINE)
        assert directory.peek(outputs=[pc.File("shelf://b")]) is None


def test_a_name_that_leads_elsewhere_is_no_name_of_a_local_file():
    assert pc.File("shelf://host/..").filename == pc.File("shelf://host/.").filename == ""


def test_providers_are_checked_where_they_are_named():
    with pytest.raises(ConfigurationError, match=r"Config\.storage_access"):
        pc.Config(storage_access=[3])
    with pytest.raises(ConfigurationError, match=r"storage_access=\.\.\."):
        pc.ThreadPoolExecutor(storage_access=[Staging])  # the class, not one of it
    with pytest.raises(ConfigurationError, match=r"working_dir=\.\.\."):
        pc.ThreadPoolExecutor(working_dir=3)


def test_the_base_class_takes_nothing_and_says_so():
    file = pc.File("shelf://a.txt")
    base = Staging()
    assert not base.can_stage_in(file) and not base.can_stage_out(file) and not base.stamp(file)
    for method in (base.stage_in, base.stage_out):
        with pytest.raises(StagingError):
            method(file)


def test_a_file_that_is_elsewhere_has_no_path_here():
    file = pc.File("shelf://a.txt")
    assert str(file) == "shelf://a.txt" and file.elsewhere
    with pytest.raises(StagingError, match="has no path here"):
        os.stat(file)


def test_a_scheme_that_nobody_knows_is_named_with_a_remedy(run):
    with run(), pytest.raises(FileIdentityError, match=r"read nowhere://x.*storage_access"):
        text(pc.File("nowhere://x")).result(DEADLINE)


def test_without_fsspec_the_remedy_is_to_install_it(run, monkeypatch):
    from parsl_ckpt.apps.staging import remote

    monkeypatch.setitem(sys.modules, "fsspec", None)
    monkeypatch.setattr(remote.importlib.util, "find_spec", lambda name: None)
    remote._known.cache_clear()
    try:
        with run(), pytest.raises(FileIdentityError, match="install fsspec"):
            text(pc.File("s3://bucket/x")).result(DEADLINE)
    finally:
        remote._known.cache_clear()
    with pytest.raises(StagingError, match="not installed"):
        FsspecStaging().digest(pc.File("s3://bucket/x"))


def test_providers_of_a_run_are_forgotten_with_it(run, shelf):
    with run(storage_access=[shelf]):
        assert registry.reader_of(pc.File("shelf://a.txt")) is shelf
    with pytest.raises(FileIdentityError):
        registry.reader_of(pc.File("shelf://a.txt"))


# -- zip files -------------------------------------------------------------------------------------


def test_members_of_zip_files_are_fetched_and_delivered(runs, tmp_path):
    archive = tmp_path / "all.zip"
    with zipfile.ZipFile(archive, "w") as opened:
        opened.writestr("in/a.txt", "abc")
    one, two = (pc.File(f"zip:{archive}/{name}") for name in ("in/a.txt", "out/b.txt"))
    with runs():
        assert outcome(upper(inputs=[one], outputs=[two])) == (["a.txt", "b.txt"], False)
        assert outcome(upper(inputs=[one], outputs=[two])) == (["a.txt", "b.txt"], True)
    with zipfile.ZipFile(archive) as opened:
        assert sorted(opened.namelist()) == ["in/a.txt", "out/b.txt"]
        assert opened.read("out/b.txt") == b"ABC"
    with zipfile.ZipFile(archive, "w") as opened:
        opened.writestr("in/a.txt", "abc")
    with runs():
        assert outcome(upper(inputs=[one], outputs=[two]))[1] is False


def test_many_calls_write_into_one_zip_file(runs, tmp_path):
    source = tmp_path / "a.txt"
    source.write_text("abc")
    archive = tmp_path / "new" / "all.zip"
    files = [pc.File(f"zip:{archive}/{n}") for n in range(8)]
    with runs():
        for future in [upper(inputs=[pc.File(source)], outputs=[file]) for file in files]:
            future.result(DEADLINE)
    with zipfile.ZipFile(archive) as opened:
        assert sorted(opened.namelist()) == [str(n) for n in range(8)]
        assert opened.testzip() is None


def test_a_member_is_replaced_not_doubled(tmp_path):
    file = pc.File(f"zip:{tmp_path}/all.zip/a")
    file.local_path = str(tmp_path / "local")
    for content in ("one", "two"):
        (tmp_path / "local").write_text(content)
        ZipFileStaging().stage_out(file)
    with zipfile.ZipFile(tmp_path / "all.zip") as opened:
        assert opened.namelist() == ["a"] and opened.read("a") == b"two"


def test_zip_urls_that_mean_nothing_are_refused(run, tmp_path):
    with run():
        for url, says in [
            ("zip://host/a.zip/b", "names the host 'host'"),
            (f"zip:{tmp_path}/a.tar/b", "does not name a member"),
            (f"zip:{tmp_path}/a.zip/", "does not name a member"),
            (f"zip:{tmp_path}/none.zip/b", "none.zip"),
        ]:
            with pytest.raises((StagingError, FileIdentityError), match=says):
                text(pc.File(url)).result(DEADLINE)


def test_a_member_that_is_not_there_is_no_file(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as opened:
        opened.writestr("x", "abc")
    assert pc.File(f"zip:{tmp_path}/a.zip/x").exists()
    assert not pc.File(f"zip:{tmp_path}/a.zip/y").exists()
    assert not pc.File(f"zip:{tmp_path}/b.zip/y").exists()
    with pytest.raises(FileIdentityError, match="has no member 'y'"):
        pc.File(f"zip:{tmp_path}/a.zip/y").content()


# -- fsspec ----------------------------------------------------------------------------------------


def test_fsspec_fetches_and_delivers(run):
    fsspec = pytest.importorskip("fsspec")
    memory = fsspec.filesystem("memory")
    memory.pipe("/here/a.txt", b"abc")
    try:
        with run():
            one, two = pc.File("memory://here/a.txt"), pc.File("memory://new/b.txt")
            assert outcome(upper(inputs=[one], outputs=[two])) == (["a.txt", "b.txt"], False)
            assert memory.cat("/new/b.txt") == b"ABC"
            assert outcome(upper(inputs=[one], outputs=[two])) == (["a.txt", "b.txt"], True)
            memory.pipe("/new/b.txt", b"ABD")
            assert outcome(upper(inputs=[one], outputs=[two])) == (["a.txt", "b.txt"], False)
            memory.rm("/new/b.txt")
            assert outcome(upper(inputs=[one], outputs=[two])) == (["a.txt", "b.txt"], False)
            with pytest.raises(FileIdentityError, match=r"memory://here/no"):
                text(pc.File("memory://here/no")).result(DEADLINE)
    finally:
        memory.store.clear()


def test_a_file_of_a_web_server_is_fetched_in_worker_processes(runs, tmp_path):
    pytest.importorskip("aiohttp")
    (tmp_path / "web").mkdir()
    (tmp_path / "web" / "a.txt").write_text("abc")
    handler = functools.partial(_Quiet, directory=str(tmp_path / "web"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            with runs():
                url = f"http://127.0.0.1:{server.server_port}/a.txt"
                assert outcome(text(pc.File(url))) == ("abc", False)
                assert outcome(text(pc.File(url))) == ("abc", True)
        finally:
            server.shutdown()
            thread.join()


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


def test_schemes_can_be_left_to_others():
    only = FsspecStaging({"profile": "secret"}, schemes=["s3"])
    assert only.can_stage_in(pc.File("s3://a/b")) and not only.can_stage_in(pc.File("memory://a"))
    assert "secret" not in repr(only)


def test_a_stamp_spares_reading(monkeypatch):
    class Marked(Staging):
        schemes = ("marked",)
        mark, read = b"1", 0

        def stamp(self, file):
            return self.mark

        def digest(self, file):
            self.read += 1
            return bytes(32)

    provider = Marked()
    registry.use(provider, [provider])
    try:
        file = pc.File("marked://a")
        assert file.content() == file.content() == bytes(32) and provider.read == 1
        provider.mark = b"2"
        file.content()
        assert provider.read == 2
        provider.mark = b""
        file.content(), file.content()
        assert provider.read == 4
    finally:
        registry.release(provider)
