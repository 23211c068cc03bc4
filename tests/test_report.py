"""What the report says is what the Records hold: arithmetic, choice, frontier, files and page."""

import base64
import hashlib
import html
import json
import math
import random
import re
from pathlib import Path

import pandas as pd
import pytest
from msgspec.structs import replace
from plotly.offline import get_plotlyjs

from report import files, losses, metrics
from report.__main__ import main
from report.choice import best_learning_rates, common_setting, one_batch_per_length
from report.compare import PANELS, compare, trained_setting
from report.frontier import pareto
from report.plots import context, length
from report.plots.style import styles, ticks
from report.summary import by_length, markdown
from report.table import of_metric, tidy
from report.units import show, show_length
from tests.report_records import ARCHS, held_out, machine, quality, record


def saved(records, root: Path) -> Path:
    for each in records:
        each.save(root)
    return root


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """One whole sweep and a newcomer, reported: (records, folder)."""
    records = [*machine(), *newcomer("zz_brand_new")]
    root = saved(records, tmp_path_factory.mktemp("results"))
    out = tmp_path_factory.mktemp("out") / "report"
    assert main(["build", "--results", str(root), "--out", str(out)]) == 0
    return records, out


def newcomer(arch):
    return [
        quality(arch, 4.2, 4.3, tokens=20_000_000, batch=16, lr=3e-3),
        record("train", arch, seq_len=2048, batch=4, step_s=(0.1, 0.1), peak_bytes=2**30),
        record("prefill", arch, seq_len=2048, batch=8, step_s=(0.1,), state_bytes=8 * 2**16),
        record("decode", arch, seq_len=8192, batch=8, step_s=(0.004,)),
    ]


def better_or_equal(mine, other, direction):
    return mine <= other if direction == "lower" else mine >= other


@pytest.mark.parametrize("x", ["lower", "higher"])
@pytest.mark.parametrize("y", ["lower", "higher"])
def test_pareto_agrees_with_brute_force(x, y):
    draw = random.Random(0)
    for count in [0, 1, *range(2, 40)]:
        # few distinct values, so that ties and equal points occur
        points = [(draw.randint(0, 6), draw.randint(0, 6)) for _ in range(count)]
        undominated = {
            i
            for i, mine in enumerate(points)
            if not any(
                other != mine
                and better_or_equal(other[0], mine[0], x)
                and better_or_equal(other[1], mine[1], y)
                for other in points
            )
        }
        found = pareto(points, x, y)
        assert set(found) == undominated and len(found) == len(undominated)
        assert [points[i][0] for i in found] == sorted(points[i][0] for i in found)


def test_metrics_are_the_arithmetic_they_claim():
    of = {name: metric.of for name, metric in metrics.METRICS.items()}
    ceilings = {"matmul-float32": {"work": 2e9, "samples_s": [0.5, 0.1, 0.2]}}
    train = record(
        "train",
        seq_len=128,
        batch=4,
        step_s=(0.2, 0.1, 9.0),
        peak_bytes=7,
        forward_flops=1000,
        ceilings=ceilings,
    )
    assert of["train_throughput"](train) == 4 * 128 / 0.2
    assert of["peak_memory"](train) == 7
    assert of["parameters"](train) == 1_000_000
    assert of["flops_utilisation"](train) == pytest.approx(3 * 1000 * 4 * 128 / 0.2 / 2e10)
    assert of["decode_throughput"](train) is None
    decode = record("decode", seq_len=128, batch=4, step_s=(0.02,))
    assert of["decode_throughput"](decode) == 4 / 0.02
    assert of["decode_latency"](decode) == 0.02
    assert of["flops_utilisation"](decode) is None
    prefill = record("prefill", seq_len=128, batch=2, step_s=(0.5,), state_bytes=400)
    assert of["state"](prefill) == 200
    assert of["prefill_throughput"](prefill) == 2 * 128 / 0.5
    assert of["time_to_first_token"](prefill) == 0.5
    assert of["flops_utilisation"](prefill) is None
    trained = quality(valid=3.0, test=4.0)
    held = losses.evaluation(trained, "test", 512)
    assert of["perplexity"](trained) == pytest.approx(4.0)
    assert of["bits_per_byte"](trained) == pytest.approx(
        sum(held.nats) / math.log(2) / held.target_bytes
    )


@pytest.mark.parametrize("status", ["oom", "timeout", "error", "diverged"])
def test_what_did_not_finish_has_no_numbers(status):
    failed = record("train", status=status, step_s=(0.1,), peak_bytes=7, state_bytes=7)
    numbers = {name: metric.of(failed) for name, metric in metrics.METRICS.items()}
    assert {name for name, value in numbers.items() if value is not None} == {"parameters"}


def test_a_loss_beyond_floats_is_no_number():
    assert losses.perplexity(held_out("test", 512, 1e6)) is None


def test_spread_is_the_middle_half_of_the_steps():
    train = record("train", seq_len=100, batch=1, step_s=(1.0, 2.0, 3.0, 4.0, 5.0))
    assert metrics.METRICS["train_throughput"].spread(train) == (25.0, 50.0)


def test_the_learning_rate_is_chosen_on_validation_and_reported_on_test():
    tempting = quality(valid=5.0, test=2.0, lr=1e-2)
    honest = quality(valid=4.0, test=4.5, lr=1e-3)
    diverged = quality(lr=1e-1, status="diverged")
    (chosen,) = best_learning_rates([tempting, honest, diverged])
    assert chosen.record is honest and chosen.at_edge and chosen.lrs == (1e-3, 1e-2, 1e-1)
    perplexity = of_metric(tidy([tempting, honest, diverged]), "perplexity")
    assert perplexity["value"].tolist() == [pytest.approx(4.5)]
    assert perplexity["lr"].tolist() == ["0.001"]


def test_seeds_choose_alone_and_are_drawn_from_lowest_to_highest():
    runs = [quality(valid=3.0 + s, test=4.0 + s, seed=s, lr=lr) for s in (0, 1) for lr in (1, 2)]
    (row,) = of_metric(tidy(runs), "perplexity").to_dict("records")
    assert (row["seeds"], row["value"]) == (2, pytest.approx(4.5))
    assert (row["low"], row["high"]) == (pytest.approx(4.0), pytest.approx(5.0))


def test_all_are_compared_in_the_longest_setting_that_most_share():
    rows = tidy(machine())
    comparison = compare(rows, PANELS[1])
    assert comparison.cost.seq_len == 2048 and len(comparison.points) == len(ARCHS)
    assert common_setting(of_metric(rows, "decode_throughput")).seq_len == 8192


def decoded(arch, mode, step_s):
    """At two contexts; every mode is a Record of its own."""
    lengths = (128, 2048)
    return [record("decode", arch, seq_len=n, mode=mode, step_s=(step_s,) * 5) for n in lengths]


def test_modes_stand_in_columns_of_their_own():
    rows = tidy([*decoded("gru", "eager", 0.004), *decoded("gru", "graph", 0.001)])
    ((_, table),) = [pair for pair in by_length(rows) if pair[0].startswith("Time per generated")]
    assert table.columns[1:].tolist() == ["128 × 1", "128 × 1 graph", "2k × 1", "2k × 1 graph"]
    assert table.iloc[0, 1:].tolist() == ["4 ms", "1 ms", "4 ms", "1 ms"]


def test_the_frontier_takes_graphs_where_all_have_them_and_never_mixes():
    names = ("gru", "llama")
    eager = [each for arch in names for each in decoded(arch, "eager", 0.004)]
    graphs = {arch: decoded(arch, "graph", 0.001) for arch in names}
    learned = [quality(arch) for arch in names]
    everyone = compare(tidy([*learned, *eager, *graphs["gru"], *graphs["llama"]]), PANELS[0])
    assert everyone.cost.mode == "graph" and set(everyone.points["mode"]) == {"graph"}
    assert everyone.points["cost"].tolist() == [1000, 1000]
    partly = compare(tidy([*learned, *eager, *graphs["gru"]]), PANELS[0])
    assert partly.cost.mode == "eager" and set(partly.points["mode"]) == {"eager"}
    assert partly.points["cost"].tolist() == [250, 250]
    drawn = one_batch_per_length(of_metric(tidy([*eager, *graphs["gru"]]), "decode_latency"))
    assert set(drawn["mode"]) == {"eager"}


@pytest.mark.parametrize("how", [{"kernel": "plain"}, {"short_conv": False}])
def test_what_was_run_otherwise_is_no_second_seed(how):
    usual, other = record("decode", step_s=(0.1,) * 5), record("decode", step_s=(0.3,) * 5, **how)
    latency = of_metric(tidy([usual, other]), "decode_latency")
    assert sorted(latency["value"]) == [0.1, 0.3] and set(latency["seeds"]) == {1}
    assert one_batch_per_length(latency)["value"].tolist() == [0.1]


def test_kinds_of_text_and_sliding_windows_are_shown_apart(tmp_path):
    plain = quality()
    speech = replace(held_out("test", 512, 1.2), domain="speech")
    sliding = replace(held_out("test", 512, 1.1), stride=256)
    root = saved([replace(plain, by_domain=(speech,), sliding=sliding)], tmp_path / "results")
    assert main(["build", "--results", str(root), "--out", str(tmp_path / "out")]) == 0
    drawn = pd.read_csv(tmp_path / "out" / "domains.csv").set_index(["domain", "windows"])
    assert drawn["perplexity"].to_dict() == {
        ("all text", "disjoint"): pytest.approx(5.0),
        ("all text", "sliding"): pytest.approx(math.exp(1.1)),
        ("speech", "disjoint"): pytest.approx(math.exp(1.2)),
    }
    assert "speech, disjoint windows" in (tmp_path / "out" / "table.md").read_text()


def test_a_lone_large_batch_does_not_bend_the_line():
    steady = [record("decode", batch=1, seq_len=n, step_s=(1.0,)) for n in (128, 512)]
    alone = record("decode", batch=64, seq_len=128, step_s=(1.0,))
    rows = one_batch_per_length(of_metric(tidy([*steady, alone]), "decode_latency"))
    assert rows["batch"].tolist() == [1, 1]


def test_running_out_of_memory_is_a_wall():
    rows = tidy(machine())
    trained = one_batch_per_length(of_metric(rows, "train_throughput", "train"))
    found = length.walls(trained).set_index("arch")
    assert found.loc["gpt2", ["seq_len", "status"]].tolist() == [8192, "oom"]
    assert found.loc["rnn", ["seq_len", "status"]].tolist() == [8192, "timeout"]
    drawing = length.draw(rows, styles(rows["arch"]), "length", "somewhere")
    texts = [text.get_text() for text in drawing.figure.axes[0].texts]
    assert "OOM: gpt2\ntimeout: rnn" in texts
    assert set(drawing.data["status"]) == {"ok", "oom", "timeout"}


def test_the_last_target_of_a_window_joins_the_last_bin():
    edged = replace(
        held_out("test", 64, 1.0), position_edges=(1, 2, 64), nats=(6, 9, 3), tokens=(2, 3, 1)
    )
    trained = quality(seq_len=64)
    trained = replace(trained, evaluations=(trained.evaluations[0], edged))
    rows = tidy([trained])
    chosen = list(best_learning_rates([trained]))
    drawing = context.draw(chosen, trained_setting(rows), styles(["gru"]), "context", "here")
    bins = drawing.data[drawing.data["panel"] == "position"]
    assert bins[["start", "end", "nats"]].to_numpy().tolist() == [[1, 2, 3], [2, 64, 3]]


def test_every_architecture_looks_its_own():
    names = [f"arch{i}" for i in range(60)]
    looks = styles(names)
    assert len({(look.colour, look.marker) for look in looks.values()}) == len(names)
    assert looks == styles(reversed(names))


@pytest.mark.parametrize("base", [2, 10])
def test_axes_have_ticks_that_can_be_told_apart(base):
    draw = random.Random(1)
    for _ in range(500):
        low = 10 ** draw.uniform(-6, 12)
        high = low * 10 ** draw.uniform(0.05, 6)
        found = ticks(low, high, base)
        assert 1 <= len(found) <= 9 and all(low <= tick <= high for tick in found)


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (12_345, "tokens/s", "12.3k"),
        (999, "tokens/s", "999"),
        (1_050_000, "parameters", "1.05M"),
        (1536, "bytes", "1.5 KiB"),
        (3 * 2**30, "bytes", "3 GiB"),
        (0, "bytes", "0"),
        (0.0084, "s", "8.4 ms"),
        (1.5, "s", "1.5 s"),
        (4.0, "perplexity", "4.00"),
        (0.3456, "fraction", "35 %"),
        (0.00346, "fraction", "0.35 %"),
    ],
)
def test_numbers_read_as_people_write_them(value, unit, text):
    assert show(value, unit) == text


def test_lengths_read_as_people_write_them():
    assert [show_length(n) for n in (128, 2048, 3000, 2**20)] == ["128", "2k", "3,000", "1M"]


def test_markdown_survives_a_bar():
    assert markdown(pd.DataFrame({"a": ["x|y"], "b": ["1"]})).splitlines()[2] == "| x&#124;y | 1 |"


def test_the_csv_holds_what_the_metrics_say(built):
    records, out = built
    drawn = pd.read_csv(out / "frontier.csv")
    by_case = {(r.case.phase, r.case.arch, r.case.seq_len): r for r in records}
    for panel in PANELS:
        rows = drawn[drawn["panel"] == panel.name]
        assert set(rows["arch"]) == {*ARCHS, "zz_brand_new"}
        for row in rows.to_dict("records"):
            costly = by_case[row["phase"], row["arch"], row["seq_len"]]
            assert row["cost"] == pytest.approx(panel.metric.of(costly))
    points = drawn[drawn["panel"] == "decode throughput"]
    pairs = list(zip(points["cost"], points["perplexity"], strict=True))
    kept = pareto(pairs, "higher", "lower")
    assert points.index[points["on_frontier"]].tolist() == [points.index[i] for i in sorted(kept)]


def test_every_figure_lies_there_as_svg_png_and_csv(built):
    _, out = built
    stems = {path.stem for path in out.glob("*.svg")}
    assert {"frontier", "length", "context", "quality-vs-decode-throughput"} <= stems
    for stem in stems:
        assert (out / f"{stem}.png").read_bytes().startswith(b"\x89PNG")
        assert len(pd.read_csv(out / f"{stem}.csv"))


def test_the_page_names_everyone_and_asks_nobody(built):
    _, out = built
    page = (out / "index.html").read_text()
    for arch in (*ARCHS, "zz_brand_new"):
        assert f'<th scope="row">{arch}</th>' in page
    assert "Imaginary 3000" in page and "f" * 64 in page and "OOM" in page
    sources = re.findall(r'(?:src|href)="([^"#]+)"', page)
    assert sources and all(source.startswith("data:") for source in sources)
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]+)"', page)
    policy = html.unescape(policy)
    assert "default-src 'none'" in policy and "unsafe-eval" not in policy and "http" not in policy
    hashed = [
        base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        for script in (*re.findall(r"<script>(.*?)</script>", page, re.S), get_plotlyjs())
    ]
    assert re.findall(r"'sha256-([^']+)'", policy) == hashed
    (style,) = re.findall(r"<style>(.*?)</style>", page, re.S)
    assert "@import" not in style and "url(" not in style


def test_the_same_records_draw_the_same_bytes(tmp_path):
    root = saved(newcomer("gru"), tmp_path / "results")
    for name in ("one", "two"):
        main(["build", "--results", str(root), "--out", str(tmp_path / name)])
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()


def test_machines_and_sizes_stand_apart(tmp_path, capsys):
    records = [
        *newcomer("gru"),
        record("train", label="other", step_s=(0.1,), peak_bytes=1),
        record("train", size="base", step_s=(0.1,), peak_bytes=1),
    ]
    root = saved(records, tmp_path / "results")
    # a Record may be written by hand, and its label called anything
    (moved,) = (tmp_path / "results" / "other").iterdir()
    moved.write_text(moved.read_text().replace('"other"', '"<b>other</b>"'))
    assert main(["build", "--results", str(root), "--out", str(tmp_path / "out")]) == 0
    stems = {path.stem for path in (tmp_path / "out").glob("*.svg")}
    other = f"length-{files.stem('<b>other</b>')}"
    assert {"frontier-cpu-test-tiny", "length-cpu-test-base", other} <= stems
    assert "<b>other" not in (tmp_path / "out" / "index.html").read_text()
    assert capsys.readouterr().out.splitlines()[-1] == str(tmp_path / "out" / "index.html")


@pytest.mark.parametrize(
    ("records", "figures"),
    [
        ([quality()], {"context"}),
        ([record("decode", step_s=(0.1,), state_bytes=0)], {"length"}),
        ([record("train", status="oom", reason="too big")], set()),
        ([quality(), record("train", status="oom")], {"context"}),
        ([quality(status="diverged")], set()),
    ],
    ids=["quality only", "one cost, no state", "all OOM", "quality, OOM", "diverged"],
)
def test_whatever_there_is_is_reported(tmp_path, records, figures):
    root, out = saved(records, tmp_path / "results"), tmp_path / "out"
    assert main(["build", "--results", str(root), "--out", str(out)]) == 0
    assert {path.stem for path in out.glob("*.svg")} == figures
    page = (out / "index.html").read_text()
    assert "gru" in page and page.count('<p class="alarm">') == 3 - len(figures)


def complaint(capsys) -> str:
    said = capsys.readouterr().err
    assert said.startswith("report: ") and said.count("\n") == 1 and "Traceback" not in said
    return said


@pytest.mark.parametrize("text", ["{half", '{"schema": 99}', "[]", '{"schema": 1}'])
def test_an_unreadable_file_is_named_and_costs_only_itself(tmp_path, capsys, text):
    root = saved([record("train", step_s=(0.1,))], tmp_path / "results")
    (root / "cpu-test" / "broken.json").write_text(text)
    assert main(["build", "--results", str(root), "--out", str(tmp_path / "out")]) == 1
    assert "broken.json" in complaint(capsys)
    page = (tmp_path / "out" / "index.html").read_text()
    assert "broken.json" in page and "gru" in page


def test_bad_requests_get_one_sentence(tmp_path, capsys):
    root = saved([record("train", step_s=(0.1,))], tmp_path / "results")
    (tmp_path / "file").write_text("")
    (tmp_path / "empty").mkdir()

    def ask(code, *words):
        assert main(["build", *map(str, words)]) == code
        return complaint(capsys)

    assert "cpu-test" in ask(2, "gpu-9000", "--results", root, "--out", tmp_path / "out")
    assert "no readable Record" in ask(1, "--results", tmp_path / "empty")
    assert "not a folder" in ask(2, "--results", tmp_path / "nowhere")
    assert "cannot write" in ask(1, "--results", root, "--out", tmp_path / "file" / "out")
    assert "holds only" in ask(2, "--results", root, "--out", root / "report")
    assert json.loads(next(root.rglob("*.json")).read_text())["label"] == "cpu-test"
    with pytest.raises(SystemExit, match="2"):
        main(["biuld"])
