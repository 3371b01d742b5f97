"""Drives paho-mqtt; README.md tells the commands and the answers."""
import json
import os
import sys
import threading

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes

import lines
from paho_properties import properties_of, received_properties

VERSIONS = {"3.1": mqtt.MQTTv31, "3.1.1": mqtt.MQTTv311, "5": mqtt.MQTTv5}


class Driver:
    def __init__(self):
        self.client = None
        # publish() and on_publish() are of two threads, and either may be first.
        self.lock = threading.Lock()
        self.tags = {}
        self.early = set()

    def connect(self, command):
        version = command["version"]
        is_5 = version == "5"
        client = mqtt.Client(
            mqtt.CallbackAPIVersion.VERSION2,
            client_id=command["client_id"],
            clean_session=None if is_5 else command.get("clean", True),
            protocol=VERSIONS[version],
            reconnect_on_failure=command.get("reconnect", False),
        )
        client.on_connect = self.on_connect
        client.on_connect_fail = lambda *_: None
        client.on_disconnect = self.on_disconnect
        client.on_message = on_message
        client.on_publish = self.on_publish
        client.on_subscribe = on_subscribe
        client.on_unsubscribe = lambda *_: lines.tell("unsubscribed")
        client.max_inflight_messages_set(command.get("inflight", 20))
        client.reconnect_delay_set(0.05, 0.2)
        if "user_name" in command:
            client.username_pw_set(command["user_name"], command.get("password"))
        if "tls" in command:
            tls = command["tls"]
            client.tls_set(tls["ca"], tls.get("cert"), tls.get("key"))
        if "will" in command:
            will = command["will"]
            properties = properties_of(PacketTypes.WILLMESSAGE, will) if is_5 else None
            client.will_set(
                will["topic"], will["payload"], will["qos"], will["retain"], properties
            )
        self.client = client
        options = {}
        if is_5:
            options["clean_start"] = command.get("clean", True)
            options["properties"] = properties_of(PacketTypes.CONNECT, command)
        client.connect(command.get("host", "127.0.0.1"), command["port"], 60, **options)
        client.loop_start()

    def on_connect(self, client, _userdata, flags, reason, _properties):
        if reason.is_failure:
            lines.tell("refused", reason=str(reason))
        else:
            lines.tell("connected", session_present=flags.session_present)

    def on_disconnect(self, client, _userdata, _flags, reason, _properties):
        if client is self.client:
            lines.tell("lost", reason=str(reason))

    def publish(self, command):
        properties = None
        if self.client.protocol == mqtt.MQTTv5:
            properties = properties_of(PacketTypes.PUBLISH, command)
        # Not under the lock: paho calls on_publish() with a lock of its own that publish() takes.
        info = self.client.publish(
            command["topic"],
            command["payload"],
            command["qos"],
            command["retain"],
            properties,
        )
        with self.lock:
            if info.mid in self.early:
                self.early.discard(info.mid)
                lines.tell("published", tag=command["tag"])
            else:
                self.tags[info.mid] = command["tag"]

    def on_publish(self, _client, _userdata, mid, reason, _properties):
        if reason.is_failure:
            lines.tell("failed", what=f"published {mid}: {reason}")
            return
        with self.lock:
            if mid in self.tags:
                lines.tell("published", tag=self.tags.pop(mid))
            else:
                self.early.add(mid)

    def subscribe(self, command):
        self.client.subscribe(command["filter"], command["qos"])

    def unsubscribe(self, command):
        self.client.unsubscribe(command["filter"])

    def disconnect(self, _command):
        client, self.client = self.client, None
        if client is not None:
            client.disconnect()
            client.loop_stop()
        self.tags.clear()
        self.early.clear()
        lines.tell("disconnected")


def on_subscribe(_client, _userdata, _mid, reasons, _properties):
    lines.tell("subscribed", codes=[reason.value for reason in reasons])


def on_message(_client, _userdata, message):
    lines.tell(
        "message",
        topic=message.topic,
        payload=message.payload.decode(),
        qos=message.qos,
        retain=message.retain,
        **received_properties(message.properties),
    )


def main():
    driver = Driver()
    for line in sys.stdin:
        command = json.loads(line)
        try:
            getattr(driver, command["do"])(command)
        except (OSError, ValueError, RuntimeError) as error:
            lines.tell("failed", what=f"{command['do']}: {error!r}")
    # Without a word to the broker, as a process that dies.
    os._exit(0)


main()
