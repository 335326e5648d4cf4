"""`release_notes.py v1.2.3` prints what CHANGELOG.md says of that version.

It ends with 1 when the tag is not the version of the code, or changelog or contract are not ready.
"""

import json
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def notes_of(tag: str, root: Path) -> str:
    """The changelog's text for the tag's version; ValueError says what is not ready for a release."""
    code = (root / "exporter" / "__init__.py").read_text(encoding="utf-8")
    version = re.findall(r'^__version__ = "(.+)"$', code, flags=re.MULTILINE)
    if [tag] != [f"v{number}" for number in version]:
        raise ValueError(f"the tag is {tag}, exporter/__init__.py says {', '.join(version)}")
    contract = json.loads((root / "tests/golden/contract.json").read_text(encoding="utf-8"))
    if f"v{contract['release']}" != tag:
        raise ValueError(f"tests/golden/contract.json is of {contract['release']}: make contract")
    return _section(version[0], (root / "CHANGELOG.md").read_text(encoding="utf-8"))


def _section(version: str, changelog: str) -> str:
    heading = rf"^## \[{re.escape(version)}\] - \d{{4}}-\d\d-\d\d$"
    found = re.search(rf"{heading}\n(?P<text>(?:(?!^## ).*\n?)*)", changelog, flags=re.MULTILINE)
    if found is None or not found["text"].strip():
        raise ValueError(f"CHANGELOG.md has no '## [{version}] - YYYY-MM-DD' with something under it")
    return found["text"].strip()


if __name__ == "__main__":
    try:
        sys.stdout.write(notes_of(sys.argv[1], ROOT) + "\n")
    except ValueError as error:
        sys.exit(f"not ready for a release: {error}")
