"""Checkpoints: what goes in comes out, and whatever is wrong with a file is said in one line."""

import json
from dataclasses import dataclass

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from course_lib import __version__, checkpoint
from course_lib.checkpoint import CheckpointError, load, metadata, names, save

HOW = dict(recipe="two layers, untrained", seed=3, steps=0, seconds=0.0, metrics={"accuracy": 0.1})


@dataclass
class TinyConfig:
    width: int = 4


class Tiny(nn.Module):
    def __init__(self, config: TinyConfig):
        super().__init__()
        self.config = config
        self.linear = nn.Linear(3, config.width)
        self.register_buffer("count", torch.tensor(7))


@pytest.fixture(autouse=True)
def known(monkeypatch):
    monkeypatch.setitem(checkpoint.KINDS, "tiny", (__name__, "Tiny", "TinyConfig"))


@pytest.fixture
def saved(tmp_path):
    model = Tiny(TinyConfig(width=5))
    save(tmp_path / "tiny.safetensors", model, **HOW, note="extra")
    return tmp_path / "tiny.safetensors", model


def one_line(error):
    return "\n" not in str(error.value) and len(str(error.value)) < 400


def test_what_goes_in_comes_out(saved):
    path, model = saved
    again = load(path)
    assert again.config == TinyConfig(width=5) and not again.training
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), again.state_dict().values()))
    info = metadata(path)
    assert info["kind"] == "tiny" and info["library"] == __version__ and info["note"] == "extra"
    assert {k: info[k] for k in HOW} == HOW


def test_kernels_are_laid_out_as_a_processor_likes_them():
    kernels = [p for p in load("judge").parameters() if p.ndim == 4]
    assert kernels and all(k.is_contiguous(memory_format=torch.channels_last) for k in kernels)


def test_the_same_model_gives_the_same_bytes(saved, tmp_path):
    path, model = saved
    save(tmp_path / "again.safetensors", model, **HOW, note="extra")
    assert (tmp_path / "again.safetensors").read_bytes() == path.read_bytes()


@pytest.mark.parametrize("keep", [0, 4, 60, -1])
def test_a_truncated_file_is_refused(saved, keep):
    path, _ = saved
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(CheckpointError, match="tiny.safetensors is damaged") as error:
        load(path)
    assert one_line(error)


def test_one_flipped_bit_in_the_weights_is_noticed(saved):
    path, _ = saved
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match="does not match its hash.*make checkpoints NAME=tiny"):
        load(path)


def rewritten(path, **changes):
    """The same weights with an edited description."""
    info = metadata(path) | changes
    save_file(load_file(path), path, {"course": json.dumps(info)})


def test_an_edited_configuration_is_noticed(saved):
    rewritten(saved[0], config={"width": 6})
    with pytest.raises(CheckpointError, match="does not match its hash"):
        load(saved[0])


def test_a_kind_from_the_future_is_named(saved):
    rewritten(saved[0], kind="teleporter")
    with pytest.raises(CheckpointError, match="kind 'teleporter'.*update the package"):
        load(saved[0])


@pytest.mark.parametrize("config", [{"width": 6}, {"breadth": 5}])
def test_weights_that_do_not_fit_the_class_are_refused(saved, config):
    path, _ = saved
    rewritten(path, config=config, sha256=checkpoint.fingerprint(load_file(path), config))
    with pytest.raises(CheckpointError, match="does not fit Tiny") as error:
        load(path)
    assert one_line(error)


def test_a_foreign_safetensors_file_is_refused(tmp_path):
    save_file({"w": torch.zeros(2)}, tmp_path / "other.safetensors")
    with pytest.raises(CheckpointError, match="a safetensors file of something else"):
        load(tmp_path / "other.safetensors")


def test_a_pickle_is_never_opened(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (open, (str(tmp_path / "exploded"), "w"))
    torch.save(Bomb(), tmp_path / "bomb.safetensors")
    with pytest.raises(CheckpointError, match="no safetensors file"):
        load(tmp_path / "bomb.safetensors")
    assert not (tmp_path / "exploded").exists()


def test_unknown_names_suggest_the_nearest(tmp_path):
    assert "judge" in names()
    with pytest.raises(CheckpointError, match="no checkpoint 'juge': did you mean 'judge'"):
        load("juge")
    with pytest.raises(CheckpointError, match="there is no file"):
        load(tmp_path / "gone.safetensors")


def test_a_failed_save_leaves_the_old_file_whole(saved, monkeypatch):
    path, model = saved
    before = path.read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")
    monkeypatch.setattr(checkpoint.os, "replace", full)
    with pytest.raises(CheckpointError, match="No space left on device. Nothing was changed"):
        save(path, Tiny(TinyConfig()), **HOW)
    assert path.read_bytes() == before and [p.name for p in path.parent.iterdir()] == ["tiny.safetensors"]


def test_a_folder_that_does_not_exist_is_named(tmp_path):
    with pytest.raises(CheckpointError, match="cannot write .*nowhere"):
        save(tmp_path / "nowhere" / "a.safetensors", Tiny(TinyConfig()), **HOW)


def test_shipped_checkpoints_are_small_and_whole():
    sizes = {n: (checkpoint.FOLDER / f"{n}.safetensors").stat().st_size for n in names()}
    assert max(sizes.values()) <= 5e6 and sum(sizes.values()) <= 90e6, sizes
    for name in names():
        assert load(name) is not None
        assert {"recipe", "seed", "steps", "seconds", "metrics", "library"} <= metadata(name).keys()
