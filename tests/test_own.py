"""Anyone's own architecture: a file, an installed package's, and what the laws say of it."""

import argparse
import json
import re
import subprocess
import sys

import pytest

import archs
from benchmarks import conformance, corpus, laws, outside, sweep
from benchmarks.__main__ import main
from benchmarks.laws import Broken
from tests.test_commands import EXAMPLE, ROOT, TINY, bench, records

DOC = (ROOT / "docs/own-architectures.md").read_text()
TOLD = re.search(r"check forgetful.py\n(.*?)```", DOC, re.DOTALL)[1]


def without_numbers(text):
    return re.sub(r"off by \S+|\.[0-9a-f]{8} ", "…", text)


@pytest.fixture(autouse=True)
def forgotten(monkeypatch):
    """What a test makes known is known to it alone."""
    for known in (outside._sources, outside._modules, archs._outside):
        for name in list(known):
            monkeypatch.delitem(known, name)
    monkeypatch.delenv(outside.VARIABLE, raising=False)
    yield
    for known in (outside._sources, outside._modules, archs._outside):
        known.clear()


@pytest.fixture
def written(tmp_path):
    """Saves an architecture's file, the example with changes, and says where."""

    def write(*changes, stem="leaky"):
        text = EXAMPLE
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        path = tmp_path / f"{stem}.py"
        path.write_text(text)
        return str(path)

    return write


@pytest.fixture
def package(tmp_path):
    """A folder for sys.path: another package offers the example, and tells when imported."""
    folder = tmp_path / "site"
    about = folder / "seqfrontier_leaky-1.5.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: seqfrontier-leaky\nVersion: 1.5\n"
    )
    (about / "entry_points.txt").write_text("[seqfrontier.archs]\nleaky = leaky_package\n")
    marker = folder / "imported"
    (folder / "leaky_package.py").write_text(
        f"{EXAMPLE}\nfrom pathlib import Path\n\nPath({str(marker)!r}).touch()\n"
    )
    return folder


def test_the_whole_example_is_told_alike():
    assert f"```python\n{EXAMPLE}```" in DOC


def test_a_file_is_known_by_its_name_and_its_content(written):
    name = outside.named(written())
    stem, _, digest = name.partition(".")
    assert stem == "leaky" and len(digest) == 8 and archs.added() == [name]
    assert name not in archs.names()
    assert archs.build(name, "100k").forward_flops(1) > 0
    assert outside.named(written()) == name
    other = outside.named(written(("0.9", "0.8")))
    assert other.startswith("leaky.") and archs.added() == sorted([name, other])
    # what was loaded stays what it was
    assert archs.load(name) is not archs.load(other) is archs.load(other)


def test_a_width_that_changes_nothing_is_not_looked_for_for_ever(written):
    name = outside.named(written(("d_mlp=width", "d_mlp=1")))
    with pytest.raises(ValueError, match="no width has 100,096 parameters: they do not grow"):
        archs.build(name, "100k")


def test_words_that_name_nothing_stay_what_they_are():
    assert outside.option("gru,mambo") == ["gru", "mambo"]
    assert archs.added() == []


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ([("class Block(", "class Black(")], "NameError at leaky.py:53: name 'Block'"),
        ([("SIZES =", "SIZE =")], "leaky.py exports no SIZES; an architecture's module has"),
        ([("SIZES = Matched(Block, shapes)", "SIZES = {}")], "its SIZES is not a mapping"),
        ([("_spine.MixerMLP", "nn.Module")], "its Block is not a subclass of archs._spine.Block"),
        ([("def shapes(size):", "def shapes(size)")], "SyntaxError at leaky.py:47: expected ':'"),
        ([("import torch\n", "import torsh\n")], "ModuleNotFoundError at leaky.py:6: No module"),
    ],
)
def test_what_is_no_architecture_gets_one_sentence(written, changes, complaint):
    with pytest.raises(ValueError, match=complaint):
        outside.named(written(*changes))
    assert archs.added() == []


def test_a_file_that_is_not_there_or_cannot_be_a_name_gets_one_sentence(written, tmp_path):
    with pytest.raises(ValueError, match=r"cannot read the architecture /nowhere/x\.py: No such"):
        outside.named("/nowhere/x.py")
    with pytest.raises(ValueError, match="'my arch' cannot name an architecture: that takes up"):
        outside.named(written(stem="my arch"))
    (tmp_path / "notes.txt").write_text("text")
    with pytest.raises(ValueError, match=r"notes\.txt is no Python file"):
        outside.named(str(tmp_path / "notes.txt"))


def test_a_child_process_finds_the_same_and_refuses_a_changed_file(written):
    name = outside.named(written())
    ask = f"from benchmarks import harness; import archs; print(archs.load({name!r}).Block)"
    command = [sys.executable, "-c", ask]
    same = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert same.stdout == f"<class '{name}.Block'>\n", same.stderr
    written(("0.9", "0.8"))
    changed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert "leaky.py has changed since this began: it is leaky." in changed.stderr


FAULTS = [
    (
        laws.output_ignores_the_future,
        [("u_BTD = x_BTD.to(h_BD.dtype)", "u_BTD = x_BTD.to(h_BD.dtype).flip(1)")],
        r"the output before token 15, which alone was changed, is off by \S+ at position \d",
    ),
    (
        laws.output_ignores_the_future,
        [("0.1 * u_BTD", "0 * u_BTD")],
        "token 15 was changed and the output at position 16 was not",
    ),
    (
        laws.state_stands_for_the_past,
        [("h_BTD[:, -1]", "h_BTD[:, 0]")],
        r"read in pieces \[10, 14\], the output is off by \S+ at position 10 \(1e-07 is allowed\)",
    ),
    (
        laws.long_sequences_can_be_cut,
        [("h_BTD[:, -1]", "h_BTD[:, 0]")],
        r"read in pieces \[130, 71\], the output is off by \S+ at position 130",
    ),
    (
        laws.training_keeps_no_state,
        [(" if state else None", "")],
        "without a state to go on from, block 0 returned one",
    ),
    (
        laws.every_parameter_gets_a_gradient,
        [
            (
                "        self.out =",
                "        self.dead = nn.Parameter(torch.ones(2))\n        self.out =",
            )
        ],
        "no gradient reaches blocks.0.mixer.dead, blocks.1.mixer.dead",
    ),
    (
        laws.gradient_is_the_slope_of_the_loss,
        [("self.out(h_BTD.to(", "self.out(h_BTD.detach().to(")],
        r"is off by \S+ \(1e-06 is allowed\): that of embed.weight, blocks.0.mix_norm.weight",
    ),
    (
        laws.bfloat16_stays_close_to_float32,
        [("0.1 * u_BTD", "(1e3 if x_BTD.dtype == torch.bfloat16 else 0.1) * u_BTD")],
        r"a bfloat16 model's loss is off by \S+ at position 1 \(0.02 is allowed\)",
    ),
    (
        laws.state_is_constant_or_linear_in_length,
        [("State(h_BTD[:, -1].clone())", "State(h_BTD.repeat(1, x_BTD.shape[1], 1)[:, -1])")],
        "its bytes are 131,072 after 16, 524,288 after 32, 2,097,152 after 64",
    ),
    (
        laws.a_full_cache_refuses_more,
        [
            ("    h_BD: Tensor", "    h_BD: Tensor\n    kept_S: Tensor"),
            ("dtype=dtype))", "dtype=dtype), self.out.weight.new_zeros(max_len))"),
            ("[:, -1].clone())", "[:, -1].clone(), state.kept_S)"),
        ],
        "a state made for 4 tokens took 5 and raised no ValueError",
    ),
    (
        laws.decode_can_be_captured,
        [("0.1 * u_BTD, h_BD", "0.1 * u_BTD, h_BD * (1 + 0 * float(h_BD.sum()))")],
        "a step cannot be captured: a graph cannot read a tensor's value",
    ),
    (
        laws.laws_hold_with_and_without_a_short_convolution,
        [("        self.out =", "        self.conv = nn.Conv1d(4, 4, 5)\n        self.out =")],
        r"with short_conv=True, its blocks' convolutions are \[5, 5\] wide, not 3 or 4",
    ),
    (
        laws.sizes_are_what_they_are_called,
        [("Matched(Block, shapes)", '{"100k": Config(d_model=64, n_layer=2, d_mlp=1)}')],
        r"100k has 8,896 non-embedding parameters, -91.1% off the 100,096 that are meant",
    ),
]


@pytest.mark.parametrize(
    ("law", "changes", "where"), FAULTS, ids=[law.__name__ for law, *_ in FAULTS]
)
def test_a_broken_law_says_where(written, law, changes, where):
    subject = laws.subject(outside.named(written(*changes)))
    with pytest.raises(Broken, match=where):
        law(subject)


def command(capsys, *arguments):
    """Exit status and what was printed, of a command in this process."""
    status = main([str(argument) for argument in arguments])
    return status, capsys.readouterr().out


def test_a_package_is_listed_without_being_imported(package, monkeypatch, tmp_path, capsys):
    monkeypatch.syspath_prepend(package)
    asked = ["--arch", "gru", "--device", "cpu", "--results", tmp_path]
    assert "installed, for --arch leaky: leaky_package" in command(capsys, "list", *asked)[1]
    assert not (package / "imported").exists()


def test_two_packages_that_offer_one_name_are_both_named(package, monkeypatch):
    about = package / "leaky_too-1.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: leaky-too\nVersion: 1\n")
    (about / "entry_points.txt").write_text("[seqfrontier.archs]\nleaky = other_package\n")
    monkeypatch.syspath_prepend(package)
    with pytest.raises(ValueError, match="'leaky', leaky_package and other_package; uninstall one"):
        outside.named("leaky")


def test_a_check_says_what_is_broken_and_where(written, capsys):
    good, bad = written(), written(("h_BTD[:, -1]", "h_BTD[:, 0]"), stem="forgetful")
    status, told = command(capsys, "check", good, bad)
    assert status == 1 and told.count("  holds  ") == 2 * len(laws.LAWS) - 3
    assert without_numbers(told[told.index("forgetful.") :]) == without_numbers(TOLD)
    status, told = command(capsys, "check", good)
    assert status == 0 and told.endswith("all laws hold\n")


def test_what_breaks_a_law_is_not_timed(written, tmp_path):
    bad = written(("h_BTD[:, -1]", "h_BTD[:, 0]"))
    parser = argparse.ArgumentParser()
    for flag, keywords in sweep.OPTIONS:
        parser.add_argument(flag, **keywords)
    options = parser.parse_args(["--arch", f"gru,{bad}"])
    options.results = tmp_path / "results"
    with pytest.raises(ValueError, match="is not timed, as it breaks a law: state stands for the"):
        sweep.check(options)
    assert not options.results.exists()


def test_a_package_and_a_file_are_swept(package, written, tmp_path):
    (tmp_path / "text").write_bytes(bytes(corpus.sotu().train[:40_000].numpy()))
    asked = ["--arch", f"leaky,{written()}", "--phase", "decode,quality", *TINY, "--seq-len", "16"]
    asked += ["--corpus", tmp_path / "text", "--results", tmp_path / "results"]
    swept = bench(*asked, PYTHONPATH=str(package))
    assert swept.returncode == 0, swept.stdout + swept.stderr
    kept = records(tmp_path / "results")
    assert len(kept) == 2 * 2 and {record.status for record in kept} == {"ok"}
    named = {record.case.arch for record in kept}
    assert len(named) == 2 and all(name.startswith("leaky.") for name in named)
    versions = {record.versions.get("seqfrontier-leaky") for record in kept}
    assert versions == {"1.5", None}
    remembered = json.loads((tmp_path / "results" / ".laws.json").read_text())
    assert {line.partition(" ")[0] for line in remembered} == named


def test_what_held_is_asked_once_for_a_source(written, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(laws, "LAWS", (asked.append,))
    name = outside.named(written())
    for _ in range(2):
        conformance.hold([name], tmp_path)
    assert [subject.arch for subject in asked] == [name]
    other = outside.named(written(("0.9", "0.8")))
    conformance.hold([other], tmp_path)
    assert [subject.arch for subject in asked] == [name, other]
    (tmp_path / conformance.KEPT).write_text("torn")
    conformance.hold([name], tmp_path)
    assert len(asked) == 3


def test_sizes_of_its_own_are_listed_and_used(written, tmp_path, capsys):
    own = '{"tiny": Config(d_model=16, n_layer=1, d_mlp=8)}'
    path = written(("Matched(Block, shapes)", own), ("return 3 * len(", "return None  # len("))
    asked = ["--arch", path, "--device", "cpu", "--results", tmp_path]
    sizes = command(capsys, "list", "--sizes", *asked)[1]
    assert "tiny" in sizes and "–" in sizes and "unknown" in sizes
    assert "-tiny-T64-" in command(capsys, "list", *asked)[1]
