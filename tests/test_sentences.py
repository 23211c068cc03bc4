"""A section in words: leaders at each length, what fits, what crosses, on every page."""

import numpy as np
import pandas as pd
import pytest

from report.__main__ import main
from report.compare import PANELS, comparisons
from report.crossovers import crossovers
from report.frontier import pareto
from report.plots import length
from report.plots.style import styles
from report.sentences import leaders, of_frontiers, of_limits
from report.table import of_metric, tidy
from results import Probe
from tests.claim_records import evidence
from tests.report_records import LENGTHS, machine, quality, record
from tests.test_crossovers import decoding


def test_the_leaders_at_each_length_are_those_of_that_length():
    rows = tidy(machine())
    losses = of_metric(rows, "perplexity").set_index("arch")["value"]
    for panel in PANELS:
        found = leaders(rows, panel)
        assert set(found) == set(LENGTHS)
        for n, ahead in found.items():
            costs = of_metric(rows, panel.metric.name, panel.phase).set_index("arch")
            at = costs[costs["seq_len"] == n]["value"].dropna()
            points = [(cost, losses[arch]) for arch, cost in at.items()]
            kept = pareto(points, panel.metric.better, "lower")
            assert ahead == tuple(sorted(at.index[kept]))
    for comparison in comparisons(rows):
        assert set(comparison.leaders) == set(
            leaders(rows, comparison.panel)[comparison.cost.seq_len]
        )


def test_lengths_with_the_same_leaders_stand_together():
    decoded = [
        record("decode", arch, seq_len=n, step_s=(step_s,) * 3)
        for arch, times in (("gru", (1, 1, 1)), ("llama", (2, 2, 0.5)))
        for n, step_s in zip((64, 128, 256), times, strict=True)
    ]
    rows = tidy([*decoded, quality("gru", 5, 5), quality("llama", 4, 4)])
    assert list(of_frontiers(rows)) == [
        "On the frontier of perplexity and decode throughput: at 64 to 128 gru and llama; "
        "at 256 llama."
    ]
    assert list(of_frontiers(tidy(decoded))) == []


def limit(arch, fitted, failed):
    probes = [Probe(size=n, fitted=True, peak_bytes=n) for n in fitted]
    probes += [Probe(size=n, fitted=False, peak_bytes=None) for n in failed]
    asked = {"grows": "batch", "steps_of": "train", "memory_bytes": 2**29}
    return record("limits", arch, probes=tuple(probes), **asked)


def test_what_fits_is_told_from_most_to_least():
    rows = tidy([limit("gru", (1, 64), ()), limit("llama", (1, 12), (13,))])
    assert list(of_limits(rows)) == [
        "Limits of train in 512 MiB: the largest batch that fits at length 128 is at least 64 "
        "(gru) down to 12 (llama)."
    ]


@pytest.fixture(scope="module")
def crossed():
    random = np.random.default_rng(0)
    growing = decoding("growing", 1e-3, 0.5, random, kind="attentive")
    return [*growing, *decoding("flat", 3e-3, 0.0, random)]


def test_crossings_reach_every_kind_of_page(crossed, tmp_path, capsys):
    for each in crossed:
        each.save(tmp_path / "results")
    out = tmp_path / "out"
    assert main(["build", "--results", str(tmp_path / "results"), "--out", str(out)]) == 0
    told = "flat passes growing in decode tokens/s between 256 and 1k, at about"
    assert told in " ".join(capsys.readouterr().out.split())
    assert told in (out / "table.md").read_text()
    numbers = pd.read_csv(out / "crossovers.csv")
    assert numbers["then"].tolist() == ["flat"] and 256 < numbers["at"].item() < 1024


def test_a_crossing_is_marked_where_the_lines_meet(crossed):
    found = evidence(crossed)
    told = crossovers(found).told
    (crossing,) = told[0].crossings
    looks = styles(found.rows["arch"])
    drawing = length.draw(found.rows, looks, "length", "here", told)
    (axes, _) = drawing.figure.axes
    (ring,) = [line for line in axes.lines if line.get_markerfacecolor() == "none"]
    (at,), (latency_s,) = ring.get_data()
    assert at == crossing.at.value and latency_s == pytest.approx(3e-3, rel=0.03)
    assert "ring" in drawing.caption
