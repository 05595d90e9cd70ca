"""What cannot be used, in words: why, and what a person can do about it."""

DAMAGED = "download or copy it again"


class RefusedError(ValueError):
    """An archive or a picture that cannot be used.

    Attributes:
        reason: What is wrong with it.
        cure: What a person can do about it.
        where: What is refused; "" where whoever catches it knows.
    """

    def __init__(self, reason: str, cure: str, where: str = "") -> None:
        super().__init__(reason, cure, where)
        self.reason, self.cure, self.where = reason, cure, where

    def __str__(self) -> str:
        return f"{self.where}: {self.reason}; {self.cure}".removeprefix(": ")
