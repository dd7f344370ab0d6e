"""tests/system/wire.py - any request in any version, made from the definitions in proto/schema, for tests that send what no
client library would send.

    c = Wire(port)
    answer = c.call("Fetch", 4, MaxWaitMs=0, ...)       # a dict, fields by Kafka's names; missing fields have defaults

A struct is a dict, an array a list, records and bytes are bytes, a uuid is 16 bytes. A closed connection is
ConnectionError.
"""
import json
import os
import socket
import struct

from harness import SLOW, wait_for

SCHEMA = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "proto", "schema")
REQUEST_TIMED_OUT = 7
NUMBERS = {"int8": "b", "int16": "h", "uint16": "H", "int32": "i", "int64": "q", "float64": "d", "bool": "?"}


def span(text):
    if text == "none":
        return (1, 0)
    if text.endswith("+"):
        return (int(text[:-1]), 1 << 15)
    lo, _, hi = text.partition("-")
    return (int(lo), int(hi or lo))


def inside(version, rng):
    return rng[0] <= version <= rng[1]


class Field:
    def __init__(self, row, types):
        self.name, kind, self.versions = row[0], row[1], span(row[2])
        self.nullable = (0, 1 << 15) if kind.endswith("?") else (1, 0)
        kind = kind.rstrip("?")
        self.array = kind.startswith("[]")
        self.kind = kind[2:] if self.array else kind
        self.tag, self.classic, self.default = None, False, None
        for extra in row[3:]:
            if isinstance(extra, list):
                types[self.kind] = [Field(r, types) for r in extra]
            elif extra.startswith("tag "):
                self.tag = int(extra[4:])
            elif extra.startswith("null "):
                self.nullable = span(extra[5:])
            elif extra.startswith("default "):
                self.default = extra[8:]
            elif extra == "classic":
                self.classic = True
        self.fields = types.get(self.kind)

    def initial(self):
        if self.default == "null":
            return None
        if self.array:
            return []
        if self.fields is not None:
            return {}
        if self.kind in NUMBERS:
            return self.default == "true" if self.kind == "bool" else int(self.default or 0)
        return {"string": "", "uuid": bytes(16)}.get(self.kind, b"")


class Api:
    def __init__(self, doc):
        self.key, self.versions, self.flexible = doc["key"], span(doc["versions"]), span(doc["flexible"])
        self.request = self.fields(doc, "request")
        self.response = self.fields(doc, "response")

    @staticmethod
    def fields(doc, which):
        types = {}
        for name, rows in doc.get(which + "_structs", {}).items():      # in an order in which each has what it needs
            types[name] = [Field(r, types) for r in rows]
        return [Field(r, types) for r in doc[which]]


def load():
    apis = {}
    for name in sorted(os.listdir(SCHEMA)):
        if name.endswith(".json"):
            with open(os.path.join(SCHEMA, name)) as f:
                doc = json.load(f)
            if "api" in doc:
                apis[doc["api"]] = Api(doc)
    return apis


APIS = load()


def uvarint(n):
    out = bytearray()
    while n > 0x7F:
        out.append(n & 0x7F | 0x80)
        n >>= 7
    out.append(n)
    return bytes(out)


def put_length(n, compact, classic_format):
    """n = None: null."""
    if compact:
        return uvarint(0 if n is None else n + 1)
    return struct.pack(">" + classic_format, -1 if n is None else n)


def put_value(f, v, version, flexible):
    compact = flexible and not f.classic
    if f.array:
        out = put_length(None if v is None else len(v), compact, "i")
        return out + b"".join(put_element(f, e, version, flexible) for e in v or [])
    return put_element(f, v, version, flexible)


def put_element(f, v, version, flexible):
    compact = flexible and not f.classic
    if f.fields is not None:
        return put_struct(f.fields, v, version, flexible)
    if f.kind in NUMBERS:
        return struct.pack(">" + NUMBERS[f.kind], v)
    if f.kind == "uuid":
        return v
    data = v.encode() if isinstance(v, str) else v
    return put_length(None if data is None else len(data), compact, "h" if f.kind == "string" else "i") + (data or b"")


def put_struct(fields, v, version, flexible):
    unknown = set(v) - {f.name for f in fields}
    if unknown:
        raise KeyError("no such fields: %s" % ", ".join(sorted(unknown)))
    out, tagged = [], []
    for f in fields:
        if not inside(version, f.versions):
            continue
        value = v.get(f.name, f.initial())
        if f.tag is None or not flexible:
            out.append(put_value(f, value, version, flexible))
        elif value != f.initial():
            tagged.append((f.tag, put_value(f, value, version, flexible)))
    if flexible:
        out.append(uvarint(len(tagged)))
        for tag, data in sorted(tagged):
            out.append(uvarint(tag) + uvarint(len(data)) + data)
    return b"".join(out)


class Reader:
    def __init__(self, data):
        self.data, self.pos = data, 0

    def take(self, n):
        if self.pos + n > len(self.data):
            raise ValueError("answer ends inside a field")
        self.pos += n
        return self.data[self.pos - n:self.pos]

    def number(self, fmt):
        return struct.unpack(">" + fmt, self.take(struct.calcsize(fmt)))[0]

    def uvarint(self):
        n = shift = 0
        while True:
            b = self.take(1)[0]
            n |= (b & 0x7F) << shift
            if b < 0x80:
                return n
            shift += 7

    def length(self, compact, classic_format):
        return self.uvarint() - 1 if compact else self.number(classic_format)

    def value(self, f, version, flexible):
        if f.array:
            n = self.length(flexible and not f.classic, "i")
            return None if n < 0 else [self.element(f, version, flexible) for _ in range(n)]
        return self.element(f, version, flexible)

    def element(self, f, version, flexible):
        if f.fields is not None:
            return self.struct(f.fields, version, flexible)
        if f.kind in NUMBERS:
            return self.number(NUMBERS[f.kind])
        if f.kind == "uuid":
            return self.take(16)
        n = self.length(flexible and not f.classic, "h" if f.kind == "string" else "i")
        if n < 0:
            return None
        data = self.take(n)
        return data.decode() if f.kind == "string" else data

    def struct(self, fields, version, flexible):
        out = {}
        for f in fields:
            if inside(version, f.versions):
                out[f.name] = f.initial() if f.tag is not None else self.value(f, version, flexible)
        if flexible:
            by_tag = {f.tag: f for f in fields if f.tag is not None}
            for _ in range(self.uvarint()):
                tag, size = self.uvarint(), self.uvarint()
                end = self.pos + size
                if tag in by_tag:
                    out[by_tag[tag].name] = self.value(by_tag[tag], version, flexible)
                self.pos = end
        return out


def encode_request(name, version, fields, correlation, client_id):
    api = APIS[name]
    flexible = inside(version, api.flexible)
    client = client_id.encode()
    head = struct.pack(">hhih", api.key, version, correlation, len(client)) + client + (b"\0" if flexible else b"")
    body = head + put_struct(api.request, fields, version, flexible)
    return struct.pack(">i", len(body)) + body


def skip_tags(r):
    for _ in range(r.uvarint()):
        r.uvarint()
        r.take(r.uvarint())


def decode_response(name, version, frame):
    """(correlation id, the answer) of what follows the size."""
    api = APIS[name]
    flexible = inside(version, api.flexible)
    r = Reader(frame)
    correlation = r.number("i")
    if flexible and name != "ApiVersions":
        skip_tags(r)
    out = r.struct(api.response, version, flexible)
    if r.pos != len(r.data):
        raise ValueError("%d bytes follow the answer" % (len(r.data) - r.pos))
    return correlation, out


def decode_request(frame):
    """(name, version, correlation id, the request) of what follows the size."""
    r = Reader(frame)
    key, version, correlation = r.number("h"), r.number("h"), r.number("i")
    name = next(n for n, api in APIS.items() if api.key == key)
    api = APIS[name]
    r.take(max(0, r.number("h")))
    flexible = inside(version, api.flexible)
    if flexible:
        skip_tags(r)
    out = r.struct(api.request, version, flexible)
    if r.pos != len(r.data):
        raise ValueError("%d bytes follow the request" % (len(r.data) - r.pos))
    return name, version, correlation, out


def encode_response(name, version, correlation, fields):
    api = APIS[name]
    flexible = inside(version, api.flexible)
    head = struct.pack(">i", correlation) + (b"\0" if flexible and name != "ApiVersions" else b"")
    body = head + put_struct(api.response, fields, version, flexible)
    return struct.pack(">i", len(body)) + body


class Wire:
    """One connection."""

    def __init__(self, port, host="127.0.0.1", client_id="wire", timeout=60 * SLOW):
        self.sock = socket.create_connection((host, port), timeout)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.client_id = client_id
        self.correlation = 0

    def close(self):
        self.sock.close()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()

    def send(self, name, version, fields):
        self.correlation += 1
        self.sock.sendall(encode_request(name, version, fields, self.correlation, self.client_id))

    def exactly(self, n):
        out = bytearray()
        while len(out) < n:
            got = self.sock.recv(n - len(out))
            if not got:
                raise ConnectionError("closed by the broker")
            out += got
        return bytes(out)

    def receive(self, name, version):
        correlation, out = decode_response(name, version, self.exactly(struct.unpack(">i", self.exactly(4))[0]))
        if correlation != self.correlation:
            raise ValueError("answer to request %d, not %d" % (correlation, self.correlation))
        return out

    def call(self, name, version, **fields):
        self.send(name, version, fields)
        return self.receive(name, version)

    # ---- what many tests want ----

    def create(self, topic, partitions=1, configs=None):
        configs = [{"Name": k, "Value": v} for k, v in (configs or {}).items()]
        out = self.call("CreateTopics", 5, TimeoutMs=30000 * SLOW, Topics=[
            {"Name": topic, "NumPartitions": partitions, "ReplicationFactor": 1, "Configs": configs}])
        code = out["Topics"][0]["ErrorCode"]
        if code == REQUEST_TIMED_OUT:           # it comes all the same, as soon as this machine has time for it
            wait_for(lambda: self.leads(topic) == partitions, 150, "leaders for %d partitions of %s" % (partitions, topic))
        elif code != 0:
            raise RuntimeError("topic %s: error %d" % (topic, code))

    def leads(self, topic):
        """How many partitions of the topic have a leader."""
        out = self.call("Metadata", 9, Topics=[{"Name": topic}], AllowAutoTopicCreation=False)["Topics"]
        return sum(p["LeaderId"] >= 0 for p in out[0]["Partitions"])

    def produce(self, version, topic, partition, records, acks=1, timeout_ms=10000):
        """The answer for that partition; None with acks=0."""
        self.send("Produce", version, dict(Acks=acks, TimeoutMs=timeout_ms, TopicData=[
            {"Name": topic, "PartitionData": [{"Index": partition, "Records": records}]}]))
        if acks == 0:
            return None
        return self.receive("Produce", version)["Responses"][0]["PartitionResponses"][0]

    def fetch(self, version, topic, partition, offset, wait_ms=0, min_bytes=1, max_bytes=1 << 20, topic_id=bytes(16),
              **more):
        """The whole answer."""
        part = {"Partition": partition, "FetchOffset": offset, "PartitionMaxBytes": max_bytes}
        part.update({k: more.pop(k) for k in ("CurrentLeaderEpoch", "LastFetchedEpoch") if k in more})
        return self.call("Fetch", version, MaxWaitMs=wait_ms, MinBytes=min_bytes, Topics=[
            {"Topic": topic, "TopicId": topic_id, "Partitions": [part]}], **more)
