"""Methods that choose the weights of the training losses by held-out losses."""

__all__: list[str] = []
