"""Checkpoints of transformers wrapped as architectures, held to transformers and to brute force."""

import argparse
import itertools
import json
import shutil

import pytest
import torch
import torch.nn.functional as F
from torch.utils._pytree import tree_leaves, tree_map

import archs
from benchmarks import corpus, harness, laws, outside, pretrained, sweep
from benchmarks.corpus import Corpus
from benchmarks.data.vocabulary import of_bytes
from benchmarks.load_hf import load_hf
from report.table import tidy
from results import Case
from tests.test_commands import TINY, bench, records
from tests.test_harness import ENV, stopwatch
from tests.test_own import command, forgotten  # noqa: F401

transformers = pytest.importorskip("transformers")
tokenizers = pytest.importorskip("tokenizers")

VOCABULARY, PLACES = 300, 64
SMALL = {"vocab_size": VOCABULARY, "hidden_size": 32, "num_hidden_layers": 2}
ATTENDS = {"num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 64}
CONFIGS = {
    "gpt2": lambda: transformers.GPT2Config(
        vocab_size=VOCABULARY, n_positions=PLACES, n_embd=32, n_layer=2, n_head=4
    ),
    "llama": lambda: transformers.LlamaConfig(**SMALL, **ATTENDS),
    "mamba": lambda: transformers.MambaConfig(**SMALL, state_size=8),
    "rwkv": lambda: transformers.RwkvConfig(**SMALL, attention_hidden_size=32),
    # Mamba and attention in turn, and mixtures of experts
    "jamba": lambda: transformers.JambaConfig(
        **SMALL | {"num_hidden_layers": 4},
        **ATTENDS,
        attn_layer_period=2,
        attn_layer_offset=1,
        num_experts=2,
        mamba_d_state=8,
    ),
}
KINDS = list(CONFIGS)


def save(config, folder, text):
    """Random weights, larger than fresh ones, and a byte-level BPE of `text`."""
    torch.manual_seed(0)
    transformers.utils.logging.disable_progress_bar()
    model = transformers.AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim > 1 and "A_log" not in name:
                parameter.add_(torch.randn_like(parameter) * 0.05)
    model.save_pretrained(folder)
    bpe = tokenizers.Tokenizer(tokenizers.models.BPE())
    bpe.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = tokenizers.decoders.ByteLevel()
    alphabet = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=VOCABULARY, initial_alphabet=alphabet, show_progress=False
    )
    bpe.train_from_iterator([text], trainer)
    bpe.save(str(folder / "tokenizer.json"))


@pytest.fixture(scope="module")
def text():
    """A slice of the default corpus, as a corpus, of which no part is cut within a character."""
    whole = corpus.sotu()
    return Corpus("slice", whole.sha256, whole.train[:500], whole.valid[:1500], whole.test[:1500])


@pytest.fixture(scope="module")
def folders(tmp_path_factory, text):
    """Where each kind is saved."""
    root = tmp_path_factory.mktemp("checkpoints")
    for kind, config in CONFIGS.items():
        save(config(), root / f"tiny-{kind}", bytes(text.test.numpy()).decode())
    return {kind: root / f"tiny-{kind}" for kind in CONFIGS}


@pytest.fixture(params=KINDS)
def kind(request):
    return request.param


def named(folder):
    """The architecture's name, and that of its size."""
    arch = outside.named(f"hf:{folder}")
    (size,) = archs.load(arch).SIZES
    return arch, size


def theirs(folder):
    whole = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    return whole.eval()


def some_tokens(batch=1, length=40):
    return torch.randint(VOCABULARY, (batch, length), generator=torch.Generator().manual_seed(1))


def test_a_name_says_what_it_is_and_changes_with_the_weights(folders, tmp_path):
    arch, size = named(folders["llama"])
    assert arch.startswith("hf.tiny-llama.") and size == "38k"
    assert named(folders["llama"]) == (arch, size)
    copied = tmp_path / "tiny-llama"
    shutil.copytree(folders["llama"], copied)
    assert named(copied) == (arch, size)
    with torch.no_grad():
        changed = theirs(copied)
        changed.lm_head.weight[0, 0] += 1
        changed.save_pretrained(copied)
    assert named(copied)[0] != arch


@torch.no_grad()
def test_logits_and_loss_are_the_models_own(folders, kind):
    model, whole = archs.build(*named(folders[kind])), theirs(folders[kind])
    tokens_BT = some_tokens(2)
    x_BTD, states = model(tokens_BT)
    assert states == [None]
    expected = whole(tokens_BT, use_cache=False).logits
    torch.testing.assert_close(model.logits(x_BTD), expected, rtol=0, atol=1e-5)
    torch.testing.assert_close(model.logits(x_BTD[:, -1:]), expected[:, -1:], rtol=0, atol=1e-5)
    nll_BT = F.cross_entropy(
        expected[:, :-1].flatten(0, 1), tokens_BT[:, 1:].flatten(), reduction="none"
    )
    seen = model.nll(tokens_BT[:, :-1], tokens_BT[:, 1:])
    torch.testing.assert_close(seen.flatten(), nll_BT, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("cuts", [[40], [1] * 40, [20, 7, 1, 1, 11]], ids=str)
@torch.no_grad()
def test_a_state_stands_for_the_past(folders, kind, cuts):
    model, tokens_BT = archs.build(*named(folders[kind])), some_tokens()
    expected = theirs(folders[kind])(tokens_BT, use_cache=False).logits
    states, parts = model.init_state(1, 40), []
    for piece_BT in tokens_BT.split(cuts, dim=1):
        # a copy stands for it as well, whatever becomes of the one copied
        spent, states = states, tree_map(torch.clone, states)
        for leaf in tree_leaves(spent):
            leaf.fill_(0)
        x_BTD, states = model(piece_BT, states)
        parts.append(model.logits(x_BTD))
    torch.testing.assert_close(torch.cat(parts, dim=1), expected, rtol=1e-4, atol=1e-4)


def test_a_state_is_as_large_as_the_cache(folders):
    """Keys and values of 2 layers, 2 heads of 8; Mamba's 64 x 8 numbers and 64 x 4 inputs."""
    sizes = {}
    for kind in ("llama", "mamba"):
        model = archs.build(*named(folders[kind]))
        for length in (8, 16):
            with torch.inference_mode():
                _, states = model(some_tokens(2, length), model.init_state(2, length))
            sizes[kind, length] = harness.machine.tensor_bytes(states)
    assert sizes["llama", 8] == 2 * 8 * 2 * 2 * 2 * 8 * 4
    assert sizes["llama", 16] == 2 * sizes["llama", 8]
    assert sizes["mamba", 8] == sizes["mamba", 16] == 2 * 2 * (64 * 8 + 64 * 4) * 4


def test_its_laws_hold_and_can_be_asked(folders):
    for kind in ("gpt2", "jamba"):
        subject = laws.subject(named(folders[kind])[0])
        assert not subject.is_fresh
        for law in laws.OF_CHECKPOINTS:
            law(subject)


def case(folder, phase, **changes):
    arch, size = named(folder)
    fields = {"seq_len": 16, "batch": 2} | changes
    if phase == "quality":
        config = archs.load(arch).SIZES[size]
        fields |= {"corpus": "slice", "tokenizer": config.tokenizer}
    return Case(phase=phase, arch=arch, size=size, **fields)


@pytest.mark.parametrize("phase", ["train", "prefill", "decode"])
def test_its_costs_are_measured(folders, kind, phase, monkeypatch):
    monkeypatch.setattr(harness, "max_len", lambda case: PLACES)
    monkeypatch.setattr("benchmarks.phases.DECODE_ROOM", 16)
    record = harness.measure(case(folders[kind], phase, batch=1), ENV, stopwatch=stopwatch)
    assert record.status == "ok" and record.step_s == (1.0, 2.0)
    assert record.params == sum(p.numel() for p in theirs(folders[kind]).parameters())
    assert record.peak_bytes > record.param_bytes
    assert (record.state_bytes is None) == (phase == "train")
    assert record.forward_flops is record.moved_bytes is None or phase == "train"
    assert record.versions["transformers"] == transformers.__version__


def by_hand(whole, ids, starts, context):
    """Nats of each target at each position of the windows that begin there."""
    windows = torch.stack([ids[start : start + context + 1] for start in starts])
    with torch.no_grad():
        logits = whole(windows[:, :-1], use_cache=False).logits
    return -logits.double().log_softmax(-1).gather(2, windows[:, 1:, None])[..., 0]


def test_quality_is_what_brute_force_says(folders, text, kind):
    folder = folders[kind]
    asked = case(folder, "quality", seq_len=8, batch=4)
    assert asked.tokens is asked.lr is None and asked.tokenizer.startswith("hf.")
    in_tokens = corpus.tokenized(text, asked.tokenizer)
    record = harness.measure(asked, ENV, corpus=in_tokens)
    assert record.status == "ok" and record.train_s is None and record.train_nats == ()

    written = bytes(text.test.numpy()).decode()
    encoded = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json")).encode(written)
    ids, ends = torch.tensor(encoded.ids), [end for _, end in encoded.offsets]
    assert len(written.encode()) == len(written)  # ASCII, where characters are bytes
    whole = theirs(folder)

    seen = {told.context: told for told in record.evaluations if told.split == "test"}
    assert set(seen) == {2, 4, 8, 16, 32, 64}
    for context, told in seen.items():
        targets = sum(told.tokens)
        nats = by_hand(whole, ids, range(0, targets, context), context).sum(0)
        edges = [edge - 1 for edge in told.position_edges] + [context]
        bins = [float(nats[a:b].sum()) for a, b in itertools.pairwise(edges)]
        assert told.nats == pytest.approx(bins, rel=1e-4)
        assert told.target_bytes == ends[targets] - ends[0]
    # windows that overlap by half: of each what the one before did not reach, if not the first half
    total = by_hand(whole, ids, range(0, targets - 4, 4), 8)[:, 4:].sum()
    assert record.sliding.stride == 4 and sum(record.sliding.tokens) == targets - 4
    assert sum(record.sliding.nats) == pytest.approx(float(total), rel=1e-4)
    assert record.remembrance.windows == 128
    assert set(tidy([record])["lr"]) == {""}


def test_a_text_that_its_tokens_do_not_spell_is_refused(folders, tmp_path):
    folder = tmp_path / "shouting"
    shutil.copytree(folders["gpt2"], folder)
    bpe = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    bpe.normalizer = tokenizers.normalizers.Replace(" ", "")
    bpe.save(str(folder / "tokenizer.json"))
    named(folder)
    tokenizer = archs.load(named(folder)[0]).SIZES["37k"].tokenizer
    with pytest.raises(ValueError, match=r"changes the text: its tokens spell -1 bytes of 3"):
        corpus.tokenized(Corpus("x", "", *[of_bytes(b"a b")] * 3), tokenizer)


@pytest.mark.parametrize(
    ("written", "lengths"),
    [("héllo", [1, 1, 1, 1, 1, 1]), ("ab<|end|>", [1, 1, 7])],
)
def test_bytes_of_byte_level_tokens(tmp_path, written, lengths):
    alphabet = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    bpe = tokenizers.Tokenizer(tokenizers.models.BPE())
    bpe.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=257, initial_alphabet=alphabet, special_tokens=["<|end|>"], show_progress=False
    )
    bpe.train_from_iterator([""], trainer)
    bpe.save(str(tmp_path / "tokenizer.json"))
    tokenizer, encode = pretrained.spelling.load(tmp_path)
    assert tokenizer.token_bytes[encode(written.encode()).long()].tolist() == lengths


def test_bytes_of_tokens_with_marked_spaces(tmp_path):
    """As Llama 2's: a space is ▁, one more stands before the text, odd characters are bytes."""
    words = ["<unk>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁", "a", "b", "▁a"]
    vocabulary = {word: place for place, word in enumerate(words)}
    bpe = tokenizers.Tokenizer(
        tokenizers.models.BPE(vocabulary, [("▁", "a")], unk_token="<unk>", byte_fallback=True)
    )
    bpe.pre_tokenizer = tokenizers.pre_tokenizers.Metaspace(prepend_scheme="first")
    bpe.decoder = tokenizers.decoders.Metaspace()
    bpe.save(str(tmp_path / "tokenizer.json"))
    tokenizer, encode = pretrained.spelling.load(tmp_path)
    ids = encode("ab aé".encode())
    assert [words[place] for place in ids] == ["▁a", "b", "▁a", "<0xC3>", "<0xA9>"]
    assert tokenizer.token_bytes[ids.long()].tolist() == [2, 1, 2, 1, 1]


def test_what_cannot_be_wrapped_gets_one_sentence(folders, tmp_path):
    def refused(**files):
        folder = tmp_path / f"refused-{len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        for name, content in files.items():
            (folder / name.replace("__", ".")).write_text(content)
        with pytest.raises(ValueError) as caught:
            outside.named(f"hf:{folder}")
        return str(caught.value)

    assert "is no checkpoint: it holds no config.json" in refused()
    pickled = refused(config__json="{}", pytorch_model__bin="")
    assert "holds pytorch_model.bin and no safetensors, which alone are read" in pickled
    strange = json.dumps({"model_type": "nobodys", "auto_map": {"AutoModelForCausalLM": "m.M"}})
    unknown = refused(config__json=strange, model__safetensors="", m__py="raise SystemExit")
    assert "transformers cannot load" in unknown and "as a causal language model" in unknown
    bert = json.dumps({"model_type": "vit"})
    assert "transformers cannot load" in refused(config__json=bert, model__safetensors="")


def test_missing_weights_are_not_drawn_at_random(folders, tmp_path):
    folder = tmp_path / "half"
    shutil.copytree(folders["llama"], folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 3}))
    with pytest.raises(ValueError, match=r"lacks weights of its model: model\.layers\.2\."):
        archs.build(*named(folder))


@pytest.mark.parametrize(
    ("config", "complaint"),
    [
        (
            lambda: transformers.RecurrentGemmaConfig(
                **SMALL | {"num_hidden_layers": 3},
                num_attention_heads=4,
                intermediate_size=64,
                lru_width=32,
            ),
            "transformers' RecurrentGemmaForCausalLM keeps its state to itself",
        ),
        (CONFIGS["rwkv"], "goes on with one sequence at a time; use --batch 1"),
    ],
)
def test_models_that_cannot_go_on_say_so(tmp_path, config, complaint):
    save(config(), tmp_path / "odd", "a text")
    model = archs.build(*named(tmp_path / "odd"))
    tokens_BT = some_tokens(2, 4)
    with torch.no_grad(), pytest.raises(ValueError, match=complaint):
        _, states = model(tokens_BT, model.init_state(2, 5))
        model(tokens_BT[:, :1], states)


def test_places_beyond_a_learned_table_are_refused(folders):
    model = archs.build(*named(folders["gpt2"]), max_len=2 * PLACES)
    assert model.config.max_len == PLACES
    with torch.no_grad():
        _, states = model(some_tokens(1, PLACES), model.init_state(1, PLACES))
        for given in (None, states):
            with pytest.raises(ValueError, match="has places for 64 tokens and was given 65"):
                model(some_tokens(1, PLACES + 1 if given is None else 1), given)


CLOSE = {"rtol": 1e-4, "atol": 1e-4}
OURS = {
    "gpt2": CONFIGS["gpt2"],
    "llama": lambda: transformers.LlamaConfig(
        **SMALL, **ATTENDS, rms_norm_eps=1e-5, tie_word_embeddings=True
    ),
    "mamba": CONFIGS["mamba"],
    "mamba2": lambda: transformers.Mamba2Config(
        **SMALL, state_size=8, num_heads=4, head_dim=16, n_groups=1, tie_word_embeddings=True
    ),
}


@pytest.mark.parametrize("arch", list(OURS))
@torch.no_grad()
def test_weights_move_into_our_own_architecture(tmp_path, arch):
    save(OURS[arch](), tmp_path, "a text")
    ours, whole, tokens_BT = load_hf(str(tmp_path)), theirs(tmp_path), some_tokens(2)
    expected = whole(tokens_BT, use_cache=False).logits
    torch.testing.assert_close(ours.logits(ours(tokens_BT)[0]), expected, **CLOSE)
    states, parts = ours.init_state(2, 40), []
    for piece_BT in tokens_BT.split([30, 1, 1, 8], dim=1):
        x_BTD, states = ours(piece_BT, states)
        parts.append(ours.logits(x_BTD))
    torch.testing.assert_close(torch.cat(parts, dim=1), expected, **CLOSE)
    assert sum(p.numel() for p in ours.parameters()) == sum(p.numel() for p in whole.parameters())


@pytest.mark.parametrize(
    ("config", "complaint"),
    [
        (CONFIGS["rwkv"], "is a rwkv; ours with such checkpoints are gpt2, llama, mamba, mamba2"),
        (CONFIGS["llama"], "has a head of its own; ours is tied to the embedding"),
        (
            lambda: transformers.LlamaConfig(
                **SMALL,
                **ATTENDS,
                tie_word_embeddings=True,
                rope_parameters={"rope_type": "default", "rope_theta": 5e5},
            ),
            "is not computed as our llama is: its logits are off by",
        ),
        (
            lambda: transformers.Mamba2Config(
                **SMALL,
                state_size=8,
                num_heads=4,
                head_dim=16,
                n_groups=2,
                tie_word_embeddings=True,
            ),
            "does not fit into",
        ),
    ],
)
def test_weights_of_another_model_are_refused(tmp_path, config, complaint):
    save(config(), tmp_path, "a text")
    with pytest.raises(ValueError, match=complaint):
        load_hf(str(tmp_path))


def test_one_is_listed_as_it_is_and_swept(folders, tmp_path, capsys):
    llama, gpt2 = (f"hf:{folders[kind]}" for kind in ("llama", "gpt2"))
    place = ["--results", tmp_path / "results"]
    _, listed = command(capsys, "list", "--arch", f"{llama},{gpt2}", "--device", "cpu", *place)
    assert "-38k-T256-B4-float32-sotu-hf." in listed  # no tokens, no rate
    assert "T64-B64" in listed and "tiny-gpt2" in listed
    assert not any("gpt2" in line and "T256" in line for line in listed.splitlines())
    (tmp_path / "text").write_bytes(bytes(corpus.sotu().train[:40_000].numpy()))
    asked = ["--arch", llama, "--phase", "decode,quality", *TINY, "--seq-len", "16"]
    swept = bench(*asked, "--corpus", tmp_path / "text", *place)
    assert swept.returncode == 0, swept.stdout + swept.stderr
    quality, decode = sorted(records(tmp_path / "results"), key=lambda record: len(record.step_s))
    assert quality.status == decode.status == "ok" and len(quality.evaluations) > 4


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--phase", "compress"], "--phase compress: hf.tiny-gpt2."),
        (["--tier", "cpu", "--phase", "quality"], "--tier cpu: hf.tiny-gpt2."),
        (["--short-conv", "on"], "is what it was trained to be"),
        (["--mode", "compile"], "runs eagerly, as its cache grows; use eager"),
        (["--seq-len", "16,65"], r"--seq-len 65: hf.tiny-gpt2.\w+ has places for 64 tokens"),
        (["--size", "100k"], "there is no '100k'; there are 37k"),
    ],
)
def test_what_takes_fresh_weights_is_refused(folders, tmp_path, options, complaint):
    parser = argparse.ArgumentParser()
    for flag, keywords in sweep.OPTIONS:
        parser.add_argument(flag, **keywords)
    asked = parser.parse_args(["--arch", f"hf:{folders['gpt2']}", *options])
    asked.results = tmp_path
    with pytest.raises(ValueError, match=complaint):
        sweep.check(asked)
