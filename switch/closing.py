"""What is closed at the end of a `with` block."""

from types import TracebackType
from typing import Self


class Closing:
    """Has a `close`, which may be called more than once."""

    def close(self) -> None:
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
