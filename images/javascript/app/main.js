// A search of documents. What is above the request is done once, when the gateway starts: libraries, documents, index.
// Each request goes on below, in a copy of its own.
import { Index } from "/app/index.js";

const documents = ["README.md", "gateway.md", "shim.md"];
const index = new Index(documents.map((name) => ({ name, text: readFile(`/app/documents/${name}`) })));
let searches = 0;

const request = readFile("/dev/wagi/request");

// Without resume = true in modules.toml the file is not there, and the variables are in the environment as ever.
const variables = request === undefined ? environ() : request.split("\n\n", 1)[0].split("\n");
const variable = (name) => variables.find((v) => v.startsWith(name + "="))?.slice(name.length + 1) ?? "";

searches++;
const found = index.search(decodeURIComponent(variable("QUERY_STRING")));
print("Content-Type: text/plain; charset=utf-8\n");
print(`${found.length} lines found among ${index.lines.length}, search ${searches} of this copy`);
for (const line of found.slice(0, 10)) print(`${line.name}:${line.number}: ${line.text}`);
