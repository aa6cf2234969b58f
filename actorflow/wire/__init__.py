"""Values as bytes: the codec, the tags of classes, and what may be shared unpacked."""

from actorflow.wire.codec import MAX_BYTES, decode, encode, pack, tags, unpack
from actorflow.wire.frozen import FROZEN, is_frozen
from actorflow.wire.packed import Packed
from actorflow.wire.place import MAX_DEPTH
from actorflow.wire.reader import MAX_LAYERS
from actorflow.wire.registry import (
    REGISTRY,
    actor,
    known,
    message,
    register,
    register_context,
    register_reference,
    upcast,
)
from actorflow.wire.scalars import MAX_NUMBER_BYTES

__all__ = [
    "FROZEN",
    "MAX_BYTES",
    "MAX_DEPTH",
    "MAX_LAYERS",
    "MAX_NUMBER_BYTES",
    "REGISTRY",
    "Packed",
    "actor",
    "decode",
    "encode",
    "is_frozen",
    "known",
    "message",
    "pack",
    "register",
    "register_context",
    "register_reference",
    "tags",
    "unpack",
    "upcast",
]
