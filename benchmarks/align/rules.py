"""Instructions with a known gold rule: do to a row of letters what the first token says.

    reverse  d a c b :  →  b c a d END

In pretraining that first token says nothing: which of the rules is followed is drawn apart from it,
so a pretrained model can do all of them and knows of none when. Fine-tuning makes the token mean
its rule. Gold reward: the share of letters that are right in their place, less PENALTY for each
letter too many or too few.
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from archs import LanguageModel
from benchmarks.align.instructions import ANSWERS, END, Asked, Pairs, to_learn
from benchmarks.exam import spread_embeddings
from benchmarks.training import Batch

COLON, OP, LETTERS = 1, 2, 10
RULES = ("copy", "reverse", "sort")
LETTER = OP + len(RULES)  # the first
PENALTY = 0.2
HELD_OUT_SEED = 2_000_000_011


def followed(rule_B: Tensor, letters_BS: Tensor) -> Tensor:
    """What each row becomes by its rule."""
    done_RBS = torch.stack([letters_BS, letters_BS.flip(1), letters_BS.sort(1).values])
    return done_RBS[rule_B, torch.arange(len(rule_B), device=rule_B.device)]


@dataclass(frozen=True, kw_only=True)
class Rules:
    """Of sequences of `seq_len` tokens: S letters, an op and a colon, and as much room to answer.

    Held out are the rows whose letters add up to a multiple of LETTERS. Raises ValueError where
    `seq_len` is odd or leaves no two letters.
    """

    seq_len: int
    vocab_size: int = LETTER + LETTERS
    sha256: None = None
    preferences: tuple[Pairs, Pairs] | None = None
    held_out: Asked = field(init=False)

    def __post_init__(self) -> None:
        if self.seq_len % 2 or self.seq_len < 8:
            raise ValueError(
                f"--seq-len {self.seq_len}: rules need an even number, 8 or more: twice as many "
                "letters, an op, a colon and room to answer"
            )
        generator = torch.Generator().manual_seed(HELD_OUT_SEED)
        object.__setattr__(self, "held_out", self._draw(ANSWERS, generator, held_out=True))

    @property
    def letters(self) -> int:
        return self.seq_len // 2 - 2

    @property
    def room(self) -> int:
        return self.letters + 2

    def prepare(self, model: LanguageModel) -> None:
        """A spread of 1/√d_model for embeddings, as for every task with few tokens."""
        spread_embeddings(model)

    def _draw(self, batch: int, generator: torch.Generator, held_out: bool = False) -> Asked:
        rule_B = torch.randint(len(RULES), (batch,), generator=generator)
        free_BS = torch.randint(LETTERS, (batch, self.letters - 1), generator=generator)
        rest_B = torch.randint(1, LETTERS, (batch,), generator=generator) * (not held_out)
        last_B = (rest_B - free_BS.sum(1)) % LETTERS
        letters_BS = torch.cat([free_BS, last_B[:, None]], dim=1)
        return Asked(self._prompt(rule_B, letters_BS), self._answer(rule_B, letters_BS))

    def _prompt(self, op_B: Tensor, letters_BS: Tensor) -> Tensor:
        colon_B1 = torch.full_like(op_B[:, None], COLON)
        return torch.cat([OP + op_B[:, None], LETTER + letters_BS, colon_B1], dim=1)

    def _answer(self, rule_B: Tensor, letters_BS: Tensor) -> Tensor:
        end_B2 = torch.full_like(letters_BS[:, :2], END)
        return torch.cat([LETTER + followed(rule_B, letters_BS), end_B2], dim=1)

    def pretraining(self, batch: int, generator: torch.Generator) -> Batch:
        prompts_BP, answers_BR = self.examples(batch, generator)
        prompts_BP[:, 0] = OP + torch.randint(len(RULES), (batch,), generator=generator)
        return to_learn(Asked(prompts_BP, answers_BR))

    def examples(self, batch: int, generator: torch.Generator) -> Asked:
        return self._draw(batch, generator)

    def gold(self, prompts_BP: Tensor, answers_BR: Tensor) -> Tensor:
        rule_B, letters_BS = prompts_BP[:, 0] - OP, prompts_BP[:, 1:-1]
        right_BS = answers_BR[:, : self.letters] == followed(rule_B, letters_BS)
        length_B = (answers_BR >= LETTER).cumprod(1).sum(1)
        return right_BS.double().mean(1) - PENALTY * (length_B - self.letters).abs()
