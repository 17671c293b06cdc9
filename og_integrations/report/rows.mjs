// The rows of a report, as they stand in its page: a line about all of them, and a line for each.

const RECOMPUTED = ["input", "proof", "shape", "enclave", "request-hash", "output-hash", "signature", "enclave-trusted",
  "nonce", "receipt", "payment-hash"];

/** Return what the data of a page holds: the first line, the others, and how to read them. */
export function readRows(data) {
  const [first, ...lines] = data.trim().split("\n");
  const head = JSON.parse(first);
  const joined = (pieces) => pieces.map((piece) => (typeof piece === "number" ? head.shared[piece] : piece)).join("");

  function rowAt(number) {
    const row = JSON.parse(lines[number]);
    return { ...row, number, text: row.document === null ? null : joined(row.document) };
  }

  /** Return who vouches for the enclave `id` of a row: those that vouched for it when the report was made. */
  function believed(id, row) {
    if (Object.hasOwn(head.believed, id)) return { result: "pass", detail: `when the report was made: ${head.believed[id]}` };
    if (row.status === "undecided") return { result: "skip", detail: "when the report was made, nobody could be asked" };
    return { result: "fail", detail: "nobody vouched for this enclave when the report was made" };
  }

  /** Return what to say if documents were taken out of the data, or put in; null if all are there. */
  function missingRows() {
    return lines.length === head.rows ? null : `The data holds ${lines.length} documents, and the report was made of ${head.rows}.`;
  }

  return { head, lines, joined, rowAt, believed, missingRows };
}

/** Return what a row is, by the checks made here and by the verdict in the report: neither alone makes it proven. */
export function stateOf(row, found) {
  if (found === null) return { state: "waiting", label: "not checked yet", says: "This page has not checked it yet." };
  const told = row.step ? `${row.status} (${row.step})` : row.status;
  if (found.status === "not checked") {
    const state = row.status === "failed" ? "failed" : row.status === "verified" ? "unchecked" : "open";
    const label = row.status === "verified" ? "not checked" : row.status;
    return { state, label, says: `This page did not check it: ${found.reason}. When the report was made: ${told}.` };
  }
  if (found.status === "failed") {
    const then = row.status === "verified" ? " It was verified when the report was made: it was altered since." : "";
    return { state: "failed", label: "failed", step: found.step, says: `This page's own checks fail at ${found.step}.${then}` };
  }
  if (found.status === "malformed") {
    const state = row.status === "malformed" ? "open" : "failed";
    return { state, label: "malformed", step: found.step, says: "This is no receipt with its exchange." };
  }
  if (row.status === "verified" && found.status === "verified") {
    return { state: "proven", label: "proven", says: "This page checked it just now: the enclave signed exactly this." };
  }
  const state = row.status === "failed" || row.status === "malformed" ? "failed" : "open";
  return { state, label: row.status === "verified" ? found.status : row.status, step: row.step ?? found.step,
    says: `What this page can check is right; when the report was made the verdict was ${told}.` };
}

/** Return whether the checks made here say of the row what the report says; null if they say nothing. */
export function agrees(row, found) {
  if (found.status === "not checked") return null;
  if (found.status !== "verified") return found.status === row.status;
  return row.status === "verified" || !RECOMPUTED.includes(row.step);
}

