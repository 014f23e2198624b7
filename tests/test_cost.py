"""What a sample costs: PyTorch's counts, its own rounding, and small cases by hand."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from course_lib.checkpoint import load, metadata
from course_lib.convnet import ConvNet, ConvNetConfig
from course_lib.cost import (
    Int8,
    from_int8,
    grams_of_co2,
    in_int8,
    joules,
    n_bytes,
    operations,
    operations_by_layer,
    pareto,
    seconds,
    to_int8,
)
from course_lib.device import seeded
from course_lib.gpt import GPT, GPTConfig, n_flops
from course_lib.metrics import control_accuracy


def test_operations_of_a_product_a_convolution_and_a_whole_network():
    a, b = torch.rand(3, 5), torch.rand(5, 7)
    assert operations(lambda: a @ b) == 2 * 3 * 5 * 7
    conv = nn.Conv2d(2, 4, 3, stride=2, padding=1)
    x = torch.rand(3, 2, 8, 8)
    assert operations(lambda: conv(x)) == 2 * (3 * 4 * 4 * 4) * (2 * 3 * 3)
    net, images = ConvNet(ConvNetConfig(n_channel=4)).eval(), torch.rand(3, 1, 28, 28)
    by_layer = operations_by_layer(net, lambda: net(images))
    assert sum(by_layer.values()) == operations(lambda: net(images)) and len(by_layer) == 6
    assert not any(m._forward_hooks for m in net.modules())                    # they are gone again


@pytest.mark.parametrize("causal", [False, True])
def test_operations_of_attention_fused_and_written_out(causal):
    q, k, v = torch.rand(2, 3, 5, 4), torch.rand(2, 3, 7, 4), torch.rand(2, 3, 7, 6)
    by_hand = 2 * 2 * 3 * 5 * 7 * 4 + 2 * 2 * 3 * 5 * 7 * 6                    # scores, then the mean of the values
    assert operations(lambda: (q @ k.mT).softmax(-1) @ v) == by_hand
    assert operations(lambda: F.scaled_dot_product_attention(q, k, v[..., :4], is_causal=causal)) == \
        2 * (2 * 2 * 3 * 5 * 7 * 4)


def test_operations_of_a_gpt_are_those_of_its_formula():
    c = GPTConfig(vocab_size=11, block_size=16, n_layer=2, n_head=2, n_embd=8)
    idx = torch.randint(11, (1, 12))
    assert operations(lambda: GPT(c).eval()(idx)) == n_flops(c, 12)


def test_bytes_seconds_joules_and_grams():
    assert n_bytes(nn.Linear(3, 5)) == 4 * (15 + 5)
    assert n_bytes(nn.Linear(3, 5).half()) == 2 * (15 + 5)
    assert n_bytes(nn.BatchNorm1d(4)) == 4 * 16 + 8                            # buffers count, and a whole number
    calls = []
    assert 0 <= seconds(lambda: calls.append(1), repeats=4) < 0.1 and len(calls) == 5
    assert joules(2.0, 15.0) == 30 and grams_of_co2(3.6e6, 400) == 400


def test_the_front_is_what_no_other_point_beats():
    cost, loss = [1, 2, 3, 4, 4, 0.5, 6], [5, 3, 4, 2, 1, 9, 1]
    assert pareto(cost, loss) == [5, 0, 1, 4]
    for i in range(7):                             # by the definition
        beaten = any(cost[j] <= cost[i] and loss[j] <= loss[i] and (cost[j], loss[j]) != (cost[i], loss[i])
                     for j in range(7))
        assert beaten == (i not in pareto(cost, loss))
    assert pareto([1.0], [1.0]) == [0]


def test_rounding_is_pytorchs_per_channel_rounding():
    w = torch.randn(6, 4, 3, 3, generator=seeded(0))
    q, scale = to_int8(w)
    assert q.dtype == torch.int8 and scale.shape == (6, 1, 1, 1) and q.flatten(1).abs().amax(1).eq(127).all()
    theirs = torch.fake_quantize_per_channel_affine(w, scale.flatten(), torch.zeros(6, dtype=torch.int32), 0, -127, 127)
    torch.testing.assert_close(from_int8(q, scale), theirs)
    assert ((from_int8(q, scale) - w).abs() <= scale / 2 + 1e-7).all()
    assert to_int8(torch.zeros(2, 3))[0].eq(0).all()


def test_a_layer_of_8_bits_computes_as_before_up_to_rounding():
    x = torch.randn(5, 8, generator=seeded(1))
    layer = nn.Linear(8, 3)
    torch.testing.assert_close(Int8(layer)(x), x @ from_int8(*to_int8(layer.weight)).T + layer.bias)
    conv, images = nn.Conv2d(4, 6, 3, stride=2, padding=1, groups=2), torch.randn(3, 4, 9, 9, generator=seeded(2))
    rounded = Int8(conv)
    assert rounded(images).shape == conv(images).shape
    assert (rounded(images) - conv(images)).abs().max() < 0.05


def test_the_judge_in_8_bits_reads_the_same_digits_from_a_third_of_the_bytes():
    from course_lib.data import load as data

    judge, digits = load("judge").eval(), data("digits").test
    small = in_int8(judge)
    with torch.no_grad():
        before, after = judge(digits.x[:200]).argmax(1), small(digits.x[:200]).argmax(1)
    assert (before == after).double().mean() > 0.98
    assert n_bytes(small) < 0.3 * n_bytes(judge) and type(judge.head) is nn.Linear      # a copy was changed


def test_a_gpt_in_8_bits_has_all_its_layers_so_also_in_bfloat16():
    c = GPTConfig(vocab_size=11, block_size=16, n_layer=2, n_head=2, n_embd=8)
    model, idx = GPT(c).eval(), torch.randint(11, (2, 12), generator=seeded(3))
    small = in_int8(model)
    assert sum(isinstance(m, Int8) for m in small.modules()) == 2 * 4          # qkv, proj, fc, proj; the table is tied
    assert not any(isinstance(m, nn.Linear) for m in small.modules())
    with torch.no_grad():
        assert (small(idx) - model(idx)).abs().max() < 0.02
        assert (small(idx, dtype=torch.bfloat16) - model(idx, dtype=torch.bfloat16)).abs().max() < 0.05


def test_the_distilled_flow_is_what_its_metadata_say():
    made, student, teacher = metadata("flow_one_step"), load("flow_one_step"), load("flow")
    y = torch.arange(200) % 10
    control = control_accuracy(None, student.sample(200, y, seeded(0)), y)
    assert control == pytest.approx(made["metrics"]["control"], abs=0.02)
    looks = {"distilled, 1 step": student, "flow, guided, 15 steps": teacher}
    one = operations(lambda: student.network(torch.zeros(1, 1, 28, 28), 0.5, y[:1]))
    for name, model in looks.items():
        row = made["levers"][name]
        assert operations(lambda model=model: model.sample(1, 3)) == row["evaluations"] * one
        shipped = made["metrics"] if model is student else metadata("flow")["metrics"]
        assert row["frechet"] == pytest.approx(shipped["frechet"], abs=0.02)   # measured in another run


@pytest.mark.parametrize("call, message", [
    (lambda: pareto([1.0, 2.0], [1.0]), "2 costs and 1 losses"),
    (lambda: pareto([float("nan")], [1.0]), "cost 0=nan"),
])
def test_what_has_no_front_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
