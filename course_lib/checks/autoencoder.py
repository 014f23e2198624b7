"""The checks of exercise 21: rebuilding from principal axes, the angle between subspaces, the loss of an autoencoder
with a bug in it, a measurement."""

from functools import cache

import torch
from torch import Tensor

from course_lib import checkpoint
from course_lib.checks import Implementation, Measurement, Mistake, Slip, rand
from course_lib.data import load
from course_lib.device import seeded
from course_lib.metrics import frechet_distance, judge_features

# --- 1: rebuild from k principal axes

def _clouds(g: torch.Generator) -> list[tuple]:
    """Clouds far from 0, of clearly different variance along each direction, so that the axes are well defined."""
    cases = []
    for n, b, d, k in ((4, 1, 3, 1), (6, 3, 5, 1), (9, 2, 4, 3), (30, 5, 6, 2)):
        turn = torch.linalg.qr(rand(g, d, d, dtype=torch.float64))[0]
        size = torch.linspace(3, 1, d).double() ** 2
        eps = rand(g, n, d, dtype=torch.float64)
        eps = n**0.5 * torch.linalg.qr(eps - eps.mean(0))[0]                  # mean exactly 0, covariance exactly I
        centre = 4 + rand(g, d, dtype=torch.float64).abs()
        cases.append(((eps * size) @ turn + centre, (rand(g, b, d, dtype=torch.float64) * size) @ turn + centre, k))
    return cases


def _axes(x: Tensor) -> Tensor:
    """Eigenvectors of the covariance as columns, by rising variance."""
    centred = x - x.mean(0)
    return torch.linalg.eigh(centred.T @ centred)[1]


def _rebuild(x: Tensor, new: Tensor, k: int, least: bool = False, before: bool = True, after: bool = True) -> Tensor:
    vectors = _axes(x)
    A = vectors[:, :k] if least else vectors[:, -k:]                          # (D, k)
    return (new - x.mean(0) * before) @ A @ A.T + x.mean(0) * after


def _uncentred(x: Tensor, new: Tensor, k: int) -> Tensor:
    A = torch.linalg.eigh(x.T @ x)[1][:, -k:]
    return new @ A @ A.T


def _weighted(x: Tensor, new: Tensor, k: int) -> Tensor:
    centred = x - x.mean(0)
    values, vectors = torch.linalg.eigh(centred.T @ centred / len(x))
    return (new - x.mean(0)) @ (vectors * values)[:, -k:] @ vectors[:, -k:].T + x.mean(0)


def _projection(vectors: Tensor) -> Tensor:
    return vectors @ vectors.T                                                # (D, k) -> (D, D)


def _run(fn, x: Tensor, new: Tensor, k: int) -> dict[str, Tensor]:
    """Two mistakes that no formula can show, since axes have no sign: the code itself, and a projection onto k wrong
    directions, which is what rows in place of columns give."""
    mean, eye, right = x.mean(0), torch.eye(x.shape[1]).double(), _axes(x)
    out = fn(x.clone(), new.clone(), k)
    if not isinstance(out, Tensor) or out.shape == new.shape and torch.allclose(out.double(), _rebuild(x, new, k)):
        return {"": out}
    if out.shape in ((len(new), k), (k, len(new))):
        raise Mistake("you return the code, k numbers for each point: decode it too, back to D numbers",
                      "code @ A.T + mean, with the axes as the columns of A")
    P = fn(x.clone(), mean + eye, k)
    if isinstance(P, Tensor) and P.shape == eye.shape and out.shape == new.shape:
        P = P.detach().double() - mean
        known = (right[:, -k:], right[:, :k], torch.linalg.eigh(x.T @ x)[1][:, -k:])
        if (torch.allclose(P, P.T, atol=1e-3) and torch.allclose(P @ P, P, atol=1e-3) and abs(P.trace() - k) < 1e-3
                and torch.allclose(out.double(), mean + (new - mean) @ P, atol=1e-3)
                and not any(torch.allclose(P, _projection(A), atol=1e-3) for A in known)):
            raise Mistake("you project onto k directions at right angles, but they are not the principal axes: did you "
                          "take rows of the eigenvectors of eigh, which stand in columns, or columns of the Vh of svd, "
                          "where they stand in rows?",
                          "vectors[:, -k:] from eigh; from svd, the rows of the third result, Vh[:k].")
    return {"": out}


pca_rebuild = Implementation(
    "pca_rebuild",
    right=lambda x, new, k: _rebuild(x, new, k),
    run=_run,
    cases=_clouds,
    slips=[
        Slip(lambda x, new, k: _rebuild(x, new, k, before=False, after=False),
             "the axes are right, but the mean is missing when you project: subtract it before, and add it again after",
             "rebuilt = mean + (new - mean) @ A @ A.T, with the axes as the columns of A."),
        Slip(lambda x, new, k: _rebuild(x, new, k, after=False),
             "your rebuilt points lie around 0: add the mean again at the end", "mean + (new - mean) @ A @ A.T"),
        Slip(lambda x, new, k: _rebuild(x, new, k, before=False),
             "you add the mean at the end and have not subtracted it before: it is counted twice",
             "(new - mean) @ A are the coordinates."),
        Slip(_uncentred,
             "your axes are those of x itself, and not of x - mean: the first of them points from 0 to the cloud",
             "Subtract x.mean(0) before you take the SVD or the covariance; and add it again at the end."),
        Slip(lambda x, new, k: _uncentred(x, new - x.mean(0), k) + x.mean(0),
             "you use the mean when you project, but found the axes of x without subtracting it: the first axis "
             "points from 0 to the cloud", "Subtract x.mean(0) before you take the SVD or the covariance."),
        Slip(lambda x, new, k: _rebuild(new, new, k),
             "you found mean and axes of the new points: they belong to x, and `new` is only rebuilt",
             "mean = x.mean(0), and the axes from x - mean; then project new - mean."),
        Slip(lambda x, new, k: (new - new.mean(0)) @ _axes(x)[:, -k:] @ _axes(x)[:, -k:].T + new.mean(0),
             "the axes are those of x, but the mean is that of the new points: with a single new point nothing is left",
             "Subtract and add x.mean(0)."),
        Slip(lambda x, new, k: _rebuild(x, x, k),
             "you rebuilt x, the points that the axes came from: `new` is asked for", "mean + (new - mean) @ A @ A.T"),
        Slip(lambda x, new, k: _rebuild(x, new, k, least=True),
             "you kept the axes with the *smallest* variance: eigh returns eigenvalues in rising order",
             "Take the last k columns: vectors[:, -k:]. svd has the largest first."),
        Slip(_weighted,
             "you multiplied the coordinates by the eigenvalues: a rebuilt point is the sum of the axes in the amounts "
             "of its own coordinates", "Leave the eigenvalues (or singular values) out: A @ A.T projects."),
        Slip(lambda x, new, k: new,
             "your rebuilt points are the points themselves: all axes were kept, where only k may be",
             "Cut the axes to k columns before you project: A = vectors[:, -k:]."),
        Slip(lambda x, new, k: new - _rebuild(x, new, k) + x.mean(0),
             "you return what the k axes leave over, and what lies along them is asked for",
             "mean + (new - mean) @ A @ A.T keeps what lies along the axes."),
        Slip(lambda x, new, k: x.mean(0).expand_as(new),
             "all your rebuilt points are the mean: the coordinates on the axes are lost",
             "mean + (new - mean) @ A @ A.T"),
    ],
    hint="mean = x.mean(0); U, s, Vh = torch.linalg.svd(x - mean, full_matrices=False); the axes are the rows of "
         "A = Vh[:k]; the code is (new - mean) @ A.T; the rebuilt points are mean + code @ A.",
    rtol=1e-3, atol=1e-3)


# --- 2: the largest angle between two subspaces

def _pairs(g: torch.Generator) -> list[tuple]:
    """Lines and planes, their columns neither at right angles nor of length 1, and a pair that nearly coincides."""
    cases = [(0.1 + 0.1 * rand(g, d, k, dtype=torch.float64), 0.1 + 0.1 * rand(g, d, k, dtype=torch.float64))
             for d, k in ((2, 1), (3, 1), (5, 2), (8, 3))]
    A = 0.1 * rand(g, 7, 3, dtype=torch.float64)
    line = 0.4 + 0.1 * rand(g, 1, 1, dtype=torch.float64).sigmoid()
    return [*cases, (A, A + 0.003 * rand(g, 7, 3, dtype=torch.float64)), (line, -line - 0.1)]


def _qr(A: Tensor) -> Tensor:
    return torch.linalg.qr(A)[0]


def _unit(A: Tensor) -> Tensor:
    return A / A.norm(dim=0)


def _cosines(A: Tensor, B: Tensor) -> Tensor:
    """Of the principal angles, where the columns of both are orthonormal.  -> (k,) largest first"""
    return torch.linalg.svdvals(A.T @ B).clamp(max=1)


def _degrees(cosine: Tensor) -> Tensor:
    return torch.rad2deg(torch.arccos(cosine))


def _angles(A: Tensor, B: Tensor) -> Tensor:
    """Smallest first."""
    return _degrees(_cosines(_qr(A), _qr(B)))


def _of_columns(A: Tensor, B: Tensor) -> Tensor:
    """The cosines between column i of A and column i of B."""
    return (_unit(A) * _unit(B)).sum(0).clamp(-1, 1)


largest_angle = Implementation(
    "largest_angle",
    right=lambda A, B: _angles(A, B)[-1],
    cases=_pairs,
    slips=[
        Slip(lambda A, B: _angles(A, B)[0],
             "this is the smallest of the principal angles: the largest one belongs to the smallest singular value",
             "svdvals returns the largest first: take the last, [-1] or .min(), before arccos."),
        Slip(lambda A, B: torch.deg2rad(_angles(A, B)[-1]),
             "this is the angle in radians: the task asks for degrees", "torch.rad2deg, or times 180 / pi."),
        Slip(lambda A, B: _cosines(_qr(A), _qr(B))[-1],
             "this is the cosine of the angle: take its arccos, and turn it into degrees",
             "torch.rad2deg(torch.arccos(cosine.clamp(max=1)))"),
        Slip(lambda A, B: _angles(A, B),
             "you return all principal angles: one number is asked for, the largest",
             ".max() of the angles, or arccos of the smallest singular value."),
        Slip(lambda A, B: _angles(A, B).mean(),
             "you return the mean of the principal angles: the largest is asked for",
             ".max() of the angles, or arccos of the smallest singular value."),
        Slip(lambda A, B: 90 - _angles(A, B)[-1],
             "you took arcsin of a cosine: so equal subspaces get 90 degrees",
             "Use torch.arccos: the singular values are cosines."),
        Slip(lambda A, B: _degrees(_cosines(_unit(A), _unit(B))[-1]),
             "your columns have length 1 and are not at right angles to each other, so the singular values are no "
             "cosines", "torch.linalg.qr(A)[0] has orthonormal columns that span the same subspace."),
        Slip(lambda A, B: _degrees(_cosines(A, B)[-1]),
             "the columns of A and B are neither of length 1 nor at right angles, so the singular values of A^T B are "
             "no cosines", "First make both orthonormal: Qa = torch.linalg.qr(A)[0], and Qb likewise."),
        Slip(lambda A, B: _degrees(_cosines(_qr(A), B)[-1]),
             "you made the columns of A orthonormal, and not those of B", "Qb = torch.linalg.qr(B)[0]"),
        Slip((lambda A, B: _degrees(_of_columns(A, B).min()), lambda A, B: _degrees(_of_columns(A, B).abs().min())),
             "you compared the columns one by one: which columns span a subspace does not matter, and here they are in "
             "no order", "Orthonormal columns (QR) on both sides, then the singular values of Qa^T Qb."),
        Slip(lambda A, B: _degrees((_qr(A).T @ _qr(B)).abs().clamp(max=1).min()),
             "you took the smallest *entry* of Qa^T Qb: its smallest singular value is needed",
             "torch.linalg.svdvals(Qa.T @ Qb)"),
    ],
    hint="Qa, Qb = torch.linalg.qr(A)[0], torch.linalg.qr(B)[0]; the cosines are torch.linalg.svdvals(Qa.T @ Qb), each "
         "clamped to at most 1; the largest angle has the smallest cosine; torch.rad2deg turns radians into degrees.",
    rtol=1e-3, atol=1e-3)


# --- 3: the loss that trains anyway

def _batches(g: torch.Generator) -> list[tuple]:
    """Images (B, 1, H, W) and the two matrices of a linear autoencoder."""
    return [(rand(g, b, 1, h, w).abs(), rand(g, h * w, k), rand(g, k, h * w))
            for b, h, w, k in ((2, 1, 2, 1), (3, 2, 2, 2), (4, 3, 2, 2), (1, 2, 3, 2), (5, 4, 4, 3))]


def _images(x: Tensor, E: Tensor, D: Tensor) -> Tensor:
    return (x.flatten(1) @ E @ D).view_as(x)


def _square(x: Tensor, E: Tensor, D: Tensor) -> Tensor:
    return (x - _images(x, E, D)) ** 2                                        # (B, 1, H, W)


def _broadcast(x: Tensor, E: Tensor, D: Tensor) -> Tensor:
    """(B, 1, H, W) - (B, H, W) -> (B, B, H, W): every image against every reconstruction."""
    return (x - _images(x, E, D).squeeze(1)) ** 2


SUM = ".sum((1, 2, 3)).mean()"

autoencoder_loss = Implementation(
    "autoencoder_loss",
    right=lambda x, E, D: _square(x, E, D).sum((1, 2, 3)).mean(),
    cases=_batches,
    slips=[
        Slip(lambda x, E, D: _broadcast(x, E, D).sum((1, 2, 3)).mean(),
             "the bug is still there: with a batch of one the loss is right, and with more images it is far too large. "
             "Print the shapes of x, of rebuilt and of their difference",
             "(B, 1, H, W) minus (B, H, W) is (B, B, H, W): each image is compared with *every* reconstruction. "
             "rebuilt.view_as(x)"),
        Slip(lambda x, E, D: _broadcast(x, E, D).sum((2, 3)).mean(),
             "each image is still compared with every reconstruction, and you take the mean over them: the difference "
             "has the shape (B, B, H, W)", "Give rebuilt the shape of x before you subtract: rebuilt.view_as(x)."),
        Slip(lambda x, E, D: _square(x, E, D).mean(),
             "the shapes are right now, but this is the mean over the pixels: the sum over the pixels of an image was "
             "there before and is asked for", SUM),
        Slip(lambda x, E, D: _square(x, E, D).sum(),
             "the shapes are right now, but this is a sum over the images too: the mean over the batch is asked for",
             SUM),
        Slip(lambda x, E, D: _square(x, E, D).sum((1, 2, 3)),
             "the shapes are right now, but you return a number for each image: one number is asked for, their mean",
             "End with .mean()"),
        Slip(lambda x, E, D: _square(x, E, D).sum((2, 3)).mean(0),
             "the shapes are right now, but you return a tensor of shape (1,): one number is asked for, shape ()", SUM),
        Slip(lambda x, E, D: (x - _images(x, E, D)).abs().sum((1, 2, 3)).mean(),
             "the shapes are right now, but the square is lost: you add up absolute differences",
             "(x - rebuilt) ** 2, or .square()"),
        Slip(lambda x, E, D: _square(x, E, D).sum((1, 2, 3)).sqrt().mean(),
             "the shapes are right now, but you take a root: the *squared* error is asked for",
             ".sum((1, 2, 3)).mean() of the squares, no root."),
        Slip(lambda x, E, D: (x - _images(x, E, D)).sum((1, 2, 3)).square().mean(),
             "you sum over the pixels first and square after: so errors of opposite sign cancel",
             "Square each difference, then .sum((1, 2, 3))."),
        Slip(lambda x, E, D: 0.5 * _square(x, E, D).sum((1, 2, 3)).mean(),
             "the shapes are right now, but there is a factor 1/2 that was not there before", SUM),
    ],
    gradient=("E", "D"),
    hint="Look at the shapes: x is (B, 1, H, W); what has z @ D after the .view? Subtract tensors of equal shape only.",
    rtol=1e-3, atol=1e-3)


# --- 4: shorter codes

@cache
def _distance(tau: float = 0.6, centre: bool = True, own: bool = True) -> float:
    """Fréchet distance of 1,000 images from codes mean + tau * scale eps, the mean of two draws."""
    model, test, total = checkpoint.load("autoencoder"), judge_features(load("digits").test.x), 0.0
    for i in range(2):
        eps = tau * torch.randn(1000, len(model.codes.mean), generator=seeded(100 + i))
        z = (model.codes.mean if centre else 0) + (eps @ model.codes.scale.T if own else eps)
        with torch.no_grad():
            total += frechet_distance(judge_features(model.decode(z)), test)
    return total / 2


SHRINK = "mean + 0.6 * (eps @ scale.T)"

shrunk_distance = Measurement(
    "shrunk_distance",
    truth=_distance,
    tolerance=0.08,
    slips=[
        Slip(lambda: _distance(1.0), "this is the distance with tau = 1, as in the lesson: shrink the noise", SHRINK),
        Slip(lambda: _distance(1.0, centre=False, own=False),
             "these are codes from the standard normal distribution: the mean and the scale of the codes are not used",
             SHRINK),
        Slip(lambda: _distance(own=False),
             "you added shrunk noise to the mean, without the scale matrix: the codes of digits spread wider, and not "
             "equally in all directions", SHRINK),
        Slip(lambda: _distance(centre=False),
             "the mean of the codes is missing: shrink towards it, not towards 0", SHRINK),
        Slip(lambda: _distance(0.36), "you shrank twice, by 0.36: tau = 0.6 itself multiplies L eps", SHRINK),
        Slip(lambda: _distance() ** 0.5, "you took a root: the Fréchet distance of this course is the "
             "squared one, as frechet_distance returns it", "Leave the root out."),
        Slip(lambda: _distance() / _distance(1.0), "this is a ratio: the distance itself is asked for",
             "frechet_distance(judge_features(images), real)"),
    ],
    hint="z = model.codes.mean + 0.6 * torch.randn(1000, 16) @ model.codes.scale.T; then model.decode(z), "
         "judge_features, and frechet_distance against the test digits; the mean of a few draws.")
