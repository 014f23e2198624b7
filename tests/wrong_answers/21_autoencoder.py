import numpy as np
import torch
from scipy.linalg import subspace_angles
from torch.nn import functional as F

from course_lib.checks import autoencoder as check
from wrong_answers import equivalent, right, wrong

# --- 1


@right(check.pca_rebuild)
def _(x, new, k):
    A = torch.linalg.svd(x - x.mean(0), full_matrices=False)[2][:k]
    code = (new - x.mean(0)) @ A.T
    return code @ A + x.mean(0)


@right(check.pca_rebuild)
def _(x, new, k):
    mean = x.mean(dim=0, keepdim=True)
    A = torch.linalg.eigh(torch.cov(x.T))[1].flip(1)[:, :k]
    return ((new - mean) @ A) @ A.T + mean


@wrong(check.pca_rebuild, "you return the code")
def _(x, new, k):
    A = torch.linalg.svd(x - x.mean(0), full_matrices=False)[2][:k]
    return (new - x.mean(0)) @ A.T


@wrong(check.pca_rebuild, "they are not the principal axes")
def _(x, new, k):
    mean = x.mean(0)
    A = torch.linalg.eigh((x - mean).T @ (x - mean))[1].flip(0)[:k]
    return mean + (new - mean) @ A.T @ A


equivalent(check.pca_rebuild, "_axes(x, of(x, new)) -> _axes(of(x, new), x)", "squares have no sign")

# --- 2


def q(A):
    return torch.linalg.qr(A)[0]


@right(check.largest_angle)
def _(A, B):
    return torch.tensor(np.degrees(subspace_angles(A.numpy(), B.numpy()).max()))


@right(check.largest_angle)
def _(A, B):
    outside = q(B) - q(A) @ (q(A).T @ q(B))                       # the sine of the largest angle is its norm
    return torch.rad2deg(torch.arcsin(torch.linalg.matrix_norm(outside, 2).clamp(max=1)))


@wrong(check.largest_angle, "no less than 1")
def _(A, B):
    return torch.rad2deg(torch.arccos(torch.linalg.svdvals(q(A).T @ q(B)).clamp(max=1 - 1e-6).min()))


equivalent(check.largest_angle, "cosines(a(A), b(B)) -> cosines(b(B), a(A))", "the angle from B to A")
equivalent(check.largest_angle, "_unclamped(A, B) -> _unclamped(B, A)", "the angle from B to A")

# --- 3


@right(check.autoencoder_loss)
def _(x, E, D):
    B, _, H, W = x.shape
    rebuilt = (x.flatten(1) @ E @ D).view(B, 1, H, W)
    return ((x - rebuilt) ** 2).sum() / B


@right(check.autoencoder_loss)
def _(x, E, D):
    flat = x.flatten(1)
    return F.mse_loss(flat @ E @ D, flat, reduction="sum") / len(x)


equivalent(check.autoencoder_loss, "x.flatten(1) -> x.flatten(2)", "there is one channel")

# --- 4

wrong(check.shrunk_distance, "too large")(300)
right(check.shrunk_distance)(23.4)
right(check.shrunk_distance)(torch.tensor(22.9))
