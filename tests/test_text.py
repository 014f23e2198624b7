"""Texts: what holds in every version of Python; windows; and what a text costs in bits, by hand."""

import hashlib
import lzma
import math
import re
import struct

import pytest
import torch
from torch import nn

from course_lib.data import build_austen
from course_lib.data import text as texts
from course_lib.data.text import Text, Windows, decode, encode, load_text
from course_lib.device import seed
from course_lib.metrics import bits_per_byte


def test_bytes_are_utf8_and_come_back():
    assert encode("Aß").tolist() == [65, 195, 159]
    for s in ("", "Ada", "naïve — 数 🐍"):
        assert decode(encode(s)) == s
    assert decode(torch.tensor([65, 159, 66])) == "A\ufffdB"                   # no UTF-8


@pytest.mark.parametrize("name, least, known", [
    ("docs", 300_000, "iterable object"), ("code", 2_000_000, "def __init__(self"),
    ("austen", 3_600_000, "It is a truth universally acknowledged, that a single man in possession of a good fortune")])
def test_texts_are_real_and_split_the_same_way_each_time(name, least, known):
    text = load_text(name)
    assert text.train.dtype == torch.uint8 and len(text.train) >= least
    assert 0.05 < len(text.test) / len(text.train) < 0.2
    assert torch.equal(load_text(name).test, text.test)
    assert re.fullmatch(r"Text\(train=[\d,]+ bytes, test=[\d,]+ bytes\)", repr(text))
    words = decode(text.train)
    assert known in words and "\ufffd" not in words[:1000]


def test_the_novels_are_hers_alone_and_the_same_everywhere():
    """Their hash is the one in the data's README; no title, heading, note or mark of an editor is left."""
    whole = lzma.decompress(texts.AUSTEN.read_bytes())
    assert hashlib.sha256(whole).hexdigest() in (texts.AUSTEN.parent / "README.md").read_text(encoding="utf-8")
    paragraphs = [p for chapter in whole.decode().split("\n\n\n") for p in chapter.rstrip("\n").split("\n\n")]
    assert len(whole.decode().split("\n\n\n")) == 50 + 61 + 48 + 55 + 31 + 24        # the chapters of the six novels
    assert not [p for p in paragraphs if "\n" in p or p != " ".join(p.split()) or "_" in p]
    editors = re.compile(r"(chapter|volume) [ivxl\d]|the end$|finis|\[(at|end) |\(end |by jane|.*(gutenberg|\be-?book)")
    assert not [p for p in paragraphs if editors.match(p.lower())]


def test_each_chapter_is_whole_and_on_one_side():
    text = load_text("austen")
    chapters = lzma.decompress(texts.AUSTEN.read_bytes()).decode().rstrip("\n").split("\n\n\n")
    train, test = (bytes(side.tolist()).decode() for side in text)
    assert len(train) + len(test) == sum(map(len, chapters)) + 2 * len(chapters)
    assert all((chapter in train) != (chapter in test) for chapter in chapters)
    known = "With more than usual eagerness did Catherine hasten to the pump-room the next day"
    assert known in test and known not in train


@pytest.mark.parametrize("lines, chapters", [
    (["EMMA", "", "VOLUME I", "", "Chapter 1", "", "a  b", "_c_.", "", "d", "", "CHAPTER XIV.", "", "e", "", "FINIS"],
     ["a b c.\n\nd", "e"]),
    (["CHAPTER 1", "a", "", "CHAPTER 2", "", "[At this point in the first", "edition, it ends.]", "", "b", "", "* * *"],
     ["b"]),
    (["Chapter 9", "", "a", "", "A NOTE ON THE TEXT", "", "b"], ["a"]),
])
def test_the_builder_keeps_her_words_only(lines, chapters):
    assert build_austen.chapters(lines) == chapters


def test_the_builder_reads_what_r_has_saved():
    """A vector of two strings, byte by byte as R writes it; and no other archive is accepted."""
    data = b"RDX2\nX\n" + bytes(24) + b"emma" + struct.pack(">iiii", 16, 2, 0x40009, 3) + b"one"
    data += struct.pack(">ii", 0x8009, 3) + "£2".encode() + struct.pack(">i", 254)
    assert build_austen.r_strings(data, "emma") == ["one", "£2"]
    with pytest.raises(ValueError, match="type 14"):
        build_austen.r_strings(b"emma" + struct.pack(">ii", 14, 2), "emma")


def test_the_builder_wants_the_very_archive(tmp_path):
    (tmp_path / "other.tar.gz").write_bytes(b"something else")
    with pytest.raises(ValueError, match="use janeaustenr 1.0.0"):
        build_austen.read_source(str(tmp_path / "other.tar.gz"))


def test_the_same_paragraph_is_on_one_side_and_there_once():
    text = load_text("docs")
    sides = [[" ".join(p.split()) for p in re.split(r"\n\s*\n", decode(side)) if p.strip()] for side in text]
    assert len(set(sides[0])) == len(sides[0]) and len(set(sides[1])) == len(sides[1])
    assert not set(sides[0]) & set(sides[1])


def test_little_of_the_test_text_is_known_by_heart():
    """Whoever could copy from the training text would be told from one who has learned the language."""
    train, test = (bytes(side.tolist()) for side in load_text("docs"))
    known = {train[i:i + 60] for i in range(len(train) - 60)}
    assert sum(test[i:i + 60] in known for i in range(0, len(test) - 60, 7)) * 7 / len(test) < 0.05


def test_a_hash_decides_and_not_the_order():
    titles = [f"title {i}" for i in range(4000)]
    share = sum(map(texts._is_test, titles)) / 4000
    assert share == pytest.approx(0.1, abs=0.015)
    assert [i for i in range(40) if texts._is_test(f"title {i}")] == [14, 15, 27, 31, 37]      # on every machine


def test_windows_are_pieces_of_the_text_and_reach_both_ends():
    text, seen = torch.arange(50, dtype=torch.uint8), set()
    seed(0)
    for _ in range(300):
        for (idx,) in Windows(text, batch_size=4, block_size=8):
            assert idx.shape == (4, 9) and idx.dtype == torch.long
            assert (idx.diff() == 1).all()
            seen |= set(idx[:, 0].tolist())
    assert seen == set(range(42))
    assert len(Windows(text, 2, 8)) == 3
    for wrong, words in ((dict(text=text[:8]), "block_size + 1 = 9"), (dict(batch_size=0), "batch_size=0")):
        with pytest.raises(ValueError, match=re.escape(words)):
            Windows(**dict(text=text, batch_size=2, block_size=8) | wrong)


def test_an_unknown_text_is_answered_with_the_known_ones():
    with pytest.raises(ValueError, match="'doc': choose one of austen, docs, code"):
        load_text("doc")
    assert isinstance(load_text(), Text)


# ---- bits per byte

class Uneven(nn.Module):
    """Probability 1/2 for the byte that follows in the alphabet, the rest divided evenly, whatever was before."""

    def forward(self, idx):
        p = torch.full((*idx.shape, 256), 0.5 / 255)
        return p.scatter(-1, (idx[..., None] + 1) % 256, 0.5).log()


@pytest.mark.parametrize("block_size, stride", [(128, None), (8, None), (8, 4), (7, 1), (10, 3)])
@pytest.mark.parametrize("n", [2, 8, 9, 10, 41])
def test_every_byte_but_the_first_is_counted_once(n, block_size, stride):
    text = torch.arange(n)
    assert bits_per_byte(Uneven(), text, block_size, stride) == pytest.approx((8 + n - 1) / n, rel=1e-5)
    text[n // 2] = 200                                                         # one surprise, and one after it
    dear = math.log2(2 * 255)
    wrong = 1 + (n // 2 + 1 < n)
    expected = (8 + (n - 1 - wrong) + wrong * dear) / n
    assert bits_per_byte(Uneven(), text, block_size, stride, batch_size=2) == pytest.approx(expected, rel=1e-5)


def test_a_longer_stride_hides_what_came_before():
    """A model that knows a byte only by its number of predecessors: bits tell how much context each byte had."""
    class Knows(nn.Module):
        def forward(self, idx):
            context = torch.arange(1, idx.shape[1] + 1).clamp(max=8).float()
            logits = torch.zeros(*idx.shape, 256)
            logits[..., 0] = (context * math.log(2)).expand(idx.shape)
            return logits
    text = torch.zeros(65, dtype=torch.uint8)
    short, long = (bits_per_byte(Knows(), text, 8, stride) for stride in (8, 1))
    cost = [math.log2(1 + 255 / 2**c) for c in range(1, 9)]
    assert short == pytest.approx((8 + 8 * sum(cost)) / 65, rel=1e-5)
    assert long == pytest.approx((8 + sum(cost) + 56 * cost[-1]) / 65, rel=1e-5)


def test_tokens_that_are_more_than_a_byte_are_paid_by_the_byte():
    assert bits_per_byte(Uneven(), torch.arange(10), n_bytes=40) == pytest.approx((8 + 9) / 40, rel=1e-5)


def test_a_model_in_training_is_measured_without_dropout_and_left_in_training():
    class Noisy(Uneven):
        def forward(self, idx):
            return super().forward(idx) * (1 + self.training)
    model = Noisy().train()
    assert bits_per_byte(model, torch.arange(30)) == pytest.approx(37 / 30, rel=1e-5) and model.training


def test_noise_costs_eight_bits_for_xz_and_for_a_model_that_knows_nothing():
    noise = torch.randint(256, (20_000,), dtype=torch.uint8)
    assert 8 * len(lzma.compress(bytes(noise.tolist()))) / 20_000 == pytest.approx(8, abs=0.1)
    assert bits_per_byte(lambda idx: torch.zeros(*idx.shape, 256), noise) == pytest.approx(8)


def test_a_stride_longer_than_the_block_is_refused():
    with pytest.raises(ValueError, match="stride=5"):
        bits_per_byte(Uneven(), torch.arange(9), 4, 5)
