"""The law of synthetic difference-in-differences: a jackknife with fixed weights, all terms at once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pmg_eval.estimate import Influence
from pmg_eval.numerics.rows import Array, Rows
from pmg_eval.synth._door import Design
from pmg_eval.synth._sdid_fit import Block, Refused
from pmg_eval.synth._sdid_result import Terms, counts_of, share_of


def jackknife(design: Design, blocks: Sequence[Block | Refused], found: Sequence[Terms | None]) -> Influence:
    r"""Fixed-weight jackknife of all terms at once.

    Without donor j the other weights are :math:`\omega_i/(1-\omega_j)`, without treated unit i the treated mean is that
    of the others; :math:`\lambda` stays. Row u is :math:`\sqrt{n(n-1)}(\bar\theta_{(-)}-\theta_{(-u)})`, so that the
    covariance is :math:`\frac{n-1}n\sum_u(\theta_{(-u)}-\bar\theta_{(-)})(\cdot)'`. The weight of a cohort loses the
    unit that is left out. A cohort's only treated unit leaves nothing to compare: its row is zero in the cohort's own
    terms (the guard gives those no standard error) and its distance to the others counts in averages.
    """
    panel = design.panel
    used = np.zeros(panel.n_units, dtype=bool)
    columns = [int(block.rows.sum()) for block in blocks]
    shape = (panel.n_units, sum(columns))
    value, weight, treated = np.zeros(shape), np.zeros(shape), np.zeros(shape)
    start = 0
    for block, terms, width in zip(blocks, found, columns, strict=True):
        here = slice(start, start + width)
        start += width
        if isinstance(block, Refused) or terms is None:
            continue
        used[block.treated] = used[block.donors] = True
        treated[block.treated, here] = block.parts()[:, block.rows]
        donors, own, donors_weight, own_weight = _without(design, block, terms)
        value[block.donors, here] = donors[:, block.rows]
        value[block.treated, here] = own[:, block.rows]
        weight[block.donors, here] = donors_weight[:, block.rows]
        weight[block.treated, here] = own_weight[:, block.rows]
    n = int(used.sum())
    factor = np.sqrt(n * (n - 1))

    def rows(change: Array) -> Rows:
        change = change[used]
        return Rows(left=factor * (change.mean(axis=0) - change))

    return Influence(
        psi=rows(value),
        rows=panel.unit_labels.loc[used].reset_index(drop=True),
        n=n,
        kind="score",
        weight_psi=rows(weight),
        treated=Rows(left=treated[used]),
        corrected=True,
    )


def _without(design: Design, block: Block, terms: Terms) -> tuple[Array, Array, Array, Array]:
    """Changes of the terms and of their weights without each donor (J, T) and each treated unit (n1, T)."""
    omega = block.unit.weights
    with np.errstate(divide="ignore", invalid="ignore"):
        # one donor with all the weight: 1 / 0, and nothing known of any term
        lever = np.where(omega < 1, omega / (1 - omega), np.nan)[:, None]
        if (omega >= 1).any():
            lever = np.full_like(lever, np.nan)
        control = lever * (block.donor_changes() - block.control)  # minus the change of the weighted donors
        part = block.parts()
        if design.exposure is None:
            share, own_share = share_of(design, block), _own_share(design, block)
            rest = terms.gap - part * np.nan_to_num(block.own - block.control)
            own = np.where((part > 0) & (part < 1), rest / (share - part * own_share) - terms.value, 0.0)
            mass = design.panel.unit_weight[block.treated][:, None]
            lost = np.where(np.isnan(block.own), 0.0, -mass * own_share)
            return control / share, own, np.zeros_like(control), lost
        return _without_counts(design, block, terms, control)


def _own_share(design: Design, block: Block) -> Array:
    """Treated share (n1, T) of each treated unit."""
    share = np.ones(block.own.shape)
    if design.panel.share is not None:
        share[:, design.panel.time_codes == block.cohort] = design.panel.share[block.treated][:, None]
    return share


def _without_counts(design: Design, block: Block, terms: Terms, control: Array) -> tuple[Array, Array, Array, Array]:
    mass = design.panel.unit_weight[block.treated][:, None]
    events, person_years = counts_of(design, block)
    events, person_years = mass * events, mass * person_years
    expected = person_years * (block.level[:, None] + block.control)
    total, observed = expected.sum(axis=0), events.sum(axis=0)
    ratio = np.where(total > 0, observed / total, np.nan)
    donors_weight = -control * person_years.sum(axis=0)

    def change(without_events: Array, without_expected: Array) -> Array:
        left = np.where(without_expected > 0, without_events / without_expected, np.nan)
        return np.where(total > 0, left - ratio, 0.0)

    donors = change(observed, total + donors_weight)
    own = np.where(person_years > 0, change(observed - events, total - expected), 0.0)
    alone = (block.parts() > 0).sum(axis=0) <= 1
    return donors, np.where(alone, 0.0, own), donors_weight, -expected
