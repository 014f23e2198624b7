"""Attention and the transformer, against PyTorch's own, formulas by hand, and what must not change."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.testing import assert_close

from course_lib.transformer import (
    POSITIONS,
    Block,
    CrossAttention,
    FeedForward,
    MultiHeadAttention,
    Transformer,
    TransformerConfig,
    alibi,
    attention,
    attention_maps,
    attention_weights,
    causal_mask,
    induction_score,
    initialise,
    sinusoidal_positions,
)

MASKS = {
    "none": None,
    "causal": causal_mask(7)[:, :5],                                           # (T, S)
    "by example": (torch.rand(3, 1, 7, 5, generator=torch.Generator().manual_seed(1)) < 0.6).index_fill(
        -1, torch.tensor([0]), True),                                          # everyone may look somewhere
    "float": torch.randn(2, 7, 5, generator=torch.Generator().manual_seed(2)).double(),
}


@pytest.fixture(autouse=True)
def one_seed():
    torch.manual_seed(0)


def random_weights(model):
    """A fresh transformer adds nothing in its branches: tests need one that does."""
    for p in model.parameters():
        nn.init.normal_(p, std=0.3)
    return model.double().eval()


def small(**config):
    return random_weights(Transformer(TransformerConfig(**(dict(
        vocab_size=11, block_size=9, n_layer=2, n_head=2, n_embd=8) | config))))


# ------------------------------------------------------------------------------------------------------- attention

@pytest.mark.parametrize("name", MASKS)
def test_attention_is_pytorchs_in_values_and_gradients(name):
    q, k, v = (torch.randn(3, 2, n, d).double() for n, d in ((7, 4), (5, 4), (5, 6)))
    found = []
    for f in (attention, F.scaled_dot_product_attention):
        inputs = [t.clone().requires_grad_() for t in (q, k, v)]
        y = f(*inputs, MASKS[name])
        y.sin().sum().backward()
        found.append([y.detach(), *(t.grad for t in inputs)])
    assert_close(*found)


def test_attention_by_hand():
    """One query, three keys with scores log 1, log 2, log 5 after the division by sqrt(4): weights 1/8, 2/8, 5/8."""
    q = torch.tensor([[2.0, 0, 0, 0]])
    k = torch.tensor([[math.log(1), 9, 9, 9], [math.log(2), 0, 0, 0], [math.log(5), 1, 2, 3]])
    assert_close(attention_weights(q, k), torch.tensor([[1 / 8, 2 / 8, 5 / 8]]))
    assert_close(attention(q, k, torch.tensor([[8.0], [16], [24]])), torch.tensor([[1.0 + 4 + 15]]))


def test_what_may_not_be_looked_at_gets_nothing_and_the_rest_still_sums_to_one():
    w = attention_weights(torch.randn(2, 6, 4), torch.randn(2, 6, 4), causal_mask(6))
    assert (w.triu(1) == 0).all() and (w.tril() > 0).sum() == 2 * 21
    assert_close(w.sum(-1), torch.ones(2, 6))


def test_the_causal_mask_includes_the_diagonal():
    assert causal_mask(3).tolist() == [[True, False, False], [True, True, False], [True, True, True]]


# ------------------------------------------------------------------------------------------------------- positions

def test_sinusoids_by_hand():
    p = sinusoidal_positions(3, 4)
    assert_close(p[0], torch.tensor([0.0, 1, 0, 1]))
    assert_close(p[2], torch.tensor([math.sin(2), math.cos(2), math.sin(0.02), math.cos(0.02)]))


def test_the_product_of_two_sinusoids_depends_on_their_distance_only():
    products = sinusoidal_positions(20, 16).double() @ sinusoidal_positions(20, 16).double().T
    for d in range(20):
        line = products.diagonal(d)
        assert_close(line, line[:1].expand_as(line), atol=1e-5, rtol=0)


def test_alibi_by_hand():
    """The example of the paper: 8 heads, slopes 1/2, 1/4 ... 1/256."""
    bias = alibi(8, 4)
    assert bias.shape == (8, 4, 4)
    assert bias[0].tolist() == [[0, -0.5, -1, -1.5], [-0.5, 0, -0.5, -1], [-1, -0.5, 0, -0.5], [-1.5, -1, -0.5, 0]]
    assert bias[:, 3, 0].tolist() == [-3 / 2**h for h in range(1, 9)]


# --------------------------------------------------------------------------------------------------------- modules

@pytest.mark.parametrize("bias", [True, False])
def test_many_heads_are_pytorchs_with_the_same_weights(bias):
    mine, theirs = MultiHeadAttention(12, 3, bias), nn.MultiheadAttention(12, 3, bias=bias, batch_first=True)
    random_weights(mine)
    theirs.double().eval()
    with torch.no_grad():
        theirs.in_proj_weight.copy_(mine.qkv.weight)
        theirs.out_proj.weight.copy_(mine.proj.weight)
        if bias:
            theirs.in_proj_bias.copy_(mine.qkv.bias)
            theirs.out_proj.bias.copy_(mine.proj.bias)
    x, mask = torch.randn(3, 5, 12).double(), causal_mask(5)
    y, w = theirs(x, x, x, attn_mask=~mask, average_attn_weights=False)        # theirs says True = may not look
    assert_close(mine(x, mask), y)
    q, k, _ = mine.heads(x)
    assert_close(attention_weights(q, k, mask), w)


@pytest.mark.parametrize("mask", [None, causal_mask(5)])
def test_a_block_is_pytorchs_encoder_layer_with_the_same_weights(mask):
    mine = random_weights(Block(12, 3))
    theirs = nn.TransformerEncoderLayer(12, 3, 48, dropout=0, activation="gelu", batch_first=True, norm_first=True)
    names = {"self_attn.in_proj_": "attn.qkv.", "self_attn.out_proj.": "attn.proj.", "linear1.": "mlp.fc.",
             "linear2.": "mlp.proj.", "norm1.": "norm1.", "norm2.": "norm2."}
    theirs.double().load_state_dict({a + kind: mine.state_dict()[b + kind] for a, b in names.items()
                                     for kind in ("weight", "bias")})
    theirs.train()                                                             # in eval it takes another way
    x = torch.randn(3, 5, 12).double()
    assert_close(mine(x, mask), theirs(x, src_mask=None if mask is None else ~mask))


def test_an_mlp_treats_each_token_alone():
    mlp, x = random_weights(FeedForward(4)), torch.randn(3, 5, 4).double()
    assert_close(mlp(x)[:, 2:3], mlp(x[:, 2:3]))


def test_without_biases_there_is_none():
    block = Block(8, 2, bias=False, affine=False)
    assert [name for name, _ in block.named_parameters()] == [
        "attn.qkv.weight", "attn.proj.weight", "mlp.fc.weight", "mlp.proj.weight"]


def test_in_bfloat16_a_block_is_the_same_function_less_precisely():
    """There attention is written out; the weights stay as they are."""
    block, x = random_weights(Block(12, 3, gelu="tanh")).float(), torch.randn(3, 5, 12)
    exact, rough = block(x, causal_mask(5)), block(x.bfloat16(), causal_mask(5))
    assert rough.dtype == torch.bfloat16 and block.attn.qkv.weight.dtype == torch.float32
    assert_close(rough.float(), exact, atol=0.05, rtol=0.05)


def test_dropout_acts_in_training_only_and_starts_each_branch():
    block, x = random_weights(Block(8, 2, dropout=0.5)), torch.randn(3, 5, 8).double()
    assert torch.equal(block(x), block(x))
    block.train()
    assert not torch.equal(block(x), block(x))
    block.dropout.p = 1.0
    assert torch.equal(block(x), x)                                            # both branches are dropped whole


# ----------------------------------------------------------------------------------------------------- transformer

@pytest.mark.parametrize("positions", POSITIONS)
def test_the_future_cannot_change_the_past(positions):
    """By gradient: the logits at t depend on the embeddings at s exactly where s <= t."""
    model, idx = small(positions=positions), torch.randint(11, (1, 9))
    x = model.embed(idx).detach().requires_grad_()
    h = x
    for block in model.blocks:
        h = block(h, model.mask)
    seen = torch.stack([torch.autograd.grad(h[0, t].sin().sum(), x, retain_graph=True)[0][0].abs().sum(-1)
                        for t in range(9)])                                    # (T, S)
    assert torch.equal(seen > 0, causal_mask(9))
    assert_close(model(idx), model.head(model.norm(h)))                        # this is the model


def test_a_longer_sequence_has_the_same_beginning():
    for positions in POSITIONS:
        model, idx = small(positions=positions), torch.randint(11, (3, 9))
        assert_close(model(idx)[:, :4], model(idx[:, :4]))


def test_without_positions_and_mask_tokens_are_a_bag():
    """Permuting the input permutes the output; with positions it does more than that."""
    idx, order = torch.randint(11, (3, 9)), torch.randperm(9)
    for positions in POSITIONS:
        model = small(positions=positions, causal=False)
        same = torch.allclose(model(idx[:, order]), model(idx)[:, order])
        assert same == (positions == "none")


def test_with_alibi_only_distances_count():
    """It cannot tell left from right: what reads the same from both ends gets logits that do."""
    model = small(positions="alibi", causal=False)
    logits = model(torch.tensor([[1, 2, 3, 4, 5, 4, 3, 2, 1]]))
    assert_close(logits, logits.flip(1))
    assert not torch.allclose(logits[:, 0], small(positions="alibi", causal=True)(torch.tensor([[1, 2]]))[:, 0])


def test_maps_are_what_the_model_used():
    """Weights times values, through the projection, are what attention adds to the stream."""
    model, idx = small(positions="alibi"), torch.randint(11, (3, 6))
    maps = attention_maps(model, idx)
    assert maps.shape == (2, 3, 2, 6, 6)
    assert_close(maps.sum(-1), torch.ones(2, 3, 2, 6).double())
    x = model.embed(idx)
    for block, w in zip(model.blocks, maps):
        normed = block.norm1(x)
        assert_close(block.attn.merge(w @ block.attn.heads(normed)[2]), block.attn(normed, model.mask[:, :6, :6]))
        x = block(x, model.mask[:, :6, :6])


def test_the_induction_score_of_heads_that_are_written_by_hand():
    idx = torch.tensor([[4, 1, 5, 2, 4, 1, 5], [7, 7, 3, 8, 7, 0, 9]])
    perfect, back = torch.zeros(2, 7, 7), torch.eye(7).roll(1, 1).tril(-1).repeat(2, 1, 1)
    perfect[:, :, 0] = 1                                           # where nothing came before: the first token
    for row, t, s in ((0, 4, 1), (0, 5, 2), (0, 6, 3), (1, 1, 1), (1, 4, 1)):
        perfect[row, t] = torch.eye(7)[s]
    perfect[1, 4] = torch.eye(7)[[1, 2]].mean(0)                   # two sevens: 7 and 3 have followed one
    uniform = torch.ones(7, 7).tril() / torch.arange(1, 8)[:, None]
    maps = torch.stack([perfect, back, uniform.expand(2, 7, 7)], 1)[None]      # (1, B, 3 heads, T, T)
    expected = (1 / 5 + 1 / 6 + 1 / 7 + 1 / 2 + 2 / 5) / 5
    assert_close(induction_score(maps, idx)[0], torch.tensor([1.0, 0.0, expected]))
    assert induction_score(maps, torch.arange(7).expand(2, 7)).isnan().all()
    only = torch.arange(7).expand(2, 7) == 6
    assert_close(induction_score(maps, idx, only)[0, 2], torch.tensor(1 / 7))


def test_it_starts_as_the_identity_and_knows_nothing():
    model = Transformer(TransformerConfig(vocab_size=11, block_size=9, n_layer=3, n_head=2, n_embd=64))
    idx = torch.randint(11, (3, 9))
    assert_close(model(idx), model.head(model.norm(model.embed(idx))))
    loss = F.cross_entropy(model(idx).flatten(0, 1), idx.flatten())
    assert abs(loss.item() - math.log(11)) < 0.1
    assert 0.015 < model.tok_emb.weight.std() < 0.025 and 0.015 < model.blocks[1].mlp.fc.weight.std() < 0.025


def test_initialise_gives_the_size_it_is_asked_for():
    model = Transformer(TransformerConfig(vocab_size=11, block_size=9, n_layer=1, n_head=2, n_embd=64))
    initialise(model, std=0.5)
    assert 0.45 < model.blocks[0].attn.qkv.weight.std() < 0.55
    assert not model.blocks[0].attn.proj.weight.any() and not model.blocks[0].mlp.fc.bias.any()


def test_only_learned_positions_are_parameters_and_none_travel_in_files():
    n = {p: sum(t.numel() for t in Transformer(TransformerConfig(11, 9, 1, 2, 8, positions=p)).state_dict().values())
         for p in POSITIONS}
    assert n["learned"] - n["none"] == 9 * 8 and n["none"] == n["sinusoidal"] == n["alibi"]


@pytest.mark.parametrize("positions", POSITIONS)
def test_its_attention_is_pytorchs_fused_one(positions):
    """For a mask with three axes PyTorch takes a way twice as slow."""
    model, idx = small(positions=positions).float(), torch.randint(11, (3, 9))
    with sdpa_kernel(SDPBackend.FLASH_ATTENTION):                              # a RuntimeError if that cannot serve
        logits = model(idx)
    assert_close(logits, model(idx))


@pytest.mark.parametrize("config, words", [
    (dict(n_head=3), "n_head=3 must divide n_embd=8"), (dict(positions="learnt"), "'learnt': choose"),
    (dict(block_size=0), "block_size=0")])
def test_a_wrong_configuration_says_so(config, words):
    with pytest.raises(ValueError, match=words):
        small(**config)


def test_cross_attention_is_pytorchs_with_keys_of_another_width():
    torch.manual_seed(0)
    ours = CrossAttention(8, 6, 2)
    theirs = nn.MultiheadAttention(8, 2, kdim=6, vdim=6, batch_first=True)
    with torch.no_grad():
        for p in ours.parameters():
            p.copy_(torch.randn_like(p))
        k, v = ours.kv.weight.chunk(2)
        theirs.q_proj_weight.copy_(ours.q.weight)
        theirs.k_proj_weight.copy_(k)
        theirs.v_proj_weight.copy_(v)
        theirs.in_proj_bias.copy_(torch.cat([ours.q.bias, ours.kv.bias]))
        theirs.out_proj.load_state_dict(ours.proj.state_dict())
    x, context = torch.randn(3, 7, 8), torch.randn(3, 5, 6)
    assert_close(ours(x, context), theirs(x, context, context)[0], atol=1e-5, rtol=1e-4)


def test_fixed_positions_are_as_large_as_the_tokens_they_are_added_to():
    torch.manual_seed(0)
    model = Transformer(TransformerConfig(vocab_size=500, positions="sinusoidal", n_layer=1))
    assert model.positions.square().mean().sqrt().item() == pytest.approx(0.02, rel=0.01)
    assert model.tok_emb.weight.std().item() == pytest.approx(0.02, rel=0.02)
