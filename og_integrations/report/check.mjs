// The checker as a command, for Node: `node check.mjs < questions.jsonl` answers the questions of
// `og-integrations conformance` (docs/conformance.md), `node check.mjs report.html` checks a report again, with this
// copy of the checker instead of the one in the page.

import { readFileSync } from "node:fs";
import { webcrypto } from "node:crypto";

import { canonicalRequest, digestsOf, FormError } from "./canonical.mjs";
import { check } from "./checker.mjs";
import { noncePlace } from "./claims.mjs";
import { hex, keccak256 } from "./keccak.mjs";
import { parseJson } from "./python_json.mjs";
import { agrees, readRows, stateOf } from "./rows.mjs";

globalThis.crypto ??= webcrypto;

const BEFORE = ["proof", "shape", "enclave", "request-hash", "output-hash", "signature"];
const UNCLAIMED = { status: "unsupported", step: null };

async function answered(question) {
  if (question.kind === "verify" || question.kind === "receipt") return ofFile(question);
  if (question.kind === "hash") return ofHash(question);
  return question.kind === "nonce" && question.task === "find" ? ofNonce(question) : UNCLAIMED;
}

async function ofFile({ file, trust }) {
  if (trust?.measurements !== undefined) return UNCLAIMED; // attestation documents are not judged here
  const word = (id) => {
    if (trust?.file_key === true) return { result: "pass", detail: "the key in the file is believed" };
    const listed = (trust?.tee_ids ?? []).some((one) => "0x" + one.toLowerCase().replace(/^0x/, "") === id);
    return { result: listed ? "pass" : "fail", detail: listed ? "one of the ids that were given" : "nobody vouches" };
  };
  const { status, step, unjudged } = await check(file, word);
  // What fails before the parts that are not judged here fails whatever they are.
  const open = unjudged.length > 0 && !BEFORE.includes(step);
  return status === "not checked" || open ? UNCLAIMED : { status, step };
}

async function ofHash({ path, request, rule }) {
  const sha256 = async (bytes) => hex(new Uint8Array(await crypto.subtle.digest("SHA-256", bytes)));
  const parsed = parseJson(request);
  const digests = await digestsOf(parsed, sha256);
  return { status: "verified", step: null, found: { hash: hex(keccak256(canonicalRequest(path, parsed, rule, digests))) } };
}

function ofNonce({ path, request, nonce }) {
  const place = noncePlace(path, parseJson(JSON.stringify(request)), nonce);
  return place === null ? { status: "failed", step: "place" } : { status: "verified", step: null, found: { place } };
}

async function answerAll() {
  for (const line of readFileSync(0, "utf8").split("\n").filter((text) => text.trim())) {
    const question = JSON.parse(line);
    const { status, step, found = {} } = await answered(question);
    const code = status === "verified" || status === "unsupported" ? null : `${question.kind}.${step ?? "open"}`;
    console.log(JSON.stringify({ id: question.id, status, step, code, found }));
  }
}

/** Check a report again, print a line for each document, and return the exit code: 1 if one failed or was altered. */
async function checkReport(file) {
  const found = /<script id="data" type="application\/json">([^]*?)<\/script>/.exec(readFileSync(file, "utf8"));
  if (found === null) throw new Error(`${file} is no report: it holds no data`);
  const { lines, rowAt, believed, missingRows } = readRows(found[1]);
  const counts = {};
  for (let number = 0; number < lines.length; number++) {
    const row = rowAt(number);
    const verdict = await check(row.text, (id) => believed(id, row));
    const { state, step = null } = stateOf(row, verdict);
    counts[state] = (counts[state] ?? 0) + 1;
    console.log(JSON.stringify({ name: row.name, state, step, reported: row.status, agrees: agrees(row, verdict) }));
  }
  console.error(Object.entries(counts).map(([state, count]) => `${count} ${state}`).join(", "));
  if (missingRows() !== null) console.error(missingRows());
  return counts.failed || missingRows() !== null ? 1 : counts.proven === lines.length ? 0 : 2;
}

if (process.argv.length > 2) process.exitCode = await checkReport(process.argv[2]);
else await answerAll();
