"""The commands that look after checkpoints: what they print, what they do, how they end."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest

from parsl_ckpt.checkpoint import LocalBackend, Store
from parsl_ckpt.checkpoint.format import Failure
from parsl_ckpt.checkpoint.heartbeat import Heartbeat
from parsl_ckpt.cli import _common

from .conftest import Tell

pytestmark = pytest.mark.usefixtures("runs")


def segment(run: str) -> Path:
    return next(Path(f"runinfo/{run}/checkpoint").glob("*.seg"))


def damage(run: str, offset: int = 120) -> None:
    with open(segment(run), "r+b") as file:
        file.seek(offset)
        byte = file.read(1)
        file.seek(offset)
        file.write(bytes([byte[0] ^ 0xFF]))


def values() -> dict[Any, Any]:
    paths = sorted(map(str, Path("runinfo").glob("*/checkpoint")))
    with Store.open(None, sources=paths) as store:
        return {key: store.get(key) for key in (0, 1, 2, 3, 4, 5, "table")}


# --- looking --------------------------------------------------------------------------------------


def test_runs_lists_state_size_and_command(told: Tell) -> None:
    status, out, _ = told("runs")
    assert status == 0
    assert [line.split()[:2] for line in out.splitlines() if line.strip()[:2] == "00"] == [
        ["000", "ended"], ["001", "ended"], ["002", "ended"],
    ]  # fmt: skip
    assert "python work.py 1" in out


def test_runs_tells_where_a_run_came_from(told: Tell) -> None:
    _, out, _ = told("runs", "-v", "2")
    assert "002: ended" in out and "000:" not in out
    assert "commit    c0ffeec0ffee (main, with changes)" in out
    assert "by        me on here" in out and "apps      simulate 4" in out


def test_runs_as_json(told: Tell) -> None:
    _, out, _ = told("runs", "--json")
    found = json.loads(out)
    assert [run["results"] for run in found] == [4, 5, 4]
    assert found[1]["apps"] == {"simulate": 4, "table": 1}
    assert found[2]["records"]["failure"] == 1


def test_a_run_that_lives_and_one_that_died_are_told_apart(told: Tell) -> None:
    heart = Heartbeat("runinfo/000")
    heart.start()
    dead = json.loads(Path("runinfo/000/heartbeat.json").read_text()) | {"pid": 999_999_999}
    Path("runinfo/001/heartbeat.json").write_text(json.dumps(dead))
    _, out, _ = told("runs", "--json")
    assert [run["state"] for run in json.loads(out)] == ["live", "died", "ended"]
    heart.stop(tasks={"exec_done": 3})
    _, out, _ = told("runs", "--json", "0")
    assert json.loads(out)[0]["state"] == "ended"
    assert json.loads(out)[0]["tasks"] == {"exec_done": 3}


def test_ls_filters_and_sorts(told: Tell) -> None:
    assert told("ls")[1].count("simulate") == 12
    assert told("ls", "--app", "tab*")[1].count("\n") == told("ls", "--larger-than", "1k")[1].count(
        "\n"
    )
    assert "Nothing" in told("ls", "--older-than", "1h")[1]
    assert told("ls", "--since", "1h", "--json")[1] == told("ls", "--json")[1]
    last = json.loads(told("ls", "--sort", "duration", "-n", "1", "--json")[1])
    assert last[0]["seconds"] == 15.0
    assert {one["run"] for one in json.loads(told("ls", "--run", "1", "--json")[1])} == {"001"}


def test_ls_by_app(told: Tell) -> None:
    _, out, _ = told("ls", "--by-app")
    assert any(line.split()[:2] == ["simulate", "12"] for line in out.splitlines())


def test_ls_lists_failures_with_their_text_as_it_is(told: Tell) -> None:
    assert "[bold]such[/bold]" in told("ls", "--failures")[1].replace("\n", "")


def test_show_tells_arguments_place_and_value(told: Tell) -> None:
    key = json.loads(told("ls", "--sort", "duration", "--json")[1])[-1]["key"]
    status, out, _ = told("show", key[:9])
    assert status == 0
    assert f"key        {key}" in out and "value      7.5" in out and "in run 002" in out
    assert json.loads(told("show", key, "--json")[1])["value"] == "7.5"


def test_show_unpickles_only_when_it_is_told_to(told: Tell) -> None:
    with Store.open("runinfo/003/checkpoint") as store:
        store.put("odd", slice(1, 2), app="odd")
    key = json.loads(told("ls", "--app", "odd", "--json")[1])[0]["key"]
    assert "--value unpickles it" in told("show", key)[1]
    assert "slice(1, 2, None)" in told("show", key, "--value")[1]


def test_show_asks_for_more_of_an_ambiguous_key(told: Tell) -> None:
    with Store.open("runinfo/003/checkpoint") as store:
        alike = [Failure(b"k" * 31 + end, app="f", error="no") for end in (b"1", b"2")]
        store.append([store.stage_record(record) for record in alike])
    status, _, err = told("show", "6b" * 31)
    assert status == 1 and "2 calls have keys that begin with 6b6b" in err
    assert "Give more of the key." in err
    assert told("show", "6b" * 31 + "32")[0] == 0
    assert told("show", "0" * 20)[2].startswith("parsl-ckpt: No record has a key that begins with")


# --- verifying and repairing ----------------------------------------------------------------------


def test_verify_is_content_with_what_is_whole(told: Tell) -> None:
    status, out, _ = told("verify")
    assert status == 0 and out.endswith("All is well.\n")


def test_verify_says_what_is_damaged_and_what_is_lost(told: Tell) -> None:
    damage("000")
    next(Path("runinfo/001/checkpoint/blobs").glob("*/*")).unlink()
    status, out, _ = told("verify")
    assert status == 1
    assert "the payload of a result record is damaged" in out and "000000-" in out
    assert "of table is lost: its blob" in out and "Lost: 2 records." in out
    told_json = json.loads(told("verify", "--json")[1])
    assert told_json["good"] is False and told_json["lost_records"] == 2
    assert told("verify", "2")[0] == 0


def test_repair_looks_first_and_keeps_every_whole_record(told: Tell) -> None:
    damage("000")
    before = segment("000").read_bytes()
    _, out, _ = told("repair")
    assert "Nothing was changed" in out and segment("000").read_bytes() == before
    status, out, _ = told("repair", "--yes")
    assert status == 0 and "4 whole records" in out and "1 record and" in out
    assert told("verify")[0] == 0
    assert told("repair", "--yes")[1] == "Nothing is to be repaired.\n"


def test_repair_leaves_a_live_run_alone(told: Tell) -> None:
    damage("000")
    heart = Heartbeat("runinfo/000")
    heart.start()
    before = segment("000").read_bytes()
    _, _, err = told("repair", "--yes")
    heart.stop()
    assert "000 is left as it is: it is live." in err
    assert segment("000").read_bytes() == before


# --- compacting, pruning, removing ----------------------------------------------------------------


def test_compact_puts_runs_together(told: Tell) -> None:
    before = values()
    assert "Would put 000, 001 and 002 together, in 002." in told("compact", "--dry-run")[1]
    assert len(os.listdir("runinfo")) == 3
    status, out, _ = told("compact")
    assert status == 0 and "Put 000, 001 and 002 together, in 002." in out
    assert os.listdir("runinfo") == ["002"] and values() == before
    assert "inside    the records of 000, 001" in told("runs", "-v")[1]
    assert told("compact")[1] == "There is nothing to compact.\n"


def test_compact_does_not_reach_over_a_live_run(told: Tell) -> None:
    before = values()
    heart = Heartbeat("runinfo/001", used=[os.path.abspath("runinfo/000/checkpoint")])
    heart.start()
    _, _, err = told("compact")
    heart.stop()
    assert "001 is left as it is" in err and sorted(os.listdir("runinfo")) == ["000", "001", "002"]
    assert values() == before


def test_compact_keeps_what_a_live_run_reads_where_it_reads(told: Tell) -> None:
    heart = Heartbeat("runinfo/002", used=[os.path.abspath("runinfo/000/checkpoint")])
    heart.start()
    _, _, err = told("compact")
    heart.stop()
    assert "the live run 002 reads it, and does not read 001" in err
    assert sorted(os.listdir("runinfo")) == ["000", "001", "002"]


def test_a_directory_of_a_run_with_other_files_stays(told: Tell) -> None:
    Path("runinfo/000/notes.txt").write_text("mine")
    told("compact")
    assert Path("runinfo/000/notes.txt").read_text() == "mine"
    assert not Path("runinfo/000/checkpoint").exists()


def test_prune_wants_to_know_what(told: Tell) -> None:
    status, _, err = told("prune")
    assert status == 1 and "Nothing says what is to be pruned." in err


def test_prune_by_size_goes_for_the_cheapest_bytes(told: Tell) -> None:
    before = values()
    Heartbeat("runinfo/001").stop()  # that nobody writes there is certain
    _, out, _ = told("prune", "--max-size", "100k", "--dry-run")
    assert "Would remove" in out and "table 1" in out and values() == before
    told("prune", "--max-size", "100k")
    after = values()
    assert after.pop("table") is None and all(value is not None for value in after.values())
    assert not Path("runinfo/001/checkpoint/blobs").exists()
    assert told("verify")[0] == 0


def test_a_young_blob_stays_where_nobody_knows_whether_someone_writes(told: Tell) -> None:
    told("rm", "--app", "table", "--yes")
    blob = next(Path("runinfo/001/checkpoint/blobs").glob("*/*"))
    told("compact", "1")
    assert blob.exists()
    os.utime(blob, (0, 0))
    told("compact", "1")
    assert not blob.exists() and values()[1] == 1.5


def test_prune_keeps_the_last_runs(told: Tell) -> None:
    status, out, _ = told("prune", "--keep-runs", "1")
    assert status == 0 and "Removed 2 runs: 000, 001." in out
    assert os.listdir("runinfo") == ["002"] and values()[0] is None and values()[5] == 7.5


def test_prune_of_a_live_run_does_nothing(told: Tell) -> None:
    heart = Heartbeat("runinfo/001")
    heart.start()
    told("prune", "--app", "*")
    heart.stop()
    assert values()["table"] is not None and values()[1] == 1.5 and values()[0] is None


def test_rm_of_records_and_runs_asks_first(told: Tell) -> None:
    key = json.loads(told("ls", "--app", "table", "--json")[1])[0]["key"]
    assert "Nothing was changed." in told("rm", "--key", key[:10])[1]
    assert values()["table"] is not None
    assert told("rm", "--key", key[:10], "--yes")[0] == 0
    assert values()["table"] is None and values()[1] == 1.5
    assert told("rm", "--key", key[:10], "--yes")[0] == 1
    assert told("rm", "0", "-y")[0] == 0
    assert sorted(os.listdir("runinfo")) == ["001", "002"]


def test_rm_refuses_a_live_run(told: Tell) -> None:
    heart = Heartbeat("runinfo/001")
    heart.start()
    status, _, err = told("rm", "1", "--yes")
    heart.stop()
    assert status == 1 and "is live" in err and Path("runinfo/001").exists()


def test_two_do_not_maintain_one_directory_at_once(told: Tell) -> None:
    from parsl_ckpt.checkpoint.exclusive import alone

    with alone(LocalBackend(), os.path.abspath("runinfo")):
        status, _, err = told("compact")
    assert status == 1 and "is being looked after by process" in err
    dead = {"pid": 999_999_999, "host": os.uname().nodename, "beat": 0, "token": "x"}
    Path("runinfo/.maintenance").write_text(json.dumps(dead))
    assert told("compact")[0] == 0
    assert not Path("runinfo/.maintenance").exists()


# --- moving ---------------------------------------------------------------------------------------


def test_runs_move_in_an_archive(told: Tell) -> None:
    before = values()
    assert "3 runs" in told("export", "-o", "runs.tar")[1]
    status, out, _ = told("import", "runs.tar", "-d", "elsewhere")
    assert status == 0 and "000 is now elsewhere/000." in out
    os.rename("runinfo", "away")
    os.rename("elsewhere", "runinfo")
    assert values() == before and told("verify")[0] == 0
    assert [run["state"] for run in json.loads(told("runs", "--json")[1])] == ["ended"] * 3
    assert "000 is here already, as 000." in told("import", "runs.tar")[1]
    os.chmod("runs.tar", 0o600)
    assert "is there already" in told("export", "-o", "runs.tar")[2]
    assert told("export", "1", "-o", "runs.tar", "--force")[0] == 0


def test_imported_runs_get_numbers_of_their_own(told: Tell) -> None:
    told("export", "2", "-o", "runs.tar")
    with Store.open("other/002/checkpoint") as store:
        store.put("mine", 1)
    assert "002 is now other/003." in told("import", "runs.tar", "-d", "other")[1]
    assert sorted(os.listdir("other")) == ["002", "003"]


def test_an_archive_goes_through_a_pipe(told: Tell) -> None:
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    command = f"{sys.executable} -m parsl_ckpt.cli"
    done = subprocess.run(
        f"{command} export -o - | {command} import - -d there", shell=True, env=env,
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert sorted(os.listdir("there")) == ["000", "001", "002"]


def test_a_damaged_archive_is_refused_as_a_whole(told: Tell) -> None:
    damage("001")
    told("export", "-o", "runs.tar")
    status, _, err = told("import", "runs.tar", "-d", "there")
    assert status == 1 and "The archive is damaged" in err and os.listdir("there") == []
    status, out, _ = told("import", "runs.tar", "-d", "there", "--salvage")
    assert status == 0 and "1 damaged record left out." in out
    assert told("verify", "-d", "there")[0] == 0


@pytest.mark.parametrize("keep", [0.2, 0.7, 0.9])
def test_an_archive_that_was_cut_off_is_refused(told: Tell, keep: float) -> None:
    told("export", "-o", "runs.tar")
    data = Path("runs.tar").read_bytes()
    Path("runs.tar").write_bytes(data[: int(len(data) * keep)])
    status, _, err = told("import", "runs.tar", "-d", "there")
    assert status == 1 and err.startswith("parsl-ckpt: ") and os.listdir("there") == []


def evil(name: str, kind: bytes = tarfile.REGTYPE, link: str = "", data: bytes = b"x") -> None:
    with tarfile.open("evil.tar", "w") as archive:
        manifest = json.dumps({"format": 1}).encode()
        first = tarfile.TarInfo("parsl-ckpt-archive.json")
        first.size = len(manifest)
        archive.addfile(first, io.BytesIO(manifest))
        info = tarfile.TarInfo(name)
        info.type, info.linkname = kind, link
        info.size = len(data) if kind == tarfile.REGTYPE else 0
        archive.addfile(info, io.BytesIO(data))


SEGMENT = f"000/checkpoint/000000-{'a' * 32}.seg"


@pytest.mark.parametrize(
    ("name", "kind", "link"),
    [
        ("../../evil", tarfile.REGTYPE, ""),
        ("/tmp/evil", tarfile.REGTYPE, ""),
        (f"../{SEGMENT}", tarfile.REGTYPE, ""),
        (SEGMENT + "\n", tarfile.REGTYPE, ""),
        (SEGMENT, tarfile.SYMTYPE, "/etc/passwd"),
        (SEGMENT, tarfile.LNKTYPE, "../../x"),
        (SEGMENT, tarfile.FIFOTYPE, ""),
        (SEGMENT, tarfile.CHRTYPE, ""),
        ("000/checkpoint/blobs/ab/" + "c" * 64, tarfile.REGTYPE, ""),
        ("000/checkpoint/blobs/cc/" + "c" * 64, tarfile.REGTYPE, ""),
        ("000/checkpoint/extra", tarfile.REGTYPE, ""),
        ("000", tarfile.DIRTYPE, ""),
    ],
)
def test_what_has_no_place_in_an_archive_is_refused(
    told: Tell, name: str, kind: bytes, link: str
) -> None:
    evil(name, kind, link)
    status, _, err = told("import", "evil.tar", "-d", "there")
    assert status == 1 and "This is no archive of runs" in err
    assert os.listdir("there") == [] and not Path("evil").exists()


def test_other_files_are_no_archives(told: Tell) -> None:
    for content in (b"", b"hello", os.urandom(5000), segment("000").read_bytes()):
        Path("file").write_bytes(content)
        status, _, err = told("import", "file", "-d", "there")
        assert status == 1 and "This is no archive of runs" in err
    assert "cannot be opened" in told("import", "missing")[2]


# --- wrong usage ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("argv", "status", "said"),
    [
        (("runs", "-d", "nowhere"), 1, "There is no run directory nowhere."),
        (("runs", "9"), 1, "There is no run 9 in runinfo. There are: 000, 001, 002."),
        (("verify", "x"), 1, "There is no run x in runinfo."),
        (("verify", "-d", __file__), 1, "test_maintain.py is no directory."),
        (("ls", "--older-than", "3x"), 2, "'3x' is no time"),
        (("ls", "--larger-than", "big"), 2, "'big' is no size"),
        (("ls", "--since", "yesterday"), 2, "'yesterday' is no point in time"),
        (("show", "xyz"), 2, "'xyz' is not the beginning of a key"),
        (("show",), 2, "required: KEY"),
        (("rm",), 1, "Nothing says what is to be removed."),
        (("rm", "--key", "0" * 30), 1, "No record is meant by that."),
        (("export",), 2, "-o/--output"),
        (("export", "-o", "no/such/dir/x.tar"), 1, "could not be written"),
        (("prune", "--keep-runs", "-1"), 2, "'-1' is not a number"),
        (("prune", "--run", "77", "--app", "x"), 1, "There is no run 77"),
        (("runs", "-d", ""), 2, "an empty text names nothing"),
        (("why", "000", ""), 2, "argument TASK: an empty text names nothing"),
        (("demo", "--workers", "0"), 2, "'0' is not a number such as 10"),
        (("demo", "--workers", "-1"), 2, "'-1' is not a number such as 10"),
    ],
)
def test_wrong_usage_is_told_in_one_sentence(
    told: Tell, argv: tuple[str, ...], status: int, said: str
) -> None:
    found, _, err = told(*argv)
    assert found == status and said in err and "Traceback" not in err


def test_a_store_without_runs_can_be_looked_after(told: Tell) -> None:
    with Store.open("mine", rotate_records=2) as store:
        for n in range(6):
            store.put(n, n)
    assert told("verify", "-d", "mine")[0] == 0
    assert "kept" not in told("compact", "-d", "mine")[2]
    assert len(list(Path("mine").glob("*.seg"))) == 1
    with Store.open(None, sources=["mine"]) as store:
        assert [store.get(n) for n in range(6)] == list(range(6))
    assert told("prune", "-d", "mine", "--max-size", "0")[0] == 0


@pytest.mark.parametrize("text", ["", "5 days", "d", "1d 2"])
def test_wrong_times_are_refused(text: str) -> None:
    import argparse

    with pytest.raises(argparse.ArgumentTypeError):
        _common.duration(text)


COMPACTING = """
import select, sys
from parsl_ckpt.checkpoint import local, maintain

def told(done):
    print("on it", flush=True)
    # Until the signal comes. One call that blocks might begin just after it.
    while not select.select([sys.stdin], [], [], 0.01)[0]:
        pass

from parsl_ckpt.cli import _common, main
import contextlib
_common.progress = contextlib.contextmanager(lambda title, total: (yield told))
sys.exit(main(["compact"]))
"""


def test_ctrl_c_in_the_middle_of_compacting_loses_nothing(told: Tell) -> None:
    before = values()
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    with subprocess.Popen(
        [sys.executable, "-c", COMPACTING], env=env, stdin=subprocess.PIPE,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None and process.stderr is not None
        assert process.stdout.readline() == "on it\n"
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
        assert process.stderr.read() == "parsl-ckpt: interrupted\n"
    assert not Path("runinfo/.maintenance").exists()
    assert values() == before and told("verify")[0] == 0
    assert told("compact")[0] == 0 and values() == before


def test_long_commands_show_a_bar_on_a_terminal_and_nothing_elsewhere(told: Tell) -> None:
    pty = pytest.importorskip("pty")
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p), "TERM": "xterm"}
    for command in (
        "verify", "repair", "compact", "prune --app x", "rm --app table", "ls", "runs",
        "export -o out.tar", "import out.tar -d there",
    ):  # fmt: skip
        master, slave = pty.openpty()
        subprocess.run(
            [sys.executable, "-m", "parsl_ckpt.cli", *command.split()], env=env, stderr=slave,
            stdout=subprocess.DEVNULL, timeout=60, check=True,
        )  # fmt: skip
        os.close(slave)
        shown = os.read(master, 65536)
        os.close(master)
        assert b"ing " in shown and "\u2501".encode() in shown, command
        assert told(*command.replace("out.tar", "two.tar").split())[2] == ""


def test_ls_by_how_long_it_took(told: Tell) -> None:
    found = json.loads(told("ls", "--longer-than", "7s", "--json")[1])
    assert found and all(one["seconds"] > 7 for one in found)
    assert "Nothing" in told("ls", "--longer-than", "1h")[1]


def test_a_failure_tells_when_it_was(told: Tell) -> None:
    import parsl_ckpt as pc

    @pc.python_app(cache=True)
    def unlucky(n: int) -> int:
        raise ValueError(f"not {n}")

    with pc.load(pc.Config(checkpoint_mode="task_exit", run_dir="mine")):
        assert isinstance(unlucky(13).exception(), ValueError)
    (failure,) = json.loads(told("ls", "--failures", "--json", "-d", "mine")[1])
    _, out, _ = told("show", failure["key"], "-d", "mine")
    assert "failure of unlucky" in out and "error      ValueError: not 13" in out
    assert failure["began"] > 1e9 and "1970" not in out
    told("prune", "--failures", "--older-than", "1h", "-d", "mine")
    assert told("ls", "--failures", "--json", "-d", "mine")[1] != "[]\n"


def test_what_was_removed_and_still_takes_room_is_freed_by_the_next_prune(told: Tell) -> None:
    with Store.open("runinfo/003/checkpoint", compression="none") as store:
        store.put("wrong", os.urandom(50_000), app="wrong")
        store.remove(next(iter(store.records()))[1])
    before = sum(file.stat().st_size for file in Path("runinfo").rglob("*.seg"))
    assert "Freed 5" in told("prune", "--app", "nosuch")[1]
    assert sum(file.stat().st_size for file in Path("runinfo").rglob("*.seg")) < before - 50_000
    assert told("prune", "--app", "nosuch")[1] == "Nothing is to be removed.\n"


# --- on any terminal ------------------------------------------------------------------------------


def test_what_stands_in_files_does_nothing_to_a_terminal(told: Tell) -> None:
    with Store.open("runinfo/003/checkpoint") as store:
        escaping = "red \x1b[31m\x9b1m \u202egnitirw\r"
        record = Failure(b"k" * 32, app=escaping, error=escaping, worker=escaping)
        store.append([store.stage_record(record)])
    key = "6b" * 32
    for line in ("ls --failures", "ls --failures --by-app", f"show {key}", f"why 3 {key}"):
        status, out, err = told(*line.split())
        assert status == 0, err
        assert not set(out + err) & set("\x1b\x9b\u202e\r"), line
    assert "\\x1b[31m" in told("show", key)[1]
    assert "\x1b" not in told("export", "--csv", "\x1b[31m")[2]


@pytest.mark.parametrize("columns", ["10", "30", "80"])
def test_a_narrow_terminal_loses_no_column(
    told: Tell, monkeypatch: pytest.MonkeyPatch, columns: str
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    for line in told("ls")[1].splitlines()[3:-2]:
        assert len(line.split()[0]) == 16 and line.split()[1] in ("simulate", "table")
    assert told("runs")[1].splitlines()[3].split()[:2] == ["000", "ended"]


def test_a_terminal_without_greek_letters(told: Tell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_common, "span", lambda seconds: "3 µs")
    raw = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(raw, "ascii", write_through=True))
    assert told("ls")[0] == 0 and b"3 us" in raw.getvalue()


@pytest.mark.parametrize("argv", [("ls",), ("ls", "--json")])
def test_who_reads_may_have_had_enough(argv: tuple[str, ...]) -> None:
    code = f"import sys; sys.path[:] = {sys.path!r}\nfrom parsl_ckpt import cli\nexit(cli.main())"
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, "wb") as closed:
        done = subprocess.run(
            [sys.executable, "-c", code, *argv], stdout=closed, stderr=subprocess.PIPE, timeout=60
        )
    assert (done.returncode, done.stderr) == (0, b"")


def test_what_is_signed_with_another_key_is_told_and_not_to_be_repaired(
    told: Tell, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Store.open("runinfo/003/checkpoint", signing_key=b"another key, 16+") as store:
        store.put("a", 1)
    monkeypatch.setenv("PARSL_CKPT_KEY", "ab" * 32)
    status, out, err = told("ls", "--run", "3")
    assert status == 0 and "Nothing of 003 is read: it is signed with another key." in err
    assert "signed with another key" in told("show", "ff" * 32)[2]
    status, out, _ = told("verify", "3")
    assert status == 1 and "it is signed with another key\n" in out and "repair" not in out
    assert "..\n" not in told("compact")[2]


def test_of_a_stranger_s_run_is_told_why_it_is_not_read_and_not_changed(told: Tell) -> None:
    os.chmod(segment("001"), 0o666)
    key = json.loads(told("ls", "--run", "1", "--app", "table", "--json")[1])[0]["key"]
    assert "(not read, because the run holds 000000-" in told("show", key)[1]
    status, _, err = told("rm", "--app", "table", "--yes")
    assert status == 1 and "001 is left as it is: it holds 000000-" in err
    assert told("rm", "1", "--yes")[0::2] == (0, "")
