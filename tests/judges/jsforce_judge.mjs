// Judges crmsync-sandbox with a public client library, jsforce: describe, query through all pages,
// Bulk 2.0 queries. The CA comes by NODE_EXTRA_CA_CERTS and the address by --ready; everything else
// is the library as it comes from npm. Exits non-zero on the first mismatch.

import assert from 'node:assert/strict';
import { parseArgs } from 'node:util';
import jsforce from 'jsforce';
import { QueryJobV2 } from 'jsforce/lib/api/bulk2.js';

const { values: args } = parseArgs({ options: { ready: { type: 'string' } } });
const ready = JSON.parse(args.ready);
let looked = 0;
const same = (what, got, wanted) => {
  looked += 1;
  assert.deepEqual(got, wanted, `MISMATCH ${what}`);
};

async function control(verb, ...pairs) {
  const body = new URLSearchParams(pairs.map((pair) => (Array.isArray(pair) ? pair : ['arg', pair])));
  const answer = await fetch(`${ready.http}/_sandbox/${verb}`, { method: 'POST', body });
  const text = await answer.text();
  assert.equal(answer.status, 200, `${verb}: ${text}`);
  return text;
}

// Numbers become text, so that none loses a digit: 0.10 stays 0.10.
const numbersAsText = (json) =>
  json.replace(/"(?:[^"\\]|\\.)*"|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/g, (token) =>
    token.startsWith('"') ? token : `"${token}"`);
const dumped = async (object, parse = JSON.parse) =>
  new Map((await control('dump', object)).trim().split('\n').map((line) => [parse(line).Id, parse(line)]));
// What a value of the REST API looks like in the CSV of Bulk.
const csv = (value, type) =>
  value === null ? '' : type === 'datetime' ? value.replace('+0000', 'Z') : String(value);

async function refused(what, code, call) {
  const error = await call().then(
    () => assert.fail(`MISMATCH ${what}: not refused`),
    (error) => error);
  same(what, error.errorCode, code);
}

// The org's own domain answers with an address that only the DNS of a real org knows.
const conn = new jsforce.Connection({
  version: '64.0',
  oauth2: { loginUrl: ready.https, clientId: ready.client_id, clientSecret: ready.client_secret },
});
await conn.authorize({ grant_type: 'client_credentials' });
same('instance', conn.instanceUrl, 'https://judge.my.salesforce.com');
conn.instanceUrl = ready.https;

// Describing.
const names = (await conn.describeGlobal()).sobjects.map((entry) => entry.name);
for (const name of ['Account', 'Contact', 'User']) same(`${name} in describeGlobal`, names.includes(name), true);
const described = await conn.sobject('Account').describe();
const fields = described.fields.filter((field) => !['address', 'location', 'base64'].includes(field.type));
const wanted = fields.map((field) => field.name);
const soql = `SELECT ${wanted.join(', ')} FROM Account`;

// Every page of a query, by the library's own loop and by hand.
const rows = await dumped('Account');
const plain = (record) => {
  const { attributes, ...rest } = record;
  same('attributes.type', attributes.type, 'Account');
  return rest;
};
const expected = (row) => Object.fromEntries(wanted.map((name) => [name, row[name]]));
const fetched = await conn.query(soql, { autoFetch: true, maxFetch: 1_000_000 });
same('autoFetch', fetched.records.length, rows.size);
for (const record of fetched.records) same(`values of ${record.Id}`, plain(record), expected(rows.get(record.Id)));
let page = await conn.query('SELECT Id FROM Account ORDER BY Id');
const ids = page.records.map((record) => record.Id);
while (!page.done) {
  page = await conn.queryMore(page.nextRecordsUrl);
  ids.push(...page.records.map((record) => record.Id));
}
same('queryMore', ids, [...rows.keys()].sort());
await refused('bad field', 'INVALID_FIELD', () => conn.query('SELECT Foo__c FROM Account'));

// Bulk 2.0.
const texts = await dumped('Account', (line) => JSON.parse(numbersAsText(line)));
const inCsv = (row) => Object.fromEntries(fields.map((field) => [field.name, csv(row[field.name], field.type)]));
const options = { pollInterval: 100, pollTimeout: 60_000 };
async function compareBulk(what, query, options, count) {
  const records = await (await conn.bulk2.query(query, options)).toArray();
  same(what, records.length, count);
  for (const record of records) same(`${what}: values of ${record.Id}`, record, inCsv(texts.get(record.Id)));
  same(`${what}: each once`, new Set(records.map((record) => record.Id)).size, count);
}
const live = [...rows.values()].filter((row) => !row.IsDeleted).length;
await compareBulk('bulk query', soql, options, live);
// The library's own loop over pages pours them into one stream at once, so the pages that the server
// offers for parallel downloads are fetched one by one, by its plain door.
await control('bulk-page-rows', '700');
const paged = new QueryJobV2(conn, { bodyParams: { query: soql, operation: 'query' }, pollingOptions: options });
await paged.open();
await paged.poll();
const parts = [];
for (let url = `/services/data/v64.0/jobs/query/${paged.id}/resultPages`; url;) {
  const answer = await conn.request(url);
  for (const { resultUrl } of answer.resultPages) parts.push(await conn.request(resultUrl));
  same('done and nextRecordsUrl', answer.done, !answer.nextRecordsUrl);
  url = answer.nextRecordsUrl;
}
same('result pages', parts.map((part) => part.length), [700, 700, 700, 700, 700, 700, 100]);
for (const record of parts.flat()) same(`paged values of ${record.Id}`, record, inCsv(texts.get(record.Id)));
same('paged: each once', new Set(parts.flat().map((record) => record.Id)).size, live);
await control('bulk-page-rows', 'off');
await control('bulk-latency', '0.5');
await compareBulk('bulk query that takes its time', `${soql} WHERE IsDeleted = false`, options, live);
await control('bulk-latency', '0');
await control('delete', 'Account', '40');
const changed = await dumped('Account', (line) => JSON.parse(numbersAsText(line)));
for (const [id, row] of changed) texts.set(id, row);
await compareBulk('bulk query after deletes', soql, options, live - 40);
await compareBulk('bulk queryAll', soql, { ...options, scanAll: true }, rows.size);
const parents = await (await conn.bulk2.query(
  'SELECT Id, Account.Name FROM Contact WHERE AccountId != null', options)).toArray();
const contacts = await dumped('Contact');
for (const record of parents) {
  same(`parent of ${record.Id}`, record['Account.Name'], texts.get(contacts.get(record.Id).AccountId).Name);
}
same('contacts with an account', parents.length > 0, true);
await refused('compound field', 'FEATURENOTENABLED', () => conn.bulk2.query('SELECT BillingAddress FROM Account'));
await refused('object without Bulk', 'INVALIDENTITY', () => conn.bulk2.query('SELECT Id FROM CaseStatus'));

// A job by hand: look, abort, delete.
await control('bulk-stuck', 'on');
const job = new QueryJobV2(conn, {
  bodyParams: { query: 'SELECT Id FROM Account', operation: 'query' }, pollingOptions: options,
});
same('state at creation', (await job.open()).state, 'UploadComplete');
same('state of a stuck job', (await job.check()).state, 'InProgress');
same('state after abort', (await job.abort()).state, 'Aborted');
await job.delete();
await refused('deleted job', 'NOT_FOUND', () => job.check());
await control('bulk-stuck', 'off');
await control('bulk-fail', ['message', 'narrow it']);
await assert.rejects(() => conn.bulk2.query('SELECT Id FROM Account', options), /failed to complete/);
looked += 1;
console.log(`jsforce: ${looked} comparisons, ${rows.size} accounts of ${wanted.length} fields, no mismatch`);
