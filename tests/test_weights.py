"""Weights from files of many kinds, or a message that says what does not fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
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
