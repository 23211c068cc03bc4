"""How a step is executed: as Python says it, compiled, or replayed as one CUDA graph.

    eager    Python launches every kernel
    compile  torch.compile; the first step builds what the others run (Record.first_step_s)
    graph    decode: the kernels of one token are captured once and replayed, so that a token
             costs one launch

Every architecture takes every mode through its one `forward`. In `compile` and `graph` a state's
positions are device tensors and each call has one static shape.
"""

import gc
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map

from archs._ops import hide_the_opaque
from results.schema import Mode, Phase

MODES: dict[Phase, tuple[Mode, ...]] = {
    "train": ("eager", "compile"),
    "prefill": ("eager", "compile"),
    "decode": ("eager", "compile", "graph"),
    "quality": ("eager",),
    "compress": ("eager",),
    "scaling": ("eager",),
    "recall": ("eager",),
    "state": ("eager",),
    "markov": ("eager",),
    "align": ("eager",),
    "limits": ("eager",),
}
GRAPH_WARM_UPS = 3  # steps before the capture, in which libraries allocate and choose

# (token_B1, states) → the next token and states
Advance = Callable[[Tensor, Any], tuple[Tensor, Any]]
# run → a call that repeats the kernels that run() launched, without its Python
Capture = Callable[[Callable[[], None]], Callable[[], object]]


def why_not(mode: str, device: str) -> str | None:
    """Why `mode` cannot be used on `device`, in a clause; None if it can."""
    if mode == "graph" and device != "cuda":
        return f"it captures CUDA graphs, and the device is {device}"
    if mode == "compile" and device == "cpu" and not any(map(shutil.which, ("g++", "clang++"))):
        return "torch.compile needs a C++ compiler on the CPU; install g++"
    return None


@contextmanager
def nothing_compiled_before(mode: str) -> Iterator[None]:
    """In mode "compile", neither this process nor a cache on disk knows any code inside."""
    if mode != "compile":
        yield
        return
    usual = os.environ.get("TORCHINDUCTOR_CACHE_DIR")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = folder
        try:
            yield
        finally:
            del os.environ["TORCHINDUCTOR_CACHE_DIR"]
            if usual is not None:
                os.environ["TORCHINDUCTOR_CACHE_DIR"] = usual
            forget(mode)


def forget(mode: str) -> None:
    """Free what the last step kept alive, compiled code included."""
    if mode == "compile":
        torch.compiler.reset()
    gc.collect()


def compiled(call: Callable[..., Any], mode: str) -> Callable[..., Any]:
    """`call`, or in mode "compile" its compiled form, built anew for this model and shape."""
    if mode != "compile":
        return call
    # what an earlier cell compiled would count against the limit on recompiling, past which
    # torch quietly runs eagerly
    torch.compiler.reset()
    torch._dynamo.config.fail_on_recompile_limit_hit = True
    hide_the_opaque()
    return torch.compile(call, dynamic=False)


class Decoder:
    """Greedy decoding, a token a step."""

    def __init__(self, advance: Advance, token_B1: Tensor, states: Sequence[Any]) -> None:
        self.advance, self.token_B1, self.states = advance, token_B1, states

    def step(self) -> Sequence[Any]:
        """Read the last token, choose the next; the states after it."""
        self.token_B1, self.states = self.advance(self.token_B1, self.states)
        return self.states

    def load(self, states: Sequence[Any]) -> None:
        """Go on from a copy of `states`."""
        self.states = tree_map(torch.clone, states)


class GraphDecoder(Decoder):
    """The same, replayed. Tokens and states stay at the addresses the graph was captured with."""

    def __init__(
        self, advance: Advance, token_B1: Tensor, states: Sequence[Any], capture: Capture
    ) -> None:
        super().__init__(advance, token_B1, states)
        self.capture = capture
        self.replay: Callable[[], object] | None = None

    def _advance_in_place(self) -> None:
        token_B1, after = self.advance(self.token_B1, self.states)
        _write(self.states, after)
        self.token_B1.copy_(token_B1)

    def step(self) -> Sequence[Any]:
        if self.replay is None:
            token_B1, states = tree_map(torch.clone, (self.token_B1, self.states))
            self.replay = self.capture(self._advance_in_place)
            self.token_B1.copy_(token_B1)  # the warm-up went ahead
            self.load(states)
        self.replay()
        return self.states

    def load(self, states: Sequence[Any]) -> None:
        _write(self.states, states)


def _write(target: Any, source: Any) -> None:
    """Copy every tensor of `source` into that of `target`, where it is not the same memory."""
    for old, new in zip(tree_leaves(target), tree_leaves(source), strict=True):
        if old.data_ptr() != new.data_ptr():
            old.copy_(new)


def cuda_graph(run: Callable[[], None]) -> Callable[[], object]:
    """The kernels of `run` as a CUDA graph; `run` itself is called GRAPH_WARM_UPS times before."""
    aside = torch.cuda.Stream()
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):
        for _ in range(GRAPH_WARM_UPS):
            run()
    torch.cuda.current_stream().wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        run()
    return graph.replay


def decoder(
    mode: str,
    advance: Advance,
    token_B1: Tensor,
    states: Sequence[Any],
    capture: Capture = cuda_graph,
) -> Decoder:
    if mode == "eager":
        return Decoder(advance, token_B1, states)
    states = tree_map(lambda leaf: leaf.to(token_B1.device), states)
    if mode == "compile":
        return Decoder(compiled(advance, mode), token_B1, states)
    return GraphDecoder(advance, token_B1, states, capture)
