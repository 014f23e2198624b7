"""Nothing returns nonsense in silence: what a user may well do is answered rightly, or in one line that says what is
wrong. Each test is a kind of mistake, with examples from all over the library."""

import math
import re
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from course_lib import (
    augment,
    autoencoder,
    calibration,
    checkpoint,
    classify,
    decoding,
    diffusion,
    expect,
    flow,
    gan,
    gaussians,
    metrics,
    mlp,
    ngrams,
    pipeline,
    train,
    transformer,
    vae,
    video,
    watermark,
)
from course_lib.baselines import Kept, KeptConfig
from course_lib.convnet import ConvNet, ConvNetConfig
from course_lib.data import Batches, toys
from course_lib.data import text as texts
from course_lib.data.avatars import with_jobs
from course_lib.dcgan import Discriminator, GANConfig, Generator
from course_lib.device import seed, seeded
from course_lib.dit import DiT, DiTConfig
from course_lib.gpt import GPT, GPTConfig, fast, from_gpt2, lm_loss, n_flops
from course_lib.muon import Muon
from course_lib.unet import UNet, UNetConfig

INF, NAN = math.inf, math.nan
X, Y = torch.rand(6, 1, 28, 28, generator=seeded(0)), torch.arange(6)
A = diffusion.linear_alphas_cumprod(50)
T = torch.arange(6)
TO_ZERO = torch.tensor([0.8, 0.4, 0.1, 0.0])


def a_vae():
    seed(0)
    return vae.VAE(vae.VAEConfig(n_latent=3, n_channel=4))


def a_judge():
    seed(0)
    return ConvNet(ConvNetConfig(n_channel=4, n_feature=8))


def a_gpt(**config):
    seed(0)
    return GPT(GPTConfig(**dict(vocab_size=11, block_size=8, n_layer=1, n_head=2, n_embd=8) | config))


def a_painter(**config):
    seed(0)
    return pipeline.Pipeline(pipeline.PipelineConfig(sizes=dict(n_class=10, n_channel=4, n_embd=8), steps=2, **config))


def linear():
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 10))


def learn(model=None, loss=classify.classifier_loss, loader=None, steps=2, **settings):
    loader = Batches(X, Y, batch_size=3) if loader is None else loader
    return train.fit(linear() if model is None else model, loss, loader, steps, **dict(progress=False) | settings)


def play(steps=1, loader=None, generator=None, **settings):
    config = GANConfig(n_latent=5, n_channel=4)
    players = Generator(config) if generator is None else generator, Discriminator(config)
    return gan.fit_gan(*players, Batches(X, batch_size=3) if loader is None else loader, steps,
                       **dict(n_latent=5, progress=False) | settings)


def refused(examples):
    """Each example is (what it is, a call, what the one line must say)."""
    return pytest.mark.parametrize("call, words", [(call, words) for _, call, words in examples],
                                   ids=[re.sub(" at 0x[0-9a-f]+", "", name) for name, *_ in examples])


def check(call, words):
    with pytest.raises(ValueError, match=words) as e:
        call()
    assert "\n" not in str(e.value) and len(str(e.value)) < 300


# ---- ranges of images

@refused([
    ("images in [-1, 1] for a VAE", lambda: vae.vae_loss(a_vae(), 2 * X - 1), r"from -(0\.9|1)"),
    ("images in [0, 255] for a VAE", lambda: vae.vae_loss(a_vae(), 255 * X), "to 25[45]"),
    ("the bound of images in [-1, 1]", lambda: vae.elbo(a_vae(), 2 * X - 1), r"from -(0\.9|1)"),
    ("a probability above 1", lambda: vae.bernoulli_log_prob(torch.full((1, 1), -50.0), -torch.ones(1, 1)), "from -1"),
    ("a pixel a little above 1", lambda: expect.probabilities(torch.tensor([0.5, 1.01])), r"to 1\.01"),
    ("a pixel a little below 0", lambda: expect.probabilities(torch.tensor([0.5, -0.01])), r"from -0\.01"),
    ("a pixel that is nan", lambda: vae.bernoulli_log_prob(torch.zeros(1, 2), torch.tensor([[0.5, NAN]])), "nan"),
    ("a prior for images in [-1, 1]", lambda: vae.MixtureVAE.fit(a_vae(), 2 * X - 1, n_gaussian=2), "from -"),
    ("a discriminator of images in [-1, 1]", lambda: Discriminator(GANConfig(n_channel=4))(2 * X - 1), "from -"),
    ("a game with images in [-1, 1]", lambda: play(loader=[2 * X - 1]), "from -"),
    ("a pipeline with images in [-1, 1]", lambda: pipeline.pipeline_loss(a_painter(), 2 * X - 1, Y), "from -"),
    ("a judge of images in [-1, 1]", lambda: metrics.judge_features(2 * X - 1, a_judge()), "from -"),
    ("a score of images in [0, 255]", lambda: metrics.control_accuracy(a_judge(), 255 * X, Y), "to 25[45]"),
    ("the entropy of logits", lambda: gan.class_entropy(torch.randn(5, 3, generator=seeded(0))), "softmax"),
    ("the calibration of logits", lambda: calibration.ece(torch.randn(5, 3), torch.zeros(5).long()), "softmax"),
    ("a schedule above 1", lambda: diffusion.q_sample(X, T, X, 1 + A), r"alphas_cumprod.*to 1\."),
    ("a schedule of nan", lambda: diffusion.to_x0(X, X, T, NAN * A), "alphas_cumprod.*nan"),
    ("densities that are infinite", lambda: gan.optimal_discriminator(torch.full((1,), INF), torch.ones(1)), "inf"),
    ("densities that are nan", lambda: gan.optimal_discriminator(torch.full((1,), NAN), torch.ones(1)), "nan"),
])
def test_a_range_that_is_no_probability_is_named(call, words):
    check(call, words)


def test_rounding_at_the_ends_of_the_range_is_no_mistake():
    x = X.clone()
    x[0, 0, 0, :2] = torch.tensor([-1e-6, 1 + 1e-6])
    assert vae.vae_loss(a_vae(), x)["loss"].isfinite()
    assert expect.probabilities(X) is X


def test_looking_at_the_range_costs_no_step_of_training():
    """Nothing is computed but the two ends, and only once."""
    from torch.utils._python_dispatch import TorchDispatchMode

    class Count(TorchDispatchMode):
        names = []

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            self.names.append(func.__name__.split(".")[0])
            return func(*args, **kwargs or {})

    with Count() as count:
        vae.vae_loss(a_vae(), X)
    assert count.names.count("aminmax") == 1 and count.names.count("_local_scalar_dense") == 2


# ---- shapes that broadcast

def drops_the_channel(x, t):
    return torch.zeros(len(x), *x.shape[2:])


@refused([
    ("labels in a column", lambda: metrics.control_accuracy(a_judge(), X, Y[:, None]), r"\(6, 1\)"),
    ("labels in a column for a loss", lambda: classify.classifier_loss(linear(), X, Y[:, None]), r"\(6, 1\)"),
    ("logits with a third axis", lambda: classify.classifier_loss(lambda x: torch.zeros(6, 10, 1), X, Y), r"10, 1\)"),
    ("a velocity without channels", lambda: flow.flow_loss(drops_the_channel, X), r"\(6, 28, 28\)"),
    ("a walk without channels", lambda: flow.euler(drops_the_channel, X, 2), r"\(6, 28, 28\)"),
    ("a midpoint without channels", lambda: flow.midpoint(drops_the_channel, X, 2), r"\(6, 28, 28\)"),
    ("straightness without channels", lambda: flow.straightness(drops_the_channel, X, 2), r"\(6, 28, 28\)"),
    ("noise of another shape", lambda: flow.interpolate(X, X[:1], torch.rand(6)), r"\(1, 1, 28, 28\)"),
    ("too few times", lambda: flow.interpolate(X, X, torch.rand(1)), r"\(6,\), got .*\(1,\)"),
    ("a prediction without channels", lambda: diffusion.diffusion_loss(drops_the_channel, X, A), r"\(6, 28, 28\)"),
    ("noise that broadcasts", lambda: diffusion.q_sample(X, T, X[:1], A), r"\(1, 1, 28, 28\)"),
    ("a target that broadcasts", lambda: diffusion.target_of(X, T, X[:1], A, "v"), r"\(1, 1, 28, 28\)"),
    ("a prediction that broadcasts", lambda: diffusion.to_eps(X[:1], X, T, A, "v"), r"\(1, 1, 28, 28\)"),
    ("an eps that broadcasts", lambda: diffusion.to_x0(X[:, 0], X, T, A), r"\(6, 28, 28\)"),
    ("a step with an eps that broadcasts", lambda: diffusion.ddim_step(X[:, 0], X, 9, 4, A), r"\(6, 28, 28\)"),
    ("a step with noise that broadcasts", lambda: diffusion.ddpm_step(X, X, 9, A, noise=X[:1]), r"\(1, 1, 28, 28\)"),
    ("a sampler without channels", lambda: diffusion.ddim(drops_the_channel, X, A, 3), r"\(6, 28, 28\)"),
    ("one time for six images", lambda: diffusion.per_sample(A, torch.tensor([3]), X), r"\(6,\): got \(1,\)"),
    ("guides of two shapes", lambda: diffusion.autoguided(drops_the_channel, lambda x, t: x, 2.0)(X, T), "28, 28"),
    ("densities that broadcast", lambda: gan.optimal_discriminator(torch.rand(3), torch.rand(3, 1)), r"\(3, 1\)"),
    ("centres in another space", lambda: gan.modes_hit(torch.rand(5, 1), torch.rand(4, 2), 0.1), r"\(1, 2\)"),
    ("a picture without channels", lambda: autoencoder.reconstruction_loss(lambda x: x[:, 0], X), r"\(6, 28, 28\)"),
    ("codes that broadcast", lambda: vae.kl_to_standard_normal(torch.rand(3, 2), torch.rand(3, 1)), r"\(3, 1\)"),
    ("logits that broadcast", lambda: vae.bernoulli_log_prob(X[:1], X), r"\(1, 1, 28, 28\)"),
    ("points in another space", lambda: gaussians.gaussian_log_prob(
        torch.rand(5, 1), torch.zeros(2, 3), torch.eye(3).repeat(2, 1, 1)), r"\(5, 1\)"),
    ("fewer scales than means", lambda: gaussians.gaussian_log_prob(
        torch.rand(5, 3), torch.zeros(2, 3), torch.eye(3)[None]), r"\(1, 3, 3\)"),
    ("weights in a row", lambda: gaussians.moments(torch.rand(5, 2), torch.rand(1, 3)), r"\(1, 3\)"),
    ("counts in a column", lambda: gaussians.shrink(torch.eye(2).repeat(3, 1, 1), torch.ones(3, 1), 1.0, 0.1),
     r"\(3, 1\)"),
    ("fitted values that broadcast", lambda: gaussians.Gaussians(2, 3, 4).set(
        torch.rand(4), torch.rand(3, 4), torch.ones(4), torch.rand(1, 3), torch.eye(3).repeat(4, 1, 1)), r"\(1, 3\)"),
    ("a mask with more axes", lambda: transformer.attention_weights(
        torch.rand(4, 8), torch.rand(5, 8), torch.ones(2, 4, 5).bool()), r"\(2, 4, 5\)"),
    ("fakes of another shape", lambda: play(generator=nn.Sequential(nn.Linear(5, 784), nn.Sigmoid())), r"\(3, 784\)"),
    ("whole numbers in place of a loss", lambda: autoencoder.reconstruction_loss(lambda x: x, X.long()), "int64"),
    ("a road between whole numbers", lambda: autoencoder.interpolate(Y, Y, 5), "int64"),
    ("columns that depend on each other", lambda: autoencoder.principal_angles(
        torch.ones(5, 2), torch.rand(5, 2)), "A of shape"),
    ("a model that answers with a pair", lambda: flow.flow_loss(lambda x, t: (x, t), X), "velocity is "),
    ("a mask for another number of tokens", lambda: transformer.MultiHeadAttention(8, 2)(
        torch.rand(2, 4, 8), torch.ones(3, 3).bool()), r"\(3, 3\)"),
    ("a mask for another batch", lambda: transformer.MultiHeadAttention(8, 2)(
        torch.rand(2, 4, 8), torch.zeros(5, 2, 4, 4)), r"\(5, 2, 4, 4\)"),
    ("a mask of bytes", lambda: transformer.Block(8, 2)(torch.rand(2, 4, 8), torch.ones(4, 4).byte()), "uint8"),
    ("a context of other vectors", lambda: transformer.CrossAttention(8, 6, 2)(
        torch.rand(2, 3, 8), torch.rand(2, 3, 5)), r"\(2, 3, 5\)"),
    ("axes of other images", lambda: gaussians.ClassGaussians.fit(
        X, Y, n_class=6, axes=(torch.zeros(5), torch.eye(3, 784))), r"\(5,\)"),
    ("no images", lambda: flow.flow_loss(lambda x, t: x, X[:0]), r"\(0, 1, 28, 28\)"),
])
def test_nothing_is_broadcast_in_silence(call, words):
    check(call, words)


# ---- settings that turn training round

@refused([
    *[(f"fit({name}={value})", partial(learn, **{name: value}), words) for name, value, words in [
        ("steps", 2.5, "steps=2.5"), ("steps", True, "steps=True"), ("steps", 0, "steps=0"),
        ("steps", "3", "steps='3'"),
        ("lr", -0.1, "lr=-0.1"), ("lr", 0.0, "lr=0.0"), ("lr", NAN, "lr=nan"), ("lr", INF, "lr=inf"),
        ("betas", (0.9, 1.0), "1.0"), ("betas", (0.9,), "0.9"), ("weight_decay", -1.0, "weight_decay=-1.0"),
        ("warmup", -5, "warmup=-5"), ("warmup", 0.1, "warmup=0.1"), ("decay", -0.1, "decay=-0.1"),
        ("decay", NAN, "decay=nan"), ("clip", -1.0, "clip=-1.0"), ("clip", 0, "clip=0"), ("clip", NAN, "clip=nan"),
        ("ema", 0.0, "ema=0.0"), ("ema", NAN, "ema=nan"), ("eval_every", 0, "eval_every=0"),
        ("eval_every", 1.5, "eval_every=1.5"), ("save_every", -1, "save_every=-1"), ("autocast", 2, "autocast=2"),
        ("evaluate", {"a": 1}, "evaluate=dict"), ("loss", "mse", "loss_fn=str"),
        ("optimizer", torch.optim.SGD(linear().parameters(), 0.1), "optimizer=SGD"),
        ("optimizer", lambda m: Muon([m[1].weight], lr=-1.0), "lr=-1.0"),
        ("optimizer", lambda m: Muon([m[1].weight], momentum=1.5), "momentum=1.5"),
        ("evaluate", lambda m: 0.5, "dict of numbers"),
    ]],
    *[(f"fit_gan({name}={value})", partial(play, **{name: value}), f"{name}=") for name, value in [
        ("steps", 1.5), ("n_latent", 0), ("lr", -1e-3), ("lr", NAN), ("betas", (0.5, 1.0)), ("decay", 1.5),
        ("ema", 1.5), ("penalty_weight", -1.0), ("penalty_weight", NAN), ("penalty_every", 0.5), ("eval_every", 0),
        ("evaluate", 1), ("autocast", "yes")]],
    ("fit_gan(penalty='r1')", lambda: play(penalty="r1"), "penalty=str"),
    ("fit_gan(d_loss) for each image", lambda: play(d_loss=lambda r, f: r - f), r"'discriminator': \(3,\)"),
    ("fit_gan(g_loss) without weights", lambda: play(g_loss=lambda f: f.mean().detach()), "depends on the weights"),
    ("fit(evaluate) of nothing", lambda: learn(evaluate=lambda m: {"a": None}), "'a' is NoneType"),
    ("fit(evaluate) of many", lambda: learn(evaluate=lambda m: {"a": torch.ones(3)}), "'a' is Tensor"),
    ("n_class=0", lambda: mlp.softmax_regression(n_class=0), "n_class=0"),
    ("a GAN of 2 channels", lambda: Discriminator(GANConfig(n_channel=2)), "n_channel=2"),
    ("a block with another GELU", lambda: transformer.Block(8, 2, gelu="tan"), "'tan'"),
    ("a text of -1 tokens", lambda: n_flops(GPTConfig(), -1), "T=-1"),
    ("a bootstrap of nothing", lambda: metrics.bootstrap(len, X[:0]), r"\(0, 1, 28, 28\)"),
    ("beta=nan", lambda: vae.vae_loss(a_vae(), X, beta=NAN), "beta=nan"),
    ("free_bits=inf", lambda: vae.vae_loss(a_vae(), X, free_bits=INF), "free_bits=inf"),
    ("annealed(2.5)", lambda: vae.annealed(2.5), "steps=2.5"),
    ("rotate=nan", lambda: augment.augment(X, rotate=NAN), "rotate=nan"),
    ("n_bins=2.5", lambda: calibration.ece(torch.eye(3), torch.arange(3), 2.5), "n_bins=2.5"),
    ("pool=nan", lambda: gaussians.shrink(torch.eye(2)[None], torch.ones(1), NAN, 0.1), "pool=nan"),
    ("em(steps=-1)", lambda: gaussians.em(torch.rand(5, 2), torch.rand(2, 2), -1), "steps=-1"),
    ("kmeans(k=9)", lambda: gaussians.kmeans_plus_plus(torch.rand(5, 2), 9), "k=9"),
    ("batch_size=2.5", lambda: Batches(X, batch_size=2.5), "batch_size=2.5"),
    ("stride=0", lambda: metrics.bits_per_byte(a_gpt(), T, 8, stride=0), "stride=0"),
    ("n_bytes=-1", lambda: metrics.bits_per_byte(a_gpt(), T, 8, n_bytes=-1), "n_bytes=-1"),
    ("n_embd=0", lambda: a_gpt(n_embd=0), "n_embd=0"),
    ("gelu='relu'", lambda: a_gpt(gelu="relu"), "'relu'"),
    ("dropout=nan", lambda: a_gpt(dropout=NAN), "dropout=nan"),
    ("n_channel=-1", lambda: ConvNet(ConvNetConfig(n_channel=-1)), "n_channel=-1"),
    ("sharpness=nan", lambda: vae.VAE(vae.VAEConfig(sharpness=NAN)), "sharpness=nan"),
    ("n_latent=1.5", lambda: vae.VAE(vae.VAEConfig(n_latent=1.5)), "n_latent=1.5"),
    ("eta=2", lambda: a_painter(eta=2.0, path="v"), "eta=2.0"),
    ("std=inf", lambda: toys.ring(std=INF), "std=inf"),
])
def test_a_setting_that_no_training_can_follow_is_named(call, words):
    check(call, words)


def test_a_setting_is_refused_before_anything_has_changed():
    model = linear().eval()
    before = model[1].weight.clone()
    with pytest.raises(ValueError):
        learn(model, clip=-1.0)
    assert torch.equal(model[1].weight, before) and not model.training


# ---- edges of schedules and samplers

def exact_v(x0, a):
    """The v of a world with one image."""
    def model(x, t):
        level = diffusion.per_sample(a, t, x)
        return (level.sqrt() * x - x0) / (1 - level).sqrt()
    return model


@pytest.mark.parametrize("sample", [
    diffusion.ddpm, partial(diffusion.ddim, steps=1), partial(diffusion.ddim, steps=3),
    lambda *given: diffusion.ddim(*given, steps=len(given[2]), eta=1.0),
    lambda *given: diffusion.ddim(*given, steps=len(given[2]), clip=1.0)])
@pytest.mark.parametrize("target", ["v", "x0"])
@pytest.mark.parametrize("schedule", [TO_ZERO, torch.tensor([0.5, 0.0, 0.0]), torch.tensor([1.0, 0.9, 0.3, 0.0])])
def test_a_schedule_may_end_in_zero_and_begin_with_one(sample, target, schedule):
    """Where nothing is left of the image, v is -x0, and x0 itself is known."""
    x0 = 2 * X - 1
    v = exact_v(x0, schedule)
    model = diffusion.predicts_eps(v if target == "v" else lambda x, t: x0, schedule, target)
    if target == "v" and schedule[0] == 1:        # there v is eps, of which the world with one image says nothing
        model = diffusion.predicts_eps(lambda x, t: v(x, t).nan_to_num(0, 0, 0), schedule, target)
    noise = torch.randn(X.shape, generator=seeded(1))
    torch.testing.assert_close(sample(model, noise, schedule), x0, atol=2e-3, rtol=0)


def test_at_the_end_of_such_a_schedule_v_gives_the_image_back():
    x, t = torch.randn(X.shape, generator=seeded(1)), torch.full((6,), 3)
    eps = diffusion.to_eps(-X, x, t, TO_ZERO, "v")
    torch.testing.assert_close(diffusion.to_x0(eps, x, t, TO_ZERO), X, atol=2e-3, rtol=0)
    torch.testing.assert_close(eps, x, atol=2e-3, rtol=0)


@refused([
    ("t=-1", lambda: diffusion.q_sample(X, T - 1, X, A), "from 0 to 49, got -1"),
    ("t=T", lambda: diffusion.q_sample(X, T + 45, X, A), "got 45 to 50"),
    ("t is no whole number", lambda: diffusion.to_x0(X, X, torch.rand(6), A), "float32"),
    ("t beyond 1 for a network", lambda: UNet(UNetConfig(n_channel=4, n_embd=8))(X, T), "largest 5"),
    ("t=-0.5 for a network", lambda: DiT(DiTConfig(n_layer=1, n_embd=8))(X, -0.5), "one number in"),
    ("t=nan for a road", lambda: flow.interpolate(X, X, torch.full((6,), NAN)), "nan"),
    ("whole times of a road", lambda: flow.interpolate(X, X, T), "int64"),
    ("a schedule that rises", lambda: diffusion.ddim_step(X, X, 1, 0, torch.tensor([0.1, 0.9])), "0.1 at t=0 and 0.9"),
    ("clip=-1", lambda: diffusion.ddim_step(X, X, 9, 4, A, clip=-1.0), "clip=-1.0"),
    ("clip=nan", lambda: diffusion.ddpm(lambda x, t: x, X, A, clip=NAN), "clip=nan"),
    ("eta=nan", lambda: diffusion.ddim(lambda x, t: x, X, A, 3, eta=NAN), "eta=nan"),
    ("eta=2", lambda: diffusion.ddim_step(X, X, 9, 4, A, eta=2.0), "eta=2.0"),
    ("steps=2.5", lambda: diffusion.timesteps(50, 2.5), "steps=2.5"),
    ("guidance=nan", lambda: a_painter().sample(2, 3, guidance=NAN), "scale=nan"),
    ("guidance=inf", lambda: diffusion.guided(lambda x, t, y: x, 3, 10, INF), "scale=inf"),
    ("autoguidance=-inf", lambda: diffusion.autoguided(lambda x, t: x, lambda x, t: x, -INF), "scale=-inf"),
    ("share=nan", lambda: diffusion.drop_labels(Y, 10, NAN), "share=nan"),
    ("two labels for six images", lambda: diffusion.guided(lambda x, t, y: x, Y[:2], 10, 2.0)(X, T), "2 labels"),
    ("temperature=nan", lambda: decoding.next_token(torch.zeros(1, 5), NAN), "temperature=nan"),
    ("top_k=1.5", lambda: decoding.next_token(torch.zeros(1, 5), top_k=1.5), "top_k=1.5"),
    ("logits that are nan", lambda: decoding.next_token(torch.full((1, 5), NAN)), "nan"),
    ("no token is possible", lambda: decoding.next_token(torch.full((1, 5), -INF), 0), "inf"),
    ("an empty text", lambda: ngrams.NGram(T, 2).bits_per_byte(T[:0]), "text of 0 bytes"),
    ("a text of one byte", lambda: metrics.bits_per_byte(a_gpt(), T[:1], 8), "text of 1 tokens"),
    ("a schedule without steps", lambda: diffusion.ddpm(lambda x, t: x, X, A[:0]), "steps=0"),
    ("images that are all alike", lambda: gaussians.ClassGaussians.fit(0 * X, Y % 2, n_axis=2, n_class=2), "ridge"),
    ("means that collapse", lambda: gaussians.em(torch.rand(4, 2), torch.rand(4, 2), 50, ridge=0.0), "ridge"),
    ("scales that are negative", lambda: gaussians.gaussian_log_prob(
        torch.zeros(1, 2), torch.zeros(1, 2), -torch.eye(2)[None]), "positive diagonal"),
    ("a context without vectors", lambda: UNet(UNetConfig(n_channel=4, n_embd=8, n_context=6))(
        X, 0.5, context=torch.rand(6, 0, 6)), r"\(6, 0, 6\)"),
    ("something to avoid, and nothing to see", lambda: a_painter().sample(2, 3, null=torch.rand(1, 2, 6)), "null"),
    ("no token at all", lambda: a_gpt()(T[None, :0]), "0 tokens"),
    ("no token for a transformer", lambda: transformer.Transformer(
        transformer.TransformerConfig(n_layer=1))(T[None, :0]), "0 tokens"),
    ("no weight in a group", lambda: gaussians.moments(torch.rand(5, 2), torch.zeros(5, 2)), "least group has 0"),
])
def test_an_edge_has_an_answer_or_a_line(call, words):
    check(call, words)


def test_top_k_keeps_k_tokens_also_where_some_tie():
    draws = decoding.next_token(torch.zeros(1, 5).expand(500, 5), top_k=1)
    assert len(draws.unique()) == 1
    assert len(decoding.next_token(torch.tensor([[1.0, 1.0, 1.0, 0.0]]).expand(500, 4), top_k=2).unique()) == 2
    assert len(decoding.next_token(torch.zeros(1, 5).expand(500, 5), top_k=9).unique()) == 5


@pytest.mark.parametrize("temperature", [1e-9, 1e-20, 1e-40, 1e-300])
def test_a_temperature_near_zero_takes_the_most_probable_token(temperature):
    logits = torch.randn(50, 7, generator=seeded(0))
    for dtype in (torch.float32, torch.float64):
        assert torch.equal(decoding.next_token(logits.to(dtype), temperature), logits.to(dtype).argmax(1))


def test_an_infinite_temperature_draws_all_tokens_alike():
    draws = decoding.next_token(torch.tensor([[5.0, -5.0]]).expand(2_000, 2), INF, generator=seeded(0))
    assert draws.float().mean().item() == pytest.approx(0.5, abs=0.05)


def test_nothing_that_moves_is_straight():
    assert flow.straightness(lambda x, t: 0 * x, X, 5) == 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
@pytest.mark.parametrize("additive", [False, True])
def test_a_query_that_may_look_nowhere_finds_nothing_as_in_pytorch(dtype, additive):
    seed(0)
    q, k, v = torch.randn(3, 2, 2, 4, 8).to(dtype)
    q.requires_grad_()
    mask = torch.ones(4, 4, dtype=torch.bool).tril()
    mask[1] = False
    mask = torch.zeros(4, 4, dtype=dtype).masked_fill(~mask, -INF) if additive else mask
    ours, theirs = transformer.attention(q, k, v, mask), F.scaled_dot_product_attention(q, k, v, mask)
    rough = dict(atol=0.02, rtol=0.05) if dtype in (torch.bfloat16, torch.float16) else {}
    torch.testing.assert_close(ours, theirs, **rough)
    assert not ours[:, :, 1].any() and not transformer.attention_weights(q, k, mask)[:, :, 1].any()
    slope, = torch.autograd.grad(ours.square().sum(), q)
    torch.testing.assert_close(slope, torch.autograd.grad(theirs.square().sum(), q)[0], **rough)
    layer = transformer.MultiHeadAttention(8, 2).to(dtype)
    assert layer(torch.randn(2, 4, 8).to(dtype), mask).isfinite().all()


# ---- files

@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


ABOUT = dict(recipe="none", seed=0, steps=0, seconds=0.0, metrics={})


@refused([
    ("a name without a suffix", lambda: checkpoint.save("vae", a_vae(), **ABOUT), "'vae'.*safetensors"),
    ("another suffix", lambda: checkpoint.save("vae.pt", a_vae(), **ABOUT), r"'vae\.pt'"),
    ("a network of no kind", lambda: checkpoint.save("a.safetensors", linear(), **ABOUT), "KINDS"),
    ("a class of the same name", lambda: checkpoint.save("a.safetensors", type("VAE", (nn.Linear,), {})(2, 2), **ABOUT),
     "KINDS"),
    ("a number that JSON does not know", lambda: checkpoint.save(
        "a.safetensors", a_vae(), **ABOUT | dict(metrics={"frechet": torch.ones(1)})), "Tensor"),
])
def test_what_could_not_be_read_again_is_not_written(call, words, folder):
    check(call, words)
    assert not [*Path().iterdir()]


@pytest.mark.parametrize("wrap", [lambda m: torch.compile(m, backend="eager"), nn.DataParallel,
                                  lambda m: nn.DataParallel(torch.compile(m, backend="eager")),
                                  torch.optim.swa_utils.AveragedModel])
def test_a_wrapped_model_is_saved_as_what_it_wraps(wrap, folder):
    model = a_vae()
    checkpoint.save("a.safetensors", wrap(model), **ABOUT)
    again = checkpoint.load("a.safetensors")
    assert type(again) is vae.VAE and torch.equal(again.sample(2, seeded(0)), model.sample(2, seeded(0)))


@pytest.mark.parametrize("dtype, again", [(torch.float64, torch.float64), (torch.bfloat16, torch.float32)])
def test_no_number_is_rounded_by_a_file(dtype, again, folder):
    """16 bits save space in a file; what is read from them computes in 32."""
    model = a_vae().to(dtype)
    checkpoint.save("a.safetensors", model, **ABOUT)
    for a, b in zip(checkpoint.load("a.safetensors").parameters(), model.parameters()):
        assert a.dtype == again and torch.equal(a, b.to(again))


def stopping_at(step):
    calls = []

    def loss(model, x, y):
        calls.append(1)
        return stop() if len(calls) == step else classify.classifier_loss(model, x, y)
    return loss


@refused([
    ("another optimiser", lambda: learn(steps=9, resume="run", optimizer=lambda m: torch.optim.SGD(
        m.parameters(), 1e-3, momentum=0.9)), r"'optimizer': \['AdamW'\]"),
    ("another batch size", lambda: learn(steps=9, resume="run", loader=Batches(X, Y, batch_size=2)),
     r"\[\[3, 1, 28, 28\], \[3\]\].*\[\[2, 1, 28, 28\], \[2\]\]"),
    ("other images", lambda: learn(steps=9, resume="run", loader=Batches(X[:, :, :14], Y, batch_size=3)), "14"),
    ("another number of batches", lambda: learn(steps=9, resume="run", loader=Batches(X[:3], Y[:3], batch_size=3)),
     "batch 2 of an epoch.*batch 1"),
    ("another weight decay", lambda: learn(steps=9, resume="run", weight_decay=0.5), "'weight_decay of group 0': 0.0"),
    ("another clip", lambda: learn(steps=9, resume="run", clip=None), "'clip': 1.0"),
])
def test_a_run_goes_on_as_it_began_or_not_at_all(call, words, folder, capsys):
    with pytest.raises(KeyboardInterrupt):
        learn(loss=stopping_at(6), steps=9, save_every=2, resume="run")
    check(call, words)


def test_a_run_with_another_optimiser_can_go_on(folder, capsys):
    def sgd(model):
        return torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)

    seed(0)
    whole, part, again = linear(), linear(), linear()
    part.load_state_dict(whole.state_dict())
    learn(whole, loader=[(X, Y)], steps=9, optimizer=sgd)
    with pytest.raises(KeyboardInterrupt):
        learn(part, stopping_at(6), [(X, Y)], steps=9, save_every=2, resume="run", optimizer=sgd)
    learn(again, loader=[(X, Y)], steps=9, resume="run", optimizer=sgd)
    assert torch.equal(again[1].weight, whole[1].weight)


def stop():
    raise KeyboardInterrupt


# ---- types

@pytest.mark.parametrize("dtype", [torch.uint8, torch.int32, torch.int16, torch.int64])
def test_tokens_of_any_whole_type_are_read(dtype):
    model, idx = a_gpt().eval(), torch.tensor([[1, 2, 3, 4, 5]])
    same = idx.to(dtype)
    assert torch.equal(model(idx), model(same))
    assert lm_loss(model, idx)["loss"] == lm_loss(model, same)["loss"]
    for write in (lambda p: decoding.generate(model, [p], 12, 0), lambda p: decoding.generate_plainly(model, p, 12, 0)):
        assert torch.equal(write(idx[0]), write(same[0])) and write(same[0]).dtype == torch.int64
    assert metrics.bits_per_byte(model, idx[0], 8) == metrics.bits_per_byte(model, same[0], 8)
    assert torch.equal(ngrams.NGram(idx[0], 2).prob(idx[0]), ngrams.NGram(same[0], 2).prob(same[0]))
    assert texts.decode(same[0] + 64) == "ABCDE"


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int32, torch.int64])
def test_labels_of_any_whole_type_are_read(dtype):
    y = Y.to(dtype)
    assert classify.accuracy(linear(), X, y) <= 1 and mlp.cross_entropy(torch.zeros(6, 10), y).shape == (6,)
    assert classify.classifier_loss(linear(), X, y)["loss"].isfinite()
    for model in (Generator(GANConfig(n_class=10, n_channel=4)),
                  gaussians.ClassGaussians(gaussians.ClassGaussiansConfig(n_axis=4)), a_painter()):
        assert torch.equal(model.sample(6, y, seeded(0)), model.sample(6, Y, seeded(0)))
    unet = UNet(UNetConfig(n_class=10, n_channel=4, n_embd=8))
    assert torch.equal(unet(X, 0.5, y), unet(X, 0.5, Y))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("make", [
    lambda: (GPT(GPTConfig(n_layer=1)), torch.arange(12)[None]), lambda: (GPT(fast(n_layer=1)), torch.arange(12)[None]),
    lambda: (transformer.Transformer(transformer.TransformerConfig(n_layer=1)), torch.arange(12)[None]),
    lambda: (UNet(UNetConfig(n_class=10, n_channel=4, n_embd=8)), X, torch.rand(6), Y),
    lambda: (DiT(DiTConfig(n_class=10, n_layer=1, n_head=2, n_embd=8)), X, 0.5, 3),
    lambda: (a_judge(), X), lambda: (mlp.MLP(mlp.MLPConfig()), X),
    lambda: (autoencoder.Autoencoder(autoencoder.AutoencoderConfig(3, 4)), X),
    lambda: (Discriminator(GANConfig(n_class=10, n_channel=4)), X, Y),
    lambda: (Generator(GANConfig(n_latent=5, n_class=10, n_channel=4)), torch.randn(6, 5), Y),
], ids=["GPT", "fast", "Transformer", "UNet", "DiT", "ConvNet", "MLP", "Autoencoder", "Discriminator", "Generator"])
def test_a_network_works_in_every_precision(make, dtype):
    """Whatever the precision of what comes in, that of the weights is used."""
    seed(0)
    model, *inputs = make()
    model.eval()
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.02 * torch.randn_like(p))
        expected = model(*inputs)
        model.to(dtype)
        rough = model(*inputs)
        assert torch.equal(rough, model(*[i.to(torch.float64) if isinstance(i, torch.Tensor) and i.is_floating_point()
                                          and dtype == torch.float64 else i for i in inputs]))
    torch.testing.assert_close(rough.float(), expected.float(), atol=0.1, rtol=0.1)


def test_a_gpt_in_every_precision_writes():
    for dtype in (torch.float64, torch.float16, torch.bfloat16):
        for config in (GPTConfig(n_layer=1, block_size=8), fast(n_layer=1, block_size=8)):
            model = GPT(config).to(dtype)
            assert decoding.generate(model, [texts.encode("Ada"), texts.encode("E")], 12).shape == (2, 12)
            assert lm_loss(model, torch.arange(9)[None])["loss"].isfinite()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16])
@pytest.mark.parametrize("make", [
    a_vae, a_painter, lambda: vae.MixtureVAE(vae.MixtureVAEConfig(n_latent=3, n_channel=4)),
    lambda: autoencoder.Autoencoder(autoencoder.AutoencoderConfig(3, 4)), lambda: Generator(GANConfig(5, 10, 4)),
    lambda: autoencoder.PCA(autoencoder.PCAConfig(3)),
    lambda: gaussians.ClassGaussians(gaussians.ClassGaussiansConfig(n_axis=4)),
    lambda: gaussians.GaussianMixture(gaussians.GaussianMixtureConfig(n_axis=4))],
    ids=["VAE", "Pipeline", "MixtureVAE", "Autoencoder", "Generator", "PCA", "ClassGaussians", "GaussianMixture"])
def test_a_generator_draws_in_every_precision(make, dtype):
    model = make().eval()
    assert model.sample(3).shape == model.to(dtype).sample(3).shape and model.sample(3).isfinite().all()


def test_the_best_discriminator_does_not_overflow():
    p = torch.tensor([3e38, 1e-45, 1e38, 0.0])
    q = torch.tensor([3e38, 1e-45, 3e38, 1e-45])
    torch.testing.assert_close(gan.optimal_discriminator(p, q), torch.tensor([0.5, 0.5, 0.25, 0.0]))


def test_images_in_double_precision_are_images():
    x = X.double()
    for loss in (lambda: vae.vae_loss(a_vae(), x), lambda: classify.classifier_loss(a_judge(), x, Y),
                 lambda: pipeline.pipeline_loss(a_painter(), x, Y), lambda: autoencoder.reconstruction_loss(
                     autoencoder.Autoencoder(autoencoder.AutoencoderConfig(3, 4)), x)):
        assert loss()["loss"].isfinite()
    a_judge_ = a_judge()
    assert torch.equal(metrics.judge_features(x, a_judge_), metrics.judge_features(X, a_judge_))
    model = gaussians.GaussianMixture(gaussians.GaussianMixtureConfig(n_axis=4, n_gaussian=3))
    torch.testing.assert_close(model.log_prob(x), model.log_prob(X))
    assert play(loader=Batches(x, batch_size=3))["generator"]


BYTES = (255 * X).to(torch.uint8)


@refused([
    *[(f"uint8 images: {name}", call, "uint8") for name, call in [
        ("VAE", lambda: vae.vae_loss(a_vae(), BYTES)), ("bound", lambda: vae.elbo(a_vae(), BYTES)),
        ("ConvNet", lambda: a_judge()(BYTES)), ("MLP", lambda: mlp.MLP(mlp.MLPConfig())(BYTES)),
        ("autoencoder", lambda: autoencoder.Autoencoder(autoencoder.AutoencoderConfig(3, 4))(BYTES)),
        ("UNet", lambda: UNet(UNetConfig(n_channel=4, n_embd=8))(BYTES, 0.5)),
        ("DiT", lambda: DiT(DiTConfig(n_layer=1, n_embd=8))(BYTES, 0.5)),
        ("discriminator", lambda: Discriminator(GANConfig(n_channel=4))(BYTES)),
        ("pipeline", lambda: pipeline.pipeline_loss(a_painter(), BYTES)), ("flow", lambda: flow.flow_loss(None, BYTES)),
        ("diffusion", lambda: diffusion.q_sample(BYTES, T, BYTES, A)),
        ("judge", lambda: metrics.judge_features(BYTES, a_judge())), ("augment", lambda: augment.augment(BYTES)),
        ("PCA", lambda: autoencoder.PCA.fit(BYTES, 2)), ("penalty", lambda: gan.r1_penalty(linear(), BYTES))]],
    ("a string as a prompt", lambda: decoding.generate(a_gpt(), ["Ada"], 3), "'Ada'.*encode"),
    ("a string as prompts", lambda: decoding.generate(a_gpt(), "Ada", 3), "'A'.*encode"),
    ("a string for the plain writer", lambda: decoding.generate_plainly(a_gpt(), "Ada", 3), "'Ada'.*encode"),
    ("a string as a text", lambda: metrics.bits_per_byte(a_gpt(), "Ada", 8), "'Ada'.*encode"),
    ("a string for counting", lambda: ngrams.NGram("Ada Ada", 2), "'Ada Ada'.*encode"),
    ("a string for a model", lambda: a_gpt()("Ada"), "'Ada'.*encode"),
    ("bytes to encode", lambda: texts.encode(b"Ada"), "bytes"),
    ("tokens outside the vocabulary", lambda: a_gpt()(torch.tensor([[3, 11]])), "from 0 to 10, got 3 to 11"),
    ("negative tokens", lambda: a_gpt()(torch.tensor([[3, -1]])), "from 0 to 10, got -1 to 3"),
    ("a prompt outside the vocabulary", lambda: decoding.generate(a_gpt(), [T, T + 90], 3), "prompt 1.*from 0 to 10"),
    ("targets outside the vocabulary", lambda: lm_loss(a_gpt(), torch.tensor([[3, 4, 99]])), "to 10, got 4 to 99"),
    ("a text outside the vocabulary", lambda: metrics.bits_per_byte(a_gpt(), T + 9, 8), "from 0 to 10, got"),
    ("tokens of a transformer", lambda: transformer.Transformer(
        transformer.TransformerConfig(vocab_size=4, n_layer=1))(T[None]), "from 0 to 3, got 0 to 5"),
    ("counting what is no byte", lambda: ngrams.NGram(T + 299, 2), "from 0 to 255, got 299"),
    ("a context that is no byte", lambda: ngrams.NGram(T, 2).next_probs(T - 3), "from 0 to 255, got -3"),
    ("writing what is no byte", lambda: texts.decode(T + 255), "from 0 to 255, got 255 to 260"),
    ("true and false as tokens", lambda: a_gpt()(torch.ones(1, 3).bool()), "bool"),
    ("windows of fractions", lambda: texts.Windows(torch.rand(20), 2, 8), "float32"),
    ("a label out of range", lambda: UNet(UNetConfig(n_class=10, n_channel=4, n_embd=8))(X, 0.5, 11), "from 0 to 10"),
    ("a negative label", lambda: DiT(DiTConfig(n_class=10, n_layer=1, n_embd=8))(X, 0.5, -1), "from 0 to 10, got -1"),
    ("labels for a generator", lambda: Generator(GANConfig(5, 10, 4))(torch.randn(6, 5), Y + 5), "got 5 to 10"),
    ("labels for a discriminator", lambda: Discriminator(GANConfig(5, 10, 4))(X, Y + 5), "got 5 to 10"),
    ("labels for a pipeline's loss", lambda: pipeline.pipeline_loss(a_painter(), X, Y + 90), "from 0 to 10"),
    ("a label to draw", lambda: a_painter().sample(2, 10), "from 0 to 9, got 10"),
    ("labels that are scores", lambda: metrics.control_accuracy(a_judge(), X, Y / 10), "float32"),
    ("labels that no judge knows", lambda: metrics.control_accuracy(a_judge(), X, Y + 90), "got 90 to 95"),
    ("labels that are fractions", lambda: classify.classifier_loss(linear(), X, Y.float()), "float32"),
    ("too short a z", lambda: Generator(GANConfig(n_latent=5, n_channel=4))(torch.randn(6, 4)), r"\(6, 4\)"),
    ("too many times", lambda: UNet(UNetConfig(n_channel=4, n_embd=8))(X, torch.rand(5)), r"6 images: got \(5,\)"),
    ("a Gaussian of no number", lambda: gaussians.GaussianMixture(
        gaussians.GaussianMixtureConfig(n_axis=2, n_gaussian=3)).draw(torch.tensor([-1])), "from 0 to 2"),
    ("flat images", lambda: autoencoder.PCA.fit(X.flatten(1), 2), r"\(6, 784\)"),
    ("images that are not square", lambda: gaussians.GaussianMixture.fit(X[:, :, :14]), r"\(6, 1, 14, 28\)"),
    ("codes that are nan", lambda: autoencoder.CodeGaussian(2).fit(torch.full((3, 2), NAN)), "1 of 1 covariances"),
    ("an array for a network", lambda: mlp.MLP(mlp.MLPConfig())(X.numpy()), "ndarray"),
    ("an array to predict", lambda: classify.predict(linear(), X.numpy()), "ndarray"),
    ("labels for a game without", lambda: play(loader=[(X, Y)]), "n_class=0"),
    ("lists in place of tensors", lambda: Batches([1, 2, 3]), "list"),
    ("weights of another GPT-2", lambda: from_gpt2(a_gpt(), {}), "transformer.wte"),
])
def test_a_type_works_or_is_named(call, words):
    check(call, words)


# ---- what a loop is given

def square(model, x):
    return {"loss": model(x).square().mean()}


@pytest.mark.parametrize("loader", [lambda: DataLoader(X, batch_size=3), lambda: [X, X], lambda: Batches(X),
                                    lambda: [(X,)], lambda: [[X]], lambda: (b for b in X.split(2)),
                                    lambda: DataLoader(TensorDataset(X), batch_size=3)],
                         ids=["DataLoader of a tensor", "tensors", "Batches", "tuples", "lists", "generator", "pairs"])
def test_batches_may_be_bare_tensors(loader):
    assert len(learn(loss=square, loader=loader())) == 2
    assert len(play(loader=loader())) == 1


def test_a_term_may_be_a_plain_number():
    history = learn(loss=lambda m, x, y: {"loss": m(x).mean(), "beta": 0.5})
    assert history["beta"] == [0.5, 0.5]


def batch_norm():
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 4), nn.BatchNorm1d(4), nn.Linear(4, 10))


def flickering():
    calls = []

    def loss(model, x, y):
        calls.append(1)
        terms = classify.classifier_loss(model, x, y)
        return terms if len(calls) == 1 else {"loss": terms["loss"]}
    return loss


@refused([
    ("a loss that is a tensor", lambda: learn(loss=lambda m, x, y: m(x).mean()), "Tensor.*dict with a 'loss'"),
    ("a dict without a loss", lambda: learn(loss=lambda m, x, y: {"kl": m(x).mean()}), "'kl'.*dict with a 'loss'"),
    ("a loss for each image", lambda: learn(loss=lambda m, x, y: {"loss": m(x).mean(1)}), r"'loss': \(3,\)"),
    ("a loss without the weights", lambda: learn(loss=lambda m, x, y: {"loss": x.mean()}), "depends on the weights"),
    ("a loss that is a number", lambda: learn(loss=lambda m, x, y: {"loss": 0.5}), "0.5.*depends on the weights"),
    ("terms that come and go", lambda: learn(loss=flickering()), r"\['loss', 'accuracy'\]"),
    ("a model without parameters", lambda: learn(nn.Flatten()), "Flatten has 0 parameters"),
    ("a frozen model", lambda: learn(linear().requires_grad_(False)), "Sequential has 0 parameters"),
    ("a function in place of a model", lambda: learn(lambda x: x), "function has 0 parameters"),
    ("a player without parameters", lambda: play(generator=nn.Identity()), "Identity has 0 parameters"),
    ("a last batch of one", lambda: learn(batch_norm(), loader=DataLoader(TensorDataset(X[:4], Y[:4]), 3)),
     "batch of 1.*drop_last"),
    ("a game with a last batch of one", lambda: play(2, loader=DataLoader(X[:4], 3), generator=nn.Sequential(
        nn.Linear(5, 784), nn.BatchNorm1d(784), nn.Sigmoid(), nn.Unflatten(1, (1, 28, 28)))), "batch of 1.*drop_last"),
    ("a used-up generator", lambda: learn(loader=((X, Y) for _ in range(1))), "gave 1 batches and then no more"),
    ("a generator that was read", lambda: learn(loader=iter([])), "no batch.*generator that was read"),
    ("a tensor in place of a loader", lambda: learn(loader=X), "Tensor gives no batches: wrap it in Batches"),
    ("a data set in place of a loader", lambda: learn(loader=TensorDataset(X, Y)), "TensorDataset gives no batches"),
    ("a number in place of a loader", lambda: learn(loader=3), "int gives no batches"),
    ("batches that are dicts", lambda: learn(loader=[{"x": X}]), "batch 1 is.*dict"),
    ("batches of names", lambda: learn(loader=[(X, ["a"])]), "batch 1 is"),
])
def test_a_loop_says_what_it_cannot_use(call, words):
    check(call, words)


def test_another_error_of_a_loss_is_not_touched():
    def loss(model, x, y):
        raise ValueError("mine")

    with pytest.raises(ValueError, match="^mine$"):
        learn(loss=loss)


# ---- state

class Interrupted(ConvNet):
    def forward(self, x):
        raise KeyboardInterrupt

    features = forward


class InterruptedGPT(GPT):
    def embed(self, idx):
        raise KeyboardInterrupt


class InterruptedGenerator(Generator):
    def forward(self, z, y=None):
        raise KeyboardInterrupt


@pytest.mark.parametrize("make, use", [
    (lambda: Interrupted(ConvNetConfig(4, 8)), lambda m: metrics.judge_features(X, m)),
    (lambda: Interrupted(ConvNetConfig(4, 8)), lambda m: metrics.control_accuracy(m, X, Y)),
    (lambda: Interrupted(ConvNetConfig(4, 8)), lambda m: classify.predict(m, X)),
    (lambda: Interrupted(ConvNetConfig(4, 8)), lambda m: classify.accuracy(m, X, Y)),
    (lambda: InterruptedGPT(GPTConfig(n_layer=1)), lambda m: metrics.bits_per_byte(m, T, 8)),
    (lambda: InterruptedGPT(GPTConfig(n_layer=1)), lambda m: decoding.generate_plainly(m, T, 8)),
    (lambda: InterruptedGenerator(GANConfig(n_channel=4)), lambda m: m.sample(3)),
    (lambda: Interrupted(ConvNetConfig(4, 8)), lambda m: train.History().evaluate(1, lambda m: m(X), m)),
], ids=["judge_features", "control_accuracy", "predict", "accuracy", "bits_per_byte", "generate_plainly", "sample",
        "evaluate"])
def test_an_interruption_leaves_every_part_in_its_mode(make, use):
    model = make().train()
    frozen = [*model.modules()][-1].eval()                         # one part had been put into eval mode by hand
    before = torch.get_rng_state()
    with pytest.raises(KeyboardInterrupt):
        use(model)
    assert model.training and not frozen.training and all(m.training for m in model.modules() if m is not frozen)
    assert torch.equal(torch.get_rng_state(), before) or isinstance(model, InterruptedGenerator)


@pytest.mark.parametrize("stop_at", [1, 4, 30])
def test_writing_may_be_interrupted_at_any_token(monkeypatch, stop_at):
    calls, model = [], a_gpt(dropout=0.5).train()
    real = decoding.next_token

    def next_token(*args):
        calls.append(1)
        return stop() if len(calls) == stop_at else real(*args)

    monkeypatch.setattr(decoding, "next_token", next_token)
    with pytest.raises(KeyboardInterrupt):
        decoding.generate(model, [T], 40)
    assert all(m.training for m in model.modules())


def test_an_interrupted_game_leaves_both_players_able_to_learn():
    calls, config = [], GANConfig(n_latent=5, n_channel=4)
    players = Generator(config), Discriminator(config)
    players[1].head.bias.requires_grad_(False)                     # frozen by hand, and it stays so

    def g_loss(logits):
        calls.append(1)
        return stop() if len(calls) == 2 else gan.generator_loss(logits)

    for settings in (dict(g_loss=g_loss), {}):
        before = players[1].head.bias.clone()
        try:
            gan.fit_gan(*players, Batches(X, batch_size=3), 3, n_latent=5, progress=False, **settings)
        except KeyboardInterrupt:
            pass
        assert [p.requires_grad for p in players[1].parameters()].count(False) == 1
        assert torch.equal(players[1].head.bias, before)


# ---- holes that mutations found

@pytest.mark.parametrize("T, steps", [(10, 3), (1000, 30), (7, 2), (50, 7), (9, 9), (5, 4)])
def test_times_are_spread_evenly_also_where_their_number_does_not_divide(T, steps):
    times = diffusion.timesteps(T, steps)
    gaps = {a - b for a, b in zip(times, times[1:])} | {times[-1] + 1}                 # the last step leads to -1
    assert times[0] == T - 1 and len(times) == steps and gaps <= {T // steps, -(-T // steps)}
    assert all(t == math.ceil(T * (steps - i) / steps) - 1 for i, t in enumerate(times))


@pytest.mark.parametrize("n_layer", [1, 8])
def test_the_last_matrix_of_a_branch_begins_smaller_with_the_number_of_branches(n_layer):
    seed(0)
    model = GPT(GPTConfig(n_layer=n_layer))
    for block in model.blocks:
        for part in (block.attn, block.mlp):
            first = part.qkv if hasattr(part, "qkv") else part.fc
            assert part.proj.weight.std().item() == pytest.approx(0.02 / math.sqrt(2 * n_layer), rel=0.05)
            assert first.weight.std().item() == pytest.approx(0.02, rel=0.05)
            assert not part.proj.bias.any()


def test_the_gradient_of_the_bound_is_that_of_its_closed_form():
    """Logits w z: one code of two numbers, four pixels. d/dmu and d/dlogvar by hand, for the same draw of eps."""
    weight, x = torch.randn(2, 4, generator=seeded(0)).double(), torch.tensor([[1.0, 0, 0, 1]]).double()
    mu, logvar = torch.tensor([[0.3, -0.8]]).double().requires_grad_(), torch.tensor([[-1.0, 0.5]]).double(
        ).requires_grad_()

    class Tables(nn.Module):
        def encode(self, x):
            return mu, logvar

        def decoder(self, z):
            return z @ weight

    bound = vae.elbo(Tables(), x, seeded(7))
    slopes = torch.autograd.grad(bound.sum(), (mu, logvar))
    eps = torch.randn(1, 2, generator=seeded(7), dtype=torch.float64)
    z = mu.detach() + (logvar.detach() / 2).exp() * eps
    down = (x - (z @ weight).sigmoid()) @ weight.T                 # d log p(x|z) / dz
    torch.testing.assert_close(slopes[0], down - mu.detach())
    torch.testing.assert_close(slopes[1], down * eps * (logvar.detach() / 2).exp() / 2
                               - (logvar.detach().exp() - 1) / 2)


WHERE = watermark.rings(8, 8, 1, 3)
KEY = watermark.free_key(WHERE, seeded(0))


@pytest.mark.parametrize("call, words", [
    (lambda: watermark.key_p_value(torch.zeros(1, 1, 8, 8), KEY, WHERE), "is 0 at all of these"),
    (lambda: watermark.key_p_value(torch.rand(1, 1, 8, 8), KEY[:4], WHERE), "(4, 8)"),
    (lambda: watermark.key_p_value(torch.rand(0, 1, 8, 8), KEY, WHERE), "(0, 1, 8, 8)"),
    (lambda: watermark.list_numbers(torch.rand(3), 256), "float32"),
    (lambda: watermark.spoil(torch.rand(1, 8, 8), "blur", 1.0), "(1, 8, 8)"),
    (lambda: watermark.spoil(torch.rand(1, 2, 8, 8), "jpeg", 50), "(1, 2, 8, 8)"),
    (lambda: with_jobs(torch.tensor([0, 1]), 0.8, seeded(0)), "int64"),
    (lambda: metrics.mean_interval([1.0, 2.0], level=1.0), "1.0"),
    (lambda: metrics.mean_interval(torch.rand(3, 2)), "(3, 2)"),
    (lambda: metrics.effective_size(torch.tensor([1.0, INF])), "(2,)"),
    (lambda: Kept(KeptConfig({"config": 1})), "'config'"),
    (lambda: video.holding(None, torch.rand(2, 3, 1, 4, 4))(torch.rand(2, 2, 1, 4, 4), torch.rand(2)), "(2, 3, 1, 4"),
    (lambda: video.AcrossFrames(nn.Identity(), 4, 3, 4, 2)(torch.rand(3, 4, 3, 3)), "n_place=4"),
    (lambda: video.AcrossFrames(nn.Identity(), 4, 3, 4, 2)(torch.rand(4, 4, 2, 2)), "n_frame=3"),
    (lambda: video.AcrossFrames(nn.Identity(), 4, 3, 4, n_layer=-1), "n_layer=-1"),
])
def test_what_the_last_lessons_cannot_do_is_named(call, words):
    with pytest.raises(ValueError) as error:
        call()
    assert words in str(error.value) and "\n" not in str(error.value)


def test_no_message_hides_in_many_lines():
    """Whatever is shown of a wrong value is short and on one line."""
    for value in (torch.zeros(50), "a\nb" * 99, [1] * 999):
        with pytest.raises(ValueError) as e:
            expect.whole(1, n=value)
        assert "\n" not in str(e.value) and len(str(e.value)) < 120
    assert re.search("n=1e", str(pytest.raises(ValueError, expect.whole, 1, n=1e30).value))
