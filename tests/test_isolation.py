"""What a cell does to its process costs that cell alone."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from unittest.mock import Mock

import pytest
from msgspec.structs import replace

import results
from archs._ops import KernelRefused
from benchmarks import harness, isolation, process
from benchmarks.isolation import Crew, Halt, Worker
from benchmarks.machine import Environment
from benchmarks.process import Child, Ended
from results import Case

ENV = Environment(device="cpu", label="none", machine={}, versions={}, commit=None)
ROOT = Path(__file__).parents[1]


@pytest.fixture
def child():
    child = Child("tests.children")
    yield child
    child.close()


def alive(pid):
    """Whether the process runs; a zombie that nobody waits for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_until_dead(pid):
    limit = time.monotonic() + 10
    while alive(pid):
        assert time.monotonic() < limit
        time.sleep(0.01)


def test_what_a_child_prints_is_no_answer(child, capsys):
    assert child.ask({"way": "print"})["way"] == "print"
    assert capsys.readouterr().err == "not an answer\nnor this\n"
    assert child.ask({"way": "well"})["way"] == "well"
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("way", "reason"),
    [
        ("raise", "ZeroDivisionError: a bug"),
        ("segfault", "its process ended by SIGSEGV (Segmentation fault)"),
        ("kill", "its process ended by SIGKILL (Killed)"),
        ("exit", "its process ended with exit status 3"),
    ],
)
def test_an_end_says_why(child, way, reason):
    with pytest.raises(Ended) as caught:
        child.ask({"way": way})
    assert (caught.value.status, caught.value.reason) == ("error", reason)
    assert ("Traceback" in caught.value.said) == (way == "raise")


def test_a_kill_while_the_kernel_ran_out_of_memory_is_that(child, monkeypatch):
    child.load()
    kills = iter([3, 4])
    monkeypatch.setattr(process, "_out_of_memory_kills", lambda: next(kills))
    with pytest.raises(Ended, match="memory ran out") as caught:
        child.ask({"way": "kill"})
    assert caught.value.status == "oom"


def test_a_child_that_hangs_is_ended(child):
    pid = child.ask({"way": "well"})["pid"]
    with pytest.raises(Ended, match="no answer after") as caught:
        child.ask({"way": "hang"}, limit_s=0.2)
    assert caught.value.status == "timeout" and not alive(pid)


def test_a_child_that_hangs_up_is_ended(child, monkeypatch):
    monkeypatch.setattr(process, "ENDING_S", 0.1)
    with pytest.raises(Ended, match="SIGKILL"):
        child.ask({"way": "hang up"})


@pytest.mark.parametrize("way", ["exit", "close"])
def test_what_a_child_started_ends_with_it(child, way):
    grandchild = child.ask({"way": "start"})["pid"]
    assert alive(grandchild)
    if way == "close":
        child.close()
    else:
        with pytest.raises(Ended):
            child.ask({"way": "exit"})
    wait_until_dead(grandchild)


def test_a_child_ends_with_a_parent_that_is_killed():
    code = (
        "import os, signal; from benchmarks.process import Child; child = Child('tests.children');"
        "print(child.ask({'way': 'well'})['pid'], flush=True); child.tell({'way': 'hang'});"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    killed = subprocess.run([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE)
    assert killed.returncode == -signal.SIGKILL
    wait_until_dead(int(killed.stdout))


def test_a_child_does_nothing_for_a_parent_that_is_killed_while_it_loads():
    code = (
        "import os, signal; from benchmarks.process import Child; child = Child('tests.children');"
        "print(child.process.pid, flush=True); child.tell({'way': 'hang'});"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    killed = subprocess.run([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE)
    wait_until_dead(int(killed.stdout))


def test_the_time_to_load_counts_for_no_limit(tmp_path):
    (tmp_path / "sitecustomize.py").write_text("import time; time.sleep(2)")
    child = Child("tests.children", PYTHONPATH=str(tmp_path))
    try:
        assert child.ask({"way": "well"}, limit_s=1.0)["way"] == "well"
    finally:
        child.close()


def quality(**changes):
    given = {"tokens": 64, "lr": 0.01, "corpus": "mine"} | changes
    return Case(phase="quality", arch="gru", size="100k", seq_len=8, batch=2, **given)


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "mine.txt"
    path.write_bytes(bytes(range(256)) * 40)
    return [str(path)]


def test_a_crash_is_the_record_of_its_case_only(tmp_path, text, capsys):
    root, worker = tmp_path / "results", Worker("cpu")
    try:
        failed, _ = worker.measure(quality(), ENV, root, sources=["/nowhere"], limit_s=60.0)
        assert failed.status == "error" and "cannot read the corpus" in failed.reason
        assert "Traceback" in capsys.readouterr().err
        assert results.load(root=root).records == [failed]

        record, spent_s = worker.measure(quality(), ENV, root, sources=text, limit_s=60.0)
        assert record.status == "ok" and 0 < spent_s["training"] <= record.took_s
        assert spent_s["building"] > 0 and spent_s["saving"] > 0
        assert spent_s["training"] + spent_s["building"] >= record.took_s
        assert results.load(root=root).records == [record]

        with pytest.raises(KernelRefused, match="none of its ops has a kernel 'sdpa'"):
            worker.measure(quality(kernel="sdpa"), ENV, root, sources=text, limit_s=60.0)
        # no answer makes place for an error, and a visit that crashes leaves no trace
        for again in (False, True):
            failed, _ = worker.measure(
                quality(), ENV, root, sources=["/nowhere"], limit_s=60.0, again=again
            )
        assert failed.status == "error" and results.load(root=root).records == [record]
    finally:
        worker.close()


@pytest.mark.parametrize(("used", "asked"), [(True, 2), (False, 1)])
def test_out_of_memory_is_believed_of_a_process_that_measured_nothing_else(
    tmp_path, monkeypatch, used, asked
):
    worker, oom = Worker("cpu"), harness.record(quality(), ENV, status="oom")
    told = iter([(oom, {})] + [(replace(oom, status="ok"), {})] * (asked - 1))
    monkeypatch.setattr(worker, "_measure", lambda *args: next(told))
    worker.child, worker.used = object(), used
    record, _ = worker.measure(quality(), ENV, tmp_path, limit_s=60.0)
    assert record.status == ("ok" if used else "oom") and not list(told)


def test_a_crew_loses_a_case_and_not_a_core(tmp_path, text):
    crew = Crew([0], ENV, tmp_path / "results")
    try:
        dies = crew.submit(quality(), ["/nowhere"], 60.0)
        refused = crew.submit(quality(kernel="sdpa"), text, 60.0)
        lives = crew.submit(quality(seed=1), text, 60.0)
        assert dies.result(60).status == "error" and lives.result(60).status == "ok"
        with pytest.raises(KernelRefused):
            refused.result(60)
    finally:
        crew.close()


def test_a_crew_that_is_sent_home_leaves_nothing_behind(tmp_path, text):
    """One case under way, one waiting: neither gets a Record, and no process is left."""
    crew = Crew([0], ENV, tmp_path / "results")
    begun, waiting = (crew.submit(quality(tokens=2**30, seed=s), text, 600.0) for s in (0, 1))
    child = crew.workers[0].child
    while not begun.running():
        time.sleep(0.01)
    crew.close()
    assert waiting.cancelled() and isinstance(begun.exception(), Halt)
    assert not alive(child.process.pid)
    assert not list((tmp_path / "results").rglob("*"))


def test_no_process_is_started_once_the_sweep_ends(monkeypatch):
    begun = Mock()
    monkeypatch.setattr(isolation, "Child", begun)
    worker = Worker("cpu")
    worker.kill()
    with pytest.raises(Halt, match="the sweep ends here"):
        worker.ask({"do": "ceilings"})
    begun.return_value.kill.assert_called()


def test_no_process_to_be_had_ends_the_sweep(monkeypatch):
    def refused(*arguments, **environment):
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(isolation, "Child", refused)
    with pytest.raises(Halt, match="no process can be started to measure in"):
        Worker("cpu").ask({"do": "ceilings"})


def test_what_cannot_be_read_back_ends_the_sweep(tmp_path, monkeypatch):
    worker = Worker("cpu")
    monkeypatch.setattr(worker, "load", lambda: 0.0)
    monkeypatch.setattr(worker, "ask", lambda *asked: {"spent_s": {}})
    with pytest.raises(Halt, match=r"cannot be read: .*No such file"):
        worker.measure(quality(), ENV, tmp_path, limit_s=60.0)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_takes_no_more_ends_the_sweep(tmp_path, text):
    root, worker = tmp_path / "results", Worker("cpu")
    (root / "none").mkdir(parents=True)
    (root / "none").chmod(0o500)
    try:
        with pytest.raises(Halt, match="results cannot be kept: Permission denied"):
            worker.measure(quality(), ENV, root, sources=text, limit_s=60.0)
    finally:
        worker.close()
        (root / "none").chmod(0o700)
