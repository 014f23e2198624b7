"""The checks of exercise 21: rebuilding from principal axes, the angle between subspaces, the loss of an autoencoder
with a bug in it, a measurement."""

from functools import cache

import torch
from torch import Tensor

from course_lib import checkpoint
from course_lib.checks import Implementation, Measurement, Mistake, rand
from course_lib.data import load
from course_lib.device import seeded
from course_lib.metrics import frechet_distance, judge_features

# --- 1


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


def _mean(x: Tensor, new: Tensor) -> Tensor:
    return x.mean(0)


def _nothing(x: Tensor, new: Tensor) -> Tensor:
    return 0 * x[0]


def _of_new(x: Tensor, new: Tensor) -> Tensor:
    return new.mean(0)


def _axes(x: Tensor, centre: Tensor) -> Tensor:
    """Directions as columns, by rising variance around the centre."""
    centred = x - centre
    return torch.linalg.eigh(centred.T @ centred)[1]


def _rebuild(x, new, k, of=_mean, before=_mean, after=_mean, pick=lambda vectors, k: vectors[:, -k:],
             amount=lambda code, own: code) -> Tensor:
    """`of` is the mean that is subtracted to find the axes, `before` and `after` those that are used to project."""
    A = pick(_axes(x, of(x, new)), k)                                         # (D, k)
    return amount((new - before(x, new)) @ A, x @ A) @ A.T + after(x, new)


def _run(fn, x: Tensor, new: Tensor, k: int) -> dict[str, Tensor]:
    """Two mistakes that no formula can show, since axes have no sign: the code itself, and a projection onto k wrong
    directions, which is what rows in place of columns give."""
    def alike(a: Tensor, b: Tensor) -> bool:
        return torch.allclose(a.detach().double(), b, atol=1e-3)

    out, mean, D = fn(x.clone(), new.clone(), k), x.mean(0), x.shape[1]
    if isinstance(out, Tensor) and out.shape in ((len(new), k), (k, len(new))):
        raise Mistake("you return the code, k numbers for each point: decode it too, back to D numbers",
                      "A rebuilt point is the mean and the sum of the axes, each as often as its coordinate says.")
    P = fn(x.clone(), mean + torch.eye(D).double(), k)
    if isinstance(P, Tensor) and P.shape == (D, D) and isinstance(out, Tensor) and out.shape == new.shape:
        P = P.detach().double() - mean
        known = [_axes(x, mean)[:, -k:], _axes(x, mean)[:, :k], _axes(x, 0 * mean)[:, -k:]]
        if (alike(P.T, P) and alike(P @ P, P) and abs(P.trace() - k) < 1e-3 and alike(out, mean + (new - mean) @ P)
                and not any(alike(P, A @ A.T) for A in known)):
            raise Mistake("you project onto k directions at right angles, but they are not the principal axes: did you "
                          "take rows of the eigenvectors of eigh, which stand in columns, or columns of the Vh of svd, "
                          "where they stand in rows?",
                          "Print the shape of what you cut from the matrix, with k = 1: is it one direction?")
    return {"": out}


pca_rebuild = Implementation(
    "pca_rebuild",
    right=_rebuild,
    run=_run,
    cases=_clouds,
    slips=[
        ("the axes are right, and the mean of x is to be subtracted before you project, and added again after: {}",
         ("yours is missing", dict(before=_nothing, after=_nothing)),
         ("your rebuilt points lie around 0, as it is not added", dict(after=_nothing)),
         ("you have not subtracted it before, so that it is counted twice", dict(before=_nothing)),
         ("yours is the mean of the new points, and of a single new point nothing is left",
          dict(before=_of_new, after=_of_new))),
        ("your axes are those of x itself, and not of x - mean: the first of them points from 0 to the cloud",
         dict(of=_nothing), dict(of=_nothing, before=_nothing, after=_nothing)),
        ("you found mean and axes of the new points: they belong to x, and `new` is only rebuilt",
         lambda x, new, k: _rebuild(new, new, k)),
        ("you rebuilt x, the points that the axes came from: `new` is asked for", lambda x, new, k: _rebuild(x, x, k)),
        ("you kept the axes with the *smallest* variance: eigh returns eigenvalues in rising order, and svd in falling",
         dict(pick=lambda vectors, k: vectors[:, :k])),
        ("you multiplied or divided the coordinates by the eigenvalues or the singular values: a rebuilt point is the "
         "sum of the axes in the amounts of its own coordinates",
         *(dict(amount=lambda code, own, n=n, power=power: code * (n(own) * own.var(0)) ** power)
           for n in (lambda own: 1, lambda own: 1 - 1 / len(own), lambda own: len(own) - 1)
           for power in (1, 0.5, -0.5))),
        ("your rebuilt points are the points themselves: all axes were kept, where only k may be",
         lambda x, new, k: new),
        ("you return what the k axes leave over, and what lies along them is asked for",
         lambda x, new, k: new - _rebuild(x, new, k), lambda x, new, k: new - _rebuild(x, new, k, after=_nothing)),
        ("all your rebuilt points are the mean: the coordinates on the axes are lost",
         dict(amount=lambda code, own: 0 * code)),
    ],
    hints=("With k one less than D, rebuilt points lie near the new ones: do yours? Which of your lines use x, and "
           "which the new points?",
           "Subtract the mean of x from x and find its axes. Subtract the same mean from `new`; its products with the "
           "k axes are the code (B, k). Multiply each axis by its number, add the k of them up, and add the mean.",
           "mean = x.mean(0)\n"
           "A = torch.linalg.svd(x - mean, full_matrices=False)[2][:k]          # (k, D), axes in rows\n"
           "mean + (new - mean) @ A.T @ A"),
    rtol=1e-3, atol=1e-3)

# --- 2


def _qr(A: Tensor) -> Tensor:
    return torch.linalg.qr(A)[0]


def _unit(A: Tensor) -> Tensor:
    return A / A.norm(dim=0)


def _unclamped(A: Tensor, B: Tensor) -> Tensor:
    return torch.linalg.svdvals(A.T @ B)


def _degrees(cosine: Tensor) -> Tensor:
    return torch.rad2deg(torch.arccos(cosine))


def _angle(A, B, a=_qr, b=_qr, cosines=lambda A, B: _unclamped(A, B).clamp(max=1), angle=_degrees,
           pick=lambda angles: angles[-1]) -> Tensor:
    """Where the columns of a(A) and b(B) are orthonormal, the singular values are cosines, the largest first."""
    return pick(angle(cosines(a(A), b(B))))


def _columns(A: Tensor, B: Tensor) -> Tensor:
    return (_unit(A) * _unit(B)).sum(0).clamp(-1, 1)


def _pairs(g: torch.Generator) -> list[tuple]:
    """Lines and planes, their columns neither at right angles nor of length 1; in case 4 a pair that nearly coincides,
    and in the last two the same space in other coordinates, drawn until all cosines are rounded to more than 1."""
    cases = [(0.1 + 0.1 * rand(g, d, k, dtype=torch.float64), 0.1 + 0.1 * rand(g, d, k, dtype=torch.float64))
             for d, k in ((2, 1), (3, 1), (5, 2), (8, 3))]
    A = 0.1 * rand(g, 7, 3, dtype=torch.float64)
    line = 0.4 + 0.1 * rand(g, 1, 1, dtype=torch.float64).sigmoid()
    cases += [(A, A + 0.003 * rand(g, 7, 3, dtype=torch.float64)), (line, -line - 0.1)]
    for d, k in ((5, 1), (6, 2)):
        A = B = torch.eye(d, k).double()
        while _unclamped(_qr(A), _qr(B)).min() <= 1:
            A = rand(g, d, k, dtype=torch.float64)
            B = A @ (torch.eye(k) + 0.5 * rand(g, k, k)).double()
        cases.append((A, B))
    return cases


largest_angle = Implementation(
    "largest_angle",
    right=_angle,
    cases=_pairs,
    slips=[
        ("right for other pairs, and wrong where both span the same subspace: by rounding a cosine may be 1.0000001 "
         "there, of which arccos is nan. Make it 1, and no less than 1",
         {6}, {7}, {6, 7}, {5, 6, 7}, dict(cosines=_unclamped),
         "Take A and twice A, several times, and print the cosines with all their digits."),
        ("one number is asked for, the largest of the principal angles: {}",
         ("yours is the smallest, and the largest angle has the smallest cosine",
          dict(pick=lambda angles: angles[0])), ("you return all of them", dict(pick=Tensor.clone)),
         ("you return their mean", dict(pick=Tensor.mean))),
        ("this is the angle in radians: the task asks for degrees", dict(angle=torch.arccos)),
        ("this is the cosine of the angle: take its arccos, and turn it into degrees", dict(angle=Tensor.clone)),
        ("you took arcsin of a cosine: so equal subspaces get 90 degrees",
         dict(angle=lambda cosine: torch.rad2deg(torch.arcsin(cosine)))),
        ("singular values of a product are cosines where the columns of both matrices are orthonormal, of length 1 and "
         "at right angles to each other: {}",
         ("yours have length 1, and no right angles", dict(a=_unit, b=_unit)),
         ("you took A and B as they are", dict(a=Tensor.clone, b=Tensor.clone)),
         ("those of B are not", dict(b=Tensor.clone)), ("those of A are not", dict(a=Tensor.clone))),
        ("you compared the columns one by one: which columns span a subspace does not matter, and here they are in no "
         "order", *(dict(a=Tensor.clone, b=Tensor.clone, cosines=_columns, angle=lambda c, size=size: _degrees(size(c)),
                         pick=Tensor.max) for size in (Tensor.clone, Tensor.abs))),
        ("you took the smallest *entry* of the product of the two: its smallest singular value is needed",
         dict(cosines=lambda A, B: (A.T @ B).abs().clamp(max=1), pick=Tensor.max)),
    ],
    hints=("Try two planes in space that you can see: the floor, and one that is tilted by 20 degrees. Then span the "
           "same floor by two other vectors: does your angle stay?",
           "Orthonormal columns for both, by QR. The singular values of the one, transposed, times the other are the "
           "cosines, and none may exceed 1. The largest angle is the arccos of the smallest; from radians to degrees.",
           "Qa, Qb = torch.linalg.qr(A)[0], torch.linalg.qr(B)[0]\n"
           "cosine = torch.linalg.svdvals(Qa.T @ Qb).clamp(max=1).min()\n"
           "torch.rad2deg(torch.arccos(cosine))"),
    rtol=1e-3, atol=1e-3)

# --- 3


def _batches(g: torch.Generator) -> list[tuple]:
    """Images (B, 1, H, W) and the two matrices of a linear autoencoder."""
    return [(rand(g, b, 1, h, w).abs(), rand(g, h * w, k), rand(g, k, h * w))
            for b, h, w, k in ((2, 1, 2, 1), (3, 2, 2, 2), (4, 3, 2, 2), (1, 2, 3, 2), (5, 4, 4, 3))]


def _loss(x, E, D, shape=lambda rebuilt, x: rebuilt.view_as(x), error=lambda difference: difference**2,
          reduce=lambda t: t.sum((1, 2, 3)).mean()) -> Tensor:
    return reduce(error(x - shape(x.flatten(1) @ E @ D, x)))


def _all_pairs(rebuilt: Tensor, x: Tensor) -> Tensor:
    """The bug: (B, 1, H, W) - (B, H, W) -> (B, B, H, W), every image against every reconstruction."""
    return rebuilt.view_as(x).squeeze(1)


autoencoder_loss = Implementation(
    "autoencoder_loss",
    right=_loss,
    cases=_batches,
    slips=[
        ("the bug is still there: with a batch of one the loss is right, and with more images it is far too large. "
         "Print the shapes of x, of rebuilt and of their difference", dict(shape=_all_pairs)),
        ("each image is still compared with every reconstruction, and you have changed the sums and means, which were "
         "right: the difference has the shape (B, B, H, W)",
         *(dict(shape=_all_pairs, reduce=reduce) for reduce in (
             Tensor.mean, Tensor.sum, lambda t: t.sum((2, 3)).mean(), lambda t: t.sum((1, 2, 3))))),
        ("the shapes are right now, and so was the rest: the squared error, its sum over the pixels of an image, the "
         "mean over the images. {}",
         ("Yours is the mean over the pixels too", dict(reduce=Tensor.mean)),
         ("Yours is a sum over the images too", dict(reduce=Tensor.sum)),
         ("Yours is a number for each image", dict(reduce=lambda t: t.sum((1, 2, 3)))),
         ("Yours has the shape (1,), and not ()", dict(reduce=lambda t: t.sum((2, 3)).mean(0))),
         ("In yours the square is lost: absolute differences", dict(error=Tensor.abs)),
         ("You take a root", dict(reduce=lambda t: t.sum((1, 2, 3)).sqrt().mean())),
         ("You square after the sum, so that errors of opposite sign cancel",
          dict(error=Tensor.clone, reduce=lambda t: t.sum((1, 2, 3)).square().mean())),
         ("Yours is half of that", dict(error=lambda difference: difference**2 / 2))),
    ],
    gradient=("E", "D"),
    hints=("Look at the shapes: x is (B, 1, H, W). What has the shape of `rebuilt`, and what that of the difference?",
           "Where the shapes of two tensors differ, PyTorch repeats one along the missing axis, without a word: each "
           "image meets every reconstruction. Give the reconstruction the shape of x before you subtract.",
           "rebuilt = (z @ D).view_as(x)"),
    rtol=1e-3, atol=1e-3)

# --- 4


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


shrunk_distance = Measurement(
    "shrunk_distance",
    truth=_distance,
    tolerance=0.08,
    slips=[
        ("this is the distance with tau = 1, as in the lesson: shrink the noise", dict(tau=1.0)),
        ("these are codes from the standard normal distribution: the mean and the scale of the codes are not used",
         dict(tau=1.0, centre=False, own=False)),
        ("you added shrunk noise to the mean, without the scale matrix L: the codes of digits spread wider, and not "
         "equally in all directions", dict(own=False)),
        ("the mean of the codes is missing: shrink towards it, not towards 0", dict(centre=False)),
        ("you shrank twice, by 0.36: tau itself multiplies L times epsilon", dict(tau=0.36)),
        ("you took a root: the Fréchet distance of this course is the squared one, as frechet_distance returns it",
         lambda: _distance() ** 0.5),
        ("this is a ratio: the distance itself is asked for", lambda: _distance() / _distance(1.0)),
    ],
    hints=("Draw ten of your 1,000 images: do they look like the row with 0.6 in the figure above?",
           "Draw 1,000 rows of 16 normal numbers, turn them with L, multiply by 0.6 and add the mean. Decode them all; "
           "compare what the judge sees in them with what it sees in the test digits. Then once more, and the mean.",
           "z = mu + 0.6 * torch.randn(1000, 16) @ L.T\n"
           "frechet_distance(judge_features(model.decode(z)), judge_features(x_test))"))
