// The page: it lists the receipts that stand in its data, and checks each of them here and now, in the reader's browser.
//
// Everything in the data is a stranger's text. It is only ever set as text, never as markup.

import { answerShown, canCheck, check } from "./checker.mjs";
import { agrees, readRows, stateOf } from "./rows.mjs";

const BLOCK = 50; // rows that are drawn, and taken away again, together
const AT_ONCE = 24; // documents that are checked before the page may do something else
const LONGEST = 40000; // characters of a text that are shown
const MOST_PRINTED = 1000;
const MARKS = { pass: "✓", fail: "✗", skip: "·" };
const FILTERS = [["all", "All"], ["proven", "Proven"], ["failed", "Failed"], ["open", "Open"], ["twice", "Handed in twice"]];

const byId = (id) => document.getElementById(id);
const { head, lines, rowAt, believed, joined, missingRows } = readRows(byId("data").textContent);
const results = new Array(lines.length).fill(null);
const drawn = new Map(); // the number of a row -> its element
let order = [];
let filter = "all";

async function checkRow(number) {
  const row = rowAt(number);
  const found = await checked(row);
  results[number] = { ...stateOf(row, found), found, agrees: agrees(row, found), search: searchText(row), twice: row.duplicate_of !== null };
  if (drawn.has(number)) paint(drawn.get(number), results[number]);
}

async function checked(row) {
  try {
    return await check(row.text, (id) => believed(id, row));
  } catch (error) {
    // One document that breaks the check must not keep it from the others.
    return { status: "not checked", step: null, checks: [], reason: `the check broke off (${error.message})` };
  }
}

const searchText = (row) => [row.name, row.model, row.kind, row.status, row.step].join(" ").toLowerCase();
const pause = () => new Promise((resume) => setTimeout(resume));

async function checkAll() {
  for (let from = 0; from < lines.length; from += AT_ONCE) {
    const numbers = lines.slice(from, from + AT_ONCE).map((_, i) => from + i);
    await Promise.all(numbers.map(checkRow));
    tell(`Checking in this browser: ${(from + numbers.length).toLocaleString("en")} of ${lines.length.toLocaleString("en")}.`);
    await pause();
  }
  conclude();
}

function tell(text, state = "waiting") {
  byId("check-text").textContent = text;
  byId("check").dataset.state = state;
}

function conclude() {
  const count = (test) => results.filter(test).length;
  const judged = count((one) => one.agrees !== null);
  const differ = count((one) => one.agrees === false);
  const missing = missingRows();
  const rest = lines.length - judged;
  const left = rest ? ` ${rest.toLocaleString("en")} it cannot check: models on chain, or documents without their texts.` : "";
  const number = judged.toLocaleString("en");
  if (!canCheck()) tell("Not checked: this browser offers no crypto.subtle here. Open the file from disk, or over https.", "unable");
  else if (missing !== null) tell(missing, "differs");
  else if (differ) tell(`This browser checked ${number} documents just now, and differs from the report on ${differ.toLocaleString("en")}: the data was altered since it was made.${left}`, "differs");
  else if (judged) {
    const sound = count((one) => one.state === "proven") === judged;
    tell(`This browser checked ${number} documents just now, and agrees with the report on every one.${left}`, sound ? "agrees" : "mixed");
  }
  else tell(`Not checked.${left}`, "unable");
  document.body.dataset.checked = String(judged);
  document.body.dataset.differ = String(differ);
  showFilters();
}

function element(name, className = "", text = "") {
  const made = document.createElement(name);
  if (className) made.className = className;
  if (text) made.textContent = visible(String(text));
  return made;
}

/** Return a stranger's text with what cannot be seen, or turns the direction of others, spelled out. */
function visible(text) {
  const spelled = (c) => `\\u{${c.codePointAt(0).toString(16)}}`;
  return text.replace(/[\p{Cc}\p{Cf}\p{Cs}\p{Co}\p{Cn}\p{Zl}\p{Zp}]/gu, (c) => ("\n\t".includes(c) ? c : spelled(c)));
}

const time = (seconds) => (seconds === null ? "" : new Date(seconds * 1000).toISOString().slice(0, 16).replace("T", " "));

function drawRow(number) {
  const row = rowAt(number);
  const details = element("details", "row");
  const summary = element("summary");
  const model = element("span", "model", row.kind === "onchain" ? `on chain · ${row.model}` : row.model || row.kind);
  const verdict = element("span", "verdict");
  verdict.append(element("span", "tag"), element("span", "step"));
  summary.append(verdict, element("time", "", time(row.when)), model, element("span", "name mono", row.name.slice(head.folder.length)));
  details.append(summary);
  details.dataset.number = String(number);
  details.addEventListener("toggle", () => {
    if (details.open && details.childElementCount === 1) openRow(details, number);
  });
  drawn.set(number, details);
  paint(details, results[number] ?? stateOf(row, null), row.duplicate_of !== null);
  return details;
}

const TAGS = { proven: "good", failed: "bad", open: "open" };

function paint(details, result, twice = result.twice) {
  details.dataset.state = result.state;
  const tag = details.querySelector(".tag");
  tag.className = `tag ${TAGS[result.state] ?? ""}`;
  tag.textContent = twice && result.state === "proven" ? "a copy" : result.label;
  details.querySelector(".step").textContent = result.step ?? "";
}

async function openRow(details, number) {
  if (results[number] === null) await checkRow(number);
  const row = rowAt(number);
  const result = results[number];
  const inside = element("div", "inside");
  inside.append(element("p", "said", result.says));
  if (row.duplicate_of !== null) inside.append(element("p", "dim", `The same call as ${row.duplicate_of}: counted once.`));
  const two = element("div", "two");
  two.append(checkList("Checked by this page, just now", result.found.checks, result.found.reason));
  two.append(checkList("By verify, when the report was made", JSON.parse(joined(row.checks))));
  inside.append(...said(row), two, ...texts(row), save(row));
  details.append(inside);
}

function checkList(title, checks, reason = "") {
  const box = element("div");
  const list = element("ul", "checks");
  for (const { id, result, detail } of checks) {
    const item = element("li", result);
    item.append(element("i", "", MARKS[result]), element("b", "", id), element("span", "", detail));
    list.append(item);
  }
  box.append(element("h3", "", title), list);
  if (reason) box.append(element("p", "dim", `Not checked: ${reason}.`));
  return box;
}

function documentOf(row) {
  return parsedObject(row.text ?? "");
}

function parsedObject(text) {
  try {
    const parsed = JSON.parse(text);
    return parsed !== null && typeof parsed === "object" ? parsed : {};
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    return {};
  }
}

const exchangeOf = (document) => document.exchange ?? document;

/** Return what was asked and answered, side by side, for a person to read. */
function said(row) {
  const exchange = exchangeOf(documentOf(row));
  if (typeof exchange.request !== "string" || typeof exchange.response !== "string") return [];
  const two = element("div", "two");
  for (const [title, text] of [["Asked", asked(exchange.request)], ["Answered", answerShown(exchange) ?? exchange.response]]) {
    const box = element("div");
    box.append(...block(title, text));
    two.append(box);
  }
  return [two];
}

function asked(request) {
  const { messages, prompt, query } = parsedObject(request);
  if (!Array.isArray(messages)) return String(prompt ?? query ?? request);
  const spoken = (content) => (typeof content === "string" ? content : JSON.stringify(content, null, 2));
  return messages.map((message) => `${message?.role}: ${spoken(message?.content)}`).join("\n\n");
}

/** Return the receipt, member by member, and what travelled, each behind a line to open. */
function texts(row) {
  const document = documentOf(row);
  const exchange = exchangeOf(document);
  const receipt = document.receipt ?? (document.status ? document : null);
  const parts = [];
  if (receipt !== null && typeof receipt === "object") parts.push(folded("The receipt, member by member", [members(receipt)]));
  if (typeof exchange.request === "string") parts.push(folded("The request, as it was sent", block("", pretty(exchange.request))));
  if (typeof exchange.response === "string") parts.push(folded("The answer, as it came", block("", pretty(exchange.response))));
  return parts.length ? parts : block("The document", row.text ?? "not UTF-8");
}

function folded(title, parts) {
  const details = element("details", "more");
  details.append(element("summary", "", title), ...parts);
  return details;
}

function block(title, text) {
  const shown = text.length > LONGEST ? `${text.slice(0, LONGEST)}\n… ${text.length - LONGEST} more characters: save the document` : text;
  return [...(title ? [element("h3", "", title)] : []), element("pre", "", shown)];
}

function pretty(text) {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    return text;
  }
}

function members(receipt) {
  const table = element("table", "members");
  const body = element("tbody");
  const add = (path, value) => {
    const line = element("tr");
    const text = typeof value === "string" ? value : JSON.stringify(value);
    line.append(element("td", "mono", path), element("td", "mono", text.slice(0, 2000)), element("td", "dim", Object.hasOwn(head.standing, path) ? head.standing[path] : "of its own"));
    body.append(line);
  };
  for (const [name, value] of Object.entries(receipt)) {
    if (name === "checks" || value === null) continue;
    if (typeof value === "object" && !Array.isArray(value)) {
      for (const [inner, held] of Object.entries(value)) if (held !== null) add(`${name}.${inner}`, held);
    } else add(name, value);
  }
  table.append(body);
  return table;
}

function save(row) {
  const button = element("button", "", "Save this document");
  button.type = "button";
  button.addEventListener("click", () => download(row.name.split(/[\\/]/).at(-1), row.text ?? ""));
  const line = element("p");
  line.append(button);
  return line;
}

function download(name, text) {
  const link = element("a");
  link.href = URL.createObjectURL(new Blob([text], { type: "application/json" }));
  link.download = name.endsWith(".json") || name.endsWith(".jsonl") ? name : `${name}.json`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

function saveAll() {
  // Line feeds of a document stand between its members only, so that it may be put on one line.
  const documents = lines.map((_, number) => (rowAt(number).text ?? "").replace(/\s*\n\s*/g, " "));
  download("receipts.jsonl", documents.join("\n") + "\n");
}

const shown = new IntersectionObserver(
  (entries) => entries.forEach(({ target, isIntersecting }) => (isIntersecting ? fill(target) : clear(target))),
  { rootMargin: "1200px 0px" },
);

function fill(part) {
  if (part.childElementCount) return;
  part.append(...part.numbers.map(drawRow));
}

function clear(part) {
  // What was opened stays, since its height is its own.
  if (!part.childElementCount || part.querySelector("details[open]")) return;
  part.style.minHeight = `${part.offsetHeight}px`;
  for (const number of part.numbers) drawn.delete(number);
  part.replaceChildren();
}

function list() {
  const words = byId("search").value.trim().toLowerCase().split(/\s+/).filter(Boolean);
  order = lines.map((_, number) => number).filter((number) => wanted(number, words));
  drawn.clear();
  shown.disconnect();
  const height = matchMedia("(max-width: 640px)").matches ? 65 : 47;
  const parts = [];
  for (let from = 0; from < order.length; from += BLOCK) {
    const part = element("div", "block");
    part.numbers = order.slice(from, from + BLOCK);
    part.style.minHeight = `${part.numbers.length * height}px`;
    parts.push(part);
  }
  byId("rows").replaceChildren(...parts);
  parts.forEach((part) => shown.observe(part));
  byId("none").hidden = order.length > 0;
}

function wanted(number, words) {
  if (filter === "all" && words.length === 0) return true;
  const result = results[number] ?? { state: "waiting", search: searchText(JSON.parse(lines[number])), twice: false };
  return isKind(filter, result) && words.every((word) => result.search.includes(word));
}

function showFilters() {
  const buttons = FILTERS.map(([name, label]) => {
    const count = results.filter((result) => isKind(name, result)).length;
    const button = element("button", "", `${label} ${count.toLocaleString("en")}`);
    button.type = "button";
    button.setAttribute("aria-pressed", String(name === filter));
    button.addEventListener("click", () => {
      filter = name;
      showFilters();
      list();
    });
    return button;
  });
  byId("filters").replaceChildren(...buttons);
}

function isKind(name, { state, twice }) {
  if (name === "all") return true;
  if (name === "twice") return twice && state === "proven";
  if (name === "open") return state !== "proven" && state !== "failed";
  return state === name && !(name === "proven" && twice);
}

/** Draw the rows for paper, where nobody scrolls. */
function drawForPaper() {
  for (const part of byId("rows").children) {
    if (part.numbers[0] !== undefined && order.indexOf(part.numbers[0]) < MOST_PRINTED) fill(part);
    part.style.minHeight = "0";
  }
}

byId("tools").hidden = false;
byId("search").addEventListener("input", list);
byId("save").addEventListener("click", saveAll);
addEventListener("beforeprint", drawForPaper);
list();
checkAll();
