"""GPT against Hugging Face's GPT-2, PyTorch's layers and closed forms; its cache against reading everything again."""

import math
import platform
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from course_lib.checkpoint import load, metadata
from course_lib.data.text import encode, load_text
from course_lib.decoding import generate, generate_plainly, next_token
from course_lib.device import seed, seeded
from course_lib.gpt import (
    GPT,
    GPTConfig,
    fast,
    from_gpt2,
    lm_loss,
    n_flops,
    n_parameters,
    to_gpt2,
)
from course_lib.metrics import bits_per_byte
from course_lib.muon import Muon, muon, muon_unet, orthogonalise
from course_lib.pipeline import Pipeline, PipelineConfig

SMALL = dict(vocab_size=50, block_size=16, n_layer=2, n_head=2, n_embd=24)
CONFIGS = {"plain": GPTConfig(**SMALL), "fast": fast(**SMALL)}


def lively(config):
    """A model with large random weights everywhere: nothing is zero, one or small by chance."""
    seed(0)
    model = GPT(config).eval()
    with torch.no_grad():
        for name, p in model.named_parameters():
            p.copy_(torch.randn_like(p) * (1.0 if "emb" in name or p.ndim == 1 else 0.3))
    return model


def tokens(*shape, n=1):
    return torch.randint(50, shape, generator=seeded(n))


# ---- the architecture

def huggingface(config):
    transformers = pytest.importorskip("transformers")
    c = config
    return transformers.GPT2LMHeadModel(transformers.GPT2Config(
        vocab_size=c.vocab_size, n_positions=c.block_size, n_embd=c.n_embd, n_layer=c.n_layer, n_head=c.n_head)).eval()


def test_our_weights_in_hugging_faces_gpt2_give_the_same_logits():
    model, theirs = lively(CONFIGS["plain"]), huggingface(CONFIGS["plain"])
    theirs.load_state_dict(to_gpt2(model))
    idx = tokens(3, 16)
    with torch.no_grad():
        torch.testing.assert_close(model(idx), theirs(idx).logits, atol=1e-4, rtol=1e-4)


def test_hugging_faces_weights_in_our_gpt_give_the_same_logits():
    theirs = huggingface(CONFIGS["plain"])
    seed(3)
    with torch.no_grad():
        for p in theirs.parameters():
            p.normal_(std=0.4)
    model = from_gpt2(GPT(CONFIGS["plain"]).eval(), theirs.state_dict())
    idx = tokens(3, 9)
    with torch.no_grad():
        torch.testing.assert_close(model(idx), theirs(idx).logits, atol=1e-4, rtol=1e-4)


def test_the_names_of_gpt2_go_there_and_back():
    model = lively(CONFIGS["plain"])
    weights = to_gpt2(model)
    assert weights["transformer.h.1.mlp.c_fc.weight"].shape == (24, 96)        # (in, out)
    again = from_gpt2(GPT(CONFIGS["plain"]), weights)
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), again.state_dict().values()))
    with pytest.raises(ValueError, match="config differs"):
        to_gpt2(GPT(CONFIGS["fast"]))


def test_it_is_pytorchs_own_encoder_layers_with_a_causal_mask():
    """With exact GELU, since PyTorch's layer knows the tanh form only as a function."""
    model = lively(replace(CONFIGS["plain"], gelu="none"))
    idx = tokens(3, 12)
    x = model.tok_emb(idx) + model.pos_emb.weight[:12]
    mask = nn.Transformer.generate_square_subsequent_mask(12)
    for block in model.blocks:
        layer = nn.TransformerEncoderLayer(24, 2, 96, dropout=0.0, activation="gelu", batch_first=True, norm_first=True)
        layer.load_state_dict({
            "self_attn.in_proj_weight": block.attn.qkv.weight, "self_attn.in_proj_bias": block.attn.qkv.bias,
            "self_attn.out_proj.weight": block.attn.proj.weight, "self_attn.out_proj.bias": block.attn.proj.bias,
            "linear1.weight": block.mlp.fc.weight, "linear1.bias": block.mlp.fc.bias,
            "linear2.weight": block.mlp.proj.weight, "linear2.bias": block.mlp.proj.bias,
            "norm1.weight": block.norm1.weight, "norm1.bias": block.norm1.bias,
            "norm2.weight": block.norm2.weight, "norm2.bias": block.norm2.bias})
        x = layer.train()(x, src_mask=mask)                                    # train: no fused path
    expected = model.norm(x) @ model.tok_emb.weight.T
    torch.testing.assert_close(model(idx), expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", CONFIGS)
def test_its_attention_is_pytorchs_fused_one(name):
    """For a mask with three axes PyTorch takes a way twice as slow."""
    model, idx = lively(CONFIGS[name]), tokens(3, 12)
    with sdpa_kernel(SDPBackend.FLASH_ATTENTION):                              # a RuntimeError if that cannot serve
        logits = model(idx)
    torch.testing.assert_close(logits, model(idx), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", CONFIGS)
def test_the_future_cannot_change_the_past(name):
    model, idx = lively(CONFIGS[name]), tokens(2, 16)
    changed = idx.clone()
    changed[:, 9:] = (changed[:, 9:] + 7) % 50
    before, after = model(idx), model(changed)
    torch.testing.assert_close(before[:, :9], after[:, :9])
    assert (before[:, 9] - after[:, 9]).abs().amax() > 0.1


def test_alibi_knows_distances_and_no_places():
    """The last logits depend on what came before, and not on how the text is shifted in the block."""
    model = lively(CONFIGS["fast"])
    penalty = model.mask[:, 10, 7]
    torch.testing.assert_close(penalty, -3 * torch.tensor([2.0**-4, 2.0**-8]))
    assert model.pos_emb is None
    assert not any(isinstance(m, nn.Embedding) and m is not model.tok_emb for m in model.modules())


def test_bfloat16_is_the_same_function_less_precisely():
    for config in CONFIGS.values():
        model, idx = GPT(config).eval(), tokens(3, 16)
        exact, rough = model(idx), model(idx, dtype=torch.bfloat16)
        assert rough.dtype == torch.float32 and not torch.equal(exact, rough)
        torch.testing.assert_close(exact, rough, atol=0.02, rtol=0.05)


def test_at_the_start_every_token_is_equally_likely():
    for config in (GPTConfig(), fast()):
        seed(0)
        loss = lm_loss(GPT(config), torch.randint(256, (4, 129)))["loss"].item()
        assert loss == pytest.approx(math.log(256), abs=0.1)


def test_the_loss_is_that_of_the_next_token():
    model, idx = lively(CONFIGS["plain"]), tokens(3, 9)
    logits = model(idx[:, :8])
    by_hand = [-F.log_softmax(logits[b, t], 0)[idx[b, t + 1]] for b in range(3) for t in range(8)]
    torch.testing.assert_close(lm_loss(model, idx)["loss"], torch.stack(by_hand).mean())


# ---- the shipped models

@pytest.mark.parametrize("name", ["gpt", "gpt_code"])
def test_a_shipped_model_is_as_good_as_it_says(name):
    """On 10,000 of the 60,000 bytes that were measured: within a tenth of a bit, if the text is that of this Python;
    that of another version differs by what changed in the language."""
    about, model = metadata(name), load(name)
    same = about["python"] == ".".join(platform.python_version_tuple()[:2])
    bits = bits_per_byte(model, load_text(about["text"]).test[:10_000], block_size=256, stride=128)
    assert bits == pytest.approx(about["metrics"]["bits_per_byte"], abs=0.1 if same else 0.4)
    assert about["parameters"] == n_parameters(model.config)


# ---- Muon

@pytest.mark.parametrize("shape", [(5, 40, 30), (30, 40), (64, 16)])
def test_muon_makes_singular_values_nearly_one(shape):
    """And keeps the singular vectors: U^T X V is diagonal."""
    G = torch.randn(shape, generator=seeded(0), dtype=torch.float64)
    X = orthogonalise(G)
    values = torch.linalg.svdvals(X)
    assert X.shape == G.shape and values.max() < 1.25 and values.median() > 0.65
    U, _, Vh = torch.linalg.svd(G, full_matrices=False)
    inside = U.mT @ X @ Vh.mT
    torch.testing.assert_close(inside, inside.diagonal(dim1=-2, dim2=-1).diag_embed(), atol=1e-8, rtol=0)


def test_orthogonalise_is_what_torchs_muon_does_to_its_first_step():
    """lr 1, no momentum: the step is minus the orthogonalised gradient (PyTorch works in bfloat16)."""
    weight = nn.Parameter(torch.zeros(24, 40))
    weight.grad = torch.randn(24, 40, generator=seeded(1))
    torch.optim.Muon([weight], lr=1.0, momentum=0.0, nesterov=False, weight_decay=0.0).step()
    torch.testing.assert_close(-weight.detach(), orthogonalise(weight.grad), atol=0.03, rtol=0)


def test_muon_takes_matrices_in_blocks_and_adamw_the_rest():
    model = GPT(CONFIGS["plain"])
    inner, outer = muon(model).optimizers
    names = {id(p): name for name, p in model.named_parameters()}
    inside = {names[id(p)] for p in inner.param_groups[0]["params"]}
    assert inside == {n for n, p in model.named_parameters() if n.startswith("blocks") and p.ndim == 2}
    assert len(inside) + len(outer.param_groups[0]["params"]) == len(names)


@pytest.mark.parametrize("bf16", [True, False])
def test_muon_takes_the_steps_of_torchs_muon(monkeypatch, bf16):
    """Three steps on two matrices of one shape and one tall one, with weight decay; torch works in bfloat16."""
    def parameters():
        return [nn.Parameter(torch.randn(shape, generator=seeded(0))) for shape in [(8, 20), (8, 20), (30, 6)]]

    mine, theirs = parameters(), parameters()
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": bf16})
    optimizers = Muon(mine, lr=0.1, momentum=0.9, weight_decay=0.5, steps=3), torch.optim.Muon(
        theirs, lr=0.1, momentum=0.9, weight_decay=0.5, ns_steps=3)
    for step in range(3):
        for i, (a, b) in enumerate(zip(mine, theirs)):
            a.grad = torch.randn(a.shape, generator=seeded(10 * step + i))
            b.grad = a.grad.clone()
        for optimizer in optimizers:
            optimizer.step()
    for a, b in zip(mine, theirs):
        torch.testing.assert_close(a, b, atol=0.01, rtol=0)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_a_kernel_is_the_matrix_of_all_that_one_output_reads(memory_format):
    kernel = nn.Parameter(torch.zeros(6, 4, 3, 3).to(memory_format=memory_format))
    kernel.grad = torch.randn(6, 4, 3, 3, generator=seeded(0)).to(memory_format=memory_format)
    Muon([kernel], lr=1.0, momentum=0.0, steps=3).step()
    torch.testing.assert_close(-kernel.detach().flatten(1), orthogonalise(kernel.grad.flatten(1), steps=3), atol=0.03,
                               rtol=0)


def test_muon_unet_takes_what_images_pass_through():
    model = Pipeline(PipelineConfig(sizes=dict(n_class=10)))
    inner, outer = muon_unet(model).optimizers
    names = {id(p): name for name, p in model.named_parameters()}
    inside = {names[id(p)] for p in inner.param_groups[0]["params"]}
    blocks, overview = ("down1", "down2", "middle", "up2", "up1"), ("narrow", "widen", "press", "spread")
    assert inside == {f"network.{name}.weight" for name in (
        "shrink", "join2", "grow", "join1", *[f"overview.{part}" for part in overview],
        *[f"{block}.conv{i}" for block in blocks for i in (1, 2)])}
    assert len(inside) + len(outer.param_groups[0]["params"]) == len(names)


# ---- counting

@pytest.mark.parametrize("config", [GPTConfig(), fast(), *CONFIGS.values(), replace(CONFIGS["fast"], tied=True)])
def test_parameters_and_flops_are_counted_right(config):
    model = GPT(config)
    assert n_parameters(config) == sum(p.numel() for p in model.parameters())
    counter = FlopCounterMode(display=False)
    idx = torch.zeros(1, config.block_size, dtype=torch.long)
    with counter:                              # bfloat16: attention is written out, so that the counter sees it
        model(idx, dtype=torch.bfloat16)
    assert n_flops(config) == counter.get_total_flops()


# ---- generation

PROMPTS = [tokens(5), tokens(1, n=2), tokens(11, n=3)]
WRITERS = {"plain": replace(CONFIGS["plain"], tied=False), "fast": CONFIGS["fast"]}   # tied ones repeat themselves


@pytest.mark.parametrize("n_new", [1, 4, 40])                                  # 40: past the block of 16, several times
@pytest.mark.parametrize("name", WRITERS)
def test_cached_equals_uncached_token_for_token(name, n_new):
    model = lively(WRITERS[name])
    together = generate(model, PROMPTS, n_new, temperature=0)
    alone = torch.stack([generate_plainly(model, p, n_new, temperature=0) for p in PROMPTS])
    assert torch.equal(together, alone)
    assert n_new < 40 or len(together.unique(dim=0)) == 3 and len(together.unique()) >= 3          # worth comparing
    assert torch.equal(generate(model, PROMPTS[2:], n_new, temperature=0), alone[2:])


@pytest.mark.parametrize("name", WRITERS)
def test_cached_equals_uncached_when_tokens_are_drawn(name):
    model = lively(WRITERS[name])
    for prompt in PROMPTS:
        drawn = generate(model, [prompt], 30, temperature=0.9, top_k=20, generator=seeded(4))[0]
        assert torch.equal(drawn, generate_plainly(model, prompt, 30, 0.9, 20, seeded(4)))


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("block_size", [1, 2, 3])
def test_the_smallest_blocks_write_too(name, block_size):
    """A full block forgets its older half; one of a single token must not forget everything."""
    model = lively(replace(WRITERS[name], block_size=block_size))
    alone = torch.stack([generate_plainly(model, p, 9, temperature=0) for p in PROMPTS])
    assert torch.equal(generate(model, PROMPTS, 9, temperature=0), alone)


def test_a_prompt_longer_than_the_block_is_read_from_its_end():
    model, long = lively(WRITERS["plain"]), tokens(40)
    expected = generate_plainly(model, long[-16:], 12, temperature=0)
    assert torch.equal(generate(model, [long, PROMPTS[1]], 12, temperature=0)[0], expected)
    assert torch.equal(generate_plainly(model, long, 12, temperature=0), expected)


def test_tokens_are_drawn_with_their_probabilities():
    logits = torch.tensor([[0.0, 1.0, 2.0, -1.0]]).expand(20_000, 4)
    for temperature, top_k in ((1.0, None), (0.5, None), (1.0, 2)):
        counts = next_token(logits, temperature, top_k, seeded(0)).bincount(minlength=4) / 20_000
        p = (logits[0] / temperature).softmax(0)
        if top_k:
            p = torch.tensor([0, p[1], p[2], 0]) / (p[1] + p[2])
        torch.testing.assert_close(counts, p, atol=0.012, rtol=0)
    assert next_token(logits[:2], temperature=0).tolist() == [2, 2]


def test_generation_leaves_the_model_as_it_was():
    model = GPT(replace(CONFIGS["plain"], dropout=0.5)).train()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    first = generate(model, PROMPTS, 5, generator=seeded(0))
    assert model.training and torch.equal(first, generate(model, PROMPTS, 5, generator=seeded(0)))
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


def test_bytes_become_text_and_back():
    model = GPT(fast(block_size=8, n_layer=1))
    assert generate(model, [encode("Ada"), encode("ß")], 3).shape == (2, 3)


def test_what_cannot_be_read_is_refused():
    model = GPT(CONFIGS["plain"])
    for wrong, words in {(torch.tensor([], dtype=torch.long),): "prompt 0",
                         (tokens(3), tokens(1, 3)): "prompt 1"}.items():
        with pytest.raises(ValueError, match=words):
            generate(model, list(wrong), 3)
    with pytest.raises(ValueError, match="n_head=5 must divide n_embd=24"):
        GPT(replace(CONFIGS["plain"], n_head=5))


@pytest.mark.parametrize("tied, size", [(True, 0.02), (False, 0.3)])
def test_a_table_of_tokens_alone_begins_larger_than_one_of_logits(tied, size):
    seed(0)
    model = GPT(replace(GPTConfig(n_layer=1), tied=tied))
    assert model.tok_emb.weight.std().item() == pytest.approx(size, rel=0.02)
    assert tied or model.head.weight.std().item() == pytest.approx(0.02, rel=0.02)


def test_the_settings_of_both_optimisers():
    inner, outer = muon(GPT(CONFIGS["plain"])).optimizers
    assert [g["weight_decay"] for o in (inner, outer) for g in o.param_groups] == [0.1, 0.0]
    inner, outer = muon_unet(Pipeline(PipelineConfig())).optimizers
    assert inner.param_groups[0]["steps"] == 3
    assert [g["weight_decay"] for o in (inner, outer) for g in o.param_groups] == [0.0, 0.0]
