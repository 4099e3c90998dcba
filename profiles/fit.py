"""From samples to profile points, and from a few points to those that were not measured.

Notation: b batch size, l(b) latency [s] of a full batch, n number of samples.

Quantiles are Hyndman and Fan's type 1, the inverse of the empirical distribution: the smallest
sample that at least a share q of all samples do not exceed. It was really seen, it rises with q,
and for few samples the high quantiles are the maximum, which errs on the side of the SLO.

Throughput is b over the mean cycle time of a closed loop with *one* batch in flight. The replica
idles while its answers travel and the next batch is sent, so this understates a replica that always
finds a full queue, by that turnaround over the cycle: a margin on the safe side. Two batches in
flight would hide the turnaround, but each batch would then wait for the one before it, and the same
run could no longer give the latency of a batch; throughput would need a second run per point. With
a CPU share below one core the difference vanishes: what the replica idles, it has saved for its
next batch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from penstock.domain import ProfilePoint
from penstock.errors import ProfileError
from profiles.measure import Samples

QUANTILES = (0.5, 0.9, 0.95, 0.99)


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencyFit:
    """l(b) = ``quadratic`` b² + ``linear`` b + ``constant``, from the measured points.

    ``residual`` is the largest difference between fit and measurement, as a share of the latter.
    """

    quadratic: float
    linear: float
    constant: float
    residual: float

    def at(self, batch_size: float) -> float:
        """Return the fitted latency [s] of a batch."""
        return (self.quadratic * batch_size + self.linear) * batch_size + self.constant


def point_of(samples: Samples, *, cpu_cores: float) -> ProfilePoint:
    """Return the profile point of one batch size.

    Raises:
        ProfileError: there is no sample.
    """
    seconds = sorted(samples.seconds)
    if not seconds:
        raise ProfileError(f"batch size {samples.batch_size} was never measured: give it more time")
    return ProfilePoint(
        batch_size=samples.batch_size,
        cpu_cores=cpu_cores,
        latency_s={q: quantile_of(seconds, q) for q in QUANTILES},
        throughput_rps=samples.batch_size * len(seconds) / sum(seconds),
        samples=len(seconds),
    )


def quantile_of(ordered: Sequence[float], quantile: float) -> float:
    """Return the type 1 quantile of samples in rising order."""
    # The rounding keeps 0.95 x 20 from becoming 19.000000000000004 and so the 20th sample.
    rank = math.ceil(round(quantile * len(ordered), 9))
    return ordered[max(0, rank - 1)]


def fit_latency(latency_s: Mapping[int, float]) -> LatencyFit:
    """Fit l(b) to measured latencies by least squares, as IPA does (section 4.2 of its paper).

    Quadratic from three batch sizes on, else linear; linear too when the quadratic would give a
    latency that is not positive somewhere between the measured batch sizes.

    Raises:
        ProfileError: fewer than two batch sizes were measured, or not even the line is positive.
    """
    if len(latency_s) < 2:
        raise ProfileError(
            f"a fit needs two measured batch sizes, got {sorted(latency_s)}: profile more of them"
        )
    for degree in (2, 1) if len(latency_s) > 2 else (1,):
        fit = _least_squares(latency_s, degree)
        if all(fit.at(b) > 0 for b in range(min(latency_s), max(latency_s) + 1)):
            return fit
    raise ProfileError(f"no line through {dict(latency_s)} stays positive: measure again")


def fill(points: Sequence[ProfilePoint], batch_sizes: Sequence[int]) -> tuple[ProfilePoint, ...]:
    """Return the points, and between them fitted ones for the batch sizes that were not measured.

    A fitted point has ``samples`` 0. All points must be of one CPU share.

    Raises:
        ProfileError: a batch size lies outside the measured ones, where a fit means nothing.
    """
    measured = {p.batch_size: p for p in points}
    missing = sorted(set(batch_sizes) - set(measured))
    outside = [b for b in missing if not measured or not min(measured) < b < max(measured)]
    if outside:
        raise ProfileError(
            f"batch sizes {outside} lie outside the measured ones {sorted(measured)}: "
            "a fit does not extrapolate; measure them"
        )
    if not missing:
        return tuple(measured[b] for b in sorted(measured))
    fitted = _fitted(measured, missing)
    return tuple(sorted([*measured.values(), *fitted], key=lambda p: p.batch_size))


def residuals(points: Sequence[ProfilePoint]) -> Mapping[float, float]:
    """Return how far the fit is from the measured points, by quantile; empty when none is fitted.

    Fewer than four points say nothing: a parabola goes through any three.
    """
    measured = [p for p in points if p.samples > 0]
    if len(measured) < 4:
        return {}
    shared = set.intersection(*(set(p.latency_s) for p in measured))
    return {
        q: fit_latency({p.batch_size: p.latency_s[q] for p in measured}).residual
        for q in sorted(shared)
    }


def _fitted(measured: Mapping[int, ProfilePoint], missing: Sequence[int]) -> list[ProfilePoint]:
    shared = sorted(set.intersection(*(set(p.latency_s) for p in measured.values())))
    curves = {q: fit_latency({b: p.latency_s[q] for b, p in measured.items()}) for q in shared}
    cycle = fit_latency({b: b / p.throughput_rps for b, p in measured.items()})
    cores = next(iter(measured.values())).cpu_cores
    return [
        ProfilePoint(
            batch_size=b,
            cpu_cores=cores,
            # Curves fitted one by one may cross; a profile's latencies rise with the quantile.
            latency_s={q: max(curves[p].at(b) for p in shared if p <= q) for q in shared},
            throughput_rps=b / cycle.at(b),
        )
        for b in missing
    ]


def _least_squares(latency_s: Mapping[int, float], degree: int) -> LatencyFit:
    batches = np.array(sorted(latency_s), dtype=float)
    measured = np.array([latency_s[int(b)] for b in batches])
    powers = np.vander(batches, degree + 1)
    solved, *_ = np.linalg.lstsq(powers, measured, rcond=None)
    *high, linear, constant = (float(c) for c in solved)
    return LatencyFit(
        quadratic=high[0] if high else 0.0,
        linear=linear,
        constant=constant,
        residual=float(np.max(np.abs(powers @ solved - measured) / measured)),
    )
