// A second implementation of `og-integrations verify`, which shares no line with the first: it judges a saved receipt
// and its exchange where its reader is, in a browser or in Node, with WebCrypto and nothing else.
//
// It judges the steps proof, shape, enclave, request-hash, output-hash, signature, receipt, payment-hash and nonce.
// Which enclaves to believe is told to it; attestation documents, sealed keys, batches and the chain it does not judge.

import { AnswerError, objectIn, readAnswer, storable } from "./answer.mjs";
import {
  FormError, RULES, SEARCH, canonicalOutput, canonicalRequest, digestsOf, isBroken, plainestRule,
} from "./canonical.mjs";
import { nonceCheck, paymentCheck, receiptCheck } from "./claims.mjs";
import { hex, keccak256, unhex } from "./keccak.mjs";
import { isObject, isTrue, member, parseJson, pythonText } from "./python_json.mjs";

const EVIDENCE = "og-evidence/1";
const MEMBERS = ["path", "request", "content_type", "response", "tee_id", "public_key_pem"];
const UNJUDGED = ["attestation", "hpke", "inclusion"]; // parts of evidence that are judged elsewhere
const STEPS = ["proof", "shape", "enclave", "request-hash", "output-hash", "signature", "enclave-trusted"];
const HASH = /^[0-9a-f]{64}$/;
const PSS = { name: "RSA-PSS", saltLength: 32 };

/** What is thrown where a step fails. */
class StepError extends Error {
  constructor(step, message) {
    super(message);
    this.step = step;
  }
}

/** What is thrown for a text that is no receipt with its exchange. */
class MalformedError extends Error {}

/** Return whether this place has what checking needs: a page over plain http has not. */
export const canCheck = () => globalThis.crypto?.subtle !== undefined;

/**
 * Return the verdict on the exact text of a saved file: {status, step, checks, unjudged}.
 *
 * `status` is verified, failed, undecided, malformed, or "not checked" with a `reason` where nothing could be judged.
 * `unjudged` names the parts of evidence that are in the file and are not judged here. `believed` says of an enclave's id whether somebody vouches for it: {result: "pass" | "fail", detail}.
 */
export async function check(text, believed) {
  if (!canCheck()) return unchecked("this place has no crypto.subtle");
  let saved;
  try {
    saved = read(text);
    if (saved.onchain) return unchecked("only a node of the chain can confirm a model on chain", "transaction");
    saved.key = await importedKey(saved.pem);
  } catch (error) {
    if (!(error instanceof MalformedError || error instanceof FormError)) throw error;
    return verdict("malformed", "input", [{ id: "input", result: "fail", detail: error.message }]);
  }
  if (saved.redacted) return unchecked("request and answer are not in the file", "request-hash");
  return judged(saved, believed);
}

function verdict(status, step, checks, facts = {}) {
  return { status, step, checks, unjudged: [], ...facts };
}

function unchecked(reason, step = null) {
  return { ...verdict("not checked", step, []), reason };
}

function read(text) {
  if (text === null) throw new MalformedError("not UTF-8");
  const document = objectIn(text, "the file");
  const inner = document.has("receipt") ? document.get("receipt") : document;
  if (isObject(inner) && inner.get("kind") === "onchain") return { onchain: true };
  const evidence = document.has("format") ? document : null;
  if (evidence !== null && evidence.get("format") !== EVIDENCE) throw new MalformedError("an unknown format");
  let exchange = document;
  let receipt = null;
  if (evidence !== null || document.has("receipt") || document.has("exchange")) {
    if (evidence === null || member(document, "receipt") !== null) receipt = required(document, "receipt");
    exchange = required(document, "exchange");
    if (exchange.has("request_sha256")) throw new MalformedError("only hashes of the exchange were kept");
  }
  const redacted = evidence !== null && !exchange.has("request") && !exchange.has("response");
  const saved = { receipt, evidence, redacted };
  for (const name of MEMBERS) {
    if (redacted && (name === "request" || name === "response")) continue;
    if (typeof exchange.get(name) !== "string") throw new MalformedError(`${name} is no text`);
    saved[name] = exchange.get(name);
  }
  if (!redacted && isBroken(saved.request)) throw new MalformedError("request holds half of a character");
  return { ...saved, pem: saved.public_key_pem };
}

function required(document, name) {
  if (!isObject(document.get(name))) throw new MalformedError(`${name} is no object`);
  return document.get(name);
}

const keys = new Map(); // ten thousand files of one enclave hold one key

async function importedKey(pem) {
  if (!keys.has(pem)) keys.set(pem, await loadKey(pem));
  const found = keys.get(pem);
  if (found === null) throw new MalformedError("public_key_pem is no RSA key of 2048 to 4096 bits");
  return found;
}

async function loadKey(pem) {
  const found = /-----BEGIN PUBLIC KEY-----([A-Za-z0-9+\/=\s]+)-----END PUBLIC KEY-----/.exec(pem);
  if (!found) return null;
  try {
    const given = bytesOf(atob(found[1].replace(/\s/g, "")));
    const key = await crypto.subtle.importKey("spki", given, { name: "RSA-PSS", hash: "SHA-256" }, true, ["verify"]);
    const { modulusLength, publicExponent } = key.algorithm;
    const exponent = publicExponent.reduce((sum, byte) => sum * 256 + byte, 0);
    if (modulusLength < 2048 || modulusLength > 4096 || exponent < 3 || exponent % 2 === 0) return null;
    // The id is made of the key's one encoding, whatever encoding the file has.
    const der = new Uint8Array(await crypto.subtle.exportKey("spki", key));
    return { key, der, id: "0x" + hex(keccak256(der)) };
  } catch (error) {
    if (error instanceof DOMException) return null;
    throw error;
  }
}

const bytesOf = (binary) => Uint8Array.from(binary, (c) => c.charCodeAt(0));
const normalized = (id) => (id.toLowerCase().startsWith("0x") ? id.toLowerCase() : "0x" + id.toLowerCase());

async function sha256(bytes) {
  return hex(new Uint8Array(await crypto.subtle.digest("SHA-256", bytes)));
}

async function judged(saved, believed) {
  const checks = [];
  const pass = (id, detail) => checks.push({ id, result: "pass", detail });
  let answer = null;
  const request = requestIn(saved);
  let proven = null;
  let undecided = false;
  try {
    answer = readAnswer(saved.path, saved.content_type, saved.response);
    if (request === null) throw new StepError("request-hash", "the request is not JSON that names nothing twice");
    if (answer.proof === null) throw new StepError("proof", "the answer carries no tee_signature");
    pass("proof", "signature, hashes, time and id are there");
    const signature = checkShape(saved, answer, request);
    pass("shape", "one choice, the requested model, text or tool calls, strict encodings");
    checkEnclave(saved, answer.proof);
    pass("enclave", saved.key.id);
    const digests = await digestsOf(request, sha256);
    const rule = matchingRule(saved.path, request, answer.proof.requestHash, digests);
    pass("request-hash", `keccak256 of the request by the rule ${rule}`);
    checkOutput(answer, request);
    pass("output-hash", `keccak256 of the ${answer.calls.length ? "tool calls" : "text"}`);
    await checkSignature(saved.key.key, answer.proof, signature);
    pass("signature", "RSA-PSS over keccak256(request ‖ output ‖ time)");
    const word = believed(saved.key.id);
    checks.push({ id: "enclave-trusted", ...word });
    undecided = word.result === "skip";
    if (word.result === "pass") proven = { request, rule };
  } catch (error) {
    if (!(error instanceof AnswerError || error instanceof StepError)) throw error;
    for (const id of STEPS.slice(checks.length, STEPS.indexOf(error.step))) {
      checks.push({ id, result: "skip", detail: `not reached: ${error.step} failed` });
    }
    checks.push({ id: error.step, result: "fail", detail: error.message });
  }
  const left = UNJUDGED.filter((part) => saved.evidence !== null && member(saved.evidence, part) !== null);
  checks.push(...left.map((id) => ({ id, result: "skip", detail: "in the file, and not judged here" })));
  if (saved.evidence !== null && member(saved.evidence, "nonce") !== null) checks.push(nonceCheck(saved, request));
  if (saved.receipt !== null) checks.push(receiptCheck(saved.receipt, saved, answer, proven), paymentCheck(saved.receipt));
  const failed = checks.find((one) => one.result === "fail");
  const facts = { unjudged: left };
  if (failed !== undefined) return verdict("failed", failed.id, checks, facts);
  if (undecided) return verdict("undecided", "enclave-trusted", checks, facts);
  if (saved.evidence !== null && saved.receipt === null) return verdict("undecided", "receipt", checks, facts);
  return verdict("verified", null, checks, facts);
}

/** Return what an exchange (plain JSON) answers, for a person to read: the signed text or calls; null if unreadable. */
export function answerShown(exchange) {
  try {
    const answer = readAnswer(String(exchange.path), String(exchange.content_type), exchange.response);
    const calls = answer.calls.map((call) => `${call.name}(${call.arguments})`);
    return answer.finishReason === "tool_calls" ? calls.join("\n") : answer.text;
  } catch (error) {
    if (!(error instanceof AnswerError)) throw error;
    return null;
  }
}

/** Return the request of a file, null if it is not JSON that means one thing only. */
function requestIn(saved) {
  try {
    return objectIn(saved.request, "the request");
  } catch (error) {
    if (!(error instanceof AnswerError)) throw error;
    return null;
  }
}

function checkShape(saved, answer, request) {
  const refuse = (message) => {
    throw new StepError("shape", message);
  };
  const { proof } = answer;
  if (saved.path === SEARCH) {
    const query = trimmed(pythonText(member(request, "query")));
    if (answer.searches.length !== 1 || answer.searches[0] !== query) refuse("the answer is to another query");
    if (!answer.citations.every((url) => answer.text.includes(storable(url)))) refuse("a citation is not in the text");
  } else if (answer.model !== member(request, "model")) refuse("the answer is from another model than was asked");
  if (answer.calls.length > 0 !== (answer.finishReason === "tool_calls")) {
    refuse("finish_reason does not say whether text or tool calls are signed");
  }
  if (!HASH.test(proof.requestHash) || !HASH.test(proof.outputHash)) refuse("a hash is not 64 lower-case hex digits");
  if (proof.time < 0n || proof.time >= 2n ** 53n) refuse("tee_timestamp is no time");
  let signature = null;
  try {
    signature = bytesOf(atob(/^[A-Za-z0-9+/=]*$/.test(proof.signature) ? proof.signature : "*"));
  } catch (error) {
    if (!(error instanceof DOMException)) throw error;
    refuse("tee_signature is not base64");
  }
  const spelled = btoa(Array.from(signature, (byte) => String.fromCharCode(byte)).join(""));
  if (![256, 512].includes(signature.length) || spelled !== proof.signature) refuse("tee_signature is not canonical");
  return signature;
}

const BLANK = "[\\t-\\r\\x1c-\\x20\\x85\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000]"; // of Python
const trimmed = (text) => text.replace(new RegExp(`^${BLANK}+|${BLANK}+$`, "g"), "");
const squeezed = (text) => text.replace(new RegExp(`${BLANK}|\\\\`, "g"), "");

function checkEnclave(saved, proof) {
  const named = normalized(saved.tee_id);
  if (saved.key.id !== named) throw new StepError("enclave", `the key's id is ${saved.key.id}, the file names another`);
  if (normalized(proof.teeId) !== named) throw new StepError("enclave", "the answer names another enclave");
}

function matchingRule(path, request, expected, digests) {
  const readings = [...RULES.map((rule) => [rule, false]), ["april", true]];
  let refused = null;
  let first = null;
  for (const [rule, newer] of readings) {
    let text;
    try {
      text = canonicalRequest(path, request, rule, digests, newer);
    } catch (error) {
      if (!(error instanceof FormError)) throw error;
      refused = error.message;
      continue;
    }
    const got = hex(keccak256(text));
    first ??= got;
    if (got === expected) return plainestRule(path, request, rule, digests);
  }
  if (first === null) throw new StepError("request-hash", `the request has no hash: ${refused}`);
  throw new StepError("request-hash", `the enclave signed another request: hash ${expected}, expected ${first}`);
}

function checkOutput(answer, request) {
  let got;
  try {
    got = hex(keccak256(canonicalOutput(answer.text, answer.calls, answer.finishReason)));
  } catch (error) {
    if (!(error instanceof FormError)) throw error;
    throw new StepError("output-hash", error.message);
  }
  if (got !== answer.proof.outputHash) {
    throw new StepError("output-hash", `the enclave signed another answer: hash ${answer.proof.outputHash}, expected ${got}`);
  }
  // A tool call and a text that spells it have one hash, and what tells them apart is not signed.
  if (answer.calls.length === 0 && isTrue(member(request, "tools")) && spellsCalls(answer.text)) {
    throw new StepError("output-hash", "the text spells a tool call, and tools were sent");
  }
  const said = textsOf(request).map(squeezed);
  const spells = (text, call) =>
    call.id !== "" && [call.id, call.name, call.arguments].every((part) => text.includes(squeezed(part)));
  if (answer.calls.some((call) => said.some((text) => spells(text, call)))) {
    throw new StepError("output-hash", "the request holds this very tool call as a text");
  }
}

function spellsCalls(text) {
  if (!text.startsWith('[{"function": {"arguments": ') || !text.endsWith('"type": "function"}]')) return false;
  try {
    const calls = parseJson(text, 900).map((call) => {
      const made = call.get("function");
      return { id: member(call, "id"), name: member(made, "name"), arguments: member(made, "arguments") };
    });
    return new TextDecoder().decode(canonicalOutput("", calls, "tool_calls")) === text;
  } catch (error) {
    if (error instanceof SyntaxError || error instanceof TypeError || error instanceof FormError) return false;
    throw error;
  }
}

function textsOf(request) {
  const listed = member(request, "messages");
  const contents = (Array.isArray(listed) ? listed : []).map((one) => (isObject(one) ? member(one, "content") : null));
  const parts = contents.flatMap((content) => (Array.isArray(content) ? content : [content]));
  return parts.map((part) => (isObject(part) ? part.get("text") : part)).filter((text) => typeof text === "string");
}

async function checkSignature(key, proof, signature) {
  const bytes = new Uint8Array(96);
  bytes.set(unhex(proof.requestHash), 0);
  bytes.set(unhex(proof.outputHash), 32);
  bytes.set(unhex(proof.time.toString(16).padStart(64, "0")), 64);
  if (!(await crypto.subtle.verify(PSS, key, signature, keccak256(bytes)))) {
    throw new StepError("signature", "the signature is not by the key in the file");
  }
}
