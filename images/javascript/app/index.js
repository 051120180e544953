const words = (text) => text.toLowerCase().match(/[\p{L}\p{N}]+/gu) ?? [];

// Index finds lines of documents by their words.
export class Index {
  lines = [];
  byWord = new Map();

  constructor(documents) {
    for (const { name, text } of documents)
      text.split("\n").forEach((line, n) => this.add({ name, number: n + 1, text: line }));
  }

  add(line) {
    this.lines.push(line);
    for (const word of new Set(words(line.text))) {
      if (!this.byWord.has(word)) this.byWord.set(word, new Set());
      this.byWord.get(word).add(line);
    }
  }

  // search finds the lines that have all words of a query, in the order of the documents.
  search(query) {
    const [first, ...others] = words(query).map((word) => this.byWord.get(word) ?? new Set());
    return first === undefined ? [] : [...first].filter((line) => others.every((set) => set.has(line)));
  }
}
