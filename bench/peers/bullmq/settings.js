// What both processes of this peer share: where Redis and the upstream are, and the queue's name.
import { Redis } from "ioredis";

export const QUEUE = "embed";
export const UPSTREAM = process.env.BENCH_UPSTREAM;

// maxRetriesPerRequest null is what BullMQ asks of a worker's connection; auto-pipelining is for the web process.
export function redis(extra) {
  return new Redis(process.env.BENCH_REDIS, { maxRetriesPerRequest: null, ...extra });
}
