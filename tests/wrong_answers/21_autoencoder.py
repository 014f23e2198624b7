
import numpy as np
import torch
from scipy.linalg import subspace_angles

from course_lib.checks import autoencoder as check
from wrong_answers import right, wrong

# --- 1


def rebuild(axes="Vh[:k]", centred="x - x.mean(0)", code="(new - x.mean(0)) @ A.T", rebuilt="code @ A + x.mean(0)"):
    """An answer by SVD with the given expressions in it."""
    def pca_rebuild(x, new, k):
        names = {"torch": torch, "x": x, "new": new, "k": k}
        names["U"], names["s"], names["Vh"] = torch.linalg.svd(eval(centred, names), full_matrices=False)
        names["A"] = eval(axes, names)
        names["code"] = eval(code, names)
        return eval(rebuilt, names)
    return pca_rebuild


right(check.pca_rebuild)(rebuild())


@right(check.pca_rebuild)
def _(x, new, k):
    mean = x.mean(dim=0, keepdim=True)
    A = torch.linalg.eigh(torch.cov(x.T))[1].flip(1)[:, :k]
    return ((new - mean) @ A) @ A.T + mean


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


# --- 3: each as a learner edits the code


def loss(rebuilt="(z @ D).view_as(x)", returned="((x - rebuilt) ** 2).sum((1, 2, 3)).mean()", z="x.flatten(1) @ E"):
    lines = ["def autoencoder_loss(x, E, D):",
             "B, _, H, W = x.shape",
             f"z = {z}",
             f"rebuilt = {rebuilt}",
             f"return {returned}"]
    names = {"torch": torch}
    exec("\n    ".join(lines), names)
    return names["autoencoder_loss"]


wrong(check.autoencoder_loss, "no gradient reaches E")(loss(z="(x.flatten(1) @ E).detach()"))

right(check.autoencoder_loss)(loss())
right(check.autoencoder_loss)(loss("(z @ D).view(B, 1, H, W)", "((x - rebuilt) ** 2).sum() / B"))


# --- 4

wrong(check.shrunk_distance, "too large")(300)
right(check.shrunk_distance)(23.4)
right(check.shrunk_distance)(torch.tensor(22.9))
