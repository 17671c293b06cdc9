// An answer as it came, JSON or a stream of events, read into what the enclave signed of it (docs/protocol.md §4, §5).
// It is read strictly: what two readers could take for two things is refused.

import { COMPLETION, FormError, SEARCH, isBroken } from "./canonical.mjs";
import { isObject, isTrue, member, parseJson } from "./python_json.mjs";

const MAX_EVENTS = 250000;
const MAX_NOTES_AFTER = 8; // events with a name that may follow the signed one
const LONGEST_NOTE = 64 * 1024;
const MAX_NOTES = 1000; // citations that are kept
const SETTLEMENT = ["data_settlement_success", "data_settlement_error", "data_settlement_transaction_hash",
  "data_settlement_blob_id", "settlement_type", "settlement_job_id", "settlement_queue_nonce"];

/** What is thrown for an answer that cannot be read; `step` is the step of the verification that fails. */
export class AnswerError extends FormError {
  constructor(message, step = "shape") {
    super(message);
    this.step = step;
  }
}

/** Return a text with its halves of characters replaced, which no file can hold. */
export const storable = (text) => text.replace(/[\ud800-\udfff]/gu, "\ufffd");

/** Return the object that `text` holds. Throws AnswerError, naming `what`. */
export function objectIn(text, what) {
  let value;
  try {
    value = parseJson(text);
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    throw new AnswerError(`${what} is not JSON that names nothing twice`);
  }
  if (!isObject(value)) throw new AnswerError(`${what} is no object`);
  return value;
}

/** Return the answer in `body`, which came as `contentType` from the endpoint `path`. Throws AnswerError. */
export function readAnswer(path, contentType, body) {
  const kind = contentType.split(";")[0].trim().toLowerCase();
  if (kind === "text/event-stream") return assembled(eventsIn(body));
  if (kind !== "application/json") throw new AnswerError("the answer is neither JSON nor a stream of events");
  const reply = objectIn(body, "the answer");
  if (path === SEARCH) return searchAnswer(reply);
  const choice = onlyChoice(reply);
  const finishReason = member(choice, "finish_reason");
  if (path === COMPLETION) {
    const citations = member(reply, "citations");
    return built(reply, textOf(choice, "text"), [], { finishReason, citations });
  }
  const message = choice.get("message");
  if (!isObject(message)) throw new AnswerError("the answer has no message");
  return built(reply, textOf(message, "content"), toolCalls(member(message, "tool_calls")), {
    finishReason,
    images: member(message, "images"),
    citations: member(message, "citations"),
    reasoning: reasoningOf(message),
  });
}

function searchAnswer(reply) {
  const [content, query] = [reply.get("content"), reply.get("query")];
  if (typeof content !== "string" || typeof query !== "string") throw new AnswerError("the answer lacks its content");
  const named = new Map([...reply, ["model", ""]]);
  return built(named, content, [], { finishReason: "stop", citations: member(reply, "citations"), searches: [query] });
}

function onlyChoice(reply) {
  const choices = reply.get("choices");
  if (!Array.isArray(choices) || choices.length === 0) throw new AnswerError("the answer has no choices");
  if (choices.length !== 1) throw new AnswerError(`${choices.length} choices, expected one: only one is signed`);
  if (!isObject(choices[0])) throw new AnswerError("the answer's choice is no object");
  return choices[0];
}

function built(reply, text, calls, { finishReason, images = null, reasoning = "", citations, searches = [] }) {
  const model = reply.get("model");
  if (typeof finishReason !== "string" || typeof model !== "string") throw new AnswerError("no finish_reason or model");
  checkUsage(member(reply, "usage"));
  return {
    text,
    calls,
    finishReason: storable(finishReason),
    model: storable(model),
    proof: proofOf(reply),
    citations: citationsIn(citations),
    searches,
    usage: isObject(reply.get("usage")),
    id: typeof reply.get("id") === "string",
    created: typeof reply.get("created") === "bigint",
    images: listOf(images, "images").map((image) => textIn(image, "images")).length > 0,
    reasoning: reasoning !== "",
    cost: isCost(reply.get("opengradient")),
    moderation: isObject(reply.get("moderation")),
    settlement: SETTLEMENT.some((name) => reply.has(name)),
  };
}

function proofOf(reply) {
  const names = ["tee_request_hash", "tee_output_hash", "tee_signature", "tee_id"];
  const texts = names.map((name) => member(reply, name));
  const time = member(reply, "tee_timestamp");
  if (time === null && texts.every((text) => text === null)) return null;
  if (typeof time !== "bigint" || !texts.every((text) => typeof text === "string")) {
    throw new AnswerError("the proof is incomplete", "proof");
  }
  return { requestHash: texts[0], outputHash: texts[1], signature: texts[2], teeId: texts[3], time };
}

function checkUsage(usage) {
  if (!isObject(usage)) return;
  const counts = ["prompt_tokens", "completion_tokens", "total_tokens"].map((name) => usage.get(name));
  const counted = (count) => typeof count === "bigint" && count >= 0n && count < 2n ** 53n;
  if (!counts.every(counted)) throw new AnswerError("usage holds something else than token counts");
}

function isCost(value) {
  if (!isObject(value)) return false;
  const [opg, ...others] = ["cost_opg", "cost_usd", "opg_price_usd"].map((name) => value.get(name));
  const decimal = (text) => typeof text === "string" && /^[0-9]{1,40}(\.[0-9]{1,40})?$/.test(text);
  return typeof opg === "string" && /^[0-9]{1,40}$/.test(opg) && others.every(decimal);
}

function citationsIn(value) {
  const listed = Array.isArray(value) ? value.slice(0, MAX_NOTES) : [];
  return listed.filter((item) => isObject(item) && typeof item.get("url") === "string").map((item) => item.get("url"));
}

function textIn(value, name) {
  if (value !== null && value !== undefined && typeof value !== "string") throw new AnswerError(`${name} is no text`);
  return value ?? "";
}

const textOf = (object, name) => textIn(member(object, name), name);
const reasoningOf = (message) => (typeof message.get("reasoning_content") === "string" ? message.get("reasoning_content") : "");

function listOf(value, name) {
  if (value !== null && value !== undefined && !Array.isArray(value)) throw new AnswerError(`${name} is no list`);
  return value ?? [];
}

function toolCalls(value) {
  return listOf(value, "tool_calls").map((item) => {
    const made = isObject(item) ? item.get("function") : null;
    if (!isObject(made)) throw new AnswerError("a tool call has no function");
    const texts = [item.get("id"), made.get("name"), made.get("arguments")];
    if (!texts.every((text) => typeof text === "string")) throw new AnswerError("a tool call lacks id, name or arguments");
    return { id: texts[0], name: texts[1], arguments: texts[2] };
  });
}

/** Return the events of a stream as {name, data}. Lines end at a line feed and nowhere else. */
function eventsIn(body) {
  const events = [];
  let name = "";
  for (const line of body.split("\n")) {
    const field = line.startsWith("data:") ? "data" : line.startsWith("event:") ? "event" : null;
    if (field !== null && isBroken(line)) throw new AnswerError("the stream is not UTF-8");
    const held = field === null ? "" : line.slice(field.length + 1).replace(/^[ \r]+|[ \r]+$/g, "");
    if (field === "data") events.push({ name, data: held });
    else if (field === "event") name = [...held].slice(0, 100).join("");
    else if (line.replace(/^\r+|\r+$/g, "") === "") name = "";
  }
  return events;
}

function assembled(events) {
  const state = { text: [], reasoning: "", searches: [], calls: new Map(), count: 0, notes: 0, final: null, done: false };
  for (const event of events) feed(state, event);
  if (state.final === null || !state.done) throw new AnswerError("the stream was cut before its signed end", "proof");
  const [chunk, choice] = state.final;
  const order = ([index]) => (index === null ? -1n : index);
  const sorted = [...state.calls].sort((one, other) => Number(order(one) - order(other)));
  return built(chunk, state.text.join(""), sorted.map(([index, call]) => wholeCall(index, call)), {
    finishReason: member(choice, "finish_reason"),
    images: member(chunk, "images"),
    citations: member(chunk, "citations"),
    reasoning: state.reasoning,
    searches: state.searches,
  });
}

function feed(state, event) {
  if (event.data === "[DONE]") {
    if (state.final === null) throw new AnswerError("the stream says [DONE] without a signed event", "proof");
    state.done = true;
    return;
  }
  if (state.final !== null && !state.done && isNote(state, event)) return;
  if (state.final !== null) throw new AnswerError("the stream goes on after its signed event");
  const chunk = objectIn(event.data, "an event");
  if (chunk.has("error")) throw new AnswerError("the stream reports a failure", "proof");
  const choice = onlyChoice(chunk);
  const delta = choice.get("delta");
  if (!isObject(delta)) throw new AnswerError("an event has no delta");
  const text = textOf(delta, "content");
  const fragments = listOf(member(delta, "tool_calls"), "tool_calls").map(fragment);
  state.count += Math.max(1, fragments.length);
  if (state.count > MAX_EVENTS) throw new AnswerError("the stream has too many events");
  state.text.push(text);
  state.reasoning += reasoningOf(delta);
  for (const part of fragments) addFragment(state.calls, part);
  const search = chunk.get("web_search");
  if (isObject(search) && typeof search.get("query") === "string") state.searches.push(storable(search.get("query")));
  if (member(choice, "finish_reason") !== null) state.final = [chunk, choice];
}

function isNote(state, event) {
  if (event.name === "" || event.name === "message" || [...event.data].length > LONGEST_NOTE) return false;
  if (objectIn(event.data, "an event").has("choices")) return false;
  state.notes++;
  return state.notes <= MAX_NOTES_AFTER;
}

function fragment(item) {
  if (!isObject(item)) throw new AnswerError("a streamed tool call is no object");
  const given = member(item, "function");
  const made = isTrue(given) ? given : new Map();
  const index = member(item, "index");
  if (!isObject(made) || (index !== null && typeof index !== "bigint")) throw new AnswerError("a malformed tool call");
  const texts = [member(item, "id"), member(made, "name"), member(made, "arguments")];
  if (!texts.every((text) => text === null || typeof text === "string")) throw new AnswerError("a malformed tool call");
  return { index, id: texts[0], name: texts[1], arguments: texts[2] };
}

function addFragment(calls, part) {
  const call = calls.get(part.index) ?? { id: "", name: "", arguments: "" };
  call.id = part.id || call.id;
  call.name = part.name || call.name;
  call.arguments += part.arguments ?? "";
  calls.set(part.index, call);
}

function wholeCall(index, call) {
  // Without an index two calls run into one, and their arguments are two JSON texts in a row.
  if (index === null) objectIn(call.arguments || "{}", "a tool call without index");
  return call;
}
