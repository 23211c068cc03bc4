"""A CUDA graph without a GPU: what one would bake in, `Recording` bakes in too.

A graph repeats kernels on fixed addresses and runs no Python. `Recording` writes down every op with
the very tensors it was given, and repeating it runs those ops alone, into the tensors they made
before; a number read from a tensor, such as a position, has no place in either.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from archs._ops import attention
from benchmarks.modes import GRAPH_WARM_UPS


class Recording(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Any, Any, dict[str, Any], Any]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Raises RuntimeError where a tensor's value is read."""
        kwargs = kwargs or {}
        if "item" in func.__name__ or "_local_scalar_dense" in func.__name__:
            raise RuntimeError("a graph cannot read a tensor's value")
        made = func(*args, **kwargs)
        self.calls.append((func, args, kwargs, made))
        return made

    def repeat(self) -> None:
        for func, args, kwargs, made in self.calls:
            again = func(*args, **kwargs)
            for old, new in zip(tree_leaves(made), tree_leaves(again), strict=True):
                if isinstance(old, Tensor) and old.data_ptr() != new.data_ptr():
                    old.copy_(new)


def recorded(run: Callable[[], None]) -> Callable[[], None]:
    """As `modes.cuda_graph`: warmed up, then recorded without being run."""
    for _ in range(GRAPH_WARM_UPS):
        run()
    with Recording() as recording:
        run()
    return recording.repeat


@contextmanager
def positions_on_a_device() -> Iterator[None]:
    """As if caches' positions were where a number of theirs is not to be had."""
    usual = attention.is_static
    attention.is_static = lambda position: True
    try:
        yield
    finally:
        attention.is_static = usual
