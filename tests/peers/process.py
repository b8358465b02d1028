"""What every peer is to the measurement: how its run is prepared, begun, seen to be finished, and ended."""

import os
import subprocess

from database import MARKS_QUERY

# A stop in order, before the process is killed, in seconds.
STOP_SECONDS = 30


class Client:
    """One peer. `go` begins the work and gives the process whose tree is measured."""

    label = ""
    table = "objects"
    # The topic that it reads, if it reads one.
    topic = None
    # Whether it is too slow for all events.
    few = False
    # Events that it writes in whole passes before the first run that counts.
    warm_events = 0
    rows_query = "SELECT bucket, key, size, etag, content_type, metadata FROM objects"

    def __init__(self, name, session):
        self.name, self.session = name, session
        self.process = None
        self.runs = 0
        self.log = os.path.join(session.logs, name + ".log")
        open(self.log, "w").close()

    def open(self):
        """Fetches and starts what lives as long as all runs. An error: the peer is left out."""

    def prepare(self, database):
        """Makes tables, and whatever else comes before the clock."""

    def go(self):
        raise NotImplementedError

    def check(self):
        """Fails where the work cannot be finished any more."""
        if self.process is not None and self.process.poll() is not None:
            raise RuntimeError("it ended with %d; its last words: %s" % (self.process.returncode, self.last_words()))

    def last_words(self):
        with open(self.log, errors="replace") as log:
            return " / ".join(line.strip() for line in log.readlines()[-5:])

    def finished(self, database):
        """Whether all rows are visible: each partition's last one is."""
        marks = database.one(MARKS_QUERY.format(table=self.table))
        return int(marks) == self.session.events.partitions

    def stop(self):
        """Ends what `go` or `prepare` began."""
        if self.process is None:
            return
        if self.process.stdin is not None:
            self.process.stdin.close()
        else:
            self.process.terminate()
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()
        self.process = None

    def new_name(self):
        """A name that no run had before, for a consumer group or a connector."""
        self.runs += 1
        return "peers-%s-%d" % (self.name, self.runs)

    def start(self, command, pipes=False):
        """Starts a process that ends with this one, however this ends."""
        pipe = subprocess.PIPE if pipes else None
        with open(self.log, "a") as log:
            self.process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "TERM", "--"] + command,
                stdin=pipe if pipes else subprocess.DEVNULL, stdout=pipe or log, stderr=log, text=True)
