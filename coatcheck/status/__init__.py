"""What happens now, and what happened to a job: gathered once, shown by the status page, `coatcheck top` and `job`."""
