import re
from xml.etree import ElementTree as ET

from hypothesis import given
from hypothesis import strategies as st

from exporter.sparkline import HEIGHT, sparkline

SVG_NAMES = {"svg", "path"}


def figure(*watts: float | None) -> str:
    """The path of the power."""
    match = re.search(r'<path class="power" d="([^"]*)"/>', sparkline(watts, label="Power"))
    assert match
    return match[1]


def test_the_highest_value_reaches_the_top_and_zero_lies_on_the_floor() -> None:
    assert figure(0.0, 7200.0, 3600.0) == "M0 32V32h1V1h1V16.5h1V32z"


def test_equal_neighbours_share_a_step() -> None:
    assert figure(2000.0, 2000.0, 2000.0) == "M0 32V1h3V32z"


def test_what_is_not_known_is_a_gap_and_no_zero() -> None:
    assert figure(None, 2000.0, None, None, 0.0) == "M1 32V1h1V32zM4 32V32h1V32z"
    assert figure(None, None) == ""
    assert figure() == ""


def test_a_small_reading_does_not_fill_the_picture() -> None:
    assert figure(100.0) == "M0 32V28.9h1V32z"


def test_a_day_has_a_line_at_every_quarter() -> None:
    assert 'd="M24 0V32M48 0V32M72 0V32"' in sparkline([None] * 96, label="Power")


def test_the_label_names_the_picture_and_cannot_leave_its_attribute() -> None:
    label = 'at most "7.2 kW" & \'<script>'
    root = ET.fromstring(sparkline([1.0], label=label))
    assert (root.get("role"), root.get("aria-label")) == ("img", label)
    assert root.get("style") is None


@given(st.lists(st.none() | st.floats(0, 1e9), max_size=200))
def test_any_day_gives_a_well_formed_picture_that_stays_inside_its_frame(watts: list[float | None]) -> None:
    root = ET.fromstring(sparkline(watts, label="Power"))
    assert {element.tag for element in root.iter()} <= SVG_NAMES
    heights = [float(height) for height in re.findall(r"V(-?[\d.]+)", figure(*watts))]
    assert all(0 <= height <= HEIGHT for height in heights)
    widths = [int(width) for width in re.findall(r"h(\d+)", figure(*watts))]
    assert sum(widths) == sum(one is not None for one in watts)
