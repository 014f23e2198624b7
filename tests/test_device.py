"""Device, budget and seeds."""

import random

import numpy as np
import pytest
import torch

from course_lib.device import bfloat16_is_fast, budget, device, profile, seed, seeded


def test_the_fastest_device_is_chosen(monkeypatch):
    monkeypatch.delenv("COURSE_DEVICE", raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert device().type == "cuda"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert device().type == "mps"
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert device().type == "cpu"


def test_the_device_can_be_set_by_hand(monkeypatch):
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setenv("COURSE_DEVICE", "cpu")
    assert device().type == "cpu"


@pytest.mark.parametrize("known, fast", [({"avx2": True, "avx512_f": True, "avx512_bf16": False}, False), ({}, False),
                                         ({"avx512_bf16": True}, True), ({"amx_bf16": True}, True)])
def test_a_processor_is_asked_whether_it_multiplies_bfloat16(monkeypatch, known, fast):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: known)
    assert bfloat16_is_fast() is bfloat16_is_fast(torch.device("cpu")) is fast
    assert not bfloat16_is_fast("mps")


@pytest.mark.parametrize("native", [True, False])
def test_a_cuda_device_that_emulates_bfloat16_is_not_fast(monkeypatch, native):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: native or including_emulation)
    assert bfloat16_is_fast("cuda:0") is native


def test_the_budget_follows_the_profile(monkeypatch):
    for chosen, steps in {"cpu": 500, "gpu": 5_000, "GPU": 5_000}.items():
        monkeypatch.setenv("COURSE_PROFILE", chosen)
        assert budget(cpu=500, gpu=5_000) == steps
    monkeypatch.delenv("COURSE_PROFILE")
    monkeypatch.delenv("COURSE_DEVICE", raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert profile() == "gpu"


def test_one_seed_fixes_every_source_of_randomness():
    def draws():
        seed(3)
        return random.random(), np.random.rand(), torch.rand(()).item()
    first = draws()
    assert draws() == first
    seed(4)
    others = random.random(), np.random.rand(), torch.rand(()).item()
    assert all(a != b for a, b in zip(others, first))                          # each source, and not one of them


def test_a_generator_of_its_own_ignores_and_leaves_alone_the_global_one():
    torch.manual_seed(0)
    state = torch.get_rng_state()
    a = torch.randn(3, generator=seeded(1))
    torch.manual_seed(8)
    assert torch.equal(a, torch.randn(3, generator=seeded(1)))
    assert not torch.equal(a, torch.randn(3, generator=seeded(2)))
    torch.manual_seed(0)
    assert torch.equal(state, torch.get_rng_state())
