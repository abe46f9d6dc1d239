"""Values to responses: the object, the list, the Status; compressed where the client asks for it and it pays."""

import gzip

import orjson
import yaml

from k8sfromscratch.api.errors import ApiError
from k8sfromscratch.components.apiserver.entries import Object
from k8sfromscratch.components.apiserver.negotiation import YAML, Output
from k8sfromscratch.process.http import Request, Response

# Upstream's threshold: below it, compressing costs more than sending.
_GZIP_BYTES_MIN = 128 * 1024


def raw(body: bytes, output: Output, status: int = 200) -> Response:
    """JSON that is ready to send, or its YAML."""
    if output.media_type == YAML:
        return Response(status, yaml.safe_dump(orjson.loads(body), sort_keys=False).encode(), YAML)
    return Response(status, body)


def of(obj: Object, output: Output = Output(), status: int = 200) -> Response:
    return raw(orjson.dumps(obj), output, status)


def list_json(head: bytes, member: str, parts: list[bytes]) -> bytes:
    """The object `head` with one more member, the array of `parts`.  One join makes one buffer: a second copy of a list of megabytes
    took twenty times as long as the join, for all its pages are new.  `parts` is used up."""
    start = b'%b,"%b":[' % (head[:-1], member.encode())
    if not parts:
        return start + b"]}"
    parts[0] = start + parts[0]
    parts[-1] += b"]}"
    return b",".join(parts)


def failure(error: ApiError) -> Response:
    response = Response(error.http_code, orjson.dumps(error.status()))
    if error.retry_after_s is not None:
        response.headers["Retry-After"] = str(error.retry_after_s)
    return response


def success(details: Object) -> Object:
    """metav1.Status of something done that leaves no object to show."""
    return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}


def accepts_gzip(request: Request) -> bool:
    return "gzip" in request.headers.get("accept-encoding", "")


def compressed(response: Response, request: Request) -> Response:
    """gzip at its fastest, for large whole bodies, where the client takes it."""
    body = response.body
    if not isinstance(body, bytes) or len(body) < _GZIP_BYTES_MIN or "Content-Encoding" in response.headers or not accepts_gzip(request):
        return response
    response.body = gzip.compress(body, compresslevel=1, mtime=0)
    response.headers["Content-Encoding"] = "gzip"
    response.headers["Vary"] = f"{response.headers['Vary']}, Accept-Encoding" if "Vary" in response.headers else "Accept-Encoding"
    return response
