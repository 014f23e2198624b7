"""The image models of the course beside those of others:  TQDM_DISABLE=1 python benchmarks/images.py

`rows()` and `after()` are parts of `make bench`. `after()` trains each network for 60 seconds of processor time on the
same 4,000 digits, draws 1,000 images and lets the judge of the course compare them with the test digits. Ours are
trained by the recipes of the shipped checkpoints. The diffusion peers get our optimiser, decay and average of the
weights, which are better at this length than their examples'; network, noise schedule, loss and sampler are theirs.
The textbook VAE and GAN have the settings of their papers and of PyTorch's examples.
"""

import importlib.util
import time
from functools import partial

import torch
from tables import table
from torch import Tensor, nn
from torch.nn import functional as F

from course_lib.checkpoint import load as load_checkpoint
from course_lib.checkpoints.part3 import vae_after
from course_lib.checkpoints.part4 import gan_after
from course_lib.checkpoints.part6 import in_a_minute
from course_lib.data import Batches, load
from course_lib.device import seed, seeded
from course_lib.gan import class_entropy
from course_lib.gaussians import GaussianMixture
from course_lib.metrics import measure, the_judge
from course_lib.muon import muon_unet
from course_lib.pipeline import PipelineConfig
from course_lib.train import fit
from course_lib.vae import MixtureVAE

x, y = load("digits").train
ASKED = torch.arange(1_000) % 10               # of models with labels, 100 images of each digit

# A contender is a function: steps -> a trained model. It is drawn from by `model.sample(n, generator=)`, or, if it
# has labels, by `model.sample(n, labels, generator=)`.


class Drawn(nn.Module):
    """A model and how others draw from it, as a `sample` like ours."""

    def __init__(self, model: nn.Module, draw):
        super().__init__()
        self.model, self.draw = model, draw

    @torch.no_grad()
    def sample(self, n: int, generator=None) -> Tensor:
        return torch.cat([self.draw(len(i), generator) for i in torch.arange(n).split(100)]).clamp(0, 1)


# --------------------------------------------------------------------------------------------------------------- ours

def flow(steps: int, labels: bool = False):
    config = PipelineConfig(sizes=dict(n_class=10), guidance=2.0) if labels else PipelineConfig()
    return in_a_minute(config, steps)[0]


def flow_away_from_its_beginning(steps: int):
    """No label is used: guided with scale 2 away from its own state after a twelfth of the steps (`autoguided`).

    Of states after 50, 100 and 200 of 1,270 batches and scales 1.5, 2 and 3, these are the best for training digits."""
    return in_a_minute(PipelineConfig(guidance=2.0), steps, early=max(1, steps // 12))[0]


def flow_with_clusters(steps: int):
    """No label is used. The mixture of 40 Gaussians of lesson 13 sorts the images into clusters, which then serve as
    labels, drawn as often as they occur (the idea of Bao et al., 2022, "Why are conditional generative models better
    than unconditional ones?"). Fitting the mixture counts as training."""
    mixture, _ = GaussianMixture.fit(x, generator=seeded(0))
    clusters = mixture.responsibilities(x).argmax(-1)                         # (4000,)
    config = PipelineConfig(sizes=dict(n_class=mixture.config.n_gaussian), guidance=2.0)
    model, _ = in_a_minute(config, steps, data=(x, clusters))
    wanted = iter(clusters[torch.randint(len(x), (10_000,), generator=seeded(1))].split(100))
    return Drawn(model, lambda n, generator: model.sample(n, next(wanted)[:n], generator))


def ddpm(steps: int):
    return in_a_minute(PipelineConfig(path="v", steps=30), steps)[0]


def vae(steps: int):
    return vae_after(steps)[0]


def vae_mixture(steps: int):
    return MixtureVAE.fit(vae(steps), x, generator=seeded(0))


def gan(steps: int, labels: bool = False, run: int = 0):
    return gan_after(10 if labels else 0, steps, run)[0]


# -------------------------------------------------------------------------------------------------------------- others

class TextbookVAE(nn.Module):
    """Kingma & Welling (2014) with the sizes of PyTorch's examples: 784 - 400 - 20 - 400 - 784."""

    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(nn.Flatten(), nn.Linear(784, 400), nn.ReLU(), nn.Linear(400, 40))
        self.decoder = nn.Sequential(nn.Linear(20, 400), nn.ReLU(), nn.Linear(400, 784))

    def loss(self, images):
        mu, log_var = self.encoder(images).chunk(2, dim=1)                    # (B, 20) each
        logits = self.decoder(mu + torch.randn_like(mu) * (log_var / 2).exp())
        rebuilt = F.binary_cross_entropy_with_logits(logits, images.flatten(1), reduction="sum")
        kl = (mu**2 + log_var.exp() - 1 - log_var).sum() / 2
        return {"loss": (rebuilt + kl) / len(images)}


def textbook_vae(steps: int):
    seed(0)
    model = TextbookVAE()
    fit(model, TextbookVAE.loss, Batches(x, batch_size=128), steps, lr=1e-3, clip=None, progress=False)
    return Drawn(model, lambda n, generator: model.decoder(torch.randn(n, 20, generator=generator)).sigmoid()
                 .view(n, 1, 28, 28))


class TextbookGAN(nn.Module):
    """DCGAN, Radford, Metz & Chintala (2016), on images of 32x32: z of 100 numbers, 64 channels, batch norm, Adam 2e-4
    with betas (0.5, 0.999), weights of size 0.02."""

    def __init__(self, c: int = 64):
        super().__init__()

        def up(a, b, stride):
            return nn.Sequential(nn.ConvTranspose2d(a, b, 4, stride, stride - 1, bias=False), nn.BatchNorm2d(b),
                                 nn.ReLU())

        def down(a, b):
            return nn.Sequential(nn.Conv2d(a, b, 4, 2, 1, bias=False), nn.BatchNorm2d(b), nn.LeakyReLU(0.2))

        self.G = nn.Sequential(up(100, 4 * c, 1), up(4 * c, 2 * c, 2), up(2 * c, c, 2),
                               nn.ConvTranspose2d(c, 1, 4, 2, 1, bias=False), nn.Tanh())
        self.D = nn.Sequential(nn.Conv2d(1, c, 4, 2, 1), nn.LeakyReLU(0.2), down(c, 2 * c), down(2 * c, 4 * c),
                               nn.Conv2d(4 * c, 1, 4, bias=False), nn.Flatten(0))
        for p in self.parameters():
            if p.ndim == 4:
                nn.init.normal_(p, std=0.02)


def textbook_gan(steps: int):
    seed(0)
    model = TextbookGAN()
    adam_g, adam_d = (torch.optim.Adam(part.parameters(), lr=2e-4, betas=(0.5, 0.999)) for part in (model.G, model.D))
    batches = iter(())
    for _ in range(steps):
        images = next(batches, None)
        if images is None:
            batches = iter(Batches(x, batch_size=64))
            images = next(batches)
        real = F.pad(2 * images[0] - 1, (2, 2, 2, 2), value=-1.0)
        fake = model.G(torch.randn(len(real), 100, 1, 1))
        adam_d.zero_grad()
        (F.softplus(-model.D(real)).mean() + F.softplus(model.D(fake.detach())).mean()).backward()
        adam_d.step()
        adam_g.zero_grad()
        F.softplus(-model.D(fake)).mean().backward()
        adam_g.step()
    return Drawn(model, lambda n, generator:
                 model.G(torch.randn(n, 100, 1, 1, generator=generator))[..., 2:-2, 2:-2] / 2 + 0.5)


def _as_ours(model, loss_fn, steps, *outside):
    """outside: the names of the parts that AdamW has: the way in and out, time, what it does to a block, norms"""
    fit(model, loss_fn, Batches(x, batch_size=32), steps, warmup=50, decay=0.6, ema=0.995, autocast=False,
        optimizer=partial(muon_unet, outside=outside), progress=False)


def diffusers(steps: int):
    """UNet2DModel of 1.1 million numbers, predicts the noise, drawn by its DDIM in 50 steps."""
    from diffusers import DDIMScheduler, DDPMScheduler, UNet2DModel

    def loss_fn(model, images):
        t, eps = torch.randint(1000, (len(images),)), torch.randn_like(images)
        return {"loss": F.mse_loss(model(noising.add_noise(2 * images - 1, eps, t), t).sample, eps)}

    def draw(n, generator):
        sampler.set_timesteps(50)
        images = torch.randn(n, 1, 28, 28, generator=generator)
        for t in sampler.timesteps:
            images = sampler.step(model(images, t).sample, t, images).prev_sample
        return images / 2 + 0.5

    seed(0)
    noising, sampler = DDPMScheduler(1000), DDIMScheduler(1000)
    model = UNet2DModel(sample_size=28, in_channels=1, out_channels=1, layers_per_block=1, norm_num_groups=8,
                        block_out_channels=(32, 64, 64), attention_head_dim=16,
                        down_block_types=("DownBlock2D", "DownBlock2D", "AttnDownBlock2D"),
                        up_block_types=("AttnUpBlock2D", "UpBlock2D", "UpBlock2D"))
    _as_ours(model, loss_fn, steps, "conv_in", "conv_out", "time_embedding", "time_emb_proj")
    return Drawn(model, draw)


def denoising_diffusion_pytorch(steps: int):
    """Unet(dim=16), predicts v as its GaussianDiffusion can, drawn by its DDIM in 50 steps."""
    from denoising_diffusion_pytorch import GaussianDiffusion, Unet

    seed(0)
    model = GaussianDiffusion(Unet(dim=16, dim_mults=(1, 2, 4), channels=1), image_size=28, timesteps=1000,
                              sampling_timesteps=50, objective="pred_v")
    _as_ours(model, lambda model, images: {"loss": model(images)}, steps, "init_conv", "final_conv", "time_mlp", "mlp",
             "g", "mem_kv")
    return Drawn(model, lambda n, generator: model.sample(batch_size=n))      # it takes no generator


# ------------------------------------------------------------------------------------------------------------- compare

OURS = {"flow with labels, guidance 2": partial(flow, labels=True),
        "flow with clusters, guidance 2": flow_with_clusters,
        "flow, autoguidance 2": flow_away_from_its_beginning,
        "flow": flow,
        "DDPM (v)": ddpm,
        "GAN with labels": partial(gan, labels=True),
        "GAN": gan,
        "VAE, 20 Gaussians as prior": vae_mixture,
        "VAE": vae}
PEERS = {"textbook DCGAN": textbook_gan, "textbook VAE": textbook_vae}
for package, name, peer in (("diffusers", "diffusers, UNet2DModel", diffusers),
                            ("denoising_diffusion_pytorch", "denoising-diffusion-pytorch, Unet(dim=16)",
                             denoising_diffusion_pytorch)):
    if importlib.util.find_spec(package):
        PEERS[name] = peer


def rows() -> list[tuple]:
    """Speed in training and in drawing: diffusion beside each diffusion peer, and the shipped flow with labels beside
    the shipped image tokens of lesson 56, which have a cache."""
    mine, asked = flow(1), ASKED[:100]
    found = [("drawing 100 digits with labels", "flow", partial(load_checkpoint("flow").sample, 100, asked),
              "image tokens, with a cache", partial(load_checkpoint("image_gpt").sample, 100, asked))]
    for name, train in list(PEERS.items())[2:]:
        peer = train(1)
        found.append(("10 batches of 32 digits", "ours, flow", partial(flow, 10), name, partial(train, 10)))
        found.append(("drawing 20 digits", "30 evaluations", partial(mine.sample, 20), f"{name}, 50",
                      partial(peer.sample, 20)))
    return found


def processor_seconds(f, *args, **named) -> tuple:
    """What f(...) returns, and the seconds it took. Others on this machine do not count."""
    begin = time.process_time()
    result = f(*args, **named)
    return result, (time.process_time() - begin) / torch.get_num_threads()


def after(seconds: float = 60.0) -> dict[str, dict]:
    """Every contender trained for so many seconds, then judged.  -> its row, by its name"""
    print(f"\n| after {seconds:.0f} s of processor time | parameters | steps | drawn/s | Fréchet | precision | recall "
          "| control |\n|---|---:|---:|---:|---:|---:|---:|---:|")
    found = {}
    for name, train in (OURS | PEERS).items():
        train(10)                                                             # warm up
        (_, short), (_, long) = (processor_seconds(train, n) for n in (10, 60))
        step = (long - short) / 50
        steps = int((seconds - short + 10 * step) / step)                     # what is not a step: EM, for example
        model, spent = processor_seconds(train, steps)
        labels = (ASKED,) if "with labels" in name else ()
        images, drawing = processor_seconds(model.sample, 1_000, *labels, generator=seeded(0))
        row = measure(images, *labels, n_bootstrap=50) | {"steps": steps, "seconds": spent}
        n = sum(p.numel() for p in model.parameters())
        print(f"| {name} | {n:,} | {steps} | {1_000 / drawing:.0f} | {row['frechet']:.2f} ± {row['frechet_error']:.2f} "
              f"| {row['precision']:.2f} | {row['recall']:.2f} | {row.get('control', float('nan')):.3f} |", flush=True)
        found[name] = row
    return found


def seeds_of_the_gan(steps: int, n: int = 5) -> int:
    """In how many of n seeds a GAN without labels draws all ten digits, each at least 20 times in 1,000."""
    print(f"\n| GAN without labels, {steps} rounds, seed | digits in use | rarest of 1,000 |\n|---:|---:|---:|")
    good = 0
    for run in range(n):
        images = gan(steps, run=run).sample(1_000, generator=seeded(0))
        with torch.no_grad():
            probs = the_judge()(images).softmax(1)
        counts = probs.argmax(1).bincount(minlength=10)
        good += int(counts.min() >= 20)
        print(f"| {run} | {class_entropy(probs).exp():.2f} | {counts.min()} (digit {counts.argmin()}) |", flush=True)
    return good


if __name__ == "__main__":
    table(rows())
    seeds_of_the_gan(after()["GAN"]["steps"])
