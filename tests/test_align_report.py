"""What the report makes of alignments: planted figures are found, tables and figure are whole."""

import math

import pytest
from msgspec.structs import replace

from report import align, studies
from report.__main__ import main
from report.plots.style import styles
from tests.align_records import NS, aligned, answered


def course(*records):
    (found,) = align.courses([each for some in records for each in some])
    return found


def test_what_one_record_says():
    (one,) = aligned("elman", seeds=1, scatter=0.0)
    assert align.lift(one) == pytest.approx(2.0)
    assert align.accuracy(one, 2048) == pytest.approx(0.8)
    assert align.accuracy(one, 2048, 0.25) == pytest.approx(0.725)
    assert align.accuracy(one, 4096) is None
    places = align.best_of(one, 2048)
    assert [place.at for place in places] == list(NS)
    # log n - (n - 1)/n: no choice is no distance
    assert places[0].kl_nats == 0 and places[1].kl_nats == pytest.approx(math.log(2) - 0.5)
    assert align.peak(places).at == 8
    end = align.way(align.optimised(one)["rloo", 0.02])[-1]
    assert (end.kl_nats, end.proxy, end.gold) == pytest.approx((1.0, 1.5, 0.4))
    # gold is 0.6 in the mean and scatters by 0.1: so does proxy on its scale
    assert align.in_gold(one, 0.0) == pytest.approx(0.6)
    assert align.in_gold(one, 2.0) == pytest.approx(0.8)


def test_a_win_is_the_greater_reward_to_the_same_prompt():
    assert align.wins(answered(1, 0.7), answered(1, 0.5)) == 1
    assert align.wins(answered(1, 0.5), answered(1, 0.5)) == 0.5
    ours = answered(1, 0.5)
    assert align.wins(ours, replace(ours, gold=ours.gold[::-1])) == 0.5


def test_courses_are_apart_by_what_was_asked_and_failures_left_out():
    rules, other = aligned("elman"), aligned("elman", pairs=128)
    failed = aligned("gated", status="timeout", reason="late")
    found = align.courses([*rules, *other, *failed])
    assert len(found) == 2 and all(list(each.archs) == ["elman"] for each in found)
    assert all(list(each.archs["elman"]) == [0, 1, 2] for each in found)


def test_a_study_has_a_figure_and_tables(tmp_path):
    records = [*aligned("attentive", right=0.9, scatter=0.0), *aligned("elman")]
    (study,) = studies.studies(records, styles(["attentive", "elman"]))
    (drawing,) = study.drawings
    assert all(path.stat().st_size for path in drawing.save(tmp_path))
    assert set(drawing.data["way"]) == {"best of n", "dpo, β 0.1", "rloo, β 0.02", "rloo, β 0.2"}
    tables = dict(study.tables)
    lessons = tables["Fine-tuning on rules"]
    assert list(lessons["architecture"]) == ["attentive", "elman"]
    assert lessons["times as many"][0].startswith("2.00 ")
    assert len(tables["Reward models, pairs ranked right, rules"]) == 4  # with noise and without
    assert tables["Best of n by reward model, rules"]["greatest"][0].endswith("n = 8")
    costs = tables["Throughput and memory of a policy's steps, rules"]
    assert list(costs["tokens/s"][:3]) == ["10k"] * 3 and costs["peak memory"][0] == "1 MiB"
    assert len(tables["Optimised policies, rules"]) == 6


def test_dialogues_have_a_table_and_no_rewards():
    told = {"instructions": "dialogues", "pairs": None, "corpus": "sotu"}
    none = {"scorers": (), "best_of": (), "optimised": (), "collected": None}
    silent = [
        replace(
            one,
            **none,
            lessons=tuple(
                replace(lesson, answered=replace(lesson.answered, gold=(), exact=None))
                for lesson in one.lessons
            ),
        )
        for one in aligned("elman", **told)
    ]
    (study,) = studies.studies(silent, styles(["elman"]))
    assert study.drawings == []
    ((title, table),) = study.tables
    assert title == "Fine-tuning on dialogues" and "fine-tuned: bits/token" in table


def test_the_page_has_it(tmp_path):
    for each in aligned("elman"):
        each.save(tmp_path / "results")
    out = tmp_path / "out"
    assert main(["build", "--results", str(tmp_path / "results"), "--out", str(out)]) == 0
    assert "Alignment on cpu-test" in (out / "index.html").read_text()
    assert (out / "align.png").is_file() and "Best of n" in (out / "table.md").read_text()
