"""Real networks of timm, torchvision and transformers: built by name, fitted, exported, mistakes explained."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import pytest
import pytorch_lightning as pl
import timm
import torch
import transformers
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from lightning_distill import DeiTDistiller, Distiller
from lightning_distill.models import (
    Preprocessing,
    TwoHeadStudent,
    timm_model,
    torchvision_model,
    transformers_model,
)
from lightning_distill.models.from_torchvision import adapt
from lightning_distill.models.pretrained import explained_download
from lightning_distill.types import as_logits
from lightning_distill.weights import load_weights

BERT = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
VIT = {**BERT, "patch_size": 8}
RESNET = {"hidden_sizes": [8, 16], "depths": [1, 1], "embedding_size": 8}
MAKERS: dict[str, Any] = {
    "timm-cnn": partial(timm_model, "test_resnet", num_classes=5, img_size=32),
    "timm-vit": partial(timm_model, "test_vit", num_classes=5, img_size=32),
    "torchvision": partial(torchvision_model, "shufflenet_v2_x0_5", num_classes=5, img_size=32),
    "torchvision-conv-head": partial(torchvision_model, "squeezenet1_1", num_classes=5),
    "transformers-vit": partial(transformers_model, "vit", num_labels=5, num_channels=3, image_size=32, **VIT),
    "transformers-cnn": partial(transformers_model, "resnet", num_labels=5, num_channels=3, image_size=32, **RESNET),
}


def images(channels: int = 3, size: int = 32) -> torch.Tensor:
    return torch.rand(4, channels, size, size, generator=torch.Generator().manual_seed(0))


def fit_two_batches(distiller: pl.LightningModule, inputs: torch.Tensor, folder: Path) -> None:
    data = TensorDataset(inputs.repeat(2, 1, 1, 1), torch.arange(8) % 5)
    loader = DataLoader(data, batch_size=4)
    trainer = pl.Trainer(
        max_epochs=1, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, default_root_dir=folder,
    )  # fmt: skip
    trainer.fit(distiller, loader, loader)
    assert trainer.global_step == 2
    assert torch.isfinite(trainer.callback_metrics["train/loss"])


def changed(network: nn.Module, before: dict[str, torch.Tensor]) -> bool:
    return any(not torch.equal(value, before[name]) for name, value in network.state_dict().items())


def copied(network: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in network.state_dict().items()}


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("deit", [False, True], ids=["classic", "deit"])
def test_fit__two_batches(name: str, deit: bool, tmp_path: Path) -> None:
    torch.manual_seed(0)
    student, teacher = MAKERS[name](), MAKERS[name]()
    if deit:
        student = TwoHeadStudent(student, 5, images())
    optimizer = partial(torch.optim.SGD, lr=0.01)
    kind = DeiTDistiller if deit else Distiller
    distiller = kind(student, teacher, optimizer=optimizer, example_input=images()[:2])
    before, fixed = copied(student), copied(teacher)
    fit_two_batches(distiller, images(), tmp_path)
    assert changed(student, before)
    assert not changed(teacher, fixed)


@pytest.mark.slow
def test_timm__distilled_deit_end_to_end(tmp_path: Path) -> None:
    """timm's own two-head transformer: trained, saved in three forms, and read back to the same answers."""
    torch.manual_seed(0)
    student = timm_model("deit_tiny_distilled_patch16_224", num_classes=5, img_size=32, depth=2)
    distiller = DeiTDistiller(
        student, MAKERS["timm-cnn"](), optimizer=partial(torch.optim.AdamW, lr=1e-3), example_input=images()[:2]
    )
    fit_two_batches(distiller, images(), tmp_path)
    distiller.eval()
    expected = distiller(images())
    for suffix in (".pt2", ".onnx", ".safetensors"):
        distiller.save(tmp_path / f"student{suffix}")
    program = torch.export.load(tmp_path / "student.pt2").module()
    torch.testing.assert_close(program(images()), expected, rtol=1e-4, atol=1e-5)
    import onnxruntime

    session = onnxruntime.InferenceSession(tmp_path / "student.onnx", providers=["CPUExecutionProvider"])
    (answer,) = session.run(None, {"inputs": images().numpy()})
    torch.testing.assert_close(torch.from_numpy(answer), expected, rtol=1e-4, atol=1e-4)
    again = timm_model("deit_tiny_distilled_patch16_224", num_classes=5, img_size=32, depth=2)
    load_weights(again, tmp_path / "student.safetensors")
    assert torch.equal(again.eval()(images()), expected)  # timm's own output in eval mode: the average


@pytest.mark.parametrize("make", [timm_model, torchvision_model])
@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v3_small"])
def test_grey__one_channel(make: Any, name: str) -> None:
    name = "mobilenetv3_small_050" if make is timm_model and name.startswith("mobile") else name
    network = make(name, num_classes=5, in_chans=1).eval()
    assert network(images(channels=1)).shape == (4, 5)


def test_grey__pretrained_weights_are_summed() -> None:
    """A grey image gives what the same image in three equal channels gives."""
    torch.manual_seed(0)
    colour, grey = (torchvision_model("squeezenet1_1", num_classes=7, in_chans=c).eval() for c in (3, 1))
    adapt("squeezenet1_1", grey, colour.state_dict(), in_chans=1)
    one = images(channels=1)
    torch.testing.assert_close(grey(one), colour(one.expand(-1, 3, -1, -1)), rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_torchvision__vision_transformer_at_another_size() -> None:
    torch.manual_seed(0)
    tiny = {"num_classes": 3, "image_size": 32}
    network = torchvision_model("vit_b_32", num_classes=3, img_size=64)
    assert network.image_size == 64
    weights = torchvision_model("vit_b_32", **tiny).state_dict()
    adapt("vit_b_32", network, weights, in_chans=3)
    assert network.encoder.pos_embedding.shape[1] == 5
    assert torch.equal(network.conv_proj.weight, weights["conv_proj.weight"])


def test_torchvision__pretrained_from_its_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file that a download leaves, at the place where it leaves it."""
    from torchvision.models import get_model_weights

    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path))
    torch.manual_seed(0)
    source = torchvision_model("squeezenet1_1")
    file = tmp_path / "checkpoints" / Path(get_model_weights("squeezenet1_1").DEFAULT.url).name
    file.parent.mkdir()
    torch.save(source.state_dict(), file)
    same = torchvision_model("squeezenet1_1", pretrained=True)
    assert not changed(same, source.state_dict())
    assert same.preprocessing == Preprocessing((0.485, 0.456, 0.406), (0.229, 0.224, 0.225), (224, 224))
    other = torchvision_model("squeezenet1_1", num_classes=5, pretrained=True)
    assert torch.equal(other.features[0].weight, source.features[0].weight)
    assert other.classifier[1].out_channels == 5
    with pytest.raises(ValueError, match=r"`num_classes` to be 1000, the classes of the pretrained weights.*new_head"):
        torchvision_model("squeezenet1_1", num_classes=5, pretrained=True, new_head=False)


def test_timm__pretrained_from_a_file(tmp_path: Path) -> None:
    torch.manual_seed(0)
    source = timm_model("test_resnet")
    torch.save(source.state_dict(), tmp_path / "weights.pth")
    local = {"pretrained_cfg_overlay": {"file": str(tmp_path / "weights.pth")}}
    same = timm_model("test_resnet", pretrained=True, **local)
    assert not changed(same, source.state_dict())
    assert same.preprocessing == Preprocessing((0.5, 0.5, 0.5), (0.5, 0.5, 0.5), (160, 160))
    grey = timm_model("test_resnet", pretrained=True, in_chans=1, num_classes=5, **local)
    assert grey.preprocessing.mean == (0.5,)
    with pytest.raises(ValueError, match=r"`num_classes` to be 1000.*teacher.class_map"):
        timm_model("test_resnet", pretrained=True, num_classes=5, new_head=False, **local)


def test_timm__missing_download(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(FileNotFoundError, match=r"weights of test_resnet in .*hub.*teacher.checkpoint="):
        timm_model("test_resnet", pretrained=True, cache_dir=tmp_path)


def test_missing_download__says_where_it_was_looked_for() -> None:
    said = r"weights of resnet18 in /folder, or a network.*unknown host"
    with pytest.raises(FileNotFoundError, match=said), explained_download("resnet18", "/folder"):
        raise OSError("unknown host")


@pytest.mark.parametrize(
    ("make", "name", "near"),
    [
        (timm_model, "resnet81", "resnet18"),
        (timm_model, "deit_tiny_distiled_patch16_224", "deit_tiny_distilled_patch16_224"),
        (torchvision_model, "resnet19", "resnet18"),
        (torchvision_model, "lraspp_mobilenet", "lraspp_mobilenet_v3_large"),
        (transformers_model, "bertt", "bert"),
        (transformers_model, "distillbert", "distilbert"),
    ],
)
def test_unknown_name__names_the_nearest(make: Any, name: str, near: str) -> None:
    with pytest.raises(ValueError, match=rf"Expected `model_name` .* but got '{name}'. Near it: .*{near}"):
        make(name)


def test_unknown_argument() -> None:
    with pytest.raises(ValueError, match=r"timm's test_resnet to take wdth=2.*unexpected keyword argument 'wdth'"):
        timm_model("test_resnet", wdth=2)
    with pytest.raises(ValueError, match=r"torchvision's resnet18 to take wdth=2"):
        torchvision_model("resnet18", wdth=2)
    with pytest.raises(ValueError, match=r"configuration of bert, but got `hidden_sise`. Near it: hidden_size"):
        transformers_model("bert", hidden_sise=16)


def test_timm__patches_that_do_not_divide_the_image() -> None:
    with pytest.raises(ValueError, match=r"multiple of the patches of test_vit, 16, but got 28.*patch_size"):
        timm_model("test_vit", img_size=28)
    assert timm_model("test_vit", img_size=28, patch_size=7, num_classes=2).eval()(images(size=28)).shape == (4, 2)


def test_torchvision__first_layer_that_cannot_be_replaced() -> None:
    model = torchvision_model("squeezenet1_1", num_classes=2)
    weights = {**model.state_dict(), "features.3.squeeze.weight": torch.zeros(16, 64, 3, 3)}
    with pytest.raises(ValueError, match=r"pretrained weights of squeezenet1_1 to fit.*features\.3\.squeeze\.weight"):
        adapt("squeezenet1_1", model, weights, in_chans=3)


def test_torchvision__segmentation_downloads_nothing() -> None:
    network = torchvision_model("lraspp_mobilenet_v3_large", num_classes=4).eval()
    assert as_logits(network(images())).shape == (4, 4, 32, 32)


def test_transformers__text_and_images() -> None:
    torch.manual_seed(0)
    bert = transformers_model("bert", num_labels=3, vocab_size=30, image_size=32, num_channels=3, **BERT).eval()
    tokens = {"input_ids": torch.ones(2, 6, dtype=torch.long), "attention_mask": torch.ones(2, 6, dtype=torch.long)}
    assert bert(**tokens).logits.shape == (2, 3)
    assert not hasattr(bert.config, "image_size")
    vit = MAKERS["transformers-vit"]()
    assert isinstance(vit, transformers.ViTForImageClassification)
    assert vit.config.image_size == 32


def test_transformers__pretrained_from_a_folder(tmp_path: Path) -> None:
    torch.manual_seed(0)
    source = MAKERS["transformers-vit"]()
    source.save_pretrained(tmp_path)
    processor = transformers.ViTImageProcessor(
        size={"height": 32, "width": 32}, image_mean=[0.1] * 3, image_std=[0.2] * 3
    )
    processor.save_pretrained(tmp_path)
    same = transformers_model(str(tmp_path), pretrained=True, num_labels=5)
    assert not changed(same, source.state_dict())
    assert same.preprocessing == Preprocessing((0.1,) * 3, (0.2,) * 3, (32, 32))
    other = transformers_model(str(tmp_path), pretrained=True, num_labels=2)
    assert other.classifier.out_features == 2
    assert torch.equal(other.vit.layernorm.weight, source.vit.layernorm.weight)
    with pytest.raises(ValueError, match=r"`num_classes` to be 5"):
        transformers_model(str(tmp_path), pretrained=True, num_labels=2, new_head=False)
    with pytest.raises(ValueError, match=r"`num_channels` to be 3.*but got 1"):
        transformers_model(str(tmp_path), pretrained=True, num_labels=5, num_channels=1)


def test_transformers__missing_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(FileNotFoundError, match=r"weights of nobody/nothing-at-all in "):
        transformers_model("nobody/nothing-at-all", pretrained=True)


def test_transformers__task_that_a_network_does_not_do() -> None:
    with pytest.raises(ValueError, match=r"classifies images, but transformers has none of type 'bert'"):
        transformers_model("bert", task="image", **BERT)
    with pytest.raises(ValueError, match=r"classifies images or text, but transformers has none of type 'mimi'"):
        transformers_model("mimi")


def test_names__are_those_of_the_library() -> None:
    ours, theirs = timm_model("test_vit", num_classes=3), timm.create_model("test_vit", num_classes=3)
    assert ours.state_dict().keys() == theirs.state_dict().keys()
