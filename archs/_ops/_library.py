"""Packages of fused CUDA kernels: none is imported before a CUDA device is asked about."""

import importlib
from collections.abc import Callable
from functools import cache

import torch


def needs(package: str, module: str) -> Callable[[torch.device], str | None]:
    """A `why_not` for kernels that `module` of a package holds."""

    def why_not(device: torch.device) -> str | None:
        if device.type != "cuda":
            return f"it runs on cuda, not on {device.type}"
        return _trouble(package, module)

    return why_not


@cache
def _trouble(package: str, module: str) -> str | None:
    try:
        importlib.import_module(module)
    except ImportError as error:  # also what mamba-ssm raises without its compiled scan
        if error.name == module.split(".")[0]:
            return f"{package} is not installed: docs/gpu.md says how"
        return f"{package} cannot be imported: {error}"
    return None


def takes_dtype(x: torch.Tensor, *rest: object) -> str | None:
    """A `refuses` for kernels that have no float64."""
    if x.dtype in (torch.float32, torch.bfloat16, torch.float16):
        return None
    return f"it takes float32, bfloat16 or float16, not {str(x.dtype).removeprefix('torch.')}"


def on_tensor_cores(x: torch.Tensor, *rest: object) -> bool:
    """A `suits`: Triton multiplies float32 in tf32, which a float32 call wants only where
    torch itself may."""
    return x.dtype != torch.float32 or torch.get_float32_matmul_precision() != "highest"
