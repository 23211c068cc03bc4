"""The life of a model: stages put side by side from Records that never ran."""

from report.folder import build
from report.life import TITLE, lives, raised
from report.parts import readings
from tests.align_records import aligned
from tests.report_records import held_out, record

STEP_S = {"attentive": 0.1, "gated": 0.05}


def swept(arch, forward_flops=1000):
    yield record(
        "quality",
        arch,
        train_s=30.0,
        forward_flops=forward_flops,
        evaluations=(held_out("valid", 128, 1.0), held_out("test", 128, 1.1)),
    )
    for phase in ("train", "prefill", "decode"):
        yield record(phase, arch, step_s=(STEP_S[arch],) * 3, state_bytes=2048, peak_bytes=2**20)


def records(*archs):
    return [each for arch in archs for each in swept(arch)]


def told(*archs):
    ((evidence, _),) = readings(records(*archs))
    return raised(evidence)


def rows_of(study):
    ((title, rows),) = study.tables
    assert title == f"{TITLE}, taught rules"
    return rows.set_index("architecture")


def lived(raised, others):
    return lives([(("cpu-test", "tiny"), raised)], others)


def test_each_stage_is_told_and_the_best_is_starred():
    both = [*aligned("attentive", lift=2.0), *aligned("gated", lift=1.5)]
    (study,) = lived(told("attentive", "gated"), both)
    rows = rows_of(study)
    assert list(rows.index) == ["attentive", "gated"]
    # a training is three forward passes; 1,000 tokens
    assert list(rows["pre-training: FLOPs"]) == ["3M *", "3M *"]
    assert list(rows["pre-training: time"]) == ["30 s *", "30 s *"]
    assert list(rows["serving: reading, tokens/s"]) == ["1.28k", "2.56k *"]
    assert list(rows["serving: writing, tokens/s"]) == ["10", "20 *"]
    assert list(rows["fine-tuning: time"]) == ["1 s *", "1 s *"]
    # 1,000 tokens in a median of 0.1 s
    assert set(rows["RL: generating, tokens/s"]) == {"10k *"}
    assert rows["right throughout, before → after"]["attentive"].startswith("30 % → 6")
    assert rows["right throughout, before → after"]["attentive"].endswith("*")
    assert "pre-training on 1k tokens" in study.lead and "writing 128 tokens" in study.lead


def test_what_was_not_measured_is_not_told():
    without = [r for r in records("gated") if r.case.phase not in ("decode", "prefill")]
    ((evidence, _),) = readings(without)
    (course,) = [study for study in lived(raised(evidence), aligned("gated"))]
    assert not any("serving" in column for column in rows_of(course).columns)
    assert lived(told("gated"), aligned("attentive")) == []  # no architecture has both
    assert lived(told("gated"), []) == []
    assert lived(None, aligned("gated")) == []


def test_no_quality_is_no_life():
    timed = [r for r in records("gated") if r.case.phase != "quality"]
    ((evidence, _),) = readings(timed)
    assert raised(evidence) is None


def test_the_page_has_it(tmp_path):
    for each in (*records("attentive", "gated"), *aligned("gated")):
        each.save(tmp_path / "results")
    build(None, tmp_path / "results", tmp_path / "out")
    page = (tmp_path / "out" / "index.html").read_text()
    assert "Life of a model on cpu-test, size tiny" in page
    tables = (tmp_path / "out" / "table.md").read_text()
    assert "What each stage costs" in tables
