/**
 * The way to the hub: where it is, with whose key, how long to wait, and what to ask again.
 *
 *     export HUB_URL=http://127.0.0.1:8080/graphql HUB_KEY=cg_…    # `make demo` prints both
 *
 * Keys belong to servers: a web page of yours asks your own server, and that one asks the hub.
 */

import type { TypedDocumentString } from "./generated/graphql.js";

const TIMEOUT_MS = 15_000; // the hub answers within ten seconds
const MAX_TRIES = 5;
const MAX_WAIT_S = 30;
const ASK_AGAIN = new Set(["UNAVAILABLE", "RATE_LIMITED"]);

/** What the hub did not do, and why: in one line for a person, and by a stable code. */
export class HubError extends Error {
  readonly code: string;
  readonly retryAfterS: number;

  constructor(message: string, code: string, retryAfterS = 0) {
    super(`${message} (${code})`);
    this.code = code;
    this.retryAfterS = retryAfterS;
  }
}

/**
 * Returns the data of a document, typed as it was generated. Throws HubError.
 *
 * What the network lost, and what the hub could not do just then, is asked again, MAX_TRIES times in all. Mutations too:
 * each carries an idempotency key, so that asking again does nothing twice.
 */
export async function ask<Data, Variables>(
  document: TypedDocumentString<Data, Variables>,
  variables: Variables,
): Promise<Data> {
  const key = process.env["HUB_KEY"];
  if (!key) throw new HubError("set HUB_KEY to your key", "NO_KEY");
  const body = JSON.stringify({ query: document.toString(), variables });
  for (let tried = 1; ; tried++) {
    try {
      return await askOnce<Data>(key, body);
    } catch (error) {
      if (!(error instanceof HubError) || !ASK_AGAIN.has(error.code) || tried === MAX_TRIES) throw error;
      const backoffS = (0.1 + 0.1 * Math.random()) * 2 ** tried;
      const waitS = Math.max(backoffS, Math.min(error.retryAfterS, MAX_WAIT_S));
      console.error(`${error.message}; asking again in ${waitS.toFixed(1)} s`);
      await new Promise((resolve) => setTimeout(resolve, waitS * 1000));
    }
  }
}

type Answer<Data> = {
  data?: Data | null;
  errors?: { message: string; extensions: { code: string; retryAfterS?: number } }[];
};

async function askOnce<Data>(key: string, body: string): Promise<Data> {
  const url = process.env["HUB_URL"] ?? "http://127.0.0.1:8080/graphql";
  const [status, text] = await post(url, key, body);
  let answer: Answer<Data> = {};
  try {
    answer = (JSON.parse(text) ?? {}) as Answer<Data>;
  } catch {
    // Something on the way to the hub has answered, and is told of below.
  }
  const error = answer.errors?.[0];
  if (error) throw new HubError(error.message, error.extensions.code, error.extensions.retryAfterS);
  if (!answer.data) {
    const code = status >= 500 ? "UNAVAILABLE" : "NOT_GRAPHQL";
    throw new HubError(`HTTP ${status} from ${url}, which is no GraphQL`, code);
  }
  const away = refusals(answer.data).find(({ code }) => ASK_AGAIN.has(code));
  if (away) throw new HubError(away.message ?? "a mutation", away.code);
  return answer.data;
}

async function post(url: string, key: string, body: string): Promise<[number, string]> {
  const headers = { authorization: `Bearer ${key}`, "content-type": "application/json", accept: "application/json" };
  try {
    const response = await fetch(url, { method: "POST", headers, body, signal: AbortSignal.timeout(TIMEOUT_MS) });
    return [response.status, await response.text()];
  } catch (lost) {
    const why = lost instanceof Error && lost.cause instanceof Error ? lost.cause : lost;
    throw new HubError(`no answer from ${url}: ${why instanceof Error ? why.message : why}`, "UNAVAILABLE");
  }
}

/** What the payloads of mutations say that was refused; a store that is away for a moment is among it. */
function refusals(data: object): { code: string; message?: string }[] {
  type Payload = { userErrors?: { code: string; message?: string }[] } | null;
  return Object.values(data).flatMap((payload: Payload) => payload?.userErrors ?? []);
}
