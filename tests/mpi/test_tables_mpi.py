import json

import numpy as np
import pytest

ROUNDS = 12


def descended(ended, n):
    """The weights in hexadecimal: all ranks saw the same, on every table, to the bit."""
    assert ended.status == 0
    everyone = json.loads(ended.stdout)
    assert len(everyone) == n
    (weights,) = {weights for seen in everyone for weights in seen}
    return weights


def serial():
    """What programs/descent.py does, in numpy, on all samples at once."""
    rng = np.random.default_rng(11)
    features = rng.standard_normal((240, 30))
    targets = features @ rng.standard_normal(30) + rng.standard_normal(240)
    weights = np.zeros(30)
    for _ in range(ROUNDS):
        weights -= 0.2 * features.T @ (features @ weights - targets) / 240
    return weights


@pytest.mark.parametrize("n", [1, 2, 4])
def test_bulk_synchronous_descent_is_serial_descent_and_always_the_same(mpirun, n):
    weights = descended(mpirun(n, "descent.py", str(ROUNDS), "dense", "sparse"), n)
    found = np.frombuffer(bytes.fromhex(weights))
    np.testing.assert_allclose(found, serial(), rtol=1e-12, atol=1e-13)
    assert np.abs(found).max() > 0.5


def test_openmpi(openmpirun):
    descended(openmpirun(2, "descent.py", "5", "dense", "dense"), 2)
