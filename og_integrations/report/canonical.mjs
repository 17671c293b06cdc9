// The bytes that an enclave hashes (docs/protocol.md §4): what a gateway makes of a parsed request by each of the five
// known rules, and of an answer. Values are those of python_json.mjs.

import { dumpSorted, isEqual, isObject, isTrue, member, pythonText } from "./python_json.mjs";

export const CHAT = "/v1/chat/completions";
export const COMPLETION = "/v1/completions";
export const SEARCH = "/v1/web_search";
export const RULES = ["april", "reduced", "reduced+effort", "verbatim", "digest"]; // in the order of docs/protocol.md §4.4

/** What is thrown for a request or an answer of a form that no gateway hashes. */
export class FormError extends Error {}

const encoder = new TextEncoder();
const LONE = /[\ud800-\udfff]/u; // with the flag u: half of a character, and not a whole one

/** Return whether `text` holds half of a character, which no UTF-8 encodes. */
export const isBroken = (text) => LONE.test(text);

const has = (object, name) => isTrue(member(object, name));

/**
 * Return the bytes under the hash of a parsed request, sent to `path`, by one of RULES. Throws FormError.
 *
 * `digests` has the SHA-256 of attached data (`digestsOf`), which the rule `digest` needs. `newer` reads lists as a
 * Python does that knows more characters than this JavaScript.
 */
export function canonicalRequest(path, request, rule, digests, newer = false) {
  if (path === SEARCH) return encoder.encode(dumpSorted(request));
  if (!RULES.includes(rule)) throw new FormError("unknown hash rule");
  if (path === CHAT) return encoder.encode(dumpSorted(chat(request, { rule, digests, newer })));
  if (path === COMPLETION) return encoder.encode(dumpSorted(completion(request, rule)));
  throw new FormError("no request to this path is signed");
}

function chat(request, way) {
  const messages = member(request, "messages");
  if (!Array.isArray(messages)) throw new FormError("messages is no list");
  const rebuilt = new Map([
    ["model", modelOf(request)],
    ["messages", messages.map((message) => messageOf(message, way))],
    ["temperature", temperature(request, 0)],
  ]);
  if (member(request, "max_tokens") !== null) rebuilt.set("max_tokens", member(request, "max_tokens"));
  const tested = ["stop", "tools", "response_format", ...(way.rule === "reduced+effort" ? ["reasoning_effort"] : [])];
  for (const name of tested) if (has(request, name)) rebuilt.set(name, member(request, name));
  return withSearchFlag(rebuilt, request, way.rule);
}

function completion(request, rule) {
  const rebuilt = new Map([
    ["model", modelOf(request)],
    ["prompt", member(request, "prompt")],
    ["temperature", temperature(request, 1)],
  ]);
  const tokens = request.has("max_tokens") ? member(request, "max_tokens") : 16n;
  if (tokens !== null) rebuilt.set("max_tokens", tokens);
  if (has(request, "stop")) rebuilt.set("stop", member(request, "stop"));
  return withSearchFlag(rebuilt, request, rule);
}

function withSearchFlag(rebuilt, request, rule) {
  return rule !== "april" && has(request, "web_search") ? rebuilt.set("web_search", true) : rebuilt;
}

function modelOf(request) {
  if (typeof member(request, "model") !== "string") throw new FormError("model is no text");
  return member(request, "model");
}

function temperature(request, absent) {
  const value = request.has("temperature") ? member(request, "temperature") : absent;
  if (value === null) return 0;
  if (typeof value !== "number" && typeof value !== "bigint") throw new FormError("temperature is no number");
  const float = Number(value);
  if (typeof value === "bigint" && !Number.isFinite(float)) throw new FormError("temperature is too large");
  return float;
}

function messageOf(message, way) {
  if (!isObject(message)) throw new FormError("a message is no object");
  const role = member(message, "role");
  const content = member(message, "content");
  const kept = (...others) => new Map([["role", role], ["content", content], ...others]);
  if (role === "system") return kept();
  if (role === "user") return new Map([["role", role], ["content", userContent(content, way)]]);
  if (role === "assistant") return assistant(message);
  if (role === "tool") return kept(["tool_call_id", member(message, "tool_call_id")]);
  if (role === "function") return kept(["name", member(message, "name")]);
  throw new FormError("a message has a role that gateways do not know");
}

function assistant(message) {
  const content = member(message, "content");
  const rebuilt = new Map([["role", "assistant"], ["content", isTrue(content) ? content : ""]]);
  const calls = member(message, "tool_calls");
  if (!isTrue(calls)) return rebuilt;
  if (!Array.isArray(calls)) throw new FormError("tool_calls is no list");
  return rebuilt.set("tool_calls", calls.map((call) => {
    const made = isObject(call) ? call.get("function") : null;
    if (!isObject(made)) throw new FormError("a tool call has no function");
    return toolCall(member(call, "id"), member(call, "type"), member(made, "name"), member(made, "arguments"));
  }));
}

function toolCall(id, type, name, args) {
  return new Map([["id", id], ["type", type], ["function", new Map([["name", name], ["arguments", args]])]]);
}

function userContent(content, way) {
  if (typeof content === "string" || content === null || way.rule === "verbatim") return content;
  if (way.rule === "april") return pythonText(content, way.newer);
  if (!Array.isArray(content)) throw new FormError("a content is neither text nor a list of parts");
  return content.map((part) => reducedPart(part, way));
}

function reducedPart(part, way) {
  if (!isObject(part)) return new Map([["type", "text"], ["text", pythonText(part)]]);
  if (part.get("type") === "text") return new Map([["type", "text"], ["text", member(part, "text") ?? ""]]);
  const file = part.get("file");
  const inner = isObject(file) ? member(file, "filename") : null;
  const filename = isTrue(inner) ? inner : member(part, "filename");
  const reduced = new Map([["type", member(part, "type")]]);
  if (isTrue(filename)) reduced.set("filename", filename);
  const data = way.rule === "digest" ? dataOf(part) : null;
  if (data !== null) reduced.set("mime_type", data.type).set("sha256", way.digests.get(data.base64));
  return reduced;
}

function dataOf(part) {
  for (const place of [part.get("file"), part.get("image_url"), part]) {
    for (const name of ["file_data", "url"]) {
      const text = isObject(place) ? place.get(name) : null;
      if (typeof text !== "string" || /[^\x00-\x7f]/.test(text)) continue;
      const found = /^data:([^;,]*)(?:;[^;,]*)*;base64,/i.exec(text);
      if (found) return { type: found[1], base64: text.slice(found[0].length) };
    }
  }
  return null;
}

/** Return the SHA-256 (hex) of the base64 text of all data that is attached to a request. */
export async function digestsOf(request, sha256) {
  const found = new Map();
  for (const part of attachments(request)) {
    const data = dataOf(part);
    if (data !== null) found.set(data.base64, await sha256(encoder.encode(data.base64)));
  }
  return found;
}

function messagesOf(request) {
  const listed = request.get("messages");
  return Array.isArray(listed) ? listed.filter(isObject) : [];
}

function userContents(request) {
  const users = messagesOf(request).filter((message) => message.get("role") === "user");
  return users.map((message) => member(message, "content")).filter((content) => content !== null);
}

function attachments(request) {
  const parts = userContents(request).flatMap((content) => (Array.isArray(content) ? content : []));
  return parts.filter((part) => isObject(part) && part.get("type") !== "text");
}

/** Return the first of RULES that makes the same bytes of `request` as `rule`, by which receipts call it. */
export function plainestRule(path, request, rule, digests) {
  if (path === SEARCH || rule === "april") return "april";
  const effort = path === CHAT && rule === "reduced+effort" && has(request, "reasoning_effort");
  const contents = path === CHAT ? userContents(request).filter((content) => typeof content !== "string") : [];
  if (!effort && contents.length === 0 && !has(request, "web_search")) return "april";
  if (rule === "reduced+effort") return effort ? rule : "reduced";
  const same = (content) =>
    Array.isArray(content) &&
    isEqual(userContent(content, { rule: "reduced" }), userContent(content, { rule, digests }));
  return contents.every(same) ? "reduced" : rule;
}

/** Return what of `request` may matter to whoever reads the answer, and is not committed to by `rule`; sorted. */
export function unsignedMembers(path, request, rule) {
  if (path === SEARCH) return [];
  const found = ["aspect_ratio", "reasoning_effort", "resolution", "web_search"].filter(
    (name) =>
      has(request, name) &&
      !(name === "web_search" && rule !== "april") &&
      !(name === "reasoning_effort" && rule === "reduced+effort" && path === CHAT),
  );
  const count = member(request, "n");
  if (isTrue(count) && !isEqual(count, 1n)) found.push("n");
  const reduces = ["reduced", "reduced+effort", "digest"].includes(rule);
  const open = (part) => rule !== "digest" || dataOf(part) === null;
  if (reduces && attachments(request).some(open)) found.push("attachments");
  const named = (message) => has(message, "name") && message.get("role") !== "function";
  if (messagesOf(request).some(named)) found.push("messages[].name");
  return found.sort();
}

/** Return the bytes under the hash of an answer: its tool calls if it ended in them, else its text. Throws FormError. */
export function canonicalOutput(text, calls, finishReason) {
  if (finishReason === "tool_calls") {
    const listed = calls.map((call) => toolCall(call.id, "function", call.name, call.arguments));
    return encoder.encode(dumpSorted(listed));
  }
  if (isBroken(text)) throw new FormError("the answer holds half of a character");
  return encoder.encode(text);
}
