"""OpenAI Batch files: every line of a file of requests becomes a job, every result a line, each exactly once."""
