"""Checks values against the part of JSON Schema that config/schema uses.

A keyword that is not known here is an error, so that no schema says more than is checked.
"""
import json
import os
import re

FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "config", "schema")
COMMENTS = {"$schema", "title", "description", "$defs"}
TYPES = {
    "object": lambda v: isinstance(v, dict),
    "array": lambda v: isinstance(v, list),
    "string": lambda v: isinstance(v, str),
    "boolean": lambda v: isinstance(v, bool),
    "integer": lambda v: isinstance(v, int) and not isinstance(v, bool),
    "number": lambda v: isinstance(v, (int, float)) and not isinstance(v, bool),
}


class Mismatch(Exception):
    """The value is not what the schema says."""


def _object(value, schema, root, where):
    properties = schema.get("properties", {})
    for name in schema.get("required", ()):
        if name not in value:
            raise Mismatch(f"{where}: {name} is missing")
    for name, member in value.items():
        if name in properties:
            check(member, properties[name], root, f"{where}.{name}")
        elif schema.get("additionalProperties") is False:
            raise Mismatch(f"{where}: {name} is not in the schema")


def _one_of(value, schemas, root, where):
    matches, reasons = 0, []
    for schema in schemas:
        try:
            check(value, schema, root, where)
            matches += 1
        except Mismatch as reason:
            reasons.append(str(reason))
    if matches != 1:
        raise Mismatch(f"{where}: matches {matches} of {len(schemas)}: {'; '.join(reasons)}")


def check(value, schema, root, where="$"):
    """Raises Mismatch unless the value matches the schema, whose $refs are in root."""
    for keyword, wanted in schema.items():
        if keyword in COMMENTS or keyword in ("required", "additionalProperties"):
            continue
        if keyword == "$ref":
            check(value, root["$defs"][wanted.removeprefix("#/$defs/")], root, where)
        elif keyword == "type":
            if not TYPES[wanted](value):
                raise Mismatch(f"{where}: {value!r} is no {wanted}")
        elif keyword == "const":
            if value != wanted or type(value) is not type(wanted):
                raise Mismatch(f"{where}: {value!r} is not {wanted!r}")
        elif keyword == "enum":
            if value not in wanted:
                raise Mismatch(f"{where}: {value!r} is none of {wanted}")
        elif keyword == "pattern":
            if not re.search(wanted, value):
                raise Mismatch(f"{where}: {value!r} does not match {wanted}")
        elif keyword == "minimum":
            if value < wanted:
                raise Mismatch(f"{where}: {value!r} is below {wanted}")
        elif keyword == "items":
            for number, item in enumerate(value):
                check(item, wanted, root, f"{where}[{number}]")
        elif keyword == "properties":
            _object(value, schema, root, where)
        elif keyword == "oneOf":
            _one_of(value, wanted, root, where)
        else:
            raise KeyError(f"json_schema.py does not know {keyword}")


def check_value(name, value):
    """One object, against penstock.NAME.1.json."""
    with open(os.path.join(FOLDER, f"penstock.{name}.1.json"), encoding="utf-8") as file:
        schema = json.load(file)
    check(value, schema, schema)


def check_lines(command, text):
    """The objects of a command's --json output, each checked; the last, and only that, is final."""
    objects = [json.loads(line) for line in text.splitlines()]
    for value in objects:
        check_value(command, value)
    finals = ["final" in value for value in objects]
    if not finals or finals != [False] * (len(finals) - 1) + [True]:
        raise Mismatch(f"final objects: {finals}")
    return objects
