"""The section "In the wild" of a lesson names parts of other libraries: they exist, where the library is installed.

A lesson with such a section has a line in NAMES: every name that its code and text use, as library:name (a part of a
class after a dot). What its code imports must be among them, so that a line cannot be forgotten.
"""

import ast
import importlib
import re
from operator import attrgetter

import pytest

from authoring import build

GAUSSIAN = "diffusers.models.autoencoders.vae:DiagonalGaussianDistribution"            # what AutoencoderKL.encode gives
NAMES = {                                                          # lesson -> names
    "00_start_here": "torch.nn.functional:binary_cross_entropy_with_logits torch.optim:AdamW "
                     "torch.utils.data:DataLoader torch.utils.data:TensorDataset",
    "11_softmax_and_mlp": "torch.nn.functional:cross_entropy torchvision.datasets:MNIST torchvision.ops:MLP "
                          "sklearn.neural_network:MLPClassifier",
    "12_convnet": "torchvision.models:ResNet18_Weights torchvision.models:resnet18 torchvision.models:inception_v3 "
                  "torchvision.transforms.v2:Compose torchvision.transforms.v2:ElasticTransform "
                  "torchvision.transforms.v2:RandomAffine torchvision.ops:Conv2dNormActivation",
    "13_discriminative_vs_generative": "sklearn.datasets:fetch_openml sklearn.mixture:GaussianMixture "
                                       "sklearn.discriminant_analysis:QuadraticDiscriminantAnalysis",
    "21_autoencoder": "diffusers:AutoencoderTiny.from_pretrained diffusers:AutoencoderTiny.encode "
                      "diffusers:AutoencoderTiny.decode",
    "22_self_supervised": "transformers:ViTMAEForPreTraining.from_pretrained",
    "31_vae": "torch.distributions:Normal.rsample diffusers:AutoencoderKL.from_pretrained "
              f"diffusers:AutoencoderKL.encode diffusers:AutoencoderKL.decode {GAUSSIAN}.sample {GAUSSIAN}.kl",
    "33_vq_vae": "diffusers:VQModel.from_pretrained diffusers:VQModel.encode diffusers:VQModel.decode",
    "41_gan": "diffusers:StableDiffusionUpscalePipeline.from_pretrained "
              "torch.nn.functional:binary_cross_entropy_with_logits",
    "51_attention": "torch.nn.functional:scaled_dot_product_attention torch.nn:TransformerEncoderLayer "
                    "transformers:AutoModel.from_pretrained transformers:AutoTokenizer.from_pretrained",
    "54_gpt": "transformers:GPT2LMHeadModel.from_pretrained transformers:GPT2LMHeadModel.generate "
              "transformers:AutoTokenizer.from_pretrained",
    "56_everything_is_a_token": "transformers:ImageGPTForCausalImageModeling.from_pretrained "
                                "transformers:ImageGPTForCausalImageModeling.generate",
    "61_ddpm": "diffusers:DDPMScheduler.set_timesteps diffusers:DDPMScheduler.step diffusers:UNet2DModel",
    "63_guidance": "diffusers:StableDiffusionPipeline.from_pretrained diffusers:StableDiffusionInpaintPipeline",
    "65_text_to_image": "diffusers:StableDiffusionPipeline.from_pretrained",
    "71_clip": "transformers:CLIPModel.from_pretrained transformers:CLIPProcessor.from_pretrained "
               "transformers.image_utils:load_image",
    "72_unclip": "diffusers:KandinskyV22PriorPipeline.from_pretrained diffusers:KandinskyV22PriorPipeline.interpolate "
                 "diffusers:KandinskyV22Pipeline.from_pretrained",
    "74_preferences": "datasets:load_dataset trl:DPOConfig trl:DPOTrainer trl:GRPOTrainer",
    "75_prompting": "transformers:pipeline",
    "78_video": "diffusers:MotionAdapter.from_pretrained diffusers:AnimateDiffPipeline.from_pretrained "
                "diffusers.utils:export_to_gif",
    "85_detecting_fakes": "transformers:pipeline sklearn.metrics:roc_auc_score sklearn.calibration:calibration_curve",
    "76_personalisation": "peft:LoraConfig peft:get_peft_model peft:PeftModel.print_trainable_parameters "
                          "peft:PeftModel.disable_adapter peft:LoraModel.merge_and_unload "
                          "transformers:AutoModelForCausalLM.from_pretrained",
    "77_audio": "diffusers:AudioLDM2Pipeline.from_pretrained torchaudio.transforms:GriffinLim",
    "82_bias": "diffusers:StableDiffusionPipeline.from_pretrained scipy.stats:binomtest",
    "64_flow_matching": "diffusers:FlowMatchEulerDiscreteScheduler.set_timesteps "
                        "diffusers:FlowMatchEulerDiscreteScheduler.step",
    "81_synthetic_data": "torch.utils.data:ConcatDataset torch.utils.data:DataLoader "
                         "torch.utils.data:WeightedRandomSampler diffusers:StableDiffusionPipeline.from_pretrained",
    "83_memorisation": "opacus:PrivacyEngine.make_private opacus:PrivacyEngine.get_epsilon opacus:PrivacyEngine",
    "84_watermarks": "transformers:AutoModelForCausalLM.from_pretrained transformers:AutoTokenizer.from_pretrained "
                     "transformers:WatermarkDetector transformers:WatermarkingConfig",
    "86_cost": "diffusers:AutoPipelineForText2Image.from_pretrained",
    "73_instruction_tuning": "transformers:AutoModelForCausalLM.from_pretrained "
                             "transformers:AutoTokenizer.from_pretrained trl:SFTTrainer trl:SFTConfig",
}
PAIRS = [(lesson, name) for lesson, names in NAMES.items() for name in names.split()]


def sections() -> dict[str, str]:
    """Lesson -> its section "In the wild", for lessons that have one."""
    found = {}
    for job in build.jobs(build.ROOT, "lessons", []):
        cells = build.cells_of(job.text.read_text(encoding="utf-8"))
        markdown = "\n".join(c.source for c in cells if c.cell_type == "markdown")
        if part := re.search(r"^## In the wild$(.*?)(?=^## |\Z)", markdown, flags=re.MULTILINE | re.DOTALL):
            found[job.text.stem] = part[1]
    return found


def imported(section: str) -> set[str]:
    """What the code of a section imports, as library:name; a library as a whole as library:"""
    nodes = [n for code in re.findall(r"^```python$(.*?)^```$", section, flags=re.MULTILINE | re.DOTALL)
             for n in ast.walk(ast.parse(code))]
    return {f"{n.module}:{a.name}" for n in nodes if isinstance(n, ast.ImportFrom) for a in n.names} | {
        f"{a.name}:" for n in nodes if isinstance(n, ast.Import) for a in n.names}


def test_imports_are_read_from_the_code_blocks():
    section = "import prose\n```python\nimport torch\nfrom a.b import C, d\n```\n```\nimport no\n```\n"
    assert imported(section) == {"torch:", "a.b:C", "a.b:d"}


def test_every_section_has_its_line():
    assert set(sections()) == set(NAMES)


@pytest.mark.parametrize("lesson", NAMES)
def test_the_line_and_the_section_agree(lesson):
    section, names = sections()[lesson], NAMES[lesson].split()
    assert not {i for i in imported(section) - {"torch:"} if not any(name.startswith(i) for name in names)}
    last = [re.split("[.:]", name)[-1] for name in names]
    assert not [word for word in last if not re.search(rf"\b{word}\b", section)], "a name that the section does not use"


@pytest.mark.parametrize("lesson, name", PAIRS, ids=[f"{lesson}-{name}" for lesson, name in PAIRS])
def test_the_name_exists(lesson, name):
    library, path = name.split(":")
    pytest.importorskip(library.split(".")[0])                     # it is not installed: nothing to say
    attrgetter(path)(importlib.import_module(library))
