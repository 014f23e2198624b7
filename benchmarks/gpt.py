"""The GPT of lesson 54 beside a textbook one and beside Hugging Face's GPT-2, all of 0.8 million parameters.

`ROWS` is a part of `make bench`.   python benchmarks/gpt.py   prints it alone, and then what each has learned after 60
seconds of processor time on `docs`; they take turns of 20 steps, so that a slow moment of the machine hits all. There
each has the batch that teaches it most: ours 16 windows, the textbook 32.
"""

import importlib.util
import time
from functools import partial

import torch
from tables import table
from torch import nn
from torch.nn import functional as F

from course_lib.data.text import Windows, load_text
from course_lib.decoding import generate
from course_lib.device import bfloat16_is_fast, seed
from course_lib.gpt import GPT, fast, lm_loss
from course_lib.metrics import bits_per_byte
from course_lib.muon import muon
from course_lib.train import learning_rate

V, T, L, H, C = 256, 128, 4, 4, 128
text = load_text("docs")
PRECISION = torch.bfloat16 if bfloat16_is_fast() else torch.float32            # of ours, in training


class TextbookBlock(nn.Module):
    """As the textbooks have it: pre-norm, fused attention, float32."""

    def __init__(self):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(C, bias=False), nn.LayerNorm(C, bias=False)
        self.qkv, self.proj = nn.Linear(C, 3 * C, bias=False), nn.Linear(C, C, bias=False)
        self.fc, self.back = nn.Linear(C, 4 * C, bias=False), nn.Linear(4 * C, C, bias=False)

    def forward(self, x):                                                     # (B, T, C)
        q, k, v = (h.unflatten(2, (H, C // H)).transpose(1, 2) for h in self.qkv(self.norm1(x)).split(C, dim=2))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)           # (B, H, T, C / H)
        x = x + self.proj(y.transpose(1, 2).flatten(2))
        return x + self.back(F.gelu(self.fc(self.norm2(x))))


class Textbook(nn.Module):
    def __init__(self):
        super().__init__()
        self.tokens, self.places = nn.Embedding(V, C), nn.Embedding(T, C)
        self.blocks = nn.Sequential(*(TextbookBlock() for _ in range(L)))
        self.norm, self.head = nn.LayerNorm(C, bias=False), nn.Linear(C, V, bias=False)
        self.head.weight = self.tokens.weight
        for name, p in self.named_parameters():
            if p.ndim == 2:
                nn.init.normal_(p, std=0.02 / (2 * L) ** 0.5 if name.endswith(("proj.weight", "back.weight")) else 0.02)

    def forward(self, idx):
        return self.head(self.norm(self.blocks(self.tokens(idx) + self.places.weight[:idx.shape[1]])))


def hugging_face(vocab=V):
    from transformers import GPT2Config, GPT2LMHeadModel

    return GPT2LMHeadModel(GPT2Config(vocab_size=vocab, n_positions=T, n_embd=C, n_layer=L, n_head=H, resid_pdrop=0,
                                      embd_pdrop=0, attn_pdrop=0, bos_token_id=None, eos_token_id=None))


class Learner:
    """A model, its optimiser and its batches: `steps(n)` trains on."""

    def __init__(self, model, optimizer, batch_size, loss_fn=lm_loss, warmup=20):
        seed(0)
        self.model, self.loss_fn, self.windows = model(), loss_fn, Windows(text.train, batch_size, T)
        self.optimizer = optimizer(self.model)
        self.peaks = [group["lr"] for group in self.optimizer.param_groups]
        self.batches, self.done, self.n, self.warmup = iter(()), 0, None, warmup

    def steps(self, n):
        for _ in range(n):
            batch = next(self.batches, None)
            if batch is None:
                self.batches = iter(self.windows)
                batch = next(self.batches)
            for group, peak in zip(self.optimizer.param_groups, self.peaks):
                if self.n:
                    group["lr"] = learning_rate(self.done, self.n, peak, self.warmup, 1.0)
            loss = self.loss_fn(self.model, *batch)["loss"]
            self.optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
            self.optimizer.step()
            self.done += 1


def adamw(model, lr=1e-3):
    return torch.optim.AdamW(model.parameters(), lr=lr, betas=(0.9, 0.95), weight_decay=0.1)


def logits_of(model, idx):
    return F.cross_entropy(model(idx[:, :-1]).logits.flatten(0, 1), idx[:, 1:].flatten())


ours = Learner(lambda: GPT(fast()), muon, 32, partial(lm_loss, dtype=PRECISION))
textbook = Learner(Textbook, adamw, 32)
prompts = {B: torch.randint(V, (B, 8)) for B in (1, 8)}


def write(B):
    generate(ours.model, list(prompts[B]), 112)


ROWS = [("4 training steps of a GPT, 32 x 128 tokens", f"fast, Muon, {str(PRECISION)[6:]}", lambda: ours.steps(4),
         "textbook, AdamW, fp32", lambda: textbook.steps(4))]
if importlib.util.find_spec("transformers"):
    theirs = Learner(hugging_face, adamw, 32, lambda model, idx: {"loss": logits_of(model, idx)})

    def write_theirs(B):
        theirs.model.eval().generate(prompts[B], attention_mask=torch.ones_like(prompts[B]), max_new_tokens=112,
                                     min_new_tokens=112, do_sample=True, top_k=0, use_cache=True, pad_token_id=0)
        theirs.model.train()

    ROWS += [("4 training steps of a GPT, 32 x 128 tokens", f"fast, Muon, {str(PRECISION)[6:]}", lambda: ours.steps(4),
              "transformers' GPT-2", lambda: theirs.steps(4))]
    ROWS += [(f"writing 112 bytes, cached, batch {B}", "generate", partial(write, B), "transformers' GPT-2",
              partial(write_theirs, B)) for B in (1, 8)]


def after(seconds: float = 60.0, turn: int = 20) -> dict[str, float]:
    """Bits per byte on the test part after so many seconds of training, rates falling linearly to zero.  -> by name"""
    learners = {"ours": Learner(lambda: GPT(fast()), muon, 16, partial(lm_loss, dtype=PRECISION), warmup=0),
                "textbook, lr 1e-3": Learner(Textbook, adamw, 32),
                "textbook, lr 3e-3": Learner(Textbook, partial(adamw, lr=3e-3), 32)}
    spent = dict.fromkeys(learners, 0.0)
    while any(s < seconds for s in spent.values()):
        for name, learner in learners.items():
            if spent[name] < seconds:
                begin = time.process_time()                                   # others on this machine do not count
                learner.steps(turn)
                spent[name] += (time.process_time() - begin) / torch.get_num_threads()
                # how many steps there will be is known only from the speed so far
                learner.n = max(learner.done + turn, int(learner.done * seconds / spent[name]))
    print("\n| after 60 s on `docs` | steps | tokens/s | bits per byte, test |\n|---|---:|---:|---:|")
    found = {}
    for name, learner in learners.items():
        speed = learner.done * learner.windows.batch_size * T / spent[name]
        bits = bits_per_byte(learner.model, text.test)
        print(f"| {name} | {learner.done} | {speed:,.0f} | {bits:.3f} |", flush=True)
        found[name] = bits
    return found


if __name__ == "__main__":
    table(ROWS)
    after()
