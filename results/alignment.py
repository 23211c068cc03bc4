"""What is observed when a model is taught to follow instructions, then to be liked: parts of a
Record of phase align, in the order of the steps."""

import typing
from typing import Literal

from results.data import Data

# pretrained; pretrained for as long again as fine-tuning takes; fine-tuned on instructions
Taught = Literal["pretrained", "pretrained on", "fine-tuned"]
TAUGHT: tuple[Taught, ...] = typing.get_args(Taught)
Method = Literal["dpo", "rloo"]
Work = Literal["generate", "update"]


class Answered(Data, frozen=True, kw_only=True):
    """What a policy makes of the held-out prompts, the same for all architectures and seeds."""

    prompts: int
    answer_tokens: int  # of the reference answers, the tokens that end them included
    nats: float  # sum of the reference answers' negative log-likelihood
    # where a rule says what is right: likeliest answers, token by token, that are right throughout
    exact: int | None = None
    gold: tuple[float, ...] = ()  # gold reward of an answer drawn to each prompt


class Lesson(Data, frozen=True, kw_only=True):
    """A policy after a step of its teaching."""

    taught: Taught
    train_nats: tuple[float, ...]  # mean loss of each optimizer step
    train_s: float
    answered: Answered


class Collected(Data, frozen=True, kw_only=True):
    """Preferences to learn from, and those held out."""

    pairs: int
    held_out: int
    drawn: int | None  # pairs of answers that it took, most of the rest being ties; None: given


class Scorer(Data, frozen=True, kw_only=True):
    """A reward model, learned from preferences. Its reward has mean 0 and standard deviation 1
    over the fine-tuned policy's answers."""

    pairs: int
    noise: float  # share of the pairs whose label was turned over
    train_nats: tuple[float, ...]
    asked: int  # held-out pairs, none turned over
    right: int  # of them, the better answer gets the greater reward


class BestOf(Data, frozen=True, kw_only=True):
    """Of n answers of the fine-tuned policy the one that a reward model likes best.

    A mean is over all ways to take n of the `samples` drawn to a prompt, one for each prompt.
    """

    pairs: int  # of the reward model
    noise: float
    n: int
    samples: int
    proxy: tuple[float, ...]  # mean reward
    gold: tuple[float, ...]  # mean gold reward; empty: nobody knows


class Reached(Data, frozen=True, kw_only=True):
    """Where a policy is after so many steps: sums over `answers` drawn to held-out prompts."""

    step: int
    answers: int
    kl_nats: float  # from the fine-tuned policy
    proxy: float
    gold: float | None


class Spent(Data, frozen=True, kw_only=True):
    """What a step costs: tokens drawn, or scored and learned from."""

    work: Work
    tokens: int  # a step
    step_s: tuple[float, ...]
    peak_bytes: int
    peak_method: str


class Optimised(Data, frozen=True, kw_only=True):
    """The fine-tuned policy, moved towards what is preferred."""

    method: Method
    beta: float  # dpo: its temperature; rloo: of the KL penalty, in units of the reward
    pairs: int  # dpo: learned from; rloo: its reward model's
    reached: tuple[Reached, ...]
    spent: tuple[Spent, ...]
    answered: Answered
