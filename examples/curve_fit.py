"""Step 14: a law of physics fitted by gradients

No network here: what trains networks finds the constants of any formula. A weight swings on a spring, in air. Newton's law
with friction gives its position at time t,

    x(t) = c + A·exp(−γ·t)·cos(ω·t + φ)

with amplitude A, damping γ, frequency ω, phase φ and position of rest c. It was measured 120 times, each time with an error
of about 2 mm. `ann.least_squares` finds the constants that make the sum of the squared differences Σ r² as small as can be
(Levenberg and Marquardt's method; the derivatives ∂r/∂A, ∂r/∂γ, … come from `ann.jacobian`, nobody writes them down).

How far can they be trusted? Where Σ r² rises steeply the constant is known well, where it is flat badly. That is the
covariance C of the constants; the roots of its diagonal are their standard errors, printed behind ±. A quantity computed
from the constants, such as the period T = 2π/ω, inherits an error by its gradient: σ_T² = ∇Tᵀ·C·∇T.

Last, three measurements go wrong by 20 cm. Squares make them loud. `ann.minimize` minimizes what you like, here Σ log cosh,
which grows like a square for small r and like |r| for large ones: the outliers hardly count.

    python examples/curve_fit.py --backend numpy

It prints, among other things:

    amplitude   0.1013 ± 0.0008   (true: 0.1)
    damping     0.1523 ± 0.0021   (true: 0.15)
    frequency   2.2001 ± 0.0020   (true: 2.2)
    error of one measurement: 0.0022 m
    period 2.8559 ± 0.0026 s
    in 200 repetitions the true frequency lay within 1 σ in 69 %, within 2 σ in 96 %
    with outliers, least squares: amplitude off by 0.0149
    with outliers, log cosh:      amplitude off by 0.0013
"""

import math

import course
import numpy as np

import ann
import backends
from backends import namespace

options = course.options(__doc__)
be = backends.get(options.backend)
print(f"arrays of {be.name} on {be.device}\n")

TRUE = {"amplitude": 0.1, "damping": 0.15, "frequency": 2.2, "phase": 0.4, "rest": 0.25}
SIGMA = 0.002  # meters
NAMES = list(TRUE)


def position(p, t):
    """The law, in functions of the Array API standard: it runs, and differentiates, on every library."""
    xp = namespace(t)
    return p["rest"] + p["amplitude"] * xp.exp(-p["damping"] * t) * xp.cos(p["frequency"] * t + p["phase"])


def residual(p, t, x):
    return position(p, t) - x


# Measurements: the same random numbers for every library.
times = np.linspace(0.0, 12.0, 120)
t = be.asarray(times)
noise = ann.Stream(14)["measurement"]


def measure(repetition: int):
    return be.asarray(position(TRUE, times) + SIGMA * noise.at(repetition).normal(times.shape, dtype="float64"))


x = measure(0)
start = {"amplitude": 0.08, "damping": 0.1, "frequency": 2.0, "phase": 0.0, "rest": 0.2}  # read off a plot
fit = ann.least_squares(residual, start, args=(t, x))
print(fit, "\n")
for name in NAMES:
    print(f"{name:<10}  {fit.params[name]:.4f} ± {fit.errors[name]:.4f}   (true: {TRUE[name]:g})")
print(f"\nerror of one measurement: {math.sqrt(fit.value / (len(times) - len(NAMES))):.4f} m")

# The error of a derived quantity, by its gradient.
period = lambda p: 2.0 * math.pi / p["frequency"]  # noqa: E731
slope = np.array([ann.grad(period)(fit.params)[name] for name in NAMES])
print(f"period {period(fit.params):.4f} ± {math.sqrt(slope @ be.to_numpy(fit.covariance) @ slope):.4f} s")

# Are the errors honest? Measure again and again, and count how often the truth lies within them.
repetitions = 20 if options.quick else 200
off = []
for i in range(1, repetitions + 1):
    again = ann.least_squares(residual, fit.params, args=(t, measure(i)))
    off.append(abs(again.params["frequency"] - TRUE["frequency"]) / again.errors["frequency"])
within = [100.0 * np.mean(np.array(off) < k) for k in (1, 2)]
print(f"in {repetitions} repetitions the true frequency lay within 1 σ in {within[0]:.0f} %, within 2 σ in {within[1]:.0f} %")

# Outliers.
wrong = np.zeros(len(times))
wrong[[20, 21, 60]] = 0.2
x_wrong = x + be.asarray(wrong, dtype=x.dtype)


def log_cosh(p, t, x):
    xp = namespace(t)
    r = residual(p, t, x) / SIGMA
    return xp.sum(xp.abs(r) + xp.log1p(xp.exp(-2.0 * xp.abs(r))))


squares = ann.least_squares(residual, start, args=(t, x_wrong))
robust = ann.minimize(log_cosh, squares.params, args=(t, x_wrong))
print(f"\nwith outliers, least squares: amplitude off by {abs(squares.params['amplitude'] - TRUE['amplitude']):.4f}")
print(f"with outliers, log cosh:      amplitude off by {abs(robust.params['amplitude'] - TRUE['amplitude']):.4f}\n")


def draw():
    figure, (left, right) = course.panels(2, width=5.0)
    at = be.asarray(np.linspace(0.0, 12.0, 600))
    host = be.to_numpy
    for axes, values, curves in ((left, x, {"fit": fit}), (right, x_wrong, {"least squares": squares, "log cosh": robust})):
        axes.plot(times, host(values), ".", color="0.6", markersize=4)
        for (label, found), color in zip(curves.items(), ("#c0392b", "#1f5fa8"), strict=False):
            axes.plot(host(at), host(position(found.params, at)), color=color, linewidth=1.2, label=label)
        axes.set(xlabel="time t / s", ylabel="position x / m")
        axes.legend(frameon=False)
    left.set_title("damped oscillation")
    right.set_title("with three outliers")
    return figure


course.picture(options, "14_curve_fit", draw)
