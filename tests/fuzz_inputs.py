"""What tests/fuzz.py asks: real Records and files, spoilt, and command lines of absurd words.

Each is a pure function of a random generator.
"""

import json
from copy import deepcopy
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import results
from results import Record
from tests.report_records import machine

FEW = 3  # of each list of a Record is kept, so that a million are read in minutes
RAW = "\0raw"  # stands where a value is put that json.dumps would not write
VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 2, 3, 2**31, 2**63 - 1, 2**63, -(2**63), 10**30, 10**400),
    *(0.0, -0.0, 0.5, -1.5, 1e-320, 1e-15, 1e15, 1e39, 1e308, -1e308),
    *("", " ", "ok", "oom", "train", "peer-train", "quality", "a", "../../x", "/etc/passwd", "-x"),
    *("\0", "\n", "\x1b[31m", "\ud800", "\u202e", "é", "=1+1", "<script>", "|", "x" * 300),
    *([], {}, [[]], [None], [1], [0.0], ["x"], [1, 2, 3], [1e308] * 3, {"a": 1}, {"": {}}),
)
RAWS = (
    *("NaN", "Infinity", "-Infinity", "1e400", "-1e400", "9" * 5000, "-" * 3, "01", "0x10"),
    *("[" * 2000, "[" * 30 + "]" * 30, '{"a":' * 20 + "1" + "}" * 20, '{"a": 1, "a": 2}'),
    *('"\\ud800"', '"\\u0000"', '"', "'x'", "", "//", "nul", "\ufeff", '"' + "x" * 10_000 + '"'),
)
BYTES = (b"\0", b"\xff", b"\xfe\xff", b"\n", b'"', b"{", b"}", b"[", b"]", b",", b":", b"\\", b"e9")


def _thin(value: Any) -> Any:
    if isinstance(value, list):
        return [_thin(item) for item in value[:FEW]]
    if isinstance(value, dict):
        return {name: _thin(item) for name, item in value.items()}
    return value


@cache
def records() -> tuple[str, ...]:
    """Of each phase that was measured here the first Records, thin, as JSON."""
    found: dict[str, list[Path]] = {}
    for path in sorted(results.ROOT.glob("*/*.json")):
        found.setdefault(path.name.partition("-")[0], []).append(path)
    assert found
    paths = [path for some in found.values() for path in some[:FEW]]
    return tuple(json.dumps(_thin(json.loads(path.read_bytes()))) for path in paths)


@cache
def companions(phase: str) -> list[Record]:
    """What a report holds beside a Record of that phase."""
    from results.parsing import parse

    real = [parse(text.encode()) for text in records()]
    alike = [each for each in real if each.case.phase == phase]
    return [*machine(("gru",), label=alike[0].label if alike else "box"), *alike]


@cache
def benchmark_file() -> str:
    stats = {"median": 0.5, "data": [0.4, 0.5, 0.6]}
    one = {"group": None, "fullname": "test_a.py::test_it", "stats": stats}
    about = {"version": "5.1.0", "machine_info": {"cpu": {"count": 2}}, "commit_info": {"id": "a"}}
    return json.dumps(about | {"benchmarks": [one, one | {"fullname": "b", "group": "g"}]})


def fields(random: Random) -> bytes:
    """A Record some of whose values are others', or none there can be."""
    raw = json.loads(random.choice(records()))
    raws: list[str] = []
    for _ in range(random.choice((1, 1, 1, 2, 3))):
        _spoil(raw, random, raws)
    text = json.dumps(raw)
    for instead in raws:
        text = text.replace(json.dumps(RAW), instead, 1)
    return text.encode("utf-8", "surrogatepass")


def _spoil(raw: Any, random: Random, raws: list[str]) -> None:
    inside, key = raw, random.choice(list(raw))
    while isinstance(inside[key], dict | list) and inside[key] and random.random() < 0.8:
        inside = inside[key]
        key = (
            random.choice(list(inside))
            if isinstance(inside, dict)
            else random.randrange(len(inside))
        )
    what = random.random()
    if what < 0.1:
        del inside[key]
    elif what < 0.2 and isinstance(inside, dict):
        inside[random.choice(("x", "", "\n", "seq_len", "label", "a" * 300))] = inside[key]
    elif what < 0.25 and isinstance(inside, list):
        inside += inside * random.choice((1, 2, 50))
    elif what < 0.35:
        inside[key] = RAW
        raws.append(random.choice(RAWS))
    elif what < 0.5 and type(inside[key]) in (int, float) and abs(inside[key]) < 1e300:
        inside[key] *= random.choice((-1, 0, 2, 1e-9, 1e9, 1e30))
    else:
        inside[key] = deepcopy(random.choice(VALUES))


ODD: tuple[Any, ...] = (
    *(0, 1, 2, 7, 2**40, 2**62, 0.0, 1e-15, 0.5, 1e15, 1e30, -3.5, None, [], {}),
    *("", "x", "train", "ok", "oom", "<b>&|`", "=1+1", "../../x", "x" * 255),
)


def odd(random: Random) -> bytes:
    """A Record that may be one, but of nothing that was measured."""
    raw = json.loads(random.choice(records()))
    for _ in range(random.choice((1, 2, 4, 8))):
        inside: Any = raw
        key: Any = random.choice(list(raw))
        while isinstance(inside[key], dict | list) and inside[key]:
            inside = inside[key]
            whole = range(len(inside)) if isinstance(inside, list) else list(inside)
            key = random.choice(whole)
        alike = [odd for odd in ODD if type(odd) is type(inside[key])]
        inside[key] = deepcopy(random.choice(alike or ODD))
    return json.dumps(raw).encode()


def raw_bytes(random: Random, text: str | None = None) -> bytes:
    """A file with bytes lost, doubled, changed, or another's."""
    content = bytearray((text or random.choice(records())).encode())
    for _ in range(random.choice((1, 1, 2, 4))):
        at = random.randrange(len(content) + 1)
        end = min(len(content), at + random.choice((1, 1, 2, 8, 64, 1000)))
        what = random.randrange(7)
        if what == 0:
            del content[at:]
        elif what == 1:
            del content[at:end]
        elif what == 2:
            content[at:at] = content[at:end]
        elif what == 3:
            content[at:end] = random.choice(BYTES)
        elif what == 4:
            content[at:at] = random.randbytes(end - at)
        elif what == 5:
            content[at:at] = random.choice(RAWS).encode()
        else:
            other = random.choice(records()).encode()
            start = random.randrange(len(other))
            content[at:end] = other[start : start + end - at]
    return bytes(content)


FLAGS = {
    "benchmarks": (
        *("--arch", "--size", "--phase", "--seq-len", "--batch", "--dtype", "--mode", "--kernel"),
        *("--seed", "--tokens", "--flops", "--lr", "--tier", "--task", "--load", "--short-conv"),
        *("--corpus", "--tokenizer", "--memory-gib", "--ranks", "--shard", "--device", "--label"),
        *("--results", "--jobs", "--timeout", "--sizes", "--fresh", "--stop-after", "--help"),
    ),
    "report": ("--fail-on", "--markdown", "--profile", "--column", "--help"),
}
COMMANDS = {
    "benchmarks": (*["list"] * 12, "check", "doctor", "tune", "peers", "pack", "gpu-list", "", "x"),
    "report": ("compare", "compare", "peers", "build", "figures", "", "--", "x"),
}
WORDS = {
    "benchmarks": (
        *(
            "gru",
            "llama",
            "lstm",
            "gru,llama",
            "hybrid:",
            "hybrid:zz",
            "GRU",
            "gru:x",
            "nowhere.py",
        ),
        *("100k", "train", "prefill", "decode", "quality", "limits", "recall", "state", "markov"),
        *("compress", "eager", "compile", "graph", "float32", "bfloat16", "auto", "plain", "sdpa"),
        *("cpu", "gpu", "paper", "cuda", "mqar", "parity", "on", "off", "bytes", "bpe:1024"),
        *("bpe:1", "ddp", "fsdp", "context", "1", "2", "16", "256", "4096", "0.5", "1e9", "0.001"),
        *("sotu", "train,decode", "64,256", "0,1,2", "./no/x"),
    ),
    "report": (
        *("a", "b", "a+b", "b+a", "a.json", "tokens_per_s<0.95", "ops>1.1", "single", "double"),
    ),
}
ABSURD = (
    *("", " ", ",", ",,", "-", "--", "-1", "0", "1e400", "nan", "inf", "-inf", "1e-320", "1_000"),
    *("9" * 400, "9" * 5000, "x" * 300, "x" * 5000, "/" * 300, "../../x", "/etc/passwd", ".", ".."),
    *(
        "/dev/null/x",
        "\n",
        "\x1b[31m",
        "\udcff",
        "\u202e",
        "é",
        "٣",
        "con",
        "LPT1.txt",
        "a/b",
    ),
    *("=1+1", "@x", "@/etc/passwd", "$(id)", "`id`", "%s", "{0}", "*", "?", "[a]", "--label=../x"),
)


def command_line(random: Random, command: str) -> list[str]:
    """Flags of `command` with words that suit them, suit others, or suit nothing."""
    known = "report" if command == "report" else "benchmarks"
    flags, words = FLAGS[known], WORDS[known]
    line = [] if command == "pytest" else [random.choice(COMMANDS[known])]
    for _ in range(random.randrange(7)):
        word = _word(random, words)
        if random.random() < 0.7:
            flag = random.choice(flags)
            line += [f"{flag}={word}"] if random.random() < 0.3 else [flag, word]
        else:
            line.append(word)
    return line


def _word(random: Random, words: tuple[str, ...]) -> str:
    if random.random() < 0.6:
        return random.choice(words)
    if random.random() < 0.7:
        return random.choice(ABSURD)
    return "".join(random.choice((*words, *ABSURD, ",", ":")) for _ in range(2))[:10_000]


def condition(random: Random) -> str:
    """What --fail-on may be given."""
    quantity = random.choice(("tokens_per_s", "perplexity", "ops", "speed", "", " state "))
    side = random.choice(("<", ">", "=", "<<", "", " < "))
    threshold = random.choice(("0.95", "1", "0", "-1", ".5", "1.", "1e5", *ABSURD))
    return "".join((quantity, side, threshold))
