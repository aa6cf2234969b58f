"""Write the values that have nothing inside and that msgpack does not know.

    int beyond 64 bits, Decimal, UUID, datetime, date, time, timedelta, path

Each has a code, its name and two functions, value to bytes and back; the list is
closed. Payloads are never msgpack themselves: reading one cannot start another
reading, so no nesting of payloads exists that could exhaust the stack.

What is read must be exactly what was written: sign, digits, fold, zone, kind.
Readers raise any `Exception` for bytes that are not theirs; `codec` names it.
"""

from __future__ import annotations

import datetime
import decimal
import functools
import pathlib
import struct
import uuid
import zoneinfo
from collections.abc import Callable
from typing import Any

import attrs

__all__ = ["MAX_NUMBER_BYTES", "SCALARS", "SCALARS_BY_CODE", "Scalar"]

MAX_NUMBER_BYTES = 65_536
"""Most bytes of one int or Decimal: 157,000 digits. Reading is linear, but the first
thing done with the number need not be; str() of a megabyte of int takes minutes."""

_DATE = struct.Struct(">HBB")
_TIME = struct.Struct(">BBBIB")  # The last byte is the fold.
_DELTA = struct.Struct(">iiI")
_OFFSET = struct.Struct(">q")
_EXACT = decimal.Context(traps=[decimal.InvalidOperation])  # The caller's may not trap it.
_PATHS: dict[bytes, type[pathlib.PurePath]] = {
    b"p": pathlib.PosixPath,
    b"w": pathlib.WindowsPath,
    b"P": pathlib.PurePosixPath,
    b"W": pathlib.PureWindowsPath,
}
_PATH_LETTERS = {cls: letter for letter, cls in _PATHS.items()}


@attrs.frozen
class Scalar:
    """One type without inside. Codes are in the bytes on disk and never change."""

    code: int
    cls: type
    write: Callable[[Any], bytes]
    read: Callable[[bytes], Any]


def _short(payload: bytes) -> bytes:
    if len(payload) > MAX_NUMBER_BYTES:
        raise ValueError(f"a number of {len(payload)} bytes; at most {MAX_NUMBER_BYTES} are kept")
    return payload


def _write_int(value: int) -> bytes:
    size = (value if value >= 0 else ~value).bit_length() // 8 + 1
    return _short(value.to_bytes(size, "big", signed=True))


def _read_int(payload: bytes) -> int:
    if not payload:
        raise ValueError("no digits")
    return int.from_bytes(_short(payload), "big", signed=True)


def _write_decimal(value: decimal.Decimal) -> bytes:
    return _short(_EXACT.to_sci_string(value).encode("ascii"))


def _read_decimal(payload: bytes) -> decimal.Decimal:
    return decimal.Decimal(_short(payload).decode("ascii"), _EXACT)


def _write_date(value: datetime.date) -> bytes:
    return _DATE.pack(value.year, value.month, value.day)


def _read_date(payload: bytes) -> datetime.date:
    return datetime.date(*_DATE.unpack(payload))


def _write_time(value: datetime.time | datetime.datetime) -> bytes:
    clock = _TIME.pack(value.hour, value.minute, value.second, value.microsecond, value.fold)
    return clock + _write_zone(value.tzinfo)


def _read_time(payload: bytes) -> datetime.time:
    hour, minute, second, microsecond, fold = _TIME.unpack(payload[: _TIME.size])
    zone = _read_zone(payload[_TIME.size :])
    return datetime.time(hour, minute, second, microsecond, zone, fold=fold)


def _write_datetime(value: datetime.datetime) -> bytes:
    return _write_date(value) + _write_time(value)


def _read_datetime(payload: bytes) -> datetime.datetime:
    day = _read_date(payload[: _DATE.size])
    return datetime.datetime.combine(day, _read_time(payload[_DATE.size :]))


def _write_zone(zone: datetime.tzinfo | None) -> bytes:
    if zone is None:
        return b""
    if type(zone) is zoneinfo.ZoneInfo and zone.key:
        return b"@" + zone.key.encode()
    if type(zone) is datetime.timezone:
        offset, *name = zone.__getinitargs__()  # type: ignore[attr-defined]
        micros = _OFFSET.pack(offset // datetime.timedelta(microseconds=1))
        return b"*" + micros + name[0].encode() if name else b"+" + micros
    raise TypeError(f"its tzinfo is {zone!r:.80}; use datetime.timezone or zoneinfo.ZoneInfo(key)")


def _read_zone(payload: bytes) -> datetime.tzinfo | None:
    kind, rest = payload[:1], payload[1:]
    if not kind:
        return None
    if kind == b"@":
        return _zone(rest.decode())
    offset = datetime.timedelta(microseconds=_OFFSET.unpack(rest[: _OFFSET.size])[0])
    name = rest[_OFFSET.size :].decode()
    if kind == b"*":
        return datetime.timezone(offset, name)
    if kind == b"+" and not name:
        return datetime.timezone(offset)
    raise ValueError(f"unknown kind of zone {kind!r}")


@functools.lru_cache(maxsize=1024)  # There are some 600 keys; ZoneInfo itself keeps few alive.
def _zone(key: str) -> zoneinfo.ZoneInfo:
    return zoneinfo.ZoneInfo(key)


def _write_timedelta(value: datetime.timedelta) -> bytes:
    return _DELTA.pack(value.days, value.seconds, value.microseconds)


def _read_timedelta(payload: bytes) -> datetime.timedelta:
    return datetime.timedelta(*_DELTA.unpack(payload))


def _write_path(value: pathlib.PurePath) -> bytes:
    return _PATH_LETTERS[type(value)] + str(value).encode()


def _read_path(payload: bytes) -> pathlib.PurePath:
    return _PATHS[payload[:1]](payload[1:].decode())


def _write_uuid(value: uuid.UUID) -> bytes:
    return value.bytes


def _read_uuid(payload: bytes) -> uuid.UUID:
    return uuid.UUID(bytes=payload)


SCALARS: dict[type, Scalar] = {
    scalar.cls: scalar
    for scalar in (
        Scalar(1, int, _write_int, _read_int),
        Scalar(2, decimal.Decimal, _write_decimal, _read_decimal),
        Scalar(3, uuid.UUID, _write_uuid, _read_uuid),
        Scalar(4, datetime.datetime, _write_datetime, _read_datetime),
        Scalar(5, datetime.date, _write_date, _read_date),
        Scalar(6, datetime.time, _write_time, _read_time),
        Scalar(7, datetime.timedelta, _write_timedelta, _read_timedelta),
        *(Scalar(8, cls, _write_path, _read_path) for cls in _PATHS.values()),
    )
}
SCALARS_BY_CODE = {scalar.code: scalar for scalar in SCALARS.values()}
