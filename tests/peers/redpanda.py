"""Redpanda Connect: batches of a partition, each written by one statement that keeps the last of rows with equal keys."""

import os

from database import make_tables
from process import Client

# The checkpoint limit is the batch: of a partition one batch is on its way at a time, so that rows of a key keep their
# order. An upsert with the same key twice is an error, so the last one is chosen in the statement.
CONFIG = """
http: {{ enabled: false }}
logger: {{ level: WARN }}
input:
  kafka_franz:
    seed_brokers: [ "{brokers}" ]
    topics: [ "{topic}" ]
    consumer_group: "{group}"
    start_from_oldest: true
    checkpoint_limit: 3000
    batching: {{ count: 3000, period: 100ms }}
pipeline:
  threads: 2
  processors:
    - archive: {{ format: json_array }}
output:
  sql_raw:
    driver: postgres
    dsn: "{url}"
    max_in_flight: 2
    unsafe_dynamic_query: false
    args_mapping: root = [ content().string() ]
    query: |
      INSERT INTO objects (bucket, key, store, version_id, size, etag, content_type, metadata, order_time, order_seq)
      SELECT DISTINCT ON (bucket COLLATE "C", key COLLATE "C") bucket, key, store, version_id, size, etag, content_type,
        metadata::jsonb, order_time, order_seq
      FROM ROWS FROM (jsonb_to_recordset($1::jsonb) AS (bucket text, key text, store text, version_id text, size bigint,
        etag text, content_type text, metadata text, order_time bigint, order_seq bigint)) WITH ORDINALITY
        AS r (bucket, key, store, version_id, size, etag, content_type, metadata, order_time, order_seq, place)
      ORDER BY bucket COLLATE "C", key COLLATE "C", place DESC
      ON CONFLICT (bucket, key, store, version_id) DO UPDATE SET size = EXCLUDED.size, etag = EXCLUDED.etag,
        content_type = EXCLUDED.content_type, metadata = EXCLUDED.metadata, order_time = EXCLUDED.order_time,
        order_seq = EXCLUDED.order_seq
"""


class Redpanda(Client):
    label = "Redpanda Connect (Benthos 4.27)"
    topic = "flat"

    def open(self):
        if self.session.mix["deletes"]:
            raise RuntimeError("has no output that both upserts and deletes in order: run it without --deletes")
        self.program = os.path.join(self.session.fetch("redpanda.sh"), "benthos")

    def prepare(self, database):
        make_tables(database, self.table)
        self.config = os.path.join(self.session.work, "redpanda.yaml")
        with open(self.config, "w") as file:
            file.write(CONFIG.format(
                brokers=self.session.brokers, topic=self.session.topics["flat"], group=self.new_name(),
                url=self.session.server.url()))

    def go(self):
        self.start([self.program, "-c", self.config])
        return self.process.pid
