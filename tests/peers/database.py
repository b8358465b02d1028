"""The database that a run writes into: made anew for each, asked through one long-lived psql."""

import subprocess

from events import MARKS

# What rows of peers have in the columns that only the order of events needs, or versions.
REST = {"desc_time": 0, "desc_seq": 0, "desc_hash": 0, "kind": 1, "order_class": 2, "current": "true"}
NAME = "peers"
# How many partitions have been written to their end.
MARKS_QUERY = "SELECT count(*) FROM {table} WHERE bucket = '%s'" % MARKS
# psql prints this after each answer.
END = "-- end --"


class Psql:
    """A psql that stays: a new one for each question would cost more than the question."""

    def __init__(self, port, database):
        self.process = subprocess.Popen(
            ["psql", "-XqAt", "-F", "\t", "-v", "ON_ERROR_STOP=1",
             "host=127.0.0.1 port=%d user=postgres dbname=%s" % (port, database)],
            # In a session of its own: a Ctrl-C is for us, who still need it to end in order.
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True)

    def rows(self, statement):
        """The rows of an answer, each a tuple of texts."""
        self.process.stdin.write("%s;\n\\echo %s\n" % (statement, END))
        self.process.stdin.flush()
        found = []
        for line in self.process.stdout:
            line = line.rstrip("\n")
            if line == END:
                return found
            found.append(tuple(line.split("\t")))
        raise RuntimeError("psql ended: see its message above")

    def one(self, statement):
        """The first column of the first row."""
        return self.rows(statement)[0][0]

    def close(self):
        try:
            self.process.stdin.close()
        except BrokenPipeError:
            # It has ended, and said why.
            pass
        self.process.wait()
        self.process.stdout.close()


def make_tables(database, *names):
    """The table of millstream, for a peer: columns, constraints, indexes and storage, of a migrated database. The rest of
    its schema goes: sinks look for a table in all schemas that there are."""
    options = database.one("SELECT array_to_string(reloptions, ', ') FROM pg_class WHERE oid = 'millstream.objects'::regclass")
    defaults = ", ".join("ALTER %s SET DEFAULT %s" % default for default in REST.items())
    for name in names:
        database.rows("CREATE TABLE %s (LIKE millstream.objects INCLUDING ALL) WITH (%s)" % (name, options))
        database.rows("ALTER TABLE %s %s" % (name, defaults))
    database.rows("SET client_min_messages = warning")
    database.rows("DROP SCHEMA millstream, analytics CASCADE")


class Server:
    """The PostgreSQL that all peers share."""

    def __init__(self, port, pid):
        self.port, self.pid = port, pid
        self.admin = Psql(port, "postgres")
        self.admin.rows("SET client_min_messages = warning")
        self.version = self.admin.one("SELECT current_setting('server_version')")

    def url(self, jdbc=False):
        """Where the database of a run is, for its client."""
        if jdbc:
            return "jdbc:postgresql://127.0.0.1:%d/%s?user=postgres&reWriteBatchedInserts=true" % (self.port, NAME)
        return "postgres://postgres@127.0.0.1:%d/%s?sslmode=disable" % (self.port, NAME)

    def fresh(self):
        """An empty database; what was written before is on disk, so that it is not paid for by the next."""
        self.admin.rows("DROP DATABASE IF EXISTS %s WITH (FORCE)" % NAME)
        self.admin.rows("CREATE DATABASE %s" % NAME)
        return Psql(self.port, NAME)

    def checkpoint(self):
        self.admin.rows("CHECKPOINT")

    def wal(self):
        """Bytes of the write-ahead log so far."""
        return int(self.admin.one("SELECT pg_current_wal_insert_lsn() - '0/0'"))
