"""Hashes that are the same on every machine and for ever: where keys are depends on them."""

import numpy as np

from paracel.hashing import SLOT_BITS, digest, hash_bytes, mix, slots_of_numbers

M = (1 << 64) - 1


def splitmix(number):
    """The finaliser of splitmix64 in plain whole numbers."""
    mixed = (number + 0x9E3779B97F4A7C15) & M
    mixed = (mixed ^ mixed >> 30) * 0xBF58476D1CE4E5B9 & M
    mixed = (mixed ^ mixed >> 27) * 0x94D049BB133111EB & M
    return mixed ^ mixed >> 31


def test_mix_is_splitmix64():
    numbers = [0, 1, 2, 1 << 32, 1 << 63, M - 1, M]
    assert mix(numbers).tolist() == [splitmix(number) for number in numbers]
    assert mix([0])[0] == 0xE220A8397B1DCDAF, "of the published sequence"


def test_mix_leaves_what_it_is_given_and_keeps_the_shape():
    numbers = np.arange(6, dtype=np.uint64).reshape(2, 3)
    assert mix(numbers).shape == (2, 3)
    assert numbers.tolist() == [[0, 1, 2], [3, 4, 5]]
    assert mix(np.uint64(7)).tolist() == splitmix(7)
    assert mix([]).shape == (0,)


def test_slots_are_the_high_bits_of_number_and_seed_mixed():
    slots = slots_of_numbers(0xABCDEF, [0, 5, M])
    assert slots.tolist() == [splitmix(number ^ 0xABCDEF) >> (64 - SLOT_BITS) for number in (0, 5, M)]
    assert slots.dtype == np.int64
    counts = np.bincount(slots_of_numbers(3, np.arange(200_000)), minlength=1 << SLOT_BITS)
    assert counts.min() > 120
    assert counts.max() < 280


def test_a_digest_is_of_the_keys_in_their_order():
    keys = np.array([1, 2, M], np.uint64)
    assert len(digest(keys)) == 16
    assert digest(keys) == digest(keys.copy()) == digest(np.array([1, 0, 2, 0, M], np.uint64)[::2])
    assert len({digest(np.array(each, np.uint64)) for each in ([1, 2, M], [2, 1, M], [1, 2], [])}) == 4
    assert digest(keys).hex() == GOLDEN_DIGEST
    assert hash_bytes(b"table/w") == GOLDEN_HASH


GOLDEN_DIGEST = "8c3bed287fc4cd8e43bede0fc23c4aee"
GOLDEN_HASH = 12820276749491607921
