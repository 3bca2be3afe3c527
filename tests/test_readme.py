"""README's first block is what a newcomer types. Its Python is run in tests/test_pages.py."""

from __future__ import annotations

from tests.pages import README, blocks


def test_the_first_block_holds_two_commands() -> None:
    first = blocks(README, "bash")[0]
    assert len(first.strip().splitlines()) == 2
    text = README.read_text()
    assert text[: text.index(first)].count("\n") < 15  # on the first screen


def test_the_files_that_are_written_are_shown() -> None:
    code = "\n".join(blocks(README, "python"))
    assert 'save("student.safetensors")' in code
    assert 'save("student.onnx")' in code
