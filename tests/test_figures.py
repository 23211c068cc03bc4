"""Figures for papers: their width, their type, their colours, their bytes, and where they land."""

from itertools import combinations

import pytest
from matplotlib.text import Text

from report.__main__ import main
from report.claims.evidence import family
from report.figures import KINDS, printed
from report.plots.columns import COLOURS, WIDTHS
from tests.claim_records import OPS, evidence
from tests.report_records import ARCHS, machine, quality, record

KIND = dict(zip(ARCHS, [*OPS, *OPS], strict=False))  # an op for each, so that all have a family


@pytest.fixture(scope="module")
def whole():
    return [each for arch in ARCHS for each in machine([arch], seeds=2, kernels=OPS[KIND[arch]])]


@pytest.fixture(scope="module", params=WIDTHS)
def figures(request, whole):
    return request.param, list(printed(whole, request.param))


def written(figure):
    return [text for text in figure.findobj(Text) if text.get_text().strip() and text.get_visible()]


def test_they_are_as_wide_as_a_column_and_can_be_read_there(figures):
    column, drawn = figures
    assert len(drawn) == {"single": 4 + 5, "double": 2}[column]
    for one in drawn:
        assert one.figure.get_size_inches()[0] == WIDTHS[column]
        assert min(text.get_fontsize() for text in written(one.figure)) >= 7


def test_nothing_is_cut_off_and_no_two_names_collide(figures):
    for one in figures[1]:
        (width, height), drawn = one.figure.get_size_inches(), one.figure.get_tightbbox()
        assert drawn.x0 >= 0 and drawn.x1 <= width and drawn.y0 >= 0 and drawn.y1 <= height
        for axes in one.figure.axes:
            named = [t for t in axes.texts if t.get_text() in ARCHS]
            for a, b in combinations(named, 2):
                assert not a.get_window_extent().overlaps(b.get_window_extent())


def test_a_colour_is_a_family_on_every_figure(figures, whole):
    ops = evidence(whole).ops
    for one in figures[1]:
        for axes in one.figure.axes:
            legend = axes.get_legend() or (one.figure.legends or [None])[0]
            for handle in legend.legend_handles if legend else []:
                assert handle.get_color() == COLOURS[family(ops[handle.get_label()])]


def test_the_same_records_give_the_same_bytes_with_type_that_publishers_take(tmp_path):
    records = [
        *(record("decode", a, seq_len=n, step_s=(0.1,) * 5) for a in ARCHS for n in (64, 128)),
        *(quality(arch) for arch in ARCHS),
    ]
    for each in records:
        each.save(tmp_path / "results")
    asked = ["figures", "--results", str(tmp_path / "results"), "--column", "single", "--out"]
    for name in ("one", "two"):
        assert main([*asked, str(tmp_path / name)]) == 0
    paths = sorted((tmp_path / "one").iterdir())
    assert {path.suffix for path in paths} == {".md", *(f".{kind}" for kind in KINDS)}
    for path in paths:
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()
    pdf = (tmp_path / "one" / "quality-vs-decode-throughput.pdf").read_bytes()
    assert b"/FontFile2" in pdf and b"/Type3" not in pdf
    captions = (tmp_path / "one" / "captions.md").read_text()
    assert "cpu-test" in captions and "Pareto frontier" in captions


def test_nothing_to_draw_is_one_sentence(tmp_path, capsys):
    record("train", status="oom", reason="too big").save(tmp_path / "results")
    asked = ["figures", "--results", str(tmp_path / "results"), "--out", str(tmp_path / "out")]
    assert main(asked) == 1
    assert "nothing to draw" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
