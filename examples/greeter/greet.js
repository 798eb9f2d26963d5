const GREETINGS = {
  en: (name) => `Hello, ${name}!`,
};

/** Greets somebody in a language; throws on one that it doesn't speak. */
export function greet(name, language = "en") {
  const greeting = GREETINGS[language];
  if (greeting === undefined) throw new RangeError(`no greeting in ${language}`);
  return greeting(name);
}
