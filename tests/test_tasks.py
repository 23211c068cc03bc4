"""The tasks against brute force that shares no code with them, and the exam that counts answers."""

import itertools
import math

import numpy as np
import pytest
import torch

import archs
import results
from benchmarks import exam, harness, quality, sweep, tasks, tiers, tuning
from benchmarks.remembrance import remembrance
from results import Case, Record, Tally
from results.schema import LEARNED
from tests.test_harness import ENV

LOADS = {"mqar": 8, "induction": 16, "needle": 4, "parity": 1, "permutations": 3, "markov": 9}


@pytest.fixture(autouse=True)
def short_exams(monkeypatch):
    monkeypatch.setattr(exam, "EXAM_TOKENS", 2**11)


@pytest.fixture(params=tasks.names())
def name(request):
    return request.param


def task(name, load=None):
    return tasks.load(name)(LOADS.get(name, 4) if load is None else load)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def due(drawn, row):
    """(place, target, what it is counted under) of each answer of a row."""
    where = drawn.asked_BT[row].nonzero()[:, 0].tolist()
    return [(t, int(drawn.targets_BT[row, t]), int(drawn.places_BT[row, t])) for t in where]


def test_a_task_is_a_pure_function_of_the_generators_state(name):
    first, again, other = (task(name).draw(40, 5, generator(s)) for s in (3, 3, 4))
    assert all(map(torch.equal, first, again))
    assert not torch.equal(first.inputs_BT, other.inputs_BT)


def test_a_task_keeps_to_its_vocabulary_and_asks_something(name):
    asked = task(name)
    drawn = asked.draw(40, 50, generator())
    assert {part.shape for part in drawn} == {(50, 40)}
    assert drawn.asked_BT.dtype == torch.bool and drawn.asked_BT.any(dim=1).all()
    for part in drawn[:2]:
        assert part.min() >= 0 and part.max() < asked.vocab_size
    places_M = drawn.places_BT[drawn.asked_BT]
    assert places_M.min() >= 1 and places_M.max() <= 40


def test_no_two_streams_meet_even_in_32_bits(name):
    """torch's CPU generator looks at no more of a seed."""
    seeds = [*range(10), *exam.STREAMS.values()]
    drawn = [task(name).draw(40, 4, generator(seed)).inputs_BT for seed in seeds]
    assert all(not torch.equal(a, b) for a, b in itertools.combinations(drawn, 2))
    assert max(exam.STREAMS.values()) < 2**32


def test_mqar_answers_are_a_dictionary_walk():
    drawn = task("mqar").draw(64, 100, generator())
    for row in range(100):
        tokens, known, answers = drawn.inputs_BT[row].tolist(), {}, []
        for t in range(0, 16, 2):
            assert 1 <= tokens[t] < 32 <= tokens[t + 1] < 64
            known[tokens[t]] = tokens[t + 1], t + 1
        for t in range(16, 64):
            if tokens[t]:
                answers.append((t, known[tokens[t]][0], t - known[tokens[t]][1]))
        assert len(known) == len({value for value, _ in known.values()}) == 8
        assert len(answers) == 8 and answers == due(drawn, row)


def test_mqar_gaps_follow_a_power_law():
    """The first query's slot: slots are weighed by (1 + i)^-0.99, and drawn without return."""
    drawn = task("mqar", 1).draw(64, 20_000, generator())
    slots = (drawn.asked_BT.long().argmax(1) - 2) // 2
    weight = np.arange(1, 32) ** -0.99
    seen = np.bincount(slots, minlength=31) / 20_000
    np.testing.assert_allclose(seen, weight / weight.sum(), atol=0.012)


def test_guessing_is_right_as_often_as_told():
    """mqar: once in V/2; selective copying: once in 16; needle: once in 10."""
    for name, kinds in [("mqar", 32), ("selective_copying", 16), ("needle", 10), ("induction", 16)]:
        drawn = task(name).draw(64, 4000, generator())
        counts = torch.bincount(drawn.targets_BT[drawn.asked_BT])
        used = counts[counts > 0].double()
        assert len(used) == kinds
        assert (used / used.sum() * kinds - 1).abs().max() < 0.2


def test_selective_copying_is_what_is_left_without_the_blanks():
    drawn = task("selective_copying").draw(40, 100, generator())
    for row in range(100):
        tokens = drawn.inputs_BT[row].tolist()
        kept = [(t, token) for t, token in enumerate(tokens[:36]) if token != 16]
        assert tokens[36:] == [17] * 4
        answers = [(36 + i, token, 36 + i - t) for i, (t, token) in enumerate(kept)]
        assert len(kept) == 4 and answers == due(drawn, row)


def test_induction_is_what_followed_the_first_sign():
    drawn = task("induction").draw(40, 200, generator())
    firsts = set()
    for row in range(200):
        tokens = drawn.inputs_BT[row].tolist()
        first = tokens.index(16)
        firsts.add(first)
        assert tokens.count(16) == 2 and tokens[39] == 16
        assert due(drawn, row) == [(39, tokens[first + 1], 39 - first - 1)]
    assert min(firsts) == 0 and max(firsts) == 37


def test_the_needle_is_the_only_number_in_the_refrain():
    drawn = task("needle").draw(60, 200, generator())
    for row in range(200):
        tokens = drawn.inputs_BT[row].tolist()
        sign, question = tokens.index(26), tokens.index(27)
        digits = tokens[sign + 1 : sign + 5]
        assert question == 56 and tokens[57:] == digits[:3]
        answers = [(56 + i, digit, 56 - sign - 1) for i, digit in enumerate(digits)]
        assert due(drawn, row) == answers
        rest = [token for t, token in enumerate(tokens[:56]) if not sign <= t <= sign + 4]
        assert all(10 <= token < 26 for token in rest)


def test_parity_is_an_odd_number_of_ones():
    drawn = task("parity").draw(33, 50, generator())
    for row in range(50):
        odd, answers = False, []
        for t, bit in enumerate(drawn.inputs_BT[row].tolist()):
            odd = odd != bool(bit)
            answers.append((t, int(odd), t + 1))
        assert answers == due(drawn, row)


@pytest.mark.parametrize("things", [2, 3, 5])
def test_permutations_compose_as_matrices_multiply(things):
    every = list(itertools.permutations(range(things)))
    # column j of the matrix of p has its one in row p(j)
    matrices = [np.eye(things, dtype=int)[:, list(p)] for p in every]
    drawn = task("permutations", things).draw(21, 20, generator())
    for row in range(20):
        product = np.eye(things, dtype=int)
        for t, token in enumerate(drawn.inputs_BT[row].tolist()):
            product = matrices[token] @ product
            told = matrices[drawn.targets_BT[row, t]]
            assert (told == product).all() and drawn.places_BT[row, t] == t + 1
    assert drawn.asked_BT.all()


def test_the_bayes_predictor_counts():
    asked = task("markov")
    drawn = asked.draw(30, 10, generator())
    told_BTV = asked.bayes(drawn.inputs_BT).exp()
    assert torch.equal(drawn.inputs_BT[:, 1:], drawn.targets_BT[:, :-1])
    for row in range(10):
        counts = {(a, b): 0 for a in range(3) for b in range(3)}
        before = None
        for t, token in enumerate(drawn.inputs_BT[row].tolist()):
            if before is not None:
                counts[before, token] += 1
            total = sum(counts[token, v] for v in range(3))
            for v in range(3):
                expected = (counts[token, v] + 0.3) / (total + 0.9)
                assert told_BTV[row, t, v].item() == pytest.approx(expected, rel=1e-12)
            before = token


def test_the_bayes_predictor_is_as_surprised_as_it_expects_to_be():
    """Only the true posterior predictive is calibrated: its mean loss is its own mean entropy."""
    asked = task("markov")
    drawn = asked.draw(60, 2000, generator())
    told_BTV = asked.bayes(drawn.inputs_BT)
    nats_B = -told_BTV.gather(-1, drawn.targets_BT[..., None])[..., 0].sum(1)
    entropy_B = -(told_BTV.exp() * told_BTV).sum(-1).sum(1)
    surprise_B = nats_B - entropy_B
    assert abs(surprise_B.mean()) < 4 * surprise_B.std() / math.sqrt(2000)
    assert nats_B.mean() / 60 < 0.9 * math.log(3)


@pytest.mark.parametrize(
    ("name", "load", "seq_len", "complaint"),
    [
        ("mqar", 8, 31, "mqar at load 8 needs 32 tokens, not 31"),
        ("needle", 5, 10, "needle at load 5 needs 11 tokens"),
        ("parity", 2, 8, "its load is 1, not 2"),
        ("markov", 10, 8, "the square of its tokens, not 10"),
        ("permutations", 7, 8, "come of 2 to 6 things, not 7"),
        ("mqa", 1, 8, "no task 'mqa'; benchmarks/tasks/ holds induction, markov, mqar"),
    ],
)
def test_what_a_task_cannot_be_is_refused(name, load, seq_len, complaint):
    with pytest.raises(ValueError, match=complaint):
        tasks.load(name)(load).draw(seq_len, 1, generator())


def case(name, **changes):
    asked = task(name)
    fields = {"arch": "gru", "size": "100k", "seq_len": 40, "batch": 4, "tokens": 40 * 4 * 6}
    fields |= {"lr": 0.01} | changes
    return Case(phase=asked.phase, task=name, load=asked.load, **fields)


class Knowing(torch.nn.Module):
    """Answers parity without fault while it has read fewer than `span` bits, else its opposite."""

    config = archs._spine.Config(d_model=2, n_layer=0)

    def __init__(self, span):
        super().__init__()
        self.span = span

    def forward(self, tokens_BT, states=None):
        odd_BT = tokens_BT.cumsum(1) % 2
        lost_T = torch.arange(1, tokens_BT.shape[1] + 1) >= self.span
        return torch.nn.functional.one_hot(odd_BT ^ lost_T, 2).double(), states

    def logits(self, x_BTD):
        return x_BTD


def test_a_tally_counts_each_answer_once_in_its_bin():
    asked = case("parity", seq_len=10)
    tally = exam.Examiner(Knowing(4), task("parity"), asked, "cpu").tally("test", 10)
    sequences = exam.EXAM_TOKENS // 10
    assert tally.edges == (1, 2, 4, 8) and tally.binned_by == "position"
    assert tally.answers == (sequences, 2 * sequences, 4 * sequences, 3 * sequences)
    assert tally.right == (sequences, 2 * sequences, 0, 0)
    sure, wrong = math.log1p(math.exp(-1)), math.log1p(math.e)
    bins = [sure, 2 * sure, 4 * wrong, 3 * wrong]
    assert tally.nats == pytest.approx([sequences * each for each in bins])
    assert tally.bayes_nats == ()


def test_remembrance_is_the_distance_to_the_prediction_from_the_whole_past():
    """Of a predictor that counts what it was given, one window and one length at a time."""

    def predict(past_BT):
        counts_BV = torch.nn.functional.one_hot(past_BT, 3).sum(1) + 1.0
        return (counts_BV / counts_BV.sum(-1, keepdim=True)).double().log()

    text_BT = torch.randint(3, (4, 8), generator=generator())
    told = remembrance(predict, text_BT)
    assert told.kept == (1, 2, 4, 7) and told.windows == 4 and told.bayes_distance == ()
    for place, kept in enumerate(told.kept):
        distance = nats = 0.0
        for *past, after in text_BT.tolist():
            share = [
                [(p.count(v) + 1) / (len(p) + 3) for v in range(3)] for p in (past, past[-kept:])
            ]
            distance += sum(abs(a - b) for a, b in zip(*share, strict=True)) / 2
            nats -= math.log(share[1][after])
        assert told.distance[place] == pytest.approx(distance, abs=1e-6)
        assert told.nats[place] == pytest.approx(nats)
    assert told.distance[-1] == 0


def test_every_task_makes_a_record_that_can_be_read_again(name, tmp_path):
    record = harness.measure(case(name), ENV, root=tmp_path)
    assert record.status == "ok" and len(record.train_nats) == 6
    assert results.read(record.save(tmp_path)) == record
    assert f"-{name}-load{record.case.load}-n960-lr0.01-" in str(record.case)
    assert record.params == record.embedding_params + 99_392
    assert record.state_bytes == 4 * 2 * 64 * 4  # a batch, layers, a float32 state of d_model 64
    valid, *tested = record.tallies
    assert (valid.split, valid.seq_len) == ("valid", 40)
    assert [t.seq_len for t in tested] == [40 * times for times in task(name).lengths]
    for tally in record.tallies:
        bins = (tally.edges, tally.answers, tally.right, tally.nats)
        assert len({len(part) for part in bins}) == 1
        assert all(r <= a for r, a in zip(tally.right, tally.answers, strict=True))
    assert [p.step for p in record.progress] == [1, 2, 3, 4, 5, 6]
    assert len({p.answers for p in record.progress}) == 1
    chained = record.case.phase == "markov"
    assert (record.remembrance is not None) == chained == bool(valid.bayes_nats)
    if chained:
        assert sum(valid.bayes_nats) < sum(valid.nats)
        assert len(record.remembrance.bayes_distance) == len(record.remembrance.kept)


def test_learned_positions_are_not_asked_past_their_table():
    record = harness.measure(case("parity", arch="gpt2"), ENV)
    assert [t.seq_len for t in record.tallies] == [40, 40]


def test_a_few_hundred_steps_teach_an_lstm_parity():
    """The loop, the loss and the count agree that something was learned: chance is one half."""
    asked = case("parity", arch="lstm", seq_len=6, batch=32, tokens=6 * 32 * 120, lr=0.02)
    record = harness.measure(asked, ENV)
    tested = record.tallies[1]
    assert sum(tested.right) / sum(tested.answers) > 0.9
    assert record.progress[-1].right > record.progress[0].right


def test_rates_are_tried_beyond_an_edge_until_the_best_is_interior():
    def tried(loss_of, rates=6):
        seen = {doubling: loss_of(doubling) for doubling in tuning.grid(rates)}
        while (doubling := tuning.beyond(seen, rates)) is not None:
            seen[doubling] = loss_of(doubling)
        return sorted(seen), tuning.best_doubling(seen)

    assert tried(abs) == ([-3, -2, -1, 0, 1, 2], 0)
    assert tried(lambda d: abs(d - 4)) == ([-3, -2, -1, 0, 1, 2, 3, 4, 5], 4)
    assert tried(lambda d: abs(d + 3)) == ([-4, -3, -2, -1, 0, 1, 2], -3)
    assert tried(lambda d: -d) == (list(range(-3, 7)), 6)  # out of reach
    assert tried(lambda d: None if d > -4 else abs(d + 5)) == (list(range(-6, 3)), -5)
    assert tried(lambda d: None) == (list(range(-7, 3)), None)
    assert tried(lambda d: abs(d - 1), rates=3) == ([-1, 0, 1, 2], 1)


class Bench:
    """A session that has measured nothing, and whose models like one rate best."""

    def __init__(self, cases, best, root):
        self.cases, self.best, self.root, self.measured = cases, best, root, []

    def start(self, cases):
        self.todo = [case for case in cases if not self.path(case).exists()]

    def path(self, case):
        return self.root / "box" / f"{case}.json"

    def finished(self, case):
        return None if case in self.todo else results.read(self.path(case))

    def measure(self, case):
        self.measured.append(case)
        nats = abs(math.log2(case.lr / self.best[case.arch]))
        tally = Tally(
            split="valid",
            seq_len=8,
            binned_by="position",
            edges=(1,),
            answers=(1,),
            right=(0,),
            nats=(nats,),
        )
        record = Record(
            case=case,
            label="box",
            status="ok",
            measured_at="",
            commit=None,
            versions={},
            machine={},
            tallies=(tally,),
        )
        record.save(self.root)
        return record

    def age_s(self):
        return float(len(self.measured))


def test_tuning_asks_the_other_seeds_at_the_best_rate_and_goes_on_where_it_stopped(tmp_path):
    cases = [case("parity", arch=arch, lr=0.01, seed=s) for s in (1, 0) for arch in ("rnn", "gru")]
    session = Bench(cases, {"rnn": 0.01, "gru": 0.08}, tmp_path)
    stopped = tuning.Tuning(session, stop_after=5)
    assert not stopped.rates() and len(session.measured) == 6
    whole = tuning.Tuning(session, stop_after=None)
    assert whole.rates() and whole.seeds()
    assert len(session.measured) == len(set(session.measured)) == 6 + 8 + 2
    assert {(c.arch, c.lr) for c in session.measured if c.seed == 1} == {
        ("rnn", 0.01),
        ("gru", 0.08),
    }
    assert sorted(whole.lines()) == ["parity gru = 0.08", "parity rnn = 0.01"]


class Options:
    """What the command line would say."""

    def __init__(self, **given):
        self.__dict__ = {flag[2:].replace("-", "_"): k.get("default") for flag, k in sweep.OPTIONS}
        self.__dict__ |= {"results": results.ROOT} | given


@pytest.mark.parametrize("tier", tiers.names())
def test_every_tier_asks_what_can_be_asked(tier):
    asked = sweep.cases(Options(tier=tier, arch=["lstm"]), "cpu", "sotu")
    by_name = {"scaling", "infill", "align"}
    assert {case.phase for case in asked} == set(LEARNED) - by_name
    assert len(set(map(str, asked))) == len(asked)
    for ask in tiers.load(tier):
        for load in ask.loads:
            tasks.load(ask.task)(load).draw(ask.seq_len, 1, generator())


def test_a_task_is_asked_by_name_and_crossed_with_the_convolution():
    asked = sweep.cases(
        Options(task=["needle"], arch=["lstm"], short_conv=["on", "off"], seed=[7]), "cpu", ""
    )
    assert [case.short_conv for case in sorted(asked, key=str)] == [True, False]
    assert {(case.phase, case.task, case.seed) for case in asked} == {("recall", "needle", 7)}
    assert {case.phase for case in sweep.cases(Options(), "cpu", "sotu")} == set(sweep.PHASES)
    with pytest.raises(ValueError, match="--task needle: tier cpu has no setting for it in state"):
        sweep.cases(Options(task=["needle"], phase=["state"]), "cpu", "")


def test_a_budget_of_flops_buys_each_architecture_its_own_tokens():
    options = Options(phase=["quality"], flops=3e10)
    asked = sweep.cases(options, "cpu", "sotu")
    assert len({case.tokens for case in asked}) > 3
    for case in asked:
        record = harness.model_facts(case)
        assert 3 * case.tokens * record["forward_flops"] == pytest.approx(3e10, rel=1e-3)
        assert "-f3e+10-" in str(case)


def test_a_task_without_rates_of_its_own_takes_those_of_text():
    assert quality.default_lr("gru", "100k", "no such task") == quality.default_lr("gru", "100k")
