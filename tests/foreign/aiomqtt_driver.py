"""Drives aiomqtt; README.md tells the commands and the answers."""
import asyncio
import json
import os
import sys

import aiomqtt
from paho.mqtt.packettypes import PacketTypes

import lines
from paho_properties import properties_of, received_properties

VERSIONS = {
    "3.1": aiomqtt.ProtocolVersion.V31,
    "3.1.1": aiomqtt.ProtocolVersion.V311,
    "5": aiomqtt.ProtocolVersion.V5,
}


class Driver:
    def __init__(self):
        self.client = None
        self.is_5 = False
        self.reader = None
        self.publishing = set()

    async def connect(self, command):
        self.is_5 = command["version"] == "5"
        clean = command.get("clean", True)
        options = {"clean_session": clean}
        if self.is_5:
            options = {
                "clean_start": clean,
                "properties": properties_of(PacketTypes.CONNECT, command),
            }
        if "will" in command:
            options["will"] = self.will(command["will"])
        if "tls" in command:
            tls = command["tls"]
            options["tls_params"] = aiomqtt.TLSParameters(
                ca_certs=tls["ca"], certfile=tls.get("cert"), keyfile=tls.get("key")
            )
        client = aiomqtt.Client(
            command.get("host", "127.0.0.1"),
            command["port"],
            identifier=command["client_id"],
            protocol=VERSIONS[command["version"]],
            username=command.get("user_name"),
            password=command.get("password"),
            # It sees nothing of a connection that ends before CONNACK and waits for so long.
            timeout=5,
            **options,
        )
        try:
            await client.__aenter__()
        except aiomqtt.MqttError as error:
            lines.tell("refused", reason=str(error))
            return
        self.client = client
        lines.tell("connected", session_present=None)
        self.reader = asyncio.create_task(self.read(client))

    def will(self, will):
        return aiomqtt.Will(
            will["topic"],
            will["payload"],
            will["qos"],
            will["retain"],
            properties_of(PacketTypes.WILLMESSAGE, will) if self.is_5 else None,
        )

    async def read(self, client):
        try:
            async for message in client.messages:
                lines.tell(
                    "message",
                    topic=str(message.topic),
                    payload=message.payload.decode(),
                    qos=message.qos,
                    retain=message.retain,
                    **received_properties(message.properties),
                )
        except aiomqtt.MqttError as error:
            lines.tell("lost", reason=str(error))

    async def publish(self, command):
        # Side by side, as an application with many tasks does.
        task = asyncio.create_task(self.publish_one(command))
        self.publishing.add(task)
        task.add_done_callback(self.publishing.discard)

    async def publish_one(self, command):
        properties = properties_of(PacketTypes.PUBLISH, command) if self.is_5 else None
        try:
            await self.client.publish(
                command["topic"],
                command["payload"],
                command["qos"],
                command["retain"],
                properties,
            )
            lines.tell("published", tag=command["tag"])
        except (aiomqtt.MqttError, ValueError) as error:
            lines.tell("failed", what=f"publish: {error!r}")

    async def subscribe(self, command):
        codes = await self.client.subscribe(command["filter"], command["qos"])
        lines.tell("subscribed", codes=[getattr(code, "value", code) for code in codes])

    async def unsubscribe(self, command):
        await self.client.unsubscribe(command["filter"])
        lines.tell("unsubscribed")

    async def disconnect(self, _command):
        client, self.client = self.client, None
        if client is not None:
            self.reader.cancel()
            await client.__aexit__(None, None, None)
        lines.tell("disconnected")


async def main():
    driver = Driver()
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        command = json.loads(line)
        try:
            await getattr(driver, command["do"])(command)
        except (aiomqtt.MqttError, OSError, ValueError) as error:
            lines.tell("failed", what=f"{command['do']}: {error!r}")
    # Without a word to the broker, as a process that dies.
    os._exit(0)


asyncio.run(main())
