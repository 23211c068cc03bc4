"""Mamba's shape, and the names of its weights, which all packages take from the paper's code."""

from archs import LanguageModel, mamba
from archs._sizes import NAMED
from benchmarks.peers._peer import Module, Pairs, affine


def ours(size: str, max_len: int) -> LanguageModel:
    """The paper's d_inner = 2 d_model, at the size's depth."""
    shape = NAMED[size]
    config = mamba.Config(
        d_model=shape.d_model,
        n_layer=shape.n_layer,
        vocab_size=shape.vocab_size,
        d_inner=2 * shape.d_model,
    )
    return LanguageModel(config, mamba.Block)


def pairs(layer: Module, block: Module) -> Pairs:
    theirs, ours = layer.mixer, block.mixer
    return [
        *affine(theirs.conv1d, ours.conv),
        *affine(theirs.dt_proj, ours.dt),
        (layer.norm.weight, block.norm.weight),
        (theirs.in_proj.weight, ours.inputs.weight),
        (theirs.x_proj.weight, ours.select.weight),
        (theirs.A_log, ours.a_log_EN),
        (theirs.D, ours.skip_E),
        (theirs.out_proj.weight, ours.out.weight),
    ]
