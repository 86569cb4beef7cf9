// What was asked, in the forms in which one may copy it. Pure.

const WORDS = /(#[^\n]*)|("(?:[^"\\]|\\.)*")|(\$\w+)|\b(query|mutation|subscription|fragment|on)\b|\b(true|false|null)\b|(-?\d+(?:\.\d+)?)|\b([A-Z]\w*)\b/g;
const KINDS = ["comment", "string", "variable", "keyword", "literal", "number", "type"];

export function asJson({ query, variables }) {
  return JSON.stringify({ query, variables }, null, 2);
}

export function asCurl({ query, variables, streams }, origin, key) {
  const quoted = JSON.stringify({ query, variables }).replaceAll("'", "'\\''");
  const listening = streams ? "-N " : "";
  const accept = streams ? "  -H 'Accept: text/event-stream' \\\n" : "";
  return `curl -s ${listening}${origin}/graphql \\\n  -H 'Authorization: Bearer ${key}' \\\n  -H 'Content-Type: application/json' \\\n${accept}  -d '${quoted}'`;
}

export function hidden(key) {
  return `${key.slice(0, 6)}…`;
}

export function ideLink({ query, variables }, key) {
  return `/graphql#${new URLSearchParams({ key, query, variables: JSON.stringify(variables, null, 2) })}`;
}

// Pieces of a text with what they are, for colours: [kind or null, text].
export function pieces(text) {
  const found = [];
  let at = 0;
  for (const match of text.matchAll(WORDS)) {
    if (match.index > at) found.push([null, text.slice(at, match.index)]);
    found.push([KINDS[match.slice(1).findIndex((group) => group !== undefined)], match[0]]);
    at = match.index + match[0].length;
  }
  if (at < text.length) found.push([null, text.slice(at)]);
  return found;
}
