"""Best of n: of n answers the one with the greatest reward.

From N answers to a prompt, the mean over all ways to take n of them is exact: sorted by reward, the
answer at place i (from 0) is the best in C(i, n - 1) of C(N, n) ways. As Nakano et al., WebGPT,
2021, appendix I  https://arxiv.org/abs/2112.09332.
"""

from math import comb

import torch
from torch import Tensor


def ways(samples: int, n: int) -> Tensor:
    """(N,) the share of all ways to take n in which the answer at each place is the best."""
    whole = comb(samples, n)
    shares = [comb(place, n - 1) / whole for place in range(samples)]
    return torch.tensor(shares, dtype=torch.float64)


def expected(proxy_BN: Tensor, value_BN: Tensor, n: int) -> Tensor:
    """(B,) the mean of `value` of the answer whose proxy is the greatest of n."""
    order_BN = proxy_BN.argsort(dim=1)
    sorted_BN = value_BN.gather(1, order_BN).double()
    return sorted_BN @ ways(proxy_BN.shape[1], n).to(sorted_BN.device)
