"""Records: written whole or not at all, read back as themselves, refused by name when broken."""

import errno
import json
import os

import numpy as np
import pytest
from msgspec.structs import replace

import results
from results import Case, Evaluation, Record

CASE = Case(phase="train", arch="gru", size="100k", seq_len=64, batch=2)
QUALITY = replace(CASE, phase="quality", tokens=4096, lr=0.004, corpus="sotu")
RECORD = Record(
    case=CASE,
    label="box",
    status="ok",
    measured_at="2026-01-01T00:00:00+00:00",
    commit=None,
    versions={"torch": "2.13.0"},
    machine={"cores": 2},
    ceilings={"copy": {"work": 8, "samples_s": [0.1, 0.2]}},
    params=100,
    step_s=(0.25, 0.5),
    evaluations=(
        Evaluation(
            split="test",
            context=2,
            position_edges=(1, 2),
            nats=(1.5, 2.0),
            tokens=(3, 3),
            target_bytes=6,
        ),
    ),
)


def test_a_saved_record_loads_as_itself(tmp_path):
    assert results.read(RECORD.save(tmp_path)) == RECORD
    other = replace(RECORD, case=QUALITY, status="oom", reason="too long", step_s=())
    other.save(tmp_path)
    assert results.load(root=tmp_path).records == sorted(
        [RECORD, other], key=lambda record: str(record.case)
    )


def test_a_case_is_its_file_name():
    assert str(CASE) == "train-gru-100k-T64-B2-float32-s0"
    assert str(QUALITY) == "quality-gru-100k-T64-B2-float32-n4096-lr0.004-sotu-s0"
    assert RECORD.path().name == f"{CASE}.json"


def test_a_full_disk_leaves_the_old_record_and_no_half_file(tmp_path, monkeypatch):
    path = RECORD.save(tmp_path)

    def full(handle):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        replace(RECORD, params=200).save(tmp_path)
    assert results.read(path) == RECORD
    assert list(path.parent.iterdir()) == [path]


def test_a_number_that_is_none_is_refused(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        replace(RECORD, step_s=(float("nan"),)).save(tmp_path)
    assert results.load(root=tmp_path).records == []


def broken(path, **changes):
    raw = json.loads(path.read_text()) | changes
    path.write_text(json.dumps(raw))


@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:200]), "truncated"),
        (lambda path: path.write_text(""), "truncated"),
        (lambda path: path.write_bytes(b"\xff\xfe\x00"), "JSON is malformed"),
        (lambda path: path.write_text("[]"), "Expected `object`, got `array`"),
        (lambda path: broken(path, status="fine"), r"Invalid enum value 'fine' - at `\$.status`"),
        (
            lambda path: broken(path, step_s=["fast"]),
            "Expected `float`, got `str`",
        ),
        (lambda path: broken(path, speed=1), "unknown field `speed`"),
        (lambda path: broken(path, params=True), "got `bool`"),
        (lambda path: broken(path, schema=99), "newer than this version reads"),
    ],
)
def test_a_broken_file_is_named_and_costs_only_itself(tmp_path, spoil, complaint):
    good = replace(RECORD, case=QUALITY)
    good.save(tmp_path)
    path = RECORD.save(tmp_path)
    spoil(path)
    with pytest.raises(results.UnreadableRecord, match=complaint):
        results.read(path)
    loaded = results.load(root=tmp_path)
    assert loaded.records == [good]
    assert len(loaded.unreadable) == 1 and str(path) in loaded.unreadable[0]


class Version(str):
    """As torch's is."""


def test_a_subclass_of_a_plain_type_is_kept_as_that_type(tmp_path):
    odd = replace(RECORD, versions={"torch": Version("2.11")}, step_s=(np.float64(0.5),))
    back = results.read(odd.save(tmp_path))
    assert back.versions == {"torch": "2.11"} and back.step_s == (0.5,)
    with pytest.raises(TypeError, match="a Record holds no range"):
        replace(RECORD, machine={"cpu": range(2)}).save(tmp_path)


def test_a_missing_field_is_named(tmp_path):
    path = RECORD.save(tmp_path)
    raw = json.loads(path.read_text())
    del raw["machine"]
    path.write_text(json.dumps(raw))
    with pytest.raises(results.UnreadableRecord, match="`machine`"):
        results.read(path)


def test_an_unknown_label_is_refused_by_name(tmp_path):
    RECORD.save(tmp_path)
    with pytest.raises(ValueError, match=r"no results labelled 'bax'.*; it holds box"):
        results.load(["bax"], tmp_path)
