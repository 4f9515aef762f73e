"""What the reports come to: medians, ratios, faults, and the bars they have to reach."""

import statistics

FAULTS = ("skipped", "repeated", "leaked", "misshapen")


def median(reports, field):
    """The median of a field; None where nothing was measured."""
    values = [report[field] for report in reports if report]
    return statistics.median(values) if values else None


def arrived(reports):
    """The smallest share of the messages that arrived in time."""
    return min((report["delivered"] / max(1, report["expected"]) for report in reports), default=0)


class Bars:
    """What has to be reached: prints a line for each."""

    def __init__(self):
        self.all = self.met = 0
        print("\nbars")

    def at_most(self, what, figure, limit, unit=""):
        self.line(what, figure, f"at most {limit:g}{unit}", figure is not None and figure <= limit, unit)

    def at_least(self, what, figure, limit, unit=""):
        self.line(what, figure, f"at least {limit:,g}{unit}", figure is not None and figure >= limit, unit)

    def line(self, what, figure, bar, is_met, unit=""):
        self.all += 1
        self.met += bool(is_met)
        text = "not measured" if figure is None else f"{figure:,.4g}{unit}" if figure < 1000 else f"{figure:,.0f}{unit}"
        print(f"  {what:52} {text:>14}  {bar:16} {'met' if is_met else 'NOT MET'}")


def ratio(reports, others, field):
    """How a field's medians compare; None where one is missing."""
    figure, other = median(reports, field), median(others, field)
    return figure / other if figure is not None and other else None


def faults(reports):
    """Everything that was lost, repeated, out of order, in the wrong session or of the wrong size."""
    if isinstance(reports, dict):
        if "p50" in reports:
            return sum(reports.get(fault, 0) for fault in FAULTS)
        return faults(list(reports.values()))
    return sum(faults(report) for report in reports or [])
