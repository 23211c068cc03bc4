"""One side of a pair, in a process of its own that benchmarks/process.py starts.

The first line it reads is its job; after that every line asks for a step, timed by this process's
own CPU time, or for the facts at the end. It ends when its input does.
"""

import gc
import json
import sys
import time
from typing import Any, TextIO

import torch
import torch.nn.functional as F
from torch import Tensor

from archs._ops import noting_kernels
from archs._sizes import NAMED
from benchmarks import machine, peers
from benchmarks.peers._pair import DECODE_ROOM, FIRST_TOKENS, PROFILED, REHEARSALS, SIZE
from benchmarks.peers._peer import Ours, Side


class Training:
    """Forward, loss and backward; no optimizer, which would be the same on both sides."""

    def __init__(self, side: Side, text_BT: Tensor, seq_len: int) -> None:
        self.side = side
        self.tokens_BT, self.targets_BT = text_BT[:, :seq_len], text_BT[:, 1 : seq_len + 1]
        side.module.train()

    def before(self) -> None:
        self.side.module.zero_grad(set_to_none=True)

    def step(self) -> Tensor:
        loss = self.side.loss(self.tokens_BT, self.targets_BT)
        loss.backward()
        return loss

    def outcome(self, loss: Tensor) -> tuple[Tensor, Tensor]:
        """The gradient in the first token's embedding has come back from every later token: it
        tells models apart whose losses, that of a fresh model, are alike."""
        assert self.side.embed.weight.grad is not None
        return loss, self.side.embed.weight.grad[self.tokens_BT[0, 0]]


class Decoding:
    """One token after seq_len others."""

    def __init__(self, side: Side, text_BT: Tensor, seq_len: int) -> None:
        self.side, self.text_BT, self.place = side, text_BT, seq_len
        side.module.eval()
        with torch.inference_mode():
            side.prefill(text_BT[:, :seq_len], DECODE_ROOM)
        with torch.compiler.set_stance("force_eager"):  # compiled code notes no kernels
            self.step()
        for _ in range(FIRST_TOKENS - 1):
            self.step()

    @torch.inference_mode()
    def step(self) -> Tensor:
        logits = self.side.step(self.text_BT[:, self.place : self.place + 1])
        self.place += 1
        return logits

    def before(self) -> None:
        """Tokens not timed: the other process has just emptied the core's caches."""
        for _ in range(REHEARSALS):
            self.step()

    def outcome(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        return F.cross_entropy(logits.flatten(0, 1), self.text_BT[:, self.place]), logits


Work = Training | Decoding
WORK: dict[str, type[Work]] = {"peer-train": Training, "peer-decode": Decoding}


def build(job: dict[str, Any]) -> Side:
    """Either side of the same weights."""
    peer = next(p for p in peers.find() if (p.arch, p.impl) == (job["arch"], job["peer"]))
    torch.manual_seed(job["seed"])
    model = peer.leave_out(peer.ours(SIZE, job["seq_len"] + DECODE_ROOM))
    return Ours(model, job["mode"]) if job["ours"] else peer.theirs(model)


def text(job: dict[str, Any]) -> Tensor:
    generator = torch.Generator().manual_seed(job["seed"])
    length = job["seq_len"] + DECODE_ROOM
    return torch.randint(NAMED[SIZE].vocab_size, (1, length), generator=generator)


def timed(work: Work) -> dict[str, Any]:
    work.before()
    start = time.process_time()
    result = work.step()
    seconds = time.process_time() - start
    nats, seen = work.outcome(result)
    gc.collect()
    return {"seconds": seconds, "nats": nats.item(), "seen": seen.flatten().tolist()}


def facts(work: Work, with_peak: bool, steps: int) -> dict[str, Any]:
    """`peak_bytes` is what a step needs above the weights and the cache that were there before."""
    parameters = list(work.side.module.parameters())
    about: dict[str, Any] = {
        "params": sum(p.numel() for p in parameters),
        "param_bytes": sum(p.nbytes for p in parameters),
    }
    if with_peak:
        work.before()
        about |= machine.peak_memory("cpu", work.step)._asdict()
        about["op_s"] = profile(work, steps)
    return about


def profile(work: Work, steps: int) -> dict[str, float]:
    """Self seconds of each torch op in a step."""
    work.before()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as trace:
        for _ in range(steps):
            work.step()
    return {op.key: op.self_cpu_time_total / 1e6 / steps for op in trace.key_averages()}


def main(answers: TextIO) -> None:
    machine.settle()
    machine.use_cores(machine.cores()[0])  # the same for both: both start from the same choice
    job = json.loads(sys.stdin.readline())
    with noting_kernels() as kernels:
        try:
            answer_all(job, kernels, answers)
        except RuntimeError as error:
            if not machine.is_out_of_memory(error):
                raise
            print(json.dumps({"out_of_memory": str(error).partition("\n")[0]}), file=answers)


def answer_all(job: dict[str, Any], kernels: dict[str, str], answers: TextIO) -> None:
    work = WORK[job["phase"]](build(job), text(job), job["seq_len"])
    # a collection falls between samples, and never has to look at what the imports made
    gc.collect()
    gc.freeze()
    gc.disable()
    for line in sys.stdin:
        asked = json.loads(line)
        if asked["what"] == "step":
            answer = timed(work)
        else:
            answer = facts(work, asked["with_peak"], PROFILED[job["phase"]]) | {"kernels": kernels}
        print(json.dumps(answer), file=answers, flush=True)
