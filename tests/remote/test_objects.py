"""What is asked of the object store, and how often; the spool; the cache; the commands."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from parsl_ckpt.checkpoint import Store, heartbeat, maintain, ranges
from parsl_ckpt.checkpoint import cache as caching
from parsl_ckpt.checkpoint.cache import BLOCK, Blocks, Files
from parsl_ckpt.checkpoint.remote import RemoteBackend
from parsl_ckpt.checkpoint.spool import OWNER, Spool, place_of
from parsl_ckpt.checkpoint.where import absolute, plain, relative, resolve
from parsl_ckpt.cli import main
from parsl_ckpt.errors import NotUploadedError, RemoteStoreError

from ..checkpoint.conftest import key_number as key
from .conftest import NEVER, left


@pytest.fixture
def requests(s3: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The names of the requests that are sent to S3."""
    import s3fs

    monkeypatch.setattr(ranges, "_LISTING_SECONDS", NEVER)  # however slow the machine is
    sent: list[str] = []
    call = s3fs.S3FileSystem._call_s3

    async def note(self: Any, method: str, *args: Any, **options: Any) -> Any:
        sent.append(method)
        return await call(self, method, *args, **options)

    monkeypatch.setattr(s3fs.S3FileSystem, "_call_s3", note)
    yield sent


def fill(store: Store, numbers: range) -> None:
    store.append([store.stage(store.encode(n), key=key(n), app="f") for n in numbers])


def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PARSL_CKPT_SPOOL", str(tmp_path / "elsewhere"))


# --- requests -------------------------------------------------------------------------------------


def test_opening_takes_a_handful_of_requests(
    s3: str, requests: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = 20_000  # records in each segment, 3 MB
    path = f"{s3}/000/checkpoint"
    with Store.open(path, rotate_records=count) as store:
        for part in range(3):
            fill(store, range(part * count, (part + 1) * count))
    elsewhere(tmp_path, monkeypatch)
    requests.clear()
    with Store.open(None, sources=[path]) as store:
        opening = len(requests)
        # The run directory, the checkpoint, and the one index over all segments.
        assert sorted(requests) == ["get_object"] * 1 + ["list_objects_v2"] * 2
        assert store.loaded == [(path, 3 * count)]
        assert all(store.find(key(n)) is not None for n in range(0, 3 * count, 1000))
        assert len(requests) - opening <= 3 * 5  # each segment is read in blocks of a megabyte
        before = len(requests)
        assert all(store.find(key(n)) is not None for n in range(0, 3 * count, 500))
        assert len(requests) == before  # what was read once is kept


def test_small_segments_are_read_in_one_request_each(s3: str, requests: list[str]) -> None:
    paths = [f"{s3}/{number:03d}/checkpoint" for number in range(3)]
    for number, path in enumerate(paths):
        with Store.open(path) as store:
            fill(store, range(number * 10, number * 10 + 10))
    requests.clear()
    with Store.open(None, sources=paths) as store:
        assert len(store) == 30
        assert [store.value(found) for n in range(30) if (found := store.find(key(n)))]
    assert sorted(requests) == ["get_object"] * 3 + ["list_objects_v2"] * (1 + 3)


def test_uploads_send_what_has_changed_and_nothing_else(s3: str, requests: list[str]) -> None:
    backend = RemoteBackend(s3, period=NEVER)
    store = Store.open(f"{s3}/000/checkpoint", backend=backend)
    fill(store, range(10))
    backend.flush()
    requests.clear()
    backend.flush()
    assert requests == []
    fill(store, range(10, 20))
    backend.flush()
    assert requests == ["put_object"]
    store.close()
    backend.close()
    assert requests == ["put_object"] * 2


# --- the order of uploads -------------------------------------------------------------------------


def test_a_segment_waits_for_the_blobs_that_it_names(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = RemoteBackend(url, period=NEVER)
    path = f"{url}/000/checkpoint"
    put = backend.objects.put_many

    def no_blobs(batch: dict[str, bytes]) -> None:
        if any("/blobs/" in name for name in batch):
            raise OSError("no blobs today")
        put(batch)

    with Store.open(path, backend=backend) as store:
        store.put("large", os.urandom(500_000))
        monkeypatch.setattr(backend.objects, "put_many", no_blobs)
        with pytest.raises(NotUploadedError, match="no blobs today"):
            backend.flush()
        assert backend.objects.list("000/checkpoint") == []
        monkeypatch.undo()
        backend.flush()
    backend.close()
    with Store.open(None, sources=[path]) as store:
        assert len(store.get("large")) == 500_000


def test_what_was_uploaded_leaves_the_spool_when_it_grows_too_large(url: str) -> None:
    backend = RemoteBackend(url, period=NEVER, keep_bytes=1_000_000)
    backend._claimed.add("000")
    values = [os.urandom(400_000) for _ in range(5)]
    with Store.open(f"{url}/000/checkpoint", backend=backend) as store:
        for number, value in enumerate(values):
            store.put(number, value)
            backend.flush()
        assert backend._spool is not None
        stay = [p for p in Path(backend._spool.files).rglob("*") if len(p.name) == 64]
        assert len(stay) == 2
        assert [store.get(number) for number in range(5)] == values
        store.put("again", values[0])  # is there already, though not here
        store.sync()
    backend.close()


# --- the spool ------------------------------------------------------------------------------------


def test_the_spool_of_who_lives_is_left_alone_and_of_who_died_is_taken_once(
    url: str, spool: Path
) -> None:
    live = RemoteBackend(url, period=NEVER)
    live.make_directory(f"{url}/000/checkpoint")
    assert list(Spool.left_over(url)) == []
    (name,) = left(spool)
    assert (spool / Path(place_of(url)).name / name).stat().st_mode & 0o777 == 0o700

    assert live._spool is not None
    live._spool.let_go()
    beat = json.loads((Path(live._spool.path) / OWNER).read_bytes())
    beat.pop("ended")
    beat.update(pid=2**22 + 1, start="1")  # a process that is no more
    (Path(live._spool.path) / OWNER).write_text(json.dumps(beat))
    one, two = Spool.left_over(url), Spool.left_over(url)
    (taken,) = [*one, *two]

    # Who took it over dies as well.
    taken.let_go()
    (again,) = Spool.left_over(url)
    assert again.path != taken.path and not Path(taken.path).exists()
    again.remove()
    assert left(spool) == []


def test_a_spool_of_another_machine_is_taken_only_after_a_long_silence(
    url: str, spool: Path
) -> None:
    backend = RemoteBackend(url, period=NEVER)
    backend.make_directory(f"{url}/000/checkpoint")
    assert backend._spool is not None
    backend._spool.let_go()
    owner = Path(backend._spool.path) / OWNER
    beat = json.loads(owner.read_bytes())
    beat.pop("ended")
    owner.write_text(json.dumps({**beat, "host": "another", "boot": "other"}))
    assert list(Spool.left_over(url)) == []
    silent = beat["beat"] - heartbeat.FOREIGN_SECONDS - 1
    owner.write_text(json.dumps({**beat, "host": "another", "boot": "other", "beat": silent}))
    assert len(list(Spool.left_over(url))) == 1


def test_a_forked_child_writes_to_a_spool_of_its_own(url: str, spool: Path) -> None:
    backend = RemoteBackend(url, period=NEVER)
    with Store.open(f"{url}/000/checkpoint", backend=backend) as store:
        store.put("parent", 1)
        child = os.fork()
        if not child:
            code = 1
            try:
                assert store.get("parent") == 1
                store.put("child", 2)
                code = 0
            finally:
                os._exit(code)
        assert os.waitpid(child, 0)[1] == 0
        store.put("parent too", 3)
    backend.close()
    assert len(left(spool)) == 1  # the child's, which ended without a word
    with Store.open(f"{url}/001/checkpoint", sources=[f"{url}/000/checkpoint"]) as store:
        assert [store.get(name) for name in ("parent", "child", "parent too")] == [1, 2, 3]
    assert left(spool) == []


# --- the backend itself ---------------------------------------------------------------------------


def test_nothing_outside_of_the_url_can_be_named(url: str) -> None:
    backend = RemoteBackend(url)
    for path in (f"{url}/../x", f"{url}/a//b", "memory://elsewhere/x", "/etc/passwd", f"{url}x/a"):
        with pytest.raises(FileNotFoundError):
            backend.open(path)


@pytest.mark.parametrize("kind", ["memory", "s3"])
def test_a_file_that_says_who_does_what_is_exclusive_and_seen_at_once(
    kind: str, request: pytest.FixtureRequest
) -> None:
    url = request.getfixturevalue("url" if kind == "memory" else "s3")
    mine, other = RemoteBackend(url, period=NEVER), RemoteBackend(url, period=NEVER)
    file = mine.create(f"{url}/leases/{'ab' * 32}")
    file.write(b"mine")
    with pytest.raises(FileExistsError):
        other.create(f"{url}/leases/{'ab' * 32}")
    assert other.open(f"{url}/leases/{'ab' * 32}").read(0, 100) == b"mine"
    assert other.list(f"{url}/leases") == ["ab" * 32]
    other.rename(f"{url}/leases/{'ab' * 32}", f"{url}/leases/aside")
    with pytest.raises(FileNotFoundError):
        other.rename(f"{url}/leases/{'ab' * 32}", f"{url}/leases/aside")
    other.remove(f"{url}/leases/aside")
    other.remove(f"{url}/leases/aside")
    assert mine.changed(f"{url}/nothing") is None


def test_blocks_stay_within_their_bound() -> None:
    blocks = Blocks(limit=2 * BLOCK)
    for number in range(4):
        blocks.put((number,), bytes(BLOCK))
    assert [blocks.get((number,)) is not None for number in range(4)] == [False, False, True, True]


def test_copies_stay_within_their_bound(tmp_path: Path) -> None:
    files = Files(str(tmp_path), limit=2500)

    def fetch(path: str) -> None:
        Path(path).write_bytes(bytes(1000))

    for number, name in enumerate("abc"):
        os.utime(files.have(name, fetch), (number, number))
    assert len(list(tmp_path.iterdir())) == 2
    assert caching.FILES_BYTES > 1 << 30


def test_paths_here_and_there() -> None:
    assert plain("file:///tmp/a%20b") == "/tmp/a b"
    assert plain("s3://b/runs/") == absolute("s3://b/runs") == "s3://b/runs"
    for path, start in (
        ("s3://b/runs/000/checkpoint", "s3://b/runs/001/checkpoint"),
        ("s3://b/runs/000/checkpoint", "s3://other/runs/001/checkpoint"),
        ("s3://b/runs/000/checkpoint", "/here/001/checkpoint"),
        ("/here/000/checkpoint", "s3://b/runs/001/checkpoint"),
        ("/here/000/checkpoint", "/there/001/checkpoint"),
    ):
        assert resolve(relative(path, start), start) == path


# --- the commands ---------------------------------------------------------------------------------


def test_the_commands_that_look_take_urls(
    url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Store.open(f"{url}/003-9f2c1a/checkpoint") as store:
        fill(store, range(3))
        store.put("large", os.urandom(2_000_000))
    assert main(["runs", "-d", url, "--json"]) == 0
    (run,) = json.loads(capsys.readouterr().out)
    assert (run["name"], run["results"]) == ("003-9f2c1a", 4)
    assert main(["ls", "--run", "3", "-d", url]) == 0
    assert main(["show", key(1).hex()[:16], "-d", url]) == 0
    assert main(["verify", "-d", url]) == 0
    assert "All is well" in capsys.readouterr().out
    assert main(["export", "-d", url, "-o", str(tmp_path / "a.ckpt")]) == 0
    assert main(["import", "-d", str(tmp_path / "runs"), str(tmp_path / "a.ckpt")]) == 0
    assert maintain.verify(tmp_path / "runs").records == 4


def test_the_commands_that_change_refuse_urls_and_say_what_to_do(
    url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    archive = tmp_path / "a.ckpt"
    archive.touch()
    with Store.open(f"{url}/000/checkpoint") as store:
        fill(store, range(3))
    for command in (
        ["compact"], ["repair", "--yes"], ["prune", "--keep-runs", "1"],
        ["rm", "000", "--yes"], ["import", str(archive)],
    ):  # fmt: skip
        assert main([*command, "-d", url]) != 0
        told = " ".join(capsys.readouterr().err.split())
        assert "not done in place" in told and "Copy the run directory" in told
    with pytest.raises(RemoteStoreError, match="Compacting is not done in place"):
        maintain.compact(url)
    assert maintain.verify(url).records == 3


def test_damage_elsewhere_is_seen(url: str) -> None:
    with Store.open(f"{url}/000/checkpoint") as store:
        fill(store, range(100))
    backend = RemoteBackend(url)
    (name,) = [name for name in backend.list(f"{url}/000/checkpoint") if name.endswith(".seg")]
    path = f"000/checkpoint/{name}"
    data = bytearray(backend.objects.get(path, 0, backend.objects.info(path).size))
    data[300] ^= 1
    backend.objects.put(path, bytes(data))
    assert not maintain.verify(url).good
