"""Whatever bytes lie under results/: a Record, or one sentence, at once."""

import copy
import json
import os

import msgspec
import pytest

import results
from results.bounds import LONGEST_NAME, Misfit
from results.loading import LARGEST_BYTES
from results.parsing import parse
from tests.align_records import aligned
from tests.report_records import machine, quality
from tests.test_results import RECORD

RAW = json.loads(msgspec.json.encode(RECORD))


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
        (b"[" * 100_000, "got `array`"),
        (literal(b'{"a":' * 5000), "got `object`"),
        (content(machine={"x": 12345}).replace(b"12345", b"[" * 100_000), "recursion"),
        (within("machine", deep=json.loads("[" * 20 + "]" * 20)), "machine: deep: .* too deeply"),
        (literal(b"9" * 5000), "out of range"),
        (literal(b"9" * 30), "params: 9+ is not from 1 to"),
        (literal(b"NaN"), "malformed"),
        (literal(b"-Infinity"), "malformed"),
        (content(took_s=0).replace(b'"took_s": 0', b'"took_s": 1e400'), "out of range .*took_s"),
        (content(step_s=[0]).replace(b"[0]", b"[1e400]"), "out of range .*step_s"),
        (within("machine", x=0).replace(b'"x": 0', b'"x": 1e400'), "out of range .*machine"),
        (content(label=TEN_MB), "label: 'x.*x' has 10,000,000 characters, of 255"),
        (content(status=TEN_MB), "Invalid enum value 'x.*x' .*status"),
        (content(**{TEN_MB: 1}), "unknown field `x.*x`"),
        (content(versions={TEN_MB: "1"}), "versions: 'x.*x' has 10,000,000 characters"),
        (within("case", arch="a\x1b[31m"), "case: arch: .* cannot be printed"),
        (within("case", corpus="a\nb"), "case: corpus: .* cannot be printed"),
        (content(reason="\ud800"), "surrogate"),
        (within("machine", cpu="\ud800"), "surrogate"),
        ("é".encode("latin-1"), "malformed"),
        (content().decode().encode("utf-16"), "malformed"),
        (b"\xef\xbb\xbf" + content(), "malformed"),
        (b"null", "Expected `object`, got `null`"),
        (content(step_s=[0.0]), "step_s: 0.0 is not from"),
        (content(step_s=[1.0, True]), "got `bool` .*step_s"),
        (content(step_s={"a": 1}), "Expected `array`, got `object` .*step_s"),
        (content(sentinel_s=[1e300]), "sentinel_s: 1e[+]300 is not from"),
        (content(params=1.5), "got `float` .*params"),
        (content(params=-1), "params: -1 is not from"),
        (content(versions={"torch": 2}), "got `int` .*versions"),
        (content(versions=[]), "got `array` .*versions"),
        (content(kernels={"attention": None}), "got `null` .*kernels"),
        (content(ceilings={"copy": {"work": 1}}), "missing required field `samples_s` .*ceilings"),
        (content(ceilings={"copy": {"work": 1, "samples_s": []}}), "copy has no samples_s"),
        (content(ceilings={"copy": {"work": "1", "samples_s": [1.0]}}), "got `str` .*work"),
        (within("machine", memory_bytes="much"), "memory_bytes is no count of bytes"),
        (within("case", batch=0), "case: batch: 0 is not from"),
        (within("case", short_conv=1), "got `int` .*short_conv"),
        (within("case", tokens=10), "it has tokens and no lr"),
        (within("case", phase="limits"), "limits need grows and steps_of"),
        (content(schema="1"), "got `str` .*schema"),
        (content(evaluations=[EVALUATION | {"nats": [1.0]}]), "are not of one length"),
        (content(evaluations=[EVALUATION | {"position_edges": [2, 1]}]), "they do not rise"),
    ],
    ids=range(43),
)
def test_what_is_no_record_gets_one_short_sentence(bad, why):
    with pytest.raises(Misfit, match=why) as told:
        parse(bad)
    assert len(str(told.value)) < 500 and str(told.value).isprintable()


def of_alignment(change):
    """An alignment's Record, with a part of it changed."""
    raw = json.loads(msgspec.json.encode(aligned("attentive", seeds=1)[0]))
    change(raw)
    return json.dumps(raw).encode()


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda raw: raw["lessons"].pop(), "lessons: they are not one of each"),
        (lambda raw: raw["lessons"].append(raw["lessons"][0]), "they are not one of each"),
        (lambda raw: raw["lessons"][0].update(train_nats=[]), "one has no train_nats"),
        (lambda raw: raw["lessons"][0]["answered"]["gold"].pop(), "gold is of more answers"),
        (lambda raw: raw["lessons"][0]["answered"].update(exact=None), "belong together"),
        (lambda raw: raw["lessons"][0]["answered"].update(prompts=0), "prompts: 0 is not from"),
        (lambda raw: raw["best_of"][0]["gold"].pop(), "best_of: proxy and gold are not of one"),
        (lambda raw: raw["best_of"][0].update(gold=[], proxy=[]), "are not of one length"),
        (lambda raw: raw["best_of"].append(raw["best_of"][0]), "one is there twice"),
        (lambda raw: raw["optimised"].append(raw["optimised"][0]), "one is there twice"),
        (lambda raw: raw["optimised"][0].update(reached=[]), "nothing was reached"),
        (lambda raw: raw["optimised"][0]["reached"][0].update(answers=0), "nothing was reached"),
        (lambda raw: raw["optimised"][0]["reached"][0].update(gold=None), "of some answers only"),
        (lambda raw: raw["optimised"][0]["spent"][0].update(step_s=[]), "was not timed"),
    ],
    ids=range(14),
)
def test_an_alignment_that_does_not_fit_together_gets_one_short_sentence(change, why):
    assert parse(of_alignment(lambda raw: None)).lessons
    with pytest.raises(Misfit, match=why):
        parse(of_alignment(change))


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
            assert parse(msgspec.json.encode(record)) == record


def test_a_whole_number_may_stand_for_a_fraction_and_stays_what_was_counted():
    record = parse(content(step_s=[1, 2.5]))
    assert record.step_s == (1.0, 2.5) and type(record.step_s[0]) is float
    assert type(record.ceilings["copy"]["work"]) is int


def test_of_a_name_that_is_there_twice_the_last_counts():
    assert parse(literal(b'1, "params": 2')).params == 2


def test_what_is_long_but_can_be_is_read():
    assert parse(content(reason=TEN_MB)).reason == TEN_MB
    assert parse(content(label="x" * LONGEST_NAME)).label == "x" * LONGEST_NAME


def test_every_record_that_the_tests_make_is_one():
    for record in [*machine(), quality(), RECORD]:
        assert parse(msgspec.json.encode(record)) == record


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
