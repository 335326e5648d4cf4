"""What pyproject.toml cannot say: the assets go into the wheel, from where they are in the repository.

An editable install reads them in the checkout. Everything else about the build is in pyproject.toml.
"""

import sys
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
sys.path.insert(0, str(ROOT))

from exporter.assets import FOLDER, matching  # noqa: E402  found by the path above


class BuildWithAssets(build_py):
    """Copies the assets into the package that is built."""

    def _assets(self) -> dict[str, str]:
        """Files of the built package and the files of the repository they come from."""
        if self.editable_mode:
            return {}
        target = Path(self.build_lib, "exporter", FOLDER)
        return {str(target / name): str(name) for name in matching(ROOT)}

    def run(self) -> None:
        """Build the package, then add the assets."""
        super().run()
        for target, source in self._assets().items():
            self.mkpath(str(Path(target).parent))
            self.copy_file(source, target)

    def get_outputs(self, include_bytecode: bool = True) -> list[str]:
        """Name every file that is built."""
        return [*super().get_outputs(include_bytecode), *self._assets()]

    def get_output_mapping(self) -> dict[str, str]:
        """Name every file that is built, with its source."""
        return {**super().get_output_mapping(), **self._assets()}

    def get_source_files(self) -> list[str]:
        """Name every file that the source distribution must have."""
        return [*super().get_source_files(), *map(str, matching(ROOT))]


setup(cmdclass={"build_py": BuildWithAssets})
