"""One run of one peer: from its first visible row until all rows are visible, and what it cost."""

import os
import time

import machine
from events import wrong

# Between two looks at the table. Shorter: the looks would cost more than a hundredth of a core.
LOOK_SECONDS = 0.02
# Between two looks at whether the peer still lives.
CHECK_SECONDS = 1.0
# What a run may take, on a busy machine too.
RUN_SECONDS = 120


def wait(what, until, peer, deadline):
    """Looks until it is so; fails where the peer has, or at the deadline."""
    checked = time.monotonic()
    while not until():
        now = time.monotonic()
        if now > deadline:
            raise RuntimeError("%s: not after %d s" % (what, RUN_SECONDS))
        if now - checked > CHECK_SECONDS:
            peer.check()
            checked = now
        time.sleep(LOOK_SECONDS)


def run(session, peer):
    """Gives the figures of a run, whose database is new and whose client has not read anything yet."""
    events = session.events.few if peer.few else session.events.all
    count = session.events.rows if peer.few else session.events.count
    database = session.server.fresh()
    session.migrate()
    try:
        # Else the little that is known of a new table makes PostgreSQL read all of it for each look.
        database.rows("SET enable_seqscan = off")
        peer.prepare(database)
        session.server.checkpoint()
        # What others have left in the page cache, the topics above all, would be written while we wait for our log.
        os.sync()
        wal, began = session.server.wal(), time.monotonic()
        deadline = began + RUN_SECONDS
        pid = peer.go()
        machine.reset_peak(pid)
        some = "SELECT count(*) FROM (SELECT 1 FROM %s LIMIT 1) AS one" % peer.table
        wait("the first row", lambda: database.one(some) == "1", peer, deadline)
        first = session.used(pid)
        at_first = int(database.one("SELECT count(*) FROM %s" % peer.table))
        wait("the last row", lambda: peer.finished(database), peer, deadline)
        last = session.used(pid)
        wal = session.server.wal() - wal
        peak = machine.peak_bytes(pid)
        total = int(database.one("SELECT count(*) FROM %s" % peer.table))
        rows = database.rows(peer.rows_query)
    finally:
        try:
            peer.stop()
        finally:
            database.close()
    # What was there at the first look was written before the clock began.
    timed = count * (total - at_first) / total
    if timed == 0:
        why = "%s had written all %d events at the first look: ask for more, with --events"
        raise SystemExit("run.sh: " + why % (peer.name, count))
    seconds = last["time"] - first["time"]
    spent = {name: last[name] - first[name] for name in first}
    million = timed / 1e6
    return {
        "peer": peer.name,
        "events": count,
        "rows": total,
        "rows_at_first_look": at_first,
        "seconds": seconds,
        "seconds_to_first_row": first["time"] - began,
        "records_per_second": timed / seconds,
        "client_cpu_seconds_per_million": spent["client"] / million,
        "postgres_cpu_seconds_per_million": spent["postgres"] / million,
        "cpu_seconds_per_million": (spent["client"] + spent["postgres"]) / million,
        "broker_cpu_seconds_per_million": spent["broker"] / million,
        "wal_bytes_per_event": wal / count,
        "peak_resident_bytes": peak,
        "rows_wrong": wrong(events["right"], rows),
        "rows_wrong_by_order_of_delivery": events["wrong_by_order_of_delivery"],
        "other_cores": max(0.0, spent["other"] / seconds),
    }
