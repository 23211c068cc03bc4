"""Train on a task's endless stream, then examine: right answers, apart by distance or position.

Where it differs from quality: AdamW (0.9, 0.98) without decay, 20 steps of warm-up, and a loss at
the answers only. Embeddings begin at a spread of 1/√d_model, so that a token's own vector is not
drowned by what the first block adds to it: at the spine's 0.02, which suits text, attention has
not begun to recall when a few hundred steps are over.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from archs import LanguageModel
from archs._ops import noting_kernels
from benchmarks import machine, quality, tasks, training
from benchmarks.perplexity import position_edges
from benchmarks.phases import precision
from benchmarks.remembrance import WINDOWS, predictor, remembrance
from benchmarks.tasks import Sequences, Task
from benchmarks.training import Batch, Checkpoint, Recipe
from results import Case, Progress, Remembrance, Tally

BETAS, WARMUP_STEPS = (0.9, 0.98), 20
EXAM_TOKENS = 2**15  # read in each tally, whatever the length
FORWARD_TOKENS = 2**13  # in one forward pass
PROBE_SEQUENCES = 64
# streams that no training seed has; torch's CPU generator looks at the low 32 bits only
STREAMS = {"valid": 1_000_000_007, "test": 2_000_000_011}


def stream(split: str) -> torch.Generator:
    return torch.Generator().manual_seed(STREAMS[split])


class Examiner:
    """Asks one model one task."""

    def __init__(self, model: LanguageModel, task: Task, case: Case, device: str) -> None:
        self.model, self.task, self.case, self.device = model, task, case, device
        self.probes = task.draw(case.seq_len, PROBE_SEQUENCES, stream("valid"))

    @torch.inference_mode()
    def answers(self, asked: Sequences) -> tuple[Tensor, Tensor]:
        """Of each answer due, in order: whether the likeliest token was right, and its nats."""
        right, nats = [], []
        rows = max(1, FORWARD_TOKENS // asked.inputs_BT.shape[1])
        for inputs_BT, targets_BT, asked_BT in zip(
            *(part.split(rows) for part in asked[:3]), strict=True
        ):
            with precision(self.case, self.device):
                x_BTD, _ = self.model(inputs_BT.to(self.device))
                logits_MV = self.model.logits(x_BTD[asked_BT.to(self.device)])
            logits_MV, targets_M = logits_MV.double().cpu(), targets_BT[asked_BT]
            right.append(logits_MV.argmax(-1) == targets_M)
            nats.append(torch.nn.functional.cross_entropy(logits_MV, targets_M, reduction="none"))
        return torch.cat(right), torch.cat(nats)

    def progress(self, step: int) -> Progress:
        with noting_kernels():  # which are not those of training
            right_M, _ = self.answers(self.probes)
        return Progress(step=step, answers=len(right_M), right=int(right_M.sum()))

    def tally(self, split: Any, seq_len: int) -> Tally:
        """The same sequences for every architecture and seed."""
        asked = self.task.draw(seq_len, max(1, EXAM_TOKENS // seq_len), stream(split))
        right_M, nats_M = self.answers(asked)
        edges = position_edges(seq_len)
        bin_M = (
            torch.bucketize(asked.places_BT[asked.asked_BT], torch.tensor(edges), right=True) - 1
        )

        def sums(values_M: Tensor | None) -> list[Any]:
            return torch.bincount(bin_M, values_M, minlength=len(edges)).tolist()

        bayes_nats = list[float]()
        bayes_BTV = self.task.bayes(asked.inputs_BT)
        if bayes_BTV is not None:
            bayes_BT = -bayes_BTV.gather(-1, asked.targets_BT[..., None])[..., 0]
            bayes_nats = sums(bayes_BT[asked.asked_BT])
        return Tally(
            split=split,
            seq_len=seq_len,
            binned_by=self.task.binned_by,
            edges=edges,
            answers=tuple(sums(None)),
            right=tuple(map(int, sums(right_M.double()))),
            nats=tuple(sums(nats_M)),
            bayes_nats=tuple(bayes_nats),
        )

    def tallies(self) -> tuple[Tally, ...]:
        """Valid at the trained length, for choosing; test there and beyond, for telling.

        A length past a learned position table's end cannot be asked and is left out.
        """
        table = self.model.config.max_len
        lengths = [self.case.seq_len * times for times in self.task.lengths]
        asked = lengths if table is None else [T for T in lengths if table >= T]
        return (
            self.tally("valid", self.case.seq_len),
            *(self.tally("test", seq_len) for seq_len in asked),
        )

    def remembrance(self) -> Remembrance:
        text = self.task.draw(self.case.seq_len, WINDOWS, stream("test"))
        text_BT = torch.cat([text.inputs_BT, text.targets_BT[:, -1:]], dim=1)

        def bayes(past_BT: Tensor) -> Tensor:
            told_BTV = self.task.bayes(past_BT)
            assert told_BTV is not None
            return told_BTV[:, -1]

        return remembrance(predictor(self.model, self.case, self.device), text_BT, bayes)

    @torch.inference_mode()
    def state_bytes(self) -> int:
        """After reading a batch of the trained length."""
        tokens_BT = self.task.draw(self.case.seq_len, self.case.batch, stream("test")).inputs_BT
        _, states = self.model(tokens_BT.to(self.device), self.model.init_state(*tokens_BT.shape))
        return machine.tensor_bytes(states)


def spread_embeddings(model: LanguageModel) -> None:
    torch.nn.init.normal_(model.embed.weight, std=model.config.d_model**-0.5)


def recipe(steps: int) -> Recipe:
    warmup = min(WARMUP_STEPS, max(1, steps // 6))
    return Recipe(steps=steps, warmup=warmup, betas=BETAS, weight_decay=0.0)


def observe(
    case: Case, device: str, check: Callable[[], None], checkpoint: Checkpoint | None = None
) -> dict[str, Any]:
    """Train and examine: the fields of a Record. Raises Diverged, or what `check` raises."""
    assert case.task is not None and case.load is not None and case.tokens is not None
    task = tasks.load(case.task)(case.load)
    model = quality.fresh(case, task.vocab_size, device)
    spread_embeddings(model)
    examiner = Examiner(model, task, case, device)

    def draw(generator: torch.Generator) -> Batch:
        return Batch(*task.draw(case.seq_len, case.batch, generator)[:3])

    steps = max(1, case.tokens // (case.batch * case.seq_len))
    with noting_kernels() as kernels:
        trained = training.train(
            model, draw, recipe(steps), case, device, check, checkpoint, examiner.progress
        )
    return {
        "kernels": kernels,
        "state_bytes": examiner.state_bytes(),
        "tallies": examiner.tallies(),
        "remembrance": examiner.remembrance() if task.phase == "markov" else None,
        **trained.facts(),
    }
