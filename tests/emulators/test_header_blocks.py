"""Header blocks with `hpack` as the reference: what it encodes we decode, what we encode it decodes."""

import string

import pytest
from hpack import Decoder, Encoder
from hypothesis import given
from hypothesis import strategies as st

from tidings.emulators.frames import ConnectionFault
from tidings.emulators.header_blocks import HeadReader, response_block

NAMES = st.one_of(
    st.sampled_from(["accept", "content-type", "x-a", "authorization", "cookie"]),
    st.text(string.ascii_lowercase + "-", min_size=1, max_size=20),
)
VALUES = st.one_of(st.sampled_from(["", "a", "*/*"]), st.text(string.printable[:95], max_size=200))
FIELDS = st.lists(st.tuples(NAMES, VALUES, st.booleans()), max_size=12)


@given(
    blocks=st.lists(st.tuples(FIELDS, st.sampled_from([None, 0, 60, 300, 4096])), max_size=8),
    huffman=st.booleans(),
)
def test_every_block_of_a_connection_decodes_as_it_was_encoded(
    blocks: list[tuple[list[tuple[str, str, bool]], int | None]], huffman: bool
) -> None:
    encoder = Encoder()
    reader = HeadReader(1_000_000)
    for fields, resize in blocks:
        if resize is not None:
            encoder.header_table_size = resize
        for _ in range(2):  # The second time indexed where it may be: the kept result must be the right one.
            block = encoder.encode(fields, huffman=huffman)
            decoded, _changed = reader.fields(block)
            assert decoded == [(name.encode(), value.encode()) for name, value, _ in fields]


@given(st.binary(max_size=200))
def test_any_bytes_decode_as_the_reference_or_are_refused(block: bytes) -> None:
    try:
        ours = HeadReader(65_536).fields(block)[0]
    except ConnectionFault:
        return
    reference = [(bytes(name), bytes(value)) for name, value in Decoder().decode(block, raw=True)]
    assert ours == reference


def test_a_kept_head_is_forgotten_when_the_table_changes() -> None:
    reader = HeadReader(65_536)
    encoder = Encoder()
    start = [(":method", "GET"), (":scheme", "http"), (":path", "/")]
    first = reader.head(encoder.encode([*start, ("x-a", "one")]))
    indexed = encoder.encode([*start, ("x-a", "one")])
    assert reader.head(indexed).headers == first.headers
    assert reader.head(indexed) is reader.head(indexed)
    reader.head(encoder.encode([*start, ("x-b", "two")]))
    # The same bytes as before now name the newer entry.
    assert reader.head(indexed).headers == {"x-b": "two"}


@given(
    status=st.sampled_from([100, 200, 204, 404, 418, 599]),
    headers=st.lists(st.tuples(NAMES, VALUES), max_size=10),
    length=st.one_of(st.none(), st.integers(0, 10**7)),
)
def test_our_blocks_are_read_by_the_reference(status: int, headers: list[tuple[str, str]], length: int | None) -> None:
    expected = [(":status", str(status)), *headers]
    expected += [] if length is None else [("content-length", str(length))]
    block = response_block(status, tuple(headers), length)
    coded = [(name.encode(), value.encode()) for name, value in expected]
    assert list(Decoder().decode(block, raw=True)) == coded


@pytest.mark.parametrize("size", [126, 127, 128, 254, 255, 256, 16_510, 16_511, 16_512])
def test_lengths_at_the_edges_of_the_integer_code(size: int) -> None:
    block = response_block(200, (("x-value", "v" * size),), None)
    assert list(Decoder().decode(block, raw=True))[1] == (b"x-value", b"v" * size)
    encoded = Encoder().encode([("x-value", "v" * size)], huffman=False)
    assert HeadReader(65_536).fields(encoded)[0] == [(b"x-value", b"v" * size)]
