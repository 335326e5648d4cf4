"""World to JSON in the cloud's spellings: enveloped, flat (legacy) and keyed by serial (api/v2)."""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from exporter.simulator.answer import Answer
from exporter.simulator.charger import SimCharger
from exporter.simulator.vehicle import GREEN, MANUAL, MODES, SCHEDULED, SMART, Seen
from exporter.simulator.world import SimSite

MILES_PER_KWH = 4.0
PRICE_PER_KWH = 0.25
WINDOW_SECONDS = 8 * 3600
COMMISSIONED_AT = 1754906523
MODE_BLOCKS = {
    SMART: "smartCharging",
    GREEN: "greenCharging",
    SCHEDULED: "scheduledCharging",
    MANUAL: "manualCharging",
}
STATUS_WORDS = {
    400: "BAD_REQUEST",
    401: "UNAUTHORIZED",
    403: "FORBIDDEN",
    404: "NOT_FOUND",
    409: "CONFLICT",
    422: "UNPROCESSABLE_ENTITY",
    429: "TOO_MANY_REQUESTS",
    466: "UNSUPPORTED_ENVOY",
    468: "INVALID_SYSTEM_ID",
    472: "LIVE_STREAM_NOT_SUPPORTED",
    473: "IQ_GATEWAY_NOT_REPORTING",
    500: "INTERNAL_SERVER_ERROR",
    503: "SERVICE_UNAVAILABLE",
    550: "SERVICE_UNREACHABLE",
    551: "SERVICE_UNREACHABLE",
    552: "CONNECTION_NOT_ESTABLISHED",
}

Json = dict[str, Any]


def iso(at: float | None) -> str | None:
    """`2026-05-02T18:30:00.000Z[UTC]`."""
    if at is None:
        return None
    text = datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z[UTC]")


def milliseconds(at: float | None) -> int | None:
    """Epoch milliseconds."""
    return None if at is None else round(at * 1000)


def envelope(data: Any, now: float, **meta: Any) -> Json:
    """What almost every EV service wraps its data in."""
    return {"meta": {"serverTimeStamp": milliseconds(now), **meta}, "data": data, "error": {}}


def refusal(status: int, message: str, now: float, code: str | None = None) -> Answer:
    """A refusal in the envelope; `code` is the errorMessageCode, e.g. iqevc_ms-10008."""
    return Answer(status, refusal_payload(status, message, now, code))


def refusal_payload(status: int, message: str, now: float, code: str | None = None) -> Json:
    """The body of a refusal in the envelope."""
    error = {
        "displayMessage": message,
        "code": str(status),
        "errorMessageCode": code or f"iqevc_ms-{10000 + status}",
        "additionalInfo": None,
        "status": STATUS_WORDS.get(status, "ERROR"),
    }
    return {"meta": {"serverTimeStamp": milliseconds(now)}, "data": None, "error": error}


def no_static_resource(path: str) -> Answer:
    """What Spring says where no route is."""
    return Answer(
        404,
        {
            "type": "about:blank",
            "title": "Not Found",
            "status": 404,
            "detail": f"No static resource {path.lstrip('/')}.",
            "instance": path,
        },
        content_type="application/problem+json",
    )


def method_not_allowed(path: str) -> Answer:
    """What Spring says where a route takes other verbs."""
    problem = {"type": "about:blank", "title": "Method Not Allowed", "status": 405, "instance": path}
    return Answer(405, problem, content_type="application/problem+json")


# status


def status_enveloped(site: SimSite, now: float) -> Json:
    """The modern status answer."""
    chargers = [status_entry(charger, now) for charger in _present(site)]
    return envelope({"site": site.site_id, "tz": site.region.timezone, "chargers": chargers}, now)


def status_entry(charger: SimCharger, now: float) -> Json:
    """One charger of the modern status answer; energy in Wh."""
    seen = charger.seen()
    kwh = seen.energy_wh / 1000.0
    has_begun = seen.started_at is not None
    return {
        "smartEV": {"hasToken": False, "hasEVDetails": False},
        "evManufacturerName": "Example OEM",
        "offGrid": "ON_GRID",
        "sn": charger.serial,
        "name": charger.name,
        "lst_rpt_at": iso(seen.last_reported),
        "offlineAt": iso(charger.offline_at),
        "connected": charger.connected,
        "auth_token": None,
        "mode": 1 if seen.mode == GREEN else 0,
        "charging": seen.charging,
        "pluggedIn": seen.plugged_in,
        "faulted": seen.faulted,
        "commissioned": 1,
        "isEVDetailsSet": True,
        "sch_d": _policy(seen, now),
        "session_d": {
            "plg_in_at": iso(seen.plugged_in_at),
            "strt_chrg": milliseconds(seen.started_at),
            "plg_out_at": iso(seen.plugged_out_at),
            "e_c": round(seen.energy_wh, 2),
            "miles": round(kwh * MILES_PER_KWH, 2) if has_begun else None,
            "session_cost": round(kwh * PRICE_PER_KWH, 2) if has_begun else None,
            "auth_status": -1 if seen.plugged_in else 4,
            "auth_type": None,
            "auth_id": None,
            "charge_level": seen.amps if has_begun else None,
        },
        "connectors": [
            {
                "connectorId": 1,
                "connectorStatusType": seen.connector_status,
                "connectorStatusInfo": "EVConnected" if seen.plugged_in else "",
                "connectorStatusReason": seen.connector_reason,
                "safeLimitState": int(seen.safe_limit),
                "dlbActive": seen.dlb_active,
                "pluggedIn": seen.plugged_in,
            }
        ],
    }


def status_flat(site: SimSite, now: float) -> Json:
    """The legacy status answer; energy in kWh."""
    return {"evChargerData": [_flat_entry(charger) for charger in _present(site)], "ts": int(now)}


def _flat_entry(charger: SimCharger) -> Json:
    seen = charger.seen()
    return {
        "sn": charger.serial,
        "name": charger.name,
        "connected": charger.connected,
        "pluggedIn": seen.plugged_in,
        "charging": seen.charging,
        "faulted": seen.faulted,
        "connectorStatusType": seen.connector_status,
        "connectorStatusReason": seen.connector_reason,
        "chargingLevel": seen.amps,
        "session_d": {
            "e_c": round(seen.energy_wh / 1000.0, 3),
            "start_time": _seconds(seen.started_at),
            "plg_in_at": _seconds(seen.plugged_in_at),
            "plg_out_at": _seconds(seen.plugged_out_at),
        },
        "sch_d": {
            "enabled": seen.mode == SCHEDULED,
            "mode": "SCHEDULED" if seen.mode == SCHEDULED else "IMMEDIATE",
        },
    }


def status_keyed(site: SimSite, now: float) -> Json:
    """The thin api/v2 status answer."""
    data = {}
    for charger in _present(site):
        seen = charger.seen()
        data[charger.serial] = {
            "connected": charger.connected,
            "pluggedIn": seen.plugged_in,
            "charging": seen.charging,
            "lst_rpt_at": milliseconds(seen.last_reported),
        }
    return envelope(data, now)


def last_reported(site: SimSite, now: float) -> Json:
    """Serial to the time of its last report, ms."""
    return envelope({c.serial: milliseconds(c.seen().last_reported) for c in _present(site)}, now)


# summary


def summary_list(site: SimSite, now: float, *, filter_retired: bool) -> Json:
    """Identity and ratings of every charger."""
    chargers = [c for c in site.chargers.values() if not (filter_retired and c.retired)]
    return envelope([summary_entry(c, now) for c in chargers], now, rowCount=len(chargers))


def summary_entry(charger: SimCharger, now: float) -> Json:
    """Identity and ratings of one charger."""
    region, seen = charger.region, charger.seen()
    number = int(charger.serial[-4:])
    return {
        "serialNumber": charger.serial,
        "siteId": int(charger.site_id),
        "displayName": charger.name,
        "lastReportedAt": iso(seen.last_reported),
        "timezone": region.timezone,
        "supportsUseBattery": True,
        "hoControl": True,
        "hoControlScope": [],
        "chargeLevelDetails": {
            "min": str(region.min_amps),
            "max": str(region.max_amps),
            "granularity": "1",
            "defaultChargeLevel": "disabled",
        },
        "maxCurrent": region.max_amps,
        "breakerRating": region.max_amps,
        "ratedCurrent": str(region.max_amps),
        "operatingVoltage": f"{region.volts:.0f}",
        "gridType": region.grid_type,
        "phaseMode": region.phases,
        "phaseCount": region.phases,
        "wiringConfiguration": {conductor: conductor for conductor in region.wiring},
        "dlbEnabled": 1,
        "lifeTimeConsumption": round(seen.lifetime_wh, 2),
        "isConnected": charger.connected,
        "isLocallyConnected": charger.connected,
        "isRetired": charger.retired,
        "commissioningStatus": 1,
        "status": "NORMAL",
        "reportingInterval": int(charger.reporting_interval_seconds),
        **_network(number),
        "gatewayConnectivityDetails": [
            {
                "gwSerialNum": f"1223{number:08d}",
                "gwConnStatus": 0,
                "gwConnFailureReason": 0,
                "lastConnTime": milliseconds(now // 3600 * 3600),
            }
        ],
        "functionalValDetails": {"lastUpdatedTimestamp": COMMISSIONED_AT * 1000, "state": 1},
        "rmaDetails": None,
        "firmwareVersion": "25.37.1.14",
        "systemVersion": "25.37.1.14",
        "applicationVersion": "25.37.1.5",
        "bootloaderVersion": "2024.04",
        "kernelVersion": "6.6.23-lts-next-gb2f1b3288874",
        "processorBoardVersion": "2.0.713.0",
        "powerBoardVersion": "25.28.9.0",
        "sku": f"{region.model}-XXXX-XXXX",
        "skuScope": region.sku_scope,
        "modelName": region.model,
        "partNumber": region.part_number,
        "createdAt": "2025-08-11T10:02:03.805264449Z[UTC]",
        "warrantyStartDate": "2025-08-11T10:02:03.805264449Z[UTC]",
        "warrantyDueDate": "2030-08-11T10:02:03.805264449Z[UTC]",
        "warrantyPeriod": 5,
    }


def _network(number: int) -> Json:
    """Addresses of the documentation range; the text looks like JSON with newlines between its elements."""
    host = 2 + number % 250
    wired = (
        f"netmask=255.255.255.0,mac_addr=02:00:00:00:{number // 256 % 256:02x}:{number % 256:02x},"
        f"interface_name=eth0,connectionStatus=1,ipaddr=192.0.2.{host},bootproto=dhcp,gateway=192.0.2.1"
    )
    wireless = "netmask=,mac_addr=,interface_name=mlan0,connectionStatus=0,ipaddr=,bootproto=dhcp,gateway="
    return {
        "activeConnection": "ethernet",
        "networkConfig": f'[\n"{wired}",\n"{wireless}"\n]',
        "wifiConfig": "connectionStatus=0, wifiMode=, SSID=, status=disconnected",
        "cellularConfig": "signalStrength=0, status=disconnected, network=, info=",
        "defaultRoute": "interface=eth0, ip_address=192.0.2.1",
    }


# charge mode


def charge_mode(preferred: str, now: float) -> Json:
    """The scheduler's preference; its serverTimeStamp is text."""
    modes: Json = {MODE_BLOCKS[mode]: _mode_block(mode, preferred) for mode in reversed(MODES)}
    config = {
        "profile": "self-consumption",
        "modeSyncStatus": "synced",
        "stormActive": False,
        "isModeCancellable": True,
        "pendingModesOffGrid": False,
        "pendingSchedulesOffGrid": False,
    }
    stamp = datetime.fromtimestamp(now, UTC).isoformat(timespec="milliseconds")
    return {"meta": {"serverTimeStamp": stamp}, "data": {"config": config, "modes": modes}, "error": {}}


def _mode_block(mode: str, chosen: str) -> Json:
    block: Json = {"chargingMode": mode, "enabled": mode == chosen}
    if mode == SCHEDULED:
        block["schedulesEnabled"] = int(mode == chosen)
    if mode == SMART:
        block |= {"showSettings": False, "isHidden": False, "isDisabledByStorm": False, "goalsEnabled": 0}
        block["defaultGoalAdded"] = False
    return block


# commands


def live_stream(serials: Iterable[str], seconds: int, now: float) -> Json:
    """A live stream granted, the modern way."""
    topics = [f"v1/evse/prod/live-stream/{serial}" for serial in serials]
    return envelope({"liveStreamTopicList": topics, "liveStreamDuration": seconds}, now)


def live_stream_flat(serials: Iterable[str], seconds: int) -> Json:
    """A live stream granted, the legacy way."""
    return {
        "status": "accepted",
        "topics": [f"evse/{serial}/status" for serial in serials],
        "duration_s": seconds,
    }


def triggered_flat(word: str, message: str, now: float) -> Json:
    """The legacy answer to a trigger."""
    initiated_at = datetime.fromtimestamp(now, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    details = {"initiatedAt": initiated_at, "trackingId": f"TICKET-{int(now):X}"}
    return {"status": word, "message": message, "details": details}


# small parts


def _present(site: SimSite) -> Iterable[SimCharger]:
    return [charger for charger in site.chargers.values() if not charger.retired]


def _seconds(at: float | None) -> int | None:
    return None if at is None else int(at)


def _policy(seen: Seen, now: float) -> Json:
    """sch_d: status 1 while a policy window is active."""
    if seen.mode not in {SCHEDULED, GREEN}:
        return {"status": 0, "info": []}
    begin = int(now // WINDOW_SECONDS * WINDOW_SECONDS)
    window = {
        "type": "greencharging" if seen.mode == GREEN else "Custom",
        "startTime": begin,
        "endTime": begin + WINDOW_SECONDS,
        "limit": 0 if seen.schedule_holds else seen.amps,
    }
    return {"status": 0 if seen.schedule_holds else 1, "info": [window]}
