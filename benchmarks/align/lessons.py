"""Pretraining, and then as many steps of instructions or, to compare with, of more pretraining.

The loop is benchmarks/training.py's. Fine-tuned or not, a model has then read as many tokens.
"""

from typing import Any

import torch
from msgspec.structs import replace

from archs import LanguageModel
from benchmarks import training
from benchmarks.align.course import Course
from benchmarks.align.instructions import to_learn
from benchmarks.align.stages import Tensors
from benchmarks.exam import recipe
from benchmarks.training import Batch
from results import Lesson
from results.alignment import Taught


def _taught(
    course: Course, model: LanguageModel, taught: Taught, steps: int, rate: float
) -> tuple[Lesson, Tensors]:
    """Trains `model` in place."""
    case = replace(course.case, lr=rate, seed=course.seed(taught))

    def draw(generator: torch.Generator) -> Batch:
        if taught == "fine-tuned":
            return to_learn(course.instructions.examples(case.batch, generator))
        return course.instructions.pretraining(case.batch, generator)

    done = training.train(model, draw, recipe(steps), case, course.device, course.check)
    seen: dict[str, Any] = {"train_nats": tuple(done.nats), "train_s": done.train_s}
    lesson = Lesson(taught=taught, **seen, answered=course.answered(model))
    return lesson, dict(model.state_dict())


def pretrained(course: Course, model: LanguageModel) -> tuple[Lesson, Tensors]:
    assert course.case.lr is not None
    return _taught(course, model, "pretrained", course.pretraining_steps, course.case.lr)


def further(course: Course, model: LanguageModel, taught: Taught) -> tuple[Lesson, Tensors]:
    """What comes behind the pretraining: "fine-tuned", or "pretrained on" beside it."""
    return _taught(course, model, taught, course.steps("fine-tuning"), course.rate("fine-tuning"))
