"""Compares a replica with the source's own dump, value by value and type by type.

    python3 compare.py REPLICA.db OBJECT=DUMP...

DUMP has one JSON object a line. Uses Python's own sqlite3 and no code of crmsync; what a value
must look like is written here a second time. Ends with 1 and the first differences if there are
any: a record that is missing, a row that should be gone, a value or its type that is not the same.
"""

import datetime
import decimal
import json
import sqlite3
import sys

SHOWN = 10


def number(text):
    """REAL where the decimal text survives a double, TEXT otherwise."""
    exact = decimal.Decimal(text)
    double = float(text)
    return double if decimal.Decimal(repr(double)) == exact else text


def cell(kind, value):
    """What SQLite must hold for a value of the source."""
    if value is None:
        return None
    if kind == "boolean":
        return int(value)
    if kind == "integer":
        return int(decimal.Decimal(str(value)))
    if kind == "decimal":
        return number(str(value))
    if kind == "date-time":
        moment = datetime.datetime.strptime(value, "%Y-%m-%dT%H:%M:%S.%f%z")
        moment = moment.astimezone(datetime.timezone.utc)
        return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03}Z"
    return value if isinstance(value, str) else json.dumps(value)


class Number(str):
    """A number's text as it came: money must not pass through a double on its way here."""


def records(path):
    with open(path, encoding="utf-8") as file:
        for line in file:
            if line.strip():
                yield json.loads(line, parse_float=Number, parse_int=Number)


def compare(base, name, dump):
    """Counts and differences of one object."""
    (table,) = base.execute(
        'SELECT table_name FROM _crmsync_object WHERE "object" = ?', (name,)
    ).fetchone()
    columns = base.execute(
        'SELECT field, column_name, kind FROM _crmsync_field '
        'WHERE "object" = ? AND "current" AND selected', (name,)
    ).fetchall()
    rows, gone = {}, 0
    for row in base.execute(f'SELECT * FROM "{table}"'):
        if row["_deleted_at"] is None and row["_hidden_at"] is None:
            rows[row["id"]] = row
        else:
            gone += 1
    count, values, wrong = 0, 0, []
    known = {field for field, _, _ in columns}
    for record in records(dump):
        if record.get("IsDeleted") is True:
            continue
        count += 1
        row = rows.pop(record["Id"], None)
        if row is None:
            wrong.append(f"{record['Id']}: missing in the replica")
            continue
        for field, column, kind in columns:
            wanted, found = cell(kind, record.get(field)), row[column]
            values += 1
            if type(wanted) is not type(found) or wanted != found:
                wrong.append(f"{record['Id']}.{field}: source {wanted!r}, replica {found!r}")
        for field in record.keys() - known:
            if not isinstance(record[field], (dict, type(None))):
                wrong.append(f"{field}: no column")
    wrong += [f"{key}: live in the replica, not at the source" for key in rows]
    return count, gone, values, wrong


def main():
    base = sqlite3.connect(f"file:{sys.argv[1]}?mode=ro", uri=True, timeout=20)
    base.row_factory = sqlite3.Row
    failed = False
    for pair in sys.argv[2:]:
        name, dump = pair.split("=", 1)
        count, gone, values, wrong = compare(base, name, dump)
        said = f"{len(wrong)} DIFFERENCES" if wrong else "all the same"
        print(f"  {name}: {count} records here and there, {values} values compared, {said}"
              f" ({gone} rows marked as gone)")
        for line in wrong[:SHOWN]:
            print(f"    {line}")
        failed |= bool(wrong)
    sys.exit(1 if failed else 0)


main()
