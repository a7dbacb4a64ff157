"""An OpenAI Batch file, run by `coatcheck batch` instead of uploaded: no waiting for a day, any provider.

Before:

    file = client.files.create(file=open("jobs.jsonl", "rb"), purpose="batch")
    batch = client.batches.create(input_file_id=file.id, endpoint="/v1/embeddings", completion_window="24h")
    ...                                                  # poll client.batches.retrieve(batch.id) for hours
    client.files.content(batch.output_file_id)

After: `coatcheck batch jobs.jsonl -o results.jsonl`. The lines are the same, in and out; add `--provider openai` if the
models in the file do not name their provider.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

TEXTS = ["the cat sat", "the dog ran", "the bird flew"]

with tempfile.TemporaryDirectory() as folder:
    jobs, results = Path(folder, "jobs.jsonl"), Path(folder, "results.jsonl")
    with jobs.open("w") as file:
        for number, text in enumerate(TEXTS):
            request = {
                "custom_id": f"text-{number}",
                "method": "POST",
                "url": "/v1/embeddings",
                "body": {"model": "minilm", "input": text},
            }
            file.write(json.dumps(request) + "\n")

    command = [sys.executable, "-m", "coatcheck", "batch", str(jobs), "-o", str(results), "--provider", "local"]
    subprocess.run(command, check=True)

    for line in sorted(results.read_text().splitlines(), key=lambda line: json.loads(line)["custom_id"]):
        result = json.loads(line)
        vector = result["response"]["body"]["data"][0]["embedding"]
        print(result["custom_id"], result["response"]["status_code"], f"{len(vector)} numbers")
