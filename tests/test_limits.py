"""What a step cannot do without, its FLOPs and bytes, and how near the report says it came."""

import re
from pathlib import Path

import pandas as pd
import pytest
import torch
from msgspec.structs import replace
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

import archs
from archs import (
    bert,
    deltanet,
    diff_transformer,
    gated_deltanet,
    gla,
    gpt2,
    griffin,
    gru,
    hgrn2,
    hyena,
    linear_attention,
    llama,
    lstm,
    mamba,
    mamba2,
    mamba3,
    mingru,
    mla,
    mlstm,
    moe,
    retnet,
    rnn,
    rwkv7,
    slstm,
    swa,
)
from archs._spine import Block, LanguageModel
from benchmarks import harness, machine
from report import metrics, roofline
from report.__main__ import main
from report.plots import length
from report.plots.style import styles
from report.summary import by_length
from report.table import of_metric, tidy
from results import Case
from tests.report_records import record

LENGTH = 64  # a whole number of SSD chunks at 100k


def on_meta(arch, kernel="auto"):
    with torch.device("meta"):
        return archs.build(arch, "100k", max_len=2 * LENGTH, kernel=kernel)


def counted(model, backward=False):
    """FLOPs a token that torch counts: of matrix products and convolutions, none elementwise."""
    tokens_BT = torch.zeros(2, LENGTH, dtype=torch.long, device="meta")
    with FlopCounterMode(display=False) as counter:
        x_BTD, _ = model(tokens_BT)
        logits_BTV = model.logits(x_BTD)
        if backward:
            logits_BTV.sum().backward()
    return counter.get_total_flops() / tokens_BT.numel()


# FLOPs a token and layer that torch does not see, or, below zero, sees too many of: elementwise
# scans; of attention all T scores a token, where (T + 1) / 2 on average are not masked
UNSEEN = {
    gpt2.Block: lambda block: -2 * (LENGTH - 1) * block.n_head * block.d_head,
    bert.Block: lambda block: 0,
    # of all experts, on shapes alone
    moe.Experts: lambda mlp: -mlp.flops() * mlp.idle() / (1 - mlp.idle()),
    # and keys, which are padded to the values' width
    diff_transformer.Attention: lambda mixer: (
        -(3 * (LENGTH - 1) + 2 * LENGTH) * mixer.n_head * mixer.d_head
    ),
    llama.Attention: lambda mixer: -2 * (LENGTH - 1) * mixer.n_head * mixer.d_head,
    swa.Attention: lambda mixer: -2 * (LENGTH - 1) * mixer.n_head * mixer.d_head,
    # and values, which are padded to the keys' width
    mla.Attention: lambda mixer: (
        -(LENGTH - 1) * mixer.n_head * (2 * mixer.d_head + mixer.d_rope)
        - 2 * LENGTH * mixer.n_head * mixer.d_rope
    ),
    mingru.Mixer: lambda mixer: 4 * mixer.d_inner,
    griffin.Recurrence: lambda mixer: 4 * len(mixer.decay_E),
    # triangular systems of chunks of 32, which torch solves uncounted
    deltanet.Mixer: lambda mixer: 32 * mixer.n_head * 2 * mixer.d_head,
    gated_deltanet.Mixer: lambda mixer: 32 * mixer.n_head * 3 * mixer.d_key,
    rwkv7.Mixer: lambda mixer: 32 * mixer.n_head * 2 * mixer.d_head,
    # each token's score of itself, a sum over its products
    gla.Mixer: lambda mixer: len(mixer.out.weight),
    hgrn2.Mixer: lambda mixer: 2 * len(mixer.out.weight),
    # its plain kernels, which run on shapes alone, are elementwise: the scan and the convolution
    mamba.Mixer: lambda mixer: 9 * mixer.a_log_EN.numel() + 2 * mixer.conv.weight.numel(),
}
KERNELS = {"mamba": "plain"}

# float32 numbers a sequence and layer: those that every token rewrites, and a row of the cache
STATE = {
    rnn.Mixer: lambda mixer: (mixer.weight_hh.shape[1], 0),
    gru.Mixer: lambda mixer: (mixer.weight_hh.shape[1], 0),
    lstm.Mixer: lambda mixer: (2 * mixer.weight_hh.shape[1], 0),
    mingru.Mixer: lambda mixer: (mixer.d_inner, 0),
    mamba.Mixer: lambda mixer: (mixer.a_log_EN.numel() + 3 * len(mixer.conv.weight), 0),
    mamba2.Mixer: lambda mixer: (
        mixer.d_state * mixer.n_head * mixer.d_head + 3 * len(mixer.conv.weight),
        0,
    ),
    griffin.Recurrence: lambda mixer: (4 * len(mixer.decay_E), 0),
    slstm.Mixer: lambda mixer: (7 * len(mixer.scale_E), 0),
    mamba3.Mixer: lambda mixer: (
        mixer.n_head * ((mixer.d_state + 1) * (mixer.d_head + 1) - 1 + mixer.d_state // 4),
        0,
    ),
    bert.Block: lambda block: (0, 0),
    linear_attention.Mixer: lambda mixer: (
        mixer.n_head * mixer.d_head * (mixer.d_head + 1),
        0,
    ),
    retnet.Mixer: lambda mixer: (2 * mixer.split[0] ** 2 // mixer.n_head, 0),
    gla.Mixer: lambda mixer: (mixer.out.weight.numel() // (2 * mixer.n_head), 0),
    hgrn2.Mixer: lambda mixer: (mixer.d_state * len(mixer.out.weight), 0),
    deltanet.Mixer: lambda mixer: (
        mixer.n_head * mixer.d_head**2 + 3 * len(mixer.conv.weight),
        0,
    ),
    gated_deltanet.Mixer: lambda mixer: (
        2 * mixer.n_head * mixer.d_key**2 + 3 * len(mixer.conv.weight),
        0,
    ),
    mlstm.Mixer: lambda mixer: (
        len(mixer.out.weight) * (len(mixer.out.weight) // mixer.n_head + 1) // 2 + mixer.n_head,
        0,
    ),
    rwkv7.Block: lambda block: (len(block.mixer.out.weight) * (block.mixer.d_head + 2), 0),
    gpt2.Block: lambda block: (0, 2 * block.n_head * block.d_head),
    diff_transformer.Attention: lambda mixer: (0, 2 * mixer.n_kv_head * mixer.d_head),
    llama.Attention: lambda mixer: (0, 2 * mixer.n_kv_head * mixer.d_head),
    mla.Attention: lambda mixer: (0, mixer.d_latent + mixer.d_rope),
    swa.Attention: lambda mixer: (0, 2 * mixer.n_kv_head * mixer.d_head),  # up to the window
}


UNITS = {"m": 1e6, "b": 1e9}


def layers(model):
    """The mixer of each layer, where STATE has them all: not of a newcomer."""
    found = [module for module in model.modules() if type(module) in STATE]
    return found if len(found) == model.config.n_layer else None


@pytest.mark.parametrize("arch", archs.names())
def test_forward_flops_are_those_that_torch_counts(arch):
    model = on_meta(arch, KERNELS.get(arch, "auto"))
    formula = model.forward_flops(LENGTH)
    if formula is None:
        pytest.skip(f"{arch} does not say its FLOPs")
    seen = counted(model)
    unseen = sum(UNSEEN[type(m)](m) for m in model.modules() if type(m) in UNSEEN)
    if layers(model):
        assert formula == seen + unseen
    else:  # elementwise work that UNSEEN does not hold
        assert seen <= formula <= 1.25 * seen


@pytest.mark.parametrize("arch", archs.names())
def test_training_is_three_forward_passes(arch):
    """6 N + 3 F, of plain kernels, whose backward torch derives: each product comes back as two."""
    model = on_meta(arch, "plain")
    # the fresh state of a nonlinear recurrence needs no gradient: one product fewer at one token
    cells = [m.weight_hh for m in model.modules() if hasattr(m, "weight_hh")]
    lacking = 2 * sum(weight.numel() for weight in cells) / LENGTH
    # nor do the lags that a long filter is a function of; two sequences share it
    lacking += sum(m.layers[0][0].numel() for m in model.modules() if isinstance(m, hyena.Filter))
    assert counted(model, backward=True) == 3 * counted(model) - lacking


def test_gpt2_124m_needs_the_published_flops():
    """798.5 MFLOP a token of training at T = 1024, which counts every parameter but the places,
    biases and norms too, and T / 2 tokens seen; ours are matrices alone, and (T + 1) / 2."""
    config = gpt2.Config(d_model=768, n_layer=12, n_head=12, d_mlp=3072, vocab_size=50_257)
    with torch.device("meta"):
        model = LanguageModel(config, gpt2.Block)
    params = sum(p.numel() for p in model.parameters())
    vectors = sum(p.numel() for p in model.parameters() if p.ndim == 1)
    published = 6 * (params - 1024 * 768) + 3 * 12 * 2 * 1024 * 768
    assert published / 1e6 == pytest.approx(798.5, abs=0.05)
    assert 3 * model.forward_flops(1024) == published - 6 * vectors + 3 * 12 * 2 * 768


def test_a_prompt_is_scored_once():
    model = on_meta("gru")
    head = 2 * model.embed.weight.numel()
    assert model.forward_flops(64) - model.forward_flops(64, scored=1) == head - head / 64


def test_reading_one_by_one_costs_what_reading_at_once_does():
    model = on_meta("llama")
    steps = sum(model.forward_flops(1, past) for past in range(LENGTH))
    assert steps == LENGTH * model.forward_flops(LENGTH)


@pytest.mark.parametrize(
    ("config", "block", "theirs", "published"),
    [
        (
            gpt2.Config(d_model=768, n_layer=12, n_head=12, d_mlp=3072, vocab_size=50_257),
            gpt2.Block,
            ("GPT2", {}),
            124_439_808,
        ),
        (  # TinyLlama 1.1B, whose head of 32,000 x 2,048 is not tied
            llama.Config(
                d_model=2048, n_layer=22, n_head=32, n_kv_head=4, d_mlp=5632, vocab_size=32_000
            ),
            llama.Block,
            (
                "Llama",
                {
                    "vocab_size": 32_000,
                    "hidden_size": 2048,
                    "intermediate_size": 5632,
                    "num_hidden_layers": 22,
                    "num_attention_heads": 32,
                    "num_key_value_heads": 4,
                    "tie_word_embeddings": True,
                },
            ),
            1_100_048_384 - 32_000 * 2048,
        ),
        (
            mamba.Config(d_model=768, n_layer=24, d_inner=1536, vocab_size=50_280),
            mamba.Block,
            ("Mamba", {"vocab_size": 50_280, "hidden_size": 768, "num_hidden_layers": 24}),
            129_135_360,
        ),
        (
            mamba2.Config(d_model=768, n_layer=24, d_inner=1536, vocab_size=50_288),
            mamba2.Block,
            (
                "Mamba2",
                {
                    "vocab_size": 50_288,
                    "hidden_size": 768,
                    "num_hidden_layers": 24,
                    "num_heads": 24,
                    "n_groups": 1,
                    "tie_word_embeddings": True,
                },
            ),
            128_989_632,
        ),
    ],
    ids=["gpt2-124m", "tinyllama-1.1b", "mamba-130m", "mamba2-130m"],
)
def test_published_shapes_have_the_published_parameters(config, block, theirs, published):
    transformers = pytest.importorskip("transformers")
    name, given = theirs
    head = "LMHeadModel" if name == "GPT2" else "ForCausalLM"
    with torch.device("meta"):
        ours = LanguageModel(config, block)
        peer = getattr(transformers, name + head)(getattr(transformers, name + "Config")(**given))
    for model in (ours, peer):
        assert sum(p.numel() for p in model.parameters()) == published


@pytest.mark.parametrize(
    ("preset", "published"),
    [
        ("gpt1-117m", 116_534_784 + 2 * 768),  # with the last norm, which GPT-1 has not
        # without the pooler, and two segments
        ("bert-base", 109_482_240 - 768 * 769 - 2 * 768),
        ("bert-large", 335_141_888 - 1024 * 1025 - 2 * 1024),
        ("gpt2-124m", 124_439_808),
        ("gpt2-355m", 354_823_168),
        ("gpt2-774m", 774_030_080),
        ("gpt2-1.5b", 1_557_611_200),
        ("llama2-7b", 6_738_415_616 - 32_000 * 4096),  # without the head of its own
        ("llama2-13b", 13_015_864_320 - 32_000 * 5120),
        ("llama2-70b", 68_976_648_192 - 32_000 * 8192),
        *((f"gpt3-{size}", size) for size in ("125m", "350m", "760m", "1.3b", "2.7b", "6.7b")),
        *((f"gpt3-{size}", size) for size in ("13b", "175b")),
    ],
)
def test_presets_have_the_published_parameters(preset, published):
    module = {"llama2": llama, "bert": bert}.get(preset.partition("-")[0], gpt2)
    with torch.device("meta"):
        model = LanguageModel(module.SIZES[preset], module.Block)
    params = sum(p.numel() for p in model.parameters())
    if isinstance(published, int):
        assert params == published
    else:  # GPT-3's are published in three digits, of which the paper's 350m is the least exact
        assert params == pytest.approx(float(published[:-1]) * UNITS[published[-1]], rel=0.02)


def test_gpt3_needs_the_published_flops():
    """3.14e23 to train 300 billion tokens (Brown et al., table D.1), which counts no attention."""
    with torch.device("meta"):
        model = LanguageModel(gpt2.SIZES["gpt3-175b"], gpt2.Block)
        scores = sum(block.mixer_flops(2048, 0) for block in model.blocks)
    assert 3 * (model.forward_flops(2048) - scores) * 300e9 == pytest.approx(3.14e23, rel=0.01)


@pytest.mark.parametrize("arch", list(filter(archs.is_causal, archs.names())))
def test_state_is_what_the_formula_says_and_moves_as_it_says(arch):
    """Of a real prefill: rows of the cache once, the rest written, and read too if there is a past.

    A position is 8 bytes, whatever the batch.
    """
    torch.manual_seed(0)
    model = archs.build(arch, "100k", max_len=40)
    if layers(model) is None:
        pytest.skip(f"STATE does not hold {arch}")
    counts = [STATE[type(layer)](layer) for layer in layers(model)]
    kept, row = (4 * 3 * sum(numbers) for numbers in zip(*counts, strict=True))
    with torch.no_grad():
        _, states = model(torch.zeros(3, 40, dtype=torch.long), model.init_state(3, 40))
    positions = 8 * sum(leaf.dtype == torch.int64 for leaf in tree_leaves(states))
    assert machine.tensor_bytes(states) == kept + positions + 40 * row
    traffic = [
        sum(block.state_traffic(3, tokens, past) for block in model.blocks)
        for tokens, past in ((40, 0), (1, 40), (10, 30))
    ]
    assert traffic == [
        kept + positions + 40 * row,
        2 * (kept + positions) + 41 * row,
        2 * (kept + positions) + 40 * row,
    ]


def test_bytes_of_small_models_by_hand():
    sizes = {"d_model": 4, "n_layer": 1, "vocab_size": 8, "d_mlp": 2}
    # cell 48 + 48 + 24, MLP 16 + 8, three norms of 4, table 8 x 4
    recurrent, weights = LanguageModel(gru.Config(**sizes), gru.Block), 4 * 188
    assert recurrent.moved_bytes(batch=3, tokens=7, past=0) == weights + 3 * 4 * 4
    assert recurrent.moved_bytes(batch=3, tokens=1, past=5) == weights + 2 * 3 * 4 * 4
    # q, k, v 4 x 8, out 16, MLP 24, norms 12, table 32; a row is k and v of one head of 2
    attends = LanguageModel(llama.Config(**sizes, n_head=2, n_kv_head=1), llama.Block)
    weights, row = 4 * 116, 3 * 2 * 2 * 4
    assert attends.moved_bytes(batch=3, tokens=7, past=0) == weights + 7 * row + 8
    assert attends.moved_bytes(batch=3, tokens=1, past=5) == weights + 6 * row + 2 * 8
    assert attends.bfloat16().moved_bytes(3, 1, 5) == (weights + 6 * row) / 2 + 2 * 8


def test_a_token_reads_and_computes_with_its_own_experts_alone():
    """8 experts of 3 x 4 x 2 weights, 2 of them active; all others by hand as Llama's above."""
    sizes = {"d_model": 4, "n_layer": 1, "vocab_size": 8, "d_mlp": 2, "n_head": 2, "n_kv_head": 1}
    model = LanguageModel(moe.Config(**sizes, n_expert=8, n_active=2), moe.Block)
    weights = 48 + 12 + 32 + 8 * 4 + 2 * 24  # attention, norms, table, router, experts
    assert model.moved_bytes(batch=3, tokens=1, past=5) == 4 * weights + 6 * 48 + 2 * 8
    llamas = LanguageModel(llama.Config(**sizes), llama.Block).forward_flops(1, 5)
    assert model.forward_flops(1, 5) == llamas + 2 * (8 * 4 + 24)


def test_a_table_that_is_only_looked_up_does_not_move():
    short, long = (archs.build("gpt2", "100k", max_len=rows) for rows in (64, 128))
    assert short.moved_bytes(1, 1, 8) == long.moved_bytes(1, 1, 8)


def test_a_state_that_grows_otherwise_is_unknown_and_may_say_its_own():
    class Paged(Block):
        """Its cache comes in pages of 16 rows."""

        def init_state(self, batch, max_len):
            return torch.empty(batch, -(-max_len // 16) * 16, 4)

    config = gru.Config(d_model=4, n_layer=2, vocab_size=8, d_mlp=2)
    assert LanguageModel(config, Paged).moved_bytes(1, 1, 20) is None
    Paged.state_traffic = lambda self, batch, tokens, past: 1000
    assert LanguageModel(config, Paged).moved_bytes(1, 1, 20) == 4 * (8 * 4 + 4) + 2000


def test_the_harness_counts_each_phase():
    def facts(phase):
        asked = Case(phase=phase, arch="gru", size="100k", seq_len=64, batch=2, dtype="bfloat16")
        return harness.model_facts(asked)

    model = on_meta("gru")
    train, prefill, decode = map(facts, ("train", "prefill", "decode"))
    assert train["moved_bytes"] == facts("quality")["moved_bytes"] == 28 * train["params"]
    assert train["forward_flops"] == model.forward_flops(64)
    state = 2 * 2 * 64 * 2  # layers, batch, d_model, bytes
    assert prefill["moved_bytes"] == 2 * train["params"] + state
    assert prefill["forward_flops"] == model.forward_flops(64, scored=1)
    assert decode["moved_bytes"] == 2 * train["params"] + 2 * state
    assert decode["forward_flops"] == model.forward_flops(1, 64)


def test_the_last_level_cache_is_on_record():
    levels = list(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size"))
    seen = machine.fingerprint("cpu").get("cache_bytes", 0)
    assert all(seen >= 1024 * int(level.read_text()[:-2]) for level in levels)
    assert bool(seen) == bool(levels)


# 10 FLOPs and 2 bytes a second; a million bytes of cache
MACHINE = {
    "machine": {"cpu": "Imaginary 3000", "cache_bytes": 10**6},
    "ceilings": {
        "matmul-float32": {"work": 100, "samples_s": [20.0, 10.0]},
        "copy": {"work": 2, "samples_s": [1.0, 1.5]},
    },
}


def step(phase, seconds, flops=10, moved=4 * 10**6, **given):
    """Of two sequences of 4 tokens."""
    shape = {"seq_len": 4, "batch": 2, "step_s": (seconds,)}
    return record(phase, forward_flops=flops, moved_bytes=moved, **shape, **(MACHINE | given))


SHARES = ("flops_utilisation", "bandwidth_utilisation", "limit_fraction")


def shares(one):
    return [metrics.METRICS[name].of(one) for name in SHARES]


def remarks(one):
    return [of_metric(tidy([one]), name)["status"].tolist() for name in SHARES]


def test_the_larger_share_is_the_fraction_of_the_limit():
    # FLOPs a step: 10 x 2 x 4, thrice that to train, and 10 x 2 to decode
    assert shares(step("train", 8 * 10**6)) == [pytest.approx(3 * 8 / 8e6), 0.25, 0.25]
    assert shares(step("prefill", 4 * 10**6)) == [pytest.approx(8 / 4e6), 0.5, 0.5]
    assert shares(step("decode", 4 * 10**6)) == [pytest.approx(2 / 4e6), 0.5, 0.5]
    assert shares(step("prefill", 4 * 10**6, flops=4 * 10**6)) == [0.8, 0.5, 0.8]


def test_in_cache_memory_is_no_limit():
    cached = step("decode", 4.0, moved=10**6)
    assert shares(cached) == [0.5, None, 0.5]
    assert remarks(cached) == [["ok"], ["in cache"], ["in cache"]]
    tables = {title.partition(",")[0]: table for title, table in by_length(tidy([cached]))}
    assert tables["Decode throughput (tokens/s)"]["4 × 2"].tolist() == ["0.5 (50 %*)"]
    assert tables["Model FLOPs utilisation in decode"]["4 × 2"].tolist() == ["50 % (in cache)"]


@pytest.mark.parametrize(
    ("given", "known"),
    [
        ({"moved": None}, [0.5, None, None]),
        ({"machine": {}}, [0.5, None, None]),
        ({"flops": None}, [None, 0.5, None]),
        ({"ceilings": {}}, [None, None, None]),
        ({"dtype": "bfloat16"}, [None, 0.5, None]),
    ],
    ids=["no bytes", "no cache size", "no FLOPs", "no ceilings", "no ceiling of the dtype"],
)
def test_what_is_not_known_is_not_guessed(given, known):
    one = step("decode", 4 * 10**6, **({"flops": 10**7} | given))
    assert shares(one) == known
    assert remarks(one) == [["unknown" if value is None else "ok"] for value in known]


def test_a_failure_has_no_share():
    failed = replace(step("decode", 4.0), status="oom", step_s=())
    assert shares(failed) == [None] * 3 and remarks(failed) == [["oom"]] * 3
    assert list(roofline.contradictions([failed])) == []
    (_, table), *_ = by_length(tidy([failed, step("decode", 4.0, arch="lstm")]))
    assert table["4 × 2"].tolist() == ["OOM", "0.5 (contradiction)"]


@pytest.mark.parametrize(
    ("seconds", "planted", "what"),
    [
        (4 * 10**6, {"flops": 10**8}, "matmul-float32 ceiling its FLOPs take"),
        (10**6, {}, "copy ceiling its bytes take"),
    ],
    ids=["FLOPs", "bytes"],
)
def test_more_than_the_machine_can_do_is_a_sentence_and_no_number(
    tmp_path, capsys, seconds, planted, what
):
    impossible, sound = step("decode", seconds, **planted), step("train", 8 * 10**6)
    assert metrics.METRICS["limit_fraction"].of(impossible) is None
    assert list(roofline.contradictions([sound])) == []
    for one in (impossible, sound):
        one.save(tmp_path / "results")
    asked = ["build", "--results", str(tmp_path / "results"), "--out", str(tmp_path / "out")]
    assert main(asked) == 0
    page, table = ((tmp_path / "out" / name).read_text() for name in ("index.html", "table.md"))
    page = re.sub(r'"data:[^"]*"|<script.*?</script>', "", page, flags=re.DOTALL)  # words only
    for told in (page, table, capsys.readouterr().err):
        assert f"cpu-test/{impossible.case}" in told and what in told
        assert not [text for text in re.findall(r"([\d.]+) %", told) if float(text) > 100]
    assert "(contradiction)" in page and "(25 %)" in page


def test_an_unknown_share_is_no_wall():
    known, unknown = step("decode", 4 * 10**6), step("decode", 9.0, moved=None, arch="lstm")
    rows = tidy([known, unknown])
    assert length.walls(of_metric(rows, "limit_fraction")).empty
    drawing = length.draw(rows, styles(rows["arch"]), "length", "somewhere")
    shown = drawing.data[drawing.data["metric"] == "limit_fraction"]
    assert dict(zip(shown["arch"], shown["status"], strict=True)) == {
        "gru": "ok",
        "lstm": "unknown",
    }


def test_records_from_before_are_drawn_as_they_were(tmp_path):
    old = step("train", 8.0, moved=None, machine={"cpu": "Imaginary 3000"})
    path = old.save(tmp_path / "results")
    text = path.read_text()
    path.write_text(text.replace(' "moved_bytes": null,\n', ""))
    assert "moved_bytes" in text and "moved_bytes" not in path.read_text()
    asked = ["build", "--results", str(tmp_path / "results"), "--out", str(tmp_path / "out")]
    assert main(asked) == 0
    page = (tmp_path / "out" / "index.html").read_text()
    assert "in brackets" not in page and "Model FLOPs utilisation in training" in page
    drawn = pd.read_csv(tmp_path / "out" / "length.csv")
    assert set(drawn["metric"]) == {"train_throughput"}
