"""What others hand over is data: none of it runs, leads anywhere or steers what shows it."""

import ast
import csv
import errno
import os
import re
import sys
from io import StringIO

import pandas as pd
import pytest
from _pytest.config.argparsing import Parser
from _pytest.config.exceptions import UsageError

from benchmarks import conftest, corpus
from benchmarks.__main__ import main as benchmarks
from benchmarks.__main__ import parser
from report import files, inert
from report.__main__ import main as report
from results import Case, names
from results.schema import record_path
from results.text import visible
from tests.report_records import machine, quality, record
from tests.test_own import EXAMPLE
from tests.test_rooms import FILES, ROOT

UNSAFE = {"pickle", "cPickle", "cloudpickle", "dill", "joblib", "marshal", "shelve", "yaml"}
REMOTE = {
    "aiohttp",
    "ftplib",
    "http",
    "httpx",
    "requests",
    "smtplib",
    "socket",
    "urllib3",
    "xmlrpc",
}
ASKED = {"benchmarks/cluster/on_ray.py": {"socket"}}  # whether the cluster named is there at all
# pickles that cross a pipe between a process and its own forks, or torch's own between ranks
BETWEEN_OWN = {
    "multiprocessing": "report/processes.py",
    "broadcast_object_list": "benchmarks/ranks/__init__.py",
}


def called(node: ast.Call) -> str:
    return ast.unparse(node.func)


def calls(path):
    return [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]


def imported(path):
    nodes = list(ast.walk(ast.parse(path.read_text())))
    found = {alias.name for n in nodes if isinstance(n, ast.Import) for alias in n.names}
    return found | {n.module for n in nodes if isinstance(n, ast.ImportFrom) and n.module}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_file_of_ours_runs_what_it_reads(path):
    roots = {name.partition(".")[0] for name in imported(path)}
    place = str(path.relative_to(ROOT))
    assert not roots & (
        UNSAFE | (REMOTE - ASKED.get(place, set()))
    ) and "urllib.request" not in imported(path)
    text = path.read_text()
    for word, home in BETWEEN_OWN.items():
        assert place == home or not re.search(rf"^(?!.*#).*\b{word}\b", text, re.MULTILINE)
    for call in calls(path):
        given = {word.arg: ast.unparse(word.value) for word in call.keywords}
        name = called(call)
        assert name not in ("eval", "exec", "compile", "os.system", "os.popen")
        if name in ("torch.load", "np.load", "numpy.load"):
            assert given.get("weights_only") == "True" and "allow_pickle" not in given
        assert given.get("shell", "False") == given.get("trust_remote_code", "False") == "False"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Dict):
            said = {
                ast.unparse(k): ast.unparse(v)
                for k, v in zip(node.keys, node.values, strict=True)
                if k
            }
            assert said.get("'trust_remote_code'", "False") == "False"
            assert said.get("'use_safetensors'", "True") == "True"


# names

BAD_LABELS = [
    *("", ".", "..", "../x", "a/b", "/etc", "a\\b", "-x", ".x", "x.", "a b", "a\n", "a\0", "a+b"),
    *("con", "NUL", "com1.txt", "x" * 101, "é" * 51, "a*", "\x1b[31m", "\udcff", "$(id)", "a,b"),
]


@pytest.mark.parametrize("label", BAD_LABELS)
def test_a_label_that_is_no_folders_name_is_refused_in_one_sentence(label, capsys):
    for command in (["list"], ["tune"], ["peers"], ["gpu-list", "x.tar.gz"]):
        with pytest.raises(SystemExit) as ended:
            parser().parse_args([*command, f"--label={label}"])
        assert ended.value.code == 2
        assert "cannot be a label, a folder's name" in capsys.readouterr().err
    options = Parser(_ispytest=True)
    conftest.pytest_addoption(options)
    with pytest.raises(UsageError, match="cannot be a label"):
        options.parse([f"--label={label}"])


@pytest.mark.parametrize(
    "label", ["box", "nvidia-h200", "H100_80GB.v2", "내-컴퓨터", "conda", "x" * 100]
)
def test_other_labels_are_taken(label):
    assert names.label(label) == label


@pytest.mark.parametrize(
    ("label", "arch"),
    [
        *(("..", "gru"), ("", "gru"), ("a/b", "gru"), ("\0", "gru"), ("x" * 256, "gru")),
        *(("box", "../../x"), ("box", "/etc/x"), ("box", "\0"), ("box", "x" * 250)),
    ],
)
def test_no_record_is_written_outside_its_folder(tmp_path, label, arch):
    with pytest.raises(ValueError, match="name of a folder or file"):
        record("train", arch, label=label).save(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_paths_that_cannot_be_are_refused_in_one_sentence(capsys):
    for path in ("a\0b", "x" * 256, "a/" * 2000):
        for main, words in (
            (report, ["build", "--out", path]),
            (report, ["compare", "a", "b", "--results", path]),
            (benchmarks, ["list", "--results", path]),
        ):
            with pytest.raises(SystemExit):
                main(words)
            assert capsys.readouterr().err.count("\n") < 20


def test_two_dashes_are_no_value(capsys):
    for main, words in ((benchmarks, ["list", "--batch=--"]), (report, ["build", "--results=--"])):
        with pytest.raises(SystemExit):
            main(words)
        assert "=--: -- is no value" in capsys.readouterr().err


def test_a_loop_of_links_is_no_folder(tmp_path, capsys):
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    machine(("gru",))[0].save(tmp_path / "results")
    assert report(["build", "--results", str(loop)]) == 2
    kept = ["--results", str(tmp_path / "results")]
    assert report(["build", *kept, "--out", str(loop)]) == 1
    assert "cannot write the report" in capsys.readouterr().err


def test_a_text_of_any_name_makes_a_case_that_can_be_kept(tmp_path):
    path = tmp_path / ("a\n\x1b[31m" + "x" * 100 + ".txt")
    path.write_bytes(b"text " * 2000)
    name = corpus.load([str(path)]).name
    assert name.isprintable() and len(name) < 80
    case = Case(phase="quality", arch="gru", size="1m", seq_len=1, batch=1, lr=1.0, corpus=name)
    assert record_path(case, "box", tmp_path).parent == tmp_path / "box"


# what is shown

FORMULAS = [
    "=HYPERLINK(1)",
    "+1+1",
    "-2+3",
    "@SUM(A1)",
    "\t=1",
    "\r=1",
    "＝1",
    "-cmd|' /C calc'!A0",
]
NUMBERS = ["-1", "+3.5 %", "-1e-9", "-12,000", "-4 MiB", 1.5, -2, None, float("nan"), True, "gru"]


@pytest.mark.parametrize("formula", FORMULAS)
def test_a_cell_of_csv_is_no_formula(formula):
    written = inert.csv_of(pd.DataFrame({formula: [formula], "b": [-1.5]}))
    head, row = csv.reader(StringIO(written))
    assert head[0] == row[0] == f"'{visible(formula)}" and row[1] == "-1.5"


def test_numbers_stay_as_they_are():
    frame = pd.DataFrame({"a": pd.Series(NUMBERS, dtype=object)})
    assert inert.csv_of(frame) == frame.to_csv(index=False)


def test_markdown_shows_names_and_does_nothing_else():
    for text, live in (
        ("a|b", "|"),
        ("a\nb", "\n"),
        ("`x`", "`"),
        ("[x](y)", "["),
        ("![x](y)", "["),
        ("<b>", "<"),
        ("&lt;", "&lt;"),
        ("*x*", "*"),
        ("_x_", "_"),
        ("# x", "# "),
        ("$x$", "$"),
        ("https://x.invalid", "://"),
        ("www.x.invalid", "www."),
        ("me@x.invalid", "@"),
        ("\x1b[31m", "\x1b"),
    ):
        assert live not in inert.markdown(text), text
    assert inert.markdown("gated_deltanet 1.5× (0.9–2.1), T = 64") == (
        "gated_deltanet 1.5× (0.9–2.1), T = 64"
    )


def test_control_characters_are_escaped_and_text_is_not():
    assert visible("\x1b[31m\r\n\x00\u202e\ud800") == r"\x1b[31m\r\n\x00\u202e\ud800"
    assert visible("é 漢字 🙂 a\u00a0b") == "é 漢字 🙂 a\u00a0b"


def test_a_hostile_file_is_told_and_steers_no_terminal(tmp_path, capsys):
    machine(("gru",))[0].save(tmp_path)
    (tmp_path / "cpu-test" / "\x1b]0;owned\x07\udcff.json").write_text("{")
    reason = "\x1b[2J[bold]x[/] | [y](z) " + "x" * 1000
    failed = record("train", "gru", seq_len=3, status="error", reason=reason)
    failed.save(tmp_path)
    out = tmp_path.parent / "out"
    assert report(["build", "--results", str(tmp_path), "--out", str(out)]) == 1
    printed = capsys.readouterr()
    assert "\x1b" not in printed.out + printed.err and r"\x1b]0;owned\x07\udcff.json" in printed.err
    for path in (*out.glob("*.md"), *out.glob("*.csv"), out / "index.html"):
        assert "\x1b" not in path.read_text()


def test_two_labels_never_share_a_file(tmp_path):
    stems = [files.stem(name) for name in ("a b", "a-b", "a/b", "../../a", "x" * 300, "x" * 301)]
    assert len(set(stems)) == len(stems)
    assert all(re.fullmatch(r"[\w.-]{1,60}", stem) for stem in stems)
    assert files.stem("reference-cpu-2-core-amd-epyc") == "reference-cpu-2-core-amd-epyc"


def test_the_report_is_written_whole_or_not_at_all(tmp_path, capsys, monkeypatch):
    for each in [*machine(("gru", "lstm")), quality("rnn")]:
        each.save(tmp_path / "results")
    command = ["build", "--results", str(tmp_path / "results"), "--out", str(tmp_path / "out")]
    assert report(command) == 0
    before = {path: path.read_bytes() for path in (tmp_path / "out").iterdir()}

    def full(source, target):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    record("train", "newcomer", step_s=(1.0,)).save(tmp_path / "results")
    monkeypatch.setattr(os, "replace", full)
    assert report(command) == 1
    assert {path: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before
    assert "No space left" in capsys.readouterr().err


def test_a_written_file_takes_a_links_place_and_leaves_what_it_led_to(tmp_path):
    (tmp_path / "precious").write_text("old")
    (tmp_path / "page").symlink_to(tmp_path / "precious")
    files.write(tmp_path / "page", "new")
    assert (tmp_path / "precious").read_text() == "old"
    assert (tmp_path / "page").read_text() == "new" and not (tmp_path / "page").is_symlink()


def test_the_comparison_asks_nobody_for_anything(tmp_path):
    for label in ("a", "b"):
        for each in machine(("gru", "lstm"), label=label):
            each.save(tmp_path / "results")
    out = tmp_path / "out"
    report(["compare", "a", "b", "--results", str(tmp_path / "results"), "--out", str(out)])
    page = (out / "compare.html").read_text()
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', page)[1]
    assert "default-src 'none'" in policy and "script" not in policy and "<script" not in page
    assert not re.search(r"(src|href)=|@import|url\(", page)


# what others wrote runs only where it is named


def test_an_architecture_of_others_runs_only_when_it_is_named(tmp_path, monkeypatch, capsys):
    site, marker = tmp_path / "site", tmp_path / "ran"
    about = site / "others-1.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: others\nVersion: 1\n")
    (about / "entry_points.txt").write_text("[seqfrontier.archs]\ntheirs = theirs_module\n")
    touch = f"\nfrom pathlib import Path\n\nPath({str(marker)!r}).touch()\n"
    (site / "theirs_module.py").write_text(EXAMPLE + touch)
    (tmp_path / "mine.py").write_text(EXAMPLE + touch)
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.chdir(tmp_path)
    kept = ["--results", str(tmp_path / "results")]
    for arch in ("theirs.12345678", "gru", "mine.12345678"):
        record("train", arch, step_s=(1.0,)).save(tmp_path / "results")
    assert benchmarks(["list", "--device", "cpu", *kept]) == 0
    assert "installed, for --arch theirs: theirs_module" in capsys.readouterr().out
    assert benchmarks(["list", "--sizes", "--size", "100k", "--arch", "gru"]) == 0
    assert benchmarks(["doctor", "--device", "cpu"]) == 0
    assert benchmarks(["list", "--device", "cpu", "--arch", "theirs.12345678", *kept]) == 2
    assert report(["build", *kept, "--out", str(tmp_path / "out")]) == 0
    assert report(["peers", *kept]) == 1
    assert not marker.exists() and "theirs_module" not in sys.modules
