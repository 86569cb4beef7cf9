// The one way to the hub: questions by POST, and what changes as server-sent events, which `fetch` reads because it can
// send the key in a header (EventSource cannot).

const ENDPOINT = "/graphql";
const ANSWERED_WITHIN_MS = 15_000;
const SILENT_MS = 45_000; // the hub says something at least every 12 seconds

// The hub answered, and not with what was asked for: its error's code and words.
export class Refused extends Error {
  constructor(code, message, retryAfterS = null) {
    super(message);
    this.code = code;
    this.retryAfterS = retryAfterS;
  }
}

// Nobody knows what became of the question: no answer, or none that can be read.
export class Away extends Error {}

function request(key, accept, question, signal) {
  return fetch(ENDPOINT, {
    method: "POST",
    headers: { Authorization: `Bearer ${key}`, "Content-Type": "application/json", Accept: accept },
    body: JSON.stringify(question),
    cache: "no-store",
    credentials: "omit",
    signal,
  });
}

function refusal(answer) {
  const [error] = answer.errors;
  return new Refused(error.extensions?.code ?? "other", error.message, error.extensions?.retryAfterS ?? null);
}

// Returns {data, ms, bytes}. Throws Refused, Away, or an AbortError where the signal says so.
export async function ask(key, query, variables, signal) {
  const began = performance.now();
  const timeout = AbortSignal.timeout(ANSWERED_WITHIN_MS);
  try {
    const response = await request(key, "application/json", { query, variables }, signal ? AbortSignal.any([signal, timeout]) : timeout);
    const text = await response.text();
    const answer = JSON.parse(text);
    if (answer.errors) throw refusal(answer);
    return { data: answer.data, ms: performance.now() - began, bytes: text.length };
  } catch (error) {
    if (error instanceof Refused || signal?.aborted) throw error;
    throw new Away(error.message);
  }
}

// Yields the data of each event until the hub completes the subscription. Throws as `ask` does.
export async function* follow(key, query, variables, signal) {
  let response;
  try {
    response = await request(key, "text/event-stream", { query, variables }, signal);
  } catch (error) {
    if (signal.aborted) throw error;
    throw new Away(error.message);
  }
  if (!(response.headers.get("content-type") ?? "").startsWith("text/event-stream")) {
    const answer = await response.json().catch(() => null);
    throw answer?.errors ? refusal(answer) : new Away(`status ${response.status}`);
  }
  for await (const { event, data } of events(response.body, signal)) {
    if (event === "complete") return;
    if (event !== "next") continue;
    const answer = JSON.parse(data);
    if (answer.errors) throw refusal(answer);
    yield answer.data;
  }
  throw new Away("the stream broke off");
}

async function* events(body, signal) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const silence = setTimeout(() => reader.cancel().catch(() => {}), SILENT_MS);
      const { done, value } = await reader.read().finally(() => clearTimeout(silence));
      if (done) return;
      const parts = (rest + value).split(/\r?\n\r?\n/);
      rest = parts.pop();
      yield* parts.map(readEvent);
    }
  } catch (error) {
    if (signal.aborted) throw error;
    throw new Away(error.message);
  } finally {
    reader.cancel().catch(() => {});
  }
}

function readEvent(text) {
  const read = { event: "message", data: [] };
  for (const line of text.split(/\r?\n/)) {
    const colon = line.indexOf(":");
    const value = line.slice(colon + 1).replace(/^ /, "");
    if (line.slice(0, colon) === "event") read.event = value;
    if (line.slice(0, colon) === "data") read.data.push(value);
  }
  return { event: read.event, data: read.data.join("\n") };
}
