"""A language model as a lossless compressor: its predictions drive an arithmetic coder.

Delétang et al., Language Modeling Is Compression, section 2  https://arxiv.org/abs/2309.10668. The
coder is a range coder, Martin 1979, of the library constriction: Bamler, Understanding Entropy
Coding With Asymmetric Numeral Systems, section 6  https://arxiv.org/abs/2201.01741.

A decoder must have the encoder's probabilities bit for bit; a last bit that differs ruins all that
follows. Reading a whole text at once rounds otherwise than reading it byte by byte, so here both
sides call the same Predictor, which makes the same calls of the same shapes on the same states.
From its float32 probabilities constriction makes integers of 24 bits by the same arithmetic on
both sides, none of them zero, so that any byte can be coded. Another machine or version of torch
may round otherwise: a stream is to be read where it was written.
"""

import struct
import zlib
from collections.abc import Callable
from typing import NamedTuple

import constriction
import numpy as np
import torch
from torch import Tensor

from archs import LanguageModel

# checksum of all that follows it, checksum of the text, lanes, bytes of text in each
HEADER = struct.Struct("<IIII")
BYTE_VALUES = 256
QUEUE = constriction.stream.queue
FAMILY = constriction.stream.model.Categorical(perfect=False)


class CorruptStream(ValueError):
    """What was to be decoded is not what was encoded, or not with this model."""


class Predictor:
    """What a model of bytes says of the next one in several texts side by side, its lanes.

    It reads a byte at a time into its states. Once they hold `window` bytes they are made anew
    from the last half of them, so that no model reads further than it was trained to, and every
    byte but a lane's first is predicted from half a window or all there is. `check` is called
    ahead of each step and may raise.
    """

    def __init__(
        self,
        model: LanguageModel,
        lanes: int,
        window: int,
        device: str,
        check: Callable[[], None] = lambda: None,
    ) -> None:
        self.model, self.lanes, self.window, self.device = model, lanes, window, device
        self.check = check
        self.past_LT = torch.empty(lanes, 0, dtype=torch.int64)  # the last `window` bytes
        self.states, self.read = list[object](), window  # full, so that the first byte begins anew

    def tell(self, byte_L: Tensor) -> None:
        """What the next byte of each lane turned out to be."""
        self.past_LT = torch.cat([self.past_LT, byte_L[:, None]], dim=1)[:, -self.window :]

    @torch.inference_mode()
    def next(self) -> Tensor:
        """Log-probabilities (lanes, 256) of the next byte, in float64; ahead of the first, even.

        Call it once after each `tell`.
        """
        self.check()
        if not self.past_LT.shape[1]:
            even = torch.full((self.lanes, BYTE_VALUES), 1 / BYTE_VALUES, dtype=torch.float64)
            return even.log()
        new_LT = self.past_LT[:, -1:]
        if self.read == self.window:
            new_LT = self.past_LT[:, -max(1, self.window // 2) :]
            self.states, self.read = self.model.init_state(self.lanes, self.window), 0
        x_LTD, self.states = self.model(new_LT.to(self.device), self.states)
        self.read += new_LT.shape[1]
        return self.model.logits(x_LTD[:, -1]).double().cpu().log_softmax(-1)


def _probabilities(log_LV: Tensor) -> np.ndarray:
    return log_LV.exp().float().numpy()


class Encoded(NamedTuple):
    stream: bytes
    ideal_nats: float  # -Σ ln p of every byte, by the model's own probabilities


def encode(predictor: Predictor, text_LT: Tensor) -> Encoded:
    """One stream of all lanes of a text, (lanes, bytes) of uint8."""
    coder, nats = QUEUE.RangeEncoder(), 0.0
    for byte_L in text_LT.long().T:
        log_LV = predictor.next()
        nats -= float(log_LV.gather(1, byte_L[:, None]).sum())
        coder.encode(byte_L.numpy().astype(np.int32), FAMILY, _probabilities(log_LV))
        predictor.tell(byte_L)
    coded = coder.get_compressed().astype("<u4").tobytes()
    rest = HEADER.pack(0, zlib.crc32(text_LT.numpy().tobytes()), *text_LT.shape)[4:] + coded
    return Encoded(struct.pack("<I", zlib.crc32(rest)) + rest, nats)


def decode(predictor: Predictor, stream: bytes) -> Tensor:
    """The text, (lanes, bytes) of uint8.

    Raises CorruptStream if the stream was changed or cut, or if the predictor, which must be fresh,
    does not predict what the encoder's did.
    """
    if len(stream) < HEADER.size or zlib.crc32(stream[4:]) != struct.unpack_from("<I", stream)[0]:
        raise CorruptStream(
            f"a stream of {len(stream)} bytes fails its checksum: it was changed or cut since it "
            "was encoded; encode the text again"
        )
    _, text_crc, lanes, length = HEADER.unpack_from(stream)
    if lanes != predictor.lanes:
        raise CorruptStream(f"the stream has {lanes} lanes and its predictor {predictor.lanes}")
    coded = np.frombuffer(stream, "<u4", offset=HEADER.size).astype(np.uint32)
    coder, text_LT = QUEUE.RangeDecoder(coded), torch.empty(lanes, length, dtype=torch.uint8)
    for t in range(length):
        byte_L = torch.from_numpy(coder.decode(FAMILY, _probabilities(predictor.next())))
        text_LT[:, t] = byte_L
        predictor.tell(byte_L.long())
    if zlib.crc32(text_LT.numpy().tobytes()) != text_crc:
        raise CorruptStream(
            "the decoded text fails its checksum: the model does not predict what it did when "
            "the text was encoded; decode with the same weights, kernels, machine and torch"
        )
    return text_LT
