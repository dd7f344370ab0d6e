"""tests/system/told.py - a broker that answers as it is told: in any versions, with any answer, hostile or none.

    with Told({"Metadata": (0, 5), "ListGroups": (0, 0)}) as b:
        b.answers["ListGroups"] = lambda q, version: {"Groups": [{"GroupId": "g", "ProtocolType": "consumer"}]}

An answer is the fields of the response, bytes that stand for the whole body, or None: the connection is closed. A list of
such answers is gone through, its last is repeated. b.asked has what was asked: (api, version, fields).
"""
import socket
import socketserver
import struct
import threading

from wire import APIS, Reader, inside, put_struct

NAMES = {api.key: name for name, api in APIS.items()}


class Told:
    def __init__(self, versions, node=7):
        self.versions = dict({"ApiVersions": (0, 3)}, **versions)
        self.node, self.asked = node, []
        self.answers = {"ApiVersions": self.api_versions, "Metadata": self.metadata, "FindCoordinator": self.coordinator}
        self.topics = {}                # name: number of partitions
        outer = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self):
                self.request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                while outer.serve(self.request):
                    pass

        class Server(socketserver.ThreadingTCPServer):
            allow_reuse_address = daemon_threads = True

        self.server = Server(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]
        self.address = "127.0.0.1:%d" % self.port

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()

    def exactly(self, sock, n):
        out = b""
        while len(out) < n:
            got = sock.recv(n - len(out))
            if not got:
                return None
            out += got
        return out

    def serve(self, sock):
        """One request; False: the connection is over."""
        head = self.exactly(sock, 4)
        frame = self.exactly(sock, struct.unpack(">i", head)[0]) if head else None
        if frame is None:
            return False
        r = Reader(frame)
        key, version, correlation = r.number("h"), r.number("h"), r.number("i")
        name = NAMES[key]
        low, high = self.versions.get(name, (0, -1))
        if not low <= version <= high:
            if name != "ApiVersions":
                return False
            version = 0                 # "say it in a version that I know"
            body = put_struct(APIS[name].response, {"ErrorCode": 35}, 0, False)
        else:
            flexible = inside(version, APIS[name].flexible)
            r.take(max(r.number("h"), 0))
            if flexible:
                r.uvarint()             # our client sends no tags in the header
            fields = r.struct(APIS[name].request, version, flexible)
            self.asked.append((name, version, fields))
            body = self.body(name, version, fields, flexible)
        if body is None:
            return False
        tags = b"\0" if inside(version, APIS[name].flexible) and name != "ApiVersions" else b""
        body = struct.pack(">i", correlation) + tags + body
        sock.sendall(struct.pack(">i", len(body)) + body)
        return True

    def body(self, name, version, fields, flexible):
        answer = self.answers[name]
        if isinstance(answer, list):
            answer = answer.pop(0) if len(answer) > 1 else answer[0]
        if callable(answer):
            answer = answer(fields, version)
        if answer is None or isinstance(answer, bytes):
            return answer
        return put_struct(APIS[name].response, answer, version, flexible)

    # ---- what any broker says ----

    def api_versions(self, _fields, _version):
        return {"ApiKeys": [{"ApiKey": APIS[name].key, "MinVersion": low, "MaxVersion": high}
                            for name, (low, high) in self.versions.items()]}

    def metadata(self, fields, version):
        wanted = fields["Topics"]
        names = list(self.topics) if not wanted and (wanted is None or version == 0) else [t["Name"] for t in wanted or []]
        topics = [{"Name": n, "ErrorCode": 0 if n in self.topics else 3,
                   "Partitions": [{"PartitionIndex": p, "LeaderId": self.node} for p in range(self.topics.get(n, 0))]}
                  for n in names]
        return {"Brokers": [{"NodeId": self.node, "Host": "127.0.0.1", "Port": self.port}], "ControllerId": self.node,
                "Topics": topics}

    def coordinator(self, fields, version):
        here = {"NodeId": self.node, "Host": "127.0.0.1", "Port": self.port}
        if version < 4:
            return here
        return {"Coordinators": [dict(here, Key=k) for k in fields["CoordinatorKeys"]]}
