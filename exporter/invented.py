"""Stand-ins for what is private, the same for the same every time; pure.

A stand-in has the classes of what it stands for: digits stay digits, letters letters, and a number keeps its
length, for a parser may look at these. Two different originals never get the same one.
"""

import ipaddress
import itertools
import re
import string
from collections.abc import Callable

MAC = re.compile(r"(?:[0-9A-Fa-f]{2}[:-]){5}[0-9A-Fa-f]{2}")
_WHOLE_NUMBER = re.compile(r"-?[0-9]+")
_DOCUMENTATION_NETWORKS = ("192.0.2", "198.51.100", "203.0.113")
# The parser cuts serials off there.
_COMPARED_LENGTH = 64


class Invented:
    """What stands for what, so far."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], str] = {}

    def word(self, kind: str, text: str) -> str:
        """The stand-in for a serial or an id; white space around it stays."""
        core = text.strip()
        head, tail = core[:_COMPARED_LENGTH].rstrip(), core[_COMPARED_LENGTH:]
        made = self._made(kind, head, lambda count: spelled_like(head, count))
        return text.replace(core, made + masked(tail), 1) if core else text

    def name(self, text: str) -> str:
        """The stand-in for a name; white space around it stays."""
        core = text.strip()
        return (
            text.replace(core, self._made("name", core, lambda count: f"Name {count}"), 1) if core else text
        )

    def address(self, text: str) -> str | None:
        """The stand-in for an IP address, from the networks that documents use; None when it is none."""
        try:
            address = ipaddress.ip_address(text.strip())
        except ValueError:
            return None
        if address.is_unspecified or address.is_loopback or str(address).startswith("255."):
            return text
        return self._made("address", str(address), _v4 if address.version == 4 else _v6)

    def mac(self, text: str) -> str:
        """The stand-in for a MAC address: one that is locally administered."""
        if not set(text) - set("0:-"):
            return text
        return self._made(
            "mac", text.lower(), lambda count: f"02:00:00:00:{count >> 8:02x}:{count & 255:02x}"
        )

    def _made(self, kind: str, text: str, make: Callable[[int], str]) -> str:
        if (kind, text) not in self._known:
            taken = {made for (of_kind, _), made in self._known.items() if of_kind == kind} | {text}
            candidates = (make(count) for count in itertools.count(len(taken)))
            self._known[kind, text] = next(one for one in candidates if one not in taken)
        return self._known[kind, text]


def _v4(count: int) -> str:
    network, host = divmod(count - 1, 254)
    return f"{(*_DOCUMENTATION_NETWORKS, '10.0.0')[min(network, 3)]}.{host + 1}"


def _v6(count: int) -> str:
    return f"2001:db8::{count:x}"


def spelled_like(text: str, count: int) -> str:
    """The count-th text of the same classes of characters; longer when there are not so many."""
    if _WHOLE_NUMBER.fullmatch(text):
        digits = len(text.lstrip("-"))
        return text[: len(text) - digits] + str(10 ** (digits - 1) + count)
    made = []
    for character in reversed(text):
        alphabet = _alphabet(character)
        if alphabet:
            count, place = divmod(count, len(alphabet))
            character = alphabet[place]
        made.append(character)
    return "".join(reversed(made)) + (str(count) if count else "")


def _alphabet(character: str) -> str:
    if character.isascii() and character.isprintable():
        if character.isdigit():
            return string.digits
        if character.isalpha():
            return string.ascii_uppercase if character.isupper() else string.ascii_lowercase
        return ""
    return string.ascii_lowercase


def masked(text: str) -> str:
    """The text with every letter an x and every digit a 9; punctuation and white space stay."""
    return "".join(_masked(one) for one in text)


def _masked(character: str) -> str:
    if character in string.digits:
        return "9"
    stays = character in string.whitespace or character in string.punctuation
    return character if stays else "x"
