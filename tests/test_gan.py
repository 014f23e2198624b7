"""The algebra of the adversarial game, known another way. Whether a game converges is no unit test's business."""

import copy
import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from course_lib.data import Batches
from course_lib.dcgan import Discriminator, GANConfig, Generator
from course_lib.device import seed, seeded
from course_lib.gan import (
    class_entropy,
    discriminator_loss,
    fit_gan,
    generator_loss,
    modes_hit,
    optimal_discriminator,
    r1_penalty,
    saturating_loss,
)

# ---- losses

LOGITS = torch.tensor([-math.log(3), 0.0, math.log(3)])                    # D = 1/4, 1/2, 3/4


def test_losses_of_three_images_by_hand():
    mean_log_d = (math.log(1 / 4) + math.log(1 / 2) + math.log(3 / 4)) / 3   # the same for 1 - D, by symmetry
    assert discriminator_loss(LOGITS, LOGITS).item() == pytest.approx(-2 * mean_log_d)
    assert generator_loss(LOGITS).item() == pytest.approx(-mean_log_d)
    assert saturating_loss(LOGITS).item() == pytest.approx(mean_log_d)


def test_real_and_fake_are_not_exchanged():
    sure = torch.tensor([9.0])
    assert discriminator_loss(sure, -sure) < 1e-3 < 17 < discriminator_loss(-sure, sure)
    assert generator_loss(sure) < 1e-3 < 8 < generator_loss(-sure)
    assert saturating_loss(sure) < -8 < -1e-3 < saturating_loss(-sure)


def test_the_discriminator_loss_is_binary_cross_entropy():
    real, fake = torch.randn(7), torch.randn(5)
    bce = F.binary_cross_entropy_with_logits
    expected = bce(real, torch.ones(7)) + bce(fake, torch.zeros(5))
    assert discriminator_loss(real, fake).item() == pytest.approx(expected.item())


def test_a_coin_toss_costs_two_log_two():
    assert discriminator_loss(torch.zeros(3), torch.zeros(4)).item() == pytest.approx(2 * math.log(2))


def slope(loss, s):
    s = torch.tensor([s], dtype=torch.float64, requires_grad=True)
    loss(s).backward()
    return s.grad.item()


@pytest.mark.parametrize("D", [1e-6, 0.01, 0.25, 0.5, 0.9])
def test_the_two_generator_gradients_are_d_and_one_minus_d(D):
    s = math.log(D / (1 - D))
    assert slope(saturating_loss, s) == pytest.approx(-D)
    assert slope(generator_loss, s) == pytest.approx(-(1 - D))
    assert slope(generator_loss, s) / slope(saturating_loss, s) == pytest.approx((1 - D) / D)


def test_losses_do_not_overflow():
    far = torch.tensor([-1e4, 1e4])
    assert all(torch.isfinite(v) for v in (discriminator_loss(far, far), generator_loss(far), saturating_loss(far)))


# ---- R1

def test_r1_of_a_linear_discriminator_is_the_squared_norm_of_its_weights():
    w = torch.tensor([3.0, 4.0])
    assert r1_penalty(lambda x: x @ w, torch.randn(5, 2)).item() == pytest.approx(25)


def test_r1_of_a_quadratic_discriminator():
    x = torch.tensor([[1.0, 2.0], [3.0, 0.0]])                             # of |x|^2: gradient 2x, squared 4 |x|^2
    assert r1_penalty(lambda x: (x**2).sum(1), x).item() == pytest.approx((4 * 5 + 4 * 9) / 2)


def test_r1_can_be_minimised_and_leaves_the_images_alone():
    w, x = torch.tensor([3.0, 4.0], requires_grad=True), torch.randn(5, 2)
    r1_penalty(lambda x: x @ w, x, fake=torch.randn(5, 2)).backward()
    assert w.grad.tolist() == pytest.approx([6, 8]) and not x.requires_grad


# ---- theory

def test_the_optimal_discriminator_by_hand():
    p, q = torch.tensor([0.3, 0.0, 0.5, 0.0]), torch.tensor([0.1, 0.2, 0.0, 0.0])
    assert optimal_discriminator(p, q).tolist() == pytest.approx([0.75, 0, 1, 0.5])


def test_no_discriminator_has_a_smaller_loss_than_the_optimal_one():
    g = seeded(0)
    p, q = (torch.rand(6, generator=g).double().softmax(0) for _ in range(2))     # two distributions over 6 values

    def loss(s):                                                           # discriminator_loss, expectations exact
        return p @ F.softplus(-s) + q @ F.softplus(s)

    best = torch.logit(optimal_discriminator(p, q))
    for _ in range(20):
        assert loss(best) < loss(best + 0.1 * torch.randn(6, generator=g).double())
    # ... and there it is 2 log 2 minus twice the Jensen-Shannon divergence (Goodfellow et al., theorem 1)
    m = (p + q) / 2
    js = (p @ (p / m).log() + q @ (q / m).log()) / 2
    assert loss(best).item() == pytest.approx(2 * math.log(2) - 2 * js.item())


# ---- collapse

CENTRES = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 5.0]])


def test_modes_hit_by_hand():
    x = torch.tensor([[0.1, 0.0], [0.0, 0.2], [0.8, 0.0], [9.0, 9.0]])
    assert [modes_hit(x, CENTRES, r) for r in (0.05, 0.15, 0.25, 20)] == [0, 1, 2, 3]
    assert modes_hit(x, CENTRES, 0.25, at_least=2) == 1
    assert modes_hit(CENTRES[:1].expand(100, 2), CENTRES, 0.25) == 1


def test_class_entropy_by_hand():
    assert class_entropy(torch.eye(10)).item() == pytest.approx(math.log(10))
    assert class_entropy(torch.eye(10)[[3, 3, 3]]).item() == 0
    assert class_entropy(torch.eye(4)[[0, 0, 0, 1]]).item() == pytest.approx(0.5623, abs=1e-4)
    assert class_entropy(torch.full((3, 10), 0.1)).item() == pytest.approx(math.log(10))     # of the mean


# ---- the loop

def players(n_class=0):
    config = GANConfig(n_latent=5, n_class=n_class, n_channel=4)
    return Generator(config), Discriminator(config)


def digits():
    return torch.rand(12, 1, 28, 28, generator=seeded(1)), torch.arange(12) % 10


def by_hand(generator, discriminator, batches, lr, betas, gamma, every):
    """The game written out with binary cross-entropy and torch.optim, one fake batch for both moves."""
    bce, one, zero = F.binary_cross_entropy_with_logits, torch.ones(4), torch.zeros(4)
    d_adam = torch.optim.Adam(discriminator.parameters(), lr, betas)
    g_adam = torch.optim.Adam(generator.parameters(), lr, betas)
    generator.train()
    for step, (x,) in enumerate(batches):
        fake = generator(torch.randn(4, 5))
        loss = bce(discriminator(x), one) + bce(discriminator(fake.detach()), zero)
        if step % every == 0:
            x = x.clone().requires_grad_()
            g, = torch.autograd.grad(discriminator(x).sum(), x, create_graph=True)
            loss = loss + gamma * (g**2).sum() / 4
        d_adam.zero_grad()
        loss.backward()
        d_adam.step()
        g_adam.zero_grad()
        bce(discriminator(fake), one).backward()
        g_adam.step()


def test_it_plays_the_game_that_a_hand_written_loop_plays():
    batches = [(x,) for x in digits()[0].split(4)]
    seed(0)
    ours = players()
    theirs = copy.deepcopy(ours)
    seed(1)
    fit_gan(*ours, batches, 3, n_latent=5, penalty=r1_penalty, penalty_weight=0.5, penalty_every=2, lr=1e-3,
            betas=(0.5, 0.9), decay=0, ema=None)
    seed(1)
    by_hand(*theirs, batches, 1e-3, (0.5, 0.9), 0.5, 2)
    for a, b in zip(ours, theirs):
        for (name, u), v in zip(a.state_dict().items(), b.state_dict().values()):
            torch.testing.assert_close(u, v, atol=1e-5, rtol=1e-3, msg=lambda m, name=name: f"{name}: {m}")


def test_the_generator_ends_as_the_average_with_copied_batch_norm_statistics():
    batches, weights, ema = [(x,) for x in digits()[0].split(4)], [], 0.5

    class Watched(Generator):
        def forward(self, z, y=None):
            weights.append([p.detach().clone() for p in self.parameters()])       # as they are before each step
            return super().forward(z, y)

    _, discriminator = players()
    generator = Watched(GANConfig(n_latent=5, n_channel=4))
    last = copy.deepcopy(generator), copy.deepcopy(discriminator)
    seed(1)
    fit_gan(*last, batches, 3, n_latent=5, ema=None)
    weights.clear()
    seed(1)
    fit_gan(generator, discriminator, batches, 3, n_latent=5, ema=ema)
    after = [*weights[1:3], list(last[0].parameters())]                           # after steps 1, 2, 3
    average = after[0]
    for w in after[1:]:
        average = [ema * a + (1 - ema) * b for a, b in zip(average, w)]
    for ours, theirs in zip(generator.parameters(), average):
        torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-5)
    for ours, theirs in zip(generator.buffers(), last[0].buffers()):
        assert torch.equal(ours, theirs)


def test_each_move_changes_one_player_only():
    """With lr 0 for nobody: a generator whose loss is constant stays, and so does a discriminator with such a loss."""
    x = Batches(digits()[0], batch_size=4)
    for still, losses in ((0, dict(g_loss=lambda s: 0 * s.mean())), (1, dict(d_loss=lambda r, f: 0 * (r + f).mean()))):
        pair = players()
        before = [[p.clone() for p in m.parameters()] for m in pair]
        fit_gan(*pair, x, 2, n_latent=5, ema=None, **losses)
        changed = [any(not torch.equal(a, b) for a, b in zip(m.parameters(), old)) for m, old in zip(pair, before)]
        assert changed == [still == 1, still == 0]


def test_labels_reach_both_players():
    x, y = digits()
    seen = []

    class Spy(nn.Module):
        def __init__(self, player, name):
            super().__init__()
            self.player, self.name = player, name

        def forward(self, x, *labels):
            seen.append((self.name, *[label.tolist() for label in labels]))
            return self.player(x, *labels)

    g, d = players(n_class=10)
    fit_gan(Spy(g, "g"), Spy(d, "d"), [(x, y)], 1, n_latent=5, penalty=r1_penalty, ema=None)
    assert seen == [("g", y.tolist()), *[("d", y.tolist())] * 4]               # real, fake, penalty, its move


def test_evaluation_sees_the_average_in_eval_mode_and_leaves_no_trace():
    def evaluate(generator):
        assert not generator.training
        torch.randn(7)
        return {"mean": generator.sample(2).mean()}

    ends = []
    for what in (None, evaluate):
        seed(0)
        pair = players()
        history = fit_gan(*pair, Batches(digits()[0], batch_size=4), 5, n_latent=5, evaluate=what, eval_every=2)
        ends.append([p.detach() for p in pair[0].parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*ends))
    assert history.eval_steps == [2, 4, 5] and len(history["mean"]) == 3 and len(history["D(real)"]) == 5


def test_a_loss_that_is_not_finite_stops_the_game_and_says_where():
    with pytest.raises(FloatingPointError, match="step 1 of 2: the term 'generator' is nan"):
        fit_gan(*players(), Batches(digits()[0], batch_size=4), 2, n_latent=5, g_loss=lambda s: s.mean() * math.nan)


@pytest.mark.parametrize("wrong, words", [
    (dict(steps=0), "steps=0"), (dict(penalty_every=0), "penalty_every=0"), (dict(loader=[]), "gave no batch")])
def test_impossible_settings_are_refused(wrong, words):
    settings = dict(loader=[digits()[:1]], steps=1, n_latent=5) | wrong
    with pytest.raises(ValueError, match=words):
        fit_gan(*players(), **settings)


def test_the_rate_of_both_players_falls_over_the_last_part_of_the_game():
    """With a constant gradient, Adam moves by the rate of each step."""
    class Constant(nn.Module):
        def __init__(self):
            super().__init__()
            self.w, self.seen = nn.Parameter(torch.zeros(())), []

        def forward(self, x):
            self.seen.append(self.w.item())
            return x + self.w

    players_ = Constant(), Constant()
    fit_gan(*players_, [torch.zeros(3, 1)], 4, n_latent=1, lr=0.1, betas=(0.0, 0.0), decay=1.0, ema=None,
            d_loss=lambda real, fake: real.mean(), g_loss=lambda fake: fake.mean(), progress=False)
    g, d = (m.seen + [m.w.item()] for m in players_)
    moves = [a - b for a, b in zip(g, g[1:])]
    assert moves == pytest.approx([0.1, 0.075, 0.05, 0.025], abs=1e-5)
    assert d[0] - d[-1] == pytest.approx(0.25, abs=1e-5)


def test_the_history_says_how_real_each_side_looked():
    history = fit_gan(players()[0], nn.Sequential(nn.Flatten(), Knows()), [torch.ones(4, 1, 28, 28)], 1, n_latent=5)
    assert history["D(real)"][0] > 0.99 and history["D(fake)"][0] < 0.01


class Knows(nn.Module):
    """A logit of 9 for white images, of -9 for others."""
    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.ones(()))

    def forward(self, x):
        return self.w * torch.where(x.mean(1) > 0.999, 9.0, -9.0)


# ---- the networks

def test_images_lie_between_zero_and_one_and_follow_the_seed():
    g = players()[0]
    x = g.sample(501, generator=seeded(3))                                        # more than one part of 500
    assert x.shape == (501, 1, 28, 28) and 0 <= x.min() and x.max() <= 1
    assert g.training                                                             # as before ...
    torch.testing.assert_close(x, g.eval().sample(501, generator=seeded(3)))      # ... and without influence


def test_an_image_does_not_depend_on_its_neighbours():
    g, d = players(n_class=10)
    z, y, x = torch.randn(3, 5), torch.tensor([1, 2, 3]), torch.rand(3, 1, 28, 28)
    g.eval()
    torch.testing.assert_close(g(z, y)[1:2], g(z[1:2], y[1:2]))
    torch.testing.assert_close(d(x, y)[1:2], d(x[1:2], y[1:2]))


def test_the_discriminator_sees_every_pixel():
    x = torch.rand(1, 1, 28, 28, requires_grad=True)
    players()[1](x).sum().backward()
    assert (x.grad != 0).all()


def test_a_label_adds_its_projection_of_the_features():
    d = players(n_class=10)[1]
    x, y = torch.rand(3, 1, 28, 28), torch.tensor([7, 7, 2])
    h = d.features(2 * x - 1)
    expected = [(d.head(h[i]) + d.embedding.weight[y[i]] @ h[i]).item() for i in range(3)]
    assert d(x, y).tolist() == pytest.approx(expected, abs=1e-6)


def test_a_class_can_be_asked_for_and_a_wrong_one_is_refused():
    g = players(n_class=10)[0]
    one, many = g.sample(3, 7, seeded(0)), g.sample(3, torch.tensor([7, 7, 7]), seeded(0))
    assert torch.equal(one, many) and not torch.equal(one, g.sample(3, 8, seeded(0)))
    for wrong in (10, -1, 2.0):
        with pytest.raises(ValueError, match="0 to 9"):
            g.sample(3, wrong)
    with pytest.raises(ValueError, match="no labels"):
        players()[0].sample(3, 7)


@pytest.mark.parametrize("fast", [True, False])
def test_the_game_is_played_in_bfloat16_where_that_is_fast(monkeypatch, fast):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": fast})
    (generator, discriminator), seen = players(), set()
    for layer in (m for player in (generator, discriminator) for m in player.modules() if isinstance(m, nn.Linear)):
        layer.register_forward_hook(lambda layer, x, y: seen.add(y.dtype))
    fit_gan(generator, discriminator, Batches(digits()[0], batch_size=4), steps=2, n_latent=5, autocast=True,
            progress=False)
    assert seen == {torch.bfloat16 if fast else torch.float32}


# ---- any picture

@pytest.mark.parametrize("shape", [(3, 16, 16), (1, 32, 40)])
def test_the_players_play_with_pictures_of_any_size(shape):
    seed(0)
    config = GANConfig(n_latent=5, n_class=3, n_channel=8, shape=shape)
    images = Generator(config).eval().sample(4, torch.tensor([0, 1, 2, 0]), generator=seeded(0))
    assert images.shape == (4, *shape) and images.flatten(1).std(1).min() > 0
    assert Discriminator(config)(images, torch.tensor([0, 1, 2, 0])).shape == (4,)
    with pytest.raises(ValueError, match=r"of shape \(.*\), got \(4, 1, 28, 28\)"):
        Discriminator(config)(torch.zeros(4, 1, 28, 28), torch.zeros(4).long())


def test_a_size_that_4_does_not_divide_is_refused():
    with pytest.raises(ValueError, match="30, 28.* multiples of 4"):
        Generator(GANConfig(shape=(1, 30, 28)))


def test_an_image_is_half_a_tanh_of_noise_and_a_label_of_length_three():
    g = players(n_class=10)[0].eval()
    z, y = torch.randn(3, 5, generator=seeded(0)), torch.tensor([7, 0, 2])
    seen = g.layers(torch.cat([z, 3 * torch.eye(10)[y]], 1))
    torch.testing.assert_close(g(z, y), (seen.tanh() + 1) / 2)
