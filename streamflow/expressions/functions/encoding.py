"""Hashes, and texts that stand for bytes."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import zlib
from collections.abc import Callable
from typing import Any
from urllib.parse import quote, unquote_to_bytes

from streamflow.expressions.failure import BAD_CAST, Fail
from streamflow.expressions.signatures import Function, function, signature

TITLE = "Hashes and encodings"
INTRO = "Texts are hashed and encoded as UTF-8. Hashes are lower-case hexadecimal unless said otherwise."


def _bytes(value: str | bytes) -> bytes:
    return value.encode() if isinstance(value, str) else value


def _over(how: Callable[[bytes], Any]) -> Callable[[str | bytes], Any]:
    return lambda value: how(_bytes(value))


def murmur2(data: bytes) -> int:
    """Kafka's murmur2 (seed 0x9747b28c) with the sign bit cleared: the default partitioner's hash."""
    m, mask = 0x5BD1E995, 0xFFFFFFFF
    h = (0x9747B28C ^ len(data)) & mask
    whole = len(data) & ~3
    for i in range(0, whole, 4):
        k = int.from_bytes(data[i : i + 4], "little") * m & mask
        k = (k ^ (k >> 24)) * m & mask
        h = (h * m & mask) ^ k
    rest = data[whole:]
    if rest:
        h = (h ^ int.from_bytes(rest, "little")) * m & mask
    h = (h ^ (h >> 13)) * m & mask
    return (h ^ (h >> 15)) & 0x7FFFFFFF


def _decoded(how: Callable[[], bytes]) -> bytes:
    try:
        return how()
    except (binascii.Error, ValueError):
        raise Fail(BAD_CAST) from None


def text_of(data: bytes) -> str:
    """UTF-8 text of bytes. Raises Fail(bad_cast)."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise Fail(BAD_CAST) from None


def _unbase64(text: str) -> bytes:
    plain = text.rstrip("=").replace("-", "+").replace("_", "/")
    return _decoded(lambda: base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True))


def _either(name: str, doc: str, result: str, how: Callable[[bytes], Any], *examples: tuple[str, str],
            aliases: tuple[str, ...] = ()) -> Function:  # fmt: skip
    py = _over(how)
    return Function(name=name, doc=doc, examples=examples, aliases=aliases,
                    signatures=(signature("string", result, py), signature("bytes", result, py)))  # fmt: skip


FUNCTIONS: tuple[Function, ...] = (
    _either(
        "md5",
        "MD5 hash, for old systems; not for security.",
        "string",
        lambda b: hashlib.md5(b, usedforsecurity=False).hexdigest(),
        ('md5("a")', '"0cc175b9c0f1b6a831c399e269772661"'),
    ),
    _either(
        "sha1",
        "SHA-1 hash, for old systems; not for security.",
        "string",
        lambda b: hashlib.sha1(b, usedforsecurity=False).hexdigest(),
        ('sha1("a")', '"86f7e437faa5a7fce15d1ddcb9eaeaea377667b8"'),
    ),
    _either(
        "sha256",
        "SHA-256 hash.",
        "string",
        lambda b: hashlib.sha256(b).hexdigest(),
        ('substring(sha256("a"), 0, 8)', '"ca978112"'),
    ),
    _either(
        "sha512", "SHA-512 hash.", "string", lambda b: hashlib.sha512(b).hexdigest(), ('length(sha512("a"))', "128")
    ),
    _either("crc32", "CRC-32 checksum as a number.", "long", zlib.crc32, ('crc32("a")', "3904355907")),
    _either(
        "murmur2",
        "Kafka's murmur2 hash as a number; modulo the partitions it is the default partition of a key.",
        "long",
        murmur2,
        ('murmur2("21")', "1173551340"),
    ),
    function(
        "hmac_sha256",
        "HMAC with SHA-256 of a text under a key.",
        "string string",
        "string",
        lambda s, key: hmac.new(key.encode(), s.encode(), hashlib.sha256).hexdigest(),
        ('substring(hmac_sha256("a", "key"), 0, 8)', '"780c3db4"'),
    ),
    _either(
        "base64_encode",
        "Base64 of a text or bytes.",
        "string",
        lambda b: base64.b64encode(b).decode(),
        ('base64_encode("hello")', '"aGVsbG8="'),
        aliases=("base64",),
    ),
    function(
        "base64_decode",
        "The bytes of a Base64 text, standard or URL alphabet; see `text`.",
        "string",
        "bytes",
        _unbase64,
        ('text(base64_decode("aGVsbG8="))', '"hello"'),
        ('base64_decode("?")', "error: bad_cast"),
        fails=True,
    ),
    _either(
        "hex_encode",
        "Lower-case hexadecimal of a text or bytes.",
        "string",
        lambda b: b.hex(),
        ('hex_encode("hi")', '"6869"'),
        aliases=("hex",),
    ),
    function(
        "hex_decode",
        "The bytes of a hexadecimal text.",
        "string",
        "bytes",
        lambda s: _decoded(lambda: binascii.unhexlify(s)),
        ('text(hex_decode("6869"))', '"hi"'),
        fails=True,
    ),
    function(
        "url_encode",
        "Text with all that is not a letter, digit or one of `-_.~` percent-encoded.",
        "string",
        "string",
        lambda s: quote(s, safe=""),
        ('url_encode("a b&c")', '"a%20b%26c"'),
    ),
    function(
        "url_decode",
        "Text with percent-encoding undone.",
        "string",
        "string",
        lambda s: text_of(unquote_to_bytes(s)),
        ('url_decode("a%20b")', '"a b"'),
        fails=True,
    ),
    function("text", "UTF-8 text of bytes.", "bytes", "string", text_of, ('text(b"hi")', '"hi"'), fails=True),
    function(
        "html_escape",
        "Text with the five characters that HTML gives a meaning written as entities.",
        "string",
        "string",
        lambda s: (
            s.replace("&", "&amp;")
            .replace("<", "&lt;")
            .replace(">", "&gt;")
            .replace('"', "&quot;")
            .replace("'", "&#x27;")
        ),
        ('html_escape("<b>")', '"&lt;b&gt;"'),
    ),
)
