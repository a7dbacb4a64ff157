"""A Celery task that calls a model, moved to Coatcheck: no worker of yours, no broker, no result backend.

Before:

    app = Celery("tasks", broker="redis://...", backend="redis://...")

    @app.task(autoretry_for=(RateLimitError, APIConnectionError), retry_backoff=True, max_retries=5)
    def embed(text):
        return OpenAI().embeddings.create(model="text-embedding-3-small", input=text).data[0].embedding

    task = embed.delay("the cat sat")            # task.id goes into your database
    AsyncResult(task_id).get(timeout=60)         # later, elsewhere

After: retries, rate limits and fallbacks are the server's; a worker that is killed in the middle of the call loses
nothing. What was a task id is a ticket.
"""

from typing import Any

from coatcheck_client import Coatcheck, JobFailed

client = Coatcheck()  # COATCHECK_URL, COATCHECK_API_KEY


def embed_delay(text: str, order: int) -> str:
    """Was `embed.delay(text)`. The key makes a second call for the same order the same job."""
    job = client.submit(
        "embeddings", {"model": "local/minilm", "input": text}, idempotency_key=f"from-celery-order-{order}"
    )
    return job.ticket


def embed_get(ticket: str) -> Any:
    """Was `AsyncResult(task_id).get(timeout=60)`."""
    return client.result(ticket, timeout=60)["data"][0]["embedding"]


ticket = embed_delay("the cat sat", order=1)
assert embed_delay("the cat sat", order=1) == ticket

try:
    vector = embed_get(ticket)
except JobFailed as failure:  # was: the task's exception
    raise SystemExit(str(failure)) from None
print(f"{ticket}: {len(vector)} numbers, the first {vector[0]:.3f}")
