"""What the fields of a Record owe each other, beyond what each is by itself."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Any

from results.alignment import TAUGHT
from results.schema import Case, Codec, Evaluation, Record, Remembrance, Tally


def broken(record: Record) -> str | None:
    """The first of these rules that `record` breaks, in a clause; None: it holds all."""
    return next(_all(record), None)


def _all(record: Record) -> Iterator[str]:
    yield from _case(record.case)
    once = filter(None, [record.sliding, record.pseudo])
    for told in (*record.evaluations, *record.by_domain, *once):
        yield from _evaluation(told)
    for tally in record.tallies:
        yield from _tally(tally)
    if record.remembrance is not None:
        yield from _remembrance(record.remembrance)
    for progress in record.progress:
        if not progress.answers:
            yield "progress: it holds no answers"
    if record.params is not None and (record.embedding_params or 0) > record.params:
        yield "embedding_params: they are more than params"
    for gaps in record.gaps:
        if not gaps.gaps_right * gaps.length <= gaps.tokens_right <= gaps.gaps * gaps.length:
            yield "gaps: more are right than were filled"
    for probe in record.linear_probes:
        if probe.right > probe.asked:
            yield "linear_probes: more are right than were asked"
    if record.case.phase == "align" and record.status == "ok":
        yield from _alignment(record)
    yield from _codecs(record.codecs)
    if record.coding is not None and not record.codecs:
        yield "codecs: there are none beside coding"
    for name, ceiling in record.ceilings.items():
        if not ceiling["samples_s"]:
            yield f"ceilings: {name} has no samples_s"
    for name, fact in record.machine.items():
        if name.endswith("_bytes") and not (type(fact) is int and fact >= 0):
            yield f"machine: {name} is no count of bytes"


def _case(case: Case) -> Iterator[str]:
    if case.tokens is not None and case.lr is None:
        yield "case: it has tokens and no lr"
    if case.flops is not None and case.tokens is None:
        yield "case: it has flops and no tokens"
    if (case.task is None) != (case.load is None):
        yield "case: task and load belong together"
    if case.phase == "limits" and None in (case.grows, case.steps_of):
        yield "case: limits need grows and steps_of"
    if case.phase == "scaling" and not case.tokens:
        yield "case: scaling needs tokens"


def _evaluation(told: Evaluation) -> Iterator[str]:
    yield from _alike("an evaluation's", position_edges=told.position_edges, nats=told.nats)
    yield from _alike("an evaluation's", position_edges=told.position_edges, tokens=told.tokens)
    yield from _rising("position_edges", told.position_edges)
    if told.position_edges and told.position_edges[-1] > told.context:
        yield "position_edges: the last is beyond the context"


def _tally(told: Tally) -> Iterator[str]:
    for name in ("answers", "right", "nats"):
        yield from _alike("a tally's", edges=told.edges, **{name: getattr(told, name)})
    if told.bayes_nats:
        yield from _alike("a tally's", edges=told.edges, bayes_nats=told.bayes_nats)
    yield from _rising("edges", told.edges)
    if any(right > asked for right, asked in zip(told.right, told.answers, strict=False)):
        yield "a tally's right: more answers than were asked for"


def _remembrance(told: Remembrance) -> Iterator[str]:
    for name in ("distance", "nats"):
        yield from _alike("remembrance's", kept=told.kept, **{name: getattr(told, name)})
    if told.bayes_distance:
        yield from _alike("remembrance's", kept=told.kept, bayes_distance=told.bayes_distance)
    yield from _rising("kept", told.kept)
    if not told.kept:
        yield "kept: it is empty"


def _alignment(record: Record) -> Iterator[str]:
    if sorted(lesson.taught for lesson in record.lessons) != sorted(TAUGHT):
        yield "lessons: they are not one of each"
    if not all(lesson.train_nats for lesson in record.lessons):
        yield "lessons: one has no train_nats"
    told = [each.answered for each in record.lessons]
    told += [each.answered for each in record.optimised]
    answers = {len(answered.gold) for answered in told}
    if len(answers) > 1:
        yield "answered: gold is of more answers here than there"
    if any((answered.exact is None) == any(answers) for answered in told):
        yield "answered: exact and gold belong together"
    for choice in record.best_of:
        if not choice.proxy or len(choice.gold) not in (0, len(choice.proxy)):
            yield "best_of: proxy and gold are not of one length"
    for one in record.optimised:
        if not one.reached or not all(place.answers for place in one.reached):
            yield "optimised: nothing was reached"
        if any((place.gold is None) == any(answers) for place in one.reached):
            yield "optimised: gold is known of some answers only"
        if not all(spent.step_s for spent in one.spent):
            yield "optimised: a step was not timed"
    chosen = [(choice.pairs, choice.noise, choice.n) for choice in record.best_of]
    aims = [(one.method, one.beta) for one in record.optimised]
    if len(set(chosen)) < len(chosen) or len(set(aims)) < len(aims):
        yield "best_of or optimised: one is there twice"


def _codecs(codecs: Iterable[Codec]) -> Iterator[str]:
    coded: dict[str, set[str]] = {}
    for codec in codecs:
        coded.setdefault(codec.name, set()).add(codec.coded)
        if not codec.encode_s or not codec.decode_s:
            yield f"codecs: {codec.name} was not timed"
    if any(kinds not in ({"text"}, {"text", "training", "both"}) for kinds in coded.values()):
        yield "codecs: one coded the text alone, or the training text and both too"
    if len(set(map(len, coded.values()))) > 1:
        yield "codecs: not all coded the same"


def _alike(whose: str, **parts: Sequence[Any]) -> Iterator[str]:
    (one, first), (other, second) = parts.items()
    if len(first) != len(second):
        yield f"{whose} {one} and {other} are not of one length"


def _rising(name: str, values: Sequence[int]) -> Iterator[str]:
    if any(one >= other for one, other in pairwise(values)):
        yield f"{name}: they do not rise"
