// What may be said of a station at a glance: never more than is known.

// Returns {kind, stale, short, words}: kind is "free", "full" or "unknown"; short fits on the map.
export function judge(say, { available, total, unknown, stale }) {
  if (total === 0) return { kind: "unknown", stale, short: "–", words: say("results.noEvses") };
  const old = stale ? ` · ${say("results.stale")}` : "";
  if (available > 0) {
    return { kind: "free", stale, short: `${available}/${total}`, words: say("results.freeOf", { free: available, total }) + old };
  }
  if (unknown === total) return { kind: "unknown", stale, short: `?/${total}`, words: say("results.unknown", { total }) + old };
  const partly = unknown > 0 ? ` · ${say("results.partlyUnknown", { unknown })}` : "";
  return { kind: "full", stale, short: `0/${total}`, words: say("results.noneFree", { total }) + partly + old };
}

// The same of a cluster: `share` of its stations has a free plug; null where nobody counted.
export function judgeCluster(say, { count, available }) {
  if (available === null) return { kind: "unknown", share: null, words: say("results.clusterUnknown", { count }) };
  const kind = available === 0 ? "full" : "free";
  return { kind, share: available / count, words: say("results.cluster", { count, free: available }) };
}
