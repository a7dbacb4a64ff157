"""Public providers and servers that speak OpenAI's API: where they are and which variable holds their key."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class KnownProvider:
    """One compatible provider. Without `base_url` it is a server of the operator's own: it needs an address.

    `paths` names request types that live elsewhere than under the base URL.
    """

    name: str
    base_url: str = ""
    key_variables: tuple[str, ...] = ()
    paths: dict[str, str] = field(default_factory=dict)

    @property
    def address_variable(self) -> str:
        """The variable that overrides the base URL."""
        return f"{variable_stem(self.name)}_BASE_URL"

    @property
    def remedy(self) -> str:
        """What to set to enable this provider."""
        return f"set {self.key_variables[0] if self.base_url else self.address_variable}"


def variable_stem(name: str) -> str:
    """The beginning of a provider's environment variables."""
    return name.upper().replace("-", "_")


def did_you_mean(word: str, candidates: Iterable[str]) -> str:
    """`did you mean 'x'? ` when a candidate is close, else nothing."""
    close = difflib.get_close_matches(word[:64].lower(), list(candidates), n=1)
    return f"did you mean '{close[0]}'? " if close else ""


def _hosted(name: str, base_url: str, *key_variables: str, paths: dict[str, str] | None = None) -> KnownProvider:
    return KnownProvider(name, base_url, key_variables or (f"{variable_stem(name)}_API_KEY",), paths or {})


def _own(name: str) -> KnownProvider:
    return KnownProvider(name, "", (f"{variable_stem(name)}_API_KEY",))


_ALL = (
    _hosted("openai", "https://api.openai.com/v1"),
    _hosted("cerebras", "https://api.cerebras.ai/v1"),
    _hosted(
        "cohere",
        "https://api.cohere.ai/compatibility/v1",
        "COHERE_API_KEY",
        "CO_API_KEY",
        paths={"rerank": "https://api.cohere.com/v2/rerank"},
    ),
    _hosted("deepinfra", "https://api.deepinfra.com/v1/openai"),
    _hosted("deepseek", "https://api.deepseek.com/v1"),
    _hosted("fireworks", "https://api.fireworks.ai/inference/v1"),
    _hosted("gemini", "https://generativelanguage.googleapis.com/v1beta/openai"),
    _hosted("groq", "https://api.groq.com/openai/v1"),
    _hosted("huggingface", "https://router.huggingface.co/v1", "HF_TOKEN", "HUGGINGFACE_API_KEY"),
    _hosted("hyperbolic", "https://api.hyperbolic.xyz/v1"),
    _hosted("jina", "https://api.jina.ai/v1"),
    _hosted("mistral", "https://api.mistral.ai/v1"),
    _hosted("moonshot", "https://api.moonshot.ai/v1"),
    _hosted("nebius", "https://api.tokenfactory.nebius.com/v1"),
    _hosted("novita", "https://api.novita.ai/v3/openai"),
    _hosted("nvidia", "https://integrate.api.nvidia.com/v1"),
    _hosted("openrouter", "https://openrouter.ai/api/v1"),
    _hosted("parasail", "https://api.parasail.io/v1"),
    _hosted("perplexity", "https://api.perplexity.ai"),
    _hosted("sambanova", "https://api.sambanova.ai/v1"),
    _hosted("siliconflow", "https://api.siliconflow.com/v1"),
    _hosted("together", "https://api.together.xyz/v1"),
    _hosted("xai", "https://api.x.ai/v1"),
    _own("llamacpp"),
    _own("lmstudio"),
    _own("localai"),
    _own("ollama"),
    _own("sgl"),
    _own("vllm"),
)

KNOWN_PROVIDERS: dict[str, KnownProvider] = {known.name: known for known in _ALL}
