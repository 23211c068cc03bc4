"""A causal language model of Hugging Face's transformers as an architecture, weights and all.

Its body and its head are called apart, as prefill wants the head of one token only; its state is
the cache that it makes, whose tensors are leaves to whoever copies or measures a state. Weights are
read from safetensors and nothing else, and no code of a checkpoint's is run.
"""

import hashlib
import importlib
import inspect
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._pytree import register_pytree_node

from archs import LanguageModel, _spine
from benchmarks.data import spelling, vocabulary

PREFIX = "hf:"
PACKAGE = "transformers"
CACHES = ("past_key_values", "cache_params", "state")  # names a model has for its own
FEW = 4  # tokens on which body and head are held to the whole
FILES = ("*.json", "*.safetensors")


def library() -> Any:
    """Raises ValueError if it is missing."""
    try:
        transformers = importlib.import_module(PACKAGE)
    except ModuleNotFoundError:
        raise ValueError(
            f"{PREFIX} needs the package {PACKAGE}; `pip install 'seqfrontier[hf]'`"
        ) from None
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    return transformers


def folder_of(checkpoint: str) -> Path:
    """Where a local folder, or a model of the hub, lies here; the latter is fetched once.

    Raises ValueError if there is none, or no safetensors in it.
    """
    folder = Path(checkpoint)
    folder = folder.resolve() if os.path.isdir(folder) else _fetched(checkpoint)
    if not (folder / "config.json").exists():
        raise ValueError(f"{folder} is no checkpoint: it holds no config.json")
    if not any(folder.glob("*.safetensors")):
        others = ", ".join(p.name for p in sorted(folder.glob("*.bin"))) or "no weights"
        raise ValueError(
            f"{folder} holds {others} and no safetensors, which alone are read: a pickle can run "
            "any code; save it again with transformers' save_pretrained"
        )
    return folder


def _fetched(checkpoint: str) -> Path:
    library()
    hub = importlib.import_module("huggingface_hub")
    try:
        return Path(hub.snapshot_download(checkpoint, allow_patterns=list(FILES)))
    except (OSError, ValueError) as error:
        said = str(error).partition("\n")[0]
        raise ValueError(
            f"{PREFIX}{checkpoint} is no folder here and could not be fetched ({said}); it takes a "
            "folder with config.json and safetensors, or a model's name and a network that reaches "
            "the hub"
        ) from None


def stem_of(folder: Path) -> str:
    """The checkpoint's name, which in the hub's cache is that of the folder around its versions."""
    named = folder.parents[1] if folder.parent.name == "snapshots" else folder
    return re.sub(r"[^\w.-]", "_", named.name.rpartition("--")[2], flags=re.ASCII).strip(".")


def digest_of(folder: Path) -> str:
    """Of the config and all weights."""
    whole = hashlib.sha256()
    for path in [folder / "config.json", *sorted(folder.glob("*.safetensors"))]:
        with path.open("rb") as file:
            whole.update(hashlib.file_digest(file, "sha256").digest())
    return whole.hexdigest()


def module_of(folder: Path) -> ModuleType:
    """What a file in archs/ exports, of the checkpoint: one size. Knows its tokenizer from now on.

    Raises ValueError if it is not a causal language model that can be called part by part.
    """
    tokenizer = spelling.name_of(folder)
    vocabulary.add(tokenizer, lambda: spelling.load(folder))
    with torch.device("meta"):
        whole = whole_of(folder)
    embed = whole.get_input_embeddings()
    tables = [m for m in _body(whole).modules() if isinstance(m, nn.Embedding) and m is not embed]
    text = whole.config.get_text_config()
    vocab_size, d_model = embed.weight.shape
    config = Config(
        d_model=d_model,
        n_layer=text.num_hidden_layers,
        vocab_size=vocab_size,
        max_len=text.max_position_embeddings if tables else None,
        tokenizer=tokenizer,
        folder=str(folder),
    )
    module = ModuleType(stem_of(folder))
    size = _size_name(sum(p.numel() for p in whole.parameters()))
    vars(module).update(Config=Config, SIZES={size: config}, State=Past, Block=_spine.Block)
    return module


def _size_name(params: int) -> str:
    """As ours are called."""
    if params < 1e6:
        return f"{params / 1e3:.0f}k"
    return f"{params / 1e6:.0f}m" if params < 1e9 else f"{params / 1e9:.1f}b"


def config_of(folder: Path) -> Any:
    return library().AutoConfig.from_pretrained(folder, trust_remote_code=False)


def whole_of(folder: Path) -> Any:
    """With its weights, or without on the meta device.

    Raises ValueError if transformers has no causal language model of this kind, or not all of its
    weights are there, which transformers would draw at random.
    """
    auto, options = library().AutoModelForCausalLM, {"trust_remote_code": False}
    try:
        config = config_of(folder)
        if torch.get_default_device().type == "meta":
            return auto.from_config(config, dtype=torch.float32, **options).eval()
        options |= {"local_files_only": True, "use_safetensors": True, "output_loading_info": True}
        whole, told = auto.from_pretrained(folder, config=config, dtype=torch.float32, **options)
    except (ImportError, KeyError, OSError, ValueError) as error:
        said = str(error).partition("\n")[0]
        raise ValueError(
            f"{PACKAGE} cannot load {folder} as a causal language model: {said}"
        ) from None
    wrong = sorted({*told["missing_keys"], *map(str, told["mismatched_keys"])})
    if wrong:
        raise ValueError(f"{folder} lacks weights of its model: {', '.join(wrong)}")
    return whole.eval()


def _body(whole: Any) -> Any:
    """All but the head. Raises ValueError where they are one."""
    if whole.base_model is whole:
        raise ValueError(f"{PACKAGE}' {type(whole).__name__} has no body that its head stands on")
    return whole.base_model


class Past:
    """What was read so far, a state: transformers' cache, or None before the first token."""

    def __init__(self, cache: Any) -> None:
        self.cache = cache


def _tensors(held: Any) -> Iterator[Tensor]:
    if isinstance(held, Tensor):
        yield held
    elif isinstance(held, dict):
        for value in held.values():
            yield from _tensors(value)
    elif isinstance(held, list | tuple):
        for value in held:
            yield from _tensors(value)
    elif type(held).__module__.startswith(f"{PACKAGE}."):
        yield from _tensors(vars(held))


def _flatten(past: Past) -> tuple[list[Tensor], Any]:
    return list({id(tensor): tensor for tensor in _tensors(past.cache)}.values()), past.cache


def _unflatten(leaves: Iterable[Tensor], cache: Any) -> Past:
    """A copy of the cache with these tensors in the places of its own."""
    olds = {id(tensor): tensor for tensor in _tensors(cache)}
    return Past(deepcopy(cache, dict(zip(olds, leaves, strict=True))))


register_pytree_node(Past, _flatten, _unflatten)


@dataclass(frozen=True, kw_only=True)
class Config(_spine.Config):
    folder: str

    def model(self, block: type[_spine.Block]) -> LanguageModel:
        return Pretrained(self)


class Pretrained(LanguageModel):
    """The model of a folder, in float32, dropout off; its one block is all of it."""

    config: Config

    def __init__(self, config: Config) -> None:
        nn.Module.__init__(self)
        whole = whole_of(Path(config.folder)).to(torch.get_default_device())
        self.config, self.blocks = config, nn.ModuleList([whole])
        self.embed = whole.get_input_embeddings()
        takes = inspect.signature(_body(whole).forward).parameters
        self.cache = next((name for name in CACHES if name in takes), "")
        if not self.cache:
            raise ValueError(f"{PACKAGE}' {type(whole).__name__} takes no cache to go on from")
        if self.embed.weight.device.type != "meta":
            self._check()

    @torch.no_grad()
    def _check(self) -> None:
        """Raises ValueError if body and head are not the whole."""
        few = torch.arange(FEW, device=self.embed.weight.device)[None] % len(self.embed.weight)
        apart, expected = self.logits(self(few)[0]), self.blocks[0](few, use_cache=False).logits
        if not torch.allclose(apart, expected, rtol=1e-4, atol=1e-4):
            name = type(self.blocks[0]).__name__
            raise ValueError(f"{PACKAGE}' {name} cannot be called as a body and then a head")

    def init_state(self, batch: int, max_len: int) -> list[Any]:
        return [Past(None)]

    def forward(
        self, tokens_BT: Tensor, states: Sequence[Any] | None = None
    ) -> tuple[Tensor, list[Any]]:
        """Raises ValueError past the end of a learned position table, and where transformers'
        model does not go on from a state."""
        if states is None:
            self._places(tokens_BT.shape[1])
            return _body(self.blocks[0])(tokens_BT, use_cache=False)[0], [None]
        (past,) = states
        if past.cache is None:
            x_BTD, cache = self._read(tokens_BT, None)
            return x_BTD, [Past(cache)]
        # token by token: some begin a scan over several from zeros, whatever the cache holds
        parts, cache = [], past.cache
        for token_B1 in tokens_BT.split(1, dim=1):
            x_B1D, cache = self._read(token_B1, cache)
            parts.append(x_B1D)
        return torch.cat(parts, dim=1), [Past(cache)]

    def _places(self, end: int) -> None:
        rows = self.config.max_len
        if rows is not None and end > rows:
            raise ValueError(
                f"{self.config.folder} has places for {rows} tokens and was given {end}"
            )

    def _read(self, tokens_BT: Tensor, cache: Any) -> tuple[Tensor, Any]:
        T = tokens_BT.shape[1]
        if self.config.max_len is not None:
            self._places(T if cache is None else T + cache.get_seq_length())
        given = {} if cache is None else {self.cache: cache}
        seen = _body(self.blocks[0])(tokens_BT, use_cache=True, **given)
        name = type(self.blocks[0]).__name__
        if seen.get(self.cache) is None:
            raise ValueError(f"{PACKAGE}' {name} keeps its state to itself")
        if seen[0].shape[:2] != tokens_BT.shape:
            raise ValueError(
                f"{PACKAGE}' {name} goes on with one sequence at a time; use --batch 1"
            )
        return seen[0], seen[self.cache]

    def logits(self, x_BTD: Tensor) -> Tensor:
        """The model's own, of a body that has already said this."""
        x_1MD = x_BTD.reshape(1, -1, x_BTD.shape[-1])
        with _answering(_body(self.blocks[0]), x_1MD):
            tokens_1M = torch.zeros(x_1MD.shape[:2], dtype=torch.int64, device=x_BTD.device)
            logits_1MV: Tensor = self.blocks[0](tokens_1M, use_cache=False).logits
        return logits_1MV.view(*x_BTD.shape[:-1], -1)

    def nll(self, tokens_BT: Tensor, targets_BT: Tensor) -> Tensor:
        logits_BTV = self.logits(self(tokens_BT)[0])
        logits_MV = logits_BTV.flatten(0, 1).to(
            torch.promote_types(logits_BTV.dtype, torch.float32)
        )
        return F.cross_entropy(logits_MV, targets_BT.flatten(), reduction="none").view_as(
            targets_BT
        )

    def forward_flops(self, tokens: int, past: int = 0, scored: int | None = None) -> None:
        """Unknown, like the bytes it must move: no formula holds for every model."""

    def moved_bytes(self, batch: int, tokens: int, past: int) -> None:
        return None


class _Said:
    """An output of which only the hidden states are known."""

    def __init__(self, x_BTD: Tensor) -> None:
        self.last_hidden_state = x_BTD

    def __getitem__(self, place: int) -> Tensor:
        return (self.last_hidden_state,)[place]

    def __getattr__(self, name: str) -> None:
        return None


@contextmanager
def _answering(body: Any, x_BTD: Tensor) -> Iterator[None]:
    body.forward = lambda *args, **kwargs: _Said(x_BTD)
    try:
        yield
    finally:
        del body.forward
