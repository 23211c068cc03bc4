"""General-purpose compressors, each at its strongest setting, timed on the bytes a model codes.

Each codes the text alone, knowing nothing; and the training text, without and with the text behind
it: the bytes that the text adds are what it costs a compressor that has read as much as the models
were trained on, as far as its window reaches. What is coded is decoded and compared.
"""

import bz2
import gzip
import lzma
import struct
import sys
import time
import zlib
from collections.abc import Callable
from functools import lru_cache
from importlib.metadata import version
from typing import NamedTuple

import brotli
import pyppmd
import zstandard

from results import Codec
from results.schema import Coded

ROUNDS = 5  # of coding the text alone, which takes milliseconds
ZSTD_WINDOW_LOG, BROTLI_WINDOW_LOG = 27, 24  # 128 and 16 MiB, the most that decoders must have
PPMD_ORDER, PPMD_BYTES = 8, 2**28
LENGTH = struct.Struct("<I")  # which a PPMd stream does not say


class Compressor(NamedTuple):
    setting: str
    version: str
    encode: Callable[[bytes], bytes]
    decode: Callable[[bytes], bytes]


def _zstd_encode(text: bytes) -> bytes:
    given = zstandard.ZstdCompressionParameters.from_level(22, window_log=ZSTD_WINDOW_LOG)
    return zstandard.ZstdCompressor(compression_params=given).compress(text)


def _zstd_decode(stream: bytes) -> bytes:
    return zstandard.ZstdDecompressor(max_window_size=2**ZSTD_WINDOW_LOG).decompress(stream)


def _ppmd_encode(text: bytes) -> bytes:
    encoder = pyppmd.Ppmd7Encoder(PPMD_ORDER, PPMD_BYTES)
    return LENGTH.pack(len(text)) + encoder.encode(text) + encoder.flush()


def _ppmd_decode(stream: bytes) -> bytes:
    (length,) = LENGTH.unpack_from(stream)
    decoder = pyppmd.Ppmd7Decoder(PPMD_ORDER, PPMD_BYTES)
    text = decoder.decode(stream[LENGTH.size :], length)
    # the encoder leaves out a zero at the end, and the decoder then asks for it
    return text if len(text) == length else text + decoder.decode(b"\0", length - len(text))


_STDLIB = f"Python {sys.version.split()[0]}"
COMPRESSORS = {
    "gzip": Compressor(
        "level 9", f"zlib {zlib.ZLIB_RUNTIME_VERSION}", gzip.compress, gzip.decompress
    ),
    "bzip2": Compressor("level 9", _STDLIB, bz2.compress, bz2.decompress),
    "xz": Compressor(
        "level 9e",
        _STDLIB,
        lambda text: lzma.compress(text, preset=9 | lzma.PRESET_EXTREME),
        lzma.decompress,
    ),
    "zstd": Compressor(
        f"level 22, window 2^{ZSTD_WINDOW_LOG}",
        f"zstandard {version('zstandard')}",
        _zstd_encode,
        _zstd_decode,
    ),
    "brotli": Compressor(
        f"quality 11, window 2^{BROTLI_WINDOW_LOG}",
        f"brotli {version('brotli')}",
        lambda text: brotli.compress(text, quality=11, lgwin=BROTLI_WINDOW_LOG),
        brotli.decompress,
    ),
    "ppmd": Compressor(
        f"variant H, order {PPMD_ORDER}",
        f"pyppmd {version('pyppmd')}",
        _ppmd_encode,
        _ppmd_decode,
    ),
}


@lru_cache(maxsize=1)
def measured(text: bytes, training: bytes) -> tuple[Codec, ...]:
    """Every compressor on the text, on the training text, and on both; once for each text.

    Raises ValueError if one does not give back what it was given.
    """
    wholes: dict[Coded, bytes] = {"text": text, "training": training, "both": training + text}
    return tuple(
        _coded(name, compressor, coded, whole, ROUNDS if coded == "text" else 1)
        for name, compressor in COMPRESSORS.items()
        for coded, whole in wholes.items()
    )


def _coded(name: str, compressor: Compressor, coded: Coded, whole: bytes, rounds: int) -> Codec:
    encode_s, decode_s, stream = list[float](), list[float](), b""
    for _ in range(rounds):
        start = time.perf_counter()
        stream = compressor.encode(whole)
        between = time.perf_counter()
        decoded = compressor.decode(stream)
        decode_s.append(time.perf_counter() - between)
        encode_s.append(between - start)
        if decoded != whole:
            raise ValueError(f"{name} ({compressor.version}) does not give back what it was given")
    return Codec(
        name=name,
        setting=compressor.setting,
        version=compressor.version,
        coded=coded,
        whole_bytes=len(whole),
        coded_bytes=len(stream),
        encode_s=tuple(encode_s),
        decode_s=tuple(decode_s),
    )
