"""How a student is trained, as people type it: mixing, freezing, parameter groups."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch

from lightning_distill.distillers import BaseDistiller
from tests.configs import options, planned, tiny_run


def distiller(folder: Path, *overrides: str) -> BaseDistiller:
    plan = planned(folder, *overrides)
    assert plan.teacher is not None
    return plan.stage.distiller(plan.student(), plan.teacher.model())


@pytest.mark.parametrize("option", options("mixing"))
def test_mixing__builds_with_every_distiller(option: str, tmp_path: Path) -> None:
    for name in ("classic", "deit", "simkd"):
        built = distiller(tmp_path, f"distiller={name}", f"mixing={option}", "seed=3")
        assert built.mixing is not None
        assert built.mixing.seed == 3
    cuts = any(built.mixing.draw(0, index).box is not None for index in range(50))
    assert cuts == (option != "mixup")


def test_mixing__is_off_by_default_and_reaches_single_values(tmp_path: Path) -> None:
    assert distiller(tmp_path).mixing is None
    mixing = distiller(tmp_path, "mixing=mixup", "distiller.mixing.mixup_alpha=1.5").mixing
    assert mixing is not None
    assert mixing.mixup_alpha == 1.5


def test_mixing__runs_end_to_end(tmp_path: Path) -> None:
    tiny_run(tmp_path, "mixing=deit", "distiller.no_decay=norms_and_biases", "distiller.freeze=[layer1]")
    assert (tmp_path / "metrics.json").exists()


def test_no_decay__groups(tmp_path: Path) -> None:
    hint = ("+terms@distiller.terms.hint=hint", "distiller.terms.hint.student=layer2")
    typed = ("distiller.no_decay=norms_and_biases", "distiller.adapter_lr_scale=3", "optimizer.weight_decay=0.1")
    built = distiller(tmp_path, *hint, "distiller.terms.hint.teacher=layer3", *typed, "scheduler=null")
    groups: list[dict[str, Any]] = built.configure_optimizers().param_groups
    assert [(g["name"], round(g["lr"], 6), g["weight_decay"]) for g in groups] == [
        ("student", 0.003, 0.1),
        ("student_no_decay", 0.003, 0.0),
        ("adapters", 0.009, 0.1),
        *([("adapters_no_decay", 0.009, 0.0)] if len(groups) == 4 else []),
    ]
    assert len(distiller(tmp_path, "scheduler=null").configure_optimizers().param_groups) == 1


def test_freeze_and_init_from_teacher(tmp_path: Path) -> None:
    typed = ("distiller.freeze=[layer*]", "distiller.init_from_teacher={layer1: layer1, fc: fc}")
    wide = ("student._target_=lightning_distill.models.ConvNet", "student.width=32")
    built = distiller(tmp_path, *wide, *typed)
    assert built.teacher is not None
    assert {n.split(".")[0] for n, p in built.student.named_parameters() if p.requires_grad} == {"fc"}
    theirs = built.teacher.model.state_dict()
    same = {
        name.split(".")[0] for name, value in built.student.state_dict().items() if torch.equal(value, theirs[name])
    }
    assert {"layer1", "fc"} <= same


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("distiller.no_decay=norm_and_biases", "Expected `no_decay` .* Did you mean 'norms_and_biases'"),
        ("distiller.freeze=[layr1]", "'layr1' fits none. The nearest are 'layer1'"),
        ("distiller.init_from_teacher={fc: layer1}", "they differ in"),
        ("distiller.adapter_lr_scale=0", "Expected `adapter_lr_scale` to be above 0"),
        ("distiller.mixing={_target_: lightning_distill.data.Mixing, mix_prob: 2}", "Expected `mix_prob` to be in"),
    ],
)
def test_wrong_values__name_the_key(override: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        distiller(tmp_path, override)


def test_mixing__with_a_loss_that_needs_class_indices(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Expected `distillation_loss` to take probabilities"):
        distiller(tmp_path, "mixing=deit", "loss=dkd")


@pytest.mark.parametrize("option", [name for name in options("augment") if name != "none"])
def test_augment__reaches_the_training_batches_alone(option: str, tmp_path: Path) -> None:
    plain, augmented = (
        planned(tmp_path, "data.train_samples=null", "seed=4", *extra).stage.data
        for extra in ((), (f"augment={option}",))
    )
    images = [next(iter(module.train_dataloader())).inputs for module in (plain, augmented)]
    assert images[0].shape == images[1].shape
    assert not torch.equal(*images)
    assert torch.equal(*(next(iter(module.val_dataloader())).inputs for module in (plain, augmented)))
    assert augmented.augment.seed == 4
    assert plain.fingerprint() != augmented.fingerprint()


def test_augment__none_switches_it_off_and_single_values_are_typed(tmp_path: Path) -> None:
    assert planned(tmp_path, "augment=none").stage.data.augment is None
    augment = planned(tmp_path, "augment=standard", "data.augment.padding=1", "data.augment.flip=0").stage.data.augment
    assert repr(augment) == "BatchAugmentation([RandomCrop(padding=1, window=None, padding_mode='constant')], seed=0)"
    with pytest.raises(
        ValueError, match=r"Unknown config key `data.augment.paddin`. Did you mean `data.augment.padding`"
    ):
        planned(tmp_path, "augment=standard", "+data.augment.paddin=1")


def test_augment__a_data_module_without_it(tmp_path: Path) -> None:
    other = "data={_target_: tests.test_conf_training.Plain}"
    with pytest.raises(ValueError, match=r"Expected no `augment`, since Plain takes none: .* augment=none"):
        planned(tmp_path, "augment=standard", "~data", f"+{other}")


class Plain(pl.LightningDataModule):
    """A data module that knows nothing of augmentation."""

    num_classes = 2
    example_input = torch.zeros(2, 1, 8, 8)

    def __init__(self) -> None:
        super().__init__()


def test_augment__typed_as_a_word_under_data(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"Expected `augment` to be .* but got 'standard'. .*: augment=standard"):
        planned(tmp_path, "data.augment=standard")


def test_mixing__typed_as_a_number(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="Expected `mixing` to be a Mixing, but got float"):
        distiller(tmp_path, "distiller.mixing=0.5")
