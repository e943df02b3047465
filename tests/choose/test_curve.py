import numpy as np

from nestvec.choose.curve import shares_on_curve

CUTS = np.array([4.0, 8, 12, 16, 24, 32, 48])


def test_points_of_a_curve_stay_where_they_are():
    shares = 1 - 0.5 * np.exp(-0.1 * CUTS)
    np.testing.assert_allclose(shares_on_curve(CUTS, shares, np.full(7, 0.01)), shares, atol=0.005)


def test_a_lucky_cut_is_brought_down_and_the_curve_rises():
    shares = 1 - 0.5 * np.exp(-0.1 * CUTS)
    shares[4] = 1.0
    curve = shares_on_curve(CUTS, shares, np.full(7, 0.01))
    assert curve[4] < 0.97
    assert (np.diff(curve) > 0).all()


def test_too_few_cuts_make_no_curve():
    shares = np.array([0.9, 1.0, 0.95])
    np.testing.assert_array_equal(shares_on_curve(CUTS[:3], shares, np.ones(3)), shares)
