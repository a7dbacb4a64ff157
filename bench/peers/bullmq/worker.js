// The worker: many jobs at a time in one process, because each of them only waits for the upstream.
import { Worker } from "bullmq";
import { Pool } from "undici";
import { QUEUE, UPSTREAM, redis } from "./settings.js";

const slots = Number(process.env.BENCH_SLOTS);
const pool = new Pool(UPSTREAM, { connections: slots });

async function embed(job) {
  const body = JSON.stringify({ ...job.data, model: job.data.model.slice(job.data.model.indexOf("/") + 1) });
  const answer = await pool.request({
    method: "POST",
    path: "/v1/embeddings",
    headers: { "content-type": "application/json" },
    body,
  });
  if (answer.statusCode !== 200) {
    await answer.body.dump();
    throw new Error(`the upstream said ${answer.statusCode}`);
  }
  return answer.body.json();
}

const worker = new Worker(QUEUE, embed, { connection: redis(), concurrency: slots });
process.on("SIGTERM", () => process.exit(0)); // close() would wait for a Redis that may be gone already
