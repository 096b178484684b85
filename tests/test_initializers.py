"""Initial values: their moments and bounds, fans, orthogonality; the same numbers from the same place, on the host."""

import math

import numpy as np
import pytest

from ann import initializers
from ann.initializers import get
from backends import Stream

N = (300, 400)
S = Stream(0)["layer"]["kernel"]
GLOROT, HE, LECUN = 2 / 700, 2 / 300, 1 / 300


@pytest.mark.parametrize(
    ("name", "variance", "bound"),
    [
        ("glorot_uniform", GLOROT, math.sqrt(3 * GLOROT)),
        ("he_uniform", HE, math.sqrt(3 * HE)),
        ("lecun_uniform", LECUN, math.sqrt(3 * LECUN)),
        ("glorot_normal", GLOROT, 2 * math.sqrt(GLOROT) / 0.87962566103423978),
        ("he_normal", HE, 2 * math.sqrt(HE) / 0.87962566103423978),
        ("lecun_normal", LECUN, 2 * math.sqrt(LECUN) / 0.87962566103423978),
        ("random_uniform", 0.1**2 / 12, 0.05),
        ("random_normal", 0.05**2, 0.05 * 8.7),
        ("truncated_normal", (0.05 * 0.87962566103423978) ** 2, 0.1),
    ],
)
def test_mean_variance_and_bound(name, variance, bound):
    w = get(name)(N, S)
    assert w.shape == N and w.dtype == np.float64
    size = w.size
    assert abs(w.mean()) < 4 * math.sqrt(variance / size)
    assert abs(w.var() / variance - 1) < 4 * math.sqrt(2 / size)  # the kurtosis of all of these is at most 3
    assert abs(w).max() <= bound and (name == "random_normal" or abs(w).max() > 0.999 * bound)


def test_truncated_normal_is_a_normal_inside_two_deviations():
    z = get("truncated_normal")((200_000,), S).ravel() / 0.05
    inside = math.erf(math.sqrt(2))
    for x in (-1.5, -0.5, 0.0, 1.0):
        wanted = (0.5 * (1 + math.erf(x / math.sqrt(2))) - (1 - inside) / 2) / inside
        assert abs((z < x).mean() - wanted) < 4 * math.sqrt(0.25 / 200_000)


def test_fans_count_the_window():
    assert initializers.fans((3, 5, 4, 8)) == (60, 120)
    assert initializers.fans((4, 8)) == (4, 8) and initializers.fans((7,)) == (7, 7) and initializers.fans(()) == (1, 1)
    w = get("he_normal")((3, 3, 64, 128), S)
    assert abs(w.var() * 9 * 64 / 2 - 1) < 0.02


@pytest.mark.parametrize("shape", [(8, 8), (12, 5), (5, 12), (3, 3, 4, 8), (2, 2, 3, 40)])
def test_orthogonal_rows_or_columns(shape):
    w = initializers.Orthogonal(2.0)(shape, S).reshape(-1, shape[-1])
    gram = w.T @ w if w.shape[0] >= w.shape[1] else w @ w.T
    np.testing.assert_allclose(gram, 4 * np.eye(len(gram)), atol=1e-13)


def test_orthogonal_matrices_are_spread_over_both_orientations_and_all_angles():
    """Without the signs of R the diagonal of Q would lean to one side."""
    corner = np.array([get("orthogonal")((3, 3), S.at(i))[0, 0] for i in range(400)])
    assert abs(corner.mean()) < 4 * math.sqrt(1 / 3 / 400)


def test_plain_values():
    np.testing.assert_array_equal(get("zeros")((2, 3), S), np.zeros((2, 3)))
    np.testing.assert_array_equal(get("ones")((3,), S), np.ones(3))
    np.testing.assert_array_equal(get(0.5)((2,), S), [0.5, 0.5])
    np.testing.assert_array_equal(initializers.Identity(3.0)((2, 3), S), 3 * np.eye(2, 3))
    assert get("he_normal")((0, 3), S).shape == (0, 3)
    for name in ("identity", "orthogonal"):
        with pytest.raises(ValueError, match="a matrix is wanted"):
            get(name)((3,), S)


@pytest.mark.parametrize("name", ["glorot_uniform", "he_normal", "orthogonal", "random_normal"])
def test_same_place_same_numbers_other_place_others(name):
    draw = get(name)
    np.testing.assert_array_equal(draw((5, 4), S), draw((5, 4), Stream(0)["layer"]["kernel"]))
    assert not np.array_equal(draw((5, 4), S), draw((5, 4), Stream(0)["layer_1"]["kernel"]))
    assert not np.array_equal(draw((5, 4), S), draw((5, 4), Stream(1)["layer"]["kernel"]))


def test_initializers_are_found_by_name_or_are_functions():
    assert get("glorot_uniform") == get("GlorotUniform") == get("xavier_uniform") == initializers.GlorotUniform()
    assert get("normal") == get("random_normal") and get("uniform") == get("random_uniform")
    assert {type(get(name)).__name__ for name in initializers.INITIALIZERS} == set(initializers.__all__)
    assert get(mine := lambda shape, stream: np.ones(shape)) is mine
    with pytest.raises(ValueError, match='Did you mean "glorot_uniform"'):
        get("glorot_unifrom")
    with pytest.raises(TypeError, match=r"Orthogonal is a class; write Orthogonal\(\)"):
        get(initializers.Orthogonal)
    with pytest.raises(TypeError, match="an initializer is a name, or a number"):
        get(None)
    with pytest.raises(ValueError, match="mode is fan_in"):
        initializers.VarianceScaling(mode="fan")
