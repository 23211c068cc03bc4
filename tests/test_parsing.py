"""Whatever bytes lie under results/: a Record, or one sentence, at once."""

import copy
import json
import os
from dataclasses import asdict

import pytest

import results
from results.loading import LARGEST_BYTES
from results.parsing import LONGEST_NAME, Misfit, parse
from tests.report_records import machine, quality
from tests.test_results import RECORD

RAW = json.loads(json.dumps(asdict(RECORD)))


def content(**changes):
    return json.dumps(RAW | changes).encode()


def within(name, **changes):
    """With a part of it changed."""
    return content(**{name: RAW[name] | changes})


LITERAL = content(params=12345)  # for what json.dumps would not write
TEN_MB = "x" * 10_000_000
EVALUATION = RAW["evaluations"][0]


def literal(text):
    return LITERAL.replace(b"12345", text)


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (b"[" * 100_000, "too deeply"),
        (literal(b'{"a":' * 5000), "too deeply"),
        (within("machine", deep=json.loads("[" * 20 + "]" * 20)), "machine: deep: .* too deeply"),
        (literal(b"9" * 5000), "digits"),
        (literal(b"9" * 30), "params: 9+ is not from 1 to"),
        (literal(b"NaN"), "NaN is no number"),
        (literal(b"-Infinity"), "-Infinity is no number"),
        (literal(b'1, "params": 1'), "'params' is there twice"),
        (within("case").replace(b'"gru"', b'"gru", "arch": "gru"'), "'arch' is there twice"),
        (content(took_s=0).replace(b'"took_s": 0', b'"took_s": 1e400'), "took_s: inf is not from"),
        (content(step_s=[0]).replace(b"[0]", b"[1e400]"), "step_s: inf is not from"),
        (within("machine", x=0).replace(b'"x": 0', b'"x": 1e400'), "machine: x: inf is not from"),
        (content(label=TEN_MB), "label: 'x.*x' has 10,000,000 characters, of 255"),
        (content(status=TEN_MB), "status: 'x.*x' is none of 'ok'"),
        (content(**{TEN_MB: 1}), "unknown field 'x.*x'"),
        (content(versions={TEN_MB: "1"}), "versions: 'x.*x' has 10,000,000 characters"),
        (within("case", arch="a\x1b[31m"), "case: arch: .* cannot be printed"),
        (within("case", corpus="a\nb"), "case: corpus: .* cannot be printed"),
        (content(reason="\ud800"), "reason: .* holds half a character"),
        (within("machine", cpu="\ud800"), "machine: cpu: .* holds half a character"),
        ("é".encode("latin-1"), "utf-8"),
        (content().decode().encode("utf-16"), "utf-8"),
        (b"\xef\xbb\xbf" + content(), "BOM"),
        (b"null", "None is not an object"),
        (content(step_s=[0.0]), "step_s: 0.0 is not from"),
        (content(step_s=[1.0, True]), "step_s: True is not float"),
        (content(step_s={"a": 1}), "step_s: .* is not a list"),
        (content(sentinel_s=[1e300]), "sentinel_s: 1e[+]300 is not from"),
        (content(params=1.5), "params: 1.5 is not int"),
        (content(params=-1), "params: -1 is not from"),
        (content(versions={"torch": 2}), "versions: torch: 2 is not str"),
        (content(versions=[]), r"versions: \[\] is not an object"),
        (content(kernels={"attention": None}), "kernels: attention: None is not str"),
        (content(ceilings={"copy": {"work": 1}}), "ceilings: copy: .*'samples_s'"),
        (content(ceilings={"copy": {"work": 1, "samples_s": []}}), "copy has no samples_s"),
        (content(ceilings={"copy": {"work": "1", "samples_s": [1.0]}}), "work: '1' is not int"),
        (within("machine", memory_bytes="much"), "memory_bytes is no count of bytes"),
        (within("case", batch=0), "case: batch: 0 is not from"),
        (within("case", short_conv=1), "case: short_conv: 1 is not bool"),
        (within("case", tokens=10), "it has tokens and no lr"),
        (within("case", phase="limits"), "limits need grows and steps_of"),
        (content(schema="1"), "schema: '1' is not int"),
        (content(evaluations=[EVALUATION | {"nats": [1.0]}]), "are not of one length"),
        (content(evaluations=[EVALUATION | {"position_edges": [2, 1]}]), "they do not rise"),
    ],
    ids=range(44),
)
def test_what_is_no_record_gets_one_short_sentence(bad, why):
    with pytest.raises(Misfit, match=why) as told:
        parse(bad)
    assert len(str(told.value)) < 500 and str(told.value).isprintable()


FIELDS = [(name,) for name in RAW] + [("case", name) for name in RAW["case"]]


VALUES = (None, True, -1, 10**30, 1.5, "\0", "x" * 300, [], [None], [[]], {}, {"a": {}})


@pytest.mark.parametrize("field", FIELDS, ids=".".join)
def test_a_value_of_another_type_is_refused_by_its_fields_name(field):
    for value in VALUES:
        raw = copy.deepcopy(RAW)
        (raw["case"] if field[0] == "case" and len(field) > 1 else raw)[field[-1]] = value
        try:
            record = parse(json.dumps(raw).encode())
        except Misfit as error:
            assert field[-1] in str(error)
        else:  # some fields may be this
            assert parse(json.dumps(asdict(record)).encode()) == record


def test_a_whole_number_may_stand_for_a_fraction_and_stays_what_was_counted():
    record = parse(content(step_s=[1, 2.5]))
    assert record.step_s == (1.0, 2.5) and type(record.step_s[0]) is float
    assert type(record.ceilings["copy"]["work"]) is int


def test_what_is_long_but_can_be_is_read():
    assert parse(content(reason=TEN_MB)).reason == TEN_MB
    assert parse(content(label="x" * LONGEST_NAME)).label == "x" * LONGEST_NAME


def test_every_record_that_the_tests_make_is_one():
    for record in [*machine(), quality(), RECORD]:
        assert parse(json.dumps(asdict(record)).encode()) == record


def test_every_record_here_is_one():
    loaded = results.load()
    assert loaded.unreadable == [] and loaded.records


NO_FILE = {
    "pipe": os.mkfifo,
    "folder": os.mkdir,
    "loop": lambda path: os.symlink(path, path),
    "device": lambda path: os.symlink("/dev/zero", path),
    "nothing": lambda path: os.symlink("/nowhere", path),
    "terminal": lambda path: os.symlink("/dev/tty", path),
    "endless": lambda path: os.truncate(os.open(path, os.O_CREAT | os.O_RDWR), LARGEST_BYTES + 1),
}


@pytest.mark.parametrize("kind", NO_FILE)
def test_what_is_no_ordinary_file_is_told_at_once_and_costs_only_itself(tmp_path, kind):
    RECORD.save(tmp_path)
    path = tmp_path / "box" / "other.json"
    NO_FILE[kind](path)
    loaded = results.load(root=tmp_path)
    assert loaded.records == [RECORD]
    (sentence,) = loaded.unreadable
    assert sentence.startswith(f"{path} is not a readable Record (")


def test_a_link_to_a_record_is_one(tmp_path):
    path = RECORD.save(tmp_path / "elsewhere")
    (tmp_path / "results" / "box").mkdir(parents=True)
    (tmp_path / "results" / "box" / path.name).symlink_to(path)
    assert results.load(root=tmp_path / "results").records == [RECORD]
