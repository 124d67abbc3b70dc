"""Judges crmsync-sandbox with a public client library, simple-salesforce.

The library builds https://DOMAIN.salesforce.com itself, so it is given a requests session whose
adapter sends every such host to the sandbox. That, the CA and the address are the only changes;
everything else is the library as it comes from PyPI. Exits non-zero on the first mismatch.
"""

import argparse
import csv
import datetime
import io
import json
import sys
import urllib.parse
import urllib.request
from urllib.parse import urlsplit, urlunsplit

import requests
from requests.adapters import HTTPAdapter
from simple_salesforce import Salesforce, SalesforceLogin
from simple_salesforce.exceptions import (
    SalesforceAuthenticationFailed,
    SalesforceError,
    SalesforceExpiredSession,
    SalesforceMalformedRequest,
    SalesforceOperationError,
    SalesforceRefusedRequest,
    SalesforceResourceNotFound,
)


class ToSandbox(HTTPAdapter):
    """Connects to the sandbox, but asks for (and verifies) the host the library meant."""

    def __init__(self, address):
        super().__init__()
        self.address = address

    def send(self, request, **kwargs):
        parts = urlsplit(request.url)
        if not parts.hostname.endswith(".salesforce.com"):
            raise AssertionError(f"the library went to {parts.hostname}")
        tls = self.poolmanager.connection_pool_kw
        tls["server_hostname"] = tls["assert_hostname"] = parts.hostname
        request.headers["Host"] = parts.hostname
        request.url = urlunsplit(("https", self.address, parts.path, parts.query, ""))
        return super().send(request, **kwargs)


class Judge:
    """Counts what was looked at, and stops at the first mismatch."""

    def __init__(self):
        self.looked = 0

    def same(self, what, got, wanted):
        self.looked += 1
        if got != wanted:
            sys.exit(f"MISMATCH {what}: got {got!r}, wanted {wanted!r}")

    def true(self, what, got):
        self.same(what, bool(got), True)

    def refused(self, what, kind, status, code, call):
        self.looked += 1
        try:
            call()
        except kind as error:
            if error.status != status:
                sys.exit(f"MISMATCH {what}: status {error.status}, wanted {status}")
            if isinstance(error.content, list):
                got = error.content[0]["errorCode"]
                if got != code:
                    sys.exit(f"MISMATCH {what}: {got}, wanted {code}")
            return error
        sys.exit(f"MISMATCH {what}: not refused")


def bulk_judge(judge, sf, control, described, wanted):
    """Reads all accounts by Bulk 2.0 and compares every value with the sandbox's dump."""
    types = {field["name"]: field["type"] for field in described["fields"]}

    def text(name, value):
        if value is None:
            return ""
        if isinstance(value, bool):
            return str(value).lower()
        return value.replace("+0000", "Z") if types[name] == "datetime" else value

    # Numbers as text, so that none loses a digit.
    lines = control("dump", "Account", parse=lambda line: json.loads(line, parse_float=str, parse_int=str))
    dump = {row["Id"]: row for row in lines}
    soql = f"SELECT {', '.join(wanted)} FROM Account"
    for most, call in ((1000, sf.bulk2.Account.query), (50000, sf.bulk2.Account.query_all)):
        pages = list(call(soql, max_records=most, wait=0.2))
        judge.same(f"pages of {most}", len(pages), -(-len(dump) // most))
        seen = set()
        for page in pages:
            for row in csv.DictReader(io.StringIO(page, newline="")):
                judge.same(f"bulk values of {row['Id']}", row, {n: text(n, dump[row["Id"]][n]) for n in wanted})
                seen.add(row["Id"])
        judge.same("bulk ids", seen, set(dump))
    crlf = "".join(sf.bulk2.Account.query(
        "SELECT Id, Name FROM Account LIMIT 3", column_delimiter="PIPE", line_ending="CRLF", wait=0.1))
    judge.true("delimiter and line ending", crlf.startswith('"Id"|"Name"\r\n') and crlf.endswith('"\r\n'))
    judge.refused("compound by Bulk", SalesforceMalformedRequest, 400, "FEATURENOTENABLED",
                  lambda: list(sf.bulk2.Account.query("SELECT BillingAddress FROM Account")))
    judge.refused("no Bulk for the object", SalesforceMalformedRequest, 400, "INVALIDENTITY",
                  lambda: list(sf.bulk2.CaseStatus.query("SELECT Id FROM CaseStatus")))
    control("bulk-fail", message="narrow it")
    try:
        list(sf.bulk2.Account.query("SELECT Id FROM Account", wait=0.1))
        sys.exit("MISMATCH a failed job: not told")
    except SalesforceOperationError as failure:
        judge.true("errorMessage", "narrow it" in str(failure))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--ready", required=True, help="the JSON line that serve printed")
    parser.add_argument("--ca", required=True)
    args = parser.parse_args()
    ready = json.loads(args.ready)
    judge = Judge()

    def control(verb, *positional, parse=json.loads, **named):
        pairs = [("arg", str(p)) for p in positional] + [(k, str(v)) for k, v in named.items()]
        body = urllib.parse.urlencode(pairs).encode()
        with urllib.request.urlopen(f"{ready['http']}/_sandbox/{verb}", body, timeout=60) as answer:
            text = answer.read().decode()
        return [parse(line) for line in text.splitlines()] if verb == "dump" else json.loads(text)

    session = requests.Session()
    # The environment's CA bundle and proxies would win over these otherwise.
    session.trust_env = False
    session.verify = args.ca
    session.mount("https://", ToSandbox(urlsplit(ready["https"]).netloc))

    # Logging in: client credentials, which the library sends to the org's own domain.
    login = dict(
        consumer_key=ready["client_id"], consumer_secret=ready["client_secret"],
        domain="judge.my", session=session,
    )
    token, instance = SalesforceLogin(**login)
    judge.same("instance", instance, "judge.my.salesforce.com")
    judge.true("token form", token.startswith(ready["org_id"][:15] + "!"))
    for wrong, error in ((dict(consumer_secret="no"), "invalid_client"), (dict(consumer_key="no"), "invalid_client_id")):
        try:
            SalesforceLogin(**{**login, **wrong})
            sys.exit(f"MISMATCH log-in with {wrong}: not refused")
        except SalesforceAuthenticationFailed as refusal:
            judge.same(f"log-in with {wrong}", refusal.code, error)
    sf = Salesforce(**login, client_id="judge")

    # Describing.
    names = [entry["name"] for entry in sf.describe()["sobjects"]]
    for name in ("Account", "Contact", "User", "Organization"):
        judge.true(f"{name} in describeGlobal", name in names)
    described = sf.Account.describe()
    fields = [field["name"] for field in described["fields"]]
    judge.same("describe name", described["name"], "Account")
    for name in ("Id", "Name", "SystemModstamp", "IsDeleted", "CreatedDate"):
        judge.true(f"Account.{name} in describe", name in fields)
    judge.same("metadata", sf.Account.metadata()["objectDescribe"]["name"], "Account")
    judge.same("is_sandbox", sf.is_sandbox(), False)

    # Reading everything, page by page, against the sandbox's own dump.
    dump = {row["Id"]: row for row in control("dump", "Account")}
    wanted = [f["name"] for f in described["fields"] if f["type"] not in ("address", "location", "base64")]
    soql = f"SELECT {', '.join(wanted)} FROM Account"
    first = sf.query(soql)
    judge.same("totalSize", first["totalSize"], len(dump))
    judge.same("done", first["done"], False)
    judge.true("a page has at most 2000", len(first["records"]) <= 2000)
    judge.true("locator form", first["nextRecordsUrl"].startswith("/services/data/v59.0/query/01g"))
    second = sf.query_more(first["nextRecordsUrl"].rsplit("/", 1)[1])
    judge.true("query_more by id", second["records"])
    everything = sf.query_all(soql)
    judge.same("query_all", everything["totalSize"], len(dump))
    for record in everything["records"]:
        attributes = record.pop("attributes")
        judge.same("attributes.type", attributes["type"], "Account")
        row = dump[record["Id"]]
        judge.same(f"values of {record['Id']}", dict(record), {name: row[name] for name in wanted})
    lazily = [r["Id"] for r in sf.query_all_iter(
        "SELECT Id FROM Account ORDER BY Id", headers={"Sforce-Query-Options": "batchSize=500"})]
    judge.same("query_all_iter", lazily, sorted(dump))
    judge.same("count()", sf.query("SELECT count() FROM Account")["totalSize"], len(dump))
    contact = sf.query("SELECT Id, Account.Name FROM Contact WHERE AccountId != null LIMIT 1")["records"][0]
    judge.same("parent field", contact["Account"]["attributes"]["type"], "Account")

    # The same by Bulk 2.0, in pages; every page has its own header line.
    bulk_judge(judge, sf, control, described, wanted)

    # Refusals.
    judge.refused("bad syntax", SalesforceMalformedRequest, 400, "MALFORMED_QUERY", lambda: sf.query("SELECT Id FORM Account"))
    judge.refused("bad field", SalesforceMalformedRequest, 400, "INVALID_FIELD", lambda: sf.query("SELECT Foo__c FROM Account"))
    judge.refused("bad object", SalesforceMalformedRequest, 400, "INVALID_TYPE", lambda: sf.query("SELECT Id FROM Xyzzy"))
    judge.refused("missing record", SalesforceResourceNotFound, 404, "NOT_FOUND", lambda: sf.Account.get("001000000000000AAA"))
    judge.refused("missing object", SalesforceResourceNotFound, 404, "NOT_FOUND", lambda: sf.Xyzzy.describe())

    # Writing.
    name = "Żółć \"quoted\" 'single'\nline & <b> \U0001f4a1"
    started = datetime.datetime.now(datetime.timezone.utc).replace(microsecond=0)
    made = sf.Account.create({"Name": name})
    judge.same("create", (made["success"], made["errors"], len(made["id"])), (True, [], 18))
    judge.same("read back", sf.Account.get(made["id"])["Name"], name)
    judge.same("update", sf.Account.update(made["id"], {"Name": "renamed", "Phone": None}), 204)
    escaped = sf.query(f"SELECT Name FROM Account WHERE Id = '{made['id'][:15]}'")
    judge.same("updated, by 15 characters", escaped["records"][0]["Name"], "renamed")
    judge.refused("unknown field", SalesforceMalformedRequest, 400, "INVALID_FIELD", lambda: sf.Account.create({"Name": "x", "Foo__c": 1}))
    judge.refused("missing field", SalesforceMalformedRequest, 400, "REQUIRED_FIELD_MISSING", lambda: sf.Account.create({}))
    end = started + datetime.timedelta(minutes=5)
    begin = started - datetime.timedelta(minutes=5)
    judge.true("updated", made["id"] in sf.Account.updated(begin, end)["ids"])
    judge.same("delete", sf.Account.delete(made["id"]), 204)
    judge.refused("deleted record", SalesforceResourceNotFound, 404, "ENTITY_IS_DELETED", lambda: sf.Account.get(made["id"]))
    gone = [entry["id"] for entry in sf.Account.deleted(begin, end)["deletedRecords"]]
    judge.true("deleted", made["id"] in gone)
    soft = sf.query(f"SELECT Id, IsDeleted FROM Account WHERE Id = '{made['id']}'", include_deleted=True)
    judge.same("queryAll", soft["records"][0]["IsDeleted"], True)

    # Composite and the limits, through the library's plain door.
    answer = sf.restful("composite", method="POST", data=json.dumps({"compositeRequest": [
        {"method": "POST", "url": "/services/data/v59.0/sobjects/Account", "referenceId": "acc", "body": {"Name": "Composite"}},
        {"method": "GET", "url": "/services/data/v59.0/sobjects/Account/@{acc.id}?fields=Name", "referenceId": "back"},
    ]}))["compositeResponse"]
    judge.same("composite", [part["httpStatusCode"] for part in answer], [201, 200])
    judge.same("composite reference", answer[1]["body"]["Name"], "Composite")
    limits = sf.limits()["DailyApiRequests"]
    usage = sf.api_usage["api-usage"]
    judge.same("usage header and limits", (usage.used, usage.total), (limits["Max"] - limits["Remaining"], limits["Max"]))
    before = control("quota")["used"]
    sf.query("SELECT Id FROM Account LIMIT 1")
    judge.same("a query costs one", control("quota")["used"], before + 1)
    info = sf.oauth2("userinfo")
    judge.same("userinfo", (info["organization_id"], info["preferred_username"]), (ready["org_id"], ready["user"]))

    # Trouble, as the library sees it.
    control("quota", used=15000, max=15000)
    judge.refused("quota reached", SalesforceRefusedRequest, 403, "REQUEST_LIMIT_EXCEEDED", lambda: sf.query("SELECT Id FROM Account LIMIT 1"))
    control("quota", used=10)
    control("fail", status=503, code="SERVER_UNAVAILABLE", message="server unavailable")
    judge.refused("armed failure", SalesforceError, 503, "SERVER_UNAVAILABLE", lambda: sf.limits())
    control("expire-tokens")
    # The library logs in again by itself when its session has expired.
    judge.true("after expiry", sf.limits()["DailyApiRequests"])
    stale = Salesforce(session_id=token, instance=instance, session=session)
    judge.refused("stale session", SalesforceExpiredSession, 401, "INVALID_SESSION_ID", lambda: stale.limits())
    print(f"simple-salesforce: {judge.looked} comparisons, {len(dump)} accounts of {len(wanted)} fields, no mismatch")


if __name__ == "__main__":
    main()
