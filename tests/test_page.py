"""The page in a real browser: it does what it says, asks nobody, and runs nothing it was handed."""

import csv
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright

from report.__main__ import main
from report.sources import LONGEST, cut
from tests.report_records import machine, quality, record

CHROMIUM = shutil.which("chromium")
QUIET = ["--disable-gpu", "--disable-background-networking", "--no-first-run", "--no-sandbox"]
MOST_BYTES = 6_000_000
DESK, PHONE = {"width": 1400, "height": 1000}, {"width": 390, "height": 844}

pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="needs the Debian package chromium: apt-get install chromium"
)


def built(records, folder: Path) -> Path:
    for each in records:
        each.save(folder / "results")
    out = folder / "out"
    assert main(["build", "--results", str(folder / "results"), "--out", str(out)]) == 0
    # moved away from its folder: the page needs no other file
    return Path(shutil.move(out / "index.html", folder / "alone.html"))


NAMES = ("gpt2", "gru", "hybrid", "lstm", "rnn")


@pytest.fixture(scope="module")
def page_file(tmp_path_factory) -> Path:
    """Two machines, three seeds, two modes, an OOM and a timeout."""
    graph = {"seq_len": 8192, "batch": 8, "mode": "graph", "step_s": (1e-3,)}
    records = [
        *machine(NAMES, seeds=3),
        *(record("decode", name, **graph) for name in NAMES),
        *(record("decode", name, label="other", step_s=(0.01,) * 5) for name in NAMES),
        *(quality(name, label="other") for name in NAMES),
    ]
    return built(records, tmp_path_factory.mktemp("page"))


class Watched:
    """A page whose complaints and requests are kept."""

    def __init__(self, browser):
        self.said, self.asked, self.visits = [], [], 0
        self.page = browser.new_page(viewport=DESK)
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("request", lambda request: self.asked.append(request.url))

    def load(self, file: Path, fragment: str = ""):
        self.page.goto("about:blank")
        self.page.goto(file.as_uri() + fragment)
        self.page.wait_for_selector("html[data-ready]", state="attached")
        return self.page

    def show(self, fragment: str):
        """Another address of the same page, which the browser does not load again."""
        self.visits += 1
        self.page.set_viewport_size(DESK)
        self.page.emulate_media(color_scheme="light")
        self.page.evaluate(
            """address => new Promise((done) => {
            document.querySelectorAll("details").forEach((each) => { each.open = false; });
            document.activeElement.blur();
            addEventListener("hashchange", () => done(), { once: true });
            location.hash = address;
            })""",
            f"visit={self.visits}&{fragment}",
        )
        return self.page


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def open_page(browser, page_file) -> Watched:
    watched = Watched(browser)
    watched.load(page_file)
    return watched


@pytest.fixture
def show(open_page):
    """The page as an address says; at the end it has complained of nothing and asked nobody."""
    yield open_page.show
    assert_quiet(open_page)


def assert_quiet(watched):
    assert watched.said == []
    local = ("file:", "data:", "blob:", "about:blank")
    assert [url for url in watched.asked if not url.startswith(local)] == []
    assert len({url.partition("#")[0] for url in watched.asked if url.startswith("file:")}) == 1


def points(page, plot="frontier") -> list[dict[str, str]]:
    """What a plot shows, as its own download of JSON has it."""
    with page.expect_download() as saved:
        page.locator(f"#{plot} [data-save=json]").click()
    return json.loads(saved.value.path().read_text())


def drawn(page, plot="frontier") -> list[dict]:
    """The traces that are markers, as plotly has them."""
    return page.evaluate(
        "plot => document.querySelector(`#${plot} .canvas`).data.filter(t => t.told)"
        ".map(t => ({x: t.x, y: t.y, opacity: t.opacity, told: t.told}))",
        plot,
    )


def test_it_is_small_and_says_who_leads(page_file, show):
    assert page_file.stat().st_size <= MOST_BYTES
    page = show("")
    assert "Best quality: hybrid" in page.locator("section.answer").inner_text()
    assert {point["architecture"] for point in points(page)} == set(NAMES)


def test_filters_and_axes_change_what_is_drawn(show):
    page = show("")
    graphs = points(page)
    page.locator("#frontier select[name=mode]").select_option("eager")
    eager = points(page)
    assert {p["generation (tokens/s)"] for p in graphs} == {"8k"}
    assert len({p["generation (tokens/s)"] for p in eager}) == len(NAMES)
    page.locator("#frontier select[name=x]").select_option("peak_memory")
    page.locator("#frontier select[name=y]").select_option("bits_per_byte")
    page.locator("#frontier select[name=phase]").select_option("train")
    assert {"peak memory", "test bits per byte"} <= points(page)[0].keys()
    page.locator("#frontier select[name=label]").select_option("other")
    assert {p["machine"] for p in points(page)} == {"other, size tiny"}


def test_the_frontier_is_the_reports(show):
    page = show("mode=eager")
    found = [t for t in drawn(page) for _ in t["x"]]
    faded = {t["told"][0][0][1] for t in found if t["opacity"] < 1}
    values = {t["told"][0][0][1]: (-t["x"][0], t["y"][0]) for t in found}
    beaten = {
        one
        for one, (cost, loss) in values.items()
        if any(c <= cost and q <= loss and (c, q) != (cost, loss) for c, q in values.values())
    }
    assert faded == beaten and len(values) == len(NAMES) and beaten


def test_a_point_tells_all_about_its_records(show):
    page = show("mode=eager&only=gru")
    page.locator("#frontier .canvas").scroll_into_view_if_needed()
    at = page.evaluate(
        """() => {
        const plot = document.querySelector("#frontier .canvas");
        const trace = plot.data.find((t) => t.told && t.told[0][0][1] === "gru");
        const { xaxis, yaxis } = plot._fullLayout, { x, y } = plot.getBoundingClientRect();
        const inside = [xaxis.d2p(trace.x[0]), yaxis.d2p(trace.y[0])];
        return [x + xaxis._offset + inside[0], y + yaxis._offset + inside[1]];
        }"""
    )
    page.mouse.move(*at)
    page.wait_for_selector("#frontier .hoverlayer .hovertext")
    for text in (
        page.locator("#frontier .hoverlayer").text_content(),
        page.locator("#frontier .told").inner_text(),
    ):
        for fact in ("gru", "decode-gru-tiny-T8192", "abc1234", "torch 2.13.0", "0, 1, 2"):
            assert fact in text


def test_one_architecture_alone_and_back_by_keyboard(show):
    page = show("")
    button = page.locator("#frontier .names button", has_text="gru").first
    button.focus()
    page.keyboard.press("Enter")
    dim = {t["told"][0][0][1]: t["opacity"] for t in drawn(page)}
    assert dim["gru"] > 0.3 and all(shown < 0.2 for name, shown in dim.items() if name != "gru")
    assert page.evaluate("document.activeElement.dataset.arch") == "gru"
    page.keyboard.press("Enter")
    assert min(t["opacity"] for t in drawn(page)) > 0.3


def test_an_address_brings_back_all_that_was_shown(page_file, browser, show):
    page = show("")
    page.locator("#frontier select[name=x]").select_option("decode_latency")
    page.locator("#frontier input[name=logx]").uncheck()
    page.locator("#frontier .names button", has_text="lstm").click()
    page.locator("#length select[name=lm]").select_option("peak_memory|train")
    fragment = page.evaluate("location.hash")
    fresh = Watched(browser)
    again = fresh.load(page_file, fragment)
    assert points(again) == points(page) and points(again, "length") == points(page, "length")
    assert drawn(again) == drawn(page)
    assert not again.locator("#frontier input[name=logx]").is_checked()
    again.locator("nav a").last.click()
    assert again.evaluate("location.hash") == fragment
    again.close()
    assert_quiet(fresh)


def test_an_address_that_asks_for_nonsense_shows_what_there_is(show):
    page = show("x=constructor&y=%3Cscript%3E&label=__proto__&only=nobody&lb=-1")
    assert len(points(page)) == len(NAMES)


def test_walls_stand_where_memory_ended(show):
    page = show("")
    assert "gpt2 at 8k (OOM)" in page.locator("#length .note").inner_text()
    failed = [p for p in points(page, "length") if "OOM" in p.values()]
    assert [(p["architecture"], p["length"]) for p in failed] == [("gpt2", "8k")]
    assert failed[0]["why"] == "CUDA out of memory"


def test_tables_sort_by_what_their_numbers_mean(show):
    page = show("")
    table = page.locator("table.summary").first
    names = [text.strip() for text in table.locator("thead th").all_inner_texts()]
    column = next(i for i, name in enumerate(names) if name.startswith("peak training memory"))
    head = table.locator("thead th").nth(column)
    head.locator("button").focus()
    orders = []
    for expected in ("ascending", "descending"):
        page.keyboard.press("Enter")
        assert head.get_attribute("aria-sort") == expected
        cells = table.locator(f"tbody tr > :nth-child({column + 1})").all_inner_texts()
        orders.append([float(c.split()[0]) * (1024 if "GiB" in c else 1) for c in cells])
    assert (
        orders[0] == sorted(orders[0]) and orders[1] == orders[0][::-1] and len(set(orders[0])) > 3
    )


def test_the_keyboard_reaches_every_control_and_sees_where_it_is(show):
    page = show("")
    reached = set()
    page.locator("nav a").first.focus()
    for _ in range(40):
        page.keyboard.press("Tab")
        reached.add(
            page.evaluate(
                "(e => { const style = getComputedStyle(e);"
                "return style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2"
                " ? e.name || e.dataset.arch || e.dataset.save || e.tagName : '' })"
                "(document.activeElement)"
            )
        )
    assert {"label", "x", "y", "mode", "logx", "logy", "svg", "csv", *NAMES, "SUMMARY"} <= reached
    assert "" not in reached


@pytest.mark.parametrize(("scheme", "paper"), [("light", "#fff"), ("dark", "#14171c")])
def test_a_phone_shows_it_without_scrolling_sideways(show, scheme, paper):
    page = show("")
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size(PHONE)
    page.evaluate("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
    assert page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
    assert page.evaluate("document.querySelector('#frontier .canvas').layout.width") < 390
    assert page.evaluate("document.querySelector('#frontier .canvas').layout.plot_bgcolor") == paper


def test_what_is_printed_is_white_and_whole(show):
    page = show("")
    page.emulate_media(color_scheme="dark")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.evaluate("document.querySelector('#length .canvas').layout.plot_bgcolor") == "#fff"
    opened = "[...document.querySelectorAll('main section > details')].every((each) => each.open)"
    assert page.evaluate(opened)
    page.evaluate("dispatchEvent(new Event('afterprint'))")


def test_downloads_come_out_of_the_page_itself(show):
    page = show("")

    def downloaded(button):
        with page.expect_download() as saved:
            button.click()
        return saved.value.path().read_text()

    assert downloaded(page.locator("#frontier [data-save=svg]")).startswith("<svg")
    lines = downloaded(page.locator("#frontier [data-save=csv]")).splitlines()
    assert len(lines) == 1 + len(NAMES)
    assert "verdict" in downloaded(page.locator("[data-file='claims.csv']"))
    page.evaluate("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
    assert "<svg" in downloaded(page.locator("[data-image]").first)


EVIL = [
    "<script>window.owned = 1</script>",
    "</script><script>window.owned = 1</script>",
    "<img src=x onerror='window.owned = 1'>",
    '"><svg onload=window.owned=1>',
    "<a href='javascript:window.owned=1'>a</a>",
    "{{ 7 * 7 }} ../../etc/passwd",
    "=HYPERLINK(1)",
    "@SUM(1)|`x`",
    "&lt;script&gt;window.owned = 1&lt;/script&gt; $x^2$ \ud800",
]


def test_hostile_records_are_shown_and_do_nothing(tmp_path, browser):
    records = []
    for i, text in enumerate(EVIL):
        name = text.encode("utf-8", "replace").decode()
        given = {"commit": name, "versions": {name: name}, "machine": {name: name}}
        records += [
            quality(f"a{i}", 3 + i, 3 + i, label="evil", **given),
            record(
                "decode", f"a{i}", label="evil", step_s=(0.01, 0.02), kernels={name: name}, **given
            ),
            record(
                "train",
                f"a{i}",
                label="evil",
                status="oom",
                reason=name * 1_000_000 * (i == 0) or name,
            ),
        ]
    # a file may have been moved or written by hand: its names are whatever it says
    root = tmp_path / "results"
    for i, each in enumerate(records):
        path = each.save(root)
        raw = json.loads(path.read_text())
        evil = EVIL[i // 3].encode("utf-8", "replace").decode()
        raw["label"], raw["case"]["arch"], raw["case"]["size"] = EVIL[0], evil, EVIL[2]
        raw["case"]["corpus"] = raw["case"]["corpus"] and EVIL[1]
        path.write_text(json.dumps(raw))
    out = tmp_path / "out"
    assert main(["build", "--results", str(root), "--out", str(out)]) == 0
    file = out / "index.html"
    assert file.stat().st_size <= MOST_BYTES
    watched = Watched(browser)
    page = watched.load(file)
    assert len(points(page)) == len(EVIL)
    assert {p["architecture"] for p in points(page)} >= set(EVIL[:8])
    with page.expect_download() as saved:
        page.locator("#frontier [data-save=csv]").click()
    lines = list(csv.reader(saved.value.path().read_text().splitlines()))
    assert {line[0] for line in lines} >= {"'=HYPERLINK(1)", "'@SUM(1)|`x`", EVIL[0]}
    assert not any(cell.startswith(("=", "@")) for line in lines for cell in line)
    page.evaluate("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
    for trace in page.locator("#frontier .names button").all():
        trace.click()
    assert page.evaluate("window.owned") is None
    assert page.locator("script").count() == 5 and page.locator("img[src=x]").count() == 0
    assert page.locator("a[href^=javascript]").count() == 0
    page.close()
    assert_quiet(watched)


def test_a_hostile_comparison_is_shown_and_does_nothing(tmp_path, browser):
    for label, step_s in (("a", 0.1), ("b", 0.2)):
        for i, text in enumerate(EVIL):
            steps = {"step_s": (step_s, 1.1 * step_s), "seq_len": 64 + i}
            path = record("train", label=label, commit=label, **steps).save(tmp_path / "results")
            raw = json.loads(path.read_text())
            raw["case"]["arch"] = raw["machine"]["cpu"] = text.encode("utf-8", "replace").decode()
            raw["label"] = raw["versions"]["torch"] = f"{EVIL[0]} {label}"
            path.write_text(json.dumps(raw))
    where = ["--results", str(tmp_path / "results"), "--out", str(tmp_path / "out")]
    assert main(["compare", "a", "b", *where]) == 0
    watched = Watched(browser)
    watched.page.goto((tmp_path / "out" / "compare.html").as_uri())
    assert EVIL[0] in watched.page.locator("body").inner_text()
    assert watched.page.locator("script, img, svg, a, iframe").count() == 0
    assert watched.page.evaluate("window.owned") is None
    watched.page.close()
    assert_quiet(watched)


def test_what_is_too_long_is_cut_and_says_so():
    assert cut("x" * LONGEST) == "x" * LONGEST
    assert cut("x" * 10_000_000).endswith("(cut: 10,000,000 characters)")
    assert cut("\ud800") == "?"
