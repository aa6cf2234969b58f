"""Values as bytes: the codec, the tags of classes, and what may be shared unpacked."""

from actorflow.wire.codec import MAX_BYTES, decode, encode, tags
from actorflow.wire.frozen import FROZEN, is_frozen
from actorflow.wire.place import MAX_DEPTH
from actorflow.wire.registry import (
    REGISTRY,
    actor,
    known,
    message,
    register,
    register_reference,
    upcast,
)
from actorflow.wire.scalars import MAX_NUMBER_BYTES

__all__ = [
    "FROZEN",
    "MAX_BYTES",
    "MAX_DEPTH",
    "MAX_NUMBER_BYTES",
    "REGISTRY",
    "actor",
    "decode",
    "encode",
    "is_frozen",
    "known",
    "message",
    "register",
    "register_reference",
    "tags",
    "upcast",
]
