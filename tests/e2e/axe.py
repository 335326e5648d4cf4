"""axe-core, the accessibility checker, run inside a page of the browser."""

from functools import cache
from importlib.resources import files
from typing import Any

from tests.e2e.browser import Browser


@cache
def _source() -> str:
    return files("axe_core_python").joinpath("axe.min.js").read_text(encoding="utf-8")


def violations(browser: Browser, *, without: tuple[str, ...] = ()) -> list[str]:
    """Each rule that the open page breaks, with the first element that does; `without`: rules left out."""
    rules = {rule: {"enabled": False} for rule in without}
    browser.run(_source())
    result: dict[str, Any] = browser.ask(
        "execute/async",
        script="const done = arguments[1]; axe.run(document, {rules: arguments[0]}).then(done);",
        args=[rules],
    )
    assert result["passes"], "axe-core has checked nothing"
    return [
        f"{one['id']}: {one['help']}: {one['nodes'][0]['html'][:120]} {one['nodes'][0]['failureSummary']}"
        for one in result["violations"]
    ]
