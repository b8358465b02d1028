"""millstream, end to end: from the topic of notifications into its own tables, with rows folded in the order of events,
counters, positions and leases in the same transactions."""

import os
import shutil

from process import Client

CONFIG = """
data_dir = "{data}"
[postgres]
url = "{url}"
[stream]
kind = "kafka"
[stream.kafka]
brokers = "{brokers}"
[[pipeline]]
name = "objects"
source = {{ kind = "stream", topic = "{topic}", group = "{group}" }}
sink = "metadata"
"""


class Millstream(Client):
    label = "millstream, from Kafka"
    table = "millstream.objects"
    topic = "raw"
    rows_query = """SELECT bucket, key, size, etag, content_type, metadata FROM millstream.objects WHERE kind = 1"""

    def prepare(self, database):
        self.data = os.path.join(self.session.work, "millstream")
        shutil.rmtree(self.data, ignore_errors=True)
        os.mkdir(self.data)
        self.config = os.path.join(self.data, "millstream.toml")
        with open(self.config, "w") as file:
            file.write(CONFIG.format(
                data=self.data, url=self.session.server.url(), brokers=self.session.brokers,
                topic=self.session.topics["raw"], group=self.new_name()))

    def go(self):
        self.start([self.session.binary, "run", "--config", self.config, "--listen", "127.0.0.1:0"])
        return self.process.pid
