"""The file within a form, as browsers send it (RFC 7578), read as it arrives: never whole in memory."""

from typing import Protocol

from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.sansio.multipart import Data, Epilogue, File, MultipartDecoder, NeedData

from systemvm.services.storage.uploads import UploadCut, UploadRefused

#: Bytes of the form that are held at a time, headers of parts included, and most parts.
_MOST_HELD, _MOST_PARTS = 1 << 20, 20
_CHUNK = 1 << 16


class Stream(Protocol):
    """What the form is read from."""

    def read(self, size: int = -1, /) -> bytes:
        """At most `size` bytes; none at its end."""


class FormFile:
    """The first file of a form, to be read to its end. `boundary` is from its Content-Type."""

    def __init__(self, stream: Stream, boundary: bytes) -> None:
        self._stream = stream
        self._decoder = MultipartDecoder(boundary, _MOST_HELD, max_parts=_MOST_PARTS)
        self._found = self._ended = self._is_over = False
        self._rest = b""

    def read(self, size: int = -1, /) -> bytes:
        """At most `size` bytes of the file; none at its end. Raises UploadRefused."""
        found = self._rest or self._next()
        end = len(found) if size < 0 else size
        self._rest = found[end:]
        return found[:end]

    def _next(self) -> bytes:
        while not self._ended:
            try:
                event = self._decoder.next_event()
                if isinstance(event, NeedData):
                    self._feed()
            except (ValueError, RequestEntityTooLarge) as error:
                if self._is_over:
                    raise UploadCut("the form ended before its file did: send it again") from None
                raise UploadRefused(f"the form cannot be read: {error}") from None
            if isinstance(event, File):
                self._found = True
            elif isinstance(event, Data) and self._found:
                self._ended = not event.more_data
                if event.data:
                    return bytes(event.data)
            elif isinstance(event, Epilogue):
                raise UploadRefused("there is no file in the form: send one as multipart/form-data")
        return b""

    def _feed(self) -> None:
        chunk = self._stream.read(_CHUNK)
        self._is_over = not chunk
        self._decoder.receive_data(chunk or None)
