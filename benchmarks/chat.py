"""Instruction tuning as in lesson 73 beside Hugging Face's GPT-2 of the same sizes, on the same packed dialogues.

`rows()` is a part of `make bench`.   python benchmarks/chat.py   prints it alone."""

import importlib.util
from functools import partial
from random import Random

import torch
from tables import table
from torch import nn
from torch.nn import functional as F

from course_lib.chat import Vocabulary, chat_loss, pack, template
from course_lib.data import house
from course_lib.device import bfloat16_is_fast, seed
from course_lib.gpt import GPT, fast
from course_lib.muon import muon

N_LAYER, N_HEAD, N_EMBD, T, ROWS = 3, 4, 64, 256, 16
words = Vocabulary(house.WORDS)
tokens, learn = pack([template(words, house.conversation(Random(f"bench {k}"), 0.25)) for k in range(400)], T)
PRECISION = torch.bfloat16 if bfloat16_is_fast() else torch.float32            # of ours, in training


def adamw(model):
    return torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.95), weight_decay=0.1)


def theirs():
    """GPT2LMHeadModel as its documentation has it: what shall not be learned is -100 in `labels`."""
    from transformers import GPT2Config, GPT2LMHeadModel

    return GPT2LMHeadModel(GPT2Config(vocab_size=len(words), n_positions=T + 1, n_embd=N_EMBD, n_layer=N_LAYER,
                                      n_head=N_HEAD, resid_pdrop=0, embd_pdrop=0, attn_pdrop=0, bos_token_id=None,
                                      eos_token_id=None))


def their_loss(model, tokens, learn):
    logits = model(tokens[:, :-1]).logits.flatten(0, 1)
    return {"loss": F.cross_entropy(logits, tokens[:, 1:].masked_fill(~learn[:, 1:], -100).flatten())}


def tuning(build, optimizer, loss_fn, n: int = 4):
    """A function that trains on by n steps of ROWS rows, the same rows for everyone."""
    seed(0)
    model = build()
    update = optimizer(model)

    def steps():
        for _ in range(n):
            loss = loss_fn(model, tokens[:ROWS], learn[:ROWS])["loss"]
            update.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            update.step()
        return loss.item()

    return steps


def our_tuning():
    sizes = dict(n_layer=N_LAYER, n_head=N_HEAD, n_embd=N_EMBD, block_size=T)
    return tuning(lambda: GPT(fast(vocab_size=len(words), **sizes)), muon, partial(chat_loss, dtype=PRECISION))


def rows() -> list[tuple]:
    if not importlib.util.find_spec("transformers"):
        return []
    return [(f"4 steps of instruction tuning, {ROWS} x {T} tokens", f"fast, Muon, {str(PRECISION)[6:]}", our_tuning(),
             "transformers' GPT-2, AdamW, fp32", tuning(theirs, adamw, their_loss))]


if __name__ == "__main__":
    table(rows())
