"""A checkpoint of transformers in an architecture of ours, where the two are the same model."""

import torch

from archs import LanguageModel
from benchmarks import peers, pretrained
from benchmarks.peers._peer import copy

TOKENS = 64  # on which the two are compared
ALLOWED = (
    1e-4  # of the largest logit; a wrong constant shows as 1e-2, float32 summed otherwise as 1e-6
)


@torch.no_grad()
def load_hf(checkpoint: str) -> LanguageModel:
    """Ours with the weights of a folder, or of a model of the hub, on the CPU in float32.

    Raises ValueError if it cannot be read, ours has no such architecture or no place for a weight,
    or the two do not compute the same.
    """
    folder = pretrained.folder_of(checkpoint)
    theirs = pretrained.whole_of(folder)
    kind = theirs.config.model_type
    kin = {peer.arch: peer for peer in peers.find() if peer.like is not None}
    if kind not in kin:
        raise ValueError(f"{folder} is a {kind}; ours with such checkpoints are {', '.join(kin)}")
    peer = kin[kind]
    assert peer.like is not None and peer.pairs is not None
    ours = peer.like(theirs.config)
    if theirs.get_output_embeddings().weight is not theirs.get_input_embeddings().weight:
        raise ValueError(f"{folder} has a head of its own; ours is tied to the embedding")
    copy((mine, its) for its, mine in peer.pairs(theirs, ours))
    tokens_BT = torch.arange(TOKENS)[None] % len(ours.embed.weight)
    tokens_BT = tokens_BT[:, : ours.config.max_len]
    expected = theirs(tokens_BT, use_cache=False).logits
    error = float((ours.logits(ours(tokens_BT)[0]) - expected).abs().max() / expected.abs().max())
    if not error <= ALLOWED:
        raise ValueError(
            f"{folder} is not computed as our {kind} is: its logits are off by {error:.1e} of the "
            "largest"
        )
    return ours
