import re
from dataclasses import dataclass, field, replace
from html.parser import HTMLParser

import pytest

from exporter.history import History
from exporter.model import ConnectorStatus, Site, Snapshot
from exporter.page import View, page
from exporter.page_style import CONTENT_SECURITY_POLICY, STYLE
from tests.page_worlds import (
    AT,
    CHARGING,
    FREE,
    HISTORY,
    HOSTILE_NAME,
    LONG_NAME,
    RIGHT_TO_LEFT_NAME,
    SITE,
    TURNING_NAME,
    UNKNOWN,
    VIEWS,
    WAITING,
    crowd,
    finished,
    of_site,
    stale,
    view,
)

VOID = {"meta", "path", "wbr"}


@dataclass
class Read(HTMLParser):
    """A page as a browser reads it: elements with their attributes, and texts in order."""

    elements: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    open: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {key: value or "" for key, value in attrs}))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.texts.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", "".join(self.texts))

    def count(self, tag: str) -> int:
        return sum(one == tag for one, _ in self.elements)

    def cards(self) -> list[list[str]]:
        """The classes of each charger's card."""
        return [names for one in self.values("class") if "card" in (names := one.split())]

    def values(self, attribute: str) -> list[str]:
        return [attributes[attribute] for _, attributes in self.elements if attribute in attributes]


def read(view: View) -> Read:
    reader = Read()
    reader.feed(page(view, AT))
    reader.close()
    assert reader.open == []
    return reader


@pytest.mark.parametrize("name", VIEWS)
def test_every_page_is_whole_and_needs_nothing_but_itself(name: str) -> None:
    seen = read(VIEWS[name])
    assert not seen.count("script") + seen.count("img") + seen.count("link") + seen.count("iframe")
    assert not seen.values("style") + seen.values("src")
    assert not [key for _, attributes in seen.elements for key in attributes if key.startswith("on")]
    assert all(target.startswith("/") for target in seen.values("href"))
    classes = {one for names in seen.values("class") for one in names.split()}
    assert {one for one in classes if f".{one}" not in STYLE} <= {"brief", "docs", "unknown"}


def test_the_policy_allows_the_style_sheet_and_nothing_else() -> None:
    assert CONTENT_SECURITY_POLICY.startswith("default-src 'none'; style-src 'sha256-")
    assert "unsafe" not in CONTENT_SECURITY_POLICY
    assert f"<style>{STYLE}</style>" in page(VIEWS["healthy"], AT)


def test_a_card_tells_what_is_known_of_a_charger() -> None:
    text = read(view(of_site(CHARGING))).text
    for expected in (
        "Left garageCharging",
        "about 7.2 kW (estimated)",
        "This session14.31 kWh in 2 h 5 min, since 12:00 UTC",
        "Current asked for32 A",
        "Modemanual",
        "Last report88 s ago, 14:03 UTC",
        "Last 24 hours: ",
        "limits 6 to 40 A, rated 48 A, 240 V",
        "firmware 25.37.1.13",
        "serial 482500000017",
    ):
        assert expected in text


def test_the_last_session_is_not_called_this_one() -> None:
    text = read(view(of_site(FREE))).text
    assert "Last session11.72 kWh, begun 05:45 UTC" in text
    assert "This session" not in text


def test_what_is_not_known_is_said_to_be() -> None:
    text = read(view(of_site(UNKNOWN), History())).text
    assert text.count("not known") >= 8
    assert "482500000021Unknown" in text
    assert "None" not in text
    assert "Last 24 hours: nothing recorded yet." in text


def test_times_have_a_form_for_programs_too() -> None:
    assert "2026-05-02T14:03:30Z" in read(view(of_site(CHARGING))).values("datetime")


def test_a_site_has_totals_and_says_when_they_do_not_stand_for_all() -> None:
    text = read(VIEWS["faulted"]).text
    assert "5 chargers, 1 charging, about 7.2 kW (estimated); 3 of 5 not known." in text
    assert "Chargers5Charging now1Energy counted3,766.3 kWh; 1 of 5 not knownPowerabout 7.2 kW" in text


def test_the_day_is_a_picture_with_a_name_and_words() -> None:
    seen = read(view(of_site(CHARGING)))
    (label,) = [attributes["aria-label"] for tag, attributes in seen.elements if tag == "svg"]
    assert label == "Power. Last 24 hours: 14.40 kWh, at most 7.2 kW"
    assert "Last 24 hours: 14.40 kWh, at most 7.2 kW" in seen.text
    assert seen.values("viewbox") == ["0 0 95 32"]  # the quarter hour that goes on is left out


def test_a_day_that_is_known_in_part_says_so() -> None:
    labels = [one for one in read(VIEWS["faulted"]).values("aria-label") if one.startswith("Power")]
    assert "Power. Last 24 hours: 30.38 kWh, at most 9.0 kW; known for 22 h" in labels
    assert "Power. Last 24 hours: nothing charged; known for 3 h" in labels


def test_the_day_of_a_world_that_runs_faster_ends_with_its_own_now() -> None:
    later = SITE.status_timestamp_seconds or 0.0
    shifted = replace(SITE, status_timestamp_seconds=later + 43_200, chargers=(CHARGING,))
    (label,) = [
        one for one in read(view(Snapshot((shifted,)))).values("aria-label") if one.startswith("Power")
    ]
    assert label.startswith("Power. Last 24 hours: 14.40 kWh")
    tomorrow = replace(shifted, status_timestamp_seconds=later + 200_000)
    assert "Last 24 hours: nothing charged" in read(view(Snapshot((tomorrow,)))).text


def test_old_figures_stay_and_are_called_old() -> None:
    seen = read(stale())
    assert "When last heard of: 2 chargers" in seen.text
    assert "These figures are old: from 40 min ago, 13:25 UTC" in seen.text
    assert "Charging (old)" in seen.text
    assert "The 24 hours before" in seen.text
    assert seen.cards() == [["card", "charging", "old"], ["card", "waiting", "old"]]
    assert "(old)" not in read(VIEWS["charging"]).text


def test_trouble_comes_before_everything_else_and_shows_in_the_title() -> None:
    seen = read(VIEWS["login_needed"])
    assert seen.text.index("login needed") < seen.text.index("Sunny Lane")
    assert "enphase-ev-exporter login --account home" in seen.text
    assert "Read on in docs/runbooks/EnphaseEVLoginNeedsPerson.md" in seen.text
    assert seen.text.startswith("Trouble | Enphase EV exporter")
    assert read(VIEWS["charging"]).text.startswith("1 charging | Enphase EV exporter")
    assert "All is well" not in seen.text
    assert "All is well" in read(VIEWS["charging"]).text


def test_before_the_first_answer_nothing_is_called_well() -> None:
    text = read(VIEWS["nothing_yet"]).text
    assert "waits for the first answers" in text
    assert "All is well" not in text
    assert "All is well" not in read(view(Snapshot((Site("1", "home"),)))).text


def test_a_past_that_cannot_be_read_is_a_note_on_the_page() -> None:
    seen = read(VIEWS["exporter"])
    assert "The state could not be read: state.sqlite3: disk I/O error." in seen.text


def test_hostile_names_are_text_and_turn_nothing() -> None:
    seen = read(VIEWS["hostile"])
    assert seen.text.count(HOSTILE_NAME) >= 4
    assert not seen.count("b") + seen.count("u") + seen.count("s")
    assert not set("\u202e\u2066\x1b\x00") & set(seen.text)
    assert TURNING_NAME.translate(dict.fromkeys(map(ord, "\u202e\u2066\x1b\x00"), "\ufffd")) in seen.text
    assert LONG_NAME in seen.text
    isolated = [attributes for tag, attributes in seen.elements if tag == "bdi"]
    assert isolated
    assert all(attributes == {"dir": "auto"} for attributes in isolated)
    assert f'<bdi dir="auto">{RIGHT_TO_LEFT_NAME}</bdi>' in page(VIEWS["hostile"], AT)


def test_half_a_character_does_not_break_the_page() -> None:
    broken = view(of_site(replace(CHARGING, name="half \ud83d", connector_status_reason="\udfff")))
    assert "half \ufffd" in page(broken, AT).encode().decode()


def test_families_of_pictures_stay_together() -> None:
    assert "👩\u200d👧" in page(view(of_site(replace(CHARGING, name="👩\u200d👧"))), AT)


def test_the_raw_text_of_an_unknown_state_is_shown() -> None:
    dancing = replace(FREE, connector_status=ConnectorStatus.UNKNOWN, connector_status_raw="dancing")
    assert "Left garageDancing" in read(view(of_site(dancing))).text


def test_recent_sessions_name_the_charger_or_its_serial() -> None:
    text = read(VIEWS["charging"]).text
    assert "06:05Left garagegreen (own solar power)11.72 kWh1 h 55 min7.3 kW" in text
    assert "Fri 28 Mar 2025 14:05482500000099" in text


def test_the_time_of_a_session_is_called_what_was_seen_of_it() -> None:
    text = read(VIEWS["charging"]).text
    assert "EnergySeen chargingPeak, estimated" in text
    assert "Charged for" not in text


def test_sessions_of_sites_that_are_not_on_the_page_are_left_out() -> None:
    other = replace(finished(1, 99.99), site_id="7654321")
    text = read(view(of_site(FREE), History(sessions=[other]))).text
    assert "99.99" not in text
    assert "No finished charging session is recorded yet." in text


def test_links_lead_to_metrics_targets_and_health() -> None:
    odd = replace(SITE, site_id="a b&c", chargers=())
    links = read(view(Snapshot((odd,)))).values("href")
    assert links == ["/metrics", "/probe?target=a%20b%26c", "/sd", "/-/healthy", "/-/ready", "/?refresh=off"]


def test_the_page_loads_itself_again_unless_it_is_held_still() -> None:
    assert 'http-equiv="refresh" content="30"' in page(VIEWS["healthy"], AT)
    still = page(replace(VIEWS["healthy"], refreshes=False), AT)
    assert "http-equiv" not in still
    assert '<a href="/">let it</a>' in still


def test_a_hundred_chargers_are_folded_with_the_pressing_ones_first() -> None:
    html = page(VIEWS["crowd"], AT)
    assert len(html.encode()) < 400_000
    seen = read(VIEWS["crowd"])
    assert len(seen.cards()) == 100
    assert html.count('<details class="card') == 100
    first_of_site = re.findall(r'<section><h2>.*?<details class="card (\w+)"', html)
    assert first_of_site == ["fault", "free", "free", "charging"]
    assert "8 chargers with a faultBay 10, Bay 22, Bay 34, Bay 46, Bay 58 and 3 more" in seen.text


def test_a_fleet_shows_the_most_pressing_and_links_to_the_rest() -> None:
    fleet = crowd(1200)
    seen = read(fleet)
    assert len(seen.cards()) == 200
    assert "1,200 chargers at 4 sites" in seen.text
    assert "more chargers not shown here" in seen.text
    assert "/?site_id=4100000" in seen.values("href")


def test_sums_of_a_fleet_count_the_chargers_that_are_not_shown() -> None:
    assert "Chargers300" in read(crowd(1200)).text


def test_a_small_site_is_not_folded() -> None:
    assert '<details class="card' not in page(view(of_site(FREE, CHARGING, WAITING), HISTORY), AT)
