"""The import of the engine by commands that only generate."""


def import_without_scipy() -> None:
    """Transformers is imported, and has not imported scipy: its losses for detecting objects are then unusable.

    They alone need it, for an assignment that no language model uses, and it takes 35 MB. Without effect in a process
    that imported them before.
    """
    from transformers import utils

    real = utils.is_scipy_available
    utils.is_scipy_available = lambda: False
    try:
        import transformers.loss.loss_utils  # noqa: F401
    finally:
        utils.is_scipy_available = real
