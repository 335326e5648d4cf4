"""The words and colours of states. The colours are told apart by people who see no red or no green."""

from collections.abc import Mapping, Sequence

from grafana_foundation_sdk.models import dashboard

from exporter.model import ChargeMode, ConnectorStatus

BLUE = "#0072B2"
SKY = "#56B4E9"
GREEN = "#009E73"
ORANGE = "#E69F00"
VERMILION = "#D55E00"
PURPLE = "#CC79A7"
YELLOW = "#F0E442"
SILVER = "#A7B1BA"
GREY = "#5F6B76"
BROWN = "#7A5C3E"

GOOD = "#00795B"  # dark enough for white text upon it

Words = Mapping[int, tuple[str, str]]  # number -> (words, colour)

STATUS_WORDS = {
    ConnectorStatus.AVAILABLE: ("Available", SILVER),
    ConnectorStatus.PREPARING: ("Preparing", YELLOW),
    ConnectorStatus.CHARGING: ("Charging", GREEN),
    ConnectorStatus.FINISHING: ("Finishing", SKY),
    ConnectorStatus.SUSPENDED: ("Suspended", ORANGE),
    ConnectorStatus.SUSPENDED_EV: ("Car pauses", PURPLE),
    ConnectorStatus.SUSPENDED_EVSE: ("Charger waits", ORANGE),
    ConnectorStatus.RESERVED: ("Reserved", BLUE),
    ConnectorStatus.UNAVAILABLE: ("Unavailable", BROWN),
    ConnectorStatus.FAULTED: ("Fault", VERMILION),
    ConnectorStatus.UNKNOWN: ("Unknown", "#3D3D3D"),
}
_MODE_WORDS = {
    ChargeMode.MANUAL_CHARGING: ("Manual", BLUE),
    ChargeMode.SCHEDULED_CHARGING: ("Scheduled", ORANGE),
    ChargeMode.GREEN_CHARGING: ("Green", GREEN),
    ChargeMode.SMART_CHARGING: ("Smart", PURPLE),
    ChargeMode.UNKNOWN: ("Unknown", "#3D3D3D"),
}

STATES: Words = {0: ("Offline", GREY)} | {
    number: STATUS_WORDS[status] for number, status in enumerate(ConnectorStatus, 1)
}
MODES: Words = {number: _MODE_WORDS[mode] for number, mode in enumerate(ChargeMode, 1)}
ON_OFF: Words = {0: ("off", SILVER), 1: ("on", BLUE)}
YES_NO: Words = {0: ("no", VERMILION), 1: ("yes", GOOD)}
NEEDED: Words = {0: ("no", GOOD), 1: ("YES", VERMILION)}
FAULT: Words = {0: ("no fault", SILVER), 1: ("FAULT", VERMILION)}


def mapping(words: Words) -> list[dashboard.ValueMapping]:
    """Value mappings of a panel."""
    results = {
        str(number): dashboard.ValueMappingResult(text=text, color=colour, index=number)
        for number, (text, colour) in words.items()
    }
    return [dashboard.ValueMap(options=results)]


def steps(good: str, *limits: tuple[float, str]) -> Sequence[dashboard.Threshold]:
    """Threshold steps: the colour below the first limit, then a colour from each limit on."""
    first = dashboard.Threshold(value=None, color=good)
    return [first, *(dashboard.Threshold(value=limit, color=colour) for limit, colour in limits)]
