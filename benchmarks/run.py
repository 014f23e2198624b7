"""Side by side with peers, in one run on this machine:  make bench

In each row ours and a peer's code do the same work on the same data. They take turns, so that a slow moment of the
machine hits both; the table gives the median of the ratios peer / ours with their quartiles. Above 1, ours is faster.
"""

import platform
import time
import warnings

import numpy as np
import scipy.linalg
import torch
from sklearn.mixture import GaussianMixture as SklearnMixture
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset
from torchvision.transforms import v2

from course_lib.augment import augment
from course_lib.data import Batches, load
from course_lib.device import seed, seeded
from course_lib.gaussians import em, spread_out
from course_lib.metrics import frechet_distance
from course_lib.train import fit

ROUNDS = 9
x, y = load("digits").train
THREADS = torch.get_num_threads()


def network() -> nn.Module:
    seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 10))


def loss_fn(model, images, labels):
    return {"loss": F.cross_entropy(model(images), labels)}


def train_with_fit():
    fit(network(), loss_fn, Batches(x, y, batch_size=64), steps=200, clip=None, progress=False)


def train_bare():
    model = network()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0)
    step = 0
    while step < 200:
        for images, labels in Batches(x, y, batch_size=64):
            loss = loss_fn(model, images, labels)["loss"]
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            loss.item()
            step += 1
            if step == 200:
                break


def an_epoch_of_batches():
    for _ in Batches(x, y, batch_size=64):
        pass


def an_epoch_of_dataloader():
    for _ in DataLoader(TensorDataset(x, y), batch_size=64, shuffle=True, drop_last=True):
        pass


z = torch.pca_lowrank(x.flatten(1), q=20)[0].double() * 60                    # (4000, 20)
start = spread_out(z, 10, seeded(0))                                          # (10, 20)


def em_ours():
    em(z, start, steps=20)


def em_sklearn():
    shared = np.linalg.inv(np.cov(z.numpy().T, bias=True) + 1e-6 * np.eye(20))
    mixture = SklearnMixture(10, max_iter=20, tol=0, means_init=start.numpy(), weights_init=np.full(10, 0.1),
                             precisions_init=np.stack([shared] * 10))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")                                       # it has not converged: nor has ours
        mixture.fit(z.numpy())


a, b = torch.randn(1000, 64, generator=seeded(1)), torch.randn(1000, 64, generator=seeded(2))


def frechet_ours():
    frechet_distance(a, b)


def frechet_scipy():
    u, v = a.double().numpy(), b.double().numpy()
    S, T = np.cov(u.T), np.cov(v.T)
    ((u.mean(0) - v.mean(0)) ** 2).sum() + np.trace(S + T - 2 * scipy.linalg.sqrtm(S @ T).real)


transform = v2.Compose([v2.RandomAffine(12, translate=(0.07, 0.07), scale=(0.88, 1.12), shear=8),
                        v2.ElasticTransform(30.0)])


def augment_ours():
    augment(x[:128])


def augment_torchvision():
    torch.stack([transform(image) for image in x[:128]])


ROWS = [
    ("200 steps of an MLP", "fit", train_with_fit, "the same loop, bare", train_bare),
    ("an epoch of batches", "Batches", an_epoch_of_batches, "torch DataLoader", an_epoch_of_dataloader),
    ("EM, 10 full Gaussians in 20-D, 20 steps", "em", em_ours, "scikit-learn", em_sklearn),
    ("Fréchet distance, 1,000 x 64", "frechet_distance", frechet_ours, "scipy sqrtm", frechet_scipy),
    ("affine and elastic, 128 images", "augment", augment_ours, "torchvision v2", augment_torchvision),
]


def seconds(f) -> float:
    begin = time.perf_counter()
    f()
    return time.perf_counter() - begin


def table(rows) -> None:
    print(f"{platform.machine()}, {THREADS} threads, torch {torch.__version__}; median of {ROUNDS} rounds\n")
    print("| task | ours | peer | peer / ours | quartiles |\n|---|---|---|---:|---|")
    for task, ours_name, ours, peer_name, peer in rows:
        ours(), peer()                                                        # warm up
        ratios = [1 / (seconds(ours) / seconds(peer)) for _ in range(ROUNDS)]
        low, middle, high = np.quantile(ratios, [0.25, 0.5, 0.75])
        print(f"| {task} | {ours_name} | {peer_name} | {middle:.2f} | {low:.2f} – {high:.2f} |", flush=True)


def main() -> None:
    import diffusion
    import gpt

    table(ROWS + gpt.ROWS + diffusion.rows())
    gpt.after()
    diffusion.after()


if __name__ == "__main__":
    main()
