"""Our message definitions and error codes, held field by field against Apache Kafka's own definitions.

Those are in the folder `shared` beside the checkout; without it the tests are skipped.
"""
import csv
import glob
import json
import os
import re

import pytest

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
REFERENCE = os.path.join(os.environ.get("KLAMM_SHARED", os.path.join(TOP, "..", "shared")), "reference", "kafka-3.9.1")
OPEN = 32767
NONE = (1, 0)

pytestmark = pytest.mark.skipif(not os.path.isdir(REFERENCE), reason="no folder shared beside the checkout")


def versions(text):
    if text in (None, "", "none"):
        return NONE
    low, _, high = text.partition("-")
    if low.endswith("+"):
        return int(low[:-1]), OPEN
    return int(low), int(high or low)


def both(a, b):
    low, high = max(a[0], b[0]), min(a[1], b[1])
    return (low, high) if low <= high else NONE


def default_of(text, kind):
    """One form for all ways to write a default."""
    if text is None or text == "":
        text = {"string": "", "bool": "false"}.get(kind, "" if kind.startswith("[]") or not kind[-1].isdigit() else "0")
    text = str(text).lower() if isinstance(text, bool) else str(text)
    if re.fullmatch(r"-?(0x)?[0-9a-fA-F]+", text):
        return int(text, 0)
    return text


# ---- theirs ----

def reference_file(path):
    with open(path, encoding="utf-8") as f:
        return json.loads("".join(re.sub(r"(^|\s)//.*", "", line) + "\n" for line in f.read().split("\n")))


def reference_field(f):
    there = versions(f["versions"])
    return {
        "name": f["name"][0].upper() + f["name"][1:], "type": f["type"], "versions": there,
        "nullable": both(versions(f.get("nullableVersions")), there), "tag": f.get("tag"),
        "default": default_of("null" if "default" in f and f["default"] is None else f.get("default"), f["type"]),
        "ignorable": f.get("ignorable", False), "classic": f.get("flexibleVersions") == "none",
    }


def reference_messages():
    """name -> (versions, flexible, list of fields with their path)"""
    found = {}
    for path in glob.glob(os.path.join(REFERENCE, "messages", "*.json")) + \
            glob.glob(os.path.join(REFERENCE, "records", "*.json")):
        m = reference_file(path)
        out = []

        def walk(fields, where):
            for f in fields:
                out.append((where, reference_field(f)))
                walk(f.get("fields", []), where + (f["type"].lstrip("[]"),))

        walk(m["fields"], ())
        for s in m.get("commonStructs", []):
            walk(s["fields"], ("struct " + s["name"],))
        found[m["name"]] = (versions(m["validVersions"]), versions(m["flexibleVersions"]), sorted(out, key=repr))
    return found


# ---- ours ----

def our_field(row):
    words = [w for w in row[3:] if isinstance(w, str)]
    there = versions(row[2])
    kind = row[1].rstrip("?")
    props = dict((w.split(" ", 1) + [True])[:2] for w in words)
    return {
        "name": row[0], "type": kind, "versions": there,
        "nullable": there if row[1].endswith("?") else versions(props.get("null")),
        "tag": int(props["tag"]) if "tag" in props else None, "default": default_of(props.get("default"), kind),
        "ignorable": "ignorable" in props, "classic": "classic" in props,
    }


def addition(row):
    """Klamm's own field: tagged, with a tag that Apache Kafka will not come to, so that who does not know it skips it."""
    if not row[0].startswith("Klamm"):
        return False
    assert our_field(row)["tag"] >= 10000 and "ignorable" in row[3:], row[0]
    return True


def our_messages():
    found = {}

    def add(name, of, rows, structs):
        out = []

        def walk(fields, where):
            for row in fields:
                if addition(row):
                    continue
                out.append((where, our_field(row)))
                if isinstance(row[-1], list):
                    walk(row[-1], where + (row[1].rstrip("?").lstrip("[]"),))

        walk(rows, ())
        for struct, fields in structs.items():
            walk(fields, ("struct " + struct,))
        found[name] = (versions(of["versions"]), versions(of["flexible"]), sorted(out, key=repr))

    for path in glob.glob(os.path.join(TOP, "proto", "schema", "*.json")):
        with open(path, encoding="utf-8") as f:
            m = json.load(f)
        if "api" in m:
            add(m["api"] + "Request", m, m["request"], m.get("request_structs", {}))
            add(m["api"] + "Response", m, m["response"], m.get("response_structs", {}))
        for one in m.get("messages", []):
            add(one["name"], one, one["fields"], one.get("structs", {}))
    return found


def test_every_definition_agrees():
    theirs, ours = reference_messages(), our_messages()
    assert len(ours) > 120
    for name, mine in ours.items():
        assert name in theirs, name
        assert mine[:2] == theirs[name][:2], name
        for a, b in zip(mine[2], theirs[name][2]):
            assert a == b, name
        assert len(mine[2]) == len(theirs[name][2]), name


def test_order_of_fields_agrees():
    """Fields are written in the order of their definition."""
    def names(fields, key):
        for f in fields:
            if isinstance(f, list) and addition(f):
                continue
            yield key(f)
            inner = f.get("fields", []) if isinstance(f, dict) else f[-1] if isinstance(f[-1], list) else []
            yield from names(inner, key)

    def capital(field):
        return field["name"][0].upper() + field["name"][1:]

    for path in glob.glob(os.path.join(TOP, "proto", "schema", "*.json")):
        with open(path, encoding="utf-8") as f:
            m = json.load(f)
        for direction in ("request", "response") if "api" in m else ():
            theirs = reference_file(os.path.join(REFERENCE, "messages", m["api"] + direction.capitalize() + ".json"))
            assert list(names(m[direction], lambda row: row[0])) == list(names(theirs["fields"], capital))


def test_all_apis_of_a_zookeeper_broker_are_there():
    ours = our_messages()
    with open(os.path.join(REFERENCE, "apis.tsv"), encoding="utf-8") as f:
        for api in csv.DictReader(f, delimiter="\t"):
            if "ZK_BROKER" in api["listeners"]:
                for direction in ("Request", "Response"):
                    assert ours[api["name"] + direction][0] == (int(api["min"]), int(api["max"])), api["name"]


def test_error_codes_agree():
    with open(os.path.join(TOP, "proto", "kerr.def"), encoding="utf-8") as f:
        ours = {m[0]: m[1:] for m in re.findall(r"^K\((-?\d+), (\w+), (true|false), ", f.read(), re.M)}
    with open(os.path.join(REFERENCE, "errors.tsv"), encoding="utf-8") as f:
        theirs = {e["code"]: (e["name"], e["retriable"]) for e in csv.DictReader(f, delimiter="\t")}
    assert ours == theirs
