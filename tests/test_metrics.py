"""The table: its contract with spec and documentation, and what its rows make of objects."""

import re
from itertools import chain
from pathlib import Path

import pytest

from exporter.metrics import METRICS, Entry, Metric, catalogue, markdown, samples
from exporter.model import Account, ChargeMode, Charger, ConnectorStatus, NetworkAddress, Site, Snapshot

CHARGER = ("site_id", "serial")
CONTRACT = {
    "enphase_ev_charger_info": (
        "gauge",
        (*CHARGER, "name", "model", "firmware_version", "processor_board_version"),
    ),
    "enphase_ev_charger_connected": ("gauge", CHARGER),
    "enphase_ev_charger_plugged_in": ("gauge", CHARGER),
    "enphase_ev_charger_charging": ("gauge", CHARGER),
    "enphase_ev_charger_faulted": ("gauge", CHARGER),
    "enphase_ev_charger_connector_status": ("gauge", (*CHARGER, "status")),
    "enphase_ev_charger_connector_status_reason": ("gauge", (*CHARGER, "reason")),
    "enphase_ev_charger_charging_level_amperes": ("gauge", CHARGER),
    "enphase_ev_charger_min_amperes": ("gauge", CHARGER),
    "enphase_ev_charger_max_amperes": ("gauge", CHARGER),
    "enphase_ev_charger_rated_amperes": ("gauge", CHARGER),
    "enphase_ev_charger_operating_voltage_volts": ("gauge", CHARGER),
    "enphase_ev_charger_session_energy_kwh": ("gauge", CHARGER),
    "enphase_ev_charger_session_start_timestamp_seconds": ("gauge", CHARGER),
    "enphase_ev_charger_session_plugged_in_timestamp_seconds": ("gauge", CHARGER),
    "enphase_ev_charger_session_plugged_out_timestamp_seconds": ("gauge", CHARGER),
    "enphase_ev_charger_power_watts": ("gauge", CHARGER),
    "enphase_ev_charger_energy_kwh_total": ("counter", CHARGER),
    "enphase_ev_charger_lifetime_energy_kwh_total": ("counter", CHARGER),
    "enphase_ev_charger_sessions_total": ("counter", CHARGER),
    "enphase_ev_charger_faults_total": ("counter", CHARGER),
    "enphase_ev_charger_charging_seconds_total": ("counter", CHARGER),
    "enphase_ev_charger_plugged_in_seconds_total": ("counter", CHARGER),
    "enphase_ev_charger_charge_mode": ("gauge", (*CHARGER, "mode")),
    "enphase_ev_charger_running_charge_mode": ("gauge", (*CHARGER, "mode")),
    "enphase_ev_charger_safe_limit_active": ("gauge", CHARGER),
    "enphase_ev_charger_dlb_active": ("gauge", CHARGER),
    "enphase_ev_charger_schedule_enabled": ("gauge", CHARGER),
    "enphase_ev_charger_schedule_info": ("gauge", (*CHARGER, "mode")),
    "enphase_ev_charger_dlb_enabled": ("gauge", CHARGER),
    "enphase_ev_charger_last_reported_timestamp_seconds": ("gauge", CHARGER),
    "enphase_ev_charger_network_info": ("gauge", (*CHARGER, "interface", "ip_address")),
    "enphase_ev_up": ("gauge", ("site_id",)),
    "enphase_ev_site_info": ("gauge", ("site_id", "name", "account")),
    "enphase_ev_chargers": ("gauge", ("site_id",)),
    "enphase_ev_status_timestamp_seconds": ("gauge", ("site_id",)),
    "enphase_ev_last_attempt_timestamp_seconds": ("gauge", ("site_id", "endpoint")),
    "enphase_ev_last_success_timestamp_seconds": ("gauge", ("site_id", "endpoint")),
    "enphase_ev_poll_interval_seconds": ("gauge", ("site_id",)),
    "enphase_ev_polls_total": ("counter", ("site_id", "result")),
    "enphase_ev_scrape_interval_seconds": ("gauge", ()),
    "enphase_ev_scrape_data_age_seconds": ("histogram", ()),
    "enphase_ev_control_commands_total": ("counter", ("command", "result")),
    "enphase_ev_payload_problems_total": ("counter", ("endpoint", "problem")),
    "enphase_ev_api_requests_total": ("counter", ("account", "endpoint", "code")),
    "enphase_ev_api_errors_total": ("counter", ("account", "endpoint", "kind")),
    "enphase_ev_api_rate_limited_total": ("counter", ("account", "endpoint")),
    "enphase_ev_api_request_duration_seconds": ("histogram", ("endpoint",)),
    "enphase_ev_api_backoff_seconds": ("gauge", ("account",)),
    "enphase_ev_api_request_budget_per_hour": ("gauge", ("account",)),
    "enphase_ev_api_requests_last_hour": ("gauge", ("account",)),
    "enphase_ev_state_writes_failed_total": ("counter", ()),
    "enphase_ev_state_set_aside": ("gauge", ()),
    "enphase_ev_auth_up": ("gauge", ("account",)),
    "enphase_ev_auth_reauthentication_required": ("gauge", ("account",)),
    "enphase_ev_auth_token_expiry_timestamp_seconds": ("gauge", ("account",)),
    "enphase_ev_auth_blocked_until_timestamp_seconds": ("gauge", ("account",)),
    "enphase_ev_auth_logins_total": ("counter", ("account", "result")),
    "enphase_ev_exporter_build_info": ("gauge", ("version", "revision", "python_version")),
    "enphase_ev_config_last_reload_successful": ("gauge", ()),
}

BARE = Charger(site_id="1", serial="a")


def row(name: str) -> Metric:
    return next(metric for metric in METRICS if metric.name == name)


def test_the_catalogue_has_the_names_types_and_labels_of_the_contract() -> None:
    assert {entry.name: (entry.kind, entry.labels) for entry in catalogue()} == CONTRACT


def test_no_name_is_listed_twice() -> None:
    assert len(catalogue()) == len(CONTRACT)


@pytest.mark.parametrize("entry", catalogue(), ids=lambda entry: entry.name)
def test_a_help_text_is_one_line_that_ends_with_a_full_stop(entry: Entry) -> None:
    assert re.fullmatch(r"[A-Z1][^\n|]*\.", entry.help)


@pytest.mark.parametrize("entry", catalogue(), ids=lambda entry: entry.name)
def test_only_counters_end_in_total(entry: Entry) -> None:
    assert entry.name.endswith("_total") == (entry.kind == "counter")


def test_documentation_is_what_the_table_says() -> None:
    written = Path(__file__).parents[1] / "docs" / "metrics.md"
    assert written.read_text(encoding="utf-8") == markdown()


def test_a_charger_of_which_nothing_is_known_has_only_its_identity() -> None:
    exposed = [(metric.name, sample) for metric in METRICS_OF_CHARGER for sample in samples(metric, BARE)]
    assert exposed == [("enphase_ev_charger_info", (("", "", "", ""), 1.0))]


def test_the_connector_status_is_one_of_eleven() -> None:
    charger = Charger(site_id="1", serial="a", connector_status=ConnectorStatus.SUSPENDED_EV)
    found = dict(samples(row("enphase_ev_charger_connector_status"), charger))
    assert found.pop(("SUSPENDED_EV",)) == 1.0
    assert list(found.values()) == [0.0] * 10


@pytest.mark.parametrize("field", ["charge_mode", "running_charge_mode"])
def test_a_charge_mode_is_one_of_five(field: str) -> None:
    charger = Charger("1", "a", **{field: ChargeMode.GREEN_CHARGING})  # type: ignore[arg-type]  # one field
    assert list(samples(row(f"enphase_ev_charger_{field}"), charger)) == [
        (("MANUAL_CHARGING",), 0.0),
        (("SCHEDULED_CHARGING",), 0.0),
        (("GREEN_CHARGING",), 1.0),
        (("SMART_CHARGING",), 0.0),
        (("UNKNOWN",), 0.0),
    ]


def test_info_series_carry_what_is_known_and_leave_the_rest_empty() -> None:
    charger = Charger(
        "1", "a", name="Garage", firmware_version="25.37", network=NetworkAddress("eth0", "::1")
    )
    assert list(samples(row("enphase_ev_charger_info"), charger)) == [(("Garage", "", "25.37", ""), 1.0)]
    assert list(samples(row("enphase_ev_charger_network_info"), charger)) == [(("eth0", "::1"), 1.0)]
    site = Site("1", "home")
    assert list(samples(row("enphase_ev_site_info"), site)) == [(("", "home"), 1.0)]


def test_a_reason_or_schedule_mode_shows_only_while_given() -> None:
    charger = Charger("1", "a", connector_status_reason="INSUFFICIENT_SOLAR", schedule_mode="green")
    assert list(samples(row("enphase_ev_charger_connector_status_reason"), charger)) == [
        (("INSUFFICIENT_SOLAR",), 1.0)
    ]
    assert list(samples(row("enphase_ev_charger_schedule_info"), charger)) == [(("green",), 1.0)]
    silent = Charger("1", "a", connector_status_reason="", schedule_mode="")
    assert not list(samples(row("enphase_ev_charger_connector_status_reason"), silent))
    assert not list(samples(row("enphase_ev_charger_schedule_info"), silent))


def test_up_is_absent_before_the_first_poll_has_ended() -> None:
    assert not list(samples(row("enphase_ev_up"), Site("1", "home")))
    assert list(samples(row("enphase_ev_up"), Site("1", "home", up=False))) == [((), 0.0)]


def test_chargers_of_a_site_are_counted_also_when_there_are_none() -> None:
    assert list(samples(row("enphase_ev_chargers"), Site("1", "home"))) == [((), 0.0)]
    assert list(samples(row("enphase_ev_chargers"), Site("1", "home", chargers=(BARE, BARE)))) == [((), 2.0)]


def test_counts_have_a_sample_for_each_label_set() -> None:
    account = Account("home", requests={("status", "200"): 7, ("token", "0"): 1})
    assert list(samples(row("enphase_ev_api_requests_total"), account)) == [
        (("status", "200"), 7.0),
        (("token", "0"), 1.0),
    ]


def test_every_field_that_a_row_reads_exists() -> None:
    site = Site("1", "home", chargers=(BARE,))
    snapshot = Snapshot((site,), (Account("home"),))
    objects = chain.from_iterable(
        ((metric, item) for item in metric.scope.objects(snapshot)) for metric in METRICS
    )
    for metric, item in objects:
        assert len(metric.scope.label_values(item)) == len(metric.scope.labels)
        assert all(len(labels) == len(metric.labels) for labels, _ in samples(metric, item))


METRICS_OF_CHARGER = [metric for metric in METRICS if metric.scope.labels == CHARGER]
