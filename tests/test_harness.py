"""The harness on a CPU, with a stopwatch that lies still, and with faults put in."""

import time

import pytest
import torch

import archs
from benchmarks import harness, machine, phases
from benchmarks.machine import Environment
from results import Case

ENV = Environment(device="cpu", label="none", machine={}, versions={}, commit=None)


def stopwatch(step, before, rounds):
    for _ in range(2):
        before()
        step()
    return (1.0, 2.0)


def case(phase="prefill", arch="gru", seq_len=8, **changes):
    return Case(phase=phase, arch=arch, size="100k", seq_len=seq_len, batch=2, **changes)


def measure(asked, **changes):
    return harness.measure(asked, ENV, stopwatch=stopwatch, **changes)


def test_a_view_is_charged_for_its_whole_buffer():
    whole = torch.zeros(8, 16)
    assert machine.tensor_bytes([whole[-1], whole[0]]) == machine.tensor_bytes(whole) == 8 * 16 * 4
    with torch.device("meta"):
        assert machine.tensor_bytes([torch.zeros(4), torch.zeros(8)]) == 48


def test_peak_is_the_most_alive_at_once():
    """Two 4 MB tensors alive together, a third only after one is gone."""

    def run():
        first = torch.empty(2**20)
        second = torch.empty(2**20)
        del first
        third = torch.empty(2**20)
        return second, third

    peak = machine.peak_memory("cpu", run)
    assert peak.peak_method == "torch cpu allocator trace" and peak.reserved_bytes is None
    assert 2 * 2**22 <= peak.peak_bytes < 2 * 2**22 + 4096


def test_memory_is_traced_again_if_the_clock_was_set_meanwhile(monkeypatch):
    now, runs = time.time, []

    def run():
        runs.append(torch.empty(2**20))

    monkeypatch.setattr(time, "time", lambda: now() - 3600 * bool(runs))
    assert machine.peak_memory("cpu", run).peak_bytes == 2**22
    assert len(runs) == 2


def test_peak_of_a_training_step_holds_weights_gradients_and_moments():
    record = measure(case("train"))
    assert record.peak_bytes > 4 * record.param_bytes


@pytest.mark.parametrize("phase", ["train", "prefill", "decode"])
def test_a_record_says_what_was_seen(phase):
    record = measure(case(phase))
    assert record.status == "ok" and record.reason is None
    assert record.step_s == (1.0, 2.0)
    assert record.params == 115_776 and record.embedding_params == 256 * 64
    assert record.param_bytes == 4 * record.params
    # two layers, batch 2, a float32 state of d_model 64
    assert record.state_bytes == (None if phase == "train" else 2 * 2 * 64 * 4)


def test_recurrent_state_does_not_grow_with_the_prompt_and_a_cache_does():
    def state(arch, T):
        return measure(case(arch=arch, seq_len=T)).state_bytes

    assert state("gru", 8) == state("gru", 64)
    # k and v, two layers, batch 2, two of four heads' width; and a position a layer
    assert state("llama", 64) - state("llama", 8) == 2 * 2 * 2 * 32 * 4 * (64 - 8)


def test_bfloat16_halves_what_inference_keeps_and_trains_on_float32_weights():
    prefill, train = (measure(case(phase, dtype="bfloat16")) for phase in ("prefill", "train"))
    assert 2 * prefill.param_bytes == train.param_bytes == 4 * train.params


@pytest.mark.parametrize("arch", archs.names())
def test_training_in_bfloat16_follows_float32(arch):
    """The gradient of one autocast step against the float32 one: same length, same direction."""
    grads = {}
    for dtype in ("float32", "bfloat16"):
        asked = case("train", arch=arch, seq_len=40, dtype=dtype)
        model = harness.build(asked, "cpu")
        tokens_BT = torch.randint(256, (2, 41), generator=torch.Generator().manual_seed(0))
        with phases.precision(asked, "cpu"):
            model.nll(tokens_BT[:, :-1], tokens_BT[:, 1:]).mean().backward()
        grads[dtype] = torch.cat([p.grad.flatten() for p in model.parameters()])
    exact, rounded = grads.values()
    assert (rounded - exact).norm() / exact.norm() < 0.05


@pytest.mark.parametrize("error", [torch.OutOfMemoryError, lambda: torch.empty(2**60)])
def test_out_of_memory_is_a_record(monkeypatch, error):
    def explode(model, case):
        raised = error()
        raise raised

    monkeypatch.setitem(phases.PHASES, "prefill", explode)
    record = measure(case())
    assert record.status == "oom" and record.step_s == () and record.reason is not None
    assert record.params == 115_776


@pytest.mark.parametrize("error", [ZeroDivisionError, RuntimeError, torch.AcceleratorError])
def test_any_other_error_surfaces(monkeypatch, error):
    def explode(model, case):
        raise error("a bug")

    monkeypatch.setitem(phases.PHASES, "prefill", explode)
    with pytest.raises(error):
        measure(case())


@pytest.mark.parametrize("phase", ["train", "prefill", "decode"])
def test_a_model_that_computes_no_numbers_is_not_timed(monkeypatch, phase):
    def spoilt(case, device):
        model = build(case, device)
        with torch.no_grad():
            model.embed.weight[0, 0] = torch.nan
        return model

    build = harness.build
    monkeypatch.setattr(harness, "build", spoilt)
    record = measure(case(phase))
    assert record.status == "diverged" and record.step_s == ()
    assert record.reason == "the logits are not finite after the first step"
    assert record.params == 115_776


def test_a_case_past_its_limit_is_a_record():
    record = measure(case(), limit_s=0.0)
    assert record.status == "timeout" and "not finished after 0 s" in record.reason


def test_decode_goes_back_to_its_context_and_writes_the_same_again(monkeypatch):
    """An in-place cache and a replaced state alike: the copy is not touched by what follows."""
    monkeypatch.setattr(phases, "DECODE_ROOM", 3)
    for arch in ("llama", "hybrid"):
        asked = case("decode", arch=arch)
        work = phases.decode(harness.build(asked, "cpu"), asked)
        lengths = []
        for _ in range(8):
            work.before()
            caches = [s for s in work.step() if hasattr(s, "position")]
            lengths.append(int(caches[0].position))
        assert lengths == [9, 10, 11, 9, 10, 11, 9, 10]


def test_the_kernels_that_ran_are_on_record():
    assert measure(case("train")).kernels == {
        "cross_entropy": "plain",
        "gru": "stored",
        "rms_norm": "stored",
    }
    assert measure(case("decode")).kernels == {"gru": "cell", "rms_norm": "stored"}
    assert set(measure(case("decode", kernel="plain")).kernels.values()) == {"plain"}


def test_a_kernel_no_op_has_is_refused():
    with pytest.raises(ValueError, match="none of its ops has a kernel 'sdpa': rms_norm"):
        measure(case("prefill", kernel="sdpa"))


def test_a_rate_falls_out_of_ceilings():
    seen = machine.measure_ceilings("cpu", "float32")
    assert seen.keys() == {"matmul-float32", "copy"}
    assert all(s > 0 for ceiling in seen.values() for s in ceiling["samples_s"])
    assert seen["matmul-float32"]["work"] == 2 * 1024**3


def test_labels_are_folder_names():
    label = machine.default_label("cpu", {"cores": 2, "cpu": "Intel(R) Xeon(R) @ 2.1GHz"})
    assert label == "cpu-2-core-intel-r-xeon-r-2-1ghz"
    assert machine.default_label("cuda", {"gpu": "NVIDIA H200"}) == "nvidia-h200"


def test_cuda_asked_for_and_absent_is_refused():
    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device here")
    with pytest.raises(ValueError, match="no CUDA device"):
        machine.pick_device("cuda")


@pytest.mark.parametrize("phase", ["train", "prefill"])
def test_each_step_reads_other_tokens_until_the_ring_comes_round(phase):
    asked = case(phase)
    model = harness.build(asked, "cpu")
    read = []
    model.register_forward_pre_hook(lambda module, inputs: read.append(inputs[0].tolist()))
    work = phases.PHASES[phase](model, asked)
    for _ in range(2 * phases.RING):
        work.before()
        work.step()
    assert len({str(tokens) for tokens in read[: phases.RING]}) == phases.RING
    assert read[: phases.RING] == read[phases.RING :]
