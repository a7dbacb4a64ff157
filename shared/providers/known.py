"""Public providers and servers that speak OpenAI's API: where they are and which variable holds their key."""

import difflib
from collections.abc import Iterable
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class KnownProvider:
    name: str
    base_url: str = ""
    """Empty for a server of the operator's own: it needs an address."""
    key_variables: tuple[str, ...] = ()
    paths: dict[str, str] = field(default_factory=dict)
    """Request types that live elsewhere than under the base URL."""

    @property
    def address_variable(self) -> str:
        return f"{variable_stem(self.name)}_BASE_URL"

    @property
    def remedy(self) -> str:
        return f"set {self.key_variables[0] if self.base_url else self.address_variable}"


def variable_stem(name: str) -> str:
    return name.upper().replace("-", "_")


def did_you_mean(word: str, candidates: Iterable[str]) -> str:
    """`did you mean 'x'? ` when a candidate is close, else nothing."""
    close = difflib.get_close_matches(word[:64].lower(), list(candidates), n=1)
    return f"did you mean '{close[0]}'? " if close else ""


_BASE_URLS = {
    "openai": "https://api.openai.com/v1",
    "cerebras": "https://api.cerebras.ai/v1",
    "cohere": "https://api.cohere.ai/compatibility/v1",
    "deepinfra": "https://api.deepinfra.com/v1/openai",
    "deepseek": "https://api.deepseek.com/v1",
    "fireworks": "https://api.fireworks.ai/inference/v1",
    "gemini": "https://generativelanguage.googleapis.com/v1beta/openai",
    "groq": "https://api.groq.com/openai/v1",
    "huggingface": "https://router.huggingface.co/v1",
    "hyperbolic": "https://api.hyperbolic.xyz/v1",
    "jina": "https://api.jina.ai/v1",
    "mistral": "https://api.mistral.ai/v1",
    "moonshot": "https://api.moonshot.ai/v1",
    "nebius": "https://api.tokenfactory.nebius.com/v1",
    "novita": "https://api.novita.ai/v3/openai",
    "nvidia": "https://integrate.api.nvidia.com/v1",
    "openrouter": "https://openrouter.ai/api/v1",
    "parasail": "https://api.parasail.io/v1",
    "perplexity": "https://api.perplexity.ai",
    "sambanova": "https://api.sambanova.ai/v1",
    "siliconflow": "https://api.siliconflow.com/v1",
    "together": "https://api.together.xyz/v1",
    "xai": "https://api.x.ai/v1",
} | dict.fromkeys(("llamacpp", "lmstudio", "localai", "ollama", "sgl", "vllm"), "")
_KEY_VARIABLES = {"cohere": ("COHERE_API_KEY", "CO_API_KEY"), "huggingface": ("HF_TOKEN", "HUGGINGFACE_API_KEY")}
_PATHS = {"cohere": {"rerank": "https://api.cohere.com/v2/rerank"}}

KNOWN_PROVIDERS: dict[str, KnownProvider] = {
    name: KnownProvider(name, url, _KEY_VARIABLES.get(name, (f"{variable_stem(name)}_API_KEY",)), _PATHS.get(name, {}))
    for name, url in _BASE_URLS.items()
}
