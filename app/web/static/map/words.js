// What the page says, in both languages, from one table (words.json; a test holds it complete).

export const LANGUAGES = ["en", "zh"];
const TAGS = { en: "en", zh: "zh-CN" };

export function tagOf(language) {
  return TAGS[language];
}

export function preferredLanguage(languages) {
  return languages.some((tag) => /^zh\b/i.test(tag)) && !/^en\b/i.test(languages[0]) ? "zh" : "en";
}

// Returns a function of a word's name and the values of its {places}.
export function speaker(table, language) {
  const numbers = new Intl.NumberFormat(TAGS[language]);
  const shown = (value) => (typeof value === "number" ? numbers.format(value) : String(value));
  return (name, values = {}) => {
    const words = table[name]?.[language];
    if (words === undefined) return name;
    return words.replace(/\{(\w+)\}/g, (_, place) => shown(values[place] ?? ""));
  };
}

export function age(say, seconds) {
  for (const [unit, length] of [["d", 86_400], ["h", 3_600], ["min", 60]]) {
    if (seconds >= 2 * length) return say(`age.${unit}`, { n: Math.floor(seconds / length) });
  }
  return say("age.s", { n: Math.max(0, Math.round(seconds)) });
}

export function clock(seconds) {
  const whole = Math.max(0, Math.ceil(seconds));
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
}
