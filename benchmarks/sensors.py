"""What a GPU says of itself around the timed steps: energy, clocks, power, heat, throttling.

Read from NVML through the optional package nvidia-ml-py. What the package, the driver or a missing
permission withholds is None in the Record, and `python -m benchmarks doctor` says why.
"""

import importlib
from collections.abc import Callable
from functools import cache
from typing import Any

import torch

from results import Reading

# what each bit says holds the clocks down: NVML's nvmlClocksEventReasons
THROTTLES = {
    0x001: "idle",
    0x002: "clocks set by an application",
    0x004: "power cap",
    0x008: "hardware slowdown",
    0x010: "sync boost",
    0x020: "software thermal slowdown",
    0x040: "hardware thermal slowdown",
    0x080: "power brake",
    0x100: "clocks set for a display",
    0x200: "board limit",
    0x400: "reliability",
}


def throttles(bits: int) -> tuple[str, ...]:
    """The names of the bits that are set; one without a name is its number."""
    set_bits = [1 << place for place in range(bits.bit_length()) if bits >> place & 1]
    return tuple(THROTTLES.get(bit, f"{bit:#x}") for bit in set_bits)


# Reading's fields, asked of (NVML, the card's handle); NVML has millijoules, megahertz, milliwatts
QUANTITIES: dict[str, Callable[[Any, Any], Any]] = {
    "energy_j": lambda nvml, card: nvml.nvmlDeviceGetTotalEnergyConsumption(card) / 1e3,
    "sm_hz": lambda nvml, card: 10**6 * nvml.nvmlDeviceGetClockInfo(card, nvml.NVML_CLOCK_SM),
    "memory_hz": lambda nvml, card: 10**6 * nvml.nvmlDeviceGetClockInfo(card, nvml.NVML_CLOCK_MEM),
    "temperature_c": lambda nvml, card: nvml.nvmlDeviceGetTemperature(
        card, nvml.NVML_TEMPERATURE_GPU
    ),
    "power_w": lambda nvml, card: nvml.nvmlDeviceGetPowerUsage(card) / 1e3,
    "throttle": lambda nvml, card: throttles(nvml.nvmlDeviceGetCurrentClocksEventReasons(card)),
}


class Unreadable(Exception):
    """No sensor can be read at all; the message says why."""


class Card:
    """The GPU that torch uses. Raises Unreadable if NVML cannot be reached."""

    def __init__(self) -> None:
        try:
            self.nvml: Any = importlib.import_module("pynvml")
        except ModuleNotFoundError:
            raise Unreadable("the package nvidia-ml-py is not installed") from None
        try:
            self.nvml.nvmlInit()
            # by its own name: NVML counts GPUs that CUDA_VISIBLE_DEVICES hides from torch
            self.handle = self.nvml.nvmlDeviceGetHandleByUUID(_uuid())
        except self.nvml.NVMLError as error:
            raise Unreadable(f"NVML: {error}") from None
        self.withheld: dict[str, str] = {}  # quantity to why it was not read

    def read(self) -> Reading:
        seen = {}
        for quantity, ask in QUANTITIES.items():
            try:
                seen[quantity] = ask(self.nvml, self.handle)
            except self.nvml.NVMLError as error:
                self.withheld[quantity] = f"NVML: {error}"
        return Reading(**seen)


def _uuid() -> str:
    return f"GPU-{torch.cuda.get_device_properties(0).uuid}"


@cache
def card(device: str) -> Card | None:
    """The card whose sensors can be read; None on a CPU, and where none can."""
    if device != "cuda":
        return None
    try:
        return Card()
    except Unreadable:
        return None


def withheld() -> dict[str, str]:
    """Why each quantity that cannot be read from this machine's GPU cannot."""
    try:
        found = Card()
    except Unreadable as error:
        return dict.fromkeys(QUANTITIES, str(error))
    found.read()
    return found.withheld
