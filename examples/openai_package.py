"""The stock `openai` package: `background=True` submits a job, `retrieve` collects it.

Needs a chat model: `make run MODELS=chat` brings a small one, MODEL=openai/gpt-4o-mini and the like use a provider.
"""

import os
import sys
import time

from openai import OpenAI

URL = os.environ.get("COATCHECK_URL", "http://127.0.0.1:8080")
MODEL = os.environ.get("MODEL", "local/smollm2-135m-demo")

client = OpenAI(base_url=f"{URL}/openai/v1", api_key=os.environ.get("COATCHECK_API_KEY", "no key"))

submitted = client.responses.create(model=MODEL, input="Say hello.", background=True)
print(submitted.id, submitted.status, file=sys.stderr)

response = submitted
while response.status in ("queued", "in_progress"):
    time.sleep(1)
    response = client.responses.retrieve(submitted.id)

print(response.output_text)
sys.exit(response.status not in ("completed", "incomplete"))  # incomplete: cut at its limit of tokens
