"""A student that starts from layers of its teacher."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from lightning_distill.models.initialize import init_from_teacher


def block(width: int = 4) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, width), nn.BatchNorm1d(width))


def networks() -> tuple[nn.ModuleDict, nn.ModuleDict]:
    torch.manual_seed(0)
    teacher = nn.ModuleDict({"layers": nn.ModuleList(block() for _ in range(4)), "head": nn.Linear(4, 3)})
    student = nn.ModuleDict({"layers": nn.ModuleList(block() for _ in range(2)), "head": nn.Linear(4, 3)})
    for layer in teacher["layers"]:
        layer[1].running_mean.normal_()
    return student, teacher


@pytest.mark.parametrize(
    "pairs",
    [
        {"layers.0": "layers.0", "layers.1": "layers.2"},
        [("layers.0", "layers.0"), ("layers.1", "layers.2")],
        [["layers.0", "layers.0"], ["layers.1", "layers.2"]],
    ],
    ids=["mapping", "tuples", "lists"],
)
def test_init_from_teacher__every_second_layer(pairs: Any) -> None:
    student, teacher = networks()
    head = student["head"].weight.clone()
    init_from_teacher(student, teacher, pairs)
    for ours, theirs in ((0, 0), (1, 2)):
        for name, tensor in teacher["layers"][theirs].state_dict().items():
            assert torch.equal(student["layers"][ours].state_dict()[name], tensor)
    assert torch.equal(student["head"].weight, head)


def test_init_from_teacher__copies() -> None:
    student, teacher = networks()
    init_from_teacher(student, teacher, {"head": "head"})
    with torch.no_grad():
        student["head"].weight.zero_()
    assert bool((teacher["head"].weight != 0).any())


def test_init_from_teacher__bert_by_its_paths() -> None:
    import transformers

    def bert(layers: int) -> nn.Module:
        sizes = {"vocab_size": 20, "hidden_size": 8, "num_attention_heads": 2, "intermediate_size": 16}
        config = transformers.BertConfig(num_hidden_layers=layers, max_position_embeddings=8, **sizes)
        model: nn.Module = transformers.BertModel(config)
        return model

    torch.manual_seed(0)
    student, teacher = bert(2).eval(), bert(4).eval()
    init_from_teacher(
        student,
        teacher,
        {"embeddings": "embeddings", "encoder.layer.0": "encoder.layer.0", "encoder.layer.1": "encoder.layer.2"},
    )
    del teacher.encoder.layer[3], teacher.encoder.layer[1]
    ids = torch.randint(0, 20, (2, 5))
    with torch.no_grad():
        assert torch.equal(student(ids).last_hidden_state, teacher(ids).last_hidden_state)


def test_init_from_teacher__shapes_that_differ_name_both_and_change_nothing() -> None:
    student, teacher = networks()
    teacher["layers"][1] = block(5)
    before = {name: tensor.clone() for name, tensor in student.state_dict().items()}
    message = (
        r"teacher's 'layers.1' to fit the student's 'layers.1', but they differ in `0.weight` \(\[4, 4\] in the "
        r"student, \[5, 5\] in the teacher\)"
    )
    with pytest.raises(ValueError, match=message):
        init_from_teacher(student, teacher, {"layers.0": "layers.0", "layers.1": "layers.1"})
    assert all(torch.equal(tensor, before[name]) for name, tensor in student.state_dict().items())


@pytest.mark.parametrize(
    ("pairs", "error", "message"),
    [
        ({"layers.0": "head"}, ValueError, r"`0.weight` \(\[4, 4\] in the student, none in the teacher\)"),
        ({"layer.0": "layers.0"}, ValueError, "`init_from_teacher`, the student: Expected a module path .* 'layers.0'"),
        ({"layers.0": "layers.7"}, ValueError, "`init_from_teacher`, the teacher: Expected a module path"),
        (["layers.0"], TypeError, "to be {student path: teacher path}, or a list of such pairs, but got list"),
        (3, TypeError, "but got int: 3"),
        ([("layers.0",)], TypeError, "or a list of such pairs"),
    ],
)
def test_init_from_teacher__refuses(pairs: Any, error: type[Exception], message: str) -> None:
    student, teacher = networks()
    with pytest.raises(error, match=message):
        init_from_teacher(student, teacher, pairs)
