"""The metadata is in pyproject.toml; this is what a build does besides."""

from pathlib import Path

import polib
import setuptools
from setuptools.command import build_py

PACKAGE = Path(__file__).parent / "deploy_manager"


class BuildWithTranslations(build_py.build_py):
    """Compiles translations beside their sources, for wheels and for editable installations."""

    def run(self) -> None:
        for source in PACKAGE.glob("locale/*/LC_MESSAGES/*.po"):
            polib.pofile(str(source)).save_as_mofile(str(source.with_suffix(".mo")))
        super().run()  # copies what is there now


setuptools.setup(cmdclass={"build_py": BuildWithTranslations})
