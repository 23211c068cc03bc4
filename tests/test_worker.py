"""What the process that measures answers where nothing can be kept."""

import errno
import os
from dataclasses import asdict

import pytest
from msgspec import to_builtins

from benchmarks import harness, training, worker
from benchmarks.machine import Environment
from results import Case, Record

CASE = Case(
    phase="quality",
    arch="gru",
    size="100k",
    seq_len=8,
    batch=2,
    tokens=64,
    lr=0.01,
    corpus="mine",
)
ENV = Environment(device="cpu", label="none", machine={}, versions={}, commit=None)


@pytest.fixture
def job(tmp_path):
    text = tmp_path / "mine.txt"
    text.write_bytes(bytes(range(256)) * 40)
    asked = {"case": to_builtins(CASE), "env": asdict(ENV), "root": str(tmp_path / "results")}
    return asked | {"corpus": [str(text)], "limit_s": 60.0, "again": False}


@pytest.fixture
def measured(monkeypatch):
    """Well, and at once."""
    made = harness.record(CASE, ENV, status="ok")
    monkeypatch.setattr(worker.harness, "measure", lambda *asked, **more: made)


def failing(number):
    def fail(*asked):
        raise OSError(number, os.strerror(number))

    return fail


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES])
def test_a_record_that_cannot_be_kept_is_told(job, measured, monkeypatch, number):
    monkeypatch.setattr(Record, "save", failing(number))
    assert os.strerror(number) in worker.measure(job)["unsaved"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS])
def test_a_checkpoint_that_cannot_be_kept_is_told(job, monkeypatch, number):
    monkeypatch.setattr(training, "CHECKPOINT_EVERY_S", 0.0)
    monkeypatch.setattr(training.Checkpoint, "save", failing(number))
    assert os.strerror(number) in worker.measure(job)["unsaved"]


def test_a_process_without_descriptors_is_no_full_disk(job, measured, monkeypatch):
    """It ends, and another one, which has some, goes on."""
    monkeypatch.setattr(Record, "save", failing(errno.EMFILE))
    with pytest.raises(OSError, match="Too many open files"):
        worker.measure(job)
