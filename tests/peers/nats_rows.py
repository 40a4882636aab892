"""The rows in a stream of JetStream at nats://127.0.0.1:PORT.

nats_rows.py PORT make STREAM SUBJECT: makes the stream.
nats_rows.py PORT read STREAM: prints each message as a JSON line with its identifier and value.
nats_rows.py PORT count STREAM: prints the number of messages.
"""

import asyncio
import json
import sys

import nats


async def main():
    port, work, stream, *rest = sys.argv[1:]
    client = await nats.connect(f"nats://127.0.0.1:{port}", connect_timeout=10, max_reconnect_attempts=100)
    context = client.jetstream(timeout=10)
    if work == "make":
        await context.add_stream(name=stream, subjects=rest)
    state = (await context.stream_info(stream)).state
    if work == "count":
        print(state.messages)
    if work == "read":
        for number in range(state.first_seq, state.last_seq + 1):
            message = await context.get_msg(stream, number)
            row = {"id": message.headers["Nats-Msg-Id"], "value": json.loads(message.data)}
            print(json.dumps(row))
    await client.close()


asyncio.run(main())
