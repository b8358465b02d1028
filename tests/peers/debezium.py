"""The JDBC sink of Debezium on Kafka Connect, tuned, in a worker that has written the same events before."""

import json
import time
import urllib.error
import urllib.request

from database import make_tables
from process import Client

KEY = {"type": "struct", "fields": [
    {"field": "bucket", "type": "string"},
    {"field": "key", "type": "string"},
    {"field": "store", "type": "string"},
    {"field": "version_id", "type": "string"},
]}
VALUE = {"type": "struct", "fields": [
    *KEY["fields"],
    {"field": "size", "type": "int64"},
    {"field": "etag", "type": "string"},
    {"field": "content_type", "type": "string"},
    {"field": "metadata", "type": "string", "name": "io.debezium.data.Json"},
    {"field": "order_time", "type": "int64"},
    {"field": "order_seq", "type": "int64"},
]}
SETTINGS = {
    "connector.class": "io.debezium.connector.jdbc.JdbcSinkConnector",
    "insert.mode": "upsert",
    "primary.key.mode": "record_key",
    "schema.evolution": "none",
    "collection.name.format": "objects",
    # What makes it fast.
    "dialect.postgres.unnest.insert.enabled": "true",
    "use.reduction.buffer": "true",
    "batch.size": "3000",
    "consumer.override.max.poll.records": "3000",
    "consumer.override.fetch.min.bytes": "1048576",
    "consumer.override.fetch.max.wait.ms": "100",
    "consumer.override.max.partition.fetch.bytes": "4194304",
    "consumer.override.fetch.max.bytes": "67108864",
    "consumer.override.receive.buffer.bytes": "1048576",
    # Bare records are less to read; the schema is said once.
    "key.converter": "org.apache.kafka.connect.json.JsonConverter",
    "key.converter.schemas.enable": "true",
    "key.converter.schema.content": json.dumps(KEY),
    "value.converter": "org.apache.kafka.connect.json.JsonConverter",
    "value.converter.schemas.enable": "true",
    "value.converter.schema.content": json.dumps(VALUE),
}


class Debezium(Client):
    label = "Debezium JDBC sink, warm"
    topic = "flat"
    # After 100,000 the JVM still compiles: 43 CPU-seconds for a million events, 23 in the pass after that.
    warm_events = 300_000
    connector = None

    def open(self):
        self.worker = self.session.part("connect", "connect.sh", {"CONNECT_BOOTSTRAP": self.session.brokers})

    def prepare(self, database):
        make_tables(database, self.table)

    def go(self):
        self.connector = self.new_name()
        jdbc = self.session.server.url(jdbc=True).split("?")[0]
        settings = {**SETTINGS, "tasks.max": str(self.session.tasks), "topics": self.session.topics["flat"],
                    "connection.url": jdbc, "connection.username": "postgres", "connection.password": "unused",
                    "delete.enabled": "true" if self.session.mix["deletes"] else "false"}
        self._ask("POST", "/connectors", {"name": self.connector, "config": settings})
        return self.worker.pid

    def check(self):
        """Fails where a task has: else the run would only be seen to stand still."""
        status = self._ask("GET", "/connectors/%s/status" % self.connector)
        for task in (status or {}).get("tasks", []):
            if task["state"] == "FAILED":
                causes = [line for line in task.get("trace", "").splitlines() if not line.startswith("\t")]
                raise RuntimeError("a task failed: %s" % " / ".join(causes)[:2000])

    def stop(self):
        if self.connector is None:
            return
        self._ask("DELETE", "/connectors/%s" % self.connector)
        # Its connections close in the background; a run beside them would not be alone.
        for _ in range(100):
            sessions = "SELECT count(*) FROM pg_stat_activity WHERE datname = 'peers' AND application_name LIKE 'PostgreSQL JDBC%'"
            if self.session.server.admin.one(sessions) == "0":
                return
            time.sleep(0.1)

    def _ask(self, method, path, body=None):
        request = urllib.request.Request(
            self.worker.address + path, method=method, headers={"Content-Type": "application/json"},
            data=None if body is None else json.dumps(body).encode())
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                text = answer.read()
        except urllib.error.HTTPError as error:
            if method == "GET" and error.code == 404:
                return None
            raise RuntimeError("%s %s: %s" % (method, path, error.read()[:2000])) from error
        return json.loads(text) if text else None
