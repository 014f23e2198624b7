"""What the grader asks the kernel of a submission. This text is sent with each question and run in a namespace of its
own, so that no name in it can be bound to something else before; whoever has changed Python itself can still lie. Each
function returns base64, in which no hostile text can hide.
"""

import base64
import builtins
import functools
import importlib
import json
import marshal
import sys
import types

from IPython import get_ipython


def packed(value) -> str:
    return base64.b64encode(json.dumps(value).encode()).decode()


# --- what a test cell needs

def set_aside(names: list[str], imports: str, definitions: str) -> str:
    """Bind the names that a test cell reads to what the given cells say, or to what is built into Python, until
    `set_back`.  -> those that were bound to what might deceive"""
    mine, given = get_ipython().user_ns, {}
    exec(imports, given)
    del given["__builtins__"]
    other = [name for name, thing in given.items() if mine.get(name, thing) is not thing]
    get_ipython().aside = {name: mine[name] for name in names if name in mine}
    for name in names:
        if hasattr(builtins, name) and name in mine:
            other += [name] * callable(mine.pop(name))
    mine.update(given)
    exec(definitions, mine)
    return packed(other)


def set_back() -> str:
    get_ipython().user_ns.update(get_ipython().aside)
    return packed([])


# --- what the answers are

def tensors(module: str, name: str, answer: str, seed: int) -> str:
    """What the answer gives in the cases of a check that a seed draws, gradients too, as a file of tensors."""
    import torch
    from safetensors.torch import save
    check, fn = getattr(importlib.import_module(module), name), get_ipython().user_ns[answer]
    found = {}
    for i, case in enumerate(check.cases(torch.Generator().manual_seed(seed))):
        outcome = check.outcome(fn, case, check.outcome(check.right, case))
        found |= {f"{i} {key}": t.detach().clone(memory_format=torch.contiguous_format) for key, t in outcome.items()}
    return base64.b64encode(save(found)).decode()


def number(module: str, name: str, answer: str) -> str:
    return packed(importlib.import_module("course_lib.checks").number(name, get_ipython().user_ns[answer]))


def truth(module: str, name: str, given: str) -> str:
    """What a measurement should have given; asked of the solved notebook alone."""
    check = getattr(importlib.import_module(module), name)
    return packed(float(check.truth(*eval(given, get_ipython().user_ns))))


# --- what was changed

def foreign(x) -> bool:
    if issubclass(type(x), type):
        return x.__module__ == "__main__"
    if type(x) in (types.FunctionType, types.MethodType):
        return "ipykernel_" in x.__code__.co_filename
    return type(x).__module__ == "__main__"


def form(x, depth=9):
    """What a thing does, as values that can be compared."""
    def down(y):
        return form(y, depth - 1)
    if depth == 0:
        return None
    if type(x) in (str, bytes, int, float, bool):
        return x
    if type(x) is types.FunctionType:
        held = [cell.cell_contents for cell in x.__closure__ or ()]
        return x.__code__, down(x.__defaults__), down(x.__kwdefaults__), down(held)
    if isinstance(x, (tuple, list)):
        return [down(y) for y in x]
    if type(x) is dict:
        return {str(k): down(v) for k, v in x.items()}
    if type(x) is functools.partial:
        return down((x.func, x.args, x.keywords))
    if type(x) is functools._lru_cache_wrapper:
        return "cache", down(x.__wrapped__)
    if issubclass(type(x), type) and x.__module__.startswith("course_lib.checks"):
        return x.__qualname__, down({k: v for k, v in vars(x).items()                 # inspect and copy leave these
                                     if not k.startswith(("__annot", "__slotnames"))})
    if type(x).__name__ in ("Implementation", "Measurement"):
        return type(x), down(vars(x))
    return type(x).__qualname__, getattr(x, "__qualname__", "")


STATE = [f"course_lib.checks.{name}" for name in ("_last", "_right", "_shown", "_output")]      # what hint() goes by


def differences(name: str, module, code: str):
    """What a module of ours is, and what its file says."""
    new = {"__name__": name, "__file__": module.__file__}
    exec(marshal.loads(base64.b64decode(code)), new)
    for key in {*new, *vars(module)}:
        mine, right = vars(module).get(key), new.get(key)
        if not (key.startswith("__") or f"{name}.{key}" in STATE or type(mine) is types.ModuleType) and (
                form(mine) != form(right)):
            yield f"{name}.{key}"


def changed(checks: dict[str, str]) -> str:
    """What the submission has changed in IPython or in a library. checks: module of the checks -> its compiled code"""
    shell, found = get_ipython(), set()
    for name, module in list(sys.modules.items()):
        if issubclass(type(module), types.ModuleType) and vars(module) is not shell.user_ns:
            for key, value in list(vars(module).items()):
                if foreign(value) and key not in ("last_type", "last_value", "last_exc"):      # of sys: an own error
                    found.add(f"{name}.{key}")
                if issubclass(type(value), type) and value.__module__ == name:
                    found.update(f"{name}.{key}.{k}" for k, v in list(vars(value).items()) if foreign(v))
            if name in checks:
                found.update(differences(name, module, checks[name]))
    for name, thing in {"get_ipython()": shell, "get_ipython().kernel": shell.kernel}.items():
        found.update(f"{name}.{k}" for k, v in list(vars(thing).items()) if foreign(v))
    for name in ("ast_transformers", "input_transformers_cleanup", "input_transformers_post"):
        entries = getattr(shell, name)
        if any(not (getattr(f, "__module__", None) or type(f).__module__).startswith("IPython.") for f in entries):
            found.add(f"get_ipython().{name}")
    found.update(f"get_ipython().events, {k}" for k, v in shell.events.callbacks.items() if any(map(foreign, v)))
    if sys.gettrace() or sys.getprofile():
        found.add("sys.settrace or sys.setprofile")
    for key, value in shell.user_ns.items():         # the right answers stand in the checks
        if type(value) is types.FunctionType and value.__module__.startswith("course_lib.checks") and key != "hint":
            found.add(f"{key}, which is taken from the checks")
    return packed(sorted(found)[:20])
