"""A teacher that is cheaper, says what was done, and answers as before."""

from __future__ import annotations

import copy
import logging
import pickle
from functools import partial
from typing import Any

import pytest
import pytorch_lightning as pl
import timm
import torch
import torchvision
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from lightning_distill import Distiller, FrozenTeacher
from lightning_distill.distillers import Term
from lightning_distill.losses import HintLoss
from lightning_distill.models import ConvNet, SmallConvNet
from lightning_distill.taps import FeatureTaps
from lightning_distill.teachers.acceleration import TOLERANCE
from lightning_distill.teachers.fold import foldable, folded

IMAGES = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def settled(model: nn.Module) -> nn.Module:
    """With statistics and scales as after training: none of them trivial."""
    torch.manual_seed(0)
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.running_mean is not None:
            assert module.running_var is not None
            module.running_mean.normal_(std=0.2)
            module.running_var.uniform_(0.5, 2)
            if module.affine:
                nn.init.uniform_(module.weight, 0.5, 1.5)
                nn.init.normal_(module.bias)
    return model.eval()


def conv_net() -> nn.Module:
    return settled(ConvNet(10, in_channels=3, width=8))


def plain(model: nn.Module, inputs: Tensor = IMAGES) -> Tensor:
    """The network alone."""
    with torch.no_grad():
        return copy.deepcopy(model)(inputs)  # type: ignore[no-any-return]


def deviation(answer: Tensor, expected: Tensor) -> float:
    return float((answer - expected).abs().max() / expected.abs().max())


def state(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


def unchanged(before: dict[str, Tensor], module: nn.Module) -> bool:
    after = module.state_dict()
    strides = all(before[name].stride() == after[name].stride() for name in before)
    return before.keys() == after.keys() and strides and all(torch.equal(before[name], after[name]) for name in before)


# Folding.


class Mixed(nn.Module):
    """One pair of each kind that can be folded, and each reason not to."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 6, 3, groups=3), nn.BatchNorm2d(6)
        self.bare, self.bare_norm = nn.Conv2d(6, 4, 1, bias=False), nn.BatchNorm2d(4, affine=False)
        self.read_twice, self.twice_norm = nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)
        self.shared, self.shared_norm = nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)
        self.online = nn.BatchNorm2d(4, track_running_stats=False)
        self.linear, self.linear_norm = nn.Linear(4, 5), nn.BatchNorm1d(5)
        self.first_norm = nn.BatchNorm2d(3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.bare_norm(self.bare(self.norm(self.conv(self.first_norm(x))).relu()))
        y = self.read_twice(x)
        x = self.twice_norm(y) + y
        x = self.shared_norm(self.shared(self.shared_norm(self.shared(x))))
        x = self.online(x).mean((2, 3))
        return self.linear_norm(self.linear(x))  # type: ignore[no-any-return]


def test_fold__only_where_it_is_the_same() -> None:
    torch.manual_seed(0)
    model = settled(Mixed())
    pairs = foldable(model)
    assert pairs == [("conv", "norm"), ("bare", "bare_norm"), ("linear", "linear_norm")]
    with torch.no_grad():
        expected = model.double()(IMAGES.double())
        torch.testing.assert_close(folded(model, pairs)(IMAGES.double()), expected, rtol=1e-12, atol=1e-12)


def test_fold__makes_new_layers_and_shares_the_rest() -> None:
    model = conv_net()
    before = state(model)
    clone = folded(model, foldable(model))
    assert unchanged(before, model)
    assert clone.fc.weight is model.fc.weight  # type: ignore[union-attr]
    assert not any(isinstance(module, nn.BatchNorm2d) for module in clone.modules())
    assert sum(isinstance(module, nn.BatchNorm2d) for module in model.modules()) == 3


@pytest.mark.parametrize(
    ("make", "count"),
    [
        (conv_net, "3 of 3"),
        (partial(torchvision.models.resnet18, num_classes=7), "20 of 20"),
        # A BatchNorm that brings its activation along.
        (partial(timm.create_model, "mobilenetv3_small_050", num_classes=7), "34 of 34"),
    ],
)
def test_fold__real_networks_within_the_tolerance(make: Any, count: str) -> None:
    model = settled(make())
    teacher = FrozenTeacher(model)
    expected, before = plain(model), state(model)
    assert deviation(teacher(IMAGES), expected) <= TOLERANCE
    assert teacher.applied == {
        "fold_batchnorm": count,
        "memory_format": "channels_last",
        "precision": "inherit",
        "compile": "off",
    }
    assert unchanged(before, model)
    exact = FrozenTeacher(model, fold_batchnorm=False)
    assert torch.equal(exact(IMAGES), expected)
    assert exact.applied["fold_batchnorm"] == "off"
    assert exact.applied["memory_format"] == "preserve"


def test_fold__nothing_to_fold() -> None:
    teacher = FrozenTeacher(nn.Sequential(nn.Linear(4, 3), nn.LayerNorm(3)))
    teacher(torch.ones(2, 4))
    assert teacher.applied["fold_batchnorm"] == "nothing to fold"
    only = FrozenTeacher(nn.Sequential(nn.BatchNorm1d(4), nn.Linear(4, 3)))
    only(torch.ones(2, 4))
    assert only.applied["fold_batchnorm"] == "nothing to fold"


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_fold__in_float32_only(dtype: torch.dtype) -> None:
    model = conv_net().to(dtype)
    teacher = FrozenTeacher(model)
    answer = teacher(IMAGES.to(dtype))
    assert teacher.applied["fold_batchnorm"].startswith(f"skipped: in {str(dtype).removeprefix('torch.')}")
    if dtype == torch.float64:
        assert torch.equal(answer, plain(model, IMAGES.double()))
        assert teacher.applied["memory_format"] == "preserve"


class Untraceable(nn.Module):
    """Python decides by values: torch.fx cannot follow."""

    def __init__(self) -> None:
        super().__init__()
        self.net = conv_net()

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x) if bool(x.sum() > -1e9) else x  # type: ignore[no-any-return]


def test_fold__falls_back_with_one_line(caplog: pytest.LogCaptureFixture) -> None:
    model = Untraceable().eval()
    teacher = FrozenTeacher(model, memory_format="preserve")
    with caplog.at_level(logging.WARNING, "lightning_distill"):
        for _ in range(3):
            assert torch.equal(teacher(IMAGES), plain(model))
        teacher.double().float()
        teacher(IMAGES)
    assert len([r for r in caplog.records if "BatchNorms are not folded" in r.getMessage()]) == 1
    assert teacher.applied["fold_batchnorm"].startswith("skipped: it could not be followed (TraceError")


def test_fold__refuses_what_changes_the_answer(caplog: pytest.LogCaptureFixture) -> None:
    # Of sequences [B, T, C] BatchNorm1d normalises T, which has the length of C here.
    model = settled(nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4)))
    assert foldable(model) == [("0", "1")]
    teacher, sequences = FrozenTeacher(model), torch.randn(2, 4, 4)
    assert torch.equal(teacher(sequences), plain(model, sequences))
    assert "would change an answer by" in teacher.applied["fold_batchnorm"]
    assert "would change an answer by" in caplog.text


# Hooks, changes, copies.


def test_hooks__the_original_runs_while_they_are_on() -> None:
    model = conv_net()
    teacher = FrozenTeacher(model)
    expected = plain(model)
    assert not torch.equal(teacher(IMAGES), expected)  # folded
    taps = FeatureTaps(model, ["layer1"])
    assert torch.equal(teacher(IMAGES), expected)  # idle hooks count as well: a run has one arithmetic throughout
    with taps:
        teacher(IMAGES)
    assert taps.read()[0].shape[1] == 8
    assert teacher.applied["fold_batchnorm"] == "skipped: inner layers are read"
    taps.remove()
    assert not torch.equal(teacher(IMAGES), expected)


@pytest.mark.parametrize("precision", ["inherit", "bf16", "fp32"])
def test_terms__read_the_original(precision: str) -> None:
    torch.manual_seed(0)
    teacher = FrozenTeacher(conv_net(), precision=precision)
    term = Term(HintLoss(), student="layer1", teacher="layer2", adapter="auto")
    distiller = Distiller(SmallConvNet(10, 3), teacher, terms={"hint": term}, example_input=IMAGES)
    losses = distiller.compute_losses((IMAGES, torch.zeros(4, dtype=torch.long)))
    losses["hint"].backward()
    assert torch.isfinite(losses["hint"])
    assert distiller.teacher_logits(distiller.unpack_batch((IMAGES,))).dtype == (
        torch.bfloat16 if precision == "bf16" else torch.float32
    )


def change_in_place(model: Any) -> None:
    with torch.no_grad():
        model.layer1[1].running_mean.add_(1)


def load_in_place(model: Any) -> None:
    model.load_state_dict(
        {name: value + 0.5 if "num" not in name else value for name, value in model.state_dict().items()}
    )


def load_by_assignment(model: Any) -> None:
    changed = {name: value + 0.5 if "num" not in name else value for name, value in model.state_dict().items()}
    model.load_state_dict(changed, assign=True)


def exchange_module(model: Any) -> None:
    torch.manual_seed(1)
    model.fc = nn.Linear(64, 10)


@pytest.mark.parametrize("change", [change_in_place, load_in_place, load_by_assignment, exchange_module])
def test_change_of_the_network__is_followed(change: Any) -> None:
    model = conv_net()
    teacher = FrozenTeacher(model)
    before = teacher(IMAGES)
    change(model)
    after = teacher(IMAGES)
    assert deviation(after, plain(model)) <= TOLERANCE
    assert deviation(after, before) > 1e-3


def test_derived_once__until_something_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    teacher, derived = FrozenTeacher(conv_net()), []
    derive = type(teacher._acceleration).derive
    monkeypatch.setattr(type(teacher._acceleration), "derive", lambda *a: derived.append(1) or derive(*a))
    Distiller(SmallConvNet(10, 3), teacher, example_input=IMAGES)
    assert derived == []  # device and precision are not final yet
    for _ in range(3):
        teacher(IMAGES)
    assert derived == [1]
    teacher.double()
    assert teacher(IMAGES.double()).dtype == torch.float64
    assert derived == [1, 1]


def test_train_mode_behind_its_back__does_not_reach_the_copy() -> None:
    model = settled(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(), nn.Flatten(), nn.LazyLinear(3)))
    model(IMAGES)
    teacher = FrozenTeacher(model)
    first, before = teacher(IMAGES), state(model)
    model.train()
    assert torch.equal(teacher(IMAGES), first)
    assert unchanged(before, model)


def test_first_asked_in_inference_mode__is_usable_in_a_graph() -> None:
    teacher = FrozenTeacher(conv_net(), mean=0.5, std=0.5)
    with torch.inference_mode():
        teacher(IMAGES)
    student = torch.zeros(4, 10, requires_grad=True)
    nn.functional.mse_loss(student, teacher(IMAGES)).backward()
    assert student.grad is not None


def test_pickled__answers_the_same() -> None:
    teacher = FrozenTeacher(conv_net(), compile=False, precision="bf16")
    answer = teacher(IMAGES)
    other = pickle.loads(pickle.dumps(teacher))
    assert torch.equal(other(IMAGES), answer)
    assert copy.deepcopy(teacher) is teacher


# Precision.


@pytest.mark.parametrize(("precision", "dtype"), [("bf16", torch.bfloat16), ("fp32", torch.float32)])
@pytest.mark.parametrize("trainer_precision", ["32-true", "bf16-mixed", "bf16-true", "64-true"])
def test_precision_of_its_own__whatever_the_trainers(
    precision: str, dtype: torch.dtype, trainer_precision: str
) -> None:
    model = conv_net()
    before, expected = state(model), plain(model)
    teacher = FrozenTeacher(model, precision=precision)
    distiller = Distiller(SmallConvNet(10, 3), teacher, optimizer=partial(torch.optim.SGD, lr=0.1))
    seen: list[Tensor] = []
    handle = teacher.register_forward_hook(lambda module, args, output: seen.append(output))
    data = DataLoader(TensorDataset(IMAGES, torch.arange(4)), batch_size=4)
    quiet = {
        "logger": False,
        "enable_progress_bar": False,
        "enable_checkpointing": False,
        "enable_model_summary": False,
    }
    pl.Trainer(max_epochs=1, accelerator="cpu", precision=trainer_precision, **quiet).fit(distiller, data)  # type: ignore[arg-type]
    handle.remove()
    assert seen[0].dtype == dtype
    limit = 0.05 if dtype == torch.bfloat16 or trainer_precision == "bf16-true" else 2 * TOLERANCE
    assert deviation(seen[0].float(), expected) < limit
    assert unchanged(before, model)


def test_half_precision__keeps_the_statistics() -> None:
    model = settled(nn.Sequential(nn.ReLU(), nn.BatchNorm2d(3), nn.Conv2d(3, 4, 3), nn.Flatten()))
    teacher = FrozenTeacher(model, precision="bf16")
    assert teacher(IMAGES).dtype == torch.bfloat16
    assert teacher._copy is not None
    copied: Any = teacher._copy[1].network
    assert copied[1].running_mean is model[1].running_mean  # type: ignore[index]
    assert copied[2].weight.dtype == torch.bfloat16


def test_mixed_precision__is_followed() -> None:
    teacher = FrozenTeacher(conv_net())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert teacher(IMAGES).dtype == torch.bfloat16
    assert teacher(IMAGES).dtype == torch.float32


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"precision": "bf61"}, "Expected `precision` to be one of .* Did you mean 'bf16'"),
        ({"memory_format": "last"}, "Expected `memory_format` to be one of"),
        ({"fold_batchnorm": "yes"}, "Expected `fold_batchnorm` to be one of True, False"),
        ({"compile": "max"}, "Expected `compile` to be true, false or a mapping"),
    ],
)
def test_bad_argument(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FrozenTeacher(nn.Identity(), **options)


@pytest.mark.slow
@pytest.mark.parametrize("compile", [True, {"backend": "aot_eager", "dynamic": False}])
def test_compile__answers_the_same(compile: Any) -> None:
    model = settled(nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU()))
    teacher, inputs = FrozenTeacher(model, compile=compile), torch.randn(3, 4)
    assert deviation(teacher(inputs), plain(model, inputs)) <= 2 * TOLERANCE
    assert teacher.applied["compile"] == "on"
    other = pickle.loads(pickle.dumps(teacher))
    assert torch.equal(other(inputs), teacher(inputs))


@pytest.mark.slow
def test_within_a_compiled_step() -> None:
    model = conv_net()
    teacher = FrozenTeacher(model)
    step = torch.compile(lambda images: teacher(images).softmax(1), backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(step(IMAGES), plain(model).softmax(1))
