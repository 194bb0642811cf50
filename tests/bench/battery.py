"""How good is the battery model? The tables of docs/battery.md, measured anew: `python -m tests.bench.battery`."""

from __future__ import annotations

import sys

from hardware_sim.ups.battery import BatterySpec
from tests.discharges import Answer, Observer, drawn, settings_say

BATTERIES = {
    "new 9 Ah": (9.0, BatterySpec(capacity_ah=9.0)),
    "half worn": (9.0, BatterySpec(capacity_ah=9.0, health=0.5)),
    "half worn, 5 °C": (9.0, BatterySpec(capacity_ah=9.0, health=0.5, temperature_c=5.0)),
    "cold, 5 °C": (9.0, BatterySpec(capacity_ah=9.0, temperature_c=5.0)),
    "one weak cell, 60 %": (9.0, BatterySpec(capacity_ah=9.0, weakest_cell=0.6)),
    "7 Ah, the settings say 9": (9.0, BatterySpec(capacity_ah=7.0)),
    "9 Ah, the settings say 7": (7.0, BatterySpec(capacity_ah=9.0)),
}
LOADS_W = (40.0, 76.0, 120.0)
DRAWN = range(40_000, 40_100)
LEARNED_W = {"on the first day": (), "learned at 76 W twice": (76.0, 76.0), "learned at 50 and 100 W": (50.0, 100.0)}


def rows() -> list[str]:
    """The table as Markdown, a row for each battery: ratios to the truth, over all tenths and loads."""
    lines = ["| battery | " + " | ".join(LEARNED_W) + " |", "|---" * (1 + len(LEARNED_W)) + "|"]
    for name, (label_ah, spec) in BATTERIES.items():
        cells = [_cell(label_ah, spec, loads_w) for loads_w in LEARNED_W.values()]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return lines


def _cell(label_ah: float, spec: BatterySpec, loads_w: tuple[float, ...]) -> str:
    observer = Observer(settings_say(label_ah))
    for seed, watts in enumerate(loads_w):
        observer.live_through(spec, watts, 10 + seed)
    history = observer.watch.history
    found: list[Answer] = []
    for watts in LOADS_W:
        found += Observer(settings_say(label_ah), history).answers(spec, watts, seed=1)
    counted = [each.said.low_s / each.true_s for each in found]
    expected = [each.said.expected_s / each.true_s for each in found]
    return f"{min(counted):.2f} to {max(counted):.2f}; {min(expected):.2f} to {max(expected):.2f}"


def drawn_rows() -> list[str]:
    """A table for batteries drawn at random: shares of the truth, smallest, quartiles and largest, over all tenths."""
    lines = ["| of random batteries | smallest | 5 % | 25 % | half | 75 % | 95 % | largest |", "|---" * 8 + "|"]
    for learned, when in ((False, "on the first day"), (True, "after two discharges")):
        found = [each for seed in DRAWN for each in drawn(seed).answers(seed=seed, learned=learned)]
        lines.append(_spread(f"counted on, {when}", [each.said.low_s / each.true_s for each in found]))
        lines.append(_spread(f"expected, {when}", [each.said.expected_s / each.true_s for each in found]))
    return lines


def _spread(what: str, shares: list[float]) -> str:
    ordered = sorted(shares)
    places = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)
    cells = [f"{ordered[min(len(ordered) - 1, int(place * len(ordered)))]:.2f}" for place in places]
    return f"| {what} | " + " | ".join(cells) + " |"


if __name__ == "__main__":
    sys.stdout.write("\n".join([*rows(), "", *drawn_rows()]) + "\n")
