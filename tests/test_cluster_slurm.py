"""Slurm's array, by submitit's local executor: processes of this machine in place of its nodes."""

import os
import signal
from pathlib import Path

import pytest

import results
from benchmarks.__main__ import main
from benchmarks.cluster.job import Job
from benchmarks.cluster.reporting import Report
from results import Case

pytest.importorskip("submitit", reason="submitit is not installed: pip install -e '.[cluster]'")
from benchmarks.cluster import on_slurm

LABEL = "box"


def cases(*seconds):
    return {
        Case(phase="train", arch="a", size="s", seq_len=1, batch=1, seed=n): s
        for n, s in enumerate(seconds)
    }


def test_shares_are_of_about_the_same_length_and_keep_the_order():
    took_s = cases(9.0, 1.0, 2.0, 3.0, None, 5.0)
    shares = on_slurm.shares(list(took_s), took_s.get, 2)
    assert sorted(case.seed for share in shares for case in share) == list(range(6))
    assert sorted(sum(took_s[case] or 4.0 for case in share) for share in shares) == [12.0, 12.0]
    assert all(
        [case.seed for case in share] == sorted(case.seed for case in share) for share in shares
    )
    assert len(on_slurm.shares(list(took_s), took_s.get, 99)) == 6


def test_a_line_of_a_journal_is_read_once_it_is_whole(tmp_path):
    (tmp_path / "old.journal").write_text('{"case": "old", "status": "ok"}\n')
    news = on_slurm.Journals(tmp_path)
    with open(tmp_path / "new.journal", "w", buffering=1) as journal:
        journal.write('{"case": "a", "status": "ok"}\n{"case": "b", ')
        journal.flush()
        assert [answer.case for answer in news()] == ["a"]
        journal.write('"status": "error"}\n')
        assert [(answer.case, answer.failed) for answer in news()] == [("b", True)]
    assert list(news()) == []


def test_what_cannot_be_submitted_is_told_in_a_sentence(tmp_path, capsys, monkeypatch):
    asked = ["submit", "--arch", "rnn", "--phase", "decode", "--device", "cpu"]
    asked += ["--results", str(tmp_path)]
    monkeypatch.setenv("PATH", "/nowhere")
    assert main([*asked, "--on", "slurm"]) == 2
    assert "--on slurm: " in capsys.readouterr().err
    assert main([*asked, "--on", "local", "--slurm", "no_such_word=1"]) == 2
    assert "no_such_word" in capsys.readouterr().err


@pytest.mark.parametrize(("device", "own"), [("cuda", "--gpus-per-node=1"), ("cpu", "--exclusive")])
def test_slurm_is_asked_for_a_gpu_or_a_node_to_itself(tmp_path, monkeypatch, device, own):
    (tmp_path / "srun").write_text("#!/bin/sh")
    (tmp_path / "srun").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    job = Job(
        root=tmp_path,
        token="",
        device=device,
        label=None,
        dtypes=(),
        sources=(),
        limit_s=1.0,
        pack=4,
        since=None,
    )
    made = on_slurm.executor(job, "slurm", 16, {"partition": "gpu", "time": 60})
    asked = made._executor._make_submission_file_text("COMMAND", "UID")
    for word in (own, "--cpus-per-task=4", "--partition=gpu", "--time=60", "--requeue"):
        assert f"#SBATCH {word}\n" in asked, asked


def children(pid):
    """Of processes that this one started."""
    parents = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(path.parent.name)] = int(path.read_text().rpartition(")")[2].split()[1])
        except OSError:  # gone meanwhile
            continue
    return [child for child, parent in parents.items() if parent == pid]


def test_an_element_that_is_killed_costs_no_cell(tmp_path, monkeypatch, capsys):
    killed = []

    def answer(self, answer):
        """Kill the element that this one is of."""
        told(self, answer)
        if not killed:
            controller = int(next((tmp_path / on_slurm.FOLDER).glob("*.journal")).stem)
            killed.extend(children(controller))
            for pid in killed:
                os.kill(pid, signal.SIGKILL)

    told = Report.answer
    monkeypatch.setattr(Report, "answer", answer)
    text = tmp_path / "mine.txt"
    text.write_bytes(bytes(range(256)) * 40)
    asked = ["--device", "cpu", "--arch", "rnn", "--phase", "quality", "--seq-len", "8"]
    asked += ["--batch", "2", "--lr", "0.01", "--corpus", str(text), "--tokens", "1024"]
    asked += ["--seed", "0,1,2,3,4,5", "--pack", "2", "--label", LABEL, "--results", str(tmp_path)]
    assert main(["submit", "--on", "local", *asked]) == 0
    said = capsys.readouterr().out
    assert killed and said.count("submitted: ") == 2 and "6 ok, 0 left" in said, said
    kept = results.load([LABEL], tmp_path).records
    assert {record.case.seed for record in kept} == set(range(6))
    assert main(["submit", "--on", "local", *asked]) == 0
    assert "submitted" not in capsys.readouterr().out
