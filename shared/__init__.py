"""What a job, a request type, a provider's body and a setting mean, for every part of the service."""
