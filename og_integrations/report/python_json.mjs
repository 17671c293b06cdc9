// JSON as Python reads and writes it. Enclaves hash what Python's json.dumps(…, sort_keys=True) makes of a parsed
// request, and JavaScript's own JSON would change it: 1.0 would become 1, long numbers would be rounded, of two members
// of one name the last would win.
//
// A parsed value is: Map (object), Array, string, boolean, null, bigint (an int of Python), number (a float of Python).

const MAX_DEPTH = 200;
const MAX_DIGITS = 4300; // Python reads no longer int
const NUMBER = /(-?(?:0|[1-9][0-9]*))(\.[0-9]+)?([eE][-+]?[0-9]+)?/y;
const BLANKS = /[ \t\n\r]*/y;
const WORDS = [["true", true], ["false", false], ["null", null], ["NaN", NaN], ["Infinity", Infinity],
  ["-Infinity", -Infinity]];

/** Return whether a parsed value is an object. */
export const isObject = (value) => value instanceof Map;

/** Return a member of an object, null if it is not there. */
export const member = (object, name) => object.get(name) ?? null;

/** Return the value of one JSON text. Throws SyntaxError, also for a member named twice and for too deep a nesting. */
export function parseJson(text, maxDepth = MAX_DEPTH) {
  let at = 0;

  function refuse(what) {
    throw new SyntaxError(`${what} at character ${at}`);
  }

  function skipBlanks() {
    BLANKS.lastIndex = at;
    BLANKS.test(text);
    at = BLANKS.lastIndex;
  }

  function string() {
    let end = at;
    let escaped = false;
    for (;;) {
      end = text.indexOf('"', end + 1);
      if (end < 0) refuse("a text without an end");
      let slashes = 0;
      while (text.charCodeAt(end - 1 - slashes) === 92) slashes++;
      escaped ||= slashes > 0;
      if (slashes % 2 === 0) break;
    }
    const token = text.slice(at, end + 1);
    at = end + 1;
    // The reader of JavaScript knows the same escapes in a text, and refuses the same characters, as that of Python.
    return JSON.parse(token);
  }

  function number() {
    NUMBER.lastIndex = at;
    const found = NUMBER.exec(text);
    if (!found) refuse("no value");
    at = NUMBER.lastIndex;
    if (found[2] !== undefined || found[3] !== undefined) return Number(found[0]);
    if (found[1].length - (found[1][0] === "-") > MAX_DIGITS) refuse("a number of too many digits");
    return BigInt(found[1]);
  }

  function object(depth) {
    const members = new Map();
    at++;
    skipBlanks();
    if (text[at] === "}") return at++, members;
    for (;;) {
      if (text[at] !== '"') refuse("no name of a member");
      const name = string();
      skipBlanks();
      if (text[at] !== ":") refuse("no colon");
      at++;
      const item = value(depth);
      if (members.has(name)) refuse("a member is named twice");
      members.set(name, item);
      if (text[at] === "}") return at++, members;
      if (text[at] !== ",") refuse("no comma");
      at++;
      skipBlanks();
    }
  }

  function array(depth) {
    const items = [];
    at++;
    skipBlanks();
    if (text[at] === "]") return at++, items;
    for (;;) {
      items.push(value(depth));
      if (text[at] === "]") return at++, items;
      if (text[at] !== ",") refuse("no comma");
      at++;
    }
  }

  function value(depth) {
    skipBlanks();
    const first = text[at];
    let found;
    if (first === '"') found = string();
    else if (first === "{" || first === "[") {
      if (depth >= maxDepth) refuse("nested too deeply");
      found = first === "{" ? object(depth + 1) : array(depth + 1);
    } else {
      const word = WORDS.find(([spelled]) => text.startsWith(spelled, at));
      if (word) {
        at += word[0].length;
        found = word[1];
      } else found = number();
    }
    skipBlanks();
    return found;
  }

  const found = value(0);
  if (at !== text.length) refuse("more than one value");
  return found;
}

/** Return `value` as Python's json.dumps(value, sort_keys=True) writes it: ASCII. */
export function dumpSorted(value) {
  if (value === null || value === undefined) return "null";
  if (typeof value === "boolean" || typeof value === "bigint") return String(value);
  if (typeof value === "number") return Number.isFinite(value) ? floatText(value) : jsonConstant(value);
  if (typeof value === "string") return asciiText(value);
  if (Array.isArray(value)) return `[${value.map(dumpSorted).join(", ")}]`;
  const names = [...value.keys()].sort(byCodePoint);
  return `{${names.map((name) => `${asciiText(name)}: ${dumpSorted(value.get(name))}`).join(", ")}}`;
}

function jsonConstant(value) {
  return Number.isNaN(value) ? "NaN" : value > 0 ? "Infinity" : "-Infinity";
}

const SHORT = { '"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\f": "\\f", "\b": "\\b" };

function asciiText(text) {
  const escape = (c) => SHORT[c] ?? "\\u" + c.charCodeAt(0).toString(16).padStart(4, "0");
  return `"${text.replace(/["\\]|[^ -~]/g, escape)}"`;
}

/** Compare two texts as Python does, by code points; JavaScript puts what is beyond U+FFFF before U+E000. */
export function byCodePoint(one, other) {
  if (one === other) return 0;
  const [left, right] = [[...one], [...other]];
  for (let i = 0; i < Math.min(left.length, right.length); i++) {
    const difference = left[i].codePointAt(0) - right[i].codePointAt(0);
    if (difference) return difference;
  }
  return left.length - right.length;
}

/** Return a float as Python's repr writes it: 1.0, 1e-05, 1e+16. */
export function floatText(value) {
  if (!Number.isFinite(value)) return Number.isNaN(value) ? "nan" : value > 0 ? "inf" : "-inf";
  const sign = value < 0 || Object.is(value, -0) ? "-" : "";
  const [mantissa, power] = Math.abs(value).toExponential().split("e");
  const digits = mantissa.replace(".", "");
  const exponent = Number(power);
  if (exponent < -4 || exponent >= 16) {
    const shown = digits.length > 1 ? `${digits[0]}.${digits.slice(1)}` : digits;
    return `${sign}${shown}e${exponent < 0 ? "-" : "+"}${String(Math.abs(exponent)).padStart(2, "0")}`;
  }
  if (exponent < 0) return `${sign}0.${"0".repeat(-exponent - 1)}${digits}`;
  const whole = digits.slice(0, exponent + 1).padEnd(exponent + 1, "0");
  return `${sign}${whole}.${digits.slice(exponent + 1) || "0"}`;
}

/** Return `value` as Python's str writes it. `newer` leaves characters that nobody here knows as they are. */
export function pythonText(value, newer = false) {
  return typeof value === "string" ? value : pythonRepr(value, newer);
}

function pythonRepr(value, newer) {
  if (value === null || value === undefined) return "None";
  if (typeof value === "boolean") return value ? "True" : "False";
  if (typeof value === "bigint") return String(value);
  if (typeof value === "number") return floatText(value);
  if (typeof value === "string") return quoted(value, newer);
  if (Array.isArray(value)) return `[${value.map((item) => pythonRepr(item, newer)).join(", ")}]`;
  const members = [...value].map(([name, held]) => `${quoted(name, newer)}: ${pythonRepr(held, newer)}`);
  return `{${members.join(", ")}}`;
}

function quoted(text, newer) {
  const quote = text.includes("'") && !text.includes('"') ? '"' : "'";
  const unseen = newer ? /[\p{Cc}\p{Cf}\p{Cs}\p{Co}\p{Zl}\p{Zp}\p{Zs}]/u : /[\p{C}\p{Z}]/u;
  let shown = "";
  for (const c of text) {
    if (c === quote || c === "\\") shown += "\\" + c;
    else if (c >= " " && c <= "~") shown += c;
    else if (c === "\n") shown += "\\n";
    else if (c === "\r") shown += "\\r";
    else if (c === "\t") shown += "\\t";
    else shown += unseen.test(c) ? escaped(c.codePointAt(0)) : c;
  }
  return quote + shown + quote;
}

function escaped(code) {
  const digits = code.toString(16);
  if (code < 0x100) return "\\x" + digits.padStart(2, "0");
  return code < 0x10000 ? "\\u" + digits.padStart(4, "0") : "\\U" + digits.padStart(8, "0");
}

/** Return whether Python takes `value` for true. */
export function isTrue(value) {
  if (value === null || value === undefined || value === false || value === "") return false;
  if (value === 0n || value === 0) return false;
  return Array.isArray(value) ? value.length > 0 : !(value instanceof Map) || value.size > 0;
}

/** Return whether Python finds two values equal; it takes 1, 1.0 and true for one number. */
export function isEqual(one, other) {
  const number = (value) => (typeof value === "boolean" ? BigInt(value) : value);
  if (Array.isArray(one)) {
    return Array.isArray(other) && one.length === other.length && one.every((item, i) => isEqual(item, other[i]));
  }
  if (one instanceof Map) {
    if (!(other instanceof Map) || one.size !== other.size) return false;
    return [...one].every(([name, held]) => other.has(name) && isEqual(held, other.get(name)));
  }
  const numeric = (value) => ["bigint", "number", "boolean"].includes(typeof value);
  return numeric(one) && numeric(other) ? number(one) == number(other) : one === other;
}
