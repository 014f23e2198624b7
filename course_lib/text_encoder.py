"""Words become vectors that know their neighbours: what a network that draws, or one that compares, reads a caption by.

    encoder = TextEncoder(TextEncoderConfig())
    encoder(avatars.encode(["a red hat and a blue shirt"]))       # (1, 24, 64): one vector a word, padding included

A caption's words are few, and what matters is which adjective stands beside which noun. Attention finds that out late:
each word is first mixed with the word on its right, and then "red" before "hat" is another vector than "red" before
"shirt".
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from course_lib.expect import indices, sizes, whole
from course_lib.transformer import Block


@dataclass
class TextEncoderConfig:
    vocab_size: int = 32                       # words; number 0 fills up what a caption is shorter than the longest
    block_size: int = 24                       # words of the longest caption
    n_layer: int = 1                           # transformer blocks
    n_head: int = 4                            # must divide n_embd
    n_embd: int = 64
    neighbours: bool = True                    # is each word mixed with the one on its right?
    bag: bool = False                          # only the mean of the word vectors: no order, no layers


class TextEncoder(nn.Module):
    """words (B, L) int64, 0 for padding -> (B, L, n_embd); as a bag of words (B, 1, n_embd).

    Padding is a word like others, as in Stable Diffusion: attention may rest on it."""

    def __init__(self, config: TextEncoderConfig):
        super().__init__()
        sizes(config)
        self.config, c = config, config
        if c.bag and (c.neighbours or c.n_layer):
            raise ValueError(f"a bag of words knows no order: with bag=True set neighbours=False and n_layer=0, not "
                             f"neighbours={c.neighbours} and n_layer={c.n_layer}")
        self.words = nn.Embedding(c.vocab_size, c.n_embd)
        self.places = None if c.bag else nn.Parameter(0.1 * torch.randn(c.block_size, c.n_embd))
        self.pair = nn.Conv1d(c.n_embd, c.n_embd, 2) if c.neighbours else None       # a word and the one on its right
        self.blocks = nn.ModuleList(Block(c.n_embd, c.n_head) for _ in range(c.n_layer))
        self.norm = nn.LayerNorm(c.n_embd)

    def forward(self, words: Tensor) -> Tensor:                   # (B, L)
        c = self.config
        words = indices("words", words, c.vocab_size, "B", "L")
        whole(1, c.block_size, **{"a caption's number of words": words.shape[1]})
        x = self.words(words)                                     # (B, L, C)
        if c.bag:
            return self.norm(x.mean(1, keepdim=True))             # (B, 1, C): the order is gone
        if self.pair is not None:
            right = F.pad(x.transpose(1, 2), (0, 1))  # (B, C, L + 1): after the last word stands nothing
            x = x + self.pair(right).transpose(1, 2)
        x = x + self.places[:words.shape[1]]
        for block in self.blocks:
            x = block(x)
        return self.norm(x)                                       # (B, L, C)

