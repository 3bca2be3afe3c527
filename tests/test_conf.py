"""Every choice in conf/ composes, has only keys that something reads, and does what its name says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

from lightning_distill.build import build
from lightning_distill.config_keys import check_keys
from tests.configs import CONF, composed, files, options, plain, planned, tiny_run
from tests.data.disk import stand_in

GROUPS = sorted(path.name for path in CONF.iterdir() if path.is_dir() and path.name != "terms")
CHOICES = [(group, option) for group in GROUPS for option in options(group)]
ONE_STEP = ("data.batch_size=2", "trainer.limit_train_batches=1", "trainer.max_steps=1")
# What people type (DESIGN.md, section 3), each beside what it sets.
OVERRIDES = {
    "alpha=0.5": ("distiller.alpha", 0.5),
    "temperature=4": ("distiller.distillation_loss.temperature", 4),
    "loss=dkd": ("distiller.distillation_loss._target_", "lightning_distill.losses.DKDLoss"),
    "loss=hard": ("distiller.distillation_loss._target_", "lightning_distill.losses.HardDistillationLoss"),
    "distiller=deit": ("distiller._target_", "lightning_distill.distillers.DeiTDistiller"),
    "data=digits": ("data._target_", "lightning_distill.data.DigitsDataModule"),
    "student=mlp": ("student._target_", "lightning_distill.models.MLP"),
    "student=timm": ("student._target_", "lightning_distill.models.timm_model"),
    "student=torchvision": ("student._target_", "lightning_distill.models.torchvision_model"),
    "student=transformers": ("student._target_", "lightning_distill.models.transformers_model"),
    "student=cifar": ("student._target_", "lightning_distill.models.cifar_model"),
    "teacher=timm": ("teacher.model._target_", "lightning_distill.models.timm_model"),
    "teacher=torchvision": ("teacher.model._target_", "lightning_distill.models.torchvision_model"),
    "teacher=transformers": ("teacher.model._target_", "lightning_distill.models.transformers_model"),
    "trainer=ddp": ("trainer.strategy", "ddp"),
    "experiment=digits_full": ("data.train_samples", None),
    "experiment=digits_deit": ("student._target_", "lightning_distill.models.TwoHeadViT"),
    "debug=fast": ("teacher.cache_dir", None),
    "logger=tensorboard": ("logger.tensorboard._target_", "pytorch_lightning.loggers.TensorBoardLogger"),
    "logger=wandb": ("logger.wandb._target_", "pytorch_lightning.loggers.WandbLogger"),
    "logger=mlflow": ("logger.mlflow._target_", "pytorch_lightning.loggers.MLFlowLogger"),
    "logger=csv": ("logger.csv._target_", "lightning_distill.callbacks.ContinuedCSVLogger"),
    "callbacks=ema": ("callbacks.ema._target_", "pytorch_lightning.callbacks.EMAWeightAveraging"),
    "sweep=seeds": ("seed", 0),
    "teacher=null": ("teacher", None),
    "scheduler=null": ("distiller.scheduler", None),
    "logger=null": ("logger", None),
    "callbacks.progress_bar=null": ("callbacks.progress_bar", None),
}


@pytest.mark.parametrize(("group", "option"), CHOICES, ids=[f"{g}={o}" for g, o in CHOICES])
def test_choice__composes_with_known_keys(group: str, option: str, tmp_path: Path) -> None:
    config = composed(f"{group}={option}", f"output_dir={tmp_path}")
    check_keys(OmegaConf.to_container(config, resolve=False))  # type: ignore[arg-type]
    plain(config)


@pytest.mark.parametrize(("override", "expected"), OVERRIDES.items(), ids=list(OVERRIDES))
def test_override__does_what_it_says(override: str, expected: tuple[str, object], tmp_path: Path) -> None:
    config = OmegaConf.create(plain(composed(override, f"output_dir={tmp_path}")))
    key, value = expected
    assert OmegaConf.select(config, key) == value


# Networks of full size: as few samples as there can be, and only in the slow tests.
LARGE = {option: ONE_STEP for option in options("experiment") if option.startswith(("cifar100", "imagenet", "deit_"))}
QUICK = {"kd", "at", "simkd", "digits_deit"}  # a run of each kind; the slow tests run all others
EXPERIMENTS = [pytest.param(o, marks=() if o in QUICK else pytest.mark.slow) for o in options("experiment")]


@pytest.mark.parametrize("option", EXPERIMENTS)
def test_experiment__runs(option: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = stand_in(tmp_path / "files", monkeypatch, f"experiment={option}")
    tiny_run(tmp_path / "run", f"experiment={option}", *given, *LARGE.get(option, ()))
    written = set(files(tmp_path / "run"))
    assert {"student.pt2", "metrics.json", "student.safetensors"} <= written
    alone = option.endswith("_init") or option.startswith(("imagenet", "deit_"))
    assert ("baseline.safetensors" in written) != alone


def test_recipe__deit_is_the_papers() -> None:
    """Tables 7 and 9 of https://arxiv.org/abs/2012.12877."""
    config = OmegaConf.create(plain(composed("experiment=deit_small", "output_dir=x")))
    assert config.student.model_name == "deit_small_distilled_patch16_224"
    assert (config.student.drop_path_rate, config.trainer.max_epochs, config.scheduler.warmup_epochs) == (0.1, 300, 5)
    assert config.optimizer.lr == 5e-4 * 4 * config.data.batch_size / 512
    mixing = config.distiller.mixing
    assert (mixing.mixup_alpha, mixing.cutmix_alpha, mixing.label_smoothing) == (0.8, 1.0, 0.1)
    assert (config.data.augment.num_ops, config.data.augment.magnitude, config.data.augment.erase) == (2, 9, 0.25)
    assert config.distiller.distillation_loss == {
        "_target_": "lightning_distill.losses.HardDistillationLoss",
        "label_smoothing": 0.0,
    }


def test_recipe__cifar_is_the_benchmarks() -> None:
    config = OmegaConf.create(plain(composed("experiment=cifar100_wrn_40_2_wrn_16_2", "output_dir=x")))
    teacher = config.teacher.train.distiller
    for optimizer in (config.optimizer, teacher.optimizer):
        assert (optimizer.lr, optimizer.momentum, optimizer.weight_decay) == (0.05, 0.9, 5e-4)
        assert not optimizer.get("nesterov", False)
    for scheduler in (config.scheduler, teacher.scheduler):
        assert (scheduler.milestones, scheduler.gamma) == ([150, 180, 210], 0.1)
    assert config.data.batch_size == 64
    assert config.trainer.max_epochs == config.teacher.train.trainer.max_epochs == 240
    assert config.data.augment.padding == 4
    assert composed("experiment=cifar100_resnet50_mobilenet_v2").optimizer.lr == 0.01


def test_two_stages__the_second_starts_from_the_first(tmp_path: Path) -> None:
    tiny_run(tmp_path / "first", "experiment=fsp_init", "export=null")
    checkpoint = tmp_path / "first/checkpoints/student/last.ckpt"
    student = planned(tmp_path / "second", f"student_checkpoint={checkpoint}", "alpha=1").student()
    saved = torch.load(checkpoint, weights_only=True)["state_dict"]
    for name, value in student.state_dict().items():
        assert torch.equal(value, saved[f"student.{name}"])
    tiny_run(tmp_path / "second", f"student_checkpoint={checkpoint}", "alpha=1", "export=null")
    assert "metrics.json" in files(tmp_path / "second")


def test_student_checkpoint__that_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(
        FileNotFoundError, match="Expected `student_checkpoint` to name a file of weights, but got nowhere"
    ):
        planned(tmp_path, "student_checkpoint=nowhere.pt")


def test_student_checkpoint__of_another_network_is_refused(tmp_path: Path) -> None:
    tiny_run(tmp_path / "first", "teacher=null", "export=null")
    plan = planned(tmp_path, f"student_checkpoint={tmp_path}/first/student.safetensors", "student=mlp")
    with pytest.raises(ValueError, match="student"):
        plan.student()


@pytest.mark.parametrize("option", options("loss"))
def test_loss__trains_the_student(option: str, tmp_path: Path) -> None:
    plan = planned(tmp_path, f"loss={option}", "alpha=0")
    torch.manual_seed(0)
    assert plan.teacher is not None
    distiller = plan.stage.distiller(plan.student(), plan.teacher.model())
    batch = next(iter(plan.stage.data.train_dataloader()))
    loss = distiller.compute_losses(batch)["distillation_loss"]
    loss.backward()
    assert torch.isfinite(loss)
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in distiller.student.parameters())


NEED_CUDA = ("gpu", "fsdp", "deepspeed")


@pytest.mark.parametrize("option", NEED_CUDA)
def test_trainer__that_needs_cuda_composes(option: str) -> None:
    config = composed(f"trainer={option}")
    check_keys(OmegaConf.to_container(config, resolve=False))  # type: ignore[arg-type]
    assert config.trainer.accelerator == "gpu"


@pytest.mark.parametrize("option", [o for o in options("trainer") if o not in NEED_CUDA])
def test_trainer__builds(option: str, tmp_path: Path) -> None:
    plan = planned(tmp_path, f"trainer={option}", "trainer.accelerator=cpu", "callbacks.progress_bar=null")
    assert plan.stage.trainer("student", []).max_epochs == composed().trainer.max_epochs


@pytest.mark.parametrize("option", options("optimizer"))
def test_optimizer__builds(option: str, tmp_path: Path) -> None:
    plan = planned(tmp_path, f"optimizer={option}")
    optimizer = plan.stage.distiller(plan.student(), None).configure_optimizers()["optimizer"]
    assert type(optimizer).__name__.lower() == option


def test_term__is_added_by_name(tmp_path: Path) -> None:
    plan = planned(
        tmp_path,
        "+terms@distiller.terms.hint=hint",
        "distiller.terms.hint.student=layer2",
        "distiller.terms.hint.teacher=layer3",
    )
    assert plan.teacher is not None
    distiller = plan.stage.distiller(plan.student(), plan.teacher.model())
    batch = next(iter(plan.stage.data.train_dataloader()))
    assert set(distiller.compute_losses(batch)) == {"student_loss", "distillation_loss", "hint"}


def test_hydra_interpolation__is_there_once() -> None:
    found = [m for path in sorted(CONF.rglob("*.yaml")) for m in re.findall(r"\$\{hydra:[^}]*\}", path.read_text())]
    assert found == ["${hydra:runtime.output_dir}"]


def test_hydra__leaves_nothing_in_the_folder() -> None:
    config = composed(hydra=True)
    assert config.hydra.output_subdir is None
    assert [h["class"] for h in plain(config.hydra.job_logging)["handlers"].values()] == ["logging.StreamHandler"]


def test_resume__goes_on_in_its_own_folder() -> None:
    assert composed("resume=outputs/first", hydra=True).hydra.run.dir == "outputs/first"


def test_debug__keeps_no_teacher(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    tiny_run(tmp_path / "run", "baseline=false", "export=null")
    assert {path.name for path in tmp_path.iterdir()} == {"run"}


def test_logger__writes_beside_the_rest(tmp_path: Path) -> None:
    tiny_run(tmp_path, "logger=csv", "baseline=false", "export=null")
    assert {"csv/teacher/metrics.csv", "csv/student/metrics.csv"} <= set(files(tmp_path))


def test_seed__is_the_data_modules_too(tmp_path: Path) -> None:
    assert planned(tmp_path, "seed=3").stage.data.seed == 3  # type: ignore[attr-defined]


def test_config__builds_again_from_what_a_run_writes(tmp_path: Path) -> None:
    first = planned(tmp_path, "student=mlp", "experiment=digits_full")
    again = build(OmegaConf.create(first.config))
    assert again.config == first.config
