"""Models in files: tensors as safetensors, everything else as text beside them. Reading a file can never run code.

    save("vae.safetensors", model, recipe="...", seed=0, steps=500, seconds=41.0, metrics={"frechet": 3.1})
    model = load("judge")                    # a name: a checkpoint that travels with the package;  or a path
"""

import difflib
import hashlib
import importlib
import json
import os
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

import safetensors
import torch
from safetensors.torch import save as to_bytes
from torch import Tensor, nn

from course_lib import __version__

FOLDER = Path(__file__).parent / "checkpoints"

# kind -> the class and its configuration. Strings: a module is imported only when a checkpoint asks for it.
KINDS = {
    "pipeline": ("course_lib.pipeline", "Pipeline", "PipelineConfig"),
    "convnet": ("course_lib.convnet", "ConvNet", "ConvNetConfig"),
    "class_gaussians": ("course_lib.gaussians", "ClassGaussians", "ClassGaussiansConfig"),
    "gaussian_mixture": ("course_lib.gaussians", "GaussianMixture", "GaussianMixtureConfig"),
    "vae": ("course_lib.vae", "VAE", "VAEConfig"),
    "mixture_vae": ("course_lib.vae", "MixtureVAE", "MixtureVAEConfig"),
    "vqvae": ("course_lib.vqvae", "VQVAE", "VQVAEConfig"),
    "pca": ("course_lib.autoencoder", "PCA", "PCAConfig"),
    "autoencoder": ("course_lib.autoencoder", "Autoencoder", "AutoencoderConfig"),
    "mae": ("course_lib.masked", "MAE", "MAEConfig"),
    "masked_codes": ("course_lib.masked", "MaskedCodes", "MaskedCodesConfig"),
    "training_digits": ("course_lib.baselines", "TrainingDigits", "TrainingDigitsConfig"),
    "noise": ("course_lib.baselines", "Noise", "NoiseConfig"),
    "kept": ("course_lib.baselines", "Kept", "KeptConfig"),
    "gan": ("course_lib.dcgan", "Generator", "GANConfig"),
    "reader": ("course_lib.reader", "Reader", "ReaderConfig"),
    "latents": ("course_lib.text_to_image", "Latents", "LatentsConfig"),
    "text_to_image": ("course_lib.text_to_image", "TextToImage", "TextToImageConfig"),
    "clip": ("course_lib.clip", "CLIP", "CLIPConfig"),
    "unclip": ("course_lib.unclip", "UnCLIP", "UnCLIPConfig"),
    "video": ("course_lib.video", "Video", "VideoConfig"),
    "adapter": ("course_lib.lora", "Adapter", "AdapterConfig"),
    "listener": ("course_lib.listener", "Listener", "ListenerConfig"),
    "sound_flow": ("course_lib.sound_flow", "SoundFlow", "SoundFlowConfig"),
    "gpt": ("course_lib.gpt", "GPT", "GPTConfig"),
    "image_gpt": ("course_lib.tokens", "ImageGPT", "ImageGPTConfig"),
}


class CheckpointError(RuntimeError):
    """A file that is missing, damaged, or not one of ours. The message is one line that says what to do."""


def names() -> list[str]:
    """The names of all checkpoints that travel with the package."""
    return sorted(p.stem for p in FOLDER.glob("*.safetensors"))


def save(path: str | Path, model: nn.Module, *, recipe: str, seed: int, steps: int, seconds: float,
         metrics: dict[str, float], **more) -> None:
    """Write `model` (one of KINDS, with its dataclass as `model.config`) and how it was made. The file appears whole or
    not at all. Of a compiled model or a DataParallel, what is inside is written.
    metrics: measured numbers by name;  more: anything else that JSON can hold."""
    path = Path(path)
    if path.suffix != ".safetensors":
        raise ValueError(f"{str(path)!r} must end in .safetensors: other names are those of shipped checkpoints")
    while (inside := getattr(model, "_orig_mod", getattr(model, "module", None))) is not None:
        model = inside
    kind = next((k for k, (module, cls, _) in KINDS.items()
                 if (module, cls) == (type(model).__module__, type(model).__name__)), None)
    if kind is None:
        raise ValueError(f"{type(model).__name__} has no entry in course_lib.checkpoint.KINDS: add one")
    tensors = {k: v.detach().cpu().contiguous() for k, v in model.state_dict().items()}
    info = dict(kind=kind, config=asdict(model.config), recipe=recipe, seed=seed, steps=steps, seconds=seconds,
                library=__version__, metrics=metrics, sha256=fingerprint(tensors, asdict(model.config)), **more)
    try:
        text = json.dumps(info, sort_keys=True, allow_nan=False)
    except (TypeError, ValueError) as e:
        raise ValueError(f"JSON cannot hold what was said of {path.name} ({e}): give plain, finite numbers") from None
    part = path.with_name(path.name + ".part")
    try:
        part.write_bytes(to_bytes(tensors, {"course": text}))
        os.replace(part, path)
    except OSError as e:
        with suppress(OSError):
            part.unlink()
        raise CheckpointError(f"cannot write {path}: {e.strerror or e}. Nothing was changed; free some space or choose "
                              f"another folder") from None


def load(name: str | Path, device: torch.device | str = "cpu") -> nn.Module:
    """The model of a checkpoint, in eval mode: a shipped one by its name, any other by the path of its file.

    Shapes and the hash of the weights are verified.  Raises CheckpointError in one line for an unknown name and for a
    damaged or foreign file."""
    path, info, tensors = _read(name)
    if info.get("kind") not in KINDS:
        raise CheckpointError(f"{path.name} holds a model of kind {info.get('kind')!r}, which course_lib {__version__} "
                              f"does not know: update the package")
    if fingerprint(tensors, info.get("config")) != info.get("sha256"):
        raise CheckpointError(f"{path.name} is damaged: its content does not match its hash. Get the file again, or "
                              f"run make checkpoints NAME={path.stem}")
    module, cls, config = KINDS[info["kind"]]
    module = importlib.import_module(module)
    try:
        model = getattr(module, cls)(getattr(module, config)(**info["config"]))
        kept = next((t.dtype for t in tensors.values() if t.is_floating_point()), torch.float32)
        model.to(kept if kept.itemsize > 2 else torch.float32)     # 16 bits only save space in the file
        model.load_state_dict(tensors)
    except (TypeError, ValueError, RuntimeError) as e:
        reason = " ".join(str(e).split())[:200]
        raise CheckpointError(f"{path.name} does not fit {cls} of this version of course_lib: {reason}") from None
    return model.to(device, memory_format=torch.channels_last).eval()         # a U-Net draws a fifth faster on a CPU


def metadata(name: str | Path) -> dict:
    """What a checkpoint says of itself: kind, config, recipe, seed, steps, seconds, library, metrics, sha256, ..."""
    return _read(name, with_tensors=False)[1]


def _read(name: str | Path, with_tensors: bool = True) -> tuple[Path, dict, dict[str, Tensor]]:
    path = Path(name)
    if path.suffix != ".safetensors":
        if str(name) not in names():
            near = difflib.get_close_matches(str(name), names(), n=1, cutoff=0.3)
            raise CheckpointError(f"there is no checkpoint {str(name)!r}" +
                                  (f": did you mean {near[0]!r}?" if near else f": choose one of {', '.join(names())}"))
        path = FOLDER / f"{name}.safetensors"
    if not path.is_file():
        raise CheckpointError(f"there is no file {path}")
    try:
        with safetensors.safe_open(path, "pt") as f:
            text = (f.metadata() or {}).get("course")
            tensors = {k: f.get_tensor(k) for k in f.keys()} if with_tensors else {}
    except (OSError, safetensors.SafetensorError) as e:
        raise CheckpointError(f"{path.name} is damaged or no safetensors file ({e}): get it again") from None
    try:
        info = json.loads(text)
    except (TypeError, ValueError):
        raise CheckpointError(f"{path.name} is a safetensors file of something else: choose another") from None
    return path, info, tensors


def fingerprint(tensors: dict[str, Tensor], config: dict) -> str:
    """One hash of the configuration and of all names, shapes, types and values."""
    h = hashlib.sha256(json.dumps(config, sort_keys=True).encode())
    for name in sorted(tensors):
        t = tensors[name]
        h.update(f"{name} {tuple(t.shape)} {t.dtype}".encode())
        h.update(t.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return h.hexdigest()
