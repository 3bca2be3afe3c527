"""Mixed batches, frozen parts, a start from the teacher, parameter groups, and Lightning's tuner."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import LearningRateMonitor, ModelCheckpoint
from pytorch_lightning.loggers import CSVLogger
from pytorch_lightning.tuner import Tuner
from torch import Tensor, nn
from torch.utils.data import DataLoader

from lightning_distill import DeiTDistiller, Distiller, FrozenTeacher
from lightning_distill.data import Mixing, TensorDataModule
from lightning_distill.distillers import Term
from lightning_distill.losses import CRDLoss, DKDLoss, WSLDLoss, wsld_loss
from lightning_distill.models import SmallConvNet, TwoHeadViT
from lightning_distill.teachers import CachedTeacher, remember
from lightning_distill.types import Batch

IMAGES = torch.rand(24, 1, 8, 8, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(24) % 3
SGD = partial(torch.optim.SGD, lr=0.1)


def data(labels: Tensor = LABELS, **options: Any) -> TensorDataModule:
    return TensorDataModule((IMAGES, labels), (IMAGES, LABELS), num_classes=3, **({"batch_size": 8} | options))


def trainer(**kwargs: Any) -> pl.Trainer:
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    return pl.Trainer(**(quiet | {"enable_checkpointing": False, "accelerator": "cpu", "max_epochs": 1} | kwargs))


def classic(**kwargs: Any) -> Distiller:
    torch.manual_seed(0)
    return Distiller(SmallConvNet(3), SmallConvNet(3), **({"optimizer": SGD, "example_input": IMAGES[:2]} | kwargs))


class Spy:
    """What a network was given, by whether it was in training."""

    def __init__(self, network: nn.Module, student: nn.Module) -> None:
        self.training: list[Tensor] = []
        self.evaluation: list[Tensor] = []
        self.student = student
        network.register_forward_pre_hook(self.keep)

    def keep(self, module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        if len(inputs[0]) > 2:  # the example has two
            (self.training if self.student.training else self.evaluation).append(inputs[0].clone())


class Losses(nn.CrossEntropyLoss):
    def __init__(self) -> None:
        super().__init__()
        self.targets: list[Tensor] = []

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        self.targets.append(target)
        return super().forward(logits, target)


def test_mixing__teacher_and_student_see_the_same_mixed_images() -> None:
    loss = Losses()
    distiller = classic(mixing=Mixing(seed=1), student_loss=loss)
    assert distiller.teacher is not None
    spies = [Spy(network, distiller.student) for network in (distiller.student, distiller.teacher.model)]
    trainer(num_sanity_val_steps=0).fit(distiller, datamodule=data())
    student, teacher = spies
    assert len(student.training) == 3
    assert all(torch.equal(a, b) for a, b in zip(student.training, teacher.training, strict=True))
    plain = list(data().train_dataloader())
    for index, (seen, batch, target) in enumerate(zip(student.training, plain, loss.targets, strict=False)):
        expected = Mixing(seed=1)(batch, num_classes=3, epoch=0, index=index)
        assert not torch.equal(seen, batch.inputs)
        assert torch.equal(seen, expected.inputs)
        assert torch.equal(target, expected.target)  # type: ignore[arg-type]
    assert torch.equal(torch.cat(student.evaluation), IMAGES)
    assert not loss.targets[-1].is_floating_point()


def test_mixing__a_data_module_with_hooks_of_its_own_does_not_switch_it_off() -> None:
    class Hooked(TensorDataModule):
        def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
            return batch._replace(inputs=batch.inputs + 1)

    distiller = classic(mixing=Mixing(seed=1))
    spy = Spy(distiller.student, distiller.student)
    hooked = Hooked((IMAGES, LABELS), (IMAGES, LABELS), num_classes=3, batch_size=8)
    trainer(num_sanity_val_steps=0, limit_val_batches=0).fit(distiller, datamodule=hooked)
    batch = next(iter(data().train_dataloader()))
    moved = batch._replace(inputs=batch.inputs + 1)
    assert torch.equal(spy.training[0], Mixing(seed=1)(moved, num_classes=3, epoch=0, index=0).inputs)


@pytest.mark.slow
def test_mixing__a_resumed_run_is_the_uninterrupted_one(tmp_path: Path) -> None:
    whole = classic(mixing=Mixing())
    trainer(max_epochs=3).fit(whole, datamodule=data())
    keeper = ModelCheckpoint(tmp_path, save_last=True)
    first = classic(mixing=Mixing())
    trainer(max_epochs=2, enable_checkpointing=True, callbacks=[keeper]).fit(first, datamodule=data())
    second = classic(mixing=Mixing())
    run = trainer(max_epochs=3, enable_checkpointing=True, callbacks=[ModelCheckpoint(tmp_path, save_last=True)])
    run.fit(second, datamodule=data(), ckpt_path=keeper.last_model_path, weights_only=True)
    for name, tensor in whole.student.state_dict().items():
        assert torch.equal(tensor, second.student.state_dict()[name]), name


def test_mixing__unlabelled_samples_have_no_weight_in_the_student_loss() -> None:
    mixing = Mixing(1.0, 0.0, seed=1)
    distiller = classic(mixing=mixing, alpha=1.0).eval()
    labels = torch.tensor([0, -100, 1, -100, -100, 2, 0, 1])
    mixed = distiller.mix(Batch(IMAGES[:8], labels), 0)
    share = mixing.draw(0, 0).share
    rows = torch.log_softmax(distiller(mixed.inputs).detach(), dim=1)
    total = mass = 0.0
    for i, label in enumerate(labels.tolist()):
        for other, weight in ((label, share), (labels[i - 1].item(), 1 - share)):
            if other != -100:
                total, mass = total - weight * rows[i, int(other)].item(), mass + weight
    loss = distiller.compute_losses(mixed)["student_loss"]
    torch.testing.assert_close(loss.item(), total / mass)


def test_mixing__accuracy_counts_the_labelled_alone() -> None:
    distiller = classic(mixing=Mixing(mix_prob=0.0), student_loss=nn.CrossEntropyLoss())
    labels = torch.where(torch.arange(24) < 12, LABELS, -100)
    run = trainer(num_sanity_val_steps=0, limit_val_batches=0)
    seen: list[tuple[Tensor, Tensor]] = []
    update = distiller.stage_metrics.update
    distiller.stage_metrics.update = lambda stage, logits, target: (  # type: ignore[method-assign]
        seen.append((logits[""], target)),  # type: ignore[func-returns-value]
        update(stage, logits, target),  # type: ignore[func-returns-value]
    )[1]
    run.fit(distiller, datamodule=data(labels))
    logits, target = (torch.cat(parts) for parts in zip(*seen, strict=True))
    labelled = target.sum(dim=1) > 0
    right = (logits.argmax(1) == target.argmax(1))[labelled]
    assert int(labelled.sum()) == 12
    torch.testing.assert_close(float(run.callback_metrics["train/accuracy"]), float(right.float().mean()))


def test_mixing__with_two_heads() -> None:
    torch.manual_seed(0)
    student = TwoHeadViT(3, in_channels=1, image_size=8)
    distiller = DeiTDistiller(
        student, SmallConvNet(3), distillation_type="hard", mixing=Mixing(), optimizer=SGD, example_input=IMAGES[:2]
    )
    run = trainer()
    run.fit(distiller, datamodule=data())
    assert {"train/student_loss", "train/distillation_loss"} <= set(run.callback_metrics)
    assert all(torch.isfinite(value) for value in run.callback_metrics.values())


def test_mixing__the_number_of_classes_comes_from_the_data_modules_example() -> None:
    distiller = classic(mixing=Mixing(), example_input=None)
    trainer().fit(distiller, datamodule=data())
    alone = classic(mixing=Mixing(), example_input=None)
    pairs: Any = list(zip(IMAGES, LABELS, strict=True))
    with pytest.raises(ValueError, match="Expected `example_input`, by which `mixing` finds the number of classes"):
        trainer().fit(alone, DataLoader(pairs, batch_size=8))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"distillation_loss": DKDLoss()}, "Expected `distillation_loss` to take probabilities .* but DKDLoss reads"),
        ({"distillation_loss": WSLDLoss()}, "one of .*KLDistillationLoss"),
        ({"student_loss": nn.NLLLoss()}, "Expected `student_loss` to .* but NLLLoss reads class indices"),
        ({"terms": {"w": Term(WSLDLoss(), 1.0)}}, "Expected `w` to take probabilities .* but WSLDLoss reads"),
        ({"terms": {"w": Term(wsld_loss, 1.0)}}, "Expected `w` to take probabilities .* but wsld_loss reads"),
        ({"terms": {"c": Term(partial(CRDLoss, dataset_size=24), 1.0, "pool", "pool")}}, None),
        ({"distillation_loss": nn.MSELoss()}, None),
    ],
)
def test_mixing__losses_that_read_class_indices_are_refused(arguments: dict[str, Any], message: str | None) -> None:
    classic(**arguments)
    if message is None:
        classic(mixing=Mixing(), **arguments)
        return
    with pytest.raises(ValueError, match=message):
        classic(mixing=Mixing(), **arguments)


def test_mixing__of_another_type() -> None:
    with pytest.raises(TypeError, match="Expected `mixing` to be a Mixing, but got dict"):
        classic(mixing={"mixup_alpha": 0.8})


def test_freeze__weights_and_statistics_stay() -> None:
    distiller = classic(freeze=frozen_paths())
    before = {name: tensor.clone() for name, tensor in distiller.student.state_dict().items()}
    trainer(max_epochs=2).fit(distiller, datamodule=data())
    after = distiller.student.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    frozen = {name for name in before if any(name.startswith(f"{path}.") for path in frozen_paths())}
    assert any("running_mean" in name for name in frozen)
    assert changed
    assert not changed & frozen
    assert set(before) - frozen == changed


def frozen_paths() -> list[str]:
    """The first block of the convolutional network with its norm."""
    return [name for name, module in SmallConvNet(3).named_children() if list(module.parameters())][:1]


def test_freeze__nothing_left_and_wrong_paths() -> None:
    with pytest.raises(ValueError, match="Expected `freeze` to leave something to train"):
        classic(freeze=["*"])
    with pytest.raises(ValueError, match=r"'fcc' fits none\. The nearest are 'fc'"):
        classic(freeze=["fcc"])


def test_init_from_teacher__in_a_distiller() -> None:
    distiller = classic(init_from_teacher={"fc": "fc"})
    assert distiller.teacher is not None
    assert torch.equal(distiller.student.fc.weight, distiller.teacher.model.fc.weight)
    wrapped = Distiller(SmallConvNet(3), FrozenTeacher(SmallConvNet(3)), init_from_teacher=[("fc", "fc")])
    assert wrapped.teacher is not None
    assert torch.equal(wrapped.student.fc.weight, wrapped.teacher.model.fc.weight)
    Distiller(SmallConvNet(3), None, init_from_teacher={"fc": "fc"})


def test_optimizer__groups_of_a_distiller_with_adapters(tmp_path: Path) -> None:
    term = Term(nn.MSELoss, 1.0, "fc:input", "fc:input", adapter="linear")
    adam = partial(torch.optim.AdamW, lr=0.01, weight_decay=0.5)
    distiller = classic(terms={"hint": term}, no_decay="norms_and_biases", adapter_lr_scale=5, optimizer=adam)
    logger = CSVLogger(tmp_path)
    monitor = LearningRateMonitor(logging_interval="epoch")
    trainer(logger=logger, callbacks=[monitor]).fit(distiller, datamodule=data())
    (optimizer,) = distiller.trainer.optimizers
    found = {g["name"]: (round(g["lr"], 6), g["weight_decay"], len(g["params"])) for g in optimizer.param_groups}
    assert found["adapters"] == (0.05, 0.5, 1)
    assert found["adapters_no_decay"] == (0.05, 0.0, 1)
    assert sum(count for _, _, count in found.values()) == len(list(distiller.parameters()))
    weights = sum(p.ndim > 1 for p in distiller.student.parameters())
    assert found["student"] == (0.01, 0.5, weights)
    assert "lr-AdamW/adapters" in monitor.lrs


def test_optimizer__plain_factory_gets_plain_parameters() -> None:
    given: list[Any] = []
    classic(optimizer=lambda params: given.extend(params) or SGD(given)).configure_optimizers()  # type: ignore[func-returns-value]
    assert all(isinstance(parameter, nn.Parameter) for parameter in given)


def test_lr__reads_the_factory_and_can_be_set() -> None:
    distiller = classic(scheduler=partial(torch.optim.lr_scheduler.StepLR, step_size=1))
    assert distiller.lr == 0.1
    distiller.lr = 0.3
    assert distiller.lr == 0.3
    assert distiller.configure_optimizers()["optimizer"].param_groups[0]["lr"] == 0.3
    assert classic(optimizer=lambda params: torch.optim.SGD(params, lr=0.2)).lr is None
    assert classic(optimizer=None).lr is None


def test_tuner__finds_a_learning_rate(tmp_path: Path) -> None:
    distiller = classic()
    run = trainer(default_root_dir=tmp_path, max_epochs=10)
    before = {name: tensor.clone() for name, tensor in distiller.student.state_dict().items()}
    found = Tuner(run).lr_find(distiller, datamodule=data(), num_training=20, min_lr=1e-4, max_lr=10.0)
    assert found is not None
    suggestion = found.suggestion(skip_begin=10, skip_end=1)
    assert suggestion is not None
    assert distiller.lr == suggestion
    assert 1e-4 < suggestion < 10
    assert all(torch.equal(before[name], tensor) for name, tensor in distiller.student.state_dict().items())
    assert distiller.configure_optimizers().param_groups[0]["lr"] == suggestion


@pytest.mark.slow
def test_tuner__finds_a_batch_size(tmp_path: Path) -> None:
    served = data(batch_size=2)
    distiller = classic()
    sizes: list[int] = []
    distiller.student.register_forward_pre_hook(lambda module, inputs: sizes.append(len(inputs[0])))
    tuner = Tuner(trainer(default_root_dir=tmp_path))
    size = tuner.scale_batch_size(distiller, datamodule=served, init_val=2, max_trials=3, steps_per_trial=1)
    assert size == served.batch_size == 8
    assert set(sizes) == {2, 4, 8}


def test_mixing__with_a_remembered_teacher_is_refused(tmp_path: Path) -> None:
    asked = FrozenTeacher(SmallConvNet(3))
    store = remember(asked, data(), tmp_path / "store", view="clean", progress=False)
    with pytest.raises(ValueError, match="since `mixing` is on, but got a CachedTeacher"):
        classic_with(CachedTeacher(asked, store), mixing=Mixing())
    later = classic_with(asked, mixing=Mixing())
    later.teacher = CachedTeacher(asked, store)
    with pytest.raises(ValueError, match="since `mixing` is on, but got a CachedTeacher"):
        trainer().fit(later, datamodule=data())


def test_repeats__with_a_teacher_remembered_for_each_epoch_is_refused(tmp_path: Path) -> None:
    asked = FrozenTeacher(SmallConvNet(3))
    with pytest.raises(ValueError, match=r"Expected `repeats` of the data to be 1 .* but got 3"):
        remember(asked, data(repeats=3), tmp_path / "store", progress=False)
    remember(asked, data(repeats=3), tmp_path / "store", view="clean", progress=False)


def classic_with(teacher: FrozenTeacher, **kwargs: Any) -> Distiller:
    return Distiller(SmallConvNet(3), teacher, optimizer=SGD, example_input=IMAGES[:2], **kwargs)
