"""WebSocket channels to SPDY streams and back, with a kubelet's end of ours as the runtime."""

import pytest
from wsproto.frame_protocol import FrameProtocol, Opcode

from k8sfromscratch.core.streams.remotecommand import CLOSE, ERROR, RESIZE, STDERR, STDIN, STDOUT, Translator, Wanted
from k8sfromscratch.core.streams.spdy import Data, Opened, Reset, SpdyConnection, SpdyError

STATUS = b'{"status":"Success"}'


class Story:
    def __init__(self, *, stdin: bool = True, stdout: bool = True, stderr: bool = True, tty: bool = False, protocol: str = "v5.channel.k8s.io") -> None:
        self.translator = Translator(Wanted(stdin, stdout, stderr, tty), protocol)
        self.runtime = SpdyConnection(client=False)
        self.client = FrameProtocol(client=True, extensions=[])
        opened = self.runtime.receive(self.translator.to_kubelet())
        self.streams = {event.headers["streamtype"]: event.stream for event in opened if isinstance(event, Opened)}

    def take_streams(self) -> None:
        for stream in self.streams.values():
            self.runtime.reply(stream)
        self.from_runtime()

    def from_runtime(self) -> None:
        self.translator.from_kubelet(self.runtime.take())

    def say(self, stream: str, data: bytes, *, fin: bool = False) -> None:
        self.runtime.send(self.streams[stream], data, fin=fin)
        self.from_runtime()

    def client_sends(self, *parts: bytes) -> list[object]:
        """What reaches the runtime."""
        for part in parts:
            self.translator.from_client(bytes(self.client.send_data(part)))
        return list(self.runtime.receive(self.translator.to_kubelet()))

    def client_hears(self) -> list[object]:
        """(channel, data), or "closed"."""
        self.client.receive_bytes(self.translator.to_client())
        frames = list(self.client.received_frames())
        return ["closed" if f.opcode is Opcode.CLOSE else (f.payload[0], bytes(f.payload[1:])) for f in frames]  # type: ignore[arg-type, index]


def test_streams_are_opened_as_asked_and_in_order() -> None:
    assert list(Story().streams) == ["error", "stdin", "stdout", "stderr"]
    assert list(Story(stdin=False, stderr=False).streams) == ["error", "stdout"]
    assert list(Story(tty=True).streams) == ["error", "stdin", "stdout", "resize"]


def test_not_ready_before_every_stream_is_taken() -> None:
    """The runtime drops what it is sent on a stream it has not replied to."""
    story = Story()
    for stream in list(story.streams.values())[:-1]:
        story.runtime.reply(stream)
    story.from_runtime()
    assert not story.translator.ready and story.client_hears() == []
    story.runtime.reply(story.streams["stderr"])
    story.from_runtime()
    assert story.translator.ready and story.client_hears() == [(STDOUT, b"")]


def test_a_command_with_input_and_output() -> None:
    story = Story()
    story.take_streams()
    story.client_hears()
    assert story.client_sends(bytes([STDIN]) + b"in") == [Data(story.streams["stdin"], b"in", False)]
    assert story.client_sends(bytes([CLOSE, STDIN])) == [Data(story.streams["stdin"], b"", True)]
    story.say("stdout", b"out")
    story.say("stderr", b"err", fin=True)
    story.say("error", STATUS, fin=True)
    assert story.client_hears() == [(STDOUT, b"out"), (STDERR, b"err"), (ERROR, STATUS)]
    assert not story.translator.done
    story.say("stdout", b"", fin=True)
    assert story.client_hears() == ["closed"] and story.translator.done


def test_streams_that_are_reset_are_ended() -> None:
    """As runtimes do when they close: whatever is left is reset."""
    story = Story(stdin=False, stderr=False)
    story.take_streams()
    story.say("error", STATUS)
    for stream in story.streams.values():
        story.runtime.reset(stream, 5)
    story.from_runtime()
    assert story.translator.done
    assert story.client_hears() == [(STDOUT, b""), (ERROR, STATUS), "closed"]


def test_the_kubelet_goes_away() -> None:
    story = Story()
    story.take_streams()
    story.client_hears()
    story.say("stdout", b"half")
    story.translator.kubelet_gone(b'{"status":"Failure"}')
    assert story.client_hears() == [(STDOUT, b"half"), (ERROR, b'{"status":"Failure"}'), "closed"]


def test_a_kubelet_that_has_told_the_end_may_go() -> None:
    story = Story()
    story.take_streams()
    story.say("error", STATUS)
    story.translator.kubelet_gone(b"not needed")
    assert story.client_hears()[-2:] == [(ERROR, STATUS), "closed"]


def test_terminal_sizes() -> None:
    story = Story(tty=True)
    story.take_streams()
    size = b'{"Width":80,"Height":24}'
    assert story.client_sends(bytes([RESIZE]) + size) == [Data(story.streams["resize"], size, False)]


@pytest.mark.parametrize("message", [b"", bytes([STDOUT]) + b"x", bytes([9]) + b"x", bytes([CLOSE]), bytes([CLOSE, 9]), bytes([RESIZE]) + b"{}"])
def test_what_a_client_has_no_business_to_send_is_dropped(message: bytes) -> None:
    story = Story()
    story.take_streams()
    assert story.client_sends(message) == []


def test_only_v5_half_closes() -> None:
    story = Story(protocol="v4.channel.k8s.io")
    story.take_streams()
    assert story.client_sends(bytes([CLOSE, STDIN])) == []


def test_the_clients_end_is_the_end() -> None:
    story = Story()
    story.take_streams()
    story.translator.from_client(bytes(story.client.close(1000)))
    assert story.translator.done


def test_streams_the_kubelet_opens_are_refused() -> None:
    story = Story()
    stream = story.runtime.open({"streamtype": "surprise"})
    story.from_runtime()
    assert story.runtime.receive(story.translator.to_kubelet()) == [Reset(stream, 3)]


def test_a_broken_stream_is_an_error() -> None:
    with pytest.raises(SpdyError):
        Story().translator.from_kubelet(b"\xff" * 64)
