"""When a certificate ends, read from its PEM; pure. The standard library tells it of a peer only.

Certificate → tbsCertificate → [0] version?, serial, algorithm, issuer, validity → notBefore, notAfter
"""

import ssl
from datetime import UTC, datetime

_TIME_FORMATS = {0x17: "%y%m%d%H%M%SZ", 0x18: "%Y%m%d%H%M%SZ"}  # UTCTime, GeneralizedTime
_VERSION = 0xA0
_END = "-----END CERTIFICATE-----"


def not_after(pem: str) -> float:
    """Epoch seconds at which the first certificate of a PEM text ends; ValueError for anything else."""
    begin = pem.find("-----BEGIN CERTIFICATE-----")
    end = pem.find(_END, begin)
    if begin < 0 or end < 0:
        raise ValueError("no certificate in PEM")
    try:
        return _not_after(ssl.PEM_cert_to_DER_cert(pem[begin : end + len(_END)]))
    except IndexError:
        raise ValueError("a certificate that is cut off") from None


def _not_after(der: bytes) -> float:
    _, certificate, _ = _element(der, 0)
    _, to_be_signed, _ = _element(certificate, 0)
    kind, _, after_version = _element(to_be_signed, 0)
    place = after_version if kind == _VERSION else 0
    for _ in ("serial", "algorithm", "issuer"):
        _, _, place = _element(to_be_signed, place)
    _, validity, _ = _element(to_be_signed, place)
    _, _, place = _element(validity, 0)
    kind, text, _ = _element(validity, place)
    if kind not in _TIME_FORMATS:
        raise ValueError("a certificate without an end")
    return datetime.strptime(text.decode("ascii"), _TIME_FORMATS[kind]).replace(tzinfo=UTC).timestamp()


def _element(der: bytes, place: int) -> tuple[int, bytes, int]:
    """Tag and content of the element at a place, and the place after it."""
    tag, length, begin = der[place], der[place + 1], place + 2
    if length & 0x80:
        size = length & 0x7F
        length, begin = int.from_bytes(der[begin : begin + size]), begin + size
    if begin + length > len(der):
        raise IndexError
    return tag, der[begin : begin + length], begin + length
