"""compare: ratios, intervals, the gate, pages that only show, files whole or not at all."""

import errno
import json
import os
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from msgspec.structs import replace

import results
from report.__main__ import main
from report.comparison import benchmark_json, bootstrap, gate, pages
from report.comparison.calibration import MACHINES, simulated
from report.comparison.ratios import pair
from report.comparison.sides import Incomparable, of_records
from tests.report_records import quality, record

ARCHS = ("gru", "lstm", "mamba", "rnn")
LENGTHS = tuple(2**i for i in range(5, 13))
PAGE = Path(__file__).parents[1] / "docs" / "compare.md"
FIRST = "reference-cpu-2-core-amd-epyc"
AGAIN = f"{FIRST}-again"


def run(label, slower=1.0, seed=0, phases=("train", "prefill", "decode"), archs=ARCHS, **given):
    """A sweep of one label: 96 cells whose steps scatter by 2 % and sentinels by 1 %."""
    noise = random.Random(f"{label} {seed}")
    records = []
    for phase in phases:
        for arch in archs:
            for length in LENGTHS:
                step_s = slower * length * 1e-4
                made = {
                    "label": label,
                    "seq_len": length,
                    "measured_at": f"2026-01-02T03:{len(records) // 60:02}:{len(records) % 60:02}",
                    "step_s": tuple(step_s * noise.lognormvariate(0, 0.02) for _ in range(10)),
                    "sentinel_s": tuple(0.005 * noise.lognormvariate(0, 0.01) for _ in range(6)),
                    "peak_bytes": length * 1000,
                    **given,
                }
                records.append(record(phase, arch, **made))
    return records


def side(records, *asked):
    return of_records(records[0].label, records, asked)


def saved(folder, *runs):
    for records in runs:
        for each in records:
            each.save(folder / "results")


def compared(folder, *arguments, code=0):
    root = folder / "results"
    root.mkdir(exist_ok=True)
    assert main(["compare", *map(str, arguments), "--results", str(root)]) == code


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """A folder of labels: two of the same code, slower and faster ones, two that share nothing."""
    folder = tmp_path_factory.mktemp("swept")
    speeds = {"a": 1.0, "b": 1.0, "slow": 1.2, "slightly": 1.06, "fast": 0.8}
    saved(folder, *(run(label, slower=slower) for label, slower in speeds.items()))
    saved(folder, run("elsewhere", size="huge")[:2], run("failed", status="timeout")[:2])
    return folder


def of(found, quantity):
    return next(ratios for ratios in found.ratios if ratios.quantity.name == quantity)


# ratios and intervals


def test_ratios_are_the_other_over_the_first_by_cell_architecture_and_all():
    found = of(pair(side(run("a")), side(run("b", slower=1.25))), "tokens_per_s")
    assert [group.name for group in found.groups] == ["all cells", *ARCHS]
    assert [group.cells for group in found.groups] == [96, 24, 24, 24, 24]
    for group in found.groups:
        assert group.mean == pytest.approx(0.8, rel=0.01)
        assert group.interval.low < group.mean < group.interval.high
        assert group.steadied.estimate.value == pytest.approx(0.8, rel=0.01)
        assert group.sentinel == pytest.approx(1, rel=0.01)
    for cell in found.cells:
        assert cell.value == pytest.approx(cell.other / cell.baseline)
        assert cell.interval.low < 0.8 * 1.1 and cell.interval.high > 0.8 / 1.1
    whole = {cell.interval.low <= cell.value <= cell.interval.high for cell in found.cells}
    assert whole == {True}


def test_of_repeated_runs_each_cell_is_the_one_with_the_calmest_sentinel(swept, capsys):
    """Whatever the steps say: the disturbed run's are quicker in one half of the cells."""
    calm, disturbed = run("a"), run("b", slower=1.25)
    for i in range(96):
        disturbed[i] = replace(disturbed[i], sentinel_s=(0.002 if i % 2 == 0 else 0.02,) * 6)
    failed = replace(disturbed[1], status="timeout", step_s=(), sentinel_s=())
    for runs in ([*calm, *disturbed, failed], [failed, *disturbed, *calm]):
        pooled = of_records("a+b", runs, ()).cells["tokens_per_s"]
        expected = [disturbed[i] if i % 2 == 0 else calm[i] for i in range(96)]
        assert {case: cell.step_s for case, cell in pooled.items()} == {
            each.case: each.step_s for each in expected
        }
    compared(swept, "a+b", "slow", "--fail-on", "tokens_per_s<0.95", code=1)
    assert "slow over a+b" in capsys.readouterr().out
    compared(swept, "a+nowhere", "slow", code=2)
    assert "no results labelled 'nowhere'" in capsys.readouterr().err


def test_what_is_counted_has_an_exact_ratio():
    bigger = run("b", peak_bytes=1500)
    found = of(pair(side(run("a", peak_bytes=1000)), side(bigger)), "peak_memory")
    for group in found.groups:
        assert group.interval.low == group.interval.high == pytest.approx(1.5)
        assert group.steadied is None


def test_of_a_number_that_gets_lower_when_steps_get_longer_the_interval_points_the_same_way():
    found = pair(side(run("a"), "decode_latency"), side(run("b", slower=1.25), "decode_latency"))
    for cell in of(found, "decode_latency").cells:
        assert cell.interval.low < cell.value < cell.interval.high
        assert cell.interval.low > 1.1 and cell.interval.high < 1.4


def test_ceilings_tell_the_silicon_from_the_software():
    def ceilings(times):
        return {
            name: {"work": 10**9, "samples_s": [0.1 / times, 0.2]}
            for name in ("matmul-float32", "copy")
        }

    slow, fast = run("a", ceilings=ceilings(1)), run("b", slower=0.5, ceilings=ceilings(2))
    found = of(pair(side(slow), side(fast)), "tokens_per_s")
    assert found.groups[0].mean == pytest.approx(2, rel=0.01)
    assert found.groups[0].of_ceiling == {
        "matmul": pytest.approx(1, rel=0.01),
        "copy": pytest.approx(1, rel=0.01),
    }
    page = pages.markdown([pair(side(slow), side(fast))], [])
    assert "the silicon explains it" in page
    same_chip = run("b", slower=0.5, ceilings=ceilings(1))
    page = pages.markdown([pair(side(slow), side(same_chip))], [])
    assert "the silicon does not explain it" in page


def test_what_the_sentinel_explains_is_taken_out():
    """Half of the cells of the second run are caught in a burst that slows their sentinels too."""
    burst = [
        replace(r, step_s=tuple(1.8 * s for s in r.step_s), sentinel_s=(0.009,) * 6)
        if i % 8 < 4
        else r
        for i, r in enumerate(run("b"))
    ]
    overall = of(pair(side(run("a")), side(burst)), "tokens_per_s").groups[0]
    assert overall.mean == pytest.approx(1.8**-0.5, rel=0.02)
    assert overall.steadied.estimate.value == pytest.approx(1, abs=0.02)
    bare = [[replace(r, sentinel_s=()) for r in records] for records in (run("a"), burst)]
    unsteadied = of(pair(*map(side, bare)), "tokens_per_s").groups[0]
    assert unsteadied.sentinel is None and unsteadied.steadied.estimate.value < 0.9


def test_expanded_tails_make_a_small_sample_as_wide_as_students():
    draw, tail, inside = np.random.default_rng(0), 0.025, 0
    for _ in range(300):
        found = bootstrap.mean_of_cells(draw.normal(0, 1, 8), 1)
        low, high = found.bounds(tail)
        inside += low <= 1 <= high
    assert 0.91 <= inside / 300 <= 0.99


def test_few_cells_have_no_interval_over_them():
    few = of(pair(side(run("a", archs=("gru",))[:5]), side(run("b"))), "tokens_per_s")
    assert [group.interval for group in few.groups] == [None]


def test_the_same_records_say_the_same_twice():
    def page():
        found = [pair(side(run("a")), side(run("b")))]
        return pages.as_json(found, gate.verdicts([gate.parse("tokens_per_s<0.95")], found))

    assert page() == page()


# the gate


@pytest.mark.parametrize(
    ("label", "condition", "code"),
    [
        ("b", "tokens_per_s<0.95", 0),
        ("slow", "tokens_per_s<0.95", 1),
        ("slow", "decode_throughput < 0.9", 1),
        ("slow", "tokens_per_s>1.05", 0),
        ("fast", "tokens_per_s>1.05", 1),
        ("slow", "decode_latency>1.1", 1),
        ("slightly", "tokens_per_s<0.9435", 0),  # beyond the threshold is not enough
        ("slow", "peak_memory>1", 0),
    ],
)
def test_the_gate(swept, capsys, label, condition, code):
    compared(swept, "a", label, "--fail-on", condition, code=code)
    shown = capsys.readouterr().out
    assert ("FAIL" in shown) == bool(code) and ("The gate holds" in shown) != bool(code)


def test_the_gate_finds_one_slow_architecture(tmp_path, capsys):
    slow = run("b", archs=ARCHS[1:]) + run("b", slower=1.5, archs=ARCHS[:1])
    saved(tmp_path, run("a"), slow)
    compared(tmp_path, "a", "b", "--fail-on", "tokens_per_s<0.95", "--markdown", code=1)
    page = capsys.readouterr().out
    assert "b over a, gru: 0.6" in page and "b over a, lstm" not in page


def test_chances_of_false_alarms_are_shared():
    found = [pair(side(run("a")), side(run(name))) for name in ("b", "c")]
    one = gate.verdicts([gate.parse("tokens_per_s<0.95")], found[:1])
    two = gate.verdicts([gate.parse("tokens_per_s<0.95")], found)
    assert len(two) == 2 * len(one) == 10
    assert all(late.bound >= early.bound for early, late in zip(one, two, strict=False))


@pytest.mark.parametrize(
    ("condition", "complaint"),
    [
        ("tokens_per_s", "is not a condition"),
        ("tokens_per_s<=0.95", "is not a condition"),
        ("tokens_per_s<0", "is not a condition"),
        ("tokens_per_s<nan", "is not a condition"),
        ("__import__('os')<1", "is not a condition"),
        ("speed<0.95", "no quantity 'speed'"),
        ("perplexity>1.02", "too few cells with perplexity"),
        ("ops<0.95", "too few cells with ops"),
    ],
)
def test_a_gate_that_would_see_nothing_is_refused(swept, tmp_path, capsys, condition, complaint):
    compared(swept, "a", "b", "--fail-on", condition, "--out", tmp_path / "out", code=2)
    printed = capsys.readouterr()
    assert complaint in printed.err and printed.err.count("\n") == 1 and not printed.out
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("machine", MACHINES, ids=lambda machine: machine.name)
def test_a_simulated_machine_is_compared(machine):
    (before, after), *_ = simulated(machine, 1)
    overall = of(pair(before, after), "tokens_per_s").groups[0]
    assert overall.cells == 108 and 0.8 < overall.steadied.estimate.value < 1.25


# what differs, what is missing


def test_versions_that_differ_are_told(tmp_path, capsys):
    versions = {"torch": "2.14.0", "python": "3.11"}
    other = run("b", versions=versions, kernels={"gru": "fused"}, commit="def5678")
    saved(tmp_path, run("a", kernels={"gru": "cell"}), other)
    compared(tmp_path, "a", "b", "--markdown")
    page = capsys.readouterr().out
    for line in (
        "| version: torch | 2.13.0 | 2.14.0 |",
        "| kernel of gru | cell | fused |",
        "| commit | abc1234 | def5678 |",
    ):
        assert line in page
    assert "version: python" not in page


def test_what_only_one_side_finished_is_told(tmp_path, capsys):
    failing = run("b")
    failing[0] = replace(failing[0], status="oom", step_s=())
    saved(tmp_path, run("a"), failing[:-2])
    compared(tmp_path, "a", "b", "--markdown")
    page = capsys.readouterr().out
    assert f"- {failing[0].case}: finished in a, oom in b\n" in page
    assert "3 cells are only in a and not compared." in page


def test_quality_is_compared_seed_by_seed():
    ours = [quality(valid=5, test=5.0, seed=seed, label="a") for seed in range(8)]
    theirs = [quality(valid=5, test=5.5, seed=seed, label="b") for seed in range(8)]
    found = pair(side(ours), side(theirs))
    assert of(found, "perplexity").groups[0].mean == pytest.approx(1.1)
    fired = gate.verdicts([gate.parse("perplexity>1.05")], [found])
    assert [verdict.fires for verdict in fired] == [True]


@pytest.mark.parametrize(
    ("names", "complaint"),
    [
        (["a"], "compare needs two different labels or files"),
        (["a", "a"], "compare needs two different labels or files"),
        (["a", "z"], "no results labelled 'z'"),
        (["a", "../../etc"], "no results labelled '../../etc'"),
        (["a", "\x1b[2J\n"], r"no results labelled '\x1b[2J\n'"),
        (["a", "elsewhere"], "no finished cell in common"),
        (["a", "failed"], "no finished cell in common"),
        (["a", "b.json"], "a label and a file of pytest-benchmark share no cell"),
        (["a.json", "b.json"], "a.json is not a file of pytest-benchmark"),
    ],
)
def test_what_cannot_be_compared_is_one_sentence(swept, tmp_path, capsys, names, complaint):
    compared(swept, *names, "--out", tmp_path / "out", code=2)
    printed = capsys.readouterr()
    assert complaint in printed.err and printed.err.count("\n") == 1 and not printed.out
    assert not (tmp_path / "out").exists()


def test_an_unreadable_record_costs_itself_and_the_exit_code(tmp_path, capsys):
    saved(tmp_path, run("a"), run("b"))
    newer = next((tmp_path / "results" / "b").glob("*.json"))
    newer.write_text(json.dumps(json.loads(newer.read_text()) | {"schema": 99}))
    compared(tmp_path, "a", "b", code=1)
    printed = capsys.readouterr()
    assert "newer than this version reads" in printed.err and "95" in printed.out


def test_a_label_of_one_unreadable_record_has_nothing_to_compare(tmp_path, capsys):
    saved(tmp_path, run("a"), run("b")[:1])
    next((tmp_path / "results" / "b").glob("*.json")).write_text("{")
    compared(tmp_path, "a", "b", code=2)
    assert "b has no readable Record" in capsys.readouterr().err


# plain pytest-benchmark files

NAMES = [f"tests/test_{file}.py::test_{i}" for file in "xy" for i in range(9)]


def benchmark_file(path, slower=1.0, names=NAMES, **changes):
    noise = random.Random(path.name)
    benchmarks = []
    for i, name in enumerate(names):
        rounds_s = [slower * 10 ** (i % 9 - 6) * noise.lognormvariate(0, 0.02) for _ in range(12)]
        stats = {"median": sorted(rounds_s)[6], "data": rounds_s}
        benchmarks.append({"group": None, "name": name[-6:], "fullname": name, "stats": stats})
    raw = {
        "version": "5.1.0",
        "machine_info": {"node": path.name, "cpu": {"count": 2}},
        "commit_info": {"id": "abc"},
        "benchmarks": benchmarks,
    }
    path.write_text(json.dumps(raw | changes))
    return path


def test_two_files_of_pytest_benchmark_compare(tmp_path, capsys):
    before = benchmark_file(tmp_path / "before.json")
    after = benchmark_file(tmp_path / "after.json", slower=1.25, version="6.0.0")
    compared(tmp_path, before, after, "--markdown", "--fail-on", "ops<0.95", code=1)
    page = capsys.readouterr().out
    assert "| all cells | 18 | 0.797 (0.79–0.80) |" in page and "| tests/test_x.py | 9 |" in page
    assert "| pytest-benchmark | 5.1.0 | 6.0.0 |" in page
    compared(tmp_path, before, after, "--fail-on", "ops<0.5")


def test_a_file_that_pytest_benchmark_wrote_is_read(tmp_path):
    """By the installed version, in a process of its own: the format is its."""
    (tmp_path / "test_it.py").write_text("def test_it(benchmark):\n    benchmark(sum, [1])\n")
    arguments = ["-q", "-p", "no:cacheprovider", "--benchmark-json", "out.json"]
    command = [sys.executable, "-m", "pytest", *arguments, "--benchmark-max-time", "0.01"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, timeout=60)
    (cell,) = benchmark_json.read(tmp_path / "out.json").cells["ops"].values()
    assert cell.value > 0 and len(cell.step_s) >= 5 and cell.group == "test_it.py"


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: path.unlink(),
        lambda path: path.write_text("[" * 100_000),
        lambda path: path.write_bytes(b"\xff\xfe\x00"),
        lambda path: path.write_text("[]"),
        lambda path: benchmark_file(path, benchmarks=[{"fullname": "x"}]),
        lambda path: benchmark_file(path, benchmarks=[{"fullname": 1, "stats": {"median": 1}}]),
        lambda path: benchmark_file(path, benchmarks=[{"fullname": "x", "stats": {"median": 0}}]),
        lambda path: path.write_text(
            '{"benchmarks": [{"fullname": "x", "stats": {"median": 1, "data": [NaN]}}]}'
        ),
    ],
)
def test_a_broken_file_is_named(tmp_path, spoil):
    path = benchmark_file(tmp_path / "a.json")
    spoil(path)
    with pytest.raises(Incomparable, match=r"a\.json is not a file of pytest-benchmark") as told:
        benchmark_json.read(path)
    assert len(str(told.value)) < 500


# pages that only show

HOSTILE = [
    "<script>alert(1)</script>",
    "a|b\n# heading\n![x](http://x.invalid/y.png)",
    "=HYPERLINK(1)",
    "../../etc/passwd",
    "\x1b[31mred\x07\ud800",
    "[bold]rich[/bold] @someone `code`",
    "{{ 7 * 7 }}",
    "x" * 10_000_000,
]


def test_hostile_names_are_shown_and_do_nothing(tmp_path, capsys):
    before = benchmark_file(tmp_path / "before.json", names=HOSTILE)
    after = benchmark_file(
        tmp_path / "after.json", 1.5, HOSTILE, machine_info={"<b>node</b>": "<i>x</i>\n|"}
    )
    out = tmp_path / "out"
    compared(tmp_path, before, after, "--out", out)
    terminal = capsys.readouterr().out
    assert "\x1b" not in terminal and "[bold]rich[/bold]" in terminal and len(terminal) < 50_000
    html, markdown = ((out / f"compare.{kind}").read_text() for kind in ("html", "md"))
    assert len(html) < 50_000 and len(markdown) < 50_000
    assert "<script" not in html and "<b>" not in html and "&lt;script&gt;" in html
    assert "{{ 7 * 7 }}" in html
    for live in ("<script", "![x](", "@someone", "`code`", "\x1b", "\n# heading", "<i>"):
        assert live not in markdown
    tables = [line for line in markdown.splitlines() if line.startswith("|")]
    assert {line.count(" | ") for line in tables} <= {1, 2, 3}
    named = {
        cell["name"]
        for cell in json.loads((out / "compare.json").read_text())["pairs"][0]["ratios"][0]["cells"]
    }
    assert named == set(HOSTILE)
    assert sorted(path.name for path in out.iterdir()) == [
        "compare.html",
        "compare.json",
        "compare.md",
    ]


def test_what_is_written_is_what_is_printed(swept, tmp_path, capsys):
    out = tmp_path / "out"
    compared(swept, "a", "b", "--out", out, "--markdown")
    assert capsys.readouterr().out == (out / "compare.md").read_text()
    (found,) = json.loads((out / "compare.json").read_text())["pairs"]
    assert (found["baseline"], found["other"]) == ("a", "b")
    assert len(found["ratios"][0]["cells"]) == 96


def test_a_full_disk_leaves_the_old_pages_and_no_half_file(swept, tmp_path, capsys, monkeypatch):
    out = tmp_path / "out"
    compared(swept, "a", "b", "--out", out)
    before = {path: path.read_bytes() for path in out.iterdir()}

    def full(source, target):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "replace", full)
    compared(swept, "a", "b", "--out", out, code=1)
    assert {path: path.read_bytes() for path in out.iterdir()} == before
    assert "No space left" in capsys.readouterr().err


def test_results_are_never_written_into(swept, capsys):
    compared(swept, "a", "b", "--out", swept / "results" / "a", code=2)
    assert "holds only what was observed" in capsys.readouterr().err


# the documented comparison


@pytest.mark.skipif(not (results.ROOT / AGAIN).is_dir(), reason=f"no results/{AGAIN} yet")
def test_the_page_shows_what_the_records_say(capsys):
    main(["compare", FIRST, AGAIN, "--markdown"])
    assert capsys.readouterr().out in PAGE.read_text()


def test_the_page_names_its_commands():
    page = PAGE.read_text()
    assert f"python -m report compare {FIRST} {AGAIN} --markdown" in page
    assert "python -m report.comparison.calibration" in page
