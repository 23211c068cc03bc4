"""What the measurements say about each sentence of the story: supported, refuted, or not decided.

A claim is a row of CLAIMS: a sentence, a rule whose thresholds were fixed before anything was run,
and a function from evidence to a judgement. All intervals are at two sigma. A verdict is about the
machine and the size it was measured at; nothing here is about large models.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import pandas as pd

from report import inert
from report.claims import align, compression, cost, infill, quality, scaling, tasks
from report.claims.evidence import SEEDS, Evidence, Judgement, Verdict
from report.scaling import TIMES as LARGER

TITLE = "What the measurements say"
SHOWN: dict[Verdict, str] = {
    "supported": "supported",
    "refuted": "refuted",
    "not decided": "not decided at this budget",
}
_SEEDS = ",".join(map(str, range(SEEDS)))
_LENGTHS = "64,128,256,512,1024,2048,4096,8192"


@dataclass(frozen=True, kw_only=True)
class Claim:
    name: str
    sentence: str
    rule: str  # what supports and what refutes it
    command: str  # that would measure it
    judge: Callable[[Evidence], Judgement]
    on_gpu_only: bool = False


@dataclass(frozen=True, kw_only=True)
class Finding:
    claim: Claim
    label: str
    tier: str
    judgement: Judgement
    files: list[str]  # the Records behind it, under results/

    @property
    def verdict(self) -> str:
        return SHOWN[self.judgement.verdict]


CLAIMS = (
    Claim(
        name="recurrent state",
        sentence="A recurrent model's memory does not grow with what it has read.",
        rule=(
            f"State bytes over length, log against log: slope within ±{cost.FLAT.high} supports, "
            "outside refutes. Recurrent is what ran no attention."
        ),
        command="pytest benchmarks --phase prefill",
        judge=cost.recurrent_state,
    ),
    Claim(
        name="recurrent time",
        sentence="A recurrent model's next token takes the same time at any context.",
        rule=(
            f"Time per generated token over context: slope within ±{cost.FLAT.high} supports, "
            "outside refutes."
        ),
        command=f"pytest benchmarks --phase decode --seq-len {_LENGTHS}",
        judge=cost.recurrent_time,
    ),
    Claim(
        name="early words fade",
        sentence="In an RNN early words fade.",
        rule=(
            "Markov chains of the greatest load: an RNN's loss beyond Bayes rises by more than "
            f"{tasks.FADES.low} nats a doubling of position, and faster than the best "
            "transformer's: supports; a slower rise refutes."
        ),
        command=f"pytest benchmarks --phase markov --seed {_SEEDS}",
        judge=tasks.early_words_fade,
    ),
    Claim(
        name="shorter memory",
        sentence="An RNN uses less of the text behind it than attention does.",
        rule=(
            "Context beyond which more of it moves the next token's prediction by less than "
            f"{tasks.NEAR} in total variation: {2**tasks.SHORTER.low:.0f} times shorter than the "
            "best transformer's supports, less than that refutes."
        ),
        command=f"pytest benchmarks --phase quality --seed {_SEEDS}",
        judge=tasks.memory_is_shorter,
    ),
    Claim(
        name="recall needs state",
        sentence="An RNN cannot recall as many pairs as a transformer.",
        rule=(
            f"At the greatest load a transformer solves ({tasks.SOLVED:.0%}): an RNN below "
            f"{tasks.FAILED:.0%} after {tasks.PATIENCE} times the steps supports; "
            f"{tasks.KNOWN:.0%} with at most {tasks.SMALL_STATE:.0%} of the state refutes."
        ),
        command=f"pytest benchmarks --phase recall --task {tasks.RECALL_TASK} --seed {_SEEDS}",
        judge=tasks.recall_needs_state,
    ),
    Claim(
        name="state tracking",
        sentence="A nonlinear recurrence tracks a state that attention and scans lose.",
        rule=(
            f"At the longest length asked: an RNN right in {tasks.KNOWN:.0%} and every transformer "
            f"and scan below {tasks.FAILED:.0%} supports; one of those at {tasks.KNOWN:.0%}, or "
            f"every RNN below {tasks.FAILED:.0%}, refutes."
        ),
        command=f"pytest benchmarks --phase state --seed {_SEEDS}",
        judge=tasks.nonlinear_state_tracks,
    ),
    Claim(
        name="attention state",
        sentence="A transformer's memory grows with its context.",
        rule=(
            "State bytes over the longer half of the lengths: slope of at least "
            f"{cost.PROPORTIONAL.low} supports, at most {cost.FLAT.high} refutes."
        ),
        command="pytest benchmarks --phase prefill",
        judge=cost.attention_state,
    ),
    Claim(
        name="attention time",
        sentence="A transformer's next token takes longer the longer its context.",
        rule=(
            "Time per generated token over the longer half of the contexts: slope of at least "
            f"{cost.PROPORTIONAL.low} supports, at most {cost.FLAT.high} refutes."
        ),
        command=f"pytest benchmarks --phase decode --seq-len {_LENGTHS}",
        judge=cost.attention_time,
    ),
    Claim(
        name="parallel training",
        sentence="Attention and scans train in parallel over a text, a nonlinear RNN step by step.",
        rule=(
            "Training tokens/s over the shorter half of the lengths, at the same tokens a step: "
            f"slope above {cost.PARALLEL.low} for attention and scans and below it for RNNs "
            "supports. On a GPU only: a CPU's few lanes hide it."
        ),
        command="pytest benchmarks --device cuda --phase train",
        judge=cost.parallel_training,
        on_gpu_only=True,
    ),
    Claim(
        name="quality is paid",
        sentence="Transformers buy quality with cost.",
        rule=(
            "The best transformer and the best nonlinear RNN by validation: lower test loss and a "
            "dearer token or state supports; higher test loss, or nothing dearer, refutes."
        ),
        command=f"pytest benchmarks --phase quality,decode,prefill --seed {_SEEDS}",
        judge=quality.quality_is_paid,
    ),
    Claim(
        name="on the frontier",
        sentence="Mamba and hybrids lie on the frontier of quality and cost.",
        rule=(
            "In each panel of the frontier figure, one of them on at least 95 % of the redrawn "
            "frontiers supports; in some panel on at most 5 % refutes."
        ),
        command=f"pytest benchmarks --phase quality,train,prefill,decode --seed {_SEEDS}",
        judge=quality.on_the_frontier,
    ),
    Claim(
        name="compression",
        sentence="A language model compresses text better than general-purpose compressors.",
        rule=(
            "On each text, with the greatest budget: held-out bits a byte of the best model by "
            "validation, its weights not counted, less those of the best compressor that has read "
            "as much training text: below 0 supports, above refutes."
        ),
        command=f"pytest benchmarks --phase compress --seed {_SEEDS}",
        judge=compression.compresses_better,
    ),
    Claim(
        name="size follows a law",
        sentence="Larger models that read more text are better, by a law that foretells how much.",
        rule=(
            "A law of size and text fitted to all budgets but the greatest: both take loss away, "
            f"and the greatest's losses foretold within {scaling.PREDICTED:.0%} in the mean "
            f"support; more than {scaling.MISSED:.0%} off refutes."
        ),
        command="pytest benchmarks --phase scaling",
        judge=scaling.size_follows_a_law,
    ),
    Claim(
        name="size beyond the text",
        sentence="A model larger than its text is no better.",
        rule=(
            "Little text read many times, each training stopped at its least validation loss: the "
            f"last {LARGER} times of size take less than {scaling.NO_HELP.high:.0%} of the loss "
            f"away: supports; more than {scaling.HELP.low:.0%}: refutes."
        ),
        command=f"pytest benchmarks --phase scaling --seed {_SEEDS}",
        judge=scaling.size_beyond_the_text_is_lost,
    ),
    Claim(
        name="both sides fill",
        sentence="An encoder that sees both sides of a gap fills it better than the same trunk "
        "reading one way.",
        rule=(
            "Trained on the same windows: the share of tokens right in held-out gaps of every "
            "length, at every masked share, less that of the trunk reading one way, seed by seed: "
            "above 0 supports, one below 0 refutes."
        ),
        command="pytest benchmarks --phase infill",
        judge=infill.both_sides_fill_better,
    ),
    Claim(
        name="both sides say more",
        sentence="An encoder that sees both sides says more of where a text is from, to a linear "
        "reader, than the same trunk reading one way.",
        rule=(
            "A linear reader of frozen states tells which of equal sections of the text a block "
            "is from: its share right at every masked share, less that of the trunk reading one "
            "way, seed by seed: above 0 supports, one below 0 refutes."
        ),
        command="pytest benchmarks --phase infill",
        judge=infill.both_sides_say_more,
    ),
    Claim(
        name="fine-tuning lifts",
        sentence="Fine-tuning on instructions makes a model follow them.",
        rule=(
            f"Answers to held-out instructions that are right throughout: {align.LIFTS.low} times "
            "as many as after as much more pretraining, for every architecture, supports; "
            f"less than {align.NO_LIFT.high} times refutes."
        ),
        command=f"pytest benchmarks --phase align --seed {_SEEDS}",
        judge=align.fine_tuning_lifts,
    ),
    Claim(
        name="attention learns preferences",
        sentence="Attention learns what is preferred from fewer examples than recurrence.",
        rule=(
            f"Reward models of {align.PAIRS:,} preferences: the best transformer's ranks more held-"
            "out pairs as gold does than every recurrent model's: supports; fewer than one: "
            "refutes."
        ),
        command=f"pytest benchmarks --phase align --seed {_SEEDS}",
        judge=align.attention_learns_preferences,
    ),
    Claim(
        name="too much is lost",
        sentence="A learned reward that is optimised too far stops being what was meant.",
        rule=(
            f"Best of n by the reward model of {align.PAIRS:,} preferences: gold rises and then "
            "falls while the learned reward rises to the last n, for every architecture: supports; "
            "gold still rising there refutes."
        ),
        command=f"pytest benchmarks --phase align --seed {_SEEDS}",
        judge=align.too_much_is_lost,
    ),
    Claim(
        name="reinforcement helps",
        sentence="Reinforcement learning from preferences makes a model better than fine-tuning.",
        rule=(
            "Gold reward of held-out answers after RLOO with the greatest KL penalty tried, less "
            "the fine-tuned policy's: above 0 for every architecture supports, below for one "
            "refutes."
        ),
        command=f"pytest benchmarks --phase align --seed {_SEEDS}",
        judge=align.reinforcement_helps,
    ),
)


def _judge(claim: Claim, evidence: Evidence) -> Judgement:
    judged = claim.judge(evidence)
    if claim.on_gpu_only and not evidence.on_gpu and judged.verdict != "not decided":
        return Judgement(verdict="not decided", measured=judged.measured, records=judged.records)
    return judged


def findings(every: Sequence[Evidence]) -> list[Finding]:
    """One for each claim and label: of the largest size that was measured for it."""
    labels = dict.fromkeys(evidence.records[0].label for evidence in every)
    return [
        _finding(claim, [one for one in every if one.records[0].label == label])
        for label in labels
        for claim in CLAIMS
    ]


def _finding(claim: Claim, sizes: Iterable[Evidence]) -> Finding:
    largest = sorted(sizes, key=_params, reverse=True)
    judged = [(evidence, _judge(claim, evidence)) for evidence in largest]
    measured = [pair for pair in judged if pair[1].records]
    evidence, judgement = (measured or judged)[0]
    return Finding(
        claim=claim,
        label=evidence.records[0].label,
        tier=evidence.tier,
        judgement=judgement,
        files=sorted({f"{r.label}/{r.case}.json" for r in judgement.records}),
    )


def _params(evidence: Evidence) -> int:
    return max((record.params or 0 for record in evidence.records), default=0)


def table(found: Iterable[Finding]) -> pd.DataFrame:
    """A row for each claim and label, everything in words."""
    return pd.DataFrame(
        [
            {
                "label": one.label,
                "claim": one.claim.sentence,
                "verdict": one.verdict,
                "tier": one.tier,
                "measured": "; ".join(one.judgement.measured),
                "rule": one.claim.rule,
                "measured by": one.claim.command,
                "records": " ".join(one.files),
            }
            for one in found
        ]
    )


def markdown(found: Sequence[Finding]) -> str:
    """One part for each label, one heading for each claim."""
    lines = [f"# {TITLE}", "", INTRODUCTION]
    for label in dict.fromkeys(one.label for one in found):
        lines += ["", f"## {inert.markdown(label)}"]
        for one in (one for one in found if one.label == label):
            lines += ["", f"### {one.claim.sentence}", ""]
            lines += [f"**{one.verdict}** ({inert.markdown(one.tier)})", ""]
            lines += [f"- {inert.markdown(sentence)}" for sentence in one.judgement.measured]
            lines += ["", f"Rule: {one.claim.rule}", "", f"Measured by `{one.claim.command}`"]
            lines[-1] += f", {len(one.files)} Records." if one.files else "."
    return "\n".join(lines) + "\n"


INTRODUCTION = (
    "Each sentence of the story under a rule fixed beforehand. Brackets are intervals at two "
    "sigma; what they leave open is not decided. A verdict is about this machine and this size, "
    "and says nothing of large models."
)

__all__ = ["CLAIMS", "Claim", "Evidence", "Finding", "findings", "markdown", "table"]
