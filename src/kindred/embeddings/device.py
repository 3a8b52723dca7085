"""Where learned models run."""

from __future__ import annotations

from kindred.errors import EncoderError


def choose_device(wanted: str) -> str:
    """Turn the setting ``device`` into where a model runs.

    Parameters
    ----------
    wanted : {"auto", "cpu", "cuda"}
        ``"auto"`` takes a GPU when torch sees one.

    Returns
    -------
    str
        ``"cuda"`` or ``"cpu"``.

    Raises
    ------
    EncoderError
        When a GPU is asked for and torch sees none.
    """
    import torch

    if wanted == "cpu":
        return "cpu"
    if torch.cuda.is_available():
        return "cuda"
    if wanted == "cuda":
        raise EncoderError(
            "KINDRED_DEVICE is cuda, but torch sees no GPU. Set it to auto or cpu, or install"
            " a torch built for CUDA and the GPU's driver."
        )
    return "cpu"
