"""Real kubectl to real containers, in each way it can go: commands with input, output and exit codes, terminals, copies, ports, logs."""

import asyncio
import fcntl
import os
import pty
import re
import struct
import termios

PORT = re.compile(rb"Forwarding from 127\.0\.0\.1:(\d+)")
FOREVER = "trap 'exit 0' TERM; sleep 1000 & wait"


def test_exec_separates_outputs_and_gives_the_exit_code(story, way):
    async def tell(lab):
        await lab.run_pod("web")
        code, out, err = await lab.kubectl(way, "exec", "web", "--", "sh", "-c", "echo out; echo err >&2; exit 7")
        assert (code, out) == (7, b"out\n")
        assert err.startswith(b"err\n") and b"exit code 7" in err
        assert (await lab.kubectl(way, "exec", "web", "--", "true"))[0] == 0

    story(tell)


def test_exec_takes_input_to_its_end(story, way):
    """`cat file | kubectl exec -i`: ends only where the half-close arrives.  Large enough to fill every buffer on the way, both ways."""
    blob = os.urandom(4 * 1024 * 1024)

    async def tell(lab):
        await lab.run_pod("web")
        code, out, _ = await lab.kubectl(way, "exec", "-i", "web", "--", "cat", stdin=blob)
        assert (code, len(out)) == (0, len(blob)) and out == blob
        assert await lab.kubectl(way, "exec", "-i", "web", "--", "wc", "-c", stdin=b"") == (0, b"0\n", b"")

    story(tell)


def test_exec_on_a_terminal(story, way):
    """Keys go in, echo and output come back, and the terminal has the size of ours."""
    script = "until stty size 2>/dev/null | grep -q '33 101'; do sleep 0.1; done; echo sized; read line; echo got $line; exit 3"

    async def tell(lab):
        await lab.run_pod("web")
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 33, 101, 0, 0))
        async with lab.started(way, "exec", "-it", "web", "--", "sh", "-c", script, stdin=theirs, stdout=theirs) as process:
            os.close(theirs)
            await _read_until(ours, b"sized")
            os.write(ours, b"hello\r")
            await _read_until(ours, b"got hello")
            assert await process.wait() == 3
        os.close(ours)

    story(tell)


async def _read_until(handle: int, wanted: bytes) -> None:
    seen = b""
    while wanted not in seen:
        seen += await asyncio.get_running_loop().run_in_executor(None, os.read, handle, 4096)


def test_attach_joins_the_containers_own_streams(story, way):
    async def tell(lab):
        container = {"name": "app", "image": "busybox", "command": ["sh", "-c", "while read line; do echo said $line; done; sleep 1000"], "stdin": True}
        await lab.run_pod("echoing", containers=[{**container, "imagePullPolicy": "IfNotPresent"}])
        async with lab.started(way, "attach", "-i", "echoing") as process:
            process.stdin.write(b"one\n")
            line = b""
            while b"said one" not in line:
                line = await process.stdout.readline()
            assert line == b"said one\n"

    story(tell)


def test_copies_go_both_ways(story, way):
    blob = os.urandom(1024 * 1024)

    async def tell(lab):
        await lab.run_pod("web")
        there, back = lab.directory / "there", lab.directory / "back"
        there.write_bytes(blob)
        assert (await lab.kubectl(way, "cp", str(there), "web:/tmp/blob"))[0] == 0
        assert (await lab.kubectl(way, "cp", "web:/tmp/blob", str(back)))[0] == 0
        assert back.read_bytes() == blob

    story(tell)


def test_ports_are_forwarded(story, way):
    """Several connections after each other and at once; a port nobody listens on is an error of that connection only."""

    async def tell(lab):
        await lab.run_pod("web", "nc -ll -p 8080 -e cat")
        await lab.kubectl(way, "exec", "web", "--", "sh", "-c", "until netstat -ltn | grep -q :8080; do sleep 0.1; done")
        async with lab.started(way, "port-forward", "pod/web", ":8080", ":9999") as process:
            ports = []
            while len(ports) < 2:
                found = PORT.search(await process.stdout.readline())
                ports += [int(found[1])] if found else []

            async def echoed(text: bytes) -> bytes:
                reader, writer = await asyncio.open_connection("127.0.0.1", ports[0])
                writer.write(text)
                answer = await reader.readexactly(len(text))
                writer.close()
                await writer.wait_closed()
                return answer

            assert await echoed(b"hello") == b"hello"
            texts = [bytes([65 + i]) * 100_000 for i in range(4)]
            assert await asyncio.gather(*(echoed(text) for text in texts)) == texts
            _, writer = await asyncio.open_connection("127.0.0.1", ports[1])
            writer.write(b"x")
            said = b""
            while b"9999" not in said:  # of connections that have ended kubectl may complain too
                said = await process.stderr.readline()
                assert said, "kubectl ended"
            writer.close()

    story(tell)


def test_errors_are_told(story, way):
    async def tell(lab):
        await lab.run_pod("two", FOREVER, FOREVER)
        code, _, err = await lab.kubectl(way, "exec", "two", "-c", "none", "--", "true")
        assert code == 1 and b"container" in err and b"none" in err
        code, _, err = await lab.kubectl(way, "exec", "two", "-c", "app", "--", "no-such-program")
        assert code != 0 and b"no-such-program" in err
        code, _, err = await lab.kubectl(way, "exec", "absent", "--", "true")
        assert code == 1 and b'pods "absent" not found' in err

    story(tell)


def test_logs(story, way):
    async def tell(lab):
        await lab.run_pod("talking", f"for i in 1 2 3; do echo line $i; done; {FOREVER}", f"echo other; {FOREVER}")
        for container, last in (("app", b"line 3\n"), ("app1", b"other\n")):  # which need not be there as soon as the container runs
            async with lab.started(way, "logs", "-f", "talking", "-c", container) as process:
                said = b""
                while said != last:
                    said = await process.stdout.readline()
                    assert said, "kubectl ended"
        assert await lab.kubectl(way, "logs", "talking", "-c", "app") == (0, b"line 1\nline 2\nline 3\n", b"")
        assert (await lab.kubectl(way, "logs", "talking", "-c", "app", "--tail=1"))[1] == b"line 3\n"
        stamped = (await lab.kubectl(way, "logs", "talking", "-c", "app1", "--timestamps"))[1]
        assert re.fullmatch(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+\S+ other\n", stamped)
        code, _, err = await lab.kubectl(way, "logs", "talking", "-c", "app", "--previous")
        assert code == 1 and b'previous terminated container "app" in pod "talking" not found' in err

    story(tell)


def test_logs_are_followed(story, way):
    async def tell(lab):
        await lab.run_pod("talking", "echo first; while [ ! -e /tmp/go ]; do sleep 0.1; done; echo second; sleep 1000")
        async with lab.started(way, "logs", "-f", "talking") as process:
            assert await process.stdout.readline() == b"first\n"
            await lab.kubectl(way, "exec", "talking", "--", "touch", "/tmp/go")
            assert await process.stdout.readline() == b"second\n"

    story(tell)
