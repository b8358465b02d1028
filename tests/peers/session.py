"""What all runs share: PostgreSQL, the broker with its topics, the programs, the events. All of it ends with `close`."""

import os
import shutil
import subprocess
import sys
import tempfile
import time

import machine
from database import Server
from events import Events

HERE = os.path.dirname(os.path.abspath(__file__))
PARTS = os.path.join(HERE, "..", "harness", "parts")
PARTITIONS = 12


def say(text):
    """One line about the progress, on stderr: stdout is for the figures."""
    print("%s %s" % (time.strftime("%H:%M:%S"), text), file=sys.stderr, flush=True)


class Part:
    """A service that a script holds for as long as our end of its standard input is open."""

    def __init__(self, directory, script, environment):
        self.directory = directory
        self.holder = subprocess.Popen(
            [script, "hold", directory], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env={**os.environ, **environment})
        self.address = self.holder.stdout.readline().strip()
        if not self.address:
            self.holder.stdin.close()
            self.holder.wait()
            raise RuntimeError("%s did not start: see above" % os.path.basename(script))
        with open(os.path.join(directory, "pid")) as file:
            self.pid = int(file.read())

    def close(self):
        self.holder.stdin.close()
        self.holder.wait()
        self.holder.stdout.close()


class Session:
    """Everything that is there before the first run."""

    def __init__(self, binary, work_dir, out, events, rows, mix):
        self.binary, self.mix, self.logs = binary, mix, out
        self.parts, self.server, self.topics = [], None, {}
        # Of the Debezium sink.
        self.tasks = 2
        self.work = tempfile.mkdtemp(prefix="millstream-peers-", dir=work_dir)
        try:
            # PostgreSQL's account has to get in.
            os.chmod(self.work, 0o755)
            self._start(events, rows)
        except BaseException:
            self.close()
            raise

    def _start(self, events, rows):
        self.connect_programs = self.fetch("connect.sh")
        self.classes = os.path.join(self.work, "classes")
        sources = [os.path.join(HERE, "java", name) for name in ("Feed.java", "Writer.java")]
        subprocess.run(["javac", "-d", self.classes, "-cp", self.connect_programs + "/lib/*"] + sources, check=True)
        say("makes %d events" % events)
        self.events = Events(self.work, events, rows, PARTITIONS, self.mix)
        postgres = self.part("postgres", "postgres.sh", {})
        self.server = Server(int(postgres.address.rsplit(":", 1)[1]), postgres.pid)
        self.broker = self.part("kafka", os.path.join(PARTS, "kafka.sh"), {})
        self.brokers = self.broker.address

    def feed(self, topic):
        """Fills a topic that a peer reads, where it is not filled yet."""
        if topic is None or topic in self.topics:
            return
        say("fills the topic of %s events" % topic)
        file = {"raw": self.events.raw, "flat": self.events.flat}[topic]
        self.topics[topic] = "objects-" + topic
        ended = subprocess.run(
            ["java", "-Xmx512m", "-Dlog4j2.configurationFile=%s/log4j2-tools.properties" % self.connect_programs,
             "-cp", self.classes + ":" + self.connect_programs + "/lib/*", "Feed", self.brokers, self.topics[topic],
             str(PARTITIONS), file])
        if ended.returncode != 0:
            raise RuntimeError("the topic of %s events was not filled: see above" % topic)

    def migrate(self):
        """Makes the schema of millstream in the database of a run: peers get its table, too."""
        ended = subprocess.run(
            [self.binary, "migrate", "--data-dir", os.path.join(self.work, "migrate"), "--set",
             "postgres.url=" + self.server.url()], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if ended.returncode != 0:
            raise RuntimeError("millstream migrate failed: %s" % ended.stdout[-2000:])

    def part(self, name, script, environment):
        """Starts a service."""
        directory = os.path.join(self.work, name)
        os.mkdir(directory)
        part = Part(directory, os.path.join(HERE, script), environment)
        self.parts.append(part)
        return part

    @staticmethod
    def fetch(script):
        """The directory of a script's programs."""
        answer = subprocess.run([os.path.join(HERE, script), "fetch"], stdout=subprocess.PIPE, text=True)
        if answer.returncode != 0:
            raise RuntimeError("%s cannot be had here: see above" % script)
        return answer.stdout.strip()

    def used(self, client):
        """CPU seconds so far at this moment: of the client, PostgreSQL, the broker, and all others but ourselves."""
        now = time.monotonic()
        of = machine.cpu_seconds([client, self.server.pid, self.broker.pid])
        other = machine.busy_seconds() - sum(of) - sum(os.times()[:2])
        return {"time": now, "client": of[0], "postgres": of[1], "broker": of[2], "other": other}

    def close(self):
        """Ends what was started, the last first, and removes its files."""
        if self.server is not None:
            self.server.admin.close()
        for part in reversed(self.parts):
            part.close()
        shutil.rmtree(self.work, ignore_errors=True)
