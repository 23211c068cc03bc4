"""Needle in a haystack: a number in an endless refrain, asked for at the end.

    a b c d a b ! 4 1 7 c d a b c … ? 4 1        asked from the question mark on: 4 1 7

The refrain is the same everywhere, so that length alone makes it hard. Load: digits. Learned at one
length and asked at up to sixteen times that.

Mohtashami & Jaggi, Landmark Attention, section 4.2 (passkey)  https://arxiv.org/abs/2305.16300
"""

from typing import ClassVar, Literal

import torch

from benchmarks import tasks
from benchmarks.tasks import Sequences
from results.schema import Learned

DIGITS, REFRAIN = 10, 16
SIGN, QUESTION = DIGITS + REFRAIN, DIGITS + REFRAIN + 1


class Task(tasks.Task):
    phase: ClassVar[Learned] = "recall"
    binned_by: ClassVar[Literal["distance", "position"]] = "distance"
    lengths: ClassVar[tuple[int, ...]] = (1, 2, 4, 8, 16)

    @property
    def vocab_size(self) -> int:
        return QUESTION + 1

    def draw(self, seq_len: int, batch: int, generator: torch.Generator) -> Sequences:
        tasks.needs_length(self, seq_len, 2 * self.load + 1)
        question = seq_len - self.load  # its place; the digits but the last follow it
        digits_BP = torch.randint(DIGITS, (batch, self.load), generator=generator)
        sign_B1 = torch.randint(question - self.load, (batch, 1), generator=generator)
        digit_BP = sign_B1 + 1 + torch.arange(self.load)

        refrain_T = DIGITS + torch.arange(seq_len) % REFRAIN
        inputs_BT = refrain_T.repeat(batch, 1)
        inputs_BT.scatter_(1, sign_B1, SIGN).scatter_(1, digit_BP, digits_BP)
        inputs_BT[:, question] = QUESTION
        inputs_BT[:, question + 1 :] = digits_BP[:, :-1]
        targets_BT, places_BT = torch.zeros_like(inputs_BT), torch.zeros_like(inputs_BT)
        targets_BT[:, question:] = digits_BP
        places_BT[:, question:] = torch.arange(question, seq_len) - digit_BP
        asked_BT = torch.zeros_like(inputs_BT, dtype=torch.bool)
        asked_BT[:, question:] = True
        return Sequences(inputs_BT, targets_BT, asked_BT, places_BT)
