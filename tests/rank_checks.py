"""One of two processes of tests/test_ranks.py: trains every architecture alone and shared, and the
first tells how far apart these are."""

import contextlib
import json
import os
from pathlib import Path
from unittest.mock import patch

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch.distributed.tensor import DTensor, experimental

import archs
from archs._ops._places import places
from benchmarks import machine, training
from benchmarks.data.vocabulary import of_bytes
from benchmarks.lanes import Lanes
from benchmarks.ranks import ALONE, Several
from benchmarks.ranks.context import can_be_cut
from benchmarks.training import Batch, Checkpoint, Recipe
from results import Case

STEPS, BATCH, LENGTH = 4, 4, 16
RECIPE = Recipe(steps=STEPS, warmup=2, betas=(0.9, 0.95), weight_decay=0.1)


class Interrupted(Exception):
    pass


def documents():
    """That do not divide by the batch, so that another round begins with other lanes."""
    text = torch.Generator().manual_seed(2)
    for number in range(7):
        yield bytes(torch.randint(256, (9 + 5 * number,), generator=text).tolist())


def trained(arch, ranks, *, stream=False, checkpoint=None, stop=None):
    """The losses of a training in float64, and all weights after it; None if it is interrupted
    after `stop` steps."""
    torch.manual_seed(0)
    model = archs.build(arch, "100k", max_len=LENGTH).double()
    case = Case(phase="quality", arch=arch, size="100k", seq_len=LENGTH, batch=BATCH, lr=0.01)
    mine, left = ranks.rows(torch.arange(BATCH)).tolist(), stop
    lanes = Lanes(documents, of_bytes, mine, BATCH) if stream else None

    def draw(generator):
        if lanes is not None:
            text_BT = lanes.take(LENGTH)
        else:
            text_BT = ranks.rows(torch.randint(256, (BATCH, LENGTH + 1), generator=generator))
        return Batch(text_BT[:, :-1], text_BT[:, 1:])

    def check():
        nonlocal left
        if left == 0:
            raise Interrupted
        left = None if left is None else left - 1

    with contextlib.suppress(Interrupted):
        done = training.train(
            model, draw, RECIPE, case, "cpu", check, checkpoint, ranks=ranks, lanes=lanes
        )
        whole = [p.full_tensor() if isinstance(p, DTensor) else p for p in model.parameters()]
        return done.nats, torch.cat([p.detach().flatten() for p in whole])


def apart(one, other):
    (nats, weights), (nats_there, weights_there) = one, other
    losses = [abs(a - b) for a, b in zip(nats, nats_there, strict=True)]
    return {"nats": max(losses), "weights": float((weights - weights_there).abs().max())}


class Gathered(torch.autograd.Function):
    """The parts of all ranks, one behind the other in dimension `dim`."""

    @staticmethod
    def forward(ctx, part, dim):
        ctx.dim = dim
        parts = [torch.empty_like(part) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, part)
        return torch.cat(parts, dim)

    @staticmethod
    def backward(ctx, grad):
        grad = grad.contiguous()
        dist.all_reduce(grad)
        return grad.chunk(dist.get_world_size(), ctx.dim)[dist.get_rank()], None


@contextlib.contextmanager
def attention_over_all_ranks(*args, own=experimental.context_parallel, **given):
    """torch's context parallel, with attention that a CPU has in place of its CUDA kernels."""

    def attend(q, k, v, mask=None, dropout=0.0, is_causal=False, enable_gqa=False):
        assert mask is None and is_causal
        k, v = (Gathered.apply(part.contiguous(), 2) for part in (k, v))
        key_S = Gathered.apply(places(), 0)
        return sdpa(q, k, v, places()[:, None] >= key_S, enable_gqa=enable_gqa)

    sdpa = F.scaled_dot_product_attention
    with own(*args, **given):
        patched = F.scaled_dot_product_attention
        F.scaled_dot_product_attention = attend
        try:
            yield
        finally:
            F.scaled_dot_product_attention = patched


def main(answers, folder):
    rank, folder = int(os.environ["RANK"]), Path(folder)
    machine.use_cores(machine.cores()[rank])
    ranks = Several("cpu", "ddp", rank=rank, size=2, meeting=f"file://{folder}/meeting")
    told = {}
    for arch in archs.usual():
        alone = trained(arch, ALONE)
        for ranks.shard in ("ddp", "fsdp"):
            told[f"{arch} {ranks.shard}"] = apart(trained(arch, ranks), alone)
    for arch in filter(can_be_cut, archs.usual()):
        ranks.shard = "context"
        with patch.object(experimental, "context_parallel", attention_over_all_ranks):
            shared = trained(arch, ranks)
        told[f"{arch} context"] = apart(shared, trained(arch, ALONE))
    training.CHECKPOINT_EVERY_S = 0.0
    stream = {"arch": "mamba2", "stream": True}
    alone = trained(ranks=ALONE, **stream)
    for ranks.shard in ("ddp", "fsdp"):
        kept = Checkpoint(folder / f"{ranks.shard}.json", "same")
        for steps in (2, 1):
            assert trained(ranks=ranks, **stream, checkpoint=kept, stop=steps) is None
        resumed = trained(ranks=ranks, **stream, checkpoint=kept)
        told[f"{ranks.shard} stream"] = apart(whole := trained(ranks=ranks, **stream), alone)
        told[f"{ranks.shard} resumed"] = apart(resumed, whole)
    if rank == 0:
        print(json.dumps(told), file=answers)
    ranks.end()
