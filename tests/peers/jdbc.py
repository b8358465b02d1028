"""A writer in Java without any broker: what the write path of a JDBC sink can do at best, and a row per transaction."""

import select

from database import make_tables
from process import Client


class Jdbc(Client):
    label = "JDBC writer, no broker"
    connections, batch = 2, 3000

    def lines(self):
        return self.session.events.lines

    def prepare(self, database):
        """Starts it and lets it write everything once into a table that is dropped: the JVM is warm then."""
        connect = self.session.connect_programs
        self.start([
            "java", "-Xms256m", "-Xmx2g", "-XX:+UseG1GC", "-cp", self.session.classes + ":" + connect + "/lib/*", "Writer",
            self.session.server.url(jdbc=True), str(self.connections), str(self.batch), self.lines()], pipes=True)
        self._expect("ready")
        make_tables(database, "warm", self.table)
        self._write("warm")
        self._expect("done")
        database.rows("DROP TABLE warm")

    def go(self):
        self._write(self.table)
        return self.process.pid

    def _write(self, table):
        self.process.stdin.write(table + "\n")
        self.process.stdin.flush()

    def _expect(self, word):
        line = self.process.stdout.readline().strip()
        if line != word:
            raise RuntimeError("it said %r, not %s; its last words: %s" % (line, word, self.last_words()))

    def finished(self, database):
        if not select.select([self.process.stdout], [], [], 0)[0]:
            return False
        self._expect("done")
        return True


class RowByRow(Jdbc):
    label = "row per transaction"
    connections, batch = 8, 1
    few = True

    def lines(self):
        return self.session.events.few_lines
