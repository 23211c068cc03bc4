"""DeepSeek-V2 of Hugging Face's transformers, its MLPs dense and its query not compressed."""

from torch import Tensor

from archs import LanguageModel, mla
from archs._spine import EPS
from benchmarks.peers._peer import Module, Peer
from benchmarks.peers._transformers import Transformers
from benchmarks.pretrained import library


def ours(size: str, max_len: int) -> LanguageModel:
    return LanguageModel(mla.SIZES[size], mla.Block)


def interleaved(weight_RD: Tensor) -> Tensor:
    """Rows that turn in pairs (k, k + R / 2), as pairs (2 k, 2 k + 1)."""
    return weight_RD.unflatten(0, (2, -1)).transpose(0, 1).flatten(0, 1)


def theirs(model: Module) -> Transformers:
    config, lib = model.config, library()
    H, K, R = config.n_head, config.d_head, config.d_rope
    peer = lib.DeepseekV2ForCausalLM(
        lib.DeepseekV2Config(
            vocab_size=config.vocab_size,
            hidden_size=config.d_model,
            intermediate_size=config.d_mlp,
            num_hidden_layers=config.n_layer,
            num_attention_heads=H,
            rms_norm_eps=EPS,
            tie_word_embeddings=True,
            kv_lora_rank=config.d_latent,
            q_lora_rank=None,
            qk_nope_head_dim=K,
            qk_rope_head_dim=R,
            v_head_dim=K,
            first_k_dense_replace=config.n_layer,
        )
    )
    body = peer.model
    pairs = [(body.embed_tokens.weight, model.embed.weight), (body.norm.weight, model.norm.weight)]
    for layer, block in zip(body.layers, model.blocks, strict=True):
        attention, mlp, mixer = layer.self_attn, layer.mlp, block.mixer
        attention.kv_a_layernorm.variance_epsilon = EPS
        heads = mixer.q.weight.unflatten(0, (H, K + R))
        turned = heads[:, K:].transpose(0, 1)
        latent, key = mixer.compress.weight.split((config.d_latent, R))
        gate, up = block.mlp.up.weight.chunk(2)
        target = attention.q_proj.weight.unflatten(0, (H, K + R))
        pairs += [
            (layer.input_layernorm.weight, block.mix_norm.weight),
            (layer.post_attention_layernorm.weight, block.mlp_norm.weight),
            (target[:, :K], heads[:, :K]),
            (target[:, K:], interleaved(turned).transpose(0, 1)),
            (attention.kv_a_proj_with_mqa.weight[: config.d_latent], latent),
            (attention.kv_a_proj_with_mqa.weight[config.d_latent :], interleaved(key)),
            (attention.kv_a_layernorm.weight, mixer.norm.weight),
            (attention.kv_b_proj.weight, mixer.expand.weight),
            (attention.o_proj.weight, mixer.out.weight),
            (mlp.gate_proj.weight, gate),
            (mlp.up_proj.weight, up),
            (mlp.down_proj.weight, block.mlp.down.weight),
        ]
    return Transformers(peer, pairs, cache="past_key_values")


PEERS = [
    Peer(module=mla, impl="transformers", distribution="transformers", ours=ours, theirs=theirs)
]
