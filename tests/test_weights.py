"""Weights from files of many kinds, or a message that says what does not fit."""

from __future__ import annotations

import argparse
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from safetensors.torch import load_file
from torch import nn

from lightning_distill.weights import load_weights, misfits, read_metadata, read_weights, save_weights


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3))


def prefixed(state: dict[str, Any], prefix: str) -> dict[str, Any]:
    return {f"{prefix}{name}": tensor for name, tensor in state.items()}


FORMS: dict[str, Any] = {
    "plain": lambda state: state,
    "lightning": lambda state: {"state_dict": prefixed(state, "student.") | {"teacher.x": torch.ones(1)}, "epoch": 3},
    "ddp": lambda state: {"model_state_dict": prefixed(state, "module.")},
    "compiled": lambda state: {"model": prefixed(state, "_orig_mod.")},
    "both": lambda state: {"state_dict": prefixed(state, "model.module.")},
}


@pytest.mark.parametrize("form", FORMS)
def test_load__drops_what_others_put_before_the_names(form: str, tmp_path: Path) -> None:
    state = {name: tensor + 1 for name, tensor in network().state_dict().items()}
    torch.save(FORMS[form](state), tmp_path / "file.pt")
    model = network()
    load_weights(model, tmp_path / "file.pt")
    assert all(torch.equal(tensor, state[name]) for name, tensor in model.state_dict().items())


def test_load__names_that_look_like_a_prefix_are_kept(tmp_path: Path) -> None:
    model = nn.ModuleDict({"model": nn.Linear(2, 2), "head": nn.Linear(2, 2)})
    save_weights(model, tmp_path / "file.safetensors")
    load_weights(model, tmp_path / "file.safetensors")


def test_save__keeps_metadata_and_replaces_whole(tmp_path: Path) -> None:
    path = tmp_path / "new" / "file.safetensors"
    save_weights(network(), path, metadata={"recipe": {"seed": 1}})
    save_weights(network(), path, metadata={"recipe": {"seed": 2}})
    assert read_metadata(path) == {"recipe": {"seed": 2}}
    assert [entry.name for entry in path.parent.iterdir()] == ["file.safetensors"]


def test_save__of_shared_tensors(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    model[1].weight = model[0].weight
    save_weights(model, tmp_path / "file.safetensors")
    assert set(load_file(tmp_path / "file.safetensors")) == set(model.state_dict())


def test_misfits__counts_and_names_the_first_few() -> None:
    wanted = {f"layer{i}": torch.ones(1) for i in range(5)} | {"same": torch.ones(2)}
    assert misfits({"same": torch.ones(3), "other": torch.ones(1)}, wanted) == [
        "5 are missing (layer0, layer1, layer2, ...)",
        "1 is not needed (other)",
        "1 has another shape (same: [3] in the file, [2] in the network)",
    ]
    assert misfits(wanted, wanted) == []


def test_load__that_does_not_fit_changes_nothing(tmp_path: Path) -> None:
    save_weights(nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(2)), tmp_path / "file.safetensors")
    model = network()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(ValueError, match=r"to fit the teacher, a Sequential, but 4 have another shape \(1\.weight"):
        load_weights(model, tmp_path / "file.safetensors", role="teacher")
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


class Surprise:
    """An object that runs code when it is unpickled."""

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return print, ("this must not be printed",)


def test_read__runs_no_code(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"weight": torch.ones(1), "surprise": Surprise()}, tmp_path / "file.pt")
    with pytest.raises(ValueError, match="holds objects besides tensors") as raised:
        read_weights(tmp_path / "file.pt")
    assert "weights_only" not in str(raised.value)
    assert capsys.readouterr().out == ""


def test_read__names_what_a_file_needs(tmp_path: Path) -> None:
    torch.save({"model": network().state_dict(), "opt": argparse.Namespace(lr=0.1)}, tmp_path / "last.pth")
    with pytest.raises(ValueError, match=r"besides tensors and plain values, argparse.Namespace among them"):
        read_weights(tmp_path / "last.pth")


def lightning_checkpoint(folder: Path, **networks: nn.Module) -> Path:
    """What Lightning writes for a module that holds these networks."""

    class Project(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            for name, module in networks.items():
                setattr(self, name, module)

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            return sum(module(batch[0]).sum() for module in networks.values())

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.9)

    data = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(torch.randn(4, 4)), batch_size=4)
    trainer = pl.Trainer(
        max_epochs=1, accelerator="cpu", logger=False, enable_progress_bar=False, default_root_dir=folder
    )
    trainer.fit(Project(), data)
    trainer.save_checkpoint(folder / "project.ckpt")
    return folder / "project.ckpt"


def equal(model: nn.Module, other: nn.Module) -> bool:
    state = other.state_dict()
    return all(torch.equal(value, state[name]) for name, value in model.state_dict().items())


def other_network() -> nn.Sequential:
    return nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3))


def test_lightning_checkpoint__the_network_that_fits_is_found(tmp_path: Path) -> None:
    encoder, model = nn.Linear(4, 9), network()
    path = lightning_checkpoint(tmp_path, encoder=encoder, classifier=nn.ModuleDict({"inner": model})["inner"])
    loaded = other_network()
    load_weights(loaded, path)
    assert equal(loaded, model)


def test_lightning_checkpoint__two_that_fit_have_to_be_told_apart(tmp_path: Path) -> None:
    first, second = network(), other_network()
    path = lightning_checkpoint(tmp_path, first=first, second=second)
    loaded = other_network()
    with pytest.raises(ValueError, match=r"but 2 do: 'first', 'second'. Name one as `submodule`"):
        load_weights(loaded, path)
    for name, source in (("first", first), ("second", second)):
        load_weights(loaded, path, submodule=name)
        assert equal(loaded, source)
    with pytest.raises(ValueError, match=r"but got 'third'. At the top it holds .*state_dict"):
        load_weights(loaded, path, submodule="third")


def test_load__averaged_weights_by_their_key(tmp_path: Path) -> None:
    """As timm writes them: the last weights under one key, their average under another."""
    last, average = network(), other_network()
    content = {"epoch": 3, "state_dict": last.state_dict(), "state_dict_ema": average.state_dict()}
    torch.save(content, tmp_path / "file.pth")
    loaded = other_network()
    load_weights(loaded, tmp_path / "file.pth")
    assert equal(loaded, last)
    load_weights(loaded, tmp_path / "file.pth", submodule="state_dict_ema")
    assert equal(loaded, average)


def test_load__into_a_network_that_is_wrapped_here(tmp_path: Path) -> None:
    source, wrapped = network(), nn.Sequential(OrderedDict(inner=other_network()))
    torch.save(source.state_dict(), tmp_path / "file.bin")
    load_weights(wrapped, tmp_path / "file.bin")
    assert equal(wrapped.inner, source)


def test_load__another_number_of_classes(tmp_path: Path) -> None:
    torch.manual_seed(0)
    source, target = (nn.Sequential(nn.Linear(4, 3), nn.Linear(3, classes)) for classes in (7, 2))
    torch.save(source.state_dict(), tmp_path / "file.pt")
    before = target[1].weight.clone()
    said = r"Only the classifier differs: the file's tells 7 classes apart, the network's 2.*drop_head"
    with pytest.raises(ValueError, match=said):
        load_weights(target, tmp_path / "file.pt")
    load_weights(target, tmp_path / "file.pt", drop_head=True)
    assert torch.equal(target[0].weight, source[0].weight)
    assert torch.equal(target[1].weight, before)


def test_load__drop_head_does_not_hide_another_difference(tmp_path: Path) -> None:
    source, target = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 7)), nn.Sequential(nn.Linear(4, 5), nn.Linear(5, 2))
    torch.save(source.state_dict(), tmp_path / "file.pt")
    with pytest.raises(ValueError, match="4 have another shape"):
        load_weights(target, tmp_path / "file.pt", drop_head=True)


@pytest.mark.parametrize("name", ["file.pt", "file.safetensors"])
@pytest.mark.parametrize("content", [b"", b"text", b"alpha: 0.1\n", bytes(range(256))])
def test_read__file_of_another_kind(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match="it cannot be read"):
        read_weights(tmp_path / name)


def test_read__missing_or_empty(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="there is no such file"):
        read_weights(tmp_path / "file.pt")
    torch.save({"epoch": 3}, tmp_path / "file.pt")
    with pytest.raises(ValueError, match="to hold a network's weights by name, but got a dict with the keys 'epoch'"):
        read_weights(tmp_path / "file.pt")
