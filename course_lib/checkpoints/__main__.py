"""Retrain shipped weights.   python -m course_lib.checkpoints [NAME ...]    (all of them, if none is named)"""

import inspect
import sys

from course_lib.checkpoint import FOLDER, save
from course_lib.checkpoints import recipes


def main(names: list[str]) -> None:
    known = {k: f for k, f in vars(recipes).items()
             if inspect.isfunction(f) and f.__module__ == recipes.__name__ and not k.startswith("_")}
    unknown = [n for n in names if n not in known]
    if unknown:
        sys.exit(f"there is no recipe {unknown[0]!r}: choose from {', '.join(known)}")
    for name in names or known:
        print(f"{name}: {inspect.getdoc(known[name]).splitlines()[0]}", flush=True)
        model, made = known[name]()
        recipe = " ".join(inspect.getdoc(known[name]).split("\n\n")[0].split())
        save(FOLDER / f"{name}.safetensors", model, recipe=recipe, **made)
        print(f"{name}: {made['metrics']} in {made['seconds']:.0f} s", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
