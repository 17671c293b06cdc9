// What a saved receipt and its nonce claim, compared with the exchange beside them; and the hash of the payment, which
// is recomputed from its fields (docs/protocol.md §3.2). A stranger may have written any member in any form.

import { CHAT, COMPLETION, SEARCH, unsignedMembers } from "./canonical.mjs";
import { hex, keccak256, unhex } from "./keccak.mjs";
import { byCodePoint, isObject, isTrue, member } from "./python_json.mjs";

const KINDS = { [CHAT]: "chat", [COMPLETION]: "completion", [SEARCH]: "search" };
const EARLIER_RULES = new Map([["2026-04", "april"], ["next", "reduced"]]);
const NAMED_LATER = ["citations", "moderation", "opengradient", "searches"]; // older receipts do not name these
const SOURCES = ["eip712", "x-processing-hash", "PAYMENT-RESPONSE"];
const PERMIT2 = "0x000000000022D473030F116dDEE9F6B43aC78BA3";
const encoder = new TextEncoder();

/** Return the receipt of a file with the names of today, and whether it had others. */
export function upgraded(receipt) {
  const older = receipt.has("hashing") && !receipt.has("hash_rule");
  if (!older) return { receipt, older };
  const hashing = receipt.get("hashing");
  return { receipt: new Map([...receipt, ["hash_rule", EARLIER_RULES.get(hashing) ?? hashing]]), older };
}

/**
 * Return whether the receipt speaks about this very exchange. `proven` is {request, rule} where every step before has
 * passed; without it, less can be compared.
 */
export function receiptCheck(given, saved, answer, proven) {
  const said = (result, detail) => ({ id: "receipt", result, detail });
  if (answer === null || answer.proof === null) return said("skip", "the exchange holds no proof to compare with");
  const { receipt, older } = upgraded(given);
  if (receipt.get("status") !== "verified") return said("fail", "the receipt itself says that it was not verified");
  const named = receipt.get("unsigned");
  const unsigned = (Array.isArray(named) ? named : []).filter((name) => typeof name === "string");
  const expected = {
    version: 1n,
    kind: KINDS[saved.path],
    hash_rule: proven?.rule,
    model: answer.model || undefined,
    request_hash: answer.proof.requestHash,
    output_hash: answer.proof.outputHash,
    tee_timestamp: answer.proof.time,
    tee_signature: answer.proof.signature,
    tee_id: answer.proof.teeId,
  };
  const wrong = Object.keys(expected).filter((name) => !agrees(name, member(receipt, name), expected[name]));
  const enclave = receipt.get("enclave");
  const key = isObject(enclave) ? enclave.get("public_key") : null;
  if (key !== hex(saved.key.der)) wrong.push("enclave.public_key");
  if (proven !== null) {
    const open = unsignedParts(answer, saved.path, proven, receipt, older, unsigned);
    const same = Array.isArray(named) && named.length === open.length && open.every((name, i) => named[i] === name);
    if (open.length > 0 && !same) wrong.push("unsigned");
  }
  if (wrong.length > 0) return said("fail", `the receipt is about another exchange, or altered: ${wrong.join(", ")} differ`);
  return said("pass", "its hashes, signature, time, key and model are those of the exchange");
}

function agrees(name, claimed, found) {
  if (found === undefined || (name === "kind" && claimed === null)) return true;
  const bare = name === "model" && typeof claimed === "string" && claimed.trim() !== "";
  return (bare ? claimed.split("/").at(-1) : claimed) === found;
}

function unsignedParts(answer, path, { request, rule }, receipt, older, claimed) {
  const search = path === SEARCH;
  const present = {
    citations: answer.citations.length > 0,
    content: answer.calls.length > 0 && answer.text !== "",
    created: answer.created,
    finish_reason: !search,
    id: answer.id,
    images: answer.images,
    model: !search,
    moderation: answer.moderation,
    opengradient: answer.cost,
    reasoning_content: answer.reasoning,
    searches: answer.searches.length > 0,
    settlement: tellsSettlement(receipt) || answer.settlement,
    usage: answer.usage,
  };
  // Older receipts named attachments, and nothing else of the request.
  const asked = unsignedMembers(path, request, rule).filter((name) => !older || name === "attachments");
  const names = [...asked, ...Object.keys(present).filter((name) => present[name])].sort(byCodePoint);
  return names.filter((name) => !NAMED_LATER.includes(name) || claimed.includes(name));
}

const TEXTS = ["payment_hash", "payment_hash_source", "scheme", "network", "asset", "payer", "pay_to", "facilitator",
  "spender", "max_amount", "nonce", "session_ref", "settlement_mode", "transaction_hash", "blob_id", "charged_amount"];

/** Return the payment of a receipt if it can be read, null if it has none, undefined if it is of another form. */
export function paymentOf(receipt) {
  const payment = member(receipt, "payment");
  if (payment === null) return null;
  if (!isObject(payment)) return undefined;
  const text = (name) => member(payment, name) === null || typeof payment.get(name) === "string";
  const time = (name) => member(payment, name) === null || typeof payment.get(name) === "bigint";
  return TEXTS.every(text) && time("valid_after") && time("deadline") ? payment : undefined;
}

function tellsSettlement(receipt) {
  const payment = paymentOf(receipt);
  if (!payment) return false;
  const told = ["transaction_hash", "blob_id", "charged_amount"].some((name) => isTrue(member(payment, name)));
  return told || ![null, "eip712"].includes(member(payment, "payment_hash_source"));
}

/** Return whether the payment's hash is the EIP-712 digest of the fields beside it. */
export function paymentCheck(given) {
  const said = (result, detail) => ({ id: "payment-hash", result, detail });
  const payment = paymentOf(given);
  if (payment === undefined) return said("fail", "a member of the payment is of another form");
  if (payment === null) return said("skip", "the receipt names no payment");
  const source = member(payment, "payment_hash_source");
  if (!SOURCES.includes(source)) return said("fail", `payment_hash_source is none of ${SOURCES.join(", ")}`);
  if (source !== "eip712") return said("skip", "the gateway's own hash, which nobody can recompute");
  const digest = digestOf(payment);
  if (digest === null) return said("fail", "the payment is no Permit2 authorization");
  if (payment.get("scheme") !== "upto") return said("fail", "the payment's scheme is not upto");
  if (payment.get("payment_hash") !== digest) {
    return said("fail", `the payment's fields hash to ${digest}, not to its payment_hash`);
  }
  return said("pass", "EIP-712 digest of the payment's fields, among which the payer is not");
}

const digests = new Map(); // the calls of a session have one payment
const SIGNED = ["network", "asset", "payer", "max_amount", "spender", "nonce", "deadline", "pay_to", "facilitator",
  "valid_after"];

function digestOf(payment) {
  const values = SIGNED.map((name) => member(payment, name));
  const key = JSON.stringify(values.map((value) => `${typeof value} ${value}`));
  if (!digests.has(key)) digests.set(key, computedDigest(...values));
  return digests.get(key);
}

function computedDigest(network, asset, payer, amount, spender, nonce, deadline, payTo, facilitator, validAfter) {
  const chain = /^eip155:([1-9][0-9]{0,17})$/.exec(network ?? "");
  const addresses = [asset, payer, spender, payTo, facilitator];
  const numbers = [amount, nonce].map((text) => (/^(0|[1-9][0-9]{0,77})$/.test(text ?? "") ? BigInt(text) : -1n));
  const times = [deadline, validAfter];
  if (chain === null || !addresses.every((text) => /^0x[0-9a-fA-F]{40}$/.test(text ?? ""))) return null;
  if (!numbers.every((value) => value >= 0n && value < 2n ** 256n)) return null;
  if (!times.every((value) => typeof value === "bigint" && value >= 0n && value < 2n ** 63n)) return null;
  const domain = struct("EIP712Domain(string name,uint256 chainId,address verifyingContract)", [
    keccak256(encoder.encode("Permit2")), uint(BigInt(chain[1])), address(PERMIT2),
  ]);
  const tokens = "TokenPermissions(address token,uint256 amount)";
  const witness = "Witness(address to,address facilitator,uint256 validAfter)";
  const permit =
    "PermitWitnessTransferFrom(TokenPermissions permitted,address spender,uint256 nonce,uint256 deadline,Witness witness)";
  const message = struct(permit + tokens + witness, [
    struct(tokens, [address(asset), uint(numbers[0])]), address(spender), uint(numbers[1]), uint(deadline),
    struct(witness, [address(payTo), address(facilitator), uint(validAfter)]),
  ]);
  return "0x" + hex(keccak256(joined([Uint8Array.of(0x19, 0x01), domain, message])));
}

const uint = (value) => unhex(value.toString(16).padStart(64, "0"));
const address = (text) => unhex(text.slice(2).padStart(64, "0"));
const struct = (type, words) => keccak256(joined([keccak256(encoder.encode(type)), ...words]));

function joined(parts) {
  const all = new Uint8Array(parts.reduce((length, part) => length + part.length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}

/** Return whether the request carries the nonce of an evidence file where that says, and where it is hashed. */
export function nonceCheck(saved, request) {
  const said = (result, detail) => ({ id: "nonce", result, detail });
  const part = saved.evidence.get("nonce");
  const value = isObject(part) ? part.get("value") : null;
  if (typeof value !== "string") return said("fail", "the nonce of the file is no text");
  const named = saved.receipt === null ? null : member(saved.receipt, "nonce");
  if (named !== null && named !== value) return said("fail", "the receipt names another nonce than the file");
  const place = request === null ? null : noncePlace(saved.path, request, value);
  if (place === null || place !== part.get("place")) {
    return said("fail", "the request does not carry it where the file says, and where it is hashed");
  }
  return said("pass", `the request carries it in ${place}: what was signed answers this request alone`);
}

/** Return the member of a request in which exactly `nonce` is hashed and handed to no model, null if it is in none. */
export function noncePlace(path, request, nonce) {
  if (!/^[0-9a-f]{32}$/.test(nonce)) return null;
  if (path === SEARCH) return request.get("og_nonce") === nonce ? "og_nonce" : null;
  if (path !== CHAT && path !== COMPLETION) return null;
  const form = path === CHAT ? request.get("response_format") : null;
  if (isObject(form) && form.get("type") === "text" && form.get("og_nonce") === nonce) return "response_format";
  const stop = request.get("stop");
  return (Array.isArray(stop) ? stop : [stop]).includes("og-nonce:" + nonce) ? "stop" : null;
}
