"""Each op of the architectures once: one signature, several kernels, and a note of which one ran.

Every op has a `plain` kernel, its definition written out, to which tests hold all others.
`kernel="auto"` takes the first that can run here and suits the call; a kernel asked for by name
that cannot run is an error, never a silent fallback. Shape letters: archs/_spine.py.
"""

import importlib
import pkgutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Any

import torch


class KernelRefused(ValueError):
    """A kernel was asked for by name and cannot run; the message says why."""


@dataclass(frozen=True)
class Kernel:
    """`why_not` says why it cannot run on a device, `refuses` why it cannot take a call; `suits`
    whether it is worth it for a call.

    `one_token`: it takes T = 1 only, T being the second axis of the first argument.
    `learns`: gradients flow through it; without, it may write into a state it was handed.
    `opaque`: not for torch.compile to look into: a walk over time, in Python or in torch, which it
    would unroll, or a library's code.
    """

    name: str
    run: Callable[..., Any]
    why_not: Callable[[torch.device], str | None] = lambda device: None
    refuses: Callable[..., str | None] | None = None  # None: it takes every call
    suits: Callable[..., bool] | None = None  # None: always
    one_token: bool = False
    learns: bool = True
    opaque: bool = False


_ran: ContextVar[dict[str, str] | None] = ContextVar("ran", default=None)


@contextmanager
def noting_kernels() -> Iterator[dict[str, str]]:
    """Collects, from op to kernel, what runs inside."""
    seen: dict[str, str] = {}
    token = _ran.set(seen)
    try:
        yield seen
    finally:
        _ran.reset(token)


class Op:
    """Called with its tensors, of which the first says the device. `kernels`: best liked first."""

    def __init__(self, name: str, *kernels: Kernel) -> None:
        self.name, self.kernels = name, {kernel.name: kernel for kernel in kernels}
        # by type of device, one token or several, gradient or none: asked once, not every token
        self.able: dict[tuple[str, bool, bool], list[Kernel]] = {}

    def __call__(self, *arguments: Any, kernel: str = "auto") -> Any:
        """Raises KernelRefused if the kernel of that name cannot run here."""
        chosen = self._choose(kernel, arguments)
        if not torch.compiler.is_compiling():
            seen = _ran.get()
            if seen is not None:
                seen[self.name] = chosen.name
        return chosen.run(*arguments)

    def _choose(self, name: str, arguments: tuple[Any, ...]) -> Kernel:
        device, one_token = arguments[0].device, arguments[0].shape[1] == 1
        learns = torch.is_grad_enabled()
        if name in self.kernels:
            kernel = self.kernels[name]
            reason = kernel.why_not(device)
            if kernel.one_token and not one_token:
                reason = "it takes one token at a time"
            if learns and not kernel.learns:
                reason = "no gradient flows through it"
            if reason is None and kernel.refuses is not None:
                reason = kernel.refuses(*arguments)
            if reason is not None:
                raise KernelRefused(f"{self.name} cannot run its kernel {name!r} here: {reason}")
            return kernel
        # an op without a kernel of this name chooses for itself; the Record says what ran
        call = device.type, one_token, learns
        if call not in self.able:
            self.able[call] = [
                kernel
                for kernel in self.kernels.values()
                if (one_token or not kernel.one_token) and (kernel.learns or not learns)
                if kernel.why_not(device) is None
            ]
        for kernel in self.able[call]:
            refused = kernel.refuses is not None and kernel.refuses(*arguments) is not None
            if not refused and (kernel.suits is None or kernel.suits(*arguments)):
                return kernel
        raise KernelRefused(f"no kernel of {self.name} can run here")


def last(h_BTE: torch.Tensor) -> torch.Tensor:
    """(B, E) after the last token, keeping alive no more than itself."""
    return h_BTE[:, -1].clone() if h_BTE.shape[1] > 1 else h_BTE[:, 0]


def every_op() -> dict[str, Op]:
    """All ops in this folder, by name."""
    modules = [
        importlib.import_module(f"{__name__}.{m.name}") for m in pkgutil.iter_modules(__path__)
    ]
    found = [op for module in modules for op in vars(module).values() if isinstance(op, Op)]
    return {op.name: op for op in sorted(found, key=lambda op: op.name)}


def hide_the_opaque() -> None:
    """For torch.compile: opaque kernels run as they are, between compiled parts."""
    for op in every_op().values():
        for name, kernel in op.kernels.items():
            if kernel.opaque:
                run = torch.compiler.disable(kernel.run)
                op.kernels[name] = replace(kernel, run=run, opaque=False)
        # kept, not forgotten: a compiler cannot trace asking a library whether it is there
        op.able = {call: [op.kernels[k.name] for k in able] for call, able in op.able.items()}


def on(*device_types: str) -> Callable[[torch.device], str | None]:
    """A `why_not` for kernels that run on these types of device only."""

    def why_not(device: torch.device) -> str | None:
        if device.type in device_types:
            return None
        return f"it runs on {' and '.join(device_types)}, not on {device.type}"

    return why_not


def wide(x: torch.Tensor, weight: torch.Tensor, *rest: Any) -> bool:
    """A `suits` for kernels that add up in their inputs' own precision, and convert nothing."""
    return x.dtype == weight.dtype and x.dtype in (torch.float32, torch.float64)
