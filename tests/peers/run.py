"""Runs the peers against each other, interleaved: see README.md. Called by run.sh, which finds the programs."""

import argparse
import json
import os
import signal
import sys
import tempfile
import time

import machine
import measure
import report
from debezium import Debezium
from jdbc import Jdbc, RowByRow
from millstream import Millstream
from redpanda import Redpanda
from session import Session, say

PEERS = {"millstream": Millstream, "debezium": Debezium, "jdbc": Jdbc, "row": RowByRow, "redpanda": Redpanda}


def arguments():
    parser = argparse.ArgumentParser(prog="run.sh", description="millstream beside what people would use instead")
    number = parser.add_argument
    number("--events", type=int, default=1_000_000, help="events in a run (default: 1000000)")
    number("--row-events", type=int, default=20_000, help="events in a run of a row per transaction (default: 20000)")
    number("--runs", type=int, default=5, help="rounds, each with a run of every peer (default: 5)")
    number("--peers", default=",".join(PEERS), help="some of %(default)s")
    number("--out", default="", help="a folder for results.json and the logs of the peers (default: none is kept)")
    number("--json", action="store_true", help="print the results as JSON, not as a table")
    number("--seed", type=int, default=11)
    number("--overwrites", type=float, default=10, help="percent of events (default: 10)")
    number("--deletes", type=float, default=0, help="percent of events (default: 0)")
    number("--duplicates", type=float, default=1, help="percent of events delivered twice (default: 1)")
    number("--window", type=int, default=1000, help="how many events are shuffled together (default: 1000)")
    number("--tasks", type=int, default=2, help="tasks of the Debezium sink (default: 2)")
    number("--work-dir", default="/var/tmp", help="where to work; PostgreSQL's account has to get in")
    number("--binary", required=True, help=argparse.SUPPRESS)
    given = parser.parse_args()
    given.peers = given.peers.split(",")
    unknown = [name for name in given.peers if name not in PEERS]
    if unknown:
        parser.error("there is no peer %s" % ", ".join(unknown))
    if min(given.events, given.row_events, given.runs, given.window) < 1:
        parser.error("there has to be one of everything")
    given.row_events = min(given.row_events, given.events)
    given.binary = os.path.abspath(given.binary)
    return given


def open_peers(session, names):
    """Those that are there, and why the others are not."""
    there, missing = {}, {}
    for name in names:
        peer = PEERS[name](name, session)
        try:
            peer.open()
            session.feed(peer.topic)
            there[name] = peer
        except (RuntimeError, OSError) as error:
            missing[name] = str(error)
            say("%s is left out: %s" % (name, error))
    return there, missing


def warm(session, peer):
    """Passes that do not count, for what gets faster with work."""
    written = 0
    while written < peer.warm_events:
        say("%s gets warm" % peer.name)
        measure.run(session, peer)
        written += session.events.count


def rounds(session, peers, count, missing):
    """All runs, interleaved. A peer that fails is left out from then on."""
    runs = []
    for number in range(1, count + 1):
        for name in list(peers):
            peer = peers[name]
            try:
                if number == 1:
                    warm(session, peer)
                one = measure.run(session, peer)
            except (RuntimeError, OSError) as error:
                missing[name] = "it failed in round %d: %s" % (number, error)
                say("%s is left out: %s" % (name, missing[name]))
                del peers[name]
                continue
            runs.append({"round": number, **one})
            say("round %d, %s: %.0f records/s, %.1f + %.1f CPU-s/M, %d rows wrong, others %.2f cores" % (
                number, name, one["records_per_second"], one["client_cpu_seconds_per_million"],
                one["postgres_cpu_seconds_per_million"], one["rows_wrong"], one["other_cores"]))
    return runs


def main():
    given = arguments()
    # As an exception, so that everything is ended that was begun.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    began = time.monotonic()
    mix = {name: getattr(given, name) for name in ("seed", "overwrites", "deletes", "duplicates", "window")}
    with tempfile.TemporaryDirectory(prefix="millstream-peers-logs-") as scratch:
        logs = os.path.abspath(given.out) if given.out else scratch
        os.makedirs(logs, exist_ok=True)
        session = Session(given.binary, given.work_dir, logs, given.events, given.row_events, mix)
        session.tasks = given.tasks
        try:
            peers, missing = open_peers(session, given.peers)
            runs = rounds(session, peers, given.runs, missing)
            result = {
                "events": given.events,
                "mix": mix,
                "machine": machine.describe(),
                "postgres": session.server.version,
                "events_of": {run["peer"]: "{:,}".format(run["events"]) for run in runs},
                "labels": {name: peer.label for name, peer in PEERS.items()},
                "rows_right": len(session.events.all["right"]),
                "summary": report.summary(runs),
                "targets": report.targets(runs),
                "missing": missing,
                "runs": runs,
                "minutes": (time.monotonic() - began) / 60,
            }
        finally:
            session.close()
    if given.out:
        with open(os.path.join(given.out, "results.json"), "w") as file:
            json.dump(result, file, indent=1)
    print(json.dumps(result) if given.json else report.text(result))
    return 0 if runs and not missing else 1


if __name__ == "__main__":
    sys.exit(main())
