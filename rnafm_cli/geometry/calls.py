"""The type of a point by its labelled neighbours, and how often such a call is right.

Shape suffixes: N points, K neighbours, L labels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rnafm_cli.geometry.neighbours import Neighbours

__all__ = ["Calibration", "Votes", "calibrate", "vote_by_distance"]


@dataclass(frozen=True, eq=False)
class Votes:
    """Weighted shares of the labels among a point's neighbours."""

    share_NL: np.ndarray

    @property
    def winner_N(self) -> np.ndarray:
        """The label with the largest share."""
        return self.share_NL.argmax(axis=1)

    @property
    def top_N(self) -> np.ndarray:
        """The winner's share."""
        return self.share_NL.max(axis=1)


def vote_by_distance(neighbours: Neighbours, label_N: np.ndarray, labels: int) -> Votes:
    """Shares of each label among the neighbours; a near one weighs up to eleven times as much as the farthest."""
    far = neighbours.distance_NK / np.maximum(neighbours.distance_NK[:, -1:], 1e-12)
    weight = 1 / (0.1 + far)
    share = np.zeros((len(far), labels))
    for rank in range(far.shape[1]):
        share[np.arange(len(far)), label_N[neighbours.index_NK[:, rank]]] += weight[:, rank]
    return Votes(share / share.sum(axis=1, keepdims=True))


@dataclass(frozen=True, eq=False)
class Calibration:
    """A rising curve from the winner's share to the chance that the call is right."""

    share_P: np.ndarray
    accuracy_P: np.ndarray

    def confidence(self, share_N: np.ndarray) -> np.ndarray:
        """Chance of a right call, 0 to 1, between the curve's points by straight lines; NaN without a curve."""
        if not len(self.share_P):
            return np.full(len(share_N), np.nan)
        return np.interp(share_N, self.share_P, self.accuracy_P)


def calibrate(share_N: np.ndarray, right_N: np.ndarray, *, weight_N: np.ndarray | None = None) -> Calibration:
    """Isotonic regression of right calls on shares, as one point for each step of the curve.

    Args:
        right_N: whether each call was right, known from points whose label was hidden.
        weight_N: what each call counts; equal if None.
    """
    if not len(share_N):
        return Calibration(np.zeros(0), np.zeros(0))
    order = np.argsort(share_N, kind="stable")
    weight_N = np.ones(len(share_N)) if weight_N is None else weight_N
    share_S, accuracy_S, weight_S, calls_S = _rising(share_N[order], right_N[order], weight_N[order])
    # One call beyond doubt proves no certainty: each step is drawn towards the mean by two calls, the mean towards a
    # half. Steps of few calls move most, and those that moved past a neighbour are joined with it.
    mean = (accuracy_S @ weight_S + weight_N.mean()) / (weight_S.sum() + 2 * weight_N.mean())
    drawn_S = (calls_S * accuracy_S + 2 * mean) / (calls_S + 2)
    share_P, accuracy_P, _, _ = _rising(share_S, drawn_S, weight_S)
    return Calibration(share_P, accuracy_P)


def _rising(share_N: np.ndarray, right_N: np.ndarray, weight_N: np.ndarray) -> tuple[np.ndarray, ...]:
    """Pool adjacent violators: mean share, mean of what is right, weight and number of calls of each step."""
    steps: list[np.ndarray] = []
    for share, right, weight in zip(share_N, right_N, weight_N, strict=True):
        steps.append(np.asarray([share * weight, right * weight, weight, weight * weight]))
        while len(steps) > 1 and steps[-2][1] * steps[-1][2] >= steps[-1][1] * steps[-2][2]:
            steps[-2:] = [steps[-2] + steps[-1]]
    share_S, right_S, weight_S, square_S = np.asarray(steps).T
    return share_S / weight_S, right_S / weight_S, weight_S, weight_S**2 / square_S
