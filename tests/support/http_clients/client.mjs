// Node: `fetch`, which is undici, and the older http module with its chunks.
import http from "node:http";

const base = process.argv[2];
const json = JSON.stringify({ model: "openai/m", input: "a text" });
const submits = "/v1/async/embeddings";

function form() {
  const parts = new FormData();
  parts.set("model", "openai/m");
  parts.set("image", new Blob([new Uint8Array([1, 2])], { type: "image/png" }), "a.png");
  return parts;
}

async function byFetch() {
  const submit = await fetch(base + submits, { method: "POST", headers: { "content-type": "application/json" }, body: json });
  const poll = await fetch(base + submit.headers.get("location"));
  const upload = await fetch(base + "/v1/async/images/variations", { method: "POST", body: form() });
  return [submit.status, poll.status, upload.status];
}

function call(path, method, body, headers = {}) {
  return new Promise((resolve, reject) => {
    const request = http.request(base + path, { method, headers }, (answer) => {
      answer.resume();
      answer.on("end", () => resolve(answer));
    });
    request.on("error", reject);
    if (body) request.write(body); // of no declared length: chunks
    request.end();
  });
}

async function byHttp() {
  const submit = await call(submits, "POST", json, { expect: "100-continue" });
  const poll = await call(submit.headers.location, "GET");
  const packed = new Response(form());
  const bytes = Buffer.from(await packed.arrayBuffer());
  const headers = { "content-type": packed.headers.get("content-type") };
  const upload = await call("/v1/async/images/variations", "POST", bytes, headers);
  return [submit.statusCode, poll.statusCode, upload.statusCode];
}

console.log(...(process.argv[3] === "http" ? await byHttp() : await byFetch()));
