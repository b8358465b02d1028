"""Runs to medians, ratios against millstream, and the table for people."""

from statistics import median

# Figures of a run: name, title, what it is divided by for people, digits.
FIGURES = [
    ("records_per_second", "records/s", 1, 0),
    ("client_cpu_seconds_per_million", "client CPU-s/M", 1, 1),
    ("postgres_cpu_seconds_per_million", "Postgres CPU-s/M", 1, 1),
    ("cpu_seconds_per_million", "both CPU-s/M", 1, 1),
    ("wal_bytes_per_event", "WAL B/event", 1, 0),
    ("peak_resident_bytes", "peak MB", 1e6, 0),
    ("rows_wrong", "rows wrong", 1, 0),
    ("other_cores", "other cores", 1, 2),
]
# What millstream has to reach: peer, figure, whether more is better, the ratio to that peer in the same round.
TARGETS = [
    ("debezium", "records_per_second", True, 2.5),
    ("debezium", "cpu_seconds_per_million", False, 0.45),
    ("jdbc", "records_per_second", True, 0.9),
]
# Of the machine, for others than the peer, PostgreSQL and the broker: more, and the run proves nothing.
OTHER_CORES_QUIET = 0.15


def spread(values):
    return {"median": median(values), "least": min(values), "most": max(values), "runs": len(values)}


def summary(runs):
    """By peer and figure: median, least and most."""
    peers = {}
    for run in runs:
        peers.setdefault(run["peer"], []).append(run)
    return {peer: {name: spread([run[name] for run in of]) for name, *_ in FIGURES} for peer, of in peers.items()}


def targets(runs):
    """What has to be reached, and what was: the ratio of each round by itself, so that a slow minute hurts both alike."""
    rounds = {}
    for run in runs:
        rounds.setdefault(run["round"], {})[run["peer"]] = run
    found = []
    for peer, figure, more, wanted in TARGETS:
        ratios = [one["millstream"][figure] / one[peer][figure]
                  for one in rounds.values() if "millstream" in one and peer in one and one[peer][figure]]
        if ratios:
            ratio = spread(ratios)
            met = ratio["median"] >= wanted if more else ratio["median"] <= wanted
            found.append({"figure": figure, "against": peer, "wanted": (">= " if more else "<= ") + str(wanted),
                          "ratio": ratio, "met": met})
    ours = [run["rows_wrong"] for run in runs if run["peer"] == "millstream"]
    if ours:
        found.append({"figure": "rows_wrong", "against": None, "wanted": "0", "ratio": spread(ours), "met": max(ours) == 0})
    return found


def text(report):
    """The table for people."""
    rows = [["peer", "events", "runs"] + [title for _, title, *_ in FIGURES]]
    for peer, figures in report["summary"].items():
        row = [report["labels"][peer], report["events_of"][peer], str(figures["rows_wrong"]["runs"])]
        for name, _, unit, digits in FIGURES:
            row.append(_range(figures[name], unit, digits))
        rows.append(row)
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows]
    lines.insert(1, "  ".join("-" * width for width in widths))
    lines += ["", "millstream against a peer, each round by itself: median (least - most)"]
    for one in report["targets"]:
        lines.append("  %-26s %-10s %s, wanted %s: %s" % (
            one["figure"], one["against"] or "", _range(one["ratio"], 1, 2), one["wanted"],
            "met" if one["met"] else "NOT MET"))
    order = {run["rows_wrong_by_order_of_delivery"] for run in report["runs"] if run["events"] == report["events"]}
    if order:
        lines += ["", "rows that differ where the last delivery wins, by arithmetic: %s of %d" % (
            ", ".join(map(str, sorted(order))), report["rows_right"])]
    if any(run["other_cores"] > OTHER_CORES_QUIET for run in report["runs"]):
        lines += ["", "NOT A QUIET MACHINE: others took more than %.2f cores in some runs; rates are lower bounds and"
                  " ratios prove nothing" % OTHER_CORES_QUIET]
    for name, why in report["missing"].items():
        lines += ["", "%s is not in this: %s" % (name, why)]
    return "\n".join(lines)


def _range(of, unit, digits):
    shown = ["{:,.{}f}".format(of[name] / unit, digits) for name in ("median", "least", "most")]
    if shown[1] == shown[2]:
        return shown[0]
    return "%s (%s-%s)" % tuple(shown)
