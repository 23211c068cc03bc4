"""Losses that move a policy towards what is preferred, by a reward model or by the pairs alone.

DPO: Rafailov et al., Direct Preference Optimization, 2023  https://arxiv.org/abs/2305.18290
RLOO: Ahmadian et al., Back to Basics, 2024  https://arxiv.org/abs/2402.14740; the baseline is
Kool et al., Buy 4 REINFORCE Samples, Get a Baseline for Free!, 2019
"""

import torch.nn.functional as F
from torch import Tensor


def dpo(
    better_B: Tensor, worse_B: Tensor, better_then_B: Tensor, worse_then_B: Tensor, beta: float
) -> Tensor:
    """-log σ(β ((log π(b) - log π₀(b)) - (log π(w) - log π₀(w)))), the mean, from the answers'
    log-probabilities by the policy and by the one it was."""
    margin_B = (better_B - better_then_B) - (worse_B - worse_then_B)
    return -F.logsigmoid(beta * margin_B).mean()


def leave_one_out(rewards_BK: Tensor) -> Tensor:
    """Advantages: each of K answers' reward less the mean of the others' to the same prompt."""
    K = rewards_BK.shape[1]
    return rewards_BK - (rewards_BK.sum(1, keepdim=True) - rewards_BK) / (K - 1)


def rloo(log_probs_BK: Tensor, rewards_BK: Tensor) -> Tensor:
    """REINFORCE's loss; `rewards` hold the KL penalty and no gradient."""
    return -(leave_one_out(rewards_BK) * log_probs_BK).mean()
