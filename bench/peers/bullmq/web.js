// The fastest queue a user could build, web side: Fastify over BullMQ, one Redis round trip per request.
import { Job, Queue } from "bullmq";
import Fastify from "fastify";
import { QUEUE, redis } from "./settings.js";

const queue = new Queue(QUEUE, { connection: redis({ enableAutoPipelining: true }) });
const kept = { age: 3600 }; // seconds, like the result's time to live elsewhere
const options = {
  attempts: 3,
  backoff: { type: "exponential", delay: 1000, jitter: 1 },
  removeOnComplete: kept,
  removeOnFail: kept,
};
const app = Fastify({ bodyLimit: 64 * 1024 * 1024 });

app.post("/v1/async/embeddings", async (request, reply) => {
  const job = await queue.add("embed", request.body, options);
  reply.code(202);
  return { id: job.id, status: "pending" };
});

app.get("/v1/async/embeddings/:id", async (request, reply) => {
  const job = await Job.fromId(queue, request.params.id);
  if (!job) {
    reply.code(404);
    return { error: "no such job" };
  }
  if (job.returnvalue) return { id: job.id, status: "completed", result: job.returnvalue };
  if (job.attemptsMade >= options.attempts) return { id: job.id, status: "failed", error: job.failedReason };
  reply.code(202);
  return { id: job.id, status: "pending" };
});

await app.listen({ host: "127.0.0.1", port: Number(process.argv[2]) });
