"""Marks: what is counted by hand, what other libraries compute, and rates of false alarms that hold."""

import io
import math
from functools import partial

import pytest
import torch
from PIL import Image
from scipy.stats import binom, kstest, pearsonr
from scipy.stats import t as student

from course_lib import flow
from course_lib.checkpoint import load, metadata
from course_lib.checkpoints import part8_marks
from course_lib.decoding import generate, generate_plainly
from course_lib.device import seeded
from course_lib.diffusion import autoguided
from course_lib.gpt import GPT, GPTConfig
from course_lib.watermark import (
    count_green,
    false_alarm,
    favouring,
    free_key,
    green_lists,
    key_p_value,
    list_numbers,
    new_keys,
    ring_key,
    ring_p_value,
    rings,
    sign,
    spoil,
    verify,
    with_ring,
    z_score,
)


def test_each_row_has_its_share_of_green_tokens_and_the_key_decides_which():
    green = green_lists(20, 0.25, key=3)
    assert green.sum(1).tolist() == [5] * 20 and green.dtype == torch.bool
    assert torch.equal(green, green_lists(20, 0.25, key=3)) and not torch.equal(green, green_lists(20, 0.25, key=4))
    assert green.unique(dim=0).shape[0] > 15                                 # another list after another token
    assert 0.2 < torch.stack([green_lists(20, 0.25, k)[0, 0] for k in range(300)]).float().mean() < 0.3


def test_pairs_are_counted_once():
    green = torch.zeros(4, 4, dtype=torch.bool)
    green[0, 1] = green[2, 3] = True
    assert count_green(torch.tensor([0, 1, 2, 3]), green) == (2, 3)
    assert count_green(torch.tensor([0, 1, 0, 1, 0, 1]), green) == (1, 2)    # 0 1 is green and 1 0 is not


def test_the_list_is_a_number_to_the_base_31():
    text = torch.tensor([[3, 1, 4, 1], [5, 9, 2, 6]])
    assert torch.equal(list_numbers(text, 10), text)
    assert list_numbers(text, 10, 3).tolist() == [[(3 * 961 + 1 * 31 + 4) % 10, (961 + 4 * 31 + 1) % 10],
                                                  [(5 * 961 + 9 * 31 + 2) % 10, (9 * 961 + 2 * 31 + 6) % 10]]
    spread = list_numbers(torch.randint(97, 123, (2_000, 3), generator=seeded(0)), 256, 3)
    assert spread.unique().numel() > 250     # 26 letters use all lists


def test_with_a_width_the_list_of_all_those_tokens_counts():
    green = torch.zeros(10, 10, dtype=torch.bool)
    green[(2 * 31 + 3) % 10, 4] = True                                       # after 2, 3
    assert count_green(torch.tensor([2, 3, 4, 9, 3, 4]), green, width=2) == (1, 4)
    assert count_green(torch.tensor([2, 3, 4, 2, 3, 4]), green, width=2) == (1, 3)     # 2 3 4 counts once


def test_the_z_score_is_that_of_the_paper_and_the_tail_that_of_scipy():
    assert z_score(28, 36, 0.25) == pytest.approx((28 - 9) / math.sqrt(36 * 0.25 * 0.75))
    for n_green, n, share in [(0, 5, 0.5), (5, 5, 0.5), (28, 36, 0.25), (150, 200, 0.5), (3, 200, 0.1)]:
        assert false_alarm(n_green, n, share) == pytest.approx(binom.sf(n_green - 1, n, share), rel=1e-9)


def small_gpt():
    torch.manual_seed(0)
    return GPT(GPTConfig(vocab_size=16, block_size=32, n_layer=1, n_head=2, n_embd=16)).eval()


def test_writing_with_a_mark_is_sampling_from_changed_logits():
    model, green, prompt = small_gpt(), green_lists(16, 0.5, key=1), torch.tensor([3, 5])
    marked = generate(model, [prompt], 24, temperature=0.0, processor=favouring(green, 1.5))[0]
    idx = prompt
    for token in marked:                           # the plain way: every logit by hand
        logits = model(idx[None])[0, -1] + 1.5 * green[idx[-1]]
        assert token == logits.argmax()
        idx = torch.cat([idx, token[None]])
    plain = generate(model, [prompt], 24, generator=seeded(0), processor=favouring(green, 0.0))[0]
    assert torch.equal(plain, generate_plainly(model, prompt, 24, generator=seeded(0)))
    marked = generate(model, [prompt], 12, temperature=0.0, processor=favouring(green, 1.5, width=2))[0]
    idx = prompt
    for token in marked:
        assert token == (model(idx[None])[0, -1] + 1.5 * green[(31 * idx[-2] + idx[-1]) % 16]).argmax()
        idx = torch.cat([idx, token[None]])


def test_a_marked_text_is_found_and_an_unmarked_one_is_not():
    model, green = small_gpt(), green_lists(16, 0.5, key=1)
    prompts = [torch.tensor([k]) for k in range(16)]
    scores = {}
    for delta in (0.0, 4.0):
        texts = generate(model, prompts, 30, generator=seeded(2), processor=favouring(green, delta))
        scores[delta] = [z_score(*count_green(text, green), 0.5) for text in texts]
    assert max(scores[0.0]) < 3.5 and abs(sum(scores[0.0])) / 16 < 1 and min(scores[4.0]) > 2.5
    other = [z_score(*count_green(text, green_lists(16, 0.5, key=9)), 0.5) for text in texts]
    assert abs(sum(other)) / 16 < 1                                          # another key sees nothing


def test_false_alarms_are_as_rare_as_promised():
    share, n, alpha = 0.25, 60, 0.05
    least = next(k for k in range(n + 1) if false_alarm(k, n, share) <= alpha)
    counts = (torch.rand(20_000, n, generator=seeded(0)) < share).sum(1)
    rate = (counts >= least).double().mean().item()
    assert rate == pytest.approx(false_alarm(least, n, share), abs=0.005) and rate <= alpha


# --- pictures

WHERE = rings(28, 28, 2, 8)


def test_the_ring_is_in_the_noise_which_stays_real_and_otherwise_the_same():
    noise, key = torch.randn(5, 3, 28, 28, generator=seeded(0)), ring_key(WHERE, seeded(1))
    marked = with_ring(noise, key, WHERE)
    assert marked.shape == noise.shape and torch.equal(marked[:, 1:], noise[:, 1:])
    spectrum = torch.fft.fftshift(torch.fft.fft2(marked[:, 0]), dim=(-2, -1))
    torch.testing.assert_close(spectrum[:, WHERE].real, key[WHERE].expand(5, -1), atol=1e-2, rtol=1e-3)
    before = torch.fft.fftshift(torch.fft.fft2(noise[:, 0]), dim=(-2, -1))
    torch.testing.assert_close(spectrum.imag, before.imag, atol=1e-2, rtol=1e-3)
    torch.testing.assert_close(spectrum[:, ~WHERE], before[:, ~WHERE], atol=1e-2, rtol=1e-3)
    turned = key.flip(0, 1).roll((1, 1), (0, 1))                             # a half turn about frequency 0
    torch.testing.assert_close(turned, key)


def test_p_values_of_white_noise_are_nearly_uniform_on_the_safe_side_and_those_of_marked_noise_tiny():
    key = ring_key(WHERE, seeded(1))
    noise = torch.randn(4_000, 1, 28, 28, generator=seeded(2))
    p = ring_p_value(noise, key, WHERE)
    assert p.shape == (4_000,) and kstest(p, "uniform").statistic < 0.04
    assert 0.005 < (p < 0.01).double().mean() < 0.012 and 0.03 < (p < 0.05).double().mean() < 0.055
    marked = with_ring(noise[:50], key, WHERE)
    assert ring_p_value(marked, key, WHERE).max() < 1e-12
    blurred = marked + torch.randn(50, 1, 28, 28, generator=seeded(3))       # as much noise again
    assert ring_p_value(blurred, key, WHERE).median() < 1e-3


@pytest.mark.parametrize("make, share", [(free_key, (0, 0.05)), (ring_key, (0.2, 0.6))])
def test_another_key_sees_nothing_unless_keys_are_a_handful_of_rings(make, share):
    marked = with_ring(torch.randn(5, 1, 28, 28, generator=seeded(2)), make(WHERE, seeded(1)), WHERE)
    assert ring_p_value(marked, make(WHERE, seeded(1)), WHERE).max() < 1e-12
    others = torch.stack([ring_p_value(marked, make(WHERE, seeded(k)), WHERE) for k in range(2, 82)])
    assert share[0] <= (others < 0.01).double().mean() < share[1]


def test_whatever_the_noise_few_free_keys_fit():
    wave = (torch.arange(28) * math.pi / 14).cos()                           # of a frequency that is not in WHERE
    coloured = 0.3 * torch.randn(5, 1, 28, 28, generator=seeded(2)) + 1.4 * wave
    p = torch.stack([key_p_value(coloured, free_key(WHERE, seeded(k)), WHERE) for k in range(1_000)])
    assert kstest(p.flatten(), "uniform").statistic < 0.03
    assert (p < 0.01).double().mean() == pytest.approx(0.01, abs=0.005)
    near = torch.stack([ring_p_value(coloured, free_key(WHERE, seeded(k)), WHERE) for k in range(50)])
    assert (near < 0.01).double().mean() > 0.5                               # the distance is misled
    key = free_key(WHERE, seeded(1))
    marked = with_ring(torch.randn(5, 1, 28, 28, generator=seeded(2)), key, WHERE)
    assert key_p_value(0.01 * marked + 5, key, WHERE).max() < 1e-12          # neither loudness nor a mean matters
    mixed = marked + 2 * torch.randn(5, 1, 28, 28, generator=seeded(3))
    i, j = WHERE.nonzero(as_tuple=True)
    upper = (i > 14) | ((i == 14) & (j > 14))
    real = torch.fft.fftshift(torch.fft.fft2(mixed[:, 0]), dim=(-2, -1)).real[:, i[upper], j[upper]]
    against = key[i[upper], j[upper]]                                        # with a mean that is taken as 0
    both = [pearsonr(torch.cat([x, -x]), torch.cat([against, -against]))[0] for x in real]
    t_of = [r * ((len(against) - 1) / (1 - r * r)) ** 0.5 for r in both]
    expected = student.sf(t_of, len(against) - 1)
    assert key_p_value(mixed, key, WHERE).tolist() == pytest.approx(expected.tolist(), rel=1e-3)


def test_the_way_back_leads_to_where_the_way_began():
    def model(x, t):
        return torch.stack([x[:, 1], -x[:, 0]], 1) + t[:, None]

    x = torch.randn(4, 2, dtype=torch.float64, generator=seeded(0))
    there = flow.midpoint(model, x, 200)
    torch.testing.assert_close(flow.midpoint(flow.backwards(model), there, 200), x, atol=1e-4, rtol=0)
    assert (there - x).abs().min() > 1e-2


# --- what befalls a picture

PICTURES = torch.rand(3, 1, 28, 28, generator=seeded(5))


def test_a_spoilt_picture_is_what_others_make_of_it():
    from scipy.ndimage import gaussian_filter, rotate

    smooth = torch.from_numpy(gaussian_filter(PICTURES[0, 0].numpy(), 1.0, mode="nearest", truncate=3.0))
    torch.testing.assert_close(spoil(PICTURES, "blur", 1.0)[0, 0], smooth, atol=1e-4, rtol=0)
    torch.testing.assert_close(spoil(PICTURES, "turn", 90), PICTURES.rot90(1, (2, 3)), atol=1e-4, rtol=0)
    soft = spoil(PICTURES, "blur", 2.0)
    turned = torch.from_numpy(rotate(soft[0, 0].numpy(), 20, reshape=False, order=1))
    torch.testing.assert_close(spoil(soft, "turn", 20)[0, 0, 8:20, 8:20], turned[8:20, 8:20], atol=0.02, rtol=0)
    levels = spoil(PICTURES, "levels", 4)
    assert levels.unique().tolist() == pytest.approx([0, 1 / 3, 2 / 3, 1]) and (levels - PICTURES).abs().max() <= 1 / 6
    noisy = spoil(torch.full((3, 1, 28, 28), 0.5), "noise", 0.1, seeded(0))
    assert noisy.std() == pytest.approx(0.1, abs=0.01) and noisy.mean() == pytest.approx(0.5, abs=0.01)
    ramp = torch.linspace(0, 1, 28).expand(1, 1, 28, 28)
    assert spoil(ramp, "crop", 7)[0, 0, 5, [0, -1]].tolist() == pytest.approx([7 / 27, 20 / 27], abs=0.01)


@pytest.mark.parametrize("C", [1, 3])
def test_jpeg_is_what_pillow_reads_back(C):
    picture = spoil(torch.rand(1, C, 28, 20, generator=seeded(0)), "blur", 2.0)
    good, bad = spoil(picture, "jpeg", 95), spoil(picture, "jpeg", 5)
    assert good.shape == picture.shape and (good - picture).abs().mean() < (bad - picture).abs().mean() < 0.2
    file = io.BytesIO()
    array = (picture[0] * 255).round().byte().permute(1, 2, 0).numpy()
    Image.fromarray(array.squeeze()).save(file, "JPEG", quality=5)
    assert Image.open(file).getpixel((11, 17)) == pytest.approx(
        (bad[0, :, 17, 11] * 255).round().int().tolist() if C == 3 else (bad[0, 0, 17, 11] * 255).round().item())


# --- the marked pictures that are kept

@torch.inference_mode()
def test_kept_pictures_are_the_flow_s_and_the_mark_is_found_as_often_as_the_file_says():
    kept, flow_of_noise = load("marked"), load("flow")
    noise = with_ring(part8_marks.noise_of(2), part8_marks.key_of("free", 2), part8_marks.WHERE)[7:9]
    velocity = autoguided(partial(flow_of_noise.network, y=torch.tensor([7, 8])), flow_of_noise.weak, 1.35)
    drawn = (flow.midpoint(velocity, noise, 15) / 2 + 0.5).clamp(0, 1)
    torch.testing.assert_close(kept.of("free")[87:89], drawn, atol=0.02, rtol=0)
    says = metadata("marked")["trials"]["jpeg 20"]["half way"]
    spoilt = spoil(kept.of("free")[80:120], "jpeg", 20)
    behind = part8_marks.noise_behind(flow_of_noise.network, spoilt, 0.5)
    found = (key_p_value(behind, part8_marks.key_of("free", 2), part8_marks.WHERE) < 0.01).sum()
    assert abs(found - says["free"][2]) <= 2 and sum(says["plain, free"]) < 10


# --- signatures

def test_a_signature_holds_for_these_pixels_and_these_claims_alone():
    secret, public = new_keys()
    picture, claims = torch.rand(3, 8, 8, generator=seeded(0)), {"model": "flow", "made": True}
    signature = sign(picture, claims, secret)
    assert len(signature) == 64 and verify(picture, claims, signature, public)
    assert verify(picture.clone(), {"made": True, "model": "flow"}, signature, public)
    changed = picture.clone()
    changed[0, 0, 0] = 1 - changed[0, 0, 0]
    assert not verify(changed, claims, signature, public)
    assert not verify(picture.view(8, 3, 8), claims, signature, public)
    assert not verify(picture, claims | {"made": False}, signature, public)
    assert not verify(picture, claims, signature, new_keys()[1])
    assert not verify(picture, claims, bytes(64), public)


@pytest.mark.parametrize("call, message", [
    (lambda: green_lists(10, 0.01), "makes 0 tokens green"),
    (lambda: green_lists(1), "vocab_size=1"),
    (lambda: favouring(green_lists(4), 1.0, width=0), "width=0"),
    (lambda: count_green(torch.tensor([1, 2]), green_lists(4), 2), "a text of 2 has no token after 2"),
    (lambda: count_green(torch.tensor([1, 7]), green_lists(4)), "got 1 to 7"),
    (lambda: false_alarm(1, 4, 1.0), "rest=0"),
    (lambda: rings(28, 28, 2.1, 2.15), "no frequency"),
    (lambda: spoil(PICTURES + 1, "blur", 1), "reach from"),
    (lambda: spoil(PICTURES, "noise", -0.5), "strength=-0.5"),
    (lambda: spoil(PICTURES, "blur", 0), "strength=0"),
    (lambda: spoil(PICTURES, "crop", 14), "strength=14"),
    (lambda: spoil(PICTURES, "turn", 400), "strength=400"),
    (lambda: spoil(PICTURES, "levels", 1), "strength=1"),
    (lambda: spoil(PICTURES, "jpeg", 96), "quality=96"),
])
def test_what_makes_no_mark_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
