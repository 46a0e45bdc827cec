"""HTTP/2 header blocks in and out (HPACK, RFC 7541), made quick by never doing the same block twice.

In: decoding a block is a function of its bytes and of the dynamic table. Blocks that neither insert into the
table nor resize it leave it as it is, so their result is kept by their bytes until some block does change it.
A client that sends the same headers again and again costs one dictionary look-up a request.

Out: we encode without the dynamic table, so a block depends on its headers alone and is kept for every
connection. The table and the Huffman code come from `hpack`.
"""

import re
from functools import lru_cache

from hpack.exceptions import HPACKError
from hpack.huffman_table import decode_huffman
from hpack.table import HeaderTable
from msgspec import Struct

from tidings.emulators.exchange import ErrorCode
from tidings.emulators.frames import ConnectionFault, StreamFault

_KEPT_BLOCKS = 4096
_TABLE_BYTES = 4096
_NAME = re.compile(rb"[!#$%&'*+\-.^_`|~0-9a-z]+")
_BAD_VALUE = re.compile(rb"[\x00\r\n]|^[ \t]|[ \t]$")
_PSEUDO = frozenset((b":method", b":scheme", b":authority", b":path"))
# Hop-by-hop fields have no place in HTTP/2 (RFC 9113 §8.2.2).
_FORBIDDEN = frozenset((b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade"))

Fields = list[tuple[bytes, bytes]]

_huffman = lru_cache(maxsize=8192)(decode_huffman)


class RequestHead(Struct, frozen=True):
    """A request without its body. `content_length` is what the peer announced, None if nothing."""

    method: str
    path: str
    query: str
    headers: dict[str, str]
    content_length: int | None


class HeadReader:
    """Decodes the request header blocks of one connection, in the order they came."""

    def __init__(self, max_list_bytes: int) -> None:
        self._table = HeaderTable()
        self._max_list_bytes = max_list_bytes
        self._kept: dict[bytes, RequestHead] = {}

    def head(self, block: bytes) -> RequestHead:
        """Raises `ConnectionFault` (the table is lost) or `StreamFault` (malformed request, table intact)."""
        kept = self._kept.get(block)
        if kept is not None:
            return kept
        fields, changed = self.fields(block)
        head = request_head(fields)
        if not changed:
            if len(self._kept) >= _KEPT_BLOCKS:
                self._kept.clear()
            self._kept[block] = head
        return head

    def fields(self, block: bytes) -> tuple[Fields, bool]:
        """All fields of a block and whether it changed the table. Raises `ConnectionFault`."""
        try:
            fields, changed = self._decode(block)
        except (HPACKError, IndexError) as error:
            raise ConnectionFault(ErrorCode.COMPRESSION_ERROR, f"header block: {error}") from error
        if changed:
            self._kept.clear()
        return fields, changed

    def _decode(self, block: bytes) -> tuple[Fields, bool]:
        fields: Fields = []
        changed, size, at, end = False, 0, 0, len(block)
        while at < end:
            first = block[at]
            if first & 0x80:
                index, at = _integer(block, at, 0x7F)
                field = self._table.get_by_index(index)
            elif first & 0x40:
                field, at = self._literal(block, at, 0x3F)
                self._table.add(*field)
                changed = True
            elif first & 0x20:
                at = self._resize(block, at, bool(fields))
                changed = True
                continue
            else:
                field, at = self._literal(block, at, 0x0F)
            fields.append(field)
            size += len(field[0]) + len(field[1]) + 32
            if size > self._max_list_bytes:
                raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, "header list too large")
        return fields, changed

    def _resize(self, block: bytes, at: int, late: bool) -> int:
        size, at = _integer(block, at, 0x1F)
        if late or size > _TABLE_BYTES:
            raise ConnectionFault(ErrorCode.COMPRESSION_ERROR, "table size update out of place or too large")
        self._table.maxsize = size
        return at

    def _literal(self, block: bytes, at: int, mask: int) -> tuple[tuple[bytes, bytes], int]:
        index, at = _integer(block, at, mask)
        if index:
            name = self._table.get_by_index(index)[0]
        else:
            name, at = _string(block, at)
        value, at = _string(block, at)
        return (name, value), at


def _integer(block: bytes, at: int, mask: int) -> tuple[int, int]:
    """An integer with a prefix of `mask` bits, and its end (RFC 7541 §5.1); at most 4 further octets."""
    value = block[at] & mask
    at += 1
    if value < mask:
        return value, at
    for shift in (0, 7, 14, 21):
        octet = block[at]
        at += 1
        value += (octet & 0x7F) << shift
        if octet < 0x80:
            return value, at
    raise ConnectionFault(ErrorCode.COMPRESSION_ERROR, "integer too long")


def _string(block: bytes, at: int) -> tuple[bytes, int]:
    coded = block[at] & 0x80
    size, at = _integer(block, at, 0x7F)
    text = block[at : at + size]
    if len(text) != size:
        raise ConnectionFault(ErrorCode.COMPRESSION_ERROR, "string longer than its block")
    return (_huffman(text) if coded else text), at + size


def request_head(fields: Fields) -> RequestHead:
    """The fields as a request. Raises `StreamFault` for what RFC 9113 §8.1.1 calls malformed."""
    pseudo: dict[bytes, bytes] = {}
    headers: dict[str, str] = {}
    for name, value in fields:
        if name[:1] == b":":
            if headers or name in pseudo or name not in _PSEUDO:
                raise StreamFault(ErrorCode.PROTOCOL_ERROR, "pseudo-header out of place")
            pseudo[name] = value
            continue
        if not _NAME.fullmatch(name) or _BAD_VALUE.search(value) or name in _FORBIDDEN:
            raise StreamFault(ErrorCode.PROTOCOL_ERROR, "malformed header field")
        text, key = value.decode("latin-1"), name.decode("ascii")
        joint = "; " if key == "cookie" else ", "
        headers[key] = f"{headers[key]}{joint}{text}" if key in headers else text
    if not (b":method" in pseudo and b":scheme" in pseudo and pseudo.get(b":path")):
        raise StreamFault(ErrorCode.PROTOCOL_ERROR, "a request needs :method, :scheme and :path")
    if b":authority" in pseudo:
        headers["host"] = pseudo[b":authority"].decode("latin-1")
    path, _, query = pseudo[b":path"].decode("latin-1").partition("?")
    return RequestHead(pseudo[b":method"].decode("latin-1"), path, query, headers, _content_length(headers))


def _content_length(headers: dict[str, str]) -> int | None:
    text = headers.get("content-length")
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 16):
        raise StreamFault(ErrorCode.PROTOCOL_ERROR, "content-length is not a number")
    return int(text)


@lru_cache(maxsize=4096)
def response_block(status: int, headers: tuple[tuple[str, str], ...], length: int | None) -> bytes:
    """The header block of a response; `length` becomes `content-length` unless None. Needs no table."""
    parts = [_static_field(b":status", str(status).encode())]
    parts += [_static_field(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
    if length is not None:
        parts.append(_static_field(b"content-length", str(length).encode()))
    return b"".join(parts)


def _static_field(name: bytes, value: bytes) -> bytes:
    known = HeaderTable.STATIC_TABLE_MAPPING.get(name)
    if known and value in known[1]:
        return _number(known[1][value], 0x80, 0x7F)
    start = _number(known[0], 0, 0x0F) if known else b"\x00" + _number(len(name), 0, 0x7F) + name
    return start + _number(len(value), 0, 0x7F) + value


def _number(value: int, pattern: int, mask: int) -> bytes:
    if value < mask:
        return bytes((pattern | value,))
    octets = [pattern | mask]
    value -= mask
    while value >= 0x80:
        octets.append(value & 0x7F | 0x80)
        value >>= 7
    octets.append(value)
    return bytes(octets)
