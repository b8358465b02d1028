"""Upload events from a seed, in every form that a peer reads, and what the tables must hold after them.

An event is written as MinIO sends it (for millstream), as a flat record with the same facts (for Kafka Connect and
Redpanda Connect) and as a line of columns (for the JDBC writer). The order of the lines is the order of delivery.
"""

import os
import random

# 2026-03-12: in the past, as events are.
DAY_NS = 1_773_273_600_000_000_000
# Between two events: 4,000 in a second.
STEP_NS = 250_000
BUCKETS = 100
# The bucket of the rows that mark the end of a partition.
MARKS = "zz-end"

RAW = (
    '{"EventName":"%(name)s","Key":"%(bucket)s/%(key)s","Records":[{"eventVersion":"2.0","eventSource":"minio:s3",'
    '"awsRegion":"","eventTime":"%(time)s","eventName":"%(name)s","userIdentity":{"principalId":"uploader"},'
    '"requestParameters":{"principalId":"uploader","region":"","sourceIPAddress":"127.0.0.1"},"responseElements":'
    '{"x-amz-id-2":"dd9025bab4ad464b049177c95eb6ebf374d3b3fd1af9251148b658df7ac2e3e8","x-amz-request-id":'
    '"%(sequencer)s","x-minio-deployment-id":"1e1ac9b6-2a5b-4b0f-9a0f-5d0f9a9c2d11","x-minio-origin-endpoint":'
    '"http://127.0.0.1:9000"},"s3":{"s3SchemaVersion":"1.0","configurationId":"Config","bucket":{"name":"%(bucket)s",'
    '"ownerIdentity":{"principalId":"uploader"},"arn":"arn:aws:s3:::%(bucket)s"},"object":{"key":"%(encoded)s"'
    '%(facts)s,"sequencer":"%(sequencer)s"}},"source":{"host":"127.0.0.1","port":"","userAgent":'
    '"MinIO (linux; amd64) minio-go/v7.0.80"}}]}'
)
FACTS = (
    ',"size":%(size)d,"eTag":"%(etag)s","contentType":"image/jpeg","userMetadata":{"content-type":"image/jpeg",'
    '"X-Amz-Meta-Owner":"%(owner)s","X-Amz-Meta-Project":"%(project)s","X-Amz-Meta-Stage":"%(stage)s",'
    '"X-Amz-Meta-Camera":"%(camera)s","X-Amz-Meta-Sha":"%(sha)s"}'
)
# As PostgreSQL prints a jsonb: names by length, then by bytes.
METADATA = '{"sha": "%(sha)s", "owner": "%(owner)s", "stage": "%(stage)s", "camera": "%(camera)s", "project": "%(project)s"}'

# The metadata is a text in it: a sink for tables has no deeper record.
FLAT = (
    '{"bucket":"%(bucket)s","key":"%(key)s","store":"minio","version_id":"","size":%(size)d,"etag":"%(etag)s",'
    '"content_type":"image/jpeg","metadata":"' + METADATA.replace('"', '\\"')
    + '","order_time":%(ns)d,"order_seq":%(number)d}'
)


def scramble(number):
    """A number that looks random but belongs to another one for good."""
    mixed = number * 0x9E3779B97F4A7C15 & 0xFFFFFFFFFFFFFFFF
    mixed ^= mixed >> 32
    return mixed * 0xD6E8FEB86659FD93 & 0xFFFFFFFFFFFFFFFF


def deliveries(count, mix):
    """So many events in the order of delivery: (object, number of the event, whether it removes the object).

    `mix`: seed; overwrites, deletes and duplicates in percent; window, within which the order of delivery is random.
    """
    chance = random.Random(mix["seed"])
    removes, changes = mix["deletes"], mix["deletes"] + mix["overwrites"]
    waiting, objects, made, given = [], 0, 0, 0
    while given < count:
        while len(waiting) < mix["window"] and made < count:
            share = chance.random() * 100 if objects >= 100 else 100
            known = share < changes
            which = chance.randrange(objects) if known else objects
            objects += not known
            event = (which, made, share < removes)
            made += 1
            waiting.append(event)
            if chance.random() * 100 < mix["duplicates"]:
                waiting.append(event)
        at = chance.randrange(len(waiting))
        waiting[at], waiting[-1] = waiting[-1], waiting[at]
        yield waiting.pop()
        given += 1


def facts(event):
    """The facts of an event by their names."""
    which, number, removed = event
    own, one = scramble(which), scramble(~number & 0xFFFFFFFF)
    ns = DAY_NS + number * STEP_NS
    seconds = ns // 1_000_000_000 - DAY_NS // 1_000_000_000
    key = "project-%d/camera-%d/2026-03-%02d/frame %09d.jpg" % (
        own >> 8 & 31, own >> 16 & 127, (own >> 24) % 12 + 1, which)
    return {
        "bucket": "bucket-%02d" % (own % BUCKETS),
        "key": key,
        "removed": removed,
        "size": one % 4_000_000,
        "etag": "%016x%016x" % (one, own),
        "owner": "owner-%d" % (own % 2_000),
        "project": "project-%d" % (own >> 8 & 31 | (own >> 13) % 6 << 5),
        "stage": ("raw", "train", "validate", "test")[one % 4],
        "camera": "camera-%d" % (own >> 16 & 0x3FFF),
        "sha": "%016x%016x" % (own, one),
        "sequencer": "%016X" % ns,
        "ns": ns,
        "number": number,
        "time": "2026-03-12T%02d:%02d:%02d.%03dZ" % (
            seconds // 3600, seconds // 60 % 60, seconds % 60, ns // 1_000_000 % 1000),
    }


def raw(fact):
    """The notification of MinIO."""
    name = "s3:ObjectRemoved:Delete" if fact["removed"] else "s3:ObjectCreated:Put"
    # Form encoding, as far as our keys need it.
    encoded = fact["key"].replace("/", "%2F").replace(" ", "+")
    return RAW % {**fact, "name": name, "encoded": encoded, "facts": "" if fact["removed"] else FACTS % fact}


def columns(fact):
    """The columns of the table that peers write: its key, what is compared, and the order of events."""
    return (fact["bucket"], fact["key"], "minio", "", str(fact["size"]), fact["etag"], "image/jpeg", METADATA % fact,
            str(fact["ns"]), str(fact["number"]))


def mark(number):
    """The event that stands last in a partition: its row says that everything before it is in the table."""
    return {**facts((number, 0, False)), "bucket": MARKS, "key": "end-%02d" % number}


class Events:
    """The files of one data set, and what is expected of the tables."""

    def __init__(self, directory, count, rows, partitions, mix):
        """Writes `count` events; the first `rows` of them also as a data set of their own, for what is slow."""
        self.count, self.rows, self.partitions = count, rows, partitions
        path = lambda name: os.path.join(directory, name)
        self.raw, self.flat = path("raw.txt"), path("flat.txt")
        self.lines, self.few_lines = path("lines.txt"), path("few-lines.txt")
        with open(self.raw, "w") as raws, open(self.flat, "w") as flats, \
                open(self.lines, "w") as lines, open(self.few_lines, "w") as few:
            newest, last = {}, {}
            for at, event in enumerate(deliveries(count, mix)):
                fact = facts(event)
                which, number, removed = event
                self._write(fact, raws, flats, "")
                line = self._line(fact)
                lines.write(line)
                if at < rows:
                    few.write(line)
                if number >= newest.get(which, (-1,))[0]:
                    newest[which] = (number, event)
                last[which] = event
                if at + 1 == rows:
                    self.few = self._table(newest, last)
            self.all = self._table(newest, last)
            for number in range(partitions):
                fact = mark(number)
                self._write(fact, raws, flats, str(number))

    @staticmethod
    def _line(fact):
        row = columns(fact)
        return "\t".join(row[:4] if fact["removed"] else row) + "\n"

    def _write(self, fact, raws, flats, partition):
        raws.write("%s\t%s/%s\t%s\n" % (partition, fact["bucket"], fact["key"], raw(fact)))
        key = '{"bucket":"%(bucket)s","key":"%(key)s","store":"minio","version_id":""}' % fact
        flats.write("%s\t%s\t%s\n" % (partition, key, "" if fact["removed"] else FLAT % fact))

    @staticmethod
    def _table(newest, last):
        """The right table, and how many of its rows are wrong where the last delivery wins."""
        right, wrong = {}, 0
        for which, (_, event) in newest.items():
            # Two removals of an object leave the same: nothing.
            wrong += last[which] != event and not (last[which][2] and event[2])
            if not event[2]:
                row = columns(facts(event))
                right[row[:2]] = row[4:8]
        return {"right": right, "wrong_by_order_of_delivery": wrong}


def wrong(expected, rows):
    """How many rows differ from what is expected, are missing, or should not be there.

    `rows`: bucket, key, size, etag, content type and metadata as PostgreSQL prints them.
    """
    seen, differ = 0, 0
    for row in rows:
        if row[0] == MARKS:
            continue
        right = expected.get(row[:2])
        if right is None or right != row[2:6]:
            differ += 1
        seen += right is not None
    return differ + len(expected) - seen
