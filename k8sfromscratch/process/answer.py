"""From a handler's failure to the answer its client gets, the same whether the request came by a socket or by a direct call."""

import logging

import orjson

from k8sfromscratch.api.errors import ApiError, InternalError
from k8sfromscratch.process.http import Handler, Request, Response, Upgrade

log = logging.getLogger(__name__)


async def answer(handler: Handler, request: Request) -> Response | Upgrade:
    """Never raises an Exception: an ApiError becomes its Status, anything else a 500 that tells nothing of our insides."""
    try:
        return await handler(request)
    except ApiError as error:
        return error_response(error)
    except Exception:
        log.exception("%s %s failed", request.method, request.path)
        return error_response(InternalError("an error on the server has prevented the request from succeeding; the server's log tells more"))


def error_response(error: ApiError) -> Response:
    headers = {"Retry-After": str(error.retry_after_s)} if error.retry_after_s is not None else {}
    return Response(error.http_code, orjson.dumps(error.status()), headers=headers)
