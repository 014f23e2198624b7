"""Retrain shipped weights.   python -m course_lib.checkpoints [NAME ...]    (all of them, if none is named)"""

import importlib
import inspect
import pkgutil
import sys
from collections.abc import Callable

from course_lib import checkpoints
from course_lib.checkpoint import FOLDER, save


def recipes() -> dict[str, Callable]:
    """Every recipe by its name, in the order of the course."""
    modules = [importlib.import_module(f"{checkpoints.__name__}.{info.name}")
               for info in pkgutil.iter_modules(checkpoints.__path__) if info.name.startswith("part")]
    return {name: f for module in modules for name, f in vars(module).items()
            if inspect.isfunction(f) and f.__module__ == module.__name__ and not name.startswith("_")
            and not inspect.signature(f).parameters}


def main(names: list[str]) -> None:
    known = recipes()
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
