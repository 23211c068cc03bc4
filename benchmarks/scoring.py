"""Models from here, trained or wrapped, as lm-eval scores them.

https://github.com/EleutherAI/lm-evaluation-harness

    from lm_eval import simple_evaluate
    from benchmarks.scoring import of_checkpoint, of_record

    simple_evaluate(of_checkpoint("hf:FOLDER_OR_NAME"), tasks=["lambada_openai"])
    simple_evaluate(of_record("results/LABEL/quality-….json"), tasks=["lambada_openai"])

Everything goes through forward(x, state): a context is read once, whatever is then asked after it.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from lm_eval.api.model import TemplateLM
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window
from torch import Tensor
from torch.utils._pytree import tree_map

import archs
import results
from archs import LanguageModel
from benchmarks import corpus, machine, outside, pretrained, quality
from benchmarks.data import spelling
from benchmarks.data.vocabulary import BYTES
from results.schema import OF_TEXT

WINDOW = 2048  # tokens that a model without places may read
MOST_WRITTEN = 256  # tokens, where a task does not say
LINE = ord("\n")  # stands before a text of bytes that nothing else stands before


class Scored(TemplateLM):
    """A model, its tokens, the one that a text begins after, and how many it reads at most."""

    def __init__(
        self,
        model: LanguageModel,
        encode: Callable[[str], list[int]],
        decode: Callable[[list[int]], str],
        prefix: int,
        window: int = WINDOW,
    ) -> None:
        super().__init__()
        self.model, self.encode, self.decode, self.prefix = model, encode, decode, prefix
        places = model.config.max_len
        self.window = window if places is None else min(window, places)

    @property
    def eot_token_id(self) -> int:
        return self.prefix

    def tok_encode(
        self, string: str, add_special_tokens: bool | None = None, **kwargs: Any
    ) -> list[int]:
        return self.encode(string)

    def _read(self, tokens: Sequence[int], states: Any) -> tuple[Tensor, Any]:
        """Log-probabilities after each token, in float64, and the states after the last."""
        tokens_1T = torch.tensor([tokens], device=self.model.embed.weight.device)
        x_1TD, states = self.model(tokens_1T, states)
        return self.model.logits(x_1TD)[0].double().log_softmax(-1).cpu(), states

    @torch.inference_mode()
    def _loglikelihood_tokens(
        self, requests: list[tuple[Any, list[int], list[int]]], **kwargs: Any
    ) -> list[tuple[float, bool]]:
        """Of each continuation after its context, of which the last that fits is read; and whether
        it is what greedy decoding writes."""
        told, before = [], None
        last_1V, states = torch.empty(0), None
        for _, context, continuation in requests:
            if len(continuation) > self.window:
                raise ValueError(f"{len(continuation)} tokens to score; {self.window} can be read")
            context = context[-(self.window + 1 - len(continuation)) :]
            if context != before:
                before = context
                log_p_TV, states = self._read(context, self.model.init_state(1, self.window))
                last_1V = log_p_TV[-1:]
            parts = [last_1V]
            if len(continuation) > 1:
                parts += [self._read(continuation[:-1], tree_map(torch.clone, states))[0]]
            log_p_TV, wanted_T = torch.cat(parts), torch.tensor(continuation)
            log_p = float(log_p_TV.gather(1, wanted_T[:, None]).sum())
            told.append((log_p, bool((log_p_TV.argmax(-1) == wanted_T).all())))
        return told

    def loglikelihood_rolling(self, requests: list[Any], disable_tqdm: bool = False) -> list[float]:
        """Of whole texts, each token after as many as fit."""
        told = []
        for (text,) in (request.args for request in requests):
            windows = get_rolling_token_windows(self.encode(text), self.prefix, self.window, 1)
            pairs = [("", *make_disjoint_window(pair)) for pair in windows]
            told.append(sum(log_p for log_p, _ in self._loglikelihood_tokens(pairs)))
        return told

    @torch.inference_mode()
    def generate_until(self, requests: list[Any], disable_tqdm: bool = False) -> list[str]:
        """Greedily, until one of the strings a task names, which is cut off.

        Raises ValueError if a task wants anything drawn at random.
        """
        return [self._written(context, asked) for context, asked in (r.args for r in requests)]

    def _written(self, context: str, asked: dict[str, Any]) -> str:
        if asked.get("do_sample") or asked.get("temperature"):
            raise ValueError(f"only greedy decoding is here, and a task asks for {asked}")
        stops = [asked["until"]] if isinstance(asked["until"], str) else asked["until"]
        most = asked.get("max_gen_toks", MOST_WRITTEN)
        if most >= self.window:
            raise ValueError(f"{most} tokens to write; {self.window} can be read and written")
        read = (self.encode(context) or [self.prefix])[-(self.window - most) :]
        log_p_TV, states = self._read(read, self.model.init_state(1, self.window))
        ids: list[int] = []
        while len(ids) < most:
            ids.append(int(log_p_TV[-1].argmax()))
            text = self.decode(ids)
            if found := [text.index(stop) for stop in stops if stop in text]:
                return text[: min(found)]
            log_p_TV, states = self._read(ids[-1:], states)
        return self.decode(ids)


def of_checkpoint(word: str, device: str | None = None, window: int = WINDOW) -> Scored:
    """`hf:FOLDER_OR_NAME`, with its own tokenizer; a text stands after what begins one.

    Raises ValueError if it cannot be loaded, has no tokenizer, or nothing that begins a text.
    """
    arch = outside.named(word)
    (size,) = archs.load(arch).SIZES
    folder = Path(archs.load(arch).SIZES[size].folder)
    tokenizer = spelling.library_tokenizer(folder)
    about = pretrained.config_of(folder).get_text_config()
    prefix = about.eos_token_id if about.bos_token_id is None else about.bos_token_id
    if not isinstance(prefix, int):
        raise ValueError(f"{folder} says no bos_token_id, after which a text would stand")
    model = archs.build(arch, size).to(machine.pick_device(device))

    def encode(text: str) -> list[int]:
        ids: list[int] = tokenizer.encode(text, add_special_tokens=False).ids
        return ids

    return Scored(model, encode, tokenizer.decode, prefix, window)


def of_record(path: str | Path, sources: Sequence[str] = (), device: str | None = None) -> Scored:
    """The model of a Record, trained over again, as long as that takes: a Record says all that
    decides a training. It reads as many tokens as it was trained on at once.

    `sources`, where the text is the user's own: its files. Raises ValueError if the Record is not
    of a training on bytes of text, or the text is not the one that was read.
    """
    record = results.read(Path(path))
    case = record.case
    if case.phase not in OF_TEXT or case.tokens is None or case.tokenizer != BYTES.name:
        raise ValueError(f"{path} is not of a training on bytes of text, such as quality's")
    text = corpus.load(sources or [str(case.corpus)])
    if text.sha256 != record.corpus_sha256:
        raise ValueError(f"{path} was trained on {case.corpus}, and {text.name} is other text")
    model, _ = quality.trained(case, text, machine.pick_device(device), check=lambda: None)
    return Scored(model, _in_bytes, _of_bytes, LINE, case.seq_len)


def _in_bytes(text: str) -> list[int]:
    return list(text.encode())


def _of_bytes(ids: list[int]) -> str:
    return bytes(ids).decode("utf-8", "replace")
