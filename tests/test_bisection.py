"""Limits found by probing: on machines that run out at a known size, and within a CPU budget."""

import random

import pytest
import torch
from msgspec.structs import replace

from benchmarks import bisection, harness, machine
from benchmarks.machine import Environment
from results import Case, Probe

ENV = Environment(device="cpu", label="none", machine={}, versions={}, commit=None)
MIB = 2**20


def searched(most_that_fits, start=1, most=2**16):
    def probe(size):
        return Probe(size=size, fitted=size <= most_that_fits, peak_bytes=size)

    return list(bisection.search(probe, start, most))


def largest(probes):
    return max((probe.size for probe in probes if probe.fitted), default=None)


def test_a_known_limit_is_found_to_its_tolerance():
    draw = random.Random(0)
    for limit in [*range(1, 40), *(draw.randint(40, 2**16) for _ in range(200))]:
        found = searched(limit)
        exact = bisection.TOLERANCE * limit <= 1
        least = limit if exact else limit * (1 - bisection.TOLERANCE)
        assert least <= largest(found) <= limit
        assert len(found) <= 22 and len({probe.size for probe in found}) == len(found)


def test_what_never_fits_is_asked_once():
    assert [(probe.size, probe.fitted) for probe in searched(63, start=64)] == [(64, False)]


def test_what_always_fits_is_asked_up_to_the_most_and_no_further():
    found = searched(10**9, start=100, most=1000)
    assert [probe.size for probe in found] == [100, 200, 400, 800, 1000]
    assert largest(searched(10**9, start=1000, most=1000)) == 1000


def limits(**changes):
    asked = {"seq_len": 32, "batch": 1, "grows": "batch", "steps_of": "prefill"} | changes
    return Case(phase="limits", arch="llama", size="100k", **asked)


def test_a_budget_on_a_cpu_is_held_against_the_peak():
    record = harness.measure(limits(memory_bytes=8 * MIB), ENV)
    assert record.status == "ok" and record.kernels
    assert all(probe.fitted == (probe.peak_bytes <= 8 * MIB) for probe in record.probes)
    assert 4 <= largest(record.probes) < max(probe.size for probe in record.probes)
    # the same step asked for outright
    outright = Case(
        phase="prefill", arch="llama", size="100k", seq_len=32, batch=largest(record.probes)
    )
    peak = machine.peak_memory("cpu", lambda: harness.peak_steps(outright, "cpu"))
    assert peak.peak_bytes <= 8 * MIB


@pytest.mark.parametrize("steps_of", ["train", "decode"])
def test_length_is_enlarged_at_the_batch_given(steps_of):
    asked = limits(grows="seq_len", steps_of=steps_of, seq_len=16, memory_bytes=6 * MIB)
    record = harness.measure(asked, ENV)
    assert record.probes[0].size == 16 and record.probes[1].size == 32
    assert largest(record.probes) >= 32


def test_a_model_beyond_the_budget_is_out_of_memory():
    record = harness.measure(limits(memory_bytes=1000), ENV)
    assert record.status == "oom" and record.reason == "the smallest batch does not fit"
    assert [probe.fitted for probe in record.probes] == [False] and record.params


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("full"), ZeroDivisionError("a bug")])
def test_memory_that_runs_out_is_a_probe_and_a_bug_surfaces(monkeypatch, error):
    def steps(case, device):
        assert case == Case(phase="train", arch="llama", size="100k", seq_len=32, batch=case.batch)
        if case.batch > 5:
            raise error

    asked = limits(steps_of="train")
    if isinstance(error, ZeroDivisionError):
        with pytest.raises(ZeroDivisionError):
            list(bisection.probes(asked, "cpu", steps))
    else:
        found = list(bisection.probes(asked, "cpu", steps))
        assert largest(found) == 5
        assert {probe.peak_bytes for probe in found if not probe.fitted} == {None}


def test_what_was_probed_before_the_time_was_up_is_kept():
    record = harness.measure(limits(memory_bytes=8 * MIB), ENV, limit_s=0.0)
    assert record.status == "timeout" and len(record.probes) == 1


def test_a_budget_on_cuda_bounds_what_the_allocator_reserves(monkeypatch):
    shares = []
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (0, 1000 * MIB))
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda: 50 * MIB)
    monkeypatch.setattr(torch.cuda, "set_per_process_memory_fraction", shares.append)
    with bisection.at_most(200 * MIB, "cuda"):
        assert shares == [0.25]
    assert shares == [0.25, 1.0]
    with bisection.at_most(None, "cuda"), bisection.at_most(MIB, "cpu"):
        assert shares == [0.25, 1.0]


def test_each_question_has_its_file():
    asked = [limits(), limits(grows="seq_len"), limits(steps_of="train")]
    asked += [replace(asked[0], memory_bytes=2**29), replace(asked[0], memory_bytes=2**30)]
    assert len({str(case) for case in asked}) == len(asked)
    assert str(asked[3]) == "limits-llama-100k-T32-B1-float32-batch-prefill-0.5GiB-s0"
