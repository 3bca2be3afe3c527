"""The parts of the page, in the order in which people ask."""

from __future__ import annotations

import re
import shlex
from datetime import datetime, timezone

from lightning_distill.report import figures
from lightning_distill.report.comparison import comparison_table, cost_sentence, epochs_sentence
from lightning_distill.report.contents import Contents
from lightning_distill.report.drawing import draw
from lightning_distill.report.environment import hardware, versions
from lightning_distill.report.html import Html, image, join, page, section, table, tag
from lightning_distill.report.quality import choices
from lightning_distill.report.samples import as_image, image_png, in_words
from lightning_distill.report.verdict import verdict_of

MEANING = {"teacher": "the network to learn from", "baseline": "the student, trained alone", "student": "distilled"}


def whole_page(contents: Contents) -> str:
    """The page of one run."""
    title = f"Distillation report: {contents.folder.path.name}"
    parts = [_head(contents, title), _numbers(contents), _calibration(contents), _classes(contents)]
    parts += [_curves(contents), _samples(contents), _softened(contents), _made_by(contents)]
    return page(title, *(part for part in parts if part))


def _head(contents: Contents, title: str) -> Html:
    cards = []
    for role in contents.roles:
        accuracy = contents.number(role, "test/accuracy")
        shown = "–" if accuracy is None else f"{accuracy:.2%}"  # noqa: RUF001
        cards.append(
            tag("div", tag("span", role, class_="role"), tag("b", shown), MEANING[role], class_=f"card {role}")
        )
    return join(
        [
            tag("h1", title),
            tag(
                "p",
                f"Made {datetime.now(timezone.utc):%Y-%m-%d %H:%M} UTC. Accuracy on the test split:",
                class_="muted",
            ),
            tag("div", *cards, class_="cards"),
            tag("div", verdict_of(contents.metrics), class_="verdict"),
        ]
    )


def _numbers(contents: Contents) -> Html:
    return section(
        "Side by side",
        comparison_table(contents),
        tag("p"),
        tag("p", cost_sentence(contents)),
        tag("p", epochs_sentence(contents), class_="muted"),
    )


def _calibration(contents: Contents) -> Html:
    if not contents.predictions:
        return Html("")
    folder, answers = contents.folder.figures, contents.predictions
    said = (
        "Accuracy over confidence, in 15 bins. On the dashed line a network is as sure as it is right; below it, it is "
        "too sure."
    )
    drawn = (
        draw(folder, "reliability", said, figures.reliability_figure, answers),
        draw(
            folder,
            "confidence",
            "How many test samples are answered with which confidence.",
            figures.confidence_figure,
            answers,
        ),
    )
    return section("Calibration", tag("div", *drawn, class_="figures"))


def _classes(contents: Contents) -> Html:
    folder, answers, names = contents.folder.figures, contents.predictions, contents.class_names
    drawn = []
    if {"teacher", "student"} <= answers.keys():
        said = "By true class: how often baseline and student choose what the teacher chooses."
        drawn.append(draw(folder, "agreement", said, figures.agreement_figure, answers, names))
    if {"baseline", "student"} <= answers.keys():
        said = (
            "Test samples by true and chosen class, student minus baseline. On the diagonal more is better, elsewhere "
            "less."
        )
        drawn.append(draw(folder, "confusion", said, figures.confusion_figure, answers, names))
    return section("Class by class", tag("div", *drawn, class_="figures")) if drawn else Html("")


def _curves(contents: Contents) -> Html:
    if not contents.rows:
        return Html("")
    best = {role: int(epoch) for role in contents.roles if (epoch := contents.number(role, "best_epoch")) is not None}
    drawn = []
    for name, drawing in figures.curve_figures(contents.rows, best):
        file = "curve_" + re.sub(r"\W+", "_", name)
        drawn.append(
            draw(contents.folder.figures, file, f"{name.replace('_', ' ')} by epoch.", lambda ready=drawing: ready)
        )
    said = "Training is drawn solid, validation dashed; a dot marks the epoch that counts."
    return section("Curves", tag("p", said, class_="muted"), tag("div", *drawn, class_="figures"))


def _samples(contents: Contents) -> Html:
    if not contents.disagreeing:
        return Html("")
    answers, names = contents.predictions, contents.class_names
    chosen = {role: choices(own) for role, own in answers.items()}
    sure = {role: own.logits.softmax(dim=1).amax(dim=1) for role, own in answers.items()}
    cards, rows = [], []
    for row in contents.disagreeing:
        target = int(answers["student"].target[row])
        said = {role: (int(chosen[role][row]), float(sure[role][row])) for role in answers}
        marked = {
            role: tag("span", f"{names[choice]} ({share:.0%})", class_="ok" if choice == target else "no")
            for role, (choice, share) in said.items()
        }
        picture = _picture(contents, row)
        if picture:
            lines = [tag("div", tag("span", role, class_=f"role {role}"), " ", mark) for role, mark in marked.items()]
            cards.append(tag("div", picture, tag("b", f"label {names[target]}"), *lines, class_="sample"))
        else:
            words = in_words(contents.inputs.get(row, "")) or f"test sample {row}"
            rows.append(
                [tag("td", words, class_="words"), names[target], *(tag("td", mark) for mark in marked.values())]
            )
    text = (
        f"{len(contents.disagreeing)} test samples about which the networks disagree, with their confidence; first "
        "those that the student alone gets wrong."
    )
    shown = [tag("p", text, class_="muted")]
    shown += [tag("div", *cards, class_="samples")] if cards else []
    shown += [table(["sample", "label", *answers], rows)] if rows else []
    return section("Disagreements", *shown)


def _picture(contents: Contents, row: int) -> Html | None:
    drawn = as_image(contents.inputs.get(row), contents.data)
    return None if drawn is None else image(image_png(drawn), f"test sample {row}")


def _softened(contents: Contents) -> Html:
    temperature = contents.number("run", "temperature")
    if not contents.softened or not temperature:
        return Html("")
    answers, names = contents.predictions, contents.class_names
    drawn = []
    for row in contents.softened:
        target = int(answers["teacher"].target[row])
        logits = {role: answers[role].logits[row] for role in ("teacher", "student")}
        said = f"Test sample {row}, label {names[target]}."
        arguments = (logits, target, temperature, names)
        shown = draw(contents.folder.figures, f"softened_{row}", said, figures.softened_figure, *arguments)
        picture = _picture(contents, row)
        drawn.append(tag("div", picture, shown, class_="softened") if picture else shown)
    text = (
        f"What the student learns from: the teacher's probabilities at temperature {temperature:g}, for samples from "
        "the one of which it is least sure to the one of which it is surest. Grey is the teacher without softening."
    )
    return section("Soft targets", tag("p", text, class_="muted"), tag("div", *drawn, class_="figures"))


def _made_by(contents: Contents) -> Html:
    run = contents.metrics.get("run", {})
    config = contents.folder.config
    facts = [
        ["seed", str(run.get("seed", "–"))],  # noqa: RUF001
        *([name, value] for name, value in versions().items()),
        *([name, value] for name, value in hardware().items()),
        ["folder", str(contents.folder.path)],
    ]
    parts: list[str] = [tag("pre", str(run.get("command") or shlex.join(["python", "train.py"])))]
    parts.append(table(["", ""], [[name, tag("td", value, class_="words")] for name, value in facts]))
    if config.exists():
        parts.append(tag("details", tag("summary", "The whole config"), tag("pre", config.read_text())))
    return section("How it was made", *parts)
