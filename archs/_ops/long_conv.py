"""Causal depthwise convolution over everything read: y_t = Σ_{s <= t} filter_{t-s} u_s.

A sequence at once takes O(T log T) by fast Fourier transform. One more token takes O(T): there is
no smaller state than the inputs themselves.
"""

from math import log2

import torch
from torch import Tensor

from archs._ops import Kernel, Op


def _fft(held_BES: Tensor, filter_ES: Tensor, tokens: int) -> Tensor:
    S = held_BES.shape[-1]
    spectrum = torch.fft.rfft(held_BES, n=2 * S) * torch.fft.rfft(filter_ES.flip(-1), n=2 * S)
    return torch.fft.irfft(spectrum, n=2 * S)[..., S - tokens : S]


def _dot(held_BES: Tensor, filter_ES: Tensor, tokens: int) -> Tensor:
    S = held_BES.shape[-1]
    ends = range(S - tokens + 1, S + 1)
    filter_E1S = filter_ES[:, None]
    held_EBS = held_BES.transpose(0, 1)
    steps = [(held_EBS[..., :end] * filter_E1S[..., S - end :]).sum(-1) for end in ends]
    return torch.stack(steps, dim=-1).transpose(0, 1)


def _plain(held_BES: Tensor, filter_ES: Tensor, tokens: int) -> Tensor:
    S = held_BES.shape[-1]
    y_BES = torch.zeros_like(held_BES)
    for lag, tap_E in enumerate(filter_ES.flip(-1).unbind(-1)):
        shifted_BES = torch.nn.functional.pad(held_BES[..., : S - lag], (lag, 0))
        y_BES = y_BES + tap_E[:, None] * shifted_BES
    return y_BES[..., S - tokens :]


def _one(held_BES: Tensor, filter_ES: Tensor, tokens: int) -> bool:
    return tokens == 1


# (held_BES, filter_ES, tokens) → (B, E, T); held are all inputs, of which the call's are the last
# T; the filter's lags go from S - 1 down to 0, as far back as its column of held lies
long_conv = Op(
    "long_conv",
    Kernel("dot", _dot, suits=_one),
    Kernel("fft", _fft),
    Kernel("plain", _plain),
)


def long_conv_flops(channels: int, tokens: int, past: int) -> float:
    """Forward FLOPs a token: 2 a channel and input seen for one token; for more, three transforms
    of 2 S real numbers, at 5/2 n log2 n (Johnson & Frigo, FFTW's count), and a product."""
    held = past + tokens
    if tokens == 1:
        return 2 * channels * held
    return channels * (3 * 2.5 * 2 * held * log2(2 * held) + 6 * held) / tokens
