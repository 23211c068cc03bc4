"""Several processes that train one model together. All that knows torch.distributed is here.

    ddp      each rank has all weights and a part of the batch
    fsdp     each rank has a part of the weights and of the batch: FSDP2, a unit a block
    context  each rank has all weights and a part of every sequence: torch's context parallel,
             in which attention alone reaches the tokens of other ranks

The ranks compute what one process would: the same batch, the mean of its losses, the gradient of
that mean, clipped at its norm over all weights.

Li et al., PyTorch Distributed  https://arxiv.org/abs/2006.15704
Zhao et al., PyTorch FSDP       https://arxiv.org/abs/2304.11277
Liu et al., Ring Attention      https://arxiv.org/abs/2310.01889
"""

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from archs import LanguageModel
from archs._ops._places import standing_at
from results.schema import Shard

Nll = Callable[[Tensor, Tensor], Tensor]  # (tokens_BT, targets_BT) → nats of each target
BACKENDS = {"cpu": "gloo", "cuda": "nccl"}


class Ranks:
    """What the harness asks of those that share a case; here one process by itself."""

    rank, size = 0, 1
    backend: str | None = None  # what they speak through

    def rows(self, values_B: Tensor) -> Tensor:
        """This rank's part of what there is one of for each sequence of the batch."""
        return values_B

    def spread(self, model: LanguageModel) -> Nll:
        """The model's loss on this rank's part; its backward pass leaves the gradient of the mean
        over all ranks. `model` may hold a part of each weight afterwards."""
        return model.nll

    @contextmanager
    def sharing(self, tokens_BT: Tensor, targets_BT: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """This rank's part of its sequences, forward and backward pass inside."""
        yield tokens_BT, targets_BT

    def mean(self, values: Tensor) -> Tensor:
        """Elementwise over the ranks."""
        return values

    def most(self, values: Sequence[float]) -> tuple[float, ...]:
        """Elementwise the greatest of the ranks'."""
        return tuple(values)

    def first(self, value: float) -> float:
        """The first rank's, where each has its own and all must do the same."""
        return value

    def together(self, values: Tensor) -> Tensor:
        """Those of all ranks, one behind the other."""
        return values

    def state(self, model: LanguageModel, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
        """Whole weights and moments, on the first rank."""
        return {"model": model.state_dict(), "optimizer": optimizer.state_dict()}

    def restore(
        self,
        state: dict[str, Any] | None,
        model: LanguageModel,
        optimizer: torch.optim.Optimizer,
    ) -> dict[str, Any] | None:
        """Put back what `state()` was on the first rank; the rest of it, on every rank."""
        if state is not None:
            model.load_state_dict(state["model"])
            optimizer.load_state_dict(state["optimizer"])
        return state


ALONE = Ranks()


class _Loss(nn.Module):
    """DDP averages the gradients of what goes through its forward."""

    def __init__(self, model: LanguageModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, tokens_BT: Tensor, targets_BT: Tensor) -> Tensor:
        return self.model.nll(tokens_BT, targets_BT)


class Several(Ranks):
    """This process among those that torchrun, or benchmarks/ranks/launch.py, started."""

    def __init__(self, device: str, shard: Shard, *, rank: int, size: int, meeting: str) -> None:
        """`meeting` is where they meet, torch's init_method. Waits for all of them."""
        self.rank, self.size, self.device, self.shard = rank, size, device, shard
        self.backend = BACKENDS[device]
        own = torch.device(device, torch.cuda.current_device()) if device == "cuda" else None
        torch.distributed.init_process_group(
            self.backend, init_method=meeting, rank=rank, world_size=size, device_id=own
        )
        self.mesh = torch.distributed.init_device_mesh(device, (size,))

    def end(self) -> None:
        """Waits for all ranks: one that leaves early takes the others' connections with it."""
        torch.distributed.barrier()
        torch.distributed.destroy_process_group()

    def rows(self, values_B: Tensor) -> Tensor:
        if self.shard == "context":
            return values_B
        return values_B.chunk(self.size)[self.rank]

    def spread(self, model: LanguageModel) -> Nll:
        if self.shard != "fsdp":
            # the reduced gradients are the buckets they were reduced in, not copies of them
            return nn.parallel.DistributedDataParallel(_Loss(model), gradient_as_bucket_view=True)
        from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method

        for block in model.blocks:
            fully_shard(block, mesh=self.mesh)
        fully_shard(model, mesh=self.mesh)  # the embedding, which is the head too, and the norm
        register_fsdp_forward_method(model, "nll")
        # of in-place changes to nll's result, which nobody makes
        warnings.filterwarnings("ignore", "FSDP2-wrapped module .* returned a view tensor")
        return model.nll

    @contextmanager
    def sharing(self, tokens_BT: Tensor, targets_BT: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        if self.shard != "context":
            yield tokens_BT, targets_BT
            return
        from torch.distributed.tensor.experimental import context_parallel

        place_T = torch.arange(tokens_BT.shape[1], device=tokens_BT.device)
        # it puts this rank's part in the place of the whole
        parts = [tokens_BT.clone(), targets_BT.clone(), place_T]
        parts = [part.contiguous() for part in parts]
        with (
            context_parallel(
                self.mesh, buffers=parts, buffer_seq_dims=[1, 1, 0], no_restore_buffers=set(parts)
            ),
            standing_at(place_T),
        ):
            yield parts[0], parts[1]

    def mean(self, values: Tensor) -> Tensor:
        total = values.clone()
        torch.distributed.all_reduce(total)
        return total / self.size

    def most(self, values: Sequence[float]) -> tuple[float, ...]:
        most = torch.tensor(values, dtype=torch.float64, device=self.device)
        torch.distributed.all_reduce(most, torch.distributed.ReduceOp.MAX)
        return tuple(most.tolist())

    def first(self, value: float) -> float:
        first = torch.tensor(float(value), dtype=torch.float64, device=self.device)
        torch.distributed.broadcast(first, 0)
        return float(first)

    def together(self, values: Tensor) -> Tensor:
        here = values.to(self.device)
        parts = [torch.empty_like(here) for _ in range(self.size)]
        torch.distributed.all_gather(parts, here)
        return torch.cat(parts).to(values.device)

    def state(self, model: LanguageModel, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
        from torch.distributed.checkpoint import state_dict

        whole = state_dict.StateDictOptions(full_state_dict=True, cpu_offload=True)
        weights, moments = state_dict.get_state_dict(model, optimizer, options=whole)
        return {"model": weights, "optimizer": moments}

    def restore(
        self,
        state: dict[str, Any] | None,
        model: LanguageModel,
        optimizer: torch.optim.Optimizer,
    ) -> dict[str, Any] | None:
        from torch.distributed.checkpoint import state_dict

        heavy = {"model", "optimizer"}
        rest = state and {name: value for name, value in state.items() if name not in heavy}
        told = [rest]
        torch.distributed.broadcast_object_list(told)
        if told[0] is not None:
            whole = state_dict.StateDictOptions(full_state_dict=True, broadcast_from_rank0=True)
            weights, moments = (state["model"], state["optimizer"]) if state else ({}, {})
            state_dict.set_model_state_dict(model, weights, options=whole)
            state_dict.set_optimizer_state_dict(model, optimizer, moments, options=whole)
        return told[0]
