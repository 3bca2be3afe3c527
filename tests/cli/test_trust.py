"""A stranger's config can make networks, losses and data, and nothing else, whatever name it reaches a thing by."""

from __future__ import annotations

import inspect
import os
import pkgutil
import re
from contextlib import nullcontext
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from omegaconf import OmegaConf
from torch import nn

import lightning_distill
from lightning_distill import Distiller
from lightning_distill.cli import evaluate
from lightning_distill.cli.trust import FUNCTIONS, check_trust, is_known, leaves
from lightning_distill.saved_config import read_config, saved_config
from tests.configs import CONF

ESCAPES = [
    # A class that starts a program: subprocess.Popen by another name.
    "torch.distributed.elastic.multiprocessing.subprocess_handler.SubprocessHandler",
    "pytorch_lightning.cli.LightningCLI",  # imports and builds what its `args` say
    "torch.package.PackageImporter",
    "torchvision.datasets.LSUNClass",  # unpickles a file beside the data
    "transformers.AutoModel",
    # Functions of this package that delete, copy, import or build.
    "lightning_distill.files.remove",
    "lightning_distill.files.sweep",
    "lightning_distill.callbacks.best_and_last.copy_atomically",
    "lightning_distill.teachers.store.ShardWriter",
    "lightning_distill.config_keys.locate",
    "lightning_distill.config_nodes.build_node",
    "lightning_distill.cli.answers.answered",
    "lightning_distill.sharded.consolidate",
    # Other packages, through one that imports them.
    "torch.os.system",
    "torch.serialization.os.system",
    "torch.nn.modules.module.functools.partial",
    "lightning_distill.files.shutil.rmtree",
    "lightning_distill.data.official.Path",
    "lightning_distill.losses.gather.dist.init_process_group",
    "torch.utils.cpp_extension.load",
    "torch.hub.load",
    "hydra.utils.call",
    "hydra.utils.get_method",
    "hydra.utils.instantiate",
    "functools.partial",
    "subprocess.Popen",
    "builtins.eval",
    "torch.nn.Linear.forward",
    "",
    ".",
    "torch",
    "torch..nn.Linear",
    "torch.nn.Linear\nos.system",
    "${oc.env:HOME}",
]


@pytest.mark.parametrize("target", ESCAPES)
def test_escapes__are_closed(target: str) -> None:
    assert not is_known(target)


def test_choices__of_the_package_need_no_trust() -> None:
    texts = [path.read_text() for path in CONF.rglob("*.yaml") if path.parent.name != "hydra"]
    named = {target for text in texts for target in re.findall(r"_target_: *([\w.]+)", text)}
    assert len(named) > 80
    assert [target for target in sorted(named) if not is_known(target)] == []


@pytest.mark.slow
def test_functions__of_the_package_are_the_listed_ones_and_losses() -> None:
    admitted = set()
    for module in pkgutil.walk_packages(lightning_distill.__path__, "lightning_distill."):
        for name, found in vars(import_module(module.name)).items():
            if inspect.isfunction(found) and is_known(f"{module.name}.{name}"):
                admitted.add(f"{found.__module__}.{name}")
    others = {name for name in admitted if not name.startswith("lightning_distill.losses.")}
    assert {name.rpartition(".")[2] for name in others} <= {name.rpartition(".")[2] for name in FUNCTIONS}


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"a": [{"_target_": "os.system"}]}, r"its `a\.0\._target_` is os\.system: building it would run that code"),
        ({"data": {"name": "x/${oc.env:SECRET}"}}, r"its `data\.name` is .* this machine's environment"),
        ({"data": {"root": "${oc.decode:${oc.env:X}}"}}, r"its `data\.root` is"),
        ({"student": {"_target_": "torch.nn.Linear", "_args_": [3, 2]}}, r"its `student\._args_\.0` is 3: it could"),
        ({"student": {"model_name": "bert", "trust_remote_code": True}}, r"its `student\.trust_remote_code` is True"),
        ({"student": {"checkpoint_path": "evil.pth"}}, r"its `student\.checkpoint_path` is evil\.pth"),
        ({"student": {"model_name": "hf-hub:who/knows"}}, r"is hf-hub:who/knows: it would be loaded from elsewhere"),
        ({"distiller": {"compile": {"options": {"cpp.cxx": ["/tmp/x"]}}}}, r"its `distiller\.compile\.options\."),
        ({"student": {"_target_": {"a": "os.system"}, "_partial_": "${x}"}}, r"its `student\._partial_`"),
    ],
)
def test_check_trust__names_what_needs_it(config: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        check_trust(config, "x", trusted=False)
    check_trust(config, "x", trusted=True)


def test_leaves__of_nested_lists() -> None:
    assert dict(leaves({"a": [[{"b": 1}], 2], "c": {}})) == {"a.0.0.b": 1, "a.1": 2}


def stranger(folder: Path, target: str = "torch.nn.Linear") -> Path:
    folder.mkdir()
    # OmegaConf reads this tag: paths are objects that the functions for files take.
    text = (
        f"output_dir: x\nstudent:\n  _target_: {target}\n  path: !!python/object/apply:pathlib.PosixPath [{folder}]\n"
    )
    (folder / "config.yaml").write_text(text)
    return folder


def test_evaluate__a_config_that_would_delete_a_folder(tmp_path: Path) -> None:
    folder = stranger(tmp_path / "run", "lightning_distill.files.remove")
    assert read_config(folder / "config.yaml").student.path == folder
    with pytest.raises(ValueError, match=r"its `student\._target_` is lightning_distill\.files\.remove"):
        evaluate.main([f"run={folder}"])
    assert folder.is_dir()


def test_evaluate__a_config_of_aliases_is_not_expanded(tmp_path: Path) -> None:
    lines = ["output_dir: x", "a0: &a0 [1, 1]"] + [f"a{i}: &a{i} [{f'*a{i - 1}, ' * 9}]" for i in range(1, 12)]
    (tmp_path / "config.yaml").write_text("\n".join(lines))
    with pytest.raises(ValueError, match=r"config\.yaml.*repeats parts of itself by aliases"):
        evaluate.main([f"run={tmp_path}"])


def test_evaluate__another_users_program_of_torchs_needs_trust(tmp_path: Path) -> None:
    (tmp_path / "student.pt2").write_bytes(b"")
    (tmp_path / "student.pt2").chmod(0o666)  # anyone may have written it
    with pytest.raises(ValueError, match=r"torch runs what such a file names. If you trust it: trust_config=true"):
        evaluate.main([f"weights={tmp_path / 'student.pt2'}"])


def resumed(folder: Path, **options: Any) -> Any:
    return saved_config(OmegaConf.create({"resume": str(folder), **options}), [f"resume={folder}"])


def test_resume__ones_own_run_may_name_anything(tmp_path: Path) -> None:
    assert resumed(stranger(tmp_path / "run", "mine.Net")).student["_target_"] == "mine.Net"


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="files have no owner here")
@pytest.mark.parametrize("whose", ["another user's", "for everyone to write to"])
def test_resume__another_users_run_needs_trust(whose: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, harmless = stranger(tmp_path / "run", "os.mkdir"), stranger(tmp_path / "harmless")
    for config in (folder / "config.yaml", harmless / "config.yaml"):
        if whose == "for everyone to write to":
            config.chmod(0o666)
        elif os.getuid() == 0:
            os.chown(config, 12345, 12345)
    if whose == "another user's" and os.getuid() != 0:
        user = os.getuid() + 1
        monkeypatch.setattr(os, "getuid", lambda: user)
    with pytest.raises(ValueError, match=r"config\.yaml to name well-known classes only.*os\.mkdir.*trust_config=true"):
        resumed(folder)
    assert resumed(folder, trust_config=True).student["_target_"] == "os.mkdir"
    assert resumed(harmless).student["_target_"] == "torch.nn.Linear"


def test_checkpoint__hyper_parameters_are_data(tmp_path: Path) -> None:
    """What a checkpoint says that it was made with is passed on as values, or refused; nothing is built of it."""
    module = Distiller(nn.Linear(4, 3), nn.Linear(4, 3))
    trainer = pl.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)
    trainer.strategy.connect(module)
    trainer.save_checkpoint(tmp_path / "good.ckpt")
    content = torch.load(tmp_path / "good.ckpt", weights_only=True)
    harm = {"_target_": "os.mkdir", "path": str(tmp_path / "harm")}
    for hostile, refused in ((harm, False), ({"alpha": harm}, True), ({"alpha": "${oc.env:HOME}"}, True)):
        torch.save({**content, "hyper_parameters": hostile}, tmp_path / "bad.ckpt")
        with pytest.raises(ValueError, match="`alpha` to be in") if refused else nullcontext():
            Distiller.load_from_checkpoint(tmp_path / "bad.ckpt", student=nn.Linear(4, 3), weights_only=True)
    assert not (tmp_path / "harm").exists()
