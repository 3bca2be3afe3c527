"""The code of docs/augmentation.md runs, and what it types composes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.configs import ROOT, composed, options

PAGE = (ROOT / "docs" / "augmentation.md").read_text()


@pytest.mark.slow
def test_blocks__run_one_after_the_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    names: dict[str, Any] = {}
    for block in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL):
        exec(block, names)
    assert names["batch"].inputs.shape == (64, 3, 32, 32)
    assert names["views"].shape == (64, 3, 32, 32)
    assert names["distiller"].lr == names["found"].suggestion() != 1e-3
    assert names["size"] == names["data"].batch_size
    assert not any(p.requires_grad for p in names["started"].student.layer1.parameters())


@pytest.mark.parametrize("group", ["augment", "mixing"])
def test_choices__are_all_named(group: str) -> None:
    assert set(re.findall(rf"`{group}=(\w+)`", PAGE)) == set(options(group))


def test_typed__overrides_compose() -> None:
    typed = re.findall(r"`((?:data|distiller|scheduler|augment|mixing)[\w.]*=[^`<]+)`", PAGE)
    assert len(typed) > 10
    for override in typed:
        if override.startswith("data.augment."):
            composed("augment=deit" if "crop" in override or "jitter" in override else "augment=standard", override)
        elif not override.startswith("data.random_crop"):
            composed(override.replace('"', "'"))


def test_links__lead_somewhere() -> None:
    assert all((ROOT / "docs" / link).exists() for link in re.findall(r"\]\((\.\.?/[^)#]+)\)", PAGE))
