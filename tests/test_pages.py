"""README and docs: their Python runs, their commands compose, their links lead somewhere, and the site builds."""

from __future__ import annotations

from html.parser import HTMLParser
from importlib import import_module
from pathlib import Path
from pkgutil import walk_packages

import nbformat
import pytest
import torch
import yaml
from mkdocs.commands.build import build
from mkdocs.config import load_config
from nbclient import NotebookClient
from omegaconf import OmegaConf
from PIL import Image

import lightning_distill
from lightning_distill.config_keys import check_keys
from lightning_distill.config_networks import start_afresh
from lightning_distill.report import RunFolder
from tests.configs import ROOT, composed, tiny_run
from tests.pages import NAMES, PAGES, README, blocks, commands, links

REFERENCE = ROOT / "docs" / "reference"
# What train.py does, and parts of `report` and `models`.
INTERNAL = ("pipeline", "report.figures", "models.cifar")
# Pages whose Python takes longer than a few seconds.
SLOW = {"augmentation.md"}
RUN = [
    pytest.param(page, id=page.name, marks=[pytest.mark.slow] if page.name in SLOW else [])
    for page in PAGES
    if blocks(page, "python")
]


@pytest.mark.parametrize("page", RUN)
def test_python_blocks__run_one_after_another(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {"__name__": "page"}
    for number, block in enumerate(blocks(page, "python"), start=1):
        exec(compile(block, f"{page.name}, Python block {number}", "exec"), names)


def check_commands(pages: list[Path]) -> int:
    """Compose every command, fail for a key that nothing reads, and return their number."""
    found = {overrides: page.name for page in pages for overrides in commands(page)}
    for overrides, page in found.items():
        try:
            config = composed(*overrides)
            start_afresh(config, overrides)
            check_keys(OmegaConf.to_container(config, resolve=False))
        except Exception as error:
            pytest.fail(f"{page}: python train.py {' '.join(overrides)}\n{error}")
    return len(found)


def test_commands__of_the_readme_compose() -> None:
    assert check_commands([README]) >= 10


@pytest.mark.slow
def test_commands__of_the_docs_compose() -> None:
    assert check_commands([page for page in PAGES if page != README]) >= 20


def test_terms__a_config_of_ones_own_is_found(tmp_path: Path) -> None:
    (text,) = blocks(ROOT / "docs" / "terms.md", "yaml")
    (tmp_path / "terms").mkdir()
    (tmp_path / "terms" / "means.yaml").write_text(text)
    config = composed(f"hydra.searchpath=[file://{tmp_path}]", "+terms@distiller.terms.means=means")
    assert config.distiller.terms.means.weight == 2.0


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_links__lead_somewhere(page: Path) -> None:
    assert [link for link in links(page) if not (page.parent / link).exists()] == []


def test_site__every_page_is_in_the_navigation() -> None:
    assert set(in_navigation(site()["nav"])) == {
        path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")
    }


def test_site__every_sub_package_has_a_reference_page() -> None:
    modules = walk_packages(lightning_distill.__path__, "lightning_distill.")
    packages = [info.name for info in modules if info.ispkg and getattr(import_module(info.name), "__all__", None)]
    texts = [page.read_text() for page in REFERENCE.glob("*.md")]
    missing = {name for name in packages if not any(f"::: {name}\n" in text for text in texts)}
    assert missing == {f"lightning_distill.{name}" for name in INTERNAL}


@pytest.mark.slow
def test_quickstart__own_images_and_networks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    draw_photos(tmp_path / "photos", classes=3, each=8)
    tiny = ("data.image_size=32", "data.resize=32", "data.workers=0", "data.batch_size=4", "export=null")
    networks = (
        "teacher.model.model_name=test_resnet",
        "student.model_name=test_resnet",
        "teacher.model.pretrained=false",
    )
    with_teacher, trains_teacher = (found for found in commands(ROOT / "docs" / "index.md") if "teacher" in str(found))
    assert "teacher.checkpoint=teacher.ckpt" in with_teacher
    typed = [word for word in trains_teacher if not word.startswith("+teacher.model")]
    tiny_run(tmp_path / "first", *typed, "+teacher.model.model_name=test_resnet", *tiny, networks[1])
    (tmp_path / "first" / "checkpoints" / "teacher" / "best.ckpt").rename(tmp_path / "teacher.ckpt")
    tiny_run(tmp_path / "second", *with_teacher, *networks, *tiny)
    first, second = (RunFolder(tmp_path / name).read() for name in ("first", "second"))
    assert first["teacher"]["test/accuracy"] == second["teacher"]["test/accuracy"]
    assert (tmp_path / "second" / "student.safetensors").exists()


@pytest.mark.slow
def test_notebook__runs(tmp_path: Path) -> None:
    notebook = nbformat.read(ROOT / "docs" / "quickstart.ipynb", as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells)  # stored without
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    said = "".join(out.get("text", "") for cell in notebook.cells for out in cell.get("outputs", []))
    assert "with the teacher:" in said
    assert (tmp_path / "student.pt2").exists()


@pytest.mark.slow
def test_site__builds_strictly_and_loads_nothing_from_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    build(load_config(str(ROOT / "mkdocs.yml"), strict=True, site_dir=str(tmp_path)))
    built = sorted(tmp_path.rglob("*.html"))
    assert len(built) > len(PAGES)
    assert {(page.name, address) for page in built for address in loaded(page)} == set()
    distillers = (tmp_path / "reference" / "distillers.html").read_text()
    assert 'id="lightning_distill.distillers.DeiTDistiller"' in distillers
    assert ":class:" not in distillers


def draw_photos(folder: Path, classes: int, each: int) -> None:
    """Noise around one colour for each class, as PNG files."""
    generator = torch.Generator().manual_seed(0)
    for number in range(classes):
        (folder / "train" / f"class_{number}").mkdir(parents=True)
        for index in range(each):
            image = 60 + 30 * torch.rand(40, 48, 3, generator=generator)
            image[..., number] += 100
            Image.fromarray(image.byte().numpy()).save(folder / "train" / f"class_{number}" / f"{index}.png")


def site() -> dict[str, list[object]]:
    """What mkdocs.yml says."""
    loaded: dict[str, list[object]] = yaml.safe_load((ROOT / "mkdocs.yml").read_text())
    return loaded


def in_navigation(entries: list[object]) -> list[str]:
    """The files that a navigation names."""
    files = []
    for entry in entries:
        target = next(iter(entry.values())) if isinstance(entry, dict) else entry
        files += in_navigation(target) if isinstance(target, list) else [str(target)]
    return files


def loaded(page: Path) -> list[str]:
    """What a browser fetches from elsewhere to show a page; links that a reader clicks do not count."""
    found: list[str] = []

    class Fetched(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            for name, value in attrs:
                if tag != "a" and name in ("src", "href", "data", "srcset", "poster") and value:
                    found.extend([value] if value.startswith(("http:", "https:", "//")) else [])

    Fetched().feed(page.read_text())
    return found
