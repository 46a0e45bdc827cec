"""The vault: what is sealed opens with its key and context, and with nothing else."""

import secrets

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidings.vault import SealBroken, Vault, open_, seal, vault_of

KEY, OTHER = secrets.token_bytes(32), secrets.token_bytes(32)
SECRET = b"the secret of an installation, long enough"
FORMER = b"the secret that it had before, long enough"


@given(plain=st.binary(max_size=200), context=st.text(max_size=50))
def test_what_is_sealed_opens(plain: bytes, context: str) -> None:
    sealed = seal(KEY, plain, context)
    assert open_(KEY, sealed, context) == plain
    assert len(sealed) == len(plain) + 1 + 12 + 16
    assert len(plain) < 8 or plain not in sealed


def test_two_seals_of_the_same_differ() -> None:
    assert len({seal(KEY, b"the same", "c") for _ in range(100)}) == 100


@given(plain=st.binary(max_size=50), where=st.integers(min_value=0), bit=st.integers(0, 7))
def test_no_bit_can_be_changed(plain: bytes, where: int, bit: int) -> None:
    sealed = bytearray(seal(KEY, plain, "mine"))
    sealed[where % len(sealed)] ^= 1 << bit
    with pytest.raises(SealBroken):
        open_(KEY, bytes(sealed), "mine")


@given(junk=st.binary(max_size=100))
def test_junk_is_a_broken_seal_and_nothing_else(junk: bytes) -> None:
    with pytest.raises(SealBroken):
        open_(KEY, junk, "mine")


@given(one=st.text(max_size=20), other=st.text(max_size=20))
def test_a_seal_belongs_to_its_context(one: str, other: str) -> None:
    sealed = seal(KEY, b"plain", one)
    if one != other:
        with pytest.raises(SealBroken):
            open_(KEY, sealed, other)


def test_another_secret_says_what_to_do() -> None:
    sealed = vault_of(SECRET).seal(b"sesame, open", "mine")
    with pytest.raises(SealBroken, match="TIDINGS_SECRET_OLD") as raised:
        vault_of(FORMER).open(sealed, "mine")
    assert "sesame" not in str(raised.value)


def test_a_former_secret_opens_and_the_new_one_seals() -> None:
    before = vault_of(FORMER).seal(b"plain", "mine")
    both = vault_of(SECRET, FORMER)
    assert both.open(before, "mine") == b"plain"
    assert vault_of(SECRET).open(both.seal(b"plain", "mine"), "mine") == b"plain"


def test_keys_have_their_own_purpose_and_length_and_are_not_shown() -> None:
    vault = vault_of(SECRET)
    assert SECRET not in vault.keys[0]
    assert len(vault.keys[0]) == 32
    assert repr(vault) == "Vault(1 keys)"
    with pytest.raises(ValueError, match="32 bytes"):
        seal(b"short", b"plain", "mine")
    with pytest.raises(ValueError, match="32 bytes"):
        vault_of(b"short")
    assert isinstance(Vault((OTHER,)).seal(b"", ""), bytes)
