"""The page of a run: what is in it, that it holds everything itself, and what a browser makes of it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from lightning_distill.data import TensorDataModule
from lightning_distill.report import RunFolder, figures, write_report
from lightning_distill.report.html import figure, page, table, tag
from lightning_distill.report.predictions import Predictions, read_predictions, save_predictions
from lightning_distill.report.samples import as_image, disagreements, find_inputs, in_words
from tests.configs import TINY, files, planned, tiny_run
from tests.report import browser
from tests.report.browser import Browser

ROLES = ("teacher", "baseline", "student")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with its report."""
    folder = tmp_path_factory.mktemp("run")
    tiny_run(folder, "report=true", "export=null")
    return folder


@pytest.fixture(scope="module")
def text(run: Path) -> str:
    return (run / "report.html").read_text()


class Texts(HTMLParser):
    """What a reader reads."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_data(self, data: str) -> None:
        self.found.append(data)


def read(html: str) -> str:
    parser = Texts()
    parser.feed(html)
    return re.sub(r"\s+", " ", " ".join(parser.found))


def test_page__has_all_parts(text: str) -> None:
    headings = re.findall(r"<h2>(.*?)</h2>", text)
    parts = ["Side by side", "Calibration", "Class by class", "Curves", "Disagreements", "Soft targets"]
    assert headings == [*parts, "How it was made"]
    said = read(text)
    for quantity in (
        *("accuracy", "negative log likelihood", "expected calibration error", "agreement with the teacher"),
        *("KL from the teacher", "parameters", "operations per sample", "CPU, batch of 1", "CPU, batch of 64"),
        *("time per epoch", "best epoch", "validation accuracy, last", "An epoch of distillation takes"),
    ):
        assert quantity in said, quantity
    assert "37.82 k" in said  # the student's operations: by hand, below
    assert "could not be drawn" not in said


def test_page__loads_nothing(text: str) -> None:
    assert "default-src 'none'; img-src data:" in text
    assert "<script" not in text
    sources = re.findall(r'\b(?:src|href)="([^"#][^"]{0,40})', text)
    assert all(source.startswith("data:") for source in sources)
    assert not re.search(r"url\((?!#)", text)


def test_page__figures_are_files_too(run: Path, text: str) -> None:
    drawn = [name for name in files(run) if name.startswith("report/")]
    assert {"report/reliability.png", "report/confusion.png", "report/agreement.png", "report/curve_loss.png"} <= set(
        drawn
    )
    assert text.count("<svg") == len(drawn)
    assert len([name for name in drawn if name.startswith("report/softened_")]) == 6
    assert all((run / name).read_bytes().startswith(b"\x89PNG") for name in drawn)


def test_page__ids_are_unique(text: str) -> None:
    ids = re.findall(r'\bid="([^"]+)"', text)
    assert len(ids) == len(set(ids))


def test_page__numbers_are_those_of_the_run(run: Path, text: str) -> None:
    metrics = RunFolder(run).read()
    for role in ROLES:
        assert f"{metrics[role]['test/accuracy']:.2%}" in text
    assert f"{metrics['student']['test/teacher_agreement']:.2%}" in text
    assert f"{metrics['student']['test/student_loss']:.4f}" in read(text)  # the negative log likelihood


def test_page__says_what_was_typed(run: Path, text: str) -> None:
    assert metrics_command(run) in read(text)


def metrics_command(run: Path) -> str:
    return str(RunFolder(run).read()["run"]["command"])


def test_predictions__are_those_of_the_test(run: Path) -> None:
    found = read_predictions(RunFolder(run))
    assert list(found) == list(ROLES)
    metrics = RunFolder(run).read()
    for role, own in found.items():
        accuracy = (own.logits.argmax(dim=1) == own.target).double().mean().item()
        assert accuracy == pytest.approx(metrics[role]["test/accuracy"], abs=1e-6)


def test_predictions__of_other_samples_are_left_out(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    rows = {"logits": torch.eye(3), "target": torch.tensor([0, 1, 2])}
    save_predictions(rows, folder.predictions("student"))
    save_predictions(rows | {"target": torch.tensor([0, 1, 1])}, folder.predictions("teacher"))
    folder.predictions("baseline").write_bytes(b"damaged")
    assert list(read_predictions(folder)) == ["student"]


@pytest.mark.slow
def test_report__comes_again_with_a_finished_run(run: Path, tmp_path: Path) -> None:
    """From the folder alone: without the networks' test pass, as after ``resume``."""
    plan = planned(run, *TINY)
    networks = {"student": plan.student()}
    before = read_predictions(RunFolder(run))["student"].logits.clone()
    write_report(RunFolder(run), networks, plan.stage.data.example_input, plan.stage.data)  # type: ignore[attr-defined]
    assert read_predictions(RunFolder(run))["student"].logits.equal(before)
    assert "Disagreements" in (run / "report.html").read_text()


def test_run__survives_a_report_that_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("lightning_distill.report.contents.read_rows", lambda path: 1 / 0)
    tiny_run(tmp_path, "report=true", "export=null", "teacher=null")
    assert RunFolder(tmp_path).read()["run"]["finished"]
    assert "report: it could not be drawn (ZeroDivisionError: division by zero)" in capsys.readouterr().out


def small(folder: RunFolder) -> str:
    """The page of a run on samples that are no images, in two classes with odd names."""
    target = torch.tensor([0, 1, 0])
    inputs = torch.tensor([[0.5, 1.5], [2.0, 3.0], [4.0, 5.0]])
    for role, logits in (("teacher", torch.eye(2)[[0, 1, 0]]), ("student", torch.eye(2)[[0, 1, 1]])):
        save_predictions({"logits": logits, "target": target}, folder.predictions(role))
        folder.write(role, {"test/accuracy": 1.0})
    samples = (inputs, target)
    data = TensorDataModule(samples, samples, samples, num_classes=2, class_names=["a<b", "c"])
    write_report(folder, {"student": nn.Linear(2, 2)}, data.example_input, data)
    return folder.report.read_text()


def test_figure__that_fails_costs_only_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*arguments: object) -> Figure:
        raise RuntimeError("<no pen>")

    monkeypatch.setattr(figures, "reliability_figure", broken)
    text = small(RunFolder(tmp_path))
    assert "This could not be drawn: RuntimeError: &lt;no pen&gt;" in text
    assert "Class by class" in text


class Regressor(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 2)

    def forward(self, inputs: Tensor) -> Tensor:
        output: Tensor = self.fc(inputs)
        return output


def test_report__of_another_task_is_shorter(tmp_path: Path) -> None:
    """No classes: no calibration, no confusion; numbers, curves and what was typed are there."""
    folder = RunFolder(tmp_path)
    folder.write("student", {"test/student_loss": 0.5, "test/error": 0.25, "parameters": 10})
    folder.write("run", {"command": "python train.py data=<mine>"})
    folder.csv("student").write_text("epoch,step,lr,seconds,train/loss\n0,1,0.1,0.5,2.0\n1,2,0.1,0.5,1.0\n")
    samples = (torch.randn(6, 4), torch.randn(6, 2))
    data = TensorDataModule(samples, samples, samples, num_classes=2, batch_size=3)
    write_report(folder, {"student": Regressor()}, data.example_input, data)
    text = folder.report.read_text()
    assert re.findall(r"<h2>(.*?)</h2>", text) == ["Side by side", "Curves", "How it was made"]
    assert "0.2500" in text
    assert "python train.py data=&lt;mine&gt;" in text
    assert "There is no accuracy to compare." in text


def test_samples__that_are_no_images_are_a_table(tmp_path: Path) -> None:
    text = small(RunFolder(tmp_path))
    assert "4, 5" in read(text)
    assert "a&lt;b" in text
    assert "a<b" not in text


def test_disagreements__the_students_own_mistakes_come_first() -> None:
    target = torch.tensor([0, 0, 0, 0])
    student = Predictions(torch.tensor([[9.0, 0.0], [1.0, 2.0], [0.0, 5.0], [0.0, 9.0]]), target)
    baseline = Predictions(torch.eye(2)[[1, 0, 0, 1]], target)
    assert disagreements({"baseline": baseline, "student": student}) == [2, 1, 0]


def test_inputs__of_a_loader_with_other_samples_are_not_shown() -> None:
    samples = (torch.arange(6.0).view(6, 1), torch.tensor([0, 1, 0, 1, 0, 1]))
    data = TensorDataModule(samples, samples, samples, num_classes=2, batch_size=4)
    own = Predictions(torch.zeros(6, 2), samples[1])
    assert {row: float(value) for row, value in find_inputs(data, [5, 1], own).items()} == {1: 1.0, 5: 5.0}
    assert find_inputs(data, [5, 1], Predictions(torch.zeros(6, 2), samples[1].flip(0))) == {}


def test_image__is_shown_as_it_was_before_normalisation() -> None:
    data = TensorDataModule(
        (torch.zeros(2, 1), torch.tensor([0, 1])), (torch.zeros(2, 1), torch.tensor([0, 1])), num_classes=2
    )
    data.mean, data.std = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)
    shown = as_image(torch.zeros(3, 4, 4), data)
    assert shown is not None
    assert shown.shape == (4, 4, 3)
    assert float(shown.mean()) == 0.5
    assert as_image(torch.zeros(7), data) is None


def test_words__of_what_is_no_image() -> None:
    assert (
        in_words({"input_ids": torch.tensor([3, 4]), "mask": torch.tensor([1.0, 0.0])}) == "input_ids: 3, 4; mask: 1, 0"
    )
    assert len(in_words(torch.arange(1000))) <= 120


def test_html__escapes_every_text() -> None:
    assert tag("p", "<script>", title='"x"') == '<p title="&quot;x&quot;">&lt;script&gt;</p>'
    assert "<b>" not in table(["<b>"], [["<b>", tag("td", "<b>")], "<b>"])
    assert 'aria-label="a &quot;b&quot;"' in figure("<svg x>", 'a "b"')
    assert "<title>&lt;i&gt;</title>" in page("<i>", "<p>")
    assert "&lt;p&gt;" in page("<i>", "<p>")


@pytest.fixture(scope="module")
def window() -> Iterator[Browser]:
    if browser.chromium() is None or browser.chromedriver() is None:
        pytest.skip("no chromium and chromedriver on the path, nor named by $CHROMIUM and $CHROMEDRIVER")
    with browser.opened() as opened:
        yield opened


@pytest.mark.slow
@pytest.mark.parametrize("width", browser.WIDTHS)
@pytest.mark.parametrize("scheme", browser.SCHEMES)
def test_browser__shows_the_page(run: Path, window: Browser, width: int, scheme: str) -> None:
    window.requests()  # what the empty window asked for
    window.open(run / "report.html", width, scheme)
    assert window.complaints() == []
    assert window.requests() == [(run / "report.html").as_uri()]
    assert window.run("document.documentElement.scrollWidth") <= width
    # Every figure and picture is drawn, and no figure is too small to read.
    sizes = window.run("[...document.querySelectorAll('figure svg')].map(s => s.getBoundingClientRect().width)")
    assert len(sizes) > 10
    assert min(sizes) >= 250
    assert window.run("[...document.images].every(image => image.naturalWidth > 0)")
    dark = window.run("getComputedStyle(document.body).backgroundColor") == "rgb(17, 20, 23)"
    assert dark == (scheme == "dark")
    # Figures follow the scheme, too.
    ink = "getComputedStyle(document.querySelector('figure svg text')).fill"
    assert window.run(ink) == ("rgb(232, 234, 237)" if dark else "rgb(27, 31, 36)")
