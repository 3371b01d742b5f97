"""Drives gmqtt; README.md tells the commands and the answers."""
import asyncio
import json
import os
import ssl
import sys

import gmqtt
from gmqtt.mqtt.constants import MQTTv50, MQTTv311
from gmqtt.mqtt.handler import MQTTConnectError
from gmqtt.storage import PersistentStorage

import lines

VERSIONS = {"3.1.1": MQTTv311, "5": MQTTv50}


class Storage(PersistentStorage):
    """gmqtt tells nobody when a message is acknowledged, but removes it from its store."""

    def __init__(self):
        super().__init__()
        self.tag = None
        self.tags = {}

    def push_message(self, mid, raw_package):
        super().push_message(mid, raw_package)
        self.tags.setdefault(mid, self.tag)

    def remove_message_by_mid(self, mid):
        super().remove_message_by_mid(mid)
        if mid in self.tags:
            lines.tell("published", tag=self.tags.pop(mid))


class Driver:
    def __init__(self):
        self.client = None
        self.storage = None
        self.connected = None
        self.is_leaving = False

    async def connect(self, command):
        options = {}
        if command["version"] == "5":
            if "expiry_s" in command:
                options["session_expiry_interval"] = command["expiry_s"]
            if "alias_maximum" in command:
                options["topic_alias_maximum"] = command["alias_maximum"]
        if "will" in command:
            options["will_message"] = will(command["will"], command["version"] == "5")
        self.is_leaving = False
        self.storage = Storage()
        self.client = gmqtt.Client(
            command["client_id"],
            clean_session=command.get("clean", True),
            persistent_storage=self.storage,
            **options,
        )
        self.client.set_config({"reconnect_retries": 0})
        self.client.on_connect = self.on_connect
        self.client.on_message = on_message
        self.client.on_disconnect = self.on_disconnect
        self.client.on_subscribe = on_subscribe
        self.client.on_unsubscribe = lambda *_: lines.tell("unsubscribed")
        if "user_name" in command:
            self.client.set_auth_credentials(command["user_name"], command.get("password"))
        try:
            await self.client.connect(
                command.get("host", "127.0.0.1"),
                command["port"],
                ssl=tls_context(command["tls"]) if "tls" in command else False,
                version=VERSIONS[command["version"]],
            )
        except MQTTConnectError as error:
            lines.tell("refused", reason=str(error))

    def on_connect(self, _client, flags, _rc, _properties):
        lines.tell("connected", session_present=bool(flags & 1))

    def on_disconnect(self, client, packet, exc=None):
        if client is self.client and not self.is_leaving:
            lines.tell("lost", reason=repr(packet))

    async def publish(self, command):
        options = {}
        if "expiry_s" in command:
            options["message_expiry_interval"] = command["expiry_s"]
        if "user" in command:
            options["user_property"] = [tuple(pair) for pair in command["user"]]
        if "alias" in command:
            options["topic_alias"] = command["alias"]
        self.storage.tag = command["tag"]
        self.client.publish(
            command["topic"],
            command["payload"],
            qos=command["qos"],
            retain=command["retain"],
            **options,
        )
        if command["qos"] == 0:
            lines.tell("published", tag=command["tag"])

    async def subscribe(self, command):
        self.client.subscribe(command["filter"], command["qos"])

    async def unsubscribe(self, command):
        self.client.unsubscribe(command["filter"])

    async def disconnect(self, _command):
        self.is_leaving = True
        client, self.client = self.client, None
        if client is not None:
            await client.disconnect()
        lines.tell("disconnected")


def will(command, is_5):
    options = {}
    if is_5 and "delay_s" in command:
        options["will_delay_interval"] = command["delay_s"]
    if is_5 and "user" in command:
        options["user_property"] = [tuple(pair) for pair in command["user"]]
    return gmqtt.Message(
        command["topic"],
        command["payload"],
        qos=command["qos"],
        retain=command["retain"],
        **options,
    )


def tls_context(tls):
    context = ssl.create_default_context(cafile=tls["ca"])
    if "cert" in tls:
        context.load_cert_chain(tls["cert"], tls["key"])
    return context


def on_message(_client, topic, payload, qos, properties):
    lines.tell(
        "message",
        topic=topic,
        payload=payload.decode(),
        qos=qos,
        retain=bool(properties["retain"]),
        expiry_s=properties.get("message_expiry_interval", [None])[0],
        user=properties.get("user_property", []),
    )


def on_subscribe(_client, _mid, codes, _properties):
    lines.tell("subscribed", codes=list(codes))


async def main():
    driver = Driver()
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        command = json.loads(line)
        try:
            await getattr(driver, command["do"])(command)
        except (OSError, ValueError) as error:
            lines.tell("failed", what=f"{command['do']}: {error!r}")
    # Without a word to the broker, as a process that dies.
    os._exit(0)


asyncio.run(main())
