"""One treated area: did the prison expansion of Texas put more Black men in prison?

Estimators side by side, each with the law of its placebos: every other state is analyzed as if it had built prisons.
"""

from __future__ import annotations

from functools import partial

import pmg_eval as pe
from pmg_eval import demo, did, synth


def main() -> None:
    """Compare the estimators."""
    panel = pe.Panel(demo.texas(), unit="state", time="year", treatment="expansion")

    place = synth.hull(panel, "prisoners").details.table.iloc[0]
    print(f"Texas lies {place['status']} of its {place['n_donors']} donors.")
    print(f"The best fit misses it by {place['distance']:,.0f} prisoners a year (root mean square) before 1993.")
    print()

    try:
        synth.classic(panel, "prisoners")
    except pe.DesignError as refused:
        print(f"{refused.code}: {refused.what}")
        print()

    estimators = {
        "imputation": did.imputation,
        "synthetic DiD": synth.sdid,
        "synthetic control, refused": partial(synth.classic, poor_fit="keep"),
    }
    print("Prisoners more than expected, mean of 1993-2000:")
    for name, estimator in estimators.items():
        texas = pe.effect_per_area(panel, "prisoners", estimator=estimator).to_frame().iloc[0]
        interval = f"95 % interval {texas['conf_low']:,.0f} to {texas['conf_high']:,.0f}"
        p = f"p = {texas['p_value']:.3f} (smallest possible {texas['p_min']:.3f})"
        print(f"  {name:<27}{texas['estimate']:>8,.0f}  {interval}  {p}")
    print()

    kept = synth.classic(panel, "prisoners", poor_fit="keep")
    print("The synthetic Texas:", ", ".join(f"{w.weight:.0%} {w.donor}" for w in kept.details.weights.itertuples()))
    gaps = kept.to_frame().set_index("period")["estimate"]
    print("Texas minus its synthetic control, by year:")
    print("  " + "  ".join(f"{year}: {gap:+,.0f}" for year, gap in gaps.items()))


if __name__ == "__main__":
    main()
