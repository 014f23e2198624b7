import math

import numpy as np
import torch
from scipy.linalg import subspace_angles
from sklearn.decomposition import PCA

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


wrong(check.pca_rebuild, "the mean is missing when you project")(rebuild(code="new @ A.T", rebuilt="code @ A"))
wrong(check.pca_rebuild, "lie around 0")(rebuild(rebuilt="code @ A"))
wrong(check.pca_rebuild, "counted twice")(rebuild(code="new @ A.T"))
wrong(check.pca_rebuild, "your axes are those of x itself")(rebuild(centred="x", code="new @ A.T", rebuilt="code @ A"))
wrong(check.pca_rebuild, "found the axes of x without subtracting it")(rebuild(centred="x"))
wrong(check.pca_rebuild, "the mean is that of the new points")(rebuild(
    code="(new - new.mean(0)) @ A.T", rebuilt="code @ A + new.mean(0)"))
wrong(check.pca_rebuild, "you rebuilt x")(rebuild(code="(x - x.mean(0)) @ A.T"))
wrong(check.pca_rebuild, "with the *smallest* variance")(rebuild(axes="Vh[-k:]"))
wrong(check.pca_rebuild, "you return the code")(rebuild(rebuilt="code"))
wrong(check.pca_rebuild, "are the points themselves")(rebuild(axes="Vh"))
wrong(check.pca_rebuild, "what the k axes leave over")(rebuild(rebuilt="new - code @ A"))
wrong(check.pca_rebuild, "all your rebuilt points are the mean")(rebuild(rebuilt="0 * code @ A + x.mean(0)"))
wrong(check.pca_rebuild, "did you take rows of the eigenvectors")(rebuild(axes="Vh[:, :k].T"))


@wrong(check.pca_rebuild, "you found mean and axes of the new points")
def _(x, new, k):
    mean = new.mean(0)
    _, vectors = torch.linalg.eigh((new - mean).T @ (new - mean))
    A = vectors[:, -k:]
    return mean + (new - mean) @ A @ A.T


@wrong(check.pca_rebuild, "with the *smallest* variance")
def _(x, new, k):
    mean = x.mean(0)
    A = torch.linalg.eigh(torch.cov(x.T))[1][:, :k]
    return mean + (new - mean) @ A @ A.T


@wrong(check.pca_rebuild, "did you take rows of the eigenvectors")
def _(x, new, k):
    mean = x.mean(0)
    A = torch.linalg.eigh(torch.cov(x.T))[1][-k:]
    return mean + (new - mean) @ A.T @ A


@wrong(check.pca_rebuild, "did you take rows of the eigenvectors")
def _(x, new, k):
    mean = x.mean(0)
    A = torch.linalg.eigh(torch.cov(x.T))[1][:k]
    return mean + (new - mean) @ A.T @ A


@wrong(check.pca_rebuild, "multiplied the coordinates by the eigenvalues")
def _(x, new, k):
    mean = x.mean(0)
    values, vectors = torch.linalg.eigh(torch.cov(x.T, correction=0))
    A = vectors[:, -k:]
    return mean + (new - mean) @ A @ torch.diag(values[-k:]) @ A.T


right(check.pca_rebuild)(rebuild())


@right(check.pca_rebuild)
def _(x, new, k):
    mean = x.mean(dim=0, keepdim=True)
    A = torch.linalg.eigh(torch.cov(x.T))[1].flip(1)[:, :k]
    return ((new - mean) @ A) @ A.T + mean


@right(check.pca_rebuild)
def _(x, new, k):
    pca = PCA(k, svd_solver="full").fit(x.numpy())
    return torch.from_numpy(pca.inverse_transform(pca.transform(new.numpy())))


@right(check.pca_rebuild)
def _(x, new, k):
    mean = x.sum(0) / len(x)
    A = torch.linalg.svd((x - mean).T)[0][:, :k]
    z = torch.linalg.lstsq(A, (new - mean).T).solution            # the code of least squares
    rows = [mean + sum(z[j, i] * A[:, j] for j in range(k)) for i in range(len(new))]
    return torch.stack(rows)


# --- 2


def q(A):
    return torch.linalg.qr(A)[0]


def degrees(cosines):
    return torch.rad2deg(torch.arccos(cosines.clamp(-1, 1)))


@wrong(check.largest_angle, "the smallest of the principal angles")
def _(A, B):
    return degrees(torch.linalg.svdvals(q(A).T @ q(B)).max())


@wrong(check.largest_angle, "in radians")
def _(A, B):
    return torch.arccos(torch.linalg.svdvals(q(A).T @ q(B)).clamp(max=1)).max()


@wrong(check.largest_angle, "this is the cosine")
def _(A, B):
    return torch.linalg.svdvals(q(A).T @ q(B)).min()


@wrong(check.largest_angle, "return all principal angles")
def _(A, B):
    return degrees(torch.linalg.svdvals(q(A).T @ q(B)))


@wrong(check.largest_angle, "the mean of the principal angles")
def _(A, B):
    return degrees(torch.linalg.svdvals(q(A).T @ q(B))).mean()


@wrong(check.largest_angle, "arcsin of a cosine")
def _(A, B):
    return torch.arcsin(torch.linalg.svdvals(q(A).T @ q(B)).clamp(max=1)[-1]) * 180 / math.pi


@wrong(check.largest_angle, "are not at right angles to each other")
def _(A, B):
    A, B = A / A.norm(dim=0, keepdim=True), B / B.norm(dim=0, keepdim=True)
    return degrees(torch.linalg.svdvals(A.T @ B).min())


@wrong(check.largest_angle, "neither of length 1 nor at right angles")
def _(A, B):
    return degrees(torch.linalg.svdvals(A.T @ B).min())


@wrong(check.largest_angle, "and not those of B")
def _(A, B):
    return degrees(torch.linalg.svdvals(q(A).T @ B).min())


@wrong(check.largest_angle, "you compared the columns one by one")
def _(A, B):
    return degrees(torch.cosine_similarity(A, B, dim=0).min())


@wrong(check.largest_angle, "you compared the columns one by one")
def _(A, B):
    return degrees(torch.cosine_similarity(A, B, dim=0).abs()).max()


@wrong(check.largest_angle, "the smallest *entry*")
def _(A, B):
    return degrees((q(A).T @ q(B)).abs().min())


@right(check.largest_angle)
def _(A, B):
    return torch.tensor(np.degrees(subspace_angles(A.numpy(), B.numpy()).max()))


@right(check.largest_angle)
def _(A, B):
    outside = q(B) - q(A) @ (q(A).T @ q(B))                       # the sine of the largest angle is its norm
    return torch.rad2deg(torch.arcsin(torch.linalg.matrix_norm(outside, 2).clamp(max=1)))


@right(check.largest_angle)
def _(A, B):
    P = A @ torch.linalg.inv(A.T @ A) @ A.T                       # projections by the normal equations
    R = B @ torch.linalg.inv(B.T @ B) @ B.T
    return math.degrees(math.asin(min(1.0, torch.linalg.svdvals(P - R).max().item())))


@right(check.largest_angle)
def _(A, B):
    Qa, Qb = torch.linalg.svd(A, full_matrices=False)[0], torch.linalg.svd(B, full_matrices=False)[0]
    squares = torch.linalg.eigvalsh(Qa.T @ Qb @ Qb.T @ Qa).clamp(0, 1)
    return torch.arccos(squares.sqrt()).max() * 180 / torch.pi


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


OLD = "(z @ D).view(B, H, W)"

wrong(check.autoencoder_loss, "the bug is still there")(loss(OLD))
wrong(check.autoencoder_loss, "the bug is still there")(loss("(z @ D).view(1, B, H, W)"))
wrong(check.autoencoder_loss, "you take the mean over them")(loss(OLD, "((x - rebuilt) ** 2).sum() / B**2"))
wrong(check.autoencoder_loss, "you take the mean over them")(loss(OLD, "((x - rebuilt) ** 2).sum((2, 3)).mean()"))
wrong(check.autoencoder_loss, "the mean over the pixels")(loss(returned="torch.nn.functional.mse_loss(rebuilt, x)"))
wrong(check.autoencoder_loss, "a sum over the images too")(loss(returned="((x - rebuilt) ** 2).sum()"))
wrong(check.autoencoder_loss, "a number for each image")(loss(returned="((x - rebuilt) ** 2).sum((1, 2, 3))"))
wrong(check.autoencoder_loss, "a tensor of shape (1,)")(loss(returned="((x - rebuilt) ** 2).sum((2, 3)).mean(0)"))
wrong(check.autoencoder_loss, "the square is lost")(loss(returned="(x - rebuilt).abs().sum((1, 2, 3)).mean()"))
wrong(check.autoencoder_loss, "you take a root")(loss(returned="(x - rebuilt).flatten(1).norm(dim=1).mean()"))
wrong(check.autoencoder_loss, "sum over the pixels first")(loss(returned="((x - rebuilt).sum((1, 2, 3)) ** 2).mean()"))
wrong(check.autoencoder_loss, "a factor 1/2")(loss(returned="0.5 * ((x - rebuilt) ** 2).sum((1, 2, 3)).mean()"))
wrong(check.autoencoder_loss, "no gradient reaches E")(loss(z="(x.flatten(1) @ E).detach()"))

right(check.autoencoder_loss)(loss())
right(check.autoencoder_loss)(loss("(z @ D).view(B, 1, H, W)", "((x - rebuilt) ** 2).sum() / B"))
right(check.autoencoder_loss)(loss("z @ D", "torch.nn.functional.mse_loss(rebuilt, x.flatten(1), reduction='sum') / B"))
right(check.autoencoder_loss)(loss(OLD, "((x.squeeze(1) - rebuilt) ** 2).sum((1, 2)).mean()"))


@right(check.autoencoder_loss)
def _(x, E, D):
    total = 0
    for image in x:
        total = total + (image.reshape(-1) - image.reshape(-1) @ E @ D).square().sum()
    return total / len(x)


# --- 4

wrong(check.shrunk_distance, "with tau = 1")(17.3)
wrong(check.shrunk_distance, "from the standard normal distribution")(38.2)
wrong(check.shrunk_distance, "without the scale matrix")(66)
wrong(check.shrunk_distance, "the mean of the codes is missing")(32.6)
wrong(check.shrunk_distance, "you shrank twice")(torch.tensor(44.6))
wrong(check.shrunk_distance, "you took a root")(23.4**0.5)
wrong(check.shrunk_distance, "this is a ratio")(23.4 / 17.3)
wrong(check.shrunk_distance, "too large")(300)
right(check.shrunk_distance)(23.4)
right(check.shrunk_distance)(torch.tensor(22.9))
right(check.shrunk_distance)(np.float64(24.1))
