"""A script, in a process of its own: the tensors of a pickled checkpoint as safetensors.

``python -P unpickling.py FILE OUT`` prints what went wrong as JSON, ``{}`` when nothing did. It
imports torch and safetensors and nothing of the program, and is the only place that unpickles
(docs/decisions/0005): the caller reads ``OUT``, whose metadata hold the names and their order.
"""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

CODE = (  # what torch says of more than tensors
    *("Unsupported global", "Unsupported class", "unsupported class", "unrecognized function"),
    *("Can only build", "TorchScript"),
)


def main(source: str, target: str) -> dict[str, str]:
    """Write the tensors; what went wrong: ``code``, ``damaged``, ``empty``, ``unwritten``, why."""
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    warnings.simplefilter("ignore")
    try:
        body = torch.load(source, map_location="cpu", weights_only=True)
        found, places = list[tuple[str, Any]](), list[str]()
        for name, value in walk(body, "", places):
            if isinstance(value, torch.Tensor) and _plain(value):
                found.append((name, value))
    except Exception as fault:  # a damaged file raises whatever it likes
        words = " ".join(str(fault).split())
        kind = "code" if any(word in words for word in CODE) else "damaged"
        return {"fault": kind, "words": _short(words) or type(fault).__name__}
    names = [name for name, _ in found]
    if len(set(names)) < len(names):
        return {"fault": "damaged", "words": "two of its tensors have one name"}
    if not names:
        return {"fault": "empty", "words": type(body).__name__}
    # numbered, as safetensors sorts; cloned, as it refuses memory that two tensors share
    numbered = {str(n): value.detach().contiguous().clone() for n, (_, value) in enumerate(found)}
    try:
        save_file(numbered, target, {"names": json.dumps(names), "places": json.dumps(places)})
    except SafetensorError as fault:
        return {"fault": "unwritten", "words": str(fault)}
    return {}


def walk(body: Any, above: str, places: list[str]) -> Iterator[tuple[str, Any]]:
    """Values by dotted name, in order; ``places`` takes the dotted name of each mapping.

    A mapping with other keys than text, as an optimiser's state, holds no network.
    """
    if not isinstance(body, Mapping) or not all(isinstance(key, str) for key in body):
        return
    places.append(above)
    for key, value in body.items():
        name = f"{above}.{key}" if above else key
        if isinstance(value, Mapping):
            yield from walk(value, name, places)
        else:
            yield name, value


def _plain(value: Any) -> bool:
    import torch

    dense = value.layout is torch.strided and value.device.type == "cpu"
    return dense and not value.is_quantized and not value.is_complex()


def _short(words: str) -> str:
    """What torch refused, without its advice."""
    start = words.find("WeightsUnpickler error: ")
    words = words[start + 24 :] if start >= 0 else words
    return words.partition(". ")[0].partition(" Please ")[0][:120]


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:])))  # noqa: T201
