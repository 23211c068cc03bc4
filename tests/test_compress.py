"""What a model codes it decodes bit for bit, in as many bits as its losses say."""

import math
import zlib

import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from msgspec.structs import replace

import archs
import results
from benchmarks import codecs, compress, corpus, harness, sweep
from benchmarks.codecs import COMPRESSORS
from benchmarks.coder import CorruptStream, Predictor, decode, encode
from benchmarks.corpus import Corpus
from report import compression
from report.__main__ import main
from report.losses import evaluation
from report.metrics import METRICS
from report.units import show
from results import Case
from tests.claim_records import compressed
from tests.test_harness import ENV
from tests.test_tasks import Options

LANES, WINDOW = 3, 8


def model_of(arch, max_len=WINDOW):
    torch.manual_seed(0)
    return archs.build(arch, "100k", max_len=max_len)


def text_of(length, seed=0):
    """Bytes that are not all alike: some often, all of them possible."""
    generator = torch.Generator().manual_seed(seed)
    often = torch.multinomial(torch.arange(1.0, 257), LANES * length, True, generator=generator)
    return often.to(torch.uint8).view(LANES, length)


@pytest.fixture(scope="module")
def short_text():
    whole = corpus.sotu()
    return Corpus("slice", whole.sha256, whole.train[:50_000], whole.valid[:4000], whole.test)


@pytest.mark.parametrize("arch", list(filter(archs.is_causal, archs.names())))
def test_every_architecture_gives_back_what_it_was_given(arch):
    """Past two windows, so that the state is made anew twice."""
    model, text_LT = model_of(arch), text_of(2 * WINDOW + 3)
    encoded = encode(Predictor(model, LANES, WINDOW, "cpu"), text_LT)
    decoded_LT = decode(Predictor(model, LANES, WINDOW, "cpu"), encoded.stream)
    assert decoded_LT.dtype == torch.uint8 and torch.equal(decoded_LT, text_LT)


@pytest.mark.parametrize("window", [1, 5, 8])
def test_the_ideal_is_the_loss_of_a_model_called_anew_for_each_byte(window):
    """In float64, with no state at all: from the first, the whole past or its last half window."""
    model, text_LT = model_of("llama", window).double(), text_of(21)
    expected, begin, read = LANES * math.log(256), 0, 0
    for place in range(1, text_LT.shape[1]):
        read += 1
        if read > window:
            begin = place - max(1, window // 2)
            read = place - begin
        with torch.no_grad():
            x_LTD, _ = model(text_LT[:, begin:place].long())
            logits_LV = F.linear(x_LTD[:, -1], model.embed.weight)
        expected += float(F.cross_entropy(logits_LV, text_LT[:, place].long(), reduction="sum"))
    encoded = encode(Predictor(model, LANES, window, "cpu"), text_LT)
    assert encoded.ideal_nats == pytest.approx(expected, rel=1e-9)


class Biased:
    """Half of all bytes are an "a", whatever came before; the others are alike."""

    def init_state(self, lanes, window):
        return []

    def __call__(self, tokens_LT, states):
        return tokens_LT[..., None].double(), states

    def logits(self, x_LD):
        logits_LV = torch.full((len(x_LD), 256), 0.5 / 255, dtype=torch.float64)
        logits_LV[:, ord("a")] = 0.5
        return logits_LV.log()


def test_the_coder_takes_what_the_probabilities_say_and_half_a_percent_at_most():
    generator = torch.Generator().manual_seed(0)
    letters = torch.randint(256, (16, 1024), generator=generator)
    text_LT = torch.where(torch.rand(16, 1024, generator=generator) < 0.5, ord("a"), letters)
    encoded = encode(Predictor(Biased(), 16, 256, "cpu"), text_LT.to(torch.uint8))
    later = text_LT[:, 1:]  # nothing is known of each lane's first byte
    count = int((later == ord("a")).sum())
    bits = 16 * 8 + count + (later.numel() - count) * math.log2(255 / 0.5)
    assert encoded.ideal_nats / math.log(2) == pytest.approx(bits, rel=1e-12)
    assert bits <= 8 * len(encoded.stream) <= 1.005 * bits


@pytest.mark.parametrize("harm", ["flipped", "cut", "empty", "header"])
def test_a_corrupt_stream_is_refused(harm):
    model, text_LT = model_of("gru"), text_of(40)
    stream = encode(Predictor(model, LANES, WINDOW, "cpu"), text_LT).stream
    middle = len(stream) // 2
    harmed = {
        "flipped": stream[:middle] + bytes([stream[middle] ^ 1]) + stream[middle + 1 :],
        "cut": stream[:-4],
        "empty": b"",
        "header": stream[:12] + b"\xff" + stream[13:],
    }[harm]
    with pytest.raises(CorruptStream, match="changed or cut"):
        decode(Predictor(model, LANES, WINDOW, "cpu"), harmed)


def test_other_weights_and_other_lanes_are_told_apart_from_corruption():
    model, text_LT = model_of("gru"), text_of(40)
    stream = encode(Predictor(model, LANES, WINDOW, "cpu"), text_LT).stream
    with pytest.raises(CorruptStream, match="3 lanes and its predictor 2"):
        decode(Predictor(model, 2, WINDOW, "cpu"), stream)
    with torch.no_grad():
        model.embed.weight.mul_(1.01)
    with pytest.raises(CorruptStream, match="same weights"):
        decode(Predictor(model, LANES, WINDOW, "cpu"), stream)


def test_pieces_are_the_texts_own_and_do_not_overlap():
    text = torch.arange(200, dtype=torch.uint8)
    pieces_LT = compress.pieces(text, 160)
    assert pieces_LT.shape == (16, 10) and pieces_LT[0, 0] == 0 and pieces_LT[-1, -1] == 199
    assert (pieces_LT.diff(dim=1) == 1).all() and (pieces_LT[1:, 0] > pieces_LT[:-1, -1]).all()
    assert compress.pieces(text, 10**6).numel() == 192  # all, but what 16 does not divide
    with pytest.raises(ValueError, match="15 bytes is too short for 16 pieces"):
        compress.pieces(text[:15], 160)


@pytest.mark.parametrize("name", COMPRESSORS)
@pytest.mark.parametrize("text", [b"", b"a", b"\0" * 1000, b"ab" * 999, bytes(range(256)) * 9])
def test_every_compressor_gives_back_what_it_was_given(name, text):
    _, _, encode_with, decode_with = COMPRESSORS[name]
    assert decode_with(encode_with(text)) == text


def test_compressors_are_measured_on_the_text_alone_and_behind_the_training_text(short_text):
    text, training = (bytes(part[:20_000].numpy()) for part in (short_text.test, short_text.train))
    seen = {(codec.name, codec.coded): codec for codec in codecs.measured(text, training)}
    assert len(seen) == 3 * len(COMPRESSORS)
    for name in COMPRESSORS:
        alone, before, both = (seen[name, coded] for coded in ("text", "training", "both"))
        assert (alone.whole_bytes, before.whole_bytes) == (20_000, 20_000)
        assert both.whole_bytes == 40_000
        assert alone.coded_bytes < 20_000 and before.coded_bytes < both.coded_bytes
        assert len(alone.encode_s) == len(alone.decode_s) == codecs.ROUNDS
    alone = seen["gzip", "text"]
    assert abs(alone.coded_bytes - len(zlib.compress(text, 9))) <= 18  # gzip's longer header
    with pytest.raises(ValueError, match=r"lossy .* does not give back"):
        lossy = codecs.Compressor("", "1", lambda text: text, lambda stream: stream[:-1])
        codecs._coded("lossy", lossy, "text", b"abc", 1)


def test_a_record_of_compression(short_text, tmp_path):
    """Trained as for quality, to the same losses and the same held-out nats."""
    given = {"arch": "gru", "size": "100k", "seq_len": 32, "batch": 4, "tokens": 4096, "lr": 0.01}
    asked = Case(phase="compress", corpus="slice", **given)
    record = harness.measure(asked, ENV, corpus=short_text)
    quality = harness.measure(
        Case(phase="quality", corpus="slice", **given), ENV, corpus=short_text
    )
    assert record.status == "ok" and record.train_nats == quality.train_nats
    assert record.evaluations == quality.evaluations
    coding, bits_per_byte = record.coding, 8 * record.coding.coded_bytes / 2**15
    assert coding.text_bytes == compress.LANES * compress.PIECE_BYTES == 2**15
    ideal = coding.ideal_nats / math.log(2) / coding.text_bytes
    assert ideal <= bits_per_byte <= 1.005 * ideal
    # half a window at least is behind each byte, so it is no dearer than in disjoint windows
    test = evaluation(record, "test", 32)
    assert ideal == pytest.approx(sum(test.nats) / sum(test.tokens) / math.log(2), rel=0.15)
    assert record.training_bytes == 50_000 and len(record.codecs) == 3 * len(COMPRESSORS)
    (both, *_) = (codec for codec in record.codecs if codec.coded == "both")
    assert both.whole_bytes == 2**15 + 4096
    record.save(tmp_path)
    assert results.read(record.path(tmp_path)) == record


def test_it_is_asked_by_name_or_by_tier_and_only_of_bytes():
    def phases(**given):
        return {case.phase for case in sweep.cases(Options(**given), "cpu", "sotu")}

    assert "compress" not in phases()
    assert phases(phase=["compress"]) == {"compress"} and "compress" in phases(tier="cpu")
    cases = sweep.cases(Options(phase=["compress"]), "cpu", "sotu")
    assert len({case.arch for case in cases}) == len(cases) >= 3
    trained = sweep.cases(Options(phase=["quality"]), "cpu", "sotu")
    same = {(case.arch, case.tokens, case.lr, case.batch, case.seq_len) for case in trained}
    assert {(c.arch, c.tokens, c.lr, c.batch, c.seq_len) for c in cases} <= same
    with pytest.raises(ValueError, match="codes bytes, not bpe:512"):
        sweep.check(Options(phase=["compress"], tokenizer="bpe:512"))


def test_rates_are_arithmetic_on_what_was_counted():
    (run,) = compressed("elman", 2.0, seeds=1, scatter=0.0)
    run = replace(run, params=4096, train_nats=(3.0, 1.0), training_bytes=4000)
    run = replace(run, case=replace(run.case, seq_len=99, batch=8, tokens=2 * 8 * 99))
    value = {name: metric.of(run) for name, metric in METRICS.items()}
    assert value["compression_rate"] == pytest.approx(2.0)
    assert value["adjusted_rate_16"] == pytest.approx(2.0 + 8 * 2 * 4096 / 2**15)
    assert value["adjusted_rate_32"] == pytest.approx(2.0 + 8 * 4 * 4096 / 2**15)
    assert value["encode_speed"] == 2**14 and value["decode_speed"] == 2**15 / 2.5
    assert value["coder_overhead"] == pytest.approx(0.001)
    # sixteen windows, a byte of each unseen, the others at 3 nats and then at 1
    bits = 16 * 8 + 8 * 99 * (3.0 + 1.0) / math.log(2)
    assert value["prequential_rate"] == pytest.approx(bits / (16 * 100))
    assert METRICS["prequential_rate"].of(replace(run, training_bytes=1599)) is None
    assert compression.codec_rates(run, compression.ALONE) == {"swift": 2.5, "thorough": 2.0}
    assert compression.codec_rates(run, compression.WARMED) == {"swift": 2.0, "thorough": 1.5}
    assert METRICS["compression_rate"].of(replace(run, status="timeout")) is None


def test_the_table_says_who_knows_what_and_from_what_length_a_model_pays():
    runs = [*compressed("elman", 1.75, scatter=0.0), *compressed("gated", 2.25, scatter=0.0)]
    table = compression.table(runs).set_index(["compressor", "knows"])
    assert list(table.index) == [
        ("thorough", "training text"),
        ("elman", "its weights"),
        *sorted([("swift", "training text"), ("thorough", "nothing")]),
        ("gated", "its weights"),
        ("swift", "nothing"),
    ]
    pays = table["beats all that know nothing from"]
    assert pays["gated", "its weights"] == "never" and pays["swift", "nothing"] == "–"
    # 0.25 bits a byte fewer than the best, for 16 bits of each parameter
    assert pays["elman", "its weights"] == show(16 * 1_050_000 / 0.25, "bytes")


def test_the_report_draws_models_and_compressors(tmp_path):
    for run in compressed("elman", 1.75):
        run.save(tmp_path / "results")
    out = tmp_path / "out"
    assert main(["build", "--results", str(tmp_path / "results"), "--out", str(out)]) == 0
    drawn = pd.read_csv(out / "compression.csv")
    assert sorted(drawn["compressor"]) == ["elman", "swift", "swift", "thorough", "thorough"]
    assert (out / "compression.png").exists()
    assert "Compression of held-out text" in (out / "table.md").read_text()
    assert "1.4 %" in (out / "index.html").read_text()
