"""The GANs of lesson 41 over seeds:  python benchmarks/gan_seeds.py [STEPS] [SEED ...]

A single run of a game says little. Each row is one seed of the shipped recipe with fewer rounds: Fréchet distance of
1,000 samples from the test digits with half of its 95 % interval, digits in use (exp of the entropy) and the rarest.
"""

import sys

import torch

from course_lib.checkpoints.recipes import _game
from course_lib.data import load
from course_lib.device import seeded
from course_lib.gan import class_entropy
from course_lib.metrics import bootstrap, frechet_distance, judge_features, the_judge

steps, *seeds = (int(a) for a in sys.argv[1:] or [3_000])
real = judge_features(load("digits").test.x)
print("labels  seed  seconds  Fréchet        digits in use  rarest of 1,000")
for n_class in (0, 10):
    for run in seeds or range(5):
        model, seconds = _game(n_class, steps, run)
        y = (torch.arange(1_000) % 10,) if n_class else ()
        images = model.sample(1_000, *y, generator=seeded(0))
        with torch.no_grad():
            probs = the_judge()(images).softmax(1)
        value, low, high = bootstrap(frechet_distance, judge_features(images), real)
        rarest = probs.argmax(1).bincount(minlength=10)
        print(f"{'yes' if n_class else 'no':6}  {run:4}  {seconds:7.0f}  {value:5.2f} ± {(high - low) / 2:4.2f}  "
              f"{class_entropy(probs).exp():13.2f}  {rarest.min():4} ({rarest.argmin()})", flush=True)
