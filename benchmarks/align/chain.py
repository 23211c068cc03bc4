"""Pretrain, fine-tune on instructions, learn a reward from preferences, optimise it: one Record.

Where there are neither preferences nor a rule to make some by, it ends with fine-tuning.
"""

from collections.abc import Callable
from copy import deepcopy
from functools import partial
from typing import Any, TypeVar

import torch
from torch import nn

from archs import LanguageModel
from archs._ops import noting_kernels
from benchmarks import quality
from benchmarks.align import chats, lessons, optimise, scorers
from benchmarks.align.course import Course
from benchmarks.align.instructions import Instructions, Pairs
from benchmarks.align.reward import RewardModel
from benchmarks.align.rules import Rules
from benchmarks.align.stages import Stages, Tensors
from benchmarks.corpus import Corpus
from benchmarks.phases import precision
from benchmarks.training import Checkpoint
from results import BestOf, Case, Collected, Lesson, Optimised, Scorer

Model = TypeVar("Model", bound=nn.Module)


def instructions_of(case: Case, corpus: Corpus | None) -> Instructions:
    """Raises ValueError if they cannot be had."""
    if case.instructions == "rules":
        return Rules(seq_len=case.seq_len)
    assert case.instructions is not None and corpus is not None
    return chats.load(case.instructions, case.seq_len, corpus)


def vocab_size(case: Case) -> int:
    return Rules.vocab_size if case.instructions == "rules" else chats.VOCAB_SIZE


def fresh(case: Case, instructions: Instructions, device: str) -> LanguageModel:
    model = quality.fresh(case, instructions.vocab_size, device)
    instructions.prepare(model)
    return model


def observe(
    case: Case,
    corpus: Corpus | None,
    device: str,
    check: Callable[[], None],
    checkpoint: Checkpoint | None = None,
) -> dict[str, Any]:
    """The fields of a Record. Raises Diverged, or what `check` raises."""
    instructions = instructions_of(case, corpus)
    course, stages = Course(case, instructions, device, check), Stages(checkpoint)
    model = fresh(case, instructions, device)
    kernels = kernels_of(course, model)
    told, policy = taught(course, stages, model)
    facts = {"kernels": kernels, "corpus_sha256": instructions.sha256, "lessons": told}
    if instructions.gold is None and instructions.preferences is None:
        return facts
    return facts | preferred(course, stages, policy)


def kernels_of(course: Course, model: LanguageModel) -> dict[str, str]:
    """Those of training, also where that was done by an earlier run."""
    generator = torch.Generator().manual_seed(0)
    inputs_BT, targets_BT, _ = course.instructions.pretraining(1, generator)
    with noting_kernels() as kernels, precision(course.case, course.device):
        model.nll(inputs_BT.to(course.device), targets_BT.to(course.device)).sum().backward()
    model.zero_grad()
    return kernels


def _with(model: Model, weights: Tensors) -> Model:
    """A copy that has these weights."""
    other = deepcopy(model)
    other.load_state_dict(weights)
    return other


def taught(
    course: Course, stages: Stages, model: LanguageModel
) -> tuple[tuple[Lesson, ...], LanguageModel]:
    """What was seen on the way to the fine-tuned policy, and that."""
    first, weights = stages.once("pretrained", Lesson, lambda: lessons.pretrained(course, model))
    base = _with(model, weights)
    control, _ = stages.once(
        "pretrained on",
        Lesson,
        lambda: lessons.further(course, deepcopy(base), "pretrained on"),
    )
    tuned, weights = stages.once(
        "fine-tuned",
        Lesson,
        lambda: lessons.further(course, deepcopy(base), "fine-tuned"),
    )
    return (first, control, tuned), _with(base, weights)


def preferred(course: Course, stages: Stages, policy: LanguageModel) -> dict[str, Any]:
    """Fields of a Record, from the preferences on."""
    collected, kept = stages.once(
        "preferences", Collected, lambda: scorers.preferences(course, policy)
    )
    pairs, held_out = (
        Pairs(*(kept[f"{part} {name}"].to(course.device) for name in Pairs._fields))
        for part in ("learned", "held out")
    )
    seen, models = list[Scorer](), dict[tuple[int, float], RewardModel]()
    for count, noise in scorers.asked(collected.pairs):
        some = pairs.rows(slice(count))
        scorer, weights = stages.once(
            f"reward {count} {noise}",
            Scorer,
            partial(scorers.learned, course, policy, some, held_out, noise),
        )
        seen.append(scorer)
        models[count, noise] = _with(RewardModel(policy), weights)
    best_of, _ = stages.once(
        "best of n",
        tuple[BestOf, ...],
        lambda: (scorers.best_of_n(course, policy, models), {}),
    )
    few = scorers.for_rl(collected.pairs)
    optimised = [
        stages.once(
            str(aim),
            Optimised,
            partial(
                optimise.optimised, course, aim, policy, models[few, 0.0], pairs.rows(slice(few))
            ),
        )[0]
        for aim in optimise.AIMS
    ]
    return {
        "collected": collected,
        "scorers": tuple(seen),
        "best_of": best_of,
        "optimised": tuple(optimised),
    }
