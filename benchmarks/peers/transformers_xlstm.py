"""xLSTM of Hugging Face's transformers: mLSTM in chunks of 64, as where there are no kernels."""

from archs import LanguageModel, mlstm
from archs._spine import EPS
from benchmarks.peers._peer import Module, Peer
from benchmarks.peers._transformers import Transformers, library

NO_CAP = 1e4  # logits, which theirs bends towards a cap, stay straight


def ours(size: str, max_len: int) -> LanguageModel:
    return LanguageModel(mlstm.SIZES[size], mlstm.Block)


def theirs(model: Module) -> Transformers:
    config, lib = model.config, library()
    # its own code and not that of the package xlstm, which cannot do without mlstm_kernels
    lib.utils.is_xlstm_available = lambda: False

    class Config(lib.xLSTMConfig):  # type: ignore[misc, name-defined]
        qk_dim = config.d_model // 2  # its cache rounds up to 64s, its layers do not

    peer = lib.xLSTMForCausalLM(
        Config(
            vocab_size=config.vocab_size,
            hidden_size=config.d_model,
            num_hidden_layers=config.n_layer,
            num_heads=config.n_head,
            norm_eps=EPS,
            eps=0.0,  # it would be added to the norm that h is divided by
            gate_soft_cap=mlstm.GATE_CAP,
            output_logit_soft_cap=NO_CAP,
            ffn_proj_factor=config.d_mlp / config.d_model,
            ffn_round_up_to_multiple_of=1,
        )
    )
    body = peer.backbone
    peer.lm_head.weight = body.embeddings.weight
    pairs = [
        (body.embeddings.weight, model.embed.weight),
        (body.out_norm.weight, model.norm.weight),
    ]
    for layer, block in zip(body.blocks, model.blocks, strict=True):
        mixer, source = layer.mlstm_layer, block.mixer
        mixer.multihead_norm.eps = mlstm.NORM_EPS
        q, k, v, z = source.inputs.weight.split(source.split)
        weights, biases = source.gates.weight.chunk(2), source.gates.bias.chunk(2)
        for gate, weight, bias in zip(
            (mixer.igate_preact, mixer.fgate_preact), weights, biases, strict=True
        ):
            pairs += [(gate.weight, weight), (gate.bias, bias)]
        up_gate, up = block.mlp.up.weight.chunk(2)
        pairs += [
            (layer.norm_mlstm.weight, block.mix_norm.weight),
            (mixer.q.weight, q),
            (mixer.k.weight, k),
            (mixer.v.weight, v),
            (mixer.ogate_preact.weight, z),
            (mixer.multihead_norm.weight, source.scale_D),
            (mixer.out_proj.weight, source.out.weight),
            (layer.norm_ffn.weight, block.mlp_norm.weight),
            (layer.ffn.proj_up_gate.weight, up_gate),
            (layer.ffn.proj_up.weight, up),
            (layer.ffn.proj_down.weight, block.mlp.down.weight),
        ]
    return Transformers(peer, pairs, cache="cache_params")


PEERS = [
    Peer(module=mlstm, impl="transformers", distribution="transformers", ours=ours, theirs=theirs)
]
