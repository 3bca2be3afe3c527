"""Puts ``conf/`` into the wheel as ``lightning_distill/conf``; everything else about the build is in pyproject.toml."""

from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildWithConfigs(build_py):
    """An editable install reads the configs where they are, so that a change counts at once."""

    def run(self) -> None:
        super().run()
        if self.editable_mode:
            return
        for source in sorted(Path("conf").rglob("*.yaml")):
            target = Path(self.build_lib, "lightning_distill", source)
            self.mkpath(str(target.parent))
            self.copy_file(str(source), str(target), preserve_mode=False)


setup(cmdclass={"build_py": BuildWithConfigs})
