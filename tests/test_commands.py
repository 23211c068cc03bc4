"""The commands as a user types them: resume, bad input, a new architecture's file."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import results
from tests.sweeps import checkout

ROOT = Path(__file__).parents[1]
TINY = ["--seq-len", "16,32", "--tokens", "2048", "--device", "cpu", "--label", "box"]

# the one that is told there
EXAMPLE = re.search(r"```python\n(.*?)```", (ROOT / "CONTRIBUTING.md").read_text(), re.DOTALL)[1]


def run(*arguments, cwd=ROOT, **changes):
    command = [sys.executable, "-m", *map(str, arguments)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"} | changes
    return subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=300
    )


def bench(*arguments, **changes):
    return run("pytest", "benchmarks", "-p", "no:cacheprovider", *arguments, **changes)


def records(folder):
    loaded = results.load(root=folder)
    assert loaded.unreadable == []
    return loaded.records


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """Two architectures through all four phases; the sweep's own output; its folder."""
    folder = tmp_path_factory.mktemp("swept")
    done = bench("--arch", "lstm,gpt2", *TINY, "--results", folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout, folder


def test_a_sweep_measures_every_phase_and_tables_it(swept):
    printed, folder = swept
    kept = records(folder)
    assert len(kept) == 2 * (3 * 2 + 1)
    assert {record.status for record in kept} == {"ok"}
    assert {record.machine["threads"] for record in kept} == {1}
    for record in kept:
        assert record.ceilings.keys() == {"matmul-float32", "copy"}
        if record.case.phase == "quality":
            assert record.corpus_sha256 and len(record.evaluations) >= 4
        else:
            assert len(record.step_s) >= 5 and record.peak_bytes > record.param_bytes
    assert "benchmark 'decode': 4 tests" in printed and "harness" in printed
    assert "[14/14]" in printed and "left" in printed


def test_a_second_sweep_measures_nothing_again(swept):
    _, folder = swept
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*.json")}
    again = bench("--arch", "lstm,gpt2", *TINY, "--results", folder)
    assert again.returncode == 0 and "14 skipped" in again.stdout
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*.json")} == before


def test_a_task_is_asked_by_name_and_leaves_no_checkpoint(tmp_path):
    """One case in a training process, one in the sweep's own."""
    asked = ["--task", "parity", "--arch", "gru,rnn", "--seed", "0", *TINY, "--results", tmp_path]
    listed = run("benchmarks", "list", *asked).stdout.split()
    cases = [word for word in listed if word.startswith("state-")]
    assert len(cases) == 4  # two lengths
    (tmp_path / "box").mkdir()
    for case in cases:
        (tmp_path / "box" / f".{case}.json.checkpoint").write_bytes(b"of another code")
    done = bench(*asked)
    assert done.returncode == 0, done.stdout + done.stderr
    assert {str(record.case) for record in records(tmp_path)} == set(cases)
    assert not list(tmp_path.rglob("*.checkpoint"))


def test_tuning_tells_the_best_rate_and_goes_on(tmp_path):
    asked = ["--task", "parity", "--arch", "rnn", "--seed", "0", "--seq-len", "4", *TINY[2:]]
    stopped = run("benchmarks", "tune", *asked, "--results", tmp_path, "--stop-after", "0.01")
    assert stopped.returncode == 1 and "the same command goes on here" in stopped.stdout
    tuned = run("benchmarks", "tune", *asked, "--results", tmp_path)
    assert tuned.returncode == 0 and "parity rnn = " in tuned.stdout, tuned.stdout + tuned.stderr
    assert len(records(tmp_path)) >= 6
    refused = run("benchmarks", "tune", "--phase", "decode", "--results", tmp_path)
    assert refused.returncode == 2 and "no learning rate to choose in decode" in refused.stderr


def test_fresh_measures_again(swept, tmp_path):
    shutil.copytree(swept[1], tmp_path, dirs_exist_ok=True)
    path = next(tmp_path.rglob("decode-lstm*T16*.json"))
    before = path.read_text()
    asked = ["--arch", "lstm", "--phase", "decode", *TINY, "--seq-len", "16"]
    assert bench(*asked, "--fresh", "--results", tmp_path).returncode == 0
    assert path.read_text() != before


def test_a_truncated_record_is_named_and_the_others_are_still_measured(swept, tmp_path):
    folder = tmp_path / "results"
    shutil.copytree(swept[1], folder)
    broken = next(folder.rglob("decode-lstm*T16*.json"))
    broken.write_text(broken.read_text()[:100])
    next(folder.rglob("decode-lstm*T32*.json")).unlink()
    again = bench("--arch", "lstm", *TINY, "--results", folder)
    assert again.returncode == 1 and "1 failed, 1 passed, 5 skipped" in again.stdout
    assert f"{broken} is not a readable Record" in again.stdout
    assert "Traceback" not in again.stdout

    report = run("report", "build", "--results", folder, "--out", tmp_path / "out")
    assert report.returncode == 1 and str(broken) in report.stderr
    assert (tmp_path / "out" / "index.html").exists()


def test_a_new_file_in_archs_appears_everywhere(tmp_path):
    checkout(tmp_path, leaky=EXAMPLE)

    listed = run("benchmarks", "list", "--device", "cpu", cwd=tmp_path)
    assert "train-leaky-100k-T256" in listed.stdout, listed.stderr
    sizes = run("benchmarks", "list", "--sizes", "--size", "100k", cwd=tmp_path)
    assert "leaky" in sizes.stdout
    laws = run("pytest", "tests/test_laws.py", "-k", "leaky", cwd=tmp_path)
    assert laws.returncode == 0 and "13 passed" in laws.stdout, laws.stdout
    assert bench("--arch", "leaky,rnn", *TINY, cwd=tmp_path).returncode == 0
    report = run("report", "build", cwd=tmp_path)
    assert report.returncode == 0, report.stderr
    page = Path(tmp_path, report.stdout.splitlines()[-1])
    assert "leaky" in page.read_text()


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--arch", "mambo"], "--arch: there is no 'mambo'; there are bert, "),
        (["--size", "7b"], "there is no '7b'; there are 100k"),
        (["--phase", "pretrain"], "--phase: there is no 'pretrain'; there are train"),
        (["--kernel", "fastest"], "--kernel: there is no 'fastest'; there are auto, blocked"),
        (["--tier", "huge"], "--tier: there is no 'huge'; there are cpu, gpu, paper"),
        (["--task", "mqa"], "--task: there is no 'mqa'; there are induction, markov"),
        (["--short-conv", "yes"], "--short-conv: there is no 'yes'; there are on, off"),
        (["--seq-len", "0"], "--seq-len must be above 0, not 0"),
        (["--seq-len", "many"], "invalid comma-separated int value: 'many'"),
        (["--batch", "-1"], "--batch must be above 0, not -1"),
        (["--arch", "bert", "--phase", "decode"], "an encoder, which is not causal, has no decode"),
        (["--phase", "limits"], "--phase limits needs --memory-gib GIB on a CPU, such as 0.5"),
        (["--corpus", "/nowhere/text"], "cannot read the corpus"),
        (["--corpus", os.devnull], "holds 0 bytes; a corpus needs 4096 or more"),
        (["--results", "/proc/results"], "results cannot be kept in /proc/results"),
    ],
)
def test_bad_input_gets_one_sentence(arguments, complaint):
    asked = bench("--device", "cpu", *arguments)
    assert asked.returncode == pytest.ExitCode.USAGE_ERROR
    printed = asked.stdout + asked.stderr
    assert complaint in printed and "Traceback" not in printed


def test_cuda_asked_for_and_absent_is_refused():
    asked = bench("--device", "cuda", CUDA_VISIBLE_DEVICES="")
    assert asked.returncode == pytest.ExitCode.USAGE_ERROR
    assert "no CUDA device is available to torch here; use --device cpu" in asked.stderr


def test_out_of_memory_is_told_and_longer_cells_are_not_run(tmp_path):
    """A batch no machine holds: the first length is tried, the second is not."""
    asked = ["--arch", "lstm", "--phase", "train", *TINY, "--batch", str(2**44)]
    swept = bench(*asked, "--results", tmp_path)
    assert swept.returncode == 0, swept.stdout
    short, long = sorted(records(tmp_path), key=lambda record: record.case.seq_len)
    assert short.status == long.status == "oom"
    assert "allocate memory" in short.reason
    assert long.reason == "not run: out of memory at 16 tokens already"


def test_pytest_benchmark_json_says_what_was_measured(tmp_path):
    path = tmp_path / "benchmark.json"
    asked = ["--arch", "gru", "--phase", "decode", *TINY, "--results", tmp_path]
    assert bench(*asked, f"--benchmark-json={path}").returncode == 0
    told = json.loads(path.read_text())
    assert told["machine_info"]["device"] == "cpu" and told["machine_info"]["threads"] == 1
    assert told["benchmarks"][0]["extra_info"]["state_bytes"] == 2 * 64 * 4


def test_doctor_tells_which_kernels_work():
    told = run("benchmarks", "doctor", "--device", "cpu").stdout
    assert "selective_scan" in told and "blocked" in told and "yes" in told


def test_a_kernel_that_cannot_run_fails_its_cell_in_one_sentence(tmp_path):
    asked = ["--arch", "gru", "--phase", "train", *TINY]
    swept = bench(*asked, "--kernel", "cell", "--results", tmp_path)
    assert swept.returncode == 1 and "2 failed" in swept.stdout
    assert "gru cannot run its kernel 'cell' here: it takes one token at a time" in swept.stdout
    assert "Traceback" not in swept.stdout


def test_list_says_what_is_left(swept):
    _, folder = swept
    asked = ["--arch", "lstm,gru", *TINY, "--results", folder]
    listed = run("benchmarks", "list", *asked).stdout
    assert "had  train-lstm-100k-T16" in listed and "todo train-gru-100k-T16" in listed
    assert "14 cases" in listed and "7 measured already" in listed


def test_every_size_is_listed_with_what_it_costs():
    listed = run("benchmarks", "list", "--sizes", "--size", "124m", "--arch", "gpt2,lstm").stdout
    gpt2 = next(line for line in listed.splitlines() if "gpt2" in line)
    # GPT-2's 124,439,808 has 50,257 tokens and 1,024 places; ours pads to 50,304, places apart
    assert f"{124_439_808 - 1024 * 768 + 47 * 768:,}" in gpt2
    assert f"{2 * 12 * 1024 * 768 * 4 + 12 * 8:,}" in gpt2  # k and v of twelve layers, positions
